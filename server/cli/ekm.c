/* server/cli/ekm.c - who is known by client certificates: pools of Azure Managed HSM and the keys that are published to them (docs/ekm.md), and services
 * (docs/access.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/base/err.h"
#include "server/cli/command.h"

#define FILE_BYTES_MAX ((size_t)120 * 1024) /* what the server takes */
#define DER_SEQUENCE 0x30                   /* how a certificate in DER begins; no text does */

/* ---- the file of roots ---- */

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
	char *text = cli_read_file(name, FILE_BYTES_MAX, &len);
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
	enum cli_exit code = cli_add_list(call, "subjects", body);

	return code == CLI_OK && call_has(call, OPT_ROOTS) ? take_roots(call_value(call, OPT_ROOTS), body) : code;
}

/* ---- pools ---- */

static enum cli_exit add(struct call *call, const char *what, const char *collection)
{
	JSON_AUTO *body = json_pack("{s:s}", "name", call->arg[1]);
	enum cli_exit code = CLI_OK;

	if (body == NULL || !cli_add_text(body, "prefix", call_value(call, OPT_PREFIX)))
		return cli_no_memory();
	code = take_certificates(call, body);
	if (code != CLI_OK)
		return code;
	if (json_object_get(body, "subjects") == NULL) {
		cli_say("--subject: expected the %s's common name", what);
		return CLI_USAGE;
	}
	return cli_ask(call, "POST", cli_scope_path(call, collection), body);
}

enum cli_exit ekm_pool_add(struct call *call) { return add(call, "pool", "/ekm/pools"); }
enum cli_exit service_add(struct call *call) { return add(call, "service", "/services"); }

enum cli_exit ekm_pool_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" },         { "ID", "id" },           { "ENABLED", "enabled" },
		{ "PREFIX", "prefix" },     { "SUBJECTS", "subjects" }, { "ROOTS", "roots" },
		{ "UPDATED", "updated" },   { NULL, NULL },
	};
	return cli_list(call, cli_scope_path(call, "/ekm/pools"), COLUMNS);
}

enum cli_exit service_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "NAME", "name" }, { "ID", "id" }, { "ENABLED", "enabled" }, { "SUBJECTS", "subjects" }, { "ROOTS", "roots" },
		{ "UPDATED", "updated" }, { NULL, NULL },
	};
	return cli_list(call, cli_scope_path(call, "/services"), COLUMNS);
}

static enum cli_exit rotate(struct call *call, const char *collection)
{
	JSON_AUTO *body = json_object();
	enum cli_exit code = body != NULL ? take_certificates(call, body) : cli_no_memory();

	if (code == CLI_OK && json_object_size(body) == 0) {
		cli_say("nothing to replace; expected --roots or --subject");
		return CLI_USAGE;
	}
	return code == CLI_OK ? cli_ask(call, "POST", cli_scope_path(call, collection, call->arg[1]), body) : code;
}

enum cli_exit ekm_pool_rotate_roots(struct call *call) { return rotate(call, "/ekm/pools/%s/certificates"); }
enum cli_exit service_rotate(struct call *call) { return rotate(call, "/services/%s/certificates"); }

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
	return cli_list(call, cli_scope_path(call, "/ekm/pools/%s/keys", call->arg[1]), COLUMNS);
}
