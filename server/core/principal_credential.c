/* server/core/principal_credential.c - how principals are known: secrets, certificates, identities at external issuers. */
#include <assert.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/access_parts.h"
#include "server/core/approval.h"
#include "server/core/canon.h"
#include "server/core/principal_parts.h"

#define SECONDS_A_DAY 86400
#define PARAMETERS_MAX 1024
#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define RSA_EXPONENT_BITS_MAX 64 /* a longer one makes each signature a burden for the one who checks it */
#define ISSUER_ALPHABET "abcdefghijklmnopqrstuvwxyz0123456789-"
#define CLAIM_OF_GROUP "group:"
#define CLAIM_OF_ROLE "role:"

static const char *const KINDS[] = { [STORE_CREDENTIAL_SECRET] = "secret", [STORE_CREDENTIAL_HEADER] = "header",
	                             [STORE_CREDENTIAL_CERTIFICATE] = "certificate", [STORE_CREDENTIAL_IDENTITY] = "identity" };
static const size_t KIND_MAX[] = { [STORE_CREDENTIAL_SECRET] = SECRETS_MAX, [STORE_CREDENTIAL_HEADER] = SECRETS_MAX,
	                           [STORE_CREDENTIAL_CERTIFICATE] = CERTIFICATES_MAX, [STORE_CREDENTIAL_IDENTITY] = IDENTITIES_MAX };

/* ---- what there is ---- */

struct credential_list {
	struct store_credential all[STORE_CREDENTIALS_MAX];
	size_t count;
};

static void credential_list_clear(struct credential_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		store_credential_clear(&l->all[i]);
}
#define CREDENTIAL_LIST_AUTO __attribute__((cleanup(credential_list_clear))) struct credential_list

static bool is_in_date(const struct store_credential *c, int64_t now_s) { return c->expires_s == STORE_NO_TIME || now_s < c->expires_s; }

/* Room for one more of its kind? What has expired does not count, but takes a place until it is removed. */
static kms_status check_room(struct op *op, const struct store_principal *p, enum store_credential_kind kind, struct kms_err *err)
{
	CREDENTIAL_LIST_AUTO list = { 0 };
	int64_t now_s = clock_wall_s(op->kms->clock);
	size_t same = 0;

	KMS_TRY(store_credentials(op->store, p->id, list.all, STORE_CREDENTIALS_MAX, &list.count, err));
	for (size_t i = 0; i < list.count; i++)
		same += list.all[i].kind == kind && is_in_date(&list.all[i], now_s);
	if (same >= KIND_MAX[kind])
		return kms_refuse(err, KMS_E_CONFLICT, "%s has %zu credentials of the kind %s in date; remove one first.", p->name, same, KINDS[kind]);
	if (list.count >= STORE_CREDENTIALS_MAX)
		return kms_refuse(err, KMS_E_CONFLICT, "%s has %d credentials; remove those that have expired first.", p->name, STORE_CREDENTIALS_MAX);
	return KMS_OK;
}

/* ---- whose, and who decides ---- */

static kms_status check_no_certificate_holder(struct op *op, const struct store_principal *p, struct kms_err *err)
{
	STORE_POOL_AUTO pool = { 0 };
	kms_status status = store_pool(op->store, p->id, &pool, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "pool lookup");
	return kms_refuse(err, KMS_E_INVALID, "%s is known by its client certificate, and by nothing else.", p->name);
}

static kms_status open_holder(struct op *op, const uint8_t id[STORE_ID_LEN], enum store_credential_kind kind, struct store_principal *ret,
                              struct kms_err *err)
{
	if (op->has_vault)
		KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(principal_find(op, id, ret, err));
	KMS_TRY(principal_check_may_manage(op, ret, err));
	if (ret->kind == STORE_PRINCIPAL_GROUP && kind != STORE_CREDENTIAL_IDENTITY)
		return kms_refuse(err, KMS_E_INVALID, "%s is a group: it is known by claims of tokens, and by no %s.", ret->name, KINDS[kind]);
	KMS_TRY(check_no_certificate_holder(op, ret, err));
	return check_room(op, ret, kind, err);
}

/* What is asked for, member by member in the order of their names. Empty texts are left out. */
struct credential_request {
	const struct store_principal *p;
	const struct store_credential *c;
	unsigned days;
	const char *issuer, *subject;
};

