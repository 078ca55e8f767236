/* tests/unit/api_reply.c - an error answer is a JSON object, whatever its message quotes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/api.h"

/* The message as the answer shows it. */
static void shows(kms_status status, const char *message, const char *expected)
{
	struct request r = { 0 };
	struct kms_err err = { 0 };
	json_t *body = NULL;

	assert_int_equal(kms_refuse(&err, status, "%s", message), status);
	reply_error(&r, &err);
	assert_int_equal(r.response.status, kms_status_http(status));
	assert_non_null(r.response.body);
	body = json_loadb(r.response.body, r.response.body_len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(body);
	assert_string_equal(json_string_value(json_object_get(json_object_get(body, "error"), "message")), expected);
	json_decref(body);
	free(r.response.body);
}

static void a_message_that_is_cut_within_a_character_is_still_answered(void **state)
{
	(void)state;
	shows(KMS_E_INVALID, "kty: 'ab\xc3'", "kty: 'ab?'");
	shows(KMS_E_INVALID, "\xe2\x82", "??");
	shows(KMS_E_INVALID, "\xf0\x9f\x98\x80 and \xff\xfe", "\xf0\x9f\x98\x80 and ??");
}

static void a_message_of_any_text_is_shown_as_it_is(void **state)
{
	char longest[sizeof(((struct kms_err *)0)->message)];

	(void)state;
	shows(KMS_E_KEY_DISABLED, "Operation sign is not allowed on a disabled key.", "Operation sign is not allowed on a disabled key.");
	shows(KMS_E_INVALID, "caf\xc3\xa9 \"\\\x01", "caf\xc3\xa9 \"\\\x01");
	memset(longest, 'm', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	shows(KMS_E_INVALID, longest, longest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_that_is_cut_within_a_character_is_still_answered),
		cmocka_unit_test(a_message_of_any_text_is_shown_as_it_is),
	};
	json_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
