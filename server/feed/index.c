/* server/feed/index.c - see index.h. Leaves become terms; a segment that is full is sorted and written in one transaction. */
#include "server/feed/index.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/core/log_accept.h"

#define TERMS_MAX 10 /* of one leaf */
#define IDLE_MS 1000
#define NICE 10 /* whoever writes and answers comes first */
#define NS_PER_S 1000000000L

struct segment {
	uint64_t number;
	unsigned leaves;
	size_t count;
	struct event_posting *postings; /* owned; room for all terms of all its leaves */
	struct event_times times[EVENT_INDEX_BLOCKS_MAX];
};

struct indexer {
	struct indexer_config cfg;
	char *path; /* owned */
	struct feed *feed;
	struct event_index *file; /* the feed's thread only; NULL = it cannot be opened yet */
	bool is_nice;             /* the same */
	uint8_t origin_hash[STORE_HASH_LEN];
	unsigned segment_leaves;
	uint8_t last_hash[STORE_HASH_LEN]; /* of the last leaf added */
	uint8_t file_hash[STORE_HASH_LEN]; /* of the last leaf in the file */
	uint64_t redo_next, redo_end;      /* segments whose leaves lost bodies: they are made again, so that nothing of those is left here */

	pthread_mutex_t lock; /* guards all below; never held across I/O */
	pthread_cond_t grown;
	uint64_t generation;
	bool is_damaged;
	struct segment now;   /* the one under way; sorted when it is full */
};

/* ---- terms ---- */

/* FNV-1a, mixed once more. Two values with one hash cost a look at a leaf that does not match: this need not withstand anybody, since no answer rests on it alone. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static struct event_term finish_term(enum index_kind kind, uint64_t hash)
{
	hash ^= hash >> 33;
	hash *= UINT64_C(0xff51afd7ed558ccd);
	hash ^= hash >> 33;
	return (struct event_term){ .kind = (uint8_t)kind, .hash = hash };
}

#define HASH_START UINT64_C(0xcbf29ce484222325)

struct event_term index_term(enum index_kind kind, const void *value, size_t len) { return finish_term(kind, hash_bytes(HASH_START, value, len)); }

struct event_term index_key_term(const uint8_t vault[STORE_ID_LEN], const char *name)
{
	uint64_t hash = hash_bytes(HASH_START, vault, STORE_ID_LEN);

	for (; *name != '\0'; name++) {
		uint8_t c = (uint8_t)(*name >= 'A' && *name <= 'Z' ? *name + ('a' - 'A') : *name);
		hash = hash_bytes(hash, &c, 1);
	}
	return finish_term(INDEX_KEY, hash);
}

struct event_term index_peer_term(const uint8_t pid[16], const char *peer)
{
	return finish_term(INDEX_PEER, hash_bytes(hash_bytes(HASH_START, pid, 16), peer, strlen(peer)));
}

static void add_text(struct event_term *terms, size_t *count, enum index_kind kind, const char *text)
{
	if (text[0] != '\0')
		terms[(*count)++] = index_term(kind, text, strlen(text));
}

static size_t terms_of(const struct leaf *l, struct event_term terms[TERMS_MAX])
{
	const uint32_t type = (uint32_t)l->type, result = (uint32_t)l->result;
	size_t count = 0;

	terms[count++] = index_term(INDEX_VAULT, l->tenant, sizeof(l->tenant)); /* all zero: the installation's */
	if (l->is_damaged)
		terms[count++] = index_term(INDEX_DAMAGED, "", 0); /* what else it said cannot be known */
	if (l->is_pruned)
		return count;
	terms[count++] = index_term(INDEX_TYPE, &type, sizeof(type));
	if (l->result != EVENT_OK)
		terms[count++] = index_term(INDEX_RESULT, &result, sizeof(result));
	if (l->key_name[0] != '\0')
		terms[count++] = index_key_term(l->tenant, l->key_name);
	if (l->has_pid)
		terms[count++] = index_term(INDEX_PID, l->pid, sizeof(l->pid));
	if (l->has_pid && l->peer[0] != '\0')
		terms[count++] = index_peer_term(l->pid, l->peer);
	add_text(terms, &count, INDEX_VERSION, l->key_version);
	add_text(terms, &count, INDEX_ERR, l->err);
	add_text(terms, &count, INDEX_ID, l->req);
	add_text(terms, &count, INDEX_ID, l->corr);
	return count;
}

