/* tests/fault/hsm_material.c - as hsm_calls.c, for the verbs on callers' data and on keys from outside. Their plaintexts and half-made keys must not
 * survive any failure. */
#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"
#include "tests/support/hsm_fault.h"
#include "tests/support/hsm_material.h"

#define AAD_LEN 3
#define TEXT_LEN 16

static struct t_rig RIG;
static struct hsm_key LOG_KEY, ROOT, NEXT_ROOT, AES, MAC, EXCHANGE, MADE;
static struct hsm_public EXCHANGE_PUBLIC;
static struct t_wrapped CURVE, SECRET;
static struct t_material RSA_MATERIAL, CURVE_MATERIAL, SECRET_MATERIAL;
static uint8_t CURVE_TRANSFER[HSM_TRANSFER_MAX], SECRET_TRANSFER[HSM_TRANSFER_MAX], RSA_TRANSFER[HSM_TRANSFER_MAX];
static size_t CURVE_TRANSFER_LEN, SECRET_TRANSFER_LEN, RSA_TRANSFER_LEN;
static uint8_t IV[HSM_IV_LEN], TAG[HSM_GCM_TAG_LEN], SEALED[TEXT_LEN], PADDED[TEXT_LEN * 2];

static const uint8_t TEXT[] = "sixteen bytes !!";

static int up(void **state)
{
	size_t len;

	(void)state;
	t_rig_token(&RIG);
	RIG.token.cfg.token_dir = NULL; /* hundreds of keys that nobody needs to last */
	T_OK(&RIG, hsm_open_pkcs11(&RIG.token.cfg, &RIG.hsm, &RIG.err));
	RIG.p = p11_of(RIG.hsm);
	LOG_KEY = t_log_key(&RIG);
	ROOT = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	NEXT_ROOT = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	AES = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 256, NULL);
	MAC = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_HMAC, 512, NULL);
	EXCHANGE = t_resident(&RIG, HSM_FOR_EXCHANGE, HSM_KIND_RSA, 2048, &EXCHANGE_PUBLIC);
	AES.usage = HSM_USE_ENCRYPT | HSM_USE_DECRYPT;
	t_wrapped_of(&RIG, &ROOT, HSM_KIND_P521, 0, &CURVE);
	t_wrapped_of(&RIG, &ROOT, HSM_KIND_AES, 128, &SECRET);
	SECRET.key.usage = AES.usage;
	t_material_make(&RSA_MATERIAL, HSM_KIND_RSA, 2048);
	t_material_make(&CURVE_MATERIAL, HSM_KIND_P384, 0);
	t_material_make(&SECRET_MATERIAL, HSM_KIND_HMAC, 384);
	t_transfer_make(&EXCHANGE_PUBLIC, &RSA_MATERIAL, NULL, RSA_TRANSFER, &RSA_TRANSFER_LEN);
	t_transfer_make(&EXCHANGE_PUBLIC, &CURVE_MATERIAL, NULL, CURVE_TRANSFER, &CURVE_TRANSFER_LEN);
	t_transfer_make(&EXCHANGE_PUBLIC, &SECRET_MATERIAL, SECRET_MATERIAL.m.secret, SECRET_TRANSFER, &SECRET_TRANSFER_LEN);
	memset(IV, 0, sizeof(IV));
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &AES, HSM_CIPHER_CBC_PAD, IV, NULL, 0, TEXT, TEXT_LEN, PADDED, sizeof(PADDED), &len, NULL, &RIG.err));
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &AES, HSM_CIPHER_GCM, IV, TEXT, AAD_LEN, TEXT, TEXT_LEN, SEALED, sizeof(SEALED), &len, TAG, &RIG.err));
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_material_clear(&RSA_MATERIAL);
	t_material_clear(&CURVE_MATERIAL);
	t_material_clear(&SECRET_MATERIAL);
	t_rig_down(&RIG);
	return 0;
}

/* ---- the verbs ---- */

static kms_status sign(const struct hsm_key *key, enum hsm_sign_alg alg, size_t input_len)
{
	uint8_t input[HSM_SIGNATURE_MAX] = { 0 }, signature[HSM_SIGNATURE_MAX] = { 0 }, zeros[HSM_SIGNATURE_MAX] = { 0 };
	size_t len = 0;
	kms_status status = hsm_sign(RIG.hsm, key, alg, input, input_len, signature, &len, &RIG.err);

	if (status != KMS_OK) {
		assert_memory_equal(signature, zeros, sizeof(zeros));
		assert_int_equal(len, 0);
	}
	return status;
}

