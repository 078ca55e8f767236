/* tests/ekm-tester/checks_crypto.c - ekm-proxy.md sections 5.3 and 6.2 to 6.4: metadata, wrapping and unwrapping, lengths, damaged
 * ciphertexts. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/ekm-tester/tester.h"

#define SAMPLE_LEN 32
#define BLOCK 8 /* of RFC 3394 */
#define EXPONENT_ROOM 16
#define SIZES_MAX 16

/* ---- metadata ---- */
/* Expect 200; false after failed(). */
static bool metadata(struct tester *t, struct outcome *o, const char *key, struct answer *ret)
{
	char text[DETAIL_MAX];
	ask(t, (struct call){ .key = key, .op = "metadata", .json = body_new(t) }, ret);
	if (ret->result == WIRE_ANSWERED && ret->http.status == 200)
		return true;
	failed(o, "metadata of %s: expected 200, got %s", key, answer_text(ret, text));
	return false;
}

static void expect_type(struct outcome *o, const struct answer *a, const char *type)
{
	const char *found = json_string_value(json_object_get(a->json, "key_type"));
	if (found == NULL || strcmp(found, type) != 0)
		failed(o, "key_type is %s, not \"%s\"", found != NULL ? found : "no string", type);
	if (!json_is_integer(json_object_get(a->json, "key_size")))
		failed(o, "key_size is not an integer");
}

void check_metadata_aes(struct tester *t, const struct check *self, struct outcome *o)
{
	ANSWER_AUTO a = { 0 };
	const char *key = key_for(t, A256KW, o);
	(void)self;

	if (key == NULL || !metadata(t, o, key, &a))
		return;
	expect_type(o, &a, "oct");
	if (json_integer_value(json_object_get(a.json, "key_size")) != 256)
		failed(o, "key_size is %lld, not 256", (long long)json_integer_value(json_object_get(a.json, "key_size")));
	if (json_object_get(a.json, "n") != NULL || json_object_get(a.json, "e") != NULL)
		failed(o, "an oct key has no n and no e");
}

/* An unsigned big-endian integer in strict base64url; 0 after failed(). */
static size_t integer_of(struct outcome *o, const struct answer *a, const char *member, uint8_t *ret, size_t cap)
{
	const char *text = json_string_value(json_object_get(a->json, member));
	size_t len = 0;
	if (text == NULL)
		failed(o, "%s is no string", member);
	else if (!b64_get(text, ret, cap, &len) || len == 0)
		failed(o, "%s is not base64url without padding, or of the wrong size", member);
	else if (ret[0] == 0)
		failed(o, "%s has a leading zero byte", member);
	return len;
}

void check_metadata_rsa(struct tester *t, const struct check *self, struct outcome *o)
{
	ANSWER_AUTO a = { 0 };
	uint8_t n[MODULUS_MAX], e[EXPONENT_ROOM];
	const char *key = key_for(t, RSA_OAEP, o);
	(void)self;

	if (key == NULL || !metadata(t, o, key, &a))
		return;
	expect_type(o, &a, "RSA");
	long long size = json_integer_value(json_object_get(a.json, "key_size"));
	if (size != 2048 && size != 3072 && size != 4096)
		failed(o, "key_size is %lld, not 2048, 3072 or 4096", size);
	size_t n_len = integer_of(o, &a, "n", n, sizeof(n)), e_len = integer_of(o, &a, "e", e, sizeof(e));
	if (n_len > 0 && ((long long)n_len * 8 != size || (n[0] & 0x80) == 0))
		failed(o, "n is not a number of %lld bits", size);
	if (n_len > 0 && (n[n_len - 1] & 1) == 0)
		failed(o, "n is even");
	if (e_len > 0 && ((e[e_len - 1] & 1) == 0 || (e_len == 1 && e[0] == 1)))
		failed(o, "e is even or 1");
	remark(o, "RSA-%lld", size);
}

void check_key_ops(struct tester *t, const struct check *self, struct outcome *o)
{
	const char *const keys[] = { t->opt->aes_key, t->opt->rsa_key };
	json_t *right = json_pack("[s,s]", "wrapKey", "unwrapKey");
	(void)self;

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		ANSWER_AUTO a = { 0 };
		if (keys[i] == NULL || !metadata(t, o, keys[i], &a))
			continue;
		const json_t *ops = json_object_get(a.json, "key_ops");
		char *text = json_dumps(ops, JSON_COMPACT | JSON_ENCODE_ANY);
		if (!json_equal(ops, right))
			failed(o, "key_ops of %s is %.100s", keys[i], text != NULL ? text : "absent");
		free(text);
	}
	json_decref(right);
}

