/* server/base/clock.h - time, as a value that tests can set. */
#ifndef HOLDFAST_BASE_CLOCK_H
#define HOLDFAST_BASE_CLOCK_H

#include <stdint.h>

struct clock {
	int64_t (*wall_us)(const struct clock *c); /* microseconds since 1970-01-01 UTC */
	int64_t (*mono_us)(const struct clock *c); /* microseconds on the boot-time clock; never falls */
};

extern const struct clock CLOCK_SYSTEM;

static inline int64_t clock_wall_us(const struct clock *c) { return c->wall_us(c); }
static inline int64_t clock_wall_s(const struct clock *c) { return c->wall_us(c) / 1000000; }
static inline int64_t clock_mono_us(const struct clock *c) { return c->mono_us(c); }

#endif
