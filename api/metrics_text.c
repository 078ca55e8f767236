/* api/metrics_text.c - the counters as text (Prometheus exposition format 0.0.4), with where log, device and queues stand at this moment. */
#include <inttypes.h>
#include <string.h>

#include "api/metrics_parts.h"
#include "api/service.h"
#include "server/core/person.h"
#include "server/core/witness.h"
#include "server/feed/feed.h"

#define US_PER_S 1000000.0

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	(void)fprintf(out, "# HELP holdfast_%s %s\n# TYPE holdfast_%s %s\n", name, help, name, type);
}

static void put(FILE *out, const char *name, const char *type, const char *help, double value)
{
	family(out, name, type, help);
	(void)fprintf(out, "holdfast_%s %.17g\n", name, value);
}

static uint64_t load(const atomic_uint_fast64_t *counter) { return atomic_load_explicit(counter, memory_order_relaxed); }

/* Label values: a backslash, a quote and a line end are escaped; all else goes through. */
static void put_label(FILE *out, const char *name, const char *value)
{
	(void)fprintf(out, "%s=\"", name);
	for (; *value != '\0'; value++) {
		if (*value == '\\' || *value == '"')
			(void)fputc('\\', out);
		(void)fputs(*value == '\n' ? "\\n" : (char[]){ *value, '\0' }, out);
	}
	(void)fputc('"', out);
}

/* @param labels  "" or `name="value",`; @param unit  what a value is divided by */
static void put_histogram(FILE *out, const char *name, const char *labels, const struct histogram *h, const struct histogram_scale *scale, double unit)
{
	uint64_t count = 0;
	size_t len = strlen(labels);

	for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
		count += load(&h->buckets[i]);
		(void)fprintf(out, "holdfast_%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", name, labels, (double)scale->bounds[i] / unit, count);
	}
	count += load(&h->buckets[HISTOGRAM_BOUNDS]);
	(void)fprintf(out, "holdfast_%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, count);
	(void)fprintf(out, "holdfast_%s_sum%s%.*s%s %.17g\n", name, len > 0 ? "{" : "", len > 0 ? (int)len - 1 : 0, labels, len > 0 ? "}" : "", (double)load(&h->sum) / unit);
	(void)fprintf(out, "holdfast_%s_count%s%.*s%s %" PRIu64 "\n", name, len > 0 ? "{" : "", len > 0 ? (int)len - 1 : 0, labels, len > 0 ? "}" : "", count);
}

static bool is_used(const struct histogram *h)
{
	for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++)
		if (load(&h->buckets[i]) > 0)
			return true;
	return false;
}

/* ---- requests ---- */

static const char *dialect_name(enum dialect dialect)
{
	switch (dialect) {
	case DIALECT_VAULT: return "vault";
	case DIALECT_DOMAIN: return "management";
	case DIALECT_LOCAL: return "local";
	case DIALECT_EKM: return "ekm";
	case DIALECT_IDENTITY: break;
	}
	return "identity";
}

static void put_codes(FILE *out, const char *dialect, const char *route, const atomic_uint_fast64_t codes[METRICS_CODES])
{
	char text[8];

	for (size_t i = 0; i < METRICS_CODES; i++) {
		uint64_t value = load(&codes[i]);
		if (value > 0)
			(void)fprintf(out, "holdfast_http_requests_total{dialect=\"%s\",route=\"%s\",code=\"%s\"} %" PRIu64 "\n", dialect, route,
			              metrics_code_name(i, text), value);
	}
}

static void put_requests(const struct metrics *m, FILE *out)
{
	char labels[160];

	family(out, "http_requests_total", "counter", "Answers by protocol, route and status code; route none: refused before there was one.");
	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		put_codes(out, dialect_name(API_ROUTES[i].dialect), API_ROUTES[i].operation, m->routes[i].codes[0]);
		put_codes(out, dialect_name(DIALECT_LOCAL), API_ROUTES[i].operation, m->routes[i].codes[1]);
	}
	for (size_t d = 0; d < METRICS_DIALECTS; d++)
		put_codes(out, dialect_name((enum dialect)d), "none", m->unrouted[d]);
	family(out, "http_request_duration_seconds", "histogram", "From a request's first byte to its answer, durable audit included. Only routes that were used.");
	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		if (!is_used(&m->routes[i].times))
			continue;
		(void)snprintf(labels, sizeof(labels), "dialect=\"%s\",route=\"%s\",", dialect_name(API_ROUTES[i].dialect), API_ROUTES[i].operation);
		put_histogram(out, "http_request_duration_seconds", labels, &m->routes[i].times, &HISTOGRAM_TIMES, US_PER_S);
	}
}

