/* tests/unit/core_crypto.c - the rules around the use of keys, on a real token: state, order of checks, parameters, the bound of AES-GCM, uniform
 * refusals, faulty devices. That results are right is shown in core_crypto_cross.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "tests/support/crypto_rig.h"
#include "tests/support/software.h"

#define NOW_S T_DOMAIN_START_S
#define VALUE_CAP (CRYPTO_VALUE_MAX + 1)

static struct t_domain d;
static uint8_t data[VALUE_CAP];
static const uint8_t IV[HSM_IV_LEN] = { 1, 2, 3 };

/* ---- helpers ---- */

static kms_status use_err(const char *name, enum key_op op, const struct crypto_input *in, struct kms_err *ret_err)
{
	CRYPTO_OUTPUT_AUTO out = { 0 };
	return rig_use(&d, name, op, in, &out, ret_err);
}

static kms_status use_len(const char *name, enum key_op op, enum key_alg alg, size_t len, struct kms_err *ret_err)
{
	SECRET_AUTO *value = len > 0 ? secret_from(data, len) : NULL;
	return use_err(name, op, &(struct crypto_input){ .alg = alg, .value = value }, ret_err);
}

/* A GCM ciphertext with all that belongs to it. */
struct sealed {
	uint8_t iv[HSM_GCM_NONCE_LEN], tag[HSM_GCM_TAG_LEN], aad[20], text[40];
};

static kms_status seal(const char *name, struct sealed *ret)
{
	SECRET_AUTO *value = secret_from(data, sizeof(ret->text));
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct kms_err err;
	kms_status status;

	memcpy(ret->aad, data + 100, sizeof(ret->aad));
	status = rig_use(&d, name, KEY_OP_ENCRYPT,
	                 &(struct crypto_input){ .alg = ALG_A256GCM, .value = value, .aad = ret->aad, .aad_len = sizeof(ret->aad) }, &out, &err);
	if (status == KMS_OK) {
		memcpy(ret->iv, out.iv, sizeof(ret->iv));
		memcpy(ret->tag, out.tag, sizeof(ret->tag));
		memcpy(ret->text, secret_data(out.value), sizeof(ret->text));
	}
	return status;
}

static kms_status open_sealed(const char *name, const struct sealed *s, struct kms_err *ret_err)
{
	SECRET_AUTO *value = secret_from(s->text, sizeof(s->text));
	return use_err(name, KEY_OP_DECRYPT,
	               &(struct crypto_input){ .alg = ALG_A256GCM, .value = value, .iv = s->iv, .iv_len = sizeof(s->iv), .aad = s->aad,
	                                       .aad_len = sizeof(s->aad), .tag = s->tag, .tag_len = sizeof(s->tag) }, ret_err);
}

/* Runs one of the six operations with parameters that fit the key "states" (RSA). */
static kms_status try_op(enum key_op op, struct kms_err *ret_err)
{
	bool is_valid = false;

	switch (op) {
	case KEY_OP_VERIFY:
		return rig_verify(&d, "states", ALG_RS256, data, 32, data, 256, &is_valid, ret_err);
	case KEY_OP_SIGN:
		return use_len("states", op, ALG_RS256, 32, ret_err);
	case KEY_OP_ENCRYPT:
	case KEY_OP_WRAP:
		return use_len("states", op, ALG_RSA_OAEP, 32, ret_err);
	case KEY_OP_DECRYPT:
	case KEY_OP_UNWRAP: {
		uint8_t cipher[HSM_RSA_MAX];
		STORE_VERSION_AUTO v = { 0 };
		SECRET_AUTO *value = NULL;
		EVP_PKEY *pkey = NULL;
		size_t len = 0;

		rig_version(&d, "states", &v);
		pkey = sw_public(&v);
		sw_encrypt(pkey, ALG_RSA_OAEP, data, 32, cipher, &len);
		EVP_PKEY_free(pkey);
		value = secret_from(cipher, len);
		return use_err("states", op, &(struct crypto_input){ .alg = ALG_RSA_OAEP, .value = value }, ret_err);
	}
	case KEY_OP_IMPORT:
	case KEY_OP_EXPORT:
		break;
	}
	fail();
	return KMS_E_INTERNAL;
}

/* ---- state and order ---- */

static const enum key_op SIX[] = { KEY_OP_ENCRYPT, KEY_OP_WRAP, KEY_OP_SIGN, KEY_OP_DECRYPT, KEY_OP_UNWRAP, KEY_OP_VERIFY };

static void set_window(int64_t nbf_s, int64_t exp_s)
{
	rig_update(&d, "states", &(struct key_update){ .has_nbf = true, .nbf_s = nbf_s, .has_exp = true, .exp_s = exp_s });
}

