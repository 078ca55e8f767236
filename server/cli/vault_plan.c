/* server/cli/vault_plan.c - `vault shred --plan`: what would be destroyed, for those who are about to ask for it or to approve it. */
#include <stdio.h>
#include <string.h>

#include "server/cli/command.h"

static long long number_of(const json_t *object, const char *name) { return json_integer_value(json_object_get(object, name)); }
static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "";
}

static void say_counts(const json_t *plan)
{
	const json_t *counts = json_object_get(plan, "counts"), *looked = json_object_get(plan, "looked");
	char from[SHOW_TIME_MAX];

	(void)printf("A shred of the vault %s would destroy %lld keys with %lld versions (%lld of them resident in the HSM; %lld keys are deleted), and needs %lld "
	             "approval%s. Nothing was changed.\n",
	             text_of(plan, "vault"), number_of(counts, "keys"), number_of(counts, "versions"), number_of(counts, "resident"), number_of(counts, "deleted_keys"),
	             number_of(plan, "needed"), number_of(plan, "needed") == 1 ? "" : "s");
	(void)printf("Uses are taken from the newest %lld events, back to %s%s.\n", number_of(looked, "leaves"), show_time(json_object_get(looked, "from"), from),
	             json_is_true(json_object_get(looked, "all")) ? ": all there are of this vault" : "; older ones are not shown");
}

/* The names, or else the pseudonyms, of those who used a key lately, in one member for the table. */
static bool name_users(json_t *key)
{
	json_t *users = json_object_get(key, "used_by"), *user = NULL; /* borrowed */
	JSON_AUTO *names = json_array();
	size_t i = 0;

	json_array_foreach(users, i, user) {
		const char *name = json_object_get(user, "name") != NULL ? text_of(user, "name") : text_of(user, "pseudonym");
		if (json_array_append_new(names, json_string(name)) != 0)
			return false;
	}
	if (json_is_true(json_object_get(key, "more_users")) && json_array_append_new(names, json_string("and others")) != 0)
		return false;
	return json_object_set(key, "used_by", names) == 0;
}

static enum cli_exit show_keys(json_t *plan)
{
	static const struct show_column COLUMNS[] = {
		{ "KEY", "name" },           { "TYPE", "type" },           { "VERSIONS", "versions" }, { "RESIDENT", "resident" },
		{ "DELETED", "deleted" },    { "LAST USED", "last_used" }, { "BY", "used_by" },       { NULL, NULL },
	};
	json_t *keys = json_object_get(plan, "keys"), *key = NULL; /* borrowed */
	long long left = number_of(json_object_get(plan, "counts"), "keys") - (long long)json_array_size(keys);
	size_t i = 0;

	json_array_foreach(keys, i, key)
		if (!name_users(key))
			return cli_no_memory();
	if (json_array_size(keys) > 0) {
		(void)putchar('\n');
		show_table(keys, COLUMNS);
	}
	if (left > 0)
		(void)printf("and %lld keys more\n", left);
	return CLI_OK;
}

static void show_published(const json_t *plan)
{
	static const struct show_column COLUMNS[] = {
		{ "POOL", "pool" }, { "EXTERNAL ID", "external_id" }, { "KEY", "key" }, { "USES", "uses" }, { "LAST USED", "last_used" }, { NULL, NULL },
	};
	const json_t *rows = json_object_get(plan, "published");

	if (json_array_size(rows) == 0)
		return;
	(void)puts("\nPublished to Managed HSM pools; what Azure encrypts under these becomes unreadable:");
	show_table(rows, COLUMNS);
}

static void show_copies(const json_t *plan)
{
	static const struct show_column COLUMNS[] = {
		{ "BACKUP OF", "kind" }, { "KEY", "key" }, { "FILE", "place" }, { "EPOCH", "epoch" }, { "MADE", "made" }, { "UNTIL", "until" }, { NULL, NULL },
	};
	const json_t *rows = json_object_get(plan, "copies");
	long long left = number_of(plan, "copies_total") - (long long)json_array_size(rows);

	if (json_array_size(rows) == 0) {
		(void)puts("\nNo backup of it that this server made is left.");
		return;
	}
	(void)puts("\nBackups that outlive it:");
	show_table(rows, COLUMNS);
	if (left > 0)
		(void)printf("and %lld more\n", left);
	show_line(text_of(plan, "copies_after"));
}

static void show_unseen(const json_t *plan)
{
	const json_t *lines = json_object_get(plan, "unseen");

	(void)puts("\nWhat this server cannot see:");
	for (size_t i = 0; i < json_array_size(lines); i++) {
		const char *line = json_string_value(json_array_get(lines, i));
		show_line(line != NULL ? line : "");
	}
}

enum cli_exit vault_plan(struct call *call)
{
	JSON_AUTO *plan = NULL;
	TEXT_AUTO *path = client_path(call->client, "/admin/v1/vaults/%s/shred-plan", call->arg[0]);
	enum cli_exit code = client_json(call->client, "GET", path, NULL, &plan);

	if (code != CLI_OK)
		return code;
	if (call->as_json) {
		show_json(plan);
		return CLI_OK;
	}
	say_counts(plan);
	code = show_keys(plan);
	if (code != CLI_OK)
		return code;
	show_published(plan);
	show_copies(plan);
	show_unseen(plan);
	return CLI_OK;
}
