/* server/witness/note.c - see note.h. */
#include "server/witness/note.h"

#include <openssl/ec.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/witness/encode.h"

#define ED25519_LEN 32
#define ED25519_SIGNATURE_LEN 64
#define DASH "\xe2\x80\x94 " /* EM DASH, space */
#define DASH_LEN (sizeof(DASH) - 1)
#define TIME_LEN 8
#define KNOWN_LINES_MAX 32 /* in one note: each costs a verification, and strangers can repeat them */

static void free_key(EVP_PKEY **key) { EVP_PKEY_free(*key); }
static void free_digest(EVP_MD_CTX **ctx) { EVP_MD_CTX_free(*ctx); }
static void free_text(char **text) { free(*text); }
#define PKEY_AUTO __attribute__((cleanup(free_key))) EVP_PKEY
#define DIGEST_AUTO __attribute__((cleanup(free_digest))) EVP_MD_CTX
#define TEXT_AUTO __attribute__((cleanup(free_text))) char

/* ---- keys ---- */

bool name_is_good(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > NAME_LEN_MAX)
		return false;
	for (const char *c = name; *c != '\0'; c++)
		if (*c <= ' ' || *c >= 0x7f || *c == '+' || *c == ',')
			return false;
	return true;
}

static void key_id(const struct verifier *v, uint8_t ret_id[4])
{
	uint8_t text[NAME_LEN_MAX + 2 + KEY_LEN_MAX], digest[SHA256_DIGEST_LENGTH];
	size_t len = 0;

	/* A P-256 key is known by the hash of its SubjectPublicKeyInfo alone. */
	if (v->type != KEY_ECDSA_P256) {
		len = strlen(v->name);
		memcpy(text, v->name, len);
		text[len++] = '\n';
		text[len++] = (uint8_t)v->type;
	}
	memcpy(text + len, v->pub, v->pub_len);
	SHA256(text, len + v->pub_len, digest);
	memcpy(ret_id, digest, 4);
}

void verifier_make(const char *name, enum key_type type, const uint8_t pub[32], struct verifier *ret)
{
	*ret = (struct verifier){ .type = type, .pub_len = ED25519_LEN };
	(void)snprintf(ret->name, sizeof(ret->name), "%s", name);
	memcpy(ret->pub, pub, ED25519_LEN);
	key_id(ret, ret->id);
}

void verifier_format(const struct verifier *v, char ret_text[VKEY_LEN_MAX + 1])
{
	uint8_t blob[1 + KEY_LEN_MAX];
	char encoded[BASE64_LEN(sizeof(blob)) + 1], id[9];

	blob[0] = (uint8_t)v->type;
	memcpy(blob + 1, v->pub, v->pub_len);
	base64_write(blob, 1 + v->pub_len, encoded);
	hex_write(v->id, 4, id);
	(void)snprintf(ret_text, VKEY_LEN_MAX + 1, "%s+%s+%s", v->name, id, encoded);
}

static EVP_PKEY *key_open(const struct verifier *v)
{
	const uint8_t *der = v->pub;
	char group[16] = "";
	size_t group_len = 0;
	EVP_PKEY *key = NULL;

	if (v->type != KEY_ECDSA_P256)
		return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, v->pub, v->pub_len);
	key = d2i_PUBKEY(NULL, &der, (long)v->pub_len);
	if (key != NULL && der == v->pub + v->pub_len && EVP_PKEY_get_group_name(key, group, sizeof(group), &group_len) == 1 && strcmp(group, "prime256v1") == 0)
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

static bool is_key(const struct verifier *v)
{
	PKEY_AUTO *key = v->type == KEY_ECDSA_P256 || v->pub_len == ED25519_LEN ? key_open(v) : NULL;
	return key != NULL;
}

