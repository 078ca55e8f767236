/* tests/ekm-tester/load.c - the load: requests start at fixed times whether or not earlier ones have been answered, and each is timed from
 * when it was due, so that a slow answer cannot hide the wait of those behind it. Also the rows that judge every answer of the run. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/ekm-tester/tester.h"

#define CONNECTIONS_SPARE 2
#define CONNECTIONS_MAX 64
#define LEAD_MS 50.0 /* until the first request, so that every thread is there */
#define SAMPLE_LEN 32
#define MS_PER_S 1000.0
#define NS_PER_MS 1e6

struct load_op {
	char name[OP_NAME_MAX];
	char *request;
	size_t len;
};
struct sample {
	unsigned op;
	int status; /* 0: no answer */
	double ms;
};
struct load {
	struct tester *t; /* its target and identity: not changed while threads run */
	struct load_op ops[LOAD_OPS_MAX];
	size_t op_count;
	struct sample *samples;
	size_t count;
	double start_ms, interval_ms;
	atomic_size_t next, reconnects;
};

static void sleep_until(double ms)
{
	struct timespec ts = { .tv_sec = (time_t)(ms / MS_PER_S) };
	ts.tv_nsec = (long)((ms - (double)ts.tv_sec * MS_PER_S) * NS_PER_MS);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		continue;
}

struct worker {
	struct load *load;
	struct wire *wire; /* connected before the start: its set-up is not part of any time */
};

static void *work(void *arg)
{
	struct worker *me = arg;
	struct load *load = me->load;
	char why[WHY_MAX];

	for (size_t i; (i = atomic_fetch_add(&load->next, 1)) < load->count;) {
		struct sample *sample = &load->samples[i];
		struct response r = { 0 };
		double due_ms = load->start_ms + (double)i * load->interval_ms;

		sample->op = (unsigned)(i % load->op_count);
		sleep_until(due_ms);
		if (me->wire == NULL) {
			atomic_fetch_add(&load->reconnects, 1);
			if (dial_as(load->t, OWN, &me->wire, why) != DIAL_OK)
				me->wire = NULL;
		}
		const struct load_op *op = &load->ops[sample->op];
		if (me->wire != NULL && wire_exchange(me->wire, op->request, op->len, &r, why) == WIRE_ANSWERED)
			sample->status = r.status;
		sample->ms = now_ms() - due_ms;
		if (sample->status == 0 || r.is_last) {
			wire_close(me->wire);
			me->wire = NULL;
		}
		response_clear(&r);
	}
	wire_close(me->wire);
	return NULL;
}

