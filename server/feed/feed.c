/*
 * server/feed/feed.c - the thread of a consumer: wait for a commit, read, hand on, write down how far it is through.
 * Guards: leaves are handed on in order and without gaps; the cursor never passes what the consumer is through with; nothing is handed on while the log is
 * rolled back or damaged. A leaf that is not what was hashed is handed on without its body, as one that is damaged: one leaf must not hold up all that follow.
 * The log itself says so, in a log.integrity_failed that every consumer sees in its turn.
 */
#include "server/feed/feed.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/log.h"
#include "server/core/checkpoint.h"

#define CURSOR_EVERY_MS 1000
#define PAUSE_MIN_MS 1000
#define PAUSE_MAX_MS 60000
#define GATHER_MS 20 /* after a run that was not full: so that a busy log wakes a consumer fifty times a second and not for each commit */
#define THREAD_NAME_MAX 15
#define MS_PER_S 1000
#define NS_PER_MS 1000000
#define NEVER_MS INT64_MAX

struct feed {
	struct feed_config cfg;
	char name[STORE_CURSOR_NAME_MAX + 1];
	struct store *store;
	pthread_t thread;
	atomic_bool is_stopping;

	/* The feed's thread only. */
	uint64_t next;          /* the next leaf to read */
	uint64_t stored;        /* the cursor in the database */
	int64_t stored_at_ms;   /* when it was written, or the attempt failed */
	int64_t idle_at_ms, not_before_ms;
	unsigned pause_ms;      /* after the next failure */
	uint64_t failed_at;     /* settled when it began to fail */
	struct prune_cover cover;

	pthread_mutex_t lock; /* guards all below; taken under the writer's, so nothing of the writer is called under it */
	pthread_cond_t work;
	bool is_waiting;        /* a commit must signal */
	struct feed_state shown; /* behind_ms is made of first_us */
	int64_t first_us;       /* ts of the first leaf that it is not through with; STORE_NO_TIME = not known */
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * MS_PER_S + t.tv_nsec / NS_PER_MS;
}

static void wait_until_locked(struct feed *f, int64_t until_ms)
{
	struct timespec until = { .tv_sec = (time_t)(until_ms / MS_PER_S), .tv_nsec = (long)(until_ms % MS_PER_S) * NS_PER_MS };

	if (until_ms == NEVER_MS)
		(void)pthread_cond_wait(&f->work, &f->lock);
	else
		(void)pthread_cond_timedwait(&f->work, &f->lock, &until); /* whoever calls looks again, whatever woke it */
}

/* On the writer's thread. */
static void on_commit(void *arg, uint64_t size)
{
	struct feed *f = arg;

	pthread_mutex_lock(&f->lock);
	f->shown.size = size;
	if (f->is_waiting)
		pthread_cond_signal(&f->work);
	pthread_mutex_unlock(&f->lock);
}

/* LOG_LATE is about the device: what is stored is good. */
static bool may_run(const struct feed *f)
{
	enum log_state state;

	if (f->cfg.runs_always)
		return true;
	state = log_state(f->cfg.kms->log);
	return state == LOG_GOOD || state == LOG_LATE;
}

static uint64_t settled_now(const struct feed *f)
{
	uint64_t settled = f->cfg.ops->settled != NULL ? f->cfg.ops->settled(f->cfg.arg) : f->next;

	return settled < f->next ? settled : f->next;
}

/* ---- what it shows ---- */

/* The time of the first leaf that it is not through with: what its lag is counted from. */
static void show_first(struct feed *f, uint64_t settled)
{
	struct store_event e = { 0 };
	int64_t first_us = STORE_NO_TIME;

	if (store_event(f->store, settled, &e, NULL) == KMS_OK)
		first_us = e.ts_us;
	store_event_clear(&e);
	pthread_mutex_lock(&f->lock);
	f->first_us = first_us;
	pthread_mutex_unlock(&f->lock);
}

