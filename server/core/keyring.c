/* server/core/keyring.c - the life of keys. Every act depends on what it read (the fence) and is written with its leaf in one transaction. */
#include "server/core/keyring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"

#define SECONDS_A_DAY 86400
#define VERSIONS_PAGE 16
#define DRAIN_MS 5000
#define DUE_PAGE 16

static kms_status check_name(const char *name, struct kms_err *err)
{
	if (key_name_is_valid(name))
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "The key name must have 1 to %d characters of [0-9a-zA-Z-].", STORE_KEY_NAME_MAX);
}

static kms_status not_found(const char *name, struct kms_err *err)
{
	return kms_refuse(err, KMS_E_KEY_NOTFOUND,
	                  "A key with (name/id) %s was not found in this key vault. If you recently deleted this key you may be able to "
	                  "recover it using the correct recovery command. For help resolving this issue, see the server's documentation.",
	                  name);
}

static void note_key(struct op *op)
{
	(void)snprintf(op->write.event.key_name, sizeof(op->write.event.key_name), "%s", op->key.name);
}

static void note_version(struct op *op)
{
	hex_encode(op->version.id, STORE_ID_LEN, op->write.event.key_version);
	op->write.event.has_obj = true;
	memcpy(op->write.event.obj, op->version.obj, sizeof(op->write.event.obj));
}

static void depend_on_key(struct op *op)
{
	memcpy(op->write.fence.key_id, op->key.id, STORE_ID_LEN);
	op->write.fence.key_epoch = op->key.epoch;
	op->write.has_fence = true;
	note_key(op);
}

static void depend_on_version(struct op *op)
{
	memcpy(op->write.fence.version_id, op->version.id, STORE_ID_LEN);
	op->write.fence.version_epoch = op->version.epoch;
	note_version(op);
}

/* A key by name in whatever state; KMS_E_KEY_NOTFOUND when there is none. The name is noted for the leaf of a refusal too. */
static kms_status find_key(struct op *op, const char *name, struct kms_err *err)
{
	kms_status status = KMS_OK;

	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(check_name(name, err));
	(void)snprintf(op->write.event.key_name, sizeof(op->write.event.key_name), "%s", name);
	status = store_key(op->store, op->vault.id, name, &op->key, NULL);
	if (status == KMS_E_NOTFOUND)
		return not_found(name, err);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "key lookup");
	depend_on_key(op);
	return KMS_OK;
}

static bool is_deleted(const struct store_key *k) { return k->deleted_s != STORE_NO_TIME; }

static kms_status find_living(struct op *op, const char *name, struct kms_err *err)
{
	KMS_TRY(find_key(op, name, err));
	return is_deleted(&op->key) ? not_found(name, err) : KMS_OK;
}

static kms_status find_deleted(struct op *op, const char *name, struct kms_err *err)
{
	kms_status status = find_key(op, name, err);

	if (status == KMS_E_KEY_NOTFOUND || (status == KMS_OK && !is_deleted(&op->key))) {
		if (err != NULL)
			memset(err, 0, sizeof(*err));
		return kms_refuse(err, KMS_E_KEY_NOTFOUND, "Deleted Key not found: %s", name);
	}
	return status;
}

static kms_status load_version(struct op *op, const uint8_t *version, bool with_tags, struct kms_err *err)
{
	kms_status status = KMS_OK;

	store_version_clear(&op->version);
	status = store_version(op->store, op->key.id, version, with_tags, &op->version, NULL);
	if (status == KMS_E_NOTFOUND) {
		char hex[2 * STORE_ID_LEN + 1] = "";
		char what[STORE_KEY_NAME_MAX + sizeof(hex) + 2];
		if (version != NULL)
			hex_encode(version, STORE_ID_LEN, hex);
		(void)snprintf(what, sizeof(what), "%s/%s", op->key.name, hex);
		return not_found(what, err);
	}
	if (status == KMS_OK && key_type_info((enum key_type)op->version.kty) == NULL)
		status = KMS_E_STORE;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "version lookup: missing database, or a damaged row");
	depend_on_version(op);
	return KMS_OK;
}

