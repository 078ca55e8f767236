/* server/core/material.c - see material.h. A device takes what it is given, so what is weak must be found here, before it gets there. */
#include "server/core/material.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <string.h>

#define RSA_E_LEAST 65537UL
#define RSA_E_BITS_MAX 64
/* FIPS 186-4 B.3.3 step 5.4: primes that share their upper 100 bits are found by Fermat's method. */
#define RSA_CLOSE_BITS 100
#define UNCOMPRESSED 0x04 /* SEC 1 section 2.3.3 */

static void bnctx_free_at(BN_CTX **p) { BN_CTX_free(*p); }
static void group_free_at(EC_GROUP **p) { EC_GROUP_free(*p); }
static void point_free_at(EC_POINT **p) { EC_POINT_clear_free(*p); }
#define OWNED(free_fn) __attribute__((cleanup(free_fn)))

/* What the numbers are made of. All of a BN_CTX_secure_new() context: on the secure heap, erased when it is freed. */
struct rsa {
	BN_CTX *ctx; /* borrowed */
	BIGNUM *n, *e, *d, *p, *q, *dp, *dq, *qi;
	BIGNUM *p1, *q1, *lcm, *t, *u; /* p - 1, q - 1, and scratch */
};

void material_clear(struct material *m)
{
	secret_free(m->secret);
	secret_free(m->p);
	secret_free(m->q);
	secret_free(m->dp);
	secret_free(m->dq);
	secret_free(m->qi);
	*m = (struct material){ 0 };
}

static kms_status no_memory(struct kms_err *err)
{
	unsigned long code = ERR_get_error();

	ERR_clear_error();
	return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, code, "big numbers on the secure heap");
}

static kms_status wrong(struct kms_err *err, const char *member, const char *rule)
{
	return kms_refuse(err, KMS_E_INVALID, "%s: %s.", member, rule);
}

static size_t leading_zeros(const uint8_t *bytes, size_t len)
{
	size_t zeros = 0;

	while (zeros < len && bytes[zeros] == 0)
		zeros++;
	return zeros;
}

/* ---- RSA: the public half ---- */

static kms_status check_exponent(const uint8_t *e, size_t len, struct kms_err *err)
{
	uint64_t value = 0;

	if (len * 8 > RSA_E_BITS_MAX)
		return wrong(err, "e", "must be less than 2^64");
	for (size_t i = 0; i < len; i++)
		value = value << 8 | e[i];
	if (value < RSA_E_LEAST || value % 2 == 0)
		return wrong(err, "e", "must be odd, and 65537 or more");
	return KMS_OK;
}

/* Nemec et al., "The Return of Coppersmith's Attack" (2017), section 4: the generator of CVE-2017-15361 makes primes that are powers of
 * 65537 modulo each small prime, and so is their product. By chance that happens to one modulus in 2^28. */
static bool has_roca_fingerprint(const BIGNUM *n)
{
	static const BN_ULONG PRIMES[] = { 3,  5,  7,  11, 13, 17,  19,  23,  29,  31,  37,  41,  43,  47,  53,  59,  61,  67,  71,
		                           73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167 };

	for (size_t i = 0; i < KMS_ARRAY_LEN(PRIMES); i++) {
		BN_ULONG rest = BN_mod_word(n, PRIMES[i]), power = 1;

		do
			power = power * RSA_E_LEAST % PRIMES[i];
		while (power != rest && power != 1);
		if (power != rest)
			return false;
	}
	return true;
}

static kms_status check_rsa_public(const BIGNUM *n, const uint8_t *e, size_t e_len, struct kms_err *err)
{
	const struct key_type_info *type = key_type_info(KEY_RSA);
	int bits = BN_num_bits(n);
	bool is_offered = false;

	for (size_t i = 0; i < KMS_ARRAY_LEN(type->sizes); i++)
		is_offered |= type->sizes[i] != 0 && type->sizes[i] == bits;
	if (!is_offered)
		return wrong(err, "n", "must have 2048, 3072 or 4096 bits");
	if (!BN_is_odd(n))
		return wrong(err, "n", "must be odd");
	KMS_TRY(check_exponent(e, e_len, err));
	if (has_roca_fingerprint(n))
		return wrong(err, "n", "was made by a generator whose keys can be factored (CVE-2017-15361); make a new key");
	return KMS_OK;
}

