/* server/core/crypto.h - use of a managed key: encrypt, decrypt, wrap, unwrap, sign, verify (keyvault-keys.md 6.8, 6.9); random bytes. */
#ifndef HOLDFAST_CORE_CRYPTO_H
#define HOLDFAST_CORE_CRYPTO_H

#include "server/core/key.h"
#include "server/core/op.h"

/* Bytes of a value to encrypt, decrypt or MAC (CBCPAD encrypts one less); wrapping: HSM_WRAP_MAX. */
#define CRYPTO_VALUE_MAX ((size_t)32 * 1024)
#define CRYPTO_AAD_MAX ((size_t)8 * 1024)
#define CRYPTO_RANDOM_MAX 128 /* keyvault-keys.md 6.12 */
/* SP 800-38D section 8.3: a key may see 2^32 encryptions with random nonces; the next one is refused for ever. */
#define CRYPTO_GCM_USES_MAX ((uint64_t)1 << 32)

/* What a caller sends. All borrowed. */
struct crypto_input {
	enum key_alg alg;
	const struct secret *value; /* plaintext, ciphertext, key, wrapped key, or what is signed; NULL = empty, which only RSA-OAEP encrypts or wraps */
	const uint8_t *iv;          /* 12 bytes GCM decrypt, 16 CBC; a GCM encrypt takes none */
	size_t iv_len;
	const uint8_t *aad; /* GCM */
	size_t aad_len;
	const uint8_t *tag; /* GCM decrypt, 16 bytes */
	size_t tag_len;
};

/* What it gets back. Zeroed = empty; release with crypto_output_clear(). */
struct crypto_output {
	struct secret *value; /* owned; NULL for an empty plaintext */
	uint8_t iv[HSM_IV_LEN], tag[HSM_GCM_TAG_LEN];
	size_t iv_len, tag_len; /* 0 = none */
};
void crypto_output_clear(struct crypto_output *out);
#define CRYPTO_OUTPUT_AUTO __attribute__((cleanup(crypto_output_clear))) struct crypto_output

/**
 * Encrypt, decrypt, wrap, unwrap or sign under a version. Public RSA operations run on the host (refused while the device is away: data
 * could be lost with it); everything else in the device. A signature is verified with the public half before it is handed out.
 * GCM encryption is counted: op->write gets a STORE_VERSION_ENCRYPTS, and is refused (KMS_E_POLICY, "rotate") from CRYPTO_GCM_USES_MAX on.
 * @param version  16 bytes, or NULL for the latest; the one used is left in op->version
 * @param use      KEY_OP_ENCRYPT, _DECRYPT, _WRAP, _UNWRAP or _SIGN
 * @return KMS_OK | KMS_E_KEY_NOTFOUND | KMS_E_KEY_DISABLED | KMS_E_KEY_OP | KMS_E_KEY_EXPIRED, KMS_E_KEY_NOT_YET
 *         | KMS_E_INVALID (algorithm, lengths, members that do not belong there: the message says what fits)
 *         | KMS_E_CRYPTO (bad ciphertexts of every sort: one and the same) | KMS_E_POLICY | KMS_E_UNSUPPORTED | KMS_E_DEVICE | KMS_E_BUSY
 *         | KMS_E_NOMEM | KMS_E_VAULT_SHREDDED
 */
KMS_MUST_CHECK kms_status crypto_use(struct op *op, const char *name, const uint8_t *version, enum key_op use,
                                     const struct crypto_input *in, struct crypto_output *ret_out, struct kms_err *err);
/** The same under the version that keyring_find() has left in op->version. */
KMS_MUST_CHECK kms_status crypto_use_found(struct op *op, enum key_op use, const struct crypto_input *in, struct crypto_output *ret_out,
                                           struct kms_err *err);

/**
 * Verify a signature (on the host, with the public half) or a MAC (made again in the device, compared in constant time).
 * A wrong signature, of whatever length, is KMS_OK with false.
 * @param digest  what was signed: in->value of the sign call
 */
KMS_MUST_CHECK kms_status crypto_verify(struct op *op, const char *name, const uint8_t *version, enum key_alg alg, const uint8_t *digest,
                                        size_t digest_len, const uint8_t *signature, size_t signature_len, bool *ret_is_valid,
                                        struct kms_err *err);

/** Random bytes of the device's generator. @param count 1..CRYPTO_RANDOM_MAX, else KMS_E_INVALID */
KMS_MUST_CHECK kms_status crypto_random(struct op *op, size_t count, struct secret **ret_bytes, struct kms_err *err);

#endif
