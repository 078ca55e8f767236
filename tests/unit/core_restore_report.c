/* tests/unit/core_restore_report.c - what people and programs read after a restore: above all, that a silent witness is not taken for one that agrees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/restore_report.h"

#define SILENCE "witness.example.net/w1 (answered 404: it does not know this log)"

/* What it prints. @return owned by the caller */
static char *printed(const struct restore_report *r, bool as_json)
{
	FILE *to = tmpfile();
	int kept = dup(STDOUT_FILENO);
	char *text = calloc(1, 1 << 16);

	assert_non_null(to);
	assert_non_null(text);
	(void)fflush(stdout);
	assert_return_code(dup2(fileno(to), STDOUT_FILENO), 0);
	if (as_json)
		assert_int_equal(restore_report_print_json(r, NULL), KMS_OK);
	else
		restore_report_print(r);
	(void)fflush(stdout);
	assert_return_code(dup2(kept, STDOUT_FILENO), 0);
	(void)close(kept);
	rewind(to);
	assert_true(fread(text, 1, (1 << 16) - 1, to) > 0);
	(void)fclose(to);
	return text;
}

static void check(const struct restore_report *r, bool as_json, const char *has, const char *has_not)
{
	char *text = printed(r, as_json);

	if (strstr(text, has) == NULL || (has_not != NULL && strstr(text, has_not) != NULL))
		fail_msg("expected \"%s\", and not \"%s\":\n%s", has, has_not != NULL ? has_not : "", text);
	free(text);
}

static struct restore_report report(unsigned asked, unsigned silent)
{
	struct restore_report r = { .database = "/var/lib/holdfast/holdfast.db", .origin = "kms.example.com/audit/log1", .size = 40, .has_witnesses = asked > 0 };

	r.verdict = (struct log_verdict){ .state = LOG_GOOD, .size = 40, .asked = asked, .silent = silent };
	if (silent > 0)
		(void)snprintf(r.verdict.silence, sizeof(r.verdict.silence), SILENCE);
	return r;
}

static void a_silent_witness_is_no_agreement(void **state)
{
	struct restore_report r = report(2, 1);

	(void)state;
	assert_false(restore_is_certain(&r));
	check(&r, false, "Missing events: NOT KNOWN.", "Missing events: none");
	check(&r, false, "1 of 2 witnesses did not say what they know: " SILENCE, NULL);
	check(&r, false, "Before you start the server: bring the witness back", NULL);
	check(&r, true, "\"state\":\"not_known\"", "\"state\":\"good\"");
	check(&r, true, "\"silent_witnesses\":\"" SILENCE "\"", NULL);
	/* What is known to be missing is known without it. */
	r.verdict.state = LOG_ROLLED_BACK;
	assert_true(restore_is_certain(&r));
	check(&r, true, "\"state\":\"rolled_back\"", NULL);
	check(&r, false, "Give each witness the key of the next log", "NOT KNOWN");
}

static void none_is_missing_as_far_as_those_know_who_were_asked(void **state)
{
	struct restore_report r = report(1, 0);

	(void)state;
	assert_true(restore_is_certain(&r));
	check(&r, false, "none that the token or a witness knows of", "NOT KNOWN");
	check(&r, true, "\"state\":\"good\"", "silent");
	r = report(0, 0);
	assert_true(restore_is_certain(&r));
	check(&r, false, "No witness is configured", "token or a witness knows");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_silent_witness_is_no_agreement),
		cmocka_unit_test(none_is_missing_as_far_as_those_know_who_were_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
