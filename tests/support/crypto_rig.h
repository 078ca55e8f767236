/* tests/support/crypto_rig.h - keys of the real domain, used the way the API uses them: one call, its event, its outcome written. */
#ifndef HOLDFAST_TESTS_SUPPORT_CRYPTO_RIG_H
#define HOLDFAST_TESTS_SUPPORT_CRYPTO_RIG_H

#include "server/core/crypto.h"
#include "tests/support/domain.h"

#define RIG_VAULT "crypto"
#define RIG_OPS_RSA (RIG_OPS_AES | RIG_OPS_SIGN)
#define RIG_OPS_AES (KEY_OP_ENCRYPT | KEY_OP_DECRYPT | KEY_OP_WRAP | KEY_OP_UNWRAP)
#define RIG_OPS_SIGN (KEY_OP_SIGN | KEY_OP_VERIFY)

/** RIG_VAULT, in which RSA1_5 is allowed; aborts when it cannot be made. */
void rig_vault(struct t_domain *d);
/** A key of the caller's, or of the device's own making; aborts when that fails. ops 0 = the default ones. */
void rig_import(struct t_domain *d, const char *name, const struct jwk *jwk, bool to_hsm, uint32_t ops);
void rig_create(struct t_domain *d, const char *name, enum key_type type, uint16_t bits, enum key_curve crv, uint32_t ops);
void rig_update(struct t_domain *d, const char *name, const struct key_update *change);
/** The latest version as it is stored; cleared by the caller. */
void rig_version(struct t_domain *d, const char *name, struct store_version *ret);
/** Write how often the latest version has encrypted, past the domain. */
void rig_set_encryptions(struct t_domain *d, const char *name, uint64_t count);

/** The call, and what the writer said if it succeeded. *ret_err is set anew; *ret_out is empty unless KMS_OK. */
kms_status rig_use(struct t_domain *d, const char *name, enum key_op use, const struct crypto_input *in, struct crypto_output *ret_out,
                   struct kms_err *ret_err);
kms_status rig_verify(struct t_domain *d, const char *name, enum key_alg alg, const uint8_t *digest, size_t digest_len, const uint8_t *signature,
                      size_t signature_len, bool *ret_is_valid, struct kms_err *ret_err);

#endif