static void show_settled(struct feed *f, uint64_t settled)
{
	bool has_moved, is_behind;

	pthread_mutex_lock(&f->lock);
	has_moved = f->shown.settled != settled || f->first_us == STORE_NO_TIME;
	f->shown.settled = settled;
	is_behind = settled < f->shown.size;
	if (!is_behind)
		f->first_us = STORE_NO_TIME;
	pthread_mutex_unlock(&f->lock);
	if (is_behind && has_moved)
		show_first(f, settled);
}

static void show_failure(struct feed *f, const struct kms_err *err)
{
	bool was_failing;

	pthread_mutex_lock(&f->lock);
	was_failing = f->shown.is_failing;
	f->shown.is_failing = true;
	f->shown.failures++;
	(void)snprintf(f->shown.failure, sizeof(f->shown.failure), "%s", err->detail[0] != '\0' ? err->detail : "failed without saying why");
	pthread_mutex_unlock(&f->lock);
	if (was_failing)
		return;
	log_event(LOG_WARN, "feed_failing", LOG_S("feed", f->name), LOG_I("seq", f->next));
	log_failure(LOG_WARN, "feed_failure", NULL, err);
}

/* A round went well. It works again once it is through with something, or has nothing left. */
static void show_success(struct feed *f, uint64_t settled)
{
	bool works_again = false;

	pthread_mutex_lock(&f->lock);
	if (f->shown.is_failing && (settled > f->failed_at || settled >= f->shown.size)) {
		f->shown.is_failing = false;
		f->shown.failure[0] = '\0';
		works_again = true;
	}
	if (!f->shown.is_failing)
		f->pause_ms = f->cfg.pause_ms;
	pthread_mutex_unlock(&f->lock);
	if (works_again)
		log_event(LOG_INFO, "feed_works_again", LOG_S("feed", f->name), LOG_I("seq", settled));
}

/* ---- the cursor ---- */

/* A failure is the writer's, which says so itself; the next attempt comes with the next second. */
static void store_settled(struct feed *f, uint64_t settled)
{
	struct store_change change = { .kind = STORE_CURSOR_SET, .cursor = { .seq = settled } };
	struct write unit = { .changes = &change, .change_count = 1 };

	memcpy(change.cursor.name, f->name, sizeof(change.cursor.name));
	if (writer_write(f->cfg.kms->writer, &unit) == KMS_OK)
		f->stored = settled;
	f->stored_at_ms = now_ms();
}

static void keep_cursor(struct feed *f, bool is_last)
{
	uint64_t settled = settled_now(f);

	show_settled(f, settled);
	if (f->cfg.keeps_cursor || settled == f->stored || !may_run(f))
		return;
	if (is_last || now_ms() - f->stored_at_ms >= CURSOR_EVERY_MS)
		store_settled(f, settled);
}

/* ---- a round ---- */

static kms_status read_leaf(struct feed *f, uint64_t seq, struct leaf *ret, struct kms_err *err)
{
	struct store_event e = { 0 };
	kms_status status = store_event(f->store, seq, &e, err);

	if (status == KMS_E_NOTFOUND)
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "leaf %" PRIu64 " is missing from the log", seq);
	KMS_TRY(status);
	status = leaf_load(f->cfg.kms, f->store, &e, &f->cover, ret, err);
	store_event_clear(&e);
	return status;
}

static kms_status take_some(struct feed *f, uint64_t size, struct kms_err *err)
{
	struct leaf leaves[FEED_BATCH_MAX] = { 0 };
	const uint64_t from = f->next; /* take() may advance it */
	size_t count = 0;
	kms_status status = KMS_OK;

	while (status == KMS_OK && count < FEED_BATCH_MAX && from + count < size) {
		status = read_leaf(f, from + count, &leaves[count], err);
		count += status == KMS_OK;
	}
	if (status == KMS_OK)
		status = f->cfg.ops->take(f->cfg.arg, f, leaves, count, err);
	if (status == KMS_OK) {
		f->next = from + count;
		f->not_before_ms = count < FEED_BATCH_MAX ? now_ms() + GATHER_MS : 0;
	}
	while (count > 0)
		leaf_clear(&leaves[--count]);
	return status;
}

