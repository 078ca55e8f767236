/* The verifier on what was done to a log: deleted, doubled, moved, back-dated, cut, forged, forked; and on every single bit of what it reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/log_rig.h"

#define LEAVES 100
/* Under a sanitizer each fifth bit will do: of each byte another one. */
#ifdef __SANITIZE_ADDRESS__
#define BIT_STEP 5
#else
#define BIT_STEP 1
#endif

static struct log_rig rig, other;
static char *whole, *half; /* checkpoints of LEAVES and of LEAVES / 2, cosigned */

/* A log in which nothing is wrong. */
static void fill(struct log_rig *r, const char *tenant)
{
	log_rig_start(r);
	(void)log_rig_add(r, &(struct rig_leaf){ .type = "key.create", .phase = "intent", .tenant = tenant, .pid = "P", .key = "k", .object = "B" });
	(void)log_rig_add(r, &(struct rig_leaf){ .type = "key.create", .phase = "outcome", .ref = 2, .tenant = tenant, .pid = "P", .key = "k", .object = "B" });
	while (r->size < LEAVES)
		(void)log_rig_add(r, &(struct rig_leaf){ .type = "key.wrap", .tenant = tenant, .pid = "P", .key = "k", .object = "B" });
}

static int begin(void **state)
{
	(void)state;
	log_rig_open(&rig, RIG_ORIGIN, 1);
	log_rig_open(&other, RIG_ORIGIN, 1);
	fill(&rig, "t-1");
	fill(&other, "t-2");
	whole = log_rig_checkpoint(&rig, LEAVES, RIG_LOG | RIG_WITNESS, 1795290000);
	half = log_rig_checkpoint(&rig, LEAVES / 2, RIG_LOG | RIG_WITNESS, 1795290000);
	return 0;
}

static int end(void **state)
{
	(void)state;
	log_rig_close(&rig);
	log_rig_close(&other);
	free(whole);
	free(half);
	return 0;
}

static enum verify_exit verify(struct rig_check c)
{
	c.rig = &rig;
	return log_rig_verify(&c, NULL);
}

/* The log with lines [at, at + drop) replaced by those of `with`. */
static enum verify_exit verify_replaced(uint64_t at, uint64_t drop, struct span with)
{
	size_t start = rig.starts[at], rest = at + drop < rig.size ? rig.starts[at + drop] : rig.len, len = start + with.n + rig.len - rest;
	char *text = malloc(len + 1);
	enum verify_exit status = EXIT_USAGE;

	assert_non_null(text);
	memcpy(text, rig.text, start);
	if (with.n > 0)
		memcpy(text + start, with.p, with.n);
	memcpy(text + start + with.n, rig.text + rest, rig.len - rest);
	status = verify((struct rig_check){ .checkpoints = { whole }, .log = { text, len } });
	free(text);
	return status;
}

static void what_nobody_touched_is_verified(void **state)
{
	(void)state;
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole, half }, .has_policy = true }), EXIT_ALL_GOOD);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole }, .trusted = { half } }), EXIT_ALL_GOOD);
}

/* A checkpoint says nothing of what is behind it: who wants to add or change leaves would give an old one. */
static void leaves_behind_the_newest_checkpoint_are_not_verified(void **state)
{
	struct verify *v = NULL;

	(void)state;
	assert_int_equal(log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { half } }, &v), EXIT_SIGNATURE);
	assert_int_equal(report_findings(&v->report), 1);
	assert_int_equal(v->report.count[F_UNCOVERED], 1);
	verify_close(v);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { half }, .log = { rig.text, rig.starts[LEAVES / 2] } }), EXIT_ALL_GOOD);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { half }, .is_partial = true }), EXIT_ALL_GOOD);
}

