/* server/feed/export.c - see export.h. Guards: no export holds up the server, unless it is required; that one fails is said once, not for each attempt. */
#include "server/feed/export.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/log.h"
#include "server/core/checkpoint.h"

#define IDLE_MS 250
#define LOOK_MS 250
#define TELL_MS 60000
#define FEED_PREFIX "export:"

struct export {
	struct export_config cfg;
	char feed_name[sizeof(FEED_PREFIX) + EXPORT_NAME_MAX];
	struct sink *sink; /* the feed's thread's, but for what is counted */
	struct feed *feed;
	struct facts_cache facts;
	char *head; /* owned; OTLP */

	/* The keeper's thread only. */
	int64_t failing_since_ms; /* 0 = it works */
	bool is_told;
	uint64_t last_settled;
	int64_t moved_ms; /* when settled grew, or there was nothing left */
	atomic_bool stops_service;
};

struct exports {
	struct kms *kms;
	unsigned tell_ms;
	struct export list[EXPORTS_MAX];
	size_t count;
	pthread_t keeper;
	bool has_keeper;
	pthread_mutex_t lock; /* guards is_stopping */
	pthread_cond_t wake;
	bool is_stopping;
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the feed ---- */

static kms_status make_record(struct export *x, struct feed *f, const struct leaf *l, struct record *ret, struct kms_err *err)
{
	struct format_facts facts;

	KMS_TRY(facts_of(&x->facts, feed_kms(f), feed_store(f), l, &facts, err));
	facts.enterprise = x->cfg.enterprise;
	facts.has_syslog = x->cfg.sink == EXPORT_SYSLOG || x->cfg.sink == EXPORT_SYSLOG_PLAIN;
	ret->seq = l->seq;
	return format_leaf(x->cfg.format, l, &facts, &ret->bytes, &ret->len, err);
}

/* Of a run that was not taken as a whole: so that its beginning does not come again. */
static void keep_what_arrived(const struct export *x, struct feed *f, const struct leaf *leaves, size_t count)
{
	uint64_t through = x->sink->ops->settled(x->sink);

	if (through > leaves[0].seq && through <= leaves[count - 1].seq)
		feed_advance(f, through);
}

static kms_status take(void *arg, struct feed *f, const struct leaf *leaves, size_t count, struct kms_err *err)
{
	struct export *x = arg;
	struct record records[FEED_BATCH_MAX];
	size_t made = 0;
	kms_status status = KMS_OK;

	for (size_t i = 0; i < count && status == KMS_OK; i++) {
		if (!format_takes(x->cfg.format, &leaves[i]))
			continue;
		status = make_record(x, f, &leaves[i], &records[made], err);
		made += status == KMS_OK;
	}
	if (status == KMS_OK && made > 0)
		status = x->sink->ops->send(x->sink, records, made, feed_stopping(f), err);
	if (status != KMS_OK)
		keep_what_arrived(x, f, leaves, count);
	while (made > 0)
		free(records[--made].bytes);
	return status;
}

static uint64_t settled(void *arg)
{
	struct export *x = arg;
	return x->sink->ops->settled(x->sink);
}

static kms_status idle(void *arg, struct feed *f, struct kms_err *err)
{
	struct export *x = arg;

	(void)f;
	return x->sink->ops->tick(x->sink, err);
}

static void rewind_sink(void *arg)
{
	struct export *x = arg;
	x->sink->ops->rewind(x->sink);
}

static const struct feed_ops EXPORT_OPS = { .take = take, .settled = settled, .idle = idle, .rewind = rewind_sink };

/* ---- the keeper ---- */

/* A leaf of its own, which is exported too; but it is one for each time that it fails, and not for each attempt. */
static bool tell(struct exports *e, const struct export *x, const struct feed_state *s, bool is_failing)
{
	struct event_det det[] = { { .name = "export" }, { .name = "seq", .is_number = true, .number = (int64_t)s->settled } };
	struct write unit = { .event = { .type = EVENT_LOG_EXPORT_FAILED, .actor = EVENT_ACTOR_SYSTEM, .det = det, .det_count = KMS_ARRAY_LEN(det),
		                         .result = is_failing ? EVENT_FAILED : EVENT_OK, .err = is_failing ? kms_status_inner(KMS_E_BUSY) : NULL } };

	(void)snprintf(det[0].text, sizeof(det[0].text), "%s", x->cfg.name);
	return writer_write(e->kms->writer, &unit) == KMS_OK;
}

static void watch_failure(struct exports *e, struct export *x, const struct feed_state *s)
{
	int64_t now = now_ms();

	if (s->is_failing && x->failing_since_ms == 0)
		x->failing_since_ms = now;
	if (!s->is_failing)
		x->failing_since_ms = 0;
	if (x->failing_since_ms != 0 && !x->is_told && now - x->failing_since_ms >= e->tell_ms)
		x->is_told = tell(e, x, s, true); /* else at the next look */
	else if (x->failing_since_ms == 0 && x->is_told)
		x->is_told = !tell(e, x, s, false);
}

/* By the leaf's age, and, should the clock be set back, by how long nothing has moved. */
static int64_t lag_ms(struct export *x, const struct feed_state *s)
{
	int64_t now = now_ms(), stuck_ms;

	if (s->settled > x->last_settled || s->settled >= s->size)
		x->moved_ms = now;
	x->last_settled = s->settled;
	stuck_ms = now - x->moved_ms;
	return s->behind_ms > stuck_ms ? s->behind_ms : stuck_ms;
}

/* It has caught up when its lag is well below the limit: there is always a leaf under way, and what syslog sends settles after seconds. */
static void watch_lag(struct exports *e, struct export *x, const struct feed_state *s)
{
	const int64_t lag = lag_ms(x, s), most = (int64_t)x->cfg.max_lag_s * 1000;
	bool holds = atomic_load(&x->stops_service), must = holds ? lag > most / 2 : lag > most;

	if (!x->cfg.is_required || must == holds)
		return;
	atomic_store(&x->stops_service, must);
	if (must) {
		log_event(LOG_ERROR, "export_stops_service", LOG_S("export", x->cfg.name), LOG_I("lag_ms", lag), LOG_S("failure", s->failure));
		log_hold(e->kms->log);
	} else {
		log_event(LOG_WARN, "export_has_caught_up", LOG_S("export", x->cfg.name));
		log_let_go(e->kms->log);
	}
}

static bool wait_for_stop(struct exports *e)
{
	struct timespec until;
	bool is_stopping;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&e->lock);
	if (!e->is_stopping)
		(void)pthread_cond_timedwait(&e->wake, &e->lock, &until);
	is_stopping = e->is_stopping;
	pthread_mutex_unlock(&e->lock);
	return is_stopping;
}

