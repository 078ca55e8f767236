/*
 * server/feed/webhook_send.c - the senders: each looks after one subscription at a time, so that its events go out in order; whose turn it is says
 * webhook_turns.c. Guards: nothing goes to a host that the configuration does not list, to a receiver that has not agreed, out of a log that was rolled back,
 * or after the vault's end; and who may read a webhook learns of the network behind it no more than whether it could be sent to.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/core/checkpoint.h"
#include "server/core/op.h"
#include "server/feed/webhook_parts.h"

#define TIMEOUT_MS 10000
#define SLOW_MS 1000 /* of one turn */
#define BATCH_MAX 16
#define PAUSE_MAX_S 600
#define GIVE_UP_S (24 * 60 * 60)
#define SHAKE_MAX 12 /* attempts to reach a receiver that never agreed: about half an hour */
#define AGAIN_MS 5000 /* after a failure of our own */
#define MS_PER_S 1000
#define NS_PER_MS 1000000
#define US_PER_S INT64_C(1000000)

int64_t webhook_pause_s(uint32_t attempts)
{
	int64_t pause = 1;

	for (uint32_t i = 1; i < attempts && pause < PAUSE_MAX_S; i++)
		pause *= 2;
	return pause < PAUSE_MAX_S ? pause : PAUSE_MAX_S;
}

/* The receiver says that this request will never do, or that nobody is there any more. All else may be a matter of time, bad credentials included. */
bool webhook_is_final(long http) { return http == 400 || http == 404 || http == 410 || http == 413; }

/* One subscription that a sender looks after now. */
struct turn {
	struct webhook_sender *s;
	struct store_webhook hook;
	struct store_vault vault;
	int64_t now_s;
	bool has_sent; /* an event */
	bool is_slow;
};

static struct kms *kms_of(const struct turn *t) { return t->s->webhooks->cfg.kms; }
static bool is_stopping(const struct webhook_sender *s) { return atomic_load(&s->webhooks->is_stopping); }

/* ---- one request ---- */

static kms_status post(struct turn *t, const char *method, const struct webhook_message *m, struct post_answer *ret, struct kms_err *err)
{
	const struct webhooks_config *cfg = &t->s->webhooks->cfg;
	const char *headers[WEBHOOK_HEADERS_MAX + 1] = { NULL };
	struct post_request q = { .method = method, .url = t->hook.url, .ca = cfg->ca, .certificate = cfg->certificate, .key = cfg->key, .headers = headers,
		                  .body = m->body, .body_len = m->len, .timeout_ms = TIMEOUT_MS, .is_stopping = &t->s->webhooks->is_stopping };
	int64_t from = webhook_now_ms();
	kms_status status;

	for (size_t i = 0; i < m->header_count; i++)
		headers[i] = m->header[i];
	status = poster_send(t->s->poster, &q, ret, err);
	t->is_slow = t->is_slow || webhook_now_ms() - from >= SLOW_MS;
	return status;
}

/* The tenant is told the class of a failure. The text itself is the operator's: it names certificates of servers inside, ports that answer, and files. */
static void say_failure(const struct turn *t, const struct kms_err *err, char *failure, size_t cap)
{
	char id[GUID_TEXT_LEN + 1], host[WEBHOOK_HOST_MAX];

	(void)snprintf(failure, cap, "%s", post_failure(err));
	if (is_stopping(t->s))
		return;
	guid_format(t->hook.id, id);
	webhook_host(t->hook.url, host);
	log_event(LOG_INFO, "webhook_not_sent", LOG_S("webhook", id), LOG_S("host", host), LOG_S("status", kms_status_name(err->status)), LOG_I("native", err->native),
	          LOG_S("detail", err->detail));
}

/* @return KMS_OK | KMS_E_NOTFOUND (it was deleted meanwhile: nothing is wrong, so *err stays as it is) | what the writer says */
static kms_status written(kms_status status, struct kms_err *err)
{
	if (status == KMS_OK || status == KMS_E_NOTFOUND)
		return status;
	return kms_fail(err, status, KMS_SRC_SELF, 0, "what became of a webhook was not written");
}

