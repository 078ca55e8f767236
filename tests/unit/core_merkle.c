/* The tree against its definition, the golden file and the public vectors. */
#include "server/core/merkle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include <cmocka.h>

#include "server/base/encode.h"

#define GOLDEN "../shared/vectors/audit-log/golden-v1.json"
#define PUBLIC_INCLUSION "../shared/vectors/merkle/inclusion.json"
#define PUBLIC_CONSISTENCY "../shared/vectors/merkle/consistency.json"
/* A sanitizer makes each hash twenty times as dear, and finds what it finds in the first hundred. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(IS_SANITIZED)
#define SIZE_MAX_TESTED 100
#else
#define SIZE_MAX_TESTED 300
#endif
#define PATH_MAX_LEN MERKLE_PROOF_MAX

typedef uint8_t hash[MERKLE_HASH_LEN];

/* Stored nodes, as a database would keep them. */
struct nodes {
	hash at[10][SIZE_MAX_TESTED];
	size_t count[10];
	int fail_at;
};

static kms_status put(void *arg, unsigned level, uint64_t position, const uint8_t h[MERKLE_HASH_LEN], struct kms_err *err)
{
	struct nodes *n = arg;
	assert_true(level >= 1 && level < 10);
	if (n->fail_at-- == 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "made to fail");
	assert_int_equal(position, n->count[level]);
	memcpy(n->at[level][n->count[level]++], h, MERKLE_HASH_LEN);
	return KMS_OK;
}

static kms_status get(void *arg, unsigned level, uint64_t position, uint8_t ret_hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	struct nodes *n = arg;
	if (position >= n->count[level])
		return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "no node");
	memcpy(ret_hash, n->at[level][position], MERKLE_HASH_LEN);
	return KMS_OK;
}

/* Roots and proofs again, over the leaves themselves, from the definition in RFC 6962 section 2.1: what the stored nodes are compared with. */
static size_t split(size_t n)
{
	size_t k = 1;
	while (k * 2 < n)
		k *= 2;
	return k;
}

/* The leaves, and each range's root once it has been asked for: every pair up to 300 would take a minute without. */
struct ranges {
	hash leaves[SIZE_MAX_TESTED];
	hash roots[SIZE_MAX_TESTED][SIZE_MAX_TESTED + 1]; /* by first leaf and number */
	bool is_known[SIZE_MAX_TESTED][SIZE_MAX_TESTED + 1];
};

static void root_of(struct ranges *r, size_t first, size_t n, uint8_t *ret)
{
	hash left, right;
	if (n == 1) {
		memcpy(ret, r->leaves[first], MERKLE_HASH_LEN);
		return;
	}
	if (!r->is_known[first][n]) {
		root_of(r, first, split(n), left);
		root_of(r, first + split(n), n - split(n), right);
		merkle_node_hash(left, right, r->roots[first][n]);
		r->is_known[first][n] = true;
	}
	memcpy(ret, r->roots[first][n], MERKLE_HASH_LEN);
}

static size_t path_of(struct ranges *r, size_t first, size_t n, size_t i, hash *ret)
{
	size_t k, len;
	if (n == 1)
		return 0;
	k = split(n);
	len = i < k ? path_of(r, first, k, i, ret) : path_of(r, first + k, n - k, i - k, ret);
	if (i < k)
		root_of(r, first + k, n - k, ret[len]);
	else
		root_of(r, first, k, ret[len]);
	return len + 1;
}

static size_t consistency_of(struct ranges *r, size_t first, size_t m, size_t n, bool is_whole, hash *ret)
{
	size_t k, len;
	if (m == n) {
		if (!is_whole)
			root_of(r, first, m, ret[0]);
		return is_whole ? 0 : 1;
	}
	k = split(n);
	len = m <= k ? consistency_of(r, first, m, k, is_whole, ret) : consistency_of(r, first + k, m - k, n - k, false, ret);
	if (m <= k)
		root_of(r, first + k, n - k, ret[len]);
	else
		root_of(r, first, k, ret[len]);
	return len + 1;
}

