/* tests/unit/hsm_sign.c - signatures and MACs of callers' versions, resident and wrapped: software verifies them, and only what fits is made. */
#include <openssl/sha.h>
#include <string.h>

#include "hsm/pkcs11/sigcheck.h"
#include "server/base/encode.h"
#include "tests/support/hsm_rig.h"

static struct t_rig RIG;

static int up(void **state)
{
	(void)state;
	t_rig_up(&RIG);
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_rig_down(&RIG);
	return 0;
}

static const enum hsm_kind CURVES[] = { HSM_KIND_P256, HSM_KIND_P384, HSM_KIND_P521, HSM_KIND_P256K };

static void signs_on_the_curve(const struct hsm_key *key, const struct hsm_public *pub)
{
	const struct p11_curve *curve = p11_curve(key->kind);
	EVP_PKEY *verifier = sigcheck_key(key->kind, pub);
	uint8_t digest[64], signature[HSM_SIGNATURE_MAX];
	size_t len = 0;

	assert_int_equal(pub->point_len, curve->point_len);
	for (int i = 0; i < 8; i++) { /* short r and s are padded */
		assert_true(random_bytes(digest, sizeof(digest)));
		T_OK(&RIG, hsm_sign(RIG.hsm, key, HSM_SIGN_ECDSA, digest, curve->digest_len, signature, &len, &RIG.err));
		assert_int_equal(len, 2 * curve->coordinate);
		assert_true(sigcheck_verify(verifier, key->kind, digest, curve->digest_len, signature));
		signature[i] ^= 1;
		assert_false(sigcheck_verify(verifier, key->kind, digest, curve->digest_len, signature));
	}
	EVP_PKEY_free(verifier);
}

static void every_curve_signs_in_both_forms_and_a_caller_s_public_half_is_nowhere_in_the_token(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);

	(void)state;
	(void)t_log_key(&RIG);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CURVES); i++) {
		const size_t on_token = t_objects(&RIG, true);
		struct hsm_public pub, none;
		struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, CURVES[i], 0, &pub);
		struct t_wrapped w;

		assert_int_equal(t_objects(&RIG, true), on_token + 1);
		signs_on_the_curve(&key, &pub);
		T_FAILS(&RIG, KMS_E_NOTFOUND, hsm_key_public(RIG.hsm, &key, &none, &RIG.err));
		t_wrapped_of(&RIG, &root, CURVES[i], 0, &w);
		signs_on_the_curve(&w.key, &w.public);
		T_OK(&RIG, hsm_key_evict(RIG.hsm, w.key.id, 1000, &RIG.err));
	}
	assert_int_equal(t_objects(&RIG, false), 0);
}

static void signs_with_rsa(const struct hsm_key *key, const struct hsm_public *pub)
{
	static const struct {
		enum hsm_sign_alg alg;
		size_t len;
	} ALGS[] = { { HSM_SIGN_PSS_SHA256, 32 }, { HSM_SIGN_PSS_SHA384, 48 }, { HSM_SIGN_PSS_SHA512, 64 },
		     { HSM_SIGN_RSA_PKCS1, 51 },  { HSM_SIGN_RSA_PKCS1, 1 },   { HSM_SIGN_RSA_PKCS1, 245 } };
	uint8_t input[HSM_RSA_MAX], signature[HSM_SIGNATURE_MAX], again[HSM_SIGNATURE_MAX];
	size_t len = 0;

	assert_true(random_bytes(input, sizeof(input)));
	for (size_t i = 0; i < KMS_ARRAY_LEN(ALGS); i++) {
		T_OK(&RIG, hsm_sign(RIG.hsm, key, ALGS[i].alg, input, ALGS[i].len, signature, &len, &RIG.err));
		assert_int_equal(len, pub->n_len);
		assert_true(sigcheck_rsa(pub, ALGS[i].alg, input, ALGS[i].len, signature));
		T_OK(&RIG, hsm_sign(RIG.hsm, key, ALGS[i].alg, input, ALGS[i].len, again, &len, &RIG.err));
		assert_int_equal(memcmp(signature, again, len) == 0, ALGS[i].alg == HSM_SIGN_RSA_PKCS1); /* PSS is salted */
		signature[100] ^= 1;
		assert_false(sigcheck_rsa(pub, ALGS[i].alg, input, ALGS[i].len, signature));
	}
}

static void rsa_signs_with_both_paddings_in_both_forms(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct hsm_public pub;
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, &pub);
	struct t_wrapped w;

	(void)state;
	t_wrapped_make(&RIG, &root, 2048, &w);
	key.usage = w.key.usage = HSM_USE_SIGN;
	signs_with_rsa(&key, &pub);
	signs_with_rsa(&w.key, &w.public);
}

