/* tests/support/software.c - see software.h. */
#include "tests/support/software.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#define POINT_MAX 133

#define MUST(good)               \
	do {                     \
		if (!(good))     \
			abort(); \
	} while (0)

static const char *group_of(enum key_curve crv)
{
	return crv == CURVE_P384 ? "P-384" : crv == CURVE_P521 ? "P-521" : crv == CURVE_P256K ? "secp256k1" : "P-256";
}

EVP_PKEY *sw_rsa(unsigned bits)
{
	EVP_PKEY *pkey = EVP_RSA_gen(bits);

	MUST(pkey != NULL);
	return pkey;
}

EVP_PKEY *sw_ec(enum key_curve crv)
{
	EVP_PKEY *pkey = EVP_EC_gen(group_of(crv));

	MUST(pkey != NULL);
	return pkey;
}

EVP_PKEY *sw_public(const struct store_version *v)
{
	bool is_rsa = v->crv == CURVE_NONE;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, is_rsa ? "RSA" : "EC", NULL);
	uint8_t n[HSM_RSA_MAX], e[8], point[POINT_MAX];
	char group[16];
	OSSL_PARAM params[3] = { OSSL_PARAM_construct_end(), OSSL_PARAM_construct_end(), OSSL_PARAM_construct_end() };
	EVP_PKEY *pkey = NULL;

	if (is_rsa) { /* OSSL_PARAM has integers in the machine's order, which is the reverse */
		for (size_t i = 0; i < v->pub_len; i++)
			n[i] = v->pub[v->pub_len - 1 - i];
		for (size_t i = 0; i < v->e_len; i++)
			e[i] = v->e[v->e_len - 1 - i];
		params[0] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n, v->pub_len);
		params[1] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e, v->e_len);
	} else {
		memcpy(point, v->pub, v->pub_len);
		memcpy(group, group_of((enum key_curve)v->crv), strlen(group_of((enum key_curve)v->crv)) + 1);
		params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
		params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, v->pub_len);
	}
	MUST(ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) == 1);
	EVP_PKEY_CTX_free(ctx);
	return pkey;
}

/* One number of a pair, as long as it is, or padded to `len`. */
static size_t number(const EVP_PKEY *pkey, const char *name, uint8_t *ret, size_t cap, size_t len)
{
	BIGNUM *bn = NULL;

	MUST(EVP_PKEY_get_bn_param(pkey, name, &bn) == 1);
	if (len == 0)
		len = (size_t)BN_num_bytes(bn);
	MUST(len <= cap && BN_bn2binpad(bn, ret, (int)len) == (int)len);
	BN_clear_free(bn);
	return len;
}

static struct secret *secret_number(const EVP_PKEY *pkey, const char *name, size_t len)
{
	uint8_t bytes[HSM_RSA_MAX];
	struct secret *s = NULL;

	len = number(pkey, name, bytes, sizeof(bytes), len);
	s = secret_from(bytes, len);
	MUST(s != NULL);
	return s;
}

void sw_version(const EVP_PKEY *pkey, enum key_type type, enum key_curve crv, struct store_version *ret)
{
	const size_t half = crv != CURVE_NONE ? key_curve_info(crv)->coordinate_len : 0;
	const uint8_t uncompressed = 0x04;

	*ret = (struct store_version){ .kty = (uint8_t)type, .crv = (uint8_t)crv, .bits = (uint16_t)EVP_PKEY_get_bits(pkey) };
	ret->pub = calloc(1, STORE_PUBLIC_MAX);
	MUST(ret->pub != NULL);
	if (crv == CURVE_NONE) {
		ret->pub_len = number(pkey, OSSL_PKEY_PARAM_RSA_N, ret->pub, STORE_PUBLIC_MAX, 0);
		ret->e_len = number(pkey, OSSL_PKEY_PARAM_RSA_E, ret->e, sizeof(ret->e), 0);
		return;
	}
	ret->pub[0] = uncompressed;
	(void)number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, ret->pub + 1, half, half);
	(void)number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, ret->pub + 1 + half, half, half);
	ret->pub_len = 1 + 2 * half;
}

void sw_jwk_link(struct sw_jwk *j)
{
	j->jwk.n = j->n;
	j->jwk.e = j->e;
	j->jwk.x = j->x;
	j->jwk.y = j->y;
	j->jwk.d = j->d;
	j->jwk.p = j->p;
	j->jwk.q = j->q;
	j->jwk.dp = j->dp;
	j->jwk.dq = j->dq;
	j->jwk.qi = j->qi;
	j->jwk.k = j->k;
}