static void each_operation_obeys_the_state_of_the_version(void **state)
{
	struct kms_err err;

	(void)state;
	rig_create(&d, "states", KEY_RSA, 2048, CURVE_NONE, 0);
	for (size_t i = 0; i < KMS_ARRAY_LEN(SIX); i++) {
		bool makes_new = i < 3; /* keyvault-keys.md 9.1 */

		assert_int_equal(try_op(SIX[i], &err), KMS_OK);
		set_window(NOW_S + 100, NOW_S + 200);
		assert_int_equal(try_op(SIX[i], &err), makes_new ? KMS_E_KEY_NOT_YET : KMS_OK);
		set_window(NOW_S - 200, NOW_S - 100);
		assert_int_equal(try_op(SIX[i], &err), makes_new ? KMS_E_KEY_EXPIRED : KMS_OK);
		rig_update(&d, "states", &(struct key_update){ .has_ops = true, .ops = RIG_OPS_RSA & ~(uint32_t)SIX[i] });
		assert_int_equal(try_op(SIX[i], &err), KMS_E_KEY_OP); /* before the window */
		rig_update(&d, "states", &(struct key_update){ .has_enabled = true, .is_enabled = false });
		assert_int_equal(try_op(SIX[i], &err), KMS_E_KEY_DISABLED); /* before key_ops */
		rig_update(&d, "states", &(struct key_update){ .has_enabled = true, .is_enabled = true, .has_ops = true, .ops = RIG_OPS_RSA });
		set_window(NOW_S - 100, NOW_S + 100);
	}
}

static void the_order_of_checks_is_existence_state_algorithm_parameters(void **state)
{
	struct kms_err err;

	(void)state;
	rig_create(&d, "order", KEY_OCT_HSM, 256, CURVE_NONE, RIG_OPS_AES);
	assert_int_equal(use_len("nobody", KEY_OP_ENCRYPT, (enum key_alg)0, 0, &err), KMS_E_KEY_NOTFOUND);
	assert_int_equal(use_len("order", KEY_OP_SIGN, (enum key_alg)0, 0, &err), KMS_E_KEY_OP);
	assert_int_equal(use_len("order", KEY_OP_ENCRYPT, (enum key_alg)0, 0, &err), KMS_E_INVALID);
	assert_non_null(strstr(kms_err_text(&err), "alg: "));
	assert_int_equal(use_len("order", KEY_OP_ENCRYPT, ALG_RSA_OAEP, 0, &err), KMS_E_INVALID);
	assert_non_null(strstr(kms_err_text(&err), "alg: "));
	assert_int_equal(use_len("order", KEY_OP_ENCRYPT, ALG_A256GCM, 0, &err), KMS_E_INVALID);
	assert_non_null(strstr(kms_err_text(&err), "value: "));
}

static void rsa1_5_needs_a_vault_that_allows_it(void **state)
{
	SECRET_AUTO *value = secret_from(data, 32);
	const struct crypto_input in = { .alg = ALG_RSA1_5, .value = value };
	const enum key_op ops[] = { KEY_OP_ENCRYPT, KEY_OP_DECRYPT, KEY_OP_WRAP, KEY_OP_UNWRAP };
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err = { 0 };

	(void)state;
	t_vault(&d, "strict", false);
	t_key(&d, "strict", "k", KEY_RSA, obj);
	for (size_t i = 0; i < KMS_ARRAY_LEN(ops); i++) {
		struct op *op = t_op(&d, "strict", EVENT_KEY_WRAP);
		struct crypto_output out = { 0 };

		err = (struct kms_err){ 0 };
		assert_int_equal(crypto_use(op, "k", NULL, ops[i], &in, &out, &err), KMS_E_INVALID);
		assert_string_equal(kms_err_text(&err), "alg: RSA1_5 is not allowed in this vault; that is chosen when a vault is created.");
		t_op_free(op);
	}
}

static void an_exchange_key_does_nothing_else(void **state)
{
	struct kms_err err;
	bool is_valid = false;

	(void)state;
	rig_create(&d, "exchange", KEY_RSA_HSM, 2048, CURVE_NONE, KEY_OP_IMPORT);
	for (size_t i = 0; i < KMS_ARRAY_LEN(SIX); i++)
		if (SIX[i] != KEY_OP_VERIFY)
			assert_int_equal(use_len("exchange", SIX[i], ALG_RSA_OAEP, 32, &err), KMS_E_KEY_OP);
	assert_int_equal(rig_verify(&d, "exchange", ALG_RS256, data, 32, data, 256, &is_valid, &err), KMS_E_KEY_OP);
}

static void the_leaf_names_the_algorithm_and_the_version(void **state)
{
	SECRET_AUTO *value = secret_from(data, 32);
	const struct crypto_input in = { .alg = ALG_A256KW, .value = value };
	CRYPTO_OUTPUT_AUTO out = { 0 };
	STORE_VERSION_AUTO v = { 0 };
	struct op *op = t_op(&d, RIG_VAULT, EVENT_KEY_WRAP);
	char hex[2 * STORE_ID_LEN + 1];
	struct kms_err err = { 0 };

	(void)state;
	rig_version(&d, "order", &v);
	hex_encode(v.id, STORE_ID_LEN, hex);
	assert_int_equal(crypto_use(op, "order", v.id, KEY_OP_WRAP, &in, &out, &err), KMS_OK);
	assert_string_equal(op->write.event.alg, "A256KW");
	assert_string_equal(op->write.event.key_name, "order");
	assert_string_equal(op->write.event.key_version, hex);
	assert_true(op->write.has_fence);
	assert_int_equal(op->write.fence.version_epoch, v.epoch);
	t_op_free(op);
}

