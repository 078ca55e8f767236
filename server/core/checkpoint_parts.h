/* server/core/checkpoint_parts.h - what the files behind checkpoint.h share: the keys that sign, what the device and the database remember. */
#ifndef HOLDFAST_CORE_CHECKPOINT_PARTS_H
#define HOLDFAST_CORE_CHECKPOINT_PARTS_H

#include "hsm/hsm.h"
#include "server/core/checkpoint.h"
#include "server/core/note.h"
#include "storage/store.h"

#define LOG_META_ORIGIN "log_origin" /* of the present log */
#define LOG_META_PINNED "log_pinned" /* size (8 bytes, big-endian) || root of the last pin; size 0 = this log has none yet */
#define LOG_PINNED_LEN (8 + MERKLE_HASH_LEN)

/* log_key.c: who signs. */

/** The verifier key of a public half as the device reports it. @return false when it is not one of its kind (Ed25519, P-256) */
bool log_note_key(const char *origin, enum hsm_kind kind, const struct hsm_public *pub, struct note_key *ret);

#define LOG_SIGNERS_MAX 8
struct log_signer {
	struct hsm_key key;
	struct note_key note;
};
/**
 * Who signs the checkpoint of `size`, the one before being of `signed_size` (0 = there is none): the key in force there, and each that has come since. So the first
 * checkpoint that covers a log.key_rotated carries both lines (audit-log.md 5.6), whatever happened in between, and the next one only the new key's.
 * @return KMS_OK (the newest first, at least one) | KMS_E_STORE
 */
KMS_MUST_CHECK kms_status log_signers(struct store *store, const char *origin, uint64_t signed_size, uint64_t size,
                                      struct log_signer ret[LOG_SIGNERS_MAX], size_t *ret_count, struct kms_err *err);
/** The size that is signed next: the first one that covers a log.key_rotated has a checkpoint of its own, so that whoever looks for the one that both keys signed
 *  knows its size; else all leaves. */
KMS_MUST_CHECK kms_status log_next_size(struct store *store, const char *origin, uint64_t signed_size, uint64_t size, uint64_t *ret, struct kms_err *err);
/** Sign in the device with each, and verify in software. @param ret_note  STORE_NOTE_MAX + 1 bytes */
KMS_MUST_CHECK kms_status log_sign(struct hsm *hsm, const struct log_signer *signers, size_t count, const struct checkpoint_text *text, char *ret_note,
                                   struct kms_err *err);

/* log_pin.c: what is remembered of the newest checkpoint outside the tree. */

struct log_pinned {
	uint64_t size; /* 0 = nothing was pinned */
	uint8_t root[MERKLE_HASH_LEN];
};
KMS_MUST_CHECK kms_status log_pinned_read(struct store *store, struct log_pinned *ret, struct kms_err *err);
void log_pinned_encode(const struct log_pinned *p, struct store_meta *ret);
/** Pin it in the device, then write down that it is. @return KMS_OK | KMS_E_CONFLICT (the device remembers a larger one) | KMS_E_DEVICE | KMS_E_AUDIT */
KMS_MUST_CHECK kms_status log_pin(struct kms *kms, const struct log_pinned *p, struct kms_err *err);

/**
 * Pins are looked for by the installation's directory, which is a record of the database. So the device remembers for each log key, from before its first signature,
 * which directory it signs for: a database with another one is not let in, or its forger would be rid of all pins.
 * @return KMS_OK (it is the same, or it is remembered from now on) | KMS_E_AUDIT (it is another) | KMS_E_DEVICE
 */
KMS_MUST_CHECK kms_status log_claim(struct hsm *hsm, const struct installation *inst, const struct hsm_public *log_public, struct kms_err *err);

kms_status log_get_node(void *arg, unsigned level, uint64_t position, uint8_t ret_hash[MERKLE_HASH_LEN], struct kms_err *err);

/**
 * Before signing (audit-log.md section 4): read the leaves from `from` on and the right edge back, recompute, compare with what is stored and with the root that the
 * writer has in memory; and that it all extends the checkpoint of `from` leaves. Constant memory.
 * @param wanted  from..size: whose root is asked for
 * @param go_on  asked now and then; false = stop (KMS_E_SHUTDOWN)
 * @return KMS_OK | KMS_E_INTEGRITY (what is stored is not what was computed: detail says where) | KMS_E_STORE | KMS_E_SHUTDOWN
 */
KMS_MUST_CHECK kms_status log_rehash(struct store *store, uint64_t from, const uint8_t from_root[MERKLE_HASH_LEN], uint64_t size,
                                     const uint8_t root[MERKLE_HASH_LEN], uint64_t wanted, uint8_t ret_wanted[MERKLE_HASH_LEN],
                                     bool (*go_on)(void *arg), void *arg, struct kms_err *err);

#endif
