/* storage/sqlite/write.c - the writer's transaction: fence, changes of one unit inside a savepoint, leaves, tree nodes. */
#include <string.h>

#include "storage/sqlite/db.h"

/* SQLite ends a transaction by itself after some errors; what came next would then be committed alone, statement by statement. */
static kms_status in_transaction(struct sqlite_store *db, struct kms_err *err)
{
	if (!db->is_in_tx)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "no transaction was begun");
	if (sqlite3_get_autocommit(db->db))
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_ABORT_ROLLBACK, "the database has rolled the transaction back");
	return KMS_OK;
}

static kms_status run(struct sqlite_store *db, enum sq_id id, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, id);
	return sq_run(&q, err);
}

kms_status sq_change(struct sq_query *q, kms_status on_taken, struct kms_err *err)
{
	if (sq_run(q, NULL) == KMS_OK)
		return KMS_OK;
	switch (q->rc) {
	case SQLITE_CONSTRAINT_FOREIGNKEY: return sq_failed(q, KMS_E_FENCED, err);
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
	case SQLITE_CONSTRAINT_ROWID: return sq_failed(q, on_taken, err);
	default: return sq_failed(q, (q->rc & 0xff) == SQLITE_CONSTRAINT ? KMS_E_CONFLICT : KMS_E_STORE, err);
	}
}

kms_status sq_change_row(struct sqlite_store *db, struct sq_query *q, kms_status on_absent, struct kms_err *err)
{
	KMS_TRY(sq_change(q, KMS_E_CONFLICT, err));
	if (sqlite3_changes(db->db) == 0)
		return kms_fail(err, on_absent, KMS_SRC_SELF, 0, "no row in that state: %.96s", sqlite3_sql(q->st));
	return KMS_OK;
}

kms_status sq_change_of(struct sqlite_store *db, enum sq_id statement, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, statement);

	sq_put_id(&q, id);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

kms_status sq_change_one(struct sqlite_store *db, enum sq_id statement, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, statement);

	sq_put_id(&q, id);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

kms_status sq_material_add(struct sqlite_store *db, const uint8_t *n, size_t n_len, const uint8_t *wrapped, size_t wrapped_len, int64_t *ret_id,
                           struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_MATERIAL_ADD);

	*ret_id = 0;
	if (n_len == 0 && wrapped_len == 0)
		return KMS_OK;
	sq_put_blob(&q, n, n_len);
	sq_put_blob(&q, wrapped, wrapped_len);
	KMS_TRY(sq_change(&q, KMS_E_CONFLICT, err));
	*ret_id = sqlite3_last_insert_rowid(db->db);
	return KMS_OK;
}

void sq_put_material(struct sq_query *q, int64_t id)
{
	if (id == 0)
		sq_put_null(q);
	else
		sq_put_int(q, id);
}

static kms_status vault_add(struct sqlite_store *db, const struct store_vault *v, uint64_t seq, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VAULT_ADD);
	int64_t canary;

	KMS_TRY(sq_material_add(db, NULL, 0, v->canary_wrapped, v->canary_wrapped_len, &canary, err));
	sq_put_id(&q, v->id);
	sq_put_text(&q, v->name);
	sq_put_id(&q, v->directory);
	sq_put_int(&q, v->state);
	sq_put_id(&q, v->root_id);
	sq_put_id(&q, v->pseudonym_id);
	sq_put_int(&q, v->retention_days);
	sq_put_int(&q, v->has_purge_protection);
	sq_put_int(&q, v->allows_rsa1_5);
	sq_put_material(&q, canary);
	sq_put_blob(&q, v->canary_hash, sizeof(v->canary_hash));
	sq_put_int(&q, v->quorum);
	sq_put_int(&q, v->purge_approvals);
	sq_put_int(&q, v->is_founded);
	sq_put_int(&q, v->counts_installation);
	sq_put_text(&q, v->issuer);
	sq_put_int(&q, v->created_s);
	sq_put_u64(&q, seq);
	sq_put_int(&q, v->person_days);
	sq_put_text(&q, v->person_basis);
	return sq_change(&q, KMS_E_FENCED, err);
}

