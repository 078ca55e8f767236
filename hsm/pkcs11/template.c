/* hsm/pkcs11/template.c - see template.h. */
#include "hsm/pkcs11/template.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Usage flags of PKCS#11, as bits of the table below. */
enum may { SIGN = 1 << 0, DECRYPT = 1 << 1, ENCRYPT = 1 << 2, WRAP = 1 << 3, UNWRAP = 1 << 4 };

struct row {
	enum hsm_purpose purpose;
	enum hsm_kind kind;
	CK_OBJECT_CLASS class;
	CK_KEY_TYPE type;
	CK_MECHANISM_TYPE generate;
	unsigned may;
	CK_MECHANISM_TYPE allowed[P11_MECHANISMS_MAX]; /* 0 ends the list */
};

/*
 * No row has DERIVE, SIGN_RECOVER or VERIFY. Of the installation's own keys, none has both WRAP and DECRYPT, the pair that Clulow's attack needs
 * (hazards.md section 2.1). A caller's AES version has both, because the API has both: there the attack fails for want of an entry, as no verb
 * hands one version's handle to C_WrapKey or C_UnwrapKey under another (what is wrapped and unwrapped under a caller's key are payload objects
 * of the caller's own bytes), and nothing but a newborn on its way under a root, or a version on its way to the next root, is extractable. key_ops narrow this further: in core for
 * resident versions, in the flags of loaded ones.
 */
static const struct row ROWS[] = {
	{ HSM_FOR_LOG, HSM_KIND_ED25519, CKO_PRIVATE_KEY, CKK_EC_EDWARDS, CKM_EC_EDWARDS_KEY_PAIR_GEN, SIGN, { CKM_EDDSA } },
	{ HSM_FOR_LOG, HSM_KIND_P256, CKO_PRIVATE_KEY, CKK_EC, CKM_EC_KEY_PAIR_GEN, SIGN, { CKM_ECDSA } },
	{ HSM_FOR_TOKENS, HSM_KIND_P256, CKO_PRIVATE_KEY, CKK_EC, CKM_EC_KEY_PAIR_GEN, SIGN, { CKM_ECDSA } },
	{ HSM_FOR_ATTESTATION, HSM_KIND_P256, CKO_PRIVATE_KEY, CKK_EC, CKM_EC_KEY_PAIR_GEN, SIGN, { CKM_ECDSA } },
	/* KEY_WRAP besides KEY_WRAP_PAD is for the canary alone. */
	{ HSM_FOR_ROOT, HSM_KIND_AES, CKO_SECRET_KEY, CKK_AES, CKM_AES_KEY_GEN, WRAP | UNWRAP, { CKM_AES_KEY_WRAP_PAD, CKM_AES_KEY_WRAP } },
	{ HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, CKO_SECRET_KEY, CKK_GENERIC_SECRET, CKM_GENERIC_SECRET_KEY_GEN, SIGN, { CKM_SHA256_HMAC } },
	{ HSM_FOR_EXCHANGE, HSM_KIND_RSA, CKO_PRIVATE_KEY, CKK_RSA, CKM_RSA_PKCS_KEY_PAIR_GEN, UNWRAP, { CKM_RSA_PKCS_OAEP } },
	{ HSM_FOR_BACKUP, HSM_KIND_AES, CKO_SECRET_KEY, CKK_AES, CKM_AES_KEY_GEN, ENCRYPT | DECRYPT, { CKM_AES_GCM } },
	{ HSM_FOR_CALLER, HSM_KIND_RSA, CKO_PRIVATE_KEY, CKK_RSA, CKM_RSA_PKCS_KEY_PAIR_GEN, SIGN | DECRYPT,
	  { CKM_RSA_X_509, CKM_RSA_PKCS, CKM_RSA_PKCS_PSS } },
	{ HSM_FOR_CALLER, HSM_KIND_P256, CKO_PRIVATE_KEY, CKK_EC, CKM_EC_KEY_PAIR_GEN, SIGN, { CKM_ECDSA } },
	{ HSM_FOR_CALLER, HSM_KIND_P384, CKO_PRIVATE_KEY, CKK_EC, CKM_EC_KEY_PAIR_GEN, SIGN, { CKM_ECDSA } },
	{ HSM_FOR_CALLER, HSM_KIND_P521, CKO_PRIVATE_KEY, CKK_EC, CKM_EC_KEY_PAIR_GEN, SIGN, { CKM_ECDSA } },
	{ HSM_FOR_CALLER, HSM_KIND_P256K, CKO_PRIVATE_KEY, CKK_EC, CKM_EC_KEY_PAIR_GEN, SIGN, { CKM_ECDSA } },
	/* ECB blocks serve our RFC 5649 wrap and the trial of a new key, and no request (row 1i). */
	{ HSM_FOR_CALLER, HSM_KIND_AES, CKO_SECRET_KEY, CKK_AES, CKM_AES_KEY_GEN, WRAP | UNWRAP | ENCRYPT | DECRYPT,
	  { CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD, CKM_AES_ECB, CKM_AES_GCM, CKM_AES_CBC, CKM_AES_CBC_PAD } },
	{ HSM_FOR_CALLER, HSM_KIND_HMAC, CKO_SECRET_KEY, CKK_GENERIC_SECRET, CKM_GENERIC_SECRET_KEY_GEN, SIGN,
	  { CKM_SHA256_HMAC, CKM_SHA384_HMAC, CKM_SHA512_HMAC } },
};

