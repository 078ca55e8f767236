/* tests/unit/core_approval_who.c - who counts towards an approval, how they say so, and what a vault is founded by; on a real token and database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "tests/support/access_rig.h"
#include "tests/support/approval_rig.h"

static struct t_domain d;

/* ---- who counts ---- */

static void nobody_counts_twice(void **state)
{
	struct approval_need two = RIG_NEED;
	struct t_person inner, left, right, top, a, b;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "twice");
	/* a by three ways: of itself, and through two groups that are in a third. */
	top = t_group(&d, "twice", "approvers", ROLE_APPROVER);
	left = t_group(&d, "twice", "left", 0);
	right = t_group(&d, "twice", "right", ROLE_APPROVER);
	inner = t_group(&d, "twice", "inner", 0);
	a = t_person(&d, "twice", "a", ROLE_APPROVER);
	b = t_person(&d, "twice", "b", 0);
	t_member(&d, &left, &inner, true);
	t_member(&d, &right, &inner, true);
	t_member(&d, &top, &left, true);
	t_member(&d, &top, &right, true);
	t_member(&d, &inner, &a, true);
	t_member(&d, &left, &a, true);
	t_member(&d, &inner, &b, true);
	two.quorum = 2;
	rig_ask(&d, "twice", &two, id);
	rig_vote(&d, &a, "twice", id);
	assert_int_equal(t_vote(&d, &a, "twice", id, true, &err), KMS_E_CONFLICT);
	assert_int_equal(rig_counted(&d, "twice", id), 1);
	rig_refused(&d, NULL, "twice", &two);
	rig_vote(&d, &b, "twice", id); /* through nested groups alone, and once */
	assert_int_equal(rig_counted(&d, "twice", id), 2);
	rig_done(&d, NULL, "twice", &two);
}

/* Of a founded vault where the installation has no say: the local user's own choice of people for the installation must not decide there. */
static void a_role_of_the_installation_is_no_vote_in_a_founded_vault(void **state)
{
	struct t_person mine;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "apart");
	mine = t_person(&d, "apart", "mine", 0);
	assert_int_equal(rig_role(&d, NULL, mine.id, &(struct rig_grant){ .vault = "apart", .role = ROLE_APPROVER, .at_installation = true }, true, &err), KMS_OK);
	rig_ask(&d, "apart", &RIG_NEED, id);
	assert_int_equal(t_vote(&d, &mine, "apart", id, true, &err), KMS_E_FORBIDDEN);
	rig_force_vote(&d, &mine, id);
	assert_int_equal(rig_counted(&d, "apart", id), 0);
	rig_refused(&d, NULL, "apart", &RIG_NEED);
}

static void the_requester_never_counts(void **state)
{
	struct t_person admin, other;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	t_vault(&d, "self", false);
	admin = t_person(&d, "self", "admin", ROLE_ADMINISTRATOR);
	other = t_person(&d, "self", "other", ROLE_ADMINISTRATOR);
	rig_refused(&d, &admin, "self", &RIG_NEED);
	assert_true(t_open_request(&d, "self", id));
	assert_int_equal(t_vote(&d, &admin, "self", id, true, &err), KMS_E_FORBIDDEN);
	assert_int_equal(t_vote(&d, &admin, "self", id, false, &err), KMS_E_FORBIDDEN);
	rig_force_vote(&d, &admin, id);
	assert_int_equal(rig_counted(&d, "self", id), 0);
	rig_refused(&d, &admin, "self", &RIG_NEED);
	rig_vote(&d, &other, "self", id);
	rig_done(&d, &admin, "self", &RIG_NEED);
}

