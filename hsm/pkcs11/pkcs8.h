/* hsm/pkcs11/pkcs8.h - how long the PKCS #8 text of an honest private key can be. The device alone sees a transferred key, but its length shows. */
#ifndef HOLDFAST_HSM_PKCS11_PKCS8_H
#define HOLDFAST_HSM_PKCS11_PKCS8_H

#include "hsm/pkcs11/curve.h"

/* Bounds in bytes, both included. */
struct pkcs8_range {
	size_t least, most;
};
/** Two primes, each of half the bits of n, and d, dp, dq and qi in proportion. `pub` has a modulus with its top bit set. */
struct pkcs8_range pkcs8_rsa(const struct hsm_public *pub);
/** A scalar of the named curve, with or without the curve's name and the point (RFC 5915). */
struct pkcs8_range pkcs8_curve(const struct p11_curve *curve);

#endif
