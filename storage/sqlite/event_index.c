/*
 * storage/sqlite/event_index.c - the event index in SQLite. Segments are written in the order of their terms, each term's places as differences of one to three bytes:
 * the file grows at its end only, and a leaf costs some fifty bytes. Not on stable storage at once (synchronous = NORMAL): what a crash takes is made again.
 */
#include "storage/sqlite/event_index.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#define FILE_MODE 0600
#define ALL_MODES 07777
#define APPLICATION_ID 0x486f6c49 /* says in the file whose it is */
#define HEADER_LEN 72 /* up to the end of that */
#define FORMAT 1 /* of the tables and of what core makes terms of */
#define TERM_LEN 9
#define TIMES_LEN 16 /* bytes of a block */
#define PLACE_MAX 3  /* bytes of a difference */

/* As SQLite keeps it in the file. */
static const char MAGIC[16] = "SQLite format 3";
static const char STATE_TABLE[] = "CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), origin_hash BLOB NOT NULL, last_hash BLOB NOT NULL,"
                             " size INTEGER NOT NULL, segment_leaves INTEGER NOT NULL, redo_next INTEGER NOT NULL, redo_end INTEGER NOT NULL) STRICT";
static const char SEGMENT_TABLE[] = "CREATE TABLE segment (id INTEGER PRIMARY KEY, times BLOB NOT NULL) STRICT";
static const char POSTING_TABLE[] = "CREATE TABLE posting (segment INTEGER NOT NULL, term BLOB NOT NULL, places BLOB NOT NULL,"
                                    " PRIMARY KEY (segment, term)) STRICT, WITHOUT ROWID";

enum statement { ST_STATE, ST_TIMES, ST_PLACES, ST_FIRST_WRITE, ST_SET_STATE = ST_FIRST_WRITE, ST_CLEAR, ST_SEGMENT, ST_POSTING, ST_COUNT };
static const char *const SQL[ST_COUNT] = {
	[ST_STATE] = "SELECT origin_hash, last_hash, size, segment_leaves, redo_next, redo_end FROM state WHERE id = 1",
	[ST_TIMES] = "SELECT times FROM segment WHERE id = ?1",
	[ST_PLACES] = "SELECT places FROM posting WHERE segment = ?1 AND term = ?2",
	[ST_SET_STATE] = "INSERT OR REPLACE INTO state (id, origin_hash, last_hash, size, segment_leaves, redo_next, redo_end) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
	[ST_CLEAR] = "DELETE FROM posting WHERE segment = ?1",
	[ST_SEGMENT] = "INSERT OR REPLACE INTO segment (id, times) VALUES (?1, ?2)",
	[ST_POSTING] = "INSERT INTO posting (segment, term, places) VALUES (?1, ?2, ?3)",
};

struct sqlite_index {
	struct event_index base;
	sqlite3 *db;
	sqlite3_stmt *statements[ST_COUNT];
	uint8_t places[EVENT_INDEX_SEGMENT_MAX * PLACE_MAX]; /* of one term, as they are stored */
};

static struct sqlite_index *of(struct event_index *x) { return (struct sqlite_index *)x; }

static kms_status failed(struct sqlite_index *s, int rc, const char *what, struct kms_err *err)
{
	bool is_damage = (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;

	return kms_fail(err, is_damage ? KMS_E_INTEGRITY : KMS_E_STORE, KMS_SRC_SQLITE, (unsigned long)rc, "event index, %s: %s", what, s->db != NULL ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
}

static kms_status damaged(uint64_t segment, struct kms_err *err)
{
	return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SQLITE, SQLITE_CORRUPT, "event index: segment %" PRIu64 " is damaged", segment);
}

static void ix_close(struct event_index *x)
{
	struct sqlite_index *s = of(x);

	for (size_t i = 0; i < ST_COUNT; i++)
		(void)sqlite3_finalize(s->statements[i]);
	if (s->db != NULL)
		(void)sqlite3_close(s->db);
	free(s);
}

static void reset(sqlite3_stmt **st)
{
	(void)sqlite3_reset(*st);
	(void)sqlite3_clear_bindings(*st);
}
#define STATEMENT_AUTO __attribute__((cleanup(reset))) sqlite3_stmt

static kms_status copy_blob(sqlite3_stmt *st, int column, void *ret, size_t len, struct kms_err *err)
{
	if ((size_t)sqlite3_column_bytes(st, column) != len || sqlite3_column_blob(st, column) == NULL)
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SQLITE, SQLITE_CORRUPT, "event index: a value has a wrong length");
	memcpy(ret, sqlite3_column_blob(st, column), len);
	return KMS_OK;
}

