/*
 * server/core/writer.c - group commit. One thread takes what waits, writes it as one transaction, commits once, then answers.
 * Guards: nothing is answered KMS_OK before its leaf is durable; seq, mono and tree order agree; after a failed batch the tree in memory
 * is the tree in the database.
 */
#include "server/core/writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/base/secret.h"
#include "server/core/denied.h"

#define NODE_MAX 64
#define ORIGIN_MAX 200
#define US_PER_S 1000000
#define CLOCK_STEP_US (2 * US_PER_S) /* audit-log.md 6.4 */
#define FLUSH_EVERY_US US_PER_S      /* audit-log.md 6.2: counted refusals, at most once a second */
#define RANDOM_PER_LEAF (GUID_LEN + 16)
#define ID_SEQ_LEN 6 /* bytes of an event's id that are its seq */
/* The store does not tell how long its WAL is. A leaf touches about one page of an index, a change about two (its row, its material), a
 * commit the pages on the right edges. */
#define PAGES_PER_LEAF 1
#define PAGES_PER_CHANGE 2
#define PAGES_PER_COMMIT 4
#define WAL_PAGES_DEFAULT 1000
#define WAL_BUSY_FACTOR 4   /* checkpoint even under load beyond this many times wal_pages */
#define WAL_TRUNCATE_FACTOR 64

/* Somebody waits for a truncating checkpoint; on that thread's stack. */
struct truncate_request {
	struct truncate_request *next;
	bool is_done;
	kms_status status;
	struct kms_err err;
};

struct writer {
	struct store *store;
	const struct clock *clock;
	char node[NODE_MAX + 1];
	size_t capacity, wal_pages;
	uint8_t boot[8];
	int64_t start_mono_us;
	pthread_t thread;

	/* The writer's thread only. */
	struct merkle_edge edge;
	bool has_last;                         /* the clocks at the last leaf: */
	int64_t last_wall_us, last_mono_us;
	uint8_t random[WRITER_BATCH_MAX * RANDOM_PER_LEAF];
	size_t random_left;
	char leaf[EVENT_LEAF_MAX];
	size_t pages_since_checkpoint, pages_since_truncate;
	int64_t next_flush_us;
	struct histogram batches, commit_times;
	struct denied flushing[DENIED_MAX + DENIED_SPARE]; /* copies of what the batch under way writes */

	pthread_mutex_t lock;    /* guards all below; never held across I/O */
	pthread_cond_t work;     /* the writer's thread waits here */
	pthread_cond_t answered; /* writer_write() and writer_truncate() wait here */
	struct write *head, *tail;
	size_t waiting;
	bool is_stopping;
	struct truncate_request *truncates;
	struct denied_table denied;
	uint64_t gap; /* units and requests answered without a leaf and not yet in a log.gap */
	struct merkle_edge shown_edge; /* the tree after the last commit */
	size_t listener_count;
	struct listener {
		void (*fn)(void *arg, uint64_t size);
		void *arg;
	} listeners[WRITER_LISTENERS_MAX]; /* in the order in which they came */
	struct writer_state shown;     /* size and root are taken from shown_edge */
};

/* While a unit is the writer's and somebody waits in writer_write(), its status is this. */
#define STATUS_WAITING KMS_STATUS_COUNT

/* One batch under way. */
struct batch {
	struct write *units[WRITER_BATCH_MAX];
	kms_status status[WRITER_BATCH_MAX]; /* shown to submitters only after the commit */
	bool is_async[WRITER_BATCH_MAX];     /* has done(); one that somebody waits for may be gone once its status is set */
	size_t count, leafless;
	size_t changes; /* applied, of all units */
	const struct writer_config *first; /* log.init on an empty log and node.start; NULL but at the start */
	bool is_last; /* node.stop */
	uint64_t gap;           /* log.gap when not 0 */
	size_t denied_count;    /* authz.denied for each in writer.flushing */
	bool is_committed;      /* false also when there was nothing to commit */
};

static kms_status put_node(void *arg, unsigned level, uint64_t position, const uint8_t hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	return store_put_node(arg, level, position, hash, err);
}

static kms_status get_node(void *arg, unsigned level, uint64_t position, uint8_t ret_hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	return store_node(arg, level, position, ret_hash, err);
}

