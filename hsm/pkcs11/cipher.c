/* hsm/pkcs11/cipher.c - AES-GCM and AES-CBC of callers' data. Nothing of a plaintext is handed out before the device has accepted all of it, and
 * nothing of it stays behind. */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "hsm/pkcs11/provider.h"

#define AES_BLOCK 16
#define BITS(bytes) ((CK_ULONG)(bytes) * 8)

/* Room on the heap for data of any size, erased when its scope ends: megabytes fit neither the stack nor the secure heap. */
struct scratch {
	uint8_t *bytes;
	size_t len;
};

static void scratch_free(struct scratch *s)
{
	if (s->bytes != NULL)
		OPENSSL_cleanse(s->bytes, s->len);
	free(s->bytes);
}
#define SCRATCH_AUTO __attribute__((cleanup(scratch_free))) struct scratch

static kms_status scratch_make(struct scratch *s, size_t len, struct kms_err *err)
{
	s->bytes = calloc(1, len);
	s->len = len;
	return s->bytes != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "buffer of %zu bytes", len);
}

/* A mechanism with its parameters; points into itself and to what the caller lent. */
struct mechanism {
	CK_MECHANISM m;
	CK_GCM_PARAMS gcm;
};

static void mechanism_set(struct mechanism *ret, enum hsm_cipher cipher, const uint8_t *iv, const uint8_t *aad, size_t aad_len)
{
	memset(ret, 0, sizeof(*ret));
	if (cipher == HSM_CIPHER_GCM) {
		ret->gcm.pIv = p11_in(iv);
		ret->gcm.ulIvLen = HSM_GCM_NONCE_LEN;
		ret->gcm.ulIvBits = BITS(HSM_GCM_NONCE_LEN);
		ret->gcm.pAAD = aad_len > 0 ? p11_in(aad) : NULL;
		ret->gcm.ulAADLen = aad_len;
		ret->gcm.ulTagBits = BITS(HSM_GCM_TAG_LEN);
		ret->m = (CK_MECHANISM){ CKM_AES_GCM, &ret->gcm, sizeof(ret->gcm) };
	} else {
		ret->m = (CK_MECHANISM){ cipher == HSM_CIPHER_CBC ? CKM_AES_CBC : CKM_AES_CBC_PAD, p11_in(iv), HSM_IV_LEN };
	}
}

/* What the device gives for so much plaintext: the tag follows the ciphertext, padding fills the block. */
static size_t sealed_len(enum hsm_cipher cipher, size_t plain_len)
{
	switch (cipher) {
	case HSM_CIPHER_GCM:
		return plain_len + HSM_GCM_TAG_LEN;
	case HSM_CIPHER_CBC:
		return plain_len;
	case HSM_CIPHER_CBC_PAD:
		return (plain_len / AES_BLOCK + 1) * AES_BLOCK;
	}
	return 0;
}

kms_status p11_use_encrypt(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, enum hsm_cipher cipher, uint8_t iv[HSM_IV_LEN],
                           const uint8_t *aad, size_t aad_len, const uint8_t *plain, size_t plain_len, uint8_t *ret_cipher, size_t *ret_len,
                           uint8_t ret_tag[HSM_GCM_TAG_LEN], CK_RV *ret_rv, struct kms_err *err)
{
	const size_t want = sealed_len(cipher, plain_len);
	const bool is_gcm = cipher == HSM_CIPHER_GCM;
	uint8_t nonce[HSM_IV_LEN] = { 0 };
	struct mechanism how;
	SCRATCH_AUTO sealed = { 0 };
	CK_ULONG len = want;

	*ret_rv = CKR_OK;
	KMS_TRY(scratch_make(&sealed, want, err));
	if (is_gcm) {
		*ret_rv = P11_CALL(&p->token.gate, C_GenerateRandom, s->handle, nonce, HSM_GCM_NONCE_LEN);
		if (*ret_rv != CKR_OK)
			return p11_fail(err, *ret_rv, "C_GenerateRandom");
	}
	mechanism_set(&how, cipher, is_gcm ? nonce : iv, aad, aad_len);
	*ret_rv = P11_CALL(&p->token.gate, C_EncryptInit, s->handle, &how.m, key);
	if (*ret_rv == CKR_OK)
		*ret_rv = P11_CALL(&p->token.gate, C_Encrypt, s->handle, p11_in(plain), plain_len, sealed.bytes, &len);
	if (*ret_rv != CKR_OK) {
		s->is_broken = true;
		return p11_fail(err, *ret_rv, "C_Encrypt");
	}
	if (len != want)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "%zu bytes were encrypted to %lu", plain_len, len);
	if (is_gcm) {
		len -= HSM_GCM_TAG_LEN;
		memcpy(ret_tag, sealed.bytes + len, HSM_GCM_TAG_LEN);
		memcpy(iv, nonce, HSM_GCM_NONCE_LEN);
	}
	memcpy(ret_cipher, sealed.bytes, len);
	*ret_len = len;
	return KMS_OK;
}

