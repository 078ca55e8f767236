/* server/core/merkle.c - RFC 6962 section 2.1 hashing over the right edge of the tree. */
#include "server/core/merkle.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LEAF_PREFIX 0x00
#define NODE_PREFIX 0x01

static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256; /* fetched once: a fetch for each hash costs more than the hash (crypto(7)) */

static void fetch_sha256(void) { sha256 = EVP_MD_fetch(NULL, "SHA256", NULL); }

/* H(prefix || a || b). Hashing fails only without memory or without SHA-256; no leaf may be written under an unknown hash, so the process ends. */
static void hash_prefixed(uint8_t prefix, const void *a, size_t a_len, const void *b, size_t b_len, uint8_t ret_hash[MERKLE_HASH_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	(void)pthread_once(&sha256_once, fetch_sha256);
	if (ctx == NULL || sha256 == NULL || EVP_DigestInit_ex2(ctx, sha256, NULL) != 1 || EVP_DigestUpdate(ctx, &prefix, 1) != 1 ||
	    EVP_DigestUpdate(ctx, a, a_len) != 1 || EVP_DigestUpdate(ctx, b, b_len) != 1 || EVP_DigestFinal_ex(ctx, ret_hash, NULL) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
}

void merkle_leaf_hash(const void *leaf, size_t len, uint8_t ret_hash[MERKLE_HASH_LEN])
{
	hash_prefixed(LEAF_PREFIX, leaf, len, "", 0, ret_hash);
}

void merkle_node_hash(const uint8_t left[MERKLE_HASH_LEN], const uint8_t right[MERKLE_HASH_LEN], uint8_t ret_hash[MERKLE_HASH_LEN])
{
	hash_prefixed(NODE_PREFIX, left, MERKLE_HASH_LEN, right, MERKLE_HASH_LEN, ret_hash);
}

kms_status merkle_append(struct merkle_edge *e, const uint8_t leaf_hash[MERKLE_HASH_LEN], merkle_put_fn put, void *arg, struct kms_err *err)
{
	uint8_t hash[MERKLE_HASH_LEN];
	uint64_t position = e->size;
	unsigned level = 0;

	memcpy(hash, leaf_hash, sizeof(hash));
	/* While the subtree just closed is a right child, its left sibling is the edge's entry of that level. */
	for (; (position & 1) != 0; position >>= 1) {
		merkle_node_hash(e->edge[level], hash, hash);
		level++;
		KMS_TRY(put(arg, level, position >> 1, hash, err));
	}
	memset(e->edge, 0, level * sizeof(e->edge[0]));
	memcpy(e->edge[level], hash, sizeof(hash));
	e->size++;
	return KMS_OK;
}

kms_status merkle_load(uint64_t size, merkle_get_fn get, void *arg, struct merkle_edge *ret_edge, struct kms_err *err)
{
	struct merkle_edge e = { .size = size };

	for (unsigned level = 0; level < MERKLE_LEVELS && size >> level != 0; level++) {
		uint64_t subtrees = size >> level;
		if ((subtrees & 1) != 0)
			KMS_TRY(get(arg, level, subtrees - 1, e.edge[level], err));
	}
	*ret_edge = e;
	return KMS_OK;
}

/* SHA-256 of nothing: FIPS 180-4. */
static const uint8_t EMPTY_ROOT[MERKLE_HASH_LEN] = {
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
};

void merkle_root(const struct merkle_edge *e, uint8_t ret_root[MERKLE_HASH_LEN])
{
	bool has_root = false;

	memcpy(ret_root, EMPTY_ROOT, MERKLE_HASH_LEN);
	for (unsigned level = 0; level < MERKLE_LEVELS; level++) {
		if ((e->size >> level & 1) == 0)
			continue;
		if (has_root)
			merkle_node_hash(e->edge[level], ret_root, ret_root);
		else
			memcpy(ret_root, e->edge[level], MERKLE_HASH_LEN);
		has_root = true;
	}
}
