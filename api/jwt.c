/* api/jwt.c - see jwt.h. Guards against every way in which a token could choose how it is checked (spec/hazards.md section 2.3). */
#include "api/jwt.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <string.h>
#include <strings.h>

#include "server/base/encode.h"
#include "server/base/secret.h"

#define P256_COORDINATE 32
#define TIME_MAX_S ((int64_t)253402300799) /* 9999-12-31T23:59:59Z */

void jwt_clear(struct jwt *j)
{
	json_decref(j->header);
	json_decref(j->claims);
	*j = (struct jwt){ 0 };
}

enum jwt_alg jwt_alg_parse(const char *name)
{
	static const struct {
		const char *name;
		enum jwt_alg alg;
	} ALGS[] = { { "RS256", JWT_RS256 }, { "PS256", JWT_PS256 }, { "ES256", JWT_ES256 }, { "EdDSA", JWT_EDDSA } };

	for (size_t i = 0; i < KMS_ARRAY_LEN(ALGS); i++)
		if (strcmp(ALGS[i].name, name) == 0)
			return ALGS[i].alg;
	return 0;
}

/* ---- take apart ---- */

/* Padding is not tolerated here, so that a token has one spelling. */
static bool decode_part(const char *part, size_t len, uint8_t *ret_bytes, size_t cap, size_t *ret_len)
{
	return len > 0 && part[len - 1] != '=' && b64url_decode(part, len, ret_bytes, cap, ret_len);
}

/* The buffer is erased: a token is a credential. */
static json_t *part_object(const char *part, size_t len)
{
	ERASE_AUTO(uint8_t, bytes, JWT_PART_MAX);
	size_t bytes_len = 0;

	return decode_part(part, len, bytes, JWT_PART_MAX, &bytes_len) ? json_parse_object(bytes, bytes_len) : NULL;
}

bool jwt_kid_is_valid(const char *kid)
{
	size_t len = strnlen(kid, JWT_KID_MAX + 1);

	for (size_t i = 0; i < len; i++)
		if (kid[i] < ' ' || kid[i] > '~')
			return false;
	return len > 0 && len <= JWT_KID_MAX;
}

/* Members that would bring a key of their own, name a place to fetch one from, or change what is signed (RFC 8725 3.10, RFC 7797). */
static bool is_harmless(const json_t *header, bool takes_x5c)
{
	static const char *const FORBIDDEN[] = { "jku", "x5u", "jwk", "crit", "b64" };

	for (size_t i = 0; i < KMS_ARRAY_LEN(FORBIDDEN); i++)
		if (json_object_get(header, FORBIDDEN[i]) != NULL)
			return false;
	return takes_x5c || json_object_get(header, "x5c") == NULL;
}

static const char *read_header(struct jwt *j, bool takes_x5c)
{
	const json_t *alg = json_object_get(j->header, "alg"), *kid = json_object_get(j->header, "kid");

	if (!is_harmless(j->header, takes_x5c))
		return "its header names a key of its own, or an extension (jku, x5u, jwk, x5c, crit, b64)";
	j->alg = json_is_string(alg) ? jwt_alg_parse(json_string_value(alg)) : 0;
	if (j->alg == 0)
		return "its algorithm is not one of RS256, PS256, ES256 and EdDSA";
	if (kid != NULL && (!json_is_string(kid) || !jwt_kid_is_valid(json_string_value(kid))))
		return "its kid is not 1 to 128 printable characters";
	j->kid = kid != NULL ? json_string_value(kid) : "";
	return NULL;
}

static const char *parse(const char *text, bool takes_x5c, bool needs_claims, struct jwt *j)
{
	const char *payload = strlen(text) <= JWT_TEXT_MAX ? strchr(text, '.') : NULL;
	const char *signature = payload != NULL ? strchr(payload + 1, '.') : NULL;

	if (signature == NULL || strchr(signature + 1, '.') != NULL)
		return "it is not a signed JWT: three parts, at most 8192 characters";
	j->signed_text = text;
	j->signed_len = (size_t)(signature - text);
	j->header = part_object(text, (size_t)(payload - text));
	j->claims = needs_claims ? part_object(payload + 1, (size_t)(signature - payload - 1)) : NULL;
	if (j->header == NULL || (needs_claims && j->claims == NULL))
		return "its header or its claims are not one JSON object without duplicate members";
	if (!decode_part(signature + 1, strlen(signature + 1), j->signature, sizeof(j->signature), &j->signature_len))
		return "its signature is not base64url";
	return read_header(j, takes_x5c);
}

static const char *take_apart(const char *text, bool takes_x5c, bool needs_claims, struct jwt *ret)
{
	struct jwt j = { 0 };
	const char *why = parse(text, takes_x5c, needs_claims, &j);

	if (why != NULL)
		jwt_clear(&j);
	else
		*ret = j;
	return why;
}

const char *jwt_parse(const char *text, bool takes_x5c, struct jwt *ret) { return take_apart(text, takes_x5c, true, ret); }
const char *jwt_parse_any(const char *text, bool takes_x5c, struct jwt *ret) { return take_apart(text, takes_x5c, false, ret); }

