/* tests/unit/core_import.c - keys from outside on a real token and database: in clear, transferred for an exchange key, refused, cut short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/crypto.h"
#include "tests/support/domain.h"
#include "tests/support/hsm_material.h"
#include "tests/support/software.h"

#define VAULT "importing"
#define SIGN_OPS (KEY_OP_SIGN | KEY_OP_VERIFY)

static struct t_domain d;
static const uint8_t DIGEST[32] = "thirty-two bytes that are a sum";

static struct key_import request(const struct jwk *jwk, bool to_hsm)
{
	struct key_import req = { .to_hsm = to_hsm, .as = { .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME } };

	if (jwk != NULL)
		req.jwk = *jwk;
	return req;
}

/* The finished op, to be freed; *ret_status what the core said. */
static struct op *import(const char *name, const struct key_import *req, kms_status *ret_status, struct kms_err *err)
{
	struct op *op = t_op(&d, VAULT, EVENT_KEY_IMPORT);

	memset(err, 0, sizeof(*err));
	*ret_status = keyring_import(op, name, req, err);
	if (*ret_status != KMS_OK && op->undo != NULL)
		assert_int_equal(op->undo(op), KMS_OK);
	assert_int_equal(t_op_finish(op, *ret_status), KMS_OK);
	return op;
}

static void refused(const char *name, const struct key_import *req, kms_status expected, const char *says)
{
	struct kms_err err;
	kms_status status = KMS_OK;
	struct op *op = import(name, req, &status, &err), *look = t_op(&d, VAULT, EVENT_KEY_GET);

	if (status != expected || (says != NULL && strstr(kms_err_text(&err), says) == NULL))
		fail_msg("%s: %s (%s)", kms_status_name(status), kms_err_text(&err), err.detail);
	if (op->undo != NULL)
		assert_false(t_object_exists(&d, op->object));
	assert_int_equal(keyring_get(look, name, NULL, &err), KMS_E_KEY_NOTFOUND);
	t_op_free(look);
	t_op_free(op);
}

/* What the device signs is verified with the public half that was brought. */
static void check_signature(const char *name, enum key_alg alg, EVP_PKEY *pkey)
{
	struct op *op = t_op(&d, VAULT, EVENT_KEY_SIGN);
	size_t len = key_alg_info(alg)->digest_len;
	uint8_t digest[64] = "a digest of any length";
	SECRET_AUTO *value = secret_from(digest, len);
	struct crypto_input in = { .alg = alg, .value = value };
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct kms_err err = { 0 };

	assert_int_equal(crypto_use(op, name, NULL, KEY_OP_SIGN, &in, &out, &err), KMS_OK);
	assert_true(sw_verify(pkey, alg, digest, len, secret_data(out.value), secret_len(out.value)));
	t_op_free(op);
}

static void leaf_says(uint64_t seq, const char *text, bool expected)
{
	struct store_event e = { 0 };
	char leaf[EVENT_LEAF_MAX + 1];

	assert_int_equal(store_event(d.store->r, seq, &e, NULL), KMS_OK);
	memcpy(leaf, e.leaf, e.leaf_len);
	leaf[e.leaf_len] = '\0';
	if ((strstr(leaf, text) != NULL) != expected)
		fail_msg("%s", leaf);
	store_event_clear(&e);
}

static void pairs_in_clear_are_taken_in_both_ways(void **state)
{
	static const struct {
		enum key_type type;
		enum key_curve crv;
		enum key_alg alg;
	} CASES[] = {
		{ KEY_RSA, CURVE_NONE, ALG_RS256 },   { KEY_EC, CURVE_P256, ALG_ES256 },    { KEY_EC, CURVE_P384, ALG_ES384 },
		{ KEY_EC, CURVE_P521, ALG_ES512 },    { KEY_EC, CURVE_P256K, ALG_ES256K },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		EVP_PKEY *pkey = CASES[i].type == KEY_RSA ? sw_rsa(2048) : sw_ec(CASES[i].crv);
		struct sw_jwk j;

		sw_jwk(pkey, CASES[i].type, CASES[i].crv, &j);
		for (int hsm = 0; hsm < 2; hsm++) {
			struct key_import req = request(&j.jwk, hsm != 0);
			struct kms_err err;
			kms_status status = KMS_OK;
			char name[] = "clear-0-0";
			struct op *op = NULL;

			name[6] = (char)('0' + i);
			name[8] = (char)('0' + hsm);
			op = import(name, &req, &status, &err);
			assert_int_equal(status, KMS_OK);
			assert_int_equal(key_type_info((enum key_type)op->version.kty)->is_resident, hsm);
			assert_int_equal(op->version.crv, CASES[i].crv);
			assert_int_equal(op->version.wrapped == NULL, hsm);
			assert_int_equal(t_object_exists(&d, op->version.obj), hsm);
			check_signature(name, CASES[i].alg, pkey);
			leaf_says(op->write.seq, "\"origin\":\"import\"", true);
			leaf_says(op->write.seq, "\"phase\":\"outcome\"", true);
			t_op_free(op);
		}
		sw_jwk_clear(&j);
		EVP_PKEY_free(pkey);
	}
}

