/* tests/unit/core_wycheproof.c - published vectors through the domain's own functions: signatures are verified with a version's public half, keys are
 * checked as an import checks them. What needs a device is in hsm_wycheproof.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "server/base/encode.h"
#include "server/core/material.h"
#include "server/core/public.h"
#include "tests/support/wycheproof.h"

#define MSG_MAX 8192

/* The public half of the present group, as a version has it, and the algorithm that its signatures are taken for. */
struct half {
	struct store_version v;
	uint8_t pub[STORE_PUBLIC_MAX];
	enum key_alg alg;
	bool is_other; /* the group's parameters are none of the API's: nothing may be valid */
};

static size_t digest_of(const struct wy_case *c, uint8_t ret_digest[EVP_MAX_MD_SIZE])
{
	uint8_t msg[MSG_MAX];
	size_t len = wy_hex(c->test, "msg", msg, sizeof(msg)), digest_len = 0;

	assert_int_equal(EVP_Q_digest(NULL, wy_text(c->group, "sha"), NULL, msg, len, ret_digest, &digest_len), 1);
	return digest_len;
}

static enum wy_outcome verify(struct half *h, const struct wy_case *c)
{
	uint8_t digest[EVP_MAX_MD_SIZE], signature[MSG_MAX];
	size_t digest_len = digest_of(c, digest), len = wy_hex(c->test, "sig", signature, sizeof(signature));
	struct kms_err err = { 0 };
	bool is_valid = false;

	if (public_verify(&h->v, h->alg, digest, digest_len, signature, len, &is_valid, &err) != KMS_OK)
		return WY_FAIL;
	return is_valid == (c->is_valid && !h->is_other) ? WY_PASS : WY_FAIL;
}

static void run(const char *file, const char *what, wy_fn fn, void *arg, unsigned skipped)
{
	struct wy_counts counts;

	if (!wy_run(file, what, fn, arg, &counts))
		skip();
	assert_int_equal(counts.failed, 0);
	assert_int_equal(counts.skipped, skipped);
}

/* ---- RSA signatures ---- */

static void take_rsa(struct half *h, const struct wy_case *c)
{
	const json_t *given = json_object_get(c->group, "publicKey");
	const json_t *public = given != NULL ? given : json_object_get(c->group, "privateKey");
	uint8_t n[HSM_RSA_MAX + 1];
	size_t len = wy_hex(public, "modulus", n, sizeof(n)), zeros = n[0] == 0;

	memcpy(h->pub, n + zeros, len - zeros);
	h->v = (struct store_version){ .kty = KEY_RSA, .pub = h->pub, .pub_len = len - zeros, .bits = (uint16_t)((len - zeros) * 8) };
	h->v.e_len = wy_hex(public, "publicExponent", h->v.e, sizeof(h->v.e));
}

static enum wy_outcome pkcs1_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	struct half *h = arg;

	(void)ret_reason;
	if (c->is_new_group)
		take_rsa(h, c);
	/* Acceptable: DigestInfo without its NULL. Not valid here (shared vectors, README). */
	return verify(h, c);
}

static void pkcs1_signatures_are_compared_whole(void **state)
{
	static const struct {
		const char *file;
		enum key_alg alg;
	} FILES[] = {
		{ "rsa_signature_2048_sha256_test", ALG_RS256 }, { "rsa_signature_2048_sha384_test", ALG_RS384 },
		{ "rsa_signature_2048_sha512_test", ALG_RS512 }, { "rsa_signature_3072_sha256_test", ALG_RS256 },
		{ "rsa_signature_3072_sha384_test", ALG_RS384 }, { "rsa_signature_3072_sha512_test", ALG_RS512 },
		{ "rsa_signature_4096_sha256_test", ALG_RS256 }, { "rsa_signature_4096_sha384_test", ALG_RS384 },
		{ "rsa_signature_4096_sha512_test", ALG_RS512 },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(FILES); i++) {
		struct half h = { .alg = FILES[i].alg };
		run(FILES[i].file, "verify", pkcs1_case, &h, 0);
	}
}

static enum wy_outcome generated_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	const char *sha = wy_text(c->group, "sha");
	struct wy_case made = *c;
	struct half *h = arg;

	made.is_valid |= c->is_acceptable; /* odd keys and short signatures: right all the same */
	if (c->is_new_group) {
		take_rsa(h, c);
		h->alg = strcmp(sha, "SHA-256") == 0 ? ALG_RS256 : strcmp(sha, "SHA-384") == 0 ? ALG_RS384 : ALG_RS512;
	}
	if (strcmp(sha, "SHA-256") != 0 && strcmp(sha, "SHA-384") != 0 && strcmp(sha, "SHA-512") != 0) {
		*ret_reason = "a hash that the API lacks";
		return WY_SKIP;
	}
	return verify(h, &made);
}

