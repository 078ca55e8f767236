/* tests/unit/api_witness_client.c - one POST to a witness: where it may go, what may come back, and that it ends. TLS is in tests/integration/witness.test.mjs. */
#include <arpa/inet.h>
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

#include "api/witness_client.h"

#define BODY "old 0\n\nhello\n"

/* A server that reads one request on each connection and sends what it is told; NULL: nothing. */
static pthread_mutex_t serving = PTHREAD_MUTEX_INITIALIZER; /* held by the server from the first byte of a connection to its last */
static int listener;
static char url[64];
static const char *canned;
static size_t canned_len;
static atomic_uint connections;
static char last_request[4096];
static pthread_t server;

static void *serve(void *arg)
{
	for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
		size_t len = 0;
		ssize_t got = 0;
		(void)pthread_mutex_lock(&serving);
		atomic_fetch_add(&connections, 1);
		while (len < sizeof(last_request) - 1 && strstr(last_request, BODY) == NULL && (got = read(fd, last_request + len, sizeof(last_request) - 1 - len)) > 0)
			last_request[len += (size_t)got] = '\0';
		for (size_t sent = 0; canned != NULL && sent < canned_len; sent += (size_t)got)
			if ((got = send(fd, canned + sent, canned_len - sent, MSG_NOSIGNAL)) <= 0)
				break;
		while (canned == NULL && read(fd, last_request, 1) > 0) /* until the client gives up */
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

static kms_status post_to(struct witness_client *c, const char *to, struct witness_answer *ret, struct kms_err *err)
{
	struct witness_transport t = witness_client_transport(c);
	kms_status status;

	(void)pthread_mutex_lock(&serving);
	memset(last_request, 0, sizeof(last_request));
	(void)pthread_mutex_unlock(&serving);
	status = t.post(t.arg, to, NULL, BODY, sizeof(BODY) - 1, ret, err);
	/* The server may still be closing: what it has read is looked at afterwards. */
	(void)pthread_mutex_lock(&serving);
	(void)pthread_mutex_unlock(&serving);
	return status;
}

static struct witness_client *client(void)
{
	struct witness_client *c = NULL;
	assert_int_equal(witness_client_new(&c, NULL), KMS_OK);
	return c;
}

static void the_body_goes_as_it_is_and_the_answer_comes_whatever_its_status(void **state)
{
	static const struct {
		const char *text, *body;
		int http;
	} ANSWERS[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes", "yes", 200 },
		{ "HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\nConnection: close\r\n\r\n7\n", "7\n", 409 },
		{ "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", NULL, 302 },
	};
	struct witness_client *c = client();

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(ANSWERS); i++) {
		struct witness_answer a = { 0 };
		struct kms_err err = { 0 };
		tell(ANSWERS[i].text, strlen(ANSWERS[i].text));
		if (post_to(c, url, &a, &err) != KMS_OK)
			fail_msg("%s", err.detail);
		assert_int_equal(a.http, ANSWERS[i].http);
		if (ANSWERS[i].body != NULL)
			assert_string_equal(a.body, ANSWERS[i].body);
		assert_true(strncmp(last_request, "POST /prefix/add-checkpoint HTTP/1.1\r\n", 38) == 0);
		assert_non_null(strstr(last_request, "\r\nContent-Length: 13\r\n"));
		assert_string_equal(strstr(last_request, "\r\n\r\n") + 4, BODY);
		free(a.body);
	}
	witness_client_free(c);
}

static void an_answer_without_end_is_cut(void **state)
{
	static const char HEAD[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
	struct witness_client *c = client();
	struct witness_answer a = { 0 };
	struct kms_err err = { 0 };
	char *huge = NULL;

	(void)state;
	for (size_t size = 64U << 10; size <= (64U << 10) + 1; size++) {
		huge = malloc(sizeof(HEAD) - 1 + size);
		assert_non_null(huge);
		memset(huge, 'x', sizeof(HEAD) - 1 + size);
		memcpy(huge, HEAD, sizeof(HEAD) - 1);
		tell(huge, sizeof(HEAD) - 1 + size);
		if (size == 64U << 10) {
			assert_int_equal(post_to(c, url, &a, &err), KMS_OK);
			assert_int_equal(a.body_len, size);
			free(a.body);
			a = (struct witness_answer){ 0 };
		} else {
			assert_int_equal(post_to(c, url, &a, &err), KMS_E_BUSY);
			assert_non_null(strstr(err.detail, "64 KiB"));
			assert_null(a.body);
		}
		tell(NULL, 0);
		free(huge);
	}
	witness_client_free(c);
}

static void only_https_and_loopback_addresses_are_asked(void **state)
{
	static const char *const BAD[] = { "http://192.0.2.7/add-checkpoint", "http://localhost:1/", "http://127.0.0.1.example.net/", "http://[::2]/", "ftp://127.0.0.1/", "file:///etc/passwd",
		                           "https://user:word@w.example.net/", "https://w.example.net/?q=1", "https://w.example.net/#f", "", "w.example.net" };
	struct witness_client *c = client();
	unsigned asked = atomic_load(&connections);

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		struct witness_answer a = { 0 };
		if (post_to(c, BAD[i], &a, NULL) != KMS_E_INVALID)
			fail_msg("%s", BAD[i]);
	}
	assert_int_equal(atomic_load(&connections), asked);
	witness_client_free(c);
}

static unsigned before; /* connections */

static void *cancel_soon(void *arg)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	while (atomic_load(&connections) == before)
		(void)nanosleep(&ms, NULL);
	witness_client_cancel(arg);
	return NULL;
}

static void what_is_under_way_ends_soon_after_it_is_cancelled(void **state)
{
	struct witness_client *c = client();
	struct witness_answer a = { 0 };
	pthread_t canceller;
	struct timespec from, to;

	(void)state;
	tell(NULL, 0);
	before = atomic_load(&connections);
	assert_int_equal(pthread_create(&canceller, NULL, cancel_soon, c), 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	assert_int_equal(post_to(c, url, &a, NULL), KMS_E_SHUTDOWN);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true(to.tv_sec - from.tv_sec < 3);
	assert_int_equal(pthread_join(canceller, NULL), 0);
	witness_client_free(c);
	witness_client_cancel(NULL);
	witness_client_free(NULL);
}

static int setup(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	(void)state;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (const struct sockaddr *)&a, sizeof(a)) != 0 || listen(listener, 8) != 0 || getsockname(listener, (struct sockaddr *)&a, &len) != 0)
		return -1;
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/prefix/add-checkpoint", ntohs(a.sin_port));
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
		cmocka_unit_test(an_answer_without_end_is_cut),
		cmocka_unit_test(only_https_and_loopback_addresses_are_asked),
		cmocka_unit_test(what_is_under_way_ends_soon_after_it_is_cancelled),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
