/* storage/sqlite/copy.c - copies of the database in files and in memory: made whole while others write, and got rid of. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/sqlite/db.h"

#define STEP_PAGES 256 /* between two looks at whether to go on */

/* A copy holds all that a shred must be able to destroy. */
kms_status sq_erase_file(const char *path, struct kms_err *err)
{
	static const uint8_t ZEROS[64 * 1024];
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st = { 0 };
	int failed = 0;

	if (fd < 0 && errno == ENOENT)
		return KMS_OK;
	if (fd < 0 || fstat(fd, &st) != 0)
		failed = errno;
	for (off_t at = 0; failed == 0 && at < st.st_size;) {
		size_t left = (size_t)(st.st_size - at);
		ssize_t n = pwrite(fd, ZEROS, left < sizeof(ZEROS) ? left : sizeof(ZEROS), at);
		if (n > 0)
			at += n;
		else if (n == 0 || errno != EINTR)
			failed = n == 0 ? EIO : errno;
	}
	if (failed == 0 && fsync(fd) != 0)
		failed = errno;
	if (fd >= 0)
		(void)close(fd);
	if (failed == 0 && unlink(path) != 0)
		failed = errno;
	if (failed != 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)failed, "erase %s: %s", path, strerror(failed));
	return sq_sync_dir(path, err);
}

static kms_status copy_failed(sqlite3 *to, const char *path, int rc, struct kms_err *err)
{
	/* A sync of the copy that failed says nothing about the database: nobody is to take it for STORE_NATIVE_SYNC. */
	unsigned long native = rc == SQLITE_IOERR_FSYNC ? SQLITE_IOERR : (unsigned long)rc;

	return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, native, "copy to %s: %s", path, to != NULL ? sqlite3_errmsg(to) : sqlite3_errstr(rc));
}

static kms_status copy_pages(sqlite3_backup *b, const char *path, bool (*go_on)(void *arg, uint64_t done, uint64_t total), void *arg,
                             struct kms_err *err)
{
	int rc = SQLITE_OK;

	while (rc == SQLITE_OK) {
		int total, left;
		rc = sqlite3_backup_step(b, STEP_PAGES);
		total = sqlite3_backup_pagecount(b);
		left = sqlite3_backup_remaining(b);
		if (go_on != NULL && (rc == SQLITE_OK || rc == SQLITE_DONE) && !go_on(arg, (uint64_t)(total - left), (uint64_t)total))
			return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "the copy was stopped");
	}
	return rc == SQLITE_DONE ? KMS_OK : copy_failed(NULL, path, rc, err);
}

/* The journal of a file that goes if anything fails would be one more copy. Full: the last step returns when all of it is on stable storage. */
#define COPY_PROMISES "PRAGMA journal_mode = OFF; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY"

static kms_status copy_into(struct sqlite_store *from, sqlite3 *to, const char *path, bool (*go_on)(void *arg, uint64_t done, uint64_t total),
                            void *arg, struct kms_err *err)
{
	sqlite3_backup *b;
	kms_status status;
	int rc;

	KMS_TRY(sq_exec(to, COPY_PROMISES, err));
	b = sqlite3_backup_init(to, "main", from->db, "main");
	if (b == NULL)
		return copy_failed(to, path, sqlite3_extended_errcode(to), err);
	status = copy_pages(b, path, go_on, arg, err);
	rc = sqlite3_backup_finish(b);
	return status == KMS_OK && rc != SQLITE_OK ? copy_failed(to, path, rc, err) : status;
}

/* Inside one read transaction of the source: what others commit meanwhile stays in the WAL, and SQLite has no reason to begin anew. */
static kms_status copy_moment(struct sqlite_store *from, sqlite3 *to, const char *path, bool (*go_on)(void *arg, uint64_t done, uint64_t total),
                              void *arg, struct kms_err *err)
{
	char schema[32];
	kms_status status;

	KMS_TRY(sq_exec(from->db, "BEGIN", err));
	status = sq_ask(from->db, "SELECT count(*) FROM sqlite_schema", schema, sizeof(schema), err); /* BEGIN alone reads nothing */
	if (status == KMS_OK)
		status = copy_into(from, to, path, go_on, arg, err);
	if (sqlite3_exec(from->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK && status == KMS_OK)
		status = kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, (unsigned long)sqlite3_extended_errcode(from->db), "end of the copy");
	return status;
}

/* Ours alone from its first byte. */
static kms_status make_file(const char *path, struct kms_err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);

	if (fd < 0)
		return kms_fail(err, errno == EEXIST ? KMS_E_CONFLICT : KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "%s: %s", path, strerror(errno));
	(void)close(fd);
	return KMS_OK;
}

kms_status sq_copy(struct store *s, const char *path, bool (*go_on)(void *arg, uint64_t done, uint64_t total), void *arg, struct kms_err *err)
{
	struct sqlite_store *from = sq_of(s);
	sqlite3 *to = NULL;
	kms_status status;
	int rc;

	if (from->is_in_tx)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "copy inside a transaction");
	KMS_TRY(make_file(path, err));
	rc = sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE, NULL);
	status = rc == SQLITE_OK ? copy_moment(from, to, path, go_on, arg, err) : copy_failed(to, path, rc, err);
	rc = sqlite3_close(to);
	if (status == KMS_OK && rc != SQLITE_OK)
		status = copy_failed(NULL, path, rc, err);
	if (status == KMS_OK)
		status = sq_sync_dir(path, err);
	/* Explained by the failure that led here; the status says when something was left behind. */
	if (status != KMS_OK && sq_erase_file(path, NULL) != KMS_OK)
		status = KMS_E_STORE;
	sq_forget(s);
	return status;
}

/*
 * A connection that writes has two buffers of one page for as long as it lives, in which SQLite puts a row together before it goes into its page, and keeps a page whose rows
 * it moves (btree.c: BtShared.pTmpSpace, Pager.pTmpSpace): the last wrapped key may stay in either. So zeros go the same way, and are not written. The first row is as large
 * as one that is not split may be: page size - 35 (fileformat2.html, 1.6), six bytes of it its header. Eight that fill a page follow; three of them become smaller, so that
 * there is room for another one only when the page is put in order. One INSERT each: for one of several rows SQLite looks through all versions (SQ_BLOB_APPEND).
 */
#define HALF_A_KIB "INSERT INTO material (n, wrapped) VALUES (zeroblob(248), zeroblob(248));"
#define A_PAGE HALF_A_KIB HALF_A_KIB HALF_A_KIB HALF_A_KIB HALF_A_KIB HALF_A_KIB HALF_A_KIB HALF_A_KIB
static void overwrite_buffers(sqlite3 *db)
{
	static const char ZEROS[] =
		"INSERT INTO material (n, wrapped) VALUES (zeroblob(2000), zeroblob(2055));" A_PAGE
		"UPDATE material SET wrapped = zeroblob(0) WHERE id IN (SELECT (SELECT max(id) FROM material) - column1 FROM (VALUES (1), (3), (5)));"
		"INSERT INTO material (n, wrapped) VALUES (zeroblob(300), zeroblob(390));";

	if (sqlite3_get_autocommit(db) == 0 || sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
		return;
	(void)sqlite3_exec(db, ZEROS, NULL, NULL, NULL); /* what fails has no effect, and the next time does it */
	(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
}

void sq_forget(struct store *s)
{
	if (s->mode == STORE_WRITE)
		overwrite_buffers(sq_of(s)->db);
	(void)sqlite3_db_release_memory(sq_of(s)->db);
}
