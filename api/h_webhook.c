/* api/h_webhook.c - the management API: where a vault's events are sent, and what could not be delivered (docs/webhooks.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/view.h"
#include "server/feed/post.h"
#include "server/feed/webhook.h"

#define OFFSET(member) offsetof(union request_body, member)
#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-" /* it stands in a header of each request */
#define LETTERS_PAGE 100
#define SEQ_TEXT 24
#define EVENTS_TEXT_MAX 256

/* ---- schemas ---- */

static const char *const SHAPES[] = { [STORE_WEBHOOK_EVENT_GRID] = "event-grid", [STORE_WEBHOOK_CLOUD_EVENTS] = "cloud-events" };

static const char *shape_name_at(unsigned i) { return i + 1 < KMS_ARRAY_LEN(SHAPES) ? SHAPES[i + 1] : NULL; }
static int parse_shape(const char *text)
{
	for (int i = STORE_WEBHOOK_EVENT_GRID; i <= STORE_WEBHOOK_CLOUD_EVENTS; i++)
		if (strcmp(SHAPES[i], text) == 0)
			return i;
	return 0;
}

static const char *event_name_at(unsigned i) { return i < WEBHOOK_EVENTS ? strrchr(webhook_event_type(1U << i), '.') + 1 : NULL; }
static int parse_event(const char *text) { return (int)webhook_event_parse(text); }

static const struct json_field WEBHOOK_FIELDS[] = {
	{ .name = "name", .kind = J_STRING, .offset = OFFSET(webhook.name), .flag = J_NO_FLAG, .required = true, .min = 1, .max = STORE_PRINCIPAL_NAME_MAX },
	{ .name = "url", .kind = J_STRING, .offset = OFFSET(webhook.url), .flag = J_NO_FLAG, .required = true, .min = 1, .max = STORE_URL_MAX },
	{ .name = "shape", .kind = J_ENUM, .offset = OFFSET(webhook.shape), .flag = J_NO_FLAG, .parse = parse_shape, .name_at = shape_name_at },
	{ .name = "events", .kind = J_SET, .offset = OFFSET(webhook.events), .flag = J_NO_FLAG, .min = 1, .parse = parse_event, .name_at = event_name_at },
	{ .name = NULL },
};
static void webhook_init(void *target)
{
	union request_body *body = target;
	body->webhook.shape = STORE_WEBHOOK_EVENT_GRID;
	body->webhook.events = WEBHOOK_ALL_EVENTS;
}
const struct json_schema WEBHOOK_SCHEMA = { .name = "WebhookRequest", .fields = WEBHOOK_FIELDS, .size = sizeof(union request_body), .is_strict = true,
	                                    .init = webhook_init };

static const struct json_field LETTERS_FIELDS[] = {
	{ .name = "event", .kind = J_STRING, .offset = OFFSET(letters.event), .flag = J_NO_FLAG, .min = GUID_TEXT_LEN, .max = GUID_TEXT_LEN },
	{ .name = NULL },
};
const struct json_schema DEAD_LETTERS_SCHEMA = { .name = "DeadLettersRequest", .fields = LETTERS_FIELDS, .size = sizeof(union request_body), .is_strict = true,
	                                         .may_be_empty = true };

/* ---- what is shown ---- */

static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN]) { return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */ }

static const char *state_name(enum store_webhook_state state)
{
	switch (state) {
	case STORE_WEBHOOK_PENDING: return "pending";
	case STORE_WEBHOOK_ACTIVE: return "active";
	case STORE_WEBHOOK_REFUSED: return "refused";
	}
	return "";
}

static json_t *event_names(uint32_t events)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < WEBHOOK_EVENTS; i++)
		if ((events & (1U << i)) != 0)
			json_add(&list, json_string(event_name_at(i)));
	return list;
}

