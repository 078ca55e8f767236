/*
 * hsm/pkcs11/template.h - the one table of object templates (hazards.md row 1k): what each purpose may do in the device, with every usage
 * flag spelled out, and the check that a found object has exactly these attributes.
 */
#ifndef HOLDFAST_HSM_PKCS11_TEMPLATE_H
#define HOLDFAST_HSM_PKCS11_TEMPLATE_H

#include "hsm/hsm.h"
#include "hsm/pkcs11/curve.h"
#include "hsm/pkcs11/gate.h"

#define P11_ATTRS_MAX 28
#define P11_MECHANISMS_MAX 6

/* The same key in its different states of being. */
enum p11_form {
	P11_RESIDENT, /* token object */
	P11_LOADED,   /* session object unwrapped from a blob: usage as in key->usage, never extractable */
	P11_REWRAP,   /* session object unwrapped from a blob, about to be wrapped under another root: extractable, destroyed in the same function; may do
	               * what proves that the next blob is the same key, and nothing else */
	P11_NEWBORN,  /* about to be wrapped: extractable, destroyed in the same function; a pair's private half is of no use, a secret can make
	               * the one print that its loaded form is compared with */
};

/* Attributes with their storage; filled by the functions below, points into itself: do not copy. */
struct p11_template {
	CK_ATTRIBUTE attrs[P11_ATTRS_MAX];
	CK_ULONG count;
	CK_OBJECT_CLASS class;
	CK_KEY_TYPE type;
	CK_ULONG value_len, bits;
	CK_MECHANISM_TYPE allowed[P11_MECHANISMS_MAX];
	CK_MECHANISM generate;
	char label[32];
	uint8_t id[HSM_ID_LEN];
	uint8_t exponent[3];
};

/**
 * Template of the private or secret key for C_GenerateKey, C_GenerateKeyPair (private half) and C_UnwrapKey.
 */
void p11_template_key(struct p11_template *t, const struct hsm_key *key, enum p11_form form);
/** Template of the public half. @param is_token  kept in the token (the only place of an EC point), else a session object */
void p11_template_public(struct p11_template *t, const struct hsm_key *key, bool is_token);
/** Template of a caller's bytes on their way through a wrap or unwrap: generic secret, extractable, session object. Append CKA_VALUE. */
void p11_template_payload(struct p11_template *t);
/** Template of the AES key that a transferred key comes wrapped under: unwraps one key, session object. */
void p11_template_transport(struct p11_template *t);
/** Take an attribute out: CKA_VALUE_LEN where the value comes from elsewhere (PKCS#11 2.40 table 10, notes 2, 3, 6). */
void p11_template_remove(struct p11_template *t, CK_ATTRIBUTE_TYPE type);
/** Insert an attribute before the last one, which has to stay last (CKA_MODIFIABLE). `value` is kept by reference. */
void p11_template_add(struct p11_template *t, CK_ATTRIBUTE_TYPE type, void *value, size_t len);

/**
 * Does an object carry exactly the attributes that this key is made with? CKA_ALLOWED_MECHANISMS counts where the device keeps it, and
 * CKA_VALUE_LEN where it is not 0 (SoftHSM does not record the length of what it unwraps).
 * @return KMS_OK | KMS_E_INTERNAL (it differs: refused) | KMS_E_DEVICE
 */
KMS_MUST_CHECK kms_status p11_template_verify(struct p11_gate *gate, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                              struct p11_template *t, struct kms_err *err);

/** The label of a purpose ("holdfast root"), and back; false when a label is not ours. */
const char *p11_label(enum hsm_purpose purpose);
bool p11_label_parse(const void *label, size_t len, enum hsm_purpose *ret_purpose);

#endif
