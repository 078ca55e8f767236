/* tests/unit/core_tenancy.c - a vault's policy, and the acts that it lets nobody do alone: lowering protection, shredding, purging; on a
 * real token and database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "tests/support/approvals.h"

static struct t_domain d;

/* ---- helpers ---- */

static struct store_vault vault_of(const char *name)
{
	struct store_vault v = { 0 };

	assert_int_equal(store_vault_by_name(d.store->r, name, &v, NULL), KMS_OK);
	return v;
}

/** @param who  NULL = the local user */
static kms_status update(const struct t_person *who, const char *vault, const struct vault_update *u, struct kms_err *ret_err)
{
	struct op *op = who != NULL ? t_op_as(&d, who, vault, EVENT_TENANT_UPDATE, 3600) : t_op(&d, vault, EVENT_TENANT_UPDATE);
	kms_status status;

	memset(ret_err, 0, sizeof(*ret_err));
	assert_non_null(op);
	status = vault_update(op, u, ret_err);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static void updated(const char *vault, const struct vault_update *u)
{
	struct kms_err err;
	kms_status status = update(NULL, vault, u, &err);

	if (status != KMS_OK)
		fail_msg("%s: %s", kms_status_name(status), kms_err_text(&err));
}

static void vote(const struct t_person *p, const char *vault)
{
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	assert_true(t_open_request(&d, vault, id));
	assert_int_equal(t_vote(&d, p, vault, id, true, &err), KMS_OK);
}

static void request_says(const char *vault, const char *text)
{
	STORE_APPROVAL_AUTO a = { 0 };
	uint8_t id[STORE_ID_LEN];

	assert_true(t_open_request(&d, vault, id));
	assert_int_equal(store_approval(d.store->r, id, &a, NULL), KMS_OK);
	if (strstr(a.request, text) == NULL)
		fail_msg("no %s in %s", text, a.request);
}

static kms_status make(const struct vault_create *req)
{
	struct op *op = t_op(&d, NULL, EVENT_TENANT_CREATE);
	struct kms_err err = { 0 };
	kms_status status = vault_create(op, req, &err);

	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static size_t open_intents(void)
{
	struct store_intent page[8];
	size_t count = 0;

	assert_int_equal(store_intents(d.store->r, UINT64_MAX, page, 8, &count, NULL), KMS_OK);
	return count;
}

/* ---- made ---- */

static void a_vault_begins_with_a_quorum_of_one_unless_more_is_asked_for(void **state)
{
	struct store_vault v;

	(void)state;
	assert_int_equal(make(&(struct vault_create){ .name = "plain", .retention_days = 7 }), KMS_OK);
	v = vault_of("plain");
	assert_int_equal(v.quorum, 1);
	assert_int_equal(v.purge_approvals, 0);
	assert_false(v.is_founded);
	assert_int_equal(make(&(struct vault_create){ .name = "strict", .retention_days = 90, .quorum = 16, .purge_approvals = 2 }), KMS_OK);
	v = vault_of("strict");
	assert_int_equal(v.quorum, 16);
	assert_int_equal(v.purge_approvals, 2);
	assert_int_equal(make(&(struct vault_create){ .name = "too-strict", .retention_days = 90, .quorum = 17 }), KMS_E_INVALID);
	assert_int_equal(make(&(struct vault_create){ .name = "too-strict", .retention_days = 90, .purge_approvals = 17 }), KMS_E_INVALID);
	assert_int_equal(make(&(struct vault_create){ .name = "too-strict", .retention_days = 6 }), KMS_E_INVALID);
	assert_int_equal(make(&(struct vault_create){ .name = "too-strict", .retention_days = 91 }), KMS_E_INVALID);
}

/* ---- their policy ---- */

static void what_raises_protection_needs_nobody_else(void **state)
{
	const struct vault_update all = { .has_retention = true, .has_purge_protection = true, .has_rsa1_5 = true, .has_quorum = true,
		                          .has_purge_approvals = true, .has_networks = true, .has_issuer = true, .retention_days = 60,
		                          .purge_protection = true, .quorum = 3, .purge_approvals = 2, .networks = "10.0.0.0/8,::1", .issuer = "entra" };
	char networks[STORE_NETWORK_MAX + 1];
	struct op *op;
	struct kms_err err = { 0 };
	struct store_vault v;
	uint64_t before = 0, after = 0;

	(void)state;
	assert_int_equal(make(&(struct vault_create){ .name = "raised", .retention_days = 7, .allows_rsa1_5 = true }), KMS_OK);
	op = t_op(&d, "raised", EVENT_TENANT_UPDATE);
	assert_int_equal(t_op_finish(op, vault_update(op, &all, &err)), KMS_OK);
	assert_int_equal(op->vault.quorum, 3); /* what is answered */
	assert_true(op->vault.has_networks);
	assert_true(t_leaf_says(&d, op->write.seq, "\"phase\":\"outcome\""));
	assert_true(t_leaf_says(&d, op->write.seq, "\"allow_rsa1_5\":0,\"issuer\":\"entra\",\"networks\":2,\"networks_sha256\":\""));
	assert_true(t_leaf_says(&d, op->write.seq, "\"purge_approvals\":2,\"purge_protection\":1,\"quorum\":3,\"retention_days\":60,\"vault\":\"raised\""));
	assert_true(t_leaf_says(&d, op->write.event.ref, "\"phase\":\"intent\""));
	t_op_free(op);
	v = vault_of("raised");
	assert_int_equal(v.retention_days, 60);
	assert_true(v.has_purge_protection);
	assert_false(v.allows_rsa1_5);
	assert_int_equal(v.quorum, 3);
	assert_int_equal(v.purge_approvals, 2);
	assert_string_equal(v.issuer, "entra");
	assert_true(v.has_networks);
	assert_int_equal(store_networks(d.store->r, v.id, networks, NULL), KMS_OK);
	assert_string_equal(networks, "10.0.0.0/8 ::1/128");

	/* What is given and equal changes nothing, in whatever form it is given: one leaf, no intent, no epoch. */
	assert_int_equal(store_event_count(d.store->r, &before, NULL), KMS_OK);
	updated("raised", &all);
	assert_int_equal(store_event_count(d.store->r, &after, NULL), KMS_OK);
	assert_int_equal(after, before + 1);
	assert_true(vault_of("raised").epoch == v.epoch);
	updated("raised", &(struct vault_update){ .has_networks = true, .networks = "" });
	assert_false(vault_of("raised").has_networks);
	assert_true(vault_of("raised").epoch > v.epoch);
	assert_int_equal(open_intents(), 0);
}

static void what_is_no_policy_is_refused_and_nothing_changes(void **state)
{
	static const struct vault_update BAD[] = {
		{ .has_retention = true, .retention_days = 6 },
		{ .has_retention = true, .retention_days = 91 },
		{ .has_quorum = true, .quorum = 0 },
		{ .has_quorum = true, .quorum = 17 },
		{ .has_purge_approvals = true, .purge_approvals = 17 },
		{ .has_networks = true, .networks = "10.0.0.1/8", .has_retention = true, .retention_days = 90 },
		{ .has_networks = true, .networks = " " },
		{ .has_issuer = true, .issuer = "a-name-that-is-longer-than-it-may-be" },
	};
	struct store_vault before, after;
	struct kms_err err;

	(void)state;
	t_vault(&d, "bad-policy", false);
	before = vault_of("bad-policy");
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		assert_int_equal(update(NULL, "bad-policy", &BAD[i], &err), KMS_E_INVALID);
		assert_non_null(strchr(kms_err_text(&err), ':'));
	}
	after = vault_of("bad-policy");
	assert_true(after.epoch == before.epoch);
	assert_int_equal(open_intents(), 0);
}

static void each_lowering_needs_approval_for_exactly_its_values(void **state)
{
	static const struct {
		struct vault_update u;
		const char *parameters;
	} CASES[] = {
		{ { .has_rsa1_5 = true, .allows_rsa1_5 = true }, "\"parameters\":{\"allow_rsa1_5\":true}" },
		{ { .has_purge_approvals = true, .purge_approvals = 1 }, "\"parameters\":{\"purge_approvals\":1}" },
		{ { .has_purge_protection = true }, "\"parameters\":{\"purge_protection\":false}" },
		{ { .has_retention = true, .retention_days = 89 }, "\"parameters\":{\"retention_days\":89}" },
		{ { .has_quorum = true, .quorum = 1 }, "\"parameters\":{\"quorum\":1}" },
	};
	struct t_person a, b;
	struct kms_err err;

	(void)state;
	assert_int_equal(make(&(struct vault_create){ .name = "lower", .retention_days = 90, .has_purge_protection = true, .quorum = 2, .purge_approvals = 2 }),
	                 KMS_OK);
	assert_int_equal(update(NULL, "lower", &CASES[0].u, &err), KMS_E_APPROVAL);
	assert_non_null(strstr(kms_err_text(&err), "Grant the role approver")); /* not founded */
	a = t_person(&d, "lower", "a", ROLE_APPROVER);
	b = t_person(&d, "lower", "b", ROLE_APPROVER);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		uint64_t epoch = vault_of("lower").epoch;

		assert_int_equal(update(NULL, "lower", &CASES[i].u, &err), KMS_E_APPROVAL);
		request_says("lower", CASES[i].parameters);
		request_says("lower", "{\"act\":\"vault.lower_protection\"");
		vote(&a, "lower");
		assert_int_equal(update(NULL, "lower", &CASES[i].u, &err), KMS_E_APPROVAL); /* two must agree */
		vote(&b, "lower");
		assert_true(vault_of("lower").epoch == epoch);
		updated("lower", &CASES[i].u);
		assert_true(vault_of("lower").epoch > epoch);
	}
	{
		struct store_vault v = vault_of("lower");
		assert_true(v.allows_rsa1_5 && !v.has_purge_protection && v.is_founded);
		assert_int_equal(v.purge_approvals, 1);
		assert_int_equal(v.retention_days, 89);
		assert_int_equal(v.quorum, 1);
	}
}

