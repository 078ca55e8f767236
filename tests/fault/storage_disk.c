/* tests/fault/storage_disk.c - the disk fails at the 1st, 2nd, 3rd ... call: nothing is acknowledged that is not there, nothing that was
 * acknowledged is lost, and service comes back without help when the disk does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/sqlite/db.h"
#include "storage/sqlite/sqlite.h"
#include "tests/support/fault_vfs.h"
#include "tests/support/sanitized.h"
#include "tests/support/store_fixture.h"

#define TOO_MANY 2000 /* a loop over n that gets here would never end */

struct fault_case {
	const char *name;
	unsigned ops;
	int rc;
	bool lasts;
};
static const struct fault_case CASES[] = {
	{ "write fails once", FAULT_WRITE, SQLITE_IOERR_WRITE, false },
	{ "disk is full", FAULT_WRITE, SQLITE_FULL, true },
	{ "disk is read-only", FAULT_WRITE | FAULT_TRUNCATE, SQLITE_READONLY, true },
	{ "sync fails once", FAULT_SYNC, SQLITE_IOERR_FSYNC, false },
	{ "sync keeps failing", FAULT_SYNC, SQLITE_IOERR_FSYNC, true },
	{ "truncate fails", FAULT_TRUNCATE, SQLITE_IOERR_TRUNCATE, true },
	{ "open fails", FAULT_OPEN, SQLITE_CANTOPEN, true },
	{ "read fails once", FAULT_READ, SQLITE_IOERR_READ, false },
	{ "WAL index fails", FAULT_SHM, SQLITE_IOERR_SHMMAP, false },
	{ "lock fails", FAULT_LOCK, SQLITE_IOERR_LOCK, false },
};

/* Who may do what, and one act that somebody approved: the approval is used up in the unit itself. */
static void access_changes(const struct store_vault *v, const struct store_principal *p, unsigned n, struct store_change c[9])
{
	struct store_principal group = store_fixture_group(n, v);
	struct store_approval a = store_fixture_approval(n, v, &group);
	struct store_change use = { .kind = STORE_APPROVAL_USE, .approval_use = { .settled_s = a.created_s, .count = 1 } };

	c[0] = (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = group };
	c[1] = (struct store_change){ .kind = STORE_MEMBER_ADD, .member = store_fixture_member(&group, p) };
	c[2] = (struct store_change){ .kind = STORE_CREDENTIAL_ADD, .credential = store_fixture_credential(n, p) };
	c[3] = (struct store_change){ .kind = STORE_ROLE_DEFINE, .role = store_fixture_role(n, v) };
	c[4] = (struct store_change){ .kind = STORE_ROLE_ADD, .assignment = store_fixture_assignment(p, v, n % STORE_CUSTOM_ROLE) };
	c[5] = (struct store_change){ .kind = STORE_NETWORKS_SET, .networks = { .text = "192.0.2.0/24" } };
	memcpy(c[5].networks.vault_id, v->id, STORE_ID_LEN);
	c[6] = (struct store_change){ .kind = STORE_APPROVAL_ADD, .approval = a };
	c[7] = (struct store_change){ .kind = STORE_APPROVAL_VOTE, .vote = store_fixture_vote(&a, p) };
	memcpy(use.approval_use.id, a.id, STORE_ID_LEN);
	memcpy(use.approval_use.approvers[0].id, p->id, STORE_ID_LEN);
	use.approval_use.approvers[0].epoch = 3; /* it has a credential and a role now */
	c[8] = use;
}

/* One unit: two keys, a version that encrypts once, a policy, a pool that uses the version once from outside, a right, what tells of a destruction and of a backup, a leaf,
 * a node. */
