/* api/auth.c - access tokens: issued with the device's token key, checked by the rules of RFC 8725; a verified one is remembered by its hash. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/api.h"

#define TOKEN_TEXT_MAX 8192
#define TOKEN_PART_MAX 6144
#define TOKEN_SKEW_S 60
#define P256_COORDINATE 32
#define REMEMBERED 4096 /* tokens; a fixed table, the newer one wins a place */
#define STRIPES 64
#define KID_LEN B64URL_LEN(32)

struct remembered {
	uint8_t hash[SHA256_DIGEST_LENGTH];
	int64_t nbf_s, exp_s; /* exp 0 = empty */
	uint8_t principal_id[STORE_ID_LEN], directory[STORE_ID_LEN];
};

struct tokens {
	const struct kms *kms;
	EVP_PKEY *key; /* public half */
	char kid[KID_LEN + 1];
	char x[B64URL_LEN(32) + 1], y[B64URL_LEN(32) + 1];
	char issuer[KMS_URL_MAX]; /* "https://domain": "/{tid}/v2.0" follows; also the audience */
	pthread_mutex_t locks[STRIPES]; /* stripe i guards the places with index % STRIPES == i */
	struct remembered places[REMEMBERED];
};

static kms_status load_public(struct tokens *t, const struct hsm_public *pub, struct kms_err *err)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char[]){ "prime256v1" }, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (uint8_t *)(uintptr_t)pub->point, pub->point_len),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	bool good = ctx != NULL && EVP_PKEY_fromdata_init(ctx) > 0 && EVP_PKEY_fromdata(ctx, &t->key, EVP_PKEY_PUBLIC_KEY, params) > 0;

	EVP_PKEY_CTX_free(ctx);
	return good ? KMS_OK : kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "token key");
}

/* RFC 7638 thumbprint: the key id says nothing but which key it is. */
static void make_kid(struct tokens *t)
{
	char jwk[256];
	uint8_t hash[SHA256_DIGEST_LENGTH];
	int len = snprintf(jwk, sizeof(jwk), "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", t->x, t->y);

	SHA256((const uint8_t *)jwk, (size_t)len, hash);
	b64url_encode(hash, sizeof(hash), t->kid);
}

kms_status tokens_new(const struct kms *kms, struct tokens **ret_tokens, struct kms_err *err)
{
	const struct hsm_public *pub = &kms->inst.token_public;
	struct tokens *t = calloc(1, sizeof(*t));
	kms_status status = KMS_OK;

	if (t == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "tokens");
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_init(&t->locks[i], NULL);
	t->kms = kms;
	kms_url(kms, NULL, t->issuer);
	b64url_encode(pub->point + 1, P256_COORDINATE, t->x);
	b64url_encode(pub->point + 1 + P256_COORDINATE, P256_COORDINATE, t->y);
	make_kid(t);
	status = load_public(t, pub, err);
	if (status != KMS_OK) {
		tokens_free(t);
		return status;
	}
	*ret_tokens = t;
	return KMS_OK;
}

void tokens_free(struct tokens *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_destroy(&t->locks[i]);
	EVP_PKEY_free(t->key);
	free(t);
}

json_t *tokens_jwks(const struct tokens *t)
{
	return json_pack("{s:[{s:s,s:s,s:s,s:s,s:s,s:s,s:s}]}", "keys", "kty", "EC", "crv", "P-256", "use", "sig", "alg", "ES256", "kid", t->kid,
	                 "x", t->x, "y", t->y);
}

/* ---- issue ---- */

static kms_status append_part(char *text, size_t cap, size_t *len, json_t *part, struct kms_err *err)
{
	JSON_AUTO *owned = part;
	size_t json_len = 0;
	char *json = owned != NULL ? json_text(owned, &json_len) : NULL;
	kms_status status = KMS_OK;

	if (json == NULL || *len + B64URL_LEN(json_len) + 2 > cap)
		status = kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "token text");
	else {
		b64url_encode(json, json_len, text + *len);
		*len += B64URL_LEN(json_len);
	}
	free(json);
	return status;
}

kms_status tokens_issue(struct tokens *t, const struct store_principal *p, const uint8_t directory[STORE_ID_LEN], struct secret **ret_token,
                        struct kms_err *err)
{
	SECRET_AUTO *token = secret_new(TOKEN_PART_MAX);
	struct hsm_key key = { .purpose = HSM_FOR_TOKENS, .kind = HSM_KIND_P256 };
	char oid[GUID_TEXT_LEN + 1], tid[GUID_TEXT_LEN + 1], jti[GUID_TEXT_LEN + 1], issuer[KMS_URL_MAX + 48];
	uint8_t id[GUID_LEN], digest[SHA256_DIGEST_LENGTH], signature[HSM_SIGNATURE_MAX];
	int64_t now = clock_wall_s(t->kms->clock);
	size_t len = 0, signature_len;
	char *text = NULL;