/* Or as many as a purge asks for would be got rid of by fewer. */
static void fewer_approvals_of_a_purge_are_agreed_to_by_as_many(void **state)
{
	const struct vault_update none = { .has_purge_approvals = true }, three = { .has_purge_approvals = true, .purge_approvals = 3 };
	struct t_person admin, approvers[3];
	struct kms_err err;

	(void)state;
	t_vault(&d, "fewer", false);
	admin = t_person(&d, "fewer", "admin", ROLE_ADMINISTRATOR);
	approvers[0] = t_person(&d, "fewer", "one", ROLE_APPROVER);
	approvers[1] = t_person(&d, "fewer", "two", ROLE_APPROVER);
	approvers[2] = t_person(&d, "fewer", "three", ROLE_APPROVER);
	assert_int_equal(update(&admin, "fewer", &three, &err), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(approvers); i++) {
		assert_int_equal(update(&admin, "fewer", &none, &err), KMS_E_APPROVAL);
		assert_int_equal(vault_of("fewer").purge_approvals, 3);
		vote(&approvers[i], "fewer");
	}
	assert_int_equal(update(&admin, "fewer", &none, &err), KMS_OK);
	assert_int_equal(vault_of("fewer").purge_approvals, 0);
}

/* Several things in one request: those that lower it are approved together, and what else there is may differ. */
static void an_approval_of_other_values_does_not_help(void **state)
{
	struct vault_update u = { .has_retention = true, .retention_days = 30, .has_purge_protection = true, .has_networks = true, .networks = "10.0.0.0/8",
		                  .reason = "smaller disks" };
	struct t_person a, admin;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	assert_int_equal(make(&(struct vault_create){ .name = "values", .retention_days = 90, .has_purge_protection = true }), KMS_OK);
	a = t_person(&d, "values", "a", ROLE_APPROVER);
	admin = t_person(&d, "values", "admin", ROLE_ADMINISTRATOR);
	(void)snprintf(admin.caller.peer, sizeof(admin.caller.peer), "192.0.2.5");
	assert_int_equal(update(&admin, "values", &u, &err), KMS_E_APPROVAL);
	request_says("values", "\"parameters\":{\"purge_protection\":false,\"retention_days\":30}");
	assert_int_equal(vault_of("values").has_networks, false); /* nothing of a request that waits is done */
	vote(&a, "values");
	u.retention_days = 29;
	assert_int_equal(update(&admin, "values", &u, &err), KMS_E_APPROVAL);
	assert_false(t_open_request(&d, "values", id)); /* a second one */
	u.retention_days = 30;
	u.has_purge_protection = false;
	assert_int_equal(update(&admin, "values", &u, &err), KMS_E_APPROVAL);
	u.has_purge_protection = true;
	assert_int_equal(update(NULL, "values", &u, &err), KMS_E_APPROVAL); /* somebody else */
	u.networks = "192.0.2.0/24"; /* lowers nothing */
	assert_int_equal(update(&admin, "values", &u, &err), KMS_OK);
	assert_int_equal(vault_of("values").retention_days, 30);
	assert_true(vault_of("values").has_networks);
	assert_null(t_op_as(&d, &a, "values", EVENT_KEY_GET, 1)); /* from no address that is let in */
	/* Used: raised again by its administrator alone, not lowered again. */
	assert_int_equal(update(&admin, "values", &(struct vault_update){ .has_retention = true, .retention_days = 90 }, &err), KMS_OK);
	u.has_purge_protection = false;
	assert_int_equal(update(&admin, "values", &u, &err), KMS_E_APPROVAL);
}