static kms_status write_unit(struct store_fixture *f, const struct store_vault *v, unsigned n, struct kms_err *err)
{
	char names[2][16];
	struct store_principal pool = store_fixture_principal(n, v);
	struct store_change c[21];
	struct store_event e = store_fixture_event(n);
	uint8_t hash[STORE_HASH_LEN] = { 7 };
	kms_status status;

	(void)snprintf(names[0], sizeof(names[0]), "a%u", n);
	(void)snprintf(names[1], sizeof(names[1]), "b%u", n);
	c[0] = (struct store_change){ .kind = STORE_KEY_ADD, .key = store_fixture_key(2 * n, v, names[0]) };
	c[1] = (struct store_change){ .kind = STORE_KEY_ADD, .key = store_fixture_key(2 * n + 1, v, names[1]) };
	c[2] = (struct store_change){ .kind = STORE_VERSION_ADD, .version = store_fixture_version(n, &c[0].key) };
	c[3] = (struct store_change){ .kind = STORE_VERSION_ENCRYPTS, .encryption = { .limit = 1 } };
	memcpy(c[3].encryption.version_id, c[2].version.id, STORE_ID_LEN);
	c[4] = (struct store_change){ .kind = STORE_POLICY_SET, .policy = store_fixture_policy(n, &c[0].key) };
	c[5] = (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = pool };
	c[6] = (struct store_change){ .kind = STORE_POOL_ADD, .pool = store_fixture_pool(n, &pool) };
	c[7] = (struct store_change){ .kind = STORE_EXTERNAL_ADD,
		                      .external = store_fixture_external(n, &c[6].pool, &c[0].key, &c[2].version) };
	c[8] = (struct store_change){ .kind = STORE_EXTERNAL_USED, .external = c[7].external };
	access_changes(v, &pool, n, &c[9]);
	c[18] = (struct store_change){ .kind = STORE_TOMBSTONE_ADD, .tombstone = store_fixture_tombstone(v, &c[0].key, &c[2].version, n) };
	c[19] = (struct store_change){ .kind = STORE_CERTIFICATE_ADD, .certificate = store_fixture_certificate(n, v) };
	c[20] = (struct store_change){ .kind = STORE_BACKUP_ADD, .backup = store_fixture_backup(n, 1, &c[0].key) };
	status = store_begin(f->w, err);
	if (status == KMS_OK)
		status = store_apply(f->w, c, KMS_ARRAY_LEN(c), n, err);
	if (status == KMS_OK)
		status = store_append(f->w, &e, err);
	if (status == KMS_OK)
		status = store_put_node(f->w, 1, n, hash, err);
	if (status == KMS_OK)
		status = store_commit(f->w, err);
	store_rollback(f->w);
	return status;
}

