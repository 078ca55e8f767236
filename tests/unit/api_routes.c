/* tests/unit/api_routes.c - the route table holds what it must, and the router finds it in every spelling that clients use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/api.h"

#define VERSION "0123456789abcdef0123456789abcdef"

static const char *match(enum dialect dialect, enum http_method method, const char *path, struct request *r)
{
	memset(r, 0, sizeof(*r));
	r->dialect = dialect;
	router_match(r, method, path);
	return r->route != NULL ? r->route->operation : NULL;
}

static void each_route_that_is_not_public_has_a_permission_and_an_event(void **state)
{
	(void)state;
	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		const struct route *r = &API_ROUTES[i];
		assert_non_null(r->handler);
		assert_non_null(r->operation);
		assert_true(r->lane < LANE_COUNT);
		/* Who pages through the event log, as the plan of a shred does, holds up nobody who wants anything else. */
		assert_int_equal(r->lane == LANE_AUDIT, strncmp(r->path, "/audit/v1/", strlen("/audit/v1/")) == 0 || strcmp(r->operation, "VaultShredPlan") == 0);
		if (r->permission == PERM_PUBLIC)
			assert_true(r->dialect == DIALECT_DOMAIN || r->dialect == DIALECT_IDENTITY); /* a vault host shows nothing without a token */
		else
			assert_int_not_equal(r->event, EVENT_NONE);
		if (r->body != NULL)
			assert_true(r->body->size <= sizeof(union request_body));
	}
}

static void no_two_routes_answer_the_same_request(void **state)
{
	(void)state;
	for (size_t i = 0; i < API_ROUTE_COUNT; i++)
		for (size_t j = i + 1; j < API_ROUTE_COUNT; j++)
			assert_false(API_ROUTES[i].method == API_ROUTES[j].method && API_ROUTES[i].dialect == API_ROUTES[j].dialect &&
			             strcmp(API_ROUTES[i].path, API_ROUTES[j].path) == 0);
}

static void every_spelling_that_clients_send_finds_its_route(void **state)
{
	static const struct {
		enum http_method method;
		const char *path, *operation;
	} CASES[] = {
		{ HTTP_GET, "/keys", "KeyList" }, { HTTP_GET, "/keys/", "KeyList" }, { HTTP_GET, "/keys/k1", "KeyGet" },
		{ HTTP_GET, "/keys/k1/", "KeyGet" }, { HTTP_GET, "/keys/k1/" VERSION, "KeyGet" }, { HTTP_GET, "/keys/k1/versions", "KeyListVersions" },
		{ HTTP_GET, "/KEYS/k1/VERSIONS", "KeyListVersions" }, { HTTP_POST, "/keys/k1//unwrapkey", "KeyUnwrap" },
		{ HTTP_POST, "/keys/k1/unwrapKey", "KeyUnwrap" }, { HTTP_POST, "/keys/k1/" VERSION "/wrapKey", "KeyWrap" },
		{ HTTP_PATCH, "/keys/k1/", "KeyUpdate" }, { HTTP_DELETE, "/keys/k1", "KeyDelete" }, { HTTP_POST, "/keys/k1/create", "KeyCreate" },
		{ HTTP_POST, "/keys/k1/rotate", "KeyRotate" }, { HTTP_GET, "/deletedkeys", "KeyListDeleted" },
		{ HTTP_PUT, "/keys/k1", "KeyImport" }, { HTTP_PUT, "/keys/k1/", "KeyImport" }, { HTTP_POST, "/keys/restore", "KeyRestore" },
		{ HTTP_GET, "/keys/restore", "KeyGet" }, { HTTP_PUT, "/keys/restore", "KeyImport" }, { HTTP_POST, "/keys/restore/backup", "KeyBackup" },
		{ HTTP_POST, "/keys/restore/create", "KeyCreate" }, { HTTP_GET, "/keys/k1/rotationpolicy", "KeyRotationPolicyGet" },
		{ HTTP_PUT, "/keys/k1/rotationPolicy", "KeyRotationPolicySet" }, { HTTP_POST, "/keys/k1//encrypt", "KeyEncrypt" },
		{ HTTP_POST, "/keys/k1/" VERSION "/decrypt", "KeyDecrypt" }, { HTTP_POST, "/keys/k1/sign", "KeySign" },
		{ HTTP_POST, "/keys/k1/" VERSION "/verify", "KeyVerify" }, { HTTP_POST, "/keys/k1/release", "KeyRelease" },
		{ HTTP_POST, "/keys/k1/" VERSION "/release", "KeyRelease" }, { HTTP_GET, "/keys/k1//attestation", "KeyAttestation" },
		{ HTTP_GET, "/keys/k1/" VERSION "/attestation", "KeyAttestation" }, { HTTP_POST, "/rng", "Random" },
		{ HTTP_POST, "/keys/k1/" VERSION "/secureUnwrapKey", "KeySecureUnwrap" },
		{ HTTP_DELETE, "/deletedkeys/k1", "KeyPurge" }, { HTTP_POST, "/deletedkeys/k1/recover", "KeyRecover" },
	};
	struct request r;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		const char *found = match(DIALECT_VAULT, CASES[i].method, CASES[i].path, &r);
		if (found == NULL || strcmp(found, CASES[i].operation) != 0)
			fail_msg("%s: found %s, expected %s", CASES[i].path, found != NULL ? found : "nothing", CASES[i].operation);
	}
	assert_string_equal(match(DIALECT_VAULT, HTTP_GET, "/keys/My-Key/" VERSION, &r), "KeyGet");
	assert_string_equal(r.key, "My-Key");
	assert_true(r.has_version);
}