static kms_status ix_state(struct event_index *x, struct event_index_state *ret, struct kms_err *err)
{
	struct sqlite_index *s = of(x);
	STATEMENT_AUTO *st = s->statements[ST_STATE];
	int rc = sqlite3_step(st);

	if (rc == SQLITE_DONE)
		return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "event index: it is new");
	if (rc != SQLITE_ROW)
		return failed(s, rc, "state", err);
	KMS_TRY(copy_blob(st, 0, ret->origin_hash, sizeof(ret->origin_hash), err));
	KMS_TRY(copy_blob(st, 1, ret->last_hash, sizeof(ret->last_hash), err));
	ret->size = (uint64_t)sqlite3_column_int64(st, 2);
	ret->segment_leaves = (unsigned)sqlite3_column_int64(st, 3);
	ret->redo_next = (uint64_t)sqlite3_column_int64(st, 4);
	ret->redo_end = (uint64_t)sqlite3_column_int64(st, 5);
	return KMS_OK;
}

static kms_status ix_times(struct event_index *x, uint64_t segment, struct event_times *ret, size_t blocks, struct kms_err *err)
{
	struct sqlite_index *s = of(x);
	STATEMENT_AUTO *st = s->statements[ST_TIMES];
	int rc;

	(void)sqlite3_bind_int64(st, 1, (sqlite3_int64)segment);
	rc = sqlite3_step(st);
	if (rc == SQLITE_DONE)
		return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "event index: segment %" PRIu64 " is not there", segment);
	if (rc != SQLITE_ROW)
		return failed(s, rc, "times", err);
	_Static_assert(sizeof(struct event_times) == TIMES_LEN, "times are stored as they are: the file is of this machine");
	return copy_blob(st, 0, ret, blocks * TIMES_LEN, err);
}

static void encode_term(const struct event_term *t, uint8_t ret[TERM_LEN])
{
	ret[0] = t->kind;
	for (unsigned i = 0; i < 8; i++)
		ret[1 + i] = (uint8_t)(t->hash >> (8 * (7 - i)));
}

static kms_status decode_places(const uint8_t *bytes, size_t len, uint64_t segment, uint16_t *ret, size_t *ret_count, struct kms_err *err)
{
	uint32_t next = 0; /* the lowest place that may follow */
	size_t count = 0, i = 0;

	while (i < len) {
		uint32_t value = 0;
		unsigned shift = 0;
		for (; i < len && (bytes[i] & 0x80) != 0 && shift < 7 * (PLACE_MAX - 1); shift += 7)
			value |= (uint32_t)(bytes[i++] & 0x7f) << shift;
		if (i == len || (bytes[i] & 0x80) != 0)
			return damaged(segment, err);
		value |= (uint32_t)bytes[i++] << shift;
		if (next + value >= EVENT_INDEX_SEGMENT_MAX)
			return damaged(segment, err);
		ret[count++] = (uint16_t)(next + value);
		next += value + 1;
	}
	*ret_count = count;
	return KMS_OK;
}

static kms_status ix_places(struct event_index *x, uint64_t segment, const struct event_term *term, uint16_t *ret, size_t *ret_count, struct kms_err *err)
{
	struct sqlite_index *s = of(x);
	STATEMENT_AUTO *st = s->statements[ST_PLACES];
	uint8_t key[TERM_LEN];
	int rc;

	encode_term(term, key);
	(void)sqlite3_bind_int64(st, 1, (sqlite3_int64)segment);
	(void)sqlite3_bind_blob(st, 2, key, TERM_LEN, SQLITE_STATIC);
	rc = sqlite3_step(st);
	*ret_count = 0;
	if (rc == SQLITE_DONE)
		return KMS_OK;
	if (rc != SQLITE_ROW)
		return failed(s, rc, "places", err);
	return decode_places(sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0), segment, ret, ret_count, err);
}

