/* tests/ekm-tester/tls.c - client certificates and TLS connections. The proxy's certificate is looked at by a check of its own, so a wrong
 * one does not hide everything else. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/ekm-tester/wire_private.h"

#define SOCKET_WAIT_S 5
#define CERT_DAY_S 86400L

static const unsigned char ALPN_HTTP1[] = "\x08http/1.1";
static const unsigned char ALPN_BOTH[] = "\x02h2\x08http/1.1";

void wire_explain(char why[WHY_MAX], const char *what)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

	(void)snprintf(why, WHY_MAX, "%s%s%s", what, reason != NULL ? ": " : "", reason != NULL ? reason : "");
	ERR_clear_error();
}

bool identity_load(const char *cert_file, const char *key_file, struct identity *ret, char why[WHY_MAX])
{
	struct identity id = { 0 };
	FILE *file = fopen(cert_file, "re");

	if (file == NULL) {
		(void)snprintf(why, WHY_MAX, "%s: %m", cert_file);
		return false;
	}
	id.cert = PEM_read_X509(file, NULL, NULL, NULL);
	id.chain = sk_X509_new_null();
	for (X509 *next; id.cert != NULL && id.chain != NULL && (next = PEM_read_X509(file, NULL, NULL, NULL)) != NULL;) {
		if (sk_X509_push(id.chain, next) == 0)
			X509_free(next);
	}
	(void)fclose(file);
	ERR_clear_error(); /* the end of the file is an error too */
	if (id.cert == NULL || id.chain == NULL) {
		(void)snprintf(why, WHY_MAX, "%s: no certificate in PEM", cert_file);
		identity_clear(&id);
		return false;
	}
	file = fopen(key_file, "re");
	if (file == NULL) {
		(void)snprintf(why, WHY_MAX, "%s: %m", key_file);
		identity_clear(&id);
		return false;
	}
	id.key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	(void)fclose(file);
	if (id.key == NULL || X509_check_private_key(id.cert, id.key) != 1) {
		wire_explain(why,
		             id.key == NULL ? "the key file holds no private key in PEM" : "the key does not belong to the certificate");
		identity_clear(&id);
		return false;
	}
	*ret = id;
	return true;
}

bool identity_imitate(const struct identity *model, struct identity *ret)
{
	struct identity id = { .cert = X509_new(), .key = EVP_EC_gen("P-256") };
	bool ok = id.cert != NULL && id.key != NULL && X509_set_version(id.cert, X509_VERSION_3) == 1 &&
	          ASN1_INTEGER_set(X509_get_serialNumber(id.cert), 1) == 1 &&
	          X509_gmtime_adj(X509_getm_notBefore(id.cert), -CERT_DAY_S) != NULL &&
	          X509_gmtime_adj(X509_getm_notAfter(id.cert), CERT_DAY_S) != NULL &&
	          X509_set_subject_name(id.cert, X509_get_subject_name(model->cert)) == 1 &&
	          X509_set_issuer_name(id.cert, X509_get_issuer_name(model->cert)) == 1 && X509_set_pubkey(id.cert, id.key) == 1 &&
	          X509_sign(id.cert, id.key, EVP_sha256()) > 0;
	if (!ok) {
		identity_clear(&id);
		return false;
	}
	*ret = id;
	return true;
}

void identity_clear(struct identity *id)
{
	X509_free(id->cert);
	sk_X509_pop_free(id->chain, X509_free);
	EVP_PKEY_free(id->key);
	*id = (struct identity){ 0 };
}

/* A connected socket, or -1. IPv4 only, as a pool does it. */
static int tcp_connect(const struct target *target, char why[WHY_MAX])
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *list = NULL;
	const struct timeval wait = { .tv_sec = SOCKET_WAIT_S };
	const int on = 1;
	int fd = -1;
	int rc = getaddrinfo(target->address[0] != '\0' ? target->address : target->host, target->port, &hints, &list);

	if (rc != 0) {
		(void)snprintf(why, WHY_MAX, "%s: %s", target->host, gai_strerror(rc));
		return -1;
	}
	for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd < 0)
			continue;
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
			(void)snprintf(why, WHY_MAX, "connect to %s port %s: %m", target->host, target->port);
			(void)close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(list);
	return fd;
}

/* The server sends sessions after the handshake; the newest is kept. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct wire *w = SSL_get_app_data(ssl);
	SSL_SESSION_free(w->session);
	w->session = session;
	return 1; /* the reference is ours */
}

