/* hsm/pkcs11/sign.c - signatures and MACs. No session with a doubtful state goes back to the pool (row 1e), and no signature of the installation's
 * own keys leaves before software has verified it. */
#include <openssl/sha.h>
#include <string.h>

#include "hsm/pkcs11/provider.h"
#include "hsm/pkcs11/sigcheck.h"

/* How each algorithm is called in PKCS#11, and for PSS and HMAC which hash it is. */
static const struct mechanism {
	enum hsm_sign_alg alg;
	CK_MECHANISM_TYPE type;
	size_t hash_len;            /* 0: follows from the key */
	CK_RSA_PKCS_PSS_PARAMS pss; /* for PSS: the same hash everywhere, salt as long as it (RFC 7518 section 3.5) */
} MECHANISMS[] = {
	{ .alg = HSM_SIGN_ECDSA, .type = CKM_ECDSA },
	{ .alg = HSM_SIGN_EDDSA, .type = CKM_EDDSA },
	{ .alg = HSM_SIGN_RSA_PKCS1, .type = CKM_RSA_PKCS },
	{ HSM_SIGN_PSS_SHA256, CKM_RSA_PKCS_PSS, 0, { CKM_SHA256, CKG_MGF1_SHA256, SHA256_DIGEST_LENGTH } },
	{ HSM_SIGN_PSS_SHA384, CKM_RSA_PKCS_PSS, 0, { CKM_SHA384, CKG_MGF1_SHA384, SHA384_DIGEST_LENGTH } },
	{ HSM_SIGN_PSS_SHA512, CKM_RSA_PKCS_PSS, 0, { CKM_SHA512, CKG_MGF1_SHA512, SHA512_DIGEST_LENGTH } },
	{ .alg = HSM_SIGN_HMAC_SHA256, .type = CKM_SHA256_HMAC, .hash_len = SHA256_DIGEST_LENGTH },
	{ .alg = HSM_SIGN_HMAC_SHA384, .type = CKM_SHA384_HMAC, .hash_len = SHA384_DIGEST_LENGTH },
	{ .alg = HSM_SIGN_HMAC_SHA512, .type = CKM_SHA512_HMAC, .hash_len = SHA512_DIGEST_LENGTH },
};

static const struct mechanism *mechanism_of(enum hsm_sign_alg alg)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(MECHANISMS); i++)
		if (MECHANISMS[i].alg == alg)
			return &MECHANISMS[i];
	return NULL; /* hsm.c lets no other algorithm pass */
}

static size_t length_of(const struct mechanism *m, const struct hsm_key *key)
{
	const struct p11_curve *curve = p11_curve(key->kind);

	if (m->hash_len != 0)
		return m->hash_len;
	return curve != NULL ? 2 * curve->coordinate : (size_t)key->bits / 8;
}

kms_status p11_use_sign(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key, enum hsm_sign_alg alg,
                        const uint8_t *input, size_t input_len, uint8_t ret_signature[HSM_SIGNATURE_MAX], size_t *ret_len, CK_RV *ret_rv,
                        struct kms_err *err)
{
	const struct mechanism *how = mechanism_of(alg);
	CK_ULONG len = HSM_SIGNATURE_MAX;
	CK_MECHANISM m = { 0 };

	*ret_rv = CKR_OK;
	if (how == NULL)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "algorithm %d", (int)alg);
	m.mechanism = how->type;
	if (how->type == CKM_RSA_PKCS_PSS) {
		m.pParameter = p11_in(&how->pss);
		m.ulParameterLen = sizeof(how->pss);
	}
	*ret_rv = P11_CALL(&p->token.gate, C_SignInit, s->handle, &m, object);
	if (*ret_rv == CKR_OK)
		*ret_rv = P11_CALL(&p->token.gate, C_Sign, s->handle, p11_in(input), input_len, ret_signature, &len);
	if (*ret_rv != CKR_OK) {
		s->is_broken = true;
		return p11_fail(err, *ret_rv, "C_Sign");
	}
	if (len != length_of(how, key))
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "signature of %lu bytes, %zu expected", len, length_of(how, key));
	*ret_len = len;
	return KMS_OK;
}

kms_status p11_sign(struct hsm *h, const struct hsm_key *key, enum hsm_sign_alg alg, const uint8_t *input, size_t input_len,
                    uint8_t ret_signature[HSM_SIGNATURE_MAX], size_t *ret_len, struct kms_err *err)
{
	const bool is_checked = key->purpose != HSM_FOR_CALLER && key->kind != HSM_KIND_HMAC;
	struct p11_hsm *p = p11_of(h);
	uint8_t signature[HSM_SIGNATURE_MAX];
	kms_status status;
	size_t len = 0;
	CK_RV rv;

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO lease = { 0 };
	KMS_TRY(p11_lease_take(p, key, &lease, err));
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	status = p11_use_sign(p, &session, lease.entry->handle, key, alg, input, input_len, signature, &len, &rv, err);
	if (status != KMS_OK) {
		p11_lease_failed(&lease, rv);
		return status;
	}
	if (is_checked && !sigcheck_verify(lease.entry->verifier, key->kind, input, input_len, signature))
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the device made a wrong signature; it is withheld");
	memcpy(ret_signature, signature, len);
	*ret_len = len;
	return KMS_OK;
}
