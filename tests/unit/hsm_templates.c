/* tests/unit/hsm_templates.c - what each purpose's object may do, read back from the token and compared with a matrix of its own; and the
 * classical attacks on the PKCS#11 interface, tried with raw calls and refused by the token itself (hazards.md row 1k, section 2.1). */
#include <stdio.h>
#include <string.h>

#include "tests/support/hsm_rig.h"

static struct t_rig RIG;
static CK_FUNCTION_LIST *F;

static int up(void **state)
{
	(void)state;
	t_rig_up(&RIG);
	F = RIG.p->token.gate.functions;
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_rig_down(&RIG);
	return 0;
}

#define HOME (RIG.p->token.home)

static CK_OBJECT_HANDLE handle_of(const struct hsm_key *key)
{
	struct p11_lease lease = { 0 };
	CK_OBJECT_HANDLE handle;

	T_OK(&RIG, p11_lease_take(RIG.p, key, &lease, &RIG.err));
	handle = lease.entry->handle;
	p11_lease_release(&lease);
	return handle;
}

static bool flag_of(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type)
{
	CK_BBOOL value = CK_FALSE;
	CK_ATTRIBUTE attr = { type, &value, sizeof(value) };

	assert_int_equal(F->C_GetAttributeValue(HOME, object, &attr, 1), CKR_OK);
	return value == CK_TRUE;
}

static size_t mechanisms_of(CK_OBJECT_HANDLE object, CK_MECHANISM_TYPE *ret, size_t cap)
{
	CK_ATTRIBUTE attr = { CKA_ALLOWED_MECHANISMS, ret, cap * sizeof(*ret) };

	assert_int_equal(F->C_GetAttributeValue(HOME, object, &attr, 1), CKR_OK);
	return attr.ulValueLen / sizeof(*ret);
}

/* Letters: T token, S sensitive, X extractable, s sign, v verify, e encrypt, d decrypt, w wrap, u unwrap, r derive, m modifiable, c copyable. */
static const char *describe(CK_OBJECT_HANDLE object, bool is_private)
{
	static const struct {
		CK_ATTRIBUTE_TYPE type;
		char letter;
		bool of_private, of_secret;
	} FLAGS[] = {
		{ CKA_TOKEN, 'T', true, true },     { CKA_PRIVATE, 'P', true, true },   { CKA_SENSITIVE, 'S', true, true },
		{ CKA_EXTRACTABLE, 'X', true, true }, { CKA_SIGN, 's', true, true },    { CKA_SIGN_RECOVER, 'R', true, false },
		{ CKA_VERIFY, 'v', false, true },   { CKA_ENCRYPT, 'e', false, true },  { CKA_DECRYPT, 'd', true, true },
		{ CKA_WRAP, 'w', false, true },     { CKA_UNWRAP, 'u', true, true },    { CKA_DERIVE, 'r', true, true },
		{ CKA_MODIFIABLE, 'm', true, true }, { CKA_COPYABLE, 'c', true, true }, { CKA_ALWAYS_AUTHENTICATE, 'a', true, false },
		{ CKA_WRAP_WITH_TRUSTED, 't', true, true },
	};
	static char text[sizeof(FLAGS) / sizeof(FLAGS[0]) + 1];
	size_t n = 0;

	for (size_t i = 0; i < KMS_ARRAY_LEN(FLAGS); i++)
		if ((is_private ? FLAGS[i].of_private : FLAGS[i].of_secret) && flag_of(object, FLAGS[i].type))
			text[n++] = FLAGS[i].letter;
	text[n] = '\0';
	return text;
}

#define CALLER_AES CKM_AES_ECB, CKM_AES_CBC, CKM_AES_CBC_PAD, CKM_AES_GCM, CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD

