/* server/cli/log_records.c - the log as records of another system's format, which prove nothing; and the exports that the server makes by itself. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cli/command.h"

#define PAGE 1000 /* the server's limit of one request */

struct records {
	const char *file;
	FILE *out; /* owned */
	long long count;
};

static void records_clear(struct records *r)
{
	if (r->out != NULL)
		(void)fclose(r->out); /* after a failure, which was told; success has closed it */
}

static enum cli_exit file_failed(const struct records *r)
{
	cli_say("%s: %s", r->file, strerror(errno));
	return CLI_FAILED;
}

/* Always a new one: after which event its last line stands is not for this format to say. */
static enum cli_exit open_new(struct records *r)
{
	int fd = open(r->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);

	if (fd < 0)
		return file_failed(r);
	r->out = fdopen(fd, "w");
	if (r->out != NULL)
		return CLI_OK;
	(void)close(fd);
	return cli_no_memory();
}

static bool take_record(void *arg, const char *line, size_t len)
{
	struct records *r = arg;

	r->count++;
	return fwrite(line, 1, len, r->out) == len && fputc('\n', r->out) != EOF;
}

static enum cli_exit copy(struct call *call, const char *format, long long from, long long size, struct records *r)
{
	enum cli_exit code = CLI_OK;

	for (long long at = from; code == CLI_OK && at < size; at += PAGE) {
		long long got = 0, count = size - at < PAGE ? size - at : PAGE;
		char *path = client_path(call->client, "/audit/v1/entries?start=%lld&count=%lld&format=%s", at, count, format);
		code = client_lines(call->client, path, take_record, r, &got);
		free(path);
	}
	return ferror(r->out) ? file_failed(r) : code;
}

enum cli_exit log_export_records(struct call *call, const char *format)
{
	__attribute__((cleanup(records_clear))) struct records r = { .file = call_value(call, OPT_OUTPUT) };
	JSON_AUTO *said = NULL;
	long long from = 0, size = 0;
	enum cli_exit code = CLI_OK;

	if (strcmp(format, "azure") != 0) {
		cli_say("--format %s: expected native or azure", format);
		return CLI_USAGE;
	}
	if (call_has(call, OPT_FROM) && !cli_parse_number(call_value(call, OPT_FROM), 0, INT64_MAX, &from)) {
		cli_say("--from %s: expected a sequence number", call_value(call, OPT_FROM));
		return CLI_USAGE;
	}
	code = log_size(call, &size);
	if (code == CLI_OK)
		code = open_new(&r);
	if (code == CLI_OK)
		code = copy(call, format, from, size, &r);
	if (code != CLI_OK)
		return code;
	if (fflush(r.out) != 0 || fsync(fileno(r.out)) != 0 || fclose(KMS_TAKE(r.out)) != 0)
		return file_failed(&r);
	said = json_pack("{s:s, s:s, s:I, s:I}", "file", r.file, "format", format, "records", (json_int_t)r.count, "size", (json_int_t)size);
	if (said == NULL)
		return cli_no_memory();
	(call->as_json ? show_json : show_facts)(said);
	return CLI_OK;
}

/* For people: `settled` is a time elsewhere, here it counts events; and nobody reads milliseconds. */
static bool add_shown(json_t *row)
{
	char behind[32];

	(void)snprintf(behind, sizeof(behind), "%.1f s", (double)json_integer_value(json_object_get(row, "behind_ms")) / 1000.0);
	return json_object_set(row, "events", json_object_get(row, "settled")) == 0 && json_object_set_new(row, "behind", json_string(behind)) == 0;
}

enum cli_exit log_exports(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" }, { "FORMAT", "format" }, { "TO", "to" }, { "SETTLED", "events" }, { "SIZE", "size" }, { "REJECTED", "rejected" },
		{ "BEHIND", "behind" }, { "FAILING", "failing" }, { "STOPS SERVICE", "stops_service" }, { "FAILURE", "failure" }, { NULL, NULL },
	};
	JSON_AUTO *rows = NULL;
	enum cli_exit code = CLI_OK;

	if (call->as_json)
		return cli_list(call, client_path(call->client, "/admin/v1/exports"), COLUMNS);
	code = cli_fetch_list(call, client_path(call->client, "/admin/v1/exports"), &rows);
	for (size_t i = 0; code == CLI_OK && i < json_array_size(rows); i++)
		code = add_shown(json_array_get(rows, i)) ? CLI_OK : cli_no_memory();
	if (code == CLI_OK)
		show_table(rows, COLUMNS);
	return code;
}
