/* tests/unit/api_issuers.c - issuers' keys are read by one thread, seldom enough whoever asks, believed for a while without the issuer, and then no more. From files: what
 * concerns URLs is in tests/sdk/issuers.test.mjs. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/issuers.h"
#include "server/base/log.h"
#include "tests/support/jose.h"

#define STALE_S 3600
#define PATIENCE_MS 10000
#define READERS 4

static EVP_PKEY *one, *two;
static char dir[64], file[80];
static _Atomic int64_t now_s = 1000;

static int64_t fake_us(const struct clock *c)
{
	(void)c;
	return now_s * 1000000;
}
static const struct clock FAKE = { .wall_us = fake_us, .mono_us = fake_us };

static const char *const IDS[] = { "https://issuer.test/", "https://issuer.test/v2.0" };

static struct issuers *start(unsigned algs)
{
	struct issuer_config config = { .name = "test", .ids = IDS, .id_count = 2, .jwks_file = file, .algs = algs, .principal_claim = "sub", .group_claim = "groups",
		                        .role_claim = "roles", .refresh_s = 600, .stale_s = STALE_S };
	struct kms_err err = { 0 };
	struct issuers *s = NULL;

	if (issuers_new(&FAKE, &config, 1, &s, &err) != KMS_OK)
		fail_msg("%s", err.detail);
	return s;
}

static void put(EVP_PKEY *key, const char *kid)
{
	char *jwk = jose_jwk(key, kid, ""), *set = jose_text("{\"keys\":[%s]}", jwk);

	jose_put_file(file, set);
	free(jwk);
	free(set);
}

static kms_status find(struct issuer *i, const char *kid)
{
	ISSUER_KEY_AUTO key = { 0 };
	return issuer_find_key(i, kid, &key, NULL);
}

static void pause_shortly(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	(void)nanosleep(&ms, NULL);
}

/* Ask until the keys have been read; nobody waits for longer than a client would. */
static kms_status ask(struct issuer *i, const char *kid)
{
	kms_status status = find(i, kid);

	for (int ms = 0; status == KMS_E_BUSY && ms < PATIENCE_MS; ms++) {
		pause_shortly();
		status = find(i, kid);
	}
	return status;
}

static void an_issuer_is_found_by_its_exact_name_alone(void **state)
{
	struct issuers *s = NULL;

	(void)state;
	put(one, "one");
	s = start(JWT_ES256);
	assert_non_null(issuers_find(s, IDS[0]));
	assert_ptr_equal(issuers_find(s, IDS[0]), issuers_find(s, IDS[1]));
	assert_null(issuers_find(s, "https://issuer.test"));
	assert_null(issuers_find(s, "https://issuer.test/v2.0/"));
	assert_null(issuers_find(s, "HTTPS://issuer.test/"));
	assert_null(issuers_find(s, ""));
	assert_string_equal(issuers_named(s, "test")->name, "test");
	assert_null(issuers_named(s, "Test"));
	issuers_free(s);
	issuers_free(NULL);
}

static void a_rotated_key_is_found_as_soon_as_a_token_names_it(void **state)
{
	ISSUER_KEY_AUTO key = { 0 };
	struct issuers *s = NULL;
	struct issuer *i = NULL;
	uint64_t generation = 0;

	(void)state;
	put(one, "one");
	s = start(JWT_ES256 | JWT_RS256);
	i = issuers_find(s, IDS[0]);
	assert_int_equal(ask(i, "one"), KMS_OK);
	generation = issuer_generation(i);
	assert_int_not_equal(generation, 0);
	put(two, "two");
	assert_int_equal(find(i, "two"), KMS_E_BUSY); /* being read: come again */
	assert_int_equal(ask(i, "two"), KMS_OK);
	assert_int_not_equal(issuer_generation(i), generation);
	assert_int_equal(issuer_find_key(i, "two", &key, NULL), KMS_OK);
	assert_int_equal(EVP_PKEY_eq(key.key, two), 1);
	assert_int_equal(key.algs, JWT_ES256); /* what both the key and the issuer allow */
	assert_int_equal(find(i, "one"), KMS_E_UNAUTHENTICATED); /* withdrawn, and read just now */
	issuers_free(s);
	assert_int_equal(EVP_PKEY_eq(key.key, two), 1); /* held */
}

