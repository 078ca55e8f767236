/*
 * server/core/root.h - root rotation: a vault's root is replaced, and all its wrapped versions with it, inside the HSM, while service goes on.
 * Steps, each of which may be repeated: intent (sealed, approved) · the new root made · STORE_VAULT_NEXT_ROOT, from which new versions are wrapped under it · every other
 * version rewrapped, in pages · STORE_VAULT_SET_ROOT · the old root destroyed as destruction.h says, with an intent, outcome and certificate of its own (key.destroy) · outcome.
 * A request does the first step; the others take minutes in a large vault and are done in the background (recovery_run() in a lane of their own). While the intent is open
 * the rotation is under way. Backups of keys that were made under the old root end with it (audit-log.md 11.4).
 */
#ifndef HOLDFAST_CORE_ROOT_H
#define HOLDFAST_CORE_ROOT_H

#include "server/core/op.h"

/** The root under which a version that is made now is wrapped. */
const uint8_t *vault_wrapping_root(const struct store_vault *v);
/** The root of a vault as the device names it. */
void vault_root_key(const uint8_t root_id[STORE_ID_LEN], struct hsm_key *ret_key);
/** A random value wrapped under v->root_id, into v: once that root is destroyed, the proof that it is. Only its wrap and hash are kept. */
KMS_MUST_CHECK kms_status vault_make_canary(struct hsm *hsm, struct store_vault *v, struct kms_err *err);

/**
 * Begin: agreed, written and sealed. The rest follows by itself: op->goes_on.
 * @return KMS_OK | KMS_E_APPROVAL | KMS_E_CONFLICT (one is under way: it goes on by itself) | KMS_E_VAULT_SHREDDED | KMS_E_AUDIT (the intent is not sealed yet: it goes on by itself)
 */
KMS_MUST_CHECK kms_status root_rotate(struct op *op, const char *reason, struct kms_err *err);
/** The intent of the rotation that is under way: obj is the new root, key_id the old one. @return KMS_OK | KMS_E_NOTFOUND (there is none) | KMS_E_STORE */
KMS_MUST_CHECK kms_status root_rotation_of(struct store *store, const uint8_t vault_id[STORE_ID_LEN], struct store_intent *ret, struct kms_err *err);
/** How many versions are still wrapped under the old root. */
KMS_MUST_CHECK kms_status root_rotation_left(struct store *store, const struct store_intent *rotation, uint64_t *ret_versions, struct kms_err *err);
/** Do what is left of it; for recovery.
 *  @return KMS_OK: only its outcome is missing | KMS_E_VAULT_SHREDDED: it has failed, and both roots are gone | any other: not done; repeat it */
KMS_MUST_CHECK kms_status root_rotation_finish(struct kms *kms, struct store *store, const struct store_intent *rotation, struct kms_err *err);

/** The device has failed an operation: because the root that it read of was replaced, and destroyed, in between? Then it is to be decided anew. */
bool root_was_replaced(const struct op *op, kms_status status);

#endif
