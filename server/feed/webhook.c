/*
 * server/feed/webhook.c - who is subscribed, and the feed that makes deliveries of leaves. Guards: a delivery is written in one unit with the feed's place in
 * the log, so that none is lost and none is made twice; and no queue grows without end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/feed/webhook_parts.h"

#define FEED_NAME "webhooks"
#define IDLE_MS 1000
#define LOAD_PAGE 64
#define UNIT_MAX 64 /* changes in one unit, at most; more than a leaf has subscribers */

_Static_assert(UNIT_MAX > 2 * STORE_WEBHOOKS_MAX, "a leaf's deliveries and the cursor fit into a unit");

bool webhooks_may_send_to(const struct webhooks *w, const char *url)
{
	return w != NULL && w->cfg.host_count > 0 && post_url_is_good(url, w->cfg.hosts, w->cfg.host_count);
}

/* ---- which leaves are events ---- */

/* What of "authz.policy" changes who may do something: a new principal, group or role gives nobody anything yet. */
static bool changes_access(const struct leaf *l)
{
	static const char *const GIVES_NOTHING[] = { "principal_create", "group_create", "role_define" };
	const char *act = leaf_det_text(l, "act");

	for (size_t i = 0; i < KMS_ARRAY_LEN(GIVES_NOTHING); i++)
		if (act == NULL || strcmp(act, GIVES_NOTHING[i]) == 0)
			return false;
	return true;
}

uint32_t webhook_event_of(const struct leaf *l)
{
	static const struct {
		enum event_type type;
		uint32_t event;
	} EVENTS[] = {
		{ EVENT_KEY_CREATE, WEBHOOK_KEY_NEW_VERSION },      { EVENT_KEY_IMPORT, WEBHOOK_KEY_NEW_VERSION },   { EVENT_KEY_ROTATE, WEBHOOK_KEY_NEW_VERSION },
		{ EVENT_KEY_RESTORE, WEBHOOK_KEY_NEW_VERSION },     { EVENT_KEY_NEAR_EXPIRY, WEBHOOK_KEY_NEAR_EXPIRY }, { EVENT_KEY_EXPIRE, WEBHOOK_KEY_EXPIRED },
		{ EVENT_ROLE_GRANT, WEBHOOK_ACCESS_CHANGED },       { EVENT_ROLE_REVOKE, WEBHOOK_ACCESS_CHANGED },   { EVENT_PRINCIPAL, WEBHOOK_ACCESS_CHANGED },
	};

	if (l->is_pruned || l->phase == EVENT_INTENT || l->result != EVENT_OK || !l->has_tenant)
		return 0;
	if (l->type == EVENT_PRINCIPAL && !changes_access(l))
		return 0;
	for (size_t i = 0; i < KMS_ARRAY_LEN(EVENTS); i++)
		if (EVENTS[i].type == l->type)
			return EVENTS[i].event == WEBHOOK_ACCESS_CHANGED || l->key_name[0] != '\0' ? EVENTS[i].event : 0;
	return 0;
}

/* ---- who is subscribed ---- */

/* As the vault's subscriptions are now. One that was made later than the leaf that is looked at says so itself (from_seq). */
static kms_status reload(struct webhooks *w, struct store *store, const uint8_t vault_id[STORE_ID_LEN], struct kms_err *err)
{
	struct store_webhook rows[STORE_WEBHOOKS_MAX];
	size_t count = 0;
	kms_status status;

	KMS_TRY(store_webhooks(store, vault_id, NULL, rows, STORE_WEBHOOKS_MAX, &count, err));
	pthread_mutex_lock(&w->lock);
	status = webhook_replace_locked(w, vault_id, rows, count, webhook_now_ms(), err);
	pthread_mutex_unlock(&w->lock);
	return status;
}