static kms_status run(struct sqlite_index *s, sqlite3_stmt *st, const char *what, struct kms_err *err)
{
	int rc = sqlite3_step(st);
	return rc == SQLITE_DONE ? KMS_OK : failed(s, rc, what, err);
}

static size_t encode_place(uint32_t value, uint8_t *ret)
{
	size_t len = 0;

	for (; value >= 0x80; value >>= 7)
		ret[len++] = (uint8_t)(value | 0x80);
	ret[len++] = (uint8_t)value;
	return len;
}

static bool is_same_term(const struct event_term *a, const struct event_term *b) { return a->kind == b->kind && a->hash == b->hash; }

/* All places of one term, the first of which is postings[0]. *ret_used: how many postings that were. */
static kms_status put_term(struct sqlite_index *s, uint64_t segment, const struct event_posting *postings, size_t count, size_t *ret_used, struct kms_err *err)
{
	STATEMENT_AUTO *st = s->statements[ST_POSTING];
	uint8_t key[TERM_LEN];
	uint32_t next = 0;
	size_t len = 0, i;

	for (i = 0; i < count && is_same_term(&postings[i].term, &postings[0].term); i++) {
		if (i > 0 && postings[i].place == postings[i - 1].place)
			continue; /* a leaf that says the same twice */
		len += encode_place(postings[i].place - next, s->places + len);
		next = postings[i].place + 1U;
	}
	encode_term(&postings[0].term, key);
	(void)sqlite3_bind_int64(st, 1, (sqlite3_int64)segment);
	(void)sqlite3_bind_blob(st, 2, key, TERM_LEN, SQLITE_STATIC);
	(void)sqlite3_bind_blob(st, 3, s->places, (int)len, SQLITE_STATIC);
	*ret_used = i;
	return run(s, st, "posting", err);
}

static kms_status put_state(struct sqlite_index *s, const struct event_index_state *state, struct kms_err *err)
{
	STATEMENT_AUTO *st = s->statements[ST_SET_STATE];

	(void)sqlite3_bind_blob(st, 1, state->origin_hash, sizeof(state->origin_hash), SQLITE_STATIC);
	(void)sqlite3_bind_blob(st, 2, state->last_hash, sizeof(state->last_hash), SQLITE_STATIC);
	(void)sqlite3_bind_int64(st, 3, (sqlite3_int64)state->size);
	(void)sqlite3_bind_int64(st, 4, (sqlite3_int64)state->segment_leaves);
	(void)sqlite3_bind_int64(st, 5, (sqlite3_int64)state->redo_next);
	(void)sqlite3_bind_int64(st, 6, (sqlite3_int64)state->redo_end);
	return run(s, st, "state", err);
}

static kms_status put_times(struct sqlite_index *s, uint64_t segment, const struct event_times *times, size_t blocks, struct kms_err *err)
{
	STATEMENT_AUTO *clear = s->statements[ST_CLEAR];
	STATEMENT_AUTO *st = s->statements[ST_SEGMENT];

	(void)sqlite3_bind_int64(clear, 1, (sqlite3_int64)segment);
	KMS_TRY(run(s, clear, "clear", err));
	(void)sqlite3_bind_int64(st, 1, (sqlite3_int64)segment);
	(void)sqlite3_bind_blob(st, 2, times, (int)(blocks * TIMES_LEN), SQLITE_STATIC);
	return run(s, st, "segment", err);
}

static kms_status exec(struct sqlite_index *s, const char *sql, struct kms_err *err)
{
	int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
	return rc == SQLITE_OK ? KMS_OK : failed(s, rc, sql, err);
}

