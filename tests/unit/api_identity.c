/* tests/unit/api_identity.c - the managed-identity listener, on real parts: who gets a token, who does not, and that only loopback is served. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/sha.h>

#include "api/api.h"
#include "storage/sqlite/sqlite.h"
#include "tests/support/domain.h"
#include "tests/support/raw_client.h"

#define RESOURCE "https%3A%2F%2Fvault.test"
#define ASK "/msi/token?api-version=2019-08-01&resource=" RESOURCE
#define SECRET "header-secret-of-the-service-----------1234"

static struct t_domain domain;
static struct api *api;
static struct http_server *server, *main_server;
static struct store_vault vault;
static struct store_principal service;

static kms_status open_store(void *arg, struct store **ret_store, struct kms_err *err)
{
	const struct t_domain *d = arg;
	return store_open_sqlite(d->store->path, STORE_READ, ret_store, err);
}

static struct http_server *listen_as(enum api_listener listener)
{
	const struct http_config cfg = { .name = "test", .address = "127.0.0.1", .threads = 1, .connections = 16, .headers_ms = 5000,
		                         .request_ms = 5000, .idle_s = 30, .work_ms = 10000 };
	struct http_app app = api_app(api, listener);
	struct http_server *s = NULL;
	struct kms_err err = { 0 };

	if (http_start(&cfg, &app, &s, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
	return s;
}

static int open_all(void **state)
{
	struct api_config cfg = { .kms = &domain.kms, .open_store = open_store, .arg = &domain, .crypto_threads = 2, .queue = 16,
		                  .limits = { .vault = { 100, 100 }, .principal = { 100, 100 } } };
	struct kms_err err = { 0 };

	(void)state;
	json_setup();
	t_domain_open(&domain);
	domain.kms.token_life_s = 3600;
	t_vault(&domain, "orders", false);
	if (api_start(&cfg, &api, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
	server = listen_as(API_IDENTITY);
	main_server = listen_as(API_MAIN);
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	http_stop(server, 1000);
	http_stop(main_server, 1000);
	api_stop(api);
	writer_stop(domain.kms.writer);
	domain.kms.writer = NULL;
	api_free(api);
	t_domain_close(&domain);
	return 0;
}

static void apply(struct store_change change)
{
	struct write unit = { .event = { .type = EVENT_PRINCIPAL, .actor = EVENT_ACTOR_SYSTEM }, .changes = &change, .change_count = 1 };
	assert_int_equal(writer_write(domain.kms.writer, &unit), KMS_OK);
}

static struct store_credential credential_of(const char *secret, int64_t expires_s)
{
	struct store_credential c = { .kind = STORE_CREDENTIAL_HEADER, .created_s = T_DOMAIN_START_S, .expires_s = expires_s };

	assert_true(guid_random(c.id));
	memcpy(c.principal_id, service.id, STORE_ID_LEN);
	SHA256((const uint8_t *)secret, strlen(secret), c.hash);
	return c;
}

static void set_enabled(bool is_enabled)
{
	struct store_change change = { .kind = STORE_PRINCIPAL_SET };
	struct store *reader = NULL;

	assert_int_equal(open_store(&domain, &reader, NULL), KMS_OK);
	assert_int_equal(store_principal(reader, service.id, &change.principal, NULL), KMS_OK);
	store_close(reader);
	change.principal.is_enabled = is_enabled;
	apply(change);
}

/* A fresh principal of the vault with the one secret. */
static int make_service(void **state)
{
	struct store *reader = NULL;

	(void)state;
	assert_int_equal(open_store(&domain, &reader, NULL), KMS_OK);
	assert_int_equal(store_vault_by_name(reader, "orders", &vault, NULL), KMS_OK);
	store_close(reader);
	service = (struct store_principal){ .kind = STORE_PRINCIPAL_CALLER, .is_enabled = true, .created_s = T_DOMAIN_START_S };
	assert_true(guid_random(service.id) && guid_random(service.pid));
	memcpy(service.vault_id, vault.id, STORE_ID_LEN);
	guid_format(service.id, service.name);
	apply((struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = service });
	apply((struct store_change){ .kind = STORE_CREDENTIAL_ADD, .credential = credential_of(SECRET, clock_wall_s(domain.kms.clock) + 86400) });
	return 0;
}

