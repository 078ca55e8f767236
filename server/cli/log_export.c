/* server/cli/log_export.c - the log as a file that holdfast-verify checks: canonical leaves, one a line, up to a checkpoint that is kept beside it. It goes on where an
 * earlier run ended, whatever ended that: only whole lines count, and the last of them must be the server's. One page of memory, whatever the log's size. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/cli/command.h"

#define EXPORT_PAGE 1000 /* the server's limit of one request */
#define COVER_WAIT_S 3   /* a checkpoint follows its leaf within a second or two, unless the log is late */
#define LINE_MAX_BYTES 65536 /* above any leaf, audit-log.md 3.1 */

struct export {
	struct call *call;
	const char *file;
	FILE *out;         /* owned */
	long long next;    /* the place of the line that comes next */
	long long last;    /* the line that must be the server's, or -1 */
	char *last_line;   /* owned; without any whole line: what there is of the first, or NULL */
	off_t whole;       /* how much of the file is whole lines */
	bool shows_progress;
	char why[160];     /* what is wrong with a line of the answer */
};

static void export_clear(struct export *e)
{
	if (e->out != NULL)
		(void)fclose(e->out); /* after a failure, which was told; success has closed it */
	free(e->last_line);
}

static enum cli_exit file_failed(const struct export *e)
{
	cli_say("%s: %s", e->file, strerror(errno));
	return CLI_FAILED;
}

/* The place of a line; -1 = it is no line of a log. */
static long long seq_of(const char *line, size_t len)
{
	JSON_AUTO *leaf = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *seq = json_object_get(leaf, "seq");

	return json_is_integer(seq) && json_integer_value(seq) >= 0 ? json_integer_value(seq) : -1;
}

/* ---- the file that is there already ---- */

/* Where the last whole line ends, and where it begins; both 0 when there is none. */
static bool find_last_line(int fd, off_t size, off_t *ret_begin, off_t *ret_end)
{
	char bytes[4096];
	off_t end = 0;

	for (off_t at = size; at > 0;) {
		size_t len = at < (off_t)sizeof(bytes) ? (size_t)at : sizeof(bytes);
		at -= (off_t)len;
		if (pread(fd, bytes, len, at) != (ssize_t)len)
			return false;
		for (size_t i = len; i-- > 0;) {
			if (bytes[i] != '\n')
				continue;
			if (end > 0) {
				*ret_begin = at + (off_t)i + 1;
				*ret_end = end;
				return true;
			}
			end = at + (off_t)i + 1;
		}
		if (end > 0 && end - at > LINE_MAX_BYTES) {
			errno = EFBIG;
			return false;
		}
	}
	*ret_begin = 0;
	*ret_end = end;
	return true;
}

static enum cli_exit read_bytes(struct export *e, off_t begin, size_t len)
{
	e->last_line = calloc(1, len + 1);
	if (e->last_line == NULL)
		return cli_no_memory();
	return pread(fileno(e->out), e->last_line, len, begin) == (ssize_t)len ? CLI_OK : file_failed(e);
}

static enum cli_exit read_last_line(struct export *e, off_t begin, size_t len)
{
	enum cli_exit code = read_bytes(e, begin, len);

	if (code != CLI_OK)
		return code;
	e->last = seq_of(e->last_line, len);
	if (e->last < 0) {
		cli_say("%s: its last line is no event of a log; name another file", e->file);
		return CLI_USAGE;
	}
	e->next = e->last + 1;
	return CLI_OK;
}

/* Where did an earlier run end? Nothing is changed: it is not known yet whether the file is an export at all. */
static enum cli_exit look(struct export *e)
{
	struct stat st;
	off_t begin = 0;
	int fd = fileno(e->out);

	if (fstat(fd, &st) != 0 || !find_last_line(fd, st.st_size, &begin, &e->whole))
		return file_failed(e);
	if (e->whole > 0)
		return read_last_line(e, begin, (size_t)(e->whole - begin - 1));
	if (st.st_size <= LINE_MAX_BYTES)
		return st.st_size > 0 ? read_bytes(e, 0, (size_t)st.st_size) : CLI_OK;
	cli_say("%s: there is no event of a log in it; name another file", e->file);
	return CLI_USAGE;
}

/* What the earlier run wrote of a line is cut. */
static enum cli_exit resume(struct export *e)
{
	int fd = fileno(e->out);
	return ftruncate(fd, e->whole) == 0 && lseek(fd, e->whole, SEEK_SET) == e->whole ? CLI_OK : file_failed(e);
}

