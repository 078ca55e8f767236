/* tests/unit/hsm_verbs.c - every verb of the PKCS#11 provider against a fresh SoftHSM token: right results, right refusals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static int only_token(void **state)
{
	(void)state;
	t_rig_token(&RIG);
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_rig_down(&RIG);
	return 0;
}

static void all_features_are_found_by_use_and_nothing_is_left_of_the_search(void **state)
{
	struct hsm_info info;

	(void)state;
	hsm_info(RIG.hsm, &info);
	assert_int_equal(info.features, (1U << HSM_FEATURE_COUNT) - 1);
	assert_true(info.is_available);
	assert_int_equal(info.epoch, 1);
	assert_string_equal(info.label, "holdfast-test");
	assert_string_equal(info.model, "SoftHSM v2");
	assert_int_equal(info.sessions_open, 0);
	assert_int_equal(info.cached_keys, 0);
	assert_int_equal(t_objects(&RIG, true), 0);
	assert_int_equal(t_objects(&RIG, false), 0);
}

static void decrypts_all(const struct hsm_key *key, const struct hsm_public *pub)
{
	static const enum hsm_rsa_alg ALGS[] = { HSM_RSA_OAEP_SHA1, HSM_RSA_OAEP_SHA256, HSM_RSA_PKCS1_V15 };
	static const char PLAIN[] = "secret";

	for (size_t made = 0; made < KMS_ARRAY_LEN(ALGS); made++) {
		uint8_t cipher[HSM_RSA_MAX];

		t_rsa_encrypt(pub, ALGS[made], PLAIN, cipher);
		for (size_t used = 0; used < KMS_ARRAY_LEN(ALGS); used++) {
			struct secret *plain = NULL;

			if (made == used) {
				T_OK(&RIG, hsm_rsa_decrypt(RIG.hsm, key, ALGS[used], pub->n, pub->n_len, cipher, pub->n_len, &plain, &RIG.err));
				assert_int_equal(secret_len(plain), strlen(PLAIN));
				assert_memory_equal(secret_data(plain), PLAIN, strlen(PLAIN));
				secret_free(plain);
			} else if (ALGS[used] != HSM_RSA_PKCS1_V15) {
				/* The other way round proves nothing: one OAEP block in about 400 happens to be good v1.5 padding. */
				T_FAILS(&RIG, KMS_E_CRYPTO,
				        hsm_rsa_decrypt(RIG.hsm, key, ALGS[used], pub->n, pub->n_len, cipher, pub->n_len, &plain, &RIG.err));
				assert_null(plain);
			}
		}
	}
}

static void resident_rsa_decrypts_and_tells_its_public_half(void **state)
{
	struct hsm_public made, read;
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, &made);

	(void)state;
	assert_int_equal(made.n_len, 256);
	assert_int_equal(made.e_len, 3);
	T_OK(&RIG, hsm_key_public(RIG.hsm, &key, &read, &RIG.err));
	assert_memory_equal(&made, &read, sizeof(made));
	decrypts_all(&key, &made);
	assert_int_equal(t_objects(&RIG, true), 1); /* the private key holds the modulus too */
	assert_int_equal(t_objects(&RIG, false), 0);
}

static void wrapped_rsa_of_every_size_decrypts(void **state)
{
	static const unsigned SIZES[] = { 2048, 3072, 4096 };
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct hsm_info info;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SIZES); i++) {
		struct t_wrapped w;

		t_wrapped_make(&RIG, &root, SIZES[i], &w);
		assert_int_equal(t_objects(&RIG, false), i); /* those loaded before; nothing stays of the making */
		decrypts_all(&w.key, &w.public);
		assert_int_equal(t_objects(&RIG, false), i + 1);
	}
	hsm_info(RIG.hsm, &info);
	assert_int_equal(info.cached_keys, KMS_ARRAY_LEN(SIZES));
	assert_int_equal(t_objects(&RIG, true), 1);
}

static void wrapped_version_under_another_root_does_not_load(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct hsm_key other = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct t_wrapped w;

	(void)state;
	t_wrapped_make(&RIG, &root, 2048, &w);
	memcpy(w.key.root_id, other.id, HSM_ID_LEN);
	T_FAILS(&RIG, KMS_E_INTERNAL, t_rsa_round_trip(&RIG, &w.key, &w.public));
	memcpy(w.key.root_id, root.id, HSM_ID_LEN);
	w.blob[w.key.wrapped_len / 2] ^= 1;
	T_FAILS(&RIG, KMS_E_INTERNAL, t_rsa_round_trip(&RIG, &w.key, &w.public));
	w.blob[w.key.wrapped_len / 2] ^= 1;
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w.key, &w.public));
}

