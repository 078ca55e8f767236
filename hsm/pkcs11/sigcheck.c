/* hsm/pkcs11/sigcheck.c - see sigcheck.h. */
#include "hsm/pkcs11/sigcheck.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "hsm/pkcs11/curve.h"
#include "hsm/pkcs11/gate.h"

static void free_ctx(EVP_PKEY_CTX **ctx) { EVP_PKEY_CTX_free(*ctx); }
static void free_md(EVP_MD_CTX **ctx) { EVP_MD_CTX_free(*ctx); }
static void free_sig(ECDSA_SIG **sig) { ECDSA_SIG_free(*sig); }
static void free_bn(BIGNUM **bn) { BN_free(*bn); }
static void free_bnctx(BN_CTX **ctx) { BN_CTX_free(*ctx); }
static void free_group(EC_GROUP **group) { EC_GROUP_free(*group); }
static void free_point(EC_POINT **point) { EC_POINT_free(*point); }
static void free_der(unsigned char **der) { OPENSSL_free(*der); }
#define CTX_AUTO __attribute__((cleanup(free_ctx))) EVP_PKEY_CTX
#define MD_AUTO __attribute__((cleanup(free_md))) EVP_MD_CTX
#define SIG_AUTO __attribute__((cleanup(free_sig))) ECDSA_SIG
#define BN_AUTO __attribute__((cleanup(free_bn))) BIGNUM
#define BNCTX_AUTO __attribute__((cleanup(free_bnctx))) BN_CTX
#define GROUP_AUTO __attribute__((cleanup(free_group))) EC_GROUP
#define POINT_AUTO __attribute__((cleanup(free_point))) EC_POINT
#define DER_AUTO __attribute__((cleanup(free_der))) unsigned char

static EVP_PKEY *ecdsa_key(const struct p11_curve *curve, const struct hsm_public *pub)
{
	EVP_PKEY *key = NULL;
	CTX_AUTO *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, p11_in(curve->group), 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, p11_in(pub->point), pub->point_len),
		OSSL_PARAM_construct_end(),
	};

	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	return key;
}

EVP_PKEY *sigcheck_key(enum hsm_kind kind, const struct hsm_public *pub)
{
	const struct p11_curve *curve = p11_curve(kind);
	EVP_PKEY *key = NULL;

	if (curve != NULL)
		key = curve->group != NULL ? ecdsa_key(curve, pub) : EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pub->point, pub->point_len);
	if (key == NULL)
		ERR_clear_error();
	return key;
}

static bool ecdsa_verify(EVP_PKEY *key, size_t coordinate, const uint8_t *digest, size_t digest_len, const uint8_t *signature)
{
	BN_AUTO *r = BN_bin2bn(signature, (int)coordinate, NULL);
	BN_AUTO *s = BN_bin2bn(signature + coordinate, (int)coordinate, NULL);
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
	const struct p11_curve *curve = p11_curve(kind);
	bool is_good = false;

	if (key == NULL || curve == NULL)
		return false;
	if (curve->group != NULL) {
		is_good = ecdsa_verify(key, curve->coordinate, input, input_len, signature);
	} else {
		MD_AUTO *ctx = EVP_MD_CTX_new();

		is_good = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
		          EVP_DigestVerify(ctx, signature, 2 * curve->coordinate, input, input_len) == 1;
	}
	if (!is_good)
		ERR_clear_error();
	return is_good;
}

/* Q = r^-1 (s R - e G) for the R with this x and this parity of y; false when there is no such R, or OpenSSL fails. */
static bool candidate(const EC_GROUP *group, const BIGNUM *x, int y_bit, const BIGNUM *r, const BIGNUM *s, const BIGNUM *e, BN_CTX *ctx,
                      EC_POINT *ret_q)
{
	const BIGNUM *n = EC_GROUP_get0_order(group);
	POINT_AUTO *point = EC_POINT_new(group);
	BN_AUTO *inverse = BN_mod_inverse(NULL, r, n, ctx);
	BN_AUTO *u1 = BN_new();
	BN_AUTO *u2 = BN_new();

	return point != NULL && inverse != NULL && u1 != NULL && u2 != NULL && BN_mod_mul(u2, s, inverse, n, ctx) == 1 &&
	       BN_mod_mul(u1, e, inverse, n, ctx) == 1 && BN_mod_sub(u1, n, u1, n, ctx) == 1 &&
	       EC_POINT_set_compressed_coordinates(group, point, x, y_bit, ctx) == 1 && EC_POINT_mul(group, ret_q, u1, point, u2, ctx) == 1 &&
	       EC_POINT_is_at_infinity(group, ret_q) == 0;
}

static bool is_signer_of(enum hsm_kind kind, const struct hsm_public *pub, const struct sigcheck_signed *s)
{
	EVP_PKEY *key = sigcheck_key(kind, pub);
	bool is_it = sigcheck_verify(key, kind, s->digest, s->digest_len, s->signature);

	EVP_PKEY_free(key);
	return is_it;
}

