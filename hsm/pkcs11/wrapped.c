/* hsm/pkcs11/wrapped.c - making wrapped versions: a pair or a secret as session objects, wrapped under a root, destroyed; the blob is handed out
 * only after it has been loaded back and has done what the original, or its public half, demands. */
#include <string.h>

#include "hsm/pkcs11/provider.h"

/* The token's padding bug (row 1i) is harmless for DER, and absent from secrets, which are multiples of 8 bytes: this is where that shows. */
static kms_status load_and_try(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, CK_OBJECT_HANDLE root, uint8_t *blob,
                               size_t blob_len, const struct p11_proof *proof, bool *ret_good, struct kms_err *err)
{
	CK_MECHANISM m = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };
	struct hsm_key tried = *key;
	CK_OBJECT_HANDLE loaded = CK_INVALID_HANDLE;
	struct p11_template t;
	kms_status status;
	CK_RV rv;

	tried.usage |= (uint32_t)p11_trial_usage(key->kind); /* whatever it will be used for */
	p11_template_key(&t, &tried, P11_LOADED);
	rv = P11_CALL(&p->token.gate, C_UnwrapKey, s->handle, &m, root, blob, blob_len, t.attrs, t.count, &loaded);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_UnwrapKey");
	status = p11_template_verify(&p->token.gate, s->handle, loaded, &t, err);
	if (status == KMS_OK)
		status = p11_trial(p, s, loaded, key, proof, ret_good, err);
	p11_discard(p, s, loaded);
	return status;
}

kms_status p11_wrapped_finish(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, CK_OBJECT_HANDLE root,
                              CK_OBJECT_HANDLE newborn, const struct p11_proof *proof, uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len,
                              bool *ret_good, struct kms_err *err)
{
	CK_MECHANISM m = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };
	uint8_t blob[HSM_BLOB_MAX];
	CK_ULONG blob_len = sizeof(blob);
	CK_RV rv;

	*ret_good = false;
	rv = P11_CALL(&p->token.gate, C_WrapKey, s->handle, &m, root, newborn, blob, &blob_len);
	p11_discard(p, s, newborn);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_WrapKey");
	KMS_TRY(load_and_try(p, s, key, root, blob, blob_len, proof, ret_good, err));
	if (*ret_good) {
		memcpy(ret_blob, blob, blob_len);
		*ret_blob_len = blob_len;
	}
	return KMS_OK;
}

static kms_status make_pair(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, CK_OBJECT_HANDLE *ret_newborn,
                            struct p11_proof *ret_proof, struct kms_err *err)
{
	CK_OBJECT_HANDLE made_public = CK_INVALID_HANDLE, made = CK_INVALID_HANDLE;
	struct p11_template public, private;
	kms_status status;
	CK_RV rv;

	p11_template_public(&public, key, false);
	p11_template_key(&private, key, P11_NEWBORN);
	rv = P11_CALL(&p->token.gate, C_GenerateKeyPair, s->handle, &public.generate, public.attrs, public.count, private.attrs, private.count,
	              &made_public, &made);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GenerateKeyPair");
	status = p11_public_read(p, s, made_public, key->kind, &ret_proof->pub, err);
	p11_discard(p, s, made_public);
	if (status == KMS_OK && key->kind == HSM_KIND_RSA && ret_proof->pub.n_len != (size_t)key->bits / 8)
		status = kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "modulus of %zu bytes for %u bits", ret_proof->pub.n_len,
		                  (unsigned)key->bits);
	if (status != KMS_OK)
		p11_discard(p, s, made);
	else
		*ret_newborn = made;
	return status;
}

static kms_status make_secret(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, CK_OBJECT_HANDLE *ret_newborn,
                              struct p11_proof *ret_proof, struct kms_err *err)
{
	CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
	struct p11_template t;
	kms_status status;
	CK_RV rv;

	p11_template_key(&t, key, P11_NEWBORN);
	rv = P11_CALL(&p->token.gate, C_GenerateKey, s->handle, &t.generate, t.attrs, t.count, &made);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GenerateKey");
	status = p11_print_make(p, s, made, key, ret_proof->print, err);
	if (status != KMS_OK)
		p11_discard(p, s, made);
	else
		*ret_newborn = made;
	return status;
}

kms_status p11_wrapped_make(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, CK_OBJECT_HANDLE root,
                            struct hsm_public *ret_public, uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len, struct kms_err *err)
{
	const bool is_secret = key->kind == HSM_KIND_AES || key->kind == HSM_KIND_HMAC;
	ERASE_AUTO(struct p11_proof, proof, 1);
	CK_OBJECT_HANDLE newborn = CK_INVALID_HANDLE;
	bool is_good;

	KMS_TRY(is_secret ? make_secret(p, s, key, &newborn, proof, err) : make_pair(p, s, key, &newborn, proof, err));
	KMS_TRY(p11_wrapped_finish(p, s, key, root, newborn, proof, ret_blob, ret_blob_len, &is_good, err));
	if (!is_good)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a new version does not do what its original or public half demands");
	*ret_public = proof->pub;
	return KMS_OK;
}

kms_status p11_key_generate_wrapped(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, uint8_t ret_blob[HSM_BLOB_MAX],
                                    size_t *ret_blob_len, struct kms_err *err)
{
	struct hsm_key root = { .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };
	struct p11_hsm *p = p11_of(h);

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO lease = { 0 };
	memcpy(root.id, key->root_id, HSM_ID_LEN);
	KMS_TRY(p11_lease_take(p, &root, &lease, err));
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	return p11_wrapped_make(p, &session, key, lease.entry->handle, ret_public, ret_blob, ret_blob_len, err);
}
