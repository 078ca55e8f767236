/* tests/support/log_rig.c - logs for the verifier's tests. */
#include "tests/support/log_rig.h"

#include <assert.h>
#include <openssl/sha.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#define LINE_MAX_LEN 8192
#define MEMO_MAX 300 /* leaves */
#define WALL_FIRST_US ((int64_t)1795284000 * 1000000)

/* ---- text ---- */

char *log_rig_base64(const void *bytes, size_t len)
{
	char *text = malloc(4 * ((len + 2) / 3) + 1);
	assert(text != NULL && len < 1 << 20);
	(void)EVP_EncodeBlock((unsigned char *)text, bytes, (int)len);
	return text;
}

__attribute__((format(printf, 2, 3))) static void put(char **text, const char *format, ...)
{
	char *old = *text, *more = NULL;
	va_list args;

	va_start(args, format);
	assert(vasprintf(&more, format, args) >= 0);
	va_end(args);
	assert(asprintf(text, "%s%s", old != NULL ? old : "", more) >= 0);
	free(old);
	free(more);
}

/* ---- keys ---- */

static EVP_PKEY *make_key(const char *name, uint8_t type, uint8_t seed, char ret_vkey[128])
{
	uint8_t private[32], public[33] = { type }, hash[HASH_LEN], to_hash[512];
	size_t len = 32, name_len = strlen(name);
	EVP_PKEY *key = NULL;
	char *base64 = NULL;

	memset(private, seed, sizeof(private));
	key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, private, sizeof(private));
	assert(key != NULL && EVP_PKEY_get_raw_public_key(key, public + 1, &len) == 1);
	memcpy(to_hash, name, name_len);
	to_hash[name_len] = '\n';
	memcpy(to_hash + name_len + 1, public, sizeof(public));
	SHA256(to_hash, name_len + 1 + sizeof(public), hash);
	base64 = log_rig_base64(public, sizeof(public));
	(void)snprintf(ret_vkey, 128, "%s+%02x%02x%02x%02x+%s", name, hash[0], hash[1], hash[2], hash[3], base64);
	free(base64);
	return key;
}

void log_rig_open(struct log_rig *r, const char *origin, uint8_t seed)
{
	*r = (struct log_rig){ .wall_us = WALL_FIRST_US, .origin = origin };
	r->log_key = make_key(origin, KEY_ED25519, seed, r->vkey);
	r->other_key = make_key(origin, KEY_ED25519, (uint8_t)(seed + 1), r->other_vkey);
	r->witness_key = make_key("witness.example.net/w1", KEY_COSIGNATURE, (uint8_t)(seed + 2), r->witness_vkey);
	r->attestation_key = make_key("kms.example.com/attest/k1", KEY_ED25519, (uint8_t)(seed + 3), r->attestation_vkey);
}

void log_rig_close(struct log_rig *r)
{
	EVP_PKEY_free(r->log_key);
	EVP_PKEY_free(r->other_key);
	EVP_PKEY_free(r->witness_key);
	EVP_PKEY_free(r->attestation_key);
	free(r->text);
	free(r->starts);
	free(r->hashes);
	*r = (struct log_rig){ 0 };
}

/* ---- leaves ---- */

static void format_ts(int64_t us, char ret[40])
{
	time_t s = (time_t)(us / 1000000);
	struct tm tm;

	assert(gmtime_r(&s, &tm) != NULL);
	(void)snprintf(ret, 40, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", (tm.tm_year + 1900) % 10000, (tm.tm_mon + 1) % 100, tm.tm_mday % 100, tm.tm_hour % 100,
	               tm.tm_min % 100, tm.tm_sec % 100, (int)(us % 1000000));
}

static void put_key(char **line, const struct rig_leaf *l)
{
	const char *comma = "";

	if (l->key == NULL && l->object == NULL)
		return;
	put(line, ",\"key\":{");
	if (l->key != NULL) {
		put(line, "\"name\":\"%s\"", l->key);
		comma = ",";
	}
	if (l->object != NULL)
		put(line, "%s\"obj\":\"AAAAAAAAAAAAAAAAAAAA%sA\",\"ver\":\"%s\"", comma, l->object, l->object);
	put(line, "}");
}

