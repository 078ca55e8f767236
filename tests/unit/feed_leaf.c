/* Leaves read back: every type, every member, and whatever somebody may have written in their place. */
#include "server/feed/leaf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MINIMAL "\"phase\":\"single\",\"result\":\"ok\",\"seq\":7,\"type\":\"key.wrap\""

static struct store_event row_of(const char *text, size_t len)
{
	struct store_event e = { .seq = 7, .ts_us = 1800000000000000, .leaf = malloc(len + 1), .leaf_len = len };

	assert_non_null(e.leaf);
	memcpy(e.leaf, text, len);
	memset(e.id, 1, sizeof(e.id));
	memset(e.hash, 2, sizeof(e.hash));
	return e;
}

static kms_status read_text(const char *text, struct leaf *ret)
{
	struct store_event e = row_of(text, strlen(text));
	kms_status status = leaf_read(&e, ret, NULL);

	assert_true((e.leaf == NULL) == (status == KMS_OK)); /* taken, or left alone */
	store_event_clear(&e);
	return status;
}

static struct leaf encoded(const struct event *e)
{
	const struct event_stamp stamp = { .seq = 7, .ts_us = 1800000000000000, .node = "n" };
	char text[EVENT_LEAF_MAX];
	size_t len = event_encode(e, &stamp, text);
	struct store_event row = row_of(text, len);
	struct leaf l = { 0 };

	assert_int_equal(leaf_read(&row, &l, NULL), KMS_OK);
	assert_int_equal(l.text_len, len);
	assert_memory_equal(l.text, text, len);
	return l;
}

static void every_type_phase_and_result_is_read_back(void **state)
{
	(void)state;
	for (int t = EVENT_NONE + 1; t < EVENT_TYPE_COUNT; t++) {
		const struct event e = { .type = (enum event_type)t, .phase = (enum event_phase)(t % 3), .result = (enum event_result)(t % 5) };
		LEAF_AUTO l = encoded(&e);
		assert_int_equal(l.type, t);
		assert_string_equal(l.type_name, event_type_name(e.type));
		assert_int_equal(l.phase, e.phase);
		assert_int_equal(l.result, e.result);
		assert_int_equal(l.count, 1);
		assert_false(l.has_tenant || l.has_pid || l.has_ref || l.has_person || l.is_pruned);
		assert_string_equal(l.key_name, "");
		assert_null(l.det);
		assert_null(leaf_det_text(&l, "x"));
		assert_int_equal(leaf_det_number(&l, "x"), 0);
	}
}

static void every_member_is_read_back(void **state)
{
	struct event_det det[] = { { .name = "why", .text = "because" }, { .name = "odd", .text = "\xff" }, { .name = "n", .is_number = true, .number = -5 } };
	const struct event_approver approvers[2] = { { .cred = "jwt" }, { .cred = "jwt" } };
	struct event e = { .type = EVENT_KEY_WRAP, .result = EVENT_REFUSED, .has_ref = true, .ref = 3, .has_tenant = true, .tenant = { 1 }, .actor = EVENT_ACTOR_APP,
		           .auth = EVENT_AUTH_MTLS, .pid = { 9, 8 }, .role = "crypto-user", .key_name = "Master", .key_version = "00ff", .has_obj = true, .alg = "RSA-OAEP",
		           .req = "request", .corr = "corr\xfe", .http = 403, .err = "ForbiddenByRbac", .net_peer = "192.0.2.0/24", .net_tls = "1.3", .count = 12, .trace = "t",
		           .det = det, .det_count = 3, .approvers = approvers, .approver_count = 2 };
	(void)state;
	LEAF_AUTO l = encoded(&e);
	assert_true(l.has_ref && l.has_tenant && l.has_pid);
	assert_int_equal(l.ref, 3);
	assert_memory_equal(l.tenant, e.tenant, sizeof(e.tenant));
	assert_int_equal(l.actor, EVENT_ACTOR_APP);
	assert_string_equal(l.auth, "mtls");
	assert_memory_equal(l.pid, e.pid, sizeof(e.pid));
	assert_string_equal(l.role, "crypto-user");
	assert_string_equal(l.key_name, "Master");
	assert_string_equal(l.key_version, "00ff");
	assert_string_equal(l.alg, "RSA-OAEP");
	assert_string_equal(l.req, "request");
	assert_string_equal(l.corr, "Y29ycv4"); /* base64url: it was not UTF-8 */
	assert_int_equal(l.http, 403);
	assert_string_equal(l.err, "ForbiddenByRbac");
	assert_string_equal(l.peer, "192.0.2.0/24");
	assert_string_equal(l.tls, "1.3");
	assert_int_equal(l.count, 12);
	assert_string_equal(l.trace, "t");
	assert_int_equal(l.approver_count, 2);
	assert_string_equal(leaf_det_text(&l, "why"), "because");
	assert_string_equal(leaf_det_text(&l, "odd"), "_w");
	assert_null(leaf_det_text(&l, "n"));
	assert_int_equal(leaf_det_number(&l, "n"), -5);
	assert_int_equal(leaf_det_number(&l, "why"), 0);
	assert_int_equal(l.id[0], 1);
	assert_int_equal(l.hash[0], 2);
}

