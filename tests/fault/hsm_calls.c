/* tests/fault/hsm_calls.c - makes the 1st, 2nd, 3rd ... C_* call of each verb fail, until none is left: the verb says so or copes, nothing is
 * left behind on either side, and the next try works. */
#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"
#include "tests/support/hsm_fault.h"

static struct t_rig RIG;
static struct hsm_key LOG_KEY, ROOT, AES, RSA_KEY, HMAC, TOKENS, MADE;
static struct hsm_public RSA_PUBLIC;
static struct t_wrapped WRAPPED;
static uint8_t KW[24], KWP[24], CIPHER[HSM_RSA_MAX];
static size_t KW_LEN, KWP_LEN;
static struct secret *PLAIN;
static struct hsm_pin PIN = { .owner = { 7 }, .origin = "kms.example/audit/log1" };

static const char TEXT[] = "sixteen bytes !!";

static int up(void **state)
{
	(void)state;
	t_rig_up(&RIG);
	LOG_KEY = t_log_key(&RIG);
	ROOT = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	AES = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 256, NULL);
	RSA_KEY = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, &RSA_PUBLIC);
	HMAC = t_resident(&RIG, HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0, NULL);
	TOKENS = t_resident(&RIG, HSM_FOR_TOKENS, HSM_KIND_P256, 0, NULL);
	t_wrapped_make(&RIG, &ROOT, 2048, &WRAPPED);
	for (; PIN.size < 2; PIN.size++) /* both slots are there: a pin changes one */
		T_OK(&RIG, hsm_pin(RIG.hsm, &PIN, &RIG.err));
	PLAIN = secret_from(TEXT, strlen(TEXT));
	T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &AES, HSM_AES_KW, PLAIN, KW, sizeof(KW), &KW_LEN, &RIG.err));
	T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &AES, HSM_AES_KWP, PLAIN, KWP, sizeof(KWP), &KWP_LEN, &RIG.err));
	t_rsa_encrypt(&WRAPPED.public, HSM_RSA_OAEP_SHA256, TEXT, CIPHER);
	return 0;
}

static int down(void **state)
{
	(void)state;
	secret_free(PLAIN);
	PLAIN = NULL;
	t_rig_down(&RIG);
	return 0;
}

/* ---- the verbs; each checks its own result and leaves the token as it was when it succeeds ---- */

static kms_status same_text(kms_status status, struct secret *plain)
{
	if (status != KMS_OK) {
		assert_null(plain);
		return status;
	}
	assert_int_equal(secret_len(plain), strlen(TEXT));
	assert_memory_equal(secret_data(plain), TEXT, strlen(TEXT));
	secret_free(plain);
	return KMS_OK;
}

static kms_status do_random(void)
{
	SECRET_AUTO *fill = secret_new(16);

	return hsm_random(RIG.hsm, fill, &RIG.err);
}

static kms_status do_check(void)
{
	RIG.p->probed_ms = 0;
	return hsm_check(RIG.hsm, &RIG.err);
}

static kms_status do_sign(void)
{
	uint8_t signature[HSM_SIGNATURE_MAX] = { 0 }, zeros[HSM_SIGNATURE_MAX] = { 0 };
	kms_status status = t_sign(RIG.hsm, &TOKENS, (const uint8_t *)"0123456789abcdef0123456789abcdef", 32, signature, &RIG.err);

	if (status != KMS_OK)
		assert_memory_equal(signature, zeros, sizeof(zeros));
	return status;
}

static kms_status do_hmac(void)
{
	uint8_t mac[32];

	return t_mac(RIG.hsm, &HMAC, (const uint8_t *)TEXT, strlen(TEXT), mac, &RIG.err);
}

static kms_status do_kw_wrap(void)
{
	uint8_t wrapped[24];
	size_t len = 0;
	kms_status status = hsm_aes_wrap(RIG.hsm, &AES, HSM_AES_KW, PLAIN, wrapped, sizeof(wrapped), &len, &RIG.err);

	if (status == KMS_OK)
		assert_memory_equal(wrapped, KW, KW_LEN);
	else
		assert_int_equal(len, 0);
	return status;
}

