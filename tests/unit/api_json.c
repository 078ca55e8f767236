/* tests/unit/api_json.c - bodies become structs only when all of them is valid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/api.h"

static kms_status read_text(const struct json_schema *schema, const char *text, union request_body *body, struct kms_err *err)
{
	memset(err, 0, sizeof(*err));
	return json_read(schema, (const uint8_t *)text, strlen(text), body, err);
}

static void refuses(const struct json_schema *schema, const char *text, const char *named)
{
	union request_body body;
	struct kms_err err;

	assert_int_equal(read_text(schema, text, &body, &err), KMS_E_INVALID);
	if (strstr(kms_err_text(&err), named) == NULL)
		fail_msg("%s: message '%s' does not name '%s'", text, kms_err_text(&err), named);
	assert_int_equal(secret_live(), 0);
}

static void a_full_create_body_is_read_as_given(void **state)
{
	union request_body body;
	struct kms_err err;

	(void)state;
	assert_int_equal(read_text(&KEY_CREATE_SCHEMA,
	                           "{\"kty\":\"RSA-HSM\",\"key_size\":3072,\"key_ops\":[\"wrapKey\",\"unwrapKey\"],\"attributes\":{\"enabled\":false,"
	                           "\"nbf\":5,\"exp\":1811836800},\"tags\":{\"a\":\"b\"},\"unknown\":{\"x\":[1,2]}}", &body, &err), KMS_OK);
	assert_int_equal(body.create.kty, KEY_RSA_HSM);
	assert_int_equal(body.create.bits, 3072);
	assert_int_equal(body.common.ops, KEY_OP_WRAP | KEY_OP_UNWRAP);
	assert_false(body.common.is_enabled);
	assert_int_equal(body.common.nbf_s, 5);
	assert_int_equal(body.common.exp_s, 1811836800);
	assert_string_equal(body.common.tags, "{\"a\":\"b\"}");
	json_clear(&KEY_CREATE_SCHEMA, &body);
}

static void null_members_are_absent_members(void **state)
{
	union request_body body;
	struct kms_err err;

	(void)state;
	assert_int_equal(read_text(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"key_size\":null,\"attributes\":{\"exp\":null},\"tags\":null}", &body, &err),
	                 KMS_OK);
	assert_int_equal(body.create.bits, 0);
	assert_false(body.common.has_exp);
	assert_true(body.common.is_enabled);
	assert_null(body.common.tags);
}

static void every_kind_of_wrong_member_is_refused_by_name(void **state)
{
	(void)state;
	refuses(&KEY_CREATE_SCHEMA, "{}", "kty");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"rsa\"}", "kty");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":7}", "kty");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"key_size\":\"2048\"}", "key_size");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"key_size\":2048.0}", "key_size");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"key_size\":-1}", "key_size");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"key_size\":70000}", "key_size");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"key_ops\":\"wrapKey\"}", "key_ops");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"key_ops\":[\"fly\"]}", "key_ops");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"key_ops\":[1]}", "key_ops");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"attributes\":[]}", "attributes");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"attributes\":{\"enabled\":1}}", "enabled");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"attributes\":{\"exp\":1.5}}", "exp");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"attributes\":{\"exp\":-1}}", "exp");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"tags\":{\"a\":1}}", "tags");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"tags\":[]}", "tags");
	refuses(&VAULT_CREATE_SCHEMA, "{\"name\":\"abc\",\"colour\":\"red\"}", "colour");
	refuses(&REVOKE_SCHEMA, "{\"reason\":\"because\"}", "reason");
	refuses(&ROLE_SCHEMA, "{\"principal\":\"x\",\"role\":\"reader\"}", "principal");
}

static void a_late_fault_releases_what_an_early_member_took(void **state)
{
	(void)state;
	refuses(&KEY_WRAP_SCHEMA, "{\"value\":\"AAAA\",\"alg\":\"none\"}", "alg");
	refuses(&KEY_WRAP_SCHEMA, "{\"alg\":\"RSA-OAEP\"}", "value");
}

static void base64url_is_strict_but_tolerates_padding(void **state)
{
	static const char *const BAD[] = { "", "A", "AA+A", "AA/A", "AAA ", "A===", "AB", "AAB", "AA=A", "====", "AAAA==" };
	union request_body body;
	struct kms_err err;
	char text[64];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		(void)snprintf(text, sizeof(text), "{\"alg\":\"A256KW\",\"value\":\"%s\"}", BAD[i]);
		refuses(&KEY_WRAP_SCHEMA, text, "value");
	}
	assert_int_equal(read_text(&KEY_WRAP_SCHEMA, "{\"alg\":\"A256KW\",\"value\":\"AA==\"}", &body, &err), KMS_OK);
	assert_int_equal(secret_len(body.crypto.value), 1);
	json_clear(&KEY_WRAP_SCHEMA, &body);
	assert_int_equal(secret_live(), 0);
}

static void an_unknown_name_is_refused_with_those_that_there_are(void **state)
{
	(void)state;
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"AKP\"}", "RSA, RSA-HSM, oct-HSM, EC, EC-HSM, oct.");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"EC\",\"crv\":\"P-255\"}", "P-256, P-384, P-521, P-256K.");
	refuses(&KEY_CREATE_SCHEMA, "{\"kty\":\"EC\",\"key_ops\":[\"sign\",\"fly\"]}", "unwrapKey, import, export.");
	refuses(&KEY_SIGN_SCHEMA, "{\"alg\":\"none\",\"value\":\"AA\"}", "RS256, RS384, RS512, RSNULL, PS256");
	refuses(&KEY_WRAP_SCHEMA, "{\"alg\":\"none\",\"value\":\"AA\"}", "CKM_AES_KEY_WRAP_PAD.");
	refuses(&ROLE_SCHEMA, "{\"principal\":\"00000000-0000-0000-0000-000000000000\",\"role\":\"reader\",\"scope\":\"realm\"}", "vault, installation.");
	refuses(&REVOKE_SCHEMA, "{\"reason\":\"because\"}", "cessationOfOperation.");
}

static void bytes_are_read_and_bounded(void **state)
{
	union request_body body;
	struct kms_err err;

	(void)state;
	assert_int_equal(read_text(&KEY_CIPHER_SCHEMA, "{\"alg\":\"A128GCM\",\"value\":\"AAAA\",\"iv\":\"AQIDBAUGBwgJCgsM\",\"aad\":null}",
	                           &body, &err), KMS_OK);
	assert_int_equal(body.crypto.iv.len, 12);
	assert_int_equal(body.crypto.iv.data[11], 12);
	assert_null(body.crypto.aad.data);
	assert_null(body.crypto.tag.data);
	json_clear(&KEY_CIPHER_SCHEMA, &body);
	refuses(&KEY_CIPHER_SCHEMA, "{\"alg\":\"A128GCM\",\"value\":\"AAAA\",\"iv\":\"\"}", "iv: must hold 1 to 16 bytes");
	refuses(&KEY_CIPHER_SCHEMA, "{\"alg\":\"A128GCM\",\"value\":\"AAAA\",\"iv\":\"AAAAAAAAAAAAAAAAAAAAAAA\"}", "iv: must hold");
	refuses(&KEY_CIPHER_SCHEMA, "{\"alg\":\"A128GCM\",\"value\":\"AAAA\",\"tag\":\"AB\"}", "tag: is not valid base64url");
	refuses(&KEY_CIPHER_SCHEMA, "{\"alg\":\"A128GCM\",\"value\":\"AAAA\",\"aad\":7}", "aad: must be a base64url string");
	/* Present but empty is not absent: such a signature is simply not valid. */
	assert_int_equal(read_text(&KEY_VERIFY_SCHEMA, "{\"alg\":\"ES256\",\"digest\":\"AAAA\",\"value\":\"\"}", &body, &err), KMS_OK);
	assert_non_null(body.verify.signature.data);
	assert_int_equal(body.verify.signature.len, 0);
	json_clear(&KEY_VERIFY_SCHEMA, &body);
	refuses(&KEY_VERIFY_SCHEMA, "{\"alg\":\"ES256\",\"digest\":\"AAAA\"}", "value: is required");
	assert_int_equal(secret_live(), 0);
}