/* id and salt of one leaf; drawn in bulk, since the generator's cost is by the call. */
static kms_status draw(struct writer *w, struct event_stamp *stamp, struct kms_err *err)
{
	if (w->random_left < RANDOM_PER_LEAF) {
		if (!random_bytes(w->random, sizeof(w->random)))
			return kms_fail(err, KMS_E_AUDIT, KMS_SRC_OPENSSL, 0, "no random bytes for id and salt");
		w->random_left = sizeof(w->random);
	}
	const uint8_t *from = w->random + sizeof(w->random) - w->random_left;
	memcpy(stamp->id, from, sizeof(stamp->id));
	memcpy(stamp->salt, from + sizeof(stamp->id), sizeof(stamp->salt));
	w->random_left -= RANDOM_PER_LEAF;
	/* RFC 9562 section 5.8 */
	for (unsigned i = 0; i < ID_SEQ_LEN; i++)
		stamp->id[i] = (uint8_t)(stamp->seq >> 8 * (ID_SEQ_LEN - 1 - i));
	stamp->id[6] = (uint8_t)((stamp->id[6] & 0x0f) | 0x80);
	stamp->id[8] = (uint8_t)((stamp->id[8] & 0x3f) | 0x80);
	return KMS_OK;
}

bool writer_event_seq(const uint8_t id[GUID_LEN], uint64_t *ret_seq)
{
	uint64_t seq = 0;

	if ((id[6] & 0xf0) != 0x80 || (id[8] & 0xc0) != 0x80)
		return false;
	for (unsigned i = 0; i < ID_SEQ_LEN; i++)
		seq = seq << 8 | id[i];
	*ret_seq = seq;
	return true;
}

/* Encode, hash, store one leaf at the end of the tree. On failure the batch is lost; the caller restores the tree. */
static kms_status append_leaf(struct writer *w, const struct event *e, int64_t wall_us, int64_t mono_us, uint8_t ret_hash[MERKLE_HASH_LEN],
                              struct kms_err *err)
{
	struct event_stamp stamp = { .seq = w->edge.size, .ts_us = wall_us, .mono_us = mono_us - w->start_mono_us, .node = w->node };
	struct store_event row = { .seq = w->edge.size, .ts_us = wall_us, .leaf = w->leaf };

	memcpy(stamp.boot, w->boot, sizeof(stamp.boot));
	KMS_TRY(draw(w, &stamp, err));
	row.leaf_len = event_encode(e, &stamp, w->leaf);
	merkle_leaf_hash(w->leaf, row.leaf_len, row.hash);
	memcpy(row.id, stamp.id, sizeof(row.id));
	if (e->has_tenant)
		memcpy(row.vault_id, e->tenant, sizeof(row.vault_id));
	KMS_TRY(store_append(w->store, &row, err));
	KMS_TRY(merkle_append(&w->edge, row.hash, put_node, w->store, err));
	w->has_last = true;
	w->last_wall_us = wall_us;
	w->last_mono_us = mono_us;
	memcpy(ret_hash, row.hash, MERKLE_HASH_LEN);
	return KMS_OK;
}

/* The clocks for the next leaf; a log.clock leaf first when wall time has stepped against the boot-time clock since the last one. */
static kms_status read_clocks(struct writer *w, int64_t *ret_wall_us, int64_t *ret_mono_us, struct kms_err *err)
{
	int64_t mono = clock_mono_us(w->clock);
	int64_t wall = clock_wall_us(w->clock);

	if (w->has_last && mono < w->last_mono_us)
		mono = w->last_mono_us;
	int64_t expected = w->last_wall_us + (mono - w->last_mono_us);
	int64_t delta = wall - expected;
	if (w->has_last && (delta > CLOCK_STEP_US || delta < -CLOCK_STEP_US)) {
		struct event_det det[] = { { .name = "from" }, { .name = "to" }, { .name = "delta_ms", .is_number = true, .number = delta / 1000 } };
		struct event e = { .type = EVENT_LOG_CLOCK, .det = det, .det_count = KMS_ARRAY_LEN(det) };
		uint8_t hash[MERKLE_HASH_LEN];
		timestamp_format(expected, det[0].text);
		timestamp_format(wall, det[1].text);
		KMS_TRY(append_leaf(w, &e, wall, mono, hash, err));
	}
	*ret_wall_us = wall;
	*ret_mono_us = mono;
	return KMS_OK;
}

