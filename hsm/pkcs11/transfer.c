/* hsm/pkcs11/transfer.c - BYOK: a key that another HSM wrapped for an exchange key becomes a token object, by two unwraps inside the device
 * (keyvault-keys.md section 13). Whatever does not unwrap gets one answer; what unwraps to something else is destroyed. */
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

#include "hsm/pkcs11/pkcs8.h"
#include "hsm/pkcs11/provider.h"

#define KWP_LEAST 16    /* wrapped: one AES block */
#define KWP_BLOCK 8     /* RFC 5649 pads to it, and puts one block in front */
#define RSA_LEAST 256   /* bytes of a modulus */
#define RSA_STEP 128
#define EXPONENT_LEAST 3
#define EC_PARAMS_MAX 64

kms_status p11_transport_open(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE exchange, const uint8_t *cipher, size_t cipher_len,
                              CK_OBJECT_HANDLE *ret_transport, CK_RV *ret_rv, struct kms_err *err)
{
	CK_RSA_PKCS_OAEP_PARAMS oaep = { CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, NULL, 0 };
	CK_MECHANISM m = { CKM_RSA_PKCS_OAEP, &oaep, sizeof(oaep) };
	CK_OBJECT_HANDLE transport = CK_INVALID_HANDLE;
	struct p11_template t;
	kms_status status;

	p11_template_transport(&t);
	*ret_rv = P11_CALL(&p->token.gate, C_UnwrapKey, s->handle, &m, exchange, p11_in(cipher), cipher_len, t.attrs, t.count, &transport);
	if (*ret_rv != CKR_OK)
		return p11_fail_on_bytes(err, *ret_rv, "C_UnwrapKey");
	status = p11_template_verify(&p->token.gate, s->handle, transport, &t, err);
	if (status != KMS_OK)
		p11_discard(p, s, transport);
	else
		*ret_transport = transport;
	return status;
}

static kms_status refuse_key(struct kms_err *err, const char *what)
{
	return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "transferred key: %s", what);
}

/* Nobody but the device sees the key, but its wrapped length shows, to the next 8 bytes. A private key with a part that is missing or too long may
 * well do what its public half demands: OpenSSL, and with it SoftHSM, computes with p and dp whatever they are, sees that the result is wrong,
 * and computes it again from d. With p of 3,300 bytes that takes 14 s each time; within the bounds of RSA-4096 a fraction of a second. */
static bool length_fits(size_t wrapped_len, struct pkcs8_range honest)
{
	const size_t len = wrapped_len - KWP_BLOCK;

	return len >= honest.least && len < honest.most + KWP_BLOCK;
}

/* The modulus is in the private key. Its size is one that we make ourselves; the exponent is odd and no less than 3. */
static kms_status check_rsa(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                            size_t wrapped_len, struct hsm_public *ret_public, struct kms_err *err)
{
	const uint8_t top_bit = 0x80;
	struct hsm_public *pub = ret_public;

	KMS_TRY(p11_public_read(p, s, object, HSM_KIND_RSA, pub, err));
	if (pub->n_len < RSA_LEAST || pub->n_len > HSM_RSA_MAX || pub->n_len % RSA_STEP != 0 || (pub->n[0] & top_bit) == 0 ||
	    (key->bits != 0 && pub->n_len != (size_t)key->bits / 8))
		return refuse_key(err, "another size of RSA key");
	if (pub->e_len == 0 || (pub->e[pub->e_len - 1] & 1) == 0 || (pub->e_len == 1 && pub->e[0] < EXPONENT_LEAST))
		return refuse_key(err, "a bad public exponent");
	if (!length_fits(wrapped_len, pkcs8_rsa(pub)))
		return refuse_key(err, "another length than an RSA key of this size has");
	return KMS_OK;
}