/* Where it goes and no more: path and query often are the receiver's token, which nobody needs who may read the subscription; who made it knows them. */
static void put_url(json_t **o, const char *url)
{
	char shown[sizeof("https://") + WEBHOOK_HOST_MAX], host[WEBHOOK_HOST_MAX];

	webhook_host(url, host);
	(void)snprintf(shown, sizeof(shown), "%s://%s", strncasecmp(url, "https:", 6) == 0 ? "https" : "http", host);
	view_put_text(o, "url", shown);
}

/* Why nothing goes out now: of the configuration, of the handshake, or of the event that is the next in turn. */
static kms_status put_failure(struct request *r, const struct store_webhook *h, json_t **o, struct kms_err *err)
{
	struct store_delivery first = { 0 };
	const char *failure = h->failure;
	size_t count = 0;

	KMS_TRY(store_deliveries(r->op.store, h->id, STORE_DELIVERY_WAITING, UINT64_MAX, &first, 1, &count, err));
	if (!webhooks_may_send_to(request_webhooks(r), h->url))
		failure = "webhooks.hosts of the configuration does not list this host (any more)";
	else if (failure[0] == '\0' && count > 0)
		failure = first.failure;
	if (failure[0] != '\0')
		view_put_text(o, "failure", failure);
	return KMS_OK;
}

static kms_status webhook_object(struct request *r, const struct store_webhook *h, json_t **ret, struct kms_err *err)
{
	uint64_t waiting = 0, dead = 0;
	JSON_AUTO *o = json_object();

	KMS_TRY(store_delivery_count(r->op.store, h->id, STORE_DELIVERY_WAITING, &waiting, err));
	KMS_TRY(store_delivery_count(r->op.store, h->id, STORE_DELIVERY_DEAD, &dead, err));
	view_put_text(&o, "name", h->name);
	view_put_guid(&o, "id", h->id);
	view_put_text(&o, "vault", r->op.vault.name);
	put_url(&o, h->url);
	view_put_text(&o, "shape", SHAPES[h->shape]);
	json_put(&o, "events", event_names(h->events));
	view_put_text(&o, "state", state_name(h->state));
	json_put(&o, "secret_generation", json_integer(h->generation));
	json_put(&o, "waiting", json_integer((json_int_t)waiting));
	json_put(&o, "dead_letters", json_integer((json_int_t)dead));
	json_put(&o, "created", json_integer(h->created_s));
	KMS_TRY(put_failure(r, h, &o, err));
	*ret = KMS_TAKE(o);
	return KMS_OK;
}

/* Shown now and never again. */
static kms_status reply_with_secret(struct request *r, const struct store_webhook *h, struct kms_err *err)
{
	SECRET_AUTO *secret = NULL;
	JSON_AUTO *o = NULL;

	KMS_TRY(webhook_secret(&r->op.kms->inst, h->id, h->generation, &secret, err));
	KMS_TRY(webhook_object(r, h, &o, err));
	json_put(&o, "secret", json_stringn((const char *)secret_data(secret), secret_len(secret)));
	return reply_json(r, 200, KMS_TAKE(o), err);
}

static kms_status reply_webhook(struct request *r, const struct store_webhook *h, struct kms_err *err)
{
	JSON_AUTO *o = NULL;

	KMS_TRY(webhook_object(r, h, &o, err));
	return reply_json(r, 200, KMS_TAKE(o), err);
}

/* By its id or its name. */
static kms_status find(struct request *r, struct store_webhook *ret, struct kms_err *err)
{
	struct store_webhook rows[STORE_WEBHOOKS_MAX];
	uint8_t id[STORE_ID_LEN];
	bool is_id = guid_parse(r->item, strlen(r->item), id);
	size_t count = 0;

	KMS_TRY(store_webhooks(r->op.store, r->op.vault.id, NULL, rows, STORE_WEBHOOKS_MAX, &count, err));
	for (size_t i = 0; i < count; i++)
		if (is_id ? same_id(rows[i].id, id) : strcasecmp(rows[i].name, r->item) == 0) {
			*ret = rows[i];
			return KMS_OK;
		}
	return kms_refuse(err, KMS_E_NOTFOUND, "There is no such webhook in this vault.");
}

