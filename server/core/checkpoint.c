/*
 * server/core/checkpoint.c - two threads. The signer does all that may hang in the device: re-hash, sign, store, pin. The keeper has the time: it completes seals, ends
 * those that have waited too long, notices that the log is late, writes heartbeats. So a device that hangs holds up the signer and nobody else.
 * Guards: what is signed extends what was signed before and is what is stored; what is shown as signed is durable.
 */
#include "server/core/checkpoint.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/core/checkpoint_parts.h"
#include "server/core/witness.h"

#define NEVER INT64_MAX
#define RETRY_MS 1000
#define WITNESSES_MS 10000 /* what a seal waits longer for their quorum */
#define WITNESS_SLICE_MS 50
#define FINAL_MS 5000 /* for the last checkpoint, at stop */
#define STOP_MS 10000 /* then the device hangs */
#define US_PER_MS 1000
#define US_PER_S 1000000

struct checkpointer {
	struct checkpointer_config cfg;
	struct kms *kms;
	pthread_t signer, keeper;
	int64_t newest_us; /* the newest time that a checkpoint was signed at; the signer's thread only */
	pthread_mutex_t reading; /* guards cfg.store: a connection is one thread's at a time; held while it is read, never together with `lock` */

	pthread_mutex_t lock; /* guards all below; taken under the writer's (on_commit), so the writer is never called with it */
	pthread_cond_t work;  /* the signer waits here */
	pthread_cond_t time;  /* the keeper waits here */
	pthread_cond_t sealed; /* log_seal(), log_use_witnesses() and checkpointer_stop() wait here */
	bool is_stopping, is_signer_done;
	int64_t stop_ms;           /* when it was asked to stop */
	uint64_t size;             /* leaves committed */
	int64_t unsigned_since_ms; /* the first leaf without a checkpoint; 0 = there is none */
	int64_t retry_ms;          /* after a failure: not before */
	int64_t last_leaf_us, pinned_mono_us; /* by the clock of the log */
	struct seal *seals;
	uint64_t seal_size, pin_size; /* what seals ask for: to be signed, and to be pinned as well */
	struct witnesses *witnesses; /* NULL = none */
	unsigned witness_calls;      /* under way */
	uint64_t witnessed_size;
	bool is_late_known; /* said so in the diagnostic log */
	uint64_t damaged[LOG_DAMAGED_MAX]; /* seqs; shown.damaged of them */
	unsigned holds;     /* log_hold() */
	uint8_t signed_root[MERKLE_HASH_LEN];
	struct log_status shown; /* but for state (if late) and oldest_unsigned_ms */
};