static int by_time(const void *a, const void *b)
{
	const double *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* Nearest rank. */
static double percentile(const double sorted[], size_t count, unsigned percent)
{
	size_t rank = (count * percent + 99) / 100;
	return count == 0 ? 0 : sorted[rank == 0 ? 0 : rank - 1];
}

/* Over the samples of one operation, or of all when op is LOAD_OPS_MAX. */
static struct latency measure(const struct load *load, unsigned op, const char *name)
{
	struct latency l = { 0 };
	double *times = calloc(load->count + 1, sizeof(*times));
	(void)snprintf(l.name, sizeof(l.name), "%s", name);
	if (times == NULL)
		return l;
	for (size_t i = 0; i < load->count; i++)
		if (op == LOAD_OPS_MAX || load->samples[i].op == op)
			times[l.count++] = load->samples[i].ms;
	qsort(times, l.count, sizeof(*times), by_time);
	l.p50_ms = percentile(times, l.count, 50);
	l.p90_ms = percentile(times, l.count, 90);
	l.p99_ms = percentile(times, l.count, 99);
	l.max_ms = percentile(times, l.count, 100);
	free(times);
	return l;
}

/* wrapkey and unwrapkey of one key, each checked once before it is repeated. */
static void prepare(struct load *load, struct outcome *o, enum alg alg)
{
	static const char *const OPS[] = { "wrapkey", "unwrapkey" };
	struct tester *t = load->t;
	uint8_t plain[SAMPLE_LEN] = { 1 }, wrapped[VALUE_ROOM];
	size_t len = 0;
	const char *key = ALGORITHMS[alg].is_rsa ? t->opt->rsa_key : t->opt->aes_key;

	if (key == NULL || !expect_bytes(t, o, key, "wrapkey", alg, plain, sizeof(plain), wrapped, &len))
		return;
	for (size_t i = 0; i < sizeof(OPS) / sizeof(*OPS); i++) {
		struct load_op *op = &load->ops[load->op_count];
		json_t *body = i == 0 ? body_crypto(t, ALGORITHMS[alg].name, plain, sizeof(plain))
		                      : body_crypto(t, ALGORITHMS[alg].name, wrapped, len);
		(void)snprintf(op->name, sizeof(op->name), "%s %s", OPS[i], ALGORITHMS[alg].name);
		op->request = call_text(t, (struct call){ .key = key, .op = OPS[i], .json = body }, &op->len);
		load->op_count += op->request != NULL;
	}
}

static void run_threads(struct load *load, struct outcome *o, size_t connections)
{
	struct worker workers[CONNECTIONS_MAX] = { 0 };
	pthread_t threads[CONNECTIONS_MAX];
	size_t ready = 0, started = 0;
	char why[WHY_MAX];

	for (; ready < connections; ready++) {
		workers[ready].load = load;
		if (dial_as(load->t, OWN, &workers[ready].wire, why) != DIAL_OK) {
			failed(o, "connection %zu: %s", ready + 1, why);
			break;
		}
	}
	load->start_ms = now_ms() + LEAD_MS;
	for (; started < ready && pthread_create(&threads[started], NULL, work, &workers[started]) == 0; started++)
		continue;
	for (size_t i = 0; i < started; i++)
		(void)pthread_join(threads[i], NULL);
	for (size_t i = started; i < ready; i++)
		wire_close(workers[i].wire);
	if (started == 0)
		failed(o, "no connection to send requests on");
	load->count = started == 0 ? 0 : load->count;
}

static void judge(struct load *load, struct outcome *o)
{
	struct load_result *result = &load->t->load;

	result->was_run = load->count > 0;
	result->requests = load->count;
	result->reconnects = atomic_load(&load->reconnects);
	for (size_t i = 0; i < load->count; i++) {
		result->wrong += load->samples[i].status != 200;
		result->late += load->samples[i].ms > LIMIT_MS;
		if (load->samples[i].status != 200)
			failed(o, "%s: %s %d", load->ops[load->samples[i].op].name, load->samples[i].status == 0 ? "no answer" : "status",
			       load->samples[i].status);
	}
	result->all = measure(load, LOAD_OPS_MAX, "all");
	for (unsigned i = 0; i < load->op_count; i++)
		result->ops[i] = measure(load, i, load->ops[i].name);
	result->op_count = load->op_count;
	if (result->late > 0)
		failed(o, "%zu of %zu answers took more than %.0f ms; the slowest %.1f ms", result->late, result->requests, LIMIT_MS,
		       result->all.max_ms);
	if (load->count > 0)
		remark(o, "p50 %.1f, p90 %.1f, p99 %.1f, max %.1f ms", result->all.p50_ms, result->all.p90_ms, result->all.p99_ms,
		       result->all.max_ms);
}

void check_load(struct tester *t, const struct check *self, struct outcome *o)
{
	const struct options *opt = t->opt;
	struct load load = { .t = t, .count = (size_t)opt->rate * opt->seconds, .interval_ms = opt->rate > 0 ? MS_PER_S / opt->rate : 0 };
	(void)self;

	if (load.count == 0) {
		skipped(o, "no load was asked for (--rate, --seconds)");
		return;
	}
	prepare(&load, o, A256KW);
	prepare(&load, o, RSA_OAEP_256);
	load.samples = calloc(load.count, sizeof(*load.samples));
	/* As many as are busy at once when every answer takes as long as it may. */
	size_t connections = (size_t)((double)opt->rate * LIMIT_MS / MS_PER_S) + CONNECTIONS_SPARE;
	t->load.connections = connections < CONNECTIONS_MAX ? connections : CONNECTIONS_MAX;
	if (load.op_count == 0 || load.samples == NULL)
		failed(o, "nothing to repeat");
	else {
		run_threads(&load, o, t->load.connections);
		judge(&load, o);
	}
	for (size_t i = 0; i < load.op_count; i++)
		free(load.ops[i].request);
	free(load.samples);
}

/* ---- rows that judge every answer of the run (but for those of the load) ---- */
void check_slowest(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->seen.slowest_ms > LIMIT_MS)
		failed(o, "%s took %.1f ms", t->seen.slowest, t->seen.slowest_ms);
	else
		remark(o, "slowest: %s, %.1f ms", t->seen.slowest, t->seen.slowest_ms);
}

void check_http_version(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->seen.bad_versions > 0)
		failed(o, "%zu of %zu answers are HTTP/1.0", t->seen.bad_versions, t->seen.answers);
}

void check_types_seen(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->seen.bad_types > 0)
		failed(o, "%zu of %zu answers; the first: %s", t->seen.bad_types, t->seen.answers, t->seen.first_bad_type);
	else
		remark(o, "%zu answers", t->seen.answers);
}

void check_values_seen(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->seen.bad_values > 0)
		failed(o, "%zu of %zu values; the first: %s", t->seen.bad_values, t->seen.values, t->seen.first_bad_value);
	else
		remark(o, "%zu values", t->seen.values);
}

void check_errors_seen(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->seen.bad_errors > 0)
		failed(o, "%zu of %zu refusals; the first: %s", t->seen.bad_errors, t->seen.refusals, t->seen.first_bad_error);
	else
		remark(o, "%zu refusals", t->seen.refusals);
}

void check_throttled_seen(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->seen.throttled == 0)
		skipped(o, "the proxy never answered 429 in this run");
	else if (t->seen.bad_throttles > 0)
		failed(o, "%zu of %zu answers 429 have no Retry-After in whole seconds", t->seen.bad_throttles, t->seen.throttled);
}

void check_unavailable_seen(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->seen.unavailable == 0)
		skipped(o, "the proxy never answered 503 in this run");
	else if (t->seen.bad_unavailables > 0)
		failed(o, "%zu of %zu answers 503 have no Retry-After in whole seconds", t->seen.bad_unavailables, t->seen.unavailable);
}

void check_faults_seen(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->seen.faults > 0)
		failed(o, "%zu answers 500; the first: %s", t->seen.faults, t->seen.first_fault);
}
