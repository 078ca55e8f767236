/* server/cli/report.c - `holdfast report`: each report of the server, added up over its pages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/err.h"
#include "server/cli/report_rows.h"

static bool fact(struct report *r, const char *name, long long n) { return report_fact(r, name, json_integer(n)); }

/* ---- rotations ---- */

static bool add_rotations(void *arg, const json_t *row)
{
	static const char *const ABOUT[] = { "vault", "key", "quarter" };
	bool is_new = false;
	json_t *sum = rows_like(arg, row, ABOUT, &is_new);

	if (sum == NULL || is_new)
		return sum != NULL;
	return rows_add(sum, "rotations", rows_number(row, "rotations")) && rows_add(sum, "automatic", rows_number(row, "automatic")) &&
	       rows_add(sum, "creations", rows_number(row, "creations"));
}

static bool finish_rotations(struct report *r, json_t *rows, json_t *points)
{
	JSON_AUTO *keys = json_object();
	long long rotations = 0, automatic = 0, creations = 0, never = 0;
	char key[ROWS_KEY_CAP];
	size_t i = 0;
	json_t *row = NULL, *value = NULL;
	const char *name = NULL;

	json_array_foreach(rows, i, row) {
		json_int_t n = rows_number(row, "rotations");
		rotations += n;
		automatic += rows_number(row, "automatic");
		creations += rows_number(row, "creations");
		(void)snprintf(key, sizeof(key), "%s\x1f%s", rows_text(row, "vault"), rows_text(row, "key"));
		n += json_integer_value(json_object_get(keys, key));
		if (json_object_set_new(keys, key, json_integer(n)) != 0 || !rows_count_point(points, rows_text(row, "quarter"), rows_number(row, "rotations")))
			return false;
	}
	json_object_foreach(keys, name, value)
		never += json_integer_value(value) == 0;
	return rows_sort(points, rows_by_label) && fact(r, "keys", (long long)json_object_size(keys)) && fact(r, "created", creations) && fact(r, "rotations", rotations) &&
	       fact(r, "automatic_rotations", automatic) && fact(r, "created_and_not_rotated", never);
}

static enum cli_exit make_rotations(struct call *call, struct report *r)
{
	static const struct report_column COLUMNS[] = {
		{ "VAULT", "vault", REPORT_TEXT }, { "KEY", "key", REPORT_TEXT }, { "QUARTER", "quarter", REPORT_TEXT }, { "ROTATIONS", "rotations", REPORT_NUMBER },
		{ "AUTOMATIC", "automatic", REPORT_NUMBER }, { "CREATED", "creations", REPORT_NUMBER }, { NULL, NULL, REPORT_TEXT },
	};
	ROW_SUMS_AUTO s = { .index = json_object() };
	JSON_AUTO *query = NULL, *points = NULL;
	enum cli_exit code = rows_query(call, BIT(OPT_FROM), &query);

	if (code != CLI_OK)
		return code;
	if (!report_begin(r, "rotations", "Rotations per key and quarter"))
		return cli_no_memory();
	s.rows = report_add_table(r, "value", "By key and quarter", COLUMNS);
	points = json_incref(report_add_plot(r, "Rotations per quarter", "", false));
	code = rows_each(call, "rotations", query, add_rotations, &s);
	return code != CLI_OK ? code : finish_rotations(r, s.rows, points) ? CLI_OK : cli_no_memory();
}

/* ---- denials ---- */

static bool add_denials(void *arg, const json_t *row)
{
	static const char *const ABOUT[] = { "vault", "principal", "reason" };
	bool is_new = false;
	json_t *sum = rows_like(arg, row, ABOUT, &is_new);

	if (sum == NULL || is_new)
		return sum != NULL;
	if (rows_number(row, "first") < rows_number(sum, "first") && json_object_set(sum, "first", json_object_get(row, "first")) != 0)
		return false;
	if (rows_number(row, "last") > rows_number(sum, "last") && json_object_set(sum, "last", json_object_get(row, "last")) != 0)
		return false;
	return rows_add(sum, "count", rows_number(row, "count"));
}

