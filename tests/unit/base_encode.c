/* Encodings: RFC 4648 vectors, strictness, UTF-8 and timestamps. */
#include "server/base/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "server/base/err.h"

static void base64_agrees_with_rfc_4648_section_10(void **state)
{
	static const struct {
		const char *plain, *padded, *url;
	} CASES[] = {
		{ "", "", "" },
		{ "f", "Zg==", "Zg" },
		{ "fo", "Zm8=", "Zm8" },
		{ "foo", "Zm9v", "Zm9v" },
		{ "foob", "Zm9vYg==", "Zm9vYg" },
		{ "fooba", "Zm9vYmE=", "Zm9vYmE" },
		{ "foobar", "Zm9vYmFy", "Zm9vYmFy" },
		{ "\xfb\xff\xbf", "+/+/", "-_-_" },
	};
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		char text[16];
		uint8_t bytes[8];
		size_t len = 99, plain_len = strlen(CASES[i].plain);
		b64_encode(CASES[i].plain, plain_len, text);
		assert_string_equal(text, CASES[i].padded);
		assert_int_equal(strlen(text), B64_LEN(plain_len));
		b64url_encode(CASES[i].plain, plain_len, text);
		assert_string_equal(text, CASES[i].url);
		assert_int_equal(strlen(text), B64URL_LEN(plain_len));
		assert_true(b64url_decode(text, strlen(text), bytes, sizeof(bytes), &len));
		assert_int_equal(len, plain_len);
		assert_memory_equal(bytes, CASES[i].plain, plain_len);
	}
}

static void base64url_returns_every_byte_at_every_length(void **state)
{
	uint8_t bytes[256], back[256];
	char text[B64URL_LEN(256) + 1];
	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 167 + 13);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		size_t back_len = 999;
		b64url_encode(bytes, len, text);
		assert_true(b64url_decode(text, strlen(text), back, len, &back_len));
		assert_int_equal(back_len, len);
		assert_memory_equal(back, bytes, len);
		if (len > 0)
			assert_false(b64url_decode(text, strlen(text), back, len - 1, &back_len));
	}
}

static void base64url_tolerates_only_correct_padding(void **state)
{
	uint8_t bytes[8];
	size_t len;
	(void)state;
	assert_true(b64url_decode("Zg==", 4, bytes, sizeof(bytes), &len));
	assert_int_equal(len, 1);
	assert_true(b64url_decode("Zm8=", 4, bytes, sizeof(bytes), &len));
	assert_int_equal(len, 2);
	assert_false(b64url_decode("Zg=", 3, bytes, sizeof(bytes), &len));
	assert_false(b64url_decode("Zm9v=", 5, bytes, sizeof(bytes), &len));
	assert_false(b64url_decode("Zg===", 5, bytes, sizeof(bytes), &len));
	assert_false(b64url_decode("====", 4, bytes, sizeof(bytes), &len));
	assert_false(b64url_decode("Z=g=", 4, bytes, sizeof(bytes), &len));
}

static void base64url_refuses_foreign_characters_lengths_and_second_spellings(void **state)
{
	uint8_t bytes[8];
	size_t len = 77;
	int good = 0;
	(void)state;
	for (int c = 0; c < 256; c++) {
		char text[4] = { 'A', (char)c, 'A', 'A' };
		bool alphabet = c != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", c) != NULL;
		assert_int_equal(b64url_decode(text, 4, bytes, sizeof(bytes), &len), alphabet);
		good += alphabet;
	}
	assert_int_equal(good, 64);
	len = 77;
	assert_false(b64url_decode("A", 1, bytes, sizeof(bytes), &len));
	assert_false(b64url_decode("AAAAA", 5, bytes, sizeof(bytes), &len));
	assert_false(b64url_decode("Zh", 2, bytes, sizeof(bytes), &len));  /* unused bits not zero */
	assert_false(b64url_decode("Zm9", 3, bytes, sizeof(bytes), &len));
	assert_int_equal(len, 77);
}

static void hex_takes_both_cases_and_writes_lower(void **state)
{
	static const uint8_t BYTES[] = { 0x00, 0x1f, 0xab, 0xff };
	uint8_t back[4];
	char text[9];
	(void)state;
	hex_encode(BYTES, sizeof(BYTES), text);
	assert_string_equal(text, "001fabff");
	assert_true(hex_decode("001FabFF", 8, back, 4));
	assert_memory_equal(back, BYTES, 4);
	assert_false(hex_decode("001fabf", 7, back, 4));
	assert_false(hex_decode("001fabff0", 9, back, 4));
	assert_false(hex_decode("001fabfg", 8, back, 4));
	assert_false(hex_decode("001fab f", 8, back, 4));
}