static void look_at_all(struct exports *e)
{
	for (size_t i = 0; i < e->count; i++) {
		struct feed_state s = { 0 };
		feed_state(e->list[i].feed, &s);
		watch_failure(e, &e->list[i], &s);
		watch_lag(e, &e->list[i], &s);
	}
}

static void *keeper_main(void *arg)
{
	struct exports *e = arg;

	while (!wait_for_stop(e))
		look_at_all(e);
	return NULL;
}

/* ---- start and stop ---- */

static kms_status make_sink(struct exports *e, struct export *x, struct kms_err *err)
{
	const struct export_config *c = &x->cfg;
	const struct format_facts facts = { .node = e->kms->node };

	switch (c->sink) {
	case EXPORT_FILE:
		return sink_file_new(c->target, &x->sink, err);
	case EXPORT_SYSLOG:
	case EXPORT_SYSLOG_PLAIN:
		return sink_syslog_new(c->target, c->sink == EXPORT_SYSLOG_PLAIN, &c->tls, &x->sink, err);
	case EXPORT_OTLP:
		KMS_TRY(format_otlp_head(&facts, &x->head, err));
		return sink_otlp_new(c->target, &c->tls, c->headers_file, x->head, format_otlp_tail(), &x->sink, err);
	}
	return KMS_E_INTERNAL;
}

