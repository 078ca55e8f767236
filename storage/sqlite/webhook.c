/* storage/sqlite/webhook.c - subscriptions to the events of a vault, and what was not received yet. */
#include "storage/sqlite/db.h"

static kms_status take_webhook(struct sq_query *q, struct store_webhook *ret, struct kms_err *err)
{
	struct store_webhook w = { 0 };

	sq_take_bytes(q, w.id, sizeof(w.id));
	sq_take_bytes(q, w.vault_id, sizeof(w.vault_id));
	sq_take_text(q, w.name, sizeof(w.name));
	sq_take_text(q, w.url, sizeof(w.url));
	w.shape = (enum store_webhook_shape)sq_take_uint(q, STORE_WEBHOOK_CLOUD_EVENTS);
	w.events = (uint32_t)sq_take_uint(q, UINT32_MAX);
	w.state = (enum store_webhook_state)sq_take_uint(q, STORE_WEBHOOK_REFUSED);
	w.generation = (uint32_t)sq_take_uint(q, UINT32_MAX);
	w.attempts = (uint32_t)sq_take_uint(q, UINT32_MAX);
	w.next_s = sq_take_int(q);
	w.created_s = sq_take_int(q);
	w.from_seq = sq_take_uint(q, STORE_SEQ_MAX + 1);
	sq_take_text(q, w.failure, sizeof(w.failure));
	if (w.shape < STORE_WEBHOOK_EVENT_GRID || w.state < STORE_WEBHOOK_PENDING || w.generation == 0 || w.url[0] == '\0')
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = w;
	return KMS_OK;
}

