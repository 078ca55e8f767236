/* tests/unit/core_key.c - which algorithm fits which key and operation, which state allows what, and how a version is named to the device:
 * each table of the code against one written from keyvault-keys.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/key.h"

#define NOW 1000

/* Every sort of version that there is. */
static const struct {
	const char *label;
	enum key_type type;
	enum key_curve crv;
	uint16_t bits;
} VERSIONS[] = {
	{ "R2 ", KEY_RSA, CURVE_NONE, 2048 },     { "R3 ", KEY_RSA, CURVE_NONE, 3072 },     { "R4 ", KEY_RSA, CURVE_NONE, 4096 },
	{ "R2 ", KEY_RSA_HSM, CURVE_NONE, 2048 }, { "R3 ", KEY_RSA_HSM, CURVE_NONE, 3072 }, { "R4 ", KEY_RSA_HSM, CURVE_NONE, 4096 },
	{ "P256 ", KEY_EC, CURVE_P256, 256 },     { "P384 ", KEY_EC, CURVE_P384, 384 },     { "P521 ", KEY_EC, CURVE_P521, 521 },
	{ "P256K ", KEY_EC, CURVE_P256K, 256 },   { "P256 ", KEY_EC_HSM, CURVE_P256, 256 }, { "P384 ", KEY_EC_HSM, CURVE_P384, 384 },
	{ "P521 ", KEY_EC_HSM, CURVE_P521, 521 }, { "P256K ", KEY_EC_HSM, CURVE_P256K, 256 },
	{ "O128 ", KEY_OCT, CURVE_NONE, 128 },    { "O192 ", KEY_OCT, CURVE_NONE, 192 },    { "O256 ", KEY_OCT, CURVE_NONE, 256 },
	{ "O384 ", KEY_OCT, CURVE_NONE, 384 },    { "O512 ", KEY_OCT, CURVE_NONE, 512 },
	{ "O128 ", KEY_OCT_HSM, CURVE_NONE, 128 }, { "O192 ", KEY_OCT_HSM, CURVE_NONE, 192 }, { "O256 ", KEY_OCT_HSM, CURVE_NONE, 256 },
	{ "O256 ", KEY_OCT_HSM_MAC, CURVE_NONE, 256 }, { "O384 ", KEY_OCT_HSM_MAC, CURVE_NONE, 384 },
	{ "O512 ", KEY_OCT_HSM_MAC, CURVE_NONE, 512 },
};

#define RSA_KEYS "R2 R3 R4 "
#define ENC "encrypt decrypt wrapKey unwrapKey "
#define SIG "sign verify "
#define WRAP "wrapKey unwrapKey "
#define CIPHER "encrypt decrypt "

/* keyvault-keys.md 5.1 and 5.2 note 1 */
static const struct {
	enum key_alg alg;
	const char *name, *keys, *ops;
} ALGORITHMS[] = {
	{ ALG_RSA_OAEP, "RSA-OAEP", RSA_KEYS, ENC },
	{ ALG_RSA_OAEP_256, "RSA-OAEP-256", RSA_KEYS, ENC },
	{ ALG_RSA1_5, "RSA1_5", RSA_KEYS, ENC },
	{ ALG_A128KW, "A128KW", "O128 ", WRAP },
	{ ALG_A192KW, "A192KW", "O192 ", WRAP },
	{ ALG_A256KW, "A256KW", "O256 ", WRAP },
	{ ALG_CKM_KW, "CKM_AES_KEY_WRAP", "O128 O192 O256 ", WRAP },
	{ ALG_CKM_KWP, "CKM_AES_KEY_WRAP_PAD", "O128 O192 O256 ", WRAP },
	{ ALG_A128GCM, "A128GCM", "O128 ", CIPHER },
	{ ALG_A192GCM, "A192GCM", "O192 ", CIPHER },
	{ ALG_A256GCM, "A256GCM", "O256 ", CIPHER },
	{ ALG_A128CBC, "A128CBC", "O128 ", CIPHER },
	{ ALG_A192CBC, "A192CBC", "O192 ", CIPHER },
	{ ALG_A256CBC, "A256CBC", "O256 ", CIPHER },
	{ ALG_A128CBCPAD, "A128CBCPAD", "O128 ", CIPHER },
	{ ALG_A192CBCPAD, "A192CBCPAD", "O192 ", CIPHER },
	{ ALG_A256CBCPAD, "A256CBCPAD", "O256 ", CIPHER },
	{ ALG_RS256, "RS256", RSA_KEYS, SIG },
	{ ALG_RS384, "RS384", RSA_KEYS, SIG },
	{ ALG_RS512, "RS512", RSA_KEYS, SIG },
	{ ALG_RSNULL, "RSNULL", RSA_KEYS, SIG },
	{ ALG_PS256, "PS256", RSA_KEYS, SIG },
	{ ALG_PS384, "PS384", RSA_KEYS, SIG },
	{ ALG_PS512, "PS512", RSA_KEYS, SIG },
	{ ALG_ES256, "ES256", "P256 ", SIG },
	{ ALG_ES256K, "ES256K", "P256K ", SIG },
	{ ALG_ES384, "ES384", "P384 ", SIG },
	{ ALG_ES512, "ES512", "P521 ", SIG },
	{ ALG_HS256, "HS256", "O256 O384 O512 ", SIG },
	{ ALG_HS384, "HS384", "O384 O512 ", SIG },
	{ ALG_HS512, "HS512", "O512 ", SIG },
};

