/*
 * server/core/merkle.c - RFC 6962 section 2.1 hashing over the right edge of the tree, and its proofs.
 * Proofs are generated recursively, as the RFC defines them, and checked iteratively: two ways that share nothing but the hash, so that each can be
 * tested against the other.
 */
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

/* ---- generating: by definition, over complete subtrees ---- */

#define SIZE_LIMIT ((uint64_t)INT64_MAX) /* what a database can number; its longest proof has MERKLE_PROOF_MAX hashes */

struct tree {
	merkle_get_fn get;
	void *arg;
};

/* The largest power of two below n. @param n  at least 2 */
static uint64_t split(uint64_t n) { return UINT64_C(1) << (63 - __builtin_clzll(n - 1)); }

/* Root of the n >= 1 leaves from `first`. Every range that the definitions ask for begins at a multiple of the power of two at or above n, so a range
 * of a power of two is one stored node. */
static kms_status range_hash(const struct tree *t, uint64_t first, uint64_t n, uint8_t ret_hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	uint8_t left[MERKLE_HASH_LEN], right[MERKLE_HASH_LEN];
	uint64_t k = 0;

	if ((n & (n - 1)) == 0) {
		unsigned level = (unsigned)__builtin_ctzll(n);
		return t->get(t->arg, level, first >> level, ret_hash, err);
	}
	k = split(n);
	KMS_TRY(range_hash(t, first, k, left, err));
	KMS_TRY(range_hash(t, first + k, n - k, right, err));
	merkle_node_hash(left, right, ret_hash);
	return KMS_OK;
}

static kms_status add_range(const struct tree *t, uint64_t first, uint64_t n, struct merkle_proof *p, struct kms_err *err)
{
	KMS_TRY(range_hash(t, first, n, p->hash[p->count], err));
	p->count++;
	return KMS_OK;
}

/* PATH(m, D[n]) for the n leaves from `first`; m counts from there. */
static kms_status add_path(const struct tree *t, uint64_t m, uint64_t first, uint64_t n, struct merkle_proof *p, struct kms_err *err)
{
	uint64_t k = 0;

	if (n == 1)
		return KMS_OK;
	k = split(n);
	if (m < k) {
		KMS_TRY(add_path(t, m, first, k, p, err));
		return add_range(t, first + k, n - k, p, err);
	}
	KMS_TRY(add_path(t, m - k, first + k, n - k, p, err));
	return add_range(t, first, k, p, err);
}

/* SUBPROOF(m, D[n], is_known) for the n leaves from `first`; is_known: the root of the first m is what the verifier has. */
static kms_status add_subproof(const struct tree *t, uint64_t m, uint64_t first, uint64_t n, bool is_known, struct merkle_proof *p,
                               struct kms_err *err)
{
	uint64_t k = 0;

	if (m == n)
		return is_known ? KMS_OK : add_range(t, first, n, p, err);
	k = split(n);
	if (m <= k) {
		KMS_TRY(add_subproof(t, m, first, k, is_known, p, err));
		return add_range(t, first + k, n - k, p, err);
	}
	KMS_TRY(add_subproof(t, m - k, first + k, n - k, false, p, err));
	return add_range(t, first, k, p, err);
}

kms_status merkle_root_at(uint64_t size, merkle_get_fn get, void *arg, uint8_t ret_root[MERKLE_HASH_LEN], struct kms_err *err)
{
	const struct tree t = { .get = get, .arg = arg };
	uint8_t root[MERKLE_HASH_LEN];

	if (size > SIZE_LIMIT)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "root of %llu leaves", (unsigned long long)size);
	if (size == 0)
		memcpy(root, EMPTY_ROOT, sizeof(root));
	else
		KMS_TRY(range_hash(&t, 0, size, root, err));
	memcpy(ret_root, root, sizeof(root));
	return KMS_OK;
}

