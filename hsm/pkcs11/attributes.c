/* hsm/pkcs11/attributes.c - what the device says of a key, for its attestation. */
#include <string.h>

#include "hsm/pkcs11/provider.h"

kms_status p11_key_attributes(struct hsm *h, const struct hsm_key *key, struct hsm_attributes *ret_attributes, struct kms_err *err)
{
	static const struct {
		CK_ATTRIBUTE_TYPE type;
		size_t offset;  /* of the bool */
		bool if_absent; /* the worse of the two; but a private key has no CKA_ENCRYPT and no CKA_WRAP, and what it does not have, it may not */
	} READ[] = {
#define READS(type, member) { type, offsetof(struct hsm_attributes, member), false }
#define FEARS(type, member) { type, offsetof(struct hsm_attributes, member), true }
		READS(CKA_TOKEN, is_token), READS(CKA_PRIVATE, is_private), READS(CKA_SENSITIVE, is_sensitive),
		READS(CKA_ALWAYS_SENSITIVE, is_always_sensitive), FEARS(CKA_EXTRACTABLE, is_extractable),
		READS(CKA_NEVER_EXTRACTABLE, is_never_extractable), READS(CKA_LOCAL, is_local), FEARS(CKA_MODIFIABLE, is_modifiable),
		FEARS(CKA_COPYABLE, is_copyable), READS(CKA_ENCRYPT, may_encrypt), READS(CKA_DECRYPT, may_decrypt), READS(CKA_SIGN, may_sign),
		READS(CKA_WRAP, may_wrap), READS(CKA_UNWRAP, may_unwrap), READS(CKA_DERIVE, may_derive),
#undef READS
#undef FEARS
	};
	struct p11_hsm *p = p11_of(h);
	CK_BBOOL values[KMS_ARRAY_LEN(READ)] = { 0 };
	CK_ATTRIBUTE attrs[KMS_ARRAY_LEN(READ)];
	struct hsm_attributes found = { 0 };
	CK_RV rv;

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO lease = { 0 };
	KMS_TRY(p11_lease_take(p, key, &lease, err));
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	for (size_t i = 0; i < KMS_ARRAY_LEN(READ); i++)
		attrs[i] = (CK_ATTRIBUTE){ READ[i].type, &values[i], sizeof(values[i]) };
	rv = P11_CALL(&p->token.gate, C_GetAttributeValue, session.handle, lease.entry->handle, attrs, KMS_ARRAY_LEN(attrs));
	if (rv != CKR_OK && rv != CKR_ATTRIBUTE_TYPE_INVALID) {
		p11_lease_failed(&lease, rv);
		return p11_fail(err, rv, "C_GetAttributeValue");
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(READ); i++) {
		const bool is_set = attrs[i].ulValueLen == sizeof(values[i]) ? values[i] != CK_FALSE : READ[i].if_absent;

		memcpy((uint8_t *)&found + READ[i].offset, &is_set, sizeof(is_set));
	}
	*ret_attributes = found;
	return KMS_OK;
}
