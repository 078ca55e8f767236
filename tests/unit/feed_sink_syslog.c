/* The syslog sink: how messages are framed, and what counts as arrived. TLS and a real receiver: tests/integration/export.test.mjs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/feed/sinks.h"

#define WAIT_MS 5000
#define SLOW_HOST "slow.test"
#define SLOW_MS 3000

static int listener;
static char where[32];
static struct sink *sink;
static struct kms_err err;
static const atomic_bool never;

/* The C library's, but that one name is served by a server that does not answer. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = NULL;

	if (node != NULL && strcmp(node, SLOW_HOST) == 0) {
		(void)poll(NULL, 0, SLOW_MS);
		return EAI_AGAIN;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(node, service, hints, res);
}

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int setup(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(at);

	(void)state;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(listener >= 0 && bind(listener, (struct sockaddr *)&at, len) == 0 && listen(listener, 4) == 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	(void)snprintf(where, sizeof(where), "127.0.0.1:%u", ntohs(at.sin_port));
	err = (struct kms_err){ 0 };
	assert_int_equal(sink_syslog_new(where, true, &(const struct sink_tls){ 0 }, &sink, &err), KMS_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sink->ops->close(sink);
	return close(listener);
}

static kms_status send_two(uint64_t seq)
{
	char first[] = "<110>1 - first", second[] = "se\xc3\xbc";
	const struct record records[] = { { .seq = seq, .bytes = first, .len = strlen(first) }, { .seq = seq + 1, .bytes = second, .len = strlen(second) } };
	return sink->ops->send(sink, records, 2, &never, &err);
}

static void expect(int fd, const char *text)
{
	char got[256] = "";
	size_t len = 0;

	while (len < strlen(text)) {
		ssize_t n = read(fd, got + len, sizeof(got) - 1 - len);
		assert_true(n > 0);
		len += (size_t)n;
	}
	assert_string_equal(got, text);
}

static void messages_are_counted_in_bytes_and_do_not_count_at_once(void **state)
{
	int fd;

	(void)state;
	assert_true(sink->ops->settled(sink) == SINK_ALL_SETTLED);
	assert_int_equal(send_two(7), KMS_OK);
	fd = accept(listener, NULL, NULL);
	expect(fd, "14 <110>1 - first4 se\xc3\xbc");
	assert_int_equal(sink->ops->tick(sink, &err), KMS_OK);
	assert_int_equal(sink->ops->settled(sink), 7); /* acknowledged, but the connection has not lived on */
	assert_int_equal(send_two(9), KMS_OK);
	expect(fd, "14 <110>1 - first4 se\xc3\xbc");
	assert_int_equal(sink->ops->settled(sink), 7);
	(void)close(fd);
}

static void a_receiver_that_goes_is_noticed_and_what_did_not_count_is_given_back(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(send_two(7), KMS_OK);
	fd = accept(listener, NULL, NULL);
	assert_int_equal(sink->ops->tick(sink, &err), KMS_OK);
	(void)close(fd);
	for (int i = 0; sink->ops->tick(sink, &err) == KMS_OK; i++) {
		assert_true(i < WAIT_MS);
		(void)poll(NULL, 0, 1);
	}
	assert_non_null(strstr(err.detail, "closed the connection"));
	assert_int_equal(sink->ops->settled(sink), 7);
	sink->ops->rewind(sink);
	assert_true(sink->ops->settled(sink) == SINK_ALL_SETTLED);
	assert_int_equal(send_two(7), KMS_OK); /* over a new connection */
	fd = accept(listener, NULL, NULL);
	expect(fd, "14 <110>1 - first4 se\xc3\xbc");
	(void)close(fd);
}

static void nobody_there_is_a_failure_that_says_who(void **state)
{
	(void)state;
	(void)close(listener);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(send_two(7), KMS_E_BUSY);
	assert_non_null(strstr(err.detail, where));
	assert_true(sink->ops->settled(sink) == SINK_ALL_SETTLED);
}

static void a_receiver_that_talks_without_end_is_given_up(void **state)
{
	static const char noise[1 << 16];
	int fd;
	ssize_t sent = 1;

	(void)state;
	assert_int_equal(send_two(7), KMS_OK);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	for (size_t all = 0; sent > 0 && all < 1 << 20; all += (size_t)sent)
		sent = write(fd, noise, sizeof(noise));
	assert_int_equal(sink->ops->tick(sink, &err), KMS_E_BUSY);
	assert_non_null(strstr(err.detail, "nobody asked for"));
	assert_int_equal(sink->ops->settled(sink), 7);
	(void)close(fd);
}

static void a_name_server_that_does_not_answer_does_not_hold_up_a_stop(void **state)
{
	static const atomic_bool now = true;
	char bytes[] = "<110>1 - x";
	const struct record r = { .seq = 1, .bytes = bytes, .len = strlen(bytes) };
	struct sink *slow = NULL;
	int64_t start_ms = now_ms();

	(void)state;
	assert_int_equal(sink_syslog_new(SLOW_HOST ":514", true, &(const struct sink_tls){ 0 }, &slow, &err), KMS_OK);
	assert_int_not_equal(slow->ops->send(slow, &r, 1, &now, &err), KMS_OK);
	assert_true(now_ms() - start_ms < SLOW_MS / 2);
	slow->ops->close(slow);
	assert_true(now_ms() - start_ms < SLOW_MS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(messages_are_counted_in_bytes_and_do_not_count_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_receiver_that_goes_is_noticed_and_what_did_not_count_is_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_there_is_a_failure_that_says_who, setup, teardown),
		cmocka_unit_test_setup_teardown(a_receiver_that_talks_without_end_is_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(a_name_server_that_does_not_answer_does_not_hold_up_a_stop, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