static void macs_have_the_length_of_their_hash_and_need_a_key_as_long(void **state)
{
	static const unsigned SIZES[] = { 256, 384, 512 };
	static const struct {
		enum hsm_sign_alg alg;
		size_t len;
	} ALGS[] = { { HSM_SIGN_HMAC_SHA256, 32 }, { HSM_SIGN_HMAC_SHA384, 48 }, { HSM_SIGN_HMAC_SHA512, 64 } };
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);

	(void)state;
	for (size_t s = 0; s < KMS_ARRAY_LEN(SIZES); s++) {
		struct hsm_key keys[2] = { t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_HMAC, SIZES[s], NULL) };
		struct t_wrapped w;

		t_wrapped_of(&RIG, &root, HSM_KIND_HMAC, SIZES[s], &w);
		assert_int_equal(w.key.wrapped_len, SIZES[s] / 8 + 8);
		keys[1] = w.key;
		for (size_t k = 0; k < KMS_ARRAY_LEN(keys); k++) {
			for (size_t a = 0; a < KMS_ARRAY_LEN(ALGS); a++) {
				uint8_t first[HSM_SIGNATURE_MAX], second[HSM_SIGNATURE_MAX];
				size_t len = 0;

				if (ALGS[a].len > SIZES[s] / 8) {
					T_FAILS(&RIG, KMS_E_INVALID, hsm_sign(RIG.hsm, &keys[k], ALGS[a].alg, first, 1, second, &len, &RIG.err));
					continue;
				}
				T_OK(&RIG, hsm_sign(RIG.hsm, &keys[k], ALGS[a].alg, (const uint8_t *)"text", 4, first, &len, &RIG.err));
				assert_int_equal(len, ALGS[a].len);
				T_OK(&RIG, hsm_sign(RIG.hsm, &keys[k], ALGS[a].alg, (const uint8_t *)"text", 4, second, &len, &RIG.err));
				assert_memory_equal(first, second, len);
				T_OK(&RIG, hsm_sign(RIG.hsm, &keys[k], ALGS[a].alg, (const uint8_t *)"text", 0, second, &len, &RIG.err));
				assert_memory_not_equal(first, second, len);
			}
		}
	}
}

/* One `oct` version: loaded as what the operation needs, the other form leaves, eviction empties both. */
static void a_wrapped_secret_is_loaded_as_aes_or_as_hmac_and_never_as_both(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL), mac_key;
	uint8_t iv[HSM_IV_LEN] = { 0 }, block[16] = { 0 }, first[16], again[16], mac[32], mac_again[32];
	struct t_wrapped w;
	size_t len;

	(void)state;
	t_wrapped_of(&RIG, &root, HSM_KIND_AES, 256, &w);
	w.key.usage = HSM_USE_ENCRYPT | HSM_USE_SIGN; /* the same for both, so that the kind alone tells them apart */
	mac_key = w.key;
	mac_key.kind = HSM_KIND_HMAC;
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &w.key, HSM_CIPHER_CBC, iv, NULL, 0, block, 16, first, 16, &len, NULL, &RIG.err));
	T_OK(&RIG, t_mac(RIG.hsm, &mac_key, block, 16, mac, &RIG.err));
	assert_int_equal(t_objects(&RIG, false), 1);
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &w.key, HSM_CIPHER_CBC, iv, NULL, 0, block, 16, again, 16, &len, NULL, &RIG.err));
	assert_int_equal(t_objects(&RIG, false), 1);
	assert_memory_equal(first, again, 16);
	T_OK(&RIG, t_mac(RIG.hsm, &mac_key, block, 16, mac_again, &RIG.err));
	assert_memory_equal(mac, mac_again, 32);
	T_OK(&RIG, hsm_key_evict(RIG.hsm, w.key.id, 1000, &RIG.err));
	assert_int_equal(t_objects(&RIG, false), 0);
	T_OK(&RIG, t_mac(RIG.hsm, &mac_key, block, 16, mac_again, &RIG.err));
	T_OK(&RIG, hsm_key_evict(RIG.hsm, root.id, 1000, &RIG.err)); /* by the root too */
	assert_int_equal(t_objects(&RIG, false), 0);
	mac_key.wrapped_len++;
	T_FAILS(&RIG, KMS_E_INVALID, t_mac(RIG.hsm, &mac_key, block, 16, mac, &RIG.err)); /* a secret's blob has one length */
}

