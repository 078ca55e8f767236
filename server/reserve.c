/* server/reserve.c - the reserve is a file of real blocks, not a hole. */
#include "server/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define MIB ((off_t)1 << 20)

static void reserve_path(const char *database, char ret_path[PATH_MAX]) { (void)snprintf(ret_path, PATH_MAX, "%s.reserve", database); }

kms_status reserve_hold(const char *database, unsigned mib, struct kms_err *err)
{
	char path[PATH_MAX];
	int fd = -1, failure = 0;

	reserve_path(database, path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "%.100s", path);
	failure = mib > 0 ? posix_fallocate(fd, 0, (off_t)mib * MIB) : 0;
	if (failure == 0 && ftruncate(fd, (off_t)mib * MIB) != 0)
		failure = errno;
	(void)close(fd);
	if (failure != 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)failure, "no room for storage.reserve_mib = %u", mib);
	return KMS_OK;
}

void reserve_release(const char *database)
{
	char path[PATH_MAX];

	reserve_path(database, path);
	if (truncate(path, 0) != 0)
		return; /* there is none, or it cannot be given back: the last words are tried all the same */
}
