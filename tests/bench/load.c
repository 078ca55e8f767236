/*
 * tests/bench/load.c - load generator: N keep-alive HTTPS connections on one thread and one epoll, each with one request under way, for a
 * fixed time; rate and latencies of what was answered in it.
 *
 *	load [--rate N] PORT SERVER-NAME CONNECTIONS SECONDS CA-FILE REQUEST-FILE...
 *
 * A request file holds the bytes of one request; the files are sent in turn, over all connections. With --rate so many are sent in a second, as far as connections are
 * free, and 429 is an answer too; without it each connection sends the next when it has an answer, and anything but 200 is an error and ends the run.
 * Prints {"rps":n,"p50_us":n,"p99_us":n,"requests":n,"refused":n}: what was answered with 200, and how often with 429. Handshakes and a warm-up are over before the clock
 * starts.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/now.h"

#define REQUEST_MAX 16384
#define ANSWER_MAX 65536
#define EVENTS 256
#define WARM_UP_US 300000
#define SILENCE_MS 15000
#define NEEDED_ARGS 7
#define STATUS_AT 9 /* after "HTTP/1.1 " */
#define PACE_MS 1   /* how long nothing is sent at most, with --rate */

struct text {
	char *bytes;
	size_t len;
};

struct conn {
	SSL *ssl;
	int fd;
	const struct text *request;
	size_t sent;
	char *answer; /* ANSWER_MAX + 1 */
	size_t got;
	int64_t begun_us;
};

struct load {
	struct conn *conns;
	size_t count;
	int epoll_fd;
	int64_t measure_from_us, end_us;
	const struct text *requests;
	size_t request_count, next_request;
	uint32_t *latencies_us;
	size_t done, cap, refused;
	double rate;          /* 0 = as fast as answers come */
	struct conn **idle;   /* that wait for their turn, first in first out: the server closes what is never used */
	size_t idle_first, idle_count;
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap); /* NOLINT: ap is initialised */
	va_end(ap);
	fputc('\n', stderr);
	ERR_print_errors_fp(stderr);
	exit(EXIT_FAILURE);
}

static struct text file_read(const char *path)
{
	struct text t = { .bytes = malloc(REQUEST_MAX) };
	FILE *f = fopen(path, "re");

	if (t.bytes == NULL || f == NULL)
		die("%s: cannot be read", path);
	t.len = fread(t.bytes, 1, REQUEST_MAX, f);
	(void)fclose(f);
	if (t.len == 0 || t.len == REQUEST_MAX)
		die("%s: empty or too long", path);
	return t;
}

static void conn_open(struct conn *c, SSL_CTX *ctx, uint16_t port, char *name)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int yes = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
		die("connect: %s", strerror(errno));
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	c->ssl = SSL_new(ctx);
	c->answer = malloc(ANSWER_MAX + 1);
	if (c->ssl == NULL || c->answer == NULL)
		die("no memory");
	if (SSL_set_fd(c->ssl, c->fd) != 1 || SSL_set_tlsext_host_name(c->ssl, name) != 1 || SSL_set1_host(c->ssl, name) != 1 ||
	    SSL_connect(c->ssl) != 1)
		die("TLS handshake");
	if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
		die("fcntl: %s", strerror(errno));
}

static void conn_send(struct conn *c)
{
	while (c->sent < c->request->len) {
		int n = SSL_write(c->ssl, c->request->bytes + c->sent, (int)(c->request->len - c->sent));
		if (n <= 0) {
			int why = SSL_get_error(c->ssl, n);
			if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ)
				return; /* a small request into an empty socket: goes on with the next event */
			die("SSL_write: %d", why);
		}
		c->sent += (size_t)n;
	}
}

static void conn_next(struct load *l, struct conn *c)
{
	c->request = &l->requests[l->next_request++ % l->request_count];
	c->sent = 0;
	c->got = 0;
	c->begun_us = now_us();
	conn_send(c);
}

static bool conn_has_status(const struct conn *c, const char *status)
{
	return c->got >= STATUS_AT + 3 && memcmp(c->answer + STATUS_AT, status, 3) == 0;
}

/* Is the answer complete? Dies when it is not a 200 (or 429, if that may be) with a Content-Length. */
static bool conn_is_answered(const struct load *l, struct conn *c)
{
	const char *head_end, *length;

	c->answer[c->got] = '\0';
	head_end = strstr(c->answer, "\r\n\r\n");
	if (head_end == NULL)
		return false;
	if (!conn_has_status(c, "200") && (l->rate == 0 || !conn_has_status(c, "429")))
		die("the answer is not 200:\n%s", c->answer);
	length = strcasestr(c->answer, "\r\ncontent-length:");
	if (length == NULL || length > head_end)
		die("no Content-Length:\n%s", c->answer);
	return c->got >= (size_t)(head_end + 4 - c->answer) + strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
}