static bool offer(struct wire *w, const struct target *target, const struct dial *how)
{
	const int oldest = how->only_old_tls ? TLS1_VERSION : TLS1_3_VERSION;
	const int newest = how->only_old_tls ? TLS1_2_VERSION : TLS1_3_VERSION;
	const struct identity *id = how->identity;
	struct in_addr ip;
	int group = how->group; /* OpenSSL's macros take copies, not what is const */
	char host[HOST_MAX];

	(void)snprintf(host, sizeof(host), "%s", target->host);
	w->ctx = SSL_CTX_new(TLS_client_method());
	if (w->ctx == NULL || SSL_CTX_set_min_proto_version(w->ctx, oldest) != 1 || SSL_CTX_set_max_proto_version(w->ctx, newest) != 1)
		return false;
	/* Whoever would still speak an old version must not be saved by our library's taste. */
	if (how->only_old_tls && SSL_CTX_set_cipher_list(w->ctx, "ALL:@SECLEVEL=0") != 1)
		return false;
	if (how->suites != NULL && SSL_CTX_set_ciphersuites(w->ctx, how->suites) != 1)
		return false;
	if (group != 0 && SSL_CTX_set1_groups(w->ctx, &group, 1) != 1)
		return false;
	SSL_CTX_set_verify(w->ctx, SSL_VERIFY_NONE, NULL); /* the result is kept all the same; tls.server-chain reads it */
	if (target->roots != NULL)
		SSL_CTX_set1_cert_store(w->ctx, target->roots);
	(void)SSL_CTX_set_session_cache_mode(w->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(w->ctx, keep_session);
	/* 0 means success for ALPN alone. */
	if (SSL_CTX_set_alpn_protos(w->ctx, how->offers_h2 ? ALPN_BOTH : ALPN_HTTP1,
	                            (unsigned)(how->offers_h2 ? sizeof(ALPN_BOTH) : sizeof(ALPN_HTTP1)) - 1) != 0)
		return false;
	w->ssl = SSL_new(w->ctx);
	if (w->ssl == NULL || SSL_set_fd(w->ssl, w->fd) != 1 || SSL_set_app_data(w->ssl, w) != 1)
		return false;
	if (inet_pton(AF_INET, host, &ip) != 1 && SSL_set_tlsext_host_name(w->ssl, host) != 1)
		return false;
	if (id != NULL && id->cert != NULL && SSL_use_cert_and_key(w->ssl, id->cert, id->key, id->chain, 1) != 1)
		return false;
	return how->resume == NULL || SSL_set_session(w->ssl, how->resume) == 1;
}

enum dial_result wire_dial(const struct target *target, const struct dial *how, struct wire **ret, char why[WHY_MAX])
{
	struct wire *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		(void)snprintf(why, WHY_MAX, "no memory");
		return DIAL_NO_NETWORK;
	}
	w->fd = tcp_connect(target, why);
	if (w->fd < 0) {
		wire_close(w);
		return DIAL_NO_NETWORK;
	}
	ERR_clear_error();
	if (!offer(w, target, how)) {
		wire_explain(why, "this machine's OpenSSL cannot do that");
		wire_close(w);
		return DIAL_NO_NETWORK;
	}
	int rc = SSL_connect(w->ssl);
	if (rc != 1) {
		/* Silence is not a refusal. */
		bool is_silent = SSL_get_error(w->ssl, rc) == SSL_ERROR_WANT_READ;
		wire_explain(why, is_silent ? "TLS handshake not answered in time" : "TLS handshake failed");
		wire_close(w);
		return is_silent ? DIAL_NO_NETWORK : DIAL_NO_TLS;
	}
	*ret = w;
	return DIAL_OK;
}

void wire_close(struct wire *w)
{
	if (w == NULL)
		return;
	if (w->ssl != NULL && SSL_is_init_finished(w->ssl))
		(void)SSL_shutdown(w->ssl);
	ERR_clear_error();
	SSL_SESSION_free(w->session);
	SSL_free(w->ssl);
	SSL_CTX_free(w->ctx);
	if (w->fd >= 0)
		(void)close(w->fd);
	free(w);
}

SSL *wire_ssl(struct wire *w) { return w->ssl; }
SSL_SESSION *wire_session(struct wire *w) { return w->session; }
