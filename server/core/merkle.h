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
#define MERKLE_PROOF_MAX 64 /* hashes of a proof */
struct merkle_proof {
	size_t count;
	uint8_t hash[MERKLE_PROOF_MAX][MERKLE_HASH_LEN]; /* from the leaf upwards */
};
/** Root of the first `size` leaves, from stored nodes: O(log size) reads. */
KMS_MUST_CHECK kms_status merkle_root_at(uint64_t size, merkle_get_fn get, void *arg, uint8_t ret_root[MERKLE_HASH_LEN], struct kms_err *err);
/** Path of leaf `seq` in the tree of `size` leaves (RFC 6962 section 2.1.1). @param seq  below size */
KMS_MUST_CHECK kms_status merkle_inclusion(uint64_t seq, uint64_t size, merkle_get_fn get, void *arg, struct merkle_proof *ret, struct kms_err *err);
/** That the tree of `to` leaves extends that of `from` (RFC 6962 section 2.1.2). @param from  1..to; equal: an empty proof */
KMS_MUST_CHECK kms_status merkle_consistency(uint64_t from, uint64_t to, merkle_get_fn get, void *arg, struct merkle_proof *ret, struct kms_err *err);
/** The checks of audit-log.md section 4: iterative, and independent of the generators. Hashes are public: compared without care for time. */
bool merkle_check_inclusion(uint64_t seq, uint64_t size, const uint8_t leaf[MERKLE_HASH_LEN], const struct merkle_proof *p,
                            const uint8_t root[MERKLE_HASH_LEN]);
bool merkle_check_consistency(uint64_t from, uint64_t to, const uint8_t from_root[MERKLE_HASH_LEN], const uint8_t to_root[MERKLE_HASH_LEN],
                              const struct merkle_proof *p);
/** Root of the present size (SHA-256 of nothing for the empty tree). */
void merkle_root(const struct merkle_edge *e, uint8_t ret_root[MERKLE_HASH_LEN]);

#endif