static void a_value_of_the_longest_length_is_read_and_one_byte_more_is_not(void **state)
{
	size_t cap = B64URL_LEN(CRYPTO_VALUE_MAX + 1) + 64, len = 0;
	char *text = calloc(1, cap + 1);
	union request_body body;
	struct kms_err err;

	(void)state;
	assert_non_null(text);
	for (size_t extra = 0; extra < 2; extra++) {
		memset(text, 0, cap + 1);
		len = (size_t)snprintf(text, cap, "{\"alg\":\"HS256\",\"value\":\"");
		memset(text + len, 'A', B64URL_LEN(CRYPTO_VALUE_MAX + extra));
		memcpy(text + len + B64URL_LEN(CRYPTO_VALUE_MAX + extra), "\"}", 3);
		if (extra == 0) {
			assert_int_equal(read_text(&KEY_SIGN_SCHEMA, text, &body, &err), KMS_OK);
			assert_int_equal(secret_len(body.crypto.value), CRYPTO_VALUE_MAX);
			json_clear(&KEY_SIGN_SCHEMA, &body);
		} else {
			refuses(&KEY_SIGN_SCHEMA, text, "value");
		}
	}
	free(text);
}

static void both_alphabets_of_base64_are_one_where_it_says_so(void **state)
{
	static const char *const SAME[] = { "-_8", "+/8=", "-_8=" };
	union request_body body;
	struct kms_err err;
	char text[128];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SAME); i++) {
		(void)snprintf(text, sizeof(text), "{\"key\":{\"kty\":\"RSA-HSM\",\"key_hsm\":\"%s\"}}", SAME[i]);
		assert_int_equal(read_text(&KEY_IMPORT_SCHEMA, text, &body, &err), KMS_OK);
		assert_int_equal(body.import.key_hsm.len, 2);
		assert_int_equal(body.import.key_hsm.data[0], 0xfb);
		assert_int_equal(body.import.key_hsm.data[1], 0xff);
		json_clear(&KEY_IMPORT_SCHEMA, &body);
	}
	refuses(&KEY_IMPORT_SCHEMA, "{\"key\":{\"kty\":\"RSA-HSM\",\"n\":\"+/8=\"}}", "n: is not valid base64url");
	refuses(&KEY_IMPORT_SCHEMA, "{\"key\":{\"kty\":\"RSA-HSM\",\"key_hsm\":\"*\"}}", "key_hsm: is not valid base64");
}