static kms_status vault_set_state(struct sqlite_store *db, const struct store_vault *v, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VAULT_SET_STATE);

	sq_put_id(&q, v->id);
	sq_put_int(&q, v->state);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

static kms_status vault_set(struct sqlite_store *db, const struct store_vault *v, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VAULT_SET);

	sq_put_id(&q, v->id);
	sq_put_int(&q, v->retention_days);
	sq_put_int(&q, v->has_purge_protection);
	sq_put_int(&q, v->allows_rsa1_5);
	sq_put_int(&q, v->quorum);
	sq_put_int(&q, v->purge_approvals);
	sq_put_int(&q, v->is_founded);
	sq_put_text(&q, v->issuer);
	sq_put_int(&q, v->counts_installation);
	sq_put_int(&q, v->person_days);
	sq_put_text(&q, v->person_basis);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

static kms_status vault_erase(struct sqlite_store *db, const struct store_vault *v, struct kms_err *err)
{
	KMS_TRY(sq_change_of(db, SQ_VAULT_ERASE_MATERIAL, v->id, err));
	KMS_TRY(sq_change_of(db, SQ_VAULT_ERASE_TAGS, v->id, err));
	KMS_TRY(sq_change_of(db, SQ_VAULT_ERASE_VERSIONS, v->id, err));
	KMS_TRY(sq_change_of(db, SQ_VAULT_ERASE_POLICIES, v->id, err));
	KMS_TRY(sq_change_of(db, SQ_VAULT_ERASE_DUE, v->id, err));
	KMS_TRY(sq_change_of(db, SQ_VAULT_ERASE_DELIVERIES, v->id, err));
	KMS_TRY(sq_change_of(db, SQ_VAULT_ERASE_WEBHOOKS, v->id, err));
	KMS_TRY(sq_change_of(db, SQ_VAULT_ERASE_PERSON_MATERIAL, v->id, err));
	KMS_TRY(sq_change_of(db, SQ_VAULT_ERASE_PERSONS, v->id, err));
	KMS_TRY(sq_change_of(db, SQ_CANARY_ERASE, v->id, err));
	return sq_change_one(db, SQ_VAULT_ERASE_CANARY, v->id, err);
}

static kms_status key_add(struct sqlite_store *db, const struct store_key *k, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_KEY_ADD);

	sq_put_id(&q, k->id);
	sq_put_id(&q, k->vault_id);
	sq_put_text(&q, k->name);
	sq_put_int(&q, k->created_s);
	return sq_change(&q, KMS_E_FENCED, err);
}

static kms_status key_delete(struct sqlite_store *db, const struct store_key *k, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_KEY_DELETE);

	sq_put_id(&q, k->id);
	sq_put_int(&q, k->deleted_s);
	sq_put_time(&q, k->purge_s);
	KMS_TRY(sq_change_row(db, &q, KMS_E_FENCED, err));
	KMS_TRY(sq_change_of(db, SQ_DUE_DROP, k->id, err));
	/* What depends on a version alone (a transfer on its exchange key) must notice too. */
	return sq_change_of(db, SQ_KEY_TOUCH_VERSIONS, k->id, err);
}

static kms_status key_recover(struct sqlite_store *db, const struct store_key *k, struct kms_err *err)
{
	KMS_TRY(sq_change_one(db, SQ_KEY_RECOVER, k->id, err));
	return sq_due_now(db, SQ_DUE_NOW, k->id, err);
}

/* Deleted keys too: one that was revoked meanwhile must not come back usable. */
static kms_status key_revoke(struct sqlite_store *db, const struct store_revocation *r, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_KEY_REVOKE);

	sq_put_id(&q, r->key_id);
	sq_put_id_or_none(&q, r->version_id);
	sq_put_int(&q, r->reason);
	sq_put_int(&q, r->updated_s);
	KMS_TRY(sq_change_row(db, &q, KMS_E_NOTFOUND, err));
	KMS_TRY(sq_change_one(db, SQ_KEY_TOUCH_ANY, r->key_id, err));
	return sq_due_now(db, SQ_DUE_NOW, r->key_id, err);
}

