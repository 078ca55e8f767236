/* server/cli/command.c - see command.h. */
#include "server/cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/base/encode.h"

#define PSEUDONYM_LEN 16

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

static enum cli_exit not_expected(const struct call *call, enum option_id id)
{
	const struct cli_option *o = cli_option(id);

	cli_say("--%s %s: expected %s", o->name, call_value(call, id), o->expected);
	return CLI_USAGE;
}

enum cli_exit cli_add_number(const struct call *call, enum option_id id, const char *name, json_t *body)
{
	long long number = 0;

	if (!call_has(call, id))
		return CLI_OK;
	if (!cli_parse_number(call_value(call, id), 0, INT32_MAX, &number))
		return not_expected(call, id);
	return json_object_set_new(body, name, json_integer(number)) == 0 ? CLI_OK : cli_no_memory();
}

enum cli_exit cli_count(const struct call *call, long long least, long long most, long long *ret)
{
	const char *text = call_has(call, OPT_LIMIT) ? call_value(call, OPT_LIMIT) : call_value(call, OPT_LINES);

	if (call_has(call, OPT_LIMIT) && call_has(call, OPT_LINES)) {
		cli_say("-n and --limit are the same; give either");
		return CLI_USAGE;
	}
	if (text == NULL || cli_parse_number(text, least, most, ret))
		return CLI_OK;
	cli_say("%s %s: expected a number of lines from %lld to %lld", call_has(call, OPT_LIMIT) ? "--limit" : "-n", text, least, most);
	return CLI_USAGE;
}

/* "8h" in seconds. */
static bool parse_span(const char *text, long long *ret_s)
{
	static const struct {
		char unit;
		long long s;
	} UNITS[] = { { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	char *end = NULL;
	long long n = 0;

	errno = 0;
	if (*text < '0' || *text > '9')
		return false;
	n = strtoll(text, &end, 10);
	for (size_t i = 0; i < KMS_ARRAY_LEN(UNITS); i++)
		if (errno == 0 && *end == UNITS[i].unit && end[1] == '\0' && n <= INT32_MAX) {
			*ret_s = n * UNITS[i].s;
			return true;
		}
	return false;
}

bool cli_parse_span(const char *text, long long *ret_s)
{
	long long span_s = 0;

	if ((text[0] != '+' && text[0] != '-') || !parse_span(text + 1, &span_s))
		return false;
	*ret_s = time(NULL) + (text[0] == '-' ? -span_s : span_s);
	return *ret_s >= 0;
}

static bool parse_date(const char *text, long long *ret_s)
{
	static const char *const FORMS[] = { "%Y-%m-%d", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z" };

	for (size_t i = 0; i < KMS_ARRAY_LEN(FORMS); i++) {
		struct tm tm = { 0 };
		const char *end = strptime(text, FORMS[i], &tm);
		struct tm same = tm;
		if (end == NULL || *end != '\0')
			continue;
		*ret_s = timegm(&same) - tm.tm_gmtoff;
		return same.tm_mday == tm.tm_mday && same.tm_mon == tm.tm_mon; /* no 31st of June */
	}
	return false;
}

enum cli_exit cli_add_time(const struct call *call, enum option_id id, const char *name, json_t *body)
{
	const char *text = call_value(call, id);
	long long at_s = 0;

	if (!call_has(call, id))
		return CLI_OK;
	if (!cli_parse_span(text, &at_s) && !cli_parse_number(text, 0, INT64_MAX, &at_s) && !parse_date(text, &at_s)) {
		cli_say("--%s %s: expected %s", cli_option(id)->name, text, CLI_TIME);
		return CLI_USAGE;
	}
	return json_object_set_new(body, name, json_integer(at_s)) == 0 ? CLI_OK : cli_no_memory();
}

enum cli_exit cli_add_list(const struct call *call, const char *name, json_t *body)
{
	JSON_AUTO *list = json_array();

	if (call->list_count == 0)
		return CLI_OK;
	for (size_t i = 0; i < call->list_count; i++)
		if (json_array_append_new(list, json_string(call->list[i])) != 0)
			return cli_no_memory();
	return json_object_set(body, name, list) == 0 ? CLI_OK : cli_no_memory();
}

enum cli_exit cli_no_memory(void)
{
	cli_say("not enough memory, or text that is not UTF-8");
	return CLI_FAILED;
}

char *cli_read_file(const char *name, size_t max, size_t *ret_len)
{
	FILE *f = fopen(name, "re");
	char *text = f != NULL ? calloc(1, max + 1) : NULL;
	size_t len = text != NULL ? fread(text, 1, max + 1, f) : 0;
	int why = errno;

	if (f != NULL && ferror(f) == 0 && len > 0 && len <= max) {
		(void)fclose(f);
		text[len] = '\0';
		*ret_len = len;
		return text;
	}
	if (f == NULL || ferror(f) != 0)
		cli_say("%s: %s", name, strerror(why));
	else
		cli_say("%s: expected a file of 1 to %zu bytes", name, max);
	if (f != NULL)
		(void)fclose(f);
	free(text);
	return NULL;
}

static bool write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t done = write(fd, text, len);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		text += done;
		len -= (size_t)done;
	}
	return true;
}

/* The new name is on the disk once its directory is. */
static bool sync_directory_of(const char *name)
{
	const char *slash = strrchr(name, '/');
	char *dir = slash == NULL ? strdup(".") : slash == name ? strdup("/") : strndup(name, (size_t)(slash - name));
	int fd = dir != NULL ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	bool good = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		(void)close(fd);
	free(dir);
	return good;
}

bool cli_can_write(const char *name)
{
	struct stat st;
	char temporary[4096] = "";
	bool fits = snprintf(temporary, sizeof(temporary), "%s.%ld", name, (long)getpid()) < (int)sizeof(temporary);
	bool is_directory = stat(name, &st) == 0 && S_ISDIR(st.st_mode);
	int fd = fits && !is_directory ? open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR) : -1;
	int why = !fits ? ENAMETOOLONG : is_directory ? EISDIR : errno;

	if (fd >= 0 && close(fd) == 0 && unlink(temporary) == 0)
		return true;
	cli_say("%s: %s; nothing was asked of the server", name, strerror(why));
	return false;
}