static void secrets_in_clear_become_what_key_ops_say(void **state)
{
	static const struct {
		size_t len;
		bool hsm;
		uint32_t ops;
		enum key_type kty; /* 0 = refused */
		uint32_t has;
	} CASES[] = {
		{ 16, false, 0, KEY_OCT, KEY_OP_ENCRYPT | KEY_OP_DECRYPT | KEY_OP_WRAP | KEY_OP_UNWRAP },
		{ 32, false, SIGN_OPS, KEY_OCT, SIGN_OPS },
		{ 32, false, SIGN_OPS | KEY_OP_ENCRYPT, KEY_OCT, SIGN_OPS | KEY_OP_ENCRYPT },
		{ 64, false, 0, KEY_OCT, SIGN_OPS },
		{ 24, true, 0, KEY_OCT_HSM, KEY_OP_ENCRYPT | KEY_OP_DECRYPT | KEY_OP_WRAP | KEY_OP_UNWRAP },
		{ 48, true, 0, KEY_OCT_HSM_MAC, SIGN_OPS },
		{ 32, true, SIGN_OPS, KEY_OCT_HSM_MAC, SIGN_OPS },
		{ 16, true, SIGN_OPS, 0, 0 },
		{ 32, true, SIGN_OPS | KEY_OP_ENCRYPT, 0, 0 },
		{ 64, true, KEY_OP_ENCRYPT, 0, 0 },
		{ 15, false, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		uint8_t bytes[64];
		struct sw_jwk j;
		struct key_import req;
		struct kms_err err;
		kms_status status = KMS_OK;
		char name[] = "oct-a";
		struct op *op = NULL;

		assert_true(random_bytes(bytes, sizeof(bytes)));
		sw_jwk_oct(bytes, CASES[i].len, KEY_OCT, &j);
		req = request(&j.jwk, CASES[i].hsm);
		req.as.has_ops = CASES[i].ops != 0;
		req.as.ops = CASES[i].ops;
		name[4] = (char)('a' + i);
		if (CASES[i].kty == 0) {
			refused(name, &req, KMS_E_INVALID, NULL);
		} else {
			op = import(name, &req, &status, &err);
			assert_int_equal(status, KMS_OK);
			assert_int_equal(op->version.kty, CASES[i].kty);
			assert_int_equal(op->version.bits, CASES[i].len * 8);
			assert_int_equal(op->version.ops, CASES[i].has);
			assert_null(op->version.pub);
			t_op_free(op);
		}
		sw_jwk_clear(&j);
	}
}

static void an_imported_secret_is_the_one_that_was_brought(void **state)
{
	static const uint8_t KEK[32] = "thirty-two bytes of a known key";
	static const uint8_t PLAIN[16] = "sixteen bytes, k";
	struct sw_jwk j;
	struct key_import req;
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;
	uint8_t expected[32], iv[8];
	int len = 0;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	SECRET_AUTO *plain = secret_from(PLAIN, sizeof(PLAIN));
	struct crypto_input in = { .alg = ALG_A256KW, .value = plain };

	(void)state;
	memset(iv, 0xa6, sizeof(iv)); /* RFC 3394 section 2.2.3.1 */
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap(), NULL, KEK, iv), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, expected, &len, PLAIN, sizeof(PLAIN)), 1);
	EVP_CIPHER_CTX_free(ctx);
	sw_jwk_oct(KEK, sizeof(KEK), KEY_OCT, &j);
	for (int hsm = 0; hsm < 2; hsm++) {
		const char *name = hsm ? "known-hsm" : "known";
		struct op *op = NULL;
		CRYPTO_OUTPUT_AUTO out = { 0 };

		req = request(&j.jwk, hsm != 0);
		t_op_free(import(name, &req, &status, &err));
		assert_int_equal(status, KMS_OK);
		op = t_op(&d, VAULT, EVENT_KEY_WRAP);
		assert_int_equal(crypto_use(op, name, NULL, KEY_OP_WRAP, &in, &out, &err), KMS_OK);
		assert_int_equal(secret_len(out.value), 24);
		assert_memory_equal(secret_data(out.value), expected, 24);
		t_op_free(op);
	}
	sw_jwk_clear(&j);
}

