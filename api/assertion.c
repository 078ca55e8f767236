/* api/assertion.c - see assertion.h. Guards the token endpoint against assertions of others, for others, of the past, and copied. */
#include "api/assertion.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/client_cert.h"
#include "api/jwt.h"

#define TABLES 64     /* by vault, whose ids are random: a tenant fills its own, however many principals it makes */
#define USED_MAX 2048 /* of one table */
#define USED_EACH_MAX 1024 /* of one principal: nobody fills the table for the others */
#define SKEW_S 60
#define JTI_MAX 256
#define PEER_MAX 48
#define ALGS (JWT_RS256 | JWT_PS256 | JWT_ES256)

struct used {
	int64_t until_s; /* 0 = empty */
	uint8_t hash[SHA256_DIGEST_LENGTH]; /* of the principal and the jti */
	uint8_t principal_id[STORE_ID_LEN];
	char peer[PEER_MAX];
	char request_id[GUID_TEXT_LEN + 1]; /* the last that used it */
	unsigned uses;
};

struct table {
	pthread_mutex_t lock; /* guards the table */
	struct used used[USED_MAX];
};

struct assertions {
	struct table tables[TABLES + 1]; /* the last is the installation's */
};

static struct table *table_of(struct assertions *a, const uint8_t vault_id[STORE_ID_LEN])
{
	uint8_t sum = 0, any = 0;

	for (size_t i = 0; i < STORE_ID_LEN; i++) {
		sum ^= vault_id[i];
		any |= vault_id[i];
	}
	return &a->tables[any == 0 ? TABLES : sum % TABLES];
}

kms_status assertions_new(struct assertions **ret_assertions, struct kms_err *err)
{
	struct assertions *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "assertions");
	for (size_t i = 0; i < KMS_ARRAY_LEN(a->tables); i++)
		(void)pthread_mutex_init(&a->tables[i].lock, NULL);
	*ret_assertions = a;
	return KMS_OK;
}

void assertions_free(struct assertions *a)
{
	if (a == NULL)
		return;
	for (size_t i = 0; i < KMS_ARRAY_LEN(a->tables); i++)
		(void)pthread_mutex_destroy(&a->tables[i].lock);
	free(a);
}

static kms_status refuse(struct kms_err *err, const char *message)
{
	return kms_refuse(err, KMS_E_OAUTH_CLIENT, "AADSTS700027: The client assertion is refused: %s.", message);
}

/* ---- used once, used again ---- */

/* The place of this assertion, or an empty one; NULL when there is none to be had. */
static struct used *find_place_locked(struct table *t, const uint8_t hash[SHA256_DIGEST_LENGTH], const uint8_t principal_id[STORE_ID_LEN],
                                      int64_t now_s)
{
	struct used *empty = NULL;
	size_t of_principal = 0;

	for (size_t i = 0; i < USED_MAX; i++) {
		struct used *u = &t->used[i];
		if (u->until_s <= now_s)
			*u = (struct used){ 0 };
		if (u->until_s == 0) {
			empty = empty == NULL ? u : empty;
			continue;
		}
		if (memcmp(u->hash, hash, sizeof(u->hash)) == 0) /* allowed: what it hashes was sent by the caller */
			return u;
		of_principal += memcmp(u->principal_id, principal_id, STORE_ID_LEN) == 0; /* allowed: ids are public */
	}
	return of_principal < USED_EACH_MAX ? empty : NULL;
}

static kms_status use_again_locked(struct used *u, const struct assertion_use *use, struct kms_err *err)
{
	if (strcmp(u->request_id, use->request_id) == 0)
		return KMS_OK;
	if (strcmp(u->peer, use->peer) != 0)
		return refuse(err, "it was used from another address before (jti)");
	if (u->uses == ASSERTION_USES_MAX)
		return refuse(err, "it was used too often (jti)");
	u->uses++;
	(void)snprintf(u->request_id, sizeof(u->request_id), "%s", use->request_id);
	return KMS_OK;
}

