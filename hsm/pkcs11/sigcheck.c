/* hsm/pkcs11/sigcheck.c - see sigcheck.h. */
#include "hsm/pkcs11/sigcheck.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#define SCALAR_LEN 32 /* P-256 */

static void free_ctx(EVP_PKEY_CTX **ctx) { EVP_PKEY_CTX_free(*ctx); }
static void free_md(EVP_MD_CTX **ctx) { EVP_MD_CTX_free(*ctx); }
static void free_sig(ECDSA_SIG **sig) { ECDSA_SIG_free(*sig); }
static void free_bn(BIGNUM **bn) { BN_free(*bn); }
static void free_bnctx(BN_CTX **ctx) { BN_CTX_free(*ctx); }
static void free_der(unsigned char **der) { OPENSSL_free(*der); }
#define CTX_AUTO __attribute__((cleanup(free_ctx))) EVP_PKEY_CTX
#define MD_AUTO __attribute__((cleanup(free_md))) EVP_MD_CTX
#define SIG_AUTO __attribute__((cleanup(free_sig))) ECDSA_SIG
#define BN_AUTO __attribute__((cleanup(free_bn))) BIGNUM
#define BNCTX_AUTO __attribute__((cleanup(free_bnctx))) BN_CTX
#define DER_AUTO __attribute__((cleanup(free_der))) unsigned char

static EVP_PKEY *p256_key(const struct hsm_public *pub)
{
	uint8_t point[sizeof(pub->point)]; /* OSSL_PARAM takes no const */
	char group[] = "P-256";
	EVP_PKEY *key = NULL;
	CTX_AUTO *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, pub->point_len),
		OSSL_PARAM_construct_end(),
	};

	for (size_t i = 0; i < pub->point_len; i++)
		point[i] = pub->point[i];
	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	return key;
}

EVP_PKEY *sigcheck_key(enum hsm_kind kind, const struct hsm_public *pub)
{
	EVP_PKEY *key = kind == HSM_KIND_P256 ? p256_key(pub)
	                                      : EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pub->point, pub->point_len);

	if (key == NULL)
		ERR_clear_error();
	return key;
}

static bool p256_verify(EVP_PKEY *key, const uint8_t *digest, size_t digest_len, const uint8_t signature[HSM_SIGNATURE_MAX])
{
	BN_AUTO *r = BN_bin2bn(signature, SCALAR_LEN, NULL);
	BN_AUTO *s = BN_bin2bn(signature + SCALAR_LEN, SCALAR_LEN, NULL);
	SIG_AUTO *sig = ECDSA_SIG_new();
	CTX_AUTO *ctx = EVP_PKEY_CTX_new(key, NULL);
	DER_AUTO *der = NULL;
	int der_len;

	if (r == NULL || s == NULL || sig == NULL || ctx == NULL || ECDSA_SIG_set0(sig, r, s) != 1)
		return false;
	r = s = NULL; /* the signature has them now */
	der_len = i2d_ECDSA_SIG(sig, &der);
	return der_len > 0 && EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_verify(ctx, der, (size_t)der_len, digest, digest_len) == 1;
}

bool sigcheck_verify(EVP_PKEY *key, enum hsm_kind kind, const uint8_t *input, size_t input_len, const uint8_t signature[HSM_SIGNATURE_MAX])
{
	bool is_good = false;

	if (kind == HSM_KIND_P256) {
		is_good = p256_verify(key, input, input_len, signature);
	} else {
		MD_AUTO *ctx = EVP_MD_CTX_new();

		is_good = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
		          EVP_DigestVerify(ctx, signature, HSM_SIGNATURE_MAX, input, input_len) == 1;
	}
	if (!is_good)
		ERR_clear_error();
	return is_good;
}

bool sigcheck_rsa_raw(const struct hsm_public *pub, const uint8_t *m, uint8_t *ret_c)
{
	BN_AUTO *n = BN_bin2bn(pub->n, (int)pub->n_len, NULL);
	BN_AUTO *e = BN_bin2bn(pub->e, (int)pub->e_len, NULL);
	BN_AUTO *base = BN_bin2bn(m, (int)pub->n_len, NULL);
	BN_AUTO *c = BN_new();
	BNCTX_AUTO *ctx = BN_CTX_new();

	return n != NULL && e != NULL && base != NULL && c != NULL && ctx != NULL && BN_mod_exp(c, base, e, n, ctx) == 1 &&
	       BN_bn2binpad(c, ret_c, (int)pub->n_len) == (int)pub->n_len;
}
