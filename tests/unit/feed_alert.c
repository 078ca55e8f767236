/* Alerts: what rules count, that an alert is raised once whatever happens between, and that no text of the log becomes more than text in a mail. */
#include "server/feed/alert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/base/log.h"
#include "server/feed/alert_parts.h"
#include "tests/support/feed_rig.h"

#define WAIT_MS 10000
#define MINUTE_US (60 * ALERT_US_PER_S)

/* ---- windows ---- */

static void key_of(unsigned n, uint8_t ret[WINDOW_KEY_LEN])
{
	memset(ret, 0, WINDOW_KEY_LEN);
	memcpy(ret, &n, sizeof(n));
}

static void a_window_slides_and_forgets(void **state)
{
	struct window_table *t = window_table_new(4);
	uint8_t key[WINDOW_KEY_LEN];
	struct window *w;

	(void)state;
	key_of(1, key);
	w = window_get(t, key);
	assert_true(w->raised_us == STORE_NO_TIME && window_sum(w) == 0);
	for (int i = 0; i < 8; i++)
		window_count(w, i * MINUTE_US / 8, 60, 2, false);
	assert_int_equal(window_sum(w), 16);
	window_count(w, MINUTE_US, 60, 1, false); /* the first eighth is out of it */
	assert_int_equal(window_sum(w), 15);
	window_count(w, MINUTE_US + 3 * MINUTE_US / 8, 60, 0, false);
	assert_int_equal(window_sum(w), 9);
	window_count(w, 10 * MINUTE_US, 60, 5, false);
	assert_int_equal(window_sum(w), 5);
	window_count(w, 9 * MINUTE_US, 60, 1, false); /* a clock that was set back: still now */
	assert_int_equal(window_sum(w), 6);
	window_table_free(t);
}

static void an_average_counts_empty_windows_too(void **state)
{
	struct window_table *t = window_table_new(4);
	uint8_t key[WINDOW_KEY_LEN];
	struct window *w;

	(void)state;
	key_of(1, key);
	w = window_get(t, key);
	for (int i = 0; i < 4; i++)
		window_count(w, i * MINUTE_US, 60, 8, true);
	assert_int_equal(w->averaged, 3);
	assert_true(w->average > 7.99 && w->average < 8.01);
	window_count(w, 4 * MINUTE_US, 60, 1, true);
	window_count(w, 8 * MINUTE_US, 60, 1, true); /* 8 8 8 8 1 0 0 0 */
	assert_int_equal(w->averaged, 8);
	assert_true(w->average > 4.12 && w->average < 4.13);
	window_count(w, 1000 * MINUTE_US, 60, 1, true);
	assert_true(w->average < 2);
	assert_int_equal(w->whole_count, 1);
	window_table_free(t);
}

static void the_table_is_bounded_and_drops_the_oldest(void **state)
{
	struct window_table *t = window_table_new(100);
	uint8_t key[WINDOW_KEY_LEN];

	(void)state;
	for (unsigned n = 0; n < 100; n++) {
		key_of(n * 16384, key); /* one bucket */
		window_count(window_get(t, key), 0, 60, 1, false);
	}
	key_of(0, key);
	assert_int_equal(window_sum(window_get(t, key)), 1); /* used: the second is the oldest now */
	for (unsigned n = 100; n < 199; n++) {
		key_of(n * 16384, key);
		assert_int_equal(window_sum(window_get(t, key)), 0);
	}
	key_of(0, key);
	assert_int_equal(window_sum(window_get(t, key)), 1);
	key_of(1 * 16384, key);
	assert_int_equal(window_sum(window_get(t, key)), 0);
	window_table_free(t);
}

/* ---- rules ---- */

