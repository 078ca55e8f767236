/* server/cli/backup.c - backups of the whole server, and the epochs that all backups end with. The work is the server's: it goes on whether anybody waits or not. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/cli/command.h"

#define BACKUPS "/admin/v1/backups"
#define EPOCHS "/admin/v1/backups/epochs"
#define POLL_MS 500

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "";
}

static long long number_of(const json_t *object, const char *name) { return json_integer_value(json_object_get(object, name)); }

/* ---- progress ---- */

static void rest(void)
{
	struct timespec left = { .tv_nsec = POLL_MS * 1000000L };

	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

/* On a terminal one line that changes; elsewhere nothing is told but the end. */
static void show_progress(const json_t *task)
{
	long long done = number_of(task, "done"), total = number_of(task, "total");
	char clean[32];

	if (!isatty(STDERR_FILENO))
		return;
	(void)fprintf(stderr, "\r%-10s ", cli_clean(text_of(task, "state"), clean, sizeof(clean)));
	if (total > 0)
		(void)fprintf(stderr, "%3lld %%  ", done < total ? done * 100 / total : 100);
	else
		(void)fputs("       ", stderr);
	(void)fflush(stderr);
}

static bool has_ended(const json_t *task) { return strcmp(text_of(task, "state"), "done") == 0 || strcmp(text_of(task, "state"), "failed") == 0; }

/* *task: as it was last seen; replaced. */
static enum cli_exit wait_for(struct call *call, json_t **task)
{
	TEXT_AUTO *id = strdup(text_of(*task, "id"));
	enum cli_exit code = CLI_OK;

	if (id == NULL)
		return cli_no_memory();
	while (!has_ended(*task)) {
		JSON_AUTO *list = NULL;
		json_t *now = NULL;

		show_progress(*task);
		rest();
		code = client_json(call->client, "GET", BACKUPS, NULL, &list);
		if (code != CLI_OK)
			return code;
		now = json_object_get(list, "task");
		if (now == NULL || strcmp(text_of(now, "id"), id) != 0) {
			cli_say("the server was restarted, or does something else by now; see holdfast backup list");
			return CLI_FAILED;
		}
		json_decref(*task);
		*task = json_incref(now);
	}
	if (isatty(STDERR_FILENO))
		(void)fputs("\r                    \r", stderr);
	return CLI_OK;
}

static enum cli_exit show(const struct call *call, const json_t *object)
{
	if (call->as_json)
		show_json(object);
	else
		show_facts(object);
	return CLI_OK;
}

/* @param path  taken */
static enum cli_exit ask(struct call *call, char *path, bool waits, json_t **ret_task)
{
	JSON_AUTO *task = NULL;
	JSON_AUTO *nothing = json_object();
	enum cli_exit code = path != NULL && nothing != NULL ? client_json(call->client, "POST", path, nothing, &task) : cli_no_memory();

	free(path);
	if (code == CLI_OK && waits)
		code = wait_for(call, &task);
	if (code == CLI_OK)
		*ret_task = json_incref(task);
	return code;
}

static enum cli_exit tell_failure(const struct call *call, const json_t *task)
{
	char clean[512];

	if (call->as_json)
		show_json(task);
	cli_say("%s", cli_clean(text_of(task, "failure"), clean, sizeof(clean)));
	return CLI_FAILED;
}

/* ---- backups ---- */

enum cli_exit backup_create(struct call *call)
{
	JSON_AUTO *task = NULL;
	enum cli_exit code = ask(call, client_path(call->client, BACKUPS), call_has(call, OPT_WAIT), &task);

	if (code != CLI_OK)
		return code;
	return strcmp(text_of(task, "state"), "failed") == 0 ? tell_failure(call, task) : show(call, task);
}

/* Exit 1 when there is a version that cannot be loaded, so that a script needs nothing else. */
enum cli_exit backup_verify(struct call *call)
{
	JSON_AUTO *task = NULL;
	const json_t *report = NULL;
	enum cli_exit code = ask(call, client_path(call->client, BACKUPS "/%s/verify", call->arg[0]), true, &task);

	if (code != CLI_OK)
		return code;
	if (strcmp(text_of(task, "state"), "failed") == 0)
		return tell_failure(call, task);
	report = json_object_get(task, "report");
	if (call->as_json)
		show_json(task);
	else
		show_facts(report);
	if (number_of(report, "failed") == 0)
		return CLI_OK;
	cli_say("%lld of %lld versions could not be loaded", number_of(report, "failed"), number_of(report, "versions"));
	return CLI_USAGE;
}

static int newest_first(const void *a, const void *b)
{
	long long x = number_of(*(json_t *const *)a, "made"), y = number_of(*(json_t *const *)b, "made");
	return (x < y) - (x > y);
}

/* The server lists them by id, so that pages follow each other; who restores in haste takes the first. @return NULL without memory; else owned by the caller */
static json_t *sort_backups(const json_t *rows)
{
	size_t count = json_array_size(rows);
	json_t **all = calloc(count + 1, sizeof(json_t *)), *sorted = json_array(); /* all: borrowed */
	bool is_whole = all != NULL && sorted != NULL;

	for (size_t i = 0; is_whole && i < count; i++)
		all[i] = json_array_get(rows, i);
	if (is_whole)
		qsort(all, count, sizeof(json_t *), newest_first);
	for (size_t i = 0; is_whole && i < count; i++)
		is_whole = json_array_append(sorted, all[i]) == 0;
	free(all);
	if (is_whole)
		return sorted;
	json_decref(sorted);
	return NULL;
}

/* @param ret  {"value":[…],"task":{…}}; without a task when there was none since the start */
static enum cli_exit fetch_backups(struct call *call, json_t **ret)
{
	JSON_AUTO *rows = NULL;
	JSON_AUTO *answer = NULL;
	JSON_AUTO *whole = json_object();
	enum cli_exit code = cli_fetch_list(call, client_path(call->client, BACKUPS), &rows);

	if (code == CLI_OK)
		code = client_json(call->client, "GET", BACKUPS, NULL, &answer);
	if (code != CLI_OK)
		return code;
	if (whole == NULL || json_object_set_new(whole, "value", sort_backups(rows)) != 0 ||
	    (json_object_get(answer, "task") != NULL && json_object_set(whole, "task", json_object_get(answer, "task")) != 0))
		return cli_no_memory();
	*ret = json_incref(whole);
	return CLI_OK;
}

enum cli_exit backup_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "MADE", "made" }, { "ID", "id" }, { "STATE", "state" }, { "EPOCH", "epoch" }, { "UNTIL", "until" }, { "EVENTS", "size" }, { "BYTES", "bytes" }, { "FILE", "file" }, { NULL, NULL },
	};
	JSON_AUTO *all = NULL;
	enum cli_exit code = fetch_backups(call, &all);

	if (code != CLI_OK)
		return code;
	if (call->as_json) {
		show_json(all);
		return CLI_OK;
	}
	show_table(json_object_get(all, "value"), COLUMNS);
	if (json_object_get(all, "task") == NULL)
		return CLI_OK;
	(void)puts("\nThe newest task since the server was started:");
	show_facts(json_object_get(all, "task"));
	return CLI_OK;
}

/* ---- epochs ---- */

enum cli_exit backup_epochs(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NUMBER", "number" }, { "STATE", "state" }, { "CREATED", "created" }, { "CLOSED", "closed" }, { "UNTIL", "until" }, { "ENDED", "ended" }, { NULL, NULL },
	};
	return cli_list(call, client_path(call->client, EPOCHS), COLUMNS);
}

enum cli_exit backup_new_epoch(struct call *call) { return cli_post(call, client_path(call->client, EPOCHS)); }

/* The first run asks the others for their approval, the one after it was given ends it. */
enum cli_exit backup_end_epoch(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "reason", call_value(call, OPT_REASON));

	return body != NULL ? cli_ask(call, "POST", client_path(call->client, EPOCHS "/%s/end", call->arg[0]), body) : cli_no_memory();
}