static kms_status do_sign_curve(void) { return sign(&CURVE.key, HSM_SIGN_ECDSA, 64); }
static kms_status do_mac(void) { return sign(&MAC, HSM_SIGN_HMAC_SHA512, 5); }

static kms_status encrypt(const struct hsm_key *key, enum hsm_cipher cipher)
{
	uint8_t iv[HSM_IV_LEN] = { 0 }, tag[HSM_GCM_TAG_LEN], sealed[TEXT_LEN * 2];
	size_t len = 0;
	kms_status status = hsm_encrypt(RIG.hsm, key, cipher, iv, NULL, 0, TEXT, TEXT_LEN, sealed, sizeof(sealed), &len, tag, &RIG.err);

	assert_int_equal(len != 0, status == KMS_OK);
	return status;
}

static kms_status do_encrypt_gcm(void) { return encrypt(&AES, HSM_CIPHER_GCM); }
static kms_status do_encrypt_cbc(void) { return encrypt(&SECRET.key, HSM_CIPHER_CBC_PAD); }

static kms_status decrypt(enum hsm_cipher cipher, const uint8_t *sealed, size_t sealed_len)
{
	uint8_t iv[HSM_IV_LEN] = { 0 }, plain[TEXT_LEN * 2] = { 0 }, zeros[TEXT_LEN * 2] = { 0 };
	size_t len = 0;
	kms_status status = hsm_decrypt(RIG.hsm, &AES, cipher, cipher == HSM_CIPHER_GCM ? IV : iv, TEXT, cipher == HSM_CIPHER_GCM ? AAD_LEN : 0,
	                                sealed, sealed_len, TAG, plain, sizeof(plain), &len, &RIG.err);

	assert_memory_equal(plain, status == KMS_OK ? TEXT : zeros, TEXT_LEN);
	assert_int_equal(len, status == KMS_OK ? TEXT_LEN : 0);
	return status;
}

static kms_status do_decrypt_gcm(void) { return decrypt(HSM_CIPHER_GCM, SEALED, sizeof(SEALED)); }
static kms_status do_decrypt_cbc(void) { return decrypt(HSM_CIPHER_CBC_PAD, PADDED, sizeof(PADDED)); }

static kms_status generate_wrapped(enum hsm_kind kind, unsigned bits)
{
	struct hsm_key key = rig_key(HSM_FOR_CALLER, kind, bits);
	uint8_t blob[HSM_BLOB_MAX];
	struct hsm_public pub;
	size_t len = 0;
	kms_status status;

	memcpy(key.root_id, ROOT.id, HSM_ID_LEN);
	status = hsm_key_generate_wrapped(RIG.hsm, &key, &pub, blob, &len, &RIG.err);
	assert_int_equal(len != 0, status == KMS_OK);
	return status;
}

static kms_status do_wrapped_curve(void) { return generate_wrapped(HSM_KIND_P256K, 0); }
static kms_status do_wrapped_aes(void) { return generate_wrapped(HSM_KIND_AES, 192); }
static kms_status do_wrapped_mac(void) { return generate_wrapped(HSM_KIND_HMAC, 512); }

static kms_status do_generate_curve(void)
{
	MADE = rig_key(HSM_FOR_CALLER, HSM_KIND_P384, 0);
	return hsm_key_generate(RIG.hsm, &MADE, NULL, &RIG.err);
}

static kms_status import(enum hsm_kind kind, unsigned bits, const struct t_material *m, bool is_wrapped)
{
	uint8_t blob[HSM_BLOB_MAX];
	size_t len;

	MADE = rig_key(HSM_FOR_CALLER, kind, bits);
	memcpy(MADE.root_id, ROOT.id, HSM_ID_LEN);
	return hsm_key_import(RIG.hsm, &MADE, &m->m, is_wrapped ? blob : NULL, &len, &RIG.err);
}

static kms_status do_import_rsa(void) { return import(HSM_KIND_RSA, 2048, &RSA_MATERIAL, false); }
static kms_status do_import_curve(void) { return import(HSM_KIND_P384, 0, &CURVE_MATERIAL, false); }
static kms_status do_import_mac(void) { return import(HSM_KIND_HMAC, 384, &SECRET_MATERIAL, false); }
static kms_status do_import_wrapped_rsa(void) { return import(HSM_KIND_RSA, 2048, &RSA_MATERIAL, true); }
static kms_status do_import_wrapped_curve(void) { return import(HSM_KIND_P384, 0, &CURVE_MATERIAL, true); }
static kms_status do_import_wrapped_mac(void) { return import(HSM_KIND_HMAC, 384, &SECRET_MATERIAL, true); }

