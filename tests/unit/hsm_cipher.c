/* tests/unit/hsm_cipher.c - AES-GCM and AES-CBC through the verbs: what one side seals the other opens, nobody chooses a nonce, every bad input
 * gets one answer, and nothing of a refused plaintext comes out. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "tests/support/hsm_material.h"

#define AES_BLOCK 16

static struct t_rig RIG;
static struct t_material MATERIAL;

static int up(void **state)
{
	(void)state;
	t_rig_up(&RIG);
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_material_clear(&MATERIAL);
	t_rig_down(&RIG);
	return 0;
}

static struct hsm_key cipher_key(unsigned bits)
{
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, bits, NULL);

	key.usage = HSM_USE_ENCRYPT | HSM_USE_DECRYPT;
	return key;
}

static void round_trips(const struct hsm_key *key, enum hsm_cipher cipher, size_t aad_len)
{
	uint8_t plain[100], aad[40], sealed[128], back[128], iv[HSM_IV_LEN], tag[HSM_GCM_TAG_LEN];

	assert_true(random_bytes(plain, sizeof(plain)) && random_bytes(aad, sizeof(aad)));
	for (size_t len = 1; len <= sizeof(plain); len++) {
		const size_t want = cipher == HSM_CIPHER_CBC_PAD ? (len / AES_BLOCK + 1) * AES_BLOCK : len;
		size_t sealed_len = 0, back_len = 0;

		if (cipher == HSM_CIPHER_CBC && len % AES_BLOCK != 0)
			continue;
		assert_true(random_bytes(iv, sizeof(iv)));
		T_OK(&RIG, hsm_encrypt(RIG.hsm, key, cipher, iv, aad, aad_len, plain, len, sealed, want, &sealed_len, tag, &RIG.err));
		assert_int_equal(sealed_len, want);
		T_OK(&RIG, hsm_decrypt(RIG.hsm, key, cipher, iv, aad, aad_len, sealed, sealed_len, tag, back, sealed_len, &back_len, &RIG.err));
		assert_int_equal(back_len, len);
		assert_memory_equal(back, plain, len);
	}
}

static void every_cipher_and_size_round_trips_in_both_forms(void **state)
{
	static const unsigned SIZES[] = { 128, 192, 256 };
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);

	(void)state;
	for (size_t s = 0; s < KMS_ARRAY_LEN(SIZES); s++) {
		struct hsm_key keys[2] = { cipher_key(SIZES[s]) };
		struct t_wrapped w;

		t_wrapped_of(&RIG, &root, HSM_KIND_AES, SIZES[s], &w);
		assert_int_equal(w.key.wrapped_len, SIZES[s] / 8 + 8);
		w.key.usage = HSM_USE_ENCRYPT | HSM_USE_DECRYPT;
		keys[1] = w.key;
		for (size_t k = 0; k < KMS_ARRAY_LEN(keys); k++) {
			round_trips(&keys[k], HSM_CIPHER_GCM, 0);
			round_trips(&keys[k], HSM_CIPHER_GCM, 40);
			round_trips(&keys[k], HSM_CIPHER_CBC, 0);
			round_trips(&keys[k], HSM_CIPHER_CBC_PAD, 0);
		}
	}
}

static void the_device_chooses_every_gcm_nonce(void **state)
{
	struct hsm_key key = cipher_key(256);
	uint8_t nonces[64][HSM_IV_LEN] = { 0 }, plain[1] = { 0 }, sealed[1], tag[HSM_GCM_TAG_LEN];
	size_t len;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(nonces); i++) { /* all zero when given, none twice when written */
		T_OK(&RIG, hsm_encrypt(RIG.hsm, &key, HSM_CIPHER_GCM, nonces[i], NULL, 0, plain, 1, sealed, 1, &len, tag, &RIG.err));
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(nonces[i], nonces[j], HSM_GCM_NONCE_LEN);
	}
	t_calls_begin();
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &key, HSM_CIPHER_GCM, nonces[0], NULL, 0, plain, 1, sealed, 1, &len, tag, &RIG.err));
	assert_string_equal(t_calls_end(), "C_GenerateRandom C_EncryptInit C_Encrypt");
	t_calls_begin();
	T_OK(&RIG, hsm_decrypt(RIG.hsm, &key, HSM_CIPHER_GCM, nonces[0], NULL, 0, sealed, 1, tag, plain, 1, &len, &RIG.err));
	assert_string_equal(t_calls_end(), "C_DecryptInit C_Decrypt");
}

