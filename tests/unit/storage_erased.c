/* tests/unit/storage_erased.c - what is left of something erased: nothing in memory, and nothing that could be read as less than it is. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/sqlite/db.h"
#include "tests/support/sanitized.h"
#include "tests/support/store_fixture.h"

#define UNCHECKED "PRAGMA ignore_check_constraints = ON; "

#define NO_PAGES (4 * 4096) /* what a connection uses that has cached none: its own state, and an empty schema for what is temporary */

static int cached(struct store *s)
{
	int used = -1, most;

	assert_int_equal(sqlite3_db_status(sq_of(s)->db, SQLITE_DBSTATUS_CACHE_USED, &used, &most, 0), SQLITE_OK);
	return used;
}

/* In the heap, read past the C library, whose own copies would be in it. */
static size_t heap_count(const char *needle, size_t len)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	char line[512];
	size_t hits = 0;

	assert_true(maps != NULL && memory >= 0);
	while (fgets(line, sizeof(line), maps) != NULL) {
		size_t from, to;
		char *text;
		if (strstr(line, "[heap]") == NULL || sscanf(line, "%zx-%zx", &from, &to) != 2)
			continue;
		text = mmap(NULL, to - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_true(text != MAP_FAILED);
		assert_int_equal(pread(memory, text, to - from, (off_t)from), to - from);
		for (const char *at = text; (at = memmem(at, to - from - (size_t)(at - text), needle, len)) != NULL; at++)
			hits++;
		(void)munmap(text, to - from);
	}
	(void)fclose(maps);
	(void)close(memory);
	return hits;
}

/* The blob is in the database, in the WAL, and in what SQLite keeps of both; not in this program's own variables, so that what is found is SQLite's. */
static void a_connection_that_forgets_has_nothing_of_an_erased_version_in_memory(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "master");
	struct store_change add[] = { { .kind = STORE_VAULT_ADD, .vault = v }, { .kind = STORE_KEY_ADD, .key = k },
		                      { .kind = STORE_VERSION_ADD, .version = store_fixture_version(1, &k) },
		                      { .kind = STORE_VERSION_ADD, .version = store_fixture_version(2, &k) } };
	struct store_change erase[] = { { .kind = STORE_VERSION_ERASE, .version = add[2].version }, { .kind = STORE_VERSION_ERASE, .version = add[3].version } };
	char needle[16];

	if (T_IS_SANITIZED)
		skip(); /* its heap is another, and keeps what was freed */
	memset(add[2].version.wrapped, '~', add[2].version.wrapped_len); /* static storage, not the heap */
	memset(needle, '~', sizeof(needle));
	add[3].version.wrapped_len = 40; /* small things have other homes than large ones */
	add[3].version.tags = NULL;
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	{
		STORE_VERSION_AUTO large = { 0 };
		STORE_VERSION_AUTO small = { 0 };
		assert_int_equal(store_version_of_object(f->r, add[2].version.obj, &large, NULL), KMS_OK);
		assert_int_equal(store_version_of_object(f->r, add[3].version.obj, &small, NULL), KMS_OK);
	}
	assert_true(cached(f->r) > NO_PAGES && cached(f->w) > NO_PAGES);
	assert_true(heap_count(needle, sizeof(needle)) > 0);
	assert_int_equal(store_fixture_write(f, erase, KMS_ARRAY_LEN(erase), NULL), KMS_OK);
	store_forget(f->r);
	assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_OK);
	assert_true(cached(f->r) < NO_PAGES && cached(f->w) < NO_PAGES);
	assert_int_equal(heap_count(needle, sizeof(needle)), 0);
}

/* Every read of what tells of destructions, alone and in a list. */
enum end_read { OF_LOCK, OF_TOMBSTONE, OF_CERTIFICATE, OF_EPOCH, OF_BACKUP };

