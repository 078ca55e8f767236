/*
 * api/jwt.h - JSON Web Tokens: compact JWS taken apart strictly, and its signature checked with a key that the caller has chosen (RFC 7515, RFC 8725). The
 * algorithm belongs to the key; a token only says which of the key's it used.
 */
#ifndef HOLDFAST_API_JWT_H
#define HOLDFAST_API_JWT_H

#include <openssl/evp.h>

#include "api/json.h"

#define JWT_TEXT_MAX 8192
#define JWT_PART_MAX 6144     /* bytes of header or claims */
#define JWT_SIGNATURE_MAX 1024 /* RSA-8192 */
#define JWT_KID_MAX 128
#define JWT_RSA_BITS_MIN 2048
#define JWT_RSA_BITS_MAX 8192 /* beyond it, checking a signature is an attack */
#define JWT_RSA_EXPONENT_BITS_MAX 64 /* the same */

/* One bit each. There is no symmetric one, and no "none". */
enum jwt_alg { JWT_RS256 = 1, JWT_PS256 = 2, JWT_ES256 = 4, JWT_EDDSA = 8 };

/* A token taken apart: nothing in it is to be believed until jwt_verify() has answered true. Zeroed = empty; release with jwt_clear(). */
struct jwt {
	json_t *header, *claims; /* owned; objects without duplicate members; claims NULL only after jwt_parse_any() */
	enum jwt_alg alg;
	const char *kid; /* of the header: 1..JWT_KID_MAX printable ASCII characters; "" = none */
	const char *signed_text; /* borrowed: the token's text */
	size_t signed_len;
	uint8_t signature[JWT_SIGNATURE_MAX];
	size_t signature_len;
};
void jwt_clear(struct jwt *j);
#define JWT_AUTO __attribute__((cleanup(jwt_clear))) struct jwt

/**
 * Take a token apart. Refused: other than three parts of unpadded base64url, parts that are no JSON objects, an algorithm that is not one of ours, members of the header
 * that would name a key or change the meaning (jku, x5u, jwk, crit, b64, and x5c unless the caller judges it).
 * @param text  borrowed as long as *ret is used @param takes_x5c  the caller compares the header's x5c with what it knows
 * @return NULL = *ret is filled, owned by the caller; otherwise why not, for people (static)
 */
const char *jwt_parse(const char *text, bool takes_x5c, struct jwt *ret);
/** The same for a payload of any kind: there are no claims then. */
const char *jwt_parse_any(const char *text, bool takes_x5c, struct jwt *ret);
/** Is the signature this key's? The algorithm must be among `algs`, and the key one that it is made for: RSA of 2048 bits or more, P-256, Ed25519. */
bool jwt_verify(const struct jwt *j, EVP_PKEY *key, unsigned algs);
/** The algorithms that a public key can be used with, bits; 0 = none of ours. */
unsigned jwt_key_algs(const EVP_PKEY *key);
/** By its name in JOSE ("RS256"); 0 = not one of ours. */
enum jwt_alg jwt_alg_parse(const char *name);
/** 1..JWT_KID_MAX printable ASCII characters? */
bool jwt_kid_is_valid(const char *kid);

/** Is `type` the header's typ, without case, or with "application/" before it? */
bool jwt_type_is(const struct jwt *j, const char *type);
/** A text member of the claims; "" when there is none. */
const char *jwt_text(const struct jwt *j, const char *name);
/** A date among the claims: a number of seconds, whole or not, that a calendar knows. */
bool jwt_time(const struct jwt *j, const char *name, int64_t *ret_s);
/** Is aud this text, or a list that contains it? */
bool jwt_is_for(const struct jwt *j, const char *audience);

#endif
