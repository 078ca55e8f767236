/* tests/unit/feed_post.c - one request to a receiver: where it may go, what may come back, and that it ends. TLS is in tests/integration/webhook.test.mjs. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/feed/post.h"

#define BODY "{\"hello\":1}"

/* A server that reads one request on each connection and sends what it is told; NULL: nothing. */
static pthread_mutex_t serving = PTHREAD_MUTEX_INITIALIZER; /* held by the server from the first byte of a connection to its last */
static int listener;
static char url[64];
static const char *canned;
static size_t canned_len;
static atomic_uint connections;
static char last_request[4096];
static size_t last_len;
static pthread_t server;

static bool is_whole(void)
{
	return strstr(last_request, "\r\n\r\n") != NULL && (strncmp(last_request, "POST", 4) != 0 || strstr(last_request, BODY) != NULL);
}

static void *serve(void *arg)
{
	for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
		ssize_t got = 0;
		(void)pthread_mutex_lock(&serving);
		atomic_fetch_add(&connections, 1);
		memset(last_request, 0, sizeof(last_request));
		for (last_len = 0; !is_whole() && (got = read(fd, last_request + last_len, sizeof(last_request) - 1 - last_len)) > 0;)
			last_len += (size_t)got;
		for (size_t sent = 0; canned != NULL && sent < canned_len; sent += (size_t)got)
			if ((got = send(fd, canned + sent, canned_len - sent, MSG_NOSIGNAL)) <= 0)
				break;
		for (char byte; canned == NULL && read(fd, &byte, 1) > 0;) /* until the client gives up */
			continue;
		(void)close(fd);
		(void)pthread_mutex_unlock(&serving);
	}
	return arg;
}

/* Between two connections. */
static void tell(const char *text, size_t len)
{
	(void)pthread_mutex_lock(&serving);
	canned = text;
	canned_len = len;
	(void)pthread_mutex_unlock(&serving);
}

static struct poster *poster(void)
{
	struct poster *p = NULL;
	assert_int_equal(poster_new(&p, NULL), KMS_OK);
	return p;
}

static struct post_request request(void) { return (struct post_request){ .method = "POST", .url = url, .body = BODY, .body_len = sizeof(BODY) - 1, .timeout_ms = 5000 }; }

static kms_status ask(struct poster *p, const struct post_request *q, struct post_answer *ret, struct kms_err *err)
{
	kms_status status = poster_send(p, q, ret, err);

	(void)pthread_mutex_lock(&serving); /* the server may still be closing: what it has read is looked at afterwards */
	(void)pthread_mutex_unlock(&serving);
	return status;
}

static void the_body_goes_as_it_is_and_the_answer_comes_whatever_its_status(void **state)
{
	static const struct {
		const char *text, *body;
		long http, wait;
	} ANSWERS[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes", "yes", 200, 0 },
		{ "HTTP/1.1 503 Wait\r\nRetry-After: 7\r\nContent-Length: 2\r\nConnection: close\r\n\r\n7\n", "7\n", 503, 7 },
		{ "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", NULL, 302, 0 },
	};
	static const char *const HEADERS[] = { "Content-Type: application/json", "webhook-id: 7", NULL };
	struct poster *p = poster();
	struct post_request q = request();

	(void)state;
	q.headers = HEADERS;
	for (size_t i = 0; i < KMS_ARRAY_LEN(ANSWERS); i++) {
		struct post_answer a = { 0 };
		struct kms_err err = { 0 };
		tell(ANSWERS[i].text, strlen(ANSWERS[i].text));
		if (ask(p, &q, &a, &err) != KMS_OK)
			fail_msg("%s", err.detail);
		assert_int_equal(a.http, ANSWERS[i].http);
		assert_int_equal(a.retry_after_s, ANSWERS[i].wait);
		if (ANSWERS[i].body != NULL)
			assert_string_equal(a.body, ANSWERS[i].body);
		else
			assert_null(a.body);
		assert_true(strncmp(last_request, "POST /prefix/hook?code=1 HTTP/1.1\r\n", 35) == 0);
		assert_non_null(strstr(last_request, "\r\nContent-Length: 11\r\n"));
		assert_non_null(strstr(last_request, "\r\nContent-Type: application/json\r\nwebhook-id: 7\r\n"));
		assert_null(strstr(last_request, "Expect"));
		assert_string_equal(strstr(last_request, "\r\n\r\n") + 4, BODY);
		post_answer_clear(&a);
	}
	poster_free(p);
}

