/* tests/ekm-tester/http.c - one HTTP/1.1 exchange on a TLS connection, strict about framing (RFC 9112). */
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "tests/ekm-tester/wire_private.h"

#define EXCHANGE_MAX_MS 10000.0
#define LINE_MAX_LEN 4096
#define BODY_MAX ((size_t)1 << 20)
#define MS_PER_S 1000.0
#define NS_PER_MS 1e6

double now_ms(void)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * MS_PER_S + (double)ts.tv_nsec / NS_PER_MS;
}

const char *response_header(const struct response *r, const char *name)
{
	for (size_t i = 0; i < r->header_count; i++)
		if (strcasecmp(r->headers[i].name, name) == 0)
			return r->headers[i].value;
	return NULL;
}

void response_clear(struct response *r)
{
	free(r->body);
	*r = (struct response){ 0 };
}

/* At least one byte into the empty buffer. */
static bool fill(struct wire *w)
{
	if (now_ms() > w->deadline_ms) {
		w->fault = WIRE_TIMED_OUT;
		return false;
	}
	ERR_clear_error();
	int n = SSL_read(w->ssl, w->buffer, sizeof(w->buffer));
	if (n <= 0) {
		int error = SSL_get_error(w->ssl, n);
		w->fault = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? WIRE_TIMED_OUT : WIRE_CLOSED;
		return false;
	}
	w->pos = 0;
	w->len = (size_t)n;
	return true;
}

static bool read_line(struct wire *w, char *line, size_t cap)
{
	size_t n = 0;
	for (;;) {
		if (w->pos == w->len && !fill(w))
			return false;
		char c = w->buffer[w->pos++];
		if (c == '\n' && n > 0 && line[n - 1] == '\r') {
			line[n - 1] = '\0';
			return true;
		}
		if (c == '\0' || n + 1 >= cap) {
			w->fault = WIRE_MALFORMED;
			return false;
		}
		line[n++] = c;
	}
}

/* Append n bytes to the body; a NUL always follows them. */
static bool read_body(struct wire *w, struct response *r, size_t n)
{
	if (n > BODY_MAX - r->body_len) {
		w->fault = WIRE_MALFORMED;
		return false;
	}
	char *grown = realloc(r->body, r->body_len + n + 1);
	if (grown == NULL) {
		w->fault = WIRE_MALFORMED;
		return false;
	}
	r->body = grown;
	while (n > 0) {
		if (w->pos == w->len && !fill(w))
			return false;
		size_t part = w->len - w->pos < n ? w->len - w->pos : n;
		memcpy(r->body + r->body_len, w->buffer + w->pos, part);
		w->pos += part;
		r->body_len += part;
		n -= part;
	}
	r->body[r->body_len] = '\0';
	return true;
}

static bool read_number(const char *text, int base, size_t *ret)
{
	static const char DIGITS[] = "0123456789abcdefABCDEF";
	char *end = NULL;
	errno = 0;
	unsigned long n = strtoul(text, &end, base);
	if (text[0] == '\0' || strchr(DIGITS, text[0]) == NULL || errno != 0 || (*end != '\0' && *end != ';') || n > BODY_MAX)
		return false;
	*ret = n;
	return true;
}

static bool read_chunked(struct wire *w, struct response *r)
{
	char line[LINE_MAX_LEN];
	size_t n;
	do {
		if (!read_line(w, line, sizeof(line)))
			return false;
		if (!read_number(line, 16, &n)) {
			w->fault = WIRE_MALFORMED;
			return false;
		}
		if (!read_body(w, r, n))
			return false;
		if (n > 0 && (!read_line(w, line, sizeof(line)) || line[0] != '\0'))
			return false;
	} while (n > 0);
	do { /* trailers */
		if (!read_line(w, line, sizeof(line)))
			return false;
	} while (line[0] != '\0');
	return true;
}

static bool read_head(struct wire *w, struct response *r)
{
	char line[LINE_MAX_LEN];

	if (!read_line(w, line, sizeof(line)))
		return false;
	w->fault = WIRE_MALFORMED;
	if (sscanf(line, "HTTP/1.%1d %3d", &r->minor_version, &r->status) != 2)
		return false;
	r->header_count = 0;
	for (;;) {
		if (!read_line(w, line, sizeof(line)))
			return false;
		if (line[0] == '\0')
			return true;
		char *colon = strchr(line, ':');
		if (colon == NULL || colon == line || r->header_count == HEADERS_MAX) {
			w->fault = WIRE_MALFORMED;
			return false;
		}
		*colon = '\0';
		const char *value = colon + 1 + strspn(colon + 1, " \t");
		(void)snprintf(r->headers[r->header_count].name, HEADER_NAME_MAX, "%.*s", HEADER_NAME_MAX - 1, line);
		(void)snprintf(r->headers[r->header_count].value, HEADER_VALUE_MAX, "%.*s", HEADER_VALUE_MAX - 1, value);
		r->header_count++;
	}
}

static bool read_response(struct wire *w, struct response *r)
{
	do {
		if (!read_head(w, r))
			return false;
	} while (r->status < 200); /* 100 Continue and the like */

	const char *length = response_header(r, "Content-Length"), *coding = response_header(r, "Transfer-Encoding");
	const char *connection = response_header(r, "Connection");
	size_t n = 0;
	r->is_last = r->minor_version == 0 || (connection != NULL && strcasecmp(connection, "close") == 0);
	if (coding != NULL) {
		if (strcasecmp(coding, "chunked") != 0 || length != NULL) {
			w->fault = WIRE_MALFORMED;
			return false;
		}
		return read_chunked(w, r);
	}
	if (length != NULL) {
		if (!read_number(length, 10, &n)) {
			w->fault = WIRE_MALFORMED;
			return false;
		}
		return read_body(w, r, n);
	}
	if (!read_body(w, r, 0))
		return false;
	if (r->status == 204 || r->status == 304)
		return true;
	r->is_last = true; /* neither: the end of the connection ends the body */
	do {
		if (!read_body(w, r, w->len - w->pos))
			return false;
	} while (fill(w));
	return w->fault == WIRE_CLOSED;
}

enum wire_result wire_exchange(struct wire *w, const char *request, size_t len, struct response *ret, char why[WHY_MAX])
{
	struct response r = { 0 };
	double start = now_ms();

	w->deadline_ms = start + EXCHANGE_MAX_MS;
	w->pos = w->len = 0;
	w->fault = WIRE_MALFORMED;
	ERR_clear_error();
	/* A refusal may arrive while we are still writing, so a failed write is no reason not to read. */
	(void)SSL_write(w->ssl, request, (int)len);
	if (!read_response(w, &r)) {
		static const char *const WHAT[] = {
			[WIRE_CLOSED] = "connection closed without an answer",
			[WIRE_TIMED_OUT] = "no answer in time",
			[WIRE_MALFORMED] = "the answer is not HTTP/1.1",
		};
		wire_explain(why, WHAT[w->fault]);
		response_clear(&r);
		return w->fault;
	}
	if (w->pos != w->len) {
		(void)snprintf(why, WHY_MAX, "bytes follow the end of the answer");
		response_clear(&r);
		return WIRE_MALFORMED;
	}
	r.ms = now_ms() - start;
	*ret = r;
	return WIRE_ANSWERED;
}
