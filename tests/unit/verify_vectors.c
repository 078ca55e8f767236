/* The verifier on published vectors: the golden file of the log, RFC 6962 proofs, signatures of Wycheproof; and its proofs against the
 * definition, written recursively in tests/support/log_rig.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/support/log_rig.h"
#include "tests/support/wycheproof.h"

#define GOLDEN "../shared/vectors/audit-log/golden-v1.json"
#define GOLDEN_LOG "../shared/vectors/audit-log/golden-v1.jsonl"
#define PUBLIC_INCLUSION "../shared/vectors/merkle/inclusion.json"
#define PUBLIC_CONSISTENCY "../shared/vectors/merkle/consistency.json"
#define ALL_SIZES 300
#define RANDOM_SIZE 2000

static struct hasher hasher;

/* The golden file is read once. */
static json_t *golden_file;

static json_t *load(const char *file, size_t flags)
{
	json_t *j = NULL;

	if (golden_file != NULL && strcmp(file, GOLDEN) == 0)
		return json_incref(golden_file);
	if (access(file, R_OK) != 0) {
		(void)printf("skipped: %s is not in this checkout\n", file);
		skip();
	}
	j = json_load_file(file, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | flags, NULL);
	assert_non_null(j);
	if (strcmp(file, GOLDEN) == 0)
		golden_file = json_incref(j);
	return j;
}

static struct span text_of(const json_t *j) { return (struct span){ json_string_value(j), json_string_length(j) }; }
static const json_t *at(const json_t *j, const char *a, const char *b)
{
	j = json_object_get(j, a);
	return b != NULL ? json_object_get(j, b) : j;
}
static struct span vkey_of(const json_t *golden, const char *key) { return text_of(json_object_get(at(golden, "keys", key), "vkey")); }

static void to_hash(const json_t *base64_or_hex, uint8_t ret[HASH_LEN])
{
	struct span s = text_of(base64_or_hex);
	size_t len = 0;
	assert_true(span_hex(s, ret, HASH_LEN) || (span_base64(s, ret, HASH_LEN, &len) && len == HASH_LEN));
}

/* @return false when a hash is no hash */
static bool to_proof(const json_t *list, uint8_t ret[PROOF_MAX][HASH_LEN], size_t *ret_count)
{
	*ret_count = json_array_size(list);
	if (*ret_count > PROOF_MAX)
		return false;
	for (size_t i = 0; i < *ret_count; i++) {
		size_t len = 0;
		if (!span_base64(text_of(json_array_get(list, i)), ret[i], HASH_LEN, &len) || len != HASH_LEN)
			return false;
	}
	return true;
}

/* ---- the golden file ---- */

static void golden_leaves_roots_and_proofs(void **state)
{
	json_t *golden = load(GOLDEN, 0);
	const json_t *leaves = at(golden, "leaves", NULL), *roots = at(golden, "roots_hex", NULL), *item = NULL;
	uint8_t hashes[16][HASH_LEN], root[HASH_LEN], wanted[HASH_LEN], proof[PROOF_MAX][HASH_LEN];
	struct tree tree = { 0 };
	size_t i = 0, count = 0;

	(void)state;
	json_array_foreach(leaves, i, item) {
		struct leaf leaf;
		enum finding f = F_LINE;
		const char *why = NULL;
		tree_root(&tree, &hasher, root);
		to_hash(json_array_get(roots, i), wanted);
		assert_memory_equal(root, wanted, HASH_LEN);
		assert_true(leaf_parse(text_of(json_object_get(item, "canonical")), &hasher, &leaf, &f, &why));
		assert_int_equal(leaf.seq, i);
		to_hash(json_object_get(item, "leaf_hash_hex"), hashes[i]);
		assert_memory_equal(leaf.hash, hashes[i], HASH_LEN);
		tree_append(&tree, &hasher, leaf.hash);
	}
	assert_int_equal(tree.size, 13);
	json_array_foreach(at(golden, "inclusion", NULL), i, item) {
		int64_t index = json_integer_value(json_object_get(item, "index")), size = json_integer_value(json_object_get(item, "size"));
		assert_true(to_proof(json_object_get(item, "hashes_b64"), proof, &count));
		to_hash(json_array_get(roots, (size_t)size), wanted);
		assert_true(tree_includes(&hasher, (uint64_t)index, (uint64_t)size, hashes[index], (const uint8_t(*)[HASH_LEN])proof, count, wanted));
	}
	assert_int_equal(i, 91);
	json_array_foreach(at(golden, "consistency", NULL), i, item) {
		int64_t from = json_integer_value(json_object_get(item, "from")), to = json_integer_value(json_object_get(item, "to"));
		assert_true(to_proof(json_object_get(item, "hashes_b64"), proof, &count));
		to_hash(json_array_get(roots, (size_t)from), root);
		to_hash(json_array_get(roots, (size_t)to), wanted);
		assert_true(tree_extends(&hasher, (uint64_t)from, (uint64_t)to, root, wanted, (const uint8_t(*)[HASH_LEN])proof, count));
	}
	assert_int_equal(i, 91);
	json_decref(golden);
}

