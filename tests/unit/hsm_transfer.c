/* tests/unit/hsm_transfer.c - transfers made to do harm: private keys whose parts are too long, missing or zero, secrets that anybody guesses. Each
 * is wrapped as it should be, so that the device takes it; none stays, none is used for long, and none passes for a failure of the device. */
#include <string.h>

#include "hsm/pkcs11/curve.h"
#include "server/base/encode.h"
#include "tests/support/hsm_material.h"

#define DER_MAX 7800      /* what fits into HSM_TRANSFER_MAX under an exchange key of 2048 bits */
#define ATTRIBUTES_MAX 64 /* bytes of attributes that are still taken */
#define LEADING_ZEROS 24  /* no honest key is so much shorter than the longest of its size */

static struct t_rig RIG;
static struct t_material MATERIAL; /* of the present case, so that a failed test leaks none */
static struct hsm_key EXCHANGE;
static struct hsm_public EXCHANGE_PUBLIC;

static int up(void **state)
{
	(void)state;
	t_rig_up(&RIG);
	EXCHANGE = t_resident(&RIG, HSM_FOR_EXCHANGE, HSM_KIND_RSA, 2048, &EXCHANGE_PUBLIC);
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_material_clear(&MATERIAL);
	t_rig_down(&RIG);
	return 0;
}

/* ---- DER, honest in form alone ---- */

enum { INTEGER = 0x02, BIT_STRING = 0x03, OCTET_STRING = 0x04, OID = 0x06, SEQUENCE = 0x30, SET = 0x31, TAGGED_0 = 0xa0, TAGGED_1 = 0xa1 };

struct der {
	size_t len;
	uint8_t bytes[DER_MAX];
};

static void put_bytes(struct der *d, const void *bytes, size_t len)
{
	assert_true(d->len + len <= sizeof(d->bytes));
	if (len > 0)
		memcpy(d->bytes + d->len, bytes, len);
	d->len += len;
}

static void put_header(struct der *d, uint8_t tag, size_t len)
{
	const uint8_t wide[] = { tag, 0x82, (uint8_t)(len >> 8), (uint8_t)len }, middle[] = { tag, 0x81, (uint8_t)len }, small[] = { tag, (uint8_t)len };

	if (len > 0xff)
		put_bytes(d, wide, sizeof(wide));
	else if (len > 0x7f)
		put_bytes(d, middle, sizeof(middle));
	else
		put_bytes(d, small, sizeof(small));
}

static void put(struct der *d, uint8_t tag, const void *body, size_t len)
{
	put_header(d, tag, len);
	put_bytes(d, body, len);
}

/* Everything from `from` on becomes the body of one element. */
static void nest(struct der *d, uint8_t tag, size_t from)
{
	static uint8_t body[DER_MAX];
	const size_t len = d->len - from;

	memcpy(body, d->bytes + from, len);
	d->len = from;
	put(d, tag, body, len);
}

static void put_number(struct der *d, const uint8_t *bytes, size_t len)
{
	const uint8_t zero = 0;
	const bool is_padded = len == 0 || (bytes[0] & 0x80) != 0;

	put_header(d, INTEGER, len + is_padded);
	put_bytes(d, &zero, is_padded);
	put_bytes(d, bytes, len);
}

/* One attribute (PKCS #9 friendlyName) that makes the whole [0] `len` bytes long, header included; 0: none. */
static void put_attributes(struct der *d, size_t len)
{
	static const uint8_t NAME[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14 }, VALUE[128] = { 0 };
	const size_t headers = 4 * 2 + 2 + sizeof(NAME);
	const size_t from = d->len;

	if (len == 0)
		return;
	assert_true(len > headers && len < sizeof(VALUE));
	put(d, OID, NAME, sizeof(NAME));
	put(d, OCTET_STRING, VALUE, len - headers);
	nest(d, SET, from + 2 + sizeof(NAME));
	nest(d, SEQUENCE, from);
	nest(d, TAGGED_0, from);
	assert_int_equal(d->len - from, len);
}

struct number {
	const uint8_t *bytes;
	size_t len;
};
enum { N, E, D, P, Q, DP, DQ, QI, RSA_NUMBERS };

static void put_version(struct der *d)
{
	const uint8_t zero = 0;

	put(d, INTEGER, &zero, sizeof(zero));
}