/* Of its address the host alone: what follows may hold a receiver's token. */
static void describe(struct request *r, const char *act, const struct store_webhook *h)
{
	char host[WEBHOOK_HOST_MAX];

	webhook_host(h->url, host);
	op_det_text(&r->op, "act", act);
	op_det_guid(&r->op, "webhook", h->id);
	op_det_text(&r->op, "name", h->name);
	op_det_text(&r->op, "host", host);
}

/* ---- subscriptions ---- */

static kms_status check_address(struct request *r, struct kms_err *err)
{
	const char *url = r->body.webhook.url;

	if (strspn(r->body.webhook.name, NAME_CHARS) != strlen(r->body.webhook.name))
		return kms_refuse(err, KMS_E_INVALID, "name: only A-Z a-z 0-9 . _ and -.");
	if (request_webhooks(r) == NULL)
		return kms_refuse(err, KMS_E_CONFLICT, "Webhooks are off: the server's configuration lists no host (webhooks.hosts).");
	if (!post_url_is_good(url, NULL, 0))
		return kms_refuse(err, KMS_E_INVALID, "url: https://host[:port]/path of printable ASCII characters, without user, password or fragment.");
	if (!webhooks_may_send_to(request_webhooks(r), url))
		return kms_refuse(err, KMS_E_POLICY, "url: the server's configuration does not list this host and port (webhooks.hosts); its operator decides.");
	return KMS_OK;
}

static void describe_new(struct request *r, const struct store_webhook *h)
{
	char events[EVENTS_TEXT_MAX] = "";

	for (unsigned i = 0; i < WEBHOOK_EVENTS; i++)
		if ((h->events & (1U << i)) != 0)
			(void)snprintf(events + strlen(events), sizeof(events) - strlen(events), "%s%s", events[0] != '\0' ? " " : "", event_name_at(i));
	describe(r, "create", h);
	op_det_text(&r->op, "shape", SHAPES[h->shape]);
	op_det_text(&r->op, "events", events);
}

static kms_status check_free(struct request *r, const char *name, struct kms_err *err)
{
	struct store_webhook rows[STORE_WEBHOOKS_MAX];
	size_t count = 0;

	KMS_TRY(store_webhooks(r->op.store, r->op.vault.id, NULL, rows, STORE_WEBHOOKS_MAX, &count, err));
	for (size_t i = 0; i < count; i++)
		if (strcasecmp(rows[i].name, name) == 0)
			return kms_refuse(err, KMS_E_CONFLICT, "There is a webhook named %s in this vault already.", rows[i].name);
	return count < STORE_WEBHOOKS_MAX ? KMS_OK : kms_refuse(err, KMS_E_CONFLICT, "A vault has at most %d webhooks.", STORE_WEBHOOKS_MAX);
}