static void a_result_whose_version_was_disabled_meanwhile_is_withheld(void **state)
{
	SECRET_AUTO *value = secret_from(data, 32);
	const struct crypto_input in = { .alg = ALG_HS256, .value = value };
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct op *op = t_op(&d, RIG_VAULT, EVENT_KEY_SIGN), *other = t_op(&d, RIG_VAULT, EVENT_KEY_VERIFY);
	struct kms_err err = { 0 };
	bool is_valid = false;

	(void)state;
	rig_create(&d, "fenced", KEY_OCT, 256, CURVE_NONE, RIG_OPS_SIGN);
	assert_int_equal(crypto_use(op, "fenced", NULL, KEY_OP_SIGN, &in, &out, &err), KMS_OK);
	assert_int_equal(crypto_verify(other, "fenced", NULL, ALG_HS256, data, 32, secret_data(out.value), 32, &is_valid, &err), KMS_OK);
	assert_true(is_valid);
	rig_update(&d, "fenced", &(struct key_update){ .has_enabled = true, .is_enabled = false });
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_FENCED);
	assert_int_equal(t_op_finish(other, KMS_OK), KMS_E_FENCED);
	t_op_free(op);
	t_op_free(other);
}

/* ---- parameters ---- */

static void members_are_where_they_belong_and_nowhere_else(void **state)
{
	static const struct {
		const char *name;
		enum key_op op;
		enum key_alg alg;
		size_t iv_len, tag_len, aad_len, value_len;
		const char *message; /* NULL: taken */
	} CASES[] = {
		{ "aes", KEY_OP_ENCRYPT, ALG_A256GCM, 0, 0, 0, 32, NULL },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256GCM, 0, 0, CRYPTO_AAD_MAX, 32, NULL },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256GCM, 0, 0, CRYPTO_AAD_MAX + 1, 32, "aad: at most 8192 bytes." },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256GCM, 12, 0, 0, 32, "iv: A256GCM encryption takes none; the service makes it" },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256GCM, 0, 16, 0, 32, "tag: A256GCM takes none." },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256GCM, 0, 0, 0, 0, "value: must have 1 to 32768 bytes." },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256GCM, 0, 0, 0, CRYPTO_VALUE_MAX, NULL },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256GCM, 0, 0, 0, CRYPTO_VALUE_MAX + 1, "value: must have 1 to 32768 bytes." },
		{ "aes", KEY_OP_DECRYPT, ALG_A256GCM, 0, 16, 0, 32, "iv: is required; A256GCM takes 12 bytes." },
		{ "aes", KEY_OP_DECRYPT, ALG_A256GCM, 16, 16, 0, 32, "iv: A256GCM takes exactly 12 bytes." },
		{ "aes", KEY_OP_DECRYPT, ALG_A256GCM, 12, 0, 0, 32, "tag: is required; A256GCM takes 16 bytes." },
		{ "aes", KEY_OP_DECRYPT, ALG_A256GCM, 12, 12, 0, 32, "tag: A256GCM takes exactly 16 bytes." },
		{ "aes", KEY_OP_DECRYPT, ALG_A256GCM, 12, 16, CRYPTO_AAD_MAX + 1, 32, "aad: at most" },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256CBC, 16, 0, 0, 32, NULL },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256CBC, 0, 0, 0, 32, "iv: is required; A256CBC takes 16 bytes." },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256CBC, 12, 0, 0, 32, "iv: A256CBC takes exactly 16 bytes." },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256CBC, 16, 0, 1, 32, "aad: A256CBC takes none." },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256CBC, 16, 16, 0, 32, "tag: A256CBC takes none." },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256CBC, 16, 0, 0, 31, "value: A256CBC takes a multiple of 16 bytes." },
		{ "aes", KEY_OP_DECRYPT, ALG_A256CBC, 16, 0, 0, 32, NULL },
		{ "aes", KEY_OP_DECRYPT, ALG_A256CBC, 16, 0, 0, 33, "value: A256CBC takes a multiple of 16 bytes." },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256CBCPAD, 16, 0, 0, 31, NULL },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256CBCPAD, 16, 0, 0, CRYPTO_VALUE_MAX - 1, NULL },
		{ "aes", KEY_OP_ENCRYPT, ALG_A256CBCPAD, 16, 0, 0, CRYPTO_VALUE_MAX, "value: A256CBCPAD encrypts at most 32767 bytes." },
		{ "aes", KEY_OP_DECRYPT, ALG_A256CBCPAD, 16, 0, 0, 31, "value: A256CBCPAD takes a multiple of 16 bytes." },
		{ "aes", KEY_OP_DECRYPT, ALG_A256CBCPAD, 16, 0, 1, 32, "aad: A256CBCPAD takes none." },
		{ "aes", KEY_OP_WRAP, ALG_A256KW, 0, 0, 0, 32, NULL },
		{ "aes", KEY_OP_WRAP, ALG_A256KW, 16, 0, 0, 32, "iv: A256KW takes none." },
		{ "aes", KEY_OP_WRAP, ALG_A256KW, 0, 1, 0, 32, "tag: A256KW takes none." },
		{ "aes", KEY_OP_WRAP, ALG_A256KW, 0, 0, 1, 32, "aad: A256KW takes none." },
		{ "aes", KEY_OP_WRAP, ALG_A256KW, 0, 0, 0, 8, "value: A256KW takes 16 bytes or more, in multiples of 8." },
		{ "aes", KEY_OP_WRAP, ALG_CKM_KW, 0, 0, 0, 17, "value: CKM_AES_KEY_WRAP takes 16 bytes or more" },
		{ "aes", KEY_OP_WRAP, ALG_CKM_KWP, 0, 0, 0, 17, NULL },
		{ "aes", KEY_OP_WRAP, ALG_CKM_KWP, 0, 0, 0, HSM_WRAP_MAX, NULL },
		{ "aes", KEY_OP_WRAP, ALG_CKM_KWP, 0, 0, 0, HSM_WRAP_MAX + 1, "value: at most 4096 bytes can be wrapped." },
		{ "rsa", KEY_OP_ENCRYPT, ALG_RSA_OAEP, 0, 0, 0, 214, NULL },
		{ "rsa", KEY_OP_ENCRYPT, ALG_RSA_OAEP, 0, 0, 0, 215, "value: at most 214 bytes fit RSA-OAEP with this key." },
		{ "rsa", KEY_OP_WRAP, ALG_RSA_OAEP_256, 0, 0, 0, 190, NULL },
		{ "rsa", KEY_OP_WRAP, ALG_RSA_OAEP_256, 0, 0, 0, 191, "value: at most 190 bytes fit RSA-OAEP-256 with this key." },
		{ "rsa", KEY_OP_ENCRYPT, ALG_RSA_OAEP, 0, 0, 0, 0, NULL },
		{ "rsa", KEY_OP_WRAP, ALG_RSA_OAEP_256, 0, 0, 0, 0, NULL },
		{ "rsa", KEY_OP_DECRYPT, ALG_RSA_OAEP, 0, 0, 0, 0, "value: must have 1 to 32768 bytes." },
		{ "rsa", KEY_OP_WRAP, ALG_RSA1_5, 0, 0, 0, 0, "value: must have 1 to 32768 bytes." },
		{ "aes", KEY_OP_WRAP, ALG_CKM_KWP, 0, 0, 0, 0, "value: must have 1 to 32768 bytes." },
		{ "rsa", KEY_OP_WRAP, ALG_RSA1_5, 0, 0, 0, 245, NULL },
		{ "rsa", KEY_OP_WRAP, ALG_RSA1_5, 0, 0, 0, 246, "value: at most 245 bytes fit RSA1_5 with this key." },
		{ "rsa", KEY_OP_ENCRYPT, ALG_RSA_OAEP, 16, 0, 0, 32, "iv: RSA-OAEP takes none." },
		{ "rsa", KEY_OP_DECRYPT, ALG_RSA_OAEP, 0, 16, 0, 256, "tag: RSA-OAEP takes none." },
		{ "rsa", KEY_OP_SIGN, ALG_RS256, 0, 0, 1, 32, "aad: RS256 takes none." },
		{ "rsa", KEY_OP_SIGN, ALG_RS256, 0, 0, 0, 31, "value: RS256 signs a digest of exactly 32 bytes." },
		{ "rsa", KEY_OP_SIGN, ALG_PS384, 0, 0, 0, 32, "value: PS384 signs a digest of exactly 48 bytes." },
		{ "rsa", KEY_OP_SIGN, ALG_PS512, 0, 0, 0, 65, "value: PS512 signs a digest of exactly 64 bytes." },
		{ "rsa", KEY_OP_SIGN, ALG_RSNULL, 0, 0, 0, 245, NULL },
		{ "rsa", KEY_OP_SIGN, ALG_RSNULL, 0, 0, 0, 246, "value: at most 245 bytes fit RSNULL with this key." },
		{ "rsa", KEY_OP_SIGN, ALG_RSNULL, 0, 0, 0, 0, "value: must have 1 to 32768 bytes." },
		{ "ec", KEY_OP_SIGN, ALG_ES512, 0, 0, 0, 64, NULL },
		{ "ec", KEY_OP_SIGN, ALG_ES512, 0, 0, 0, 66, "value: ES512 signs a digest of exactly 64 bytes." },
		{ "ec", KEY_OP_SIGN, ALG_ES256, 0, 0, 0, 32, "alg: ES256 does not fit a key of type EC and curve P-521." },
		{ "mac", KEY_OP_SIGN, ALG_HS384, 0, 0, 0, 1, NULL },
		{ "mac", KEY_OP_SIGN, ALG_HS512, 0, 0, 0, 64, "alg: HS512 does not fit a key of type oct and size 384." },
		{ "mac", KEY_OP_SIGN, ALG_HS256, 0, 0, 0, CRYPTO_VALUE_MAX + 1, "value: must have 1 to 32768 bytes." },
	};

	(void)state;
	rig_create(&d, "aes", KEY_OCT, 256, CURVE_NONE, RIG_OPS_AES);
	rig_create(&d, "rsa", KEY_RSA, 2048, CURVE_NONE, 0);
	rig_create(&d, "ec", KEY_EC, 0, CURVE_P521, 0);
	rig_create(&d, "mac", KEY_OCT, 384, CURVE_NONE, RIG_OPS_SIGN);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		SECRET_AUTO *value = CASES[i].value_len > 0 ? secret_from(data, CASES[i].value_len) : NULL;
		const struct crypto_input in = { .alg = CASES[i].alg, .value = value, .iv = data, .iv_len = CASES[i].iv_len, .aad = data,
			                         .aad_len = CASES[i].aad_len, .tag = data, .tag_len = CASES[i].tag_len };
		struct kms_err err;
		kms_status status = use_err(CASES[i].name, CASES[i].op, &in, &err);

		if (CASES[i].message == NULL ? status != KMS_OK : status != KMS_E_INVALID)
			fail_msg("case %zu: %s: %s", i, kms_status_name(status), err.detail);
		if (CASES[i].message != NULL && strstr(kms_err_text(&err), CASES[i].message) != kms_err_text(&err))
			fail_msg("case %zu: \"%s\" instead of \"%s\"", i, kms_err_text(&err), CASES[i].message);
	}
}