static void every_bad_ciphertext_gets_one_and_the_same_answer(void **state)
{
	struct hsm_public pub;
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, &pub);
	uint8_t cipher[HSM_RSA_MAX] = { 0 };
	struct secret *plain = NULL;
	struct kms_err first = { 0 };

	(void)state;
	for (int i = 0; i < 8; i++) {
		size_t len = pub.n_len;

		t_rsa_encrypt(&pub, HSM_RSA_OAEP_SHA1, "x", cipher);
		switch (i) {
		case 0: cipher[100] ^= 1; break;
		case 1: len--; break;
		case 2: len++; break;
		case 3: len = 0; break;
		case 4: memset(cipher, 0, sizeof(cipher)); break;
		case 5: memcpy(cipher, pub.n, pub.n_len); break; /* c = n */
		case 6: memset(cipher, 0xff, sizeof(cipher)); break;
		default: t_rsa_encrypt(&pub, HSM_RSA_OAEP_SHA256, "", cipher); break; /* of an empty plaintext */
		}
		T_FAILS(&RIG, KMS_E_CRYPTO,
		        hsm_rsa_decrypt(RIG.hsm, &key, HSM_RSA_OAEP_SHA1, pub.n, pub.n_len, cipher, len, &plain, &RIG.err));
		assert_null(plain);
		if (i == 0)
			first = RIG.err;
		assert_memory_equal(&first, &RIG.err, sizeof(first));
	}
}

static void an_empty_plaintext_comes_back_as_none_and_only_from_oaep(void **state)
{
	struct hsm_public pub;
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, &pub);
	uint8_t cipher[HSM_RSA_MAX];

	(void)state;
	for (enum hsm_rsa_alg alg = HSM_RSA_OAEP_SHA1; alg <= HSM_RSA_PKCS1_V15; alg++) {
		struct secret *plain = NULL;
		kms_status status;

		t_rsa_encrypt(&pub, alg, "", cipher);
		RIG.err = (struct kms_err){ 0 };
		status = hsm_rsa_decrypt(RIG.hsm, &key, alg, pub.n, pub.n_len, cipher, pub.n_len, &plain, &RIG.err);
		assert_int_equal(status, alg == HSM_RSA_PKCS1_V15 ? KMS_E_CRYPTO : KMS_OK);
		assert_null(plain);
	}
}

static void aes_wraps_and_unwraps_with_both_algorithms(void **state)
{
	static const unsigned SIZES[] = { 128, 192, 256 };
	static const size_t KW_LENS[] = { 16, 24, 32, 64, HSM_WRAP_MAX };

	(void)state;
	for (size_t s = 0; s < KMS_ARRAY_LEN(SIZES); s++) {
		struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, SIZES[s], NULL);
		uint8_t wrapped[HSM_WRAP_MAX + 8];
		size_t wrapped_len;

		for (size_t len = 1; len <= 41; len++) { /* row 1i: the token's own wrap fails for each that is no multiple of 8 */
			SECRET_AUTO *plain = secret_new(len);
			SECRET_AUTO *back = NULL;

			assert_true(random_bytes(secret_bytes(plain), len));
			T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &key, HSM_AES_KWP, plain, wrapped, sizeof(wrapped), &wrapped_len, &RIG.err));
			assert_int_equal(wrapped_len, (len + 7) / 8 * 8 + 8);
			T_OK(&RIG, hsm_aes_unwrap(RIG.hsm, &key, HSM_AES_KWP, wrapped, wrapped_len, &back, &RIG.err));
			assert_int_equal(secret_len(back), len);
			assert_memory_equal(secret_data(back), secret_data(plain), len);
		}
		for (size_t i = 0; i < KMS_ARRAY_LEN(KW_LENS); i++) {
			SECRET_AUTO *plain = secret_new(KW_LENS[i]);
			SECRET_AUTO *back = NULL;

			assert_true(random_bytes(secret_bytes(plain), KW_LENS[i]));
			T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &key, HSM_AES_KW, plain, wrapped, sizeof(wrapped), &wrapped_len, &RIG.err));
			T_OK(&RIG, hsm_aes_unwrap(RIG.hsm, &key, HSM_AES_KW, wrapped, wrapped_len, &back, &RIG.err));
			assert_int_equal(secret_len(back), KW_LENS[i]);
			assert_memory_equal(secret_data(back), secret_data(plain), KW_LENS[i]);
		}
	}
	assert_int_equal(t_objects(&RIG, false), 0);
}