kms_status keyring_find(struct op *op, const char *name, const uint8_t *version, bool with_tags, struct kms_err *err)
{
	KMS_TRY(find_living(op, name, err));
	return load_version(op, version, with_tags, err);
}

void key_rows_clear(struct key_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		store_version_clear(&rows[i].version);
}

/* Loaded material and cached handles of a version that changed; nothing under way with the old state can be released: the fence sees to it. */
static void evict_after(struct op *op)
{
	kms_ignore(hsm_key_evict(op->kms->hsm, op->object, 0, NULL)); /* best effort: the fence is what protects */
}

static void evict_all_after(struct op *op)
{
	struct store_version page[VERSIONS_PAGE];
	uint64_t after = 0;
	size_t count = 0;

	do {
		if (store_versions(op->store, op->key.id, after, false, page, VERSIONS_PAGE, &count, NULL) != KMS_OK)
			return;
		for (size_t i = 0; i < count; i++) {
			after = page[i].ordinal;
			kms_ignore(hsm_key_evict(op->kms->hsm, page[i].obj, 0, NULL)); /* as above */
			store_version_clear(&page[i]);
		}
	} while (count == VERSIONS_PAGE);
}

static void after_commit(struct op *op, void (*act)(struct op *op))
{
	op->after = act;
	op->is_sync = true;
	memcpy(op->object, op->version.obj, HSM_ID_LEN);
}

/* ---- create and rotate ---- */

static kms_status undo_create(struct op *op)
{
	return hsm_key_destroy(op->kms->hsm, op->object, NULL);
}

static kms_status check_window(int64_t nbf_s, int64_t exp_s, struct kms_err *err)
{
	if ((nbf_s != STORE_NO_TIME && nbf_s < 0) || (exp_s != STORE_NO_TIME && exp_s < 0))
		return kms_refuse(err, KMS_E_INVALID, "attributes.nbf and attributes.exp must not be negative.");
	if (nbf_s != STORE_NO_TIME && exp_s != STORE_NO_TIME && nbf_s >= exp_s)
		return kms_refuse(err, KMS_E_INVALID, "attributes.nbf must be earlier than attributes.exp.");
	return KMS_OK;
}

static kms_status check_ops(const struct key_type_info *type, uint32_t ops, struct kms_err *err)
{
	for (unsigned bit = 0; bit < KEY_OP_COUNT; bit++)
		if ((ops & ~type->allowed_ops & (1U << bit)) != 0)
			return kms_refuse(err, KMS_E_INVALID, "key_ops: %s does not fit a key of type %s.", key_op_name_at(bit), type->name);
	return KMS_OK;
}

static kms_status check_size(const struct key_type_info *type, uint16_t bits, struct kms_err *err)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(type->sizes); i++)
		if (type->sizes[i] == bits)
			return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "key_size: %u is not offered for %s; use %u, %u or %u.", (unsigned)bits, type->name,
	                  (unsigned)type->sizes[0], (unsigned)type->sizes[1], (unsigned)type->sizes[2]);
}

/* Make the material of op->version in the device; fills its public half or its blob. */
static kms_status make_material(struct op *op, const struct key_type_info *type, struct kms_err *err)
{
	struct store_version *v = &op->version;
	struct hsm_public pub = { 0 };
	struct hsm_key key = { 0 };

	key_to_hsm(v, &op->vault, &key);
	if (type->is_resident) {
		/* Set first: a generation that failed may have left an object all the same (hazards.md row 1d). */
		memcpy(op->object, v->obj, HSM_ID_LEN);
		op->undo = undo_create;
		KMS_TRY(hsm_key_generate(op->kms->hsm, &key, &pub, err));
	} else {
		memcpy(key.root_id, op->vault.root_id, HSM_ID_LEN);
		v->wrapped = malloc(HSM_BLOB_MAX);
		if (v->wrapped == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "blob");
		KMS_TRY(hsm_key_generate_wrapped(op->kms->hsm, &key, &pub, v->wrapped, &v->wrapped_len, err));
	}
	if (pub.n_len > 0) {
		v->n = malloc(pub.n_len);
		if (v->n == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "modulus");
		memcpy(v->n, pub.n, pub.n_len);
		v->n_len = pub.n_len;
		memcpy(v->e, pub.e, pub.e_len);
		v->e_len = pub.e_len;
	}
	return KMS_OK;
}

