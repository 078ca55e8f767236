/*
 * server/core/certificate.h - destruction certificates (audit-log.md 11.1, 11.2): signed notes that anybody checks with the public keys alone. A row is written with the
 * intent, filled by the outcome, signed as soon as a checkpoint covers that. Pending ones are signed anew as complete when the last backup that outlived them has ended.
 */
#ifndef HOLDFAST_CORE_CERTIFICATE_H
#define HOLDFAST_CORE_CERTIFICATE_H

#include "server/core/destruction.h"
#include "server/core/note.h"

enum certificate_basis { BASIS_OTHER, BASIS_ERASURE, BASIS_CONTRACT_END, BASIS_COMPROMISE, BASIS_RETENTION, BASIS_COUNT };
/** "gdpr-art17", "contract-end", "compromise", "retention", "other". */
const char *certificate_basis_name(enum certificate_basis basis);
/** BASIS_COUNT when unknown. */
enum certificate_basis certificate_basis_parse(const char *name);
enum certificate_method { METHOD_OBJECT = 1 /* hsm-object-destroy */, METHOD_ROOT /* kek-destroy */, METHOD_BLOB /* blob-erase */ };

/** The verifier key of certificates: "HOST/attest/k1", P-256. HOST is that of the log's origin: nothing that one key signs may be taken for the other's. */
KMS_MUST_CHECK kms_status certificate_vkey(const struct kms *kms, char ret_vkey[NOTE_VKEY_MAX + 1], struct kms_err *err);

/** With the intent: a new row, begun. Its id also goes into the leaf (det.certificate). @param ret  for STORE_CERTIFICATE_ADD */
KMS_MUST_CHECK kms_status certificate_begin(const struct op *op, enum store_certificate_scope scope, enum certificate_basis basis, struct store_certificate *ret,
                                            struct kms_err *err);
/** With the outcome of a destruction that is done. @param ret  for STORE_CERTIFICATE_FILL; owned by the caller; to live until the unit was written
 *  @return KMS_OK | KMS_E_NOTFOUND (it began in a version, or in a log, that knows no certificate of it: there will be none) | KMS_E_STORE | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status certificate_due(const struct destruction *d, struct store_certificate *ret, struct kms_err *err);

/** Sign what is due, and what was pending and has become complete; waits for checkpoints. In the destroy lane only. One that fails does not stop the others.
 *  @param ret_issued  number of certificates signed */
KMS_MUST_CHECK kms_status certificates_issue(struct kms *kms, struct store *store, size_t *ret_issued, struct kms_err *err);

/**
 * The signed note. Composed from the row and its tombstones: the same bytes each time, until it is signed anew.
 * @param ret_note  malloc()ed, NUL-terminated; owned by the caller
 * @return KMS_OK | KMS_E_NOTFOUND (no such certificate) | KMS_E_CONFLICT (not signed yet: the message says what it waits for) | KMS_E_STORE | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status certificate_note(struct store *store, const struct store_certificate *c, char **ret_note, struct kms_err *err);

/** Has a restore brought back what it says is destroyed, and does that live now? @param ret_made_us  when that was; STORE_NO_TIME = not known, or no */
KMS_MUST_CHECK kms_status certificate_is_revived(struct store *store, const struct store_certificate *c, bool *ret_is, int64_t *ret_made_us, struct kms_err *err);
/** The number of the certificate of a vault that was shredded. @return KMS_OK | KMS_E_NOTFOUND | KMS_E_STORE */
KMS_MUST_CHECK kms_status certificate_of_shred(struct store *store, const uint8_t vault_id[STORE_ID_LEN], uint8_t ret_id[STORE_ID_LEN], struct kms_err *err);

/**
 * An approver of this destruction adds a line of their own: Ed25519 or ECDSA P-256 over the note's text, by one of their certificates (credentials) that is in date; the line's
 * name is "HOST/approver/PID". RSA has no place in a signed note.
 * @param fingerprint  SHA-256 of that certificate @param signature  Ed25519: 64 bytes; ECDSA: DER @param ret_vkey  the approver's verifier key
 * @return KMS_OK | KMS_E_FORBIDDEN (did not approve it) | KMS_E_CONFLICT (not signed yet, or signed by them already) | KMS_E_INVALID (the signature, or such a key) | …
 */
KMS_MUST_CHECK kms_status certificate_countersign(struct op *op, const uint8_t id[STORE_ID_LEN], const uint8_t fingerprint[STORE_HASH_LEN], const uint8_t *signature,
                                                  size_t signature_len, char ret_vkey[NOTE_VKEY_MAX + 1], struct kms_err *err);

/** Is it a certificate that this installation's attestation key has signed? @param ret_body  its second line, inside note; not NUL-terminated
 *  @return KMS_OK | KMS_E_INVALID (no certificate, or not signed by this installation) */
KMS_MUST_CHECK kms_status certificate_open(const struct kms *kms, const char *note, size_t len, const char **ret_body, size_t *ret_body_len, struct kms_err *err);
/* One object that a certificate, opened before, says is destroyed. */
struct certified_object {
	uint8_t obj[STORE_ID_LEN];
	enum store_tombstone_kind kind;
	char key_name[STORE_KEY_NAME_MAX + 1]; /* of a version */
};
struct certified {
	uint8_t id[STORE_ID_LEN], vault_id[STORE_ID_LEN];
	bool is_of_tenant;
	const struct certified_object *objects; /* array of count; borrowed */
	size_t count;
};
struct enforced {
	size_t objects; /* looked for: the certificate's, and what else hangs from a vault that it says is shredded */
	size_t revived; /* of these, those that were there again: in the device, or served by the database, or both */
};
/**
 * Make true again what an older database or token does not know any more: destroy each object that the device has, erase what the database has of it (the vault of a tenant's
 * certificate becomes shredded, a key with one of its versions is removed), leave tombstones. Each object that was back is a tenant.resurrected. Also while the log is
 * rolled back. May be repeated.
 * @param ret  KMS_OK only
 * @return KMS_OK | KMS_E_CONFLICT (the root that a rotation replaced is the vault's only one in this database) | KMS_E_DEVICE | KMS_E_STORE | KMS_E_AUDIT
 */
KMS_MUST_CHECK kms_status certificate_enforce(struct op *op, const struct certified *c, struct enforced *ret, struct kms_err *err);

#endif
