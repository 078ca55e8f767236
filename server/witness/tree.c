/* server/witness/tree.c - see tree.h. The check of RFC 9162 section 2.1.4.2: iterative, bounded by the proof's length. */
#include "server/witness/tree.h"

#include <openssl/sha.h>
#include <string.h>

static void node(const uint8_t left[HASH_LEN], const uint8_t right[HASH_LEN], uint8_t ret[HASH_LEN])
{
	uint8_t bytes[1 + 2 * HASH_LEN];

	bytes[0] = 0x01;
	memcpy(bytes + 1, left, HASH_LEN);
	memcpy(bytes + 1 + HASH_LEN, right, HASH_LEN);
	SHA256(bytes, sizeof(bytes), ret);
}

void tree_empty_root(uint8_t ret[HASH_LEN]) { SHA256((const uint8_t *)"", 0, ret); }

/* 0 < from < to */
static bool is_proven(uint64_t from, const uint8_t from_root[HASH_LEN], uint64_t to, const uint8_t to_root[HASH_LEN], uint8_t (*proof)[HASH_LEN], size_t count)
{
	uint64_t a = from - 1, b = to - 1;
	uint8_t older[HASH_LEN], newer[HASH_LEN];
	size_t next = 0;

	for (; (a & 1) != 0; a >>= 1)
		b >>= 1;
	/* A whole subtree is its own beginning, which a proof leaves out. */
	if ((from & (from - 1)) != 0 && count == 0)
		return false;
	memcpy(older, (from & (from - 1)) == 0 ? from_root : proof[next++], HASH_LEN);
	memcpy(newer, older, HASH_LEN);
	for (; next < count; next++) {
		if (b == 0)
			return false;
		if ((a & 1) != 0 || a == b) {
			node(proof[next], older, older);
			node(proof[next], newer, newer);
			for (; (a & 1) == 0 && a != 0; a >>= 1)
				b >>= 1;
		} else {
			node(newer, proof[next], newer);
		}
		a >>= 1;
		b >>= 1;
	}
	return b == 0 && memcmp(older, from_root, HASH_LEN) == 0 && memcmp(newer, to_root, HASH_LEN) == 0;
}

bool tree_extends(uint64_t from, const uint8_t from_root[HASH_LEN], uint64_t to, const uint8_t to_root[HASH_LEN], uint8_t (*proof)[HASH_LEN], size_t count)
{
	uint8_t empty[HASH_LEN];

	tree_empty_root(empty);
	if (from > to || (to == 0 && memcmp(to_root, empty, HASH_LEN) != 0))
		return false;
	if (from == to)
		return count == 0 && memcmp(from_root, to_root, HASH_LEN) == 0;
	if (from == 0)
		return count == 0;
	return is_proven(from, from_root, to, to_root, proof, count);
}