static void nobody_of_another_vault_counts(void **state)
{
	struct t_person stranger, in_group, group;
	struct kms_err err;
	struct op *op;
	struct approval_view v = { 0 };
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "here");
	(void)t_group(&d, "here", "approvers", ROLE_APPROVER);
	t_vault(&d, "there", false);
	stranger = t_person(&d, "there", "stranger", ROLE_ADMINISTRATOR);
	group = t_group(&d, "there", "approvers", ROLE_APPROVER); /* of the same name */
	in_group = t_person(&d, "there", "in-group", 0);
	t_member(&d, &group, &in_group, true);
	rig_ask(&d, "here", &RIG_NEED, id);
	assert_int_equal(t_vote(&d, &stranger, "here", id, true, &err), KMS_E_UNAUTHENTICATED);
	assert_int_equal(t_vote(&d, &stranger, "there", id, true, &err), KMS_E_NOTFOUND);
	op = t_op_as(&d, &stranger, "there", EVENT_APPROVAL, 1);
	memset(&err, 0, sizeof(err));
	assert_int_equal(approval_get(op, id, &v, &err), KMS_E_NOTFOUND);
	assert_int_equal(approval_withdraw(op, id, &v, &err), KMS_E_NOTFOUND);
	t_op_free(op);
	rig_force_vote(&d, &stranger, id);
	rig_force_vote(&d, &in_group, id);
	rig_force_vote(&d, &group, id);
	assert_int_equal(rig_counted(&d, "here", id), 0);
	rig_refused(&d, NULL, "here", &RIG_NEED);
}

static void who_may_not_approve_does_not(void **state)
{
	static const enum role ROLES[] = { ROLE_CRYPTO_OFFICER, ROLE_CRYPTO_USER, ROLE_READER, ROLE_AUDITOR, ROLE_ACCESS_ADMIN };
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "without");
	rig_ask(&d, "without", &RIG_NEED, id);
	for (size_t i = 0; i < KMS_ARRAY_LEN(ROLES); i++) {
		struct t_person p = t_person(&d, "without", role_info(ROLES[i])->slug, ROLES[i]);
		assert_int_equal(t_vote(&d, &p, "without", id, true, &err), KMS_E_FORBIDDEN);
		assert_non_null(strstr(kms_err_text(&err), "Holdfast/vaults/approvals/write"));
		assert_int_equal(t_vote(&d, &p, "without", id, false, &err), KMS_E_FORBIDDEN);
		rig_force_vote(&d, &p, id);
	}
	assert_int_equal(rig_counted(&d, "without", id), 0);
	rig_refused(&d, NULL, "without", &RIG_NEED);
}

static void who_lost_the_right_does_not_count_until_he_has_it_again(void **state)
{
	struct t_person a, b, group, mid, op_of_all;
	struct store_change c = { .kind = STORE_PRINCIPAL_SET };
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "lost");
	a = t_person(&d, "lost", "a", ROLE_APPROVER);
	b = t_person(&d, "lost", "b", 0);
	group = t_group(&d, "lost", "group", ROLE_APPROVER);
	mid = t_group(&d, "lost", "mid", 0);
	t_member(&d, &group, &mid, true);
	t_member(&d, &mid, &b, true);
	op_of_all = t_person(&d, NULL, "of-all", ROLE_APPROVER);
	rig_ask(&d, "lost", &RIG_NEED, id);
	rig_vote(&d, &a, "lost", id);
	rig_vote(&d, &b, "lost", id);
	rig_vote(&d, &op_of_all, "lost", id);
	assert_int_equal(rig_counted(&d, "lost", id), 3);

	t_role(&d, &a, ROLE_APPROVER, false);
	assert_int_equal(rig_counted(&d, "lost", id), 2);
	t_member(&d, &group, &mid, false);
	assert_int_equal(rig_counted(&d, "lost", id), 1);
	t_role(&d, &op_of_all, ROLE_APPROVER, false);
	assert_int_equal(rig_counted(&d, "lost", id), 0);
	rig_refused(&d, NULL, "lost", &RIG_NEED);

	t_role(&d, &a, ROLE_APPROVER, true);
	assert_int_equal(rig_counted(&d, "lost", id), 1);
	t_enable(&d, &a, false);
	assert_int_equal(rig_counted(&d, "lost", id), 0);
	rig_refused(&d, NULL, "lost", &RIG_NEED);
	t_member(&d, &group, &mid, true);
	assert_int_equal(rig_counted(&d, "lost", id), 1);
	t_enable(&d, &group, false);
	assert_int_equal(rig_counted(&d, "lost", id), 0);
	t_enable(&d, &group, true);
	t_member(&d, &mid, &b, false);
	assert_int_equal(rig_counted(&d, "lost", id), 0);

	/* Whoever had the tokens that were revoked may have voted with them. */
	t_enable(&d, &a, true);
	assert_int_equal(rig_counted(&d, "lost", id), 1);
	assert_int_equal(store_principal(d.store->r, a.id, &c.principal, NULL), KMS_OK);
	c.principal.tokens_from_s = clock_wall_s(d.kms.clock) + 1;
	t_change(&d, &c, 1);
	assert_int_equal(rig_counted(&d, "lost", id), 0);
	rig_refused(&d, NULL, "lost", &RIG_NEED);
	/* A role that ends takes the vote with it. */
	t_member(&d, &mid, &b, true);
	assert_int_equal(rig_counted(&d, "lost", id), 1);
	rig_done(&d, NULL, "lost", &RIG_NEED);
}

