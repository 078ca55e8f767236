/* server/verify/main.c - holdfast-verify: the command line, and the files. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/verify/explain.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define VERSION_TEXT TEXT(HOLDFAST_VERSION)

#define CHUNK (1 << 20)
#define SMALL_FILE_MAX BUNDLE_MAX
#define APPROVERS_MAX 16

static const char USAGE[] =
	"usage: holdfast-verify [options] [LOG.jsonl ...]\n"
	"       holdfast-verify certificate [options] FILE [LOG.jsonl ...]\n"
	"\n"
	"Checks an exported key event log against what was signed, without a server. The LOG files are read in order as one stream; - is standard input.\n"
	"The second form checks a destruction certificate, alone or against its log, and says in plain words what it attests and what it does not.\n"
	"\n"
	"  --key VKEY          a key to trust: NAME+ID+BASE64. A name HOST/attest/... is an attestation key's, HOST/approver/... an approver's, any other\n"
	"                      a log's. A key that stands in the log is trusted only when a trusted one hands over to it.\n"
	"  --policy FILE       C2SP policy: lines of log, witness, group, quorum\n"
	"  --checkpoint FILE   a signed checkpoint\n"
	"  --trusted FILE      a checkpoint that was kept from another time: the log must contain it, or be contained in it\n"
	"  --proof FILE        a consistency proof, when no leaves are given: the JSON of /audit/v1/proof/consistency\n"
	"  --bundle FILE       a leaf with its proof and checkpoint: the text of /audit/v1/proof/bundle\n"
	"  --certificate FILE  a destruction certificate\n"
	"  --max-age SECONDS   fail when the newest checkpoint or cosignature is older\n"
	"  --approvers N       people who must have approved a shred, at least (default 1, or what the log says of the vault)\n"
	"  --partial           the leaves are a part of a log: look at their form, order and meaning; no root is computed\n"
	"  --complete          the leaves are the whole log, exported by somebody who may see all of it: what is known by its hash only must be what\n"
	"                      log.pruned announces; without it the number of others is a warning\n"
	"  --json              one JSON object instead of lines\n"
	"  --version, --help\n"
	"\n"
	"Exit: 0 all checks passed; otherwise the first that failed, in this order: 1 usage or file, 2 signature or quorum, 6 leaf not canonical or unknown\n"
	"member, 5 gap, duplicate or wrong order, or shorter than what was signed, 3 root differs, 4 fork or inconsistency, 7 too old, 8 meaning violated.\n";

enum option_id {
	OPT_KEY = 256, OPT_POLICY, OPT_CHECKPOINT, OPT_TRUSTED, OPT_PROOF, OPT_BUNDLE, OPT_CERTIFICATE, OPT_MAX_AGE, OPT_APPROVERS, OPT_PARTIAL, OPT_COMPLETE, OPT_JSON,
	OPT_VERSION, OPT_HELP
};
static const struct option OPTIONS[] = {
	{ "key", required_argument, NULL, OPT_KEY },
	{ "policy", required_argument, NULL, OPT_POLICY },
	{ "checkpoint", required_argument, NULL, OPT_CHECKPOINT },
	{ "trusted", required_argument, NULL, OPT_TRUSTED },
	{ "proof", required_argument, NULL, OPT_PROOF },
	{ "bundle", required_argument, NULL, OPT_BUNDLE },
	{ "certificate", required_argument, NULL, OPT_CERTIFICATE },
	{ "max-age", required_argument, NULL, OPT_MAX_AGE },
	{ "approvers", required_argument, NULL, OPT_APPROVERS },
	{ "partial", no_argument, NULL, OPT_PARTIAL },
	{ "complete", no_argument, NULL, OPT_COMPLETE },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

/* One option that names a file or a key. */
struct item {
	int id;
	const char *value;
};
struct command {
	struct verify_options options;
	struct item *items; /* owned */
	size_t item_count;
	bool as_json;
	bool explains; /* what its certificate says */
	char **files;
	size_t file_count;
	char *texts[SIGNED_MAX]; /* owned: the small files, for as long as the verification lives */
	size_t text_count;
};

/* @return EXIT_USAGE */
__attribute__((format(printf, 3, 4))) static int complain(const char *file, const char *what, const char *format, ...)
{
	va_list args;
	char text[256];

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)fprintf(stderr, "holdfast-verify: %s%s", what, what[0] != '\0' && file[0] != '\0' ? " " : "");
	print_escaped(stderr, (struct span){ file, strlen(file) });
	(void)fprintf(stderr, "%s%s\n", what[0] != '\0' || file[0] != '\0' ? ": " : "", text);
	return EXIT_USAGE;
}

static bool read_number(const char *text, uint64_t max, uint64_t *ret)
{
	return span_u64((struct span){ text, strlen(text) }, ret) && *ret <= max;
}

/* ---- arguments ---- */

