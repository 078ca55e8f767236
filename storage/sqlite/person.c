/* storage/sqlite/person.c - records of persons: outside the log, sealed, and erased in place like key material, so that none of them stays behind. */
#include "storage/sqlite/db.h"

static kms_status take_person(struct sq_query *q, struct store_person *ret, struct kms_err *err)
{
	*ret = (struct store_person){ .ref = sq_take_uint(q, INT64_MAX) };
	sq_take_bytes(q, ret->vault_id, sizeof(ret->vault_id));
	sq_take_bytes(q, ret->pid, sizeof(ret->pid));
	ret->created_s = sq_take_int(q);
	sq_take_some(q, ret->sealed, sizeof(ret->sealed), &ret->sealed_len);
	return sq_taken(q, err);
}

kms_status sq_person(struct store *s, uint64_t ref, struct store_person *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_PERSON);

	sq_put_u64(&q, ref);
	KMS_TRY(sq_step_one(&q, err));
	return take_person(&q, ret, err);
}

kms_status sq_persons(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *pid, int64_t before_s, uint64_t after_ref,
                      struct store_person *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), pid != NULL ? SQ_PERSONS_OF : SQ_PERSONS);
	size_t count = 0;

	sq_put_id(&q, vault_id);
	sq_put_u64(&q, after_ref);
	sq_put_int(&q, before_s != STORE_NO_TIME ? before_s : INT64_MAX);
	sq_put_u64(&q, cap);
	if (pid != NULL)
		sq_put_id(&q, pid);
	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(take_person(&q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_person_add(struct sqlite_store *db, const struct store_person *p, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_PERSON_ADD);
	int64_t material;

	KMS_TRY(sq_material_add(db, NULL, 0, p->sealed, p->sealed_len, &material, err));
	sq_put_u64(&q, p->ref);
	sq_put_id(&q, p->vault_id);
	sq_put_id(&q, p->pid);
	sq_put_int(&q, p->created_s);
	sq_put_material(&q, material);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

static kms_status change(struct sqlite_store *db, enum sq_id statement, const struct store_person_erasure *p, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, statement);

	sq_put_u64(&q, p->ref);
	sq_put_id(&q, p->vault_id);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

kms_status sq_person_erase(struct sqlite_store *db, const struct store_person_erasure *p, struct kms_err *err)
{
	KMS_TRY(change(db, SQ_PERSON_ERASE_MATERIAL, p, err));
	return change(db, SQ_PERSON_ERASE, p, err);
}