static void every_resident_purpose_has_exactly_its_flags_and_mechanisms(void **state)
{
	static const struct {
		enum hsm_purpose purpose;
		enum hsm_kind kind;
		unsigned bits;
		const char *flags;
		CK_MECHANISM_TYPE mechanisms[6]; /* ascending, as SoftHSM reports them */
	} MATRIX[] = {
		{ HSM_FOR_LOG, HSM_KIND_ED25519, 0, "TPSs", { CKM_EDDSA } },
		{ HSM_FOR_LOG, HSM_KIND_P256, 0, "TPSs", { CKM_ECDSA } },
		{ HSM_FOR_TOKENS, HSM_KIND_P256, 0, "TPSs", { CKM_ECDSA } },
		{ HSM_FOR_ATTESTATION, HSM_KIND_P256, 0, "TPSs", { CKM_ECDSA } },
		{ HSM_FOR_ROOT, HSM_KIND_AES, 256, "TPSwu", { CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD } },
		{ HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0, "TPSs", { CKM_SHA256_HMAC } },
		{ HSM_FOR_CALLER, HSM_KIND_RSA, 2048, "TPSsd", { CKM_RSA_PKCS, CKM_RSA_X_509, CKM_RSA_PKCS_PSS } },
		{ HSM_FOR_CALLER, HSM_KIND_AES, 128, "TPSedwu", { CALLER_AES } },
		{ HSM_FOR_CALLER, HSM_KIND_AES, 192, "TPSedwu", { CALLER_AES } },
		{ HSM_FOR_CALLER, HSM_KIND_AES, 256, "TPSedwu", { CALLER_AES } },
		{ HSM_FOR_CALLER, HSM_KIND_HMAC, 256, "TPSs", { CKM_SHA256_HMAC, CKM_SHA384_HMAC, CKM_SHA512_HMAC } },
		{ HSM_FOR_CALLER, HSM_KIND_HMAC, 512, "TPSs", { CKM_SHA256_HMAC, CKM_SHA384_HMAC, CKM_SHA512_HMAC } },
		{ HSM_FOR_CALLER, HSM_KIND_P256, 0, "TPSs", { CKM_ECDSA } },
		{ HSM_FOR_CALLER, HSM_KIND_P384, 0, "TPSs", { CKM_ECDSA } },
		{ HSM_FOR_CALLER, HSM_KIND_P521, 0, "TPSs", { CKM_ECDSA } },
		{ HSM_FOR_CALLER, HSM_KIND_P256K, 0, "TPSs", { CKM_ECDSA } },
		{ HSM_FOR_EXCHANGE, HSM_KIND_RSA, 2048, "TPSu", { CKM_RSA_PKCS_OAEP } },
		{ HSM_FOR_BACKUP, HSM_KIND_AES, 256, "TPSed", { CKM_AES_GCM } },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(MATRIX); i++) {
		struct hsm_key key = t_resident(&RIG, MATRIX[i].purpose, MATRIX[i].kind, MATRIX[i].bits, NULL);
		const bool is_private = MATRIX[i].kind != HSM_KIND_AES && MATRIX[i].kind != HSM_KIND_HMAC;
		CK_OBJECT_HANDLE object = handle_of(&key);
		CK_MECHANISM_TYPE allowed[8] = { 0 };
		size_t count = mechanisms_of(object, allowed, KMS_ARRAY_LEN(allowed)), want = 0;

		assert_string_equal(describe(object, is_private), MATRIX[i].flags);
		assert_true(flag_of(object, CKA_ALWAYS_SENSITIVE));
		assert_true(flag_of(object, CKA_NEVER_EXTRACTABLE));
		assert_true(flag_of(object, CKA_LOCAL));
		while (want < KMS_ARRAY_LEN(MATRIX[i].mechanisms) && MATRIX[i].mechanisms[want] != 0)
			want++;
		assert_int_equal(count, want);
		assert_memory_equal(allowed, MATRIX[i].mechanisms, want * sizeof(allowed[0]));
	}
}