/* A block has exactly one signature, and a signature is released only when its block is right: what verifies here is what a device must make. */
static void generated_pkcs1_signatures_are_the_ones_that_verify(void **state)
{
	struct half h = { 0 };

	(void)state;
	run("rsa_pkcs1_2048_sig_gen_test", "verify", generated_case, &h, 16);
	run("rsa_pkcs1_3072_sig_gen_test", "verify", generated_case, &h, 0);
	run("rsa_pkcs1_4096_sig_gen_test", "verify", generated_case, &h, 0);
}

static enum key_alg pss_of(const char *sha)
{
	return strcmp(sha, "SHA-384") == 0 ? ALG_PS384 : strcmp(sha, "SHA-512") == 0 ? ALG_PS512 : ALG_PS256;
}

static enum wy_outcome pss_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	const char *sha = wy_text(c->group, "sha");
	struct half *h = arg;

	if (c->is_new_group) {
		take_rsa(h, c);
		h->alg = pss_of(sha);
		h->is_other = strcmp(sha, wy_text(c->group, "mgfSha")) != 0 ||
		              (size_t)json_integer_value(json_object_get(c->group, "sLen")) != key_alg_info(h->alg)->digest_len ||
		              (h->alg == ALG_PS256 && strcmp(sha, "SHA-256") != 0);
	}
	if (h->v.bits != 2048 && h->v.bits != 3072 && h->v.bits != 4096) {
		*ret_reason = "a key size that is not offered";
		return WY_SKIP;
	}
	if (h->is_other && strcmp(wy_text(c->test, "comment"), "s_len changed to 32") == 0) {
		*ret_reason = "its salt is as long as the hash: a good PS256 signature";
		return WY_SKIP;
	}
	return verify(h, c);
}

static void pss_signatures_have_a_salt_as_long_as_the_hash(void **state)
{
	static const char *const FILES[] = { "rsa_pss_2048_sha256_mgf1_32_test", "rsa_pss_3072_sha256_mgf1_32_test",
		                             "rsa_pss_4096_sha256_mgf1_32_test", "rsa_pss_2048_sha384_mgf1_48_test",
		                             "rsa_pss_4096_sha384_mgf1_48_test", "rsa_pss_4096_sha512_mgf1_64_test" };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(FILES); i++) {
		struct half h = { 0 };
		run(FILES[i], "verify", pss_case, &h, 0);
		assert_false(h.is_other);
	}
}

static void pss_with_other_parameters_is_never_valid(void **state)
{
	struct half h = { 0 };

	(void)state;
	run("rsa_pss_2048_sha256_mgf1_0_test", "refused as PS256", pss_case, &h, 1);
	run("rsa_pss_misc_test", "refused where hash, MGF hash and salt are not the API's", pss_case, &h, 0);
}

/* ---- ECDSA ---- */

static void take_point(struct half *h, const struct wy_case *c)
{
	const json_t *public = json_object_get(c->group, "publicKey");
	enum key_curve crv = key_alg_info(h->alg)->crv;

	h->v = (struct store_version){ .kty = KEY_EC, .crv = (uint8_t)crv, .bits = key_curve_info(crv)->bits, .pub = h->pub };
	h->v.pub_len = wy_hex(public, "uncompressed", h->pub, sizeof(h->pub));
}

static enum wy_outcome ecdsa_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	struct half *h = arg;

	(void)ret_reason;
	if (c->is_new_group)
		take_point(h, c);
	return verify(h, c);
}

static void ecdsa_signatures_are_r_and_s_of_full_length(void **state)
{
	static const struct {
		const char *file;
		enum key_alg alg;
	} FILES[] = {
		{ "ecdsa_secp256r1_sha256_p1363_test", ALG_ES256 }, { "ecdsa_secp384r1_sha384_p1363_test", ALG_ES384 },
		{ "ecdsa_secp521r1_sha512_p1363_test", ALG_ES512 }, { "ecdsa_secp256k1_sha256_p1363_test", ALG_ES256K },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(FILES); i++) {
		struct half h = { .alg = FILES[i].alg };
		run(FILES[i].file, "verify", ecdsa_case, &h, 0);
	}
}

static void ecdsa_signatures_in_der_are_never_valid(void **state)
{
	struct half h = { .alg = ALG_ES256, .is_other = true };

	(void)state;
	run("ecdsa_secp256r1_sha256_test", "refused: ES256 is r || s, DER is for certificates", ecdsa_case, &h, 0);
}

/* ---- keys ---- */

static enum wy_outcome prime_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	uint8_t number[HSM_RSA_MAX];
	size_t len = wy_hex(c->test, "value", number, sizeof(number));
	const uint8_t sign_bit = 0x80;

	(void)arg;
	if (len > 0 && (number[0] & sign_bit) != 0) {
		*ret_reason = "a negative number: those of a JSON Web Key are unsigned";
		return WY_SKIP;
	}
	return material_is_prime(number, len) == c->is_valid ? WY_PASS : WY_FAIL;
}

static void composites_that_fool_weak_tests_are_not_taken_for_primes(void **state)
{
	(void)state;
	run("primality_test", "as factors of an imported key", prime_case, NULL, 14);
}

struct owned_jwk {
	struct jwk jwk;
	uint8_t n[MSG_MAX], e[MSG_MAX], x[MSG_MAX], y[MSG_MAX];
	struct secret *secrets[7];
};

