/* server/cli/log_proof.c - what makes the log checkable by others: checkpoints, verifier keys, proofs. Nothing is checked here: whoever does not trust the server
 * does not trust its command line either; holdfast-verify is the program for that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/encode.h"
#include "server/base/err.h"
#include "server/cli/command.h"

#define COVER_WAIT_S 10 /* a checkpoint follows its leaf within a second or two, unless the log is late */
#define EM_DASH "\xE2\x80\x94"
#define KEY_ID_BYTES 4
#define TIME_BYTES 8
#define COSIGNATURE_BYTES (KEY_ID_BYTES + TIME_BYTES + 64) /* with an Ed25519 signature (spec/audit-log.md 5.2, type 0x04) */

/* ---- checkpoints ---- */

void checkpoint_clear(struct checkpoint *c)
{
	free(c->note);
	*c = (struct checkpoint){ 0 };
}

/* Only what is needed to show it; its bytes are passed on as they came. */
static bool checkpoint_read(struct checkpoint *c)
{
	const char *end = c->note != NULL ? strchr(c->note, '\n') : NULL;
	size_t len = end != NULL ? (size_t)(end - c->note) : 0;
	char digits[24] = "";

	if (end == NULL || len == 0 || len >= sizeof(c->origin))
		return false;
	memcpy(c->origin, c->note, len);
	c->origin[len] = '\0';
	len = strcspn(end + 1, "\n");
	if (len == 0 || len >= sizeof(digits))
		return false;
	memcpy(digits, end + 1, len);
	return cli_parse_number(digits, 0, INT64_MAX, &c->size);
}

enum cli_exit checkpoint_fetch(struct call *call, long long size, struct checkpoint *ret)
{
	struct checkpoint c = { 0 };
	size_t len = 0;
	char *path = size < 0 ? client_path(call->client, "/audit/v1/checkpoint") : client_path(call->client, "/audit/v1/checkpoint/%lld", size);
	enum cli_exit code = client_text(call->client, path, &c.note, &len);

	free(path);
	if (code != CLI_OK)
		return code;
	if (!checkpoint_read(&c)) {
		cli_say("the answer is not a checkpoint");
		checkpoint_clear(&c);
		return CLI_FAILED;
	}
	*ret = c;
	return CLI_OK;
}

/* The time that a witness put into its line; 0 = it is another kind of signature. */
static long long cosigned_s(const char *base64, size_t len)
{
	char text[B64_LEN(COSIGNATURE_BYTES) + 1] = "";
	uint8_t bytes[COSIGNATURE_BYTES];
	uint64_t at = 0;
	size_t got = 0;

	if (len != B64_LEN(COSIGNATURE_BYTES))
		return 0;
	for (size_t i = 0; i < len; i++) /* to the alphabet of base64url, which is what there is a decoder for */
		text[i] = base64[i] == '+' ? '-' : base64[i] == '/' ? '_' : base64[i];
	if (!b64url_decode(text, len, bytes, sizeof(bytes), &got) || got != sizeof(bytes))
		return 0;
	for (size_t i = KEY_ID_BYTES; i < KEY_ID_BYTES + TIME_BYTES; i++)
		at = at << 8 | bytes[i];
	return at < UINT32_MAX ? (long long)at : 0;
}

/* One signature line: "— NAME BASE64". */
static void show_signer(const struct checkpoint *c, const char *line, size_t len)
{
	char name[256] = "", clean[256] = "", when[SHOW_TIME_MAX] = "";
	const char *space = memchr(line, ' ', len);
	size_t name_len = space != NULL ? (size_t)(space - line) : 0;
	long long at = 0;

	if (name_len == 0 || name_len >= sizeof(name))
		return;
	memcpy(name, line, name_len);
	at = strcmp(name, c->origin) != 0 ? cosigned_s(space + 1, len - name_len - 1) : 0;
	if (at > 0) {
		JSON_AUTO *value = json_integer(at);
		(void)printf("%-20s   %s (witness), %s\n", "", cli_clean(name, clean, sizeof(clean)), show_time(value, when));
	} else {
		(void)printf("%-20s   %s\n", "", cli_clean(name, clean, sizeof(clean)));
	}
}

void checkpoint_show_signers(const struct checkpoint *c)
{
	const char *line = strstr(c->note, "\n\n");

	for (line = line != NULL ? line + 2 : ""; *line != '\0';) {
		size_t len = strcspn(line, "\n"), dash = strlen(EM_DASH " ");
		if (len > dash && memcmp(line, EM_DASH " ", dash) == 0)
			show_signer(c, line + dash, len - dash);
		line += len + (line[len] == '\n');
	}
}

enum cli_exit log_checkpoint(struct call *call)
{
	CHECKPOINT_AUTO c = { 0 };
	JSON_AUTO *said = NULL;
	long long size = -1;
	enum cli_exit code = CLI_OK;

	if (call_has(call, OPT_SIZE) && !cli_parse_number(call_value(call, OPT_SIZE), 0, INT64_MAX, &size)) {
		cli_say("--size %s: expected the size of a checkpoint", call_value(call, OPT_SIZE));
		return CLI_USAGE;
	}
	code = checkpoint_fetch(call, size, &c);
	if (code != CLI_OK)
		return code;
	if (!call->as_json) { /* its own bytes, so that it can be written into a file */
		(void)fputs(c.note, stdout);
		return CLI_OK;
	}
	said = json_pack("{s:s, s:I, s:s}", "origin", c.origin, "size", (json_int_t)c.size, "checkpoint", c.note);
	if (said == NULL)
		return cli_no_memory();
	show_json(said);
	return CLI_OK;
}