static void refused(const struct hsm_key *key, enum hsm_cipher cipher, const uint8_t *iv, const uint8_t *aad, size_t aad_len,
                    const uint8_t *sealed, size_t len, const uint8_t *tag, struct kms_err *first)
{
	uint8_t back[256] = { 0 }, zeros[256] = { 0 };
	size_t back_len = 77;

	T_FAILS(&RIG, KMS_E_CRYPTO, hsm_decrypt(RIG.hsm, key, cipher, iv, aad, aad_len, sealed, len, tag, back, sizeof(back), &back_len, &RIG.err));
	assert_int_equal(back_len, 77);
	assert_memory_equal(back, zeros, sizeof(back));
	if (first->status == KMS_OK)
		*first = RIG.err;
	assert_memory_equal(first, &RIG.err, sizeof(RIG.err));
}

static void flipping_any_bit_of_a_gcm_message_is_refused_in_one_way(void **state)
{
	struct hsm_key key = cipher_key(256);
	uint8_t plain[20] = "nineteen letters ..", aad[5] = "aad!", sealed[20], tag[HSM_GCM_TAG_LEN], iv[HSM_IV_LEN];
	const struct {
		uint8_t *bytes;
		size_t len;
	} PARTS[] = { { sealed, 20 }, { tag, HSM_GCM_TAG_LEN }, { iv, HSM_GCM_NONCE_LEN }, { aad, 5 } };
	struct kms_err first = { 0 };
	struct hsm_info info;
	size_t len;

	(void)state;
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &key, HSM_CIPHER_GCM, iv, aad, 5, plain, 20, sealed, 20, &len, tag, &RIG.err));
	for (size_t p = 0; p < KMS_ARRAY_LEN(PARTS); p++) {
		for (size_t bit = 0; bit < PARTS[p].len * 8; bit++) {
			PARTS[p].bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			refused(&key, HSM_CIPHER_GCM, iv, aad, 5, sealed, len, tag, &first);
			PARTS[p].bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
	for (size_t cut = 0; cut < len; cut++)
		refused(&key, HSM_CIPHER_GCM, iv, aad, 5, sealed, cut, tag, &first);
	refused(&key, HSM_CIPHER_GCM, iv, aad, 4, sealed, len, tag, &first);
	refused(&key, HSM_CIPHER_GCM, iv, NULL, 0, sealed, len, tag, &first);
	/* Row 1m: hundreds of general errors on a caller's bytes, and the device is not suspected. */
	assert_false(atomic_load(&RIG.p->token.gate.is_suspect));
	hsm_info(RIG.hsm, &info);
	assert_int_equal(info.epoch, 1);
}

static void bad_padding_and_bad_lengths_are_refused_in_one_way(void **state)
{
	struct hsm_key key = cipher_key(128);
	uint8_t plain[32] = { 0 }, sealed[48], iv[HSM_IV_LEN] = { 0 };
	struct kms_err first = { 0 };
	size_t len;

	(void)state;
	/* Blocks of zeros decrypted as padded: the last byte is 0, or more than a block. */
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &key, HSM_CIPHER_CBC, iv, NULL, 0, plain, 32, sealed, 32, &len, NULL, &RIG.err));
	refused(&key, HSM_CIPHER_CBC_PAD, iv, NULL, 0, sealed, 32, NULL, &first);
	plain[31] = 17;
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &key, HSM_CIPHER_CBC, iv, NULL, 0, plain, 32, sealed, 32, &len, NULL, &RIG.err));
	refused(&key, HSM_CIPHER_CBC_PAD, iv, NULL, 0, sealed, 32, NULL, &first);
	plain[31] = 2;
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &key, HSM_CIPHER_CBC, iv, NULL, 0, plain, 32, sealed, 32, &len, NULL, &RIG.err));
	refused(&key, HSM_CIPHER_CBC_PAD, iv, NULL, 0, sealed, 32, NULL, &first);
	for (size_t cut = 0; cut < 32; cut++) {
		if (cut % AES_BLOCK == 0 && cut != 0)
			continue;
		refused(&key, HSM_CIPHER_CBC_PAD, iv, NULL, 0, sealed, cut, NULL, &first);
		refused(&key, HSM_CIPHER_CBC, iv, NULL, 0, sealed, cut, NULL, &first);
	}
}

