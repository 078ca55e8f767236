/* server/core/kms.c - the installation: its own keys, its directory, its pseudonyms, its URLs. */
#include "server/core/kms.h"

#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"

#define HTTPS_PORT 443
#define PSEUDONYM_INPUT_MAX 512

void kms_url(const struct kms *kms, const char *vault, char ret_url[KMS_URL_MAX])
{
	char port[8] = "";

	if (kms->public_port != HTTPS_PORT)
		(void)snprintf(port, sizeof(port), ":%u", (unsigned)kms->public_port);
	(void)snprintf(ret_url, KMS_URL_MAX, "https://%s%s%s%s", vault != NULL ? vault : "", vault != NULL ? "." : "", kms->domain, port);
}

kms_status pseudonym(struct hsm *hsm, const uint8_t key_id[HSM_ID_LEN], const char *issuer, const char *subject, uint8_t ret_pid[16],
                     struct kms_err *err)
{
	struct hsm_key key = { .purpose = HSM_FOR_PSEUDONYMS, .kind = HSM_KIND_HMAC };
	char input[PSEUDONYM_INPUT_MAX];
	uint8_t mac[32];
	int len = snprintf(input, sizeof(input), "%s%c%s", issuer, '\0', subject);

	if (len < 0 || (size_t)len >= sizeof(input))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "subject of %d bytes", len);
	memcpy(key.id, key_id, HSM_ID_LEN);
	KMS_TRY(hsm_hmac(hsm, &key, (const uint8_t *)input, (size_t)len, mac, err));
	memcpy(ret_pid, mac, 16);
	return KMS_OK;
}

/* The installation's keys: where each id is kept, and what it is. */
struct own_key {
	const char *meta;
	enum hsm_purpose purpose;
	enum hsm_kind kind;
};
static const struct own_key OWN_KEYS[] = {
	{ "log_key", HSM_FOR_LOG, HSM_KIND_ED25519 },
	{ "token_key", HSM_FOR_TOKENS, HSM_KIND_P256 },
	{ "attestation_key", HSM_FOR_ATTESTATION, HSM_KIND_P256 },
	{ "pseudonym_key", HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC },
};
#define OWN_KEY_COUNT KMS_ARRAY_LEN(OWN_KEYS)
#define META_DIRECTORY "directory"
#define META_COMPLETE "installed"
#define META_ORIGIN "log_origin"

static void put_meta(struct store_change *c, const char *name, const void *value, size_t len)
{
	memset(c, 0, sizeof(*c));
	c->kind = STORE_META_PUT;
	(void)snprintf(c->meta.name, sizeof(c->meta.name), "%s", name);
	memcpy(c->meta.value, value, len);
	c->meta.value_len = len;
}

static kms_status write_meta(struct store *store, const struct store_change *changes, size_t count, struct kms_err *err)
{
	kms_status status = KMS_OK;

	KMS_TRY(store_begin(store, err));
	status = store_apply(store, changes, count, 0, err);
	if (status != KMS_OK) {
		store_rollback(store);
		return status;
	}
	return store_commit(store, err);
}

static kms_status read_id(struct store *store, const char *name, uint8_t ret_id[STORE_ID_LEN], struct kms_err *err)
{
	struct store_meta meta = { 0 };
	kms_status status = store_meta(store, name, &meta, NULL);

	if (status == KMS_E_NOTFOUND)
		return status;
	if (status != KMS_OK || meta.value_len != STORE_ID_LEN)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "installation record %s is damaged", name);
	memcpy(ret_id, meta.value, STORE_ID_LEN);
	return KMS_OK;
}

/* First start: choose all ids and write them down before anything is made. */
static kms_status plan_installation(struct store *store, const char *origin, struct kms_err *err)
{
	struct store_change changes[OWN_KEY_COUNT + 2];
	uint8_t id[STORE_ID_LEN];

	for (size_t i = 0; i <= OWN_KEY_COUNT; i++) {
		if (!guid_random(id))
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
		put_meta(&changes[i], i < OWN_KEY_COUNT ? OWN_KEYS[i].meta : META_DIRECTORY, id, sizeof(id));
	}
	put_meta(&changes[OWN_KEY_COUNT + 1], META_ORIGIN, origin, strlen(origin));
	return write_meta(store, changes, KMS_ARRAY_LEN(changes), err);
}

/* A log has one origin for ever: proofs and receipts name it (audit-log.md section 2). */
static kms_status check_origin(struct store *store, const char *origin, struct kms_err *err)
{
	struct store_meta meta = { 0 };
	kms_status status = store_meta(store, META_ORIGIN, &meta, NULL);

	if (status != KMS_OK)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "installation record %s is missing", META_ORIGIN);
	if (meta.value_len == strlen(origin) && memcmp(meta.value, origin, meta.value_len) == 0) /* allowed: public */
		return KMS_OK;
	return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "this database's log is '%.*s', never another: set log.origin to that", (int)meta.value_len,
	                (const char *)meta.value);
}

static kms_status open_own_key(struct hsm *hsm, const struct own_key *own, const uint8_t id[STORE_ID_LEN], bool may_make,
                               struct hsm_public *ret_public, struct kms_err *err)
{
	struct hsm_key key = { .purpose = own->purpose, .kind = own->kind };
	struct kms_err missing = { 0 };
	uint8_t mac[32];
	kms_status status = KMS_OK;

	memcpy(key.id, id, HSM_ID_LEN);
	if (own->kind == HSM_KIND_HMAC)
		status = hsm_hmac(hsm, &key, id, STORE_ID_LEN, mac, &missing);
	else
		status = hsm_key_public(hsm, &key, ret_public, &missing);
	if (status == KMS_OK)
		return KMS_OK;
	if (status != KMS_E_NOTFOUND) {
		*err = missing;
		return status;
	}
	if (!may_make)
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0,
		                "%s is not on the token: this is another token than the database belongs to, or an older copy of it", own->meta);
	return hsm_key_generate(hsm, &key, ret_public, err);
}

kms_status installation_open(struct store *store, struct hsm *hsm, const char *origin, struct installation *ret_inst, struct kms_err *err)
{
	struct installation inst = { 0 };
	uint8_t *ids[OWN_KEY_COUNT] = { inst.log_key, inst.token_key, inst.attestation_key, inst.pseudonym_key };
	struct hsm_public pub = { 0 };
	struct store_meta complete = { 0 };
	struct store_change done;
	kms_status status = read_id(store, META_DIRECTORY, inst.directory, err);
	bool is_complete = false;

	if (status == KMS_E_NOTFOUND) {
		KMS_TRY(plan_installation(store, origin, err));
		status = read_id(store, META_DIRECTORY, inst.directory, err);
	}
	if (status != KMS_OK)
		return status;
	KMS_TRY(check_origin(store, origin, err));
	is_complete = store_meta(store, META_COMPLETE, &complete, NULL) == KMS_OK;
	for (size_t i = 0; i < OWN_KEY_COUNT; i++) {
		if (read_id(store, OWN_KEYS[i].meta, ids[i], err) != KMS_OK)
			return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "installation record %s is missing", OWN_KEYS[i].meta);
		KMS_TRY(open_own_key(hsm, &OWN_KEYS[i], ids[i], !is_complete, &pub, err));
		if (OWN_KEYS[i].purpose == HSM_FOR_TOKENS)
			inst.token_public = pub;
	}
	if (!is_complete) {
		put_meta(&done, META_COMPLETE, "yes", 3);
		KMS_TRY(write_meta(store, &done, 1, err));
	}
	*ret_inst = inst;
	return KMS_OK;
}