/* The private object has no point (row 1o): two signatures tell it. */
static kms_status check_curve(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                              size_t wrapped_len, struct hsm_public *ret_public, struct kms_err *err)
{
	const struct p11_curve *curve = p11_curve(key->kind);
	uint8_t params[EC_PARAMS_MAX], digests[2][SHA512_DIGEST_LENGTH];
	CK_ATTRIBUTE attr = { CKA_EC_PARAMS, params, sizeof(params) };
	struct sigcheck_signed made[2];
	CK_RV rv = P11_CALL(&p->token.gate, C_GetAttributeValue, s->handle, object, &attr, 1);

	if (rv != CKR_OK && rv != CKR_BUFFER_TOO_SMALL)
		return p11_fail(err, rv, "C_GetAttributeValue");
	if (attr.ulValueLen != curve->oid_len || memcmp(params, curve->oid, curve->oid_len) != 0) /* allowed: public */
		return refuse_key(err, "another curve");
	if (!length_fits(wrapped_len, pkcs8_curve(curve)))
		return refuse_key(err, "another length than a key of this curve has");
	for (unsigned i = 0; i < KMS_ARRAY_LEN(made); i++)
		KMS_TRY(p11_trial_sign(p, s, object, key, i + 1, &made[i], digests[i], err));
	if (!sigcheck_recover(key->kind, made, ret_public))
		return refuse_key(err, "its signatures have no common public key");
	return KMS_OK;
}

/* The rule of a plain import: a secret of one byte repeated is no key. Each of the 256 is tried in software. */
static kms_status check_varied(const struct hsm_key *key, size_t len, const uint8_t print[P11_PRINT_LEN], struct kms_err *err)
{
	SECRET_AUTO *repeated = secret_new(len);
	uint8_t print_of_it[P11_PRINT_LEN];

	if (repeated == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: %zu bytes", len);
	for (int byte = 0; byte <= UINT8_MAX; byte++) {
		memset(secret_bytes(repeated), byte, len); /* allowed: a guess, not an erasure */
		if (!p11_print_of(repeated, key->kind, print_of_it))
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, 0, "print of a secret");
		if (CRYPTO_memcmp(print, print_of_it, P11_PRINT_LEN) == 0)
			return refuse_key(err, "a secret of one byte repeated");
	}
	return KMS_OK;
}

/* SoftHSM does not say how long a secret is that it unwrapped. But the wrapped length says it to the next 8 bytes, and a use that takes no
 * shorter key says the rest: AES has three lengths, an HMAC key is at least as long as its hash (row 1p). */
static kms_status check_secret(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                               size_t wrapped_len, struct hsm_public *ret_public, struct kms_err *err)
{
	static const struct {
		enum hsm_kind kind;
		size_t len;
		enum hsm_sign_alg alg;
	} LENGTHS[] = {
		{ HSM_KIND_AES, 16, 0 }, { HSM_KIND_AES, 24, 0 }, { HSM_KIND_AES, 32, 0 },
		{ HSM_KIND_HMAC, 32, HSM_SIGN_HMAC_SHA256 }, { HSM_KIND_HMAC, 48, HSM_SIGN_HMAC_SHA384 }, { HSM_KIND_HMAC, 64, HSM_SIGN_HMAC_SHA512 },
	};
	const size_t len = wrapped_len - KWP_BLOCK;
	ERASE_AUTO(uint8_t, print, P11_PRINT_LEN);
	ERASE_AUTO(uint8_t, mac, HSM_SIGNATURE_MAX);
	CK_ULONG told = 0;
	CK_ATTRIBUTE attr = { CKA_VALUE_LEN, &told, sizeof(told) };
	size_t i = 0, mac_len;
	CK_RV rv;

	while (i < KMS_ARRAY_LEN(LENGTHS) && (LENGTHS[i].kind != key->kind || LENGTHS[i].len != len))
		i++;
	if (i == KMS_ARRAY_LEN(LENGTHS) || (key->bits != 0 && len != (size_t)key->bits / 8))
		return refuse_key(err, "another length of secret");
	rv = P11_CALL(&p->token.gate, C_GetAttributeValue, s->handle, object, &attr, 1);
	if (rv != CKR_OK && rv != CKR_ATTRIBUTE_TYPE_INVALID)
		return p11_fail(err, rv, "C_GetAttributeValue");
	if (rv == CKR_OK && told != 0 && told != len)
		return refuse_key(err, "another length of secret");
	if (key->kind == HSM_KIND_HMAC)
		KMS_TRY(p11_use_sign(p, s, object, key, LENGTHS[i].alg, mac, 0, mac, &mac_len, &rv, err));
	KMS_TRY(p11_print_make(p, s, object, key, print, err));
	KMS_TRY(check_varied(key, len, print, err));
	memset(ret_public, 0, sizeof(*ret_public));
	ret_public->n_len = len;
	return KMS_OK;
}

