/* server/cli/log_query.c - holdfast log query: events by vault, key, principal, time and whatever else they say; the server has the index (docs/query.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/err.h"
#include "server/cli/command.h"

#define EVENTS_DEFAULT 100
#define EVENTS_MOST 1000000
#define EVENTS_PAGE 1000 /* the server's limit of one answer */
#define TARGET_MAX 8192
#define WHY "why" /* put into what is shown as a table: no leaf has it */

static const struct {
	enum option_id option;
	const char *parameter;
} FILTERS[] = {
	{ OPT_FROM, "from" },           { OPT_TO, "to" },     { OPT_VAULT, "vault" },   { OPT_KEY, "key" }, { OPT_VERSION, "version" },
	{ OPT_PRINCIPAL, "principal" }, { OPT_TYPE, "type" }, { OPT_RESULT, "result" }, { OPT_ID, "id" },   { OPT_ERR, "err" },
	{ OPT_INTENTS, "intents" },     { OPT_ORDER, "order" },
};

static const struct show_column COLUMNS[] = {
	{ "SEQ", "seq" },      { "TIME", "ts" },             { "TYPE", "type" },     { "RESULT", "result" }, { "VAULT", "tenant" },
	{ "KEY", "key.name" }, { "PRINCIPAL", "actor.pid" }, { "PEER", "net.peer" }, { "ERROR (DETAIL)", WHY }, { NULL, NULL },
};

/* Values go as they were given, and the server says what is wrong with one; but what this program's own words are, it does not know. */
static const char *value_of(const struct call *call, enum option_id option, char buffer[24])
{
	const char *text = call_value(call, option);
	long long at_s = 0;

	if (option == OPT_VAULT && strcmp(text, CLI_INSTALLATION) == 0)
		return "-";
	if ((option != OPT_FROM && option != OPT_TO) || !cli_parse_span(text, &at_s))
		return text;
	(void)snprintf(buffer, 24, "%lld", at_s);
	return buffer;
}

static bool make_target(struct call *call, long long limit, const char *cursor, char target[TARGET_MAX])
{
	char number[24], form[TARGET_MAX] = "";
	bool fits = true;

	if (cursor == NULL && call_has(call, OPT_CURSOR))
		cursor = call_value(call, OPT_CURSOR);
	for (size_t i = 0; i < KMS_ARRAY_LEN(FILTERS) && fits; i++) {
		if (call_has(call, FILTERS[i].option))
			fits = client_form_add(call->client, form, sizeof(form), FILTERS[i].parameter, value_of(call, FILTERS[i].option, number));
	}
	(void)snprintf(number, sizeof(number), "%lld", limit);
	fits = fits && client_form_add(call->client, form, sizeof(form), "limit", number);
	if (cursor != NULL)
		fits = fits && client_form_add(call->client, form, sizeof(form), "cursor", cursor);
	return fits && snprintf(target, TARGET_MAX, "/audit/v1/events?%s", form) < TARGET_MAX;
}

static enum cli_exit fetch(struct call *call, long long limit, const char *cursor, json_t **ret_page)
{
	char target[TARGET_MAX];
	enum cli_exit code;

	if (!make_target(call, limit, cursor, target)) {
		cli_say("the filters are too long");
		return CLI_USAGE;
	}
	code = client_json(call->client, "GET", target, NULL, ret_page);
	if (code == CLI_OK && !json_is_array(json_object_get(*ret_page, "value"))) {
		cli_say("the server's answer has no list of events");
		return CLI_FAILED;
	}
	return code;
}

/* Pages, until there are enough. A page may have none and still go on: it ends after a quarter of a second. *ret_next: where more begin; NULL = there are none. */
static enum cli_exit fetch_all(struct call *call, long long limit, json_t *events, json_t **ret_next)
{
	JSON_AUTO *next = NULL;

	for (;;) {
		JSON_AUTO *page = NULL;
		long long left = limit - (long long)json_array_size(events);
		enum cli_exit code = fetch(call, left < EVENTS_PAGE ? left : EVENTS_PAGE, json_string_value(next), &page);
		if (code != CLI_OK)
			return code;
		if (json_array_extend(events, json_object_get(page, "value")) != 0)
			return cli_no_memory();
		json_decref(next);
		next = json_incref(json_object_get(page, "next"));
		if (!json_is_string(next) || (long long)json_array_size(events) >= limit)
			break;
	}
	*ret_next = json_is_string(next) ? json_incref(next) : NULL;
	return CLI_OK;
}

static enum cli_exit show_events(json_t *events)
{
	json_t *leaf = NULL;
	size_t i = 0;

	json_array_foreach(events, i, leaf) {
		TEXT_AUTO *why = show_why(leaf);
		if (why == NULL || json_object_set_new(leaf, WHY, json_string(why)) != 0)
			return cli_no_memory();
	}
	show_table(events, COLUMNS);
	if (i == 0)
		cli_say("no event matches");
	return CLI_OK;
}

/* What was cut is told on standard error in either form. */
static enum cli_exit show_found(struct call *call, json_t *events, json_t *next)
{
	JSON_AUTO *whole = json_pack("{s:O, s:O*}", "value", events, "next", next);
	enum cli_exit code = CLI_OK;

	if (whole == NULL)
		return cli_no_memory();
	if (call->as_json)
		show_json(whole);
	else
		code = show_events(events);
	if (code == CLI_OK && next != NULL)
		cli_say("there may be more: ask with a higher --limit, or narrower, or go on with --cursor %s", json_string_value(next));
	return code;
}

/* The server knows ids and pseudonyms; a name is looked up in the vault that is asked about, or else among those of the installation. @param ret_owner  owns the id */
static enum cli_exit name_principal(struct call *call, json_t **ret_owner)
{
	const char *vault = call_value(call, OPT_VAULT);

	if (!call_has(call, OPT_PRINCIPAL))
		return CLI_OK;
	call->arg[0] = vault != NULL && strcmp(vault, "-") != 0 ? vault : CLI_INSTALLATION;
	return cli_resolve_pseudonym(call, call_value(call, OPT_PRINCIPAL), &call->value[OPT_PRINCIPAL - OPT_SOCKET], ret_owner);
}

enum cli_exit log_query(struct call *call)
{
	JSON_AUTO *events = json_array();
	JSON_AUTO *next = NULL;
	JSON_AUTO *owner = NULL;
	long long limit = EVENTS_DEFAULT;
	enum cli_exit code;

	if (events == NULL)
		return cli_no_memory();
	code = cli_count(call, 1, EVENTS_MOST, &limit);
	if (code == CLI_OK)
		code = name_principal(call, &owner);
	if (code == CLI_OK)
		code = fetch_all(call, limit, events, &next);
	return code == CLI_OK ? show_found(call, events, next) : code;
}