/* ---- RSA: the private half ---- */

static bool is_prime(const BIGNUM *number, BN_CTX *ctx)
{
	/* BN_check_prime() takes as many random bases as numbers chosen by an adversary need: 64, or 128 beyond 2048 bits. */
	return BN_check_prime(number, ctx, NULL) == 1;
}

bool material_is_prime(const uint8_t *number, size_t len)
{
	OWNED(bnctx_free_at) BN_CTX *ctx = BN_CTX_secure_new();
	BIGNUM *n = NULL;

	if (ctx == NULL || len > HSM_RSA_MAX)
		return false;
	BN_CTX_start(ctx);
	n = BN_CTX_get(ctx);
	return n != NULL && BN_bin2bn(number, (int)len, n) != NULL && is_prime(n, ctx);
}

static kms_status read_number(BIGNUM *number, const char *member, const struct secret *s, struct kms_err *err)
{
	size_t zeros = 0;

	if (s == NULL)
		return wrong(err, member, "is missing; RSA keys are imported with n, e, d, p, q, dp, dq and qi");
	zeros = leading_zeros(secret_data(s), secret_len(s));
	if (secret_len(s) - zeros > HSM_RSA_MAX)
		return wrong(err, member, "is longer than a key of 4096 bits has it");
	if (BN_bin2bn(secret_data(s) + zeros, (int)(secret_len(s) - zeros), number) == NULL)
		return no_memory(err);
	return KMS_OK;
}

/* p and q: as long as half of n, and not close. */
static kms_status check_factors(const struct rsa *r, struct kms_err *err)
{
	int half = BN_num_bits(r->n) / 2;

	if (BN_num_bits(r->p) != half || BN_num_bits(r->q) != half)
		return wrong(err, BN_num_bits(r->p) != half ? "p" : "q", "must have half as many bits as n");
	if (!BN_mul(r->t, r->p, r->q, r->ctx))
		return no_memory(err);
	if (BN_cmp(r->t, r->n) != 0)
		return wrong(err, "n", "is not the product of p and q");
	if (!BN_sub(r->t, r->p, r->q))
		return no_memory(err);
	if (BN_num_bits(r->t) <= half - RSA_CLOSE_BITS)
		return wrong(err, "p", "is too close to q");
	return KMS_OK;
}

static kms_status check_primes(const struct rsa *r, struct kms_err *err)
{
	if (!is_prime(r->p, r->ctx))
		return wrong(err, "p", "is not prime");
	if (!is_prime(r->q, r->ctx))
		return wrong(err, "q", "is not prime");
	return KMS_OK;
}

/* d belongs to e, and is not so short that it can be computed from e and n (Wiener 1990, Boneh and Durfee 2000; FIPS 186-4 B.3.1). It
 * counts modulo the lcm: a short one is as weak with a multiple of it added. */
static kms_status check_private_exponent(const struct rsa *r, struct kms_err *err)
{
	if (!BN_gcd(r->t, r->p1, r->q1, r->ctx) || !BN_mul(r->u, r->p1, r->q1, r->ctx) || !BN_div(r->lcm, NULL, r->u, r->t, r->ctx) ||
	    !BN_mod_mul(r->t, r->d, r->e, r->lcm, r->ctx) || !BN_nnmod(r->u, r->d, r->lcm, r->ctx))
		return no_memory(err);
	if (BN_cmp(r->d, r->n) >= 0 || !BN_is_one(r->t))
		return wrong(err, "d", "does not belong to n and e");
	if (BN_num_bits(r->u) <= BN_num_bits(r->n) / 2)
		return wrong(err, "d", "is too short to be safe");
	return KMS_OK;
}

