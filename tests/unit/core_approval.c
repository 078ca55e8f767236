/* tests/unit/core_approval.c - several people for what cannot be undone: who counts, what for, for how long; on a real token and database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "server/base/encode.h"
#include "tests/support/approval_rig.h"

static struct t_domain d;

/* ---- the request ---- */

static void nothing_happens_without_approval_but_a_request_that_says_exactly_what(void **state)
{
	struct approval_view v = { 0 };
	struct kms_err err;
	uint8_t id[STORE_ID_LEN], digest[STORE_HASH_LEN];
	char text[GUID_TEXT_LEN + 1], vault_id[GUID_TEXT_LEN + 1], expected[512];
	uint64_t size = 0;

	(void)state;
	rig_founded(&d, "asks");
	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	assert_int_equal(rig_act(&d, NULL, "asks", &RIG_NEED, &err), KMS_E_APPROVAL);
	assert_true(t_open_request(&d, "asks", id));
	guid_format(id, text);
	assert_non_null(strstr(kms_err_text(&err), text));
	assert_non_null(strstr(kms_err_text(&err), "approval of 1 other person and has 0"));
	assert_non_null(strstr(kms_err_text(&err), "holdfast approval approve asks "));
	assert_true(t_leaf_says(&d, size, "\"type\":\"authz.approval\""));
	assert_true(t_leaf_says(&d, size, "\"phase\":\"single\",\"result\":\"ok\""));
	assert_true(t_leaf_says(&d, size, "\"act\":\"test.act\""));
	assert_true(t_leaf_says(&d, size, "\"target\":\"thing\""));
	assert_true(t_leaf_says(&d, size, text));
	assert_true(t_leaf_says(&d, size + 1, text)); /* what was refused names it too */

	rig_view(&d, "asks", id, &v);
	guid_format(v.approval.vault_id, vault_id);
	(void)snprintf(expected, sizeof(expected),
	               "{\"act\":\"test.act\",\"parameters\":{\"size\":1},\"requester\":\"uid:0\",\"target\":\"thing\",\"vault\":\"%s\"}", vault_id);
	assert_string_equal(v.approval.request, expected);
	SHA256((const uint8_t *)expected, strlen(expected), digest);
	assert_memory_equal(v.approval.digest, digest, sizeof(digest));
	assert_string_equal(v.approval.act, "test.act");
	assert_string_equal(v.approval.reason, "spring cleaning");
	assert_int_equal(v.approval.expires_s, v.approval.created_s + APPROVAL_LIFE_S);
	assert_int_equal(v.needed, 1);
	assert_int_equal(v.counted, 0);
	assert_int_equal(v.vote_count, 0);
	assert_false(v.has_ended);
	approval_requester_text(v.approval.requester, text);
	assert_string_equal(text, "uid:0");
	approval_view_clear(&v);

	rig_refused(&d, NULL, "asks", &RIG_NEED);
	assert_true(t_open_request(&d, "asks", id)); /* still the one */
}

static void zero_approvals_never_pass(void **state)
{
	struct approval_need none = RIG_NEED, many = RIG_NEED;
	struct t_person a;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "zero");
	a = t_person(&d, "zero", "a", ROLE_APPROVER);
	none.quorum = 0;
	rig_ask(&d, "zero", &none, id);
	rig_refused(&d, NULL, "zero", &none);
	rig_vote(&d, &a, "zero", id);
	rig_done(&d, NULL, "zero", &none);
	many.quorum = STORE_APPROVERS_MAX + 1;
	assert_int_equal(rig_act(&d, NULL, "zero", &many, &err), KMS_E_INTERNAL);
}

