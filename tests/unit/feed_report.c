/* tests/unit/feed_report.c - what reports go by: quarters, what is overdue, what a leaf took away, whose key an address names, and where a page ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/key.h"
#include "server/feed/report.h"

#define DAY_S INT64_C(86400)
#define US INT64_C(1000000)
#define NOW_S INT64_C(1790000000)
#define DOMAIN "kms.example.com"
#define VERSION "00112233445566778899aabbccddeeff"

static void a_quarter_begins_and_ends_with_its_months(void **state)
{
	static const struct {
		int64_t s;
		const char *quarter;
	} CASES[] = {
		{ 0, "1970-Q1" }, { 1767225599, "2025-Q4" }, { 1767225600, "2026-Q1" }, { 1775001599, "2026-Q1" }, { 1775001600, "2026-Q2" },
		{ 1782864000, "2026-Q3" }, { 1790812800, "2026-Q4" }, { 1709251199, "2024-Q1" },
	};
	char text[REPORT_QUARTER_MAX];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++)
		assert_string_equal(report_quarter(CASES[i].s * US, text), CASES[i].quarter);
	assert_string_equal(report_quarter(1767225600 * US - 1, text), "2025-Q4");
}

/* ---- overdue ---- */

static struct store_version made(int64_t days_ago, int64_t expires_in_days)
{
	return (struct store_version){ .created_s = NOW_S - days_ago * DAY_S, .exp_s = expires_in_days != 0 ? NOW_S + expires_in_days * DAY_S : STORE_NO_TIME,
		                       .nbf_s = STORE_NO_TIME, .is_enabled = true };
}

static void a_key_is_overdue_by_its_policy_and_without_one_by_its_age(void **state)
{
	static const struct {
		const char *after, *before;
		int64_t age, ends_in, max_age;
		enum report_basis basis;
		int64_t due_days; /* from now on */
	} CASES[] = {
		{ "P30D", "", 31, 0, 365, REPORT_BY_POLICY, -1 },
		{ "P30D", "", 29, 0, 365, REPORT_NOT_DUE, 0 },
		{ "P30D", "", 30, 0, 365, REPORT_NOT_DUE, 0 }, /* at that moment the scheduler acts: not late yet */
		{ "P600D", "", 400, 0, 365, REPORT_NOT_DUE, 0 }, /* the policy says so, whatever the age */
		{ "", "P10D", 100, 9, 365, REPORT_BY_POLICY, -1 },
		{ "", "P10D", 100, 11, 365, REPORT_NOT_DUE, 0 },
		{ "", "P10D", 400, 0, 365, REPORT_BY_AGE, -35 }, /* before an end that there is not */
		{ "P90D", "P10D", 100, 30, 365, REPORT_BY_POLICY, -10 }, /* the earlier of both */
		{ "P90D", "P10D", 50, 5, 365, REPORT_BY_POLICY, -5 },
		{ "", "", 366, 0, 365, REPORT_BY_AGE, -1 },
		{ "", "", 365, 0, 365, REPORT_NOT_DUE, 0 },
		{ "", "", 99999, 0, 0, REPORT_NOT_DUE, 0 }, /* age does not matter */
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct store_policy p = { 0 };
		struct store_version v = made(CASES[i].age, CASES[i].ends_in);
		int64_t due_s = -1;
		(void)snprintf(p.rotate_after_create, sizeof(p.rotate_after_create), "%s", CASES[i].after);
		(void)snprintf(p.rotate_before_expiry, sizeof(p.rotate_before_expiry), "%s", CASES[i].before);
		if (report_overdue(&p, &v, CASES[i].max_age * DAY_S, NOW_S, &due_s) != CASES[i].basis)
			fail_msg("case %zu", i);
		if (CASES[i].basis != REPORT_NOT_DUE)
			assert_int_equal((due_s - NOW_S) / DAY_S, CASES[i].due_days);
		assert_int_equal(report_rotates(&p), CASES[i].after[0] != '\0' || CASES[i].before[0] != '\0');
	}
}

static void the_state_of_a_version_is_the_gravest(void **state)
{
	struct store_version v = made(10, 10);

	(void)state;
	assert_string_equal(report_version_state(&v, NOW_S), "enabled");
	v.nbf_s = NOW_S + 1;
	assert_string_equal(report_version_state(&v, NOW_S), "not_yet_valid");
	assert_string_equal(report_version_state(&v, NOW_S + 1), "enabled");
	v.nbf_s = STORE_NO_TIME;
	v.exp_s = NOW_S;
	assert_string_equal(report_version_state(&v, NOW_S), "expired");
	assert_string_equal(report_version_state(&v, NOW_S - 1), "enabled");
	v.is_enabled = false;
	assert_string_equal(report_version_state(&v, NOW_S), "disabled");
	v.revoked = REVOKE_COMPROMISE;
	assert_string_equal(report_version_state(&v, NOW_S), "revoked");
}

