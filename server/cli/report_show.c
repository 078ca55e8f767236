/* server/cli/report_show.c - reports as text, JSON and CSV. CSV is that of RFC 4180, and opens in a spreadsheet without anything in it being taken for a formula. */
#include "server/cli/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE_S 60LL
#define HOUR_S 3600LL
#define DAY_S 86400LL

/* ---- making ---- */

void report_clear(struct report *r)
{
	json_decref(r->facts);
	for (size_t i = 0; i < r->table_count; i++)
		json_decref(r->tables[i].rows);
	for (size_t i = 0; i < r->plot_count; i++)
		json_decref(r->plots[i].points);
	memset(r, 0, sizeof(*r));
}

bool report_begin(struct report *r, const char *name, const char *title)
{
	*r = (struct report){ .name = name, .title = title, .facts = json_object() };
	return r->facts != NULL;
}

json_t *report_add_table(struct report *r, const char *name, const char *title, const struct report_column *columns)
{
	struct report_table *t = &r->tables[r->table_count++];

	*t = (struct report_table){ .name = name, .title = title, .columns = columns, .rows = json_array() };
	return t->rows;
}

json_t *report_add_plot(struct report *r, const char *title, const char *unit, bool is_line)
{
	struct report_plot *p = &r->plots[r->plot_count++];

	*p = (struct report_plot){ .title = title, .unit = unit, .is_line = is_line, .points = json_array() };
	return p->points;
}

bool report_fact(struct report *r, const char *name, json_t *value) { return json_object_set_new(r->facts, name, value) == 0; }

bool report_point(json_t *points, const char *label, json_t *value)
{
	return json_array_append_new(points, json_pack("{s:s,s:o}", "label", label, "value", value)) == 0;
}

json_t *report_percent(long long part, long long whole)
{
	long long permille = whole == 0 ? 0 : part * 1000 / whole; /* rounded down: what is not whole never reads 100 */

	return whole == 0 ? json_null() : json_real((double)permille / 10.0);
}

/* ---- cells ---- */

static const char *duration_text(long long s, char ret[REPORT_CELL_MAX])
{
	if (s >= DAY_S)
		(void)snprintf(ret, REPORT_CELL_MAX, "%lld d %lld h", s / DAY_S, s % DAY_S / HOUR_S);
	else if (s >= HOUR_S)
		(void)snprintf(ret, REPORT_CELL_MAX, "%lld h %lld min", s / HOUR_S, s % HOUR_S / MINUTE_S);
	else
		(void)snprintf(ret, REPORT_CELL_MAX, "%lld s", s);
	return ret;
}