static void unknown_paths_have_no_route_and_wrong_methods_name_the_right_ones(void **state)
{
	struct request r;

	(void)state;
	assert_null(match(DIALECT_VAULT, HTTP_GET, "/", &r));
	assert_int_equal(r.allowed, 0);
	assert_null(match(DIALECT_VAULT, HTTP_POST, "/keys/k1/fly", &r));
	assert_int_equal(r.allowed, 0);
	assert_null(match(DIALECT_VAULT, HTTP_GET, "/keys/k1/0123", &r));
	assert_null(match(DIALECT_VAULT, HTTP_GET, "/a/b/c/d/e/f/g/h/i/j", &r));
	assert_null(match(DIALECT_VAULT, HTTP_GET, "/keys/%zz", &r));
	assert_null(match(DIALECT_VAULT, HTTP_POST, "/keys", &r));
	assert_int_equal(r.allowed, 1U << HTTP_GET);
}

static void a_vault_host_and_the_domain_share_no_route(void **state)
{
	struct request r;

	(void)state;
	assert_null(match(DIALECT_VAULT, HTTP_GET, "/admin/v1/vaults", &r));
	assert_null(match(DIALECT_VAULT, HTTP_GET, "/health/live", &r));
	assert_null(match(DIALECT_DOMAIN, HTTP_GET, "/keys/k1", &r));
	assert_null(match(DIALECT_LOCAL, HTTP_GET, "/keys/k1", &r));
	assert_string_equal(match(DIALECT_LOCAL, HTTP_GET, "/admin/v1/vaults", &r), "VaultList");
}

static void the_identity_endpoint_is_on_its_own_listener_only(void **state)
{
	static const enum dialect OTHERS[] = { DIALECT_VAULT, DIALECT_DOMAIN, DIALECT_LOCAL, DIALECT_EKM };
	struct request r;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(OTHERS); i++)
		assert_null(match(OTHERS[i], HTTP_GET, "/msi/token", &r));
	assert_string_equal(match(DIALECT_IDENTITY, HTTP_GET, "/msi/token", &r), "ManagedIdentityToken");
	for (size_t i = 0; i < API_ROUTE_COUNT; i++) /* and nothing else is there */
		if (API_ROUTES[i].dialect != DIALECT_IDENTITY)
			assert_null(match(DIALECT_IDENTITY, API_ROUTES[i].method, API_ROUTES[i].path, &r));
}

