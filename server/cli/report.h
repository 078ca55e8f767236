/* server/cli/report.h - a report as it is shown: facts, tables, plots; as text, JSON, CSV and one page of HTML. What is in it comes from strangers: nothing of it is trusted. */
#ifndef HOLDFAST_CLI_REPORT_H
#define HOLDFAST_CLI_REPORT_H

#include <stdio.h>

#include "server/cli/command.h"

#define REPORT_TABLES_MAX 2
#define REPORT_PLOTS_MAX 3
#define REPORT_CELL_MAX 64 /* of what is no text */

enum report_cell { REPORT_TEXT, REPORT_NUMBER, REPORT_TIME, REPORT_FLAG, REPORT_PERCENT, REPORT_MICROSECONDS };

/* Ends with a NULL title. */
struct report_column {
	const char *title, *member;
	enum report_cell kind;
};

struct report_table {
	const char *name, *title;
	const struct report_column *columns;
	json_t *rows; /* array of objects; owned */
};

/* Bars, or a line over time, of {"label","value"}. */
struct report_plot {
	const char *title, *unit;
	bool is_line;
	json_t *points; /* array; owned */
};

struct report {
	const char *name, *title;
	json_t *facts; /* in the order in which they are shown; by the end of their names: _percent, _s (a duration), _us; owned */
	struct report_table tables[REPORT_TABLES_MAX]; /* CSV is the first */
	size_t table_count;
	struct report_plot plots[REPORT_PLOTS_MAX];
	size_t plot_count;
};
void report_clear(struct report *r);
#define REPORT_AUTO __attribute__((cleanup(report_clear))) struct report

/** Room for one more; facts, rows and points are made empty. false = no memory. */
bool report_begin(struct report *r, const char *name, const char *title);
json_t *report_add_table(struct report *r, const char *name, const char *title, const struct report_column *columns);
json_t *report_add_plot(struct report *r, const char *title, const char *unit, bool is_line);
/** Each takes the value; false = no memory. */
bool report_fact(struct report *r, const char *name, json_t *value);
bool report_point(json_t *points, const char *label, json_t *value);
/** Of a whole; null when there is none. */
json_t *report_percent(long long part, long long whole);

/** As text: a member that is text itself is returned as it is, whatever stands in it. @param buffer  for all others */
const char *report_cell(const json_t *row, const struct report_column *column, char buffer[REPORT_CELL_MAX]);
/** Its name for people. */
const char *report_fact_label(const char *name, char buffer[REPORT_CELL_MAX]);
const char *report_fact_text(const char *name, const json_t *value, char buffer[REPORT_CELL_MAX]);

/** May these options be given together? Complains. @param is_one  one report, of which CSV can be made */
enum cli_exit report_check_form(const struct call *call, bool is_one);
/** To the file or standard output that the options name, in their form. */
enum cli_exit report_show(struct call *call, const struct report *reports, size_t count);
/** report_html.c */
void report_write_html(FILE *out, const struct report *reports, size_t count);

/* The commands. */
enum cli_exit report_rotations(struct call *call);
enum cli_exit report_overdue(struct call *call);
enum cli_exit report_denials(struct call *call);
enum cli_exit report_revocations(struct call *call);
enum cli_exit report_unused(struct call *call);
enum cli_exit report_protection(struct call *call);
enum cli_exit report_all(struct call *call);
enum cli_exit report_cosmos(struct call *call);

#endif