static void flipping_any_bit_of_a_wrapped_value_is_refused_in_one_way(void **state)
{
	static const enum hsm_aes_alg ALGS[] = { HSM_AES_KW, HSM_AES_KWP };
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 256, NULL);
	struct kms_err first = { 0 };
	struct hsm_info info;

	(void)state;
	for (size_t a = 0; a < KMS_ARRAY_LEN(ALGS); a++) {
		SECRET_AUTO *plain = secret_from("0123456789abcdef", 16);
		SECRET_AUTO *back = NULL;
		uint8_t wrapped[24];
		size_t len;

		T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &key, ALGS[a], plain, wrapped, sizeof(wrapped), &len, &RIG.err));
		for (size_t bit = 0; bit < len * 8; bit++) {
			wrapped[bit / 8] ^= (uint8_t)(1 << bit % 8);
			T_FAILS(&RIG, KMS_E_CRYPTO, hsm_aes_unwrap(RIG.hsm, &key, ALGS[a], wrapped, len, &back, &RIG.err));
			assert_null(back);
			if (first.status == KMS_OK)
				first = RIG.err;
			assert_memory_equal(&first, &RIG.err, sizeof(first));
			wrapped[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t cut = 0; cut < len; cut++) {
			T_FAILS(&RIG, KMS_E_CRYPTO, hsm_aes_unwrap(RIG.hsm, &key, ALGS[a], wrapped, cut, &back, &RIG.err));
			assert_memory_equal(&first, &RIG.err, sizeof(first));
		}
		T_FAILS(&RIG, KMS_E_CRYPTO, hsm_aes_unwrap(RIG.hsm, &key, ALGS[1 - a], wrapped, len, &back, &RIG.err));
	}
	/* Row 1m: hundreds of general errors on a caller's bytes, and the device is not suspected. */
	assert_false(atomic_load(&RIG.p->token.gate.is_suspect));
	T_OK(&RIG, hsm_check(RIG.hsm, &RIG.err));
	hsm_info(RIG.hsm, &info);
	assert_int_equal(info.epoch, 1);
}

static void unwrap_makes_exactly_three_calls_and_no_search(void **state)
{
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 256, NULL);
	SECRET_AUTO *plain = secret_from("0123456789abcdef", 16);
	SECRET_AUTO *back = NULL;
	SECRET_AUTO *again = NULL;
	uint8_t wrapped[24];
	size_t len;

	(void)state;
	T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &key, HSM_AES_KW, plain, wrapped, sizeof(wrapped), &len, &RIG.err));
	t_calls_begin();
	T_OK(&RIG, hsm_aes_unwrap(RIG.hsm, &key, HSM_AES_KW, wrapped, len, &back, &RIG.err));
	assert_string_equal(t_calls_end(), "C_UnwrapKey C_GetAttributeValue C_DestroyObject");
	t_calls_begin();
	T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &key, HSM_AES_KW, plain, wrapped, sizeof(wrapped), &len, &RIG.err));
	assert_string_equal(t_calls_end(), "C_CreateObject C_WrapKey C_DestroyObject");
	t_calls_begin();
	T_OK(&RIG, hsm_aes_unwrap(RIG.hsm, &key, HSM_AES_KWP, (const uint8_t *)"", 0, &again, &RIG.err) == KMS_E_CRYPTO ? KMS_OK : KMS_E_INTERNAL);
	assert_string_equal(t_calls_end(), "");
}

static void root_wraps_its_canary_and_nothing_of_a_caller(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	SECRET_AUTO *canary = secret_new(32);
	SECRET_AUTO *back = NULL;
	uint8_t wrapped[64];
	struct t_wrapped w;
	size_t len;

	(void)state;
	T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &root, HSM_AES_KW, canary, wrapped, sizeof(wrapped), &len, &RIG.err));
	T_OK(&RIG, hsm_aes_unwrap(RIG.hsm, &root, HSM_AES_KW, wrapped, len, &back, &RIG.err));
	assert_memory_equal(secret_data(back), secret_data(canary), 32);
	T_FAILS(&RIG, KMS_E_INVALID, hsm_aes_wrap(RIG.hsm, &root, HSM_AES_KWP, canary, wrapped, sizeof(wrapped), &len, &RIG.err));
	T_FAILS(&RIG, KMS_E_INVALID, hsm_aes_unwrap(RIG.hsm, &root, HSM_AES_KWP, wrapped, len, &back, &RIG.err));
	/* A wrapped version is not a canary: its integrity block is another. */
	t_wrapped_make(&RIG, &root, 2048, &w);
	secret_free(back);
	back = NULL;
	T_FAILS(&RIG, KMS_E_CRYPTO, hsm_aes_unwrap(RIG.hsm, &root, HSM_AES_KW, w.blob, w.key.wrapped_len, &back, &RIG.err));
	assert_null(back);
}

