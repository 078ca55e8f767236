/* tests/unit/core_material.c - keys handed over in clear: what is sound is taken over exactly, and each defect is named by the message, alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bn.h>

#include "tests/support/software.h"

static EVP_PKEY *rsa;
static struct sw_jwk good; /* of `rsa` */

/* ---- taking and refusing ---- */

static kms_status check(const struct jwk *jwk, struct kms_err *ret_err)
{
	MATERIAL_AUTO m = { 0 };

	*ret_err = (struct kms_err){ 0 };
	return material_check(jwk, &m, ret_err);
}

static void refused(const struct jwk *jwk, const char *message)
{
	struct kms_err err = { 0 };

	assert_int_equal(check(jwk, &err), KMS_E_INVALID);
	if (strstr(kms_err_text(&err), message) != kms_err_text(&err))
		fail_msg("\"%s\" instead of \"%s\"", kms_err_text(&err), message);
}

static void assert_same(const struct secret *copy, const struct secret *original)
{
	assert_ptr_not_equal(copy, original);
	assert_int_equal(secret_len(copy), secret_len(original));
	assert_memory_equal(secret_data(copy), secret_data(original), secret_len(copy));
}

static void check_taken(const EVP_PKEY *pkey, uint16_t bits)
{
	struct sw_jwk j;
	MATERIAL_AUTO m = { 0 };
	struct kms_err err = { 0 };

	sw_jwk(pkey, KEY_RSA, CURVE_NONE, &j);
	assert_int_equal(material_check(&j.jwk, &m, &err), KMS_OK);
	assert_int_equal(m.bits, bits);
	assert_int_equal(m.crv, CURVE_NONE);
	assert_int_equal(m.hsm.pub.n_len, bits / 8);
	assert_memory_equal(m.hsm.pub.n, j.n, bits / 8);
	assert_int_equal(m.hsm.pub.e_len, 3);
	assert_ptr_equal(m.hsm.secret, m.secret);
	assert_same(m.hsm.secret, j.d);
	assert_same(m.hsm.p, j.p);
	assert_same(m.hsm.q, j.q);
	assert_same(m.hsm.dp, j.dp);
	assert_same(m.hsm.dq, j.dq);
	assert_same(m.hsm.qi, j.qi);
	sw_jwk_clear(&j);
}

static void sound_rsa_keys_of_all_sizes_are_taken(void **state)
{
	(void)state;
	check_taken(rsa, 2048);
	for (unsigned bits = 3072; bits <= 4096; bits += 1024) {
		EVP_PKEY *pkey = sw_rsa(bits);
		check_taken(pkey, (uint16_t)bits);
		EVP_PKEY_free(pkey);
	}
}

static struct secret *with_zeros(const struct secret *s)
{
	struct secret *longer = secret_new(secret_len(s) + 2);

	memcpy(secret_bytes(longer) + 2, secret_data(s), secret_len(s));
	return longer;
}

static void leading_zeros_do_not_count(void **state)
{
	uint8_t n[HSM_RSA_MAX] = { 0 }, e[8] = { 0 };
	struct jwk jwk = good.jwk;
	SECRET_AUTO *d = with_zeros(good.d);
	SECRET_AUTO *p = with_zeros(good.p);
	MATERIAL_AUTO m = { 0 };
	struct kms_err err = { 0 };

	(void)state;
	memcpy(n + 1, good.n, good.jwk.n_len);
	memcpy(e + 5, good.e, 3);
	jwk.n = n;
	jwk.n_len++;
	jwk.e = e;
	jwk.e_len = sizeof(e);
	jwk.d = d;
	jwk.p = p;
	assert_int_equal(material_check(&jwk, &m, &err), KMS_OK);
	assert_same(m.secret, good.d);
	assert_same(m.p, good.p);
	assert_int_equal(m.hsm.pub.n_len, good.jwk.n_len);
	assert_int_equal(m.hsm.pub.e_len, 3);
}