/* A leaf of the writer's own. */
static kms_status append_own(struct writer *w, const struct event *e, struct kms_err *err)
{
	int64_t wall, mono;
	uint8_t hash[MERKLE_HASH_LEN];

	KMS_TRY(read_clocks(w, &wall, &mono, err));
	return append_leaf(w, e, wall, mono, hash, err);
}

static kms_status append_denied(struct writer *w, const struct batch *b, struct kms_err *err)
{
	for (size_t i = 0; i < b->denied_count; i++) {
		const struct denied *d = &w->flushing[i];
		struct event_det det[] = { { .name = "why" }, { .name = "subject" } };
		struct event e = { .type = EVENT_DENIED, .result = EVENT_REFUSED, .err = d->reason, .count = d->count, .has_tenant = d->has_vault };
		if (d->why != NULL) {
			memcpy(det[0].text, d->why, strlen(d->why) + 1);
			memcpy(det[1].text, d->subject, sizeof(d->subject));
			e.det = det;
			e.det_count = d->subject[0] != '\0' ? 2 : 1;
		}
		memcpy(e.tenant, d->vault_id, sizeof(e.tenant));
		memcpy(e.net_peer, d->peer, sizeof(e.net_peer));
		KMS_TRY(append_own(w, &e, err));
	}
	return KMS_OK;
}

/* Changes and no leaf: what the log says of itself. */
static kms_status write_leafless(struct writer *w, const struct write *u, kms_status *ret_status, struct kms_err *err)
{
	struct kms_err why = { 0 };

	*ret_status = store_apply(w->store, u->changes, u->change_count, w->edge.size, &why);
	if (*ret_status == KMS_OK || *ret_status == KMS_E_FENCED || *ret_status == KMS_E_CONFLICT || *ret_status == KMS_E_NOTFOUND)
		return KMS_OK;
	*err = why;
	return *ret_status;
}

/* Fence, changes, leaf. *ret_status is the unit's own outcome; anything but KMS_OK returned fails the batch. */
static kms_status write_unit(struct writer *w, struct write *u, kms_status *ret_status, struct kms_err *err)
{
	int64_t wall, mono;
	bool holds = true;

	if (u->has_fence)
		KMS_TRY(store_fence_holds(w->store, &u->fence, &holds, err));
	if (!holds) {
		*ret_status = KMS_E_FENCED;
		return KMS_OK;
	}
	if (u->event.type == EVENT_NONE)
		return write_leafless(w, u, ret_status, err);
	/* Before the changes: a log.clock leaf must not take the seq that they are told. */
	KMS_TRY(read_clocks(w, &wall, &mono, err));
	if (u->change_count > 0) {
		struct kms_err why = { 0 };
		kms_status status = store_apply(w->store, u->changes, u->change_count, w->edge.size, &why);
		if (status == KMS_E_FENCED || status == KMS_E_CONFLICT || status == KMS_E_NOTFOUND) {
			*ret_status = status;
			return KMS_OK;
		}
		if (status != KMS_OK) {
			*err = why;
			return status;
		}
	}
	u->seq = w->edge.size;
	KMS_TRY(append_leaf(w, &u->event, wall, mono, u->leaf_hash, err));
	*ret_status = KMS_OK;
	return KMS_OK;
}

