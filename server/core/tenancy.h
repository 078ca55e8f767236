/* server/core/tenancy.h - vaults, the principals of their directories, and role assignments. */
#ifndef HOLDFAST_CORE_TENANCY_H
#define HOLDFAST_CORE_TENANCY_H

#include "server/core/op.h"

#define TENANCY_PAGE_MAX 100
#define CLIENT_SECRET_BYTES 32
#define CLIENT_SECRET_TEXT 43 /* base64url characters */
#define RETENTION_DAYS_MIN 7
#define RETENTION_DAYS_MAX 90
#define SECRET_DAYS_MAX 730

struct vault_create {
	const char *name;        /* 3..24 of [a-z0-9-], begins with a letter, ends with a letter or digit, no "--" */
	uint16_t retention_days; /* 7..90 */
	bool has_purge_protection, allows_rsa1_5;
};

/** A vault with its root and pseudonym key in the device, its directory and its canary; left in op->vault.
 *  @return KMS_OK | KMS_E_INVALID | KMS_E_CONFLICT (the name is or was in use) | KMS_E_DEVICE */
KMS_MUST_CHECK kms_status vault_create(struct op *op, const struct vault_create *req, struct kms_err *err);
/** Destroy the vault's root and every object that hangs from it, look again with a fresh login, erase its blobs (audit-log.md 11.3).
 *  @param ret_objects  device objects destroyed @return KMS_OK | KMS_E_CONFLICT (already shredded) | KMS_E_DEVICE: refused from now on, repeat it */
KMS_MUST_CHECK kms_status vault_shred(struct op *op, const char *reason, size_t *ret_objects, struct kms_err *err);
/** The destruction itself, shared with recovery: everything of a vault that is STORE_VAULT_SHREDDING. */
KMS_MUST_CHECK kms_status vault_destroy_objects(struct kms *kms, struct store *store, const struct store_vault *vault, size_t *ret_objects,
                                                struct kms_err *err);

/** A principal in the directory of op->vault, or without a vault in the installation's. @param days life of the secret, 1..730
 *  @param ret_secret  owned by the caller: CLIENT_SECRET_TEXT characters, to be shown once */
KMS_MUST_CHECK kms_status principal_create(struct op *op, const char *name, unsigned days, struct store_principal *ret_principal,
                                           struct secret **ret_secret, struct kms_err *err);
/** A principal of that directory as it will be entered: name checked, id and pseudonym made. No secret matches it until one is set. For other callers
 *  than tokens too. @return KMS_OK | KMS_E_INVALID (the name) | KMS_E_VAULT_SHREDDED | what pseudonym() answers */
KMS_MUST_CHECK kms_status principal_prepare(struct op *op, const char *name, struct store_principal *ret, struct kms_err *err);
/** A principal of op->vault's directory (of the installation's without one). KMS_E_NOTFOUND otherwise: no look into another directory. */
KMS_MUST_CHECK kms_status principal_find(struct op *op, const uint8_t id[STORE_ID_LEN], struct store_principal *ret, struct kms_err *err);
KMS_MUST_CHECK kms_status principal_enable(struct op *op, const uint8_t id[STORE_ID_LEN], bool enable, struct store_principal *ret_principal,
                                           struct kms_err *err);

/** Grant or take away a role in op->vault, or at the installation's scope. @return KMS_OK | KMS_E_CONFLICT (has it) | KMS_E_NOTFOUND (has it
 *  not; no such principal) | KMS_E_INVALID (cannot be granted there) | KMS_E_FORBIDDEN (scope beyond the caller's) */
KMS_MUST_CHECK kms_status role_change(struct op *op, const uint8_t principal_id[STORE_ID_LEN], enum role role, bool at_installation, bool grant,
                                      struct kms_err *err);

/** Does `secret` belong to this principal and is it in date? Constant time; false for NULL. */
bool principal_secret_matches(const struct store_principal *p, const char *secret, size_t secret_len, int64_t now_s);

#endif
