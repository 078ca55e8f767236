/*
 * api/http_guard.h - what a request must look like before anything else sees it. libmicrohttpd forgives nearly everything (two Hosts, two
 * lengths, folded lines, bytes hidden behind a NUL), and a request that two parsers read differently is how one client speaks in another's
 * name. Pure functions; nothing here knows the library.
 */
#ifndef HOLDFAST_API_HTTP_GUARD_H
#define HOLDFAST_API_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http.h"

/* Headers that the guard or the application looks at. */
enum http_known_header {
	HTTP_H_HOST,
	HTTP_H_CONTENT_LENGTH,
	HTTP_H_TRANSFER_ENCODING,
	HTTP_H_AUTHORIZATION,
	HTTP_H_CONTENT_TYPE,
	HTTP_H_CLIENT_REQUEST_ID,
	HTTP_H_USER_AGENT,
	HTTP_H_IDENTITY_HEADER,
	HTTP_H_FORWARDED,
	HTTP_H_X_FORWARDED_FOR,
	HTTP_H_X_FORWARDED_HOST,
	HTTP_H_VIA,
	HTTP_H_COUNT
};

struct http_span {
	const char *text; /* NULL = absent; NUL-terminated; borrowed */
	size_t len;
};

/* The first line and the header block of one request, as they lie in the receive buffer. */
struct http_guard {
	enum http_method method;     /* set by http_guard_begin() */
	bool is_http_1_1;
	const char *next_line;       /* where the next line has to begin if nothing was skipped, cut or joined */
	unsigned count;              /* headers so far */
	size_t bytes;                /* of names and values */
	struct http_span known[HTTP_H_COUNT];
	uint64_t content_length;     /* 0 when absent; set by http_guard_finish() */
	bool is_chunked;
};

/**
 * Judge the raw request target (RFC 9112 section 3.2, origin form only).
 * @return NULL = fine, else what is wrong with it, for the client
 */
const char *http_guard_target(const char *target, size_t len);

/**
 * Judge the request line; starts a zeroed guard. The three texts lie in one buffer, each ended by a NUL that replaced one separator.
 * @param target_len  the length of the target as http_guard_target() saw it
 * @return NULL = fine, else what is wrong
 */
const char *http_guard_begin(struct http_guard *g, const char *method, const char *target, size_t target_len, const char *version);

/** Take in the next header. @return NULL = fine, else what is wrong */
const char *http_guard_header(struct http_guard *g, const char *name, size_t name_len, const char *value, size_t value_len);

/** What http_guard_finish() says of a body where the method has none; the one problem that is about the method, so it is known by its address. */
extern const char HTTP_GUARD_NO_BODY[];
/**
 * Judge the header block as a whole.
 * @param end  the first byte after the empty line
 * @return NULL = fine, else what is wrong
 */
const char *http_guard_finish(struct http_guard *g, const char *end);

/** x-ms-client-request-id: printable ASCII of at most 128 bytes. */
bool http_guard_is_request_id(const char *text, size_t len);

#endif