static enum cli_exit open_file(struct export *e)
{
	int fd = open(e->file, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
	struct stat st;

	if (fd >= 0)
		e->out = fdopen(fd, "r+");
	if (e->out == NULL) {
		enum cli_exit code = file_failed(e);
		if (fd >= 0)
			(void)close(fd);
		return code;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		cli_say("%s: expected a regular file", e->file);
		return CLI_USAGE;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		cli_say("%s: another export writes it", e->file);
		return CLI_FAILED;
	}
	return CLI_OK;
}

/* ---- pages ---- */

static bool is_last_line(void *arg, const char *line, size_t len)
{
	struct export *e = arg;

	size_t have = strlen(e->last_line);

	if ((e->last < 0 ? have <= len : have == len) && memcmp(e->last_line, line, have) == 0)
		return true;
	(void)snprintf(e->why, sizeof(e->why), "entry %lld in the file is not that of the server", e->last < 0 ? e->next : e->last);
	return false;
}

static bool take_line(void *arg, const char *line, size_t len)
{
	struct export *e = arg;

	if (seq_of(line, len) != e->next) {
		(void)snprintf(e->why, sizeof(e->why), "the answer has another line where entry %lld belongs", e->next);
		return false;
	}
	e->next++;
	return fwrite(line, 1, len, e->out) == len && fputc('\n', e->out) != EOF;
}

static enum cli_exit get(struct export *e, long long start, long long count, client_line_fn each, long long *ret_count)
{
	char *path = client_path(e->call->client, "/audit/v1/entries?start=%lld&count=%lld", start, count);
	enum cli_exit code = CLI_OK;

	errno = 0;
	code = client_lines(e->call->client, path, each, e, ret_count);
	free(path);
	if (code != CLI_OK && e->why[0] != '\0')
		cli_say("%s: %s", e->file, e->why);
	else if (ferror(e->out))
		return file_failed(e);
	return code;
}

/* Is the file of this log, as it is now? Another log, or one that was rolled back and went on, has another line there. */
static enum cli_exit check_last(struct export *e)
{
	long long count = 0;
	enum cli_exit code = e->last_line == NULL ? CLI_OK : get(e, e->last < 0 ? e->next : e->last, 1, is_last_line, &count);

	if (code == CLI_OK && (e->last_line == NULL || count == 1))
		return CLI_OK;
	if (code == CLI_OK || e->why[0] != '\0') {
		cli_say("%s is of another log, or of one that was changed since, or you may see other events than whoever made it. Keep it: it may be evidence. Name another "
		        "file to begin anew", e->file);
		return CLI_REFUSED;
	}
	return code;
}

static enum cli_exit copy(struct export *e, long long end)
{
	while (e->next < end) {
		long long count = end - e->next < EXPORT_PAGE ? end - e->next : EXPORT_PAGE, got = 0, from = e->next;
		enum cli_exit code = get(e, from, count, take_line, &got);
		if (code != CLI_OK)
			return code;
		if (got == 0) {
			cli_say("the server gave no entry %lld, although its checkpoint covers %lld; the file ends there", from, end);
			return CLI_FAILED;
		}
		if (fflush(e->out) != 0)
			return file_failed(e);
		if (e->shows_progress)
			(void)fprintf(stderr, "\r%lld of %lld ", e->next, end);
	}
	if (e->shows_progress)
		(void)fputc('\n', stderr);
	return CLI_OK;
}

/* ---- what covers it ---- */

/* The key changed at this size: the checkpoint that both keys signed tells a verifier who trusts the old one that the new one is good (audit-log.md 5.6). */
static enum cli_exit keep_change(struct export *e, long long size, json_t *kept)
{
	CHECKPOINT_AUTO c = { 0 };
	TEXT_AUTO *name = NULL;
	enum cli_exit code = checkpoint_fetch(e->call, size, &c);

	if (code != CLI_OK)
		return code;
	if (asprintf(&name, "%s.checkpoint-%lld", e->file, size) < 0) {
		name = NULL; /* undefined after a failure, asprintf(3) */
		return cli_no_memory();
	}
	code = cli_write_file(name, c.note, strlen(c.note));
	if (code == CLI_OK && json_array_append_new(kept, json_string(name)) != 0)
		code = cli_no_memory();
	return code;
}

/* Every change in this log up to the newest checkpoint. Its first key is no change; other logs had theirs. */
static enum cli_exit keep_changes(struct export *e, const struct checkpoint *newest, json_t *kept)
{
	JSON_AUTO *keys = NULL;
	const json_t *key = NULL;
	long long first = INT64_MAX;
	enum cli_exit code = client_json(e->call->client, "GET", "/audit/v1/keys", NULL, &keys);

