/* server/core/kms.c - the installation: its own keys, its directory, its pseudonyms, its URLs. */
#include "server/core/kms.h"

#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/checkpoint_parts.h"

#define HTTPS_PORT 443
#define PSEUDONYM_INPUT_MAX 512
#define DERIVED_KEY_LEN 32
/* No pseudonym's input can be one of these texts: each has a NUL between issuer and subject. */
#define PAGE_KEY_INPUT "holdfast page key 1"
#define WEBHOOK_KEY_INPUT "holdfast webhook key 1"

void kms_url(const struct kms *kms, const char *vault, char ret_url[KMS_URL_MAX])
{
	char port[8] = "";

	if (kms->public_port != HTTPS_PORT)
		(void)snprintf(port, sizeof(port), ":%u", (unsigned)kms->public_port);
	(void)snprintf(ret_url, KMS_URL_MAX, "https://%s%s%s%s", vault != NULL ? vault : "", vault != NULL ? "." : "", kms->domain, port);
}

bool kms_token_is_files(const struct hsm_info *device) { return strstr(device->manufacturer, "SoftHSM") != NULL; }

kms_status pseudonym(struct hsm *hsm, const uint8_t key_id[HSM_ID_LEN], const char *issuer, const char *subject, uint8_t ret_pid[16],
                     struct kms_err *err)
{
	struct hsm_key key = { .purpose = HSM_FOR_PSEUDONYMS, .kind = HSM_KIND_HMAC };
	char input[PSEUDONYM_INPUT_MAX];
	uint8_t mac[HSM_SIGNATURE_MAX];
	size_t mac_len;
	int len = snprintf(input, sizeof(input), "%s%c%s", issuer, '\0', subject);

	if (len < 0 || (size_t)len >= sizeof(input))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "subject of %d bytes", len);
	memcpy(key.id, key_id, HSM_ID_LEN);
	KMS_TRY(hsm_sign(hsm, &key, HSM_SIGN_HMAC_SHA256, (const uint8_t *)input, (size_t)len, mac, &mac_len, err));
	memcpy(ret_pid, mac, 16);
	return KMS_OK;
}

/* The installation's keys: where each id is kept, what it is, and the level of an installation since which there is one. */
struct own_key {
	const char *meta;
	enum hsm_purpose purpose;
	enum hsm_kind kind;
	uint16_t bits;
	unsigned since;
	size_t id_offset, public_offset; /* in struct installation; 0 = its public half is not kept */
};
#define META_LOG_KEY "log_key" /* of the newest generation */
#define KEEPS(member) offsetof(struct installation, member)
static const struct own_key OWN_KEYS[] = {
	{ META_LOG_KEY, HSM_FOR_LOG, HSM_KIND_ED25519, 0, 1, KEEPS(log_key), KEEPS(log_public) },
	{ "token_key", HSM_FOR_TOKENS, HSM_KIND_P256, 0, 1, KEEPS(token_key), KEEPS(token_public) },
	{ "attestation_key", HSM_FOR_ATTESTATION, HSM_KIND_P256, 0, 1, KEEPS(attestation_key), KEEPS(attestation_public) },
	{ "pseudonym_key", HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0, 1, KEEPS(pseudonym_key), 0 },
};
#undef KEEPS
#define OWN_KEY_COUNT KMS_ARRAY_LEN(OWN_KEYS)
#define META_DIRECTORY "directory"
#define META_COMPLETE "installed" /* the level that is complete; absent while the first one is being made */
#define META_ORIGIN LOG_META_ORIGIN
#define META_FIRST_ORIGIN "log_origin_first" /* what the configuration must say */
#define META_CREATED "created"
#define LEVEL_ONE_TEXT "yes" /* what level 1 wrote */
#define LEVEL_NOW 2          /* raised with each own key that is added. Level 2 had a backup key, the first of the backup epochs (epoch.h) since */
#define RECORDS_MAX (OWN_KEY_COUNT + 4)

/* Records to be written together. */
struct records {
	struct store_change changes[RECORDS_MAX];
	size_t count;
};

static void put_meta(struct records *r, const char *name, const void *value, size_t len)
{
	struct store_change *c = &r->changes[r->count++];

	memset(c, 0, sizeof(*c));
	c->kind = STORE_META_PUT;
	(void)snprintf(c->meta.name, sizeof(c->meta.name), "%s", name);
	memcpy(c->meta.value, value, len);
	c->meta.value_len = len;
}