static kms_status start_one(struct exports *e, const struct exports_config *cfg, const struct export_config *c, struct kms_err *err)
{
	struct export *x = &e->list[e->count];

	x->cfg = *c;
	x->moved_ms = now_ms();
	(void)snprintf(x->feed_name, sizeof(x->feed_name), FEED_PREFIX "%s", c->name);
	e->count++; /* from here on exports_stop() deals with what is there of it */
	KMS_TRY(make_sink(e, x, err));
	return feed_start(&(const struct feed_config){ .name = x->feed_name, .kms = cfg->kms, .open_store = cfg->open_store, .open_arg = cfg->open_arg,
	                                               .ops = &EXPORT_OPS, .arg = x, .idle_ms = IDLE_MS, .pause_ms = cfg->pause_ms }, &x->feed, err);
}

static kms_status start_keeper(struct exports *e, struct kms_err *err)
{
	int rc = pthread_create(&e->keeper, NULL, keeper_main, e);

	if (rc != 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, (unsigned long)rc, "thread of the exports");
	e->has_keeper = true;
	(void)pthread_setname_np(e->keeper, "exports");
	return KMS_OK;
}

kms_status exports_start(const struct exports_config *cfg, struct exports **ret, struct kms_err *err)
{
	struct exports *e = calloc(1, sizeof(*e));
	pthread_condattr_t attr;
	kms_status status = KMS_OK;

	if (e == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "exports");
	e->kms = cfg->kms;
	e->tell_ms = cfg->tell_ms != 0 ? cfg->tell_ms : TELL_MS;
	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->wake, &attr);
	pthread_condattr_destroy(&attr);
	for (size_t i = 0; i < cfg->count && i < EXPORTS_MAX && status == KMS_OK; i++)
		status = start_one(e, cfg, &cfg->list[i], err);
	if (status == KMS_OK) {
		look_at_all(e); /* before service begins: it may have waited all the while that the server was down */
		status = start_keeper(e, err);
	}
	if (status != KMS_OK) {
		exports_stop(e);
		return status;
	}
	*ret = e;
	return KMS_OK;
}

size_t exports_state(struct exports *e, struct export_state ret[EXPORTS_MAX])
{
	if (e == NULL)
		return 0;
	for (size_t i = 0; i < e->count; i++) {
		struct export *x = &e->list[i];
		ret[i] = (struct export_state){ .name = x->cfg.name, .to = x->cfg.to, .format = x->cfg.format, .is_required = x->cfg.is_required,
			                        .stops_service = atomic_load(&x->stops_service), .rejected = sink_otlp_rejected(x->sink) };
		feed_state(x->feed, &ret[i].feed);
	}
	return e->count;
}

static void stop_keeper(struct exports *e)
{
	if (!e->has_keeper)
		return;
	pthread_mutex_lock(&e->lock);
	e->is_stopping = true;
	pthread_cond_signal(&e->wake);
	pthread_mutex_unlock(&e->lock);
	(void)pthread_join(e->keeper, NULL);
}

void exports_tell_to_stop(struct exports *e)
{
	for (size_t i = 0; e != NULL && i < e->count; i++)
		feed_tell_to_stop(e->list[i].feed);
}

void exports_stop(struct exports *e)
{
	if (e == NULL)
		return;
	stop_keeper(e);
	exports_tell_to_stop(e);
	for (size_t i = 0; i < e->count; i++) {
		struct export *x = &e->list[i];
		feed_stop(x->feed);
		if (x->sink != NULL)
			x->sink->ops->close(x->sink);
		if (atomic_load(&x->stops_service))
			log_let_go(e->kms->log);
		free(x->head);
	}
	pthread_cond_destroy(&e->wake);
	pthread_mutex_destroy(&e->lock);
	free(e);
}
