/*
 * tests/bench/log.c - what a large event log costs: appended through the writer, with checkpoints signed and pinned in a SoftHSM token all the while.
 * usage: log EVENTS. Prints one JSON object a line: {"name", "value"}; rates are leaves a second over SAMPLE leaves, on an empty and on the full log.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/core/checkpoint.h"
#include "storage/sqlite/sqlite.h"
#include "tests/bench/now.h"
#include "tests/support/store_fixture.h"
#include "tests/support/token.h"

#define ORIGIN "bench.test/audit/log1"
#define IN_FLIGHT 2048
#define SAMPLE 100000
#define SAMPLES 3 /* the best counts: what else the machine does only takes away */
#define STARTS 25 /* the device is tried by making keys, which takes its time by chance */
#define PROOFS 1000

struct bench {
	struct t_token token;
	struct store_fixture *store;
	struct store *signs; /* the checkpointer's connection */
	struct kms kms;
	struct log_verdict verdict;
	char vkey[NOTE_VKEY_MAX + 1];
};

/* Units go round: one that is written is used again. */
static struct write units[IN_FLIGHT];
static struct write *free_units[IN_FLIGHT];
static size_t free_count;
static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static sem_t free_sem;

static void fatal(const char *what, const struct kms_err *err)
{
	(void)fprintf(stderr, "%s: %s %s\n", what, kms_err_text(err), err->detail);
	abort();
}

static void give_back(struct write *w)
{
	(void)pthread_mutex_lock(&free_lock);
	free_units[free_count++] = w;
	(void)pthread_mutex_unlock(&free_lock);
	(void)sem_post(&free_sem);
}

static void written(struct write *w)
{
	if (w->status != KMS_OK) {
		(void)fprintf(stderr, "a leaf was not written: %s\n", kms_status_name(w->status));
		abort();
	}
	give_back(w);
}

static struct write *take(void)
{
	struct write *w;

	(void)sem_wait(&free_sem);
	(void)pthread_mutex_lock(&free_lock);
	w = free_units[--free_count];
	(void)pthread_mutex_unlock(&free_lock);
	return w;
}

/* An unwrap as the API writes it. */
static void fill(struct write *w, unsigned i)
{
	memset(w, 0, sizeof(*w));
	w->done = written;
	w->event = (struct event){ .type = EVENT_KEY_UNWRAP, .has_tenant = true, .tenant = { (uint8_t)(i % 16) }, .actor = EVENT_ACTOR_APP, .auth = EVENT_AUTH_JWT,
		                   .pid = { (uint8_t)i }, .key_name = "customer-data-key", .key_version = "0f8d2a6b1c3e4f5a9b7c8d6e5f4a3b2c", .has_obj = true,
		                   .alg = "RSA-OAEP-256", .req = "8d0f6f0e-2f6b-4a55-9b0b-1f6e0c5a7e11", .corr = "8d0f6f0e-2f6b-4a55-9b0b-1f6e0c5a7e12",
		                   .http = 200, .net_peer = "192.0.2.0", .net_tls = "1.3" };
}

/** @return leaves a second, from the first submitted to the last durable */
static double append(struct bench *b, uint64_t count)
{
	int64_t start = now_us();

	for (uint64_t i = 0; i < count; i++) {
		struct write *w = take();
		fill(w, (unsigned)i);
		if (writer_submit(b->kms.writer, w) != KMS_OK)
			abort();
	}
	for (size_t i = 0; i < IN_FLIGHT; i++)
		(void)sem_wait(&free_sem);
	for (size_t i = 0; i < IN_FLIGHT; i++)
		(void)sem_post(&free_sem);
	return (double)count * US_PER_S / (double)(now_us() - start);
}

static double best_rate(struct bench *b)
{
	double best = 0;

	for (int i = 0; i < SAMPLES; i++) {
		double rate = append(b, SAMPLE);
		best = rate > best ? rate : best;
	}
	return best;
}

static void open_hsm(struct bench *b)
{
	struct kms_err err = { 0 };

	if (hsm_open_pkcs11(&b->token.cfg, &b->kms.hsm, &err) != KMS_OK || installation_open(b->store->w, b->kms.hsm, ORIGIN, &b->kms.inst, &err) != KMS_OK)
		fatal("installation", &err);
	hsm_set_log_key(b->kms.hsm, b->kms.inst.log_key);
}

static void close_hsm(struct bench *b)
{
	installation_clear(&b->kms.inst);
	hsm_close(b->kms.hsm);
}