/* Nothing is lost: all that the consumer is not through with comes again. */
static void begin_again(struct feed *f, const struct kms_err *err)
{
	uint64_t settled = settled_now(f);
	int64_t until_ms;

	if (feed_is_stopping(f))
		return;
	pthread_mutex_lock(&f->lock);
	if (!f->shown.is_failing)
		f->failed_at = settled;
	pthread_mutex_unlock(&f->lock);
	show_failure(f, err);
	if (f->cfg.ops->rewind != NULL)
		f->cfg.ops->rewind(f->cfg.arg);
	f->next = settled;
	keep_cursor(f, false);
	until_ms = now_ms() + f->pause_ms;
	f->pause_ms = f->pause_ms * 2 < PAUSE_MAX_MS ? f->pause_ms * 2 : PAUSE_MAX_MS;
	pthread_mutex_lock(&f->lock);
	while (!feed_is_stopping(f) && now_ms() < until_ms)
		wait_until_locked(f, until_ms);
	pthread_mutex_unlock(&f->lock);
}

static void run_round(struct feed *f, uint64_t size)
{
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;

	if (size > f->next) {
		show_settled(f, settled_now(f));
		status = take_some(f, size, &err);
	}
	if (status == KMS_OK && f->cfg.ops->idle != NULL)
		status = f->cfg.ops->idle(f->cfg.arg, f, &err);
	f->idle_at_ms = now_ms() + f->cfg.idle_ms;
	if (status != KMS_OK) {
		begin_again(f, &err);
		return;
	}
	keep_cursor(f, false);
	show_success(f, settled_now(f));
}

/* When to look again although nobody signals. */
static int64_t wake_ms(const struct feed *f, bool has_leaves, uint64_t settled)
{
	int64_t until = f->cfg.ops->idle != NULL ? f->idle_at_ms : NEVER_MS;

	if (!f->cfg.keeps_cursor && settled != f->stored && f->stored_at_ms + CURSOR_EVERY_MS < until)
		until = f->stored_at_ms + CURSOR_EVERY_MS;
	if (has_leaves && f->not_before_ms < until)
		until = f->not_before_ms;
	return until;
}

/* @return the number of leaves, when there is something to do */
static uint64_t wait_for_work(struct feed *f)
{
	const uint64_t settled = settled_now(f); /* not under the lock: the consumer may have one of its own */
	uint64_t size;

	pthread_mutex_lock(&f->lock);
	while (!feed_is_stopping(f)) {
		bool runs = may_run(f), has_leaves = runs && f->shown.size > f->next;
		int64_t until = runs ? wake_ms(f, has_leaves, settled) : NEVER_MS, now = now_ms();

		if ((has_leaves && now >= f->not_before_ms) || now >= until)
			break;
		/* While it gathers, commits need not wake it. Nothing tells of a log that was found bad and is good again but its next leaf. */
		f->is_waiting = !has_leaves;
		wait_until_locked(f, until);
		f->is_waiting = false;
	}
	size = f->shown.size;
	pthread_mutex_unlock(&f->lock);
	return size;
}

static void *feed_main(void *arg)
{
	struct feed *f = arg;

	f->idle_at_ms = now_ms() + f->cfg.idle_ms;
	for (;;) {
		uint64_t size = wait_for_work(f);
		if (feed_is_stopping(f))
			break;
		run_round(f, size);
	}
	keep_cursor(f, true);
	if (f->cfg.ops->rewind != NULL)
		f->cfg.ops->rewind(f->cfg.arg);
	return NULL;
}

/* ---- start and stop ---- */

static kms_status find_start(struct feed *f, struct kms_err *err)
{
	struct writer_state state;

	writer_state(f->cfg.kms->writer, &state);
	pthread_mutex_lock(&f->lock);
	if (f->shown.size < state.size)
		f->shown.size = state.size;
	pthread_mutex_unlock(&f->lock);
	if (f->cfg.keeps_cursor)
		f->next = f->cfg.ops->settled != NULL ? f->cfg.ops->settled(f->cfg.arg) : 0;
	else
		KMS_TRY(store_cursor(f->store, f->name, &f->stored, err));
	if (!f->cfg.keeps_cursor)
		f->next = f->stored == 0 && f->cfg.starts_at_end ? state.size : f->stored;
	if (f->next > state.size) {
		log_event(LOG_WARN, "feed_cursor_beyond_log_begins_again", LOG_S("feed", f->name), LOG_I("cursor", f->next), LOG_I("leaves", state.size));
		f->next = 0;
		if (f->cfg.ops->rewind != NULL)
			f->cfg.ops->rewind(f->cfg.arg);
	}
	show_settled(f, f->next); /* before anybody asks how far behind it is */
	return KMS_OK;
}

