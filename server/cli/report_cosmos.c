/* server/cli/report_cosmos.c - `holdfast report cosmos`: which Cosmos DB accounts need a customer-managed key, which have one, and in what state those are that are ours. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/err.h"
#include "server/cli/cosmos.h"
#include "server/cli/report.h"

#define ASK_AT_ONCE 100 /* keys; the server's limit is higher, but for the length of a request */
#define KEY_URI_MAX 512
#define SCHEME "https://"

static const char *text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));
	return text != NULL ? text : "";
}

/* ---- what state the keys are in ---- */

/* @param states  URI -> what the server says of it */
static enum cli_exit ask_some(struct call *call, const json_t *uris, json_t *states)
{
	JSON_AUTO *body = json_pack("{s:O}", "keys", uris);
	JSON_AUTO *answer = NULL;
	const json_t *rows = NULL;
	enum cli_exit code = body != NULL ? client_json(call->client, "POST", "/audit/v1/reports/keys", body, &answer) : cli_no_memory();

	if (code != CLI_OK)
		return code;
	rows = json_object_get(answer, "value");
	if (json_array_size(rows) != json_array_size(uris)) {
		cli_say("the answer is not about the keys that were asked for");
		return CLI_FAILED;
	}
	for (size_t i = 0; i < json_array_size(rows); i++) /* in the order of the question */
		if (json_object_set(states, json_string_value(json_array_get(uris, i)), json_array_get(rows, i)) != 0)
			return cli_no_memory();
	return CLI_OK;
}

static enum cli_exit ask_all(struct call *call, const json_t *accounts, json_t *states)
{
	JSON_AUTO *uris = json_array();
	enum cli_exit code = uris != NULL ? CLI_OK : cli_no_memory();

	for (size_t i = 0; i < json_array_size(accounts) && code == CLI_OK; i++) {
		json_t *key = json_object_get(json_array_get(accounts, i), "key");
		size_t len = json_string_length(key);
		if (len == 0 || len > KEY_URI_MAX || json_object_get(states, json_string_value(key)) != NULL)
			continue;
		if (json_object_set_new(states, json_string_value(key), json_null()) != 0 || json_array_append(uris, key) != 0)
			code = cli_no_memory();
		if (code == CLI_OK && json_array_size(uris) == ASK_AT_ONCE) {
			code = ask_some(call, uris, states);
			(void)json_array_clear(uris); /* cannot fail */
		}
	}
	return code == CLI_OK && json_array_size(uris) > 0 ? ask_some(call, uris, states) : code;
}

/* ---- the verdict on one account ---- */

struct verdict {
	const char *source, *state, *reason; /* reason: NULL = its key is good enough */
};

/* Cosmos DB wraps with RSA, and needs both ways (keyvault-keys.md 20.2). */
static struct verdict of_ours(const json_t *found)
{
	static const struct {
		const char *state, *reason;
	} BAD[] = {
		{ "disabled", "its key is disabled" }, { "revoked", "its key is revoked" }, { "expired", "its key has expired" },
		{ "not_yet_valid", "its key is not valid yet" }, { "deleted", "its key is deleted" }, { "unknown", "its key does not exist, or was purged" },
		{ "no_version", "that version of its key does not exist" }, { "no_vault", "its vault does not exist" }, { "vault_locked", "its vault is locked" },
		{ "vault_shredded", "its vault was shredded" }, { "not_yours", "its key is not yours to see" },
	};
	struct verdict v = { .source = "ours", .state = text_of(found, "state") };

	if (strcmp(v.state, "enabled") == 0) {
		bool is_fit = json_is_true(json_object_get(found, "wraps")) && strncmp(text_of(found, "kty"), "RSA", strlen("RSA")) == 0;
		v.reason = is_fit ? NULL : "its key is not one of RSA that wraps and unwraps";
		return v;
	}
	v.reason = "its key is in a state that this holdfast does not know";
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		if (strcmp(v.state, BAD[i].state) == 0)
			v.reason = BAD[i].reason;
	return v;
}