static void a_refusal_costs_the_session_and_no_other(void **state)
{
	struct hsm_key key = cipher_key(128);
	uint8_t sealed[32] = { 0 }, back[32], iv[HSM_IV_LEN] = { 0 }, tag[HSM_GCM_TAG_LEN] = { 0 };
	size_t len;

	(void)state;
	round_trips(&key, HSM_CIPHER_CBC, 0);
	t_calls_begin();
	T_FAILS(&RIG, KMS_E_CRYPTO, hsm_decrypt(RIG.hsm, &key, HSM_CIPHER_GCM, iv, NULL, 0, sealed, 32, tag, back, 32, &len, &RIG.err));
	assert_string_equal(t_calls_end(), "C_DecryptInit C_Decrypt C_CloseSession"); /* row 1e */
	round_trips(&key, HSM_CIPHER_GCM, 3);
}

static void empty_plaintexts_are_decrypted_and_never_made(void **state)
{
	struct hsm_key key = rig_key(HSM_FOR_CALLER, HSM_KIND_AES, 256);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t iv[HSM_IV_LEN] = { 7 }, tag[HSM_GCM_TAG_LEN], sealed[32], back[32];
	size_t len = 1;
	int out = 0, rest = 0;

	(void)state;
	t_material_make(&MATERIAL, HSM_KIND_AES, 256);
	T_OK(&RIG, hsm_key_import(RIG.hsm, &key, &MATERIAL.m, NULL, NULL, &RIG.err));
	key.usage = HSM_USE_ENCRYPT | HSM_USE_DECRYPT;
	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, secret_data(MATERIAL.m.secret), iv), 1);
	assert_int_equal(EVP_EncryptFinal_ex(ctx, sealed, &out), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, HSM_GCM_TAG_LEN, tag), 1);
	T_OK(&RIG, hsm_decrypt(RIG.hsm, &key, HSM_CIPHER_GCM, iv, NULL, 0, NULL, 0, tag, NULL, 0, &len, &RIG.err));
	assert_int_equal(len, 0);
	len = 1;
	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, secret_data(MATERIAL.m.secret), iv), 1);
	assert_int_equal(EVP_EncryptFinal_ex(ctx, sealed, &rest), 1);
	assert_int_equal(rest, AES_BLOCK);
	T_OK(&RIG, hsm_decrypt(RIG.hsm, &key, HSM_CIPHER_CBC_PAD, iv, NULL, 0, sealed, AES_BLOCK, NULL, back, AES_BLOCK, &len, &RIG.err));
	assert_int_equal(len, 0);
	EVP_CIPHER_CTX_free(ctx);
	T_FAILS(&RIG, KMS_E_INVALID, hsm_encrypt(RIG.hsm, &key, HSM_CIPHER_GCM, iv, NULL, 0, back, 0, sealed, 32, &len, tag, &RIG.err));
}

static void a_backup_of_two_mebibytes_is_sealed_and_one_byte_more_is_not(void **state)
{
	struct hsm_key key = t_resident(&RIG, HSM_FOR_BACKUP, HSM_KIND_AES, 256, NULL);
	uint8_t *plain = calloc(1, HSM_DATA_MAX + 1), *sealed = calloc(1, HSM_DATA_MAX + 1), *back = calloc(1, HSM_DATA_MAX + 32);
	uint8_t iv[HSM_IV_LEN], tag[HSM_GCM_TAG_LEN], aad[100] = "deployment, vault";
	size_t len = 0, back_len = 0;

	(void)state;
	assert_true(plain != NULL && sealed != NULL && back != NULL);
	assert_true(random_bytes(plain, HSM_DATA_MAX));
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &key, HSM_CIPHER_GCM, iv, aad, sizeof(aad), plain, HSM_DATA_MAX, sealed, HSM_DATA_MAX, &len, tag, &RIG.err));
	T_OK(&RIG, hsm_decrypt(RIG.hsm, &key, HSM_CIPHER_GCM, iv, aad, sizeof(aad), sealed, len, tag, back, HSM_DATA_MAX, &back_len, &RIG.err));
	assert_int_equal(back_len, HSM_DATA_MAX);
	assert_memory_equal(plain, back, HSM_DATA_MAX);
	T_FAILS(&RIG, KMS_E_INVALID, hsm_encrypt(RIG.hsm, &key, HSM_CIPHER_GCM, iv, aad, sizeof(aad), plain, HSM_DATA_MAX + 1, sealed,
	                                         HSM_DATA_MAX + 1, &len, tag, &RIG.err));
	T_FAILS(&RIG, KMS_E_CRYPTO, hsm_decrypt(RIG.hsm, &key, HSM_CIPHER_GCM, iv, aad, sizeof(aad), back, HSM_DATA_MAX + 17, tag, back,
	                                        HSM_DATA_MAX + 32, &back_len, &RIG.err));
	free(plain);
	free(sealed);
	free(back);
}