static void load_note(struct load *l, const struct conn *c, int64_t now_us)
{
	if (c->begun_us < l->measure_from_us || now_us > l->end_us)
		return;
	if (!conn_has_status(c, "200")) {
		l->refused++;
		return;
	}
	if (l->done == l->cap) {
		l->cap = l->cap == 0 ? 1U << 16 : l->cap * 2;
		l->latencies_us = realloc(l->latencies_us, l->cap * sizeof(*l->latencies_us));
		if (l->latencies_us == NULL)
			die("no memory");
	}
	l->latencies_us[l->done++] = (uint32_t)(now_us - c->begun_us);
}

static void load_wait(struct load *l, struct conn *c) { l->idle[(l->idle_first + l->idle_count++) % l->count] = c; }

static void conn_event(struct load *l, struct conn *c)
{
	/* Session tickets come before the first request. */
	if (c->request != NULL && c->sent < c->request->len)
		conn_send(c);
	for (;;) {
		if (c->got == ANSWER_MAX)
			die("an answer over %d bytes", ANSWER_MAX);
		int n = SSL_read(c->ssl, c->answer + c->got, (int)(ANSWER_MAX - c->got));
		if (n <= 0) {
			int why = SSL_get_error(c->ssl, n);
			if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
				return;
			die("the connection was closed (%d) after %zu bytes", why, c->got);
		}
		c->got += (size_t)n;
		if (conn_is_answered(l, c)) {
			load_note(l, c, now_us());
			if (l->rate == 0) {
				conn_next(l, c);
				continue;
			}
			load_wait(l, c);
			return;
		}
	}
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* What is due by now; what no connection was free for stays due. */
static void load_pace(struct load *l, int64_t begun_us)
{
	size_t due = (size_t)((double)(now_us() - begun_us) / (double)US_PER_S * l->rate);

	while (l->idle_count > 0 && l->next_request < due) {
		struct conn *c = l->idle[l->idle_first];
		l->idle_first = (l->idle_first + 1) % l->count;
		l->idle_count--;
		conn_next(l, c);
	}
}

static void load_begin(struct load *l)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->rate == 0)
			conn_next(l, &l->conns[i]);
		else
			load_wait(l, &l->conns[i]);
}

static void load_run(struct load *l, double seconds)
{
	struct epoll_event events[EVENTS];
	int64_t begun_us = now_us();

	l->measure_from_us = begun_us + WARM_UP_US;
	l->end_us = l->measure_from_us + (int64_t)(seconds * US_PER_S);
	load_begin(l);
	while (now_us() < l->end_us) {
		if (l->rate != 0)
			load_pace(l, begun_us);
		int n = epoll_wait(l->epoll_fd, events, EVENTS, l->rate != 0 ? PACE_MS : SILENCE_MS);
		if ((n == 0 && l->rate == 0) || (n < 0 && errno != EINTR))
			die("no answer within %d ms", SILENCE_MS);
		for (int i = 0; i < n; i++)
			conn_event(l, events[i].data.ptr);
	}
	if (l->done == 0)
		die("nothing was answered");
	qsort(l->latencies_us, l->done, sizeof(*l->latencies_us), compare_u32);
	printf("{\"rps\":%.1f,\"p50_us\":%u,\"p99_us\":%u,\"requests\":%zu,\"refused\":%zu}\n", (double)l->done / seconds, l->latencies_us[l->done / 2],
	       l->latencies_us[l->done - 1 - l->done / 100], l->done, l->refused);
}

int main(int argc, char **argv)
{
	struct load l = { 0 };

	if (argc > 2 && strcmp(argv[1], "--rate") == 0) {
		l.rate = strtod(argv[2], NULL);
		argc -= 2;
		argv += 2;
	}
	if (argc < NEEDED_ARGS) {
		fprintf(stderr, "usage: load [--rate N] PORT SERVER-NAME CONNECTIONS SECONDS CA-FILE REQUEST-FILE...\n");
		return EXIT_FAILURE;
	}
	size_t files = (size_t)(argc - NEEDED_ARGS + 1);
	struct text *requests = calloc(files, sizeof(*requests));
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	l.count = strtoul(argv[3], NULL, 10);
	l.conns = calloc(l.count, sizeof(*l.conns));
	l.idle = calloc(l.count, sizeof(struct conn *));
	l.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (requests == NULL || ctx == NULL || l.count == 0 || l.conns == NULL || l.idle == NULL || l.epoll_fd < 0)
		die("cannot begin");
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (SSL_CTX_load_verify_file(ctx, argv[5]) != 1)
		die("%s: no CA", argv[5]);
	for (size_t i = 0; i < files; i++)
		requests[i] = file_read(argv[NEEDED_ARGS - 1 + (int)i]);
	l.requests = requests;
	l.request_count = files;
	for (size_t i = 0; i < l.count; i++) {
		struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = &l.conns[i] };
		conn_open(&l.conns[i], ctx, (uint16_t)strtoul(argv[1], NULL, 10), argv[2]);
		if (epoll_ctl(l.epoll_fd, EPOLL_CTL_ADD, l.conns[i].fd, &event) != 0)
			die("epoll_ctl: %s", strerror(errno));
	}
	load_run(&l, strtod(argv[4], NULL));
	return EXIT_SUCCESS; /* connections end with the process */
}
