/* tests/support/fault_vfs.c */
#include "tests/support/fault_vfs.h"

#include <assert.h>
#include <string.h>

#include <sqlite3.h>

struct fault_file {
	sqlite3_file base;
	sqlite3_file *real; /* in the same allocation, behind this struct */
};

static struct {
	sqlite3_vfs vfs;
	sqlite3_vfs *real;
	unsigned ops;
	int left; /* calls that still succeed; -1 = not armed */
	int rc;
	bool lasts, has_failed;
} fault = { .left = -1 };

/* SQLITE_OK, or what the call is to answer instead. */
static int trip(enum fault_op op)
{
	if (fault.left < 0 || (fault.ops & op) == 0)
		return SQLITE_OK;
	if (fault.left > 0) {
		fault.left--;
		return SQLITE_OK;
	}
	fault.has_failed = true;
	if (!fault.lasts)
		fault.left = -1;
	return fault.rc;
}

static sqlite3_file *real_of(sqlite3_file *f) { return ((struct fault_file *)(void *)f)->real; }
#define PASS(f, method, ...) (real_of(f)->pMethods->method(real_of(f) __VA_OPT__(,) __VA_ARGS__))
#define TRIP(op)                    \
	do {                        \
		int rc_ = trip(op); \
		if (rc_ != 0)       \
			return rc_; \
	} while (0)

static int f_close(sqlite3_file *f) { return PASS(f, xClose); }
static int f_read(sqlite3_file *f, void *bytes, int len, sqlite3_int64 at)
{
	TRIP(FAULT_READ);
	return PASS(f, xRead, bytes, len, at);
}
static int f_write(sqlite3_file *f, const void *bytes, int len, sqlite3_int64 at)
{
	TRIP(FAULT_WRITE);
	return PASS(f, xWrite, bytes, len, at);
}
static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	TRIP(FAULT_TRUNCATE);
	return PASS(f, xTruncate, size);
}
static int f_sync(sqlite3_file *f, int flags)
{
	TRIP(FAULT_SYNC);
	return PASS(f, xSync, flags);
}
static int f_size(sqlite3_file *f, sqlite3_int64 *ret_size) { return PASS(f, xFileSize, ret_size); }
static int f_lock(sqlite3_file *f, int level)
{
	TRIP(FAULT_LOCK);
	return PASS(f, xLock, level);
}
static int f_unlock(sqlite3_file *f, int level) { return PASS(f, xUnlock, level); }
static int f_reserved(sqlite3_file *f, int *ret_is) { return PASS(f, xCheckReservedLock, ret_is); }
static int f_control(sqlite3_file *f, int op, void *arg) { return PASS(f, xFileControl, op, arg); }
static int f_sector(sqlite3_file *f) { return PASS(f, xSectorSize); }
static int f_device(sqlite3_file *f) { return PASS(f, xDeviceCharacteristics); }
static int f_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **ret_p)
{
	TRIP(FAULT_SHM);
	return PASS(f, xShmMap, region, size, extend, ret_p);
}
static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	/* Giving a lock back cannot fail. */
	if ((flags & SQLITE_SHM_LOCK) != 0)
		TRIP(FAULT_SHM);
	return PASS(f, xShmLock, offset, n, flags);
}
static void f_shm_barrier(sqlite3_file *f) { PASS(f, xShmBarrier); }
static int f_shm_unmap(sqlite3_file *f, int remove) { return PASS(f, xShmUnmap, remove); }

static const sqlite3_io_methods METHODS = {
	.iVersion = 2, /* without memory-mapped pages */
	.xClose = f_close,
	.xRead = f_read,
	.xWrite = f_write,
	.xTruncate = f_truncate,
	.xSync = f_sync,
	.xFileSize = f_size,
	.xLock = f_lock,
	.xUnlock = f_unlock,
	.xCheckReservedLock = f_reserved,
	.xFileControl = f_control,
	.xSectorSize = f_sector,
	.xDeviceCharacteristics = f_device,
	.xShmMap = f_shm_map,
	.xShmLock = f_shm_lock,
	.xShmBarrier = f_shm_barrier,
	.xShmUnmap = f_shm_unmap,
};

static int v_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *ret_flags)
{
	struct fault_file *f = (struct fault_file *)(void *)file;
	int rc = trip(FAULT_OPEN);

	(void)vfs;
	f->base.pMethods = NULL; /* not to be closed unless it was opened */
	if (rc != SQLITE_OK)
		return rc;
	f->real = (sqlite3_file *)(void *)(f + 1);
	memset(f->real, 0, (size_t)fault.real->szOsFile);
	rc = fault.real->xOpen(fault.real, name, f->real, flags, ret_flags);
	if (f->real->pMethods != NULL)
		f->base.pMethods = &METHODS;
	return rc;
}

void fault_vfs_install(void)
{
	fault.real = sqlite3_vfs_find(NULL);
	assert(fault.real != NULL);
	/* All but xOpen is the real one's, which finds its own data through pAppData. */
	fault.vfs = *fault.real;
	fault.vfs.pNext = NULL;
	fault.vfs.zName = "fault";
	fault.vfs.szOsFile = (int)sizeof(struct fault_file) + fault.real->szOsFile;
	fault.vfs.xOpen = v_open;
	assert(sqlite3_vfs_register(&fault.vfs, 1) == SQLITE_OK);
}

void fault_vfs_arm(unsigned ops, int nth, int rc, bool lasts)
{
	fault.ops = ops;
	fault.left = nth;
	fault.rc = rc;
	fault.lasts = lasts;
	fault.has_failed = false;
}

bool fault_vfs_disarm(void)
{
	fault.left = -1;
	return fault.has_failed;
}
