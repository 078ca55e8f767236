/* The OTLP sink: what it does with answers. A real receiver's records: tests/integration/export.test.mjs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/feed/sinks.h"

#define RECORDS 64
#define REQUEST_MAX 8192
#define NONE 1000

/* Records are the letter r and three digits; this receiver takes them, or not. */
static struct {
	int listener;
	pthread_t thread;
	char url[64];
	/* What it answers. */
	unsigned bad;       /* a request with this record is refused */
	unsigned away_at;   /* a request with this record is asked to come later, once */
	size_t most;        /* a larger request is too large, records */
	int answer_to_bad;
	int answer_to_none; /* to a request without records */
	/* What it took. */
	unsigned taken[NONE + 1];
	size_t requests;
} receiver;
static struct sink *sink;
static struct kms_err err;
static const atomic_bool never;

static size_t records_in(const char *body, unsigned ret[RECORDS])
{
	size_t count = 0;

	for (const char *c = strchr(body, 'r'); c != NULL && count < RECORDS; c = strchr(c + 1, 'r'))
		ret[count++] = (unsigned)strtoul(c + 1, NULL, 10);
	return count;
}

static int answer_for(const char *body)
{
	unsigned records[RECORDS];
	size_t count = records_in(body, records);
	bool is_bad = false, is_away = false;

	for (size_t i = 0; i < count; i++) {
		is_bad = is_bad || records[i] == receiver.bad;
		is_away = is_away || records[i] == receiver.away_at;
	}
	if (count == 0)
		return receiver.answer_to_none;
	if (count > receiver.most)
		return 413;
	if (is_bad)
		return receiver.answer_to_bad;
	if (is_away) {
		receiver.away_at = NONE;
		return 503;
	}
	for (size_t i = 0; i < count; i++)
		receiver.taken[records[i]]++;
	return 200;
}

static void serve_one(int fd)
{
	char text[REQUEST_MAX] = "", answer[128];
	const char *body = NULL, *length = NULL;
	size_t len = 0;
	ssize_t got = 1;

	while (got > 0 && (body == NULL || strlen(body + 4) < strtoul(length + strlen("Content-Length:"), NULL, 10))) {
		got = read(fd, text + len, sizeof(text) - 1 - len);
		len += got > 0 ? (size_t)got : 0;
		text[len] = '\0';
		length = strstr(text, "Content-Length:");
		body = length != NULL ? strstr(text, "\r\n\r\n") : NULL;
	}
	if (got > 0) {
		receiver.requests++;
		(void)snprintf(answer, sizeof(answer), "HTTP/1.1 %d x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", answer_for(body));
		(void)!write(fd, answer, strlen(answer));
	}
	(void)close(fd);
}

static void *serve(void *arg)
{
	int fd;

	while ((fd = accept(receiver.listener, NULL, NULL)) >= 0)
		serve_one(fd);
	return arg;
}

static int setup(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(at);

	(void)state;
	memset(&receiver, 0, sizeof(receiver));
	receiver.bad = receiver.away_at = NONE;
	receiver.most = RECORDS;
	receiver.answer_to_bad = 400;
	receiver.answer_to_none = 200;
	receiver.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(receiver.listener >= 0 && bind(receiver.listener, (struct sockaddr *)&at, len) == 0 && listen(receiver.listener, 4) == 0);
	assert_int_equal(getsockname(receiver.listener, (struct sockaddr *)&at, &len), 0);
	(void)snprintf(receiver.url, sizeof(receiver.url), "http://127.0.0.1:%u/v1/logs", ntohs(at.sin_port));
	assert_int_equal(pthread_create(&receiver.thread, NULL, serve, NULL), 0);
	err = (struct kms_err){ 0 };
	log_setup(LOG_ERROR + 1, false); /* what is rejected is said there */
	assert_int_equal(sink_otlp_new(receiver.url, &(const struct sink_tls){ 0 }, NULL, "[", "]", &sink, &err), KMS_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sink->ops->close(sink);
	(void)shutdown(receiver.listener, SHUT_RDWR);
	(void)pthread_join(receiver.thread, NULL);
	return close(receiver.listener);
}

static kms_status send_from(unsigned first)
{
	char texts[RECORDS][8];
	struct record records[RECORDS];
	size_t count = 0;

	for (unsigned n = first; n < RECORDS; n++, count++) {
		(void)snprintf(texts[count], sizeof(texts[count]), "r%03u", n);
		records[count] = (struct record){ .seq = 100 + n, .bytes = texts[count], .len = strlen(texts[count]) };
	}
	return sink->ops->send(sink, records, count, &never, &err);
}

static void assert_each_but(unsigned bad)
{
	for (unsigned n = 0; n < RECORDS; n++)
		assert_int_equal(receiver.taken[n], n == bad ? 0 : 1);
}

static void the_one_record_that_is_refused_does_not_hold_up_the_others(void **state)
{
	(void)state;
	receiver.bad = 41;
	assert_int_equal(send_from(0), KMS_OK);
	assert_each_but(41);
	assert_int_equal(sink_otlp_rejected(sink), 1);
	assert_true(sink->ops->settled(sink) == SINK_ALL_SETTLED);
	assert_in_range(receiver.requests, 2, 24);
}

static void a_run_that_is_too_large_goes_in_parts_and_none_is_rejected(void **state)
{
	(void)state;
	receiver.most = 10;
	assert_int_equal(send_from(0), KMS_OK);
	assert_each_but(NONE);
	assert_int_equal(sink_otlp_rejected(sink), 0);
}

static void a_receiver_that_refuses_everything_gets_nothing_rejected(void **state)
{
	(void)state;
	receiver.bad = 0;
	receiver.answer_to_none = 400; /* a wrong address, say */
	assert_int_equal(send_from(0), KMS_E_BUSY);
	assert_non_null(strstr(err.detail, "does not pass by itself"));
	assert_int_equal(sink_otlp_rejected(sink), 0);
	assert_false(sink->ops->settled(sink) <= 100 + RECORDS && sink->ops->settled(sink) > 100);
}

static void what_was_taken_of_a_run_is_settled_when_the_rest_is_not(void **state)
{
	(void)state;
	receiver.most = 32;
	receiver.away_at = 40;
	assert_int_equal(send_from(0), KMS_E_BUSY);
	assert_int_equal(sink->ops->settled(sink), 100 + 32);
	sink->ops->rewind(sink);
	assert_true(sink->ops->settled(sink) == SINK_ALL_SETTLED);
	assert_int_equal(receiver.taken[31], 1);
	assert_int_equal(receiver.taken[32], 0);
}

static void what_is_refused_for_another_reason_is_not_halved(void **state)
{
	(void)state;
	receiver.bad = 41;
	receiver.answer_to_bad = 403;
	assert_int_equal(send_from(0), KMS_E_BUSY);
	assert_int_equal(receiver.requests, 1);
	assert_int_equal(sink_otlp_rejected(sink), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_one_record_that_is_refused_does_not_hold_up_the_others, setup, teardown),
		cmocka_unit_test_setup_teardown(a_run_that_is_too_large_goes_in_parts_and_none_is_rejected, setup, teardown),
		cmocka_unit_test_setup_teardown(a_receiver_that_refuses_everything_gets_nothing_rejected, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_taken_of_a_run_is_settled_when_the_rest_is_not, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_refused_for_another_reason_is_not_halved, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