static void a_proxy_of_the_environment_is_not_asked(void **state)
{
	struct poster *p = NULL;
	struct post_answer a = { 0 };
	struct post_request q = request();

	(void)state;
	assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
	assert_int_equal(setenv("all_proxy", "http://127.0.0.1:1", 1), 0);
	p = poster();
	tell("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", 37);
	assert_int_equal(ask(p, &q, &a, NULL), KMS_OK);
	assert_int_equal(a.http, 204);
	post_answer_clear(&a);
	poster_free(p);
	(void)unsetenv("http_proxy");
	(void)unsetenv("all_proxy");
}

static void what_a_receiver_allows_is_read_from_the_last_answer(void **state)
{
	static const char TEXT[] = "HTTP/1.1 103 Early\r\nWebHook-Allowed-Origin: early\r\n\r\nHTTP/1.1 200 OK\r\nwebhook-allowed-origin: \t kms.example.com \r\n"
				   "WebHook-Allowed-Rate:120\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
	struct poster *p = poster();
	struct post_answer a = { 0 };
	struct post_request q = request();
	char longer[512] = "HTTP/1.1 200 OK\r\nConnection: close\r\nWebHook-Allowed-Origin: ";

	(void)state;
	q.method = "OPTIONS";
	q.body = NULL;
	tell(TEXT, sizeof(TEXT) - 1);
	assert_int_equal(ask(p, &q, &a, NULL), KMS_OK);
	assert_true(strncmp(last_request, "OPTIONS /prefix/hook?code=1 HTTP/1.1\r\n", 38) == 0);
	assert_null(strstr(last_request, "Content-Length"));
	assert_string_equal(a.allowed_origin, "kms.example.com");
	assert_string_equal(a.allowed_rate, "120");
	post_answer_clear(&a);
	memset(longer + strlen(longer), 'a', 256);
	memcpy(longer + strlen(longer), "\r\n\r\n", 5);
	tell(longer, strlen(longer));
	assert_int_equal(ask(p, &q, &a, NULL), KMS_OK);
	assert_string_equal(a.allowed_origin, "");
	post_answer_clear(&a);
	poster_free(p);
}

static void an_answer_without_end_is_cut(void **state)
{
	static const char HEAD[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
	struct poster *p = poster();
	struct post_request q = request();

	(void)state;
	for (size_t size = POST_ANSWER_MAX; size <= POST_ANSWER_MAX + 1; size++) {
		struct post_answer a = { 0 };
		struct kms_err err = { 0 };
		char *huge = malloc(sizeof(HEAD) - 1 + size);
		kms_status status;
		assert_non_null(huge);
		memset(huge, 'x', sizeof(HEAD) - 1 + size);
		memcpy(huge, HEAD, sizeof(HEAD) - 1);
		tell(huge, sizeof(HEAD) - 1 + size);
		status = ask(p, &q, &a, &err);
		if (size == POST_ANSWER_MAX) {
			assert_int_equal(status, KMS_OK);
			assert_int_equal(a.body_len, size);
		} else {
			assert_int_equal(status, KMS_E_BUSY);
			assert_non_null(strstr(err.detail, "64 KiB"));
			assert_null(a.body);
		}
		post_answer_clear(&a);
		tell(NULL, 0);
		free(huge);
	}
	poster_free(p);
}

static void only_https_and_loopback_addresses_are_asked(void **state)
{
	static const char *const BAD[] = { "http://192.0.2.7/x", "http://localhost:1/", "http://127.0.0.1.example.net/", "http://[::2]/", "ftp://127.0.0.1/", "file:///etc/passwd",
		                           "https://user:word@w.example.net/", "https://user@w.example.net/", "https://w.example.net/#f", "", "w.example.net", "//w.example.net/",
		                           "https:///x", "https:/x", "https://w.example.net/a b", "https://w.example.net/\x7f", "https://w.example.net/\xc3\xa4", "https://a\\@w.example.net/",
		                           "https://w.example.net/\r\nX: y", "https://[fe80::1%25eth0]/", "gopher://w.example.net/" };
	struct poster *p = poster();
	unsigned asked = atomic_load(&connections);

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		struct post_request q = request();
		struct post_answer a = { 0 };
		q.url = BAD[i];
		if (poster_send(p, &q, &a, NULL) != KMS_E_INVALID)
			fail_msg("%s", BAD[i]);
	}
	assert_int_equal(atomic_load(&connections), asked);
	poster_free(p);
}

