/* server/cli/vault.c - vaults and their policy, revocation of keys, the server's state. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "server/base/encode.h"
#include "server/cli/command.h"

static bool add_flags(const struct call *call, json_t *body)
{
	return (!call_has(call, OPT_PURGE_PROTECTION) || json_object_set_new(body, "purge_protection", json_true()) == 0) &&
	       (!call_has(call, OPT_NO_PURGE_PROTECTION) || json_object_set_new(body, "purge_protection", json_false()) == 0) &&
	       (!call_has(call, OPT_ALLOW_RSA1_5) || json_object_set_new(body, "allow_rsa1_5", json_true()) == 0) &&
	       (!call_has(call, OPT_NO_RSA1_5) || json_object_set_new(body, "allow_rsa1_5", json_false()) == 0);
}

/* What both making and changing a vault may say. */
static enum cli_exit add_policy(const struct call *call, json_t *body)
{
	enum cli_exit code = cli_add_number(call, OPT_RETENTION_DAYS, "retention_days", body);

	if (code == CLI_OK)
		code = cli_add_number(call, OPT_QUORUM, "quorum", body);
	if (code == CLI_OK)
		code = cli_add_number(call, OPT_PURGE_APPROVALS, "purge_approvals", body);
	if (code == CLI_OK && !add_flags(call, body))
		code = cli_no_memory();
	return code;
}

enum cli_exit vault_create(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "name", call->arg[0]);
	enum cli_exit code = body != NULL ? add_policy(call, body) : cli_no_memory();

	return code == CLI_OK ? cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults"), body) : code;
}

enum cli_exit vault_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" },           { "STATE", "state" },     { "LOCKED", "locked" }, { "URL", "url" }, { "RETENTION", "retention_days" },
		{ "PROTECTED", "purge_protection" }, { "QUORUM", "quorum" }, { "CREATED", "created" }, { "ID", "id" }, { NULL, NULL },
	};
	return cli_list(call, client_path(call->client, "/admin/v1/vaults"), COLUMNS);
}

/* Events and alerts name a vault by its id, paths by its name. @param ret_name  as it was given, or borrowed from *ret_rows */
static enum cli_exit name_of(struct call *call, const char **ret_name, json_t **ret_rows)
{
	uint8_t id[GUID_LEN];
	enum cli_exit code = CLI_OK;

	*ret_name = call->arg[0];
	if (!guid_parse(call->arg[0], strlen(call->arg[0]), id))
		return CLI_OK;
	code = cli_fetch_list(call, client_path(call->client, "/admin/v1/vaults"), ret_rows);
	for (size_t i = 0; code == CLI_OK && i < json_array_size(*ret_rows); i++) {
		const json_t *row = json_array_get(*ret_rows, i);
		const char *text = json_string_value(json_object_get(row, "id")), *name = json_string_value(json_object_get(row, "name"));
		if (text != NULL && name != NULL && strcasecmp(text, call->arg[0]) == 0) {
			*ret_name = name;
			return CLI_OK;
		}
	}
	if (code != CLI_OK)
		return code;
	cli_say("%s: there is no vault with this id, or it is not yours to see", call->arg[0]);
	return CLI_REFUSED;
}

enum cli_exit vault_show(struct call *call)
{
	JSON_AUTO *rows = NULL;
	const char *name = NULL;
	enum cli_exit code = name_of(call, &name, &rows);

	return code == CLI_OK ? cli_ask(call, "GET", client_path(call->client, "/admin/v1/vaults/%s", name), NULL) : code;
}

enum cli_exit vault_set(struct call *call)
{
	JSON_AUTO *body = json_object();
	enum cli_exit code = body != NULL ? add_policy(call, body) : cli_no_memory();

	if (code != CLI_OK)
		return code;
	if ((call_has(call, OPT_PURGE_PROTECTION) && call_has(call, OPT_NO_PURGE_PROTECTION)) ||
	    (call_has(call, OPT_ALLOW_RSA1_5) && call_has(call, OPT_NO_RSA1_5))) {
		cli_say("an option and its opposite exclude each other");
		return CLI_USAGE;
	}
	code = cli_add_number(call, OPT_PERSON_DAYS, "person_days", body);
	if (code != CLI_OK)
		return code;
	if (!cli_add_text(body, "networks", call_value(call, OPT_NETWORKS)) || !cli_add_text(body, "issuer", call_value(call, OPT_ISSUER)) ||
	    !cli_add_text(body, "person_basis", call_value(call, OPT_PERSON_BASIS)))
		return cli_no_memory();
	if (json_object_size(body) == 0) {
		cli_say("nothing to change; expected one option at least, see holdfast vault set --help");
		return CLI_USAGE;
	}
	if (!cli_add_text(body, "reason", call_value(call, OPT_REASON)))
		return cli_no_memory();
	return cli_ask(call, "PATCH", client_path(call->client, "/admin/v1/vaults/%s", call->arg[0]), body);
}

static bool confirm(const char *vault)
{
	char typed[128] = "";
	(void)fprintf(stderr, "This destroys the vault %s: its root key and every key in it, for ever.\nType the vault's name to go on: ", vault);
	(void)fflush(stderr);
	if (fgets(typed, sizeof(typed), stdin) == NULL)
		return false;
	typed[strcspn(typed, "\n")] = '\0';
	return strcmp(typed, vault) == 0;
}

