/*
 * api/http.h - HTTP transport: libmicrohttpd behind the guard of spec/hazards.md section 2.5. Knows nothing of routes, keys or JSON.
 * Connections are suspended while a request is being worked on, so no HTTP thread ever waits for the HSM or the disk.
 */
#ifndef HOLDFAST_API_HTTP_H
#define HOLDFAST_API_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "server/base/err.h"

#define HTTP_URI_MAX 2048
#define HTTP_HEADERS_MAX 64
#define HTTP_HEADER_BYTES_MAX 16384
#define HTTP_BODY_MAX (8U << 20) /* of any route: a certificate of some 30,000 keys */

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };

struct http_header {
	const char *name, *value;
};

/* One certificate of the client's chain as it was sent, DER. Longer chains, and such of more than 16 KiB, are seen as none. */
struct http_cert {
	const uint8_t *der;
	size_t len;
};
#define HTTP_CLIENT_CHAIN_MAX 8

/* One request as the guard lets it through. Strings and body belong to the transport and live until http_reply(), however late that is. */
struct http_request {
	enum http_method method;
	const char *method_text;
	const char *path;          /* raw, still percent-encoded as sent, without the query; starts with '/' */
	const char *query;         /* raw, without '?'; "" when none */
	const char *host;          /* the Host header, raw; "" on HTTP/1.0 without one */
	const char *authorization; /* NULL when absent */
	const char *content_type;  /* NULL when absent */
	const char *client_request_id; /* x-ms-client-request-id, NULL when absent or not printable ASCII of at most 128 bytes */
	const char *user_agent;        /* NULL when absent */
	const char *identity_header;   /* X-IDENTITY-HEADER, a secret; NULL when absent */
	bool is_forwarded;             /* a proxy says that it speaks for somebody: Forwarded, X-Forwarded-For or -Host, Via */
	uint64_t content_length;       /* of the body, as announced; 0 = none, or in chunks */
	const uint8_t *body;           /* body_len bytes; collected in a buffer that is erased when the request ends */
	size_t body_len;
	char peer[64];      /* numeric address without port; "local" on a UNIX socket */
	char tls[8];        /* "1.3", "1.2"; "" without TLS */
	/* The client's certificates, leaf first, on a listener that asks for them; count 0 = none. Only possession of the leaf's key is proven by the
	 * handshake: chain, dates and subject are the application's to check, at every request. */
	struct http_cert client_chain[HTTP_CLIENT_CHAIN_MAX];
	size_t client_chain_count;
	uid_t peer_uid;     /* on a UNIX socket (SO_PEERCRED); (uid_t)-1 otherwise */
	int64_t started_us; /* clock_mono_us of its first byte, near enough */
	void *app;          /* the application's own */
};

/* The answer. Headers and body are copied or taken as said; Content-Length, Date and Connection are the transport's. */
struct http_response {
	int status;
	const struct http_header *headers; /* copied */
	size_t header_count;
	char *body; /* malloc()ed, taken over, erased after sending; NULL = empty */
	size_t body_len;
	bool close; /* close the connection afterwards */
};

/* What the application says when the headers are there and no body byte has been read. */
struct http_admission {
	size_t body_max; /* largest body it will read, bytes; beyond it: 413 through too_large() and close */
	bool drops_body; /* it refuses anyway: serve() comes without the body, which is read only so that the client hears the answer */
};

struct http_app {
	void *arg;
	/* Headers complete. On an HTTP thread; must not block. Sets req->app as it likes. */
	void (*admit)(void *arg, struct http_request *req, struct http_admission *ret_admission);
	/* Body complete; the connection is about to be suspended. On an HTTP thread; must not block. http_reply() must follow exactly once for
	 * this request, now or later, from any thread. */
	void (*serve)(void *arg, struct http_request *req);
	/* Refused by the guard (400; KMS_E_NOROUTE when it is the target that is bad), too large (413), too slow (408), overloaded (429/503): the
	 * application renders the body for `status` (its own error shape) and the transport closes the connection, except after a late answer's 408.
	 * May be called without admit. Fill *ret (body malloc()ed; its status is preset). For work that took longer than work_ms, or was cut short by
	 * http_stop(), it is called on another thread while the application still works on req: touch only what no worker writes. */
	void (*refuse)(void *arg, struct http_request *req, kms_status status, const char *message, struct http_response *ret);
	/* The request is over, sent or not, and http_reply() has been called if serve() was; free req->app. Called once for each admit, on any
	 * thread. When http_reply() comes after http_stop(), so does this: the application outlives its own workers. */
	void (*end)(void *arg, struct http_request *req);
};

struct http_config {
	const char *name;        /* for the log: "main", "local" */
	const char *address;     /* numeric IPv4 or IPv6; NULL when unix_path is set */
	uint16_t port;           /* 0 = any free port (tests) */
	const char *unix_path;   /* listen here instead, plain HTTP; mode 0600 */
	bool unix_shared;        /* mode 0666: others may connect, and the application decides by peer_uid */
	unsigned threads;        /* epoll threads */
	unsigned connections;    /* limit for the whole listener */
	unsigned per_ip;         /* limit for one address; 0 = none */
	unsigned headers_ms;     /* headers must be complete this long after the connection was accepted, or its next request line came: 5000 */
	unsigned request_ms;     /* the whole request, from its first line; again, the sending of the answer: 10000 */
	unsigned idle_s;         /* keep-alive without a request */
	unsigned work_ms;        /* longest time between serve() and http_reply(); then `late` goes out and the late answer is dropped: 30000 */
	kms_status late;         /* KMS_E_BUSY (the default, 0), or KMS_E_TIMEOUT: work_ms counts from the first byte, and the connection stays open */
	const char *cert_file, *key_file; /* PEM; NULL = no TLS */
	bool asks_client_certs; /* request a certificate, name no CA, do not insist: who has none is refused by the application, with a body (hazards.md 2.5) */
	bool is_tls13_only;     /* and AES-GCM suites only; sessions resume by ticket with the client still known, without early data. Either needs a certificate */
};

struct http_server;

/** @return KMS_OK | KMS_E_INVALID (certificate, key, address: message says which file or value) | KMS_E_INTERNAL */
KMS_MUST_CHECK kms_status http_start(const struct http_config *cfg, const struct http_app *app, struct http_server **ret_server,
                                     struct kms_err *err);
uint16_t http_port(const struct http_server *s);
/** Read certificate and key again; on failure the old pair stays in use. New connections get the new pair; existing ones are not cut. */
KMS_MUST_CHECK kms_status http_reload(struct http_server *s, struct kms_err *err);
/** Answer the request. Takes ret->body in every case. Thread-safe. A second answer to the same request is dropped and its body erased. */
void http_reply(struct http_request *req, struct http_response *response);
/** Requests being worked on now (served, not yet answered). */
size_t http_working(struct http_server *s);
/** Stop accepting; keep-alive connections get `Connection: close` with their next answer. */
void http_quiesce(struct http_server *s);
/** Wait until nothing is being worked on (at most drain_ms, then answer 503 for the rest), stop, free. Accepts NULL. */
void http_stop(struct http_server *s, unsigned drain_ms);

#endif
