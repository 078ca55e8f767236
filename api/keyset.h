/*
 * api/keyset.h - the public keys of an issuer, read from a JWK Set (RFC 7517). A set never changes once it is made, so that threads share it without a lock.
 */
#ifndef HOLDFAST_API_KEYSET_H
#define HOLDFAST_API_KEYSET_H

#include "api/jwt.h"

#define KEYSET_TEXT_MAX ((size_t)64 * 1024)
#define KEYSET_KEYS_MAX 64

struct keyset;

/**
 * Read a set. What other parties of the issuer use is passed over: symmetric keys, keys for encryption, keys without kid, other curves and algorithms, keys that are too
 * weak or damaged.
 * @return KMS_OK (*ret_set is the caller's: keyset_release()) | KMS_E_INVALID (not a set, too large, or a kid twice; message says which) | KMS_E_CONFLICT (a set that
 *         withdraws all keys of before: nothing in it that could be used, or a private key) | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status keyset_parse(const uint8_t *text, size_t len, struct keyset **ret_set, struct kms_err *err);
/** One more holder. Thread-safe. */
struct keyset *keyset_hold(struct keyset *set);
/** Accepts NULL. */
void keyset_release(struct keyset *set);
/** The key with this kid, exactly, and the algorithms that it may be used with; NULL when there is none. It lives as long as the set. */
EVP_PKEY *keyset_find(const struct keyset *set, const char *kid, unsigned *ret_algs);
size_t keyset_count(const struct keyset *set);

#endif