/* What access_changes() made is all there, or nothing of it. */
static void assert_access(struct store *s, const struct store_vault *v, const struct store_principal *p, unsigned n, bool is_there)
{
	struct store_principal group = store_fixture_group(n, v), got;
	struct store_credential secret = store_fixture_credential(n, p);
	struct store_approval a = store_fixture_approval(n, v, &group);
	struct store_assignment role;
	struct store_vote vote;
	STORE_CREDENTIAL_AUTO got_secret = { 0 };
	STORE_APPROVAL_AUTO got_a = { 0 };
	kms_status found = is_there ? KMS_OK : KMS_E_NOTFOUND;
	size_t count = 99;

	assert_int_equal(store_principal(s, group.id, &got, NULL), found);
	assert_int_equal(store_groups_of(s, p->id, &got, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, is_there);
	assert_int_equal(store_credential(s, secret.kind, secret.hash, &got_secret, NULL), found);
	assert_int_equal(store_roles(s, p->id, &role, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, is_there);
	assert_int_equal(store_votes(s, a.id, &vote, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, is_there);
	assert_int_equal(store_approval(s, a.id, &got_a, NULL), found);
	assert_true(!is_there || got_a.state == STORE_APPROVAL_USED);
}

static void assert_destruction(struct store *s, const struct store_vault *v, unsigned n, kms_status found)
{
	struct store_tombstone t;
	struct store_backup b;
	STORE_CERTIFICATE_AUTO c = { 0 };
	uint8_t id[STORE_ID_LEN];
	char name[16];
	size_t count = 99;

	store_fixture_id('o', n, id);
	assert_int_equal(store_tombstone(s, id, &t, NULL), found);
	store_fixture_id('C', n, id);
	assert_int_equal(store_certificate(s, id, &c, NULL), found);
	(void)snprintf(name, sizeof(name), "a%u", n);
	assert_int_equal(store_backups_of_key(s, v->id, name, &b, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, found == KMS_OK);
}

/* Whole or absent, never in part; the answer of both connections. */
static bool unit_is_there(struct store_fixture *f, const struct store_vault *v, unsigned n)
{
	struct store *both[] = { f->r, f->w };
	bool is_there = false;

	for (size_t i = 0; i < KMS_ARRAY_LEN(both); i++) {
		struct store_key k = { 0 };
		struct store_policy policy;
		struct store_principal p = store_fixture_principal(n, v);
		struct store_external used = { 0 };
		STORE_VERSION_AUTO ver = { 0 };
		STORE_POOL_AUTO pool = { 0 };
		uint8_t hash[STORE_HASH_LEN];
		char name[16];
		kms_status first;
		(void)snprintf(name, sizeof(name), "a%u", n);
		first = store_key(both[i], v->id, name, &k, NULL);
		assert_true(first == KMS_OK || first == KMS_E_NOTFOUND);
		name[0] = 'b';
		assert_int_equal(store_key(both[i], v->id, name, &k, NULL), first);
		store_fixture_id('k', 2 * n, k.id);
		assert_int_equal(store_version(both[i], k.id, NULL, true, &ver, NULL), first);
		if (first == KMS_OK) {
			assert_int_equal(ver.encryptions, 1);
			assert_non_null(ver.tags);
		}
		assert_int_equal(store_policy(both[i], k.id, &policy, NULL), first);
		assert_int_equal(store_pool(both[i], p.id, &pool, NULL), first);
		assert_int_equal(store_external_of_key(both[i], k.id, &used, NULL), first);
		assert_int_equal(used.uses, first == KMS_OK);
		assert_access(both[i], v, &p, n, first == KMS_OK);
		assert_destruction(both[i], v, n, first);
		assert_int_equal(store_node(both[i], 0, n, hash, NULL), first);
		assert_int_equal(store_node(both[i], 1, n, hash, NULL), first);
		if (i > 0)
			assert_int_equal(is_there, first == KMS_OK);
		is_there = first == KMS_OK;
	}
	return is_there;
}

static void assert_sound(struct store_fixture *f)
{
	char text[64];

	assert_int_equal(sq_ask(sq_of(f->w)->db, "PRAGMA integrity_check", text, sizeof(text), NULL), KMS_OK);
	assert_string_equal(text, "ok");
}

/* With a backup epoch, and a log that has a name. */
static struct store_vault add_vault(struct store_fixture *f)
{
	struct store_change c[] = { { .kind = STORE_VAULT_ADD, .vault = store_fixture_vault(1, "payroll") },
		                    { .kind = STORE_EPOCH_ADD, .epoch = store_fixture_epoch(1) },
		                    { .kind = STORE_META_PUT, .meta = { .name = "log_origin", .value = "x", .value_len = 1 } } };

	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, c, KMS_ARRAY_LEN(c), 0, NULL), KMS_OK);
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	return c[0].vault;
}

static void no_write_is_acknowledged_that_is_not_there_and_service_returns_alone(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = add_vault(f);
	unsigned unit = 0;

	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		const struct fault_case *c = &CASES[i];
		bool has_failed = true;
		for (int nth = t_fault_first(); has_failed; nth += T_FAULT_STEP) {
			struct kms_err err = { 0 };
			kms_status status;
			assert_true(nth < TOO_MANY);
			fault_vfs_arm(c->ops, nth, c->rc, c->lasts);
			status = write_unit(f, &v, unit, &err);
			has_failed = fault_vfs_disarm();
			if (status != KMS_OK) {
				if (status != KMS_E_STORE || err.status != KMS_E_STORE || err.source != KMS_SRC_SQLITE)
					fail_msg("%s, call %d: %s: %s", c->name, nth, kms_status_name(status), err.detail);
				/* The writer must be able to tell: it leaves the process after a failed sync. */
				assert_int_equal(err.native == SQLITE_IOERR_FSYNC, c->rc == SQLITE_IOERR_FSYNC);
				if (unit_is_there(f, &v, unit))
					fail_msg("%s, call %d: refused, yet there", c->name, nth);
				/* The same connection goes on when the disk does. */
				assert_int_equal(write_unit(f, &v, unit, NULL), KMS_OK);
			}
			if (!unit_is_there(f, &v, unit))
				fail_msg("%s, call %d: acknowledged, yet absent", c->name, nth);
			unit++;
		}
	}
	/* What was acknowledged is on the disk. */
	assert_sound(f);
	store_fixture_reopen(f);
	for (unsigned n = 0; n < unit; n++)
		assert_true(unit_is_there(f, &v, n));
	assert_true(unit > KMS_ARRAY_LEN(CASES));
}

static void a_checkpoint_that_fails_loses_nothing_and_succeeds_later(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = add_vault(f);
	unsigned unit = 0;

	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		bool has_failed = true, has_refused = false;
		for (int nth = t_fault_first(); has_failed; nth += T_FAULT_STEP) {
			kms_status status;
			assert_true(nth < TOO_MANY);
			assert_int_equal(write_unit(f, &v, unit++, NULL), KMS_OK);
			fault_vfs_arm(CASES[i].ops, nth, CASES[i].rc, CASES[i].lasts);
			status = store_checkpoint(f->w, true, NULL);
			has_failed = fault_vfs_disarm();
			has_refused |= status != KMS_OK;
			assert_true(status == KMS_OK || (status == KMS_E_STORE && has_failed));
			assert_true(unit_is_there(f, &v, unit - 1));
			assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_OK);
		}
		if ((CASES[i].ops & (FAULT_WRITE | FAULT_SYNC)) != 0)
			assert_true(has_refused || T_IS_SANITIZED);
	}
	assert_sound(f);
	store_fixture_reopen(f);
	for (unsigned n = 0; n < unit; n++)
		assert_true(unit_is_there(f, &v, n));
}

