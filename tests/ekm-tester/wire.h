/* tests/ekm-tester/wire.h - what the tester puts on the wire: client certificates, TLS connections, HTTP/1.1 exchanges.
 * OpenSSL alone, without an HTTP library: a check needs its own suites, groups, sessions and certificates made in memory, and wants to see
 * the answer as it was sent. One struct wire belongs to one thread. */
#ifndef HOLDFAST_EKM_TESTER_WIRE_H
#define HOLDFAST_EKM_TESTER_WIRE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#define WHY_MAX 300
#define HOST_MAX 254
#define PORT_TEXT_MAX 6
#define PREFIX_MAX 64
#define HEADERS_MAX 48
#define HEADER_NAME_MAX 48
#define HEADER_VALUE_MAX 256

/* A certificate with the intermediates behind it, and its private key. Empty: nobody. */
struct identity {
	X509 *cert;
	STACK_OF(X509) *chain;
	EVP_PKEY *key;
};

struct target {
	char host[HOST_MAX];
	char port[PORT_TEXT_MAX];
	char address[HOST_MAX];      /* connect here instead of resolving the host; empty: resolve */
	char prefix[PREFIX_MAX + 2]; /* "" or "/a/b" */
	X509_STORE *roots;           /* what the proxy's certificate has to chain to */
};

/* How to connect; all zero: TLS 1.3 as a pool would, but without a certificate. */
struct dial {
	const struct identity *identity;
	bool only_old_tls;  /* offer TLS 1.2 and everything older, nothing newer */
	const char *suites; /* TLS 1.3 suites by OpenSSL's names; NULL: the library's own */
	int group;          /* key exchange by NID; 0: the library's own */
	bool offers_h2; /* ALPN h2 and http/1.1; otherwise http/1.1 alone */
	SSL_SESSION *resume;
};
enum dial_result { DIAL_OK, DIAL_NO_NETWORK, DIAL_NO_TLS };

struct response {
	int status;
	int minor_version; /* of HTTP/1.x */
	struct {
		char name[HEADER_NAME_MAX];
		char value[HEADER_VALUE_MAX];
	} headers[HEADERS_MAX];
	size_t header_count;
	char *body; /* NUL-terminated */
	size_t body_len;
	double ms;    /* from the first byte of the request to the last of the answer, on a connection that stood */
	bool is_last; /* the connection ends here */
};
enum wire_result { WIRE_ANSWERED, WIRE_CLOSED, WIRE_TIMED_OUT, WIRE_MALFORMED };

struct wire;

bool identity_load(const char *cert_file, const char *key_file, struct identity *ret, char why[WHY_MAX]);
/** A self-signed certificate with the subject of `model` and a new key: the right name, vouched for by nobody. */
bool identity_imitate(const struct identity *model, struct identity *ret);
void identity_clear(struct identity *id);

/** Connect and finish the handshake. In TLS 1.3 a server may refuse the client's certificate only afterwards: then the exchange says
 *  WIRE_CLOSED. */
enum dial_result wire_dial(const struct target *target, const struct dial *how, struct wire **ret, char why[WHY_MAX]);
void wire_close(struct wire *w);
/** Borrowed; the newest session that the server gave, or NULL, is in `wire_session`. */
SSL *wire_ssl(struct wire *w);
SSL_SESSION *wire_session(struct wire *w);
/** Send a whole request and read its answer. ret is written only for WIRE_ANSWERED; the caller ends it with response_clear. */
enum wire_result wire_exchange(struct wire *w, const char *request, size_t len, struct response *ret, char why[WHY_MAX]);
/** Value of a header; NULL when it was not sent. */
const char *response_header(const struct response *r, const char *name);
void response_clear(struct response *r);

/** Monotonic time. */
double now_ms(void);

#endif
