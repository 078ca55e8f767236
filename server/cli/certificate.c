/* server/cli/certificate.c - certificates of destruction: listed, fetched, signed, made true again. Nothing is checked here: holdfast-verify certificate does that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/cli/command.h"

#define SIGNED_WAIT_S 15 /* a certificate is signed within a second or two of its destruction, unless the HSM is away */
#define NOTE_MAX ((size_t)8 << 20)
#define POLL_MS 500
#define FIRST_LINE "/destruction-certificate/v1" /* its end */

enum cli_exit certificate_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "ID", "id" }, { "VAULT", "vault" }, { "SCOPE", "scope" }, { "KEY", "key" }, { "STATE", "state" }, { "BASIS", "basis" }, { "SIGNED", "issued" },
		{ "UNTIL", "until" }, { "RESTORED", "restored" }, { NULL, NULL },
	};
	if (call_has(call, OPT_VAULT))
		return cli_list(call, client_path(call->client, "/audit/v1/certificates?vault=%s", call_value(call, OPT_VAULT)), COLUMNS);
	return cli_list(call, client_path(call->client, "/audit/v1/certificates"), COLUMNS);
}

/* ---- fetched ---- */

static enum cli_exit ask_state(struct call *call, const char *id, json_t **ret)
{
	TEXT_AUTO *path = client_path(call->client, "/audit/v1/certificates/%s?format=json", id);

	return path != NULL ? client_json(call->client, "GET", path, NULL, ret) : cli_no_memory();
}

static bool is_signed(const json_t *state)
{
	const char *name = json_string_value(json_object_get(state, "state"));
	return name != NULL && (strcmp(name, "pending") == 0 || strcmp(name, "complete") == 0);
}

/* Until it is signed; what is wrong then the server says when it is asked for the text. */
static enum cli_exit await_signed(struct call *call, const char *id, json_t **ret_state)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
	enum cli_exit code = CLI_OK;

	for (int tries = SIGNED_WAIT_S * 1000 / POLL_MS; code == CLI_OK; tries--) {
		json_decref(*ret_state);
		*ret_state = NULL;
		code = ask_state(call, id, ret_state);
		if (code != CLI_OK || is_signed(*ret_state) || tries <= 0)
			break;
		(void)nanosleep(&pause, NULL);
	}
	return code;
}

static enum cli_exit fetch(struct call *call, const char *id, bool html, char **ret_text, size_t *ret_len)
{
	TEXT_AUTO *path = client_path(call->client, html ? "/audit/v1/certificates/%s?format=html" : "/audit/v1/certificates/%s", id);

	return client_text(call->client, path, ret_text, ret_len);
}

static void tell_pending(const json_t *state)
{
	char when[SHOW_TIME_MAX];
	const char *name = json_string_value(json_object_get(state, "state"));

	if (json_is_true(json_object_get(state, "revived")))
		cli_say("the certificate is pending, and the key is BACK: it was restored from a backup (%s); destroy it again",
		        show_time(json_object_get(state, "restored"), when));
	else if (name != NULL && strcmp(name, "pending") == 0)
		cli_say("the certificate is pending: backups that still hold the key end by %s; fetch the complete one after that",
		        show_time(json_object_get(state, "until"), when));
}

enum cli_exit certificate_fetch(struct call *call, const char *id, bool html, const char *file)
{
	JSON_AUTO *state = NULL;
	TEXT_AUTO *text = NULL;
	size_t len = 0;
	enum cli_exit code = await_signed(call, id, &state);

	if (code == CLI_OK)
		code = fetch(call, id, html, &text, &len);
	if (code == CLI_OK && file == NULL)
		return fwrite(text, 1, len, stdout) == len ? CLI_OK : CLI_FAILED;
	if (code == CLI_OK)
		code = cli_write_file(file, text, len);
	if (code == CLI_OK)
		tell_pending(state);
	return code;
}

enum cli_exit certificate_show(struct call *call)
{
	JSON_AUTO *state = NULL;
	enum cli_exit code;

	if (!call->as_json)
		return certificate_fetch(call, call->arg[0], call_has(call, OPT_HTML), call_has(call, OPT_OUTPUT) ? call_value(call, OPT_OUTPUT) : NULL);
	if (call_has(call, OPT_HTML) || call_has(call, OPT_OUTPUT)) {
		cli_say("--json shows the certificate's state; --html and --output are for its text");
		return CLI_USAGE;
	}
	code = ask_state(call, call->arg[0], &state);
	if (code == CLI_OK)
		show_json(state);
	return code;
}

/* ---- signed ---- */

/* Two lines, the first of them of a certificate: the key that votes are signed with must sign nothing else that somebody passes off as one. */
static bool cut_to_text(char *note)
{
	char *line = strchr(note, '\n'), *end = strstr(note, "\n\n");
	size_t first = line != NULL ? (size_t)(line - note) : 0;

	if (end == NULL || first < strlen(FIRST_LINE) || memcmp(line - strlen(FIRST_LINE), FIRST_LINE, strlen(FIRST_LINE)) != 0 || strchr(line + 1, '\n') != end)
		return false;
	end[1] = '\0';
	return true;
}

enum cli_exit certificate_sign(struct call *call)
{
	JSON_AUTO *body = json_object();
	TEXT_AUTO *text = NULL;
	size_t len = 0;
	enum cli_exit code = body != NULL ? fetch(call, call->arg[0], false, &text, &len) : cli_no_memory();

	if (code != CLI_OK)
		return code;
	if (!cut_to_text(text)) {
		cli_say("the answer is no certificate of destruction; nothing was signed");
		return CLI_FAILED;
	}
	code = approval_sign(call, text, body);
	return code == CLI_OK ? cli_ask(call, "POST", client_path(call->client, "/audit/v1/certificates/%s/signatures", call->arg[0]), body) : code;
}

/* ---- made true again ---- */

/* @param ret  the answer */
static enum cli_exit enforce_one(struct call *call, const char *file, json_t **ret)
{
	JSON_AUTO *body = json_object();
	TEXT_AUTO *text = NULL;
	size_t len = 0;

	if (body == NULL)
		return cli_no_memory();
	text = cli_read_file(file, NOTE_MAX, &len);
	if (text == NULL)
		return CLI_USAGE;
	if (!cli_add_text(body, "certificate", text))
		return cli_no_memory();
	return client_json(call->client, "POST", "/admin/v1/certificates/enforce", body, ret);
}

/* One after the other; each that is done stays done. As JSON an object for each, on a line of its own. */
enum cli_exit certificate_enforce(struct call *call)
{
	for (int i = 0; i < call->word_count; i++) {
		JSON_AUTO *answer = NULL;
		enum cli_exit code = enforce_one(call, call->words[i], &answer);

		if (code != CLI_OK) {
			cli_say("%s: not enforced; %d of %d files were done before it", call->words[i], i, call->word_count);
			return code;
		}
		if (call->as_json) {
			show_json(answer);
			continue;
		}
		(void)printf("%s%s%s", i > 0 ? "\n" : "", call->word_count > 1 ? call->words[i] : "", call->word_count > 1 ? "\n" : "");
		show_facts(answer);
	}
	return CLI_OK;
}
