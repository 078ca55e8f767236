/* server/cli/ekm.c - pools of Azure Managed HSM and the keys that are published to them (docs/ekm.md). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/base/err.h"
#include "server/cli/command.h"

#define FILE_BYTES_MAX ((size_t)120 * 1024) /* what the server takes */
#define DER_SEQUENCE 0x30                   /* how a certificate in DER begins; no text does */

/* ---- the file of roots ---- */

static char *read_file(const char *name, size_t *ret_len)
{
	FILE *f = fopen(name, "re");
	char *text = f != NULL ? calloc(1, FILE_BYTES_MAX + 1) : NULL;
	size_t len = text != NULL ? fread(text, 1, FILE_BYTES_MAX + 1, f) : 0;
	int why = errno;

	if (f != NULL && ferror(f) == 0 && len > 0 && len <= FILE_BYTES_MAX) {
		(void)fclose(f);
		text[len] = '\0';
		*ret_len = len;
		return text;
	}
	cli_say("--roots %s: %s", name, f == NULL || ferror(f) != 0 ? strerror(why) : "must be a file of certificates, at most 120 KiB");
	if (f != NULL)
		(void)fclose(f);
	free(text);
	return NULL;
}

/* Azure's document, by the names of its command line or of its REST interface; ours are `subjects` and `roots`. */
static enum cli_exit take_document(const char *name, const char *text, size_t len, json_t *body)
{
	static const char *const NAMES[][2] = { { "subjectCommonName", "caCertificates" }, { "subject_common_name", "ca_certificates" } };
	json_error_t error = { 0 };
	JSON_AUTO *document = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);

	if (document == NULL) {
		cli_say("--roots %s: not JSON: line %d: %s", name, error.line, error.text);
		return CLI_USAGE;
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++) {
		json_t *subject = json_object_get(document, NAMES[i][0]), *roots = json_object_get(document, NAMES[i][1]);
		if (roots == NULL)
			continue;
		if (subject != NULL && json_object_get(body, "subjects") == NULL && json_object_set_new(body, "subjects", json_pack("[O]", subject)) != 0)
			return cli_no_memory();
		return json_object_set(body, "roots", roots) == 0 ? CLI_OK : cli_no_memory();
	}
	cli_say("--roots %s: no caCertificates in it; this is what `az keyvault ekm-connection certificate show` prints", name);
	return CLI_USAGE;
}

static enum cli_exit take_der(const char *der, size_t len, json_t *body)
{
	char *text = malloc(B64_LEN(len) + 1);
	bool done = false;

	if (text != NULL) {
		b64_encode(der, len, text);
		done = json_object_set_new(body, "roots", json_pack("[s]", text)) == 0;
	}
	free(text);
	return done ? CLI_OK : cli_no_memory();
}

static enum cli_exit take_roots(const char *name, json_t *body)
{
	size_t len = 0;
	char *text = read_file(name, &len);
	enum cli_exit code = CLI_USAGE;

	if (text == NULL)
		return CLI_USAGE;
	if (text[0] == DER_SEQUENCE && memchr(text, '\0', len) != NULL)
		code = take_der(text, len, body);
	else if (text[strspn(text, " \t\r\n")] == '{')
		code = take_document(name, text, len, body);
	else
		code = json_object_set_new(body, "roots", json_pack("[s]", text)) == 0 ? CLI_OK : cli_no_memory();
	free(text);
	return code;
}

/* --subject, --roots; what stands in Azure's document need not be said again. */
static enum cli_exit take_certificates(const struct call *call, json_t *body)
{
	JSON_AUTO *subjects = json_array();

	for (size_t i = 0; i < call->subject_count; i++)
		if (json_array_append_new(subjects, json_string(call->subject[i])) != 0)
			return cli_no_memory();
	if (call->subject_count > 0 && json_object_set(body, "subjects", subjects) != 0)
		return cli_no_memory();
	return take_roots(call_value(call, OPT_ROOTS), body);
}

/* ---- pools ---- */

enum cli_exit ekm_pool_add(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "name", call->arg[1]);
	enum cli_exit code = CLI_OK;

	if (body == NULL || !cli_add_text(body, "prefix", call_value(call, OPT_PREFIX)))
		return cli_no_memory();
	code = take_certificates(call, body);
	if (code != CLI_OK)
		return code;
	if (json_object_get(body, "subjects") == NULL) {
		cli_say("--subject: the pool's common name is missing");
		return CLI_USAGE;
	}
	return cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/ekm/pools", call->arg[0]), body);
}

enum cli_exit ekm_pool_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" },         { "ID", "id" },           { "ENABLED", "enabled" },
		{ "PREFIX", "prefix" },     { "SUBJECTS", "subjects" }, { "ROOTS", "roots" },
		{ "UPDATED", "updated" },   { NULL, NULL },
	};
	char *path = client_path(call->client, "/admin/v1/vaults/%s/ekm/pools", call->arg[0]);
	enum cli_exit code = cli_list(call, path, COLUMNS);

	free(path);
	return code;
}

enum cli_exit ekm_pool_rotate_roots(struct call *call)
{
	JSON_AUTO *body = json_object();
	enum cli_exit code = CLI_OK;

	if (body == NULL)
		return cli_no_memory();
	code = take_certificates(call, body);
	if (code != CLI_OK)
		return code;
	return cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/ekm/pools/%s/certificates", call->arg[0], call->arg[1]), body);
}

/* ---- published keys ---- */

enum cli_exit ekm_key_publish(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "key", call->arg[2]);

	if (body == NULL || !cli_add_text(body, "version", call_value(call, OPT_VERSION)) ||
	    !cli_add_text(body, "external_id", call_value(call, OPT_ID)))
		return cli_no_memory();
	return cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/ekm/pools/%s/keys", call->arg[0], call->arg[1]), body);
}

enum cli_exit ekm_key_retire(struct call *call)
{
	JSON_AUTO *body = json_pack("{s:s}", "external_id", call->arg[2]);

	if (body == NULL)
		return cli_no_memory();
	return cli_ask(call, "POST", client_path(call->client, "/admin/v1/vaults/%s/ekm/pools/%s/keys/retire", call->arg[0], call->arg[1]), body);
}

enum cli_exit ekm_key_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "EXTERNAL ID", "external_id" }, { "KEY", "key" },         { "VERSION", "version" }, { "STATE", "state" },
		{ "LAST USED", "last_used" },     { "USES", "uses" },       { "CREATED", "created" }, { NULL, NULL },
	};
	char *path = client_path(call->client, "/admin/v1/vaults/%s/ekm/pools/%s/keys", call->arg[0], call->arg[1]);
	enum cli_exit code = cli_list(call, path, COLUMNS);

	free(path);
	return code;
}