static void loaded_versions_carry_their_usage_and_are_loaded_anew_when_it_changes(void **state)
{
	static const struct {
		enum hsm_kind kind;
		unsigned bits;
		struct {
			uint32_t usage;
			const char *flags;
		} cases[6];
	} KINDS[] = {
		{ HSM_KIND_RSA, 2048, { { HSM_USE_DECRYPT, "PSd" }, { HSM_USE_SIGN, "PSs" }, { HSM_USE_DECRYPT | HSM_USE_SIGN, "PSsd" },
		                        { 0, "PS" }, { HSM_USE_WRAP | HSM_USE_ENCRYPT, "PS" }, { HSM_USE_DECRYPT, "PSd" } } },
		{ HSM_KIND_P256K, 0, { { HSM_USE_SIGN, "PSs" }, { HSM_USE_DECRYPT, "PS" }, { HSM_USE_SIGN | HSM_USE_WRAP, "PSs" }, { 0, "PS" },
		                       { HSM_USE_SIGN, "PSs" }, { HSM_USE_ENCRYPT, "PS" } } },
		/* A key that wraps encrypts single blocks for RFC 5649, and decrypts nothing. */
		{ HSM_KIND_AES, 256, { { HSM_USE_ENCRYPT, "PSe" }, { HSM_USE_DECRYPT, "PSd" }, { HSM_USE_WRAP, "PSewu" }, { HSM_USE_SIGN, "PS" },
		                       { HSM_USE_ENCRYPT | HSM_USE_DECRYPT, "PSed" }, { HSM_USE_WRAP | HSM_USE_DECRYPT, "PSedwu" } } },
		{ HSM_KIND_HMAC, 384, { { HSM_USE_SIGN, "PSs" }, { HSM_USE_DECRYPT, "PS" }, { HSM_USE_ENCRYPT, "PS" }, { HSM_USE_WRAP, "PS" },
		                        { 0, "PS" }, { HSM_USE_SIGN, "PSs" } } },
	};
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);

	(void)state;
	for (size_t k = 0; k < KMS_ARRAY_LEN(KINDS); k++) {
		const bool is_private = KINDS[k].kind == HSM_KIND_RSA || KINDS[k].kind == HSM_KIND_P256K;
		struct t_wrapped w;

		t_wrapped_of(&RIG, &root, KINDS[k].kind, KINDS[k].bits, &w);
		for (size_t i = 0; i < KMS_ARRAY_LEN(KINDS[k].cases); i++) {
			w.key.usage = KINDS[k].cases[i].usage;
			assert_string_equal(describe(handle_of(&w.key), is_private), KINDS[k].cases[i].flags);
			assert_int_equal(t_objects(&RIG, false), 1); /* the one with the old usage is gone */
		}
		T_OK(&RIG, hsm_key_evict(RIG.hsm, w.key.id, 1000, &RIG.err));
	}
}

/* The private half as it is while it is being wrapped. */
static CK_OBJECT_HANDLE newborn(void)
{
	struct hsm_key key = rig_key(HSM_FOR_CALLER, HSM_KIND_RSA, 2048);
	struct p11_template private, public;
	CK_OBJECT_HANDLE object, public_object;

	p11_template_key(&private, &key, P11_NEWBORN);
	p11_template_public(&public, &key, false);
	assert_int_equal(F->C_GenerateKeyPair(HOME, &public.generate, public.attrs, public.count, private.attrs, private.count, &public_object,
	                                      &object),
	                 CKR_OK);
	return object;
}

static void a_newborn_version_can_be_wrapped_and_nothing_else(void **state)
{
	CK_MECHANISM raw = { CKM_RSA_X_509, NULL, 0 };
	CK_OBJECT_HANDLE object = newborn();

	(void)state;
	assert_string_equal(describe(object, true), "PSX");
	assert_int_equal(F->C_DecryptInit(HOME, &raw, object), CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_int_equal(F->C_SignInit(HOME, &raw, object), CKR_KEY_FUNCTION_NOT_PERMITTED);
}

static void a_newborn_secret_can_be_wrapped_and_make_the_print_it_is_tried_by(void **state)
{
	static const struct {
		enum hsm_kind kind;
		const char *flags;
	} KINDS[] = { { HSM_KIND_AES, "PSXe" }, { HSM_KIND_HMAC, "PSXs" } };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(KINDS); i++) {
		struct hsm_key key = rig_key(HSM_FOR_CALLER, KINDS[i].kind, 256);
		struct p11_template t;
		CK_OBJECT_HANDLE object;

		p11_template_key(&t, &key, P11_NEWBORN);
		assert_int_equal(F->C_GenerateKey(HOME, &t.generate, t.attrs, t.count, &object), CKR_OK);
		assert_string_equal(describe(object, false), KINDS[i].flags);
	}
}

