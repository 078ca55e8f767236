/* api/http_guard.c - see http_guard.h. The list is that of the hazards page, section 2.5. */
#include "api/http_guard.h"

#include <string.h>
#include <strings.h>

#include "server/base/encode.h"

#define METHOD_LEN_MAX 32
#define REQUEST_ID_MAX 128
#define LINE_END 2   /* CR LF */
#define VERSION_LEN 8 /* "HTTP/1.1" */

static const struct known_header {
	const char *name;
	size_t len;
	bool is_single; /* twice = two parsers may choose differently */
} KNOWN_HEADERS[HTTP_H_COUNT] = {
#define KNOWN(text, single) { .name = (text), .len = sizeof(text) - 1, .is_single = (single) }
	[HTTP_H_HOST] = KNOWN("Host", true),
	[HTTP_H_CONTENT_LENGTH] = KNOWN("Content-Length", true),
	[HTTP_H_TRANSFER_ENCODING] = KNOWN("Transfer-Encoding", true),
	[HTTP_H_AUTHORIZATION] = KNOWN("Authorization", true),
	[HTTP_H_CONTENT_TYPE] = KNOWN("Content-Type", true),
	[HTTP_H_CLIENT_REQUEST_ID] = KNOWN("x-ms-client-request-id", false),
	[HTTP_H_USER_AGENT] = KNOWN("User-Agent", false),
	[HTTP_H_IDENTITY_HEADER] = KNOWN("X-IDENTITY-HEADER", true),
	[HTTP_H_FORWARDED] = KNOWN("Forwarded", false),
	[HTTP_H_X_FORWARDED_FOR] = KNOWN("X-Forwarded-For", false),
	[HTTP_H_X_FORWARDED_HOST] = KNOWN("X-Forwarded-Host", false),
	[HTTP_H_VIA] = KNOWN("Via", false),
#undef KNOWN
};

static const struct {
	const char *text;
	bool may_have_body;
} METHODS[] = {
	[HTTP_GET] = { "GET", false },     [HTTP_HEAD] = { "HEAD", false },   [HTTP_POST] = { "POST", true },
	[HTTP_PUT] = { "PUT", true },      [HTTP_PATCH] = { "PATCH", true },  [HTTP_DELETE] = { "DELETE", false },
	[HTTP_OPTIONS] = { "OPTIONS", false },
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* RFC 9110 section 5.6.2. */
static bool is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		bool is_alnum = is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (!is_alnum && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
			return false;
	}
	return len > 0;
}

