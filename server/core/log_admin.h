/* server/core/log_admin.h - what administrators do with the log: change its key, accept a rolled-back database, ask what the set-up can notice. */
#ifndef HOLDFAST_CORE_LOG_ADMIN_H
#define HOLDFAST_CORE_LOG_ADMIN_H

#include "server/core/checkpoint.h"
#include "server/core/op.h"

/** Replace the log key: log.key_rotated with both verifier keys, its checkpoint signed with both, then the new one only (audit-log.md 5.6). Two-phase.
 *  @return KMS_OK | KMS_E_FORBIDDEN | KMS_E_DEVICE | KMS_E_AUDIT | what writing answers */
KMS_MUST_CHECK kms_status log_rotate_key(struct op *op, char ret_old_vkey[NOTE_VKEY_MAX + 1], char ret_new_vkey[NOTE_VKEY_MAX + 1], struct kms_err *err);

/** Destroy the private halves of log keys that a checkpoint of their successor has replaced; what is gone already is fine. Public halves stay. Part of a rotation,
 *  and finished after a start for one that was interrupted. @param ret_done  false: the newest key has not signed yet
 *  @return KMS_OK | KMS_E_STORE | KMS_E_DEVICE */
KMS_MUST_CHECK kms_status log_retire_keys(struct kms *kms, struct store *store, bool *ret_done, struct kms_err *err);
/** The object of the present log key: it proves, in a fresh look, that the token is there. @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status log_key_object(struct store *store, uint8_t ret_id[HSM_ID_LEN], struct kms_err *err);

/**
 * Accept the database as it is although it is older than what was signed (5.5 step 4): needs the approval ACT_LOG_ACCEPT of the installation, bound to origin, sizes and
 * roots of the verdict. Written down with the approvers; takes effect at the next start (log_check()), which closes this log and begins the next.
 * @return KMS_OK | KMS_E_CONFLICT (nothing to accept: the log is good) | KMS_E_APPROVAL (waits for approvers) | KMS_E_FORBIDDEN | …
 */
KMS_MUST_CHECK kms_status log_accept(struct op *op, const char *reason, char ret_next_origin[STORE_ORIGIN_MAX + 1], struct kms_err *err);

/* One line of `holdfast check`. */
enum check_result { CHECK_GOOD, CHECK_WARN, CHECK_BAD };
struct check_line {
	const char *name;        /* static, [a-z-]+ */
	enum check_result result;
	char text[512];          /* what is so, and what to do about it */
};
#define CHECK_LINES_MAX 32
/** What the present set-up can and cannot notice, and how the log stands: checkpoint, pin, log key, witnesses (none: database and token copied back together cannot
 *  be noticed), a file-backed token, clock, approvers; backups of the server and their epochs. @return number of lines */
size_t log_self_check(struct op *op, struct check_line ret[CHECK_LINES_MAX]);

#endif