static void what_makes_key_versions_counts_as_a_create(void **state)
{
	static const char *const CREATES[] = { "KeyCreate", "KeyImport", "KeyRestore", "KeyRotate" };
	unsigned found = 0;

	(void)state;
	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		const struct route *r = &API_ROUTES[i];
		bool is_one = false;
		for (size_t c = 0; c < KMS_ARRAY_LEN(CREATES); c++)
			is_one |= strcmp(r->operation, CREATES[c]) == 0;
		assert_int_equal(route_is_create(r), is_one);
		/* That lane makes keys, and backs them up. */
		assert_int_equal(r->lane == LANE_KEYGEN, is_one || strcmp(r->operation, "KeyBackup") == 0);
		found += is_one;
	}
	assert_int_equal(found, KMS_ARRAY_LEN(CREATES));
	assert_false(route_is_create(NULL));
}

static void the_name_of_a_tile_is_the_rest_of_the_path(void **state)
{
	static const struct {
		const char *path, *operation, *level, *tile;
	} CASES[] = {
		{ "/audit/v1/tile/0/067", "AuditTile", "0", "067" }, { "/audit/v1/tile/3/067.p/5", "AuditTile", "3", "067.p/5" },
		{ "/audit/v1/tile/0/x001/x234/067", "AuditTile", "0", "x001/x234/067" },
		{ "/audit/v1/tile/63/x999/x999/x999/x999/999.p/255", "AuditTile", "63", "x999/x999/x999/x999/999.p/255" },
		{ "/audit/v1/tile/entries/000", "AuditEntryTile", "", "000" }, { "/audit/v1/tile/entries/x001/002.p/3", "AuditEntryTile", "", "x001/002.p/3" },
		{ "/audit/v1/tile/0/anything/at/all", "AuditTile", "0", "anything/at/all" },
	};
	struct request r;
	char path[PATH_PARAM_MAX * 6 + 64] = "/audit/v1/tile/0";

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		const char *found = match(DIALECT_DOMAIN, HTTP_GET, CASES[i].path, &r);
		if (found == NULL || strcmp(found, CASES[i].operation) != 0 || strcmp(r.part, CASES[i].level) != 0 || strcmp(r.item, CASES[i].tile) != 0)
			fail_msg("%s: found %s '%s' '%s'", CASES[i].path, found != NULL ? found : "nothing", r.part, r.item);
		assert_true(route_is_proof(r.route));
	}
	assert_null(match(DIALECT_DOMAIN, HTTP_GET, "/audit/v1/tile", &r));
	assert_null(match(DIALECT_DOMAIN, HTTP_GET, "/audit/v1/tile/0", &r));
	assert_null(match(DIALECT_DOMAIN, HTTP_GET, "/audit/v1/tile/0/x001%2F067", &r)); /* a slash in a segment is none between two */
	assert_null(match(DIALECT_DOMAIN, HTTP_GET, "/audit/v1/tile/0/1/2/3/4/5/6/7", &r));
	assert_null(match(DIALECT_DOMAIN, HTTP_POST, "/audit/v1/tile/0/000", &r));
	assert_int_equal(r.allowed, 1U << HTTP_GET);
	/* What is too long stays too long. */
	for (int i = 0; i < 5; i++) {
		size_t len = strlen(path);
		path[len] = '/';
		memset(path + len + 1, '0', PATH_PARAM_MAX - 1);
		path[len + PATH_PARAM_MAX] = '\0';
	}
	assert_string_equal(match(DIALECT_DOMAIN, HTTP_GET, path, &r), "AuditTile");
	assert_int_equal(strlen(r.item), PATH_PARAM_MAX - 1);
}