void sw_jwk(const EVP_PKEY *pkey, enum key_type type, enum key_curve crv, struct sw_jwk *ret)
{
	const size_t half = crv != CURVE_NONE ? key_curve_info(crv)->coordinate_len : 0;

	*ret = (struct sw_jwk){ .jwk = { .type = type, .crv = crv } };
	if (crv != CURVE_NONE) {
		ret->jwk.x_len = number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, ret->x, sizeof(ret->x), half);
		ret->jwk.y_len = number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, ret->y, sizeof(ret->y), half);
		ret->d = secret_number(pkey, OSSL_PKEY_PARAM_PRIV_KEY, half);
	} else {
		ret->jwk.n_len = number(pkey, OSSL_PKEY_PARAM_RSA_N, ret->n, sizeof(ret->n), 0);
		ret->jwk.e_len = number(pkey, OSSL_PKEY_PARAM_RSA_E, ret->e, sizeof(ret->e), 0);
		ret->d = secret_number(pkey, OSSL_PKEY_PARAM_RSA_D, 0);
		ret->p = secret_number(pkey, OSSL_PKEY_PARAM_RSA_FACTOR1, 0);
		ret->q = secret_number(pkey, OSSL_PKEY_PARAM_RSA_FACTOR2, 0);
		ret->dp = secret_number(pkey, OSSL_PKEY_PARAM_RSA_EXPONENT1, 0);
		ret->dq = secret_number(pkey, OSSL_PKEY_PARAM_RSA_EXPONENT2, 0);
		ret->qi = secret_number(pkey, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, 0);
	}
	sw_jwk_link(ret);
}

void sw_jwk_oct(const uint8_t *bytes, size_t len, enum key_type type, struct sw_jwk *ret)
{
	*ret = (struct sw_jwk){ .jwk = { .type = type } };
	ret->k = secret_from(bytes, len);
	MUST(ret->k != NULL);
	sw_jwk_link(ret);
}

void sw_jwk_clear(struct sw_jwk *j)
{
	struct secret *const all[] = { j->d, j->p, j->q, j->dp, j->dq, j->qi, j->k };

	for (size_t i = 0; i < KMS_ARRAY_LEN(all); i++)
		secret_free(all[i]);
	*j = (struct sw_jwk){ 0 };
}

/* ---- signatures ---- */

static const EVP_MD *hash_of(const struct key_alg_info *alg)
{
	return alg->digest_len == 32 ? EVP_sha256() : alg->digest_len == 48 ? EVP_sha384() : alg->digest_len == 64 ? EVP_sha512() : NULL;
}

static void set_padding(EVP_PKEY_CTX *ctx, const struct key_alg_info *alg)
{
	const EVP_MD *md = hash_of(alg);

	if (alg->family != FAMILY_RSA)
		return;
	MUST(EVP_PKEY_CTX_set_rsa_padding(ctx, alg->sign == HSM_SIGN_RSA_PKCS1 ? RSA_PKCS1_PADDING : RSA_PKCS1_PSS_PADDING) == 1);
	if (md != NULL)
		MUST(EVP_PKEY_CTX_set_signature_md(ctx, md) == 1);
	if (alg->sign != HSM_SIGN_RSA_PKCS1)
		MUST(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, (int)alg->digest_len) == 1);
}

void sw_sign(EVP_PKEY *pkey, enum key_alg alg, const uint8_t *digest, size_t digest_len, uint8_t ret_signature[HSM_SIGNATURE_MAX],
             size_t *ret_len)
{
	const struct key_alg_info *info = key_alg_info(alg);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
	size_t len = HSM_SIGNATURE_MAX;

	MUST(ctx != NULL && EVP_PKEY_sign_init(ctx) == 1);
	set_padding(ctx, info);
	MUST(EVP_PKEY_sign(ctx, ret_signature, &len, digest, digest_len) == 1);
	if (info->family == FAMILY_EC) {
		const unsigned char *der = ret_signature;
		ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
		int half = (int)key_curve_info(info->crv)->coordinate_len;

		MUST(sig != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret_signature, half) == half &&
		     BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret_signature + half, half) == half);
		ECDSA_SIG_free(sig);
		len = 2 * (size_t)half;
	}
	EVP_PKEY_CTX_free(ctx);
	*ret_len = len;
}

