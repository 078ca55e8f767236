/*
 * server/core/backup.h - backup and restore of one key with all its versions (keyvault-keys.md section 12, audit-log.md 11.4).
 * Versions stay wrapped under the vault's root; the whole is sealed (AES-256-GCM) under the key of the newest backup epoch (epoch.h), which never leaves the
 * HSM, and bound to installation, vault and root. So a shred, or a new root, ends every backup at once, and the end of an epoch those that were made in it. Resident
 * versions (-HSM) cannot leave the device: no backup.
 *
 * What a backup cannot know is what happened after it was made:
 * - A version that was revoked later comes back as it was, unless it was destroyed while it was revoked for keyCompromise: its tombstone says so, it comes back revoked, and
 *   the leaf says how many did (det.revoked_again). The leaf of the restore also says when the backup was made (det.made), so that the log shows which other revocations of
 *   the key it does not contain; the server does not look for them.
 * - GCM encryptions made later are forgotten. SP 800-38D section 8.3 wants the chance of a repeated nonce below 2^-32; 2^32 random nonces give
 *   2^-33. So a restored oct version may make at most 2^24 encryptions more, whatever it made before: a hundred restores of one version stay
 *   within the bound.
 * An epoch's key itself seals with random nonces; at one backup a millisecond its 2^32 would last for seven weeks, longer than an epoch by default.
 */
#ifndef HOLDFAST_CORE_BACKUP_H
#define HOLDFAST_CORE_BACKUP_H

#include "server/core/keyring.h"

#define BACKUP_VERSIONS_MAX 500              /* keyvault-keys.md 16.1 */
#define BACKUP_BLOB_MAX ((size_t)1536 * 1024) /* so that its base64url fits the 2 MiB body of a restore */
#define BACKUP_RESTORED_ENCRYPTIONS ((uint64_t)1 << 24)

/**
 * Seal a living key: every version with attributes, operations, tags and state, and the rotation policy. Two-phase.
 * @param ret_blob  malloc()ed; owned by the caller
 * @return KMS_OK | KMS_E_KEY_NOTFOUND | KMS_E_UNSUPPORTED (a version is resident: said so) | KMS_E_CONFLICT (the vault's root is being replaced) | KMS_E_POLICY (more than 500 versions, or too
 *         large) | KMS_E_DEVICE | what op_intend() answers
 */
KMS_MUST_CHECK kms_status backup_make(struct op *op, const char *name, uint8_t **ret_blob, size_t *ret_len, struct kms_err *err);
/**
 * Bring a key back under the same name and version ids, each version as a new object of the device. Two-phase. The leaf has in `revives` the
 * object that the latest version was, in `versions` how many there are, in `made` when the backup was made. Leaves the key and its latest
 * version in op.
 * @return KMS_OK | KMS_E_BACKUP (not a backup, damaged, of another installation or vault, or of a root or backup epoch that is gone: the message
 *         says which once the seal has been found good) | KMS_E_CONFLICT, KMS_E_DELETED, KMS_E_BEING_DELETED (the name exists; or the vault's root is being replaced) | KMS_E_DEVICE
 */
KMS_MUST_CHECK kms_status backup_restore(struct op *op, const uint8_t *blob, size_t len, struct kms_err *err);

#endif