static void a_member_that_is_missing_is_named(void **state)
{
	static const char *const NAMES[] = { "d: is missing", "p: is missing", "q: is missing", "dp: is missing", "dq: is missing",
		                             "qi: is missing" };
	struct jwk jwk = good.jwk;
	const struct secret **const members[] = { &jwk.d, &jwk.p, &jwk.q, &jwk.dp, &jwk.dq, &jwk.qi };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(members); i++) {
		const struct secret *kept = *members[i];
		*members[i] = NULL;
		refused(&jwk, NAMES[i]);
		*members[i] = kept;
	}
	jwk.n_len = 0;
	jwk.n = NULL;
	refused(&jwk, "n: is missing");
	jwk = good.jwk;
	jwk.e_len = 0;
	jwk.e = NULL;
	refused(&jwk, "e: is missing");
	jwk.type = (enum key_type)0;
	refused(&jwk, "kty: is unknown");
	jwk = (struct jwk){ .type = KEY_EC };
	refused(&jwk, "crv: is missing");
	jwk.crv = CURVE_P256;
	refused(&jwk, "x: must have exactly 32 bytes on P-256");
	jwk = (struct jwk){ .type = KEY_OCT };
	refused(&jwk, "k: must have 16");
}

/* Whatever single bit of the private half is wrong, the key is refused. */
static void every_flipped_bit_is_found(void **state)
{
	struct jwk jwk = good.jwk;
	struct secret *const members[] = { good.d, good.p, good.q, good.dp, good.dq, good.qi };
	struct kms_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(members); i++)
		for (size_t byte = 0; byte < secret_len(members[i]); byte++) {
			const uint8_t bit = (uint8_t)(1 << byte % 8);
			secret_bytes(members[i])[byte] ^= bit;
			assert_int_equal(check(&jwk, &err), KMS_E_INVALID);
			secret_bytes(members[i])[byte] ^= bit;
		}
	for (size_t byte = 0; byte < good.jwk.n_len; byte++) {
		good.n[byte] ^= 2;
		assert_int_equal(check(&jwk, &err), KMS_E_INVALID);
		good.n[byte] ^= 2;
	}
	assert_int_equal(check(&jwk, &err), KMS_OK);
}

/* ---- RSA keys that are consistent, or nearly, and weak ---- */

static void put(const BIGNUM *bn, struct secret **ret)
{
	secret_free(*ret);
	*ret = secret_new((size_t)BN_num_bytes(bn));
	assert_non_null(*ret);
	assert_int_equal(BN_bn2bin(bn, secret_bytes(*ret)), BN_num_bytes(bn));
}

/* A key of two factors, consistent in all its parts. With d NULL it is computed from e, else e from it when e is NULL. */
static void build(const BIGNUM *p, const BIGNUM *q, const BIGNUM *given_e, const BIGNUM *given_d, struct sw_jwk *ret)
{
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *n = BN_new(), *p1 = BN_dup(p), *q1 = BN_dup(q), *t = BN_new(), *lcm = BN_new(), *d = BN_new(), *e = BN_new();

	*ret = (struct sw_jwk){ .jwk = { .type = KEY_RSA } };
	assert_true(BN_sub_word(p1, 1) && BN_sub_word(q1, 1) && BN_mul(n, p, q, ctx) && BN_gcd(t, p1, q1, ctx) && BN_div(lcm, NULL, p1, t, ctx) &&
	            BN_mul(lcm, lcm, q1, ctx));
	if (given_e != NULL)
		assert_non_null(BN_copy(e, given_e));
	else
		assert_non_null(BN_mod_inverse(e, given_d, lcm, ctx));
	if (given_d != NULL)
		assert_non_null(BN_copy(d, given_d));
	else
		assert_non_null(BN_mod_inverse(d, e, lcm, ctx));
	ret->jwk.n_len = (size_t)BN_bn2bin(n, ret->n);
	if (BN_num_bytes(e) <= 8)
		ret->jwk.e_len = (size_t)BN_bn2bin(e, ret->e);
	put(d, &ret->d);
	put(p, &ret->p);
	put(q, &ret->q);
	assert_true(BN_mod(t, d, p1, ctx));
	put(t, &ret->dp);
	assert_true(BN_mod(t, d, q1, ctx));
	put(t, &ret->dq);
	if (BN_mod_inverse(t, q, p, ctx) != NULL)
		put(t, &ret->qi);
	else
		put(BN_value_one(), &ret->qi);
	sw_jwk_link(ret);
	BN_free(n);
	BN_free(p1);
	BN_free(q1);
	BN_free(t);
	BN_free(lcm);
	BN_free(d);
	BN_free(e);
	BN_CTX_free(ctx);
}