/* ---- revocations ---- */

static const char *taken(enum event_type type, enum event_phase phase, enum event_result result, const char *det, int64_t *ret_us)
{
	struct leaf l = { .type = type, .phase = phase, .result = result };
	json_t *parsed = json_loads(det, 0, NULL);
	const char *what = NULL;
	static char copy[64];

	l.det = parsed;
	what = report_revocation(&l, ret_us);
	(void)snprintf(copy, sizeof(copy), "%s", what != NULL ? what : "");
	json_decref(parsed);
	return copy;
}

static void only_what_took_something_away_is_a_revocation(void **state)
{
	static const struct {
		enum event_type type;
		const char *det, *what;
		int64_t us;
	} CASES[] = {
		{ EVENT_KEY_REVOKE, "{\"act\":\"revoke\",\"took_us\":1200}", "key_revoke", 1200 },
		{ EVENT_KEY_REVOKE, "{\"act\":\"revoke\"}", "key_revoke", -1 }, /* of an older server */
		{ EVENT_KEY_REVOKE, "{\"act\":\"reinstate\"}", "", -1 },
		{ EVENT_KEY_UPDATE, "{\"enabled\":\"false\",\"took_us\":5}", "key_disable", 5 },
		{ EVENT_KEY_UPDATE, "{\"enabled\":\"true\"}", "", -1 },
		{ EVENT_KEY_UPDATE, "{\"act\":\"rotation policy\"}", "", -1 },
		{ EVENT_KEY_DELETE, "{\"took_us\":0}", "key_delete", 0 },
		{ EVENT_ROLE_REVOKE, "{\"took_us\":7}", "role_remove", 7 },
		{ EVENT_PRINCIPAL, "{\"act\":\"principal_disable\",\"took_us\":9}", "principal_disable", 9 },
		{ EVENT_PRINCIPAL, "{\"act\":\"principal_create\"}", "", -1 },
		{ EVENT_TENANT_LOCK, "{\"took_us\":3}", "vault_lock", 3 },
		{ EVENT_EKM_RETIRE, "{}", "external_key_retire", -1 },
		{ EVENT_KEY_CREATE, "{\"took_us\":3}", "", 3 },
		{ EVENT_KEY_REVOKE, "{\"act\":\"revoke\",\"took_us\":\"soon\"}", "key_revoke", -1 },
	};
	int64_t us = 0;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		assert_string_equal(taken(CASES[i].type, EVENT_SINGLE, EVENT_OK, CASES[i].det, &us), CASES[i].what);
		assert_int_equal(us, CASES[i].us);
		assert_string_equal(taken(CASES[i].type, EVENT_SINGLE, EVENT_REFUSED, CASES[i].det, &us), "");
		assert_string_equal(taken(CASES[i].type, EVENT_INTENT, EVENT_PENDING, CASES[i].det, &us), "");
	}
}

/* ---- addresses of keys ---- */