static void put_vault(FILE *out, const char *name, const struct metrics_vault *v)
{
	for (int i = 0; i < METRICS_RESULTS; i++) {
		uint64_t value = load(&v->results[i]);
		if (value == 0)
			continue;
		(void)fputs("holdfast_vault_requests_total{", out);
		put_label(out, "vault", name);
		(void)fprintf(out, ",result=\"%s\"} %" PRIu64 "\n", metrics_result_name((enum metrics_result)i), value);
	}
}

static void put_vaults(struct metrics *m, FILE *out)
{
	size_t count = 0;

	(void)pthread_mutex_lock(&m->lock);
	count = m->vault_count; /* what is before never changes its name again */
	(void)pthread_mutex_unlock(&m->lock);
	family(out, "vault_requests_total", "counter", "Answers by vault and result. Vaults beyond the configured number count as (others).");
	for (size_t i = 0; i < count; i++)
		put_vault(out, m->vaults[i].name, &m->vaults[i]);
	put_vault(out, "(others)", &m->vaults[m->vault_max]);
}

/* ---- where everything stands ---- */

static void put_queues(struct api *api, FILE *out)
{
	family(out, "queue_waiting", "gauge", "Requests that wait in each lane, and units that wait for the writer.");
	for (int i = 0; i < LANE_COUNT; i++)
		if (api->lanes[i] != NULL)
			(void)fprintf(out, "holdfast_queue_waiting{queue=\"%s\"} %zu\n", api_lane_name((enum lane)i), worker_waiting(api->lanes[i]));
	(void)fprintf(out, "holdfast_queue_waiting{queue=\"writer\"} %zu\n", writer_waiting(api->cfg.kms->writer));
	put(out, "queue_capacity", "gauge", "Requests that may wait in a lane.", (double)api->cfg.queue);
}

static void put_writer(struct writer *w, FILE *out)
{
	struct writer_state s = { 0 };

	writer_state(w, &s);
	put(out, "log_size_leaves", "gauge", "Leaves of the event log.", (double)s.size);
	put(out, "log_writable", "gauge", "1 while the log can be written; 0: requests are refused.", s.is_failing ? 0 : 1);
	put(out, "log_commits_total", "counter", "Transactions since the start.", (double)s.commits);
	put(out, "log_units_total", "counter", "Requests and acts written since the start.", (double)s.units);
	put(out, "log_refused_total", "counter", "Requests that were answered without a leaf since the start (429, 503).", (double)s.refused);
	family(out, "log_commit_leaves", "histogram", "Leaves in each transaction.");
	put_histogram(out, "log_commit_leaves", "", writer_batches(w), &HISTOGRAM_SIZES, 1);
	family(out, "log_commit_seconds", "histogram", "How long each transaction took, its sync included.");
	put_histogram(out, "log_commit_seconds", "", writer_commit_times(w), &HISTOGRAM_TIMES, US_PER_S);
}

static void put_persons(struct persons *p, FILE *out)
{
	struct persons_count c = { 0 };

	if (p == NULL)
		return;
	persons_count(p, &c);
	put(out, "person_records_total", "counter", "Records of persons made since the start.", (double)c.made);
	put(out, "person_records_missed_total", "counter", "Leaves that go without a record of the person: the vault's key was not at hand.",
	    (double)c.missed);
}

static void put_checkpoints(struct kms *kms, FILE *out)
{
	struct log_status s = { 0 };
	enum log_state state;

	log_status(kms->log, &s);
	state = s.state;
	family(out, "log_state", "gauge", "1 for the state that the event log is in.");
	for (int i = LOG_GOOD; i <= LOG_DAMAGED; i++)
		(void)fprintf(out, "holdfast_log_state{state=\"%s\"} %d\n", api_log_state_name((enum log_state)i), (int)state == i);
	put(out, "checkpoint_size_leaves", "gauge", "Leaves that the newest signed checkpoint covers.", (double)s.signed_size);
	put(out, "checkpoint_timestamp_seconds", "gauge", "When it was signed.", (double)s.signed_us / US_PER_S);
	put(out, "checkpoint_oldest_unsigned_seconds", "gauge", "How long the first leaf that no checkpoint covers has waited.", (double)s.oldest_unsigned_ms / 1000);
	put(out, "pin_size_leaves", "gauge", "Leaves of the checkpoint that the key device remembers.", (double)s.pinned_size);
	put(out, "pin_timestamp_seconds", "gauge", "When it was pinned.", (double)s.pinned_us / US_PER_S);
}

