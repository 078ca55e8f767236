/* api/keyset.c - see keyset.h. */
#include "api/keyset.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"

#define P256_COORDINATE 32
#define P256_POINT (1 + 2 * P256_COORDINATE)
#define ED25519_LEN 32
#define MODULUS_MAX (JWT_RSA_BITS_MAX / 8 + 1) /* one leading zero byte is common, if wrong */
#define EXPONENT_MAX 8
#define DEPTH_MAX 8 /* levels of a JWK Set: two of it, and what is added to keys */

struct keyset_key {
	char kid[JWT_KID_MAX + 1];
	EVP_PKEY *key; /* owned */
	unsigned algs;
};

struct keyset {
	atomic_uint holders;
	size_t count;
	struct keyset_key keys[KEYSET_KEYS_MAX];
};

static void set_free(struct keyset *set)
{
	for (size_t i = 0; set != NULL && i < set->count; i++)
		EVP_PKEY_free(set->keys[i].key);
	free(set);
}

/* ---- one key ---- */

static const char *text_of(const json_t *jwk, const char *name)
{
	const char *text = json_string_value(json_object_get(jwk, name));
	return text != NULL ? text : "";
}

static bool bytes_of(const json_t *jwk, const char *name, uint8_t *ret_bytes, size_t cap, size_t *ret_len)
{
	const char *text = text_of(jwk, name);
	size_t len = strlen(text);

	return len > 0 && text[len - 1] != '=' && b64url_decode(text, len, ret_bytes, cap, ret_len);
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY_CTX *ctx = params != NULL ? EVP_PKEY_CTX_new_from_name(NULL, type, NULL) : NULL;
	EVP_PKEY *key = NULL;

	if (ctx != NULL && EVP_PKEY_fromdata_init(ctx) > 0 && EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* An even modulus, or an exponent that is even or below 3, is no RSA key. */
static EVP_PKEY *read_rsa(const json_t *jwk)
{
	uint8_t n[MODULUS_MAX], e[EXPONENT_MAX];
	size_t n_len = 0, e_len = 0;
	BIGNUM *modulus = NULL, *exponent = NULL;
	OSSL_PARAM_BLD *build = NULL;
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;

	if (!bytes_of(jwk, "n", n, sizeof(n), &n_len) || !bytes_of(jwk, "e", e, sizeof(e), &e_len))
		return NULL;
	modulus = BN_bin2bn(n, (int)n_len, NULL);
	exponent = BN_bin2bn(e, (int)e_len, NULL);
	build = OSSL_PARAM_BLD_new();
	if (modulus != NULL && exponent != NULL && build != NULL && BN_is_odd(modulus) && BN_is_odd(exponent) && !BN_is_one(exponent) &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
		params = OSSL_PARAM_BLD_to_param(build);
	key = from_params("RSA", params);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	BN_free(modulus);
	BN_free(exponent);
	return key;
}

/* OpenSSL refuses a point that is not on the curve. */
static EVP_PKEY *read_ec(const json_t *jwk)
{
	uint8_t point[P256_POINT] = { 0x04 };
	size_t x_len = 0, y_len = 0;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char[]){ "prime256v1" }, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
		OSSL_PARAM_construct_end(),
	};

	if (strcmp(text_of(jwk, "crv"), "P-256") != 0 || !bytes_of(jwk, "x", point + 1, P256_COORDINATE, &x_len) || x_len != P256_COORDINATE ||
	    !bytes_of(jwk, "y", point + 1 + P256_COORDINATE, P256_COORDINATE, &y_len) || y_len != P256_COORDINATE)
		return NULL;
	return from_params("EC", params);
}

static EVP_PKEY *read_okp(const json_t *jwk)
{
	uint8_t x[ED25519_LEN];
	size_t len = 0;

	if (strcmp(text_of(jwk, "crv"), "Ed25519") != 0 || !bytes_of(jwk, "x", x, sizeof(x), &len) || len != ED25519_LEN)
		return NULL;
	return EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, x, sizeof(x));
}

static EVP_PKEY *read_key(const json_t *jwk)
{
	const char *kty = text_of(jwk, "kty");

	if (strcmp(kty, "RSA") == 0)
		return read_rsa(jwk);
	if (strcmp(kty, "EC") == 0)
		return read_ec(jwk);
	return strcmp(kty, "OKP") == 0 ? read_okp(jwk) : NULL;
}

/* Meant for signatures, as far as it says (RFC 7517 sections 4.2 and 4.3)? */
static bool is_for_signatures(const json_t *jwk)
{
	const json_t *use = json_object_get(jwk, "use"), *ops = json_object_get(jwk, "key_ops"), *op = NULL;
	size_t i = 0;

	if (use != NULL && strcmp(text_of(jwk, "use"), "sig") != 0)
		return false;
	json_array_foreach(ops, i, op)
		if (json_is_string(op) && strcmp(json_string_value(op), "verify") == 0)
			return true;
	return ops == NULL;
}

