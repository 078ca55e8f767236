/* server/core/backup.c - backup and restore of one key: what may leave, where it may return, and the two acts around backup_form.c. */
#include "server/core/backup.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/epoch.h"
#include "server/core/backup_form.h"
#include "server/core/crypto.h"
#include "server/core/keyring_parts.h"

static void own_header(const struct op *op, const struct store_epoch *epoch, struct backup_header *ret)
{
	memcpy(ret->directory, op->kms->inst.directory, STORE_ID_LEN);
	memcpy(ret->vault, op->vault.id, STORE_ID_LEN);
	memcpy(ret->root, op->vault.root_id, STORE_ID_LEN);
	memcpy(ret->backup_key, epoch->obj, STORE_ID_LEN);
}

static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

/* Half of the versions are under one root and half under the other: a backup would end with the one, and a restore would bring back what the rotation has passed. */
static kms_status need_one_root(const struct op *op, struct kms_err *err)
{
	static const uint8_t NONE[STORE_ID_LEN];

	if (same_id(op->vault.next_root_id, NONE))
		return KMS_OK;
	return kms_refuse(err, KMS_E_CONFLICT, "The root key of vault %s is being replaced; repeat this when that is done.", op->vault.name);
}

static kms_status intend(struct op *op, const struct store_epoch *epoch, size_t versions, struct kms_err *err)
{
	struct store_intent intent = { 0 };

	op_det_number(op, "versions", (int64_t)versions);
	op_det_number(op, "epoch", epoch->number);
	op_det_guid(op, "backup_key", epoch->obj); /* what ends this backup */
	memcpy(intent.vault_id, op->vault.id, STORE_ID_LEN);
	memcpy(intent.key_id, op->key.id, STORE_ID_LEN);
	memcpy(intent.key_name, op->key.name, sizeof(intent.key_name));
	return op_intend(op, NULL, &intent, err);
}

/* ---- backup ---- */

static void text_clear(struct backup_text *t) { free(t->bytes); }

static kms_status check_version(const struct store_version *v, size_t count, struct kms_err *err)
{
	if (v->wrapped == NULL)
		return kms_refuse(err, KMS_E_UNSUPPORTED,
		                  "A version of this key lives in the HSM (type %s) and cannot leave it: such keys have no backup.",
		                  key_type_info((enum key_type)v->kty)->name);
	if (count == BACKUP_VERSIONS_MAX)
		return kms_refuse(err, KMS_E_POLICY, "The key has more than %d versions and cannot be backed up.", BACKUP_VERSIONS_MAX);
	return KMS_OK;
}

static kms_status put_versions(struct op *op, struct backup_text *text, size_t *ret_count, struct kms_err *err)
{
	struct store_version page[KEYRING_VERSIONS_PAGE] = { 0 };
	size_t count = 0, total = 0;
	uint64_t after = 0;
	kms_status status = KMS_OK;

	do {
		KMS_TRY(store_versions(op->store, op->key.id, after, true, page, KEYRING_VERSIONS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			after = page[i].ordinal;
			if (status == KMS_OK && key_type_info((enum key_type)page[i].kty) == NULL)
				status = kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "a damaged version");
			if (status == KMS_OK)
				status = check_version(&page[i], total, err);
			if (status == KMS_OK)
				backup_put_version(text, &page[i]);
			total += status == KMS_OK;
			store_version_clear(&page[i]);
		}
	} while (status == KMS_OK && count == KEYRING_VERSIONS_PAGE);
	*ret_count = total;
	return status;
}

static kms_status put_key(struct op *op, struct backup_text *text, size_t *ret_count, struct kms_err *err)
{
	struct store_policy policy = { 0 };
	kms_status status = store_policy(op->store, op->key.id, &policy, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "rotation policy");
	backup_put_head(text, &op->key, clock_wall_s(op->kms->clock), status == KMS_OK ? &policy : NULL);
	KMS_TRY(put_versions(op, text, ret_count, err));
	backup_set_count(text, *ret_count);
	if (text->has_failed)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "backup of %zu versions", *ret_count);
	if (text->is_over)
		return kms_refuse(err, KMS_E_POLICY, "The key's %zu versions with their tags are larger than a backup can be (%zu bytes).",
		                  *ret_count, BACKUP_BLOB_MAX);
	return KMS_OK;
}