/* Extractable, as a newborn, and allowed what proves that the next blob is the same key. */
static void a_version_on_its_way_to_another_root_can_be_wrapped_and_prove_itself(void **state)
{
	static const struct {
		enum hsm_kind kind;
		unsigned bits;
		const char *flags;
	} KINDS[] = { { HSM_KIND_RSA, 2048, "PSX" }, { HSM_KIND_P384, 0, "PSXs" }, { HSM_KIND_AES, 192, "PSXe" }, { HSM_KIND_HMAC, 512, "PSXs" } };
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	CK_MECHANISM m = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(KINDS); i++) {
		CK_OBJECT_HANDLE object;
		struct p11_template t;
		struct t_wrapped w;

		t_wrapped_of(&RIG, &root, KINDS[i].kind, KINDS[i].bits, &w);
		p11_template_key(&t, &w.key, P11_REWRAP);
		assert_int_equal(F->C_UnwrapKey(HOME, &m, handle_of(&root), w.blob, w.key.wrapped_len, t.attrs, t.count, &object), CKR_OK);
		assert_string_equal(describe(object, KINDS[i].kind == HSM_KIND_RSA || KINDS[i].kind == HSM_KIND_P384), KINDS[i].flags);
		assert_int_equal(F->C_DestroyObject(HOME, object), CKR_OK);
	}
}

static void the_key_of_a_transfer_unwraps_and_nothing_else(void **state)
{
	CK_MECHANISM generate = { CKM_AES_KEY_GEN, NULL, 0 };
	CK_ULONG len = 32;
	CK_OBJECT_HANDLE object;
	struct p11_template t;

	(void)state;
	p11_template_transport(&t);
	p11_template_add(&t, CKA_VALUE_LEN, &len, sizeof(len));
	assert_int_equal(F->C_GenerateKey(HOME, &generate, t.attrs, t.count, &object), CKR_OK);
	assert_string_equal(describe(object, false), "PSu");
}

static CK_MECHANISM mechanism(CK_MECHANISM_TYPE type, uint8_t iv[16])
{
	const bool has_iv = type == CKM_AES_CBC || type == CKM_AES_CBC_PAD;

	return (CK_MECHANISM){ type, has_iv ? iv : NULL, has_iv ? 16 : 0 };
}

/* Clulow's attack against each key of the installation, with raw calls: the token itself refuses one half or the other. */
static void wrapping_a_key_and_decrypting_the_wrap_is_refused_for_every_key_of_the_installation(void **state)
{
	static const CK_MECHANISM_TYPE CIPHERS[] = { CKM_AES_ECB, CKM_AES_CBC, CKM_AES_CBC_PAD, CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD };
	const struct hsm_key keys[] = {
		t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL),
		t_resident(&RIG, HSM_FOR_BACKUP, HSM_KIND_AES, 256, NULL),
		t_resident(&RIG, HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0, NULL),
		t_resident(&RIG, HSM_FOR_EXCHANGE, HSM_KIND_RSA, 2048, NULL),
	};
	CK_OBJECT_HANDLE victim = newborn(); /* the only form that is extractable at all */
	uint8_t wrap[4096], iv[16] = { 0 };

	(void)state;
	for (size_t k = 0; k < KMS_ARRAY_LEN(keys); k++) {
		CK_OBJECT_HANDLE key = handle_of(&keys[k]);

		for (size_t c = 0; c < KMS_ARRAY_LEN(CIPHERS); c++) {
			CK_MECHANISM m = mechanism(CIPHERS[c], iv);
			CK_ULONG len = sizeof(wrap);
			const bool is_key_wrap = CIPHERS[c] == CKM_AES_KEY_WRAP || CIPHERS[c] == CKM_AES_KEY_WRAP_PAD;

			/* First half of the attack: only a root wraps, with key wrap. Second half: nothing decrypts what it gave. */
			if (keys[k].purpose != HSM_FOR_ROOT || !is_key_wrap)
				assert_int_not_equal(F->C_WrapKey(HOME, &m, key, victim, wrap, &len), CKR_OK);
			assert_int_not_equal(F->C_DecryptInit(HOME, &m, key), CKR_OK);
			assert_int_not_equal(F->C_EncryptInit(HOME, &m, key), CKR_OK);
		}
	}
}

