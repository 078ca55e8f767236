/* server/verify/table.h - hash tables of small records, for what must be remembered: each record begins with its key. */
#ifndef HOLDFAST_VERIFY_TABLE_H
#define HOLDFAST_VERIFY_TABLE_H

#include "server/verify/bytes.h"

/* A seed that nobody who writes a log can know: no log can make a table slow. */
struct seed {
	uint64_t k0, k1;
};
bool seed_draw(struct seed *ret);
/** SipHash-2-4 of the parts, with a zero byte between them. */
uint64_t seed_hash(const struct seed *s, const struct span *parts, size_t count);

struct table {
	struct seed seed;
	size_t record, key; /* sizes */
	size_t count, cap;
	uint8_t *slots; /* cap records, then cap marks of those in use */
};
/** Empty; takes memory with its first record. */
struct table table_make(const struct seed *seed, size_t record, size_t key);
void table_clear(struct table *t);
/** NULL = not there. Holds until the next change. */
void *table_find(const struct table *t, const void *key);
/** The record of the key, a zeroed one when it is new. NULL = no memory. Holds until the next change. */
void *table_add(struct table *t, const void *key, bool *ret_is_new);
void table_remove(struct table *t, const void *key);

#endif