static void a_quorum_that_nobody_could_reach_is_refused(void **state)
{
	const struct vault_update two = { .has_quorum = true, .quorum = 2 }, three = { .has_quorum = true, .quorum = 3 };
	struct kms_err err;

	(void)state;
	t_vault(&d, "reach", false);
	(void)t_person(&d, "reach", "a", ROLE_APPROVER);
	assert_int_equal(update(NULL, "reach", &two, &err), KMS_E_INVALID);
	assert_non_null(strstr(kms_err_text(&err), "fewer than 2 people"));
	(void)t_person(&d, "reach", "b", ROLE_ADMINISTRATOR);
	updated("reach", &two);
	assert_int_equal(update(NULL, "reach", &three, &err), KMS_E_INVALID);
	assert_int_equal(vault_of("reach").quorum, 2);
}

static void two_updates_at_once_do_not_undo_each_other(void **state)
{
	const struct vault_update days = { .has_retention = true, .retention_days = 50 }, quorum = { .has_quorum = true, .quorum = 2 };
	struct kms_err err = { 0 };
	struct op *first, *second;

	(void)state;
	t_vault(&d, "at-once", false);
	first = t_op(&d, "at-once", EVENT_TENANT_UPDATE);
	second = t_op(&d, "at-once", EVENT_TENANT_UPDATE);
	assert_int_equal(vault_update(first, &days, &err), KMS_OK);
	assert_int_equal(t_op_finish(first, KMS_OK), KMS_OK);
	assert_int_equal(vault_update(second, &quorum, &err), KMS_E_FENCED);
	t_op_free(first);
	t_op_free(second);
	assert_int_equal(vault_of("at-once").retention_days, 50);
}

