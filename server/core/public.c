/* server/core/public.c - see public.h. Nothing here is secret but the plaintext of public_encrypt(). */
#include "server/core/public.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <string.h>

#define SHA1_LEN 20
#define SHA256_LEN 32
#define RSA_LEAST 256 /* bytes of the shortest modulus */
#define PKCS1_OVERHEAD 11 /* 00 01 or 02, at least eight bytes of padding, 00 */

static void pkey_free_at(EVP_PKEY **p) { EVP_PKEY_free(*p); }
static void pctx_free_at(EVP_PKEY_CTX **p) { EVP_PKEY_CTX_free(*p); }
static void bn_free_at(BIGNUM **p) { BN_free(*p); }
static void bld_free_at(OSSL_PARAM_BLD **p) { OSSL_PARAM_BLD_free(*p); }
static void params_free_at(OSSL_PARAM **p) { OSSL_PARAM_free(*p); }
static void sig_free_at(ECDSA_SIG **p) { ECDSA_SIG_free(*p); }
static void der_free_at(unsigned char **p) { OPENSSL_free(*p); }
#define OWNED(free_fn) __attribute__((cleanup(free_fn)))

static kms_status openssl_failed(const char *what, struct kms_err *err)
{
	unsigned long code = ERR_get_error();

	ERR_clear_error();
	return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, code, "%s", what);
}

static kms_status damaged(const struct store_version *v, struct kms_err *err)
{
	return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "the stored public half of %zu bytes does not fit a key of %u bits",
	                v->pub_len, (unsigned)v->bits);
}

/* ---- the public half as OpenSSL has it ---- */

static const char *group_of(enum key_curve crv)
{
	switch (crv) {
	case CURVE_P256: return "P-256";
	case CURVE_P384: return "P-384";
	case CURVE_P521: return "P-521";
	case CURVE_P256K: return "secp256k1";
	case CURVE_NONE:
	case CURVE_COUNT: break;
	}
	return "";
}

static EVP_PKEY *make_pkey(const char *algorithm, OSSL_PARAM_BLD *members)
{
	OWNED(params_free_at) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(members);
	OWNED(pctx_free_at) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
	EVP_PKEY *pkey = NULL;

	if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0 ||
	    EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0)
		return NULL;
	return pkey;
}

static kms_status rsa_pkey(const struct store_version *v, EVP_PKEY **ret_pkey, struct kms_err *err)
{
	OWNED(bn_free_at) BIGNUM *n = NULL;
	OWNED(bn_free_at) BIGNUM *e = NULL;
	OWNED(bld_free_at) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();

	if (v->pub == NULL || v->pub_len * 8 != v->bits || v->pub_len < RSA_LEAST || v->pub_len > HSM_RSA_MAX || v->e_len == 0 ||
	    v->e_len > sizeof(v->e))
		return damaged(v, err);
	n = BN_bin2bn(v->pub, (int)v->pub_len, NULL);
	e = BN_bin2bn(v->e, (int)v->e_len, NULL);
	if (n == NULL || e == NULL || bld == NULL || !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) ||
	    !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) || (*ret_pkey = make_pkey("RSA", bld)) == NULL)
		return openssl_failed("RSA public key", err);
	return KMS_OK;
}

static kms_status ec_pkey(const struct store_version *v, const struct key_curve_info *crv, EVP_PKEY **ret_pkey, struct kms_err *err)
{
	OWNED(bld_free_at) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();

	if (v->pub == NULL || v->pub_len != 1 + 2 * crv->coordinate_len)
		return damaged(v, err);
	if (bld == NULL || !OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, group_of((enum key_curve)v->crv), 0) ||
	    !OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, v->pub, v->pub_len) ||
	    (*ret_pkey = make_pkey("EC", bld)) == NULL)
		return openssl_failed("EC public key", err);
	return KMS_OK;
}

bool public_spki_sha256(const struct store_version *v, uint8_t ret[STORE_HASH_LEN])
{
	OWNED(pkey_free_at) EVP_PKEY *pkey = NULL;
	OWNED(der_free_at) unsigned char *der = NULL;
	const struct key_curve_info *crv = key_curve_info((enum key_curve)v->crv);
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);
	kms_status status = KMS_E_NOTFOUND;
	int len = 0;

	if (type != NULL && type->family == FAMILY_RSA)
		status = rsa_pkey(v, &pkey, NULL);
	else if (type != NULL && type->family == FAMILY_EC && crv != NULL)
		status = ec_pkey(v, crv, &pkey, NULL);
	if (status != KMS_OK || (len = i2d_PUBKEY(pkey, &der)) <= 0)
		return false;
	SHA256(der, (size_t)len, ret);
	return true;
}

/* ---- RSA encryption ---- */

