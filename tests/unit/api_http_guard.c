/* tests/unit/api_http_guard.c - the guard's pure part: request targets and header blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/http_guard.h"

static const char *const GOOD_TARGETS[] = {
	"/",
	"/keys",
	"/keys/k1/?api-version=7.4",
	"/keys/k1//unwrapkey?api%2Dversion=7.4",
	"/keys/a-b//x",
	"/keys/k/0123456789abcdef0123456789abcdef/sign",
	"/t/oauth2/token?resource=https%3A%2F%2Fvault.example%2F//..&x=/../",
	"/a.b/..c/.../d..",
	"/%41%7a",
	"/a?b=\\",
};

static const char *const BAD_TARGETS[] = {
	"",
	"*",
	"keys",
	"http://host/keys",
	"host:443",
	"//",
	"//keys",
	"/keys//",
	"/keys//k1",
	"/keys//create",
	"/keys/k1//",
	"/keys/k1///sign",
	"/keys/k1//sign/",
	"/keys/k1//sign/more",
	"/keys/k1/v//sign",
	"/Keys/k1//sign",
	"/deletedkeys/k1//sign",
	"/a//b",
	"/keys/a%00b",
	"/a?b=%00",
	"/keys/a%2fb",
	"/keys/a%2Fb",
	"/keys/a%5cb",
	"/keys/a%5Cb",
	"/keys/a\\b",
	"/a/./b",
	"/a/../b",
	"/a/..",
	"/a/.",
	"/..",
	"/.",
	"/%2e/b",
	"/a/%2E%2e/b",
	"/a/.%2e",
	"/a/%2e.?x",
	"/a b",
	"/a\tb",
	"/a\x7f",
	"/a\x80",
	"/a?b=\xc3\xa4",
	"/a?b= c",
	"/a#b",
	"/a?b#c",
	"/a%",
	"/a%4",
	"/a%zz",
	"/a?b=%g0",
};

static void legal_targets_pass(void **state)
{
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(GOOD_TARGETS); i++) {
		const char *problem = http_guard_target(GOOD_TARGETS[i], strlen(GOOD_TARGETS[i]));
		if (problem != NULL)
			fail_msg("%s: %s", GOOD_TARGETS[i], problem);
	}
}

static void irregular_targets_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD_TARGETS); i++)
		if (http_guard_target(BAD_TARGETS[i], strlen(BAD_TARGETS[i])) == NULL)
			fail_msg("accepted: %s", BAD_TARGETS[i]);
	assert_non_null(http_guard_target("/a\0b", 4));
}

static void a_target_may_have_2048_bytes_and_no_more(void **state)
{
	char target[HTTP_URI_MAX + 1];
	(void)state;
	memset(target, 'a', sizeof(target));
	target[0] = '/';
	assert_null(http_guard_target(target, HTTP_URI_MAX));
	assert_non_null(http_guard_target(target, HTTP_URI_MAX + 1));
}

/* Parses as the library does: cuts lines at CR LF or LF in place, and names at the colon. */
static const char *judge(const char *text, size_t len, struct http_guard *g)
{
	static char block[64 << 10];
	assert_true(len < sizeof(block));
	memcpy(block, text, len);
	block[len] = '\0';
	memset(g, 0, sizeof(*g));
	char *target = memchr(block, ' ', len);
	*target++ = '\0';
	char *version = strchr(target, ' ');
	*version++ = '\0';
	const char *problem = NULL;
	char *line = version;
	for (bool is_first = true;; is_first = false) {
		char *end = line;
		while (*end != '\n')
			end++;
		char *next = end + 1;
		if (end > line && end[-1] == '\r')
			end[-1] = '\0';
		*end = '\0';
		if (is_first) {
			problem = http_guard_begin(g, block, target, strlen(target), version);
		} else if (line[0] == '\0') {
			return problem != NULL ? problem : http_guard_finish(g, next);
		} else if (problem == NULL) {
			char *value = strchr(line, ':');
			assert_non_null(value);
			*value++ = '\0';
			value += strspn(value, " \t");
			problem = http_guard_header(g, line, strlen(line), value, strlen(value));
		}
		line = next;
	}
}

