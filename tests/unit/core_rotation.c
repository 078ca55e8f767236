/* tests/unit/core_rotation.c - rotation policies (keyvault-keys.md 11.2) and rotation itself (11.3) on a real token and database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/domain.h"

#define DAY_S 86400

static struct t_domain d;

static kms_status set(const char *key, struct store_policy *policy, struct kms_err *err)
{
	struct op *op = t_op(&d, "rotating", EVENT_KEY_UPDATE);
	kms_status status = KMS_OK;

	memset(err, 0, sizeof(*err));
	status = keyring_set_rotation(op, key, policy, err);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static struct store_policy get(const char *key)
{
	struct op *op = t_op(&d, "rotating", EVENT_KEY_GET);
	struct store_policy policy = { 0 };
	struct kms_err err = { 0 };

	assert_int_equal(keyring_get_rotation(op, key, &policy, &err), KMS_OK);
	t_op_free(op);
	return policy;
}

static void a_new_key_is_notified_thirty_days_before_it_expires(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct store_policy policy;

	(void)state;
	t_key(&d, "rotating", "plain", KEY_EC, obj);
	policy = get("plain");
	assert_string_equal(policy.notify_before_expiry, "P30D");
	assert_string_equal(policy.rotate_after_create, "");
	assert_string_equal(policy.rotate_before_expiry, "");
	assert_string_equal(policy.expiry_time, "");
	assert_int_not_equal(policy.created_s, 0);
	assert_int_equal(policy.created_s, policy.updated_s);
}

static void a_policy_without_a_notification_gets_the_default_one(void **state)
{
	struct store_policy rotate = { .rotate_after_create = "P90D" }, empty = { 0 }, got;
	int64_t created_s = 0;
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err;

	(void)state;
	t_key(&d, "rotating", "defaults", KEY_EC, obj);
	created_s = get("defaults").created_s;
	t_domain_pass(60);
	assert_int_equal(set("defaults", &rotate, &err), KMS_OK);
	assert_string_equal(rotate.notify_before_expiry, "P30D");
	got = get("defaults");
	assert_string_equal(got.rotate_after_create, "P90D");
	assert_string_equal(got.notify_before_expiry, "P30D");
	assert_int_equal(got.created_s, created_s);
	assert_int_equal(got.updated_s, created_s + 60);
	assert_int_equal(rotate.created_s, got.created_s); /* what the answer shows is what is stored */
	assert_int_equal(set("defaults", &empty, &err), KMS_OK);
	got = get("defaults");
	assert_string_equal(got.rotate_after_create, "");
	assert_string_equal(got.notify_before_expiry, "P30D");
}

static void the_rules_of_a_policy(void **state)
{
	static const struct {
		struct store_policy policy;
		const char *says; /* NULL = good */
	} CASES[] = {
		{ { .expiry_time = "P28D" }, NULL },
		{ { .expiry_time = "P27D" }, "attributes.expiryTime: must be at least 28 days" },
		{ { .expiry_time = "P27DT23H59M59S" }, "attributes.expiryTime" },
		{ { .expiry_time = "28 days" }, "attributes.expiryTime: must be an ISO 8601 duration" },
		{ { .rotate_after_create = "P7D" }, NULL },
		{ { .rotate_after_create = "PT167H" }, "Rotate, timeAfterCreate: must be at least 7 days" },
		{ { .rotate_after_create = "PX" }, "Rotate, timeAfterCreate: must be an ISO 8601 duration" },
		{ { .rotate_before_expiry = "P30D" }, "needs attributes.expiryTime" },
		{ { .rotate_before_expiry = "P30D", .expiry_time = "P1Y" }, NULL },
		{ { .rotate_before_expiry = "P7D", .expiry_time = "P28D" }, NULL },
		{ { .rotate_before_expiry = "P6D", .expiry_time = "P28D" }, "Rotate, timeBeforeExpiry: must be at least 7 days" },
		{ { .rotate_before_expiry = "P21D", .expiry_time = "P28D" }, NULL },
		{ { .rotate_before_expiry = "P22D", .expiry_time = "P28D" }, "at least 7 days after creation" },
		{ { .rotate_before_expiry = "P7D", .rotate_after_create = "P7D", .expiry_time = "P1Y" }, "one trigger" },
		{ { .notify_before_expiry = "P1D" }, NULL },
		{ { .notify_before_expiry = "PT0S" }, "Notify, timeBeforeExpiry: must be longer than nothing" },
		{ { .notify_before_expiry = "tomorrow" }, "Notify, timeBeforeExpiry" },
		{ { .rotate_after_create = "P18M", .notify_before_expiry = "P30D", .expiry_time = "P2Y" }, NULL },
	};
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err;

	(void)state;
	t_key(&d, "rotating", "rules", KEY_EC, obj);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct store_policy before = get("rules"), policy = CASES[i].policy, after;
		kms_status status = set("rules", &policy, &err);
		if (CASES[i].says == NULL) {
			assert_int_equal(status, KMS_OK);
			continue;
		}
		assert_int_equal(status, KMS_E_INVALID);
		assert_non_null(strstr(err.message, CASES[i].says));
		after = get("rules");
		assert_string_equal(after.expiry_time, before.expiry_time); /* a refused one changes nothing */
		assert_string_equal(after.rotate_after_create, before.rotate_after_create);
	}
}

