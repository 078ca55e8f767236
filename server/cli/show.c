/* server/cli/show.c - rendering for people. */
#include "server/cli/show.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/err.h"
#include "server/cli/client.h"

#define CELL_MAX 160
#define COLUMNS_MAX 12
#define DETAILS_MAX (8 * (CELL_MAX + 2) + 4) /* eight members with what is between them: cells are cut before */
#define ID_SHOWN 8 /* characters of a version or pseudonym in a log line: enough to tell them apart by eye */

static const json_t *find(const json_t *object, const char *member)
{
	size_t first = strcspn(member, ".");
	char outer[32] = "";
	if (member[first] == '\0')
		return json_object_get(object, member);
	(void)snprintf(outer, sizeof(outer), "%.*s", (int)first, member);
	return json_object_get(json_object_get(object, outer), member + first + 1);
}

/* Members that hold seconds since 1970. */
static bool is_time(const char *member)
{
	static const char *const TIMES[] = { "created", "updated", "signed", "pinned", "cosigned", "closed", "ended", "issued", "restored", "secret_expires", "retired", "last_used", "expires", "until", "tokens_from", "settled", "made" };
	for (size_t i = 0; i < KMS_ARRAY_LEN(TIMES); i++)
		if (strcmp(member, TIMES[i]) == 0)
			return true;
	return false;
}

static void render(const char *member, const json_t *value, char ret[CELL_MAX]);

static const char *member_of(const json_t *object, const char *name, char ret[CELL_MAX])
{
	ret[0] = '\0';
	if (json_object_get(object, name) != NULL)
		render(name, json_object_get(object, name), ret);
	return ret;
}

/* Append as much as fits. */
static void append(char text[CELL_MAX], const char *more)
{
	size_t used = strlen(text), room = CELL_MAX - 1 - used, len = strnlen(more, room);

	memcpy(text + used, more, len);
	text[used + len] = '\0';
}

/* "crypto-user (key k1, until 2026-12-31T00:00:00Z)" */
static void render_role(const json_t *role, char ret[CELL_MAX])
{
	char scope[CELL_MAX], key[CELL_MAX], until[CELL_MAX];
	bool is_whole = strcmp(member_of(role, "scope", scope), "vault") == 0, ends = member_of(role, "until", until)[0] != '\0';

	(void)member_of(role, "role", ret);
	if (is_whole && !ends)
		return;
	append(ret, " (");
	if (!is_whole) {
		append(ret, scope);
		append(ret, member_of(role, "key", key)[0] != '\0' ? " " : "");
		append(ret, key);
	}
	if (ends) {
		append(ret, is_whole ? "" : ", ");
		append(ret, json_is_true(json_object_get(role, "ended")) ? "ended " : "until ");
		append(ret, until);
	}
	append(ret, ")");
}

/* "secret b2a7… until 2026-12-31T00:00:00Z label" */
static void render_credential(const json_t *credential, char ret[CELL_MAX])
{
	char one[CELL_MAX];

	(void)member_of(credential, "kind", ret);
	append(ret, " ");
	append(ret, member_of(credential, "id", one));
	if (member_of(credential, "expires", one)[0] != '\0') {
		append(ret, " until ");
		append(ret, one);
	}
	append(ret, " ");
	append(ret, member_of(credential, "label", one));
}

/* "Jf3k… at 2026-11-22T06:00:00.000000Z by certificate 1a2b3c4d": one of a leaf's `appr` */
static void render_approver(const json_t *approver, char ret[CELL_MAX])
{
	char one[CELL_MAX];

	(void)member_of(approver, "pid", ret);
	append(ret, " at ");
	append(ret, member_of(approver, "at", one));
	append(ret, " by ");
	append(ret, member_of(approver, "cred", one));
	append(ret, json_object_get(approver, "kid") != NULL ? " " : "");
	append(ret, member_of(approver, "kid", one));
}

static void render_item(const json_t *item, char ret[CELL_MAX])
{
	if (json_object_get(item, "role") != NULL)
		render_role(item, ret);
	else if (json_object_get(item, "pid") != NULL)
		render_approver(item, ret);
	else if (json_object_get(item, "kind") != NULL)
		render_credential(item, ret);
	else if (json_object_get(item, "subject") != NULL) /* of a root */
		(void)member_of(item, "subject", ret);
	else if (json_object_get(item, "name") != NULL)
		(void)member_of(item, "name", ret);
	else
		render("", item, ret);
}