#define COPY_FAULT_STEP 5 /* a copy writes each page once, and all are alike */

static void assert_whole_copy(const char *path)
{
	char text[64] = "";
	struct store *copy = NULL;

	assert_int_equal(store_open_sqlite(path, STORE_READ, &copy, NULL), KMS_OK);
	assert_int_equal(sq_ask(sq_of(copy)->db, "PRAGMA integrity_check", text, sizeof(text), NULL), KMS_OK);
	assert_string_equal(text, "ok");
	store_close(copy);
}

static void a_copy_that_fails_leaves_no_file_and_the_database_as_it_was(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = add_vault(f);
	char path[sizeof(f->path) + 32];
	unsigned refused = 0;

	(void)snprintf(path, sizeof(path), "%s", store_fixture_beside(f, ".copy"));
	assert_int_equal(write_unit(f, &v, 0, NULL), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		bool has_failed = true;
		for (int nth = 0; has_failed; nth += nth < COPY_FAULT_STEP ? 1 : COPY_FAULT_STEP * T_FAULT_STEP) {
			struct kms_err err = { 0 };
			kms_status status;
			assert_true(nth < TOO_MANY);
			fault_vfs_arm(CASES[i].ops, nth, CASES[i].rc, CASES[i].lasts);
			status = store_copy(f->r, path, NULL, NULL, &err);
			has_failed = fault_vfs_disarm();
			if (status == KMS_OK) {
				assert_whole_copy(path);
				assert_int_equal(unlink(path), 0);
				continue;
			}
			refused++;
			assert_true(status == KMS_E_STORE && has_failed);
			assert_int_not_equal(err.native, STORE_NATIVE_SYNC); /* the database itself is sound: nobody has to leave the process */
			assert_int_equal(access(path, F_OK), -1);
			assert_true(unit_is_there(f, &v, 0));
		}
	}
	assert_true(refused > KMS_ARRAY_LEN(CASES));
	assert_sound(f);
}

static void origin_of(unsigned n, char *ret, size_t cap) { (void)snprintf(ret, cap, "kms.example/audit/log%u", n); }

/* Close log n for the next, and write the first leaf of that. */
static kms_status close_log(struct store_fixture *f, unsigned n, struct kms_err *err)
{
	struct store_change c = { .kind = STORE_LOG_CLOSE };
	struct store_event e = store_fixture_event(0);
	kms_status status = store_begin(f->w, err);

	origin_of(n, c.log_close.closed.origin, sizeof(c.log_close.closed.origin));
	origin_of(n + 1, c.log_close.next_origin, sizeof(c.log_close.next_origin));
	if (status == KMS_OK)
		status = store_apply(f->w, &c, 1, 0, err);
	if (status == KMS_OK)
		status = store_append(f->w, &e, err);
	if (status == KMS_OK)
		status = store_commit(f->w, err);
	store_rollback(f->w);
	return status;
}