static void hosts_are_compared_whole(void **state)
{
	static const struct {
		const char *kid;
		enum report_kid_kind kind;
	} CASES[] = {
		{ "https://orders.kms.example.com/keys/k1", REPORT_KID_OURS }, { "https://ORDERS.KMS.Example.com/keys/k1", REPORT_KID_OURS },
		{ "https://orders.kms.example.com/keys/k1/", REPORT_KID_OURS }, { "https://orders.kms.example.com/keys/k1/" VERSION, REPORT_KID_OURS },
		{ "https://orders.kms.example.com:443/keys/k1", REPORT_KID_OURS }, { "https://orders.kms.example.com:8443/keys/k1", REPORT_KID_OURS },
		{ "https://orders.kms.example.com:8444/keys/k1", REPORT_KID_INVALID }, { "https://orders.kms.example.com:/keys/k1", REPORT_KID_INVALID },
		{ "https://orders.kms.example.com:8443x/keys/k1", REPORT_KID_INVALID },
		{ "https://orders.vault.azure.net/keys/k1", REPORT_KID_FOREIGN }, { "https://orders.managedhsm.azure.net/keys/k1", REPORT_KID_FOREIGN },
		{ "https://orders.kms.example.com.evil.net/keys/k1", REPORT_KID_FOREIGN }, { "https://orders.evilkms.example.com/keys/k1", REPORT_KID_FOREIGN },
		{ "https://a.orders.kms.example.com/keys/k1", REPORT_KID_FOREIGN }, { "https://kms.example.com/keys/k1", REPORT_KID_FOREIGN },
		{ "https://.kms.example.com/keys/k1", REPORT_KID_FOREIGN }, { "https://orders-kms.example.com/keys/k1", REPORT_KID_FOREIGN },
		{ "https://orders.kms.example.com@evil.net/keys/k1", REPORT_KID_INVALID }, { "https://evil@orders.kms.example.com/keys/k1", REPORT_KID_INVALID },
		{ "https://evil.net?.kms.example.com/keys/k1", REPORT_KID_INVALID }, { "https://evil.net#.kms.example.com/keys/k1", REPORT_KID_INVALID },
		{ "http://orders.kms.example.com/keys/k1", REPORT_KID_INVALID }, { "orders.kms.example.com/keys/k1", REPORT_KID_INVALID }, { "", REPORT_KID_INVALID },
		{ "https://", REPORT_KID_INVALID }, { "https://orders.kms.example.com", REPORT_KID_INVALID }, { "https://orders.kms.example.com/", REPORT_KID_INVALID },
		{ "https://orders.kms.example.com/secrets/k1", REPORT_KID_INVALID }, { "https://orders.kms.example.com/keys/", REPORT_KID_INVALID },
		{ "https://orders.kms.example.com/keys/k_1", REPORT_KID_INVALID }, { "https://orders.kms.example.com/keys/k1/0123", REPORT_KID_INVALID },
		{ "https://orders.kms.example.com/keys/k1/" VERSION "/x", REPORT_KID_INVALID },
		{ "https://abcdefghijklmnopqrstuvwxyz.kms.example.com/keys/k1", REPORT_KID_FOREIGN }, /* longer than a vault's name can be */
	};
	struct report_kid kid;
	char longest[STORE_KEY_NAME_MAX + 64];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		if (report_kid_parse(CASES[i].kid, DOMAIN, 8443, &kid) != CASES[i].kind)
			fail_msg("%s", CASES[i].kid);
		if (CASES[i].kind == REPORT_KID_OURS) {
			assert_string_equal(kid.vault, "orders");
			assert_string_equal(kid.key, "k1");
			assert_int_equal(kid.has_version, strstr(CASES[i].kid, VERSION) != NULL);
		}
	}
	(void)snprintf(longest, sizeof(longest), "https://orders.kms.example.com/keys/%0*d", STORE_KEY_NAME_MAX, 0);
	assert_int_equal(report_kid_parse(longest, DOMAIN, 443, &kid), REPORT_KID_OURS);
	(void)snprintf(longest, sizeof(longest), "https://orders.kms.example.com/keys/%0*d", STORE_KEY_NAME_MAX + 1, 0);
	assert_int_equal(report_kid_parse(longest, DOMAIN, 443, &kid), REPORT_KID_INVALID);
}

/* ---- where a page ended ---- */

static void a_place_comes_back_as_it_was_and_nothing_else_is_one(void **state)
{
	static const struct report_place PLACES[] = { { .vault = "orders", .key = "k1" }, { .vault = "orders" }, { .vault = "abcdefghijklmnopqrstuvwx", .key = "K-9" },
		                                      { .vault = "orders", .key = "k1", .is_within = true, .seq = 77 } };
	static const char *const OTHERS[] = { "", "k", "!!!!", "b3JkZXJzL2sx", "a29yZGVycw", "ay9rMQ", "a28vQDc", "a28vazFA", "a28vazFALTc" }; /* orders/k1, korders, k/k1, ko/@7, ko/k1@, ko/k1@-7 */
	struct report_place p = { 0 }, longest = { .vault = "abcdefghijklmnopqrstuvwx", .is_within = true, .seq = STORE_SEQ_MAX };
	char cursor[REPORT_CURSOR_MAX];
	uint64_t seq = 0;

	(void)state;
	memset(longest.key, 'k', STORE_KEY_NAME_MAX);
	for (size_t i = 0; i <= KMS_ARRAY_LEN(PLACES); i++) {
		const struct report_place *one = i < KMS_ARRAY_LEN(PLACES) ? &PLACES[i] : &longest;
		report_place_format(one, cursor);
		assert_true(report_place_parse(cursor, &p));
		assert_string_equal(p.vault, one->vault);
		assert_string_equal(p.key, one->key);
		assert_true(p.is_within == one->is_within && p.seq == one->seq);
		assert_false(report_seq_parse(cursor, &seq));
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(OTHERS); i++)
		assert_false(report_place_parse(OTHERS[i], &p));
	report_seq_format(STORE_SEQ_MAX, cursor);
	assert_true(report_seq_parse(cursor, &seq));
	assert_int_equal(seq, STORE_SEQ_MAX);
	assert_false(report_place_parse(cursor, &p));
	assert_false(report_seq_parse("c3g", &seq)); /* "sx" */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quarter_begins_and_ends_with_its_months),
		cmocka_unit_test(a_key_is_overdue_by_its_policy_and_without_one_by_its_age),
		cmocka_unit_test(the_state_of_a_version_is_the_gravest),
		cmocka_unit_test(only_what_took_something_away_is_a_revocation),
		cmocka_unit_test(hosts_are_compared_whole),
		cmocka_unit_test(a_place_comes_back_as_it_was_and_nothing_else_is_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
