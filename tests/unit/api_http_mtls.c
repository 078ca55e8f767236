/* tests/unit/api_http_mtls.c - a listener that asks for client certificates and speaks TLS 1.3 only: who the application sees, resumption, late
 * answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/base/clock.h"
#include "server/base/secret.h"
#include "tests/support/http_rig.h"
#include "tests/support/raw_client.h"

#define HOST "Host: h\r\n"
#define GET_CHAIN "GET /chain HTTP/1.1\r\n" HOST "\r\n"
#define GET_HOLD "GET /hold HTTP/1.1\r\n" HOST "\r\n"
#define TLS13 "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define WORK_MS 200
#define LATE_MS_MAX 260
#define LONGER_WORK_MS 800
#define STAGGER_MS 33
#define ROUNDS 3 /* a busy machine may hold up one */
#define PADDING_BELOW 7800  /* two certificates of 8 KiB each, together below 16 KiB */
#define PADDING_ABOVE 8200  /* and above */
#define PADDING_FAR_ABOVE 17000

static struct raw_response answer_; /* large, hence not on the stack */

static int prepare(void **state)
{
	struct rig *rig = rig_new();
	rig->cfg.asks_client_certs = rig->cfg.is_tls13_only = true;
	*state = rig;
	return 0;
}

static int finish(void **state)
{
	rig_free(*state);
	return secret_live() == 0 ? 0 : -1;
}

static void listen_with(struct rig *rig)
{
	struct kms_err err = { 0 };
	if (!rig_start(rig, &err))
		fail_msg("%s %s", err.message, err.detail);
}

static struct raw_client *client_with(const struct rig *rig, const struct raw_ticket *ticket)
{
	const struct raw_tls tls = {
		.priorities = TLS13, .cert_file = rig->client_cert, .key_file = rig->client_key, .ticket = ticket
	};
	struct raw_client *c = raw_connect_as(rig->port, &tls);
	assert_non_null(c);
	return c;
}

static void make_chain(const struct rig *rig, const struct raw_chain *chain)
{
	assert_true(raw_write_chain(rig->client_cert, rig->client_key, chain));
}

static void expect_chain(struct raw_client *c, const char *want)
{
	assert_int_equal(raw_ask(c, GET_CHAIN, &answer_), 200);
	assert_string_equal(answer_.body, want);
}

static int64_t now_ms(void) { return clock_mono_us(&CLOCK_SYSTEM) / 1000; }

/* ---- certificates ---- */

static void a_client_without_certificate_is_let_in_and_seen_without_one(void **state)
{
	struct rig *rig = *state;
	listen_with(rig);
	struct raw_client *c = raw_connect(rig->port, TLS13);
	assert_non_null(c);
	assert_true(raw_was_asked(c));
	expect_chain(c, "0");
	expect_chain(c, "0"); /* and the connection stays */
	raw_close(c);
}

static void each_request_shows_the_chain_as_it_was_sent(void **state)
{
	static const struct {
		struct raw_chain chain;
		const char *want;
	} CASES[] = {
		{ { .leaf_name = "stranger", .length = 1 }, "1 stranger" },
		{ { .leaf_name = "stranger", .length = 1, .is_rsa = true }, "1 stranger" },
		{ { .leaf_name = "pool", .length = 3 }, "3 pool, issuer 1, issuer 2" },
		{ { .leaf_name = "pool", .length = 3, .is_rsa = true }, "3 pool, issuer 1, issuer 2" },
		{ { .leaf_name = "pool", .length = HTTP_CLIENT_CHAIN_MAX },
		  "8 pool, issuer 1, issuer 2, issuer 3, issuer 4, issuer 5, issuer 6, issuer 7" },
		{ { .leaf_name = "fat", .length = 2, .padding = PADDING_BELOW }, "2 fat, issuer 1" },
	};
	struct rig *rig = *state;
	listen_with(rig);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		make_chain(rig, &CASES[i].chain);
		struct raw_client *c = client_with(rig, NULL);
		expect_chain(c, CASES[i].want);
		expect_chain(c, CASES[i].want);
		raw_close(c);
	}
}

