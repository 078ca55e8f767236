/* tests/unit/hsm_vectors.c - published vectors of ciphers, MACs and RSA signatures through the provider's own verbs, on SoftHSM: each key is imported
 * as a caller would. hsm_wycheproof.c has those of RSA decryption and key wrap. */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#include "tests/support/hsm_material.h"
#include "tests/support/wycheproof.h"

#define BIG 2048
#define AES_BLOCK 16

static struct t_rig RIG;

/* The key of the present case, and what the first refusal looked like. */
static struct {
	struct hsm_key key;
	struct t_material material;
	struct kms_err refusal;
	enum hsm_sign_alg alg;
	size_t mac_len;
} NOW;

static int up(void **state)
{
	(void)state;
	memset(&NOW, 0, sizeof(NOW));
	t_rig_token(&RIG);
	RIG.token.cfg.token_dir = NULL; /* hundreds of keys that nobody needs to last */
	T_OK(&RIG, hsm_open_pkcs11(&RIG.token.cfg, &RIG.hsm, &RIG.err));
	RIG.p = p11_of(RIG.hsm);
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_material_clear(&NOW.material);
	t_rig_down(&RIG);
	return 0;
}

static void drop_key(void)
{
	if (NOW.key.purpose != 0)
		T_OK(&RIG, hsm_key_destroy(RIG.hsm, NOW.key.id, &RIG.err));
	t_material_clear(&NOW.material);
	memset(&NOW.key, 0, sizeof(NOW.key));
}

static void take_key(enum hsm_kind kind, unsigned bits)
{
	NOW.key = rig_key(HSM_FOR_CALLER, kind, bits);
	NOW.key.usage = HSM_USE_SIGN | HSM_USE_ENCRYPT | HSM_USE_DECRYPT;
	T_OK(&RIG, hsm_key_import(RIG.hsm, &NOW.key, &NOW.material.m, NULL, NULL, &RIG.err));
}

static void take_secret(const struct wy_case *c, enum hsm_kind kind)
{
	uint8_t value[BIG];
	size_t len = wy_hex(c->test, "key", value, sizeof(value));

	drop_key();
	NOW.material.parts[0] = secret_from(value, len);
	NOW.material.m.secret = NOW.material.parts[0];
	take_key(kind, (unsigned)len * 8);
}

static void run(const char *file, const char *what, wy_fn fn, unsigned least)
{
	struct wy_counts counts;

	memset(&NOW.refusal, 0, sizeof(NOW.refusal));
	if (!wy_run(file, what, fn, NULL, &counts))
		skip();
	assert_int_equal(counts.failed, 0);
	assert_true(counts.passed >= least);
	drop_key();
}

/* A refusal is right when it looks exactly like the first one. */
static enum wy_outcome refused(kms_status status)
{
	if (status != KMS_E_CRYPTO)
		return WY_FAIL;
	if (NOW.refusal.status == KMS_OK)
		NOW.refusal = RIG.err;
	return memcmp(&NOW.refusal, &RIG.err, sizeof(RIG.err)) == 0 ? WY_PASS : WY_FAIL;
}

static enum wy_outcome opens(const struct wy_case *c, enum hsm_cipher cipher)
{
	uint8_t iv[BIG], aad[BIG], sealed[BIG], tag[BIG], plain[BIG] = { 0 }, want[BIG];
	size_t aad_len = wy_hex(c->test, "aad", aad, sizeof(aad)), sealed_len = wy_hex(c->test, "ct", sealed, sizeof(sealed)), len = 0;
	size_t want_len = wy_hex(c->test, "msg", want, sizeof(want));
	kms_status status;

	(void)wy_hex(c->test, "iv", iv, sizeof(iv));
	(void)wy_hex(c->test, "tag", tag, sizeof(tag));
	take_secret(c, HSM_KIND_AES);
	RIG.err = (struct kms_err){ 0 };
	status = hsm_decrypt(RIG.hsm, &NOW.key, cipher, iv, aad, aad_len, sealed, sealed_len, tag, plain, sizeof(plain), &len, &RIG.err);
	if (!c->is_valid)
		return refused(status);
	return status == KMS_OK && len == want_len && memcmp(plain, want, len) == 0 ? WY_PASS : WY_FAIL;
}

