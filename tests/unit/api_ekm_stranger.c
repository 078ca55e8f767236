/* tests/unit/api_ekm_stranger.c - client certificates that were not accepted are events with subject and reason, but never so many that they fill the
 * disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/writer.h"
#include "tests/support/store_fixture.h"

#define SUBJECTS_A_MINUTE 32 /* of writer.c */
#define REASON "Unauthorized"
#define PEER "192.0.2.0/24"

static int64_t now_us = (int64_t)1800000000 * 1000000;
static int64_t fake_us(const struct clock *c)
{
	(void)c;
	return now_us;
}
static const struct clock FAKE = { .wall_us = fake_us, .mono_us = fake_us };

static struct writer *start(struct store_fixture *f)
{
	struct writer_config cfg = { .store = f->w, .clock = &FAKE, .node = "n1", .origin = "o", .capacity = 16 };
	struct writer *w = NULL;
	struct kms_err err = { 0 };

	if (writer_start(&cfg, &w, &err) != KMS_OK)
		fail_msg("%s", err.detail);
	return w;
}

/* Leaves that hold this text; their counts are added up in ret_total. */
static size_t leaves_with(struct store_fixture *f, const char *text, unsigned long long *ret_total)
{
	uint64_t size = 0;
	size_t found = 0;

	*ret_total = 0;
	assert_int_equal(store_event_count(f->r, &size, NULL), KMS_OK);
	for (uint64_t seq = 0; seq < size; seq++) {
		struct store_event e = { 0 };
		const char *count = NULL;
		assert_int_equal(store_event(f->r, seq, &e, NULL), KMS_OK);
		if (memmem(e.leaf, e.leaf_len, text, strlen(text)) != NULL) {
			found++;
			count = memmem(e.leaf, e.leaf_len, "\"count\":", strlen("\"count\":"));
			assert_non_null(count);
			*ret_total += strtoull(count + strlen("\"count\":"), NULL, 10);
		}
		store_event_clear(&e);
	}
	return found;
}

static void subject_and_reason_are_in_the_leaf_and_repetitions_are_counted(void **state)
{
	struct store_fixture *f = *state;
	struct writer *w = start(f);
	unsigned long long total = 0;

	for (int i = 0; i < 5; i++)
		writer_count_stranger(w, REASON, NULL, PEER, "chain", "CN=a.example");
	writer_count_stranger(w, REASON, NULL, PEER, "dates", "CN=a.example");
	writer_count_stranger(w, REASON, NULL, PEER, "no_certificate", "");
	writer_count_denied(w, REASON, NULL, PEER);
	writer_stop(w);
	assert_int_equal(leaves_with(f, "\"det\":{\"subject\":\"CN=a.example\",\"why\":\"chain\"}", &total), 1);
	assert_int_equal(total, 5);
	assert_int_equal(leaves_with(f, "\"det\":{\"subject\":\"CN=a.example\",\"why\":\"dates\"}", &total), 1);
	assert_int_equal(leaves_with(f, "\"det\":{\"why\":\"no_certificate\"}", &total), 1);
	assert_int_equal(leaves_with(f, "\"err\":\"" REASON "\"", &total), 4); /* the last of them has no det */
	assert_int_equal(total, 8);
}

static void invented_subjects_are_counted_but_not_all_shown(void **state)
{
	enum { MANY = 5000 };
	struct store_fixture *f = *state;
	struct writer *w = start(f);
	unsigned long long total = 0;

	for (int i = 0; i < MANY; i++) {
		char subject[64];
		(void)snprintf(subject, sizeof(subject), "CN=%d.example", i);
		writer_count_stranger(w, REASON, NULL, PEER, "unknown_subject", subject);
	}
	writer_stop(w);
	assert_int_equal(leaves_with(f, "\"subject\":\"CN=", &total), SUBJECTS_A_MINUTE);
	assert_int_equal(leaves_with(f, "\"why\":\"unknown_subject\"", &total), SUBJECTS_A_MINUTE + 1);
	assert_int_equal(total, MANY);
}

static void after_a_minute_subjects_are_shown_again(void **state)
{
	struct store_fixture *f = *state;
	struct writer *w = start(f);
	unsigned long long total = 0;

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < SUBJECTS_A_MINUTE + 8; i++) {
			char subject[64];
			(void)snprintf(subject, sizeof(subject), "CN=%d-%d.example", round, i);
			writer_count_stranger(w, REASON, NULL, PEER, "chain", subject);
		}
		now_us += (int64_t)60 * 1000000;
	}
	writer_stop(w);
	assert_int_equal(leaves_with(f, "\"subject\":\"CN=", &total), 2 * SUBJECTS_A_MINUTE);
}

static void a_long_subject_is_cut(void **state)
{
	struct store_fixture *f = *state;
	struct writer *w = start(f);
	char subject[512];
	unsigned long long total = 0;

	memset(subject, 'x', sizeof(subject) - 1);
	subject[sizeof(subject) - 1] = '\0';
	writer_count_stranger(w, REASON, NULL, PEER, "chain", subject);
	writer_stop(w);
	subject[128] = '\0';
	assert_int_equal(leaves_with(f, subject, &total), 1);
	subject[128] = 'x';
	subject[129] = '\0';
	assert_int_equal(leaves_with(f, subject, &total), 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, store_fixture_open, store_fixture_close)
	const struct CMUnitTest tests[] = {
		T(subject_and_reason_are_in_the_leaf_and_repetitions_are_counted),
		T(invented_subjects_are_counted_but_not_all_shown),
		T(after_a_minute_subjects_are_shown_again),
		T(a_long_subject_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