static void a_host_is_listed_with_its_port_or_not_at_all(void **state)
{
	static const char *const HOSTS[] = { "hooks.example.com", "other.example.com:8443", "127.0.0.1:81", "[2001:db8::1]:444" };
	static const struct {
		const char *url;
		bool is_good;
	} CASES[] = {
		{ "https://hooks.example.com/a?b=c", true },       { "https://HOOKS.example.com:443/", true },      { "https://hooks.example.com:444/", false },
		{ "https://other.example.com:8443/x", true },      { "https://other.example.com/x", false },        { "https://other.example.com:443/x", false },
		{ "http://127.0.0.1:81/", true },                  { "https://127.0.0.1:81/", true },               { "http://127.0.0.1/", false },
		{ "http://127.1:81/", true }, /* the same address */ { "https://[2001:db8::1]:444/", true },          { "https://[2001:db8::1]/", false },
		{ "http://hooks.example.com/", false },            { "https://hooks.example.com.evil.test/", false }, { "https://evil.test/hooks.example.com", false },
		{ "https://hooks.example.com@evil.test/", false }, { "https://evil.test?hooks.example.com", false }, { "https://xhooks.example.com/", false },
		{ "https://hooks.example.com./", false },          { "https://evil.test#@hooks.example.com/", false },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++)
		if (post_url_is_good(CASES[i].url, HOSTS, KMS_ARRAY_LEN(HOSTS)) != CASES[i].is_good)
			fail_msg("%s", CASES[i].url);
	assert_false(post_url_is_good("https://hooks.example.com/", HOSTS, 0));
	assert_true(post_url_is_good("https://any.example.com/", NULL, 0));
}

static atomic_bool stops;
static unsigned before; /* connections */

static void *stop_soon(void *arg)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	while (atomic_load(&connections) == before)
		(void)nanosleep(&ms, NULL);
	atomic_store(&stops, true);
	return arg;
}

static void what_is_under_way_ends_at_its_deadline_or_when_the_server_stops(void **state)
{
	struct poster *p = poster();
	struct post_request q = request();
	struct post_answer a = { 0 };
	pthread_t stopper;
	struct timespec from, to;

	(void)state;
	tell(NULL, 0);
	q.timeout_ms = 50;
	assert_int_equal(ask(p, &q, &a, NULL), KMS_E_BUSY);
	q.timeout_ms = 5000;
	q.is_stopping = &stops;
	before = atomic_load(&connections);
	assert_int_equal(pthread_create(&stopper, NULL, stop_soon, NULL), 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	assert_int_equal(ask(p, &q, &a, NULL), KMS_E_SHUTDOWN);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true(to.tv_sec - from.tv_sec < 3);
	assert_int_equal(pthread_join(stopper, NULL), 0);
	assert_int_equal(ask(p, &q, &a, NULL), KMS_E_SHUTDOWN); /* nothing new begins */
	assert_int_equal(atomic_load(&connections), before + 1);
	poster_free(p);
	poster_free(NULL);
}

/* A resolver that does not answer, in the place of the system's (which libcurl asks in a thread of its own). */
#define SLOW_NAME "slow.example"
static pthread_mutex_t resolving = PTHREAD_MUTEX_INITIALIZER; /* held by the test while it must not answer */
static atomic_uint lookups, answered;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	static int (*of_system)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

	if (name != NULL && strcmp(name, SLOW_NAME) == 0) {
		atomic_fetch_add(&lookups, 1);
		struct timespec until;
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 2; /* ends a test that fails */
		if (pthread_mutex_timedlock(&resolving, &until) == 0)
			(void)pthread_mutex_unlock(&resolving);
		atomic_fetch_add(&answered, 1);
		return EAI_AGAIN;
	}
	if (of_system == NULL)
		*(void **)&of_system = dlsym(RTLD_NEXT, "getaddrinfo");
	return of_system(name, service, hints, ret);
}