static struct merkle_proof proof_of(const hash *path, size_t len)
{
	struct merkle_proof p = { .count = len };
	assert_true(len <= MERKLE_PROOF_MAX);
	memcpy(p.hash, path, len * sizeof(path[0]));
	return p;
}

/* SIZE_MAX_TESTED different leaf hashes, and the root of each size. */
struct tree {
	struct ranges ranges;
	hash roots[SIZE_MAX_TESTED + 1];
	struct nodes nodes;
};

static struct tree *tree_new(void)
{
	struct tree *t = calloc(1, sizeof(*t));
	struct merkle_edge e = { 0 };
	assert_non_null(t);
	t->nodes.fail_at = -1;
	merkle_root(&e, t->roots[0]);
	for (uint32_t i = 0; i < SIZE_MAX_TESTED; i++) {
		merkle_leaf_hash(&i, sizeof(i), t->ranges.leaves[i]);
		assert_int_equal(merkle_append(&e, t->ranges.leaves[i], put, &t->nodes, NULL), KMS_OK);
		merkle_root(&e, t->roots[i + 1]);
	}
	memcpy(t->nodes.at[0], t->ranges.leaves, sizeof(t->ranges.leaves));
	t->nodes.count[0] = SIZE_MAX_TESTED;
	return t;
}

static void roots_equal_the_recursive_definition_up_to_300(void **state)
{
	struct tree *t = tree_new();
	hash root;
	(void)state;
	for (size_t n = 1; n <= SIZE_MAX_TESTED; n++) {
		root_of(&t->ranges, 0, n, root);
		assert_memory_equal(t->roots[n], root, sizeof(root));
	}
	free(t);
}

static void a_loaded_edge_equals_the_appended_one_at_every_size(void **state)
{
	struct tree *t = tree_new();
	struct nodes scratch = { .fail_at = -1 };
	struct merkle_edge appended = { 0 }, loaded;
	(void)state;
	for (size_t n = 0; n <= SIZE_MAX_TESTED; n++) {
		memset(&loaded, 0xee, sizeof(loaded));
		assert_int_equal(merkle_load(n, get, &t->nodes, &loaded, NULL), KMS_OK);
		assert_memory_equal(&loaded, &appended, sizeof(loaded));
		if (n < SIZE_MAX_TESTED)
			assert_int_equal(merkle_append(&appended, t->ranges.leaves[n], put, &scratch, NULL), KMS_OK);
	}
	free(t);
}

static void loading_reports_a_node_that_is_not_there(void **state)
{
	struct tree *t = tree_new();
	struct merkle_edge loaded = { .size = 7 };
	(void)state;
	assert_int_equal(merkle_load(SIZE_MAX_TESTED + 1, get, &t->nodes, &loaded, NULL), KMS_E_NOTFOUND);
	assert_int_equal(loaded.size, 7);
	free(t);
}

static void a_failed_append_leaves_the_edge_as_it_was(void **state)
{
	struct nodes nodes = { .fail_at = -1 };
	struct merkle_edge e = { 0 }, before;
	hash leaf = { 1 };
	(void)state;
	for (int i = 0; i < 127; i++)
		assert_int_equal(merkle_append(&e, leaf, put, &nodes, NULL), KMS_OK);
	before = e;
	for (int nth = 0; nth < 7; nth++) { /* leaf 127 closes seven subtrees */
		struct nodes scratch = nodes;
		scratch.fail_at = nth;
		assert_int_equal(merkle_append(&e, leaf, put, &scratch, NULL), KMS_E_STORE);
		assert_memory_equal(&e, &before, sizeof(e));
	}
	assert_int_equal(merkle_append(&e, leaf, put, &nodes, NULL), KMS_OK);
	assert_int_equal(e.size, 128);
}