static void tampering_is_found(void **state)
{
	struct span nine = log_rig_line(&rig, 9), ten = log_rig_line(&rig, 10);
	char swapped[2 * LEAF_MAX], changed[LEAF_MAX];

	(void)state;
	assert_int_equal(verify_replaced(10, 1, (struct span){ "", 0 }), EXIT_ORDER); /* deleted */
	assert_int_equal(verify_replaced(0, 1, (struct span){ "", 0 }), EXIT_ORDER);
	assert_int_equal(verify_replaced(LEAVES - 1, 1, (struct span){ "", 0 }), EXIT_ORDER); /* the tail */
	assert_int_equal(verify_replaced(10, 0, ten), EXIT_ORDER); /* twice */
	memcpy(swapped, ten.p, ten.n);
	memcpy(swapped + ten.n, nine.p, nine.n);
	assert_int_equal(verify_replaced(9, 2, (struct span){ swapped, nine.n + ten.n }), EXIT_ORDER);
	memcpy(changed, ten.p, ten.n);
	char *ts = memmem(changed, ten.n, "\"ts\":\"2026", 10);
	assert_non_null(ts);
	ts[9] = '5'; /* back-dated by a year */
	assert_int_equal(verify_replaced(10, 1, (struct span){ changed, ten.n }), EXIT_ROOT);
	assert_int_equal(verify_replaced(10, 1, log_rig_line(&other, 10)), EXIT_ROOT); /* another log's leaf */
	assert_int_equal(verify_replaced(10, 1, (struct span){ "{}\n", 3 }), EXIT_FORM);
	assert_int_equal(verify_replaced(10, 1, (struct span){ "\n", 1 }), EXIT_FORM);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole }, .log = { rig.text, rig.len - 1 } }), EXIT_FORM);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole }, .log = { "", 0 } }), EXIT_ORDER);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole }, .log = { other.text, other.len } }), EXIT_ROOT); /* two logs swapped */
	assert_int_equal(verify((struct rig_check){ .checkpoints = { half }, .trusted = { whole }, .log = { rig.text, rig.starts[LEAVES / 2] } }), EXIT_ORDER);
}

static void a_log_of_another_origin_is_told(void **state)
{
	struct log_rig foreign;

	(void)state;
	log_rig_open(&foreign, "kms.example.com/audit/log2", 1);
	fill(&foreign, "t-1");
	char *note = log_rig_checkpoint(&rig, 0, RIG_LOG, 0);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { note }, .log = { foreign.text, foreign.len }, .is_partial = true }), EXIT_FORK);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { note } }), EXIT_SIGNATURE); /* the empty tree's says nothing of any leaf */
	free(note);
	note = log_rig_checkpoint(&foreign, LEAVES, RIG_LOG, 0);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { note }, .log = { foreign.text, foreign.len } }), EXIT_SIGNATURE);
	free(note);
	log_rig_close(&foreign);
}

static void a_fork_is_a_fork(void **state)
{
	char *branch = log_rig_checkpoint(&other, LEAVES, RIG_LOG, 0), *branch_half = log_rig_checkpoint(&other, LEAVES / 2, RIG_LOG, 0);

	(void)state;
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole, branch } }), EXIT_FORK);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole, branch }, .has_no_log = true }), EXIT_FORK);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole }, .trusted = { branch_half } }), EXIT_FORK);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { branch } }), EXIT_ROOT);
	free(branch);
	free(branch_half);
}

static void a_checkpoint_that_is_not_signed_well_is_refused(void **state)
{
	char *forged = log_rig_checkpoint(&rig, LEAVES, RIG_OTHER, 0), *unwitnessed = log_rig_checkpoint(&rig, LEAVES, RIG_LOG, 0);
	char *attested = log_rig_checkpoint(&rig, LEAVES, RIG_ATTESTATION, 0), *witnessed = log_rig_checkpoint(&rig, LEAVES, RIG_WITNESS, 1);

	(void)state;
	assert_int_equal(verify((struct rig_check){ .checkpoints = { forged } }), EXIT_SIGNATURE);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { attested } }), EXIT_SIGNATURE);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { witnessed }, .has_policy = true }), EXIT_SIGNATURE);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { unwitnessed } }), EXIT_ALL_GOOD);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { unwitnessed }, .has_policy = true }), EXIT_SIGNATURE);
	assert_int_equal(verify((struct rig_check){ 0 }), EXIT_SIGNATURE); /* nothing vouches for the leaves */
	assert_int_equal(verify((struct rig_check){ .is_partial = true }), EXIT_ALL_GOOD);
	free(forged);
	free(unwitnessed);
	free(attested);
	free(witnessed);
}

static char *consistency(uint64_t from, uint64_t to)
{
	uint8_t proof[PROOF_MAX][HASH_LEN];
	size_t count = log_rig_consistency((const uint8_t(*)[HASH_LEN])rig.hashes, from, to, proof), len = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &len);

	(void)fprintf(out, "{\"from\":%d,\"to\":%d,\"hashes\":[", (int)from, (int)to);
	for (size_t i = 0; i < count; i++) {
		char *base64 = log_rig_base64(proof[i], HASH_LEN);
		(void)fprintf(out, "%s\"%s\"", i > 0 ? ", " : "", base64);
		free(base64);
	}
	(void)fprintf(out, "]}\n");
	(void)fclose(out);
	return text;
}