static size_t take_bytes(const json_t *object, const char *name, uint8_t *ret, size_t cap)
{
	const char *text = wy_text(object, name);
	size_t len = 0;

	assert_true(b64url_decode(text, strlen(text), ret, cap, &len));
	return len;
}

static void jwk_clear(struct owned_jwk *j)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(j->secrets); i++)
		secret_free(j->secrets[i]);
}

static void jwk_read(const json_t *object, struct owned_jwk *j)
{
	static const char *const NAMES[] = { "d", "p", "q", "dp", "dq", "qi", "k" };
	const struct secret **const at[] = { &j->jwk.d, &j->jwk.p, &j->jwk.q, &j->jwk.dp, &j->jwk.dq, &j->jwk.qi, &j->jwk.k };
	uint8_t bytes[MSG_MAX];

	memset(j, 0, sizeof(*j));
	j->jwk.type = key_type_parse(wy_text(object, "kty"));
	j->jwk.crv = key_curve_parse(wy_text(object, "crv"));
	j->jwk.n = j->n;
	j->jwk.n_len = take_bytes(object, "n", j->n, sizeof(j->n));
	j->jwk.e = j->e;
	j->jwk.e_len = take_bytes(object, "e", j->e, sizeof(j->e));
	j->jwk.x = j->x;
	j->jwk.x_len = take_bytes(object, "x", j->x, sizeof(j->x));
	j->jwk.y = j->y;
	j->jwk.y_len = take_bytes(object, "y", j->y, sizeof(j->y));
	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++) {
		size_t len = take_bytes(object, NAMES[i], bytes, sizeof(bytes));
		*at[i] = j->secrets[i] = len > 0 ? secret_from(bytes, len) : NULL;
	}
}

/* Would the key be taken, and may it then verify with the algorithm that the key names? */
static bool is_usable(const struct owned_jwk *j, const char *alg_name)
{
	enum key_alg alg = key_alg_parse(alg_name);
	struct store_version v = { .kty = (uint8_t)j->jwk.type };
	MATERIAL_AUTO m = { 0 };
	struct kms_err err = { 0 };

	if (material_check(&j->jwk, &m, &err) != KMS_OK)
		return false;
	v.bits = m.bits;
	v.crv = (uint8_t)m.crv;
	return alg != 0 && key_alg_fits(&v, alg, KEY_OP_VERIFY, &err) == KMS_OK;
}

static enum wy_outcome jwk_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	const json_t *keys = json_object_get(json_object_get(c->group, "private"), "keys");
	const json_t *key = keys != NULL ? json_array_get(keys, 0) : json_object_get(c->group, "private");
	struct owned_jwk j;
	bool usable;

	(void)arg;
	if (json_array_size(keys) > 1 || strcmp(wy_text(c->group, "comment"), "invalid_use") == 0 ||
	    strcmp(wy_text(c->test, "comment"), "long_key") == 0) {
		*ret_reason = "sets of keys, the member use, secrets of other lengths than ours: an import knows none of them";
		return WY_SKIP;
	}
	jwk_read(key, &j);
	usable = is_usable(&j, wy_text(key, "alg"));
	jwk_clear(&j);
	return usable == c->is_valid ? WY_PASS : WY_FAIL;
}

static void weak_and_wrong_json_web_keys_are_not_imported(void **state)
{
	(void)state;
	run("json_web_key_test", "as imported keys", jwk_case, NULL, 8);
	assert_int_equal(secret_live(), 0);
}

/* Said once, so that nobody looks for them. */
static void the_other_files_belong_elsewhere(void **state)
{
	static const char *const ELSEWHERE[][2] = {
		{ "aes_*, hmac_*, rsa_oaep_*, rsa_pkcs1_* (encryption)", "need a device or its unpadding: hsm_wycheproof" },
		{ "ed25519", "signs the log: the provider" },
		{ "json_web_signature, json_web_encryption, json_web_crypto", "tokens and envelopes, which no key operation reads" },
		{ "hkdf_*, pbkdf2_*", "no function of the product derives keys" },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(ELSEWHERE); i++)
		(void)printf("%s: not here: %s\n", ELSEWHERE[i][0], ELSEWHERE[i][1]);
}

static int group_setup(void **state)
{
	(void)state;
	return secret_heap_init(1U << 20, NULL) == KMS_OK ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pkcs1_signatures_are_compared_whole),
		cmocka_unit_test(generated_pkcs1_signatures_are_the_ones_that_verify),
		cmocka_unit_test(pss_signatures_have_a_salt_as_long_as_the_hash),
		cmocka_unit_test(pss_with_other_parameters_is_never_valid),
		cmocka_unit_test(ecdsa_signatures_are_r_and_s_of_full_length),
		cmocka_unit_test(ecdsa_signatures_in_der_are_never_valid),
		cmocka_unit_test(composites_that_fool_weak_tests_are_not_taken_for_primes),
		cmocka_unit_test(weak_and_wrong_json_web_keys_are_not_imported),
		cmocka_unit_test(the_other_files_belong_elsewhere),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
