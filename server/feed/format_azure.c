/* server/feed/format_azure.c - the record shape of Key Vault's diagnostic logs, category AuditEvent (spec/audit-log.md 10.1). What a leaf does not hold (the request's
 * duration, path and API version) is left out rather than made up. */
#include <stdlib.h>
#include <string.h>

#include "server/feed/format.h"

#define OPERATION_MAX 80

static const char *reason_phrase(int http)
{
	static const struct {
		int http;
		const char *phrase;
	} PHRASES[] = {
		{ 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" }, { 400, "Bad Request" }, { 401, "Unauthorized" },
		{ 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" }, { 408, "Request Timeout" }, { 409, "Conflict" }, { 410, "Gone" },
		{ 413, "Content Too Large" }, { 415, "Unsupported Media Type" }, { 429, "Too Many Requests" }, { 500, "Internal Server Error" },
		{ 503, "Service Unavailable" },
	};
	for (size_t i = 0; i < KMS_ARRAY_LEN(PHRASES); i++)
		if (PHRASES[i].http == http)
			return PHRASES[i].phrase;
	return NULL;
}

/* Those that Key Vault has, by the part behind "key."; the others are ours alone. */
static bool is_azure_name(const char *verb)
{
	static const char *const VERBS[] = { "create", "import", "get", "list", "update", "delete", "encrypt", "decrypt", "wrap", "unwrap", "sign", "verify",
		                             "rotate", "backup", "restore", "recover", "purge" };
	for (size_t i = 0; i < KMS_ARRAY_LEN(VERBS); i++)
		if (strcmp(VERBS[i], verb) == 0)
			return true;
	return false;
}

/* tenant.shred_incomplete -> TenantShredIncomplete. Nothing but letters and digits, also of a type that came with a later version. */
static void camel_case(const char *type, char *ret, size_t cap)
{
	bool is_first = true;
	size_t len = 0;

	for (; *type != '\0' && len + 1 < cap; type++) {
		bool is_lower = *type >= 'a' && *type <= 'z';
		if (!is_lower && (*type < 'A' || *type > 'Z') && (*type < '0' || *type > '9')) {
			is_first = true;
			continue;
		}
		ret[len++] = is_first && is_lower ? (char)(*type - 'a' + 'A') : *type;
		is_first = false;
	}
	ret[len] = '\0';
}

static void operation_name(const struct leaf *l, char ret[OPERATION_MAX])
{
	static const char KEY[] = "key.";
	const char *verb = strncmp(l->type_name, KEY, sizeof(KEY) - 1) == 0 ? l->type_name + sizeof(KEY) - 1 : NULL;
	char camel[OPERATION_MAX - 4];

	camel_case(l->type_name, camel, sizeof(camel));
	if (l->type == EVENT_DENIED)
		(void)snprintf(ret, OPERATION_MAX, "Authentication");
	else if (l->type == EVENT_KEY_ROTATE && leaf_det_number(l, "due") != 0) /* the scheduler's */
		(void)snprintf(ret, OPERATION_MAX, "KeyRotateIfDue");
	else if (format_is_reinstatement(l))
		(void)snprintf(ret, OPERATION_MAX, "KmsKeyReinstate");
	else if (l->type == EVENT_KEY_LIST && l->key_name[0] != '\0')
		(void)snprintf(ret, OPERATION_MAX, "KeyListVersions");
	else
		(void)snprintf(ret, OPERATION_MAX, "%s%s", verb != NULL && is_azure_name(verb) ? "" : "Kms", camel);
}

/* Key names of requests that were refused may be anything: in a URL only what may stand there. */
static void put_segment(FILE *out, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
		if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-._~", *c) != NULL)
			(void)fputc(*c, out);
		else
			(void)fprintf(out, "%%%02X", *c);
	}
}

static char *key_url(const struct leaf *l, const struct format_facts *facts)
{
	char *url = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&url, &len);
	bool is_whole = false;

	if (out == NULL)
		return NULL;
	(void)fprintf(out, "%s/keys/", facts->vault_url);
	put_segment(out, l->key_name);
	if (l->key_version[0] != '\0') {
		(void)fputc('/', out);
		put_segment(out, l->key_version);
	}
	is_whole = ferror(out) == 0;
	if (fclose(out) == 0 && is_whole)
		return url;
	free(url);
	return NULL;
}

