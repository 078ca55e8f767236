/* server/core/material.h - keys that callers hand over in clear (JSON Web Keys): what is weak, inconsistent or of the wrong type is refused
 * before it reaches the device, which would take it (hazards.md row 1o). Everything secret stays in struct secret. */
#ifndef HOLDFAST_CORE_MATERIAL_H
#define HOLDFAST_CORE_MATERIAL_H

#include "server/core/key.h"

/* The members of a JWK, decoded (keyvault-keys.md 4.3). Absent = NULL or length 0. Borrowed. */
struct jwk {
	enum key_type type;  /* as the wire names it; core chooses the variant */
	enum key_curve crv;  /* EC */
	const uint8_t *n, *e, *x, *y;
	size_t n_len, e_len, x_len, y_len;
	const struct secret *d, *p, *q, *dp, *dq, *qi, *k;
};

/* Checked material, ready for the device. Zeroed = empty; release with material_clear(). */
struct material {
	struct hsm_material hsm; /* its pointers are to the secrets below */
	struct secret *secret, *p, *q, *dp, *dq, *qi; /* owned copies, without leading zeros (curves: full length) */
	uint16_t bits;
	enum key_curve crv;
};
void material_clear(struct material *m);
#define MATERIAL_AUTO __attribute__((cleanup(material_clear))) struct material

/**
 * Check a JWK. RSA: n of 2048, 3072 or 4096 bits, e odd, 65537 <= e < 2^64, all of p, q, dp, dq, qi there, p and q probable primes of half
 * the length and not close, n = p q, d e = 1 mod lcm(p-1, q-1), dp, dq, qi consistent, d not short, no ROCA fingerprint (CVE-2017-15361).
 * EC: the curve, full-length coordinates, the point on it and not at infinity, 1 <= d < order, d G = the point. oct: 16, 24, 32, 48 or 64
 * bytes, not all alike. Takes up to a second for RSA-4096: two primality tests that an adversary's numbers do not pass.
 * @return KMS_OK | KMS_E_INVALID (the message names the member and the rule, never a value) | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status material_check(const struct jwk *jwk, struct material *ret, struct kms_err *err);
/** The rules of the public half alone, for keys that arrive wrapped. @param crv  curves: which @return as material_check() */
KMS_MUST_CHECK kms_status material_check_public(enum key_family family, enum key_curve crv, const struct hsm_public *pub,
                                                struct kms_err *err);
/** The primality test of the above, for its vectors: an unsigned big-endian number of at most HSM_RSA_MAX bytes. False also when memory is
 *  short. */
bool material_is_prime(const uint8_t *number, size_t len);

#endif
