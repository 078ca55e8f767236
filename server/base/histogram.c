/* server/base/histogram.c - see histogram.h. */
#include "server/base/histogram.h"

const struct histogram_scale HISTOGRAM_TIMES = { { 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 10000000 } };
const struct histogram_scale HISTOGRAM_SIZES = { { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768 } };

void histogram_add(struct histogram *h, const struct histogram_scale *scale, uint64_t value)
{
	size_t i = 0;

	while (i < HISTOGRAM_BOUNDS && value > scale->bounds[i])
		i++;
	atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
}
