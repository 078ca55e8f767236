/*
 * server/core/keyring.h - the life of keys in a vault: create, read, update, rotate, revoke, delete, recover, purge.
 * Each function works on an opened and authorised op, fills op->write, and leaves what it found or made in op->key and op->version.
 */
#ifndef HOLDFAST_CORE_KEYRING_H
#define HOLDFAST_CORE_KEYRING_H

#include "server/core/key.h"
#include "server/core/material.h"
#include "server/core/op.h"

#define KEYRING_PAGE_MAX 25
#define KEYRING_RESIDENT_MAX 5000 /* resident versions of one vault */

struct key_create {
	enum key_type type;  /* as the wire names it; key_ops choose the variant */
	uint16_t bits;       /* 0 = the type's default; curves: 0 */
	enum key_curve crv;  /* curves: CURVE_NONE = P-256 */
	bool has_ops;
	uint32_t ops;
	bool is_enabled;
	int64_t nbf_s, exp_s; /* STORE_NO_TIME = none */
	char *tags;           /* JSON object text, borrowed; NULL = none */
};

/* A key from outside: its members in clear, or wrapped by another HSM for one of the vault's exchange keys. */
struct key_import {
	struct jwk jwk; /* in clear, when transfer is NULL; else type and curve only */
	bool to_hsm;    /* store it resident: the type gets its -HSM form */
	/* BYOK (keyvault-keys.md section 13) */
	const uint8_t *transfer; /* the transfer blob's ciphertext */
	size_t transfer_len;
	char exchange_name[STORE_KEY_NAME_MAX + 1]; /* its kid, parsed; of this vault */
	uint8_t exchange_version[STORE_ID_LEN];
	struct key_create as; /* operations, attributes, tags; type, bits and crv are not read */
};

struct key_update {
	bool has_ops, has_enabled, has_nbf, has_exp, has_tags;
	uint32_t ops;
	bool is_enabled;
	int64_t nbf_s, exp_s;
	char *tags; /* borrowed; NULL with has_tags = remove all */
};

/* One row of a list: a key with its latest version, or one version of a key. */
struct key_row {
	struct store_key key;
	struct store_version version;
};
void key_rows_clear(struct key_row *rows, size_t count);

/* Names are checked here: KMS_E_INVALID. A missing key or version is KMS_E_KEY_NOTFOUND; so is a deleted one, except where said. version is 16
 * bytes or NULL for the latest. All may answer KMS_E_STORE; those that change, what op_intend() answers. */

/** A new key, or a new version of a living one. Blocks on the device for as long as it takes to make the key.
 *  @return KMS_OK | KMS_E_INVALID | KMS_E_DELETED, KMS_E_BEING_DELETED | KMS_E_UNSUPPORTED, KMS_E_DEVICE | KMS_E_VAULT_SHREDDED */
KMS_MUST_CHECK kms_status keyring_create(struct op *op, const char *name, const struct key_create *req, struct kms_err *err);
/**
 * A key, or a new version of a living one, from material of the caller. Clear material is checked first (material.h). A transfer needs a
 * resident target type; without key_ops its secret is an AES key. An exchange key is made here, never imported.
 * @return as keyring_create() | KMS_E_INVALID, KMS_E_CRYPTO (the material) | of the exchange key: KMS_E_KEY_NOTFOUND, KMS_E_KEY_DISABLED,
 *         KMS_E_KEY_OP
 */
KMS_MUST_CHECK kms_status keyring_import(struct op *op, const char *name, const struct key_import *req, struct kms_err *err);
/** A new version like the latest one: type, size, operations and tags carry over; with an expiryTime in the rotation policy it expires then.
 *  Imported material cannot be rotated into more of its kind, so a rotated key has material of the device's own. */
KMS_MUST_CHECK kms_status keyring_rotate(struct op *op, const char *name, struct kms_err *err);
KMS_MUST_CHECK kms_status keyring_get(struct op *op, const char *name, const uint8_t *version, struct kms_err *err);
/** @return KMS_OK | KMS_E_KEY_REVOKED (enabling a revoked version) | KMS_E_INVALID */
KMS_MUST_CHECK kms_status keyring_update(struct op *op, const char *name, const uint8_t *version, const struct key_update *req,
                                         struct kms_err *err);
KMS_MUST_CHECK kms_status keyring_delete(struct op *op, const char *name, struct kms_err *err);
KMS_MUST_CHECK kms_status keyring_get_deleted(struct op *op, const char *name, struct kms_err *err);
KMS_MUST_CHECK kms_status keyring_recover(struct op *op, const char *name, struct kms_err *err);
/** Destroys the key's objects and erases its blobs (destruction.h); op->certificate.id names the certificate.
 *  @return KMS_OK | KMS_E_PURGE_PROTECTED | KMS_E_POLICY (an external id of it is in use: ekm.h) | KMS_E_APPROVAL (approval.h) | KMS_E_DEVICE (repeat it: it goes on where it stopped) */
KMS_MUST_CHECK kms_status keyring_purge(struct op *op, const char *name, struct kms_err *err);
/** Revoke one version or, with NULL, all; reason REVOKE_NONE = reinstate, which is refused (KMS_E_KEY_REVOKED) after a compromise. */
KMS_MUST_CHECK kms_status keyring_revoke(struct op *op, const char *name, const uint8_t *version, enum revoke_reason reason,
                                         struct kms_err *err);
/** A page of keys after a name (NULL = from the start). @param rows  cap <= KEYRING_PAGE_MAX; cleared by the caller */
KMS_MUST_CHECK kms_status keyring_list(struct op *op, bool deleted, const char *after, struct key_row *rows, size_t cap, size_t *ret_count,
                                       struct kms_err *err);
/** A page of versions after an ordinal (0 = from the start). */
KMS_MUST_CHECK kms_status keyring_list_versions(struct op *op, const char *name, uint64_t after, struct key_row *rows, size_t cap,
                                                size_t *ret_count, struct kms_err *err);

/** The key's rotation policy: op->key is found, the policy or the default one returned. */
KMS_MUST_CHECK kms_status keyring_get_rotation(struct op *op, const char *name, struct store_policy *ret_policy, struct kms_err *err);
/**
 * Replace it (keyvault-keys.md 11.2, the vault's rules). Empty durations = no such action; one without a notify action gets the default one.
 * @param policy  durations as given; on KMS_OK completed as it is stored
 * @return KMS_OK | KMS_E_INVALID (the message names the member and the rule)
 */
KMS_MUST_CHECK kms_status keyring_set_rotation(struct op *op, const char *name, struct store_policy *policy, struct kms_err *err);

/** Find a living key and one of its versions; both enter the fence and the event. For keyring and crypto. */
KMS_MUST_CHECK kms_status keyring_find(struct op *op, const char *name, const uint8_t *version, bool with_tags, struct kms_err *err);
/**
 * Purge what has been deleted for longer than its vault's retention (keyvault-keys.md 10.1: automatic, cannot be moved). One key after the other;
 * blocks on the device. A key that cannot be purged now is tried again with the next call; one that has an external id in use (ekm.h) waits,
 * silently, until that is retired.
 * @param ret_count  keys purged, also when a later one failed
 */
KMS_MUST_CHECK kms_status keyring_purge_due(struct kms *kms, struct store *store, size_t *ret_count, struct kms_err *err);

#endif
