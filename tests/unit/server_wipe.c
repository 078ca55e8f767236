/* tests/unit/server_wipe.c - the daemon's allocator: what was freed, moved or cut off is gone from memory. Reads freed memory on purpose, as whoever dumps the process would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/sanitized.h"

#define LINKS (2 * sizeof(void *)) /* glibc keeps its lists in the first bytes of a free block */

/* The compiler is not to know that these two are one. */
static volatile uint8_t *same(volatile const void *p)
{
	volatile uintptr_t at = (uintptr_t)p;
	return (volatile uint8_t *)at;
}

static size_t left_of(volatile const uint8_t *p, size_t from, size_t to, uint8_t what)
{
	size_t count = 0;

	for (size_t i = from; i < to; i++)
		count += p[i] == what;
	return count;
}

static void what_was_freed_is_overwritten_whatever_its_size(void **state)
{
	static const size_t SIZES[] = { 32, 100, 1000, 4368, 20000, 100000 };

	(void)state;
	for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
		uint8_t *p = malloc(SIZES[i]), *fence = malloc(16); /* so that the block does not go back to the system */
		volatile uint8_t *seen = same(p);
		assert_non_null(p);
		assert_non_null(fence);
		memset(p, 'S', SIZES[i]);
		free(p);
		assert_int_equal(left_of(seen, LINKS, SIZES[i], 'S'), 0);
		free(fence);
	}
}

static void what_a_growing_block_leaves_behind_is_overwritten(void **state)
{
	uint8_t *p = malloc(3000), *fence = malloc(16), *moved;
	volatile uint8_t *seen = same(p);

	(void)state;
	assert_non_null(p);
	memset(p, 'S', 3000);
	moved = realloc(p, 9000);
	assert_non_null(moved);
	assert_int_equal(left_of(moved, 0, 3000, 'S'), 3000);
	assert_int_equal(left_of(seen, LINKS, 3000, 'S'), 0);
	free(moved);
	free(fence);
}

static void what_a_shrinking_block_loses_is_overwritten(void **state)
{
	static const size_t TO[] = { 2500, 100 };

	(void)state;
	for (size_t i = 0; i < sizeof(TO) / sizeof(TO[0]); i++) {
		uint8_t *p = malloc(3000), *less;
		volatile uint8_t *seen = same(p);
		assert_non_null(p);
		memset(p, 'S', 3000);
		less = realloc(p, TO[i]);
		assert_non_null(less);
		assert_int_equal(left_of(less, 0, TO[i], 'S'), TO[i]);
		assert_int_equal(left_of(seen, same(less) == seen ? TO[i] : LINKS, 3000, 'S'), 0);
		free(less);
	}
}

static void what_the_standard_says_of_them_holds(void **state)
{
	void *p = realloc(NULL, 10);

	(void)state;
	assert_non_null(p);
	free(NULL);
	free(p);
	p = calloc(64, 64);
	assert_non_null(p);
	assert_int_equal(left_of(p, 0, 4096, 0), 4096);
	p = reallocarray(p, 128, 64);
	assert_non_null(p);
	free(p);
}

static void a_sanitizer_brings_its_own_allocator(void **state)
{
	(void)state;
	skip();
}

int main(void)
{
	const struct CMUnitTest sanitized[] = { cmocka_unit_test(a_sanitizer_brings_its_own_allocator) };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_freed_is_overwritten_whatever_its_size),
		cmocka_unit_test(what_a_growing_block_leaves_behind_is_overwritten),
		cmocka_unit_test(what_a_shrinking_block_loses_is_overwritten),
		cmocka_unit_test(what_the_standard_says_of_them_holds),
	};
	if (T_IS_SANITIZED)
		return cmocka_run_group_tests(sanitized, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
