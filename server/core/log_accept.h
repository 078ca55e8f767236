/*
 * server/core/log_accept.h - what log_accept() writes down and log_check() finds at the next start: which state of which log the installation's quorum accepted, and who
 * that was (spec/audit-log.md 5.5 step 4). Meta records, replaced by the next acceptance; one that names another log than the present one means nothing any more.
 */
#ifndef HOLDFAST_CORE_LOG_ACCEPT_H
#define HOLDFAST_CORE_LOG_ACCEPT_H

#include "server/core/checkpoint.h"

#define LOG_ACCEPTANCE_MAC_LEN 32
struct log_acceptance {
	uint8_t origin_hash[STORE_HASH_LEN]; /* SHA-256 of the origin of the log that was accepted */
	uint64_t size;                       /* leaves that were found: what is restored. Those that were added since (votes, reads) are not signed either */
	uint8_t root[MERKLE_HASH_LEN];       /* of these leaves: the very same database */
	bool has_known;                      /* what it was known to have had: */
	uint8_t known_origin_hash[STORE_HASH_LEN]; /* SHA-256 of log_verdict.known_origin, also of an empty one */
	uint64_t known_size;
	uint8_t known_root[MERKLE_HASH_LEN];
	size_t approver_count;
	struct event_approver approvers[STORE_APPROVERS_MAX];
	uint8_t mac[LOG_ACCEPTANCE_MAC_LEN]; /* over all of it, by the device: who can write to the database cannot write an acceptance */
};

/** Once the approvals are counted: make its mac. @return KMS_OK | KMS_E_DEVICE */
KMS_MUST_CHECK kms_status log_acceptance_seal(struct hsm *hsm, const struct installation *inst, struct log_acceptance *a, struct kms_err *err);
/** As read, with the mac made by this installation? @return KMS_OK | KMS_E_NOTFOUND (there is none, or a forged one: the diagnostic log says so) | KMS_E_STORE | KMS_E_DEVICE */
KMS_MUST_CHECK kms_status log_acceptance_take(struct store *store, struct hsm *hsm, const struct installation *inst, struct log_acceptance *ret,
                                              struct kms_err *err);

#define LOG_ACCEPTANCE_RECORDS 4
/** The records that hold it, for STORE_META_PUT; all of them are written. */
void log_acceptance_encode(const struct log_acceptance *a, struct store_meta ret[LOG_ACCEPTANCE_RECORDS]);
/** Whoever wrote it: log_acceptance_take() tells. @return KMS_OK | KMS_E_NOTFOUND (none was written) | KMS_E_STORE (also: damaged) */
KMS_MUST_CHECK kms_status log_acceptance_read(struct store *store, struct log_acceptance *ret, struct kms_err *err);
/**
 * Is it this log, as it stands now, that was accepted? The origin is the same, the accepted leaves are there with their root, and what is known is what was known then. A
 * verdict that is good now agrees too: then it was a witness who knew more, and it is asked later; but not when the leaves that were missing are there again.
 */
KMS_MUST_CHECK kms_status log_acceptance_holds(struct store *store, const struct log_acceptance *a, const char *origin, const struct log_verdict *now,
                                               bool *ret_holds, struct kms_err *err);
void log_origin_hash(const char *origin, uint8_t ret_hash[STORE_HASH_LEN]);
/** The origin that follows: its trailing number raised ("…/log1", "…/log2"); without one "/2" is appended. @return false: too long for an origin */
bool log_next_origin(const char *origin, char ret_next[STORE_ORIGIN_MAX + 1]);

#endif
