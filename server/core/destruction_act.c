/* server/core/destruction_act.c - see destruction_act.h. */
#include "server/core/destruction_act.h"

#include <string.h>

#include "server/core/destruction_parts.h"

#define INTENTS_PAGE 32

static bool is_same_act(const struct store_intent *a, const struct store_intent *b, enum event_type type)
{
	return a->type == type && !a->is_of_closed_log && is_same_id(a->vault_id, b->vault_id) && is_same_id(a->key_id, b->key_id) && is_same_id(a->obj, b->obj);
}

/* @return KMS_OK | KMS_E_NOTFOUND (it has not begun in this log) | KMS_E_STORE */
static kms_status find_open(const struct op *op, const struct store_intent *act, struct store_intent *ret, struct kms_err *err)
{
	struct store_intent page[INTENTS_PAGE];
	uint64_t after = UINT64_MAX;
	size_t count = 0;

	do {
		KMS_TRY(store_intents(op->store, after, page, INTENTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			if (is_same_act(&page[i], act, op->write.event.type)) {
				*ret = page[i];
				return KMS_OK;
			}
			after = page[i].seq;
		}
	} while (count == INTENTS_PAGE);
	return KMS_E_NOTFOUND;
}

static kms_status intend(struct op *op, const struct destruction_act *act, struct kms_err *err)
{
	struct store_change *c = NULL;

	KMS_TRY(certificate_begin(op, act->scope, act->basis, &op->certificate, err));
	c = op_with_intent(op);
	if (c == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificate");
	c->kind = STORE_CERTIFICATE_ADD;
	c->certificate = op->certificate;
	op_det_guid(op, "certificate", op->certificate.id);
	op_det_text(op, "basis", certificate_basis_name(act->basis));
	return op_intend_sealed(op, act->mark, &act->intent, err);
}

kms_status destruction_begin(struct op *op, const struct destruction_act *act, struct destruction *ret, struct kms_err *err)
{
	struct store_intent open = { 0 };
	struct store_key key = { 0 };
	kms_status status = find_open(op, &act->intent, &open, err);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return status;
	status = status == KMS_OK ? op_resume(op, &open, err) : intend(op, act, err);
	*ret = (struct destruction){ .kms = op->kms, .store = op->store, .of = act->of, .intent = op->write.event.ref };
	memcpy(ret->object, act->intent.obj, STORE_ID_LEN);
	if (op->has_vault)
		ret->vault = &op->vault;
	if (status != KMS_OK) {
		if (op->is_irreversible) /* the intent is written, and could not be signed */
			destruction_tell_incomplete(ret, &op->write.event, status);
		return status;
	}
	if (op->has_vault)
		KMS_TRY(store_vault_by_id(op->store, op->vault.id, &op->vault, err));
	if (act->of == DESTRUCTION_OF_KEY) {
		KMS_TRY(store_key(op->store, op->vault.id, op->key.name, &key, err));
		op->key = key;
		ret->key = &op->key;
	}
	return KMS_OK;
}

/* What the WAL still holds of the rows that ended is no key any more; the certificate follows by itself when it cannot be signed now. */
static void issue_after(struct op *op)
{
	size_t issued = 0;

	kms_ignore(writer_truncate(op->kms->writer, NULL));
	kms_ignore(certificates_issue(op->kms, op->store, &issued, NULL));
}

kms_status destruction_finish(struct op *op, struct destruction *d, struct kms_err *err)
{
	kms_status status = destruction_run(d, err);

	if (status != KMS_OK) {
		destruction_tell_incomplete(d, &op->write.event, status);
		return status;
	}
	op_det_number(op, "objects", (int64_t)d->objects);
	op_det_number(op, "versions", (int64_t)d->versions);
	store_certificate_clear(&op->certificate);
	memset(&op->certificate, 0, sizeof(op->certificate));
	status = certificate_due(d, &op->certificate, err);
	if (status == KMS_OK)
		op_change(op, STORE_CERTIFICATE_FILL)->certificate = op->certificate;
	else if (status != KMS_E_NOTFOUND)
		return status;
	op->after = issue_after;
	return KMS_OK;
}
