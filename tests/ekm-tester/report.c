/* tests/ekm-tester/report.c - the same results twice: a table for people, JSON for programs. */
#include <stdio.h>
#include <string.h>

#include "tests/ekm-tester/tester.h"

static const char *const WORDS[] = { [PASS] = "pass", [FAIL] = "fail", [SKIP] = "skip" };
static const char *const SHOWN[] = { [PASS] = "pass", [FAIL] = "FAIL", [SKIP] = "skip" };

struct tally {
	size_t count[SKIP + 1];
};

/* One failure spoils the whole; what was not tested leaves the rest. */
static enum verdict verdict_of(const struct tally *tally)
{
	if (tally->count[FAIL] > 0)
		return FAIL;
	return tally->count[PASS] > 0 ? PASS : SKIP;
}

static struct tally tally_all(const struct outcome outcomes[])
{
	struct tally tally = { 0 };
	for (size_t i = 0; i < CHECK_COUNT; i++)
		tally.count[outcomes[i].verdict]++;
	return tally;
}

/* Of the rows that belong to this line of the checklist, or (line 0) to this status of the error table. */
static struct tally tally_of(const struct outcome outcomes[], int line, int status)
{
	struct tally tally = { 0 };
	for (size_t i = 0; i < CHECK_COUNT; i++)
		if (line > 0 ? CHECKS[i].line == line : CHECKS[i].status == status)
			tally.count[outcomes[i].verdict]++;
	return tally;
}

static const int STATUSES[] = { 400, 401, 403, 404, 405, 408, 413, 415, 429, 500, 502, 503, 504 };
#define STATUS_COUNT (sizeof(STATUSES) / sizeof(*STATUSES))

void report_row(const struct options *opt, size_t index, const struct outcome *o)
{
	const struct check *c = &CHECKS[index];

	if (opt->as_json)
		return;
	printf("%s  %-30s §%-5s %s%s\n", SHOWN[o->verdict], c->id, c->section, c->title, c->is_recommended ? "  (recommended)" : "");
	if (o->detail[0] != '\0')
		printf("      %s\n", o->detail);
	if (o->failures > 1)
		printf("      and %u more of this kind\n", o->failures - 1);
	(void)fflush(stdout);
}

/* ---- for people ---- */
static void print_latency(const struct latency *l)
{
	printf("  %-24s %8zu %9.1f %9.1f %9.1f %9.1f\n", l->name, l->count, l->p50_ms, l->p90_ms, l->p99_ms, l->max_ms);
}

static void print_end(const struct tester *t, const struct outcome outcomes[])
{
	const struct load_result *load = &t->load;

	printf("\nChecklist (section 15)                                                                         result  passed failed "
	       "skipped\n");
	for (int line = 1; line <= CHECKLIST_LINES; line++) {
		struct tally tally = tally_of(outcomes, line, 0);
		printf("  %2d  %-90s %-6s %7zu %6zu %7zu\n", line, CHECKLIST[line - 1], SHOWN[verdict_of(&tally)], tally.count[PASS],
		       tally.count[FAIL], tally.count[SKIP]);
	}
	printf("\nErrors (section 7.2)    result  passed failed skipped\n");
	for (size_t i = 0; i < STATUS_COUNT; i++) {
		struct tally tally = tally_of(outcomes, 0, STATUSES[i]);
		printf("  %d                   %-6s %7zu %6zu %7zu\n", STATUSES[i], SHOWN[verdict_of(&tally)], tally.count[PASS],
		       tally.count[FAIL], tally.count[SKIP]);
	}
	if (load->was_run) {
		printf("\nLatency in ms at %u requests a second, %u s, %zu connections (limit %.0f)\n", t->opt->rate, t->opt->seconds,
		       load->connections, LIMIT_MS);
		printf("  %-24s %8s %9s %9s %9s %9s\n", "operation", "requests", "p50", "p90", "p99", "max");
		for (size_t i = 0; i < load->op_count; i++)
			print_latency(&load->ops[i]);
		print_latency(&load->all);
		printf("  above the limit: %zu; not answered with 200: %zu; connections made anew: %zu\n", load->late, load->wrong,
		       load->reconnects);
	}
	struct tally all = tally_all(outcomes);
	printf("\nCorrelation ids of this run: %s000000000001 to ...%012x\n", t->run_id, t->calls);
	printf("%zu passed, %zu failed, %zu skipped\n", all.count[PASS], all.count[FAIL], all.count[SKIP]);
}