kms_status merkle_inclusion(uint64_t seq, uint64_t size, merkle_get_fn get, void *arg, struct merkle_proof *ret, struct kms_err *err)
{
	const struct tree t = { .get = get, .arg = arg };
	struct merkle_proof p = { 0 };

	if (seq >= size || size > SIZE_LIMIT)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "path of leaf %llu of %llu", (unsigned long long)seq, (unsigned long long)size);
	KMS_TRY(add_path(&t, seq, 0, size, &p, err));
	*ret = p;
	return KMS_OK;
}

kms_status merkle_consistency(uint64_t from, uint64_t to, merkle_get_fn get, void *arg, struct merkle_proof *ret, struct kms_err *err)
{
	const struct tree t = { .get = get, .arg = arg };
	struct merkle_proof p = { 0 };

	if (from == 0 || from > to || to > SIZE_LIMIT)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "consistency from %llu to %llu", (unsigned long long)from, (unsigned long long)to);
	KMS_TRY(add_subproof(&t, from, 0, to, true, &p, err));
	*ret = p;
	return KMS_OK;
}

/* ---- checking: audit-log.md section 4 ---- */

static bool same_hash(const uint8_t a[MERKLE_HASH_LEN], const uint8_t b[MERKLE_HASH_LEN])
{
	return memcmp(a, b, MERKLE_HASH_LEN) == 0; /* allowed: hashes of the tree are public */
}

/* Where a check stands: a node, and the last node of its level. */
struct walk {
	uint64_t at, last;
};

static bool is_right_child(const struct walk *w) { return (w->at & 1) != 0 || w->at == w->last; }

/* After a left sibling was taken: levels at which this node is the last and alone have no sibling. */
static void skip_lone_levels(struct walk *w)
{
	for (; (w->at & 1) == 0 && w->at != 0; w->at >>= 1)
		w->last >>= 1;
}

static void go_up(struct walk *w)
{
	w->at >>= 1;
	w->last >>= 1;
}

bool merkle_check_inclusion(uint64_t seq, uint64_t size, const uint8_t leaf[MERKLE_HASH_LEN], const struct merkle_proof *p,
                            const uint8_t root[MERKLE_HASH_LEN])
{
	struct walk w = { .at = seq, .last = size - 1 };
	uint8_t r[MERKLE_HASH_LEN];

	if (seq >= size || p->count > MERKLE_PROOF_MAX)
		return false;
	memcpy(r, leaf, sizeof(r));
	for (size_t i = 0; i < p->count; i++) {
		if (w.last == 0)
			return false;
		if (is_right_child(&w)) {
			merkle_node_hash(p->hash[i], r, r);
			skip_lone_levels(&w);
		} else {
			merkle_node_hash(r, p->hash[i], r);
		}
		go_up(&w);
	}
	return w.last == 0 && same_hash(r, root);
}

bool merkle_check_consistency(uint64_t from, uint64_t to, const uint8_t from_root[MERKLE_HASH_LEN], const uint8_t to_root[MERKLE_HASH_LEN],
                              const struct merkle_proof *p)
{
	struct walk w = { .at = from - 1, .last = to - 1 };
	uint8_t x[MERKLE_HASH_LEN], y[MERKLE_HASH_LEN];
	size_t i = 0;

	if (from == 0 || from > to || p->count > MERKLE_PROOF_MAX)
		return false;
	if (from == to)
		return p->count == 0 && same_hash(from_root, to_root);
	if (p->count == 0)
		return false;
	/* A power of two is one complete subtree: the proof begins with what the verifier knows and so leaves it out. */
	memcpy(x, (from & (from - 1)) == 0 ? from_root : p->hash[i++], sizeof(x));
	memcpy(y, x, sizeof(y));
	for (; (w.at & 1) != 0; w.at >>= 1)
		w.last >>= 1;
	for (; i < p->count; i++) {
		if (w.last == 0)
			return false;
		if (is_right_child(&w)) {
			merkle_node_hash(p->hash[i], x, x);
			merkle_node_hash(p->hash[i], y, y);
			skip_lone_levels(&w);
		} else {
			merkle_node_hash(y, p->hash[i], y);
		}
		go_up(&w);
	}
	return w.last == 0 && same_hash(x, from_root) && same_hash(y, to_root);
}
