/* tests/unit/core_crypto_cross.c - every algorithm on every sort of key, resident and wrapped, against OpenSSL: what one side makes the
 * other reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/hmac.h>

#include "server/base/encode.h"
#include "tests/support/crypto_rig.h"
#include "tests/support/software.h"

static struct t_domain d;
static uint8_t data[CRYPTO_VALUE_MAX + 1]; /* of no pattern */

/* ---- calls that must succeed ---- */

static void use(const char *name, enum key_op op, const struct crypto_input *in, struct crypto_output *ret_out)
{
	struct kms_err err = { 0 };

	if (rig_use(&d, name, op, in, ret_out, &err) != KMS_OK)
		fail_msg("%s, %s: %s: %s (%s)", name, key_alg_info(in->alg)->name, err.where, err.detail, kms_err_text(&err));
}

/* One value in, one value out; either may be empty. */
static size_t transform(const char *name, enum key_op op, enum key_alg alg, const uint8_t *bytes, size_t len, uint8_t *ret)
{
	SECRET_AUTO *value = len > 0 ? secret_from(bytes, len) : NULL;
	CRYPTO_OUTPUT_AUTO out = { 0 };
	size_t ret_len = 0;

	use(name, op, &(struct crypto_input){ .alg = alg, .value = value }, &out);
	assert_int_equal(out.iv_len + out.tag_len, 0);
	if (out.value == NULL)
		return 0;
	ret_len = secret_len(out.value);
	memcpy(ret, secret_data(out.value), ret_len);
	return ret_len;
}

static bool verify(const char *name, enum key_alg alg, const uint8_t *digest, size_t digest_len, const uint8_t *signature, size_t len)
{
	struct kms_err err = { 0 };
	bool is_valid = false;

	assert_int_equal(rig_verify(&d, name, alg, digest, digest_len, signature, len, &is_valid, &err), KMS_OK);
	return is_valid;
}

/* ---- RSA ---- */

static void check_encryption(const char *name, EVP_PKEY *pkey, size_t modulus_len, enum key_alg alg)
{
	const size_t padding = alg == ALG_RSA_OAEP ? 42 : alg == ALG_RSA_OAEP_256 ? 66 : 11, room = modulus_len - padding;
	const size_t lengths[] = { alg == ALG_RSA1_5 ? 1 : 0, 1, 32, room };
	const enum key_op pairs[][2] = { { KEY_OP_ENCRYPT, KEY_OP_DECRYPT }, { KEY_OP_WRAP, KEY_OP_UNWRAP } };
	uint8_t cipher[HSM_RSA_MAX], back[HSM_RSA_MAX];
	size_t len = 0, back_len = 0;

	for (size_t i = 0; i < KMS_ARRAY_LEN(lengths); i++)
		for (size_t pair = 0; pair < 2; pair++) {
			assert_int_equal(transform(name, pairs[pair][0], alg, data, lengths[i], cipher), modulus_len);
			assert_true(sw_decrypt(pkey, alg, cipher, modulus_len, back, &back_len));
			assert_int_equal(back_len, lengths[i]);
			assert_memory_equal(back, data, back_len);
			sw_encrypt(pkey, alg, data + i, lengths[i], cipher, &len);
			assert_int_equal(transform(name, pairs[pair][1], alg, cipher, len, back), lengths[i]);
			assert_memory_equal(back, data + i, lengths[i]);
		}
}

static void check_signature(const char *name, EVP_PKEY *pkey, enum key_alg alg, size_t digest_len)
{
	uint8_t here[HSM_SIGNATURE_MAX], there[HSM_SIGNATURE_MAX];
	size_t len = transform(name, KEY_OP_SIGN, alg, data, digest_len, here), there_len = 0;

	assert_true(sw_verify(pkey, alg, data, digest_len, here, len));
	assert_true(verify(name, alg, data, digest_len, here, len));
	sw_sign(pkey, alg, data, digest_len, there, &there_len);
	assert_int_equal(there_len, len);
	assert_true(verify(name, alg, data, digest_len, there, len));
	assert_false(verify(name, alg, data + 1, digest_len, there, len));
	if (key_alg_info(alg)->sign == HSM_SIGN_RSA_PKCS1) /* has one right signature */
		assert_memory_equal(here, there, len);
}