/* The log has this origin and so many leaves, for both connections. */
static void assert_log(struct store_fixture *f, unsigned n, uint64_t leaves)
{
	struct store *both[] = { f->r, f->w };
	char origin[STORE_ORIGIN_MAX + 1];

	origin_of(n, origin, sizeof(origin));
	for (size_t i = 0; i < KMS_ARRAY_LEN(both); i++) {
		struct store_meta m = { 0 };
		uint64_t count = 99;
		assert_int_equal(store_meta(both[i], "log_origin", &m, NULL), KMS_OK);
		assert_int_equal(m.value_len, strlen(origin));
		assert_memory_equal(m.value, origin, m.value_len);
		assert_int_equal(store_event_count(both[i], &count, NULL), KMS_OK);
		assert_int_equal(count, leaves);
	}
}

static void a_log_is_closed_whole_or_not_at_all(void **state)
{
	struct store_fixture *f = *state;
	struct store_change first = { .kind = STORE_META_PUT, .meta = { .name = "log_origin" } };
	unsigned n = 1;

	origin_of(n, (char *)first.meta.value, sizeof(first.meta.value));
	first.meta.value_len = strlen((const char *)first.meta.value);
	assert_int_equal(store_fixture_one(f, first), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		bool has_failed = true;
		for (int nth = 0; has_failed; nth++) {
			struct kms_err err = { 0 };
			kms_status status;
			assert_true(nth < TOO_MANY);
			f->seq = 1;
			assert_int_equal(store_fixture_write(f, NULL, 0, NULL), KMS_OK);
			fault_vfs_arm(CASES[i].ops, nth, CASES[i].rc, CASES[i].lasts);
			status = close_log(f, n, &err);
			has_failed = fault_vfs_disarm();
			if (status != KMS_OK) {
				assert_true(status == KMS_E_STORE && has_failed);
				assert_log(f, n, 2);
				assert_int_equal(close_log(f, n, NULL), KMS_OK);
			}
			assert_log(f, ++n, 1);
			/* Hundreds of closed logs would only make each further step slow. */
			assert_int_equal(sq_exec(sq_of(f->w)->db, "DROP TABLE event_closed_1; DROP TABLE node_closed_1; DROP TABLE checkpoint_closed_1; "
			                         "DELETE FROM closed_log", NULL), KMS_OK);
		}
	}
	assert_sound(f);
	store_fixture_reopen(f);
	assert_log(f, n, 1);
	assert_true(n > 2 * KMS_ARRAY_LEN(CASES));
}

static void an_open_that_fails_leaves_nothing_behind_and_can_be_repeated(void **state)
{
	struct store_fixture *f = *state;
	static const enum store_mode MODES[] = { STORE_WRITE, STORE_READ };
	struct store_vault v = add_vault(f), got;

	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		for (size_t m = 0; m < KMS_ARRAY_LEN(MODES); m++) {
			bool has_failed = true;
			store_close(f->r);
			store_close(f->w);
			f->r = f->w = NULL;
			for (int nth = t_fault_first(); has_failed; nth += T_FAULT_STEP) {
				struct store *s = NULL;
				struct kms_err err = { 0 };
				kms_status status;
				assert_true(nth < TOO_MANY);
				fault_vfs_arm(CASES[i].ops, nth, CASES[i].rc, CASES[i].lasts);
				status = store_open_sqlite(f->path, MODES[m], &s, &err);
				has_failed = fault_vfs_disarm();
				assert_true(status == KMS_OK || (status == KMS_E_STORE && s == NULL && has_failed));
				store_close(s);
			}
			store_fixture_reopen(f);
			assert_int_equal(store_vault_by_id(f->r, v.id, &got, NULL), KMS_OK);
		}
	}
}

static void a_first_start_that_fails_anywhere_is_repaired_by_the_next(void **state)
{
	struct store_fixture *f = *state;
	static const char *const SUFFIXES[] = { "", "-wal", "-shm" };

	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		bool has_failed = true;
		for (int nth = t_slow_first(); has_failed; nth += t_slow_step()) {
			struct store *s = NULL;
			kms_status status;
			store_close(f->r);
			store_close(f->w);
			f->r = f->w = NULL;
			for (size_t n = 0; n < KMS_ARRAY_LEN(SUFFIXES); n++)
				(void)remove(store_fixture_beside(f, SUFFIXES[n]));
			assert_true(nth < TOO_MANY);
			fault_vfs_arm(CASES[i].ops, nth, CASES[i].rc, CASES[i].lasts);
			status = store_open_sqlite(f->path, STORE_WRITE, &s, NULL);
			has_failed = fault_vfs_disarm();
			assert_true(status == KMS_OK || (status == KMS_E_STORE && has_failed));
			store_close(s);
			store_fixture_reopen(f); /* checks auto_vacuum, too */
			(void)add_vault(f);
		}
	}
}

