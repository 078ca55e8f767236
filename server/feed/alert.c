/*
 * server/feed/alert.c - the evaluator: counts leaves for the rules, and writes an alert for what is too much.
 * Guards: an alert is raised once. What was counted is made again at the start from the leaves before the cursor; whom was told of, from the alerts among the
 * leaves, of which the newest may stand behind it. A leaf that is seen twice is counted once.
 */
#include "server/feed/alert.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/core/checkpoint.h"
#include "server/feed/alert_parts.h"

#define CURSOR "alerts"
#define CURSOR_EVERY_US ALERT_US_PER_S
#define IDLE_MS 500
#define WARM_LEAVES_MAX 200000 /* read again at the start, at most */
#define VAULT_EVERY_US ALERT_US_PER_S
#define FIRST_PAGES_MAX 8

/* Which vault a rule's name means; one may be shredded and made anew. */
struct rule_vault {
	bool is_known;
	uint8_t id[STORE_ID_LEN];
	int64_t asked_us; /* monotonic */
};

struct alerts {
	struct alerts_config cfg;
	struct alert_rule rules[ALERT_RULES_MAX];
	struct alert_channel channels[ALERT_CHANNELS_MAX];
	struct feed *feed;
	struct alert_sender *senders[ALERT_CHANNELS_MAX];
	size_t sender_count;

	/* The feed's thread. */
	struct feed *self; /* as `feed`, which feed_start() sets while this thread runs */
	struct query *query;
	struct prune_cover cover;
	struct window_table *windows;
	struct rule_vault vaults[ALERT_RULES_MAX];
	bool is_warm;
	uint64_t pos;     /* through with all leaves below */
	uint64_t counted; /* these are in the windows */
	uint64_t stored;  /* the cursor in the database */
	int64_t stored_us; /* monotonic, when it was last tried */
};

static const struct clock *clock_of(const struct alerts *a) { return a->cfg.kms->clock; }

/* ---- raising ---- */

/* The cursor stays at the leaf that it was raised for: other rules may not have seen it yet. */
static kms_status raise(struct alerts *a, const struct alert_rule *r, const struct alert_subject *s, uint64_t count, uint64_t seq, struct kms_err *err)
{
	struct event_det det[6] = { { .name = "rule" }, { .name = "kind" }, { .name = "subject" }, { .name = "count", .is_number = true, .number = (int64_t)count },
		                    { .name = "seq", .is_number = true, .number = (int64_t)seq }, { .name = "vault" } };
	struct store_change change = { .kind = STORE_CURSOR_SET, .cursor = { .name = CURSOR, .seq = seq } };
	struct write unit = { .event = { .type = EVENT_ALERT, .actor = EVENT_ACTOR_SYSTEM, .det = det, .det_count = s->has_vault ? 6 : 5 },
		              .changes = &change, .change_count = 1 };
	kms_status status;

	(void)snprintf(det[0].text, sizeof(det[0].text), "%s", r->name);
	(void)snprintf(det[1].text, sizeof(det[1].text), "%s", alert_kind_name(r->kind));
	(void)snprintf(det[2].text, sizeof(det[2].text), "%s", s->text);
	if (s->has_vault)
		guid_format(s->vault, det[5].text);
	status = writer_write(a->cfg.kms->writer, &unit);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "alert of rule %s cannot be written", r->name);
	a->stored = seq;
	log_event(LOG_WARN, "alert", LOG_S("rule", r->name), LOG_S("kind", alert_kind_name(r->kind)), LOG_S("subject", s->text), LOG_I("count", count),
	          LOG_I("seq", seq));
	return KMS_OK;
}

/* ---- addresses ---- */

static bool keep_seq(void *arg, const struct leaf *l)
{
	*(uint64_t *)arg = l->seq;
	return false;
}

/* Whoever comes for the first time at all has no address that another one could differ from. */
static kms_status was_here_before(struct alerts *a, const struct leaf *l, bool *ret_was, struct kms_err *err)
{
	struct query_filter f = { .has_pid = true, .limit = 1 };
	struct query_end end = { .has_more = true };
	uint64_t first = UINT64_MAX;

	memcpy(f.pid, l->pid, sizeof(f.pid));
	for (int page = 0; page < FIRST_PAGES_MAX && first == UINT64_MAX && end.has_more; page++) {
		KMS_TRY(query_run(a->query, feed_store(a->self), &f, keep_seq, &first, &end, err));
		f.has_cursor = true;
		f.cursor = end.cursor;
	}
	*ret_was = first < l->seq;
	return KMS_OK;
}