/* The algorithms that the key can be used with, or the one that it says it is for. */
static unsigned algs_of(const json_t *jwk, const EVP_PKEY *key)
{
	unsigned algs = jwt_key_algs(key);

	return json_object_get(jwk, "alg") == NULL ? algs : algs & (unsigned)jwt_alg_parse(text_of(jwk, "alg"));
}

static bool is_private(const json_t *jwk)
{
	static const char *const PRIVATE[] = { "d", "p", "q", "dp", "dq", "qi", "oth" };

	for (size_t i = 0; i < KMS_ARRAY_LEN(PRIVATE); i++)
		if (json_object_get(jwk, PRIVATE[i]) != NULL)
			return true;
	return false;
}

static kms_status add_key(struct keyset *set, const json_t *jwk, struct kms_err *err)
{
	struct keyset_key *k = &set->keys[set->count];
	unsigned algs = 0;

	if (!json_is_object(jwk))
		return kms_refuse(err, KMS_E_INVALID, "The JWK Set has a member that is not a key.");
	if (strcmp(text_of(jwk, "kty"), "oct") == 0)
		return KMS_OK;
	if (is_private(jwk))
		return kms_refuse(err, KMS_E_CONFLICT, "The JWK Set holds a private key: it is public now, and nothing that it signed can be believed.");
	if (!jwt_kid_is_valid(text_of(jwk, "kid")) || !is_for_signatures(jwk))
		return KMS_OK;
	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->keys[i].kid, text_of(jwk, "kid")) == 0)
			return kms_refuse(err, KMS_E_INVALID, "The JWK Set has two keys of the same kid: %s.", set->keys[i].kid);
	k->key = read_key(jwk);
	ERR_clear_error();
	algs = k->key != NULL ? algs_of(jwk, k->key) : 0;
	if (algs == 0) {
		EVP_PKEY_free(KMS_TAKE(k->key));
		return KMS_OK;
	}
	k->algs = algs;
	memcpy(k->kid, text_of(jwk, "kid"), strlen(text_of(jwk, "kid")) + 1);
	set->count++;
	return KMS_OK;
}

/* ---- the set ---- */

/* jansson would go down thousands of levels. */
static bool is_shallow(const uint8_t *text, size_t len)
{
	size_t depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len && depth <= DEPTH_MAX; i++) {
		char c = (char)text[i];
		if (in_string) {
			i += c == '\\';
			in_string = c != '"';
			continue;
		}
		in_string = c == '"';
		depth += c == '[' || c == '{';
		depth -= depth > 0 && (c == ']' || c == '}');
	}
	return depth <= DEPTH_MAX;
}

static kms_status read_keys(struct keyset *set, const json_t *document, struct kms_err *err)
{
	const json_t *keys = json_object_get(document, "keys"), *jwk = NULL;
	size_t i = 0;

	if (!json_is_array(keys))
		return kms_refuse(err, KMS_E_INVALID, "Not a JWK Set: a JSON object without duplicate members, with an array 'keys', was expected.");
	if (json_array_size(keys) > KEYSET_KEYS_MAX)
		return kms_refuse(err, KMS_E_INVALID, "The JWK Set has more than %d keys.", KEYSET_KEYS_MAX);
	json_array_foreach(keys, i, jwk)
		KMS_TRY(add_key(set, jwk, err));
	if (set->count == 0)
		return kms_refuse(err, KMS_E_CONFLICT, "The JWK Set has no key that could be used: with a kid, for signatures, RSA of %d bits or more, P-256 or Ed25519.",
		                  JWT_RSA_BITS_MIN);
	return KMS_OK;
}

kms_status keyset_parse(const uint8_t *text, size_t len, struct keyset **ret_set, struct kms_err *err)
{
	JSON_AUTO *document = NULL;
	struct keyset *set = NULL;
	kms_status status = KMS_OK;

	if (len > KEYSET_TEXT_MAX)
		return kms_refuse(err, KMS_E_INVALID, "The JWK Set is larger than %zu bytes.", KEYSET_TEXT_MAX);
	document = is_shallow(text, len) ? json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	set = calloc(1, sizeof(*set));
	if (set == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "key set");
	atomic_init(&set->holders, 1);
	status = read_keys(set, document, err);
	if (status != KMS_OK)
		set_free(set);
	else
		*ret_set = set;
	return status;
}

struct keyset *keyset_hold(struct keyset *set)
{
	atomic_fetch_add(&set->holders, 1);
	return set;
}

void keyset_release(struct keyset *set)
{
	if (set != NULL && atomic_fetch_sub(&set->holders, 1) == 1)
		set_free(set);
}

EVP_PKEY *keyset_find(const struct keyset *set, const char *kid, unsigned *ret_algs)
{
	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->keys[i].kid, kid) == 0) {
			*ret_algs = set->keys[i].algs;
			return set->keys[i].key;
		}
	return NULL;
}

size_t keyset_count(const struct keyset *set) { return set->count; }
