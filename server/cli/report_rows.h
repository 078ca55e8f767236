/* server/cli/report_rows.h - rows as the server gives them: asked for page by page, added up, sorted, counted. */
#ifndef HOLDFAST_CLI_REPORT_ROWS_H
#define HOLDFAST_CLI_REPORT_ROWS_H

#include "server/cli/report.h"

#define ROWS_KEY_CAP 512 /* of what a row is found by */

/** The query of a report, from the options. Each report gets its own alone. @param takes  BIT() of OPT_FROM (with OPT_TO and OPT_QUARTER), OPT_DAYS, OPT_MAX_AGE
 *  @param ret  owned by the caller */
enum cli_exit rows_query(const struct call *call, option_set takes, json_t **ret);
/** All rows of a report. @param query  what rows_query() made; `after` is put into it @param each  false = no memory */
enum cli_exit rows_each(struct call *call, const char *name, json_t *query, bool (*each)(void *arg, const json_t *row), void *arg);

/* Rows of several pages that are about the same become one. */
struct row_sums {
	json_t *rows;  /* borrowed: of a table */
	json_t *index; /* what it is about -> its row; owned */
};
static inline void row_sums_clear(struct row_sums *s) { json_decref(s->index); }
#define ROW_SUMS_AUTO __attribute__((cleanup(row_sums_clear))) struct row_sums

/** "" when it is no text. */
const char *rows_text(const json_t *row, const char *member);
json_int_t rows_number(const json_t *row, const char *member);
/** The row that is about the same. @param members  up to three that say what it is about @return borrowed; a copy of `row` when it is the first, then *ret_is_new; NULL = no memory */
json_t *rows_like(struct row_sums *s, const json_t *row, const char *const members[3], bool *ret_is_new);
bool rows_add(json_t *row, const char *member, json_int_t more);
/** Count by a label, for a plot; the points keep the order in which they came. */
bool rows_count_point(json_t *points, const char *label, json_int_t more);
/** For qsort() of json_t *: the greatest `value` first; by `label`. */
int rows_by_value(const void *a, const void *b);
int rows_by_label(const void *a, const void *b);
bool rows_sort(json_t *rows, int (*order)(const void *a, const void *b));

#endif