static kms_status seal(struct op *op, const struct store_epoch *epoch, const struct backup_text *text, uint8_t **ret_blob, size_t *ret_len, struct kms_err *err)
{
	size_t len = BACKUP_SEALED_AT + text->len, sealed_len = 0;
	uint8_t *blob = calloc(1, len);
	uint8_t nonce[HSM_IV_LEN] = { 0 };
	struct backup_header header;
	struct hsm_key key;
	struct kms_err own = { 0 };
	kms_status status = KMS_OK;

	if (blob == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "backup of %zu bytes", len);
	own_header(op, epoch, &header);
	backup_put_header(&header, blob);
	epoch_key(epoch, &key);
	status = hsm_encrypt(op->kms->hsm, &key, HSM_CIPHER_GCM, nonce, blob, BACKUP_AAD_LEN, text->bytes, text->len, blob + BACKUP_SEALED_AT,
	                     text->len, &sealed_len, blob + BACKUP_TAG_AT, &own);
	memcpy(blob + BACKUP_NONCE_AT, nonce, HSM_GCM_NONCE_LEN);
	if (status == KMS_E_NOTFOUND) /* ended by hand since: the next one has begun */
		status = kms_refuse(err, KMS_E_CONFLICT, "The backup epoch ended while the backup was made; repeat it.");
	else if (status != KMS_OK)
		*err = own;
	if (status == KMS_OK && sealed_len != text->len)
		status = kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "%zu bytes sealed as %zu", text->len, sealed_len);
	if (status != KMS_OK) {
		free(blob);
		return status;
	}
	*ret_blob = blob;
	*ret_len = len;
	return KMS_OK;
}

/* While its epoch lives this backup outlives a purge of the key: a certificate must be able to say so. */
static kms_status enter_backup(struct op *op, const struct store_epoch *epoch, size_t bytes, struct kms_err *err)
{
	struct store_backup b = { .kind = STORE_BACKUP_KEY, .epoch = epoch->number, .bytes = bytes, .made_s = clock_wall_s(op->kms->clock),
		                  .ends_s = STORE_NO_TIME };

	if (!guid_random(b.id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	memcpy(b.vault_id, op->vault.id, STORE_ID_LEN);
	memcpy(b.key_name, op->key.name, sizeof(b.key_name));
	KMS_TRY(store_event_count(op->store, &b.size, err));
	op_change(op, STORE_BACKUP_ADD)->backup = b;
	return KMS_OK;
}

kms_status backup_make(struct op *op, const char *name, uint8_t **ret_blob, size_t *ret_len, struct kms_err *err)
{
	__attribute__((cleanup(text_clear))) struct backup_text text = { .max = BACKUP_BLOB_MAX - BACKUP_SEALED_AT };
	struct store_epoch epoch = { 0 };
	size_t count = 0;

	/* The fence stays on the key: new versions and revocations raise its epoch, so that a backup that is handed out contains them. */
	KMS_TRY(keyring_find_living(op, name, err));
	KMS_TRY(need_one_root(op, err));
	KMS_TRY(epoch_newest(op->store, &epoch, err));
	KMS_TRY(put_key(op, &text, &count, err));
	KMS_TRY(intend(op, &epoch, count, err));
	KMS_TRY(enter_backup(op, &epoch, BACKUP_SEALED_AT + text.len, err));
	return seal(op, &epoch, &text, ret_blob, ret_len, err);
}

/* ---- restore ---- */

static kms_status find_epoch(struct op *op, const struct backup_header *header, struct store_epoch *ret, struct kms_err *err)
{
	char ended[TIMESTAMP_LEN + 1];
	kms_status status = store_epoch_of_object(op->store, header->backup_key, ret, NULL);

	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_BACKUP, "The backup was made in a backup epoch or installation that this one cannot open.");
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "backup epoch");
	if (ret->ended_s == STORE_NO_TIME)
		return KMS_OK;
	timestamp_format(ret->ended_s * 1000000, ended);
	return kms_refuse(err, KMS_E_BACKUP, "The backup was made in backup epoch %u, which ended at %s: its key is destroyed, and with it every backup of that epoch.",
	                  (unsigned)ret->number, ended);
}

