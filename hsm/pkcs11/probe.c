/* hsm/pkcs11/probe.c - finding out by use: what the device can do (once, at open), and whether it is there (again and again). */
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

#include "hsm/pkcs11/provider.h"

/* No checkpoint and no certificate begins like this, so the log key's signature on it is worth nothing; it never leaves this file either. */
static const char PROBE_TEXT[] = "holdfast: is the device there?";
#define PROBE_PAYLOAD 20 /* bytes; not a multiple of 8, so that padding is tried too */
#define PROBE_RSA_BITS 2048
#define PROBE_TRANSPORT_LEN 32
#define AES_BLOCK 16

/* What the trials share: one root and one RSA version under it, because making RSA keys is what takes time. */
struct probe {
	struct p11_hsm *p;
	struct p11_session *s; /* of the present trial; its end destroys what the trial made */
	CK_OBJECT_HANDLE root; /* of the home session */
	uint8_t rsa_blob[HSM_BLOB_MAX];
	size_t rsa_blob_len; /* 0: the device cannot */
	struct hsm_public rsa_public;
};

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

static kms_status trial_make(struct p11_hsm *p, CK_SESSION_HANDLE session, const struct hsm_key *key, struct trial *ret, struct kms_err *err)
{
	CK_RV rv;

	p11_template_key(&ret->key, key, P11_RESIDENT);
	as_session_object(&ret->key);
	if (ret->key.class == CKO_SECRET_KEY) {
		rv = P11_CALL(&p->token.gate, C_GenerateKey, session, &ret->key.generate, ret->key.attrs, ret->key.count, &ret->handle);
	} else {
		p11_template_public(&ret->public, key, false);
		rv = P11_CALL(&p->token.gate, C_GenerateKeyPair, session, &ret->public.generate, ret->public.attrs, ret->public.count,
		              ret->key.attrs, ret->key.count, &ret->public_handle, &ret->handle);
	}
	if (rv != CKR_OK)
		return p11_fail(err, rv, "key generation");
	return p11_template_verify(&p->token.gate, session, ret->handle, &ret->key, err);
}

static kms_status wrong(struct kms_err *err, const char *what)
{
	return kms_fail(err, KMS_E_UNSUPPORTED, KMS_SRC_SELF, 0, "the device gives a wrong result: %s", what);
}

static kms_status try_signing(struct probe *b, enum hsm_purpose purpose, enum hsm_kind kind, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = purpose, .kind = kind };
	struct p11_proof proof = { 0 };
	struct trial t;
	bool is_good;

	KMS_TRY(trial_make(b->p, b->s->handle, &key, &t, err));
	KMS_TRY(p11_public_read(b->p, b->s, t.public_handle, kind, &proof.pub, err));
	KMS_TRY(p11_trial(b->p, b->s, t.handle, &key, &proof, &is_good, err));
	return is_good ? KMS_OK : wrong(err, "signature");
}

static kms_status try_ed25519(struct probe *b, struct kms_err *err) { return try_signing(b, HSM_FOR_LOG, HSM_KIND_ED25519, err); }
static kms_status try_p256(struct probe *b, struct kms_err *err) { return try_signing(b, HSM_FOR_LOG, HSM_KIND_P256, err); }
static kms_status try_p384(struct probe *b, struct kms_err *err) { return try_signing(b, HSM_FOR_CALLER, HSM_KIND_P384, err); }
static kms_status try_p521(struct probe *b, struct kms_err *err) { return try_signing(b, HSM_FOR_CALLER, HSM_KIND_P521, err); }
static kms_status try_p256k(struct probe *b, struct kms_err *err) { return try_signing(b, HSM_FOR_CALLER, HSM_KIND_P256K, err); }

static kms_status try_rsa(struct probe *b, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = HSM_FOR_CALLER, .kind = HSM_KIND_RSA, .bits = PROBE_RSA_BITS };

	return p11_wrapped_make(b->p, b->s, &key, b->root, &b->rsa_public, b->rsa_blob, &b->rsa_blob_len, err);
}

/* The shared RSA version, loaded with the template of a resident key of this purpose. */
static kms_status load_rsa(struct probe *b, enum hsm_purpose purpose, CK_OBJECT_HANDLE *ret_object, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = purpose, .kind = HSM_KIND_RSA, .bits = PROBE_RSA_BITS };
	CK_MECHANISM m = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };
	struct p11_template t;
	CK_RV rv;

	if (b->rsa_blob_len == 0)
		return wrong(err, "RSA");
	p11_template_key(&t, &key, P11_RESIDENT);
	as_session_object(&t);
	rv = P11_CALL(&b->p->token.gate, C_UnwrapKey, b->s->handle, &m, b->root, b->rsa_blob, b->rsa_blob_len, t.attrs, t.count, ret_object);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_UnwrapKey");
	return p11_template_verify(&b->p->token.gate, b->s->handle, *ret_object, &t, err);
}

