/* tests/unit/hsm_import.c - keys from outside: handed over in clear or wrapped for an exchange key, they do what software does with them; what is
 * wrong leaves nothing behind; and what the device says of them is told as it is. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "hsm/pkcs11/sigcheck.h"
#include "server/base/encode.h"
#include "tests/support/hsm_material.h"

static struct t_rig RIG;
static struct t_material MATERIAL; /* of the present case, so that a failed test leaks none */

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

static const struct shape {
	enum hsm_kind kind;
	unsigned bits;
} SHAPES[] = {
	{ HSM_KIND_RSA, 2048 }, { HSM_KIND_RSA, 3072 }, { HSM_KIND_P256, 0 },  { HSM_KIND_P384, 0 },   { HSM_KIND_P521, 0 },   { HSM_KIND_P256K, 0 },
	{ HSM_KIND_AES, 128 },  { HSM_KIND_AES, 192 },  { HSM_KIND_AES, 256 }, { HSM_KIND_HMAC, 256 }, { HSM_KIND_HMAC, 384 }, { HSM_KIND_HMAC, 512 },
};

static bool is_pair(enum hsm_kind kind) { return kind != HSM_KIND_AES && kind != HSM_KIND_HMAC; }

/* One block of CBC with a zero IV, in the device and in software. */
static void sees_the_same_aes(struct hsm_key *key, const struct secret *secret)
{
	const EVP_CIPHER *cipher = key->bits == 128 ? EVP_aes_128_cbc() : key->bits == 192 ? EVP_aes_192_cbc() : EVP_aes_256_cbc();
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t iv[HSM_IV_LEN] = { 0 }, plain[16] = "sixteen bytes !", out[16], want[32];
	int want_len = 0;
	size_t len = 0;

	key->usage = HSM_USE_ENCRYPT;
	T_OK(&RIG, hsm_encrypt(RIG.hsm, key, HSM_CIPHER_CBC, iv, NULL, 0, plain, sizeof(plain), out, sizeof(out), &len, NULL, &RIG.err));
	assert_int_equal(EVP_EncryptInit_ex(ctx, cipher, NULL, secret_data(secret), iv), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, want, &want_len, plain, sizeof(plain)), 1);
	assert_int_equal(len, want_len);
	assert_memory_equal(out, want, len);
	EVP_CIPHER_CTX_free(ctx);
}

static void sees_the_same_mac(const struct hsm_key *key, const struct secret *secret)
{
	static const struct {
		enum hsm_sign_alg alg;
		const EVP_MD *(*md)(void);
		size_t len;
	} MACS[] = { { HSM_SIGN_HMAC_SHA256, EVP_sha256, 32 }, { HSM_SIGN_HMAC_SHA384, EVP_sha384, 48 }, { HSM_SIGN_HMAC_SHA512, EVP_sha512, 64 } };
	uint8_t mac[HSM_SIGNATURE_MAX], want[EVP_MAX_MD_SIZE];
	size_t len = 0;

	for (size_t i = 0; i < KMS_ARRAY_LEN(MACS); i++) {
		if (secret_len(secret) < MACS[i].len) { /* row 1p */
			T_FAILS(&RIG, KMS_E_INVALID, hsm_sign(RIG.hsm, key, MACS[i].alg, (const uint8_t *)"m", 1, mac, &len, &RIG.err));
			continue;
		}
		T_OK(&RIG, hsm_sign(RIG.hsm, key, MACS[i].alg, (const uint8_t *)"message", 7, mac, &len, &RIG.err));
		assert_int_equal(len, MACS[i].len);
		assert_non_null(HMAC(MACS[i].md(), secret_data(secret), (int)secret_len(secret), (const uint8_t *)"message", 7, want, NULL));
		assert_memory_equal(mac, want, len);
	}
}

