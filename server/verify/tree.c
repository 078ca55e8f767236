/* server/verify/tree.c - written from RFC 6962 section 2.1, apart from the server's. */
#include "server/verify/tree.h"

#include <stdlib.h>

bool hasher_open(struct hasher *h)
{
	h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
	h->ctx = EVP_MD_CTX_new();
	if (h->md != NULL && h->ctx != NULL)
		return true;
	hasher_close(h);
	return false;
}

void hasher_close(struct hasher *h)
{
	EVP_MD_CTX_free(h->ctx);
	EVP_MD_free(h->md);
	*h = (struct hasher){ 0 };
}

void hasher_sha256(struct hasher *h, const struct span *parts, size_t count, uint8_t ret[HASH_LEN])
{
	if (EVP_DigestInit_ex2(h->ctx, h->md, NULL) != 1)
		abort();
	for (size_t i = 0; i < count; i++) {
		if (EVP_DigestUpdate(h->ctx, parts[i].p, parts[i].n) != 1)
			abort();
	}
	if (EVP_DigestFinal_ex(h->ctx, ret, NULL) != 1)
		abort();
}

void hash_leaf(struct hasher *h, struct span leaf, uint8_t ret[HASH_LEN])
{
	const struct span parts[] = { { "\0", 1 }, leaf };
	hasher_sha256(h, parts, 2, ret);
}

void hash_node(struct hasher *h, const uint8_t left[HASH_LEN], const uint8_t right[HASH_LEN], uint8_t ret[HASH_LEN])
{
	char both[1 + 2 * HASH_LEN] = { 1 };

	memcpy(both + 1, left, HASH_LEN);
	memcpy(both + 1 + HASH_LEN, right, HASH_LEN);
	hasher_sha256(h, &(struct span){ both, sizeof(both) }, 1, ret);
}

void tree_append(struct tree *t, struct hasher *h, const uint8_t leaf[HASH_LEN])
{
	uint8_t hash[HASH_LEN];
	unsigned level = 0;

	memcpy(hash, leaf, HASH_LEN);
	for (uint64_t position = t->size; (position & 1) != 0; position >>= 1)
		hash_node(h, t->edge[level++], hash, hash);
	memcpy(t->edge[level], hash, HASH_LEN);
	t->size++;
}

void tree_root(const struct tree *t, struct hasher *h, uint8_t ret[HASH_LEN])
{
	bool has_any = false;

	for (unsigned level = 0; level < TREE_LEVELS; level++) {
		if ((t->size >> level & 1) == 0)
			continue;
		if (has_any)
			hash_node(h, t->edge[level], ret, ret);
		else
			memcpy(ret, t->edge[level], HASH_LEN);
		has_any = true;
	}
	if (!has_any)
		hasher_sha256(h, NULL, 0, ret);
}

bool tree_includes(struct hasher *h, uint64_t index, uint64_t size, const uint8_t leaf[HASH_LEN], const uint8_t (*proof)[HASH_LEN], size_t count,
                   const uint8_t root[HASH_LEN])
{
	uint64_t a = index, b = size - 1;
	uint8_t r[HASH_LEN];

	if (index >= size)
		return false;
	memcpy(r, leaf, HASH_LEN);
	for (size_t i = 0; i < count; i++) {
		if (b == 0)
			return false;
		if ((a & 1) != 0 || a == b) {
			hash_node(h, proof[i], r, r);
			for (; (a & 1) == 0 && a != 0; a >>= 1)
				b >>= 1;
		} else {
			hash_node(h, r, proof[i], r);
		}
		a >>= 1;
		b >>= 1;
	}
	return b == 0 && memcmp(r, root, HASH_LEN) == 0;
}

bool tree_extends(struct hasher *h, uint64_t from, uint64_t to, const uint8_t from_root[HASH_LEN], const uint8_t to_root[HASH_LEN],
                  const uint8_t (*proof)[HASH_LEN], size_t count)
{
	uint8_t x[HASH_LEN], y[HASH_LEN];
	uint64_t a = from - 1, b = to - 1;
	size_t used = 0;

	if (from == 0 || from > to)
		return false;
	if (from == to)
		return count == 0 && memcmp(from_root, to_root, HASH_LEN) == 0;
	if (count == 0)
		return false;
	bool is_whole = (from & (from - 1)) == 0; /* the old tree is one subtree of the new: the proof leaves its root out */
	memcpy(x, is_whole ? from_root : proof[0], HASH_LEN);
	memcpy(y, x, HASH_LEN);
	used = is_whole ? 0 : 1;
	for (; (a & 1) != 0; a >>= 1)
		b >>= 1;
	for (; used < count; used++) {
		if (b == 0)
			return false;
		if ((a & 1) != 0 || a == b) {
			hash_node(h, proof[used], x, x);
			hash_node(h, proof[used], y, y);
			for (; (a & 1) == 0 && a != 0; a >>= 1)
				b >>= 1;
		} else {
			hash_node(h, y, proof[used], y);
		}
		a >>= 1;
		b >>= 1;
	}
	return b == 0 && memcmp(x, from_root, HASH_LEN) == 0 && memcmp(y, to_root, HASH_LEN) == 0;
}
