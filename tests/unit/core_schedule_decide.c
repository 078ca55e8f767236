/* tests/unit/core_schedule_decide.c - what is due of a key and when to look again: by cases, and in thousands of random histories against a model that forgets nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/key.h"
#include "server/core/schedule.h"

#define DAY ((int64_t)86400)
#define NOW 1800000000
#define NONE STORE_NO_TIME
#define JAN_31_2027 1801353600   /* 00:00 UTC, as the next ones */
#define FEB_28_2027 1803772800
#define MAR_31_2027 1806451200
#define JAN_31_2028 1832889600
#define FEB_29_2028 1835395200
#define FEB_28_2029 1866931200
#define YEAR_9999_END 253402300799

static struct store_version version(int64_t created_s, int64_t exp_s)
{
	struct store_version v = { .is_enabled = true, .nbf_s = NONE, .exp_s = exp_s, .created_s = created_s, .updated_s = created_s };

	memset(v.id, 7, sizeof(v.id));
	return v;
}

static struct schedule_plan decide(const struct store_policy *p, const struct store_version *v, const struct store_due *due, int64_t now_s)
{
	static const struct store_due FRESH;
	struct schedule_plan plan = { 0 };
	struct kms_err err = { 0 };

	assert_int_equal(schedule_decide(p, v, due != NULL ? due : &FRESH, now_s, &plan, &err), KMS_OK);
	assert_true(plan.next_s > now_s);
	return plan;
}

/* Not a second before the moment, and from it on. */
static void assert_rotates_at(const struct store_policy *p, const struct store_version *v, int64_t at_s)
{
	struct schedule_plan before = decide(p, v, NULL, at_s - 1), then = decide(p, v, NULL, at_s), later = decide(p, v, NULL, at_s + 50 * 366 * DAY);

	assert_false(before.rotates);
	assert_true(before.next_s <= at_s);
	assert_true(then.rotates);
	assert_true(later.rotates);
}

static void a_rotation_is_due_by_the_calendar(void **state)
{
	static const struct {
		const char *after;
		int64_t created_s, at_s;
	} CASES[] = {
		{ "P7D", NOW, NOW + 7 * DAY },
		{ "PT168H", NOW, NOW + 7 * DAY },
		{ "P1W", NOW, NOW + 7 * DAY },
		{ "P1M", JAN_31_2027, FEB_28_2027 }, /* a day that its month lacks is its last */
		{ "P2M", JAN_31_2027, MAR_31_2027 },
		{ "P1M", JAN_31_2028, FEB_29_2028 },
		{ "P1Y", FEB_29_2028, FEB_28_2029 },
		{ "P1M", JAN_31_2027 + DAY - 1, FEB_28_2027 + DAY - 1 },
		{ "P12M", JAN_31_2027, JAN_31_2028 },
		{ "P30D", (int64_t)INT32_MAX - 10, (int64_t)INT32_MAX - 10 + 30 * DAY }, /* over the end of 32 bits in 2038 */
		{ "P100Y", NOW, INT64_C(4955673600) }, /* 2127-01-15, as NOW is 2027-01-15T08:00 */
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct store_policy p = { 0 };
		struct store_version v = version(CASES[i].created_s, NONE);
		(void)snprintf(p.rotate_after_create, sizeof(p.rotate_after_create), "%s", CASES[i].after);
		assert_rotates_at(&p, &v, CASES[i].at_s);
	}
}

static void before_the_end_needs_an_end(void **state)
{
	const struct store_policy p = { .rotate_before_expiry = "P30D", .expiry_time = "P1Y" };
	struct store_version v = version(NOW, NOW + 365 * DAY), endless = version(NOW, NONE), short_lived = version(NOW, NOW + 20 * DAY), shortest = version(NOW, NOW + 3 * DAY);

	(void)state;
	assert_rotates_at(&p, &v, NOW + 335 * DAY);
	assert_false(decide(&p, &endless, NULL, NOW + 5000 * DAY).rotates);
	assert_int_equal(decide(&p, &endless, NULL, NOW).next_s, SCHEDULE_NEVER);
	/* Seven days old at least, unless it ends before that. */
	assert_rotates_at(&p, &short_lived, NOW + 7 * DAY);
	assert_true(decide(&p, &shortest, NULL, NOW).rotates);
}

/* P10Y and P120M differ by 50 days where months have 30, and by nothing in the calendar. */
static void no_policy_rotates_for_ever(void **state)
{
	const struct store_policy p = { .rotate_before_expiry = "P120M", .expiry_time = "P10Y" };
	struct store_version v = version(1799798400, INT64_C(2115417600)); /* 2027-01-13 to 2037-01-13 */

	(void)state;
	assert_false(decide(&p, &v, NULL, v.created_s).rotates);
	assert_rotates_at(&p, &v, v.created_s + 7 * DAY);
}