static void an_update_that_was_cut_short_did_not_happen(void **state)
{
	struct recovery_count count = { 0 };
	struct kms_err err = { 0 };
	struct op *op;
	uint64_t size = 0;

	(void)state;
	t_vault(&d, "update-cut", false);
	op = t_op(&d, "update-cut", EVENT_TENANT_UPDATE);
	assert_int_equal(vault_update(op, &(struct vault_update){ .has_retention = true, .retention_days = 50 }, &err), KMS_OK);
	t_op_free(op);
	t_domain_restart(&d);
	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_ALL, &count, &err), KMS_OK);
	assert_int_equal(count.settled, 1);
	assert_true(t_leaf_says(&d, size, "\"type\":\"tenant.update\""));
	assert_true(t_leaf_says(&d, size, "\"err\":\"Interrupted\""));
	assert_int_equal(vault_of("update-cut").retention_days, 7);
	assert_int_equal(open_intents(), 0);
}

/* ---- shredded ---- */

static kms_status shred(const struct t_person *who, const char *vault, const char *reason, struct kms_err *ret_err)
{
	struct op *op = who != NULL ? t_op_as(&d, who, vault, EVENT_TENANT_SHRED, 3600) : t_op(&d, vault, EVENT_TENANT_SHRED);
	struct destruction done = { 0 };
	kms_status status;

	memset(ret_err, 0, sizeof(*ret_err));
	assert_non_null(op);
	status = vault_shred(op, reason, BASIS_OTHER, &done, ret_err);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static void nobody_shreds_a_vault_alone(void **state)
{
	struct t_person a, b, stranger;
	struct store_vault v;
	struct kms_err err;
	char id[GUID_TEXT_LEN + 1], text[128];
	uint8_t request[STORE_ID_LEN];

	(void)state;
	assert_int_equal(make(&(struct vault_create){ .name = "end", .retention_days = 7, .quorum = 2 }), KMS_OK);
	t_vault(&d, "end-not", false);
	stranger = t_person(&d, "end-not", "a", ROLE_ADMINISTRATOR);
	assert_int_equal(shred(NULL, "end", "", &err), KMS_E_APPROVAL);
	assert_non_null(strstr(kms_err_text(&err), "only 0 may approve"));
	assert_false(t_open_request(&d, "end", request));
	a = t_person(&d, "end", "a", ROLE_ADMINISTRATOR);
	b = t_person(&d, "end", "b", ROLE_APPROVER);
	assert_int_equal(shred(NULL, "end", "contract end", &err), KMS_E_APPROVAL);
	v = vault_of("end");
	guid_format(v.id, id);
	(void)snprintf(text, sizeof(text), "{\"act\":\"vault.shred\",\"parameters\":{\"basis\":\"other\"},\"requester\":\"uid:0\",\"target\":\"%s\"", id);
	request_says("end", text);
	assert_true(t_open_request(&d, "end", request));
	assert_int_equal(t_vote(&d, &stranger, "end-not", request, true, &err), KMS_E_NOTFOUND);
	vote(&a, "end");
	assert_int_equal(shred(NULL, "end", "contract end", &err), KMS_E_APPROVAL);
	vote(&b, "end");
	assert_int_equal(shred(NULL, "end-not", "contract end", &err), KMS_E_APPROVAL); /* another vault */
	assert_int_equal(vault_of("end").state, STORE_VAULT_ACTIVE);
	assert_true(t_object_exists(&d, v.root_id));
	assert_int_equal(shred(NULL, "end", "another reason", &err), KMS_OK);
	assert_int_equal(vault_of("end").state, STORE_VAULT_SHREDDED);
	assert_false(t_object_exists(&d, v.root_id));
	assert_int_equal(shred(NULL, "end", "", &err), KMS_E_CONFLICT);
}

static void a_shred_that_has_begun_is_repeated_without_approval(void **state)
{
	struct store_change c = { .kind = STORE_VAULT_SET_STATE };
	struct kms_err err;

	(void)state;
	t_vault(&d, "begun", false);
	c.vault = vault_of("begun");
	c.vault.state = STORE_VAULT_SHREDDING;
	t_change(&d, &c, 1);
	assert_int_equal(shred(NULL, "begun", "", &err), KMS_OK);
	assert_int_equal(vault_of("begun").state, STORE_VAULT_SHREDDED);
	assert_int_equal(update(NULL, "begun", &(struct vault_update){ .has_retention = true, .retention_days = 90 }, &err), KMS_E_VAULT_SHREDDED);
}

/* ---- purged ---- */

static kms_status purge(const struct t_person *who, const char *vault, const char *key, struct kms_err *ret_err)
{
	struct op *op = who != NULL ? t_op_as(&d, who, vault, EVENT_KEY_PURGE, 3600) : t_op(&d, vault, EVENT_KEY_PURGE);
	kms_status status;

	memset(ret_err, 0, sizeof(*ret_err));
	assert_non_null(op);
	status = keyring_purge(op, key, ret_err);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static void delete(const char *vault, const char *key)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_DELETE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_delete(op, key, &err)), KMS_OK);
	t_op_free(op);
}