static void a_chain_too_long_is_no_certificate(void **state)
{
	static const struct raw_chain CHAINS[] = {
		{ .leaf_name = "pool", .length = HTTP_CLIENT_CHAIN_MAX + 1 },
		{ .leaf_name = "pool", .length = 2, .padding = PADDING_ABOVE },
	};
	struct rig *rig = *state;
	listen_with(rig);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CHAINS); i++) {
		make_chain(rig, &CHAINS[i]);
		struct raw_client *c = client_with(rig, NULL);
		expect_chain(c, "0");
		struct raw_ticket *ticket = raw_ticket_take(c);
		raw_close(c);
		c = client_with(rig, ticket);
		expect_chain(c, "0");
		raw_close(c);
		raw_ticket_free(ticket);
	}
}

/* In TLS 1.3 the client is through with its handshake before the server has judged its certificate: the refusal meets its first request. */
static void expect_refused_handshake(const struct rig *rig)
{
	struct raw_client *c = client_with(rig, NULL);
	assert_int_equal(raw_ask(c, GET_CHAIN, &answer_), 0);
	raw_close(c);
}

static void a_handshake_message_without_measure_ends_the_connection(void **state)
{
	struct rig *rig = *state;
	const struct raw_chain huge = { .leaf_name = "pool", .length = 2, .padding = PADDING_FAR_ABOVE };
	listen_with(rig);
	make_chain(rig, &huge);
	expect_refused_handshake(rig);
	assert_int_equal(atomic_load(&rig->admits), 0);
}

static void a_certificate_without_its_key_ends_the_connection(void **state)
{
	struct rig *rig = *state;
	const struct raw_chain chain = { .leaf_name = "pool", .length = 3 };
	listen_with(rig);
	make_chain(rig, &chain);
	assert_true(raw_write_certificate(rig->socket, rig->client_key, "other", false)); /* another key into the place of the pool's */
	expect_refused_handshake(rig);
	assert_int_equal(atomic_load(&rig->admits), 0);
}

static void the_chain_outlives_its_connection_until_the_request_ends(void **state)
{
	struct rig *rig = *state;
	const struct raw_chain chain = { .leaf_name = "pool", .length = 3 };
	rig->cfg.work_ms = 20;
	rig->cfg.late = KMS_E_TIMEOUT;
	listen_with(rig);
	make_chain(rig, &chain);
	struct raw_client *c = client_with(rig, NULL);
	assert_int_equal(raw_ask(c, GET_HOLD, &answer_), 408);
	raw_close(c);
	rig_stop_server(rig, 0); /* nothing of the connection is left */
	assert_true(rig_wait_held(rig, 1));
	const struct http_request *req = rig->held[0];
	assert_int_equal(req->client_chain_count, 3);
	uint8_t sum = 0;
	for (size_t i = 0; i < req->client_chain_count; i++)
		for (size_t j = 0; j < req->client_chain[i].len; j++)
			sum = (uint8_t)(sum + req->client_chain[i].der[j]); /* the address sanitizer looks on */
	assert_int_equal(req->client_chain[0].der[0], 0x30);
	(void)sum;
	rig_release(rig, "too late");
}

static void other_listeners_ask_for_no_certificate_and_give_no_tickets(void **state)
{
	struct rig *rig = *state;
	const struct raw_chain chain = { .leaf_name = "pool", .length = 1 };
	rig->cfg.asks_client_certs = rig->cfg.is_tls13_only = false;
	listen_with(rig);
	make_chain(rig, &chain);
	struct raw_client *c = client_with(rig, NULL);
	assert_false(raw_was_asked(c));
	expect_chain(c, "0");
	assert_null(raw_ticket_take(c));
	raw_close(c);
}