static bool is_decryptable(enum hsm_cipher cipher, size_t input_len, size_t aad_len)
{
	if (input_len > HSM_DATA_MAX + AES_BLOCK || aad_len > HSM_DATA_MAX)
		return false;
	return cipher == HSM_CIPHER_GCM || (input_len > 0 && input_len % AES_BLOCK == 0);
}

kms_status p11_use_decrypt(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, enum hsm_cipher cipher, const uint8_t *iv,
                           const uint8_t *aad, size_t aad_len, const uint8_t *input, size_t input_len, const uint8_t *tag, uint8_t *ret_plain,
                           size_t *ret_len, CK_RV *ret_rv, struct kms_err *err)
{
	const size_t sealed_size = cipher == HSM_CIPHER_GCM ? input_len + HSM_GCM_TAG_LEN : input_len;
	CK_ULONG len = sealed_size; /* SoftHSM wants room for the tag and the padding too */
	struct mechanism how;
	SCRATCH_AUTO sealed = { 0 };
	SCRATCH_AUTO plain = { 0 };

	*ret_rv = CKR_OK;
	if (!is_decryptable(cipher, input_len, aad_len))
		return p11_refuse_bytes(err);
	KMS_TRY(scratch_make(&sealed, sealed_size, err));
	KMS_TRY(scratch_make(&plain, sealed_size, err));
	if (input_len > 0)
		memcpy(sealed.bytes, input, input_len);
	if (cipher == HSM_CIPHER_GCM)
		memcpy(sealed.bytes + input_len, tag, HSM_GCM_TAG_LEN);
	mechanism_set(&how, cipher, iv, aad, aad_len);
	*ret_rv = P11_CALL(&p->token.gate, C_DecryptInit, s->handle, &how.m, key);
	if (*ret_rv != CKR_OK) {
		s->is_broken = true;
		return p11_fail(err, *ret_rv, "C_DecryptInit"); /* has not seen the ciphertext yet */
	}
	*ret_rv = P11_CALL(&p->token.gate, C_Decrypt, s->handle, sealed.bytes, sealed_size, plain.bytes, &len);
	if (*ret_rv != CKR_OK) {
		s->is_broken = true;
		return p11_fail_on_bytes(err, *ret_rv, "C_Decrypt");
	}
	if (cipher == HSM_CIPHER_CBC_PAD ? len >= input_len || len + AES_BLOCK < input_len : len != input_len)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "%zu bytes were decrypted to %lu", input_len, len);
	if (len > 0)
		memcpy(ret_plain, plain.bytes, len);
	*ret_len = len;
	return KMS_OK;
}

kms_status p11_encrypt(struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, uint8_t iv[HSM_IV_LEN], const uint8_t *aad,
                       size_t aad_len, const uint8_t *plain, size_t plain_len, uint8_t *ret_cipher, size_t cap, size_t *ret_len,
                       uint8_t ret_tag[HSM_GCM_TAG_LEN], struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	kms_status status;
	CK_RV rv;

	(void)cap; /* hsm.c has seen to it */
	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO lease = { 0 };
	KMS_TRY(p11_lease_take(p, key, &lease, err));
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	status = p11_use_encrypt(p, &session, lease.entry->handle, cipher, iv, aad, aad_len, plain, plain_len, ret_cipher, ret_len, ret_tag, &rv,
	                         err);
	if (status != KMS_OK)
		p11_lease_failed(&lease, rv);
	return status;
}

kms_status p11_decrypt(struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, const uint8_t *iv, const uint8_t *aad, size_t aad_len,
                       const uint8_t *input, size_t input_len, const uint8_t *tag, uint8_t *ret_plain, size_t cap, size_t *ret_len,
                       struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	kms_status status;
	CK_RV rv;

	(void)cap; /* hsm.c has seen to it */
	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO lease = { 0 };
	KMS_TRY(p11_lease_take(p, key, &lease, err));
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	status = p11_use_decrypt(p, &session, lease.entry->handle, cipher, iv, aad, aad_len, input, input_len, tag, ret_plain, ret_len, &rv, err);
	if (status != KMS_OK)
		p11_lease_failed(&lease, rv);
	return status;
}
