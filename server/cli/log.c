/* server/cli/log.c - the event log: its end, and one entry. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/err.h"
#include "server/cli/command.h"

#define LOG_TAIL_DEFAULT 20
#define LOG_PAGE 1000 /* the server's limit of one request */
#define FOLLOW_WAIT_S 2

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

/* By the newest leaf: whoever may read the log may ask for it. */
static enum cli_exit log_size(struct call *call, long long *ret_size)
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
	const struct call *call = arg;
	JSON_AUTO *leaf = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(leaf))
		return false;
	if (call->as_json)
		(void)printf("%.*s\n", (int)len, line);
	else if (call->arg[0] != NULL) /* log show */
		show_facts(leaf);
	else
		show_leaf(leaf);
	return true;
}

static enum cli_exit log_fetch(struct call *call, long long start, long long count, long long *ret_count)
{
	char *path = client_path(call->client, "/audit/v1/entries?start=%lld&count=%lld", start, count);
	enum cli_exit code = client_lines(call->client, path, log_line, call, ret_count);
	free(path);
	return code;
}

/* Print leaves from *at up to `end`; *at moves to the first that was not printed. */
static enum cli_exit log_print(struct call *call, long long *at, long long end)
{
	while (*at < end) {
		long long count = end - *at < LOG_PAGE ? end - *at : LOG_PAGE;
		enum cli_exit code = log_fetch(call, *at, count, &count);
		if (code != CLI_OK)
			return code;
		(void)fflush(stdout);
		if (count == 0)
			break;
		*at += count;
	}
	return CLI_OK;
}

enum cli_exit log_tail(struct call *call)
{
	const struct timespec pause = { .tv_sec = FOLLOW_WAIT_S };
	long long lines = LOG_TAIL_DEFAULT, size = 0, at = 0;
	enum cli_exit code = CLI_OK;

	if (call_has(call, OPT_LINES) && !cli_parse_number(call_value(call, OPT_LINES), 0, INT32_MAX, &lines)) {
		cli_say("-n %s: expected a number of lines", call_value(call, OPT_LINES));
		return CLI_USAGE;
	}
	code = log_size(call, &size);
	if (code != CLI_OK)
		return code;
	at = size > lines ? size - lines : 0;
	if (!call->as_json)
		show_leaf_titles();
	code = log_print(call, &at, size);
	while (code == CLI_OK && call_has(call, OPT_FOLLOW) && !ferror(stdout)) {
		long long found = 0;
		(void)nanosleep(&pause, NULL); /* a signal that interrupts it only makes the next look earlier */
		/* Once a round and no more: each look is an event itself, so there is always one more leaf. */
		code = log_fetch(call, at, LOG_PAGE, &found);
		at += found;
		(void)fflush(stdout);
	}
	return code;
}

enum cli_exit log_show(struct call *call)
{
	long long seq = 0, found = 0;
	enum cli_exit code = CLI_OK;
	if (!cli_parse_number(call->arg[0], 0, INT64_MAX, &seq)) {
		cli_say("%s: expected a sequence number", call->arg[0]);
		return CLI_USAGE;
	}
	code = log_fetch(call, seq, 1, &found);
	if (code == CLI_OK && found == 0) {
		cli_say("the log has no entry %lld yet", seq);
		return CLI_REFUSED;
	}
	return code;
}