static kms_status put_new_id(struct records *r, const char *name, struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN];

	if (!guid_random(id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	put_meta(r, name, id, sizeof(id));
	return KMS_OK;
}

static kms_status write_records(struct store *store, const struct records *r, struct kms_err *err)
{
	kms_status status = KMS_OK;

	if (r->count == 0)
		return KMS_OK;
	KMS_TRY(store_begin(store, err));
	status = store_apply(store, r->changes, r->count, 0, err);
	if (status != KMS_OK) {
		store_rollback(store);
		return status;
	}
	return store_commit(store, err);
}

/* KMS_E_NOTFOUND is an answer, without a word in err. @param len  exactly; 0 = any */
static kms_status read_record(struct store *store, const char *name, size_t len, struct store_meta *ret, struct kms_err *err)
{
	kms_status status = store_meta(store, name, ret, NULL);

	if (status == KMS_E_NOTFOUND)
		return status;
	if (status != KMS_OK || (len != 0 && ret->value_len != len))
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "installation record %s is damaged", name);
	return KMS_OK;
}

static kms_status must_read(struct store *store, const char *name, size_t len, struct store_meta *ret, struct kms_err *err)
{
	kms_status status = read_record(store, name, len, ret, err);

	return status == KMS_E_NOTFOUND ? kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "installation record %s is missing", name) : status;
}

/* The level whose keys are all made; 0 = none yet. */
static kms_status read_level(struct store *store, unsigned *ret_level, struct kms_err *err)
{
	struct store_meta meta = { 0 };
	uint64_t leaves = 0;
	kms_status status = read_record(store, META_COMPLETE, 0, &meta, err);

	*ret_level = 0;
	if (status == KMS_E_NOTFOUND) {
		/* The first leaf is written after it. Who takes it away would have the log signed by new keys. */
		KMS_TRY(store_event_count(store, &leaves, err));
		return leaves == 0 ? KMS_OK : kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "installation record %s is missing", META_COMPLETE);
	}
	if (status != KMS_OK)
		return status;
	if (meta.value_len == strlen(LEVEL_ONE_TEXT) && memcmp(meta.value, LEVEL_ONE_TEXT, meta.value_len) == 0) /* allowed: public */
		*ret_level = 1;
	else if (meta.value_len == 1 && meta.value[0] >= '2' && meta.value[0] <= '0' + LEVEL_NOW)
		*ret_level = (unsigned)(meta.value[0] - '0');
	else
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "installation record %s is damaged, or of a newer holdfastd", META_COMPLETE);
	return KMS_OK;
}

static void put_u64(uint8_t ret[8], uint64_t n)
{
	for (int i = 7; i >= 0; i--, n >>= 8)
		ret[i] = (uint8_t)n;
}

static uint64_t get_u64(const uint8_t bytes[8])
{
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | bytes[i];
	return n;
}

/* The first start: the first leaf's, where an older version did not write it down. */
static kms_status put_created(struct store *store, struct records *r, struct kms_err *err)
{
	struct store_event first = { 0 };
	uint8_t value[8];
	kms_status status = store_event(store, 0, &first, NULL);
	int64_t created_s = status == KMS_OK ? first.ts_us / 1000000 : clock_wall_s(&CLOCK_SYSTEM);

	store_event_clear(&first);
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "the log's first leaf");
	put_u64(value, (uint64_t)created_s);
	put_meta(r, META_CREATED, value, sizeof(value));
	return KMS_OK;
}

/* Older versions knew one origin for each database. */
static kms_status put_first_origin(struct store *store, struct records *r, const char *origin, struct kms_err *err)
{
	struct store_meta first = { 0 }, present = { 0 };
	kms_status status = read_record(store, META_FIRST_ORIGIN, 0, &first, err);

	if (status != KMS_E_NOTFOUND)
		return status;
	status = read_record(store, META_ORIGIN, 0, &present, err);
	if (status == KMS_OK)
		put_meta(r, META_FIRST_ORIGIN, present.value, present.value_len);
	else if (status == KMS_E_NOTFOUND)
		put_meta(r, META_FIRST_ORIGIN, origin, strlen(origin));
	return status == KMS_E_NOTFOUND ? KMS_OK : status;
}

