/* server/cli/command.c - see command.h. */
#include "server/cli/command.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool call_has(const struct call *call, enum option_id id) { return (call->given & BIT(id)) != 0; }
const char *call_value(const struct call *call, enum option_id id) { return call->value[id - OPT_SOCKET]; }

bool cli_add_text(json_t *body, const char *name, const char *text)
{
	return text == NULL || json_object_set_new(body, name, json_string(text)) == 0;
}

bool cli_parse_number(const char *text, long long least, long long most, long long *ret)
{
	char *end = NULL;
	errno = 0;
	*ret = strtoll(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && *ret >= least && *ret <= most;
}

enum cli_exit cli_add_days(const struct call *call, enum option_id id, const char *name, json_t *body)
{
	long long days = 0;
	if (!call_has(call, id))
		return CLI_OK;
	/* The server decides over the range; here only what is a number at all. */
	if (!cli_parse_number(call_value(call, id), 0, INT32_MAX, &days)) {
		cli_say("%s: not a number of days", call_value(call, id));
		return CLI_USAGE;
	}
	return json_object_set_new(body, name, json_integer(days)) == 0 ? CLI_OK : CLI_FAILED;
}

enum cli_exit cli_no_memory(void)
{
	cli_say("not enough memory, or text that is not UTF-8");
	return CLI_FAILED;
}

enum cli_exit cli_ask(struct call *call, const char *method, char *path, const json_t *body)
{
	JSON_AUTO *answer = NULL;
	enum cli_exit code = client_json(call->client, method, path, body, &answer);
	free(path);
	if (code != CLI_OK)
		return code;
	if (call->as_json)
		show_json(answer);
	else
		show_facts(answer);
	return CLI_OK;
}

static char *next_page(struct call *call, const char *first, const char *after)
{
	char *query = client_path(call->client, "?after=%s", after);
	char *path = NULL;
	if (query != NULL && asprintf(&path, "%s%s", first, query) < 0)
		path = NULL; /* undefined after a failure, asprintf(3) */
	free(query);
	return path;
}

enum cli_exit cli_list(struct call *call, const char *first, const struct show_column *columns)
{
	JSON_AUTO *all = json_array();
	JSON_AUTO *whole = NULL;
	char *path = first != NULL ? strdup(first) : NULL;
	while (path != NULL) {
		JSON_AUTO *page = NULL;
		const char *next = NULL;
		enum cli_exit code = client_json(call->client, "GET", path, NULL, &page);
		free(path);
		path = NULL;
		if (code != CLI_OK)
			return code;
		if (!json_is_array(json_object_get(page, "value"))) {
			cli_say("the answer is not a list");
			return CLI_FAILED;
		}
		if (json_array_extend(all, json_object_get(page, "value")) != 0)
			return cli_no_memory();
		next = json_string_value(json_object_get(page, "next"));
		if (next == NULL) {
			if (!call->as_json) {
				show_table(all, columns);
				return CLI_OK;
			}
			whole = json_pack("{s:O}", "value", all);
			if (whole == NULL)
				return cli_no_memory();
			show_json(whole);
			return CLI_OK;
		}
		path = next_page(call, first, next);
	}
	return cli_no_memory();
}
