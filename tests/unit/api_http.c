/* tests/unit/api_http.c - the HTTP transport over real sockets: what passes, what is refused, how answers travel. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/http_rig.h"
#include "tests/support/raw_client.h"

#define HOST "Host: h\r\n"
#define GET_NOW "GET /now HTTP/1.1\r\n" HOST "\r\n"

static struct raw_response answer_; /* large, hence not on the stack */

static int start(void **state)
{
	struct rig *rig = rig_new();
	struct kms_err err = { 0 };
	*state = rig;
	return rig_start(rig, &err) ? 0 : -1;
}

static int start_plain(void **state)
{
	struct rig *rig = rig_new();
	struct kms_err err = { 0 };
	rig->cfg.cert_file = rig->cfg.key_file = NULL;
	*state = rig;
	return rig_start(rig, &err) ? 0 : -1;
}

static int stop(void **state)
{
	rig_free(*state);
	return 0;
}

static struct raw_client *client(const struct rig *rig)
{
	struct raw_client *c = raw_connect(rig->port, rig->cfg.cert_file != NULL ? RAW_TLS_DEFAULT : NULL);
	assert_non_null(c);
	return c;
}

static void gets_and_posts_are_served_over_tls(void **state)
{
	struct rig *rig = *state;
	struct raw_client *c = client(rig);
	assert_int_equal(raw_ask(c, "GET /now?a=%2F&b HTTP/1.1\r\n" HOST "\r\n", &answer_), 200);
	assert_string_equal(answer_.body, "GET /now?a=%2F&b 0 0");
	assert_string_equal(raw_header(&answer_, "X-Rig"), "yes");
	assert_non_null(raw_header(&answer_, "Date"));
	assert_int_equal(raw_ask(c, "POST /now HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", &answer_), 200);
	assert_string_equal(answer_.body, "POST /now? 3 294");
	assert_string_equal(rig->tls, "1.3");
	assert_string_equal(rig->peer, "127.0.0.1");
	raw_close(c);
	assert_true(rig_wait_ended(rig, 2));
	assert_int_equal(atomic_load(&rig->admits), 2);
}

static void every_method_reaches_the_application(void **state)
{
	static const char *const METHODS[] = { "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW" };
	struct raw_client *c = client(*state);
	char text[128], want[64];
	for (size_t i = 0; i < KMS_ARRAY_LEN(METHODS); i++) {
		(void)snprintf(text, sizeof(text), "%s /now HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", METHODS[i]);
		(void)snprintf(want, sizeof(want), "%s /now? 0 0", METHODS[i]);
		assert_int_equal(raw_ask(c, text, &answer_), 200);
		assert_string_equal(answer_.body, want);
	}
	raw_send_text(c, "HEAD /now HTTP/1.1\r\n" HOST "\r\n");
	raw_read(c, &answer_, true);
	assert_int_equal(answer_.status, 200);
	assert_string_equal(raw_header(&answer_, "Content-Length"), "14");
	assert_int_equal(raw_ask(c, GET_NOW, &answer_), 200);
	raw_close(c);
}

static void legal_requests_pass_unchanged(void **state)
{
	static const struct {
		const char *text, *body;
	} LEGAL[] = {
		{ "POST /keys/k1//unwrapkey?api%2Dversion=7.4 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
		  "POST /keys/k1//unwrapkey?api%2Dversion=7.4 0 0" },
		{ "GET /a%20b/%41?x=a+b&x&&=&y=%2F..// HTTP/1.1\r\n" HOST "\r\n", "GET /a%20b/%41?x=a+b&x&&=&y=%2F..// 0 0" },
		{ "GET /now?a?b HTTP/1.1\r\n" HOST "Cookie: a=b; c=d\r\n\r\n", "GET /now?a?b 0 0" },
		{ "GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET /now? 0 0" },
		{ "\r\nGET /now HTTP/1.1\r\n" HOST "\r\n", "GET /now? 0 0" },
		{ "POST /now HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nTrailer: t\r\n\r\n",
		  "POST /now? 3 294" },
		{ "POST /now HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST /now? 0 0" },
	};
	struct raw_client *c = client(*state);
	for (size_t i = 0; i < KMS_ARRAY_LEN(LEGAL); i++) {
		if (raw_ask(c, LEGAL[i].text, &answer_) != 200)
			fail_msg("%s: %d %s", LEGAL[i].text, answer_.status, answer_.body);
		assert_string_equal(answer_.body, LEGAL[i].body);
	}
	raw_close(c);
}