#define POST_ "POST /k HTTP/1.1\r\nHost: h\r\n"
#define GET_ "GET /k HTTP/1.1\r\nHost: h\r\n"

static void legal_heads_pass(void **state)
{
	static const char *const GOOD[] = {
		GET_ "\r\n",
		GET_ "Content-Length: 0\r\n\r\n",
		"GET /k HTTP/1.0\r\n\r\n",
		"GET /k HTTP/1.0\r\nHost: h\r\n\r\n",
		"HEAD /k HTTP/1.1\r\nHost:h\r\n\r\n",
		"OPTIONS /k HTTP/1.1\r\nHost: h\r\n\r\n",
		"BREW /k HTTP/1.1\r\nHost: h\r\n\r\n",
		"DELETE /k HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		POST_ "Content-Length: 17\r\nAccept: a\r\nAccept: b\r\nX:\r\n\r\n",
		POST_ "Transfer-Encoding: chunked\r\n\r\n",
		GET_ "X-IDENTITY-HEADER: a\r\nVia: a\r\nVia: b\r\nX-Forwarded-For: a\r\nX-Forwarded-For: b\r\n\r\n",
		POST_ "User-Agent: caf\xc3\xa9\tx\r\n\r\n",
	};
	struct http_guard g;
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(GOOD); i++) {
		const char *problem = judge(GOOD[i], strlen(GOOD[i]), &g);
		if (problem != NULL)
			fail_msg("%s: %s", GOOD[i], problem);
	}
}

static void irregular_heads_are_refused(void **state)
{
	static const char *const BAD[] = {
		"GET /k HTTP/1.1\r\n\r\n",
		"GET /k HTTP/1.2\r\nHost: h\r\n\r\n",
		"GET /k HTTP/2.0\r\nHost: h\r\n\r\n",
		"GET /k http/1.1\r\nHost: h\r\n\r\n",
		"GE(T /k HTTP/1.1\r\nHost: h\r\n\r\n",
		GET_ "host: h\r\n\r\n",
		GET_ "X-IDENTITY-HEADER: a\r\nx-identity-header: a\r\n\r\n",
		"GET /k HTTP/1.1\nHost: h\r\n\r\n",
		"GET /k HTTP/1.1\r\nHost: h\n\r\n",
		"GET /k HTTP/1.1\r\nHost: h\r\n\n",
		GET_ "X: a\nY: b\r\n\r\n",
		GET_ "X : a\r\n\r\n",
		GET_ " X: a\r\n\r\n",
		GET_ ": a\r\n\r\n",
		GET_ "X(: a\r\n\r\n",
		GET_ "X: a\x01\r\n\r\n",
		GET_ "X: a\rb\r\n\r\n",
		GET_ "Authorization: a\r\nAuthorization: a\r\n\r\n",
		POST_ "Content-Type: a\r\nContent-type: a\r\n\r\n",
		POST_ "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
		POST_ "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		POST_ "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		POST_ "Transfer-Encoding : chunked\r\n\r\n",
		POST_ "Transfer-Encoding: gzip\r\n\r\n",
		POST_ "Transfer-Encoding: gzip, chunked\r\n\r\n",
		POST_ "Transfer-Encoding: chunked \r\n\r\n",
		POST_ "Transfer-Encoding: identity\r\n\r\n",
		POST_ "Transfer-Encoding:\r\n\r\n",
		"POST /k HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
		POST_ "Content-Length: +1\r\n\r\n",
		POST_ "Content-Length: -1\r\n\r\n",
		POST_ "Content-Length: 1,1\r\n\r\n",
		POST_ "Content-Length: 0x1\r\n\r\n",
		POST_ "Content-Length: 1 \r\n\r\n",
		POST_ "Content-Length:\r\n\r\n",
		POST_ "Content-Length: 99999999999999999999\r\n\r\n",
		GET_ "Content-Length: 1\r\n\r\n",
		GET_ "Transfer-Encoding: chunked\r\n\r\n",
		"DELETE /k HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n",
		"HEAD /k HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n",
		"BREW /k HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n",
	};
	static const char NUL_IN_VALUE[] = GET_ "X: a\0b\r\nY: c\r\n\r\n";
	static const char NUL_IN_LAST_VALUE[] = GET_ "X: a\0b\r\n\r\n";
	static const char NUL_IN_TARGET[] = "GET /k\0x HTTP/1.1\r\nHost: h\r\n\r\n";
	static const char NUL_IN_METHOD[] = "GET\0X /k HTTP/1.1\r\nHost: h\r\n\r\n";
	struct http_guard g;
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		if (judge(BAD[i], strlen(BAD[i]), &g) == NULL)
			fail_msg("accepted: %s", BAD[i]);
	assert_non_null(judge(NUL_IN_VALUE, sizeof(NUL_IN_VALUE) - 1, &g));
	assert_non_null(judge(NUL_IN_LAST_VALUE, sizeof(NUL_IN_LAST_VALUE) - 1, &g));
	assert_non_null(judge(NUL_IN_METHOD, sizeof(NUL_IN_METHOD) - 1, &g));
	char block[64];
	memcpy(block, NUL_IN_TARGET, sizeof(NUL_IN_TARGET));
	block[3] = '\0';
	block[8] = '\0';
	memset(&g, 0, sizeof(g));
	assert_non_null(http_guard_begin(&g, block, block + 4, strlen(block + 4), block + 9));
}