static void an_approval_is_used_once(void **state)
{
	struct t_person a;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN], next[STORE_ID_LEN];
	struct op *first, *second;

	(void)state;
	rig_founded(&d, "once");
	a = t_person(&d, "once", "a", ROLE_APPROVER);
	rig_ask(&d, "once", &RIG_NEED, id);
	rig_vote(&d, &a, "once", id);
	/* Two at once: both find it, one gets it. */
	first = rig_op_of(&d, NULL, "once");
	second = rig_op_of(&d, NULL, "once");
	assert_int_equal(approval_require(first, &RIG_NEED, &err), KMS_OK);
	assert_int_equal(approval_require(second, &RIG_NEED, &err), KMS_OK);
	assert_int_equal(rig_intend(first), KMS_OK);
	assert_int_equal(rig_intend(second), KMS_E_FENCED);
	assert_int_equal(t_op_finish(first, KMS_OK), KMS_OK);
	{
		char text[GUID_TEXT_LEN + 1], member[80];
		guid_format(id, text);
		(void)snprintf(member, sizeof(member), "\"approval\":\"%s\",\"approvers\":1", text);
		assert_true(t_leaf_says(&d, first->write.event.ref, member));
		assert_true(t_leaf_says(&d, first->write.seq, member));
	}
	t_op_free(first);
	t_op_free(second);
	assert_int_equal(rig_state_of(&d, id), STORE_APPROVAL_USED);
	rig_ask(&d, "once", &RIG_NEED, next);
	assert_memory_not_equal(next, id, STORE_ID_LEN);
	assert_int_equal(t_vote(&d, &a, "once", id, true, &err), KMS_E_CONFLICT);
	rig_refused(&d, NULL, "once", &RIG_NEED);
}

static void an_approval_holds_for_exactly_what_was_asked(void **state)
{
	struct approval_need other[4] = { RIG_NEED, RIG_NEED, RIG_NEED, RIG_NEED };
	struct t_person a, officer;
	uint8_t id[STORE_ID_LEN], found[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "exact");
	a = t_person(&d, "exact", "a", ROLE_APPROVER);
	officer = t_person(&d, "exact", "officer", ROLE_CRYPTO_OFFICER);
	rig_ask(&d, "exact", &RIG_NEED, id);
	rig_vote(&d, &a, "exact", id);
	other[0].parameters = "{\"size\":2}"; /* one byte */
	other[1].target = "thinG";
	other[2].act = "test.acu";
	other[3].parameters = NULL;
	for (size_t i = 0; i < KMS_ARRAY_LEN(other); i++) {
		rig_refused(&d, NULL, "exact", &other[i]);
		assert_false(t_open_request(&d, "exact", found)); /* one more */
	}
	rig_refused(&d, &officer, "exact", &RIG_NEED); /* somebody else asks */
	t_vault(&d, "exact-2", false);
	(void)t_person(&d, "exact-2", "founder", ROLE_APPROVER);
	rig_refused(&d, NULL, "exact-2", &RIG_NEED); /* another vault */
	rig_done(&d, NULL, "exact", &RIG_NEED);
}

static void the_reason_binds_nobody(void **state)
{
	struct approval_need other = RIG_NEED;
	char long_reason[STORE_REASON_MAX + 2];
	struct t_person a;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "reason");
	a = t_person(&d, "reason", "a", ROLE_APPROVER);
	rig_ask(&d, "reason", &RIG_NEED, id);
	other.reason = "something else";
	rig_refused(&d, NULL, "reason", &other);
	assert_true(t_open_request(&d, "reason", id));
	rig_vote(&d, &a, "reason", id);
	other.reason = NULL;
	rig_done(&d, NULL, "reason", &other);
	memset(long_reason, 'x', sizeof(long_reason) - 1);
	long_reason[sizeof(long_reason) - 1] = '\0';
	other.reason = long_reason;
	assert_int_equal(rig_act(&d, NULL, "reason", &other, &err), KMS_E_INVALID);
	long_reason[STORE_REASON_MAX] = '\0';
	rig_refused(&d, NULL, "reason", &other);
}