static kms_status describe(const struct credential_request *r, char ret_text[PARAMETERS_MAX + 1], struct kms_err *err)
{
	struct canon c = { .buf = ret_text, .cap = PARAMETERS_MAX };

	canon_open(&c, NULL);
	if (r->days > 0)
		canon_int(&c, "days", r->days);
	if (r->issuer != NULL)
		canon_token(&c, "issuer", r->issuer);
	canon_token(&c, "kind", KINDS[r->c->kind]);
	canon_text(&c, "label", r->c->label, STORE_LABEL_MAX);
	canon_guid(&c, "principal", r->p->id);
	canon_token(&c, "principal_name", r->p->name);
	if (r->c->kind == STORE_CREDENTIAL_CERTIFICATE)
		canon_bytes(&c, "sha256", r->c->hash, sizeof(r->c->hash));
	if (r->subject != NULL)
		canon_text(&c, "subject", r->subject, CALLER_SUBJECT_MAX);
	canon_close(&c);
	if (c.is_over || c.cut_count > 0)
		return kms_refuse(err, KMS_E_INVALID, "label, subject: too long to be shown to those who have to agree.");
	ret_text[c.len] = '\0';
	return KMS_OK;
}

static void note_credential(struct op *op, const char *act, const struct store_credential *c)
{
	op_det_text(op, "act", act);
	op_det_guid(op, "credential", c->id);
	op_det_text(op, "kind", KINDS[c->kind]);
	op_det_text(op, "label", c->label);
	op_det_guid(op, "principal", c->principal_id);
}

/* Whoever approves, and could not log in until now, may be the one that was missing. */
static kms_status note_known(struct op *op, const struct credential_request *r, struct kms_err *err)
{
	if (r->p->kind == STORE_PRINCIPAL_GROUP || r->c->kind == STORE_CREDENTIAL_HEADER)
		return KMS_OK;
	return approval_note_founding(op, op->has_vault ? &op->vault : NULL, NULL, r->p->id, err);
}

/* Agreed to, intended, and planned: what all kinds have in common at the end. */
static kms_status enter(struct op *op, const struct credential_request *r, struct kms_err *err)
{
	char parameters[PARAMETERS_MAX + 1];
	struct store_intent intent = { 0 };

	note_credential(op, "credential_add", r->c);
	KMS_TRY(describe(r, parameters, err));
	KMS_TRY(op_expect_changes(op, 2 + ACCESS_STILL_CHANGES, err));
	KMS_TRY(access_elevate_way_in(op, r->p, parameters, err));
	KMS_TRY(access_hold_still(op, r->p, true, err));
	KMS_TRY(note_known(op, r, err));
	KMS_TRY(op_intend(op, NULL, &intent, err));
	op_change(op, STORE_CREDENTIAL_ADD)->credential = *r->c;
	return KMS_OK;
}

static bool is_text(const char *text, size_t max)
{
	size_t len = strlen(text);

	if (len > max || !canon_is_utf8(text, max))
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == '\x7f')
			return false;
	return true;
}

static kms_status take_label(const char *label, struct store_credential *c, struct kms_err *err)
{
	if (!is_text(label, STORE_LABEL_MAX))
		return kms_refuse(err, KMS_E_INVALID, "label: at most %d bytes of UTF-8, without control characters.", STORE_LABEL_MAX);
	(void)snprintf(c->label, sizeof(c->label), "%s", label);
	return KMS_OK;
}