/* Token objects are searched one by one, so one vault must not be able to slow the token down for all. */
static kms_status check_room(struct op *op, const struct key_type_info *type, struct kms_err *err)
{
	size_t count = 0;

	if (!type->is_resident)
		return KMS_OK;
	KMS_TRY(store_object_count(op->store, op->vault.id, &count, err));
	if (count < KEYRING_RESIDENT_MAX)
		return KMS_OK;
	return kms_refuse(err, KMS_E_POLICY, "The vault holds %d key versions in the HSM, its limit; purge some, or use keys of type RSA.",
	                  KEYRING_RESIDENT_MAX);
}

/* op->version holds type, size, operations, attributes and tags; op->key holds the key, new or old. */
static kms_status add_version(struct op *op, bool is_new_key, struct kms_err *err)
{
	struct store_version *v = &op->version;
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);
	struct store_intent intent = { 0 };

	if (!guid_random(v->id) || !random_bytes(v->obj, sizeof(v->obj)))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	memcpy(v->key_id, op->key.id, STORE_ID_LEN);
	v->created_s = v->updated_s = clock_wall_s(op->kms->clock);
	note_key(op);
	note_version(op);
	op_det_text(op, "kty", type->name);
	op_det_number(op, "bits", v->bits);
	memcpy(intent.vault_id, op->vault.id, STORE_ID_LEN);
	memcpy(intent.key_id, op->key.id, STORE_ID_LEN);
	memcpy(intent.obj, v->obj, STORE_ID_LEN);
	memcpy(intent.key_name, op->key.name, sizeof(intent.key_name));
	KMS_TRY(check_room(op, type, err));
	KMS_TRY(op_intend(op, NULL, &intent, err));
	KMS_TRY(make_material(op, type, err));
	if (is_new_key)
		op_change(op, STORE_KEY_ADD)->key = op->key;
	op_change(op, STORE_VERSION_ADD)->version = *v;
	return KMS_OK;
}

kms_status keyring_create(struct op *op, const char *name, const struct key_create *req, struct kms_err *err)
{
	const struct key_type_info *type = key_type_info(req->type);
	struct store_version *v = &op->version;
	kms_status status = KMS_OK;
	bool is_new_key = false;

	if (type == NULL)
		return kms_refuse(err, KMS_E_INVALID, "kty: unknown key type.");
	KMS_TRY(check_size(type, req->bits != 0 ? req->bits : type->default_size, err));
	if (req->has_ops)
		KMS_TRY(check_ops(type, req->ops, err));
	KMS_TRY(check_window(req->nbf_s, req->exp_s, err));
	status = find_key(op, name, err);
	if (status == KMS_E_KEY_NOTFOUND) {
		memset(err, 0, sizeof(*err));
		is_new_key = true;
		memset(&op->key, 0, sizeof(op->key));
		if (!guid_random(op->key.id))
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
		memcpy(op->key.vault_id, op->vault.id, STORE_ID_LEN);
		(void)snprintf(op->key.name, sizeof(op->key.name), "%s", name);
		op->key.created_s = clock_wall_s(op->kms->clock);
		op->key.deleted_s = op->key.purge_s = STORE_NO_TIME;
	} else if (status != KMS_OK) {
		return status;
	} else if (op->key.is_purging) {
		return kms_refuse(err, KMS_E_BEING_DELETED, "Key %s is currently being deleted and cannot be re-created; retry later.", name);
	} else if (is_deleted(&op->key)) {
		return kms_refuse(err, KMS_E_DELETED,
		                  "Key %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key "
		                  "can only be recovered or purged.", name);
	}
	v->kty = (uint8_t)req->type;
	v->bits = req->bits != 0 ? req->bits : type->default_size;
	v->ops = req->has_ops ? req->ops : type->default_ops;
	v->is_enabled = req->is_enabled;
	v->nbf_s = req->nbf_s;
	v->exp_s = req->exp_s;
	if (req->tags != NULL) {
		v->tags = strdup(req->tags);
		if (v->tags == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "tags");
	}
	return add_version(op, is_new_key, err);
}