static kms_status do_kwp_wrap(void)
{
	uint8_t wrapped[24];
	size_t len = 0;
	kms_status status = hsm_aes_wrap(RIG.hsm, &AES, HSM_AES_KWP, PLAIN, wrapped, sizeof(wrapped), &len, &RIG.err);

	if (status == KMS_OK)
		assert_memory_equal(wrapped, KWP, KWP_LEN);
	else
		assert_int_equal(len, 0);
	return status;
}

static kms_status do_kw_unwrap(void)
{
	struct secret *plain = NULL;
	kms_status status = hsm_aes_unwrap(RIG.hsm, &AES, HSM_AES_KW, KW, KW_LEN, &plain, &RIG.err);

	return same_text(status, plain);
}

static kms_status do_kwp_unwrap(void)
{
	struct secret *plain = NULL;
	kms_status status = hsm_aes_unwrap(RIG.hsm, &AES, HSM_AES_KWP, KWP, KWP_LEN, &plain, &RIG.err);

	return same_text(status, plain);
}

static kms_status do_rsa_resident(void)
{
	return t_rsa_round_trip(&RIG, &RSA_KEY, &RSA_PUBLIC);
}

static kms_status do_rsa_wrapped(void)
{
	struct secret *plain = NULL;
	kms_status status = hsm_rsa_decrypt(RIG.hsm, &WRAPPED.key, HSM_RSA_OAEP_SHA256, WRAPPED.public.n, WRAPPED.public.n_len, CIPHER,
	                                    WRAPPED.public.n_len, &plain, &RIG.err);

	return same_text(status, plain);
}

static kms_status do_generate_wrapped(void)
{
	uint8_t blob[HSM_BLOB_MAX];
	struct hsm_key key = rig_key(HSM_FOR_CALLER, HSM_KIND_RSA, 2048);
	struct hsm_public pub;
	size_t len;

	memcpy(key.root_id, ROOT.id, HSM_ID_LEN);
	return hsm_key_generate_wrapped(RIG.hsm, &key, &pub, blob, &len, &RIG.err);
}

/* Generation leaves the token as it was when it fails; what it made is destroyed by tidy(). */
static kms_status generate(enum hsm_purpose purpose, enum hsm_kind kind, unsigned bits)
{
	MADE = rig_key(purpose, kind, bits);
	return hsm_key_generate(RIG.hsm, &MADE, NULL, &RIG.err);
}

static void tidy(void)
{
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, MADE.id, &RIG.err));
}

static kms_status do_generate_aes(void) { return generate(HSM_FOR_ROOT, HSM_KIND_AES, 256); }
static kms_status do_generate_rsa(void) { return generate(HSM_FOR_CALLER, HSM_KIND_RSA, 2048); }
static kms_status do_generate_p256(void) { return generate(HSM_FOR_TOKENS, HSM_KIND_P256, 0); }
static kms_status do_generate_ed25519(void) { return generate(HSM_FOR_LOG, HSM_KIND_ED25519, 0); }

static void make_victim(void)
{
	MADE = t_resident(&RIG, HSM_FOR_ATTESTATION, HSM_KIND_P256, 0, NULL);
}

static kms_status do_destroy(void)
{
	return hsm_key_destroy(RIG.hsm, MADE.id, &RIG.err);
}

static void see_destroyed(void)
{
	struct hsm_public pub;

	T_FAILS(&RIG, KMS_E_NOTFOUND, hsm_key_public(RIG.hsm, &MADE, &pub, &RIG.err));
}

static kms_status do_public(void)
{
	struct hsm_public pub;

	return hsm_key_public(RIG.hsm, &TOKENS, &pub, &RIG.err);
}

static bool count_one(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours)
{
	(void)id;
	(void)purpose;
	assert_true(is_ours);
	(*(unsigned *)arg)++;
	return true;
}

static kms_status do_list(void)
{
	unsigned count = 0;
	kms_status status = hsm_keys_list(RIG.hsm, count_one, &count, &RIG.err);

	assert_int_equal(count, status == KMS_OK ? 6 : 0);
	return status;
}

static kms_status do_pin(void)
{
	return hsm_pin(RIG.hsm, &PIN, &RIG.err);
}

static void grow_pin(void)
{
	PIN.size++;
}