/* Verify and open the seal. op->kept owns the text from here on. Until the seal was found good the header is a stranger's word. */
static kms_status unseal(struct op *op, const uint8_t *blob, size_t len, struct store_epoch *ret_epoch, size_t *ret_len, struct kms_err *err)
{
	struct backup_header header = { 0 };
	struct hsm_key key;
	kms_status status = KMS_OK;

	if (!backup_take_header(blob, len, &header))
		return kms_fail(err, KMS_E_BACKUP, KMS_SRC_SELF, 0, "header");
	KMS_TRY(find_epoch(op, &header, ret_epoch, err));
	op->kept = malloc(len - BACKUP_SEALED_AT);
	if (op->kept == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "backup of %zu bytes", len);
	epoch_key(ret_epoch, &key);
	status = hsm_decrypt(op->kms->hsm, &key, HSM_CIPHER_GCM, blob + BACKUP_NONCE_AT, blob, BACKUP_AAD_LEN, blob + BACKUP_SEALED_AT,
	                     len - BACKUP_SEALED_AT, blob + BACKUP_TAG_AT, op->kept, len - BACKUP_SEALED_AT, ret_len, NULL);
	if (status == KMS_E_CRYPTO)
		return kms_fail(err, KMS_E_BACKUP, KMS_SRC_SELF, 0, "seal");
	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_BACKUP, "The key of backup epoch %u, in which the backup was made, is not in the HSM: the backup cannot be opened.",
		                  (unsigned)ret_epoch->number);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "unsealing a backup");
	if (!same_id(header.directory, op->kms->inst.directory))
		return kms_refuse(err, KMS_E_BACKUP, "The backup was made in another installation.");
	if (!same_id(header.vault, op->vault.id))
		return kms_refuse(err, KMS_E_BACKUP, "The backup is of a key in another vault; it can be restored there only.");
	if (!same_id(header.root, op->vault.root_id))
		return kms_refuse(err, KMS_E_BACKUP, "The vault's root key has been replaced since the backup was made, which ended it.");
	return KMS_OK;
}

static kms_status open_free_name(struct op *op, const struct backup_content *content, struct kms_err *err)
{
	bool is_new = false;

	KMS_TRY(keyring_open_name(op, content->key.name, &is_new, err));
	if (!is_new)
		return kms_refuse(err, KMS_E_CONFLICT, "A key named %s exists in this vault; a backup is restored only where its name is free.",
		                  op->key.name);
	op->key.created_s = content->key.created_s;
	return KMS_OK;
}

/* A version that was destroyed when it was revoked as compromised is compromised still. What is known of it is its tombstone. */
static kms_status keep_compromised(struct op *op, struct store_version *v, size_t *count, struct kms_err *err)
{
	struct store_tombstone t = { 0 };
	kms_status status = store_tombstone(op->store, v->obj, &t, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "tombstone");
	if (t.revoked == REVOKE_COMPROMISE) {
		v->revoked = REVOKE_COMPROMISE;
		(*count)++;
	}
	return KMS_OK;
}

/* What changes: the objects are new ones, and see backup.h for the encryptions. */
static kms_status renew(struct op *op, struct backup_content *content, struct kms_err *err)
{
	const uint64_t encryptions_min = CRYPTO_GCM_USES_MAX - BACKUP_RESTORED_ENCRYPTIONS;
	size_t compromised = 0;

	for (size_t i = 0; i < content->count; i++) {
		struct store_version *v = &content->versions[i];
		KMS_TRY(keep_compromised(op, v, &compromised, err));
		memcpy(v->key_id, op->key.id, STORE_ID_LEN);
		memcpy(v->root_id, op->vault.root_id, STORE_ID_LEN);
		if (!random_bytes(v->obj, sizeof(v->obj)))
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
		if (key_type_info((enum key_type)v->kty)->family == FAMILY_OCT && v->encryptions < encryptions_min)
			v->encryptions = encryptions_min;
	}
	if (compromised > 0)
		op_det_number(op, "revoked_again", (int64_t)compromised);
	return KMS_OK;
}

