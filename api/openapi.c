/* api/openapi.c - the API's own description (OpenAPI 3.1), made from the tables that serve it: API_ROUTES, the request schemas, KMS_STATUS_MAP;
 * and from answers.c, where it is written down what answers look like. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/answers.h"
#include "api/keyvault.h"

#define OPENAPI_VERSION "3.1.0"
#define NAME_TEXT_MAX 96
#define JSON_MEDIA "application/json"

/* Parameters in the query, beside api-version. */
static const struct {
	enum answer answer;
	struct json_field field;
} QUERIES[] = {
	{ ANSWER_KEY_LIST, { .name = "maxresults", .kind = J_INT, .min = 1, .max = KEYRING_PAGE_MAX } },
	{ ANSWER_KEY_LIST, { .name = "$skiptoken", .kind = J_STRING } },
	{ ANSWER_DELETED_KEY_LIST, { .name = "maxresults", .kind = J_INT, .min = 1, .max = KEYRING_PAGE_MAX } },
	{ ANSWER_DELETED_KEY_LIST, { .name = "$skiptoken", .kind = J_STRING } },
	{ ANSWER_VAULT_LIST, { .name = "after", .kind = J_STRING } },
	{ ANSWER_PRINCIPAL_LIST, { .name = "after", .kind = J_STRING } },
	{ ANSWER_EKM_POOL_LIST, { .name = "after", .kind = J_STRING } },
	{ ANSWER_EKM_KEY_LIST, { .name = "after", .kind = J_STRING } },
	{ ANSWER_GROUP_LIST, { .name = "after", .kind = J_STRING } },
	{ ANSWER_MEMBER_LIST, { .name = "after", .kind = J_STRING } },
	{ ANSWER_SERVICE_LIST, { .name = "after", .kind = J_STRING } },
	{ ANSWER_DEAD_LETTER_LIST, { .name = "after", .kind = J_STRING } },
	{ ANSWER_APPROVAL_LIST, { .name = "after", .kind = J_STRING } },
	{ ANSWER_APPROVAL_LIST, { .name = "all", .kind = J_INT, .min = 0, .max = 1 } },
	{ ANSWER_CERTIFICATE_LIST, { .name = "after", .kind = J_STRING } },
	{ ANSWER_CERTIFICATE_LIST, { .name = "vault", .kind = J_STRING } },
	{ ANSWER_CERTIFICATE, { .name = "format", .kind = J_STRING } },
	{ ANSWER_EXPLANATION, { .name = "principal", .kind = J_STRING, .required = true } },
	{ ANSWER_EXPLANATION, { .name = "action", .kind = J_STRING, .required = true } },
	{ ANSWER_EXPLANATION, { .name = "key", .kind = J_STRING } },
	{ ANSWER_ENTRIES, { .name = "start", .kind = J_INT, .min = 0, .max = INT64_MAX } },
	{ ANSWER_ENTRIES, { .name = "format", .kind = J_STRING } },
	{ ANSWER_ENTRIES, { .name = "count", .kind = J_INT, .min = 0, .max = LOG_ENTRIES_MAX } },
	{ ANSWER_EVENTS, { .name = "from", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "to", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "vault", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "key", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "version", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "principal", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "type", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "result", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "id", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "err", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "intents", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "order", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "cursor", .kind = J_STRING } },
	{ ANSWER_EVENTS, { .name = "limit", .kind = J_INT, .min = 1, .max = 1000 } },
	{ ANSWER_INCLUSION, { .name = "seq", .kind = J_INT, .min = 0, .max = INT64_MAX, .required = true } },
	{ ANSWER_INCLUSION, { .name = "size", .kind = J_INT, .min = 1, .max = INT64_MAX } },
	{ ANSWER_CONSISTENCY, { .name = "from", .kind = J_INT, .min = 1, .max = INT64_MAX, .required = true } },
	{ ANSWER_CONSISTENCY, { .name = "to", .kind = J_INT, .min = 1, .max = INT64_MAX } },
	{ ANSWER_BUNDLE, { .name = "id", .kind = J_STRING } },
	{ ANSWER_BUNDLE, { .name = "seq", .kind = J_INT, .min = 0, .max = INT64_MAX } },
	{ ANSWER_REPORT_ROTATIONS, { .name = "vault", .kind = J_STRING } },
	{ ANSWER_REPORT_ROTATIONS, { .name = "from", .kind = J_INT, .min = 0, .max = INT64_MAX } },
	{ ANSWER_REPORT_ROTATIONS, { .name = "to", .kind = J_INT, .min = 0, .max = INT64_MAX } },
	{ ANSWER_REPORT_ROTATIONS, { .name = "after", .kind = J_STRING } },
	{ ANSWER_REPORT_OVERDUE, { .name = "vault", .kind = J_STRING } },
	{ ANSWER_REPORT_OVERDUE, { .name = "max_age", .kind = J_INT, .min = 0, .max = 36500 } },
	{ ANSWER_REPORT_OVERDUE, { .name = "after", .kind = J_STRING } },
	{ ANSWER_REPORT_DENIALS, { .name = "vault", .kind = J_STRING } },
	{ ANSWER_REPORT_DENIALS, { .name = "from", .kind = J_INT, .min = 0, .max = INT64_MAX } },
	{ ANSWER_REPORT_DENIALS, { .name = "to", .kind = J_INT, .min = 0, .max = INT64_MAX } },
	{ ANSWER_REPORT_DENIALS, { .name = "after", .kind = J_STRING } },
	{ ANSWER_REPORT_REVOCATIONS, { .name = "vault", .kind = J_STRING } },
	{ ANSWER_REPORT_REVOCATIONS, { .name = "from", .kind = J_INT, .min = 0, .max = INT64_MAX } },
	{ ANSWER_REPORT_REVOCATIONS, { .name = "to", .kind = J_INT, .min = 0, .max = INT64_MAX } },
	{ ANSWER_REPORT_REVOCATIONS, { .name = "after", .kind = J_STRING } },
	{ ANSWER_REPORT_UNUSED, { .name = "vault", .kind = J_STRING } },
	{ ANSWER_REPORT_UNUSED, { .name = "days", .kind = J_INT, .min = 0, .max = 36500 } },
	{ ANSWER_REPORT_UNUSED, { .name = "after", .kind = J_STRING } },
	{ ANSWER_REPORT_PROTECTION, { .name = "vault", .kind = J_STRING } },
	{ ANSWER_REPORT_PROTECTION, { .name = "after", .kind = J_STRING } },
};