static void what_does_not_fit_is_refused_before_any_call(void **state)
{
	static const struct {
		enum hsm_purpose purpose;
		enum hsm_kind kind;
		unsigned bits;
		enum hsm_sign_alg alg;
		size_t len;
	} CASES[] = {
		{ HSM_FOR_CALLER, HSM_KIND_P256, 0, HSM_SIGN_ECDSA, 0 },        { HSM_FOR_CALLER, HSM_KIND_P256, 0, HSM_SIGN_ECDSA, 31 },
		{ HSM_FOR_CALLER, HSM_KIND_P256, 0, HSM_SIGN_ECDSA, 48 },       { HSM_FOR_CALLER, HSM_KIND_P384, 0, HSM_SIGN_ECDSA, 32 },
		{ HSM_FOR_CALLER, HSM_KIND_P521, 0, HSM_SIGN_ECDSA, 66 },       { HSM_FOR_CALLER, HSM_KIND_P256K, 0, HSM_SIGN_ECDSA, 64 },
		{ HSM_FOR_CALLER, HSM_KIND_P256, 0, HSM_SIGN_EDDSA, 32 },       { HSM_FOR_CALLER, HSM_KIND_P256, 0, HSM_SIGN_PSS_SHA256, 32 },
		{ HSM_FOR_CALLER, HSM_KIND_RSA, 2048, HSM_SIGN_ECDSA, 32 },     { HSM_FOR_CALLER, HSM_KIND_RSA, 2048, HSM_SIGN_PSS_SHA256, 48 },
		{ HSM_FOR_CALLER, HSM_KIND_RSA, 2048, HSM_SIGN_PSS_SHA384, 32 }, { HSM_FOR_CALLER, HSM_KIND_RSA, 2048, HSM_SIGN_PSS_SHA512, 63 },
		{ HSM_FOR_CALLER, HSM_KIND_RSA, 2048, HSM_SIGN_RSA_PKCS1, 0 },  { HSM_FOR_CALLER, HSM_KIND_RSA, 2048, HSM_SIGN_RSA_PKCS1, 246 },
		{ HSM_FOR_CALLER, HSM_KIND_RSA, 2048, HSM_SIGN_HMAC_SHA256, 1 }, { HSM_FOR_CALLER, HSM_KIND_AES, 256, HSM_SIGN_HMAC_SHA256, 1 },
		{ HSM_FOR_CALLER, HSM_KIND_HMAC, 256, HSM_SIGN_HMAC_SHA384, 1 }, { HSM_FOR_CALLER, HSM_KIND_HMAC, 384, HSM_SIGN_HMAC_SHA512, 1 },
		{ HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0, HSM_SIGN_HMAC_SHA512, 1 }, { HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0, HSM_SIGN_HMAC_SHA256, HSM_DATA_MAX + 1 },
		{ HSM_FOR_LOG, HSM_KIND_ED25519, 0, HSM_SIGN_ECDSA, 32 },       { HSM_FOR_LOG, HSM_KIND_ED25519, 0, HSM_SIGN_EDDSA, 65537 },
		{ HSM_FOR_ROOT, HSM_KIND_AES, 256, HSM_SIGN_HMAC_SHA256, 1 },   { HSM_FOR_CALLER, HSM_KIND_ED25519, 0, HSM_SIGN_EDDSA, 1 },
		{ HSM_FOR_CALLER, HSM_KIND_HMAC, 128, HSM_SIGN_HMAC_SHA256, 1 }, { HSM_FOR_CALLER, HSM_KIND_P256, 256, HSM_SIGN_ECDSA, 32 },
		{ HSM_FOR_CALLER, HSM_KIND_RSA, 2048, (enum hsm_sign_alg)99, 32 },
	};
	uint8_t input[64] = { 0 }, out[HSM_SIGNATURE_MAX];
	size_t len;

	(void)state;
	t_calls_begin();
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct hsm_key key = rig_key(CASES[i].purpose, CASES[i].kind, CASES[i].bits);

		key.usage |= HSM_USE_SIGN;
		T_FAILS(&RIG, KMS_E_INVALID, hsm_sign(RIG.hsm, &key, CASES[i].alg, input, CASES[i].len, out, &len, &RIG.err));
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(CURVES); i++) {
		struct hsm_key key = rig_key(HSM_FOR_CALLER, CURVES[i], 0);

		key.usage = HSM_USE_DECRYPT | HSM_USE_WRAP | HSM_USE_ENCRYPT; /* all but sign */
		T_FAILS(&RIG, KMS_E_INVALID, hsm_sign(RIG.hsm, &key, HSM_SIGN_ECDSA, input, p11_curve(CURVES[i])->digest_len, out, &len, &RIG.err));
	}
	assert_string_equal(t_calls_end(), "");
}