static json_t *identity(const struct leaf *l)
{
	char pid[FORMAT_PID_MAX];

	format_pid(l, pid);
	return json_pack("{s:{s:s}}", "claim", l->actor == EVENT_ACTOR_APP ? "appid" : "oid", pid);
}

static bool put_properties(json_t *p, const struct leaf *l, const struct format_facts *facts)
{
	char hash[FORMAT_HASH_MAX];
	bool good = p != NULL;

	format_hash(l, hash);
	if (l->key_name[0] != '\0' && facts->vault_url != NULL) {
		char *url = key_url(l, facts);
		good = good && url != NULL && format_put(p, "id", url);
		free(url);
	}
	if (l->http != 0)
		good = good && format_put_value(p, "httpStatusCode", json_integer(l->http));
	good = good && format_put(p, "algorithm", l->alg) && format_put(p, "eventType", l->type_name) && format_put(p, "result", format_result(l)) &&
	       format_put(p, "tlsVersion", l->tls) && format_put(p, "requestId", l->req) && format_put(p, "traceId", l->trace);
	if (l->count != 1)
		good = good && format_put_value(p, "count", json_integer((json_int_t)l->count));
	if (l->det != NULL)
		good = good && format_put_value(p, "details", json_deep_copy(l->det));
	return good && format_put_value(p, "auditSeq", json_integer((json_int_t)l->seq)) && format_put(p, "auditLeaf", hash) &&
	       format_put(p, "auditOrigin", facts->origin);
}

static bool put_who(json_t *o, const struct leaf *l)
{
	if (!format_put(o, "callerIpAddress", l->peer) || !format_put(o, "correlationId", l->corr[0] != '\0' ? l->corr : l->req))
		return false;
	return !l->has_pid || format_put_value(o, "identity", identity(l));
}

static bool put_record(json_t *o, const struct leaf *l, const struct format_facts *facts)
{
	char time[TIMESTAMP_LEN + 2], resource[256], operation[OPERATION_MAX];
	json_t *properties = json_object();

	timestamp_format(l->ts_us, time);
	memcpy(time + TIMESTAMP_LEN - 1, "0Z", sizeof("0Z")); /* seven digits, as Azure writes them */
	if (facts->vault != NULL)
		(void)snprintf(resource, sizeof(resource), "/tenants/%s/vaults/%s", facts->directory, facts->vault);
	else
		(void)snprintf(resource, sizeof(resource), "/tenants/%s", facts->directory);
	operation_name(l, operation);
	if (!put_properties(properties, l, facts)) {
		json_decref(properties);
		return false;
	}
	return format_put_value(o, "properties", properties) && format_put(o, "time", time) && format_put(o, "resourceId", resource) &&
	       format_put(o, "operationName", operation) && format_put(o, "category", "AuditEvent") &&
	       format_put(o, "resultType", l->result == EVENT_OK ? "Success" : "Failure") && format_put(o, "resultSignature", reason_phrase(l->http)) &&
	       format_put(o, "resultDescription", l->err) && put_who(o, l);
}

/* ASCII alone: some readers take U+0085 and U+2028 for the end of a line. */
bool format_azure(const struct leaf *l, const struct format_facts *facts, FILE *out)
{
	json_t *o = json_object();
	bool good = o != NULL && put_record(o, l, facts) && json_dumpf(o, out, JSON_COMPACT | JSON_ENSURE_ASCII) == 0;

	json_decref(o);
	return good;
}
