/* server/cli/log.c - the event log for people: what happened, what happens, and one event with what is promised about it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/encode.h"
#include "server/cli/command.h"

#define LOG_TAIL_DEFAULT 20
#define LOG_PAGE 1000 /* the server's limit of one request */
#define FOLLOW_WAIT_S 1
#define SEARCH_PAGES 50 /* back from the end, for the newest events of one vault */

/* What is shown of the lines that come. */
struct view {
	struct call *call;
	char *tenant;      /* owned; only leaves of this vault */
	bool is_limited;   /* only those of the tenant, or, without one, of the installation */
	bool is_search;    /* only counted */
	long long matched; /* so far */
	long long skip;    /* of those that match, the first ones */
	long long most;    /* of those that match, no more */
};

static void view_clear(struct view *v) { free(v->tenant); }
#define VIEW_AUTO __attribute__((cleanup(view_clear))) struct view

/* The place of one line in the log; both leaves and the hashes that stand for hidden ones have it. */
static bool line_seq(void *arg, const char *line, size_t len)
{
	JSON_AUTO *leaf = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *seq = json_object_get(leaf, "seq");
	if (!json_is_integer(seq))
		return false;
	*(long long *)arg = json_integer_value(seq);
	return true;
}

enum cli_exit log_size(struct call *call, long long *ret_size)
{
	long long newest = -1, count = 0;
	char *path = client_path(call->client, "/audit/v1/entries?count=1");
	enum cli_exit code = client_lines(call->client, path, line_seq, &newest, &count);
	free(path);
	if (code == CLI_OK)
		*ret_size = newest + 1;
	return code;
}

/* A line of the log. Programs get the leaf's own bytes, over which its hash is taken. */
static bool log_line(void *arg, const char *line, size_t len)
{
	struct view *v = arg;
	JSON_AUTO *leaf = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *tenant = json_string_value(json_object_get(leaf, "tenant"));

	if (!json_is_object(leaf))
		return false;
	if (v->is_limited && (v->tenant == NULL ? tenant != NULL : tenant == NULL || strcmp(tenant, v->tenant) != 0))
		return true;
	if (v->matched >= v->most || v->matched++ < v->skip || v->is_search)
		return true;
	if (v->call->as_json)
		(void)printf("%.*s\n", (int)len, line);
	else
		show_leaf(leaf);
	return true;
}

static enum cli_exit log_fetch(struct view *v, long long start, long long count, long long *ret_count)
{
	char *path = client_path(v->call->client, "/audit/v1/entries?start=%lld&count=%lld", start, count);
	enum cli_exit code = client_lines(v->call->client, path, log_line, v, ret_count);
	free(path);
	return code;
}

/* The leaves from *at up to `end`, or until there are enough; *at moves to the first that was not asked for. */
static enum cli_exit log_pages(struct view *v, long long *at, long long end)
{
	while (*at < end && v->matched < v->most) {
		long long count = end - *at < LOG_PAGE ? end - *at : LOG_PAGE;
		enum cli_exit code = log_fetch(v, *at, count, &count);
		if (code != CLI_OK)
			return code;
		(void)fflush(stdout);
		if (count == 0)
			break;
		*at += count;
	}
	return CLI_OK;
}

/* Leaves name a vault by its id, which never changes. */
static enum cli_exit find_tenant(struct call *call, struct view *v)
{
	const char *text = call_value(call, OPT_VAULT);
	uint8_t id[GUID_LEN];
	JSON_AUTO *vault = NULL;
	char *path = NULL;
	enum cli_exit code = CLI_OK;

	if (strcmp(text, CLI_INSTALLATION) == 0)
		return CLI_OK;
	if (guid_parse(text, strlen(text), id)) { /* in the one form that leaves have */
		v->tenant = calloc(1, GUID_TEXT_LEN + 1);
		if (v->tenant == NULL)
			return cli_no_memory();
		guid_format(id, v->tenant);
		return CLI_OK;
	}
	path = client_path(call->client, "/admin/v1/vaults/%s", text);
	code = client_json(call->client, "GET", path, NULL, &vault);
	free(path);
	if (code != CLI_OK)
		return code;
	v->tenant = json_is_string(json_object_get(vault, "id")) ? strdup(json_string_value(json_object_get(vault, "id"))) : NULL;
	return v->tenant != NULL ? CLI_OK : cli_no_memory();
}

/* What --vault and -n say. */
static enum cli_exit make_view(struct call *call, struct view *v, long long *ret_lines)
{
	enum cli_exit code = cli_count(call, 0, INT32_MAX, ret_lines);

	v->call = call;
	v->most = INT64_MAX;
	v->is_limited = call_has(call, OPT_VAULT);
	return code == CLI_OK && v->is_limited ? find_tenant(call, v) : code;
}

enum cli_exit log_list(struct call *call)
{
	VIEW_AUTO v = { 0 };
	long long at = 0, size = 0, lines = INT64_MAX;
	enum cli_exit code = make_view(call, &v, &lines);

	if (code != CLI_OK)
		return code;
	if (call_has(call, OPT_FROM) && !cli_parse_number(call_value(call, OPT_FROM), 0, INT64_MAX, &at)) {
		cli_say("--from %s: expected a sequence number", call_value(call, OPT_FROM));
		return CLI_USAGE;
	}
	code = log_size(call, &size);
	if (code != CLI_OK)
		return code;
	if (!call->as_json)
		show_leaf_titles();
	v.most = lines;
	return log_pages(&v, &at, !v.is_limited && at < size && lines < size - at ? at + lines : size);
}

