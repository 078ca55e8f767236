/*
 * server/core/person.h - who somebody was (audit-log.md section 12): records outside the tree, sealed under a key of their vault, which leaves name by number and commitment.
 * Only for vaults whose policy says how long they may be kept. The key is derived in the device from the vault's pseudonym key: it is never stored, and a shred ends it.
 * No operation waits or fails for a record: what cannot be made now is left out and counted.
 */
#ifndef HOLDFAST_CORE_PERSON_H
#define HOLDFAST_CORE_PERSON_H

#include "server/core/certificate.h"
#include "server/core/op.h"

#define PERSON_DAYS_MAX 400
#define PERSON_REF_MAX ((UINT64_C(1) << 53) - 1)
#define PERSON_TEXT_MAX 4000 /* bytes of a record, canonical JSON */
#define PERSON_PAGE 32       /* records of one erasing unit */

/* Keys of vaults in use, and the records of today that are entered already. Thread-safe. */
struct persons;
/** @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status persons_new(struct persons **ret, struct kms_err *err);
/** Accepts NULL. */
void persons_free(struct persons *p);
/** A vault dies, or its records do: nothing of it is kept here. pid NULL = of everybody, and the key too. Accepts p NULL. */
void persons_drop(struct persons *p, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *pid);
/** The next turn does not wait for its time. Accepts NULL. */
void persons_wake(struct persons *p);

struct persons_count {
	uint64_t made;   /* records, since the start */
	uint64_t missed; /* leaves that should name one and do not: their vault's key was not at hand */
};
void persons_count(struct persons *p, struct persons_count *ret);

/* ---- a request's ---- */

/* Made and sealed, not entered yet. */
struct op_person {
	struct store_person row;
	uint8_t commitment[32];
	uint8_t shape[32]; /* of the cache */
	uint64_t generation;
};

/** After op_open(), whatever it answered: name the caller's record of today in the event, or make one. @param may_ask  the device may be asked now for the vault's key: not
 *  in a lane that must go on while the device hangs */
void person_note(struct op *op, bool may_ask);
/** A unit that copies op's event goes before: it enters the record, and so may name it. @param changes  with room for one more */
void person_put(const struct op *op, struct event *e, struct store_change *changes, size_t *count);
/** The same for op->write itself; before its last change. */
void person_attach(struct op *op);
/** A unit of person_put() or person_attach() was committed: others may name the record too. */
void person_entered(struct op *op);

/* ---- read and erased ---- */

struct person_shown {
	struct store_person row; /* sealed bytes erased */
	char text[PERSON_TEXT_MAX + 1]; /* canonical JSON; erase it */
	uint8_t commitment[32];
	bool has_leaf, leaf_matches; /* does the leaf name this record, with this commitment? */
};
/** @param reason  1..STORE_REASON_MAX bytes, for the leaf @param seq  a leaf to compare with; NULL = none
 *  @return KMS_OK | KMS_E_NOTFOUND (none, or erased) | KMS_E_DEVICE | KMS_E_CONFLICT (does not open) | KMS_E_STORE */
KMS_MUST_CHECK kms_status person_show(struct op *op, uint64_t ref, const char *reason, const uint64_t *seq, struct person_shown *ret, struct kms_err *err);

struct person_erasure {
	uint64_t ref;       /* 0 = by pid */
	uint8_t pid[16];
	enum certificate_basis basis;
};
/** All that fit, in pages, each with a leaf of its own; the last is op's. Afterwards the bytes are gone from database, its log and memory.
 *  @param ret_count  records erased @return KMS_OK | KMS_E_STORE | KMS_E_AUDIT | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status person_erase(struct op *op, const struct person_erasure *what, size_t *ret_count, struct kms_err *err);

/** In one thread, every few seconds: erase what is past its time (and all of vaults that keep none, or are shredded), and have the keys of vaults at hand. Once a minute,
 *  or after persons_wake(). @return KMS_OK | KMS_E_STORE | KMS_E_AUDIT | KMS_E_NOMEM | KMS_E_SHUTDOWN */
KMS_MUST_CHECK kms_status persons_turn(struct kms *kms, struct store *store, size_t *ret_erased, struct kms_err *err);
/** An older database came back, and with it what had been erased, nobody knows whose: all records of all vaults go, in pages, each with a leaf of its own. Before anything is
 *  served; called again it goes on where it was stopped. @return KMS_OK | KMS_E_STORE | KMS_E_AUDIT | KMS_E_NOMEM | KMS_E_SHUTDOWN */
KMS_MUST_CHECK kms_status persons_clear(struct kms *kms, struct store *store, struct kms_err *err);

#endif
