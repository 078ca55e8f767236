/* hsm/pkcs11/crypto.c - RSA decryption and AES key wrap; sign.c and cipher.c have the rest of the use of keys. All guard two rules: no bad input of
 * a caller looks different from another, or like an outage (rows 1j, 1m); no session with a doubtful state goes back to the pool (row 1e). */
#include <openssl/crypto.h>
#include <string.h>

#include "hsm/pkcs11/provider.h"
#include "hsm/pkcs11/unpad.h"

#define HALF 8       /* RFC 3394 semiblock */
#define AES_BLOCK 16
#define KW_ROUNDS 6  /* RFC 3394 section 2.2.1 */
#define KW_LEAST 24  /* wrapped: two semiblocks and the integrity block; 8-byte payloads are refused */
#define KWP_LEAST 16 /* wrapped: one AES block */

/* The one refusal of a caller's bytes: same status, same text, same place for all, so that nothing can be learned from it. */
kms_status p11_refuse_bytes(struct kms_err *err)
{
	return kms_fail(err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "the value does not decrypt under this key and algorithm");
}

/* A call on a caller's bytes failed: is it the bytes, or the device? */
kms_status p11_fail_on_bytes(struct kms_err *err, CK_RV rv, const char *call)
{
	return p11_rv_is_device(rv) ? p11_fail(err, rv, call) : p11_refuse_bytes(err);
}

kms_status p11_use_rsa_raw(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, const uint8_t *cipher, size_t n_len,
                           struct secret *ret_block, CK_RV *ret_rv, struct kms_err *err)
{
	CK_MECHANISM m = { CKM_RSA_X_509, NULL, 0 };
	CK_ULONG len = secret_len(ret_block);

	*ret_rv = P11_CALL(&p->token.gate, C_DecryptInit, s->handle, &m, key);
	if (*ret_rv != CKR_OK) {
		s->is_broken = true;
		return p11_fail(err, *ret_rv, "C_DecryptInit"); /* has not seen the caller's bytes yet */
	}
	*ret_rv = P11_CALL(&p->token.gate, C_Decrypt, s->handle, p11_in(cipher), n_len, secret_bytes(ret_block), &len);
	if (*ret_rv != CKR_OK) {
		s->is_broken = true;
		return p11_fail_on_bytes(err, *ret_rv, "C_Decrypt");
	}
	if (len != n_len)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "raw RSA gave %lu bytes, %zu expected", len, n_len);
	return KMS_OK;
}

/* RFC 8017 section 5.1.2 step 1, on public numbers of one length: devices answer differently to c >= n, and SoftHSM with a general error. */
static bool is_below(const uint8_t *c, const uint8_t *n, size_t len)
{
	return memcmp(c, n, len) < 0; /* allowed: both are public */
}

static enum unpad_result unpad(enum hsm_rsa_alg alg, const struct secret *block, struct secret **ret_plain)
{
	switch (alg) {
	case HSM_RSA_OAEP_SHA1:
		return unpad_oaep(block, EVP_sha1(), EVP_sha1(), ret_plain);
	case HSM_RSA_OAEP_SHA256:
		return unpad_oaep(block, EVP_sha256(), EVP_sha256(), ret_plain);
	case HSM_RSA_PKCS1_V15:
		return unpad_pkcs1(block, ret_plain);
	}
	return UNPAD_BAD;
}