static void what_is_no_leaf_is_refused_and_left_alone(void **state)
{
	static const char *const TEXTS[] = { "{", "[]", "null", "7", "\"x\"", "{}", "{" MINIMAL "} x", "{" MINIMAL ",\"seq\":7}", "\xff\xfe",
		                             "{\"phase\":\"single\",\"result\":\"ok\",\"seq\":8,\"type\":\"key.wrap\"}", "{\"phase\":\"single\",\"result\":\"ok\",\"seq\":\"7\",\"type\":\"a\"}",
		                             "{\"phase\":\"twice\",\"result\":\"ok\",\"seq\":7,\"type\":\"key.wrap\"}", "{\"phase\":\"single\",\"result\":true,\"seq\":7,\"type\":\"key.wrap\"}",
		                             "{\"phase\":\"single\",\"result\":\"ok\",\"seq\":7,\"type\":\"\"}", "{" MINIMAL ",\"req\":\"a\\u0000b\"}" };
	struct leaf l = { 0 };
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(TEXTS); i++)
		if (read_text(TEXTS[i], &l) != KMS_E_INTEGRITY)
			fail_msg("%s was read", TEXTS[i]);
	char *deep = malloc(STORE_LEAF_MAX + 2);
	assert_non_null(deep);
	memset(deep, '[', STORE_LEAF_MAX + 1);
	deep[STORE_LEAF_MAX] = '\0';
	assert_int_equal(read_text(deep, &l), KMS_E_INTEGRITY);
	deep[STORE_LEAF_MAX] = '[';
	deep[STORE_LEAF_MAX + 1] = '\0';
	assert_int_equal(read_text(deep, &l), KMS_E_INTEGRITY);
	free(deep);
}

static void members_of_a_wrong_kind_count_as_not_there(void **state)
{
	(void)state;
	LEAF_AUTO l = { 0 };
	assert_int_equal(read_text("{\"actor\":[],\"appr\":{},\"corr\":5,\"count\":-1,\"det\":[1],\"http\":\"403\",\"key\":7,\"net\":null,\"pii\":{\"ref\":-4},\"ref\":\"x\","
	                           "\"req\":{},\"tenant\":\"no guid\"," MINIMAL "}", &l), KMS_OK);
	assert_int_equal(l.actor, EVENT_ACTOR_NONE);
	assert_int_equal(l.count, 1);
	assert_int_equal(l.http, 0);
	assert_null(l.det);
	assert_string_equal(l.key_name, "");
	assert_string_equal(l.corr, "");
	assert_string_equal(l.req, "");
	assert_string_equal(l.peer, "");
	assert_false(l.has_person || l.has_ref || l.has_tenant || l.has_pid);
	leaf_clear(&l);
	assert_int_equal(read_text("{\"actor\":{\"kind\":\"ghost\",\"pid\":\"AAAA\"},\"pii\":{\"com\":\"x\",\"ref\":77},\"phase\":\"single\",\"result\":\"ok\",\"seq\":7,\"type\":\"key.dance\"}", &l),
	                 KMS_OK);
	assert_int_equal(l.type, EVENT_NONE); /* of a later holdfastd */
	assert_string_equal(l.type_name, "key.dance");
	assert_false(l.has_pid);
	assert_true(l.has_person);
	assert_int_equal(l.person_ref, 77);
}

static void a_leaf_without_a_body_keeps_what_the_row_says(void **state)
{
	struct store_event e = { .seq = 9, .ts_us = 5, .id = { 4 }, .vault_id = { 3 }, .hash = { 2 } };
	(void)state;
	LEAF_AUTO l = { 0 };
	assert_int_equal(leaf_read(&e, &l, NULL), KMS_OK);
	assert_true(l.is_pruned && l.has_tenant);
	assert_int_equal(l.seq, 9);
	assert_int_equal(l.ts_us, 5);
	assert_int_equal(l.tenant[0], 3);
	assert_int_equal(l.text_len, 0);
	assert_string_equal(l.key_name, "");
	assert_int_equal(l.type, EVENT_NONE);
	assert_false(l.is_damaged);
}

static void results_are_named_as_in_leaves(void **state)
{
	enum event_result result = EVENT_OK;
	(void)state;
	for (int r = EVENT_OK; r <= EVENT_UNKNOWN; r++) {
		assert_true(leaf_result_parse(leaf_result_name((enum event_result)r), &result));
		assert_int_equal(result, r);
	}
	assert_false(leaf_result_parse("OK", &result));
	assert_false(leaf_result_parse("", &result));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_phase_and_result_is_read_back), cmocka_unit_test(every_member_is_read_back),
		cmocka_unit_test(what_is_no_leaf_is_refused_and_left_alone), cmocka_unit_test(members_of_a_wrong_kind_count_as_not_there),
		cmocka_unit_test(a_leaf_without_a_body_keeps_what_the_row_says), cmocka_unit_test(results_are_named_as_in_leaves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
