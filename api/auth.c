/*
 * api/auth.c - access tokens: ours, issued with the device's token key, and those of the issuers of the configuration; checked by the rules of RFC 8725. A verified one is
 * remembered by its hash, and one of an external issuer for no longer than the issuer's keys are what they were.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/api.h"
#include "api/issuers.h"
#include "api/jwt.h"
#include "server/core/access.h"

#define TOKEN_SKEW_S 60
#define TOKEN_AGE_MAX_S (24 * 3600) /* of an external issuer's, whatever it says itself */
#define P256_COORDINATE 32
#define REMEMBERED 4096 /* tokens; a fixed table, the newer one wins a place */
#define STRIPES 64
#define KID_LEN B64URL_LEN(32)

struct remembered {
	uint8_t hash[SHA256_DIGEST_LENGTH];
	int64_t nbf_s, exp_s; /* exp 0 = empty */
	int64_t issued_s;
	uint8_t principal_id[STORE_ID_LEN], directory[STORE_ID_LEN]; /* ours */
	struct issuer *issuer; /* NULL = ours */
	uint64_t generation;   /* of the issuer's keys that it was verified with */
	char subject[CALLER_SUBJECT_MAX + 1];
	size_t group_count;
	uint8_t groups[CALLER_GROUPS_MAX][STORE_ID_LEN];
};