static void without_leaves_a_trusted_checkpoint_needs_a_proof(void **state)
{
	char *proof = consistency(LEAVES / 2, LEAVES), *wrong = consistency(LEAVES / 2 - 1, LEAVES - 1);

	(void)state;
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole }, .trusted = { half }, .has_no_log = true }), EXIT_FORK);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole }, .trusted = { half }, .proofs = { proof }, .has_no_log = true }), EXIT_ALL_GOOD);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { half }, .trusted = { whole }, .proofs = { proof }, .has_no_log = true }), EXIT_ALL_GOOD);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole }, .trusted = { half }, .proofs = { wrong }, .has_no_log = true }), EXIT_FORK);
	proof[strlen(proof) - 6] ^= 1; /* within the last hash */
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole }, .trusted = { half }, .proofs = { proof }, .has_no_log = true }), EXIT_FORK);
	free(proof);
	free(wrong);
}

static void age_counts_from_the_newest_cosignature_and_leaf(void **state)
{
	int64_t last_s = rig.wall_us / 1000000;
	char *fresh = log_rig_checkpoint(&rig, LEAVES, RIG_LOG | RIG_WITNESS, (uint64_t)last_s + 10), *bare = log_rig_checkpoint(&rig, LEAVES, RIG_LOG, 0);

	(void)state;
	assert_int_equal(verify((struct rig_check){ .checkpoints = { fresh }, .has_policy = true, .max_age_s = 60, .now_s = last_s + 30 }), EXIT_ALL_GOOD);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { fresh }, .has_policy = true, .max_age_s = 60, .now_s = last_s + 71 }), EXIT_AGE);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { bare }, .max_age_s = 60, .now_s = last_s + 30 }), EXIT_ALL_GOOD);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { bare }, .max_age_s = 60, .now_s = last_s + 61 }), EXIT_AGE);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { bare }, .max_age_s = 60, .now_s = last_s, .has_no_log = true }), EXIT_AGE);
	free(fresh);
	free(bare);
}

static void a_new_log_key_is_trusted_over_a_checkpoint_that_both_sign(void **state)
{
	char det[512], *both = NULL, *later = NULL, *old_alone = NULL, *early = NULL;
	uint64_t seq = 0, intent = 0;
	struct verify *v = NULL;

	(void)state;
	early = log_rig_checkpoint(&rig, LEAVES, RIG_OTHER, 0);
	(void)snprintf(det, sizeof(det), "{\"new_key\":\"%s\",\"old_key\":\"%s\"}", rig.other_vkey, rig.vkey);
	intent = log_rig_add(&rig, &(struct rig_leaf){ .type = "log.key_rotated", .phase = "intent", .det = det });
	seq = log_rig_add(&rig, &(struct rig_leaf){ .type = "log.key_rotated", .phase = "outcome", .ref = (int64_t)intent, .det = det });
	both = log_rig_checkpoint(&rig, seq + 1, RIG_LOG | RIG_OTHER, 0);
	(void)log_rig_add(&rig, &(struct rig_leaf){ .type = "log.heartbeat" });
	later = log_rig_checkpoint(&rig, rig.size, RIG_OTHER, 0);
	old_alone = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { half, both, later } }), EXIT_ALL_GOOD);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { half, later } }), EXIT_SIGNATURE); /* nothing hands over */
	assert_int_equal(verify((struct rig_check){ .checkpoints = { both, early } }), EXIT_SIGNATURE); /* from that checkpoint on, not before */
	assert_int_equal(verify((struct rig_check){ .checkpoints = { both, old_alone } }), EXIT_SIGNATURE);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { later }, .trusts_other = true }), EXIT_ALL_GOOD);
	/* What is missing is said, and nothing else. */
	assert_int_equal(log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { later } }, &v), EXIT_SIGNATURE);
	assert_int_equal(report_findings(&v->report), 1);
	assert_int_equal(v->report.items[0].finding, F_UNSIGNED);
	assert_non_null(strstr(v->report.items[0].text, "its key changed at seq "));
	verify_close(v);
	free(both);
	free(later);
	free(old_alone);
	free(early);
}