static const struct label {
	enum hsm_purpose purpose;
	const char *text;
} LABELS[] = {
	{ HSM_FOR_LOG, "holdfast log" },         { HSM_FOR_TOKENS, "holdfast tokens" },
	{ HSM_FOR_ATTESTATION, "holdfast attestation" }, { HSM_FOR_ROOT, "holdfast root" },
	{ HSM_FOR_PSEUDONYMS, "holdfast pseudonyms" },   { HSM_FOR_CALLER, "holdfast caller" },
	{ HSM_FOR_EXCHANGE, "holdfast exchange" },       { HSM_FOR_BACKUP, "holdfast backup" },
};

/* Every usage flag that a class of object has, with the bit that grants it; 0 = never granted. */
struct flag {
	CK_ATTRIBUTE_TYPE type;
	unsigned granted_by;
};
static const struct flag PRIVATE_FLAGS[] = {
	{ CKA_SIGN, SIGN }, { CKA_SIGN_RECOVER, 0 }, { CKA_DECRYPT, DECRYPT }, { CKA_UNWRAP, UNWRAP }, { CKA_DERIVE, 0 },
};
static const struct flag SECRET_FLAGS[] = {
	{ CKA_SIGN, SIGN }, { CKA_VERIFY, 0 }, { CKA_ENCRYPT, ENCRYPT }, { CKA_DECRYPT, DECRYPT },
	{ CKA_WRAP, WRAP }, { CKA_UNWRAP, UNWRAP }, { CKA_DERIVE, 0 },
};
static const struct flag PUBLIC_FLAGS[] = {
	{ CKA_ENCRYPT, 0 }, { CKA_VERIFY, 0 }, { CKA_VERIFY_RECOVER, 0 }, { CKA_WRAP, 0 }, { CKA_DERIVE, 0 },
};

/* Attribute values are passed by pointers to non-const; nothing writes through them. */
static CK_BBOOL YES = CK_TRUE;
static CK_BBOOL NO = CK_FALSE;

#define PSEUDONYM_KEY_LEN 32
#define TRANSPORT_LABEL "holdfast transport"
static const uint8_t RSA_EXPONENT[] = { 0x01, 0x00, 0x01 };

static const struct row *row_of(const struct hsm_key *key)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(ROWS); i++)
		if (ROWS[i].purpose == key->purpose && ROWS[i].kind == key->kind)
			return &ROWS[i];
	abort(); /* hsm.c lets no other combination pass */
}

static void put(struct p11_template *t, CK_ATTRIBUTE_TYPE type, void *value, size_t len)
{
	assert(t->count < P11_ATTRS_MAX);
	t->attrs[t->count++] = (CK_ATTRIBUTE){ type, value, len };
}