/* Every word of `list` ends with a blank, so that P256 is not found in P256K. */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; (p = strstr(p, word)) != NULL; p += len)
		if (p == list || p[-1] == ' ')
			return true;
	return false;
}

static void each_algorithm_fits_the_keys_and_operations_of_the_specification_and_no_other(void **state)
{
	(void)state;
	assert_int_equal(KMS_ARRAY_LEN(ALGORITHMS), KEY_ALG_COUNT - 1);
	for (size_t a = 0; a < KMS_ARRAY_LEN(ALGORITHMS); a++) {
		assert_int_equal(key_alg_parse(ALGORITHMS[a].name), ALGORITHMS[a].alg);
		for (size_t v = 0; v < KMS_ARRAY_LEN(VERSIONS); v++)
			for (unsigned bit = 0; bit < KEY_OP_COUNT; bit++) {
				struct store_version version = { .kty = (uint8_t)VERSIONS[v].type, .crv = (uint8_t)VERSIONS[v].crv,
					                         .bits = VERSIONS[v].bits };
				struct kms_err err = { 0 };
				char op[16] = "";
				bool expected;

				(void)snprintf(op, sizeof(op), "%s ", key_op_name_at(bit));
				expected = has_word(ALGORITHMS[a].keys, VERSIONS[v].label) && has_word(ALGORITHMS[a].ops, op);
				if ((key_alg_fits(&version, ALGORITHMS[a].alg, (enum key_op)(1U << bit), &err) == KMS_OK) != expected)
					fail_msg("%s, %s, %s%s: %s", ALGORITHMS[a].name, VERSIONS[v].label,
					         key_type_info(VERSIONS[v].type)->name, op, expected ? "should fit" : "should not fit");
				if (!expected)
					assert_int_equal(err.status, KMS_E_INVALID);
			}
	}
}

static void what_is_unknown_fits_nothing(void **state)
{
	struct store_version v = { .kty = KEY_RSA, .bits = 2048 };

	(void)state;
	assert_int_equal(key_alg_parse("rs256"), 0);
	assert_int_equal(key_alg_parse("none"), 0);
	assert_int_equal(key_alg_parse(""), 0);
	assert_int_equal(key_alg_fits(&v, (enum key_alg)0, KEY_OP_SIGN, NULL), KMS_E_INVALID);
	assert_int_equal(key_alg_fits(&v, KEY_ALG_COUNT, KEY_OP_SIGN, NULL), KMS_E_INVALID);
	v.kty = 99;
	assert_int_equal(key_alg_fits(&v, ALG_RS256, KEY_OP_SIGN, NULL), KMS_E_INVALID);
	assert_null(key_alg_info(KEY_ALG_COUNT));
	assert_null(key_type_info((enum key_type)0));
	assert_null(key_curve_info(CURVE_NONE));
	assert_int_equal(key_curve_parse("P-224"), CURVE_NONE);
	assert_int_equal(key_type_parse("rsa"), 0);
	assert_int_equal(key_op_parse("secureWrapKey"), 0);
}

