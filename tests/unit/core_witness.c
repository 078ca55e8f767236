/* tests/unit/core_witness.c - what witnesses answer, and what is made of it. The transport is a witness in this file that signs, lies and falls silent as told. */
#include <jansson.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "server/base/log.h"
#include "server/core/witness.h"

#define GOLDEN "../shared/vectors/audit-log/golden-v1.json"
#define ORIGIN "kms.example.com/audit/log1"
#define NOW_S 1800000000
#define LEAVES 64
#define LEVELS 8
#define WITNESSES 3
#define PATIENCE_MS 5000
#define PAUSE_MS 2

/* ---- the log: nodes in memory behind the port to the database ---- */

static struct {
	struct merkle_edge edge[LEAVES + 1];
	uint8_t nodes[LEVELS][LEAVES][MERKLE_HASH_LEN];
	pthread_mutex_t lock; /* guards what follows */
	uint64_t size;
	char note[STORE_NOTE_MAX];
} tree = { .lock = PTHREAD_MUTEX_INITIALIZER };

static kms_status put_node(void *arg, unsigned level, uint64_t position, const uint8_t hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	(void)arg;
	(void)err;
	memcpy(tree.nodes[level][position], hash, MERKLE_HASH_LEN);
	return KMS_OK;
}

static void make_tree(void)
{
	struct merkle_edge edge = { 0 };

	for (unsigned i = 0; i < LEAVES; i++) {
		merkle_leaf_hash(&i, sizeof(i), tree.nodes[0][i]);
		assert_int_equal(merkle_append(&edge, tree.nodes[0][i], put_node, NULL, NULL), KMS_OK);
		tree.edge[i + 1] = edge;
	}
}

static void text_of(uint64_t size, char ret_text[NOTE_TEXT_MAX + 1])
{
	struct checkpoint_text c = { .origin = ORIGIN, .size = size };

	merkle_root(&tree.edge[size], c.root);
	(void)checkpoint_format(&c, ret_text);
}

/* The signature of the log itself is not looked at here. */
static void sign_size(uint64_t size)
{
	char text[NOTE_TEXT_MAX + 1];

	text_of(size, text);
	(void)pthread_mutex_lock(&tree.lock);
	tree.size = size;
	(void)snprintf(tree.note, sizeof(tree.note), "%s\n\xe2\x80\x94 " ORIGIN " AAAAAAAA\n", text);
	(void)pthread_mutex_unlock(&tree.lock);
}

static kms_status fake_last(struct store *s, struct store_signed *ret, struct kms_err *err)
{
	struct checkpoint_text c;
	size_t len = 0;

	(void)s;
	(void)pthread_mutex_lock(&tree.lock);
	bool has_one = tree.size > 0 && checkpoint_parse(tree.note, strlen(tree.note), &c, &len);
	if (has_one) {
		*ret = (struct store_signed){ .size = c.size, .note = strdup(tree.note) };
		memcpy(ret->root, c.root, sizeof(c.root));
	}
	(void)pthread_mutex_unlock(&tree.lock);
	return has_one ? KMS_OK : kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "none");
}
static kms_status fake_node(struct store *s, unsigned level, uint64_t position, uint8_t ret_hash[STORE_HASH_LEN], struct kms_err *err)
{
	(void)s;
	(void)err;
	assert_true(level < LEVELS && position < LEAVES);
	memcpy(ret_hash, tree.nodes[level][position], STORE_HASH_LEN);
	return KMS_OK;
}
static void fake_close(struct store *s) { (void)s; }
static const struct store_ops STORE_OPS = { .close = fake_close, .checkpoint_last = fake_last, .node = fake_node };
static struct store store = { .ops = &STORE_OPS, .mode = STORE_READ };

/* ---- the checkpointer: what it is told ---- */

static struct {
	pthread_mutex_t lock;
	unsigned kept, rolled_back;
	uint64_t kept_size, known_size;
	char lines[NOTE_LINE_MAX * 2], who[64];
	bool refuses;
} told = { .lock = PTHREAD_MUTEX_INITIALIZER };