static void assert_same_proof(const struct merkle_proof *p, const hash *path, size_t len)
{
	assert_int_equal(p->count, len);
	assert_memory_equal(p->hash, path, len * sizeof(path[0]));
}

static void inclusion_proofs_are_as_defined_and_pass_the_checker_for_every_pair_up_to_300(void **state)
{
	struct tree *t = tree_new();
	struct merkle_proof p;
	hash path[PATH_MAX_LEN];
	(void)state;
	for (size_t n = 1; n <= SIZE_MAX_TESTED; n++)
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(merkle_inclusion(i, n, get, &t->nodes, &p, NULL), KMS_OK);
			assert_same_proof(&p, path, path_of(&t->ranges, 0, n, i, path));
			assert_true(merkle_check_inclusion(i, n, t->ranges.leaves[i], &p, t->roots[n]));
			if (p.count > 0 && (i + n) % 5 == 0) {
				p.hash[(i + n / 5) % p.count][i % MERKLE_HASH_LEN] ^= 0x10;
				assert_false(merkle_check_inclusion(i, n, t->ranges.leaves[i], &p, t->roots[n]));
			}
		}
	free(t);
}

static void consistency_proofs_are_as_defined_and_pass_the_checker_for_every_pair_up_to_300(void **state)
{
	struct tree *t = tree_new();
	struct merkle_proof p;
	hash path[PATH_MAX_LEN];
	(void)state;
	for (size_t n = 1; n <= SIZE_MAX_TESTED; n++)
		for (size_t m = 1; m <= n; m++) {
			assert_int_equal(merkle_consistency(m, n, get, &t->nodes, &p, NULL), KMS_OK);
			assert_same_proof(&p, path, consistency_of(&t->ranges, 0, m, n, true, path));
			assert_true(merkle_check_consistency(m, n, t->roots[m], t->roots[n], &p));
			if (p.count > 0 && (m + n) % 5 == 0) {
				p.hash[(m + n / 5) % p.count][m % MERKLE_HASH_LEN] ^= 0x10;
				assert_false(merkle_check_consistency(m, n, t->roots[m], t->roots[n], &p));
			}
		}
	free(t);
}

static void roots_from_stored_nodes_are_those_of_the_edge_at_every_size(void **state)
{
	struct tree *t = tree_new();
	hash root;
	(void)state;
	for (size_t n = 0; n <= SIZE_MAX_TESTED; n++) {
		assert_int_equal(merkle_root_at(n, get, &t->nodes, root, NULL), KMS_OK);
		assert_memory_equal(root, t->roots[n], sizeof(root));
	}
	free(t);
}

/* ---- large trees: all leaves alike but a few, so that nearly every subtree is one of sixty-odd ---- */

#define LARGE_BITS 20
#define HUGE_BITS 62
#define SPECIALS 48

struct sparse_level {
	uint64_t position[SPECIALS];
	hash at[SPECIALS];
	size_t count;
	hash ordinary;
};

struct sparse {
	struct sparse_level level[HUGE_BITS + 1];
	size_t reads;
};

static const uint8_t *sparse_at(const struct sparse_level *l, uint64_t position)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->position[i] == position)
			return l->at[i];
	return l->ordinary;
}

static kms_status sparse_get(void *arg, unsigned level, uint64_t position, uint8_t ret_hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	struct sparse *s = arg;
	(void)err;
	assert_true(level <= HUGE_BITS);
	s->reads++;
	memcpy(ret_hash, sparse_at(&s->level[level], position), MERKLE_HASH_LEN);
	return KMS_OK;
}

static uint64_t chance(uint64_t *state, unsigned bits)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (*state * UINT64_C(0x2545f4914f6cdd1d)) >> (64 - bits);
}