static void open_log(struct bench *b)
{
	struct kms_err err = { 0 };
	struct writer_config cfg = { .store = b->store->w, .clock = &CLOCK_SYSTEM, .node = "bench", .origin = b->kms.origin, .vkey = b->vkey,
		                     .capacity = 2 * IN_FLIGHT };
	struct checkpointer_config log_cfg = { .kms = &b->kms, .verdict = &b->verdict, .interval_ms = 1000, .leaves = 1000, .pin_s = 60, .heartbeat_s = 60,
		                               .late_ms = 600000 };

	if (log_check(b->store->w, b->kms.hsm, &b->kms.inst, &CLOCK_SYSTEM, b->kms.origin, &b->verdict, &err) != KMS_OK || b->verdict.state != LOG_GOOD)
		fatal(b->verdict.why, &err);
	if (log_vkey(b->store->w, b->kms.origin, b->vkey, &err) != KMS_OK || writer_start(&cfg, &b->kms.writer, &err) != KMS_OK ||
	    store_open_sqlite(b->store->path, STORE_READ, &log_cfg.store, &err) != KMS_OK || checkpointer_start(&log_cfg, &b->kms.log, &err) != KMS_OK)
		fatal("start", &err);
}

static void close_log(struct bench *b)
{
	checkpointer_stop(b->kms.log);
	writer_stop(b->kms.writer);
}

/** @return the shortest of some starts, ms: device, installation, the check against what was signed and pinned, writer, checkpointer */
static double start_ms(struct bench *b)
{
	int64_t best = INT64_MAX;

	for (int i = 0; i < STARTS; i++) {
		close_log(b);
		close_hsm(b);
		store_fixture_reopen(b->store);
		int64_t begin = now_us();
		open_hsm(b);
		open_log(b);
		int64_t took = now_us() - begin;
		best = took < best ? took : best;
	}
	return (double)best / 1000;
}

static kms_status node_of(void *arg, unsigned level, uint64_t position, uint8_t ret_hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	return store_node(arg, level, position, ret_hash, err);
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* Of random leaves in the newest checkpoint; each is checked. */
static void proofs(struct bench *b, double *ret_p50_ms, double *ret_p99_ms)
{
	STORE_SIGNED_AUTO newest = { 0 };
	struct kms_err err = { 0 };
	static int64_t took[PROOFS];
	uint64_t chance = 1;

	if (store_checkpoint_last(b->store->r, &newest, &err) != KMS_OK)
		fatal("newest checkpoint", &err);
	for (size_t i = 0; i < PROOFS; i++) {
		struct merkle_proof p = { 0 };
		struct store_event e = { 0 };
		chance = chance * 6364136223846793005U + 1442695040888963407U;
		uint64_t seq = (chance >> 20) % newest.size;
		int64_t begin = now_us();
		if (store_event(b->store->r, seq, &e, &err) != KMS_OK || merkle_inclusion(seq, newest.size, node_of, b->store->r, &p, &err) != KMS_OK)
			fatal("proof", &err);
		took[i] = now_us() - begin;
		if (!merkle_check_inclusion(seq, newest.size, e.hash, &p, newest.root))
			fatal("a proof is wrong", &err);
		store_event_clear(&e);
	}
	qsort(took, PROOFS, sizeof(took[0]), by_value);
	*ret_p50_ms = (double)took[PROOFS / 2] / 1000;
	*ret_p99_ms = (double)took[PROOFS - PROOFS / 100] / 1000;
}

static void print(const char *name, double value)
{
	(void)printf("{\"name\":\"%s\",\"value\":%.4f}\n", name, value);
	(void)fflush(stdout);
}

int main(int argc, char **argv)
{
	uint64_t events = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
	struct kms_err err = { 0 };
	static struct bench b;
	void *state = NULL;
	struct stat st = { 0 };
	double rate, rate_full, start, start_full, p50, p99;

	if (events < SAMPLES * SAMPLE) {
		(void)fprintf(stderr, "usage: %s EVENTS (at least %d)\n", argv[0], SAMPLES * SAMPLE);
		return EXIT_FAILURE;
	}
	(void)sem_init(&free_sem, 0, 0);
	for (size_t i = 0; i < IN_FLIGHT; i++)
		give_back(&units[i]);
	t_token_make(&b.token);
	if (store_fixture_open(&state) != 0)
		return EXIT_FAILURE;
	b.store = state;
	b.kms.clock = &CLOCK_SYSTEM;
	b.kms.node = "bench";
	open_hsm(&b);
	open_log(&b);
	start = start_ms(&b);
	rate = best_rate(&b);
	print("append-empty", rate);
	print("start-empty-ms", start);
	(void)append(&b, events - SAMPLES * SAMPLE);
	rate_full = best_rate(&b);
	print("append-full", rate_full);
	print("append-ratio", rate_full / rate);
	start_full = start_ms(&b);
	print("start-full-ms", start_full);
	print("start-ratio", start / start_full);
	proofs(&b, &p50, &p99);
	print("proof-p50-ms", p50);
	print("proof-p99-ms", p99);
	close_log(&b);
	if (store_checkpoint(b.store->w, true, &err) != KMS_OK || stat(b.store->path, &st) != 0)
		fatal("size", &err);
	print("bytes-per-event", (double)st.st_size / (double)(events + SAMPLES * SAMPLE));
	close_hsm(&b);
	(void)store_fixture_close(&state);
	t_token_remove(&b.token);
	return 0;
}
