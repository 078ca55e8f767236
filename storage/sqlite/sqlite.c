/* storage/sqlite/sqlite.c - opening and closing a connection: the files, the lock that keeps a second writer out, and the promises (pragmas)
 * that must be in effect before anything is stored (spec/audit-log.md 6.1, spec/hazards.md 2.6). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/sqlite/db.h"
#include "storage/sqlite/sqlite.h"

#define FILE_MODE 0600
#define OTHERS_MODE 0077
#define PRAGMA_VALUE_MAX 32

/* A certificate with all its texts at their longest; tags, leaves and wrapped keys are far smaller. What is larger is damage or an attack. */
#define ROW_MAX (4 * STORE_FACTS_MAX + STORE_SIGNATURES_MAX + 4096)

/* A promise: how to make it, how to ask for it, what the answer must be. Order matters: auto_vacuum works only before the first page. */
struct promise {
	const char *set;
	const char *ask;
	const char *want;
	bool writer_sets; /* readers only ask */
};
static const struct promise PROMISES[] = {
	{ "PRAGMA auto_vacuum = INCREMENTAL", "PRAGMA auto_vacuum", "2", .writer_sets = true },
	/* A statement that cannot wait fails the unit; only a truncating checkpoint waits, for readers. */
	{ "PRAGMA busy_timeout = 2000", "PRAGMA busy_timeout", "2000", false },
	{ "PRAGMA trusted_schema = OFF", "PRAGMA trusted_schema", "0", false },
	{ "PRAGMA cell_size_check = ON", "PRAGMA cell_size_check", "1", false },
	{ "PRAGMA journal_mode = WAL", "PRAGMA journal_mode", "wal", .writer_sets = true },
	{ "PRAGMA wal_autocheckpoint = 0", "PRAGMA wal_autocheckpoint", "0", false },
	{ "PRAGMA synchronous = FULL", "PRAGMA synchronous", "2", false },
	{ "PRAGMA foreign_keys = ON", "PRAGMA foreign_keys", "1", false },
	{ "PRAGMA secure_delete = ON", "PRAGMA secure_delete", "1", false },
	{ "PRAGMA mmap_size = 0", "PRAGMA mmap_size", "0", false },
	/* Savepoints keep old pages, wrapped keys among them: not in a temporary file. */
	{ "PRAGMA temp_store = MEMORY", "PRAGMA temp_store", "2", false },
	{ "PRAGMA cache_size = -2048", "PRAGMA cache_size", "-2048", false }, /* KiB */
	{ "PRAGMA journal_size_limit = 67108864", "PRAGMA journal_size_limit", "67108864", false },
};

struct db_option {
	int option;
	int value;
	bool readers_only;
	const char *name;
};
static const struct db_option OPTIONS[] = {
	{ SQLITE_DBCONFIG_DEFENSIVE, 1, false, "defensive" },
	{ SQLITE_DBCONFIG_DQS_DML, 0, false, "dqs_dml" },
	{ SQLITE_DBCONFIG_DQS_DDL, 0, false, "dqs_ddl" },
	{ SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, false, "enable_trigger" },
	{ SQLITE_DBCONFIG_ENABLE_VIEW, 0, false, "enable_view" },
	{ SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, false, "enable_load_extension" },
	{ SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, true, "no_ckpt_on_close" }, /* only the writer checkpoints */
};

static void sq_close(struct store *s)
{
	struct sqlite_store *db = sq_of(s);

	for (size_t i = 0; i < KMS_ARRAY_LEN(db->statements); i++)
		(void)sqlite3_finalize(db->statements[i]);
	if (db->db != NULL)
		(void)sqlite3_close(db->db);
	/* After the database: until then nobody else may write. */
	if (db->lock_fd >= 0)
		(void)close(db->lock_fd);
	free(db);
}

static void close_at(struct sqlite_store **db)
{
	if (*db != NULL)
		sq_close(&(*db)->base);
}

static void free_at(char **p) { free(*p); }