/* @return -1 = go on, otherwise the exit status */
static int take_option(struct command *c, int id, const char *value)
{
	uint64_t number = 0;

	switch (id) {
	case OPT_MAX_AGE:
		if (!read_number(value, INT32_MAX, &number))
			return complain(value, "--max-age", "is no number of seconds");
		c->options.has_max_age = true;
		c->options.max_age_s = (int64_t)number;
		return -1;
	case OPT_APPROVERS:
		if (!read_number(value, APPROVERS_MAX, &number))
			return complain(value, "--approvers", "is no number up to %d", APPROVERS_MAX);
		c->options.approvers = (unsigned)number;
		return -1;
	case OPT_PARTIAL: c->options.is_partial = true; return -1;
	case OPT_COMPLETE: c->options.is_complete = true; return -1;
	case OPT_JSON: c->as_json = true; return -1;
	case OPT_VERSION: (void)printf("holdfast-verify %s, kel/1\n", VERSION_TEXT); return EXIT_ALL_GOOD;
	case OPT_HELP: (void)fputs(USAGE, stdout); return EXIT_ALL_GOOD;
	case '?': (void)fputs("Try holdfast-verify --help.\n", stderr); return EXIT_USAGE;
	default: c->items[c->item_count++] = (struct item){ id, value }; return -1;
	}
}

/* A certificate alone is no log. */
static int check_options(const struct command *c)
{
	if (!c->options.is_complete)
		return -1;
	if (c->options.is_partial)
		return complain("", "--complete", "it excludes --partial");
	return c->file_count > (c->explains ? 1U : 0U) ? -1 : complain("", "--complete", "it needs the whole log: name its files");
}

