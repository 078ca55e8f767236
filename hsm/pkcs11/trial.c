/* hsm/pkcs11/trial.c - does a new key do what its public half, or the secret that it is a copy of, demands? Guards what is about to be handed out:
 * a blob that does not load, or a device that garbles a key, is found before anything is encrypted to it. */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "hsm/pkcs11/provider.h"

#define AES_BLOCK 16
#define TEXT_MAX 64
/* Begins like nothing that the product signs or authenticates elsewhere; what is made of it never leaves the provider. */
static const uint8_t PRINT_TEXT[AES_BLOCK] = "holdfast: print";

enum hsm_usage p11_trial_usage(enum hsm_kind kind)
{
	switch (kind) {
	case HSM_KIND_RSA:
		return HSM_USE_DECRYPT;
	case HSM_KIND_AES:
		return HSM_USE_ENCRYPT;
	case HSM_KIND_HMAC:
	case HSM_KIND_P256:
	case HSM_KIND_ED25519:
	case HSM_KIND_P384:
	case HSM_KIND_P521:
	case HSM_KIND_P256K:
		break;
	}
	return HSM_USE_SIGN;
}

/* One block of ECB: no IV, no state, the same for the same key. */
static kms_status encrypt_print(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, uint8_t ret_print[P11_PRINT_LEN],
                                struct kms_err *err)
{
	CK_MECHANISM m = { CKM_AES_ECB, NULL, 0 };
	CK_ULONG len = P11_PRINT_LEN;
	CK_RV rv = P11_CALL(&p->token.gate, C_EncryptInit, s->handle, &m, object);

	if (rv == CKR_OK)
		rv = P11_CALL(&p->token.gate, C_Encrypt, s->handle, p11_in(PRINT_TEXT), sizeof(PRINT_TEXT), ret_print, &len);
	if (rv != CKR_OK) {
		s->is_broken = true;
		return p11_fail(err, rv, "C_Encrypt");
	}
	if (len != AES_BLOCK)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "one block was encrypted to %lu bytes", len);
	return KMS_OK;
}

kms_status p11_print_make(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                          uint8_t ret_print[P11_PRINT_LEN], struct kms_err *err)
{
	ERASE_AUTO(uint8_t, mac, HSM_SIGNATURE_MAX);
	size_t len;
	CK_RV rv;

	memset(ret_print, 0, P11_PRINT_LEN);
	if (key->kind == HSM_KIND_AES)
		return encrypt_print(p, s, object, ret_print, err);
	KMS_TRY(p11_use_sign(p, s, object, key, HSM_SIGN_HMAC_SHA256, PRINT_TEXT, sizeof(PRINT_TEXT), mac, &len, &rv, err));
	memcpy(ret_print, mac, P11_PRINT_LEN);
	return KMS_OK;
}

bool p11_print_of(const struct secret *secret, enum hsm_kind kind, uint8_t ret_print[P11_PRINT_LEN])
{
	const EVP_CIPHER *ciphers[] = { EVP_aes_128_ecb(), EVP_aes_192_ecb(), EVP_aes_256_ecb() };
	const size_t step = 8, shortest = 16; /* 128, 192, 256 bits */
	EVP_CIPHER_CTX *ctx;
	unsigned mac_len = 0;
	bool is_done;
	int len = 0;

	memset(ret_print, 0, P11_PRINT_LEN);
	if (kind == HSM_KIND_HMAC)
		return HMAC(EVP_sha256(), secret_data(secret), (int)secret_len(secret), PRINT_TEXT, sizeof(PRINT_TEXT), ret_print, &mac_len) !=
		       NULL;
	if (secret_len(secret) < shortest || (secret_len(secret) - shortest) / step >= KMS_ARRAY_LEN(ciphers))
		return false;
	ctx = EVP_CIPHER_CTX_new();
	is_done = ctx != NULL && EVP_EncryptInit_ex(ctx, ciphers[(secret_len(secret) - shortest) / step], NULL, secret_data(secret), NULL) == 1 &&
	          EVP_EncryptUpdate(ctx, ret_print, &len, PRINT_TEXT, sizeof(PRINT_TEXT)) == 1 && len == AES_BLOCK;
	EVP_CIPHER_CTX_free(ctx);
	ERR_clear_error();
	return is_done;
}

/* Does it undo the public operation? */
static kms_status try_rsa(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_public *pub, bool *ret_good,
                          struct kms_err *err)
{
	SECRET_AUTO *block = secret_new(pub->n_len);
	uint8_t m[HSM_RSA_MAX], c[HSM_RSA_MAX];
	struct kms_err why = { 0 };
	kms_status status;
	CK_RV rv;

	if (block == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: RSA block");
	rv = P11_CALL(&p->token.gate, C_GenerateRandom, s->handle, m, pub->n_len);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GenerateRandom");
	m[0] = 0; /* below the modulus */
	if (!sigcheck_rsa_raw(pub, m, c))
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, 0, "RSA public operation");
	status = p11_use_rsa_raw(p, s, object, c, pub->n_len, block, &rv, &why);
	if (status != KMS_OK && status != KMS_E_CRYPTO) {
		if (err != NULL)
			*err = why;
		return status;
	}
	*ret_good = status == KMS_OK && CRYPTO_memcmp(secret_data(block), m, pub->n_len) == 0;
	return KMS_OK;
}

kms_status p11_trial_sign(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key, unsigned nth,
                          struct sigcheck_signed *ret, uint8_t ret_digest[SHA512_DIGEST_LENGTH], struct kms_err *err)
{
	const enum hsm_sign_alg alg = key->kind == HSM_KIND_ED25519 ? HSM_SIGN_EDDSA : HSM_SIGN_ECDSA;
	char text[TEXT_MAX];
	size_t len;
	CK_RV rv;

	(void)snprintf(text, sizeof(text), "holdfast: trial %u of a new key", nth);
	(void)SHA512((const uint8_t *)text, strlen(text), ret_digest);
	ret->digest = ret_digest;
	ret->digest_len = p11_curve(key->kind)->digest_len; /* the front of it: as good a digest as any */
	return p11_use_sign(p, s, object, key, alg, ret->digest, ret->digest_len, ret->signature, &len, &rv, err);
}

static kms_status try_curve(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                            const struct hsm_public *pub, bool *ret_good, struct kms_err *err)
{
	EVP_PKEY *verifier = sigcheck_key(key->kind, pub);
	uint8_t digest[SHA512_DIGEST_LENGTH];
	struct sigcheck_signed made;
	kms_status status = p11_trial_sign(p, s, object, key, 0, &made, digest, err);

	*ret_good = status == KMS_OK && sigcheck_verify(verifier, key->kind, made.digest, made.digest_len, made.signature);
	EVP_PKEY_free(verifier);
	return status;
}

kms_status p11_trial(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                     const struct p11_proof *proof, bool *ret_good, struct kms_err *err)
{
	ERASE_AUTO(uint8_t, print, P11_PRINT_LEN);

	*ret_good = false;
	if (key->kind == HSM_KIND_RSA)
		return try_rsa(p, s, object, &proof->pub, ret_good, err);
	if (p11_curve(key->kind) != NULL)
		return try_curve(p, s, object, key, &proof->pub, ret_good, err);
	KMS_TRY(p11_print_make(p, s, object, key, print, err));
	*ret_good = CRYPTO_memcmp(print, proof->print, sizeof(print)) == 0;
	return KMS_OK;
}