/* keyvault-keys.md 9.1; the order of checks is disabled, key_ops, window. */
static void the_state_of_a_version_decides_as_table_9_1_says(void **state)
{
	static const struct {
		enum key_op op;
		bool within_window_only;
	} OPS[] = { { KEY_OP_ENCRYPT, true }, { KEY_OP_WRAP, true },   { KEY_OP_SIGN, true },
		    { KEY_OP_DECRYPT, false }, { KEY_OP_UNWRAP, false }, { KEY_OP_VERIFY, false } };
	const struct store_version fine = { .is_enabled = true, .ops = UINT32_MAX, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(OPS); i++) {
		enum key_op op = OPS[i].op;
		struct store_version v = fine;

		assert_int_equal(key_usable(&v, op, NOW, NULL), KMS_OK);
		v.nbf_s = NOW;
		v.exp_s = NOW + 1; /* valid for this second */
		assert_int_equal(key_usable(&v, op, NOW, NULL), KMS_OK);
		v.nbf_s = NOW + 1;
		assert_int_equal(key_usable(&v, op, NOW, NULL), OPS[i].within_window_only ? KMS_E_KEY_NOT_YET : KMS_OK);
		v.nbf_s = STORE_NO_TIME;
		v.exp_s = NOW;
		assert_int_equal(key_usable(&v, op, NOW, NULL), OPS[i].within_window_only ? KMS_E_KEY_EXPIRED : KMS_OK);
		v.ops = ~(uint32_t)op;
		assert_int_equal(key_usable(&v, op, NOW, NULL), KMS_E_KEY_OP);
		v.is_enabled = false;
		assert_int_equal(key_usable(&v, op, NOW, NULL), KMS_E_KEY_DISABLED);
		v = fine;
		v.revoked = REVOKE_SUPERSEDED;
		assert_int_equal(key_usable(&v, op, NOW, NULL), KMS_E_KEY_DISABLED);
	}
}

static void a_refusal_names_the_operation(void **state)
{
	struct store_version v = { .is_enabled = false, .ops = UINT32_MAX };
	struct kms_err err = { 0 };

	(void)state;
	assert_int_equal(key_usable(&v, KEY_OP_UNWRAP, NOW, &err), KMS_E_KEY_DISABLED);
	assert_string_equal(kms_err_text(&err), "Operation unwrapKey is not allowed on a disabled key.");
	err = (struct kms_err){ 0 };
	v.is_enabled = true;
	v.ops = 0;
	assert_int_equal(key_usable(&v, KEY_OP_ENCRYPT, NOW, &err), KMS_E_KEY_OP);
	assert_string_equal(kms_err_text(&err), "Operation encrypt is not permitted on this key.");
}