/* Parameters in paths. */
#define GUID_PATTERN "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
static const struct {
	const char *name, *pattern, *description;
} PATH_PARAMETERS[] = {
	{ "key", "^[0-9a-zA-Z-]{1,127}$", "Name of a key; compared without case." },
	{ "version", "^[0-9a-fA-F]{32}$", "Version of a key." },
	{ "vault", "^[0-9a-zA-Z-]{3,24}$", "Name of a vault." },
	{ "id", GUID_PATTERN, "Id of a principal, a group, a role, a request for approval, a certificate, or an event." },
	{ "credential", GUID_PATTERN, "Id of a credential." },
	{ "member", GUID_PATTERN, "Id of a member." },
	{ "service", "^.{1,64}$", "Name or id of a service with client certificates." },
	{ "pool", "^.{1,64}$", "Name or id of a Managed HSM pool." },
	{ "external", "^[0-9a-zA-Z-]{1,64}$", "External key id; compared with case." },
	{ "tenant", GUID_PATTERN, "Directory of a vault, or of the installation." },
	{ "size", "^(0|[1-9][0-9]*)$", "Size of the log that a checkpoint was signed for." },
	{ "level", "^(0|[1-9][0-9]?)$", "Level of a tile (C2SP tlog-tiles)." },
	{ "tile", "^(x[0-9]{3}/){0,4}[0-9]{3}(\\.p/[1-9][0-9]{0,2})?$", "Number of a tile (C2SP tlog-tiles): groups of three digits, several segments of the path." },
};

/* ---- schemas ---- */

static json_t *names_array(const struct json_field *f)
{
	json_t *names = json_array();

	for (unsigned i = 0; f->name_at(i) != NULL; i++)
		json_add(&names, json_string(f->name_at(i)));
	return names;
}

