/* server/cli/show.h - answers for people: tables, lists of facts, lines of the event log. Nothing printed can steer a terminal. */
#ifndef HOLDFAST_CLI_SHOW_H
#define HOLDFAST_CLI_SHOW_H

#include <jansson.h>

/** One row an object; columns end with a NULL title. A member is found by its name, a nested one by "outer.inner". */
struct show_column {
	const char *title, *member;
};
void show_table(const json_t *rows, const struct show_column *columns);
/** One member a line, nested ones as outer.inner. */
void show_facts(const json_t *object);
/** One leaf of the event log in one line. */
void show_leaf(const json_t *leaf);
void show_leaf_titles(void);
/** Its error, and what tells it from others of its type, as the last column of show_leaf() has them. Owned by the caller; NULL without memory. */
char *show_why(const json_t *leaf);
/** Seconds since 1970 as UTC; "-" when it is none. Returns ret_text. */
#define SHOW_TIME_MAX 32
const char *show_time(const json_t *value, char ret_text[SHOW_TIME_MAX]);
/** One line of text, as long as it is, but for what could steer a terminal. */
void show_line(const char *text);
/** As JSON: compact in one line. */
void show_json(const json_t *value);

#endif
