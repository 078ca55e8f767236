/* server/verify/tree.h - the RFC 6962 Merkle tree: leaf and node hashes, the right edge of a growing tree, and the two proofs. */
#ifndef HOLDFAST_VERIFY_TREE_H
#define HOLDFAST_VERIFY_TREE_H

#include <openssl/evp.h>

#include "server/verify/bytes.h"

#define HASH_LEN 32
#define TREE_LEVELS 64
#define PROOF_MAX 64 /* hashes in a proof of a tree of 2^63 leaves, and one to spare */

/* SHA-256, fetched once. */
struct hasher {
	EVP_MD *md;
	EVP_MD_CTX *ctx;
};
/** @return false without memory for it */
bool hasher_open(struct hasher *h);
void hasher_close(struct hasher *h);
/** SHA-256 of the parts, one behind the other. A digest that fails (memory) ends the process: a wrong hash must not exist. */
void hasher_sha256(struct hasher *h, const struct span *parts, size_t count, uint8_t ret[HASH_LEN]);
void hash_leaf(struct hasher *h, struct span leaf, uint8_t ret[HASH_LEN]);
void hash_node(struct hasher *h, const uint8_t left[HASH_LEN], const uint8_t right[HASH_LEN], uint8_t ret[HASH_LEN]);

/* The complete subtrees along the right edge; edge[L] counts when bit L of size is set. Zeroed = empty. */
struct tree {
	uint64_t size;
	uint8_t edge[TREE_LEVELS][HASH_LEN];
};
void tree_append(struct tree *t, struct hasher *h, const uint8_t leaf[HASH_LEN]);
void tree_root(const struct tree *t, struct hasher *h, uint8_t ret[HASH_LEN]);

/** audit-log.md section 4. @param proof  count hashes, from the leaf upwards */
bool tree_includes(struct hasher *h, uint64_t index, uint64_t size, const uint8_t leaf[HASH_LEN], const uint8_t (*proof)[HASH_LEN], size_t count,
                   const uint8_t root[HASH_LEN]);
/** Is the tree of size `to` an extension of that of size `from`? A proof from size 0 proves nothing, and is refused. */
bool tree_extends(struct hasher *h, uint64_t from, uint64_t to, const uint8_t from_root[HASH_LEN], const uint8_t to_root[HASH_LEN],
                  const uint8_t (*proof)[HASH_LEN], size_t count);

#endif
