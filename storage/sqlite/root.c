/* storage/sqlite/root.c - a vault's lock, its root while it is replaced, and the blobs that are wrapped under it. */
#include "storage/sqlite/db.h"

kms_status sq_vault_lock(struct sqlite_store *db, const struct store_vault *v, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VAULT_LOCK);

	sq_put_id(&q, v->id);
	sq_put_int(&q, v->is_locked);
	return sq_change_row(db, &q, KMS_E_CONFLICT, err);
}

kms_status sq_vault_next_root(struct sqlite_store *db, const struct store_vault *v, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VAULT_NEXT_ROOT);

	sq_put_id(&q, v->id);
	sq_put_id(&q, v->next_root_id);
	return sq_change_row(db, &q, KMS_E_CONFLICT, err);
}

/* Fenced unless it is the next root and nothing needs the present one any more. */
static kms_status keep_former(struct sqlite_store *db, const struct store_vault *v, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_FORMER_ROOT_ADD);

	sq_put_id(&q, v->id);
	sq_put_id(&q, v->root_id);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

kms_status sq_vault_set_root(struct sqlite_store *db, const struct store_vault *v, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VAULT_SET_ROOT);
	int64_t canary;

	KMS_TRY(keep_former(db, v, err));
	KMS_TRY(sq_change_of(db, SQ_CANARY_ERASE, v->id, err));
	KMS_TRY(sq_material_add(db, NULL, 0, v->canary_wrapped, v->canary_wrapped_len, &canary, err));
	sq_put_id(&q, v->id);
	sq_put_id(&q, v->root_id);
	sq_put_material(&q, canary);
	sq_put_blob(&q, v->canary_hash, sizeof(v->canary_hash));
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

static kms_status set_root_of(struct sqlite_store *db, const struct store_version *v, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VERSION_REWRAP);

	sq_put_id(&q, v->id);
	sq_put_id(&q, v->root_id);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

/* @param ret_fits  it has the length of the old one, which it has replaced */
static kms_status replace_blob(struct sqlite_store *db, const struct store_version *v, bool *ret_fits, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_BLOB_REPLACE);

	sq_put_id(&q, v->id);
	sq_put_blob(&q, v->wrapped, v->wrapped_len);
	KMS_TRY(sq_change(&q, KMS_E_CONFLICT, err));
	*ret_fits = sqlite3_changes(db->db) != 0;
	return KMS_OK;
}

static kms_status append_blob(struct sqlite_store *db, const struct store_version *v, int64_t *ret_id, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_BLOB_APPEND);

	sq_put_id(&q, v->id);
	sq_put_blob(&q, v->wrapped, v->wrapped_len);
	KMS_TRY(sq_change_row(db, &q, KMS_E_FENCED, err));
	*ret_id = sqlite3_last_insert_rowid(db->db);
	return KMS_OK;
}

kms_status sq_version_rewrap(struct sqlite_store *db, const struct store_version *v, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VERSION_MATERIAL);
	int64_t material;
	bool fits;

	KMS_TRY(set_root_of(db, v, err));
	KMS_TRY(replace_blob(db, v, &fits, err));
	if (fits)
		return KMS_OK;
	KMS_TRY(append_blob(db, v, &material, err));
	KMS_TRY(sq_change_of(db, SQ_VERSION_ERASE_MATERIAL, v->id, err));
	sq_put_id(&q, v->id);
	sq_put_material(&q, material);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

kms_status sq_version_erase(struct sqlite_store *db, const struct store_version *v, struct kms_err *err)
{
	KMS_TRY(sq_change_of(db, SQ_VERSION_ERASE_MATERIAL, v->id, err));
	KMS_TRY(sq_change_of(db, SQ_VERSION_ERASE_TAGS, v->id, err));
	return sq_change_of(db, SQ_VERSION_ERASE, v->id, err);
}