static void a_listener_of_both_versions_asks_in_each_and_insists_in_none(void **state)
{
	static const char *const VERSIONS[] = { "NORMAL:-VERS-ALL:+VERS-TLS1.2", TLS13 };
	struct rig *rig = *state;
	const struct raw_chain chain = { .leaf_name = "service", .length = 2 };
	rig->cfg.is_tls13_only = false;
	listen_with(rig);
	make_chain(rig, &chain);
	for (size_t i = 0; i < KMS_ARRAY_LEN(VERSIONS); i++) {
		const struct raw_tls with = { .priorities = VERSIONS[i], .cert_file = rig->client_cert, .key_file = rig->client_key };
		const struct raw_tls without = { .priorities = VERSIONS[i] };
		struct raw_client *c = raw_connect_as(rig->port, &with);
		assert_non_null(c);
		assert_true(raw_was_asked(c));
		expect_chain(c, "2 service, issuer 1");
		expect_chain(c, "2 service, issuer 1");
		assert_null(raw_ticket_take(c));
		raw_close(c);
		c = raw_connect_as(rig->port, &without);
		assert_non_null(c);
		assert_true(raw_was_asked(c));
		expect_chain(c, "0");
		raw_close(c);
	}
}

static void a_listener_for_client_certificates_needs_its_own(void **state)
{
	struct rig *rig = *state;
	struct kms_err err = { 0 };
	rig->cfg.cert_file = rig->cfg.key_file = NULL;
	assert_false(rig_start(rig, &err));
	assert_int_equal(err.status, KMS_E_INVALID);
	rig->cfg.asks_client_certs = false;
	err = (struct kms_err){ 0 };
	assert_false(rig_start(rig, &err));
	assert_int_equal(err.status, KMS_E_INVALID);
}

/* ---- what is negotiated ---- */

static void only_tls_13_with_aes_gcm_is_spoken(void **state)
{
	static const struct {
		const char *priorities, *cipher; /* NULL = refused */
	} CASES[] = {
		{ TLS13 ":-CIPHER-ALL:+AES-256-GCM", "AES-256-GCM" },
		{ TLS13 ":-CIPHER-ALL:+AES-128-GCM", "AES-128-GCM" },
		{ TLS13 ":-GROUP-ALL:+GROUP-X25519", "AES-256-GCM" },
		{ TLS13 ":-GROUP-ALL:+GROUP-SECP256R1", "AES-256-GCM" },
		{ TLS13 ":-GROUP-ALL:+GROUP-SECP384R1", "AES-256-GCM" },
		{ TLS13 ":-CIPHER-ALL:+CHACHA20-POLY1305", NULL },
		{ TLS13 ":-CIPHER-ALL:+AES-128-CCM", NULL },
		{ TLS13 ":-GROUP-ALL:+GROUP-FFDHE2048", NULL },
		{ TLS13 ":-GROUP-ALL:+GROUP-SECP521R1", NULL },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL },
		{ "NORMAL:-VERS-ALL:+VERS-TLS1.1:%VERIFY_ALLOW_SIGN_WITH_SHA1", NULL },
	};
	struct rig *rig = *state;
	for (int is_rsa = 0; is_rsa <= 1; is_rsa++) { /* the server's own key: ECDSA and RSA-PSS signatures */
		assert_true(raw_write_certificate(rig->cert, rig->key, "server", is_rsa != 0));
		listen_with(rig);
		for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
			struct raw_client *c = raw_connect(rig->port, CASES[i].priorities);
			if ((c != NULL) != (CASES[i].cipher != NULL))
				fail_msg("%s: %s", CASES[i].priorities, c != NULL ? "accepted" : "refused");
			if (c == NULL)
				continue;
			assert_string_equal(raw_cipher_name(c), CASES[i].cipher);
			expect_chain(c, "0");
			assert_string_equal(rig->tls, "1.3");
			raw_close(c);
		}
		rig_stop_server(rig, 0);
	}
}

