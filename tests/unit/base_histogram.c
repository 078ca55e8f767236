/* tests/unit/base_histogram.c - buckets, their bounds, and many threads at once. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/base/histogram.h"

#define THREADS 4
#define ADDED 20000

static void a_value_goes_into_the_first_bucket_whose_bound_it_does_not_exceed(void **state)
{
	(void)state;
	for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
		struct histogram h = { 0 };
		histogram_add(&h, &HISTOGRAM_TIMES, HISTOGRAM_TIMES.bounds[i]);
		histogram_add(&h, &HISTOGRAM_TIMES, HISTOGRAM_TIMES.bounds[i] + 1);
		assert_int_equal(atomic_load(&h.buckets[i]), 1);
		assert_int_equal(atomic_load(&h.buckets[i + 1]), 1);
		assert_int_equal(atomic_load(&h.sum), 2 * HISTOGRAM_TIMES.bounds[i] + 1);
	}
}

static void bounds_ascend(void **state)
{
	(void)state;
	for (size_t i = 1; i < HISTOGRAM_BOUNDS; i++) {
		assert_true(HISTOGRAM_TIMES.bounds[i] > HISTOGRAM_TIMES.bounds[i - 1]);
		assert_true(HISTOGRAM_SIZES.bounds[i] > HISTOGRAM_SIZES.bounds[i - 1]);
	}
}

static void *add_many(void *arg)
{
	for (uint64_t i = 0; i < ADDED; i++)
		histogram_add(arg, &HISTOGRAM_SIZES, i);
	return NULL;
}

static void no_value_is_lost_between_threads(void **state)
{
	static struct histogram h;
	pthread_t threads[THREADS];
	uint64_t count = 0;

	(void)state;
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, &h), 0);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++)
		count += atomic_load(&h.buckets[i]);
	assert_int_equal(count, THREADS * ADDED);
	assert_int_equal(atomic_load(&h.sum), (uint64_t)THREADS * ADDED * (ADDED - 1) / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_value_goes_into_the_first_bucket_whose_bound_it_does_not_exceed),
		cmocka_unit_test(bounds_ascend),
		cmocka_unit_test(no_value_is_lost_between_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
