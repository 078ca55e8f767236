/* Exports as a whole, to a file: where they go on, what they write down of themselves, and when a required one stops service. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/feed/export.h"
#include "tests/support/feed_rig.h"
#include "tests/support/temp.h"

#define TELL_MS 100
#define PAUSE_MS 20
#define PATIENCE_MS 10000
#define LINE_MAX_LEN (EVENT_LEAF_MAX + 2)

static struct t_feed_rig R;
static char dir[T_TEMP_MAX], inner[T_TEMP_MAX + 16], path[T_TEMP_MAX + 32];
static struct exports *exports;

static void start(bool is_required)
{
	const struct export_config one = { .name = "file", .format = FORMAT_NATIVE, .to = "file:x", .sink = EXPORT_FILE, .target = path, .is_required = is_required,
		                           .max_lag_s = 10, .enterprise = FORMAT_ENTERPRISE };
	const struct exports_config cfg = { .kms = &R.kms, .open_store = t_feed_rig_open_store, .open_arg = &R, .list = &one, .count = 1, .tell_ms = TELL_MS,
		                            .pause_ms = PAUSE_MS };
	struct kms_err err = { 0 };

	if (exports_start(&cfg, &exports, &err) != KMS_OK)
		fail_msg("%s", err.detail);
}

static struct export_state state_now(void)
{
	struct export_state s[EXPORTS_MAX];
	assert_int_equal(exports_state(exports, s), 1);
	return s[0];
}

#define UNTIL(condition)                                   \
	do {                                               \
		for (int i_ = 0; !(condition); i_++) {     \
			assert_true(i_ < PATIENCE_MS / 5); \
			(void)poll(NULL, 0, 5);            \
		}                                          \
	} while (0)

static bool has_caught_up(void)
{
	struct export_state s = state_now();
	return s.feed.settled == s.feed.size && s.feed.size == t_feed_rig_size(&R) && !s.feed.is_failing;
}

static void write_some(unsigned n)
{
	const struct event e = { .type = EVENT_KEY_GET };
	while (n-- > 0)
		(void)t_feed_rig_write(&R, &e);
}

/* Lines of the file; each is the leaf of its place. */
static uint64_t lines(void)
{
	static char line[LINE_MAX_LEN];
	FILE *f = fopen(path, "re");
	uint64_t count = 0;

	assert_non_null(f);
	for (; fgets(line, sizeof(line), f) != NULL; count++) {
		const char *seq = strstr(line, "\"salt\":"); /* details may have a seq too; members are sorted */
		seq = seq != NULL ? strstr(seq, "\"seq\":") : NULL;
		assert_non_null(seq);
		assert_int_equal(strtoull(seq + 6, NULL, 10), count);
	}
	(void)fclose(f);
	return count;
}

/* Leaves that say how an export is. */
static unsigned told(const char *result)
{
	struct store *s = NULL;
	unsigned found = 0;

	assert_int_equal(t_feed_rig_open_store(&R, &s, NULL), KMS_OK);
	for (uint64_t seq = 0, size = t_feed_rig_size(&R); seq < size; seq++) {
		struct store_event e = { 0 };
		LEAF_AUTO l = { 0 };
		assert_int_equal(store_event(s, seq, &e, NULL), KMS_OK);
		assert_int_equal(leaf_read(&e, &l, NULL), KMS_OK);
		if (l.type != EVENT_LOG_EXPORT_FAILED || strcmp(format_result(&l), result) != 0)
			continue;
		assert_string_equal(leaf_det_text(&l, "export"), "file");
		assert_true(strcmp(result, "ok") == 0 || l.err[0] != '\0');
		found++;
	}
	store_close(s);
	return found;
}

static void an_export_goes_on_where_it_stood(void **state)
{
	(void)state;
	assert_int_equal(mkdir(inner, 0700), 0);
	write_some(300);
	start(false);
	UNTIL(has_caught_up());
	write_some(10);
	UNTIL(has_caught_up());
	exports_stop(exports);
	assert_int_equal(lines(), t_feed_rig_size(&R));
	t_feed_rig_restart(&R);
	write_some(5);
	start(false);
	UNTIL(has_caught_up());
	exports_stop(exports);
	assert_int_equal(lines(), t_feed_rig_size(&R));
}

static void failing_for_a_while_is_one_event_and_working_again_another(void **state)
{
	(void)state;
	start(false); /* there is no such directory */
	UNTIL(told("failed") == 1);
	assert_true(state_now().feed.is_failing);
	assert_non_null(strstr(state_now().feed.failure, "cannot be opened"));
	(void)poll(NULL, 0, 3 * TELL_MS);
	assert_int_equal(told("failed"), 1);
	assert_int_equal(told("ok"), 0);
	assert_int_equal(mkdir(inner, 0700), 0);
	UNTIL(told("ok") == 1 && has_caught_up());
	assert_int_equal(told("failed"), 1);
	exports_stop(exports);
	assert_int_equal(lines(), t_feed_rig_size(&R));
}

static void a_required_one_that_is_behind_stops_service_until_it_has_caught_up(void **state)
{
	const int64_t start_us = T_FEED_START_S * INT64_C(1000000);

	(void)state;
	start(true);
	UNTIL(state_now().feed.is_failing);
	assert_false(state_now().stops_service);
	t_feed_rig_set_us(start_us + 11000000, 11000000);
	UNTIL(state_now().stops_service);
	assert_int_equal(mkdir(inner, 0700), 0);
	UNTIL(has_caught_up() && !state_now().stops_service);
	exports_stop(exports);
}

static void one_that_is_behind_when_the_server_starts_stops_service_before_it_begins(void **state)
{
	(void)state;
	write_some(1);
	t_feed_rig_set_us(T_FEED_START_S * INT64_C(1000000) + 11000000, 11000000);
	start(true); /* there is no such directory */
	assert_true(state_now().stops_service);
	assert_int_equal(mkdir(inner, 0700), 0);
	UNTIL(has_caught_up() && !state_now().stops_service);
	exports_stop(exports);
}

static int open_all(void **state)
{
	(void)state;
	t_feed_rig_open(&R);
	t_temp_dir("export", dir);
	(void)snprintf(inner, sizeof(inner), "%s/inner", dir);
	(void)snprintf(path, sizeof(path), "%s/events.jsonl", inner);
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	t_feed_rig_close(&R);
	(void)unlink(path);
	(void)rmdir(inner);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_export_goes_on_where_it_stood, open_all, close_all),
		cmocka_unit_test_setup_teardown(failing_for_a_while_is_one_event_and_working_again_another, open_all, close_all),
		cmocka_unit_test_setup_teardown(a_required_one_that_is_behind_stops_service_until_it_has_caught_up, open_all, close_all),
		cmocka_unit_test_setup_teardown(one_that_is_behind_when_the_server_starts_stops_service_before_it_begins, open_all, close_all),
	};
	if (access("/dev/shm", W_OK) == 0) /* some hundred commits, and what a disk makes of them is no matter here */
		assert_int_equal(setenv("TMPDIR", "/dev/shm", 1), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