static void golden_texts_are_accepted_or_refused(void **state)
{
	json_t *golden = load(GOLDEN, 0), *item = NULL;
	const char *why = NULL;
	size_t i = 0;

	(void)state;
	json_array_foreach(at(golden, "canonical_accept", NULL), i, item)
		assert_true(reader_is_canonical(text_of(item), &why));
	assert_int_equal(i, 5);
	json_array_foreach(at(golden, "canonical_reject", NULL), i, item) {
		if (reader_is_canonical(text_of(json_object_get(item, "text")), &why))
			fail_msg("%s was accepted", json_string_value(json_object_get(item, "name")));
		assert_non_null(why);
	}
	assert_int_equal(i, 21);
	json_decref(golden);
}

/* A checkpoint alone, under one log key and the witness. */
static enum verify_exit judge_note(const json_t *golden, const char *log_key, struct span note)
{
	struct verify *v = verify_open(&(struct verify_options){ .approvers = 1 });
	enum verify_exit status = EXIT_USAGE;

	assert_non_null(v);
	assert_null(verify_add_key(v, vkey_of(golden, log_key)));
	assert_null(verify_add_key(v, vkey_of(golden, "witness_ed25519")));
	assert_null(verify_add_checkpoint(v, SIGNED_CHECKPOINT, "note", note));
	assert_null(verify_begin(v));
	status = verify_finish(v);
	verify_close(v);
	return status;
}

static void golden_notes_are_accepted_or_refused(void **state)
{
	json_t *golden = load(GOLDEN, 0), *item = NULL;
	size_t i = 0;

	(void)state;
	json_array_foreach(at(golden, "bad_notes", NULL), i, item) {
		if (judge_note(golden, "log_ed25519", text_of(json_object_get(item, "note"))) != EXIT_SIGNATURE)
			fail_msg("%s was accepted", json_string_value(json_object_get(item, "name")));
	}
	assert_int_equal(i, 11);
	assert_int_equal(judge_note(golden, "log_ed25519", text_of(at(golden, "checkpoints", "size7_ed25519"))), EXIT_ALL_GOOD);
	assert_int_equal(judge_note(golden, "log_ed25519", text_of(at(golden, "checkpoints", "size13_ed25519_cosigned"))), EXIT_ALL_GOOD);
	assert_int_equal(judge_note(golden, "log_ecdsa_p256", text_of(at(golden, "checkpoints", "size13_ecdsa_p256"))), EXIT_ALL_GOOD);
	assert_int_equal(judge_note(golden, "log_ecdsa_p256", text_of(at(golden, "checkpoints", "size7_ed25519"))), EXIT_SIGNATURE);
	assert_int_equal(judge_note(golden, "attestation_ed25519", text_of(json_object_get(json_array_get(at(golden, "bad_notes", NULL), 6), "note"))), EXIT_SIGNATURE);
	json_decref(golden);
}

static char *read_file(const char *file, size_t *ret_len)
{
	static char text[65536];
	FILE *f = fopen(file, "r");

	assert_non_null(f);
	*ret_len = fread(text, 1, sizeof(text), f);
	assert_true(*ret_len > 0 && *ret_len < sizeof(text));
	(void)fclose(f);
	return text;
}

