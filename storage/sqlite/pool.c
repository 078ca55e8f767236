/* storage/sqlite/pool.c - Managed HSM pools and the external key ids that were published to them: reads and changes. */
#include "storage/sqlite/db.h"

static kms_status read_subjects(struct sqlite_store *db, struct store_pool *p, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_POOL_SUBJECTS);

	sq_put_id(&q, p->id);
	for (bool has_row = true;; p->subject_count++) {
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		if (p->subject_count == KMS_ARRAY_LEN(p->subjects)) {
			q.is_damaged = true;
			break;
		}
		sq_take_text(&q, p->subjects[p->subject_count], sizeof(p->subjects[0]));
	}
	return sq_taken(&q, err); /* none is left when others took those of a shredded vault */
}

static kms_status read_roots(struct sqlite_store *db, struct store_pool *p, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_POOL_ROOTS);

	sq_put_id(&q, p->id);
	for (bool has_row = true;; p->root_count++) {
		struct store_root *root = &p->roots[p->root_count];
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		if (p->root_count == KMS_ARRAY_LEN(p->roots)) {
			q.is_damaged = true;
			break;
		}
		sq_take_copy(&q, STORE_ROOT_MAX, &root->der, &root->der_len);
		if (root->der_len == 0)
			q.is_damaged = true;
	}
	if (p->root_count == 0)
		q.is_damaged = true;
	return sq_taken(&q, err);
}

/* The pool's own row is still open, and with it the state of the database that it came from: subjects and roots are of the same moment. */
static kms_status take_pool(struct sqlite_store *db, struct sq_query *q, struct store_pool *ret, struct kms_err *err)
{
	STORE_POOL_AUTO p = { 0 };

	sq_take_bytes(q, p.id, sizeof(p.id));
	p.is_service = sq_take_uint(q, 1) != 0;
	sq_take_text(q, p.prefix, sizeof(p.prefix));
	p.created_s = sq_take_int(q);
	p.updated_s = sq_take_int(q);
	p.epoch = sq_take_uint(q, INT64_MAX);
	KMS_TRY(sq_taken(q, err));
	KMS_TRY(read_subjects(db, &p, err));
	KMS_TRY(read_roots(db, &p, err));
	*ret = p;
	p = (struct store_pool){ 0 }; /* handed over */
	return KMS_OK;
}

kms_status sq_pools(struct store *s, const uint8_t after_id[STORE_ID_LEN], struct store_pool *ret, size_t cap, size_t *ret_count,
                    struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_POOLS);
	kms_status status;
	size_t count = 0;

	sq_put_blob(&q, after_id, after_id != NULL ? STORE_ID_LEN : 0);
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		status = sq_step(&q, &has_row, err);
		if (status == KMS_OK && has_row)
			status = take_pool(sq_of(s), &q, &ret[count], err);
		if (status != KMS_OK || !has_row)
			break;
	}
	if (status != KMS_OK) {
		while (count > 0)
			store_pool_clear(&ret[--count]);
		return status;
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_pool(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_pool *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_POOL);

	sq_put_id(&q, id);
	KMS_TRY(sq_step_one(&q, err));
	return take_pool(sq_of(s), &q, ret, err);
}

static kms_status take_external(struct sq_query *q, struct store_external *ret, struct kms_err *err)
{
	struct store_external e = { 0 };

	sq_take_bytes(q, e.pool_id, sizeof(e.pool_id));
	sq_take_text(q, e.id, sizeof(e.id));
	sq_take_bytes(q, e.key_id, sizeof(e.key_id));
	sq_take_bytes(q, e.version_id, sizeof(e.version_id));
	sq_take_text(q, e.key_name, sizeof(e.key_name));
	e.created_s = sq_take_int(q);
	e.retired_s = sq_take_time(q);
	e.last_used_s = sq_take_time(q);
	e.uses = sq_take_uint(q, INT64_MAX);
	KMS_TRY(sq_taken(q, err));
	*ret = e;
	return KMS_OK;
}

kms_status sq_external(struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *id, struct store_external *ret,
                       struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_EXTERNAL);

	sq_put_id(&q, pool_id);
	sq_put_text(&q, id);
	KMS_TRY(sq_step_one(&q, err));
	return take_external(&q, ret, err);
}