static void a_role_that_has_ended_does_not_count(void **state)
{
	struct store_change c = { .kind = STORE_ROLE_ADD };
	struct t_person a;
	struct kms_err err;
	struct op *op;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "for-a-time");
	a = t_person(&d, "for-a-time", "a", 0);
	op = rig_op_of(&d, NULL, "for-a-time");
	memcpy(c.assignment.principal_id, a.id, STORE_ID_LEN);
	memcpy(c.assignment.vault_id, op->vault.id, STORE_ID_LEN);
	t_op_free(op);
	c.assignment.role = ROLE_APPROVER;
	c.assignment.created_s = clock_wall_s(d.kms.clock);
	c.assignment.expires_s = c.assignment.created_s + 100;
	t_change(&d, &c, 1);
	rig_ask(&d, "for-a-time", &RIG_NEED, id);
	rig_vote(&d, &a, "for-a-time", id);
	assert_int_equal(rig_counted(&d, "for-a-time", id), 1);
	t_domain_pass(100);
	assert_int_equal(rig_counted(&d, "for-a-time", id), 0);
	rig_refused(&d, NULL, "for-a-time", &RIG_NEED);
	assert_int_equal(t_vote(&d, &a, "for-a-time", id, true, &err), KMS_E_FORBIDDEN);
}

enum loss { LOSES_ROLE, IS_DISABLED, LEAVES_GROUP, GROUP_LOSES_ROLE, GROUP_IS_DISABLED, INSTALLATION_LOSES_ROLE, QUORUM_IS_RAISED, LOSS_COUNT };

