/* tests/unit/api_limits.c - token buckets of vaults and principals, with a clock of the test's own. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/limits.h"

#define S INT64_C(1000000)
#define SHARDS 256 /* of limits.c */
#define PLACES 16

static _Atomic int64_t now_us;
static int64_t fake_us(const struct clock *c)
{
	(void)c;
	return now_us;
}
static const struct clock FAKE = { .wall_us = fake_us, .mono_us = fake_us };

static struct limits *limits;
static unsigned retry_s;
static struct kms_err err;

static void make(unsigned vault_requests, unsigned vault_creates, unsigned principal_requests, unsigned principal_creates)
{
	const struct limits_config cfg = { .vault = { [LIMIT_REQUESTS] = vault_requests, [LIMIT_CREATES] = vault_creates },
		                           .principal = { [LIMIT_REQUESTS] = principal_requests, [LIMIT_CREATES] = principal_creates } };
	now_us = 1000 * S;
	assert_int_equal(limits_new(&cfg, &FAKE, &limits, NULL), KMS_OK);
}

static int tidy(void **state)
{
	(void)state;
	limits_free(limits);
	limits = NULL;
	return 0;
}

static struct limits_claim claim_of(uint8_t vault, uint8_t principal, enum limit_class class)
{
	struct limits_claim c = { .class = class, .has_vault = vault != 0 };
	memset(c.vault, vault, sizeof(c.vault));
	memset(c.principal, principal, sizeof(c.principal));
	return c;
}

static kms_status take(uint8_t vault, uint8_t principal, enum limit_class class)
{
	const struct limits_claim c = claim_of(vault, principal, class);
	memset(&err, 0, sizeof(err));
	return limits_take(limits, &c, &retry_s, &err);
}

/* How many are granted in a row, at most `most`. */
static unsigned granted(uint8_t vault, uint8_t principal, enum limit_class class, unsigned most)
{
	unsigned n = 0;
	while (n < most && take(vault, principal, class) == KMS_OK)
		n++;
	return n;
}

static void a_bucket_is_full_at_first_and_holds_its_allowance_exactly(void **state)
{
	static const unsigned ALLOWANCES[] = { 1, 2, 3, 7, 10, 999, 1000, 20000, 99991 };
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(ALLOWANCES); i++) {
		unsigned n = ALLOWANCES[i];
		make(n, n, LIMITS_MAX, LIMITS_MAX);
		assert_int_equal(granted(1, 2, LIMIT_REQUESTS, n + 5), n);
		assert_int_equal(granted(1, 2, LIMIT_CREATES, n + 5), n);
		tidy(NULL);
	}
}

static void it_is_refilled_evenly_and_never_beyond_its_allowance(void **state)
{
	(void)state;
	make(100, 1, LIMITS_MAX, LIMITS_MAX); /* one in 100 ms */
	assert_int_equal(granted(1, 2, LIMIT_REQUESTS, 1000), 100);
	now_us += S / 10 - 1;
	assert_int_equal(take(1, 2, LIMIT_REQUESTS), KMS_E_THROTTLED);
	now_us += 1;
	assert_int_equal(granted(1, 2, LIMIT_REQUESTS, 1000), 1);
	now_us += 5 * S;
	assert_int_equal(granted(1, 2, LIMIT_REQUESTS, 1000), 50);
	now_us += 3600 * S;
	assert_int_equal(granted(1, 2, LIMIT_REQUESTS, 1000), 100);
}

static void in_the_long_run_nobody_gets_more_than_the_allowance(void **state)
{
	unsigned total = 0;
	(void)state;
	make(30, 1, LIMITS_MAX, LIMITS_MAX);
	for (int ms = 0; ms < 100000; ms += 50) {
		total += granted(1, 2, LIMIT_REQUESTS, 1000);
		now_us += 50000;
	}
	assert_in_range(total, 30 + 299, 30 + 300); /* what was there at first, and 3 in a second */
}

