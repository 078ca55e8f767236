/* tests/support/jose.h - an issuer of tokens for tests: keys, their JWKs, and compact JWS signed with them. Everything aborts on failure. */
#ifndef HOLDFAST_TESTS_SUPPORT_JOSE_H
#define HOLDFAST_TESTS_SUPPORT_JOSE_H

#include <openssl/evp.h>
#include <stddef.h>

/** "RSA" (2048 bits), "RSA-1024", "P-256", "P-384" or "Ed25519"; the caller frees it. */
EVP_PKEY *jose_key(const char *kind);
/** An RSA key of 2048 bits that signs, with this odd exponent (hexadecimal digits); the caller frees it. */
EVP_PKEY *jose_rsa_key(const char *exponent);
/** The public half with another exponent, whether or not there could be such a key; the caller frees it. */
EVP_PKEY *jose_rsa_public(EVP_PKEY *key, const char *exponent);
/** The public key as a JWK. @param members  more of them, ready to stand behind a comma; "" = none. @return malloc()ed */
char *jose_jwk(EVP_PKEY *key, const char *kid, const char *members);
/** header.claims.signature, signed as `alg` says (RS256, PS256, ES256, EdDSA), whatever the header says. @return malloc()ed */
char *jose_sign(EVP_PKEY *key, const char *alg, const char *header, const char *claims);
/** printf() into new memory. */
char *jose_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** Write a file as a whole: whoever reads it sees the old one or the new one. */
void jose_put_file(const char *path, const char *text);

#endif
