/* tests/unit/api_log.c - what is served in which state of the event log, and which answers wait for a checkpoint, on real parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/api.h"
#include "server/core/log_admin.h"
#include "storage/sqlite/sqlite.h"
#include "tests/support/approvals.h"
#include "tests/support/raw_client.h"
#include "tests/support/signed_log.h"

#define UNHURRIED_MS 60000 /* only seals are signed for */

static struct t_domain domain;
static struct t_log event_log;
static struct local_actor locals[2];
static struct api *api;
static struct http_server *local, *main_server, *identity;
static char socket_path[128], away[sizeof(domain.token.token_dir) + sizeof(".away")];

/* ---- the table ---- */

struct listed {
	const char *method, *path;
	enum runs runs;
};
#define BOTH(method, path, runs) { method, "/admin/v1" path, runs }, { method, "/admin/v1/vaults/{vault}" path, runs }
/* All that runs in more than a good log. */
static const struct listed LISTED[] = {
	{ "GET", "/openapi.json", RUNS_ALWAYS }, { "GET", "/health/live", RUNS_ALWAYS }, { "GET", "/health/ready", RUNS_ALWAYS },
	{ "GET", "/adfs/.well-known/openid-configuration", RUNS_ALWAYS }, { "POST", "/adfs/oauth2/token", RUNS_ALWAYS },
	{ "POST", "/adfs/oauth2/v2.0/token", RUNS_ALWAYS }, { "GET", "/subscriptions", RUNS_ALWAYS },
	{ "GET", "/{tenant}/v2.0/.well-known/openid-configuration", RUNS_ALWAYS }, { "GET", "/{tenant}/discovery/v2.0/keys", RUNS_ALWAYS },
	{ "POST", "/{tenant}/oauth2/v2.0/token", RUNS_ALWAYS },
	{ "GET", "/admin/v1/status", RUNS_ALWAYS }, { "GET", "/admin/v1/hsm", RUNS_ALWAYS }, { "GET", "/admin/v1/check", RUNS_ALWAYS }, { "GET", "/admin/v1/exports", RUNS_ALWAYS },
	{ "POST", "/admin/v1/log/accept", RUNS_ALWAYS },
	BOTH("GET", "/approvals", RUNS_ALWAYS), BOTH("GET", "/approvals/{id}", RUNS_ALWAYS), BOTH("POST", "/approvals/{id}/approve", RUNS_ALWAYS),
	BOTH("POST", "/approvals/{id}/deny", RUNS_ALWAYS), BOTH("POST", "/approvals/{id}/withdraw", RUNS_ALWAYS),
	{ "POST", "/admin/v1/principals", RUNS_TO_FOUND }, { "POST", "/admin/v1/roles/grant", RUNS_TO_FOUND },
	{ "POST", "/admin/v1/principals/{id}/credentials/secrets", RUNS_TO_FOUND },
	{ "POST", "/admin/v1/principals/{id}/credentials/certificates", RUNS_TO_FOUND },
	{ "PATCH", "/keys/{key}", RUNS_LATE }, { "PATCH", "/keys/{key}/{version}", RUNS_LATE }, { "DELETE", "/keys/{key}", RUNS_LATE },
	{ "POST", "/admin/v1/vaults/{vault}/keys/{key}/revoke", RUNS_LATE }, BOTH("POST", "/roles/remove", RUNS_LATE),
	BOTH("POST", "/principals/{id}/disable", RUNS_LATE), BOTH("POST", "/principals/{id}/revoke-tokens", RUNS_LATE),
	BOTH("DELETE", "/principals/{id}/credentials/{credential}", RUNS_LATE),
	{ "DELETE", "/admin/v1/vaults/{vault}/groups/{id}/members/{member}", RUNS_LATE },
	{ "POST", "/admin/v1/vaults/{vault}/ekm/pools/{pool}/keys/retire", RUNS_LATE }, { "POST", "/admin/v1/vaults/{vault}/lock", RUNS_LATE },
	{ "GET", "/msi/token", RUNS_LATE }, { "GET", "/admin/v1/backups", RUNS_LATE }, { "GET", "/admin/v1/backups/epochs", RUNS_LATE },
	{ "POST", "/admin/v1/certificates/enforce", RUNS_ALWAYS },
};

