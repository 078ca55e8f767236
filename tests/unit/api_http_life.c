/* tests/unit/api_http_life.c - the HTTP transport over time: deadlines, limits, certificates, TLS versions, stopping. */
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

#include "server/base/clock.h"
#include "tests/support/http_rig.h"
#include "tests/support/raw_client.h"

#define HOST "Host: h\r\n"
#define STRANGER_MS 600 /* http.c gives half a second */
#define GET_NOW "GET /now HTTP/1.1\r\n" HOST "\r\n"
#define GET_HOLD "GET /hold HTTP/1.1\r\n" HOST "\r\n"
#define SHORT_MS 150
#define ROOMY_MS 600 /* for what has to succeed in time, also under a sanitizer on a busy machine */
#define LONG_MS 60000
#define DRIP_US 10000

static struct raw_response answer_; /* large, hence not on the stack */

static int prepare(void **state)
{
	*state = rig_new();
	return 0;
}

static int finish(void **state)
{
	rig_free(*state);
	return 0;
}

static void listen_with(struct rig *rig)
{
	struct kms_err err = { 0 };
	if (!rig_start(rig, &err))
		fail_msg("%s %s", err.message, err.detail);
}

static void listen_plain(struct rig *rig)
{
	rig->cfg.cert_file = rig->cfg.key_file = NULL;
	listen_with(rig);
}

static struct raw_client *client(const struct rig *rig)
{
	struct raw_client *c = raw_connect(rig->port, rig->cfg.cert_file != NULL ? RAW_TLS_DEFAULT : NULL);
	assert_non_null(c);
	return c;
}

static int64_t now_ms(void) { return clock_mono_us(&CLOCK_SYSTEM) / 1000; }

/* ---- deadlines ---- */

static void a_connection_that_says_nothing_is_cut(void **state)
{
	struct rig *rig = *state;
	rig->cfg.headers_ms = SHORT_MS;
	listen_plain(rig);
	int64_t before = now_ms();
	struct raw_client *c = client(rig); /* waits for TLS or headers, both are the same clock */
	assert_true(raw_is_closed(c));
	assert_true(now_ms() - before >= SHORT_MS);
	raw_close(c);
}

static void a_handshake_that_never_ends_is_cut(void **state)
{
	struct rig *rig = *state;
	rig->cfg.headers_ms = SHORT_MS;
	listen_with(rig);
	struct raw_client *c = raw_connect(rig->port, NULL);
	assert_non_null(c);
	assert_true(raw_send(c, "\x16\x03\x01", 3));
	assert_true(raw_is_closed(c));
	raw_close(c);
}

/* Each byte is activity, so an idle time-out would never end this. */
static bool drip_until_cut(struct raw_client *c, const char *text, int64_t limit_ms)
{
	int64_t until = now_ms() + limit_ms;
	while (now_ms() < until) {
		if (!raw_send_text(c, text))
			return true;
		(void)usleep(DRIP_US); /* the dripping is what is tested */
	}
	return false;
}

static void headers_that_drip_in_are_cut(void **state)
{
	struct rig *rig = *state;
	rig->cfg.headers_ms = ROOMY_MS;
	listen_with(rig);
	struct raw_client *c = client(rig);
	assert_true(raw_send_text(c, "GET /now HTTP/1.1\r\n" HOST "X: "));
	assert_true(drip_until_cut(c, "y", RAW_PATIENCE_MS));
	raw_close(c);

	/* Also on a connection that has been answered before. */
	c = client(rig);
	assert_int_equal(raw_ask(c, GET_NOW, &answer_), 200);
	assert_true(raw_send_text(c, "GET /now HTTP/1.1\r\n" HOST "X: "));
	assert_true(drip_until_cut(c, "y", RAW_PATIENCE_MS));
	raw_close(c);
	assert_int_equal(atomic_load(&rig->admits), 1);
}

static void a_body_that_drips_in_is_cut(void **state)
{
	struct rig *rig = *state;
	rig->cfg.request_ms = 2 * SHORT_MS;
	listen_with(rig);
	struct raw_client *c = client(rig);
	assert_true(raw_send_text(c, "POST /now HTTP/1.1\r\n" HOST "Content-Length: 4000\r\n\r\n"));
	assert_true(drip_until_cut(c, "y", RAW_PATIENCE_MS));
	raw_close(c);
	c = client(rig);
	assert_true(raw_send_text(c, "POST /now HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"));
	assert_true(drip_until_cut(c, "1\r\ny\r\n", RAW_PATIENCE_MS));
	raw_close(c);
	assert_true(rig_wait_ended(rig, 2));
}