static kms_status is_new_address(struct alerts *a, const struct window *w, const struct leaf *l, bool *ret_new, struct kms_err *err)
{
	bool known = true, was_here = false;

	*ret_new = false;
	if (w->slice != INT64_MIN || w->raised_us != STORE_NO_TIME)
		return KMS_OK;
	KMS_TRY(query_knows_peer(a->query, feed_store(a->self), l->pid, l->peer, l->seq, &known, err));
	if (!known)
		KMS_TRY(was_here_before(a, l, &was_here, err));
	*ret_new = was_here;
	return KMS_OK;
}

/* ---- one leaf ---- */

static kms_status is_of_vault(struct alerts *a, size_t rule, const struct leaf *l, bool *ret_is, struct kms_err *err)
{
	struct rule_vault *v = &a->vaults[rule];
	struct store_vault vault;
	int64_t now = clock_mono_us(clock_of(a));

	*ret_is = a->cfg.rules[rule].vault == NULL;
	if (*ret_is || !l->has_tenant)
		return KMS_OK;
	if (v->asked_us == 0 || now - v->asked_us >= VAULT_EVERY_US) {
		kms_status status = store_vault_by_name(feed_store(a->self), a->cfg.rules[rule].vault, &vault, err);
		if (status != KMS_OK && status != KMS_E_NOTFOUND)
			return status;
		v->is_known = status == KMS_OK;
		if (v->is_known)
			memcpy(v->id, vault.id, sizeof(v->id));
		v->asked_us = now;
	}
	*ret_is = v->is_known && memcmp(v->id, l->tenant, STORE_ID_LEN) == 0; /* allowed: ids are public */
	return KMS_OK;
}

/* @param fires  false: only counted */
static kms_status look(struct alerts *a, size_t rule, const struct leaf *l, bool fires, struct kms_err *err)
{
	const struct alert_rule *r = &a->cfg.rules[rule];
	struct alert_subject s;
	uint8_t key[WINDOW_KEY_LEN];
	struct window *w;
	uint64_t count = 0;
	bool is_due = false, is_of = false;

	if (!alert_matches(r, l, a->cfg.kms->node, &s))
		return KMS_OK;
	KMS_TRY(is_of_vault(a, rule, l, &is_of, err));
	if (!is_of)
		return KMS_OK;
	alert_key(r, &s, key);
	w = window_get(a->windows, key);
	if (r->kind == ALERT_NEW_ADDRESS && fires) {
		KMS_TRY(is_new_address(a, w, l, &is_due, err));
		count = l->count;
	}
	if (l->seq >= a->counted && !is_due)
		window_count(w, l->ts_us, r->window_s, l->count, r->factor > 0);
	if (r->kind != ALERT_NEW_ADDRESS)
		is_due = fires && alert_is_due(r, w, l->ts_us, &count);
	if (!is_due)
		return KMS_OK;
	KMS_TRY(raise(a, r, &s, count, l->seq, err));
	w->raised_us = l->ts_us;
	return KMS_OK;
}

/* ---- the start: what was counted, and whom was told of ---- */

static const struct alert_rule *rule_named(const struct alerts *a, const char *name)
{
	for (size_t i = 0; name != NULL && i < a->cfg.rule_count; i++)
		if (strcmp(a->cfg.rules[i].name, name) == 0)
			return &a->cfg.rules[i];
	return NULL;
}

/* Rules go by their names, so that an alert is known again after the configuration has changed. */
static void remember(struct alerts *a, const struct leaf *l)
{
	const struct alert_rule *r = rule_named(a, leaf_det_text(l, "rule"));
	const char *subject = leaf_det_text(l, "subject"), *vault = leaf_det_text(l, "vault");
	struct alert_subject s = { 0 };
	uint8_t key[WINDOW_KEY_LEN];
	int64_t seq = leaf_det_number(l, "seq");
	struct store_event cause = { 0 };

	if (l->is_pruned || r == NULL || subject == NULL || seq < 0)
		return;
	(void)snprintf(s.text, sizeof(s.text), "%s", subject);
	s.has_vault = vault != NULL && guid_parse(vault, strlen(vault), s.vault);
	alert_key(r, &s, key);
	window_get(a->windows, key)->raised_us = l->ts_us;
	/* From the leaf that it was raised for; one that is gone is close enough to the alert. */
	if (store_event(feed_store(a->self), (uint64_t)seq, &cause, NULL) == KMS_OK)
		window_get(a->windows, key)->raised_us = cause.ts_us;
	store_event_clear(&cause);
}

static kms_status ts_of(struct alerts *a, uint64_t seq, int64_t *ret_us, struct kms_err *err)
{
	struct store_event e = { 0 };

	KMS_TRY(store_event(feed_store(a->self), seq, &e, err));
	*ret_us = e.ts_us;
	store_event_clear(&e);
	return KMS_OK;
}