/* As after a start: the slots have to be found. */
static void forget_pin(void)
{
	RIG.p->pin_handles.epoch = 0;
	grow_pin();
}

/* The largest is what was pinned last, whatever failed on the way. */
static void see_pin(void)
{
	struct hsm_pin got = { 0 };
	size_t count = 0;

	T_OK(&RIG, hsm_pins(RIG.hsm, PIN.owner, &got, 1, &count, &RIG.err));
	assert_int_equal(count, 1);
	assert_memory_equal(&got, &PIN, sizeof(got));
}

static kms_status do_pins(void)
{
	struct hsm_pin got = { 0 };
	size_t count = 0;
	kms_status status = hsm_pins(RIG.hsm, PIN.owner, &got, 1, &count, &RIG.err);

	assert_int_equal(count, status == KMS_OK ? 1 : 0);
	return status;
}

static kms_status do_evict(void)
{
	return hsm_key_evict(RIG.hsm, WRAPPED.key.id, 1000, &RIG.err);
}

static void load_wrapped(void)
{
	T_OK(&RIG, do_rsa_wrapped());
}

static const struct hsm_key *const KEYS[] = { &LOG_KEY, &ROOT, &AES, &RSA_KEY, &HMAC, &TOKENS };
static const struct t_keys ALL_KEYS = { KEYS, KMS_ARRAY_LEN(KEYS) };

static const struct t_verb VERBS[] = {
	{ "random", do_random, NULL, NULL, 2, false },
	{ "check", do_check, NULL, NULL, 8, false },
	{ "sign", do_sign, NULL, NULL, 10, false },
	{ "hmac", do_hmac, NULL, NULL, 7, false },
	{ "kw_wrap", do_kw_wrap, NULL, NULL, 8, false },
	{ "kwp_wrap", do_kwp_wrap, NULL, NULL, 19, false },
	{ "kw_unwrap", do_kw_unwrap, NULL, NULL, 8, false },
	{ "kwp_unwrap", do_kwp_unwrap, NULL, NULL, 8, false },
	{ "rsa_resident", do_rsa_resident, NULL, NULL, 7, false },
	{ "rsa_wrapped", do_rsa_wrapped, NULL, NULL, 9, false },
	{ "generate_wrapped", do_generate_wrapped, NULL, NULL, 15, false },
	{ "generate_aes", do_generate_aes, NULL, tidy, 6, false },
	{ "generate_rsa", do_generate_rsa, NULL, tidy, 8, false },
	{ "generate_p256", do_generate_p256, NULL, tidy, 7, false },
	{ "generate_ed25519", do_generate_ed25519, NULL, tidy, 7, false },
	{ .name = "destroy", .run = do_destroy, .prepare = make_victim, .after = see_destroyed, .least_calls = 10, .is_done_once = true },
	{ "public", do_public, NULL, NULL, 5, false },
	{ "list", do_list, NULL, NULL, 16, false },
	{ .name = "pin", .run = do_pin, .prepare = grow_pin, .after = see_pin, .least_calls = 5, .is_done_once = true },
	{ .name = "first pin", .run = do_pin, .prepare = forget_pin, .after = see_pin, .least_calls = 8, .is_done_once = true },
	{ "pins", do_pins, NULL, NULL, 5, false },
	{ "evict", do_evict, load_wrapped, NULL, 1, false },
};