static void a_refusal_says_when_and_which(void **state)
{
	(void)state;
	make(4, 1, LIMITS_MAX, 2);
	assert_int_equal(granted(1, 2, LIMIT_REQUESTS, 10), 4);
	assert_int_equal(retry_s, 3); /* one in 2.5 s */
	assert_string_equal(kms_err_text(&err), "The limit of this vault is reached: 4 requests in 10 seconds. Retry after 3 s.");
	now_us += 2400000;
	assert_int_equal(take(1, 2, LIMIT_REQUESTS), KMS_E_THROTTLED);
	assert_int_equal(retry_s, 1);
	assert_int_equal(take(1, 2, LIMIT_CREATES), KMS_OK);
	assert_int_equal(take(1, 2, LIMIT_CREATES), KMS_E_THROTTLED);
	assert_int_equal(retry_s, 10);
	assert_string_equal(kms_err_text(&err),
	                    "The limit of this vault is reached: 1 new key versions (create, import, rotate, restore) in 10 seconds. "
	                    "Retry after 10 s.");
	assert_int_equal(granted(0, 2, LIMIT_CREATES, 10), 1);
	assert_string_equal(kms_err_text(&err),
	                    "The limit of this caller is reached: 2 new key versions (create, import, rotate, restore) in 10 seconds. "
	                    "Retry after 5 s.");
	/* When it said so, there is one. */
	now_us += 5 * S;
	assert_int_equal(take(0, 2, LIMIT_CREATES), KMS_OK);
}

static void proofs_are_fifty_a_second_and_apart_from_requests(void **state)
{
	unsigned total = 0;
	(void)state;
	make(LIMITS_MAX, LIMITS_MAX, 5, 5);
	assert_int_equal(granted(0, 2, LIMIT_PROOFS, 1000), LIMITS_PROOFS);
	assert_int_equal(retry_s, 1);
	assert_string_equal(kms_err_text(&err), "The limit of this caller is reached: 50 proofs and tiles of the event log in 1 second. Retry after 1 s.");
	assert_int_equal(granted(0, 2, LIMIT_REQUESTS, 1000), 5);
	assert_int_equal(granted(0, 3, LIMIT_PROOFS, 1000), LIMITS_PROOFS); /* somebody else's */
	for (int ms = 0; ms < 10000; ms += 10) {
		now_us += 10000;
		total += granted(0, 2, LIMIT_PROOFS, 1000);
	}
	assert_in_range(total, 499, 500);
	/* However long nobody asks: not more than a second's at once. */
	now_us += 3600 * S;
	assert_int_equal(granted(0, 2, LIMIT_PROOFS, 1000), LIMITS_PROOFS);
}

static void vaults_and_principals_have_buckets_of_their_own(void **state)
{
	(void)state;
	make(10, 1, 6, 1);
	assert_int_equal(granted(1, 1, LIMIT_REQUESTS, 100), 6); /* the caller's */
	assert_int_equal(granted(1, 2, LIMIT_REQUESTS, 100), 4); /* the vault's */
	assert_int_equal(granted(1, 3, LIMIT_REQUESTS, 100), 0);
	assert_int_equal(granted(2, 4, LIMIT_REQUESTS, 100), 6);
	assert_int_equal(granted(0, 5, LIMIT_REQUESTS, 100), 6); /* in no vault */
}

static void what_the_vault_refuses_costs_the_caller_nothing(void **state)
{
	(void)state;
	make(2, 1, 5, 1);
	assert_int_equal(granted(1, 1, LIMIT_REQUESTS, 100), 2);
	for (int i = 0; i < 100; i++)
		assert_int_equal(take(1, 1, LIMIT_REQUESTS), KMS_E_THROTTLED);
	assert_int_equal(granted(2, 1, LIMIT_REQUESTS, 100), 2);
	assert_int_equal(granted(3, 1, LIMIT_REQUESTS, 100), 1);
}