/* How long somebody really waits: not the log's clock, which is that of the leaves and may be set. */
static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* @param until_ms  NEVER = until somebody signals */
static void wait_locked(struct checkpointer *c, pthread_cond_t *cond, int64_t until_ms)
{
	struct timespec until = { .tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000 };

	if (until_ms == NEVER)
		(void)pthread_cond_wait(cond, &c->lock);
	else
		(void)pthread_cond_timedwait(cond, &c->lock, &until); /* callers look again, whatever woke them */
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static enum log_state state_locked(const struct checkpointer *c)
{
	if (c->shown.state != LOG_GOOD)
		return c->shown.state;
	return c->holds > 0 || (c->unsigned_since_ms != 0 && now_ms() - c->unsigned_since_ms > c->cfg.late_ms) ? LOG_LATE : LOG_GOOD;
}

/* On the writer's thread, under its lock. */
static void on_commit(void *arg, uint64_t size)
{
	struct checkpointer *c = arg;

	pthread_mutex_lock(&c->lock);
	c->size = size;
	c->last_leaf_us = clock_mono_us(c->kms->clock);
	if (c->unsigned_since_ms == 0) {
		c->unsigned_since_ms = now_ms();
		pthread_cond_signal(&c->work);
		pthread_cond_signal(&c->time);
	} else if (size - c->shown.signed_size >= c->cfg.leaves) {
		pthread_cond_signal(&c->work);
	}
	pthread_mutex_unlock(&c->lock);
}

/* A leaf of its own. */
static bool write_leaf(struct checkpointer *c, enum event_type type, enum event_result result, struct event_det *det, size_t count)
{
	struct write unit = { .event = { .type = type, .result = result, .actor = EVENT_ACTOR_SYSTEM, .det = det, .det_count = count } };

	return writer_write(c->kms->writer, &unit) == KMS_OK;
}

/* Syslog severity 2: in the log itself, and where people look. */
static void raise_alarm(struct checkpointer *c, const char *state, const char *why)
{
	struct event_det det[] = { { .name = "state" }, { .name = "why" } };

	(void)snprintf(det[0].text, sizeof(det[0].text), "%s", state);
	(void)snprintf(det[1].text, sizeof(det[1].text), "%s", why);
	log_event(LOG_ERROR, "log_integrity_failed", LOG_I("severity", 2), LOG_S("state", state), LOG_S("why", why));
	if (!write_leaf(c, EVENT_LOG_INTEGRITY_FAILED, EVENT_FAILED, det, KMS_ARRAY_LEN(det)))
		log_event(LOG_ERROR, "event_not_written", LOG_S("type", event_type_name(EVENT_LOG_INTEGRITY_FAILED)));
}

static void set_damaged(struct checkpointer *c, const struct kms_err *err)
{
	bool is_new;

	pthread_mutex_lock(&c->lock);
	is_new = c->shown.state == LOG_GOOD;
	if (is_new) {
		c->shown.state = LOG_DAMAGED;
		(void)snprintf(c->shown.verdict.why, sizeof(c->shown.verdict.why), "%s", err->detail);
	}
	pthread_cond_signal(&c->time);
	pthread_mutex_unlock(&c->lock);
	if (is_new)
		raise_alarm(c, "damaged", err->detail);
}

static void set_rolled_back(struct checkpointer *c, uint64_t known_size, const uint8_t *known_root, const char *why)
{
	struct log_verdict v = { .state = LOG_ROLLED_BACK, .has_known = known_root != NULL, .known_size = known_size };
	bool is_new;

	if (known_root != NULL)
		memcpy(v.known_root, known_root, sizeof(v.known_root));
	(void)snprintf(v.why, sizeof(v.why), "%s", why);
	pthread_mutex_lock(&c->lock);
	is_new = c->shown.state == LOG_GOOD;
	if (is_new) {
		v.size = c->size;
		c->shown.state = LOG_ROLLED_BACK;
		c->shown.verdict = v;
	}
	pthread_cond_signal(&c->time);
	pthread_mutex_unlock(&c->lock);
	if (is_new)
		raise_alarm(c, "rolled_back", why);
}

static bool is_new_damage_locked(struct checkpointer *c, uint64_t seq, const char *why)
{
	for (unsigned i = 0; i < c->shown.damaged; i++)
		if (c->damaged[i] == seq || c->shown.damaged == LOG_DAMAGED_MAX)
			return false;
	if (c->shown.damaged == 0)
		(void)snprintf(c->shown.damage, sizeof(c->shown.damage), "%s", why);
	c->damaged[c->shown.damaged++] = seq;
	return true;
}

void log_report_damage(struct checkpointer *c, uint64_t seq, const char *why)
{
	bool is_new;

	if (c == NULL)
		return log_event(LOG_ERROR, "log_integrity_failed", LOG_I("severity", 2), LOG_S("state", "leaf_damaged"), LOG_S("why", why));
	pthread_mutex_lock(&c->lock);
	is_new = is_new_damage_locked(c, seq, why);
	pthread_mutex_unlock(&c->lock);
	if (is_new)
		raise_alarm(c, "leaf_damaged", why);
}

/* While it reads back: may it go on? The first checkpoint of a log that was never signed reads it all: that is progress, not lateness. */
static bool go_on(void *arg)
{
	struct checkpointer *c = arg;
	bool answer;

	pthread_mutex_lock(&c->lock);
	if (!c->shown.has_checkpoint)
		c->unsigned_since_ms = now_ms();
	answer = !c->is_stopping || now_ms() - c->stop_ms < FINAL_MS;
	pthread_mutex_unlock(&c->lock);
	return answer;
}

/* Read back, and choose what is signed and by whom. */
static kms_status prepare(struct checkpointer *c, const struct writer_state *w, struct checkpoint_text *text, struct log_signer signers[LOG_SIGNERS_MAX],
                          size_t *ret_count, struct kms_err *err)
{
	uint64_t from;
	uint8_t from_root[MERKLE_HASH_LEN];
	kms_status status;

	pthread_mutex_lock(&c->lock);
	from = c->shown.signed_size;
	memcpy(from_root, c->signed_root, sizeof(from_root));
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_lock(&c->reading);
	status = log_next_size(c->cfg.store, text->origin, from, w->size, &text->size, err);
	if (status == KMS_OK)
		status = log_rehash(c->cfg.store, from, from_root, w->size, w->root, text->size, text->root, go_on, c, err);
	if (status == KMS_OK)
		status = log_signers(c->cfg.store, text->origin, from, text->size, signers, ret_count, err);
	pthread_mutex_unlock(&c->reading);
	return status;
}

static kms_status store_note(struct checkpointer *c, const struct checkpoint_text *text, char *note, int64_t signed_us, struct kms_err *err)
{
	struct store_change change = { .kind = STORE_CHECKPOINT_ADD, .checkpoint = { .size = text->size, .signed_us = signed_us, .note = note } };
	struct write unit = { .changes = &change, .change_count = 1 };
	kms_status status;

	memcpy(change.checkpoint.root, text->root, sizeof(text->root));
	status = writer_write(c->kms->writer, &unit);
	return status == KMS_OK ? KMS_OK : kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the checkpoint could not be stored: %s", kms_status_name(status));
}

/* NULL: there are none. Else return_witnesses() follows. */
static struct witnesses *borrow_witnesses(struct checkpointer *c)
{
	struct witnesses *w;

	pthread_mutex_lock(&c->lock);
	w = c->witnesses;
	c->witness_calls += w != NULL;
	pthread_mutex_unlock(&c->lock);
	return w;
}

static void return_witnesses(struct checkpointer *c)
{
	pthread_mutex_lock(&c->lock);
	c->witness_calls--;
	pthread_cond_broadcast(&c->sealed);
	pthread_mutex_unlock(&c->lock);
}

void log_use_witnesses(struct checkpointer *c, struct witnesses *w)
{
	uint64_t signed_size;

	pthread_mutex_lock(&c->lock);
	c->witnesses = w;
	while (c->witness_calls > 0)
		pthread_cond_wait(&c->sealed, &c->lock);
	signed_size = c->shown.signed_size;
	pthread_mutex_unlock(&c->lock);
	if (w != NULL && signed_size > 0)
		witnesses_notify(w, signed_size);
}

static void show_signed(struct checkpointer *c, const struct checkpoint_text *text, int64_t signed_us, const struct writer_state *w, int64_t began_ms)
{
	pthread_mutex_lock(&c->lock);
	c->shown.has_checkpoint = true;
	c->shown.signed_size = text->size;
	c->shown.signed_us = signed_us;
	memcpy(c->signed_root, text->root, sizeof(c->signed_root));
	/* Leaves that came meanwhile are at most as old as this attempt. */
	if (c->size == text->size)
		c->unsigned_since_ms = 0;
	else if (text->size == w->size)
		c->unsigned_since_ms = began_ms;
	pthread_cond_signal(&c->time);
	pthread_mutex_unlock(&c->lock);
	struct witnesses *witnesses = borrow_witnesses(c);
	if (witnesses != NULL) {
		witnesses_notify(witnesses, text->size);
		return_witnesses(c);
	}
}

static kms_status sign_next(struct checkpointer *c, struct kms_err *err)
{
	struct checkpoint_text text = { 0 };
	struct log_signer signers[LOG_SIGNERS_MAX];
	struct writer_state w;
	char note[NOTE_TEXT_MAX + 2 + LOG_SIGNERS_MAX * NOTE_LINE_MAX];
	size_t count = 0;
	int64_t began_ms = now_ms(), signed_us;

	writer_state(c->kms->writer, &w);
	(void)snprintf(text.origin, sizeof(text.origin), "%s", c->kms->origin);
	KMS_TRY(prepare(c, &w, &text, signers, &count, err));
	KMS_TRY(log_sign(c->kms->hsm, signers, count, &text, note, err));
	signed_us = clock_wall_us(c->kms->clock);
	/* What is kept never goes back: nothing that it covers was signed later, whatever was done to the clock. Retention goes by it (prune.c). */
	c->newest_us = signed_us > c->newest_us ? signed_us : c->newest_us;
	KMS_TRY(store_note(c, &text, note, c->newest_us, err));
	show_signed(c, &text, signed_us, &w, began_ms);
	return KMS_OK;
}

static kms_status pin_newest(struct checkpointer *c, struct kms_err *err)
{
	struct log_pinned p;

	pthread_mutex_lock(&c->lock);
	p.size = c->shown.signed_size;
	memcpy(p.root, c->signed_root, sizeof(p.root));
	pthread_mutex_unlock(&c->lock);
	KMS_TRY(log_pin(c->kms, &p, err));
	pthread_mutex_lock(&c->lock);
	c->shown.pinned_size = p.size;
	c->shown.pinned_us = clock_wall_us(c->kms->clock);
	c->pinned_mono_us = clock_mono_us(c->kms->clock);
	pthread_cond_signal(&c->time);
	pthread_mutex_unlock(&c->lock);
	return KMS_OK;
}

/* When to sign next; NEVER = there is nothing to sign. */
static int64_t sign_due_locked(const struct checkpointer *c)
{
	uint64_t waiting = c->size - c->shown.signed_size;

	if (c->shown.state != LOG_GOOD || waiting == 0)
		return NEVER;
	if (c->is_stopping || !c->shown.has_checkpoint || waiting >= c->cfg.leaves || c->seal_size > c->shown.signed_size)
		return 0;
	return c->unsigned_since_ms + c->cfg.interval_ms;
}

/* Waits are by a clock that stands while the machine sleeps, and the log's does not: so nobody waits longer than an interval before looking at it again. */
static int64_t until_by_log_clock(const struct checkpointer *c, int64_t due_us)
{
	int64_t left_ms = (due_us - clock_mono_us(c->kms->clock)) / US_PER_MS;

	return left_ms <= 0 ? 0 : now_ms() + least(left_ms, c->cfg.interval_ms);
}

static int64_t pin_due_locked(const struct checkpointer *c)
{
	uint64_t waiting = c->shown.signed_size - c->shown.pinned_size;

	if (c->shown.state != LOG_GOOD || c->shown.signed_size <= c->shown.pinned_size)
		return NEVER;
	if (c->is_stopping || c->shown.pinned_size == 0 || c->pinned_mono_us == 0 || waiting >= c->cfg.leaves || c->pin_size > c->shown.pinned_size)
		return 0;
	return until_by_log_clock(c, c->pinned_mono_us + (int64_t)c->cfg.pin_s * US_PER_S);
}

/* What an attempt came to. */
static void settle(struct checkpointer *c, kms_status status, const struct kms_err *err)
{
	bool was_failing;

	if (status == KMS_E_SHUTDOWN)
		return;
	pthread_mutex_lock(&c->lock);
	was_failing = c->shown.last_failure.status != KMS_OK;
	if (status == KMS_OK) {
		c->shown.last_failure = (struct kms_err){ 0 };
		c->retry_ms = 0;
	} else {
		c->shown.last_failure = *err;
		c->shown.last_failure.status = status;
		c->retry_ms = now_ms() + RETRY_MS;
	}
	pthread_mutex_unlock(&c->lock);
	if (status == KMS_E_INTEGRITY)
		set_damaged(c, err);
	else if (status == KMS_E_CONFLICT)
		set_rolled_back(c, 0, NULL, "the device remembers a larger checkpoint of this log than this server has signed");
	else if (status != KMS_OK && !was_failing)
		log_failure(LOG_ERROR, "checkpoint_failed", NULL, err);
	else if (status == KMS_OK && was_failing)
		log_event(LOG_WARN, "checkpoint_recovered");
}

static void *signer_main(void *arg)
{
	struct checkpointer *c = arg;
	bool is_last = false;

	pthread_mutex_lock(&c->lock);
	while (!is_last) {
		struct kms_err err = { 0 };
		kms_status status = KMS_OK;
		int64_t due_ms = least(sign_due_locked(c), pin_due_locked(c));

		if (due_ms != NEVER && due_ms < c->retry_ms && !c->is_stopping)
			due_ms = c->retry_ms;
		if (due_ms > now_ms() && !c->is_stopping) {
			wait_locked(c, &c->work, due_ms);
			continue;
		}
		/* Stopping: one attempt more, unless all is done. */
		is_last = c->is_stopping;
		bool must_sign = sign_due_locked(c) <= now_ms();
		pthread_mutex_unlock(&c->lock);
		if (must_sign)
			status = sign_next(c, &err);
		pthread_mutex_lock(&c->lock);
		bool must_pin = status == KMS_OK && pin_due_locked(c) <= now_ms();
		pthread_mutex_unlock(&c->lock);
		if (must_pin)
			status = pin_newest(c, &err);
		if (must_sign || must_pin)
			settle(c, status, &err);
		pthread_mutex_lock(&c->lock);
	}
	c->is_signer_done = true;
	pthread_cond_signal(&c->time);
	pthread_cond_broadcast(&c->sealed);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* Does it wait for nothing but witnesses? */
static bool is_pinned_locked(const struct checkpointer *c, const struct seal *s)
{
	return s->seq < c->shown.signed_size && (!s->is_critical || s->seq < c->shown.pinned_size);
}

static bool needs_witnesses(const struct checkpointer *c, const struct seal *s) { return s->is_critical && c->cfg.needs_witnesses; }

static bool is_sealed_locked(const struct checkpointer *c, const struct seal *s)
{
	return is_pinned_locked(c, s) && (!needs_witnesses(c, s) || s->seq < c->witnessed_size);
}

/* Take those that are complete, or never will be. */
static struct seal *take_seals_locked(struct checkpointer *c)
{
	struct seal *taken = NULL;
	int64_t now = now_ms();
	bool is_over = c->shown.state != LOG_GOOD || c->is_signer_done;

	for (struct seal **at = &c->seals; *at != NULL;) {
		struct seal *s = *at;
		bool is_good = is_sealed_locked(c, s);
		if (!is_good && !is_over && now < s->until_ms) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		s->status = is_good ? KMS_OK : KMS_E_AUDIT;
		s->next = taken;
		taken = s;
	}
	return taken;
}

static void complete(struct seal *list)
{
	while (list != NULL) {
		struct seal *s = list;
		list = s->next;
		s->next = NULL;
		s->done(s);
	}
}

/* The smallest size that a quorum must still cosign for somebody; 0 = nobody waits for it. */
static uint64_t witness_need_locked(const struct checkpointer *c)
{
	uint64_t need = 0;

	if (c->witnesses == NULL)
		return 0; /* there are none yet, or none any more: seals that need them end in their time */
	for (const struct seal *s = c->seals; s != NULL; s = s->next) {
		if (needs_witnesses(c, s) && is_pinned_locked(c, s) && !is_sealed_locked(c, s) && (need == 0 || s->seq + 1 < need))
			need = s->seq + 1;
	}
	return need;
}

static void ask_witnesses(struct checkpointer *c, uint64_t need)
{
	struct kms_err err = { 0 };
	struct witnesses *witnesses = borrow_witnesses(c);
	bool is_witnessed;

	if (witnesses == NULL)
		return;
	is_witnessed = witnesses_wait(witnesses, need, WITNESS_SLICE_MS, &err) == KMS_OK;
	return_witnesses(c);
	pthread_mutex_lock(&c->lock);
	if (is_witnessed && need > c->witnessed_size)
		c->witnessed_size = need;
	pthread_mutex_unlock(&c->lock);
}

static int64_t heartbeat_due_locked(const struct checkpointer *c)
{
	if (c->shown.state != LOG_GOOD || c->is_stopping)
		return NEVER;
	return until_by_log_clock(c, c->last_leaf_us + (int64_t)c->cfg.heartbeat_s * US_PER_S);
}

static void write_heartbeat(struct checkpointer *c, uint64_t size)
{
	struct event_det det = { .name = "size", .is_number = true, .number = (int64_t)size };

	if (write_leaf(c, EVENT_LOG_HEARTBEAT, EVENT_OK, &det, 1))
		return;
	/* The log cannot be written: it says so itself, and this is no reason to fill its gap. */
	pthread_mutex_lock(&c->lock);
	c->last_leaf_us = clock_mono_us(c->kms->clock);
	pthread_mutex_unlock(&c->lock);
}

/* Has it become late, or good again, since somebody was told? */
static bool takes_turn_locked(struct checkpointer *c, enum log_state *ret_state)
{
	*ret_state = state_locked(c);
	if ((*ret_state == LOG_LATE) == c->is_late_known)
		return false;
	c->is_late_known = *ret_state == LOG_LATE;
	return true;
}

static void tell_lateness(enum log_state state, uint64_t size)
{
	if (state == LOG_LATE)
		log_event(LOG_ERROR, "log_late", LOG_I("size", size));
	else
		log_event(LOG_WARN, "log_on_time", LOG_I("size", size));
}

static int64_t next_look_locked(const struct checkpointer *c, int64_t heartbeat_ms)
{
	int64_t until = heartbeat_ms;

	if (c->unsigned_since_ms != 0 && !c->is_late_known && c->shown.state == LOG_GOOD)
		until = least(until, c->unsigned_since_ms + c->cfg.late_ms + 1);
	for (const struct seal *s = c->seals; s != NULL; s = s->next)
		until = least(until, s->until_ms);
	return until;
}

static void *keeper_main(void *arg)
{
	struct checkpointer *c = arg;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		struct seal *taken = take_seals_locked(c);
		uint64_t need = witness_need_locked(c), size = c->size;
		int64_t heartbeat_ms = heartbeat_due_locked(c);
		enum log_state state;
		bool is_turn = takes_turn_locked(c, &state);

		if (taken == NULL && need == 0 && heartbeat_ms > 0 && !is_turn) {
			if (c->is_signer_done)
				break;
			wait_locked(c, &c->time, next_look_locked(c, heartbeat_ms));
			continue;
		}
		pthread_mutex_unlock(&c->lock);
		complete(taken);
		if (is_turn)
			tell_lateness(state, size);
		if (need > 0)
			ask_witnesses(c, need);
		if (heartbeat_ms <= 0)
			write_heartbeat(c, size);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* Where the log stands, from the database. */
static kms_status load(struct checkpointer *c, struct kms_err *err)
{
	STORE_SIGNED_AUTO last = { 0 };
	struct log_pinned pinned;
	struct writer_state w;
	kms_status status = store_checkpoint_last(c->cfg.store, &last, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "the newest checkpoint");
	KMS_TRY(log_pinned_read(c->cfg.store, &pinned, err));
	writer_state(c->kms->writer, &w);
	c->shown.has_checkpoint = status == KMS_OK;
	c->shown.signed_size = last.size;
	c->shown.signed_us = last.signed_us;
	c->newest_us = last.signed_us;
	memcpy(c->signed_root, last.root, sizeof(c->signed_root));
	c->shown.pinned_size = pinned.size;
	c->size = w.size;
	c->last_leaf_us = clock_mono_us(c->kms->clock);
	c->unsigned_since_ms = w.size > last.size ? now_ms() : 0;
	return KMS_OK;
}

static void checkpointer_free(struct checkpointer *c)
{
	store_close(c->cfg.store);
	pthread_cond_destroy(&c->work);
	pthread_cond_destroy(&c->time);
	pthread_cond_destroy(&c->sealed);
	pthread_mutex_destroy(&c->reading);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static void tell_to_stop(struct checkpointer *c)
{
	pthread_mutex_lock(&c->lock);
	c->is_stopping = true;
	c->stop_ms = now_ms();
	pthread_cond_signal(&c->work);
	pthread_cond_signal(&c->time);
	pthread_mutex_unlock(&c->lock);
}

static kms_status start_threads(struct checkpointer *c, struct kms_err *err)
{
	int rc = pthread_create(&c->signer, NULL, signer_main, c);

	if (rc != 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, (unsigned long)rc, "signer thread");
	(void)pthread_setname_np(c->signer, "log-signer");
	rc = pthread_create(&c->keeper, NULL, keeper_main, c);
	if (rc != 0) {
		tell_to_stop(c);
		(void)pthread_join(c->signer, NULL);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, (unsigned long)rc, "keeper thread");
	}
	(void)pthread_setname_np(c->keeper, "log-keeper");
	return KMS_OK;
}

kms_status checkpointer_start(const struct checkpointer_config *cfg, struct checkpointer **ret, struct kms_err *err)
{
	struct checkpointer *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;
	kms_status status;

	if (c == NULL) {
		store_close(cfg->store);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "checkpointer");
	}
	c->cfg = *cfg;
	c->kms = cfg->kms;
	c->shown.verdict = *cfg->verdict;
	c->shown.state = cfg->verdict->state;
	c->cfg.verdict = NULL;
	pthread_mutex_init(&c->reading, NULL);
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->work, &attr);
	pthread_cond_init(&c->time, &attr);
	pthread_cond_init(&c->sealed, &attr);
	pthread_condattr_destroy(&attr);
	if (c->shown.state == LOG_ROLLED_BACK)
		raise_alarm(c, "rolled_back", c->shown.verdict.why);
	status = writer_on_commit(c->kms->writer, on_commit, c) ? load(c, err) : kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "too many follow the log");
	if (status == KMS_OK)
		status = start_threads(c, err);
	if (status != KMS_OK) {
		writer_off_commit(c->kms->writer, c);
		checkpointer_free(c);
		return status;
	}
	*ret = c;
	return KMS_OK;
}

