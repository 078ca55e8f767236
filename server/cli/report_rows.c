/* server/cli/report_rows.c - the pages of a report of the server, what is asked of it, and rows of several pages that become one. */
#include "server/cli/report_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATH_CAP 512
#define QUARTERS 4
#define MONTHS_OF_QUARTER 3
#define YEAR_MIN 1970
#define YEAR_MAX 9999

/* ---- pages ---- */

static bool add_parameter(struct call *call, char path[PATH_CAP], const char *name, const json_t *value)
{
	char number[32], *pair = NULL;
	size_t used = strlen(path);
	int len = -1;

	(void)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
	pair = client_path(call->client, "%s=%s", name, json_is_string(value) ? json_string_value(value) : number);
	if (pair != NULL)
		len = snprintf(path + used, PATH_CAP - used, "%c%s", strchr(path, '?') == NULL ? '?' : '&', pair);
	free(pair);
	return len > 0 && (size_t)len < PATH_CAP - used;
}

/* @param query  an object of names and values; `after` is put into it */
static enum cli_exit one_page(struct call *call, const char *name, const json_t *query, json_t **ret_page)
{
	char path[PATH_CAP];
	bool fits = snprintf(path, sizeof(path), "/audit/v1/reports/%s", name) < (int)sizeof(path);

	for (void *it = json_object_iter((json_t *)(uintptr_t)query); it != NULL && fits; it = json_object_iter_next((json_t *)(uintptr_t)query, it))
		fits = add_parameter(call, path, json_object_iter_key(it), json_object_iter_value(it));
	if (!fits) {
		cli_say("the name of the vault is too long");
		return CLI_USAGE;
	}
	return client_json(call->client, "GET", path, NULL, ret_page);
}

enum cli_exit rows_each(struct call *call, const char *name, json_t *query, bool (*each)(void *arg, const json_t *row), void *arg)
{
	for (;;) {
		JSON_AUTO *page = NULL;
		const json_t *rows = NULL;
		json_t *next = NULL;
		enum cli_exit code = one_page(call, name, query, &page);

		if (code != CLI_OK)
			return code;
		rows = json_object_get(page, "value");
		if (!json_is_array(rows)) {
			cli_say("the answer is not a list");
			return CLI_FAILED;
		}
		for (size_t i = 0; i < json_array_size(rows); i++)
			if (!each(arg, json_array_get(rows, i)))
				return cli_no_memory();
		next = json_object_get(page, "next");
		if (!json_is_string(next))
			return CLI_OK;
		if (json_object_set(query, "after", next) != 0)
			return cli_no_memory();
	}
}

/* ---- what is asked ---- */

/* "2026-Q4": its first second, and the first after it. */
static bool parse_quarter(const char *text, long long *ret_from, long long *ret_to)
{
	char *end = NULL;
	long year = strtol(text, &end, 10);
	struct tm tm = { .tm_mday = 1 };

	if (*text < '0' || *text > '9' || year < YEAR_MIN || year > YEAR_MAX || end[0] != '-' || end[1] != 'Q' || end[2] < '1' || end[2] > '0' + QUARTERS || end[3] != '\0')
		return false;
	tm.tm_year = (int)year - 1900;
	tm.tm_mon = MONTHS_OF_QUARTER * (end[2] - '1');
	*ret_from = timegm(&tm);
	tm = (struct tm){ .tm_year = (int)year - 1900, .tm_mon = MONTHS_OF_QUARTER * (end[2] - '0'), .tm_mday = 1 };
	*ret_to = timegm(&tm);
	return true;
}

static enum cli_exit add_quarter(const struct call *call, json_t *query)
{
	long long from = 0, to = 0;