/* ---- resumption ---- */

static struct raw_ticket *ticket_for(const struct rig *rig, const char *want)
{
	struct raw_client *c = client_with(rig, NULL);
	assert_false(raw_is_resumed(c));
	expect_chain(c, want);
	struct raw_ticket *ticket = raw_ticket_take(c);
	assert_non_null(ticket);
	raw_close(c);
	return ticket;
}

static void a_resumed_session_still_shows_the_chain(void **state)
{
	static const struct {
		struct raw_chain chain;
		const char *want;
	} CASES[] = {
		{ { .leaf_name = "pool", .length = 1 }, "1 pool" },
		{ { .leaf_name = "pool", .length = 3, .is_rsa = true }, "3 pool, issuer 1, issuer 2" },
		{ { .leaf_name = "fat", .length = 2, .padding = PADDING_BELOW }, "2 fat, issuer 1" },
	};
	struct rig *rig = *state;
	struct kms_err err = { 0 };
	listen_with(rig);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		make_chain(rig, &CASES[i].chain);
		struct raw_ticket *ticket = ticket_for(rig, CASES[i].want);
		/* What the client could send now is somebody else's: the ticket decides. */
		assert_true(raw_write_certificate(rig->client_cert, rig->client_key, "another", false));
		assert_int_equal(http_reload(rig->server, &err), KMS_OK); /* tickets outlive the server's certificate */
		for (int round = 0; round < 2; round++) {
			struct raw_client *c = client_with(rig, ticket);
			assert_true(raw_is_resumed(c));
			expect_chain(c, CASES[i].want);
			raw_ticket_free(ticket);
			ticket = raw_ticket_take(c); /* each session brings the ticket for the next */
			assert_non_null(ticket);
			raw_close(c);
		}
		raw_ticket_free(ticket);
	}
}

static void a_session_without_certificate_resumes_without_one(void **state)
{
	struct rig *rig = *state;
	const struct raw_chain chain = { .leaf_name = "pool", .length = 1 };
	listen_with(rig);
	make_chain(rig, &chain);
	struct raw_client *c = raw_connect(rig->port, TLS13);
	assert_non_null(c);
	expect_chain(c, "0");
	struct raw_ticket *ticket = raw_ticket_take(c);
	assert_non_null(ticket);
	raw_close(c);
	c = client_with(rig, ticket);
	assert_true(raw_is_resumed(c));
	expect_chain(c, "0");
	raw_close(c);
	raw_ticket_free(ticket);
}

static void a_ticket_of_before_the_restart_leads_to_a_full_handshake(void **state)
{
	struct rig *rig = *state;
	const struct raw_chain first = { .leaf_name = "first", .length = 2 }, second = { .leaf_name = "second", .length = 1 };
	listen_with(rig);
	make_chain(rig, &first);
	struct raw_ticket *ticket = ticket_for(rig, "2 first, issuer 1");
	rig_stop_server(rig, 0);
	listen_with(rig);
	make_chain(rig, &second);
	struct raw_client *c = client_with(rig, ticket);
	assert_false(raw_is_resumed(c));
	expect_chain(c, "1 second"); /* proven anew */
	raw_close(c);
	raw_ticket_free(ticket);
}

/* Nobody has so large a key; whoever says so chose it, and the exponent, to keep the HTTP thread that verifies with it. */
static void a_client_key_beyond_all_use_ends_the_handshake(void **state)
{
	static const struct raw_chain GIANT = { .leaf_name = "giant", .length = 1, .leaf_key = "tests/support/rsa8256.key" };
	struct rig *rig = *state;
	listen_with(rig);
	make_chain(rig, &GIANT);
	const struct raw_tls tls = { .priorities = TLS13, .cert_file = rig->client_cert, .key_file = rig->client_key };
	struct raw_client *c = raw_connect_as(rig->port, &tls);
	/* In TLS 1.3 the client is done before the server looks. */
	if (c != NULL)
		assert_int_not_equal(raw_ask(c, GET_CHAIN, &answer_), 200);
	raw_close(c);
}

