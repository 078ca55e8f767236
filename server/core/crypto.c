/* server/core/crypto.c - wrap and unwrap; private and secret keys stay in the device, only RSA public operations run on the host. */
#include "server/core/crypto.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <string.h>

#include "server/core/keyring.h"

static void pkey_free_at(EVP_PKEY **p) { EVP_PKEY_free(*p); }
static void pctx_free_at(EVP_PKEY_CTX **p) { EVP_PKEY_CTX_free(*p); }
static void bn_free_at(BIGNUM **p) { BN_free(*p); }
static void bld_free_at(OSSL_PARAM_BLD **p) { OSSL_PARAM_BLD_free(*p); }
static void params_free_at(OSSL_PARAM **p) { OSSL_PARAM_free(*p); }
#define OWNED(free_fn) __attribute__((cleanup(free_fn)))

static kms_status openssl_failed(const char *what, struct kms_err *err)
{
	return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, ERR_get_error(), "%s", what);
}

static EVP_PKEY *rsa_public(const struct store_version *v)
{
	OWNED(bn_free_at) BIGNUM *n = BN_bin2bn(v->n, (int)v->n_len, NULL);
	OWNED(bn_free_at) BIGNUM *e = BN_bin2bn(v->e, (int)v->e_len, NULL);
	OWNED(bld_free_at) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OWNED(params_free_at) OSSL_PARAM *params = NULL;
	OWNED(pctx_free_at) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *pkey = NULL;

	if (n == NULL || e == NULL || bld == NULL || ctx == NULL || !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) ||
	    !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e))
		return NULL;
	params = OSSL_PARAM_BLD_to_param(bld);
	if (params == NULL || EVP_PKEY_fromdata_init(ctx) <= 0 || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0)
		return NULL;
	return pkey;
}

/* Longest plaintext of an RSA padding: RFC 8017 sections 7.1.1 and 7.2.1. */
static size_t rsa_room(enum hsm_rsa_alg alg, size_t modulus_len)
{
	switch (alg) {
	case HSM_RSA_OAEP_SHA1: return modulus_len - 2 * 20 - 2;
	case HSM_RSA_OAEP_SHA256: return modulus_len - 2 * 32 - 2;
	case HSM_RSA_PKCS1_V15: return modulus_len - 11;
	}
	return 0;
}

static kms_status rsa_wrap(const struct store_version *v, const struct key_alg_info *alg, const struct secret *plain, uint8_t *ret_wrapped,
                           size_t *ret_len, struct kms_err *err)
{
	OWNED(pkey_free_at) EVP_PKEY *pkey = NULL;
	OWNED(pctx_free_at) EVP_PKEY_CTX *ctx = NULL;
	size_t len = CRYPTO_WRAPPED_MAX;
	bool is_oaep = alg->rsa != HSM_RSA_PKCS1_V15;
	const EVP_MD *md = alg->rsa == HSM_RSA_OAEP_SHA256 ? EVP_sha256() : EVP_sha1();

	if (secret_len(plain) > rsa_room(alg->rsa, v->n_len))
		return kms_refuse(err, KMS_E_INVALID, "value: at most %zu bytes fit %s with this key.", rsa_room(alg->rsa, v->n_len), alg->name);
	pkey = rsa_public(v);
	if (pkey == NULL || (ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL)) == NULL || EVP_PKEY_encrypt_init(ctx) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_padding(ctx, is_oaep ? RSA_PKCS1_OAEP_PADDING : RSA_PKCS1_PADDING) <= 0)
		return openssl_failed("RSA public key", err);
	if (is_oaep && (EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) <= 0 || EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) <= 0))
		return openssl_failed("OAEP parameters", err);
	if (EVP_PKEY_encrypt(ctx, ret_wrapped, &len, secret_data(plain), secret_len(plain)) <= 0)
		return openssl_failed("EVP_PKEY_encrypt", err);
	*ret_len = len;
	return KMS_OK;
}

/* Find the version, check state and algorithm in the order of keyvault-keys.md 9.1. */
static kms_status prepare(struct op *op, const char *name, const uint8_t *version, enum key_op use, enum key_alg alg, struct kms_err *err)
{
	const struct key_alg_info *info = key_alg_info(alg);

	if (info != NULL)
		op->write.event.alg = info->name;
	KMS_TRY(keyring_find(op, name, version, false, err));
	KMS_TRY(key_usable(&op->version, use, clock_wall_s(op->kms->clock), err));
	KMS_TRY(key_alg_fits(&op->version, alg, err));
	if (alg == ALG_RSA1_5 && !op->vault.allows_rsa1_5)
		return kms_refuse(err, KMS_E_INVALID, "Algorithm RSA1_5 is not allowed in this vault.");
	return KMS_OK;
}

kms_status crypto_wrap(struct op *op, const char *name, const uint8_t *version, enum key_alg alg, const struct secret *plain,
                       uint8_t *ret_wrapped, size_t *ret_len, struct kms_err *err)
{
	const struct key_alg_info *info = key_alg_info(alg);
	struct hsm_info device = { 0 };
	struct hsm_key key = { 0 };

	KMS_TRY(prepare(op, name, version, KEY_OP_WRAP, alg, err));
	if (info->kind == HSM_KIND_RSA) {
		/* The public half would do, but data wrapped while the device is away could turn out to be lost for ever. */
		hsm_info(op->kms->hsm, &device);
		if (!device.is_available)
			return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "device is away");
		return rsa_wrap(&op->version, info, plain, ret_wrapped, ret_len, err);
	}
	if (secret_len(plain) > HSM_WRAP_MAX)
		return kms_refuse(err, KMS_E_INVALID, "value: at most %d bytes can be wrapped.", HSM_WRAP_MAX);
	if (info->aes == HSM_AES_KW && (secret_len(plain) < 16 || secret_len(plain) % 8 != 0))
		return kms_refuse(err, KMS_E_INVALID, "value: %s takes 16 bytes or more, in multiples of 8.", info->name);
	key_to_hsm(&op->version, &op->vault, &key);
	return hsm_aes_wrap(op->kms->hsm, &key, info->aes, plain, ret_wrapped, CRYPTO_WRAPPED_MAX, ret_len, err);
}

kms_status crypto_unwrap(struct op *op, const char *name, const uint8_t *version, enum key_alg alg, const uint8_t *wrapped,
                         size_t wrapped_len, struct secret **ret_plain, struct kms_err *err)
{
	const struct key_alg_info *info = key_alg_info(alg);
	struct hsm_key key = { 0 };

	KMS_TRY(prepare(op, name, version, KEY_OP_UNWRAP, alg, err));
	key_to_hsm(&op->version, &op->vault, &key);
	if (info->kind == HSM_KIND_RSA)
		return hsm_rsa_decrypt(op->kms->hsm, &key, info->rsa, op->version.n, op->version.n_len, wrapped, wrapped_len, ret_plain, err);
	if (wrapped_len > CRYPTO_WRAPPED_MAX)
		return kms_refuse(err, KMS_E_CRYPTO, "%s", kms_status_text(KMS_E_CRYPTO));
	return hsm_aes_unwrap(op->kms->hsm, &key, info->aes, wrapped, wrapped_len, ret_plain, err);
}