/* ---- certificates ---- */

/* @param keys  the list */
static char *certificate_of_keys(uint64_t intent, uint64_t outcome, uint64_t size, const char *keys, const char *more)
{
	uint8_t root[HASH_LEN];
	char *a = log_rig_base64(rig.hashes[intent], HASH_LEN), *b = log_rig_base64(rig.hashes[outcome], HASH_LEN), *r = NULL, *text = NULL, *note = NULL;

	log_rig_root(&rig, size, root);
	r = log_rig_base64(root, HASH_LEN);
	assert_true(asprintf(&text, "kms.example.com/destruction-certificate/v1\n{\"id\":\"c-1\",\"intent\":{\"leaf\":\"%s\",\"seq\":%d},\"keys\":[%s],"
	                     "\"origin\":\"" RIG_ORIGIN "\",\"outcome\":{\"leaf\":\"%s\",\"seq\":%d},\"root\":\"%s\","
	                     "\"scope\":\"key\",\"size\":%d,\"state\":\"complete\",\"tenant\":\"t-1\",\"type\":\"destruction\",\"v\":1%s}\n", a, (int)intent, keys, b,
	                     (int)outcome, r, (int)size, more) >= 0);
	note = log_rig_sign(&rig, text, RIG_ATTESTATION, 0);
	free(a);
	free(b);
	free(r);
	free(text);
	return note;
}

static char *certificate(uint64_t intent, uint64_t outcome, uint64_t size, const char *more)
{
	return certificate_of_keys(intent, outcome, size, "{\"created\":3,\"name\":\"k\",\"obj\":\"AAAAAAAAAAAAAAAAAAAABA\"}", more);
}

static void a_certificate_is_borne_out_by_its_log(void **state)
{
	const struct rig_leaf act = { .type = "key.purge", .tenant = "t-1", .pid = "P", .key = "k" };
	struct rig_leaf leaf = act;
	char *good = NULL, *wrong = NULL, *strange = NULL, *checkpoint = NULL, *newest = NULL;
	uint64_t intent, outcome;

	(void)state;
	leaf.phase = "intent";
	intent = log_rig_add(&rig, &leaf);
	leaf.phase = "outcome";
	leaf.ref = (int64_t)intent;
	outcome = log_rig_add(&rig, &leaf);
	newest = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	good = certificate(intent, outcome, rig.size, "");
	wrong = certificate(intent - 1, outcome, rig.size, "");
	strange = certificate(intent, outcome, rig.size, ",\"x\":1");
	assert_int_equal(verify((struct rig_check){ .checkpoints = { newest }, .certificates = { good } }), EXIT_ALL_GOOD);
	assert_int_equal(verify((struct rig_check){ .certificates = { good }, .has_no_log = true }), EXIT_ALL_GOOD);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { newest }, .certificates = { wrong } }), EXIT_MEANING);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { newest }, .certificates = { strange } }), EXIT_FORM);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { newest }, .certificates = { good }, .log = { rig.text, rig.starts[outcome] } }), EXIT_ORDER);
	good[strlen(good) - 10] ^= 1;
	assert_int_not_equal(verify((struct rig_check){ .checkpoints = { newest }, .certificates = { good } }), EXIT_ALL_GOOD);
	good[strlen(good) - 10] ^= 1;
	(void)log_rig_add(&rig, &(struct rig_leaf){ .type = "key.wrap", .tenant = "t-1", .pid = "P", .key = "k", .object = "B" });
	checkpoint = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	assert_int_equal(verify((struct rig_check){ .checkpoints = { checkpoint }, .certificates = { good } }), EXIT_MEANING);
	free(good);
	free(wrong);
	free(strange);
	free(newest);
	free(checkpoint);
}

#define LETTER(l) "\"obj\":\"AAAAAAAAAAAAAAAAAAAA" l "A\""

static enum verify_exit with_keys(uint64_t intent, uint64_t outcome, const char *keys)
{
	char *newest = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0), *note = certificate_of_keys(intent, outcome, rig.size, keys, "");
	enum verify_exit status = verify((struct rig_check){ .checkpoints = { newest }, .certificates = { note } });

	free(newest);
	free(note);
	return status;
}