static kms_status note_use(struct assertions *a, const struct store_principal *p, const char *jti, int64_t exp_s, const struct assertion_use *use,
                           struct kms_err *err)
{
	struct table *t = table_of(a, p->vault_id);
	struct used *u = NULL;
	uint8_t text[STORE_ID_LEN + JTI_MAX], hash[SHA256_DIGEST_LENGTH];
	size_t len = strlen(jti);
	kms_status status = KMS_OK;

	memcpy(text, p->id, STORE_ID_LEN);
	memcpy(text + STORE_ID_LEN, jti, len);
	SHA256(text, STORE_ID_LEN + len, hash);
	(void)pthread_mutex_lock(&t->lock);
	u = find_place_locked(t, hash, p->id, use->now_s);
	if (u == NULL) {
		status = kms_refuse(err, KMS_E_THROTTLED, "Too many client assertions are in date; use one until it ends, and tokens for as long as they last.");
	} else if (u->until_s != 0) {
		status = use_again_locked(u, use, err);
	} else {
		*u = (struct used){ .until_s = exp_s + SKEW_S, .uses = 1 };
		memcpy(u->hash, hash, sizeof(hash));
		memcpy(u->principal_id, p->id, STORE_ID_LEN);
		(void)snprintf(u->peer, sizeof(u->peer), "%s", use->peer);
		(void)snprintf(u->request_id, sizeof(u->request_id), "%s", use->request_id);
	}
	(void)pthread_mutex_unlock(&t->lock);
	return status;
}

/* ---- which certificate ---- */

/* A header's digest of the certificate, base64url; absent: any. Present, it must be a digest of this size. */
static bool names(const json_t *header, const char *member, const uint8_t *digest, size_t digest_len)
{
	const json_t *value = json_object_get(header, member);
	const char *text = json_string_value(value);
	uint8_t given[SHA256_DIGEST_LENGTH];
	size_t len = 0;

	if (value == NULL)
		return true;
	return text != NULL && b64url_decode(text, strlen(text), given, sizeof(given), &len) && len == digest_len &&
	       memcmp(given, digest, digest_len) == 0; /* allowed: digests of certificates */
}

/* Clients that send their chain must begin it with the registered certificate: no other one is asked. */
static bool begins_chain(const json_t *header, const struct store_credential *c)
{
	const json_t *chain = json_object_get(header, "x5c");
	const char *leaf = json_string_value(json_array_get(chain, 0));
	char *text = NULL;
	bool is_same = false;

	if (chain == NULL)
		return true;
	text = malloc(B64_LEN(c->data_len) + 1);
	if (leaf != NULL && text != NULL) {
		b64_encode(c->data, c->data_len, text);
		is_same = strcmp(text, leaf) == 0;
	}
	free(text);
	return is_same;
}

/* SHA-1 only finds the certificate; what it is, the key says that is in it. */
static bool is_named(const struct jwt *j, const struct store_credential *c)
{
	uint8_t sha1[SHA_DIGEST_LENGTH];

	if (c->kind != STORE_CREDENTIAL_CERTIFICATE || c->data == NULL)
		return false;
	SHA1(c->data, c->data_len, sha1);
	return names(j->header, "x5t#S256", c->hash, sizeof(c->hash)) && names(j->header, "x5t", sha1, sizeof(sha1)) && begins_chain(j->header, c);
}

static bool is_signed_by(const struct jwt *j, const X509 *cert)
{
	EVP_PKEY *key = cert != NULL ? X509_get0_pubkey(cert) : NULL; /* the certificate's */
	return key != NULL && jwt_verify(j, key, ALGS);
}

static bool is_in_date(const X509 *cert, const struct store_credential *c, int64_t now_s)
{
	int64_t from_s = 0, to_s = 0;

	return client_cert_time(X509_get0_notBefore(cert), &from_s) && client_cert_time(X509_get0_notAfter(cert), &to_s) && now_s >= from_s && now_s <= to_s &&
	       (c->expires_s == STORE_NO_TIME || now_s < c->expires_s);
}

/* Without a digest in the header, there would be a choice; there is none. */
static bool names_certificate(const struct jwt *j)
{
	return json_object_get(j->header, "x5t#S256") != NULL || json_object_get(j->header, "x5t") != NULL;
}