static kms_status read_end(struct store_fixture *f, enum end_read what)
{
	struct store_vault v = store_fixture_vault(1, "payroll"), got_v;
	struct store_tombstone t;
	struct store_epoch e = store_fixture_epoch(1);
	struct store_backup b;
	struct store_certificate want = store_fixture_certificate(1, &v);
	STORE_CERTIFICATE_AUTO one = { 0 };
	STORE_CERTIFICATE_AUTO listed = { 0 };
	kms_status both[2] = { KMS_OK, KMS_OK };
	size_t count = 0;

	switch (what) {
	case OF_LOCK: both[0] = both[1] = store_vault_by_id(f->r, v.id, &got_v, NULL); break;
	case OF_TOMBSTONE:
		both[0] = store_tombstone(f->r, v.root_id, &t, NULL);
		both[1] = store_tombstones(f->r, v.id, 5, NULL, &t, 1, &count, NULL);
		break;
	case OF_CERTIFICATE:
		both[0] = store_certificate(f->r, want.id, &one, NULL);
		both[1] = store_certificates(f->r, NULL, NULL, false, &listed, 1, &count, NULL);
		assert_true(both[0] == KMS_OK || listed.checks == NULL);
		break;
	case OF_EPOCH:
		both[0] = store_epoch_of_object(f->r, e.obj, &e, NULL);
		both[1] = store_epochs(f->r, 2, &e, 1, &count, NULL);
		break;
	case OF_BACKUP: both[0] = both[1] = store_backups(f->r, STORE_BACKUP_SERVER, NULL, NULL, &b, 1, &count, NULL); break;
	}
	assert_int_equal(both[0], both[1]);
	return both[0];
}

/* Read as less, a lock would be open, or something dead would count as alive. */
static void damage_in_what_tells_of_an_end_is_an_error(void **state)
{
	struct store_fixture *f = *state;
	static const struct { enum end_read read; const char *damage, *mend; } DAMAGES[] = {
		{ OF_LOCK, "UPDATE vault SET is_locked = 2", "UPDATE vault SET is_locked = 1" },
		{ OF_LOCK, "UPDATE vault SET next_root_id = x'00'", "UPDATE vault SET next_root_id = NULL" },
		{ OF_TOMBSTONE, "UPDATE tombstone SET kind = 0", "UPDATE tombstone SET kind = 2" },
		{ OF_TOMBSTONE, "UPDATE tombstone SET kind = 5", "UPDATE tombstone SET kind = 2" },
		{ OF_TOMBSTONE, "UPDATE tombstone SET mac = zeroblob(31)", "UPDATE tombstone SET mac = zeroblob(32)" },
		{ OF_TOMBSTONE, "UPDATE tombstone SET spki_sha256 = x'00'", "UPDATE tombstone SET spki_sha256 = NULL" },
		{ OF_CERTIFICATE, "UPDATE certificate SET state = 0", "UPDATE certificate SET state = 1" },
		{ OF_CERTIFICATE, "UPDATE certificate SET state = 4", "UPDATE certificate SET state = 1" },
		{ OF_CERTIFICATE, "UPDATE certificate SET until_s = 1", "UPDATE certificate SET until_s = NULL" },
		{ OF_CERTIFICATE, "UPDATE certificate SET scope = 4", "UPDATE certificate SET scope = 2" },
		{ OF_CERTIFICATE, "UPDATE certificate SET signatures = printf('%.16385c', 'x')", "UPDATE certificate SET signatures = ''" },
		{ OF_EPOCH, "UPDATE epoch SET ended_s = 1, closed_s = NULL", "UPDATE epoch SET ended_s = NULL" },
		{ OF_BACKUP, "UPDATE backup SET place = printf('%.256c', 'x')", "UPDATE backup SET place = 'x'" },
		{ OF_BACKUP, "UPDATE backup SET bytes = -1", "UPDATE backup SET bytes = 1" },
	};
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_change add[] = {
		{ .kind = STORE_META_PUT, .meta = { .name = "log_origin", .value = "x", .value_len = 1 } },
		{ .kind = STORE_VAULT_ADD, .vault = v },
		{ .kind = STORE_TOMBSTONE_ADD, .tombstone = store_fixture_tombstone(&v, NULL, NULL, 5) },
		{ .kind = STORE_CERTIFICATE_ADD, .certificate = store_fixture_certificate(1, &v) },
		{ .kind = STORE_EPOCH_ADD, .epoch = store_fixture_epoch(1) },
		{ .kind = STORE_BACKUP_ADD, .backup = store_fixture_backup(1, 1, NULL) },
	};

	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(DAMAGES); i++) {
		char sql[256];
		assert_int_equal(read_end(f, DAMAGES[i].read), KMS_OK);
		(void)snprintf(sql, sizeof(sql), UNCHECKED "%s", DAMAGES[i].damage);
		assert_int_equal(sq_exec(sq_of(f->w)->db, sql, NULL), KMS_OK);
		if (read_end(f, DAMAGES[i].read) != KMS_E_STORE)
			fail_msg("read in spite of: %s", DAMAGES[i].damage);
		(void)snprintf(sql, sizeof(sql), UNCHECKED "%s", DAMAGES[i].mend);
		assert_int_equal(sq_exec(sq_of(f->w)->db, sql, NULL), KMS_OK);
	}
}

