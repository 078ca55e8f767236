/* server/cli/command.h - what commands are handed, and the pieces that they share. */
#ifndef HOLDFAST_CLI_COMMAND_H
#define HOLDFAST_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "server/cli/client.h"
#include "server/cli/show.h"

#define ARGS_MAX 4
#define SUBJECTS_MAX 8 /* the server's limit */

enum option_id {
	OPT_SOCKET = 256, /* above every character that getopt may return */
	OPT_URL,
	OPT_TOKEN_FILE,
	OPT_CA,
	OPT_JSON,
	OPT_HELP,
	OPT_RETENTION_DAYS,
	OPT_PURGE_PROTECTION,
	OPT_ALLOW_RSA1_5,
	OPT_REASON,
	OPT_YES,
	OPT_SECRET_DAYS,
	OPT_INSTALLATION,
	OPT_VERSION,
	OPT_LINES,
	OPT_FOLLOW,
	OPT_SUBJECT,
	OPT_ROOTS,
	OPT_PREFIX,
	OPT_ID,
	OPT_CERT,
	OPT_KEY,
	OPT_END,
};
#define BIT(option) (1U << ((option)-OPT_SOCKET))

struct call {
	struct client *client;
	bool as_json;
	unsigned given;                       /* BIT() of each option on the command line */
	const char *value[OPT_END - OPT_SOCKET]; /* of options that take one */
	const char *subject[SUBJECTS_MAX];    /* of --subject, which may be repeated */
	size_t subject_count;
	const char *arg[ARGS_MAX];            /* after the words of the command */
};

bool call_has(const struct call *call, enum option_id id);
const char *call_value(const struct call *call, enum option_id id);
/** Say that there is no memory. @return CLI_FAILED */
enum cli_exit cli_no_memory(void);
/** Set a member; true when the text is NULL, and nothing is set. */
bool cli_add_text(json_t *body, const char *name, const char *text);
bool cli_parse_number(const char *text, long long least, long long most, long long *ret);
/** Add the number of days that an option gives, if it was given. */
enum cli_exit cli_add_days(const struct call *call, enum option_id id, const char *name, json_t *body);
/** Send and show. @param path  taken; NULL without memory */
enum cli_exit cli_ask(struct call *call, const char *method, char *path, const json_t *body);
/** All pages of a list, as one. @param first  its path, borrowed; further pages are asked with ?after= */
enum cli_exit cli_list(struct call *call, const char *first, const struct show_column *columns);

/* ekm.c, ekm_check.c */
enum cli_exit ekm_pool_add(struct call *call);
enum cli_exit ekm_pool_list(struct call *call);
enum cli_exit ekm_pool_rotate_roots(struct call *call);
enum cli_exit ekm_key_publish(struct call *call);
enum cli_exit ekm_key_retire(struct call *call);
enum cli_exit ekm_key_list(struct call *call);
/** Needs no server of ours to be named but the URL it checks: call->client is NULL. */
enum cli_exit ekm_check(struct call *call);

#endif
