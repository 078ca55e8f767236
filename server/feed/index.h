/*
 * server/feed/index.h - the indexer: a feed that keeps the event index beside the log (storage/event_index.h). Whole segments are in its file, the leaves of the
 * segment under way in memory. It costs the writer nothing, and is thrown away and made again whenever it is missing, damaged, or of another log.
 */
#ifndef HOLDFAST_FEED_INDEX_H
#define HOLDFAST_FEED_INDEX_H

#include "server/feed/feed.h"
#include "storage/event_index.h"

/* What leaves can be found by. The numbers are in the file. */
enum index_kind {
	INDEX_VAULT = 1, INDEX_KEY, INDEX_VERSION, INDEX_PID, INDEX_TYPE, INDEX_ID, INDEX_RESULT, INDEX_ERR, INDEX_PEER,
	INDEX_DAMAGED /* without a value */
};

struct indexer;

struct indexer_config {
	struct kms *kms;
	kms_status (*open_store)(void *arg, struct store **ret_store, struct kms_err *err);
	void *open_arg;
	const char *path; /* of the index; copied */
	kms_status (*open_index)(const char *path, enum store_mode mode, struct event_index **ret, struct kms_err *err);
	kms_status (*remove_index)(const char *path, struct kms_err *err);
	unsigned segment_leaves; /* a multiple of EVENT_INDEX_BLOCK, at most EVENT_INDEX_SEGMENT_MAX; 0 = that */
	unsigned idle_ms;        /* how soon a damaged file is made anew; 0 = 1 s */
};

/** A file that cannot be made or written does not keep the server from serving: queries look at the leaves themselves until it can.
 *  @return KMS_OK | KMS_E_STORE | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status indexer_start(const struct indexer_config *cfg, struct indexer **ret, struct kms_err *err);
/** How far it is: settled = leaves that can be found. */
void indexer_state(struct indexer *x, struct feed_state *ret);
/** Accepts NULL. Queries end before. */
void indexer_stop(struct indexer *x);

/* ---- for query.c ---- */

struct event_term index_term(enum index_kind kind, const void *value, size_t len);
/** A key's name counts without case, in its vault. */
struct event_term index_key_term(const uint8_t vault[STORE_ID_LEN], const char *name);
struct event_term index_peer_term(const uint8_t pid[16], const char *peer);

unsigned indexer_segment_leaves(const struct indexer *x);
/** Leaves that can be found now. */
uint64_t indexer_size(struct indexer *x);
/** Wait until it has reached size. @return false: not in wait_ms */
bool indexer_wait(struct indexer *x, uint64_t size, unsigned wait_ms);
/** Changes whenever the file is made anew: then a reader's connection is to what is gone. */
uint64_t indexer_generation(struct indexer *x);
/** A reader's connection. */
KMS_MUST_CHECK kms_status indexer_open(struct indexer *x, struct event_index **ret, struct kms_err *err);
/** What is in the file cannot be read: make it anew. */
void indexer_report_damage(struct indexer *x, const struct kms_err *why);

/* The segment under way, for one question. */
enum index_place { INDEX_IN_FILE, INDEX_IN_MEMORY, INDEX_NOT_YET };
/** Where a segment is to be found. In memory: call each(arg, place) for the places with one of these terms, in no order, and tell how many leaves it covers and their times
 *  (ret_times of EVENT_INDEX_BLOCKS_MAX; NULL = not asked for). */
enum index_place indexer_look(struct indexer *x, uint64_t segment, const struct event_term *terms, size_t term_count, void (*each)(void *arg, uint16_t place), void *arg,
                              unsigned *ret_leaves, struct event_times *ret_times);

#endif