/* Is it this key, judged from outside? */
static void is_the_same_key(struct hsm_key *key, const struct t_material *m)
{
	uint8_t digest[64], signature[HSM_SIGNATURE_MAX];
	const struct p11_curve *curve = p11_curve(key->kind);
	EVP_PKEY *verifier;

	if (key->kind == HSM_KIND_AES) {
		sees_the_same_aes(key, m->m.secret);
	} else if (key->kind == HSM_KIND_HMAC) {
		sees_the_same_mac(key, m->m.secret);
	} else if (curve == NULL) {
		T_OK(&RIG, t_rsa_round_trip(&RIG, key, &m->m.pub));
	} else {
		assert_true(random_bytes(digest, sizeof(digest)));
		T_OK(&RIG, t_sign(RIG.hsm, key, digest, curve->digest_len, signature, &RIG.err));
		verifier = sigcheck_key(key->kind, &m->m.pub);
		assert_true(sigcheck_verify(verifier, key->kind, digest, curve->digest_len, signature));
		EVP_PKEY_free(verifier);
	}
}

static void an_imported_key_is_the_caller_s_key_in_both_forms(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	uint8_t blob[HSM_BLOB_MAX];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SHAPES); i++) {
		struct hsm_key resident = rig_key(HSM_FOR_CALLER, SHAPES[i].kind, SHAPES[i].bits);
		struct hsm_key wrapped = rig_key(HSM_FOR_CALLER, SHAPES[i].kind, SHAPES[i].bits);
		const size_t on_token = t_objects(&RIG, true);

		t_material_make(&MATERIAL, SHAPES[i].kind, SHAPES[i].bits);
		T_OK(&RIG, hsm_key_import(RIG.hsm, &resident, &MATERIAL.m, NULL, NULL, &RIG.err));
		assert_int_equal(t_objects(&RIG, true), on_token + 1);
		is_the_same_key(&resident, &MATERIAL);
		T_FAILS(&RIG, KMS_E_CONFLICT, hsm_key_import(RIG.hsm, &resident, &MATERIAL.m, NULL, NULL, &RIG.err));

		memcpy(wrapped.root_id, root.id, HSM_ID_LEN);
		T_OK(&RIG, hsm_key_import(RIG.hsm, &wrapped, &MATERIAL.m, blob, &wrapped.wrapped_len, &RIG.err));
		assert_int_equal(t_objects(&RIG, true), on_token + 1);
		assert_int_equal(t_objects(&RIG, false), 0);
		wrapped.wrapped = blob;
		is_the_same_key(&wrapped, &MATERIAL);
		T_OK(&RIG, hsm_key_evict(RIG.hsm, wrapped.id, 1000, &RIG.err));
		t_material_clear(&MATERIAL);
	}
}

static void material_that_does_not_belong_together_is_refused_and_gone(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	const size_t on_token = t_objects(&RIG, true);
	uint8_t blob[HSM_BLOB_MAX];
	size_t len;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SHAPES); i++) {
		struct hsm_key key = rig_key(HSM_FOR_CALLER, SHAPES[i].kind, SHAPES[i].bits);
		struct t_material other;

		if (!is_pair(SHAPES[i].kind) || SHAPES[i].bits > 2048)
			continue;
		t_material_make(&MATERIAL, SHAPES[i].kind, SHAPES[i].bits);
		t_material_make(&other, SHAPES[i].kind, SHAPES[i].bits);
		MATERIAL.m.pub = other.m.pub; /* row 1o: the device takes n that is not p q */
		memcpy(key.root_id, root.id, HSM_ID_LEN);
		T_FAILS(&RIG, KMS_E_INVALID, hsm_key_import(RIG.hsm, &key, &MATERIAL.m, NULL, NULL, &RIG.err));
		T_FAILS(&RIG, KMS_E_INVALID, hsm_key_import(RIG.hsm, &key, &MATERIAL.m, blob, &len, &RIG.err));
		assert_int_equal(t_objects(&RIG, true), on_token);
		assert_int_equal(t_objects(&RIG, false), 0);
		t_material_clear(&other);
		t_material_clear(&MATERIAL);
	}
}