static void each_kind_counts_its_own_leaves(void **state)
{
	static const struct {
		enum alert_kind kind;
		struct leaf leaf;
		const char *subject;
	} CASES[] = {
		{ ALERT_VOLUME, { .type = EVENT_KEY_WRAP, .has_pid = true }, "AAAAAAAAAAAAAAAAAAAAAA" },
		{ ALERT_NEW_ADDRESS, { .type = EVENT_KEY_WRAP, .has_pid = true, .peer = "192.0.2.0/24" }, "AAAAAAAAAAAAAAAAAAAAAA 192.0.2.0/24" },
		{ ALERT_DENIALS, { .type = EVENT_KEY_WRAP, .result = EVENT_REFUSED, .has_pid = true }, "AAAAAAAAAAAAAAAAAAAAAA" },
		{ ALERT_DENIALS, { .type = EVENT_DENIED, .result = EVENT_REFUSED, .peer = "192.0.2.0/24" }, "192.0.2.0/24" },
		{ ALERT_DENIALS, { .type = EVENT_DENIED, .result = EVENT_REFUSED }, "unknown callers" },
		{ ALERT_EXPIRY, { .type = EVENT_KEY_NEAR_EXPIRY, .key_name = "k", .key_version = "01" }, "k/01" },
		{ ALERT_EXPIRY, { .type = EVENT_KEY_EXPIRE, .key_name = "k" }, "k" },
		{ ALERT_ROTATION_FAILED, { .type = EVENT_KEY_ROTATE, .result = EVENT_FAILED, .key_name = "k" }, "k" },
		{ ALERT_HSM_LOST, { .type = EVENT_NODE_HSM_LOST }, "node1" },
		{ ALERT_INTEGRITY, { .type = EVENT_LOG_INTEGRITY_FAILED, .type_name = "log.integrity_failed" }, "log.integrity_failed" },
		{ ALERT_INTEGRITY, { .type = EVENT_TENANT_RESURRECTED, .type_name = "tenant.resurrected" }, "tenant.resurrected" },
		{ ALERT_EXPORT_FAILED, { .type = EVENT_LOG_EXPORT_FAILED, .result = EVENT_FAILED }, "" },
	};
	static const struct leaf NEVER[] = {
		{ .type = EVENT_ALERT, .has_pid = true, .peer = "192.0.2.0/24", .result = EVENT_REFUSED }, { .type = EVENT_NONE, .has_pid = true, .peer = "192.0.2.0/24" },
		{ .type = EVENT_KEY_ROTATE, .phase = EVENT_INTENT, .has_pid = true, .peer = "192.0.2.0/24", .result = EVENT_FAILED },
		{ .type = EVENT_KEY_ROTATE }, { .type = EVENT_LOG_EXPORT_FAILED }, { .type = EVENT_KEY_WRAP, .is_pruned = true, .has_pid = true },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++)
		for (enum alert_kind kind = ALERT_VOLUME; kind <= ALERT_EXPORT_FAILED; kind++) {
			struct alert_rule r = { .name = "r", .kind = kind };
			struct leaf l = CASES[i].leaf;
			struct alert_subject s;
			bool also = kind == ALERT_VOLUME && l.has_pid;
			l.key_name = l.key_name != NULL ? l.key_name : "";
			l.key_version = l.key_version != NULL ? l.key_version : "";
			l.peer = l.peer != NULL ? l.peer : "";
			assert_int_equal(alert_matches(&r, &l, "node1", &s), also || kind == CASES[i].kind);
			if (kind == CASES[i].kind)
				assert_string_equal(s.text, CASES[i].subject);
		}
	for (size_t i = 0; i < KMS_ARRAY_LEN(NEVER); i++)
		for (enum alert_kind kind = ALERT_VOLUME; kind <= ALERT_EXPORT_FAILED; kind++) {
			struct alert_rule r = { .name = "r", .kind = kind };
			struct leaf l = NEVER[i];
			struct alert_subject s;
			l.peer = l.peer != NULL ? l.peer : "";
			l.key_name = l.key_version = "";
			assert_false(alert_matches(&r, &l, "node1", &s));
		}
	assert_int_equal(alert_kind_parse("denials"), ALERT_DENIALS);
	assert_int_equal(alert_kind_parse("nonsense"), ALERT_NO_KIND);
	assert_string_equal(alert_kind_name(ALERT_LOG_LATE), "log_late");
}

static void a_subject_of_another_rule_or_vault_is_another(void **state)
{
	struct alert_rule a = { .name = "a" }, b = { .name = "b" };
	struct alert_subject s = { .text = "x" }, of_vault = { .text = "x", .has_vault = true, .vault = { 1 } };
	uint8_t keys[3][WINDOW_KEY_LEN];

	(void)state;
	alert_key(&a, &s, keys[0]);
	alert_key(&b, &s, keys[1]);
	alert_key(&a, &of_vault, keys[2]);
	assert_memory_not_equal(keys[0], keys[1], WINDOW_KEY_LEN);
	assert_memory_not_equal(keys[0], keys[2], WINDOW_KEY_LEN);
	alert_key(&a, &s, keys[1]);
	assert_memory_equal(keys[0], keys[1], WINDOW_KEY_LEN);
}