/* Whatever the disk does, the old rows are either as they were or all migrated; a later start finishes, and erases the copy. */
static void a_migration_that_fails_anywhere_is_finished_by_the_next_start(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "master");
	struct store_version first = store_fixture_version(1, &k);
	struct store_principal p = store_fixture_principal(1, &v);
	static const uint8_t OLD_HASH[STORE_HASH_LEN];

	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		bool has_failed = true;
		for (int nth = t_slow_first(); has_failed; nth += t_slow_step()) {
			STORE_VERSION_AUTO got = { 0 };
			STORE_CREDENTIAL_AUTO secret = { 0 };
			struct store *s = NULL;
			kms_status status;
			assert_true(nth < TOO_MANY);
			store_fixture_make_old_schema(f, 1); /* all steps; between two of them it may be left at any other */
			fault_vfs_arm(CASES[i].ops, nth, CASES[i].rc, CASES[i].lasts);
			status = store_open_sqlite(f->path, STORE_WRITE, &s, NULL);
			has_failed = fault_vfs_disarm();
			assert_true(status == KMS_OK || (status == KMS_E_STORE && s == NULL && has_failed));
			store_close(s);
			store_fixture_reopen(f);
			assert_int_equal(store_version(f->r, k.id, first.id, true, &got, NULL), KMS_OK);
			assert_string_equal(got.tags, first.tags);
			assert_int_equal(got.wrapped_len, 2);
			assert_int_equal(store_credential(f->r, STORE_CREDENTIAL_SECRET, OLD_HASH, &secret, NULL), KMS_OK);
			assert_memory_equal(secret.principal_id, p.id, STORE_ID_LEN);
			assert_int_equal(access(store_fixture_beside(f, ".before-migration"), F_OK), -1);
			assert_int_equal(access(store_fixture_beside(f, ".before-migration.part"), F_OK), -1);
			assert_sound(f);
		}
	}
}

/* Reads of unit 0; KMS_OK only when what it wrote is read. An absence would be a right: "no ranges", "nobody said no". */
static kms_status read_vault(struct store_fixture *f, const struct store_vault *v)
{
	struct store_vault got;

	KMS_TRY(store_vault_by_name(f->r, v->name, &got, NULL));
	assert_true(got.has_networks);
	return KMS_OK;
}

static kms_status read_networks(struct store_fixture *f, const struct store_vault *v)
{
	char text[STORE_NETWORK_MAX + 1];

	KMS_TRY(store_networks(f->r, v->id, text, NULL));
	assert_string_equal(text, "192.0.2.0/24");
	return KMS_OK;
}

static kms_status read_credential(struct store_fixture *f, const struct store_vault *v)
{
	struct store_principal p = store_fixture_principal(0, v);
	struct store_credential secret = store_fixture_credential(0, &p);
	STORE_CREDENTIAL_AUTO got = { 0 };

	return store_credential(f->r, secret.kind, secret.hash, &got, NULL);
}

static kms_status read_roles(struct store_fixture *f, const struct store_vault *v)
{
	struct store_principal p = store_fixture_principal(0, v);
	struct store_assignment list[2];
	size_t count;

	KMS_TRY(store_roles(f->r, p.id, list, KMS_ARRAY_LEN(list), &count, NULL));
	assert_int_equal(count, 1);
	return KMS_OK;
}

static kms_status read_groups(struct store_fixture *f, const struct store_vault *v)
{
	struct store_principal p = store_fixture_principal(0, v), list[2];
	size_t count;

	KMS_TRY(store_groups_of(f->r, p.id, list, KMS_ARRAY_LEN(list), &count, NULL));
	assert_int_equal(count, 1);
	return KMS_OK;
}