/* All of them, at the start. @param ret_from  the first leaf that is anybody's business; UINT64_MAX = nobody's */
static kms_status load_all(struct webhooks *w, struct store *store, uint64_t *ret_from, struct kms_err *err)
{
	struct store_webhook page[LOAD_PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0;

	*ret_from = UINT64_MAX;
	do {
		KMS_TRY(store_webhooks(store, NULL, cursor, page, LOAD_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			KMS_TRY(reload(w, store, page[i].vault_id, err));
			if (page[i].from_seq < *ret_from)
				*ret_from = page[i].from_seq;
		}
		if (count > 0)
			memcpy(after, page[count - 1].id, STORE_ID_LEN);
		cursor = after;
	} while (count == LOAD_PAGE);
	return KMS_OK;
}

/* ---- from leaves to deliveries ---- */

/* Deliveries that are written together with the place in the log that they lead to. */
struct making {
	struct webhooks *w;
	size_t count;  /* of w->changes */
	uint64_t next; /* leaves before are in it */
};

static void deliver_to(struct making *m, const struct webhook_sub *s, const struct leaf *l, uint32_t event)
{
	struct store_change *c = &m->w->changes[m->count++];
	struct store_delivery *d = &c->delivery;

	memset(c, 0, sizeof(*c));
	c->kind = STORE_DELIVERY_ADD;
	memcpy(d->webhook_id, s->id, STORE_ID_LEN);
	d->seq = l->seq;
	d->event = event;
	d->state = STORE_DELIVERY_WAITING;
	if (event != WEBHOOK_ACCESS_CHANGED) {
		(void)hex_decode(l->key_version, strlen(l->key_version), d->version_id, STORE_ID_LEN); /* stays zero where the leaf names none */
		(void)snprintf(d->key_name, sizeof(d->key_name), "%s", l->key_name);
	}
	d->event_us = l->ts_us;
	memcpy(d->event_id, l->id, STORE_ID_LEN);
	d->created_s = clock_wall_s(m->w->cfg.kms->clock);
}

static kms_status write_made(struct making *m, struct kms_err *err)
{
	struct webhooks *w = m->w;
	struct write unit = { .changes = w->changes };
	struct store_change *c = &w->changes[m->count];
	kms_status status;

	if (m->count == 0)
		return KMS_OK;
	memset(c, 0, sizeof(*c));
	c->kind = STORE_CURSOR_SET;
	memcpy(c->cursor.name, FEED_NAME, sizeof(FEED_NAME));
	c->cursor.seq = m->next;
	unit.change_count = m->count + 1;
	m->count = 0;
	status = writer_write(w->cfg.kms->writer, &unit);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "deliveries of webhooks were not written");
}

static kms_status take_leaf(struct making *m, struct store *store, const struct leaf *l, struct kms_err *err)
{
	struct webhooks *w = m->w;
	uint32_t event = webhook_event_of(l);
	size_t end = 0;

	if (l->has_tenant && l->phase != EVENT_INTENT && (l->type == EVENT_WEBHOOK || l->type == EVENT_TENANT_SHRED))
		KMS_TRY(reload(w, store, l->tenant, err));
	if (event != 0) {
		pthread_mutex_lock(&w->lock);
		for (size_t i = webhook_find_vault_locked(w, l->tenant, &end); i < end; i++)
			if ((w->subs[i].events & event) != 0 && w->subs[i].from_seq <= l->seq && w->subs[i].state != STORE_WEBHOOK_REFUSED) {
				deliver_to(m, &w->subs[i], l, event);
				w->subs[i].unseen++;
			}
		pthread_mutex_unlock(&w->lock);
	}
	m->next = l->seq + 1;
	return m->count >= UNIT_MAX - STORE_WEBHOOKS_MAX - 1 ? write_made(m, err) : KMS_OK;
}

/* ---- no queue grows without end ---- */

/* The oldest of this state beyond `most`: of those that wait it is said that they were given up, of those given up that they are gone. */
static kms_status cut_queue(struct webhooks *w, struct store *store, const uint8_t id[STORE_ID_LEN], enum store_delivery_state state, uint64_t most,
                            uint64_t *ret_cut, struct kms_err *err)
{
	uint64_t count = 0;

	KMS_TRY(store_delivery_count(store, id, state, &count, err));
	for (*ret_cut = 0; count > most;) {
		struct store_delivery rows[UNIT_MAX];
		struct write unit = { .changes = w->changes };
		size_t got = 0;
		KMS_TRY(store_deliveries(store, id, state, UINT64_MAX, rows, count - most < UNIT_MAX ? (size_t)(count - most) : UNIT_MAX, &got, err));
		if (got == 0)
			break;
		for (size_t i = 0; i < got; i++) {
			struct store_change *c = &w->changes[i];
			memset(c, 0, sizeof(*c));
			c->kind = state == STORE_DELIVERY_WAITING ? STORE_DELIVERY_SET : STORE_DELIVERY_REMOVE;
			c->delivery = rows[i];
			c->delivery.state = STORE_DELIVERY_DEAD;
			if (c->delivery.failure[0] == '\0')
				(void)snprintf(c->delivery.failure, sizeof(c->delivery.failure), "more than %u events were waiting", w->cfg.waiting_max);
		}
		unit.change_count = got;
		if (writer_write(w->cfg.kms->writer, &unit) != KMS_OK)
			return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "a queue of webhooks was not cut");
		count -= got;
		*ret_cut += got;
	}
	return KMS_OK;
}

