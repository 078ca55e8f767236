/* server/cli/main.c - `holdfast`: the command table, options, and what each command asks of the management API (docs/admin-api.md). */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
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
#define GLOBAL_OPTIONS (BIT(OPT_SOCKET) | BIT(OPT_URL) | BIT(OPT_TOKEN_FILE) | BIT(OPT_CA) | BIT(OPT_JSON) | BIT(OPT_HELP))

static const struct option OPTIONS[] = {
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "url", required_argument, NULL, OPT_URL },
	{ "token-file", required_argument, NULL, OPT_TOKEN_FILE },
	{ "ca", required_argument, NULL, OPT_CA },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "retention-days", required_argument, NULL, OPT_RETENTION_DAYS },
	{ "purge-protection", no_argument, NULL, OPT_PURGE_PROTECTION },
	{ "allow-rsa1-5", no_argument, NULL, OPT_ALLOW_RSA1_5 },
	{ "reason", required_argument, NULL, OPT_REASON },
	{ "yes", no_argument, NULL, OPT_YES },
	{ "secret-days", required_argument, NULL, OPT_SECRET_DAYS },
	{ "installation", no_argument, NULL, OPT_INSTALLATION },
	{ "version", required_argument, NULL, OPT_VERSION },
	{ "follow", no_argument, NULL, OPT_FOLLOW },
	{ "subject", required_argument, NULL, OPT_SUBJECT },
	{ "roots", required_argument, NULL, OPT_ROOTS },
	{ "prefix", required_argument, NULL, OPT_PREFIX },
	{ "id", required_argument, NULL, OPT_ID },
	{ "cert", required_argument, NULL, OPT_CERT },
	{ "key", required_argument, NULL, OPT_KEY },
	{ NULL, 0, NULL, 0 },
};

struct command {
	const char *name; /* its words */
	const char *usage;
	int args;
	unsigned options; /* those that it takes besides the global ones */
	unsigned needs;   /* those that must be given */
	enum cli_exit (*run)(struct call *call);
};

/* ---- commands ---- */

static enum cli_exit vault_create(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "name", call->arg[0]);
	enum cli_exit code = CLI_OK;
	if (body == NULL)
		return cli_no_memory();
	code = cli_add_days(call, OPT_RETENTION_DAYS, "retention_days", body);
	if (code != CLI_OK)
		return code;
	if ((call_has(call, OPT_PURGE_PROTECTION) && json_object_set_new(body, "purge_protection", json_true()) != 0) ||
	    (call_has(call, OPT_ALLOW_RSA1_5) && json_object_set_new(body, "allow_rsa1_5", json_true()) != 0))
		return cli_no_memory();
	return cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults"), body);
}

static enum cli_exit vault_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" },           { "STATE", "state" },     { "URL", "url" }, { "RETENTION", "retention_days" },
		{ "PROTECTED", "purge_protection" }, { "CREATED", "created" }, { NULL, NULL },
	};
	return cli_list(call, "/admin/v1/vaults", COLUMNS);
}

static enum cli_exit vault_show(struct call *call)
{
	return cli_ask(call, "GET", client_path(call->client, "/admin/v1/vaults/%s", call->arg[0]), NULL);
}

static bool confirm(const char *vault)
{
	char typed[128] = "";
	(void)fprintf(stderr, "This destroys the vault %s: its root key and every key in it, for ever.\nType the vault's name to go on: ", vault);
	(void)fflush(stderr);
	if (fgets(typed, sizeof(typed), stdin) == NULL)
		return false;
	typed[strcspn(typed, "\n")] = '\0';
	return strcmp(typed, vault) == 0;
}

static enum cli_exit vault_shred(struct call *call)
{
	const char *vault = call->arg[0];
	const char *reason = call_has(call, OPT_REASON) ? call_value(call, OPT_REASON) : "unspecified";
	JSON_AUTO *body = json_pack("{s:s, s:s}", "confirm", vault, "reason", reason);
	if (body == NULL)
		return cli_no_memory();
	if (!call_has(call, OPT_YES) && !confirm(vault)) {
		cli_say("not confirmed; nothing was changed");
		return CLI_USAGE;
	}
	return cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/shred", vault), body);
}

static enum cli_exit principal_create(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "name", call->arg[1]);
	enum cli_exit code = CLI_OK;
	if (body == NULL)
		return cli_no_memory();
	code = cli_add_days(call, OPT_SECRET_DAYS, "secret_days", body);
	if (code == CLI_OK)
		code = cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/principals", call->arg[0]), body);
	if (code == CLI_OK && !call->as_json)
		(void)fputs("\nThe secret is shown this once; store it now.\n", stderr);
	return code;
}

