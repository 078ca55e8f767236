/* server/core/tenancy_lock.c - break-glass: one vault refuses everything at once, and opens again only when several people agree. */
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/approval.h"
#include "server/core/tenancy.h"

static const uint8_t NO_ID[STORE_ID_LEN];

static void free_approvals(struct store_approval **all) { free(*all); }

/* What the device holds loaded of the vault's keys is of no use to anybody now. Nothing waits for it: whatever is under way gets no answer (the fence). */
static void forget_keys(struct op *op)
{
	struct hsm *hsm = op->kms->hsm;

	kms_ignore(hsm_key_evict(hsm, op->vault.root_id, 0, NULL));
	if (memcmp(op->vault.next_root_id, NO_ID, STORE_ID_LEN) != 0) /* allowed: ids are public */
		kms_ignore(hsm_key_evict(hsm, op->vault.next_root_id, 0, NULL));
}

/* What was approved before this lock must not end it: whoever approved did not know of its reason. */
static kms_status end_unlock_requests(struct op *op, struct kms_err *err)
{
	__attribute__((cleanup(free_approvals))) struct store_approval *open = calloc(STORE_PAGE_MAX, sizeof(*open));
	struct store_change *c = NULL;
	size_t count = 0;

	if (open == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "open approvals");
	KMS_TRY(store_approvals(op->store, op->vault.id, NULL, true, open, STORE_PAGE_MAX, &count, err));
	KMS_TRY(op_expect_changes(op, count + 1, err));
	for (size_t i = 0; i < count; i++) {
		if (strcmp(open[i].act, ACT_VAULT_UNLOCK) == 0) {
			c = op_change(op, STORE_APPROVAL_CLOSE);
			memcpy(c->approval.id, open[i].id, STORE_ID_LEN);
			c->approval.state = STORE_APPROVAL_WITHDRAWN;
			c->approval.settled_s = clock_wall_s(op->kms->clock);
		}
		store_approval_clear(&open[i]);
	}
	return KMS_OK;
}

static void set_lock(struct op *op, bool is_locked)
{
	op->vault.is_locked = is_locked;
	op_change(op, STORE_VAULT_LOCK)->vault = op->vault;
}

kms_status vault_lock(struct op *op, const char *reason, struct kms_err *err)
{
	op_det_text(op, "vault", op->vault.name);
	op_det_text(op, "reason", reason);
	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(end_unlock_requests(op, err));
	op->is_sync = true;
	/* Whoever repeats it in haste, or because the answer was lost, is told what he wants to hear. */
	if (op->vault.is_locked)
		return KMS_OK;
	set_lock(op, true);
	op->after = forget_keys;
	return KMS_OK;
}

kms_status vault_unlock(struct op *op, const char *reason, struct kms_err *err)
{
	char id[GUID_TEXT_LEN + 1];
	const struct approval_need need = { .act = ACT_VAULT_UNLOCK, .target = id, .reason = reason, .quorum = op->vault.quorum };
	struct store_intent intent = { 0 };

	op_det_text(op, "vault", op->vault.name);
	op_det_text(op, "reason", reason);
	KMS_TRY(op_need_living_vault(op, err));
	if (!op->vault.is_locked)
		return kms_refuse(err, KMS_E_CONFLICT, "The vault %s is not locked.", op->vault.name);
	guid_format(op->vault.id, id);
	KMS_TRY(approval_require(op, &need, err));
	memcpy(intent.vault_id, op->vault.id, STORE_ID_LEN);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	set_lock(op, false);
	return KMS_OK;
}