static void put_bool(struct p11_template *t, CK_ATTRIBUTE_TYPE type, bool is_set)
{
	put(t, type, is_set ? &YES : &NO, sizeof(CK_BBOOL));
}

static void put_flags(struct p11_template *t, const struct flag *flags, size_t count, unsigned may)
{
	for (size_t i = 0; i < count; i++)
		put_bool(t, flags[i].type, (may & flags[i].granted_by) != 0);
}

static void put_name(struct p11_template *t, const struct hsm_key *key)
{
	const char *label = p11_label(key->purpose);
	size_t len = strlen(label);

	assert(len <= sizeof(t->label));
	memcpy(t->label, label, len);
	memcpy(t->id, key->id, HSM_ID_LEN);
	put(t, CKA_LABEL, t->label, len);
	put(t, CKA_ID, t->id, HSM_ID_LEN);
}

/* What a key in this form may do. A resident version carries all that its kind needs, because it cannot be changed later and core
 * enforces key_ops; a loaded one carries its key_ops and is loaded anew when they change. */
static unsigned may_of(const struct row *row, const struct hsm_key *key, enum p11_form form)
{
	unsigned granted = 0;

	switch (form) {
	case P11_RESIDENT:
		return row->may;
	case P11_NEWBORN:
		return row->kind == HSM_KIND_AES ? ENCRYPT : row->kind == HSM_KIND_HMAC ? SIGN : 0;
	case P11_REWRAP: /* an RSA key tells its public half; a curve's private object does not, but by signatures (row 1o) */
		return row->kind == HSM_KIND_AES ? ENCRYPT : row->kind == HSM_KIND_RSA ? 0 : SIGN;
	case P11_LOADED:
		if ((key->usage & HSM_USE_DECRYPT) != 0)
			granted |= DECRYPT;
		if ((key->usage & HSM_USE_SIGN) != 0)
			granted |= SIGN;
		if ((key->usage & HSM_USE_ENCRYPT) != 0)
			granted |= ENCRYPT;
		if ((key->usage & HSM_USE_WRAP) != 0)
			granted |= WRAP | UNWRAP | ENCRYPT; /* of single blocks, for RFC 5649 (row 1i) */
		return row->may & granted;
	}
	abort();
}

void p11_template_key(struct p11_template *t, const struct hsm_key *key, enum p11_form form)
{
	const struct row *row = row_of(key);
	const unsigned may = may_of(row, key, form);
	size_t mechanisms = 0;

	memset(t, 0, sizeof(*t));
	t->class = row->class;
	t->type = row->type;
	t->generate.mechanism = row->generate;
	put(t, CKA_CLASS, &t->class, sizeof(t->class));
	put(t, CKA_KEY_TYPE, &t->type, sizeof(t->type));
	put_bool(t, CKA_TOKEN, form == P11_RESIDENT);
	put_bool(t, CKA_PRIVATE, true);
	put_name(t, key);
	put_bool(t, CKA_SENSITIVE, true);
	put_bool(t, CKA_EXTRACTABLE, form == P11_NEWBORN || form == P11_REWRAP);
	if (row->class == CKO_PRIVATE_KEY) {
		put_flags(t, PRIVATE_FLAGS, KMS_ARRAY_LEN(PRIVATE_FLAGS), may);
		put_bool(t, CKA_ALWAYS_AUTHENTICATE, false);
	} else {
		put_flags(t, SECRET_FLAGS, KMS_ARRAY_LEN(SECRET_FLAGS), may);
		t->value_len = row->purpose == HSM_FOR_PSEUDONYMS ? PSEUDONYM_KEY_LEN : (CK_ULONG)key->bits / 8;
		if (form != P11_LOADED && form != P11_REWRAP) /* the blob says it */
			put(t, CKA_VALUE_LEN, &t->value_len, sizeof(t->value_len));
	}
	/* Not WRAP_WITH_TRUSTED: the user cannot set CKA_TRUSTED, so a root could never be replaced (row 1k). */
	put_bool(t, CKA_WRAP_WITH_TRUSTED, false);
	put_bool(t, CKA_COPYABLE, false);
	while (mechanisms < P11_MECHANISMS_MAX && row->allowed[mechanisms] != 0) {
		t->allowed[mechanisms] = row->allowed[mechanisms];
		mechanisms++;
	}
	put(t, CKA_ALLOWED_MECHANISMS, t->allowed, mechanisms * sizeof(t->allowed[0]));
	put_bool(t, CKA_MODIFIABLE, false); /* last: SoftHSM refuses whatever follows it with CKR_ATTRIBUTE_READ_ONLY (row 1k) */
}