static void what_is_wrong_is_refused_before_it_reaches_the_device(void **state)
{
	EVP_PKEY *pkey = sw_ec(CURVE_P256);
	struct sw_jwk j;
	struct key_import req;
	uint64_t leaves = 0, after = 0;

	(void)state;
	sw_jwk(pkey, KEY_EC, CURVE_P256, &j);
	j.y[5] ^= 1;
	req = request(&j.jwk, false);
	assert_int_equal(store_event_count(d.store->r, &leaves, NULL), KMS_OK);
	refused("off-curve", &req, KMS_E_INVALID, NULL);
	assert_int_equal(store_event_count(d.store->r, &after, NULL), KMS_OK);
	assert_int_equal(after, leaves + 1); /* one refusal, no intent */
	j.y[5] ^= 1;
	req.as.has_ops = true;
	req.as.ops = KEY_OP_ENCRYPT;
	refused("off-curve", &req, KMS_E_INVALID, "key_ops");
	req.as.ops = KEY_OP_IMPORT;
	refused("off-curve", &req, KMS_E_INVALID, "never imported");
	req.as.has_ops = false;
	req.as.nbf_s = 10;
	req.as.exp_s = 5;
	refused("off-curve", &req, KMS_E_INVALID, "nbf");
	req = request(&j.jwk, false);
	req.jwk.type = (enum key_type)0;
	refused("off-curve", &req, KMS_E_INVALID, "kty");
	sw_jwk_clear(&j);
	EVP_PKEY_free(pkey);
}

static void an_import_is_a_new_version_of_a_living_key(void **state)
{
	static const uint8_t KEK[32] = "another thirty-two bytes of key";
	struct sw_jwk j;
	struct key_import req;
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;
	uint8_t obj[HSM_ID_LEN];
	struct op *op = NULL;

	(void)state;
	t_key(&d, VAULT, "versions", KEY_EC, obj);
	sw_jwk_oct(KEK, sizeof(KEK), KEY_OCT, &j);
	req = request(&j.jwk, true);
	op = import("versions", &req, &status, &err);
	assert_int_equal(status, KMS_OK);
	t_op_free(op);
	op = t_op(&d, VAULT, EVENT_KEY_GET);
	assert_int_equal(keyring_get(op, "versions", NULL, &err), KMS_OK);
	assert_int_equal(op->version.ordinal, 2);
	assert_int_equal(op->version.kty, KEY_OCT_HSM);
	t_op_free(op);
	op = t_op(&d, VAULT, EVENT_KEY_DELETE);
	assert_int_equal(t_op_finish(op, keyring_delete(op, "versions", &err)), KMS_OK);
	t_op_free(op);
	op = import("versions", &req, &status, &err);
	assert_int_equal(status, KMS_E_DELETED);
	t_op_free(op);
	sw_jwk_clear(&j);
}

static void an_import_that_was_cut_short_is_undone(void **state)
{
	static const uint8_t KEK[32] = "yet another thirty-two of a key";
	struct sw_jwk j;
	struct key_import req;
	struct recovery_count count = { 0 };
	struct kms_err err = { 0 };
	uint8_t obj[HSM_ID_LEN];
	struct op *op = t_op(&d, VAULT, EVENT_KEY_IMPORT);

	(void)state;
	sw_jwk_oct(KEK, sizeof(KEK), KEY_OCT, &j);
	req = request(&j.jwk, true);
	assert_int_equal(keyring_import(op, "cut", &req, &err), KMS_OK);
	memcpy(obj, op->version.obj, sizeof(obj));
	t_op_free(op); /* the power fails before the outcome is written */
	assert_true(t_object_exists(&d, obj));
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_TYPE(EVENT_KEY_IMPORT), &count, &err), KMS_OK);
	assert_int_equal(count.settled, 1);
	assert_false(t_object_exists(&d, obj));
	sw_jwk_clear(&j);
}

/* ---- BYOK ---- */

/* An exchange key and its public half. */
struct exchange {
	struct hsm_public pub;
	uint8_t version[STORE_ID_LEN];
};