/* Counted, and then, before it is written, not what he was: nothing is written. */
static void what_is_lost_between_check_and_commit_is_found_by_the_fence(void **state)
{
	(void)state;
	for (enum loss loss = 0; loss < LOSS_COUNT; loss++) {
		struct t_person p, group;
		struct kms_err err = { 0 };
		struct store_change c = { .kind = STORE_VAULT_SET };
		char vault[STORE_VAULT_NAME_MAX + 1];
		uint8_t id[STORE_ID_LEN];
		struct op *op;

		(void)snprintf(vault, sizeof(vault), "between-%d", (int)loss);
		rig_founded(&d, vault);
		p = t_person(&d, loss == INSTALLATION_LOSES_ROLE ? NULL : vault, "p",
		             loss == LEAVES_GROUP || loss == GROUP_LOSES_ROLE || loss == GROUP_IS_DISABLED ? 0 : ROLE_APPROVER);
		group = t_group(&d, vault, "group", ROLE_APPROVER);
		if (loss == LEAVES_GROUP || loss == GROUP_LOSES_ROLE || loss == GROUP_IS_DISABLED)
			t_member(&d, &group, &p, true);
		rig_ask(&d, vault, &RIG_NEED, id);
		rig_vote(&d, &p, vault, id);
		op = rig_op_of(&d, NULL, vault);
		assert_int_equal(approval_require(op, &RIG_NEED, &err), KMS_OK);
		switch (loss) {
		case LOSES_ROLE:
		case INSTALLATION_LOSES_ROLE: t_role(&d, &p, ROLE_APPROVER, false); break;
		case IS_DISABLED: t_enable(&d, &p, false); break;
		case LEAVES_GROUP: t_member(&d, &group, &p, false); break;
		case GROUP_LOSES_ROLE: t_role(&d, &group, ROLE_APPROVER, false); break;
		case GROUP_IS_DISABLED: t_enable(&d, &group, false); break;
		case QUORUM_IS_RAISED:
			c.vault = op->vault;
			c.vault.quorum = 2;
			t_change(&d, &c, 1);
			break;
		case LOSS_COUNT: break;
		}
		assert_int_equal(rig_intend(op), KMS_E_FENCED);
		assert_false(op->has_intent);
		t_op_free(op);
		assert_int_equal(rig_state_of(&d, id), STORE_APPROVAL_OPEN);
		if (loss != QUORUM_IS_RAISED)
			rig_refused(&d, NULL, vault, &RIG_NEED);
	}
}

static void the_larger_quorum_counts(void **state)
{
	struct approval_need two = RIG_NEED;
	struct t_person a, b;
	struct approval_view v = { 0 };
	struct store_change c = { .kind = STORE_VAULT_SET };
	struct op *op;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "quorum");
	a = t_person(&d, "quorum", "a", ROLE_APPROVER);
	b = t_person(&d, "quorum", "b", ROLE_APPROVER);
	two.quorum = 2;
	/* Raised after the opening. */
	rig_ask(&d, "quorum", &RIG_NEED, id);
	rig_vote(&d, &a, "quorum", id);
	rig_refused(&d, NULL, "quorum", &two);
	rig_vote(&d, &b, "quorum", id);
	rig_done(&d, NULL, "quorum", &two);
	/* Lowered after the opening. */
	rig_ask(&d, "quorum", &two, id);
	rig_vote(&d, &a, "quorum", id);
	rig_refused(&d, NULL, "quorum", &RIG_NEED);
	rig_vote(&d, &b, "quorum", id);
	rig_done(&d, NULL, "quorum", &RIG_NEED);
	/* What people see is the larger one too. */
	rig_ask(&d, "quorum", &RIG_NEED, id);
	op = rig_op_of(&d, NULL, "quorum");
	c.vault = op->vault;
	c.vault.quorum = 3;
	t_op_free(op);
	t_change(&d, &c, 1);
	rig_view(&d, "quorum", id, &v);
	assert_int_equal(v.needed, 3);
	approval_view_clear(&v);
}

/* ---- how they vote ---- */

static kms_status vote_with(struct op *op, const uint8_t id[STORE_ID_LEN])
{
	struct approval_view v = { 0 };
	struct kms_err err = { 0 };
	kms_status status = approval_vote(op, id, true, "", NULL, &v, &err);

	assert_int_equal(t_op_finish(op, status), KMS_OK);
	approval_view_clear(&v);
	t_op_free(op);
	return status;
}

