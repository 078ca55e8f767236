/* tests/unit/hsm_wycheproof.c - published vectors through the provider's own verbs, on SoftHSM: the vectors' keys are placed in the token under
 * a caller's template. OAEP with hash pairs that the API does not have goes to the host-side decoder alone. */
#include <openssl/bn.h>
#include <stdio.h>
#include <string.h>

#include "hsm/pkcs11/unpad.h"
#include "tests/support/hsm_rig.h"
#include "tests/support/wycheproof.h"

#define BIG 1024 /* bytes of an 8192-bit number */

static struct t_rig RIG;

/* The key of the present group, and what the first refusal looked like. */
static struct {
	struct hsm_key key;
	uint8_t n[BIG + 1], d[BIG + 1]; /* with a leading zero, as the files have it */
	size_t n_len, d_len;
	struct kms_err refusal;
	enum hsm_rsa_alg alg;
	enum hsm_aes_alg aes_alg;
	bool must_refuse; /* whatever the file says: another algorithm's ciphertexts */
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
	t_rig_down(&RIG);
	return 0;
}

static void drop_key(void)
{
	static const uint8_t NONE[HSM_ID_LEN];

	if (memcmp(NOW.key.id, NONE, HSM_ID_LEN) != 0)
		T_OK(&RIG, hsm_key_destroy(RIG.hsm, NOW.key.id, &RIG.err));
	memset(&NOW.key, 0, sizeof(NOW.key));
}

static void place(struct p11_template *t)
{
	CK_OBJECT_HANDLE object;

	assert_int_equal(RIG.p->token.gate.functions->C_CreateObject(RIG.p->token.home, t->attrs, t->count, &object), CKR_OK);
}

static size_t number(const json_t *private, const char *name, uint8_t *ret, size_t cap)
{
	size_t len = wy_hex(private, name, ret, cap), zeros = 0;

	while (zeros + 1 < len && ret[zeros] == 0)
		zeros++;
	memmove(ret, ret + zeros, len - zeros);
	return len - zeros;
}

static void place_rsa(const struct wy_case *c)
{
	static const struct {
		const char *name;
		CK_ATTRIBUTE_TYPE type;
	} PARTS[] = {
		{ "modulus", CKA_MODULUS },       { "privateExponent", CKA_PRIVATE_EXPONENT }, { "publicExponent", CKA_PUBLIC_EXPONENT },
		{ "prime1", CKA_PRIME_1 },        { "prime2", CKA_PRIME_2 },                   { "exponent1", CKA_EXPONENT_1 },
		{ "exponent2", CKA_EXPONENT_2 },  { "coefficient", CKA_COEFFICIENT },
	};
	const json_t *private = json_object_get(c->group, "privateKey");
	uint8_t values[KMS_ARRAY_LEN(PARTS)][HSM_RSA_MAX + 1];
	struct p11_template t;

	drop_key();
	NOW.key = rig_key(HSM_FOR_CALLER, HSM_KIND_RSA, (unsigned)json_integer_value(json_object_get(c->group, "keySize")));
	p11_template_key(&t, &NOW.key, P11_RESIDENT);
	for (size_t i = 0; i < KMS_ARRAY_LEN(PARTS); i++)
		p11_template_add(&t, PARTS[i].type, values[i], number(private, PARTS[i].name, values[i], sizeof(values[i])));
	place(&t);
	NOW.n_len = number(private, "modulus", NOW.n, sizeof(NOW.n));
}

/* A refusal is right when it looks exactly like the first one. */
static enum wy_outcome refused(kms_status status, const struct secret *plain)
{
	if (status != KMS_E_CRYPTO || plain != NULL)
		return WY_FAIL;
	if (NOW.refusal.status == KMS_OK)
		NOW.refusal = RIG.err;
	return memcmp(&NOW.refusal, &RIG.err, sizeof(RIG.err)) == 0 ? WY_PASS : WY_FAIL;
}

static enum wy_outcome same(const struct wy_case *c, const struct secret *plain)
{
	uint8_t want[BIG];
	size_t len = wy_hex(c->test, "msg", want, sizeof(want));

	if (len == 0)
		return plain == NULL ? WY_PASS : WY_FAIL;
	return plain != NULL && secret_len(plain) == len && memcmp(secret_data(plain), want, len) == 0 ? WY_PASS : WY_FAIL;
}

static enum wy_outcome rsa_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	uint8_t cipher[BIG];
	size_t len = wy_hex(c->test, "ct", cipher, sizeof(cipher));
	SECRET_AUTO *plain = NULL;
	kms_status status;

	(void)arg;
	(void)ret_reason;
	if (c->is_new_group)
		place_rsa(c);
	RIG.err = (struct kms_err){ 0 };
	status = hsm_rsa_decrypt(RIG.hsm, &NOW.key, NOW.alg, NOW.n, NOW.n_len, cipher, len, &plain, &RIG.err);
	/* The API has no label, and an empty plaintext is refused like a bad one under the older padding. */
	if (!c->is_valid || NOW.must_refuse || wy_text(c->test, "label")[0] != '\0' ||
	    (NOW.alg == HSM_RSA_PKCS1_V15 && wy_text(c->test, "msg")[0] == '\0'))
		return refused(status, plain);
	return status == KMS_OK ? same(c, plain) : WY_FAIL;
}