static void check_rsa(const char *name, EVP_PKEY *pkey, size_t modulus_len)
{
	for (enum key_alg alg = ALG_RSA_OAEP; alg <= ALG_RSA1_5; alg++)
		check_encryption(name, pkey, modulus_len, alg);
	for (enum key_alg alg = ALG_RS256; alg <= ALG_PS512; alg++)
		if (alg != ALG_RSNULL)
			check_signature(name, pkey, alg, key_alg_info(alg)->digest_len);
	check_signature(name, pkey, ALG_RSNULL, 1);
	check_signature(name, pkey, ALG_RSNULL, 36); /* MD5 and SHA-1 of old TLS */
	check_signature(name, pkey, ALG_RSNULL, modulus_len - 11);
}

static void rsa_of_every_size_works_both_ways_with_openssl(void **state)
{
	(void)state;
	for (unsigned bits = 2048; bits <= 4096; bits += 1024) {
		EVP_PKEY *pkey = sw_rsa(bits);
		struct sw_jwk j;
		char name[32];

		sw_jwk(pkey, KEY_RSA, CURVE_NONE, &j);
		for (int resident = 0; resident < 2; resident++) {
			(void)snprintf(name, sizeof(name), "rsa-%u-%s", bits, resident ? "hsm" : "wrapped");
			rig_import(&d, name, &j.jwk, resident, RIG_OPS_RSA);
			check_rsa(name, pkey, bits / 8);
		}
		sw_jwk_clear(&j);
		EVP_PKEY_free(pkey);
	}
}

/* ---- curves ---- */

static enum key_alg alg_of(enum key_curve crv)
{
	return crv == CURVE_P256 ? ALG_ES256 : crv == CURVE_P384 ? ALG_ES384 : crv == CURVE_P521 ? ALG_ES512 : ALG_ES256K;
}

static void every_curve_works_both_ways_with_openssl(void **state)
{
	(void)state;
	for (enum key_curve crv = CURVE_P256; crv < CURVE_COUNT; crv++) {
		EVP_PKEY *pkey = sw_ec(crv);
		struct sw_jwk j;
		char name[32];

		sw_jwk(pkey, KEY_EC, crv, &j);
		for (int resident = 0; resident < 2; resident++) {
			(void)snprintf(name, sizeof(name), "%s-%s", key_curve_info(crv)->name, resident ? "hsm" : "wrapped");
			rig_import(&d, name, &j.jwk, resident, 0);
			for (int i = 0; i < 8; i++) /* r and s of different lengths come by */
				check_signature(name, pkey, alg_of(crv), key_alg_info(alg_of(crv))->digest_len);
		}
		sw_jwk_clear(&j);
		EVP_PKEY_free(pkey);
	}
}