static void an_approver_has_just_shown_who_he_is(void **state)
{
	struct t_person a, b;
	uint8_t id[STORE_ID_LEN];
	struct op *op;

	(void)state;
	rig_founded(&d, "fresh");
	a = t_person(&d, "fresh", "a", ROLE_APPROVER);
	b = t_person(&d, "fresh", "b", ROLE_APPROVER);
	rig_ask(&d, "fresh", &RIG_NEED, id);
	assert_int_equal(vote_with(t_op_as(&d, &a, "fresh", EVENT_APPROVAL, APPROVAL_FRESH_S), id), KMS_E_FORBIDDEN);
	assert_int_equal(vote_with(t_op_as(&d, &a, "fresh", EVENT_APPROVAL, 86400), id), KMS_E_FORBIDDEN);
	assert_int_equal(vote_with(t_op_as(&d, &a, "fresh", EVENT_APPROVAL, -61), id), KMS_E_FORBIDDEN);
	op = t_op_as(&d, &a, "fresh", EVENT_APPROVAL, 1);
	op->caller.issued_s = 0; /* no token */
	assert_int_equal(vote_with(op, id), KMS_E_FORBIDDEN);
	op = t_op_as(&d, &a, "fresh", EVENT_APPROVAL, 1);
	op->caller.auth = EVENT_AUTH_MTLS;
	assert_int_equal(vote_with(op, id), KMS_E_FORBIDDEN);
	assert_int_equal(vote_with(t_op(&d, "fresh", EVENT_APPROVAL), id), KMS_E_FORBIDDEN); /* the local socket */
	assert_int_equal(rig_counted(&d, "fresh", id), 0);
	rig_refused(&d, NULL, "fresh", &RIG_NEED);
	assert_int_equal(vote_with(t_op_as(&d, &a, "fresh", EVENT_APPROVAL, APPROVAL_FRESH_S - 1), id), KMS_OK);
	assert_int_equal(vote_with(t_op_as(&d, &b, "fresh", EVENT_APPROVAL, -59), id), KMS_OK);
	rig_done(&d, NULL, "fresh", &RIG_NEED);
}

static void a_vote_is_an_event_that_says_on_what(void **state)
{
	struct t_person a;
	struct approval_view v = { 0 };
	struct kms_err err = { 0 };
	uint8_t id[STORE_ID_LEN];
	char text[GUID_TEXT_LEN + 1];
	struct op *op;

	(void)state;
	rig_founded(&d, "says");
	a = t_person(&d, "says", "a", ROLE_APPROVER);
	rig_ask(&d, "says", &RIG_NEED, id);
	op = t_op_as(&d, &a, "says", EVENT_APPROVAL, 1);
	assert_int_equal(t_op_finish(op, approval_vote(op, id, true, "seen and checked", NULL, &v, &err)), KMS_OK);
	assert_int_equal(v.counted, 1);
	assert_int_equal(v.vote_count, 1);
	guid_format(id, text);
	assert_true(t_leaf_says(&d, op->write.seq, text));
	assert_true(t_leaf_says(&d, op->write.seq, "\"step\":\"approve\""));
	assert_true(t_leaf_says(&d, op->write.seq, "\"reason\":\"seen and checked\""));
	assert_true(t_leaf_says(&d, op->write.seq, "\"type\":\"authz.approval\""));
	t_op_free(op);
	approval_view_clear(&v);
	rig_view(&d, "says", id, &v);
	assert_int_equal(v.vote_count, 1);
	assert_string_equal(v.votes[0].reason, "seen and checked");
	assert_memory_equal(v.votes[0].approver_id, a.id, STORE_ID_LEN);
	approval_view_clear(&v);
}

static void two_votes_of_one_approver_at_once_are_one(void **state)
{
	struct t_person a;
	struct approval_view v = { 0 };
	struct kms_err err = { 0 };
	uint8_t id[STORE_ID_LEN];
	struct op *first, *second;

	(void)state;
	rig_founded(&d, "race");
	a = t_person(&d, "race", "a", ROLE_APPROVER);
	rig_ask(&d, "race", &RIG_NEED, id);
	first = t_op_as(&d, &a, "race", EVENT_APPROVAL, 1);
	second = t_op_as(&d, &a, "race", EVENT_APPROVAL, 1);
	assert_int_equal(approval_vote(first, id, true, "", NULL, &v, &err), KMS_OK);
	approval_view_clear(&v);
	assert_int_equal(approval_vote(second, id, true, "", NULL, &v, &err), KMS_OK);
	approval_view_clear(&v);
	assert_true(first->is_sync && second->is_sync); /* the API answers what the writer said */
	assert_int_equal(t_op_finish(first, KMS_OK), KMS_OK);
	assert_int_equal(t_op_finish(second, KMS_OK), KMS_E_CONFLICT);
	t_op_free(first);
	t_op_free(second);
	assert_int_equal(rig_counted(&d, "race", id), 1);
}

