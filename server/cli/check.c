/* server/cli/check.c - what this installation would notice if somebody tampered with it, and what to do once something was noticed. */
#include <stdio.h>
#include <string.h>

#include "server/cli/command.h"

/* Nothing is judged here: the server says what is so. Exit 1 when a line is bad, so that a monitor needs nothing else. */
enum cli_exit self_check(struct call *call)
{
	JSON_AUTO *answer = NULL;
	const json_t *lines = NULL;
	json_t *line = NULL;
	bool is_bad = false;
	size_t i = 0;
	enum cli_exit code = client_json(call->client, "GET", "/admin/v1/check", NULL, &answer);

	if (code != CLI_OK)
		return code;
	lines = json_object_get(answer, "value");
	if (!json_is_array(lines)) {
		cli_say("the answer is not a list");
		return CLI_FAILED;
	}
	if (call->as_json)
		show_json(answer);
	json_array_foreach(lines, i, line) {
		const char *result = json_string_value(json_object_get(line, "result")), *name = json_string_value(json_object_get(line, "name")),
			   *text = json_string_value(json_object_get(line, "text"));
		char clean_result[16], clean_name[64];
		if (result == NULL || name == NULL || text == NULL) {
			cli_say("a line of the answer is not complete");
			return CLI_FAILED;
		}
		is_bad |= strcmp(result, "good") != 0 && strcmp(result, "warn") != 0;
		if (call->as_json)
			continue;
		(void)printf("%-4s  %-20s  ", cli_clean(result, clean_result, sizeof(clean_result)), cli_clean(name, clean_name, sizeof(clean_name)));
		show_line(text);
	}
	return is_bad ? CLI_USAGE : CLI_OK; /* 1: documented as "something is bad" for this command */
}

/* ---- a log that was rolled back ---- */

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "";
}

/* @param status  of the server */
static void explain(const json_t *status)
{
	char clean[512];

	(void)fprintf(stderr, "The database of this server is not the newest that it had. It says about itself:\n  %s\n",
	              cli_clean(text_of(json_object_get(status, "audit"), "why"), clean, sizeof(clean)));
	(void)fputs("To accept it means that everything after the state in the database is given up, for ever:\n"
	            "  - keys and versions made since then are lost, with all that only they can decrypt;\n"
	            "  - revocations, disables, deletions, role removals and approvals since then are undone: repeat them before you let callers in;\n"
	            "  - what was destroyed in the key device since then stays destroyed, unless the device was set back too: then it is there again;\n"
	            "  - the present log is closed and never signed again; a new one begins, whose first event says what was accepted, and by whom.\n"
	            "If the newest database still exists somewhere, stop the server, put it back and start: then nothing is lost and nothing needs to be accepted.\n"
	            "Keep a copy of the present database and of every export and checkpoint: they are evidence.\n",
	            stderr);
}

static bool confirm(const char *origin)
{
	char typed[256] = "", clean[256];

	(void)fprintf(stderr, "Type the log's origin (%s) to go on: ", cli_clean(origin, clean, sizeof(clean)));
	(void)fflush(stderr);
	if (fgets(typed, sizeof(typed), stdin) == NULL)
		return false;
	typed[strcspn(typed, "\n")] = '\0';
	return origin[0] != '\0' && strcmp(typed, origin) == 0;
}

/* The first run asks the others for their approval, the one after it was given accepts. */
enum cli_exit log_accept_rollback(struct call *call)
{
	JSON_AUTO *status = NULL;
	JSON_AUTO *answer = NULL;
	JSON_AUTO *body = json_pack("{s:s}", "reason", call_value(call, OPT_REASON));
	enum cli_exit code = body != NULL ? client_json(call->client, "GET", "/admin/v1/status", NULL, &status) : cli_no_memory();

	if (code != CLI_OK)
		return code;
	if (!call_has(call, OPT_YES)) {
		explain(status);
		if (!confirm(text_of(status, "log_origin"))) {
			cli_say("not confirmed; nothing was changed");
			return CLI_USAGE;
		}
	}
	code = client_json(call->client, "POST", "/admin/v1/log/accept", body, &answer);
	if (code != CLI_OK)
		return code;
	if (call->as_json)
		show_json(answer);
	else
		show_facts(answer); /* that the server must be restarted is part of the answer */
	return CLI_OK;
}
