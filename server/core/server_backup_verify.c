/* server/core/server_backup_verify.c - is a backup good? Its seal, its log against what was signed, and every version, loaded and not used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/checkpoint_parts.h"
#include "server/core/server_backup_parts.h"

#define GENERATIONS_MAX 64

/* Signed by a log key of this installation, of whatever generation, under the name that its log had then. */
static kms_status check_signature(struct store *live, const char *note, struct kms_err *err)
{
	struct store_log_key keys[GENERATIONS_MAX];
	struct note_key key;
	size_t count = 0;

	KMS_TRY(store_log_keys(live, keys, GENERATIONS_MAX, &count, err));
	for (size_t i = 0; i < count; i++)
		if (note_vkey_parse(keys[i].vkey, &key) && note_verify(note, strlen(note), &key, NULL, NULL) == KMS_OK)
			return KMS_OK;
	return kms_refuse(err, KMS_E_BACKUP, "The backup's checkpoint is not signed by a log key of this installation.");
}

static kms_status check_root(struct store *store, const struct backup_manifest *m, const char *whose, struct kms_err *err)
{
	uint8_t root[MERKLE_HASH_LEN];

	KMS_TRY(merkle_root_at(m->size, log_get_node, store, root, err));
	if (memcmp(root, m->root, sizeof(root)) != 0) /* allowed: public */
		return kms_refuse(err, KMS_E_BACKUP, "The event log of %s does not have the root that was signed for the backup.", whose);
	return KMS_OK;
}

/* What was signed is in it, and is a part of the log that goes on here. */
static kms_status check_log(const struct kms *kms, struct store *live, struct store *copy, const struct backup_manifest *m, const char *checkpoint, struct kms_err *err)
{
	struct checkpoint_text text = { 0 };
	uint64_t leaves = 0;
	size_t len = 0;

	if (!checkpoint_parse(checkpoint, strlen(checkpoint), &text, &len) || text.size != m->size || memcmp(text.root, m->root, MERKLE_HASH_LEN) != 0) /* allowed: public */
		return kms_refuse(err, KMS_E_BACKUP, "The backup's checkpoint is not the one that its manifest names.");
	KMS_TRY(check_signature(live, checkpoint, err));
	KMS_TRY(check_root(copy, m, "the backup", err));
	KMS_TRY(store_event_count(live, &leaves, err));
	if (strcmp(text.origin, kms->origin) != 0 || leaves < m->size)
		return KMS_OK; /* of a log that was closed since, or of more than is left here: what that means the start says */
	return check_root(live, m, "this server", err);
}

static kms_status check_copy(struct op *op, const char *path, const struct backup_manifest *m, const char *checkpoint, struct load_report *ret, struct kms_err *err)
{
	struct kms *kms = op->kms;
	struct store *copy = NULL;
	kms_status status = KMS_OK;

	KMS_TRY(kms->backups->open_store(path, &copy, err));
	if (m->size > 0)
		status = check_log(kms, op->store, copy, m, checkpoint, err);
	backup_step(kms, BACKUP_LOADING);
	(void)backup_go_on(kms, 0, m->versions); /* so that the end is known; whether it stops is asked with each version */
	if (status == KMS_OK)
		status = versions_load_copy(kms->hsm, copy, op->store, backup_go_on, kms, ret, err);
	store_close(copy);
	return status;
}

static kms_status check_place(struct op *op, const char *path, const char *copy, struct backup_manifest *ret_manifest, struct load_report *ret_report, struct kms_err *err)
{
	char *checkpoint = NULL;
	kms_status status = KMS_OK;

	backup_step(op->kms, BACKUP_UNSEALING);
	status = backup_file_open_watched(op->kms->hsm, path, copy, NULL, &checkpoint, ret_manifest, backup_go_on, op->kms, err);
	if (status == KMS_OK && memcmp(ret_manifest->directory, op->kms->inst.directory, STORE_ID_LEN) != 0) /* allowed: public */
		status = kms_refuse(err, KMS_E_BACKUP, "The backup is another installation's.");
	if (status == KMS_OK)
		status = check_copy(op, copy, ret_manifest, checkpoint, ret_report, err);
	free(checkpoint);
	backup_erase_database(copy);
	return status;
}

kms_status server_backup_verify(struct op *op, const char *place, struct backup_manifest *ret_manifest, struct load_report *ret_report, struct kms_err *err)
{
	struct backup_manifest m = { 0 };
	struct load_report report = { 0 };
	char path[PATH_MAX], copy[PATH_MAX], name[STORE_PLACE_MAX + 1];

	if (!backup_name_is(place, BACKUP_SUFFIX))
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the name of a backup's file is damaged");
	(void)snprintf(name, sizeof(name), "%.*s" BACKUP_VERIFY_SUFFIX, (int)(strlen(place) - strlen(BACKUP_SUFFIX)), place);
	KMS_TRY(backup_path(op->kms, place, path, err));
	KMS_TRY(backup_path(op->kms, name, copy, err));
	KMS_TRY(check_place(op, path, copy, &m, &report, err));
	*ret_manifest = m;
	*ret_report = report;
	return KMS_OK;
}
