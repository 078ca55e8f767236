/* server/verify/bytes.c - strict readers. */
#include "server/verify/bytes.h"

bool span_begins(struct span s, const char *prefix)
{
	size_t n = strlen(prefix);
	return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

bool span_cut(struct span s, char mark, struct span *ret_before, struct span *ret_rest)
{
	const char *at = s.n > 0 ? memchr(s.p, mark, s.n) : NULL;

	if (at == NULL) {
		*ret_before = s;
		*ret_rest = (struct span){ s.n > 0 ? s.p + s.n : s.p, 0 };
		return false;
	}
	*ret_before = (struct span){ s.p, (size_t)(at - s.p) };
	*ret_rest = (struct span){ at + 1, s.n - ret_before->n - 1 };
	return true;
}

bool span_line(struct span s, struct span *ret_line, struct span *ret_rest) { return span_cut(s, '\n', ret_line, ret_rest); }

bool span_u64(struct span s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 19 || (s.n > 1 && s.p[0] == '0'))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	if (v > INT64_MAX)
		return false;
	*ret = v;
	return true;
}

/* The value of one digit, negative for none. */
static int sextet(char c, char c62, char c63)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == c62 ? 62 : c == c63 ? 63 : -1;
}

/* Digits without padding. */
static bool decode64(struct span s, char c62, char c63, uint8_t *ret, size_t cap, size_t *ret_len)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t len = 0;

	if (s.n % 4 == 1)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		int v = sextet(s.p[i], c62, c63);
		if (v < 0)
			return false;
		bits = (bits << 6 | (uint32_t)v) & 0xffff;
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		if (len >= cap)
			return false;
		if (ret != NULL)
			ret[len] = (uint8_t)(bits >> have);
		len++;
	}
	*ret_len = len;
	return (bits & ((1U << have) - 1)) == 0;
}

bool span_base64(struct span s, uint8_t *ret, size_t cap, size_t *ret_len)
{
	if (s.n % 4 != 0)
		return false;
	for (int pad = 0; pad < 2 && s.n > 0 && s.p[s.n - 1] == '='; pad++)
		s.n--;
	return decode64(s, '+', '/', ret, cap, ret_len);
}

bool span_base64url(struct span s, uint8_t *ret, size_t len)
{
	size_t got = 0;
	return s.n == (len * 4 + 2) / 3 && decode64(s, '-', '_', ret, len, &got) && got == len;
}

bool span_hex(struct span s, uint8_t *ret, size_t len)
{
	if (s.n != 2 * len)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
		if (v < 0)
			return false;
		ret[i / 2] = (uint8_t)((i & 1) != 0 ? ret[i / 2] << 4 | v : v);
	}
	return true;
}

static bool follows(const char *p, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)p[i] & 0xc0) != 0x80)
			return false;
	}
	return true;
}

size_t utf8_length(const char *p, const char *end)
{
	unsigned char a = (unsigned char)p[0];
	size_t n = a >= 0xc2 && a <= 0xdf ? 2 : a >= 0xe0 && a <= 0xef ? 3 : a >= 0xf0 && a <= 0xf4 ? 4 : 0;

	if (n == 0 || (size_t)(end - p) < n || !follows(p, n))
		return 0;
	unsigned char b = (unsigned char)p[1];
	if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f) || (a == 0xf0 && b < 0x90) || (a == 0xf4 && b > 0x8f))
		return 0;
	return n;
}

bool span_utf8(struct span s)
{
	const char *p = s.p, *end = s.p + s.n;

	while (p < end) {
		size_t n = (unsigned char)*p < 0x80 ? 1 : utf8_length(p, end);
		if (n == 0)
			return false;
		p += n;
	}
	return true;
}
