/* server/witness/tree.h - consistency of two RFC 6962 trees (section 2.1.2). */
#ifndef HOLDFAST_WITNESS_TREE_H
#define HOLDFAST_WITNESS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/witness/note.h"

#define PROOF_MAX 63

/** SHA-256 of nothing: the root of no leaves. */
void tree_empty_root(uint8_t ret[HASH_LEN]);
/** Does the tree of `to` leaves begin with that of `from` leaves? Every tree begins with the empty one, and needs no proof of it. */
bool tree_extends(uint64_t from, const uint8_t from_root[HASH_LEN], uint64_t to, const uint8_t to_root[HASH_LEN], uint8_t (*proof)[HASH_LEN], size_t count);

#endif
