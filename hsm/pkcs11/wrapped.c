/* hsm/pkcs11/wrapped.c - making wrapped versions: an RSA pair of session objects, its private half wrapped under a root, both destroyed; the
 * blob is handed out only after it has been loaded back and has decrypted what the public half encrypted. */
#include <openssl/crypto.h>
#include <string.h>

#include "hsm/pkcs11/provider.h"
#include "hsm/pkcs11/sigcheck.h"

/* Does the blob, loaded as it will be, undo the public operation? (The token's padding bug, row 1i, is harmless only because of this.) */
static kms_status try_loaded(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE loaded, const struct hsm_public *pub,
                             struct kms_err *err)
{
	SECRET_AUTO *block = secret_new(pub->n_len);
	uint8_t m[HSM_RSA_MAX], c[HSM_RSA_MAX];
	CK_RV rv;

	if (block == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: RSA block");
	rv = P11_CALL(&p->token.gate, C_GenerateRandom, s->handle, m, pub->n_len);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GenerateRandom");
	m[0] = 0; /* below the modulus */
	if (!sigcheck_rsa_raw(pub, m, c))
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, 0, "RSA public operation");
	KMS_TRY(p11_use_rsa_raw(p, s, loaded, c, pub->n_len, block, &rv, err));
	if (CRYPTO_memcmp(secret_data(block), m, pub->n_len) != 0)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a new version does not decrypt what its public half encrypts");
	return KMS_OK;
}

static kms_status load_and_try(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, CK_OBJECT_HANDLE root, uint8_t *blob,
                               size_t blob_len, const struct hsm_public *pub, struct kms_err *err)
{
	CK_MECHANISM m = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };
	struct hsm_key decrypting = *key;
	CK_OBJECT_HANDLE loaded = CK_INVALID_HANDLE;
	struct p11_template t;
	kms_status status;
	CK_RV rv;

	decrypting.usage |= HSM_USE_DECRYPT; /* for the trial, whatever it will be used for */
	p11_template_key(&t, &decrypting, P11_LOADED);
	rv = P11_CALL(&p->token.gate, C_UnwrapKey, s->handle, &m, root, blob, blob_len, t.attrs, t.count, &loaded);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_UnwrapKey");
	status = p11_template_verify(&p->token.gate, s->handle, loaded, &t, err);
	if (status == KMS_OK)
		status = try_loaded(p, s, loaded, pub, err);
	p11_discard(p, s, loaded);
	return status;
}

kms_status p11_wrapped_make(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, CK_OBJECT_HANDLE root,
                            struct hsm_public *ret_public, uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len, struct kms_err *err)
{
	CK_MECHANISM m = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };
	CK_OBJECT_HANDLE made_public = CK_INVALID_HANDLE, made = CK_INVALID_HANDLE;
	struct p11_template public, private;
	uint8_t blob[HSM_BLOB_MAX];
	CK_ULONG blob_len = sizeof(blob);
	struct hsm_public pub;
	kms_status status;
	CK_RV rv;

	p11_template_public(&public, key, false);
	p11_template_key(&private, key, P11_NEWBORN);
	rv = P11_CALL(&p->token.gate, C_GenerateKeyPair, s->handle, &public.generate, public.attrs, public.count, private.attrs, private.count,
	              &made_public, &made);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GenerateKeyPair");
	status = p11_public_read(p, s, made_public, HSM_KIND_RSA, &pub, err);
	if (status == KMS_OK) {
		rv = P11_CALL(&p->token.gate, C_WrapKey, s->handle, &m, root, made, blob, &blob_len);
		if (rv != CKR_OK)
			status = p11_fail(err, rv, "C_WrapKey");
	}
	p11_discard(p, s, made_public);
	p11_discard(p, s, made);
	KMS_TRY(status);
	if (pub.n_len != (size_t)key->bits / 8)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "modulus of %zu bytes for %u bits", pub.n_len, (unsigned)key->bits);
	KMS_TRY(load_and_try(p, s, key, root, blob, blob_len, &pub, err));
	*ret_public = pub;
	memcpy(ret_blob, blob, blob_len);
	*ret_blob_len = blob_len;
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