static kms_status write_changes(struct turn *t, size_t count, struct kms_err *err)
{
	struct write unit = { .changes = t->s->changes, .change_count = count };

	return count == 0 ? KMS_OK : written(writer_write(kms_of(t)->writer, &unit), err);
}

static struct store_change *change(struct turn *t, size_t *count, enum store_change_kind kind)
{
	struct store_change *c = &t->s->changes[(*count)++];

	memset(c, 0, sizeof(*c));
	c->kind = kind;
	return c;
}

/* ---- the handshake ---- */

enum agreed { AGREED, DISAGREED, UNREACHED };

static enum agreed judge(const struct post_answer *a, bool agrees, const char *what, char *failure, size_t cap)
{
	if (agrees)
		return AGREED;
	if (a->http == 408 || a->http == 429 || a->http >= 500) {
		(void)snprintf(failure, cap, "HTTP %ld", a->http);
		return UNREACHED;
	}
	(void)snprintf(failure, cap, "HTTP %ld: %s", a->http, what);
	return DISAGREED;
}

/* CloudEvents: the receiver allows our origin, or every one (HTTP 1.1 Web Hooks for Event Delivery, section 4). */
static enum agreed ask_cloud_events(struct turn *t, char *failure, size_t cap)
{
	__attribute__((cleanup(post_answer_clear))) struct post_answer a = { 0 };
	WEBHOOK_MESSAGE_AUTO m = { .header_count = 1 };
	struct kms_err err = { 0 };

	(void)snprintf(m.header[0], sizeof(m.header[0]), "WebHook-Request-Origin: %s", kms_of(t)->domain);
	if (post(t, "OPTIONS", &m, &a, &err) != KMS_OK) {
		say_failure(t, &err, failure, cap);
		return UNREACHED;
	}
	return judge(&a, a.http >= 200 && a.http < 300 && (strcmp(a.allowed_origin, "*") == 0 || strcmp(a.allowed_origin, kms_of(t)->domain) == 0),
	             "WebHook-Allowed-Origin does not name this server", failure, cap);
}

static enum agreed ask_event_grid(struct turn *t, char *failure, size_t cap)
{
	__attribute__((cleanup(post_answer_clear))) struct post_answer a = { 0 };
	WEBHOOK_MESSAGE_AUTO m = { 0 };
	struct store_delivery d = { .event_us = t->now_s * US_PER_S };
	const struct webhook_event e = { .kms = kms_of(t), .vault = &t->vault, .delivery = &d };
	uint8_t random[STORE_ID_LEN];
	char code[GUID_TEXT_LEN + 1], id[GUID_TEXT_LEN + 1];
	struct kms_err err = { 0 };

	if (!guid_random(random) || !guid_random(d.event_id)) {
		(void)snprintf(failure, cap, "no random numbers");
		return UNREACHED;
	}
	guid_format(random, code);
	guid_format(d.event_id, id);
	if (webhook_message_validation(&t->hook, &e, code, &m, &err) != KMS_OK || webhook_sign(&kms_of(t)->inst, &t->hook, id, t->now_s, &m, &err) != KMS_OK ||
	    post(t, "POST", &m, &a, &err) != KMS_OK) {
		say_failure(t, &err, failure, cap);
		return UNREACHED;
	}
	return judge(&a, a.http == 200 && webhook_is_validated(&a, code), "validationResponse is not the validationCode", failure, cap);
}

/* With a leaf: an administrator may ask later since when events go to this host. */
static kms_status settle_handshake(struct turn *t, struct kms_err *err)
{
	struct op *op = op_new_own(kms_of(t), t->s->store, EVENT_WEBHOOK, err);
	struct kms_err why = { 0 };
	char host[WEBHOOK_HOST_MAX];
	kms_status status;

	if (op == NULL)
		return KMS_E_NOMEM;
	webhook_host(t->hook.url, host);
	op->write.event.has_tenant = true;
	memcpy(op->write.event.tenant, t->hook.vault_id, STORE_ID_LEN);
	op_change(op, STORE_WEBHOOK_SET)->webhook = t->hook;
	op_det_text(op, "act", t->hook.state == STORE_WEBHOOK_ACTIVE ? "agreed" : "refused");
	op_det_guid(op, "webhook", t->hook.id);
	op_det_text(op, "host", host);
	status = written(op_finish_own(op, KMS_OK, &why), err);
	op_free_own(op);
	return status;
}