static enum cli_exit principal_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" },   { "CLIENT ID", "client_id" },           { "ENABLED", "enabled" },
		{ "ROLES", "roles" }, { "SECRET EXPIRES", "secret_expires" }, { NULL, NULL },
	};
	char *path = client_path(call->client, "/admin/v1/vaults/%s/principals", call->arg[0]);
	enum cli_exit code = cli_list(call, path, COLUMNS);
	free(path);
	return code;
}

/* An action without parameters; the empty object states the length of the body. */
static enum cli_exit empty_post(struct call *call, char *path)
{
	JSON_AUTO *body = json_object();
	if (body == NULL) {
		free(path);
		return cli_no_memory();
	}
	return cli_ask(call, "POST", path, body);
}

static enum cli_exit principal_disable(struct call *call)
{
	return empty_post(call, client_path(call->client, "/admin/v1/vaults/%s/principals/%s/disable", call->arg[0], call->arg[1]));
}

static enum cli_exit principal_enable(struct call *call)
{
	return empty_post(call, client_path(call->client, "/admin/v1/vaults/%s/principals/%s/enable", call->arg[0], call->arg[1]));
}

static enum cli_exit role_change(struct call *call, const char *what)
{
	JSON_AUTO *body = json_pack("{s:s, s:s}", "principal", call->arg[1], "role", call->arg[2]);
	if (body == NULL || !cli_add_text(body, "scope", call_has(call, OPT_INSTALLATION) ? "installation" : NULL))
		return cli_no_memory();
	return cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/roles/%s", call->arg[0], what), body);
}

static enum cli_exit role_grant(struct call *call) { return role_change(call, "grant"); }
static enum cli_exit role_remove(struct call *call) { return role_change(call, "remove"); }

static enum cli_exit key_change(struct call *call, const char *what, const char *reason)
{
	JSON_AUTO *body = json_object();
	if (body == NULL || !cli_add_text(body, "reason", reason) || !cli_add_text(body, "version", call_value(call, OPT_VERSION)))
		return cli_no_memory();
	return cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/keys/%s/%s", call->arg[0], call->arg[1], what), body);
}

static enum cli_exit key_revoke(struct call *call) { return key_change(call, "revoke", call_value(call, OPT_REASON)); }
static enum cli_exit key_reinstate(struct call *call) { return key_change(call, "reinstate", NULL); }

static enum cli_exit status(struct call *call) { return cli_ask(call, "GET", client_path(call->client, "/admin/v1/status"), NULL); }
static enum cli_exit hsm_info(struct call *call) { return cli_ask(call, "GET", client_path(call->client, "/admin/v1/hsm"), NULL); }

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

static enum cli_exit log_tail(struct call *call)
{
	const struct timespec pause = { .tv_sec = FOLLOW_WAIT_S };
	long long lines = LOG_TAIL_DEFAULT, size = 0, at = 0;
	enum cli_exit code = CLI_OK;

