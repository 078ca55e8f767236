/* server/core/restored.h - what a database remembers of having been restored from a backup, until its log may say so (node.restored). */
#ifndef HOLDFAST_CORE_RESTORED_H
#define HOLDFAST_CORE_RESTORED_H

#include "server/core/backup_file.h"

/** Into a database that nobody serves yet. @param store  the writer's connection @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status restored_mark(struct store *store, const struct backup_manifest *m, struct kms_err *err);
/**
 * A backup holds no record of itself, and yet it outlives what is destroyed from now on (copies_find()): so the database is told of the one it came from.
 * @param place  its name in the directory of backups; "" = it lies elsewhere @param bytes  of its file
 * @return KMS_OK | KMS_E_AUDIT (nothing can be written) | KMS_E_INTERNAL
 */
KMS_MUST_CHECK kms_status restored_note_copies(struct kms *kms, const struct backup_manifest *m, const char *place, uint64_t bytes, struct kms_err *err);
#define RESTORED_STAND_IN_CHANGES 3
/**
 * A database that is older than its log has no record of the backups that were made since, however it came back: one row, of a file that was removed, stands for all of them, in the
 * newest epoch that it knows; and its records of persons are marked to be erased (restored_write()), since some of them had been. For the unit that closes the log.
 * @param changes, count  added to @return KMS_OK | KMS_E_STORE | KMS_E_INTERNAL
 */
KMS_MUST_CHECK kms_status restored_stand_in(struct store *store, const struct clock *clock, struct store_change *changes, size_t *count, struct kms_err *err);
/**
 * At start, when the log is good (also the one that follows an accepted rollback): erase all records of persons, then write node.restored if it was a restore, and forget the
 * marks in the same unit. What interrupts it is made good by the next start.
 * @param store  a reader's connection @return KMS_OK (also: it was not restored, or that was written already) | KMS_E_STORE (also: a mark is damaged) | KMS_E_AUDIT |
 *         KMS_E_NOMEM | KMS_E_SHUTDOWN (stopped meanwhile)
 */
KMS_MUST_CHECK kms_status restored_write(struct kms *kms, struct store *store, struct kms_err *err);

#endif
