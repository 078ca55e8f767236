/*
 * server/cli/cosmos_state.c - what `report cosmos` keeps between its runs: since when an account lacks what it needs, and how long those took that got it.
 * An account that vanished was not remediated; one that is not required any more neither.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/cli/cosmos.h"

#define FORMAT "holdfast-cosmos-state"
#define VERSION 1
#define RUNS_MAX 1000

static json_int_t number_of(const json_t *o, const char *name) { return json_integer_value(json_object_get(o, name)); }
static bool is_set(const json_t *o, const char *name) { return json_is_true(json_object_get(o, name)); }
static bool set(json_t *o, const char *name, json_t *value) { return json_object_set_new(o, name, value) == 0; }

/* ---- the file ---- */

static bool are_numbers(const json_t *o, const char *const *names)
{
	for (; *names != NULL; names++)
		if (!json_is_integer(json_object_get(o, *names)) || number_of(o, *names) < 0)
			return false;
	return true;
}

static bool is_sound(const json_t *state)
{
	static const char *const RUN[] = { "at", "needing", "compliant", NULL }, *const ACCOUNT[] = { "first", "since", "count", "total_s", NULL };
	json_t *accounts = json_object_get(state, "accounts"), *runs = json_object_get(state, "runs");

	if (!json_is_object(accounts) || !json_is_array(runs))
		return false;
	for (size_t i = 0; i < json_array_size(runs); i++)
		if (!are_numbers(json_array_get(runs, i), RUN))
			return false;
	for (void *it = json_object_iter(accounts); it != NULL; it = json_object_iter_next(accounts, it))
		if (!are_numbers(json_object_iter_value(it), ACCOUNT))
			return false;
	return true;
}

static enum cli_exit check_state(const char *file, const json_t *state, long long at)
{
	const char *format = json_string_value(json_object_get(state, "format"));
	const json_t *runs = json_object_get(state, "runs");
	const json_t *last = json_array_get(runs, json_array_size(runs) - 1);

	if (format == NULL || strcmp(format, FORMAT) != 0) {
		cli_say("%s: is no state of this report; name another file", file);
		return CLI_USAGE;
	}
	if (number_of(state, "version") != VERSION) {
		cli_say("%s: is of version %lld, and this holdfast reads version %d", file, (long long)number_of(state, "version"), VERSION);
		return CLI_USAGE;
	}
	if (!is_sound(state)) {
		cli_say("%s: is damaged; restore it from a backup, or begin anew with another file", file);
		return CLI_USAGE;
	}
	if (last != NULL && number_of(last, "at") > at) {
		JSON_AUTO *now = json_integer(at);
		char was[SHOW_TIME_MAX], is[SHOW_TIME_MAX];
		cli_say("%s: its last run was at %s, which is after this one (%s); is the inventory an older one?", file, show_time(json_object_get(last, "at"), was),
		        show_time(now, is));
		return CLI_USAGE;
	}
	return CLI_OK;
}

enum cli_exit cosmos_state_read(const char *file, long long at, json_t **ret)
{
	json_error_t error = { 0 };
	size_t len = 0;
	TEXT_AUTO *text = NULL;
	JSON_AUTO *state = NULL;
	enum cli_exit code = CLI_OK;

	if (access(file, F_OK) != 0 && errno == ENOENT) {
		*ret = json_pack("{s:s,s:i,s:[],s:{}}", "format", FORMAT, "version", VERSION, "runs", "accounts");
		return *ret != NULL ? CLI_OK : cli_no_memory();
	}
	text = cli_read_file(file, COSMOS_FILE_MAX, &len);
	if (text == NULL)
		return CLI_USAGE;
	state = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (state == NULL) {
		cli_say("%s: line %d, column %d: is no state of this report, or was damaged", file, error.line, error.column);
		return CLI_USAGE;
	}
	code = check_state(file, state, at);
	if (code == CLI_OK)
		*ret = json_incref(state);
	return code;
}

enum cli_exit cosmos_state_write(const char *file, const json_t *state)
{
	TEXT_AUTO *text = json_dumps(state, JSON_INDENT(1));

	return text != NULL ? cli_write_file(file, text, strlen(text)) : cli_no_memory();
}

/* ---- a run ---- */