void tester_prepare(struct tester *t)
{
	ANSWER_AUTO a = { 0 };
	struct outcome unjudged = { 0 };
	uint8_t n[MODULUS_MAX], e[EXPONENT_ROOM];

	if (t->opt->rsa_key == NULL || !metadata(t, &unjudged, t->opt->rsa_key, &a))
		return;
	size_t n_len = integer_of(&unjudged, &a, "n", n, sizeof(n)), e_len = integer_of(&unjudged, &a, "e", e, sizeof(e));
	if (unjudged.verdict == FAIL)
		return;
	BIGNUM *bn_n = BN_bin2bn(n, (int)n_len, NULL), *bn_e = BN_bin2bn(e, (int)e_len, NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM *params = NULL;
	if (bn_n != NULL && bn_e != NULL && build != NULL && ctx != NULL &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, bn_n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, bn_e) == 1 && (params = OSSL_PARAM_BLD_to_param(build)) != NULL &&
	    EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &t->rsa_public, EVP_PKEY_PUBLIC_KEY, params) == 1)
		t->modulus_len = n_len;
	OSSL_PARAM_free(params);
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_BLD_free(build);
	BN_free(bn_e);
	BN_free(bn_n);
}

/* ---- round trips ---- */
static size_t wrapped_len(const struct tester *t, enum alg alg, size_t len)
{
	switch (alg) {
	case A256KW: return len + BLOCK;
	case A256KWP: return (len + BLOCK - 1) / BLOCK * BLOCK + BLOCK;
	case RSA_OAEP:
	case RSA_OAEP_256:
	case ALG_COUNT: break;
	}
	return t->modulus_len;
}

/* The lengths at which an implementation may go wrong; the longest comes last. */
static size_t sizes_of(const struct tester *t, enum alg alg, size_t ret[SIZES_MAX])
{
	static const size_t KW[] = { 16, 24, 32, 40, 64 }, KWP[] = { 1, 5, 7, 8, 9, 15, 16, 17, 20, 31, 32, 33, 65 },
	                    RSA_SIZES[] = { 1, 16, 32, 64 };
	const size_t *sizes = alg == A256KW ? KW : alg == A256KWP ? KWP : RSA_SIZES;
	size_t bytes = alg == A256KW ? sizeof(KW) : alg == A256KWP ? sizeof(KWP) : sizeof(RSA_SIZES);

	memcpy(ret, sizes, bytes);
	ret[bytes / sizeof(*ret)] = longest_input(t, alg);
	return bytes / sizeof(*ret) + 1;
}

/* The key for the check's algorithm and, for RSA, a known modulus; NULL after skipped(). */
static const char *ready_key(const struct tester *t, enum alg alg, struct outcome *o)
{
	const char *key = key_for(t, alg, o);
	if (key != NULL && longest_input(t, alg) == 0) {
		skipped(o, "the RSA key's metadata could not be read");
		return NULL;
	}
	return key;
}

/* The proxy's unwrapkey must give `plain` for `wrapped`. */
static bool expect_unwrapped(struct tester *t, struct outcome *o, enum alg alg, const char *key, const uint8_t *wrapped,
                             size_t wrapped_size, const uint8_t *plain, size_t len)
{
	uint8_t back[VALUE_ROOM];
	size_t back_len = 0;

	if (!expect_bytes(t, o, key, "unwrapkey", alg, wrapped, wrapped_size, back, &back_len))
		return false;
	if (back_len != len || memcmp(back, plain, len) != 0) {
		failed(o, "%s: %zu bytes came back as %zu%s bytes", ALGORITHMS[alg].name, len, back_len, back_len == len ? " other" : "");
		return false;
	}
	return true;
}

static bool random_bytes(struct outcome *o, uint8_t *ret, size_t len)
{
	if (RAND_bytes(ret, (int)len) == 1)
		return true;
	skipped(o, "this machine gives no random bytes");
	return false;
}