static BIGNUM *number_of(const struct secret *s)
{
	BIGNUM *bn = BN_bin2bn(secret_data(s), (int)secret_len(s), NULL);

	assert_non_null(bn);
	return bn;
}

static BIGNUM *word(BN_ULONG value)
{
	BIGNUM *bn = BN_new();

	assert_true(bn != NULL && BN_set_word(bn, value));
	return bn;
}

/* So that e = 65537 has an inverse; about one prime in 65537 is unfit. */
static bool fits_e(const BIGNUM *p)
{
	return BN_mod_word(p, 65537) != 1;
}

/* The upper two bits are set, so that a product of two has twice the bits. */
static BIGNUM *prime(int bits)
{
	BIGNUM *bn = BN_new();

	do
		assert_true(bn != NULL && BN_generate_prime_ex(bn, bits, 0, NULL, NULL, NULL));
	while (!fits_e(bn));
	return bn;
}

static void refused_key(const BIGNUM *p, const BIGNUM *q, const BIGNUM *e, const BIGNUM *d, const char *message)
{
	struct sw_jwk j;

	build(p, q, e, d, &j);
	refused(&j.jwk, message);
	sw_jwk_clear(&j);
}

static void sizes_that_are_not_offered_are_refused(void **state)
{
	BIGNUM *e = word(65537);
	static const int HALVES[] = { 512, 1023, 1025, 1280 };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(HALVES); i++) {
		BIGNUM *p = prime(HALVES[i]), *q = prime(HALVES[i]);
		refused_key(p, q, e, NULL, "n: must have 2048, 3072 or 4096 bits");
		BN_free(p);
		BN_free(q);
	}
	BN_free(e);
}

static void exponents_are_odd_and_from_65537_to_64_bits(void **state)
{
	static const char ODD[] = "e: must be odd, and 65537 or more";
	static const struct {
		uint8_t e[9];
		size_t len;
		const char *message; /* NULL: taken */
	} CASES[] = {
		{ { 1 }, 1, ODD },
		{ { 3 }, 1, ODD },
		{ { 0xff, 0xff }, 2, ODD },
		{ { 1, 0, 0 }, 3, ODD },
		{ { 1, 0, 2 }, 3, ODD },
		{ { 0 }, 1, ODD },
		{ { 1, 0, 0, 0, 0, 0, 0, 0, 1 }, 9, "e: must be less than 2^64" },
		{ { 1, 0, 3 }, 3, "d: does not belong to n and e" },
	};
	struct jwk jwk = good.jwk;
	BIGNUM *p = number_of(good.p), *q = number_of(good.q), *e = NULL;
	struct kms_err err = { 0 };
	struct sw_jwk j;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		jwk.e = CASES[i].e;
		jwk.e_len = CASES[i].len;
		refused(&jwk, CASES[i].message);
	}
	e = word(0xffffffffffffffc5); /* the largest prime of 64 bits */
	build(p, q, e, NULL, &j);
	assert_int_equal(check(&j.jwk, &err), KMS_OK);
	sw_jwk_clear(&j);
	BN_free(p);
	BN_free(q);
	BN_free(e);
}

/* A product of 1024 bits, the second highest of them set too. */
static void composite(int bits, BIGNUM *ret)
{
	BN_CTX *ctx = BN_CTX_new();

	do {
		BIGNUM *a = prime(bits), *b = prime(1024 - bits);
		assert_true(BN_mul(ret, a, b, ctx));
		BN_free(a);
		BN_free(b);
	} while (BN_num_bits(ret) != 1024 || !BN_is_bit_set(ret, 1022) || !fits_e(ret));
	BN_CTX_free(ctx);
}

static void factors_that_are_not_prime_are_refused(void **state)
{
	static const int FACTORS[] = { 512, 24 };
	BIGNUM *e = word(65537), *p = BN_new(), *q = number_of(good.q);

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(FACTORS); i++) {
		composite(FACTORS[i], p);
		refused_key(p, q, e, NULL, "p: is not prime");
		refused_key(q, p, e, NULL, "q: is not prime");
	}
	BN_free(e);
	BN_free(p);
	BN_free(q);
}