static void what_is_too_long_to_be_shown_whole_cannot_be_asked_for(void **state)
{
	struct approval_need other = RIG_NEED;
	static char target[1024], parameters[STORE_REQUEST_TEXT_MAX];
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "long");
	memset(target, 't', sizeof(target) - 1);
	other.target = target;
	assert_int_equal(rig_act(&d, NULL, "long", &other, &err), KMS_E_INTERNAL);
	(void)snprintf(parameters, sizeof(parameters), "{\"x\":\"%01960d\"}", 7);
	other.target = "t";
	other.parameters = parameters;
	assert_int_equal(rig_act(&d, NULL, "long", &other, &err), KMS_E_INTERNAL);
	assert_false(t_open_request(&d, "long", id));
}

static void a_request_ends(void **state)
{
	struct t_person a;
	struct approval_view v = { 0 };
	struct kms_err err;
	uint8_t id[STORE_ID_LEN], next[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "ends");
	a = t_person(&d, "ends", "a", ROLE_APPROVER);
	rig_ask(&d, "ends", &RIG_NEED, id);
	t_domain_pass(APPROVAL_LIFE_S - 1);
	rig_vote(&d, &a, "ends", id);
	t_domain_pass(1);
	rig_view(&d, "ends", id, &v);
	assert_true(v.has_ended);
	assert_int_equal(v.counted, 1);
	approval_view_clear(&v);
	rig_ask(&d, "ends", &RIG_NEED, next); /* what was approved has ended: asked anew */
	assert_memory_not_equal(id, next, STORE_ID_LEN);
	assert_int_equal(rig_state_of(&d, id), STORE_APPROVAL_WITHDRAWN);
	rig_refused(&d, NULL, "ends", &RIG_NEED);
	t_domain_pass(APPROVAL_LIFE_S);
	assert_int_equal(t_vote(&d, &a, "ends", next, true, &err), KMS_E_CONFLICT);
}

static void a_denial_closes_the_request(void **state)
{
	struct t_person a, b, c;
	struct kms_err err;
	struct approval_need two = RIG_NEED;
	uint8_t id[STORE_ID_LEN], next[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "denied");
	a = t_person(&d, "denied", "a", ROLE_APPROVER);
	b = t_person(&d, "denied", "b", ROLE_APPROVER);
	c = t_person(&d, "denied", "c", ROLE_ADMINISTRATOR);
	rig_ask(&d, "denied", &RIG_NEED, id);
	rig_vote(&d, &a, "denied", id);
	assert_int_equal(t_vote(&d, &b, "denied", id, false, &err), KMS_OK);
	assert_int_equal(rig_state_of(&d, id), STORE_APPROVAL_DENIED);
	assert_int_equal(rig_counted(&d, "denied", id), 0);
	assert_int_equal(t_vote(&d, &c, "denied", id, true, &err), KMS_E_CONFLICT);
	rig_ask(&d, "denied", &RIG_NEED, next); /* although a had approved */
	assert_memory_not_equal(id, next, STORE_ID_LEN);
	two.quorum = 2;
	rig_refused(&d, NULL, "denied", &two);
}

static void only_the_requester_withdraws(void **state)
{
	struct t_person officer, a;
	struct approval_view v = { 0 };
	struct kms_err err = { 0 };
	uint8_t id[STORE_ID_LEN];
	struct op *op;

	(void)state;
	rig_founded(&d, "withdrawn");
	officer = t_person(&d, "withdrawn", "officer", ROLE_CRYPTO_OFFICER);
	a = t_person(&d, "withdrawn", "a", ROLE_APPROVER);
	rig_refused(&d, &officer, "withdrawn", &RIG_NEED);
	assert_true(t_open_request(&d, "withdrawn", id));
	rig_vote(&d, &a, "withdrawn", id);
	op = rig_op_of(&d, NULL, "withdrawn");
	assert_int_equal(approval_withdraw(op, id, &v, &err), KMS_E_FORBIDDEN);
	t_op_free(op);
	op = t_op_as(&d, &officer, "withdrawn", EVENT_APPROVAL, 3600);
	memset(&err, 0, sizeof(err));
	assert_int_equal(t_op_finish(op, approval_withdraw(op, id, &v, &err)), KMS_OK);
	assert_int_equal(v.approval.state, STORE_APPROVAL_WITHDRAWN);
	assert_true(t_leaf_says(&d, op->write.seq, "\"step\":\"withdraw\""));
	approval_view_clear(&v);
	t_op_free(op);
	assert_int_equal(rig_state_of(&d, id), STORE_APPROVAL_WITHDRAWN);
	rig_refused(&d, &officer, "withdrawn", &RIG_NEED);
}