/* The first leaf of a log: who signs it and, of one that follows another, which and with whose consent (audit-log.md 5.5 step 4). */
static kms_status append_init(struct writer *w, const struct writer_config *cfg, struct kms_err *err)
{
	struct event_det det[8] = { { .name = "hash", .text = "sha256" }, { .name = "origin" }, { .name = "profile", .text = "kel/1" } };
	struct event init = { .type = EVENT_LOG_INIT, .det = det, .det_count = 3 };
	struct event restored = { .type = EVENT_LOG_RESTORED };
	static const uint8_t NO_ROOT[MERKLE_HASH_LEN];
	const struct writer_former *f = cfg->former;

	(void)snprintf(det[1].text, sizeof(det[1].text), "%s", cfg->origin);
	if (cfg->vkey != NULL) {
		det[init.det_count].name = "vkey";
		(void)snprintf(det[init.det_count++].text, sizeof(det[0].text), "%s", cfg->vkey);
	}
	if (f == NULL)
		return append_own(w, &init, err);
	det[init.det_count].name = "old_origin";
	(void)snprintf(det[init.det_count++].text, sizeof(det[0].text), "%s", f->origin);
	if (f->known_size > 0) {
		det[init.det_count++] = (struct event_det){ .name = "old_size", .is_number = true, .number = (int64_t)f->known_size };
		/* A witness tells a size only. */
		if (memcmp(f->known_root, NO_ROOT, MERKLE_HASH_LEN) != 0) { /* allowed: public */
			det[init.det_count].name = "old_root";
			b64_encode(f->known_root, MERKLE_HASH_LEN, det[init.det_count++].text);
		}
	}
	det[init.det_count++] = (struct event_det){ .name = "restored_size", .is_number = true, .number = (int64_t)f->restored_size };
	init.approver_count = f->approver_count;
	init.approvers = f->approvers;
	KMS_TRY(append_own(w, &init, err));
	restored.det = &det[init.det_count - 1];
	restored.det_count = 1;
	return append_own(w, &restored, err);
}

static kms_status append_start(struct writer *w, const struct writer_config *cfg, struct kms_err *err)
{
	struct event_det det[] = { { .name = "log" } };
	struct event start = { .type = EVENT_NODE_START, .det = det };

	if (w->edge.size == 0)
		KMS_TRY(append_init(w, cfg, err));
	if (cfg->log_state != NULL) {
		(void)snprintf(det[0].text, sizeof(det[0].text), "%s", cfg->log_state);
		start.det_count = 1;
	}
	return append_own(w, &start, err);
}

static kms_status write_leaves(struct writer *w, struct batch *b, struct kms_err *err)
{
	if (b->first != NULL)
		KMS_TRY(append_start(w, b->first, err));
	if (b->gap > 0) {
		struct event e = { .type = EVENT_LOG_GAP, .count = b->gap };
		KMS_TRY(append_own(w, &e, err));
	}
	b->changes = 0;
	for (size_t i = 0; i < b->count; i++) {
		KMS_TRY(write_unit(w, b->units[i], &b->status[i], err));
		b->changes += b->status[i] == KMS_OK ? b->units[i]->change_count : 0;
	}
	KMS_TRY(append_denied(w, b, err));
	if (b->is_last) {
		struct event e = { .type = EVENT_NODE_STOP };
		KMS_TRY(append_own(w, &e, err));
	}
	return KMS_OK;
}

/* A failed sync leaves the page cache in an unknown state and a later sync may lie about it: only a new process reads what is there. */
static void exit_if_sync_failed(const struct kms_err *err)
{
	if (err->status != KMS_E_STORE || err->native != STORE_NATIVE_SYNC)
		return;
	log_failure(LOG_ERROR, "audit_sync_failed_exiting", NULL, err);
	_exit(EXIT_FAILURE);
}

/* One transaction: all of the batch or nothing of it. */
static kms_status commit_batch(struct writer *w, struct batch *b, struct kms_err *err)
{
	const struct merkle_edge edge = w->edge;
	const int64_t wall = w->last_wall_us, mono = w->last_mono_us;
	const bool has_last = w->has_last;
	const int64_t from_us = clock_mono_us(&CLOCK_SYSTEM);
	bool in_transaction = false;
	kms_status status = store_begin(w->store, err);

	if (status == KMS_OK) {
		in_transaction = true;
		status = write_leaves(w, b, err);
	}
	if (status == KMS_OK && w->edge.size == edge.size && b->changes == 0) {
		/* Every unit was refused by its fence: there is nothing to commit. */
		store_rollback(w->store);
		return KMS_OK;
	}
	if (status == KMS_OK) {
		in_transaction = false; /* store_commit() rolls back itself */
		status = store_commit(w->store, err);
		histogram_add(&w->commit_times, &HISTOGRAM_TIMES, (uint64_t)(clock_mono_us(&CLOCK_SYSTEM) - from_us));
	}
	if (status == KMS_OK) {
		b->is_committed = true;
		histogram_add(&w->batches, &HISTOGRAM_SIZES, w->edge.size - edge.size);
		size_t pages = PAGES_PER_COMMIT + (size_t)(w->edge.size - edge.size) * PAGES_PER_LEAF + b->changes * PAGES_PER_CHANGE;
		w->pages_since_checkpoint += pages;
		w->pages_since_truncate += pages;
		return KMS_OK;
	}
	if (in_transaction)
		store_rollback(w->store);
	exit_if_sync_failed(err);
	w->edge = edge;
	w->last_wall_us = wall;
	w->last_mono_us = mono;
	w->has_last = has_last;
	return status;
}

