/*
 * server/core/op.h - one operation under way: who asks, in which vault, what it depends on (the fence) and what it will write.
 * Core functions fill op->write; the caller of the core hands it to the writer and releases the result only if it was written.
 */
#ifndef HOLDFAST_CORE_OP_H
#define HOLDFAST_CORE_OP_H

#include "server/core/kms.h"
#include "server/core/policy.h"

#define OP_CHANGES_FEW 5 /* enough for all but a restore, with the record of a person */
#define OP_WITH_INTENT_MAX 4

#define CALLER_GROUPS_MAX 32 /* group and role claims of one token */
#define CALLER_SUBJECT_MAX 128
#define CALLER_PEER_MAX 46
#define CALLER_AGENT_MAX 256

/* Who was authenticated, before anything was looked up. */
struct caller {
	enum event_auth auth;
	uint8_t principal_id[STORE_ID_LEN]; /* JWT of ours; MTLS: the pool or service that the client certificate belongs to */
	uint8_t directory[STORE_ID_LEN];    /* JWT of ours: the token's tid; MTLS: that of the vault */
	bool is_pool;                       /* MTLS: a Managed HSM pool, on the listener of its own */
	uid_t uid;                          /* local socket */
	int64_t issued_s;                   /* JWT: when it was issued; 0 = no token */
	/* JWT of an external issuer: who that is in a vault is looked up in the operation (access.h). NULL issuer: not one. */
	const char *issuer; /* its name in the configuration; lives as long as the server */
	char subject[CALLER_SUBJECT_MAX + 1];
	size_t group_count;
	uint8_t groups[CALLER_GROUPS_MAX][STORE_ID_LEN]; /* access_claim() of each group and role */
	char peer[CALLER_PEER_MAX];         /* numeric address; empty = the local socket */
	char agent[CALLER_AGENT_MAX + 1];   /* what it says that it is (User-Agent); empty = nothing */
};

/* What one role lets a caller do with one key, beyond what it may in the whole vault. */
struct op_key_grant {
	char key_name[STORE_KEY_NAME_MAX + 1];
	uint64_t permissions;
};

struct op {
	struct kms *kms;
	struct store *store; /* this worker's connection; borrowed */
	struct caller caller;

	/* Loaded by op_open(). */
	bool has_vault;
	struct store_vault vault;
	bool has_principal;
	struct store_principal principal;
	uint64_t permissions;              /* in this vault, whichever scope they come from */
	uint64_t installation_permissions; /* at the installation's scope */
	struct op_key_grant *key_grants;   /* owned; NULL = none */
	size_t key_grant_count, key_grant_cap;
	const char *actor_name;            /* for messages: the principal's name or "local" */

	/* Left by approval_require() with KMS_E_APPROVAL: the request that waits for approvals; all zero = none. */
	uint8_t approval_id[STORE_ID_LEN];
	bool approval_is_installations;

	/* What will be written. */
	struct write write;
	struct store_change few[OP_CHANGES_FEW];
	struct store_change *many; /* owned; instead of `few` after op_expect_changes() */
	size_t many_cap;
	uint8_t *kept;             /* owned: what the changes of a restore point into; NULL = nothing */
	struct event_det *det; /* owned; EVENT_DET_MAX of them, made when the first is added: most operations have none */
	struct event_approver *approvers; /* owned; STORE_APPROVERS_MAX of them; those whose approval counted (approval_require()); NULL = none */
	struct store_change *with_intent; /* owned; OP_WITH_INTENT_MAX of them, made when the first is added */
	size_t with_intent_count;
	struct op_person *person; /* owned; a record of the caller that the next unit of this op enters (person.h); NULL = none */
	struct store_certificate certificate; /* of a destruction (destruction_act.h): what its intent or outcome writes; owned */
	bool has_intent; /* the intent leaf is durable: an outcome must follow */
	bool is_irreversible; /* a destruction has begun: if it cannot be finished now its intent stays open, and it is finished later */
	bool goes_on;    /* what was begun goes on in the background: the intent stays open, and is answered without an outcome */
	bool is_sync;    /* the worker waits for the commit (two-phase, or something to do after it) */
	/* After the commit, before the answer; may block. NULL = nothing. */
	void (*after)(struct op *op);
	/* The outcome could not be written as planned: take back what was made in the device. NULL = nothing. When it cannot be taken back now the
	 * intent stays open, and the next start does it. */
	kms_status (*undo)(struct op *op);
	uint8_t object[HSM_ID_LEN], object2[HSM_ID_LEN]; /* what `after` or `undo` act on; all zero = nothing */
	struct store_key key;         /* the key that the operation is about, once found */
	struct store_version version; /* its version; owned by the op */
};