static struct exchange make_exchange(const char *name)
{
	struct key_create req = { .type = KEY_RSA_HSM, .has_ops = true, .ops = KEY_OP_IMPORT, .is_enabled = true, .nbf_s = STORE_NO_TIME,
	                          .exp_s = STORE_NO_TIME };
	struct op *op = t_op(&d, VAULT, EVENT_KEY_CREATE);
	struct exchange e = { 0 };
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_create(op, name, &req, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	assert_int_equal(op->version.kty, KEY_RSA_HSM_EXCHANGE);
	memcpy(e.pub.n, op->version.pub, op->version.pub_len);
	e.pub.n_len = op->version.pub_len;
	memcpy(e.pub.e, op->version.e, op->version.e_len);
	e.pub.e_len = op->version.e_len;
	memcpy(e.version, op->version.id, STORE_ID_LEN);
	t_op_free(op);
	return e;
}

static struct key_import transfer(const char *exchange, const uint8_t version[STORE_ID_LEN], enum key_type type, enum key_curve crv,
                                  const uint8_t *blob, size_t len)
{
	struct key_import req = request(NULL, true);

	req.jwk.type = type;
	req.jwk.crv = crv;
	req.transfer = blob;
	req.transfer_len = len;
	(void)snprintf(req.exchange_name, sizeof(req.exchange_name), "%s", exchange);
	memcpy(req.exchange_version, version, STORE_ID_LEN);
	return req;
}

static void keys_are_transferred_from_another_hsm(void **state)
{
	static const struct {
		enum hsm_kind kind;
		unsigned bits;
		enum key_type type;
		enum key_curve crv;
		enum key_alg alg;
	} CASES[] = {
		{ HSM_KIND_RSA, 3072, KEY_RSA_HSM, CURVE_NONE, ALG_PS256 },  { HSM_KIND_P256, 0, KEY_EC_HSM, CURVE_P256, ALG_ES256 },
		{ HSM_KIND_P384, 0, KEY_EC_HSM, CURVE_P384, ALG_ES384 },     { HSM_KIND_P521, 0, KEY_EC_HSM, CURVE_P521, ALG_ES512 },
		{ HSM_KIND_P256K, 0, KEY_EC_HSM, CURVE_P256K, ALG_ES256K },
	};
	struct exchange e = make_exchange("kek");
	uint8_t blob[HSM_TRANSFER_MAX];
	size_t len = 0;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct t_material m;
		struct key_import req;
		struct kms_err err;
		kms_status status = KMS_OK;
		char name[] = "byok-0";
		struct op *op = NULL;

		name[5] = (char)('0' + i);
		t_material_make(&m, CASES[i].kind, CASES[i].bits);
		t_transfer_make(&e.pub, &m, NULL, blob, &len);
		req = transfer("kek", e.version, CASES[i].type, CASES[i].crv, blob, len);
		op = import(name, &req, &status, &err);
		if (status != KMS_OK)
			fail_msg("%s: %s", kms_err_text(&err), err.detail);
		assert_int_equal(op->version.kty, CASES[i].type);
		if (CASES[i].bits != 0)
			assert_int_equal(op->version.bits, CASES[i].bits);
		assert_true(t_object_exists(&d, op->version.obj));
		check_signature(name, CASES[i].alg, m.pkey);
		leaf_says(op->write.seq, "\"origin\":\"transfer\"", true);
		leaf_says(op->write.seq, "\"exchange\":\"", true);
		t_op_free(op);
		t_material_clear(&m);
	}
}

static void secrets_are_transferred_with_their_size_as_it_comes(void **state)
{
	static const struct {
		size_t len;
		uint32_t ops;
		enum key_type kty; /* 0 = refused */
	} CASES[] = {
		{ 16, 0, KEY_OCT_HSM }, { 32, 0, KEY_OCT_HSM }, { 32, SIGN_OPS, KEY_OCT_HSM_MAC }, { 64, SIGN_OPS, KEY_OCT_HSM_MAC },
		{ 64, 0, 0 }, { 16, SIGN_OPS, 0 },
		{ 20, 0, 0 },
	};
	struct exchange e = make_exchange("kek-oct");
	uint8_t blob[HSM_TRANSFER_MAX], bytes[64];
	size_t len = 0;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		SECRET_AUTO *plain = NULL;
		struct key_import req;
		struct kms_err err;
		kms_status status = KMS_OK;
		char name[] = "secret-0";
		struct op *op = NULL;

		name[7] = (char)('0' + i);
		assert_true(random_bytes(bytes, sizeof(bytes)));
		plain = secret_from(bytes, CASES[i].len);
		t_transfer_make(&e.pub, NULL, plain, blob, &len);
		req = transfer("kek-oct", e.version, KEY_OCT_HSM, CURVE_NONE, blob, len);
		req.as.has_ops = CASES[i].ops != 0;
		req.as.ops = CASES[i].ops;
		if (CASES[i].kty == 0) {
			refused(name, &req, KMS_E_INVALID, NULL);
			continue;
		}
		op = import(name, &req, &status, &err);
		if (status != KMS_OK)
			fail_msg("%zu: %s: %s", i, kms_err_text(&err), err.detail);
		assert_int_equal(op->version.kty, CASES[i].kty);
		assert_int_equal(op->version.bits, CASES[i].len * 8);
		t_op_free(op);
	}
}

