/* The diagnostic log: one line for each event, whatever a value contains. */
#include "server/base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include <cmocka.h>

static FILE *captured;
static int saved_stderr;
static char text[1 << 17];

static int begin_capture(void **state)
{
	(void)state;
	captured = tmpfile();
	if (captured == NULL)
		return -1;
	saved_stderr = dup(STDERR_FILENO);
	if (dup2(fileno(captured), STDERR_FILENO) < 0 || fcntl(STDERR_FILENO, F_SETFL, O_APPEND) < 0)
		return -1;
	return 0;
}

static int end_capture(void **state)
{
	(void)state;
	(void)dup2(saved_stderr, STDERR_FILENO);
	(void)close(saved_stderr);
	return fclose(captured);
}

/* All that was logged since the last call. */
static const char *logged(void)
{
	ssize_t n = pread(fileno(captured), text, sizeof(text) - 1, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(ftruncate(fileno(captured), 0), 0);
	return text;
}

static json_t *logged_object(void)
{
	const char *line = logged();
	json_t *o;
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(o);
	return o;
}

static void json_lines_carry_time_level_event_and_fields(void **state)
{
	json_t *o;
	(void)state;
	log_setup(LOG_DEBUG, true);
	log_event(LOG_INFO, "daemon_started", LOG_S("address", "127.0.0.1"), LOG_I("port", 8443), LOG_I("low", INT64_MIN), LOG_S("none", (char *)NULL));
	o = logged_object();
	assert_string_equal(json_string_value(json_object_get(o, "level")), "info");
	assert_string_equal(json_string_value(json_object_get(o, "event")), "daemon_started");
	assert_string_equal(json_string_value(json_object_get(o, "address")), "127.0.0.1");
	assert_string_equal(json_string_value(json_object_get(o, "none")), "");
	assert_int_equal(json_integer_value(json_object_get(o, "port")), 8443);
	assert_true(json_integer_value(json_object_get(o, "low")) == INT64_MIN);
	assert_int_equal(json_string_length(json_object_get(o, "ts")), 27);
	json_decref(o);
}

static void every_byte_keeps_the_line_one_valid_object(void **state)
{
	(void)state;
	log_setup(LOG_DEBUG, true);
	for (int a = 1; a < 256; a++) {
		char value[4] = { (char)a, (char)(a * 7 | 1), 'z', '\0' };
		json_t *o;
		log_event(LOG_WARN, "hostile", LOG_S("value", value));
		o = logged_object();
		if (a < 0x80 && (a * 7 | 1) % 256 < 0x80)
			assert_string_equal(json_string_value(json_object_get(o, "value")), value);
		json_decref(o);
	}
	log_event(LOG_WARN, "hostile", LOG_S("value", "a\xc3\x28\xff\xf0\x9f\x94\x91\xc2\x9b\x7f"));
	assert_non_null(strstr(logged(), "\"a\xef\xbf\xbd(\xef\xbf\xbd\xf0\x9f\x94\x91\\u009b\\u007f\""));
}

static void text_lines_cannot_be_forged_by_a_value(void **state)
{
	const char *line;
	(void)state;
	log_setup(LOG_DEBUG, false);
	log_event(LOG_ERROR, "refused", LOG_S("name", "x\" status=ok\n\x1b[2J"), LOG_I("n", -1));
	line = logged();
	assert_non_null(strstr(line, " error refused name=\"x\\\" status=ok\\u000a\\u001b[2J\" n=-1\n"));
}

static void values_are_cut_to_512_bytes_and_lines_to_whole_fields(void **state)
{
	char longer[2000];
	struct log_field fields[40] = { 0 };
	json_t *o;
	(void)state;
	log_setup(LOG_DEBUG, true);
	memset(longer, 1, sizeof(longer) - 1); /* the worst: each byte becomes six */
	longer[sizeof(longer) - 1] = '\0';
	log_event(LOG_INFO, "long", LOG_S("value", longer));
	o = logged_object();
	assert_int_equal(json_string_length(json_object_get(o, "value")), 512);
	assert_null(json_object_get(o, "cut"));
	json_decref(o);
	for (size_t i = 0; i < KMS_ARRAY_LEN(fields) - 1; i++) {
		static char names[40][4];
		(void)snprintf(names[i], sizeof(names[i]), "f%zu", i);
		fields[i] = LOG_S(names[i], longer);
	}
	log_write(LOG_INFO, "longer", fields);
	o = logged_object();
	assert_true(json_is_true(json_object_get(o, "cut")));
	assert_int_equal(json_string_length(json_object_get(o, "f0")), 512);
	assert_null(json_object_get(o, "f38"));
	json_decref(o);
}

static void levels_below_the_chosen_one_are_silent(void **state)
{
	enum log_level level = LOG_DEBUG;
	(void)state;
	assert_true(log_level_parse("warn", &level));
	assert_int_equal(level, LOG_WARN);
	assert_false(log_level_parse("WARN", &level));
	assert_false(log_level_parse("", &level));
	log_setup(LOG_WARN, true);
	log_event(LOG_INFO, "quiet");
	assert_string_equal(logged(), "");
	log_event(LOG_WARN, "loud");
	assert_non_null(strstr(logged(), "\"event\":\"loud\""));
}

static void a_failure_is_logged_with_all_that_is_known(void **state)
{
	struct kms_err err = { 0 };
	json_t *o;
	(void)state;
	log_setup(LOG_DEBUG, true);
	(void)kms_fail(&err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0x30, "C_Sign %s", "CKR_DEVICE_ERROR");
	log_failure(LOG_ERROR, "request_failed", "r-1", &err);
	o = logged_object();
	assert_string_equal(json_string_value(json_object_get(o, "req")), "r-1");
	assert_string_equal(json_string_value(json_object_get(o, "status")), "KMS_E_DEVICE");
	assert_string_equal(json_string_value(json_object_get(o, "source")), "pkcs11");
	assert_int_equal(json_integer_value(json_object_get(o, "native")), 0x30);
	assert_string_equal(json_string_value(json_object_get(o, "detail")), "C_Sign CKR_DEVICE_ERROR");
	assert_non_null(json_object_get(o, "where"));
	json_decref(o);
}

static void *log_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++)
		log_event(LOG_INFO, "many", LOG_S("value", "0123456789012345678901234567890123456789"));
	return NULL;
}

static void lines_of_many_threads_never_mix(void **state)
{
	pthread_t threads[4];
	int lines = 0;
	(void)state;
	log_setup(LOG_DEBUG, true);
	for (size_t i = 0; i < KMS_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_many, NULL), 0);
	for (size_t i = 0; i < KMS_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	(void)logged();
	for (const char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		json_t *o = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(o);
		json_decref(o);
		lines++;
	}
	assert_int_equal(lines, 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(json_lines_carry_time_level_event_and_fields, begin_capture, end_capture),
		cmocka_unit_test_setup_teardown(every_byte_keeps_the_line_one_valid_object, begin_capture, end_capture),
		cmocka_unit_test_setup_teardown(text_lines_cannot_be_forged_by_a_value, begin_capture, end_capture),
		cmocka_unit_test_setup_teardown(values_are_cut_to_512_bytes_and_lines_to_whole_fields, begin_capture, end_capture),
		cmocka_unit_test_setup_teardown(levels_below_the_chosen_one_are_silent, begin_capture, end_capture),
		cmocka_unit_test_setup_teardown(a_failure_is_logged_with_all_that_is_known, begin_capture, end_capture),
		cmocka_unit_test_setup_teardown(lines_of_many_threads_never_mix, begin_capture, end_capture),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