static char *format_leaf(const struct log_rig *r, const struct rig_leaf *l)
{
	const char *phase = l->phase != NULL ? l->phase : "single";
	const char *result = l->result != NULL ? l->result : strcmp(phase, "intent") == 0 ? "pending" : "ok";
	char *line = NULL, ts[40];

	format_ts(r->wall_us, ts);
	put(&line, "{");
	if (l->pid != NULL || l->kind != NULL) {
		put(&line, "\"actor\":{\"kind\":\"%s\"", l->kind != NULL ? l->kind : "user");
		if (l->pid != NULL)
			put(&line, ",\"pid\":\"%s\"", l->pid);
		put(&line, "},");
	}
	if (l->appr != NULL)
		put(&line, "\"appr\":%s,", l->appr);
	put(&line, "\"boot\":\"%s\"", r->boot);
	if (l->det != NULL)
		put(&line, ",\"det\":%s", l->det);
	put(&line, ",\"id\":\"00000000-0000-4000-8000-%012llu\"", (unsigned long long)r->size);
	put_key(&line, l);
	put(&line, ",\"mono\":%lld,\"node\":\"n\",\"phase\":\"%s\"", (long long)r->mono_us, phase);
	if (l->ref != 0)
		put(&line, ",\"ref\":%lld", (long long)l->ref);
	put(&line, ",\"result\":\"%s\",\"salt\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"seq\":%llu", result, (unsigned long long)r->size);
	if (l->tenant != NULL)
		put(&line, ",\"tenant\":\"%s\"", l->tenant);
	put(&line, ",\"ts\":\"%s\",\"type\":\"%s\",\"v\":1}", ts, l->type);
	return line;
}

static void reserve(struct log_rig *r)
{
	if (r->len + LINE_MAX_LEN + 1 > r->cap) {
		r->cap = 2 * r->cap + 2 * LINE_MAX_LEN;
		r->text = realloc(r->text, r->cap);
	}
	if (r->size == r->count_cap) {
		r->count_cap = 2 * r->count_cap + 64;
		r->starts = reallocarray(r->starts, r->count_cap, sizeof(r->starts[0]));
		r->hashes = reallocarray(r->hashes, r->count_cap, sizeof(r->hashes[0]));
	}
	assert(r->text != NULL && r->starts != NULL && r->hashes != NULL);
}

uint64_t log_rig_add(struct log_rig *r, const struct rig_leaf *l)
{
	const char *boot = l->boot != NULL ? l->boot : RIG_BOOT;
	int64_t step_us = (l->step_ms != 0 ? l->step_ms : 1000) * 1000;
	uint8_t to_hash[LINE_MAX_LEN + 1] = { 0 };
	char *line = NULL;
	size_t len = 0;

	if (strcmp(boot, r->boot) != 0) {
		memcpy(r->boot, boot, sizeof(r->boot));
		r->mono_us = 0;
	} else {
		r->mono_us += step_us;
	}
	r->wall_us += step_us + l->wall_ms * 1000;
	reserve(r);
	line = format_leaf(r, l);
	len = strlen(line);
	assert(len <= LINE_MAX_LEN);
	memcpy(to_hash + 1, line, len);
	SHA256(to_hash, len + 1, r->hashes[r->size]);
	r->starts[r->size] = r->len;
	memcpy(r->text + r->len, line, len);
	r->len += len;
	r->text[r->len++] = '\n';
	free(line);
	return r->size++;
}

void log_rig_start(struct log_rig *r)
{
	char det[256];

	(void)snprintf(det, sizeof(det), "{\"hash\":\"sha256\",\"origin\":\"%s\",\"profile\":\"kel/1\"}", r->origin);
	(void)log_rig_add(r, &(struct rig_leaf){ .type = "log.init", .det = det });
	(void)log_rig_add(r, &(struct rig_leaf){ .type = "node.start" });
}

struct span log_rig_line(const struct log_rig *r, uint64_t seq)
{
	size_t end = seq + 1 < r->size ? r->starts[seq + 1] : r->len;
	return (struct span){ r->text + r->starts[seq], end - r->starts[seq] };
}

/* ---- the tree, from RFC 6962 section 2.1 ---- */

static void pair(const uint8_t left[HASH_LEN], const uint8_t right[HASH_LEN], uint8_t ret[HASH_LEN])
{
	uint8_t both[1 + 2 * HASH_LEN] = { 1 };

	memcpy(both + 1, left, HASH_LEN);
	memcpy(both + 1 + HASH_LEN, right, HASH_LEN);
	SHA256(both, sizeof(both), ret);
}

static uint64_t split(uint64_t n)
{
	uint64_t k = 1;
	while (2 * k < n)
		k *= 2;
	return k;
}

/* What was computed of one list of leaves, so that all pairs of sizes are quick: by first leaf and count. */
struct memo {
	const uint8_t (*hashes)[HASH_LEN];
	bool is_known[MEMO_MAX][MEMO_MAX + 1];
	uint8_t at[MEMO_MAX][MEMO_MAX + 1][HASH_LEN];
};
static struct memo *memo;

void log_rig_remember(const uint8_t (*hashes)[HASH_LEN])
{
	free(memo);
	memo = hashes != NULL ? calloc(1, sizeof(*memo)) : NULL;
	if (memo != NULL)
		memo->hashes = hashes;
}

