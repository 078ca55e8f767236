/* server/verify/note.c - signed notes, read strictly. */
#include "server/verify/note.h"

#include <openssl/x509.h>
#include <stdio.h>

#define ED25519_LEN 32
#define ED25519_SIGNATURE_LEN 64
#define COSIGNATURE_TIME_LEN 8
#define ML_DSA_44_LEN 1312
#define PUBLIC_MAX 1400
#define SIGNATURE_MAX 8192
#define EM_DASH_SPACE "\xe2\x80\x94 "
#define COSIGNATURE_HEAD_MAX 64

void keys_clear(struct keys *k)
{
	for (size_t i = 0; i < k->count; i++)
		EVP_PKEY_free(k->list[i].pkey);
	k->count = 0;
}

/* The key name of a note: no space of any kind, no plus, no control characters. */
static bool name_is_valid(struct span name)
{
	if (name.n == 0 || name.n > KEY_NAME_MAX || !span_utf8(name))
		return false;
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];
		if (c <= 0x20 || c == '+' || c == 0x7f)
			return false;
		/* White space beyond ASCII: U+0085, U+00A0, U+1680, U+2000-200A, U+2028, U+2029, U+202F, U+205F, U+3000 */
		if (c == 0xc2 && (name.p[i + 1] == (char)0x85 || name.p[i + 1] == (char)0xa0))
			return false;
		if (c == 0xe1 && memcmp(name.p + i + 1, "\x9a\x80", 2) == 0)
			return false;
		if (c == 0xe3 && memcmp(name.p + i + 1, "\x80\x80", 2) == 0)
			return false;
		if (c == 0xe2 && name.p[i + 1] == (char)0x80) {
			unsigned char d = (unsigned char)name.p[i + 2];
			if (d <= 0x8a || d == 0xa8 || d == 0xa9 || d == 0xaf)
				return false;
		}
		if (c == 0xe2 && memcmp(name.p + i + 1, "\x81\x9f", 2) == 0)
			return false;
	}
	return true;
}

static enum key_role role_of(const struct key *key)
{
	struct span host, rest;

	if (key->type == KEY_COSIGNATURE || key->type == KEY_ML_DSA_44)
		return ROLE_WITNESS;
	if (!span_cut((struct span){ key->name, key->name_len }, '/', &host, &rest))
		return ROLE_LOG;
	return span_begins(rest, "attest/") ? ROLE_ATTESTATION : span_begins(rest, "approver/") ? ROLE_APPROVER : ROLE_LOG;
}

/* A P-256 key in the one encoding that it has. */
static EVP_PKEY *read_p256(const uint8_t *der, size_t len)
{
	const unsigned char *p = der;
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long)len);
	unsigned char *again = NULL;
	char group[32] = "";
	int again_len = pkey != NULL ? i2d_PUBKEY(pkey, &again) : -1;
	bool is_good = again_len >= 0 && (size_t)again_len == len && memcmp(again, der, len) == 0 &&
	               EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) == 1 && strcmp(group, "prime256v1") == 0;

	OPENSSL_free(again);
	if (is_good)
		return pkey;
	EVP_PKEY_free(pkey);
	return NULL;
}

/* @param bytes  the type, then the public key */
static const char *read_public(struct key *key, const uint8_t *bytes, size_t len)
{
	key->type = (enum key_type)bytes[0];
	switch (bytes[0]) {
	case KEY_ED25519:
	case KEY_COSIGNATURE:
		if (len == 1 + ED25519_LEN)
			key->pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, bytes + 1, ED25519_LEN);
		return key->pkey != NULL ? NULL : "it is no Ed25519 key of 32 bytes";
	case KEY_ECDSA_P256:
		key->pkey = read_p256(bytes + 1, len - 1);
		return key->pkey != NULL ? NULL : "it is no P-256 key in DER form";
	case KEY_ML_DSA_44:
		return len == 1 + ML_DSA_44_LEN ? NULL : "it is no ML-DSA-44 key";
	default:
		return "its signature type is unknown";
	}
}