/* Count, publish the new state, and wake those who wait in writer_write(). */
static void settle_batch(struct writer *w, struct batch *b, kms_status status, const struct kms_err *err)
{
	bool was_failing, is_failing;

	pthread_mutex_lock(&w->lock);
	was_failing = w->shown.is_failing;
	if (status != KMS_OK) {
		w->shown.is_failing = true;
		w->gap += b->count - b->leafless; /* nobody was refused by those */
		w->shown.refused += b->count - b->leafless;
	} else if (b->is_committed) {
		bool has_grown = w->shown_edge.size != w->edge.size;
		w->shown.is_failing = false;
		w->shown.commits++;
		w->shown_edge = w->edge;
		w->gap -= b->gap;
		denied_subtract(&w->denied, w->flushing, b->denied_count);
		for (size_t i = 0; has_grown && i < w->listener_count; i++)
			w->listeners[i].fn(w->listeners[i].arg, w->edge.size);
	}
	is_failing = w->shown.is_failing;
	for (size_t i = 0; i < b->count; i++) {
		if (status != KMS_OK)
			b->status[i] = KMS_E_AUDIT;
		if (b->status[i] == KMS_OK)
			w->shown.units++;
		if (!b->is_async[i])
			b->units[i]->status = b->status[i];
	}
	pthread_cond_broadcast(&w->answered);
	pthread_mutex_unlock(&w->lock);

	if (is_failing && !was_failing)
		log_failure(LOG_ERROR, "audit_write_failed", NULL, err);
	else if (was_failing && !is_failing)
		log_event(LOG_WARN, "audit_write_recovered", LOG_I("refused", b->gap));
}

static void run_batch(struct writer *w, struct batch *b)
{
	struct kms_err err = { 0 };
	kms_status status = commit_batch(w, b, &err);

	settle_batch(w, b, status, &err);
	for (size_t i = 0; i < b->count; i++) {
		if (!b->is_async[i])
			continue;
		b->units[i]->status = b->status[i];
		b->units[i]->done(b->units[i]);
	}
}

size_t writer_waiting(struct writer *w)
{
	size_t waiting;

	pthread_mutex_lock(&w->lock);
	waiting = w->waiting;
	pthread_mutex_unlock(&w->lock);
	return waiting;
}

const struct histogram *writer_batches(const struct writer *w) { return &w->batches; }
const struct histogram *writer_commit_times(const struct writer *w) { return &w->commit_times; }

static bool has_flush_locked(const struct writer *w) { return w->denied.count > 0 || w->gap > 0; }

/* Sleep until there is something to do: a unit, a checkpoint asked for, the end, or counters whose second has passed. */
static void wait_for_work_locked(struct writer *w)
{
	while (w->head == NULL && w->truncates == NULL && !w->is_stopping) {
		if (!has_flush_locked(w)) {
			pthread_cond_wait(&w->work, &w->lock);
			continue;
		}
		int64_t left_us = w->next_flush_us - clock_mono_us(w->clock);
		struct timespec until;
		if (left_us <= 0)
			return;
		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		int64_t nsec = until.tv_nsec + left_us % US_PER_S * 1000;
		until.tv_sec += left_us / US_PER_S + nsec / 1000000000;
		until.tv_nsec = nsec % 1000000000;
		(void)pthread_cond_timedwait(&w->work, &w->lock, &until); /* the loop looks again, whatever woke it */
	}
}

static void take_units_locked(struct writer *w, struct batch *b)
{
	while (w->head != NULL && b->count < WRITER_BATCH_MAX) {
		struct write *u = w->head;
		w->head = u->next;
		u->next = NULL;
		b->leafless += u->event.type == EVENT_NONE;
		b->is_async[b->count] = u->done != NULL;
		b->units[b->count++] = u;
	}
	if (w->head == NULL)
		w->tail = NULL;
	w->waiting -= b->count;
}

