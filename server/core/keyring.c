/* server/core/keyring.c - finding, reading, updating and revoking keys. Every act depends on what it read (the fence) and is written with its
 * leaf in one transaction. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/keyring_parts.h"

/* ---- find ---- */

static kms_status check_name(const char *name, struct kms_err *err)
{
	if (key_name_is_valid(name))
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "The key name must have 1 to %d characters of [0-9a-zA-Z-].", STORE_KEY_NAME_MAX);
}

kms_status keyring_not_found(const char *name, struct kms_err *err)
{
	return kms_refuse(err, KMS_E_KEY_NOTFOUND,
	                  "A key with (name/id) %s was not found in this key vault. If you recently deleted this key you may be able to "
	                  "recover it using the correct recovery command. For help resolving this issue, see the server's documentation.",
	                  name);
}

void keyring_note_key(struct op *op)
{
	(void)snprintf(op->write.event.key_name, sizeof(op->write.event.key_name), "%s", op->key.name);
}

void keyring_note_version(struct op *op)
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
	keyring_note_key(op);
}

static void depend_on_version(struct op *op)
{
	memcpy(op->write.fence.version_id, op->version.id, STORE_ID_LEN);
	op->write.fence.version_epoch = op->version.epoch;
	keyring_note_version(op);
}

kms_status keyring_find_key(struct op *op, const char *name, struct kms_err *err)
{
	kms_status status = KMS_OK;

	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(check_name(name, err));
	(void)snprintf(op->write.event.key_name, sizeof(op->write.event.key_name), "%s", name);
	status = store_key(op->store, op->vault.id, name, &op->key, NULL);
	if (status == KMS_E_NOTFOUND)
		return keyring_not_found(name, err);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "key lookup");
	depend_on_key(op);
	return KMS_OK;
}

static bool is_deleted(const struct store_key *k) { return k->deleted_s != STORE_NO_TIME; }

kms_status keyring_find_living(struct op *op, const char *name, struct kms_err *err)
{
	KMS_TRY(keyring_find_key(op, name, err));
	return is_deleted(&op->key) ? keyring_not_found(name, err) : KMS_OK;
}

kms_status keyring_find_deleted(struct op *op, const char *name, struct kms_err *err)
{
	kms_status status = keyring_find_key(op, name, err);

	if (status == KMS_E_KEY_NOTFOUND || (status == KMS_OK && !is_deleted(&op->key))) {
		if (err != NULL)
			memset(err, 0, sizeof(*err));
		return kms_refuse(err, KMS_E_KEY_NOTFOUND, "Deleted Key not found: %s", name);
	}
	return status;
}

kms_status keyring_load_version(struct op *op, const uint8_t *version, bool with_tags, struct kms_err *err)
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
		return keyring_not_found(what, err);
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
	KMS_TRY(keyring_find_living(op, name, err));
	return keyring_load_version(op, version, with_tags, err);
}

kms_status keyring_open_name(struct op *op, const char *name, bool *ret_is_new, struct kms_err *err)
{
	struct kms_err missing = { 0 };
	kms_status status = keyring_find_key(op, name, &missing);

	*ret_is_new = status == KMS_E_KEY_NOTFOUND;
	if (status == KMS_E_KEY_NOTFOUND) {
		memset(&op->key, 0, sizeof(op->key));
		if (!guid_random(op->key.id))
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
		memcpy(op->key.vault_id, op->vault.id, STORE_ID_LEN);
		(void)snprintf(op->key.name, sizeof(op->key.name), "%s", name);
		op->key.created_s = clock_wall_s(op->kms->clock);
		op->key.deleted_s = op->key.purge_s = STORE_NO_TIME;
		return KMS_OK;
	}
	if (status != KMS_OK) {
		*err = missing;
		return status;
	}
	if (op->key.is_purging)
		return kms_refuse(err, KMS_E_BEING_DELETED, "Key %s is currently being deleted and cannot be re-created; retry later.", name);
	if (is_deleted(&op->key))
		return kms_refuse(err, KMS_E_DELETED,
		                  "Key %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key "
		                  "can only be recovered or purged.", name);
	return KMS_OK;
}

void keyring_free_version(struct op *op)
{
	memset(op->write.fence.version_id, 0, STORE_ID_LEN);
	op->write.fence.version_epoch = 0;
}

