/*
 * server/core/checkpoint.h - the thread that signs tree heads, pins them in the device, and keeps the log from ever telling two truths
 * (spec/audit-log.md section 5). It has a store of its own for reading; what it writes goes through the writer, without a leaf.
 * Guards: nothing is signed that does not extend all that was signed before; a checkpoint is shown only once it is stored.
 */
#ifndef HOLDFAST_CORE_CHECKPOINT_H
#define HOLDFAST_CORE_CHECKPOINT_H

#include "server/core/event.h"
#include "server/core/kms.h"
#include "server/core/note.h"

struct checkpointer;
struct witnesses;

enum log_state {
	LOG_GOOD,
	LOG_LATE,        /* leaves have waited too long for their checkpoint, or for an export that is required: only what must work without them is served */
	LOG_ROLLED_BACK, /* the database is not the one that was last signed: only health, audit reads and what leads to its acceptance is served */
	LOG_DAMAGED,     /* what is stored does not have the root that was computed: nothing is signed any more */
};

/* Why a log does not hold what it promised; for people, and for the leaf that says so. */
struct log_verdict {
	enum log_state state;          /* LOG_GOOD or LOG_ROLLED_BACK */
	uint64_t size;                 /* leaves found */
	bool has_known;                /* what is known of the log from elsewhere: */
	char known_origin[STORE_ORIGIN_MAX + 1]; /* of a later log that this database does not know; "" = the present one */
	uint64_t known_size;
	uint8_t known_root[MERKLE_HASH_LEN];
	char why[256];                 /* one sentence */
	unsigned asked;                /* witnesses; none when the log was rolled back already, or nothing of it was ever signed */
	unsigned silent;               /* of them: those that did not say what they know */
	char silence[256];             /* which, and why; the first of them */
};

/**
 * Before writer_start(): does the database hold what was signed and pinned (5.5 step 3)? Compares the root at the last signed and at the pinned size, from stored
 * nodes; never scans the log. Also: a pin of a log that this database does not know (it was closed later); a pin that is older than what the database says
 * was pinned (the token was rolled back); no pin where there was one.
 * When the present state was accepted by its quorum (log_accept()), the old log is closed and the next one begins here (5.5 step 4).
 * @param store  the writer's connection
 * @param ret_origin  of the log that goes on
 * @return KMS_OK (also for a log that was rolled back: ret_verdict) | KMS_E_STORE | KMS_E_DEVICE | KMS_E_AUDIT
 */
KMS_MUST_CHECK kms_status log_check(struct store *store, struct hsm *hsm, const struct installation *inst, const struct clock *clock,
                                    char ret_origin[STORE_ORIGIN_MAX + 1], struct log_verdict *ret_verdict, struct kms_err *err);
/** The verifier key that signs this log from now on. @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status log_vkey(struct store *store, const char *origin, char ret_vkey[NOTE_VKEY_MAX + 1], struct kms_err *err);

/* What the first leaf of a log says of the one before, for writer_config. `writer` points into the struct: do not copy it. */
struct log_former {
	struct writer_former writer;
	struct store_closed_log closed;
	struct event_approver approvers[STORE_APPROVERS_MAX];
};
/** As it was accepted. @return KMS_OK | KMS_E_NOTFOUND (the log has leaves, or is the first) | KMS_E_AUDIT (nobody accepted it) | KMS_E_STORE | KMS_E_DEVICE */
KMS_MUST_CHECK kms_status log_former(struct store *store, struct hsm *hsm, const struct installation *inst, struct log_former *ret, struct kms_err *err);

struct checkpointer_config {
	struct kms *kms;     /* its writer is started; kept */
	struct store *store; /* a reader's connection; taken, also when it cannot start */
	const struct log_verdict *verdict; /* copied */
	unsigned interval_ms;  /* after a new leaf, at latest; 100..60000 */
	unsigned leaves;       /* or after so many */
	unsigned pin_s;        /* at latest; and after so many leaves, and for each critical event */
	unsigned heartbeat_s;  /* of silence */
	unsigned late_ms;      /* LOG_LATE when a leaf has waited longer */
	bool is_strict;        /* every answer waits for its checkpoint */
	bool needs_witnesses;  /* critical events wait for their quorum (log_use_witnesses()) */
};

/** Start the thread; sign what is there unless the log was rolled back. @return KMS_OK | KMS_E_NOMEM | KMS_E_STORE */
KMS_MUST_CHECK kms_status checkpointer_start(const struct checkpointer_config *cfg, struct checkpointer **ret, struct kms_err *err);
/** Sign and pin what is there, then join and free. Before writer_stop(). Accepts NULL. */
void checkpointer_stop(struct checkpointer *c);

