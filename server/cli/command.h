/* server/cli/command.h - the table of commands and that of options, what commands are handed, and the pieces that they share. */
#ifndef HOLDFAST_CLI_COMMAND_H
#define HOLDFAST_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "server/cli/client.h"
#include "server/cli/show.h"

static inline void text_free_at(char **text) { free(*text); }
#define TEXT_AUTO __attribute__((cleanup(text_free_at))) char

#define ARGS_MAX 4
#define LIST_MAX 64 /* of an option that may be repeated; the server's limits are lower, or the same */

enum option_id {
	OPT_SOCKET = 256, /* above every character that getopt may return */
	OPT_URL,
	OPT_TOKEN_FILE,
	OPT_CA,
	OPT_JSON,
	OPT_HELP,
	OPT_RETENTION_DAYS,
	OPT_PURGE_PROTECTION,
	OPT_NO_PURGE_PROTECTION,
	OPT_ALLOW_RSA1_5,
	OPT_NO_RSA1_5,
	OPT_QUORUM,
	OPT_PURGE_APPROVALS,
	OPT_NETWORKS,
	OPT_ISSUER,
	OPT_REASON,
	OPT_YES,
	OPT_SECRET_DAYS,
	OPT_DAYS,
	OPT_LABEL,
	OPT_INSTALLATION,
	OPT_UNTIL,
	OPT_ACTION,
	OPT_PRINCIPAL,
	OPT_ALL,
	OPT_SIGNING_KEY,
	OPT_CERTIFICATE,
	OPT_CLIENT_ID,
	OPT_SECRET_FILE,
	OPT_VERSION,
	OPT_LINES,
	OPT_FOLLOW,
	OPT_SUBJECT,
	OPT_ROOTS,
	OPT_PREFIX,
	OPT_ID,
	OPT_CERT,
	OPT_KEY,
	OPT_OUTPUT,
	OPT_FROM,
	OPT_SIZE,
	OPT_VAULT,
	OPT_PLAN,
	OPT_BASIS,
	OPT_HTML,
	OPT_WAIT,
	OPT_TO,
	OPT_QUARTER,
	OPT_MAX_AGE,
	OPT_CSV,
	OPT_INVENTORY,
	OPT_CLASSIFY,
	OPT_STATE,
	OPT_AT,
	OPT_SHAPE,
	OPT_EVENT,
	OPT_PERSON_DAYS,
	OPT_PERSON_BASIS,
	OPT_LEAF,
	OPT_BEFORE,
	OPT_ARCHIVE,
	OPT_FORMAT,
	OPT_TYPE,
	OPT_RESULT,
	OPT_ERR,
	OPT_LIMIT,
	OPT_ORDER,
	OPT_INTENTS,
	OPT_CURSOR,
	OPT_END,
};
typedef unsigned __int128 option_set; /* one bit each */
#define BIT(option) ((option_set)1 << ((option)-OPT_SOCKET))
_Static_assert(OPT_END - OPT_SOCKET <= 128, "options are one bit each");

struct call {
	struct client *client;
	const struct client_config *cfg;
	bool as_json;
	option_set given;                        /* BIT() of each option on the command line */
	const char *value[OPT_END - OPT_SOCKET]; /* of options that take one; the last */
	const char *list[LIST_MAX];              /* of the one option that may be repeated: --subject or --action */
	size_t list_count;
	const char *arg[ARGS_MAX];               /* after the words of the command */
	char *const *words;                      /* the same, all of them: of a command that takes any number */
	int word_count;
};

#define MORE_THAN(n) (-1 - (n))
struct command {
	const char *name; /* its words */
	const char *usage;
	int args;         /* MORE_THAN(n): more than n words */
	option_set options; /* those that it takes besides the global ones */
	option_set needs;   /* those that must be given */
	enum cli_exit (*run)(struct call *call);
};
extern const struct command CLI_COMMANDS[];
extern const size_t CLI_COMMAND_COUNT;

/* What the value of an option is, for messages and completion. */
enum value_kind { VALUE_NONE, VALUE_TEXT, VALUE_FILE, VALUE_REASON };
struct cli_option {
	enum option_id id;
	const char *name;
	enum value_kind kind;
	const char *expected; /* "a number of days" */
	bool may_repeat;
};
extern const struct cli_option CLI_OPTIONS[];
extern const size_t CLI_OPTION_COUNT;
#define GLOBAL_OPTIONS (BIT(OPT_SOCKET) | BIT(OPT_URL) | BIT(OPT_TOKEN_FILE) | BIT(OPT_CA) | BIT(OPT_JSON) | BIT(OPT_HELP))
/** Its description; NULL when there is none. */
const struct cli_option *cli_option(enum option_id id);
/** Short names, one space between two. */
#define CLI_ROLES                                                                                                                             \
	"administrator approver auditor crypto-officer crypto-service-encryption-user crypto-service-release-user crypto-user "               \
	"data-access-administrator operator privacy-officer reader"
/** Of a destruction, for its certificate. */
#define CLI_BASES "gdpr-art17 contract-end compromise retention other"
#define CLI_REASONS "keyCompromise affiliationChanged superseded cessationOfOperation unspecified"