/* A caller's AES version has both halves, because the API has both. The token would let the attack pass on an extractable object, so everything
 * hangs on two facts: no object but a newborn is extractable, and no verb hands C_WrapKey an object that is not made of the caller's bytes. */
static void under_a_caller_s_key_only_the_caller_s_own_bytes_are_ever_wrapped(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 256, NULL);
	SECRET_AUTO *bytes = secret_from("the caller's own", 16);
	struct secret *opened = NULL;
	uint8_t wrap[4096], plain[4096], iv[16] = { 0 };
	CK_MECHANISM kwp = mechanism(CKM_AES_KEY_WRAP_PAD, iv);
	CK_ULONG len = sizeof(wrap);
	struct t_wrapped w;
	size_t out_len;

	(void)state;
	/* What is refused: a version's blob is no ciphertext of a caller's key, nor of the root through any verb. */
	t_wrapped_of(&RIG, &root, HSM_KIND_AES, 256, &w);
	key.usage = HSM_USE_ENCRYPT | HSM_USE_DECRYPT | HSM_USE_WRAP | HSM_USE_SIGN;
	root.usage = key.usage;
	assert_int_equal(F->C_WrapKey(HOME, &kwp, handle_of(&key), handle_of(&w.key), wrap, &len), CKR_KEY_UNEXTRACTABLE);
	T_FAILS(&RIG, KMS_E_CRYPTO, hsm_aes_unwrap(RIG.hsm, &key, HSM_AES_KWP, w.blob, w.key.wrapped_len, &opened, &RIG.err));
	T_FAILS(&RIG, KMS_E_INVALID, hsm_aes_unwrap(RIG.hsm, &root, HSM_AES_KWP, w.blob, w.key.wrapped_len, &opened, &RIG.err));
	T_FAILS(&RIG, KMS_E_INVALID,
	        hsm_decrypt(RIG.hsm, &root, HSM_CIPHER_CBC, iv, NULL, 0, w.blob, w.key.wrapped_len, NULL, plain, sizeof(plain), &out_len, &RIG.err));
	assert_null(opened);
	/* What wrap does: one object of the caller's bytes, made, wrapped and destroyed; with padding, no object at all. */
	t_calls_begin();
	T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &key, HSM_AES_KW, bytes, wrap, sizeof(wrap), &out_len, &RIG.err));
	assert_string_equal(t_calls_end(), "C_CreateObject C_WrapKey C_DestroyObject");
	t_calls_begin();
	T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &key, HSM_AES_KWP, bytes, wrap, sizeof(wrap), &out_len, &RIG.err));
	assert_null(strstr(t_calls_end(), "Object"));
	assert_null(strstr(t_calls_end(), "C_WrapKey"));
}