static void there_are_not_more_open_requests_than_people_can_look_at(void **state)
{
	char text[32];
	struct approval_need need = RIG_NEED;
	struct t_person officer, reader;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	rig_founded(&d, "crowd");
	officer = t_person(&d, "crowd", "officer", ROLE_CRYPTO_OFFICER);
	reader = t_person(&d, "crowd", "reader", ROLE_READER);
	need.target = text;
	for (int i = 0; i < APPROVAL_OPEN_MAX / 2; i++) {
		(void)snprintf(text, sizeof(text), "%d", i);
		rig_refused(&d, NULL, "crowd", &need);
	}
	(void)snprintf(text, sizeof(text), "one more");
	assert_int_equal(rig_act(&d, NULL, "crowd", &need, &err), KMS_E_THROTTLED); /* no one takes all of the places */
	for (int i = 0; i < APPROVAL_OPEN_MAX / 2; i++) {
		(void)snprintf(text, sizeof(text), "%d", i);
		rig_refused(&d, &officer, "crowd", &need);
	}
	assert_int_equal(rig_act(&d, &reader, "crowd", &need, &err), KMS_E_THROTTLED);
	(void)snprintf(text, sizeof(text), "0");
	rig_refused(&d, NULL, "crowd", &need); /* one that is open is still found */
	t_domain_pass(APPROVAL_LIFE_S);
	rig_refused(&d, &reader, "crowd", &need);
	assert_true(t_open_request(&d, "crowd", id)); /* all that had ended were closed */
}

static void purges_leave_room_for_other_requests(void **state)
{
	const int purges = APPROVAL_OPEN_MAX * 4 / 5;
	char text[32];
	struct approval_need need = RIG_NEED;
	struct t_person officers[2];
	struct kms_err err;

	(void)state;
	rig_founded(&d, "purges");
	officers[0] = t_person(&d, "purges", "one", ROLE_CRYPTO_OFFICER);
	officers[1] = t_person(&d, "purges", "two", ROLE_CRYPTO_OFFICER);
	need.target = text;
	need.act = ACT_KEY_PURGE;
	for (int i = 0; i < purges; i++) {
		(void)snprintf(text, sizeof(text), "%d", i);
		rig_refused(&d, &officers[i % 2], "purges", &need);
	}
	(void)snprintf(text, sizeof(text), "one more");
	assert_int_equal(rig_act(&d, NULL, "purges", &need, &err), KMS_E_THROTTLED);
	assert_non_null(strstr(err.message, "purges"));
	need.act = RIG_NEED.act;
	rig_refused(&d, NULL, "purges", &need);
}

/* ---- crashes ---- */