static struct sparse *sparse_new(unsigned bits, uint64_t *seed)
{
	struct sparse *s = calloc(1, sizeof(*s));
	struct sparse_level *leaves;
	assert_non_null(s);
	leaves = &s->level[0];
	merkle_leaf_hash("", 0, leaves->ordinary);
	for (size_t i = 0; i < SPECIALS; i++) {
		leaves->position[i] = chance(seed, bits);
		merkle_leaf_hash(&leaves->position[i], sizeof(leaves->position[i]), leaves->at[i]);
	}
	leaves->count = SPECIALS;
	for (unsigned level = 1; level <= bits; level++) {
		struct sparse_level *below = &s->level[level - 1], *l = &s->level[level];
		merkle_node_hash(below->ordinary, below->ordinary, l->ordinary);
		for (size_t i = 0; i < below->count; i++) {
			uint64_t position = below->position[i] >> 1;
			if (sparse_at(l, position) != l->ordinary)
				continue;
			l->position[l->count] = position;
			merkle_node_hash(sparse_at(below, position * 2), sparse_at(below, position * 2 + 1), l->at[l->count]);
			l->count++;
		}
	}
	return s;
}

/* A size at or beside a leaf of its own, or anywhere; 1.. */
static uint64_t some_size(const struct sparse *s, unsigned bits, uint64_t *seed)
{
	uint64_t n = chance(seed, 1) != 0 ? s->level[0].position[chance(seed, 5)] + chance(seed, 1) : chance(seed, 1 + (unsigned)(chance(seed, 6) % bits));
	return n == 0 ? 1 : n;
}

static void random_proofs(unsigned bits, size_t rounds)
{
	uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);
	struct sparse *s = sparse_new(bits, &seed);
	struct merkle_proof p;
	hash root, from_root;
	for (size_t round = 0; round < rounds; round++) {
		uint64_t n = some_size(s, bits, &seed), i = some_size(s, bits, &seed) % n, m = 1 + some_size(s, bits, &seed) % n;
		assert_int_equal(merkle_root_at(n, sparse_get, s, root, NULL), KMS_OK);
		assert_int_equal(merkle_root_at(m, sparse_get, s, from_root, NULL), KMS_OK);
		s->reads = 0;
		assert_int_equal(merkle_inclusion(i, n, sparse_get, s, &p, NULL), KMS_OK);
		assert_true(s->reads <= 2 * bits);
		assert_true(merkle_check_inclusion(i, n, sparse_at(&s->level[0], i), &p, root));
		s->reads = 0;
		assert_int_equal(merkle_consistency(m, n, sparse_get, s, &p, NULL), KMS_OK);
		assert_true(s->reads <= 2 * bits);
		assert_true(merkle_check_consistency(m, n, from_root, root, &p));
		if (p.count > 0) {
			p.count--;
			assert_false(merkle_check_consistency(m, n, from_root, root, &p));
		}
	}
	free(s);
}

static void random_proofs_of_trees_up_to_2_to_the_20_pass_and_read_few_nodes(void **state)
{
	(void)state;
	random_proofs(LARGE_BITS, 600);
}

static void random_proofs_of_trees_up_to_2_to_the_62_pass_and_read_few_nodes(void **state)
{
	(void)state;
	random_proofs(HUGE_BITS, 200);
}

static void what_is_outside_the_tree_has_no_proof(void **state)
{
	struct tree *t = tree_new();
	struct merkle_proof p = { .count = 77 };
	hash root = { 7 };
	(void)state;
	assert_int_equal(merkle_inclusion(7, 7, get, &t->nodes, &p, NULL), KMS_E_INVALID);
	assert_int_equal(merkle_inclusion(0, 0, get, &t->nodes, &p, NULL), KMS_E_INVALID);
	assert_int_equal(merkle_inclusion(0, UINT64_MAX, get, &t->nodes, &p, NULL), KMS_E_INVALID);
	assert_int_equal(merkle_consistency(0, 7, get, &t->nodes, &p, NULL), KMS_E_INVALID);
	assert_int_equal(merkle_consistency(8, 7, get, &t->nodes, &p, NULL), KMS_E_INVALID);
	assert_int_equal(merkle_consistency(1, UINT64_MAX, get, &t->nodes, &p, NULL), KMS_E_INVALID);
	assert_int_equal(merkle_root_at(UINT64_MAX, get, &t->nodes, root, NULL), KMS_E_INVALID);
	/* A node that is not there: the failure is the store's, and nothing half-made is handed out. */
	assert_int_equal(merkle_inclusion(3, SIZE_MAX_TESTED + 1, get, &t->nodes, &p, NULL), KMS_E_NOTFOUND);
	assert_int_equal(merkle_consistency(3, SIZE_MAX_TESTED + 1, get, &t->nodes, &p, NULL), KMS_E_NOTFOUND);
	assert_int_equal(merkle_root_at(SIZE_MAX_TESTED + 1, get, &t->nodes, root, NULL), KMS_E_NOTFOUND);
	assert_int_equal(p.count, 77);
	assert_int_equal(root[0], 7);
	free(t);
}