/* RFC 9110 section 5.5: visible bytes, space and tab. */
static bool is_field_value(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/* The one legal place of an empty segment: official clients send /keys/NAME//OP for "the latest version". `at` is the second slash. */
static bool is_empty_version(const char *path, size_t len, size_t at)
{
	static const char PREFIX[] = "/keys/";
	size_t name_at = sizeof(PREFIX) - 1;
	if (at <= name_at + 1 || at + 1 >= len || memcmp(path, PREFIX, name_at) != 0)
		return false;
	return memchr(path + name_at, '/', at - 1 - name_at) == NULL && memchr(path + at + 1, '/', len - at - 1) == NULL;
}

/* A segment that is "." or "..", its dots plain or encoded. */
static bool is_dot_segment(const char *segment, size_t len)
{
	unsigned dots = 0;
	for (size_t i = 0; i < len; dots++) {
		if (segment[i] == '.')
			i += 1;
		else if (len - i >= 3 && segment[i] == '%' && segment[i + 1] == '2' && (segment[i + 2] == 'e' || segment[i + 2] == 'E'))
			i += 3;
		else
			return false;
	}
	return dots == 1 || dots == 2;
}

static const char *check_bytes(const char *target, size_t len, size_t path_len)
{
	for (size_t i = 0; i < len; i++) {
		char c = target[i];
		if (c <= ' ' || c > '~')
			return "The request target has a byte outside printable ASCII.";
		if (c == '#' || (c == '\\' && i < path_len))
			return "The request target has a character that is not allowed there.";
		if (c != '%')
			continue;
		if (len - i < 3 || hex_digit(target[i + 1]) < 0 || hex_digit(target[i + 2]) < 0)
			return "The request target has a broken percent-encoding.";
		int byte = hex_digit(target[i + 1]) * 16 + hex_digit(target[i + 2]);
		if (byte == 0 || (i < path_len && (byte == '/' || byte == '\\')))
			return "The request target encodes a byte that is not allowed there.";
	}
	return NULL;
}

const char *http_guard_target(const char *target, size_t len)
{
	if (len > HTTP_URI_MAX)
		return "The request target is too long.";
	if (len == 0 || target[0] != '/')
		return "The request target must be an absolute path.";
	const char *mark = memchr(target, '?', len);
	size_t path_len = mark == NULL ? len : (size_t)(mark - target);
	const char *problem = check_bytes(target, len, path_len);
	if (problem != NULL)
		return problem;
	for (size_t start = 1; start <= path_len;) {
		const char *slash = memchr(target + start, '/', path_len - start);
		size_t end = slash == NULL ? path_len : (size_t)(slash - target);
		if (is_dot_segment(target + start, end - start))
			return "The path has a dot segment.";
		if (end == start && slash != NULL && !is_empty_version(target, path_len, start))
			return "The path has an empty segment.";
		start = end + 1;
	}
	return NULL;
}

const char *http_guard_begin(struct http_guard *g, const char *method, const char *target, size_t target_len, const char *version)
{
	size_t method_len = strlen(method);
	/* The library cuts at NUL bytes and skips spaces; then the pieces do not touch. */
	if (method + method_len + 1 != target || target + target_len + 1 != version)
		return "The request line is malformed.";
	if (method_len > METHOD_LEN_MAX || !is_token(method, method_len))
		return "The method is malformed.";
	g->is_http_1_1 = strcmp(version, "HTTP/1.1") == 0;
	if (!g->is_http_1_1 && strcmp(version, "HTTP/1.0") != 0)
		return "Only HTTP/1.1 and HTTP/1.0 are spoken here.";
	g->method = HTTP_OTHER;
	for (size_t i = 0; i < KMS_ARRAY_LEN(METHODS); i++)
		if (strcmp(method, METHODS[i].text) == 0)
			g->method = (enum http_method)i;
	g->next_line = version + VERSION_LEN + LINE_END;
	return NULL;
}

const char *http_guard_header(struct http_guard *g, const char *name, size_t name_len, const char *value, size_t value_len)
{
	/* A line ended by a bare LF, a folded line and a value cut at a NUL all leave a gap, an overlap or a moved text. */
	if (name != g->next_line || name_len != strlen(name) || value_len != strlen(value))
		return "A header line is malformed.";
	g->next_line = value + value_len + LINE_END;
	if (++g->count > HTTP_HEADERS_MAX)
		return "The request has too many headers.";
	g->bytes += name_len + value_len;
	if (g->bytes > HTTP_HEADER_BYTES_MAX)
		return "The request's headers are too large.";
	if (!is_token(name, name_len))
		return "A header name is malformed.";
	if (!is_field_value(value, value_len))
		return "A header value has a control character.";
	for (size_t i = 0; i < HTTP_H_COUNT; i++) {
		if (name_len != KNOWN_HEADERS[i].len || strncasecmp(name, KNOWN_HEADERS[i].name, name_len) != 0)
			continue;
		if (g->known[i].text == NULL)
			g->known[i] = (struct http_span){ .text = value, .len = value_len };
		else if (KNOWN_HEADERS[i].is_single)
			return "A header that may appear once appears twice.";
	}
	return NULL;
}

static bool parse_length(const struct http_span *s, uint64_t *ret_length)
{
	uint64_t n = 0;
	for (size_t i = 0; i < s->len; i++) {
		if (!is_digit(s->text[i]) || __builtin_mul_overflow(n, 10U, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(s->text[i] - '0'), &n))
			return false;
	}
	*ret_length = n;
	return s->len > 0;
}

const char HTTP_GUARD_NO_BODY[] = "This method takes no request body.";

const char *http_guard_finish(struct http_guard *g, const char *end)
{
	const struct http_span *coding = &g->known[HTTP_H_TRANSFER_ENCODING];
	const struct http_span *length = &g->known[HTTP_H_CONTENT_LENGTH];
	if (g->next_line + LINE_END != end)
		return "A header line is malformed.";
	if (g->is_http_1_1 && g->known[HTTP_H_HOST].text == NULL)
		return "The Host header is missing.";
	if (coding->text != NULL) {
		if (!g->is_http_1_1)
			return "HTTP/1.0 has no Transfer-Encoding.";
		if (length->text != NULL)
			return "Content-Length and Transfer-Encoding exclude each other.";
		if (strcmp(coding->text, "chunked") != 0)
			return "The only Transfer-Encoding understood is chunked.";
		g->is_chunked = true;
	}
	if (length->text != NULL && !parse_length(length, &g->content_length))
		return "Content-Length is malformed.";
	bool may_have_body = g->method != HTTP_OTHER && METHODS[g->method].may_have_body;
	if ((g->is_chunked || g->content_length > 0) && !may_have_body)
		return HTTP_GUARD_NO_BODY;
	return NULL;
}

bool http_guard_is_request_id(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return len > 0 && len <= REQUEST_ID_MAX;
}