static kms_status try_rsa_signing(struct probe *b, enum hsm_sign_alg alg, size_t input_len, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = HSM_FOR_CALLER, .kind = HSM_KIND_RSA, .bits = PROBE_RSA_BITS };
	uint8_t input[SHA512_DIGEST_LENGTH], signature[HSM_SIGNATURE_MAX];
	CK_OBJECT_HANDLE object;
	size_t len;
	CK_RV rv;

	(void)SHA512((const uint8_t *)PROBE_TEXT, sizeof(PROBE_TEXT), input);
	KMS_TRY(load_rsa(b, HSM_FOR_CALLER, &object, err));
	KMS_TRY(p11_use_sign(b->p, b->s, object, &key, alg, input, input_len, signature, &len, &rv, err));
	return sigcheck_rsa(&b->rsa_public, alg, input, input_len, signature) ? KMS_OK : wrong(err, "RSA signature");
}

static kms_status try_rsa_pkcs1(struct probe *b, struct kms_err *err)
{
	return try_rsa_signing(b, HSM_SIGN_RSA_PKCS1, PROBE_PAYLOAD, err);
}

static kms_status try_rsa_pss(struct probe *b, struct kms_err *err)
{
	KMS_TRY(try_rsa_signing(b, HSM_SIGN_PSS_SHA256, SHA256_DIGEST_LENGTH, err));
	KMS_TRY(try_rsa_signing(b, HSM_SIGN_PSS_SHA384, SHA384_DIGEST_LENGTH, err));
	return try_rsa_signing(b, HSM_SIGN_PSS_SHA512, SHA512_DIGEST_LENGTH, err);
}

/* An AES key of ours through OAEP, and twenty bytes under it through RFC 5649; both wrapped in software. */
static kms_status try_transfer(struct probe *b, struct kms_err *err)
{
	SECRET_AUTO *transport = secret_new(PROBE_TRANSPORT_LEN);
	SECRET_AUTO *back = NULL;
	uint8_t sealed[HSM_RSA_MAX], wrapped[PROBE_PAYLOAD * 2 + 8];
	CK_OBJECT_HANDLE exchange, opened;
	size_t wrapped_len;
	CK_RV rv;

	if (transport == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: probe");
	rv = P11_CALL(&b->p->token.gate, C_GenerateRandom, b->s->handle, secret_bytes(transport), secret_len(transport));
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GenerateRandom");
	KMS_TRY(load_rsa(b, HSM_FOR_EXCHANGE, &exchange, err));
	if (!sigcheck_seal(&b->rsa_public, transport, sealed) ||
	    !sigcheck_wrap(transport, (const uint8_t *)PROBE_TEXT, PROBE_PAYLOAD, wrapped, &wrapped_len))
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, 0, "transfer in software");
	KMS_TRY(p11_transport_open(b->p, b->s, exchange, sealed, b->rsa_public.n_len, &opened, &rv, err));
	KMS_TRY(p11_use_unwrap(b->p, b->s, opened, HSM_AES_KWP, wrapped, wrapped_len, &back, &rv, err));
	if (secret_len(back) != PROBE_PAYLOAD || CRYPTO_memcmp(secret_data(back), PROBE_TEXT, PROBE_PAYLOAD) != 0)
		return wrong(err, "transfer");
	return KMS_OK;
}

static kms_status try_wrapping(struct probe *b, enum hsm_aes_alg alg, size_t len, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = HSM_FOR_CALLER, .kind = HSM_KIND_AES, .bits = 256 };
	SECRET_AUTO *plain = secret_new(len);
	SECRET_AUTO *back = NULL;
	uint8_t wrapped[PROBE_PAYLOAD * 2 + 8];
	size_t wrapped_len;
	struct trial t;
	CK_RV rv;

	if (plain == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: probe");
	memcpy(secret_bytes(plain), PROBE_TEXT, len);
	KMS_TRY(trial_make(b->p, b->s->handle, &key, &t, err));
	KMS_TRY(p11_use_wrap(b->p, b->s, t.handle, alg, plain, wrapped, sizeof(wrapped), &wrapped_len, &rv, err));
	KMS_TRY(p11_use_unwrap(b->p, b->s, t.handle, alg, wrapped, wrapped_len, &back, &rv, err));
	if (secret_len(back) != len || CRYPTO_memcmp(secret_data(back), PROBE_TEXT, len) != 0)
		return wrong(err, "key wrap");
	return KMS_OK;
}