static json_t *typed(const char *type) { return json_pack("{s:s}", "type", type); }

static void put_bounds(json_t **schema, const char *min_name, int64_t min, const char *max_name, int64_t max)
{
	if (min > 0)
		json_put(schema, min_name, json_integer(min));
	if (max > 0 && max != INT64_MAX)
		json_put(schema, max_name, json_integer(max));
}

static json_t *object_schema(const struct json_field *fields, bool is_strict);

static json_t *bytes_schema(const struct json_field *f)
{
	const int64_t padding = 2;
	json_t *s = typed("string");

	json_put(&s, "contentEncoding", json_string(f->kind == J_BASE64 ? "base64" : "base64url"));
	json_put(&s, "pattern", json_string(f->is_unpadded       ? "^[A-Za-z0-9_-]*$"
	                                    : f->kind == J_BASE64 ? "^[A-Za-z0-9_+/-]*={0,2}$"
	                                                          : "^[A-Za-z0-9_-]*={0,2}$"));
	if (f->max > 0)
		put_bounds(&s, "minLength", (int64_t)B64URL_LEN((size_t)f->min), "maxLength",
		           (int64_t)B64URL_LEN((size_t)f->max) + (f->is_unpadded ? 0 : padding));
	return s;
}

static json_t *tags_schema(void)
{
	return json_pack("{s:s,s:i,s:{s:i},s:{s:s,s:i}}", "type", "object", "maxProperties", JSON_TAGS_MAX, "propertyNames", "maxLength",
	                 JSON_TAG_TEXT_MAX, "additionalProperties", "type", "string", "maxLength", JSON_TAG_TEXT_MAX);
}

static json_t *texts_schema(const struct json_field *f)
{
	json_t *item = json_pack("{s:s,s:i}", "type", "string", "minLength", 1);
	json_t *s = f->max == 1 ? item : json_pack("{s:s,s:i,s:I,s:o}", "type", "array", "minItems", 1, "maxItems", (json_int_t)f->max, "items", item);

	return s;
}

static json_t *set_schema(const struct json_field *f)
{
	json_t *item = typed("string"), *s = typed("array");

	if (f->name_at != NULL)
		json_put(&item, "enum", names_array(f));
	json_put(&s, "items", item);
	put_bounds(&s, "minItems", f->min, "maxItems", 0);
	return s;
}

static json_t *field_schema(const struct json_field *f, bool is_strict)
{
	json_t *s = NULL;

	switch (f->kind) {
	case J_STRING:
		s = f->is_nullable ? json_pack("{s:[s,s]}", "type", "string", "null") : typed("string");
		put_bounds(&s, "minLength", f->min, "maxLength", f->max);
		return s;
	case J_OPAQUE:
		return typed("string");
	case J_TEXTS:
		return texts_schema(f);
	case J_BOOL:
		return typed("boolean");
	case J_INT:
		s = json_pack("{s:s,s:s}", "type", "integer", "format", "int64");
		if (f->min != INT64_MIN)
			json_put(&s, "minimum", json_integer(f->min));
		if (f->max != INT64_MAX)
			json_put(&s, "maximum", json_integer(f->max));
		return s;
	case J_ENUM:
		s = typed("string");
		json_put(&s, "enum", names_array(f));
		return s;
	case J_SET:
		return set_schema(f);
	case J_SECRET:
	case J_BYTES:
	case J_BASE64:
		return bytes_schema(f);
	case J_TAGS:
		return tags_schema();
	case J_OBJECT:
		return object_schema(f->fields, is_strict);
	case J_LIST:
		s = typed("array");
		json_put(&s, "items", object_schema(f->fields, is_strict));
		put_bounds(&s, "minItems", 0, "maxItems", f->max);
		return s;
	}
	return NULL;
}

static json_t *object_schema(const struct json_field *fields, bool is_strict)
{
	json_t *s = typed("object"), *properties = json_object(), *required = json_array();

	for (const struct json_field *f = fields; f->name != NULL; f++) {
		json_put(&properties, f->name, field_schema(f, is_strict));
		if (f->required)
			json_add(&required, json_string(f->name));
	}
	json_put(&s, "properties", properties);
	if (required == NULL || json_array_size(required) > 0)
		json_put(&s, "required", required);
	else
		json_decref(required);
	if (is_strict)
		json_put(&s, "additionalProperties", json_false());
	return s;
}