static kms_status new_credential(const struct store_principal *p, enum store_credential_kind kind, int64_t now_s, struct store_credential *ret,
                                 struct kms_err *err)
{
	*ret = (struct store_credential){ .kind = kind, .created_s = now_s, .expires_s = STORE_NO_TIME };
	memcpy(ret->principal_id, p->id, STORE_ID_LEN);
	if (!guid_random(ret->id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	return KMS_OK;
}

/* ---- secrets ---- */

static void hash_secret(const void *secret, size_t len, uint8_t ret_hash[STORE_HASH_LEN])
{
	/* 256 random bits need no slow hash: guessing is hopeless at any speed. */
	SHA256(secret, len, ret_hash);
}

kms_status principal_new_secret(const struct store_principal *p, enum store_credential_kind kind, unsigned days, int64_t now_s,
                                struct store_credential *ret, struct secret **ret_secret, struct kms_err *err)
{
	SECRET_AUTO *raw = secret_new(CLIENT_SECRET_BYTES);
	SECRET_AUTO *text = secret_new(CLIENT_SECRET_TEXT + 1);

	if (raw == NULL || text == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "client secret");
	KMS_TRY(new_credential(p, kind, now_s, ret, err));
	if (!random_bytes(secret_bytes(raw), CLIENT_SECRET_BYTES))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	b64url_encode(secret_data(raw), CLIENT_SECRET_BYTES, (char *)secret_bytes(text));
	hash_secret(secret_data(text), CLIENT_SECRET_TEXT, ret->hash);
	ret->expires_s = now_s + (int64_t)days * SECONDS_A_DAY;
	*ret_secret = KMS_TAKE(text);
	return KMS_OK;
}

kms_status credential_add_secret(struct op *op, const uint8_t principal_id[STORE_ID_LEN], enum store_credential_kind kind,
                                 const char *label, unsigned days, struct store_credential *ret, struct secret **ret_secret,
                                 struct kms_err *err)
{
	struct store_principal p = { 0 };
	struct store_credential c = { 0 };
	struct credential_request request = { .p = &p, .c = &c, .days = days };
	SECRET_AUTO *secret = NULL;

	assert(kind == STORE_CREDENTIAL_SECRET || kind == STORE_CREDENTIAL_HEADER);
	if (days < 1 || days > SECRET_DAYS_MAX)
		return kms_refuse(err, KMS_E_INVALID, "days: must be 1 to %d.", SECRET_DAYS_MAX);
	KMS_TRY(open_holder(op, principal_id, kind, &p, err));
	KMS_TRY(principal_new_secret(&p, kind, days, clock_wall_s(op->kms->clock), &c, &secret, err));
	KMS_TRY(take_label(label, &c, err));
	KMS_TRY(enter(op, &request, err));
	*ret = c;
	*ret_secret = KMS_TAKE(secret);
	return KMS_OK;
}

/* The same work whoever it is, and whichever secret it might be: all places are compared, those that are empty too. */
kms_status credential_matches(struct store *store, const struct store_principal *p, enum store_credential_kind kind, const void *secret,
                              size_t secret_len, int64_t now_s, bool *ret_matches, struct kms_err *err)
{
	static const uint8_t NOBODY[STORE_ID_LEN];
	CREDENTIAL_LIST_AUTO list = { 0 };
	ERASE_AUTO(uint8_t, hash, STORE_HASH_LEN);
	bool matches = false;

	hash_secret(secret, secret_len, hash);
	KMS_TRY(store_credentials(store, p != NULL ? p->id : NOBODY, list.all, STORE_CREDENTIALS_MAX, &list.count, err));
	for (size_t i = 0; i < STORE_CREDENTIALS_MAX; i++) {
		const struct store_credential *c = &list.all[i];
		bool is_same = CRYPTO_memcmp(hash, c->hash, STORE_HASH_LEN) == 0;
		bool counts = i < list.count && c->kind == kind && is_in_date(c, now_s);
		matches |= is_same & counts;
	}
	*ret_matches = matches && p != NULL && p->is_enabled && p->kind == STORE_PRINCIPAL_CALLER;
	return KMS_OK;
}

/* ---- certificates ---- */

static void x509_free_at(X509 **x) { X509_free(*x); }

static bool is_good_curve(const EVP_PKEY *key)
{
	static const char *const CURVES[] = { SN_X9_62_prime256v1, SN_secp384r1, SN_secp521r1 };
	char name[32] = "";
	size_t len = 0;

	if (EVP_PKEY_get_group_name(key, name, sizeof(name), &len) != 1)
		return false;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CURVES); i++)
		if (strcmp(name, CURVES[i]) == 0)
			return true;
	return false;
}

static bool is_good_rsa(const EVP_PKEY *key)
{
	BIGNUM *e = NULL;
	bool good = EVP_PKEY_get_bits(key) >= RSA_BITS_MIN && EVP_PKEY_get_bits(key) <= RSA_BITS_MAX &&
	            EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_odd(e) && !BN_is_one(e) &&
	            BN_num_bits(e) <= RSA_EXPONENT_BITS_MAX;

	BN_free(e);
	return good;
}

static bool is_good_key(const EVP_PKEY *key)
{
	if (key == NULL)
		return false;
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA: return is_good_rsa(key);
	case EVP_PKEY_EC: return is_good_curve(key);
	case EVP_PKEY_ED25519: return true;
	default: return false;
	}
}