/* Resource ids are compared without case. */
static char *key_of(const json_t *account)
{
	const char *id = json_string_value(json_object_get(account, "id"));
	char *key = id != NULL ? strdup(id) : NULL;

	for (char *c = key; c != NULL && *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	return key;
}

static bool enter_lack(json_t *all, const char *key, json_t *known, const json_t *account, long long at)
{
	if (known == NULL) {
		known = json_pack("{s:O,s:I,s:I,s:b,s:i,s:i}", "account", json_object_get(account, "account"), "first", (json_int_t)at, "since", (json_int_t)at, "open", 1,
		                  "count", 0, "total_s", 0);
		return known != NULL && json_object_set_new(all, key, known) == 0;
	}
	if (!is_set(known, "open") && (!set(known, "since", json_integer(at)) || !set(known, "open", json_true())))
		return false;
	(void)json_object_del(known, "gone"); /* is not there, or is now gone */
	return true;
}

/* Of one that was away, nobody knows whether it is the same, made anew: it ends uncounted. */
static bool enter_end(json_t *known, bool is_compliant, long long at)
{
	bool was_gone = json_object_get(known, "gone") != NULL, counts = is_set(known, "open") && is_compliant && !was_gone;

	(void)json_object_del(known, "gone");
	if (counts && (!set(known, "count", json_integer(number_of(known, "count") + 1)) ||
	               !set(known, "total_s", json_integer(number_of(known, "total_s") + at - number_of(known, "since"))) || !set(known, "until", json_integer(at))))
		return false;
	return set(known, "open", json_false());
}

static bool enter_account(json_t *all, json_t *seen, const json_t *account, long long at)
{
	const char *result = json_string_value(json_object_get(account, "result"));
	TEXT_AUTO *key = key_of(account);
	json_t *known = key != NULL ? json_object_get(all, key) : NULL;

	if (key == NULL || result == NULL || json_object_set_new(seen, key, json_true()) != 0)
		return false;
	if (strcmp(result, COSMOS_NOT_COMPLIANT) == 0)
		return enter_lack(all, key, known, account, at);
	return known == NULL || enter_end(known, strcmp(result, COSMOS_COMPLIANT) == 0, at);
}

static bool enter_run(json_t *state, const json_t *accounts, long long at)
{
	json_t *runs = json_object_get(state, "runs");
	json_int_t needing = 0, compliant = 0;

	for (size_t i = 0; i < json_array_size(accounts); i++) {
		const char *result = json_string_value(json_object_get(json_array_get(accounts, i), "result"));
		needing += is_set(json_array_get(accounts, i), "needs");
		compliant += result != NULL && strcmp(result, COSMOS_COMPLIANT) == 0;
	}
	if (json_array_size(runs) >= RUNS_MAX)
		(void)json_array_remove(runs, 0); /* it has one */
	return json_array_append_new(runs, json_pack("{s:I,s:I,s:I}", "at", (json_int_t)at, "needing", needing, "compliant", compliant)) == 0;
}

bool cosmos_state_enter(json_t *state, const json_t *accounts, long long at)
{
	json_t *all = json_object_get(state, "accounts");
	JSON_AUTO *seen = json_object();

	for (size_t i = 0; i < json_array_size(accounts); i++)
		if (!enter_account(all, seen, json_array_get(accounts, i), at))
			return false;
	for (void *it = json_object_iter(all); it != NULL; it = json_object_iter_next(all, it)) {
		json_t *known = json_object_iter_value(it);
		if (json_object_get(seen, json_object_iter_key(it)) == NULL && json_object_get(known, "gone") == NULL && !set(known, "gone", json_integer(at)))
			return false;
	}
	return enter_run(state, accounts, at);
}

void cosmos_state_times(const json_t *state, long long at, struct cosmos_times *ret)
{
	json_t *all = json_object_get(state, "accounts");

	*ret = (struct cosmos_times){ 0 };
	for (void *it = json_object_iter(all); it != NULL; it = json_object_iter_next(all, it)) {
		const json_t *known = json_object_iter_value(it);
		long long since = number_of(known, "since");
		ret->remediated += number_of(known, "count");
		ret->total_s += number_of(known, "total_s");
		if (!is_set(known, "open") || json_object_get(known, "gone") != NULL)
			continue;
		ret->open++;
		if (at - since > ret->oldest_s)
			ret->oldest_s = at - since;
	}
}
