/* api/tile.h - names of tiles of the event log (C2SP tlog-tiles): the part of the path behind the level. Pure. */
#ifndef HOLDFAST_API_TILE_H
#define HOLDFAST_API_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TILE_HASHES 256
#define TILE_BITS 8          /* levels of the tree that one tile spans */
#define TILE_LEVEL_MAX 63
#define TILE_GROUPS_MAX 5    /* of three digits: enough for every leaf that can be numbered */
#define TILE_NAME_MAX (TILE_GROUPS_MAX * 5 + 6)

struct tile {
	uint64_t index;
	unsigned width; /* 1..TILE_HASHES; below: a partial tile */
};

/** "067", "x001/x234/067", "067.p/5". @return false for every other spelling, also of a number that it is */
bool tile_parse(const char *text, struct tile *ret);
/** The name that tile_parse() reads. @param tile  its index below 10^15 */
void tile_format(const struct tile *tile, char ret_name[TILE_NAME_MAX + 1]);
/** "0" to "63". */
bool tile_parse_level(const char *text, unsigned *ret_level);

#endif