void p11_template_public(struct p11_template *t, const struct hsm_key *key, bool is_token)
{
	const struct p11_curve *curve = p11_curve(key->kind);
	const struct row *row = row_of(key);

	memset(t, 0, sizeof(*t));
	t->class = CKO_PUBLIC_KEY;
	t->type = row->type;
	t->generate.mechanism = row->generate;
	put(t, CKA_CLASS, &t->class, sizeof(t->class));
	put(t, CKA_KEY_TYPE, &t->type, sizeof(t->type));
	put_bool(t, CKA_TOKEN, is_token);
	put_bool(t, CKA_PRIVATE, false);
	put_name(t, key);
	put_flags(t, PUBLIC_FLAGS, KMS_ARRAY_LEN(PUBLIC_FLAGS), 0);
	if (curve != NULL) {
		put(t, CKA_EC_PARAMS, p11_in(curve->oid), curve->oid_len);
	} else {
		assert(key->kind == HSM_KIND_RSA);
		t->bits = key->bits;
		memcpy(t->exponent, RSA_EXPONENT, sizeof(t->exponent));
		put(t, CKA_MODULUS_BITS, &t->bits, sizeof(t->bits));
		put(t, CKA_PUBLIC_EXPONENT, t->exponent, sizeof(t->exponent));
	}
	put_bool(t, CKA_COPYABLE, false);
	put_bool(t, CKA_MODIFIABLE, false);
}

void p11_template_payload(struct p11_template *t)
{
	memset(t, 0, sizeof(*t));
	t->class = CKO_SECRET_KEY;
	t->type = CKK_GENERIC_SECRET;
	put(t, CKA_CLASS, &t->class, sizeof(t->class));
	put(t, CKA_KEY_TYPE, &t->type, sizeof(t->type));
	put_bool(t, CKA_TOKEN, false);
	put_bool(t, CKA_PRIVATE, true);
	put_bool(t, CKA_SENSITIVE, false);
	put_bool(t, CKA_EXTRACTABLE, true);
	put_flags(t, SECRET_FLAGS, KMS_ARRAY_LEN(SECRET_FLAGS), 0);
	put_bool(t, CKA_COPYABLE, false);
	put_bool(t, CKA_MODIFIABLE, false);
}

void p11_template_transport(struct p11_template *t)
{
	memset(t, 0, sizeof(*t));
	t->class = CKO_SECRET_KEY;
	t->type = CKK_AES;
	memcpy(t->label, TRANSPORT_LABEL, strlen(TRANSPORT_LABEL));
	t->allowed[0] = CKM_AES_KEY_WRAP_PAD;
	put(t, CKA_CLASS, &t->class, sizeof(t->class));
	put(t, CKA_KEY_TYPE, &t->type, sizeof(t->type));
	put_bool(t, CKA_TOKEN, false);
	put_bool(t, CKA_PRIVATE, true);
	put(t, CKA_LABEL, t->label, strlen(t->label));
	put_bool(t, CKA_SENSITIVE, true);
	put_bool(t, CKA_EXTRACTABLE, false);
	put_flags(t, SECRET_FLAGS, KMS_ARRAY_LEN(SECRET_FLAGS), UNWRAP);
	put_bool(t, CKA_COPYABLE, false);
	put(t, CKA_ALLOWED_MECHANISMS, t->allowed, sizeof(t->allowed[0]));
	put_bool(t, CKA_MODIFIABLE, false);
}