/* @return ms until the next turn of a webhook about which this was written */
static int64_t again_after(kms_status status, int64_t again_ms) { return status == KMS_OK ? again_ms : status == KMS_E_NOTFOUND ? WEBHOOK_NEVER : AGAIN_MS; }

static int64_t shake_hands(struct turn *t, struct kms_err *err)
{
	char failure[STORE_FAILURE_MAX + 1] = "";
	enum agreed agreed;
	size_t count = 0;
	int64_t pause_s;

	if (t->hook.next_s > t->now_s && t->hook.next_s <= t->now_s + PAUSE_MAX_S)
		return (t->hook.next_s - t->now_s) * MS_PER_S;
	agreed = t->hook.shape == STORE_WEBHOOK_CLOUD_EVENTS ? ask_cloud_events(t, failure, sizeof(failure)) : ask_event_grid(t, failure, sizeof(failure));
	if (is_stopping(t->s))
		return AGAIN_MS;
	t->hook.attempts++;
	pause_s = webhook_pause_s(t->hook.attempts);
	t->hook.next_s = t->now_s + pause_s;
	if (agreed == UNREACHED && t->hook.attempts < SHAKE_MAX) {
		(void)snprintf(t->hook.failure, sizeof(t->hook.failure), "%s", failure);
		change(t, &count, STORE_WEBHOOK_SET)->webhook = t->hook;
		return again_after(write_changes(t, count, err), pause_s * MS_PER_S);
	}
	(void)snprintf(t->hook.failure, sizeof(t->hook.failure), "%s", failure);
	t->hook.state = agreed == AGREED ? STORE_WEBHOOK_ACTIVE : STORE_WEBHOOK_REFUSED;
	return again_after(settle_handshake(t, err), agreed == AGREED ? 0 : WEBHOOK_NEVER);
}

/* ---- events ---- */

/* Of the version as it is now; a key or version that is gone says nothing any more. */
static kms_status read_dates(struct turn *t, const struct store_delivery *d, struct webhook_event *e, struct kms_err *err)
{
	STORE_VERSION_AUTO version = { 0 };
	struct store_key key = { 0 };
	kms_status status = KMS_E_NOTFOUND;

	e->nbf_s = e->exp_s = STORE_NO_TIME;
	if (d->key_name[0] == '\0')
		return KMS_OK;
	status = store_key(t->s->store, t->vault.id, d->key_name, &key, NULL);
	if (status == KMS_OK)
		status = store_version(t->s->store, key.id, d->version_id, false, &version, NULL);
	if (status == KMS_OK) {
		e->nbf_s = version.nbf_s;
		e->exp_s = version.exp_s;
	}
	return status == KMS_OK || status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "dates of a key version");
}

/* @return true: it was received. Else *d says why not, and *ret_wait_s what the receiver asked for */
static bool send_event(struct turn *t, struct store_delivery *d, long *ret_wait_s)
{
	__attribute__((cleanup(post_answer_clear))) struct post_answer a = { 0 };
	WEBHOOK_MESSAGE_AUTO m = { 0 };
	struct webhook_event e = { .kms = kms_of(t), .vault = &t->vault, .delivery = d };
	struct kms_err err = { 0 };
	char id[GUID_TEXT_LEN + 1];

	guid_format(d->event_id, id);
	t->has_sent = true;
	*ret_wait_s = 0;
	d->http = 0;
	if (read_dates(t, d, &e, &err) != KMS_OK || webhook_message_event(&t->hook, &e, &m, &err) != KMS_OK ||
	    webhook_sign(&kms_of(t)->inst, &t->hook, id, clock_wall_s(kms_of(t)->clock), &m, &err) != KMS_OK || post(t, "POST", &m, &a, &err) != KMS_OK) {
		say_failure(t, &err, d->failure, sizeof(d->failure));
		return false;
	}
	if (a.http >= 200 && a.http < 300)
		return true;
	d->http = (int32_t)(a.http <= 999 ? a.http : 999);
	*ret_wait_s = a.retry_after_s;
	(void)snprintf(d->failure, sizeof(d->failure), "HTTP %ld", a.http);
	return false;
}