static void an_import_is_read_with_all_members_and_released_with_all_of_them(void **state)
{
	static const char GOOD[] = "{\"Hsm\":true,\"key\":{\"kid\":\"https://elsewhere/keys/x\",\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\",\"d\":\"Ag\","
				   "\"p\":\"Aw\",\"q\":\"BA\",\"dp\":\"BQ\",\"dq\":\"Bg\",\"qi\":\"Bw\",\"k\":\"CA\",\"x\":\"CQ\",\"y\":\"Cg\",\"crv\":\"P-521\","
				   "\"key_ops\":[\"sign\"]},\"attributes\":{\"enabled\":false},\"tags\":{\"a\":\"b\"}";
	union request_body body;
	struct kms_err err;
	char text[sizeof(GOOD) + 64];

	(void)state;
	(void)snprintf(text, sizeof(text), "%s}", GOOD);
	assert_int_equal(read_text(&KEY_IMPORT_SCHEMA, text, &body, &err), KMS_OK);
	assert_true(body.import.to_hsm);
	assert_int_equal(body.import.kty, KEY_RSA);
	assert_int_equal(body.import.crv, CURVE_P521);
	assert_int_equal(body.import.e.len, 3);
	assert_int_equal(secret_data(body.import.qi)[0], 7);
	assert_int_equal(secret_live(), 7);
	json_drop_secrets(&KEY_IMPORT_SCHEMA, &body);
	assert_int_equal(secret_live(), 0);
	assert_null(body.import.qi);
	assert_int_equal(body.import.e.len, 3); /* what a planned write may still borrow from stays */
	assert_string_equal(body.common.tags, "{\"a\":\"b\"}");
	assert_int_equal(body.common.ops, KEY_OP_SIGN);
	assert_false(body.common.is_enabled);
	json_clear(&KEY_IMPORT_SCHEMA, &body);
	assert_int_equal(secret_live(), 0);
	/* A fault behind all of them leaves nothing alive: refuses() looks. */
	(void)snprintf(text, sizeof(text), "%s,\"release_policy\":1}", GOOD);
	refuses(&KEY_IMPORT_SCHEMA, text, "release_policy");
	refuses(&KEY_IMPORT_SCHEMA, "{\"Hsm\":false}", "key: is required");
	refuses(&KEY_IMPORT_SCHEMA, "{\"key\":[]}", "key: must be an object");
	refuses(&KEY_IMPORT_SCHEMA, "{\"key\":{\"kty\":\"oct\",\"k\":\"\"}}", "k: must hold 1 to 64 bytes");
}