static kms_status check_crt(const struct rsa *r, struct kms_err *err)
{
	if (!BN_nnmod(r->t, r->d, r->p1, r->ctx) || !BN_nnmod(r->u, r->d, r->q1, r->ctx))
		return no_memory(err);
	if (BN_cmp(r->t, r->dp) != 0)
		return wrong(err, "dp", "is not d modulo p - 1");
	if (BN_cmp(r->u, r->dq) != 0)
		return wrong(err, "dq", "is not d modulo q - 1");
	if (!BN_mod_mul(r->t, r->qi, r->q, r->p, r->ctx))
		return no_memory(err);
	if (BN_cmp(r->qi, r->p) >= 0 || !BN_is_one(r->t))
		return wrong(err, "qi", "is not the inverse of q modulo p");
	return KMS_OK;
}

static kms_status check_rsa_private(const struct jwk *jwk, const struct rsa *r, struct kms_err *err)
{
	KMS_TRY(read_number(r->d, "d", jwk->d, err));
	KMS_TRY(read_number(r->p, "p", jwk->p, err));
	KMS_TRY(read_number(r->q, "q", jwk->q, err));
	KMS_TRY(read_number(r->dp, "dp", jwk->dp, err));
	KMS_TRY(read_number(r->dq, "dq", jwk->dq, err));
	KMS_TRY(read_number(r->qi, "qi", jwk->qi, err));
	KMS_TRY(check_factors(r, err));
	if (!BN_sub(r->p1, r->p, BN_value_one()) || !BN_sub(r->q1, r->q, BN_value_one()))
		return no_memory(err);
	KMS_TRY(check_private_exponent(r, err));
	KMS_TRY(check_crt(r, err));
	return check_primes(r, err); /* last: it takes a thousand times as long as the others together */
}

static bool copy_number(const struct secret *s, struct secret **ret_copy)
{
	size_t zeros = leading_zeros(secret_data(s), secret_len(s));

	*ret_copy = secret_from(secret_data(s) + zeros, secret_len(s) - zeros);
	return *ret_copy != NULL;
}

static kms_status take_rsa(const struct jwk *jwk, const struct rsa *r, const uint8_t *e, size_t e_len, struct material *m,
                           struct kms_err *err)
{
	if (!copy_number(jwk->d, &m->secret) || !copy_number(jwk->p, &m->p) || !copy_number(jwk->q, &m->q) ||
	    !copy_number(jwk->dp, &m->dp) || !copy_number(jwk->dq, &m->dq) || !copy_number(jwk->qi, &m->qi))
		return no_memory(err);
	m->bits = (uint16_t)BN_num_bits(r->n);
	m->hsm.pub.n_len = (size_t)BN_bn2bin(r->n, m->hsm.pub.n);
	memcpy(m->hsm.pub.e, e, e_len);
	m->hsm.pub.e_len = e_len;
	return KMS_OK;
}

static kms_status read_modulus(BIGNUM *n, const uint8_t *bytes, size_t len, struct kms_err *err)
{
	size_t zeros = leading_zeros(bytes, len);

	if (len - zeros > HSM_RSA_MAX)
		return wrong(err, "n", "must have 2048, 3072 or 4096 bits");
	return BN_bin2bn(bytes + zeros, (int)(len - zeros), n) != NULL ? KMS_OK : no_memory(err);
}

static kms_status check_rsa(const struct jwk *jwk, struct material *m, struct kms_err *err)
{
	OWNED(bnctx_free_at) BN_CTX *ctx = BN_CTX_secure_new();
	struct rsa r = { .ctx = ctx };
	BIGNUM **const all[] = { &r.n, &r.e, &r.d, &r.p, &r.q, &r.dp, &r.dq, &r.qi, &r.p1, &r.q1, &r.lcm, &r.t, &r.u };
	const uint8_t *e = NULL;
	size_t zeros = 0, e_len = 0;

	if (jwk->n_len == 0 || jwk->e_len == 0)
		return wrong(err, jwk->n_len == 0 ? "n" : "e", "is missing");
	zeros = leading_zeros(jwk->e, jwk->e_len);
	e = jwk->e + zeros;
	e_len = jwk->e_len - zeros;
	if (ctx == NULL)
		return no_memory(err);
	BN_CTX_start(ctx);
	for (size_t i = 0; i < KMS_ARRAY_LEN(all); i++)
		if ((*all[i] = BN_CTX_get(ctx)) == NULL)
			return no_memory(err);
	KMS_TRY(read_modulus(r.n, jwk->n, jwk->n_len, err));
	KMS_TRY(check_rsa_public(r.n, e, e_len, err));
	if (BN_bin2bn(e, (int)e_len, r.e) == NULL)
		return no_memory(err);
	KMS_TRY(check_rsa_private(jwk, &r, err));
	return take_rsa(jwk, &r, e, e_len, m, err);
}

