/* server/cli/cosmos_inventory.c - inventories of Cosmos DB accounts, as Azure's tools print them. A file of strangers: bounded, checked, and refused when it is not whole. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/cli/cosmos.h"

#define TYPE "Microsoft.DocumentDB/databaseAccounts"
#define PLACE_MAX 96
#define GROUPS "/resourceGroups/"

struct inventory {
	const char *file;
	const struct cosmos_rules *rules;
	const char *list; /* member that the accounts are in; "" = the file is the list */
	json_t *accounts; /* owned */
	json_t *seen;     /* ids in lower case; owned */
};

static enum cli_exit wrong(const struct inventory *v, size_t i, const char *member, const char *why)
{
	cli_say("%s: %s[%zu]%s%s: %s", v->file, v->list, i, member[0] != '\0' ? "." : "", member, why);
	return CLI_USAGE;
}

/* az flattens what ARM and Resource Graph keep in `properties`. */
static const json_t *member_of(const json_t *item, const char *name)
{
	const json_t *found = json_object_get(item, name);
	return found != NULL ? found : json_object_get(json_object_get(item, "properties"), name);
}

static bool is_text_or_null(const json_t *value) { return value == NULL || json_is_null(value) || json_is_string(value); }

static const char *text_or_empty(const json_t *value)
{
	const char *text = json_string_value(value);
	return text != NULL ? text : "";
}

static bool are_tags(const json_t *tags)
{
	if (tags == NULL || json_is_null(tags))
		return true;
	if (!json_is_object(tags))
		return false;
	for (void *it = json_object_iter((json_t *)(uintptr_t)tags); it != NULL; it = json_object_iter_next((json_t *)(uintptr_t)tags, it))
		if (!json_is_string(json_object_iter_value(it)))
			return false;
	return true;
}

/* "/subscriptions/…/resourceGroups/NAME/…" */
static json_t *group_of(const json_t *item, const char *id)
{
	const char *at = strcasestr(id, GROUPS);

	if (json_is_string(json_object_get(item, "resourceGroup")))
		return json_incref(json_object_get(item, "resourceGroup"));
	if (at == NULL)
		return json_string("");
	at += strlen(GROUPS);
	return json_stringn(at, strcspn(at, "/"));
}

