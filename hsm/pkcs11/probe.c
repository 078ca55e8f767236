/* hsm/pkcs11/probe.c - finding out by use: what the device can do (once, at open), and whether it is there (again and again). */
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

#include "hsm/pkcs11/provider.h"
#include "hsm/pkcs11/sigcheck.h"

/* No checkpoint and no certificate begins like this, so the log key's signature on it is worth nothing; it never leaves this file either. */
static const char PROBE_TEXT[] = "holdfast: is the device there?";
#define PROBE_PAYLOAD 20 /* bytes; not a multiple of 8, so that padding is tried too */
#define PROBE_RSA_BITS 2048

/* A key that lives for the probe: the real template of its purpose, as a session object. */
struct trial {
	struct p11_template key, public;
	CK_OBJECT_HANDLE handle, public_handle;
};

/* The template of a resident key, but for CKA_TOKEN. */
static void as_session_object(struct p11_template *t)
{
	static CK_BBOOL no = CK_FALSE; /* PKCS#11 takes a pointer to non-const */

	for (CK_ULONG i = 0; i < t->count; i++)
		if (t->attrs[i].type == CKA_TOKEN)
			t->attrs[i].pValue = &no;
}

static kms_status trial_make(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, struct trial *ret, struct kms_err *err)
{
	CK_RV rv;

	p11_template_key(&ret->key, key, P11_RESIDENT);
	as_session_object(&ret->key);
	if (ret->key.class == CKO_SECRET_KEY) {
		rv = P11_CALL(&p->token.gate, C_GenerateKey, s->handle, &ret->key.generate, ret->key.attrs, ret->key.count, &ret->handle);
	} else {
		p11_template_public(&ret->public, key, false);
		rv = P11_CALL(&p->token.gate, C_GenerateKeyPair, s->handle, &ret->public.generate, ret->public.attrs, ret->public.count,
		              ret->key.attrs, ret->key.count, &ret->public_handle, &ret->handle);
	}
	if (rv != CKR_OK)
		return p11_fail(err, rv, "key generation");
	return p11_template_verify(&p->token.gate, s->handle, ret->handle, &ret->key, err);
}

static kms_status wrong(struct kms_err *err, const char *what)
{
	return kms_fail(err, KMS_E_UNSUPPORTED, KMS_SRC_SELF, 0, "the device gives a wrong result: %s", what);
}

static kms_status try_signing(struct p11_hsm *p, struct p11_session *s, enum hsm_kind kind, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = HSM_FOR_LOG, .kind = kind };
	uint8_t digest[SHA256_DIGEST_LENGTH], signature[HSM_SIGNATURE_MAX];
	struct hsm_public pub;
	struct trial t;
	EVP_PKEY *verifier;
	bool is_good;
	CK_RV rv;

	(void)SHA256((const uint8_t *)PROBE_TEXT, sizeof(PROBE_TEXT), digest);
	KMS_TRY(trial_make(p, s, &key, &t, err));
	KMS_TRY(p11_public_read(p, s, t.public_handle, kind, &pub, err));
	KMS_TRY(p11_use_sign(p, s, t.handle, kind == HSM_KIND_P256 ? CKM_ECDSA : CKM_EDDSA, digest, sizeof(digest), signature,
	                     sizeof(signature), &rv, err));
	verifier = sigcheck_key(kind, &pub);
	is_good = verifier != NULL && sigcheck_verify(verifier, kind, digest, sizeof(digest), signature);
	EVP_PKEY_free(verifier);
	return is_good ? KMS_OK : wrong(err, "signature");
}

static kms_status try_ed25519(struct p11_hsm *p, struct p11_session *s, struct kms_err *err)
{
	return try_signing(p, s, HSM_KIND_ED25519, err);
}

static kms_status try_p256(struct p11_hsm *p, struct p11_session *s, struct kms_err *err)
{
	return try_signing(p, s, HSM_KIND_P256, err);
}

static kms_status try_rsa(struct p11_hsm *p, struct p11_session *s, struct kms_err *err)
{
	const struct hsm_key root = { .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };
	const struct hsm_key key = { .purpose = HSM_FOR_CALLER, .kind = HSM_KIND_RSA, .bits = PROBE_RSA_BITS, .usage = HSM_USE_DECRYPT };
	uint8_t blob[HSM_BLOB_MAX];
	struct hsm_public pub;
	size_t blob_len;
	struct trial t;

	KMS_TRY(trial_make(p, s, &root, &t, err));
	return p11_wrapped_make(p, s, &key, t.handle, &pub, blob, &blob_len, err);
}

static kms_status try_wrapping(struct p11_hsm *p, struct p11_session *s, enum hsm_aes_alg alg, size_t len, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = HSM_FOR_CALLER, .kind = HSM_KIND_AES, .bits = 256, .usage = HSM_USE_WRAP };
	SECRET_AUTO *plain = secret_new(len);
	SECRET_AUTO *back = NULL;
	uint8_t wrapped[PROBE_PAYLOAD * 2 + 8];
	size_t wrapped_len;
	struct trial t;
	CK_RV rv;

	if (plain == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: probe");
	memcpy(secret_bytes(plain), PROBE_TEXT, len);
	KMS_TRY(trial_make(p, s, &key, &t, err));
	KMS_TRY(p11_use_wrap(p, s, t.handle, alg, plain, wrapped, sizeof(wrapped), &wrapped_len, &rv, err));
	KMS_TRY(p11_use_unwrap(p, s, t.handle, alg, wrapped, wrapped_len, &back, &rv, err));
	if (secret_len(back) != len || CRYPTO_memcmp(secret_data(back), PROBE_TEXT, len) != 0)
		return wrong(err, "key wrap");
	return KMS_OK;
}

