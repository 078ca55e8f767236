/* tests/fuzz/api_tile.c - arbitrary names of tiles: one that is read is the only name of its tile, and no number of one leaves what can be computed with. */
#include <stdlib.h>
#include <string.h>

#include "api/tile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), name[TILE_NAME_MAX + 1];
	struct tile tile = { 0 };
	unsigned level = 0;

	if (text == NULL)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	if (tile_parse(text, &tile)) {
		if (tile.width == 0 || tile.width > TILE_HASHES || tile.index > INT64_MAX / TILE_HASHES - 1)
			abort();
		tile_format(&tile, name);
		if (strcmp(name, text) != 0)
			abort();
	}
	if (tile_parse_level(text, &level) && level > TILE_LEVEL_MAX)
		abort();
	free(text);
	return 0;
}