static bool is_new(struct inventory *v, const char *id)
{
	TEXT_AUTO *lower = strdup(id);

	for (char *c = lower; c != NULL && *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	return lower != NULL && json_object_get(v->seen, lower) == NULL && json_object_set_new(v->seen, lower, json_true()) == 0;
}

static enum cli_exit add_account(struct inventory *v, const json_t *item, const char *id)
{
	const char *class = cosmos_classify(v->rules, json_object_get(item, "tags"));
	const char *key = text_or_empty(member_of(item, "keyVaultKeyUri"));
	json_t *row = json_pack("{s:s,s:s,s:o,s:s,s:s,s:b,s:s}", "id", id, "account", text_or_empty(json_object_get(item, "name")), "resource_group", group_of(item, id),
	                        "location", text_or_empty(json_object_get(item, "location")), "class", class != NULL ? class : "", "needs",
	                        class != NULL && strcmp(class, COSMOS_EXEMPT) != 0, "key", key);

	return row != NULL && json_array_append_new(v->accounts, row) == 0 ? CLI_OK : cli_no_memory();
}

static enum cli_exit read_account(struct inventory *v, const json_t *item, size_t i)
{
	const json_t *type = json_object_get(item, "type"), *properties = json_object_get(item, "properties");
	const char *id = json_string_value(json_object_get(item, "id"));

	if (!json_is_object(item))
		return wrong(v, i, "", "expected an object");
	if (json_is_string(type) && strcasecmp(json_string_value(type), TYPE) != 0)
		return CLI_OK; /* a query of Resource Graph may bring other resources too */
	if (id == NULL || *id == '\0')
		return wrong(v, i, "id", "expected the account's resource id");
	if (!json_is_string(json_object_get(item, "name")))
		return wrong(v, i, "name", "expected the account's name");
	if (properties != NULL && !json_is_null(properties) && !json_is_object(properties))
		return wrong(v, i, "properties", "expected an object");
	if (!is_text_or_null(member_of(item, "keyVaultKeyUri")))
		return wrong(v, i, "keyVaultKeyUri", "expected a text, or null");
	if (!are_tags(json_object_get(item, "tags")))
		return wrong(v, i, "tags", "expected an object of texts, or null");
	if (!is_new(v, id))
		return wrong(v, i, "id", "the same account stands twice in the inventory");
	return add_account(v, item, id);
}

/* ---- the three forms ---- */

static bool is_more(const json_t *root, const char *member)
{
	const json_t *value = json_object_get(root, member);
	return json_is_string(value) && json_string_length(value) > 0;
}

static enum cli_exit check_whole(const struct inventory *v, const json_t *root, size_t count)
{
	static const char *const LINKS[] = { "nextLink", "skip_token", "skipToken", "$skipToken" };
	static const char *const TOTALS[] = { "total_records", "totalRecords" };

	for (size_t i = 0; i < sizeof(LINKS) / sizeof(LINKS[0]); i++)
		if (is_more(root, LINKS[i])) {
			cli_say("%s: %s: there are more accounts than this file has; fetch all pages into one list", v->file, LINKS[i]);
			return CLI_USAGE;
		}
	for (size_t i = 0; i < sizeof(TOTALS) / sizeof(TOTALS[0]); i++)
		if (json_is_integer(json_object_get(root, TOTALS[i])) && (size_t)json_integer_value(json_object_get(root, TOTALS[i])) > count) {
			cli_say("%s: %s: the query found %lld, and this file has %zu of them; fetch all pages into one list", v->file, TOTALS[i],
			        (long long)json_integer_value(json_object_get(root, TOTALS[i])), count);
			return CLI_USAGE;
		}
	if (strcasecmp(text_or_empty(json_object_get(root, "resultTruncated")), "true") == 0) {
		cli_say("%s: resultTruncated: the query was cut off; fetch all of it", v->file);
		return CLI_USAGE;
	}
	return CLI_OK;
}

static enum cli_exit read_accounts(struct inventory *v, const json_t *root)
{
	const json_t *list = json_is_array(root) ? root : NULL;
	enum cli_exit code = CLI_OK;

	v->list = "";
	if (json_is_array(json_object_get(root, "data"))) {
		v->list = "data";
		list = json_object_get(root, "data");
	} else if (json_is_array(json_object_get(root, "value"))) {
		v->list = "value";
		list = json_object_get(root, "value");
	}
	if (list == NULL) {
		cli_say("%s: expected the list that `az cosmosdb list` prints, or an object with the list in \"value\" (ARM) or \"data\" (Resource Graph)", v->file);
		return CLI_USAGE;
	}
	if (json_array_size(list) > COSMOS_ACCOUNTS_MAX) {
		cli_say("%s: expected at most %d accounts", v->file, COSMOS_ACCOUNTS_MAX);
		return CLI_USAGE;
	}
	code = check_whole(v, root, json_array_size(list));
	for (size_t i = 0; i < json_array_size(list) && code == CLI_OK; i++)
		code = read_account(v, json_array_get(list, i), i);
	return code;
}

enum cli_exit cosmos_inventory_read(const char *file, const struct cosmos_rules *rules, json_t **ret)
{
	struct inventory v = { .file = file, .rules = rules };
	json_error_t error = { 0 };
	char why[JSON_ERROR_TEXT_LENGTH];
	size_t len = 0;
	TEXT_AUTO *text = cli_read_file(file, COSMOS_FILE_MAX, &len);
	JSON_AUTO *root = text != NULL ? json_loadb(text, len, JSON_REJECT_DUPLICATES, &error) : NULL;
	enum cli_exit code = CLI_OK;

	if (text == NULL)
		return CLI_USAGE;
	if (root == NULL) {
		cli_say("%s: line %d, column %d: %s", file, error.line, error.column, cli_clean(error.text, why, sizeof(why)));
		return CLI_USAGE;
	}
	v.accounts = json_array();
	v.seen = json_object();
	code = v.accounts != NULL && v.seen != NULL ? read_accounts(&v, root) : cli_no_memory();
	json_decref(v.seen);
	if (code == CLI_OK)
		*ret = v.accounts;
	else
		json_decref(v.accounts);
	return code;
}