static void factors_that_are_close_or_of_different_length_are_refused(void **state)
{
	BIGNUM *e = word(65537), *p = number_of(good.p), *q = BN_new(), *step = BN_new(), *small = prime(256), *large = prime(1792);

	(void)state;
	assert_true(BN_set_bit(step, 1024 - 101) && BN_add(q, p, step)); /* p and q share 100 bits */
	BN_set_bit(q, 0);
	while (!fits_e(q) || BN_check_prime(q, NULL, NULL) != 1)
		assert_true(BN_add_word(q, 2));
	refused_key(p, q, e, NULL, "p: is too close to q");
	refused_key(q, p, e, NULL, "p: is too close to q");
	refused_key(p, p, e, NULL, "p: is too close to q");
	refused_key(large, small, e, NULL, "p: must have half as many bits as n");
	BN_free(e);
	BN_free(p);
	BN_free(q);
	BN_free(step);
	BN_free(small);
	BN_free(large);
}

/* Two primes that share nearly all of p - 1, so that the lcm is hardly longer than half of n: only then can e and d both be short. */
static void sharing_primes(BIGNUM *p, BIGNUM *q, BIGNUM *lcm)
{
	const int shared_bits = 1016;
	const BN_ULONG least = 193, most = 255;
	BIGNUM *g = BN_new(), *t = BN_new();
	BN_ULONG found = 0, second = 0;

	while (second == 0) {
		assert_true(BN_rand(g, shared_bits, BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ANY));
		BN_clear_bit(g, 0);
		found = 0;
		for (BN_ULONG a = least; a <= most && second == 0; a += 2) {
			assert_true(BN_copy(t, g) && BN_mul_word(t, a) && BN_add_word(t, 1));
			if (BN_num_bits(t) != 1024 || BN_check_prime(t, NULL, NULL) != 1)
				continue;
			if (found != 0) {
				assert_non_null(BN_copy(q, t));
				second = a;
			} else if (BN_is_bit_set(t, 1022)) {
				assert_non_null(BN_copy(p, t));
				found = a;
			}
		}
	}
	assert_true(BN_copy(lcm, g) && BN_mul_word(lcm, found) && BN_mul_word(lcm, second)); /* or a multiple of the lcm: as good here */
	BN_free(g);
	BN_free(t);
}

/* Wiener's attack. With a multiple of the lcm added a short exponent looks long, and is as weak. */
static void a_short_private_exponent_is_refused_however_it_is_dressed(void **state)
{
	BIGNUM *p = BN_new(), *q = BN_new(), *lcm = BN_new(), *e = word(65537), *d = BN_new();
	BN_CTX *ctx = BN_CTX_new();

	(void)state;
	sharing_primes(p, q, lcm);
	for (;; BN_add_word(e, 2)) {
		if (BN_mod_inverse(d, e, lcm, ctx) != NULL && BN_num_bits(d) <= 1024)
			break;
	}
	refused_key(p, q, e, d, "d: is too short to be safe");
	assert_true(BN_lshift(lcm, lcm, 64) && BN_add(d, d, lcm));
	refused_key(p, q, e, d, "d: is too short to be safe");
	BN_free(p);
	BN_free(q);
	BN_free(lcm);
	BN_free(e);
	BN_free(d);
	BN_CTX_free(ctx);
}

/* Older generators compute it modulo (p - 1)(q - 1). */
static void a_private_exponent_above_the_lcm_is_taken(void **state)
{
	BIGNUM *p1 = number_of(good.p), *q1 = number_of(good.q), *p = BN_dup(p1), *q = BN_dup(q1), *g = BN_new(), *d = number_of(good.d);
	BIGNUM *e = word(65537), *lcm = BN_new();
	BN_CTX *ctx = BN_CTX_new();
	struct kms_err err = { 0 };
	struct sw_jwk j;

	(void)state;
	assert_true(BN_sub_word(p1, 1) && BN_sub_word(q1, 1) && BN_gcd(g, p1, q1, ctx) && BN_mul(lcm, p1, q1, ctx) && BN_div(lcm, NULL, lcm, g, ctx));
	assert_true(BN_mod(d, d, lcm, ctx) && BN_add(d, d, lcm));
	build(p, q, e, d, &j);
	if (BN_num_bits(d) < 2048)
		assert_int_equal(check(&j.jwk, &err), KMS_OK);
	sw_jwk_clear(&j);
	assert_true(BN_lshift(lcm, lcm, 16) && BN_add(d, d, lcm)); /* above n */
	refused_key(p, q, e, d, "d: does not belong to n and e");
	BN_free(p1);
	BN_free(q1);
	BN_free(p);
	BN_free(q);
	BN_free(g);
	BN_free(d);
	BN_free(e);
	BN_free(lcm);
	BN_CTX_free(ctx);
}