static kms_status ix_put(struct event_index *x, uint64_t segment, const struct event_times *times, size_t blocks, const struct event_posting *postings, size_t count,
                         const struct event_index_state *state, struct kms_err *err)
{
	struct sqlite_index *s = of(x);
	kms_status status;

	KMS_TRY(exec(s, "BEGIN IMMEDIATE", err));
	status = put_times(s, segment, times, blocks, err);
	for (size_t i = 0, used = 0; i < count && status == KMS_OK; i += used)
		status = put_term(s, segment, postings + i, count - i, &used, err);
	if (status == KMS_OK)
		status = put_state(s, state, err);
	if (status == KMS_OK)
		status = exec(s, "COMMIT", err);
	if (sqlite3_get_autocommit(s->db) == 0)
		(void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	return status;
}

static const struct event_index_ops OPS = { .name = "sqlite", .close = ix_close, .state = ix_state, .put = ix_put, .times = ix_times, .places = ix_places };

/* ---- opening ---- */

static kms_status foreign(const char *path, const char *why, struct kms_err *err)
{
	return kms_fail(err, KMS_E_CONFLICT, KMS_SRC_SELF, 0, "%s is %s, and no event index of this server: it is left alone, and questions to the log are slow; move it away", path, why);
}

/* @return KMS_OK | KMS_E_NOTFOUND | KMS_E_CONFLICT (it is somebody else's) | KMS_E_STORE */
static kms_status check_file(const char *path, struct kms_err *err)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return kms_fail(err, errno == ENOENT ? KMS_E_NOTFOUND : KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "event index %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return foreign(path, S_ISLNK(st.st_mode) ? "a symbolic link" : "not a regular file", err);
	if (st.st_uid != geteuid() || (st.st_mode & ALL_MODES) != FILE_MODE)
		return foreign(path, "not a file for its owner alone", err);
	return st.st_nlink == 1 ? KMS_OK : foreign(path, "a file with another name", err);
}

/* Before SQLite opens it, since that may already write. Not while a connection of this process is open to the file: closing it here would end the locks of that one. */
static kms_status check_header(const char *path, struct kms_err *err)
{
	uint8_t header[HEADER_LEN];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t len = fd >= 0 ? pread(fd, header, sizeof(header), 0) : -1;
	int failure = errno;
	uint32_t id = 0;

	if (fd >= 0)
		(void)close(fd);
	if (len < 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)failure, "event index %s: %s", path, strerror(failure));
	if (len < HEADER_LEN || memcmp(header, MAGIC, sizeof(MAGIC)) != 0) /* allowed: public */
		return KMS_OK; /* new, or damaged */
	for (size_t i = HEADER_LEN - sizeof(id); i < HEADER_LEN; i++)
		id = id << 8 | header[i];
	return id == APPLICATION_ID ? KMS_OK : foreign(path, "another database", err);
}

static kms_status prepare_file(const char *path, struct kms_err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);

	if (fd >= 0)
		(void)close(fd);
	else if (errno != EEXIST)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "event index %s: %s", path, strerror(errno));
	KMS_TRY(check_file(path, err));
	return check_header(path, err);
}

/* The directory may be reached by links, as its administrators like; SQLite's own refusal of links would be about those too. */
static kms_status resolve(const char *path, char **ret, struct kms_err *err)
{
	const char *name = strrchr(path, '/');
	char *dir = strndup(path, (size_t)(name - path) + 1), *real = dir != NULL ? realpath(dir, NULL) : NULL;
	int len = real != NULL ? asprintf(ret, "%s%s", real, name) : -1;

	free(dir);
	free(real);
	return len >= 0 ? KMS_OK : kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "event index %s: %s", path, strerror(errno));
}

/* One number. The texts are bound when the statement asks for them. */
static kms_status ask(struct sqlite_index *s, const char *sql, int64_t *ret, struct kms_err *err)
{
	static const char *const TABLES[] = { STATE_TABLE, SEGMENT_TABLE, POSTING_TABLE };
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);

	for (int i = 0; i < sqlite3_bind_parameter_count(st); i++)
		(void)sqlite3_bind_text(st, i + 1, TABLES[i], -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(st, 0);
	(void)sqlite3_finalize(st);
	return rc == SQLITE_ROW ? KMS_OK : failed(s, rc, sql, err);
}

/* The identity comes first, and before there is a WAL: whatever a crash leaves, the file says whose it is. */
static kms_status make_tables(struct sqlite_index *s, struct kms_err *err)
{
	KMS_TRY(exec(s, "BEGIN IMMEDIATE", err));
	KMS_TRY(exec(s, STATE_TABLE, err));
	KMS_TRY(exec(s, SEGMENT_TABLE, err));
	KMS_TRY(exec(s, POSTING_TABLE, err));
	return exec(s, "PRAGMA user_version = " KMS_STRINGIFY(FORMAT) "; COMMIT", err);
}

