/* storage/sqlite/migrate.c - brings a database to this program's schema, one transaction a step, with a copy to fall back on. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/sqlite/db.h"

const struct sq_migration SQ_MIGRATIONS[] = {
#include "migrations.inc"
};
const size_t SQ_MIGRATION_COUNT = KMS_ARRAY_LEN(SQ_MIGRATIONS);

#define COPY_SUFFIX ".before-migration"
#define PART_SUFFIX ".before-migration.part"
#define SQL_MAX 64
#define ANSWER_MAX 64

static void free_at(char **p) { free(*p); }
#define TEXT_AUTO __attribute__((cleanup(free_at))) char
static void sqlite_free_at(char **p) { sqlite3_free(*p); }

static kms_status read_version(sqlite3 *db, int64_t *ret_version, struct kms_err *err)
{
	int64_t version, application, tables;

	KMS_TRY(sq_ask_int(db, "PRAGMA user_version", &version, err));
	KMS_TRY(sq_ask_int(db, "PRAGMA application_id", &application, err));
	KMS_TRY(sq_ask_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err));
	if (version < 0 || (version == 0 && tables != 0) || (version > 0 && application != SQ_APPLICATION_ID))
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the file is not a Holdfast database (application %lld, schema %lld)",
		                (long long)application, (long long)version);
	*ret_version = version;
	return KMS_OK;
}

static kms_status refuse_newer(int64_t version, size_t count, struct kms_err *err)
{
	if (version > (int64_t)count)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the database has the newer schema %lld, this program knows %zu: upgrade it",
		                (long long)version, count);
	return KMS_OK;
}

kms_status sq_schema_check(sqlite3 *db, size_t count, struct kms_err *err)
{
	int64_t version;

	KMS_TRY(read_version(db, &version, err));
	KMS_TRY(refuse_newer(version, count, err));
	if (version != (int64_t)count)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the database has schema %lld, not %zu: the writer migrates it first",
		                (long long)version, count);
	return KMS_OK;
}

static kms_status check_copy(const char *path, struct kms_err *err)
{
	char answer[ANSWER_MAX] = "";
	sqlite3 *copy = NULL;
	int rc = sqlite3_open_v2(path, &copy, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	kms_status status = KMS_E_STORE;

	if (rc != SQLITE_OK)
		status = kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, (unsigned long)rc, "%s: %s", path, sqlite3_errstr(rc));
	else
		status = sq_ask(copy, "PRAGMA integrity_check(1)", answer, sizeof(answer), err);
	(void)sqlite3_close(copy);
	KMS_TRY(status);
	if (strcmp(answer, "ok") != 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_CORRUPT, "%s: %s", path, answer);
	return KMS_OK;
}

/* A whole copy under its final name, or none: a copy from an interrupted migration is older than the database and is kept as it is. */
static kms_status copy_before(sqlite3 *db, const char *copy, const char *part, struct kms_err *err)
{
	__attribute__((cleanup(sqlite_free_at))) char *sql = NULL;
	int fd;

	if (access(copy, F_OK) == 0)
		return KMS_OK;
	KMS_TRY(sq_erase_file(part, err));
	/* Made here, so that it is ours alone from its first byte; VACUUM INTO takes an empty file. */
	fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "%s: %s", part, strerror(errno));
	(void)close(fd);
	sql = sqlite3_mprintf("VACUUM INTO %Q", part);
	if (sql == NULL)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, SQLITE_NOMEM, "copy before migration");
	KMS_TRY(sq_exec(db, sql, err));
	KMS_TRY(check_copy(part, err));
	/* VACUUM INTO does not sync what it writes. */
	fd = open(part, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fsync(fd) != 0 || rename(part, copy) != 0) {
		int failed = errno;
		if (fd >= 0)
			(void)close(fd);
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)failed, "%s: %s", part, strerror(failed));
	}
	(void)close(fd);
	return sq_sync_dir(copy, err);
}

static kms_status step(sqlite3 *db, const struct sq_migration *m, struct kms_err *err)
{
	char sql[SQL_MAX];
	int64_t broken;

	KMS_TRY(sq_exec(db, m->sql, err));
	KMS_TRY(sq_ask_int(db, "SELECT count(*) FROM pragma_foreign_key_check", &broken, err));
	if (broken != 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "%s leaves %lld dangling references", m->name, (long long)broken);
	(void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %u", m->number);
	return sq_exec(db, sql, err);
}

static kms_status steps(sqlite3 *db, int64_t version, const struct sq_migration *list, size_t count, struct kms_err *err)
{
	for (size_t i = (size_t)version; i < count; i++) {
		kms_status status;
		KMS_TRY(sq_exec(db, "BEGIN IMMEDIATE", err));
		status = step(db, &list[i], err);
		if (status == KMS_OK)
			status = sq_exec(db, "COMMIT", err);
		if (status != KMS_OK) {
			if (!sqlite3_get_autocommit(db))
				(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
			return status;
		}
	}
	return KMS_OK;
}

kms_status sq_migrate(sqlite3 *db, const char *path, const struct sq_migration *list, size_t count, struct kms_err *err)
{
	TEXT_AUTO *copy = NULL;
	TEXT_AUTO *part = NULL;
	int64_t version;

	KMS_TRY(read_version(db, &version, err));
	KMS_TRY(refuse_newer(version, count, err));
	if (asprintf(&copy, "%s" COPY_SUFFIX, path) < 0 || asprintf(&part, "%s" PART_SUFFIX, path) < 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, ENOMEM, "names of the copy");
	if (version < (int64_t)count) {
		kms_status status;
		if (version > 0)
			KMS_TRY(copy_before(db, copy, part, err));
		/* Off, since a step may rebuild a table that others refer to; each step is checked as a whole before it commits. */
		KMS_TRY(sq_exec(db, "PRAGMA foreign_keys = OFF", err));
		status = steps(db, version, list, count, err);
		KMS_TRY(sq_exec(db, "PRAGMA foreign_keys = ON", err));
		KMS_TRY(status);
	}
	/* Also when an earlier run was stopped between its last step and this. */
	KMS_TRY(sq_erase_file(part, err));
	return sq_erase_file(copy, err);
}