static void what_does_not_fit_is_refused_before_any_call(void **state)
{
	struct hsm_key key = rig_key(HSM_FOR_CALLER, HSM_KIND_AES, 256), backup = rig_key(HSM_FOR_BACKUP, HSM_KIND_AES, 256);
	struct hsm_key root = rig_key(HSM_FOR_ROOT, HSM_KIND_AES, 256), rsa = rig_key(HSM_FOR_CALLER, HSM_KIND_RSA, 2048);
	uint8_t in[64] = { 0 }, out[64], iv[HSM_IV_LEN] = { 0 }, tag[HSM_GCM_TAG_LEN];
	size_t len;

	(void)state;
	t_calls_begin();
#define BAD(k, use, cipher, in_len, cap)                                                                                              \
	(k).usage = (use);                                                                                                            \
	T_FAILS(&RIG, KMS_E_INVALID, hsm_encrypt(RIG.hsm, &(k), cipher, iv, NULL, 0, in, in_len, out, cap, &len, tag, &RIG.err))
	BAD(key, HSM_USE_DECRYPT | HSM_USE_WRAP | HSM_USE_SIGN, HSM_CIPHER_GCM, 1, 64);
	BAD(key, HSM_USE_ENCRYPT, HSM_CIPHER_CBC, 17, 64);
	BAD(key, HSM_USE_ENCRYPT, HSM_CIPHER_CBC, 0, 64);
	BAD(key, HSM_USE_ENCRYPT, HSM_CIPHER_CBC, 32, 31);
	BAD(key, HSM_USE_ENCRYPT, HSM_CIPHER_CBC_PAD, 32, 47);
	BAD(key, HSM_USE_ENCRYPT, HSM_CIPHER_GCM, 32, 31);
	BAD(key, HSM_USE_ENCRYPT, (enum hsm_cipher)9, 16, 64);
	BAD(backup, HSM_USE_ENCRYPT, HSM_CIPHER_CBC, 16, 64);
	BAD(root, HSM_USE_ENCRYPT, HSM_CIPHER_GCM, 16, 64);
	BAD(rsa, HSM_USE_ENCRYPT, HSM_CIPHER_GCM, 16, 64);
#undef BAD
	key.usage = HSM_USE_ENCRYPT | HSM_USE_WRAP | HSM_USE_SIGN;
	T_FAILS(&RIG, KMS_E_INVALID, hsm_decrypt(RIG.hsm, &key, HSM_CIPHER_GCM, iv, NULL, 0, in, 16, tag, out, 64, &len, &RIG.err));
	key.usage = HSM_USE_DECRYPT;
	T_FAILS(&RIG, KMS_E_INVALID, hsm_decrypt(RIG.hsm, &key, HSM_CIPHER_GCM, iv, NULL, 0, in, 16, tag, out, 15, &len, &RIG.err));
	T_FAILS(&RIG, KMS_E_INVALID, hsm_decrypt(RIG.hsm, &root, HSM_CIPHER_GCM, iv, NULL, 0, in, 16, tag, out, 64, &len, &RIG.err));
	assert_string_equal(t_calls_end(), "");
}

#define WITH_HSM(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_HSM(every_cipher_and_size_round_trips_in_both_forms),
		WITH_HSM(the_device_chooses_every_gcm_nonce),
		WITH_HSM(flipping_any_bit_of_a_gcm_message_is_refused_in_one_way),
		WITH_HSM(bad_padding_and_bad_lengths_are_refused_in_one_way),
		WITH_HSM(a_refusal_costs_the_session_and_no_other),
		WITH_HSM(empty_plaintexts_are_decrypted_and_never_made),
		WITH_HSM(a_backup_of_two_mebibytes_is_sealed_and_one_byte_more_is_not),
		WITH_HSM(what_does_not_fit_is_refused_before_any_call),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
