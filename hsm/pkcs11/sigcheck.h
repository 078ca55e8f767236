/* hsm/pkcs11/sigcheck.h - the other side of the device's work, in software: what the installation signs is verified before it is released, each new
 * pair and the device itself are tried, and the point of a curve key that came without one is computed from what it signs. */
#ifndef HOLDFAST_HSM_PKCS11_SIGCHECK_H
#define HOLDFAST_HSM_PKCS11_SIGCHECK_H

#include <openssl/evp.h>

#include "hsm/hsm.h"

/** Public key of a curve's pair; NULL when the point is none. Owned by the caller. */
EVP_PKEY *sigcheck_key(enum hsm_kind kind, const struct hsm_public *pub);
/** ECDSA: r || s over a digest; Ed25519: over the message. Thread-safe. */
bool sigcheck_verify(EVP_PKEY *key, enum hsm_kind kind, const uint8_t *input, size_t input_len, const uint8_t signature[HSM_SIGNATURE_MAX]);
/** One signature of an ECDSA key (r || s) and the digest that it is over. */
struct sigcheck_signed {
	const uint8_t *digest;
	size_t digest_len;
	uint8_t signature[HSM_SIGNATURE_MAX];
};
/** The public point of the key that made both signatures (SEC 1 section 4.1.6). False when there is none, or OpenSSL fails. */
bool sigcheck_recover(enum hsm_kind kind, const struct sigcheck_signed signed_by[2], struct hsm_public *ret_public);
/** An RSA signature: PKCS#1 v1.5 over what was given to the padding, or PSS over a digest. */
bool sigcheck_rsa(const struct hsm_public *pub, enum hsm_sign_alg alg, const uint8_t *input, size_t input_len, const uint8_t *signature);
/** RSA-OAEP with SHA-1 and RFC 5649, as an HSM that transfers a key does them; outputs have n_len bytes, and len rounded up to 8, plus 8. */
bool sigcheck_seal(const struct hsm_public *pub, const struct secret *plain, uint8_t *ret_cipher);
bool sigcheck_wrap(const struct secret *kek, const uint8_t *plain, size_t len, uint8_t *ret_wrapped, size_t *ret_len);
/** c = m^e mod n, all big-endian; m and c have n_len bytes. False when OpenSSL fails. */
bool sigcheck_rsa_raw(const struct hsm_public *pub, const uint8_t *m, uint8_t *ret_c);

#endif
