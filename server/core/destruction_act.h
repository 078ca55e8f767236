/*
 * server/core/destruction_act.h - an act that destroys, from its sealed intent to what its outcome writes: a shred, a purge, the end of a root. One destruction has one
 * intent and one certificate, however often it is tried: repeating the act goes on with the intent that was left open.
 */
#ifndef HOLDFAST_CORE_DESTRUCTION_ACT_H
#define HOLDFAST_CORE_DESTRUCTION_ACT_H

#include "server/core/certificate.h"

struct destruction_act {
	enum destruction_of of;
	struct store_intent intent;      /* vault_id, key_id, key_name and obj as recovery needs them; obj is what dies of a root or an epoch */
	const struct store_change *mark; /* takes effect with the intent: from there every use is refused. NULL = nothing to mark */
	enum store_certificate_scope scope;
	enum certificate_basis basis;
};
/**
 * The intent, sealed, and with it the certificate's row (op->certificate). op->vault and op->key are read again, as they are stored now. In one lane for each kind of act.
 * @param ret  for destruction_finish(); points into op
 * @return as op_intend_sealed() | KMS_E_STORE
 */
KMS_MUST_CHECK kms_status destruction_begin(struct op *op, const struct destruction_act *act, struct destruction *ret, struct kms_err *err);
/** destruction_run(), then the outcome in op: what was destroyed, and what fills the certificate (op->certificate; its id is all zero when there is none); the caller adds the
 *  change that ends the rows. After the commit the certificate is issued. @return as destruction_run(): it stays open, and is repeated */
KMS_MUST_CHECK kms_status destruction_finish(struct op *op, struct destruction *d, struct kms_err *err);

#endif