size_t public_room(enum hsm_rsa_alg alg, size_t modulus_len)
{
	if (modulus_len < RSA_LEAST || modulus_len > HSM_RSA_MAX)
		return 0; /* a damaged row: nothing fits */
	switch (alg) {
	case HSM_RSA_OAEP_SHA1: return modulus_len - 2 * SHA1_LEN - 2;
	case HSM_RSA_OAEP_SHA256: return modulus_len - 2 * SHA256_LEN - 2;
	case HSM_RSA_PKCS1_V15: return modulus_len - PKCS1_OVERHEAD;
	}
	return 0;
}

kms_status public_encrypt(const struct store_version *v, enum hsm_rsa_alg alg, const struct secret *plain, uint8_t *ret_cipher,
                          size_t *ret_len, struct kms_err *err)
{
	OWNED(pkey_free_at) EVP_PKEY *pkey = NULL;
	OWNED(pctx_free_at) EVP_PKEY_CTX *ctx = NULL;
	bool is_oaep = alg != HSM_RSA_PKCS1_V15;
	const EVP_MD *md = alg == HSM_RSA_OAEP_SHA256 ? EVP_sha256() : EVP_sha1();
	static const uint8_t NOTHING[1];
	const uint8_t *text = plain != NULL ? secret_data(plain) : NOTHING;
	size_t text_len = plain != NULL ? secret_len(plain) : 0, len = v->pub_len;

	assert(is_oaep || text_len > 0);
	KMS_TRY(rsa_pkey(v, &pkey, err));
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	if (ctx == NULL || EVP_PKEY_encrypt_init(ctx) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_padding(ctx, is_oaep ? RSA_PKCS1_OAEP_PADDING : RSA_PKCS1_PADDING) <= 0)
		return openssl_failed("RSA encryption", err);
	if (is_oaep && (EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) <= 0 || EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) <= 0))
		return openssl_failed("OAEP parameters", err);
	if (EVP_PKEY_encrypt(ctx, ret_cipher, &len, text, text_len) <= 0)
		return openssl_failed("EVP_PKEY_encrypt", err);
	*ret_len = len;
	return KMS_OK;
}

/* ---- verification ---- */

/* DER of DigestInfo up to the digest: RFC 8017 section 9.2 note 1. */
#define DIGEST_INFO_LEN 19
static const uint8_t *digest_info(enum key_alg alg)
{
	static const uint8_t SHA256[DIGEST_INFO_LEN] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
		                                         0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 };
	static const uint8_t SHA384[DIGEST_INFO_LEN] = { 0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
		                                         0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30 };
	static const uint8_t SHA512[DIGEST_INFO_LEN] = { 0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
		                                         0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40 };

	return alg == ALG_RS256 ? SHA256 : alg == ALG_RS384 ? SHA384 : alg == ALG_RS512 ? SHA512 : NULL;
}

void public_pkcs1_input(enum key_alg alg, const uint8_t *digest, size_t digest_len, uint8_t *ret_input, size_t *ret_len)
{
	const uint8_t *prefix = digest_info(alg);
	size_t prefix_len = prefix != NULL ? DIGEST_INFO_LEN : 0;

	assert(prefix_len + digest_len <= HSM_RSA_MAX);
	if (prefix != NULL)
		memcpy(ret_input, prefix, prefix_len);
	memcpy(ret_input + prefix_len, digest, digest_len);
	*ret_len = prefix_len + digest_len;
}

/* The whole block is made anew and compared, so there is no encoding to be parsed, nor to be lenient about (RFC 8017 section 8.2.2). */
static kms_status verify_pkcs1(EVP_PKEY *pkey, enum key_alg alg, const uint8_t *digest, size_t digest_len, const uint8_t *signature,
                               size_t len, bool *ret_is_valid, struct kms_err *err)
{
	OWNED(pctx_free_at) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	uint8_t input[HSM_RSA_MAX], expected[HSM_RSA_MAX], block[HSM_RSA_MAX];
	size_t input_len = 0, block_len = len;

	if (digest_len > len - PKCS1_OVERHEAD - (digest_info(alg) != NULL ? DIGEST_INFO_LEN : 0))
		return KMS_OK; /* nobody can have signed that */
	public_pkcs1_input(alg, digest, digest_len, input, &input_len);
	memset(expected, 0xff, len);
	expected[0] = 0;
	expected[1] = 1;
	expected[len - input_len - 1] = 0;
	memcpy(expected + len - input_len, input, input_len);
	if (ctx == NULL || EVP_PKEY_encrypt_init(ctx) <= 0 || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) <= 0 ||
	    EVP_PKEY_encrypt(ctx, block, &block_len, signature, len) <= 0)
		return openssl_failed("RSA public operation", err);
	*ret_is_valid = block_len == len && memcmp(block, expected, len) == 0;
	return KMS_OK;
}