/* keyvault-keys.md 4.5, 5.2 note 1, 13 */
static void key_ops_choose_the_variant_and_never_mix_two(void **state)
{
	const uint32_t sig = KEY_OP_SIGN | KEY_OP_VERIFY, enc = KEY_OP_ENCRYPT | KEY_OP_DECRYPT, wrap = KEY_OP_WRAP | KEY_OP_UNWRAP;
	const struct {
		enum key_type type;
		uint32_t ops;
		enum key_type chosen;
		bool fit;
	} CASES[] = {
		{ KEY_RSA, sig | enc | wrap, KEY_RSA, true },
		{ KEY_RSA, KEY_OP_IMPORT, KEY_RSA, false },
		{ KEY_RSA, KEY_OP_EXPORT, KEY_RSA, false },
		{ KEY_RSA_HSM, sig | enc | wrap, KEY_RSA_HSM, true },
		{ KEY_RSA_HSM, KEY_OP_IMPORT, KEY_RSA_HSM_EXCHANGE, true },
		{ KEY_RSA_HSM, KEY_OP_IMPORT | KEY_OP_UNWRAP, KEY_RSA_HSM_EXCHANGE, false },
		{ KEY_RSA_HSM, KEY_OP_EXPORT, KEY_RSA_HSM, false },
		{ KEY_EC, sig, KEY_EC, true },
		{ KEY_EC, enc, KEY_EC, false },
		{ KEY_EC_HSM, KEY_OP_SIGN, KEY_EC_HSM, true },
		{ KEY_EC_HSM, KEY_OP_IMPORT, KEY_EC_HSM, false },
		{ KEY_OCT, enc | wrap | sig, KEY_OCT, true },
		{ KEY_OCT, KEY_OP_IMPORT, KEY_OCT, false },
		{ KEY_OCT_HSM, enc | wrap, KEY_OCT_HSM, true },
		{ KEY_OCT_HSM, sig, KEY_OCT_HSM_MAC, true },
		{ KEY_OCT_HSM, KEY_OP_VERIFY, KEY_OCT_HSM_MAC, true },
		{ KEY_OCT_HSM, sig | KEY_OP_DECRYPT, KEY_OCT_HSM_MAC, false },
		{ KEY_OCT_HSM, 0, KEY_OCT_HSM, true },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		enum key_type chosen = key_type_choose(CASES[i].type, CASES[i].ops);

		assert_int_equal(chosen, CASES[i].chosen);
		assert_string_equal(key_type_info(chosen)->name, key_type_info(CASES[i].type)->name);
		assert_int_equal(key_ops_fit(chosen, 0, CASES[i].ops, NULL) == KMS_OK, CASES[i].fit);
		/* key_ops that change later do not make another variant of it */
		if (chosen != CASES[i].type)
			assert_int_equal(key_ops_fit(CASES[i].type, 0, CASES[i].ops, NULL), KMS_E_INVALID);
	}
	/* A wrapped secret is what its length allows. */
	assert_int_equal(key_ops_fit(KEY_OCT, 128, sig, NULL), KMS_E_INVALID);
	assert_int_equal(key_ops_fit(KEY_OCT, 128, enc | wrap, NULL), KMS_OK);
	assert_int_equal(key_ops_fit(KEY_OCT, 256, enc | wrap | sig, NULL), KMS_OK);
	assert_int_equal(key_ops_fit(KEY_OCT, 384, sig, NULL), KMS_OK);
	assert_int_equal(key_ops_fit(KEY_OCT, 512, sig | KEY_OP_WRAP, NULL), KMS_E_INVALID);
	assert_int_equal(key_default_ops(KEY_RSA, 2048), sig | enc | wrap);
	assert_int_equal(key_default_ops(KEY_EC, 256), sig);
	assert_int_equal(key_default_ops(KEY_OCT_HSM, 256), enc | wrap);
	assert_int_equal(key_default_ops(KEY_OCT, 256), enc | wrap);
	assert_int_equal(key_default_ops(KEY_OCT, 384), sig);
}

