/* tests/support/ekm_certs.h - certificates of every sort, good and bad, made with OpenSSL in memory. */
#ifndef HOLDFAST_TESTS_SUPPORT_EKM_CERTS_H
#define HOLDFAST_TESTS_SUPPORT_EKM_CERTS_H

#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdint.h>

/* Zeroed = empty. */
struct t_cert {
	X509 *x509;
	EVP_PKEY *key;
	uint8_t *der;
	size_t der_len;
};

/* What is left zero is as usual: P-256, SHA-256, valid from a day before NOW to a year after it. */
struct t_cert_spec {
	const char *cn, *second_cn;    /* NULL = none */
	int cn_type;                   /* MBSTRING_UTF8 by default; MBSTRING_BMP takes `cn` as UTF-16BE of cn_len bytes */
	int cn_len;
	const struct t_cert *issuer;   /* NULL = self-signed */
	const char *basic_constraints; /* "CA:TRUE"; NULL = no such extension */
	const char *usage;             /* extended key usage, "clientAuth"; NULL = no such extension */
	int64_t from_s, to_s;          /* seconds since 1970 */
	unsigned rsa_bits;             /* RSA instead of the curve */
	const char *curve;
	const char *digest;
};

#define T_CERT_NOW_S ((int64_t)1800000000)

/** Make it, or abort. Release with t_cert_clear(). */
void t_cert_make(const struct t_cert_spec *spec, struct t_cert *ret);
void t_cert_clear(struct t_cert *c);
/** A root with this common name. */
void t_cert_root(const char *cn, struct t_cert *ret);
/** PEM of `count` certificates, malloc()ed. */
char *t_cert_pem(const struct t_cert *const *certs, size_t count);

#endif