static void run_rsa(const char *file, const char *what, enum hsm_rsa_alg alg, bool must_refuse)
{
	struct wy_counts counts;

	NOW.alg = alg;
	NOW.must_refuse = must_refuse;
	if (!wy_run(file, what, rsa_case, NULL, &counts))
		skip();
	assert_int_equal(counts.failed, 0);
	assert_int_equal(counts.skipped, 0);
	drop_key();
}

static void rsa_oaep_vectors_pass_through_the_device(void **state)
{
	(void)state;
	run_rsa("rsa_oaep_2048_sha1_mgf1sha1_test", "as RSA-OAEP", HSM_RSA_OAEP_SHA1, false);
	run_rsa("rsa_oaep_2048_sha256_mgf1sha256_test", "as RSA-OAEP-256", HSM_RSA_OAEP_SHA256, false);
	run_rsa("rsa_oaep_3072_sha256_mgf1sha256_test", "as RSA-OAEP-256", HSM_RSA_OAEP_SHA256, false);
	run_rsa("rsa_oaep_4096_sha256_mgf1sha256_test", "as RSA-OAEP-256", HSM_RSA_OAEP_SHA256, false);
}

static void rsa_oaep_with_other_hash_pairs_is_refused_by_the_api(void **state)
{
	(void)state;
	run_rsa("rsa_oaep_2048_sha256_mgf1sha1_test", "refused as RSA-OAEP", HSM_RSA_OAEP_SHA1, true);
	run_rsa("rsa_oaep_2048_sha256_mgf1sha1_test", "refused as RSA-OAEP-256", HSM_RSA_OAEP_SHA256, true);
	run_rsa("rsa_oaep_2048_sha384_mgf1sha384_test", "refused as RSA-OAEP-256", HSM_RSA_OAEP_SHA256, true);
	run_rsa("rsa_oaep_2048_sha512_mgf1sha512_test", "refused as RSA-OAEP-256", HSM_RSA_OAEP_SHA256, true);
	run_rsa("rsa_oaep_2048_sha1_mgf1sha1_test", "refused as RSA-OAEP-256", HSM_RSA_OAEP_SHA256, true);
	run_rsa("rsa_oaep_2048_sha256_mgf1sha256_test", "refused as RSA1_5", HSM_RSA_PKCS1_V15, true);
}

static void rsa_pkcs1_vectors_pass_through_the_device_with_one_refusal_for_all(void **state)
{
	(void)state;
	run_rsa("rsa_pkcs1_2048_test", "as RSA1_5", HSM_RSA_PKCS1_V15, false);
	run_rsa("rsa_pkcs1_3072_test", "as RSA1_5", HSM_RSA_PKCS1_V15, false);
	run_rsa("rsa_pkcs1_4096_test", "as RSA1_5", HSM_RSA_PKCS1_V15, false);
}

/* The raw operation in software, with the vector's private exponent; NULL when the ciphertext is none for this key. */
static struct secret *raw_block(const uint8_t *cipher, size_t len)
{
	BIGNUM *n = BN_bin2bn(NOW.n, (int)NOW.n_len, NULL), *d = BN_bin2bn(NOW.d, (int)NOW.d_len, NULL);
	BIGNUM *c = BN_bin2bn(cipher, (int)len, NULL), *m = BN_new();
	BN_CTX *ctx = BN_CTX_new();
	struct secret *block = NULL;

	if (len == NOW.n_len && BN_cmp(c, n) < 0) {
		block = secret_new(NOW.n_len);
		assert_int_equal(BN_mod_exp(m, c, d, n, ctx), 1);
		assert_int_equal(BN_bn2binpad(m, secret_bytes(block), (int)NOW.n_len), NOW.n_len);
	}
	BN_free(n);
	BN_free(d);
	BN_free(c);
	BN_free(m);
	BN_CTX_free(ctx);
	return block;
}

static const EVP_MD *hash_named(const char *name)
{
	char compact[16];
	size_t n = 0;

	for (const char *p = name; *p != '\0' && n < sizeof(compact) - 1; p++)
		if (*p != '-' || strncmp(name, "SHA-512/", 8) == 0)
			compact[n++] = *p;
	compact[n] = '\0';
	return EVP_get_digestbyname(compact);
}

static enum wy_outcome decoder_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	const EVP_MD *hash = hash_named(wy_text(c->group, "sha")), *mgf = hash_named(wy_text(c->group, "mgfSha"));
	SECRET_AUTO *block = NULL;
	SECRET_AUTO *plain = NULL;
	enum unpad_result result = UNPAD_BAD;
	uint8_t cipher[BIG + 8];
	size_t len = wy_hex(c->test, "ct", cipher, sizeof(cipher));

	(void)arg;
	if (hash == NULL || mgf == NULL) {
		*ret_reason = "OpenSSL lacks the hash";
		return WY_SKIP;
	}
	if (c->is_new_group) {
		NOW.n_len = number(json_object_get(c->group, "privateKey"), "modulus", NOW.n, sizeof(NOW.n));
		NOW.d_len = number(json_object_get(c->group, "privateKey"), "privateExponent", NOW.d, sizeof(NOW.d));
	}
	block = raw_block(cipher, len);
	if (block != NULL)
		result = unpad_oaep(block, hash, mgf, &plain);
	if (!c->is_valid || wy_text(c->test, "label")[0] != '\0')
		return result == UNPAD_BAD && plain == NULL ? WY_PASS : WY_FAIL;
	return result == UNPAD_OK ? same(c, plain) : WY_FAIL;
}

