/* server/witness/serve.c - see serve.h. */
#include "server/witness/serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/witness/keyfile.h"
#include "server/witness/submission.h"

#define THREADS 4
#define CONNECTIONS 256
#define PER_IP 64
#define CONNECTION_MEMORY (32U << 10)
#define REQUEST_S 5  /* for a whole request, from the end of its header or from the connection on */
#define IDLE_S 90    /* behind a cosignature: a log comes once a minute when nothing happens; others take no place for so long */
#define URL_LEN 96

#define TLS_PRIORITIES                                                                                                                 \
	"NONE:+VERS-TLS1.3:+VERS-TLS1.2:+CTYPE-X509:+AEAD:+ECDHE-ECDSA:+ECDHE-RSA:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM:"       \
	"+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SECP384R1-SHA384:+SIGN-EDDSA-ED25519:" \
	"+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-RSAE-SHA384:+SIGN-ECDSA-SHA256:+SIGN-ECDSA-SHA384:+SIGN-RSA-SHA256:+SIGN-RSA-SHA384"

struct connection {
	struct connection *next, *before;
	int fd;
	_Atomic int64_t end_s;
};

struct serve {
	struct witness *witness;
	struct MHD_Daemon *mhd;
	int fd;
	char url[URL_LEN];
	atomic_uint count;
	pthread_mutex_t lock; /* guards the list */
	struct connection *connections;
};

/* One request's body as it arrives. */
struct request {
	bool is_too_large, is_answered, is_cosigned;
	size_t len;
	char body[SUBMISSION_LEN_MAX];
};

static int64_t now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec;
}

/* ---- connections ---- */

/* The library's own limit is never reached: 0.9.75 then keeps a mutex locked for ever. */
static enum MHD_Result may_enter(void *cls, const struct sockaddr *address, socklen_t len)
{
	struct serve *s = cls;

	(void)address;
	(void)len;
	return atomic_load(&s->count) < CONNECTIONS ? MHD_YES : MHD_NO;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
	struct serve *s = cls;
	struct connection *c = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		atomic_fetch_add(&s->count, 1);
		*context = c = calloc(1, sizeof(*c));
		if (c == NULL)
			return; /* it is served, and the library's idle time-out ends it */
		c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		atomic_init(&c->end_s, now_s() + REQUEST_S);
		(void)pthread_mutex_lock(&s->lock);
		c->next = s->connections;
		if (c->next != NULL)
			c->next->before = c;
		s->connections = c;
		(void)pthread_mutex_unlock(&s->lock);
		return;
	}
	atomic_fetch_sub(&s->count, 1);
	if (c == NULL)
		return;
	(void)pthread_mutex_lock(&s->lock);
	if (c->next != NULL)
		c->next->before = c->before;
	*(c->before != NULL ? &c->before->next : &s->connections) = c->next;
	(void)pthread_mutex_unlock(&s->lock);
	*context = NULL;
	free(c);
}

static void set_end(struct MHD_Connection *mhd, int64_t in_s)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *c = info == NULL ? NULL : info->socket_context;

	if (c != NULL)
		atomic_store(&c->end_s, now_s() + in_s);
}

void serve_tick(struct serve *s)
{
	int64_t now = now_s();

	(void)pthread_mutex_lock(&s->lock);
	for (struct connection *c = s->connections; c != NULL; c = c->next)
		if (atomic_load(&c->end_s) < now)
			(void)shutdown(c->fd, SHUT_RDWR); /* looks to its thread as if the other side had gone */
	(void)pthread_mutex_unlock(&s->lock);
}

/* ---- requests ---- */

static enum MHD_Result reply(struct MHD_Connection *mhd, struct request *r, int http, const char *type, const char *text, const char *allow)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result = MHD_NO;

	if (response == NULL)
		return MHD_NO;
	r->is_answered = true;
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	(void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (allow != NULL)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
	if (http == MHD_HTTP_CONTENT_TOO_LARGE)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	result = MHD_queue_response(mhd, (unsigned)http, response);
	MHD_destroy_response(response);
	return result;
}

#define PLAIN "text/plain; charset=utf-8"

static enum MHD_Result take_submission(struct serve *s, struct MHD_Connection *mhd, struct request *r)
{
	struct witness_reply answer;