static void incomplete_material_never_reaches_the_device(void **state)
{
	struct hsm_key key = rig_key(HSM_FOR_CALLER, HSM_KIND_RSA, 2048), aes = rig_key(HSM_FOR_CALLER, HSM_KIND_AES, 256);
	struct hsm_key root = rig_key(HSM_FOR_ROOT, HSM_KIND_AES, 256);
	struct hsm_material part;
	uint8_t blob[HSM_BLOB_MAX];
	size_t len;

	(void)state;
	t_material_make(&MATERIAL, HSM_KIND_RSA, 2048);
	t_calls_begin();
#define WITHOUT(change)                                                                                       \
	part = MATERIAL.m;                                                                                    \
	change;                                                                                               \
	T_FAILS(&RIG, KMS_E_INVALID, hsm_key_import(RIG.hsm, &key, &part, NULL, NULL, &RIG.err))
	WITHOUT(part.secret = NULL);
	WITHOUT(part.p = NULL);
	WITHOUT(part.qi = NULL);
	WITHOUT(part.pub.n_len--);
	WITHOUT(part.pub.e_len = 0);
#undef WITHOUT
	T_FAILS(&RIG, KMS_E_INVALID, hsm_key_import(RIG.hsm, &key, &MATERIAL.m, blob, &len, &RIG.err)); /* no root */
	T_FAILS(&RIG, KMS_E_INVALID, hsm_key_import(RIG.hsm, &aes, &MATERIAL.m, NULL, NULL, &RIG.err)); /* another length */
	T_FAILS(&RIG, KMS_E_INVALID, hsm_key_import(RIG.hsm, &root, &MATERIAL.m, NULL, NULL, &RIG.err));
	assert_string_equal(t_calls_end(), "");
}

static struct hsm_key transfer(const struct hsm_key *exchange, const struct shape *shape, const uint8_t *bytes, size_t len, kms_status want,
                               struct hsm_public *ret_public)
{
	struct hsm_key key = rig_key(HSM_FOR_CALLER, shape->kind, shape->bits);

	if (want == KMS_OK)
		T_OK(&RIG, hsm_key_transfer(RIG.hsm, exchange, &key, bytes, len, ret_public, &RIG.err));
	else
		T_FAILS(&RIG, want, hsm_key_transfer(RIG.hsm, exchange, &key, bytes, len, ret_public, &RIG.err));
	return key;
}

static void a_transferred_key_is_the_other_device_s_key(void **state)
{
	static const unsigned EXCHANGES[] = { 2048, 3072 };
	uint8_t bytes[HSM_TRANSFER_MAX];

	(void)state;
	for (size_t e = 0; e < KMS_ARRAY_LEN(EXCHANGES); e++) {
		struct hsm_public exchange_public;
		struct hsm_key exchange = t_resident(&RIG, HSM_FOR_EXCHANGE, HSM_KIND_RSA, EXCHANGES[e], &exchange_public);

		for (size_t i = 0; i < KMS_ARRAY_LEN(SHAPES); i++) {
			const struct shape as_it_comes = { SHAPES[i].kind, 0 };
			const size_t on_token = t_objects(&RIG, true);
			struct hsm_public pub;
			struct hsm_key key;
			size_t len;

			t_material_make(&MATERIAL, SHAPES[i].kind, SHAPES[i].bits);
			t_transfer_make(&exchange_public, &MATERIAL, is_pair(SHAPES[i].kind) ? NULL : MATERIAL.m.secret, bytes, &len);
			key = transfer(&exchange, e == 0 ? &SHAPES[i] : &as_it_comes, bytes, len, KMS_OK, &pub);
			assert_int_equal(t_objects(&RIG, true), on_token + 1);
			assert_int_equal(t_objects(&RIG, false), 0);
			if (is_pair(SHAPES[i].kind)) {
				assert_memory_equal(&pub, &MATERIAL.m.pub, sizeof(pub));
			} else {
				assert_int_equal(pub.n_len, SHAPES[i].bits / 8);
			}
			key.bits = (uint16_t)SHAPES[i].bits;
			is_the_same_key(&key, &MATERIAL);
			T_FAILS(&RIG, KMS_E_CONFLICT, hsm_key_transfer(RIG.hsm, &exchange, &key, bytes, len, &pub, &RIG.err));
			t_material_clear(&MATERIAL);
		}
	}
}