static void a_transfer_that_is_wrong_leaves_nothing(void **state)
{
	struct exchange e = make_exchange("kek-wrong");
	struct t_material ec, rsa;
	uint8_t blob[HSM_TRANSFER_MAX], obj[HSM_ID_LEN];
	size_t len = 0;
	struct key_import req;

	(void)state;
	t_material_make(&ec, HSM_KIND_P256, 0);
	t_material_make(&rsa, HSM_KIND_RSA, 1024);
	t_transfer_make(&e.pub, &ec, NULL, blob, &len);
	for (size_t at = 3; at < len; at += len / 7) {
		blob[at] ^= 0x10;
		req = transfer("kek-wrong", e.version, KEY_EC_HSM, CURVE_P256, blob, len);
		refused("wrong", &req, KMS_E_CRYPTO, NULL);
		blob[at] ^= 0x10;
	}
	req = transfer("kek-wrong", e.version, KEY_EC_HSM, CURVE_P256, blob, len - 8);
	refused("wrong", &req, KMS_E_CRYPTO, NULL);
	req = transfer("kek-wrong", e.version, KEY_EC_HSM, CURVE_P256, blob, 0);
	refused("wrong", &req, KMS_E_CRYPTO, NULL);
	req = transfer("kek-wrong", e.version, KEY_EC_HSM, CURVE_P384, blob, len);
	refused("wrong", &req, KMS_E_INVALID, NULL); /* a sound key of another curve */
	req = transfer("kek-wrong", e.version, KEY_EC_HSM, CURVE_NONE, blob, len);
	refused("wrong", &req, KMS_E_INVALID, "crv");
	req = transfer("kek-wrong", e.version, KEY_EC, CURVE_P256, blob, len);
	req.to_hsm = false;
	refused("wrong", &req, KMS_E_INVALID, "stays in the HSM");
	t_transfer_make(&e.pub, &rsa, NULL, blob, &len);
	req = transfer("kek-wrong", e.version, KEY_RSA_HSM, CURVE_NONE, blob, len);
	refused("wrong", &req, KMS_E_INVALID, NULL); /* 1024 bits */
	/* what is named is no exchange key, or not there, or not to be used */
	t_transfer_make(&e.pub, &ec, NULL, blob, &len);
	req = transfer("nobody", e.version, KEY_EC_HSM, CURVE_P256, blob, len);
	refused("wrong", &req, KMS_E_KEY_NOTFOUND, "nobody");
	t_key(&d, VAULT, "ordinary", KEY_RSA_HSM, obj);
	{
		struct op *op = t_op(&d, VAULT, EVENT_KEY_GET);
		struct kms_err err = { 0 };
		assert_int_equal(keyring_get(op, "ordinary", NULL, &err), KMS_OK);
		req = transfer("ordinary", op->version.id, KEY_EC_HSM, CURVE_P256, blob, len);
		t_op_free(op);
	}
	refused("wrong", &req, KMS_E_KEY_OP, NULL);
	{
		struct key_update off = { .has_enabled = true };
		struct op *op = t_op(&d, VAULT, EVENT_KEY_UPDATE);
		struct kms_err err = { 0 };
		assert_int_equal(t_op_finish(op, keyring_update(op, "kek-wrong", NULL, &off, &err)), KMS_OK);
		t_op_free(op);
	}
	req = transfer("kek-wrong", e.version, KEY_EC_HSM, CURVE_P256, blob, len);
	refused("wrong", &req, KMS_E_KEY_DISABLED, NULL);
	t_material_clear(&ec);
	t_material_clear(&rsa);
}