/* The catalogue's codes; those of the token endpoint are RFC 6749's and begin at KMS_E_OAUTH_REQUEST. */
static json_t *error_codes(bool inner)
{
	json_t *codes = json_array();

	for (int i = KMS_OK + 1; i < KMS_E_OAUTH_REQUEST; i++) {
		const char *code = inner ? kms_status_inner((kms_status)i) : kms_status_code((kms_status)i);
		bool is_new = code != NULL;
		size_t n = 0;
		json_t *seen = NULL;
		if (code == NULL)
			continue;
		json_array_foreach(codes, n, seen)
			is_new &= strcmp(json_string_value(seen), code) != 0;
		if (is_new)
			json_add(&codes, json_string(code));
	}
	return codes;
}

static json_t *error_schema(void)
{
	return json_pack("{s:s,s:[s],s:{s:{s:s,s:[s,s],s:{s:{s:s,s:o},s:{s:s},s:{s:s,s:[s],s:{s:{s:s,s:o},s:{s:s,s:s,s:s},s:{s:s,s:s}}}}}}}",
	                      "type", "object", "required", "error", "properties", "error", "type", "object", "required", "code", "message",
	                      "properties", "code", "type", "string", "enum", error_codes(false), "message", "type", "string", "innererror", "type",
	                      "object", "required", "code", "properties", "code", "type", "string", "enum", error_codes(true), "approval", "type",
	                      "string", "pattern", GUID_PATTERN, "description", "The request that waits for approvals (management only).", "vault",
	                      "type", "string", "description", "Whose request that is; empty: the installation's.");
}

static json_t *make_schemas(void)
{
	json_t *schemas = json_object();

	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		const struct json_schema *body = API_ROUTES[i].body;
		const struct answer_info *answer = &ANSWERS[API_ROUTES[i].answer];
		if (body != NULL && json_object_get(schemas, body->name) == NULL)
			json_put(&schemas, body->name, object_schema(body->fields, body->is_strict));
		if (answer->name != NULL && json_object_get(schemas, answer->name) == NULL)
			json_put(&schemas, answer->name, answer->fields != NULL ? object_schema(answer->fields, false) : typed("string"));
	}
	json_put(&schemas, "AccessTokenRequest", object_schema(ANSWER_TOKEN_FORM, false));
	json_put(&schemas, "Error", error_schema());
	json_put(&schemas, "OAuthError", object_schema(ANSWER_OAUTH_ERROR, false));
	json_put(&schemas, "EkmError", object_schema(ANSWER_EKM_ERROR, false));
	return schemas;
}

/* ---- parameters and responses that operations refer to ---- */

static json_t *ref(const char *kind, const char *name)
{
	char text[2 * NAME_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "#/components/%s/%s", kind, name);
	return json_pack("{s:s}", "$ref", text);
}

static json_t *content(const char *media, const char *schema) { return json_pack("{s:{s:o}}", media, "schema", ref("schemas", schema)); }

static json_t *api_version_parameter(void)
{
	json_t *versions = json_array();

	for (unsigned i = 0; api_version_at(i) != NULL; i++)
		json_add(&versions, json_string(api_version_at(i)));
	return json_pack("{s:s,s:s,s:b,s:{s:s,s:o}}", "name", "api-version", "in", "query", "required", 1, "schema", "type", "string", "enum",
	                 versions);
}

static json_t *make_parameters(void)
{
	json_t *parameters = json_object();

	json_put(&parameters, "api-version", api_version_parameter());
	json_put(&parameters, "ekm-api-version",
	         json_pack("{s:s,s:s,s:b,s:{s:s,s:[s]}}", "name", "api-version", "in", "query", "required", 1, "schema", "type", "string", "enum",
	                   EKM_API_VERSION));
	for (size_t i = 0; i < KMS_ARRAY_LEN(PATH_PARAMETERS); i++)
		json_put(&parameters, PATH_PARAMETERS[i].name,
		         json_pack("{s:s,s:s,s:b,s:s,s:{s:s,s:s}}", "name", PATH_PARAMETERS[i].name, "in", "path", "required", 1, "description",
		                   PATH_PARAMETERS[i].description, "schema", "type", "string", "pattern", PATH_PARAMETERS[i].pattern));
	return parameters;
}

