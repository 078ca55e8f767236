/* server/cli/main.c - `holdfast`: from the command line to one command of the table, which asks the management API (docs/admin-api.md). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/err.h"
#include "server/base/version.h"
#include "server/cli/command.h"

#define OPTIONS_MAX 128

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

/* ---- help ---- */

/* Do the words that were given begin the name? Without any, all names do. */
static bool begins(const char *name, char **words, int count)
{
	for (int i = 0; i < count; i++) {
		size_t len = strlen(words[i]);
		if (strncmp(name, words[i], len) != 0 || (name[len] != ' ' && name[len] != '\0'))
			return name[0] == '\0';
		name += len + (name[len] == ' ');
	}
	return true;
}

static bool begins_any(char **words, int count)
{
	for (size_t i = 0; i < CLI_COMMAND_COUNT; i++)
		if (begins(CLI_COMMANDS[i].name, words, count))
			return true;
	return false;
}

/* Of what the words begin; of everything when they begin nothing. */
static void usage(char **words, int count)
{
	size_t shown = 0;
	bool has_basis = false, has_role = false, has_reason = false, has_time = false;

	(void)puts("usage: holdfast [--socket PATH | --url URL --token-file FILE [--ca FILE]] [--json] COMMAND");
	for (size_t i = 0; i < CLI_COMMAND_COUNT; i++)
		if (begins(CLI_COMMANDS[i].name, words, count)) {
			(void)printf("  %s %s\n", CLI_COMMANDS[i].name, CLI_COMMANDS[i].usage);
			shown++;
			has_basis |= strstr(CLI_COMMANDS[i].usage, "BASIS") != NULL;
			has_role |= strstr(CLI_COMMANDS[i].usage, " ROLE") != NULL;
			has_time |= strstr(CLI_COMMANDS[i].usage, " TIME") != NULL;
			has_reason |= strstr(CLI_COMMANDS[i].usage, " REASON") != NULL;
		}
	if (shown == 0 && count > 0) {
		cli_say("no command begins so; these are all:");
		usage(NULL, 0);
		return;
	}
	(void)puts("--socket defaults to $HOLDFAST_ADMIN_SOCKET. " CLI_INSTALLATION " in place of VAULT is the installation itself (reports know vaults only).\n"
	           "ID is that of a principal or group, or its name or pseudonym when no other has it; of the log, an event's id, and SEQ is its place.");
	if (has_time)
		(void)puts("TIME: " CLI_TIME ".");
	if (has_reason)
		(void)puts("Reasons of a revocation (REASON): " CLI_REASONS ".");
	if (has_role)
		(void)puts("Roles: " CLI_ROLES ",\n  and what `role define` made.");
	if (has_basis)
		(void)puts("Bases of a destruction (BASIS), for its certificate: " CLI_BASES "; of `vault shred` without one: other.");
	(void)puts("Exit: 0 done, 1 usage (of `check`: something is bad; of `backup verify`: a version does not load), 2 refused by the server, 3 server or connection failure, 4 (of `report cosmos`) an account lacks the key that it needs, 5 the approval of others is needed first.");
}

/* ---- parsing ---- */

static const struct command *find_command(char **words, int count, int *ret_used)
{
	for (size_t i = 0; i < CLI_COMMAND_COUNT; i++) {
		*ret_used = words_of(CLI_COMMANDS[i].name, words, count);
		if (*ret_used > 0)
			return &CLI_COMMANDS[i];
	}
	return NULL;
}

static enum cli_exit wrong(const struct command *cmd, const char *why)
{
	if (cmd == NULL)
		cli_say("%s; see holdfast --help", why);
	else
		cli_say("%s; expected: holdfast %s %s", why, cmd->name, cmd->usage);
	return CLI_USAGE;
}

/* An option that the command does not take, or that it needs. */
static enum cli_exit wrong_option(const struct command *cmd, option_set options, const char *what)
{
	for (size_t i = 0; i < CLI_OPTION_COUNT; i++)
		if ((options & BIT(CLI_OPTIONS[i].id)) != 0) {
			cli_say("--%s %s; expected: holdfast %s %s", CLI_OPTIONS[i].name, what, cmd->name, cmd->usage);
			return CLI_USAGE;
		}
	return wrong(cmd, "-n is only for log tail, log list and log query");
}

static enum cli_exit bad_option(int option, char *const argv[])
{
	const struct cli_option *o = optopt >= OPT_SOCKET ? cli_option((enum option_id)optopt) : NULL;

	if (option == ':' && o != NULL)
		cli_say("--%s: expected %s", o->name, o->expected);
	else if (option == ':')
		cli_say("-%c: expected a number of lines", optopt);
	else if (o != NULL)
		cli_say("--%s takes no value", o->name);
	else
		cli_say("unknown option %s; see holdfast --help", argv[optind - 1]);
	return CLI_USAGE;
}

static enum cli_exit take_option(struct call *call, int id, const char *value)
{
	const struct cli_option *o = cli_option((enum option_id)id);

