/* tests/support/store_fixture.c */
#include "tests/support/store_fixture.h"

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/sqlite/db.h"
#include "storage/sqlite/sqlite.h"
#include "tests/support/temp.h"

static void open_both(struct store_fixture *f)
{
	struct kms_err err = { 0 };

	if (store_open_sqlite(f->path, STORE_WRITE, &f->w, &err) != KMS_OK || store_open_sqlite(f->path, STORE_READ, &f->r, &err) != KMS_OK) {
		(void)fprintf(stderr, "%s: %s\n", err.where, err.detail);
		abort();
	}
}

static void close_both(struct store_fixture *f)
{
	store_close(f->r);
	store_close(f->w);
	f->r = f->w = NULL;
}

int store_fixture_open(void **state)
{
	struct store_fixture *f = calloc(1, sizeof(*f));

	assert(f != NULL);
	t_temp_dir("store", f->dir);
	(void)snprintf(f->path, sizeof(f->path), "%s/db", f->dir);
	open_both(f);
	*state = f;
	return 0;
}

int store_fixture_close(void **state)
{
	struct store_fixture *f = *state;
	DIR *dir;

	close_both(f);
	dir = opendir(f->dir);
	assert(dir != NULL);
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
		if (e->d_name[0] != '.')
			(void)unlinkat(dirfd(dir), e->d_name, 0);
	(void)closedir(dir);
	assert(rmdir(f->dir) == 0);
	free(f);
	return 0;
}

void store_fixture_reopen(struct store_fixture *f)
{
	close_both(f);
	open_both(f);
}

/* Ids as store_fixture_id() makes them. */
#define OLD_ID(n, kind) "x'0000000" #n #kind #kind #kind #kind #kind #kind #kind #kind #kind #kind #kind #kind "'"
#define OLD_HASH "x'" "7373737373737373737373737373737373737373737373737373737373737373" "'"
#define OLD_ROWS_1                                                                                                                   \
	"INSERT INTO vault VALUES (" OLD_ID(1, 56) ", 'payroll', " OLD_ID(1, 44) ", 1, " OLD_ID(1, 52) ", " OLD_ID(1, 50) ", 90, 1, " \
	"1, NULL, zeroblob(32), 1700000001, 1);"                                                                                     \
	"INSERT INTO principal VALUES (" OLD_ID(1, 70) ", " OLD_ID(1, 56) ", 'app-1', " OLD_ID(1, 69) ", zeroblob(32), NULL, 1, "  \
	"1700000001, 2);"                                                                                                            \
	"INSERT INTO key VALUES (" OLD_ID(1, 6b) ", " OLD_ID(1, 56) ", 'master', 1700000002, NULL, NULL, 0, 3);"                      \
	"INSERT INTO material VALUES (7, x'6d6d', x'7777');"                                                                         \
	"INSERT INTO version VALUES (" OLD_ID(1, 76) ", " OLD_ID(1, 6b) ", " OLD_ID(1, 6f) ", 1, 1, 2048, 48, 1, 0, NULL, 1900000000, " \
	"1700000003, 1700000004, 5, x'010001', 0, 7, '{\"team\":\"blue\"}');"                                                        \
	"INSERT INTO version VALUES (" OLD_ID(2, 76) ", " OLD_ID(1, 6b) ", " OLD_ID(2, 6f) ", 2, 3, 256, 48, 0, 2, NULL, NULL, "        \
	"1700000005, 1700000006, 1, x'', 1, NULL, NULL);"
#define OLD_ROWS_2                                                                                                                     \
	"INSERT INTO policy VALUES (" OLD_ID(1, 6b) ", 'P90D', '', 'P30D', 'P2Y', 1700000006, 1700000007);"                           \
	"UPDATE version SET encryptions = 9 WHERE id = " OLD_ID(2, 76) ";"

#define OLD_ROWS_3                                                                                                                      \
	"INSERT INTO assignment VALUES (" OLD_ID(1, 70) ", " OLD_ID(1, 56) ", 7, 1700000008);"                                         \
	"INSERT INTO assignment VALUES (" OLD_ID(1, 70) ", zeroblob(16), 3, 1700000009);"                                             \
	"INSERT INTO principal VALUES (" OLD_ID(2, 70) ", " OLD_ID(1, 56) ", 'app-2', " OLD_ID(1, 69) ", " OLD_HASH ", 1800000000, 0, " \
	"1700000002, 5);"                                                                                                              \
	"INSERT INTO principal VALUES (" OLD_ID(3, 70) ", " OLD_ID(1, 56) ", 'pool-3', " OLD_ID(1, 69) ", " OLD_HASH ", NULL, 1, "      \
	"1700000003, 1);"                                                                                                              \
	"INSERT INTO pool VALUES (" OLD_ID(3, 70) ", 'ekm', 1700000010, 1700000011);"                                                  \
	"INSERT INTO pool_subject VALUES ('pool-3.example', " OLD_ID(3, 70) ", 0);"                                                    \
	"INSERT INTO pool_root VALUES (1, " OLD_ID(3, 70) ", 0, x'3030');"