/* More than a checkpoint's 64 KiB: a vault has many keys. */
static void a_certificate_may_name_thousands_of_keys(void **state)
{
	const struct rig_leaf act = { .type = "key.purge", .tenant = "t-1", .pid = "P", .key = "k" };
	struct rig_leaf leaf = act;
	uint64_t intent, outcome;
	char *keys = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&keys, &len);

	(void)state;
	assert_non_null(out);
	for (int i = 0; i < 3000; i++)
		(void)fprintf(out, "%s{\"obj\":\"AAAAAAAAAAAAAAAA%04dAA\"}", i > 0 ? "," : "", i);
	assert_int_equal(fclose(out), 0);
	leaf.phase = "intent";
	intent = log_rig_add(&rig, &leaf);
	leaf.phase = "outcome";
	leaf.ref = (int64_t)intent;
	outcome = log_rig_add(&rig, &leaf);
	assert_int_equal(with_keys(intent, outcome, keys), EXIT_ALL_GOOD);
	free(keys);
}

static void a_key_was_made_where_its_certificate_says(void **state)
{
	struct rig_leaf made = { .type = "key.create", .phase = "intent", .tenant = "t-1", .pid = "P", .key = "new", .object = "S" };
	struct rig_leaf act = { .type = "key.purge", .phase = "intent", .tenant = "t-1", .pid = "P", .key = "new" };
	uint64_t born, intent, outcome;
	char keys[256];

	(void)state;
	made.ref = (int64_t)log_rig_add(&rig, &made);
	made.phase = "outcome";
	born = log_rig_add(&rig, &made);
	intent = log_rig_add(&rig, &act);
	act.phase = "outcome";
	act.ref = (int64_t)intent;
	outcome = log_rig_add(&rig, &act);
	assert_int_equal(with_keys(intent, outcome, "{" LETTER("S") "}"), EXIT_ALL_GOOD); /* where it is not known */
	(void)snprintf(keys, sizeof(keys), "{" LETTER("T") "},{\"created\":%d," LETTER("S") "}", (int)born);
	assert_int_equal(with_keys(intent, outcome, keys), EXIT_ALL_GOOD);
	(void)snprintf(keys, sizeof(keys), "{\"created\":%d," LETTER("S") "}", (int)born - 1);
	assert_int_equal(with_keys(intent, outcome, keys), EXIT_MEANING);
	(void)snprintf(keys, sizeof(keys), "{\"created\":%d," LETTER("T") "}", (int)born);
	assert_int_equal(with_keys(intent, outcome, keys), EXIT_MEANING);
	assert_int_equal(with_keys(intent, outcome, "{\"created\":-1," LETTER("S") "}"), EXIT_FORM);
	assert_int_equal(with_keys(intent, outcome, "{\"name\":\"k\"}"), EXIT_FORM);
	assert_int_equal(with_keys(intent, outcome, ""), EXIT_ALL_GOOD);
}

static void add_pair(struct rig_leaf leaf, uint64_t *ret_intent, uint64_t *ret_outcome)
{
	leaf.phase = "intent";
	*ret_intent = log_rig_add(&rig, &leaf);
	leaf.phase = "outcome";
	leaf.ref = (int64_t)*ret_intent;
	*ret_outcome = log_rig_add(&rig, &leaf);
}

static void a_key_that_a_backup_brought_back_is_not_dead(void **state)
{
	struct rig_leaf restore = { .type = "key.restore", .tenant = "t-1", .pid = "P", .key = "new", .object = "V", .det = "{\"revives\":\"AAAAAAAAAAAAAAAAAAAATA\"}" };
	uint64_t intent, outcome, from, to;
	char det[40];

	(void)state;
	add_pair((struct rig_leaf){ .type = "key.purge", .tenant = "t-1", .pid = "P", .key = "new" }, &intent, &outcome);
	add_pair(restore, &from, &to);
	assert_int_equal(with_keys(intent, outcome, "{" LETTER("S") "}"), EXIT_ALL_GOOD); /* another one came back */
	assert_int_equal(with_keys(intent, outcome, "{" LETTER("T") "}"), EXIT_MEANING);
	/* What it had become was destroyed too. */
	from = log_rig_add(&rig, &(struct rig_leaf){ .type = "key.purge", .phase = "intent", .tenant = "t-1", .pid = "P", .key = "new" });
	(void)snprintf(det, sizeof(det), "{\"intent\":%d}", (int)from);
	(void)log_rig_add(&rig, &(struct rig_leaf){ .type = "key.destroy", .tenant = "t-1", .pid = "P", .key = "new", .object = "V", .det = det });
	(void)log_rig_add(&rig, &(struct rig_leaf){ .type = "key.purge", .phase = "outcome", .tenant = "t-1", .pid = "P", .key = "new", .ref = (int64_t)from });
	assert_int_equal(with_keys(intent, outcome, "{" LETTER("T") "}"), EXIT_ALL_GOOD);
}