/* @return false: the signer hangs */
static bool is_done_in_time(struct checkpointer *c)
{
	int64_t until_ms = now_ms() + STOP_MS;
	bool is_done;

	pthread_mutex_lock(&c->lock);
	while (!c->is_signer_done && now_ms() < until_ms)
		wait_locked(c, &c->sealed, until_ms);
	is_done = c->is_signer_done;
	pthread_mutex_unlock(&c->lock);
	return is_done;
}

void checkpointer_stop(struct checkpointer *c)
{
	if (c == NULL)
		return;
	tell_to_stop(c);
	if (!is_done_in_time(c)) {
		/* It hangs in the device, and nothing can end that call; what is acknowledged is on disk. */
		log_event(LOG_ERROR, "hsm_hangs_at_stop");
		_exit(EXIT_FAILURE);
	}
	(void)pthread_join(c->signer, NULL);
	(void)pthread_join(c->keeper, NULL);
	writer_off_commit(c->kms->writer, c);
	checkpointer_free(c);
}

static void add_seal(struct checkpointer *c, struct seal *s, int64_t wait_ms)
{
	pthread_mutex_lock(&c->lock);
	s->until_ms = now_ms() + wait_ms;
	s->next = c->seals;
	c->seals = s;
	if (s->seq + 1 > c->seal_size)
		c->seal_size = s->seq + 1;
	if (s->is_critical && s->seq + 1 > c->pin_size)
		c->pin_size = s->seq + 1;
	pthread_cond_signal(&c->work);
	pthread_cond_signal(&c->time);
	pthread_mutex_unlock(&c->lock);
}

