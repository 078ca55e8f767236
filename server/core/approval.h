/*
 * server/core/approval.h - several people for what cannot be undone: requests, votes, and the check before the act.
 * A request is bound to the SHA-256 of its canonical text (act, vault, target, parameters, requester), is used once, and ends. Approvers are principals of the vault, or of
 * the installation, who hold PERM_APPROVAL_WRITE there; each counts once, the requester never. The
 * installation's count in vaults that are not founded, and in those that were founded after it.
 */
#ifndef HOLDFAST_CORE_APPROVAL_H
#define HOLDFAST_CORE_APPROVAL_H

#include "server/core/op.h"

#define APPROVAL_LIFE_S (24 * 3600)
#define APPROVAL_FRESH_S 300 /* an approver's token must be younger */
#define APPROVAL_FRESH_EXTERNAL_S 600 /* one of another issuer: Entra dates its tokens five minutes back */
#define APPROVAL_OPEN_MAX 100 /* open requests of one vault */

/* Acts, as they are named in requests, events and certificates. */
#define ACT_VAULT_SHRED "vault.shred"
#define ACT_VAULT_LOWER "vault.lower_protection"
#define ACT_KEY_PURGE "key.purge"
#define ACT_ADMIN_GRANT "role.grant_administrator"
#define ACT_VAULT_UNLOCK "vault.unlock"
#define ACT_ROOT_ROTATE "vault.rotate_root"
#define ACT_EPOCH_END "backup.end_epoch" /* of the installation */
#define ACT_LOG_PRUNE "log.prune" /* of the installation */
#define ACT_LOG_ACCEPT "log.accept_rollback" /* of the installation */

struct approval_need {
	const char *act;
	const char *target;     /* what it is done to, by a name or id that never means something else */
	const char *parameters; /* canonical JSON, an object (canon.h); NULL = none */
	const char *reason;     /* of the requester; "" = none given */
	unsigned quorum;        /* 1.. */
	bool is_installations;  /* the installation's people decide, although op has a vault */
};

/**
 * Is this act, as it is asked for now by this caller, approved? When it is, the approval is used up together with op_intend(), which must follow, and fails with
 * KMS_E_FENCED when somebody who was counted is not what he was. When it is not, a request is opened (written at once), or the open one named again.
 * @return KMS_OK | KMS_E_APPROVAL (message: the request's id, how many approvals it has and needs) | KMS_E_THROTTLED (too many are open) | KMS_E_STORE |
 *         what writing the request answers
 */
KMS_MUST_CHECK kms_status approval_require(struct op *op, const struct approval_need *need, struct kms_err *err);

/** Has the vault (vault NULL: the installation) had as many approvers as its quorum? Until then administrators are made by the local socket alone. The installation's quorum is 1. */
KMS_MUST_CHECK kms_status approval_is_founded(struct store *store, const struct store_vault *vault, bool *ret_founded, struct kms_err *err);
/**
 * Add to op, one change at most, what marks the vault (or installation) as founded when its approvers reach the quorum. Only those count who can really approve
 * later: a role without an end, and a secret, certificate or identity that is in date.
 * @param more   a caller or group that gets such a role with op; NULL = nobody @param known  a caller that gets such a credential with op; NULL = nobody
 */
KMS_MUST_CHECK kms_status approval_note_founding(struct op *op, const struct store_vault *vault, const uint8_t *more, const uint8_t *known,
                                                 struct kms_err *err);

/** Are there as many people who may approve in the vault (NULL: in the installation), now and later? */
KMS_MUST_CHECK kms_status approval_has_approvers(struct op *op, const struct store_vault *vault, unsigned enough, bool *ret_has, struct kms_err *err);

/* A request as people see it. Release with approval_view_clear(). */
struct approval_view {
	struct store_approval approval;
	struct store_vote votes[STORE_APPROVERS_MAX];
	size_t vote_count;
	unsigned counted; /* approvals that count now */
	unsigned needed;
	bool has_ended;   /* its time has passed */
};
void approval_view_clear(struct approval_view *v);
/** Who asked, for people: a principal's id, or "uid:1000" for a user of the local socket. */
void approval_requester_text(const uint8_t requester[STORE_ID_LEN], char ret_text[GUID_TEXT_LEN + 1]);
/** A request of op->vault (without a vault: of the installation). */
KMS_MUST_CHECK kms_status approval_get(struct op *op, const uint8_t id[STORE_ID_LEN], struct approval_view *ret, struct kms_err *err);
KMS_MUST_CHECK kms_status approval_page(struct op *op, const uint8_t *after_id, bool only_open, struct approval_view *ret, size_t cap, size_t *ret_count,
                                        struct kms_err *err);

/* An approver's own signature over approval_text(). */
struct approval_signature {
	uint8_t certificate[STORE_HASH_LEN]; /* SHA-256 of one of the approver's certificates */
	uint8_t bytes[STORE_SIGNATURE_MAX];
	size_t len;
};
#define APPROVAL_TEXT_MAX 256
/** What an approver signs: "holdfast-approval/v1\n" ID "\n" SHA-256 of the request in hex "\n" "approve" or "deny" "\n". */
void approval_text(const struct store_approval *a, bool approves, char ret_text[APPROVAL_TEXT_MAX]);
/**
 * Vote. The first denial closes the request. The vote is an event of its own.
 * @param signature  NULL = none; checked: RSA PKCS#1 v1.5 or PSS with SHA-256, ECDSA (DER) with SHA-256, or Ed25519, by a certificate of the approver that is in date
 * @return KMS_OK | KMS_E_FORBIDDEN (the requester; the local socket; no token younger than that; may not approve) | KMS_E_NOTFOUND | KMS_E_CONFLICT (voted
 *         already; no longer open) | KMS_E_INVALID (signature)
 */
KMS_MUST_CHECK kms_status approval_vote(struct op *op, const uint8_t id[STORE_ID_LEN], bool approves, const char *reason,
                                        const struct approval_signature *signature, struct approval_view *ret, struct kms_err *err);
/** The requester takes the request back. */
KMS_MUST_CHECK kms_status approval_withdraw(struct op *op, const uint8_t id[STORE_ID_LEN], struct approval_view *ret, struct kms_err *err);

#endif