static void pairs_of_the_devices_own_making_verify_in_openssl(void **state)
{
	static const struct {
		enum key_type type;
		enum key_curve crv;
		enum key_alg alg;
	} CASES[] = {
		{ KEY_RSA, CURVE_NONE, ALG_PS256 },     { KEY_RSA_HSM, CURVE_NONE, ALG_RS512 }, { KEY_EC, CURVE_P256, ALG_ES256 },
		{ KEY_EC, CURVE_P384, ALG_ES384 },      { KEY_EC, CURVE_P521, ALG_ES512 },      { KEY_EC, CURVE_P256K, ALG_ES256K },
		{ KEY_EC_HSM, CURVE_P256, ALG_ES256 },  { KEY_EC_HSM, CURVE_P384, ALG_ES384 },  { KEY_EC_HSM, CURVE_P521, ALG_ES512 },
		{ KEY_EC_HSM, CURVE_P256K, ALG_ES256K },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		const size_t digest_len = key_alg_info(CASES[i].alg)->digest_len;
		uint8_t signature[HSM_SIGNATURE_MAX];
		STORE_VERSION_AUTO v = { 0 };
		EVP_PKEY *pkey = NULL;
		char name[32];
		size_t len = 0;

		(void)snprintf(name, sizeof(name), "made-%zu", i);
		rig_create(&d, name, CASES[i].type, 0, CASES[i].crv, 0);
		rig_version(&d, name, &v);
		pkey = sw_public(&v);
		len = transform(name, KEY_OP_SIGN, CASES[i].alg, data, digest_len, signature);
		assert_true(sw_verify(pkey, CASES[i].alg, data, digest_len, signature, len));
		assert_true(verify(name, CASES[i].alg, data, digest_len, signature, len));
		EVP_PKEY_free(pkey);
	}
}

/* ---- AES ---- */

static const size_t LENGTHS[] = { 1, 15, 16, 17, 4096, CRYPTO_VALUE_MAX };

static void check_gcm(const char *name, enum key_alg alg, const char *cipher, const uint8_t *key)
{
	static uint8_t text[CRYPTO_VALUE_MAX + 16], back[CRYPTO_VALUE_MAX + 16];
	const size_t aads[] = { 0, 1, 33 };

	for (size_t i = 0; i < KMS_ARRAY_LEN(LENGTHS); i++)
		for (size_t a = 0; a < KMS_ARRAY_LEN(aads); a++) {
			SECRET_AUTO *value = secret_from(data, LENGTHS[i]);
			SECRET_AUTO *sealed = NULL;
			CRYPTO_OUTPUT_AUTO out = { 0 };
			CRYPTO_OUTPUT_AUTO opened = { 0 };
			uint8_t tag[HSM_GCM_TAG_LEN], iv[HSM_GCM_NONCE_LEN] = { 7, 7 };
			size_t len = 0;

			use(name, KEY_OP_ENCRYPT, &(struct crypto_input){ .alg = alg, .value = value, .aad = data, .aad_len = aads[a] }, &out);
			assert_int_equal(secret_len(out.value), LENGTHS[i]);
			assert_int_equal(out.iv_len, HSM_GCM_NONCE_LEN);
			assert_int_equal(out.tag_len, HSM_GCM_TAG_LEN);
			assert_true(sw_aes(cipher, false, false, key, out.iv, data, aads[a], secret_data(out.value), LENGTHS[i], out.tag, back, &len));
			assert_int_equal(len, LENGTHS[i]);
			assert_memory_equal(back, data, len);
			assert_true(sw_aes(cipher, true, false, key, iv, data, aads[a], data, LENGTHS[i], tag, text, &len));
			sealed = secret_from(text, len);
			use(name, KEY_OP_DECRYPT, &(struct crypto_input){ .alg = alg, .value = sealed, .iv = iv, .iv_len = sizeof(iv), .aad = data,
			                                                  .aad_len = aads[a], .tag = tag, .tag_len = sizeof(tag) }, &opened);
			assert_int_equal(secret_len(opened.value), LENGTHS[i]);
			assert_memory_equal(secret_data(opened.value), data, LENGTHS[i]);
		}
}

