/* server/cli/login.c - an access token for the other commands: client credentials at the token endpoint, into a file that only its owner may
 * read. The secret comes from a file, standard input or the environment, never from the command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cli/command.h"

#define SECRET_MAX 256
#define FORM_MAX 4096
#define TOKEN_LINE_MAX 16384
#define SECRET_VARIABLE "HOLDFAST_CLIENT_SECRET"

static enum cli_exit take_secret(const char *text, size_t len, struct secret **ret_secret)
{
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	if (len == 0 || len >= SECRET_MAX || memchr(text, '\n', len) != NULL || memchr(text, '\0', len) != NULL) {
		cli_say("the client secret: expected one line");
		return CLI_USAGE;
	}
	*ret_secret = secret_new(len + 1); /* zeroed, so with its NUL */
	if (*ret_secret == NULL)
		return cli_no_memory();
	memcpy(secret_bytes(*ret_secret), text, len);
	return CLI_OK;
}

static enum cli_exit read_secret_file(const char *name, struct secret **ret_secret)
{
	ERASE_AUTO(char, text, SECRET_MAX + 1);
	bool is_stdin = strcmp(name, "-") == 0;
	struct stat st;
	size_t len = 0;
	ssize_t got = 0;
	int fd = is_stdin ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		cli_say("%s: %s", name, strerror(errno));
		return CLI_USAGE;
	}
	if (!is_stdin && (fstat(fd, &st) != 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)) {
		cli_say("%s: the file of the secret must be closed to group and others (chmod 600)", name);
		(void)close(fd);
		return CLI_USAGE;
	}
	while (len < SECRET_MAX && (got = read(fd, text + len, SECRET_MAX - len)) > 0)
		len += (size_t)got;
	if (!is_stdin)
		(void)close(fd);
	return take_secret(text, len, ret_secret);
}

static enum cli_exit find_secret(const struct call *call, struct secret **ret_secret)
{
	const char *variable = getenv(SECRET_VARIABLE);

	if (call_has(call, OPT_SECRET_FILE))
		return read_secret_file(call_value(call, OPT_SECRET_FILE), ret_secret);
	if (variable != NULL)
		return take_secret(variable, strlen(variable), ret_secret);
	cli_say("where is the client secret? give --secret-file FILE (- is standard input), or set " SECRET_VARIABLE);
	return CLI_USAGE;
}

static enum cli_exit make_form(struct call *call, const struct secret *secret, struct secret **ret_form)
{
	SECRET_AUTO *form = secret_new(FORM_MAX);
	char *text = form != NULL ? (char *)secret_bytes(form) : NULL;
	char scope[1024] = "";
	size_t len = strlen(call->cfg->url);

	while (len > 0 && call->cfg->url[len - 1] == '/')
		len--;
	if (text == NULL || snprintf(scope, sizeof(scope), "%.*s/.default", (int)len, call->cfg->url) >= (int)sizeof(scope) ||
	    !client_form_add(call->client, text, FORM_MAX, "grant_type", "client_credentials") ||
	    !client_form_add(call->client, text, FORM_MAX, "client_id", call_value(call, OPT_CLIENT_ID)) ||
	    !client_form_add(call->client, text, FORM_MAX, "client_secret", (const char *)secret_data(secret)) ||
	    !client_form_add(call->client, text, FORM_MAX, "scope", scope))
		return cli_no_memory();
	*ret_form = KMS_TAKE(form);
	return CLI_OK;
}

static enum cli_exit write_token(const char *file, const char *token)
{
	ERASE_AUTO(char, line, TOKEN_LINE_MAX);
	int len = snprintf(line, TOKEN_LINE_MAX, "%s\n", token);

	if (len < 0 || len >= TOKEN_LINE_MAX) {
		cli_say("the token is too long");
		return CLI_FAILED;
	}
	return cli_write_file(file, line, (size_t)len);
}

enum cli_exit login(struct call *call)
{
	SECRET_AUTO *secret = NULL;
	SECRET_AUTO *form = NULL;
	JSON_AUTO *answer = NULL;
	JSON_AUTO *said = NULL;
	const char *token = NULL;
	enum cli_exit code = call->cfg->url != NULL ? find_secret(call, &secret) : CLI_USAGE;

	if (call->cfg->url == NULL)
		cli_say("login needs --url https://HOST[:PORT]; the local socket knows you without a token");
	if (code == CLI_OK)
		code = make_form(call, secret, &form);
	if (code == CLI_OK)
		code = client_form(call->client, "/adfs/oauth2/token", form, &answer);
	if (code != CLI_OK)
		return code;
	token = json_string_value(json_object_get(answer, "access_token"));
	if (token == NULL) {
		cli_say("the answer holds no access token");
		return CLI_FAILED;
	}
	code = write_token(call->cfg->token_file, token);
	if (code != CLI_OK)
		return code;
	said = json_pack("{s:s, s:O}", "token_file", call->cfg->token_file, "valid_s", json_object_get(answer, "expires_in"));
	if (said == NULL)
		return cli_no_memory();
	if (call->as_json)
		show_json(said);
	else
		show_facts(said);
	return CLI_OK;
}