static kms_status key_purge(struct sqlite_store *db, const struct store_key *k, struct kms_err *err)
{
	KMS_TRY(sq_change_of(db, SQ_KEY_PURGE_MATERIAL, k->id, err));
	KMS_TRY(sq_change_of(db, SQ_KEY_PURGE_TAGS, k->id, err));
	KMS_TRY(sq_change_of(db, SQ_KEY_PURGE_VERSIONS, k->id, err));
	KMS_TRY(sq_change_of(db, SQ_KEY_PURGE_POLICY, k->id, err));
	KMS_TRY(sq_change_of(db, SQ_DUE_DROP, k->id, err));
	return sq_change_one(db, SQ_KEY_PURGE, k->id, err);
}

static kms_status tags_put(struct sqlite_store *db, const struct store_version *v, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VERSION_SET_TAGS);

	sq_put_id(&q, v->id);
	sq_put_text(&q, v->tags);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

static kms_status version_add(struct sqlite_store *db, const struct store_version *v, uint64_t seq, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VERSION_ADD);
	int64_t material;

	KMS_TRY(sq_change_one(db, SQ_KEY_TOUCH, v->key_id, err));
	KMS_TRY(sq_material_add(db, v->pub, v->pub != NULL ? v->pub_len : 0, v->wrapped, v->wrapped != NULL ? v->wrapped_len : 0, &material, err));
	sq_put_id(&q, v->id);
	sq_put_id(&q, v->key_id);
	sq_put_id(&q, v->obj);
	sq_put_int(&q, v->kty);
	sq_put_int(&q, v->crv);
	sq_put_int(&q, v->bits);
	sq_put_int(&q, v->ops);
	sq_put_int(&q, v->is_enabled);
	sq_put_int(&q, v->revoked);
	sq_put_time(&q, v->nbf_s);
	sq_put_time(&q, v->exp_s);
	sq_put_int(&q, v->created_s);
	sq_put_int(&q, v->updated_s);
	sq_put_u64(&q, v->encryptions);
	sq_put_blob(&q, v->e, v->e_len);
	sq_put_int(&q, v->wrapped == NULL);
	sq_put_material(&q, material);
	if (v->wrapped != NULL)
		sq_put_id_or_none(&q, v->root_id);
	else
		sq_put_null(&q);
	sq_put_u64(&q, seq);
	KMS_TRY(sq_change(&q, KMS_E_FENCED, err));
	if (sqlite3_changes(db->db) == 0)
		return kms_fail(err, KMS_E_FENCED, KMS_SRC_SELF, 0, "the version is wrapped under a root that its vault does not have");
	KMS_TRY(sq_due_now(db, SQ_DUE_NOW, v->key_id, err));
	return v->tags != NULL ? tags_put(db, v, err) : KMS_OK;
}

/* Epochs stay: what an encryption depends on is not changed by another one. */
static kms_status version_encrypts(struct sqlite_store *db, const struct store_encryption *n, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_VERSION_ENCRYPTS);

	sq_put_id(&q, n->version_id);
	sq_put_u64(&q, n->limit < INT64_MAX ? n->limit : INT64_MAX);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

static kms_status version_set(struct sqlite_store *db, const struct store_version *v, bool set_tags, struct kms_err *err)
{
	SQ_QUERY_AUTO set = sq_start(db, SQ_VERSION_SET);

	sq_put_id(&set, v->id);
	sq_put_int(&set, v->ops);
	sq_put_int(&set, v->is_enabled);
	sq_put_int(&set, v->revoked);
	sq_put_time(&set, v->nbf_s);
	sq_put_time(&set, v->exp_s);
	sq_put_int(&set, v->updated_s);
	KMS_TRY(sq_change_row(db, &set, KMS_E_FENCED, err));
	KMS_TRY(sq_due_now(db, SQ_DUE_NOW_OF_VERSION, v->id, err));
	return set_tags ? tags_put(db, v, err) : KMS_OK;
}

static kms_status policy_set(struct sqlite_store *db, const struct store_policy *p, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_POLICY_SET);

	KMS_TRY(sq_change_one(db, SQ_KEY_TOUCH, p->key_id, err));
	KMS_TRY(sq_due_now(db, SQ_DUE_NOW, p->key_id, err));
	sq_put_id(&q, p->key_id);
	sq_put_text(&q, p->rotate_after_create);
	sq_put_text(&q, p->rotate_before_expiry);
	sq_put_text(&q, p->notify_before_expiry);
	sq_put_text(&q, p->expiry_time);
	sq_put_int(&q, p->created_s);
	sq_put_int(&q, p->updated_s);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

