/* server/core/duration.h - ISO 8601 durations of rotation policies (keyvault-keys.md 4.2): P90D, P3M, P2Y, P1Y10D, PT48H. */
#ifndef HOLDFAST_CORE_DURATION_H
#define HOLDFAST_CORE_DURATION_H

#include <stdbool.h>
#include <stdint.h>

struct duration {
	uint16_t years, months, weeks, days, hours, minutes, seconds;
};

/** Whole numbers, each designator at most once and in order, at least one of them, each number at most 9999, all of it at most 100 years;
 *  false otherwise. */
bool duration_parse(const char *text, struct duration *ret);
/** A time plus (or minus) a duration by the calendar, UTC; a day that its month lacks becomes the month's last. A
 *  time before 1970 or after the year 9999 stays as it is. */
int64_t duration_add(int64_t unix_s, const struct duration *d, bool minus);
/** Nominal length in seconds, for comparing: a month has 30 days, a year 365. */
int64_t duration_nominal_s(const struct duration *d);

#endif