static void the_checker_is_strict(void **state)
{
	struct tree *t = tree_new();
	const hash *roots = (const hash *)t->roots;
	struct merkle_proof p, longer, none = { 0 };
	(void)state;
	/* Nothing can be shown of a size of 0, not even that it is extended by itself. */
	assert_false(merkle_check_consistency(0, 0, roots[0], roots[0], &none));
	assert_false(merkle_check_consistency(0, 5, roots[0], roots[5], &none));
	assert_false(merkle_check_consistency(6, 5, roots[6], roots[5], &none));
	assert_true(merkle_check_consistency(5, 5, roots[5], roots[5], &none));
	assert_false(merkle_check_consistency(5, 5, roots[5], roots[6], &none));
	assert_false(merkle_check_consistency(4, 5, roots[4], roots[5], &none));
	assert_false(merkle_check_inclusion(0, 0, roots[0], &none, roots[0]));
	assert_true(merkle_check_inclusion(0, 1, t->ranges.leaves[0], &none, roots[1]));
	assert_false(merkle_check_inclusion(1, 1, t->ranges.leaves[1], &none, roots[1]));
	assert_int_equal(merkle_inclusion(35, 90, get, &t->nodes, &p, NULL), KMS_OK);
	longer = p;
	longer.count++; /* one hash of zeros more */
	assert_false(merkle_check_inclusion(35, 90, t->ranges.leaves[35], &longer, roots[90]));
	longer.count = MERKLE_PROOF_MAX + 1;
	assert_false(merkle_check_inclusion(35, 90, t->ranges.leaves[35], &longer, roots[90]));
	assert_false(merkle_check_consistency(35, 90, roots[35], roots[90], &longer));
	assert_false(merkle_check_inclusion(36, 90, t->ranges.leaves[35], &p, roots[90]));
	assert_false(merkle_check_inclusion(35, 90, t->ranges.leaves[36], &p, roots[90]));
	p.count--;
	assert_false(merkle_check_inclusion(35, 90, t->ranges.leaves[35], &p, roots[90]));
	/* Equal sizes prove themselves by being equal: a proof is one too many. */
	none.count = 1;
	assert_false(merkle_check_consistency(5, 5, roots[5], roots[5], &none));
	free(t);
}