static void every_damaged_transfer_gets_one_and_the_same_answer(void **state)
{
	const struct shape p256 = { HSM_KIND_P256, 0 };
	struct hsm_public exchange_public, pub;
	struct hsm_key exchange = t_resident(&RIG, HSM_FOR_EXCHANGE, HSM_KIND_RSA, 2048, &exchange_public);
	uint8_t bytes[HSM_TRANSFER_MAX + 8];
	struct kms_err first = { 0 };
	size_t len;

	(void)state;
	t_material_make(&MATERIAL, HSM_KIND_P256, 0);
	t_transfer_make(&exchange_public, &MATERIAL, NULL, bytes, &len);
	for (size_t at = 0; at < len; at += 7) { /* in the RSA ciphertext, and in the wrapped key */
		bytes[at] ^= 0x10;
		(void)transfer(&exchange, &p256, bytes, len, KMS_E_CRYPTO, &pub);
		if (first.status == KMS_OK)
			first = RIG.err;
		assert_memory_equal(&first, &RIG.err, sizeof(first));
		bytes[at] ^= 0x10;
	}
	for (size_t cut = 0; cut < len; cut += cut < 250 ? 50 : 1) {
		(void)transfer(&exchange, &p256, bytes, cut, KMS_E_CRYPTO, &pub);
		assert_memory_equal(&first, &RIG.err, sizeof(first));
	}
	(void)transfer(&exchange, &p256, bytes, HSM_TRANSFER_MAX + 8, KMS_E_CRYPTO, &pub);
	assert_memory_equal(&first, &RIG.err, sizeof(first));
	assert_int_equal(t_objects(&RIG, true), 1);
	assert_int_equal(t_objects(&RIG, false), 0);
	assert_false(atomic_load(&RIG.p->token.gate.is_suspect));
}

/* Some of it the device refuses (KMS_E_CRYPTO), the rest we do (KMS_E_INVALID); nothing stays either way. */
static void a_transferred_key_of_another_kind_is_destroyed(void **state)
{
	static const struct {
		struct shape is, said;
	} CASES[] = {
		{ { HSM_KIND_P384, 0 }, { HSM_KIND_P256, 0 } },      { { HSM_KIND_P256, 0 }, { HSM_KIND_P256K, 0 } },
		{ { HSM_KIND_P256, 0 }, { HSM_KIND_RSA, 2048 } },    { { HSM_KIND_RSA, 2048 }, { HSM_KIND_P521, 0 } },
		{ { HSM_KIND_RSA, 2048 }, { HSM_KIND_RSA, 3072 } },  { { HSM_KIND_RSA, 1024 }, { HSM_KIND_RSA, 0 } },
		{ { HSM_KIND_AES, 128 }, { HSM_KIND_AES, 256 } },    { { HSM_KIND_HMAC, 384 }, { HSM_KIND_AES, 0 } },
		{ { HSM_KIND_AES, 192 }, { HSM_KIND_HMAC, 0 } },     { { HSM_KIND_RSA, 2048 }, { HSM_KIND_AES, 0 } },
		{ { HSM_KIND_HMAC, 248 }, { HSM_KIND_HMAC, 0 } },    { { HSM_KIND_AES, 120 }, { HSM_KIND_AES, 0 } },
		{ { HSM_KIND_HMAC, 376 }, { HSM_KIND_HMAC, 0 } },    { { HSM_KIND_HMAC, 256 }, { HSM_KIND_P256, 0 } },
		{ { HSM_KIND_AES, 256 }, { HSM_KIND_RSA, 0 } },      { { HSM_KIND_HMAC, 264 }, { HSM_KIND_HMAC, 0 } },
	};
	struct hsm_public exchange_public, pub;
	struct hsm_key exchange = t_resident(&RIG, HSM_FOR_EXCHANGE, HSM_KIND_RSA, 2048, &exchange_public);
	uint8_t bytes[HSM_TRANSFER_MAX];
	size_t len;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct hsm_key key = rig_key(HSM_FOR_CALLER, CASES[i].said.kind, CASES[i].said.bits);
		kms_status status;

		t_material_make(&MATERIAL, CASES[i].is.kind, CASES[i].is.bits);
		t_transfer_make(&exchange_public, &MATERIAL, is_pair(CASES[i].is.kind) ? NULL : MATERIAL.m.secret, bytes, &len);
		status = hsm_key_transfer(RIG.hsm, &exchange, &key, bytes, len, &pub, NULL);
		if (status != KMS_E_INVALID && status != KMS_E_CRYPTO)
			fail_msg("case %zu: %s", i, kms_status_name(status));
		assert_int_equal(t_objects(&RIG, true), 1);
		assert_int_equal(t_objects(&RIG, false), 0);
		t_material_clear(&MATERIAL);
	}
}