#define OLD_ROWS_4                                                                                                                 \
	"INSERT INTO meta VALUES ('log_origin', CAST('kms.example/audit/log1' AS BLOB));"                                         \
	"INSERT INTO event VALUES (0, " OLD_ID(0, 65) ", zeroblob(16), 1700000000000000, " OLD_HASH ", CAST('{}' AS BLOB));"      \
	"INSERT INTO event VALUES (1, " OLD_ID(1, 65) ", zeroblob(16), 1700000000000001, " OLD_HASH ", CAST('{\"v\":1}' AS BLOB));" \
	"INSERT INTO node VALUES (1, 0, " OLD_HASH ");"                                                                           \
	"INSERT INTO intent VALUES (1, 17, " OLD_ID(1, 56) ", " OLD_ID(1, 6b) ", " OLD_ID(1, 6f) ", 'master');"
#define OLD_ROWS_5                                                                                                     \
	"INSERT INTO meta VALUES ('backup_key', " OLD_ID(1, 62) ");"                                                   \
	"INSERT INTO meta VALUES ('created', x'000000006553f100');"
#define OLD_ROWS_6                                                                                                     \
	"INSERT INTO key VALUES (" OLD_ID(9, 6b) ", " OLD_ID(1, 56) ", 'gone', 1700000002, 1700000003, 1700000004, 0, 3);"

/* What a program of that schema left behind. */
static const char *const OLD_ROWS[] = { OLD_ROWS_1, OLD_ROWS_2, OLD_ROWS_3, OLD_ROWS_4, OLD_ROWS_5, OLD_ROWS_6 };