/* The PKCS #8 text (RFC 5208) of these numbers, whatever they are. */
static void rsa_text(const struct number numbers[RSA_NUMBERS], size_t attributes_len, struct der *ret)
{
	static const uint8_t ALGORITHM[] = { 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00 };
	size_t inner;

	ret->len = 0;
	put_version(ret);
	put_bytes(ret, ALGORITHM, sizeof(ALGORITHM));
	inner = ret->len;
	put_version(ret);
	for (size_t i = 0; i < RSA_NUMBERS; i++)
		put_number(ret, numbers[i].bytes, numbers[i].len);
	nest(ret, SEQUENCE, inner);
	nest(ret, OCTET_STRING, inner);
	put_attributes(ret, attributes_len);
	nest(ret, SEQUENCE, 0);
}

static struct number number_of(const struct secret *s) { return (struct number){ secret_data(s), secret_len(s) }; }

static void honest_numbers(const struct hsm_material *m, struct number ret[RSA_NUMBERS])
{
	ret[N] = (struct number){ m->pub.n, m->pub.n_len };
	ret[E] = (struct number){ m->pub.e, m->pub.e_len };
	ret[D] = number_of(m->secret);
	ret[P] = number_of(m->p);
	ret[Q] = number_of(m->q);
	ret[DP] = number_of(m->dp);
	ret[DQ] = number_of(m->dq);
	ret[QI] = number_of(m->qi);
}

/* The PKCS #8 text of a scalar (RFC 5915), with or without what may be left out. */
static void curve_text(const struct p11_curve *curve, struct number scalar, const struct hsm_public *pub, bool has_name, size_t attributes_len,
                       struct der *ret)
{
	static const uint8_t EC[] = { 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01 }, ONE = 1, NO_UNUSED_BITS = 0;
	size_t inner, at;

	ret->len = 0;
	put_version(ret);
	at = ret->len;
	put(ret, OID, EC, sizeof(EC));
	put_bytes(ret, curve->oid, curve->oid_len);
	nest(ret, SEQUENCE, at);
	inner = ret->len;
	put(ret, INTEGER, &ONE, sizeof(ONE));
	put(ret, OCTET_STRING, scalar.bytes, scalar.len);
	if (has_name)
		put(ret, TAGGED_0, curve->oid, curve->oid_len);
	at = ret->len;
	if (pub != NULL) {
		put_bytes(ret, &NO_UNUSED_BITS, sizeof(NO_UNUSED_BITS));
		put_bytes(ret, pub->point, pub->point_len);
		nest(ret, BIT_STRING, at);
		nest(ret, TAGGED_1, at);
	}
	nest(ret, SEQUENCE, inner);
	nest(ret, OCTET_STRING, inner);
	put_attributes(ret, attributes_len);
	nest(ret, SEQUENCE, 0);
}

/* ---- transfers of what was put together ---- */

static kms_status transfer(enum hsm_kind kind, const void *plain, size_t len, struct hsm_key *ret_key, struct hsm_public *ret_public)
{
	SECRET_AUTO *text = secret_from(plain, len);
	uint8_t bytes[HSM_TRANSFER_MAX];
	size_t bytes_len;

	assert_non_null(text);
	t_transfer_make(&EXCHANGE_PUBLIC, NULL, text, bytes, &bytes_len);
	*ret_key = rig_key(HSM_FOR_CALLER, kind, 0);
	RIG.err = (struct kms_err){ 0 };
	return hsm_key_transfer(RIG.hsm, &EXCHANGE, ret_key, bytes, bytes_len, ret_public, &RIG.err);
}

static void is_taken(enum hsm_kind kind, const struct der *text, const char *what)
{
	struct hsm_public pub;
	struct hsm_key key;

	if (transfer(kind, text->bytes, text->len, &key, &pub) != KMS_OK)
		fail_msg("%s: %s", what, RIG.err.detail);
	if (kind == HSM_KIND_RSA)
		assert_memory_equal(pub.n, MATERIAL.m.pub.n, MATERIAL.m.pub.n_len);
	else
		assert_memory_equal(pub.point, MATERIAL.m.pub.point, MATERIAL.m.pub.point_len);
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, key.id, &RIG.err));
}

/* Unwrapped, looked at, not used, and gone. */
static void is_refused(enum hsm_kind kind, const void *plain, size_t len, const char *what)
{
	struct hsm_public pub;
	struct hsm_key key;
	kms_status status = transfer(kind, plain, len, &key, &pub);

	if (status != KMS_E_INVALID)
		fail_msg("%s: %s: %s", what, kms_status_name(status), RIG.err.detail);
	assert_int_equal(t_objects(&RIG, true), 1);
	assert_int_equal(t_objects(&RIG, false), 0);
	assert_false(atomic_load(&RIG.p->token.gate.is_suspect));
}

