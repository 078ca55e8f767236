/* api/client_cert.h - reading X.509 certificates that others made: clients' and their roots. */
#ifndef HOLDFAST_API_CLIENT_CERT_H
#define HOLDFAST_API_CLIENT_CERT_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** One certificate in DER, with nothing behind it; NULL otherwise. The caller frees it, and clears OpenSSL's errors. */
X509 *client_cert_parse(const uint8_t *der, size_t len);
/** The whole subject as one line of printable ASCII (RFC 2253 with its escapes), cut to `cap`. */
void client_cert_subject(const X509 *cert, char *ret_text, size_t cap);
/** Seconds since 1970. False when it is no time. */
bool client_cert_time(const ASN1_TIME *t, int64_t *ret_s);

#endif
