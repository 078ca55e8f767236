/*
 * server/core/writer.h - the one thread that owns all writes: group commit, the fence, the event log.
 * A unit = fence + state changes + one leaf. It is written whole or not at all, and its result is released only after the commit that
 * found its fence unchanged (shared design section 4; spec/audit-log.md 6.2, 6.3). So revocation is linearizable.
 */
#ifndef HOLDFAST_CORE_WRITER_H
#define HOLDFAST_CORE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/histogram.h"
#include "server/core/event.h"
#include "server/core/merkle.h"
#include "storage/store.h"

#define WRITER_BATCH_MAX 256

/* One unit. Owned by the submitter; belongs to the writer from submit until done() is called. Zeroed = nothing to write.
 * event.type EVENT_NONE: changes without a leaf, for what the log says of itself (checkpoints, cosignatures, pins) and for books of what follows it or is done later. */
struct write {
	struct write *next;
	struct event event;
	bool has_fence;
	struct store_fence fence;
	const struct store_change *changes; /* borrowed until done() */
	size_t change_count;
	void (*done)(struct write *w); /* on the writer's thread, after commit or failure; must not block */

	/* Result, valid in done(). KMS_OK: the leaf is durable. KMS_E_FENCED: something it depends on changed, nothing was written: decide anew.
	 * KMS_E_CONFLICT, KMS_E_NOTFOUND: a change was impossible, nothing was written. KMS_E_AUDIT: the log cannot be written; withhold. */
	kms_status status;
	uint64_t seq;
	uint8_t leaf_hash[MERKLE_HASH_LEN];
};

/* The log that an empty one follows (audit-log.md 5.5 step 4); named in its log.init. */
struct writer_former {
	const char *origin;
	uint64_t known_size; /* its last known checkpoint; 0 = none is known */
	uint8_t known_root[MERKLE_HASH_LEN];
	uint64_t restored_size; /* leaves of the database that goes on */
	size_t approver_count;
	const struct event_approver *approvers;
};

struct writer_config {
	struct store *store; /* the STORE_WRITE connection; kept until writer_stop(), then closed by the caller */
	const struct clock *clock;
	const char *node;   /* node name, [A-Za-z0-9.-]{1,64} */
	const char *origin; /* origin of the log */
	const char *vkey;   /* verifier key of the log, for log.init; NULL = there is none (tests) */
	const struct writer_former *former; /* borrowed for the call; NULL = an empty log is the first one */
	const char *log_state; /* static text for node.start when the log is not good; NULL = it is */
	size_t capacity;    /* units waiting, at most */
	size_t wal_pages;   /* checkpoint the WAL after about this many written pages; 0 = default */
};

/* Where the writer stands; for health, metrics and tests. */
struct writer_state {
	uint64_t size; /* leaves */
	uint8_t root[MERKLE_HASH_LEN];
	bool is_failing; /* the last commit failed; units are answered KMS_E_AUDIT until one succeeds */
	uint64_t commits, units, refused; /* refused = units and requests answered without a leaf since start */
};

struct writer;

/**
 * Load the right edge of the tree, refuse when the clock stands before the last leaf's `ts` (detail says by how much), write log.init on an
 * empty log, then node.start, start the thread.
 * @return KMS_OK | KMS_E_STORE | KMS_E_AUDIT (clock; damaged tree) | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status writer_start(const struct writer_config *cfg, struct writer **ret_writer, struct kms_err *err);
/** Hand over one unit; done() follows exactly once if KMS_OK. @return KMS_OK | KMS_E_THROTTLED (full) | KMS_E_SHUTDOWN: done() is not called */
KMS_MUST_CHECK kms_status writer_submit(struct writer *w, struct write *unit);
/** Hand over one unit and wait for it; `done` must be NULL. @return the unit's status, or why it was not taken */
KMS_MUST_CHECK kms_status writer_write(struct writer *w, struct write *unit);
/** Count a refusal before authentication: written as one coalesced authz.denied leaf for each (reason, vault, peer) at most once a second.
 *  At most 256 are kept; what exceeds them is counted for each reason under no vault and an empty peer.
 *  @param reason static text @param vault_id NULL = none; borrowed @param peer shortened address; borrowed */
void writer_count_denied(struct writer *w, const char *reason, const uint8_t *vault_id, const char *peer);
/** The same for a client certificate that was not accepted: the leaf says why (static text) and shows the subject, borrowed and cut. A stranger
 *  may invent a subject for each attempt, so only some are shown each minute; the others are counted without one. */
void writer_count_stranger(struct writer *w, const char *reason, const uint8_t *vault_id, const char *peer, const char *why, const char *subject);
/** Count a request answered 429 or 503 without a leaf; appears in the next log.gap. Units that the writer answered with KMS_E_AUDIT are
 *  counted already; those that writer_submit() did not take are not. */
void writer_count_refused(struct writer *w);
/** Ask for a truncating WAL checkpoint and wait for it (destruction). Not from done(). @return what store_checkpoint() says | KMS_E_SHUTDOWN */
KMS_MUST_CHECK kms_status writer_truncate(struct writer *w, struct kms_err *err);
void writer_state(struct writer *w, struct writer_state *ret_state);
/** Units waiting now. */
size_t writer_waiting(struct writer *w);
/** Leaves in each commit (HISTOGRAM_SIZES), and how long each took (HISTOGRAM_TIMES); live as long as the writer. */
const struct histogram *writer_batches(const struct writer *w);
const struct histogram *writer_commit_times(const struct writer *w);
#define WRITER_LISTENERS_MAX 48
/** Call fn after each commit that added leaves, with their number in all: on the writer's thread and under its lock, so it must neither block nor
 *  call the writer. One listener for each arg: a second call with the same arg replaces its fn. @return false: there are WRITER_LISTENERS_MAX */
KMS_MUST_CHECK bool writer_on_commit(struct writer *w, void (*fn)(void *arg, uint64_t size), void *arg);
/** No longer call the listener with this arg; it is not running when this returns. Nothing when there is none. */
void writer_off_commit(struct writer *w, const void *arg);
/** The seq in an event's id: a UUID of version 8 (RFC 9562 section 5.8) whose first six bytes are the seq, so that an event is found by its id without
 *  an index. @return false for any other id (older leaves have version 4); whoever asks compares the whole id with the leaf's. */
bool writer_event_seq(const uint8_t id[GUID_LEN], uint64_t *ret_seq);
/** Write what waits, then node.stop, join, free. Nobody may be inside or call another function of this writer from here on. Accepts NULL. */
void writer_stop(struct writer *w);

#endif
