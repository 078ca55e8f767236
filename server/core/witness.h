/*
 * server/core/witness.h - submit checkpoints to witnesses (spec/audit-log.md section 7; C2SP tlog-witness) and keep what they sign. The transport is a port, so that
 * no HTTP is spoken here. A thread for each witness: one that is away is asked again with growing pauses and never delays the others.
 */
#ifndef HOLDFAST_CORE_WITNESS_H
#define HOLDFAST_CORE_WITNESS_H

#include "server/core/checkpoint.h"

#define WITNESSES_MAX 16

struct witness_answer {
	int http;
	char *body; /* owned, NUL-terminated; at most 64 KiB */
	size_t body_len;
};
/* POST; a witness that cannot be reached is KMS_E_UNAVAILABLE-like: any status but KMS_OK, with a reason for people. */
struct witness_transport {
	kms_status (*post)(void *arg, const char *url, const char *ca, const char *body, size_t body_len, struct witness_answer *ret, struct kms_err *err);
	void *arg;
};
struct witness_config {
	const char *vkey; /* type 0x04 */
	const char *url;  /* of its submission prefix: "/add-checkpoint" is appended */
	const char *ca;   /* PEM file, or NULL: the system's */
};
struct witnesses_config {
	struct kms *kms;
	struct store *store; /* a reader's connection; taken */
	const struct witness_config *witness; /* borrowed for as long as it runs */
	size_t count;
	unsigned quorum; /* 0..count: so many cosignatures make a checkpoint witnessed */
	unsigned pause_ms; /* after a first failure, then twice as long each time up to a minute, or this while somebody waits for a quorum; 0 = 250 */
	struct witness_transport transport;
};
struct witnesses;

/**
 * Before serving: does a witness know a larger log than this database, or another one? Asks all at once with the newest stored checkpoint, a few seconds at most; those
 * that do not answer are named in the diagnostic log and in *verdict. Nothing is asked when no checkpoint was stored yet, or *verdict is not LOG_GOOD already.
 * @param cfg  its store is borrowed here
 * @param verdict  becomes LOG_ROLLED_BACK with who and how large; known_root stays zero, since a witness tells its size only
 * @return KMS_OK (whatever was found) | KMS_E_STORE | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status witnesses_ask(const struct witnesses_config *cfg, const char *origin, struct log_verdict *verdict, struct kms_err *err);
/** Check the configuration and start the threads, after the checkpointer (kms->log is set), which is told by log_use_witnesses(). The store is taken when this
 *  succeeds. @return KMS_OK | KMS_E_INVALID | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status witnesses_start(const struct witnesses_config *cfg, struct witnesses **ret, struct kms_err *err);
/** A new checkpoint is stored. Never blocks. */
void witnesses_notify(struct witnesses *w, uint64_t size);
/** Has the quorum cosigned a checkpoint of at least this size? Waits at most timeout_ms. @return KMS_OK | KMS_E_AUDIT */
KMS_MUST_CHECK kms_status witnesses_wait(struct witnesses *w, uint64_t size, unsigned timeout_ms, struct kms_err *err);
/** After log_use_witnesses(NULL), before checkpointer_stop(): join the threads. What is notified afterwards is not submitted any more, and nobody waits. Accepts NULL. */
void witnesses_stop(struct witnesses *w);
/** When nobody asks for their status any more. Accepts NULL. */
void witnesses_free(struct witnesses *w);

/* How a witness stands; for status and `holdfast check`. */
struct witness_status {
	const char *name, *vkey, *url; /* live as long as the witnesses */
	uint64_t size;          /* of the newest checkpoint that it cosigned; 0 = none */
	int64_t cosigned_s;     /* its own time */
	bool refuses;           /* its last answer was 403, 404 or 422: an alarm */
	char failure[160];      /* "" = the last submission succeeded */
};
/** @return how many of `cap` were filled */
size_t witnesses_status(struct witnesses *w, struct witness_status *ret, size_t cap);

#endif