/* ---- curves ---- */

static int nid_of(enum key_curve crv)
{
	switch (crv) {
	case CURVE_P256: return NID_X9_62_prime256v1;
	case CURVE_P384: return NID_secp384r1;
	case CURVE_P521: return NID_secp521r1;
	case CURVE_P256K: return NID_secp256k1;
	case CURVE_NONE:
	case CURVE_COUNT: break;
	}
	return NID_undef;
}

/* A point in its uncompressed form, which has no way to say "infinity". All four curves have cofactor 1: to be on the curve is enough. */
static kms_status read_point(const EC_GROUP *group, const uint8_t *bytes, size_t len, EC_POINT *ret_point, BN_CTX *ctx, struct kms_err *err)
{
	bool is_good = len > 0 && bytes[0] == UNCOMPRESSED && EC_POINT_oct2point(group, ret_point, bytes, len, ctx) == 1;

	ERR_clear_error();
	return is_good ? KMS_OK : wrong(err, "x, y", "are not a point of the curve");
}

static kms_status check_scalar(const EC_GROUP *group, const EC_POINT *point, const struct secret *d, BN_CTX *ctx, struct kms_err *err)
{
	OWNED(point_free_at) EC_POINT *own = EC_POINT_new(group);
	BIGNUM *scalar = BN_CTX_get(ctx);

	if (own == NULL || scalar == NULL || BN_bin2bn(secret_data(d), (int)secret_len(d), scalar) == NULL)
		return no_memory(err);
	if (BN_is_zero(scalar) || BN_cmp(scalar, EC_GROUP_get0_order(group)) >= 0)
		return wrong(err, "d", "must be at least 1 and less than the order of the curve");
	if (!EC_POINT_mul(group, own, scalar, NULL, NULL, ctx))
		return no_memory(err);
	if (EC_POINT_cmp(group, own, point, ctx) != 0)
		return wrong(err, "d", "does not belong to x and y");
	return KMS_OK;
}

static kms_status check_lengths(const struct jwk *jwk, const struct key_curve_info *crv, struct kms_err *err)
{
	size_t d_len = jwk->d != NULL ? secret_len(jwk->d) : 0;

	if (jwk->x_len != crv->coordinate_len || jwk->y_len != crv->coordinate_len || d_len != crv->coordinate_len)
		return kms_refuse(err, KMS_E_INVALID, "%s: must have exactly %zu bytes on %s.",
		                  jwk->x_len != crv->coordinate_len   ? "x"
		                  : jwk->y_len != crv->coordinate_len ? "y" : "d", crv->coordinate_len, crv->name);
	return KMS_OK;
}

static kms_status check_ec(const struct jwk *jwk, struct material *m, struct kms_err *err)
{
	const struct key_curve_info *crv = key_curve_info(jwk->crv);
	OWNED(bnctx_free_at) BN_CTX *ctx = BN_CTX_secure_new();
	OWNED(group_free_at) EC_GROUP *group = NULL;
	OWNED(point_free_at) EC_POINT *point = NULL;
	uint8_t *at = m->hsm.pub.point;

	if (crv == NULL)
		return wrong(err, "crv", "is missing; use P-256, P-384, P-521 or P-256K");
	KMS_TRY(check_lengths(jwk, crv, err));
	*at++ = UNCOMPRESSED;
	memcpy(at, jwk->x, jwk->x_len);
	memcpy(at + jwk->x_len, jwk->y, jwk->y_len);
	m->hsm.pub.point_len = 1 + jwk->x_len + jwk->y_len;
	group = EC_GROUP_new_by_curve_name(nid_of(jwk->crv));
	if (ctx == NULL || group == NULL || (point = EC_POINT_new(group)) == NULL)
		return no_memory(err);
	BN_CTX_start(ctx);
	KMS_TRY(read_point(group, m->hsm.pub.point, m->hsm.pub.point_len, point, ctx, err));
	KMS_TRY(check_scalar(group, point, jwk->d, ctx, err));
	m->secret = secret_from(secret_data(jwk->d), secret_len(jwk->d));
	if (m->secret == NULL)
		return no_memory(err);
	m->bits = crv->bits;
	m->crv = jwk->crv;
	return KMS_OK;
}

