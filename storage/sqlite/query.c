/* storage/sqlite/query.c - how a statement is bound, stepped and read; where SQLite's result codes become ours. */
#include <stdlib.h>
#include <string.h>

#include "storage/sqlite/db.h"

struct sq_query sq_start(struct sqlite_store *s, enum sq_id id)
{
	return (struct sq_query){ .st = s->statements[id], .column = -1 };
}

void sq_end(struct sq_query *q)
{
	/* Repeats the failure of the last step, which has been reported. */
	(void)sqlite3_reset(q->st);
}

static void keep(struct sq_query *q, int rc)
{
	if (q->rc == SQLITE_OK)
		q->rc = rc;
}

void sq_put_blob(struct sq_query *q, const void *bytes, size_t len)
{
	/* A NULL pointer would bind SQL NULL; none of our blobs is absent, some are empty. */
	keep(q, sqlite3_bind_blob64(q->st, ++q->parameter, len > 0 ? bytes : "", len, SQLITE_STATIC));
}

void sq_put_text(struct sq_query *q, const char *text) { keep(q, sqlite3_bind_text(q->st, ++q->parameter, text, -1, SQLITE_STATIC)); }
void sq_put_int(struct sq_query *q, int64_t value) { keep(q, sqlite3_bind_int64(q->st, ++q->parameter, value)); }
void sq_put_u64(struct sq_query *q, uint64_t value) { sq_put_int(q, (int64_t)value); }
void sq_put_null(struct sq_query *q) { keep(q, sqlite3_bind_null(q->st, ++q->parameter)); }
void sq_put_id(struct sq_query *q, const uint8_t id[STORE_ID_LEN]) { sq_put_blob(q, id, STORE_ID_LEN); }

void sq_put_time(struct sq_query *q, int64_t time_s)
{
	if (time_s == STORE_NO_TIME)
		sq_put_null(q);
	else
		sq_put_int(q, time_s);
}

void sq_put_seq(struct sq_query *q, uint64_t seq)
{
	if (seq == STORE_NO_SEQ)
		sq_put_null(q);
	else
		sq_put_u64(q, seq);
}

void sq_put_id_or_none(struct sq_query *q, const uint8_t id[STORE_ID_LEN])
{
	static const uint8_t NONE[STORE_ID_LEN];

	if (memcmp(id, NONE, STORE_ID_LEN) == 0) /* allowed: ids are public */
		sq_put_null(q);
	else
		sq_put_id(q, id);
}

kms_status sq_step(struct sq_query *q, bool *ret_has_row, struct kms_err *err)
{
	int rc = q->rc;

	if (rc == SQLITE_OK) {
		rc = sqlite3_step(q->st);
		q->column = -1;
		if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
			*ret_has_row = rc == SQLITE_ROW;
			return KMS_OK;
		}
	}
	q->rc = rc;
	return sq_failed(q, KMS_E_STORE, err);
}

kms_status sq_failed(struct sq_query *q, kms_status status, struct kms_err *err)
{
	return kms_fail(err, status, KMS_SRC_SQLITE, (unsigned long)q->rc, "%s: %.72s", sqlite3_errmsg(sqlite3_db_handle(q->st)),
	                sqlite3_sql(q->st));
}

kms_status sq_step_one(struct sq_query *q, struct kms_err *err)
{
	bool has_row = false;

	KMS_TRY(sq_step(q, &has_row, err));
	return has_row ? KMS_OK : kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "no row");
}

kms_status sq_run(struct sq_query *q, struct kms_err *err)
{
	bool has_row = true;

	while (has_row)
		KMS_TRY(sq_step(q, &has_row, err));
	return KMS_OK;
}

void sq_take_some(struct sq_query *q, void *ret_bytes, size_t cap, size_t *ret_len)
{
	const void *bytes = sqlite3_column_blob(q->st, ++q->column);
	size_t len = (size_t)sqlite3_column_bytes(q->st, q->column);

	*ret_len = 0;
	if (len > cap) {
		q->is_damaged = true;
	} else if (len > 0 && bytes == NULL) {
		q->is_out_of_memory = true;
	} else if (len > 0) {
		memcpy(ret_bytes, bytes, len);
		*ret_len = len;
	}
}