	if (token == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "token");
	if (!guid_random(id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	guid_format(id, jti);
	guid_format(p->id, oid);
	guid_format(directory, tid);
	(void)snprintf(issuer, sizeof(issuer), "%s/%s/v2.0", t->issuer, tid);
	text = (char *)secret_bytes(token);
	KMS_TRY(append_part(text, TOKEN_PART_MAX, &len, json_pack("{s:s,s:s,s:s}", "typ", "JWT", "alg", "ES256", "kid", t->kid), err));
	text[len++] = '.';
	KMS_TRY(append_part(text, TOKEN_PART_MAX, &len,
	                    json_pack("{s:s,s:s,s:I,s:I,s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "aud", t->issuer, "iss", issuer, "iat", (json_int_t)now,
	                              "nbf", (json_int_t)now, "exp", (json_int_t)(now + t->kms->token_life_s), "tid", tid, "oid", oid, "sub", oid,
	                              "appid", oid, "azp", oid, "ver", "2.0", "jti", jti), err));
	SHA256((const uint8_t *)text, len, digest);
	memcpy(key.id, t->kms->inst.token_key, HSM_ID_LEN);
	KMS_TRY(hsm_sign(t->kms->hsm, &key, HSM_SIGN_ECDSA, digest, sizeof(digest), signature, &signature_len, err));
	text[len++] = '.';
	b64url_encode(signature, signature_len, text + len);
	secret_shrink(token, len + B64URL_LEN(signature_len));
	*ret_token = KMS_TAKE(token);
	return KMS_OK;
}

/* ---- verify ---- */

static kms_status refuse(struct kms_err *err, const char *message)
{
	return kms_refuse(err, KMS_E_UNAUTHENTICATED, "%s", message);
}

/* ES256 over header.payload; r || s of exactly 64 bytes (RFC 7518 section 3.4). */
static bool signature_holds(struct tokens *t, const char *signed_text, size_t signed_len, const uint8_t *raw, size_t raw_len)
{
	ECDSA_SIG *sig = raw_len == 2 * P256_COORDINATE ? ECDSA_SIG_new() : NULL;
	BIGNUM *r = sig != NULL ? BN_bin2bn(raw, P256_COORDINATE, NULL) : NULL;
	BIGNUM *s = sig != NULL ? BN_bin2bn(raw + P256_COORDINATE, P256_COORDINATE, NULL) : NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t *der = NULL;
	int der_len = 0;
	bool holds = false;

	if (r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
		r = s = NULL; /* now the signature's */
		der_len = i2d_ECDSA_SIG(sig, &der);
	}
	if (ctx != NULL && der_len > 0 && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, t->key) == 1)
		holds = EVP_DigestVerify(ctx, der, (size_t)der_len, (const uint8_t *)signed_text, signed_len) == 1;
	BN_free(r);
	BN_free(s);
	OPENSSL_free(der);
	EVP_MD_CTX_free(ctx);
	ECDSA_SIG_free(sig);
	return holds;
}

/* One base64url part as a JSON object. The buffer is erased: a token is a credential. */
static json_t *part_object(const char *part, size_t len)
{
	ERASE_AUTO(uint8_t, bytes, TOKEN_PART_MAX);
	size_t bytes_len = 0;

	if (len == 0 || part[len - 1] == '=' || !b64url_decode(part, len, bytes, TOKEN_PART_MAX, &bytes_len))
		return NULL;
	return json_parse_object(bytes, bytes_len);
}

static const char *text_member(json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "";
}

/* The algorithm belongs to the key, not to the token; headers that would name another key are refused (RFC 8725 3.1, 3.5, 3.10). */
static bool header_is_ours(const struct tokens *t, json_t *header)
{
	static const char *const FORBIDDEN[] = { "jku", "x5u", "jwk", "x5c", "crit" };

	for (size_t i = 0; i < KMS_ARRAY_LEN(FORBIDDEN); i++)
		if (json_object_get(header, FORBIDDEN[i]) != NULL)
			return false;
	return strcmp(text_member(header, "alg"), "ES256") == 0 && strcmp(text_member(header, "kid"), t->kid) == 0 &&
	       strcasecmp(text_member(header, "typ"), "JWT") == 0;
}

static kms_status check_claims(const struct tokens *t, json_t *claims, struct remembered *ret, struct kms_err *err)
{
	const char *tid = text_member(claims, "tid"), *oid = text_member(claims, "oid"), *aud = text_member(claims, "aud");
	json_t *exp = json_object_get(claims, "exp"), *nbf = json_object_get(claims, "nbf");
	size_t issuer_len = strlen(t->issuer);
	char issuer[KMS_URL_MAX + 48];

	(void)snprintf(issuer, sizeof(issuer), "%s/%.36s/v2.0", t->issuer, tid);
	if (strcmp(issuer, text_member(claims, "iss")) != 0 || !guid_parse(tid, strlen(tid), ret->directory))
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10032: Invalid issuer. Expected one of %s, found another.", t->issuer);
	if (strncmp(aud, t->issuer, issuer_len) != 0 || (aud[issuer_len] != '\0' && strcmp(aud + issuer_len, "/") != 0))
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10022: Invalid audience. Expected %s, found: another.", t->issuer);
	if (!json_is_integer(exp) || !json_is_integer(nbf) || !guid_parse(oid, strlen(oid), ret->principal_id))
		return refuse(err, "AKV10000: The token lacks a claim.");
	ret->exp_s = json_integer_value(exp);
	ret->nbf_s = json_integer_value(nbf);
	return KMS_OK;
}

static kms_status check_dates(const struct remembered *m, int64_t now_s, struct kms_err *err)
{
	if (now_s >= m->exp_s + TOKEN_SKEW_S)
		return refuse(err, "AKV10001: The token has expired.");
	if (now_s + TOKEN_SKEW_S < m->nbf_s)
		return refuse(err, "AKV10001: The token is not yet valid.");
	return KMS_OK;
}

static kms_status verify_text(struct tokens *t, const char *token, struct remembered *ret, struct kms_err *err)
{
	const char *payload = strchr(token, '.');
	const char *signature = payload != NULL ? strchr(payload + 1, '.') : NULL;
	uint8_t raw[2 * P256_COORDINATE + 8];
	size_t raw_len = 0;
	JSON_AUTO *header = NULL;
	JSON_AUTO *claims = NULL;

	if (signature == NULL || strchr(signature + 1, '.') != NULL)
		return refuse(err, "AKV10000: The token is not a signed JWT.");
	header = part_object(token, (size_t)(payload - token));
	if (header == NULL || !header_is_ours(t, header))
		return refuse(err, "AKV10000: The token's header is not acceptable: it must be ES256 by this server's key.");
	if (!b64url_decode(signature + 1, strlen(signature + 1), raw, sizeof(raw), &raw_len) ||
	    !signature_holds(t, token, (size_t)(signature - token), raw, raw_len))
		return refuse(err, "AKV10000: The token's signature is wrong.");
	claims = part_object(payload + 1, (size_t)(signature - payload - 1));
	if (claims == NULL)
		return refuse(err, "AKV10000: The token's claims are malformed.");
	return check_claims(t, claims, ret, err);
}

static bool recall(struct tokens *t, const uint8_t hash[SHA256_DIGEST_LENGTH], size_t place, struct remembered *ret)
{
	bool hit = false;

	pthread_mutex_lock(&t->locks[place % STRIPES]);
	hit = t->places[place].exp_s != 0 && memcmp(t->places[place].hash, hash, SHA256_DIGEST_LENGTH) == 0; /* allowed: hash of a token */
	if (hit)
		*ret = t->places[place];
	pthread_mutex_unlock(&t->locks[place % STRIPES]);
	return hit;
}

static void remember(struct tokens *t, size_t place, const struct remembered *m)
{
	pthread_mutex_lock(&t->locks[place % STRIPES]);
	t->places[place] = *m;
	pthread_mutex_unlock(&t->locks[place % STRIPES]);
}

kms_status tokens_verify(struct tokens *t, const char *authorization, struct caller *ret_caller, struct kms_err *err)
{
	static const char SCHEME[] = "Bearer ";
	struct remembered m = { 0 };
	uint8_t hash[SHA256_DIGEST_LENGTH];
	const char *token = NULL;
	size_t len = 0, place = 0;

	if (authorization == NULL)
		return refuse(err, kms_status_text(KMS_E_UNAUTHENTICATED));
	if (strncasecmp(authorization, SCHEME, sizeof(SCHEME) - 1) != 0)
		return refuse(err, "AKV10000: Request is missing a Bearer or PoP token.");
	token = authorization + sizeof(SCHEME) - 1;
	token += strspn(token, " ");
	len = strlen(token);
	if (len == 0 || len > TOKEN_TEXT_MAX)
		return refuse(err, "AKV10000: The token is empty or too long.");
	SHA256((const uint8_t *)token, len, hash);
	place = (size_t)(hash[0] | (unsigned)hash[1] << 8) % REMEMBERED;
	if (!recall(t, hash, place, &m)) {
		KMS_TRY(verify_text(t, token, &m, err));
		memcpy(m.hash, hash, sizeof(hash));
		KMS_TRY(check_dates(&m, clock_wall_s(t->kms->clock), err));
		remember(t, place, &m);
	}
	KMS_TRY(check_dates(&m, clock_wall_s(t->kms->clock), err));
	ret_caller->auth = EVENT_AUTH_JWT;
	memcpy(ret_caller->principal_id, m.principal_id, STORE_ID_LEN);
	memcpy(ret_caller->directory, m.directory, STORE_ID_LEN);
	return KMS_OK;
}