static void only_proofs_and_tiles_count_as_proofs(void **state)
{
	unsigned found = 0;

	(void)state;
	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		const char *path = API_ROUTES[i].path;
		bool is_one = strncmp(path, "/audit/v1/proof/", strlen("/audit/v1/proof/")) == 0 || strncmp(path, "/audit/v1/tile/", strlen("/audit/v1/tile/")) == 0;
		assert_int_equal(route_is_proof(&API_ROUTES[i]), is_one);
		found += is_one;
	}
	assert_int_equal(found, 5);
	assert_false(route_is_proof(NULL));
}

/* ---- the EKM dialect ---- */

#define LONGEST "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-x" /* 64 */

static const char *match_ekm(const char *prefix, enum http_method method, const char *path, struct request *r)
{
	memset(r, 0, sizeof(*r));
	r->dialect = DIALECT_EKM;
	(void)snprintf(r->client.prefix, sizeof(r->client.prefix), "%s", prefix);
	router_match(r, method, path);
	return r->route != NULL ? r->route->operation : NULL;
}

static void a_pools_four_paths_are_found_below_its_prefix(void **state)
{
	static const char *const PREFIXES[] = { "", "contoso", "contoso/prod", "info", "a/info", "Test-1/wrapkey" };
	static const struct {
		const char *path, *operation, *id;
	} CASES[] = {
		{ "/info", "EkmInfo", "" }, { "/Test-1/metadata", "EkmMetadata", "Test-1" }, { "/Test-1/wrapkey", "EkmWrap", "Test-1" },
		{ "/Test-1/unwrapkey", "EkmUnwrap", "Test-1" }, { "/info/metadata", "EkmMetadata", "info" }, { "/a/wrapkey", "EkmWrap", "a" },
		{ "/" LONGEST "/unwrapkey", "EkmUnwrap", LONGEST }, { "/contoso/wrapkey", "EkmWrap", "contoso" },
	};
	struct request r;

	(void)state;
	for (size_t p = 0; p < KMS_ARRAY_LEN(PREFIXES); p++)
		for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
			char path[256];
			(void)snprintf(path, sizeof(path), "%s%s%s", PREFIXES[p][0] != '\0' ? "/" : "", PREFIXES[p], CASES[i].path);
			const char *found = match_ekm(PREFIXES[p], HTTP_POST, path, &r);
			if (found == NULL || strcmp(found, CASES[i].operation) != 0 || strcmp(r.item, CASES[i].id) != 0)
				fail_msg("%s: found %s for '%s'", path, found != NULL ? found : "nothing", r.item);
		}
}

static void in_the_ekm_dialect_every_character_counts(void **state)
{
	static const struct {
		const char *prefix, *path;
	} CASES[] = {
		{ "", "/" }, { "", "" }, { "", "/Info" }, { "", "/INFO" }, { "", "/info/" }, { "", "//info" }, { "", "/%69nfo" }, { "", "/info/info" },
		{ "", "/k" }, { "", "/k/" }, { "", "/k/wrapKey" }, { "", "/k/WRAPKEY" }, { "", "/k/wrapkey/" }, { "", "/k//wrapkey" },
		{ "", "/k/wrapkey/x" }, { "", "/k/encrypt" }, { "", "//wrapkey" }, { "", "/k_1/wrapkey" }, { "", "/k.1/wrapkey" },
		{ "", "/k%2D1/wrapkey" }, { "", "/" LONGEST "y/wrapkey" }, { "", "/contoso/info" }, { "", "/keys/k/wrapkey" },
		{ "", "/{external}/wrapkey" }, { "", "/admin/v1/status" },
		{ "contoso", "/info" }, { "contoso", "/Contoso/info" }, { "contoso", "/contosoinfo" }, { "contoso", "/contoso" }, { "contoso", "/contoso/" },
		{ "contoso", "/contoso//info" }, { "contoso", "//contoso/info" }, { "contoso", "/contoso/contoso/info" }, { "contoso", "/contos/info" },
		{ "contoso", "/contoso-2/info" }, { "contoso", "/k/wrapkey" }, { "contoso/prod", "/contoso/info" }, { "contoso/prod", "/contoso//prod/info" },
		{ "contoso/prod", "/contoso%2Fprod/info" }, { "contoso/prod", "/prod/info" },
	};
	struct request r;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		const char *found = match_ekm(CASES[i].prefix, HTTP_POST, CASES[i].path, &r);
		if (found != NULL || r.allowed != 0)
			fail_msg("%s below '%s' is %s", CASES[i].path, CASES[i].prefix, found != NULL ? found : "known by another method");
	}
}