static void an_idle_connection_is_cut(void **state)
{
	struct rig *rig = *state;
	rig->cfg.idle_s = 1;
	rig->cfg.headers_ms = rig->cfg.request_ms = LONG_MS;
	listen_with(rig);
	struct raw_client *c = client(rig);
	assert_int_equal(raw_ask(c, GET_NOW, &answer_), 200);
	int64_t before = now_ms();
	assert_true(raw_is_closed(c));
	assert_true(now_ms() - before >= 900);
	raw_close(c);
}

/* A client whose answer is larger than both socket buffers, and who does not read it. */
static struct raw_client *client_with_stuck_answer(struct rig *rig)
{
	const size_t len = 32U << 20;
	struct raw_client *c = client(rig);
	char *text = malloc(len + 1);
	assert_non_null(text);
	memset(text, 'x', len);
	text[len] = '\0';
	assert_true(raw_send_text(c, GET_HOLD));
	assert_true(rig_wait_held(rig, 1));
	rig_release(rig, text);
	free(text);
	return c;
}

static void an_answer_that_nobody_reads_is_cut(void **state)
{
	struct rig *rig = *state;
	rig->cfg.request_ms = SHORT_MS;
	listen_plain(rig);
	struct raw_client *c = client_with_stuck_answer(rig);
	assert_true(rig_wait_ended(rig, 1));
	raw_close(c);
}

static void work_that_takes_too_long_is_answered_503_and_the_late_answer_is_dropped(void **state)
{
	struct rig *rig = *state;
	rig->cfg.work_ms = SHORT_MS;
	listen_with(rig);
	struct raw_client *c = client(rig);
	assert_int_equal(raw_ask(c, GET_HOLD, &answer_), 503);
	assert_int_equal(atomic_load(&rig->last_refusal), KMS_E_BUSY);
	assert_true(raw_is_closed(c));
	raw_close(c);
	assert_true(rig_wait_held(rig, 1));
	assert_int_equal(atomic_load(&rig->ends), 0); /* the application still holds it: nothing of it may be gone */
	assert_string_equal(rig->held[0]->path, "/hold");
	assert_string_equal(rig->held[0]->host, "h");
	rig_release(rig, "too late");
	assert_true(rig_wait_ended(rig, 1));
}

static void the_work_clock_ends_with_the_answer(void **state)
{
	struct rig *rig = *state;
	rig->cfg.work_ms = ROOMY_MS;
	rig->cfg.request_ms = ROOMY_MS;
	rig->cfg.headers_ms = ROOMY_MS;
	listen_plain(rig);
	struct raw_client *c = client(rig);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(raw_ask(c, "GET /later HTTP/1.1\r\n" HOST "\r\n", &answer_), 200);
		(void)usleep(2 * ROOMY_MS * 1000); /* idle for longer than any request may take */
	}
	raw_close(c);
	assert_int_equal(atomic_load(&rig->refusals), 0);
}

/* ---- limits ---- */

static void one_address_gets_only_its_share_of_connections(void **state)
{
	struct rig *rig = *state;
	rig->cfg.per_ip = 2;
	listen_plain(rig);
	struct raw_client *c[3] = { client(rig), client(rig), client(rig) };
	assert_int_equal(raw_ask(c[0], GET_NOW, &answer_), 200);
	assert_int_equal(raw_ask(c[1], GET_NOW, &answer_), 200);
	assert_true(raw_is_closed(c[2]));
	for (int i = 0; i < 3; i++)
		raw_close(c[i]);
}

static void the_listener_takes_only_so_many_connections(void **state)
{
	struct rig *rig = *state;
	rig->cfg.connections = 3;
	listen_plain(rig);
	struct raw_client *c[4] = { client(rig), client(rig), client(rig), client(rig) };
	for (int i = 0; i < 3; i++)
		assert_int_equal(raw_ask(c[i], GET_NOW, &answer_), 200);
	assert_true(raw_is_closed(c[3]));
	for (int i = 0; i < 4; i++)
		raw_close(c[i]);
	/* and there is room again once they are gone */
	bool is_served = false;
	for (int64_t until = now_ms() + RAW_PATIENCE_MS; !is_served && now_ms() < until;) {
		struct raw_client *again = client(rig);
		is_served = raw_ask(again, GET_NOW, &answer_) == 200;
		raw_close(again);
	}
	assert_true(is_served);
}