/* As the generator of CVE-2017-15361 made them: p = k M + (65537^a mod M), with M the product of the first primes. */
static BIGNUM *roca_prime(int bits)
{
	static const BN_ULONG LAST = 701; /* 126 primes, as for 2048 bits */
	BIGNUM *m = word(1), *g = word(65537), *a = BN_new(), *r = BN_new(), *p = BN_new(), *k = BN_new();
	BN_CTX *ctx = BN_CTX_new();

	for (BN_ULONG i = 2; i <= LAST; i++) {
		bool is_prime = true;
		for (BN_ULONG j = 2; j * j <= i; j++)
			is_prime &= i % j != 0;
		if (is_prime)
			assert_true(BN_mul_word(m, i));
	}
	do {
		assert_true(BN_rand(a, 64, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) && BN_mod_exp(r, g, a, m, ctx) &&
		            BN_rand(k, bits - BN_num_bits(m), BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ANY) && BN_mul(p, k, m, ctx) && BN_add(p, p, r));
	} while (BN_num_bits(p) != bits || !BN_is_bit_set(p, bits - 2) || !fits_e(p) || BN_check_prime(p, ctx, NULL) != 1);
	BN_free(m);
	BN_free(g);
	BN_free(a);
	BN_free(r);
	BN_free(k);
	BN_CTX_free(ctx);
	return p;
}

static void keys_with_the_roca_fingerprint_are_refused(void **state)
{
	BIGNUM *e = word(65537), *p = roca_prime(1024), *q = roca_prime(1024), *n = BN_new();
	struct hsm_public pub = { .e = { 1, 0, 1 }, .e_len = 3 };
	struct kms_err err = { 0 };
	BN_CTX *ctx = BN_CTX_new();

	(void)state;
	refused_key(p, q, e, NULL, "n: was made by a generator");
	assert_true(BN_mul(n, p, q, ctx));
	pub.n_len = (size_t)BN_bn2bin(n, pub.n);
	assert_int_equal(material_check_public(FAMILY_RSA, CURVE_NONE, &pub, &err), KMS_E_INVALID);
	assert_non_null(strstr(kms_err_text(&err), "CVE-2017-15361"));
	BN_free(e);
	BN_free(p);
	BN_free(q);
	BN_free(n);
	BN_CTX_free(ctx);
}

/* ---- curves ---- */

static void check_curve(enum key_curve crv)
{
	const size_t len = key_curve_info(crv)->coordinate_len;
	EVP_PKEY *pkey = sw_ec(crv);
	struct sw_jwk j;
	struct kms_err err = { 0 };

	sw_jwk(pkey, KEY_EC, crv, &j);
	{
		MATERIAL_AUTO m = { 0 };
		assert_int_equal(material_check(&j.jwk, &m, &err), KMS_OK);
		assert_int_equal(m.bits, key_curve_info(crv)->bits);
		assert_int_equal(m.crv, crv);
		assert_same(m.hsm.secret, j.d);
		assert_int_equal(m.hsm.pub.point_len, 1 + 2 * len);
		assert_memory_equal(m.hsm.pub.point + 1, j.x, len);
		assert_memory_equal(m.hsm.pub.point + 1 + len, j.y, len);
		assert_int_equal(material_check_public(FAMILY_EC, crv, &m.hsm.pub, &err), KMS_OK);
		m.hsm.pub.point[0] = 0x06; /* hybrid form */
		assert_int_equal(material_check_public(FAMILY_EC, crv, &m.hsm.pub, &err), KMS_E_INVALID);
	}
	for (size_t byte = 0; byte < len; byte++) {
		const uint8_t bit = (uint8_t)(1 << byte % 8);
		j.x[byte] ^= bit;
		assert_int_equal(check(&j.jwk, &err), KMS_E_INVALID);
		j.x[byte] ^= bit;
		j.y[byte] ^= bit;
		refused(&j.jwk, "x, y: are not a point of the curve");
		j.y[byte] ^= bit;
		secret_bytes(j.d)[byte] ^= bit;
		assert_int_equal(check(&j.jwk, &err), KMS_E_INVALID);
		secret_bytes(j.d)[byte] ^= bit;
	}
	sw_jwk_clear(&j);
	EVP_PKEY_free(pkey);
}