/* The secret is one principal's: it goes with its credential. */
static int drop_service(void **state)
{
	struct store_credential all[STORE_CREDENTIALS_MAX] = { 0 };
	struct store *reader = NULL;
	size_t count = 0;

	(void)state;
	assert_int_equal(open_store(&domain, &reader, NULL), KMS_OK);
	assert_int_equal(store_credentials(reader, service.id, all, STORE_CREDENTIALS_MAX, &count, NULL), KMS_OK);
	store_close(reader);
	for (size_t i = 0; i < count; i++) {
		apply((struct store_change){ .kind = STORE_CREDENTIAL_REMOVE, .credential = all[i] });
		store_credential_clear(&all[i]);
	}
	return 0;
}

/* One request on a connection of its own; `secret` NULL: no header. */
static int ask_at(const struct http_server *s, const char *target, const char *host, const char *secret, const char *more, struct raw_response *res)
{
	struct raw_client *c = raw_connect(http_port(s), NULL);
	char text[2048];
	int status = 0;

	assert_non_null(c);
	(void)snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\n%s%s%s%s\r\n", target, host, secret != NULL ? "X-IDENTITY-HEADER: " : "",
	               secret != NULL ? secret : "", secret != NULL ? "\r\n" : "", more);
	status = raw_ask(c, text, res);
	raw_close(c);
	return status;
}

static int ask(const char *target, const char *secret, struct raw_response *res)
{
	return ask_at(server, target, "127.0.0.1:40342", secret, "", res);
}

static void refuse(int status, const char *target, const char *secret, const char *words)
{
	static struct raw_response res;
	char code[32];

	if (ask(target, secret, &res) != status)
		fail_msg("%s: %d %s", target, res.status, res.body);
	(void)snprintf(code, sizeof(code), "{\"statusCode\":%d,\"message\":\"", status);
	assert_memory_equal(res.body, code, strlen(code));
	if (strstr(res.body, words) == NULL)
		fail_msg("%s: %s", target, res.body);
	assert_null(strstr(res.body, "access_token"));
	assert_null(raw_header(&res, "WWW-Authenticate"));
}

static const char *member(json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	assert_non_null(text);
	return text;
}

static void a_service_with_its_header_secret_gets_a_token_of_its_own(void **state)
{
	static const char *const TARGETS[] = { ASK, ASK "%2F", "/msi/token?resource=" RESOURCE "&api-version=2019-08-01&token_sha256_to_refresh=x" };
	static struct raw_response res;
	char id[GUID_TEXT_LEN + 1], expires[24], bearer[8192];
	struct caller caller = { 0 };

	(void)state;
	guid_format(service.id, id);
	(void)snprintf(expires, sizeof(expires), "%lld", (long long)clock_wall_s(domain.kms.clock) + 3600);
	for (size_t i = 0; i < KMS_ARRAY_LEN(TARGETS); i++) {
		struct request r = { .api = api };
		json_t *answer = NULL;
		if (ask(TARGETS[i], SECRET, &res) != 200)
			fail_msg("%s: %d %s", TARGETS[i], res.status, res.body);
		assert_string_equal(raw_header(&res, "Cache-Control"), "no-store");
		assert_null(raw_header(&res, "Strict-Transport-Security"));
		answer = json_parse_object((const uint8_t *)res.body, res.body_len);
		assert_non_null(answer);
		assert_string_equal(member(answer, "client_id"), id);
		assert_string_equal(member(answer, "expires_on"), expires);
		assert_string_equal(member(answer, "token_type"), "Bearer");
		assert_memory_equal(member(answer, "resource"), "https://vault.test", strlen("https://vault.test"));
		(void)snprintf(bearer, sizeof(bearer), "Bearer %s", member(answer, "access_token"));
		assert_int_equal(tokens_verify(request_tokens(&r), bearer, &caller, NULL), KMS_OK);
		assert_memory_equal(caller.principal_id, service.id, STORE_ID_LEN);
		assert_memory_equal(caller.directory, vault.directory, STORE_ID_LEN);
		json_decref(answer);
	}
}

static void the_login_is_in_the_log_with_its_actor(void **state)
{
	static struct raw_response res;
	struct writer_state before = { 0 };

	(void)state;
	writer_state(domain.kms.writer, &before);
	assert_int_equal(ask(ASK, SECRET, &res), 200);
	assert_true(t_leaf_says(&domain, before.size, "\"authz.login\""));
	assert_true(t_leaf_says(&domain, before.size, "\"kind\":\"app\""));
	assert_non_null(raw_header(&res, "x-audit-seq"));
}