/** Who is told of each new checkpoint, and asked for the quorum of critical events. They use the checkpointer themselves, so they are started after it and
 *  stopped before it: NULL first, after which nobody is inside them. They are told of the newest checkpoint at once. */
void log_use_witnesses(struct checkpointer *c, struct witnesses *w);

/* Somebody waits until a leaf is covered. Owned by the caller until done(). */
struct seal {
	struct seal *next;
	uint64_t seq;
	void (*done)(struct seal *s); /* on the checkpointer's thread; must not block */
	kms_status status; /* KMS_OK: covered by a checkpoint that is signed, stored, and (critical events) pinned and witnessed as configured; KMS_E_AUDIT */
	bool is_critical;
	int64_t until_ms; /* the checkpointer's own */
};
/** done() follows in late_ms at most (and some seconds more where a quorum of witnesses is needed). Without a checkpointer it follows at once with KMS_OK. */
void log_seal_async(struct checkpointer *c, struct seal *s);
/** Wait; at most timeout_ms (0: as long as log_seal_async()). What was done stays done and written, whatever this answers. @return KMS_OK | KMS_E_AUDIT */
KMS_MUST_CHECK kms_status log_seal(struct checkpointer *c, uint64_t seq, unsigned timeout_ms, struct kms_err *err);
/** Shred, destroy, purge, root rotation, backup, end of backups, restore, log key rotation: their answers wait for a checkpoint (5.4). */
bool log_is_critical(enum event_type type);
/** Is every event sealed before it is answered? */
bool log_is_strict(const struct checkpointer *c);

/* Where the log stands; for health, status, `holdfast check`. */
#define LOG_DAMAGED_MAX 16
#define LOG_DAMAGE_MAX 160
struct log_status {
	enum log_state state;
	struct log_verdict verdict;
	bool has_checkpoint;
	uint64_t signed_size, pinned_size;
	int64_t signed_us, pinned_us; /* wall time */
	bool is_held;                 /* log_hold(): LOG_LATE for this reason too */
	int64_t oldest_unsigned_ms;   /* how long the first leaf that no checkpoint covers has waited; 0 = none */
	struct kms_err last_failure;  /* of signing or pinning; status KMS_OK = none since the last success */
	unsigned damaged;             /* log_report_damage(): how many leaves since the start; LOG_DAMAGED_MAX = or more */
	char damage[LOG_DAMAGE_MAX];  /* the first of them */
};
/** Never blocks. Accepts NULL (LOG_GOOD). */
void log_status(struct checkpointer *c, struct log_status *ret);
enum log_state log_state(struct checkpointer *c);
/** The newest checkpoint as it is stored, cosignatures included. @return KMS_OK (owned by the caller) | KMS_E_NOTFOUND (none was signed yet) | KMS_E_STORE */
KMS_MUST_CHECK kms_status log_newest(struct checkpointer *c, struct store *store, struct store_signed *ret, struct kms_err *err);

/** Whoever must keep up with the log does not: a good one counts as LOG_LATE until each of them has let go. Never blocks; accepts NULL. */
void log_hold(struct checkpointer *c);
void log_let_go(struct checkpointer *c);

/** Witnesses: keep these lines (whole, each with its newline) with the checkpoint of this size. On any thread but the writer's. */
KMS_MUST_CHECK kms_status log_add_cosignatures(struct checkpointer *c, uint64_t size, const char *lines, struct kms_err *err);
/** A witness knows a larger log, or another one: from now on LOG_ROLLED_BACK. Also written as log.integrity_failed. */
void log_report_rollback(struct checkpointer *c, const char *who, uint64_t known_size, const uint8_t *known_root);

/** A leaf that is stored is not what was hashed. The log goes on, since its tree is whole; it is written as log.integrity_failed, once for each of the first
 *  LOG_DAMAGED_MAX since the start, and `holdfast check` says it. Writes, so not under the writer's lock. @param c  NULL: diagnostic log only @param why  copied */
void log_report_damage(struct checkpointer *c, uint64_t seq, const char *why);

/** The verifier key, under this name, of a public half as the device reports it. @return false when it is not one of its kind (Ed25519, P-256) */
bool log_vkey_make(const char *origin, enum hsm_kind kind, const struct hsm_public *pub, char ret_vkey[NOTE_VKEY_MAX + 1]);

#endif