bool verifier_parse(const char *text, size_t len, struct verifier *ret)
{
	struct verifier v = { 0 };
	const char *id = memchr(text, '+', len);
	const char *key = id == NULL ? NULL : memchr(id + 1, '+', len - (size_t)(id + 1 - text));
	uint8_t blob[1 + KEY_LEN_MAX];
	char hex[9];
	size_t blob_len = 0;

	if (key == NULL || key - id != 9 || (size_t)(id - text) > NAME_LEN_MAX)
		return false;
	memcpy(v.name, text, (size_t)(id - text));
	if (!name_is_good(v.name) || strlen(v.name) != (size_t)(id - text) ||
	    !base64_read(key + 1, len - (size_t)(key + 1 - text), blob, sizeof(blob), &blob_len) || blob_len < 2)
		return false;
	if (blob[0] != KEY_ED25519 && blob[0] != KEY_ECDSA_P256 && blob[0] != KEY_COSIGNATURE)
		return false;
	v.type = (enum key_type)blob[0];
	v.pub_len = blob_len - 1;
	memcpy(v.pub, blob + 1, v.pub_len);
	key_id(&v, v.id);
	hex_write(v.id, 4, hex);
	if (memcmp(hex, id + 1, 8) != 0 || !is_key(&v))
		return false;
	*ret = v;
	return true;
}

/* ---- reading a checkpoint ---- */

/* The line at `at`, without its newline; NULL when there is no whole one. */
static const char *line_end(const char *at, const char *end) { return at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL; }

/* "— name base64": where the name and the base64 are. */
struct signature_line {
	const char *name, *encoded;
	size_t name_len, encoded_len;
};

static bool signature_line_parse(const char *line, size_t len, struct signature_line *ret)
{
	const char *space = NULL;

	if (len <= DASH_LEN || memcmp(line, DASH, DASH_LEN) != 0)
		return false;
	ret->name = line + DASH_LEN;
	space = memchr(ret->name, ' ', len - DASH_LEN);
	if (space == NULL || space == ret->name || memchr(ret->name, '+', (size_t)(space - ret->name)) != NULL)
		return false;
	ret->name_len = (size_t)(space - ret->name);
	ret->encoded = space + 1;
	ret->encoded_len = len - (size_t)(space + 1 - line);
	return true;
}

/* Id and signature of a line; false unless they are some of each. */
static bool signature_read(const struct signature_line *s, uint8_t ret_bytes[SIGNATURE_LEN_MAX], size_t *ret_len)
{
	return base64_read(s->encoded, s->encoded_len, ret_bytes, SIGNATURE_LEN_MAX, ret_len) && *ret_len > 4;
}

static bool signatures_are_good(const char *at, const char *end)
{
	uint8_t bytes[SIGNATURE_LEN_MAX];
	struct signature_line s;
	size_t len = 0;

	if (at == end)
		return false;
	for (const char *eol; at < end; at = eol + 1) {
		eol = line_end(at, end);
		if (eol == NULL || !signature_line_parse(at, (size_t)(eol - at), &s) || !signature_read(&s, bytes, &len))
			return false;
	}
	return true;
}

/* Three lines, and then what the log wants to add: lines that are not empty. */
static bool text_parse(struct note *n)
{
	const char *at = n->text, *end = n->text + n->text_len, *eol = NULL;
	size_t len = 0, root_len = 0;

	for (unsigned line = 0; at < end; line++, at = eol + 1) {
		eol = line_end(at, end);
		len = eol == NULL ? 0 : (size_t)(eol - at);
		if (len == 0)
			return false;
		if (line == 0 && len > NAME_LEN_MAX)
			return false;
		if (line == 0)
			memcpy(n->origin, at, len);
		else if (line == 1 && !decimal_read(at, len, &n->size))
			return false;
		else if (line == 2 && (!base64_read(at, len, n->root, HASH_LEN, &root_len) || root_len != HASH_LEN))
			return false;
	}
	return root_len == HASH_LEN;
}