/* ---- late answers ---- */

static void a_late_answer_is_408_in_time_and_the_connection_serves_on(void **state)
{
	struct rig *rig = *state;
	rig->cfg.work_ms = WORK_MS;
	rig->cfg.late = KMS_E_TIMEOUT;
	listen_with(rig);
	struct raw_client *c = raw_connect(rig->port, TLS13);
	assert_non_null(c);
	int64_t quickest_ms = RAW_PATIENCE_MS;
	for (size_t i = 1; i <= 5; i++) {
		expect_chain(c, "0");
		int64_t before = now_ms();
		assert_int_equal(raw_ask(c, GET_HOLD, &answer_), 408);
		int64_t took_ms = now_ms() - before;
		assert_true(took_ms >= WORK_MS);
		if (took_ms < quickest_ms)
			quickest_ms = took_ms;
		assert_int_equal(atomic_load(&rig->last_refusal), KMS_E_TIMEOUT);
		assert_non_null(strstr(answer_.body, "did not finish in time"));
		assert_null(raw_header(&answer_, "Connection"));
		assert_true(rig_wait_held(rig, i));
	}
	if (quickest_ms > LATE_MS_MAX)
		fail_msg("answered after %d ms", (int)quickest_ms);
	while (rig->held_count > 0) {
		rig_release(rig, "too late"); /* goes nowhere, least of all into the next answer */
		expect_chain(c, "0");
	}
	raw_close(c);
	assert_true(rig_wait_ended(rig, 5 + 5 + 5));
	assert_int_equal(http_working(rig->server), 0);
}

/* Three requests in the midst of one another: one that is answered at the tick of a coarse clock leaves another waiting for the next. */
static bool staggered_answers_are_on_time(struct raw_client *const c[3])
{
	int64_t sent_ms[3];
	bool is_on_time = true;
	for (size_t i = 0; i < 3; i++) {
		sent_ms[i] = now_ms();
		assert_true(raw_send_text(c[i], GET_HOLD));
		(void)usleep(STAGGER_MS * 1000); /* time is what is tested */
	}
	for (size_t i = 0; i < 3; i++) {
		raw_read(c[i], &answer_, false);
		assert_int_equal(answer_.status, 408);
		int64_t took_ms = now_ms() - sent_ms[i];
		assert_true(took_ms >= LONGER_WORK_MS);
		is_on_time = is_on_time && took_ms < LONGER_WORK_MS + STAGGER_MS;
	}
	return is_on_time;
}

static void each_late_answer_has_a_clock_of_its_own(void **state)
{
	struct rig *rig = *state;
	struct raw_client *c[3];
	rig->cfg.work_ms = LONGER_WORK_MS;
	rig->cfg.late = KMS_E_TIMEOUT;
	listen_with(rig);
	for (size_t i = 0; i < 3; i++) {
		c[i] = raw_connect(rig->port, TLS13);
		assert_non_null(c[i]);
	}
	bool is_on_time = false;
	for (int round = 0; round < ROUNDS && !is_on_time; round++)
		is_on_time = staggered_answers_are_on_time(c);
	assert_true(is_on_time);
	for (size_t i = 0; i < 3; i++)
		raw_close(c[i]);
}