static void render_list(const json_t *list, char ret[CELL_MAX])
{
	size_t used = 0, i = 0;
	json_t *item = NULL;

	ret[0] = '\0';
	json_array_foreach(list, i, item) {
		char one[CELL_MAX] = "";
		render_item(item, one);
		used += (size_t)snprintf(ret + used, CELL_MAX - used, "%s%s", i == 0 ? "" : ", ", one);
		if (used >= CELL_MAX)
			return;
	}
	if (i == 0)
		(void)snprintf(ret, CELL_MAX, "-");
}

const char *show_time(const json_t *value, char ret_text[SHOW_TIME_MAX])
{
	time_t at = (time_t)json_integer_value(value);
	struct tm tm = { 0 };

	if (!json_is_integer(value) || gmtime_r(&at, &tm) == NULL || strftime(ret_text, SHOW_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)snprintf(ret_text, SHOW_TIME_MAX, "-");
	return ret_text;
}

static void render(const char *member, const json_t *value, char ret[CELL_MAX])
{
	(void)snprintf(ret, CELL_MAX, "-");
	switch (value == NULL ? JSON_NULL : json_typeof(value)) {
	case JSON_STRING:
		if (json_string_length(value) > 0)
			(void)cli_clean(json_string_value(value), ret, CELL_MAX);
		break;
	case JSON_INTEGER:
		if (is_time(member))
			(void)show_time(value, ret);
		else
			(void)snprintf(ret, CELL_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		break;
	case JSON_REAL: (void)snprintf(ret, CELL_MAX, "%g", json_real_value(value)); break;
	case JSON_TRUE: (void)snprintf(ret, CELL_MAX, "yes"); break;
	case JSON_FALSE: (void)snprintf(ret, CELL_MAX, "no"); break;
	case JSON_ARRAY: render_list(value, ret); break;
	case JSON_OBJECT:
	case JSON_NULL: break;
	}
}

void show_table(const json_t *rows, const struct show_column *columns)
{
	int width[COLUMNS_MAX] = { 0 };
	char cell[CELL_MAX] = "";
	size_t i = 0, n = 0;
	json_t *row = NULL;

	for (n = 0; n < COLUMNS_MAX && columns[n].title != NULL; n++) {
		width[n] = (int)strlen(columns[n].title);
		json_array_foreach(rows, i, row) {
			render(columns[n].member, find(row, columns[n].member), cell);
			if ((int)strlen(cell) > width[n])
				width[n] = (int)strlen(cell);
		}
	}
	for (size_t k = 0; k < n; k++)
		(void)printf("%-*s%s", k + 1 < n ? width[k] : 0, columns[k].title, k + 1 < n ? "  " : "\n");
	json_array_foreach(rows, i, row) {
		for (size_t k = 0; k < n; k++) {
			render(columns[k].member, find(row, columns[k].member), cell);
			(void)printf("%-*s%s", k + 1 < n ? width[k] : 0, cell, k + 1 < n ? "  " : "\n");
		}
	}
}

/* One line for each, so that none is cut. */
static void list(const char *name, const json_t *array)
{
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *item = json_array_get(array, i);
		char cell[CELL_MAX] = "", sha256[CELL_MAX] = "", expires[CELL_MAX] = "";
		render_item(item, cell);
		render("", json_object_get(item, "sha256"), sha256);
		render("expires", json_object_get(item, "expires"), expires);
		(void)printf("%-20s %s\n", i == 0 ? name : "", cell);
		if (json_object_get(item, "sha256") != NULL)
			(void)printf("%-20s   sha256 %s, expires %s\n", "", sha256, expires);
	}
}

/* `outer` is empty or ends with a dot. */
static void facts(const char *outer, const json_t *object)
{
	const char *name = NULL;
	json_t *value = NULL;
	/* jansson's macro takes the object without const, though it only reads. */
	for (void *it = json_object_iter((json_t *)(uintptr_t)object); it != NULL; it = json_object_iter_next((json_t *)(uintptr_t)object, it)) {
		char full[CELL_MAX] = "", clean[CELL_MAX] = "", cell[CELL_MAX] = "";
		name = json_object_iter_key(it);
		value = json_object_iter_value(it);
		(void)snprintf(full, sizeof(full), "%s%s%s", outer, cli_clean(name, clean, sizeof(clean)), json_is_object(value) ? "." : "");
		if (json_is_object(value)) {
			facts(full, value);
			continue;
		}
		if (json_array_size(value) > 1 || json_is_object(json_array_get(value, 0))) {
			list(full, value);
			continue;
		}
		if (json_string_length(value) >= CELL_MAX) { /* whole: here is room for it */
			(void)printf("%-20s ", full);
			show_line(json_string_value(value));
			continue;
		}
		render(name, value, cell);
		(void)printf("%-20s %s\n", full, cell);
	}
}

void show_facts(const json_t *object) { facts("", object); }

void show_leaf_titles(void)
{
	(void)printf("%8s  %-27s  %-20s  %-8s  %-24s  %-32s  %s\n", "SEQ", "TIME", "TYPE", "RESULT", "ACTOR", "KEY", "ERROR (DETAIL)");
}

static const char *text_of(const json_t *leaf, const char *member, char cell[CELL_MAX])
{
	render("", find(leaf, member), cell);
	return cell;
}

/* What tells one event from another of its type: why a certificate was refused and whose it was, the external key, the administrator's act, what was read, what an alert
 * is about, which export failed. */
static const char *details_of(const json_t *leaf, char ret[DETAILS_MAX])
{
	static const char *const MEMBERS[] = { "det.why", "det.rule", "det.kind", "det.subject", "det.external_id", "det.act", "det.what", "det.export" };
	char one[CELL_MAX] = "";
	size_t used = 0;

	_Static_assert(KMS_ARRAY_LEN(MEMBERS) <= 8, "so many have room");
	ret[0] = '\0';
	for (size_t i = 0; i < KMS_ARRAY_LEN(MEMBERS); i++)
		if (json_is_string(find(leaf, MEMBERS[i])))
			used += (size_t)snprintf(ret + used, DETAILS_MAX - used, "%s%s", used == 0 ? " (" : ", ", text_of(leaf, MEMBERS[i], one));
	if (used > 0)
		(void)snprintf(ret + used, DETAILS_MAX - used, ")");
	return ret;
}

char *show_why(const json_t *leaf)
{
	char err[CELL_MAX] = "", details[DETAILS_MAX] = "", *text = NULL;

	if (asprintf(&text, "%s%s", text_of(leaf, "err", err), details_of(leaf, details)) < 0)
		return NULL; /* undefined after a failure, asprintf(3) */
	return text;
}

void show_leaf(const json_t *leaf)
{
	char time[CELL_MAX] = "", type[CELL_MAX] = "", result[CELL_MAX] = "", kind[CELL_MAX] = "", pid[CELL_MAX] = "", name[CELL_MAX] = "",
	     version[CELL_MAX] = "", err[CELL_MAX] = "", actor[2 * CELL_MAX] = "", key[2 * CELL_MAX] = "", kind_of_event[2 * CELL_MAX] = "",
	     details[DETAILS_MAX] = "";
	long long seq = json_integer_value(json_object_get(leaf, "seq"));

	if (json_object_get(leaf, "type") == NULL) {
		(void)printf("%8lld  (not visible to you)\n", seq);
		return;
	}
	(void)text_of(leaf, "phase", result);
	(void)snprintf(kind_of_event, sizeof(kind_of_event), "%s%s", text_of(leaf, "type", type), strcmp(result, "intent") == 0 ? "?" : "");
	(void)text_of(leaf, "actor.pid", pid);
	(void)snprintf(actor, sizeof(actor), "%s %.*s", text_of(leaf, "actor.kind", kind), ID_SHOWN, strcmp(pid, "-") == 0 ? "" : pid);
	(void)text_of(leaf, "key.ver", version);
	(void)snprintf(key, sizeof(key), "%s%s%.*s", text_of(leaf, "key.name", name), strcmp(version, "-") == 0 ? "" : "/", ID_SHOWN,
	               strcmp(version, "-") == 0 ? "" : version);
	(void)printf("%8lld  %-27s  %-20s  %-8s  %-24s  %-32s  %s%s\n", seq, text_of(leaf, "ts", time), kind_of_event,
	             text_of(leaf, "result", result), actor, key, text_of(leaf, "err", err), details_of(leaf, details));
}

void show_line(const char *text)
{
	size_t cap = strlen(text) + 1;
	char *clean = malloc(cap);

	(void)puts(clean != NULL ? cli_clean(text, clean, cap) : "(not enough memory)");
	free(clean);
}

void show_json(const json_t *value)
{
	(void)json_dumpf(value, stdout, JSON_COMPACT);
	(void)putchar('\n');
}
