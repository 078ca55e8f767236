/* server/core/server_backup.h - backups of the whole server while it runs: made, listed, verified, by schedule. Files: backup_file.h; epochs: epoch.h. */
#ifndef HOLDFAST_CORE_SERVER_BACKUP_H
#define HOLDFAST_CORE_SERVER_BACKUP_H

#include "server/core/backup_file.h"

struct backup_runner;

/* From the configuration; borrowed. In struct kms. */
struct backup_settings {
	const char *directory; /* absolute; NULL = no backups are configured */
	unsigned every_hours;  /* 0 = only by hand */
	unsigned keep;         /* files; the oldest go. 0 = all */
	const char *config;    /* the configuration without secrets: text */
	const char *database;  /* file of the live one, for the room that a backup takes; NULL = not asked */
	/* Opens a database file for reading. */
	kms_status (*open_store)(const char *path, struct store **ret_store, struct kms_err *err);
	struct backup_runner *runner; /* what is under way; NULL = no backups are configured */
};

/** Remembers what is asked for and how far it is. */
KMS_MUST_CHECK kms_status backup_runner_new(struct backup_runner **ret, struct kms_err *err);
/** What is under way stops soon, and nothing else begins. Never blocks. Accepts NULL. */
void backup_runner_stop(struct backup_runner *r);
/** After the lanes have stopped. Accepts NULL. */
void backup_runner_free(struct backup_runner *r);

enum backup_task { BACKUP_TASK_NONE, BACKUP_TASK_MAKE, BACKUP_TASK_VERIFY };
enum backup_state { BACKUP_IDLE, BACKUP_WAITING, BACKUP_COPYING, BACKUP_SEALING, BACKUP_UNSEALING, BACKUP_LOADING, BACKUP_DONE, BACKUP_FAILED };

/* Whether every version of a database can be loaded, and what cannot. */
struct load_report {
	uint64_t vaults, keys;
	uint64_t shredded; /* vaults: before, or since as the live database says; nothing of them is counted below */
	uint64_t versions; /* = loaded + resident + destroyed + failed */
	uint64_t loaded, resident;
	uint64_t destroyed; /* resident versions that were destroyed since, as the live database says */
	uint64_t failed;
	char first[512]; /* the first that failed: vault, key, version, why */
};
struct backup_progress {
	enum backup_task task;
	enum backup_state state;
	bool is_confirmed; /* of BACKUP_WAITING */
	uint8_t id[STORE_ID_LEN]; /* of the backup */
	uint64_t done, total; /* bytes; of BACKUP_LOADING: versions */
	int64_t ended_s; /* when it was done, or failed */
	struct kms_err failure;
	struct load_report report; /* of BACKUP_TASK_VERIFY, when it is done */
};
/** Of the newest task since start. Never blocks. */
void server_backup_progress(struct kms *kms, struct backup_progress *ret);

/**
 * Ask for a backup, or for the verification of one: it begins with the next server_backups_turn(). The leaf of op says who asked.
 * @param ret_id  of the backup that will be @return KMS_OK | KMS_E_INVALID (none are configured) | KMS_E_CONFLICT (one is under way; its epoch has ended) | KMS_E_NOTFOUND (no such backup, or its
 *         file was removed)
 */
KMS_MUST_CHECK kms_status server_backup_request(struct op *op, uint8_t ret_id[STORE_ID_LEN], struct kms_err *err);
KMS_MUST_CHECK kms_status server_backup_request_verify(struct op *op, const uint8_t id[STORE_ID_LEN], struct kms_err *err);
/** The request's leaf is written: now it may begin. A request that is never confirmed gives way to the next. */
void server_backup_confirm(struct kms *kms, const uint8_t id[STORE_ID_LEN]);

/** Make one now, with the id of op->object: node.backup as intent and outcome, in the backup lane, one at a time. @return KMS_OK | KMS_E_INVALID (none configured) |
 *  KMS_E_DEVICE | KMS_E_STORE | KMS_E_AUDIT | KMS_E_SHUTDOWN */
KMS_MUST_CHECK kms_status server_backup_make(struct op *op, struct store_backup *ret, struct kms_err *err);
/** Housekeeping in the backup lane: do what was asked for, make one when it is due, remove the files beyond `keep`. */
KMS_MUST_CHECK kms_status server_backups_turn(struct kms *kms, struct store *store, struct kms_err *err);
/**
 * A destruction begins: a backup that is being made is stopped, and none begins before the destruction is over. So each backup either was entered before and is named in the
 * certificate, or holds nothing of what was destroyed; and no long read keeps the write-ahead log from being truncated. Counts; pair it with server_backups_release().
 * @return KMS_OK | KMS_E_BUSY (it did not stop in time: not held) */
KMS_MUST_CHECK kms_status server_backups_hold(struct kms *kms, unsigned wait_ms, struct kms_err *err);
void server_backups_release(struct kms *kms);
/**
 * The backup that an intent was about, whose outcome a crash has prevented: its file has its final name only once it is whole, so it is one, and is to be entered. A certificate
 * must not overlook it.
 * @return KMS_OK | KMS_E_NOTFOUND (there is no such file, or its epoch has ended) | KMS_E_STORE
 */
KMS_MUST_CHECK kms_status server_backup_found(const struct kms *kms, struct store *store, const uint8_t id[STORE_ID_LEN], struct store_backup *ret, struct kms_err *err);
/** At start: what a crash has left of a backup that was being made or verified is overwritten and removed. */
KMS_MUST_CHECK kms_status server_backups_sweep(const struct backup_settings *settings, struct kms_err *err);

/** Load each version of a database's living vaults in the device, without using any, and unload it again (also the one of the live server: only into a cache slot).
 *  @param progress  done versions; total 0 = not known */
KMS_MUST_CHECK kms_status versions_load(struct hsm *hsm, struct store *store, backup_progress_fn progress, void *arg, struct load_report *ret, struct kms_err *err);
/** The same for a copy, beside the live database, which knows what was destroyed since. */
KMS_MUST_CHECK kms_status versions_load_copy(struct hsm *hsm, struct store *copy, struct store *live, backup_progress_fn progress, void *arg, struct load_report *ret,
                                             struct kms_err *err);
/** Unseal a backup beside the others and check it: seal, tree head against its checkpoint, versions_load_copy(). Leaves nothing behind.
 *  @param place  name in the directory of backups */
KMS_MUST_CHECK kms_status server_backup_verify(struct op *op, const char *place, struct backup_manifest *ret_manifest, struct load_report *ret_report, struct kms_err *err);

#endif