struct tokens {
	const struct kms *kms;
	struct issuers *issuers; /* borrowed */
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

kms_status tokens_new(const struct kms *kms, struct issuers *issuers, struct tokens **ret_tokens, struct kms_err *err)
{
	const struct hsm_public *pub = &kms->inst.token_public;
	struct tokens *t = calloc(1, sizeof(*t));
	kms_status status = KMS_OK;

	if (t == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "tokens");
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_init(&t->locks[i], NULL);
	t->kms = kms;
	t->issuers = issuers;
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
	SECRET_AUTO *token = secret_new(JWT_PART_MAX);
	struct hsm_key key = { .purpose = HSM_FOR_TOKENS, .kind = HSM_KIND_P256 };
	char oid[GUID_TEXT_LEN + 1], tid[GUID_TEXT_LEN + 1], jti[GUID_TEXT_LEN + 1], issuer[KMS_URL_MAX + 48];
	uint8_t id[GUID_LEN], digest[SHA256_DIGEST_LENGTH], signature[HSM_SIGNATURE_MAX];
	int64_t now = clock_wall_s(t->kms->clock), iat = now > p->tokens_from_s ? now : p->tokens_from_s;
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
	KMS_TRY(append_part(text, JWT_PART_MAX, &len, json_pack("{s:s,s:s,s:s}", "typ", "JWT", "alg", "ES256", "kid", t->kid), err));
	text[len++] = '.';
	KMS_TRY(append_part(text, JWT_PART_MAX, &len,
	                    json_pack("{s:s,s:s,s:I,s:I,s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "aud", t->issuer, "iss", issuer, "iat", (json_int_t)iat,
	                              "nbf", (json_int_t)iat, "exp", (json_int_t)(iat + t->kms->token_life_s), "tid", tid, "oid", oid, "sub", oid,
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

/* The URL, with or without a slash at its end. */
static bool is_our_url(const struct tokens *t, const char *text)
{
	size_t len = strlen(t->issuer);
	return strncmp(text, t->issuer, len) == 0 && (text[len] == '\0' || strcmp(text + len, "/") == 0);
}

static kms_status refuse_issuer(const struct tokens *t, struct kms_err *err)
{
	return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10032: Invalid issuer. Expected one of %s and those of the configuration, found another.", t->issuer);
}

/* ---- verify: ours ---- */

static kms_status check_own_claims(const struct tokens *t, const struct jwt *j, struct remembered *ret, struct kms_err *err)
{
	const char *tid = jwt_text(j, "tid"), *oid = jwt_text(j, "oid");
	const json_t *exp = json_object_get(j->claims, "exp"), *nbf = json_object_get(j->claims, "nbf"), *iat = json_object_get(j->claims, "iat");
	char issuer[KMS_URL_MAX + 48];

	(void)snprintf(issuer, sizeof(issuer), "%s/%.36s/v2.0", t->issuer, tid);
	if (strcmp(issuer, jwt_text(j, "iss")) != 0 || !guid_parse(tid, strlen(tid), ret->directory))
		return refuse_issuer(t, err);
	if (!is_our_url(t, jwt_text(j, "aud")))
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10022: Invalid audience. Expected %s, found: another.", t->issuer);
	if (!json_is_integer(exp) || !json_is_integer(nbf) || !json_is_integer(iat) || !guid_parse(oid, strlen(oid), ret->principal_id))
		return refuse(err, "AKV10000: The token lacks a claim.");
	ret->exp_s = json_integer_value(exp);
	ret->nbf_s = json_integer_value(nbf);
	ret->issued_s = json_integer_value(iat);
	return KMS_OK;
}

static kms_status verify_own(const struct tokens *t, const struct jwt *j, struct remembered *ret, struct kms_err *err)
{
	if (strcmp(j->kid, t->kid) != 0 || j->alg != JWT_ES256 || !jwt_type_is(j, "JWT"))
		return refuse(err, "AKV10000: The token's header is not acceptable: it must be ES256 by this server's key.");
	if (!jwt_verify(j, t->key, JWT_ES256))
		return refuse(err, "AKV10000: The token's signature is wrong.");
	return check_own_claims(t, j, ret, err);
}

/* ---- verify: an external issuer's ---- */

static bool is_for_us(const struct tokens *t, const struct issuer_config *c, const struct jwt *j)
{
	char slashed[KMS_URL_MAX + 1];

	for (size_t i = 0; i < c->audience_count; i++)
		if (jwt_is_for(j, c->audiences[i]))
			return true;
	(void)snprintf(slashed, sizeof(slashed), "%s/", t->issuer);
	return c->audience_count == 0 && (jwt_is_for(j, t->issuer) || jwt_is_for(j, slashed));
}

static kms_status read_dates(const struct jwt *j, struct remembered *ret, struct kms_err *err)
{
	int64_t nbf_s = 0;

	if (!jwt_time(j, "exp", &ret->exp_s) || !jwt_time(j, "iat", &ret->issued_s))
		return refuse(err, "AKV10000: The token lacks a claim: exp and iat are required, as numbers.");
	if (json_object_get(j->claims, "nbf") != NULL && !jwt_time(j, "nbf", &nbf_s))
		return refuse(err, "AKV10000: The token's nbf is not a number.");
	/* 0 would mean: not a token. */
	if (ret->issued_s == 0)
		return refuse(err, "AKV10000: The token's iat is not a date.");
	ret->nbf_s = nbf_s > ret->issued_s ? nbf_s : ret->issued_s;
	if (ret->exp_s > ret->issued_s + TOKEN_AGE_MAX_S)
		ret->exp_s = ret->issued_s + TOKEN_AGE_MAX_S;
	return KMS_OK;
}

/* Version 1.0 of Entra's tokens calls appid what version 2.0 calls azp. */
static const char *subject_of(const struct issuer_config *c, const struct jwt *j)
{
	const char *subject = jwt_text(j, c->principal_claim);

	if (subject[0] == '\0' && strcmp(c->principal_claim, "appid") == 0)
		return jwt_text(j, "azp");
	if (subject[0] == '\0' && strcmp(c->principal_claim, "azp") == 0)
		return jwt_text(j, "appid");
	return subject;
}

static bool is_subject(const char *text)
{
	size_t len = strnlen(text, CALLER_SUBJECT_MAX + 1);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	return len > 0 && len <= CALLER_SUBJECT_MAX;
}

/* The claim that says that somebody logged in at the issuer: a scope that he delegated (Entra, AD FS), or his session there (Keycloak and others); NULL when none does. */
static const char *sign_of_person(const struct jwt *j)
{
	static const char *const SIGNS[] = { "scp", "sid", "session_state", "auth_time" };

	for (size_t i = 0; i < KMS_ARRAY_LEN(SIGNS); i++)
		if (json_object_get(j->claims, SIGNS[i]) != NULL)
			return SIGNS[i];
	return NULL;
}

static kms_status read_subject(const struct issuer_config *c, const struct jwt *j, struct remembered *ret, struct kms_err *err)
{
	const char *subject = subject_of(c, j);
	bool is_application = strcmp(c->principal_claim, "appid") == 0 || strcmp(c->principal_claim, "azp") == 0;
	const char *sign = is_application ? sign_of_person(j) : NULL;

	/* The application that a person uses is not that person: with appid every one of its users would be the same principal. */
	if (sign != NULL)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10000: The token was issued to a person (%s), but the issuer's principals are applications.", sign);
	if (!is_subject(subject))
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10000: The token lacks a claim: '%s', which names the principal (1 to %d characters).",
		                  c->principal_claim, CALLER_SUBJECT_MAX);
	memcpy(ret->subject, subject, strlen(subject) + 1);
	return KMS_OK;
}

/* A claim by its name, or, when there is none of that name, by its path ("realm_access.roles" of Keycloak). */
static const json_t *claim_at(const json_t *object, const char *path)
{
	const json_t *found = json_object_get(object, path);
	size_t len = strcspn(path, ".");

	while (found == NULL && json_is_object(object) && path[len] == '.') {
		object = json_object_getn(object, path, len);
		path += len + 1;
		len = strcspn(path, ".");
		found = json_object_get(object, path);
	}
	return found;
}

static kms_status add_group(const struct issuer_config *c, const char *kind, const char *claim, const json_t *value, struct remembered *ret,
                            struct kms_err *err)
{
	const char *text = json_string_value(value);

	if (text == NULL || text[0] == '\0')
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10000: The token's claim '%s' is not a list of names.", claim);
	if (ret->group_count == CALLER_GROUPS_MAX)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED,
		                  "AKV10000: The token names more than %d groups and roles; let the issuer send only those that are assigned to this application.",
		                  CALLER_GROUPS_MAX);
	access_claim(c->name, kind, text, ret->groups[ret->group_count++]);
	return KMS_OK;
}

static kms_status read_groups(const struct issuer_config *c, const char *kind, const char *claim, const struct jwt *j, struct remembered *ret,
                              struct kms_err *err)
{
	const json_t *value = claim_at(j->claims, claim), *one = NULL;
	size_t i = 0;

	/* Too many for the token, says Entra: they would have to be asked for elsewhere. Without them the caller would be less than he is. */
	if (json_object_get(json_object_get(j->claims, "_claim_names"), claim) != NULL)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED,
		                  "AKV10000: The token does not name its '%s': there are too many (overage); let the issuer send only those that are assigned to "
		                  "this application.", claim);
	if (value == NULL)
		return KMS_OK;
	if (!json_is_array(value))
		return add_group(c, kind, claim, value, ret, err);
	json_array_foreach(value, i, one)
		KMS_TRY(add_group(c, kind, claim, one, ret, err));
	return KMS_OK;
}

/* Issuers sign more than access tokens with the same key, and some say it in no header: ID tokens (nonce, and the hashes of what came with them), logout tokens and
 * other security events. */
static kms_status check_is_access_token(const struct jwt *j, struct kms_err *err)
{
	static const char *const SIGNS[] = { "nonce", "at_hash", "c_hash", "events" };
	const json_t *type = json_object_get(j->claims, "typ"); /* Keycloak's */

	if (type != NULL && (!json_is_string(type) || strcasecmp(json_string_value(type), "Bearer") != 0))
		return refuse(err, "AKV10000: The token is not an access token (typ).");
	for (size_t i = 0; i < KMS_ARRAY_LEN(SIGNS); i++)
		if (json_object_get(j->claims, SIGNS[i]) != NULL)
			return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10000: The token is not an access token (%s).", SIGNS[i]);
	if (json_object_get(j->claims, "cnf") != NULL)
		return refuse(err, "AKV10000: The token is bound to a key (cnf); only plain bearer tokens are accepted.");
	return KMS_OK;
}

/* What it is, besides well signed: an access token for whoever bears it, of our tenant, for us. */
static kms_status check_external_claims(const struct tokens *t, const struct issuer_config *c, const struct jwt *j, struct remembered *ret,
                                        struct kms_err *err)
{
	KMS_TRY(check_is_access_token(j, err));
	if (!is_for_us(t, c, j))
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10022: Invalid audience. Expected %s, found: another.",
		                  c->audience_count > 0 ? c->audiences[0] : t->issuer);
	if (c->tenant != NULL && strcmp(jwt_text(j, "tid"), c->tenant) != 0)
		return refuse(err, "AKV10032: Invalid issuer. The token is of another tenant (tid).");
	KMS_TRY(read_dates(j, ret, err));
	KMS_TRY(read_subject(c, j, ret, err));
	KMS_TRY(read_groups(c, "group", c->group_claim, j, ret, err));
	return read_groups(c, "role", c->role_claim, j, ret, err);
}

static kms_status verify_external(const struct tokens *t, struct issuer *issuer, const struct jwt *j, struct remembered *ret, struct kms_err *err)
{
	const struct issuer_config *c = issuer_config(issuer);
	ISSUER_KEY_AUTO key = { 0 };

	if (json_object_get(j->header, "typ") != NULL && !jwt_type_is(j, "JWT") && !jwt_type_is(j, "at+jwt"))
		return refuse(err, "AKV10000: The token's header is not acceptable: typ must be JWT or at+jwt.");
	if (((unsigned)j->alg & c->algs) == 0)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10000: The token's algorithm is not one that the issuer '%s' is configured with.", c->name);
	if (j->kid[0] == '\0')
		return refuse(err, "AKV10000: The token does not name its key (kid).");
	KMS_TRY(issuer_find_key(issuer, j->kid, &key, err));
	if (!jwt_verify(j, key.key, key.algs))
		return refuse(err, "AKV10000: The token's signature is wrong.");
	ret->issuer = issuer;
	ret->generation = key.generation;
	return check_external_claims(t, c, j, ret, err);
}

/* ---- verify ---- */

static kms_status check_dates(const struct remembered *m, int64_t now_s, struct kms_err *err)
{
	if (now_s >= m->exp_s + TOKEN_SKEW_S)
		return refuse(err, "AKV10001: The token has expired.");
	if (now_s + TOKEN_SKEW_S < m->nbf_s)
		return refuse(err, "AKV10001: The token is not yet valid.");
	return KMS_OK;
}

/* The issuer that the token names decides which keys count; whether it is the issuer's, the signature says afterwards, over this very text. */
static kms_status verify_text(struct tokens *t, const char *token, struct remembered *ret, struct kms_err *err)
{
	JWT_AUTO j = { 0 };
	const char *why = jwt_parse(token, false, &j);
	struct issuer *issuer = why == NULL ? issuers_find(t->issuers, jwt_text(&j, "iss")) : NULL;

	if (why != NULL)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10000: The token is not acceptable: %s.", why);
	if (issuer != NULL)
		return verify_external(t, issuer, &j, ret, err);
	if (strncmp(jwt_text(&j, "iss"), t->issuer, strlen(t->issuer)) != 0)
		return refuse_issuer(t, err);
	return verify_own(t, &j, ret, err);
}

static bool recall(struct tokens *t, const uint8_t hash[SHA256_DIGEST_LENGTH], size_t place, struct remembered *ret)
{
	bool hit = false;

	pthread_mutex_lock(&t->locks[place % STRIPES]);
	hit = t->places[place].exp_s != 0 && memcmp(t->places[place].hash, hash, SHA256_DIGEST_LENGTH) == 0; /* allowed: hash of a token */
	if (hit)
		*ret = t->places[place];
	pthread_mutex_unlock(&t->locks[place % STRIPES]);
	/* Keys that were withdrawn, or that are too old to be believed, take what they signed with them. */
	if (hit && ret->issuer != NULL && issuer_generation(ret->issuer) != ret->generation)
		hit = false;
	return hit;
}

static void remember(struct tokens *t, size_t place, const struct remembered *m)
{
	pthread_mutex_lock(&t->locks[place % STRIPES]);
	t->places[place] = *m;
	pthread_mutex_unlock(&t->locks[place % STRIPES]);
}

static void fill_caller(const struct remembered *m, struct caller *ret)
{
	ret->auth = EVENT_AUTH_JWT;
	ret->issued_s = m->issued_s;
	if (m->issuer == NULL) {
		memcpy(ret->principal_id, m->principal_id, STORE_ID_LEN);
		memcpy(ret->directory, m->directory, STORE_ID_LEN);
		return;
	}
	ret->issuer = issuer_config(m->issuer)->name;
	memcpy(ret->subject, m->subject, sizeof(ret->subject));
	ret->group_count = m->group_count;
	memcpy(ret->groups, m->groups, sizeof(ret->groups));
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
	if (len == 0 || len > JWT_TEXT_MAX)
		return refuse(err, "AKV10000: The token is empty or too long.");
	SHA256((const uint8_t *)token, len, hash);
	place = (size_t)(hash[0] | (unsigned)hash[1] << 8) % REMEMBERED;
	if (!recall(t, hash, place, &m)) {
		m = (struct remembered){ 0 };
		KMS_TRY(verify_text(t, token, &m, err));
		memcpy(m.hash, hash, sizeof(hash));
		KMS_TRY(check_dates(&m, clock_wall_s(t->kms->clock), err));
		remember(t, place, &m);
	}
	KMS_TRY(check_dates(&m, clock_wall_s(t->kms->clock), err));
	fill_caller(&m, ret_caller);
	return KMS_OK;
}
