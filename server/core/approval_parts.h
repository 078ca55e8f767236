/* server/core/approval_parts.h - what the files of approvals share: who asks, who counts. Not for others. */
#ifndef HOLDFAST_CORE_APPROVAL_PARTS_H
#define HOLDFAST_CORE_APPROVAL_PARTS_H

#include "server/core/approval.h"

/** Who asks, as requests name it: a principal's id, or a form of a local user id that no GUID has. @return KMS_OK | KMS_E_INTERNAL (nobody asks) */
KMS_MUST_CHECK kms_status approval_requester(const struct op *op, uint8_t ret_requester[STORE_ID_LEN], struct kms_err *err);
/** Does this principal approve in the vault (NULL: in the installation), now, by what it holds itself and through groups here? */
KMS_MUST_CHECK kms_status approval_may_vote(struct store *store, const struct store_vault *vault, const struct store_principal *p, int64_t now_s,
                                            bool *ret_may, struct kms_err *err);
/** Who counts for a request now: the distinct approvers other than the requester. Nobody does when somebody has denied.
 *  @param ret_approvers  who counted, as leaves show them: as many as ret_use names, STORE_APPROVERS_MAX at most; NULL = not wanted */
KMS_MUST_CHECK kms_status approval_tally(struct store *store, const struct store_vault *vault, const struct store_approval *a,
                                         const struct store_vote *votes, size_t count, int64_t now_s, struct store_approval_use *ret_use,
                                         struct event_approver *ret_approvers, struct kms_err *err);
/** At most STORE_REASON_MAX bytes. */
KMS_MUST_CHECK kms_status approval_check_reason(const char *reason, struct kms_err *err);

#endif