static void say_dead(const struct turn *t, const struct store_delivery *d)
{
	char id[GUID_TEXT_LEN + 1], event[GUID_TEXT_LEN + 1], host[WEBHOOK_HOST_MAX];

	guid_format(t->hook.id, id);
	guid_format(d->event_id, event);
	webhook_host(t->hook.url, host);
	log_event(LOG_WARN, "webhook_event_given_up", LOG_S("webhook", id), LOG_S("host", host), LOG_S("event", event), LOG_S("why", d->failure));
}

/* What becomes of an event that was not received: it is tried again, later and later, or given up. @return ms until then; 0 = it was given up */
static int64_t defer(struct turn *t, struct store_delivery *d, long wait_s)
{
	int64_t pause_s;

	d->attempts++;
	pause_s = webhook_pause_s(d->attempts);
	if (wait_s > pause_s)
		pause_s = wait_s < PAUSE_MAX_S ? wait_s : PAUSE_MAX_S;
	d->next_s = t->now_s + pause_s;
	if (!webhook_is_final(d->http) && t->now_s - d->created_s < GIVE_UP_S)
		return pause_s * MS_PER_S;
	d->state = STORE_DELIVERY_DEAD;
	say_dead(t, d);
	return 0;
}

/* In their order; the first that has to wait ends the turn. @return ms until the next turn */
static int64_t send_events(struct turn *t, struct store_delivery *rows, size_t count, struct kms_err *err)
{
	int64_t from = webhook_now_ms(), again_ms = 0;
	size_t changes = 0;

	for (size_t i = 0; i < count && again_ms == 0 && !is_stopping(t->s) && webhook_now_ms() - from < SLOW_MS; i++) {
		struct store_delivery *d = &rows[i];
		long wait_s = 0;
		if (send_event(t, d, &wait_s)) {
			change(t, &changes, STORE_DELIVERY_REMOVE)->delivery = *d;
		} else if (!is_stopping(t->s)) {
			again_ms = defer(t, d, wait_s);
			change(t, &changes, STORE_DELIVERY_SET)->delivery = *d;
		}
	}
	return again_after(write_changes(t, changes, err), again_ms);
}

static int64_t deliver(struct turn *t, struct kms_err *err)
{
	struct store_delivery rows[BATCH_MAX];
	size_t count = 0;

	if (store_deliveries(t->s->store, t->hook.id, STORE_DELIVERY_WAITING, UINT64_MAX, rows, BATCH_MAX, &count, err) != KMS_OK)
		return AGAIN_MS;
	if (count == 0)
		return WEBHOOK_NEVER;
	if (rows[0].next_s > t->now_s && rows[0].next_s <= t->now_s + PAUSE_MAX_S) /* further off: the clock was set back */
		return (rows[0].next_s - t->now_s) * MS_PER_S;
	return send_events(t, rows, count, err);
}

/* ---- a turn ---- */