static void every_call_failing_leaves_nothing_behind_and_the_next_try_works(void **state)
{
	static const CK_RV CODES[] = { CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_KEY_HANDLE_INVALID, CKR_HOST_MEMORY };

	(void)state;
	for (size_t v = 0; v < KMS_ARRAY_LEN(VERBS); v++) {
		/* Key generation is slow and the same for each code. */
		const bool is_slow = strstr(VERBS[v].name, "rsa") != NULL || strstr(VERBS[v].name, "generate_wrapped") != NULL;

		for (size_t c = 0; c < KMS_ARRAY_LEN(CODES); c++) {
			t_fail_each_call(&RIG, &ALL_KEYS, &VERBS[v], CODES[c], true);
			if (is_slow && strncmp(VERBS[v].name, "generate", strlen("generate")) == 0)
				break;
			t_fail_each_call(&RIG, &ALL_KEYS, &VERBS[v], CODES[c], false);
		}
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
		{ "C_UnwrapKey", CKR_GENERAL_ERROR, do_kw_unwrap, KMS_E_CRYPTO, false },
		{ "C_UnwrapKey", CKR_WRAPPED_KEY_INVALID, do_kw_unwrap, KMS_E_CRYPTO, false },
		{ "C_UnwrapKey", CKR_ARGUMENTS_BAD, do_kwp_unwrap, KMS_E_CRYPTO, false },
		{ "C_UnwrapKey", CKR_UNWRAPPING_KEY_HANDLE_INVALID, do_kw_unwrap, KMS_E_DEVICE, true },
		{ "C_UnwrapKey", CKR_OBJECT_HANDLE_INVALID, do_kw_unwrap, KMS_E_DEVICE, true },
		{ "C_UnwrapKey", CKR_WRAPPING_KEY_HANDLE_INVALID, do_kw_unwrap, KMS_E_DEVICE, true },
		{ "C_UnwrapKey", CKR_MECHANISM_INVALID, do_kw_unwrap, KMS_E_UNSUPPORTED, false },
		{ "C_UnwrapKey", CKR_HOST_MEMORY, do_kw_unwrap, KMS_E_NOMEM, false },
		{ "C_Decrypt", CKR_GENERAL_ERROR, do_rsa_resident, KMS_E_CRYPTO, false },
		{ "C_Decrypt", CKR_ENCRYPTED_DATA_INVALID, do_rsa_resident, KMS_E_CRYPTO, false },
		{ "C_Decrypt", CKR_DEVICE_REMOVED, do_rsa_resident, KMS_E_DEVICE, true },
		{ "C_DecryptInit", CKR_KEY_HANDLE_INVALID, do_rsa_resident, KMS_E_DEVICE, true },
		{ "C_DecryptInit", CKR_OPERATION_ACTIVE, do_rsa_resident, KMS_E_DEVICE, false },
		{ "C_Sign", CKR_GENERAL_ERROR, do_sign, KMS_E_DEVICE, false },
		{ "C_OpenSession", CKR_SESSION_COUNT, do_random, KMS_E_BUSY, false },
		{ "C_OpenSession", CKR_TOKEN_NOT_PRESENT, do_random, KMS_E_DEVICE, true },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		t_cool(&RIG, &ALL_KEYS);
		atomic_store(&RIG.p->token.gate.is_suspect, false);
		t_fail_named(CASES[i].call, CASES[i].rv);
		T_FAILS(&RIG, CASES[i].status, CASES[i].run());
		assert_true(t_fail_happened());
		t_fail_named(NULL, CKR_OK);
		assert_int_equal(atomic_load(&RIG.p->token.gate.is_suspect), CASES[i].is_suspect);
		T_OK(&RIG, CASES[i].run());
	}
}

static int only_token(void **state)
{
	(void)state;
	t_rig_token(&RIG);
	return 0;
}

static void opening_fails_whole_or_works_whole(void **state)
{
	bool happened = true;
	long nth = 0;

	(void)state;
	for (; happened; nth++) {
		struct hsm *h = NULL;
		kms_status status;

		t_fail_call(nth, CKR_DEVICE_ERROR);
		status = hsm_open_pkcs11(&RIG.token.cfg, &h, &RIG.err);
		happened = t_fail_happened();
		t_fail_call(-1, CKR_OK);
		if (status == KMS_OK) {
			struct hsm_info info;

			hsm_info(h, &info);
			assert_int_equal(info.features & (HSM_CAN_RSA | HSM_CAN_AES_KW | HSM_CAN_AES_KWP | HSM_CAN_ED25519),
			                 HSM_CAN_RSA | HSM_CAN_AES_KW | HSM_CAN_AES_KWP | HSM_CAN_ED25519);
			hsm_close(h);
		} else {
			assert_true(happened);
			assert_null(h);
		}
		assert_int_equal(secret_live(), 0);
	}
	assert_true(nth > 80);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_call_failing_leaves_nothing_behind_and_the_next_try_works, up, down),
		cmocka_unit_test_setup_teardown(codes_become_the_right_statuses, up, down),
		cmocka_unit_test_setup_teardown(opening_fails_whole_or_works_whole, only_token, down),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
