/* The file sink: what it says is settled is on the disk under its name, in whole lines, whatever happens to the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/feed/sinks.h"
#include "tests/support/temp.h"

#define LINES 3

static char dir[T_TEMP_MAX];
static char path[128], moved[128];
static struct sink *sink;
static struct kms_err err;

static kms_status send_lines(const char *text)
{
	struct record records[LINES];
	char bytes[LINES][64];
	static const atomic_bool never;

	for (size_t i = 0; i < LINES; i++) {
		(void)snprintf(bytes[i], sizeof(bytes[i]), "%s%zu", text, i);
		records[i] = (struct record){ .seq = i, .bytes = bytes[i], .len = strlen(bytes[i]) };
	}
	err = (struct kms_err){ 0 };
	return sink->ops->send(sink, records, LINES, &never, &err);
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void expect(const char *name, const char *text)
{
	char got[4096] = "";
	FILE *f = fopen(name, "re");

	assert_non_null(f);
	got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
	assert_int_equal(fclose(f), 0);
	assert_string_equal(got, text);
}

static void expect_refusal(const char *text)
{
	assert_int_equal(send_lines("x"), KMS_E_STORE);
	if (strstr(err.detail, text) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.detail, text);
	sink->ops->rewind(sink);
}

static int setup(void **state)
{
	(void)state;
	(void)unlink(path);
	(void)rmdir(path);
	(void)unlink(moved);
	assert_int_equal(sink_file_new(path, &sink, NULL), KMS_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sink->ops->close(sink);
	return 0;
}

static void records_are_lines_of_a_file_that_others_cannot_read(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(send_lines("a"), KMS_OK);
	assert_int_equal(send_lines("b"), KMS_OK);
	expect(path, "a0\na1\na2\nb0\nb1\nb2\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(sink->ops->settled(sink) == SINK_ALL_SETTLED);
}

static void a_torn_line_is_cut_off_when_it_is_opened(void **state)
{
	(void)state;
	put(path, "whole\ntor");
	assert_int_equal(send_lines("a"), KMS_OK);
	expect(path, "whole\na0\na1\na2\n");
	sink->ops->rewind(sink);
	put(path, "nothing but a torn line");
	assert_int_equal(send_lines("a"), KMS_OK);
	expect(path, "a0\na1\na2\n");
}

static void a_file_of_something_else_is_left_alone(void **state)
{
	FILE *f = fopen(path, "we");

	(void)state;
	for (int i = 0; i < 300 << 10; i++)
		assert_int_not_equal(fputc('x', f), EOF);
	assert_int_equal(fclose(f), 0);
	expect_refusal("does not end in a line");
}

static void a_file_that_was_moved_away_is_followed_by_a_new_one(void **state)
{
	(void)state;
	assert_int_equal(send_lines("a"), KMS_OK);
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(send_lines("b"), KMS_OK);
	expect(moved, "a0\na1\na2\n");
	expect(path, "b0\nb1\nb2\n");
	assert_int_equal(rename(path, moved), 0);
	put(path, ""); /* as logrotate's `create` does */
	assert_int_equal(send_lines("c"), KMS_OK);
	expect(path, "c0\nc1\nc2\n");
}

static void a_file_that_was_cut_by_its_rotation_goes_on_at_its_beginning(void **state)
{
	(void)state;
	assert_int_equal(send_lines("a"), KMS_OK);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(send_lines("b"), KMS_OK);
	expect(path, "b0\nb1\nb2\n");
}

static void what_is_no_plain_file_is_refused(void **state)
{
	(void)state;
	assert_int_equal(mkdir(path, 0700), 0);
	expect_refusal("Is a directory");
	assert_int_equal(rmdir(path), 0);
	put(moved, "");
	assert_int_equal(symlink(moved, path), 0);
	expect_refusal("symbolic link");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	expect_refusal("no plain file");
	expect(moved, "");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(send_lines("a"), KMS_OK);
}

static void a_device_is_refused(void **state)
{
	struct sink *device = NULL;
	const struct record r = { .bytes = moved, .len = 3 };

	(void)state;
	assert_int_equal(sink_file_new("/dev/null", &device, NULL), KMS_OK);
	assert_int_equal(device->ops->send(device, &r, 1, NULL, &err), KMS_E_STORE);
	device->ops->close(device);
}

/* The limit of a file's size stands for a disk that is full: the first bytes fit, the others do not. */
static void a_full_disk_leaves_whole_lines_and_what_did_not_fit_comes_again(void **state)
{
	struct rlimit before, low = { 0 };

	(void)state;
	assert_int_equal(send_lines("a"), KMS_OK);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	low = before;
	low.rlim_cur = 13;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	kms_status status = send_lines("b");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(status, KMS_E_STORE);
	expect(path, "a0\na1\na2\n");
	sink->ops->rewind(sink);
	assert_int_equal(send_lines("b"), KMS_OK);
	expect(path, "a0\na1\na2\nb0\nb1\nb2\n");
}

static int make_dir(void **state)
{
	(void)state;
	t_temp_dir("sink", dir);
	(void)snprintf(path, sizeof(path), "%s/export", dir);
	(void)snprintf(moved, sizeof(moved), "%s/export.1", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	(void)unlink(path);
	(void)unlink(moved);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(records_are_lines_of_a_file_that_others_cannot_read, setup, teardown),
		cmocka_unit_test_setup_teardown(a_torn_line_is_cut_off_when_it_is_opened, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_of_something_else_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_was_moved_away_is_followed_by_a_new_one, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_was_cut_by_its_rotation_goes_on_at_its_beginning, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_plain_file_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_device_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_leaves_whole_lines_and_what_did_not_fit_comes_again, setup, teardown),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
