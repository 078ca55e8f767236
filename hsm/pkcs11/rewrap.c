/* hsm/pkcs11/rewrap.c - a wrapped version from one root to another (root rotation): unwrapped as an extractable session object, wrapped, destroyed, all in one
 * session; the new blob is handed out only after it was loaded back and has done what the old one does. */
#include <openssl/sha.h>
#include <string.h>

#include "hsm/pkcs11/provider.h"

/* The private object of a curve has no point (row 1o): two signatures tell it. */
static kms_status prove_curve(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key, struct hsm_public *ret_public,
                              struct kms_err *err)
{
	uint8_t digests[2][SHA512_DIGEST_LENGTH];
	struct sigcheck_signed made[2];

	for (unsigned i = 0; i < KMS_ARRAY_LEN(made); i++)
		KMS_TRY(p11_trial_sign(p, s, object, key, i + 1, &made[i], digests[i], err));
	if (!sigcheck_recover(key->kind, made, ret_public))
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the signatures of a version have no common public key");
	return KMS_OK;
}

/* What the next blob has to live up to, told by the present one. */
static kms_status prove(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key, struct p11_proof *ret_proof,
                        struct kms_err *err)
{
	if (key->kind == HSM_KIND_RSA)
		return p11_public_read(p, s, object, key->kind, &ret_proof->pub, err);
	if (p11_curve(key->kind) != NULL)
		return prove_curve(p, s, object, key, &ret_proof->pub, err);
	return p11_print_make(p, s, object, key, ret_proof->print, err);
}

static kms_status unwrap(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, struct p11_lease *root, CK_OBJECT_HANDLE *ret_object,
                         struct kms_err *err)
{
	CK_MECHANISM m = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	struct p11_template t;
	kms_status status;
	CK_RV rv;

	p11_template_key(&t, key, P11_REWRAP);
	rv = P11_CALL(&p->token.gate, C_UnwrapKey, s->handle, &m, root->entry->handle, p11_in(key->wrapped), key->wrapped_len, t.attrs, t.count, &object);
	if (rv != CKR_OK) {
		p11_lease_failed(root, rv);
		if (p11_rv_is_device(rv))
			return p11_fail(err, rv, "C_UnwrapKey");
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_PKCS11, rv, "the wrapped version does not unwrap: %s", p11_rv_name(rv));
	}
	status = p11_template_verify(&p->token.gate, s->handle, object, &t, err);
	if (status != KMS_OK)
		p11_discard(p, s, object);
	else
		*ret_object = object;
	return status;
}

static void root_key(const uint8_t id[HSM_ID_LEN], struct hsm_key *ret_root)
{
	*ret_root = (struct hsm_key){ .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };
	memcpy(ret_root->id, id, HSM_ID_LEN);
}

kms_status p11_key_rewrap(struct hsm *h, const struct hsm_key *key, const uint8_t root_id[HSM_ID_LEN], uint8_t ret_blob[HSM_BLOB_MAX],
                          size_t *ret_blob_len, struct kms_err *err)
{
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	ERASE_AUTO(struct p11_proof, proof, 1);
	struct p11_hsm *p = p11_of(h);
	struct hsm_key from, to;
	kms_status status;
	bool is_good = false;

	root_key(key->root_id, &from);
	root_key(root_id, &to);
	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO from_lease = { 0 };
	P11_LEASE_AUTO to_lease = { 0 };
	KMS_TRY(p11_lease_take(p, &from, &from_lease, err));
	KMS_TRY(p11_lease_take(p, &to, &to_lease, err));
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	KMS_TRY(unwrap(p, &session, key, &from_lease, &object, err));
	status = prove(p, &session, object, key, proof, err);
	if (status != KMS_OK) {
		p11_discard(p, &session, object);
		return status;
	}
	KMS_TRY(p11_wrapped_finish(p, &session, key, to_lease.entry->handle, object, proof, ret_blob, ret_blob_len, &is_good, err));
	if (!is_good)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a rewrapped version does not do what it did before");
	return KMS_OK;
}