static void near_and_end_are_told_once_each(void **state)
{
	const struct store_policy p = { .notify_before_expiry = "P30D" };
	struct store_version v = version(NOW, NOW + 90 * DAY);
	struct store_due due = { 0 };
	struct schedule_plan plan = decide(&p, &v, &due, NOW);

	(void)state;
	assert_false(plan.tells_near || plan.tells_expired || plan.rotates);
	assert_int_equal(plan.next_s, NOW + 60 * DAY);
	plan = decide(&p, &v, &due, NOW + 60 * DAY);
	assert_true(plan.tells_near && !plan.tells_expired);
	assert_int_equal(plan.next_s, v.exp_s);
	plan = decide(&p, &v, &due, v.exp_s + DAY); /* late: both */
	assert_true(plan.tells_near && plan.tells_expired);
	assert_int_equal(plan.next_s, SCHEDULE_NEVER);
	memcpy(due.near_version, v.id, sizeof(v.id));
	due.near_exp_s = v.exp_s;
	plan = decide(&p, &v, &due, v.exp_s);
	assert_true(!plan.tells_near && plan.tells_expired);
	memcpy(due.expired_version, v.id, sizeof(v.id));
	due.expired_exp_s = v.exp_s;
	plan = decide(&p, &v, &due, v.exp_s + 1000 * DAY);
	assert_false(plan.tells_near || plan.tells_expired);
	v.exp_s += 2000 * DAY; /* another end */
	plan = decide(&p, &v, &due, NOW + 100 * DAY);
	assert_int_equal(plan.next_s, v.exp_s - 30 * DAY);
	assert_true(decide(&p, &v, &due, v.exp_s).tells_expired);
}

static void an_end_in_the_past_or_far_away(void **state)
{
	const struct store_policy p = { .notify_before_expiry = "P100Y", .rotate_after_create = "P100Y" };
	struct store_version past = version(NOW, NOW - 5 * DAY), zero = version(NOW, 0), far = version(NOW, INT64_MAX), last = version(NOW, YEAR_9999_END);
	struct schedule_plan plan = decide(&p, &past, NULL, NOW);

	(void)state;
	assert_true(!plan.tells_near && plan.tells_expired); /* what was past when it was set was never near */
	plan = decide(&p, &zero, NULL, NOW);
	assert_true(!plan.tells_near && plan.tells_expired);
	plan = decide(&p, &far, NULL, NOW);
	assert_false(plan.tells_near || plan.tells_expired || plan.rotates);
	plan = decide(&p, &far, NULL, INT64_MAX - 1 - SCHEDULE_CLOCK_SLACK_S);
	assert_false(plan.tells_near || plan.tells_expired);
	plan = decide(&p, &last, NULL, NOW);
	assert_false(plan.tells_near || plan.tells_expired);
	last.created_s = last.updated_s = 10;
	last.exp_s = 20; /* a hundred years before this there was no 1970 */
	assert_true(decide(&p, &last, NULL, 15).tells_near);
}

static void a_version_that_is_not_valid_yet_grows_old_all_the_same(void **state)
{
	const struct store_policy p = { .rotate_after_create = "P7D", .notify_before_expiry = "P30D" };
	struct store_version v = version(NOW, NOW + 20 * DAY);

	(void)state;
	v.nbf_s = NOW + 19 * DAY;
	assert_true(decide(&p, &v, NULL, NOW).tells_near);
	assert_rotates_at(&p, &v, NOW + 7 * DAY);
}

static void what_is_out_of_use_is_left_alone(void **state)
{
	const struct store_policy p = { .rotate_after_create = "P7D", .notify_before_expiry = "P30D" };
	struct store_version v = version(NOW, NOW + 90 * DAY);
	struct schedule_plan plan;

	(void)state;
	v.is_enabled = false;
	plan = decide(&p, &v, NULL, v.exp_s);
	assert_false(plan.tells_near || plan.tells_expired || plan.rotates);
	assert_int_equal(plan.next_s, v.exp_s + SCHEDULE_AGAIN_S);
	assert_int_equal(decide(&p, &v, NULL, NOW).next_s, NOW + 7 * DAY); /* nothing is due yet */
	v.is_enabled = true;
	v.revoked = REVOKE_COMPROMISE;
	plan = decide(&p, &v, NULL, v.exp_s);
	assert_false(plan.tells_near || plan.tells_expired || plan.rotates);
}

