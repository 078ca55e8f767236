/* server/core/note.c - signed notes. Everything here is read from strangers too: what is not exactly the form of the specification is refused. */
#include "server/core/note.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"

#define EM_DASH "\xe2\x80\x94 " /* U+2014 and a space */
#define EM_DASH_LEN (sizeof(EM_DASH) - 1)
#define ID_LEN 4
#define ED25519_LEN 32
#define ED25519_SIGNATURE_LEN 64
#define COSIGNATURE_LEN (8 + ED25519_SIGNATURE_LEN)
#define SCALAR_LEN 32
#define NOTE_MAX 65536
#define BLOB_MAX (ID_LEN + NOTE_SIGNATURE_MAX)
#define ROOT_TEXT_LEN B64_LEN(MERKLE_HASH_LEN)
#define ORIGIN_ALPHABET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-/"
_Static_assert(EM_DASH_LEN + NOTE_NAME_MAX + 2 + B64_LEN(BLOB_MAX) <= NOTE_LINE_MAX, "every line fits");
_Static_assert(NOTE_NAME_MAX + 2 + 2 * ID_LEN + B64_LEN(1 + NOTE_KEY_MAX) <= NOTE_VKEY_MAX, "every verifier key fits");
_Static_assert(NOTE_NAME_MAX + 1 + 20 + 1 + ROOT_TEXT_LEN + 1 <= NOTE_TEXT_MAX, "every checkpoint fits");

/* Names of keys (C2SP signed-note): not empty, no space, no plus. Ours and those of witnesses are ASCII. */
static bool is_name(const char *name, size_t len)
{
	if (len == 0 || len > NOTE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (name[i] <= ' ' || name[i] > '~' || name[i] == '+')
			return false;
	}
	return true;
}

/* audit-log.md section 2 */
static bool is_origin(const char *origin, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (origin[i] == '\0' || strchr(ORIGIN_ALPHABET, origin[i]) == NULL)
			return false;
	}
	return len > 0 && len <= NOTE_NAME_MAX && origin[len - 1] != '/';
}

/* RFC 4648 section 4 exactly: what is decoded must be written the same again. */
static bool strict_base64(const char *text, size_t len, uint8_t *ret_bytes, size_t cap, size_t *ret_len)
{
	char url[NOTE_VKEY_MAX], again[NOTE_VKEY_MAX + 4];

	if (len == 0 || len % 4 != 0 || len > sizeof(url))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '-' || text[i] == '_')
			return false;
		url[i] = text[i];
		if (text[i] == '+')
			url[i] = '-';
		else if (text[i] == '/')
			url[i] = '_';
	}
	if (!b64url_decode(url, len, ret_bytes, cap, ret_len) || B64_LEN(*ret_len) != len)
		return false;
	b64_encode(ret_bytes, *ret_len, again);
	return memcmp(again, text, len) == 0; /* allowed: public */
}

void note_key_seal(struct note_key *k)
{
	uint8_t text[NOTE_NAME_MAX + 2 + NOTE_KEY_MAX], hash[SHA256_DIGEST_LENGTH];
	size_t len = strlen(k->name);

	if (k->type == NOTE_ECDSA_P256) {
		SHA256(k->pub, k->pub_len, hash);
	} else {
		memcpy(text, k->name, len);
		text[len++] = '\n';
		text[len++] = (uint8_t)k->type;
		memcpy(text + len, k->pub, k->pub_len);
		SHA256(text, len + k->pub_len, hash);
	}
	memcpy(k->id, hash, ID_LEN);
}

void note_vkey_format(const struct note_key *k, char ret_vkey[NOTE_VKEY_MAX + 1])
{
	uint8_t key[1 + NOTE_KEY_MAX] = { (uint8_t)k->type };
	char id[2 * ID_LEN + 1], text[B64_LEN(sizeof(key)) + 1];

	memcpy(key + 1, k->pub, k->pub_len);
	b64_encode(key, 1 + k->pub_len, text);
	hex_encode(k->id, ID_LEN, id);
	(void)snprintf(ret_vkey, NOTE_VKEY_MAX + 1, "%s+%s+%s", k->name, id, text);
}

