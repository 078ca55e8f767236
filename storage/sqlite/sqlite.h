/* storage/sqlite/sqlite.h - constructor of the SQLite backend. */
#ifndef HOLDFAST_STORAGE_SQLITE_H
#define HOLDFAST_STORAGE_SQLITE_H

#include "storage/store.h"

/**
 * What keeps a second writer out, without opening or making the database: as long as the descriptor is open nobody opens it with STORE_WRITE, in this process or another.
 * @return KMS_OK | KMS_E_STORE (somebody has it open)
 */
KMS_MUST_CHECK kms_status store_lock_sqlite(const char *path, int *ret_fd, struct kms_err *err);

/**
 * Open one connection. STORE_WRITE creates the file when missing (mode 0600), migrates it, takes an exclusive lock file beside it so that a
 * second writer refuses, and checks that every pragma is in effect (audit-log.md 6.1). STORE_READ needs a file of the present schema.
 *
 * @param path  absolute path of the database file
 * @return KMS_OK | KMS_E_STORE (native = SQLITE_*; detail names the promise that cannot be kept: pragma, newer schema, second writer)
 */
KMS_MUST_CHECK kms_status store_open_sqlite(const char *path, enum store_mode mode, struct store **ret_store, struct kms_err *err);

#endif