static void say_cut(const char *event, const uint8_t id[STORE_ID_LEN], uint64_t count)
{
	char text[GUID_TEXT_LEN + 1];

	guid_format(id, text);
	if (count > 0)
		log_event(LOG_WARN, event, LOG_S("webhook", text), LOG_I("events", count));
}

static kms_status bound_queue(struct webhooks *w, struct store *store, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	uint64_t given_up = 0, dropped = 0;

	KMS_TRY(cut_queue(w, store, id, STORE_DELIVERY_WAITING, w->cfg.waiting_max, &given_up, err));
	KMS_TRY(cut_queue(w, store, id, STORE_DELIVERY_DEAD, WEBHOOK_DEAD_MAX, &dropped, err));
	say_cut("webhook_events_given_up", id, given_up);
	say_cut("webhook_dead_letters_dropped", id, dropped);
	return KMS_OK;
}

/* The subscriptions that got something: their senders begin, and their queues are measured now and then. */
static kms_status tell_vault(struct webhooks *w, struct store *store, const uint8_t vault_id[STORE_ID_LEN], uint32_t events, struct kms_err *err)
{
	uint8_t ids[STORE_WEBHOOKS_MAX][STORE_ID_LEN];
	int64_t now_ms = webhook_now_ms();
	size_t count = 0, end = 0;

	pthread_mutex_lock(&w->lock);
	for (size_t i = webhook_find_vault_locked(w, vault_id, &end); i < end; i++) {
		struct webhook_sub *s = &w->subs[i];
		if ((s->events & events) == 0)
			continue;
		if (s->unseen >= WEBHOOK_QUEUE_LOOK) {
			memcpy(ids[count++], s->id, STORE_ID_LEN);
			s->unseen = 0;
		}
		s->is_woken = s->is_busy;
		if (s->due_ms == WEBHOOK_NEVER) /* else its turn comes anyway, or it waits before it tries again */
			s->due_ms = now_ms;
	}
	pthread_cond_broadcast(&w->work);
	pthread_mutex_unlock(&w->lock);
	for (size_t i = 0; i < count; i++)
		KMS_TRY(bound_queue(w, store, ids[i], err));
	return KMS_OK;
}