/* The key as OpenSSL takes it; NULL when it is not one of its type. */
static EVP_PKEY *load_key(const struct note_key *k)
{
	const uint8_t *at = k->pub;
	EVP_PKEY *key = NULL;
	char group[32] = "";

	if (k->type != NOTE_ECDSA_P256)
		return k->pub_len == ED25519_LEN ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, k->pub, k->pub_len) : NULL;
	key = d2i_PUBKEY(NULL, &at, (long)k->pub_len);
	if (key == NULL || at != k->pub + k->pub_len || !EVP_PKEY_is_a(key, "EC") ||
	    EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group), NULL) != 1 || strcmp(group, "prime256v1") != 0) {
		EVP_PKEY_free(key);
		return NULL;
	}
	return key;
}

static void key_free_at(EVP_PKEY **k) { EVP_PKEY_free(*k); }
static void ctx_free_at(EVP_MD_CTX **c) { EVP_MD_CTX_free(*c); }
static void free_at(uint8_t **p) { free(*p); }

bool note_vkey_parse(const char *vkey, struct note_key *ret)
{
	const char *id = strchr(vkey, '+'), *text = id != NULL ? strchr(id + 1, '+') : NULL;
	struct note_key k = { 0 }, own;
	uint8_t key[1 + NOTE_KEY_MAX];
	char again[NOTE_VKEY_MAX + 1];
	size_t len = 0;

	if (text == NULL || strlen(vkey) > NOTE_VKEY_MAX || !is_name(vkey, (size_t)(id - vkey)) || text - id != 2 * ID_LEN + 1 ||
	    !hex_decode(id + 1, 2 * ID_LEN, k.id, ID_LEN) || !strict_base64(text + 1, strlen(text + 1), key, sizeof(key), &len) || len < 2)
		return false;
	if (key[0] != NOTE_ED25519 && key[0] != NOTE_ECDSA_P256 && key[0] != NOTE_COSIGNATURE)
		return false;
	memcpy(k.name, vkey, (size_t)(id - vkey));
	k.type = (enum note_type)key[0];
	k.pub_len = len - 1;
	memcpy(k.pub, key + 1, k.pub_len);
	own = k;
	note_key_seal(&own);
	note_vkey_format(&own, again); /* also refuses digits in upper case */
	__attribute__((cleanup(key_free_at))) EVP_PKEY *loaded = load_key(&k);
	if (loaded == NULL || strcmp(again, vkey) != 0)
		return false;
	*ret = k;
	return true;
}

size_t checkpoint_format(const struct checkpoint_text *c, char ret_text[NOTE_TEXT_MAX + 1])
{
	char root[ROOT_TEXT_LEN + 1];

	b64_encode(c->root, sizeof(c->root), root);
	return (size_t)snprintf(ret_text, NOTE_TEXT_MAX + 1, "%s\n%" PRIu64 "\n%s\n", c->origin, c->size, root);
}

static bool parse_size(const char *text, size_t len, uint64_t *ret)
{
	uint64_t n = 0;

	if (len == 0 || len > 19 || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		n = n * 10 + (unsigned)(text[i] - '0');
	}
	*ret = n;
	return n <= INT64_MAX; /* 19 digits do not overflow 64 bits */
}

/* The next line without its newline; NULL when there is no newline. */
static const char *take_line(const char **at, const char *end, size_t *ret_len)
{
	const char *line = *at, *newline = memchr(line, '\n', (size_t)(end - line));

	if (newline == NULL)
		return NULL;
	*ret_len = (size_t)(newline - line);
	*at = newline + 1;
	return line;
}

bool checkpoint_parse(const char *note, size_t note_len, struct checkpoint_text *ret, size_t *ret_text_len)
{
	struct checkpoint_text c = { 0 };
	const char *at = note, *end = note + note_len, *line;
	size_t len = 0, root_len = 0;

	line = take_line(&at, end, &len);
	if (line == NULL || !is_origin(line, len))
		return false;
	memcpy(c.origin, line, len);
	line = take_line(&at, end, &len);
	if (line == NULL || !parse_size(line, len, &c.size))
		return false;
	line = take_line(&at, end, &len);
	if (line == NULL || len != ROOT_TEXT_LEN || !strict_base64(line, len, c.root, sizeof(c.root), &root_len) || root_len != sizeof(c.root))
		return false;
	/* The text ends at the last empty line: this must be it, or extension lines would hide behind it. */
	if (at < end && (*at != '\n' || memmem(at, (size_t)(end - at), "\n\n", 2) != NULL))
		return false;
	*ret = c;
	*ret_text_len = (size_t)(at - note);
	return true;
}

