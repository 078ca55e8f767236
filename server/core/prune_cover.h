/*
 * server/core/prune_cover.h - is what is stored of a leaf what was hashed? An empty body is one that was pruned only where a log.pruned of this log covers it, and that is
 * judged by the leaf that was agreed and sealed: a record of the database alone proves nothing.
 */
#ifndef HOLDFAST_CORE_PRUNE_COVER_H
#define HOLDFAST_CORE_PRUNE_COVER_H

#include "server/core/kms.h"
#include "storage/store.h"

/* What one reader knows of it; zeroed = nothing yet. A leaf below `below` costs a comparison. */
struct prune_cover {
	uint64_t below;
};

/** Leaves below *ret were pruned, or may be by one that is under way. @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status prune_covered(struct kms *kms, struct store *store, uint64_t *ret, struct kms_err *err);
/** Leaves below *ret were pruned, by one that has ended. A record of it that the log does not bear out counts as none, and is reported. @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status prune_ended(struct kms *kms, struct store *store, uint64_t *ret, struct kms_err *err);
/** The record of one that has ended. @param intent  the seq of its intent */
void prune_record_make(const struct kms *kms, uint64_t to, uint64_t intent, struct store_meta *ret);

/**
 * Does a leaf's body have its hash; and if it is gone, was it pruned? Damage is reported too (log_report_damage()): log.integrity_failed, and `holdfast check`.
 * @return KMS_OK | KMS_E_INTEGRITY | KMS_E_STORE
 */
KMS_MUST_CHECK kms_status prune_check_leaf(struct kms *kms, struct store *store, const struct store_event *e, struct prune_cover *cover, struct kms_err *err);

#endif