kms_status sq_sync_dir(const char *path, struct kms_err *err)
{
	__attribute__((cleanup(free_at))) char *dir = strdup(path);
	char *slash = dir != NULL ? strrchr(dir, '/') : NULL;
	int fd, failed = 0;

	if (slash == NULL)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, ENOMEM, "directory of %s", path);
	slash[slash == dir ? 1 : 0] = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		failed = errno;
	if (fd >= 0)
		(void)close(fd);
	if (failed != 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)failed, "%s: %s", dir, strerror(failed));
	return KMS_OK;
}

kms_status store_lock_sqlite(const char *path, int *ret_fd, struct kms_err *err)
{
	__attribute__((cleanup(free_at))) char *lock = NULL;
	int fd;

	if (asprintf(&lock, "%s.lock", path) < 0) {
		lock = NULL;
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, ENOMEM, "lock file");
	}
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
	if (fd < 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "%s: %s", lock, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int failed = errno;
		(void)close(fd);
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)failed, "%s: %s", lock,
		                failed == EWOULDBLOCK ? "a second writer; another process has this database open" : strerror(failed));
	}
	*ret_fd = fd;
	return KMS_OK;
}

/* The file exists afterwards, is ours alone, and has one name. */
static kms_status prepare_file(const char *path, struct kms_err *err)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);

	if (fd >= 0) {
		(void)close(fd);
		return sq_sync_dir(path, err);
	}
	if (errno != EEXIST)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "%s: %s", path, strerror(errno));
	/* Not opened and closed here: that would drop the locks of other connections in this process. */
	if (stat(path, &st) != 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "%s: not a regular file with exactly one name; its WAL could be lost", path);
	if ((st.st_mode & OTHERS_MODE) != 0 && chmod(path, FILE_MODE) != 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "%s is open to others: %s", path, strerror(errno));
	return KMS_OK;
}

/* SQLite keeps a pool of its own for small things and gives none of it back before the connection ends: what was in it (a wrapped key) would stay in memory. */
static kms_status use_no_pool(struct sqlite_store *s, struct kms_err *err)
{
	int rc = sqlite3_db_config(s->db, SQLITE_DBCONFIG_LOOKASIDE, NULL, 0, 0);

	return rc == SQLITE_OK ? KMS_OK : kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, (unsigned long)rc, "lookaside memory cannot be switched off");
}

static kms_status set_options(struct sqlite_store *s, struct kms_err *err)
{
	KMS_TRY(use_no_pool(s, err));
	for (size_t i = 0; i < KMS_ARRAY_LEN(OPTIONS); i++) {
		const struct db_option *o = &OPTIONS[i];
		int now = -1;
		if (o->readers_only && s->base.mode != STORE_READ)
			continue;
		if (sqlite3_db_config(s->db, o->option, o->value, &now) != SQLITE_OK || now != o->value)
			return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_MISUSE, "option %s is not in effect", o->name);
	}
	(void)sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, ROW_MAX);
	return KMS_OK;
}

static kms_status make_promises(struct sqlite_store *s, struct kms_err *err)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(PROMISES); i++)
		if (s->base.mode == STORE_WRITE || !PROMISES[i].writer_sets)
			KMS_TRY(sq_exec(s->db, PROMISES[i].set, err));
	return KMS_OK;
}

static kms_status check_promises(struct sqlite_store *s, struct kms_err *err)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(PROMISES); i++) {
		char now[PRAGMA_VALUE_MAX];
		KMS_TRY(sq_ask(s->db, PROMISES[i].ask, now, sizeof(now), err));
		if (strcmp(now, PROMISES[i].want) != 0)
			return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_MISUSE, "%s is %s, must be %s", PROMISES[i].ask, now,
			                PROMISES[i].want);
	}
	return KMS_OK;
}

/* A typo in the table stops the daemon here. */
static kms_status prepare_all(struct sqlite_store *s, struct kms_err *err)
{
	size_t count = s->base.mode == STORE_WRITE ? SQ_COUNT : SQ_FIRST_WRITE;

	for (size_t i = 0; i < count; i++) {
		int rc = sqlite3_prepare_v3(s->db, SQ_TEXT[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL);
		if (rc != SQLITE_OK)
			return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, (unsigned long)rc, "%s: %.72s", sqlite3_errmsg(s->db), SQ_TEXT[i]);
	}
	return KMS_OK;
}