static kms_status try_kw(struct probe *b, struct kms_err *err) { return try_wrapping(b, HSM_AES_KW, PROBE_PAYLOAD / 8 * 8, err); }
static kms_status try_kwp(struct probe *b, struct kms_err *err) { return try_wrapping(b, HSM_AES_KWP, PROBE_PAYLOAD, err); }

static kms_status try_hmac(struct probe *b, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = HSM_FOR_PSEUDONYMS, .kind = HSM_KIND_HMAC };
	uint8_t mac[HSM_SIGNATURE_MAX];
	struct trial t;
	size_t len;
	CK_RV rv;

	KMS_TRY(trial_make(b->p, b->s->handle, &key, &t, err));
	return p11_use_sign(b->p, b->s, t.handle, &key, HSM_SIGN_HMAC_SHA256, (const uint8_t *)PROBE_TEXT, sizeof(PROBE_TEXT), mac, &len, &rv, err);
}

static kms_status try_cipher(struct probe *b, enum hsm_purpose purpose, enum hsm_cipher cipher, size_t plain_len, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = purpose, .kind = HSM_KIND_AES, .bits = 256 };
	uint8_t iv[HSM_IV_LEN] = { 0 }, tag[HSM_GCM_TAG_LEN] = { 0 }, sealed[PROBE_PAYLOAD * 2], plain[PROBE_PAYLOAD * 2];
	const uint8_t *text = (const uint8_t *)PROBE_TEXT;
	size_t sealed_len, len = 0;
	kms_status status;
	struct trial t;
	CK_RV rv;

	KMS_TRY(trial_make(b->p, b->s->handle, &key, &t, err));
	KMS_TRY(p11_use_encrypt(b->p, b->s, t.handle, cipher, iv, NULL, 0, text, plain_len, sealed, &sealed_len, tag, &rv, err));
	KMS_TRY(p11_use_decrypt(b->p, b->s, t.handle, cipher, iv, NULL, 0, sealed, sealed_len, tag, plain, &len, &rv, err));
	if (len != plain_len || memcmp(plain, text, len) != 0) /* allowed: no secret */
		return wrong(err, "cipher");
	if (cipher != HSM_CIPHER_GCM)
		return KMS_OK;
	tag[0] ^= 1; /* a device that does not look at the tag cannot do GCM */
	status = p11_use_decrypt(b->p, b->s, t.handle, cipher, iv, NULL, 0, sealed, sealed_len, tag, plain, &len, &rv, NULL);
	if (status == KMS_OK)
		return wrong(err, "a forged tag is accepted");
	return status == KMS_E_CRYPTO ? KMS_OK : p11_fail(err, rv, "C_Decrypt");
}

static kms_status try_gcm(struct probe *b, struct kms_err *err) { return try_cipher(b, HSM_FOR_BACKUP, HSM_CIPHER_GCM, PROBE_PAYLOAD, err); }

static kms_status try_cbc(struct probe *b, struct kms_err *err)
{
	KMS_TRY(try_cipher(b, HSM_FOR_CALLER, HSM_CIPHER_CBC, PROBE_PAYLOAD / AES_BLOCK * AES_BLOCK, err));
	return try_cipher(b, HSM_FOR_CALLER, HSM_CIPHER_CBC_PAD, PROBE_PAYLOAD, err);
}

static kms_status try_round_trip(struct probe *b, enum hsm_kind kind, unsigned bits, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = HSM_FOR_CALLER, .kind = kind, .bits = (uint16_t)bits };
	uint8_t blob[HSM_BLOB_MAX];
	struct hsm_public pub;
	size_t blob_len;

	return p11_wrapped_make(b->p, b->s, &key, b->root, &pub, blob, &blob_len, err);
}

static kms_status try_wrapped_ec(struct probe *b, struct kms_err *err) { return try_round_trip(b, HSM_KIND_P256, 0, err); }

static kms_status try_wrapped_secret(struct probe *b, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = HSM_FOR_CALLER, .kind = HSM_KIND_HMAC, .bits = 512 };
	uint8_t mac[HSM_SIGNATURE_MAX];
	struct trial t;
	size_t len;
	CK_RV rv;

	KMS_TRY(try_round_trip(b, HSM_KIND_AES, 256, err));
	KMS_TRY(try_round_trip(b, HSM_KIND_HMAC, 256, err));
	KMS_TRY(trial_make(b->p, b->s->handle, &key, &t, err));
	KMS_TRY(p11_use_sign(b->p, b->s, t.handle, &key, HSM_SIGN_HMAC_SHA384, (const uint8_t *)PROBE_TEXT, sizeof(PROBE_TEXT), mac, &len, &rv, err));
	return p11_use_sign(b->p, b->s, t.handle, &key, HSM_SIGN_HMAC_SHA512, (const uint8_t *)PROBE_TEXT, sizeof(PROBE_TEXT), mac, &len, &rv, err);
}