static void the_host_side_decoder_takes_every_hash_pair(void **state)
{
	static const char *const FILES[] = { "rsa_oaep_2048_sha384_mgf1sha384_test", "rsa_oaep_2048_sha512_mgf1sha512_test",
		                             "rsa_oaep_2048_sha256_mgf1sha1_test", "rsa_oaep_misc_test" };

	(void)state;
	if (!CRYPTO_secure_malloc_initialized())
		assert_int_equal(secret_heap_init(1 << 20, NULL), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(FILES); i++) {
		struct wy_counts counts;

		if (!wy_run(FILES[i], "by the decoder", decoder_case, NULL, &counts))
			skip();
		assert_int_equal(counts.failed, 0);
		assert_int_equal(counts.skipped, 0);
	}
	assert_int_equal(secret_live(), 0);
}

static void place_aes(const struct wy_case *c)
{
	struct p11_template t;
	uint8_t value[32];
	size_t len = wy_hex(c->test, "key", value, sizeof(value));

	drop_key();
	NOW.key = rig_key(HSM_FOR_CALLER, HSM_KIND_AES, (unsigned)len * 8);
	p11_template_key(&t, &NOW.key, P11_RESIDENT);
	for (CK_ULONG i = 0; i < t.count; i++) /* the length comes with the value */
		if (t.attrs[i].type == CKA_VALUE_LEN)
			t.attrs[i] = (CK_ATTRIBUTE){ CKA_VALUE, value, len };
	place(&t);
}

static enum wy_outcome unwrap_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	uint8_t wrapped[BIG];
	size_t len = wy_hex(c->test, "ct", wrapped, sizeof(wrapped));
	SECRET_AUTO *plain = NULL;
	kms_status status;

	(void)arg;
	(void)ret_reason;
	place_aes(c);
	RIG.err = (struct kms_err){ 0 };
	status = hsm_aes_unwrap(RIG.hsm, &NOW.key, NOW.aes_alg, wrapped, len, &plain, &RIG.err);
	/* Acceptable: 8-byte payloads under AES-KW. RFC 3394 wants two blocks; we refuse. */
	if (!c->is_valid)
		return refused(status, plain);
	return status == KMS_OK ? same(c, plain) : WY_FAIL;
}

static enum wy_outcome wrap_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	uint8_t want[BIG], wrapped[BIG], msg[BIG];
	size_t want_len = wy_hex(c->test, "ct", want, sizeof(want)), msg_len = wy_hex(c->test, "msg", msg, sizeof(msg)), len = 0;
	SECRET_AUTO *plain = NULL;

	(void)arg;
	if (!c->is_valid) {
		*ret_reason = "not valid: says nothing about wrapping";
		return WY_SKIP;
	}
	place_aes(c);
	plain = secret_from(msg, msg_len);
	if (hsm_aes_wrap(RIG.hsm, &NOW.key, NOW.aes_alg, plain, wrapped, sizeof(wrapped), &len, &RIG.err) != KMS_OK)
		return WY_FAIL;
	return len == want_len && memcmp(wrapped, want, len) == 0 ? WY_PASS : WY_FAIL;
}

static void run_aes(const char *file, enum hsm_aes_alg alg, unsigned valid)
{
	struct wy_counts counts;

	NOW.aes_alg = alg;
	if (!wy_run(file, "unwrap", unwrap_case, NULL, &counts))
		skip();
	assert_int_equal(counts.failed + counts.skipped, 0);
	assert_true(wy_run(file, "wrap", wrap_case, NULL, &counts));
	assert_int_equal(counts.failed, 0);
	assert_int_equal(counts.passed, valid);
	drop_key();
}

static void aes_kw_vectors_pass_both_ways(void **state)
{
	(void)state;
	run_aes("aes_wrap_test", HSM_AES_KW, 36);
}

static void aes_kwp_vectors_pass_both_ways(void **state)
{
	(void)state;
	run_aes("aes_kwp_test", HSM_AES_KWP, 77);
}

#define WITH_HSM(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_host_side_decoder_takes_every_hash_pair),
		WITH_HSM(rsa_oaep_vectors_pass_through_the_device),
		WITH_HSM(rsa_oaep_with_other_hash_pairs_is_refused_by_the_api),
		WITH_HSM(rsa_pkcs1_vectors_pass_through_the_device_with_one_refusal_for_all),
		WITH_HSM(aes_kw_vectors_pass_both_ways),
		WITH_HSM(aes_kwp_vectors_pass_both_ways),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