static void a_purge_needs_as_many_approvals_as_the_policy_says(void **state)
{
	struct t_person a, b, officer;
	struct kms_err err;
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	assert_int_equal(make(&(struct vault_create){ .name = "purges", .retention_days = 7, .quorum = 1, .purge_approvals = 2 }), KMS_OK);
	a = t_person(&d, "purges", "a", ROLE_APPROVER);
	b = t_person(&d, "purges", "b", ROLE_APPROVER);
	officer = t_person(&d, "purges", "officer", ROLE_CRYPTO_OFFICER);
	t_key(&d, "purges", "k", KEY_OCT_HSM, obj);
	delete("purges", "k");
	assert_int_equal(purge(&officer, "purges", "k", &err), KMS_E_APPROVAL);
	request_says("purges", "\"name\":\"k\"},\"requester\"");
	vote(&a, "purges");
	assert_int_equal(purge(&officer, "purges", "k", &err), KMS_E_APPROVAL); /* the vault's quorum of one is for other acts */
	vote(&b, "purges");
	assert_true(t_object_exists(&d, obj));
	assert_int_equal(purge(&officer, "purges", "K", &err), KMS_OK); /* names are compared without case; the key is the same */
	assert_false(t_object_exists(&d, obj));

	/* A new key of the same name is another key. */
	t_key(&d, "purges", "k", KEY_OCT_HSM, obj);
	delete("purges", "k");
	assert_int_equal(purge(&officer, "purges", "k", &err), KMS_E_APPROVAL);

	/* Where the policy asks for none, none is needed, founded or not. */
	t_vault(&d, "purges-not", false);
	t_key(&d, "purges-not", "k", KEY_OCT_HSM, obj);
	delete("purges-not", "k");
	assert_int_equal(purge(NULL, "purges-not", "k", &err), KMS_OK);
}