static struct verdict judge(const json_t *account, const json_t *states)
{
	const char *key = text_of(account, "key");
	const json_t *found = json_object_get(states, key);

	if (*key == '\0')
		return (struct verdict){ "none", "", "no customer-managed key" };
	if (strcmp(text_of(found, "state"), "foreign") == 0)
		return (struct verdict){ "foreign", "not checked", NULL };
	if (!json_is_object(found) || strcmp(text_of(found, "state"), "invalid") == 0)
		return (struct verdict){ "invalid", "", "keyVaultKeyUri is no key's address" };
	return of_ours(found);
}

static bool settle(json_t *account, const json_t *states)
{
	struct verdict v = judge(account, states);
	bool needs = json_is_true(json_object_get(account, "needs"));
	const char *result = needs ? (v.reason == NULL ? COSMOS_COMPLIANT : COSMOS_NOT_COMPLIANT) : text_of(account, "class")[0] != '\0' ? COSMOS_EXEMPT : "unclassified";

	return json_object_set_new(account, "source", json_string(v.source)) == 0 && json_object_set_new(account, "state", json_string(v.state)) == 0 &&
	       json_object_set_new(account, "result", json_string(result)) == 0 &&
	       json_object_set_new(account, "reason", json_string(needs && v.reason != NULL ? v.reason : "")) == 0;
}

/* ---- the report ---- */

struct counts {
	long long accounts, needing, compliant, exempt, unclassified, ours, foreign, none;
};

static bool is(const json_t *o, const char *name, const char *text) { return strcmp(text_of(o, name), text) == 0; }

static struct counts count(const json_t *accounts)
{
	struct counts c = { .accounts = (long long)json_array_size(accounts) };

	for (size_t i = 0; i < json_array_size(accounts); i++) {
		const json_t *a = json_array_get(accounts, i);
		c.needing += json_is_true(json_object_get(a, "needs"));
		c.compliant += is(a, "result", COSMOS_COMPLIANT);
		c.exempt += is(a, "result", COSMOS_EXEMPT);
		c.unclassified += is(a, "result", "unclassified");
		c.ours += is(a, "source", "ours");
		c.foreign += is(a, "source", "foreign");
		c.none += is(a, "source", "none");
	}
	return c;
}

static bool add_class_row(json_t *rows, const json_t *account)
{
	const char *class = text_of(account, "class")[0] != '\0' ? text_of(account, "class") : "(unclassified)";
	json_t *row = NULL;
	bool is_compliant = is(account, "result", COSMOS_COMPLIANT);

	for (size_t i = 0; i < json_array_size(rows) && row == NULL; i++)
		if (is(json_array_get(rows, i), "class", class))
			row = json_array_get(rows, i);
	if (row == NULL) {
		row = json_pack("{s:s,s:O,s:i,s:i,s:n}", "class", class, "needs", json_object_get(account, "needs"), "accounts", 0, "compliant", 0, "compliant_percent");
		if (row == NULL || json_array_append_new(rows, row) != 0)
			return false;
	}
	return json_object_set_new(row, "accounts", json_integer(json_integer_value(json_object_get(row, "accounts")) + 1)) == 0 &&
	       json_object_set_new(row, "compliant", json_integer(json_integer_value(json_object_get(row, "compliant")) + is_compliant)) == 0;
}

static bool add_classes(json_t *rows, json_t *points, const json_t *accounts)
{
	for (size_t i = 0; i < json_array_size(accounts); i++)
		if (!add_class_row(rows, json_array_get(accounts, i)))
			return false;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		json_t *row = json_array_get(rows, i);
		json_int_t all = json_integer_value(json_object_get(row, "accounts"));
		if (!json_is_true(json_object_get(row, "needs")))
			continue;
		if (json_object_set_new(row, "compliant_percent", report_percent(json_integer_value(json_object_get(row, "compliant")), all)) != 0 ||
		    !report_point(points, text_of(row, "class"), json_incref(json_object_get(row, "compliant_percent"))))
			return false;
	}
	return true;
}