/* A device that refuses or errs at a trial cannot do it; one that goes away, or has no session or memory for us, leaves it unknown. */
static bool is_unknown(kms_status status, const struct kms_err *why)
{
	if (status == KMS_E_NOMEM || status == KMS_E_BUSY)
		return true;
	return status == KMS_E_DEVICE && why->source == KMS_SRC_PKCS11 && p11_rv_is_loss(why->native);
}

/* The root that some trials share; on a device that makes none they fail for themselves. */
static kms_status make_root(struct probe *b, struct kms_err *err)
{
	const struct hsm_key key = { .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };
	struct kms_err why = { 0 };
	struct trial t = { 0 };
	kms_status status = trial_make(b->p, b->p->token.home, &key, &t, &why);

	b->root = t.handle;
	if (status == KMS_OK || !is_unknown(status, &why))
		return KMS_OK;
	if (err != NULL)
		*err = why;
	return status;
}

static kms_status try_all(struct probe *b, uint32_t *ret_features, struct kms_err *err)
{
	static const struct {
		enum hsm_feature feature;
		kms_status (*attempt)(struct probe *b, struct kms_err *err);
	} TRIALS[] = {
		{ HSM_CAN_ED25519, try_ed25519 },       { HSM_CAN_P256, try_p256 },       { HSM_CAN_P384, try_p384 },
		{ HSM_CAN_P521, try_p521 },             { HSM_CAN_P256K, try_p256k },     { HSM_CAN_AES_KW, try_kw },
		{ HSM_CAN_AES_KWP, try_kwp },           { HSM_CAN_AES_GCM, try_gcm },     { HSM_CAN_AES_CBC, try_cbc },
		{ HSM_CAN_HMAC, try_hmac },             { HSM_CAN_WRAPPED_EC, try_wrapped_ec },
		{ HSM_CAN_WRAPPED_SECRET, try_wrapped_secret },
		/* The slow one last, and after it those that use its key. */
		{ HSM_CAN_RSA, try_rsa },               { HSM_CAN_RSA_PKCS1, try_rsa_pkcs1 }, { HSM_CAN_RSA_PSS, try_rsa_pss },
		{ HSM_CAN_TRANSFER, try_transfer },
	};

	for (size_t i = 0; i < KMS_ARRAY_LEN(TRIALS); i++) {
		P11_SESSION_AUTO session = { 0 };
		struct kms_err why = { 0 };
		kms_status status;

		KMS_TRY(p11_pool_take(b->p->pool, &session, err));
		b->s = &session;
		status = TRIALS[i].attempt(b, &why);
		b->s = NULL;
		session.is_broken = true; /* its end destroys the trial's objects */
		if (status == KMS_OK) {
			*ret_features |= (uint32_t)TRIALS[i].feature;
		} else if (is_unknown(status, &why)) {
			if (err != NULL)
				*err = why;
			return status;
		}
	}
	return KMS_OK;
}

kms_status p11_probe_features(struct p11_hsm *p, uint32_t *ret_features, struct kms_err *err)
{
	struct probe b = { .p = p };
	uint32_t features = 0;
	kms_status status;
	CK_RV rv = CKR_OK;

	status = make_root(&b, err);
	if (status == KMS_OK)
		status = try_all(&b, &features, err);
	if (b.root != CK_INVALID_HANDLE)
		rv = P11_CALL(&p->token.gate, C_DestroyObject, p->token.home, b.root);
	if (status == KMS_OK && rv != CKR_OK)
		status = p11_fail(err, rv, "C_DestroyObject");
	if (status == KMS_OK)
		*ret_features = features;
	return status;
}

/* Sign with the log key that was just found. */
static kms_status use_log_key(struct p11_hsm *p, struct p11_session *session, CK_OBJECT_HANDLE log_key, struct kms_err *err)
{
	uint8_t digest[SHA256_DIGEST_LENGTH], signature[HSM_SIGNATURE_MAX];
	struct hsm_key key = { .purpose = HSM_FOR_LOG };
	CK_KEY_TYPE type = 0;
	CK_ATTRIBUTE attr = { CKA_KEY_TYPE, &type, sizeof(type) };
	size_t len;
	CK_RV rv;

	rv = P11_CALL(&p->token.gate, C_GetAttributeValue, session->handle, log_key, &attr, 1);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GetAttributeValue");
	(void)SHA256((const uint8_t *)PROBE_TEXT, sizeof(PROBE_TEXT), digest);
	key.kind = type == CKK_EC ? HSM_KIND_P256 : HSM_KIND_ED25519;
	return p11_use_sign(p, session, log_key, &key, type == CKK_EC ? HSM_SIGN_ECDSA : HSM_SIGN_EDDSA, digest, sizeof(digest), signature, &len,
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