static int64_t answers_wait_ms(const struct checkpointer *c, const struct seal *s) { return (int64_t)c->cfg.late_ms + (needs_witnesses(c, s) ? WITNESSES_MS : 0); }

void log_seal_async(struct checkpointer *c, struct seal *s)
{
	if (c == NULL) {
		s->status = KMS_OK;
		s->done(s);
		return;
	}
	add_seal(c, s, answers_wait_ms(c, s));
}

/* Somebody waits in log_seal(); on that thread's stack. */
struct waiting_seal {
	struct seal seal;
	struct checkpointer *c;
	bool is_done;
};

static void end_wait(struct seal *s)
{
	struct waiting_seal *w = (struct waiting_seal *)(void *)((char *)s - offsetof(struct waiting_seal, seal));
	struct checkpointer *c = w->c;

	pthread_mutex_lock(&c->lock);
	w->is_done = true; /* w may be gone from here on */
	pthread_cond_broadcast(&c->sealed);
	pthread_mutex_unlock(&c->lock);
}

kms_status log_seal(struct checkpointer *c, uint64_t seq, unsigned timeout_ms, struct kms_err *err)
{
	struct waiting_seal w = { .seal = { .seq = seq, .done = end_wait, .is_critical = true }, .c = c };

	if (c == NULL)
		return KMS_OK;
	add_seal(c, &w.seal, timeout_ms != 0 ? timeout_ms : answers_wait_ms(c, &w.seal));
	pthread_mutex_lock(&c->lock);
	while (!w.is_done)
		pthread_cond_wait(&c->sealed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	return w.seal.status == KMS_OK ? KMS_OK : kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "no checkpoint covers leaf %" PRIu64 " in time", seq);
}