static bool is_audit(const struct route *r) { return strncmp(r->path, "/audit/v1/", strlen("/audit/v1/")) == 0; }

static enum runs expected(const struct route *r)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(LISTED); i++)
		if (strcmp(LISTED[i].path, r->path) == 0 && strcmp(LISTED[i].method, http_method_name(r->method)) == 0)
			return LISTED[i].runs;
	return is_audit(r) && r->method == HTTP_GET ? RUNS_ALWAYS : RUNS_GOOD;
}

static void each_route_runs_in_the_states_of_the_log_that_it_may(void **state)
{
	static const bool RUNS[][4] = {
		[RUNS_GOOD] = { [LOG_GOOD] = true },
		[RUNS_LATE] = { [LOG_GOOD] = true, [LOG_LATE] = true },
		[RUNS_TO_FOUND] = { [LOG_GOOD] = true, [LOG_ROLLED_BACK] = true, [LOG_DAMAGED] = true },
		[RUNS_ALWAYS] = { [LOG_GOOD] = true, [LOG_LATE] = true, [LOG_ROLLED_BACK] = true, [LOG_DAMAGED] = true },
	};
	size_t listed = 0, audit = 0;

	(void)state;
	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		const struct route *r = &API_ROUTES[i];
		enum runs runs = expected(r);

		if (route_runs_in_log(r) != runs)
			fail_msg("%s %s: %d, expected %d", http_method_name(r->method), r->path, (int)route_runs_in_log(r), (int)runs);
		for (int s = LOG_GOOD; s <= LOG_DAMAGED; s++)
			assert_int_equal(route_runs(r, (enum log_state)s), RUNS[runs][s]);
		audit += is_audit(r) && runs != RUNS_GOOD;
		listed += runs != RUNS_GOOD;
		/* Nothing that uses or makes keys, whatever else is changed here. */
		if (r->lane == LANE_CRYPTO || r->lane == LANE_KEYGEN || r->dialect == DIALECT_EKM)
			assert_int_equal(r->runs, RUNS_GOOD);
	}
	assert_int_equal(listed, KMS_ARRAY_LEN(LISTED) + audit);
}

/* Whoever adds a route must say so before it runs on a locked vault, and this then asks whether it should. */
static bool may_run_locked(const struct route *r)
{
	static const enum permission LOOKS[] = { PERM_CALLER, PERM_VAULT_LIST, PERM_VAULT_READ, PERM_PRINCIPAL_READ, PERM_APPROVAL_READ, PERM_EKM_READ,
		                                 PERM_AUDIT_READ, PERM_AUDIT_READ_ALL, PERM_INSTALLATION_READ };
	static const enum permission ENDS[] = { PERM_KEY_REVOKE, PERM_VAULT_LOCK, PERM_VAULT_SHRED, PERM_APPROVAL_WRITE };
	static const char *const TAKES[] = { "/disable", "/revoke-tokens", "/roles/remove", "/retire", "/credentials/{credential}", "/members/{member}" };

	for (size_t i = 0; i < KMS_ARRAY_LEN(LOOKS); i++)
		if (r->permission == LOOKS[i])
			return r->method == HTTP_GET || r->permission == PERM_APPROVAL_READ; /* withdrawing a request of one's own */
	for (size_t i = 0; i < KMS_ARRAY_LEN(ENDS); i++)
		if (r->permission == ENDS[i])
			return strstr(r->path, "/reinstate") == NULL;
	for (size_t i = 0; i < KMS_ARRAY_LEN(TAKES); i++)
		if (strlen(r->path) > strlen(TAKES[i]) && strcmp(r->path + strlen(r->path) - strlen(TAKES[i]), TAKES[i]) == 0)
			return true;
	return false;
}

static void a_locked_vault_runs_only_what_takes_access_away_or_looks(void **state)
{
	size_t count = 0;

	(void)state;
	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		const struct route *r = &API_ROUTES[i];
		if (!route_runs_locked(r, false))
			continue;
		count++;
		if (r->dialect != DIALECT_DOMAIN || r->lane == LANE_CRYPTO || r->lane == LANE_KEYGEN || !may_run_locked(r))
			fail_msg("%s %s runs on a locked vault", http_method_name(r->method), r->path);
	}
	assert_true(count > 40);
}

/* ---- the service ---- */