enum cli_exit cli_write_file(const char *name, const char *text, size_t len)
{
	char temporary[4096] = "";
	bool fits = snprintf(temporary, sizeof(temporary), "%s.%ld", name, (long)getpid()) < (int)sizeof(temporary);
	int fd = fits ? open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR) : -1;
	bool good = fd >= 0 && write_all(fd, text, len) && fsync(fd) == 0;
	int why = errno;

	if (fd >= 0 && close(fd) != 0)
		good = false;
	if (good && rename(temporary, name) == 0) {
		if (sync_directory_of(name))
			return CLI_OK;
		cli_say("%s: it was written, but its directory could not be synced: %s", name, strerror(errno));
		return CLI_FAILED;
	}
	if (good)
		why = errno;
	if (fd >= 0)
		(void)unlink(temporary);
	cli_say("%s: %s", name, strerror(fits ? why : ENAMETOOLONG));
	return CLI_FAILED;
}

/* ---- paths ---- */

bool cli_is_installation(const struct call *call) { return strcmp(call->arg[0], CLI_INSTALLATION) == 0; }

char *cli_scope_path(struct call *call, const char *fmt, ...)
{
	char *scope = cli_is_installation(call) ? strdup("/admin/v1") : client_path(call->client, "/admin/v1/vaults/%s", call->arg[0]);
	char *tail = NULL, *path = NULL;
	va_list args;

	va_start(args, fmt);
	tail = client_vpath(call->client, fmt, args);
	va_end(args);
	if (scope == NULL || tail == NULL || asprintf(&path, "%s%s", scope, tail) < 0)
		path = NULL; /* undefined after a failure, asprintf(3) */
	free(scope);
	free(tail);
	return path;
}