/* Choose what is not there yet and write it down before anything is made: all of it on the first start, what was added since on an older
 * installation. A key that its level should have is not replaced. */
static kms_status plan_installation(struct store *store, const char *origin, unsigned level, struct kms_err *err)
{
	struct records plan = { 0 };
	struct store_meta found = { 0 };
	kms_status status = read_record(store, META_DIRECTORY, STORE_ID_LEN, &found, err);

	if (status == KMS_E_NOTFOUND && level == 0) {
		KMS_TRY(put_new_id(&plan, META_DIRECTORY, err));
		put_meta(&plan, META_ORIGIN, origin, strlen(origin));
	} else if (status != KMS_E_NOTFOUND && status != KMS_OK) {
		return status;
	}
	KMS_TRY(put_first_origin(store, &plan, origin, err));
	for (size_t i = 0; i < OWN_KEY_COUNT; i++) {
		status = OWN_KEYS[i].since > level ? read_record(store, OWN_KEYS[i].meta, STORE_ID_LEN, &found, err) : KMS_OK;
		if (status == KMS_E_NOTFOUND)
			status = put_new_id(&plan, OWN_KEYS[i].meta, err);
		if (status != KMS_OK)
			return status;
	}
	status = read_record(store, META_CREATED, sizeof(uint64_t), &found, err);
	if (status == KMS_E_NOTFOUND)
		status = put_created(store, &plan, err);
	if (status != KMS_OK)
		return status;
	return write_records(store, &plan, err);
}

/* A log has one origin for ever: proofs and receipts name it (audit-log.md section 2). Logs that follow take theirs from the first one's. */
static kms_status check_origin(struct store *store, const char *origin, struct kms_err *err)
{
	struct store_meta meta = { 0 };

	KMS_TRY(must_read(store, META_FIRST_ORIGIN, 0, &meta, err));
	if (meta.value_len == strlen(origin) && memcmp(meta.value, origin, meta.value_len) == 0) /* allowed: public */
		return KMS_OK;
	return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "this database's first log is '%.*s', never another: set log.origin to that", (int)meta.value_len,
	                (const char *)meta.value);
}

/* Is it in the device, and as it was made? Pairs answer with their public half. */
static kms_status look_for(struct hsm *hsm, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err)
{
	struct hsm_attributes found = { 0 };

	if (key->kind == HSM_KIND_HMAC || key->kind == HSM_KIND_AES)
		return hsm_key_attributes(hsm, key, &found, err);
	return hsm_key_public(hsm, key, ret_public, err);
}

static kms_status open_own_key(struct hsm *hsm, const struct own_key *own, enum hsm_kind kind, const uint8_t id[STORE_ID_LEN], bool may_make,
                               struct hsm_public *ret_public, struct kms_err *err)
{
	struct hsm_key key = { .purpose = own->purpose, .kind = kind, .bits = own->bits };
	struct kms_err missing = { 0 };
	kms_status status = KMS_OK;

