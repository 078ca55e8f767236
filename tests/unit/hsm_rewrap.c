/* tests/unit/hsm_rewrap.c - a wrapped version under another root is the same key, nothing of it stays in the device, and what is not what it should be never
 * becomes a blob. */
#include <string.h>

#include "hsm/pkcs11/sigcheck.h"
#include "server/base/encode.h"
#include "tests/support/hsm_rig.h"

static struct t_rig RIG;
static struct hsm_key OLD_ROOT, NEW_ROOT;

static int up(void **state)
{
	(void)state;
	t_rig_up(&RIG);
	(void)t_log_key(&RIG);
	return 0;
}

static int roots(void **state)
{
	(void)state;
	OLD_ROOT = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	NEW_ROOT = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_rig_down(&RIG);
	return 0;
}

static const struct shape {
	enum hsm_kind kind;
	unsigned bits;
} SHAPES[] = {
	{ HSM_KIND_RSA, 2048 }, { HSM_KIND_P256, 0 },   { HSM_KIND_P384, 0 },   { HSM_KIND_P521, 0 },   { HSM_KIND_P256K, 0 },  { HSM_KIND_AES, 128 },
	{ HSM_KIND_AES, 192 },  { HSM_KIND_AES, 256 },  { HSM_KIND_HMAC, 256 }, { HSM_KIND_HMAC, 384 }, { HSM_KIND_HMAC, 512 },
};

static size_t encrypt(const struct hsm_key *key, uint8_t ret_out[32])
{
	uint8_t iv[HSM_IV_LEN] = { 0 }, plain[16] = "sixteen bytes !";
	size_t len = 0;

	T_OK(&RIG, hsm_encrypt(RIG.hsm, key, HSM_CIPHER_CBC, iv, NULL, 0, plain, sizeof(plain), ret_out, 32, &len, NULL, &RIG.err));
	return len;
}

/* Do two names of one key make the same of the same? Pairs: the public half decides. */
static void is_the_same_key(const struct t_wrapped *w, const struct hsm_key *as)
{
	const struct p11_curve *curve = p11_curve(as->kind);
	uint8_t out[2][64] = { 0 }, signature[HSM_SIGNATURE_MAX], digest[64] = { 5 };
	EVP_PKEY *verifier = NULL;

	if (as->kind == HSM_KIND_RSA) {
		T_OK(&RIG, t_rsa_round_trip(&RIG, as, &w->public));
	} else if (curve != NULL) {
		T_OK(&RIG, t_sign(RIG.hsm, as, digest, curve->digest_len, signature, &RIG.err));
		verifier = sigcheck_key(as->kind, &w->public);
		assert_true(sigcheck_verify(verifier, as->kind, digest, curve->digest_len, signature));
		EVP_PKEY_free(verifier);
	} else if (as->kind == HSM_KIND_HMAC) {
		T_OK(&RIG, t_mac(RIG.hsm, &w->key, digest, sizeof(digest), out[0], &RIG.err));
		T_OK(&RIG, t_mac(RIG.hsm, as, digest, sizeof(digest), out[1], &RIG.err));
		assert_memory_equal(out[0], out[1], 32);
	} else {
		assert_int_equal(encrypt(&w->key, out[0]), encrypt(as, out[1]));
		assert_memory_equal(out[0], out[1], 16);
	}
}

/* The same object under its new root. */
static struct hsm_key moved(const struct t_wrapped *w, const uint8_t *blob, size_t blob_len)
{
	struct hsm_key key = w->key;

	key.wrapped = blob;
	key.wrapped_len = blob_len;
	memcpy(key.root_id, NEW_ROOT.id, HSM_ID_LEN);
	return key;
}

static void a_rewrapped_version_is_the_same_key_of_every_kind(void **state)
{
	const size_t on_token = t_objects(&RIG, true);

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SHAPES); i++) {
		uint8_t blob[HSM_BLOB_MAX];
		struct hsm_attributes a;
		struct hsm_key next;
		struct t_wrapped w;
		size_t len = 0;

		t_wrapped_of(&RIG, &OLD_ROOT, SHAPES[i].kind, SHAPES[i].bits, &w);
		T_OK(&RIG, hsm_key_rewrap(RIG.hsm, &w.key, NEW_ROOT.id, blob, &len, &RIG.err));
		assert_int_equal(len, w.key.wrapped_len);
		assert_memory_not_equal(blob, w.blob, len);
		assert_int_equal(t_objects(&RIG, true), on_token);
		assert_int_equal(t_objects(&RIG, false), 0);
		if (SHAPES[i].kind == HSM_KIND_AES)
			w.key.usage = HSM_USE_ENCRYPT;
		next = moved(&w, blob, len);
		is_the_same_key(&w, &next);
		T_OK(&RIG, hsm_key_attributes(RIG.hsm, &next, &a, &RIG.err));
		assert_true(a.is_sensitive && !a.is_extractable && !a.is_token);
		T_OK(&RIG, hsm_key_evict(RIG.hsm, w.key.id, 1000, &RIG.err));
		assert_int_equal(t_objects(&RIG, false), 0);
	}
}