static void headers_may_arrive_byte_by_byte(void **state)
{
	static const char TEXT[] = "POST /now?q HTTP/1.1\r\n" HOST "Authorization: Bearer a.b.c\r\nX: \t y\r\nContent-Length: 2\r\n\r\nab";
	struct raw_client *c = client(*state);
	for (size_t i = 0; i < sizeof(TEXT) - 1; i++)
		assert_true(raw_send(c, TEXT + i, 1));
	raw_read(c, &answer_, false);
	assert_int_equal(answer_.status, 200);
	assert_string_equal(answer_.body, "POST /now?q 2 195");
	raw_close(c);
}

/* A head that outgrows the library's first buffer must still lie in one piece for the guard. */
static void large_heads_pass(void **state)
{
	static char text[16 << 10];
	struct raw_client *c = client(*state);
	for (int round = 0; round < 2; round++) {
		size_t n = (size_t)snprintf(text, sizeof(text), "GET /now HTTP/1.1\r\n" HOST);
		for (int i = 0; i < 60; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "X-Header-%d: %0200d\r\n", i, i);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
		assert_true(raw_send(c, text, n / 2));
		assert_true(raw_send(c, text + n / 2, n - n / 2));
		raw_read(c, &answer_, false);
		if (answer_.status != 200)
			fail_msg("%d %s", answer_.status, answer_.body);
	}
	raw_close(c);
}

/* Sent on a connection of its own: answered 400 and the connection ends, whatever follows on it. */
static void expect_400(const struct rig *rig, const char *bytes, size_t len, bool is_ours)
{
	struct raw_client *c = client(rig);
	(void)raw_send(c, bytes, len);
	(void)raw_send_text(c, GET_NOW);
	raw_read(c, &answer_, false);
	if (answer_.status != 400)
		fail_msg("%.*s: %d %s", (int)len, bytes, answer_.status, answer_.body);
	if (is_ours && strncmp(answer_.body, "refused: ", 9) != 0)
		fail_msg("%.*s: not refused by the guard: %s", (int)len, bytes, answer_.body);
	/* The library answers a malformed Content-Length with a doubled header block before it closes. */
	if (!(is_ours ? raw_is_closed(c) : raw_drain(c)))
		fail_msg("%.*s: the connection stays open", (int)len, bytes);
	raw_close(c);
}

#define TEXT_AND_LEN(text) { text, sizeof(text) - 1 }
#define POST_NOW "POST /now HTTP/1.1\r\n" HOST