void check_round_trip(struct tester *t, const struct check *self, struct outcome *o)
{
	const char *key = ready_key(t, self->alg, o);
	uint8_t plain[VALUE_ROOM], wrapped[VALUE_ROOM];
	size_t sizes[SIZES_MAX], len = 0, count = key != NULL ? sizes_of(t, self->alg, sizes) : 0;

	for (size_t i = 0; i < count; i++) {
		if (!random_bytes(o, plain, sizes[i]) || !expect_bytes(t, o, key, "wrapkey", self->alg, plain, sizes[i], wrapped, &len))
			continue;
		if (len != wrapped_len(t, self->alg, sizes[i]))
			failed(o, "%s: %zu bytes were wrapped into %zu, not %zu", ALGORITHMS[self->alg].name, sizes[i], len,
			       wrapped_len(t, self->alg, sizes[i]));
		else
			(void)expect_unwrapped(t, o, self->alg, key, wrapped, len, plain, sizes[i]);
	}
}

void check_rsa_empty(struct tester *t, const struct check *self, struct outcome *o)
{
	const char *key = ready_key(t, self->alg, o);
	uint8_t wrapped[VALUE_ROOM];
	size_t len = 0;

	if (key != NULL && expect_bytes(t, o, key, "wrapkey", self->alg, "", 0, wrapped, &len))
		(void)expect_unwrapped(t, o, self->alg, key, wrapped, len, wrapped, 0);
}

static bool wrap_sample_twice(struct tester *t, struct outcome *o, enum alg alg, bool *ret_same)
{
	const char *key = ready_key(t, alg, o);
	uint8_t plain[SAMPLE_LEN], first[VALUE_ROOM], second[VALUE_ROOM];
	size_t first_len = 0, second_len = 0;

	if (key == NULL || !random_bytes(o, plain, sizeof(plain)) ||
	    !expect_bytes(t, o, key, "wrapkey", alg, plain, sizeof(plain), first, &first_len) ||
	    !expect_bytes(t, o, key, "wrapkey", alg, plain, sizeof(plain), second, &second_len))
		return false;
	*ret_same = first_len == second_len && memcmp(first, second, first_len) == 0;
	return true;
}

void check_aes_deterministic(struct tester *t, const struct check *self, struct outcome *o)
{
	bool same;
	if (wrap_sample_twice(t, o, self->alg, &same) && !same)
		failed(o, "two wraps of the same bytes differ");
}

void check_rsa_random(struct tester *t, const struct check *self, struct outcome *o)
{
	bool same;
	if (wrap_sample_twice(t, o, self->alg, &same) && same)
		failed(o, "two wraps of the same bytes are equal");
}

void check_unwrap_deterministic(struct tester *t, const struct check *self, struct outcome *o)
{
	const char *key = ready_key(t, self->alg, o);
	uint8_t plain[SAMPLE_LEN], wrapped[VALUE_ROOM];
	size_t len = 0;

	if (key == NULL || !random_bytes(o, plain, sizeof(plain)) ||
	    !expect_bytes(t, o, key, "wrapkey", self->alg, plain, sizeof(plain), wrapped, &len))
		return;
	for (int i = 0; i < 3; i++)
		(void)expect_unwrapped(t, o, self->alg, key, wrapped, len, plain, sizeof(plain));
}