static void an_empty_plaintext_comes_back_as_none(void **state)
{
	struct sw_jwk j;
	uint8_t text[16];
	struct crypto_input in = { .alg = ALG_A256CBCPAD, .iv = IV, .iv_len = sizeof(IV) };
	SECRET_AUTO *value = NULL;
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct kms_err err;
	size_t len = 0;

	(void)state;
	sw_jwk_oct(data, 32, KEY_OCT, &j);
	rig_import(&d, "empty", &j.jwk, false, RIG_OPS_AES);
	sw_jwk_clear(&j);
	assert_true(sw_aes("AES-256-CBC", true, true, data, IV, NULL, 0, data, 0, NULL, text, &len));
	assert_int_equal(len, 16);
	value = secret_from(text, len);
	in.value = value;
	assert_int_equal(rig_use(&d, "empty", KEY_OP_DECRYPT, &in, &out, &err), KMS_OK);
	assert_null(out.value);
}

/* ---- refusals of bad ciphertexts ---- */

/* The first refusal of a test, and the demand that all later ones look the same in everything that a caller or the log could see. */
static void same_refusal(kms_status status, const struct kms_err *err, struct kms_err *first)
{
	assert_int_equal(status, KMS_E_CRYPTO);
	if (first->status == KMS_OK)
		*first = *err;
	assert_int_equal(err->status, first->status);
	assert_string_equal(kms_err_text(err), kms_err_text(first));
	assert_string_equal(err->detail, first->detail);
	assert_int_equal(err->native, first->native);
	assert_string_equal(err->where, first->where);
}

