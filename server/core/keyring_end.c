/* server/core/keyring_end.c - the end of keys: delete, recover, purge, and the purge of what is past its retention. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/approval.h"
#include "server/core/destruction_act.h"
#include "server/core/keyring_parts.h"

#define SECONDS_A_DAY 86400

kms_status keyring_delete(struct op *op, const char *name, struct kms_err *err)
{
	struct store_change *c = NULL;

	KMS_TRY(keyring_find(op, name, NULL, true, err));
	/* The whole key goes, whatever happens to its latest version meanwhile. */
	keyring_free_version(op);
	op->key.deleted_s = clock_wall_s(op->kms->clock);
	op->key.purge_s = op->key.deleted_s + (int64_t)op->vault.retention_days * SECONDS_A_DAY;
	c = op_change(op, STORE_KEY_DELETE);
	c->key = op->key;
	keyring_after_commit(op, keyring_evict_all);
	return KMS_OK;
}

kms_status keyring_recover(struct op *op, const char *name, struct kms_err *err)
{
	KMS_TRY(keyring_get_deleted(op, name, err));
	if (op->key.is_purging)
		return kms_refuse(err, KMS_E_BEING_DELETED, "Key %s is being purged and cannot be recovered.", name);
	keyring_free_version(op);
	op_change(op, STORE_KEY_RECOVER)->key = op->key;
	return KMS_OK;
}

/* Whoever holds an external id would lose the data under it for ever (ekm-proxy.md section 9): the id goes first, so that somebody has looked at
 * it. No id can come between this check and the intent: only versions of living keys are published, and the fence holds the key as found. */
static kms_status check_unpublished(struct op *op, struct kms_err *err)
{
	struct store_external external = { 0 };
	kms_status status = store_external_of_key(op->store, op->key.id, &external, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "external ids of a key");
	return kms_refuse(err, KMS_E_POLICY,
	                  "Key %s is published to a pool under the external key id %s; retire that first (holdfast ekm key retire).", op->key.name,
	                  external.id);
}

/* Where the vault's policy asks for it. The end of the retention was decided when the key was deleted: the server's own purge needs no
 * approval, and what has begun needs no second one. */
static kms_status require_for_purge(struct op *op, struct kms_err *err)
{
	char id[GUID_TEXT_LEN + 1], parameters[STORE_KEY_NAME_MAX + 48];
	const struct approval_need need = { .act = ACT_KEY_PURGE, .target = id, .parameters = parameters, .quorum = op->vault.purge_approvals };

	if (op->vault.purge_approvals == 0 || op->write.event.actor == EVENT_ACTOR_SYSTEM || op->key.is_purging)
		return KMS_OK;
	guid_format(op->key.id, id);
	/* Of this deletion: a key that was recovered meanwhile may hold what nobody was asked about. The alphabet of names needs no escape. */
	(void)snprintf(parameters, sizeof(parameters), "{\"deleted\":%lld,\"name\":\"%s\"}", (long long)op->key.deleted_s, op->key.name);
	return approval_require(op, &need, err);
}

kms_status keyring_purge(struct op *op, const char *name, struct kms_err *err)
{
	struct store_change purging = { .kind = STORE_KEY_SET_PURGING };
	struct destruction_act act = { .of = DESTRUCTION_OF_KEY, .mark = &purging, .scope = STORE_CERTIFICATE_KEY };
	struct destruction done = { 0 };

	KMS_TRY(keyring_find_deleted(op, name, err));
	if (op->vault.has_purge_protection && clock_wall_s(op->kms->clock) < op->key.purge_s)
		return kms_refuse(err, KMS_E_PURGE_PROTECTED, "%s", kms_status_text(KMS_E_PURGE_PROTECTED));
	KMS_TRY(check_unpublished(op, err));
	KMS_TRY(require_for_purge(op, err));
	act.basis = op->write.event.actor == EVENT_ACTOR_SYSTEM ? BASIS_RETENTION : BASIS_OTHER;
	purging.key = op->key;
	memcpy(act.intent.vault_id, op->vault.id, STORE_ID_LEN);
	memcpy(act.intent.key_id, op->key.id, STORE_ID_LEN);
	memcpy(act.intent.key_name, op->key.name, sizeof(act.intent.key_name));
	KMS_TRY(destruction_begin(op, &act, &done, err));
	KMS_TRY(destruction_finish(op, &done, err));
	op_change(op, STORE_KEY_PURGE)->key = op->key;
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

/* What one pass over the keys that are due has done. */
struct pass {
	size_t purged, begun; /* begun: purged, or at least with an intent, and not listed as due any more */
	kms_status failed;    /* the last failure of one key */
	kms_status stopped;   /* nothing more can be done now */
};

/* One that fails must not stop the others. One that is still published waits: it stays due until its last external id is retired. */
static void purge_page(struct kms *kms, struct store *store, const struct store_key *due, size_t count, struct op *op, struct pass *pass,
                       struct kms_err *err)
{
	for (size_t i = 0; i < count && pass->stopped == KMS_OK; i++) {
		struct kms_err own = { 0 };
		kms_status status = purge_one(kms, store, &due[i], op, &own);

		pass->purged += status == KMS_OK;
		pass->begun += op->has_intent;
		if (status == KMS_OK || (status == KMS_E_POLICY && !op->has_intent))
			continue;
		if (err != NULL && err->status == KMS_OK)
			*err = own;
		if (op->has_intent)
			pass->failed = status;
		else
			pass->stopped = status;
	}
}

/* Too large for a stack. */
struct purge_work {
	struct op op;
	struct store_key due[STORE_PAGE_MAX];
};

kms_status keyring_purge_due(struct kms *kms, struct store *store, size_t *ret_count, struct kms_err *err)
{
	struct purge_work *work = calloc(1, sizeof(*work));
	struct pass pass = { 0 };
	size_t count = 0, begun = 0;

	*ret_count = 0;
	if (work == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "operation");
	do {
		begun = pass.begun;
		pass.stopped = store_keys_due(store, clock_wall_s(kms->clock), work->due, STORE_PAGE_MAX, &count, err);
		if (pass.stopped == KMS_OK)
			purge_page(kms, store, work->due, count, &work->op, &pass, err);
	} while (pass.stopped == KMS_OK && count == STORE_PAGE_MAX && pass.begun > begun);
	op_clear(&work->op);
	free(work);
	*ret_count = pass.purged;
	return pass.stopped != KMS_OK ? pass.stopped : pass.failed;
}