static void guid_text_is_exact(void **state)
{
	uint8_t id[GUID_LEN], again[GUID_LEN];
	char text[GUID_TEXT_LEN + 1];
	(void)state;
	assert_true(guid_parse("A5C77CCA-2bcc-44ab-a60b-c403b1c26501", 36, id));
	guid_format(id, text);
	assert_string_equal(text, "a5c77cca-2bcc-44ab-a60b-c403b1c26501");
	assert_false(guid_parse("a5c77cca-2bcc-44ab-a60b-c403b1c2650", 35, id));
	assert_false(guid_parse("a5c77cca2bcc-44ab-a60b-c403b1c265011", 36, id));
	assert_false(guid_parse("a5c77cca-2bcc-44ab-a60b-c403b1c2650-", 36, id));
	assert_false(guid_parse("{5c77cca-2bcc-44ab-a60b-c403b1c26501", 36, id));
	for (int i = 0; i < 64; i++) {
		assert_true(guid_random(id));
		assert_true(guid_random(again));
		assert_int_equal(id[6] >> 4, 4);
		assert_int_equal(id[8] >> 6, 2);
		assert_memory_not_equal(id, again, sizeof(id));
	}
}

/* RFC 3629 by arithmetic: decode without the table and check range, shortest form and surrogates. */
static size_t plain_utf8_len(const uint8_t *b, size_t len)
{
	size_t n = b[0] < 0x80 ? 1 : (b[0] & 0xe0) == 0xc0 ? 2 : (b[0] & 0xf0) == 0xe0 ? 3 : (b[0] & 0xf8) == 0xf0 ? 4 : 0;
	static const uint32_t LEAST[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c;
	if (n == 0 || n > len)
		return 0;
	c = n == 1 ? b[0] : b[0] & (0x7fU >> n);
	for (size_t i = 1; i < n; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (b[i] & 0x3f);
	}
	return c < LEAST[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n;
}

static void utf8_agrees_with_decoding_for_every_first_three_bytes(void **state)
{
	(void)state;
	assert_int_equal(utf8_char_len("", 0), 0);
	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b++) {
			for (unsigned c = 0x7e; c < 0xc2; c++) {
				uint8_t bytes[4] = { (uint8_t)a, (uint8_t)b, (uint8_t)c, 0xbf };
				for (size_t len = 1; len <= 4; len++)
					assert_int_equal(utf8_char_len((const char *)bytes, len), plain_utf8_len(bytes, len));
			}
		}
	}
}

static void timestamps_agree_with_the_c_library(void **state)
{
	char text[TIMESTAMP_LEN + 1], expected[64];
	(void)state;
	timestamp_format(0, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000000Z");
	timestamp_format(1795284000001500, text);
	assert_string_equal(text, "2026-11-21T18:00:00.001500Z");
	timestamp_format(-1, text);
	assert_string_equal(text, "1969-12-31T23:59:59.999999Z");
	timestamp_format(INT64_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59.999999Z");
	timestamp_format(INT64_MIN, text);
	assert_string_equal(text, "0000-01-01T00:00:00.000000Z");
	/* Steps of about 11 days over all years, so that each month and each kind of leap year is met. */
	for (int64_t s = -62167219200; s <= 253402300799; s += 987654) {
		time_t t = (time_t)s;
		struct tm tm;
		size_t len;
		assert_non_null(gmtime_r(&t, &tm));
		len = strftime(expected, sizeof(expected), "-%m-%dT%H:%M:%S.000042Z", &tm);
		assert_true(len > 0);
		timestamp_format(s * 1000000 + 42, text);
		assert_string_equal(text + 4, expected);
		assert_int_equal(strtol(text, NULL, 10), tm.tm_year + 1900);
	}
}

static void percent_escapes_are_decoded_once_and_within_room(void **state)
{
	static const struct {
		const char *in, *out; /* out NULL = refused */
		bool plus;
	} CASES[] = {
		{ "", "", false }, { "abc", "abc", false }, { "a%20b+c", "a b+c", false }, { "a%20b+c", "a b c", true }, { "%2525", "%25", false },
		{ "%41%5a%5A", "AZZ", false }, { "%", NULL, false }, { "%4", NULL, false }, { "%zz", NULL, false }, { "%4z", NULL, false },
		{ "a%00b", NULL, false }, { "%e2%82%ac", "\xe2\x82\xac", false },
	};
	char out[16], text[16];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		size_t len = strlen(CASES[i].in);
		bool good = percent_decode(CASES[i].in, len, CASES[i].plus, out, sizeof(out));
		assert_int_equal(good, CASES[i].out != NULL);
		if (good)
			assert_string_equal(out, CASES[i].out);
		memcpy(text, CASES[i].in, len + 1); /* the same in place */
		assert_int_equal(percent_decode(text, len, CASES[i].plus, text, len + 1), good);
		if (good)
			assert_string_equal(text, CASES[i].out);
	}
	assert_false(percent_decode("", 0, false, out, 0));
	assert_true(percent_decode("abc", 3, false, out, 4));
	assert_false(percent_decode("abcd", 4, false, out, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percent_escapes_are_decoded_once_and_within_room),
		cmocka_unit_test(base64_agrees_with_rfc_4648_section_10),
		cmocka_unit_test(base64url_returns_every_byte_at_every_length),
		cmocka_unit_test(base64url_tolerates_only_correct_padding),
		cmocka_unit_test(base64url_refuses_foreign_characters_lengths_and_second_spellings),
		cmocka_unit_test(hex_takes_both_cases_and_writes_lower),
		cmocka_unit_test(guid_text_is_exact),
		cmocka_unit_test(utf8_agrees_with_decoding_for_every_first_three_bytes),
		cmocka_unit_test(timestamps_agree_with_the_c_library),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