/* ---- symmetric keys ---- */

static kms_status check_oct(const struct jwk *jwk, struct material *m, struct kms_err *err)
{
	const struct key_type_info *type = key_type_info(KEY_OCT);
	size_t len = jwk->k != NULL ? secret_len(jwk->k) : 0;
	bool is_offered = false;
	uint8_t differs = 0;

	for (size_t i = 0; i < KMS_ARRAY_LEN(type->sizes); i++)
		is_offered |= len != 0 && type->sizes[i] == len * 8;
	if (!is_offered)
		return wrong(err, "k", "must have 16, 24, 32, 48 or 64 bytes");
	for (size_t i = 1; i < len; i++)
		differs |= secret_data(jwk->k)[i] ^ secret_data(jwk->k)[0];
	if (differs == 0)
		return wrong(err, "k", "has the same byte everywhere; it is no key");
	m->secret = secret_from(secret_data(jwk->k), len);
	if (m->secret == NULL)
		return no_memory(err);
	m->bits = (uint16_t)(len * 8);
	return KMS_OK;
}

kms_status material_check(const struct jwk *jwk, struct material *ret, struct kms_err *err)
{
	const struct key_type_info *type = key_type_info(jwk->type);
	MATERIAL_AUTO m = { 0 };
	kms_status status = KMS_E_INVALID;

	if (type == NULL)
		return wrong(err, "kty", "is unknown");
	switch (type->family) {
	case FAMILY_RSA: status = check_rsa(jwk, &m, err); break;
	case FAMILY_EC: status = check_ec(jwk, &m, err); break;
	case FAMILY_OCT: status = check_oct(jwk, &m, err); break;
	}
	if (status != KMS_OK)
		return status;
	m.hsm.secret = m.secret;
	m.hsm.p = m.p;
	m.hsm.q = m.q;
	m.hsm.dp = m.dp;
	m.hsm.dq = m.dq;
	m.hsm.qi = m.qi;
	*ret = m;
	m = (struct material){ 0 };
	return KMS_OK;
}

kms_status material_check_public(enum key_family family, enum key_curve crv, const struct hsm_public *pub, struct kms_err *err)
{
	OWNED(bnctx_free_at) BN_CTX *ctx = BN_CTX_new();
	OWNED(group_free_at) EC_GROUP *group = NULL;
	OWNED(point_free_at) EC_POINT *point = NULL;
	BIGNUM *n = NULL;

	if (ctx == NULL)
		return no_memory(err);
	BN_CTX_start(ctx);
	switch (family) {
	case FAMILY_RSA:
		n = BN_CTX_get(ctx);
		if (n == NULL)
			return no_memory(err);
		KMS_TRY(read_modulus(n, pub->n, pub->n_len, err));
		return check_rsa_public(n, pub->e, pub->e_len, err);
	case FAMILY_EC:
		if (key_curve_info(crv) == NULL || pub->point_len != 1 + 2 * key_curve_info(crv)->coordinate_len)
			return wrong(err, "x, y", "do not have the length of the curve's coordinates");
		group = EC_GROUP_new_by_curve_name(nid_of(crv));
		if (group == NULL || (point = EC_POINT_new(group)) == NULL)
			return no_memory(err);
		return read_point(group, pub->point, pub->point_len, point, ctx, err);
	case FAMILY_OCT:
		break;
	}
	return KMS_OK; /* a secret has no public half */
}