/* The first leaf that is not older than the longest window before the cursor. */
static kms_status find_first(struct alerts *a, uint64_t size, uint64_t *ret_first, struct kms_err *err)
{
	uint64_t low = a->pos > WARM_LEAVES_MAX ? a->pos - WARM_LEAVES_MAX : 0, high = a->pos;
	int64_t memory_s = 0, from_us = 0, ts_us = 0;

	*ret_first = high;
	if (high == 0 || high > size)
		return KMS_OK;
	for (size_t i = 0; i < a->cfg.rule_count; i++)
		if (alert_memory_s(&a->cfg.rules[i]) > memory_s)
			memory_s = alert_memory_s(&a->cfg.rules[i]);
	KMS_TRY(ts_of(a, high - 1, &from_us, err));
	from_us -= memory_s * ALERT_US_PER_S;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		KMS_TRY(ts_of(a, middle, &ts_us, err));
		if (ts_us < from_us)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_first = low;
	return KMS_OK;
}

static kms_status read_again(struct alerts *a, uint64_t seq, bool only_alerts, struct kms_err *err)
{
	struct store_event e = { 0 };
	LEAF_AUTO l = { 0 };
	kms_status status = store_event(feed_store(a->self), seq, &e, err);

	if (status == KMS_OK)
		status = leaf_load(a->cfg.kms, feed_store(a->self), &e, &a->cover, &l, err);
	store_event_clear(&e);
	KMS_TRY(status);
	if (l.type == EVENT_ALERT)
		remember(a, &l);
	for (size_t i = 0; !only_alerts && i < a->cfg.rule_count; i++)
		KMS_TRY(look(a, i, &l, false, err));
	return KMS_OK;
}

/* Nothing fires here. Behind the cursor there may be alerts for what stands before it, or at it. */
static kms_status warm_up(struct alerts *a, struct kms_err *err)
{
	struct writer_state now;
	uint64_t first, end;

	writer_state(a->cfg.kms->writer, &now);
	KMS_TRY(find_first(a, now.size, &first, err));
	end = now.size - a->pos > WARM_LEAVES_MAX ? a->pos + WARM_LEAVES_MAX : now.size;
	a->counted = 0;
	for (uint64_t seq = first; seq < end && !feed_is_stopping(a->self); seq++)
		KMS_TRY(read_again(a, seq, seq >= a->pos, err));
	a->counted = a->pos;
	a->is_warm = true;
	return KMS_OK;
}

static kms_status be_warm(struct alerts *a, struct feed *f, struct kms_err *err)
{
	a->self = f;
	if (a->is_warm)
		return KMS_OK;
	window_table_free(a->windows);
	a->windows = window_table_new(WINDOW_SUBJECTS_MAX);
	if (a->windows == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "windows of alerts");
	return warm_up(a, err);
}

/* ---- the feed ---- */

static kms_status take(void *arg, struct feed *f, const struct leaf *leaves, size_t count, struct kms_err *err)
{
	struct alerts *a = arg;

	KMS_TRY(be_warm(a, f, err));
	for (size_t i = 0; i < count; i++) {
		if (leaves[i].seq < a->pos)
			continue;
		for (size_t r = 0; r < a->cfg.rule_count; r++)
			KMS_TRY(look(a, r, &leaves[i], true, err));
		a->pos = a->counted = leaves[i].seq + 1;
	}
	return KMS_OK;
}

static uint64_t settled(void *arg) { return ((const struct alerts *)arg)->pos; }

/* No leaf tells of checkpoints that do not come. */
static kms_status look_at_log(struct alerts *a, const struct alert_rule *r, struct kms_err *err)
{
	struct alert_subject s = { 0 };
	struct log_status now;
	uint8_t key[WINDOW_KEY_LEN];
	struct window *w;
	uint64_t count = 0;
	int64_t now_us = clock_wall_us(clock_of(a));

	log_status(a->cfg.kms->log, &now);
	if (r->kind != ALERT_LOG_LATE || now.oldest_unsigned_ms < (int64_t)r->late_s * 1000)
		return KMS_OK;
	(void)snprintf(s.text, sizeof(s.text), "%s", a->cfg.kms->node);
	alert_key(r, &s, key);
	w = window_get(a->windows, key);
	if (w->raised_us != STORE_NO_TIME && now_us - w->raised_us < (int64_t)r->window_s * ALERT_US_PER_S)
		return KMS_OK;
	count = (uint64_t)now.oldest_unsigned_ms / 1000;
	KMS_TRY(raise(a, r, &s, count, a->pos, err));
	w->raised_us = now_us;
	return KMS_OK;
}