static void put_witnesses(struct kms *kms, FILE *out)
{
	struct witness_status w[WITNESSES_MAX];
	size_t count = kms->witnesses != NULL ? witnesses_status(kms->witnesses, w, WITNESSES_MAX) : 0;

	if (count == 0)
		return;
	family(out, "witness_size_leaves", "gauge", "Leaves of the newest checkpoint that each witness has cosigned.");
	for (size_t i = 0; i < count; i++) {
		(void)fputs("holdfast_witness_size_leaves{", out);
		put_label(out, "witness", w[i].name);
		(void)fprintf(out, "} %" PRIu64 "\n", w[i].size);
	}
	family(out, "witness_failing", "gauge", "1 while a witness cannot be reached or refuses.");
	for (size_t i = 0; i < count; i++) {
		(void)fputs("holdfast_witness_failing{", out);
		put_label(out, "witness", w[i].name);
		(void)fprintf(out, "} %d\n", w[i].failure[0] != '\0' || w[i].refuses);
	}
}

static void put_device(struct hsm *hsm, FILE *out)
{
	struct hsm_info info = { 0 };
	const struct histogram *times = NULL;
	const char *call = NULL;
	char labels[64];

	hsm_info(hsm, &info);
	family(out, "hsm_info", "gauge", "The key device.");
	(void)fputs("holdfast_hsm_info{", out);
	put_label(out, "manufacturer", info.manufacturer);
	(void)fputc(',', out);
	put_label(out, "model", info.model);
	(void)fputc(',', out);
	put_label(out, "token", info.label);
	(void)fputs("} 1\n", out);
	put(out, "hsm_available", "gauge", "1 while the key device answers.", info.is_available);
	put(out, "hsm_silent_seconds", "gauge", "Since the device last answered its check; large: a call hangs in it.", (double)info.silent_ms / 1000);
	put(out, "hsm_starts_total", "counter", "How often the device was initialised.", (double)info.epoch);
	put(out, "hsm_cached_keys", "gauge", "Wrapped versions that are loaded.", (double)info.cached_keys);
	put(out, "hsm_sessions_open", "gauge", "Sessions of the pool.", (double)info.sessions_open);
	put(out, "hsm_sessions_busy", "gauge", "Those in use.", (double)info.sessions_busy);
	put(out, "hsm_sessions_max", "gauge", "As many as there can be.", (double)info.sessions_max);
	family(out, "hsm_call_seconds", "histogram", "Calls to the device by function, failed ones too. Only functions that were called.");
	for (size_t i = 0; (times = hsm_call_times(hsm, i, &call)) != NULL; i++) {
		(void)snprintf(labels, sizeof(labels), "call=\"%s\",", call);
		if (is_used(times))
			put_histogram(out, "hsm_call_seconds", labels, times, &HISTOGRAM_TIMES, US_PER_S);
	}
}

/* ---- what follows the log ---- */

static void put_feed(FILE *out, const char *name, const struct feed_state *f, double value)
{
	(void)fprintf(out, "holdfast_%s{", name);
	put_label(out, "feed", f->name);
	(void)fprintf(out, "} %.17g\n", value);
}

static void put_feeds(struct feeds *feeds, FILE *out)
{
	struct feed_state f[FEEDS_MAX];
	size_t count = feeds != NULL ? feeds_state(feeds, f) : 0;

	family(out, "feed_settled_leaves", "gauge", "Leaves that each consumer of the log is through with.");
	for (size_t i = 0; i < count; i++)
		put_feed(out, "feed_settled_leaves", &f[i], (double)f[i].settled);
	family(out, "feed_behind_seconds", "gauge", "Age of the first leaf that it is not through with.");
	for (size_t i = 0; i < count; i++)
		put_feed(out, "feed_behind_seconds", &f[i], (double)f[i].behind_ms / 1000);
	family(out, "feed_failing", "gauge", "1 while it fails and tries again.");
	for (size_t i = 0; i < count; i++)
		put_feed(out, "feed_failing", &f[i], f[i].is_failing);
	family(out, "feed_failures_total", "counter", "Its failures since the start.");
	for (size_t i = 0; i < count; i++)
		put_feed(out, "feed_failures_total", &f[i], (double)f[i].failures);
}

void metrics_write(struct api *api, FILE *out)
{
	struct kms *kms = api->cfg.kms;

	put(out, "up", "gauge", "1 while the server serves; 0 while it stops.", !atomic_load(&api->is_stopping));
	put_requests(api->metrics, out);
	put_vaults(api->metrics, out);
	put_queues(api, out);
	put_writer(kms->writer, out);
	put_persons(kms->persons, out);
	put_checkpoints(kms, out);
	put_witnesses(kms, out);
	put_device(kms->hsm, out);
	put_feeds(api->cfg.feeds, out);
}