/* The caller's clock runs while its body is on its way, and a request that was sent later has a later end, whoever was complete first. */
static void a_slow_body_does_not_move_the_end(void **state)
{
	struct rig *rig = *state;
	rig->cfg.work_ms = LONGER_WORK_MS;
	rig->cfg.late = KMS_E_TIMEOUT;
	listen_with(rig);
	struct raw_client *slow = raw_connect(rig->port, TLS13), *quick = raw_connect(rig->port, TLS13);
	assert_non_null(slow);
	assert_non_null(quick);
	int64_t slow_ms = now_ms();
	assert_true(raw_send_text(slow, "POST /hold HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\na"));
	(void)usleep(LONGER_WORK_MS / 4 * 1000); /* time is what is tested */
	int64_t quick_ms = now_ms();
	assert_true(raw_send_text(quick, GET_HOLD));
	(void)usleep(LONGER_WORK_MS / 4 * 1000);
	assert_true(raw_send_text(slow, "b"));
	raw_read(slow, &answer_, false);
	assert_int_equal(answer_.status, 408);
	int64_t took_ms = now_ms() - slow_ms;
	assert_true(took_ms >= LONGER_WORK_MS);
	assert_true(took_ms < LONGER_WORK_MS + LONGER_WORK_MS / 2); /* what it would be from the last byte */
	raw_read(quick, &answer_, false);
	assert_int_equal(answer_.status, 408);
	assert_true(now_ms() - quick_ms >= LONGER_WORK_MS);
	raw_close(slow);
	raw_close(quick);
	while (rig->held_count > 0)
		rig_release(rig, "too late");
	assert_true(rig_wait_ended(rig, 2));
	assert_int_equal(http_working(rig->server), 0);
}

/* ---- reload ---- */

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

static void reloads_disturb_neither_handshakes_nor_resumptions_nor_open_connections(void **state)
{
	struct rig *rig = *state;
	const struct raw_chain chain = { .leaf_name = "pool", .length = 3 };
	const char *want = "3 pool, issuer 1, issuer 2";
	struct reloader r = { .rig = rig };
	pthread_t thread;
	listen_with(rig);
	make_chain(rig, &chain);
	struct raw_ticket *ticket = ticket_for(rig, want);
	struct raw_client *old = client_with(rig, NULL);
	expect_chain(old, want);
	assert_int_equal(pthread_create(&thread, NULL, reload_all_the_time, &r), 0);
	for (int i = 0; i < 30; i++) {
		struct raw_client *c = client_with(rig, i % 2 == 0 ? ticket : NULL);
		assert_int_equal(raw_is_resumed(c), i % 2 == 0);
		expect_chain(c, want);
		expect_chain(old, want);
		raw_close(c);
	}
	atomic_store(&r.is_done, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(r.reloads > 0);
	raw_close(old);
	raw_ticket_free(ticket);
}

int main(void)
{
#define MTLS_TEST(name) cmocka_unit_test_setup_teardown(name, prepare, finish)
	const struct CMUnitTest tests[] = {
		MTLS_TEST(a_client_without_certificate_is_let_in_and_seen_without_one),
		MTLS_TEST(each_request_shows_the_chain_as_it_was_sent),
		MTLS_TEST(a_chain_too_long_is_no_certificate),
		MTLS_TEST(a_handshake_message_without_measure_ends_the_connection),
		MTLS_TEST(a_certificate_without_its_key_ends_the_connection),
		MTLS_TEST(the_chain_outlives_its_connection_until_the_request_ends),
		MTLS_TEST(other_listeners_ask_for_no_certificate_and_give_no_tickets),
		MTLS_TEST(a_listener_of_both_versions_asks_in_each_and_insists_in_none),
		MTLS_TEST(a_listener_for_client_certificates_needs_its_own),
		MTLS_TEST(only_tls_13_with_aes_gcm_is_spoken),
		MTLS_TEST(a_resumed_session_still_shows_the_chain),
		MTLS_TEST(a_session_without_certificate_resumes_without_one),
		MTLS_TEST(a_ticket_of_before_the_restart_leads_to_a_full_handshake),
		MTLS_TEST(a_client_key_beyond_all_use_ends_the_handshake),
		MTLS_TEST(a_late_answer_is_408_in_time_and_the_connection_serves_on),
		MTLS_TEST(each_late_answer_has_a_clock_of_its_own),
		MTLS_TEST(a_slow_body_does_not_move_the_end),
		MTLS_TEST(reloads_disturb_neither_handshakes_nor_resumptions_nor_open_connections),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
