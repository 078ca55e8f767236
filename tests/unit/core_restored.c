/* tests/unit/core_restored.c - a database that was restored says so in its log: once, and not before the log may be written to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/restored.h"
#include "tests/support/approvals.h"

#define MARK "restored"

static struct t_domain d;

static uint64_t size_of_log(void)
{
	uint64_t size = 0;

	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	return size;
}

/* As the tool writes it; here through the writer, which has the connection. */
static void mark(const uint8_t *value, size_t len)
{
	struct store_change c = { .kind = STORE_META_PUT, .meta = { .name = MARK, .value_len = len } };

	memcpy(c.meta.value, value, len);
	t_change(&d, &c, 1);
}

static void a_restore_becomes_one_event(void **state)
{
	uint8_t value[33] = { 1 };
	uint64_t before = size_of_log();

	(void)state;
	memset(value + 1, 0xab, 16);
	value[24] = 100; /* made 100 s after 1970 */
	value[32] = 42;
	assert_int_equal(restored_write(&d.kms, d.store->r, NULL), KMS_OK);
	assert_int_equal(size_of_log(), before); /* it was not restored */
	mark(value, sizeof(value));
	before = size_of_log();
	assert_int_equal(restored_write(&d.kms, d.store->r, NULL), KMS_OK);
	assert_int_equal(size_of_log(), before + 1);
	assert_true(t_leaf_says(&d, before, "\"type\":\"node.restored\""));
	assert_true(t_leaf_says(&d, before, "\"det\":{\"backup\":\"abababab-abab-abab-abab-abababababab\",\"made\":\"1970-01-01T00:01:40.000000Z\",\"size\":42}"));
	assert_int_equal(restored_write(&d.kms, d.store->r, NULL), KMS_OK);
	assert_int_equal(size_of_log(), before + 1);
}

static void a_damaged_mark_is_not_read(void **state)
{
	uint8_t value[33] = { 2 };
	struct kms_err err = { 0 };

	(void)state;
	mark(value, sizeof(value)); /* of a newer one */
	assert_int_equal(restored_write(&d.kms, d.store->r, &err), KMS_E_STORE);
	assert_non_null(strstr(err.detail, "newer holdfastd"));
	value[0] = 1;
	mark(value, sizeof(value) - 1);
	assert_int_equal(restored_write(&d.kms, d.store->r, &err), KMS_E_STORE);
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_domain_close(&d);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_restore_becomes_one_event),
		cmocka_unit_test(a_damaged_mark_is_not_read),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