static void sound_keys_of_all_curves_are_taken_and_no_bit_of_them_may_be_wrong(void **state)
{
	(void)state;
	for (enum key_curve crv = CURVE_P256; crv < CURVE_COUNT; crv++)
		check_curve(crv);
}

static void coordinates_have_their_full_length(void **state)
{
	EVP_PKEY *pkey = sw_ec(CURVE_P521);
	struct sw_jwk j;
	SECRET_AUTO *longer = NULL;

	(void)state;
	sw_jwk(pkey, KEY_EC, CURVE_P521, &j);
	j.jwk.x_len--;
	refused(&j.jwk, "x: must have exactly 66 bytes on P-521.");
	j.jwk.x_len++;
	j.jwk.y_len--;
	refused(&j.jwk, "y: must have exactly 66 bytes on P-521.");
	j.jwk.y_len++;
	longer = with_zeros(j.d);
	j.jwk.d = longer;
	refused(&j.jwk, "d: must have exactly 66 bytes on P-521.");
	j.jwk.d = NULL;
	refused(&j.jwk, "d: must have exactly 66 bytes on P-521.");
	j.jwk.d = j.d;
	j.jwk.crv = CURVE_P384;
	refused(&j.jwk, "x: must have exactly 48 bytes on P-384.");
	sw_jwk_clear(&j);
	EVP_PKEY_free(pkey);
}

static void a_point_of_another_curve_of_the_same_size_is_refused(void **state)
{
	EVP_PKEY *pkey = sw_ec(CURVE_P256K);
	struct sw_jwk j;

	(void)state;
	sw_jwk(pkey, KEY_EC, CURVE_P256K, &j);
	j.jwk.crv = CURVE_P256;
	refused(&j.jwk, "x, y: are not a point of the curve");
	sw_jwk_clear(&j);
	EVP_PKEY_free(pkey);
}

static void a_scalar_that_is_zero_or_not_below_the_order_or_anothers_is_refused(void **state)
{
	static const char RANGE[] = "d: must be at least 1 and less than the order";
	static const uint8_t ORDER[32] = { 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		                           0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51 };
	EVP_PKEY *pkey = sw_ec(CURVE_P256), *another = sw_ec(CURVE_P256);
	struct sw_jwk j, other;

	(void)state;
	sw_jwk(pkey, KEY_EC, CURVE_P256, &j);
	sw_jwk(another, KEY_EC, CURVE_P256, &other);
	j.jwk.d = other.d;
	refused(&j.jwk, "d: does not belong to x and y");
	j.jwk.d = j.d;
	memset(secret_bytes(j.d), 0, 32); /* allowed: the value is the test */
	refused(&j.jwk, RANGE);
	memcpy(secret_bytes(j.d), ORDER, 32);
	refused(&j.jwk, RANGE);
	memset(secret_bytes(j.d), 0xff, 32); /* allowed: the value is the test */
	refused(&j.jwk, RANGE);
	sw_jwk_clear(&j);
	sw_jwk_clear(&other);
	EVP_PKEY_free(pkey);
	EVP_PKEY_free(another);
}

static void the_origin_is_no_public_key(void **state)
{
	struct sw_jwk j = { .jwk = { .type = KEY_EC, .crv = CURVE_P256, .x_len = 32, .y_len = 32 } };

	(void)state;
	j.d = secret_new(32);
	secret_bytes(j.d)[31] = 1;
	sw_jwk_link(&j);
	refused(&j.jwk, "x, y: are not a point of the curve");
	sw_jwk_clear(&j);
}

/* ---- symmetric keys ---- */