/* ---- the segment under way ---- */

static void add_leaf(struct segment *s, const struct leaf *l)
{
	struct event_term terms[TERMS_MAX];
	struct event_times *t = &s->times[s->leaves / EVENT_INDEX_BLOCK];
	size_t count = terms_of(l, terms);

	for (size_t i = 0; i < count; i++)
		s->postings[s->count++] = (struct event_posting){ .term = terms[i], .place = (uint16_t)s->leaves };
	if (s->leaves % EVENT_INDEX_BLOCK == 0)
		*t = (struct event_times){ .min_us = l->ts_us, .max_us = l->ts_us };
	t->min_us = l->ts_us < t->min_us ? l->ts_us : t->min_us;
	t->max_us = l->ts_us > t->max_us ? l->ts_us : t->max_us;
	s->leaves++;
}

static void begin_segment_locked(struct indexer *x, uint64_t segment)
{
	x->now.number = segment;
	x->now.leaves = 0;
	x->now.count = 0;
}

static struct event_index_state state_of(const struct indexer *x, uint64_t size, const uint8_t last_hash[STORE_HASH_LEN])
{
	struct event_index_state state = { .size = size, .segment_leaves = x->segment_leaves, .redo_next = x->redo_next, .redo_end = x->redo_end };

	memcpy(state.origin_hash, x->origin_hash, sizeof(state.origin_hash));
	memcpy(state.last_hash, last_hash, sizeof(state.last_hash));
	return state;
}

static kms_status put(struct indexer *x, const struct segment *s, const struct event_index_state *state, struct kms_err *err)
{
	return event_index_put(x->file, s->number, s->times, x->segment_leaves / EVENT_INDEX_BLOCK, s->postings, s->count, state, err);
}

/* Into the file, which from then on is where it is found. */
static kms_status write_segment(struct indexer *x, struct kms_err *err)
{
	const struct event_index_state state = state_of(x, (x->now.number + 1) * x->segment_leaves, x->last_hash);
	kms_status status;

	pthread_mutex_lock(&x->lock);
	qsort(x->now.postings, x->now.count, sizeof(x->now.postings[0]), event_posting_order);
	pthread_mutex_unlock(&x->lock);
	/* Only this thread changes it: the others may go on reading. */
	status = put(x, &x->now, &state, err);
	if (status == KMS_OK)
		memcpy(x->file_hash, x->last_hash, sizeof(x->file_hash));
	pthread_mutex_lock(&x->lock);
	if (status == KMS_OK)
		begin_segment_locked(x, x->now.number + 1);
	x->is_damaged |= status == KMS_E_INTEGRITY;
	pthread_mutex_unlock(&x->lock);
	return status;
}

/* ---- bodies that are gone ---- */

/* An archived part of the log was pruned. That this is still to be done is kept with the next segment; until then the leaf comes again after a start. */
static void note_pruned(struct indexer *x, const struct leaf *l)
{
	int64_t from = leaf_det_number(l, "from"), to = leaf_det_number(l, "to");
	uint64_t first, end;

	if (l->type != EVENT_LOG_PRUNED || l->phase == EVENT_INTENT || from < 0 || to <= from)
		return;
	first = (uint64_t)from / x->segment_leaves;
	end = ((uint64_t)to - 1) / x->segment_leaves + 1;
	x->redo_next = x->redo_next < x->redo_end && x->redo_next < first ? x->redo_next : first;
	x->redo_end = x->redo_end > end ? x->redo_end : end;
}

