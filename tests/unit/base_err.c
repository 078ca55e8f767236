/* The catalogue of outcomes. */
#include "server/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_status_has_a_name_a_code_a_text_and_a_http_number(void **state)
{
	(void)state;
	for (int s = 0; s < KMS_STATUS_COUNT; s++) {
		assert_int_equal(strncmp(kms_status_name((kms_status)s), "KMS_", 4), 0);
		assert_true(strlen(kms_status_code((kms_status)s)) > 0);
		assert_true(strlen(kms_status_text((kms_status)s)) > 0);
		assert_in_range((unsigned)kms_status_http((kms_status)s), 200, 599);
		assert_int_equal(kms_status_http((kms_status)s) == 200, s == KMS_OK);
	}
	assert_string_equal(kms_status_name(KMS_STATUS_COUNT), "KMS_E_INTERNAL");
}

static kms_status fail_first(struct kms_err *err) { return kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, 13, "disk %s", "full"); }

static kms_status try_it(struct kms_err *err)
{
	KMS_TRY(fail_first(err));
	return KMS_OK;
}

static void the_first_failure_wins(void **state)
{
	struct kms_err err = { 0 };
	(void)state;
	assert_int_equal(try_it(&err), KMS_E_STORE);
	assert_int_equal(kms_refuse(&err, KMS_E_INVALID, "second"), KMS_E_INVALID);
	assert_int_equal(err.status, KMS_E_STORE);
	assert_int_equal(err.native, 13);
	assert_int_equal(err.source, KMS_SRC_SQLITE);
	assert_string_equal(err.detail, "disk full");
	assert_non_null(strstr(err.where, "base_err.c:"));
	assert_string_equal(kms_err_text(&err), kms_status_text(KMS_E_STORE));
}

static void a_refusal_is_what_the_client_reads_and_is_cut_to_fit(void **state)
{
	struct kms_err err = { 0 };
	char longer[600];
	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(kms_refuse(NULL, KMS_E_INVALID, "nobody listens"), KMS_E_INVALID);
	assert_int_equal(kms_refuse(&err, KMS_E_INVALID, "%s", longer), KMS_E_INVALID);
	assert_int_equal(strlen(kms_err_text(&err)), sizeof(err.message) - 1);
	assert_string_equal(err.detail, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_status_has_a_name_a_code_a_text_and_a_http_number),
		cmocka_unit_test(the_first_failure_wins),
		cmocka_unit_test(a_refusal_is_what_the_client_reads_and_is_cut_to_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