kms_status p11_rsa_decrypt(struct hsm *h, const struct hsm_key *key, enum hsm_rsa_alg alg, const uint8_t *n, size_t n_len,
                           const uint8_t *cipher, size_t cipher_len, struct secret **ret_plain, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	SECRET_AUTO *block = NULL;
	kms_status status;
	CK_RV rv;

	P11_ENTER(p, err);
	if (cipher_len != n_len || !is_below(cipher, n, n_len))
		return p11_refuse_bytes(err);
	block = secret_new(n_len);
	if (block == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: RSA block");
	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO lease = { 0 };
	KMS_TRY(p11_lease_take(p, key, &lease, err));
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	status = p11_use_rsa_raw(p, &session, lease.entry->handle, cipher, n_len, block, &rv, err);
	if (status != KMS_OK) {
		p11_lease_failed(&lease, rv);
		return status;
	}
	switch (unpad(alg, block, ret_plain)) {
	case UNPAD_OK:
		return KMS_OK;
	case UNPAD_NOMEM:
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: plaintext");
	case UNPAD_BAD:
		break;
	}
	return p11_refuse_bytes(err);
}

static void store_be32(uint8_t *out, uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		out[i] = (uint8_t)v;
}

/* One AES block in place, of an encryption that was begun. */
static CK_RV encrypt_block(struct p11_hsm *p, struct p11_session *s, uint8_t block[AES_BLOCK])
{
	CK_ULONG len = AES_BLOCK;
	ERASE_AUTO(uint8_t, input, AES_BLOCK);
	CK_RV rv;

	memcpy(input, block, AES_BLOCK);
	rv = P11_CALL(&p->token.gate, C_EncryptUpdate, s->handle, input, AES_BLOCK, block, &len);
	return rv == CKR_OK && len != AES_BLOCK ? CKR_DEVICE_ERROR : rv;
}

/* RFC 5649 section 4.1 and RFC 3394 section 2.2.1 on `buffer` = AIV || padded plaintext, in place. */
static CK_RV kwp_rounds(struct p11_hsm *p, struct p11_session *s, uint8_t *buffer, size_t halves)
{
	ERASE_AUTO(uint8_t, block, AES_BLOCK);
	uint32_t t = 0;
	CK_RV rv;

	if (halves == 1)
		return encrypt_block(p, s, buffer);
	memcpy(block, buffer, HALF);
	for (int round = 0; round < KW_ROUNDS; round++) {
		for (size_t i = 1; i <= halves; i++) {
			uint8_t counter[sizeof(t)];

			memcpy(block + HALF, buffer + i * HALF, HALF);
			rv = encrypt_block(p, s, block);
			if (rv != CKR_OK)
				return rv;
			store_be32(counter, ++t);
			for (size_t k = 0; k < sizeof(counter); k++)
				block[HALF - sizeof(counter) + k] ^= counter[k];
			memcpy(buffer + i * HALF, block + HALF, HALF);
		}
	}
	memcpy(buffer, block, HALF);
	return CKR_OK;
}

/* AES key wrap with padding, composed of the device's AES blocks: its own mechanism pads first and records the wrong length (row 1i). */
static kms_status wrap_padded(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, const struct secret *plain,
                              uint8_t *ret_wrapped, size_t *ret_len, CK_RV *ret_rv, struct kms_err *err)
{
	static const uint8_t AIV[] = { 0xa6, 0x59, 0x59, 0xa6 }; /* RFC 5649 section 3 */
	const size_t halves = (secret_len(plain) + HALF - 1) / HALF;
	CK_MECHANISM m = { CKM_AES_ECB, NULL, 0 };
	uint8_t rest[AES_BLOCK];
	CK_ULONG rest_len = sizeof(rest);
	SECRET_AUTO *buffer = secret_new((halves + 1) * HALF);

	*ret_rv = CKR_OK;
	if (buffer == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: key wrap");
	memcpy(secret_bytes(buffer), AIV, sizeof(AIV));
	store_be32(secret_bytes(buffer) + sizeof(AIV), (uint32_t)secret_len(plain));
	memcpy(secret_bytes(buffer) + HALF, secret_data(plain), secret_len(plain));

	*ret_rv = P11_CALL(&p->token.gate, C_EncryptInit, s->handle, &m, key);
	if (*ret_rv == CKR_OK)
		*ret_rv = kwp_rounds(p, s, secret_bytes(buffer), halves);
	if (*ret_rv == CKR_OK)
		*ret_rv = P11_CALL(&p->token.gate, C_EncryptFinal, s->handle, rest, &rest_len);
	if (*ret_rv != CKR_OK) {
		s->is_broken = true;
		return p11_fail(err, *ret_rv, "C_Encrypt");
	}
	memcpy(ret_wrapped, secret_data(buffer), secret_len(buffer));
	*ret_len = secret_len(buffer);
	return KMS_OK;
}

void p11_discard(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object)
{
	if (P11_CALL(&p->token.gate, C_DestroyObject, s->handle, object) != CKR_OK)
		s->is_broken = true;
}

/* AES key wrap of bytes that become a session object for the moment: three calls, in a session of the pool. */
static kms_status wrap_exact(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, const struct secret *plain,
                             uint8_t *ret_wrapped, size_t cap, size_t *ret_len, CK_RV *ret_rv, struct kms_err *err)
{
	CK_MECHANISM m = { CKM_AES_KEY_WRAP, NULL, 0 };
	CK_OBJECT_HANDLE payload = CK_INVALID_HANDLE;
	CK_ULONG len = cap;
	struct p11_template t;

	p11_template_payload(&t);
	p11_template_add(&t, CKA_VALUE, p11_in(secret_data(plain)), secret_len(plain));
	*ret_rv = P11_CALL(&p->token.gate, C_CreateObject, s->handle, t.attrs, t.count, &payload);
	if (*ret_rv != CKR_OK)
		return p11_fail(err, *ret_rv, "C_CreateObject");
	*ret_rv = P11_CALL(&p->token.gate, C_WrapKey, s->handle, &m, key, payload, ret_wrapped, &len);
	p11_discard(p, s, payload);
	if (*ret_rv != CKR_OK)
		return p11_fail(err, *ret_rv, "C_WrapKey");
	if (len != secret_len(plain) + HALF)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "key wrap of %zu bytes gave %lu", secret_len(plain), len);
	*ret_len = len;
	return KMS_OK;
}

kms_status p11_use_wrap(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, enum hsm_aes_alg alg, const struct secret *plain,
                        uint8_t *ret_wrapped, size_t cap, size_t *ret_len, CK_RV *ret_rv, struct kms_err *err)
{
	return alg == HSM_AES_KW ? wrap_exact(p, s, key, plain, ret_wrapped, cap, ret_len, ret_rv, err)
	                         : wrap_padded(p, s, key, plain, ret_wrapped, ret_len, ret_rv, err);
}

kms_status p11_aes_wrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const struct secret *plain, uint8_t *ret_wrapped,
                        size_t cap, size_t *ret_len, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	kms_status status;
	CK_RV rv;

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO lease = { 0 };
	KMS_TRY(p11_lease_take(p, key, &lease, err));
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	status = p11_use_wrap(p, &session, lease.entry->handle, alg, plain, ret_wrapped, cap, ret_len, &rv, err);
	if (status != KMS_OK)
		p11_lease_failed(&lease, rv);
	return status;
}