/* All of it together. As a log it breaks three rules, which must be found: it is silent twice, and an approver approves for themselves. */
static void the_golden_log_is_verified_and_its_three_faults_are_found(void **state)
{
	json_t *golden = load(GOLDEN, 0);
	struct verify *v = verify_open(&(struct verify_options){ .approvers = 1 });
	unsigned line = 0;
	size_t len = 0;
	char *log = read_file(GOLDEN_LOG, &len), policy[512];

	(void)state;
	assert_non_null(v);
	(void)snprintf(policy, sizeof(policy), "# golden\nlog %s https://x\nwitness W %s\n\tgroup G all W \nquorum G\n", vkey_of(golden, "log_ed25519").p,
	               vkey_of(golden, "witness_ed25519").p);
	assert_null(verify_add_policy(v, (struct span){ policy, strlen(policy) }, &line));
	assert_null(verify_add_key(v, vkey_of(golden, "attestation_ed25519")));
	assert_null(verify_add_key(v, vkey_of(golden, "approver_ed25519")));
	assert_null(verify_add_checkpoint(v, SIGNED_CHECKPOINT, "checkpoint", text_of(at(golden, "checkpoints", "size13_ed25519_cosigned"))));
	assert_null(verify_add_bundle(v, "bundle", text_of(at(golden, "tlog_proof_index10", NULL))));
	assert_null(verify_add_certificate(v, "certificate", text_of(at(golden, "destruction_certificate_note", NULL))));
	assert_null(verify_begin(v));
	for (size_t i = 0; i < len; i += 7) /* in small pieces */
		assert_null(verify_feed(v, "log", log + i, len - i < 7 ? len - i : 7));
	assert_null(verify_end_file(v, "log"));
	assert_int_equal(verify_finish(v), EXIT_MEANING);
	assert_int_equal(report_findings(&v->report), 3);
	assert_int_equal(v->report.count[F_SILENCE], 2);
	assert_int_equal(v->report.count[F_OWN_APPROVAL], 1);
	assert_int_equal(v->notes[0].newest_s, 1795285921);
	assert_true(v->certificates[0].is_signed);
	verify_close(v);
	json_decref(golden);
}

static void rfc_6962_basics(void **state)
{
	json_t *golden = load(GOLDEN, 0), *item = NULL;
	const json_t *basic = at(golden, "rfc6962_basic", NULL);
	uint8_t hash[HASH_LEN], wanted[HASH_LEN];
	struct tree tree = { 0 };
	size_t i = 0;

	(void)state;
	hash_leaf(&hasher, SPAN("L123456"), hash);
	to_hash(json_object_get(basic, "leaf_L123456_hex"), wanted);
	assert_memory_equal(hash, wanted, HASH_LEN);
	hash_leaf(&hasher, (struct span){ "", 0 }, hash);
	to_hash(json_object_get(basic, "empty_leaf_hash_hex"), wanted);
	assert_memory_equal(hash, wanted, HASH_LEN);
	json_array_foreach(json_object_get(basic, "eight_leaf_inputs_hex"), i, item) {
		uint8_t bytes[16];
		size_t n = json_string_length(item) / 2;
		assert_true(span_hex(text_of(item), bytes, n));
		hash_leaf(&hasher, (struct span){ (const char *)bytes, n }, hash);
		tree_append(&tree, &hasher, hash);
	}
	tree_root(&tree, &hasher, hash);
	to_hash(json_object_get(basic, "eight_leaf_root_hex"), wanted);
	assert_memory_equal(hash, wanted, HASH_LEN);
	json_decref(golden);
}

/* ---- public vectors of proofs ---- */

/* One index is 2^64 - 1, which jansson has no integer for; all others are small. */
static uint64_t number_of(const json_t *j, const char *name)
{
	double d = json_real_value(json_object_get(j, name));
	return d < 9e15 ? (uint64_t)d : UINT64_MAX;
}