static void a_version_from_the_future_counts_from_when_that_is_noticed(void **state)
{
	const struct store_policy p = { .rotate_after_create = "P30D" };
	struct store_version v = version(NOW + 365 * DAY, NONE);
	struct store_due due = { 0 };
	struct schedule_plan plan = decide(&p, &v, &due, NOW);

	(void)state;
	assert_true(plan.counts_anew);
	assert_false(plan.rotates);
	assert_int_equal(plan.next_s, NOW + 30 * DAY);
	memcpy(due.base_version, v.id, sizeof(v.id));
	due.base_s = NOW;
	plan = decide(&p, &v, &due, NOW + 30 * DAY);
	assert_true(plan.rotates);
	assert_false(plan.counts_anew);
	plan = decide(&p, &v, &due, NOW - 10 * DAY); /* and back once more */
	assert_true(plan.counts_anew);
	assert_int_equal(plan.next_s, NOW + 20 * DAY);
	v.id[0] ^= 1; /* a base is one version's */
	v.created_s = NOW + 20 * DAY;
	assert_int_equal(decide(&p, &v, &due, NOW + 25 * DAY).next_s, NOW + 50 * DAY);
	v.created_s = NOW + SCHEDULE_CLOCK_SLACK_S; /* a little is nothing */
	assert_false(decide(&p, &v, &due, NOW).counts_anew);
}

static void a_damaged_policy_is_a_failure(void **state)
{
	const struct store_policy bad[] = { { .rotate_after_create = "P7" }, { .rotate_before_expiry = "x" }, { .notify_before_expiry = "30" } };
	struct store_version v = version(NOW, NOW + 1);
	const struct store_due due = { 0 };
	struct schedule_plan plan;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(bad); i++) {
		struct kms_err err = { 0 };
		assert_int_equal(schedule_decide(&bad[i], &v, &due, NOW, &plan, &err), KMS_E_STORE);
		assert_non_null(strstr(err.detail, "is no duration"));
	}
}

static void failures_are_repeated_ever_more_slowly(void **state)
{
	static const int64_t WAITS[] = { 60, 120, 240, 480, 960, 1920, 3600, 3600 };

	(void)state;
	for (uint32_t i = 0; i < KMS_ARRAY_LEN(WAITS); i++)
		assert_int_equal(schedule_retry_s(i + 1), WAITS[i]);
	assert_int_equal(schedule_retry_s(UINT32_MAX), SCHEDULE_AGAIN_S);
	assert_int_equal(schedule_retry_s(0), SCHEDULE_RETRY_S);
}

/* ---- random histories ---- */

#define HISTORIES 4000
#define STEPS 60

static uint64_t chance = 88172645463325252;
static uint64_t below(uint64_t n)
{
	chance ^= chance << 13;
	chance ^= chance >> 7;
	chance ^= chance << 17;
	return chance % n;
}

/* What the scheduler has: its row, which says when it looks. And beside it what a simple person notes. */
struct history {
	int64_t now_s, seen_s;
	unsigned after_d, notify_d; /* of the policy; 0 = none */
	struct store_policy policy;
	struct store_version v;
	struct store_due due;
	unsigned versions, rotations;
	/* The model's notes about the newest version. */
	bool was_told_near, was_told_end;
	int64_t born_s; /* as far as anybody can know */
};

static void new_version(struct history *h)
{
	h->versions++;
	h->v.created_s = h->v.updated_s = h->born_s = h->now_s;
	memcpy(h->v.id, &h->versions, sizeof(h->versions));
	h->v.exp_s = below(3) == 0 ? NONE : h->now_s + (int64_t)below(200) * DAY + 1;
	h->was_told_near = h->was_told_end = false;
	h->due.at_s = 0;
}

static void set_policy(struct history *h)
{
	h->after_d = below(3) == 0 ? 0 : 7 + (unsigned)below(60);
	h->notify_d = 1 + (unsigned)below(60);
	memset(&h->policy, 0, sizeof(h->policy));
	if (h->after_d != 0)
		(void)snprintf(h->policy.rotate_after_create, sizeof(h->policy.rotate_after_create), "P%uD", h->after_d);
	(void)snprintf(h->policy.notify_before_expiry, sizeof(h->policy.notify_before_expiry), "P%uD", h->notify_d);
	h->due.at_s = 0;
}