static kms_status check_signature(struct store *store, const struct store_principal *p, const struct jwt *j, int64_t now_s, struct kms_err *err)
{
	struct store_credential all[STORE_CREDENTIALS_MAX] = { 0 };
	size_t count = 0;
	bool is_signed = false, is_good = false;
	kms_status status = store_credentials(store, p->id, all, STORE_CREDENTIALS_MAX, &count, err);

	for (size_t i = 0; status == KMS_OK && i < count && !is_signed; i++) {
		X509 *cert = is_named(j, &all[i]) ? client_cert_parse(all[i].data, all[i].data_len) : NULL;
		is_signed = is_signed_by(j, cert);
		is_good = is_signed && is_in_date(cert, &all[i], now_s);
		X509_free(cert);
	}
	for (size_t i = 0; i < count; i++)
		store_credential_clear(&all[i]);
	ERR_clear_error();
	KMS_TRY(status);
	if (!is_signed)
		return kms_refuse(err, KMS_E_OAUTH_CLIENT, "%s", ASSERTION_UNKNOWN);
	return is_good ? KMS_OK : refuse(err, "the certificate has expired, or is not yet valid");
}

/* ---- the claims ---- */

static bool is_for_us(const struct jwt *j, const char *const *audiences)
{
	for (; *audiences != NULL; audiences++)
		if (jwt_is_for(j, *audiences))
			return true;
	return false;
}

static kms_status check_claims(const struct jwt *j, const struct assertion_use *use, int64_t *ret_exp_s, struct kms_err *err)
{
	const char *jti = jwt_text(j, "jti");
	int64_t nbf_s = 0;

	if (strcmp(jwt_text(j, "iss"), use->client_id) != 0 || strcmp(jwt_text(j, "sub"), use->client_id) != 0)
		return refuse(err, "iss and sub must both be the client_id");
	if (!is_for_us(j, use->audiences))
		return kms_refuse(err, KMS_E_OAUTH_CLIENT, "AADSTS700027: The client assertion is refused: aud must be the token endpoint, %s.", use->audiences[0]);
	if (!jwt_time(j, "exp", ret_exp_s))
		return refuse(err, "exp is required, as a number");
	if (use->now_s >= *ret_exp_s + SKEW_S)
		return refuse(err, "it has ended (exp)");
	if (*ret_exp_s > use->now_s + ASSERTION_LIFE_S + SKEW_S)
		return refuse(err, "it lasts longer than ten minutes (exp)");
	if (json_object_get(j->claims, "nbf") != NULL && (!jwt_time(j, "nbf", &nbf_s) || nbf_s > use->now_s + SKEW_S))
		return refuse(err, "it is not yet valid (nbf)");
	if (jti[0] == '\0' || strlen(jti) > JTI_MAX)
		return refuse(err, "jti is required, of 1 to 256 characters");
	return KMS_OK;
}

kms_status assertion_check(struct assertions *a, struct store *store, const struct store_principal *p, const char *assertion,
                           const struct assertion_use *use, struct kms_err *err)
{
	JWT_AUTO j = { 0 };
	int64_t exp_s = 0;

	/* What does not depend on the principal is said; whether its certificate is known is not. */
	const char *why = jwt_parse(assertion, true, &j);
	if (why != NULL)
		return refuse(err, why);
	if (json_object_get(j.header, "typ") != NULL && !jwt_type_is(&j, "JWT") && !jwt_type_is(&j, "client-authentication+jwt"))
		return refuse(err, "its typ must be JWT");
	if (((unsigned)j.alg & ALGS) == 0)
		return refuse(err, "its algorithm must be RS256, PS256 or ES256");
	if (!names_certificate(&j))
		return refuse(err, "its header must name the certificate (x5t#S256)");
	if (p == NULL)
		return kms_refuse(err, KMS_E_OAUTH_CLIENT, "%s", ASSERTION_UNKNOWN);
	KMS_TRY(check_signature(store, p, &j, use->now_s, err));
	KMS_TRY(check_claims(&j, use, &exp_s, err));
	return note_use(a, p, jwt_text(&j, "jti"), exp_s, use, err);
}