/* ---- the evaluator ---- */

static struct t_feed_rig R;
static struct alerts *A;
static int64_t Now_us;

static int rig_open(void **state)
{
	(void)state;
	log_setup(LOG_ERROR, false);
	t_feed_rig_open(&R);
	Now_us = (int64_t)T_FEED_START_S * ALERT_US_PER_S;
	return 0;
}

static int rig_close(void **state)
{
	(void)state;
	alerts_stop(A);
	A = NULL;
	t_feed_rig_close(&R);
	return 0;
}

static void start(const struct alert_rule *rules, size_t count)
{
	const struct alerts_config cfg = { .kms = &R.kms, .open_store = t_feed_rig_open_store, .open_arg = &R, .rules = rules, .rule_count = count };
	struct kms_err err = { 0 };

	if (alerts_start(&cfg, &A, &err) != KMS_OK)
		fail_msg("%s", err.detail);
}

static void pass(int64_t us)
{
	Now_us += us;
	t_feed_rig_set_us(Now_us, Now_us);
}

static void write_denied(unsigned who, unsigned times)
{
	struct event e = { .type = EVENT_DENIED, .result = EVENT_REFUSED, .actor = EVENT_ACTOR_APP };

	memset(e.pid, (int)who, sizeof(e.pid));
	for (unsigned i = 0; i < times; i++)
		(void)t_feed_rig_write(&R, &e);
}

static void wait_settled(void)
{
	const struct timespec nap = { .tv_nsec = 2000000 };
	struct feed_state s[1 + ALERT_CHANNELS_MAX];

	for (int i = 0; i < WAIT_MS / 2; i++) {
		assert_int_equal(alerts_state(A, s), 1);
		if (s[0].settled == t_feed_rig_size(&R))
			return;
		(void)nanosleep(&nap, NULL);
	}
	fail_msg("the evaluator stands at %llu: %s", (unsigned long long)s[0].settled, s[0].failure);
}

/* Alerts in the log; the last one's count. */
static size_t alerts_in_log(int64_t *ret_count)
{
	struct store *store = NULL;
	size_t found = 0;

	assert_int_equal(t_feed_rig_open_store(&R, &store, NULL), KMS_OK);
	for (uint64_t seq = 0; seq < t_feed_rig_size(&R); seq++) {
		struct store_event e = { 0 };
		LEAF_AUTO l = { 0 };
		assert_int_equal(store_event(store, seq, &e, NULL), KMS_OK);
		assert_int_equal(leaf_read(&e, &l, NULL), KMS_OK);
		store_event_clear(&e);
		if (l.type != EVENT_ALERT)
			continue;
		found++;
		*ret_count = leaf_det_number(&l, "count");
		assert_true(leaf_det_number(&l, "seq") < (int64_t)seq);
	}
	store_close(store);
	return found;
}

static const struct alert_rule DENIALS = { .name = "denials", .kind = ALERT_DENIALS, .limit = 5, .window_s = 60 };

static void one_alert_for_a_subject_in_a_window(void **state)
{
	int64_t count = 0;

	(void)state;
	start(&DENIALS, 1);
	write_denied(1, 4);
	write_denied(2, 4);
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 0);
	write_denied(1, 4);
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 1);
	assert_int_equal(count, 5);
	pass(MINUTE_US / 2);
	write_denied(1, 5);
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 1);
	pass(MINUTE_US / 2 + MINUTE_US / 8);
	write_denied(1, 1); /* the window holds what came after the alert, too */
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 2);
	assert_int_equal(count, 6);
	pass(10 * MINUTE_US);
	write_denied(1, 4);
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 2);
}

static void all_together_are_one_subject(void **state)
{
	struct alert_rule total = DENIALS;
	int64_t count = 0;

	(void)state;
	total.is_total = true;
	start(&total, 1);
	for (unsigned who = 1; who <= 6; who++)
		write_denied(who, 1);
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 1);
}

static void set_cursor(uint64_t seq)
{
	struct store_change change = { .kind = STORE_CURSOR_SET, .cursor = { .name = "alerts", .seq = seq } };
	struct write unit = { .changes = &change, .change_count = 1 };

	assert_int_equal(writer_write(R.kms.writer, &unit), KMS_OK);
}