static const char *value_text(const json_t *value, enum report_cell kind, char buffer[REPORT_CELL_MAX])
{
	(void)snprintf(buffer, REPORT_CELL_MAX, "-");
	if (json_is_string(value))
		return json_string_length(value) > 0 ? json_string_value(value) : buffer;
	if (json_is_boolean(value))
		return json_is_true(value) ? "yes" : "no";
	if (json_is_real(value))
		(void)snprintf(buffer, REPORT_CELL_MAX, "%.1f", json_real_value(value));
	else if (json_is_integer(value) && kind == REPORT_TIME)
		return show_time(value, buffer);
	else if (json_is_integer(value) && kind == REPORT_MICROSECONDS)
		(void)snprintf(buffer, REPORT_CELL_MAX, "%.3f", (double)json_integer_value(value) / 1000.0);
	else if (json_is_integer(value))
		(void)snprintf(buffer, REPORT_CELL_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	return buffer;
}

const char *report_cell(const json_t *row, const struct report_column *column, char buffer[REPORT_CELL_MAX])
{
	return value_text(json_object_get(row, column->member), column->kind, buffer);
}

static bool ends(const char *text, const char *with)
{
	size_t len = strlen(text), tail = strlen(with);
	return len > tail && strcmp(text + len - tail, with) == 0;
}

const char *report_fact_text(const char *name, const json_t *value, char buffer[REPORT_CELL_MAX])
{
	if (json_is_real(value) && ends(name, "_percent")) {
		(void)snprintf(buffer, REPORT_CELL_MAX, "%.1f %%", json_real_value(value));
		return buffer;
	}
	if (json_is_integer(value) && ends(name, "_s"))
		return duration_text(json_integer_value(value), buffer);
	if (json_is_integer(value) && ends(name, "_us")) {
		(void)snprintf(buffer, REPORT_CELL_MAX, "%.3f ms", (double)json_integer_value(value) / 1000.0);
		return buffer;
	}
	return value_text(value, strcmp(name, "at") == 0 ? REPORT_TIME : REPORT_NUMBER, buffer);
}

const char *report_fact_label(const char *name, char buffer[REPORT_CELL_MAX])
{
	size_t len = strlen(name) - (ends(name, "_us") ? strlen("_us") : ends(name, "_s") ? strlen("_s") : 0); /* the unit stands with the value */

	(void)snprintf(buffer, REPORT_CELL_MAX, "%.*s", (int)len, name);
	for (char *c = buffer; *c != '\0'; c++)
		if (*c == '_')
			*c = ' ';
	return buffer;
}

/* ---- as text ---- */

/* Lengths are counted in bytes, as show_table() does; what could steer a terminal is gone before. */
static void write_clean(FILE *out, const char *text, int width)
{
	char cell[160];

	(void)fprintf(out, "%-*s", width, cli_clean(text, cell, sizeof(cell)));
}

static int width_of(const struct report_table *t, const struct report_column *c)
{
	char buffer[REPORT_CELL_MAX], cell[160];
	size_t widest = strlen(c->title), i = 0;
	json_t *row = NULL;

	json_array_foreach(t->rows, i, row) {
		size_t len = strlen(cli_clean(report_cell(row, c, buffer), cell, sizeof(cell)));
		if (len > widest)
			widest = len;
	}
	return (int)widest;
}

#define COLUMNS_MAX 16

static void write_table(FILE *out, const struct report_table *t)
{
	char buffer[REPORT_CELL_MAX];
	int width[COLUMNS_MAX] = { 0 };
	size_t n = 0, i = 0;
	json_t *row = NULL;

	for (; n < COLUMNS_MAX && t->columns[n].title != NULL; n++)
		width[n] = width_of(t, &t->columns[n]);
	for (size_t k = 0; k < n; k++) {
		write_clean(out, t->columns[k].title, k + 1 < n ? width[k] : 0);
		(void)fputs(k + 1 < n ? "  " : "\n", out);
	}
	json_array_foreach(t->rows, i, row) {
		for (size_t k = 0; k < n; k++) {
			write_clean(out, report_cell(row, &t->columns[k], buffer), k + 1 < n ? width[k] : 0);
			(void)fputs(k + 1 < n ? "  " : "\n", out);
		}
	}
}

static void write_text(FILE *out, const struct report *r)
{
	char buffer[REPORT_CELL_MAX];
	const char *name = NULL;
	json_t *value = NULL;

	(void)fprintf(out, "%s\n", r->title);
	json_object_foreach(r->facts, name, value) {
		(void)fprintf(out, "  %-28s ", report_fact_label(name, buffer));
		write_clean(out, report_fact_text(name, value, buffer), 0);
		(void)fputc('\n', out);
	}
	for (size_t i = 0; i < r->table_count; i++)
		if (json_array_size(r->tables[i].rows) > 0) {
			(void)fprintf(out, "\n%s\n", r->tables[i].title);
			write_table(out, &r->tables[i]);
		}
}

/* ---- as JSON ---- */

static json_t *as_json(const struct report *r)
{
	json_t *o = json_pack("{s:s,s:O}", "report", r->name, "facts", r->facts);

	for (size_t i = 0; i < r->table_count && o != NULL; i++)
		if (json_object_set(o, r->tables[i].name, r->tables[i].rows) != 0) {
			json_decref(o);
			return NULL;
		}
	return o;
}

static bool write_json(FILE *out, const struct report *reports, size_t count)
{
	JSON_AUTO *list = json_array();

	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(list, as_json(&reports[i])) != 0)
			return false;
	if (count == 1)
		return json_dumpf(json_array_get(list, 0), out, JSON_COMPACT) == 0 && fputc('\n', out) != EOF;
	JSON_AUTO *whole = json_pack("{s:O}", "reports", list);
	return whole != NULL && json_dumpf(whole, out, JSON_COMPACT) == 0 && fputc('\n', out) != EOF;
}