static void signing_keys_sign_what_software_verifies(void **state)
{
	static const struct {
		enum hsm_purpose purpose;
		enum hsm_kind kind;
	} KEYS[] = { { HSM_FOR_LOG, HSM_KIND_ED25519 }, { HSM_FOR_LOG, HSM_KIND_P256 }, { HSM_FOR_TOKENS, HSM_KIND_P256 },
		     { HSM_FOR_ATTESTATION, HSM_KIND_P256 } };
	uint8_t digest[32], signature[HSM_SIGNATURE_MAX];

	(void)state;
	assert_true(random_bytes(digest, sizeof(digest)));
	for (size_t i = 0; i < KMS_ARRAY_LEN(KEYS); i++) {
		struct hsm_public made, read;
		struct hsm_key key = t_resident(&RIG, KEYS[i].purpose, KEYS[i].kind, 0, &made);
		EVP_PKEY *verifier = sigcheck_key(key.kind, &made);

		assert_int_equal(made.point_len, key.kind == HSM_KIND_P256 ? 65 : 32);
		T_OK(&RIG, hsm_key_public(RIG.hsm, &key, &read, &RIG.err));
		assert_memory_equal(&made, &read, sizeof(made));
		T_OK(&RIG, t_sign(RIG.hsm, &key, digest, sizeof(digest), signature, &RIG.err));
		assert_true(sigcheck_verify(verifier, key.kind, digest, sizeof(digest), signature));
		for (size_t bit = 0; bit < 64 * 8; bit += 37) {
			signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_false(sigcheck_verify(verifier, key.kind, digest, sizeof(digest), signature));
			signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		digest[5] ^= 1;
		assert_false(sigcheck_verify(verifier, key.kind, digest, sizeof(digest), signature));
		if (key.kind == HSM_KIND_ED25519)
			T_OK(&RIG, t_sign(RIG.hsm, &key, digest, 1, signature, &RIG.err));
		else
			T_FAILS(&RIG, KMS_E_INVALID, t_sign(RIG.hsm, &key, digest, 31, signature, &RIG.err));
		EVP_PKEY_free(verifier);
	}
}

static void hmac_depends_on_key_and_input_alone(void **state)
{
	struct hsm_key a = t_resident(&RIG, HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0, NULL);
	struct hsm_key b = t_resident(&RIG, HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0, NULL);
	uint8_t first[32], second[32];

	(void)state;
	T_OK(&RIG, t_mac(RIG.hsm, &a, (const uint8_t *)"subject", 7, first, &RIG.err));
	T_OK(&RIG, t_mac(RIG.hsm, &a, (const uint8_t *)"subject", 7, second, &RIG.err));
	assert_memory_equal(first, second, 32);
	T_OK(&RIG, t_mac(RIG.hsm, &a, (const uint8_t *)"subjecT", 7, second, &RIG.err));
	assert_memory_not_equal(first, second, 32);
	T_OK(&RIG, t_mac(RIG.hsm, &b, (const uint8_t *)"subject", 7, second, &RIG.err));
	assert_memory_not_equal(first, second, 32);
}

static void random_bytes_come_from_the_device(void **state)
{
	SECRET_AUTO *a = secret_new(32);
	SECRET_AUTO *b = secret_new(32);

	(void)state;
	t_calls_begin();
	T_OK(&RIG, hsm_random(RIG.hsm, a, &RIG.err));
	assert_string_equal(t_calls_end(), "C_OpenSession C_GenerateRandom");
	T_OK(&RIG, hsm_random(RIG.hsm, b, &RIG.err));
	assert_memory_not_equal(secret_data(a), secret_data(b), 32);
}

static void an_id_is_used_once(void **state)
{
	struct hsm_key key = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);

	(void)state;
	T_FAILS(&RIG, KMS_E_CONFLICT, hsm_key_generate(RIG.hsm, &key, NULL, &RIG.err));
	key.purpose = HSM_FOR_PSEUDONYMS;
	key.kind = HSM_KIND_HMAC;
	key.bits = 0;
	T_FAILS(&RIG, KMS_E_CONFLICT, hsm_key_generate(RIG.hsm, &key, NULL, &RIG.err));
	assert_int_equal(t_objects(&RIG, true), 1);
}

