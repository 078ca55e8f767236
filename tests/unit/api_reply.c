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

/* ---- to pools (ekm-proxy.md section 7) ---- */

static void pools_get_the_statuses_and_codes_of_their_interface(void **state)
{
	static const struct {
		kms_status status;
		int http;
		const char *code;
	} EXPECTED[] = {
		{ KMS_E_INVALID, 400, "BadRequest" }, { KMS_E_UNSUPPORTED, 400, "BadRequest" }, { KMS_E_CRYPTO, 400, "BadRequest" },
		{ KMS_E_UNAUTHENTICATED, 401, "Unauthorized" }, { KMS_E_FORBIDDEN, 403, "Forbidden" }, { KMS_E_POLICY, 403, "Forbidden" },
		{ KMS_E_KEY_OP, 403, "Forbidden" }, { KMS_E_VAULT_SHREDDED, 403, "Forbidden" }, { KMS_E_VAULT_LOCKED, 403, "Forbidden" }, { KMS_E_KEY_DISABLED, 403, "KeyDisabled" },
		{ KMS_E_KEY_REVOKED, 403, "KeyDisabled" }, { KMS_E_KEY_EXPIRED, 403, "KeyExpired" }, { KMS_E_KEY_NOT_YET, 403, "KeyNotYetValid" },
		{ KMS_E_KEY_NOTFOUND, 404, "KeyNotFound" }, { KMS_E_NOTFOUND, 404, "KeyNotFound" }, { KMS_E_NOROUTE, 404, "KeyNotFound" },
		{ KMS_E_METHOD, 405, "MethodNotAllowed" }, { KMS_E_TIMEOUT, 408, "RequestTimeout" }, { KMS_E_TOO_LARGE, 413, "RequestBodyTooLarge" },
		{ KMS_E_MEDIA, 415, "UnsupportedMediaType" }, { KMS_E_THROTTLED, 429, "Throttled" }, { KMS_E_INTERNAL, 500, "InternalServerError" },
		{ KMS_E_DEVICE, 502, "BadGateway" }, { KMS_E_NOMEM, 503, "ServiceUnavailable" }, { KMS_E_BUSY, 503, "ServiceUnavailable" },
		{ KMS_E_STORE, 503, "ServiceUnavailable" }, { KMS_E_AUDIT, 503, "ServiceUnavailable" }, { KMS_E_SHUTDOWN, 503, "ServiceUnavailable" },
		{ KMS_E_FENCED, 503, "ServiceUnavailable" },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(EXPECTED); i++) {
		struct request r = { .dialect = DIALECT_EKM };
		struct kms_err err = { .status = EXPECTED[i].status };
		json_t *body = NULL;
		reply_error(&r, &err);
		body = json_loadb(r.response.body, r.response.body_len, JSON_REJECT_DUPLICATES, NULL);
		if (r.response.status != EXPECTED[i].http || strcmp(json_string_value(json_object_get(body, "code")), EXPECTED[i].code) != 0)
			fail_msg("%s: %d %s", kms_status_name(EXPECTED[i].status), r.response.status, r.response.body);
		assert_int_equal(json_object_size(body), 2); /* flat: code and message */
		assert_true(json_string_length(json_object_get(body, "message")) > 0);
		json_decref(body);
		free(r.response.body);
	}
}

/* Azure shows messages to its own people, and to the caller. */
static void pools_are_not_told_our_names(void **state)
{
	static const kms_status SILENT[] = { KMS_E_FORBIDDEN, KMS_E_POLICY, KMS_E_UNAUTHENTICATED, KMS_E_NOTFOUND, KMS_E_KEY_NOTFOUND, KMS_E_NOROUTE,
		                             KMS_E_VAULT_SHREDDED, KMS_E_VAULT_LOCKED, KMS_E_DEVICE, KMS_E_INTERNAL, KMS_E_TIMEOUT, KMS_E_KEY_DISABLED };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SILENT); i++) {
		struct request r = { .dialect = DIALECT_EKM };
		struct kms_err err = { 0 };
		kms_ignore(kms_refuse(&err, SILENT[i], "vault payroll at hsm7.internal"));
		reply_error(&r, &err);
		assert_null(memmem(r.response.body, r.response.body_len, "payroll", strlen("payroll")));
		free(r.response.body);
	}
}

static void what_is_refused_before_routing_is_flat_too(void **state)
{
	struct http_request http = { .method_text = "POST", .path = "/" };
	struct kms kms = { .site = "local" };
	struct http_response res = { 0 };
	bool has_retry = false, no_store = false;

	(void)state;
	reply_refusal(&kms, &http, DIALECT_EKM, KMS_E_BUSY, "busy", &res);
	assert_int_equal(res.status, 503);
	assert_memory_equal(res.body, "{\"code\":", strlen("{\"code\":"));
	for (size_t i = 0; i < res.header_count; i++) {
		has_retry |= strcmp(res.headers[i].name, "Retry-After") == 0;
		no_store |= strcmp(res.headers[i].name, "Cache-Control") == 0 && strcmp(res.headers[i].value, "no-store") == 0;
		assert_int_not_equal(strncmp(res.headers[i].name, "x-ms-keyvault", strlen("x-ms-keyvault")), 0);
	}
	assert_true(has_retry && no_store);
	free(res.body);
	res = (struct http_response){ 0 };
	reply_refusal(&kms, &http, DIALECT_VAULT, KMS_E_BUSY, "busy", &res);
	assert_memory_equal(res.body, "{\"error\":", strlen("{\"error\":"));
	free(res.body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_that_is_cut_within_a_character_is_still_answered),
		cmocka_unit_test(a_message_of_any_text_is_shown_as_it_is),
		cmocka_unit_test(pools_get_the_statuses_and_codes_of_their_interface),
		cmocka_unit_test(pools_are_not_told_our_names),
		cmocka_unit_test(what_is_refused_before_routing_is_flat_too),
	};
	json_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
