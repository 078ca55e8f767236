/* server/core/attestation_cert.c - the attestation key's self-signed certificate (RFC 5280), built with OpenSSL and signed in the device. */
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "server/core/attestation.h"

#define COMMON_NAME "Holdfast attestation"
#define ORGANISATION_MAX 64          /* ub-organization-name, RFC 5280 appendix A.1: a longer domain is cut */
#define NO_END "99991231235959Z"     /* RFC 5280 section 4.1.2.5: no well-defined end */
#define COORDINATE 32
#define SIGNATURE_DER_MAX 80

static kms_status failed(struct kms_err *err, const char *what)
{
	return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, ERR_get_error(), "attestation certificate: %s", what);
}

static void pkey_free_at(EVP_PKEY **p) { EVP_PKEY_free(*p); }
static void x509_free_at(X509 **p) { X509_free(*p); }
static void bio_free_at(BIO **p) { BIO_free_all(*p); }
static void sig_free_at(ECDSA_SIG **p) { ECDSA_SIG_free(*p); }

static EVP_PKEY *public_key(const struct hsm_public *pub)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char[]){ "prime256v1" }, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (uint8_t *)(uintptr_t)pub->point, pub->point_len),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;
	bool good = ctx != NULL && EVP_PKEY_fromdata_init(ctx) > 0 && EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) > 0;

	EVP_PKEY_CTX_free(ctx);
	return good ? key : NULL;
}

static bool add_extension(X509 *x, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext = NULL;
	bool good = false;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	good = ext != NULL && X509_add_ext(x, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return good;
}

/* The key's id as serial number: unique, and the same at every start. */
static bool set_serial(X509 *x, const uint8_t id[HSM_ID_LEN])
{
	BIGNUM *n = BN_bin2bn(id, HSM_ID_LEN, NULL);
	bool good = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;

	BN_free(n);
	return good;
}

static bool set_name(X509 *x, const char *domain)
{
	X509_NAME *name = X509_get_subject_name(x);
	char organisation[ORGANISATION_MAX + 1];

	(void)snprintf(organisation, sizeof(organisation), "%s", domain);
	return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)organisation, -1, -1, 0) == 1 &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)COMMON_NAME, -1, -1, 0) == 1 &&
	       X509_set_issuer_name(x, name) == 1;
}

/* Everything but the signature. */
static kms_status fill(X509 *x, const struct installation *inst, const char *domain, EVP_PKEY *key, struct kms_err *err)
{
	if (X509_set_version(x, X509_VERSION_3) != 1 || !set_serial(x, inst->attestation_key) || !set_name(x, domain) ||
	    X509_set_pubkey(x, key) != 1)
		return failed(err, "fields");
	if (ASN1_TIME_set(X509_getm_notBefore(x), (time_t)inst->created_s) == NULL ||
	    ASN1_TIME_set_string_X509(X509_getm_notAfter(x), NO_END) != 1)
		return failed(err, "validity");
	if (!add_extension(x, NID_basic_constraints, "critical,CA:FALSE") || !add_extension(x, NID_key_usage, "critical,digitalSignature") ||
	    !add_extension(x, NID_subject_key_identifier, "hash"))
		return failed(err, "extensions");
	return KMS_OK;
}

/* r || s of the device as the certificate wants it. */
static kms_status encode_signature(const uint8_t *raw, uint8_t ret_der[SIGNATURE_DER_MAX], int *ret_len, struct kms_err *err)
{
	__attribute__((cleanup(sig_free_at))) ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw, COORDINATE, NULL), *s = BN_bin2bn(raw + COORDINATE, COORDINATE, NULL);
	uint8_t *at = ret_der;

	if (sig == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1) {
		BN_free(r);
		BN_free(s);
		return failed(err, "signature");
	}
	if (i2d_ECDSA_SIG(sig, NULL) > SIGNATURE_DER_MAX || (*ret_len = i2d_ECDSA_SIG(sig, &at)) <= 0)
		return failed(err, "signature");
	return KMS_OK;
}

static kms_status sign_in_device(struct hsm *hsm, const struct installation *inst, X509 *x, struct kms_err *err)
{
	struct hsm_key key = { .purpose = HSM_FOR_ATTESTATION, .kind = HSM_KIND_P256 };
	const ASN1_BIT_STRING *shown_signature = NULL;
	const X509_ALGOR *shown_alg = NULL;
	uint8_t hash[SHA256_DIGEST_LENGTH], raw[HSM_SIGNATURE_MAX], der[SIGNATURE_DER_MAX];
	uint8_t *tbs = NULL;
	size_t raw_len = 0;
	int tbs_len = 0, der_len = 0;

	/* OpenSSL shows these as const, and has no other way to enter a signature that it did not make. */
	X509_get0_signature(&shown_signature, &shown_alg, x);
	ASN1_BIT_STRING *signature = (ASN1_BIT_STRING *)(uintptr_t)shown_signature;
	X509_ALGOR *outer = (X509_ALGOR *)(uintptr_t)shown_alg, *inner = (X509_ALGOR *)(uintptr_t)X509_get0_tbs_sigalg(x);

	if (X509_ALGOR_set0(inner, OBJ_nid2obj(NID_ecdsa_with_SHA256), V_ASN1_UNDEF, NULL) != 1 ||
	    X509_ALGOR_set0(outer, OBJ_nid2obj(NID_ecdsa_with_SHA256), V_ASN1_UNDEF, NULL) != 1)
		return failed(err, "algorithm");
	tbs_len = i2d_re_X509_tbs(x, &tbs);
	if (tbs_len <= 0)
		return failed(err, "encoding");
	SHA256(tbs, (size_t)tbs_len, hash);
	OPENSSL_free(tbs);
	memcpy(key.id, inst->attestation_key, HSM_ID_LEN);
	KMS_TRY(hsm_sign(hsm, &key, HSM_SIGN_ECDSA, hash, sizeof(hash), raw, &raw_len, err));
	if (raw_len != (size_t)2 * COORDINATE)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a signature of %zu bytes", raw_len);
	KMS_TRY(encode_signature(raw, der, &der_len, err));
	if (ASN1_STRING_set(signature, der, der_len) != 1)
		return failed(err, "signature");
	signature->flags &= ~(ASN1_STRING_FLAG_BITS_LEFT | 0x07); /* no unused bits */
	signature->flags |= ASN1_STRING_FLAG_BITS_LEFT;
	return KMS_OK;
}

kms_status attestation_certificate(struct hsm *hsm, const struct installation *inst, const char *domain, char *ret_pem, struct kms_err *err)
{
	__attribute__((cleanup(pkey_free_at))) EVP_PKEY *key = public_key(&inst->attestation_public);
	__attribute__((cleanup(x509_free_at))) X509 *x = X509_new();
	__attribute__((cleanup(bio_free_at))) BIO *out = BIO_new(BIO_s_mem());
	int len = 0;

	if (key == NULL || x == NULL || out == NULL)
		return failed(err, "key");
	KMS_TRY(fill(x, inst, domain, key, err));
	KMS_TRY(sign_in_device(hsm, inst, x, err));
	if (PEM_write_bio_X509(out, x) != 1 || (len = BIO_read(out, ret_pem, ATTESTATION_CERT_MAX - 1)) <= 0 || BIO_pending(out) != 0)
		return failed(err, "text");
	ret_pem[len] = '\0';
	return KMS_OK;
}