static bool is_gcm_of_ours(const struct wy_case *c, const char **ret_reason)
{
	if (json_integer_value(json_object_get(c->group, "ivSize")) == HSM_GCM_NONCE_LEN * 8 &&
	    json_integer_value(json_object_get(c->group, "tagSize")) == HSM_GCM_TAG_LEN * 8)
		return true;
	*ret_reason = "the verb takes no nonce but of 96 bits, no tag but of 128";
	return false;
}

static enum wy_outcome gcm_decrypt_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	(void)arg;
	return is_gcm_of_ours(c, ret_reason) ? opens(c, HSM_CIPHER_GCM) : WY_SKIP;
}

/* The device chooses the nonce, so software opens what it sealed. */
static enum wy_outcome gcm_encrypt_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	uint8_t iv[HSM_IV_LEN], aad[BIG], msg[BIG], sealed[BIG], tag[HSM_GCM_TAG_LEN], back[BIG];
	size_t aad_len = wy_hex(c->test, "aad", aad, sizeof(aad)), msg_len = wy_hex(c->test, "msg", msg, sizeof(msg)), len = 0;
	EVP_CIPHER_CTX *ctx;
	int out = 0;
	bool is_good;

	(void)arg;
	if (!c->is_valid || msg_len == 0 || !is_gcm_of_ours(c, ret_reason)) {
		*ret_reason = "invalid, empty, or not of the verb's nonce and tag";
		return WY_SKIP;
	}
	take_secret(c, HSM_KIND_AES);
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &NOW.key, HSM_CIPHER_GCM, iv, aad, aad_len, msg, msg_len, sealed, sizeof(sealed), &len, tag, &RIG.err));
	ctx = EVP_CIPHER_CTX_new();
	is_good = EVP_DecryptInit_ex(ctx, NOW.key.bits == 128 ? EVP_aes_128_gcm() : NOW.key.bits == 192 ? EVP_aes_192_gcm() : EVP_aes_256_gcm(),
	                             NULL, secret_data(NOW.material.m.secret), iv) == 1 &&
	          EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, HSM_GCM_TAG_LEN, tag) == 1 &&
	          (aad_len == 0 || EVP_DecryptUpdate(ctx, NULL, &out, aad, (int)aad_len) == 1) &&
	          EVP_DecryptUpdate(ctx, back, &out, sealed, (int)len) == 1 && (size_t)out == msg_len && memcmp(back, msg, msg_len) == 0 &&
	          EVP_DecryptFinal_ex(ctx, back, &out) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return is_good ? WY_PASS : WY_FAIL;
}

static void gcm_vectors_pass_both_ways(void **state)
{
	(void)state;
	run("aes_gcm_test", "decrypt", gcm_decrypt_case, 100);
	run("aes_gcm_test", "encrypt, opened by software", gcm_encrypt_case, 50);
}

static enum wy_outcome cbc_decrypt_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	(void)arg;
	(void)ret_reason;
	return opens(c, HSM_CIPHER_CBC_PAD);
}

static enum wy_outcome cbc_encrypt_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	uint8_t iv[HSM_IV_LEN], msg[BIG], want[BIG], sealed[BIG];
	size_t msg_len = wy_hex(c->test, "msg", msg, sizeof(msg)), want_len = wy_hex(c->test, "ct", want, sizeof(want)), len = 0;

	(void)arg;
	if (!c->is_valid || msg_len == 0) {
		*ret_reason = "invalid or empty: says nothing about encryption";
		return WY_SKIP;
	}
	(void)wy_hex(c->test, "iv", iv, sizeof(iv));
	take_secret(c, HSM_KIND_AES);
	T_OK(&RIG, hsm_encrypt(RIG.hsm, &NOW.key, HSM_CIPHER_CBC_PAD, iv, NULL, 0, msg, msg_len, sealed, sizeof(sealed), &len, NULL, &RIG.err));
	return len == want_len && memcmp(sealed, want, len) == 0 ? WY_PASS : WY_FAIL;
}

static void cbc_vectors_pass_both_ways_with_one_refusal_for_all(void **state)
{
	(void)state;
	run("aes_cbc_pkcs5_test", "decrypt", cbc_decrypt_case, 216);
	run("aes_cbc_pkcs5_test", "encrypt", cbc_encrypt_case, 69);
}

