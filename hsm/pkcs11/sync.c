/* hsm/pkcs11/sync.c - stable storage for file-backed tokens: SoftHSM syncs nothing on create and only unlinks on destroy (row 1g). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hsm/pkcs11/provider.h"

#define MARGIN_S 2 /* file times come from a coarser clock than ours */
#define DEPTH_MAX 3 /* tokens/TOKEN/OBJECT */

static void close_dir(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

static kms_status sync_fd(int fd, const char *name, struct kms_err *err)
{
	if (fsync(fd) != 0)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_ERRNO, (unsigned long)errno, "fsync %s", name);
	return KMS_OK;
}

static kms_status sync_file(int dir_fd, const char *name, struct kms_err *err)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	kms_status status;

	if (fd < 0 && errno == ENOENT)
		return KMS_OK; /* destroyed meanwhile by another process */
	if (fd < 0)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_ERRNO, (unsigned long)errno, "open %s", name);
	status = sync_fd(fd, name, err);
	(void)close(fd);
	return status;
}

/* Takes over dir_fd. Files first, then the directory that names them. */
static kms_status sync_tree(int dir_fd, const char *dir_name, int64_t since_s, unsigned depth, struct kms_err *err)
{
	__attribute__((cleanup(close_dir))) DIR *dir = fdopendir(dir_fd);
	struct dirent *entry;

	if (dir == NULL) {
		kms_status status = kms_fail(err, KMS_E_DEVICE, KMS_SRC_ERRNO, (unsigned long)errno, "read %s", dir_name);

		(void)close(dir_fd);
		return status;
	}
	while ((entry = readdir(dir)) != NULL) {
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_mtime < since_s - MARGIN_S)
			continue;
		if (S_ISREG(st.st_mode)) {
			KMS_TRY(sync_file(dirfd(dir), entry->d_name, err));
		} else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
			int sub = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (sub < 0)
				return kms_fail(err, KMS_E_DEVICE, KMS_SRC_ERRNO, (unsigned long)errno, "open %s", entry->d_name);
			KMS_TRY(sync_tree(sub, entry->d_name, since_s, depth + 1, err));
		}
	}
	return sync_fd(dirfd(dir), dir_name, err);
}

kms_status p11_sync_dir(const char *dir, int64_t since_s, struct kms_err *err)
{
	int fd;

	if (dir == NULL)
		return KMS_OK;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_ERRNO, (unsigned long)errno, "token directory %s", dir);
	return sync_tree(fd, dir, since_s, 1, err);
}