/* ---- the signature ---- */

/* Up to 3072 bits OpenSSL takes an exponent as long as the modulus, and a signature then costs a hundred times as much to check. With 1 anything is signed. */
static bool is_sane_exponent(const EVP_PKEY *key)
{
	BIGNUM *e = NULL;
	bool good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_odd(e) && !BN_is_one(e) && BN_num_bits(e) <= JWT_RSA_EXPONENT_BITS_MAX;

	BN_free(e);
	return good;
}

unsigned jwt_key_algs(const EVP_PKEY *key)
{
	char curve[32] = "";
	int bits = EVP_PKEY_get_bits(key);

	if (EVP_PKEY_is_a(key, "RSA"))
		return bits >= JWT_RSA_BITS_MIN && bits <= JWT_RSA_BITS_MAX && is_sane_exponent(key) ? JWT_RS256 | JWT_PS256 : 0;
	if (EVP_PKEY_is_a(key, "ED25519"))
		return JWT_EDDSA;
	if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof(curve), NULL) == 1 &&
	    strcmp(curve, "prime256v1") == 0)
		return JWT_ES256;
	return 0;
}

/* r || s of exactly 64 bytes (RFC 7518 section 3.4) as DER; the caller OPENSSL_free()s it. */
static int ecdsa_to_der(const struct jwt *j, uint8_t **ret_der)
{
	ECDSA_SIG *sig = j->signature_len == 2 * P256_COORDINATE ? ECDSA_SIG_new() : NULL;
	BIGNUM *r = sig != NULL ? BN_bin2bn(j->signature, P256_COORDINATE, NULL) : NULL;
	BIGNUM *s = sig != NULL ? BN_bin2bn(j->signature + P256_COORDINATE, P256_COORDINATE, NULL) : NULL;
	int len = 0;

	if (r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
		r = s = NULL; /* now the signature's */
		len = i2d_ECDSA_SIG(sig, ret_der);
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	return len;
}

static bool start_verify(enum jwt_alg alg, EVP_MD_CTX *ctx, EVP_PKEY *key)
{
	EVP_PKEY_CTX *how = NULL; /* the context's */

	if (EVP_DigestVerifyInit(ctx, &how, alg == JWT_EDDSA ? NULL : EVP_sha256(), NULL, key) != 1)
		return false;
	if (alg == JWT_PS256)
		return EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) > 0 && EVP_PKEY_CTX_set_rsa_mgf1_md(how, EVP_sha256()) > 0 &&
		       EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_DIGEST) > 0;
	return alg != JWT_RS256 || EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PADDING) > 0;
}

bool jwt_verify(const struct jwt *j, EVP_PKEY *key, unsigned algs)
{
	EVP_MD_CTX *ctx = NULL;
	uint8_t *der = NULL;
	const uint8_t *signature = j->signature;
	size_t len = j->signature_len;
	int der_len = 0;
	bool holds = false;

	if (((unsigned)j->alg & algs & jwt_key_algs(key)) == 0)
		return false;
	if (j->alg == JWT_ES256) {
		der_len = ecdsa_to_der(j, &der);
		if (der_len <= 0)
			return false;
		signature = der;
		len = (size_t)der_len;
	}
	ctx = EVP_MD_CTX_new();
	if (ctx != NULL && start_verify(j->alg, ctx, key))
		holds = EVP_DigestVerify(ctx, signature, len, (const uint8_t *)j->signed_text, j->signed_len) == 1;
	EVP_MD_CTX_free(ctx);
	OPENSSL_free(der);
	ERR_clear_error();
	return holds;
}

/* ---- members ---- */

bool jwt_type_is(const struct jwt *j, const char *type)
{
	static const char PREFIX[] = "application/";
	const char *typ = json_string_value(json_object_get(j->header, "typ"));

	if (typ != NULL && strncasecmp(typ, PREFIX, sizeof(PREFIX) - 1) == 0)
		typ += sizeof(PREFIX) - 1;
	return typ != NULL && strcasecmp(typ, type) == 0;
}

const char *jwt_text(const struct jwt *j, const char *name)
{
	const char *text = json_string_value(json_object_get(j->claims, name));
	return text != NULL ? text : "";
}

bool jwt_time(const struct jwt *j, const char *name, int64_t *ret_s)
{
	const json_t *value = json_object_get(j->claims, name);
	double number = json_number_value(value);

	/* Also false for what is not a number at all, NaN. */
	if (!json_is_number(value) || !(number >= 0 && number <= (double)TIME_MAX_S))
		return false;
	*ret_s = json_is_integer(value) ? (int64_t)json_integer_value(value) : (int64_t)number;
	return true;
}

bool jwt_is_for(const struct jwt *j, const char *audience)
{
	const json_t *aud = json_object_get(j->claims, "aud");
	size_t i = 0;
	const json_t *one = NULL;

	if (json_is_string(aud))
		return strcmp(json_string_value(aud), audience) == 0;
	json_array_foreach(aud, i, one)
		if (json_is_string(one) && strcmp(json_string_value(one), audience) == 0)
			return true;
	return false;
}
