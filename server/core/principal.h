/* server/core/principal.h - principals of a vault's directory or of the installation's: callers, groups, and how callers are known. */
#ifndef HOLDFAST_CORE_PRINCIPAL_H
#define HOLDFAST_CORE_PRINCIPAL_H

#include "server/core/op.h"

#define CLIENT_SECRET_BYTES 32
#define CLIENT_SECRET_TEXT 43 /* base64url characters */
#define SECRET_DAYS_MAX 730
#define SECRETS_MAX 2 /* in date at once, so that one replaces the other without a gap; of each kind */
#define CERTIFICATES_MAX 4
#define IDENTITIES_MAX 4

/** A principal in the directory of op->vault, or without a vault in the installation's. @param days life of the secret, 1..730; 0 = none is made
 *  @param ret_secret  owned by the caller: CLIENT_SECRET_TEXT characters, to be shown once; NULL for days 0 */
KMS_MUST_CHECK kms_status principal_create(struct op *op, const char *name, unsigned days, struct store_principal *ret_principal,
                                           struct secret **ret_secret, struct kms_err *err);
/** A principal of that directory as it will be entered: name checked, id and pseudonym made. @return KMS_OK | KMS_E_INVALID (the name) |
 *  KMS_E_VAULT_SHREDDED | what pseudonym() answers */
KMS_MUST_CHECK kms_status principal_prepare(struct op *op, const char *name, struct store_principal *ret, struct kms_err *err);
/** A principal of op->vault's directory (of the installation's without one). KMS_E_NOTFOUND otherwise: no look into another directory. */
KMS_MUST_CHECK kms_status principal_find(struct op *op, const uint8_t id[STORE_ID_LEN], struct store_principal *ret, struct kms_err *err);
KMS_MUST_CHECK kms_status principal_enable(struct op *op, const uint8_t id[STORE_ID_LEN], bool enable, struct store_principal *ret_principal,
                                           struct kms_err *err);
/** All tokens that were issued to it until now are refused from the answer on (KMS_E_CLAIMS); new ones work. */
KMS_MUST_CHECK kms_status principal_revoke_tokens(struct op *op, const uint8_t id[STORE_ID_LEN], struct store_principal *ret_principal,
                                                  struct kms_err *err);

/* ---- credentials ---- */

/** A new secret beside the one that there is. @param kind  STORE_CREDENTIAL_SECRET or _HEADER @param days 1..730
 *  @param ret_secret  owned by the caller, to be shown once @return KMS_OK | KMS_E_INVALID | KMS_E_NOTFOUND | KMS_E_CONFLICT (two are in date: remove one) */
KMS_MUST_CHECK kms_status credential_add_secret(struct op *op, const uint8_t principal_id[STORE_ID_LEN], enum store_credential_kind kind,
                                                const char *label, unsigned days, struct store_credential *ret, struct secret **ret_secret,
                                                struct kms_err *err);
/** A certificate that signs the principal's assertions (RFC 7523) and approvals: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519. Not a trust anchor: its dates
 *  count, its issuer does not. @param der  borrowed; checked by the caller to be one X.509 certificate @param not_after_s  of the certificate */
KMS_MUST_CHECK kms_status credential_add_certificate(struct op *op, const uint8_t principal_id[STORE_ID_LEN], const uint8_t *der, size_t der_len,
                                                     int64_t not_after_s, const char *label, struct store_credential *ret, struct kms_err *err);
/** Who it is at an external issuer of the configuration: of a caller the subject that the issuer's `principal` claim names; of a group the value of a group or role
 *  claim, after "group:" or "role:". @return KMS_OK | KMS_E_INVALID | KMS_E_NOTFOUND | KMS_E_CONFLICT (is somebody's in this vault already) */
KMS_MUST_CHECK kms_status credential_add_identity(struct op *op, const uint8_t principal_id[STORE_ID_LEN], const char *issuer, const char *subject,
                                                  struct store_credential *ret, struct kms_err *err);
KMS_MUST_CHECK kms_status credential_remove(struct op *op, const uint8_t principal_id[STORE_ID_LEN], const uint8_t id[STORE_ID_LEN],
                                            struct kms_err *err);
/** The principal's own credential of a kind with this hash, in date or not. *ret is owned by the caller. @return KMS_OK | KMS_E_NOTFOUND | KMS_E_STORE */
KMS_MUST_CHECK kms_status credential_find(struct store *store, const uint8_t principal_id[STORE_ID_LEN], enum store_credential_kind kind,
                                          const uint8_t hash[STORE_HASH_LEN], struct store_credential *ret, struct kms_err *err);
/** Does one of the principal's secrets of this kind match, in date? Takes as long for an unknown principal (NULL). Constant time in the secret.
 *  @return KMS_OK (*ret_matches) | KMS_E_STORE */
KMS_MUST_CHECK kms_status credential_matches(struct store *store, const struct store_principal *p, enum store_credential_kind kind, const void *secret,
                                             size_t secret_len, int64_t now_s, bool *ret_matches, struct kms_err *err);

/* ---- groups ---- */

/** A group in op->vault. The installation has none. */
KMS_MUST_CHECK kms_status group_create(struct op *op, const char *name, struct store_principal *ret_group, struct kms_err *err);
/** A caller or group of the same vault becomes a member, or ceases to be. No circle; at most ACCESS_GROUPS_MAX groups above any member; duties that
 *  exclude one another are refused; who would come to manage the vault by it needs approval, as in role_change().
 *  @return KMS_OK | KMS_E_CONFLICT | KMS_E_NOTFOUND | KMS_E_INVALID | KMS_E_FORBIDDEN | KMS_E_APPROVAL */
KMS_MUST_CHECK kms_status group_change(struct op *op, const uint8_t group_id[STORE_ID_LEN], const uint8_t member_id[STORE_ID_LEN], bool add,
                                       struct kms_err *err);

#endif