static kms_status check_certificate(const uint8_t *der, size_t der_len, int64_t not_after_s, int64_t now_s, struct kms_err *err)
{
	const uint8_t *at = der;
	__attribute__((cleanup(x509_free_at))) X509 *x = der_len <= STORE_CREDENTIAL_DATA_MAX ? d2i_X509(NULL, &at, (long)der_len) : NULL;

	if (x == NULL || at != der + der_len)
		return kms_refuse(err, KMS_E_INVALID, "certificate: must be one X.509 certificate of at most %d bytes.", STORE_CREDENTIAL_DATA_MAX);
	if (!is_good_key(X509_get0_pubkey(x)))
		return kms_refuse(err, KMS_E_INVALID, "certificate: its key must be RSA of %d to %d bits with an exponent of at most 64, P-256, P-384, P-521 or Ed25519.", RSA_BITS_MIN,
		                  RSA_BITS_MAX);
	if (not_after_s <= now_s)
		return kms_refuse(err, KMS_E_INVALID, "certificate: it has expired.");
	return KMS_OK;
}

kms_status credential_find(struct store *store, const uint8_t principal_id[STORE_ID_LEN], enum store_credential_kind kind,
                           const uint8_t hash[STORE_HASH_LEN], struct store_credential *ret, struct kms_err *err)
{
	CREDENTIAL_LIST_AUTO list = { 0 };

	KMS_TRY(store_credentials(store, principal_id, list.all, STORE_CREDENTIALS_MAX, &list.count, err));
	for (size_t i = 0; i < list.count; i++) {
		struct store_credential *c = &list.all[i];
		if (c->kind != kind || memcmp(c->hash, hash, STORE_HASH_LEN) != 0) /* allowed: hashes of certificates are public, and those of secrets reveal nothing */
			continue;
		*ret = *c;
		*c = (struct store_credential){ 0 }; /* handed over */
		return KMS_OK;
	}
	return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "no such credential of the principal");
}

/* One place for each identity of a directory, and for each certificate of a principal: the store makes sure, here it can be said. */
static kms_status check_free(struct op *op, const struct store_credential *c, struct kms_err *err)
{
	STORE_CREDENTIAL_AUTO other = { 0 };
	kms_status status = c->kind == STORE_CREDENTIAL_CERTIFICATE ? credential_find(op->store, c->principal_id, c->kind, c->hash, &other, NULL) :
	                                                              store_credential(op->store, c->kind, c->hash, &other, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "credential lookup");
	return kms_refuse(err, KMS_E_CONFLICT, "This %s belongs to %s principal already.", KINDS[c->kind],
	                  access_same_id(other.principal_id, c->principal_id) ? "the" : "another");
}