void log_rig_subtree(const uint8_t (*hashes)[HASH_LEN], uint64_t first, uint64_t count, uint8_t ret[HASH_LEN])
{
	uint8_t left[HASH_LEN], right[HASH_LEN];
	bool has_memo = memo != NULL && memo->hashes == hashes && first < MEMO_MAX && count <= MEMO_MAX;

	if (has_memo && memo->is_known[first][count]) {
		memcpy(ret, memo->at[first][count], HASH_LEN);
		return;
	}
	if (count == 0) {
		SHA256((const unsigned char *)"", 0, ret);
	} else if (count == 1) {
		memcpy(ret, hashes[first], HASH_LEN);
	} else {
		uint64_t k = split(count);
		log_rig_subtree(hashes, first, k, left);
		log_rig_subtree(hashes, first + k, count - k, right);
		pair(left, right, ret);
	}
	if (has_memo) {
		memcpy(memo->at[first][count], ret, HASH_LEN);
		memo->is_known[first][count] = true;
	}
}

void log_rig_root(const struct log_rig *r, uint64_t size, uint8_t ret[HASH_LEN]) { log_rig_subtree((const uint8_t(*)[HASH_LEN])r->hashes, 0, size, ret); }

size_t log_rig_path(const uint8_t (*hashes)[HASH_LEN], uint64_t index, uint64_t first, uint64_t count, uint8_t ret[PROOF_MAX][HASH_LEN])
{
	uint64_t k = split(count);
	size_t n = 0;

	if (count == 1)
		return 0;
	if (index < k) {
		n = log_rig_path(hashes, index, first, k, ret);
		log_rig_subtree(hashes, first + k, count - k, ret[n]);
	} else {
		n = log_rig_path(hashes, index - k, first + k, count - k, ret);
		log_rig_subtree(hashes, first, k, ret[n]);
	}
	return n + 1;
}

static size_t subproof(const uint8_t (*hashes)[HASH_LEN], uint64_t m, uint64_t first, uint64_t n, bool is_whole, uint8_t ret[PROOF_MAX][HASH_LEN])
{
	uint64_t k = split(n);
	size_t at = 0;

	if (m == n) {
		if (!is_whole)
			log_rig_subtree(hashes, first, n, ret[at++]);
		return at;
	}
	if (m <= k) {
		at = subproof(hashes, m, first, k, is_whole, ret);
		log_rig_subtree(hashes, first + k, n - k, ret[at]);
	} else {
		at = subproof(hashes, m - k, first + k, n - k, false, ret);
		log_rig_subtree(hashes, first, k, ret[at]);
	}
	return at + 1;
}

size_t log_rig_consistency(const uint8_t (*hashes)[HASH_LEN], uint64_t from, uint64_t to, uint8_t ret[PROOF_MAX][HASH_LEN])
{
	return from == to ? 0 : subproof(hashes, from, 0, to, true, ret);
}

/* ---- what is signed ---- */

static void add_line(char **note, EVP_PKEY *key, const char *vkey, const char *text, uint64_t time_s, bool is_witness)
{
	uint8_t blob[4 + 8 + 64];
	unsigned id[4];
	size_t len = 64, at = 4, name_len = (size_t)(strchr(vkey, '+') - vkey);
	char *base64 = NULL, *to_sign = NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	assert(sscanf(vkey + name_len + 1, "%2x%2x%2x%2x", &id[0], &id[1], &id[2], &id[3]) == 4);
	for (int i = 0; i < 4; i++)
		blob[i] = (uint8_t)id[i];
	if (is_witness) {
		put(&to_sign, "cosignature/v1\ntime %llu\n%s", (unsigned long long)time_s, text);
		for (int i = 7; i >= 0; i--)
			blob[at++] = (uint8_t)(time_s >> (8 * i));
	} else {
		put(&to_sign, "%s", text);
	}
	assert(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1);
	assert(EVP_DigestSign(ctx, blob + at, &len, (const unsigned char *)to_sign, strlen(to_sign)) == 1);
	base64 = log_rig_base64(blob, at + len);
	put(note, "\xe2\x80\x94 %.*s %s\n", (int)name_len, vkey, base64);
	EVP_MD_CTX_free(ctx);
	free(base64);
	free(to_sign);
}

char *log_rig_sign(const struct log_rig *r, const char *text, unsigned signers, uint64_t time_s)
{
	char *note = NULL;

	put(&note, "%s\n", text);
	if ((signers & RIG_LOG) != 0)
		add_line(&note, r->log_key, r->vkey, text, 0, false);
	if ((signers & RIG_OTHER) != 0)
		add_line(&note, r->other_key, r->other_vkey, text, 0, false);
	if ((signers & RIG_WITNESS) != 0)
		add_line(&note, r->witness_key, r->witness_vkey, text, time_s, true);
	if ((signers & RIG_ATTESTATION) != 0)
		add_line(&note, r->attestation_key, r->attestation_vkey, text, 0, false);
	return note;
}