static void after_a_restart_the_window_goes_on_and_nothing_is_raised_twice(void **state)
{
	int64_t count = 0;
	uint64_t first, last;

	(void)state;
	start(&DENIALS, 1);
	first = t_feed_rig_size(&R);
	write_denied(1, 3);
	wait_settled();
	alerts_stop(A);
	A = NULL;
	t_feed_rig_restart(&R);
	start(&DENIALS, 1);
	write_denied(1, 2); /* with those before */
	last = t_feed_rig_size(&R) - 1;
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 1);
	alerts_stop(A);
	A = NULL;
	/* Killed with a cursor that is older than the alert, wherever it stands: the alert itself tells of it. */
	for (unsigned i = 0; i < 4; i++) {
		const uint64_t cursors[] = { first + 1, last - 1, last, last + 1 }; /* last: what it was raised for */
		set_cursor(cursors[i]);
		t_feed_rig_restart(&R);
		start(&DENIALS, 1);
		write_denied(2, 1);
		wait_settled();
		alerts_stop(A);
		A = NULL;
		assert_int_equal(alerts_in_log(&count), 1);
	}
}

static void much_more_than_usual_is_told(void **state)
{
	const struct alert_rule r = { .name = "volume", .kind = ALERT_VOLUME, .factor = 3, .at_least = 4, .window_s = 60 };
	int64_t count = 0;

	(void)state;
	start(&r, 1);
	for (int i = 0; i < 6; i++) {
		write_denied(1, 2);
		wait_settled(); /* before time goes on */
		pass(MINUTE_US);
	}
	assert_int_equal(alerts_in_log(&count), 0);
	write_denied(1, 5);
	write_denied(2, 5); /* who has no average yet */
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 0);
	write_denied(1, 1);
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 1);
	assert_int_equal(count, 6);
}

static void a_rule_for_one_vault_looks_at_that_vault(void **state)
{
	struct alert_rule r = DENIALS;
	struct store_change add = { .kind = STORE_VAULT_ADD, .vault = store_fixture_vault(1, "orders") };
	struct write unit = { .changes = &add, .change_count = 1 };
	struct event e = { .type = EVENT_DENIED, .result = EVENT_REFUSED, .has_tenant = true };
	int64_t count = 0;

	(void)state;
	assert_int_equal(writer_write(R.kms.writer, &unit), KMS_OK);
	r.vault = "orders";
	r.limit = 1;
	start(&r, 1);
	write_denied(1, 1);
	e.tenant[0] = 9;
	(void)t_feed_rig_write(&R, &e);
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 0);
	memcpy(e.tenant, add.vault.id, sizeof(e.tenant));
	(void)t_feed_rig_write(&R, &e);
	wait_settled();
	assert_int_equal(alerts_in_log(&count), 1);
}

/* ---- channels ---- */

/* One connection, from which all is read until there is `end`. */
static void receive(int listener, const char *end, char *ret, size_t cap)
{
	int fd = accept(listener, NULL, NULL);
	size_t len = 0;

	assert_true(fd >= 0);
	do {
		ssize_t got = read(fd, ret + len, cap - 1 - len);
		assert_true(got > 0);
		len += (size_t)got;
		ret[len] = '\0';
	} while (strstr(ret, end) == NULL);
	(void)close(fd);
}

static int listen_here(char ret_address[32])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(at);
	const struct timeval limit = { .tv_sec = WAIT_MS / 1000 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	(void)snprintf(ret_address, 32, "127.0.0.1:%u", ntohs(at.sin_port));
	return fd;
}

