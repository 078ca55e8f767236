/* api/tile.c - see tile.h. A tile has one name, so that nobody can be given two answers for what looks like two tiles. */
#include "api/tile.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define GROUP_DIGITS 3
#define GROUP 1000
#define PARTIAL ".p/"

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* A number without leading zeros and at most `max`, which has three digits at most, up to the end of the text. */
static bool parse_small(const char *text, unsigned max, unsigned *ret)
{
	unsigned n = 0;
	size_t len = strlen(text);

	if (len == 0 || len > GROUP_DIGITS || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(text[i]))
			return false;
		n = n * 10 + (unsigned)(text[i] - '0');
	}
	*ret = n;
	return n <= max;
}

bool tile_parse_level(const char *text, unsigned *ret_level)
{
	unsigned level = 0;

	if (!parse_small(text, TILE_LEVEL_MAX, &level))
		return false;
	*ret_level = level;
	return true;
}

/* Three digits. @return behind them, or NULL */
static const char *parse_group(const char *p, uint64_t *index)
{
	unsigned n = 0;

	for (int i = 0; i < GROUP_DIGITS; i++, p++) {
		if (!is_digit(*p))
			return NULL;
		n = n * 10 + (unsigned)(*p - '0');
	}
	*index = *index * GROUP + n;
	return p;
}

bool tile_parse(const char *text, struct tile *ret)
{
	struct tile tile = { .width = TILE_HASHES };
	const char *p = text;
	bool is_last = false;

	for (unsigned groups = 1; !is_last; groups++) {
		is_last = *p != 'x';
		if (!is_last)
			p++;
		p = groups <= TILE_GROUPS_MAX ? parse_group(p, &tile.index) : NULL;
		if (p == NULL || (!is_last && (*p++ != '/' || tile.index == 0))) /* the first group of several is not zero */
			return false;
	}
	if (*p != '\0') {
		if (strncmp(p, PARTIAL, sizeof(PARTIAL) - 1) != 0 || !parse_small(p + sizeof(PARTIAL) - 1, TILE_HASHES - 1, &tile.width) || tile.width == 0)
			return false;
	}
	*ret = tile;
	return true;
}

void tile_format(const struct tile *tile, char ret_name[TILE_NAME_MAX + 1])
{
	uint64_t divisor = 1;
	size_t len = 0;

	for (int groups = 1; groups < TILE_GROUPS_MAX && tile->index / divisor >= GROUP; groups++)
		divisor *= GROUP;
	assert(tile->index / divisor < GROUP);
	for (; divisor > 1; divisor /= GROUP)
		len += (size_t)snprintf(ret_name + len, TILE_NAME_MAX + 1 - len, "x%03u/", (unsigned)(tile->index / divisor % GROUP));
	len += (size_t)snprintf(ret_name + len, TILE_NAME_MAX + 1 - len, "%03u", (unsigned)(tile->index % GROUP));
	if (tile->width < TILE_HASHES)
		(void)snprintf(ret_name + len, TILE_NAME_MAX + 1 - len, PARTIAL "%u", tile->width);
}