static void secrets_have_one_of_five_lengths_and_are_not_one_byte_repeated(void **state)
{
	uint8_t bytes[129];
	struct kms_err err = { 0 };
	struct sw_jwk j;

	(void)state;
	for (size_t len = 1; len < sizeof(bytes); len++) {
		bool is_offered = len == 16 || len == 24 || len == 32 || len == 48 || len == 64;

		memset(bytes, 0x77, sizeof(bytes));
		bytes[len - 1] = 0x78;
		sw_jwk_oct(bytes, len, KEY_OCT, &j);
		if (is_offered) {
			MATERIAL_AUTO m = { 0 };
			assert_int_equal(material_check(&j.jwk, &m, &err), KMS_OK);
			assert_int_equal(m.bits, 8 * len);
			assert_same(m.hsm.secret, j.k);
		} else {
			refused(&j.jwk, "k: must have 16, 24, 32, 48 or 64 bytes.");
		}
		sw_jwk_clear(&j);
		if (is_offered) {
			memset(bytes, 0, sizeof(bytes));
			sw_jwk_oct(bytes, len, KEY_OCT_HSM, &j);
			refused(&j.jwk, "k: has the same byte everywhere");
			sw_jwk_clear(&j);
		}
	}
}

static void no_message_shows_a_value(void **state)
{
	struct jwk jwk = good.jwk;
	struct kms_err err = { 0 };
	char hex[2 * HSM_RSA_MAX + 1];

	(void)state;
	secret_bytes(good.d)[3] ^= 1;
	assert_int_equal(check(&jwk, &err), KMS_E_INVALID);
	for (size_t i = 0; i < 4; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", secret_data(good.d)[i]);
	assert_null(strstr(err.detail, hex));
	secret_bytes(good.d)[3] ^= 1;
}

static void a_number_of_any_length_is_tested_for_primality(void **state)
{
	static const uint8_t SEVENTEEN[] = { 0, 17 }, EIGHTEEN[] = { 18 };
	uint8_t large[HSM_RSA_MAX + 1] = { 0 };

	(void)state;
	assert_true(material_is_prime(SEVENTEEN, sizeof(SEVENTEEN)));
	assert_false(material_is_prime(EIGHTEEN, sizeof(EIGHTEEN)));
	assert_false(material_is_prime(EIGHTEEN, 0));
	large[sizeof(large) - 1] = 17;
	assert_false(material_is_prime(large, sizeof(large)));
	assert_true(material_is_prime(secret_data(good.p), secret_len(good.p)));
}

static int group_setup(void **state)
{
	(void)state;
	if (secret_heap_init(1U << 18, NULL) != KMS_OK)
		return -1;
	rsa = sw_rsa(2048);
	sw_jwk(rsa, KEY_RSA, CURVE_NONE, &good);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	sw_jwk_clear(&good);
	EVP_PKEY_free(rsa);
	return secret_live() == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sound_rsa_keys_of_all_sizes_are_taken),
		cmocka_unit_test(leading_zeros_do_not_count),
		cmocka_unit_test(a_member_that_is_missing_is_named),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(sizes_that_are_not_offered_are_refused),
		cmocka_unit_test(exponents_are_odd_and_from_65537_to_64_bits),
		cmocka_unit_test(factors_that_are_not_prime_are_refused),
		cmocka_unit_test(factors_that_are_close_or_of_different_length_are_refused),
		cmocka_unit_test(a_short_private_exponent_is_refused_however_it_is_dressed),
		cmocka_unit_test(a_private_exponent_above_the_lcm_is_taken),
		cmocka_unit_test(keys_with_the_roca_fingerprint_are_refused),
		cmocka_unit_test(sound_keys_of_all_curves_are_taken_and_no_bit_of_them_may_be_wrong),
		cmocka_unit_test(coordinates_have_their_full_length),
		cmocka_unit_test(a_point_of_another_curve_of_the_same_size_is_refused),
		cmocka_unit_test(a_scalar_that_is_zero_or_not_below_the_order_or_anothers_is_refused),
		cmocka_unit_test(the_origin_is_no_public_key),
		cmocka_unit_test(secrets_have_one_of_five_lengths_and_are_not_one_byte_repeated),
		cmocka_unit_test(no_message_shows_a_value),
		cmocka_unit_test(a_number_of_any_length_is_tested_for_primality),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
