/*
 * server/core/prune.h - retention (audit-log.md section 13): bodies of old leaves are dropped, after an archive that has them was confirmed by its root. Their hashes, and so
 * all roots and proofs, stay; so do the bodies that must never go (prune_keeps()).
 * What the confirmation proves: that whoever asks knows the root of the range, which an archive gives and every checkpoint shows. Not that an archive was kept: that is for
 * the two people who agree.
 * How old a leaf is goes by the newest time that any up to it was signed at or says of itself: a clock that was set back makes nothing old.
 * Two-phase: the intent names the range, is approved by two people and sealed; the dropping goes on in the background, in small units, and after a kill where it stopped.
 */
#ifndef HOLDFAST_CORE_PRUNE_H
#define HOLDFAST_CORE_PRUNE_H

#include "server/core/op.h"

#define PRUNE_DAYS_DEFAULT 400
#define PRUNE_DAYS_MIN 90
#define PRUNE_APPROVERS 2

/** Must the body of a leaf of this type stay for ever: what the log says of itself, and the evidence of destruction? Of types that are not known too. */
bool prune_keeps(enum event_type type);
/** The type that a canonical leaf says; EVENT_NONE = it says none that is known. */
enum event_type prune_type_of(const char *leaf, size_t len);

/* How retention stands. */
struct prune_state {
	unsigned keep_days;      /* 0 = for ever */
	uint64_t pruned;         /* leaves below this were pruned, as the log itself says (prune_cover.h) */
	bool is_under_way;       /* one goes on */
	int64_t now_s;           /* the time that ages are judged by: this clock's, or a witness's that is behind it */
	bool has_time;           /* false: there are witnesses, and none has said what time it is since the start */
	uint64_t size;           /* the largest signed size whose leaves may be pruned now, or before the given time; not above pruned = none */
	uint8_t root[MERKLE_HASH_LEN]; /* of it */
};
/** @param before_s  leaves from this time on are not meant; STORE_NO_TIME = those that retention allows @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status prune_state(struct kms *kms, struct store *store, int64_t before_s, struct prune_state *ret, struct kms_err *err);

/**
 * Begin: drop the bodies of the leaves below `size`. It goes on by itself (op->goes_on).
 * @param size  a signed checkpoint's @param root  computed from the archive: must be that checkpoint's
 * @return KMS_OK | KMS_E_INVALID (no signed size; another root) | KMS_E_CONFLICT (too young, pruned already, under way, retention is for ever, time is not known) |
 *         KMS_E_APPROVAL (needs two people of the installation) | …
 */
KMS_MUST_CHECK kms_status prune_begin(struct op *op, uint64_t size, const uint8_t root[MERKLE_HASH_LEN], const char *reason, struct kms_err *err);

/* What was dropped; for the outcome. */
struct prune_done {
	uint64_t from, to;
	uint64_t count; /* bodies that are gone */
	uint64_t intent; /* its seq */
	uint8_t root[MERKLE_HASH_LEN];
};
/**
 * Go on with one that was begun, to its end. Every leaf of the range is read first: nothing is dropped while one of them is too young, by its own time as by its row's, or is
 * not what was hashed. The outcome also enters STORE_META_PUT of prune_record(). One that cannot go on stays open, and comes again.
 * @return KMS_OK | KMS_E_SHUTDOWN | KMS_E_AUDIT (the log has no such intent, or a body is altered or gone that this did not drop: somebody wrote into the database) |
 *         KMS_E_CONFLICT (a leaf is too young, or retention is for ever by now) | KMS_E_STORE
 */
KMS_MUST_CHECK kms_status prune_finish(struct kms *kms, struct store *store, const struct store_intent *intent, struct prune_done *ret, struct kms_err *err);
void prune_record(const struct kms *kms, const struct prune_done *done, struct store_meta *ret);

#endif
