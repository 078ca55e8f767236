/* server/cli/person.c - records of persons: listed, shown with a reason, erased (docs/personal-data.md). */
#include <stdio.h>
#include <string.h>

#include "server/cli/command.h"

enum cli_exit person_list(struct call *call)
{
	static const struct show_column COLUMNS[] = { { "RECORD", "ref" }, { "PRINCIPAL", "principal" }, { "CREATED", "created" }, { NULL, NULL } };
	const char *whose = NULL;
	JSON_AUTO *owner = NULL;
	enum cli_exit code = CLI_OK;

	if (!call_has(call, OPT_PRINCIPAL))
		return cli_list(call, client_path(call->client, "/admin/v1/vaults/%s/persons", call->arg[0]), COLUMNS);
	code = cli_resolve_pseudonym(call, call_value(call, OPT_PRINCIPAL), &whose, &owner);
	if (code != CLI_OK)
		return code;
	return cli_list(call, client_path(call->client, "/admin/v1/vaults/%s/persons?principal=%s", call->arg[0], whose), COLUMNS);
}

/* Each look is an event that names the reason. */
enum cli_exit person_show(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "reason", call_value(call, OPT_REASON));
	enum cli_exit code = body != NULL ? cli_add_number(call, OPT_LEAF, "leaf", body) : cli_no_memory();

	return code == CLI_OK ? cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/persons/%s/show", call->arg[0], call->arg[1]), body) : code;
}

/* A number is that of one record; anything else says whose. */
enum cli_exit person_erase(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "basis", call_value(call, OPT_BASIS));
	JSON_AUTO *owner = NULL;
	const char *whose = NULL;
	long long ref = 0;
	bool is_ref = cli_parse_number(call->arg[1], 1, INT64_MAX, &ref);
	enum cli_exit code = is_ref ? CLI_OK : cli_resolve_pseudonym(call, call->arg[1], &whose, &owner);
	json_t *what = NULL;

	if (code != CLI_OK)
		return code;
	what = is_ref ? json_integer(ref) : json_string(whose);
	if (body == NULL || json_object_set_new(body, is_ref ? "ref" : "principal", what) != 0)
		return cli_no_memory();
	return cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/persons/erase", call->arg[0]), body);
}