static enum cli_exit lock_change(struct call *call, const char *what)
{
	JSON_AUTO *body = json_pack("{s:s}", "reason", call_value(call, OPT_REASON));

	return body != NULL ? cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/%s", call->arg[0], what), body) : cli_no_memory();
}

/* Asks nothing back: it is for the worst moment, and undone by several people. */
enum cli_exit vault_lock(struct call *call) { return lock_change(call, "lock"); }
enum cli_exit vault_unlock(struct call *call) { return lock_change(call, "unlock"); }

static void wait_a_second(void)
{
	struct timespec rest = { .tv_sec = 1 };

	while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
		;
}

/* The rest is done by the server, whether anybody waits for it or not. *vault: as it was last seen; replaced. */
static enum cli_exit wait_for_rotation(struct call *call, json_t **vault)
{
	TEXT_AUTO *path = client_path(call->client, "/admin/v1/vaults/%s", call->arg[0]);

	if (path == NULL)
		return cli_no_memory();
	while (json_object_get(*vault, "next_root") != NULL) {
		json_t *now = NULL;
		enum cli_exit code = CLI_OK;

		if (!call->as_json)
			cli_say("under way; versions under the old root: %lld", (long long)json_integer_value(json_object_get(*vault, "versions_left")));
		wait_a_second();
		code = client_json(call->client, "GET", path, NULL, &now);
		if (code != CLI_OK)
			return code;
		json_decref(*vault);
		*vault = now;
	}
	return CLI_OK;
}

/* The first run asks for approval, the one after it was given rotates. */
enum cli_exit vault_rotate_root(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "reason", call_value(call, OPT_REASON));
	TEXT_AUTO *path = client_path(call->client, "/admin/v1/vaults/%s/rotate-root", call->arg[0]);
	JSON_AUTO *vault = NULL;
	enum cli_exit code = CLI_OK;

	if (body == NULL || path == NULL)
		return cli_no_memory();
	code = client_json(call->client, "POST", path, body, &vault);
	if (code == CLI_OK)
		code = wait_for_rotation(call, &vault);
	if (code != CLI_OK)
		return code;
	if (call->as_json) {
		show_json(vault);
		return CLI_OK;
	}
	show_facts(vault);
	(void)printf("\nIn backups that were made before, the keys of this vault do not work any more: make one now, holdfast backup create.\n"
	             "The certificate of the old root's destruction: holdfast certificate list --vault %s\n", call->arg[0]);
	return CLI_OK;
}

/* @param body  borrowed; NULL without memory */
static enum cli_exit shred(struct call *call, const json_t *body)
{
	TEXT_AUTO *path = client_path(call->client, "/admin/v1/vaults/%s/shred", call->arg[0]);
	JSON_AUTO *answer = NULL;
	const char *certificate = NULL;
	enum cli_exit code = path != NULL ? client_json(call->client, "POST", path, body, &answer) : cli_no_memory();

	if (code != CLI_OK)
		return code;
	if (call->as_json)
		show_json(answer);
	else
		show_facts(answer);
	certificate = json_string_value(json_object_get(answer, "certificate"));
	if (!call_has(call, OPT_CERTIFICATE))
		return CLI_OK;
	if (certificate != NULL) {
		code = certificate_fetch(call, certificate, false, call_value(call, OPT_CERTIFICATE));
		if (code != CLI_OK)
			cli_say("the vault is shredded; only its certificate was not written. To get it: holdfast certificate show %s --output FILE", certificate);
		return code;
	}
	cli_say("the vault is shredded; there is no certificate, since its destruction began in a log that was closed, or under an older version");
	return CLI_FAILED;
}

/* The first run asks for approval, the one after it was given destroys. */
enum cli_exit vault_shred(struct call *call)
{
	const char *vault = call->arg[0];
	const char *reason = call_has(call, OPT_REASON) ? call_value(call, OPT_REASON) : "unspecified";
	JSON_AUTO *body = json_pack("{s:s, s:s}", "confirm", vault, "reason", reason);
	if (call_has(call, OPT_PLAN))
		return vault_plan(call);
	if (body == NULL || !cli_add_text(body, "basis", call_value(call, OPT_BASIS)))
		return cli_no_memory();
	if (!call_has(call, OPT_YES) && !confirm(vault)) {
		cli_say("not confirmed; nothing was changed (--yes goes on without asking)");
		return CLI_USAGE;
	}
	if (call_has(call, OPT_CERTIFICATE) && !cli_can_write(call_value(call, OPT_CERTIFICATE)))
		return CLI_REFUSED;
	return shred(call, body);
}

static enum cli_exit key_change(struct call *call, const char *what, const char *reason)
{
	JSON_AUTO *body = json_object();
	if (body == NULL || !cli_add_text(body, "reason", reason) || !cli_add_text(body, "version", call_value(call, OPT_VERSION)))
		return cli_no_memory();
	return cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/keys/%s/%s", call->arg[0], call->arg[1], what), body);
}

enum cli_exit key_revoke(struct call *call) { return key_change(call, "revoke", call_value(call, OPT_REASON)); }
enum cli_exit key_reinstate(struct call *call) { return key_change(call, "reinstate", NULL); }

enum cli_exit status(struct call *call) { return cli_ask(call, "GET", client_path(call->client, "/admin/v1/status"), NULL); }
enum cli_exit hsm_info(struct call *call) { return cli_ask(call, "GET", client_path(call->client, "/admin/v1/hsm"), NULL); }
