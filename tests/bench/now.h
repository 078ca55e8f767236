/* tests/bench/now.h - microseconds on a clock that only goes forward. */
#ifndef HOLDFAST_TESTS_BENCH_NOW_H
#define HOLDFAST_TESTS_BENCH_NOW_H

#include <stdint.h>
#include <time.h>

#define US_PER_S 1000000
#define NS_PER_US 1000

static inline int64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail with this clock */
	return (int64_t)t.tv_sec * US_PER_S + t.tv_nsec / NS_PER_US;
}

#endif
