/*
 * storage/event_index.h - port to the index beside the event log: which leaves of a segment have a term, and when they were written.
 * It is derived: whatever is wrong with it, it is thrown away and made again from the log. A segment is a run of leaves of fixed length; it is written once, whole,
 * when its leaves are there. One writer (the indexer's thread); any number of readers, each with a connection and on one thread at a time.
 */
#ifndef HOLDFAST_STORAGE_EVENT_INDEX_H
#define HOLDFAST_STORAGE_EVENT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "storage/store.h"

#define EVENT_INDEX_SEGMENT_MAX 32768 /* leaves */
#define EVENT_INDEX_BLOCK 256         /* leaves whose times are kept as one range; a segment is a multiple of it */
#define EVENT_INDEX_BLOCKS_MAX (EVENT_INDEX_SEGMENT_MAX / EVENT_INDEX_BLOCK)

/* What a leaf can be found by: a kind of member, and the hash of its value. */
struct event_term {
	uint8_t kind;
	uint64_t hash;
};

/* The term is in the leaf at this place of its segment. */
struct event_posting {
	struct event_term term;
	uint16_t place;
};

/* The first and the last time among the leaves of a block, whatever the clock did between them. */
struct event_times {
	int64_t min_us, max_us;
};

/* Of what log the index is, and how far it goes. */
struct event_index_state {
	uint8_t origin_hash[STORE_HASH_LEN];
	uint8_t last_hash[STORE_HASH_LEN]; /* of leaf size - 1; all zero when size is 0 */
	uint64_t size;                     /* leaves: whole segments */
	unsigned segment_leaves;
	uint64_t redo_next, redo_end; /* segments that are still to be made again */
};

struct event_index;
struct event_index_ops {
	const char *name; /* "sqlite" */
	void (*close)(struct event_index *x);
	kms_status (*state)(struct event_index *x, struct event_index_state *ret, struct kms_err *err);
	kms_status (*put)(struct event_index *x, uint64_t segment, const struct event_times *times, size_t blocks, const struct event_posting *postings, size_t count,
	                  const struct event_index_state *state, struct kms_err *err);
	kms_status (*times)(struct event_index *x, uint64_t segment, struct event_times *ret, size_t blocks, struct kms_err *err);
	kms_status (*places)(struct event_index *x, uint64_t segment, const struct event_term *term, uint16_t *ret, size_t *ret_count, struct kms_err *err);
};
struct event_index {
	const struct event_index_ops *ops;
};

/** Accepts NULL. */
void event_index_close(struct event_index *x);
/** @return KMS_OK | KMS_E_NOTFOUND (it is new) | KMS_E_STORE | KMS_E_INTEGRITY (damaged, as below) */
KMS_MUST_CHECK kms_status event_index_state(struct event_index *x, struct event_index_state *ret, struct kms_err *err);
/** Write one segment with the state that holds then, whole or not at all; it replaces what the segment had. @param postings  sorted by event_posting_order() */
KMS_MUST_CHECK kms_status event_index_put(struct event_index *x, uint64_t segment, const struct event_times *times, size_t blocks,
                                          const struct event_posting *postings, size_t count, const struct event_index_state *state, struct kms_err *err);
/** The times of all blocks of a segment. @return KMS_OK | KMS_E_NOTFOUND | KMS_E_STORE | KMS_E_INTEGRITY */
KMS_MUST_CHECK kms_status event_index_times(struct event_index *x, uint64_t segment, struct event_times *ret, size_t blocks, struct kms_err *err);
/** The places with this term, rising; none is KMS_OK. @param ret  room for EVENT_INDEX_SEGMENT_MAX @return KMS_OK | KMS_E_STORE | KMS_E_INTEGRITY */
KMS_MUST_CHECK kms_status event_index_places(struct event_index *x, uint64_t segment, const struct event_term *term, uint16_t *ret, size_t *ret_count,
                                             struct kms_err *err);
/** By kind, hash, place: for qsort(). */
int event_posting_order(const void *a, const void *b);

#endif