/* ---- for programs ---- */
static json_t *tally_json(const struct tally *tally)
{
	return json_pack("{s:s,s:I,s:I,s:I}", "result", WORDS[verdict_of(tally)], "passed", (json_int_t)tally->count[PASS], "failed",
	                 (json_int_t)tally->count[FAIL], "skipped", (json_int_t)tally->count[SKIP]);
}

static json_t *latency_json(const struct latency *l)
{
	return json_pack("{s:s,s:I,s:f,s:f,s:f,s:f}", "operation", l->name, "requests", (json_int_t)l->count, "p50_ms", l->p50_ms, "p90_ms",
	                 l->p90_ms, "p99_ms", l->p99_ms, "max_ms", l->max_ms);
}

static json_t *load_json(const struct tester *t)
{
	const struct load_result *load = &t->load;
	if (!load->was_run)
		return json_null();
	json_t *ops = json_array();
	for (size_t i = 0; i < load->op_count; i++)
		(void)json_array_append_new(ops, latency_json(&load->ops[i]));
	return json_pack("{s:I,s:I,s:I,s:f,s:I,s:I,s:I,s:o,s:o}", "rate", (json_int_t)t->opt->rate, "seconds", (json_int_t)t->opt->seconds,
	                 "connections", (json_int_t)load->connections, "limit_ms", LIMIT_MS, "above_limit", (json_int_t)load->late,
	                 "not_200", (json_int_t)load->wrong, "reconnects", (json_int_t)load->reconnects, "all", latency_json(&load->all),
	                 "operations", ops);
}

static void print_json(const struct tester *t, const struct outcome outcomes[])
{
	json_t *checks = json_array(), *lines = json_array(), *errors = json_array();
	struct tally all = tally_all(outcomes);

	for (size_t i = 0; i < CHECK_COUNT; i++) {
		const struct check *c = &CHECKS[i];
		(void)json_array_append_new(checks,
		                            json_pack("{s:s,s:s,s:s,s:b,s:s,s:s,s:I}", "id", c->id, "section", c->section, "title",
		                                      c->title, "recommended", (int)c->is_recommended, "result", WORDS[outcomes[i].verdict],
		                                      "detail", outcomes[i].detail, "failures", (json_int_t)outcomes[i].failures));
	}
	for (int line = 1; line <= CHECKLIST_LINES; line++) {
		struct tally tally = tally_of(outcomes, line, 0);
		json_t *entry = tally_json(&tally);
		(void)json_object_set_new(entry, "line", json_integer(line));
		(void)json_object_set_new(entry, "title", json_string(CHECKLIST[line - 1]));
		(void)json_array_append_new(lines, entry);
	}
	for (size_t i = 0; i < STATUS_COUNT; i++) {
		struct tally tally = tally_of(outcomes, 0, STATUSES[i]);
		json_t *entry = tally_json(&tally);
		(void)json_object_set_new(entry, "status", json_integer(STATUSES[i]));
		(void)json_array_append_new(errors, entry);
	}
	json_t *report = json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:{s:s,s:I}}", "url", t->opt->url, "api_version", API_VERSION, "summary",
	                           tally_json(&all), "checks", checks, "checklist", lines, "errors", errors, "latency", load_json(t),
	                           "correlation_ids", "prefix", t->run_id, "count", (json_int_t)t->calls);
	(void)json_dumpf(report, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	(void)putchar('\n');
	json_decref(report);
}

void report_end(const struct tester *t, const struct outcome outcomes[])
{
	if (t->opt->as_json)
		print_json(t, outcomes);
	else
		print_end(t, outcomes);
}