static void pools_know_no_method_but_post(void **state)
{
	struct request r;

	(void)state;
	for (enum http_method m = HTTP_GET; m <= HTTP_OTHER; m++) {
		if (m == HTTP_POST)
			continue;
		assert_null(match_ekm("p", m, "/p/info", &r));
		assert_int_equal(r.allowed, 1U << HTTP_POST);
		assert_null(match_ekm("p", m, "/p/k/unwrapkey", &r));
		assert_int_equal(r.allowed, 1U << HTTP_POST);
		assert_null(match_ekm("p", m, "/k/unwrapkey", &r));
		assert_int_equal(r.allowed, 0);
	}
}

static void no_other_dialect_finds_the_pools_paths(void **state)
{
	static const enum dialect OTHERS[] = { DIALECT_VAULT, DIALECT_DOMAIN, DIALECT_LOCAL };
	struct request r;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(OTHERS); i++) {
		assert_null(match(OTHERS[i], HTTP_POST, "/info", &r));
		assert_null(match(OTHERS[i], HTTP_POST, "/k/metadata", &r));
		assert_null(match(OTHERS[i], HTTP_POST, "/k/wrapkey", &r));
	}
	assert_string_equal(match(DIALECT_LOCAL, HTTP_POST, "/admin/v1/vaults/v/ekm/pools/My%20pool/keys/retire", &r), "EkmKeyRetire");
	assert_string_equal(r.item, "My pool");
}

static void pools_speak_one_version(void **state)
{
	static const char *const BAD[] = { "", "api-version=", "api-version=0.1", "api-version=1.0", "api-version=0.1-Preview", "api-version=7.6",
		                           "version=0.1-preview" };
	struct request r = { .dialect = DIALECT_EKM };

	(void)state;
	assert_true(router_query(&r, "api-version=0.1-preview"));
	assert_int_equal(router_api_version(&r, NULL), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		assert_true(router_query(&r, BAD[i]));
		assert_int_equal(router_api_version(&r, NULL), KMS_E_INVALID);
	}
	r.dialect = DIALECT_VAULT;
	assert_true(router_query(&r, "api-version=0.1-preview"));
	assert_int_equal(router_api_version(&r, NULL), KMS_E_INVALID);
}

static void query_names_are_decoded_and_compared_without_case(void **state)
{
	struct request r = { 0 };
	struct kms_err err = { 0 };

	(void)state;
	assert_true(router_query(&r, "api%2Dversion=2025-07-01&MaxResults=3&$skiptoken=a+b%26c&empty=&flag"));
	assert_string_equal(query_get(&r, "api-version"), "2025-07-01");
	assert_string_equal(query_get(&r, "maxresults"), "3");
	assert_string_equal(query_get(&r, "$skiptoken"), "a b&c");
	assert_string_equal(query_get(&r, "empty"), "");
	assert_string_equal(query_get(&r, "flag"), "");
	assert_null(query_get(&r, "other"));
	assert_int_equal(router_api_version(&r, &err), KMS_OK);
	assert_false(router_query(&r, "a=%0"));
	assert_false(router_query(&r, "a=%00"));
	assert_false(router_query(&r, "1&2&3&4&5&6&7&8&9&10&11&12&13&14&15&16&17"));
}