bool log_is_critical(enum event_type type)
{
	switch (type) { /* allowed: the others wait for the next checkpoint */
	case EVENT_TENANT_SHRED:
	case EVENT_TENANT_ROTATE_ROOT:
	case EVENT_KEY_DESTROY:
	case EVENT_KEY_PURGE:
	case EVENT_KEY_BACKUP:
	case EVENT_KEY_RESTORE:
	case EVENT_BACKUP_EPOCH_END:
	case EVENT_NODE_BACKUP:
	case EVENT_LOG_KEY_ROTATED: return true;
	default: return false;
	}
}

bool log_is_strict(const struct checkpointer *c) { return c != NULL && c->cfg.is_strict; }

void log_status(struct checkpointer *c, struct log_status *ret)
{
	*ret = (struct log_status){ .state = LOG_GOOD };
	if (c == NULL)
		return;
	pthread_mutex_lock(&c->lock);
	*ret = c->shown;
	ret->state = state_locked(c);
	ret->is_held = c->holds > 0;
	ret->oldest_unsigned_ms = c->unsigned_since_ms != 0 ? now_ms() - c->unsigned_since_ms : 0;
	pthread_mutex_unlock(&c->lock);
}

enum log_state log_state(struct checkpointer *c)
{
	enum log_state state;