/* Between the transfer and its commit the exchange key is switched off, or deleted: nothing of it may be entered. */
static void a_transfer_is_fenced_by_its_exchange_key(void **state)
{
	struct key_update off = { .has_enabled = true };
	struct t_material ec;

	(void)state;
	t_material_make(&ec, HSM_KIND_P256, 0);
	for (int by_deletion = 0; by_deletion <= 1; by_deletion++) {
		const char *name = by_deletion ? "kek-deleted" : "kek-fence";
		struct exchange e = make_exchange(name);
		struct op *op = t_op(&d, VAULT, EVENT_KEY_IMPORT), *end = t_op(&d, VAULT, EVENT_KEY_UPDATE);
		uint8_t blob[HSM_TRANSFER_MAX];
		size_t len = 0;
		struct key_import req;
		struct kms_err err = { 0 };

		t_transfer_make(&e.pub, &ec, NULL, blob, &len);
		req = transfer(name, e.version, KEY_EC_HSM, CURVE_P256, blob, len);
		assert_int_equal(keyring_import(op, "fenced", &req, &err), KMS_OK);
		assert_int_equal(t_op_finish(end, by_deletion ? keyring_delete(end, name, &err) : keyring_update(end, name, NULL, &off, &err)), KMS_OK);
		assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_FENCED);
		assert_int_equal(op->undo(op), KMS_OK);
		t_op_free(op);
		t_op_free(end);
	}
	t_material_clear(&ec);
}

static void an_exchange_key_does_nothing_else_and_stays_one(void **state)
{
	static const enum key_op USES[] = { KEY_OP_ENCRYPT, KEY_OP_DECRYPT, KEY_OP_WRAP, KEY_OP_UNWRAP, KEY_OP_SIGN };
	struct key_update other = { .has_ops = true, .ops = KEY_OP_IMPORT | KEY_OP_UNWRAP };
	struct key_create soft = { .type = KEY_RSA, .has_ops = true, .ops = KEY_OP_IMPORT, .is_enabled = true, .nbf_s = STORE_NO_TIME,
	                           .exp_s = STORE_NO_TIME };
	SECRET_AUTO *value = secret_from(DIGEST, sizeof(DIGEST));
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	(void)make_exchange("kek-only");
	for (size_t i = 0; i < KMS_ARRAY_LEN(USES); i++) {
		struct crypto_input in = { .alg = USES[i] == KEY_OP_SIGN ? ALG_RS256 : ALG_RSA_OAEP, .value = value };
		CRYPTO_OUTPUT_AUTO out = { 0 };
		op = t_op(&d, VAULT, EVENT_KEY_UNWRAP);
		assert_int_equal(crypto_use(op, "kek-only", NULL, USES[i], &in, &out, &err), KMS_E_KEY_OP);
		t_op_free(op);
	}
	op = t_op(&d, VAULT, EVENT_KEY_UPDATE);
	assert_int_equal(keyring_update(op, "kek-only", NULL, &other, &err), KMS_E_INVALID);
	t_op_free(op);
	op = t_op(&d, VAULT, EVENT_KEY_CREATE);
	assert_int_equal(keyring_create(op, "soft", &soft, &err), KMS_E_INVALID);
	t_op_free(op);
	op = t_op(&d, VAULT, EVENT_KEY_CREATE);
	soft.type = KEY_RSA_HSM;
	soft.ops = KEY_OP_IMPORT | KEY_OP_WRAP;
	assert_int_equal(keyring_create(op, "soft", &soft, &err), KMS_E_INVALID);
	t_op_free(op);
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	t_vault(&d, VAULT, false);
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
		cmocka_unit_test(pairs_in_clear_are_taken_in_both_ways),
		cmocka_unit_test(secrets_in_clear_become_what_key_ops_say),
		cmocka_unit_test(an_imported_secret_is_the_one_that_was_brought),
		cmocka_unit_test(what_is_wrong_is_refused_before_it_reaches_the_device),
		cmocka_unit_test(an_import_is_a_new_version_of_a_living_key),
		cmocka_unit_test(an_import_that_was_cut_short_is_undone),
		cmocka_unit_test(keys_are_transferred_from_another_hsm),
		cmocka_unit_test(secrets_are_transferred_with_their_size_as_it_comes),
		cmocka_unit_test(a_transfer_that_is_wrong_leaves_nothing),
		cmocka_unit_test(a_transfer_is_fenced_by_its_exchange_key),
		cmocka_unit_test(an_exchange_key_does_nothing_else_and_stays_one),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
