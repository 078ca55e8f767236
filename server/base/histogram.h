/* server/base/histogram.h - counts of values in fixed buckets, for metrics. Any thread may add while another reads; nothing waits. */
#ifndef HOLDFAST_BASE_HISTOGRAM_H
#define HOLDFAST_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BOUNDS 16

/* Upper bounds, each inclusive, in ascending order; what is larger goes into a bucket of its own. */
struct histogram_scale {
	uint64_t bounds[HISTOGRAM_BOUNDS];
};
extern const struct histogram_scale HISTOGRAM_TIMES; /* microseconds: 50 us to 10 s */
extern const struct histogram_scale HISTOGRAM_SIZES; /* 1, 2, 4 ... 32768 */

/* Zeroed = empty. */
struct histogram {
	atomic_uint_fast64_t buckets[HISTOGRAM_BOUNDS + 1], sum;
};

void histogram_add(struct histogram *h, const struct histogram_scale *scale, uint64_t value);

#endif