static void policies_of_keys_that_are_not_there(void **state)
{
	struct store_policy policy = { 0 };
	struct kms_err err;

	(void)state;
	assert_int_equal(set("nobody", &policy, &err), KMS_E_KEY_NOTFOUND);
	assert_int_equal(set("no/name", &policy, &err), KMS_E_INVALID);
}

static struct op *rotate(const char *key)
{
	struct op *op = t_op(&d, "rotating", EVENT_KEY_ROTATE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_rotate(op, key, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	return op;
}

static void a_rotated_version_expires_as_the_policy_says(void **state)
{
	struct store_policy policy = { .expiry_time = "P1M" };
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err;
	struct op *op = NULL;

	(void)state;
	t_key(&d, "rotating", "expiring", KEY_EC, obj);
	op = rotate("expiring");
	assert_int_equal(op->version.exp_s, STORE_NO_TIME);
	t_op_free(op);
	assert_int_equal(set("expiring", &policy, &err), KMS_OK);
	op = rotate("expiring");
	/* January has 31 days: by the calendar, not by the month's nominal length */
	assert_int_equal(op->version.exp_s, op->version.created_s + 31 * DAY_S);
	t_op_free(op);
}

static void each_type_rotates_into_its_own_kind(void **state)
{
	static const struct {
		enum key_type type;
		uint16_t bits;
		enum key_curve crv;
		uint32_t ops;
	} CASES[] = {
		{ KEY_RSA, 2048, CURVE_NONE, 0 }, { KEY_RSA_HSM, 2048, CURVE_NONE, KEY_OP_IMPORT }, { KEY_EC, 0, CURVE_P521, 0 },
		{ KEY_EC_HSM, 0, CURVE_P256K, 0 },
		{ KEY_OCT, 512, CURVE_NONE, 0 }, { KEY_OCT, 128, CURVE_NONE, 0 }, { KEY_OCT_HSM, 384, CURVE_NONE, 0 },
		{ KEY_OCT_HSM, 192, CURVE_NONE, 0 },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct key_create req = { .type = CASES[i].type, .bits = CASES[i].bits, .crv = CASES[i].crv,
		                          .has_ops = CASES[i].ops != 0, .ops = CASES[i].ops,
			                  .is_enabled = false, .nbf_s = 5, .exp_s = STORE_NO_TIME, .tags = (char[]){ "{\"a\":\"b\"}" } };
		struct op *first = t_op(&d, "rotating", EVENT_KEY_CREATE), *second = NULL;
		struct kms_err err = { 0 };
		char name[] = "kind-0";

		name[5] = (char)('0' + i);
		assert_int_equal(t_op_finish(first, keyring_create(first, name, &req, &err)), KMS_OK);
		assert_int_equal(err.status, KMS_OK);
		second = rotate(name);
		assert_int_equal(second->version.kty, first->version.kty);
		assert_int_equal(second->version.crv, first->version.crv);
		assert_int_equal(second->version.bits, first->version.bits);
		assert_int_equal(second->version.ops, first->version.ops);
		assert_string_equal(second->version.tags, first->version.tags);
		assert_true(second->version.is_enabled);
		assert_int_equal(second->version.nbf_s, STORE_NO_TIME);
		assert_int_equal(second->version.pub_len, first->version.pub_len);
		assert_memory_not_equal(second->version.id, first->version.id, STORE_ID_LEN);
		assert_memory_not_equal(second->version.obj, first->version.obj, STORE_ID_LEN);
		if (first->version.pub_len > 0)
			assert_memory_not_equal(second->version.pub, first->version.pub, first->version.pub_len);
		t_op_free(first);
		t_op_free(second);
	}
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	t_vault(&d, "rotating", false);
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
		cmocka_unit_test(a_new_key_is_notified_thirty_days_before_it_expires),
		cmocka_unit_test(a_policy_without_a_notification_gets_the_default_one),
		cmocka_unit_test(the_rules_of_a_policy),
		cmocka_unit_test(policies_of_keys_that_are_not_there),
		cmocka_unit_test(a_rotated_version_expires_as_the_policy_says),
		cmocka_unit_test(each_type_rotates_into_its_own_kind),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