/* ---- requests ---- */

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

enum cli_exit cli_post(struct call *call, char *path)
{
	JSON_AUTO *body = json_object();

	if (body == NULL) {
		free(path);
		return cli_no_memory();
	}
	return cli_ask(call, "POST", path, body);
}

static char *next_page(struct call *call, const char *first, const char *after)
{
	char *query = client_path(call->client, "after=%s", after);
	char *path = NULL;
	if (query != NULL && asprintf(&path, "%s%c%s", first, strchr(first, '?') != NULL ? '&' : '?', query) < 0)
		path = NULL; /* undefined after a failure, asprintf(3) */
	free(query);
	return path;
}

static enum cli_exit fetch_pages(struct call *call, const char *first, json_t *all)
{
	char *path = strdup(first);

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
		if (next == NULL)
			return CLI_OK;
		path = next_page(call, first, next);
	}
	return cli_no_memory();
}

enum cli_exit cli_fetch_list(struct call *call, char *first, json_t **ret_rows)
{
	JSON_AUTO *all = json_array();
	enum cli_exit code = first != NULL && all != NULL ? fetch_pages(call, first, all) : cli_no_memory();

	free(first);
	if (code == CLI_OK)
		*ret_rows = json_incref(all);
	return code;
}

enum cli_exit cli_list(struct call *call, char *first, const struct show_column *columns)
{
	JSON_AUTO *all = NULL;
	JSON_AUTO *whole = NULL;
	enum cli_exit code = cli_fetch_list(call, first, &all);

	if (code != CLI_OK)
		return code;
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

/* ---- names of principals ---- */

static enum cli_exit find_named(struct call *call, const char *what, const char *name, json_t **found, size_t *count)
{
	JSON_AUTO *rows = NULL;
	json_t *row = NULL;
	size_t i = 0;
	enum cli_exit code = cli_fetch_list(call, cli_scope_path(call, what), &rows);

	if (code != CLI_OK)
		return code;
	json_array_foreach(rows, i, row) {
		const char *text = json_string_value(json_object_get(row, "name")), *pid = json_string_value(json_object_get(row, "pseudonym"));
		if ((text == NULL || strcasecmp(text, name) != 0) && (pid == NULL || strcmp(pid, name) != 0))
			continue;
		if (*count == 0)
			*found = json_incref(row);
		++*count;
	}
	return CLI_OK;
}

enum cli_exit cli_resolve(struct call *call, const char *text, const char **ret_id, json_t **ret_owner)
{
	uint8_t id[GUID_LEN];
	size_t count = 0;
	enum cli_exit code = CLI_OK;

	*ret_id = text;
	if (guid_parse(text, strlen(text), id))
		return CLI_OK;
	code = find_named(call, "/principals", text, ret_owner, &count);
	if (code == CLI_OK && !cli_is_installation(call))
		code = find_named(call, "/groups", text, ret_owner, &count);
	if (code != CLI_OK)
		return code;
	*ret_id = json_string_value(json_object_get(*ret_owner, "id"));
	if (count == 1 && *ret_id != NULL)
		return CLI_OK;
	cli_say(count == 0 ? "%s: there is no principal or group of this name in %s"
	                   : "%s: several principals or groups of %s have this name; give the id", text, call->arg[0]);
	return CLI_USAGE;
}

enum cli_exit cli_resolve_pseudonym(struct call *call, const char *text, const char **ret_id, json_t **ret_owner)
{
	uint8_t pid[PSEUDONYM_LEN];
	size_t len = 0;

	*ret_id = text;
	if (strlen(text) == B64URL_LEN(sizeof(pid)) && b64url_decode(text, strlen(text), pid, sizeof(pid), &len))
		return CLI_OK;
	return cli_resolve(call, text, ret_id, ret_owner);
}