static kms_status intent_open(struct sqlite_store *db, const struct store_intent *i, uint64_t seq, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_INTENT_OPEN);

	sq_put_u64(&q, seq);
	sq_put_int(&q, i->type);
	sq_put_id(&q, i->vault_id);
	sq_put_id(&q, i->key_id);
	sq_put_id(&q, i->obj);
	sq_put_text(&q, i->key_name);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

static kms_status intent_close(struct sqlite_store *db, const struct store_intent *i, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_INTENT_CLOSE);

	sq_put_u64(&q, i->seq);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

static kms_status meta_put(struct sqlite_store *db, const struct store_meta *m, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_META_PUT);

	sq_put_text(&q, m->name);
	sq_put_blob(&q, m->value, m->value_len);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

static kms_status apply_one(struct sqlite_store *db, const struct store_change *c, uint64_t seq, struct kms_err *err)
{
	switch (c->kind) {
	case STORE_VAULT_ADD: return vault_add(db, &c->vault, seq, err);
	case STORE_VAULT_SET_STATE: return vault_set_state(db, &c->vault, err);
	case STORE_VAULT_SET: return vault_set(db, &c->vault, err);
	case STORE_NETWORKS_SET: return sq_networks_set(db, &c->networks, err);
	case STORE_VAULT_ERASE: return vault_erase(db, &c->vault, err);
	case STORE_VAULT_LOCK: return sq_vault_lock(db, &c->vault, err);
	case STORE_VAULT_NEXT_ROOT: return sq_vault_next_root(db, &c->vault, err);
	case STORE_VAULT_SET_ROOT: return sq_vault_set_root(db, &c->vault, err);
	case STORE_PRINCIPAL_ADD: return sq_principal_add(db, &c->principal, err);
	case STORE_PRINCIPAL_SET: return sq_principal_set(db, &c->principal, err);
	case STORE_CREDENTIAL_ADD: return sq_credential_add(db, &c->credential, err);
	case STORE_CREDENTIAL_REMOVE: return sq_credential_remove(db, &c->credential, err);
	case STORE_ROLE_ADD: return sq_role_add(db, &c->assignment, err);
	case STORE_ROLE_REMOVE: return sq_role_remove(db, &c->assignment, err);
	case STORE_ROLE_DEFINE: return sq_role_define(db, &c->role, err);
	case STORE_ROLE_DROP: return sq_role_drop(db, &c->role, err);
	case STORE_MEMBER_ADD: return sq_member_add(db, &c->member, err);
	case STORE_MEMBER_REMOVE: return sq_member_remove(db, &c->member, err);
	case STORE_APPROVAL_ADD: return sq_approval_add(db, &c->approval, err);
	case STORE_APPROVAL_VOTE: return sq_approval_vote(db, &c->vote, err);
	case STORE_APPROVAL_USE: return sq_approval_use(db, &c->approval_use, err);
	case STORE_APPROVAL_CLOSE: return sq_approval_close(db, &c->approval, err);
	case STORE_KEY_ADD: return key_add(db, &c->key, err);
	case STORE_VERSION_ADD: return version_add(db, &c->version, seq, err);
	case STORE_VERSION_REWRAP: return sq_version_rewrap(db, &c->version, err);
	case STORE_VERSION_ERASE: return sq_version_erase(db, &c->version, err);
	case STORE_VERSION_ENCRYPTS: return version_encrypts(db, &c->encryption, err);
	case STORE_POLICY_SET: return policy_set(db, &c->policy, err);
	case STORE_VERSION_SET: return version_set(db, &c->version, c->set_tags, err);
	case STORE_KEY_DELETE: return key_delete(db, &c->key, err);
	case STORE_KEY_RECOVER: return key_recover(db, &c->key, err);
	case STORE_KEY_SET_PURGING: return sq_change_one(db, SQ_KEY_SET_PURGING, c->key.id, err);
	case STORE_KEY_REVOKE: return key_revoke(db, &c->revocation, err);
	case STORE_KEY_PURGE: return key_purge(db, &c->key, err);
	case STORE_TOMBSTONE_ADD: return sq_tombstone_add(db, &c->tombstone, seq, err);
	case STORE_CERTIFICATE_ADD: return sq_certificate_add(db, &c->certificate, seq, err);
	case STORE_CERTIFICATE_FILL: return sq_certificate_fill(db, &c->certificate, seq, err);
	case STORE_CERTIFICATE_SET: return sq_certificate_set(db, &c->certificate, err);
	case STORE_CERTIFICATE_SIGN: return sq_certificate_sign(db, &c->certificate, err);
	case STORE_EPOCH_ADD: return sq_epoch_add(db, &c->epoch, err);
	case STORE_EPOCH_END: return sq_epoch_end(db, &c->epoch, err);
	case STORE_BACKUP_ADD: return sq_backup_add(db, &c->backup, err);
	case STORE_BACKUP_DROP: return sq_backup_drop(db, &c->backup, err);
	case STORE_INTENT_OPEN: return intent_open(db, &c->intent, seq, err);
	case STORE_INTENT_CLOSE: return intent_close(db, &c->intent, err);
	case STORE_META_PUT: return meta_put(db, &c->meta, err);
	case STORE_CHECKPOINT_ADD: return sq_checkpoint_add(db, &c->checkpoint, err);
	case STORE_CHECKPOINT_COSIGN: return sq_checkpoint_cosign(db, &c->checkpoint, err);
	case STORE_LOG_KEY_ADD: return sq_log_key_add(db, &c->log_key, seq, err);
	case STORE_LOG_CLOSE: return sq_log_close(db, &c->log_close, err);
	case STORE_DUE_SET: return sq_due_set(db, &c->due, err);
	case STORE_CURSOR_SET: return sq_cursor_set(db, &c->cursor, err);
	case STORE_EVENTS_PRUNE: return sq_events_prune(db, &c->prune, err);
	case STORE_WEBHOOK_ADD: return sq_webhook_add(db, &c->webhook, seq, err);
	case STORE_WEBHOOK_SET: return sq_webhook_set(db, &c->webhook, err);
	case STORE_WEBHOOK_REMOVE: return sq_webhook_remove(db, &c->webhook, err);
	case STORE_DELIVERY_ADD: return sq_delivery_add(db, &c->delivery, err);
	case STORE_DELIVERY_SET: return sq_delivery_set(db, &c->delivery, err);
	case STORE_DELIVERY_REMOVE: return sq_delivery_remove(db, &c->delivery, err);
	case STORE_PERSON_ADD: return sq_person_add(db, c->person, err);
	case STORE_PERSON_ERASE: return sq_person_erase(db, &c->person_erasure, err);
	case STORE_POOL_ADD: return sq_pool_add(db, &c->pool, err);
	case STORE_POOL_SET: return sq_pool_set(db, &c->pool, err);
	case STORE_EXTERNAL_ADD: return sq_external_add(db, &c->external, err);
	case STORE_EXTERNAL_RETIRE: return sq_external_retire(db, &c->external, err);
	case STORE_EXTERNAL_USED: return sq_external_used(db, &c->external, err);
	}
	return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "unknown change %d", (int)c->kind);
}

