/* tests/unit/core_public.c - the public half on the host, against OpenSSL's private half: both ways, bit by bit, and with damaged rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/public.h"
#include "tests/support/software.h"

static EVP_PKEY *rsa;
static struct store_version rsa_half;

static bool verifies(const struct store_version *v, enum key_alg alg, const uint8_t *digest, size_t digest_len, const uint8_t *signature,
                     size_t len)
{
	struct kms_err err = { 0 };
	bool is_valid = false;

	assert_int_equal(public_verify(v, alg, digest, digest_len, signature, len, &is_valid, &err), KMS_OK);
	return is_valid;
}

static size_t digest_len_of(enum key_alg alg)
{
	const size_t null_len = 51; /* RSNULL takes any */
	return key_alg_info(alg)->digest_len != 0 ? key_alg_info(alg)->digest_len : null_len;
}

/* Good as it is; no more with any bit of it or of the digest flipped, nor with any other length. All bits for one algorithm of each form, every
 * seventh for the others. */
static void check_signatures(EVP_PKEY *pkey, const struct store_version *v, enum key_alg alg)
{
	uint8_t digest[HSM_RSA_MAX] = { 1, 2, 3 }, signature[HSM_SIGNATURE_MAX + 1] = { 0 };
	size_t digest_len = digest_len_of(alg), len = 0, step = alg == ALG_RS256 || alg == ALG_PS256 || alg == ALG_ES256 ? 1 : 7;

	sw_sign(pkey, alg, digest, digest_len, signature, &len);
	assert_true(verifies(v, alg, digest, digest_len, signature, len));
	for (size_t bit = 0; bit < 8 * len; bit += step) {
		signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(verifies(v, alg, digest, digest_len, signature, len));
		signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t bit = 0; bit < 8 * digest_len; bit += step) {
		digest[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(verifies(v, alg, digest, digest_len, signature, len));
		digest[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t other = 0; other <= len + 1; other++)
		assert_int_equal(verifies(v, alg, digest, digest_len, signature, other), other == len);
	assert_false(verifies(v, alg, digest, digest_len - 1, signature, len));
	assert_false(verifies(v, alg, digest, digest_len + 1, signature, len));
}

static void rsa_signatures_verify_as_they_are_and_in_no_other_way(void **state)
{
	(void)state;
	for (enum key_alg alg = ALG_RS256; alg <= ALG_PS512; alg++)
		check_signatures(rsa, &rsa_half, alg);
}

static void ecdsa_signatures_verify_as_they_are_and_in_no_other_way(void **state)
{
	(void)state;
	for (enum key_alg alg = ALG_ES256; alg <= ALG_ES512; alg++) {
		enum key_curve crv = key_alg_info(alg)->crv;
		EVP_PKEY *pkey = sw_ec(crv);
		STORE_VERSION_AUTO v = { 0 };

		sw_version(pkey, KEY_EC, crv, &v);
		check_signatures(pkey, &v, alg);
		EVP_PKEY_free(pkey);
	}
}

static void one_rsa_algorithm_does_not_pass_for_another(void **state)
{
	uint8_t digest[64] = { 9 }, signature[HSM_SIGNATURE_MAX];
	size_t len = 0;

	(void)state;
	for (enum key_alg made = ALG_RS256; made <= ALG_PS512; made++) {
		sw_sign(rsa, made, digest, digest_len_of(made), signature, &len);
		for (enum key_alg alg = ALG_RS256; alg <= ALG_PS512; alg++)
			assert_int_equal(verifies(&rsa_half, alg, digest, digest_len_of(alg), signature, len), alg == made);
	}
}

static void a_number_that_is_not_below_the_modulus_is_no_signature(void **state)
{
	uint8_t signature[HSM_SIGNATURE_MAX], digest[32] = { 0 };
	const size_t len = rsa_half.pub_len;

	(void)state;
	memset(signature, 0xff, sizeof(signature));
	memcpy(signature, rsa_half.pub, len);
	for (enum key_alg alg = ALG_RS256; alg <= ALG_PS512; alg++) {
		assert_false(verifies(&rsa_half, alg, digest, digest_len_of(alg) <= 32 ? digest_len_of(alg) : 32, signature, len));
		memset(signature, 0xff, len);
	}
}

/* r and s of zero, of the order, and above it: the classics (CVE-2022-21449). */
static void r_and_s_outside_their_range_are_no_signature(void **state)
{
	static const uint8_t ORDER[32] = { 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		                           0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51 };
	EVP_PKEY *pkey = sw_ec(CURVE_P256);
	STORE_VERSION_AUTO v = { 0 };
	uint8_t digest[32] = { 0 }, values[3][32] = { { 0 }, { 0 }, { 0 } }, signature[64];

	(void)state;
	sw_version(pkey, KEY_EC, CURVE_P256, &v);
	memcpy(values[1], ORDER, sizeof(ORDER));
	memset(values[2], 0xff, sizeof(values[2]));
	for (int r = 0; r < 3; r++)
		for (int s = 0; s < 3; s++) {
			memcpy(signature, values[r], 32);
			memcpy(signature + 32, values[s], 32);
			assert_false(verifies(&v, ALG_ES256, digest, sizeof(digest), signature, sizeof(signature)));
		}
	EVP_PKEY_free(pkey);
}

static void what_is_encrypted_here_decrypts_there_up_to_the_last_byte_of_room(void **state)
{
	static const struct {
		enum key_alg alg;
		size_t room; /* keyvault-keys.md 5.2, 2048 bits */
	} CASES[] = { { ALG_RSA_OAEP, 214 }, { ALG_RSA_OAEP_256, 190 }, { ALG_RSA1_5, 245 } };
	uint8_t bytes[HSM_RSA_MAX], cipher[HSM_RSA_MAX], back[HSM_RSA_MAX];
	struct kms_err err = { 0 };

	(void)state;
	memset(bytes, 0x5a, sizeof(bytes));
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		enum hsm_rsa_alg how = key_alg_info(CASES[i].alg)->rsa;
		const size_t lengths[] = { CASES[i].alg == ALG_RSA1_5 ? 1 : 0, 1, 32, CASES[i].room };

		assert_int_equal(public_room(how, rsa_half.pub_len), CASES[i].room);
		for (size_t l = 0; l < KMS_ARRAY_LEN(lengths); l++) {
			SECRET_AUTO *plain = lengths[l] > 0 ? secret_from(bytes, lengths[l]) : NULL;
			size_t len = 0, back_len = 0;

			assert_int_equal(public_encrypt(&rsa_half, how, plain, cipher, &len, &err), KMS_OK);
			assert_int_equal(len, rsa_half.pub_len);
			assert_true(sw_decrypt(rsa, CASES[i].alg, cipher, len, back, &back_len));
			assert_int_equal(back_len, lengths[l]);
			assert_memory_equal(back, bytes, back_len);
			for (enum key_alg other = ALG_RSA_OAEP; other <= ALG_RSA_OAEP_256; other++)
				if (other != CASES[i].alg)
					assert_false(sw_decrypt(rsa, other, cipher, len, back, &back_len));
		}
	}
}

static void the_room_of_each_size_is_the_documented_one(void **state)
{
	static const struct {
		size_t modulus_len, oaep, oaep_256, pkcs1;
	} SIZES[] = { { 256, 214, 190, 245 }, { 384, 342, 318, 373 }, { 512, 470, 446, 501 }, { 0, 0, 0, 0 }, { 128, 0, 0, 0 }, { 1024, 0, 0, 0 } };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SIZES); i++) {
		assert_int_equal(public_room(HSM_RSA_OAEP_SHA1, SIZES[i].modulus_len), SIZES[i].oaep);
		assert_int_equal(public_room(HSM_RSA_OAEP_SHA256, SIZES[i].modulus_len), SIZES[i].oaep_256);
		assert_int_equal(public_room(HSM_RSA_PKCS1_V15, SIZES[i].modulus_len), SIZES[i].pkcs1);
	}
}

