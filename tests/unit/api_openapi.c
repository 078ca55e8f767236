/* tests/unit/api_openapi.c - the API's description says what the route table says, no more and no less. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/api.h"

#define ROUTES_MAX 512

static json_t *document;
/* All but those of Azure's interface for services of the same machine, which is none of this one's. */
static const struct route *routes[ROUTES_MAX];
static size_t route_count;

static json_t *at(json_t *object, const char *name)
{
	json_t *found = json_object_get(object, name);
	if (found == NULL)
		fail_msg("there is no member '%s'", name);
	return found;
}

static void lower(enum http_method method, char ret[8])
{
	const char *name = http_method_name(method);
	size_t i = 0;

	for (; name[i] != '\0'; i++)
		ret[i] = (char)tolower((unsigned char)name[i]);
	ret[i] = '\0';
}

static json_t *operation_of(const struct route *r)
{
	char method[8];

	lower(r->method, method);
	return at(at(at(document, "paths"), r->path), method);
}

static void every_route_is_described_as_it_is(void **state)
{
	(void)state;
	for (size_t i = 0; i < route_count; i++) {
		const struct route *r = routes[i];
		json_t *o = operation_of(r);
		json_t *body = json_object_get(o, "requestBody");
		char named[128];

		assert_non_null(strstr(json_string_value(at(o, "operationId")), r->operation));
		if (r->permission == PERM_PUBLIC) {
			assert_int_equal(json_array_size(at(o, "security")), 0);
			assert_null(json_object_get(o, "x-permission"));
		} else {
			assert_int_equal(json_array_size(at(o, "security")), r->dialect == DIALECT_EKM ? 1 : 3); /* a certificate; elsewhere a token or a certificate */
			if (r->permission == PERM_CALLER) /* whoever has a token, or a certificate */
				assert_null(json_object_get(o, "x-permission"));
			else
				assert_string_equal(json_string_value(at(o, "x-permission")), permission_action(r->permission));
			assert_string_equal(json_string_value(at(o, "x-event")), event_type_name(r->event));
		}
		if (r->body == NULL) {
			assert_true(body == NULL || r->answer == ANSWER_TOKEN);
			continue;
		}
		(void)snprintf(named, sizeof(named), "#/components/schemas/%s", r->body->name);
		assert_string_equal(json_string_value(at(at(at(at(body, "content"), "application/json"), "schema"), "$ref")), named);
	}
}

static void nothing_else_is_described(void **state)
{
	const char *path = NULL, *member = NULL;
	json_t *item = NULL, *value = NULL;
	size_t found = 0;

	(void)state;
	json_object_foreach(at(document, "paths"), path, item) {
		json_object_foreach(item, member, value) {
			bool known = strcmp(member, "servers") == 0;
			for (size_t i = 0; i < route_count && !known; i++) {
				char method[8];
				lower(routes[i]->method, method);
				if (strcmp(routes[i]->path, path) == 0 && strcmp(method, member) == 0) {
					known = true;
					found++;
				}
			}
			if (!known)
				fail_msg("%s %s is described but not routed", member, path);
		}
	}
	assert_int_equal(found, route_count);
}

static void operation_ids_are_unique_and_speak(void **state)
{
	static const struct {
		const char *path, *method, *id;
	} KNOWN[] = {
		{ "/keys/{key}/create", "post", "KeyCreate" }, { "/keys/{key}", "get", "KeyGet" }, { "/keys/{key}/{version}", "get", "KeyGetVersion" },
		{ "/keys/{key}/{version}/sign", "post", "KeySignVersion" }, { "/adfs/oauth2/token", "post", "Token" },
		{ "/{tenant}/oauth2/v2.0/token", "post", "Token3" },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(KNOWN); i++)
		assert_string_equal(json_string_value(at(at(at(at(document, "paths"), KNOWN[i].path), KNOWN[i].method), "operationId")), KNOWN[i].id);
	for (size_t i = 0; i < route_count; i++)
		for (size_t j = i + 1; j < route_count; j++)
			assert_string_not_equal(json_string_value(at(operation_of(routes[i]), "operationId")),
			                        json_string_value(at(operation_of(routes[j]), "operationId")));
}

static void each_path_names_its_host_and_its_parameters(void **state)
{
	(void)state;
	for (size_t i = 0; i < route_count; i++) {
		const struct route *r = routes[i];
		const char *url = json_string_value(at(json_array_get(at(at(at(document, "paths"), r->path), "servers"), 0), "url"));
		json_t *parameters = at(operation_of(r), "parameters"), *p = NULL;
		size_t n = 0, placeholders = 0, in_path = 0;

		assert_string_equal(url, r->dialect == DIALECT_VAULT ? "https://{vault}.kms.test:8443"
		                         : r->dialect == DIALECT_EKM ? "https://{ekm_host}"
		                                                     : "https://kms.test:8443");
		for (const char *c = r->path; *c != '\0'; c++)
			placeholders += *c == '{';
		json_array_foreach(parameters, n, p) {
			const char *target = json_string_value(json_object_get(p, "$ref"));
			in_path += target != NULL && strstr(target, "api-version") == NULL;
		}
		assert_int_equal(in_path, placeholders);
	}
}