static void lifetime_actions_are_a_short_list_of_objects(void **state)
{
	union request_body body;
	struct kms_err err;

	(void)state;
	assert_int_equal(read_text(&ROTATION_POLICY_SCHEMA,
	                           "{\"id\":\"x\",\"lifetimeActions\":[{\"trigger\":{\"timeAfterCreate\":\"P90D\",\"timeBeforeExpiry\":null},"
	                           "\"action\":{\"type\":\"rotate\"}},{\"trigger\":{\"timeBeforeExpiry\":\"P30D\"},\"action\":{\"type\":\"NOTIFY\"}}],"
	                           "\"attributes\":{\"expiryTime\":\"P2Y\",\"created\":1}}", &body, &err), KMS_OK);
	assert_int_equal(body.rotation.action_count, 2);
	assert_int_equal(body.rotation.actions[0].type, 1);
	assert_string_equal(body.rotation.actions[0].after_create, "P90D");
	assert_string_equal(body.rotation.actions[0].before_expiry, "");
	assert_int_equal(body.rotation.actions[1].type, 2);
	assert_string_equal(body.rotation.actions[1].before_expiry, "P30D");
	assert_string_equal(body.rotation.expiry_time, "P2Y");
	assert_int_equal(read_text(&ROTATION_POLICY_SCHEMA, "{\"lifetimeActions\":[]}", &body, &err), KMS_OK);
	assert_int_equal(body.rotation.action_count, 0);
	refuses(&ROTATION_POLICY_SCHEMA, "{\"lifetimeActions\":{}}", "lifetimeActions: must be an array of at most 2");
	refuses(&ROTATION_POLICY_SCHEMA, "{\"lifetimeActions\":[{},{},{}]}", "at most 2");
	refuses(&ROTATION_POLICY_SCHEMA, "{\"lifetimeActions\":[7]}", "must be an object");
	refuses(&ROTATION_POLICY_SCHEMA, "{\"lifetimeActions\":[{\"action\":{\"type\":\"Rotate\"}}]}", "trigger: is required");
	refuses(&ROTATION_POLICY_SCHEMA, "{\"lifetimeActions\":[{\"trigger\":{}}]}", "action: is required");
	refuses(&ROTATION_POLICY_SCHEMA, "{\"lifetimeActions\":[{\"trigger\":{},\"action\":{\"type\":\"Burn\"}}]}", "Rotate, Notify.");
	refuses(&ROTATION_POLICY_SCHEMA, "{\"attributes\":{\"expiryTime\":\"P00000000000000000000000000000001Y\"}}", "expiryTime");
}

static void documents_that_are_not_one_plain_object_are_refused(void **state)
{
	static const char *const BAD[] = { "", " ", "[]", "1", "\"x\"", "{", "{}{}", "{\"a\":1,\"a\":1}", "{\"kty\":\"RSA\\u0000\"}", "{\"kty\":\"\\ud800\"}",
		                           "{\"a\":18446744073709551616}", "{'a':1}", "{\"a\":1,}", "nul" };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		refuses(&KEY_CREATE_SCHEMA, BAD[i], "");
}

