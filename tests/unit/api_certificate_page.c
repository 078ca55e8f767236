/* tests/unit/api_certificate_page.c - the page of a certificate: whatever somebody has chosen is text in it, never markup; each state and limit is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/certificate_page.h"
#include "api/json.h"

#define HOSTILE "<script>alert('x')</script>&\""
#define TAME "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"

/* Owned by the caller. */
static char *page_of(const json_t *body, const json_t *approvers, const char *text)
{
	char *page = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&page, &len);

	assert_non_null(out);
	certificate_page_write(&(struct certificate_page){ .note = text, .body = body, .approvers = approvers, .reason = text, .has_log = true, .revived = "", .vault = text, .key = text, .vkey = text }, out);
	assert_int_equal(fclose(out), 0);
	return page;
}

static size_t count(const char *page, const char *what)
{
	size_t n = 0;

	for (const char *at = page; (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

/* Every string of it is hostile but for those that choose words. */
static json_t *hostile_body(const char *scope)
{
	const char *h = HOSTILE;
	json_t *body = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "id", h, "tenant", h, "basis", h, "method", h, "state", h, "until", h);

	assert_non_null(body);
	assert_int_equal(json_object_set_new(body, "scope", json_string(scope)), 0);
	assert_int_equal(json_object_set_new(body, "times", json_pack("{s:s,s:s,s:s}", "approved", h, "destroyed", h, "verified", h)), 0);
	assert_int_equal(json_object_set_new(body, "hsm", json_pack("{s:s,s:s,s:s,s:s,s:s}", "vendor", h, "model", h, "serial", h, "fw", h, "token", h)), 0);
	assert_int_equal(json_object_set_new(body, "checks", json_pack("[{s:s}]", "id", h)), 0);
	assert_int_equal(json_object_set_new(body, "copies", json_pack("[{s:s,s:s,s:s,s:s,s:s}]", "kind", h, "id", h, "made", h, "until", h, "disposition", h)), 0);
	assert_int_equal(json_object_set_new(body, "residual", json_pack("[s]", h)), 0);
	assert_int_equal(json_object_set_new(body, "keys", json_pack("[{s:s,s:s,s:s,s:s,s:s}]", "name", h, "ver", h, "kind", h, "crv", h, "obj", h)), 0);
	return body;
}

static void nothing_that_somebody_chose_is_markup(void **state)
{
	static const char *const SCOPES[] = { "tenant", "key", HOSTILE };
	JSON_AUTO *approvers = json_pack("[{s:s,s:s,s:s}]", "name", HOSTILE, "pid", HOSTILE, "at", HOSTILE);

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		JSON_AUTO *body = hostile_body(SCOPES[i]);
		char *page = page_of(body, approvers, HOSTILE);
		assert_int_equal(count(page, "<script"), 0);
		assert_int_equal(count(page, "alert('"), 0);
		/* Times are cut to their length. All that is left of each tag is text: no quote, no bracket of it stands as it is. */
		assert_true(count(page, TAME) >= 15);
		assert_int_equal(count(page, "</script"), 0);
		free(page);
	}
}

static json_t *plain_body(const char *state, const char *scope, const char *kind)
{
	json_t *body = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "id", "c-1", "tenant", "t-1", "basis", "gdpr-art17", "method", "kek-destroy", "state", state, "scope", scope,
	                         "until", "2027-01-02T03:04:05.000000Z");

	assert_non_null(body);
	assert_int_equal(json_object_set_new(body, "keys", json_pack("[{s:s,s:s,s:s}]", "name", "", "kind", kind, "obj", "o")), 0);
	assert_int_equal(json_object_set_new(body, "residual", json_string("none-known")), 0);
	return body;
}

