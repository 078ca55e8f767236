/* tests/support/raw_client.c - see raw_client.h. */
#include "tests/support/raw_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define CERT_LIFE_S 86400
#define RSA_BITS 2048

struct raw_client {
	int fd;
	bool is_tls;
	gnutls_session_t session;
	gnutls_certificate_credentials_t cred;
	char pending[sizeof(((struct raw_response *)0)->head) + sizeof(((struct raw_response *)0)->body)];
	size_t pending_len;
};

static struct raw_client *client_new(int family)
{
	struct raw_client *c = calloc(1, sizeof(*c));
	struct timeval patience = { .tv_sec = RAW_PATIENCE_MS / 1000 };
	if (c == NULL)
		return NULL;
	c->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return c;
}

void raw_close(struct raw_client *c)
{
	if (c == NULL)
		return;
	if (c->session != NULL)
		gnutls_deinit(c->session);
	if (c->cred != NULL)
		gnutls_certificate_free_credentials(c->cred);
	if (c->fd >= 0)
		(void)close(c->fd);
	free(c);
}

struct raw_ticket {
	gnutls_datum_t session;
};

static bool set_identity(struct raw_client *c, const struct raw_tls *tls)
{
	/* A key that is not the certificate's is for the server to find out. */
	gnutls_certificate_set_flags(c->cred, GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH);
	return tls->cert_file == NULL ||
	       gnutls_certificate_set_x509_key_file(c->cred, tls->cert_file, tls->key_file, GNUTLS_X509_FMT_PEM) >= 0;
}

static bool handshake(struct raw_client *c, const struct raw_tls *tls)
{
	int rc;
	if (gnutls_init(&c->session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL) != 0 || gnutls_certificate_allocate_credentials(&c->cred) != 0 ||
	    !set_identity(c, tls) || gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, c->cred) != 0 ||
	    gnutls_priority_set_direct(c->session, tls->priorities, NULL) != 0 ||
	    (tls->ticket != NULL && gnutls_session_set_data(c->session, tls->ticket->session.data, tls->ticket->session.size) != 0))
		return false;
	gnutls_transport_set_int(c->session, c->fd);
	do
		rc = gnutls_handshake(c->session);
	while (rc < 0 && !gnutls_error_is_fatal(rc) && rc != GNUTLS_E_AGAIN);
	c->is_tls = rc == 0;
	return c->is_tls;
}

struct raw_client *raw_connect(uint16_t port, const char *tls_priorities)
{
	const struct raw_tls tls = { .priorities = tls_priorities };
	return raw_connect_as(port, tls_priorities == NULL ? NULL : &tls);
}

struct raw_client *raw_connect_as(uint16_t port, const struct raw_tls *tls)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct raw_client *c = client_new(AF_INET);
	if (c == NULL)
		return NULL;
	if (connect(c->fd, (const struct sockaddr *)&to, sizeof(to)) == 0 && (tls == NULL || handshake(c, tls)))
		return c;
	raw_close(c);
	return NULL;
}