/* @return ms until the next turn; WEBHOOK_NEVER = when something comes */
static int64_t run_turn(struct turn *t, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	kms_status status = store_webhook(t->s->store, id, &t->hook, NULL);
	enum log_state log = log_state(kms_of(t)->log);

	if (status != KMS_OK)
		return status == KMS_E_NOTFOUND ? WEBHOOK_NEVER : AGAIN_MS;
	if (log != LOG_GOOD && log != LOG_LATE)
		return AGAIN_MS;
	if (store_vault_by_id(t->s->store, t->hook.vault_id, &t->vault, err) != KMS_OK)
		return AGAIN_MS;
	if (t->vault.state != STORE_VAULT_ACTIVE) /* its subscriptions end with it */
		return WEBHOOK_NEVER;
	if (!webhooks_may_send_to(t->s->webhooks, t->hook.url)) /* the configuration has changed since; the API says so of it */
		return WEBHOOK_NEVER;
	t->now_s = clock_wall_s(kms_of(t)->clock);
	switch (t->hook.state) {
	case STORE_WEBHOOK_PENDING: return shake_hands(t, err);
	case STORE_WEBHOOK_ACTIVE: return deliver(t, err);
	case STORE_WEBHOOK_REFUSED: return WEBHOOK_NEVER;
	}
	return WEBHOOK_NEVER;
}

static void wait_locked(struct webhooks *w, int64_t until_ms)
{
	struct timespec until = { .tv_sec = (time_t)(until_ms / MS_PER_S), .tv_nsec = (long)(until_ms % MS_PER_S) * NS_PER_MS };

	if (until_ms == WEBHOOK_NEVER)
		(void)pthread_cond_wait(&w->work, &w->lock);
	else
		(void)pthread_cond_timedwait(&w->work, &w->lock, &until); /* whoever calls looks again, whatever woke it */
}

static void look_after_locked(struct webhook_sender *s, const uint8_t id[STORE_ID_LEN])
{
	struct webhooks *w = s->webhooks;
	struct turn t = { .s = s };
	struct kms_err err = { 0 };
	int64_t again_ms;

	pthread_mutex_unlock(&w->lock);
	again_ms = run_turn(&t, id, &err);
	if (err.status != KMS_OK && !is_stopping(s))
		log_failure(LOG_WARN, "webhook_turn_failed", NULL, &err);
	pthread_mutex_lock(&w->lock);
	/* An event that went out quickly alone tells that a receiver is quick; whatever took long, that it is slow. */
	webhook_end_turn_locked(w, s, id, webhook_now_ms(), again_ms, t.is_slow || (s->is_slow && !t.has_sent));
}

static void *send_main(void *arg)
{
	struct webhook_sender *s = arg;
	struct webhooks *w = s->webhooks;
	uint8_t id[STORE_ID_LEN];

	pthread_mutex_lock(&w->lock);
	while (!is_stopping(s)) {
		int64_t until_ms = 0;
		if (webhook_take_turn_locked(w, s, webhook_now_ms(), id, &until_ms))
			look_after_locked(s, id);
		else
			wait_locked(w, until_ms);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* ---- start and stop ---- */

static kms_status start_sender(struct webhooks *w, struct webhook_sender *s, struct kms_err *err)
{
	s->webhooks = w;
	s->changes = calloc(BATCH_MAX + 1, sizeof(*s->changes));
	if (s->changes == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "sender of webhooks");
	KMS_TRY(w->cfg.open_store(w->cfg.open_arg, &s->store, err));
	KMS_TRY(poster_new(&s->poster, err));
	if (pthread_create(&s->thread, NULL, send_main, s) != 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "thread of webhooks");
	s->has_thread = true;
	(void)pthread_setname_np(s->thread, "webhook");
	return KMS_OK;
}

kms_status webhook_senders_start(struct webhooks *w, struct kms_err *err)
{
	for (size_t i = 0; i < WEBHOOK_SENDERS; i++)
		KMS_TRY(start_sender(w, &w->senders[i], err));
	return KMS_OK;
}

void webhook_senders_tell_to_stop(struct webhooks *w)
{
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->is_stopping, true);
	pthread_cond_broadcast(&w->work);
	pthread_mutex_unlock(&w->lock);
}

void webhook_senders_stop(struct webhooks *w)
{
	webhook_senders_tell_to_stop(w);
	for (size_t i = 0; i < WEBHOOK_SENDERS; i++) {
		struct webhook_sender *s = &w->senders[i];
		if (s->has_thread)
			(void)pthread_join(s->thread, NULL);
		poster_free(s->poster);
		if (s->store != NULL)
			store_close(s->store);
		free(s->changes);
	}
}