/* ---- as CSV ---- */

/* What a spreadsheet would take for a formula begins with one of these; an apostrophe in front makes it text (OWASP: CSV injection). */
static bool looks_like_formula(const char *text) { return *text != '\0' && strchr("=+-@\t\r\n", *text) != NULL; }

static void write_field(FILE *out, const char *text)
{
	bool is_quoted = text[strcspn(text, "\",\r\n")] != '\0' || *text == ' ' || looks_like_formula(text);

	if (is_quoted)
		(void)fputc('"', out);
	if (looks_like_formula(text))
		(void)fputc('\'', out);
	for (; *text != '\0'; text++) {
		if (*text == '"')
			(void)fputc('"', out);
		(void)fputc(*text, out);
	}
	if (is_quoted)
		(void)fputc('"', out);
}

static void write_csv(FILE *out, const struct report_table *t)
{
	char buffer[REPORT_CELL_MAX];
	size_t i = 0;
	json_t *row = NULL;

	for (const struct report_column *c = t->columns; c->title != NULL; c++) {
		write_field(out, c->member);
		(void)fputs(c[1].title != NULL ? "," : "\r\n", out);
	}
	json_array_foreach(t->rows, i, row)
		for (const struct report_column *c = t->columns; c->title != NULL; c++) {
			/* Under the names of JSON stand its numbers. */
			const char *text = value_text(json_object_get(row, c->member), c->kind == REPORT_MICROSECONDS ? REPORT_NUMBER : c->kind, buffer);
			bool is_none = text == buffer && strcmp(text, "-") == 0; /* nothing is an empty field */
			write_field(out, is_none ? "" : text);
			(void)fputs(c[1].title != NULL ? "," : "\r\n", out);
		}
}

/* ---- out ---- */

enum cli_exit report_check_form(const struct call *call, bool is_one)
{
	int forms = (int)call->as_json + (int)call_has(call, OPT_CSV) + (int)call_has(call, OPT_HTML);

	if (forms > 1) {
		cli_say("--json, --csv and --html exclude each other");
		return CLI_USAGE;
	}
	if (call_has(call, OPT_CSV) && !is_one) {
		cli_say("--csv is for one report, which is one table");
		return CLI_USAGE;
	}
	if (call_has(call, OPT_OUTPUT) && !cli_can_write(call_value(call, OPT_OUTPUT)))
		return CLI_USAGE;
	return CLI_OK;
}

static bool write_reports(const struct call *call, FILE *out, const struct report *reports, size_t count)
{
	if (call->as_json)
		return write_json(out, reports, count);
	if (call_has(call, OPT_CSV))
		write_csv(out, &reports[0].tables[0]);
	else if (call_has(call, OPT_HTML))
		report_write_html(out, reports, count);
	else
		for (size_t i = 0; i < count; i++) {
			(void)fputs(i > 0 ? "\n" : "", out);
			write_text(out, &reports[i]);
		}
	return true;
}

enum cli_exit report_show(struct call *call, const struct report *reports, size_t count)
{
	TEXT_AUTO *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool is_whole = out != NULL && write_reports(call, out, reports, count) && ferror(out) == 0;

	if (out != NULL && fclose(out) != 0)
		is_whole = false;
	if (!is_whole)
		return cli_no_memory();
	if (call_has(call, OPT_OUTPUT))
		return cli_write_file(call_value(call, OPT_OUTPUT), text, len);
	return fwrite(text, 1, len, stdout) == len ? CLI_OK : CLI_FAILED;
}