static void votes_that_do_not_count_any_more_leave_room_for_a_denial(void **state)
{
	char name[16];
	struct t_person p = { 0 };
	struct kms_err err;
	struct approval_need all = RIG_NEED;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "full");
	all.quorum = STORE_APPROVERS_MAX;
	rig_ask(&d, "full", &all, id);
	for (int i = 0; i < STORE_APPROVERS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "p%d", i);
		p = t_person(&d, "full", name, ROLE_APPROVER);
		rig_vote(&d, &p, "full", id);
	}
	t_enable(&d, &p, false);
	rig_refused(&d, NULL, "full", &all);
	p = t_person(&d, "full", "late", ROLE_APPROVER);
	assert_int_equal(t_vote(&d, &p, "full", id, true, &err), KMS_E_CONFLICT);
	assert_int_equal(t_vote(&d, &p, "full", id, false, &err), KMS_OK);
	assert_int_equal(rig_state_of(&d, id), STORE_APPROVAL_DENIED);
}

/* ---- founding and the installation ---- */

static bool is_founded(const char *vault)
{
	struct store_vault v = { 0 };
	bool is = false;

	if (vault != NULL)
		assert_int_equal(store_vault_by_name(d.store->r, vault, &v, NULL), KMS_OK);
	assert_int_equal(approval_is_founded(d.store->r, vault != NULL ? &v : NULL, &is, NULL), KMS_OK);
	return is;
}

static void the_installation_decides_for_itself(void **state)
{
	struct approval_need need = RIG_NEED;
	struct t_person own, of_vault;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	/* The first of all tests: nobody of the installation may approve yet. */
	assert_false(is_founded(NULL));
	t_vault(&d, "earlier", false);
	(void)t_person(&d, "earlier", "alone", ROLE_APPROVER);
	assert_true(is_founded("earlier"));
	t_vault(&d, "seat", false);
	assert_int_equal(rig_act(&d, NULL, NULL, &RIG_NEED, &err), KMS_E_APPROVAL);
	assert_non_null(strstr(kms_err_text(&err), "Grant the role approver"));
	assert_false(t_open_request(&d, NULL, id));
	rig_refused(&d, NULL, "seat", &RIG_NEED);
	assert_false(t_open_request(&d, "seat", id)); /* nor in the vault */

	own = t_person(&d, NULL, "own", ROLE_APPROVER);
	assert_true(is_founded(NULL));
	/* Whoever makes the first approvers of the installation makes them alone: vaults that were founded before are none of theirs. */
	rig_refused(&d, NULL, "earlier", &RIG_NEED);
	assert_true(t_open_request(&d, "earlier", id));
	assert_int_equal(t_vote(&d, &own, "earlier", id, true, &err), KMS_E_FORBIDDEN);
	rig_force_vote(&d, &own, id);
	rig_refused(&d, NULL, "earlier", &RIG_NEED);
	assert_false(is_founded("seat"));
	rig_refused(&d, NULL, "seat", &RIG_NEED); /* not founded, but there is somebody who can be asked */
	assert_true(t_open_request(&d, "seat", id));
	rig_vote(&d, &own, "seat", id);
	rig_done(&d, NULL, "seat", &RIG_NEED);

	of_vault = t_person(&d, "seat", "of-vault", ROLE_ADMINISTRATOR);
	assert_true(is_founded("seat"));
	rig_refused(&d, NULL, "seat", &RIG_NEED); /* founded after it: the installation's approver still counts */
	assert_true(t_open_request(&d, "seat", id));
	rig_vote(&d, &own, "seat", id);
	rig_done(&d, NULL, "seat", &RIG_NEED);
	rig_refused(&d, NULL, NULL, &RIG_NEED);
	assert_true(t_open_request(&d, NULL, id));
	assert_int_equal(t_vote(&d, &of_vault, "seat", id, true, &err), KMS_E_NOTFOUND);
	rig_force_vote(&d, &of_vault, id);
	rig_refused(&d, NULL, NULL, &RIG_NEED);
	rig_vote(&d, &own, NULL, id);
	rig_done(&d, NULL, NULL, &RIG_NEED);

	/* What is asked for in a vault, but of the installation. */
	need.is_installations = true;
	rig_refused(&d, NULL, "seat", &need);
	assert_true(t_open_request(&d, NULL, id));
	assert_int_equal(t_vote(&d, &of_vault, "seat", id, true, &err), KMS_E_NOTFOUND);
	rig_vote(&d, &own, NULL, id);
	rig_refused(&d, NULL, "seat", &RIG_NEED);
	rig_done(&d, NULL, "seat", &need);
	t_role(&d, &own, ROLE_APPROVER, false);
	assert_true(is_founded(NULL)); /* never taken back */
	t_role(&d, &of_vault, ROLE_ADMINISTRATOR, false);
	assert_true(is_founded("seat"));
}