static void naming_oneself_is_allowed_and_another_is_a_mistake(void **state)
{
	static const char *const NAMES[] = { "client_id", "object_id", "principal_id" };
	static struct raw_response res;
	char target[512], id[GUID_TEXT_LEN + 1];

	(void)state;
	guid_format(service.id, id);
	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++) {
		(void)snprintf(target, sizeof(target), "%s&%s=%s", ASK, NAMES[i], id);
		assert_int_equal(ask(target, SECRET, &res), 200);
		(void)snprintf(target, sizeof(target), "%s&%s=00000000-0000-4000-8000-000000000000", ASK, NAMES[i]);
		refuse(400, target, SECRET, "another principal's");
		(void)snprintf(target, sizeof(target), "%s&%s=me", ASK, NAMES[i]);
		refuse(400, target, SECRET, "another principal's");
	}
	refuse(400, ASK "&mi_res_id=%2Fsubscriptions%2Fx", SECRET, "mi_res_id");
}

static void what_is_asked_wrongly_is_refused_in_the_shape_of_app_service(void **state)
{
	(void)state;
	refuse(400, "/msi/token?resource=" RESOURCE, SECRET, "api-version");
	refuse(400, "/msi/token?api-version=2017-09-01&resource=" RESOURCE, SECRET, "2019-08-01");
	refuse(400, "/msi/token?api-version=2019-08-01", SECRET, "resource");
	refuse(400, "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net", SECRET, "https://vault.test");
	refuse(400, ASK ".evil", SECRET, "https://vault.test");
	refuse(400, ASK "%2F%2F", SECRET, "https://vault.test");
	refuse(404, "/", SECRET, "/msi/token");
	refuse(404, "/adfs/oauth2/token", SECRET, "/msi/token");
	refuse(404, "/health/live", SECRET, "/msi/token");
	refuse(404, "/admin/v1/status", SECRET, "/msi/token");
}

static void without_a_good_secret_there_is_no_token(void **state)
{
	char shorter[sizeof(SECRET)], hash_text[2 * STORE_HASH_LEN + 1];
	uint8_t hash[STORE_HASH_LEN];

	(void)state;
	memcpy(shorter, SECRET, sizeof(SECRET));
	shorter[sizeof(SECRET) - 2] = '\0';
	SHA256((const uint8_t *)SECRET, strlen(SECRET), hash);
	hex_encode(hash, sizeof(hash), hash_text);
	refuse(401, ASK, NULL, "X-IDENTITY-HEADER");
	refuse(401, ASK, "", "X-IDENTITY-HEADER");
	refuse(401, ASK, shorter, "X-IDENTITY-HEADER");
	refuse(401, ASK, SECRET "x", "X-IDENTITY-HEADER");
	refuse(401, ASK, hash_text, "X-IDENTITY-HEADER");
}

static void a_secret_of_another_kind_is_none(void **state)
{
	struct store_credential c = credential_of("client-secret", STORE_NO_TIME);

	(void)state;
	c.kind = STORE_CREDENTIAL_SECRET;
	apply((struct store_change){ .kind = STORE_CREDENTIAL_ADD, .credential = c });
	refuse(401, ASK, "client-secret", "X-IDENTITY-HEADER");
}

static void two_secrets_overlap_and_each_ends_in_its_own_time(void **state)
{
	static struct raw_response res;
	int64_t now_s = clock_wall_s(domain.kms.clock);

	(void)state;
	apply((struct store_change){ .kind = STORE_CREDENTIAL_ADD, .credential = credential_of("next", now_s + 100) });
	assert_int_equal(ask(ASK, SECRET, &res), 200);
	assert_int_equal(ask(ASK, "next", &res), 200);
	t_domain_pass(99);
	assert_int_equal(ask(ASK, "next", &res), 200);
	t_domain_pass(1);
	refuse(401, ASK, "next", "X-IDENTITY-HEADER");
	assert_int_equal(ask(ASK, SECRET, &res), 200);
}

static void a_disabled_principal_gets_nothing(void **state)
{
	static struct raw_response res;

	(void)state;
	set_enabled(false);
	refuse(401, ASK, SECRET, "X-IDENTITY-HEADER");
	set_enabled(true);
	assert_int_equal(ask(ASK, SECRET, &res), 200);
}

static void a_removed_secret_is_worth_nothing(void **state)
{
	(void)state;
	drop_service(NULL);
	refuse(401, ASK, SECRET, "X-IDENTITY-HEADER");
}