/* ---- every bit ---- */

/* Each bit of each line: it is refused as a line, or stands elsewhere, or its hash does not lead to the signed root. */
static void no_bit_of_the_export_can_be_flipped(void **state)
{
	struct hasher h;
	uint8_t root[HASH_LEN], path[PROOF_MAX][HASH_LEN];
	char line[LEAF_MAX];
	unsigned refused = 0, elsewhere = 0, other_root = 0;

	(void)state;
	assert_true(hasher_open(&h));
	log_rig_root(&rig, LEAVES, root);
	for (uint64_t seq = 0; seq < LEAVES; seq++) {
		struct span s = log_rig_line(&rig, seq);
		size_t count = log_rig_path((const uint8_t(*)[HASH_LEN])rig.hashes, seq, 0, LEAVES, path);
		memcpy(line, s.p, s.n);
		for (size_t bit = 0; bit < 8 * (s.n - 1); bit += BIT_STEP) {
			struct leaf leaf;
			enum finding f = F_LINE;
			const char *why = NULL;
			line[bit / 8] = (char)(line[bit / 8] ^ 1 << bit % 8);
			if (memchr(line, '\n', s.n - 1) != NULL || !leaf_parse((struct span){ line, s.n - 1 }, &h, &leaf, &f, &why))
				refused++;
			else if (leaf.seq != seq)
				elsewhere++;
			else if (!tree_includes(&h, seq, LEAVES, leaf.hash, (const uint8_t(*)[HASH_LEN])path, count, root))
				other_root++;
			else
				fail_msg("seq %d, bit %d was not missed", (int)seq, (int)bit);
			line[bit / 8] = (char)(line[bit / 8] ^ 1 << bit % 8);
		}
	}
	assert_true(refused + elsewhere + other_root >= 8 * (rig.len - LEAVES) / BIT_STEP);
	assert_true(refused > 0 && elsewhere > 0 && other_root > 0);
	hasher_close(&h);
}

/* The same from end to end, for some bits spread over the whole text, and for the end of each line. */
static void no_bit_that_is_flipped_is_verified(void **state)
{
	char *text = malloc(rig.len);
	const size_t step = 4001;

	(void)state;
	assert_non_null(text);
	memcpy(text, rig.text, rig.len);
	for (size_t bit = 0; bit < 8 * rig.len; bit += text[bit / 8] == '\n' ? 1 : step) {
		text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
		assert_int_not_equal(verify((struct rig_check){ .checkpoints = { whole }, .log = { text, rig.len } }), EXIT_ALL_GOOD);
		text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
	}
	free(text);
}

static void no_bit_of_a_checkpoint_can_be_flipped(void **state)
{
	size_t len = strlen(whole);

	(void)state;
	for (size_t bit = 0; bit < 8 * len; bit += BIT_STEP) {
		struct rig_check c = { .checkpoints = { whole }, .has_policy = true, .has_no_log = true };
		whole[bit / 8] = (char)(whole[bit / 8] ^ 1 << bit % 8);
		assert_int_equal(verify(c), EXIT_SIGNATURE);
		whole[bit / 8] = (char)(whole[bit / 8] ^ 1 << bit % 8);
	}
	assert_int_equal(verify((struct rig_check){ .checkpoints = { whole }, .has_policy = true, .has_no_log = true }), EXIT_ALL_GOOD);
}

/* The checkpoint in a bundle is one like any other: here it is the leaf, its place and the path. */
static void no_bit_of_a_bundle_can_be_flipped(void **state)
{
	char *text = log_rig_bundle(&rig, 77, LEAVES, RIG_LOG);
	size_t proof_len = (size_t)(strstr(text, "\n\n") + 1 - text);
	struct hasher h;
	struct checkpoint c = { .size = LEAVES };

	(void)state;
	assert_true(hasher_open(&h));
	log_rig_root(&rig, LEAVES, c.root);
	assert_int_equal(verify((struct rig_check){ .bundles = { text }, .has_no_log = true }), EXIT_ALL_GOOD);
	for (size_t bit = 0; bit < 8 * proof_len; bit += BIT_STEP) {
		struct bundle b;
		text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
		if (bundle_parse((struct span){ text, strlen(text) }, &b) == NULL)
			assert_false(bundle_proves(&b, &h, &c));
		if (bit % 97 == 0)
			assert_int_not_equal(verify((struct rig_check){ .bundles = { text }, .has_no_log = true }), EXIT_ALL_GOOD);
		text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
	}
	hasher_close(&h);
	free(text);
}

