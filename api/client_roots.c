/* api/client_roots.c - see client_roots.h. What is refused here would fail later, at night, as 401 for every key of a pool or service. */
#include "api/client_roots.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/client_cert.h"
#include "server/base/encode.h"

#define PEM_MARK "-----BEGIN "
#define RSA_BITS_MIN 2048
#define CURVE_BITS_MIN 256

void client_roots_clear(struct client_roots *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->roots[i].der);
	*r = (struct client_roots){ 0 };
}

static kms_status refuse(const X509 *cert, const char *why, struct kms_err *err)
{
	char subject[CLIENT_ROOT_NAME_MAX + 1];

	client_cert_subject(cert, subject, sizeof(subject));
	ERR_clear_error();
	return kms_refuse(err, KMS_E_INVALID, "roots: %s: %s.", subject, why);
}

static kms_status no_memory(struct kms_err *err)
{
	ERR_clear_error();
	return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, 0, "roots of a pool");
}

static bool is_strong(EVP_PKEY *key)
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA: return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN;
	case EVP_PKEY_EC: return EVP_PKEY_get_bits(key) >= CURVE_BITS_MIN;
	default: return false;
	}
}

static kms_status check_root(X509 *cert, int64_t now_s, struct kms_err *err)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	time_t now = (time_t)now_s;

	if (key == NULL || !is_strong(key))
		return refuse(cert, "its key must be RSA of at least 2048 bits or on a curve of at least 256", err);
	/* 1: by basicConstraints; other answers are kinds of guessing. */
	if (X509_check_ca(cert) != 1)
		return refuse(cert, "is not the certificate of a CA", err);
	if (X509_check_issued(cert, cert) != X509_V_OK || X509_verify(cert, key) != 1)
		return refuse(cert, "is not self-signed; register the root, the certificates below it come with each connection", err);
	if (X509_cmp_time(X509_get0_notAfter(cert), &now) <= 0)
		return refuse(cert, "has expired", err);
	return KMS_OK;
}

static bool is_there(const struct client_roots *roots, const uint8_t *der, size_t len)
{
	for (size_t i = 0; i < roots->count; i++)
		if (roots->roots[i].der_len == len && memcmp(roots->roots[i].der, der, len) == 0)
			return true;
	return false;
}

static kms_status add_cert(struct client_roots *roots, X509 *cert, int64_t now_s, struct kms_err *err)
{
	unsigned char *der = NULL;
	int len = 0;

	KMS_TRY(check_root(cert, now_s, err));
	len = i2d_X509(cert, NULL);
	if (len <= 0 || len > STORE_ROOT_MAX)
		return kms_refuse(err, KMS_E_INVALID, "roots: a certificate has at most %d bytes.", STORE_ROOT_MAX);
	der = malloc((size_t)len);
	if (der == NULL)
		return no_memory(err);
	unsigned char *p = der;
	(void)i2d_X509(cert, &p);
	if (is_there(roots, der, (size_t)len)) {
		free(der);
		return KMS_OK;
	}
	if (roots->count == STORE_ROOTS_MAX) {
		free(der);
		return kms_refuse(err, KMS_E_INVALID, "roots: at most %d certificates.", STORE_ROOTS_MAX);
	}
	roots->roots[roots->count++] = (struct store_root){ .der = der, .der_len = (size_t)len };
	return KMS_OK;
}

/* A certificate is no secret: what claims to be encrypted is not read, and nobody is asked for a pass phrase (without this, OpenSSL asks the terminal). */
static int no_pass_phrase(char *ret, int cap, int is_writing, void *arg)
{
	(void)ret;
	(void)cap;
	(void)is_writing;
	(void)arg;
	return -1;
}

static kms_status add_pem(struct client_roots *roots, const char *text, int64_t now_s, struct kms_err *err)
{
	BIO *in = BIO_new_mem_buf(text, -1);
	size_t found = 0;
	kms_status status = in != NULL ? KMS_OK : no_memory(err);

	while (status == KMS_OK) {
		X509 *cert = PEM_read_bio_X509(in, NULL, no_pass_phrase, NULL);
		if (cert == NULL)
			break;
		found++;
		status = add_cert(roots, cert, now_s, err);
		X509_free(cert);
	}
	/* The end of the text is the one error that is none. */
	if (status == KMS_OK && (found == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE))
		status = kms_refuse(err, KMS_E_INVALID, "roots: the PEM text has a certificate that cannot be read, or none.");
	BIO_free(in);
	ERR_clear_error();
	return status;
}

static kms_status add_base64(struct client_roots *roots, const char *text, int64_t now_s, struct kms_err *err)
{
	size_t len = strlen(text), der_len = 0;
	uint8_t *der = malloc(len + 1);
	char *copy = strdup(text);
	X509 *cert = NULL;
	kms_status status = KMS_OK;

	if (der == NULL || copy == NULL) {
		free(der);
		free(copy);
		return no_memory(err);
	}
	for (char *c = copy; *c != '\0'; c++) /* the other alphabet of RFC 4648, so that one decoder serves both */
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	if (b64url_decode(copy, len, der, len + 1, &der_len))
		cert = client_cert_parse(der, der_len);
	status = cert != NULL ? add_cert(roots, cert, now_s, err)
	                      : kms_refuse(err, KMS_E_INVALID, "roots: must be certificates, in PEM or in base64 of DER.");
	X509_free(cert);
	free(der);
	free(copy);
	ERR_clear_error();
	return status;
}

kms_status client_roots_add(struct client_roots *roots, const char *text, int64_t now_s, struct kms_err *err)
{
	return strstr(text, PEM_MARK) != NULL ? add_pem(roots, text, now_s, err) : add_base64(roots, text, now_s, err);
}

bool client_root_describe(const struct store_root *root, struct client_root_info *ret)
{
	X509 *cert = client_cert_parse(root->der, root->der_len);
	uint8_t hash[SHA256_DIGEST_LENGTH];
	bool good = cert != NULL && client_cert_time(X509_get0_notAfter(cert), &ret->expires_s);

	if (good) {
		client_cert_subject(cert, ret->subject, sizeof(ret->subject));
		SHA256(root->der, root->der_len, hash);
		hex_encode(hash, sizeof(hash), ret->sha256);
	}
	X509_free(cert);
	ERR_clear_error();
	return good;
}