/* Where to begin so that the newest `lines` events of a vault are shown. Bounded: an old vault may have none for millions of leaves. */
static enum cli_exit search_back(struct view *v, long long size, long long lines, long long *ret_at)
{
	struct view counting = { .call = v->call, .tenant = v->tenant, .is_limited = v->is_limited, .is_search = true, .most = INT64_MAX };
	long long at = size;

	for (int page = 0; page < SEARCH_PAGES && at > 0 && counting.matched < lines; page++) {
		long long end = at, from = at > LOG_PAGE ? at - LOG_PAGE : 0;
		enum cli_exit code = CLI_OK;
		at = from;
		code = log_pages(&counting, &from, end);
		if (code != CLI_OK)
			return code;
	}
	if (at > 0 && counting.matched < lines)
		cli_say("looked at the newest %d events; older ones: holdfast log list --from N --vault %s", SEARCH_PAGES * LOG_PAGE,
		        call_value(v->call, OPT_VAULT));
	v->skip = counting.matched > lines ? counting.matched - lines : 0;
	*ret_at = at;
	return CLI_OK;
}

/* Every leaf once, also over a restart of the server: the place in the log is what counts, not the time. */
static enum cli_exit follow(struct view *v, long long at)
{
	const struct timespec pause = { .tv_sec = FOLLOW_WAIT_S };
	bool is_away = false;

	while (!ferror(stdout)) {
		long long found = 0;
		enum cli_exit code = CLI_OK;
		(void)nanosleep(&pause, NULL); /* a signal that interrupts it only makes the next look earlier */
		/* Each look is an event itself, so there is always one more leaf: only a full page says that others wait. */
		do {
			code = log_fetch(v, at, LOG_PAGE, &found);
			at += code == CLI_OK ? found : 0;
		} while (code == CLI_OK && found == LOG_PAGE);
		if (code != CLI_OK && code != CLI_FAILED)
			return code;
		if (is_away && code == CLI_OK)
			cli_say("the server answers again");
		is_away = code == CLI_FAILED;
		client_set_quiet(v->call->client, is_away); /* said once */
		(void)fflush(stdout);
	}
	return CLI_OK;
}

enum cli_exit log_tail(struct call *call)
{
	VIEW_AUTO v = { 0 };
	long long lines = LOG_TAIL_DEFAULT, size = 0, at = 0;
	enum cli_exit code = make_view(call, &v, &lines);

	if (code == CLI_OK)
		code = log_size(call, &size);
	at = size > lines ? size - lines : 0;
	if (code == CLI_OK && v.is_limited)
		code = search_back(&v, size, lines, &at);
	if (code != CLI_OK)
		return code;
	if (!call->as_json)
		show_leaf_titles();
	code = log_pages(&v, &at, size);
	return code == CLI_OK && call_has(call, OPT_FOLLOW) ? follow(&v, at) : code;
}

/* ---- one event ---- */

struct found {
	json_t *leaf; /* owned */
	char *line;   /* owned */
};

static void found_clear(struct found *f)
{
	json_decref(f->leaf);
	free(f->line);
}

static bool keep(void *arg, const char *line, size_t len)
{
	struct found *f = arg;

	found_clear(f);
	f->leaf = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	f->line = strndup(line, len);
	return json_is_object(f->leaf) && f->line != NULL;
}

static enum cli_exit find_leaf(struct call *call, const char *what, struct found *f)
{
	long long seq = 0, count = 0;
	bool is_seq = cli_parse_number(what, 0, INT64_MAX, &seq);
	uint8_t id[GUID_LEN];
	char *path = NULL;
	enum cli_exit code = CLI_OK;

	if (!is_seq && !guid_parse(what, strlen(what), id)) {
		cli_say("%s: expected a sequence number or an event's id", what);
		return CLI_USAGE;
	}
	path = is_seq ? client_path(call->client, "/audit/v1/entries?start=%lld&count=1", seq) : client_path(call->client, "/audit/v1/entries/%s", what);
	code = client_lines(call->client, path, keep, f, &count);
	free(path);
	if (code == CLI_REFUSED && !is_seq)
		cli_say("of a request or correlation id: holdfast log query --id %s", what);
	if (code != CLI_OK)
		return code;
	if (count == 0) {
		cli_say("the log has no entry %lld yet", seq);
		return CLI_REFUSED;
	}
	return CLI_OK;
}

enum cli_exit log_find(struct call *call, long long *ret_seq)
{
	__attribute__((cleanup(found_clear))) struct found f = { 0 };
	enum cli_exit code = find_leaf(call, call->arg[0], &f);

	if (code == CLI_OK)
		*ret_seq = json_integer_value(json_object_get(f.leaf, "seq"));
	return code;
}

enum cli_exit log_show(struct call *call)
{
	__attribute__((cleanup(found_clear))) struct found f = { 0 };
	CHECKPOINT_AUTO newest = { 0 };
	long long seq = 0;
	enum cli_exit code = find_leaf(call, call->arg[0], &f);

	if (code != CLI_OK)
		return code;
	if (call->as_json) {
		(void)puts(f.line);
		return CLI_OK;
	}
	show_facts(f.leaf);
	code = checkpoint_fetch(call, -1, &newest);
	if (code != CLI_OK)
		return code;
	seq = json_integer_value(json_object_get(f.leaf, "seq"));
	if (newest.size <= seq) {
		(void)printf("%-20s no checkpoint covers it yet; the newest has the size %lld\n", "(proof)", newest.size);
		return CLI_OK;
	}
	(void)printf("%-20s covered by the checkpoint of size %lld, signed by\n", "(proof)", newest.size);
	checkpoint_show_signers(&newest);
	(void)printf("%-20s to prove it: holdfast log prove %lld --output FILE\n", "", seq);
	return CLI_OK;
}