static void every_flipped_bit_of_a_gcm_ciphertext_is_refused_alike(void **state)
{
	struct sealed s = { { 0 }, { 0 }, { 0 }, { 0 } };
	uint8_t *bytes = (uint8_t *)&s;
	struct kms_err err, first = { 0 };

	(void)state;
	assert_int_equal(seal("aes", &s), KMS_OK);
	assert_int_equal(open_sealed("aes", &s, &err), KMS_OK);
	for (size_t bit = 0; bit < 8 * sizeof(s); bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		same_refusal(open_sealed("aes", &s, &err), &err, &first);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(open_sealed("aes", &s, &err), KMS_OK);
	rig_create(&d, "stranger", KEY_OCT, 256, CURVE_NONE, RIG_OPS_AES);
	same_refusal(open_sealed("stranger", &s, &err), &err, &first);
}

static void check_flips(const char *name, enum key_op make, enum key_op back, enum key_alg alg, size_t len)
{
	SECRET_AUTO *value = len > 0 ? secret_from(data, len) : NULL;
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct kms_err err, first = { 0 };

	assert_int_equal(rig_use(&d, name, make, &(struct crypto_input){ .alg = alg, .value = value }, &out, &err), KMS_OK);
	for (size_t byte = 0; byte < secret_len(out.value); byte++) {
		secret_bytes(out.value)[byte] ^= (uint8_t)(1 << byte % 8);
		same_refusal(use_err(name, back, &(struct crypto_input){ .alg = alg, .value = out.value }, &err), &err, &first);
		secret_bytes(out.value)[byte] ^= (uint8_t)(1 << byte % 8);
	}
	assert_int_equal(use_err(name, back, &(struct crypto_input){ .alg = alg, .value = out.value }, &err), KMS_OK);
	secret_shrink(out.value, secret_len(out.value) - 1);
	same_refusal(use_err(name, back, &(struct crypto_input){ .alg = alg, .value = out.value }, &err), &err, &first);
	same_refusal(use_len(name, back, alg, 1, &err), &err, &first);
	same_refusal(use_len(name, back, alg, HSM_WRAP_MAX + 9, &err), &err, &first);
}

static void every_other_bad_ciphertext_is_refused_alike(void **state)
{
	(void)state;
	check_flips("aes", KEY_OP_WRAP, KEY_OP_UNWRAP, ALG_A256KW, 32);
	check_flips("aes", KEY_OP_WRAP, KEY_OP_UNWRAP, ALG_CKM_KWP, 32);
	check_flips("rsa", KEY_OP_ENCRYPT, KEY_OP_DECRYPT, ALG_RSA_OAEP, 32);
	check_flips("rsa", KEY_OP_WRAP, KEY_OP_UNWRAP, ALG_RSA_OAEP_256, 32);
	check_flips("rsa", KEY_OP_WRAP, KEY_OP_UNWRAP, ALG_RSA_OAEP, 0);
}

static void bad_padding_is_refused_alike(void **state)
{
	struct kms_err err, first = { 0 };
	unsigned refused = 0;

	(void)state;
	for (unsigned i = 0; i < 64; i++) { /* of random blocks one in 256 has a padding */
		SECRET_AUTO *value = secret_from(data + 16 * (size_t)i, 32);
		kms_status status = use_err("aes", KEY_OP_DECRYPT, &(struct crypto_input){ .alg = ALG_A256CBCPAD, .value = value, .iv = IV,
		                                                                           .iv_len = sizeof(IV) }, &err);
		if (status == KMS_OK)
			continue;
		same_refusal(status, &err, &first);
		refused++;
	}
	assert_true(refused > 32);
}

/* ---- signatures ---- */

static void a_signature_of_any_length_is_an_answer_and_no_error(void **state)
{
	static const struct {
		const char *name;
		enum key_alg alg;
		size_t len; /* of a good one */
	} CASES[] = { { "rsa", ALG_RS256, 256 },
		      { "rsa", ALG_PS512, 256 },
		      { "rsa", ALG_RSNULL, 256 },
		      { "ec", ALG_ES512, 132 },
		      { "mac", ALG_HS384, 48 } };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		const enum key_alg alg = CASES[i].alg;
		const char *name = CASES[i].name;
		const size_t digest_len = key_alg_info(alg)->digest_len != 0 ? key_alg_info(alg)->digest_len : 20;
		SECRET_AUTO *value = secret_from(data, digest_len);
		CRYPTO_OUTPUT_AUTO out = { 0 };
		struct kms_err err;
		uint8_t padded[HSM_SIGNATURE_MAX + 2] = { 0 };
		bool is_valid = false;

		assert_int_equal(rig_use(&d, name, KEY_OP_SIGN, &(struct crypto_input){ .alg = alg, .value = value }, &out, &err), KMS_OK);
		assert_int_equal(secret_len(out.value), CASES[i].len);
		memcpy(padded, secret_data(out.value), CASES[i].len);
		for (size_t len = 0; len <= CASES[i].len + 2; len++) {
			is_valid = len != CASES[i].len;
			assert_int_equal(rig_verify(&d, name, alg, data, digest_len, len > 0 ? padded : NULL, len, &is_valid, &err), KMS_OK);
			assert_int_equal(is_valid, len == CASES[i].len);
		}
		padded[0] ^= 1;
		assert_int_equal(rig_verify(&d, name, alg, data, digest_len, padded, CASES[i].len, &is_valid, &err), KMS_OK);
		assert_false(is_valid);
	}
}