struct raw_client *raw_connect_unix(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct raw_client *c = client_new(AF_UNIX);
	if (c == NULL)
		return NULL;
	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	if (connect(c->fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
		return c;
	raw_close(c);
	return NULL;
}

bool raw_send(struct raw_client *c, const void *bytes, size_t len)
{
	const char *p = bytes;
	while (len > 0) {
		ssize_t n = c->is_tls ? gnutls_record_send(c->session, p, len) : send(c->fd, p, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool raw_send_text(struct raw_client *c, const char *text) { return raw_send(c, text, strlen(text)); }

/* 0 = ended or failed; bytes were appended otherwise. *ret_is_timeout tells patience from an end. */
static size_t fill(struct raw_client *c, bool *ret_is_timeout)
{
	size_t room = sizeof(c->pending) - c->pending_len;
	ssize_t n;
	do {
		errno = 0;
		n = c->is_tls ? gnutls_record_recv(c->session, c->pending + c->pending_len, room)
		              : recv(c->fd, c->pending + c->pending_len, room, 0);
		/* The library also says AGAIN when what came was a session ticket. */
	} while (c->is_tls ? n == GNUTLS_E_INTERRUPTED || (n == GNUTLS_E_AGAIN && errno != EAGAIN) : n < 0 && errno == EINTR);
	*ret_is_timeout = c->is_tls ? n == GNUTLS_E_AGAIN : n < 0 && errno == EAGAIN;
	if (n <= 0)
		return 0;
	c->pending_len += (size_t)n;
	return (size_t)n;
}

const char *raw_header(const struct raw_response *r, const char *name)
{
	static _Thread_local char value[1024];
	size_t name_len = strlen(name);
	for (const char *line = strstr(r->head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
			continue;
		line += name_len + 1;
		line += strspn(line, " \t");
		(void)snprintf(value, sizeof(value), "%.*s", (int)strcspn(line, "\r\n"), line);
		return value;
	}
	return NULL;
}

static void consume(struct raw_client *c, size_t n)
{
	memmove(c->pending, c->pending + n, c->pending_len - n);
	c->pending_len -= n;
}

void raw_read(struct raw_client *c, struct raw_response *ret_response, bool is_head)
{
	bool is_timeout;
	char *end;
	memset(ret_response, 0, sizeof(*ret_response));
	while ((end = memmem(c->pending, c->pending_len, "\r\n\r\n", 4)) == NULL)
		if (fill(c, &is_timeout) == 0)
			return;
	size_t head_len = (size_t)(end - c->pending) + 4;
	if (head_len >= sizeof(ret_response->head))
		return;
	memcpy(ret_response->head, c->pending, head_len);
	const char *length = is_head ? NULL : raw_header(ret_response, "Content-Length");
	size_t body_len = length == NULL ? 0 : strtoul(length, NULL, 10);
	if (body_len >= sizeof(ret_response->body))
		return;
	while (c->pending_len < head_len + body_len)
		if (fill(c, &is_timeout) == 0)
			return;
	memcpy(ret_response->body, c->pending + head_len, body_len);
	ret_response->body_len = body_len;
	consume(c, head_len + body_len);
	if (strncmp(ret_response->head, "HTTP/1.", 7) == 0)
		ret_response->status = (int)strtol(ret_response->head + strcspn(ret_response->head, " "), NULL, 10);
}

int raw_ask(struct raw_client *c, const char *text, struct raw_response *ret_response)
{
	(void)raw_send_text(c, text); /* a server may refuse before it has read everything */
	raw_read(c, ret_response, false);
	return ret_response->status;
}

bool raw_is_closed(struct raw_client *c)
{
	bool is_timeout;
	return c->pending_len == 0 && fill(c, &is_timeout) == 0 && !is_timeout;
}

bool raw_drain(struct raw_client *c)
{
	bool is_timeout;
	do
		c->pending_len = 0;
	while (fill(c, &is_timeout) > 0);
	return !is_timeout;
}

bool raw_server_name(struct raw_client *c, char *ret_name, size_t cap)
{
	unsigned count = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(c->session, &count);
	gnutls_x509_crt_t crt;
	if (chain == NULL || count == 0 || gnutls_x509_crt_init(&crt) != 0)
		return false;
	bool is_read = gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) == 0 &&
	               gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, ret_name, &cap) == 0;
	gnutls_x509_crt_deinit(crt);
	return is_read;
}

const char *raw_cipher_name(struct raw_client *c) { return gnutls_cipher_get_name(gnutls_cipher_get(c->session)); }
bool raw_was_asked(struct raw_client *c) { return gnutls_certificate_client_get_request_status(c->session) != 0; }
bool raw_is_resumed(struct raw_client *c) { return gnutls_session_is_resumed(c->session) != 0; }

struct raw_ticket *raw_ticket_take(struct raw_client *c)
{
	if ((gnutls_session_get_flags(c->session) & GNUTLS_SFLAGS_SESSION_TICKET) == 0)
		return NULL;
	struct raw_ticket *ticket = calloc(1, sizeof(*ticket));
	if (ticket != NULL && gnutls_session_get_data2(c->session, &ticket->session) == 0)
		return ticket;
	free(ticket);
	return NULL;
}

void raw_ticket_free(struct raw_ticket *ticket)
{
	if (ticket == NULL)
		return;
	gnutls_free(ticket->session.data);
	free(ticket);
}

/* ---- certificates ---- */

static bool pad(X509 *crt, size_t len)
{
	char *text = malloc(len + 1);
	if (text == NULL)
		return false;
	memset(text, 'x', len);
	text[len] = '\0';
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_netscape_comment, text);
	bool is_padded = ext != NULL && X509_add_ext(crt, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	free(text);
	return is_padded;
}

static X509 *make_certificate(const char *common_name, EVP_PKEY *key, const char *issuer_name, EVP_PKEY *issuer_key, size_t padding)
{
	X509 *crt = X509_new();
	X509_NAME *subject = X509_NAME_new(), *issuer = X509_NAME_new();
	bool is_made = crt != NULL && subject != NULL && issuer != NULL && X509_set_version(crt, X509_VERSION_3) == 1 &&
	               ASN1_INTEGER_set(X509_get_serialNumber(crt), 1) == 1 && X509_gmtime_adj(X509_getm_notBefore(crt), 0) != NULL &&
	               X509_gmtime_adj(X509_getm_notAfter(crt), CERT_LIFE_S) != NULL && X509_set_pubkey(crt, key) == 1 &&
	               X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0) == 1 &&
	               X509_NAME_add_entry_by_txt(issuer, "CN", MBSTRING_ASC, (const unsigned char *)issuer_name, -1, -1, 0) == 1 &&
	               X509_set_subject_name(crt, subject) == 1 && X509_set_issuer_name(crt, issuer) == 1 &&
	               (padding == 0 || pad(crt, padding)) && X509_sign(crt, issuer_key, EVP_sha256()) > 0;
	X509_NAME_free(subject);
	X509_NAME_free(issuer);
	if (is_made)
		return crt;
	X509_free(crt);
	return NULL;
}

static bool write_key(const char *path, EVP_PKEY *key)
{
	FILE *f = fopen(path, "we");
	if (f == NULL)
		return false;
	int ok = fchmod(fileno(f), S_IRUSR | S_IWUSR) == 0 && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1;
	return fclose(f) == 0 && ok;
}

static EVP_PKEY *read_key(const char *path)
{
	FILE *f = fopen(path, "re");
	EVP_PKEY *key = f != NULL ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
	if (f != NULL)
		(void)fclose(f);
	return key;
}

static bool write_certificates(FILE *f, const struct raw_chain *chain, EVP_PKEY *const *keys)
{
	for (size_t i = 0; i < chain->length; i++) {
		char name[32], issuer_name[32];
		size_t issuer = i + 1 < chain->length ? i + 1 : i;
		(void)snprintf(name, sizeof(name), "issuer %zu", i);
		(void)snprintf(issuer_name, sizeof(issuer_name), "issuer %zu", issuer);
		X509 *crt = make_certificate(i == 0 ? chain->leaf_name : name, keys[i], issuer == 0 ? chain->leaf_name : issuer_name,
		                             keys[issuer], chain->padding);
		bool is_written = crt != NULL && PEM_write_X509(f, crt) == 1;
		X509_free(crt);
		if (!is_written)
			return false;
	}
	return true;
}

bool raw_write_chain(const char *cert_path, const char *key_path, const struct raw_chain *chain)
{
	EVP_PKEY *keys[RAW_CHAIN_MAX] = { NULL };
	FILE *f = chain->length >= 1 && chain->length <= RAW_CHAIN_MAX ? fopen(cert_path, "we") : NULL;
	bool is_written = f != NULL;
	for (size_t i = 0; is_written && i < chain->length; i++) {
		keys[i] = i == 0 && chain->leaf_key != NULL ? read_key(chain->leaf_key) :
		          chain->is_rsa                     ? EVP_RSA_gen(RSA_BITS) :
		                                              EVP_EC_gen("P-256");
		is_written = keys[i] != NULL;
	}
	is_written = is_written && write_certificates(f, chain, keys);
	is_written = f != NULL && fclose(f) == 0 && is_written && write_key(key_path, keys[0]);
	for (size_t i = 0; i < RAW_CHAIN_MAX; i++)
		EVP_PKEY_free(keys[i]);
	return is_written;
}

bool raw_write_certificate(const char *cert_path, const char *key_path, const char *common_name, bool is_rsa)
{
	const struct raw_chain alone = { .leaf_name = common_name, .length = 1, .is_rsa = is_rsa };
	return raw_write_chain(cert_path, key_path, &alone);
}