	for (size_t pass = 0; pass < 2; pass++)
		for (size_t i = 0; code == CLI_OK && (key = json_array_get(json_object_get(keys, "log"), i)) != NULL; i++) {
			const char *origin = json_string_value(json_object_get(key, "origin"));
			long long generation = json_integer_value(json_object_get(key, "generation")), size = json_integer_value(json_object_get(key, "from_size"));
			if (origin == NULL || strcmp(origin, newest->origin) != 0)
				continue;
			if (pass == 0)
				first = generation < first ? generation : first;
			else if (generation > first && size <= newest->size)
				code = keep_change(e, size, kept);
		}
	return code;
}

/* The leaves are on the disk before the checkpoint that covers them. */
static enum cli_exit finish(struct export *e, const struct checkpoint *c, json_t *kept)
{
	TEXT_AUTO *name = NULL;
	enum cli_exit code = CLI_OK;
	bool good = fflush(e->out) == 0 && fsync(fileno(e->out)) == 0;

	if (!good)
		return file_failed(e);
	if (fclose(KMS_TAKE(e->out)) != 0)
		return file_failed(e);
	code = keep_changes(e, c, kept);
	if (code != CLI_OK)
		return code;
	if (asprintf(&name, "%s.checkpoint", e->file) < 0) {
		name = NULL; /* undefined after a failure, asprintf(3) */
		return cli_no_memory();
	}
	return cli_write_file(name, c->note, strlen(c->note));
}

/* @param size  what was asked for; -1 = the newest */
static enum cli_exit begin(struct export *e, const struct checkpoint *c, long long size)
{
	long long from = 0;
	enum cli_exit code = CLI_OK;

	if (call_has(e->call, OPT_FROM) && !cli_parse_number(call_value(e->call, OPT_FROM), 0, INT64_MAX, &from)) {
		cli_say("--from %s: expected a sequence number", call_value(e->call, OPT_FROM));
		return CLI_USAGE;
	}
	e->next = from;
	e->last = -1;
	code = open_file(e);
	if (code == CLI_OK)
		code = look(e);
	if (code != CLI_OK)
		return code;
	if (e->next > c->size && size >= 0) {
		cli_say("%s holds %lld events already, more than the %lld that were asked for; name another file", e->file, e->next, c->size);
		return CLI_USAGE;
	}
	if (e->next > c->size) {
		cli_say("%s: %s entry %lld, and the server's newest checkpoint covers only %lld. A log never becomes shorter: either the file is of another "
		        "log, or this one was rolled back. Keep the file",
		        e->file, e->last < 0 ? "--from begins at" : "its last line is", e->last < 0 ? e->next : e->last, c->size);
		return CLI_REFUSED;
	}
	code = check_last(e);
	return code == CLI_OK ? resume(e) : code;
}

/* One that covers what is there now; after a while the newest that there is: a log that is late, or rolled back, is evidence all the same. */
static enum cli_exit fetch_newest(struct call *call, struct checkpoint *ret)
{
	const struct timespec pause = { .tv_nsec = 250 * 1000 * 1000 };
	long long size = 0;
	enum cli_exit code = log_size(call, &size);

	if (code == CLI_OK)
		code = checkpoint_fetch(call, -1, ret);
	for (int tries = COVER_WAIT_S * 4; code == CLI_OK && ret->size < size && tries > 0; tries--) {
		checkpoint_clear(ret);
		(void)nanosleep(&pause, NULL); /* a signal only makes the next look earlier */
		code = checkpoint_fetch(call, -1, ret);
	}
	return code;
}

enum cli_exit log_export_to(struct call *call, const char *file, long long size)
{
	__attribute__((cleanup(export_clear))) struct export e = { .call = call, .file = file };
	CHECKPOINT_AUTO c = { 0 };
	JSON_AUTO *said = NULL;
	JSON_AUTO *kept = json_array();
	long long first = 0;
	enum cli_exit code = kept == NULL ? cli_no_memory() : size < 0 ? fetch_newest(call, &c) : checkpoint_fetch(call, size, &c);

	e.shows_progress = isatty(STDERR_FILENO) == 1;
	if (code == CLI_OK)
		code = begin(&e, &c, size);
	first = e.next;
	if (code == CLI_OK)
		code = copy(&e, c.size);
	if (code == CLI_OK)
		code = finish(&e, &c, kept);
	if (code != CLI_OK || size >= 0) /* an archive tells more */
		return code;
	said = json_pack("{s:s, s:s, s:I, s:I, s:O}", "file", e.file, "origin", c.origin, "added", (json_int_t)(e.next - first), "size", (json_int_t)c.size,
	                 "key_changes", kept);
	if (said == NULL)
		return cli_no_memory();
	if (call->as_json)
		show_json(said);
	else
		show_facts(said);
	return CLI_OK;
}

enum cli_exit log_export(struct call *call)
{
	const char *format = call_has(call, OPT_FORMAT) ? call_value(call, OPT_FORMAT) : "native";

	return strcmp(format, "native") == 0 ? log_export_to(call, call_value(call, OPT_OUTPUT), -1) : log_export_records(call, format);
}