static void is_refused_unused(enum hsm_kind kind, const struct der *text, const char *what)
{
	const char *calls;

	t_calls_begin();
	is_refused(kind, text->bytes, text->len, what);
	calls = t_calls_end();
	if (strstr(calls, "C_DecryptInit") != NULL || strstr(calls, "C_SignInit") != NULL)
		fail_msg("%s: used: %s", what, calls);
}

static void an_honest_key_is_taken_in_every_form_that_it_may_have(void **state)
{
	static const struct {
		enum hsm_kind kind;
		unsigned bits;
	} PAIRS[] = { { HSM_KIND_RSA, 2048 }, { HSM_KIND_RSA, 3072 }, { HSM_KIND_RSA, 4096 }, { HSM_KIND_P256, 0 },
		      { HSM_KIND_P384, 0 },   { HSM_KIND_P521, 0 },   { HSM_KIND_P256K, 0 } };
	struct number numbers[RSA_NUMBERS];
	struct der text;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(PAIRS); i++) {
		const struct p11_curve *curve = p11_curve(PAIRS[i].kind);

		t_material_make(&MATERIAL, PAIRS[i].kind, PAIRS[i].bits);
		if (curve == NULL) {
			honest_numbers(&MATERIAL.m, numbers);
			rsa_text(numbers, 0, &text);
			is_taken(PAIRS[i].kind, &text, "RSA");
			rsa_text(numbers, ATTRIBUTES_MAX, &text);
			is_taken(PAIRS[i].kind, &text, "RSA with attributes");
		} else {
			curve_text(curve, number_of(MATERIAL.m.secret), NULL, false, 0, &text);
			is_taken(PAIRS[i].kind, &text, "the scalar alone");
			curve_text(curve, number_of(MATERIAL.m.secret), &MATERIAL.m.pub, true, ATTRIBUTES_MAX, &text);
			is_taken(PAIRS[i].kind, &text, "a curve with everything");
		}
		t_material_clear(&MATERIAL);
	}
}

/* OpenSSL, and so SoftHSM, computes with p and dp whatever they are, finds the result wrong, and computes it again with d: a key that works, and
 * takes as long as it is told to. */
static void an_rsa_key_that_is_longer_than_an_honest_one_is_never_used(void **state)
{
	static const size_t LENGTHS[] = { 3300, 1024, 600, 512, 256 };
	static uint8_t odd[3300];
	struct number numbers[RSA_NUMBERS], honest[RSA_NUMBERS];
	struct der text;

	(void)state;
	t_material_make(&MATERIAL, HSM_KIND_RSA, 2048);
	honest_numbers(&MATERIAL.m, honest);
	for (size_t i = 0; i < KMS_ARRAY_LEN(LENGTHS); i++) {
		assert_true(random_bytes(odd, LENGTHS[i]));
		odd[0] |= 0x80;
		odd[LENGTHS[i] - 1] |= 1;
		memcpy(numbers, honest, sizeof(numbers));
		numbers[P] = numbers[DP] = (struct number){ odd, LENGTHS[i] };
		rsa_text(numbers, 0, &text);
		is_refused_unused(HSM_KIND_RSA, &text, "p and dp");
		memcpy(numbers, honest, sizeof(numbers));
		numbers[D] = (struct number){ odd, honest[D].len + LENGTHS[i] };
		if (numbers[D].len > sizeof(odd))
			continue;
		rsa_text(numbers, 0, &text);
		is_refused_unused(HSM_KIND_RSA, &text, "d");
	}
	rsa_text(honest, ATTRIBUTES_MAX + LEADING_ZEROS, &text);
	is_refused_unused(HSM_KIND_RSA, &text, "attributes");
}

