/* server/core/keyring_parts.h - what the keyring's files share: finding keys and versions, and what depends on them. Not for others. */
#ifndef HOLDFAST_CORE_KEYRING_PARTS_H
#define HOLDFAST_CORE_KEYRING_PARTS_H

#include "server/core/keyring.h"

#define KEYRING_VERSIONS_PAGE 16 /* versions read at once while walking over all of a key */

/** @return KMS_E_KEY_NOTFOUND with the message that tools know */
kms_status keyring_not_found(const char *name, struct kms_err *err);
/** A key by name in whatever state; KMS_E_KEY_NOTFOUND when there is none. The name is noted for the leaf of a refusal too. */
KMS_MUST_CHECK kms_status keyring_find_key(struct op *op, const char *name, struct kms_err *err);
KMS_MUST_CHECK kms_status keyring_find_living(struct op *op, const char *name, struct kms_err *err);
KMS_MUST_CHECK kms_status keyring_find_deleted(struct op *op, const char *name, struct kms_err *err);
/** A version of op->key into op->version, the fence and the event. */
KMS_MUST_CHECK kms_status keyring_load_version(struct op *op, const uint8_t *version, bool with_tags, struct kms_err *err);
/** The fence leaves the version out: it may change without harm to the act. */
void keyring_free_version(struct op *op);
/** op->key into the event; op->version likewise. */
void keyring_note_key(struct op *op);
void keyring_note_version(struct op *op);
/** attributes.nbf and attributes.exp of one version. */
KMS_MUST_CHECK kms_status keyring_check_window(int64_t nbf_s, int64_t exp_s, struct kms_err *err);
/** op->version.tags = a copy of this text, or none. */
KMS_MUST_CHECK kms_status keyring_set_tags(struct op *op, const char *tags, struct kms_err *err);
/**
 * The key that a new version goes to: a living one, or one to be made. Leaves it in op->key, for a new one with an id of its own.
 * @return KMS_OK | KMS_E_INVALID (the name) | KMS_E_DELETED, KMS_E_BEING_DELETED
 */
KMS_MUST_CHECK kms_status keyring_open_name(struct op *op, const char *name, bool *ret_is_new, struct kms_err *err);

/** The stored rotation policy, or the one of a key for which none was ever set. */
KMS_MUST_CHECK kms_status keyring_policy(struct store *store, const struct store_key *key, struct store_policy *ret, struct kms_err *err);
/** When a version that is made now expires by the key's rotation policy (keyvault-keys.md 11.3): STORE_NO_TIME without a policy, or one without
 *  expiryTime. */
KMS_MUST_CHECK kms_status keyring_new_expiry(struct op *op, int64_t now_s, int64_t *ret_exp_s, struct kms_err *err);

/** After the commit, run `act`: op->object is the version's. */
void keyring_after_commit(struct op *op, void (*act)(struct op *op));
/** Loaded material of all versions goes. */
void keyring_evict_all(struct op *op);

#endif
