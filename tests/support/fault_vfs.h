/*
 * tests/support/fault_vfs.h - SQLite's own file layer with a switch: the nth write, sync, open, truncate ... from now fails.
 * Faults enter through the hook that SQLite offers, so that its own error paths run. One thread at a time.
 */
#ifndef HOLDFAST_TESTS_FAULT_VFS_H
#define HOLDFAST_TESTS_FAULT_VFS_H

#include <stdbool.h>

enum fault_op {
	FAULT_OPEN = 1 << 0,
	FAULT_READ = 1 << 1,
	FAULT_WRITE = 1 << 2,
	FAULT_SYNC = 1 << 3,
	FAULT_TRUNCATE = 1 << 4,
	FAULT_SHM = 1 << 5, /* map or lock the WAL index */
	FAULT_LOCK = 1 << 6,
};

/** Become the process's default VFS; once, before the first database is opened. */
void fault_vfs_install(void);
/** From now on, the nth (0 = the next) call among `ops` answers `rc`; if it lasts, all later ones too. */
void fault_vfs_arm(unsigned ops, int nth, int rc, bool lasts);
/** No more faults. @return whether one was answered since it was armed */
bool fault_vfs_disarm(void);

#endif