static void an_approval_of_a_key_is_not_one_of_its_successor(void **state)
{
	struct t_person a;
	struct kms_err err;
	uint8_t obj[HSM_ID_LEN];
	struct op *op;

	(void)state;
	assert_int_equal(make(&(struct vault_create){ .name = "successor", .retention_days = 7, .purge_approvals = 1 }), KMS_OK);
	a = t_person(&d, "successor", "a", ROLE_APPROVER);
	t_key(&d, "successor", "k", KEY_OCT_HSM, obj);
	delete("successor", "k");
	assert_int_equal(purge(NULL, "successor", "k", &err), KMS_E_APPROVAL);
	vote(&a, "successor");
	/* The retention ends, the server purges the key, and somebody makes and deletes another one: what was approved is not that. */
	t_domain_pass(7 * 86400 - APPROVAL_LIFE_S / 2);
	assert_int_equal(purge(NULL, "successor", "k", &err), KMS_E_APPROVAL);
	vote(&a, "successor");
	t_domain_pass(APPROVAL_LIFE_S / 2);
	{
		size_t count = 0;
		assert_int_equal(keyring_purge_due(&d.kms, d.store->r, &count, &err), KMS_OK); /* needs no approval */
		assert_true(count >= 1);
	}
	assert_false(t_object_exists(&d, obj));
	t_key(&d, "successor", "k", KEY_OCT_HSM, obj);
	delete("successor", "k");
	assert_int_equal(purge(NULL, "successor", "k", &err), KMS_E_APPROVAL);
	assert_true(t_object_exists(&d, obj));
	/* One whose destruction has begun is finished without being asked for again. */
	op = t_op(&d, "successor", EVENT_KEY_GET);
	{
		struct store_change c = { .kind = STORE_KEY_SET_PURGING };
		assert_int_equal(store_key(d.store->r, op->vault.id, "k", &c.key, NULL), KMS_OK);
		t_change(&d, &c, 1);
	}
	t_op_free(op);
	assert_int_equal(purge(NULL, "successor", "k", &err), KMS_OK);
	assert_false(t_object_exists(&d, obj));
}

