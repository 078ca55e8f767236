/* storage/sqlite/event_index.h - constructor of the event index in SQLite: a file of its own, so that the writer never waits for it. */
#ifndef HOLDFAST_STORAGE_SQLITE_EVENT_INDEX_H
#define HOLDFAST_STORAGE_SQLITE_EVENT_INDEX_H

#include "storage/event_index.h"

/**
 * Open one connection. STORE_WRITE makes the file when it is missing (mode 0600); STORE_READ needs it.
 * @param path  absolute
 * @return KMS_OK | KMS_E_STORE (native = SQLITE_*; also: of another format) | KMS_E_INTEGRITY (damaged) | KMS_E_CONFLICT (what is there is no index of this server: it was not
 *         touched) | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status event_index_open_sqlite(const char *path, enum store_mode mode, struct event_index **ret, struct kms_err *err);
/** Remove the file and those that SQLite keeps beside it; connections that are open go on with what is gone. What is not there is fine.
 *  @return KMS_OK | KMS_E_STORE | KMS_E_CONFLICT (as above) */
KMS_MUST_CHECK kms_status event_index_remove_sqlite(const char *path, struct kms_err *err);

#endif
