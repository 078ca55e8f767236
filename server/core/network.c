/* server/core/network.c - address ranges: read strictly, written in one form, and asked whether an address is in them. */
#include "server/core/network.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define SEPARATORS " ,\t\r\n"
#define V6_LEN 16
#define V4_LEN 4
#define V4_MAPPED_BITS 96
#define BITS_DIGITS_MAX 3
/* The longest range: an IPv6 address, a slash, three digits. */
#define RANGE_MAX (INET6_ADDRSTRLEN + 4)

struct address {
	uint8_t bytes[V6_LEN];
	unsigned len; /* V4_LEN or V6_LEN */
};

struct range {
	struct address base;
	unsigned bits;
};

/* An IPv4 address that is mapped into IPv6 (RFC 4291 section 2.5.5.2) is that IPv4 address: one host has one form here, however it came in. */
static bool is_mapped(const struct address *a)
{
	static const uint8_t MAPPED[V6_LEN - V4_LEN] = { [10] = 0xff, [11] = 0xff };

	return a->len == V6_LEN && memcmp(a->bytes, MAPPED, sizeof(MAPPED)) == 0;
}

static void unmap(struct address *a)
{
	memmove(a->bytes, a->bytes + V6_LEN - V4_LEN, V4_LEN);
	a->len = V4_LEN;
}

static bool address_parse(const char *text, struct address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, ret->bytes) == 1) {
		ret->len = V4_LEN;
		return true;
	}
	ret->len = V6_LEN;
	return inet_pton(AF_INET6, text, ret->bytes) == 1;
}

/* Decimal digits alone, no sign, no zero in front. */
static bool bits_parse(const char *text, unsigned max, unsigned *ret_bits)
{
	size_t len = strlen(text);
	unsigned bits = 0;

	if (len == 0 || len > BITS_DIGITS_MAX || strspn(text, "0123456789") != len || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++)
		bits = bits * 10 + (unsigned)(text[i] - '0');
	*ret_bits = bits;
	return bits <= max;
}

static bool has_host_bits(const struct range *r)
{
	for (unsigned bit = r->bits; bit < r->base.len * 8; bit++)
		if ((r->base.bytes[bit / 8] >> (7 - bit % 8) & 1) != 0)
			return true;
	return false;
}

/* What is wrong with a range, or NULL. */
static const char *range_parse(const char *text, size_t len, struct range *ret)
{
	char address[RANGE_MAX + 1];
	char *slash = NULL;

	if (len > RANGE_MAX)
		return "is too long";
	memcpy(address, text, len);
	address[len] = '\0';
	slash = strchr(address, '/');
	if (slash != NULL)
		*slash = '\0';
	if (!address_parse(address, &ret->base))
		return "is no IPv4 or IPv6 address";
	ret->bits = ret->base.len * 8;
	if (slash != NULL && !bits_parse(slash + 1, ret->base.len * 8, &ret->bits))
		return "has no valid prefix length";
	if (has_host_bits(ret))
		return "has bits set behind its prefix length";
	if (is_mapped(&ret->base) && ret->bits >= V4_MAPPED_BITS) {
		unmap(&ret->base);
		ret->bits -= V4_MAPPED_BITS;
	}
	return NULL;
}

static bool range_format(const struct range *r, char ret_text[RANGE_MAX + 1])
{
	char address[INET6_ADDRSTRLEN];

	if (inet_ntop(r->base.len == V4_LEN ? AF_INET : AF_INET6, r->base.bytes, address, sizeof(address)) == NULL)
		return false;
	return snprintf(ret_text, RANGE_MAX + 1, "%s/%u", address, r->bits) <= RANGE_MAX;
}

/* As much of a range as can be shown: what is no address may be anything. */
static int shown_len(const char *range, size_t len)
{
	size_t shown = 0;

	while (shown < len && shown < RANGE_MAX && range[shown] > ' ' && range[shown] <= '~')
		shown++;
	return (int)shown;
}

kms_status network_check(const char *text, char ret[STORE_NETWORK_MAX + 1], struct kms_err *err)
{
	char out[STORE_NETWORK_MAX + 1] = "";
	size_t used = 0, count = 0;

	for (const char *at = text + strspn(text, SEPARATORS); *at != '\0'; at += strspn(at, SEPARATORS)) {
		size_t len = strcspn(at, SEPARATORS), need = 0;
		char range[RANGE_MAX + 1];
		struct range r = { 0 };
		const char *wrong = range_parse(at, len, &r);

		if (wrong == NULL && !range_format(&r, range))
			wrong = "cannot be written";
		if (wrong != NULL)
			return kms_refuse(err, KMS_E_INVALID, "networks: '%.*s' %s.", shown_len(at, len), at, wrong);
		need = strlen(range) + (used > 0);
		if (++count > NETWORK_RANGES_MAX || used + need > STORE_NETWORK_MAX)
			return kms_refuse(err, KMS_E_INVALID, "networks: at most %d ranges, and %d characters.", NETWORK_RANGES_MAX, STORE_NETWORK_MAX);
		(void)snprintf(out + used, sizeof(out) - used, "%s%s", used > 0 ? " " : "", range);
		used += need;
		at += len;
	}
	/* Only the empty text means everybody: a list that came out empty by mistake must not. */
	if (count == 0 && text[0] != '\0')
		return kms_refuse(err, KMS_E_INVALID, "networks: names no range.");
	memcpy(ret, out, used + 1);
	return KMS_OK;
}

static bool range_contains(const struct range *r, const struct address *a)
{
	unsigned whole = r->bits / 8, rest = r->bits % 8;

	if (r->base.len != a->len || memcmp(r->base.bytes, a->bytes, whole) != 0)
		return false;
	return rest == 0 || (r->base.bytes[whole] ^ a->bytes[whole]) >> (8 - rest) == 0;
}

bool network_contains(const char *ranges, const char *address)
{
	struct address a;

	if (!address_parse(address, &a))
		return false;
	if (is_mapped(&a))
		unmap(&a);
	for (const char *at = ranges + strspn(ranges, SEPARATORS); *at != '\0'; at += strspn(at, SEPARATORS)) {
		size_t len = strcspn(at, SEPARATORS);
		struct range r = { 0 };
		if (range_parse(at, len, &r) == NULL && range_contains(&r, &a))
			return true;
		at += len;
	}
	return false;
}