/* Connected, and nothing said: they are cut for whoever comes, and no one who has been let in is. */
static void strangers_make_room_for_callers(void **state)
{
	enum { ROOM = 16 };
	struct rig *rig = *state;
	rig->cfg.connections = ROOM;
	listen_plain(rig);
	struct raw_client *known = client(rig), *strangers[ROOM - 1];
	assert_int_equal(raw_ask(known, GET_NOW, &answer_), 200);
	for (size_t i = 0; i < KMS_ARRAY_LEN(strangers); i++)
		strangers[i] = client(rig);
	(void)usleep(STRANGER_MS * 1000); /* so long each is given */
	for (int i = 0; i < 3; i++) {
		bool is_served = false;
		for (int64_t until = now_ms() + RAW_PATIENCE_MS; !is_served && now_ms() < until;) {
			struct raw_client *caller = raw_connect(rig->port, NULL);
			is_served = caller != NULL && raw_ask(caller, GET_NOW, &answer_) == 200;
			raw_close(caller);
		}
		assert_true(is_served);
	}
	assert_true(raw_is_closed(strangers[0])); /* the one that had waited longest */
	assert_int_equal(raw_ask(known, GET_NOW, &answer_), 200);
	raw_close(known);
	for (size_t i = 0; i < KMS_ARRAY_LEN(strangers); i++)
		raw_close(strangers[i]);
}

static void hundreds_of_connections_come_and_go(void **state)
{
	struct rig *rig = *state;
	rig->cfg.connections = 512;
	listen_plain(rig);
	static struct raw_client *c[300];
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < KMS_ARRAY_LEN(c); i++)
			c[i] = client(rig);
		for (size_t i = 0; i < KMS_ARRAY_LEN(c); i++)
			assert_int_equal(raw_ask(c[i], GET_NOW, &answer_), 200);
		for (size_t i = 0; i < KMS_ARRAY_LEN(c); i++)
			raw_close(c[i]);
	}
}

/* ---- TLS ---- */

static void only_tls_13_and_forward_secret_tls_12_are_spoken(void **state)
{
	static const struct {
		const char *priorities, *tls; /* NULL = refused */
	} CASES[] = {
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.3", "1.3" },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.2", "1.2" },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.1:%VERIFY_ALLOW_SIGN_WITH_SHA1", NULL },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.0:%VERIFY_ALLOW_SIGN_WITH_SHA1", NULL },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA", NULL },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+DHE-RSA", NULL },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC:+AES-256-CBC", NULL },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CCM", NULL },
	};
	struct rig *rig = *state;
	assert_true(raw_write_certificate(rig->cert, rig->key, "rsa", true));
	listen_with(rig);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct raw_client *c = raw_connect(rig->port, CASES[i].priorities);
		if ((c != NULL) != (CASES[i].tls != NULL))
			fail_msg("%s: %s", CASES[i].priorities, c != NULL ? "accepted" : "refused");
		if (c == NULL)
			continue;
		assert_int_equal(raw_ask(c, GET_NOW, &answer_), 200);
		assert_string_equal(rig->tls, CASES[i].tls);
		raw_close(c);
	}
}