bool call_has(const struct call *call, enum option_id id);
const char *call_value(const struct call *call, enum option_id id);
/** Say that there is no memory. @return CLI_FAILED */
enum cli_exit cli_no_memory(void);
/** Set a member; true when the text is NULL, and nothing is set. */
bool cli_add_text(json_t *body, const char *name, const char *text);
bool cli_parse_number(const char *text, long long least, long long most, long long *ret);
/** "+8h", "-7d": that long from now, as seconds since 1970. */
bool cli_parse_span(const char *text, long long *ret_s);
/** How many: -n or --limit, which are the same; *ret stays when neither is given. Complains. */
enum cli_exit cli_count(const struct call *call, long long least, long long most, long long *ret);
/** Add the whole number that an option gives, if it was given; the server decides over its range. */
enum cli_exit cli_add_number(const struct call *call, enum option_id id, const char *name, json_t *body);
/** The same for a time. */
#define CLI_TIME "a time as 2026-12-31 (UTC), 2026-12-31T18:00:00Z or …+01:00, seconds since 1970, or from now as -7d, +8h, +30m"
enum cli_exit cli_add_time(const struct call *call, enum option_id id, const char *name, json_t *body);
/** What --subject or --action were given, as an array; nothing when there were none. */
enum cli_exit cli_add_list(const struct call *call, const char *name, json_t *body);
/** A whole file of text that is not secret, at most `max` bytes; says what is wrong. Owned by the caller; NULL = failed. */
char *cli_read_file(const char *name, size_t max, size_t *ret_len);

/**
 * A file that is there whole or not at all, also after the power failed: under another name first, closed to others.
 * Replaces one of that name; complains.
 */
enum cli_exit cli_write_file(const char *name, const char *text, size_t len);
/** Would that be possible now? Complains. For what cannot be repeated once its answer is lost. */
bool cli_can_write(const char *name);

/** Does the first word name the installation rather than a vault? */
bool cli_is_installation(const struct call *call);
/** A path of the vault, or of the installation, that the first word names; `fmt` as client_path(), from behind it. */
char *cli_scope_path(struct call *call, const char *fmt, ...);
/** Send and show. @param path  taken; NULL without memory */
enum cli_exit cli_ask(struct call *call, const char *method, char *path, const json_t *body);
/** An action without parameters; the empty object states the length of the body. */
enum cli_exit cli_post(struct call *call, char *path);
/** All pages of a list, as one array. @param first  taken: its path; further pages are asked with after= */
enum cli_exit cli_fetch_list(struct call *call, char *first, json_t **ret_rows);
/** The same, shown. @param first  taken */
enum cli_exit cli_list(struct call *call, char *first, const struct show_column *columns);
/**
 * The id of a principal or group of the vault (or installation) that the first word names.
 * @param text  its id, or its name when one alone has it  @param ret_id  borrowed from `text` or from *ret_owner  @param ret_owner  owned by the caller
 */
enum cli_exit cli_resolve(struct call *call, const char *text, const char **ret_id, json_t **ret_owner);
/** The same, for what takes pseudonyms too: one stays as it is. */
enum cli_exit cli_resolve_pseudonym(struct call *call, const char *text, const char **ret_id, json_t **ret_owner);

/* vault.c */
enum cli_exit vault_create(struct call *call);
enum cli_exit vault_list(struct call *call);
enum cli_exit vault_show(struct call *call);
enum cli_exit vault_set(struct call *call);
enum cli_exit vault_shred(struct call *call);
enum cli_exit vault_lock(struct call *call);
enum cli_exit vault_unlock(struct call *call);
enum cli_exit vault_rotate_root(struct call *call);
/** vault_plan.c: what `vault shred` would destroy. */
enum cli_exit vault_plan(struct call *call);
enum cli_exit key_revoke(struct call *call);
enum cli_exit key_reinstate(struct call *call);
enum cli_exit status(struct call *call);
enum cli_exit hsm_info(struct call *call);

/* principal.c */
enum cli_exit principal_create(struct call *call);
enum cli_exit principal_list(struct call *call);
enum cli_exit principal_show(struct call *call);
enum cli_exit principal_enable(struct call *call);
enum cli_exit principal_disable(struct call *call);
enum cli_exit principal_revoke_tokens(struct call *call);
enum cli_exit credential_list(struct call *call);
enum cli_exit credential_add_secret(struct call *call);
enum cli_exit credential_add_header(struct call *call);
enum cli_exit credential_add_certificate(struct call *call);
enum cli_exit credential_add_identity(struct call *call);
enum cli_exit credential_remove(struct call *call);
enum cli_exit group_create(struct call *call);
enum cli_exit group_list(struct call *call);
enum cli_exit group_add(struct call *call);
enum cli_exit group_remove(struct call *call);
enum cli_exit group_members(struct call *call);

/* access.c */
enum cli_exit role_grant(struct call *call);
enum cli_exit role_remove(struct call *call);
enum cli_exit role_define(struct call *call);
enum cli_exit role_list(struct call *call);
enum cli_exit role_drop(struct call *call);
enum cli_exit access_explain(struct call *call);