kms_status log_add_cosignatures(struct checkpointer *c, uint64_t size, const char *lines, struct kms_err *err)
{
	(void)c;
	(void)pthread_mutex_lock(&told.lock);
	bool refuses = told.refuses;
	if (!refuses) {
		told.kept++;
		told.kept_size = size;
		(void)snprintf(told.lines, sizeof(told.lines), "%s", lines);
	}
	(void)pthread_mutex_unlock(&told.lock);
	return refuses ? kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the disk is full") : KMS_OK;
}

void log_report_rollback(struct checkpointer *c, const char *who, uint64_t known_size, const uint8_t *known_root)
{
	(void)c;
	assert_null(known_root);
	(void)pthread_mutex_lock(&told.lock);
	told.rolled_back++;
	told.known_size = known_size;
	(void)snprintf(told.who, sizeof(told.who), "%s", who);
	(void)pthread_mutex_unlock(&told.lock);
}

static unsigned told_kept(void)
{
	(void)pthread_mutex_lock(&told.lock);
	unsigned n = told.kept;
	(void)pthread_mutex_unlock(&told.lock);
	return n;
}
static unsigned told_rolled_back(void)
{
	(void)pthread_mutex_lock(&told.lock);
	unsigned n = told.rolled_back;
	(void)pthread_mutex_unlock(&told.lock);
	return n;
}

/* ---- the witnesses ---- */

struct fake {
	EVP_PKEY *key;
	char vkey[NOTE_VKEY_MAX + 1], url[64];
	struct note_key note;

	/* Guarded by fakes_lock: what it answers. */
	bool is_away;
	int http;            /* 0: as a good witness does */
	const char *body;    /* of any other */
	bool adds_others;    /* somebody else's lines around its own */
	bool is_wrong;       /* one bit of its signature */
	const struct fake *signs_as;
	int64_t off_s;
	uint64_t size;       /* what it knows */
	unsigned calls;
	char last[STORE_NOTE_MAX * 2]; /* the last submission */
};
static struct fake fakes[WITNESSES];
static struct witness_config configs[WITNESSES];
static pthread_mutex_t fakes_lock = PTHREAD_MUTEX_INITIALIZER;

static void cosign(const struct fake *f, const char *text, int64_t time_s, bool is_wrong, char ret_line[NOTE_LINE_MAX + 1])
{
	char message[NOTE_TEXT_MAX + 64];
	uint8_t signature[72];
	size_t len = 64;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int message_len = snprintf(message, sizeof(message), "cosignature/v1\ntime %lld\n%s", (long long)time_s, text);

	for (unsigned i = 0; i < 8; i++)
		signature[i] = (uint8_t)((uint64_t)time_s >> (56 - 8 * i));
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, NULL, NULL, f->key), 1);
	assert_int_equal(EVP_DigestSign(ctx, signature + 8, &len, (const uint8_t *)message, (size_t)message_len), 1);
	EVP_MD_CTX_free(ctx);
	if (is_wrong)
		signature[40] ^= 1;
	(void)note_line_format(&f->note, signature, sizeof(signature), ret_line);
}

/* The proof as it came, checked against the roots of the tree. */
static bool proof_is_good(const char *body, uint64_t from, const struct checkpoint_text *c)
{
	struct merkle_proof proof = { 0 };
	uint8_t root[MERKLE_HASH_LEN];
	size_t len = 0;

	for (const char *at = strchr(body, '\n') + 1; *at != '\n'; at += B64_LEN(MERKLE_HASH_LEN) + 1) {
		char url[B64_LEN(MERKLE_HASH_LEN) + 1];
		(void)snprintf(url, sizeof(url), "%s", at);
		for (char *p = url; *p != '\0'; p++)
			*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
		assert_true(b64url_decode(url, strlen(url), proof.hash[proof.count++], MERKLE_HASH_LEN, &len));
		assert_int_equal(at[B64_LEN(MERKLE_HASH_LEN)], '\n');
	}
	if (from == 0)
		return proof.count == 0;
	merkle_root(&tree.edge[from], root);
	return merkle_check_consistency(from, c->size, root, c->root, &proof);
}

