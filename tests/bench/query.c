/*
 * tests/bench/query.c - questions to a large event log: how long a page takes by each indexed member, and what the index costs whoever writes.
 * usage: query EVENTS. Prints one JSON object a line. 1,000 vaults, 10,000 keys, 1,000 principals; half of the traffic is that of a tenth of the keys.
 */
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/base/log.h"
#include "server/feed/index.h"
#include "server/feed/query.h"
#include "storage/sqlite/event_index.h"
#include "tests/bench/now.h"
#include "tests/support/feed_rig.h"

#define IN_FLIGHT 2048
#define SAMPLE 100000
#define SAMPLES 3 /* the best counts: what else the machine does only takes away */
#define QUERIES 300
#define VAULTS 1000
#define KEYS 10000
#define PRINCIPALS 1000
#define US_PER_EVENT 1000 /* of the log's own time: a thousand events a second */
#define WAIT_MS 3600000

static struct t_feed_rig R;
static uint64_t made; /* leaves asked for */
static uint64_t random_state = 1;

static struct write units[IN_FLIGHT];
static struct write *free_units[IN_FLIGHT];
static size_t free_count;
static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static sem_t free_sem;

static void fatal(const char *what, const struct kms_err *err)
{
	(void)fprintf(stderr, "%s: %s\n", what, err != NULL ? err->detail : "");
	abort();
}