kms_status keyring_rotate(struct op *op, const char *name, struct kms_err *err)
{
	struct store_version *v = &op->version;

	KMS_TRY(keyring_find(op, name, NULL, true, err));
	/* The fence stays on the key alone: the latest version may change its attributes without harm to a new one. */
	memset(op->write.fence.version_id, 0, STORE_ID_LEN);
	free(v->n);
	free(v->wrapped);
	v->n = v->wrapped = NULL;
	v->n_len = v->wrapped_len = v->e_len = 0;
	v->is_enabled = true;
	v->revoked = REVOKE_NONE;
	v->nbf_s = v->exp_s = STORE_NO_TIME;
	return add_version(op, false, err);
}

/* ---- read ---- */

kms_status keyring_get(struct op *op, const char *name, const uint8_t *version, struct kms_err *err)
{
	return keyring_find(op, name, version, true, err);
}

kms_status keyring_get_deleted(struct op *op, const char *name, struct kms_err *err)
{
	KMS_TRY(find_deleted(op, name, err));
	return load_version(op, NULL, true, err);
}

kms_status keyring_list(struct op *op, bool deleted, const char *after, struct key_row *rows, size_t cap, size_t *ret_count,
                        struct kms_err *err)
{
	struct store_key keys[KEYRING_PAGE_MAX + 1];
	size_t count = 0;

	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(store_keys(op->store, op->vault.id, deleted, after, keys, cap, &count, err));
	for (size_t i = 0; i < count; i++) {
		kms_status status = store_version(op->store, keys[i].id, NULL, true, &rows[i].version, err);
		if (status != KMS_OK) {
			key_rows_clear(rows, i);
			return status == KMS_E_NOTFOUND ? KMS_E_FENCED : status; /* purged since the page was read: read again */
		}
		rows[i].key = keys[i];
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status keyring_list_versions(struct op *op, const char *name, uint64_t after, struct key_row *rows, size_t cap, size_t *ret_count,
                                 struct kms_err *err)
{
	struct store_version versions[KEYRING_PAGE_MAX + 1] = { 0 };
	size_t count = 0;

	KMS_TRY(find_living(op, name, err));
	KMS_TRY(store_versions(op->store, op->key.id, after, true, versions, cap, &count, err));
	for (size_t i = 0; i < count; i++) {
		rows[i].key = op->key;
		rows[i].version = versions[i];
	}
	*ret_count = count;
	return KMS_OK;
}

/* ---- update and revoke ---- */

static void set_version(struct op *op, bool set_tags)
{
	struct store_change *c = op_change(op, STORE_VERSION_SET);

	op->version.updated_s = clock_wall_s(op->kms->clock);
	c->version = op->version;
	c->set_tags = set_tags;
}

kms_status keyring_update(struct op *op, const char *name, const uint8_t *version, const struct key_update *req, struct kms_err *err)
{
	struct store_version *v = &op->version;

	KMS_TRY(keyring_find(op, name, version, true, err));
	if (req->has_enabled && req->is_enabled && v->revoked != REVOKE_NONE)
		return kms_refuse(err, KMS_E_KEY_REVOKED, "The key version is revoked (%s); only a security administrator can lift that.",
		                  revoke_reason_name((enum revoke_reason)v->revoked));
	if (req->has_ops) {
		KMS_TRY(check_ops(key_type_info((enum key_type)v->kty), req->ops, err));
		v->ops = req->ops;
	}
	if (req->has_enabled)
		v->is_enabled = req->is_enabled;
	if (req->has_nbf)
		v->nbf_s = req->nbf_s;
	if (req->has_exp)
		v->exp_s = req->exp_s;
	KMS_TRY(check_window(v->nbf_s, v->exp_s, err));
	if (req->has_tags) {
		free(v->tags);
		v->tags = NULL;
		if (req->tags != NULL && (v->tags = strdup(req->tags)) == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "tags");
	}
	if (req->has_enabled)
		op_det_text(op, "enabled", req->is_enabled ? "true" : "false");
	set_version(op, req->has_tags);
	after_commit(op, evict_after);
	return KMS_OK;
}

/* After a compromise neither reinstating nor a milder reason, which could be reinstated: that would undo what a revocation is for. */
static kms_status check_compromise(struct op *op, const uint8_t *version, struct kms_err *err)
{
	struct store_version page[VERSIONS_PAGE] = { 0 };
	uint64_t after = 0;
	size_t count = 0;
	bool is_compromised = false;

	do {
		KMS_TRY(store_versions(op->store, op->key.id, after, false, page, VERSIONS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			bool selected = version == NULL || memcmp(version, page[i].id, STORE_ID_LEN) == 0; /* allowed: ids are public */
			is_compromised |= selected && page[i].revoked == REVOKE_COMPROMISE;
			after = page[i].ordinal;
			store_version_clear(&page[i]);
		}
	} while (count == VERSIONS_PAGE);
	if (is_compromised)
		return kms_refuse(err, KMS_E_KEY_REVOKED, "A key version that was revoked for keyCompromise stays so for ever; rotate the key, and name the other "
		                  "versions one by one.");
	return KMS_OK;
}

kms_status keyring_revoke(struct op *op, const char *name, const uint8_t *version, enum revoke_reason reason, struct kms_err *err)
{
	struct store_change *c = NULL;

	KMS_TRY(find_key(op, name, err)); /* a deleted key can be revoked too: it could be recovered */
	if (version != NULL)
		KMS_TRY(load_version(op, version, false, err));
	if (reason != REVOKE_COMPROMISE)
		KMS_TRY(check_compromise(op, version, err));
	c = op_change(op, STORE_KEY_REVOKE);
	memcpy(c->revocation.key_id, op->key.id, STORE_ID_LEN);
	if (version != NULL)
		memcpy(c->revocation.version_id, version, STORE_ID_LEN);
	c->revocation.reason = (uint8_t)reason;
	c->revocation.updated_s = clock_wall_s(op->kms->clock);
	op_det_text(op, "act", reason == REVOKE_NONE ? "reinstate" : "revoke");
	if (reason != REVOKE_NONE)
		op_det_text(op, "reason", revoke_reason_name(reason));
	after_commit(op, evict_all_after);
	return KMS_OK;
}

/* ---- delete, recover, purge ---- */

kms_status keyring_delete(struct op *op, const char *name, struct kms_err *err)
{
	struct store_change *c = NULL;

	KMS_TRY(keyring_find(op, name, NULL, true, err));
	/* The whole key goes, whatever happens to its latest version meanwhile. */
	memset(op->write.fence.version_id, 0, STORE_ID_LEN);
	op->key.deleted_s = clock_wall_s(op->kms->clock);
	op->key.purge_s = op->key.deleted_s + (int64_t)op->vault.retention_days * SECONDS_A_DAY;
	c = op_change(op, STORE_KEY_DELETE);
	c->key = op->key;
	after_commit(op, evict_all_after);
	return KMS_OK;
}

kms_status keyring_recover(struct op *op, const char *name, struct kms_err *err)
{
	KMS_TRY(keyring_get_deleted(op, name, err));
	if (op->key.is_purging)
		return kms_refuse(err, KMS_E_BEING_DELETED, "Key %s is being purged and cannot be recovered.", name);
	memset(op->write.fence.version_id, 0, STORE_ID_LEN);
	op_change(op, STORE_KEY_RECOVER)->key = op->key;
	return KMS_OK;
}

kms_status keyring_destroy_objects(struct hsm *hsm, struct store *store, const uint8_t key_id[STORE_ID_LEN], size_t *ret_count,
                                   struct kms_err *err)
{
	struct store_version page[VERSIONS_PAGE] = { 0 };
	uint64_t after = 0;
	size_t count = 0, destroyed = 0;
	kms_status status = KMS_OK;

	do {
		KMS_TRY(store_versions(store, key_id, after, false, page, VERSIONS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			after = page[i].ordinal;
			if (status == KMS_OK)
				status = hsm_key_evict(hsm, page[i].obj, DRAIN_MS, err);
			if (status == KMS_OK && page[i].wrapped == NULL) {
				status = hsm_key_destroy(hsm, page[i].obj, err);
				destroyed += status == KMS_OK;
			}
			store_version_clear(&page[i]);
		}
	} while (status == KMS_OK && count == VERSIONS_PAGE);
	*ret_count = destroyed;
	return status;
}

/* Purged blobs must not live on in the write-ahead log (audit-log.md 11.3 step 6). */
static void truncate_after(struct op *op)
{
	kms_ignore(writer_truncate(op->kms->writer, NULL)); /* hygiene: the blobs are wrapped */
}

kms_status keyring_purge(struct op *op, const char *name, struct kms_err *err)
{
	struct store_change purging = { .kind = STORE_KEY_SET_PURGING };
	struct store_intent intent = { 0 };
	size_t destroyed = 0;

	KMS_TRY(find_deleted(op, name, err));
	if (op->vault.has_purge_protection && clock_wall_s(op->kms->clock) < op->key.purge_s)
		return kms_refuse(err, KMS_E_PURGE_PROTECTED, "%s", kms_status_text(KMS_E_PURGE_PROTECTED));
	purging.key = op->key;
	memcpy(intent.vault_id, op->vault.id, STORE_ID_LEN);
	memcpy(intent.key_id, op->key.id, STORE_ID_LEN);
	memcpy(intent.key_name, op->key.name, sizeof(intent.key_name));
	KMS_TRY(op_intend(op, &purging, &intent, err));
	/* From the intent on the key is refused everywhere; nothing can take that back, so the outcome depends on nothing. */
	op->write.has_fence = false;
	op->is_irreversible = true;
	KMS_TRY(keyring_destroy_objects(op->kms->hsm, op->store, op->key.id, &destroyed, err));
	op_det_number(op, "objects", (int64_t)destroyed);
	op_change(op, STORE_KEY_PURGE)->key = op->key;
	op->after = truncate_after;
	return KMS_OK;
}

/* One key that is due, as the system's own act: the same intent, destruction and outcome as a caller's purge. */
static kms_status purge_one(struct kms *kms, struct store *store, const struct store_key *key, struct op *op, struct kms_err *err)
{
	op->kms = kms;
	op->store = store;
	op_clear(op);
	KMS_TRY(op_open_system(op, key->vault_id, EVENT_KEY_PURGE, err));
	KMS_TRY(keyring_purge(op, key->name, err)); /* after a failure the open intent is settled by recovery_run() */
	op->write.event.result = EVENT_OK;
	op_change(op, STORE_INTENT_CLOSE)->intent.seq = op->write.event.ref;
	if (writer_write(kms->writer, &op->write) != KMS_OK)
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "outcome of a purge");
	op->after(op);
	return KMS_OK;
}

kms_status keyring_purge_due(struct kms *kms, struct store *store, size_t *ret_count, struct kms_err *err)
{
	struct store_key due[DUE_PAGE];
	struct op *op = calloc(1, sizeof(*op));
	size_t count = 0;
	kms_status status = KMS_OK, one = KMS_OK;

	*ret_count = 0;
	if (op == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "operation");
	do {
		one = store_keys_due(store, clock_wall_s(kms->clock), due, DUE_PAGE, &count, err);
		for (size_t i = 0; i < count && one == KMS_OK; i++) {
			/* One that fails must not stop the others; from its intent on it is not listed as due any more. */
			kms_status purged = purge_one(kms, store, &due[i], op, err);
			*ret_count += purged == KMS_OK;
			status = purged != KMS_OK ? purged : status;
			one = op->has_intent ? KMS_OK : purged;
		}
	} while (one == KMS_OK && count == DUE_PAGE);
	op_clear(op);
	free(op);
	return one != KMS_OK ? one : status;
}