static void what_the_device_lacks_is_named_and_refused_before_any_call(void **state)
{
	struct hsm_key rsa = rig_key(HSM_FOR_CALLER, HSM_KIND_RSA, 2048), p521 = rig_key(HSM_FOR_CALLER, HSM_KIND_P521, 0);
	struct hsm_key aes = rig_key(HSM_FOR_CALLER, HSM_KIND_AES, 256), mac = rig_key(HSM_FOR_CALLER, HSM_KIND_HMAC, 512);
	struct hsm_key exchange = rig_key(HSM_FOR_EXCHANGE, HSM_KIND_RSA, 2048), backup = rig_key(HSM_FOR_BACKUP, HSM_KIND_AES, 256);
	uint8_t bytes[HSM_BLOB_MAX] = { 0x80 };
	struct secret *plain = NULL;
	struct hsm_public pub;
	size_t len;

	(void)state;
	rsa.usage = HSM_USE_SIGN | HSM_USE_DECRYPT;
	aes.usage = HSM_USE_ENCRYPT | HSM_USE_DECRYPT | HSM_USE_WRAP;
	p521.root_id[0] = aes.root_id[0] = 1;
	t_calls_begin();
#define LACKING(feature, call)                                                                                     \
	RIG.hsm->features = ((1U << HSM_FEATURE_COUNT) - 1) & ~(uint32_t)(feature);                                \
	T_FAILS(&RIG, KMS_E_UNSUPPORTED, call);                                                                    \
	assert_non_null(strstr(RIG.err.message, hsm_feature_name((unsigned)__builtin_ctz(feature))))
	LACKING(HSM_CAN_RSA_PSS, hsm_sign(RIG.hsm, &rsa, HSM_SIGN_PSS_SHA256, bytes, 32, bytes, &len, &RIG.err));
	LACKING(HSM_CAN_RSA_PKCS1, hsm_sign(RIG.hsm, &rsa, HSM_SIGN_RSA_PKCS1, bytes, 32, bytes, &len, &RIG.err));
	LACKING(HSM_CAN_RSA, hsm_key_generate(RIG.hsm, &rsa, NULL, &RIG.err));
	LACKING(HSM_CAN_RSA, hsm_rsa_decrypt(RIG.hsm, &rsa, HSM_RSA_OAEP_SHA1, bytes, 256, bytes, 256, &plain, &RIG.err));
	LACKING(HSM_CAN_P521, t_sign(RIG.hsm, &p521, bytes, 64, bytes, &RIG.err));
	LACKING(HSM_CAN_P521, hsm_key_generate(RIG.hsm, &p521, NULL, &RIG.err));
	LACKING(HSM_CAN_WRAPPED_EC, hsm_key_generate_wrapped(RIG.hsm, &p521, &pub, bytes, &len, &RIG.err));
	LACKING(HSM_CAN_WRAPPED_SECRET, hsm_key_generate_wrapped(RIG.hsm, &aes, &pub, bytes, &len, &RIG.err));
	LACKING(HSM_CAN_WRAPPED_SECRET, hsm_sign(RIG.hsm, &mac, HSM_SIGN_HMAC_SHA512, bytes, 1, bytes, &len, &RIG.err));
	LACKING(HSM_CAN_HMAC, t_mac(RIG.hsm, &mac, bytes, 1, bytes, &RIG.err));
	LACKING(HSM_CAN_AES_GCM, hsm_encrypt(RIG.hsm, &aes, HSM_CIPHER_GCM, bytes, NULL, 0, bytes, 1, bytes, 1, &len, bytes, &RIG.err));
	LACKING(HSM_CAN_AES_CBC, hsm_decrypt(RIG.hsm, &aes, HSM_CIPHER_CBC, bytes, NULL, 0, bytes, 16, NULL, bytes, 16, &len, &RIG.err));
	LACKING(HSM_CAN_AES_KWP, hsm_aes_unwrap(RIG.hsm, &aes, HSM_AES_KWP, bytes, 16, &plain, &RIG.err));
	LACKING(HSM_CAN_TRANSFER, hsm_key_generate(RIG.hsm, &exchange, NULL, &RIG.err));
	LACKING(HSM_CAN_TRANSFER, hsm_key_transfer(RIG.hsm, &exchange, &p521, bytes, 300, &pub, &RIG.err));
	LACKING(HSM_CAN_AES_GCM, hsm_key_generate(RIG.hsm, &backup, NULL, &RIG.err));
#undef LACKING
	assert_string_equal(t_calls_end(), "");
	assert_null(plain);
	for (unsigned a = 0; a < HSM_FEATURE_COUNT; a++)
		for (unsigned b = 0; b < a; b++)
			assert_string_not_equal(hsm_feature_name(a), hsm_feature_name(b));
}

#define WITH_HSM(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_HSM(every_curve_signs_in_both_forms_and_a_caller_s_public_half_is_nowhere_in_the_token),
		WITH_HSM(rsa_signs_with_both_paddings_in_both_forms),
		WITH_HSM(macs_have_the_length_of_their_hash_and_need_a_key_as_long),
		WITH_HSM(a_wrapped_secret_is_loaded_as_aes_or_as_hmac_and_never_as_both),
		WITH_HSM(what_does_not_fit_is_refused_before_any_call),
		WITH_HSM(what_the_device_lacks_is_named_and_refused_before_any_call),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
