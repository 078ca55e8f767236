/* server/core/merkle.h - the RFC 6962 Merkle tree of the event log (spec/audit-log.md section 4). Pure: no I/O of its own. */
#ifndef HOLDFAST_CORE_MERKLE_H
#define HOLDFAST_CORE_MERKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

#define MERKLE_HASH_LEN 32
#define MERKLE_LEVELS 64

/* The complete subtrees along the right edge: what an append and a root need. One for each one bit of `size`; edge[L] is level L. */
struct merkle_edge {
	uint64_t size;
	uint8_t edge[MERKLE_LEVELS][MERKLE_HASH_LEN];
};

/* Stores (or reads) the hash of a complete subtree. */
typedef kms_status (*merkle_put_fn)(void *arg, unsigned level, uint64_t position, const uint8_t hash[MERKLE_HASH_LEN], struct kms_err *err);
typedef kms_status (*merkle_get_fn)(void *arg, unsigned level, uint64_t position, uint8_t ret_hash[MERKLE_HASH_LEN], struct kms_err *err);

void merkle_leaf_hash(const void *leaf, size_t len, uint8_t ret_hash[MERKLE_HASH_LEN]);
void merkle_node_hash(const uint8_t left[MERKLE_HASH_LEN], const uint8_t right[MERKLE_HASH_LEN], uint8_t ret_hash[MERKLE_HASH_LEN]);

/** Append one leaf hash; put is called for each complete subtree of level >= 1 that it closes. On failure *e is unchanged. */
KMS_MUST_CHECK kms_status merkle_append(struct merkle_edge *e, const uint8_t leaf_hash[MERKLE_HASH_LEN], merkle_put_fn put, void *arg,
                                        struct kms_err *err);
/** Load the right edge of a tree of `size` leaves from stored nodes. Reads at most 64 hashes. */
KMS_MUST_CHECK kms_status merkle_load(uint64_t size, merkle_get_fn get, void *arg, struct merkle_edge *ret_edge, struct kms_err *err);
/** Root of the present size (SHA-256 of nothing for the empty tree). */
void merkle_root(const struct merkle_edge *e, uint8_t ret_root[MERKLE_HASH_LEN]);

#endif