/* Unwrap into a session object, read it straight into the secret, destroy it: three calls. */
kms_status p11_use_unwrap(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, enum hsm_aes_alg alg, const uint8_t *wrapped,
                          size_t wrapped_len, struct secret **ret_plain, CK_RV *ret_rv, struct kms_err *err)
{
	CK_MECHANISM m = { alg == HSM_AES_KW ? CKM_AES_KEY_WRAP : CKM_AES_KEY_WRAP_PAD, NULL, 0 };
	CK_OBJECT_HANDLE payload = CK_INVALID_HANDLE;
	SECRET_AUTO *plain = NULL;
	struct p11_template t;
	CK_ATTRIBUTE value = { CKA_VALUE, NULL, 0 };

	*ret_rv = CKR_OK;
	if (wrapped_len < (alg == HSM_AES_KW ? KW_LEAST : KWP_LEAST) || wrapped_len > HSM_WRAP_MAX + HALF || wrapped_len % HALF != 0)
		return p11_refuse_bytes(err);
	plain = secret_new(wrapped_len - HALF);
	if (plain == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: key unwrap");
	p11_template_payload(&t);
	*ret_rv = P11_CALL(&p->token.gate, C_UnwrapKey, s->handle, &m, key, p11_in(wrapped), wrapped_len, t.attrs, t.count, &payload);
	if (*ret_rv != CKR_OK)
		return p11_fail_on_bytes(err, *ret_rv, "C_UnwrapKey");
	value.pValue = secret_bytes(plain);
	value.ulValueLen = secret_len(plain);
	*ret_rv = P11_CALL(&p->token.gate, C_GetAttributeValue, s->handle, payload, &value, 1);
	p11_discard(p, s, payload);
	if (*ret_rv != CKR_OK)
		return p11_fail(err, *ret_rv, "C_GetAttributeValue");
	if (value.ulValueLen == 0 || value.ulValueLen > secret_len(plain))
		return p11_refuse_bytes(err);
	secret_shrink(plain, value.ulValueLen);
	*ret_plain = KMS_TAKE(plain);
	return KMS_OK;
}

kms_status p11_aes_unwrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const uint8_t *wrapped, size_t wrapped_len,
                          struct secret **ret_plain, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	kms_status status;
	CK_RV rv;

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO lease = { 0 };
	KMS_TRY(p11_lease_take(p, key, &lease, err));
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	status = p11_use_unwrap(p, &session, lease.entry->handle, alg, wrapped, wrapped_len, ret_plain, &rv, err);
	if (status != KMS_OK)
		p11_lease_failed(&lease, rv);
	return status;
}
