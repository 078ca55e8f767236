/* tests/unit/core_lock.c - break-glass: a vault is locked by one person and at once, without the device, and unlocked by several; on a real token and database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "tests/support/approvals.h"

static struct t_domain d;

static struct store_vault vault_of(const char *name)
{
	struct store_vault v = { 0 };

	assert_int_equal(store_vault_by_name(d.store->r, name, &v, NULL), KMS_OK);
	return v;
}

/** @param who  NULL = the local user */
static kms_status set_lock(const struct t_person *who, const char *vault, bool locks, struct kms_err *ret_err)
{
	enum event_type type = locks ? EVENT_TENANT_LOCK : EVENT_TENANT_UNLOCK;
	struct op *op = who != NULL ? t_op_as(&d, who, vault, type, 3600) : t_op(&d, vault, type);
	kms_status status;

	memset(ret_err, 0, sizeof(*ret_err));
	assert_non_null(op);
	status = locks ? vault_lock(op, "breach", ret_err) : vault_unlock(op, "looked into", ret_err);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static kms_status use_it(const char *vault)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_WRAP);
	struct kms_err err = { 0 };
	kms_status status = op_need_unlocked_vault(op, &err);

	t_op_free(op);
	return status;
}

static void lock(const char *vault)
{
	struct kms_err err;

	assert_int_equal(set_lock(NULL, vault, true, &err), KMS_OK);
	assert_true(vault_of(vault).is_locked);
}

static void vote(const struct t_person *p, const char *vault)
{
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	assert_true(t_open_request(&d, vault, id));
	assert_int_equal(t_vote(&d, p, vault, id, true, &err), KMS_OK);
}

static void one_person_locks_at_once_and_what_is_under_way_gets_no_answer(void **state)
{
	struct kms_err err = { 0 };
	struct op *under_way;
	uint64_t size = 0;

	(void)state;
	t_vault(&d, "burning", false);
	t_vault(&d, "beside", false);
	assert_int_equal(use_it("burning"), KMS_OK);
	under_way = t_op(&d, "burning", EVENT_KEY_GET);
	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	lock("burning");
	assert_true(t_leaf_says(&d, size, "\"type\":\"tenant.lock\""));
	assert_true(t_leaf_says(&d, size, "\"reason\":\"breach\""));
	assert_int_equal(t_op_finish(under_way, KMS_OK), KMS_E_FENCED);
	t_op_free(under_way);
	assert_int_equal(use_it("burning"), KMS_E_VAULT_LOCKED);
	assert_int_equal(use_it("beside"), KMS_OK);
	assert_int_equal(set_lock(NULL, "burning", true, &err), KMS_OK); /* whoever repeats it in haste */
	assert_int_equal(set_lock(NULL, "beside", false, &err), KMS_E_CONFLICT);
}

static void a_lock_is_taken_off_by_the_quorum_alone(void **state)
{
	const struct vault_create two = { .name = "agreed", .retention_days = 7, .quorum = 2 };
	struct op *op = t_op(&d, NULL, EVENT_TENANT_CREATE);
	struct t_person a, b;
	struct kms_err err = { 0 };
	uint64_t size = 0;

	(void)state;
	assert_int_equal(t_op_finish(op, vault_create(op, &two, &err)), KMS_OK);
	t_op_free(op);
	a = t_person(&d, "agreed", "a", ROLE_ADMINISTRATOR);
	b = t_person(&d, "agreed", "b", ROLE_APPROVER);
	lock("agreed");
	assert_int_equal(set_lock(NULL, "agreed", false, &err), KMS_E_APPROVAL);
	vote(&a, "agreed"); /* from within the locked vault */
	assert_int_equal(set_lock(NULL, "agreed", false, &err), KMS_E_APPROVAL);
	assert_true(vault_of("agreed").is_locked);
	vote(&b, "agreed");
	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	assert_int_equal(set_lock(NULL, "agreed", false, &err), KMS_OK);
	assert_true(t_leaf_says(&d, size, "\"appr\":["));
	assert_true(t_leaf_says(&d, size + 1, "\"type\":\"tenant.unlock\""));
	assert_false(vault_of("agreed").is_locked);
	assert_int_equal(use_it("agreed"), KMS_OK);

	/* The approval is used up. */
	lock("agreed");
	assert_int_equal(set_lock(NULL, "agreed", false, &err), KMS_E_APPROVAL);
}

static void an_unlocking_that_was_cut_short_did_not_happen(void **state)
{
	struct recovery_count count = { 0 };
	struct kms_err err = { 0 };
	struct t_person a;
	struct op *op;

	(void)state;
	t_vault(&d, "cut", false);
	a = t_person(&d, "cut", "a", ROLE_APPROVER);
	lock("cut");
	assert_int_equal(set_lock(NULL, "cut", false, &err), KMS_E_APPROVAL);
	vote(&a, "cut");
	op = t_op(&d, "cut", EVENT_TENANT_UNLOCK);
	assert_int_equal(vault_unlock(op, "", &err), KMS_OK);
	t_op_free(op);
	t_domain_restart(&d);
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_ALL, &count, &err), KMS_OK);
	assert_int_equal(count.settled, 1);
	assert_true(vault_of("cut").is_locked);
}

static void a_locked_vault_can_still_be_shredded(void **state)
{
	struct kms_err err = { 0 };
	struct op *op;

	(void)state;
	t_vault(&d, "ended", false);
	lock("ended");
	assert_true(t_shred(&d, "ended", "") > 0);
	op = t_op(&d, "ended", EVENT_TENANT_LOCK);
	assert_int_equal(vault_lock(op, "again", &err), KMS_E_VAULT_SHREDDED);
	t_op_free(op);
	assert_int_equal(use_it("ended"), KMS_OK); /* that it is destroyed is what is said of it */
}

static void nothing_dies_of_its_retention_while_the_vault_is_locked(void **state)
{
	struct kms_err err = { 0 };
	struct t_person a;
	struct op *op;
	uint8_t obj[HSM_ID_LEN];
	size_t count = 0;

	(void)state;
	t_vault(&d, "waiting", false);
	a = t_person(&d, "waiting", "a", ROLE_APPROVER);
	t_key(&d, "waiting", "k", KEY_OCT_HSM, obj);
	op = t_op(&d, "waiting", EVENT_KEY_DELETE);
	assert_int_equal(t_op_finish(op, keyring_delete(op, "k", &err)), KMS_OK);
	t_op_free(op);
	lock("waiting");
	t_domain_pass(400L * 24 * 3600);
	assert_int_equal(keyring_purge_due(&d.kms, d.store->r, &count, &err), KMS_OK);
	assert_int_equal(count, 0);
	assert_true(t_object_exists(&d, obj));
	assert_int_equal(set_lock(NULL, "waiting", false, &err), KMS_E_APPROVAL);
	vote(&a, "waiting");
	assert_int_equal(set_lock(NULL, "waiting", false, &err), KMS_OK);
	assert_int_equal(keyring_purge_due(&d.kms, d.store->r, &count, &err), KMS_OK);
	assert_int_equal(count, 1);
	assert_false(t_object_exists(&d, obj));
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
		cmocka_unit_test(one_person_locks_at_once_and_what_is_under_way_gets_no_answer),
		cmocka_unit_test(a_lock_is_taken_off_by_the_quorum_alone),
		cmocka_unit_test(an_unlocking_that_was_cut_short_did_not_happen),
		cmocka_unit_test(a_locked_vault_can_still_be_shredded),
		cmocka_unit_test(nothing_dies_of_its_retention_while_the_vault_is_locked),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
