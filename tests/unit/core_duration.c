/* tests/unit/core_duration.c - ISO 8601 durations: what is read, what is refused, and the calendar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/duration.h"

#define DAY_S 86400

static void good_texts_are_read(void **state)
{
	static const struct {
		const char *text;
		int64_t nominal_s;
	} CASES[] = {
		{ "P90D", 90 * DAY_S }, { "P3M", 90 * DAY_S }, { "P2Y", 730 * DAY_S }, { "P1Y10D", 375 * DAY_S }, { "PT48H", 2 * DAY_S },
		{ "P18M", 540 * DAY_S }, { "P4W", 28 * DAY_S }, { "P1Y2M3W4DT5H6M7S", (365 + 60 + 21 + 4) * DAY_S + 5 * 3600 + 6 * 60 + 7 },
		{ "PT1M", 60 }, { "P1M", 30 * DAY_S }, { "P0D", 0 }, { "P007D", 7 * DAY_S }, { "P100Y", (int64_t)36500 * DAY_S },
		{ "PT9999S", 9999 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct duration d;
		memset(&d, 0xa5, sizeof(d));
		assert_true(duration_parse(CASES[i].text, &d));
		assert_int_equal(duration_nominal_s(&d), CASES[i].nominal_s);
	}
}

static void bad_texts_are_refused_and_leave_the_result_alone(void **state)
{
	static const char *const CASES[] = {
		"", "P", "PT", "P1", "1D", "D", "P1DT", "P-1D", "P+1D", "P1.5D", "P1,5D", "p90d", "P90d", " P90D", "P90D ", "P1D1Y",
		"P1D1D", "P1M1Y", "PT1S1H", "P1H",
		"PT1D", "P1DT1DT1H", "P10000D", "P99999999999999999999D", "P100Y1D", "P9999M", "PP1D", "P1DD", "P\xc2\xb9", "90",
		"P0x10D", "P1Y2", "PT1H2",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct duration d = { .days = 77 };
		if (duration_parse(CASES[i], &d))
			fail_msg("%s was read", CASES[i]);
		assert_int_equal(d.days, 77);
	}
}

/* 2027-01-15 08:00:00 UTC and others, by date(1). */
static void times_move_by_the_calendar(void **state)
{
	static const struct {
		int64_t from;
		const char *by;
		bool minus;
		int64_t to;
	} CASES[] = {
		{ 1800000000, "P1D", false, 1800086400 },
		{ 1800000000, "P2Y", false, 1863158400 },   /* over 2028-02-29 */
		{ 1800000000, "P1Y", true, 1768464000 },
		{ 1801353600, "P1M", false, 1803772800 },   /* 2027-01-31 -> 2027-02-28 */
		{ 1832889600, "P1M", false, 1835395200 },   /* 2028-01-31 -> 2028-02-29 */
		{ 1835395200, "P1Y", false, 1866931200 },   /* 2028-02-29 -> 2029-02-28 */
		{ 1806451200, "P1M", true, 1803772800 },    /* 2027-03-31 -> 2027-02-28 */
		{ 1800000000, "P13M", true, 1765785600 },   /* 2025-12-15 */
		{ 1800000000, "PT90M", false, 1800005400 },
		{ 0, "P100Y", true, -3155673600 },
		{ -1, "P1D", false, -1 },
		{ 253402300800, "P1D", false, 253402300800 },
		{ 253402300799, "P1D", false, 253402387199 },
		{ INT64_MAX, "P1Y", false, INT64_MAX },
		{ INT64_MIN, "P1Y", true, INT64_MIN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct duration d = { 0 };
		assert_true(duration_parse(CASES[i].by, &d));
		assert_int_equal(duration_add(CASES[i].from, &d, CASES[i].minus), CASES[i].to);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_texts_are_read),
		cmocka_unit_test(bad_texts_are_refused_and_leave_the_result_alone),
		cmocka_unit_test(times_move_by_the_calendar),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