static kms_status take(void *arg, struct feed *f, const struct leaf *leaves, size_t count, struct kms_err *err)
{
	struct making m = { .w = arg };

	for (size_t i = 0; i < count; i++)
		KMS_TRY(take_leaf(&m, feed_store(f), &leaves[i], err));
	KMS_TRY(write_made(&m, err));
	for (size_t i = 0; i < count; i++) {
		uint32_t event = webhook_event_of(&leaves[i]);
		bool is_last = true; /* of its vault: each is told once */
		for (size_t k = i + 1; event != 0 && is_last && k < count; k++)
			is_last = webhook_event_of(&leaves[k]) != event || memcmp(leaves[k].tenant, leaves[i].tenant, STORE_ID_LEN) != 0; /* allowed: ids are public */
		if (event != 0 && is_last)
			KMS_TRY(tell_vault(arg, feed_store(f), leaves[i].tenant, event, err));
	}
	return KMS_OK;
}

/* ---- start and stop ---- */

static const struct feed_ops OPS = { .take = take };

/* Leaves from before the first subscription, or from a time when nobody was subscribed, need not be read. Written down, since what comes from now on must not be
 * passed over after a crash. */
static kms_status find_place(struct webhooks *w, struct store *store, uint64_t from, struct kms_err *err)
{
	struct store_change change = { .kind = STORE_CURSOR_SET, .cursor = { .name = FEED_NAME } };
	struct write unit = { .changes = &change, .change_count = 1 };
	struct writer_state state;
	uint64_t place = 0;

	writer_state(w->cfg.kms->writer, &state);
	KMS_TRY(store_cursor(store, FEED_NAME, &place, err));
	change.cursor.seq = from < state.size ? from : state.size;
	if (place >= change.cursor.seq)
		return KMS_OK;
	if (writer_write(w->cfg.kms->writer, &unit) != KMS_OK)
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the webhooks' place in the log was not written");
	return KMS_OK;
}

static kms_status begin(struct webhooks *w, struct kms_err *err)
{
	const struct feed_config cfg = { .name = FEED_NAME, .kms = w->cfg.kms, .open_store = w->cfg.open_store, .open_arg = w->cfg.open_arg, .ops = &OPS, .arg = w,
		                         .idle_ms = IDLE_MS };
	struct store *store = NULL;
	uint64_t from = 0;
	kms_status status;

	KMS_TRY(w->cfg.open_store(w->cfg.open_arg, &store, err));
	status = load_all(w, store, &from, err);
	if (status == KMS_OK)
		status = find_place(w, store, from, err);
	store_close(store);
	if (status == KMS_OK)
		status = feed_start(&cfg, &w->feed, err);
	return status == KMS_OK ? webhook_senders_start(w, err) : status;
}

kms_status webhooks_start(const struct webhooks_config *cfg, struct webhooks **ret, struct kms_err *err)
{
	struct webhooks *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;
	kms_status status = KMS_E_NOMEM;

	if (w == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "webhooks");
	w->cfg = *cfg;
	if (w->cfg.waiting_max == 0)
		w->cfg.waiting_max = WEBHOOK_WAITING_MAX;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->work, &attr);
	pthread_condattr_destroy(&attr);
	w->changes = calloc(UNIT_MAX + 1, sizeof(*w->changes));
	status = w->changes != NULL ? begin(w, err) : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "webhooks");
	if (status != KMS_OK) {
		webhooks_stop(w);
		return status;
	}
	*ret = w;
	return KMS_OK;
}

void webhooks_state(struct webhooks *w, struct feed_state *ret) { feed_state(w->feed, ret); }

void webhooks_tell_to_stop(struct webhooks *w)
{
	if (w == NULL)
		return;
	webhook_senders_tell_to_stop(w);
	feed_tell_to_stop(w->feed);
}

void webhooks_stop(struct webhooks *w)
{
	if (w == NULL)
		return;
	webhook_senders_stop(w);
	feed_stop(w->feed);
	pthread_cond_destroy(&w->work);
	pthread_mutex_destroy(&w->lock);
	free(w->subs);
	free(w->changes);
	free(w);
}