/* Those that lack something first, then those whom nobody has classified. */
static bool add_accounts(json_t *rows, const json_t *accounts)
{
	static const char *const ORDER[] = { COSMOS_NOT_COMPLIANT, "unclassified", COSMOS_COMPLIANT, COSMOS_EXEMPT };

	for (size_t k = 0; k < KMS_ARRAY_LEN(ORDER); k++)
		for (size_t i = 0; i < json_array_size(accounts); i++)
			if (is(json_array_get(accounts, i), "result", ORDER[k]) && json_array_append(rows, json_array_get(accounts, i)) != 0)
				return false;
	return true;
}

static bool add_reasons(json_t *points, const json_t *accounts)
{
	JSON_AUTO *counts = json_object();

	for (size_t i = 0; i < json_array_size(accounts); i++) {
		const char *reason = text_of(json_array_get(accounts, i), "reason");
		if (*reason != '\0' && json_object_set_new(counts, reason, json_integer(json_integer_value(json_object_get(counts, reason)) + 1)) != 0)
			return false;
	}
	for (void *it = json_object_iter(counts); it != NULL; it = json_object_iter_next(counts, it))
		if (!report_point(points, json_object_iter_key(it), json_incref(json_object_iter_value(it))))
			return false;
	return true;
}

static bool add_facts(struct report *r, const struct counts *c)
{
	const struct {
		const char *name;
		long long n;
	} FACTS[] = {
		{ "accounts", c->accounts }, { "needing_a_key", c->needing }, { "compliant", c->compliant }, { "not_compliant", c->needing - c->compliant }, { "exempt", c->exempt },
		{ "unclassified", c->unclassified }, { "without_a_key", c->none }, { "with_a_key_of_ours", c->ours }, { "with_a_foreign_key", c->foreign },
	};

	for (size_t i = 0; i < KMS_ARRAY_LEN(FACTS); i++)
		if (!report_fact(r, FACTS[i].name, json_integer(FACTS[i].n)))
			return false;
	return report_fact(r, "compliant_percent", report_percent(c->compliant, c->needing));
}

static bool add_history(struct report *r, json_t *points, const json_t *state, long long at)
{
	const json_t *runs = json_object_get(state, "runs");
	struct cosmos_times t;

	cosmos_state_times(state, at, &t);
	for (size_t i = 0; i < json_array_size(runs); i++) {
		const json_t *run = json_array_get(runs, i);
		char when[SHOW_TIME_MAX];
		json_int_t needing = json_integer_value(json_object_get(run, "needing"));
		if (needing > 0 && !report_point(points, show_time(json_object_get(run, "at"), when),
		                                 report_percent(json_integer_value(json_object_get(run, "compliant")), needing)))
			return false;
	}
	return report_fact(r, "remediated", json_integer(t.remediated)) &&
	       report_fact(r, "mean_time_to_remediate_s", t.remediated > 0 ? json_integer(t.total_s / t.remediated) : json_null()) &&
	       report_fact(r, "not_remediated_yet", json_integer(t.open)) && report_fact(r, "oldest_not_remediated_s", t.open > 0 ? json_integer(t.oldest_s) : json_null());
}

