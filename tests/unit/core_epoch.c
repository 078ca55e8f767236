/* tests/unit/core_epoch.c - backup epochs on a real token and database: one is always there, they turn and end by the clock or by people, and what outlives a destruction is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/epoch.h"
#include "tests/support/approvals.h"

#define DAY_S 86400L

static struct t_domain d;

static struct store_epoch newest(void)
{
	struct store_epoch e = { 0 };

	assert_int_equal(epoch_newest(d.store->r, &e, NULL), KMS_OK);
	return e;
}

static struct store_epoch numbered(uint32_t number)
{
	struct store_epoch e = { 0 };

	assert_int_equal(epoch_numbered(d.store->r, number, &e, NULL), KMS_OK);
	return e;
}

static void turn(void)
{
	struct kms_err err = { 0 };

	if (epochs_turn(&d.kms, d.store->r, &err) != KMS_OK)
		fail_msg("%s: %s", kms_err_text(&err), err.detail);
}

static void open_again(void)
{
	struct kms_err err = { 0 };

	assert_int_equal(epoch_open(&d.kms, d.store->r, &err), KMS_OK);
}

static uint64_t leaves(void)
{
	uint64_t count = 0;

	assert_int_equal(store_event_count(d.store->r, &count, NULL), KMS_OK);
	return count;
}

static uint32_t begin(void)
{
	struct op *op = t_op(&d, NULL, EVENT_BACKUP_EPOCH);
	struct store_epoch e = { 0 };
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, epoch_begin(op, &e, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
	return e.number;
}

static void add_backup(enum store_backup_kind kind, uint32_t epoch, const char *vault, const char *key, int64_t made_s)
{
	struct store_change c = { .kind = STORE_BACKUP_ADD, .backup = { .kind = kind, .epoch = epoch, .bytes = 1, .made_s = made_s, .ends_s = STORE_NO_TIME } };
	struct store_vault v = { 0 };

	assert_true(guid_random(c.backup.id));
	if (kind == STORE_BACKUP_SERVER) {
		guid_format(c.backup.id, c.backup.place);
	} else {
		assert_int_equal(store_vault_by_name(d.store->r, vault, &v, NULL), KMS_OK);
		memcpy(c.backup.vault_id, v.id, STORE_ID_LEN);
		(void)snprintf(c.backup.key_name, sizeof(c.backup.key_name), "%s", key);
	}
	t_change(&d, &c, 1);
}

static void the_first_start_makes_one_and_the_next_finds_it(void **state)
{
	struct store_epoch first;
	uint64_t size = 0;

	(void)state;
	open_again();
	first = newest();
	assert_int_equal(first.number, 1);
	assert_int_equal(first.closed_s, STORE_NO_TIME);
	assert_true(t_object_exists(&d, first.obj));
	size = leaves();
	assert_true(t_leaf_says(&d, size - 2, "\"phase\":\"intent\""));
	assert_true(t_leaf_says(&d, size - 1, "\"type\":\"backup.epoch\""));
	assert_true(t_leaf_says(&d, size - 1, "\"epoch\":1"));
	open_again();
	assert_int_equal(leaves(), size);
}

static void one_whose_key_is_gone_is_followed_by_the_next(void **state)
{
	struct store_epoch lost = newest();

	(void)state;
	assert_int_equal(hsm_key_destroy(d.kms.hsm, lost.obj, NULL), KMS_OK);
	open_again();
	assert_int_equal(newest().number, lost.number + 1);
	assert_true(t_object_exists(&d, newest().obj));
	assert_int_not_equal(numbered(lost.number).closed_s, STORE_NO_TIME);
}

static void they_turn_and_end_by_the_clock(void **state)
{
	static const struct epoch_policy policy = { .epoch_days = 10, .keep_days = 5 };
	struct store_epoch first = newest(), second;
	struct store_tombstone t = { 0 };
	uint64_t size = 0;

	(void)state;
	d.kms.epochs = &policy;
	t_domain_pass(10 * DAY_S - 1);
	turn();
	assert_int_equal(newest().number, first.number);
	assert_int_equal(epoch_until(&d.kms, &first), first.created_s + 15 * DAY_S);
	t_domain_pass(1);
	turn();
	second = newest();
	assert_int_equal(second.number, first.number + 1);
	first = numbered(first.number);
	assert_int_equal(first.closed_s, second.created_s);
	t_domain_pass(5 * DAY_S - 1);
	turn();
	assert_int_equal(numbered(first.number).ended_s, STORE_NO_TIME);
	assert_true(t_object_exists(&d, first.obj));
	t_domain_pass(1);
	turn();
	first = numbered(first.number);
	assert_int_equal(first.ended_s, second.created_s + 5 * DAY_S);
	assert_int_equal(epoch_until(&d.kms, &first), first.ended_s);
	assert_false(t_object_exists(&d, first.obj));
	assert_true(t_object_exists(&d, second.obj));
	assert_int_equal(store_tombstone(d.store->r, first.obj, &t, NULL), KMS_OK);
	assert_int_equal(t.kind, STORE_TOMBSTONE_EPOCH);
	size = leaves();
	turn();
	assert_int_equal(leaves(), size); /* nothing is due any more */
	d.kms.epochs = NULL;
}