static kms_status read_segment(struct indexer *x, struct feed *f, struct segment *s, struct kms_err *err)
{
	struct prune_cover cover = { 0 };

	for (uint64_t seq = s->number * x->segment_leaves; s->leaves < x->segment_leaves; seq++) {
		LEAF_AUTO l = { 0 };
		struct store_event e = { 0 };
		kms_status status = store_event(feed_store(f), seq, &e, err);

		if (status == KMS_OK)
			status = leaf_load(x->cfg.kms, feed_store(f), &e, &cover, &l, err);
		store_event_clear(&e);
		KMS_TRY(status);
		if (feed_is_stopping(f))
			return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "the event index is stopping");
		add_leaf(s, &l);
	}
	return KMS_OK;
}

static void segment_free(struct segment **s)
{
	if (*s != NULL)
		free((*s)->postings);
	free(*s);
}
#define SEGMENT_AUTO __attribute__((cleanup(segment_free))) struct segment

/* One segment at a time, between what comes. */
static kms_status redo_one(struct indexer *x, struct feed *f, struct kms_err *err)
{
	SEGMENT_AUTO *s = NULL;
	struct event_index_state state;
	kms_status status;

	x->redo_end = x->redo_end < x->now.number ? x->redo_end : x->now.number; /* what is not in the file yet is made of what is there then */
	if (x->redo_next >= x->redo_end)
		return KMS_OK;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "event index");
	s->postings = malloc(sizeof(s->postings[0]) * x->segment_leaves * TERMS_MAX);
	if (s->postings == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "event index");
	s->number = x->redo_next;
	KMS_TRY(read_segment(x, f, s, err));
	qsort(s->postings, s->count, sizeof(s->postings[0]), event_posting_order);
	x->redo_next++;
	state = state_of(x, x->now.number * x->segment_leaves, x->file_hash);
	status = put(x, s, &state, err);
	x->redo_next -= status != KMS_OK;
	return status;
}

/* ---- the file ---- */

/* Is it of this log, and not ahead of it? */
static kms_status check_state(struct indexer *x, struct store *store, uint64_t *ret_size, const char **ret_why, struct kms_err *err)
{
	struct event_index_state s = { 0 };
	struct store_event e = { 0 };
	kms_status status = event_index_state(x->file, &s, NULL);

	*ret_why = status == KMS_E_NOTFOUND ? NULL : "it cannot be read";
	*ret_size = 0;
	if (status != KMS_OK)
		return KMS_OK;
	*ret_why = "it was made otherwise";
	if (s.segment_leaves != x->segment_leaves || s.size == 0 || s.size % x->segment_leaves != 0)
		return KMS_OK;
	*ret_why = "it is of another log";
	if (memcmp(s.origin_hash, x->origin_hash, sizeof(s.origin_hash)) != 0) /* allowed: public */
		return KMS_OK;
	*ret_why = "it is ahead of the log, or of another one";
	status = store_event(store, s.size - 1, &e, NULL);
	if (status == KMS_OK && memcmp(e.hash, s.last_hash, sizeof(s.last_hash)) == 0) { /* allowed: public */
		*ret_why = NULL;
		*ret_size = s.size;
		memcpy(x->file_hash, s.last_hash, sizeof(x->file_hash));
		x->redo_next = s.redo_next;
		x->redo_end = s.redo_end;
	}
	store_event_clear(&e);
	return status == KMS_OK || status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "leaf that the index ends with");
}

static kms_status make_anew(struct indexer *x, const char *why, struct kms_err *err)
{
	event_index_close(x->file);
	x->file = NULL;
	KMS_TRY(x->cfg.remove_index(x->path, err)); /* unless it is somebody else's */
	log_event(LOG_WARN, "event_index_made_anew", LOG_S("why", why));
	x->redo_next = x->redo_end = 0;
	pthread_mutex_lock(&x->lock);
	x->generation++;
	x->is_damaged = false;
	begin_segment_locked(x, 0);
	pthread_mutex_unlock(&x->lock);
	return x->cfg.open_index(x->path, STORE_WRITE, &x->file, err);
}