/* @param state  NULL = nothing is kept */
static bool make(struct report *r, const json_t *accounts, const json_t *state, long long at, struct counts *ret_counts)
{
	static const struct report_column ACCOUNTS[] = {
		{ "ACCOUNT", "account", REPORT_TEXT }, { "RESOURCE GROUP", "resource_group", REPORT_TEXT }, { "LOCATION", "location", REPORT_TEXT },
		{ "CLASS", "class", REPORT_TEXT }, { "RESULT", "result", REPORT_TEXT }, { "REASON", "reason", REPORT_TEXT }, { "SOURCE", "source", REPORT_TEXT },
		{ "STATE", "state", REPORT_TEXT }, { "KEY", "key", REPORT_TEXT }, { "ID", "id", REPORT_TEXT }, { NULL, NULL, REPORT_TEXT },
	};
	static const struct report_column CLASSES[] = {
		{ "CLASS", "class", REPORT_TEXT }, { "NEEDS A KEY", "needs", REPORT_FLAG }, { "ACCOUNTS", "accounts", REPORT_NUMBER },
		{ "COMPLIANT", "compliant", REPORT_NUMBER }, { "PERCENT", "compliant_percent", REPORT_PERCENT }, { NULL, NULL, REPORT_TEXT },
	};
	json_t *rows = NULL, *classes = NULL, *by_class = NULL, *reasons = NULL, *trend = NULL;

	if (!report_begin(r, "cosmos", "Customer-managed keys of Cosmos DB accounts"))
		return false;
	rows = report_add_table(r, "value", "Accounts", ACCOUNTS);
	classes = report_add_table(r, "classes", "Classes", CLASSES);
	by_class = report_add_plot(r, "Compliant by class", "%", false);
	reasons = report_add_plot(r, "What is lacking", "", false);
	trend = report_add_plot(r, "Compliant over time", "%", true);
	*ret_counts = count(accounts);
	return report_fact(r, "at", json_integer(at)) && add_facts(r, ret_counts) && add_accounts(rows, accounts) && add_classes(classes, by_class, accounts) &&
	       add_reasons(reasons, accounts) && (state == NULL || add_history(r, trend, state, at));
}

/* ---- the command ---- */

static enum cli_exit read_at(const struct call *call, long long *ret_at)
{
	JSON_AUTO *body = json_object();
	enum cli_exit code = body != NULL ? cli_add_time(call, OPT_AT, "at", body) : cli_no_memory();

	*ret_at = call_has(call, OPT_AT) ? (long long)json_integer_value(json_object_get(body, "at")) : (long long)time(NULL);
	return code;
}

static enum cli_exit read_accounts(struct call *call, json_t **ret)
{
	struct cosmos_rules *rules = NULL;
	JSON_AUTO *states = json_object();
	enum cli_exit code = cosmos_rules_read(call, &rules);

	if (code == CLI_OK)
		code = cosmos_inventory_read(call_value(call, OPT_INVENTORY), rules, ret);
	cosmos_rules_free(rules);
	if (code == CLI_OK)
		code = ask_all(call, *ret, states);
	for (size_t i = 0; i < json_array_size(*ret) && code == CLI_OK; i++)
		code = settle(json_array_get(*ret, i), states) ? CLI_OK : cli_no_memory();
	return code;
}

/* The state is written last: a report that nobody got is made again as if it had not been. */
enum cli_exit report_cosmos(struct call *call)
{
	const char *file = call_has(call, OPT_STATE) ? call_value(call, OPT_STATE) : NULL;
	REPORT_AUTO r = { 0 };
	JSON_AUTO *accounts = NULL, *state = NULL;
	struct counts c = { 0 };
	long long at = 0;
	enum cli_exit code = report_check_form(call, true);

	if (code == CLI_OK)
		code = read_at(call, &at);
	if (code == CLI_OK && file != NULL)
		code = cosmos_state_read(file, at, &state);
	if (code == CLI_OK && file != NULL && !cli_can_write(file))
		code = CLI_USAGE;
	if (code == CLI_OK)
		code = read_accounts(call, &accounts);
	if (code == CLI_OK && state != NULL && !cosmos_state_enter(state, accounts, at))
		code = cli_no_memory();
	if (code == CLI_OK)
		code = make(&r, accounts, state, at, &c) ? report_show(call, &r, 1) : cli_no_memory();
	if (code == CLI_OK && state != NULL)
		code = cosmos_state_write(file, state);
	if (code == CLI_OK && c.unclassified > 0)
		cli_say("%lld accounts have no tag that says what they hold, and count neither way; --classify names such tags", c.unclassified);
	return code == CLI_OK && c.compliant < c.needing ? CLI_NOT_COMPLIANT : code;
}