static void destroyed_keys_are_gone_for_this_process_and_for_a_fresh_one(void **state)
{
	struct hsm_key log_key = t_log_key(&RIG);
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct hsm_key other = t_resident(&RIG, HSM_FOR_TOKENS, HSM_KIND_P256, 0, NULL);
	uint8_t ids[2][HSM_ID_LEN];
	struct hsm_public pub;
	uint8_t nobody[HSM_ID_LEN] = { 9 };
	struct t_wrapped w;
	bool is_gone = true;

	(void)state;
	memcpy(ids[0], root.id, HSM_ID_LEN);
	memcpy(ids[1], other.id, HSM_ID_LEN);
	t_wrapped_make(&RIG, &root, 2048, &w);
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w.key, &w.public));
	T_OK(&RIG, hsm_keys_gone(RIG.hsm, ids, 2, log_key.id, &is_gone, &RIG.err));
	assert_false(is_gone);

	T_OK(&RIG, hsm_key_destroy(RIG.hsm, root.id, &RIG.err));
	assert_int_equal(t_objects(&RIG, false), 0); /* what was loaded under it went with it */
	T_FAILS(&RIG, KMS_E_NOTFOUND, t_rsa_round_trip(&RIG, &w.key, &w.public));
	T_OK(&RIG, hsm_keys_gone(RIG.hsm, ids, 2, log_key.id, &is_gone, &RIG.err));
	assert_false(is_gone); /* one of the two is there */
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, other.id, &RIG.err));
	T_FAILS(&RIG, KMS_E_NOTFOUND, hsm_key_public(RIG.hsm, &other, &pub, &RIG.err));
	T_OK(&RIG, hsm_keys_gone(RIG.hsm, ids, 2, log_key.id, &is_gone, &RIG.err));
	assert_true(is_gone);
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, other.id, &RIG.err)); /* absence is success */
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_keys_gone(RIG.hsm, ids, 2, nobody, &is_gone, &RIG.err));
	assert_int_equal(t_objects(&RIG, true), 2); /* the log key's pair */
}

static void look_helper_that_fails_proves_nothing(void **state)
{
	static const char *const FAILS[] = { "/bin/false", NULL };
	static const char *const SILENT[] = { "/bin/true", NULL };
	static const char *const ECHOES[] = { "/bin/cat", NULL };
	static const char *const MISSING[] = { "/nonexistent/helper", NULL };
	const char *const *const helpers[] = { FAILS, SILENT, ECHOES };
	uint8_t ids[1][HSM_ID_LEN] = { { 1 } };
	const char *const *own = RIG.p->cfg.look_argv;
	bool is_gone = false;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(helpers); i++) {
		RIG.p->cfg.look_argv = helpers[i];
		T_FAILS(&RIG, KMS_E_DEVICE, hsm_keys_gone(RIG.hsm, ids, 1, ids[0], &is_gone, &RIG.err));
	}
	RIG.p->cfg.look_argv = MISSING;
	T_FAILS(&RIG, KMS_E_INTERNAL, hsm_keys_gone(RIG.hsm, ids, 1, ids[0], &is_gone, &RIG.err));
	RIG.p->cfg.look_argv = NULL;
	T_FAILS(&RIG, KMS_E_UNSUPPORTED, hsm_keys_gone(RIG.hsm, ids, 1, ids[0], &is_gone, &RIG.err));
	RIG.p->cfg.look_argv = own;
	assert_false(is_gone);
}

struct seen {
	unsigned count[HSM_FOR_BACKUP + 1], foreign;
	unsigned stop_after;
};

static bool see(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours)
{
	struct seen *s = arg;

	(void)id;
	if (is_ours)
		s->count[purpose]++;
	else
		s->foreign++;
	return s->stop_after == 0 || --s->stop_after > 0;
}

