/* server/cli/principal.c - principals, how they are known, and groups (docs/access.md). */
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/command.h"

#define CERTIFICATE_BYTES_MAX ((size_t)16 * 1024)

static void warn_of_secret(const struct call *call, enum cli_exit code)
{
	if (code == CLI_OK && !call->as_json)
		(void)fputs("\nThe secret is shown this once; store it now.\n", stderr);
}

/* ---- principals ---- */

enum cli_exit principal_create(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "name", call->arg[1]);
	enum cli_exit code = body != NULL ? cli_add_number(call, OPT_SECRET_DAYS, "secret_days", body) : cli_no_memory();

	if (code == CLI_OK)
		code = cli_ask(call, "POST", cli_scope_path(call, "/principals"), body);
	warn_of_secret(call, code);
	return code;
}

enum cli_exit principal_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" },   { "CLIENT ID", "client_id" },           { "ENABLED", "enabled" },
		{ "ROLES", "roles" }, { "SECRET EXPIRES", "secret_expires" }, { "PSEUDONYM", "pseudonym" }, { NULL, NULL },
	};
	return cli_list(call, cli_scope_path(call, "/principals"), COLUMNS);
}

/* What stands in a path behind a principal's or group's id. */
static enum cli_exit on_principal(struct call *call, const char *method, const char *collection, const char *tail)
{
	JSON_AUTO *owner = NULL;
	const char *id = NULL;
	char *path = NULL, *whole = NULL;
	enum cli_exit code = cli_resolve(call, call->arg[1], &id, &owner);

	if (code != CLI_OK)
		return code;
	path = cli_scope_path(call, "/%s/%s", collection, id);
	if (path == NULL || asprintf(&whole, "%s%s", path, tail) < 0)
		whole = NULL; /* undefined after a failure, asprintf(3) */
	free(path);
	return method[0] == 'G' ? cli_ask(call, method, whole, NULL) : cli_post(call, whole);
}

enum cli_exit principal_show(struct call *call) { return on_principal(call, "GET", "principals", ""); }
enum cli_exit principal_enable(struct call *call) { return on_principal(call, "POST", "principals", "/enable"); }
enum cli_exit principal_disable(struct call *call) { return on_principal(call, "POST", "principals", "/disable"); }
enum cli_exit principal_revoke_tokens(struct call *call) { return on_principal(call, "POST", "principals", "/revoke-tokens"); }

/* ---- credentials ---- */

static enum cli_exit credential_add(struct call *call, const char *kind, const json_t *body)
{
	JSON_AUTO *owner = NULL;
	const char *id = NULL;
	enum cli_exit code = cli_resolve(call, call->arg[1], &id, &owner);

	return code == CLI_OK ? cli_ask(call, "POST", cli_scope_path(call, "/principals/%s/credentials/%s", id, kind), body) : code;
}

static enum cli_exit add_secret(struct call *call, const char *kind)
{
	JSON_AUTO *body = json_pack("{s:s}", "kind", kind);
	enum cli_exit code = CLI_OK;

	if (body == NULL || !cli_add_text(body, "label", call_value(call, OPT_LABEL)))
		return cli_no_memory();
	code = cli_add_number(call, OPT_DAYS, "days", body);
	if (code == CLI_OK)
		code = credential_add(call, "secrets", body);
	warn_of_secret(call, code);
	return code;
}

enum cli_exit credential_add_secret(struct call *call) { return add_secret(call, "secret"); }
enum cli_exit credential_add_header(struct call *call) { return add_secret(call, "header"); }

enum cli_exit credential_add_certificate(struct call *call)
{
	JSON_AUTO *body = json_object();
	size_t len = 0;
	char *pem = cli_read_file(call->arg[2], CERTIFICATE_BYTES_MAX, &len);
	bool done = pem != NULL && body != NULL && cli_add_text(body, "certificate", pem) && cli_add_text(body, "label", call_value(call, OPT_LABEL));
	bool is_read = pem != NULL;

	free(pem);
	if (!is_read)
		return CLI_USAGE;
	return done ? credential_add(call, "certificates", body) : cli_no_memory();
}

enum cli_exit credential_add_identity(struct call *call)
{
	JSON_AUTO *body = json_object();

	if (call->list_count != 1) {
		cli_say("--subject: expected exactly one");
		return CLI_USAGE;
	}
	if (body == NULL || !cli_add_text(body, "issuer", call_value(call, OPT_ISSUER)) || !cli_add_text(body, "subject", call->list[0]))
		return cli_no_memory();
	return credential_add(call, "identities", body);
}

enum cli_exit credential_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "ID", "id" }, { "KIND", "kind" }, { "LABEL", "label" }, { "EXPIRES", "expires" }, { "CREATED", "created" }, { "SHA-256", "sha256" },
		{ NULL, NULL },
	};
	JSON_AUTO *owner = NULL;
	const char *id = NULL;
	enum cli_exit code = cli_resolve(call, call->arg[1], &id, &owner);

	return code == CLI_OK ? cli_list(call, cli_scope_path(call, "/principals/%s/credentials", id), COLUMNS) : code;
}

enum cli_exit credential_remove(struct call *call)
{
	JSON_AUTO *owner = NULL;
	const char *id = NULL;
	enum cli_exit code = cli_resolve(call, call->arg[1], &id, &owner);

	return code == CLI_OK ? cli_ask(call, "DELETE", cli_scope_path(call, "/principals/%s/credentials/%s", id, call->arg[2]), NULL) : code;
}

/* ---- groups ---- */

enum cli_exit group_create(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "name", call->arg[1]);

	return body != NULL ? cli_ask(call, "POST", cli_scope_path(call, "/groups"), body) : cli_no_memory();
}

enum cli_exit group_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" }, { "ID", "id" }, { "ENABLED", "enabled" }, { "ROLES", "roles" }, { NULL, NULL },
	};
	return cli_list(call, cli_scope_path(call, "/groups"), COLUMNS);
}

enum cli_exit group_members(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" }, { "ID", "id" }, { "KIND", "kind" }, { "ENABLED", "enabled" }, { NULL, NULL },
	};
	JSON_AUTO *owner = NULL;
	const char *id = NULL;
	enum cli_exit code = cli_resolve(call, call->arg[1], &id, &owner);

	return code == CLI_OK ? cli_list(call, cli_scope_path(call, "/groups/%s/members", id), COLUMNS) : code;
}

static enum cli_exit group_change(struct call *call, bool add)
{
	JSON_AUTO *group_owner = NULL;
	JSON_AUTO *member_owner = NULL;
	JSON_AUTO *body = NULL;
	const char *group = NULL, *member = NULL;
	enum cli_exit code = cli_resolve(call, call->arg[1], &group, &group_owner);

	if (code == CLI_OK)
		code = cli_resolve(call, call->arg[2], &member, &member_owner);
	if (code != CLI_OK)
		return code;
	if (!add)
		return cli_ask(call, "DELETE", cli_scope_path(call, "/groups/%s/members/%s", group, member), NULL);
	body = json_pack("{s:s}", "member", member);
	return body != NULL ? cli_ask(call, "POST", cli_scope_path(call, "/groups/%s/members", group), body) : cli_no_memory();
}

enum cli_exit group_add(struct call *call) { return group_change(call, true); }
enum cli_exit group_remove(struct call *call) { return group_change(call, false); }