/* One transfer, with the exchange key's handle ready. */
struct transfer {
	struct p11_lease *exchange;
	const uint8_t *bytes;
	size_t len, rsa_len;
	struct hsm_public *ret_public;
};

static kms_status check(struct p11_hsm *p, struct p11_session *session, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                        const struct transfer *t, struct kms_err *err)
{
	const size_t wrapped_len = t->len - t->rsa_len;
	struct p11_proof proof = { 0 };
	bool is_good = true;

	if (key->kind == HSM_KIND_AES || key->kind == HSM_KIND_HMAC)
		return check_secret(p, session, object, key, wrapped_len, t->ret_public, err);
	KMS_TRY(key->kind == HSM_KIND_RSA ? check_rsa(p, session, object, key, wrapped_len, &proof.pub, err)
	                                  : check_curve(p, session, object, key, wrapped_len, &proof.pub, err));
	KMS_TRY(p11_trial(p, session, object, key, &proof, &is_good, err));
	if (!is_good)
		return refuse_key(err, "it does not do what its public half demands");
	*t->ret_public = proof.pub;
	return KMS_OK;
}

/* Is it the device that failed, or a key that it cannot use (row 1m)? The device was seen at start to do all of this with a good one. */
static kms_status blame(kms_status status, const struct kms_err *why, struct kms_err *err)
{
	if (status == KMS_E_UNSUPPORTED || (why->source == KMS_SRC_PKCS11 && !p11_rv_is_device(why->native)))
		return refuse_key(err, why->detail);
	if (err != NULL)
		*err = *why;
	return status;
}

/* What fails after the second unwrap is destroyed by the caller, with everything else that has the id. */
static kms_status unwrap_locked(struct p11_hsm *p, struct p11_session *session, const struct hsm_key *key, void *arg, struct kms_err *err)
{
	CK_MECHANISM m = { CKM_AES_KEY_WRAP_PAD, NULL, 0 };
	CK_OBJECT_HANDLE transport = CK_INVALID_HANDLE, object = CK_INVALID_HANDLE;
	const struct transfer *t = arg;
	struct p11_template expected;
	struct kms_err why = { 0 };
	kms_status status;
	CK_RV rv;

	status = p11_transport_open(p, session, t->exchange->entry->handle, t->bytes, t->rsa_len, &transport, &rv, err);
	if (status != KMS_OK) {
		p11_lease_failed(t->exchange, rv);
		return status;
	}
	p11_template_key(&expected, key, P11_RESIDENT);
	p11_template_remove(&expected, CKA_VALUE_LEN); /* check_secret() sees to it */
	rv = P11_CALL(&p->token.gate, C_UnwrapKey, session->handle, &m, transport, p11_in(t->bytes + t->rsa_len), t->len - t->rsa_len,
	              expected.attrs, expected.count, &object);
	p11_discard(p, session, transport);
	if (rv != CKR_OK)
		return p11_fail_on_bytes(err, rv, "C_UnwrapKey");
	KMS_TRY(p11_template_verify(&p->token.gate, session->handle, object, &expected, err));
	status = check(p, session, object, key, t, &why);
	return status == KMS_OK ? KMS_OK : blame(status, &why, err);
}

kms_status p11_key_transfer(struct hsm *h, const struct hsm_key *exchange, const struct hsm_key *key, const uint8_t *transfer,
                            size_t transfer_len, struct hsm_public *ret_public, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	struct hsm_public pub;
	struct transfer t = { .bytes = transfer, .len = transfer_len, .rsa_len = (size_t)exchange->bits / 8, .ret_public = &pub };

	P11_ENTER(p, err);
	if (transfer_len > HSM_TRANSFER_MAX || transfer_len < t.rsa_len + KWP_LEAST || (transfer_len - t.rsa_len) % KWP_BLOCK != 0)
		return p11_refuse_bytes(err);
	P11_LEASE_AUTO lease = { 0 };
	KMS_TRY(p11_lease_take(p, exchange, &lease, err));
	t.exchange = &lease;
	KMS_TRY(p11_resident_make(p, key, unwrap_locked, &t, err));
	*ret_public = pub;
	return KMS_OK;
}