static void list_names_private_and_secret_objects_and_flags_foreign_ones(void **state)
{
	CK_FUNCTION_LIST *f = RIG.p->token.gate.functions;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_GENERIC_SECRET;
	CK_BBOOL yes = CK_TRUE;
	uint8_t value[16] = { 1 };
	char label[] = "somebody else's";
	CK_ATTRIBUTE foreign[] = { { CKA_CLASS, &class, sizeof(class) }, { CKA_KEY_TYPE, &type, sizeof(type) },
		                   { CKA_TOKEN, &yes, sizeof(yes) },     { CKA_LABEL, label, sizeof(label) - 1 },
		                   { CKA_VALUE, value, sizeof(value) } };
	CK_OBJECT_HANDLE object;
	struct seen s = { 0 };

	(void)state;
	(void)t_log_key(&RIG);
	(void)t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	(void)t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	(void)t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 128, NULL);
	assert_int_equal(f->C_CreateObject(RIG.p->token.home, foreign, KMS_ARRAY_LEN(foreign), &object), CKR_OK);
	T_OK(&RIG, hsm_keys_list(RIG.hsm, see, &s, &RIG.err));
	assert_int_equal(s.count[HSM_FOR_LOG], 1);
	assert_int_equal(s.count[HSM_FOR_ROOT], 2);
	assert_int_equal(s.count[HSM_FOR_CALLER], 1);
	assert_int_equal(s.foreign, 1);
	memset(&s, 0, sizeof(s));
	s.stop_after = 1;
	T_OK(&RIG, hsm_keys_list(RIG.hsm, see, &s, &RIG.err));
	assert_int_equal(s.count[HSM_FOR_LOG] + s.count[HSM_FOR_ROOT] + s.count[HSM_FOR_CALLER] + s.foreign, 1);
}

static void arguments_are_checked_before_any_call(void **state)
{
	struct hsm_key good = rig_key(HSM_FOR_CALLER, HSM_KIND_RSA, 2048);
	struct hsm_key aes = rig_key(HSM_FOR_CALLER, HSM_KIND_AES, 256);
	const uint8_t zeros[HSM_ID_LEN] = { 0 };
	uint8_t n[256] = { 0x80 }, out[HSM_BLOB_MAX];
	SECRET_AUTO *plain = secret_new(HSM_WRAP_MAX + 1);
	SECRET_AUTO *odd = secret_new(17);
	SECRET_AUTO *eight = secret_new(8);
	struct secret *back = NULL;
	struct hsm_public pub;
	struct hsm_key bad;
	size_t len;
	bool is_gone;

	(void)state;
	t_calls_begin();
#define BAD(change, call)   \
	bad = good;         \
	change;             \
	T_FAILS(&RIG, KMS_E_INVALID, call)
	BAD(memset(bad.id, 0, HSM_ID_LEN), hsm_key_generate(RIG.hsm, &bad, NULL, &RIG.err));
	BAD(bad.bits = 1024, hsm_key_generate(RIG.hsm, &bad, NULL, &RIG.err));
	BAD(bad.bits = 0, hsm_key_generate(RIG.hsm, &bad, NULL, &RIG.err));
	BAD(bad.purpose = HSM_FOR_LOG, hsm_key_generate(RIG.hsm, &bad, NULL, &RIG.err));
	BAD(bad.purpose = HSM_FOR_ROOT, hsm_key_generate(RIG.hsm, &bad, NULL, &RIG.err));
	BAD(bad.wrapped = out, hsm_key_generate(RIG.hsm, &bad, NULL, &RIG.err));
	BAD(bad.kind = HSM_KIND_AES, hsm_key_generate(RIG.hsm, &bad, NULL, &RIG.err));
	BAD((void)0, hsm_key_generate_wrapped(RIG.hsm, &bad, &pub, out, &len, &RIG.err)); /* no root */
	BAD(bad.usage = HSM_USE_SIGN, hsm_rsa_decrypt(RIG.hsm, &bad, HSM_RSA_OAEP_SHA1, n, 256, n, 256, &back, &RIG.err));
	BAD(bad.bits = 3072, hsm_rsa_decrypt(RIG.hsm, &bad, HSM_RSA_OAEP_SHA1, n, 256, n, 256, &back, &RIG.err));
	BAD(n[0] = 0x7f, hsm_rsa_decrypt(RIG.hsm, &bad, HSM_RSA_OAEP_SHA1, n, 256, n, 256, &back, &RIG.err));
	BAD(bad.wrapped_len = HSM_BLOB_MAX + 1; bad.wrapped = out, hsm_rsa_decrypt(RIG.hsm, &bad, HSM_RSA_OAEP_SHA1, n, 256, n, 256, &back, &RIG.err));
	BAD((void)0, t_sign(RIG.hsm, &bad, n, 32, out, &RIG.err));
	BAD((void)0, t_mac(RIG.hsm, &bad, n, 32, out, &RIG.err));
	BAD((void)0, hsm_aes_unwrap(RIG.hsm, &bad, HSM_AES_KW, n, 32, &back, &RIG.err));
	BAD((void)0, hsm_key_public(RIG.hsm, &aes, &pub, &RIG.err));
	BAD((void)0, hsm_aes_wrap(RIG.hsm, &aes, HSM_AES_KWP, plain, out, sizeof(out), &len, &RIG.err));
	BAD((void)0, hsm_aes_wrap(RIG.hsm, &aes, HSM_AES_KW, odd, out, sizeof(out), &len, &RIG.err));
	BAD((void)0, hsm_aes_wrap(RIG.hsm, &aes, HSM_AES_KW, eight, out, sizeof(out), &len, &RIG.err));
	BAD((void)0, hsm_aes_wrap(RIG.hsm, &aes, HSM_AES_KWP, odd, out, 31, &len, &RIG.err));
	BAD((void)0, hsm_key_destroy(RIG.hsm, zeros, &RIG.err));
	BAD((void)0, hsm_key_evict(RIG.hsm, zeros, 0, &RIG.err));
	BAD((void)0, hsm_keys_gone(RIG.hsm, &good.id, 0, good.id, &is_gone, &RIG.err));
	BAD((void)0, hsm_keys_gone(RIG.hsm, &good.id, 1, zeros, &is_gone, &RIG.err));
#undef BAD
	assert_string_equal(t_calls_end(), "");
	assert_null(back);
}