static void a_digest_of_the_wrong_length_is_an_error(void **state)
{
	struct kms_err err;
	bool is_valid = false;

	(void)state;
	assert_int_equal(rig_verify(&d, "rsa", ALG_RS256, data, 31, data, 256, &is_valid, &err), KMS_E_INVALID);
	assert_string_equal(kms_err_text(&err), "digest: RS256 signs a digest of exactly 32 bytes.");
	assert_int_equal(rig_verify(&d, "ec", ALG_ES512, data, 0, data, 132, &is_valid, &err), KMS_E_INVALID);
	assert_int_equal(rig_verify(&d, "rsa", ALG_RSNULL, data, 246, data, 256, &is_valid, &err), KMS_E_INVALID);
	assert_int_equal(rig_verify(&d, "mac", ALG_HS256, data, CRYPTO_VALUE_MAX + 1, data, 32, &is_valid, &err), KMS_E_INVALID);
	assert_int_equal(rig_verify(&d, "mac", ALG_HS256, data, 0, data, 32, &is_valid, &err), KMS_E_INVALID);
}

/* ---- the bound of AES-GCM ---- */

static uint64_t encryptions(const char *name)
{
	STORE_VERSION_AUTO v = { 0 };

	rig_version(&d, name, &v);
	return v.encryptions;
}