size_t note_line_format(const struct note_key *k, const uint8_t *signature, size_t signature_len, char ret_line[NOTE_LINE_MAX + 1])
{
	uint8_t blob[BLOB_MAX];
	char text[B64_LEN(sizeof(blob)) + 1];

	assert(signature_len <= NOTE_SIGNATURE_MAX);
	memcpy(blob, k->id, ID_LEN);
	memcpy(blob + ID_LEN, signature, signature_len);
	b64_encode(blob, ID_LEN + signature_len, text);
	return (size_t)snprintf(ret_line, NOTE_LINE_MAX + 1, EM_DASH "%s %s\n", k->name, text);
}

static bool is_clean(const char *note, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t step = utf8_char_len(note + i, len - i);
		if (step == 0 || (step == 1 && (((unsigned char)note[i] < ' ' && note[i] != '\n') || note[i] == 0x7f)))
			return false;
		i += step;
	}
	return true;
}

/* Where the signature lines begin: behind the last empty line. NULL when the note has none, or is not a note. */
static const char *find_signatures(const char *note, size_t len, size_t max)
{
	if (len < 4 || len > max || note[len - 1] != '\n' || !is_clean(note, len))
		return NULL;
	for (size_t i = len - 1; i >= 1; i--) {
		if (note[i] == '\n' && note[i - 1] == '\n')
			return i + 1 < len ? note + i + 1 : NULL;
	}
	return NULL;
}

/* One signature line. */
struct line {
	const char *name;
	size_t name_len;
	bool is_readable; /* the base64 is of a length that we know; a longer one is somebody else's */
	uint8_t blob[BLOB_MAX];
	size_t blob_len;
};

static bool parse_line(const char *text, size_t len, struct line *ret)
{
	const char *space;

	if (len <= EM_DASH_LEN || memcmp(text, EM_DASH, EM_DASH_LEN) != 0) /* allowed: public */
		return false;
	ret->name = text + EM_DASH_LEN;
	space = memchr(ret->name, ' ', len - EM_DASH_LEN);
	if (space == NULL)
		return false;
	ret->name_len = (size_t)(space - ret->name);
	len -= EM_DASH_LEN + ret->name_len + 1;
	ret->is_readable = strict_base64(space + 1, len, ret->blob, sizeof(ret->blob), &ret->blob_len);
	return ret->name_len > 0 && len > 0 && memchr(space + 1, ' ', len) == NULL;
}

static kms_status check_signature(const struct note_key *k, const uint8_t *text, size_t text_len, const uint8_t *signature, size_t signature_len)
{
	__attribute__((cleanup(key_free_at))) EVP_PKEY *key = load_key(k);
	__attribute__((cleanup(ctx_free_at))) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx == NULL || key == NULL || EVP_DigestVerifyInit(ctx, NULL, k->type == NOTE_ECDSA_P256 ? EVP_sha256() : NULL, NULL, key) != 1)
		return KMS_E_CRYPTO;
	return EVP_DigestVerify(ctx, signature, signature_len, text, text_len) == 1 ? KMS_OK : KMS_E_CRYPTO;
}

static kms_status check_cosignature(const struct note_key *k, const char *text, size_t text_len, const struct line *l, int64_t *ret_time_s)
{
	const uint8_t *at = l->blob + ID_LEN;
	uint64_t time_s = 0;
	char head[64];

	if (l->blob_len != ID_LEN + COSIGNATURE_LEN)
		return KMS_E_CRYPTO;
	for (int i = 0; i < 8; i++)
		time_s = time_s << 8 | at[i];
	if (time_s > INT64_MAX)
		return KMS_E_CRYPTO;
	size_t head_len = (size_t)snprintf(head, sizeof(head), "cosignature/v1\ntime %" PRIu64 "\n", time_s);
	__attribute__((cleanup(free_at))) uint8_t *whole = malloc(head_len + text_len);
	if (whole == NULL)
		return KMS_E_NOMEM;
	memcpy(whole, head, head_len);
	memcpy(whole + head_len, text, text_len);
	KMS_TRY(check_signature(k, whole, head_len + text_len, at + 8, ED25519_SIGNATURE_LEN));
	if (ret_time_s != NULL)
		*ret_time_s = (int64_t)time_s;
	return KMS_OK;
}

static kms_status check_line(const struct note_key *k, const char *text, size_t text_len, const struct line *l, int64_t *ret_time_s)
{
	if (k->type == NOTE_COSIGNATURE)
		return check_cosignature(k, text, text_len, l, ret_time_s);
	if (k->type == NOTE_ED25519 && l->blob_len != ID_LEN + ED25519_SIGNATURE_LEN)
		return KMS_E_CRYPTO;
	return check_signature(k, (const uint8_t *)text, text_len, l->blob + ID_LEN, l->blob_len - ID_LEN);
}