static void headers_are_limited_in_number_and_size(void **state)
{
	static char head[40 << 10];
	struct http_guard g;
	(void)state;
	for (int count = HTTP_HEADERS_MAX; count <= HTTP_HEADERS_MAX + 1; count++) {
		size_t n = (size_t)snprintf(head, sizeof(head), GET_);
		for (int i = 1; i < count; i++)
			n += (size_t)snprintf(head + n, sizeof(head) - n, "X-%d: y\r\n", i);
		n += (size_t)snprintf(head + n, sizeof(head) - n, "\r\n");
		assert_int_equal(judge(head, n, &g) == NULL, count == HTTP_HEADERS_MAX);
	}
	for (int over = 0; over <= 1; over++) {
		int rest = HTTP_HEADER_BYTES_MAX - (int)strlen("HosthX") + over;
		size_t n = (size_t)snprintf(head, sizeof(head), GET_ "X: %0*d\r\n\r\n", rest, 0);
		assert_int_equal(judge(head, n, &g) == NULL, over == 0);
	}
}

static void what_the_application_needs_is_picked_out(void **state)
{
	static const char HEAD[] = "PATCH /k HTTP/1.1\r\nhOST: h:1\r\nauthorization: Bearer x\r\nContent-Length: 42\r\n\r\n";
	struct http_guard g;
	(void)state;
	assert_null(judge(HEAD, sizeof(HEAD) - 1, &g));
	assert_int_equal(g.method, HTTP_PATCH);
	assert_true(g.is_http_1_1);
	assert_string_equal(g.known[HTTP_H_HOST].text, "h:1");
	assert_string_equal(g.known[HTTP_H_AUTHORIZATION].text, "Bearer x");
	assert_null(g.known[HTTP_H_CONTENT_TYPE].text);
	assert_int_equal(g.content_length, 42);
	assert_false(g.is_chunked);
}

static void request_ids_are_printable_and_short(void **state)
{
	char id[129];
	(void)state;
	memset(id, 'x', sizeof(id));
	assert_true(http_guard_is_request_id(id, 128));
	assert_false(http_guard_is_request_id(id, 129));
	assert_false(http_guard_is_request_id("", 0));
	assert_false(http_guard_is_request_id("a\xc3\xa9", 3));
	assert_false(http_guard_is_request_id("a\tb", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(legal_targets_pass),
		cmocka_unit_test(irregular_targets_are_refused),
		cmocka_unit_test(a_target_may_have_2048_bytes_and_no_more),
		cmocka_unit_test(legal_heads_pass),
		cmocka_unit_test(irregular_heads_are_refused),
		cmocka_unit_test(headers_are_limited_in_number_and_size),
		cmocka_unit_test(what_the_application_needs_is_picked_out),
		cmocka_unit_test(request_ids_are_printable_and_short),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