	if (c == NULL)
		return LOG_GOOD;
	pthread_mutex_lock(&c->lock);
	state = state_locked(c);
	pthread_mutex_unlock(&c->lock);
	return state;
}

static void change_holds(struct checkpointer *c, int by)
{
	if (c == NULL)
		return;
	pthread_mutex_lock(&c->lock);
	assert(by > 0 || c->holds > 0);
	c->holds = (unsigned)((int)c->holds + by);
	pthread_cond_signal(&c->time);
	pthread_mutex_unlock(&c->lock);
}

void log_hold(struct checkpointer *c) { change_holds(c, 1); }
void log_let_go(struct checkpointer *c) { change_holds(c, -1); }

kms_status log_newest(struct checkpointer *c, struct store *store, struct store_signed *ret, struct kms_err *err)
{
	(void)c; /* what is stored is what may be shown */
	return store_checkpoint_last(store, ret, err);
}

static void note_free(char **note) { free(*note); }

static kms_status cosign(struct checkpointer *c, uint64_t size, const char *lines, struct kms_err *err)
{
	STORE_SIGNED_AUTO found = { 0 };
	struct store_change change = { .kind = STORE_CHECKPOINT_COSIGN, .checkpoint = { .size = size } };
	struct write unit = { .changes = &change, .change_count = 1 };

	KMS_TRY(store_checkpoint_of(c->cfg.store, size, &found, err));
	__attribute__((cleanup(note_free))) char *note = note_append_lines(found.note, lines);
	if (note == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "cosignatures");
	if (strlen(note) > STORE_NOTE_MAX)
		return kms_fail(err, KMS_E_TOO_LARGE, KMS_SRC_SELF, 0, "the checkpoint of %" PRIu64 " leaves has too many cosignatures", size);
	if (strcmp(note, found.note) == 0)
		return KMS_OK;
	change.checkpoint.note = note;
	if (writer_write(c->kms->writer, &unit) != KMS_OK)
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the cosignatures could not be stored");
	return KMS_OK;
}

kms_status log_add_cosignatures(struct checkpointer *c, uint64_t size, const char *lines, struct kms_err *err)
{
	kms_status status;

	/* Held over the write: two witnesses' lines must not overwrite each other. */
	pthread_mutex_lock(&c->reading);
	status = cosign(c, size, lines, err);
	pthread_mutex_unlock(&c->reading);
	if (status != KMS_OK)
		return status;
	pthread_mutex_lock(&c->lock);
	pthread_cond_signal(&c->time);
	pthread_mutex_unlock(&c->lock);
	return KMS_OK;
}

void log_report_rollback(struct checkpointer *c, const char *who, uint64_t known_size, const uint8_t *known_root)
{
	char why[256];

	(void)snprintf(why, sizeof(why), "%.100s knows a checkpoint of %" PRIu64 " leaves that this log does not extend: it was rolled back, or it is not the only one", who,
	               known_size);
	set_rolled_back(c, known_size, known_root, why);
}