static void each_kind_of_certificate_says_what_it_is(void **state)
{
	static const struct {
		const char *state, *scope, *kind, *words, *others;
	} CASES[] = {
		{ "complete", "tenant", "root", "All keys of the vault orders were destroyed", "Pending." },
		{ "complete", "key", "root", "The vault's keys live on under the new one", "All keys of the vault" },
		{ "pending-backup-expiry", "key", "RSA", "2027-01-02, 03:04:05 UTC", "Complete." },
	};
	JSON_AUTO *none = json_array();

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		JSON_AUTO *body = plain_body(CASES[i].state, CASES[i].scope, CASES[i].kind);
		char *page = page_of(body, none, "orders");
		assert_non_null(strstr(page, CASES[i].words));
		assert_null(strstr(page, CASES[i].others));
		assert_non_null(strstr(page, "What this does not claim"));
		assert_non_null(strstr(page, "holdfast-verify certificate --key"));
		assert_non_null(strstr(page, "@media print"));
		free(page);
	}
}

static char *page_with(const json_t *body, bool has_log, bool is_revived)
{
	JSON_AUTO *none = json_array();
	char *page = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&page, &len);

	assert_non_null(out);
	certificate_page_write(&(struct certificate_page){ .note = "", .body = body, .approvers = none, .reason = "", .has_log = has_log, .is_revived = is_revived,
	                                                   .revived = "2026-11-22T10:00:00.000000Z", .vault = "orders", .key = "k", .vkey = "" }, out);
	assert_int_equal(fclose(out), 0);
	return page;
}

static void a_key_that_is_back_is_not_called_gone(void **state)
{
	JSON_AUTO *body = plain_body("pending-backup-expiry", "key", "RSA");
	char *page = page_with(body, true, true);

	(void)state;
	assert_non_null(strstr(page, "the key is back"));
	assert_non_null(strstr(page, "2026-11-22, 10:00:00 UTC"));
	assert_null(strstr(page, "Here the key is gone"));
	assert_null(strstr(page, "cannot be read any more"));
	free(page);
}

static void what_residual_names_the_page_does_not_deny(void **state)
{
	JSON_AUTO *body = plain_body("complete", "tenant", "root");
	char *page = page_with(body, true, false);

	(void)state;
	assert_null(strstr(page, "unless somebody kept a copy"));
	free(page);
	assert_int_equal(json_object_set_new(body, "residual", json_pack("[s]", "machine-snapshots")), 0);
	page = page_with(body, true, false);
	assert_non_null(strstr(page, "unless somebody kept a copy"));
	free(page);
}

/* The log that names the approvers was closed after a rollback: that is not the same as no approval. */
static void an_approval_in_another_log_is_not_denied(void **state)
{
	JSON_AUTO *body = plain_body("complete", "tenant", "root");
	char *page = page_with(body, true, false);

	(void)state;
	assert_non_null(strstr(page, "This act took no approval"));
	free(page);
	assert_int_equal(json_object_set_new(body, "times", json_pack("{s:s}", "approved", "2026-11-22T09:00:00.000000Z")), 0);
	page = page_with(body, false, false);
	assert_null(strstr(page, "no approval"));
	assert_non_null(strstr(page, "It was approved, as the signed text says"));
	free(page);
}

static void of_very_many_keys_the_first_are_shown_and_the_others_counted(void **state)
{
	JSON_AUTO *body = plain_body("complete", "tenant", "root");
	JSON_AUTO *none = json_array();
	json_t *keys = json_array();

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(json_array_append_new(keys, json_pack("{s:s,s:s,s:s}", "name", "many", "kind", "RSA", "obj", "o")), 0);
	assert_int_equal(json_object_set_new(body, "keys", keys), 0);
	char *page = page_of(body, none, "orders");
	assert_int_equal(count(page, "<td>many</td>"), 200);
	assert_non_null(strstr(page, "and 800 more"));
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_that_somebody_chose_is_markup),
		cmocka_unit_test(each_kind_of_certificate_says_what_it_is),
		cmocka_unit_test(a_key_that_is_back_is_not_called_gone),
		cmocka_unit_test(what_residual_names_the_page_does_not_deny),
		cmocka_unit_test(an_approval_in_another_log_is_not_denied),
		cmocka_unit_test(of_very_many_keys_the_first_are_shown_and_the_others_counted),
	};
	json_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
