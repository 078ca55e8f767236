/* tests/unit/core_schedule.c - the scheduler on a real token and database, with a clock that is moved: once each, in time or late, whatever happens in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/schedule.h"
#include "tests/support/domain.h"

#define DAY ((int64_t)86400)
#define NONE STORE_NO_TIME
#define TURNS_MAX 400

static struct t_domain d;
static struct schedule schedule;

static int64_t now_s(void) { return clock_wall_s(d.kms.clock); }

/* ---- what people do meanwhile ---- */

static void set_policy(const char *key, struct store_policy policy)
{
	struct op *op = t_op(&d, "aging", EVENT_KEY_UPDATE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_set_rotation(op, key, &policy, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

static void update(const char *key, const struct key_update *req)
{
	struct op *op = t_op(&d, "aging", EVENT_KEY_UPDATE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_update(op, key, NULL, req, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

static void set_end(const char *key, int64_t exp_s)
{
	const struct key_update req = { .has_exp = true, .exp_s = exp_s };
	update(key, &req);
}

static void set_enabled(const char *key, bool is_enabled)
{
	const struct key_update req = { .has_enabled = true, .is_enabled = is_enabled };
	update(key, &req);
}

static void revoke(const char *key, enum revoke_reason reason)
{
	struct op *op = t_op(&d, "aging", EVENT_KEY_REVOKE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_revoke(op, key, NULL, reason, &err)), KMS_OK);
	t_op_free(op);
}

static void rotate_by_hand(const char *key)
{
	struct op *op = t_op(&d, "aging", EVENT_KEY_ROTATE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_rotate(op, key, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

static void make(const char *key, enum key_type type)
{
	uint8_t obj[HSM_ID_LEN];
	t_key(&d, "aging", key, type, obj);
}

/* ---- what came of it ---- */

static uint64_t versions(const char *key)
{
	struct op *op = t_op(&d, "aging", EVENT_KEY_GET);
	struct kms_err err = { 0 };
	uint64_t ordinal = 0;

	if (keyring_get(op, key, NULL, &err) == KMS_OK)
		ordinal = op->version.ordinal;
	t_op_free(op);
	return ordinal;
}

/* Leaves from a place on that contain both texts. */
static unsigned leaves(uint64_t from, const char *a, const char *b)
{
	unsigned found = 0;
	uint64_t size = 0;

	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	for (uint64_t seq = from; seq < size; seq++) {
		struct store_event e = { 0 };
		assert_int_equal(store_event(d.store->r, seq, &e, NULL), KMS_OK);
		found += memmem(e.leaf, e.leaf_len, a, strlen(a)) != NULL && memmem(e.leaf, e.leaf_len, b, strlen(b)) != NULL;
		store_event_clear(&e);
	}
	return found;
}

static uint64_t log_size(void)
{
	uint64_t size = 0;
	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	return size;
}

/* Turns until nothing is due; what they did in all. */
static struct schedule_count run_all(void)
{
	struct schedule_count all = { .has_more = true };

	for (unsigned turns = 0; all.has_more; turns++) {
		struct schedule_count one;
		struct kms_err err = { 0 };
		assert_true(turns < TURNS_MAX);
		assert_int_equal(schedule_run(&schedule, &d.kms, d.store->r, &one, &err), KMS_OK);
		assert_true(one.rotated < 2);
		all.rotated += one.rotated;
		all.near_expiry += one.near_expiry;
		all.expired += one.expired;
		all.failed += one.failed;
		if (one.failed > 0)
			all.last_failure = one.last_failure;
		all.has_more = one.has_more || one.rotated > 0;
	}
	return all;
}

static void assert_done(size_t rotated, size_t near_expiry, size_t expired)
{
	struct schedule_count c = run_all();

	assert_int_equal(c.rotated, rotated);
	assert_int_equal(c.near_expiry, near_expiry);
	assert_int_equal(c.expired, expired);
	assert_int_equal(c.failed, 0);
}

static void assert_nothing_happens(void)
{
	uint64_t before = log_size();

	assert_done(0, 0, 0);
	assert_int_equal(log_size(), before);
}

/* ---- rotation ---- */

static void a_key_is_rotated_once_when_its_time_has_come(void **state)
{
	uint64_t from = log_size();

	(void)state;
	make("weekly", KEY_EC);
	set_policy("weekly", (struct store_policy){ .rotate_after_create = "P7D", .expiry_time = "P90D" });
	assert_nothing_happens();
	t_domain_pass(7 * DAY - 1);
	assert_nothing_happens();
	t_domain_pass(1);
	assert_done(1, 0, 0);
	assert_int_equal(versions("weekly"), 2);
	assert_nothing_happens();
	assert_int_equal(leaves(from, "\"type\":\"key.rotate\"", "\"due\":1"), 2); /* intent and outcome */
	assert_int_equal(leaves(from, "\"phase\":\"outcome\"", "\"actor\":{\"kind\":\"system\"}"), 1);
	t_domain_pass(365 * DAY); /* nobody was there: once, not fifty times */
	assert_done(1, 1, 1);
	assert_int_equal(versions("weekly"), 3);
	t_domain_pass(6 * DAY);
	rotate_by_hand("weekly"); /* its age counts from here */
	t_domain_pass(3 * DAY);
	assert_nothing_happens();
	t_domain_pass(4 * DAY);
	assert_done(1, 0, 0);
	set_policy("weekly", (struct store_policy){ .rotate_after_create = "P30D" });
	t_domain_pass(29 * DAY);
	assert_nothing_happens();
	set_policy("weekly", (struct store_policy){ .rotate_after_create = "P20D" });
	assert_done(1, 0, 0);
	set_policy("weekly", (struct store_policy){ 0 });
}

static void a_key_is_rotated_before_it_ends(void **state)
{
	(void)state;
	make("ending", KEY_EC);
	set_policy("ending", (struct store_policy){ .rotate_before_expiry = "P30D", .expiry_time = "P90D", .notify_before_expiry = "P10D" });
	t_domain_pass(1000 * DAY);
	assert_nothing_happens(); /* it has no end: there is nothing to be before */
	rotate_by_hand("ending");
	assert_nothing_happens();
	t_domain_pass(60 * DAY);
	assert_done(1, 0, 0);
	set_policy("ending", (struct store_policy){ 0 });
	t_domain_pass(60 * DAY);
	assert_done(0, 1, 0);
	t_domain_pass(30 * DAY);
	assert_done(0, 0, 1);
	assert_nothing_happens();
}

/* ---- near its end, and at it ---- */

static void near_and_end_are_leaves_once_each(void **state)
{
	uint64_t from = log_size();
	char exp[48];

	(void)state;
	make("telling", KEY_EC);
	set_end("telling", now_s() + 90 * DAY);
	(void)snprintf(exp, sizeof(exp), "\"det\":{\"exp\":%lld}", (long long)now_s() + 90 * DAY);
	assert_nothing_happens();
	t_domain_pass(60 * DAY);
	assert_done(0, 1, 0);
	assert_nothing_happens();
	t_domain_pass(30 * DAY);
	assert_done(0, 0, 1);
	assert_nothing_happens();
	assert_int_equal(leaves(from, "\"type\":\"key.near_expiry\"", exp), 1);
	assert_int_equal(leaves(from, "\"type\":\"key.expire\"", exp), 1);
	assert_int_equal(leaves(from, "\"type\":\"key.expire\"", "\"name\":\"telling\""), 1);
	set_end("telling", now_s() + 10 * DAY); /* another end is another matter */
	assert_done(0, 1, 0);
	t_domain_pass(20 * 366 * DAY); /* late, and over the end of 32 bits of seconds */
	assert_true(now_s() > INT32_MAX);
	assert_done(0, 0, 1);
	set_end("telling", now_s() - DAY);
	assert_done(0, 0, 1);
	set_end("telling", now_s() + 400 * DAY);
	t_domain_pass(800 * DAY); /* both were missed: both are told */
	assert_done(0, 1, 1);
	assert_nothing_happens();
}

/* ---- what is left alone ---- */

static void a_key_out_of_use_waits_until_it_is_back(void **state)
{
	struct op *op = NULL;
	struct kms_err err = { 0 };

	(void)state;
	make("resting", KEY_EC);
	set_policy("resting", (struct store_policy){ .rotate_after_create = "P7D" });
	assert_nothing_happens();
	set_enabled("resting", false);
	t_domain_pass(8 * DAY);
	assert_nothing_happens();
	set_enabled("resting", true);
	assert_done(1, 0, 0);
	revoke("resting", REVOKE_SUPERSEDED);
	t_domain_pass(8 * DAY);
	assert_nothing_happens();
	revoke("resting", REVOKE_NONE);
	assert_done(1, 0, 0);
	t_domain_pass(8 * DAY);
	op = t_op(&d, "aging", EVENT_KEY_DELETE);
	assert_int_equal(t_op_finish(op, keyring_delete(op, "resting", &err)), KMS_OK);
	t_op_free(op);
	assert_nothing_happens();
	op = t_op(&d, "aging", EVENT_KEY_RECOVER);
	assert_int_equal(t_op_finish(op, keyring_recover(op, "resting", &err)), KMS_OK);
	t_op_free(op);
	assert_done(1, 0, 0);
	set_policy("resting", (struct store_policy){ 0 });
}

static void set_locked(const char *vault, bool is_locked)
{
	struct store_change change = { .kind = STORE_VAULT_LOCK };
	struct write unit = { .event = { .type = is_locked ? EVENT_TENANT_LOCK : EVENT_TENANT_UNLOCK }, .changes = &change, .change_count = 1 };

	assert_int_equal(store_vault_by_name(d.store->r, vault, &change.vault, NULL), KMS_OK);
	change.vault.is_locked = is_locked;
	assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
}

static void a_locked_vault_is_left_alone_until_it_is_unlocked(void **state)
{
	(void)state;
	make("locked", KEY_EC);
	set_policy("locked", (struct store_policy){ .rotate_after_create = "P7D" });
	assert_nothing_happens();
	set_locked("aging", true);
	t_domain_pass(8 * DAY);
	assert_nothing_happens();
	set_locked("aging", false);
	assert_done(1, 0, 0);
	set_policy("locked", (struct store_policy){ 0 });
}

/* ---- somebody else at the same moment ---- */

static struct store_ops patched;
static const struct store_ops *real_store;
static void (*meanwhile)(void);

/* Between what the scheduler reads and what it writes. */
static kms_status policy_and_meanwhile(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_policy *ret, struct kms_err *err)
{
	kms_status status = real_store->policy(s, key_id, ret, err);
	void (*act)(void) = meanwhile;

	meanwhile = NULL;
	if (act != NULL)
		act();
	return status;
}

static void patch(void (*act)(void))
{
	real_store = d.store->r->ops;
	patched = *real_store;
	patched.policy = policy_and_meanwhile;
	d.store->r->ops = &patched;
	meanwhile = act;
}

static void unpatch(void)
{
	assert_null(meanwhile); /* it was done */
	d.store->r->ops = real_store;
}

static void rotate_contested(void)
{
	d.store->r->ops = real_store;
	rotate_by_hand("contested");
}
static void lock_aging(void) { set_locked("aging", true); }

static void one_of_two_at_the_same_moment(void **state)
{
	uint64_t before;

	(void)state;
	make("contested", KEY_EC);
	set_policy("contested", (struct store_policy){ .rotate_after_create = "P7D" });
	assert_nothing_happens();
	t_domain_pass(7 * DAY);
	patch(rotate_contested);
	assert_done(0, 0, 0);
	unpatch();
	assert_int_equal(versions("contested"), 2); /* the user's, and no other */
	t_domain_pass(7 * DAY);
	before = log_size();
	patch(lock_aging);
	assert_done(0, 0, 0);
	unpatch();
	assert_int_equal(log_size(), before + 1); /* the lock's */
	set_locked("aging", false);
	assert_done(1, 0, 0);
	set_policy("contested", (struct store_policy){ 0 });
	t_domain_pass(300 * DAY);
	assert_nothing_happens();
}

static void shorten_life(void)
{
	d.store->r->ops = real_store;
	set_end("shortened", now_s() + 60 * DAY);
}

/* The new end is not the key's but its version's: the note when to look again must depend on that too. */
static void a_new_end_is_not_lost_to_a_look_at_the_old_one(void **state)
{
	(void)state;
	make("shortened", KEY_EC);
	patch(shorten_life);
	assert_done(0, 0, 0);
	unpatch();
	t_domain_pass(31 * DAY);
	assert_done(0, 1, 0);
}

/* ---- failures ---- */

static struct hsm_ops broken;
static const struct hsm_ops *real_hsm;
static unsigned generations;

static kms_status cannot_generate(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err)
{
	(void)h;
	(void)key;
	(void)ret_public;
	generations++;
	return kms_fail(err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "the test refuses to make a key");
}
static kms_status generates_and_dies(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err)
{
	generations++;
	KMS_TRY(real_hsm->key_generate(h, key, ret_public, err));
	return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the test ends here");
}
static kms_status cannot_destroy(struct hsm *h, const uint8_t id[HSM_ID_LEN], struct kms_err *err)
{
	(void)h;
	(void)id;
	return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the test ends here");
}

static void break_device(kms_status (*generate)(struct hsm *, const struct hsm_key *, struct hsm_public *, struct kms_err *), bool can_destroy)
{
	real_hsm = d.kms.hsm->ops;
	broken = *real_hsm;
	broken.key_generate = generate;
	if (!can_destroy)
		broken.key_destroy = cannot_destroy;
	d.kms.hsm->ops = &broken;
	generations = 0;
}

static void mend_device(void) { d.kms.hsm->ops = real_hsm; }

/* After 1, 2, 4 ... 60 minutes, and not a second before. */
static void what_fails_is_repeated_ever_more_slowly_and_said_each_time(void **state)
{
	static const int64_t WAITS[] = { 60, 120, 240, 480, 960, 1920, 3600, 3600 };
	const unsigned expected = 1 + KMS_ARRAY_LEN(WAITS);
	uint64_t from = 0;
	struct schedule_count c;

	(void)state;
	make("failing", KEY_EC_HSM);
	make("fine", KEY_EC);
	set_policy("failing", (struct store_policy){ .rotate_after_create = "P7D" });
	set_policy("fine", (struct store_policy){ .rotate_after_create = "P7D" });
	assert_nothing_happens();
	t_domain_pass(8 * DAY);
	from = log_size();
	break_device(cannot_generate, true);
	c = run_all();
	assert_int_equal(c.failed, 1);
	assert_int_equal(c.rotated, 1); /* one that fails does not hold up another */
	assert_non_null(strstr(c.last_failure.detail, "refuses to make a key"));
	for (size_t i = 0; i < KMS_ARRAY_LEN(WAITS); i++) {
		t_domain_pass(WAITS[i] - 1);
		assert_done(0, 0, 0);
		t_domain_pass(1);
		assert_int_equal(run_all().failed, 1);
	}
	mend_device();
	assert_int_equal(generations, expected);
	assert_int_equal(leaves(from, "\"type\":\"key.rotate\"", "\"result\":\"failed\""), expected);
	t_domain_pass(3600);
	assert_done(1, 0, 0);
	assert_int_equal(versions("failing"), 2);
	set_policy("failing", (struct store_policy){ 0 });
	set_policy("fine", (struct store_policy){ 0 });
}

/* As after a crash: the key is made, its intent open, its outcome missing. */
static void a_rotation_that_was_interrupted_is_undone_and_done_again_once(void **state)
{
	struct recovery_count found = { 0 };
	struct schedule_count c;
	struct kms_err err = { 0 };
	uint64_t from;

	(void)state;
	make("interrupted", KEY_EC_HSM);
	set_policy("interrupted", (struct store_policy){ .rotate_after_create = "P7D" });
	assert_nothing_happens();
	t_domain_pass(7 * DAY);
	from = log_size();
	break_device(generates_and_dies, false);
	c = run_all();
	mend_device();
	assert_int_equal(c.failed, 1);
	assert_false(c.has_more); /* the device is gone: the next key would fail as well */
	assert_int_equal(leaves(from, "key.rotate", "\"phase\":\"intent\""), 1);
	assert_int_equal(leaves(from, "key.rotate", "\"phase\":\"outcome\""), 0);
	t_domain_restart(&d);
	schedule = (struct schedule){ 0 };
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_AT_START, &found, &err), KMS_OK);
	assert_int_equal(found.settled, 1);
	assert_int_equal(versions("interrupted"), 1);
	t_domain_pass(SCHEDULE_RETRY_S - 1);
	assert_done(0, 0, 0);
	t_domain_pass(1);
	assert_done(1, 0, 0);
	assert_int_equal(versions("interrupted"), 2);
	assert_nothing_happens();
	set_policy("interrupted", (struct store_policy){ 0 });
}

/* A failure before anything has begun: the vault has no room for another key in the device. */
static kms_status no_room(struct store *s, const uint8_t vault_id[STORE_ID_LEN], size_t *ret_count, struct kms_err *err)
{
	(void)s;
	(void)vault_id;
	(void)err;
	*ret_count = KEYRING_RESIDENT_MAX;
	return KMS_OK;
}

static void a_full_vault_is_a_failure_in_the_log(void **state)
{
	struct schedule_count c;
	uint64_t from;

	(void)state;
	make("crowded", KEY_EC_HSM);
	set_policy("crowded", (struct store_policy){ .rotate_after_create = "P7D" });
	assert_nothing_happens();
	t_domain_pass(7 * DAY);
	from = log_size();
	patch(NULL);
	patched.object_count = no_room;
	c = run_all();
	assert_int_equal(c.failed, 1);
	assert_int_equal(leaves(from, "\"type\":\"key.rotate\"", "\"result\":\"failed\""), 1);
	assert_int_equal(leaves(from, "\"phase\":\"single\"", "ForbiddenByPolicy"), 1);
	assert_int_equal(log_size(), from + 1);
	assert_done(0, 0, 0); /* not yet again */
	unpatch();
	t_domain_pass(SCHEDULE_RETRY_S);
	assert_done(1, 0, 0);
	set_policy("crowded", (struct store_policy){ 0 });
}

/* ---- many ---- */

static kms_status damaged_policy(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_policy *ret, struct kms_err *err)
{
	KMS_TRY(real_store->policy(s, key_id, ret, err));
	if (key_id[0] % 2 == 0)
		memcpy(ret->rotate_after_create, "never", sizeof("never"));
	return KMS_OK;
}

static void those_that_fail_hold_up_no_other(void **state)
{
	char name[32];
	struct schedule_count c;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "many-%u", i);
		make(name, KEY_EC);
		set_policy(name, (struct store_policy){ .rotate_after_create = "P7D" });
	}
	assert_nothing_happens();
	t_domain_pass(7 * DAY);
	patch(NULL);
	patched.policy = damaged_policy;
	c = run_all();
	assert_int_equal(c.rotated + c.failed, 20);
	assert_true(c.rotated > 0 && c.failed > 0);
	unpatch();
	t_domain_pass(SCHEDULE_RETRY_S);
	assert_done(c.failed, 0, 0);
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "many-%u", i);
		assert_int_equal(versions(name), 2);
		set_policy(name, (struct store_policy){ 0 });
	}
}

/* Many that are due since longer. */
static void fill_hoard(unsigned count)
{
	struct store_policy policy = { .rotate_after_create = "P7D" };
	struct kms_err err = { 0 };
	uint8_t obj[HSM_ID_LEN];
	char name[32];

	t_vault(&d, "hoard", false);
	for (unsigned i = 0; i < count; i++) {
		struct op *op = NULL;
		(void)snprintf(name, sizeof(name), "hoarded-%u", i);
		t_key(&d, "hoard", name, KEY_EC, obj);
		op = t_op(&d, "hoard", EVENT_KEY_UPDATE);
		assert_int_equal(t_op_finish(op, keyring_set_rotation(op, name, &policy, &err)), KMS_OK);
		t_op_free(op);
	}
}

static struct schedule_count one_turn(void)
{
	struct schedule_count c;
	struct kms_err err = { 0 };

	assert_int_equal(schedule_run(&schedule, &d.kms, d.store->r, &c, &err), KMS_OK);
	assert_true(c.rotated < 2);
	return c;
}

/* The first turn tells what is to be told, whoever waits for keys; of the first two turns each vault has one. */
static void one_vault_is_not_in_the_way_of_another(void **state)
{
	struct schedule_count c;

	(void)state;
	fill_hoard(STORE_DUE_EACH + 2);
	t_domain_pass(DAY);
	make("own", KEY_EC);
	make("told", KEY_EC);
	set_policy("own", (struct store_policy){ .rotate_after_create = "P7D" });
	set_end("told", now_s() + 7 * DAY + 1);
	run_all();
	t_domain_pass(7 * DAY + 1);
	c = one_turn();
	assert_int_equal(c.expired, 1);
	assert_int_equal(c.rotated, 1);
	assert_int_equal(one_turn().rotated, 1);
	assert_int_equal(versions("own"), 2);
	assert_done(STORE_DUE_EACH + 1, 0, 0);
	set_policy("own", (struct store_policy){ 0 });
	set_locked("hoard", true);
}

/* ---- the clock ---- */

static void a_clock_that_is_set_back_misses_nothing_and_doubles_nothing(void **state)
{
	(void)state;
	make("back", KEY_EC);
	set_policy("back", (struct store_policy){ .rotate_after_create = "P7D" });
	assert_nothing_happens();
	t_domain_pass(365 * DAY); /* set forward by mistake: due is due */
	assert_done(1, 0, 0);
	assert_nothing_happens();
	t_domain_pass(-365 * DAY); /* and put right */
	assert_done(0, 0, 0);
	t_domain_pass(7 * DAY - 1);
	assert_done(0, 0, 0);
	t_domain_pass(1);
	assert_done(1, 0, 0); /* it does not wait for a year */
	assert_int_equal(versions("back"), 3);
	t_domain_pass(-30); /* a little back is nothing */
	assert_done(0, 0, 0);
	t_domain_pass(7 * DAY + 30);
	assert_done(1, 0, 0);
	set_policy("back", (struct store_policy){ 0 });
	t_domain_pass(365 * DAY); /* past all leaves again, so that a restart is possible */
	assert_done(0, 0, 0);
}

static void a_key_of_a_locked_vault_notices_when_it_is_unlocked(void **state)
{
	(void)state;
	make("behind", KEY_EC);
	set_policy("behind", (struct store_policy){ .rotate_after_create = "P7D" });
	t_domain_pass(365 * DAY);
	assert_done(1, 0, 0);
	assert_nothing_happens();
	set_locked("aging", true);
	t_domain_pass(-365 * DAY);
	assert_done(0, 0, 0);
	set_locked("aging", false);
	assert_done(0, 0, 0);
	t_domain_pass(7 * DAY);
	assert_done(1, 0, 0);
	set_policy("behind", (struct store_policy){ 0 });
	t_domain_pass(365 * DAY);
	assert_done(0, 0, 0);
}

/* Who puts the clock right and restarts at once. */
static void a_restart_remembers_that_the_clock_was_set_back(void **state)
{
	(void)state;
	make("restarted", KEY_EC);
	set_policy("restarted", (struct store_policy){ .rotate_after_create = "P7D" });
	t_domain_pass(365 * DAY);
	assert_done(1, 0, 0);
	t_domain_pass(-300 * DAY);
	set_policy("restarted", (struct store_policy){ .rotate_after_create = "P8D" }); /* some leaf: the log goes on from here */
	t_domain_pass(1);
	t_domain_restart(&d);
	schedule = (struct schedule){ 0 };
	assert_done(0, 0, 0);
	t_domain_pass(8 * DAY);
	assert_done(1, 0, 0);
	set_policy("restarted", (struct store_policy){ 0 });
	t_domain_pass(400 * DAY);
	assert_done(0, 0, 0);
}

static void a_clock_that_stands_still(void **state)
{
	(void)state;
	make("still", KEY_EC);
	set_policy("still", (struct store_policy){ .rotate_after_create = "P7D" });
	t_domain_pass(7 * DAY);
	assert_done(1, 0, 0);
	for (unsigned i = 0; i < 20; i++)
		assert_nothing_happens();
	set_policy("still", (struct store_policy){ 0 });
}

static int set_up(void **state)
{
	(void)state;
	t_domain_open(&d);
	t_vault(&d, "aging", false);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	t_domain_close(&d);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_rotated_once_when_its_time_has_come),
		cmocka_unit_test(a_key_is_rotated_before_it_ends),
		cmocka_unit_test(near_and_end_are_leaves_once_each),
		cmocka_unit_test(a_key_out_of_use_waits_until_it_is_back),
		cmocka_unit_test(a_locked_vault_is_left_alone_until_it_is_unlocked),
		cmocka_unit_test(one_of_two_at_the_same_moment),
		cmocka_unit_test(a_new_end_is_not_lost_to_a_look_at_the_old_one),
		cmocka_unit_test(what_fails_is_repeated_ever_more_slowly_and_said_each_time),
		cmocka_unit_test(a_rotation_that_was_interrupted_is_undone_and_done_again_once),
		cmocka_unit_test(a_full_vault_is_a_failure_in_the_log),
		cmocka_unit_test(those_that_fail_hold_up_no_other),
		cmocka_unit_test(one_vault_is_not_in_the_way_of_another),
		cmocka_unit_test(a_clock_that_is_set_back_misses_nothing_and_doubles_nothing),
		cmocka_unit_test(a_key_of_a_locked_vault_notices_when_it_is_unlocked),
		cmocka_unit_test(a_restart_remembers_that_the_clock_was_set_back),
		cmocka_unit_test(a_clock_that_stands_still),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