/* One case compares two texts that are no hashes, only whether they are the same: shorter ones are filled with zeros. */
static bool to_root(const json_t *j, const char *name, uint8_t ret[HASH_LEN])
{
	size_t len = 0;
	memset(ret, 0, HASH_LEN);
	return span_base64(text_of(json_object_get(j, name)), ret, HASH_LEN, &len);
}

static void public_inclusion_vectors(void **state)
{
	json_t *all = load(PUBLIC_INCLUSION, JSON_DECODE_INT_AS_REAL), *item = NULL;
	size_t i = 0, count = 0, len = 0;

	(void)state;
	json_array_foreach(all, i, item) {
		uint8_t proof[PROOF_MAX][HASH_LEN], leaf[HASH_LEN], root[HASH_LEN];
		bool is_good = to_proof(json_object_get(item, "proof"), proof, &count) &&
		               span_base64(text_of(json_object_get(item, "leafHash")), leaf, HASH_LEN, &len) && len == HASH_LEN &&
		               span_base64(text_of(json_object_get(item, "root")), root, HASH_LEN, &len) && len == HASH_LEN &&
		               tree_includes(&hasher, number_of(item, "leafIdx"),
		                             number_of(item, "treeSize"), leaf, (const uint8_t(*)[HASH_LEN])proof, count, root);
		if (is_good == json_is_true(json_object_get(item, "wantErr")))
			fail_msg("%s", json_string_value(json_object_get(item, "file")));
	}
	assert_int_equal(i, 98);
	json_decref(all);
}

static void public_consistency_vectors(void **state)
{
	json_t *all = load(PUBLIC_CONSISTENCY, JSON_DECODE_INT_AS_REAL), *item = NULL;
	size_t i = 0, count = 0;

	(void)state;
	json_array_foreach(all, i, item) {
		uint8_t proof[PROOF_MAX][HASH_LEN], a[HASH_LEN], b[HASH_LEN];
		bool is_good = to_proof(json_object_get(item, "proof"), proof, &count) &&
		               to_root(item, "root1", a) && to_root(item, "root2", b) &&
		               tree_extends(&hasher, number_of(item, "size1"),
		                            number_of(item, "size2"), a, b, (const uint8_t(*)[HASH_LEN])proof, count);
		if (is_good == json_is_true(json_object_get(item, "wantErr")))
			fail_msg("%s", json_string_value(json_object_get(item, "file")));
	}
	assert_int_equal(i, 98);
	json_decref(all);
}

/* ---- the checker against the definition ---- */

static uint8_t hashes[RANDOM_SIZE + 1][HASH_LEN];

static void make_hashes(void)
{
	for (size_t i = 0; i <= RANDOM_SIZE; i++)
		hash_leaf(&hasher, (struct span){ (const char *)&i, sizeof(i) }, hashes[i]);
}

static void check_pair(uint64_t m, uint64_t n, const uint8_t m_root[HASH_LEN], const uint8_t n_root[HASH_LEN])
{
	uint8_t proof[PROOF_MAX][HASH_LEN];
	const uint8_t(*all)[HASH_LEN] = (const uint8_t(*)[HASH_LEN])hashes, (*path)[HASH_LEN] = (const uint8_t(*)[HASH_LEN])proof;
	size_t count = log_rig_path(all, m - 1, 0, n, proof);

	assert_true(tree_includes(&hasher, m - 1, n, hashes[m - 1], path, count, n_root));
	if (n > 1 && (m & 7) == 3) /* now and then: another place, another leaf */
		assert_false(tree_includes(&hasher, m % n, n, hashes[m - 1], path, count, n_root) || tree_includes(&hasher, m - 1, n, hashes[n], path, count, n_root));
	count = log_rig_consistency(all, m, n, proof);
	assert_true(tree_extends(&hasher, m, n, m_root, n_root, path, count));
	if (m < n && (m & 7) == 3)
		assert_false(tree_extends(&hasher, m, n, m_root, n_root, path, count - 1) || tree_extends(&hasher, m, n, n_root, n_root, path, count));
}