static bool is_first_of_its_number(int status)
{
	for (int i = KMS_OK + 1; i < status; i++)
		if (kms_status_http((kms_status)i) == kms_status_http((kms_status)status))
			return false;
	return true;
}

/* One for each HTTP number of the catalogue. */
static json_t *make_responses(void)
{
	json_t *responses = json_object();

	for (int i = KMS_OK + 1; i < KMS_E_OAUTH_REQUEST; i++) {
		char name[NAME_TEXT_MAX];
		(void)snprintf(name, sizeof(name), "Error%d", kms_status_http((kms_status)i));
		if (is_first_of_its_number(i))
			json_put(&responses, name, json_pack("{s:s,s:o}", "description", kms_status_text((kms_status)i), "content",
			                                     content(JSON_MEDIA, "Error")));
	}
	json_put(&responses, "EkmError",
	         json_pack("{s:s,s:o}", "description", "400, 401, 403 to 405, 408, 413, 415, 429, 500, 502, 503: flat, as the EKM proxy API has it.",
	                   "content", content(JSON_MEDIA, "EkmError")));
	json_put(&responses, "OAuthError", json_pack("{s:s,s:o}", "description", "RFC 6749 section 5.2.", "content", content(JSON_MEDIA, "OAuthError")));
	return responses;
}

/* ---- operations ---- */

static bool is_public(const struct route *r) { return r->permission == PERM_PUBLIC; }
static bool is_token(const struct route *r) { return r->answer == ANSWER_TOKEN; }

static void operation_base(const struct route *r, char *ret, size_t cap)
{
	(void)snprintf(ret, cap, "%s%s", r->operation, strstr(r->path, "{version}") != NULL ? "Version" : "");
}

/* The route's operation; the form with a version says so, and further paths of the same operation are numbered. */
static json_t *operation_id(const struct route *r)
{
	char base[NAME_TEXT_MAX], other[NAME_TEXT_MAX], text[NAME_TEXT_MAX + 12];
	unsigned before = 0;

	operation_base(r, base, sizeof(base));
	for (const struct route *o = API_ROUTES; o < r; o++) {
		operation_base(o, other, sizeof(other));
		before += strcmp(base, other) == 0;
	}
	if (before == 0)
		return json_string(base);
	(void)snprintf(text, sizeof(text), "%s%u", base, before + 1);
	return json_string(text);
}

static json_t *operation_parameters(const struct route *r)
{
	json_t *list = json_array();

	for (const char *p = strchr(r->path, '{'); p != NULL; p = strchr(p + 1, '{')) {
		char name[NAME_TEXT_MAX];
		(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(p + 1, "}"), p + 1);
		json_add(&list, ref("parameters", name));
	}
	if (r->dialect == DIALECT_VAULT || r->dialect == DIALECT_EKM)
		json_add(&list, ref("parameters", r->dialect == DIALECT_EKM ? "ekm-api-version" : "api-version"));
	for (size_t i = 0; i < KMS_ARRAY_LEN(QUERIES); i++)
		if (QUERIES[i].answer == r->answer)
			json_add(&list, json_pack("{s:s,s:s,s:b,s:o}", "name", QUERIES[i].field.name, "in", "query", "required",
			                          (int)QUERIES[i].field.required, "schema", field_schema(&QUERIES[i].field, false)));
	return list;
}

static json_t *operation_body(const struct route *r)
{
	if (is_token(r))
		return json_pack("{s:b,s:o}", "required", 1, "content", content("application/x-www-form-urlencoded", "AccessTokenRequest"));
	return json_pack("{s:b,s:o,s:I}", "required", (int)!r->body->may_be_empty, "content", content(JSON_MEDIA, r->body->name), "x-max-bytes",
	                 (json_int_t)(r->body->body_max != 0 ? r->body->body_max : REQUEST_BODY_MAX));
}