static kms_status transfer(enum hsm_kind kind, const uint8_t *bytes, size_t len)
{
	struct hsm_public pub;

	MADE = rig_key(HSM_FOR_CALLER, kind, 0);
	return hsm_key_transfer(RIG.hsm, &EXCHANGE, &MADE, bytes, len, &pub, &RIG.err);
}

static kms_status do_transfer_rsa(void) { return transfer(HSM_KIND_RSA, RSA_TRANSFER, RSA_TRANSFER_LEN); }
static kms_status do_transfer_curve(void) { return transfer(HSM_KIND_P384, CURVE_TRANSFER, CURVE_TRANSFER_LEN); }
static kms_status do_transfer_mac(void) { return transfer(HSM_KIND_HMAC, SECRET_TRANSFER, SECRET_TRANSFER_LEN); }

static kms_status rewrap(const struct hsm_key *key)
{
	uint8_t blob[HSM_BLOB_MAX];
	size_t len = 0;
	kms_status status = hsm_key_rewrap(RIG.hsm, key, NEXT_ROOT.id, blob, &len, &RIG.err);

	assert_int_equal(len != 0, status == KMS_OK);
	return status;
}

static kms_status do_rewrap_curve(void) { return rewrap(&CURVE.key); }
static kms_status do_rewrap_secret(void) { return rewrap(&SECRET.key); }

static kms_status do_attributes(void)
{
	struct hsm_attributes a;

	return hsm_key_attributes(RIG.hsm, &CURVE.key, &a, &RIG.err);
}

static void tidy(void)
{
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, MADE.id, &RIG.err));
}

static const struct hsm_key *const KEYS[] = { &LOG_KEY, &ROOT, &NEXT_ROOT, &AES, &MAC, &EXCHANGE };
static const struct t_keys ALL_KEYS = { KEYS, KMS_ARRAY_LEN(KEYS) };

static const struct t_verb VERBS[] = {
	{ .name = "sign_curve", .run = do_sign_curve, .least_calls = 9 },
	{ .name = "mac", .run = do_mac, .least_calls = 7 },
	{ .name = "encrypt_gcm", .run = do_encrypt_gcm, .least_calls = 8 },
	{ .name = "encrypt_cbc", .run = do_encrypt_cbc, .least_calls = 9 },
	{ .name = "decrypt_gcm", .run = do_decrypt_gcm, .least_calls = 7 },
	{ .name = "decrypt_cbc", .run = do_decrypt_cbc, .least_calls = 7 },
	{ .name = "wrapped_curve", .run = do_wrapped_curve, .least_calls = 14 },
	{ .name = "wrapped_aes", .run = do_wrapped_aes, .least_calls = 14 },
	{ .name = "wrapped_mac", .run = do_wrapped_mac, .least_calls = 14 },
	{ .name = "generate_curve", .run = do_generate_curve, .after = tidy, .least_calls = 8 },
	{ .name = "import_rsa", .run = do_import_rsa, .after = tidy, .least_calls = 9 },
	{ .name = "import_curve", .run = do_import_curve, .after = tidy, .least_calls = 8 },
	{ .name = "import_mac", .run = do_import_mac, .after = tidy, .least_calls = 8 },
	{ .name = "import_wrapped_rsa", .run = do_import_wrapped_rsa, .least_calls = 14 },
	{ .name = "import_wrapped_curve", .run = do_import_wrapped_curve, .least_calls = 13 },
	{ .name = "import_wrapped_mac", .run = do_import_wrapped_mac, .least_calls = 13 },
	{ .name = "transfer_rsa", .run = do_transfer_rsa, .after = tidy, .least_calls = 16 },
	{ .name = "transfer_curve", .run = do_transfer_curve, .after = tidy, .least_calls = 18 },
	{ .name = "transfer_mac", .run = do_transfer_mac, .after = tidy, .least_calls = 15 },
	{ .name = "rewrap_curve", .run = do_rewrap_curve, .least_calls = 18 },
	{ .name = "rewrap_secret", .run = do_rewrap_secret, .least_calls = 16 },
	{ .name = "attributes", .run = do_attributes, .least_calls = 7 },
};

