/* Secrets: counted, erased, refused when the heap is gone. */
#include "server/base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <openssl/crypto.h>

#include <cmocka.h>

#define HEAP_BYTES 16384

static int make_heap(void **state)
{
	struct rlimit limit;
	struct kms_err err = { 0 };
	(void)state;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < 2 * HEAP_BYTES) {
		printf("skipped: this user may lock only %llu bytes\n", (unsigned long long)limit.rlim_cur);
		exit(EXIT_SUCCESS);
	}
	return secret_heap_init(HEAP_BYTES, &err) == KMS_OK ? 0 : -1;
}

static void a_secret_is_zeroed_counted_and_on_the_secure_heap(void **state)
{
	static const uint8_t ZERO[48] = { 0 };
	struct secret *s = secret_new(sizeof(ZERO));
	(void)state;
	assert_non_null(s);
	assert_int_equal(secret_live(), 1);
	assert_int_equal(secret_len(s), sizeof(ZERO));
	assert_memory_equal(secret_data(s), ZERO, sizeof(ZERO));
	assert_true(CRYPTO_secure_allocated(s));
	secret_free(s);
	secret_free(NULL);
	assert_int_equal(secret_live(), 0);
}

static void leaving_the_scope_frees_and_taking_hands_over(void **state)
{
	struct secret *kept = NULL;
	(void)state;
	{
		SECRET_AUTO *gone = secret_from("abc", 3);
		SECRET_AUTO *taken = secret_from("abcdef", 6);
		assert_non_null(gone);
		assert_int_equal(secret_live(), 2);
		kept = KMS_TAKE(taken);
	}
	assert_int_equal(secret_live(), 1);
	assert_memory_equal(secret_data(kept), "abcdef", 6);
	secret_free(kept);
	assert_int_equal(secret_live(), 0);
}

static void shrinking_erases_what_is_cut_off_and_never_grows(void **state)
{
	SECRET_AUTO *s = secret_from("0123456789", 10);
	(void)state;
	secret_shrink(s, 4);
	assert_int_equal(secret_len(s), 4);
	assert_memory_equal(secret_data(s), "0123\0\0\0\0\0\0", 10);
	secret_shrink(s, 8);
	assert_int_equal(secret_len(s), 4);
	secret_shrink(s, 0);
	assert_int_equal(secret_len(s), 0);
}

static void a_freed_secret_leaves_no_trace_for_the_next_owner(void **state)
{
	uint8_t pattern[64];
	(void)state;
	memset(pattern, 0xa5, sizeof(pattern));
	for (int i = 0; i < 16; i++) {
		struct secret *s = secret_from(pattern, sizeof(pattern));
		struct secret *next;
		secret_shrink(s, 1); /* what a shrink cut off must be erased as well */
		secret_free(s);
		next = secret_new(sizeof(pattern));
		for (size_t b = 0; b < sizeof(pattern); b++)
			assert_int_equal(secret_data(next)[b], 0);
		secret_free(next);
	}
}

static void impossible_lengths_and_an_exhausted_heap_give_null(void **state)
{
	struct secret *held[HEAP_BYTES / 1024] = { 0 };
	size_t n = 0;
	(void)state;
	assert_null(secret_new(0));
	assert_null(secret_new(((size_t)1 << 20) + 1));
	assert_null(secret_new(SIZE_MAX));
	while (n < KMS_ARRAY_LEN(held) && (held[n] = secret_new(1024)) != NULL)
		n++;
	assert_true(n > 0 && n < KMS_ARRAY_LEN(held));
	assert_int_equal(secret_live(), n);
	for (size_t i = 0; i < n; i++)
		secret_free(held[i]);
	assert_int_equal(secret_live(), 0);
}

static void an_erased_array_is_zero_after_its_scope(void **state)
{
	uint8_t bytes[32];
	struct erase_span span = { bytes, sizeof(bytes) };
	(void)state;
	memset(bytes, 0xff, sizeof(bytes));
	erase_span_run(&span);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0);
	{
		ERASE_AUTO(uint8_t, pin, 8);
		assert_int_equal(pin[7], 0);
		assert_ptr_equal(pin_erase_.p, pin);
		assert_int_equal(pin_erase_.len, 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_secret_is_zeroed_counted_and_on_the_secure_heap),
		cmocka_unit_test(leaving_the_scope_frees_and_taking_hands_over),
		cmocka_unit_test(shrinking_erases_what_is_cut_off_and_never_grows),
		cmocka_unit_test(a_freed_secret_leaves_no_trace_for_the_next_owner),
		cmocka_unit_test(impossible_lengths_and_an_exhausted_heap_give_null),
		cmocka_unit_test(an_erased_array_is_zero_after_its_scope),
	};
	return cmocka_run_group_tests(tests, make_heap, NULL);
}
