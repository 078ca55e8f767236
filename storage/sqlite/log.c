/* storage/sqlite/log.c - what makes leaves a log: signed checkpoints, the keys that sign them, and closing it for a new one. */
#include <string.h>

#include "storage/sqlite/db.h"

#define DEFINITION_MAX 2048

kms_status sq_checkpoint_add(struct sqlite_store *db, const struct store_signed *c, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_CHECKPOINT_ADD);

	sq_put_u64(&q, c->size);
	sq_put_blob(&q, c->root, sizeof(c->root));
	sq_put_int(&q, c->signed_us);
	sq_put_text(&q, c->note);
	return sq_change_row(db, &q, KMS_E_CONFLICT, err);
}

kms_status sq_checkpoint_cosign(struct sqlite_store *db, const struct store_signed *c, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_CHECKPOINT_COSIGN);

	sq_put_u64(&q, c->size);
	sq_put_text(&q, c->note);
	return sq_change_row(db, &q, KMS_E_NOTFOUND, err);
}

kms_status sq_log_key_add(struct sqlite_store *db, const struct store_log_key *k, uint64_t seq, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_LOG_KEY_ADD);

	sq_put_id(&q, k->obj);
	sq_put_text(&q, k->vkey);
	sq_put_u64(&q, k->from_size == STORE_FROM_LEAF ? seq + 1 : k->from_size);
	sq_put_int(&q, k->created_s);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

/* Fenced when the present log is another one by now, or the next origin was used before. */
static kms_status replace_origin(struct sqlite_store *db, const struct store_log_close *c, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_LOG_ORIGIN_SET);

	sq_put_blob(&q, c->closed.origin, strlen(c->closed.origin));
	sq_put_blob(&q, c->next_origin, strlen(c->next_origin));
	sq_put_text(&q, c->next_origin);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

static kms_status closed_log_add(struct sqlite_store *db, const struct store_closed_log *c, int64_t *ret_number, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_CLOSED_LOG_ADD);

	sq_put_text(&q, c->origin);
	sq_put_u64(&q, c->restored_size);
	sq_put_u64(&q, c->known_size);
	sq_put_blob(&q, c->known_root, sizeof(c->known_root));
	sq_put_int(&q, c->closed_s);
	KMS_TRY(sq_change(&q, KMS_E_CONFLICT, err));
	*ret_number = sqlite3_last_insert_rowid(db->db);
	return KMS_OK;
}

/* Rows that refer to an intent of the log, whose seq gets the log's number in its high bits: the same for all of them, so that they go on belonging together. */
static kms_status keep(struct sqlite_store *db, enum sq_id statement, int64_t number, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, statement);

	sq_put_int(&q, number * ((int64_t)STORE_SEQ_MAX + 1));
	sq_put_u64(&q, STORE_SEQ_MAX);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

static kms_status plain(struct sqlite_store *db, enum sq_id statement, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, statement);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

/* A certificate that was not signed yet would name leaves that nobody reads any more. One that was keeps its name, leaves and tombstones. What follows the
 * log begins the new one at its first leaf. */
static kms_status keep_references(struct sqlite_store *db, int64_t number, struct kms_err *err)
{
	KMS_TRY(keep(db, SQ_INTENTS_KEEP, number, err));
	KMS_TRY(keep(db, SQ_TOMBSTONES_KEEP, number, err));
	KMS_TRY(plain(db, SQ_CERTIFICATES_DROP, err));
	KMS_TRY(keep(db, SQ_CERTIFICATES_KEEP, number, err));
	KMS_TRY(keep(db, SQ_DELIVERIES_KEEP, number, err));
	KMS_TRY(plain(db, SQ_WEBHOOKS_UNDATE, err));
	KMS_TRY(plain(db, SQ_CURSORS_RESET, err));
	KMS_TRY(plain(db, SQ_VAULTS_UNDATE, err));
	return plain(db, SQ_VERSIONS_UNDATE, err);
}