static void a_version_is_named_to_the_device_as_it_is_used(void **state)
{
	const uint32_t all = KEY_OP_ENCRYPT | KEY_OP_DECRYPT | KEY_OP_SIGN | KEY_OP_VERIFY | KEY_OP_WRAP | KEY_OP_UNWRAP;
	const struct {
		enum key_type type;
		enum key_curve crv;
		uint16_t bits;
		uint32_t ops;
		enum key_alg alg;
		enum hsm_purpose purpose;
		enum hsm_kind kind;
		uint16_t hsm_bits;
		uint32_t usage;
	} CASES[] = {
		{ KEY_RSA, CURVE_NONE, 3072, all, ALG_PS256, HSM_FOR_CALLER, HSM_KIND_RSA, 3072, HSM_USE_DECRYPT | HSM_USE_SIGN },
		{ KEY_RSA_HSM, CURVE_NONE, 2048, KEY_OP_ENCRYPT | KEY_OP_VERIFY, 0, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, 0 },
		{ KEY_RSA_HSM, CURVE_NONE, 2048, KEY_OP_UNWRAP, 0, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, HSM_USE_DECRYPT },
		{ KEY_RSA_HSM_EXCHANGE, CURVE_NONE, 4096, KEY_OP_IMPORT, 0, HSM_FOR_EXCHANGE, HSM_KIND_RSA, 4096, 0 },
		{ KEY_EC, CURVE_P521, 521, all, ALG_ES512, HSM_FOR_CALLER, HSM_KIND_P521, 0, HSM_USE_SIGN },
		{ KEY_EC_HSM, CURVE_P256K, 256, KEY_OP_VERIFY, 0, HSM_FOR_CALLER, HSM_KIND_P256K, 0, 0 },
		{ KEY_OCT, CURVE_NONE, 256, all, ALG_A256GCM, HSM_FOR_CALLER, HSM_KIND_AES, 256, HSM_USE_ENCRYPT | HSM_USE_DECRYPT | HSM_USE_WRAP },
		{ KEY_OCT, CURVE_NONE, 256, all, ALG_HS256, HSM_FOR_CALLER, HSM_KIND_HMAC, 256, HSM_USE_SIGN },
		{ KEY_OCT, CURVE_NONE, 512, all, 0, HSM_FOR_CALLER, HSM_KIND_HMAC, 512, HSM_USE_SIGN },
		{ KEY_OCT_HSM, CURVE_NONE, 128, KEY_OP_UNWRAP, 0, HSM_FOR_CALLER, HSM_KIND_AES, 128, HSM_USE_WRAP },
		{ KEY_OCT_HSM_MAC, CURVE_NONE, 256, KEY_OP_VERIFY, 0, HSM_FOR_CALLER, HSM_KIND_HMAC, 256, HSM_USE_SIGN },
	};
	uint8_t blob[3] = { 0 };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		bool is_resident = key_type_info(CASES[i].type)->is_resident;
		struct store_version v = { .kty = (uint8_t)CASES[i].type, .crv = (uint8_t)CASES[i].crv, .bits = CASES[i].bits, .ops = CASES[i].ops,
			                   .obj = { 9 }, .root_id = { 7 }, .wrapped = is_resident ? NULL : blob, .wrapped_len = is_resident ? 0 : sizeof(blob) };
		struct hsm_key key = { 0 };

		key_to_hsm(&v, CASES[i].alg, &key);
		assert_int_equal(key.purpose, CASES[i].purpose);
		assert_int_equal(key.kind, CASES[i].kind);
		assert_int_equal(key.bits, CASES[i].hsm_bits);
		assert_int_equal(key.usage, CASES[i].usage);
		assert_int_equal(key.id[0], 9);
		assert_ptr_equal(key.wrapped, v.wrapped);
		assert_int_equal(key.wrapped_len, v.wrapped_len);
		assert_int_equal(key.root_id[0], is_resident ? 0 : 7);
	}
}

static void names_are_as_in_the_specification(void **state)
{
	char name[STORE_KEY_NAME_MAX + 2];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[STORE_KEY_NAME_MAX + 1] = '\0';
	assert_false(key_name_is_valid(name));
	name[STORE_KEY_NAME_MAX] = '\0';
	assert_true(key_name_is_valid(name));
	assert_true(key_name_is_valid("0-Zz"));
	assert_false(key_name_is_valid(""));
	assert_false(key_name_is_valid("a_b"));
	assert_false(key_name_is_valid("a/b"));
	assert_false(key_name_is_valid("\xc3\xa9"));
	for (int i = 1; i < REVOKE_COUNT; i++)
		assert_int_equal(revoke_reason_parse(revoke_reason_name((enum revoke_reason)i)), i);
	assert_int_equal(revoke_reason_parse(""), REVOKE_NONE);
	for (int i = 1; i < CURVE_COUNT; i++)
		assert_int_equal(key_curve_parse(key_curve_info((enum key_curve)i)->name), i);
	for (unsigned bit = 0; bit < KEY_OP_COUNT; bit++)
		assert_int_equal(key_op_parse(key_op_name_at(bit)), 1U << bit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_algorithm_fits_the_keys_and_operations_of_the_specification_and_no_other),
		cmocka_unit_test(what_is_unknown_fits_nothing),
		cmocka_unit_test(the_state_of_a_version_decides_as_table_9_1_says),
		cmocka_unit_test(a_refusal_names_the_operation),
		cmocka_unit_test(key_ops_choose_the_variant_and_never_mix_two),
		cmocka_unit_test(a_version_is_named_to_the_device_as_it_is_used),
		cmocka_unit_test(names_are_as_in_the_specification),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