static void put_errors(const struct route *r, json_t **responses)
{
	if (is_token(r)) {
		json_put(responses, "default", ref("responses", "OAuthError"));
		return;
	}
	if (r->dialect == DIALECT_EKM) {
		json_put(responses, "default", ref("responses", "EkmError"));
		return;
	}
	if (r->answer == ANSWER_READY)
		json_put(responses, "503", json_pack("{s:s,s:o}", "description", "Not ready.", "content", content(JSON_MEDIA, ANSWERS[ANSWER_READY].name)));
	for (int i = KMS_OK + 1; i < KMS_E_OAUTH_REQUEST; i++) {
		char number[12], name[NAME_TEXT_MAX];
		(void)snprintf(number, sizeof(number), "%d", kms_status_http((kms_status)i));
		(void)snprintf(name, sizeof(name), "Error%s", number);
		if (json_object_get(*responses, number) == NULL)
			json_put(responses, number, ref("responses", name));
	}
}

static json_t *operation_responses(const struct route *r)
{
	const struct answer_info *answer = &ANSWERS[r->answer];
	json_t *responses = json_object();

	if (r->answer == ANSWER_NOTHING)
		json_put(&responses, "204", json_pack("{s:s}", "description", "Done."));
	else if (r->answer == ANSWER_ROOT_ROTATION || r->answer == ANSWER_BACKUP_TASK)
		json_put(&responses, "202", json_pack("{s:s,s:o}", "description", "Begun.", "content", content(JSON_MEDIA, answer->name)));
	else if (answer->name != NULL)
		json_put(&responses, "200", json_pack("{s:s,s:o}", "description", "Done.", "content",
		                                      content(answer->media != NULL ? answer->media : JSON_MEDIA, answer->name)));
	put_errors(r, &responses);
	return responses;
}

static json_t *security(const struct route *r)
{
	if (r->dialect == DIALECT_EKM)
		return json_pack("[{s:[]}]", "certificate");
	return is_public(r) ? json_array() : json_pack("[{s:[]},{s:[]},{s:[]}]", "oauth2", "bearer", "certificate");
}

static const char *tag_of(const struct route *r)
{
	switch (r->dialect) {
	case DIALECT_VAULT: return "Key Vault";
	case DIALECT_EKM: return "EKM proxy";
	case DIALECT_DOMAIN:
	case DIALECT_LOCAL:
	case DIALECT_IDENTITY: break;
	}
	return is_public(r) ? "Service" : "Management";
}

static json_t *operation(const struct route *r)
{
	json_t *o = json_object();

	json_put(&o, "operationId", operation_id(r));
	json_put(&o, "tags", json_pack("[s]", tag_of(r)));
	if (r->answer == ANSWER_REFUSED)
		json_put(&o, "description", json_string("Known, and refused on purpose: 400 BadParameter with the reason."));
	json_put(&o, "parameters", operation_parameters(r));
	if (r->body != NULL || is_token(r))
		json_put(&o, "requestBody", operation_body(r));
	json_put(&o, "responses", operation_responses(r));
	json_put(&o, "security", security(r));
	if (!is_public(r) && r->permission != PERM_CALLER)
		json_put(&o, "x-permission", json_string(permission_action(r->permission)));
	if (r->event != EVENT_NONE)
		json_put(&o, "x-event", json_string(event_type_name(r->event)));
	return o;
}

/* ---- the document ---- */

static json_t *domain_server(const struct kms *kms)
{
	char url[KMS_URL_MAX];

	kms_url(kms, NULL, url);
	return json_pack("{s:s,s:s}", "url", url, "description", "Tokens, management, audit. Management is served on the local socket too.");
}

static json_t *vault_server(const struct kms *kms)
{
	char url[KMS_URL_MAX];

	kms_url(kms, "{vault}", url);
	return json_pack("{s:s,s:s,s:{s:{s:s,s:s}}}", "url", url, "description", "One vault.", "variables", "vault", "default", "vault", "description",
	                 "The vault's name.");
}