/* A view or a trigger under a name of ours would run whatever its maker wanted. */
static kms_status check_tables(struct sqlite_index *s, struct kms_err *err)
{
	int64_t format = -1, differ = -1;

	KMS_TRY(ask(s, "PRAGMA user_version", &format, err));
	if (format != FORMAT)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_SCHEMA, "event index: it has format %" PRId64 ", not " KMS_STRINGIFY(FORMAT), format);
	KMS_TRY(ask(s, "SELECT abs(count(*) - 3) + abs(count(iif(type = 'table' AND sql IN (?1, ?2, ?3), 1, NULL)) - 3) FROM sqlite_master", &differ, err));
	return differ == 0 ? KMS_OK : kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SQLITE, SQLITE_SCHEMA, "event index: its tables are not what they were made as");
}

static kms_status prepare_tables(struct sqlite_index *s, struct kms_err *err)
{
	int64_t objects = -1;

	KMS_TRY(ask(s, "SELECT count(*) FROM sqlite_master", &objects, err));
	if (objects == 0)
		KMS_TRY(exec(s, "PRAGMA application_id = " KMS_STRINGIFY(APPLICATION_ID), err));
	/* What a segment that is made again no longer says must not stay behind. */
	KMS_TRY(exec(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216; PRAGMA secure_delete = ON", err));
	return objects == 0 ? make_tables(s, err) : KMS_OK;
}

static kms_status set_up(struct sqlite_index *s, enum store_mode mode, struct kms_err *err)
{
	const size_t count = mode == STORE_WRITE ? ST_COUNT : ST_FIRST_WRITE;

	(void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	KMS_TRY(exec(s, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA busy_timeout = 2000; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY", err));
	if (mode == STORE_WRITE)
		KMS_TRY(prepare_tables(s, err));
	KMS_TRY(check_tables(s, err));
	for (size_t i = 0; i < count; i++) {
		int rc = sqlite3_prepare_v3(s->db, SQL[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL);
		if (rc != SQLITE_OK)
			return failed(s, rc, SQL[i], err);
	}
	return KMS_OK;
}

static void close_at(struct sqlite_index **s)
{
	if (*s != NULL)
		ix_close(&(*s)->base);
}

kms_status event_index_open_sqlite(const char *path, enum store_mode mode, struct event_index **ret, struct kms_err *err)
{
	__attribute__((cleanup(close_at))) struct sqlite_index *s = calloc(1, sizeof(*s));
	const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW;
	char *real = NULL;
	int rc;

	if (s == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "event index");
	s->base.ops = &OPS;
	if (path[0] != '/')
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "event index %s: not an absolute path", path);
	if (mode == STORE_WRITE)
		KMS_TRY(prepare_file(path, err));
	else
		KMS_TRY(check_file(path, err));
	KMS_TRY(resolve(path, &real, err));
	rc = sqlite3_open_v2(real, &s->db, flags | (mode == STORE_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY), NULL);
	free(real);
	if (rc != SQLITE_OK)
		return failed(s, rc, "open", err);
	KMS_TRY(set_up(s, mode, err));
	*ret = &KMS_TAKE(s)->base;
	return KMS_OK;
}

kms_status event_index_remove_sqlite(const char *path, struct kms_err *err)
{
	static const char *const SUFFIXES[] = { "", "-wal", "-shm" }; /* the file first: SQLite takes no WAL for a file that is empty */
	kms_status status = check_file(path, err);

	if (status == KMS_OK)
		status = check_header(path, err);
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return status;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SUFFIXES); i++) {
		char *name = NULL;
		int failure = asprintf(&name, "%s%s", path, SUFFIXES[i]) < 0 ? ENOMEM : unlink(name) != 0 ? errno : 0;
		if (failure != ENOMEM)
			free(name);
		if (failure != 0 && failure != ENOENT)
			return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)failure, "event index %s%s cannot be removed: %s", path, SUFFIXES[i], strerror(failure));
	}
	return KMS_OK;
}
