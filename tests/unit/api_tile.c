/* tests/unit/api_tile.c - names of tiles: those of C2SP tlog-tiles, and no other spelling of them. */
#include "api/tile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void every_name_is_read_and_written_the_same(void **state)
{
	static const struct {
		const char *name;
		uint64_t index;
		unsigned width;
	} CASES[] = {
		{ "000", 0, 256 }, { "001", 1, 256 }, { "067", 67, 256 }, { "999", 999, 256 }, { "x001/000", 1000, 256 }, { "x001/067", 1067, 256 },
		{ "x001/x234/067", 1234067, 256 }, { "x001/x000/000", 1000000, 256 }, { "x999/x999/x999/x999/999", 999999999999999, 256 },
		{ "000.p/1", 0, 1 }, { "067.p/5", 67, 5 }, { "x001/x234/067.p/255", 1234067, 255 }, { "000.p/10", 0, 10 },
	};
	struct tile tile;
	char name[TILE_NAME_MAX + 1];

	(void)state;
	for (size_t i = 0; i < COUNT(CASES); i++) {
		assert_true(tile_parse(CASES[i].name, &tile));
		assert_int_equal(tile.index, CASES[i].index);
		assert_int_equal(tile.width, CASES[i].width);
		tile_format(&tile, name);
		assert_string_equal(name, CASES[i].name);
	}
}

static void no_other_spelling_is_read(void **state)
{
	static const char *const BAD[] = {
		"", "0", "00", "0000", "1", "-01", "+01", " 01", "01 ", "0x1", "abc", "00a", "x000", "x001", "x001/", "001/002", "x001/x002", "x000/000", "x000/001",
		"x000/x001/000", "X001/000", "x001//000", "x01/000", "x0001/000", "x001/0000", "000.p", "000.p/", "000.p/0", "000.p/00", "000.p/01", "000.p/256",
		"000.p/999", "000.p/1000", "000.p/-1", "000.p/1 ", "000.p/1/1", "000.P/1", "000p/1", "000/p/1", "000.p/1.p/1", "000.", "000/",
		"x001/x999/x999/x999/x999/999", "x999/x999/x999/x999/x999", "18446744073709551616",
	};
	struct tile tile = { .index = 7, .width = 7 };

	(void)state;
	for (size_t i = 0; i < COUNT(BAD); i++)
		if (tile_parse(BAD[i], &tile))
			fail_msg("'%s' is read", BAD[i]);
	assert_int_equal(tile.index, 7);
}

static void levels_are_0_to_63(void **state)
{
	static const char *const BAD[] = { "", "64", "99", "100", "00", "01", "-1", "+1", " 1", "1 ", "1a", "18446744073709551616", "entries" };
	unsigned level = 77;
	char text[4];

	(void)state;
	for (size_t i = 0; i < COUNT(BAD); i++)
		assert_false(tile_parse_level(BAD[i], &level));
	assert_int_equal(level, 77);
	for (unsigned n = 0; n <= TILE_LEVEL_MAX; n++) {
		(void)snprintf(text, sizeof(text), "%u", n);
		assert_true(tile_parse_level(text, &level));
		assert_int_equal(level, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_name_is_read_and_written_the_same),
		cmocka_unit_test(no_other_spelling_is_read),
		cmocka_unit_test(levels_are_0_to_63),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
