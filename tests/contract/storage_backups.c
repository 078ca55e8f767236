/* tests/contract/storage_backups.c - the storage port: backup epochs, what was backed up in them, and copies of the whole database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/sqlite/sqlite.h"
#include "tests/support/store_fixture.h"

static kms_status one(struct store_fixture *f, struct store_change c) { return store_fixture_one(f, c); }

static kms_status begin_epoch(struct store_fixture *f, unsigned n)
{
	return one(f, (struct store_change){ .kind = STORE_EPOCH_ADD, .epoch = store_fixture_epoch(n) });
}

static kms_status end_epoch(struct store_fixture *f, uint32_t number, int64_t ended_s)
{
	return one(f, (struct store_change){ .kind = STORE_EPOCH_END, .epoch = { .number = number, .ended_s = ended_s } });
}

static kms_status add(struct store_fixture *f, struct store_backup b)
{
	return one(f, (struct store_change){ .kind = STORE_BACKUP_ADD, .backup = b });
}

static kms_status drop(struct store_fixture *f, const struct store_backup *b)
{
	return one(f, (struct store_change){ .kind = STORE_BACKUP_DROP, .backup = *b });
}

static bool is_known(struct store_fixture *f, const uint8_t obj[STORE_ID_LEN])
{
	bool known = false;

	assert_int_equal(store_object_known(f->r, obj, &known, NULL), KMS_OK);
	return known;
}

/* ---- epochs ---- */