static void a_damaged_half_is_our_failure_and_not_the_callers(void **state)
{
	EVP_PKEY *pkey = sw_ec(CURVE_P384);
	STORE_VERSION_AUTO ec = { 0 };
	struct store_version broken = rsa_half;
	uint8_t digest[48] = { 0 }, bytes[HSM_RSA_MAX] = { 0 };
	struct kms_err err = { 0 };
	size_t len = 0;
	bool is_valid = false;
	SECRET_AUTO *plain = secret_from("k", 1);

	(void)state;
	sw_version(pkey, KEY_EC, CURVE_P384, &ec);
	EVP_PKEY_free(pkey);
	broken.pub_len--;
	assert_int_equal(public_verify(&broken, ALG_RS256, digest, 32, bytes, 256, &is_valid, &err), KMS_E_INTERNAL);
	assert_int_equal(public_encrypt(&broken, HSM_RSA_OAEP_SHA1, plain, bytes, &len, &err), KMS_E_INTERNAL);
	broken = rsa_half;
	broken.e_len = 0;
	assert_int_equal(public_verify(&broken, ALG_PS256, digest, 32, bytes, 256, &is_valid, &err), KMS_E_INTERNAL);
	broken = rsa_half;
	broken.pub = NULL;
	assert_int_equal(public_verify(&broken, ALG_RS256, digest, 32, bytes, 256, &is_valid, &err), KMS_E_INTERNAL);
	ec.pub[ec.pub_len - 1] ^= 1; /* off the curve */
	assert_int_equal(public_verify(&ec, ALG_ES384, digest, 48, bytes, 96, &is_valid, &err), KMS_E_INTERNAL);
	ec.pub_len--;
	assert_int_equal(public_verify(&ec, ALG_ES384, digest, 48, bytes, 96, &is_valid, &err), KMS_E_INTERNAL);
	/* nor is an algorithm of another family taken for one that verified */
	assert_int_equal(public_verify(&rsa_half, ALG_ES256, digest, 32, bytes, 64, &is_valid, &err), KMS_E_INTERNAL);
	assert_int_equal(public_verify(&rsa_half, ALG_HS256, digest, 32, bytes, 32, &is_valid, &err), KMS_E_INTERNAL);
	assert_false(is_valid);
}

static int group_setup(void **state)
{
	(void)state;
	if (secret_heap_init(1U << 16, NULL) != KMS_OK)
		return -1;
	rsa = sw_rsa(2048);
	sw_version(rsa, KEY_RSA, CURVE_NONE, &rsa_half);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(rsa);
	store_version_clear(&rsa_half);
	return secret_live() == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rsa_signatures_verify_as_they_are_and_in_no_other_way),
		cmocka_unit_test(ecdsa_signatures_verify_as_they_are_and_in_no_other_way),
		cmocka_unit_test(one_rsa_algorithm_does_not_pass_for_another),
		cmocka_unit_test(a_number_that_is_not_below_the_modulus_is_no_signature),
		cmocka_unit_test(r_and_s_outside_their_range_are_no_signature),
		cmocka_unit_test(what_is_encrypted_here_decrypts_there_up_to_the_last_byte_of_room),
		cmocka_unit_test(the_room_of_each_size_is_the_documented_one),
		cmocka_unit_test(a_damaged_half_is_our_failure_and_not_the_callers),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