static void missing_keys_are_not_found(void **state)
{
	struct hsm_key sign = rig_key(HSM_FOR_TOKENS, HSM_KIND_P256, 0);
	uint8_t digest[32] = { 0 }, signature[HSM_SIGNATURE_MAX];

	(void)state;
	(void)t_log_key(&RIG);
	T_FAILS(&RIG, KMS_E_NOTFOUND, t_sign(RIG.hsm, &sign, digest, sizeof(digest), signature, &RIG.err));
	assert_false(atomic_load(&RIG.p->token.gate.is_suspect));
}

/* ---- opening ---- */

static kms_status open_it(void)
{
	RIG.hsm = NULL;
	return hsm_open_pkcs11(&RIG.token.cfg, &RIG.hsm, &RIG.err);
}

static unsigned count_of(const char *calls, const char *name)
{
	unsigned n = 0;

	for (const char *at = calls; (at = strstr(at, name)) != NULL; at += strlen(name))
		n++;
	return n;
}

static void write_pin(const char *text)
{
	FILE *f = fopen(RIG.token.pin_file, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void a_pin_file_open_to_others_is_refused_before_login(void **state)
{
	static const mode_t MODES[] = { 0640, 0604, 0620, 0602, 0610, 0601, 0644 };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(MODES); i++) {
		assert_int_equal(chmod(RIG.token.pin_file, MODES[i]), 0);
		t_calls_begin();
		T_FAILS(&RIG, KMS_E_INVALID, open_it());
		assert_int_equal(count_of(t_calls_end(), "C_Login"), 0);
		assert_non_null(strstr(RIG.err.message, "chmod 600"));
		assert_int_equal(secret_live(), 0);
	}
	assert_int_equal(chmod(RIG.token.pin_file, 0400), 0);
	T_OK(&RIG, open_it());
}

static void a_refused_pin_is_tried_once(void **state)
{
	(void)state;
	write_pin("wrong-pin\n");
	t_calls_begin();
	T_FAILS(&RIG, KMS_E_INVALID, open_it());
	assert_int_equal(count_of(t_calls_end(), "C_Login"), 1);
	assert_non_null(strstr(RIG.err.message, "CKR_PIN_INCORRECT"));
	assert_null(strstr(RIG.err.message, "wrong-pin"));
	assert_null(strstr(RIG.err.detail, "wrong-pin"));
	assert_int_equal(secret_live(), 0);
	write_pin(T_TOKEN_PIN);
	T_OK(&RIG, open_it());
}

static void a_pin_changed_under_us_is_tried_once_more_and_never_again(void **state)
{
	struct hsm_info info;

	(void)state;
	T_OK(&RIG, open_it());
	RIG.p = p11_of(RIG.hsm);
	write_pin("wrong-pin\n");
	atomic_store(&RIG.p->token.gate.is_suspect, true);
	t_fail_named("C_GetTokenInfo", CKR_TOKEN_NOT_PRESENT); /* the probe fails; the slot is not found either */
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_check(RIG.hsm, &RIG.err));
	t_fail_named(NULL, CKR_OK);
	t_calls_begin();
	for (int i = 0; i < 4; i++)
		T_FAILS(&RIG, KMS_E_DEVICE, hsm_check(RIG.hsm, &RIG.err));
	assert_int_equal(count_of(t_calls_end(), "C_Login"), 1);
	hsm_info(RIG.hsm, &info);
	assert_false(info.is_available);
}