static void sqlite_free_at(char **p) { sqlite3_free(*p); }

/* The name holds a number, so this text alone is made at run time. Constant in the number of leaves; statements of all connections are
 * prepared again by SQLite when they meet the new schema. */
static kms_status put_aside(struct sqlite_store *db, const char *table, int64_t number, struct kms_err *err)
{
	__attribute__((cleanup(sqlite_free_at))) char *ask =
	        sqlite3_mprintf("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = %Q", table);
	__attribute__((cleanup(sqlite_free_at))) char *away = sqlite3_mprintf("ALTER TABLE %s RENAME TO %s_closed_%lld", table, table, (long long)number);
	char definition[DEFINITION_MAX];

	if (ask == NULL || away == NULL)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_NOMEM, "no memory to close the log");
	KMS_TRY(sq_ask(db->db, ask, definition, sizeof(definition), err));
	if (strlen(definition) == sizeof(definition) - 1)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the definition of table %s is longer than expected", table);
	KMS_TRY(sq_exec(db->db, away, err));
	return sq_exec(db->db, definition, err);
}

kms_status sq_log_close(struct sqlite_store *db, const struct store_log_close *c, struct kms_err *err)
{
	static const char *const TABLES[] = { "event", "node", "checkpoint" };
	int64_t number;

	KMS_TRY(replace_origin(db, c, err));
	KMS_TRY(closed_log_add(db, &c->closed, &number, err));
	KMS_TRY(keep_references(db, number, err));
	for (size_t i = 0; i < KMS_ARRAY_LEN(TABLES); i++)
		KMS_TRY(put_aside(db, TABLES[i], number, err));
	return KMS_OK;
}

static kms_status take_signed(struct sq_query *q, struct store_signed *ret, struct kms_err *err)
{
	STORE_SIGNED_AUTO c = { 0 };

	c.size = sq_take_uint(q, INT64_MAX);
	sq_take_bytes(q, c.root, sizeof(c.root));
	c.signed_us = sq_take_int(q);
	sq_take_text_copy(q, STORE_NOTE_MAX, &c.note);
	if (c.note == NULL)
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = c;
	c = (struct store_signed){ 0 }; /* handed over */
	return KMS_OK;
}

kms_status sq_checkpoint_of(struct store *s, uint64_t size, struct store_signed *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_CHECKPOINT_OF);

	sq_put_u64(&q, size);
	KMS_TRY(sq_step_one(&q, err));
	return take_signed(&q, ret, err);
}

kms_status sq_checkpoint_last(struct store *s, struct store_signed *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_CHECKPOINT_LAST);

	KMS_TRY(sq_step_one(&q, err));
	return take_signed(&q, ret, err);
}

kms_status sq_log_keys(struct store *s, struct store_log_key *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_LOG_KEYS);
	size_t count = 0;

	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		struct store_log_key k = { 0 };
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		k.generation = (uint32_t)sq_take_uint(&q, UINT32_MAX);
		sq_take_bytes(&q, k.obj, sizeof(k.obj));
		sq_take_text(&q, k.vkey, sizeof(k.vkey));
		k.from_size = sq_take_uint(&q, INT64_MAX);
		k.created_s = sq_take_int(&q);
		KMS_TRY(sq_taken(&q, err));
		ret[count] = k;
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_closed_logs(struct store *s, struct store_closed_log *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_CLOSED_LOGS);
	size_t count = 0;

	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		struct store_closed_log c = { 0 };
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		c.number = (uint32_t)sq_take_uint(&q, UINT32_MAX);
		sq_take_text(&q, c.origin, sizeof(c.origin));
		c.restored_size = sq_take_uint(&q, INT64_MAX);
		c.known_size = sq_take_uint(&q, INT64_MAX);
		sq_take_bytes(&q, c.known_root, sizeof(c.known_root));
		c.closed_s = sq_take_int(&q);
		KMS_TRY(sq_taken(&q, err));
		ret[count] = c;
	}
	*ret_count = count;
	return KMS_OK;
}