kms_status sq_apply(struct store *s, const struct store_change *changes, size_t count, uint64_t seq, struct kms_err *err)
{
	struct sqlite_store *db = sq_of(s);
	kms_status status = KMS_OK;

	KMS_TRY(in_transaction(db, err));
	KMS_TRY(run(db, SQ_SAVEPOINT, err));
	for (size_t i = 0; i < count && status == KMS_OK; i++)
		status = apply_one(db, &changes[i], seq, err);
	if (status == KMS_E_STORE)
		return status; /* the whole transaction is to be rolled back; perhaps it is already */
	if (status != KMS_OK && run(db, SQ_UNDO, NULL) != KMS_OK)
		return KMS_E_STORE;
	if (run(db, SQ_RELEASE, err) != KMS_OK)
		return KMS_E_STORE;
	return status;
}

static void put_part(struct sq_query *q, const uint8_t id[STORE_ID_LEN], uint64_t epoch)
{
	sq_put_id_or_none(q, id);
	sq_put_u64(q, epoch);
}

kms_status sq_fence(struct store *s, const struct store_fence *fence, bool *ret_holds, struct kms_err *err)
{
	struct sqlite_store *db = sq_of(s);
	SQ_QUERY_AUTO q = sq_start(db, SQ_FENCE);
	bool holds;

	KMS_TRY(in_transaction(db, err));
	put_part(&q, fence->vault_id, fence->vault_epoch);
	put_part(&q, fence->principal_id, fence->principal_epoch);
	put_part(&q, fence->key_id, fence->key_epoch);
	put_part(&q, fence->version_id, fence->version_epoch);
	KMS_TRY(sq_step_one(&q, err));
	holds = sq_take_uint(&q, 1) != 0;
	KMS_TRY(sq_taken(&q, err));
	*ret_holds = holds;
	return KMS_OK;
}