static void feed_free(struct feed *f)
{
	writer_off_commit(f->cfg.kms->writer, f);
	if (f->store != NULL)
		store_close(f->store);
	pthread_cond_destroy(&f->work);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static kms_status start_thread(struct feed *f, struct kms_err *err)
{
	char name[THREAD_NAME_MAX + 1];
	int rc = pthread_create(&f->thread, NULL, feed_main, f);

	if (rc != 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, (unsigned long)rc, "thread of feed %s", f->name);
	(void)snprintf(name, sizeof(name), "%.*s", THREAD_NAME_MAX, f->name);
	(void)pthread_setname_np(f->thread, name);
	return KMS_OK;
}

kms_status feed_start(const struct feed_config *cfg, struct feed **ret_feed, struct kms_err *err)
{
	struct feed *f = calloc(1, sizeof(*f));
	pthread_condattr_t attr;
	kms_status status;

	assert(cfg->name[0] != '\0' && strlen(cfg->name) <= STORE_CURSOR_NAME_MAX && cfg->idle_ms >= 10);
	if (f == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "feed %s", cfg->name);
	f->cfg = *cfg;
	memcpy(f->name, cfg->name, strlen(cfg->name) + 1);
	f->cfg.name = f->name;
	f->cfg.pause_ms = f->pause_ms = cfg->pause_ms != 0 ? cfg->pause_ms : PAUSE_MIN_MS;
	f->first_us = STORE_NO_TIME;
	pthread_mutex_init(&f->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->work, &attr);
	pthread_condattr_destroy(&attr);
	status = cfg->open_store(cfg->open_arg, &f->store, err);
	if (status == KMS_OK && !writer_on_commit(cfg->kms->writer, on_commit, f))
		status = kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "too many follow the log; configure fewer exports");
	if (status == KMS_OK)
		status = find_start(f, err);
	if (status == KMS_OK)
		status = start_thread(f, err);
	if (status != KMS_OK) {
		feed_free(f);
		return status;
	}
	*ret_feed = f;
	return KMS_OK;
}

bool feed_is_stopping(const struct feed *f) { return atomic_load(&f->is_stopping); }
const atomic_bool *feed_stopping(const struct feed *f) { return &f->is_stopping; }
struct store *feed_store(struct feed *f) { return f->store; }
struct kms *feed_kms(struct feed *f) { return f->cfg.kms; }

void feed_state(struct feed *f, struct feed_state *ret)
{
	int64_t first_us;

	pthread_mutex_lock(&f->lock);
	*ret = f->shown;
	ret->name = f->cfg.name;
	first_us = f->first_us;
	pthread_mutex_unlock(&f->lock);
	if (first_us == STORE_NO_TIME)
		return;
	ret->behind_ms = (clock_wall_us(f->cfg.kms->clock) - first_us) / 1000;
	if (ret->behind_ms < 0)
		ret->behind_ms = 0;
}

void feed_advance(struct feed *f, uint64_t next)
{
	assert(next >= f->next);
	f->next = next;
	keep_cursor(f, false);
}

void feed_tell_to_stop(struct feed *f)
{
	if (f == NULL)
		return;
	pthread_mutex_lock(&f->lock);
	atomic_store(&f->is_stopping, true);
	pthread_cond_signal(&f->work);
	pthread_mutex_unlock(&f->lock);
}

void feed_stop(struct feed *f)
{
	if (f == NULL)
		return;
	feed_tell_to_stop(f);
	(void)pthread_join(f->thread, NULL);
	feed_free(f);
}