kms_status sq_externals(struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *after_id, struct store_external *ret, size_t cap,
                        size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_EXTERNALS);
	size_t count = 0;

	sq_put_id(&q, pool_id);
	sq_put_text(&q, after_id != NULL ? after_id : "");
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(take_external(&q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_external_of_key(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_external *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_EXTERNAL_OF_KEY);

	sq_put_id(&q, key_id);
	KMS_TRY(sq_step_one(&q, err));
	return take_external(&q, ret, err);
}

static kms_status subject_add(struct sqlite_store *db, const struct store_pool *p, size_t position, struct kms_err *err)
{
	SQ_QUERY_AUTO shredded = sq_start(db, SQ_POOL_SUBJECT_FREE);
	SQ_QUERY_AUTO q = sq_start(db, SQ_POOL_SUBJECT_ADD);

	sq_put_text(&shredded, p->subjects[position]);
	sq_put_u64(&shredded, STORE_VAULT_SHREDDED);
	KMS_TRY(sq_change(&shredded, KMS_E_CONFLICT, err));
	sq_put_text(&q, p->subjects[position]);
	sq_put_id(&q, p->id);
	sq_put_u64(&q, position);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

static kms_status root_add(struct sqlite_store *db, const struct store_pool *p, size_t position, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_POOL_ROOT_ADD);

	sq_put_id(&q, p->id);
	sq_put_u64(&q, position);
	sq_put_blob(&q, p->roots[position].der, p->roots[position].der_len);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

static kms_status certificates_add(struct sqlite_store *db, const struct store_pool *p, struct kms_err *err)
{
	for (size_t i = 0; i < p->subject_count; i++)
		KMS_TRY(subject_add(db, p, i, err));
	for (size_t i = 0; i < p->root_count; i++)
		KMS_TRY(root_add(db, p, i, err));
	return KMS_OK;
}

kms_status sq_pool_add(struct sqlite_store *db, const struct store_pool *p, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_POOL_ADD);

	sq_put_id(&q, p->id);
	sq_put_int(&q, p->is_service);
	sq_put_text(&q, p->prefix);
	sq_put_int(&q, p->created_s);
	sq_put_int(&q, p->updated_s);
	KMS_TRY(sq_change(&q, KMS_E_CONFLICT, err));
	return certificates_add(db, p, err);
}

kms_status sq_pool_set(struct sqlite_store *db, const struct store_pool *p, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_POOL_SET);

	sq_put_id(&q, p->id);
	sq_put_int(&q, p->updated_s);
	KMS_TRY(sq_change_row(db, &q, KMS_E_NOTFOUND, err));
	KMS_TRY(sq_change_of(db, SQ_POOL_SUBJECTS_DROP, p->id, err));
	KMS_TRY(sq_change_of(db, SQ_POOL_ROOTS_DROP, p->id, err));
	KMS_TRY(certificates_add(db, p, err));
	return sq_change_one(db, SQ_CALLER_TOUCH, p->id, err);
}

kms_status sq_external_add(struct sqlite_store *db, const struct store_external *e, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_EXTERNAL_ADD);

	sq_put_id(&q, e->pool_id);
	sq_put_text(&q, e->id);
	sq_put_id(&q, e->key_id);
	sq_put_id(&q, e->version_id);
	sq_put_text(&q, e->key_name);
	sq_put_int(&q, e->created_s);
	return sq_change_row(db, &q, KMS_E_CONFLICT, err);
}

static void put_external(struct sq_query *q, const struct store_external *e, int64_t time_s)
{
	sq_put_id(q, e->pool_id);
	sq_put_text(q, e->id);
	sq_put_time(q, time_s);
}

kms_status sq_external_retire(struct sqlite_store *db, const struct store_external *e, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_EXTERNAL_RETIRE);

	put_external(&q, e, e->retired_s);
	KMS_TRY(sq_change_row(db, &q, KMS_E_NOTFOUND, err));
	return sq_change_one(db, SQ_CALLER_TOUCH, e->pool_id, err);
}

kms_status sq_external_used(struct sqlite_store *db, const struct store_external *e, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_EXTERNAL_USED);

	put_external(&q, e, e->last_used_s);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}