static void made_up_kids_do_not_have_the_keys_read_again_and_again(void **state)
{
	struct issuers *s = NULL;
	struct issuer *i = NULL;

	(void)state;
	put(one, "one");
	s = start(JWT_ES256);
	i = issuers_find(s, IDS[0]);
	assert_int_equal(ask(i, "one"), KMS_OK);
	assert_int_equal(find(i, "bad"), KMS_E_BUSY);
	assert_int_equal(ask(i, "bad"), KMS_E_UNAUTHENTICATED);
	for (int n = 0; n < 100; n++) { /* whatever the kid, at most one reading in ten seconds */
		char kid[16];
		(void)snprintf(kid, sizeof(kid), "bad%d", n);
		assert_int_equal(find(i, kid), KMS_E_UNAUTHENTICATED);
	}
	now_s += ISSUER_ASK_EVERY_S;
	assert_int_equal(find(i, "bad"), KMS_E_UNAUTHENTICATED); /* this one was not there a moment ago */
	assert_int_equal(find(i, "other"), KMS_E_BUSY);
	assert_int_equal(ask(i, "other"), KMS_E_UNAUTHENTICATED);
	now_s += ISSUER_UNKNOWN_S;
	assert_int_equal(find(i, "bad"), KMS_E_BUSY);
	assert_int_equal(ask(i, "one"), KMS_OK);
	issuers_free(s);
}

static void without_the_issuer_its_keys_count_for_a_while_and_then_no_more(void **state)
{
	struct issuers *s = NULL;
	struct issuer *i = NULL;

	(void)state;
	put(one, "one");
	s = start(JWT_ES256);
	i = issuers_find(s, IDS[0]);
	assert_int_equal(ask(i, "one"), KMS_OK);
	assert_int_equal(unlink(file), 0);
	issuers_reload(s);
	now_s += STALE_S;
	assert_int_equal(find(i, "one"), KMS_OK);
	assert_int_not_equal(issuer_generation(i), 0);
	now_s += 1;
	assert_int_equal(issuer_generation(i), 0);
	assert_int_equal(find(i, "one"), KMS_E_BUSY); /* once more, perhaps it is back */
	assert_int_equal(ask(i, "one"), KMS_E_UNAUTHENTICATED);
	put(one, "one");
	now_s += ISSUER_ASK_EVERY_S;
	assert_int_equal(ask(i, "one"), KMS_OK);
	assert_int_not_equal(issuer_generation(i), 0);
	issuers_free(s);
}

static void what_is_no_set_leaves_the_last_good_one(void **state)
{
	static const char *const BAD[] = { "", "{", "<html>not found</html>", "{\"keys\":{}}" };
	char *huge = malloc(KEYSET_TEXT_MAX + 2);
	struct issuers *s = NULL;
	struct issuer *i = NULL;

	(void)state;
	put(one, "one");
	s = start(JWT_ES256);
	i = issuers_find(s, IDS[0]);
	assert_int_equal(ask(i, "one"), KMS_OK);
	memset(huge, ' ', KEYSET_TEXT_MAX + 1);
	huge[KEYSET_TEXT_MAX + 1] = '\0';
	for (size_t n = 0; n <= KMS_ARRAY_LEN(BAD); n++) {
		jose_put_file(file, n < KMS_ARRAY_LEN(BAD) ? BAD[n] : huge);
		now_s += ISSUER_ASK_EVERY_S;
		(void)find(i, "new");
		assert_int_equal(ask(i, "new"), KMS_E_UNAUTHENTICATED); /* it was read */
		assert_int_equal(find(i, "one"), KMS_OK);
		now_s += ISSUER_UNKNOWN_S;
	}
	put(two, "new");
	issuers_reload(s);
	assert_int_equal(ask(i, "new"), KMS_OK);
	issuers_free(s);
	free(huge);
}

static void a_set_that_withdraws_all_keys_counts_at_once(void **state)
{
	static const char *const EMPTY[] = { "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"one\",\"d\":\"AAAA\"}]}" };
	struct issuers *s = NULL;
	struct issuer *i = NULL;

	(void)state;
	for (size_t n = 0; n < KMS_ARRAY_LEN(EMPTY); n++) {
		put(one, "one");
		s = start(JWT_ES256);
		i = issuers_find(s, IDS[0]);
		assert_int_equal(ask(i, "one"), KMS_OK);
		jose_put_file(file, EMPTY[n]);
		now_s += ISSUER_ASK_EVERY_S;
		(void)find(i, "new");
		assert_int_equal(ask(i, "new"), KMS_E_UNAUTHENTICATED); /* it was read */
		assert_int_equal(find(i, "one"), KMS_E_UNAUTHENTICATED);
		assert_int_equal(issuer_generation(i), 0);
		put(one, "one");
		now_s += ISSUER_ASK_EVERY_S;
		assert_int_equal(ask(i, "one"), KMS_OK);
		issuers_free(s);
		now_s += ISSUER_UNKNOWN_S;
	}
}

