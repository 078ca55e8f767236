/*
 * server/core/destruction.h - the one way in which keys die (audit-log.md 11.3, steps 3 to 8): drained, destroyed, looked for by a fresh process, erased, and each thing
 * that died written down: a tombstone and a leaf key.destroy of its own. Begins after its sealed intent (op_intend_sealed()), from which on every use is refused.
 * All of it may be repeated: after a crash, or when the device was away, it goes on where it stopped, and it never says that it is done before it is.
 */
#ifndef HOLDFAST_CORE_DESTRUCTION_H
#define HOLDFAST_CORE_DESTRUCTION_H

#include "server/core/op.h"

enum destruction_of {
	DESTRUCTION_OF_TENANT, /* a vault's root, its pseudonym key, its resident versions; its wrapped versions die with the root */
	DESTRUCTION_OF_KEY,    /* all versions of a key: resident ones in the device, the blobs of the others */
	DESTRUCTION_OF_ROOT,   /* the root that a rotation has replaced */
	DESTRUCTION_OF_EPOCH,  /* a backup epoch's key */
};

struct destruction {
	struct kms *kms;
	struct store *store; /* a reader's connection */
	enum destruction_of of;
	uint64_t intent; /* seq, as store_intent.seq: what the leaves of the destruction refer to */
	const struct store_vault *vault; /* as stored now; NULL: an epoch */
	const struct store_key *key;     /* DESTRUCTION_OF_KEY */
	uint8_t object[STORE_ID_LEN];    /* DESTRUCTION_OF_ROOT, DESTRUCTION_OF_EPOCH */

	/* Filled. */
	size_t objects;  /* that the device held, destroyed now or earlier */
	size_t versions; /* wrapped ones, which died with their root or were erased */
	int64_t destroyed_us, verified_us; /* wall time */
	bool tried_api, tried_canary;      /* which of the checks there were: each that was made has succeeded */
};

/**
 * Steps 3 to 8 but for the erasing of what is left of the vault's or key's rows, which belongs to the outcome.
 * @return KMS_OK: everything is gone, and was looked for | KMS_E_DEVICE, KMS_E_BUSY, KMS_E_STORE, KMS_E_AUDIT: not done; repeat it
 */
KMS_MUST_CHECK kms_status destruction_run(struct destruction *d, struct kms_err *err);
/** 11.3: an attempt at a vault that failed is an event of its own; its intent stays open, and it is tried again until it is done. Of anything else: nothing.
 *  @param as  who tried it; NULL = the server itself */
void destruction_tell_incomplete(const struct destruction *d, const struct event *as, kms_status status);

/** What authenticates a tombstone: HMAC-SHA-256, in the device, under the installation's pseudonym key, over "holdfast tombstone 1\0" || obj. */
KMS_MUST_CHECK kms_status tombstone_seal(struct hsm *hsm, const struct installation *inst, struct store_tombstone *t, struct kms_err *err);
/** @return KMS_OK | KMS_E_CRYPTO (forged) | KMS_E_DEVICE */
KMS_MUST_CHECK kms_status tombstone_check(struct hsm *hsm, const struct installation *inst, const struct store_tombstone *t, struct kms_err *err);

/* What a sweep has found. */
struct sweep_count {
	size_t resurrected; /* objects of the device that have a tombstone: destroyed again, and written as tenant.resurrected */
	size_t forged;      /* tombstones that this installation did not make: nothing was destroyed, log.integrity_failed says so */
	size_t unknown;     /* objects that are ours by label and that neither a row nor an open intent names */
	size_t rootless;    /* vaults that are said to live and whose root is not in the device: destroyed after this database was written, or lost */
	char rootless_vault[STORE_VAULT_NAME_MAX + 1]; /* the first of them */
};
/** At start and after a restore, before service, whatever the state of the log (audit-log.md 11.4): enumerate the device once and compare. Writes through the writer.
 *  @return KMS_OK | KMS_E_DEVICE (what was found could not be destroyed: do not serve) | KMS_E_STORE | KMS_E_AUDIT */
KMS_MUST_CHECK kms_status destruction_sweep(struct kms *kms, struct store *store, struct sweep_count *ret_count, struct kms_err *err);

#endif
