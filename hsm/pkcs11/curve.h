/* hsm/pkcs11/curve.h - the curves of key pairs: their names in PKCS#11 and in OpenSSL, and the lengths that follow from them. */
#ifndef HOLDFAST_HSM_PKCS11_CURVE_H
#define HOLDFAST_HSM_PKCS11_CURVE_H

#include "hsm/hsm.h"

#define P11_OID_MAX 10

struct p11_curve {
	enum hsm_kind kind;
	uint8_t oid[P11_OID_MAX]; /* DER, the value of CKA_EC_PARAMS */
	size_t oid_len;
	size_t point_len;  /* 0x04 || x || y; Ed25519: the 32 bytes of RFC 8032 */
	size_t coordinate; /* a signature is twice as long */
	size_t digest_len; /* of the hash that goes with it (RFC 7518 section 3.4, RFC 8812 section 3.2) */
	const char *group; /* OpenSSL's short name; NULL: Ed25519, not an ECDSA curve */
};

/** NULL for kinds that are no curve. */
const struct p11_curve *p11_curve(enum hsm_kind kind);

#endif