static int by_count(const void *a, const void *b)
{
	json_int_t x = rows_number(*(json_t *const *)a, "count"), y = rows_number(*(json_t *const *)b, "count");
	return x < y ? 1 : x > y ? -1 : 0;
}

static enum cli_exit make_denials(struct call *call, struct report *r)
{
	static const struct report_column COLUMNS[] = {
		{ "VAULT", "vault", REPORT_TEXT }, { "PRINCIPAL", "principal", REPORT_TEXT }, { "NAME", "name", REPORT_TEXT }, { "REASON", "reason", REPORT_TEXT },
		{ "COUNT", "count", REPORT_NUMBER }, { "FIRST", "first", REPORT_TIME }, { "LAST", "last", REPORT_TIME }, { NULL, NULL, REPORT_TEXT },
	};
	ROW_SUMS_AUTO s = { .index = json_object() };
	JSON_AUTO *query = NULL, *reasons = NULL, *principals = NULL, *known = json_object();
	enum cli_exit code = rows_query(call, BIT(OPT_FROM), &query);
	long long count = 0;
	bool good = true;

	if (code != CLI_OK)
		return code;
	if (!report_begin(r, "denials", "Access denials by principal and reason"))
		return cli_no_memory();
	s.rows = report_add_table(r, "value", "By principal and reason", COLUMNS);
	reasons = json_incref(report_add_plot(r, "By reason", "", false));
	principals = json_incref(report_add_plot(r, "By principal", "", false));
	code = rows_each(call, "denials", query, add_denials, &s);
	if (code != CLI_OK)
		return code;
	for (size_t i = 0; i < json_array_size(s.rows) && good; i++) {
		const json_t *row = json_array_get(s.rows, i);
		const char *who = rows_text(row, "name")[0] != '\0' ? rows_text(row, "name") : rows_text(row, "principal");
		count += rows_number(row, "count");
		good = (rows_text(row, "principal")[0] == '\0' || json_object_set_new(known, rows_text(row, "principal"), json_true()) == 0) &&
		       rows_count_point(reasons, rows_text(row, "reason"), rows_number(row, "count")) &&
		       rows_count_point(principals, who[0] != '\0' ? who : "(nobody who was known)", rows_number(row, "count"));
	}
	good = good && rows_sort(s.rows, by_count) && rows_sort(reasons, rows_by_value) && rows_sort(principals, rows_by_value);
	return good && fact(r, "denials", count) && fact(r, "principals", (long long)json_object_size(known)) ? CLI_OK : cli_no_memory();
}

/* ---- revocations ---- */

struct times {
	int64_t *us; /* owned */
	size_t count, cap;
};

/* One kind of act; the last is all of them. */
#define ACTS_MAX 24
struct revocations {
	size_t count;
	struct act {
		char name[48];
		long long all;
		struct times times;
	} acts[ACTS_MAX];
};
static void revocations_clear(struct revocations *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->acts[i].times.us);
}
#define REVOCATIONS_AUTO __attribute__((cleanup(revocations_clear))) struct revocations

/* More kinds than the server has are one kind. */
static struct act *act_of(struct revocations *r, const char *name)
{
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->acts[i].name, name) == 0)
			return &r->acts[i];
	if (r->count == ACTS_MAX)
		return &r->acts[ACTS_MAX - 1];
	(void)snprintf(r->acts[r->count].name, sizeof(r->acts[0].name), "%s", name);
	return &r->acts[r->count++];
}

static bool add_time(struct act *a, const json_t *took)
{
	struct times *t = &a->times;

	a->all++;
	if (!json_is_integer(took))
		return true; /* of a server that did not measure yet */
	if (t->count == t->cap) {
		size_t cap = t->cap == 0 ? 64 : 2 * t->cap;
		void *grown = reallocarray(t->us, cap, sizeof(*t->us));
		if (grown == NULL)
			return false;
		t->us = grown;
		t->cap = cap;
	}
	t->us[t->count++] = json_integer_value(took);
	return true;
}