static char *answer_200(struct fake *f, const char *note, const struct checkpoint_text *c, size_t text_len)
{
	char text[NOTE_TEXT_MAX + 1], line[NOTE_LINE_MAX + 1], long_line[8192];
	char *body = NULL;

	(void)snprintf(text, sizeof(text), "%.*s", (int)text_len, note);
	cosign(f->signs_as != NULL ? f->signs_as : f, text, NOW_S + f->off_s, f->is_wrong, line);
	f->size = c->size;
	(void)snprintf(long_line, sizeof(long_line), "\xe2\x80\x94 other.example/mldsa %04000d\n", 0);
	assert_true(asprintf(&body, "%s%s%s%s", f->adds_others ? "\xe2\x80\x94 other.example/w9 AAAAAAAAAAA=\n" : "", f->adds_others ? long_line : "", line,
	                     f->adds_others ? "\xe2\x80\x94 another.example AAAAAAAAAAA=\n" : "") > 0);
	return body;
}

static kms_status fake_post(void *arg, const char *url, const char *ca, const char *body, size_t body_len, struct witness_answer *ret, struct kms_err *err)
{
	struct fake *f = NULL;
	struct checkpoint_text c;
	size_t text_len = 0;
	unsigned long long old = 0;
	const char *note = strstr(body, "\n\n") + 2;

	(void)arg;
	assert_null(ca);
	for (size_t i = 0; i < WITNESSES; i++)
		if (strncmp(url, fakes[i].url, strlen(fakes[i].url)) == 0)
			f = &fakes[i];
	assert_non_null(f);
	assert_string_equal(url + strlen(f->url), "/add-checkpoint");
	assert_int_equal(strlen(body), body_len);
	assert_true(checkpoint_parse(note, strlen(note), &c, &text_len));
	assert_int_equal(sscanf(body, "old %llu\n", &old), 1);
	(void)pthread_mutex_lock(&fakes_lock);
	f->calls++;
	(void)snprintf(f->last, sizeof(f->last), "%s", body);
	bool is_away = f->is_away;
	*ret = (struct witness_answer){ .http = f->http };
	if (f->http != 0) {
		ret->body = strdup(f->body != NULL ? f->body : "");
	} else if (old != f->size) {
		ret->http = 409;
		assert_true(asprintf(&ret->body, "%llu\n", (unsigned long long)f->size) > 0);
	} else {
		assert_true(proof_is_good(body, old, &c));
		ret->http = 200;
		if (!is_away)
			ret->body = answer_200(f, note, &c, text_len);
	}
	(void)pthread_mutex_unlock(&fakes_lock);
	if (is_away) {
		free(ret->body);
		*ret = (struct witness_answer){ 0 };
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_HTTP, 28, "no answer in 5 s");
	}
	ret->body_len = strlen(ret->body);
	return KMS_OK;
}

static int64_t fixed_us(const struct clock *c)
{
	(void)c;
	return (int64_t)NOW_S * 1000000;
}
static const struct clock FIXED = { .wall_us = fixed_us, .mono_us = fixed_us };
static struct kms kms = { .clock = &FIXED };

static struct witnesses_config config(size_t count, unsigned quorum)
{
	return (struct witnesses_config){ .kms = &kms, .store = &store, .witness = configs, .count = count, .quorum = quorum, .pause_ms = PAUSE_MS,
		                          .transport = { .post = fake_post } };
}

static struct witnesses *start(size_t count, unsigned quorum)
{
	struct witnesses_config cfg = config(count, quorum);
	struct kms_err err = { 0 };
	struct witnesses *w = NULL;

	if (witnesses_start(&cfg, &w, &err) != KMS_OK)
		fail_msg("%s%s", err.detail, err.message);
	return w;
}

static void end(struct witnesses *w)
{
	witnesses_stop(w);
	witnesses_free(w);
}

static void set(struct fake *f, int http, const char *body)
{
	(void)pthread_mutex_lock(&fakes_lock);
	f->http = http;
	f->body = body;
	(void)pthread_mutex_unlock(&fakes_lock);
}

static unsigned calls(struct fake *f)
{
	(void)pthread_mutex_lock(&fakes_lock);
	unsigned n = f->calls;
	(void)pthread_mutex_unlock(&fakes_lock);
	return n;
}

static struct witness_status status_of(struct witnesses *w, size_t i)
{
	struct witness_status s[WITNESSES];
	assert_true(witnesses_status(w, s, WITNESSES) > i);
	return s[i];
}

static bool is_witnessed(struct witnesses *w, uint64_t size) { return witnesses_wait(w, size, 0, NULL) == KMS_OK; }

