/* hsm/pkcs11/import.c - a caller's key in clear becomes a token object, or a session object that is wrapped under a root and destroyed. Either way it
 * gets the template of a generated key, and is tried by use before anybody gets to know of it. */
#include <openssl/crypto.h>
#include <string.h>

#include "hsm/pkcs11/provider.h"

static void add_bytes(struct p11_template *t, CK_ATTRIBUTE_TYPE type, const uint8_t *bytes, size_t len)
{
	p11_template_add(t, type, p11_in(bytes), len);
}

static void add_secret(struct p11_template *t, CK_ATTRIBUTE_TYPE type, const struct secret *value)
{
	add_bytes(t, type, secret_data(value), secret_len(value));
}

/* Template and material for C_CreateObject; CKA_VALUE_LEN comes with the value. */
static void fill(struct p11_template *t, const struct hsm_key *key, enum p11_form form, const struct hsm_material *m)
{
	const struct p11_curve *curve = p11_curve(key->kind);

	p11_template_key(t, key, form);
	p11_template_remove(t, CKA_VALUE_LEN);
	if (curve != NULL)
		add_bytes(t, CKA_EC_PARAMS, curve->oid, curve->oid_len);
	if (key->kind != HSM_KIND_RSA) {
		add_secret(t, CKA_VALUE, m->secret);
		return;
	}
	add_bytes(t, CKA_MODULUS, m->pub.n, m->pub.n_len);
	add_bytes(t, CKA_PUBLIC_EXPONENT, m->pub.e, m->pub.e_len);
	add_secret(t, CKA_PRIVATE_EXPONENT, m->secret);
	add_secret(t, CKA_PRIME_1, m->p);
	add_secret(t, CKA_PRIME_2, m->q);
	add_secret(t, CKA_EXPONENT_1, m->dp);
	add_secret(t, CKA_EXPONENT_2, m->dq);
	add_secret(t, CKA_COEFFICIENT, m->qi);
}

static kms_status refuse_material(struct kms_err *err, const char *what)
{
	return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "imported key: %s", what);
}

static kms_status create(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, enum p11_form form,
                         const struct hsm_material *m, CK_OBJECT_HANDLE *ret_object, struct kms_err *err)
{
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	struct p11_template t, expected;
	kms_status status;
	CK_RV rv;

	fill(&t, key, form, m);
	rv = P11_CALL(&p->token.gate, C_CreateObject, s->handle, t.attrs, t.count, &object);
	if (rv != CKR_OK) /* codes about attributes and sizes blame the material; it alone differs from what was tried at start */
		return p11_status(rv) == KMS_E_UNSUPPORTED && !p11_rv_is_device(rv) ? refuse_material(err, p11_rv_name(rv))
		                                                                    : p11_fail(err, rv, "C_CreateObject");
	p11_template_key(&expected, key, form);
	status = p11_template_verify(&p->token.gate, s->handle, object, &expected, err);
	if (status != KMS_OK)
		p11_discard(p, s, object);
	else
		*ret_object = object;
	return status;
}

static kms_status proof_of(const struct hsm_key *key, const struct hsm_material *m, struct p11_proof *ret_proof, struct kms_err *err)
{
	ret_proof->pub = m->pub;
	if ((key->kind == HSM_KIND_AES || key->kind == HSM_KIND_HMAC) && !p11_print_of(m->secret, key->kind, ret_proof->print))
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, 0, "print of a secret");
	return KMS_OK;
}

struct resident {
	const struct hsm_material *material;
	const struct p11_proof *proof;
};

/* What fails is destroyed by the caller, with everything else that has the id. */
static kms_status create_locked(struct p11_hsm *p, struct p11_session *session, const struct hsm_key *key, void *arg, struct kms_err *err)
{
	const struct resident *r = arg;
	CK_OBJECT_HANDLE object;
	bool is_good;

	KMS_TRY(create(p, session, key, P11_RESIDENT, r->material, &object, err));
	KMS_TRY(p11_trial(p, session, object, key, r->proof, &is_good, err));
	return is_good ? KMS_OK : refuse_material(err, "it does not do what it should");
}

static kms_status import_wrapped(struct p11_hsm *p, const struct hsm_key *key, const struct hsm_material *m, const struct p11_proof *proof,
                                 uint8_t *ret_blob, size_t *ret_blob_len, struct kms_err *err)
{
	struct hsm_key root = { .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };
	CK_OBJECT_HANDLE newborn;
	bool is_good;

	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO lease = { 0 };
	memcpy(root.id, key->root_id, HSM_ID_LEN);
	KMS_TRY(p11_lease_take(p, &root, &lease, err));
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	KMS_TRY(create(p, &session, key, P11_NEWBORN, m, &newborn, err));
	KMS_TRY(p11_wrapped_finish(p, &session, key, lease.entry->handle, newborn, proof, ret_blob, ret_blob_len, &is_good, err));
	return is_good ? KMS_OK : refuse_material(err, "it does not do what it should");
}

kms_status p11_key_import(struct hsm *h, const struct hsm_key *key, const struct hsm_material *material, uint8_t *ret_blob,
                          size_t *ret_blob_len, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	ERASE_AUTO(struct p11_proof, proof, 1);

	P11_ENTER(p, err);
	KMS_TRY(proof_of(key, material, proof, err));
	if (ret_blob != NULL)
		return import_wrapped(p, key, material, proof, ret_blob, ret_blob_len, err);
	return p11_resident_make(p, key, create_locked, &(struct resident){ material, proof }, err);
}