static kms_status end(uint32_t number, struct kms_err *err)
{
	struct op *op = t_op(&d, NULL, EVENT_BACKUP_EPOCH_END);
	kms_status status = KMS_OK;

	*err = (struct kms_err){ 0 };
	status = epoch_end(op, number, "leaked", err);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static void people_end_one_before_its_time_and_the_newest_has_a_successor(void **state)
{
	struct t_person approver = t_person(&d, NULL, "approver", ROLE_APPROVER);
	uint32_t number = newest().number;
	uint8_t request[STORE_ID_LEN];
	struct kms_err err = { 0 };

	(void)state;
	assert_int_equal(end(number, &err), KMS_E_APPROVAL);
	assert_int_equal(newest().number, number); /* nothing is begun for one who only asks */
	assert_true(t_open_request(&d, NULL, request));
	assert_int_equal(t_vote(&d, &approver, NULL, request, true, &err), KMS_OK);
	assert_int_equal(end(number, &err), KMS_OK);
	assert_int_equal(newest().number, number + 1);
	assert_true(t_object_exists(&d, newest().obj));
	assert_false(t_object_exists(&d, numbered(number).obj));
	assert_int_not_equal(numbered(number).ended_s, STORE_NO_TIME);
	assert_int_equal(end(number, &err), KMS_E_CONFLICT);
	assert_non_null(strstr(err.message, "has ended already"));
	assert_int_equal(end(number + 100, &err), KMS_E_NOTFOUND);
}

static void an_end_that_was_interrupted_is_finished_by_recovery_and_begun_only_once(void **state)
{
	static const struct epoch_policy policy = { .epoch_days = 365, .keep_days = 1 };
	struct store_epoch e = newest();
	struct store_intent intent = { 0 };
	struct recovery_count count = { 0 };
	struct kms_err err = { 0 };
	struct op *op = NULL;
	uint64_t size = 0;

	(void)state;
	d.kms.epochs = &policy;
	(void)begin();
	t_domain_pass(DAY_S);
	op = t_op(&d, NULL, EVENT_BACKUP_EPOCH_END);
	memcpy(intent.obj, e.obj, STORE_ID_LEN);
	assert_int_equal(op_intend_sealed(op, NULL, &intent, &err), KMS_OK);
	t_op_free(op); /* and the power fails */
	size = leaves();
	turn();
	assert_int_equal(leaves(), size);
	assert_true(t_object_exists(&d, e.obj));
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_TYPE(EVENT_BACKUP_EPOCH_END), &count, &err), KMS_OK);
	assert_int_equal(count.settled, 1);
	assert_false(t_object_exists(&d, e.obj));
	assert_int_not_equal(numbered(e.number).ended_s, STORE_NO_TIME);
	d.kms.epochs = NULL;
}

static void a_beginning_that_was_interrupted_leaves_no_key(void **state)
{
	struct op *op = t_op(&d, NULL, EVENT_BACKUP_EPOCH);
	uint32_t number = newest().number;
	struct recovery_count count = { 0 };
	struct store_epoch e = { 0 };
	struct kms_err err = { 0 };

	(void)state;
	assert_int_equal(epoch_begin(op, &e, &err), KMS_OK);
	t_op_free(op);
	assert_true(t_object_exists(&d, e.obj));
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_TYPE(EVENT_BACKUP_EPOCH), &count, &err), KMS_OK);
	assert_int_equal(count.settled, 1);
	assert_false(t_object_exists(&d, e.obj));
	assert_int_equal(newest().number, number);
}