#define UNTIL(condition)                                                             \
	do {                                                                         \
		for (int ms = 0; !(condition); ms++) {                               \
			const struct timespec one = { .tv_nsec = 1000000 };          \
			if (ms == PATIENCE_MS)                                       \
				fail_msg("not in %d ms: %s", PATIENCE_MS, #condition); \
			(void)nanosleep(&one, NULL);                                 \
		}                                                                    \
	} while (0)

static int fresh(void **state)
{
	(void)state;
	for (size_t i = 0; i < WITNESSES; i++) {
		struct fake *f = &fakes[i];
		f->is_away = f->adds_others = f->is_wrong = false;
		f->http = 0;
		f->body = NULL;
		f->signs_as = NULL;
		f->off_s = 0;
		f->size = f->calls = 0;
	}
	told.kept = told.rolled_back = 0;
	told.kept_size = told.known_size = 0;
	told.refuses = false;
	tree.size = 0;
	return 0;
}

/* ---- submitting ---- */

static void each_checkpoint_is_cosigned_from_what_the_witness_knows(void **state)
{
	char expected[NOTE_LINE_MAX + 1], text[NOTE_TEXT_MAX + 1];
	struct witnesses *w = start(1, 1);

	(void)state;
	for (uint64_t size = 1; size <= LEAVES; size += 7) {
		sign_size(size);
		witnesses_notify(w, size);
		assert_int_equal(witnesses_wait(w, size, PATIENCE_MS, NULL), KMS_OK);
		text_of(size, text);
		cosign(&fakes[0], text, NOW_S, false, expected);
		assert_string_equal(told.lines, expected);
		assert_int_equal(told.kept_size, size);
		assert_false(is_witnessed(w, size + 1));
	}
	assert_int_equal(status_of(w, 0).cosigned_s, NOW_S);
	assert_int_equal(fakes[0].calls, told.kept);
	end(w);
}

static void a_witness_that_is_behind_gets_the_newest_only(void **state)
{
	struct witnesses *w = NULL;

	(void)state;
	fakes[0].size = 3;
	sign_size(50);
	w = start(1, 1);
	for (uint64_t size = 40; size <= 50; size++)
		witnesses_notify(w, size);
	assert_int_equal(witnesses_wait(w, 50, PATIENCE_MS, NULL), KMS_OK);
	assert_int_equal(fakes[0].calls, 2); /* old 0, and then what it said */
	assert_memory_equal(fakes[0].last, "old 3\n", 6);
	assert_int_equal(told.kept, 1);
	end(w);
}

static void of_an_answer_only_the_witness_s_own_line_is_kept(void **state)
{
	struct witnesses *w = NULL;

	(void)state;
	fakes[0].adds_others = true;
	sign_size(9);
	w = start(1, 1);
	witnesses_notify(w, 9);
	assert_int_equal(witnesses_wait(w, 9, PATIENCE_MS, NULL), KMS_OK);
	assert_null(strstr(told.lines, "other"));
	assert_ptr_equal(strchr(told.lines, '\n'), told.lines + strlen(told.lines) - 1);
	end(w);
}

static void what_is_no_good_cosignature_is_not_kept_and_asked_for_again(void **state)
{
	static const struct {
		int http;
		const char *body;
		bool is_wrong, is_away, signs_as_other;
		int64_t off_s;
	} BAD[] = {
		{ .is_wrong = true }, { .is_away = true }, { .signs_as_other = true }, { .off_s = 3700 }, { .off_s = -3700 }, { .http = 200, .body = "" },
		{ .http = 200, .body = "\n" }, { .http = 200, .body = "hello\n" }, { .http = 200, .body = "\xe2\x80\x94 x" }, { .http = 500 }, { .http = 301 },
		{ .http = 400 }, { .http = 409 }, { .http = 409, .body = "x\n" }, { .http = 409, .body = "01\n" }, { .http = 409, .body = "0\n" },
		{ .http = 409, .body = "99999999999999999999\n" }, { .http = 409, .body = "3" }, { .http = 422 },
	};
	struct fake *f = &fakes[0];

	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		assert_int_equal(fresh(state), 0);
		f->is_wrong = BAD[i].is_wrong;
		f->is_away = BAD[i].is_away;
		f->signs_as = BAD[i].signs_as_other ? &fakes[1] : NULL;
		f->off_s = BAD[i].off_s;
		set(f, BAD[i].http, BAD[i].body);
		sign_size(9);
		struct witnesses *w = start(1, 1);
		witnesses_notify(w, 9);
		UNTIL(calls(f) >= 3);
		if (status_of(w, 0).failure[0] == '\0' || status_of(w, 0).refuses || is_witnessed(w, 1) || told_kept() != 0 || told_rolled_back() != 0)
			fail_msg("case %zu: '%s'", i, status_of(w, 0).failure);
		(void)pthread_mutex_lock(&fakes_lock);
		f->is_wrong = f->is_away = false;
		f->signs_as = NULL;
		f->off_s = 0;
		f->http = 0;
		f->size = 0;
		(void)pthread_mutex_unlock(&fakes_lock);
		assert_int_equal(witnesses_wait(w, 9, PATIENCE_MS, NULL), KMS_OK);
		assert_string_equal(status_of(w, 0).failure, "");
		end(w);
	}
}

