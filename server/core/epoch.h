/*
 * server/core/epoch.h - backup epochs (audit-log.md 11.4): every backup, of a key or of the server, is sealed under the key of the newest epoch, which never leaves the
 * HSM. An epoch is closed when the next one begins, and its key is destroyed some time after: with it every backup that was made in it ends.
 */
#ifndef HOLDFAST_CORE_EPOCH_H
#define HOLDFAST_CORE_EPOCH_H

#include "server/core/op.h"

/* In struct kms; from the configuration. A backup lives at least keep_days, at most epoch_days + keep_days. */
struct epoch_policy {
	unsigned epoch_days; /* 1..365 */
	unsigned keep_days;  /* 1..365 */
};
#define EPOCH_DAYS_DEFAULT 30

/** At start, after writer_start() and recovery: there is at least one epoch (the backup key of older versions is the first), and the newest one's key is in the device;
 *  where it is not, the next one begins. @return KMS_OK | KMS_E_NOTFOUND (the key is not there, and the log is not good, so that none was made: there can be no backups) | KMS_E_DEVICE | KMS_E_STORE | KMS_E_AUDIT */
KMS_MUST_CHECK kms_status epoch_open(struct kms *kms, struct store *store, struct kms_err *err);
/** The one that backups are made in now. */
KMS_MUST_CHECK kms_status epoch_newest(struct store *store, struct store_epoch *ret, struct kms_err *err);
/** @return KMS_OK | KMS_E_NOTFOUND (says so) | KMS_E_STORE */
KMS_MUST_CHECK kms_status epoch_numbered(struct store *store, uint32_t number, struct store_epoch *ret, struct kms_err *err);
void epoch_key(const struct store_epoch *e, struct hsm_key *ret_key);
/** When it will end, as it is planned now; for one that has ended, when it did. */
int64_t epoch_until(const struct kms *kms, const struct store_epoch *e);
/** Housekeeping in the destroy lane: begin a new epoch when the newest is old enough, end those whose time has come (destruction.h). Two-phase each. */
KMS_MUST_CHECK kms_status epochs_turn(struct kms *kms, struct store *store, struct kms_err *err);
/** Begin the next epoch now, by hand. */
KMS_MUST_CHECK kms_status epoch_begin(struct op *op, struct store_epoch *ret, struct kms_err *err);
/** End an epoch before its time: every backup of it is lost. Needs the approval ACT_EPOCH_END of the installation. The newest: a new one is begun first.
 *  @return KMS_OK | KMS_E_NOTFOUND | KMS_E_CONFLICT (has ended) | KMS_E_APPROVAL | KMS_E_DEVICE (begun: goes on by itself) */
KMS_MUST_CHECK kms_status epoch_end(struct op *op, uint32_t number, const char *reason, struct kms_err *err);
/** What ended by an intent of EVENT_BACKUP_EPOCH_END and was interrupted: all but the outcome. For recovery; in the destroy lane.
 *  @param ret_change  for the outcome, if *ret_changes @return KMS_OK | KMS_E_DEVICE, KMS_E_STORE: not done, it stays open */
KMS_MUST_CHECK kms_status epoch_end_finish(struct kms *kms, struct store *store, const struct store_intent *intent, struct store_change *ret_change, bool *ret_changes,
                                           struct kms_err *err);

/* A copy that may outlive a destruction. */
struct backup_copy {
	struct store_backup backup;
	int64_t until_s; /* when its epoch ends */
};
#define COPIES_MAX 64
/**
 * Living backups that hold wrapped versions of a key (its own, and those of the whole server since it was made), or, with key_name NULL, of any key of the vault; the newest
 * first. A purge leaves them; a shred makes all of them unreadable. A backup is left out only when both its leaves and its time say that it is older: a clock may be set back.
 * @param created_s, created_seq  of the leaf that made the oldest; 0, 0 or STORE_NO_SEQ = not known
 * @param ret_total  how many there are; ret holds at most cap of them, the longest-lived among them @param ret_until  when the last one ends; STORE_NO_TIME: there is none
 */
KMS_MUST_CHECK kms_status copies_find(const struct kms *kms, struct store *store, const uint8_t vault_id[STORE_ID_LEN], const char *key_name, int64_t created_s,
                                      uint64_t created_seq, struct backup_copy *ret, size_t cap, size_t *ret_count, size_t *ret_total, int64_t *ret_until, struct kms_err *err);

#endif