/* A listener of its own, whose name is the operator's choice (docs/ekm.md). */
static json_t *ekm_server(const struct kms *kms)
{
	char host[KMS_DOMAIN_MAX + sizeof("ekm.")];

	(void)snprintf(host, sizeof(host), "ekm.%s", kms->domain);
	return json_pack("{s:s,s:s,s:{s:{s:s,s:s}}}", "url", "https://{ekm_host}", "description",
	                 "What Managed HSM pools call, with their client certificates; below the pool's path prefix, if it has one.", "variables",
	                 "ekm_host", "default", host, "description", "The name of the EKM listener's certificate.");
}

static json_t *server_of(const struct route *r, const struct kms *kms)
{
	switch (r->dialect) {
	case DIALECT_VAULT: return vault_server(kms);
	case DIALECT_EKM: return ekm_server(kms);
	case DIALECT_DOMAIN:
	case DIALECT_LOCAL:
	case DIALECT_IDENTITY: break;
	}
	return domain_server(kms);
}

static json_t *make_paths(const struct kms *kms)
{
	json_t *paths = json_object();

	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		const struct route *r = &API_ROUTES[i];
		json_t *path = json_object_get(paths, r->path); /* borrowed */
		char method[8];
		size_t n = 0;
		if (r->dialect == DIALECT_IDENTITY) /* Azure's interface on a listener for this machine alone: not to be told to the world */
			continue;
		if (path == NULL) {
			json_put(&paths, r->path, json_pack("{s:[o]}", "servers", server_of(r, kms)));
			path = json_object_get(paths, r->path);
		}
		for (const char *m = http_method_name(r->method); *m != '\0' && n + 1 < sizeof(method); m++)
			method[n++] = (char)tolower((unsigned char)*m);
		method[n] = '\0';
		if (path == NULL || json_object_set_new(path, method, operation(r)) != 0) {
			json_decref(paths);
			return NULL;
		}
	}
	return paths;
}

static json_t *security_schemes(const struct kms *kms)
{
	char base[KMS_URL_MAX], token[KMS_URL_MAX + 32], scope[KMS_URL_MAX + 16];

	kms_url(kms, NULL, base);
	(void)snprintf(token, sizeof(token), "%s/adfs/oauth2/token", base);
	(void)snprintf(scope, sizeof(scope), "%s/.default", base);
	return json_pack("{s:{s:s,s:{s:{s:s,s:{s:s}}}},s:{s:s,s:s,s:s},s:{s:s,s:s}}", "oauth2", "type", "oauth2", "flows", "clientCredentials", "tokenUrl", token,
	                 "scopes", scope, "What the caller's roles allow.", "bearer", "type", "http", "scheme", "bearer", "bearerFormat", "JWT",
	                 "certificate", "type", "mutualTLS", "description", "The client certificate of a Managed HSM pool; or of a service, where the server is configured to ask for one.");
}

char *openapi_make(const struct kms *kms, size_t *ret_len)
{
	JSON_AUTO *document = json_object();
	json_t *components = json_object();

	json_put(&document, "openapi", json_string(OPENAPI_VERSION));
	json_put(&document, "info",
	         json_pack("{s:s,s:s,s:s}", "title", "Holdfast", "version", "1.0.0", "description",
	                   "A key management server. Vaults speak the Azure Key Vault data plane for keys; a member that is null is absent, and "
	                   "unknown members are ignored there. Every answer that the event log holds carries its receipt in x-audit-seq and "
	                   "x-audit-leaf."));
	json_put(&document, "servers", json_pack("[o]", domain_server(kms)));
	json_put(&document, "paths", make_paths(kms));
	json_put(&components, "schemas", make_schemas());
	json_put(&components, "parameters", make_parameters());
	json_put(&components, "responses", make_responses());
	json_put(&components, "securitySchemes", security_schemes(kms));
	json_put(&document, "components", components);
	return document != NULL ? json_text(document, ret_len) : NULL;
}

kms_status api_openapi(struct request *r, struct kms_err *err)
{
	size_t len = 0;
	const char *text = request_openapi(r, &len);

	reply_empty(r, 200);
	r->response.body = malloc(len);
	if (r->response.body == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "the API's description");
	memcpy(r->response.body, text, len);
	r->response.body_len = len;
	r->content_type = JSON_MEDIA;
	return KMS_OK;
}