/* What the writer adds of its own. The counters stay in place until they are durable. */
static void take_counters_locked(struct writer *w, struct batch *b)
{
	int64_t now_us = clock_mono_us(w->clock);
	bool is_due = b->is_last || now_us >= w->next_flush_us;

	if (is_due || w->shown.is_failing)
		b->gap = w->gap;
	if (is_due) {
		b->denied_count = w->denied.count;
		memcpy(w->flushing, w->denied.rows, w->denied.count * sizeof(w->denied.rows[0]));
	}
	if (b->gap > 0 || b->denied_count > 0)
		w->next_flush_us = now_us + FLUSH_EVERY_US;
}

static kms_status checkpoint(struct writer *w, bool truncate, struct kms_err *err)
{
	kms_status status = store_checkpoint(w->store, truncate, err);

	exit_if_sync_failed(err);
	w->pages_since_checkpoint = 0; /* after a failure too: the next attempt comes after as many pages again */
	if (truncate)
		w->pages_since_truncate = 0;
	return status;
}

static void keep_wal_short(struct writer *w, bool is_idle)
{
	struct kms_err err = { 0 };
	bool truncate = w->pages_since_truncate >= w->wal_pages * WAL_TRUNCATE_FACTOR;

	if (!truncate && w->pages_since_checkpoint < w->wal_pages * (is_idle ? 1 : WAL_BUSY_FACTOR))
		return;
	if (checkpoint(w, truncate, &err) != KMS_OK)
		log_failure(LOG_WARN, "wal_checkpoint_failed", NULL, &err);
}

/* One checkpoint answers all who asked before it began. */
static void serve_truncates(struct writer *w, struct truncate_request *list)
{
	struct kms_err err = { 0 };
	kms_status status = checkpoint(w, true, &err);

	/* Whoever asks for this has destroyed something: what this thread's stack remembers of it goes too. */
	secret_stack_erase();
	pthread_mutex_lock(&w->lock);
	while (list != NULL) {
		struct truncate_request *next = list->next;
		list->status = status;
		list->err = err;
		list->is_done = true;
		list = next;
	}
	pthread_cond_broadcast(&w->answered);
	pthread_mutex_unlock(&w->lock);
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	bool is_over = false;

	while (!is_over) {
		struct batch b = { 0 };
		pthread_mutex_lock(&w->lock);
		wait_for_work_locked(w);
		take_units_locked(w, &b);
		b.is_last = is_over = w->is_stopping && w->head == NULL;
		take_counters_locked(w, &b);
		struct truncate_request *truncates = KMS_TAKE(w->truncates);
		bool is_idle = w->head == NULL;
		pthread_mutex_unlock(&w->lock);

		if (b.count > 0 || b.gap > 0 || b.denied_count > 0 || b.is_last)
			run_batch(w, &b);
		if (truncates != NULL)
			serve_truncates(w, truncates);
		else
			keep_wal_short(w, is_idle);
	}
	return NULL;
}

/* The path that the last append closed, hashed again from the stored leaf: a bit that flipped on disk must not be built upon. */
static kms_status check_last_leaf(struct writer *w, const struct store_event *last, struct kms_err *err)
{
	uint8_t hash[MERKLE_HASH_LEN], left[MERKLE_HASH_LEN];
	unsigned level = 0;

	merkle_leaf_hash(last->leaf, last->leaf_len, hash);
	if (memcmp(hash, last->hash, sizeof(hash)) != 0)
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "leaf %" PRIu64 " does not have its stored hash: the log is damaged", last->seq);
	for (uint64_t position = last->seq; (position & 1) != 0; position >>= 1) {
		KMS_TRY(store_node(w->store, level, position - 1, left, err));
		merkle_node_hash(left, hash, hash);
		level++;
	}
	if (memcmp(hash, w->edge.edge[level], sizeof(hash)) != 0)
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the tree of %" PRIu64 " leaves is damaged at level %u", w->edge.size, level);
	return KMS_OK;
}

static kms_status check_clock(const struct writer *w, const struct store_event *last, struct kms_err *err)
{
	int64_t behind_us = last->ts_us - clock_wall_us(w->clock);
	char ts[TIMESTAMP_LEN + 1];

	if (behind_us <= 0)
		return KMS_OK;
	timestamp_format(last->ts_us, ts);
	return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the clock stands %" PRId64 ".%06" PRId64 " s before the last leaf (%s); set it and start again",
	                behind_us / US_PER_S, behind_us % US_PER_S, ts);
}