static void what_is_given_back_is_the_vaults_and_no_more_than_it_was(void **state)
{
	const struct limits_claim stranger = claim_of(1, 9, LIMIT_REQUESTS), unknown = claim_of(7, 9, LIMIT_REQUESTS);
	(void)state;
	make(3, 1, 100, 1);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(take(1, 9, LIMIT_REQUESTS), KMS_OK);
		limits_give_back(limits, &stranger);
	}
	limits_give_back(limits, &unknown); /* a bucket that there is not */
	assert_int_equal(granted(1, 1, LIMIT_REQUESTS, 100), 3);
	assert_int_equal(granted(0, 9, LIMIT_REQUESTS, 100), 50); /* the stranger's own are gone */
	for (int i = 0; i < 100; i++)
		limits_give_back(limits, &stranger);
	assert_int_equal(granted(1, 1, LIMIT_REQUESTS, 100), 3);
}

static void numbered(struct limits_claim *c, uint8_t shard, uint32_t n)
{
	memset(c->principal, 0, sizeof(c->principal));
	c->principal[0] = shard;
	memcpy(c->principal + 4, &n, sizeof(n));
	c->principal[15] = 1;
}

static unsigned drained(const struct limits_claim *c)
{
	unsigned n = 0;
	while (limits_take(limits, c, &retry_s, NULL) == KMS_OK)
		n++;
	return n;
}

static void who_is_forgotten_begins_with_a_full_bucket_and_nobody_with_more(void **state)
{
	struct limits_claim c = { .class = LIMIT_REQUESTS };
	(void)state;
	make(1, 1, 8, 1);
	for (int round = 0; round < 3; round++)
		for (uint32_t n = 0; n < 20000; n++) {
			numbered(&c, (uint8_t)(n % SHARDS), n);
			assert_in_range(drained(&c), 0, 8);
		}
}

static void the_emptiest_buckets_are_kept(void **state)
{
	struct limits_claim noisy = { .class = LIMIT_REQUESTS }, quiet = { .class = LIMIT_REQUESTS };
	(void)state;
	make(1, 1, 1000, 1);
	numbered(&noisy, 3, 0);
	assert_int_equal(drained(&noisy), 1000);
	for (uint32_t n = 1; n < 100 * PLACES; n++) { /* all in its shard */
		numbered(&quiet, 3, n);
		assert_int_equal(limits_take(limits, &quiet, &retry_s, NULL), KMS_OK);
		assert_int_equal(limits_take(limits, &noisy, &retry_s, NULL), KMS_E_THROTTLED);
	}
}

static atomic_uint grants;

static void *take_many(void *arg)
{
	unsigned wait_s = 0;
	(void)arg;
	for (int i = 0; i < 20000; i++) {
		struct limits_claim c = claim_of(1, (uint8_t)(1 + i % 5), LIMIT_REQUESTS);
		if (limits_take(limits, &c, &wait_s, NULL) == KMS_OK)
			atomic_fetch_add(&grants, 1);
	}
	return NULL;
}

static void threads_together_get_no_more_than_one(void **state)
{
	pthread_t threads[4];
	(void)state;
	make(777, 1, LIMITS_MAX, 1);
	for (size_t i = 0; i < KMS_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_many, NULL), 0);
	for (size_t i = 0; i < KMS_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(grants, 777);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_bucket_is_full_at_first_and_holds_its_allowance_exactly, tidy),
		cmocka_unit_test_teardown(it_is_refilled_evenly_and_never_beyond_its_allowance, tidy),
		cmocka_unit_test_teardown(in_the_long_run_nobody_gets_more_than_the_allowance, tidy),
		cmocka_unit_test_teardown(a_refusal_says_when_and_which, tidy),
		cmocka_unit_test_teardown(proofs_are_fifty_a_second_and_apart_from_requests, tidy),
		cmocka_unit_test_teardown(vaults_and_principals_have_buckets_of_their_own, tidy),
		cmocka_unit_test_teardown(what_the_vault_refuses_costs_the_caller_nothing, tidy),
		cmocka_unit_test_teardown(what_is_given_back_is_the_vaults_and_no_more_than_it_was, tidy),
		cmocka_unit_test_teardown(who_is_forgotten_begins_with_a_full_bucket_and_nobody_with_more, tidy),
		cmocka_unit_test_teardown(the_emptiest_buckets_are_kept, tidy),
		cmocka_unit_test_teardown(threads_together_get_no_more_than_one, tidy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
