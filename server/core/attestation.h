/*
 * server/core/attestation.h - statements signed by the installation's attestation key: that a key's public half belongs to an object in
 * the device with such and such attributes, at such and such a position of the log (keyvault-keys.md 6.13). docs/attestation.md describes the form.
 */
#ifndef HOLDFAST_CORE_ATTESTATION_H
#define HOLDFAST_CORE_ATTESTATION_H

#include "server/core/keyring.h"

#define ATTESTATION_TEXT_MAX 4096
#define ATTESTATION_CERT_MAX 2048

struct attestation {
	char certificate[ATTESTATION_CERT_MAX]; /* PEM, self-signed: the attestation key */
	char public_text[ATTESTATION_TEXT_MAX], private_text[ATTESTATION_TEXT_MAX]; /* signed statements */
};

/**
 * Make the attestation key's self-signed certificate; once at start. Deterministic but for its signature.
 * @param ret_pem  ATTESTATION_CERT_MAX bytes
 */
KMS_MUST_CHECK kms_status attestation_certificate(struct hsm *hsm, const struct installation *inst, const char *domain, char *ret_pem,
                                                  struct kms_err *err);
/** Find the version and attest it. Works for disabled and expired versions too; a wrapped version is loaded for it.
 *  @return KMS_OK | KMS_E_KEY_NOTFOUND | KMS_E_DEVICE | KMS_E_BUSY | KMS_E_VAULT_SHREDDED */
KMS_MUST_CHECK kms_status attestation_make(struct op *op, const char *name, const uint8_t *version, struct attestation *ret,
                                           struct kms_err *err);

#endif