static void what_reaches_syslog_is_one_line_whatever_the_subject(void **state)
{
	static const char *const TO[] = { "siem" };
	char address[32], text[4096] = "";
	const int listener = listen_here(address);
	struct alert_rule rules[] = { DENIALS, { .name = "other", .kind = ALERT_HSM_LOST, .limit = 1, .window_s = 60 } };
	const struct alert_channel channel = { .name = "siem", .kind = ALERT_BY_SYSLOG_PLAIN, .address = address };
	const struct alerts_config cfg = { .kms = &R.kms, .open_store = t_feed_rig_open_store, .open_arg = &R, .rules = rules, .rule_count = 2,
		                           .channels = &channel, .channel_count = 1 };
	struct event_det det[] = { { .name = "rule", .text = "other" }, { .name = "kind", .text = "denials" },
		                   { .name = "subject", .text = "x\n<0>1 - forged\r\t\x7f\xc3\xa4 \"]|=end" }, { .name = "count", .is_number = true, .number = 7 },
		                   { .name = "seq", .is_number = true, .number = 1 } };
	const struct event e = { .type = EVENT_ALERT, .actor = EVENT_ACTOR_SYSTEM, .det = det, .det_count = KMS_ARRAY_LEN(det) };

	(void)state;
	rules[0].to = TO;
	rules[0].to_count = 1;
	assert_int_equal(alerts_start(&cfg, &A, NULL), KMS_OK);
	(void)t_feed_rig_write(&R, &e); /* of a rule that does not go there */
	(void)snprintf(det[0].text, sizeof(det[0].text), "denials");
	(void)t_feed_rig_write(&R, &e);
	receive(listener, "cause 1", text, sizeof(text));
	assert_non_null(strstr(text, "] alert of rule denials (denials): x?<0>1 - forged????? \"]|=end, count 7, vault -, cause 1"));
	assert_null(strstr(text, "rule other"));
	assert_null(strpbrk(text, "\r\n\t"));
	(void)close(listener);
}

/* ---- mail ---- */

static void no_text_of_the_log_becomes_a_header_or_ends_the_message(void **state)
{
	static const char *const TO[] = { "a@x.example", "b@x.example" };
	static char hostile[] = "rule: x\r\nBcc: thief@x.example\n.\r\nRCPT TO:<thief@x.example>\n\xc3\xa4\x01\x7f\xe2\x80\xa8 end\n";
	const struct alert_channel c = { .name = "post", .kind = ALERT_BY_MAIL, .address = "127.0.0.1:25", .from = "kms@x.example", .to = TO, .to_count = 2 };
	const struct alert_sink_facts facts = { .clock = &CLOCK_SYSTEM, .node = "node1" };
	struct record records[] = { { .seq = 1, .bytes = hostile, .len = sizeof(hostile) - 1 }, { .seq = 2, .bytes = hostile, .len = sizeof(hostile) - 1 } };
	size_t len = 0;

	(void)state;
	for (size_t count = 1; count <= 2; count++) {
		char *text = mail_message(&c, &facts, 1700000000, records, count, &len), *body;
		assert_non_null(text);
		assert_int_equal(strlen(text), len);
		for (size_t i = 0; i < len; i++) {
			assert_true(text[i] == '\r' || text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~'));
			assert_true((text[i] == '\n') == (i > 0 && text[i - 1] == '\r'));
		}
		body = strstr(text, "\r\n\r\n");
		assert_non_null(body);
		*body = '\0';
		assert_null(strstr(text, "\r\nBcc:"));
		assert_non_null(strstr(text, "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nFrom: <kms@x.example>\r\nTo: <a@x.example>,\r\n <b@x.example>\r\n"));
		assert_non_null(strstr(text, count == 1 ? "\r\nSubject: [holdfast node1] rule: x?\r\nMessage-ID: <"
		                                        : "\r\nSubject: [holdfast node1] 2 alerts, the first: rule: x?\r\nMessage-ID: <"));
		free(text);
	}
}

#define T(t) cmocka_unit_test(t)
#define E(t) cmocka_unit_test_setup_teardown(t, rig_open, rig_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_window_slides_and_forgets),
		T(an_average_counts_empty_windows_too),
		T(the_table_is_bounded_and_drops_the_oldest),
		T(each_kind_counts_its_own_leaves),
		T(a_subject_of_another_rule_or_vault_is_another),
		E(one_alert_for_a_subject_in_a_window),
		E(all_together_are_one_subject),
		E(after_a_restart_the_window_goes_on_and_nothing_is_raised_twice),
		E(much_more_than_usual_is_told),
		E(a_rule_for_one_vault_looks_at_that_vault),
		E(what_reaches_syslog_is_one_line_whatever_the_subject),
		T(no_text_of_the_log_becomes_a_header_or_ends_the_message),
	};
	if (access("/dev/shm", W_OK) == 0) /* some hundred commits, and what a disk makes of them is no matter here */
		assert_int_equal(setenv("TMPDIR", "/dev/shm", 1), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