	if (o != NULL && o->may_repeat) {
		if (call->list_count == LIST_MAX) {
			cli_say("--%s: expected at most %d", o->name, LIST_MAX);
			return CLI_USAGE;
		}
		call->list[call->list_count++] = value;
	} else if (o != NULL && o->kind != VALUE_NONE && (call->given & BIT(id)) != 0) {
		cli_say("--%s: expected only once", o->name);
		return CLI_USAGE;
	}
	call->given |= BIT(id);
	call->value[id - OPT_SOCKET] = value;
	return CLI_OK;
}

static enum cli_exit parse_options(int argc, char **argv, struct call *call)
{
	struct option options[OPTIONS_MAX] = { 0 }; /* ends with zeroes */
	int option = 0;

	_Static_assert(OPT_END - OPT_SOCKET < OPTIONS_MAX, "one more ends the list");
	for (size_t i = 0; i < CLI_OPTION_COUNT; i++)
		options[i] = (struct option){ CLI_OPTIONS[i].name, CLI_OPTIONS[i].kind == VALUE_NONE ? no_argument : required_argument, NULL,
			                      (int)CLI_OPTIONS[i].id };
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":n:fh", options, NULL)) != -1) {
		enum cli_exit code = CLI_OK;
		if (option == '?' || option == ':')
			return bad_option(option, argv);
		code = take_option(call, option == 'n' ? OPT_LINES : option == 'f' ? OPT_FOLLOW : option == 'h' ? OPT_HELP : option, optarg);
		if (code != CLI_OK)
			return code;
	}
	return CLI_OK;
}

static enum cli_exit parse(int argc, char **argv, struct call *call, const struct command **ret_cmd)
{
	const struct command *cmd = NULL;
	int used = 0, given = 0;
	enum cli_exit code = parse_options(argc, argv, call);

	if (code != CLI_OK || call_has(call, OPT_HELP))
		return code;
	cmd = find_command(argv + optind, argc - optind, &used);
	if (cmd == NULL && optind < argc && begins_any(argv + optind, argc - optind)) {
		cli_say("something is missing behind %s; see holdfast %s --help", argv[optind], argv[optind]);
		return CLI_USAGE;
	}
	if (cmd == NULL)
		return wrong(NULL, optind < argc ? "unknown command" : "no command");
	given = argc - optind - used;
	if (cmd->args < 0 ? given <= MORE_THAN(cmd->args) : given < cmd->args)
		return wrong(cmd, "something is missing");
	if (cmd->args >= 0 && given > cmd->args)
		return wrong(cmd, "too many words");
	if ((call->given & ~(GLOBAL_OPTIONS | cmd->options)) != 0)
		return wrong_option(cmd, call->given & ~(GLOBAL_OPTIONS | cmd->options), "is not for this command");
	if ((call->given & cmd->needs) != cmd->needs)
		return wrong_option(cmd, cmd->needs & ~call->given, "is missing");
	if (call_has(call, OPT_SOCKET) && call_has(call, OPT_URL))
		return wrong(NULL, "--socket and --url exclude each other");
	call->words = argv + optind + used;
	call->word_count = given;
	for (int i = 0; i < given; i++) {
		if (call->words[i][0] == '\0')
			return wrong(cmd, "an empty word");
		if (i < ARGS_MAX)
			call->arg[i] = call->words[i];
	}
	*ret_cmd = cmd;
	return CLI_OK;
}

/* Some commands speak to no management API. */
static bool needs_client(const struct command *cmd) { return cmd->run != ekm_check && cmd->run != completion_bash && cmd->run != witness; }

static void configure(struct call *call, const struct command *cmd, struct client_config *cfg)
{
	cfg->is_login = cmd->run == login;
	call->as_json = cfg->as_json = call_has(call, OPT_JSON);
	cfg->url = call_value(call, OPT_URL);
	if (!cfg->is_login)
		cfg->socket = call_has(call, OPT_SOCKET) ? call_value(call, OPT_SOCKET) : cfg->url == NULL ? getenv("HOLDFAST_ADMIN_SOCKET") : NULL;
	cfg->token_file = call_value(call, OPT_TOKEN_FILE);
	cfg->ca = call_has(call, OPT_CA) ? call_value(call, OPT_CA) : getenv("SSL_CERT_FILE"); /* as ekm check, and Azure's clients */
	call->cfg = cfg;
}

int main(int argc, char **argv)
{
	struct call call = { 0 };
	struct client_config cfg = { 0 };
	const struct command *cmd = NULL;
	enum cli_exit code = CLI_OK;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) { /* elsewhere it is that of a key */
		(void)puts("holdfast " HOLDFAST_VERSION_STRING);
		return (int)CLI_OK;
	}
	if (argc >= 2 && strcmp(argv[1], "witness") == 0)
		return (int)witness_run(argv + 1);
	code = parse(argc, argv, &call, &cmd);
	if (code != CLI_OK)
		return (int)code;
	if (cmd == NULL) {
		usage(argv + optind, argc - optind);
		return (int)CLI_OK;
	}
	configure(&call, cmd, &cfg);
	code = needs_client(cmd) ? client_open(&cfg, &call.client) : CLI_OK;
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
