/*
 * server/core/backup_file.h - the file of a backup of the whole server: a manifest in clear, then the configuration without secrets, the newest checkpoint and the database,
 * sealed in chunks (AES-256-GCM) under a key of its own that only the epoch key in the HSM opens. Versions inside are wrapped under their vaults' roots as ever.
 *
 * Form 1: lines of text "name value" from "holdfast-backup/v1" to an empty line (the manifest), then chunks of 1 MiB and a shorter last one, each followed by its tag. Nonce
 * of a chunk: its number, and whether it is the last; additional data: SHA-256 of the manifest. So nothing can be cut, moved or taken from another backup.
 */
#ifndef HOLDFAST_CORE_BACKUP_FILE_H
#define HOLDFAST_CORE_BACKUP_FILE_H

#include "server/core/epoch.h"

#define BACKUP_KEY_SEALED_LEN (HSM_GCM_NONCE_LEN + 32 + HSM_GCM_TAG_LEN)

struct backup_manifest {
	uint8_t id[STORE_ID_LEN];
	char version[32];       /* of the holdfastd that made it */
	char domain[KMS_DOMAIN_MAX + 1];
	char origin[STORE_ORIGIN_MAX + 1];
	uint8_t directory[STORE_ID_LEN]; /* the installation */
	uint8_t epoch_key[STORE_ID_LEN];
	uint32_t epoch;
	int64_t made_s;
	uint64_t size;          /* leaves of the newest checkpoint in it */
	uint8_t root[STORE_HASH_LEN];
	uint64_t vaults, keys, versions;
	uint64_t config_bytes, checkpoint_bytes, database_bytes;
	uint8_t sealed_key[BACKUP_KEY_SEALED_LEN]; /* nonce || ciphertext || tag under the epoch key; additional data: all other lines */
};

#define BACKUP_PART_SUFFIX ".part" /* of a backup that is being written */
#define BACKUP_MANIFEST_MAX 2048
#define BACKUP_CONFIG_MAX ((uint64_t)1 << 20)
/** The whole text with its empty line. @param ret_sealed_len  of what the key was sealed with @return its length */
size_t backup_manifest_format(const struct backup_manifest *m, char ret_text[BACKUP_MANIFEST_MAX], size_t *ret_sealed_len);
#define BACKUP_CHUNK ((size_t)1 << 20)
/** How long the whole file is. */
uint64_t backup_file_bytes(const struct backup_manifest *m);
/** Strict; what follows it is not looked at. @return KMS_OK | KMS_E_BACKUP (says what it is) */
KMS_MUST_CHECK kms_status backup_manifest_parse(const char *text, size_t len, struct backup_manifest *ret, size_t *ret_len, size_t *ret_sealed_len, struct kms_err *err);

/* Progress in bytes; false = stop (KMS_E_SHUTDOWN). */
typedef bool (*backup_progress_fn)(void *arg, uint64_t done, uint64_t total);

/** Write a new file (0600, synced, under a temporary name until it is whole). Fills m->sealed_key and the three lengths.
 *  @param database  a copy that nobody writes to (store_copy()) @param config, checkpoint  texts */
KMS_MUST_CHECK kms_status backup_file_write(struct hsm *hsm, const char *path, struct backup_manifest *m, const char *config, const char *checkpoint, const char *database,
                                            backup_progress_fn progress, void *arg, struct kms_err *err);
/** The manifest alone; nothing of it is authenticated yet. @return KMS_OK | KMS_E_BACKUP (not such a file, damaged, of a newer form) | KMS_E_STORE (cannot be read) */
KMS_MUST_CHECK kms_status backup_file_manifest(const char *path, struct backup_manifest *ret, struct kms_err *err);
/**
 * Unseal: what comes out is written only as far as it was found good, and all of it is removed (overwritten first) on failure.
 * @param database  path of the new file: 0600, must not exist; NULL = only the texts are asked for, and nothing is written @param ret_config, ret_checkpoint  malloc()ed texts; either may be NULL
 * @return KMS_OK | KMS_E_BACKUP (the epoch's key is not in the device: the backup has ended, or it is another installation's; the seal is broken) | KMS_E_STORE | KMS_E_DEVICE
 */
KMS_MUST_CHECK kms_status backup_file_open(struct hsm *hsm, const char *path, const char *database, char **ret_config, char **ret_checkpoint,
                                           struct backup_manifest *ret, struct kms_err *err);
/** The same, told how far it is. */
KMS_MUST_CHECK kms_status backup_file_open_watched(struct hsm *hsm, const char *path, const char *database, char **ret_config, char **ret_checkpoint,
                                                   struct backup_manifest *ret, backup_progress_fn progress, void *arg, struct kms_err *err);
/** Overwrite a file with zeros, sync, remove. What is not there is fine. */
void file_erase(const char *path);

#endif