static void an_exchange_key_does_nothing_else(void **state)
{
	struct hsm_public pub;
	struct hsm_key exchange = t_resident(&RIG, HSM_FOR_EXCHANGE, HSM_KIND_RSA, 2048, &pub), read = exchange;
	struct hsm_key caller = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, NULL), key = rig_key(HSM_FOR_CALLER, HSM_KIND_P256, 0);
	uint8_t cipher[HSM_RSA_MAX], signature[HSM_SIGNATURE_MAX];
	struct secret *plain = NULL;
	struct hsm_public again;
	size_t len;

	(void)state;
	t_rsa_encrypt(&pub, HSM_RSA_OAEP_SHA1, "x", cipher);
	exchange.usage = HSM_USE_DECRYPT | HSM_USE_SIGN | HSM_USE_WRAP | HSM_USE_ENCRYPT;
	t_calls_begin();
	T_FAILS(&RIG, KMS_E_INVALID,
	        hsm_rsa_decrypt(RIG.hsm, &exchange, HSM_RSA_OAEP_SHA1, pub.n, pub.n_len, cipher, pub.n_len, &plain, &RIG.err));
	T_FAILS(&RIG, KMS_E_INVALID, hsm_sign(RIG.hsm, &exchange, HSM_SIGN_RSA_PKCS1, cipher, 32, signature, &len, &RIG.err));
	T_FAILS(&RIG, KMS_E_INVALID, hsm_key_transfer(RIG.hsm, &caller, &key, cipher, 256, &pub, &RIG.err));
	key.purpose = HSM_FOR_ROOT;
	key.kind = HSM_KIND_AES;
	T_FAILS(&RIG, KMS_E_INVALID, hsm_key_transfer(RIG.hsm, &exchange, &key, cipher, 256, &pub, &RIG.err));
	assert_string_equal(t_calls_end(), "");
	T_OK(&RIG, hsm_key_public(RIG.hsm, &read, &again, &RIG.err));
	assert_memory_equal(&again, &pub, sizeof(pub));
}