static void before_the_keys_were_ever_read_nothing_is_believed(void **state)
{
	struct issuers *s = NULL;
	struct issuer *i = NULL;

	(void)state;
	(void)unlink(file);
	s = start(JWT_ES256);
	i = issuers_find(s, IDS[0]);
	(void)find(i, "one");
	assert_int_equal(ask(i, "one"), KMS_E_UNAUTHENTICATED);
	assert_int_equal(issuer_generation(i), 0);
	issuers_free(s);
}

/* ---- threads ---- */

struct reader {
	struct issuer *issuer;
	const char *good, *bad; /* tokens of key one: as it was signed, and with another signature */
	unsigned held, refused, missing;
};

/* Good tokens hold whenever their key is there, bad ones never do, whatever happens to the set meanwhile. */
static void *read_all_the_time(void *arg)
{
	struct reader *r = arg;

	for (int n = 0; n < 400; n++) {
		JWT_AUTO good = { 0 }, bad = { 0 };
		ISSUER_KEY_AUTO key = { 0 };
		if (jwt_parse(r->good, false, &good) != NULL || jwt_parse(r->bad, false, &bad) != NULL)
			abort();
		if (issuer_find_key(r->issuer, "one", &key, NULL) != KMS_OK) {
			r->missing++;
			continue;
		}
		r->held += jwt_verify(&good, key.key, key.algs);
		r->refused += !jwt_verify(&bad, key.key, key.algs);
	}
	return NULL;
}

static void many_threads_use_keys_while_they_are_replaced(void **state)
{
	char *good = jose_sign(one, "ES256", "{\"alg\":\"ES256\",\"kid\":\"one\"}", "{}"), *bad = jose_sign(two, "ES256", "{\"alg\":\"ES256\",\"kid\":\"one\"}", "{}");
	struct reader readers[READERS];
	pthread_t threads[READERS];
	struct issuers *s = NULL;
	struct issuer *i = NULL;
	unsigned held = 0;

	(void)state;
	put(one, "one");
	s = start(JWT_ES256);
	i = issuers_find(s, IDS[0]);
	assert_int_equal(ask(i, "one"), KMS_OK);
	for (size_t n = 0; n < READERS; n++) {
		readers[n] = (struct reader){ .issuer = i, .good = good, .bad = bad };
		assert_int_equal(pthread_create(&threads[n], NULL, read_all_the_time, &readers[n]), 0);
	}
	for (int n = 0; n < 100; n++) {
		put(n % 2 == 0 ? two : one, n % 2 == 0 ? "two" : "one");
		issuers_reload(s);
		pause_shortly();
	}
	for (size_t n = 0; n < READERS; n++) {
		assert_int_equal(pthread_join(threads[n], NULL), 0);
		assert_int_equal(readers[n].held, readers[n].refused);
		assert_int_equal(readers[n].held + readers[n].missing, 400);
		held += readers[n].held;
	}
	assert_true(held > 0);
	issuers_free(s);
	free(good);
	free(bad);
}

static int setup(void **state)
{
	(void)state;
	log_setup(LOG_WARN, true); /* a hundred sets are read here */
	(void)snprintf(dir, sizeof(dir), "/tmp/holdfast-issuers-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(file, sizeof(file), "%s/jwks", dir);
	one = jose_key("P-256");
	two = jose_key("P-256");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(one);
	EVP_PKEY_free(two);
	(void)unlink(file);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_issuer_is_found_by_its_exact_name_alone),
		cmocka_unit_test(a_rotated_key_is_found_as_soon_as_a_token_names_it),
		cmocka_unit_test(made_up_kids_do_not_have_the_keys_read_again_and_again),
		cmocka_unit_test(without_the_issuer_its_keys_count_for_a_while_and_then_no_more),
		cmocka_unit_test(what_is_no_set_leaves_the_last_good_one),
		cmocka_unit_test(a_set_that_withdraws_all_keys_counts_at_once),
		cmocka_unit_test(before_the_keys_were_ever_read_nothing_is_believed),
		cmocka_unit_test(many_threads_use_keys_while_they_are_replaced),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