/** Release what the op owns, so that it can be opened again. */
void op_clear(struct op *op);

/**
 * Look up vault and principal and collect the permissions. Everything found goes into the fence and the event.
 * @param vault_name  NULL = an operation of the installation
 * @return KMS_OK | KMS_E_UNAUTHENTICATED (unknown or disabled principal, or another directory's) | KMS_E_CLAIMS (its tokens were revoked after this one
 *         was issued) | KMS_E_FIREWALL (an address that the vault does not let in) | KMS_E_FORBIDDEN (holds what nobody may hold together) |
 *         KMS_E_NOTFOUND (no such vault)
 */
KMS_MUST_CHECK kms_status op_open(struct op *op, const char *vault_name, struct kms_err *err);
/** The same for an act of the server itself, in a vault that lives: no caller, so nothing to authorise. */
KMS_MUST_CHECK kms_status op_open_system(struct op *op, const uint8_t vault_id[STORE_ID_LEN], enum event_type type, struct kms_err *err);
/** An act of the server itself on the installation: no vault, no caller. NULL without memory (err says so). Free with op_free_own(). */
struct op *op_new_own(struct kms *kms, struct store *store, enum event_type type, struct kms_err *err);
void op_free_own(struct op *op);
/** Write the outcome of such an act as the API does for a caller's, and run what follows the commit. What failed before it was begun leaves no leaf; what cannot be taken back
 *  stays open, for recovery. @param status  of the act @return that, or why its outcome was not written */
KMS_MUST_CHECK kms_status op_finish_own(struct op *op, kms_status status, struct kms_err *err);
/** @param key_name  the one key that it is about; NULL or "" = the vault, where roles for one key do not count
 *  @return KMS_OK | KMS_E_FORBIDDEN (names caller, action, resource) */
KMS_MUST_CHECK kms_status op_authorise(struct op *op, enum permission perm, const char *key_name, struct kms_err *err);
/** The vault's keys exist. @return KMS_OK | KMS_E_VAULT_SHREDDED (its root is destroyed, or is being destroyed) */
KMS_MUST_CHECK kms_status op_need_living_vault(const struct op *op, struct kms_err *err);
/** @return KMS_OK | KMS_E_VAULT_LOCKED (who holds what is its own business: authorise first) */
KMS_MUST_CHECK kms_status op_need_unlocked_vault(const struct op *op, struct kms_err *err);
/** Make room for `count` changes and the one that closes an intent; before the first of them. Only for more than OP_CHANGES_FEW.
 *  @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status op_expect_changes(struct op *op, size_t count, struct kms_err *err);
/** The next change of this op, zeroed, with its kind; never NULL. */
struct store_change *op_change(struct op *op, enum store_change_kind kind);
/** Add one member to the event's `det`. */
void op_det_text(struct op *op, const char *name, const char *text);
void op_det_number(struct op *op, const char *name, int64_t number);
void op_det_guid(struct op *op, const char *name, const uint8_t id[STORE_ID_LEN]);

/** One more change that takes effect with the intent of this op, besides what op_intend() is given: an approval is used up (approval.h), a certificate begins. Before
 *  op_intend(); at most OP_WITH_INTENT_MAX. Zeroed; NULL without memory for it: the act must then be refused. */
struct store_change *op_with_intent(struct op *op);
/**
 * Write the intent of a two-phase act with its own change, if any, and wait until it is durable. Afterwards op->write is the outcome: it
 * closes the intent and refers to it. @param also  one state change that takes effect with the intent, or NULL
 * @return KMS_OK | KMS_E_FENCED | KMS_E_AUDIT | KMS_E_THROTTLED | KMS_E_CONFLICT, KMS_E_NOTFOUND (of `also`)
 */
KMS_MUST_CHECK kms_status op_intend(struct op *op, const struct store_change *also, const struct store_intent *intent, struct kms_err *err);
/** The same, and wait until a signed and pinned checkpoint covers it: for what destroys (audit-log.md 11.3 step 1). Nothing can take it back: the outcome depends on no
 *  fence any more. When only the checkpoint fails (KMS_E_AUDIT with has_intent) the intent stays open, and nothing may be destroyed now. @return as op_intend() */
KMS_MUST_CHECK kms_status op_intend_sealed(struct op *op, const struct store_change *also, const struct store_intent *intent, struct kms_err *err);
/** Go on with an intent of the present log that was left open: the outcome of this op will be its outcome. Sealed as above. */
KMS_MUST_CHECK kms_status op_resume(struct op *op, const struct store_intent *open, struct kms_err *err);

#endif