static void a_vault_is_founded_by_as_many_as_its_quorum(void **state)
{
	struct store_change c = { .kind = STORE_VAULT_SET };
	struct t_person group, inner;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];
	struct op *op;

	(void)state;
	t_vault(&d, "found", false);
	op = rig_op_of(&d, NULL, "found");
	c.vault = op->vault;
	c.vault.quorum = 3;
	t_op_free(op);
	t_change(&d, &c, 1);
	group = t_group(&d, "found", "group", 0);
	inner = t_group(&d, "found", "inner", 0);
	t_member(&d, &group, &inner, true);
	(void)t_person(&d, "found", "one", ROLE_APPROVER);
	assert_false(is_founded("found"));
	assert_int_equal(rig_act(&d, NULL, "found", &(struct approval_need){ .act = "a", .target = "t", .quorum = 3 }, &err), KMS_E_APPROVAL);
	assert_non_null(strstr(kms_err_text(&err), "only 1 may approve"));
	assert_false(t_open_request(&d, "found", id));
	{
		struct t_person two = t_person(&d, "found", "two", 0), off = t_person(&d, "found", "off", 0);
		t_enable(&d, &off, false);
		t_member(&d, &inner, &two, true);
		t_member(&d, &inner, &off, true);
	}
	t_role(&d, &group, ROLE_APPROVER, true); /* those in it, however deep, but not who is disabled */
	assert_false(is_founded("found"));
	(void)t_person(&d, "found", "three", ROLE_ADMINISTRATOR);
	assert_true(is_founded("found"));
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
		cmocka_unit_test(a_role_of_the_installation_is_no_vote_in_a_founded_vault),
		cmocka_unit_test(the_installation_decides_for_itself),
		cmocka_unit_test(nobody_counts_twice),
		cmocka_unit_test(the_requester_never_counts),
		cmocka_unit_test(nobody_of_another_vault_counts),
		cmocka_unit_test(who_may_not_approve_does_not),
		cmocka_unit_test(who_lost_the_right_does_not_count_until_he_has_it_again),
		cmocka_unit_test(a_role_that_has_ended_does_not_count),
		cmocka_unit_test(what_is_lost_between_check_and_commit_is_found_by_the_fence),
		cmocka_unit_test(the_larger_quorum_counts),
		cmocka_unit_test(an_approver_has_just_shown_who_he_is),
		cmocka_unit_test(a_vote_is_an_event_that_says_on_what),
		cmocka_unit_test(two_votes_of_one_approver_at_once_are_one),
		cmocka_unit_test(votes_that_do_not_count_any_more_leave_room_for_a_denial),
		cmocka_unit_test(a_vault_is_founded_by_as_many_as_its_quorum),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