static void a_pin_can_be_a_credential(void **state)
{
	(void)state;
	RIG.token.cfg.pin_file = "credential:pin";
	assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
	T_FAILS(&RIG, KMS_E_INVALID, open_it());
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", RIG.token.dir, 1), 0);
	T_OK(&RIG, open_it());
	hsm_close(RIG.hsm);
	RIG.hsm = NULL;
	RIG.token.cfg.pin_file = "credential:../pin";
	T_FAILS(&RIG, KMS_E_INVALID, open_it());
	RIG.token.cfg.pin_file = "credential:none";
	T_FAILS(&RIG, KMS_E_INVALID, open_it());
	assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

static void bad_configurations_are_refused_with_what_to_do(void **state)
{
	static const struct {
		const char *uri;
		kms_status status;
	} URIS[] = {
		{ "not a uri", KMS_E_INVALID },
		{ "pkcs11:token=holdfast-test;colour=red", KMS_E_INVALID },
		{ "pkcs11:token=holdfast-test?pin-value=1234", KMS_E_INVALID },
		{ "pkcs11:token=another", KMS_E_DEVICE },
	};
	const struct p11_config good = RIG.token.cfg;
	char uri[T_TOKEN_PATH + 64];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(URIS); i++) {
		RIG.token.cfg.uri = URIS[i].uri;
		T_FAILS(&RIG, URIS[i].status, open_it());
	}
	RIG.token.cfg = good;
	RIG.token.cfg.module = "/nonexistent/module.so";
	T_FAILS(&RIG, KMS_E_INVALID, open_it());
	RIG.token.cfg.module = "relative.so";
	T_FAILS(&RIG, KMS_E_INVALID, open_it());
	RIG.token.cfg = good;
	RIG.token.cfg.sessions = 65;
	T_FAILS(&RIG, KMS_E_INVALID, open_it());
	RIG.token.cfg = good;
	RIG.token.cfg.pin_file = NULL;
	T_FAILS(&RIG, KMS_E_INVALID, open_it());
	(void)snprintf(uri, sizeof(uri), "pkcs11:token=holdfast-test?pin-source=file:%s", RIG.token.pin_file);
	RIG.token.cfg.uri = uri;
	T_OK(&RIG, open_it());
}

static void a_second_owner_of_the_module_is_refused_and_does_no_harm(void **state)
{
	struct hsm *second = NULL;
	struct hsm_key key;

	(void)state;
	T_OK(&RIG, open_it());
	RIG.p = p11_of(RIG.hsm);
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_open_pkcs11(&RIG.token.cfg, &second, &RIG.err));
	key = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, key.id, &RIG.err));
}

#define WITH_HSM(test) cmocka_unit_test_setup_teardown(test, up, down)
#define WITH_TOKEN(test) cmocka_unit_test_setup_teardown(test, only_token, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_HSM(all_features_are_found_by_use_and_nothing_is_left_of_the_search),
		WITH_HSM(resident_rsa_decrypts_and_tells_its_public_half),
		WITH_HSM(wrapped_rsa_of_every_size_decrypts),
		WITH_HSM(wrapped_version_under_another_root_does_not_load),
		WITH_HSM(every_bad_ciphertext_gets_one_and_the_same_answer),
		WITH_HSM(an_empty_plaintext_comes_back_as_none_and_only_from_oaep),
		WITH_HSM(aes_wraps_and_unwraps_with_both_algorithms),
		WITH_HSM(flipping_any_bit_of_a_wrapped_value_is_refused_in_one_way),
		WITH_HSM(unwrap_makes_exactly_three_calls_and_no_search),
		WITH_HSM(root_wraps_its_canary_and_nothing_of_a_caller),
		WITH_HSM(signing_keys_sign_what_software_verifies),
		WITH_HSM(hmac_depends_on_key_and_input_alone),
		WITH_HSM(random_bytes_come_from_the_device),
		WITH_HSM(an_id_is_used_once),
		WITH_HSM(destroyed_keys_are_gone_for_this_process_and_for_a_fresh_one),
		WITH_HSM(look_helper_that_fails_proves_nothing),
		WITH_HSM(list_names_private_and_secret_objects_and_flags_foreign_ones),
		WITH_HSM(arguments_are_checked_before_any_call),
		WITH_HSM(missing_keys_are_not_found),
		WITH_TOKEN(a_pin_file_open_to_others_is_refused_before_login),
		WITH_TOKEN(a_refused_pin_is_tried_once),
		WITH_TOKEN(a_pin_changed_under_us_is_tried_once_more_and_never_again),
		WITH_TOKEN(a_pin_can_be_a_credential),
		WITH_TOKEN(bad_configurations_are_refused_with_what_to_do),
		WITH_TOKEN(a_second_owner_of_the_module_is_refused_and_does_no_harm),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