static bool is_line_of(const struct line *l, const char *text, size_t len, const struct note_key *k)
{
	uint8_t id[ID_LEN + 2];
	size_t id_len = 0;

	if (l->name_len != strlen(k->name) || memcmp(l->name, k->name, l->name_len) != 0) /* allowed: public */
		return false;
	if (l->is_readable)
		return l->blob_len >= ID_LEN && memcmp(l->blob, k->id, ID_LEN) == 0; /* allowed: public */
	/* Not base64, or too long: ours if its first six bytes begin with our id. */
	const char *blob = l->name + l->name_len + 1;
	return (size_t)(text + len - blob) >= 8 && strict_base64(blob, 8, id, sizeof(id), &id_len) && memcmp(id, k->id, ID_LEN) == 0; /* allowed: public */
}

size_t note_text_len(const char *note, size_t note_len)
{
	const char *lines = find_signatures(note, note_len, NOTE_LONG_MAX);

	return lines != NULL ? (size_t)(lines - note) - 1 : 0;
}

static kms_status verify_within(const char *note, size_t note_len, size_t max, const struct note_key *k, int64_t *ret_time_s, struct kms_err *err)
{
	const char *at = find_signatures(note, note_len, max), *end = note + note_len, *text;
	size_t text_len, len = 0;
	bool is_found = false;

	if (at == NULL)
		return kms_fail(err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "not a signed note");
	text_len = (size_t)(at - note) - 1;
	while (at < end) {
		struct line l = { 0 };
		text = take_line(&at, end, &len); /* there is one: the note ends with a newline */
		if (text == NULL || !parse_line(text, len, &l))
			return kms_fail(err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "not a signature line");
		if (!is_line_of(&l, text, len, k))
			continue;
		if (!l.is_readable)
			return kms_fail(err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "the signature of %s cannot be read", k->name);
		kms_status status = check_line(k, note, text_len, &l, ret_time_s);
		if (status != KMS_OK)
			return kms_fail(err, status, KMS_SRC_OPENSSL, 0, "the signature of %s is wrong", k->name);
		is_found = true;
	}
	return is_found ? KMS_OK : kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "no signature of %s with this key", k->name);
}

kms_status note_verify(const char *note, size_t note_len, const struct note_key *k, int64_t *ret_time_s, struct kms_err *err)
{
	return verify_within(note, note_len, NOTE_MAX, k, ret_time_s, err);
}

kms_status note_verify_long(const char *note, size_t note_len, const struct note_key *k, struct kms_err *err)
{
	return verify_within(note, note_len, NOTE_LONG_MAX, k, NULL, err);
}

/* A positive INTEGER in its shortest form (X.690 section 8.3). @return bytes written */
static size_t put_integer(const uint8_t scalar[SCALAR_LEN], uint8_t *ret)
{
	size_t skip = 0, pad;

	while (skip < SCALAR_LEN - 1 && scalar[skip] == 0)
		skip++;
	pad = (scalar[skip] & 0x80) != 0 ? 1 : 0;
	ret[0] = 0x02;
	ret[1] = (uint8_t)(SCALAR_LEN - skip + pad);
	ret[2] = 0;
	memcpy(ret + 2 + pad, scalar + skip, SCALAR_LEN - skip);
	return 2 + pad + SCALAR_LEN - skip;
}

size_t note_der_signature(const uint8_t raw[64], uint8_t ret_der[NOTE_SIGNATURE_MAX])
{
	size_t len = put_integer(raw, ret_der + 2);

	len += put_integer(raw + SCALAR_LEN, ret_der + 2 + len);
	ret_der[0] = 0x30;
	ret_der[1] = (uint8_t)len;
	return 2 + len;
}

char *note_append_lines(const char *note, const char *lines)
{
	size_t len = strlen(note);
	char *whole = malloc(len + strlen(lines) + 1);

	if (whole == NULL)
		return NULL;
	memcpy(whole, note, len + 1);
	for (const char *at = lines, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
		size_t line_len = (size_t)(end + 1 - at);
		if (memmem(note, strlen(note), at, line_len) != NULL)
			continue;
		memcpy(whole + len, at, line_len);
		len += line_len;
		whole[len] = '\0';
	}
	return whole;
}