void store_fixture_make_old_schema(struct store_fixture *f, unsigned schema)
{
	static const char *const SUFFIXES[] = { "", "-wal", "-shm" };
	sqlite3 *db = NULL;

	assert(schema >= 1 && schema <= KMS_ARRAY_LEN(OLD_ROWS));
	close_both(f);
	for (size_t i = 0; i < KMS_ARRAY_LEN(SUFFIXES); i++)
		(void)unlink(store_fixture_beside(f, SUFFIXES[i]));
	assert(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) == SQLITE_OK);
	assert(sq_exec(db, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL", NULL) == KMS_OK);
	for (unsigned n = 1; n <= schema; n++) {
		assert(sq_migrate(db, f->path, SQ_MIGRATIONS, n, NULL) == KMS_OK);
		assert(sq_exec(db, OLD_ROWS[n - 1], NULL) == KMS_OK);
	}
	assert(sqlite3_close(db) == SQLITE_OK);
}

const char *store_fixture_beside(const struct store_fixture *f, const char *suffix)
{
	static char path[sizeof(f->path) + 32];

	(void)snprintf(path, sizeof(path), "%s%s", f->path, suffix);
	return path;
}

void store_fixture_id(char kind, unsigned n, uint8_t ret_id[STORE_ID_LEN])
{
	memset(ret_id, kind, STORE_ID_LEN);
	for (size_t i = 0; i < sizeof(n); i++)
		ret_id[i] = (uint8_t)(n >> (8 * (sizeof(n) - 1 - i)));
}

struct store_vault store_fixture_vault(unsigned n, const char *name)
{
	struct store_vault v = { .state = STORE_VAULT_ACTIVE, .retention_days = 90, .has_purge_protection = true, .allows_rsa1_5 = true,
		                 .canary_wrapped_len = 40, .quorum = 1, .created_s = 1700000000 + (int64_t)n, .epoch = 1 };

	store_fixture_id('V', n, v.id);
	store_fixture_id('D', n, v.directory);
	store_fixture_id('R', n, v.root_id);
	store_fixture_id('P', n, v.pseudonym_id);
	memset(v.canary_wrapped, 'c', sizeof(v.canary_wrapped));
	memset(v.canary_hash, 'h', sizeof(v.canary_hash));
	(void)snprintf(v.name, sizeof(v.name), "%s", name);
	return v;
}

struct store_principal store_fixture_principal(unsigned n, const struct store_vault *v)
{
	struct store_principal p = { .kind = STORE_PRINCIPAL_CALLER, .is_enabled = true, .created_s = 1700000001, .epoch = 1 };

	store_fixture_id('p', n, p.id);
	if (v != NULL)
		memcpy(p.vault_id, v->id, sizeof(p.vault_id));
	memset(p.pid, 'i', sizeof(p.pid));
	(void)snprintf(p.name, sizeof(p.name), "app-%u", n);
	return p;
}

struct store_principal store_fixture_group(unsigned n, const struct store_vault *v)
{
	struct store_principal p = store_fixture_principal(n, v);

	store_fixture_id('g', n, p.id);
	p.kind = STORE_PRINCIPAL_GROUP;
	memset(p.name, 0, sizeof(p.name));
	(void)snprintf(p.name, sizeof(p.name), "group-%u", n);
	return p;
}

struct store_credential store_fixture_credential(unsigned n, const struct store_principal *p)
{
	struct store_credential c = { .kind = STORE_CREDENTIAL_SECRET, .created_s = 1700000020 + (int64_t)n, .expires_s = STORE_NO_TIME };

	store_fixture_id('c', n, c.id);
	memcpy(c.principal_id, p->id, sizeof(c.principal_id));
	store_fixture_id('s', n, c.hash);
	memset(c.hash + STORE_ID_LEN, 's', sizeof(c.hash) - STORE_ID_LEN);
	(void)snprintf(c.label, sizeof(c.label), "credential %u", n);
	return c;
}

struct store_assignment store_fixture_assignment(const struct store_principal *p, const struct store_vault *v, uint32_t role)
{
	struct store_assignment a = { .role = role, .created_s = 1700000021, .expires_s = STORE_NO_TIME };

	memcpy(a.principal_id, p->id, sizeof(a.principal_id));
	if (v != NULL)
		memcpy(a.vault_id, v->id, sizeof(a.vault_id));
	return a;
}

struct store_role store_fixture_role(unsigned n, const struct store_vault *v)
{
	static char actions[] = "keys/read keys/wrap";
	struct store_role r = { .actions = actions, .created_s = 1700000022 + (int64_t)n };

	store_fixture_id('r', n, r.id);
	memcpy(r.vault_id, v->id, sizeof(r.vault_id));
	(void)snprintf(r.name, sizeof(r.name), "role-%u", n);
	return r;
}

struct store_member store_fixture_member(const struct store_principal *group, const struct store_principal *member)
{
	struct store_member m = { 0 };

	memcpy(m.group_id, group->id, sizeof(m.group_id));
	memcpy(m.member_id, member->id, sizeof(m.member_id));
	return m;
}

struct store_approval store_fixture_approval(unsigned n, const struct store_vault *v, const struct store_principal *p)
{
	static char request[] = "{\"act\":\"vault.shred\"}";
	struct store_approval a = { .act = "vault.shred", .request = request, .reason = "the lease has ended", .quorum = 1,
		                    .state = STORE_APPROVAL_OPEN, .created_s = 1700000023 + (int64_t)n, .expires_s = 1700003623 + (int64_t)n,
		                    .settled_s = STORE_NO_TIME };

	store_fixture_id('a', n, a.id);
	if (v != NULL)
		memcpy(a.vault_id, v->id, sizeof(a.vault_id));
	memcpy(a.requester, p->id, sizeof(a.requester));
	store_fixture_id('d', n, a.digest);
	memset(a.digest + STORE_ID_LEN, 'd', sizeof(a.digest) - STORE_ID_LEN);
	return a;
}

struct store_vote store_fixture_vote(const struct store_approval *a, const struct store_principal *approver)
{
	struct store_vote v = { .approves = true, .reason = "seen", .created_s = a->created_s + 5 };

	memcpy(v.approval_id, a->id, sizeof(v.approval_id));
	memcpy(v.approver_id, approver->id, sizeof(v.approver_id));
	return v;
}

struct store_key store_fixture_key(unsigned n, const struct store_vault *v, const char *name)
{
	struct store_key k = { .created_s = 1700000002, .deleted_s = STORE_NO_TIME, .purge_s = STORE_NO_TIME, .epoch = 1 };

	store_fixture_id('k', n, k.id);
	memcpy(k.vault_id, v->id, sizeof(k.vault_id));
	(void)snprintf(k.name, sizeof(k.name), "%s", name);
	return k;
}

struct store_version store_fixture_version(unsigned n, const struct store_key *k)
{
	static uint8_t modulus[256], blob[1224];
	static char tags[] = "{\"team\":\"blue\"}";
	struct store_version v = { .ordinal = 1, .kty = 1, .bits = 2048, .ops = 0xF0F0F0F0, .is_enabled = true, .nbf_s = STORE_NO_TIME,
		                   .exp_s = 1900000000, .created_s = 1700000003, .updated_s = 1700000004, .epoch = 1, .pub = modulus,
		                   .pub_len = sizeof(modulus), .e = { 1, 0, 1 }, .e_len = 3, .wrapped = blob, .wrapped_len = sizeof(blob),
		                   .tags = tags };

	memset(modulus, 'm', sizeof(modulus));
	memset(blob, 'w', sizeof(blob));
	store_fixture_id('v', n, v.id);
	store_fixture_id('o', n, v.obj);
	memcpy(v.key_id, k->id, sizeof(v.key_id));
	/* Its vault's, as store_fixture_vault() makes it. */
	memset(v.root_id, 'R', sizeof(v.root_id));
	memcpy(v.root_id, k->vault_id, sizeof(unsigned));
	return v;
}

struct store_event store_fixture_event(uint64_t seq)
{
	static char leaf[] = "{\"v\":1}";
	struct store_event e = { .seq = seq, .ts_us = 1700000000000000 + (int64_t)seq, .leaf = leaf, .leaf_len = sizeof(leaf) - 1 };

	store_fixture_id('e', (unsigned)seq, e.id);
	memset(e.hash, (int)('a' + seq % 26), sizeof(e.hash));
	return e;
}

struct store_policy store_fixture_policy(unsigned n, const struct store_key *k)
{
	struct store_policy p = { .rotate_after_create = "P90D", .notify_before_expiry = "P30D", .expiry_time = "P2Y",
		                  .created_s = 1700000005 + (int64_t)n, .updated_s = 1700000006 + (int64_t)n };

	memcpy(p.key_id, k->id, sizeof(p.key_id));
	return p;
}

struct store_pool store_fixture_pool(unsigned n, const struct store_principal *p)
{
	static uint8_t old_root[1100], new_root[700];
	struct store_pool pool = { .prefix = "ekm/one", .subject_count = 2, .root_count = 2, .created_s = 1700000010 + (int64_t)n,
		                   .updated_s = 1700000011 + (int64_t)n };

	memset(old_root, '0', sizeof(old_root));
	memset(new_root, '1', sizeof(new_root));
	memcpy(pool.id, p->id, sizeof(pool.id));
	/* Not in the order of their names. */
	(void)snprintf(pool.subjects[0], sizeof(pool.subjects[0]), "pool-%u.managedhsmclient.azure.net", n);
	(void)snprintf(pool.subjects[1], sizeof(pool.subjects[1]), "also-%u.managedhsmclient.azure.net", n);
	pool.roots[0] = (struct store_root){ .der = old_root, .der_len = sizeof(old_root) };
	pool.roots[1] = (struct store_root){ .der = new_root, .der_len = sizeof(new_root) };
	return pool;
}

struct store_external store_fixture_external(unsigned n, const struct store_pool *p, const struct store_key *k,
                                             const struct store_version *v)
{
	struct store_external e = { .created_s = 1700000012 + (int64_t)n, .retired_s = STORE_NO_TIME, .last_used_s = STORE_NO_TIME };

	memcpy(e.pool_id, p->id, sizeof(e.pool_id));
	(void)snprintf(e.id, sizeof(e.id), "ext-%u", n);
	memcpy(e.key_id, k->id, sizeof(e.key_id));
	memcpy(e.version_id, v->id, sizeof(e.version_id));
	memcpy(e.key_name, k->name, sizeof(e.key_name));
	return e;
}

struct store_tombstone store_fixture_tombstone(const struct store_vault *vault, const struct store_key *k, const struct store_version *v, uint64_t intent)
{
	struct store_tombstone t = { .kind = STORE_TOMBSTONE_ROOT, .is_resident = true, .created_seq = STORE_NO_SEQ, .intent = intent };

	memcpy(t.vault_id, vault->id, STORE_ID_LEN);
	memcpy(t.obj, vault->root_id, STORE_ID_LEN);
	memset(t.mac, 'M', sizeof(t.mac));
	if (v == NULL)
		return t;
	t.kind = STORE_TOMBSTONE_VERSION;
	t.is_resident = v->wrapped == NULL;
	memcpy(t.obj, v->obj, STORE_ID_LEN);
	memcpy(t.key_name, k->name, sizeof(t.key_name));
	memcpy(t.version_id, v->id, STORE_ID_LEN);
	t.kty = v->kty;
	t.crv = v->crv;
	t.bits = v->bits;
	t.has_spki = v->pub != NULL;
	memset(t.spki_sha256, t.has_spki ? 'S' : 0, sizeof(t.spki_sha256));
	t.revoked = 1;
	t.created_seq = 0;
	return t;
}

struct store_certificate store_fixture_certificate(unsigned n, const struct store_vault *v)
{
	struct store_certificate c = { .scope = STORE_CERTIFICATE_TENANT, .state = STORE_CERTIFICATE_BEGUN, .basis = 2, .created_s = 1700000030 + (int64_t)n,
		                       .issued_s = STORE_NO_TIME, .until_s = STORE_NO_TIME };

	store_fixture_id('C', n, c.id);
	memcpy(c.vault_id, v->id, STORE_ID_LEN);
	return c;
}

struct store_epoch store_fixture_epoch(unsigned n)
{
	struct store_epoch e = { .number = n, .created_s = 1700000040 + (int64_t)n, .closed_s = STORE_NO_TIME, .ended_s = STORE_NO_TIME };

	store_fixture_id('E', n, e.obj);
	return e;
}

struct store_backup store_fixture_backup(unsigned n, uint32_t epoch, const struct store_key *k)
{
	struct store_backup b = { .kind = k != NULL ? STORE_BACKUP_KEY : STORE_BACKUP_SERVER, .epoch = epoch, .size = 10 + n, .bytes = 1000 + n,
		                  .made_s = 1700000050 + (int64_t)n, .ends_s = STORE_NO_TIME };

	store_fixture_id('B', n, b.id);
	if (k != NULL) {
		memcpy(b.vault_id, k->vault_id, STORE_ID_LEN);
		memcpy(b.key_name, k->name, sizeof(b.key_name));
	} else {
		(void)snprintf(b.place, sizeof(b.place), "holdfast-%u.backup", n);
	}
	return b;
}

kms_status store_fixture_write(struct store_fixture *f, const struct store_change *changes, size_t count, struct kms_err *err)
{
	struct store_event e = store_fixture_event(f->seq);
	kms_status status = store_begin(f->w, err);

	if (status == KMS_OK)
		status = store_apply(f->w, changes, count, f->seq, err);
	if (status == KMS_OK)
		status = store_append(f->w, &e, err);
	if (status == KMS_OK)
		status = store_commit(f->w, err);
	if (status == KMS_OK)
		f->seq++;
	store_rollback(f->w);
	return status;
}

kms_status store_fixture_one(struct store_fixture *f, struct store_change change)
{
	return store_fixture_write(f, &change, 1, NULL);
}

static size_t file_count(const char *path, const void *needle, size_t len)
{
	FILE *file = fopen(path, "rb");
	size_t hits = 0, have = 0;
	long size;
	char *text;

	if (file == NULL)
		return 0;
	assert(fseek(file, 0, SEEK_END) == 0);
	size = ftell(file);
	rewind(file);
	assert(size >= 0);
	text = malloc((size_t)size + 1);
	assert(text != NULL);
	have = fread(text, 1, (size_t)size, file);
	assert(have == (size_t)size);
	(void)fclose(file);
	for (const char *at = text; (at = memmem(at, have - (size_t)(at - text), needle, len)) != NULL; at++)
		hits++;
	free(text);
	return hits;
}

static size_t dir_count(const struct store_fixture *f, const void *needle, size_t len)
{
	DIR *dir = opendir(f->dir);
	size_t hits = 0;

	assert(dir != NULL);
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
		char path[sizeof(f->dir) + sizeof(e->d_name) + 1];
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", f->dir, e->d_name);
		hits += file_count(path, needle, len);
	}
	(void)closedir(dir);
	return hits;
}

size_t store_fixture_grep(const struct store_fixture *f, const void *needle, size_t len)
{
	size_t hits = 0;
	int ends[2], status = 0;
	pid_t child;

	assert(pipe(ends) == 0);
	child = fork();
	assert(child >= 0);
	/* In a child: closing the files here would drop the locks that SQLite holds on them in this process. */
	if (child == 0) {
		hits = dir_count(f, needle, len);
		_exit(write(ends[1], &hits, sizeof(hits)) == (ssize_t)sizeof(hits) ? 0 : 1);
	}
	assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert(read(ends[0], &hits, sizeof(hits)) == (ssize_t)sizeof(hits));
	(void)close(ends[0]);
	(void)close(ends[1]);
	return hits;
}