static kms_status verify_pss(EVP_PKEY *pkey, const EVP_MD *md, const uint8_t *digest, size_t digest_len, const uint8_t *signature,
                             size_t len, bool *ret_is_valid, struct kms_err *err)
{
	OWNED(pctx_free_at) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);

	if (ctx == NULL || EVP_PKEY_verify_init(ctx) <= 0 || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) <= 0 ||
	    EVP_PKEY_CTX_set_signature_md(ctx, md) <= 0 || EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) <= 0)
		return openssl_failed("PSS parameters", err);
	*ret_is_valid = EVP_PKEY_verify(ctx, signature, len, digest, digest_len) == 1;
	return KMS_OK;
}

static kms_status verify_rsa(const struct store_version *v, enum key_alg alg, const uint8_t *digest, size_t digest_len,
                             const uint8_t *signature, size_t len, bool *ret_is_valid, struct kms_err *err)
{
	OWNED(pkey_free_at) EVP_PKEY *pkey = NULL;

	KMS_TRY(rsa_pkey(v, &pkey, err));
	if (len != v->pub_len || memcmp(signature, v->pub, len) >= 0) /* RFC 8017 section 5.2.2: a number below n */
		return KMS_OK;
	switch (key_alg_info(alg)->sign) {
	case HSM_SIGN_PSS_SHA256: return verify_pss(pkey, EVP_sha256(), digest, digest_len, signature, len, ret_is_valid, err);
	case HSM_SIGN_PSS_SHA384: return verify_pss(pkey, EVP_sha384(), digest, digest_len, signature, len, ret_is_valid, err);
	case HSM_SIGN_PSS_SHA512: return verify_pss(pkey, EVP_sha512(), digest, digest_len, signature, len, ret_is_valid, err);
	case HSM_SIGN_RSA_PKCS1: return verify_pkcs1(pkey, alg, digest, digest_len, signature, len, ret_is_valid, err);
	case HSM_SIGN_ECDSA:
	case HSM_SIGN_EDDSA:
	case HSM_SIGN_HMAC_SHA256:
	case HSM_SIGN_HMAC_SHA384:
	case HSM_SIGN_HMAC_SHA512: break;
	}
	return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "algorithm %d is not RSA's", (int)alg);
}

/* r || s; that both are in 1..n-1 is the first thing that OpenSSL looks at (SEC 1 section 4.1.4 step 1). */
static kms_status verify_ecdsa(const struct store_version *v, const struct key_curve_info *crv, const uint8_t *digest, size_t digest_len,
                               const uint8_t *signature, size_t len, bool *ret_is_valid, struct kms_err *err)
{
	const int half = (int)crv->coordinate_len;
	OWNED(pkey_free_at) EVP_PKEY *pkey = NULL;
	OWNED(pctx_free_at) EVP_PKEY_CTX *ctx = NULL;
	OWNED(bn_free_at) BIGNUM *r = NULL;
	OWNED(bn_free_at) BIGNUM *s = NULL;
	OWNED(sig_free_at) ECDSA_SIG *sig = NULL;
	OWNED(der_free_at) unsigned char *der = NULL;
	int der_len = 0;

	KMS_TRY(ec_pkey(v, crv, &pkey, err));
	if (len != 2 * crv->coordinate_len)
		return KMS_OK;
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	r = BN_bin2bn(signature, half, NULL);
	s = BN_bin2bn(signature + half, half, NULL);
	sig = ECDSA_SIG_new();
	if (ctx == NULL || r == NULL || s == NULL || sig == NULL || ECDSA_SIG_set0(sig, r, s) != 1)
		return openssl_failed("ECDSA verification", err);
	r = s = NULL; /* the signature owns them now */
	der_len = i2d_ECDSA_SIG(sig, &der);
	if (der_len <= 0 || EVP_PKEY_verify_init(ctx) <= 0)
		return openssl_failed("ECDSA verification", err);
	*ret_is_valid = EVP_PKEY_verify(ctx, der, (size_t)der_len, digest, digest_len) == 1;
	return KMS_OK;
}

kms_status public_verify(const struct store_version *v, enum key_alg alg, const uint8_t *digest, size_t digest_len,
                         const uint8_t *signature, size_t signature_len, bool *ret_is_valid, struct kms_err *err)
{
	const struct key_alg_info *info = key_alg_info(alg);
	const struct key_curve_info *crv = key_curve_info((enum key_curve)v->crv);
	kms_status status = KMS_OK;
	bool is_valid = false;

	if (info == NULL || (info->family == FAMILY_EC) != (crv != NULL) || info->family == FAMILY_OCT)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "algorithm %d does not fit the key", (int)alg);
	if (info->digest_len != 0 && digest_len != info->digest_len)
		is_valid = false; /* ECDSA would cut it */
	else if (crv == NULL) /* so it is RSA */
		status = verify_rsa(v, alg, digest, digest_len, signature, signature_len, &is_valid, err);
	else
		status = verify_ecdsa(v, crv, digest, digest_len, signature, signature_len, &is_valid, err);
	ERR_clear_error(); /* why a signature is bad is of no interest to the next caller */
	if (status == KMS_OK)
		*ret_is_valid = is_valid;
	return status;
}