static void depth_and_number_of_members_are_bounded(void **state)
{
	char text[8192];
	size_t len = 0;

	(void)state;
	len = (size_t)snprintf(text, sizeof(text), "{\"kty\":\"RSA\",\"x\":");
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		text[len++] = '[';
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		text[len++] = ']';
	text[len++] = '}';
	text[len] = '\0';
	refuses(&KEY_CREATE_SCHEMA, text, "levels");
	len = (size_t)snprintf(text, sizeof(text), "{\"kty\":\"RSA\",\"x\":[0");
	for (int i = 0; i < JSON_MEMBERS_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, ",0");
	(void)snprintf(text + len, sizeof(text) - len, "]}");
	refuses(&KEY_CREATE_SCHEMA, text, "members");
}

/* What the parser takes from the allocator while it reads a document. */
static struct {
	json_malloc_t take;
	size_t blocks;
} COUNTED;

static void *counting_malloc(size_t size)
{
	COUNTED.blocks++;
	return COUNTED.take(size);
}

#define BLOCKS_MAX (16 * JSON_MEMBERS_MAX)

static void a_document_of_too_many_or_too_deep_members_is_refused_before_it_is_built(void **state)
{
	static const struct {
		const char *head, *unit, *tail;
	} LARGE[] = {
		{ "{\"x\":[", "{},", "{}]}" },       { "{\"x\":[", "[],", "[]]}" },  { "{\"x\":[", "0,", "0]}" }, { "{\"x\":", "[", "" },
		{ "{\"x\":", "{\"a\":", "" },       { "{\"\\\"\":[", "0,", "0]}" }, { "", "[],", "" },           { "{\"x\":[", "\"]}\",", "0]}" },
		{ "{\"x\":[", "[ \n[\t{ } ]],", "0]}" },
	};
	const size_t cap = (size_t)2 << 20;
	char *text = malloc(cap);
	json_free_t give = NULL;
	union request_body body;
	struct kms_err err;

	(void)state;
	assert_non_null(text);
	json_get_alloc_funcs(&COUNTED.take, &give);
	json_set_alloc_funcs(counting_malloc, give);
	for (size_t i = 0; i < KMS_ARRAY_LEN(LARGE); i++) {
		size_t unit = strlen(LARGE[i].unit), len = strlen(LARGE[i].head);

		memcpy(text, LARGE[i].head, len);
		for (; len + unit + strlen(LARGE[i].tail) < cap; len += unit)
			memcpy(text + len, LARGE[i].unit, unit);
		memcpy(text + len, LARGE[i].tail, strlen(LARGE[i].tail));
		len += strlen(LARGE[i].tail);
		COUNTED.blocks = 0;
		memset(&err, 0, sizeof(err));
		assert_int_equal(json_read(&KEY_RESTORE_SCHEMA, (const uint8_t *)text, len, &body, &err), KMS_E_INVALID);
		if (COUNTED.blocks > BLOCKS_MAX)
			fail_msg("%s%s: %zu blocks", LARGE[i].head, LARGE[i].unit, COUNTED.blocks);
	}
	json_set_alloc_funcs(COUNTED.take, give);
	free(text);
}

static void what_stands_in_strings_is_not_counted(void **state)
{
	char text[4 * JSON_MEMBERS_MAX + 64];
	size_t len = (size_t)snprintf(text, sizeof(text), "{\"kty\":\"RSA\",\"x\":\"\\\\\\\"");
	union request_body body;
	struct kms_err err;

	(void)state;
	for (int i = 0; i < JSON_MEMBERS_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, ",[{:");
	(void)snprintf(text + len, sizeof(text) - len, "\"}");
	assert_int_equal(read_text(&KEY_CREATE_SCHEMA, text, &body, &err), KMS_OK);
	json_clear(&KEY_CREATE_SCHEMA, &body);
}

/* {"kty":"RSA","x":[unit,unit,...]}: two members and those of x. */
static kms_status read_with_units(const char *unit, size_t count)
{
	char text[JSON_MEMBERS_MAX * 8 + 64];
	size_t len = (size_t)snprintf(text, sizeof(text), "{\"kty\":\"RSA\",\"x\":[");
	union request_body body;
	struct kms_err err;
	kms_status status = KMS_OK;

	for (size_t i = 0; i < count; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i > 0 ? "," : "", unit);
	(void)snprintf(text + len, sizeof(text) - len, "]}");
	status = read_text(&KEY_CREATE_SCHEMA, text, &body, &err);
	if (status == KMS_OK)
		json_clear(&KEY_CREATE_SCHEMA, &body);
	return status;
}