static void *copy(const void *bytes, size_t len, bool *is_short)
{
	void *made = bytes != NULL ? malloc(len) : NULL;

	if (made != NULL)
		memcpy(made, bytes, len);
	*is_short |= bytes != NULL && made == NULL;
	return made;
}

/* The latest version into op->version, which owns what it points to. */
static kms_status keep_latest(struct op *op, const struct backup_content *content, struct kms_err *err)
{
	const struct store_version *latest = &content->versions[content->count - 1];
	struct store_version *v = &op->version;
	bool is_short = false;

	*v = *latest;
	v->pub = copy(latest->pub, latest->pub_len, &is_short);
	v->wrapped = copy(latest->wrapped, latest->wrapped_len, &is_short);
	v->tags = copy(latest->tags, latest->tags != NULL ? strlen(latest->tags) + 1 : 0, &is_short);
	return is_short ? kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "version") : KMS_OK;
}

/* The rows are entered only if the device can load what they hold. */
static kms_status try_latest(struct op *op, struct kms_err *err)
{
	struct hsm_attributes attributes = { 0 };
	struct hsm_key key = { 0 };
	struct kms_err own = { 0 };
	kms_status status = KMS_OK;

	key_to_hsm(&op->version, (enum key_alg)0, &key);
	status = hsm_key_attributes(op->kms->hsm, &key, &attributes, &own);
	kms_ignore(hsm_key_evict(op->kms->hsm, key.id, 0, NULL)); /* it was only a trial */
	if (status == KMS_E_INTERNAL || status == KMS_E_NOTFOUND) /* it does not unwrap, or its root is not there */
		return kms_fail(err, KMS_E_BACKUP, KMS_SRC_SELF, 0, "the vault's root does not open the version: %.80s", own.detail);
	if (status != KMS_OK)
		*err = own;
	return status;
}

static void enter(struct op *op, const struct backup_content *content)
{
	op_change(op, STORE_KEY_ADD)->key = op->key;
	for (size_t i = 0; i < content->count; i++)
		op_change(op, STORE_VERSION_ADD)->version = content->versions[i];
	if (content->has_policy) {
		struct store_policy *policy = &op_change(op, STORE_POLICY_SET)->policy;
		*policy = content->policy;
		memcpy(policy->key_id, op->key.id, STORE_ID_LEN);
	}
}

kms_status backup_restore(struct op *op, const uint8_t *blob, size_t len, struct kms_err *err)
{
	BACKUP_CONTENT_AUTO content = { 0 };
	char revives[B64URL_LEN(STORE_ID_LEN) + 1];
	struct store_epoch epoch = { 0 };
	size_t text_len = 0;

	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(need_one_root(op, err));
	KMS_TRY(unseal(op, blob, len, &epoch, &text_len, err));
	KMS_TRY(backup_take_content(op->kept, text_len, &content, err));
	KMS_TRY(open_free_name(op, &content, err));
	b64url_encode(content.versions[content.count - 1].obj, STORE_ID_LEN, revives);
	KMS_TRY(renew(op, &content, err));
	KMS_TRY(keep_latest(op, &content, err));
	keyring_note_key(op);
	keyring_note_version(op);
	op_det_text(op, "revives", revives); /* the object that the latest version was, as key.obj of its leaves */
	op_det_number(op, "made", content.made_s);
	KMS_TRY(intend(op, &epoch, content.count, err));
	KMS_TRY(try_latest(op, err));
	KMS_TRY(op_expect_changes(op, content.count + 2, err));
	enter(op, &content);
	return KMS_OK;
}