bool sigcheck_recover(enum hsm_kind kind, const struct sigcheck_signed signed_by[2], struct hsm_public *ret_public)
{
	const struct p11_curve *curve = p11_curve(kind);
	const size_t len = curve != NULL ? curve->coordinate : 0;
	GROUP_AUTO *group = len != 0 && curve->group != NULL ? EC_GROUP_new_by_curve_name(OBJ_sn2nid(curve->group)) : NULL;
	POINT_AUTO *q = group != NULL ? EC_POINT_new(group) : NULL;
	BN_AUTO *r = BN_bin2bn(signed_by[0].signature, (int)len, NULL);
	BN_AUTO *s = BN_bin2bn(signed_by[0].signature + len, (int)len, NULL);
	BN_AUTO *e = BN_bin2bn(signed_by[0].digest, (int)signed_by[0].digest_len, NULL); /* no digest is longer than its curve's order */
	BN_AUTO *x = BN_new();
	BNCTX_AUTO *ctx = BN_CTX_new();
	bool is_found = false;

	if (q == NULL || r == NULL || s == NULL || e == NULL || x == NULL || ctx == NULL || BN_copy(x, r) == NULL)
		return false;
	/* The cofactors are 1, so x is r or r + n; each with both points. The second signature tells the right one of the four. */
	for (int add = 0; add < 2 && !is_found; add++) {
		for (int y_bit = 0; y_bit < 2 && !is_found; y_bit++) {
			struct hsm_public pub = { 0 };

			if (!candidate(group, x, y_bit, r, s, e, ctx, q))
				continue;
			pub.point_len = EC_POINT_point2oct(group, q, POINT_CONVERSION_UNCOMPRESSED, pub.point, sizeof(pub.point), ctx);
			is_found = pub.point_len == curve->point_len && is_signer_of(kind, &pub, &signed_by[0]) &&
			           is_signer_of(kind, &pub, &signed_by[1]);
			if (is_found)
				*ret_public = pub;
		}
		if (BN_add(x, x, EC_GROUP_get0_order(group)) != 1)
			break;
	}
	ERR_clear_error();
	return is_found;
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

static EVP_PKEY *rsa_key(const struct hsm_public *pub)
{
	BN_AUTO *n = BN_bin2bn(pub->n, (int)pub->n_len, NULL);
	BN_AUTO *e = BN_bin2bn(pub->e, (int)pub->e_len, NULL);
	CTX_AUTO *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;

	if (n != NULL && e != NULL && build != NULL && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		params = OSSL_PARAM_BLD_to_param(build);
	if (ctx == NULL || params == NULL || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	return key;
}

static bool set_padding(EVP_PKEY_CTX *ctx, enum hsm_sign_alg alg)
{
	const EVP_MD *md = alg == HSM_SIGN_PSS_SHA256 ? EVP_sha256() : alg == HSM_SIGN_PSS_SHA384 ? EVP_sha384() : EVP_sha512();

	if (alg == HSM_SIGN_RSA_PKCS1)
		return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
	return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 && EVP_PKEY_CTX_set_signature_md(ctx, md) == 1 &&
	       EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) == 1 && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

bool sigcheck_rsa(const struct hsm_public *pub, enum hsm_sign_alg alg, const uint8_t *input, size_t input_len, const uint8_t *signature)
{
	EVP_PKEY *key = rsa_key(pub);
	CTX_AUTO *ctx = key != NULL ? EVP_PKEY_CTX_new(key, NULL) : NULL;
	const bool is_good = ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 && set_padding(ctx, alg) &&
	                     EVP_PKEY_verify(ctx, signature, pub->n_len, input, input_len) == 1;

	EVP_PKEY_free(key);
	ERR_clear_error();
	return is_good;
}

bool sigcheck_seal(const struct hsm_public *pub, const struct secret *plain, uint8_t *ret_cipher)
{
	EVP_PKEY *key = rsa_key(pub);
	CTX_AUTO *ctx = key != NULL ? EVP_PKEY_CTX_new(key, NULL) : NULL;
	size_t len = pub->n_len;
	const bool is_done = ctx != NULL && EVP_PKEY_encrypt_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
	                     EVP_PKEY_encrypt(ctx, ret_cipher, &len, secret_data(plain), secret_len(plain)) == 1 && len == pub->n_len;

	EVP_PKEY_free(key);
	ERR_clear_error();
	return is_done;
}

bool sigcheck_wrap(const struct secret *kek, const uint8_t *plain, size_t len, uint8_t *ret_wrapped, size_t *ret_len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int written = 0;
	bool is_done;

	if (ctx != NULL)
		EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	is_done = ctx != NULL && EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, secret_data(kek), NULL) == 1 &&
	          EVP_EncryptUpdate(ctx, ret_wrapped, &written, plain, (int)len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	*ret_len = (size_t)written;
	ERR_clear_error();
	return is_done;
}