kms_status keyring_set_tags(struct op *op, const char *tags, struct kms_err *err)
{
	free(op->version.tags);
	op->version.tags = tags != NULL ? strdup(tags) : NULL;
	if (tags != NULL && op->version.tags == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "tags");
	return KMS_OK;
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

void keyring_evict_all(struct op *op)
{
	struct store_version page[KEYRING_VERSIONS_PAGE];
	uint64_t after = 0;
	size_t count = 0;

	do {
		if (store_versions(op->store, op->key.id, after, false, page, KEYRING_VERSIONS_PAGE, &count, NULL) != KMS_OK)
			return;
		for (size_t i = 0; i < count; i++) {
			after = page[i].ordinal;
			kms_ignore(hsm_key_evict(op->kms->hsm, page[i].obj, 0, NULL)); /* as above */
			store_version_clear(&page[i]);
		}
	} while (count == KEYRING_VERSIONS_PAGE);
}

void keyring_after_commit(struct op *op, void (*act)(struct op *op))
{
	op->after = act;
	op->is_sync = true;
	memcpy(op->object, op->version.obj, HSM_ID_LEN);
}

kms_status keyring_check_window(int64_t nbf_s, int64_t exp_s, struct kms_err *err)
{
	if ((nbf_s != STORE_NO_TIME && nbf_s < 0) || (exp_s != STORE_NO_TIME && exp_s < 0))
		return kms_refuse(err, KMS_E_INVALID, "attributes.nbf and attributes.exp must not be negative.");
	if (nbf_s != STORE_NO_TIME && exp_s != STORE_NO_TIME && nbf_s >= exp_s)
		return kms_refuse(err, KMS_E_INVALID, "attributes.nbf must be earlier than attributes.exp.");
	return KMS_OK;
}

/* ---- read ---- */

kms_status keyring_get(struct op *op, const char *name, const uint8_t *version, struct kms_err *err)
{
	return keyring_find(op, name, version, true, err);
}

kms_status keyring_get_deleted(struct op *op, const char *name, struct kms_err *err)
{
	KMS_TRY(keyring_find_deleted(op, name, err));
	return keyring_load_version(op, NULL, true, err);
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

	KMS_TRY(keyring_find_living(op, name, err));
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
		return kms_refuse(err, KMS_E_KEY_REVOKED, v->revoked == REVOKE_COMPROMISE ? "The key version is revoked (%s), for ever; rotate the key."
		                  : "The key version is revoked (%s); an administrator of the vault can reinstate it (holdfast key reinstate).",
		                  revoke_reason_name((enum revoke_reason)v->revoked));
	if (req->has_ops) {
		KMS_TRY(key_ops_fit((enum key_type)v->kty, v->bits, req->ops, err));
		v->ops = req->ops;
	}
	if (req->has_enabled)
		v->is_enabled = req->is_enabled;
	if (req->has_nbf)
		v->nbf_s = req->nbf_s;
	if (req->has_exp)
		v->exp_s = req->exp_s;
	KMS_TRY(keyring_check_window(v->nbf_s, v->exp_s, err));
	if (req->has_tags)
		KMS_TRY(keyring_set_tags(op, req->tags, err));
	if (req->has_enabled)
		op_det_text(op, "enabled", req->is_enabled ? "true" : "false");
	set_version(op, req->has_tags);
	keyring_after_commit(op, evict_after);
	return KMS_OK;
}

/* After a compromise neither reinstating nor a milder reason, which could be reinstated: that would undo what a revocation is for. */
static kms_status check_compromise(struct op *op, const uint8_t *version, struct kms_err *err)
{
	struct store_version page[KEYRING_VERSIONS_PAGE] = { 0 };
	uint64_t after = 0;
	size_t count = 0;
	bool is_compromised = false;

	do {
		KMS_TRY(store_versions(op->store, op->key.id, after, false, page, KEYRING_VERSIONS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			bool selected = version == NULL || memcmp(version, page[i].id, STORE_ID_LEN) == 0; /* allowed: ids are public */
			is_compromised |= selected && page[i].revoked == REVOKE_COMPROMISE;
			after = page[i].ordinal;
			store_version_clear(&page[i]);
		}
	} while (count == KEYRING_VERSIONS_PAGE);
	if (is_compromised)
		return kms_refuse(err, KMS_E_KEY_REVOKED, "A key version that was revoked for keyCompromise stays so for ever; rotate the key, and name the other "
		                  "versions one by one.");
	return KMS_OK;
}

kms_status keyring_revoke(struct op *op, const char *name, const uint8_t *version, enum revoke_reason reason, struct kms_err *err)
{
	struct store_change *c = NULL;

	KMS_TRY(keyring_find_key(op, name, err)); /* a deleted key can be revoked too: it could be recovered */
	if (version != NULL)
		KMS_TRY(keyring_load_version(op, version, false, err));
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
	keyring_after_commit(op, keyring_evict_all);
	return KMS_OK;
}