static enum wy_outcome mac_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	const json_int_t key_bits = json_integer_value(json_object_get(c->group, "keySize"));
	uint8_t msg[BIG], want[BIG], mac[HSM_SIGNATURE_MAX];
	size_t msg_len = wy_hex(c->test, "msg", msg, sizeof(msg)), want_len = wy_hex(c->test, "tag", want, sizeof(want)), len = 0;

	(void)arg;
	if (want_len != NOW.mac_len || (key_bits != 256 && key_bits != 384 && key_bits != 512) || (size_t)key_bits / 8 < NOW.mac_len) {
		*ret_reason = "truncated tags, and key sizes that the API does not have";
		return WY_SKIP;
	}
	take_secret(c, HSM_KIND_HMAC);
	T_OK(&RIG, hsm_sign(RIG.hsm, &NOW.key, NOW.alg, msg, msg_len, mac, &len, &RIG.err));
	return (len == want_len && memcmp(mac, want, len) == 0) == c->is_valid ? WY_PASS : WY_FAIL;
}

static void hmac_vectors_pass(void **state)
{
	static const struct {
		const char *file;
		enum hsm_sign_alg alg;
		size_t len;
	} FILES[] = { { "hmac_sha256_test", HSM_SIGN_HMAC_SHA256, 32 }, { "hmac_sha384_test", HSM_SIGN_HMAC_SHA384, 48 },
		      { "hmac_sha512_test", HSM_SIGN_HMAC_SHA512, 64 } };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(FILES); i++) {
		NOW.alg = FILES[i].alg;
		NOW.mac_len = FILES[i].len;
		run(FILES[i].file, "sign", mac_case, 20);
	}
}

static void take_rsa(const struct wy_case *c)
{
	uint8_t der[BIG * 2];
	const unsigned char *at = der;
	size_t len = wy_hex(c->group, "privateKeyPkcs8", der, sizeof(der));

	drop_key();
	t_material_rsa(&NOW.material, d2i_AutoPrivateKey(NULL, &at, (long)len));
	take_key(HSM_KIND_RSA, (unsigned)json_integer_value(json_object_get(c->group, "keySize")));
}

static enum wy_outcome signature_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	/* RFC 8017 section 9.2 note 1, as core puts it before the digest. */
	static const struct {
		const char *name;
		const EVP_MD *(*md)(void);
		uint8_t prefix[19];
		size_t len;
	} HASHES[] = {
		{ "SHA-256", EVP_sha256, { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 }, 32 },
		{ "SHA-384", EVP_sha384, { 0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30 }, 48 },
		{ "SHA-512", EVP_sha512, { 0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40 }, 64 },
	};
	uint8_t msg[BIG], want[BIG], input[sizeof(HASHES[0].prefix) + EVP_MAX_MD_SIZE], signature[HSM_SIGNATURE_MAX];
	size_t msg_len = wy_hex(c->test, "msg", msg, sizeof(msg)), want_len = wy_hex(c->test, "sig", want, sizeof(want)), len = 0, h = 0;

	(void)arg;
	while (h < KMS_ARRAY_LEN(HASHES) && strcmp(HASHES[h].name, wy_text(c->group, "sha")) != 0)
		h++;
	if (h == KMS_ARRAY_LEN(HASHES)) {
		*ret_reason = "a hash that the API does not have";
		return WY_SKIP;
	}
	if (c->is_new_group || NOW.key.purpose == 0)
		take_rsa(c);
	memcpy(input, HASHES[h].prefix, sizeof(HASHES[h].prefix));
	assert_int_equal(EVP_Digest(msg, msg_len, input + sizeof(HASHES[h].prefix), NULL, HASHES[h].md(), NULL), 1);
	T_OK(&RIG, hsm_sign(RIG.hsm, &NOW.key, HSM_SIGN_RSA_PKCS1, input, sizeof(HASHES[h].prefix) + HASHES[h].len, signature, &len, &RIG.err));
	/* Acceptable here: a public exponent of 3. The device signs with it; core does not let such a key in. */
	return len == want_len && memcmp(signature, want, len) == 0 ? WY_PASS : WY_FAIL;
}

static void rsa_signatures_are_those_of_the_vectors(void **state)
{
	(void)state;
	run("rsa_pkcs1_2048_sig_gen_test", "sign", signature_case, 27);
	run("rsa_pkcs1_3072_sig_gen_test", "sign", signature_case, 15);
	run("rsa_pkcs1_4096_sig_gen_test", "sign", signature_case, 15);
}

#define WITH_HSM(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_HSM(gcm_vectors_pass_both_ways),
		WITH_HSM(cbc_vectors_pass_both_ways_with_one_refusal_for_all),
		WITH_HSM(hmac_vectors_pass),
		WITH_HSM(rsa_signatures_are_those_of_the_vectors),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