static void a_new_certificate_is_taken_up_live(void **state)
{
	struct rig *rig = *state;
	char name[64];
	struct kms_err err = { 0 };
	listen_with(rig);
	/* Made first: it takes long, and the connection below has only so much time until its first request. */
	assert_true(raw_write_certificate(rig->cert, rig->key, "second", true));
	struct raw_client *old = client(rig);
	assert_true(raw_server_name(old, name, sizeof(name)));
	assert_string_equal(name, "first"); /* new files alone change nothing */
	assert_int_equal(http_reload(rig->server, &err), KMS_OK);
	struct raw_client *fresh = client(rig);
	assert_true(raw_server_name(fresh, name, sizeof(name)));
	assert_string_equal(name, "second");
	assert_int_equal(raw_ask(old, GET_NOW, &answer_), 200); /* not cut */
	assert_int_equal(raw_ask(fresh, GET_NOW, &answer_), 200);
	raw_close(old);
	raw_close(fresh);

	/* A pair that does not fit is refused and the one in use stays. */
	char other[sizeof(rig->key) + 8];
	(void)snprintf(other, sizeof(other), "%s.other", rig->key);
	assert_true(raw_write_certificate(rig->cert, other, "third", false));
	assert_int_equal(unlink(other), 0);
	assert_int_equal(http_reload(rig->server, &err), KMS_E_INVALID);
	assert_non_null(strstr(err.message, rig->key));
	fresh = client(rig);
	assert_true(raw_server_name(fresh, name, sizeof(name)));
	assert_string_equal(name, "second");
	raw_close(fresh);

	/* So is one whose key others may read, as at the start. */
	assert_true(raw_write_certificate(rig->cert, rig->key, "fourth", false));
	assert_int_equal(chmod(rig->key, 0640), 0);
	err = (struct kms_err){ 0 };
	assert_int_equal(http_reload(rig->server, &err), KMS_E_INVALID);
	assert_non_null(strstr(err.message, "chmod 600"));
	fresh = client(rig);
	assert_true(raw_server_name(fresh, name, sizeof(name)));
	assert_string_equal(name, "second");
	raw_close(fresh);
	assert_int_equal(chmod(rig->key, 0600), 0);
	assert_int_equal(http_reload(rig->server, &err), KMS_OK);
}

struct reloader {
	struct rig *rig;
	atomic_bool is_done;
	unsigned reloads;
};

static void *reload_all_the_time(void *arg)
{
	struct reloader *r = arg;
	struct kms_err err = { 0 };
	while (!atomic_load(&r->is_done) || r->reloads == 0)
		r->reloads += http_reload(r->rig->server, &err) == KMS_OK;
	return NULL;
}

static void handshakes_survive_reloads_in_their_midst(void **state)
{
	struct rig *rig = *state;
	listen_with(rig);
	struct reloader r = { .rig = rig };
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, reload_all_the_time, &r), 0);
	int served = 0;
	for (int i = 0; i < 40; i++) {
		struct raw_client *c = raw_connect(rig->port, RAW_TLS_DEFAULT);
		served += c != NULL && raw_ask(c, GET_NOW, &answer_) == 200;
		raw_close(c);
	}
	atomic_store(&r.is_done, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(served, 40);
	assert_true(r.reloads > 0);
}

/* ---- answers from many sides ---- */

#define CROWD 8
#define CROWD_REQUESTS 150

static void *ask_many_times(void *arg)
{
	const struct rig *rig = arg;
	struct raw_response *r = malloc(sizeof(*r));
	struct raw_client *c = raw_connect(rig->port, RAW_TLS_DEFAULT);
	uintptr_t good = 0;
	for (int i = 0; r != NULL && c != NULL && i < CROWD_REQUESTS; i++)
		good += raw_ask(c, i % 3 == 0 ? GET_NOW : "POST /later HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nab", r) == 200;
	raw_close(c);
	free(r);
	return (void *)good;
}

static void many_clients_get_each_their_answers(void **state)
{
	struct rig *rig = *state;
	pthread_t threads[CROWD];
	listen_with(rig);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_many_times, rig), 0);
	for (int i = 0; i < CROWD; i++) {
		void *good;
		assert_int_equal(pthread_join(threads[i], &good), 0);
		assert_int_equal((uintptr_t)good, CROWD_REQUESTS);
	}
	assert_true(rig_wait_ended(rig, CROWD * CROWD_REQUESTS));
}

/* The deadline and the answer race for each request; whoever loses must leave no trace. */
static void answers_race_with_deadlines(void **state)
{
	struct rig *rig = *state;
	rig->cfg.work_ms = 5;
	listen_plain(rig);
	unsigned answered = 0, expired = 0;
	for (int i = 0; i < 60; i++) {
		struct raw_client *c = client(rig);
		assert_true(raw_send_text(c, GET_HOLD));
		assert_true(rig_wait_held(rig, 1));
		(void)usleep((unsigned)(i % 20) * 1000);
		rig_release(rig, "ok");
		raw_read(c, &answer_, false);
		answered += answer_.status == 200;
		expired += answer_.status == 503;
		raw_close(c);
	}
	assert_int_equal(answered + expired, 60);
	assert_true(answered > 0);
	assert_true(expired > 0);
	assert_true(rig_wait_ended(rig, 60));
}

