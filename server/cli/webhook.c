/* server/cli/webhook.c - where a vault's events are sent, and what could not be delivered (docs/webhooks.md). */
#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/cli/command.h"

#define URL_MAX 512

/* An address may hold a token of the receiver, which belongs into no list of processes: "-" reads it from standard input. */
static bool read_url(const char *arg, char ret[URL_MAX + 2])
{
	size_t len = 0;

	if (strcmp(arg, "-") != 0) {
		(void)snprintf(ret, URL_MAX + 2, "%s", arg); /* one too long stays too long: the server says so */
		return true;
	}
	if (fgets(ret, URL_MAX + 2, stdin) == NULL) {
		cli_say("the address was not found on standard input");
		return false;
	}
	len = strcspn(ret, "\r\n");
	ret[len] = '\0';
	return true;
}

static void warn_of_secret(const struct call *call, enum cli_exit code)
{
	if (code == CLI_OK && !call->as_json)
		(void)fputs("\nThe secret is shown this once; store it now.\n", stderr);
}

enum cli_exit webhook_create(struct call *call)
{
	char url[URL_MAX + 2];
	JSON_AUTO *body = NULL;
	enum cli_exit code;

	if (!read_url(call->arg[2], url))
		return CLI_USAGE;
	body = json_pack("{s:s, s:s}", "name", call->arg[1], "url", url);
	if (body == NULL || !cli_add_text(body, "shape", call_value(call, OPT_SHAPE)))
		return cli_no_memory();
	code = cli_add_list(call, "events", body);
	if (code == CLI_OK)
		code = cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/webhooks", call->arg[0]), body);
	warn_of_secret(call, code);
	return code;
}

enum cli_exit webhook_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" }, { "ID", "id" }, { "STATE", "state" }, { "SHAPE", "shape" }, { "WAITING", "waiting" }, { "DEAD", "dead_letters" }, { "URL", "url" },
		{ "FAILURE", "failure" }, { NULL, NULL },
	};
	return cli_list(call, client_path(call->client, "/admin/v1/vaults/%s/webhooks", call->arg[0]), COLUMNS);
}

static char *path_of(struct call *call, const char *what)
{
	char fmt[64];

	(void)snprintf(fmt, sizeof(fmt), "/admin/v1/vaults/%%s/webhooks/%%s%s", what);
	return client_path(call->client, fmt, call->arg[0], call->arg[1]);
}

enum cli_exit webhook_show(struct call *call) { return cli_ask(call, "GET", path_of(call, ""), NULL); }
enum cli_exit webhook_delete(struct call *call) { return cli_ask(call, "DELETE", path_of(call, ""), NULL); }
enum cli_exit webhook_validate(struct call *call) { return cli_post(call, path_of(call, "/validate")); }

enum cli_exit webhook_new_secret(struct call *call)
{
	enum cli_exit code = cli_post(call, path_of(call, "/secret"));

	warn_of_secret(call, code);
	return code;
}

enum cli_exit webhook_dead_letters(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "TIME", "time" }, { "EVENT", "event" }, { "TYPE", "type" }, { "KEY", "key" }, { "ATTEMPTS", "attempts" }, { "FAILURE", "failure" }, { NULL, NULL },
	};
	return cli_list(call, path_of(call, "/deadletters"), COLUMNS);
}

/* The server settles a hundred at a time; one that is named alone. */
static enum cli_exit settle(struct call *call, const char *what, const char *counted)
{
	TEXT_AUTO *path = path_of(call, what);
	JSON_AUTO *body = json_object();
	JSON_AUTO *total = NULL;
	json_int_t count = 0, left = 0, now = 0;

	if (call_has(call, OPT_ID) && strlen(call_value(call, OPT_ID)) != GUID_TEXT_LEN) {
		cli_say("--id %s: expected the id of an event, as holdfast webhook dead-letters %s %s shows them", call_value(call, OPT_ID), call->arg[0], call->arg[1]);
		return CLI_USAGE;
	}
	if (path == NULL || body == NULL || !cli_add_text(body, "event", call_value(call, OPT_ID)))
		return cli_no_memory();
	do {
		JSON_AUTO *answer = NULL;
		enum cli_exit code = client_json(call->client, "POST", path, body, &answer);
		if (code != CLI_OK)
			return code;
		now = json_integer_value(json_object_get(answer, counted));
		left = json_integer_value(json_object_get(answer, "left"));
		count += now;
	} while (left > 0 && now > 0 && !call_has(call, OPT_ID));
	total = json_pack("{s:I, s:I}", counted, count, "left", left);
	if (total == NULL)
		return cli_no_memory();
	if (call->as_json)
		show_json(total);
	else
		show_facts(total);
	return CLI_OK;
}

enum cli_exit webhook_retry(struct call *call) { return settle(call, "/deadletters/retry", "retried"); }
enum cli_exit webhook_drop(struct call *call) { return settle(call, "/deadletters/drop", "dropped"); }