/* ---- keys ---- */

static void show_vkey(const json_t *key)
{
	const char *vkey = json_string_value(json_object_get(key, "vkey"));

	show_line(vkey != NULL ? vkey : "-");
}

static void show_log_keys(const json_t *keys)
{
	const json_t *key = NULL;

	for (size_t i = 0; (key = json_array_get(json_object_get(keys, "log"), i)) != NULL; i++) {
		bool is_current = json_is_true(json_object_get(key, "current"));
		(void)printf("log, generation %" JSON_INTEGER_FORMAT ", of checkpoints from size %" JSON_INTEGER_FORMAT " on, %s:\n",
		             json_integer_value(json_object_get(key, "generation")), json_integer_value(json_object_get(key, "from_size")),
		             is_current ? "in use" : "no longer in use");
		show_vkey(key);
	}
}

/* Logs that ended when a rolled-back database was accepted. */
static void show_closed(const json_t *logs)
{
	static const struct show_column COLUMNS[] = {
		{ "CLOSED LOG", "origin" }, { "HAD", "known_size" }, { "RESTORED", "restored_size" }, { "CLOSED", "closed" }, { NULL, NULL },
	};

	if (json_array_size(logs) > 0)
		show_table(logs, COLUMNS);
}

/* One key a line and nothing else in it, so that it can be copied. */
enum cli_exit log_keys(struct call *call)
{
	static const char *const OTHERS[] = { "attestation", "witnesses" };
	JSON_AUTO *keys = NULL;
	enum cli_exit code = client_json(call->client, "GET", "/audit/v1/keys", NULL, &keys);

	if (code != CLI_OK)
		return code;
	if (call->as_json) {
		show_json(keys);
		return CLI_OK;
	}
	show_log_keys(keys);
	for (size_t n = 0; n < KMS_ARRAY_LEN(OTHERS); n++) {
		const json_t *list = json_object_get(keys, OTHERS[n]);
		if (json_array_size(list) > 0)
			(void)printf("%s:\n", OTHERS[n]);
		for (size_t i = 0; i < json_array_size(list); i++)
			show_vkey(json_array_get(list, i));
	}
	show_closed(json_object_get(keys, "closed"));
	return CLI_OK;
}

enum cli_exit log_rotate_key(struct call *call)
{
	enum cli_exit code = cli_post(call, client_path(call->client, "/admin/v1/log/rotate-key"));

	if (code == CLI_OK && !call->as_json)
		cli_say("next: give the new key to auditors and, with the old one (--log OLD,NEW), to witnesses: until then a witness refuses what the new key signs");
	return code;
}

/* ---- proofs ---- */

/* Wait until a checkpoint covers a leaf. */
static enum cli_exit wait_for_cover(struct call *call, long long seq, struct checkpoint *ret)
{
	const struct timespec pause = { .tv_nsec = 250 * 1000 * 1000 };

	for (int tries = COVER_WAIT_S * 4;; tries--) {
		enum cli_exit code = checkpoint_fetch(call, -1, ret);
		if (code != CLI_OK || ret->size > seq)
			return code;
		if (tries == 0) {
			cli_say("no checkpoint covers entry %lld yet: the newest has the size %lld; is the log late (holdfast check)?", seq, ret->size);
			return CLI_FAILED;
		}
		checkpoint_clear(ret);
		(void)nanosleep(&pause, NULL); /* a signal only makes the next look earlier */
	}
}

/* The program that checks, as it is to be typed. */
static void say_how_to_check(struct call *call, const char *file)
{
	if (!call->as_json)
		cli_say("to check it, anywhere: holdfast-verify --key 'KEY' --bundle %s    (KEY: the log's verifier key, from `holdfast log keys` or, better, from the "
		        "paper that it was written on)", file);
}

static enum cli_exit put_bundle(struct call *call, long long seq, const struct checkpoint *c, const char *bundle, size_t len)
{
	const char *file = call_value(call, OPT_OUTPUT);
	JSON_AUTO *said = NULL;
	enum cli_exit code = CLI_OK;

	if (file == NULL && !call->as_json) {
		(void)fputs(bundle, stdout);
		return CLI_OK;
	}
	code = file != NULL ? cli_write_file(file, bundle, len) : CLI_OK;
	if (code != CLI_OK)
		return code;
	said = json_pack("{s:I, s:s, s:s}", "seq", (json_int_t)seq, "origin", c->origin, file != NULL ? "file" : "bundle",
	                 file != NULL ? file : bundle);
	if (said == NULL)
		return cli_no_memory();
	if (call->as_json) {
		show_json(said);
		return CLI_OK;
	}
	show_facts(said);
	say_how_to_check(call, file);
	return CLI_OK;
}

enum cli_exit log_prove(struct call *call)
{
	CHECKPOINT_AUTO c = { 0 };
	TEXT_AUTO *bundle = NULL;
	char *path = NULL;
	size_t len = 0;
	long long seq = 0;
	enum cli_exit code = log_find(call, &seq);

	if (code == CLI_OK)
		code = wait_for_cover(call, seq, &c);
	if (code != CLI_OK)
		return code;
	path = client_path(call->client, "/audit/v1/proof/bundle?seq=%lld", seq);
	code = client_text(call->client, path, &bundle, &len);
	free(path);
	return code == CLI_OK ? put_bundle(call, seq, &c, bundle, len) : code;
}