/* ---- stopping ---- */

struct stopper {
	struct rig *rig;
	unsigned drain_ms;
};

static void *stop_in_background(void *arg)
{
	const struct stopper *s = arg;
	rig_stop_server(s->rig, s->drain_ms);
	return NULL;
}

static void quiescing_refuses_connections_and_closes_the_others_politely(void **state)
{
	struct rig *rig = *state;
	listen_with(rig);
	struct raw_client *c = client(rig);
	assert_int_equal(raw_ask(c, GET_NOW, &answer_), 200);
	assert_null(raw_header(&answer_, "Connection"));
	http_quiesce(rig->server);
	assert_null(raw_connect(rig->port, NULL));
	assert_int_equal(raw_ask(c, GET_NOW, &answer_), 200);
	assert_string_equal(raw_header(&answer_, "Connection"), "close");
	assert_true(raw_is_closed(c));
	raw_close(c);
}

static void stopping_waits_for_work_under_way(void **state)
{
	struct rig *rig = *state;
	pthread_t thread;
	struct stopper s = { .rig = rig, .drain_ms = LONG_MS };
	listen_with(rig);
	struct raw_client *c = client(rig);
	assert_true(raw_send_text(c, GET_HOLD));
	assert_true(rig_wait_held(rig, 1));
	assert_int_equal(pthread_create(&thread, NULL, stop_in_background, &s), 0);
	rig_release(rig, "in time");
	raw_read(c, &answer_, false);
	assert_int_equal(answer_.status, 200);
	assert_string_equal(answer_.body, "in time");
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(atomic_load(&rig->ends), 1);
	raw_close(c);
}

static void stopping_answers_503_to_what_does_not_finish(void **state)
{
	struct rig *rig = *state;
	struct raw_client *c[5];
	listen_with(rig);
	for (size_t i = 0; i < KMS_ARRAY_LEN(c); i++) {
		c[i] = client(rig);
		assert_true(raw_send_text(c[i], GET_HOLD));
	}
	assert_true(rig_wait_held(rig, KMS_ARRAY_LEN(c)));
	rig_stop_server(rig, 10);
	for (size_t i = 0; i < KMS_ARRAY_LEN(c); i++) {
		raw_read(c[i], &answer_, false);
		assert_int_equal(answer_.status, 503);
		assert_true(raw_is_closed(c[i]));
		raw_close(c[i]);
	}
	assert_int_equal(atomic_load(&rig->last_refusal), KMS_E_SHUTDOWN);
	/* The application may answer long after the listener is gone; only then is the request over. */
	assert_int_equal(atomic_load(&rig->ends), 0);
	while (rig->held_count > 0)
		rig_release(rig, "too late");
	assert_int_equal(atomic_load(&rig->ends), KMS_ARRAY_LEN(c));
}

/* While the stop waits for the last answers to leave, nothing may be suspended any more: the library would abort the process. */
static void requests_that_arrive_during_the_stop_get_503(void **state)
{
	struct rig *rig = *state;
	pthread_t thread;
	struct stopper s = { .rig = rig, .drain_ms = 50 };
	struct raw_client *c[20];
	rig->cfg.headers_ms = LONG_MS;
	listen_plain(rig);
	for (size_t i = 0; i < KMS_ARRAY_LEN(c); i++) {
		c[i] = client(rig);
		assert_int_equal(raw_ask(c[i], GET_NOW, &answer_), 200);
	}
	struct raw_client *stuck = client_with_stuck_answer(rig);
	assert_int_equal(pthread_create(&thread, NULL, stop_in_background, &s), 0);
	for (size_t i = 0; i < KMS_ARRAY_LEN(c); i++) {
		int status = raw_ask(c[i], GET_HOLD, &answer_);
		assert_true(status == 503 || status == 0); /* 0: the stop was through before this one */
		(void)usleep(DRIP_US); /* spread over the stop */
		raw_close(c[i]);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(atomic_load(&rig->refusals) > 0);
	raw_close(stuck);
}

static void stopping_under_load_ends_every_request(void **state)
{
	struct rig *rig = *state;
	pthread_t threads[CROWD];
	listen_with(rig);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_many_times, rig), 0);
	while (atomic_load(&rig->admits) < CROWD)
		(void)usleep(1000);
	rig_stop_server(rig, 1000);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_true(rig_wait_ended(rig, atomic_load(&rig->admits)));
}