static void an_rsa_key_with_a_part_missing_is_refused(void **state)
{
	static const uint8_t ZERO[1] = { 0 }, ONE[1] = { 1 }, EVEN[2] = { 1, 0 };
	static uint8_t long_number[6000];
	const struct number none = { ZERO, 0 }, zero = { ZERO, 1 }, one = { ONE, 1 };
	const struct {
		const char *what;
		int which;
		struct number number;
	} CASES[] = {
		{ "n is empty", N, none },     { "n = 0", N, zero },   { "n = 1", N, one },   { "n of 6000 bytes", N, { long_number, sizeof(long_number) } },
		{ "e is empty", E, none },     { "e = 0", E, zero },   { "e = 1", E, one },   { "e of 4000 bytes", E, { long_number, 4000 } },
		{ "e is even", E, { EVEN, 2 } }, { "e of 9 bytes", E, { long_number, 9 } },
		{ "d is empty", D, none },     { "d = 0", D, zero },   { "d = 1", D, one },   { "p is empty", P, none },
		{ "p = 0", P, zero },          { "p = 1", P, one },    { "q = 0", Q, zero },  { "q = 1", Q, one },
		{ "dp = 0", DP, zero },        { "dq = 1", DQ, one },  { "qi = 0", QI, zero },
	};
	struct number numbers[RSA_NUMBERS];
	struct der text;

	(void)state;
	memset(long_number, 0x55, sizeof(long_number));
	t_material_make(&MATERIAL, HSM_KIND_RSA, 2048);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		honest_numbers(&MATERIAL.m, numbers);
		numbers[CASES[i].which] = CASES[i].number;
		rsa_text(numbers, 0, &text);
		is_refused_unused(HSM_KIND_RSA, &text, CASES[i].what);
	}
}

static void a_curve_key_that_is_none_is_refused(void **state)
{
	static const uint8_t ZEROS[66] = { 0 };
	const struct p11_curve *curve = p11_curve(HSM_KIND_P256);
	uint8_t padded[256] = { 0 };
	struct der text;

	(void)state;
	t_material_make(&MATERIAL, HSM_KIND_P256, 0);
	memcpy(padded + sizeof(padded) - curve->coordinate, secret_data(MATERIAL.m.secret), curve->coordinate);
	curve_text(curve, (struct number){ ZEROS, curve->coordinate }, NULL, false, 0, &text);
	is_refused(HSM_KIND_P256, text.bytes, text.len, "d = 0");
	curve_text(curve, (struct number){ ZEROS, 0 }, NULL, false, 0, &text);
	is_refused_unused(HSM_KIND_P256, &text, "d is empty");
	curve_text(curve, (struct number){ ZEROS, 1 }, NULL, false, 0, &text);
	is_refused_unused(HSM_KIND_P256, &text, "d of one byte");
	curve_text(curve, (struct number){ padded, sizeof(padded) }, NULL, false, 0, &text);
	is_refused_unused(HSM_KIND_P256, &text, "d after 224 zeros");
	curve_text(curve, number_of(MATERIAL.m.secret), &MATERIAL.m.pub, true, ATTRIBUTES_MAX + LEADING_ZEROS, &text);
	is_refused_unused(HSM_KIND_P256, &text, "attributes");
}

/* The rule of a plain import (server/core/material.c). */
static void a_secret_of_one_byte_repeated_is_refused(void **state)
{
	static const struct {
		enum hsm_kind kind;
		size_t len;
	} SECRETS[] = { { HSM_KIND_AES, 16 },  { HSM_KIND_AES, 24 },  { HSM_KIND_AES, 32 },
		        { HSM_KIND_HMAC, 32 }, { HSM_KIND_HMAC, 48 }, { HSM_KIND_HMAC, 64 } };
	static const uint8_t BYTES[] = { 0x00, 0x5a, 0xff };
	uint8_t secret[64];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SECRETS); i++) {
		struct hsm_public pub;
		struct hsm_key key;

		for (size_t b = 0; b < KMS_ARRAY_LEN(BYTES); b++) {
			memset(secret, BYTES[b], sizeof(secret));
			is_refused(SECRETS[i].kind, secret, SECRETS[i].len, "one byte repeated");
		}
		secret[SECRETS[i].len - 1] ^= 1;
		T_OK(&RIG, transfer(SECRETS[i].kind, secret, SECRETS[i].len, &key, &pub));
		T_OK(&RIG, hsm_key_destroy(RIG.hsm, key.id, &RIG.err));
	}
}

#define WITH_HSM(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_HSM(an_honest_key_is_taken_in_every_form_that_it_may_have),
		WITH_HSM(an_rsa_key_that_is_longer_than_an_honest_one_is_never_used),
		WITH_HSM(an_rsa_key_with_a_part_missing_is_refused),
		WITH_HSM(a_curve_key_that_is_none_is_refused),
		WITH_HSM(a_secret_of_one_byte_repeated_is_refused),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