static void every_pair_of_sizes(void **state)
{
	static uint8_t roots[ALL_SIZES + 1][HASH_LEN];
	uint8_t root[HASH_LEN];
	struct tree tree = { 0 };

	(void)state;
	log_rig_remember((const uint8_t(*)[HASH_LEN])hashes);
	for (uint64_t n = 0; n <= ALL_SIZES; n++) {
		log_rig_subtree((const uint8_t(*)[HASH_LEN])hashes, 0, n, roots[n]);
		tree_root(&tree, &hasher, root);
		assert_memory_equal(root, roots[n], HASH_LEN);
		tree_append(&tree, &hasher, hashes[n]);
	}
	for (uint64_t n = 1; n <= ALL_SIZES; n++)
		for (uint64_t m = 1; m <= n; m++)
			check_pair(m, n, roots[m], roots[n]);
	log_rig_remember(NULL);
}

static void random_pairs_of_sizes(void **state)
{
	uint64_t x = 88172645463325252U;

	(void)state;
	for (int i = 0; i < 40; i++) {
		uint8_t m_root[HASH_LEN], n_root[HASH_LEN];
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17; /* xorshift: the same pairs each time */
		uint64_t n = 1 + x % RANDOM_SIZE, m = 1 + (x >> 32) % n;
		log_rig_subtree((const uint8_t(*)[HASH_LEN])hashes, 0, m, m_root);
		log_rig_subtree((const uint8_t(*)[HASH_LEN])hashes, 0, n, n_root);
		check_pair(m, n, m_root, n_root);
	}
}

/* ---- signatures ---- */

static const char SIGNER[] = "wycheproof.example/log";
static struct keys signers; /* the key of the present group */
static uint8_t signer_id[KEY_ID_LEN];

static void take_signer(const struct wy_case *c, uint8_t type)
{
	uint8_t public[512] = { type }, digest[HASH_LEN];
	struct span parts[] = { { SIGNER, strlen(SIGNER) }, { "\n", 1 }, { (const char *)public, 0 } };
	char vkey[1024], *base64 = NULL;
	size_t index = 0;

	parts[2].n = 1 + (type == KEY_ED25519 ? wy_hex(json_object_get(c->group, "publicKey"), "pk", public + 1, sizeof(public) - 1)
	                                      : wy_hex(c->group, "publicKeyDer", public + 1, sizeof(public) - 1));
	if (type == KEY_ED25519)
		hasher_sha256(&hasher, parts, 3, digest);
	else
		hasher_sha256(&hasher, &(struct span){ (const char *)public + 1, parts[2].n - 1 }, 1, digest);
	memcpy(signer_id, digest, KEY_ID_LEN);
	base64 = log_rig_base64(public, parts[2].n);
	(void)snprintf(vkey, sizeof(vkey), "%s+%02x%02x%02x%02x+%s", SIGNER, digest[0], digest[1], digest[2], digest[3], base64);
	free(base64);
	keys_clear(&signers);
	assert_null(keys_add(&signers, &hasher, (struct span){ vkey, strlen(vkey) }, &index));
}

/* A note of any bytes, signed with what the vectors say. */
static enum wy_outcome signature_case(void *arg, const struct wy_case *c, const char **ret_reason)
{
	static struct note note;
	uint8_t message[8192], blob[KEY_ID_LEN + 5000];
	size_t len = wy_hex(c->test, "msg", message, sizeof(message));
	size_t signature_len = wy_hex(c->test, "sig", blob + KEY_ID_LEN, sizeof(blob) - KEY_ID_LEN);
	struct line_verdict verdicts[NOTE_LINES_MAX] = { 0 };
	char *base64 = NULL;

	(void)ret_reason;
	if (c->is_new_group)
		take_signer(c, *(const uint8_t *)arg);
	memcpy(blob, signer_id, KEY_ID_LEN);
	base64 = log_rig_base64(blob, KEY_ID_LEN + signature_len);
	note.text = (struct span){ (const char *)message, len };
	note.lines[0] = (struct note_line){ .name = { SIGNER, strlen(SIGNER) }, .base64 = { base64, strlen(base64) } };
	memcpy(note.lines[0].id, signer_id, KEY_ID_LEN);
	note.count = 1;
	note_verify(&note, &signers, verdicts);
	free(base64);
	return (verdicts[0].state == LINE_GOOD) == c->is_valid ? WY_PASS : WY_FAIL;
}