static int read_arguments(struct command *c, int argc, char **argv)
{
	int id = 0, status = -1;

	c->options.approvers = 1;
	c->options.now_s = (int64_t)time(NULL);
	c->items = calloc((size_t)argc + 1, sizeof(c->items[0]));
	if (c->items == NULL)
		return complain("", "", "out of memory");
	c->explains = argc > 1 && strcmp(argv[1], "certificate") == 0;
	argc -= c->explains;
	argv += c->explains;
	while (status < 0 && (id = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1)
		status = take_option(c, id, optarg);
	c->files = argv + optind;
	c->file_count = (size_t)(argc - optind);
	if (status < 0)
		status = check_options(c);
	if (status < 0 && c->explains && c->file_count == 0) {
		(void)fputs(USAGE, stderr);
		return EXIT_USAGE;
	}
	if (status < 0 && c->explains) {
		c->items[c->item_count++] = (struct item){ OPT_CERTIFICATE, *c->files++ };
		c->file_count--;
	}
	if (status < 0 && c->item_count == 0 && c->file_count == 0) {
		(void)fputs(USAGE, stderr);
		return EXIT_USAGE;
	}
	return status;
}

/* ---- files ---- */

static int open_file(const char *name)
{
	return strcmp(name, "-") == 0 ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

static void close_file(int fd)
{
	if (fd != STDIN_FILENO)
		(void)close(fd);
}

/* @return bytes read, 0 at the end, negative with errno */
static ssize_t read_some(int fd, char *buffer, size_t cap)
{
	ssize_t n = 0;

	do
		n = read(fd, buffer, cap);
	while (n < 0 && errno == EINTR);
	return n;
}

/* A file of at most `max` bytes, kept until the end. @return false after a complaint */
static bool read_small(struct command *c, const char *name, size_t max, struct span *ret)
{
	int fd = open_file(name);
	char *text = fd >= 0 ? malloc(max + 1) : NULL;
	size_t len = 0;
	ssize_t n = 1;

	while (text != NULL && n > 0 && len <= max) {
		n = read_some(fd, text + len, max + 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0)
		close_file(fd);
	if (text == NULL || n < 0 || len > max || c->text_count == SIGNED_MAX) {
		if (fd >= 0 && n >= 0 && len > max)
			(void)complain(name, "", "is longer than %zu KiB", max / 1024);
		else
			(void)complain(name, "", "%s", fd < 0 || n < 0 ? strerror(errno) : "out of memory");
		free(text);
		return false;
	}
	char *fitted = realloc(text, len + 1);
	c->texts[c->text_count++] = fitted != NULL ? fitted : text;
	*ret = (struct span){ c->texts[c->text_count - 1], len };
	return true;
}

static const char *feed_file(struct verify *v, const char *name, char *buffer, bool *ret_is_readable)
{
	int fd = open_file(name);
	const char *why = NULL;
	ssize_t n = fd >= 0 ? 1 : -1;

	while (why == NULL && n > 0 && (!v->is_again || verify_wants_again(v))) {
		n = read_some(fd, buffer, CHUNK);
		if (n > 0)
			why = verify_feed(v, name, buffer, (size_t)n);
	}
	*ret_is_readable = n >= 0;
	if (why == NULL && n < 0)
		why = strerror(errno);
	if (fd >= 0)
		close_file(fd);
	return why != NULL ? why : verify_end_file(v, name);
}

/* ---- the work ---- */

static const char *add_item(struct verify *v, int id, const char *name, struct span text)
{
	switch (id) {
	case OPT_CHECKPOINT: return verify_add_checkpoint(v, SIGNED_CHECKPOINT, name, text);
	case OPT_TRUSTED: return verify_add_checkpoint(v, SIGNED_TRUSTED, name, text);
	case OPT_BUNDLE: return verify_add_bundle(v, name, text);
	case OPT_CERTIFICATE: return verify_add_certificate(v, name, text);
	default: return verify_add_proof(v, name, text);
	}
}

static int add_policy(struct command *c, struct verify *v, const char *name)
{
	struct span text;
	unsigned line = 0;
	const char *why = NULL;

	if (v->has_policy)
		return complain(name, "--policy", "there can be one");
	if (!read_small(c, name, SMALL_FILE_MAX, &text))
		return EXIT_USAGE;
	why = verify_add_policy(v, text, &line);
	return why != NULL ? complain(name, "--policy", "line %u: %s", line, why) : -1;
}

/* Keys come before what they have signed, wherever they stand. */
static int add_keys(struct command *c, struct verify *v)
{
	bool needs_log_key = c->file_count > 0 && !c->options.is_partial, has_log_key = false;
	int status = -1;

	for (size_t i = 0; i < c->item_count && status < 0; i++) {
		const char *value = c->items[i].value, *why = NULL;
		if (c->items[i].id == OPT_POLICY)
			status = add_policy(c, v, value);
		else if (c->items[i].id == OPT_KEY && (why = verify_add_key(v, (struct span){ value, strlen(value) })) != NULL)
			status = complain(value, "--key", "%s", why);
		needs_log_key |= c->items[i].id == OPT_CHECKPOINT || c->items[i].id == OPT_TRUSTED || c->items[i].id == OPT_BUNDLE;
	}
	for (size_t i = 0; i < v->keys.count; i++)
		has_log_key |= v->keys.list[i].role == ROLE_LOG;
	if (status < 0 && needs_log_key && !has_log_key)
		return complain("", "", "no log key: give --key, or --policy with a log line; a key that stands in the log itself is not trusted");
	return status;
}

static int add_signed(struct command *c, struct verify *v)
{
	for (size_t i = 0; i < c->item_count; i++) {
		struct span text;
		const char *why = NULL;
		if (c->items[i].id == OPT_KEY || c->items[i].id == OPT_POLICY)
			continue;
		if (!read_small(c, c->items[i].value, c->items[i].id == OPT_CERTIFICATE ? NOTE_LONG_MAX : SMALL_FILE_MAX, &text))
			return EXIT_USAGE;
		why = add_item(v, c->items[i].id, c->items[i].value, text);
		if (why != NULL)
			return complain(c->items[i].value, "", "%s", why);
	}
	const char *why = verify_begin(v);
	return why != NULL ? complain("", "", "%s", why) : -1;
}

static int feed_log(struct command *c, struct verify *v)
{
	char *buffer = malloc(CHUNK);
	int status = buffer != NULL ? -1 : complain("", "", "out of memory");

	for (size_t i = 0; i < c->file_count && status < 0; i++) {
		bool is_readable = true;
		const char *why = feed_file(v, c->files[i], buffer, &is_readable);
		if (why != NULL)
			status = complain(c->files[i], is_readable ? "" : "cannot read", "%s", why);
	}
	free(buffer);
	return status;
}

/* The log was pruned: read it again, as far as it was. */
static int feed_again(struct command *c, struct verify *v)
{
	const char *once = NULL; /* what can be read once only */

	for (size_t i = 0; i < c->file_count; i++) {
		struct stat st;
		if (strcmp(c->files[i], "-") == 0 || stat(c->files[i], &st) != 0 || !S_ISREG(st.st_mode))
			once = c->files[i];
	}
	if (once == NULL)
		return feed_log(c, v);
	return c->options.is_complete ? complain(once, "--complete", "the log was pruned, so it is read twice: give files, no standard input and no pipe") : -1;
}

static int work(struct command *c)
{
	struct verify *v = verify_open(&c->options);
	int status = -1;

	if (v == NULL)
		return complain("", "", "out of memory");
	status = add_keys(c, v);
	if (status < 0)
		status = add_signed(c, v);
	if (status < 0)
		status = feed_log(c, v);
	if (status < 0 && verify_wants_again(v))
		status = feed_again(c, v);
	if (status < 0) {
		status = (int)verify_finish(v);
		if (c->as_json)
			verify_print_json(v, stdout);
		else
			verify_print(v, stdout);
		if (c->explains && !c->as_json)
			verify_explain(v, stdout);
		if (fflush(stdout) != 0)
			status = complain("", "standard output", "%s", strerror(errno));
	}
	verify_close(v);
	return status;
}

int main(int argc, char **argv)
{
	struct command *c = calloc(1, sizeof(*c));
	int status = -1;

	if (c == NULL)
		return complain("", "", "out of memory");
	status = read_arguments(c, argc, argv);
	if (status < 0)
		status = work(c);
	for (size_t i = 0; i < c->text_count; i++)
		free(c->texts[i]);
	free(c->items);
	free(c);
	return status;
}