static kms_status open_store(void *arg, struct store **ret_store, struct kms_err *err)
{
	const struct t_domain *d = arg;
	return store_open_sqlite(d->store->path, STORE_READ, ret_store, err);
}

static struct http_server *listen_as(enum api_listener listener, const char *unix_path)
{
	const struct http_config cfg = { .name = "test", .address = "127.0.0.1", .unix_path = unix_path, .threads = 1, .connections = 16, .headers_ms = 5000,
		                         .request_ms = 5000, .idle_s = 30, .work_ms = 30000 };
	struct http_app app = api_app(api, listener);
	struct http_server *s = NULL;
	struct kms_err err = { 0 };

	if (http_start(&cfg, &app, &s, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
	return s;
}

static void serve(void)
{
	struct api_config cfg = { .kms = &domain.kms, .open_store = open_store, .arg = &domain, .crypto_threads = 2, .queue = 16,
		                  .limits = { .vault = { 100, 100 }, .principal = { 100, 100 } } };
	struct kms_err err = { 0 };

	if (api_start(&cfg, &api, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
	local = listen_as(API_LOCAL, socket_path);
	main_server = listen_as(API_MAIN, NULL);
	identity = listen_as(API_IDENTITY, NULL);
}

/* As the daemon does it. */
static void stop_serving(void)
{
	http_stop(identity, 1000);
	http_stop(main_server, 1000);
	http_stop(local, 1000);
	api_stop(api);
	t_log_stop(&domain);
	api_free(api);
}

static int open_domain(void **state)
{
	(void)state;
	json_setup();
	t_domain_open(&domain);
	domain.kms.token_life_s = 3600;
	locals[0] = (struct local_actor){ .uid = 0 };
	locals[1] = (struct local_actor){ .uid = getuid() };
	domain.kms.locals = locals;
	domain.kms.local_count = 2;
	(void)snprintf(socket_path, sizeof(socket_path), "%s/s", domain.store->dir);
	(void)snprintf(away, sizeof(away), "%s.away", domain.token.token_dir);
	event_log = (struct t_log){ .interval_ms = UNHURRIED_MS, .late_ms = UNHURRIED_MS };
	return 0;
}

static int close_domain(void **state)
{
	(void)state;
	(void)unlink(socket_path);
	t_domain_close(&domain);
	return secret_live() == 0 ? 0 : -1;
}

static struct raw_client *begin(const char *method, const char *target, const char *body)
{
	struct raw_client *c = raw_connect_unix(socket_path);
	char text[2048];

	assert_non_null(c);
	(void)snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", method, target,
	               strlen(body), body);
	assert_true(raw_send_text(c, text));
	return c;
}

static int ask(const char *method, const char *target, const char *body, struct raw_response *res)
{
	struct raw_client *c = begin(method, target, body);

	raw_read(c, res, false);
	raw_close(c);
	return res->status;
}

static void expect(int status, const char *method, const char *target, const char *body, const char *words)
{
	static struct raw_response res;

	if (ask(method, target, body, &res) != status || strstr(res.body, words) == NULL)
		fail_msg("%s %s: %d %s (expected %d, %s)", method, target, res.status, res.body, status, words);
}

static int ask_server(const struct http_server *s, const char *host, const char *target, struct raw_response *res)
{
	struct raw_client *c = raw_connect(http_port(s), NULL);
	char text[512];

	assert_non_null(c);
	(void)snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\nX-IDENTITY-HEADER: none\r\n\r\n", target, host);
	raw_ask(c, text, res);
	raw_close(c);
	return res->status;
}

static uint64_t receipt(const struct raw_response *res)
{
	const char *seq = raw_header(res, "x-audit-seq");

	assert_non_null(seq);
	return strtoull(seq, NULL, 10);
}

static struct log_status status_now(void)
{
	struct log_status s = { 0 };

	log_status(domain.kms.log, &s);
	return s;
}

/* ---- a log that was rolled back ---- */

static void a_rolled_back_log_serves_what_leads_to_its_acceptance_and_nothing_else(void **state)
{
	static struct raw_response res;
	struct t_person approver;
	uint8_t request[STORE_ID_LEN];
	struct kms_err err = { 0 };

	(void)state;
	t_vault(&domain, "orders", false);
	t_log_start(&domain, &event_log);
	t_log_roll_back(&domain, &event_log);
	serve();
	expect(503, "GET", "/health/ready", "", "\"audit\":\"rolled_back\"");
	expect(200, "GET", "/health/live", "", "alive");
	expect(200, "GET", "/admin/v1/status", "", "\"state\":\"rolled_back\"");
	expect(200, "GET", "/admin/v1/status", "", "\"known_size\"");
	expect(200, "GET", "/admin/v1/check", "", "accept-rollback");
	expect(200, "GET", "/audit/v1/entries", "", "log.init");
	expect(503, "GET", "/admin/v1/vaults", "", "holdfast log accept-rollback");
	expect(503, "POST", "/admin/v1/log/rotate-key", "{}", "log_integrity");
	expect(503, "POST", "/admin/v1/vaults/orders/keys/k/revoke", "{\"reason\":\"compromise\"}", "log_integrity");
	expect(503, "GET", "/no/such/thing", "", "log_integrity");
	expect(200, "GET", "/admin/v1/approvals", "", "\"value\":[]");
	/* Strangers learn nothing, and a service of this machine gets no token. */
	assert_int_equal(ask_server(main_server, "orders.vault.test", "/keys?api-version=7.4", &res), 401);
	assert_null(strstr(res.body, "rollback"));
	assert_int_equal(ask_server(identity, "127.0.0.1", "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.test", &res), 503);
	assert_non_null(strstr(res.body, "accept-rollback"));
	/* Nobody can approve yet: making the first approver is the way out, but only until there is one. */
	expect(403, "POST", "/admin/v1/log/accept", "{\"reason\":\"the disk died\"}", "needs the approval");
	expect(400, "POST", "/admin/v1/log/accept", "{}", "reason");
	expect(200, "POST", "/admin/v1/principals", "{\"name\":\"eve\"}", "\"secret\"");
	approver = t_person(&domain, NULL, "approver", ROLE_APPROVER);
	expect(503, "POST", "/admin/v1/principals", "{\"name\":\"mallory\"}", "holdfast log accept-rollback");
	expect(403, "POST", "/admin/v1/log/accept", "{\"reason\":\"the disk died\"}", "needs the approval");
	assert_true(t_open_request(&domain, NULL, request));
	assert_int_equal(t_vote(&domain, &approver, NULL, request, true, &err), KMS_OK);
	expect(200, "POST", "/admin/v1/log/accept", "{\"reason\":\"the disk died\"}", "\"next_origin\":\"vault.test/audit/log2\"");
	expect(503, "GET", "/admin/v1/vaults", "", "log_integrity"); /* until the next start */
	api_housekeeping(api); /* settles and destroys nothing here */
	stop_serving();
	t_log_start(&domain, &event_log);
	serve();
	assert_int_equal(hsm_check(domain.kms.hsm, &err), KMS_OK); /* as the daemon's monitor does */
	expect(200, "GET", "/health/ready", "", "\"audit\":\"ok\"");
	expect(200, "GET", "/admin/v1/vaults", "", "orders");
	expect(409, "POST", "/admin/v1/log/accept", "{\"reason\":\"once more\"}", "nothing to accept");
	stop_serving();
}

/* ---- seals ---- */

static void the_answer_of_a_critical_act_comes_after_its_checkpoint_and_pin(void **state)
{
	static struct raw_response res;
	struct log_status s;

	(void)state;
	t_log_start(&domain, &event_log);
	t_vault(&domain, "doomed", false);
	t_log_sign(&domain);
	serve();
	/* What is not critical is answered once it is durable. */
	assert_int_equal(ask("GET", "/admin/v1/status", "", &res), 200);
	assert_true(receipt(&res) >= status_now().signed_size);
	t_approve_shred(&domain, "doomed");
	assert_int_equal(ask("POST", "/admin/v1/vaults/doomed/shred", "{\"confirm\":\"doomed\"}", &res), 200);
	s = status_now();
	assert_true(receipt(&res) < s.signed_size);
	assert_true(receipt(&res) < s.pinned_size);
	/* A refusal that nothing came of waits for nothing. */
	assert_int_equal(ask("POST", "/admin/v1/vaults/doomed/shred", "{\"confirm\":\"other\"}", &res), 400);
	assert_true(receipt(&res) >= status_now().signed_size);
	/* The key's change is one of them. */
	assert_int_equal(ask("POST", "/admin/v1/log/rotate-key", "{}", &res), 200);
	assert_non_null(strstr(res.body, "\"old_key\":\"vault.test/audit/log1+"));
	assert_true(receipt(&res) < status_now().pinned_size);
	assert_int_equal(ask("GET", "/admin/v1/check", "", &res), 200);
	assert_non_null(strstr(res.body, "Generation 2"));
	stop_serving();
}

static uint64_t leaves(void)
{
	struct writer_state w = { 0 };

	writer_state(domain.kms.writer, &w);
	return w.size;
}

static void wait_for_leaves(uint64_t size)
{
	for (int i = 0; i < 5000 && leaves() < size; i++)
		(void)usleep(2000); /* allowed: nothing tells a test that somebody else's unit was written */
	assert_true(leaves() >= size);
}

static void hsm_goes(void) { assert_int_equal(rename(domain.token.token_dir, away), 0); }

static void hsm_returns(void)
{
	struct kms_err err = { 0 };

	assert_int_equal(rename(away, domain.token.token_dir), 0);
	assert_int_equal(hsm_check(domain.kms.hsm, &err), KMS_OK);
}

static void with_strict_every_answer_waits_and_holds_up_nobody(void **state)
{
	static struct raw_response res;
	struct raw_client *first, *second;
	char target[128], id[GUID_TEXT_LEN + 1];
	struct t_person victim;
	uint64_t before;

	(void)state;
	event_log.is_strict = true;
	event_log.late_ms = 1000;
	t_log_start(&domain, &event_log);
	victim = t_person(&domain, NULL, "victim", (enum role)0);
	guid_format(victim.id, id);
	t_log_sign(&domain);
	serve();
	assert_int_equal(ask("GET", "/admin/v1/status", "", &res), 200);
	assert_true(receipt(&res) < status_now().signed_size);
	/* One lane with one thread: the second is worked on while the first waits for the device. */
	hsm_goes();
	before = leaves();
	first = begin("GET", "/admin/v1/vaults", "");
	wait_for_leaves(before + 1);
	second = begin("GET", "/admin/v1/vaults", "");
	wait_for_leaves(before + 2);
	assert_int_equal(log_state(domain.kms.log), LOG_GOOD); /* not late yet: so neither can have been answered */
	raw_read(first, &res, false);
	assert_int_equal(res.status, 503);
	assert_non_null(strstr(res.body, "was done, and is in the event log as leaf"));
	assert_null(strstr(res.body, "\"value\"")); /* the result is withheld */
	assert_int_equal(receipt(&res), before);
	raw_read(second, &res, false);
	assert_int_equal(res.status, 503);
	raw_close(first);
	raw_close(second);
	/* Late: what takes away works, and is answered without a checkpoint; the rest is refused at once. */
	wait_for_leaves(before + 2);
	while (log_state(domain.kms.log) == LOG_GOOD)
		(void)usleep(2000); /* allowed: it becomes late by itself */
	expect(503, "GET", "/admin/v1/vaults", "", "audit_unavailable");
	expect(503, "GET", "/health/ready", "", "\"audit\":\"late\"");
	expect(200, "GET", "/admin/v1/status", "", "\"state\":\"late\"");
	(void)snprintf(target, sizeof(target), "/admin/v1/principals/%s/disable", id);
	expect(200, "POST", target, "", "\"enabled\":false");
	expect(503, "POST", "/admin/v1/principals", "{\"name\":\"eve\"}", "audit_unavailable");
	hsm_returns();
	t_log_sign(&domain);
	expect(200, "GET", "/admin/v1/vaults", "", "\"value\"");
	stop_serving();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_route_runs_in_the_states_of_the_log_that_it_may),
		cmocka_unit_test(a_locked_vault_runs_only_what_takes_access_away_or_looks),
		cmocka_unit_test_setup_teardown(a_rolled_back_log_serves_what_leads_to_its_acceptance_and_nothing_else, open_domain, close_domain),
		cmocka_unit_test_setup_teardown(the_answer_of_a_critical_act_comes_after_its_checkpoint_and_pin, open_domain, close_domain),
		cmocka_unit_test_setup_teardown(with_strict_every_answer_waits_and_holds_up_nobody, open_domain, close_domain),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
