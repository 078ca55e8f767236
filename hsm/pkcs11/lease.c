/* hsm/pkcs11/lease.c - makes a key ready for use: a resident key's handle, found and checked once; a wrapped version, unwrapped under its root
 * into a session object of the home session. */
#include <string.h>

#include "hsm/pkcs11/provider.h"

bool p11_loaded_destroy(void *arg, unsigned long handle)
{
	struct p11_hsm *p = arg;
	CK_RV rv;

	P11_LOCK_AUTO(&p->home_lock);
	rv = P11_CALL(&p->token.gate, C_DestroyObject, p->token.home, handle);
	return rv == CKR_OK || rv == CKR_OBJECT_HANDLE_INVALID || rv == CKR_CRYPTOKI_NOT_INITIALIZED;
}

/* A failed C_UnwrapKey leaves nothing active (row 1e), so the home session stays whatever happens here. */
static kms_status load_under(struct p11_hsm *p, const struct hsm_key *key, struct p11_lease *root, CK_OBJECT_HANDLE *ret_handle,
                             struct kms_err *err)
{
	CK_MECHANISM mechanism = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };
	uint8_t blob[HSM_BLOB_MAX]; /* PKCS#11 takes a pointer to non-const */
	struct p11_template t;
	CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
	kms_status status;
	CK_RV rv;

	memcpy(blob, key->wrapped, key->wrapped_len);
	p11_template_key(&t, key, P11_LOADED);
	P11_LOCK_AUTO(&p->home_lock);
	rv = P11_CALL(&p->token.gate, C_UnwrapKey, p->token.home, &mechanism, root->entry->handle, blob, key->wrapped_len, t.attrs, t.count,
	              &handle);
	if (rv != CKR_OK) {
		p11_lease_failed(root, rv);
		if (p11_rv_is_device(rv))
			return p11_fail(err, rv, "C_UnwrapKey");
		/* Not a caller's bytes but ours: the blob is damaged, or belongs to another root. */
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_PKCS11, rv, "the wrapped version does not unwrap: %s", p11_rv_name(rv));
	}
	status = p11_template_verify(&p->token.gate, p->token.home, handle, &t, err);
	if (status != KMS_OK) {
		/* Once more if refused: what stays is not extractable, and gone with the next re-initialisation. */
		for (int tries = 0; tries < 2; tries++)
			if (P11_CALL(&p->token.gate, C_DestroyObject, p->token.home, handle) == CKR_OK)
				break;
		return status;
	}
	*ret_handle = handle;
	return KMS_OK;
}

static kms_status load_wrapped(struct p11_hsm *p, const struct hsm_key *key, CK_OBJECT_HANDLE *ret_handle, struct kms_err *err)
{
	struct hsm_key root = { .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };
	P11_LEASE_AUTO lease = { 0 };

	memcpy(root.id, key->root_id, HSM_ID_LEN);
	KMS_TRY(p11_lease_take(p, &root, &lease, err));
	return load_under(p, key, &lease, ret_handle, err);
}

kms_status p11_lease_take(struct p11_hsm *p, const struct hsm_key *key, struct p11_lease *ret_lease, struct kms_err *err)
{
	struct kms_err own = { 0 };
	struct p11_entry *entry;
	struct p11_found found = { 0 };
	kms_status status;
	bool must_load;

	if (err == NULL)
		err = &own; /* those who wait for this load are told why it failed */
	KMS_TRY(p11_cache_take(p->cache, key, p->epoch, p->cfg.wait_ms, &entry, &must_load, err));
	if (must_load) {
		status = key->wrapped != NULL ? load_wrapped(p, key, &found.handle, err) : p11_resident_find(p, key, &found, err);
		if (status != KMS_OK) {
			p11_cache_load_failed(p->cache, entry, status, err);
			return status;
		}
		p11_cache_loaded(p->cache, entry, found.handle, found.verifier);
	}
	*ret_lease = (struct p11_lease){ .p = p, .entry = entry };
	return KMS_OK;
}

void p11_lease_release(struct p11_lease *lease)
{
	if (lease->entry != NULL)
		p11_cache_release(lease->p->cache, lease->entry);
	lease->entry = NULL;
}

void p11_lease_failed(struct p11_lease *lease, CK_RV rv)
{
	if (p11_rv_is_loss(rv))
		p11_cache_doom(lease->p->cache, lease->entry);
}
