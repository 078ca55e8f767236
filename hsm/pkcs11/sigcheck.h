/* hsm/pkcs11/sigcheck.h - public keys in software: each signature is verified before it is released, each new RSA version tried once. */
#ifndef HOLDFAST_HSM_PKCS11_SIGCHECK_H
#define HOLDFAST_HSM_PKCS11_SIGCHECK_H

#include <openssl/evp.h>

#include "hsm/hsm.h"

/** Public key of a P-256 or Ed25519 pair; NULL when the point is none. Owned by the caller. */
EVP_PKEY *sigcheck_key(enum hsm_kind kind, const struct hsm_public *pub);
/** P-256: r || s over a 32-byte digest; Ed25519: over the message. Thread-safe. */
bool sigcheck_verify(EVP_PKEY *key, enum hsm_kind kind, const uint8_t *input, size_t input_len, const uint8_t signature[HSM_SIGNATURE_MAX]);
/** c = m^e mod n, all big-endian; m and c have n_len bytes. False when OpenSSL fails. */
bool sigcheck_rsa_raw(const struct hsm_public *pub, const uint8_t *m, uint8_t *ret_c);

#endif