static void check_cbc(const char *name, enum key_alg alg, const char *cipher, const uint8_t *key)
{
	static uint8_t text[CRYPTO_VALUE_MAX + 32];
	const bool pad = key_alg_info(alg)->cipher == HSM_CIPHER_CBC_PAD;
	const uint8_t iv[HSM_IV_LEN] = { 3, 1, 4 };

	for (size_t i = 0; i < KMS_ARRAY_LEN(LENGTHS); i++) {
		/* a padded text of the full size would be longer than what may be decrypted */
		size_t plain_len = pad && LENGTHS[i] == CRYPTO_VALUE_MAX ? LENGTHS[i] - 1 : LENGTHS[i], len = 0;
		SECRET_AUTO *value = secret_from(data, plain_len);
		CRYPTO_OUTPUT_AUTO out = { 0 };
		CRYPTO_OUTPUT_AUTO opened = { 0 };

		if (!pad && plain_len % 16 != 0)
			continue;
		assert_true(sw_aes(cipher, true, pad, key, iv, NULL, 0, data, plain_len, NULL, text, &len));
		use(name, KEY_OP_ENCRYPT, &(struct crypto_input){ .alg = alg, .value = value, .iv = iv, .iv_len = sizeof(iv) }, &out);
		assert_int_equal(secret_len(out.value), len);
		assert_memory_equal(secret_data(out.value), text, len);
		assert_int_equal(out.iv_len, HSM_IV_LEN);
		assert_memory_equal(out.iv, iv, HSM_IV_LEN);
		assert_int_equal(out.tag_len, 0);
		use(name, KEY_OP_DECRYPT, &(struct crypto_input){ .alg = alg, .value = out.value, .iv = iv, .iv_len = sizeof(iv) }, &opened);
		assert_int_equal(secret_len(opened.value), plain_len);
		assert_memory_equal(secret_data(opened.value), data, plain_len);
	}
}

static void check_wrap(const char *name, enum key_alg alg, const char *cipher, const uint8_t *key)
{
	static const size_t SIZES[] = { 1, 7, 8, 9, 16, 24, 32, 33, 64, HSM_WRAP_MAX };
	uint8_t here[HSM_WRAP_MAX + 16], there[HSM_WRAP_MAX + 16], back[HSM_WRAP_MAX + 16];
	const bool is_kw = key_alg_info(alg)->aes == HSM_AES_KW;

	for (size_t i = 0; i < KMS_ARRAY_LEN(SIZES); i++) {
		size_t len = 0, there_len = 0;

		if (is_kw && (SIZES[i] < 16 || SIZES[i] % 8 != 0))
			continue;
		len = transform(name, KEY_OP_WRAP, alg, data, SIZES[i], here);
		assert_true(sw_aes(cipher, true, false, key, NULL, NULL, 0, data, SIZES[i], NULL, there, &there_len));
		assert_int_equal(len, there_len);
		assert_memory_equal(here, there, len);
		assert_int_equal(transform(name, KEY_OP_UNWRAP, alg, there, there_len, back), SIZES[i]);
		assert_memory_equal(back, data, SIZES[i]);
	}
}

static void check_aes(const char *name, unsigned bits, const uint8_t *key)
{
	const unsigned nth = (bits - 128) / 64;
	char cipher[24];

	(void)snprintf(cipher, sizeof(cipher), "AES-%u-GCM", bits);
	check_gcm(name, (enum key_alg)(ALG_A128GCM + nth), cipher, key);
	(void)snprintf(cipher, sizeof(cipher), "AES-%u-CBC", bits);
	check_cbc(name, (enum key_alg)(ALG_A128CBC + nth), cipher, key);
	check_cbc(name, (enum key_alg)(ALG_A128CBCPAD + nth), cipher, key);
	(void)snprintf(cipher, sizeof(cipher), "AES-%u-WRAP", bits);
	check_wrap(name, (enum key_alg)(ALG_A128KW + nth), cipher, key);
	check_wrap(name, ALG_CKM_KW, cipher, key);
	(void)snprintf(cipher, sizeof(cipher), "AES-%u-WRAP-PAD", bits);
	check_wrap(name, ALG_CKM_KWP, cipher, key);
}