static void the_longest_query_stays_within_its_room(void **state)
{
	char raw[HTTP_URI_MAX + 1];

	(void)state;
	/* Members without '=' need one NUL more than the raw text has separators. */
	for (size_t names = 1; names <= QUERY_MAX; names++) {
		struct request *r = calloc(1, sizeof(*r)); /* a block of its own, so that a sanitizer sees its end */
		size_t len = HTTP_URI_MAX;
		memset(raw, 'a', len);
		raw[len] = '\0';
		for (size_t i = 1; i < names; i++)
			raw[i * (len / names)] = '&';
		memset(r->query, 0x55, sizeof(r->query));
		assert_true(router_query(r, raw));
		assert_int_equal(r->query_count, names);
		for (size_t i = 0; i < names; i++) {
			assert_true(r->query[i].name >= r->query_text && r->query[i].name < r->query_text + sizeof(r->query_text));
			assert_string_equal(r->query[i].value, "");
		}
		for (size_t i = names; i < QUERY_MAX; i++)
			assert_int_equal((uintptr_t)r->query[i].name, (uintptr_t)0x5555555555555555);
		free(r);
	}
}

static void a_version_of_the_api_comes_after_those_before_it(void **state)
{
	struct request r = { 0 };

	(void)state;
	assert_true(router_query(&r, "api-version=7.5"));
	assert_int_equal(router_api_version(&r, NULL), KMS_OK);
	assert_true(api_version_since(&r, "7.1"));
	assert_true(api_version_since(&r, "7.5"));
	assert_false(api_version_since(&r, "7.6-preview.1"));
	assert_false(api_version_since(&r, "2026-04-01"));
}

static void only_known_api_versions_are_spoken(void **state)
{
	static const char *const GOOD[] = { "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01" };
	static const char *const BAD[] = { "", "6.9", "7.7", "2016-10-01", "2026-05-01-preview", "latest" };
	struct request r = { 0 };
	struct kms_err err = { 0 };
	char text[64];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(GOOD); i++) {
		(void)snprintf(text, sizeof(text), "api-version=%s", GOOD[i]);
		assert_true(router_query(&r, text));
		assert_int_equal(router_api_version(&r, &err), KMS_OK);
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		(void)snprintf(text, sizeof(text), "api-version=%s", BAD[i]);
		assert_true(router_query(&r, text));
		assert_int_equal(router_api_version(&r, NULL), KMS_E_INVALID);
	}
	assert_true(router_query(&r, ""));
	assert_int_equal(router_api_version(&r, NULL), KMS_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_route_that_is_not_public_has_a_permission_and_an_event),
		cmocka_unit_test(no_two_routes_answer_the_same_request),
		cmocka_unit_test(every_spelling_that_clients_send_finds_its_route),
		cmocka_unit_test(unknown_paths_have_no_route_and_wrong_methods_name_the_right_ones),
		cmocka_unit_test(a_vault_host_and_the_domain_share_no_route),
		cmocka_unit_test(the_identity_endpoint_is_on_its_own_listener_only),
		cmocka_unit_test(what_makes_key_versions_counts_as_a_create),
		cmocka_unit_test(the_name_of_a_tile_is_the_rest_of_the_path),
		cmocka_unit_test(only_proofs_and_tiles_count_as_proofs),
		cmocka_unit_test(a_pools_four_paths_are_found_below_its_prefix),
		cmocka_unit_test(in_the_ekm_dialect_every_character_counts),
		cmocka_unit_test(pools_know_no_method_but_post),
		cmocka_unit_test(no_other_dialect_finds_the_pools_paths),
		cmocka_unit_test(pools_speak_one_version),
		cmocka_unit_test(query_names_are_decoded_and_compared_without_case),
		cmocka_unit_test(the_longest_query_stays_within_its_room),
		cmocka_unit_test(a_version_of_the_api_comes_after_those_before_it),
		cmocka_unit_test(only_known_api_versions_are_spoken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