static kms_status open_file(struct indexer *x, struct store *store, struct kms_err *err)
{
	const char *why = "it cannot be opened";
	uint64_t size = 0;

	if (x->cfg.open_index(x->path, STORE_WRITE, &x->file, NULL) == KMS_OK)
		KMS_TRY(check_state(x, store, &size, &why, err));
	if (why != NULL)
		return make_anew(x, why, err);
	pthread_mutex_lock(&x->lock);
	begin_segment_locked(x, size / x->segment_leaves);
	pthread_mutex_unlock(&x->lock);
	return KMS_OK;
}

/* ---- the feed ---- */

static bool is_damaged(struct indexer *x)
{
	bool answer;

	pthread_mutex_lock(&x->lock);
	answer = x->is_damaged;
	pthread_mutex_unlock(&x->lock);
	return answer;
}

/* A file that could not be made at the start, or that a query found damaged. */
static kms_status have_file(struct indexer *x, struct kms_err *err)
{
	bool damaged = is_damaged(x);

	if (!x->is_nice)
		(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* of this thread alone; where it is not allowed the index is as quick as all else */
	x->is_nice = true;
	if (x->file != NULL && !damaged)
		return KMS_OK;
	KMS_TRY(make_anew(x, damaged ? "it is damaged" : "it could not be made before", err));
	return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the event index is made anew"); /* so that leaves come again from the first */
}

static kms_status take(void *arg, struct feed *f, const struct leaf *leaves, size_t count, struct kms_err *err)
{
	struct indexer *x = arg;

	(void)f;
	KMS_TRY(have_file(x, err));
	for (size_t i = 0; i < count; i++) {
		if (x->now.leaves == x->segment_leaves)
			KMS_TRY(write_segment(x, err));
		pthread_mutex_lock(&x->lock);
		add_leaf(&x->now, &leaves[i]);
		pthread_mutex_unlock(&x->lock);
		memcpy(x->last_hash, leaves[i].hash, sizeof(x->last_hash));
		note_pruned(x, &leaves[i]);
	}
	pthread_mutex_lock(&x->lock);
	pthread_cond_broadcast(&x->grown);
	pthread_mutex_unlock(&x->lock);
	return KMS_OK;
}

/* A full segment is written even when no leaf follows for long. */
static kms_status idle(void *arg, struct feed *f, struct kms_err *err)
{
	struct indexer *x = arg;

	KMS_TRY(have_file(x, err));
	if (x->now.leaves == x->segment_leaves)
		KMS_TRY(write_segment(x, err));
	return redo_one(x, f, err);
}

static uint64_t settled(void *arg) { return indexer_size(arg); }

/* Leaves come again from settled() on: nothing of them is lost, so nothing is dropped. */
static const struct feed_ops OPS = { .take = take, .settled = settled, .idle = idle };

static void indexer_free(struct indexer *x)
{
	event_index_close(x->file);
	free(x->now.postings);
	free(x->path);
	pthread_cond_destroy(&x->grown);
	pthread_mutex_destroy(&x->lock);
	free(x);
}

static kms_status start(struct indexer *x, struct kms_err *err)
{
	const unsigned idle_ms = x->cfg.idle_ms != 0 ? x->cfg.idle_ms : IDLE_MS;
	const struct feed_config cfg = { .name = "index", .kms = x->cfg.kms, .open_store = x->cfg.open_store, .open_arg = x->cfg.open_arg, .ops = &OPS, .arg = x,
		                         .idle_ms = idle_ms, .pause_ms = idle_ms, .keeps_cursor = true, .runs_always = true };
	struct store *store = NULL;
	struct kms_err why = { 0 };

	KMS_TRY(x->cfg.open_store(x->cfg.open_arg, &store, err));
	if (open_file(x, store, &why) != KMS_OK)
		log_failure(LOG_WARN, "event_index_failed", NULL, &why);
	store_close(store);
	return feed_start(&cfg, &x->feed, err);
}

kms_status indexer_start(const struct indexer_config *cfg, struct indexer **ret, struct kms_err *err)
{
	struct indexer *x = calloc(1, sizeof(*x));
	pthread_condattr_t attr;
	kms_status status;

	if (x == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "event index");
	x->cfg = *cfg;
	x->segment_leaves = cfg->segment_leaves != 0 ? cfg->segment_leaves : EVENT_INDEX_SEGMENT_MAX;
	assert(x->segment_leaves <= EVENT_INDEX_SEGMENT_MAX && x->segment_leaves % EVENT_INDEX_BLOCK == 0);
	x->generation = 1;
	log_origin_hash(cfg->kms->origin, x->origin_hash);
	pthread_mutex_init(&x->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&x->grown, &attr);
	pthread_condattr_destroy(&attr);
	x->now.postings = malloc(sizeof(x->now.postings[0]) * x->segment_leaves * TERMS_MAX);
	x->path = strdup(cfg->path);
	status = x->now.postings != NULL && x->path != NULL ? start(x, err) : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "event index");
	if (status != KMS_OK) {
		indexer_free(x);
		return status;
	}
	*ret = x;
	return KMS_OK;
}

