/* storage/sqlite/backup.c - backup epochs, and the backups that were made in them: what a destruction has to name as copies. */
#include "storage/sqlite/db.h"

static kms_status take_epoch(struct sq_query *q, struct store_epoch *ret, struct kms_err *err)
{
	struct store_epoch e = { 0 };

	e.number = (uint32_t)sq_take_uint(q, UINT32_MAX);
	sq_take_bytes(q, e.obj, sizeof(e.obj));
	e.created_s = sq_take_int(q);
	e.closed_s = sq_take_time(q);
	e.ended_s = sq_take_time(q);
	if (e.number == 0 || (e.ended_s != STORE_NO_TIME && e.closed_s == STORE_NO_TIME))
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = e;
	return KMS_OK;
}

kms_status sq_epochs(struct store *s, uint32_t below, struct store_epoch *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_EPOCHS);
	size_t count = 0;

	sq_put_u64(&q, below != 0 ? below : (uint64_t)UINT32_MAX + 1);
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(take_epoch(&q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_epoch_of_object(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_epoch *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_EPOCH_OF_OBJECT);

	sq_put_id(&q, obj);
	KMS_TRY(sq_step_one(&q, err));
	return take_epoch(&q, ret, err);
}

static kms_status epoch_close(struct sqlite_store *db, int64_t closed_s, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_EPOCH_CLOSE);

	sq_put_int(&q, closed_s);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

kms_status sq_epoch_add(struct sqlite_store *db, const struct store_epoch *e, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_EPOCH_ADD);

	KMS_TRY(epoch_close(db, e->created_s, err));
	sq_put_id(&q, e->obj);
	sq_put_int(&q, e->created_s);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

kms_status sq_epoch_end(struct sqlite_store *db, const struct store_epoch *e, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_EPOCH_END);

	sq_put_u64(&q, e->number);
	sq_put_int(&q, e->ended_s);
	return sq_change_row(db, &q, KMS_E_CONFLICT, err);
}

static kms_status take_backup(struct sq_query *q, struct store_backup *ret, struct kms_err *err)
{
	struct store_backup b = { 0 };

	sq_take_bytes(q, b.id, sizeof(b.id));
	b.kind = (enum store_backup_kind)sq_take_uint(q, STORE_BACKUP_SERVER);
	b.epoch = (uint32_t)sq_take_uint(q, UINT32_MAX);
	sq_take_bytes(q, b.vault_id, sizeof(b.vault_id));
	sq_take_text(q, b.key_name, sizeof(b.key_name));
	sq_take_text(q, b.place, sizeof(b.place));
	b.size = sq_take_uint(q, INT64_MAX);
	b.bytes = sq_take_uint(q, INT64_MAX);
	b.made_s = sq_take_int(q);
	b.ends_s = sq_take_time(q);
	if (b.kind < STORE_BACKUP_KEY)
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = b;
	return KMS_OK;
}

static kms_status take_backups(struct sq_query *q, struct store_backup *ret, size_t *ret_count, struct kms_err *err)
{
	size_t count = 0;

	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(take_backup(q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_backups(struct store *s, enum store_backup_kind kind, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN],
                      struct store_backup *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), vault_id != NULL ? SQ_BACKUPS_OF : SQ_BACKUPS);

	sq_put_int(&q, kind);
	sq_put_blob(&q, after_id, after_id != NULL ? STORE_ID_LEN : 0);
	sq_put_u64(&q, cap);
	if (vault_id != NULL)
		sq_put_id(&q, vault_id);
	return take_backups(&q, ret, ret_count, err);
}

kms_status sq_backups_of_key(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *key_name, struct store_backup *ret, size_t cap,
                             size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_BACKUPS_OF_KEY);

	sq_put_id(&q, vault_id);
	sq_put_text(&q, key_name);
	sq_put_u64(&q, cap);
	return take_backups(&q, ret, ret_count, err);
}

kms_status sq_backup_add(struct sqlite_store *db, const struct store_backup *b, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_BACKUP_ADD);

	sq_put_id(&q, b->id);
	sq_put_int(&q, b->kind);
	sq_put_u64(&q, b->epoch);
	sq_put_id(&q, b->vault_id);
	sq_put_text(&q, b->key_name);
	sq_put_text(&q, b->place);
	sq_put_u64(&q, b->size);
	sq_put_u64(&q, b->bytes);
	sq_put_int(&q, b->made_s);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

kms_status sq_backup_drop(struct sqlite_store *db, const struct store_backup *b, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_BACKUP_DROP);

	sq_put_id(&q, b->id);
	return sq_change_row(db, &q, KMS_E_NOTFOUND, err);
}