static void signatures(const char *file, uint8_t type, unsigned at_least)
{
	struct wy_counts counts = { 0 };

	if (!wy_run(file, "as a note's", signature_case, &type, &counts))
		skip();
	assert_int_equal(counts.failed, 0);
	assert_true(counts.passed >= at_least && counts.skipped == 0);
}

static void ed25519_signatures(void **state)
{
	(void)state;
	signatures("ed25519_test", KEY_ED25519, 150);
}

static void ecdsa_signatures(void **state)
{
	(void)state;
	signatures("ecdsa_secp256r1_sha256_test", KEY_ECDSA_P256, 480);
}

/* ---- keys and policies ---- */

static void keys_are_read_strictly(void **state)
{
	static const char GOOD[] = "witness.example.net/w1+8f71954d+BOB2qzt3R453RrMvBwwRA8xwzSD5TLs6gGCpzMCNsMjI";
	static const char *const BAD[] = {
		"", "+", "a+b", "a+00000000+", "witness.example.net/w1+8F71954D+BOB2qzt3R453RrMvBwwRA8xwzSD5TLs6gGCpzMCNsMjI",
		"witness.example.net/w2+8f71954d+BOB2qzt3R453RrMvBwwRA8xwzSD5TLs6gGCpzMCNsMjI",
		"witness.example.net/w1+8f71954e+BOB2qzt3R453RrMvBwwRA8xwzSD5TLs6gGCpzMCNsMjI",
		"witness.example.net/w1+8f71954d+BOB2qzt3R453RrMvBwwRA8xwzSD5TLs6gGCpzMCNsMjJ",
		"witness.example.net/w1+8f71954d+BOB2qzt3R453RrMvBwwRA8xwzSD5TLs6gGCpzMCNsMjI ",
		" witness.example.net/w1+8f71954d+BOB2qzt3R453RrMvBwwRA8xwzSD5TLs6gGCpzMCNsMjI",
	};
	struct keys *keys = calloc(1, sizeof(*keys));
	size_t index = 0;

	(void)state;
	assert_non_null(keys);
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		assert_non_null(keys_add(keys, &hasher, (struct span){ BAD[i], strlen(BAD[i]) }, &index));
	assert_null(keys_add(keys, &hasher, SPAN(GOOD), &index));
	assert_null(keys_add(keys, &hasher, SPAN(GOOD), &index));
	assert_int_equal(keys->count, 1);
	assert_int_equal(keys->list[0].role, ROLE_WITNESS);
	keys_clear(keys);
	free(keys);
}

static void policies_are_read_strictly(void **state)
{
	struct log_rig rig, second;
	char text[1024];
	struct policy *p = malloc(sizeof(*p));
	struct keys *keys = calloc(1, sizeof(*keys));
	unsigned line = 0;

	(void)state;
	assert_true(p != NULL && keys != NULL);
	log_rig_open(&rig, RIG_ORIGIN, 1);
	log_rig_open(&second, RIG_ORIGIN, 11);
	const struct {
		const char *rest;
		bool is_good, with_one, with_two;
	} CASES[] = {
		{ "quorum none\n", true, true, true },
		{ "quorum A\n", true, true, true },
		{ "group G 2 A B\nquorum G\n", true, false, true },
		{ "group G any A B\nquorum G\n", true, true, true },
		{ "group G all A\ngroup H 1 B G\nquorum H\n", true, true, true },
		{ "", false, false, false },
		{ "quorum A\nquorum A\n", false, false, false },
		{ "quorum C\n", false, false, false },
		{ "group G 3 A B\nquorum G\n", false, false, false },
		{ "group G 0 A B\nquorum G\n", false, false, false },
		{ "group G 01 A B\nquorum G\n", false, false, false },
		{ "group G 1 A A\nquorum G\n", false, false, false },
		{ "group G 1 A\ngroup H 1 A\nquorum H\n", false, false, false },
		{ "group G 1 G\nquorum G\n", false, false, false },
		{ "group none 1 A\nquorum none\n", false, false, false },
		{ "group A 1 B\nquorum A\n", false, false, false },
		{ "quorum A", false, false, false },
		{ "quorum A\r\n", false, false, false },
		{ "witnes C\nquorum A\n", false, false, false },
	};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		bool has[KEYS_MAX] = { false };
		(void)snprintf(text, sizeof(text), "log %s\nwitness A %s\nwitness B %s\n%s", rig.vkey, rig.witness_vkey, second.witness_vkey, CASES[i].rest);
		const char *why = policy_parse((struct span){ text, strlen(text) }, keys, &hasher, p, &line);
		if ((why == NULL) != CASES[i].is_good)
			fail_msg("case %d: %s", (int)i, why != NULL ? why : "was accepted");
		if (why != NULL)
			continue;
		has[1] = true;
		assert_int_equal(policy_is_met(p, has), CASES[i].with_one);
		has[2] = true;
		assert_int_equal(policy_is_met(p, has), CASES[i].with_two);
		assert_true(i == 0 || !policy_is_met(p, (bool[KEYS_MAX]){ false }));
	}
	(void)snprintf(text, sizeof(text), "witness A %s\nwitness B %s\nquorum none\n", rig.witness_vkey, rig.witness_vkey);
	assert_non_null(policy_parse((struct span){ text, strlen(text) }, keys, &hasher, p, &line));
	assert_int_equal(line, 2);
	keys_clear(keys);
	free(keys);
	free(p);
	log_rig_close(&rig);
	log_rig_close(&second);
}