/* Deleted once and recovered, it is in use again: what was agreed to is that deletion's end, not the next one's. */
static void an_approval_of_a_purge_ends_with_the_recovery(void **state)
{
	struct t_person a, officer;
	struct kms_err err = { 0 };
	uint8_t obj[HSM_ID_LEN];
	struct op *op = NULL;

	(void)state;
	assert_int_equal(make(&(struct vault_create){ .name = "recovered", .retention_days = 7, .purge_approvals = 1 }), KMS_OK);
	a = t_person(&d, "recovered", "a", ROLE_APPROVER);
	officer = t_person(&d, "recovered", "officer", ROLE_CRYPTO_OFFICER);
	t_key(&d, "recovered", "k", KEY_OCT_HSM, obj);
	delete("recovered", "k");
	assert_int_equal(purge(&officer, "recovered", "k", &err), KMS_E_APPROVAL);
	vote(&a, "recovered");
	t_domain_pass(60);
	op = t_op(&d, "recovered", EVENT_KEY_RECOVER);
	assert_int_equal(t_op_finish(op, keyring_recover(op, "k", &err)), KMS_OK);
	t_op_free(op);
	t_domain_pass(3600);
	delete("recovered", "k");
	assert_int_equal(purge(&officer, "recovered", "k", &err), KMS_E_APPROVAL);
	assert_true(t_object_exists(&d, obj));
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_domain_close(&d);
	return secret_live() == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vault_begins_with_a_quorum_of_one_unless_more_is_asked_for),
		cmocka_unit_test(what_raises_protection_needs_nobody_else),
		cmocka_unit_test(what_is_no_policy_is_refused_and_nothing_changes),
		cmocka_unit_test(each_lowering_needs_approval_for_exactly_its_values),
		cmocka_unit_test(fewer_approvals_of_a_purge_are_agreed_to_by_as_many),
		cmocka_unit_test(an_approval_of_other_values_does_not_help),
		cmocka_unit_test(a_quorum_that_nobody_could_reach_is_refused),
		cmocka_unit_test(two_updates_at_once_do_not_undo_each_other),
		cmocka_unit_test(an_update_that_was_cut_short_did_not_happen),
		cmocka_unit_test(nobody_shreds_a_vault_alone),
		cmocka_unit_test(a_shred_that_has_begun_is_repeated_without_approval),
		cmocka_unit_test(a_purge_needs_as_many_approvals_as_the_policy_says),
		cmocka_unit_test(an_approval_of_a_key_is_not_one_of_its_successor),
		cmocka_unit_test(an_approval_of_a_purge_ends_with_the_recovery),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