static void a_resolver_that_is_slow_moves_no_deadline(void **state)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	struct poster *p = poster();
	struct post_request q = request();
	struct post_answer a = { 0 };
	struct kms_err err = { 0 };
	struct timespec from, to;

	(void)state;
	if (curl_version_info(CURLVERSION_NOW)->version_num < 0x075700)
		skip(); /* libcurl waits for its thread, whatever it is told */
	q.url = "https://" SLOW_NAME "/";
	q.timeout_ms = 50;
	(void)pthread_mutex_lock(&resolving);
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	assert_int_equal(poster_send(p, &q, &a, &err), KMS_E_BUSY);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	(void)pthread_mutex_unlock(&resolving);
	assert_true(atomic_load(&lookups) > 0); /* it was this one that was asked */
	assert_true((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 < 1000);
	assert_string_equal(post_failure(&err), "the receiver did not answer in time");
	poster_free(p);
	for (int tries = 0; tries < 2000 && atomic_load(&answered) < atomic_load(&lookups); tries++)
		(void)nanosleep(&ms, NULL);
	assert_int_equal(atomic_load(&answered), atomic_load(&lookups));
}

static void of_a_failure_others_are_told_its_class(void **state)
{
	static const struct {
		struct kms_err err;
		const char *text;
	} CASES[] = {
		{ { .source = KMS_SRC_HTTP, .native = CURLE_PEER_FAILED_VERIFICATION, .detail = "subject name (secret.corp)" }, "no TLS connection to the receiver with a certificate that is accepted" },
		{ { .source = KMS_SRC_HTTP, .native = CURLE_SSL_CONNECT_ERROR, .detail = "unexpected packet" }, "no TLS connection to the receiver with a certificate that is accepted" },
		{ { .source = KMS_SRC_HTTP, .native = CURLE_COULDNT_RESOLVE_HOST }, "the receiver's name cannot be resolved" },
		{ { .source = KMS_SRC_HTTP, .native = CURLE_SSL_CERTPROBLEM, .detail = "/etc/holdfast/client.pem" }, "the server cannot use its own certificates; its operator's diagnostic log says more" },
		{ { .source = KMS_SRC_HTTP, .native = CURLE_RECV_ERROR }, "the connection to the receiver failed" },
		{ { .source = KMS_SRC_OPENSSL, .native = 1 }, "the server could not send; its operator's diagnostic log says more" },
	};
	struct poster *p = poster();
	struct post_request q = request();
	struct post_answer a = { 0 };
	struct kms_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++)
		assert_string_equal(post_failure(&CASES[i].err), CASES[i].text);
	q.url = "http://127.0.0.1:1/";
	assert_int_equal(poster_send(p, &q, &a, &err), KMS_E_BUSY);
	assert_string_equal(post_failure(&err), "could not connect to the receiver");
	poster_free(p);
}

static int setup(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	(void)state;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (const struct sockaddr *)&a, sizeof(a)) != 0 || listen(listener, 8) != 0 || getsockname(listener, (struct sockaddr *)&a, &len) != 0)
		return -1;
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/prefix/hook?code=1", ntohs(a.sin_port));
	return pthread_create(&server, NULL, serve, NULL);
}

static int teardown(void **state)
{
	(void)state;
	(void)shutdown(listener, SHUT_RDWR);
	(void)pthread_join(server, NULL);
	return close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_body_goes_as_it_is_and_the_answer_comes_whatever_its_status),
		cmocka_unit_test(a_proxy_of_the_environment_is_not_asked),
		cmocka_unit_test(what_a_receiver_allows_is_read_from_the_last_answer),
		cmocka_unit_test(an_answer_without_end_is_cut),
		cmocka_unit_test(only_https_and_loopback_addresses_are_asked),
		cmocka_unit_test(a_host_is_listed_with_its_port_or_not_at_all),
		cmocka_unit_test(what_is_under_way_ends_at_its_deadline_or_when_the_server_stops),
		cmocka_unit_test(a_resolver_that_is_slow_moves_no_deadline),
		cmocka_unit_test(of_a_failure_others_are_told_its_class),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