kms_status credential_add_certificate(struct op *op, const uint8_t principal_id[STORE_ID_LEN], const uint8_t *der, size_t der_len,
                                      int64_t not_after_s, const char *label, struct store_credential *ret, struct kms_err *err)
{
	int64_t now_s = clock_wall_s(op->kms->clock);
	struct store_principal p = { 0 };
	struct store_credential c = { 0 }; /* refers to op->kept */
	struct credential_request request = { .p = &p, .c = &c };

	KMS_TRY(check_certificate(der, der_len, not_after_s, now_s, err));
	KMS_TRY(open_holder(op, principal_id, STORE_CREDENTIAL_CERTIFICATE, &p, err));
	KMS_TRY(new_credential(&p, STORE_CREDENTIAL_CERTIFICATE, now_s, &c, err));
	KMS_TRY(take_label(label, &c, err));
	SHA256(der, der_len, c.hash);
	c.expires_s = not_after_s;
	KMS_TRY(check_free(op, &c, err));
	assert(op->kept == NULL);
	op->kept = malloc(der_len);
	if (op->kept == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificate");
	c.data = memcpy(op->kept, der, der_len);
	c.data_len = der_len;
	KMS_TRY(enter(op, &request, err));
	c.data = NULL;
	c.data_len = 0;
	*ret = c;
	return KMS_OK;
}

/* ---- external identities ---- */

static const char *claim_value(const char *subject, const char *prefix)
{
	size_t len = strlen(prefix);
	return strncmp(subject, prefix, len) == 0 && subject[len] != '\0' ? subject + len : NULL;
}

/* What a token of a group's members says. */
static kms_status hash_claim(const struct store_principal *p, const char *issuer, const char *subject, uint8_t ret_hash[STORE_HASH_LEN],
                             struct kms_err *err)
{
	const char *of_group = claim_value(subject, CLAIM_OF_GROUP), *of_role = claim_value(subject, CLAIM_OF_ROLE);
	uint8_t claim[STORE_ID_LEN];

	if (of_group == NULL && of_role == NULL)
		return kms_refuse(err, KMS_E_INVALID, "subject: of a group it is '" CLAIM_OF_GROUP "' or '" CLAIM_OF_ROLE "', and what the token's claim says.");
	access_claim(issuer, of_group != NULL ? "group" : "role", of_group != NULL ? of_group : of_role, claim);
	access_claim_hash(p->vault_id, claim, ret_hash);
	return KMS_OK;
}

static kms_status hash_identity(const struct store_principal *p, const char *issuer, const char *subject, uint8_t ret_hash[STORE_HASH_LEN],
                                struct kms_err *err)
{
	size_t issuer_len = strlen(issuer);

	if (issuer_len < 1 || issuer_len > STORE_ISSUER_MAX || strspn(issuer, ISSUER_ALPHABET) < issuer_len)
		return kms_refuse(err, KMS_E_INVALID, "issuer: the name of an issuer of the configuration, 1 to %d characters of [a-z0-9-].", STORE_ISSUER_MAX);
	if (subject[0] == '\0' || !is_text(subject, CALLER_SUBJECT_MAX))
		return kms_refuse(err, KMS_E_INVALID, "subject: 1 to %d bytes of UTF-8, without control characters.", CALLER_SUBJECT_MAX);
	if (p->kind == STORE_PRINCIPAL_GROUP)
		return hash_claim(p, issuer, subject, ret_hash, err);
	access_identity_hash(p->vault_id, issuer, subject, ret_hash);
	return KMS_OK;
}

/* For people: "issuer subject", cut at a character. */
static void label_identity(struct store_credential *c, const char *issuer, const char *subject)
{
	size_t len = 0, step = 1;

	(void)snprintf(c->label, sizeof(c->label), "%s %s", issuer, subject);
	while (c->label[len] != '\0' && step > 0) {
		step = utf8_char_len(c->label + len, strlen(c->label + len));
		len += step;
	}
	c->label[len] = '\0';
}

kms_status credential_add_identity(struct op *op, const uint8_t principal_id[STORE_ID_LEN], const char *issuer, const char *subject,
                                   struct store_credential *ret, struct kms_err *err)
{
	struct store_principal p = { 0 };
	struct store_credential c = { 0 };
	struct credential_request request = { .p = &p, .c = &c, .issuer = issuer, .subject = subject };

	KMS_TRY(open_holder(op, principal_id, STORE_CREDENTIAL_IDENTITY, &p, err));
	KMS_TRY(new_credential(&p, STORE_CREDENTIAL_IDENTITY, clock_wall_s(op->kms->clock), &c, err));
	KMS_TRY(hash_identity(&p, issuer, subject, c.hash, err));
	label_identity(&c, issuer, subject);
	KMS_TRY(check_free(op, &c, err));
	KMS_TRY(enter(op, &request, err));
	*ret = c;
	return KMS_OK;
}

/* ---- the end ---- */

kms_status credential_remove(struct op *op, const uint8_t principal_id[STORE_ID_LEN], const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	CREDENTIAL_LIST_AUTO list = { 0 };
	const struct store_credential *found = NULL;
	struct store_principal p = { 0 };
	struct store_intent intent = { 0 };
	struct store_change *c = NULL;

	KMS_TRY(principal_find(op, principal_id, &p, err));
	KMS_TRY(principal_check_may_manage(op, &p, err));
	KMS_TRY(store_credentials(op->store, p.id, list.all, STORE_CREDENTIALS_MAX, &list.count, err));
	for (size_t i = 0; i < list.count; i++)
		if (access_same_id(list.all[i].id, id))
			found = &list.all[i];
	if (found == NULL)
		return kms_refuse(err, KMS_E_NOTFOUND, "%s has no such credential.", p.name);
	note_credential(op, "credential_remove", found);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	c = op_change(op, STORE_CREDENTIAL_REMOVE);
	memcpy(c->credential.id, id, STORE_ID_LEN);
	memcpy(c->credential.principal_id, p.id, STORE_ID_LEN);
	return KMS_OK;
}