static kms_status load_tree(struct writer *w, uint64_t size, struct kms_err *err)
{
	struct store_event last = { 0 };
	kms_status status;

	KMS_TRY(merkle_load(size, get_node, w->store, &w->edge, err));
	KMS_TRY(store_event(w->store, size - 1, &last, err));
	status = check_last_leaf(w, &last, err);
	if (status == KMS_OK)
		status = check_clock(w, &last, err);
	store_event_clear(&last);
	return status;
}

/* Where the log stands, then its first leaves of this run. On the caller's thread: the writer's does not exist yet. */
static kms_status open_log(struct writer *w, const struct writer_config *cfg, struct kms_err *err)
{
	struct batch b = { .first = cfg };
	uint64_t size;

	if (!random_bytes(w->boot, sizeof(w->boot)))
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_OPENSSL, 0, "no random bytes for the boot id");
	KMS_TRY(store_event_count(w->store, &size, err));
	if (size > 0) {
		struct kms_err why = { 0 };
		kms_status status = load_tree(w, size, &why);
		if (status == KMS_E_NOTFOUND)
			return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "a log of %" PRIu64 " leaves lacks a leaf or a node: it is damaged", size);
		if (status != KMS_OK && err != NULL && err->status == KMS_OK)
			*err = why;
		KMS_TRY(status);
	}
	return commit_batch(w, &b, err);
}

static void writer_free(struct writer *w)
{
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->answered);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

kms_status writer_start(const struct writer_config *cfg, struct writer **ret_writer, struct kms_err *err)
{
	struct writer *w = calloc(1, sizeof(*w));
	struct kms_err own_err = { 0 };
	pthread_condattr_t attr;
	kms_status status;

	assert(strlen(cfg->node) <= NODE_MAX && strlen(cfg->origin) <= ORIGIN_MAX && cfg->capacity > 0);
	if (w == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "writer");
	w->store = cfg->store;
	w->clock = cfg->clock;
	memcpy(w->node, cfg->node, strlen(cfg->node) + 1);
	w->capacity = cfg->capacity;
	w->wal_pages = cfg->wal_pages > 0 ? cfg->wal_pages : WAL_PAGES_DEFAULT;
	w->start_mono_us = clock_mono_us(w->clock);
	w->next_flush_us = w->start_mono_us + FLUSH_EVERY_US;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->answered, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* a wall clock that is set must not stop the writer */
	pthread_cond_init(&w->work, &attr);
	pthread_condattr_destroy(&attr);

	status = open_log(w, cfg, &own_err);
	w->shown_edge = w->edge;
	if (status == KMS_OK) {
		int rc = pthread_create(&w->thread, NULL, writer_main, w);
		if (rc != 0)
			status = kms_fail(&own_err, KMS_E_NOMEM, KMS_SRC_ERRNO, (unsigned long)rc, "writer thread");
	}
	if (status != KMS_OK) {
		if (err != NULL && err->status == KMS_OK)
			*err = own_err;
		writer_free(w);
		return status;
	}
	(void)pthread_setname_np(w->thread, "writer");
	*ret_writer = w;
	return KMS_OK;
}

static kms_status submit_locked(struct writer *w, struct write *unit)
{
	if (w->is_stopping)
		return KMS_E_SHUTDOWN;
	if (w->waiting >= w->capacity)
		return KMS_E_THROTTLED;
	unit->next = NULL;
	if (w->tail != NULL)
		w->tail->next = unit;
	else
		w->head = unit;
	w->tail = unit;
	w->waiting++;
	pthread_cond_signal(&w->work);
	return KMS_OK;
}

/* Without a leaf there is something to change, and nothing that a fence could decide. */
static bool is_sound(const struct write *u) { return u->event.type != EVENT_NONE || u->change_count > 0; }

kms_status writer_submit(struct writer *w, struct write *unit)
{
	kms_status status;

	assert(is_sound(unit) && unit->done != NULL);
	pthread_mutex_lock(&w->lock);
	status = submit_locked(w, unit);
	pthread_mutex_unlock(&w->lock);
	return status;
}