static void no_key_of_ours_can_be_wrapped_out(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct hsm_key caller = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 256, NULL);
	struct hsm_key victims[] = {
		t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL), t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 256, NULL),
		t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, NULL), t_resident(&RIG, HSM_FOR_LOG, HSM_KIND_P256, 0, NULL),
		t_resident(&RIG, HSM_FOR_TOKENS, HSM_KIND_P256, 0, NULL), t_resident(&RIG, HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0, NULL),
		t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_P521, 0, NULL), t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_HMAC, 512, NULL),
		t_resident(&RIG, HSM_FOR_EXCHANGE, HSM_KIND_RSA, 2048, NULL), t_resident(&RIG, HSM_FOR_BACKUP, HSM_KIND_AES, 256, NULL),
		rig_key(HSM_FOR_CALLER, HSM_KIND_RSA, 2048), /* its place */
	};
	CK_OBJECT_HANDLE wrapping[2];
	uint8_t out[4096];
	struct t_wrapped w;

	(void)state;
	t_wrapped_make(&RIG, &root, 2048, &w);
	victims[KMS_ARRAY_LEN(victims) - 1] = w.key; /* a loaded version */
	wrapping[0] = handle_of(&root);
	wrapping[1] = handle_of(&caller);
	for (size_t v = 0; v < KMS_ARRAY_LEN(victims); v++) {
		CK_OBJECT_HANDLE victim = handle_of(&victims[v]);
		const CK_ATTRIBUTE_TYPE type = victims[v].kind == HSM_KIND_RSA ? CKA_PRIVATE_EXPONENT : CKA_VALUE; /* of curves too */
		CK_ATTRIBUTE value = { type, out, sizeof(out) };

		for (size_t k = 0; k < KMS_ARRAY_LEN(wrapping); k++) {
			CK_MECHANISM m = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };
			CK_ULONG len = sizeof(out);

			assert_int_equal(F->C_WrapKey(HOME, &m, wrapping[k], victim, out, &len), CKR_KEY_UNEXTRACTABLE);
		}
		assert_int_equal(F->C_GetAttributeValue(HOME, victim, &value, 1), CKR_ATTRIBUTE_SENSITIVE);
	}
}

static void attributes_cannot_be_changed_nor_shed_by_copying(void **state)
{
	const struct hsm_key keys[] = {
		t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL),
		t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, NULL),
		t_resident(&RIG, HSM_FOR_TOKENS, HSM_KIND_P256, 0, NULL),
	};
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE changes[] = { { CKA_EXTRACTABLE, &yes, sizeof(yes) }, { CKA_DECRYPT, &yes, sizeof(yes) }, { CKA_MODIFIABLE, &yes, sizeof(yes) } };

	(void)state;
	for (size_t k = 0; k < KMS_ARRAY_LEN(keys); k++) {
		CK_OBJECT_HANDLE object = handle_of(&keys[k]), copy;

		for (size_t i = 0; i < KMS_ARRAY_LEN(changes); i++) {
			assert_int_not_equal(F->C_SetAttributeValue(HOME, object, &changes[i], 1), CKR_OK);
			assert_int_not_equal(F->C_CopyObject(HOME, object, &changes[i], 1, &copy), CKR_OK);
		}
		assert_int_not_equal(F->C_CopyObject(HOME, object, NULL, 0, &copy), CKR_OK);
	}
}

/* An object with our id and label, but other attributes, as somebody with the PIN and another tool could place it. */
static void an_object_that_differs_from_its_template_is_refused_at_first_use(void **state)
{
	static const CK_ATTRIBUTE_TYPE CHANGED[] = { CKA_EXTRACTABLE, CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_DERIVE };
	CK_BBOOL yes = CK_TRUE;

	(void)state;
	(void)t_log_key(&RIG);
	for (size_t c = 0; c < KMS_ARRAY_LEN(CHANGED); c++) {
		struct hsm_key root = rig_key(HSM_FOR_ROOT, HSM_KIND_AES, 256);
		SECRET_AUTO *plain = secret_new(16);
		CK_OBJECT_HANDLE object;
		struct p11_template t;
		uint8_t wrapped[24];
		size_t len;

		p11_template_key(&t, &root, P11_RESIDENT);
		for (CK_ULONG i = 0; i < t.count; i++)
			if (t.attrs[i].type == CHANGED[c])
				t.attrs[i].pValue = &yes;
		assert_int_equal(F->C_GenerateKey(HOME, &t.generate, t.attrs, t.count, &object), CKR_OK);
		T_FAILS(&RIG, KMS_E_INTERNAL, hsm_aes_wrap(RIG.hsm, &root, HSM_AES_KW, plain, wrapped, sizeof(wrapped), &len, &RIG.err));
	}
	/* Right attributes, wrong label: an attestation key is no token key. */
	struct hsm_key attestation = t_resident(&RIG, HSM_FOR_ATTESTATION, HSM_KIND_P256, 0, NULL);
	uint8_t digest[32] = { 0 }, signature[HSM_SIGNATURE_MAX];

	attestation.purpose = HSM_FOR_TOKENS;
	T_FAILS(&RIG, KMS_E_NOTFOUND, t_sign(RIG.hsm, &attestation, digest, sizeof(digest), signature, &RIG.err));
}