static void pauses_grow_and_end_with_a_success(void **state)
{
	struct timespec from, to;
	struct witnesses *w = NULL;

	(void)state;
	set(&fakes[0], 500, "");
	sign_size(2);
	w = start(1, 1);
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	witnesses_notify(w, 2);
	for (unsigned i = 0; i < 50; i++) /* news does not shorten them */
		witnesses_notify(w, 2);
	UNTIL(calls(&fakes[0]) >= 5);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= PAUSE_MS * (1 + 2 + 4 + 8));
	set(&fakes[0], 0, NULL);
	assert_int_equal(witnesses_wait(w, 2, PATIENCE_MS, NULL), KMS_OK);
	end(w);
}

static void while_somebody_waits_pauses_do_not_grow(void **state)
{
	struct witnesses_config cfg = config(1, 1);
	struct witnesses *w = NULL;
	struct timespec from, to;

	(void)state;
	cfg.pause_ms = 20;
	fakes[0].is_away = true;
	sign_size(2);
	assert_int_equal(witnesses_start(&cfg, &w, NULL), KMS_OK);
	witnesses_notify(w, 2);
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	while (calls(&fakes[0]) < 8) /* would take 20 * (1 + 2 + 4 + … + 64) ms */
		assert_int_equal(witnesses_wait(w, 2, 10, NULL), KMS_E_AUDIT);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 7 * 20);
	assert_true(to.tv_sec - from.tv_sec < 2);
	end(w);
}

static void a_refusal_is_an_alarm_and_only_the_next_checkpoint_is_submitted(void **state)
{
	static const int REFUSALS[] = { 403, 404 };

	for (size_t i = 0; i < KMS_ARRAY_LEN(REFUSALS); i++) {
		assert_int_equal(fresh(state), 0);
		set(&fakes[0], REFUSALS[i], "no\n");
		sign_size(2);
		struct witnesses *w = start(1, 0);
		witnesses_notify(w, 2);
		UNTIL(status_of(w, 0).refuses);
		const struct timespec pause = { .tv_nsec = 20L * PAUSE_MS * 1000000 };
		(void)nanosleep(&pause, NULL);
		assert_int_equal(calls(&fakes[0]), 1);
		assert_int_equal(told_rolled_back(), 0);
		set(&fakes[0], 0, NULL);
		sign_size(3);
		witnesses_notify(w, 3);
		UNTIL(status_of(w, 0).size == 3);
		assert_false(status_of(w, 0).refuses);
		end(w);
	}
}

