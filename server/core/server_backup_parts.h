/* server/core/server_backup_parts.h - what the files behind server_backup.h share: names in the directory of backups, and what is under way. */
#ifndef HOLDFAST_CORE_SERVER_BACKUP_PARTS_H
#define HOLDFAST_CORE_SERVER_BACKUP_PARTS_H

#include <limits.h>

#include "server/core/server_backup.h"

/* Suffixes of names in the directory. The plain ones hold a database: they are there only while somebody works on them. */
#define BACKUP_SUFFIX ".hfbackup"
#define BACKUP_COPY_SUFFIX ".copy"
#define BACKUP_VERIFY_SUFFIX ".verify"

/** "holdfast-20261122T095500Z-ID" and the suffix. */
void backup_name(const uint8_t id[STORE_ID_LEN], int64_t made_s, const char *suffix, char ret_name[STORE_PLACE_MAX + 1]);
/** Is it a name that backup_name() makes, with this suffix? Whatever the database says, no other file is touched. */
bool backup_name_is(const char *name, const char *suffix);
/** @return KMS_OK | KMS_E_INVALID (none are configured) | KMS_E_STORE (not such a name, too long) */
KMS_MUST_CHECK kms_status backup_path(const struct kms *kms, const char *name, char ret_path[PATH_MAX], struct kms_err *err);
/** A database that was written there, with what SQLite left beside it. */
void backup_erase_database(const char *path);
/** The row of one server backup. @return KMS_OK | KMS_E_NOTFOUND (says so) | KMS_E_STORE */
KMS_MUST_CHECK kms_status backup_find(struct store *store, const uint8_t id[STORE_ID_LEN], struct store_backup *ret, struct kms_err *err);

/** One task at a time: BACKUP_WAITING from here on. @return KMS_OK | KMS_E_CONFLICT (says so) | KMS_E_INVALID (none are configured) */
KMS_MUST_CHECK kms_status backup_claim(const struct kms *kms, enum backup_task task, const uint8_t id[STORE_ID_LEN], struct kms_err *err);
/** Does what waits begin now? Not while something is destroyed, nor before its request's leaf was written. */
bool backup_begin(const struct kms *kms);
/** It has ended; or, when it was stopped for a destruction (KMS_E_SHUTDOWN), waits again. @param report  of a verification; NULL = none */
void backup_settle(const struct kms *kms, kms_status status, const struct kms_err *failure, const struct load_report *report);
/** For the one who works: the next step. */
void backup_step(const struct kms *kms, enum backup_state state);
/** A backup_progress_fn, and what store_copy() asks. @param arg  the kms */
bool backup_go_on(void *arg, uint64_t done, uint64_t total);

#endif