/* Every $ref leads somewhere. */
static void follow(json_t *j)
{
	const char *name = NULL;
	json_t *value = NULL;
	size_t i = 0;

	json_object_foreach(j, name, value) {
		if (strcmp(name, "$ref") == 0) {
			char kind[32] = "", target[96] = "";
			assert_int_equal(sscanf(json_string_value(value), "#/components/%31[^/]/%95s", kind, target), 2);
			assert_non_null(at(at(at(document, "components"), kind), target));
		} else {
			follow(value);
		}
	}
	json_array_foreach(j, i, value)
		follow(value);
}

static void every_reference_leads_somewhere(void **state)
{
	(void)state;
	follow(document);
}

static bool is_required(const struct json_field *fields, const char *name)
{
	for (; fields->name != NULL; fields++)
		if (strcmp(fields->name, name) == 0)
			return fields->required;
	return false;
}

static void compare_fields(json_t *schema, const struct json_field *fields, bool is_strict)
{
	json_t *properties = at(schema, "properties"), *required = json_object_get(schema, "required"), *value = NULL;
	size_t n = 0, needed = 0;

	assert_int_equal(json_object_get(schema, "additionalProperties") == json_false(), is_strict);
	for (const struct json_field *f = fields; f->name != NULL; f++) {
		json_t *s = at(properties, f->name);
		needed += f->required;
		if (f->kind == J_OBJECT)
			compare_fields(s, f->fields, is_strict);
		if (f->kind == J_LIST)
			compare_fields(at(s, "items"), f->fields, is_strict);
		if (f->kind == J_ENUM) {
			json_array_foreach(at(s, "enum"), n, value)
				assert_int_not_equal(f->parse(json_string_value(value)), 0);
			assert_true(n > 0);
		}
		if (f->kind == J_INT && f->max != INT64_MAX)
			assert_int_equal(json_integer_value(at(s, "maximum")), f->max);
	}
	assert_int_equal(json_array_size(required), needed);
	json_array_foreach(required, n, value)
		assert_true(is_required(fields, json_string_value(value)));
}

static void request_schemas_say_what_the_tables_say(void **state)
{
	(void)state;
	for (size_t i = 0; i < route_count; i++) {
		const struct json_schema *body = routes[i]->body;
		if (body != NULL)
			compare_fields(at(at(at(document, "components"), "schemas"), body->name), body->fields, body->is_strict);
	}
}

static void pools_are_told_of_their_own_kind_of_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < route_count; i++) {
		const struct route *r = routes[i];
		json_t *responses = at(operation_of(r), "responses"), *otherwise = json_object_get(responses, "default");
		bool is_flat = otherwise != NULL && strcmp(json_string_value(at(otherwise, "$ref")), "#/components/responses/EkmError") == 0;
		assert_int_equal(is_flat, r->dialect == DIALECT_EKM);
		assert_true(!is_flat || json_object_get(responses, "404") == NULL);
	}
}

static void each_error_of_the_catalogue_is_among_the_responses(void **state)
{
	(void)state;
	for (int i = KMS_OK + 1; i < KMS_E_OAUTH_REQUEST; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "%d", kms_status_http((kms_status)i));
		assert_non_null(at(at(operation_of(routes[0]), "responses"), name));
	}
}

static int setup(void **state)
{
	static struct kms kms = { .domain = "kms.test", .public_port = 8443 };
	size_t len = 0;
	char *text = NULL;

	(void)state;
	json_setup();
	text = openapi_make(&kms, &len);
	for (size_t i = 0; i < API_ROUTE_COUNT; i++)
		if (API_ROUTES[i].dialect != DIALECT_IDENTITY && route_count < ROUTES_MAX)
			routes[route_count++] = &API_ROUTES[i];
	document = text != NULL ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	free(text);
	return document != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	json_decref(document);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_route_is_described_as_it_is),
		cmocka_unit_test(nothing_else_is_described),
		cmocka_unit_test(operation_ids_are_unique_and_speak),
		cmocka_unit_test(each_path_names_its_host_and_its_parameters),
		cmocka_unit_test(every_reference_leads_somewhere),
		cmocka_unit_test(request_schemas_say_what_the_tables_say),
		cmocka_unit_test(pools_are_told_of_their_own_kind_of_errors),
		cmocka_unit_test(each_error_of_the_catalogue_is_among_the_responses),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
