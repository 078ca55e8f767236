/* server/cli/client.h - one connection to the management API: the local socket, or https with a token. Not thread-safe. */
#ifndef HOLDFAST_CLI_CLIENT_H
#define HOLDFAST_CLI_CLIENT_H

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "server/base/secret.h"

/* The documented exit codes of `holdfast` (docs/admin-api.md). */
enum cli_exit {
	CLI_OK = 0,
	CLI_USAGE = 1,
	CLI_REFUSED = 2,
	CLI_FAILED = 3,
	CLI_NOT_COMPLIANT = 4, /* of `report cosmos`: all was read, and some account lacks the key that it needs */
	CLI_APPROVAL = 5, /* nothing was done: the approval of others is needed first */
};

/* Stands for the installation where a vault is named; no vault can have this name. */
#define CLI_INSTALLATION "@installation"

struct client_config {
	const char *socket;     /* UNIX socket of the daemon, or NULL */
	const char *url;        /* https://{domain}[:port]; used when socket is NULL */
	const char *token_file; /* bearer token; needed with url; closed to group and others */
	bool is_login;          /* no token yet: token_file is where it will be */
	const char *ca;         /* PEM file of trusted roots, NULL = the system's */
	bool as_json;           /* errors of the server are passed on as JSON */
};

struct client;

static inline void json_decref_at(json_t **j) { json_decref(*j); }
#define JSON_AUTO __attribute__((cleanup(json_decref_at))) json_t

/** Say on stderr what went wrong, with the program's name in front. */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** Text without what could steer a terminal, cut to `cap`; returns ret_text. */
const char *cli_clean(const char *text, char *ret_text, size_t cap);

/** Prepare the connection; nothing is sent yet. Complains on stderr. @return CLI_OK | CLI_USAGE | CLI_FAILED */
enum cli_exit client_open(const struct client_config *cfg, struct client **ret_client);
/** Accepts NULL. */
void client_close(struct client *c);

/**
 * One request for a JSON object. An answer other than 2xx is explained on stderr.
 * @param body  sent as JSON when not NULL; borrowed
 * @param path  starts with '/'; from client_path()
 * @return CLI_OK (*ret owned by the caller; an answer without body is an empty object) | CLI_REFUSED (4xx) | CLI_APPROVAL | CLI_FAILED
 */
enum cli_exit client_json(struct client *c, const char *method, const char *path, const json_t *body, json_t **ret);
/** POST a form (application/x-www-form-urlencoded) that holds secrets, without a token. @param form  NUL-terminated; borrowed */
enum cli_exit client_form(struct client *c, const char *path, const struct secret *form, json_t **ret);
/** One line of newline-delimited JSON as it came, without its end. false: it cannot be used. */
typedef bool (*client_line_fn)(void *arg, const char *line, size_t len);
/** GET text as it is, which is refused when it could steer a terminal. @param ret_text  owned by the caller on CLI_OK, NUL-terminated */
enum cli_exit client_text(struct client *c, const char *path, char **ret_text, size_t *ret_len);
/** GET newline-delimited JSON; `each` sees every line. @param ret_count  lines seen */
enum cli_exit client_lines(struct client *c, const char *path, client_line_fn each, void *arg, long long *ret_count);

/** From now on failures of the connection are not told; the exit code still says so. */
void client_set_quiet(struct client *c, bool is_quiet);

/** Build a path: each %s is percent-encoded as one segment, %lld works as usual. Owned by the caller; NULL without memory. */
char *client_path(struct client *c, const char *fmt, ...);
char *client_vpath(struct client *c, const char *fmt, va_list args);
/** Percent-encode bytes into a form under way. @param form  `cap` bytes, NUL-terminated @return false when there is no room */
bool client_form_add(struct client *c, char *form, size_t cap, const char *name, const char *value);

#endif