static void a_listener_that_was_never_used_stops(void **state)
{
	struct rig *rig = *state;
	listen_with(rig);
	struct raw_client *idle = client(rig);
	rig_stop_server(rig, LONG_MS);
	assert_true(raw_is_closed(idle));
	raw_close(idle);
	http_stop(NULL, 0);
}

#define EPOLL_BATCH 128 /* events that libmicrohttpd 0.9.75 takes at a time */
#define AROUND 3

/* The library asks again, with the same endless time-out, when it was given exactly as many events as it had room for: if all connections of a
 * thread are ready at once, and they are just that many, it would wait for ever with all of them unserved. */
static void as_many_ready_connections_as_the_library_takes_at_a_time_are_served(void **state)
{
	static struct raw_client *clients[EPOLL_BATCH + AROUND + 1];
	struct rig *rig = *state;

	rig->cfg.threads = 1;
	rig->cfg.connections = 2 * EPOLL_BATCH;
	rig->cfg.per_ip = 0;
	listen_plain(rig);
	for (size_t i = 0; i < KMS_ARRAY_LEN(clients); i++) {
		clients[i] = client(rig);
		assert_int_equal(raw_ask(clients[i], GET_NOW, &answer_), 200);
	}
	for (size_t ready = EPOLL_BATCH - AROUND; ready <= EPOLL_BATCH + AROUND; ready++) {
		unsigned admitted = atomic_load(&rig->admits);
		assert_true(rig_wait_ended(rig, admitted)); /* the end of a request needs the lock, too */
		(void)pthread_mutex_lock(&rig->lock); /* the HTTP thread stops inside the first request */
		assert_true(raw_send_text(clients[0], GET_NOW));
		while (atomic_load(&rig->admits) == admitted)
			(void)sched_yield();
		for (size_t i = 1; i <= ready; i++)
			assert_true(raw_send_text(clients[i], GET_NOW));
		(void)pthread_mutex_unlock(&rig->lock);
		for (size_t i = 0; i <= ready; i++) {
			raw_read(clients[i], &answer_, false);
			assert_int_equal(answer_.status, 200);
		}
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(clients); i++)
		raw_close(clients[i]);
}

int main(void)
{
#define LIFE_TEST(name) cmocka_unit_test_setup_teardown(name, prepare, finish)
	const struct CMUnitTest tests[] = {
		LIFE_TEST(as_many_ready_connections_as_the_library_takes_at_a_time_are_served),
		LIFE_TEST(a_connection_that_says_nothing_is_cut),
		LIFE_TEST(a_handshake_that_never_ends_is_cut),
		LIFE_TEST(headers_that_drip_in_are_cut),
		LIFE_TEST(a_body_that_drips_in_is_cut),
		LIFE_TEST(an_idle_connection_is_cut),
		LIFE_TEST(an_answer_that_nobody_reads_is_cut),
		LIFE_TEST(work_that_takes_too_long_is_answered_503_and_the_late_answer_is_dropped),
		LIFE_TEST(the_work_clock_ends_with_the_answer),
		LIFE_TEST(one_address_gets_only_its_share_of_connections),
		LIFE_TEST(the_listener_takes_only_so_many_connections),
		LIFE_TEST(strangers_make_room_for_callers),
		LIFE_TEST(hundreds_of_connections_come_and_go),
		LIFE_TEST(only_tls_13_and_forward_secret_tls_12_are_spoken),
		LIFE_TEST(a_new_certificate_is_taken_up_live),
		LIFE_TEST(handshakes_survive_reloads_in_their_midst),
		LIFE_TEST(many_clients_get_each_their_answers),
		LIFE_TEST(answers_race_with_deadlines),
		LIFE_TEST(quiescing_refuses_connections_and_closes_the_others_politely),
		LIFE_TEST(stopping_waits_for_work_under_way),
		LIFE_TEST(stopping_answers_503_to_what_does_not_finish),
		LIFE_TEST(requests_that_arrive_during_the_stop_get_503),
		LIFE_TEST(stopping_under_load_ends_every_request),
		LIFE_TEST(a_listener_that_was_never_used_stops),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