static void exactly_as_many_members_as_said_are_read(void **state)
{
	(void)state;
	assert_int_equal(read_with_units("0", 0), KMS_OK);
	assert_int_equal(read_with_units("0", JSON_MEMBERS_MAX - 2), KMS_OK);
	assert_int_equal(read_with_units("0", JSON_MEMBERS_MAX - 1), KMS_E_INVALID);
	assert_int_equal(read_with_units("{ }", JSON_MEMBERS_MAX - 2), KMS_OK);
	assert_int_equal(read_with_units("{ }", JSON_MEMBERS_MAX - 1), KMS_E_INVALID);
	assert_int_equal(read_with_units("[0]", JSON_MEMBERS_MAX / 2 - 1), KMS_OK);
	assert_int_equal(read_with_units("[0]", JSON_MEMBERS_MAX / 2), KMS_E_INVALID);
}

static void tags_are_bounded_in_number_and_length(void **state)
{
	char text[8192], long_text[JSON_TAG_TEXT_MAX + 2];
	size_t len = (size_t)snprintf(text, sizeof(text), "{\"kty\":\"RSA\",\"tags\":{\"t\":\"\"");

	(void)state;
	for (int i = 0; i < JSON_TAGS_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, ",\"t%d\":\"\"", i);
	(void)snprintf(text + len, sizeof(text) - len, "}}");
	refuses(&KEY_CREATE_SCHEMA, text, "at most 15");
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	(void)snprintf(text, sizeof(text), "{\"kty\":\"RSA\",\"tags\":{\"t\":\"%s\"}}", long_text);
	refuses(&KEY_CREATE_SCHEMA, text, "256");
}

static void an_object_of_any_size_is_written_whole(void **state)
{
	(void)state;
	for (size_t n = 2030; n < 2060; n++) { /* around the size of the first buffer */
		JSON_AUTO *j = json_object();
		char *filler = malloc(n + 1), *text = NULL;
		size_t len = 0;

		memset(filler, 'x', n);
		filler[n] = '\0';
		json_object_set_new(j, "a", json_string(filler));
		text = json_text(j, &len);
		assert_non_null(text);
		assert_int_equal(len, n + strlen("{\"a\":\"\"}"));
		assert_int_equal(strlen(text), len);
		assert_string_equal(text + len - 2, "\"}");
		free(text);
		free(filler);
	}
}

static int setup(void **state)
{
	static bool done;
	struct kms_err err = { 0 };

	(void)state;
	if (!done && secret_heap_init(1U << 20, &err) != KMS_OK)
		return -1;
	if (!done)
		json_setup();
	done = true;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_create_body_is_read_as_given),
		cmocka_unit_test(null_members_are_absent_members),
		cmocka_unit_test(every_kind_of_wrong_member_is_refused_by_name),
		cmocka_unit_test(a_late_fault_releases_what_an_early_member_took),
		cmocka_unit_test(base64url_is_strict_but_tolerates_padding),
		cmocka_unit_test(an_unknown_name_is_refused_with_those_that_there_are),
		cmocka_unit_test(bytes_are_read_and_bounded),
		cmocka_unit_test(a_value_of_the_longest_length_is_read_and_one_byte_more_is_not),
		cmocka_unit_test(both_alphabets_of_base64_are_one_where_it_says_so),
		cmocka_unit_test(an_import_is_read_with_all_members_and_released_with_all_of_them),
		cmocka_unit_test(lifetime_actions_are_a_short_list_of_objects),
		cmocka_unit_test(documents_that_are_not_one_plain_object_are_refused),
		cmocka_unit_test(depth_and_number_of_members_are_bounded),
		cmocka_unit_test(a_document_of_too_many_or_too_deep_members_is_refused_before_it_is_built),
		cmocka_unit_test(what_stands_in_strings_is_not_counted),
		cmocka_unit_test(exactly_as_many_members_as_said_are_read),
		cmocka_unit_test(tags_are_bounded_in_number_and_length),
		cmocka_unit_test(an_object_of_any_size_is_written_whole),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