void p11_template_remove(struct p11_template *t, CK_ATTRIBUTE_TYPE type)
{
	CK_ULONG kept = 0;

	for (CK_ULONG i = 0; i < t->count; i++)
		if (t->attrs[i].type != type)
			t->attrs[kept++] = t->attrs[i];
	t->count = kept;
}

void p11_template_add(struct p11_template *t, CK_ATTRIBUTE_TYPE type, void *value, size_t len)
{
	CK_ATTRIBUTE last = t->attrs[t->count - 1];

	assert(t->count < P11_ATTRS_MAX);
	t->attrs[t->count - 1] = (CK_ATTRIBUTE){ type, value, len };
	t->attrs[t->count++] = last;
}

/* Tokens return the list in an order of their own. */
static bool same_mechanisms(const CK_MECHANISM_TYPE *have, size_t have_count, const CK_MECHANISM_TYPE *want, size_t want_count)
{
	if (have_count != want_count)
		return false;
	for (size_t i = 0; i < want_count; i++) {
		size_t k = 0;

		while (k < have_count && have[k] != want[i])
			k++;
		if (k == have_count)
			return false;
	}
	return true;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

kms_status p11_template_verify(struct p11_gate *gate, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, struct p11_template *t,
                               struct kms_err *err)
{
	union {
		uint8_t bytes[sizeof(CK_MECHANISM_TYPE) * P11_MECHANISMS_MAX];
		CK_MECHANISM_TYPE mechanisms[P11_MECHANISMS_MAX];
	} values[P11_ATTRS_MAX] = { 0 };
	CK_ATTRIBUTE have[P11_ATTRS_MAX];
	CK_RV rv;

	for (CK_ULONG i = 0; i < t->count; i++)
		have[i] = (CK_ATTRIBUTE){ t->attrs[i].type, &values[i], sizeof(values[i]) };
	rv = P11_CALL(gate, C_GetAttributeValue, session, object, have, t->count);
	/* "Unknown attribute" and "too long" leave the others filled in (PKCS#11 2.40 section 4.3); their length says which it was. */
	if (rv != CKR_OK && rv != CKR_ATTRIBUTE_TYPE_INVALID && rv != CKR_BUFFER_TOO_SMALL)
		return p11_fail(err, rv, "C_GetAttributeValue");
	for (CK_ULONG i = 0; i < t->count; i++) {
		const CK_ATTRIBUTE *want = &t->attrs[i];
		bool is_same = have[i].ulValueLen == want->ulValueLen;

		if (want->type == CKA_ALLOWED_MECHANISMS) {
			if (have[i].ulValueLen == CK_UNAVAILABLE_INFORMATION)
				continue; /* a device that does not keep the list */
			is_same = same_mechanisms(values[i].mechanisms, have[i].ulValueLen / sizeof(CK_MECHANISM_TYPE), t->allowed,
			                          want->ulValueLen / sizeof(CK_MECHANISM_TYPE));
		} else if (is_same && want->type == CKA_VALUE_LEN && is_zero(values[i].bytes, want->ulValueLen)) {
			continue;
		} else if (is_same) {
			is_same = memcmp(values[i].bytes, want->pValue, want->ulValueLen) == 0;
		}
		if (!is_same)
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_PKCS11, rv,
			                "object \"%s\" differs from its template in attribute 0x%lx: made by other means, or by an older build",
			                t->label, want->type);
	}
	return KMS_OK;
}

const char *p11_label(enum hsm_purpose purpose)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(LABELS); i++)
		if (LABELS[i].purpose == purpose)
			return LABELS[i].text;
	abort(); /* hsm.c lets no other purpose pass */
}

bool p11_label_parse(const void *label, size_t len, enum hsm_purpose *ret_purpose)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(LABELS); i++) {
		if (len == strlen(LABELS[i].text) && memcmp(label, LABELS[i].text, len) == 0) {
			*ret_purpose = LABELS[i].purpose;
			return true;
		}
	}
	return false;
}