	if (call_has(call, OPT_LINES) && !cli_parse_number(call_value(call, OPT_LINES), 0, INT32_MAX, &lines)) {
		cli_say("-n %s: not a number of lines", call_value(call, OPT_LINES));
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

static enum cli_exit log_show(struct call *call)
{
	long long seq = 0, found = 0;
	enum cli_exit code = CLI_OK;
	if (!cli_parse_number(call->arg[0], 0, INT64_MAX, &seq)) {
		cli_say("%s: not a sequence number", call->arg[0]);
		return CLI_USAGE;
	}
	code = log_fetch(call, seq, 1, &found);
	if (code == CLI_OK && found == 0) {
		cli_say("the log has no entry %lld yet", seq);
		return CLI_REFUSED;
	}
	return code;
}

static const struct command COMMANDS[] = {
	{ "vault create", "NAME [--retention-days N] [--purge-protection] [--allow-rsa1-5]", 1,
	  BIT(OPT_RETENTION_DAYS) | BIT(OPT_PURGE_PROTECTION) | BIT(OPT_ALLOW_RSA1_5), 0, vault_create },
	{ "vault list", "", 0, 0, 0, vault_list },
	{ "vault show", "NAME", 1, 0, 0, vault_show },
	{ "vault shred", "NAME [--reason TEXT] [--yes]", 1, BIT(OPT_REASON) | BIT(OPT_YES), 0, vault_shred },
	{ "principal create", "VAULT NAME [--secret-days N]", 2, BIT(OPT_SECRET_DAYS), 0, principal_create },
	{ "principal list", "VAULT", 1, 0, 0, principal_list },
	{ "principal disable", "VAULT ID", 2, 0, 0, principal_disable },
	{ "principal enable", "VAULT ID", 2, 0, 0, principal_enable },
	{ "role grant", "VAULT ID ROLE [--installation]", 3, BIT(OPT_INSTALLATION), 0, role_grant },
	{ "role remove", "VAULT ID ROLE [--installation]", 3, BIT(OPT_INSTALLATION), 0, role_remove },
	{ "key revoke", "VAULT KEY --reason REASON [--version V]", 2, BIT(OPT_REASON) | BIT(OPT_VERSION), BIT(OPT_REASON), key_revoke },
	{ "key reinstate", "VAULT KEY [--version V]", 2, BIT(OPT_VERSION), 0, key_reinstate },
	{ "log tail", "[-n N] [--follow]", 0, BIT(OPT_LINES) | BIT(OPT_FOLLOW), 0, log_tail },
	{ "log show", "SEQ", 1, 0, 0, log_show },
	{ "hsm info", "", 0, 0, 0, hsm_info },
	{ "status", "", 0, 0, 0, status },
	{ "ekm pool add", "VAULT NAME --roots FILE [--subject CN]... [--prefix P]", 2, BIT(OPT_SUBJECT) | BIT(OPT_ROOTS) | BIT(OPT_PREFIX),
	  BIT(OPT_ROOTS), ekm_pool_add },
	{ "ekm pool list", "VAULT", 1, 0, 0, ekm_pool_list },
	{ "ekm pool rotate-roots", "VAULT POOL --roots FILE [--subject CN]...", 2, BIT(OPT_SUBJECT) | BIT(OPT_ROOTS), BIT(OPT_ROOTS),
	  ekm_pool_rotate_roots },
	{ "ekm key publish", "VAULT POOL KEY [--version V] [--id ID]", 3, BIT(OPT_VERSION) | BIT(OPT_ID), 0, ekm_key_publish },
	{ "ekm key retire", "VAULT POOL ID", 3, 0, 0, ekm_key_retire },
	{ "ekm key list", "VAULT POOL", 2, 0, 0, ekm_key_list },
	{ "ekm check", "URL --cert FILE --key FILE [--ca FILE]", 1, BIT(OPT_CERT) | BIT(OPT_KEY), BIT(OPT_CERT) | BIT(OPT_KEY), ekm_check },
};

static void usage(FILE *to)
{
	(void)fputs("usage: holdfast [--socket PATH | --url URL --token-file FILE [--ca FILE]] [--json] COMMAND\n", to);
	for (size_t i = 0; i < KMS_ARRAY_LEN(COMMANDS); i++)
		(void)fprintf(to, "  %s %s\n", COMMANDS[i].name, COMMANDS[i].usage);
	(void)fputs("--socket defaults to $HOLDFAST_ADMIN_SOCKET.\n"
	            "Reasons: keyCompromise affiliationChanged superseded cessationOfOperation unspecified.\n"
	            "Roles: administrator crypto-officer crypto-user crypto-service-encryption-user reader auditor.\n"
	            "Exit: 0 done, 1 usage, 2 refused by the server, 3 server or connection failure.\n",
	            to);
}

/* How many words of the command line are this name; 0 = it is another. */
static int words_of(const char *name, char **words, int count)
{
	int used = 0;

	while (*name != '\0') {
		size_t len = strcspn(name, " ");
		if (used == count || strlen(words[used]) != len || strncmp(words[used], name, len) != 0)
			return 0;
		used++;
		name += len + (name[len] == ' ');
	}
	return used;
}

static const struct command *find_command(char **words, int count, int *ret_used)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(COMMANDS); i++) {
		*ret_used = words_of(COMMANDS[i].name, words, count);
		if (*ret_used > 0)
			return &COMMANDS[i];
	}
	return NULL;
}

static enum cli_exit wrong(const struct command *cmd, const char *why)
{
	if (cmd == NULL)
		cli_say("%s; see holdfast --help", why);
	else
		cli_say("%s; usage: holdfast %s %s", why, cmd->name, cmd->usage);
	return CLI_USAGE;
}

