/* storage/sqlite/following.c - what happens by itself and what follows the log: when keys are due, how far consumers are, and leaves that lose their body. */
#include <string.h>

#include "storage/sqlite/db.h"

static kms_status take_due(struct sq_query *q, struct store_due *ret, struct kms_err *err)
{
	struct store_due d = { 0 };

	sq_take_bytes(q, d.key_id, sizeof(d.key_id));
	sq_take_bytes(q, d.vault_id, sizeof(d.vault_id));
	d.at_s = sq_take_int(q);
	d.key_epoch = sq_take_uint(q, INT64_MAX);
	sq_take_or_none(q, d.near_version, sizeof(d.near_version));
	d.near_exp_s = sq_take_int(q);
	sq_take_or_none(q, d.expired_version, sizeof(d.expired_version));
	d.expired_exp_s = sq_take_int(q);
	sq_take_or_none(q, d.base_version, sizeof(d.base_version));
	d.base_s = sq_take_int(q);
	d.attempts = (uint32_t)sq_take_uint(q, UINT32_MAX);
	KMS_TRY(sq_taken(q, err));
	*ret = d;
	return KMS_OK;
}

/* Of the vaults behind `after`, up to `last`. */
static kms_status due_between(struct store *s, int64_t now_s, const uint8_t after[STORE_ID_LEN], const uint8_t last[STORE_ID_LEN], struct store_due *ret, size_t cap,
                              size_t *count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_DUE);

	sq_put_int(&q, now_s);
	sq_put_u64(&q, cap - *count);
	sq_put_id(&q, after);
	sq_put_id(&q, last);
	sq_put_u64(&q, STORE_DUE_EACH);
	for (bool has_row = true;; ++*count) {
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			return KMS_OK;
		KMS_TRY(take_due(&q, &ret[*count], err));
	}
}

kms_status sq_due(struct store *s, int64_t now_s, const uint8_t after[STORE_ID_LEN], struct store_due *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	static const uint8_t NONE[STORE_ID_LEN];
	uint8_t last[STORE_ID_LEN];
	size_t count = 0;

	memset(last, 0xff, sizeof(last));
	KMS_TRY(due_between(s, now_s, after, last, ret, cap, &count, err));
	if (count < cap)
		KMS_TRY(due_between(s, now_s, NONE, after, ret, cap, &count, err));
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_due_of(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_due *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_DUE_OF);

	sq_put_id(&q, key_id);
	KMS_TRY(sq_step_one(&q, err));
	return take_due(&q, ret, err);
}

kms_status sq_key_by_id(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_key *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_KEY_BY_ID);

	sq_put_id(&q, id);
	KMS_TRY(sq_step_one(&q, err));
	return sq_take_key(&q, ret, err);
}

kms_status sq_cursor(struct store *s, const char *name, uint64_t *ret_seq, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_CURSOR);
	bool has_row = false;
	uint64_t seq = 0;

	sq_put_text(&q, name);
	KMS_TRY(sq_step(&q, &has_row, err));
	if (has_row)
		seq = sq_take_uint(&q, STORE_SEQ_MAX + 1);
	KMS_TRY(sq_taken(&q, err));
	*ret_seq = seq;
	return KMS_OK;
}

kms_status sq_due_now(struct sqlite_store *db, enum sq_id statement, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	return sq_change_of(db, statement, id, err);
}

kms_status sq_due_set(struct sqlite_store *db, const struct store_due *d, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_DUE_SET);

	sq_put_id(&q, d->key_id);
	sq_put_u64(&q, d->key_epoch);
	sq_put_int(&q, d->at_s);
	sq_put_id_or_none(&q, d->near_version);
	sq_put_int(&q, d->near_exp_s);
	sq_put_id_or_none(&q, d->expired_version);
	sq_put_int(&q, d->expired_exp_s);
	sq_put_id_or_none(&q, d->base_version);
	sq_put_int(&q, d->base_s);
	sq_put_u64(&q, d->attempts);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

kms_status sq_cursor_set(struct sqlite_store *db, const struct store_cursor *c, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_CURSOR_SET);

	sq_put_text(&q, c->name);
	sq_put_u64(&q, c->seq);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

kms_status sq_events_prune(struct sqlite_store *db, const struct store_prune *p, struct kms_err *err)
{
	for (size_t i = 0; i < p->count; i++) {
		SQ_QUERY_AUTO q = sq_start(db, SQ_EVENT_PRUNE);
		sq_put_u64(&q, p->seqs[i]);
		KMS_TRY(sq_change(&q, KMS_E_CONFLICT, err));
	}
	return KMS_OK;
}