	if (r->is_too_large)
		return reply(mhd, r, MHD_HTTP_CONTENT_TOO_LARGE, PLAIN, "at most 65536 bytes\n", NULL);
	witness_judge(s->witness, r->body, r->len, &answer);
	r->is_cosigned = answer.http == MHD_HTTP_OK;
	return reply(mhd, r, answer.http, answer.is_size ? "text/x.tlog.size" : PLAIN, answer.text, NULL);
}

static enum MHD_Result take_request(struct serve *s, struct MHD_Connection *mhd, struct request *r, const char *path, const char *method)
{
	bool is_get = strcmp(method, MHD_HTTP_METHOD_GET) == 0, is_good = false;

	if (strcmp(path, "/add-checkpoint") == 0) {
		if (strcmp(method, MHD_HTTP_METHOD_POST) != 0)
			return reply(mhd, r, MHD_HTTP_METHOD_NOT_ALLOWED, PLAIN, "only POST\n", "POST");
		return take_submission(s, mhd, r);
	}
	if (strcmp(path, "/health") != 0)
		return reply(mhd, r, MHD_HTTP_NOT_FOUND, PLAIN, "there are only /add-checkpoint and /health\n", NULL);
	if (!is_get)
		return reply(mhd, r, MHD_HTTP_METHOD_NOT_ALLOWED, PLAIN, "only GET\n", "GET");
	is_good = witness_is_healthy(s->witness);
	return reply(mhd, r, is_good ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, PLAIN, is_good ? "ok\n" : "what is known of a log is damaged\n", NULL);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *path, const char *method, const char *version, const char *data,
                                  size_t *data_len, void **context)
{
	struct request *r = *context;

	(void)version;
	if (r == NULL) {
		*context = r = calloc(1, sizeof(*r));
		set_end(mhd, REQUEST_S);
		return r == NULL ? MHD_NO : MHD_YES;
	}
	if (*data_len > 0) {
		r->is_too_large = r->is_too_large || *data_len > sizeof(r->body) - r->len;
		if (!r->is_too_large) {
			memcpy(r->body + r->len, data, *data_len);
			r->len += *data_len;
		}
		*data_len = 0;
		return MHD_YES;
	}
	return r->is_answered ? MHD_YES : take_request(cls, mhd, r, path, method);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why)
{
	const struct request *r = *context;

	(void)cls;
	(void)why;
	set_end(mhd, r != NULL && r->is_cosigned ? IDLE_S : REQUEST_S);
	free(*context);
	*context = NULL;
}

/* ---- start and stop ---- */

struct address {
	struct sockaddr_storage bytes;
	socklen_t len;
	bool is_loopback;
};

static bool read_port(const char *text, in_port_t *ret)
{
	char *end = NULL;
	unsigned long port = text[0] < '0' || text[0] > '9' ? ULONG_MAX : strtoul(text, &end, 10);

	if (port > UINT16_MAX || *end != '\0')
		return false;
	*ret = htons((uint16_t)port);
	return true;
}

static bool read_address(const char *text, struct address *ret)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	bool is_v6 = text[0] == '[';
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	size_t len = colon == NULL ? 0 : (size_t)(colon - text);

	if (len == 0 || len >= sizeof(host) || (is_v6 && (len < 3 || text[len - 1] != ']')))
		return false;
	*ret = (struct address){ 0 };
	(void)snprintf(host, sizeof(host), "%.*s", (int)(is_v6 ? len - 2 : len), text + (is_v6 ? 1 : 0));
	if (is_v6 && inet_pton(AF_INET6, host, &v6.sin6_addr) == 1 && read_port(colon + 1, &v6.sin6_port)) {
		memcpy(&ret->bytes, &v6, sizeof(v6));
		ret->len = sizeof(v6);
		ret->is_loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
		return true;
	}
	if (!is_v6 && inet_pton(AF_INET, host, &v4.sin_addr) == 1 && read_port(colon + 1, &v4.sin_port)) {
		memcpy(&ret->bytes, &v4, sizeof(v4));
		ret->len = sizeof(v4);
		ret->is_loopback = ntohl(v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
		return true;
	}
	return false;
}