static void copies_are_those_that_may_hold_the_key_the_longest_lived_first(void **state)
{
	struct backup_copy copies[8];
	struct store_vault v = { 0 };
	int64_t now_s = clock_wall_s(d.kms.clock), until_s = 0;
	uint32_t old = newest().number, young = begin();
	size_t count = 0, total = 0;

	(void)state;
	t_vault(&d, "copied", false);
	t_vault(&d, "other", false);
	assert_int_equal(store_vault_by_name(d.store->r, "copied", &v, NULL), KMS_OK);
	assert_int_equal(copies_find(&d.kms, d.store->r, v.id, "k", now_s, 0, copies, 8, &count, &total, &until_s, NULL), KMS_OK);
	assert_int_equal(total, 0);
	assert_int_equal(until_s, STORE_NO_TIME);
	add_backup(STORE_BACKUP_KEY, old, "copied", "k", now_s);
	add_backup(STORE_BACKUP_KEY, young, "copied", "k", now_s + 1);
	add_backup(STORE_BACKUP_KEY, young, "copied", "another", now_s);
	add_backup(STORE_BACKUP_KEY, young, "other", "k", now_s);
	add_backup(STORE_BACKUP_SERVER, old, NULL, NULL, now_s - 1);
	add_backup(STORE_BACKUP_SERVER, old, NULL, NULL, now_s + 2);
	assert_int_equal(copies_find(&d.kms, d.store->r, v.id, "K", now_s, 0, copies, 8, &count, &total, &until_s, NULL), KMS_OK);
	assert_int_equal(total, 3); /* the server's that was made before the key cannot hold it */
	assert_int_equal(count, 3);
	assert_int_equal(copies[0].backup.epoch, young);
	assert_int_equal(copies[1].backup.kind, STORE_BACKUP_SERVER);
	assert_int_equal(copies[2].backup.epoch, old);
	assert_int_equal(until_s, copies[0].until_s);
	assert_true(copies[0].until_s > copies[1].until_s);
	/* The first of more than there is room for; the whole vault: of every key. */
	assert_int_equal(copies_find(&d.kms, d.store->r, v.id, NULL, now_s, 0, copies, 1, &count, &total, &until_s, NULL), KMS_OK);
	assert_int_equal(total, 4);
	assert_int_equal(count, 1);
	assert_int_equal(copies[0].backup.epoch, young);
}

static void what_was_sealed_in_an_ended_epoch_is_no_copy_and_a_removed_file_is(void **state)
{
	struct backup_copy copies[8];
	struct store_change drop = { .kind = STORE_BACKUP_DROP };
	struct store_vault v = { 0 };
	struct store_epoch last = newest();
	int64_t until_s = 0;
	size_t count = 0, total = 0, total_since_ever;

	(void)state;
	assert_int_equal(store_vault_by_name(d.store->r, "copied", &v, NULL), KMS_OK);
	assert_int_equal(copies_find(&d.kms, d.store->r, v.id, "k", 0, 0, copies, 8, &count, &total, &until_s, NULL), KMS_OK);
	for (size_t i = 0; i < count; i++)
		if (copies[i].backup.kind == STORE_BACKUP_SERVER)
			memcpy(drop.backup.id, copies[i].backup.id, STORE_ID_LEN);
	total_since_ever = total;
	assert_int_equal(copies_find(&d.kms, d.store->r, v.id, "k", clock_wall_s(d.kms.clock), STORE_NO_SEQ, copies, 8, &count, &total, &until_s, NULL), KMS_OK);
	assert_int_equal(total, total_since_ever); /* when it was made is not known */
	t_change(&d, &drop, 1);
	assert_int_equal(copies_find(&d.kms, d.store->r, v.id, "k", 0, 0, copies, 8, &count, &total, &until_s, NULL), KMS_OK);
	assert_int_equal(total, 4);
	(void)begin();
	t_domain_pass(EPOCH_DAYS_DEFAULT * DAY_S);
	turn();
	assert_int_not_equal(numbered(last.number).ended_s, STORE_NO_TIME);
	assert_int_equal(copies_find(&d.kms, d.store->r, v.id, "k", 0, 0, copies, 8, &count, &total, &until_s, NULL), KMS_OK);
	assert_int_equal(total, 0);
	assert_int_equal(until_s, STORE_NO_TIME);
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_domain_close(&d);
	return secret_live() == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_start_makes_one_and_the_next_finds_it),
		cmocka_unit_test(one_whose_key_is_gone_is_followed_by_the_next),
		cmocka_unit_test(they_turn_and_end_by_the_clock),
		cmocka_unit_test(people_end_one_before_its_time_and_the_newest_has_a_successor),
		cmocka_unit_test(an_end_that_was_interrupted_is_finished_by_recovery_and_begun_only_once),
		cmocka_unit_test(a_beginning_that_was_interrupted_leaves_no_key),
		cmocka_unit_test(copies_are_those_that_may_hold_the_key_the_longest_lived_first),
		cmocka_unit_test(what_was_sealed_in_an_ended_epoch_is_no_copy_and_a_removed_file_is),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