static void a_witness_that_knows_more_or_another_log_is_reported_once(void **state)
{
	static const struct {
		uint64_t own, known;
		int http;
		const char *body;
	} CASES[] = { { 9, 12, 0, NULL }, { 9, 9, 409, "9\n" }, { 9, 5, 422, "" } };
	struct fake *f = &fakes[0];

	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		assert_int_equal(fresh(state), 0);
		struct witnesses *w = NULL;
		if (CASES[i].http != 0) { /* it has cosigned this log before */
			sign_size(CASES[i].known == CASES[i].own ? 9 : 5);
			w = start(1, 0);
			witnesses_notify(w, CASES[i].known);
			UNTIL(status_of(w, 0).size == CASES[i].known);
		}
		f->size = CASES[i].known;
		if (CASES[i].known == CASES[i].own) {
			/* Of one size another root: a server that was started anew asks again. */
			end(w);
			w = NULL;
		}
		set(f, CASES[i].http, CASES[i].body);
		sign_size(CASES[i].own);
		w = w != NULL ? w : start(1, 0);
		witnesses_notify(w, CASES[i].own);
		UNTIL(told_rolled_back() == 1);
		assert_int_equal(told.known_size, CASES[i].known);
		assert_string_equal(told.who, "witness.example.net/w0");
		assert_true(status_of(w, 0).refuses);
		unsigned asked = calls(f);
		sign_size(10);
		witnesses_notify(w, 10);
		const struct timespec pause = { .tv_nsec = 10L * PAUSE_MS * 1000000 };
		(void)nanosleep(&pause, NULL);
		assert_int_equal(calls(f), asked);
		end(w);
	}
}

static void a_cosignature_that_cannot_be_stored_does_not_count(void **state)
{
	struct witnesses *w = NULL;

	(void)state;
	told.refuses = true;
	sign_size(4);
	w = start(1, 1);
	witnesses_notify(w, 4);
	UNTIL(calls(&fakes[0]) >= 3);
	assert_false(is_witnessed(w, 1));
	assert_non_null(strstr(status_of(w, 0).failure, "disk"));
	(void)pthread_mutex_lock(&told.lock);
	told.refuses = false;
	(void)pthread_mutex_unlock(&told.lock);
	assert_int_equal(witnesses_wait(w, 4, PATIENCE_MS, NULL), KMS_OK);
	end(w);
}

static void a_quorum_needs_so_many_and_one_that_is_away_delays_nobody(void **state)
{
	struct witnesses *w = NULL;
	struct kms_err err = { 0 };

	(void)state;
	fakes[0].is_away = true;
	sign_size(6);
	w = start(3, 2);
	assert_int_equal(witnesses_wait(w, 6, 1, NULL), KMS_E_AUDIT);
	witnesses_notify(w, 6);
	assert_int_equal(witnesses_wait(w, 6, PATIENCE_MS, NULL), KMS_OK);
	(void)pthread_mutex_lock(&fakes_lock);
	fakes[1].is_away = true;
	(void)pthread_mutex_unlock(&fakes_lock);
	sign_size(7);
	witnesses_notify(w, 7);
	UNTIL(status_of(w, 2).size == 7);
	assert_int_equal(witnesses_wait(w, 7, 1, &err), KMS_E_AUDIT);
	assert_non_null(strstr(err.detail, "2 witnesses"));
	end(w);
	w = start(3, 0);
	assert_int_equal(witnesses_wait(w, 7, 0, NULL), KMS_OK); /* none is needed */
	end(w);
}

static void *wait_long(void *arg)
{
	static kms_status status;
	status = witnesses_wait(arg, 5, PATIENCE_MS * 10, NULL);
	return &status;
}

static void stopping_ends_waiting_and_what_is_notified_later_is_let_be(void **state)
{
	struct witnesses *w = start(1, 1);
	pthread_t waiter;
	void *status = NULL;

	(void)state;
	assert_int_equal(pthread_create(&waiter, NULL, wait_long, w), 0);
	witnesses_stop(w);
	assert_int_equal(pthread_join(waiter, &status), 0);
	assert_int_equal(*(kms_status *)status, KMS_E_AUDIT);
	witnesses_notify(w, 5);
	assert_int_equal(calls(&fakes[0]), 0);
	witnesses_free(w);
	witnesses_stop(NULL);
	witnesses_free(NULL);
}

/* ---- the question at start ---- */