static void times_are_read_strictly(void **state)
{
	static const char *const BAD[] = { "2026-11-21T18:00:00.00000Z", "2026-02-29T18:00:00.000000Z", "2026-13-01T18:00:00.000000Z", "2026-00-01T18:00:00.000000Z",
		                           "2026-11-21T24:00:00.000000Z", "2026-11-21T18:60:00.000000Z", "2026-11-21T18:00:60.000000Z", "2026-11-21 18:00:00.000000Z",
		                           "2026-11-21T18:00:00.000000z", "2026-11-31T18:00:00.000000Z", "1900-02-29T18:00:00.000000Z", "2026-11-00T18:00:00.000000Z" };
	int64_t us = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		assert_false(timestamp_parse((struct span){ BAD[i], strlen(BAD[i]) }, &us));
	assert_true(timestamp_parse(SPAN("1970-01-01T00:00:00.000001Z"), &us) && us == 1);
	assert_true(timestamp_parse(SPAN("2026-11-21T18:00:00.000000Z"), &us) && us == 1795284000000000);
	assert_true(timestamp_parse(SPAN("2000-02-29T00:00:00.000000Z"), &us) && us == 951782400000000);
	assert_true(timestamp_parse(SPAN("0000-01-01T00:00:00.000000Z"), &us) && us == -62167219200000000);
	assert_true(timestamp_parse(SPAN("9999-12-31T23:59:59.999999Z"), &us) && us == 253402300799999999);
}

static int up(void **state)
{
	(void)state;
	if (!hasher_open(&hasher))
		return 1;
	make_hashes();
	return 0;
}

static int down(void **state)
{
	(void)state;
	keys_clear(&signers);
	json_decref(golden_file);
	hasher_close(&hasher);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_leaves_roots_and_proofs),
		cmocka_unit_test(golden_texts_are_accepted_or_refused),
		cmocka_unit_test(golden_notes_are_accepted_or_refused),
		cmocka_unit_test(the_golden_log_is_verified_and_its_three_faults_are_found),
		cmocka_unit_test(rfc_6962_basics),
		cmocka_unit_test(public_inclusion_vectors),
		cmocka_unit_test(public_consistency_vectors),
		cmocka_unit_test(every_pair_of_sizes),
		cmocka_unit_test(random_pairs_of_sizes),
		cmocka_unit_test(ed25519_signatures),
		cmocka_unit_test(ecdsa_signatures),
		cmocka_unit_test(keys_are_read_strictly),
		cmocka_unit_test(policies_are_read_strictly),
		cmocka_unit_test(times_are_read_strictly),
	};
	return cmocka_run_group_tests(tests, up, down);
}