/* audit-log.md 5.2 */
static void key_id(struct hasher *h, struct span name, const uint8_t *bytes, size_t len, uint8_t ret[KEY_ID_LEN])
{
	const struct span parts[] = { name, { "\n", 1 }, { (const char *)bytes, len } };
	const struct span spki = { (const char *)bytes + 1, len - 1 };
	uint8_t hash[HASH_LEN];

	if (bytes[0] == KEY_ECDSA_P256)
		hasher_sha256(h, &spki, 1, hash);
	else
		hasher_sha256(h, parts, 3, hash);
	memcpy(ret, hash, KEY_ID_LEN);
}

static const char *read_key(struct hasher *h, struct span text, struct key *ret)
{
	struct span name, hex, base64, rest;
	uint8_t bytes[PUBLIC_MAX], id[KEY_ID_LEN];
	const char *why = NULL;
	size_t len = 0;

	if (!span_cut(text, '+', &name, &rest) || !span_cut(rest, '+', &hex, &base64))
		return "it is not NAME+ID+KEY";
	if (!name_is_valid(name))
		return "its name is not valid";
	if (!span_hex(hex, ret->id, KEY_ID_LEN))
		return "its key id is not 8 lower-case hex digits";
	if (!span_base64(base64, bytes, sizeof(bytes), &len) || len < 2)
		return "its key is not canonical base64";
	key_id(h, name, bytes, len, id);
	if (memcmp(id, ret->id, KEY_ID_LEN) != 0)
		return "its key id does not belong to its name and key";
	memcpy(ret->name, name.p, name.n);
	ret->name[name.n] = '\0';
	ret->name_len = name.n;
	why = read_public(ret, bytes, len);
	if (why != NULL)
		return why;
	hasher_sha256(h, &(struct span){ (const char *)bytes, len }, 1, ret->digest);
	ret->role = role_of(ret);
	return NULL;
}

const char *keys_add(struct keys *k, struct hasher *h, struct span text, size_t *ret_index)
{
	struct key key = { 0 };
	const char *why = read_key(h, text, &key);

	if (why != NULL) {
		EVP_PKEY_free(key.pkey);
		return why;
	}
	for (size_t i = 0; i < k->count; i++) {
		if (strcmp(k->list[i].name, key.name) == 0 && memcmp(k->list[i].digest, key.digest, HASH_LEN) == 0) {
			EVP_PKEY_free(key.pkey);
			*ret_index = i;
			return NULL;
		}
	}
	if (k->count == KEYS_MAX) {
		EVP_PKEY_free(key.pkey);
		return "there are more keys than this program takes";
	}
	*ret_index = k->count;
	k->list[k->count++] = key;
	return NULL;
}

/* ---- notes ---- */

/* The last empty line: what stands before it is signed. */
static bool split(struct span input, struct span *ret_text, struct span *ret_lines)
{
	for (size_t i = input.n; i >= 2; i--) {
		if (input.p[i - 1] != '\n' || input.p[i - 2] != '\n')
			continue;
		*ret_text = (struct span){ input.p, i - 1 };
		*ret_lines = (struct span){ input.p + i, input.n - i };
		return true;
	}
	return false;
}

static bool parse_line(struct span line, struct note_line *ret)
{
	uint8_t bytes[SIGNATURE_MAX];
	size_t len = 0;

	if (!span_begins(line, EM_DASH_SPACE))
		return false;
	line.p += sizeof(EM_DASH_SPACE) - 1;
	line.n -= sizeof(EM_DASH_SPACE) - 1;
	if (!span_cut(line, ' ', &ret->name, &ret->base64) || !name_is_valid(ret->name))
		return false;
	if (!span_base64(ret->base64, bytes, sizeof(bytes), &len) || len <= KEY_ID_LEN)
		return false;
	memcpy(ret->id, bytes, KEY_ID_LEN);
	return true;
}

const char *note_parse(struct span input, struct note *ret)
{
	ret->count = 0;
	return input.n <= NOTE_MAX ? note_parse_long(input, ret) : "it is longer than 64 KiB";
}