	if (!call_has(call, OPT_QUARTER))
		return CLI_OK;
	if (call_has(call, OPT_FROM) || call_has(call, OPT_TO)) {
		cli_say("--quarter is a time from and to; give either");
		return CLI_USAGE;
	}
	if (!parse_quarter(call_value(call, OPT_QUARTER), &from, &to)) {
		cli_say("--quarter %s: expected a quarter as 2026-Q4", call_value(call, OPT_QUARTER));
		return CLI_USAGE;
	}
	return json_object_set_new(query, "from", json_integer(from)) == 0 && json_object_set_new(query, "to", json_integer(to)) == 0 ? CLI_OK : cli_no_memory();
}

enum cli_exit rows_query(const struct call *call, option_set takes, json_t **ret)
{
	enum cli_exit code = CLI_OK;

	*ret = json_object();
	if (*ret == NULL || (call_has(call, OPT_VAULT) && !cli_add_text(*ret, "vault", call_value(call, OPT_VAULT))))
		return cli_no_memory();
	if ((takes & BIT(OPT_FROM)) != 0) {
		code = cli_add_time(call, OPT_FROM, "from", *ret);
		if (code == CLI_OK)
			code = cli_add_time(call, OPT_TO, "to", *ret);
		if (code == CLI_OK)
			code = add_quarter(call, *ret);
	}
	if (code == CLI_OK && (takes & BIT(OPT_DAYS)) != 0)
		code = cli_add_number(call, OPT_DAYS, "days", *ret);
	if (code == CLI_OK && (takes & BIT(OPT_MAX_AGE)) != 0)
		code = cli_add_number(call, OPT_MAX_AGE, "max_age", *ret);
	return code;
}

/* ---- adding up ---- */

const char *rows_text(const json_t *row, const char *member)
{
	const char *text = json_string_value(json_object_get(row, member));
	return text != NULL ? text : "";
}
json_int_t rows_number(const json_t *row, const char *member) { return json_integer_value(json_object_get(row, member)); }

json_t *rows_like(struct row_sums *s, const json_t *row, const char *const members[3], bool *ret_is_new)
{
	char key[ROWS_KEY_CAP];
	json_t *found = NULL;

	(void)snprintf(key, sizeof(key), "%s\x1f%s\x1f%s", rows_text(row, members[0]), members[1] != NULL ? rows_text(row, members[1]) : "",
	               members[2] != NULL ? rows_text(row, members[2]) : "");
	found = json_object_get(s->index, key);
	*ret_is_new = found == NULL;
	if (found != NULL)
		return found;
	found = json_deep_copy(row);
	if (found == NULL || json_object_set_new(s->index, key, found) != 0 || json_array_append(s->rows, found) != 0)
		return NULL;
	return found;
}

bool rows_add(json_t *row, const char *member, json_int_t more)
{
	return json_object_set_new(row, member, json_integer(rows_number(row, member) + more)) == 0;
}

bool rows_count_point(json_t *points, const char *label, json_int_t more)
{
	for (size_t i = 0; i < json_array_size(points); i++) {
		json_t *p = json_array_get(points, i);
		if (strcmp(rows_text(p, "label"), label) == 0)
			return rows_add(p, "value", more);
	}
	return report_point(points, label, json_integer(more));
}

int rows_by_value(const void *a, const void *b)
{
	json_int_t x = rows_number(*(json_t *const *)a, "value"), y = rows_number(*(json_t *const *)b, "value");
	return x < y ? 1 : x > y ? -1 : strcmp(rows_text(*(json_t *const *)a, "label"), rows_text(*(json_t *const *)b, "label"));
}

int rows_by_label(const void *a, const void *b) { return strcmp(rows_text(*(json_t *const *)a, "label"), rows_text(*(json_t *const *)b, "label")); }

bool rows_sort(json_t *rows, int (*order)(const void *a, const void *b))
{
	size_t count = json_array_size(rows);
	json_t **all = calloc(count + 1, sizeof(*all));

	if (all == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
		all[i] = json_incref(json_array_get(rows, i));
	qsort(all, count, sizeof(*all), order);
	for (size_t i = 0; i < count; i++)
		if (json_array_set_new(rows, i, all[i]) != 0)
			abort(); /* allowed: the place exists */
	free(all);
	return true;
}
