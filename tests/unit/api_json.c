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
	assert_int_equal(body.create.ops, KEY_OP_WRAP | KEY_OP_UNWRAP);
	assert_false(body.create.is_enabled);
	assert_int_equal(body.create.nbf_s, 5);
	assert_int_equal(body.create.exp_s, 1811836800);
	assert_string_equal(body.create.tags, "{\"a\":\"b\"}");
	KEY_CREATE_SCHEMA.clear(&body);
}

static void null_members_are_absent_members(void **state)
{
	union request_body body;
	struct kms_err err;

	(void)state;
	assert_int_equal(read_text(&KEY_CREATE_SCHEMA, "{\"kty\":\"RSA\",\"key_size\":null,\"attributes\":{\"exp\":null},\"tags\":null}", &body, &err),
	                 KMS_OK);
	assert_int_equal(body.create.bits, 0);
	assert_false(body.create.has_exp);
	assert_true(body.create.is_enabled);
	assert_null(body.create.tags);
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
	assert_int_equal(secret_len(body.wrap.value), 1);
	KEY_WRAP_SCHEMA.clear(&body);
	assert_int_equal(secret_live(), 0);
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
		cmocka_unit_test(documents_that_are_not_one_plain_object_are_refused),
		cmocka_unit_test(depth_and_number_of_members_are_bounded),
		cmocka_unit_test(tags_are_bounded_in_number_and_length),
		cmocka_unit_test(an_object_of_any_size_is_written_whole),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