/* ---- against OpenSSL ---- */
static bool wrap_here(const struct tester *t, enum alg alg, const uint8_t *plain, size_t len, uint8_t ret[VALUE_ROOM], size_t *ret_len)
{
	char digest[16];
	(void)snprintf(digest, sizeof(digest), "%s", ALGORITHMS[alg].digest);
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, digest, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(t->rsa_public, NULL);
	*ret_len = VALUE_ROOM;
	bool ok = ctx != NULL && EVP_PKEY_encrypt_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
	          EVP_PKEY_CTX_set_params(ctx, params) == 1 && EVP_PKEY_encrypt(ctx, ret, ret_len, plain, len) == 1;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

void check_openssl_wraps(struct tester *t, const struct check *self, struct outcome *o)
{
	const char *key = ready_key(t, self->alg, o);
	uint8_t plain[VALUE_ROOM], wrapped[VALUE_ROOM];
	size_t sizes[SIZES_MAX], len = 0, count = key != NULL ? sizes_of(t, self->alg, sizes) : 0;

	for (size_t i = 0; i < count; i++) {
		if (!random_bytes(o, plain, sizes[i]))
			return;
		if (!wrap_here(t, self->alg, plain, sizes[i], wrapped, &len))
			failed(o, "OpenSSL cannot encrypt with the published n and e");
		else
			(void)expect_unwrapped(t, o, self->alg, key, wrapped, len, plain, sizes[i]);
	}
}

static bool aes_wrap_here(const struct tester *t, enum alg alg, const uint8_t *plain, size_t len, uint8_t ret[VALUE_ROOM], size_t *ret_len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	const EVP_CIPHER *cipher = alg == A256KW ? EVP_aes_256_wrap() : EVP_aes_256_wrap_pad();
	int n = 0;
	if (ctx != NULL)
		EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	bool ok = ctx != NULL && EVP_EncryptInit_ex(ctx, cipher, NULL, t->aes_bytes, NULL) == 1 &&
	          EVP_EncryptUpdate(ctx, ret, &n, plain, (int)len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	ERR_clear_error();
	*ret_len = (size_t)n;
	return ok;
}

void check_known_bytes(struct tester *t, const struct check *self, struct outcome *o)
{
	uint8_t plain[VALUE_ROOM], here[VALUE_ROOM], there[VALUE_ROOM];
	size_t sizes[SIZES_MAX], here_len = 0, there_len = 0;

	if (!t->has_aes_bytes) {
		skipped(o, "needs --aes-key-bytes: without the key nobody can tell what the proxy wrapped with it");
		return;
	}
	const char *key = ready_key(t, self->alg, o);
	size_t count = key != NULL ? sizes_of(t, self->alg, sizes) : 0;
	for (size_t i = 0; i < count; i++) {
		if (!random_bytes(o, plain, sizes[i]) || !aes_wrap_here(t, self->alg, plain, sizes[i], here, &here_len)) {
			skipped(o, "OpenSSL cannot wrap %zu bytes", sizes[i]);
			return;
		}
		if (!expect_bytes(t, o, key, "wrapkey", self->alg, plain, sizes[i], there, &there_len))
			continue;
		if (here_len != there_len || memcmp(here, there, here_len) != 0)
			failed(o, "%zu bytes wrapped by the proxy and by OpenSSL differ", sizes[i]);
		(void)expect_unwrapped(t, o, self->alg, key, here, here_len, plain, sizes[i]);
	}
}

void check_no_store(struct tester *t, const struct check *self, struct outcome *o)
{
	ANSWER_AUTO a = { 0 };
	const char *key = ready_key(t, self->alg, o);
	uint8_t plain[SAMPLE_LEN], wrapped[VALUE_ROOM];
	size_t len = 0;

	if (key == NULL || !random_bytes(o, plain, sizeof(plain)) ||
	    !expect_bytes(t, o, key, "wrapkey", self->alg, plain, sizeof(plain), wrapped, &len))
		return;
	ask(t, (struct call){ .key = key, .op = "unwrapkey", .json = body_crypto(t, ALGORITHMS[self->alg].name, wrapped, len) }, &a);
	const char *cache = a.result == WIRE_ANSWERED ? response_header(&a.http, "Cache-Control") : NULL;
	if (cache == NULL || strcasestr(cache, "no-store") == NULL)
		failed(o, "Cache-Control is %s", cache != NULL ? cache : "absent");
}

/* ---- wrong lengths ---- */
static void refuse_lengths(struct tester *t, struct outcome *o, enum alg alg, const char *op, const size_t lengths[], size_t count)
{
	const char *key = ready_key(t, alg, o);
	uint8_t bytes[VALUE_ROOM];

	for (size_t i = 0; i < count && key != NULL && random_bytes(o, bytes, sizeof(bytes)); i++) {
		char what[DETAIL_MAX];
		(void)snprintf(what, sizeof(what), "%s %s of %zu bytes", ALGORITHMS[alg].name, op, lengths[i]);
		bytes[0] &= 0x7f; /* below any modulus of that length */
		(void)expect(t, o, (struct call){ .key = key, .op = op, .json = body_crypto(t, ALGORITHMS[alg].name, bytes, lengths[i]) },
		             400, 0, what);
	}
}

void check_kw_length(struct tester *t, const struct check *self, struct outcome *o)
{
	static const size_t LENGTHS[] = { 0, 1, 8, 15, 17, 20, 31, 33 };
	refuse_lengths(t, o, self->alg, "wrapkey", LENGTHS, sizeof(LENGTHS) / sizeof(*LENGTHS));
}

void check_kwp_empty(struct tester *t, const struct check *self, struct outcome *o)
{
	refuse_lengths(t, o, self->alg, "wrapkey", (const size_t[]){ 0 }, 1);
}

void check_oaep_too_long(struct tester *t, const struct check *self, struct outcome *o)
{
	const size_t lengths[] = { longest_input(t, self->alg) + 1, t->modulus_len, t->modulus_len + 1 };
	refuse_lengths(t, o, self->alg, "wrapkey", lengths, sizeof(lengths) / sizeof(*lengths));
}

void check_unwrap_length(struct tester *t, const struct check *self, struct outcome *o)
{
	static const size_t KW[] = { 0, 8, 16, 23, 25, 33 }, KWP[] = { 0, 8, 15, 17, 25 };
	const size_t rsa[] = { 0, 1, t->modulus_len - 1, t->modulus_len + 1, 2 * t->modulus_len };

	if (self->alg == A256KW)
		refuse_lengths(t, o, self->alg, "unwrapkey", KW, sizeof(KW) / sizeof(*KW));
	else if (self->alg == A256KWP)
		refuse_lengths(t, o, self->alg, "unwrapkey", KWP, sizeof(KWP) / sizeof(*KWP));
	else
		refuse_lengths(t, o, self->alg, "unwrapkey", rsa, sizeof(rsa) / sizeof(*rsa));
}

/* ---- ciphertexts that do not unwrap ---- */
/* Unwrap what was damaged; the first refusal's code and message are kept and, if asked, all others compared with them. */
struct refusals {
	struct outcome *o;
	enum alg alg;
	bool must_be_equal;
	json_t *code, *message;
};

static const char *text_of(const json_t *value) { return json_is_string(value) ? json_string_value(value) : "(no text)"; }

static void expect_refused(struct tester *t, struct refusals *r, const char *key, const uint8_t *bytes, size_t len, const char *what)
{
	ANSWER_AUTO a = { 0 };
	char text[DETAIL_MAX];

	ask(t, (struct call){ .key = key, .op = "unwrapkey", .json = body_crypto(t, ALGORITHMS[r->alg].name, bytes, len) }, &a);
	if (a.result != WIRE_ANSWERED || a.http.status != 400) {
		failed(r->o, "%s: expected 400, got %s", what, answer_text(&a, text));
		return;
	}
	json_t *code = json_object_get(a.json, "code"), *message = json_object_get(a.json, "message");
	if (r->code == NULL) {
		r->code = json_incref(code);
		r->message = json_incref(message);
	} else if (r->must_be_equal && (!json_equal(r->code, code) || !json_equal(r->message, message)))
		failed(r->o, "a changed first byte: %.60s \"%.60s\"; %s: %.60s \"%.60s\"", text_of(r->code), text_of(r->message), what,
		       text_of(code), text_of(message));
}

/* Other algorithm, same key: what one makes, the other must refuse. */
static enum alg twin(enum alg alg)
{
	static const enum alg TWINS[ALG_COUNT] = { A256KWP, A256KW, RSA_OAEP_256, RSA_OAEP };
	return TWINS[alg];
}

static void damage(struct tester *t, struct refusals *r)
{
	const char *key = ready_key(t, r->alg, r->o);
	uint8_t plain[SAMPLE_LEN], wrapped[VALUE_ROOM];
	size_t len = 0;

	if (key == NULL || !random_bytes(r->o, plain, sizeof(plain)) ||
	    !expect_bytes(t, r->o, key, "wrapkey", r->alg, plain, sizeof(plain), wrapped, &len) || len == 0)
		return;
	const size_t places[] = { 0, len / 2, len - 1 };
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		char what[DETAIL_MAX];
		(void)snprintf(what, sizeof(what), "a changed byte %zu of %zu", places[i], len);
		wrapped[places[i]] ^= 1;
		expect_refused(t, r, key, wrapped, len, what);
		wrapped[places[i]] ^= 1;
	}
	memset(wrapped, 0xff, len);
	expect_refused(t, r, key, wrapped, len, "all bits one");
	memset(wrapped, 0, len);
	expect_refused(t, r, key, wrapped, len, "all bits zero");
	if (expect_bytes(t, r->o, key, "wrapkey", twin(r->alg), plain, sizeof(plain), wrapped, &len))
		expect_refused(t, r, key, wrapped, len, "what the other algorithm wrapped");
}

void check_tampered(struct tester *t, const struct check *self, struct outcome *o)
{
	struct refusals r = { .o = o, .alg = self->alg };
	damage(t, &r);
	json_decref(r.code);
	json_decref(r.message);
}

void check_uniform(struct tester *t, const struct check *self, struct outcome *o)
{
	struct refusals r = { .o = o, .alg = self->alg, .must_be_equal = true };
	damage(t, &r);
	json_decref(r.code);
	json_decref(r.message);
}