kms_status sq_append(struct store *s, const struct store_event *event, struct kms_err *err)
{
	struct sqlite_store *db = sq_of(s);
	SQ_QUERY_AUTO q = sq_start(db, SQ_APPEND);

	KMS_TRY(in_transaction(db, err));
	sq_put_u64(&q, event->seq);
	sq_put_id(&q, event->id);
	sq_put_id(&q, event->vault_id);
	sq_put_int(&q, event->ts_us);
	sq_put_blob(&q, event->hash, sizeof(event->hash));
	sq_put_blob(&q, event->leaf, event->leaf_len);
	KMS_TRY(sq_run(&q, err));
	if (sqlite3_changes(db->db) == 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "leaf %llu is not the next", (unsigned long long)event->seq);
	return KMS_OK;
}

kms_status sq_put_node(struct store *s, unsigned level, uint64_t position, const uint8_t hash[STORE_HASH_LEN], struct kms_err *err)
{
	struct sqlite_store *db = sq_of(s);
	SQ_QUERY_AUTO q = sq_start(db, SQ_PUT_NODE);

	KMS_TRY(in_transaction(db, err));
	sq_put_u64(&q, level);
	sq_put_u64(&q, position);
	sq_put_blob(&q, hash, STORE_HASH_LEN);
	return sq_run(&q, err);
}

void sq_rollback(struct store *s)
{
	struct sqlite_store *db = sq_of(s);

	db->is_in_tx = false;
	/* After a failed ROLLBACK the transaction is still open; sq_begin() tries again and reports. */
	if (!sqlite3_get_autocommit(db->db))
		(void)sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
}

kms_status sq_begin(struct store *s, struct kms_err *err)
{
	struct sqlite_store *db = sq_of(s);

	if (db->is_in_tx)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "a transaction is open");
	sq_rollback(s);
	KMS_TRY(run(db, SQ_BEGIN, err));
	db->is_in_tx = true;
	return KMS_OK;
}

kms_status sq_commit(struct store *s, struct kms_err *err)
{
	struct sqlite_store *db = sq_of(s);
	kms_status status = in_transaction(db, err);

	if (status == KMS_OK)
		status = run(db, SQ_COMMIT, err);
	if (status != KMS_OK)
		sq_rollback(s);
	db->is_in_tx = false;
	return status;
}

/* Free pages given back to the file system in one call: bounded, since the writer waits for it. They hold zeros already. */
#define VACUUM_SOME "PRAGMA incremental_vacuum(4096)"

kms_status sq_checkpoint(struct store *s, bool truncate, struct kms_err *err)
{
	struct sqlite_store *db = sq_of(s);
	int rc;

	if (db->is_in_tx)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "checkpoint inside a transaction");
	/* Before the checkpoint, since it writes to the WAL that is to be emptied. */
	if (truncate)
		KMS_TRY(sq_exec(db->db, VACUUM_SOME, err));
	rc = sqlite3_wal_checkpoint_v2(db->db, NULL, truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	if (rc != SQLITE_OK)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, (unsigned long)rc, "checkpoint: %s", sqlite3_errmsg(db->db));
	/* What was erased is not to stay in this connection's memory either. */
	if (truncate)
		sq_forget(s);
	return KMS_OK;
}