bool note_parse(const char *bytes, size_t len, struct note *ret)
{
	struct note n = { .text = bytes };

	if (len < 2 || len > NOTE_LEN_MAX || bytes[len - 1] != '\n' || !is_note_text(bytes, len))
		return false;
	for (size_t i = len - 1; i > 0 && n.signatures == NULL; i--) {
		if (bytes[i] != '\n' || bytes[i - 1] != '\n')
			continue;
		n.text_len = i;
		n.signatures = bytes + i + 1;
		n.signatures_len = len - i - 1;
	}
	if (n.signatures == NULL || !signatures_are_good(n.signatures, bytes + len) || !text_parse(&n))
		return false;
	*ret = n;
	return true;
}

/* ---- signatures ---- */

static bool signature_is_good(const struct note *n, const struct verifier *v, const uint8_t *signature, size_t len)
{
	PKEY_AUTO *key = key_open(v);
	DIGEST_AUTO *ctx = EVP_MD_CTX_new();

	return key != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, v->type == KEY_ECDSA_P256 ? EVP_sha256() : NULL, NULL, key) == 1 &&
	       EVP_DigestVerify(ctx, signature, len, (const uint8_t *)n->text, n->text_len) == 1;
}

static bool is_of(const struct signature_line *s, const uint8_t id[4], const struct verifier *v)
{
	return strlen(v->name) == s->name_len && memcmp(v->name, s->name, s->name_len) == 0 && memcmp(v->id, id, sizeof(v->id)) == 0;
}

enum note_verdict note_verify(const struct note *note, const struct verifier *keys, size_t key_count, char *ret_lines)
{
	const char *end = note->signatures + note->signatures_len;
	enum note_verdict verdict = NOTE_UNKNOWN;
	uint8_t bytes[SIGNATURE_LEN_MAX];
	struct signature_line s;
	size_t len = 0, kept = 0, known = 0;

	for (const char *at = note->signatures, *eol; at < end; at = eol + 1) {
		eol = line_end(at, end);
		if (eol == NULL || !signature_line_parse(at, (size_t)(eol - at), &s) || !signature_read(&s, bytes, &len))
			return NOTE_BAD;
		for (size_t k = 0; k < key_count; k++) {
			if (!is_of(&s, bytes, &keys[k]))
				continue;
			if (++known > KNOWN_LINES_MAX || !signature_is_good(note, &keys[k], bytes + 4, len - 4))
				return NOTE_BAD;
			verdict = NOTE_GOOD;
			memcpy(ret_lines + kept, at, (size_t)(eol + 1 - at));
			kept += (size_t)(eol + 1 - at);
			break;
		}
	}
	ret_lines[kept] = '\0';
	return verdict;
}

static bool sign(EVP_PKEY *key, const char *text, size_t len, uint8_t ret_signature[ED25519_SIGNATURE_LEN])
{
	DIGEST_AUTO *ctx = EVP_MD_CTX_new();
	size_t signature_len = ED25519_SIGNATURE_LEN;

	return ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
	       EVP_DigestSign(ctx, ret_signature, &signature_len, (const uint8_t *)text, len) == 1 && signature_len == ED25519_SIGNATURE_LEN;
}

bool note_cosign(const struct note *note, const struct verifier *own, EVP_PKEY *key, uint64_t time_s, char ret_line[COSIGNATURE_LINE_MAX + 1])
{
	uint8_t blob[4 + TIME_LEN + ED25519_SIGNATURE_LEN];
	char encoded[BASE64_LEN(sizeof(blob)) + 1];
	TEXT_AUTO *message = NULL;
	int len = asprintf(&message, "cosignature/v1\ntime %llu\n%.*s", (unsigned long long)time_s, (int)note->text_len, note->text);

	if (len < 0) {
		message = NULL;
		return false;
	}
	memcpy(blob, own->id, 4);
	for (unsigned i = 0; i < TIME_LEN; i++)
		blob[4 + i] = (uint8_t)(time_s >> (56 - 8 * i));
	if (!sign(key, message, (size_t)len, blob + 4 + TIME_LEN))
		return false;
	base64_write(blob, sizeof(blob), encoded);
	(void)snprintf(ret_line, COSIGNATURE_LINE_MAX + 1, DASH "%s %s\n", own->name, encoded);
	return true;
}