kms_status api_webhook_create(struct request *r, struct kms_err *err)
{
	struct store_webhook h = { .shape = (enum store_webhook_shape)r->body.webhook.shape, .events = r->body.webhook.events, .state = STORE_WEBHOOK_PENDING,
		                   .generation = 1, .created_s = clock_wall_s(r->op.kms->clock) };

	KMS_TRY(op_need_living_vault(&r->op, err));
	KMS_TRY(check_address(r, err));
	KMS_TRY(check_free(r, r->body.webhook.name, err));
	if (!guid_random(h.id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	memcpy(h.vault_id, r->op.vault.id, STORE_ID_LEN);
	(void)snprintf(h.name, sizeof(h.name), "%s", r->body.webhook.name);
	(void)snprintf(h.url, sizeof(h.url), "%s", r->body.webhook.url);
	describe_new(r, &h);
	op_change(&r->op, STORE_WEBHOOK_ADD)->webhook = h;
	return reply_with_secret(r, &h, err);
}

kms_status api_webhook_list(struct request *r, struct kms_err *err)
{
	struct store_webhook rows[STORE_WEBHOOKS_MAX];
	JSON_AUTO *value = json_array();
	size_t count = 0;

	op_det_text(&r->op, "what", "webhooks");
	KMS_TRY(store_webhooks(r->op.store, r->op.vault.id, NULL, rows, STORE_WEBHOOKS_MAX, &count, err));
	for (size_t i = 0; i < count; i++) {
		JSON_AUTO *o = NULL;
		KMS_TRY(webhook_object(r, &rows[i], &o, err));
		json_add(&value, KMS_TAKE(o));
	}
	return reply_page(r, KMS_TAKE(value), NULL, err);
}

kms_status api_webhook_get(struct request *r, struct kms_err *err)
{
	struct store_webhook h;

	op_det_text(&r->op, "what", "webhook");
	KMS_TRY(find(r, &h, err));
	op_det_guid(&r->op, "webhook", h.id);
	return reply_webhook(r, &h, err);
}

kms_status api_webhook_delete(struct request *r, struct kms_err *err)
{
	struct store_webhook h;

	KMS_TRY(find(r, &h, err));
	describe(r, "delete", &h);
	op_change(&r->op, STORE_WEBHOOK_REMOVE)->webhook = h;
	reply_empty(r, 204);
	return KMS_OK;
}

kms_status api_webhook_new_secret(struct request *r, struct kms_err *err)
{
	struct store_webhook h;

	KMS_TRY(find(r, &h, err));
	h.generation++;
	describe(r, "new_secret", &h);
	op_det_number(&r->op, "generation", h.generation);
	op_change(&r->op, STORE_WEBHOOK_SET)->webhook = h;
	return reply_with_secret(r, &h, err);
}

/* Asks the receiver again, whatever it said before; until it agrees nothing more is sent. */
kms_status api_webhook_validate(struct request *r, struct kms_err *err)
{
	struct store_webhook h;

	KMS_TRY(find(r, &h, err));
	h.state = STORE_WEBHOOK_PENDING;
	h.attempts = 0;
	h.next_s = 0;
	h.failure[0] = '\0';
	describe(r, "validate", &h);
	op_change(&r->op, STORE_WEBHOOK_SET)->webhook = h;
	return reply_webhook(r, &h, err);
}

/* ---- dead letters ---- */

static json_t *letter_object(const struct store_delivery *d)
{
	char time[TIMESTAMP_LEN + 1];
	json_t *o = json_object();

	timestamp_format(d->event_us, time);
	view_put_guid(&o, "event", d->event_id);
	view_put_text(&o, "type", webhook_event_type(d->event));
	if (d->key_name[0] != '\0')
		view_put_text(&o, "key", d->key_name);
	view_put_text(&o, "time", time);
	json_put(&o, "seq", json_integer((json_int_t)d->seq));
	json_put(&o, "attempts", json_integer(d->attempts));
	if (d->http != 0)
		json_put(&o, "http", json_integer(d->http));
	view_put_text(&o, "failure", d->failure);
	return o;
}

static kms_status parse_after(const struct request *r, uint64_t *ret_after, struct kms_err *err)
{
	const char *text = query_get(r, "after");
	size_t len = text != NULL ? strlen(text) : 0;

	*ret_after = UINT64_MAX;
	if (text == NULL)
		return KMS_OK;
	if (len < 1 || len > 18 || strspn(text, "0123456789") != len)
		return kms_refuse(err, KMS_E_INVALID, "after: what the page before gave as next.");
	*ret_after = strtoull(text, NULL, 10);
	return KMS_OK;
}

kms_status api_dead_letter_list(struct request *r, struct kms_err *err)
{
	struct store_delivery rows[LETTERS_PAGE];
	struct store_webhook h;
	JSON_AUTO *value = json_array();
	char next[SEQ_TEXT] = "";
	uint64_t after = 0;
	size_t count = 0;

	op_det_text(&r->op, "what", "dead letters");
	KMS_TRY(find(r, &h, err));
	op_det_guid(&r->op, "webhook", h.id);
	KMS_TRY(parse_after(r, &after, err));
	KMS_TRY(store_deliveries(r->op.store, h.id, STORE_DELIVERY_DEAD, after, rows, LETTERS_PAGE, &count, err));
	for (size_t i = 0; i < count; i++)
		json_add(&value, letter_object(&rows[i]));
	if (count > 0)
		(void)snprintf(next, sizeof(next), "%llu", (unsigned long long)rows[count - 1].seq);
	return reply_page(r, KMS_TAKE(value), count == LETTERS_PAGE ? next : NULL, err);
}

/* The one that is named, or the first of them. */
static kms_status find_letters(struct request *r, const struct store_webhook *h, struct store_delivery *rows, size_t *ret_count, struct kms_err *err)
{
	uint64_t after = UINT64_MAX;
	uint8_t id[STORE_ID_LEN];

	if (r->body.letters.event[0] == '\0')
		return store_deliveries(r->op.store, h->id, STORE_DELIVERY_DEAD, after, rows, LETTERS_PAGE, ret_count, err);
	KMS_TRY(view_parse_id(r->body.letters.event, "event:", id, err));
	do {
		KMS_TRY(store_deliveries(r->op.store, h->id, STORE_DELIVERY_DEAD, after, rows, LETTERS_PAGE, ret_count, err));
		for (size_t i = 0; i < *ret_count; i++)
			if (same_id(rows[i].event_id, id)) {
				rows[0] = rows[i];
				*ret_count = 1;
				return KMS_OK;
			}
		after = *ret_count > 0 ? rows[*ret_count - 1].seq : after;
	} while (*ret_count == LETTERS_PAGE);
	return kms_refuse(err, KMS_E_NOTFOUND, "event: there is no such dead letter.");
}

/* A letter that is tried again has its whole time anew; it keeps its place, before all that is newer. */
static void settle_letter(struct request *r, const struct store_delivery *d, bool again)
{
	struct store_delivery *fresh = NULL;

	op_change(&r->op, STORE_DELIVERY_REMOVE)->delivery = *d;
	if (!again)
		return;
	fresh = &op_change(&r->op, STORE_DELIVERY_ADD)->delivery;
	*fresh = *d;
	fresh->state = STORE_DELIVERY_WAITING;
	fresh->attempts = 0;
	fresh->next_s = 0;
	fresh->http = 0;
	fresh->failure[0] = '\0';
	fresh->created_s = clock_wall_s(r->op.kms->clock);
}

static kms_status settle_letters(struct request *r, bool again, struct kms_err *err)
{
	struct store_delivery rows[LETTERS_PAGE];
	struct store_webhook h;
	JSON_AUTO *o = NULL;
	uint64_t dead = 0;
	size_t count = 0;

	KMS_TRY(find(r, &h, err));
	KMS_TRY(find_letters(r, &h, rows, &count, err));
	KMS_TRY(store_delivery_count(r->op.store, h.id, STORE_DELIVERY_DEAD, &dead, err));
	if (count > 0)
		KMS_TRY(op_expect_changes(&r->op, 2 * count, err));
	for (size_t i = 0; i < count; i++)
		settle_letter(r, &rows[i], again);
	describe(r, again ? "retry" : "drop", &h);
	op_det_number(&r->op, "count", (int64_t)count);
	o = json_object();
	json_put(&o, again ? "retried" : "dropped", json_integer((json_int_t)count));
	json_put(&o, "left", json_integer((json_int_t)(dead > count ? dead - count : 0)));
	return reply_json(r, 200, KMS_TAKE(o), err);
}

kms_status api_dead_letter_retry(struct request *r, struct kms_err *err) { return settle_letters(r, true, err); }
kms_status api_dead_letter_drop(struct request *r, struct kms_err *err) { return settle_letters(r, false, err); }
