/*
 * server/feed/sink_file.c - see sinks.h. Guards: a record counts only when it is on the disk, in the file that has the name now; what a crash or a full disk left of a line is
 * cut off before the next one; nothing is followed or opened that is no plain file.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/feed/sinks.h"

#define TORN_MAX (256 << 10) /* of one line; more without an end is no file of ours */
#define ATTEMPTS 3           /* it may be moved away again while it is written */

struct file_sink {
	struct sink base;
	const char *path;
	int fd; /* -1 = closed */
};

static struct file_sink *of(struct sink *s) { return (struct file_sink *)(void *)s; }

static kms_status failed(const struct file_sink *f, const char *what, struct kms_err *err)
{
	return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "%.100s: %s: %s", f->path, what, strerrordesc_np(errno));
}

static void drop(struct file_sink *f)
{
	if (f->fd >= 0)
		(void)close(f->fd); /* what counts was synced */
	f->fd = -1;
}

/* ---- opening ---- */

/* The end of the last whole line. */
static kms_status find_end(const struct file_sink *f, off_t size, off_t *ret_end, struct kms_err *err)
{
	char bytes[4096];

	for (off_t at = size; at > 0 && size - at < TORN_MAX;) {
		size_t len = at < (off_t)sizeof(bytes) ? (size_t)at : sizeof(bytes);
		const char *newline = NULL;
		at -= (off_t)len;
		if (pread(f->fd, bytes, len, at) != (ssize_t)len)
			return failed(f, "cannot be read back", err);
		newline = memrchr(bytes, '\n', len);
		if (newline != NULL) {
			*ret_end = at + (newline - bytes) + 1;
			return KMS_OK;
		}
		if (at == 0) {
			*ret_end = 0;
			return KMS_OK;
		}
	}
	if (size == 0) {
		*ret_end = 0;
		return KMS_OK;
	}
	return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "%.100s: does not end in a line of an export; move it away", f->path);
}

/* Whoever writes half a line ends there: a crash, or a disk that was full. */
static kms_status cut_torn_line(const struct file_sink *f, off_t size, struct kms_err *err)
{
	off_t end = 0;

	KMS_TRY(find_end(f, size, &end, err));
	if (end < size && ftruncate(f->fd, end) != 0)
		return failed(f, "cannot be cut after its last whole line", err);
	return KMS_OK;
}

/* The name itself must outlive a power failure. */
static kms_status sync_directory(const struct file_sink *f, struct kms_err *err)
{
	char copy[PATH_MAX] = "";
	int fd, rc;

	(void)memccpy(copy, f->path, '\0', sizeof(copy) - 1);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return failed(f, "its directory cannot be opened", err);
	rc = fsync(fd);
	(void)close(fd);
	return rc == 0 ? KMS_OK : failed(f, "its directory cannot be synced", err);
}

static kms_status open_file(struct file_sink *f, struct kms_err *err)
{
	struct stat st;

	/* O_NONBLOCK: a pipe must not hold it up before it is refused. */
	f->fd = open(f->path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, S_IRUSR | S_IWUSR);
	if (f->fd < 0 && errno == ELOOP)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, ELOOP, "%.100s: is a symbolic link, which is not followed", f->path);
	if (f->fd < 0)
		return failed(f, "cannot be opened", err);
	if (fstat(f->fd, &st) != 0)
		return failed(f, "cannot be examined", err);
	if (!S_ISREG(st.st_mode))
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "%.100s: is no plain file", f->path);
	KMS_TRY(cut_torn_line(f, st.st_size, err));
	return sync_directory(f, err);
}

/* ---- writing ---- */

/* Does the name stand for the file that is open? Not after it was rotated. */
static bool is_in_place(const struct file_sink *f, struct stat *ret_open)
{
	struct stat named;

	return fstat(f->fd, ret_open) == 0 && lstat(f->path, &named) == 0 && named.st_dev == ret_open->st_dev && named.st_ino == ret_open->st_ino;
}

static bool write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

/* *ret_counts: it is in the file that has the name, also after the sync: whoever rotates may take the old file away at once. */
static kms_status append(struct file_sink *f, const char *bytes, size_t len, bool *ret_counts, struct kms_err *err)
{
	struct stat before, after;

	*ret_counts = false;
	if (f->fd >= 0 && !is_in_place(f, &before))
		drop(f);
	if (f->fd < 0)
		KMS_TRY(open_file(f, err));
	if (fstat(f->fd, &before) != 0)
		return failed(f, "cannot be examined", err);
	if (!write_all(f->fd, bytes, len) || fdatasync(f->fd) != 0) {
		kms_status status = failed(f, "cannot be written", err);
		if (ftruncate(f->fd, before.st_size) != 0)
			drop(f); /* then the rest of a line is cut when it is opened again */
		return status;
	}
	*ret_counts = is_in_place(f, &after) && after.st_size >= before.st_size + (off_t)len;
	return KMS_OK;
}

static char *join(const struct record *records, size_t count, size_t *ret_len)
{
	size_t room = 1, at = 0;
	char *bytes = NULL;

	for (size_t i = 0; i < count; i++)
		room += records[i].len + 1;
	bytes = malloc(room);
	for (size_t i = 0; bytes != NULL && i < count; i++) {
		memcpy(bytes + at, records[i].bytes, records[i].len);
		at += records[i].len;
		bytes[at++] = '\n';
	}
	*ret_len = at;
	return bytes;
}

static kms_status send(struct sink *s, const struct record *records, size_t count, const atomic_bool *is_stopping, struct kms_err *err)
{
	struct file_sink *f = of(s);
	size_t len = 0;
	char *bytes = join(records, count, &len);
	bool counts = false;
	kms_status status = KMS_OK;

	(void)is_stopping; /* a disk ends by itself */
	if (bytes == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "records for %.100s", f->path);
	for (int attempt = 0; attempt < ATTEMPTS && status == KMS_OK && !counts; attempt++)
		status = append(f, bytes, len, &counts, err);
	free(bytes);
	if (status != KMS_OK || counts)
		return status;
	return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "%.100s: is moved away or cut each time it is written", f->path);
}

static uint64_t settled(struct sink *s)
{
	(void)s;
	return SINK_ALL_SETTLED;
}

static kms_status tick(struct sink *s, struct kms_err *err)
{
	(void)s;
	(void)err;
	return KMS_OK;
}

static void rewind_file(struct sink *s) { drop(of(s)); }

static void close_file(struct sink *s)
{
	drop(of(s));
	free(s);
}

static const struct sink_ops FILE_OPS = { .name = "file", .send = send, .settled = settled, .tick = tick, .rewind = rewind_file, .close = close_file };

kms_status sink_file_new(const char *path, struct sink **ret, struct kms_err *err)
{
	struct file_sink *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "file sink");
	f->base.ops = &FILE_OPS;
	f->path = path;
	f->fd = -1;
	*ret = &f->base;
	return KMS_OK;
}