bool sw_verify(EVP_PKEY *pkey, enum key_alg alg, const uint8_t *digest, size_t digest_len, const uint8_t *signature, size_t len)
{
	const struct key_alg_info *info = key_alg_info(alg);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
	unsigned char *der = NULL;
	bool is_valid = false;

	MUST(ctx != NULL && EVP_PKEY_verify_init(ctx) == 1);
	set_padding(ctx, info);
	if (info->family == FAMILY_EC) {
		int half = (int)len / 2, der_len = 0;
		ECDSA_SIG *sig = ECDSA_SIG_new();

		MUST(sig != NULL && ECDSA_SIG_set0(sig, BN_bin2bn(signature, half, NULL), BN_bin2bn(signature + half, half, NULL)) == 1);
		der_len = i2d_ECDSA_SIG(sig, &der);
		MUST(der_len > 0);
		is_valid = EVP_PKEY_verify(ctx, der, (size_t)der_len, digest, digest_len) == 1;
		ECDSA_SIG_free(sig);
		OPENSSL_free(der);
	} else {
		is_valid = EVP_PKEY_verify(ctx, signature, len, digest, digest_len) == 1;
	}
	ERR_clear_error();
	EVP_PKEY_CTX_free(ctx);
	return is_valid;
}

/* ---- RSA encryption ---- */

static void set_encryption(EVP_PKEY_CTX *ctx, enum key_alg alg)
{
	MUST(EVP_PKEY_CTX_set_rsa_padding(ctx, alg == ALG_RSA1_5 ? RSA_PKCS1_PADDING : RSA_PKCS1_OAEP_PADDING) == 1);
	if (alg == ALG_RSA_OAEP_256)
		MUST(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) == 1); /* MGF1 takes the same by default */
}

void sw_encrypt(EVP_PKEY *pkey, enum key_alg alg, const uint8_t *plain, size_t len, uint8_t ret_cipher[HSM_RSA_MAX], size_t *ret_len)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);

	*ret_len = HSM_RSA_MAX;
	MUST(ctx != NULL && EVP_PKEY_encrypt_init(ctx) == 1);
	set_encryption(ctx, alg);
	MUST(EVP_PKEY_encrypt(ctx, ret_cipher, ret_len, plain, len) == 1);
	EVP_PKEY_CTX_free(ctx);
}

bool sw_decrypt(EVP_PKEY *pkey, enum key_alg alg, const uint8_t *cipher, size_t len, uint8_t ret_plain[HSM_RSA_MAX], size_t *ret_len)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
	bool is_good = false;

	*ret_len = HSM_RSA_MAX;
	MUST(ctx != NULL && EVP_PKEY_decrypt_init(ctx) == 1);
	set_encryption(ctx, alg);
	is_good = EVP_PKEY_decrypt(ctx, ret_plain, ret_len, cipher, len) == 1;
	ERR_clear_error();
	EVP_PKEY_CTX_free(ctx);
	return is_good;
}

/* ---- AES ---- */

bool sw_aes(const char *cipher, bool encrypt, bool pad, const uint8_t *key, const uint8_t *iv, const uint8_t *aad, size_t aad_len,
            const uint8_t *in, size_t len, uint8_t tag[HSM_GCM_TAG_LEN], uint8_t *ret_out, size_t *ret_len)
{
	EVP_CIPHER *how = EVP_CIPHER_fetch(NULL, cipher, NULL);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0, last = 0;
	bool is_good = false;

	MUST(how != NULL && ctx != NULL);
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	MUST(EVP_CipherInit_ex2(ctx, how, key, iv, encrypt, NULL) == 1 && EVP_CIPHER_CTX_set_padding(ctx, pad) == 1);
	if (tag != NULL && !encrypt)
		MUST(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, HSM_GCM_TAG_LEN, tag) == 1);
	if (aad_len > 0)
		MUST(EVP_CipherUpdate(ctx, NULL, &n, aad, (int)aad_len) == 1);
	is_good = EVP_CipherUpdate(ctx, ret_out, &n, in, (int)len) == 1 && EVP_CipherFinal_ex(ctx, ret_out + n, &last) == 1;
	if (is_good && tag != NULL && encrypt)
		MUST(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, HSM_GCM_TAG_LEN, tag) == 1);
	ERR_clear_error();
	EVP_CIPHER_CTX_free(ctx);
	EVP_CIPHER_free(how);
	*ret_len = (size_t)(n + last);
	return is_good;
}