static void the_point_is_recovered_from_two_signatures_of_one_key_alone(void **state)
{
	static const enum hsm_kind KINDS[] = { HSM_KIND_P256, HSM_KIND_P384, HSM_KIND_P521, HSM_KIND_P256K };

	(void)state;
	for (size_t k = 0; k < KMS_ARRAY_LEN(KINDS); k++) {
		const struct p11_curve *curve = p11_curve(KINDS[k]);
		struct hsm_public pub, other_pub, found;
		struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, KINDS[k], 0, &pub);
		struct hsm_key other = t_resident(&RIG, HSM_FOR_CALLER, KINDS[k], 0, &other_pub);

		for (int round = 0; round < 16; round++) { /* both parities of y */
			struct sigcheck_signed made[2];
			uint8_t digests[2][64];

			for (size_t i = 0; i < 2; i++) {
				assert_true(random_bytes(digests[i], sizeof(digests[i])));
				made[i].digest = digests[i];
				made[i].digest_len = curve->digest_len;
				T_OK(&RIG, t_sign(RIG.hsm, &key, digests[i], curve->digest_len, made[i].signature, &RIG.err));
			}
			assert_true(sigcheck_recover(KINDS[k], made, &found));
			assert_memory_equal(&found, &pub, sizeof(pub));
			made[1].signature[3] ^= 1;
			assert_false(sigcheck_recover(KINDS[k], made, &found));
			T_OK(&RIG, t_sign(RIG.hsm, &other, digests[1], curve->digest_len, made[1].signature, &RIG.err));
			assert_false(sigcheck_recover(KINDS[k], made, &found));
			memset(made[0].signature, 0, sizeof(made[0].signature));
			assert_false(sigcheck_recover(KINDS[k], made, &found));
		}
	}
}

static void attributes_are_told_as_the_device_has_them(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct hsm_key made = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_P256, 0, NULL);
	struct hsm_key imported = rig_key(HSM_FOR_CALLER, HSM_KIND_AES, 256), missing = rig_key(HSM_FOR_CALLER, HSM_KIND_RSA, 2048);
	struct hsm_attributes a;
	struct t_wrapped w;

	(void)state;
	(void)t_log_key(&RIG);
	T_OK(&RIG, hsm_key_attributes(RIG.hsm, &made, &a, &RIG.err));
	assert_true(a.is_token && a.is_private && a.is_sensitive && a.is_always_sensitive && a.is_never_extractable && a.is_local && a.may_sign);
	assert_false(a.is_extractable || a.is_modifiable || a.is_copyable);
	assert_false(a.may_encrypt || a.may_decrypt || a.may_wrap || a.may_unwrap || a.may_derive);

	t_material_make(&MATERIAL, HSM_KIND_AES, 256);
	T_OK(&RIG, hsm_key_import(RIG.hsm, &imported, &MATERIAL.m, NULL, NULL, &RIG.err));
	T_OK(&RIG, hsm_key_attributes(RIG.hsm, &imported, &a, &RIG.err));
	assert_true(a.is_token && a.is_sensitive && a.may_encrypt && a.may_decrypt && a.may_wrap && a.may_unwrap);
	assert_false(a.is_always_sensitive || a.is_never_extractable || a.is_local || a.is_extractable || a.may_sign);

	t_wrapped_of(&RIG, &root, HSM_KIND_P521, 0, &w);
	T_OK(&RIG, hsm_key_attributes(RIG.hsm, &w.key, &a, &RIG.err));
	assert_true(a.is_sensitive && a.may_sign);
	assert_false(a.is_token || a.is_extractable || a.is_local || a.is_never_extractable);
	T_FAILS(&RIG, KMS_E_NOTFOUND, hsm_key_attributes(RIG.hsm, &missing, &a, &RIG.err));
}

#define WITH_HSM(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_HSM(an_imported_key_is_the_caller_s_key_in_both_forms),
		WITH_HSM(material_that_does_not_belong_together_is_refused_and_gone),
		WITH_HSM(incomplete_material_never_reaches_the_device),
		WITH_HSM(a_transferred_key_is_the_other_device_s_key),
		WITH_HSM(every_damaged_transfer_gets_one_and_the_same_answer),
		WITH_HSM(a_transferred_key_of_another_kind_is_destroyed),
		WITH_HSM(an_exchange_key_does_nothing_else),
		WITH_HSM(the_point_is_recovered_from_two_signatures_of_one_key_alone),
		WITH_HSM(attributes_are_told_as_the_device_has_them),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
