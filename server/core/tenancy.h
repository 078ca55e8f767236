/* server/core/tenancy.h - vaults: made, their policy changed, shredded. */
#ifndef HOLDFAST_CORE_TENANCY_H
#define HOLDFAST_CORE_TENANCY_H

#include "server/core/certificate.h"
#include "server/core/op.h"

#define TENANCY_PAGE_MAX 100
#define RETENTION_DAYS_MIN 7
#define RETENTION_DAYS_MAX 90

struct vault_create {
	const char *name;        /* 3..24 of [a-z0-9-], begins with a letter, ends with a letter or digit, no "--" */
	uint16_t retention_days; /* 7..90 */
	bool has_purge_protection, allows_rsa1_5;
	uint8_t quorum;          /* 1..16; 0 = 1 */
	uint8_t purge_approvals; /* 0..16 */
};

/** A vault with its root and pseudonym key in the device, its directory and its canary; left in op->vault.
 *  @return KMS_OK | KMS_E_INVALID | KMS_E_CONFLICT (the name is or was in use) | KMS_E_DEVICE */
KMS_MUST_CHECK kms_status vault_create(struct op *op, const struct vault_create *req, struct kms_err *err);
/** Destroy the vault's root and every object that hangs from it, look again with a fresh login, erase its blobs (audit-log.md 11.3, destruction.h). One that has begun goes on,
 *  under its first intent, reason and basis, without approval.
 *  @param basis  why, for the certificate; part of what is approved @param ret_done  what was destroyed; op->certificate.id names the certificate
 *  @return KMS_OK | KMS_E_APPROVAL | KMS_E_CONFLICT (already shredded) | KMS_E_DEVICE, KMS_E_BUSY, KMS_E_AUDIT, KMS_E_STORE: refused from now on; repeat it */
KMS_MUST_CHECK kms_status vault_shred(struct op *op, const char *reason, enum certificate_basis basis, struct destruction *ret_done, struct kms_err *err);

/**
 * Break-glass: from the moment that this is durable the vault refuses every use, and results of what is under way are withheld. Needs no approval and no device.
 * Locking a locked vault changes nothing.
 * @param reason  1..STORE_REASON_MAX characters; for the log
 * @return KMS_OK | KMS_E_VAULT_SHREDDED
 */
KMS_MUST_CHECK kms_status vault_lock(struct op *op, const char *reason, struct kms_err *err);
/** Take the lock off: needs the approval ACT_VAULT_UNLOCK of the vault's quorum. Needs no device.
 *  @return KMS_OK | KMS_E_VAULT_SHREDDED | KMS_E_CONFLICT (is not locked) | KMS_E_APPROVAL */
KMS_MUST_CHECK kms_status vault_unlock(struct op *op, const char *reason, struct kms_err *err);

/* What a vault's policy may be changed to. */
struct vault_update {
	bool has_retention, has_purge_protection, has_rsa1_5, has_quorum, has_purge_approvals, has_networks, has_issuer, has_person_days, has_person_basis;
	uint16_t retention_days;
	bool purge_protection, allows_rsa1_5;
	uint8_t quorum;          /* 1..16 */
	uint8_t purge_approvals; /* 0..16 */
	const char *networks;    /* as store_networks.text; network.h */
	const char *issuer;      /* "" = the built-in one; the caller has checked that the configuration knows it */
	uint16_t person_days;     /* 0..PERSON_DAYS_MAX; 0 = no records of persons are made, and those that there are go */
	const char *person_basis; /* at most STORE_REASON_MAX bytes; not empty while days are kept */
	const char *reason;      /* for those who are asked to approve; NULL = none */
};
/** Change the policy of op->vault. What lowers its protection needs approval: purge protection off, retention shortened, RSA1_5 on, a lower quorum,
 *  fewer purge approvals. What is given and equal changes nothing.
 *  @return KMS_OK | KMS_E_INVALID | KMS_E_VAULT_SHREDDED | KMS_E_APPROVAL */
KMS_MUST_CHECK kms_status vault_update(struct op *op, const struct vault_update *u, struct kms_err *err);

#endif
