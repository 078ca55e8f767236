/* server/cli/access.c - roles at every scope, roles of one's own, and why somebody may do something (docs/access.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/base/encode.h"
#include "server/base/err.h"
#include "server/cli/command.h"

/* ---- assignments ---- */

static enum cli_exit role_change(struct call *call, const char *what)
{
	JSON_AUTO *owner = NULL;
	JSON_AUTO *body = NULL;
	const char *id = NULL;
	enum cli_exit code = cli_resolve(call, call->arg[1], &id, &owner);

	if (code != CLI_OK)
		return code;
	body = json_pack("{s:s, s:s}", "principal", id, "role", call->arg[2]);
	if (body == NULL || !cli_add_text(body, "key", call_value(call, OPT_KEY)) || !cli_add_text(body, "reason", call_value(call, OPT_REASON)))
		return cli_no_memory();
	/* Roles of the installation's own principals have no other scope. */
	if (call_has(call, OPT_INSTALLATION) && !cli_is_installation(call) && !cli_add_text(body, "scope", "installation"))
		return cli_no_memory();
	code = cli_add_time(call, OPT_UNTIL, "until", body);
	return code == CLI_OK ? cli_ask(call, "POST", cli_scope_path(call, "/roles/%s", what), body) : code;
}

enum cli_exit role_grant(struct call *call) { return role_change(call, "grant"); }
enum cli_exit role_remove(struct call *call) { return role_change(call, "remove"); }

/* ---- definitions ---- */

enum cli_exit role_define(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "name", call->arg[1]);
	enum cli_exit code = body != NULL ? cli_add_list(call, "actions", body) : cli_no_memory();

	return code == CLI_OK ? cli_ask(call, "POST", cli_scope_path(call, "/roledefinitions"), body) : code;
}

enum cli_exit role_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" }, { "DISPLAY NAME", "display_name" }, { "ID", "id" }, { "CUSTOM", "custom" }, { NULL, NULL },
	};
	return cli_list(call, cli_scope_path(call, "/roledefinitions"), COLUMNS);
}

/* The id of one of the vault's own roles, by its name. */
static enum cli_exit find_role(struct call *call, const char *name, json_t **ret_role)
{
	JSON_AUTO *rows = NULL;
	json_t *row = NULL;
	size_t i = 0;
	enum cli_exit code = cli_fetch_list(call, cli_scope_path(call, "/roledefinitions"), &rows);

	if (code != CLI_OK)
		return code;
	json_array_foreach(rows, i, row) {
		const char *text = json_string_value(json_object_get(row, "name"));
		if (text != NULL && strcasecmp(text, name) == 0 && json_is_string(json_object_get(row, "id"))) {
			*ret_role = json_incref(row);
			return CLI_OK;
		}
	}
	cli_say("%s: there is no role of this name in %s", name, call->arg[0]);
	return CLI_USAGE;
}

enum cli_exit role_drop(struct call *call)
{
	JSON_AUTO *role = NULL;
	uint8_t id[GUID_LEN];
	enum cli_exit code = CLI_OK;

	if (guid_parse(call->arg[1], strlen(call->arg[1]), id))
		return cli_ask(call, "DELETE", cli_scope_path(call, "/roledefinitions/%s", call->arg[1]), NULL);
	code = find_role(call, call->arg[1], &role);
	if (code != CLI_OK)
		return code;
	return cli_ask(call, "DELETE", cli_scope_path(call, "/roledefinitions/%s", json_string_value(json_object_get(role, "id"))), NULL);
}

/* ---- why ---- */

static void show_explanation(const json_t *answer)
{
	static const struct show_column GRANTS[] = {
		{ "ALLOWS", "allows" }, { "ROLE", "role" },   { "SCOPE", "scope" }, { "KEY", "key" },
		{ "GROUP", "group.name" }, { "UNTIL", "until" }, { "ENDED", "ended" }, { NULL, NULL },
	};
	static const struct show_column ROLES[] = { { "WOULD ALLOW IT", "role" }, { "SCOPE", "scope" }, { NULL, NULL } };
	const json_t *grants = json_object_get(answer, "grants"), *roles = json_object_get(answer, "would_allow");
	const char *text = json_string_value(json_object_get(answer, "reason"));
	char reason[512] = "";

	(void)printf("%s: %s\n", json_is_true(json_object_get(answer, "allowed")) ? "allowed" : "not allowed",
	             cli_clean(text != NULL ? text : "", reason, sizeof(reason)));
	if (json_array_size(grants) > 0) {
		(void)putchar('\n');
		show_table(grants, GRANTS);
	}
	if (json_array_size(roles) > 0) {
		(void)putchar('\n');
		show_table(roles, ROLES);
	}
}

enum cli_exit access_explain(struct call *call)
{
	JSON_AUTO *owner = NULL;
	JSON_AUTO *answer = NULL;
	const char *id = NULL;
	char *path = NULL;
	enum cli_exit code = CLI_OK;

	if (call->list_count != 1) {
		cli_say("--action: expected exactly one");
		return CLI_USAGE;
	}
	code = cli_resolve(call, call_value(call, OPT_PRINCIPAL), &id, &owner);
	if (code != CLI_OK)
		return code;
	path = call_has(call, OPT_KEY) ? cli_scope_path(call, "/access/explain?principal=%s&action=%s&key=%s", id, call->list[0],
	                                                call_value(call, OPT_KEY))
	                               : cli_scope_path(call, "/access/explain?principal=%s&action=%s", id, call->list[0]);
	code = client_json(call->client, "GET", path, NULL, &answer);
	free(path);
	if (code != CLI_OK)
		return code;
	if (call->as_json)
		show_json(answer);
	else
		show_explanation(answer);
	return CLI_OK;
}