static void irregular_requests_are_refused_and_end_the_connection(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} BAD[] = {
		TEXT_AND_LEN("GET /keys/a%00b HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /now?a=%00 HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /now\0x HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /now\x01 HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /now\xff HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /now?a=\x7f HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /now x HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET  /now HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /keys/a%2fb HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /keys/a%2Fb HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /keys/a%5cb HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET //now HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /keys//create HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /a/./b HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /a/../b HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /a/%2e%2E/b HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET http://h/now HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("CONNECT h:443 HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.2\r\n" HOST "\r\n"),
		TEXT_AND_LEN("G(T /now HTTP/1.1\r\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "Host: other\r\n\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST HOST "\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "Authorization: a\r\nAuthorization: b\r\n\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "X: a\nY: b\r\n\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\n" HOST "\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\nY: z\r\n\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "X : a\r\n\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "X(y): a\r\n\r\n"),
		TEXT_AND_LEN(POST_NOW "Content-Type: a\r\nContent-Type: b\r\n\r\n"),
		TEXT_AND_LEN(POST_NOW "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
		TEXT_AND_LEN(POST_NOW "Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
		TEXT_AND_LEN(POST_NOW "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		TEXT_AND_LEN(POST_NOW "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		TEXT_AND_LEN(POST_NOW "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
		TEXT_AND_LEN(POST_NOW "Transfer-Encoding: gzip\r\n\r\n"),
		TEXT_AND_LEN(POST_NOW "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
		TEXT_AND_LEN(POST_NOW "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n"),
		TEXT_AND_LEN("POST /now HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\na"),
		TEXT_AND_LEN("GET /now HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		TEXT_AND_LEN("DELETE /now HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\na"),
	};
	struct rig *rig = *state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		expect_400(rig, BAD[i].bytes, BAD[i].len, true);
	assert_int_equal(atomic_load(&rig->admits), 0);
	assert_int_equal(atomic_load(&rig->refusals), KMS_ARRAY_LEN(BAD));
	assert_int_equal(atomic_load(&rig->last_refusal), KMS_E_INVALID);
}

/* What the library refuses itself, before the application hears of it, is a 400 and an end as well. */
static void what_the_library_refuses_ends_the_connection_too(void **state)
{
	static const char *const BAD[] = {
		"GET /now HTTP/1.1\r\n" HOST "no colon\r\n\r\n",
		"GET /now\r\n" HOST "\r\n",
		"GET /now http/1.1\r\n" HOST "\r\n",
		POST_NOW "Content-Length: x\r\n\r\n",
		POST_NOW "Content-Length: -1\r\n\r\n",
		POST_NOW "Content-Length: 1 \r\n\r\na",
		POST_NOW "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	struct rig *rig = *state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		expect_400(rig, BAD[i], strlen(BAD[i]), false);
	assert_int_equal(atomic_load(&rig->admits), 1); /* the one with a broken chunk */
	assert_true(rig_wait_ended(rig, 1));
}

static void request_targets_are_limited_to_2048_bytes(void **state)
{
	static char text[HTTP_URI_MAX + 64];
	struct rig *rig = *state;
	struct raw_client *c = client(rig);
	(void)snprintf(text, sizeof(text), "GET /%0*d HTTP/1.1\r\n" HOST "\r\n", HTTP_URI_MAX - 1, 0);
	assert_int_equal(raw_ask(c, text, &answer_), 200);
	raw_close(c);
	(void)snprintf(text, sizeof(text), "GET /%0*d HTTP/1.1\r\n" HOST "\r\n", HTTP_URI_MAX, 0);
	expect_400(rig, text, strlen(text), true);
}

static void headers_are_limited_in_number_and_size(void **state)
{
	static char text[HTTP_HEADER_BYTES_MAX + 4096];
	struct rig *rig = *state;
	size_t n = (size_t)snprintf(text, sizeof(text), "GET /now HTTP/1.1\r\n" HOST);
	for (int i = 0; i < HTTP_HEADERS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "X: y\r\n");
	n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
	expect_400(rig, text, n, true);
	n = (size_t)snprintf(text, sizeof(text), "GET /now HTTP/1.1\r\n" HOST "X: %0*d\r\n\r\n", HTTP_HEADER_BYTES_MAX, 0);
	expect_400(rig, text, n, true);
}

static void a_body_over_the_limit_gets_413_and_an_end(void **state)
{
	struct rig *rig = *state;
	static char text[4096];
	atomic_store(&rig->body_max, 8);
	static const char *const JUST[] = {
		POST_NOW "Content-Length: 8\r\n\r\n12345678",
		POST_NOW "Transfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n4\r\n5678\r\n0\r\n\r\n",
	};
	static const char *const OVER[] = {
		POST_NOW "Content-Length: 9\r\n\r\n123456789",
		POST_NOW "Transfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n5\r\n56789\r\n0\r\n\r\n",
		POST_NOW "Transfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n",
		/* far beyond what would be read away: answered before the body */
		POST_NOW "Content-Length: 1073741824\r\n\r\n",
		POST_NOW "Content-Length: 18446744073709551615\r\n\r\n",
	};
	struct raw_client *c = client(rig);
	for (size_t i = 0; i < KMS_ARRAY_LEN(JUST); i++)
		assert_int_equal(raw_ask(c, JUST[i], &answer_), 200);
	raw_close(c);
	for (size_t i = 0; i < KMS_ARRAY_LEN(OVER); i++) {
		c = client(rig);
		(void)snprintf(text, sizeof(text), "%s" GET_NOW, OVER[i]);
		if (raw_ask(c, text, &answer_) != 413)
			fail_msg("%s: %d", OVER[i], answer_.status);
		assert_int_equal(strncmp(answer_.body, "refused: ", 9), 0);
		assert_true(raw_is_closed(c));
		raw_close(c);
	}
	assert_int_equal(atomic_load(&rig->last_refusal), KMS_E_TOO_LARGE);
	assert_true(rig_wait_ended(rig, KMS_ARRAY_LEN(JUST) + KMS_ARRAY_LEN(OVER)));
}

static void the_body_of_what_is_refused_anyway_is_read_but_not_kept(void **state)
{
	struct rig *rig = *state;
	struct raw_client *c = client(rig);
	atomic_store(&rig->drops_body, true);
	assert_int_equal(raw_ask(c, POST_NOW "Content-Length: 8\r\n\r\n12345678", &answer_), 200);
	assert_string_equal(answer_.body, "POST /now? 0 0");
	assert_int_equal(raw_ask(c, POST_NOW "Transfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n0\r\n\r\n", &answer_), 200);
	assert_string_equal(answer_.body, "POST /now? 0 0");
	/* The connection goes on with the next request. */
	atomic_store(&rig->drops_body, false);
	assert_int_equal(raw_ask(c, POST_NOW "Content-Length: 1\r\n\r\na", &answer_), 200);
	assert_string_equal(answer_.body, "POST /now? 1 97");
	raw_close(c);
}

static void an_endless_body_is_cut_off(void **state)
{
	static char chunk[16 + 65536];
	struct raw_client *c = client(*state);
	size_t n = (size_t)snprintf(chunk, sizeof(chunk), "10000\r\n");
	memset(chunk + n, 'x', 65536);
	memcpy(chunk + n + 65536, "\r\n", 2);
	assert_true(raw_send_text(c, POST_NOW "Transfer-Encoding: chunked\r\n\r\n"));
	bool is_open = true;
	for (int i = 0; i < 1024 && is_open; i++)
		is_open = raw_send(c, chunk, n + 65536 + 2);
	assert_false(is_open);
	raw_close(c);
}

static void bodies_up_to_the_limit_arrive_whole(void **state)
{
	struct rig *rig = *state;
	struct raw_client *c = client(rig);
	const size_t len = 300000;
	char head[128], want[64];
	char *body = malloc(len);
	unsigned sum = 0;
	assert_non_null(body);
	for (size_t i = 0; i < len; i++) {
		body[i] = (char)(i % 251);
		sum += (unsigned)(i % 251);
	}
	atomic_store(&rig->body_max, HTTP_BODY_MAX);
	(void)snprintf(head, sizeof(head), POST_NOW "Content-Length: %zu\r\n\r\n", len);
	(void)snprintf(want, sizeof(want), "POST /now? %zu %u", len, sum);
	assert_true(raw_send_text(c, head));
	assert_true(raw_send(c, body, len));
	raw_read(c, &answer_, false);
	assert_string_equal(answer_.body, want);

	assert_true(raw_send_text(c, POST_NOW "Transfer-Encoding: chunked\r\n\r\n"));
	for (size_t at = 0; at < len; at += 1000) {
		(void)snprintf(head, sizeof(head), "%x\r\n", 1000);
		assert_true(raw_send_text(c, head));
		assert_true(raw_send(c, body + at, 1000));
		assert_true(raw_send_text(c, "\r\n"));
	}
	assert_true(raw_send_text(c, "0\r\n\r\n"));
	raw_read(c, &answer_, false);
	assert_string_equal(answer_.body, want);
	free(body);
	raw_close(c);
}

static void a_client_that_expects_100_gets_it(void **state)
{
	struct raw_client *c = client(*state);
	assert_int_equal(raw_ask(c, POST_NOW "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", &answer_), 100);
	assert_int_equal(raw_ask(c, "ab", &answer_), 200);
	assert_string_equal(answer_.body, "POST /now? 2 195");
	raw_close(c);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	struct raw_client *c = client(*state);
	assert_int_equal(raw_ask(c, "GET /later?1 HTTP/1.1\r\n" HOST "\r\nGET /now?2 HTTP/1.1\r\n" HOST "\r\n", &answer_), 200);
	assert_string_equal(answer_.body, "GET /later?1 0 0");
	raw_read(c, &answer_, false);
	assert_string_equal(answer_.body, "GET /now?2 0 0");
	raw_close(c);
}

static void answers_may_come_from_another_thread(void **state)
{
	struct rig *rig = *state;
	struct raw_client *c = client(rig);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(raw_ask(c, i % 2 == 0 ? "GET /later HTTP/1.1\r\n" HOST "\r\n" : GET_NOW, &answer_), 200);
		assert_string_equal(answer_.body, i % 2 == 0 ? "GET /later? 0 0" : "GET /now? 0 0");
	}
	assert_int_equal(raw_ask(c, "POST /later HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx", &answer_), 200);
	assert_string_equal(answer_.body, "POST /later? 1 120");
	raw_close(c);
	assert_true(rig_wait_ended(rig, 201));
	assert_int_equal(http_working(rig->server), 0);
}

static void a_held_request_counts_as_work_until_it_is_answered(void **state)
{
	struct rig *rig = *state;
	struct raw_client *c = client(rig), *other = client(rig);
	assert_true(raw_send_text(c, "GET /hold HTTP/1.1\r\n" HOST "\r\n"));
	assert_true(rig_wait_held(rig, 1));
	assert_int_equal(http_working(rig->server), 1);
	assert_int_equal(raw_ask(other, GET_NOW, &answer_), 200); /* nobody else waits */
	rig_release(rig, "released");
	raw_read(c, &answer_, false);
	assert_string_equal(answer_.body, "released");
	assert_int_equal(raw_ask(c, GET_NOW, &answer_), 200);
	assert_true(rig_wait_ended(rig, 3));
	assert_int_equal(http_working(rig->server), 0);
	raw_close(c);
	raw_close(other);
}

static void a_client_that_left_costs_nothing(void **state)
{
	struct rig *rig = *state;
	struct raw_client *c = client(rig);
	assert_true(raw_send_text(c, "GET /hold HTTP/1.1\r\n" HOST "\r\n"));
	assert_true(rig_wait_held(rig, 1));
	raw_close(c);
	rig_release(rig, "nobody reads this");
	c = client(rig);
	assert_true(raw_send_text(c, "POST /now HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab"));
	while (atomic_load(&rig->admits) < 2) /* a connection that is reset may lose what it carried */
		(void)sched_yield();
	raw_close(c); /* in the middle of its body */
	assert_true(rig_wait_ended(rig, 2));
}

static void a_local_socket_tells_who_is_calling(void **state)
{
	struct rig *rig = rig_new();
	struct kms_err err = { 0 };
	struct stat st;
	*state = rig;
	rig->cfg.unix_path = rig->socket;
	assert_true(rig_start(rig, &err));
	assert_int_equal(lstat(rig->socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	struct raw_client *c = raw_connect_unix(rig->socket);
	assert_non_null(c);
	assert_int_equal(raw_ask(c, "GET /later HTTP/1.1\r\n" HOST "\r\n", &answer_), 200);
	assert_int_equal(raw_ask(c, GET_NOW, &answer_), 200);
	assert_int_equal(atomic_load(&rig->peer_uid), getuid());
	assert_string_equal(rig->peer, "local");
	assert_string_equal(rig->tls, "");
	raw_close(c);

	/* Taken while it is listened on; free again, file removed, after the stop. */
	struct http_server *second = NULL;
	const struct http_app app = { 0 };
	assert_int_equal(http_start(&rig->cfg, &app, &second, &err), KMS_E_INVALID);
	assert_non_null(strstr(err.message, rig->socket));
	rig_stop_server(rig, 0);
	assert_int_not_equal(access(rig->socket, F_OK), 0);
}

static void a_shared_local_socket_is_open_to_others(void **state)
{
	struct rig *rig = rig_new();
	struct kms_err err = { 0 };
	struct stat st;
	*state = rig;
	rig->cfg.unix_path = rig->socket;
	rig->cfg.unix_shared = true;
	assert_true(rig_start(rig, &err));
	assert_int_equal(lstat(rig->socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
}

static void a_left_over_socket_file_is_replaced_but_nothing_else_is(void **state)
{
	struct rig *rig = rig_new();
	struct kms_err err = { 0 };
	*state = rig;
	rig->cfg.unix_path = rig->socket;
	assert_true(rig_start(rig, &err));
	char kept[128];
	(void)snprintf(kept, sizeof(kept), "%s.kept", rig->socket);
	assert_int_equal(link(rig->socket, kept), 0);
	rig_stop_server(rig, 0);
	assert_int_equal(rename(kept, rig->socket), 0); /* as a crash leaves it */
	assert_true(rig_start(rig, &err));
	struct raw_client *c = raw_connect_unix(rig->socket);
	assert_non_null(c);
	assert_int_equal(raw_ask(c, GET_NOW, &answer_), 200);
	raw_close(c);
	rig_stop_server(rig, 0);

	FILE *f = fopen(rig->socket, "we");
	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
	assert_false(rig_start(rig, &err));
	assert_int_equal(access(rig->socket, F_OK), 0);
}

static void bad_configuration_is_named(void **state)
{
	struct rig *rig = rig_new();
	*state = rig;
	const struct {
		const char *address, *cert, *key, *named;
	} BAD[] = {
		{ "localhost", rig->cert, rig->key, "localhost" },
		{ "192.0.2.1", rig->cert, rig->key, "192.0.2.1" }, /* not ours */
		{ "127.0.0.1", "/nonexistent", rig->key, "/nonexistent" },
		{ "127.0.0.1", rig->key, rig->key, rig->key },
		{ "127.0.0.1", rig->cert, rig->cert, rig->cert },
	};
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		struct kms_err err = { 0 };
		rig->cfg.address = BAD[i].address;
		rig->cfg.cert_file = BAD[i].cert;
		rig->cfg.key_file = BAD[i].key;
		assert_false(rig_start(rig, &err));
		assert_int_equal(err.status, KMS_E_INVALID);
		if (strstr(err.message, BAD[i].named) == NULL)
			fail_msg("%s: %s", BAD[i].named, err.message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(gets_and_posts_are_served_over_tls, start, stop),
		cmocka_unit_test_setup_teardown(every_method_reaches_the_application, start_plain, stop),
		cmocka_unit_test_setup_teardown(legal_requests_pass_unchanged, start, stop),
		cmocka_unit_test_setup_teardown(headers_may_arrive_byte_by_byte, start, stop),
		cmocka_unit_test_setup_teardown(large_heads_pass, start, stop),
		cmocka_unit_test_setup_teardown(irregular_requests_are_refused_and_end_the_connection, start_plain, stop),
		cmocka_unit_test_setup_teardown(what_the_library_refuses_ends_the_connection_too, start_plain, stop),
		cmocka_unit_test_setup_teardown(request_targets_are_limited_to_2048_bytes, start, stop),
		cmocka_unit_test_setup_teardown(headers_are_limited_in_number_and_size, start, stop),
		cmocka_unit_test_setup_teardown(a_body_over_the_limit_gets_413_and_an_end, start, stop),
		cmocka_unit_test_setup_teardown(the_body_of_what_is_refused_anyway_is_read_but_not_kept, start, stop),
		cmocka_unit_test_setup_teardown(an_endless_body_is_cut_off, start, stop),
		cmocka_unit_test_setup_teardown(bodies_up_to_the_limit_arrive_whole, start, stop),
		cmocka_unit_test_setup_teardown(a_client_that_expects_100_gets_it, start, stop),
		cmocka_unit_test_setup_teardown(pipelined_requests_are_answered_in_order, start, stop),
		cmocka_unit_test_setup_teardown(answers_may_come_from_another_thread, start, stop),
		cmocka_unit_test_setup_teardown(a_held_request_counts_as_work_until_it_is_answered, start, stop),
		cmocka_unit_test_setup_teardown(a_client_that_left_costs_nothing, start, stop),
		cmocka_unit_test_teardown(a_local_socket_tells_who_is_calling, stop),
		cmocka_unit_test_teardown(a_shared_local_socket_is_open_to_others, stop),
		cmocka_unit_test_teardown(a_left_over_socket_file_is_replaced_but_nothing_else_is, stop),
		cmocka_unit_test_teardown(bad_configuration_is_named, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