static void every_gcm_encryption_has_its_own_nonce_and_is_counted(void **state)
{
	enum { COUNT = 64 };
	struct sealed s[COUNT];
	struct kms_err err;

	(void)state;
	rig_create(&d, "counted", KEY_OCT, 256, CURVE_NONE, RIG_OPS_AES);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(seal("counted", &s[i]), KMS_OK);
		for (int j = 0; j < i; j++)
			assert_memory_not_equal(s[i].iv, s[j].iv, sizeof(s[i].iv));
	}
	assert_int_equal(encryptions("counted"), COUNT);
	/* nothing else counts, nor what is refused */
	assert_int_equal(open_sealed("counted", &s[0], &err), KMS_OK);
	assert_int_equal(use_len("counted", KEY_OP_WRAP, ALG_A256KW, 32, &err), KMS_OK);
	assert_int_equal(use_err("counted", KEY_OP_ENCRYPT, &(struct crypto_input){ .alg = ALG_A256GCM }, &err), KMS_E_INVALID);
	assert_int_equal(encryptions("counted"), COUNT);
}

static void a_key_encrypts_with_gcm_exactly_as_often_as_is_safe(void **state)
{
	SECRET_AUTO *value = secret_from(data, 16);
	const struct crypto_input gcm = { .alg = ALG_A256GCM, .value = value };
	const struct crypto_input cbc = { .alg = ALG_A256CBC, .value = value, .iv = IV, .iv_len = sizeof(IV) };
	CRYPTO_OUTPUT_AUTO out1 = { 0 };
	CRYPTO_OUTPUT_AUTO out2 = { 0 };
	struct op *one = t_op(&d, RIG_VAULT, EVENT_KEY_ENCRYPT), *two = t_op(&d, RIG_VAULT, EVENT_KEY_ENCRYPT);
	struct sealed early, s;
	struct kms_err err = { 0 };

	(void)state;
	rig_create(&d, "bound", KEY_OCT_HSM, 256, CURVE_NONE, RIG_OPS_AES);
	assert_int_equal(seal("bound", &early), KMS_OK);
	rig_set_encryptions(&d, "bound", CRYPTO_GCM_USES_MAX - 2);
	assert_int_equal(seal("bound", &s), KMS_OK);
	/* one is left, and two are under way: the second is withheld */
	assert_int_equal(crypto_use(one, "bound", NULL, KEY_OP_ENCRYPT, &gcm, &out1, &err), KMS_OK);
	assert_int_equal(crypto_use(two, "bound", NULL, KEY_OP_ENCRYPT, &gcm, &out2, &err), KMS_OK);
	assert_int_equal(t_op_finish(two, KMS_OK), KMS_OK);
	assert_int_equal(t_op_finish(one, KMS_OK), KMS_E_FENCED);
	assert_int_equal(encryptions("bound"), CRYPTO_GCM_USES_MAX);
	assert_int_equal(use_err("bound", KEY_OP_ENCRYPT, &gcm, &err), KMS_E_POLICY);
	assert_non_null(strstr(kms_err_text(&err), "rotate the key"));
	assert_int_equal(encryptions("bound"), CRYPTO_GCM_USES_MAX);
	/* what was encrypted is still read, and other algorithms draw no nonce */
	assert_int_equal(open_sealed("bound", &early, &err), KMS_OK);
	assert_int_equal(open_sealed("bound", &s, &err), KMS_OK);
	assert_int_equal(use_err("bound", KEY_OP_ENCRYPT, &cbc, &err), KMS_OK);
	assert_int_equal(use_len("bound", KEY_OP_WRAP, ALG_A256KW, 32, &err), KMS_OK);
	t_op_free(one);
	t_op_free(two);
}

/* ---- random bytes ---- */

static void random_bytes_come_in_the_asked_number(void **state)
{
	struct op *op = t_op(&d, RIG_VAULT, EVENT_KEY_RANDOM);
	struct kms_err err = { 0 };
	struct secret *none = NULL;

	(void)state;
	assert_int_equal(crypto_random(op, 0, &none, &err), KMS_E_INVALID);
	assert_int_equal(crypto_random(op, CRYPTO_RANDOM_MAX + 1, &none, &err), KMS_E_INVALID);
	assert_null(none);
	for (size_t count = 1; count <= CRYPTO_RANDOM_MAX; count++) {
		SECRET_AUTO *a = NULL;
		SECRET_AUTO *b = NULL;

		assert_int_equal(crypto_random(op, count, &a, &err), KMS_OK);
		assert_int_equal(crypto_random(op, count, &b, &err), KMS_OK);
		assert_int_equal(secret_len(a), count);
		if (count >= 16)
			assert_memory_not_equal(secret_data(a), secret_data(b), count);
	}
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	t_op_free(op);
}