kms_status sq_webhooks(struct store *s, const uint8_t *vault_id, const uint8_t *after_id, struct store_webhook *ret, size_t cap, size_t *ret_count,
                       struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), vault_id != NULL ? SQ_WEBHOOKS_OF : SQ_WEBHOOKS);
	size_t count = 0;

	sq_put_blob(&q, after_id, after_id != NULL ? STORE_ID_LEN : 0);
	sq_put_u64(&q, cap);
	if (vault_id != NULL)
		sq_put_id(&q, vault_id);
	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(take_webhook(&q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_webhook(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_webhook *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_WEBHOOK);

	sq_put_id(&q, id);
	KMS_TRY(sq_step_one(&q, err));
	return take_webhook(&q, ret, err);
}

static kms_status take_delivery(struct sq_query *q, struct store_delivery *ret, struct kms_err *err)
{
	struct store_delivery d = { 0 };

	sq_take_bytes(q, d.webhook_id, sizeof(d.webhook_id));
	d.seq = sq_take_uint(q, INT64_MAX);
	d.event = (uint32_t)sq_take_uint(q, UINT32_MAX);
	d.state = (enum store_delivery_state)sq_take_uint(q, STORE_DELIVERY_DEAD);
	sq_take_or_none(q, d.version_id, sizeof(d.version_id));
	sq_take_text(q, d.key_name, sizeof(d.key_name));
	d.event_us = sq_take_int(q);
	sq_take_bytes(q, d.event_id, sizeof(d.event_id));
	d.attempts = (uint32_t)sq_take_uint(q, UINT32_MAX);
	d.next_s = sq_take_int(q);
	d.created_s = sq_take_int(q);
	d.http = (int32_t)sq_take_uint(q, INT32_MAX);
	sq_take_text(q, d.failure, sizeof(d.failure));
	if (d.event == 0 || d.state < STORE_DELIVERY_WAITING)
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = d;
	return KMS_OK;
}

kms_status sq_deliveries(struct store *s, const uint8_t webhook_id[STORE_ID_LEN], enum store_delivery_state state, uint64_t after_seq,
                         struct store_delivery *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_DELIVERIES);
	size_t count = 0;

	sq_put_id(&q, webhook_id);
	sq_put_int(&q, state);
	sq_put_u64(&q, after_seq); /* UINT64_MAX becomes -1: from the first on */
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(take_delivery(&q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_delivery_count(struct store *s, const uint8_t webhook_id[STORE_ID_LEN], enum store_delivery_state state, uint64_t *ret_count,
                             struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_DELIVERY_COUNT);
	uint64_t count;

	sq_put_id(&q, webhook_id);
	sq_put_int(&q, state);
	KMS_TRY(sq_step_one(&q, err));
	count = sq_take_uint(&q, INT64_MAX);
	KMS_TRY(sq_taken(&q, err));
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_webhook_add(struct sqlite_store *db, const struct store_webhook *w, uint64_t seq, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_WEBHOOK_ADD);

	sq_put_id(&q, w->id);
	sq_put_id(&q, w->vault_id);
	sq_put_text(&q, w->name);
	sq_put_text(&q, w->url);
	sq_put_int(&q, w->shape);
	sq_put_u64(&q, w->events);
	sq_put_int(&q, w->state);
	sq_put_u64(&q, w->generation);
	sq_put_u64(&q, w->attempts);
	sq_put_int(&q, w->next_s);
	sq_put_int(&q, w->created_s);
	sq_put_u64(&q, seq);
	sq_put_text(&q, w->failure);
	sq_put_int(&q, STORE_WEBHOOKS_MAX);
	return sq_change_row(db, &q, KMS_E_CONFLICT, err);
}

kms_status sq_webhook_set(struct sqlite_store *db, const struct store_webhook *w, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_WEBHOOK_SET);

	sq_put_id(&q, w->id);
	sq_put_int(&q, w->state);
	sq_put_u64(&q, w->generation);
	sq_put_u64(&q, w->attempts);
	sq_put_int(&q, w->next_s);
	sq_put_text(&q, w->failure);
	return sq_change_row(db, &q, KMS_E_NOTFOUND, err);
}

kms_status sq_webhook_remove(struct sqlite_store *db, const struct store_webhook *w, struct kms_err *err)
{
	SQ_QUERY_AUTO empty = sq_start(db, SQ_WEBHOOK_EMPTY);
	SQ_QUERY_AUTO q = sq_start(db, SQ_WEBHOOK_REMOVE);

	sq_put_id(&empty, w->id);
	sq_put_id(&empty, w->vault_id);
	KMS_TRY(sq_change(&empty, KMS_E_CONFLICT, err));
	sq_put_id(&q, w->id);
	sq_put_id(&q, w->vault_id);
	return sq_change_row(db, &q, KMS_E_NOTFOUND, err);
}

kms_status sq_delivery_add(struct sqlite_store *db, const struct store_delivery *d, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_DELIVERY_ADD);

	sq_put_id(&q, d->webhook_id);
	sq_put_u64(&q, d->seq);
	sq_put_u64(&q, d->event);
	sq_put_int(&q, d->state);
	sq_put_id_or_none(&q, d->version_id);
	sq_put_text(&q, d->key_name);
	sq_put_int(&q, d->event_us);
	sq_put_id(&q, d->event_id);
	sq_put_u64(&q, d->attempts);
	sq_put_int(&q, d->next_s);
	sq_put_int(&q, d->created_s);
	sq_put_int(&q, d->http);
	sq_put_text(&q, d->failure);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

static void put_delivery_key(struct sq_query *q, const struct store_delivery *d)
{
	sq_put_id(q, d->webhook_id);
	sq_put_u64(q, d->seq);
	sq_put_u64(q, d->event);
}

kms_status sq_delivery_set(struct sqlite_store *db, const struct store_delivery *d, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_DELIVERY_SET);

	put_delivery_key(&q, d);
	sq_put_int(&q, d->state);
	sq_put_u64(&q, d->attempts);
	sq_put_int(&q, d->next_s);
	sq_put_int(&q, d->http);
	sq_put_text(&q, d->failure);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

kms_status sq_delivery_remove(struct sqlite_store *db, const struct store_delivery *d, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_DELIVERY_REMOVE);

	put_delivery_key(&q, d);
	return sq_change(&q, KMS_E_CONFLICT, err);
}