kms_status store_open_sqlite(const char *path, enum store_mode mode, struct store **ret_store, struct kms_err *err)
{
	__attribute__((cleanup(close_at))) struct sqlite_store *s = calloc(1, sizeof(*s));
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
	int rc;

	if (s == NULL)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_NOMEM, "connection");
	s->base = (struct store){ .ops = &SQ_OPS, .mode = mode };
	s->lock_fd = -1;
	/* Not a URI, whatever SQLite was built with. */
	if (path[0] != '/')
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "%s: not an absolute path", path);
	if (mode == STORE_WRITE) {
		KMS_TRY(store_lock_sqlite(path, &s->lock_fd, err));
		KMS_TRY(prepare_file(path, err));
	}
	rc = sqlite3_open_v2(path, &s->db, flags | (mode == STORE_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY), NULL);
	if (rc != SQLITE_OK)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, (unsigned long)rc, "%s: %s", path,
		                s->db != NULL ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
	KMS_TRY(set_options(s, err));
	KMS_TRY(make_promises(s, err));
	if (mode == STORE_WRITE)
		KMS_TRY(sq_migrate(s->db, path, SQ_MIGRATIONS, SQ_MIGRATION_COUNT, err));
	else
		KMS_TRY(sq_schema_check(s->db, SQ_MIGRATION_COUNT, err));
	KMS_TRY(check_promises(s, err));
	(void)sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 0); /* only migration attaches, to copy */
	KMS_TRY(prepare_all(s, err));
	*ret_store = &KMS_TAKE(s)->base;
	return KMS_OK;
}

const struct store_ops SQ_OPS = {
	.name = "sqlite",
	.close = sq_close,
	.vault_by_name = sq_vault_by_name,
	.vault_by_id = sq_vault_by_id,
	.vaults = sq_vaults,
	.principal = sq_principal,
	.principals = sq_principals,
	.roles = sq_roles,
	.networks = sq_networks,
	.credentials = sq_credentials,
	.credential = sq_credential,
	.custom_role = sq_custom_role,
	.custom_roles = sq_custom_roles,
	.groups_of = sq_groups_of,
	.members = sq_members,
	.approval = sq_approval,
	.approval_open = sq_approval_open,
	.approvals = sq_approvals,
	.votes = sq_votes,
	.key = sq_key,
	.keys = sq_keys,
	.keys_due = sq_keys_due,
	.version = sq_version,
	.versions = sq_versions,
	.policy = sq_policy,
	.pools = sq_pools,
	.pool = sq_pool,
	.external = sq_external,
	.externals = sq_externals,
	.external_of_key = sq_external_of_key,
	.objects = sq_objects,
	.object_count = sq_object_count,
	.object_known = sq_object_known,
	.intents = sq_intents,
	.meta = sq_meta,
	.event_count = sq_event_count,
	.event = sq_event,
	.node = sq_node,
	.checkpoint_of = sq_checkpoint_of,
	.checkpoint_last = sq_checkpoint_last,
	.log_keys = sq_log_keys,
	.closed_logs = sq_closed_logs,
	.version_of_object = sq_version_of_object,
	.wrapped_under = sq_wrapped_under,
	.tombstone = sq_tombstone,
	.tombstones = sq_tombstones,
	.revival = sq_revival,
	.certificate = sq_certificate,
	.certificates = sq_certificates,
	.certificate_of_intent = sq_certificate_of_intent,
	.epochs = sq_epochs,
	.epoch_of_object = sq_epoch_of_object,
	.backups = sq_backups,
	.backups_of_key = sq_backups_of_key,
	.due = sq_due,
	.due_of = sq_due_of,
	.key_by_id = sq_key_by_id,
	.cursor = sq_cursor,
	.webhooks = sq_webhooks,
	.webhook = sq_webhook,
	.deliveries = sq_deliveries,
	.delivery_count = sq_delivery_count,
	.person = sq_person,
	.persons = sq_persons,
	.copy = sq_copy,
	.forget = sq_forget,
	.begin = sq_begin,
	.fence = sq_fence,
	.apply = sq_apply,
	.append = sq_append,
	.put_node = sq_put_node,
	.commit = sq_commit,
	.rollback = sq_rollback,
	.checkpoint = sq_checkpoint,
};
