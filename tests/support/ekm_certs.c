/* tests/support/ekm_certs.c - see ekm_certs.h. */
#include "tests/support/ekm_certs.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#define DAY ((int64_t)86400)
#define SERIAL_LEN 8

static void must(bool good)
{
	if (!good)
		abort();
}

static EVP_PKEY *make_key(const struct t_cert_spec *spec)
{
	EVP_PKEY *key = spec->rsa_bits != 0 ? EVP_RSA_gen(spec->rsa_bits) : EVP_EC_gen(spec->curve != NULL ? spec->curve : "P-256");
	must(key != NULL);
	return key;
}

static void add_name(X509_NAME *name, const struct t_cert_spec *spec)
{
	int type = spec->cn_type != 0 ? spec->cn_type : MBSTRING_UTF8;

	must(X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8, (const unsigned char *)"Test", -1, -1, 0) == 1);
	if (spec->cn != NULL)
		must(X509_NAME_add_entry_by_NID(name, NID_commonName, type, (const unsigned char *)spec->cn, spec->cn_len != 0 ? spec->cn_len : -1, -1, 0) == 1);
	if (spec->second_cn != NULL)
		must(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)spec->second_cn, -1, -1, 0) == 1);
}

static void add_extension(X509 *x, int nid, const char *value)
{
	X509V3_CTX ctx = { 0 };
	X509_EXTENSION *e = NULL;

	if (value == NULL)
		return;
	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	must(e != NULL && X509_add_ext(x, e, -1) == 1);
	X509_EXTENSION_free(e);
}

void t_cert_make(const struct t_cert_spec *spec, struct t_cert *ret)
{
	X509 *x = X509_new();
	EVP_PKEY *key = make_key(spec);
	unsigned char serial[SERIAL_LEN];
	BIGNUM *number = NULL;
	unsigned char *p = NULL;
	int len = 0;

	must(x != NULL && RAND_bytes(serial, sizeof(serial)) == 1);
	serial[0] &= 0x7f;
	number = BN_bin2bn(serial, sizeof(serial), NULL);
	must(number != NULL && X509_set_version(x, X509_VERSION_3) == 1 && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) != NULL);
	BN_free(number);
	add_name(X509_get_subject_name(x), spec);
	must(X509_set_issuer_name(x, X509_get_subject_name(spec->issuer != NULL ? spec->issuer->x509 : x)) == 1 && X509_set_pubkey(x, key) == 1);
	must(ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(spec->from_s != 0 ? spec->from_s : T_CERT_NOW_S - DAY)) != NULL);
	must(ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(spec->to_s != 0 ? spec->to_s : T_CERT_NOW_S + 365 * DAY)) != NULL);
	add_extension(x, NID_basic_constraints, spec->basic_constraints);
	add_extension(x, NID_ext_key_usage, spec->usage);
	must(X509_sign(x, spec->issuer != NULL ? spec->issuer->key : key, EVP_get_digestbyname(spec->digest != NULL ? spec->digest : "SHA256")) > 0);
	len = i2d_X509(x, NULL);
	must(len > 0);
	*ret = (struct t_cert){ .x509 = x, .key = key, .der = malloc((size_t)len), .der_len = (size_t)len };
	must(ret->der != NULL);
	p = ret->der;
	(void)i2d_X509(x, &p);
}

void t_cert_clear(struct t_cert *c)
{
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	free(c->der);
	*c = (struct t_cert){ 0 };
}

void t_cert_root(const char *cn, struct t_cert *ret)
{
	t_cert_make(&(struct t_cert_spec){ .cn = cn, .basic_constraints = "critical,CA:TRUE" }, ret);
}

char *t_cert_pem(const struct t_cert *const *certs, size_t count)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *data = NULL, *text = NULL;

	must(out != NULL);
	for (size_t i = 0; i < count; i++)
		must(PEM_write_bio_X509(out, certs[i]->x509) == 1);
	long len = BIO_get_mem_data(out, &data);
	text = strndup(data, (size_t)len);
	must(text != NULL);
	BIO_free(out);
	return text;
}