/* Why the order in the table matters: pins the token's behaviour. */
static void modifiable_has_to_be_the_last_attribute(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	CK_MECHANISM m = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };
	CK_OBJECT_HANDLE object;
	struct p11_template t;
	struct t_wrapped w;
	CK_ATTRIBUTE last;

	(void)state;
	t_wrapped_make(&RIG, &root, 2048, &w);
	p11_template_key(&t, &w.key, P11_LOADED);
	last = t.attrs[t.count - 1];
	assert_int_equal(last.type, CKA_MODIFIABLE);
	memmove(&t.attrs[3], &t.attrs[2], (t.count - 3) * sizeof(t.attrs[0])); /* behind class and type */
	t.attrs[2] = last;
	assert_int_equal(F->C_UnwrapKey(HOME, &m, handle_of(&root), w.blob, w.key.wrapped_len, t.attrs, t.count, &object), CKR_ATTRIBUTE_READ_ONLY);
}

static void no_verb_ever_calls_what_weakens_keys(void **state)
{
	static const char *const NEVER[] = { "C_CopyObject", "C_SetAttributeValue", "C_DeriveKey", "C_Logout", "C_SetPIN" };
	struct hsm_key root, aes;
	SECRET_AUTO *plain = secret_new(20);
	SECRET_AUTO *back = NULL;
	uint8_t wrapped[40];
	const char *calls;
	struct t_wrapped w;
	size_t len;

	(void)state;
	t_calls_begin();
	root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	aes = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 256, NULL);
	t_wrapped_make(&RIG, &root, 2048, &w);
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w.key, &w.public));
	T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &aes, HSM_AES_KWP, plain, wrapped, sizeof(wrapped), &len, &RIG.err));
	T_OK(&RIG, hsm_aes_unwrap(RIG.hsm, &aes, HSM_AES_KWP, wrapped, len, &back, &RIG.err));
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, root.id, &RIG.err));
	calls = t_calls_end();
	assert_non_null(strstr(calls, "C_UnwrapKey"));
	for (size_t i = 0; i < KMS_ARRAY_LEN(NEVER); i++)
		assert_null(strstr(calls, NEVER[i]));
}

#define WITH_HSM(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_HSM(every_resident_purpose_has_exactly_its_flags_and_mechanisms),
		WITH_HSM(loaded_versions_carry_their_usage_and_are_loaded_anew_when_it_changes),
		WITH_HSM(a_newborn_version_can_be_wrapped_and_nothing_else),
		WITH_HSM(a_newborn_secret_can_be_wrapped_and_make_the_print_it_is_tried_by),
		WITH_HSM(a_version_on_its_way_to_another_root_can_be_wrapped_and_prove_itself),
		WITH_HSM(the_key_of_a_transfer_unwraps_and_nothing_else),
		WITH_HSM(wrapping_a_key_and_decrypting_the_wrap_is_refused_for_every_key_of_the_installation),
		WITH_HSM(under_a_caller_s_key_only_the_caller_s_own_bytes_are_ever_wrapped),
		WITH_HSM(no_key_of_ours_can_be_wrapped_out),
		WITH_HSM(attributes_cannot_be_changed_nor_shed_by_copying),
		WITH_HSM(an_object_that_differs_from_its_template_is_refused_at_first_use),
		WITH_HSM(modifiable_has_to_be_the_last_attribute),
		WITH_HSM(no_verb_ever_calls_what_weakens_keys),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