static kms_status read_votes(struct store_fixture *f, const struct store_vault *v)
{
	struct store_principal p = store_fixture_principal(0, v);
	struct store_approval a = store_fixture_approval(0, v, &p);
	struct store_vote list[2];
	size_t count;

	KMS_TRY(store_votes(f->r, a.id, list, KMS_ARRAY_LEN(list), &count, NULL));
	assert_int_equal(count, 1);
	return KMS_OK;
}

static void reads_fail_as_errors_and_never_as_an_absence(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = add_vault(f);
	static const unsigned OPS[] = { FAULT_READ, FAULT_SHM, FAULT_LOCK };
	static kms_status (*const READS[])(struct store_fixture *, const struct store_vault *) = { read_vault, read_networks, read_credential,
		                                                                               read_roles, read_groups, read_votes };

	assert_int_equal(write_unit(f, &v, 0, NULL), KMS_OK);
	assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_OK);
	for (size_t r = 0; r < KMS_ARRAY_LEN(READS); r++) {
		int refused = 0;
		for (size_t i = 0; i < KMS_ARRAY_LEN(OPS); i++) {
			bool has_failed = true;
			for (int nth = t_fault_first(); has_failed; nth += T_FAULT_STEP) {
				kms_status status;
				assert_true(nth < TOO_MANY);
				store_fixture_reopen(f); /* an empty cache */
				fault_vfs_arm(OPS[i], nth, SQLITE_IOERR_READ, false);
				status = READS[r](f, &v);
				has_failed = fault_vfs_disarm();
				assert_true(status == KMS_OK || (status == KMS_E_STORE && has_failed));
				refused += status != KMS_OK;
				assert_int_equal(READS[r](f, &v), KMS_OK);
			}
		}
		assert_true(refused > 0 || T_IS_SANITIZED);
	}
}

static void a_database_at_its_limit_fails_closed_and_recovers_alone(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = add_vault(f);
	sqlite3 *db = sq_of(f->w)->db;
	kms_status status = KMS_OK;
	struct kms_err err = { 0 };
	unsigned n;

	assert_int_equal(sq_exec(db, "PRAGMA max_page_count = 60", NULL), KMS_OK);
	for (n = 0; status == KMS_OK && n < TOO_MANY; n++)
		status = write_unit(f, &v, n, &err);
	n--;
	assert_int_equal(status, KMS_E_STORE);
	assert_int_equal(err.native, SQLITE_FULL);
	assert_false(unit_is_there(f, &v, n));
	assert_true(n > 0 && unit_is_there(f, &v, n - 1));
	assert_int_equal(write_unit(f, &v, n, NULL), KMS_E_STORE);
	assert_int_equal(sq_exec(db, "PRAGMA max_page_count = 1000000", NULL), KMS_OK);
	assert_int_equal(write_unit(f, &v, n, NULL), KMS_OK);
	assert_true(unit_is_there(f, &v, n));
	assert_sound(f);
}

/* SQLite ends the transaction by itself when it runs full: what follows must not be written alone. */
static void nothing_is_written_after_the_database_gave_up_the_transaction(void **state)
{
	struct store_fixture *f = *state;
	struct store_event e = store_fixture_event(0);
	uint64_t count = 99;

	(void)add_vault(f);
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(sq_exec(sq_of(f->w)->db, "ROLLBACK", NULL), KMS_OK);
	assert_int_equal(store_append(f->w, &e, NULL), KMS_E_STORE);
	assert_int_equal(store_commit(f->w, NULL), KMS_E_STORE);
	assert_int_equal(store_event_count(f->r, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(no_write_is_acknowledged_that_is_not_there_and_service_returns_alone),
		T(a_checkpoint_that_fails_loses_nothing_and_succeeds_later),
		T(a_copy_that_fails_leaves_no_file_and_the_database_as_it_was),
		T(a_log_is_closed_whole_or_not_at_all),
		T(an_open_that_fails_leaves_nothing_behind_and_can_be_repeated),
		T(a_first_start_that_fails_anywhere_is_repaired_by_the_next),
		T(a_migration_that_fails_anywhere_is_finished_by_the_next_start),
		T(reads_fail_as_errors_and_never_as_an_absence),
		T(a_database_at_its_limit_fails_closed_and_recovers_alone),
		T(nothing_is_written_after_the_database_gave_up_the_transaction),
	};
	fault_vfs_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