static void at_start_a_witness_that_knows_more_or_another_log_makes_the_verdict(void **state)
{
	static const struct {
		const char *what;
		uint64_t own, known;
		int http;
		const char *body;
		bool is_away;
		enum log_state state;
		unsigned calls;
		bool is_silent; /* does not say what it knows */
	} CASES[] = {
		{ "no checkpoint yet", 0, 5, 0, NULL, false, LOG_GOOD, 0, false },
		{ "the same", 9, 9, 0, NULL, false, LOG_GOOD, 1, false },
		{ "it is behind", 9, 4, 0, NULL, false, LOG_GOOD, 2, false },
		{ "it knows nothing", 9, 0, 0, NULL, false, LOG_GOOD, 2, false },
		{ "it knows more", 9, 10, 0, NULL, false, LOG_ROLLED_BACK, 1, false },
		{ "another root of this size", 9, 9, 409, "9\n", false, LOG_ROLLED_BACK, 1, false },
		{ "another root of a smaller size", 9, 9, 422, "", false, LOG_ROLLED_BACK, 1, false },
		{ "it does not know the log", 9, 9, 404, "", false, LOG_GOOD, 1, true },
		{ "nor the key", 9, 9, 403, "", false, LOG_GOOD, 1, true },
		{ "it is away", 9, 99, 0, NULL, true, LOG_GOOD, 1, true },
		{ "it is broken", 9, 9, 500, "", false, LOG_GOOD, 1, true },
		{ "it talks nonsense", 9, 9, 409, "many\n", false, LOG_GOOD, 1, true },
	};
	struct witnesses_config cfg = config(1, 1);

	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct log_verdict verdict = { .state = LOG_GOOD };
		struct kms_err err = { 0 };
		assert_int_equal(fresh(state), 0);
		if (CASES[i].own > 0)
			sign_size(CASES[i].own);
		fakes[0].size = CASES[i].known;
		fakes[0].is_away = CASES[i].is_away;
		set(&fakes[0], CASES[i].http, CASES[i].body);
		assert_int_equal(witnesses_ask(&cfg, ORIGIN, &verdict, &err), KMS_OK);
		if (verdict.state != CASES[i].state || fakes[0].calls != CASES[i].calls)
			fail_msg("%s: state %d, %u calls", CASES[i].what, (int)verdict.state, fakes[0].calls);
		if (verdict.asked != (CASES[i].own > 0) || verdict.silent != CASES[i].is_silent || (verdict.silence[0] != '\0') != CASES[i].is_silent)
			fail_msg("%s: %u of %u are silent: %s", CASES[i].what, verdict.silent, verdict.asked, verdict.silence);
		if (verdict.state == LOG_ROLLED_BACK) {
			assert_true(verdict.has_known);
			assert_int_equal(verdict.known_size, CASES[i].known);
			assert_non_null(strstr(verdict.why, "witness.example.net/w0"));
		}
	}
	/* Nothing is asked when the verdict stands, and nobody's silence hides what another one knows. */
	struct log_verdict verdict = { .state = LOG_ROLLED_BACK, .known_size = 77 };
	assert_int_equal(fresh(state), 0);
	sign_size(9);
	assert_int_equal(witnesses_ask(&cfg, ORIGIN, &verdict, NULL), KMS_OK);
	assert_int_equal(fakes[0].calls, 0);
	assert_int_equal(verdict.known_size, 77);
	cfg = config(3, 1);
	verdict = (struct log_verdict){ .state = LOG_GOOD };
	fakes[0].is_away = true;
	fakes[1].size = 30;
	fakes[2].size = 20;
	assert_int_equal(witnesses_ask(&cfg, ORIGIN, &verdict, NULL), KMS_OK);
	assert_int_equal(verdict.state, LOG_ROLLED_BACK);
	assert_int_equal(verdict.known_size, 30);
	assert_int_not_equal(witnesses_ask(&cfg, "kms.example.com/audit/log2", &(struct log_verdict){ .state = LOG_GOOD }, NULL), KMS_OK);
}

/* ---- configuration and golden file ---- */

static void configurations_that_cannot_hold_what_they_say_are_refused(void **state)
{
	struct witness_config doubled[] = { configs[0], configs[0] }, log_key[] = { { .vkey = ORIGIN "+806eaf35+AU++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18z", .url = "https://x" } },
	                      nonsense[] = { { .vkey = "w+1+2", .url = "https://x" } };
	struct witnesses_config cfg = config(3, 4);
	struct witnesses *w = NULL;
	struct kms_err err = { 0 };

	(void)state;
	assert_int_equal(witnesses_start(&cfg, &w, &err), KMS_E_INVALID);
	assert_non_null(strstr(err.message, "quorum"));
	cfg = config(2, 1);
	cfg.witness = doubled;
	err = (struct kms_err){ 0 };
	assert_int_equal(witnesses_start(&cfg, &w, &err), KMS_E_INVALID);
	assert_non_null(strstr(err.message, "another witness"));
	cfg = config(1, 1);
	cfg.witness = log_key;
	assert_int_equal(witnesses_start(&cfg, &w, NULL), KMS_E_INVALID);
	cfg.witness = nonsense;
	assert_int_equal(witnesses_start(&cfg, &w, NULL), KMS_E_INVALID);
	cfg = config(3, 1);
	cfg.count = WITNESSES_MAX + 1;
	assert_int_equal(witnesses_start(&cfg, &w, NULL), KMS_E_INVALID);
	assert_null(w);
}