	memcpy(key.id, id, HSM_ID_LEN);
	status = look_for(hsm, &key, ret_public, &missing);
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

static kms_status open_own_keys(struct store *store, struct hsm *hsm, unsigned level, struct installation *inst, struct kms_err *err)
{
	for (size_t i = 0; i < OWN_KEY_COUNT; i++) {
		const struct own_key *own = &OWN_KEYS[i];
		struct hsm_public pub = { 0 };
		struct store_meta id = { 0 };

		KMS_TRY(must_read(store, own->meta, STORE_ID_LEN, &id, err));
		KMS_TRY(open_own_key(hsm, own, own->purpose == HSM_FOR_LOG ? inst->log_kind : own->kind, id.value, own->since > level, &pub, err));
		memcpy((uint8_t *)inst + own->id_offset, id.value, STORE_ID_LEN);
		if (own->public_offset != 0)
			memcpy((uint8_t *)inst + own->public_offset, &pub, sizeof(pub));
	}
	return KMS_OK;
}

/* What the newest log key is; the first one is what the device can. */
static kms_status read_log_kind(struct store *store, const struct hsm *hsm, enum hsm_kind *ret_kind, struct kms_err *err)
{
	struct store_log_key newest;
	struct note_key key;
	size_t count = 0;

	KMS_TRY(store_log_keys(store, &newest, 1, &count, err));
	if (count == 0)
		*ret_kind = (hsm->features & HSM_CAN_ED25519) != 0 ? HSM_KIND_ED25519 : HSM_KIND_P256;
	else if (note_vkey_parse(newest.vkey, &key))
		*ret_kind = key.type == NOTE_ECDSA_P256 ? HSM_KIND_P256 : HSM_KIND_ED25519;
	else
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the verifier key of the log is damaged");
	return KMS_OK;
}

/* The first generation's public half, for those who check. It signs whatever was not signed yet. */
static kms_status record_log_key(struct store *store, const struct installation *inst, struct kms_err *err)
{
	struct store_log_key newest;
	struct store_meta origin = { 0 };
	struct records r = { .count = 1, .changes = { { .kind = STORE_LOG_KEY_ADD } } };
	char name[STORE_ORIGIN_MAX + 1];
	size_t count = 0;

	KMS_TRY(store_log_keys(store, &newest, 1, &count, err));
	if (count > 0)
		return KMS_OK;
	KMS_TRY(must_read(store, META_ORIGIN, 0, &origin, err));
	(void)snprintf(name, sizeof(name), "%.*s", (int)origin.value_len, (const char *)origin.value);
	memcpy(r.changes[0].log_key.obj, inst->log_key, STORE_ID_LEN);
	r.changes[0].log_key.created_s = inst->created_s;
	if (!log_vkey_make(name, inst->log_kind, &inst->log_public, r.changes[0].log_key.vkey))
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the public half of the log key is not one of its kind");
	return write_records(store, &r, err);
}

static kms_status derive_key(struct hsm *hsm, const struct installation *inst, const char *input, struct secret **ret, struct kms_err *err)
{
	struct hsm_key key = { .purpose = HSM_FOR_PSEUDONYMS, .kind = HSM_KIND_HMAC };
	ERASE_AUTO(uint8_t, mac, HSM_SIGNATURE_MAX);
	size_t len = 0;

	memcpy(key.id, inst->pseudonym_key, HSM_ID_LEN);
	KMS_TRY(hsm_sign(hsm, &key, HSM_SIGN_HMAC_SHA256, (const uint8_t *)input, strlen(input), mac, &len, err));
	*ret = len == DERIVED_KEY_LEN ? secret_from(mac, len) : NULL;
	return *ret != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "derived key");
}

static kms_status derive_keys(struct hsm *hsm, struct installation *inst, struct kms_err *err)
{
	kms_status status = derive_key(hsm, inst, PAGE_KEY_INPUT, &inst->page_key, err);

	if (status == KMS_OK)
		status = derive_key(hsm, inst, WEBHOOK_KEY_INPUT, &inst->webhook_key, err);
	if (status != KMS_OK)
		installation_clear(inst);
	return status;
}

void installation_clear(struct installation *inst)
{
	secret_free(inst->page_key);
	secret_free(inst->webhook_key);
	inst->page_key = inst->webhook_key = NULL;
}

kms_status installation_open(struct store *store, struct hsm *hsm, const char *origin, struct installation *ret_inst, struct kms_err *err)
{
	static const char level_now[] = { '0' + LEVEL_NOW };
	struct installation inst = { 0 };
	struct store_meta meta = { 0 };
	struct records done = { 0 };
	unsigned level = 0;

	KMS_TRY(read_level(store, &level, err));
	KMS_TRY(plan_installation(store, origin, level, err));
	KMS_TRY(check_origin(store, origin, err));
	KMS_TRY(must_read(store, META_DIRECTORY, STORE_ID_LEN, &meta, err));
	memcpy(inst.directory, meta.value, STORE_ID_LEN);
	KMS_TRY(must_read(store, META_CREATED, sizeof(uint64_t), &meta, err));
	inst.created_s = (int64_t)get_u64(meta.value);
	KMS_TRY(read_log_kind(store, hsm, &inst.log_kind, err));
	KMS_TRY(open_own_keys(store, hsm, level, &inst, err));
	KMS_TRY(record_log_key(store, &inst, err));
	if (level < LEVEL_NOW) {
		put_meta(&done, META_COMPLETE, level_now, sizeof(level_now));
		KMS_TRY(write_records(store, &done, err));
	}
	KMS_TRY(derive_keys(hsm, &inst, err));
	*ret_inst = inst;
	return KMS_OK;
}