static void store_pos(struct alerts *a)
{
	struct store_change change = { .kind = STORE_CURSOR_SET, .cursor = { .name = CURSOR, .seq = a->pos } };
	struct write unit = { .changes = &change, .change_count = 1 };

	/* A failure is the writer's, which says so itself. */
	if (writer_write(a->cfg.kms->writer, &unit) == KMS_OK)
		a->stored = a->pos;
	a->stored_us = clock_mono_us(clock_of(a));
}

static kms_status idle(void *arg, struct feed *f, struct kms_err *err)
{
	struct alerts *a = arg;

	KMS_TRY(be_warm(a, f, err));
	for (size_t i = 0; i < a->cfg.rule_count; i++)
		KMS_TRY(look_at_log(a, &a->cfg.rules[i], err));
	if (a->stored != a->pos && clock_mono_us(clock_of(a)) - a->stored_us >= CURSOR_EVERY_US)
		store_pos(a);
	return KMS_OK;
}

static const struct feed_ops EVALUATOR = { .take = take, .settled = settled, .idle = idle };

/* ---- start and stop ---- */

/* One that never ran begins with what comes; one whose log is another by now, at its start. */
static kms_status find_pos(struct alerts *a, struct kms_err *err)
{
	struct writer_state now;
	struct store *store = NULL;
	kms_status status;

	writer_state(a->cfg.kms->writer, &now);
	KMS_TRY(a->cfg.open_store(a->cfg.open_arg, &store, err));
	status = store_cursor(store, CURSOR, &a->stored, err);
	store_close(store);
	KMS_TRY(status);
	a->pos = a->stored == 0 ? now.size : a->stored;
	if (a->pos > now.size)
		a->pos = 0;
	return KMS_OK;
}

static kms_status start_evaluator(struct alerts *a, struct kms_err *err)
{
	const struct feed_config cfg = { .name = CURSOR, .kms = a->cfg.kms, .open_store = a->cfg.open_store, .open_arg = a->cfg.open_arg, .ops = &EVALUATOR,
		                         .arg = a, .idle_ms = IDLE_MS, .keeps_cursor = true };

	KMS_TRY(find_pos(a, err));
	KMS_TRY(query_open(a->cfg.kms, a->cfg.indexer, &a->query, err));
	return feed_start(&cfg, &a->feed, err);
}

kms_status alerts_start(const struct alerts_config *cfg, struct alerts **ret, struct kms_err *err)
{
	struct alerts *a = calloc(1, sizeof(*a));
	kms_status status = KMS_OK;

	assert(cfg->rule_count <= ALERT_RULES_MAX && cfg->channel_count <= ALERT_CHANNELS_MAX);
	if (a == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "alerts");
	a->cfg = *cfg;
	for (size_t i = 0; i < cfg->rule_count; i++)
		a->rules[i] = cfg->rules[i];
	for (size_t i = 0; i < cfg->channel_count; i++)
		a->channels[i] = cfg->channels[i];
	a->cfg.rules = a->rules;
	a->cfg.channels = a->channels;
	for (size_t i = 0; status == KMS_OK && i < cfg->channel_count; i++) {
		status = alert_sender_start(&a->cfg, &a->channels[i], &a->senders[i], err);
		a->sender_count += status == KMS_OK;
	}
	if (status == KMS_OK)
		status = start_evaluator(a, err);
	if (status != KMS_OK) {
		alerts_stop(a);
		return status;
	}
	*ret = a;
	return KMS_OK;
}

size_t alerts_state(struct alerts *a, struct feed_state ret[1 + ALERT_CHANNELS_MAX])
{
	feed_state(a->feed, &ret[0]);
	for (size_t i = 0; i < a->sender_count; i++)
		alert_sender_state(a->senders[i], &ret[1 + i]);
	return 1 + a->sender_count;
}

void alerts_tell_to_stop(struct alerts *a)
{
	if (a == NULL)
		return;
	feed_tell_to_stop(a->feed);
	for (size_t i = 0; i < a->sender_count; i++)
		alert_sender_tell_to_stop(a->senders[i]);
}

void alerts_stop(struct alerts *a)
{
	if (a == NULL)
		return;
	alerts_tell_to_stop(a);
	feed_stop(a->feed);
	if (a->stored != a->pos && a->feed != NULL)
		store_pos(a);
	for (size_t i = 0; i < a->sender_count; i++)
		alert_sender_stop(a->senders[i]);
	if (a->query != NULL)
		query_close(a->query);
	window_table_free(a->windows);
	free(a);
}