/* Each act must be due, and new. */
static void do_acts(struct history *h, const struct schedule_plan *plan)
{
	if (plan->counts_anew) {
		memcpy(h->due.base_version, h->v.id, STORE_ID_LEN);
		h->due.base_s = h->born_s = h->now_s;
	}
	if (plan->tells_near) {
		assert_false(h->was_told_near);
		assert_true(h->v.exp_s != NONE && h->now_s >= h->v.exp_s - h->notify_d * DAY);
		h->was_told_near = true;
		memcpy(h->due.near_version, h->v.id, STORE_ID_LEN);
		h->due.near_exp_s = h->v.exp_s;
	}
	if (plan->tells_expired) {
		assert_false(h->was_told_end);
		assert_true(h->v.exp_s != NONE && h->now_s >= h->v.exp_s);
		h->was_told_end = true;
		memcpy(h->due.expired_version, h->v.id, STORE_ID_LEN);
		h->due.expired_exp_s = h->v.exp_s;
	}
	h->due.at_s = plan->next_s;
	if (plan->rotates) {
		assert_true(h->after_d != 0 && h->v.is_enabled && h->now_s >= h->born_s + h->after_d * DAY);
		h->rotations++;
		new_version(h);
	}
}

/* As a turn does: only keys whose moment has come, or all of them when the clock was set back. */
static void turn(struct history *h)
{
	bool is_back = h->now_s < h->seen_s - SCHEDULE_CLOCK_SLACK_S;
	unsigned before = h->rotations;

	h->seen_s = h->now_s;
	for (unsigned looks = 0; h->due.at_s <= h->now_s || is_back; looks++, is_back = false) {
		struct schedule_plan plan = decide(&h->policy, &h->v, &h->due, h->now_s);
		assert_true(looks < 4);
		do_acts(h, &plan);
	}
	assert_true(h->rotations <= before + 1); /* once, however much was missed */
}

/* Whoever looks at everything all the time finds nothing left to do. */
static void assert_nothing_missed(const struct history *h)
{
	if (!h->v.is_enabled)
		return;
	if (h->v.exp_s != NONE && h->now_s >= h->v.exp_s)
		assert_true(h->was_told_end);
	if (h->v.exp_s != NONE && h->v.exp_s > h->v.updated_s && h->now_s >= h->v.exp_s - h->notify_d * DAY)
		assert_true(h->was_told_near);
	if (h->after_d != 0)
		assert_true(h->now_s < h->born_s + h->after_d * DAY);
}

static void set_end(struct history *h)
{
	int64_t exp_s = h->now_s + ((int64_t)below(120) - 10) * DAY - 1;

	if (exp_s != h->v.exp_s)
		h->was_told_near = h->was_told_end = false;
	h->v.exp_s = exp_s;
	h->v.updated_s = h->now_s;
	h->due.at_s = 0;
}

static void set_enabled(struct history *h, bool is_enabled)
{
	h->v.is_enabled = is_enabled;
	h->due.at_s = 0;
}

static void step(struct history *h)
{
	switch (below(12)) { /* allowed: the rest is time */
	case 0: set_policy(h); break;
	case 1: set_end(h); break;
	case 2: set_enabled(h, false); break;
	case 3: set_enabled(h, true); break;
	case 4: new_version(h); break;
	case 5: h->now_s -= (int64_t)below(400) * DAY; break;
	case 6: h->now_s += 365 * DAY; break;
	case 7: h->now_s += (int64_t)below(3600); break;
	default: h->now_s += (int64_t)below(20) * DAY + (int64_t)below(DAY); break;
	}
}

static void in_any_history_nothing_is_missed_and_nothing_doubled(void **state)
{
	unsigned rotations = 0;

	(void)state;
	for (unsigned i = 0; i < HISTORIES; i++) {
		struct history h = { .now_s = NOW, .seen_s = NOW, .v = { .is_enabled = true, .nbf_s = NONE } };
		new_version(&h);
		set_policy(&h);
		for (unsigned n = 0; n < STEPS; n++) {
			step(&h);
			turn(&h);
			assert_nothing_missed(&h);
		}
		rotations += h.rotations;
	}
	assert_true(rotations > HISTORIES * 2); /* the histories are worth something */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rotation_is_due_by_the_calendar),
		cmocka_unit_test(before_the_end_needs_an_end),
		cmocka_unit_test(no_policy_rotates_for_ever),
		cmocka_unit_test(near_and_end_are_told_once_each),
		cmocka_unit_test(an_end_in_the_past_or_far_away),
		cmocka_unit_test(a_version_that_is_not_valid_yet_grows_old_all_the_same),
		cmocka_unit_test(what_is_out_of_use_is_left_alone),
		cmocka_unit_test(a_version_from_the_future_counts_from_when_that_is_noticed),
		cmocka_unit_test(a_damaged_policy_is_a_failure),
		cmocka_unit_test(failures_are_repeated_ever_more_slowly),
		cmocka_unit_test(in_any_history_nothing_is_missed_and_nothing_doubled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