const char *note_parse_long(struct span input, struct note *ret)
{
	struct span lines, line;

	ret->count = 0;
	if (input.n > NOTE_LONG_MAX)
		return "it is longer than 64 MiB";
	for (size_t i = 0; i < input.n; i++) {
		if ((unsigned char)input.p[i] < 0x20 && input.p[i] != '\n')
			return "it has a control character other than a line feed";
	}
	if (input.n == 0 || !span_utf8(input))
		return "it is empty, or not UTF-8";
	if (input.p[input.n - 1] != '\n')
		return "its last line has no line feed";
	if (!split(input, &ret->text, &lines) || lines.n == 0)
		return "it has no signature lines behind an empty line";
	while (lines.n > 0) {
		if (ret->count == NOTE_LINES_MAX)
			return "it has more than 64 signature lines";
		(void)span_line(lines, &line, &lines);
		if (!parse_line(line, &ret->lines[ret->count++]))
			return "it has a malformed signature line";
	}
	return NULL;
}

static bool check_signature(const struct key *key, struct span head, struct span text, const uint8_t *signature, size_t len)
{
	const EVP_MD *md = key->type == KEY_ECDSA_P256 ? EVP_sha256() : NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t *joined = OPENSSL_malloc(head.n + text.n + 1);
	bool is_good = false;

	if (ctx != NULL && joined != NULL) {
		memcpy(joined, head.p, head.n);
		memcpy(joined + head.n, text.p, text.n);
		is_good = EVP_DigestVerifyInit(ctx, NULL, md, NULL, key->pkey) == 1 &&
		          EVP_DigestVerify(ctx, signature, len, joined, head.n + text.n) == 1;
	}
	OPENSSL_free(joined);
	EVP_MD_CTX_free(ctx);
	return is_good;
}

static bool check_line(const struct key *key, const struct note *n, const struct note_line *line, uint64_t *ret_time_s)
{
	uint8_t bytes[SIGNATURE_MAX];
	char head[COSIGNATURE_HEAD_MAX] = "";
	size_t len = 0;
	int head_len = 0;
	uint64_t t = 0;

	if (!span_base64(line->base64, bytes, sizeof(bytes), &len))
		return false;
	const uint8_t *signature = bytes + KEY_ID_LEN;
	len -= KEY_ID_LEN;
	if (key->type == KEY_COSIGNATURE) {
		if (len != COSIGNATURE_TIME_LEN + ED25519_SIGNATURE_LEN)
			return false;
		for (int i = 0; i < COSIGNATURE_TIME_LEN; i++)
			t = t << 8 | signature[i];
		head_len = snprintf(head, sizeof(head), "cosignature/v1\ntime %llu\n", (unsigned long long)t);
		signature += COSIGNATURE_TIME_LEN;
		len -= COSIGNATURE_TIME_LEN;
		*ret_time_s = t;
	}
	if (key->type != KEY_ECDSA_P256 && len != ED25519_SIGNATURE_LEN)
		return false;
	return t <= INT64_MAX && check_signature(key, (struct span){ head, (size_t)head_len }, n->text, signature, len);
}

void note_verify(const struct note *n, const struct keys *k, struct line_verdict ret[NOTE_LINES_MAX])
{
	for (size_t i = 0; i < n->count; i++) {
		const struct note_line *line = &n->lines[i];

		ret[i] = (struct line_verdict){ .state = LINE_UNKNOWN };
		for (size_t key = 0; key < k->count; key++) {
			const struct key *known = &k->list[key];
			if (known->pkey == NULL || memcmp(known->id, line->id, KEY_ID_LEN) != 0 ||
			    !span_same(line->name, (struct span){ known->name, known->name_len }))
				continue;
			ret[i].key = key;
			ret[i].state = check_line(known, n, line, &ret[i].time_s) ? LINE_GOOD : LINE_BAD;
			if (ret[i].state == LINE_GOOD) /* two keys of one name and id: four bytes can meet */
				break;
		}
	}
}

const char *checkpoint_parse(struct span text, struct checkpoint *ret)
{
	struct span size, root;
	size_t len = 0;

	if (!span_line(text, &ret->origin, &text) || !span_line(text, &size, &text) || !span_line(text, &root, &text) || text.n != 0)
		return "it is not three lines: origin, size, root";
	if (ret->origin.n == 0 || ret->origin.n > KEY_NAME_MAX)
		return "its origin is empty or too long";
	if (!span_u64(size, &ret->size))
		return "its size is no decimal number without leading zeros";
	if (!span_base64(root, ret->root, HASH_LEN, &len) || len != HASH_LEN)
		return "its root is not the canonical base64 of 32 bytes";
	return NULL;
}