static void every_call_failing_leaves_nothing_behind_and_the_next_try_works(void **state)
{
	(void)state;
	for (size_t v = 0; v < KMS_ARRAY_LEN(VERBS); v++) {
		t_fail_each_call(&RIG, &ALL_KEYS, &VERBS[v], CKR_GENERAL_ERROR, true);
		t_fail_each_call(&RIG, &ALL_KEYS, &VERBS[v], CKR_DEVICE_ERROR, true);
		t_fail_each_call(&RIG, &ALL_KEYS, &VERBS[v], CKR_KEY_HANDLE_INVALID, false);
		t_fail_each_call(&RIG, &ALL_KEYS, &VERBS[v], CKR_HOST_MEMORY, false);
	}
}

/* What fails decides what is said: the device's trouble is never blamed on a caller, nor a caller's bytes on the device. */
static void codes_become_the_right_statuses(void **state)
{
	static const struct {
		const char *call;
		CK_RV rv;
		kms_status (*run)(void);
		kms_status status;
		bool is_suspect;
	} CASES[] = {
		{ "C_Decrypt", CKR_GENERAL_ERROR, do_decrypt_gcm, KMS_E_CRYPTO, false },
		{ "C_Decrypt", CKR_ENCRYPTED_DATA_INVALID, do_decrypt_cbc, KMS_E_CRYPTO, false },
		{ "C_Decrypt", CKR_ENCRYPTED_DATA_LEN_RANGE, do_decrypt_cbc, KMS_E_CRYPTO, false },
		{ "C_Decrypt", CKR_DEVICE_REMOVED, do_decrypt_gcm, KMS_E_DEVICE, true },
		{ "C_DecryptInit", CKR_KEY_HANDLE_INVALID, do_decrypt_gcm, KMS_E_DEVICE, true },
		{ "C_Encrypt", CKR_GENERAL_ERROR, do_encrypt_gcm, KMS_E_DEVICE, false },
		{ "C_GenerateRandom", CKR_RANDOM_NO_RNG, do_encrypt_gcm, KMS_E_DEVICE, false },
		{ "C_CreateObject", CKR_ATTRIBUTE_VALUE_INVALID, do_import_curve, KMS_E_INVALID, false },
		{ "C_CreateObject", CKR_TEMPLATE_INCONSISTENT, do_import_wrapped_rsa, KMS_E_INVALID, false },
		{ "C_CreateObject", CKR_GENERAL_ERROR, do_import_curve, KMS_E_DEVICE, false },
		{ "C_CreateObject", CKR_DEVICE_MEMORY, do_import_mac, KMS_E_DEVICE, true },
		{ "C_UnwrapKey", CKR_WRAPPED_KEY_INVALID, do_transfer_curve, KMS_E_CRYPTO, false },
		{ "C_UnwrapKey", CKR_GENERAL_ERROR, do_transfer_mac, KMS_E_CRYPTO, false },
		{ "C_UnwrapKey", CKR_UNWRAPPING_KEY_HANDLE_INVALID, do_transfer_curve, KMS_E_DEVICE, true },
		{ "C_Sign", CKR_DEVICE_ERROR, do_transfer_curve, KMS_E_DEVICE, true },
		{ "C_Sign", CKR_DEVICE_ERROR, do_transfer_mac, KMS_E_DEVICE, true },
		{ "C_Sign", CKR_KEY_SIZE_RANGE, do_transfer_mac, KMS_E_INVALID, false },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		t_cool(&RIG, &ALL_KEYS);
		atomic_store(&RIG.p->token.gate.is_suspect, false);
		t_fail_named(CASES[i].call, CASES[i].rv);
		RIG.err = (struct kms_err){ 0 };
		if (CASES[i].run() != CASES[i].status || RIG.err.status != CASES[i].status)
			fail_msg("case %zu: %s %s", i, kms_status_name(RIG.err.status), RIG.err.detail);
		assert_true(t_fail_happened());
		t_fail_named(NULL, CKR_OK);
		assert_int_equal(atomic_load(&RIG.p->token.gate.is_suspect), CASES[i].is_suspect);
		T_OK(&RIG, CASES[i].run());
		if (MADE.purpose != 0)
			tidy();
		assert_int_equal(t_objects(&RIG, true), KMS_ARRAY_LEN(KEYS) + 1); /* the log key's public half */
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_call_failing_leaves_nothing_behind_and_the_next_try_works, up, down),
		cmocka_unit_test_setup_teardown(codes_become_the_right_statuses, up, down),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
