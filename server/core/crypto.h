/* server/core/crypto.h - wrap and unwrap under a managed key (keyvault-keys.md 6.8). */
#ifndef HOLDFAST_CORE_CRYPTO_H
#define HOLDFAST_CORE_CRYPTO_H

#include "server/core/key.h"
#include "server/core/op.h"

#define CRYPTO_WRAPPED_MAX (HSM_WRAP_MAX + 16)

/**
 * Wrap a caller's key under a version. RSA: with the public half, on the host. AES: in the device.
 * @param version  16 bytes, or NULL for the latest; the one used is left in op->version
 * @param plain    1..limit of the algorithm, else KMS_E_INVALID
 * @param ret_wrapped  CRYPTO_WRAPPED_MAX bytes of room
 * @return KMS_OK | KMS_E_KEY_NOTFOUND | KMS_E_KEY_DISABLED | KMS_E_KEY_OP | KMS_E_KEY_EXPIRED, KMS_E_KEY_NOT_YET | KMS_E_INVALID
 *         | KMS_E_DEVICE | KMS_E_BUSY | KMS_E_VAULT_SHREDDED
 */
KMS_MUST_CHECK kms_status crypto_wrap(struct op *op, const char *name, const uint8_t *version, enum key_alg alg, const struct secret *plain,
                                      uint8_t *ret_wrapped, size_t *ret_len, struct kms_err *err);

/**
 * The reverse, always in the device. Bad ciphertexts of every sort are one and the same KMS_E_CRYPTO.
 * @param ret_plain  owned by the caller on KMS_OK
 */
KMS_MUST_CHECK kms_status crypto_unwrap(struct op *op, const char *name, const uint8_t *version, enum key_alg alg, const uint8_t *wrapped,
                                        size_t wrapped_len, struct secret **ret_plain, struct kms_err *err);

#endif