/* What the log says never speaks to the terminal. */
static void findings_are_printed_without_control_bytes(void **state)
{
	struct verify *v = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	(void)log_rig_add(&rig, &(struct rig_leaf){ .type = "key.wrap", .tenant = "t\xc2\x9b", .pid = "P", .key = "\xe2\x80\xae\x7f\xc2\x9b""31m", .object = "Z" });
	(void)log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { whole } }, &v);
	verify_print(v, out);
	verify_print_json(v, out);
	(void)fclose(out);
	assert_non_null(strstr(text, "never_created"));
	for (size_t i = 0; i < len; i++)
		assert_true(text[i] == '\n' || (text[i] >= 0x20 && text[i] < 0x7f));
	free(text);
	verify_close(v);
}

static void the_summary_says_which_event_and_what_was_not_checked(void **state)
{
	struct verify *v = NULL;
	char *text = NULL, *bundle = NULL, wanted[64];
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	uint64_t seq = log_rig_add(&rig, &(struct rig_leaf){ .type = "key.get", .tenant = "T", .pid = "P", .key = "k\xc2\x9b""31m", .object = "Z" });

	(void)state;
	bundle = log_rig_bundle(&rig, seq, rig.size, RIG_LOG | RIG_WITNESS);
	assert_int_equal(log_rig_verify(&(struct rig_check){ .rig = &rig, .bundles = { bundle }, .has_no_log = true }, &v), EXIT_ALL_GOOD);
	verify_print(v, out);
	verify_print_json(v, out);
	(void)fclose(out);
	(void)snprintf(wanted, sizeof(wanted), "event: seq %llu, ", (unsigned long long)seq);
	assert_non_null(strstr(text, wanted));
	assert_non_null(strstr(text, ", key.get, ok, key k\\xc2\\x9b31m\n"));
	assert_non_null(strstr(text, "\"root_fits\":true"));
	assert_non_null(strstr(text, "1 cosignature not checked (use --policy)\n"));
	free(text);
	free(bundle);
	verify_close(v);
}

static void many_findings_are_counted_and_few_are_kept(void **state)
{
	struct verify *v = NULL;
	char *text = NULL, *checkpoint = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	for (int i = 0; i < 1000; i++)
		(void)log_rig_add(&rig, &(struct rig_leaf){ .type = "node.start" });
	checkpoint = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	(void)log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { checkpoint } }, &v);
	assert_int_equal(v->report.count[F_BOOT], 1000);
	verify_print(v, out);
	(void)fclose(out);
	assert_non_null(strstr(text, "... and 900 more\n"));
	free(text);
	free(checkpoint);
	verify_close(v);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_nobody_touched_is_verified),
		T(leaves_behind_the_newest_checkpoint_are_not_verified),
		T(tampering_is_found),
		T(a_log_of_another_origin_is_told),
		T(a_fork_is_a_fork),
		T(a_checkpoint_that_is_not_signed_well_is_refused),
		T(without_leaves_a_trusted_checkpoint_needs_a_proof),
		T(age_counts_from_the_newest_cosignature_and_leaf),
		T(a_new_log_key_is_trusted_over_a_checkpoint_that_both_sign),
		T(a_certificate_is_borne_out_by_its_log),
		T(a_certificate_may_name_thousands_of_keys),
		T(a_key_was_made_where_its_certificate_says),
		T(a_key_that_a_backup_brought_back_is_not_dead),
		T(no_bit_of_the_export_can_be_flipped),
		T(no_bit_that_is_flipped_is_verified),
		T(no_bit_of_a_checkpoint_can_be_flipped),
		T(no_bit_of_a_bundle_can_be_flipped),
		T(findings_are_printed_without_control_bytes),
		T(the_summary_says_which_event_and_what_was_not_checked),
		T(many_findings_are_counted_and_few_are_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