static void written(struct write *w)
{
	if (w->status != KMS_OK)
		fatal("a leaf was not written", NULL);
	(void)pthread_mutex_lock(&free_lock);
	free_units[free_count++] = w;
	(void)pthread_mutex_unlock(&free_lock);
	(void)sem_post(&free_sem);
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

static unsigned pick(unsigned n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(random_state >> 33) % n;
}

static void name_of(char kind, unsigned n, uint8_t ret[16])
{
	memset(ret, kind, 16);
	memcpy(ret, &n, sizeof(n));
}

static unsigned any_key(void) { return pick(2) == 0 ? pick(KEYS / 10) : pick(KEYS); }

/* Wraps and unwraps mostly, as Cosmos DB makes them; some reads, refusals, changes. */
static void fill(struct write *w)
{
	static const enum event_type TYPES[] = { EVENT_KEY_UNWRAP, EVENT_KEY_UNWRAP, EVENT_KEY_WRAP, EVENT_KEY_WRAP, EVENT_KEY_GET, EVENT_KEY_GET, EVENT_LOGIN, EVENT_KEY_ROTATE };
	unsigned key = any_key(), who = pick(PRINCIPALS);
	uint64_t at = made++;

	memset(w, 0, sizeof(*w));
	w->done = written;
	w->event = (struct event){ .type = TYPES[pick(pick(20) == 0 ? 8 : 6)], .has_tenant = true, .actor = EVENT_ACTOR_APP, .auth = EVENT_AUTH_JWT,
		                   .role = "crypto-service-encryption-user", .alg = "RSA-OAEP-256", .http = 200, .net_tls = "1.3" };
	name_of('v', key % VAULTS, w->event.tenant);
	name_of('p', who, w->event.pid);
	(void)snprintf(w->event.key_name, sizeof(w->event.key_name), "customer-key-%u", key);
	(void)snprintf(w->event.key_version, sizeof(w->event.key_version), "%032x", key * 7919 + 1);
	(void)snprintf(w->event.req, sizeof(w->event.req), "%08x-0000-4000-8000-%012" PRIx64, (unsigned)(at * 2654435761U), at);
	(void)snprintf(w->event.corr, sizeof(w->event.corr), "%08x-1111-4111-8111-%012" PRIx64, (unsigned)(at * 2246822519U), at);
	(void)snprintf(w->event.net_peer, sizeof(w->event.net_peer), "10.%u.%u.0/24", who / 256, who % 256);
	if (pick(50) == 0) {
		w->event.result = EVENT_REFUSED;
		w->event.err = "ForbiddenByRbac";
		w->event.http = 403;
	}
}

/* @return leaves a second */
static double append(uint64_t count)
{
	int64_t from = now_us();

	for (uint64_t i = 0; i < count; i++) {
		struct write *w = take();
		int64_t at = (int64_t)made * US_PER_EVENT;
		t_feed_rig_set_us(T_FEED_START_S * INT64_C(1000000) + at, at);
		fill(w);
		if (writer_submit(R.kms.writer, w) != KMS_OK)
			fatal("submit", NULL);
	}
	for (size_t i = 0; i < IN_FLIGHT; i++)
		(void)sem_wait(&free_sem);
	for (size_t i = 0; i < IN_FLIGHT; i++)
		(void)sem_post(&free_sem);
	return (double)count * US_PER_S / (double)(now_us() - from);
}

static double best_append(void)
{
	double best = 0;

	for (unsigned i = 0; i < SAMPLES; i++) {
		double rate = append(SAMPLE);
		best = rate > best ? rate : best;
	}
	return best;
}

static void tell(const char *name, double value)
{
	(void)printf("{\"name\":\"%s\",\"value\":%.3f}\n", name, value);
	(void)fflush(stdout);
}

/* ---- questions ---- */

static void by_vault(struct query_filter *f)
{
	f->has_vault = true;
	name_of('v', pick(VAULTS), f->vault);
}

static void by_key(struct query_filter *f)
{
	unsigned key = any_key();

	f->has_vault = true;
	name_of('v', key % VAULTS, f->vault);
	(void)snprintf(f->key, sizeof(f->key), "customer-key-%u", key);
}

static void by_principal(struct query_filter *f)
{
	f->has_pid = true;
	name_of('p', pick(PRINCIPALS), f->pid);
}

static void by_type(struct query_filter *f)
{
	f->types[0] = EVENT_KEY_ROTATE;
	f->type_count = 1;
}

static void by_result(struct query_filter *f)
{
	f->has_result = true;
	f->result = EVENT_REFUSED;
}

static void by_id(struct query_filter *f)
{
	uint64_t at = pick((unsigned)(made < UINT32_MAX ? made : UINT32_MAX));
	(void)snprintf(f->id, sizeof(f->id), "%08x-0000-4000-8000-%012" PRIx64, (unsigned)(at * 2654435761U), at);
}

static void by_unknown_id(struct query_filter *f) { (void)snprintf(f->id, sizeof(f->id), "unknown-%u", pick(1000000)); }

/* A minute of the log. */
static void by_time(struct query_filter *f)
{
	int64_t at = T_FEED_START_S * INT64_C(1000000) + (int64_t)pick((unsigned)(made / 1000)) * 1000 * US_PER_EVENT;

	f->has_from = f->has_to = true;
	f->from_us = at;
	f->to_us = at + 60 * INT64_C(1000000);
}

static void by_version(struct query_filter *f) { (void)snprintf(f->version, sizeof(f->version), "%032x", any_key() * 7919 + 1); }

static void by_key_and_time(struct query_filter *f)
{
	by_key(f);
	by_time(f);
	f->to_us = f->from_us + 3600 * INT64_C(1000000);
}

static void by_key_and_principal(struct query_filter *f)
{
	by_key(f);
	by_principal(f);
}

static void by_vault_type_and_result(struct query_filter *f)
{
	by_vault(f);
	by_type(f);
	by_result(f);
}

static void by_principal_and_result(struct query_filter *f)
{
	by_principal(f);
	by_result(f);
}

static const struct {
	const char *name;
	void (*make)(struct query_filter *f);
} QUESTIONS[] = {
	{ "vault", by_vault }, { "key", by_key }, { "version", by_version }, { "principal", by_principal }, { "type", by_type }, { "result", by_result }, { "id", by_id },
	{ "unknown_id", by_unknown_id }, { "time", by_time }, { "key_time", by_key_and_time }, { "key_principal", by_key_and_principal },
	{ "vault_type_result", by_vault_type_and_result }, { "principal_result", by_principal_and_result },
};

static bool count_leaf(void *arg, const struct leaf *l)
{
	(void)l;
	++*(uint64_t *)arg;
	return true;
}

static int by_value(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* As the API does it: a connection for each question. */
static void measure(struct indexer *x, const char *name, void (*make)(struct query_filter *f))
{
	static int64_t took[QUERIES];
	uint64_t found = 0;
	struct kms_err err = { 0 };

	for (unsigned i = 0; i < QUERIES; i++) {
		struct query_filter f = { .limit = 100, .newest_first = i % 2 == 0 };
		struct query_end end;
		struct query *q = NULL;
		int64_t from = 0;
		make(&f);
		from = now_us();
		if (query_open(&R.kms, x, &q, &err) != KMS_OK || query_run(q, R.store->r, &f, count_leaf, &found, &end, &err) != KMS_OK)
			fatal("query", &err);
		query_close(q);
		took[i] = now_us() - from;
	}
	qsort(took, QUERIES, sizeof(took[0]), by_value);
	(void)printf("{\"name\":\"page_by_%s\",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"found\":%.1f}\n", name, (double)took[QUERIES / 2] / 1000, (double)took[QUERIES * 99 / 100] / 1000,
	             (double)found / QUERIES);
	(void)fflush(stdout);
}

static struct indexer *start_index(const char *path)
{
	const struct indexer_config cfg = { .kms = &R.kms, .open_store = t_feed_rig_open_store, .open_arg = &R, .path = path, .open_index = event_index_open_sqlite,
		                            .remove_index = event_index_remove_sqlite };
	struct kms_err err = { 0 };
	struct indexer *x = NULL;

	if (indexer_start(&cfg, &x, &err) != KMS_OK)
		fatal("index", &err);
	return x;
}

static double bytes_of(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? (double)st.st_size : 0;
}

int main(int argc, char **argv)
{
	const uint64_t events = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
	const uint64_t before = (uint64_t)SAMPLE * SAMPLES;
	char path[160];
	struct indexer *x;
	double empty_rate, full_rate;
	int64_t from;

	if (events < before) {
		(void)fprintf(stderr, "usage: query EVENTS (at least %" PRIu64 ")\n", before);
		return EXIT_FAILURE;
	}
	log_setup(LOG_ERROR, true);
	t_feed_rig_open(&R);
	(void)sem_init(&free_sem, 0, 0);
	for (size_t i = 0; i < IN_FLIGHT; i++)
		written(&units[i]);
	(void)snprintf(path, sizeof(path), "%s-index", R.store->path);
	empty_rate = best_append();
	tell("append_empty_per_s", empty_rate);
	if (events > before)
		tell("append_on_the_way_per_s", append(events - before));
	tell("database_bytes_per_event", bytes_of(R.store->path) / (double)events);
	from = now_us();
	x = start_index(path);
	if (!indexer_wait(x, t_feed_rig_size(&R), WAIT_MS))
		fatal("the index does not come to the end", NULL);
	tell("index_made_s", (double)(now_us() - from) / US_PER_S);
	tell("index_bytes_per_event", bytes_of(path) / (double)events);
	for (size_t i = 0; i < KMS_ARRAY_LEN(QUESTIONS); i++)
		measure(x, QUESTIONS[i].name, QUESTIONS[i].make);
	full_rate = best_append();
	tell("append_indexed_per_s", full_rate);
	tell("append_indexed_share", full_rate / empty_rate);
	tell("index_behind_events", (double)(t_feed_rig_size(&R) - indexer_size(x)));
	from = now_us();
	if (!indexer_wait(x, t_feed_rig_size(&R), WAIT_MS))
		fatal("the index does not catch up", NULL);
	tell("index_caught_up_s", (double)(now_us() - from) / US_PER_S);
	indexer_stop(x);
	if (event_index_remove_sqlite(path, NULL) != KMS_OK)
		fatal("index file", NULL);
	t_feed_rig_close(&R);
	return EXIT_SUCCESS;
}
