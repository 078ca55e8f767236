/* server/core/duration.c - ISO 8601 durations: a strict parser, and the calendar. */
#include "server/core/duration.h"

#include <stddef.h>
#include <time.h>

#define NUMBER_MAX 9999
#define MINUTE_S 60
#define HOUR_S 3600
#define DAY_S 86400
#define WEEK_D 7
#define MONTH_D 30
#define YEAR_D 365
#define YEAR_MONTHS 12
#define LAST_S 253402300799 /* the end of the year 9999 */
#define LONGEST_S ((int64_t)100 * YEAR_D * DAY_S)
#define TM_YEAR_BASE 1900

/* Designators in the order in which they may stand, before and after the T. */
struct unit {
	char designator;
	size_t offset;
};
static const struct unit DATE_UNITS[] = {
	{ 'Y', offsetof(struct duration, years) }, { 'M', offsetof(struct duration, months) },
	{ 'W', offsetof(struct duration, weeks) }, { 'D', offsetof(struct duration, days) }, { 0 },
};
static const struct unit TIME_UNITS[] = {
	{ 'H', offsetof(struct duration, hours) }, { 'M', offsetof(struct duration, minutes) }, { 'S', offsetof(struct duration, seconds) }, { 0 },
};

/* A run of numbers with their designators; ends before the first character that begins none. *ret_count says how many there were. */
static bool parse_units(const char **text, const struct unit *unit, struct duration *d, size_t *ret_count)
{
	const char *at = *text;

	for (*ret_count = 0; *at >= '0' && *at <= '9'; (*ret_count)++, at++, unit++) {
		unsigned number = 0;
		for (; *at >= '0' && *at <= '9'; at++) {
			number = number * 10 + (unsigned)(*at - '0');
			if (number > NUMBER_MAX)
				return false;
		}
		while (unit->designator != '\0' && unit->designator != *at)
			unit++;
		if (unit->designator == '\0')
			return false;
		*(uint16_t *)((char *)d + unit->offset) = (uint16_t)number;
	}
	*text = at;
	return true;
}

bool duration_parse(const char *text, struct duration *ret)
{
	struct duration d = { 0 };
	size_t dates = 0, times = 0;

	if (*text++ != 'P' || !parse_units(&text, DATE_UNITS, &d, &dates))
		return false;
	if (*text == 'T') {
		text++;
		if (!parse_units(&text, TIME_UNITS, &d, &times) || times == 0)
			return false;
	}
	if (*text != '\0' || dates + times == 0 || duration_nominal_s(&d) > LONGEST_S)
		return false;
	*ret = d;
	return true;
}

static int64_t time_s(const struct duration *d)
{
	return ((int64_t)d->weeks * WEEK_D + d->days) * DAY_S + (int64_t)d->hours * HOUR_S + (int64_t)d->minutes * MINUTE_S + d->seconds;
}

int64_t duration_nominal_s(const struct duration *d)
{
	return ((int64_t)d->years * YEAR_D + (int64_t)d->months * MONTH_D) * DAY_S + time_s(d);
}

static int days_of_month(int year, int month)
{
	static const int DAYS[YEAR_MONTHS] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return DAYS[month] + (month == 1 && is_leap);
}

int64_t duration_add(int64_t unix_s, const struct duration *d, bool minus)
{
	int sign = minus ? -1 : 1;
	time_t at = (time_t)unix_s;
	struct tm tm = { 0 };
	int months = 0;

	if (unix_s < 0 || unix_s > LAST_S || gmtime_r(&at, &tm) == NULL)
		return unix_s;
	months = (tm.tm_year + TM_YEAR_BASE) * YEAR_MONTHS + tm.tm_mon + sign * (d->years * YEAR_MONTHS + d->months);
	tm.tm_mon = months % YEAR_MONTHS;
	tm.tm_year = months / YEAR_MONTHS - TM_YEAR_BASE;
	if (tm.tm_mday > days_of_month(tm.tm_year + TM_YEAR_BASE, tm.tm_mon))
		tm.tm_mday = days_of_month(tm.tm_year + TM_YEAR_BASE, tm.tm_mon);
	return (int64_t)timegm(&tm) + sign * time_s(d);
}
