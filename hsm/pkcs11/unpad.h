/* hsm/pkcs11/unpad.h - constant-time removal of RSA encryption paddings on the host, for devices that only have the raw operation. */
#ifndef HOLDFAST_HSM_PKCS11_UNPAD_H
#define HOLDFAST_HSM_PKCS11_UNPAD_H

#include <openssl/evp.h>

#include "server/base/secret.h"

/* What became of a block. Why a padding is bad is not said, here or anywhere (Manger, Bleichenbacher). */
enum unpad_result { UNPAD_OK, UNPAD_BAD, UNPAD_NOMEM };

/** RSAES-OAEP, RFC 8017 section 7.1.2 step 3, empty label. An empty plaintext is UNPAD_OK with *ret_plain NULL.
 *  @param block  the whole raw block, as long as the modulus */
enum unpad_result unpad_oaep(const struct secret *block, const EVP_MD *hash, const EVP_MD *mgf1_hash, struct secret **ret_plain);
/** RSAES-PKCS1-v1_5, RFC 8017 section 7.2.2 step 3. An empty plaintext counts as bad: nobody wraps nothing with so weak a padding. */
enum unpad_result unpad_pkcs1(const struct secret *block, struct secret **ret_plain);

#endif