/* approval.c */
enum cli_exit approval_list(struct call *call);
enum cli_exit approval_show(struct call *call);
enum cli_exit approval_approve(struct call *call);
enum cli_exit approval_deny(struct call *call);
enum cli_exit approval_withdraw(struct call *call);
/** Sign a text with --signing-key, and add signature and certificate's hash. */
enum cli_exit approval_sign(struct call *call, const char *text, json_t *body);

/* certificate.c: certificates of destruction */
enum cli_exit certificate_list(struct call *call);
enum cli_exit certificate_show(struct call *call);
enum cli_exit certificate_sign(struct call *call);
enum cli_exit certificate_enforce(struct call *call);
/** Fetch one into a file; waits a while for one that is not signed yet. @param html  the page for people instead */
enum cli_exit certificate_fetch(struct call *call, const char *id, bool html, const char *file);

/* login.c: a token for the other commands */
enum cli_exit login(struct call *call);

/* log.c */
/** log_query.c: events by what they say. */
enum cli_exit log_query(struct call *call);
enum cli_exit log_list(struct call *call);
enum cli_exit log_tail(struct call *call);
enum cli_exit log_show(struct call *call);
/** The place of the event that the first word names, by its place or its id. */
enum cli_exit log_find(struct call *call, long long *ret_seq);

/* log_proof.c: checkpoints, keys and proofs */
enum cli_exit log_prove(struct call *call);
enum cli_exit log_checkpoint(struct call *call);
enum cli_exit log_keys(struct call *call);
enum cli_exit log_rotate_key(struct call *call);
/** By the newest leaf: whoever may read the log may ask for it. */
enum cli_exit log_size(struct call *call, long long *ret_size);

/* A signed tree head, for those who pass it on: nothing of it is verified. */
struct checkpoint {
	char *note; /* owned; NUL-terminated */
	char origin[256];
	long long size;
};
void checkpoint_clear(struct checkpoint *c);
#define CHECKPOINT_AUTO __attribute__((cleanup(checkpoint_clear))) struct checkpoint
/** The newest, or that of a size. @param size  -1 = the newest @param ret  owned by the caller on CLI_OK */
enum cli_exit checkpoint_fetch(struct call *call, long long size, struct checkpoint *ret);
/** Who signed it, as it says: a line each, and the time that a witness gave. */
void checkpoint_show_signers(const struct checkpoint *c);

/* log_export.c */
enum cli_exit log_export(struct call *call);
/** log_records.c: the same in another format. */
enum cli_exit log_export_records(struct call *call, const char *format);
/** Where the exports that the server makes by itself stand. */
enum cli_exit log_exports(struct call *call);
/** Up to the checkpoint of this size, without a word; -1 = the newest, and tell. */
enum cli_exit log_export_to(struct call *call, const char *file, long long size);

/* archive.c: retention of the log */
enum cli_exit log_archive(struct call *call);
enum cli_exit log_prune(struct call *call);

/* person.c: records of persons */
enum cli_exit person_list(struct call *call);
enum cli_exit person_show(struct call *call);
enum cli_exit person_erase(struct call *call);

/* check.c: what the set-up can notice; a log that was rolled back */
enum cli_exit self_check(struct call *call);
enum cli_exit log_accept_rollback(struct call *call);

/* backup.c */
enum cli_exit backup_create(struct call *call);
enum cli_exit backup_list(struct call *call);
enum cli_exit backup_verify(struct call *call);
enum cli_exit backup_epochs(struct call *call);
enum cli_exit backup_new_epoch(struct call *call);
enum cli_exit backup_end_epoch(struct call *call);

/* witness.c */
enum cli_exit witness(struct call *call);
/** Become the program holdfast-witness. @param argv  its own, NULL-terminated. Returns only when that failed. */
enum cli_exit witness_run(char **argv);

/* ekm.c, ekm_check.c */
enum cli_exit service_add(struct call *call);
enum cli_exit service_list(struct call *call);
enum cli_exit service_rotate(struct call *call);
enum cli_exit ekm_pool_add(struct call *call);
enum cli_exit ekm_pool_list(struct call *call);
enum cli_exit ekm_pool_rotate_roots(struct call *call);
enum cli_exit ekm_key_publish(struct call *call);
enum cli_exit ekm_key_retire(struct call *call);
enum cli_exit ekm_key_list(struct call *call);
/** Needs no server of ours to be named but the URL it checks: call->client is NULL. */
enum cli_exit ekm_check(struct call *call);

/* webhook.c: where events are sent */
enum cli_exit webhook_create(struct call *call);
enum cli_exit webhook_list(struct call *call);
enum cli_exit webhook_show(struct call *call);
enum cli_exit webhook_delete(struct call *call);
enum cli_exit webhook_new_secret(struct call *call);
enum cli_exit webhook_validate(struct call *call);
enum cli_exit webhook_dead_letters(struct call *call);
enum cli_exit webhook_retry(struct call *call);
enum cli_exit webhook_drop(struct call *call);

/* complete.c: for the shell; call->client is NULL */
enum cli_exit completion_bash(struct call *call);

#endif