static void a_crash_leaves_an_approval_open_or_used_but_never_both_ways(void **state)
{
	struct recovery_count count = { 0 };
	struct t_person a;
	struct kms_err err = { 0 };
	uint8_t id[STORE_ID_LEN];
	uint64_t size = 0;
	struct op *op;

	(void)state;
	rig_founded(&d, "crash");
	a = t_person(&d, "crash", "a", ROLE_APPROVER);
	rig_ask(&d, "crash", &RIG_NEED, id);
	rig_vote(&d, &a, "crash", id);
	op = rig_op_of(&d, NULL, "crash");
	assert_int_equal(approval_require(op, &RIG_NEED, &err), KMS_OK);
	t_op_free(op); /* before the intent */
	t_domain_restart(&d);
	assert_int_equal(rig_state_of(&d, id), STORE_APPROVAL_OPEN);
	op = rig_op_of(&d, NULL, "crash");
	assert_int_equal(approval_require(op, &RIG_NEED, &err), KMS_OK);
	assert_int_equal(rig_intend(op), KMS_OK);
	t_op_free(op); /* after the intent */
	t_domain_restart(&d);
	assert_int_equal(rig_state_of(&d, id), STORE_APPROVAL_USED);
	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_ALL, &count, &err), KMS_OK);
	assert_int_equal(count.settled, 1);
	assert_true(t_leaf_says(&d, size, "\"err\":\"Interrupted\""));
	rig_refused(&d, NULL, "crash", &RIG_NEED); /* asked anew */
}

/* ---- lists ---- */

static void pages_show_all_of_them_and_only_those_of_the_vault(void **state)
{
	char text[16];
	struct approval_need need = RIG_NEED;
	struct approval_view page[4] = { 0 };
	uint8_t after[STORE_ID_LEN], denied[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	struct t_person a;
	struct kms_err err = { 0 };
	size_t count = 0, seen = 0, open = 0;
	struct op *op;

	(void)state;
	rig_founded(&d, "pages");
	rig_founded(&d, "pages-2");
	a = t_person(&d, "pages", "a", ROLE_APPROVER);
	rig_ask(&d, "pages", &RIG_NEED, denied);
	assert_int_equal(t_vote(&d, &a, "pages", denied, false, &err), KMS_OK);
	rig_refused(&d, NULL, "pages-2", &RIG_NEED);
	need.target = text;
	for (int i = 0; i < 9; i++) {
		(void)snprintf(text, sizeof(text), "%d", i);
		rig_refused(&d, NULL, "pages", &need);
	}
	op = rig_op_of(&d, NULL, "pages");
	do {
		assert_int_equal(approval_page(op, cursor, false, page, 4, &count, &err), KMS_OK);
		for (size_t i = 0; i < count; i++) {
			seen++;
			open += page[i].approval.state == STORE_APPROVAL_OPEN;
			assert_int_equal(page[i].vote_count, page[i].approval.state == STORE_APPROVAL_OPEN ? 0 : 1);
			memcpy(after, page[i].approval.id, STORE_ID_LEN);
			approval_view_clear(&page[i]);
		}
		cursor = after;
	} while (count == 4);
	assert_int_equal(seen, 10);
	assert_int_equal(open, 9);
	assert_int_equal(approval_page(op, NULL, true, page, 4, &count, &err), KMS_OK);
	assert_int_equal(count, 4);
	for (size_t i = 0; i < count; i++)
		approval_view_clear(&page[i]);
	t_op_free(op);
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
		cmocka_unit_test(nothing_happens_without_approval_but_a_request_that_says_exactly_what),
		cmocka_unit_test(zero_approvals_never_pass),
		cmocka_unit_test(an_approval_is_used_once),
		cmocka_unit_test(an_approval_holds_for_exactly_what_was_asked),
		cmocka_unit_test(the_reason_binds_nobody),
		cmocka_unit_test(what_is_too_long_to_be_shown_whole_cannot_be_asked_for),
		cmocka_unit_test(a_request_ends),
		cmocka_unit_test(a_denial_closes_the_request),
		cmocka_unit_test(only_the_requester_withdraws),
		cmocka_unit_test(there_are_not_more_open_requests_than_people_can_look_at),
		cmocka_unit_test(purges_leave_room_for_other_requests),
		cmocka_unit_test(a_crash_leaves_an_approval_open_or_used_but_never_both_ways),
		cmocka_unit_test(pages_show_all_of_them_and_only_those_of_the_vault),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
