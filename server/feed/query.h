/* server/feed/query.h - questions to the event log: filters in combination, by an index that is made beside the log and can be made again at any time. */
#ifndef HOLDFAST_FEED_QUERY_H
#define HOLDFAST_FEED_QUERY_H

#include "server/feed/feed.h"

#define QUERY_PAGE_MAX 1000
#define QUERY_SCAN_MAX 100000 /* leaves that one page looks at */
#define QUERY_TYPES_MAX EVENT_TYPE_COUNT

/* All that are given must hold. Zeroed = every event. */
struct query_filter {
	bool has_vault;
	uint8_t vault[STORE_ID_LEN]; /* all zero: events of the installation itself */
	char key[STORE_KEY_NAME_MAX + 1]; /* without case; needs has_vault; "" = any */
	char version[33];
	bool has_pid;
	uint8_t pid[16];
	enum event_type types[QUERY_TYPES_MAX]; /* one of them */
	size_t type_count;
	bool has_result;
	enum event_result result;
	char id[EVENT_CORR_MAX + 1]; /* request or correlation id; "" = any */
	char err[65];
	bool has_from, has_to;
	int64_t from_us, to_us; /* ts; to is exclusive */
	bool no_intents;  /* two-phase events by their outcomes alone */
	bool damaged_too; /* leaves that are not what was hashed: of those nobody knows whether the other filters fit, so that they count as matches */
	bool newest_first;
	bool has_cursor;
	uint64_t cursor; /* of the page before: the next leaf to look at */
	size_t limit; /* 1..QUERY_PAGE_MAX */
};

struct query_end {
	bool has_more;
	uint64_t cursor;  /* when has_more */
	uint64_t scanned; /* leaves looked at */
	uint64_t indexed; /* leaves that the index covers; those after are scanned */
};

struct query; /* one connection to the index; one thread at a time */
/** @param kms  kept @param indexer  NULL = there is no index: each leaf is looked at @return KMS_OK | KMS_E_STORE | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status query_open(struct kms *kms, struct indexer *indexer, struct query **ret, struct kms_err *err);
void query_close(struct query *q);
/** Call each(arg, leaf) for every match of one page, in order; false ends the page behind this leaf. A page also ends after QUERY_SCAN_MAX leaves and after a quarter
 *  of a second. The index only says which leaves to look at:
 *  each is read and compared with its hash, so that a damaged index can hide a leaf, but never invent one. @return KMS_OK | KMS_E_STORE | KMS_E_INVALID (filter) */
KMS_MUST_CHECK kms_status query_run(struct query *q, struct store *store, const struct query_filter *f, bool (*each)(void *arg, const struct leaf *l), void *arg,
                                    struct query_end *ret, struct kms_err *err);
/** The newest leaf that matches, in one page of at most wait_ms: *ret_found false with ret_end->has_more = not found yet, go on at ret_end->cursor. Each page comes further,
 *  however short it is. */
KMS_MUST_CHECK kms_status query_last(struct query *q, struct store *store, const struct query_filter *f, unsigned wait_ms, struct query_end *ret_end, bool *ret_found,
                                     struct leaf *ret, struct kms_err *err);
/** Did this principal come from this address in a leaf before seq? Waits a little for the index to come so far; the leaf itself says so, not the index alone.
 *  @return KMS_OK | KMS_E_BUSY (it has not) | KMS_E_STORE (it cannot be read now) */
KMS_MUST_CHECK kms_status query_knows_peer(struct query *q, struct store *store, const uint8_t pid[16], const char *peer, uint64_t before_seq, bool *ret_known, struct kms_err *err);

#endif
