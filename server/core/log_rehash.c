/*
 * server/core/log_rehash.c - what is stored is read back and hashed again before it is signed. A public log had to be retired because one bit flipped between computing
 * a hash and storing it (audit-log.md section 4).
 */
#include "server/core/checkpoint_parts.h"

#include <inttypes.h>
#include <string.h>

#define ASK_EVERY 1024 /* leaves */

kms_status log_get_node(void *arg, unsigned level, uint64_t position, uint8_t ret_hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	return store_node(arg, level, position, ret_hash, err);
}

static bool is_same(const uint8_t a[MERKLE_HASH_LEN], const uint8_t b[MERKLE_HASH_LEN])
{
	return memcmp(a, b, MERKLE_HASH_LEN) == 0; /* allowed: hashes are public */
}

/* Each subtree that a leaf closes must be stored as it is computed now. */
static kms_status compare_node(void *arg, unsigned level, uint64_t position, const uint8_t hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	uint8_t stored[MERKLE_HASH_LEN];

	KMS_TRY(store_node(arg, level, position, stored, err));
	if (!is_same(stored, hash))
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "the stored node %u/%" PRIu64 " is not the hash of what is below it", level, position);
	return KMS_OK;
}

static kms_status add_leaf(struct store *store, struct merkle_edge *edge, struct kms_err *err)
{
	uint64_t seq = edge->size;
	struct store_event e = { 0 };
	uint8_t hash[MERKLE_HASH_LEN];
	bool is_sound;

	KMS_TRY(store_event(store, seq, &e, err));
	merkle_leaf_hash(e.leaf, e.leaf_len, hash);
	is_sound = is_same(hash, e.hash);
	store_event_clear(&e);
	if (!is_sound)
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "leaf %" PRIu64 " does not have its stored hash", seq);
	return merkle_append(edge, hash, compare_node, store, err);
}

static kms_status check_root(const struct merkle_edge *edge, const uint8_t root[MERKLE_HASH_LEN], const char *what, struct kms_err *err)
{
	uint8_t found[MERKLE_HASH_LEN];

	merkle_root(edge, found);
	if (!is_same(found, root))
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "the stored tree of %" PRIu64 " leaves does not have %s", edge->size, what);
	return KMS_OK;
}

static kms_status rehash(struct store *store, uint64_t from, const uint8_t from_root[MERKLE_HASH_LEN], uint64_t size,
                         const uint8_t root[MERKLE_HASH_LEN], uint64_t wanted, uint8_t ret_wanted[MERKLE_HASH_LEN], bool (*go_on)(void *arg), void *arg,
                         struct kms_err *err)
{
	struct merkle_edge edge = { 0 };
	struct merkle_proof proof;

	KMS_TRY(merkle_load(from, log_get_node, store, &edge, err));
	if (from > 0)
		KMS_TRY(check_root(&edge, from_root, "the root that was signed", err));
	while (edge.size < size) {
		if (edge.size % ASK_EVERY == 0 && !go_on(arg))
			return KMS_E_SHUTDOWN;
		KMS_TRY(add_leaf(store, &edge, err));
		if (edge.size == wanted)
			merkle_root(&edge, ret_wanted);
	}
	KMS_TRY(check_root(&edge, root, "the root that was computed", err));
	KMS_TRY(merkle_load(size, log_get_node, store, &edge, err));
	KMS_TRY(check_root(&edge, root, "the root that was computed", err));
	if (from == 0)
		return KMS_OK;
	KMS_TRY(merkle_consistency(from, size, log_get_node, store, &proof, err));
	if (!merkle_check_consistency(from, size, from_root, root, &proof))
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "the tree of %" PRIu64 " leaves does not extend the signed one of %" PRIu64, size,
		                from);
	return KMS_OK;
}

kms_status log_rehash(struct store *store, uint64_t from, const uint8_t from_root[MERKLE_HASH_LEN], uint64_t size,
                      const uint8_t root[MERKLE_HASH_LEN], uint64_t wanted, uint8_t ret_wanted[MERKLE_HASH_LEN], bool (*go_on)(void *arg), void *arg, struct kms_err *err)
{
	struct kms_err why = { 0 };
	kms_status status = rehash(store, from, from_root, size, root, wanted, ret_wanted, go_on, arg, &why);

	/* What was written is there: the writer committed it before it said so. */
	if (status == KMS_E_NOTFOUND)
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "a leaf or a node of the first %" PRIu64 " is missing", size);
	if (status != KMS_OK)
		*err = why;
	return status;
}