static json_t *load(const char *path)
{
	json_t *j;
	if (access(path, R_OK) != 0) {
		printf("skipped: %s is not in this checkout\n", path);
		skip();
	}
	/* Some indices are beyond a signed 64-bit integer. */
	j = json_load_file(path, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
	assert_non_null(j);
	return j;
}

static void from_hex(const json_t *text, uint8_t *ret, size_t len)
{
	assert_true(hex_decode(json_string_value(text), json_string_length(text), ret, len));
}

/* Exact up to 2^53; what is larger is far beyond any size in these files. */
static uint64_t number_from(const json_t *object, const char *name)
{
	double d = json_number_value(json_object_get(object, name));
	return d < 9007199254740992.0 ? (uint64_t)d : UINT64_MAX;
}

/* Standard base64 of one hash, by way of the base64url decoder. */
static bool from_b64(const json_t *text, uint8_t *ret)
{
	char url[128];
	size_t len = json_string_length(text), got = 0;
	if (len >= sizeof(url))
		return false;
	for (size_t i = 0; i <= len; i++) {
		char c = json_string_value(text)[i];
		url[i] = (char)(c == '+' ? '-' : c == '/' ? '_' : c);
	}
	return b64url_decode(url, len, ret, MERKLE_HASH_LEN, &got) && got == MERKLE_HASH_LEN;
}

/* False when a hash is not 32 bytes or there are too many. */
static bool path_from(const json_t *list, hash *ret)
{
	size_t i;
	json_t *h;
	if (json_array_size(list) > PATH_MAX_LEN)
		return false;
	json_array_foreach(list, i, h) {
		if (!from_b64(h, ret[i]))
			return false;
	}
	return true;
}

static void golden_roots_proofs_and_rfc_6962_values(void **state)
{
	json_t *golden = load(GOLDEN), *basic = json_object_get(golden, "rfc6962_basic"), *item;
	struct nodes nodes = { .fail_at = -1 };
	struct merkle_edge e = { 0 };
	struct merkle_proof p, generated;
	hash leaves[16], roots[16], expected, got, path[PATH_MAX_LEN];
	uint8_t input[64];
	size_t i, n = json_array_size(json_object_get(golden, "leaves"));
	(void)state;
	assert_int_equal(n, 13);
	for (i = 0; i <= n; i++) {
		merkle_root(&e, roots[i]);
		from_hex(json_array_get(json_object_get(golden, "roots_hex"), i), expected, sizeof(expected));
		assert_memory_equal(roots[i], expected, sizeof(expected));
		if (i == n)
			break;
		item = json_object_get(json_array_get(json_object_get(golden, "leaves"), i), "canonical");
		merkle_leaf_hash(json_string_value(item), json_string_length(item), leaves[i]);
		from_hex(json_object_get(json_array_get(json_object_get(golden, "leaves"), i), "leaf_hash_hex"), expected, sizeof(expected));
		assert_memory_equal(leaves[i], expected, sizeof(expected));
		assert_int_equal(merkle_append(&e, leaves[i], put, &nodes, NULL), KMS_OK);
	}
	memcpy(nodes.at[0], leaves, n * sizeof(leaves[0]));
	nodes.count[0] = n;
	json_array_foreach(json_object_get(golden, "inclusion"), i, item) {
		uint64_t index = number_from(item, "index"), size = number_from(item, "size");
		const json_t *hashes = json_object_get(item, "hashes_b64");
		assert_true(path_from(hashes, path));
		p = proof_of(path, json_array_size(hashes));
		assert_true(merkle_check_inclusion(index, size, leaves[index], &p, roots[size]));
		assert_int_equal(merkle_inclusion(index, size, get, &nodes, &generated, NULL), KMS_OK);
		assert_same_proof(&generated, path, p.count);
	}
	assert_int_equal(i, 91);
	json_array_foreach(json_object_get(golden, "consistency"), i, item) {
		uint64_t from = number_from(item, "from"), to = number_from(item, "to");
		const json_t *hashes = json_object_get(item, "hashes_b64");
		assert_true(path_from(hashes, path));
		p = proof_of(path, json_array_size(hashes));
		assert_true(merkle_check_consistency(from, to, roots[from], roots[to], &p));
		assert_int_equal(merkle_consistency(from, to, get, &nodes, &generated, NULL), KMS_OK);
		assert_same_proof(&generated, path, p.count);
	}
	assert_int_equal(i, 91);

	merkle_leaf_hash("", 0, got);
	from_hex(json_object_get(basic, "empty_leaf_hash_hex"), expected, sizeof(expected));
	assert_memory_equal(got, expected, sizeof(got));
	merkle_leaf_hash("L123456", 7, got);
	from_hex(json_object_get(basic, "leaf_L123456_hex"), expected, sizeof(expected));
	assert_memory_equal(got, expected, sizeof(got));
	e = (struct merkle_edge){ 0 };
	nodes = (struct nodes){ .fail_at = -1 };
	json_array_foreach(json_object_get(basic, "eight_leaf_inputs_hex"), i, item) {
		from_hex(item, input, json_string_length(item) / 2);
		merkle_leaf_hash(input, json_string_length(item) / 2, got);
		assert_int_equal(merkle_append(&e, got, put, &nodes, NULL), KMS_OK);
	}
	merkle_root(&e, got);
	from_hex(json_object_get(basic, "eight_leaf_root_hex"), expected, sizeof(expected));
	assert_memory_equal(got, expected, sizeof(got));
	json_decref(golden);
}

static void public_vectors_are_all_decided_as_they_say(void **state)
{
	json_t *inclusion = load(PUBLIC_INCLUSION), *consistency = load(PUBLIC_CONSISTENCY), *c;
	size_t i, good = 0, total = 0;
	(void)state;
	json_array_foreach(inclusion, i, c) {
		hash path[PATH_MAX_LEN], leaf, root;
		struct merkle_proof p;
		const json_t *proof = json_object_get(c, "proof");
		bool ok = path_from(proof, path) && from_b64(json_object_get(c, "leafHash"), leaf) && from_b64(json_object_get(c, "root"), root);
		if (ok) {
			p = proof_of(path, json_array_size(proof));
			ok = merkle_check_inclusion(number_from(c, "leafIdx"), number_from(c, "treeSize"), leaf, &p, root);
		}
		assert_int_equal(ok, json_is_false(json_object_get(c, "wantErr")));
		good += ok;
		total++;
	}
	json_array_foreach(consistency, i, c) {
		hash path[PATH_MAX_LEN], root1, root2;
		struct merkle_proof p;
		const json_t *proof = json_object_get(c, "proof");
		bool ok = path_from(proof, path) && from_b64(json_object_get(c, "root1"), root1) && from_b64(json_object_get(c, "root2"), root2);
		if (ok) {
			p = proof_of(path, json_array_size(proof));
			ok = merkle_check_consistency(number_from(c, "size1"), number_from(c, "size2"), root1, root2, &p);
		}
		/* One case compares two equal sizes under roots that are no hashes. */
		if (number_from(c, "size1") == 1 && number_from(c, "size2") == 1 && json_array_size(proof) == 0)
			ok = json_equal(json_object_get(c, "root1"), json_object_get(c, "root2")) == 1;
		assert_int_equal(ok, json_is_false(json_object_get(c, "wantErr")));
		good += ok;
		total++;
	}
	assert_int_equal(total, 196);
	assert_int_equal(good, 12);
	json_decref(inclusion);
	json_decref(consistency);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roots_equal_the_recursive_definition_up_to_300),
		cmocka_unit_test(a_loaded_edge_equals_the_appended_one_at_every_size),
		cmocka_unit_test(loading_reports_a_node_that_is_not_there),
		cmocka_unit_test(a_failed_append_leaves_the_edge_as_it_was),
		cmocka_unit_test(roots_from_stored_nodes_are_those_of_the_edge_at_every_size),
		cmocka_unit_test(inclusion_proofs_are_as_defined_and_pass_the_checker_for_every_pair_up_to_300),
		cmocka_unit_test(consistency_proofs_are_as_defined_and_pass_the_checker_for_every_pair_up_to_300),
		cmocka_unit_test(random_proofs_of_trees_up_to_2_to_the_20_pass_and_read_few_nodes),
		cmocka_unit_test(random_proofs_of_trees_up_to_2_to_the_62_pass_and_read_few_nodes),
		cmocka_unit_test(what_is_outside_the_tree_has_no_proof),
		cmocka_unit_test(the_checker_is_strict),
		cmocka_unit_test(golden_roots_proofs_and_rfc_6962_values),
		cmocka_unit_test(public_vectors_are_all_decided_as_they_say),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