static bool open_listener(struct serve *s, const struct serve_config *cfg, char ret_why[WHY_LEN])
{
	static const int ON = 1;
	struct address a;
	struct sockaddr_in6 actual = { 0 }; /* the port lies at the same place in both families' addresses */
	socklen_t actual_len = sizeof(actual);
	const char *colon = strrchr(cfg->listen, ':');
	bool is_tls = cfg->tls_cert != NULL;

	if (!read_address(cfg->listen, &a)) {
		(void)snprintf(ret_why, WHY_LEN, "--listen %s: ADDRESS:PORT is wanted, numeric, an IPv6 address in brackets", cfg->listen);
		return false;
	}
	if (!is_tls && !a.is_loopback) {
		(void)snprintf(ret_why, WHY_LEN, "--listen %s: beyond the loopback address only TLS is spoken: --tls-cert and --tls-key", cfg->listen);
		return false;
	}
	s->fd = socket(a.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &ON, sizeof(ON)) != 0 || bind(s->fd, (const struct sockaddr *)&a.bytes, a.len) != 0 ||
	    listen(s->fd, SOMAXCONN) != 0 || getsockname(s->fd, (struct sockaddr *)&actual, &actual_len) != 0) {
		(void)snprintf(ret_why, WHY_LEN, "--listen %s: %s", cfg->listen, strerror(errno));
		return false;
	}
	(void)snprintf(s->url, sizeof(s->url), "%s://%.*s:%u", is_tls ? "https" : "http", (int)(colon - cfg->listen), cfg->listen, ntohs(actual.sin6_port));
	return true;
}

static bool start_library(struct serve *s, const char *cert, const char *key, char ret_why[WHY_LEN])
{
	struct MHD_OptionItem options[] = {
		{ MHD_OPTION_LISTEN_SOCKET, s->fd, NULL },
		{ MHD_OPTION_THREAD_POOL_SIZE, THREADS, NULL },
		{ MHD_OPTION_CONNECTION_LIMIT, INT_MAX, NULL },
		{ MHD_OPTION_PER_IP_CONNECTION_LIMIT, PER_IP, NULL },
		{ MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL },
		{ MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, s },
		{ MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s },
		{ MHD_OPTION_END, 0, NULL }, /* TLS */
		{ MHD_OPTION_END, 0, NULL },
		{ MHD_OPTION_END, 0, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};
	size_t n = sizeof(options) / sizeof(options[0]) - 4;
	/* poll(): with epoll 0.9.75 may wait for ever when as many connections are ready as it has room for. */
	unsigned flags = MHD_USE_POLL_INTERNAL_THREAD;

	if (cert != NULL) {
		flags |= MHD_USE_TLS;
		options[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert };
		options[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key };
		options[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES };
	}
	s->mhd = MHD_start_daemon(flags, 0, may_enter, s, on_request, s, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
	if (s->mhd == NULL)
		(void)snprintf(ret_why, WHY_LEN, "the listener does not start%s", cert != NULL ? ": look at --tls-cert and --tls-key" : "");
	return s->mhd != NULL;
}

static bool start(struct serve *s, const struct serve_config *cfg, char ret_why[WHY_LEN])
{
	size_t cert_len = 0, key_len = 0;
	char *cert = NULL, *key = NULL;
	bool is_started = false;

	if ((cfg->tls_cert == NULL) != (cfg->tls_key == NULL)) {
		(void)snprintf(ret_why, WHY_LEN, "--tls-cert and --tls-key belong together");
		return false;
	}
	if (cfg->tls_cert != NULL) {
		cert = file_read(cfg->tls_cert, false, &cert_len, ret_why);
		key = cert == NULL ? NULL : file_read(cfg->tls_key, true, &key_len, ret_why);
	}
	if (cfg->tls_cert == NULL || key != NULL)
		is_started = open_listener(s, cfg, ret_why) && start_library(s, cert, key, ret_why);
	OPENSSL_free(cert);
	OPENSSL_clear_free(key, key_len);
	return is_started;
}

struct serve *serve_start(const struct serve_config *cfg, struct witness *w, char ret_why[WHY_LEN])
{
	struct serve *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		(void)snprintf(ret_why, WHY_LEN, "no memory");
		return NULL;
	}
	s->witness = w;
	s->fd = -1;
	(void)pthread_mutex_init(&s->lock, NULL);
	if (start(s, cfg, ret_why))
		return s;
	if (s->fd >= 0)
		(void)close(s->fd);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}

const char *serve_url(const struct serve *s) { return s->url; }

void serve_stop(struct serve *s)
{
	if (s == NULL)
		return;
	MHD_stop_daemon(s->mhd); /* closes the listener too */
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}