/* ---- a device that fails ---- */

static struct hsm_ops broken_ops;
static const struct hsm_ops *real_ops;

static kms_status wrong_sign(struct hsm *h, const struct hsm_key *key, enum hsm_sign_alg alg, const uint8_t *input, size_t input_len,
                             uint8_t ret_signature[HSM_SIGNATURE_MAX], size_t *ret_len, struct kms_err *err)
{
	kms_status status = real_ops->sign(h, key, alg, input, input_len, ret_signature, ret_len, err);

	ret_signature[*ret_len / 2] ^= 0x10;
	return status;
}

static void away_info(struct hsm *h, struct hsm_info *ret_info)
{
	real_ops->info(h, ret_info);
	ret_info->is_available = false;
}

static void break_device(void)
{
	real_ops = d.kms.hsm->ops;
	broken_ops = *real_ops;
	d.kms.hsm->ops = &broken_ops;
}

static void mend_device(void) { d.kms.hsm->ops = real_ops; }

static void a_faulty_signature_is_never_shown(void **state)
{
	static const struct {
		const char *name;
		enum key_alg alg;
	} CASES[] = { { "rsa", ALG_RS256 }, { "rsa", ALG_RSNULL }, { "rsa", ALG_PS384 }, { "ec", ALG_ES512 } };
	struct kms_err err;

	(void)state;
	break_device();
	broken_ops.sign = wrong_sign;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		size_t len = key_alg_info(CASES[i].alg)->digest_len;
		assert_int_equal(use_len(CASES[i].name, KEY_OP_SIGN, CASES[i].alg, len != 0 ? len : 20, &err), KMS_E_DEVICE);
		assert_non_null(strstr(err.detail, "withheld"));
	}
	mend_device();
	assert_int_equal(use_len("rsa", KEY_OP_SIGN, ALG_RS256, 32, &err), KMS_OK);
}

static void while_the_device_is_away_nothing_is_encrypted_but_signatures_are_verified(void **state)
{
	SECRET_AUTO *value = secret_from(data, 64);
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct kms_err err;
	bool is_valid = false;

	(void)state;
	assert_int_equal(rig_use(&d, "ec", KEY_OP_SIGN, &(struct crypto_input){ .alg = ALG_ES512, .value = value }, &out, &err), KMS_OK);
	break_device();
	broken_ops.info = away_info;
	assert_int_equal(use_len("rsa", KEY_OP_ENCRYPT, ALG_RSA_OAEP, 32, &err), KMS_E_DEVICE);
	assert_int_equal(use_len("rsa", KEY_OP_WRAP, ALG_RSA_OAEP_256, 32, &err), KMS_E_DEVICE);
	assert_int_equal(rig_verify(&d, "ec", ALG_ES512, data, 64, secret_data(out.value), secret_len(out.value), &is_valid, &err), KMS_OK);
	assert_true(is_valid);
	mend_device();
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	rig_vault(&d);
	return random_bytes(data, sizeof(data)) ? 0 : -1;
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
		cmocka_unit_test(each_operation_obeys_the_state_of_the_version),
		cmocka_unit_test(the_order_of_checks_is_existence_state_algorithm_parameters),
		cmocka_unit_test(rsa1_5_needs_a_vault_that_allows_it),
		cmocka_unit_test(an_exchange_key_does_nothing_else),
		cmocka_unit_test(the_leaf_names_the_algorithm_and_the_version),
		cmocka_unit_test(a_result_whose_version_was_disabled_meanwhile_is_withheld),
		cmocka_unit_test(members_are_where_they_belong_and_nowhere_else),
		cmocka_unit_test(an_empty_plaintext_comes_back_as_none),
		cmocka_unit_test(every_flipped_bit_of_a_gcm_ciphertext_is_refused_alike),
		cmocka_unit_test(every_other_bad_ciphertext_is_refused_alike),
		cmocka_unit_test(bad_padding_is_refused_alike),
		cmocka_unit_test(a_signature_of_any_length_is_an_answer_and_no_error),
		cmocka_unit_test(a_digest_of_the_wrong_length_is_an_error),
		cmocka_unit_test(every_gcm_encryption_has_its_own_nonce_and_is_counted),
		cmocka_unit_test(a_key_encrypts_with_gcm_exactly_as_often_as_is_safe),
		cmocka_unit_test(random_bytes_come_in_the_asked_number),
		cmocka_unit_test(a_faulty_signature_is_never_shown),
		cmocka_unit_test(while_the_device_is_away_nothing_is_encrypted_but_signatures_are_verified),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
