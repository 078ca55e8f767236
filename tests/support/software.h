/* tests/support/software.h - keys in software (OpenSSL), the other side of every cross-check: what the product makes is read here, and the
 * reverse. */
#ifndef HOLDFAST_TESTS_SUPPORT_SOFTWARE_H
#define HOLDFAST_TESTS_SUPPORT_SOFTWARE_H

#include <openssl/evp.h>

#include "server/core/material.h"

/** New pairs; abort when they cannot be made. The caller frees them with EVP_PKEY_free(). */
EVP_PKEY *sw_rsa(unsigned bits);
EVP_PKEY *sw_ec(enum key_curve crv);
/** The public half of a version. */
EVP_PKEY *sw_public(const struct store_version *v);
/** A version with the pair's public half; its `pub` is owned by the caller (store_version_clear). */
void sw_version(const EVP_PKEY *pkey, enum key_type type, enum key_curve crv, struct store_version *ret);

/* A JWK with what it points to. */
struct sw_jwk {
	struct jwk jwk;
	uint8_t n[HSM_RSA_MAX], e[8], x[66], y[66];
	struct secret *d, *p, *q, *dp, *dq, *qi, *k;
};
void sw_jwk(const EVP_PKEY *pkey, enum key_type type, enum key_curve crv, struct sw_jwk *ret);
void sw_jwk_oct(const uint8_t *bytes, size_t len, enum key_type type, struct sw_jwk *ret);
/** Point the JWK's members at what is there now, after a change. */
void sw_jwk_link(struct sw_jwk *j);
void sw_jwk_clear(struct sw_jwk *j);

/** RS*, RSNULL, PS*, ES* over a digest, in the API's form. */
void sw_sign(EVP_PKEY *pkey, enum key_alg alg, const uint8_t *digest, size_t digest_len, uint8_t ret_signature[HSM_SIGNATURE_MAX],
             size_t *ret_len);
bool sw_verify(EVP_PKEY *pkey, enum key_alg alg, const uint8_t *digest, size_t digest_len, const uint8_t *signature, size_t len);
/** RSA-OAEP, RSA-OAEP-256, RSA1_5. */
void sw_encrypt(EVP_PKEY *pkey, enum key_alg alg, const uint8_t *plain, size_t len, uint8_t ret_cipher[HSM_RSA_MAX], size_t *ret_len);
bool sw_decrypt(EVP_PKEY *pkey, enum key_alg alg, const uint8_t *cipher, size_t len, uint8_t ret_plain[HSM_RSA_MAX], size_t *ret_len);

/**
 * AES with a cipher by OpenSSL's name: "AES-128-GCM", "-CBC", "-WRAP", "-WRAP-PAD"; PKCS #7 padding when asked.
 * @param tag  GCM: written when encrypting, demanded when decrypting; else NULL
 * @param ret_out  room for len + 16 bytes
 */
bool sw_aes(const char *cipher, bool encrypt, bool pad, const uint8_t *key, const uint8_t *iv, const uint8_t *aad, size_t aad_len,
            const uint8_t *in, size_t len, uint8_t tag[HSM_GCM_TAG_LEN], uint8_t *ret_out, size_t *ret_len);

#endif
