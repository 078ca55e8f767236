/* server/core/public.h - operations with a version's public half, on the host: RSA encryption, verification of RSA and ECDSA signatures. */
#ifndef HOLDFAST_CORE_PUBLIC_H
#define HOLDFAST_CORE_PUBLIC_H

#include "server/core/key.h"

/** Longest plaintext of an RSA padding: RFC 8017 sections 7.1.1 and 7.2.1; 0 for a modulus that is no key's of ours. */
size_t public_room(enum hsm_rsa_alg alg, size_t modulus_len);
/** @param plain  at most public_room() bytes; NULL = none, which only OAEP takes  @param ret_cipher  room for as many bytes as the modulus has
 *  @return KMS_OK | KMS_E_INTERNAL (the stored half is damaged) */
KMS_MUST_CHECK kms_status public_encrypt(const struct store_version *v, enum hsm_rsa_alg alg, const struct secret *plain,
                                         uint8_t *ret_cipher, size_t *ret_len, struct kms_err *err);
/**
 * Is it a signature of `digest` under the version's public half? RS*: the whole block is rebuilt and compared; PS*: salt as long as the
 * hash; ES*: r || s of exactly twice a coordinate. A signature, or a digest, of another length or form is just not valid.
 * @return KMS_OK | KMS_E_INTERNAL (the stored half is damaged)
 */
KMS_MUST_CHECK kms_status public_verify(const struct store_version *v, enum key_alg alg, const uint8_t *digest, size_t digest_len,
                                        const uint8_t *signature, size_t signature_len, bool *ret_is_valid, struct kms_err *err);
/** What HSM_SIGN_RSA_PKCS1 pads for an algorithm: DigestInfo || digest (RFC 8017 section 9.2 note 1), or the bytes alone (RSNULL).
 *  @param ret_input  HSM_RSA_MAX bytes of room */
void public_pkcs1_input(enum key_alg alg, const uint8_t *digest, size_t digest_len, uint8_t *ret_input, size_t *ret_len);

/** SHA-256 of the public half as SubjectPublicKeyInfo (RFC 5280), DER: what names a pair in a certificate. @return false: it has none, or a damaged one */
bool public_spki_sha256(const struct store_version *v, uint8_t ret[STORE_HASH_LEN]);

#endif
