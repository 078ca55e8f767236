/* tests/unit/core_network.c - address ranges: what is let through, what is refused, and what is in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/network.h"

static void ranges_are_written_in_one_form(void **state)
{
	static const struct {
		const char *given, *written;
	} CASES[] = {
		{ "", "" },
		{ "10.0.0.0/8", "10.0.0.0/8" },
		{ "192.0.2.7", "192.0.2.7/32" },
		{ "2001:DB8:0:0::/32", "2001:db8::/32" },
		{ "2001:db8::1", "2001:db8::1/128" },
		{ " 10.0.0.0/8,\n192.0.2.0/24\t,, ::1 \r\n", "10.0.0.0/8 192.0.2.0/24 ::1/128" },
		{ "0.0.0.0/0 ::/0", "0.0.0.0/0 ::/0" },
		{ "::ffff:192.0.2.7", "192.0.2.7/32" },
		{ "::ffff:10.0.0.0/104", "10.0.0.0/8" },
		{ "::ffff:0:0/96", "0.0.0.0/0" },
		{ "::ffff:0:0/95", NULL }, /* bits behind */
		{ "::fffe:0:0/95", "::fffe:0:0/95" },
		{ "255.255.255.255/32", "255.255.255.255/32" },
	};
	char out[STORE_NETWORK_MAX + 1], again[STORE_NETWORK_MAX + 1];
	struct kms_err err;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		memset(&err, 0, sizeof(err));
		if (CASES[i].written == NULL) {
			assert_int_equal(network_check(CASES[i].given, out, &err), KMS_E_INVALID);
			continue;
		}
		assert_int_equal(network_check(CASES[i].given, out, &err), KMS_OK);
		assert_string_equal(out, CASES[i].written);
		assert_int_equal(network_check(out, again, &err), KMS_OK);
		assert_string_equal(again, out);
	}
}

static void what_is_no_range_is_refused_by_name(void **state)
{
	static const char *const BAD[] = {
		"10.0.0.1/8",     "10.0.0.0/33",    "10.0.0.0/",       "10.0.0.0/08",       "10.0.0.0/+8",   "10.0.0.0/-1",         "10.0.0.0/8/8",  "10.0.0/8",
		"10.0.0.256",     "010.0.0.1",      "0x0a000001",      "10.0.0.0/255.0.0.0", "2001:db8::/129", "2001:db8::1/32",     "fe80::1%eth0",  "::1/0x80",
		"[::1]",          "example.com",    "*",               "/8",                "10.0.0.0 /8",   "10.0.0.0/8;10.0.0.0/8", "10.0.0.0/0000", "::/1000",
		"10.0.0.0/8 \x01", "192.0.2.1-192.0.2.9", "0.0.0.0/1a", ("b\xc3\xbc" "cher"), "::ffff:10.0.0.1/104", " , ", "\n",
		"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
	};
	char out[STORE_NETWORK_MAX + 1] = "untouched";
	struct kms_err err;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		memset(&err, 0, sizeof(err));
		assert_int_equal(network_check(BAD[i], out, &err), KMS_E_INVALID);
		assert_non_null(strstr(kms_err_text(&err), "networks: "));
		assert_string_equal(out, "untouched");
		/* One bad range among good ones: none of them is taken. */
		char mixed[128];
		(void)snprintf(mixed, sizeof(mixed), "10.0.0.0/8 %s 192.0.2.0/24", BAD[i]);
		if (strcmp(BAD[i], " , ") != 0 && strcmp(BAD[i], "\n") != 0)
			assert_int_equal(network_check(mixed, out, NULL), KMS_E_INVALID);
	}
	memset(&err, 0, sizeof(err));
	assert_int_equal(network_check("10.0.0.0/8 10.1.2.3/9", out, &err), KMS_E_INVALID);
	assert_non_null(strstr(kms_err_text(&err), "'10.1.2.3/9'"));
}

static void there_is_room_for_a_hundred_ranges(void **state)
{
	char text[16 * (NETWORK_RANGES_MAX + 1) + 1] = "", out[STORE_NETWORK_MAX + 1];
	char wide[48 * NETWORK_RANGES_MAX + 1] = "";
	size_t len = 0;

	(void)state;
	for (int i = 0; i <= NETWORK_RANGES_MAX; i++) {
		if (i == NETWORK_RANGES_MAX)
			assert_int_equal(network_check(text, out, NULL), KMS_OK);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "10.0.%d.0/24,", i);
	}
	assert_int_equal(network_check(text, out, NULL), KMS_E_INVALID);
	len = 0;
	for (int i = 0; i < NETWORK_RANGES_MAX; i++)
		len += (size_t)snprintf(wide + len, sizeof(wide) - len, "2001:db8:1111:2222:3333:4444:5555:%x/128 ", 0x6600 + i);
	assert_true(len > STORE_NETWORK_MAX);
	assert_int_equal(network_check(wide, out, NULL), KMS_E_INVALID);
}

