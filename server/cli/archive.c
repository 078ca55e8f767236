/* server/cli/archive.c - retention of the log: an archive of its first leaves, and the pruning that an archive is the ticket for. The root is computed here, from the bytes of
 * the file: what is confirmed is what lies on this disk. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/cli/command.h"

#define HASH_LEN 32
#define LEVELS 64
#define LINE_MAX_BYTES 65536
#define HIDDEN "{\"hash\":\""

/* The tree over the lines of a file: RFC 6962, right edge only (audit-log.md section 4). */
struct archive {
	const char *file;
	long long size;
	long long bodies;
	long long pruned;  /* hashes may stand for leaves below this: the server has their bodies no more */
	uint8_t edge[LEVELS][HASH_LEN];
};

static bool hash(uint8_t prefix, const void *a, size_t a_len, const void *b, size_t b_len, uint8_t ret[HASH_LEN])
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	bool good = c != NULL && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(c, &prefix, 1) == 1 && EVP_DigestUpdate(c, a, a_len) == 1 &&
	            EVP_DigestUpdate(c, b, b_len) == 1 && EVP_DigestFinal_ex(c, ret, NULL) == 1;

	EVP_MD_CTX_free(c);
	return good;
}

static bool append(struct archive *a, const uint8_t leaf[HASH_LEN])
{
	uint8_t h[HASH_LEN];
	unsigned level = 0;

	memcpy(h, leaf, HASH_LEN);
	for (unsigned long long at = (unsigned long long)a->size; (at & 1) != 0; at >>= 1, level++)
		if (!hash(1, a->edge[level], HASH_LEN, h, HASH_LEN, h))
			return false;
	memcpy(a->edge[level], h, HASH_LEN);
	a->size++;
	return true;
}

/* From the smallest subtree on the right to the largest on the left. */
static bool root_of(const struct archive *a, uint8_t ret[HASH_LEN])
{
	bool has_any = false;

	for (unsigned level = 0; level < LEVELS; level++) {
		if (((unsigned long long)a->size >> level & 1) == 0)
			continue;
		if (has_any && !hash(1, a->edge[level], HASH_LEN, ret, HASH_LEN, ret))
			return false;
		if (!has_any)
			memcpy(ret, a->edge[level], HASH_LEN);
		has_any = true;
	}
	return has_any;
}

static enum cli_exit bad_line(const struct archive *a, const char *why)
{
	cli_say("%s:%lld: %s; this is no archive of the log from its beginning", a->file, a->size + 1, why);
	return CLI_USAGE;
}

/* A leaf, or the hash of one that was pruned before. */
static enum cli_exit take(struct archive *a, const char *line, size_t len)
{
	JSON_AUTO *leaf = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *seq = json_object_get(leaf, "seq");
	const char *text = json_string_value(json_object_get(leaf, "hash"));
	bool is_hidden = len > strlen(HIDDEN) && memcmp(line, HIDDEN, strlen(HIDDEN)) == 0;
	uint8_t h[HASH_LEN];

	if (!json_is_integer(seq) || json_integer_value(seq) != a->size)
		return bad_line(a, "another entry belongs here");
	if (is_hidden && a->size >= a->pruned) {
		cli_say("%s:%lld: the body of this entry is missing: whoever made the file could not see all events. An archive is made by an auditor of the installation, or on the "
		        "server's own host", a->file, a->size + 1);
		return CLI_REFUSED;
	}
	if (is_hidden) {
		uint8_t bytes[B64_LEN(HASH_LEN)];
		if (text == NULL || strlen(text) != B64_LEN(HASH_LEN) || EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)strlen(text)) < HASH_LEN)
			return bad_line(a, "the hash is malformed");
		memcpy(h, bytes, HASH_LEN);
	} else if (!hash(0, line, len, "", 0, h)) {
		return cli_no_memory();
	}
	a->bodies += !is_hidden;
	return append(a, h) ? CLI_OK : cli_no_memory();
}

static enum cli_exit read_lines(struct archive *a, FILE *f)
{
	TEXT_AUTO *line = NULL;
	size_t cap = 0;
	ssize_t len = 0;
	enum cli_exit code = CLI_OK;

	while (code == CLI_OK && (len = getline(&line, &cap, f)) > 0) {
		if (len > LINE_MAX_BYTES || line[len - 1] != '\n')
			return bad_line(a, "a line that is cut, or too long");
		code = take(a, line, (size_t)len - 1);
	}
	if (code == CLI_OK && ferror(f) != 0) {
		cli_say("%s: %s", a->file, strerror(errno));
		return CLI_FAILED;
	}
	return code;
}

static enum cli_exit read_archive(struct archive *a, uint8_t ret_root[HASH_LEN])
{
	FILE *f = fopen(a->file, "re");
	enum cli_exit code = CLI_OK;

