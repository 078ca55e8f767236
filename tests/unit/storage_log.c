/* tests/unit/storage_log.c - closing a log in SQLite: what happens to its tables, and what a reader of them sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "storage/sqlite/db.h"
#include "tests/support/store_fixture.h"

#define MANY_LEAVES 2000
#define LEAF_LEN 600

static void closable(struct store_fixture *f, uint64_t leaves)
{
	struct store_change origin = { .kind = STORE_META_PUT, .meta = { .name = "log_origin", .value = "one", .value_len = 3 } };
	static char leaf[LEAF_LEN];

	memset(leaf, 'x', sizeof(leaf));
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, &origin, 1, 0, NULL), KMS_OK);
	for (uint64_t seq = 0; seq < leaves; seq++) {
		struct store_event e = store_fixture_event(seq);
		e.leaf = leaf;
		e.leaf_len = sizeof(leaf);
		assert_int_equal(store_append(f->w, &e, NULL), KMS_OK);
	}
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
}

static void close_log(struct store_fixture *f)
{
	struct store_change c = { .kind = STORE_LOG_CLOSE, .log_close = { .closed = { .origin = "one" }, .next_origin = "two" } };

	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, &c, 1, 0, NULL), KMS_OK);
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
}

static void a_new_log_has_the_schema_of_the_old_one(void **state)
{
	struct store_fixture *f = *state;
	static char before[32768], after[32768];
	/* Whatever belongs to the three tables, by the name that it has before; an index of their own would be lost. */
	const char *ask = "SELECT group_concat(coalesce(sql, name), char(10)) FROM (SELECT * FROM sqlite_schema WHERE tbl_name IN "
	                  "('event', 'node', 'checkpoint') ORDER BY type, name)";

	closable(f, 3);
	assert_int_equal(sq_ask(sq_of(f->w)->db, ask, before, sizeof(before), NULL), KMS_OK);
	close_log(f);
	assert_int_equal(sq_ask(sq_of(f->w)->db, ask, after, sizeof(after), NULL), KMS_OK);
	assert_string_equal(after, before);
	assert_true(strstr(after, "event") != NULL && strstr(after, "node") != NULL && strstr(after, "checkpoint") != NULL);
	assert_int_equal(sq_ask(sq_of(f->w)->db, "PRAGMA integrity_check", after, sizeof(after), NULL), KMS_OK);
	assert_string_equal(after, "ok");
}

/* Its leaves are kept, and none is touched. */
static void the_price_of_closing_does_not_depend_on_the_number_of_leaves(void **state)
{
	struct store_fixture *f = *state;
	struct stat wal;
	int64_t kept = 0;

	closable(f, MANY_LEAVES);
	assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_OK);
	close_log(f);
	assert_int_equal(stat(store_fixture_beside(f, "-wal"), &wal), 0);
	assert_in_range(wal.st_size, 1, MANY_LEAVES * LEAF_LEN / 10);
	assert_int_equal(sq_ask_int(sq_of(f->w)->db, "SELECT count(*) FROM event_closed_1", &kept, NULL), KMS_OK);
	assert_int_equal(kept, MANY_LEAVES);
}

static void a_reader_in_the_middle_of_the_old_log_reads_it_to_its_end(void **state)
{
	struct store_fixture *f = *state;
	sqlite3_stmt *st = NULL;
	sqlite3 *db = sq_of(f->r)->db;
	uint64_t count = 0;

	closable(f, 5);
	assert_int_equal(store_event_count(f->r, &count, NULL), KMS_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT seq FROM event ORDER BY seq", -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	close_log(f);
	for (int seq = 1; seq < 5; seq++) {
		assert_int_equal(sqlite3_step(st), SQLITE_ROW);
		assert_int_equal(sqlite3_column_int(st, 0), seq);
	}
	assert_int_equal(store_event_count(f->r, &count, NULL), KMS_OK); /* in the same snapshot */
	assert_int_equal(count, 5);
	assert_int_equal(sqlite3_step(st), SQLITE_DONE);
	assert_int_equal(sqlite3_reset(st), SQLITE_OK);
	assert_int_equal(store_event_count(f->r, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(sqlite3_step(st), SQLITE_DONE); /* prepared again: the new table */
	assert_int_equal(sqlite3_finalize(st), SQLITE_OK);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_new_log_has_the_schema_of_the_old_one),
		T(the_price_of_closing_does_not_depend_on_the_number_of_leaves),
		T(a_reader_in_the_middle_of_the_old_log_reads_it_to_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