/* Is the command's name longer by whole words than those that were given? */
static bool is_below(const char *name, char **words, int count)
{
	for (int i = 0; i < count; i++) {
		size_t len = strcspn(name, " ");
		if (strlen(words[i]) != len || strncmp(words[i], name, len) != 0 || name[len] == '\0')
			return false;
		name += len + 1;
	}
	return count > 0;
}

/* The usage of what begins with these words. @return false when nothing does */
static bool usage_below(FILE *to, char **words, int count)
{
	bool is_any = false;
	for (size_t i = 0; i < KMS_ARRAY_LEN(COMMANDS); i++)
		if (is_below(COMMANDS[i].name, words, count)) {
			(void)fprintf(to, "%s holdfast %s %s\n", is_any ? "      " : "usage:", COMMANDS[i].name, COMMANDS[i].usage);
			is_any = true;
		}
	return is_any;
}

static void help(char **words, int count)
{
	int used = 0;
	const struct command *cmd = find_command(words, count, &used);

	if (cmd != NULL)
		(void)printf("usage: holdfast %s %s\nholdfast --help has the options of all commands.\n", cmd->name, cmd->usage);
	else if (!usage_below(stdout, words, count))
		usage(stdout);
}

static enum cli_exit parse(int argc, char **argv, struct call *call, const struct command **ret_cmd)
{
	const struct command *cmd = NULL;
	int option = 0, used = 0, given = 0;

	while ((option = getopt_long(argc, argv, "n:h", OPTIONS, NULL)) != -1) {
		if (option == '?')
			return wrong(NULL, "unknown or incomplete option");
		option = option == 'n' ? OPT_LINES : option == 'h' ? OPT_HELP : option;
		if (option == OPT_SUBJECT) {
			if (call->subject_count == SUBJECTS_MAX)
				return wrong(NULL, "too many subjects");
			call->subject[call->subject_count++] = optarg;
		}
		call->given |= BIT(option);
		call->value[option - OPT_SOCKET] = optarg;
	}
	if (call_has(call, OPT_HELP)) {
		help(argv + optind, argc - optind);
		return CLI_OK;
	}
	cmd = find_command(argv + optind, argc - optind, &used);
	if (cmd == NULL && usage_below(stderr, argv + optind, argc - optind))
		return CLI_USAGE;
	if (cmd == NULL)
		return wrong(NULL, optind < argc ? "unknown command" : "no command");
	given = argc - optind - used;
	if (given != cmd->args)
		return wrong(cmd, given < cmd->args ? "something is missing" : "too many words");
	if ((call->given & ~(GLOBAL_OPTIONS | cmd->options)) != 0)
		return wrong(cmd, "an option that this command does not take");
	if ((call->given & cmd->needs) != cmd->needs)
		return wrong(cmd, "something is missing");
	if (call_has(call, OPT_SOCKET) && call_has(call, OPT_URL))
		return wrong(NULL, "--socket and --url exclude each other");
	for (int i = 0; i < given; i++) {
		call->arg[i] = argv[optind + used + i];
		if (call->arg[i][0] == '\0')
			return wrong(cmd, "an empty name");
	}
	*ret_cmd = cmd;
	return CLI_OK;
}

int main(int argc, char **argv)
{
	struct call call = { 0 };
	struct client_config cfg = { 0 };
	const struct command *cmd = NULL;
	enum cli_exit code = parse(argc, argv, &call, &cmd);

	if (code != CLI_OK)
		return (int)code;
	if (cmd == NULL) /* --help */
		return (int)CLI_OK;
	call.as_json = cfg.as_json = call_has(&call, OPT_JSON);
	cfg.url = call_value(&call, OPT_URL);
	cfg.socket = call_has(&call, OPT_SOCKET) ? call_value(&call, OPT_SOCKET) : cfg.url == NULL ? getenv("HOLDFAST_ADMIN_SOCKET") : NULL;
	cfg.token_file = call_value(&call, OPT_TOKEN_FILE);
	cfg.ca = call_value(&call, OPT_CA);
	code = cmd->run == ekm_check ? CLI_OK : client_open(&cfg, &call.client); /* that one speaks to no management API */
	if (code != CLI_OK)
		return (int)code;
	code = cmd->run(&call);
	client_close(call.client);
	/* What could not be written was not said. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		cli_say("cannot write the answer: %s", strerror(errno));
		return (int)CLI_FAILED;
	}
	return (int)code;
}