void indexer_state(struct indexer *x, struct feed_state *ret) { feed_state(x->feed, ret); }

void indexer_stop(struct indexer *x)
{
	if (x == NULL)
		return;
	feed_stop(x->feed);
	indexer_free(x);
}

/* ---- for queries ---- */

unsigned indexer_segment_leaves(const struct indexer *x) { return x->segment_leaves; }

static uint64_t size_locked(const struct indexer *x) { return x->now.number * x->segment_leaves + x->now.leaves; }

uint64_t indexer_size(struct indexer *x)
{
	uint64_t size;

	pthread_mutex_lock(&x->lock);
	size = size_locked(x);
	pthread_mutex_unlock(&x->lock);
	return size;
}

bool indexer_wait(struct indexer *x, uint64_t size, unsigned wait_ms)
{
	struct timespec until;
	bool is_there;
	int rc = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
	until.tv_sec += (time_t)(wait_ms / 1000) + until.tv_nsec / NS_PER_S;
	until.tv_nsec %= NS_PER_S;
	pthread_mutex_lock(&x->lock);
	while (size_locked(x) < size && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&x->grown, &x->lock, &until);
	is_there = size_locked(x) >= size;
	pthread_mutex_unlock(&x->lock);
	return is_there;
}

uint64_t indexer_generation(struct indexer *x)
{
	uint64_t generation;

	pthread_mutex_lock(&x->lock);
	generation = x->generation;
	pthread_mutex_unlock(&x->lock);
	return generation;
}

kms_status indexer_open(struct indexer *x, struct event_index **ret, struct kms_err *err) { return x->cfg.open_index(x->path, STORE_READ, ret, err); }

void indexer_report_damage(struct indexer *x, const struct kms_err *why)
{
	bool is_new;

	pthread_mutex_lock(&x->lock);
	is_new = !x->is_damaged;
	x->is_damaged = true;
	pthread_mutex_unlock(&x->lock);
	if (is_new)
		log_failure(LOG_WARN, "event_index_damaged", NULL, why);
}

static bool is_one_of(const struct event_term *t, const struct event_term *terms, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (t->kind == terms[i].kind && t->hash == terms[i].hash)
			return true;
	}
	return false;
}

enum index_place indexer_look(struct indexer *x, uint64_t segment, const struct event_term *terms, size_t term_count, void (*each)(void *arg, uint16_t place), void *arg,
                              unsigned *ret_leaves, struct event_times *ret_times)
{
	enum index_place where = INDEX_IN_MEMORY;

	pthread_mutex_lock(&x->lock);
	if (segment != x->now.number) {
		where = segment < x->now.number ? INDEX_IN_FILE : INDEX_NOT_YET;
	} else {
		for (size_t i = 0; term_count > 0 && i < x->now.count; i++) {
			if (is_one_of(&x->now.postings[i].term, terms, term_count))
				each(arg, x->now.postings[i].place);
		}
		*ret_leaves = x->now.leaves;
		if (ret_times != NULL)
			memcpy(ret_times, x->now.times, (x->now.leaves + EVENT_INDEX_BLOCK - 1) / EVENT_INDEX_BLOCK * sizeof(x->now.times[0]));
	}
	pthread_mutex_unlock(&x->lock);
	return where;
}