static void an_epoch_closes_the_one_before_and_ends_once(void **state)
{
	struct store_fixture *f = *state;
	struct store_epoch first = store_fixture_epoch(1), second = store_fixture_epoch(2), got[3] = { 0 }, none = { 0 };
	size_t count = 99;

	assert_int_equal(store_epochs(f->r, 0, got, 3, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_EPOCH_ADD, .epoch = none }), KMS_E_INTERNAL);
	assert_int_equal(begin_epoch(f, 1), KMS_OK);
	assert_int_equal(begin_epoch(f, 1), KMS_E_CONFLICT); /* a key is one epoch's */
	assert_int_equal(end_epoch(f, 1, 1700000100), KMS_E_CONFLICT); /* the newest */
	assert_int_equal(begin_epoch(f, 2), KMS_OK);
	first.closed_s = second.created_s;
	assert_true(is_known(f, first.obj));
	assert_int_equal(end_epoch(f, 1, STORE_NO_TIME), KMS_E_INTERNAL);
	assert_int_equal(end_epoch(f, 3, 1700000100), KMS_E_CONFLICT);
	assert_int_equal(end_epoch(f, 1, 1700000100), KMS_OK);
	assert_int_equal(end_epoch(f, 1, 1700000100), KMS_E_CONFLICT);
	first.ended_s = 1700000100;
	assert_false(is_known(f, first.obj));
	assert_true(is_known(f, second.obj));
	store_fixture_reopen(f);
	assert_int_equal(store_epochs(f->r, 0, got, 3, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_memory_equal(&got[0], &second, sizeof(second));
	assert_memory_equal(&got[1], &first, sizeof(first));
	assert_int_equal(store_epochs(f->r, 2, got, 3, &count, NULL), KMS_OK);
	assert_true(count == 1 && got[0].number == 1);
	assert_int_equal(store_epoch_of_object(f->r, second.obj, &got[0], NULL), KMS_OK);
	assert_int_equal(got[0].number, 2);
	assert_int_equal(store_epoch_of_object(f->r, none.obj, &got[0], NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_epochs(f->r, 0, got, 0, &count, NULL), KMS_E_INTERNAL);
}

/* ---- backups ---- */

static void the_newest_backup_of_a_key_in_each_epoch_is_kept(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "Master"), other = store_fixture_key(2, &v, "other");
	struct store_backup b = store_fixture_backup(2, 1, &k), got[4] = { 0 };
	size_t count;

	assert_int_equal(add(f, b), KMS_E_FENCED); /* in no epoch */
	assert_int_equal(begin_epoch(f, 1), KMS_OK);
	assert_int_equal(add(f, store_fixture_backup(1, 1, &k)), KMS_OK);
	memcpy(b.key_name, "MASTER", sizeof("MASTER"));
	assert_int_equal(add(f, b), KMS_OK);
	assert_int_equal(add(f, store_fixture_backup(2, 1, &other)), KMS_E_CONFLICT); /* the id of another */
	assert_int_equal(add(f, store_fixture_backup(3, 1, &other)), KMS_OK);
	assert_int_equal(begin_epoch(f, 2), KMS_OK);
	assert_int_equal(add(f, store_fixture_backup(4, 2, &k)), KMS_OK);
	assert_int_equal(store_backups_of_key(f->r, v.id, "master", got, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_true(got[0].epoch == 2 && got[1].epoch == 1);
	memcpy(b.key_name, "Master", sizeof("Master")); /* as it was written first */
	assert_memory_equal(&got[1], &b, sizeof(b));
	/* With its epoch it is no copy any more, and what was made of it is still told. */
	assert_int_equal(end_epoch(f, 1, 1700000100), KMS_OK);
	assert_int_equal(add(f, store_fixture_backup(5, 1, &k)), KMS_E_FENCED);
	assert_int_equal(store_backups_of_key(f->r, v.id, "master", got, 4, &count, NULL), KMS_OK);
	assert_true(count == 1 && got[0].epoch == 2);
	assert_int_equal(store_backups(f->r, STORE_BACKUP_KEY, v.id, NULL, got, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 3);
	assert_true(got[0].ends_s == 1700000100 && got[2].ends_s == STORE_NO_TIME);
	assert_int_equal(store_backups_of_key(f->r, v.id, "nobody", got, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
}

static void server_backups_have_a_place_until_their_file_is_removed(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "master");
	struct store_backup first = store_fixture_backup(1, 1, NULL), second = store_fixture_backup(2, 1, NULL), of_key = store_fixture_backup(3, 1, &k), got[4] = { 0 };
	struct store_backup same = second;
	size_t count;

	memcpy(same.place, first.place, sizeof(same.place));
	assert_int_equal(begin_epoch(f, 1), KMS_OK);
	assert_int_equal(add(f, first), KMS_OK);
	assert_int_equal(add(f, of_key), KMS_OK);
	assert_int_equal(add(f, same), KMS_E_CONFLICT);
	assert_int_equal(add(f, second), KMS_OK);
	assert_int_equal(store_backups(f->r, STORE_BACKUP_SERVER, NULL, NULL, got, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_memory_equal(&got[0], &first, sizeof(first));
	assert_memory_equal(&got[1], &second, sizeof(second));
	assert_int_equal(store_backups(f->r, STORE_BACKUP_SERVER, NULL, first.id, got, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(store_backups(f->r, STORE_BACKUP_KEY, NULL, NULL, got, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(drop(f, &of_key), KMS_E_NOTFOUND);
	assert_int_equal(drop(f, &first), KMS_OK);
	assert_int_equal(drop(f, &first), KMS_E_NOTFOUND);
	assert_int_equal(store_backups(f->r, STORE_BACKUP_SERVER, NULL, NULL, got, 1, &count, NULL), KMS_OK);
	assert_true(count == 1 && got[0].place[0] == '\0' && got[0].made_s == first.made_s);
	assert_int_equal(add(f, same), KMS_E_CONFLICT); /* the id */
	store_fixture_id('B', 9, same.id);
	assert_int_equal(add(f, same), KMS_OK); /* the place is free */
}

static void a_backup_of_nothing_is_refused(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "master");
	struct store_backup of_key = store_fixture_backup(1, 1, &k), of_server = store_fixture_backup(2, 1, NULL);
	struct store_backup bad[] = { of_key, of_key, of_key, of_server, of_server, of_server, of_server };
	struct store_backup got;
	size_t count;

	assert_int_equal(begin_epoch(f, 1), KMS_OK);
	memset(bad[0].vault_id, 0, STORE_ID_LEN);
	bad[1].key_name[0] = '\0';
	bad[2].place[0] = 'x';
	bad[3].place[0] = '\0';
	memcpy(bad[4].vault_id, v.id, STORE_ID_LEN);
	bad[5].kind = (enum store_backup_kind)3;
	bad[6].bytes = UINT64_MAX;
	for (size_t i = 0; i < KMS_ARRAY_LEN(bad); i++)
		assert_int_equal(add(f, bad[i]), KMS_E_INTERNAL);
	assert_int_equal(store_backups(f->r, STORE_BACKUP_SERVER, NULL, NULL, &got, 0, &count, NULL), KMS_E_INTERNAL);
	assert_int_equal(store_backups_of_key(f->r, v.id, "x", &got, 0, &count, NULL), KMS_E_INTERNAL);
}

/* ---- copies of the whole ---- */

static void drop_copy(const struct store_fixture *f)
{
	static const char *const SUFFIXES[] = { ".copy", ".copy-wal", ".copy-shm", ".copy.lock" };

	for (size_t i = 0; i < KMS_ARRAY_LEN(SUFFIXES); i++)
		(void)unlink(store_fixture_beside(f, SUFFIXES[i]));
}

static const char *copy_path(const struct store_fixture *f)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s", store_fixture_beside(f, ".copy"));
	return path;
}

/* What is in it, by one of many meta records; opened in both modes, as what it is. */
static void assert_copy(struct store_fixture *f, uint64_t leaves, unsigned last)
{
	struct store_meta m = { 0 };
	char name[16];
	struct stat st;
	uint64_t count;

	assert_int_equal(stat(copy_path(f), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	for (int mode = STORE_READ; mode <= STORE_WRITE; mode++) {
		struct store *copy = NULL;
		struct kms_err err = { 0 };
		if (store_open_sqlite(copy_path(f), (enum store_mode)mode, &copy, &err) != KMS_OK)
			fail_msg("%s", err.detail);
		assert_int_equal(store_event_count(copy, &count, NULL), KMS_OK);
		assert_int_equal(count, leaves);
		(void)snprintf(name, sizeof(name), "m%u", last);
		assert_int_equal(store_meta(copy, name, &m, NULL), KMS_OK);
		assert_int_equal(m.value_len, 200);
		(void)snprintf(name, sizeof(name), "m%u", last + 1);
		assert_int_equal(store_meta(copy, name, &m, NULL), KMS_E_NOTFOUND);
		store_close(copy);
	}
}

static struct store_change record(unsigned n)
{
	struct store_change c = { .kind = STORE_META_PUT, .meta = { .value_len = 200 } };

	(void)snprintf(c.meta.name, sizeof(c.meta.name), "m%u", n);
	memset(c.meta.value, 'x', 200);
	return c;
}

/* More than one step of the copy: 2 MiB. */
static void fill(struct store_fixture *f)
{
	static struct store_change many[8000];

	for (unsigned n = 0; n < KMS_ARRAY_LEN(many); n++)
		many[n] = record(n);
	assert_int_equal(store_fixture_write(f, many, KMS_ARRAY_LEN(many), NULL), KMS_OK);
}

static void a_copy_is_the_database_alone_in_one_file(void **state)
{
	struct store_fixture *f = *state;
	struct store_meta m;

	assert_int_equal(one(f, record(0)), KMS_OK);
	assert_int_equal(store_copy(f->r, "relative", NULL, NULL, NULL), KMS_E_INTERNAL);
	assert_int_equal(store_copy(f->r, copy_path(f), NULL, NULL, NULL), KMS_OK);
	assert_int_equal(access(store_fixture_beside(f, ".copy-wal"), F_OK), -1);
	assert_int_equal(access(store_fixture_beside(f, ".copy-journal"), F_OK), -1);
	assert_copy(f, 1, 0);
	/* What is there is not touched. */
	assert_int_equal(store_copy(f->r, copy_path(f), NULL, NULL, NULL), KMS_E_CONFLICT);
	assert_copy(f, 1, 0);
	drop_copy(f);
	/* From the writer's connection too, but not in the middle of its transaction. */
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_copy(f->w, copy_path(f), NULL, NULL, NULL), KMS_E_INTERNAL);
	store_rollback(f->w);
	assert_int_equal(access(copy_path(f), F_OK), -1);
	assert_int_equal(store_copy(f->w, copy_path(f), NULL, NULL, NULL), KMS_OK);
	assert_copy(f, 1, 0);
	assert_int_equal(one(f, record(1)), KMS_OK);
	assert_int_equal(store_meta(f->r, "m1", &m, NULL), KMS_OK); /* its moment has ended with it */
	drop_copy(f);
}

struct watch {
	struct store_fixture *f;
	unsigned calls, stop_at, next;
	uint64_t done, total;
};

/* The writer goes on while the copy is made, and checkpoints. */
static bool write_meanwhile(void *arg, uint64_t done, uint64_t total)
{
	struct watch *w = arg;

	assert_true(done >= w->done && done <= total && (w->total == 0 || w->total == total)); /* never begun anew */
	w->done = done;
	w->total = total;
	w->calls++;
	assert_int_equal(one(w->f, record(w->next++)), KMS_OK);
	assert_int_equal(store_checkpoint(w->f->w, false, NULL), KMS_OK);
	return w->calls != w->stop_at;
}

static void a_copy_is_of_one_moment_while_others_write(void **state)
{
	struct store_fixture *f = *state;
	struct watch w = { .f = f, .next = 8000 };

	fill(f);
	assert_int_equal(store_copy(f->r, copy_path(f), write_meanwhile, &w, NULL), KMS_OK);
	assert_true(w.calls >= 2 && w.done == w.total);
	assert_copy(f, 1, 7999);
	drop_copy(f);
	/* The next one has what was written meanwhile. */
	assert_int_equal(store_copy(f->r, copy_path(f), NULL, NULL, NULL), KMS_OK);
	assert_copy(f, 1 + w.calls, 7999 + w.calls);
	drop_copy(f);
}

static void a_copy_that_is_stopped_leaves_nothing(void **state)
{
	struct store_fixture *f = *state;
	struct watch w = { .f = f, .next = 8000, .stop_at = 2 };

	fill(f);
	assert_int_equal(store_copy(f->r, copy_path(f), write_meanwhile, &w, NULL), KMS_E_SHUTDOWN);
	assert_int_equal(w.calls, 2);
	assert_int_equal(access(copy_path(f), F_OK), -1);
	assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_OK); /* nobody holds the WAL any more */
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_epoch_closes_the_one_before_and_ends_once),
		T(the_newest_backup_of_a_key_in_each_epoch_is_kept),
		T(server_backups_have_a_place_until_their_file_is_removed),
		T(a_backup_of_nothing_is_refused),
		T(a_copy_is_the_database_alone_in_one_file),
		T(a_copy_is_of_one_moment_while_others_write),
		T(a_copy_that_is_stopped_leaves_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