static bool add_revocation(void *arg, const json_t *row)
{
	const json_t *took = json_object_get(row, "took_us");

	return add_time(act_of(arg, "(all)"), took) && add_time(act_of(arg, rows_text(row, "act")), took);
}

static int by_us(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* Nearest rank, of what is sorted; null when nothing was measured. */
static json_t *percentile(const struct times *t, size_t percent)
{
	size_t rank = (t->count * percent + 99) / 100;
	return t->count == 0 ? json_null() : json_integer((json_int_t)t->us[rank > 0 ? rank - 1 : 0]);
}

static bool add_act(struct report *r, json_t *rows, json_t *points, struct act *a)
{
	json_t *row = NULL;

	if (a->times.count > 0)
		qsort(a->times.us, a->times.count, sizeof(*a->times.us), by_us);
	row = json_pack("{s:s,s:I,s:I,s:o,s:o,s:o}", "act", a->name, "count", (json_int_t)a->all, "measured", (json_int_t)a->times.count, "p50_us", percentile(&a->times, 50),
	                "p95_us", percentile(&a->times, 95), "max_us", percentile(&a->times, 100));
	if (strcmp(a->name, "(all)") != 0)
		return json_array_append_new(rows, row) == 0 &&
		       (a->times.count == 0 || report_point(points, a->name, json_real((double)rows_number(row, "p95_us") / 1000.0)));
	bool good = row != NULL && report_fact(r, "revocations", json_integer(a->all)) && report_fact(r, "measured", json_integer((json_int_t)a->times.count)) &&
	            report_fact(r, "p50_us", percentile(&a->times, 50)) && report_fact(r, "p95_us", percentile(&a->times, 95)) &&
	            report_fact(r, "max_us", percentile(&a->times, 100));
	json_decref(row);
	return good;
}

static enum cli_exit make_revocations(struct call *call, struct report *r)
{
	static const struct report_column COLUMNS[] = {
		{ "ACT", "act", REPORT_TEXT }, { "COUNT", "count", REPORT_NUMBER }, { "MEASURED", "measured", REPORT_NUMBER }, { "P50 (ms)", "p50_us", REPORT_MICROSECONDS },
		{ "P95 (ms)", "p95_us", REPORT_MICROSECONDS }, { "MAX (ms)", "max_us", REPORT_MICROSECONDS }, { NULL, NULL, REPORT_TEXT },
	};
	REVOCATIONS_AUTO s = { 0 };
	JSON_AUTO *query = NULL;
	json_t *rows = NULL, *points = NULL;
	enum cli_exit code = rows_query(call, BIT(OPT_FROM), &query);

	if (code != CLI_OK)
		return code;
	if (!report_begin(r, "revocations", "Time from the order to revoke to its effect"))
		return cli_no_memory();
	rows = report_add_table(r, "value", "By act", COLUMNS);
	points = report_add_plot(r, "95th percentile by act", "ms", false);
	(void)act_of(&s, "(all)"); /* is there, also when nothing was revoked */
	code = rows_each(call, "revocations", query, add_revocation, &s);
	for (size_t i = 0; i < s.count && code == CLI_OK; i++)
		code = add_act(r, rows, points, &s.acts[i]) ? CLI_OK : cli_no_memory();
	return code;
}

/* ---- keys ---- */

static bool keep_row(void *arg, const json_t *row) { return json_array_append(arg, (json_t *)(uintptr_t)row) == 0; }

static bool plot_keys(json_t *rows, json_t *points, const char *member)
{
	char label[ROWS_KEY_CAP];
	size_t i = 0;
	json_t *row = NULL;

	json_array_foreach(rows, i, row) {
		(void)snprintf(label, sizeof(label), "%s/%s", rows_text(row, "vault"), rows_text(row, "key"));
		if (!report_point(points, label, json_integer(rows_number(row, member))))
			return false;
	}
	return rows_sort(points, rows_by_value);
}

static enum cli_exit make_overdue(struct call *call, struct report *r)
{
	static const struct report_column COLUMNS[] = {
		{ "VAULT", "vault", REPORT_TEXT }, { "KEY", "key", REPORT_TEXT }, { "STATE", "state", REPORT_TEXT }, { "NEWEST VERSION", "rotated", REPORT_TIME },
		{ "BASIS", "basis", REPORT_TEXT }, { "DUE", "due", REPORT_TIME }, { "DAYS LATE", "late_days", REPORT_NUMBER }, { NULL, NULL, REPORT_TEXT },
	};
	JSON_AUTO *query = NULL;
	json_t *rows = NULL, *points = NULL;
	long long by_policy = 0;
	enum cli_exit code = rows_query(call, BIT(OPT_MAX_AGE), &query);

	if (code != CLI_OK)
		return code;
	if (!report_begin(r, "overdue", "Keys overdue for rotation"))
		return cli_no_memory();
	rows = report_add_table(r, "value", "Keys", COLUMNS);
	points = report_add_plot(r, "Days late", "d", false);
	code = rows_each(call, "overdue", query, keep_row, rows);
	if (code != CLI_OK)
		return code;
	for (size_t i = 0; i < json_array_size(rows); i++)
		by_policy += strcmp(rows_text(json_array_get(rows, i), "basis"), "policy") == 0;
	return plot_keys(rows, points, "late_days") && fact(r, "overdue", (long long)json_array_size(rows)) && fact(r, "by_policy", by_policy) &&
	                       fact(r, "by_age", (long long)json_array_size(rows) - by_policy)
	               ? CLI_OK
	               : cli_no_memory();
}

static enum cli_exit make_unused(struct call *call, struct report *r)
{
	static const struct report_column COLUMNS[] = {
		{ "VAULT", "vault", REPORT_TEXT }, { "KEY", "key", REPORT_TEXT }, { "CREATED", "created", REPORT_TIME }, { "LAST USED", "last_used", REPORT_TIME },
		{ "DAYS UNUSED", "unused_days", REPORT_NUMBER }, { NULL, NULL, REPORT_TEXT },
	};
	JSON_AUTO *query = NULL;
	json_t *rows = NULL, *points = NULL;
	long long never = 0;
	enum cli_exit code = rows_query(call, BIT(OPT_DAYS), &query);

	if (code != CLI_OK)
		return code;
	if (!report_begin(r, "unused", "Keys that are not used"))
		return cli_no_memory();
	rows = report_add_table(r, "value", "Keys", COLUMNS);
	points = report_add_plot(r, "Days unused", "d", false);
	code = rows_each(call, "unused", query, keep_row, rows);
	if (code != CLI_OK)
		return code;
	for (size_t i = 0; i < json_array_size(rows); i++)
		never += json_object_get(json_array_get(rows, i), "last_used") == NULL;
	return plot_keys(rows, points, "unused_days") && fact(r, "unused", (long long)json_array_size(rows)) && fact(r, "never_used", never) ? CLI_OK : cli_no_memory();
}

static bool add_protection(void *arg, const json_t *row)
{
	static const char *const ABOUT[] = { "vault", NULL, NULL };
	bool is_new = false;
	json_t *sum = rows_like(arg, row, ABOUT, &is_new);

	if (sum == NULL || is_new)
		return sum != NULL;
	return rows_add(sum, "keys", rows_number(row, "keys")) && rows_add(sum, "rotating", rows_number(row, "rotating"));
}

/* A vault rotates when it has keys and each of them does. */
static bool finish_protection(struct report *r, json_t *rows, json_t *points)
{
	long long vaults = (long long)json_array_size(rows), protected = 0, keys = 0, rotating = 0, with_keys = 0, whole = 0;
	size_t i = 0;
	json_t *row = NULL;

	json_array_foreach(rows, i, row) {
		json_int_t n = rows_number(row, "keys"), of = rows_number(row, "rotating");
		protected += json_is_true(json_object_get(row, "purge_protection"));
		keys += n;
		rotating += of;
		with_keys += n > 0;
		whole += n > 0 && n == of;
		if (json_object_set_new(row, "rotating_percent", report_percent(of, n)) != 0)
			return false;
	}
	if (!fact(r, "vaults", vaults) || !report_fact(r, "purge_protection_percent", report_percent(protected, vaults)) || !fact(r, "keys", keys) ||
	    !report_fact(r, "keys_rotating_percent", report_percent(rotating, keys)) || !report_fact(r, "vaults_rotating_percent", report_percent(whole, with_keys)))
		return false;
	return report_point(points, "vaults with purge protection", report_percent(protected, vaults)) &&
	       report_point(points, "keys that rotate by a policy", report_percent(rotating, keys)) &&
	       report_point(points, "vaults where all keys do", report_percent(whole, with_keys));
}

static enum cli_exit make_protection(struct call *call, struct report *r)
{
	static const struct report_column COLUMNS[] = {
		{ "VAULT", "vault", REPORT_TEXT }, { "PURGE PROTECTION", "purge_protection", REPORT_FLAG }, { "RETENTION DAYS", "retention_days", REPORT_NUMBER },
		{ "LOCKED", "locked", REPORT_FLAG }, { "KEYS", "keys", REPORT_NUMBER }, { "ROTATING", "rotating", REPORT_NUMBER },
		{ "PERCENT", "rotating_percent", REPORT_PERCENT }, { NULL, NULL, REPORT_TEXT },
	};
	ROW_SUMS_AUTO s = { .index = json_object() };
	JSON_AUTO *query = NULL;
	json_t *points = NULL;
	enum cli_exit code = rows_query(call, 0, &query);

	if (code != CLI_OK)
		return code;
	if (!report_begin(r, "protection", "Purge protection and rotation policies"))
		return cli_no_memory();
	s.rows = report_add_table(r, "value", "Vaults", COLUMNS);
	points = report_add_plot(r, "Share", "%", false);
	code = rows_each(call, "protection", query, add_protection, &s);
	return code != CLI_OK ? code : finish_protection(r, s.rows, points) ? CLI_OK : cli_no_memory();
}

/* ---- the commands ---- */

static enum cli_exit make_one(struct call *call, enum cli_exit (*make)(struct call *call, struct report *r))
{
	REPORT_AUTO r = { 0 };
	enum cli_exit code = report_check_form(call, true);

	if (code == CLI_OK)
		code = make(call, &r);
	return code == CLI_OK ? report_show(call, &r, 1) : code;
}

enum cli_exit report_rotations(struct call *call) { return make_one(call, make_rotations); }
enum cli_exit report_overdue(struct call *call) { return make_one(call, make_overdue); }
enum cli_exit report_denials(struct call *call) { return make_one(call, make_denials); }
enum cli_exit report_revocations(struct call *call) { return make_one(call, make_revocations); }
enum cli_exit report_unused(struct call *call) { return make_one(call, make_unused); }
enum cli_exit report_protection(struct call *call) { return make_one(call, make_protection); }

enum cli_exit report_all(struct call *call)
{
	static enum cli_exit (*const MAKE[])(struct call *call, struct report *r) = { make_rotations, make_overdue,     make_denials,
		                                                                      make_revocations, make_unused, make_protection };
	struct report reports[KMS_ARRAY_LEN(MAKE)] = { 0 };
	enum cli_exit code = report_check_form(call, false);

	for (size_t i = 0; i < KMS_ARRAY_LEN(MAKE) && code == CLI_OK; i++)
		code = MAKE[i](call, &reports[i]);
	if (code == CLI_OK)
		code = report_show(call, reports, KMS_ARRAY_LEN(MAKE));
	for (size_t i = 0; i < KMS_ARRAY_LEN(MAKE); i++)
		report_clear(&reports[i]);
	return code;
}
