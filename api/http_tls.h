/*
 * api/http_tls.h - the server certificate of a listener and its live replacement. A pair is kept for as long as a connection that met it
 * lives, because GnuTLS does not copy what the certificate callback hands it. No system trust and no key URLs: both would make GnuTLS load
 * PKCS#11 modules beside ours.
 */
#ifndef HOLDFAST_API_HTTP_TLS_H
#define HOLDFAST_API_HTTP_TLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

#include "server/base/err.h"

/* TLS 1.3, and of TLS 1.2 only forward-secret AEAD suites; without tickets, and the library never renegotiates. */
extern const char HTTP_TLS_PRIORITIES[];

struct tls_pair;
struct tls_store;

/** Read certificate chain and key (PEM files). @return KMS_OK | KMS_E_INVALID (message names the file) | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status tls_store_open(const char *cert_file, const char *key_file, struct tls_store **ret_store, struct kms_err *err);
/** Read them again; the old pair stays in use when that fails. Thread-safe. */
KMS_MUST_CHECK kms_status tls_store_reload(struct tls_store *store, struct kms_err *err);
/** Accepts NULL. Pairs that are still acquired live on. */
void tls_store_free(struct tls_store *store);

/** The pair in use now; give it back with tls_pair_release(). Thread-safe. */
struct tls_pair *tls_store_acquire(struct tls_store *store);
void tls_pair_release(struct tls_pair *pair); /* accepts NULL */
/** What a certificate callback answers; borrowed from the pair. */
void tls_pair_get(struct tls_pair *pair, gnutls_pcert_st **ret_chain, unsigned *ret_chain_len, gnutls_privkey_t *ret_key);

/** "1.3", "1.2" */
const char *tls_version_text(gnutls_session_t session);

#endif