kms_status writer_write(struct writer *w, struct write *unit)
{
	kms_status status;

	assert(is_sound(unit) && unit->done == NULL);
	pthread_mutex_lock(&w->lock);
	unit->status = STATUS_WAITING;
	status = submit_locked(w, unit);
	if (status == KMS_OK) {
		while (unit->status == STATUS_WAITING)
			pthread_cond_wait(&w->answered, &w->lock);
		status = unit->status;
	} else {
		unit->status = status;
	}
	pthread_mutex_unlock(&w->lock);
	return status;
}

void writer_count_stranger(struct writer *w, const char *reason, const uint8_t *vault_id, const char *peer, const char *why, const char *subject)
{
	struct denied wanted = { .reason = reason, .has_vault = vault_id != NULL, .why = why };

	if (vault_id != NULL)
		memcpy(wanted.vault_id, vault_id, sizeof(wanted.vault_id));
	memcpy(wanted.peer, peer, strnlen(peer, sizeof(wanted.peer) - 1));
	memcpy(wanted.subject, subject, strnlen(subject, sizeof(wanted.subject) - 1));
	pthread_mutex_lock(&w->lock);
	if (!has_flush_locked(w))
		pthread_cond_signal(&w->work); /* the thread waits without a time limit when nothing is counted */
	if (!denied_add(&w->denied, &wanted, clock_mono_us(w->clock))) {
		w->gap++; /* the number is still exact */
		w->shown.refused++;
	}
	pthread_mutex_unlock(&w->lock);
}

void writer_count_denied(struct writer *w, const char *reason, const uint8_t *vault_id, const char *peer)
{
	writer_count_stranger(w, reason, vault_id, peer, NULL, "");
}

void writer_count_refused(struct writer *w)
{
	pthread_mutex_lock(&w->lock);
	if (!has_flush_locked(w))
		pthread_cond_signal(&w->work);
	w->gap++;
	w->shown.refused++;
	pthread_mutex_unlock(&w->lock);
}

kms_status writer_truncate(struct writer *w, struct kms_err *err)
{
	struct truncate_request request = { 0 };

	pthread_mutex_lock(&w->lock);
	if (w->is_stopping) {
		request.status = kms_fail(&request.err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "the writer is stopping");
	} else {
		request.next = w->truncates;
		w->truncates = &request;
		pthread_cond_signal(&w->work);
		while (!request.is_done)
			pthread_cond_wait(&w->answered, &w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	if (request.status != KMS_OK && err != NULL && err->status == KMS_OK)
		*err = request.err;
	return request.status;
}

void writer_state(struct writer *w, struct writer_state *ret_state)
{
	struct merkle_edge edge;

	pthread_mutex_lock(&w->lock);
	*ret_state = w->shown;
	edge = w->shown_edge;
	pthread_mutex_unlock(&w->lock);
	ret_state->size = edge.size;
	merkle_root(&edge, ret_state->root);
}

static struct listener *find_listener_locked(struct writer *w, const void *arg)
{
	for (size_t i = 0; i < w->listener_count; i++) {
		if (w->listeners[i].arg == arg)
			return &w->listeners[i];
	}
	return NULL;
}

bool writer_on_commit(struct writer *w, void (*fn)(void *arg, uint64_t size), void *arg)
{
	struct listener *l;

	pthread_mutex_lock(&w->lock);
	l = find_listener_locked(w, arg);
	if (l == NULL && w->listener_count < WRITER_LISTENERS_MAX)
		l = &w->listeners[w->listener_count++];
	if (l != NULL)
		*l = (struct listener){ .fn = fn, .arg = arg };
	pthread_mutex_unlock(&w->lock);
	return l != NULL;
}

void writer_off_commit(struct writer *w, const void *arg)
{
	pthread_mutex_lock(&w->lock);
	struct listener *l = find_listener_locked(w, arg);
	if (l != NULL) {
		w->listener_count--;
		memmove(l, l + 1, (size_t)(&w->listeners[w->listener_count] - l) * sizeof(*l));
	}
	pthread_mutex_unlock(&w->lock);
}

void writer_stop(struct writer *w)
{
	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	w->is_stopping = true;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
	(void)pthread_join(w->thread, NULL);
	writer_free(w);
}