/* Read as less, somebody would be told nothing, or a key would not be looked at. */
static kms_status read_following(struct store_fixture *f, char what, const struct store_key *k, const struct store_webhook *w)
{
	static struct store_person p;
	struct store_due due;
	struct store_webhook got;
	struct store_delivery d;
	uint64_t seq;
	size_t count;

	switch (what) {
	case 'd': return store_due_of(f->r, k->id, &due, NULL);
	case 'c': return store_cursor(f->r, "x", &seq, NULL);
	case 'w': return store_webhook(f->r, w->id, &got, NULL);
	case 'y': return store_deliveries(f->r, w->id, STORE_DELIVERY_WAITING, UINT64_MAX, &d, 1, &count, NULL);
	default: return store_person(f->r, 7, &p, NULL);
	}
}

static void damage_in_what_follows_the_log_is_an_error(void **state)
{
	struct store_fixture *f = *state;
	static const struct {
		char what;
		const char *damage, *mend;
	} DAMAGES[] = {
		{ 'd', "UPDATE due SET near_version = x'00'", "UPDATE due SET near_version = NULL" },
		{ 'd', "UPDATE due SET attempts = -1", "UPDATE due SET attempts = 0" },
		{ 'c', "UPDATE cursor SET seq = -1", "UPDATE cursor SET seq = 1" },
		{ 'w', "UPDATE webhook SET state = 0", "UPDATE webhook SET state = 1" },
		{ 'w', "UPDATE webhook SET shape = 3", "UPDATE webhook SET shape = 1" },
		{ 'w', "UPDATE webhook SET url = ''", "UPDATE webhook SET url = 'https://x.test/'" },
		{ 'w', "UPDATE webhook SET url = printf('%.513c', 'x')", "UPDATE webhook SET url = 'https://x.test/'" },
		{ 'w', "UPDATE webhook SET generation = 0", "UPDATE webhook SET generation = 1" },
		{ 'y', "UPDATE delivery SET event = 0", "UPDATE delivery SET event = 1" },
		{ 'y', "UPDATE delivery SET event_id = x''", "UPDATE delivery SET event_id = zeroblob(16)" },
		{ 'p', "UPDATE person SET pid = x'00'", "UPDATE person SET pid = zeroblob(16)" },
		{ 'p', "UPDATE material SET wrapped = zeroblob(4097)", "UPDATE material SET wrapped = zeroblob(9)" },
	};
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "master");
	struct store_webhook w = { .name = "w", .url = "https://x.test/", .shape = 1, .events = 1, .state = STORE_WEBHOOK_PENDING, .generation = 1 };
	struct store_change add[] = {
		{ .kind = STORE_VAULT_ADD, .vault = v },
		{ .kind = STORE_KEY_ADD, .key = k },
		{ .kind = STORE_VERSION_ADD, .version = store_fixture_version(1, &k) },
		{ .kind = STORE_CURSOR_SET, .cursor = { .name = "x", .seq = 1 } },
		{ .kind = STORE_WEBHOOK_ADD },
		{ .kind = STORE_DELIVERY_ADD, .delivery = { .seq = 1, .event = 1, .state = STORE_DELIVERY_WAITING } },
		{ .kind = STORE_PERSON_ADD, .person = &(const struct store_person){ .ref = 7, .sealed_len = 9 } },
	};

	memcpy(w.vault_id, v.id, STORE_ID_LEN);
	add[4].webhook = w;
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(DAMAGES); i++) {
		char sql[256];
		assert_int_equal(read_following(f, DAMAGES[i].what, &k, &w), KMS_OK);
		(void)snprintf(sql, sizeof(sql), UNCHECKED "%s", DAMAGES[i].damage);
		assert_int_equal(sq_exec(sq_of(f->w)->db, sql, NULL), KMS_OK);
		if (read_following(f, DAMAGES[i].what, &k, &w) != KMS_E_STORE)
			fail_msg("read in spite of: %s", DAMAGES[i].damage);
		(void)snprintf(sql, sizeof(sql), UNCHECKED "%s", DAMAGES[i].mend);
		assert_int_equal(sq_exec(sq_of(f->w)->db, sql, NULL), KMS_OK);
	}
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_connection_that_forgets_has_nothing_of_an_erased_version_in_memory),
		T(damage_in_what_tells_of_an_end_is_an_error),
		T(damage_in_what_follows_the_log_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