static void the_golden_cosignature_is_good_and_every_bit_of_it_counts(void **state)
{
	json_t *golden = json_load_file(GOLDEN, JSON_REJECT_DUPLICATES, NULL);
	struct note_key key;
	int64_t time_s = 0;

	(void)state;
	if (golden == NULL)
		skip();
	const char *note = json_string_value(json_object_get(json_object_get(golden, "checkpoints"), "size13_ed25519_cosigned"));
	size_t len = strlen(note), text_len = (size_t)(strstr(note, "\n\n") + 1 - note);
	assert_true(note_vkey_parse(json_string_value(json_object_get(json_object_get(json_object_get(golden, "keys"), "witness_ed25519"), "vkey")), &key));
	assert_int_equal(key.type, NOTE_COSIGNATURE);
	assert_int_equal(note_verify(note, len, &key, &time_s, NULL), KMS_OK);
	assert_int_equal(time_s, 0x6b01e3a1);
	for (size_t bit = 0; bit < text_len * 8; bit++) {
		char *flipped = strdup(note);
		flipped[bit / 8] = (char)(flipped[bit / 8] ^ 1 << bit % 8);
		assert_int_not_equal(note_verify(flipped, len, &key, NULL, NULL), KMS_OK);
		free(flipped);
	}
	json_decref(golden);
}

static int setup(void **state)
{
	(void)state;
	log_setup(LOG_ERROR + 1, false);
	make_tree();
	for (size_t i = 0; i < WITNESSES; i++) {
		struct fake *f = &fakes[i];
		f->key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
		f->note = (struct note_key){ .type = NOTE_COSIGNATURE, .pub_len = 32 };
		(void)snprintf(f->note.name, sizeof(f->note.name), "witness.example.net/w%zu", i);
		size_t len = 32;
		if (EVP_PKEY_get_raw_public_key(f->key, f->note.pub, &len) != 1)
			return -1;
		note_key_seal(&f->note);
		note_vkey_format(&f->note, f->vkey);
		(void)snprintf(f->url, sizeof(f->url), "https://w%zu.example.net/prefix", i);
		configs[i] = (struct witness_config){ .vkey = f->vkey, .url = f->url };
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < WITNESSES; i++)
		EVP_PKEY_free(fakes[i].key);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(each_checkpoint_is_cosigned_from_what_the_witness_knows, fresh),
		cmocka_unit_test_setup(a_witness_that_is_behind_gets_the_newest_only, fresh),
		cmocka_unit_test_setup(of_an_answer_only_the_witness_s_own_line_is_kept, fresh),
		cmocka_unit_test(what_is_no_good_cosignature_is_not_kept_and_asked_for_again),
		cmocka_unit_test_setup(pauses_grow_and_end_with_a_success, fresh),
		cmocka_unit_test_setup(while_somebody_waits_pauses_do_not_grow, fresh),
		cmocka_unit_test(a_refusal_is_an_alarm_and_only_the_next_checkpoint_is_submitted),
		cmocka_unit_test(a_witness_that_knows_more_or_another_log_is_reported_once),
		cmocka_unit_test_setup(a_cosignature_that_cannot_be_stored_does_not_count, fresh),
		cmocka_unit_test_setup(a_quorum_needs_so_many_and_one_that_is_away_delays_nobody, fresh),
		cmocka_unit_test_setup(stopping_ends_waiting_and_what_is_notified_later_is_let_be, fresh),
		cmocka_unit_test(at_start_a_witness_that_knows_more_or_another_log_makes_the_verdict),
		cmocka_unit_test_setup(configurations_that_cannot_hold_what_they_say_are_refused, fresh),
		cmocka_unit_test(the_golden_cosignature_is_good_and_every_bit_of_it_counts),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
