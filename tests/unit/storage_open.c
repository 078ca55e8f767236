/* tests/unit/storage_open.c - opening a SQLite database: what is refused, what the files look like, and migrations. */
#include <fcntl.h>
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

#include "storage/sqlite/db.h"
#include "storage/sqlite/sqlite.h"
#include "tests/support/store_fixture.h"

#define SCHEMA_TEXT "SELECT group_concat(sql, char(10)) FROM (SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name)"

/* The fixture's files with both connections closed. */
static void shut(struct store_fixture *f)
{
	store_close(f->r);
	store_close(f->w);
	f->r = f->w = NULL;
}

static sqlite3 *raw_open(const char *path)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL), SQLITE_OK);
	return db;
}

static void raw(const char *path, const char *sql)
{
	sqlite3 *db = raw_open(path);

	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void assert_refused(const struct store_fixture *f, enum store_mode mode, const char *words)
{
	struct kms_err err = { 0 };
	struct store *s = NULL;

	assert_int_equal(store_open_sqlite(f->path, mode, &s, &err), KMS_E_STORE);
	assert_null(s);
	if (strstr(err.detail, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.detail, words);
}

static void a_second_writer_is_refused_and_told_why(void **state)
{
	struct store_fixture *f = *state;

	assert_refused(f, STORE_WRITE, "second writer");
	store_fixture_reopen(f); /* the lock ends with its holder */
}

static void all_files_are_for_their_owner_alone(void **state)
{
	struct store_fixture *f = *state;
	static const char *const SUFFIXES[] = { "", "-wal", "-shm", ".lock" };
	struct stat st;

	for (size_t i = 0; i < KMS_ARRAY_LEN(SUFFIXES); i++) {
		assert_int_equal(stat(store_fixture_beside(f, SUFFIXES[i]), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
	shut(f);
	assert_int_equal(chmod(f->path, 0644), 0);
	store_fixture_reopen(f);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_reader_does_not_create_a_database(void **state)
{
	struct store_fixture *f = *state;

	shut(f);
	assert_int_equal(unlink(f->path), 0);
	assert_refused(f, STORE_READ, "unable to open");
	assert_int_equal(access(f->path, F_OK), -1);
}

static void a_relative_path_is_refused(void **state)
{
	struct kms_err err = { 0 };
	struct store *s = NULL;

	(void)state;
	assert_int_equal(store_open_sqlite("file:x?vfs=unix-none", STORE_WRITE, &s, &err), KMS_E_STORE);
}

static void a_newer_schema_is_refused(void **state)
{
	struct store_fixture *f = *state;

	shut(f);
	raw(f->path, "PRAGMA user_version = 1000");
	assert_refused(f, STORE_WRITE, "newer schema 1000");
	assert_refused(f, STORE_READ, "newer schema 1000");
}

static void an_older_schema_is_refused_by_a_reader(void **state)
{
	struct store_fixture *f = *state;

	shut(f);
	assert_int_equal(unlink(f->path), 0);
	raw(f->path, "PRAGMA journal_mode = WAL");
	assert_refused(f, STORE_READ, "schema 0");
}

static void a_foreign_database_is_refused_and_left_alone(void **state)
{
	struct store_fixture *f = *state;
	sqlite3 *db;
	int64_t tables = 0;

	shut(f);
	assert_int_equal(unlink(f->path), 0);
	raw(f->path, "CREATE TABLE theirs (x)");
	assert_refused(f, STORE_WRITE, "not a Holdfast database");
	raw(f->path, "PRAGMA user_version = 1");
	assert_refused(f, STORE_WRITE, "not a Holdfast database");
	db = raw_open(f->path);
	assert_int_equal(sq_ask_int(db, "SELECT count(*) FROM sqlite_schema", &tables, NULL), KMS_OK);
	assert_int_equal(tables, 1);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void a_file_that_is_no_database_is_refused(void **state)
{
	struct store_fixture *f = *state;
	FILE *file;

	shut(f);
	file = fopen(f->path, "wb");
	assert_non_null(file);
	for (int i = 0; i < 4096; i++)
		assert_true(fputc('x', file) == 'x');
	assert_int_equal(fclose(file), 0);
	assert_refused(f, STORE_WRITE, "not a database");
	assert_refused(f, STORE_READ, "not a database");
}

static void a_promise_that_cannot_be_kept_is_refused_by_name(void **state)
{
	struct store_fixture *f = *state;

	shut(f);
	raw(f->path, "PRAGMA journal_mode = DELETE");
	assert_refused(f, STORE_READ, "journal_mode is delete");
	/* Set too late, it has no effect: erased pages would never be given back. */
	raw(f->path, "PRAGMA auto_vacuum = NONE; VACUUM; PRAGMA journal_mode = WAL");
	assert_refused(f, STORE_WRITE, "auto_vacuum is 0");
	assert_refused(f, STORE_READ, "auto_vacuum is 0");
}

static void a_database_with_two_names_is_refused(void **state)
{
	struct store_fixture *f = *state;

	shut(f);
	assert_int_equal(link(f->path, store_fixture_beside(f, ".twin")), 0);
	assert_refused(f, STORE_WRITE, "exactly one name");
}

static void a_reader_that_closes_last_leaves_the_wal_to_the_writer(void **state)
{
	struct store_fixture *f = *state;
	struct store_change c = { .kind = STORE_META_PUT, .meta = { .name = "x" } };
	struct stat st;

	assert_int_equal(store_fixture_one(f, c), KMS_OK);
	store_close(f->w);
	f->w = NULL;
	store_close(f->r);
	f->r = NULL;
	assert_int_equal(stat(store_fixture_beside(f, "-wal"), &st), 0);
	assert_true(st.st_size > 0);
	store_fixture_reopen(f);
	assert_int_equal(store_meta(f->r, "x", &c.meta, NULL), KMS_OK);
}

static void a_truncating_checkpoint_empties_the_wal(void **state)
{
	struct store_fixture *f = *state;
	struct store_change c = { .kind = STORE_META_PUT, .meta = { .name = "x" } };
	struct stat st;

	assert_int_equal(store_fixture_one(f, c), KMS_OK);
	assert_int_equal(store_checkpoint(f->w, false, NULL), KMS_OK);
	assert_int_equal(stat(store_fixture_beside(f, "-wal"), &st), 0);
	assert_true(st.st_size > 0);
	assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_OK);
	assert_int_equal(stat(store_fixture_beside(f, "-wal"), &st), 0);
	assert_int_equal(st.st_size, 0);
}

static void damage_in_a_row_is_an_error_and_not_an_absence(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), got;

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = v }), KMS_OK);
	shut(f);
	raw(f->path, "PRAGMA ignore_check_constraints = ON; UPDATE vault SET root_id = x'00'");
	store_fixture_reopen(f);
	assert_int_equal(store_vault_by_id(f->r, v.id, &got, NULL), KMS_E_STORE);
}

#define UNCHECKED "PRAGMA ignore_check_constraints = ON; "
#define SEVEN "FROM pool p, json_each('[1,2,3,4,5,6,7]')"

/* Nothing of it, too little, too long, too many. */
static void a_damaged_pool_is_an_error_and_neither_an_absence_nor_in_part(void **state)
{
	struct store_fixture *f = *state;
	static const char *const DAMAGES[] = {
		UNCHECKED "DELETE FROM pool_root",
		UNCHECKED "UPDATE pool_root SET der = x'' WHERE position = 1",
		UNCHECKED "UPDATE pool_root SET der = zeroblob(8193) WHERE position = 0",
		UNCHECKED "UPDATE pool_subject SET name = name || name || name WHERE position = 0",
		UNCHECKED "INSERT INTO pool_root (pool_id, position, der) SELECT p.id, 10 + value, x'30' " SEVEN,
		UNCHECKED "INSERT INTO pool_subject (pool_id, position, name) SELECT p.id, 10 + value, value " SEVEN,
	};
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_principal p = store_fixture_principal(1, &v);
	struct store_change add[] = { { .kind = STORE_PRINCIPAL_ADD, .principal = p },
		                      { .kind = STORE_POOL_ADD, .pool = store_fixture_pool(1, &p) } };
	struct store_change mend = { .kind = STORE_POOL_SET, .pool = add[1].pool };

	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(DAMAGES); i++) {
		struct store_pool got = { 0 }, page[2] = { 0 };
		size_t count = 99;
		shut(f);
		raw(f->path, DAMAGES[i]);
		store_fixture_reopen(f);
		if (store_pool(f->r, p.id, &got, NULL) != KMS_E_STORE)
			fail_msg("read in spite of: %s", DAMAGES[i]);
		assert_null(got.roots[0].der);
		assert_int_equal(store_pools(f->r, NULL, page, 2, &count, NULL), KMS_E_STORE);
		assert_null(page[0].roots[0].der);
		assert_int_equal(count, 99);
		assert_int_equal(store_fixture_one(f, mend), KMS_OK);
		assert_int_equal(store_pool(f->r, p.id, &got, NULL), KMS_OK);
		store_pool_clear(&got);
	}
}

/* A vault with one of everything that is read by access.c and approval.c. */
static void add_access(struct store_fixture *f, struct store_vault *v, struct store_principal *p, struct store_principal *group,
                       struct store_approval *a)
{
	struct store_change add[10];

	*v = store_fixture_vault(1, "payroll");
	*p = store_fixture_principal(1, v);
	*group = store_fixture_group(1, v);
	*a = store_fixture_approval(1, v, group);
	add[0] = (struct store_change){ .kind = STORE_VAULT_ADD, .vault = *v };
	add[1] = (struct store_change){ .kind = STORE_NETWORKS_SET, .networks = { .text = "192.0.2.1/32" } };
	memcpy(add[1].networks.vault_id, v->id, STORE_ID_LEN);
	add[2] = (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = *p };
	add[3] = (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = *group };
	add[4] = (struct store_change){ .kind = STORE_CREDENTIAL_ADD, .credential = store_fixture_credential(1, p) };
	add[5] = (struct store_change){ .kind = STORE_ROLE_DEFINE, .role = store_fixture_role(1, v) };
	add[6] = (struct store_change){ .kind = STORE_ROLE_ADD, .assignment = store_fixture_assignment(p, v, 5) };
	add[7] = (struct store_change){ .kind = STORE_MEMBER_ADD, .member = store_fixture_member(group, p) };
	add[8] = (struct store_change){ .kind = STORE_APPROVAL_ADD, .approval = *a };
	add[9] = (struct store_change){ .kind = STORE_APPROVAL_VOTE, .vote = store_fixture_vote(a, p) };
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
}

/* Every read of who may do what, by the table that it depends on. */
enum access_read { OF_VAULT, OF_NETWORK, OF_PRINCIPAL, OF_CREDENTIAL, OF_ROLE, OF_ASSIGNMENT, OF_MEMBER, OF_APPROVAL, OF_VOTE };

/* The first status that is not KMS_OK, or the last. Both ways where there are two: alone, and in a list, which must not be left half filled. */
static kms_status read_access(struct store_fixture *f, enum access_read what)
{
	struct store_vault v = store_fixture_vault(1, "payroll"), got_v;
	struct store_principal p = store_fixture_principal(1, &v), group = store_fixture_group(1, &v), list[2];
	struct store_approval a = store_fixture_approval(1, &v, &group);
	struct store_credential secret = store_fixture_credential(1, &p);
	STORE_CREDENTIAL_AUTO one_secret = { 0 };
	STORE_CREDENTIAL_AUTO listed_secret = { 0 };
	STORE_ROLE_AUTO one_role = { 0 };
	STORE_ROLE_AUTO listed_role = { 0 };
	STORE_APPROVAL_AUTO one_approval = { 0 };
	STORE_APPROVAL_AUTO open = { 0 };
	STORE_APPROVAL_AUTO listed_approval = { 0 };
	struct store_assignment roles[2];
	struct store_vote vote;
	char text[STORE_NETWORK_MAX + 1];
	size_t count = 0;
	kms_status both[3] = { KMS_OK, KMS_OK, KMS_OK };

	switch (what) {
	case OF_VAULT:
		both[0] = store_vault_by_id(f->r, v.id, &got_v, NULL);
		both[1] = store_vaults(f->r, NULL, &got_v, 1, &count, NULL);
		break;
	case OF_NETWORK: both[0] = both[1] = store_networks(f->r, v.id, text, NULL); break;
	case OF_PRINCIPAL:
		both[0] = store_principal(f->r, p.id, list, NULL);
		both[1] = store_principals(f->r, v.id, group.id, list, 2, &count, NULL);
		break;
	case OF_CREDENTIAL:
		both[0] = store_credential(f->r, secret.kind, secret.hash, &one_secret, NULL);
		both[1] = store_credentials(f->r, p.id, &listed_secret, 1, &count, NULL);
		assert_true(both[0] == KMS_OK || listed_secret.created_s == 0);
		break;
	case OF_ROLE:
		both[0] = store_custom_role(f->r, STORE_CUSTOM_ROLE, &one_role, NULL);
		both[1] = store_custom_roles(f->r, v.id, 0, &listed_role, 1, &count, NULL);
		assert_true(both[0] == KMS_OK || listed_role.actions == NULL);
		break;
	case OF_ASSIGNMENT: both[0] = both[1] = store_roles(f->r, p.id, roles, 2, &count, NULL); break;
	case OF_MEMBER:
		both[0] = store_groups_of(f->r, p.id, list, 2, &count, NULL);
		both[1] = store_members(f->r, group.id, NULL, list, 2, &count, NULL);
		break;
	case OF_APPROVAL:
		both[0] = store_approval(f->r, a.id, &one_approval, NULL);
		both[1] = store_approvals(f->r, v.id, NULL, false, &listed_approval, 1, &count, NULL);
		both[2] = store_approval_open(f->r, v.id, group.id, a.digest, &open, NULL);
		assert_true(both[0] == KMS_OK || listed_approval.request == NULL);
		break;
	case OF_VOTE: both[0] = both[1] = store_votes(f->r, a.id, &vote, 1, &count, NULL); break;
	}
	assert_int_equal(both[0], both[1]);
	assert_true(both[2] == KMS_OK || both[2] == both[0] || both[2] == KMS_E_NOTFOUND);
	return both[0];
}

/* Read as less, it would let somebody in, or let an act through with fewer people. */
static void damage_in_what_decides_is_an_error_and_not_a_right(void **state)
{
	struct store_fixture *f = *state;
	static const struct { enum access_read read; const char *damage, *mend; } DAMAGES[] = {
		{ OF_VAULT, "UPDATE vault SET quorum = 0", "UPDATE vault SET quorum = 1" },
		{ OF_VAULT, "UPDATE vault SET quorum = 17", "UPDATE vault SET quorum = 1" },
		{ OF_VAULT, "UPDATE vault SET purge_approvals = -1", "UPDATE vault SET purge_approvals = 0" },
		{ OF_VAULT, "UPDATE vault SET is_founded = 2", "UPDATE vault SET is_founded = 0" },
		{ OF_VAULT, "UPDATE vault SET issuer = printf('%.33c', 'x')", "UPDATE vault SET issuer = ''" },
		{ OF_NETWORK, "UPDATE network SET ranges = ''", "UPDATE network SET ranges = '192.0.2.1/32'" },
		{ OF_NETWORK, "UPDATE network SET ranges = printf('%.4097c', '1')", "UPDATE network SET ranges = '192.0.2.1/32'" },
		{ OF_PRINCIPAL, "UPDATE principal SET kind = 0", "UPDATE principal SET kind = 1" },
		{ OF_PRINCIPAL, "UPDATE principal SET kind = 3", "UPDATE principal SET kind = 1" },
		{ OF_PRINCIPAL, "UPDATE principal SET is_enabled = 2", "UPDATE principal SET is_enabled = 1" },
		{ OF_CREDENTIAL, "UPDATE credential SET label = printf('%.129c', 'x')", "UPDATE credential SET label = ''" },
		{ OF_CREDENTIAL, "UPDATE credential SET data = zeroblob(8193)", "UPDATE credential SET data = NULL" },
		{ OF_CREDENTIAL, "UPDATE credential SET id = x'00'", "UPDATE credential SET id = zeroblob(16)" },
		{ OF_ROLE, "UPDATE custom_role SET actions = ''", "UPDATE custom_role SET actions = 'keys/read'" },
		{ OF_ROLE, "UPDATE custom_role SET actions = printf('%.4097c', 'x')", "UPDATE custom_role SET actions = 'keys/read'" },
		{ OF_ROLE, "UPDATE custom_role SET name = printf('%.65c', 'x')", "UPDATE custom_role SET name = 'x'" },
		{ OF_ASSIGNMENT, "UPDATE assignment SET role = -1", "UPDATE assignment SET role = 5" },
		{ OF_ASSIGNMENT, "UPDATE assignment SET role = 4294967296 + 5", "UPDATE assignment SET role = 5" },
		{ OF_ASSIGNMENT, "UPDATE assignment SET key_name = printf('%.128c', 'x')", "UPDATE assignment SET key_name = ''" },
		{ OF_MEMBER, "UPDATE principal SET kind = 4", "UPDATE principal SET kind = 2" },
		{ OF_APPROVAL, "UPDATE approval SET quorum = 0", "UPDATE approval SET quorum = 1" },
		{ OF_APPROVAL, "UPDATE approval SET quorum = 17", "UPDATE approval SET quorum = 1" },
		{ OF_APPROVAL, "UPDATE approval SET state = 0", "UPDATE approval SET state = 1" },
		{ OF_APPROVAL, "UPDATE approval SET state = 5", "UPDATE approval SET state = 1" },
		{ OF_APPROVAL, "UPDATE approval SET request = ''", "UPDATE approval SET request = '{}'" },
		{ OF_APPROVAL, "UPDATE approval SET request = printf('%.2049c', 'x')", "UPDATE approval SET request = '{}'" },
		{ OF_APPROVAL, "UPDATE approval SET act = printf('%.33c', 'x')", "UPDATE approval SET act = 'vault.shred'" },
		{ OF_VOTE, "UPDATE vote SET approves = 2", "UPDATE vote SET approves = 1" },
		{ OF_VOTE, "UPDATE vote SET signature = x'55'", "UPDATE vote SET signature = NULL" },
		{ OF_VOTE, "UPDATE vote SET certificate = zeroblob(32)", "UPDATE vote SET certificate = NULL" },
		{ OF_VOTE, "UPDATE vote SET certificate = x'55', signature = x'55'", "UPDATE vote SET certificate = NULL, signature = NULL" },
		{ OF_VOTE, "UPDATE vote SET certificate = zeroblob(32), signature = zeroblob(513)",
		  "UPDATE vote SET certificate = NULL, signature = NULL" },
	};
	struct store_vault v;
	struct store_principal p, group;
	struct store_approval a;
	struct store_role role;
	size_t count;

	add_access(f, &v, &p, &group, &a);
	for (int what = OF_VAULT; what <= OF_VOTE; what++)
		assert_int_equal(read_access(f, (enum access_read)what), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(DAMAGES); i++) {
		char sql[256];
		shut(f);
		(void)snprintf(sql, sizeof(sql), UNCHECKED "%s", DAMAGES[i].damage);
		raw(f->path, sql);
		store_fixture_reopen(f);
		if (read_access(f, DAMAGES[i].read) != KMS_E_STORE)
			fail_msg("read in spite of: %s", DAMAGES[i].damage);
		shut(f);
		(void)snprintf(sql, sizeof(sql), UNCHECKED "%s", DAMAGES[i].mend);
		raw(f->path, sql);
		store_fixture_reopen(f);
		assert_int_equal(read_access(f, DAMAGES[i].read), KMS_OK);
	}
	/* A custom role under the number of a built-in one. */
	shut(f);
	raw(f->path, UNCHECKED "UPDATE custom_role SET number = 5");
	store_fixture_reopen(f);
	assert_int_equal(store_custom_role(f->r, 5, &role, NULL), KMS_E_STORE);
	assert_int_equal(store_custom_roles(f->r, v.id, 0, &role, 1, &count, NULL), KMS_E_STORE);
}

/* What the writer does just before a reader's next statement on the roots. */
struct meanwhile {
	struct store_fixture *f;
	struct store_change change;
	int times;
};

static int write_meanwhile(unsigned event, void *context, void *statement, void *text)
{
	struct meanwhile *m = context;

	(void)event;
	(void)text;
	if (strstr(sqlite3_sql(statement), "FROM pool_root") != NULL && m->times++ == 0)
		assert_int_equal(store_fixture_one(m->f, m->change), KMS_OK);
	return 0;
}

/* New subjects with old roots would let in a certificate that was never accepted. */
static void a_pool_is_read_as_of_one_moment(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_principal p = store_fixture_principal(1, &v);
	struct store_change add[] = { { .kind = STORE_PRINCIPAL_ADD, .principal = p },
		                      { .kind = STORE_POOL_ADD, .pool = store_fixture_pool(1, &p) } };
	struct meanwhile m = { .f = f, .change = { .kind = STORE_POOL_SET, .pool = store_fixture_pool(2, &p) } };
	size_t count;

	m.change.pool.root_count = 1;
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	assert_int_equal(sqlite3_trace_v2(sq_of(f->r)->db, SQLITE_TRACE_STMT, write_meanwhile, &m), SQLITE_OK);
	for (int as_list = 0; as_list < 2; as_list++) {
		struct store_pool got = { 0 };
		m.times = 0;
		assert_int_equal(as_list ? store_pools(f->r, NULL, &got, 1, &count, NULL) : store_pool(f->r, p.id, &got, NULL), KMS_OK);
		assert_int_equal(m.times, 1);
		/* As it was before, both times: the second finds what the first wrote, and replaces it. */
		assert_string_equal(got.subjects[0], as_list ? m.change.pool.subjects[0] : add[1].pool.subjects[0]);
		assert_int_equal(got.root_count, as_list ? 1 : 2);
		store_pool_clear(&got);
		m.change.pool.root_count = 2;
	}
}

/* ---- migrations: the machinery with a list of its own, then the shipped list ---- */

static const struct sq_migration STEPS[] = {
	{ 1, "0001_a.sql", "PRAGMA application_id = 0x486F6C64; CREATE TABLE a (id INTEGER PRIMARY KEY, x TEXT) STRICT;" },
	{ 2, "0002_b.sql", "CREATE TABLE b (a INTEGER REFERENCES a (id)) STRICT; INSERT INTO a (x) VALUES ('two');" },
	/* The documented way to change a table that others refer to. */
	{ 3, "0003_c.sql", "CREATE TABLE a2 (id INTEGER PRIMARY KEY, x TEXT, y TEXT) STRICT; INSERT INTO a2 SELECT id, x, 'y' FROM a; "
	                   "DROP TABLE a; ALTER TABLE a2 RENAME TO a;" },
};
static const struct sq_migration BROKEN[] = {
	{ 1, "0001_a.sql", "PRAGMA application_id = 0x486F6C64; CREATE TABLE a (id INTEGER PRIMARY KEY, x TEXT) STRICT;" },
	{ 2, "0002_bad.sql", "CREATE TABLE half (x); DROP TABLE a; CREATE TABLE oops;" },
};
static const struct sq_migration DANGLING[] = {
	{ 1, "0001_a.sql", "PRAGMA application_id = 0x486F6C64; CREATE TABLE a (id INTEGER PRIMARY KEY) STRICT;" },
	{ 2, "0002_bad.sql", "CREATE TABLE b (a INTEGER REFERENCES a (id)) STRICT; INSERT INTO b VALUES (7);" },
};

static void schema_of(const char *path, const struct sq_migration *list, size_t from, size_t to, char *ret_text, size_t cap)
{
	sqlite3 *db = raw_open(path);

	assert_int_equal(sq_migrate(db, path, list, from, NULL), KMS_OK);
	assert_int_equal(sq_migrate(db, path, list, to, NULL), KMS_OK);
	assert_int_equal(sq_schema_check(db, to, NULL), KMS_OK);
	assert_int_equal(sq_ask(db, SCHEMA_TEXT, ret_text, cap, NULL), KMS_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	assert_int_equal(unlink(path), 0);
}

static void a_migrated_schema_equals_a_fresh_one_from_every_past_version(void **state)
{
	struct store_fixture *f = *state;
	static char fresh[32768], migrated[32768];
	const struct { const struct sq_migration *list; size_t count; } lists[] = {
		{ STEPS, KMS_ARRAY_LEN(STEPS) }, { SQ_MIGRATIONS, SQ_MIGRATION_COUNT },
	};
	char path[sizeof(f->path) + 2];

	(void)snprintf(path, sizeof(path), "%s2", f->path);
	for (size_t l = 0; l < KMS_ARRAY_LEN(lists); l++) {
		schema_of(path, lists[l].list, lists[l].count, lists[l].count, fresh, sizeof(fresh));
		assert_true(strlen(fresh) > 50 && strlen(fresh) < sizeof(fresh) - 1);
		for (size_t from = 1; from < lists[l].count; from++) {
			schema_of(path, lists[l].list, from, lists[l].count, migrated, sizeof(migrated));
			assert_string_equal(migrated, fresh);
		}
	}
}

static void the_copy_is_erased_after_success_and_kept_after_failure(void **state)
{
	struct store_fixture *f = *state;
	const struct { const struct sq_migration *list; const char *words; } bad[] = { { BROKEN, "" }, { DANGLING, "dangling" } };
	const char *copy;
	int64_t version, tables;
	char path[sizeof(f->path) + 2], copy_path[sizeof(f->path) + 32];
	sqlite3 *db;

	(void)snprintf(path, sizeof(path), "%s2", f->path);
	copy = store_fixture_beside(f, "2.before-migration");
	(void)snprintf(copy_path, sizeof(copy_path), "%s", copy);
	for (size_t i = 0; i < KMS_ARRAY_LEN(bad); i++) {
		struct kms_err err = { 0 };
		struct stat st;
		db = raw_open(path);
		assert_int_equal(sq_migrate(db, path, bad[i].list, 1, NULL), KMS_OK);
		assert_int_equal(access(copy_path, F_OK), -1); /* nothing to keep before the first */
		assert_int_equal(sqlite3_exec(db, "INSERT INTO a (id) VALUES (41)", NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(sq_migrate(db, path, bad[i].list, 2, &err), KMS_E_STORE);
		assert_non_null(strstr(err.detail, bad[i].words));
		/* Nothing of the failed step is left. */
		assert_int_equal(sq_ask_int(db, "PRAGMA user_version", &version, NULL), KMS_OK);
		assert_int_equal(version, 1);
		assert_int_equal(sq_ask_int(db, "SELECT count(*) FROM sqlite_schema WHERE name IN ('half', 'b')", &tables, NULL), KMS_OK);
		assert_int_equal(tables, 0);
		assert_int_equal(sq_ask_int(db, "PRAGMA foreign_keys", &version, NULL), KMS_OK);
		assert_int_equal(version, 1);
		assert_int_equal(stat(copy_path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
		assert_int_equal(sqlite3_close(db), SQLITE_OK);
		db = raw_open(copy_path);
		assert_int_equal(sq_ask_int(db, "SELECT id FROM a", &version, NULL), KMS_OK);
		assert_int_equal(version, 41);
		assert_int_equal(sqlite3_close(db), SQLITE_OK);
		/* A repaired program gets through, and the copy goes. */
		db = raw_open(path);
		assert_int_equal(sq_migrate(db, path, STEPS, i == 0 ? KMS_ARRAY_LEN(STEPS) : 1, NULL), KMS_OK);
		assert_int_equal(sqlite3_close(db), SQLITE_OK);
		assert_int_equal(access(copy_path, F_OK), -1);
		assert_int_equal(unlink(path), 0);
	}
}

/* What all old schemas have in common is there, and old rows take part in what is new. */
static void assert_old_rows(struct store_fixture *f, unsigned schema)
{
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_principal p = store_fixture_principal(1, &v), got;
	struct store_key k = store_fixture_key(1, &v, "master");
	struct store_version first = store_fixture_version(1, &k), second = store_fixture_version(2, &k);
	struct store_policy want = store_fixture_policy(1, &k), policy = { 0 };
	struct store_pool pool = store_fixture_pool(1, &p);
	struct store_external e = store_fixture_external(1, &pool, &k, &first), got_e;
	struct store_change add[] = { { .kind = STORE_POOL_ADD, .pool = pool }, { .kind = STORE_EXTERNAL_ADD, .external = e },
		                      { .kind = STORE_EXTERNAL_USED, .external = e } };
	STORE_VERSION_AUTO one = { 0 };
	STORE_VERSION_AUTO two = { 0 };
	STORE_POOL_AUTO got_pool = { 0 };

	assert_int_equal(store_version(f->r, k.id, first.id, true, &one, NULL), KMS_OK);
	assert_string_equal(one.tags, first.tags);
	assert_int_equal(one.wrapped_len, 2);
	assert_int_equal(one.encryptions, 0);
	assert_int_equal(store_version(f->r, k.id, second.id, true, &two, NULL), KMS_OK);
	assert_null(two.tags);
	assert_int_equal(two.encryptions, schema >= 2 ? 9 : 0);
	assert_int_equal(store_policy(f->r, k.id, &policy, NULL), schema >= 2 ? KMS_OK : KMS_E_NOTFOUND);
	if (schema >= 2)
		assert_memory_equal(&policy, &want, sizeof(want));

	assert_int_equal(store_pool(f->r, p.id, &got_pool, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_external_of_key(f->r, k.id, &got_e, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	assert_int_equal(store_pool(f->r, p.id, &got_pool, NULL), KMS_OK);
	assert_int_equal(store_external_of_key(f->r, k.id, &got_e, NULL), KMS_OK);
	assert_int_equal(got_e.uses, 1);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_POOL_SET, .pool = pool }), KMS_OK);
	assert_int_equal(store_principal(f->r, p.id, &got, NULL), KMS_OK);
	assert_string_equal(got.name, p.name);
	assert_int_equal(got.epoch, 3);
}

/* What was a column of the principal has become a credential of it; what had a role has it on the whole vault, without end. */
static void assert_old_access(struct store_fixture *f, unsigned schema)
{
	struct store_vault v = store_fixture_vault(1, "payroll"), got_v = { 0 };
	struct store_principal p = store_fixture_principal(1, &v), second = store_fixture_principal(2, &v), got = { 0 };
	struct store_assignment central = store_fixture_assignment(&p, NULL, 3), local = store_fixture_assignment(&p, &v, 7), list[3];
	struct store_credential all[2] = { 0 };
	static const uint8_t OLD_HASH[STORE_HASH_LEN];
	size_t count = 99;

	assert_int_equal(store_vault_by_name(f->r, "payroll", &got_v, NULL), KMS_OK);
	assert_true(got_v.quorum == 1 && got_v.purge_approvals == 0 && !got_v.is_founded && !got_v.has_networks && got_v.issuer[0] == '\0');
	p.epoch = 2;
	store_fixture_id('i', 1, p.pid);
	assert_int_equal(store_principal(f->r, p.id, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &p, sizeof(p));
	assert_int_equal(store_credentials(f->r, p.id, all, KMS_ARRAY_LEN(all), &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(all[0].kind, STORE_CREDENTIAL_SECRET);
	assert_memory_equal(all[0].hash, OLD_HASH, sizeof(OLD_HASH));
	assert_true(all[0].expires_s == STORE_NO_TIME && all[0].created_s == 1700000001 && all[0].data == NULL);
	assert_int_equal(store_credential(f->r, STORE_CREDENTIAL_SECRET, OLD_HASH, &all[1], NULL), KMS_OK);
	assert_memory_equal(all[1].id, all[0].id, STORE_ID_LEN);
	assert_int_equal(store_roles(f->r, p.id, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, schema >= 3 ? 2 : 0);
	if (schema < 3)
		return;
	central.created_s = 1700000009;
	local.created_s = 1700000008;
	assert_memory_equal(&list[0], &central, sizeof(central));
	assert_memory_equal(&list[1], &local, sizeof(local));
	assert_int_equal(store_principal(f->r, second.id, &got, NULL), KMS_OK);
	assert_true(!got.is_enabled && got.epoch == 5 && got.tokens_from_s == 0);
	assert_int_equal(store_credentials(f->r, second.id, all, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_true(all[0].expires_s == 1800000000 && all[0].hash[0] == 's');
	/* A pool was never known by a secret: its random one is forgotten. */
	second = store_fixture_principal(3, &v);
	assert_int_equal(store_credentials(f->r, second.id, all, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	{
		STORE_POOL_AUTO pool = { 0 };
		assert_int_equal(store_pool(f->r, second.id, &pool, NULL), KMS_OK);
		assert_true(!pool.is_service && pool.root_count == 1);
	}
}

/* The first custom role gets the first number, in a migrated database too. */
static void assert_first_number(struct store_fixture *f)
{
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_role role = store_fixture_role(1, &v), got = { 0 };

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_ROLE_DEFINE, .role = role }), KMS_OK);
	assert_int_equal(store_custom_role(f->r, STORE_CUSTOM_ROLE, &got, NULL), KMS_OK);
	assert_memory_equal(got.id, role.id, STORE_ID_LEN);
	store_role_clear(&got);
}

/* The log goes on where it was, and can be closed. */
static void assert_old_log(struct store_fixture *f, unsigned schema)
{
	struct store_change close = { .kind = STORE_LOG_CLOSE,
		                      .log_close = { .closed = { .origin = "kms.example/audit/log1" }, .next_origin = "kms.example/audit/log2" } };
	struct store_intent i[2] = { 0 };
	struct store_event e = { 0 };
	uint8_t node[STORE_HASH_LEN];
	uint64_t leaves = 99;
	size_t count = 99;

	assert_int_equal(store_log_keys(f->r, &(struct store_log_key){ 0 }, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(store_event_count(f->r, &leaves, NULL), KMS_OK);
	assert_int_equal(leaves, schema >= 4 ? 2 : 0);
	f->seq = leaves;
	if (schema < 4)
		return;
	assert_int_equal(store_event(f->r, 1, &e, NULL), KMS_OK);
	assert_int_equal(e.leaf_len, 7);
	store_event_clear(&e);
	assert_int_equal(store_node(f->r, 1, 0, node, NULL), KMS_OK);
	assert_int_equal(store_intents(f->r, UINT64_MAX, i, 2, &count, NULL), KMS_OK);
	assert_true(count == 1 && i[0].seq == 1 && !i[0].is_of_closed_log);
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, &close, 1, 0, NULL), KMS_OK);
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	f->seq = 0;
	assert_int_equal(store_intents(f->r, UINT64_MAX, i, 2, &count, NULL), KMS_OK);
	assert_true(count == 1 && i[0].is_of_closed_log);
}

/* What was wrapped was wrapped under its vault's one root; the backup key has become the first epoch's. */
static void assert_old_keys(struct store_fixture *f, unsigned schema)
{
	struct store_vault v = store_fixture_vault(1, "payroll"), got = { 0 };
	struct store_key k = store_fixture_key(1, &v, "master");
	struct store_version first = store_fixture_version(1, &k), second = store_fixture_version(2, &k);
	struct store_epoch e[2] = { 0 };
	struct store_meta m;
	static const uint8_t NONE[STORE_ID_LEN];
	uint8_t backup_key[STORE_ID_LEN];
	STORE_VERSION_AUTO one = { 0 };
	STORE_VERSION_AUTO two = { 0 };
	size_t count = 99;

	assert_int_equal(store_vault_by_id(f->r, v.id, &got, NULL), KMS_OK);
	assert_true(!got.is_locked && got.created_seq == STORE_NO_SEQ && memcmp(got.next_root_id, NONE, STORE_ID_LEN) == 0);
	assert_int_equal(store_version_of_object(f->r, first.obj, &one, NULL), KMS_OK);
	assert_true(one.created_seq == STORE_NO_SEQ && memcmp(one.root_id, v.root_id, STORE_ID_LEN) == 0);
	assert_int_equal(store_version_of_object(f->r, second.obj, &two, NULL), KMS_OK);
	assert_memory_equal(two.root_id, NONE, STORE_ID_LEN);
	assert_int_equal(store_wrapped_under(f->r, v.id, &v.root_id[0], NULL, &backup_key, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(store_meta(f->r, "backup_key", &m, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_epochs(f->r, 0, e, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, schema >= 5 ? 1 : 0);
	if (schema < 5)
		return;
	store_fixture_id('b', 1, backup_key);
	assert_memory_equal(e[0].obj, backup_key, STORE_ID_LEN);
	assert_true(e[0].number == 1 && e[0].created_s == 1700000000 && e[0].closed_s == STORE_NO_TIME && e[0].ended_s == STORE_NO_TIME);
}

/* What lives is looked at at once; nobody is recorded, and nothing was read yet. */
static void assert_old_following(struct store_fixture *f, unsigned schema)
{
	struct store_vault v = store_fixture_vault(1, "payroll"), got = { 0 };
	struct store_key k = store_fixture_key(1, &v, "master"), gone = store_fixture_key(9, &v, "gone");
	struct store_due due[2] = { 0 };
	uint64_t seq = 99;
	size_t count = 99;

	assert_int_equal(store_due(f->r, 0, (const uint8_t[STORE_ID_LEN]){ 0 }, due, 2, &count, NULL), KMS_OK);
	assert_true(count == 1 && due[0].at_s == 0 && due[0].attempts == 0 && due[0].key_epoch == 3);
	assert_memory_equal(due[0].key_id, k.id, STORE_ID_LEN);
	assert_int_equal(store_key(f->r, v.id, "gone", &gone, NULL), schema >= 6 ? KMS_OK : KMS_E_NOTFOUND);
	assert_int_equal(store_due_of(f->r, gone.id, due, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_cursor(f->r, "exports", &seq, NULL), KMS_OK);
	assert_int_equal(seq, 0);
	assert_int_equal(store_vault_by_id(f->r, v.id, &got, NULL), KMS_OK);
	assert_true(got.person_days == 0 && got.person_basis[0] == '\0');
}

static void an_installation_that_does_not_know_its_age_has_an_old_epoch(void **state)
{
	struct store_fixture *f = *state;
	struct store_epoch e = { 0 };
	size_t count = 99;

	store_fixture_make_old_schema(f, 5);
	raw(f->path, "DELETE FROM meta WHERE name = 'created'");
	store_fixture_reopen(f);
	assert_int_equal(store_epochs(f->r, 0, &e, 1, &count, NULL), KMS_OK);
	assert_true(count == 1 && e.created_s == 0);
}

static void rows_of_every_past_schema_come_through_the_migration(void **state)
{
	struct store_fixture *f = *state;

	for (unsigned schema = 1; schema < SQ_MIGRATION_COUNT; schema++) {
		char text[64];
		store_fixture_make_old_schema(f, schema);
		(void)snprintf(text, sizeof(text), "schema %u", schema);
		assert_refused(f, STORE_READ, text);
		store_fixture_reopen(f);
		assert_int_equal(access(store_fixture_beside(f, ".before-migration"), F_OK), -1);
		assert_old_following(f, schema);
		assert_old_keys(f, schema);
		assert_old_log(f, schema);
		assert_old_access(f, schema);
		assert_first_number(f);
		assert_old_rows(f, schema);
		assert_int_equal(sq_ask(sq_of(f->w)->db, "PRAGMA integrity_check", text, sizeof(text), NULL), KMS_OK);
		assert_string_equal(text, "ok");
	}
}

static void rows_of_the_first_schema_come_through_the_migration(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "master"), got;
	struct store_version first = store_fixture_version(1, &k);
	struct store_change count = { .kind = STORE_VERSION_ENCRYPTS, .encryption = { .limit = 1 } };
	struct store_change policy = { .kind = STORE_POLICY_SET, .policy = store_fixture_policy(1, &k) };
	STORE_VERSION_AUTO one = { 0 };
	STORE_VERSION_AUTO two = { 0 };
	char text[64];

	store_fixture_make_old_schema(f, 1);
	assert_refused(f, STORE_READ, "schema 1");
	store_fixture_reopen(f);
	assert_int_equal(access(store_fixture_beside(f, ".before-migration"), F_OK), -1);
	assert_int_equal(store_key(f->r, v.id, "MASTER", &got, NULL), KMS_OK);
	assert_memory_equal(got.id, k.id, STORE_ID_LEN);
	assert_int_equal(got.epoch, 3);
	assert_int_equal(store_policy(f->r, k.id, &policy.policy, NULL), KMS_E_NOTFOUND);

	assert_int_equal(store_version(f->r, k.id, first.id, true, &one, NULL), KMS_OK);
	assert_int_equal(one.ordinal, 1);
	assert_int_equal(one.crv, 0);
	assert_int_equal(one.encryptions, 0);
	assert_int_equal(one.epoch, 5);
	assert_string_equal(one.tags, first.tags);
	assert_int_equal(one.pub_len, 2);
	assert_memory_equal(one.pub, "mm", 2);
	assert_int_equal(one.wrapped_len, 2);
	assert_memory_equal(one.wrapped, "ww", 2);
	assert_int_equal(store_version(f->r, k.id, NULL, true, &two, NULL), KMS_OK);
	assert_int_equal(two.ordinal, 2);
	assert_int_equal(two.revoked, 2);
	assert_true(two.updated_s == 1700000006);
	assert_null(two.tags);
	assert_null(two.wrapped);

	memcpy(count.encryption.version_id, first.id, STORE_ID_LEN);
	assert_int_equal(store_fixture_one(f, count), KMS_OK);
	assert_int_equal(store_fixture_one(f, count), KMS_E_FENCED);
	assert_int_equal(store_fixture_one(f, policy), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_PURGE, .key = k }), KMS_OK);
	assert_int_equal(sq_ask(sq_of(f->w)->db, "PRAGMA integrity_check", text, sizeof(text), NULL), KMS_OK);
	assert_string_equal(text, "ok");
}

static bool is_savepoint_or_such(const char *sql)
{
	return strncmp(sql, "BEGIN", 5) == 0 || strncmp(sql, "COMMIT", 6) == 0 || strstr(sql, "unit") == sql + strlen(sql) - 4;
}

/* A log is closed once in years, and every row that refers to one of its leaves changes. */
static bool closes_the_log(size_t statement) { return statement >= SQ_TOMBSTONES_KEEP && statement <= SQ_VERSIONS_UNDATE; }

/* A vault may hold a hundred thousand keys: every statement finds its rows by an index, in order. */
static void no_statement_scans_or_sorts_a_table(void **state)
{
	struct store_fixture *f = *state;

	for (size_t i = 0; i < SQ_COUNT; i++) {
		sqlite3_stmt *plan = NULL;
		char *sql = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", SQ_TEXT[i]);
		assert_non_null(sql);
		if (!is_savepoint_or_such(SQ_TEXT[i]) && !closes_the_log(i))
			assert_int_equal(sqlite3_prepare_v2(sq_of(f->w)->db, sql, -1, &plan, NULL), SQLITE_OK);
		while (plan != NULL && sqlite3_step(plan) == SQLITE_ROW) {
			const char *step = (const char *)sqlite3_column_text(plan, 3);
			bool is_small = strcmp(step, "SCAN CONSTANT ROW") == 0 || strcmp(step, "SCAN v USING INDEX version_resident") == 0;
			if (!is_small && (strncmp(step, "SCAN", 4) == 0 || strstr(step, "TEMP B-TREE") != NULL))
				fail_msg("%s: %s", step, SQ_TEXT[i]);
		}
		assert_int_equal(sqlite3_finalize(plan), SQLITE_OK);
		sqlite3_free(sql);
	}
}

static void the_shipped_schema_has_the_promised_shape(void **state)
{
	struct store_fixture *f = *state;
	struct sqlite_store *s = sq_of(f->w);
	int64_t loose = -1, version = -1;

	/* sqlite_* tables are SQLite's own. */
	assert_int_equal(sq_ask_int(s->db, "SELECT count(*) FROM pragma_table_list WHERE NOT strict AND name NOT LIKE 'sqlite_%'", &loose, NULL),
	                 KMS_OK);
	assert_int_equal(loose, 0);
	assert_int_equal(sq_ask_int(s->db, "PRAGMA user_version", &version, NULL), KMS_OK);
	assert_int_equal(version, SQ_MIGRATION_COUNT);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_second_writer_is_refused_and_told_why),
		T(all_files_are_for_their_owner_alone),
		T(a_reader_does_not_create_a_database),
		T(a_relative_path_is_refused),
		T(a_newer_schema_is_refused),
		T(an_older_schema_is_refused_by_a_reader),
		T(a_foreign_database_is_refused_and_left_alone),
		T(a_file_that_is_no_database_is_refused),
		T(a_promise_that_cannot_be_kept_is_refused_by_name),
		T(a_database_with_two_names_is_refused),
		T(a_reader_that_closes_last_leaves_the_wal_to_the_writer),
		T(a_truncating_checkpoint_empties_the_wal),
		T(damage_in_a_row_is_an_error_and_not_an_absence),
		T(a_damaged_pool_is_an_error_and_neither_an_absence_nor_in_part),
		T(damage_in_what_decides_is_an_error_and_not_a_right),
		T(a_pool_is_read_as_of_one_moment),
		T(a_migrated_schema_equals_a_fresh_one_from_every_past_version),
		T(the_copy_is_erased_after_success_and_kept_after_failure),
		T(rows_of_the_first_schema_come_through_the_migration),
		T(rows_of_every_past_schema_come_through_the_migration),
		T(an_installation_that_does_not_know_its_age_has_an_old_epoch),
		T(the_shipped_schema_has_the_promised_shape),
		T(no_statement_scans_or_sorts_a_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