static void only_hosts_of_this_machine_are_served(void **state)
{
	static const char *const GOOD[] = { "127.0.0.1", "127.0.0.1:40342", "127.8.9.1:1", "localhost", "LocalHost:40342", "[::1]", "[::1]:40342" };
	static const char *const BAD[] = { "", "vault.test", "localhost.evil.test", "127.0.0.1.evil.test", "evil.test:40342", "10.0.0.1", "128.0.0.1",
		                           "0.0.0.0", "[::2]", "[::ffff:10.0.0.1]", "::1", "2130706433", "0x7f.1", "127.1", "localhost.",
		                           "127.0.0.1@evil.test", "[127.0.0.1", "[127.0.0.1]", "[localhost]", "[::1]x",
		                           "127.0.0.1:40342@evil.test", "localhost:evil" };
	static struct raw_response res;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(GOOD); i++)
		if (ask_at(server, ASK, GOOD[i], SECRET, "", &res) != 200)
			fail_msg("%s: %d %s", GOOD[i], res.status, res.body);
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		if (ask_at(server, ASK, BAD[i], SECRET, "", &res) != 400 || strstr(res.body, "\"statusCode\":400") == NULL)
			fail_msg("%s: %d %s", BAD[i], res.status, res.body);
}

static void nothing_that_was_forwarded_is_served(void **state)
{
	static const char *const LINES[] = { "X-Forwarded-For: 127.0.0.1\r\n", "x-forwarded-for:\r\n", "Forwarded: for=127.0.0.1\r\n",
		                             "Via: 1.1 proxy\r\n", "X-Forwarded-Host: localhost\r\n" };
	static struct raw_response res;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(LINES); i++) {
		assert_int_equal(ask_at(server, ASK, "localhost", SECRET, LINES[i], &res), 400);
		assert_non_null(strstr(res.body, "forwarded"));
	}
	assert_int_equal(ask_at(server, ASK, "localhost", SECRET, "Metadata: true\r\n", &res), 200);
	assert_int_equal(ask_at(server, ASK, "localhost", SECRET, "X-IDENTITY-HEADER: other\r\n", &res), 400);
}

static void no_other_method_is_known(void **state)
{
	static const char *const METHODS[] = { "POST", "PUT", "DELETE", "OPTIONS" };
	static struct raw_response res;
	char text[512];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(METHODS); i++) {
		struct raw_client *c = raw_connect(http_port(server), NULL);
		(void)snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: localhost\r\nX-IDENTITY-HEADER: " SECRET "\r\nContent-Length: 0\r\n\r\n",
		               METHODS[i], ASK);
		assert_int_equal(raw_ask(c, text, &res), 405);
		assert_string_equal(raw_header(&res, "Allow"), "GET");
		raw_close(c);
	}
}

static void the_main_listener_does_not_know_it(void **state)
{
	static const char *const HOSTS[] = { "vault.test", "orders.vault.test", "127.0.0.1", "localhost" };
	static struct raw_response res;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(HOSTS); i++) {
		int status = ask_at(main_server, ASK, HOSTS[i], SECRET, "", &res);
		assert_true(status == 401 || status == 404);
		assert_null(strstr(res.body, "access_token"));
	}
}

static void refusals_are_counted_and_not_logged_one_by_one(void **state)
{
	struct writer_state before = { 0 }, after = { 0 };

	(void)state;
	writer_state(domain.kms.writer, &before);
	for (int i = 0; i < 50; i++)
		refuse(401, ASK, "guess", "X-IDENTITY-HEADER");
	writer_state(domain.kms.writer, &after);
	assert_true(after.size - before.size < 10);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, make_service, drop_service)
	const struct CMUnitTest tests[] = {
		T(a_service_with_its_header_secret_gets_a_token_of_its_own),
		T(the_login_is_in_the_log_with_its_actor),
		T(naming_oneself_is_allowed_and_another_is_a_mistake),
		T(what_is_asked_wrongly_is_refused_in_the_shape_of_app_service),
		T(without_a_good_secret_there_is_no_token),
		T(a_secret_of_another_kind_is_none),
		T(two_secrets_overlap_and_each_ends_in_its_own_time),
		T(a_disabled_principal_gets_nothing),
		T(a_removed_secret_is_worth_nothing),
		T(only_hosts_of_this_machine_are_served),
		T(nothing_that_was_forwarded_is_served),
		T(no_other_method_is_known),
		T(the_main_listener_does_not_know_it),
		T(refusals_are_counted_and_not_logged_one_by_one),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