void sq_take_bytes(struct sq_query *q, void *ret_bytes, size_t len)
{
	size_t taken;

	sq_take_some(q, ret_bytes, len, &taken);
	if (taken != len)
		q->is_damaged = true;
}

void sq_take_text(struct sq_query *q, char *ret_text, size_t cap)
{
	size_t len;

	sq_take_some(q, ret_text, cap - 1, &len);
	ret_text[len] = '\0';
}

void sq_take_copy(struct sq_query *q, size_t max, uint8_t **ret_bytes, size_t *ret_len)
{
	const void *bytes = sqlite3_column_blob(q->st, ++q->column);
	size_t len = (size_t)sqlite3_column_bytes(q->st, q->column);

	*ret_bytes = NULL;
	*ret_len = 0;
	if (len > max) {
		q->is_damaged = true;
		return;
	}
	if (len == 0)
		return;
	/* One byte more, so that text copies end in a NUL. */
	*ret_bytes = bytes != NULL ? malloc(len + 1) : NULL;
	if (*ret_bytes == NULL) {
		q->is_out_of_memory = true;
		return;
	}
	memcpy(*ret_bytes, bytes, len);
	(*ret_bytes)[len] = 0;
	*ret_len = len;
}

void sq_take_text_copy(struct sq_query *q, size_t max, char **ret_text)
{
	uint8_t *bytes;
	size_t len;

	sq_take_copy(q, max, &bytes, &len);
	*ret_text = (char *)bytes;
}

int64_t sq_take_int(struct sq_query *q)
{
	q->column++;
	if (sqlite3_column_type(q->st, q->column) != SQLITE_INTEGER)
		q->is_damaged = true;
	return sqlite3_column_int64(q->st, q->column);
}

uint64_t sq_take_uint(struct sq_query *q, uint64_t max)
{
	int64_t value = sq_take_int(q);

	if (value < 0 || (uint64_t)value > max)
		q->is_damaged = true;
	return (uint64_t)value;
}

static bool take_null(struct sq_query *q)
{
	if (sqlite3_column_type(q->st, q->column + 1) != SQLITE_NULL)
		return false;
	q->column++;
	return true;
}

int64_t sq_take_time(struct sq_query *q) { return take_null(q) ? STORE_NO_TIME : sq_take_int(q); }
uint64_t sq_take_seq(struct sq_query *q) { return take_null(q) ? STORE_NO_SEQ : sq_take_uint(q, INT64_MAX); }

void sq_take_or_none(struct sq_query *q, void *ret_bytes, size_t len)
{
	if (take_null(q))
		memset(ret_bytes, 0, len);
	else
		sq_take_bytes(q, ret_bytes, len);
}

kms_status sq_taken(struct sq_query *q, struct kms_err *err)
{
	if (q->is_out_of_memory)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_NOMEM, "no memory for a row");
	if (q->is_damaged)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_CORRUPT, "a row holds what cannot be there: %.96s",
		                sqlite3_sql(q->st));
	return KMS_OK;
}

kms_status sq_exec(sqlite3 *db, const char *sql, struct kms_err *err)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	if (rc != SQLITE_OK)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, (unsigned long)rc, "%s: %.72s", sqlite3_errmsg(db), sql);
	return KMS_OK;
}

static void finalize_at(sqlite3_stmt **st) { (void)sqlite3_finalize(*st); }

kms_status sq_ask(sqlite3 *db, const char *sql, char *ret_text, size_t cap, struct kms_err *err)
{
	__attribute__((cleanup(finalize_at))) sqlite3_stmt *st = NULL;
	const unsigned char *text;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc != SQLITE_ROW)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, (unsigned long)rc, "%s: %.72s", sqlite3_errmsg(db), sql);
	text = sqlite3_column_text(st, 0);
	(void)sqlite3_snprintf((int)cap, ret_text, "%s", text != NULL ? (const char *)text : "");
	return KMS_OK;
}

kms_status sq_ask_int(sqlite3 *db, const char *sql, int64_t *ret_value, struct kms_err *err)
{
	char text[32], *end;
	int64_t value;

	KMS_TRY(sq_ask(db, sql, text, sizeof(text), err));
	value = strtoll(text, &end, 10);
	if (end == text || *end != '\0')
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_CORRUPT, "not a number: %.96s", sql);
	*ret_value = value;
	return KMS_OK;
}