/* What is loaded is known by its root too: neither form passes for the other, and changing between them is no error. */
static void a_loaded_version_is_loaded_anew_under_its_new_root(void **state)
{
	struct hsm_key next, forged;
	uint8_t blob[HSM_BLOB_MAX], digest[32] = { 1 }, signature[HSM_SIGNATURE_MAX];
	struct t_wrapped w;
	size_t len = 0;

	(void)state;
	t_wrapped_of(&RIG, &OLD_ROOT, HSM_KIND_P256, 0, &w);
	is_the_same_key(&w, &w.key);
	T_OK(&RIG, hsm_key_rewrap(RIG.hsm, &w.key, NEW_ROOT.id, blob, &len, &RIG.err));
	is_the_same_key(&w, &w.key); /* still loaded */
	next = moved(&w, blob, len);
	for (int i = 0; i < 2; i++) {
		is_the_same_key(&w, &next);
		is_the_same_key(&w, &w.key);
	}
	is_the_same_key(&w, &next);
	forged = moved(&w, w.blob, w.key.wrapped_len); /* the old blob is nothing under the new root; loaded it would look the same */
	T_OK(&RIG, hsm_key_evict(RIG.hsm, w.key.id, 1000, &RIG.err));
	T_FAILS(&RIG, KMS_E_INTERNAL, t_sign(RIG.hsm, &forged, digest, sizeof(digest), signature, &RIG.err));
	/* With the old root gone the new form serves, and the old one says what is missing. */
	T_OK(&RIG, hsm_key_evict(RIG.hsm, OLD_ROOT.id, 1000, &RIG.err));
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, OLD_ROOT.id, &RIG.err));
	is_the_same_key(&w, &next);
	T_FAILS(&RIG, KMS_E_NOTFOUND, t_sign(RIG.hsm, &w.key, digest, sizeof(digest), signature, &RIG.err));
	T_FAILS(&RIG, KMS_E_NOTFOUND, hsm_key_rewrap(RIG.hsm, &w.key, NEW_ROOT.id, blob, &len, &RIG.err));
}

static void what_is_wrong_is_refused_and_leaves_nothing(void **state)
{
	const size_t on_token = t_objects(&RIG, true);
	struct hsm_key resident = rig_key(HSM_FOR_CALLER, HSM_KIND_AES, 256), other_root;
	uint8_t blob[HSM_BLOB_MAX] = { 0 }, nowhere[HSM_ID_LEN] = { 1 };
	struct t_wrapped w;
	size_t len = 0;

	(void)state;
	t_wrapped_of(&RIG, &OLD_ROOT, HSM_KIND_P256, 0, &w);
	for (size_t at = 0; at < w.key.wrapped_len; at += 7) { /* each seventh byte: RFC 5649 authenticates all of them alike */
		w.blob[at] ^= 1;
		T_FAILS(&RIG, KMS_E_INTERNAL, hsm_key_rewrap(RIG.hsm, &w.key, NEW_ROOT.id, blob, &len, &RIG.err));
		w.blob[at] ^= 1;
	}
	w.key.wrapped_len -= 8;
	T_FAILS(&RIG, KMS_E_INTERNAL, hsm_key_rewrap(RIG.hsm, &w.key, NEW_ROOT.id, blob, &len, &RIG.err));
	w.key.wrapped_len += 8;
	T_FAILS(&RIG, KMS_E_NOTFOUND, hsm_key_rewrap(RIG.hsm, &w.key, nowhere, blob, &len, &RIG.err));
	T_FAILS(&RIG, KMS_E_INVALID, hsm_key_rewrap(RIG.hsm, &w.key, OLD_ROOT.id, blob, &len, &RIG.err)); /* it is there already */
	T_FAILS(&RIG, KMS_E_INVALID, hsm_key_rewrap(RIG.hsm, &resident, NEW_ROOT.id, blob, &len, &RIG.err));
	other_root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	memcpy(w.key.root_id, other_root.id, HSM_ID_LEN); /* there, but not its own */
	T_FAILS(&RIG, KMS_E_INTERNAL, hsm_key_rewrap(RIG.hsm, &w.key, NEW_ROOT.id, blob, &len, &RIG.err));
	assert_int_equal(len, 0);
	assert_int_equal(t_objects(&RIG, true), on_token + 1);
	assert_int_equal(t_objects(&RIG, false), 0);
}

/* A device that garbles what it wraps is found before the old root goes. */
static void a_device_that_would_not_load_it_back_gets_no_blob_out(void **state)
{
	uint8_t blob[HSM_BLOB_MAX];
	struct t_wrapped w;
	size_t len = 0;

	(void)state;
	t_wrapped_of(&RIG, &OLD_ROOT, HSM_KIND_AES, 256, &w);
	t_calls_begin();
	T_OK(&RIG, hsm_key_rewrap(RIG.hsm, &w.key, NEW_ROOT.id, blob, &len, &RIG.err));
	assert_non_null(strstr(t_calls_end(), "C_WrapKey C_DestroyObject C_UnwrapKey")); /* and the extractable one is gone before anything else happens */
	len = 0;
	t_fail_named("C_WrapKey", CKR_KEY_UNEXTRACTABLE);
	assert_int_not_equal(hsm_key_rewrap(RIG.hsm, &w.key, NEW_ROOT.id, blob, &len, &RIG.err), KMS_OK);
	t_fail_named(NULL, CKR_OK);
	assert_int_equal(len, 0);
	assert_int_equal(t_objects(&RIG, false), 0);
}

#define WITH_ROOTS(test) cmocka_unit_test_setup(test, roots)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOTS(a_rewrapped_version_is_the_same_key_of_every_kind),
		WITH_ROOTS(a_loaded_version_is_loaded_anew_under_its_new_root),
		WITH_ROOTS(what_is_wrong_is_refused_and_leaves_nothing),
		WITH_ROOTS(a_device_that_would_not_load_it_back_gets_no_blob_out),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, up, down);
}