static kms_status try_kw(struct p11_hsm *p, struct p11_session *s, struct kms_err *err)
{
	return try_wrapping(p, s, HSM_AES_KW, PROBE_PAYLOAD / 8 * 8, err);
}

static kms_status try_kwp(struct p11_hsm *p, struct p11_session *s, struct kms_err *err)
{
	return try_wrapping(p, s, HSM_AES_KWP, PROBE_PAYLOAD, err);
}

static kms_status try_hmac(struct p11_hsm *p, struct p11_session *s, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = HSM_FOR_PSEUDONYMS, .kind = HSM_KIND_HMAC };
	uint8_t mac[SHA256_DIGEST_LENGTH];
	struct trial t;
	CK_RV rv;

	KMS_TRY(trial_make(p, s, &key, &t, err));
	return p11_use_sign(p, s, t.handle, CKM_SHA256_HMAC, (const uint8_t *)PROBE_TEXT, sizeof(PROBE_TEXT), mac, sizeof(mac), &rv, err);
}

/* A device that refuses or errs at a trial cannot do it; one that goes away, or has no session or memory for us, leaves it unknown. */
static bool is_unknown(kms_status status, const struct kms_err *why)
{
	if (status == KMS_E_NOMEM || status == KMS_E_BUSY)
		return true;
	return status == KMS_E_DEVICE && why->source == KMS_SRC_PKCS11 && p11_rv_is_loss(why->native);
}

kms_status p11_probe_features(struct p11_hsm *p, uint32_t *ret_features, struct kms_err *err)
{
	static const struct {
		enum hsm_feature feature;
		kms_status (*attempt)(struct p11_hsm *p, struct p11_session *s, struct kms_err *err);
	} TRIALS[] = {
		{ HSM_CAN_ED25519, try_ed25519 }, { HSM_CAN_P256, try_p256 }, { HSM_CAN_RSA, try_rsa },
		{ HSM_CAN_AES_KW, try_kw },       { HSM_CAN_AES_KWP, try_kwp }, { HSM_CAN_HMAC, try_hmac },
	};
	uint32_t features = 0;

	for (size_t i = 0; i < KMS_ARRAY_LEN(TRIALS); i++) {
		P11_SESSION_AUTO session = { 0 };
		struct kms_err why = { 0 };
		kms_status status;

		KMS_TRY(p11_pool_take(p->pool, &session, err));
		status = TRIALS[i].attempt(p, &session, &why);
		session.is_broken = true; /* its end destroys the trial's objects */
		if (status == KMS_OK) {
			features |= TRIALS[i].feature;
		} else if (is_unknown(status, &why)) {
			if (err != NULL)
				*err = why;
			return status;
		}
	}
	*ret_features = features;
	return KMS_OK;
}

/* Sign with the log key that was just found. */
static kms_status use_log_key(struct p11_hsm *p, struct p11_session *session, CK_OBJECT_HANDLE log_key, struct kms_err *err)
{
	uint8_t digest[SHA256_DIGEST_LENGTH], signature[HSM_SIGNATURE_MAX];
	CK_KEY_TYPE type = 0;
	CK_ATTRIBUTE attr = { CKA_KEY_TYPE, &type, sizeof(type) };
	CK_RV rv;

	rv = P11_CALL(&p->token.gate, C_GetAttributeValue, session->handle, log_key, &attr, 1);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GetAttributeValue");
	(void)SHA256((const uint8_t *)PROBE_TEXT, sizeof(PROBE_TEXT), digest);
	return p11_use_sign(p, session, log_key, type == CKK_EC ? CKM_ECDSA : CKM_EDDSA, digest, sizeof(digest), signature, sizeof(signature),
	                    &rv, err);
}

kms_status p11_probe_alive(struct p11_hsm *p, struct kms_err *err)
{
	/* A session of its own: the pool may be busy, which says nothing about the device. */
	struct p11_session session = { 0 };
	CK_OBJECT_HANDLE log_key = CK_INVALID_HANDLE;
	CK_TOKEN_INFO info;
	kms_status status;
	CK_RV rv;

	rv = P11_CALL(&p->token.gate, C_GetTokenInfo, p->token.slot, &info);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GetTokenInfo");
	rv = P11_CALL(&p->token.gate, C_OpenSession, p->token.slot, CKF_SERIAL_SESSION, NULL, NULL, &session.handle);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_OpenSession");
	{
		P11_LOCK_AUTO(&p->objects);
		status = p11_witness_locked(p, &session, &log_key, err);
	}
	if (status == KMS_OK && log_key != CK_INVALID_HANDLE)
		status = use_log_key(p, &session, log_key, err);
	rv = P11_CALL(&p->token.gate, C_CloseSession, session.handle);
	if (status == KMS_OK && rv != CKR_OK)
		status = p11_fail(err, rv, "C_CloseSession");
	return status;
}