char *log_rig_checkpoint(const struct log_rig *r, uint64_t size, unsigned signers, uint64_t time_s)
{
	uint8_t root[HASH_LEN];
	char *base64 = NULL, *text = NULL, *note = NULL;

	log_rig_root(r, size, root);
	base64 = log_rig_base64(root, sizeof(root));
	put(&text, "%s\n%llu\n%s\n", r->origin, (unsigned long long)size, base64);
	note = log_rig_sign(r, text, signers, time_s);
	free(base64);
	free(text);
	return note;
}

char *log_rig_bundle(const struct log_rig *r, uint64_t index, uint64_t size, unsigned signers)
{
	uint8_t path[PROOF_MAX][HASH_LEN];
	struct span line = log_rig_line(r, index);
	size_t count = log_rig_path((const uint8_t(*)[HASH_LEN])r->hashes, index, 0, size, path);
	char *bundle = NULL, *base64 = log_rig_base64(line.p, line.n - 1), *note = log_rig_checkpoint(r, size, signers, 1);

	put(&bundle, "c2sp.org/tlog-proof@v1\nextra %s\nindex %llu\n", base64, (unsigned long long)index);
	free(base64);
	for (size_t i = 0; i < count; i++) {
		base64 = log_rig_base64(path[i], HASH_LEN);
		put(&bundle, "%s\n", base64);
		free(base64);
	}
	put(&bundle, "\n%s", note);
	free(note);
	return bundle;
}

/* ---- a verification ---- */

static struct span span_of(const char *text) { return (struct span){ text, strlen(text) }; }

static void give_keys(struct verify *v, const struct rig_check *c)
{
	static char policy[512];
	unsigned line = 0;

	assert(verify_add_key(v, span_of(c->rig->vkey)) == NULL);
	assert(verify_add_key(v, span_of(c->rig->attestation_vkey)) == NULL);
	if (c->trusts_other)
		assert(verify_add_key(v, span_of(c->rig->other_vkey)) == NULL);
	(void)snprintf(policy, sizeof(policy), "log %s\nwitness W %s\nquorum W\n", c->rig->vkey, c->rig->witness_vkey);
	if (c->has_policy)
		assert(verify_add_policy(v, span_of(policy), &line) == NULL);
}

static void give_signed(struct verify *v, const struct rig_check *c)
{
	for (int i = 0; i < 4 && c->checkpoints[i] != NULL; i++)
		assert(verify_add_checkpoint(v, SIGNED_CHECKPOINT, "checkpoint", span_of(c->checkpoints[i])) == NULL);
	for (int i = 0; i < 2 && c->trusted[i] != NULL; i++)
		assert(verify_add_checkpoint(v, SIGNED_TRUSTED, "trusted", span_of(c->trusted[i])) == NULL);
	for (int i = 0; i < 2 && c->bundles[i] != NULL; i++)
		assert(verify_add_bundle(v, "bundle", span_of(c->bundles[i])) == NULL);
	for (int i = 0; i < 2 && c->certificates[i] != NULL; i++)
		assert(verify_add_certificate(v, "certificate", span_of(c->certificates[i])) == NULL);
	for (int i = 0; i < 2 && c->proofs[i] != NULL; i++)
		assert(verify_add_proof(v, "proof", span_of(c->proofs[i])) == NULL);
}

/* In two pieces, so that a line goes on in the next. */
static void feed(struct verify *v, struct span log)
{
	size_t half = log.n / 2;

	assert(verify_feed(v, "log", log.p, half) == NULL);
	assert(verify_feed(v, "log", log.p + half, log.n - half) == NULL);
	assert(verify_end_file(v, "log") == NULL);
}

enum verify_exit log_rig_verify(const struct rig_check *c, struct verify **ret)
{
	struct span log = c->log.p != NULL ? c->log : (struct span){ c->rig->text, c->rig->len };
	struct verify_options options = { .approvers = c->approvers != 0 ? c->approvers : 1, .is_partial = c->is_partial, .is_complete = c->is_complete, .has_max_age = c->max_age_s != 0,
		                          .max_age_s = c->max_age_s, .now_s = c->now_s };
	struct verify *v = verify_open(&options);
	enum verify_exit status = EXIT_USAGE;

	assert(v != NULL);
	give_keys(v, c);
	give_signed(v, c);
	assert(verify_begin(v) == NULL);
	if (!c->has_no_log) {
		feed(v, log);
		if (verify_wants_again(v) && !c->is_read_once)
			feed(v, log);
	}
	status = verify_finish(v);
	if (ret != NULL)
		*ret = v;
	else
		verify_close(v);
	return status;
}