static void an_address_is_in_a_range_or_it_is_not(void **state)
{
	static const struct {
		const char *ranges, *address;
		bool is_in;
	} CASES[] = {
		{ "10.0.0.0/8", "10.255.255.255", true },
		{ "10.0.0.0/8", "11.0.0.0", false },
		{ "10.0.0.0/8", "9.255.255.255", false },
		{ "192.0.2.128/25", "192.0.2.128", true },
		{ "192.0.2.128/25", "192.0.2.127", false },
		{ "192.0.2.6/31", "192.0.2.7", true },
		{ "192.0.2.6/31", "192.0.2.8", false },
		{ "192.0.2.7/32", "192.0.2.7", true },
		{ "192.0.2.7/32", "192.0.2.6", false },
		{ "0.0.0.0/0", "203.0.113.9", true },
		{ "0.0.0.0/0", "2001:db8::1", false },
		{ "::/0", "2001:db8::1", true },
		{ "::/0", "203.0.113.9", false },
		{ "::/0", "::ffff:203.0.113.9", false },
		{ "203.0.113.0/24", "::ffff:203.0.113.9", true },
		{ "203.0.113.0/24", "::203.0.113.9", false }, /* compatible, not mapped */
		{ "2001:db8:8000::/33", "2001:db8:8000::1", true },
		{ "2001:db8:8000::/33", "2001:db8:7fff::1", false },
		{ "2001:db8::1/128", "2001:db8:0:0:0:0:0:1", true },
		{ "10.0.0.0/8 2001:db8::/32 192.0.2.0/24", "192.0.2.1", true },
		{ "10.0.0.0/8 2001:db8::/32 192.0.2.0/24", "2001:db8:ffff::", true },
		{ "10.0.0.0/8 2001:db8::/32 192.0.2.0/24", "198.51.100.1", false },
		{ "", "10.0.0.1", false },
		{ "0.0.0.0/0 ::/0", "", false },
		{ "0.0.0.0/0 ::/0", "localhost", false },
		{ "0.0.0.0/0 ::/0", "10.0.0.1 ", false },
		{ "0.0.0.0/0 ::/0", "10.0.0.1:443", false },
		{ "0.0.0.0/0 ::/0", "fe80::1%eth0", false },
		{ "garbage 10.0.0.0/8", "10.0.0.1", true },
		{ "garbage", "10.0.0.1", false },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		if (network_contains(CASES[i].ranges, CASES[i].address) != CASES[i].is_in)
			fail_msg("'%s' in '%s'", CASES[i].address, CASES[i].ranges);
	}
}

/* Every prefix length: the address with the last bit of the prefix turned is outside, with the first bit behind it turned inside. */
static void each_bit_of_a_prefix_counts_and_none_behind_it(void **state)
{
	(void)state;
	for (unsigned bits = 1; bits <= 32; bits++) {
		uint32_t base = 0xc6336455U & (uint32_t)(0xffffffffULL << (32 - bits));
		uint32_t outside = base ^ (1U << (32 - bits)), inside = bits < 32 ? base ^ (1U << (31 - bits)) : base;
		char range[32], address[32];

		(void)snprintf(range, sizeof(range), "%u.%u.%u.%u/%u", base >> 24, base >> 16 & 255, base >> 8 & 255, base & 255, bits);
		(void)snprintf(address, sizeof(address), "%u.%u.%u.%u", outside >> 24, outside >> 16 & 255, outside >> 8 & 255, outside & 255);
		assert_false(network_contains(range, address));
		(void)snprintf(address, sizeof(address), "%u.%u.%u.%u", inside >> 24, inside >> 16 & 255, inside >> 8 & 255, inside & 255);
		assert_true(network_contains(range, address));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_are_written_in_one_form),
		cmocka_unit_test(what_is_no_range_is_refused_by_name),
		cmocka_unit_test(there_is_room_for_a_hundred_ranges),
		cmocka_unit_test(an_address_is_in_a_range_or_it_is_not),
		cmocka_unit_test(each_bit_of_a_prefix_counts_and_none_behind_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