static void aes_of_every_size_works_both_ways_with_openssl(void **state)
{
	(void)state;
	for (unsigned bits = 128; bits <= 256; bits += 64) {
		struct sw_jwk j;
		char name[32];

		sw_jwk_oct(data + bits, bits / 8, KEY_OCT, &j);
		for (int resident = 0; resident < 2; resident++) {
			(void)snprintf(name, sizeof(name), "aes-%u-%s", bits, resident ? "hsm" : "wrapped");
			rig_import(&d, name, &j.jwk, resident, RIG_OPS_AES);
			check_aes(name, bits, data + bits);
		}
		sw_jwk_clear(&j);
	}
}

/* ---- MACs ---- */

static void check_mac(const char *name, enum key_alg alg, const uint8_t *key, size_t key_len)
{
	static const size_t SIZES[] = { 1, 32, 200, CRYPTO_VALUE_MAX };
	const char *hash = alg == ALG_HS256 ? "SHA256" : alg == ALG_HS384 ? "SHA384" : "SHA512";
	uint8_t here[HSM_SIGNATURE_MAX], there[EVP_MAX_MD_SIZE];

	for (size_t i = 0; i < KMS_ARRAY_LEN(SIZES); i++) {
		unsigned there_len = 0;
		size_t len = transform(name, KEY_OP_SIGN, alg, data, SIZES[i], here);

		assert_non_null(HMAC(EVP_get_digestbyname(hash), key, (int)key_len, data, SIZES[i], there, &there_len));
		assert_int_equal(len, there_len);
		assert_memory_equal(here, there, len);
		assert_true(verify(name, alg, data, SIZES[i], there, there_len));
		assert_false(verify(name, alg, data + 1, SIZES[i], there, there_len));
	}
}

static void macs_of_every_size_are_openssls(void **state)
{
	static const unsigned SIZES[] = { 256, 384, 512 };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SIZES); i++) {
		struct sw_jwk j;
		char name[32];

		sw_jwk_oct(data + SIZES[i], SIZES[i] / 8, KEY_OCT, &j);
		for (int resident = 0; resident < 2; resident++) {
			(void)snprintf(name, sizeof(name), "mac-%u-%s", SIZES[i], resident ? "hsm" : "wrapped");
			rig_import(&d, name, &j.jwk, resident, RIG_OPS_SIGN);
			for (enum key_alg alg = ALG_HS256; alg <= ALG_HS512; alg++)
				if (key_alg_info(alg)->bits_min <= SIZES[i])
					check_mac(name, alg, data + SIZES[i], SIZES[i] / 8);
		}
		sw_jwk_clear(&j);
	}
}

/* keyvault-keys.md 5.2 note 1: loaded as AES key or as generic secret, as the operation needs. */
static void one_wrapped_oct_serves_as_aes_and_as_mac_key(void **state)
{
	struct sw_jwk j;

	(void)state;
	sw_jwk_oct(data + 5, 32, KEY_OCT, &j);
	rig_import(&d, "both", &j.jwk, false, RIG_OPS_AES | RIG_OPS_SIGN);
	for (int round = 0; round < 2; round++) {
		check_aes("both", 256, data + 5);
		check_mac("both", ALG_HS256, data + 5, 32);
	}
	sw_jwk_clear(&j);
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	rig_vault(&d);
	if (!random_bytes(data, sizeof(data)))
		return -1;
	data[1] = (uint8_t)~data[0]; /* a single byte at data + 1 is another value */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_domain_close(&d);
	return secret_live() == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rsa_of_every_size_works_both_ways_with_openssl),
		cmocka_unit_test(every_curve_works_both_ways_with_openssl),
		cmocka_unit_test(pairs_of_the_devices_own_making_verify_in_openssl),
		cmocka_unit_test(aes_of_every_size_works_both_ways_with_openssl),
		cmocka_unit_test(macs_of_every_size_are_openssls),
		cmocka_unit_test(one_wrapped_oct_serves_as_aes_and_as_mac_key),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
