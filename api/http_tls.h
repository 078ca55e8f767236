/*
 * api/http_tls.h - TLS of a listener: the server certificate and its live replacement, what sessions may negotiate, who the client is. A pair
 * is kept for as long as a connection that met it lives, because GnuTLS does not copy what the certificate callback hands it. No system trust
 * and no key URLs: both would make GnuTLS load PKCS#11 modules beside ours.
 */
#ifndef HOLDFAST_API_HTTP_TLS_H
#define HOLDFAST_API_HTTP_TLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

#include "api/http.h"
#include "server/base/err.h"

/* TLS 1.3, and of TLS 1.2 only forward-secret AEAD suites; without tickets, and the library never renegotiates. */
extern const char HTTP_TLS_PRIORITIES[];

struct tls_pair;
struct tls_store;

/** Read certificate chain and key (PEM files); keep what else the configuration says of TLS, and make the key of its tickets. Tickets of an
 * earlier store are worth nothing to this one. @return KMS_OK | KMS_E_INVALID (message names the file) | KMS_E_NOMEM | KMS_E_INTERNAL */
KMS_MUST_CHECK kms_status tls_store_open(const struct http_config *cfg, struct tls_store **ret_store, struct kms_err *err);
/** Read them again; the old pair stays in use when that fails. Thread-safe. */
KMS_MUST_CHECK kms_status tls_store_reload(struct tls_store *store, struct kms_err *err);
/** Accepts NULL. Pairs that are still acquired live on. */
void tls_store_free(struct tls_store *store);

/** Priority string of GnuTLS: HTTP_TLS_PRIORITIES, or what is left of it on a listener for TLS 1.3 only. */
const char *tls_store_priorities(const struct tls_store *store);
/** Ask a new session for the client's certificate and let it resume, if the listener is one that does. Before its handshake. */
void tls_store_prepare(const struct tls_store *store, gnutls_session_t session);

/**
 * The client's certificates, as they came in the handshake or lay in the ticket. Copied: the library's memory ends with the connection.
 * @param ret_chain,ret_count  leaf first; count 0 when there is none, and when it is longer than a request holds: no part of a chain is shown
 * @param ret_der  what ret_chain points into, to be freed after it; NULL when the count is 0
 * @return false: no memory
 */
bool tls_store_client_chain(const struct tls_store *store, gnutls_session_t session, struct http_cert ret_chain[HTTP_CLIENT_CHAIN_MAX],
                            size_t *ret_count, uint8_t **ret_der);

/** The pair in use now; give it back with tls_pair_release(). Thread-safe. */
struct tls_pair *tls_store_acquire(struct tls_store *store);
void tls_pair_release(struct tls_pair *pair); /* accepts NULL */
/** What a certificate callback answers; borrowed from the pair. */
void tls_pair_get(struct tls_pair *pair, gnutls_pcert_st **ret_chain, unsigned *ret_chain_len, gnutls_privkey_t *ret_key);

/** "1.3", "1.2" */
const char *tls_version_text(gnutls_session_t session);

#endif
