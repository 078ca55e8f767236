/* api/client_cert.c - see client_cert.h. */
#include "api/client_cert.h"

#include <openssl/bio.h>
#include <time.h>

X509 *client_cert_parse(const uint8_t *der, size_t len)
{
	const uint8_t *p = der;
	X509 *cert = len <= INT32_MAX ? d2i_X509(NULL, &p, (long)len) : NULL;

	if (cert != NULL && p != der + len) { /* something behind it */
		X509_free(cert);
		cert = NULL;
	}
	return cert;
}

void client_cert_subject(const X509 *cert, char *ret_text, size_t cap)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *text = NULL;
	size_t len = 0, n = 0;

	if (out != NULL && X509_NAME_print_ex(out, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253 & ~XN_FLAG_DN_REV) >= 0)
		len = (size_t)BIO_get_mem_data(out, &text);
	for (; n < len && n + 1 < cap; n++)
		ret_text[n] = (char)(text[n] >= ' ' && text[n] <= '~' ? text[n] : '?');
	ret_text[n] = '\0';
	BIO_free(out);
}

bool client_cert_time(const ASN1_TIME *t, int64_t *ret_s)
{
	struct tm tm = { 0 };

	if (ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*ret_s = timegm(&tm);
	return true;
}
