/* server/base/clock.c - the system's clocks. */
#include "server/base/clock.h"

#include <time.h>

static int64_t read_us(clockid_t id)
{
	struct timespec t;
	(void)clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t system_wall_us(const struct clock *c)
{
	(void)c;
	return read_us(CLOCK_REALTIME);
}

static int64_t system_mono_us(const struct clock *c)
{
	(void)c;
	return read_us(CLOCK_BOOTTIME);
}

const struct clock CLOCK_SYSTEM = { .wall_us = system_wall_us, .mono_us = system_mono_us };