	if (f == NULL) {
		cli_say("%s: %s", a->file, strerror(errno));
		return CLI_USAGE;
	}
	code = read_lines(a, f);
	(void)fclose(f);
	if (code == CLI_OK && !root_of(a, ret_root))
		return bad_line(a, "the file is empty");
	return code;
}

/* How retention stands. @param ret  owned by the caller */
static enum cli_exit ask_retention(struct call *call, json_t **ret)
{
	JSON_AUTO *when = json_object();
	char *path = NULL;
	enum cli_exit code = when != NULL ? cli_add_time(call, OPT_BEFORE, "at", when) : cli_no_memory();

	if (code != CLI_OK)
		return code;
	path = call_has(call, OPT_BEFORE) ? client_path(call->client, "/audit/v1/retention?before=%lld", json_integer_value(json_object_get(when, "at")))
	                                  : client_path(call->client, "/audit/v1/retention");
	code = path != NULL ? client_json(call->client, "GET", path, NULL, ret) : cli_no_memory();
	free(path);
	return code;
}

static enum cli_exit choose_size(struct call *call, const json_t *retention, long long *ret)
{
	long long days = json_integer_value(json_object_get(retention, "keep_days"));

	if (call_has(call, OPT_SIZE) && call_has(call, OPT_BEFORE)) {
		cli_say("--size and --before exclude each other");
		return CLI_USAGE;
	}
	if (call_has(call, OPT_SIZE) && !cli_parse_number(call_value(call, OPT_SIZE), 1, INT64_MAX, ret)) {
		cli_say("--size %s: expected the size of a checkpoint", call_value(call, OPT_SIZE));
		return CLI_USAGE;
	}
	if (call_has(call, OPT_SIZE))
		return CLI_OK;
	*ret = json_integer_value(json_object_get(retention, "size"));
	if (*ret > 0)
		return CLI_OK;
	if (call_has(call, OPT_BEFORE))
		cli_say("no checkpoint was signed before that time, beyond what is pruned already");
	else if (json_is_false(json_object_get(retention, "has_time")))
		cli_say("no witness has said what time it is since the server started, so nothing is old enough yet; --before TIME or --size N archives all the same");
	else if (days == 0)
		cli_say("log.keep_days is 0: nothing is ever pruned; --before TIME or --size N archives all the same");
	else
		cli_say("no event that was not pruned is older than log.keep_days (%lld days); --before TIME or --size N archives younger ones", days);
	return CLI_REFUSED;
}

static enum cli_exit tell(const struct call *call, const struct archive *a, const uint8_t root[HASH_LEN])
{
	char text[B64_LEN(HASH_LEN) + 1];
	JSON_AUTO *said = NULL;

	b64_encode(root, HASH_LEN, text);
	said = json_pack("{s:s, s:I, s:I, s:s}", "file", a->file, "size", (json_int_t)a->size, "bodies", (json_int_t)a->bodies, "root", text);
	if (said == NULL)
		return cli_no_memory();
	if (call->as_json)
		show_json(said);
	else
		show_facts(said);
	return CLI_OK;
}

enum cli_exit log_archive(struct call *call)
{
	JSON_AUTO *retention = NULL;
	struct archive a = { .file = call->arg[0] };
	uint8_t root[HASH_LEN];
	long long size = 0;
	enum cli_exit code = cli_can_write(a.file) ? ask_retention(call, &retention) : CLI_USAGE;

	if (code == CLI_OK)
		code = choose_size(call, retention, &size);
	if (code == CLI_OK)
		code = log_export_to(call, a.file, size);
	a.pruned = json_integer_value(json_object_get(retention, "pruned"));
	if (code == CLI_OK)
		code = read_archive(&a, root);
	if (code == CLI_OK && a.size != size) {
		cli_say("%s holds %lld entries, more than the %lld that were asked for; name another file", a.file, a.size, size);
		return CLI_USAGE;
	}
	return code == CLI_OK ? tell(call, &a, root) : code;
}

enum cli_exit log_prune(struct call *call)
{
	JSON_AUTO *retention = NULL;
	JSON_AUTO *body = NULL;
	struct archive a = { .file = call_value(call, OPT_ARCHIVE) };
	uint8_t root[HASH_LEN];
	char text[B64_LEN(HASH_LEN) + 1];
	enum cli_exit code = ask_retention(call, &retention);

	a.pruned = json_integer_value(json_object_get(retention, "pruned"));
	if (code == CLI_OK)
		code = read_archive(&a, root);
	if (code != CLI_OK)
		return code;
	b64_encode(root, HASH_LEN, text);
	body = json_pack("{s:I, s:s, s:s}", "size", (json_int_t)a.size, "root", text, "reason", call_value(call, OPT_REASON));
	return body != NULL ? cli_ask(call, "POST", client_path(call->client, "/admin/v1/log/prune"), body) : cli_no_memory();
}
