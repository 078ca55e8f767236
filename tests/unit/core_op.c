/* tests/unit/core_op.c - opening an operation: who it is, from where, with which duties; and the intent with what takes effect together with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "server/core/ekm.h"
#include "tests/support/access_rig.h"
#include "tests/support/ekm_rig.h"

#define UNKNOWN "AKV10032: Invalid issuer or principal: the token is not one of this directory's."

static struct t_domain d;

static int64_t now(void) { return clock_wall_s(d.kms.clock); }

/* What the caller is told, and whether the log will know him. */
static kms_status opened(const struct caller *who, const char *vault, const char **ret_message, bool *ret_is_known)
{
	static struct kms_err err;
	kms_status status;
	struct op *op = rig_open(&d, who, vault, EVENT_KEY_GET, &status, &err);

	if (ret_message != NULL)
		*ret_message = err.message;
	if (ret_is_known != NULL)
		*ret_is_known = op->write.event.actor != EVENT_ACTOR_NONE;
	t_op_free(op);
	return status;
}

static void is_noise(const struct caller *who, const char *vault, kms_status expected, const char *says)
{
	const char *message = NULL;
	bool is_known = true;
	kms_status status = opened(who, vault, &message, &is_known);

	if (status != expected || strcmp(message, says) != 0 || is_known)
		fail_msg("%s \"%s\"%s", kms_status_name(status), message, is_known ? ", and it is logged by name" : "");
}

static void set_networks(const char *vault, const char *text)
{
	struct store_change c = { .kind = STORE_NETWORKS_SET, .networks = { .text = text } };
	struct store_vault v;

	assert_int_equal(store_vault_by_name(d.store->r, vault, &v, NULL), KMS_OK);
	memcpy(c.networks.vault_id, v.id, STORE_ID_LEN);
	t_change(&d, &c, 1);
}

/* ---- who ---- */

static void a_caller_of_ours_is_of_the_directory_that_its_token_names(void **state)
{
	struct t_person p, other, inst, group;
	struct caller c;
	struct op *op = NULL;
	struct kms_err err;
	kms_status status;

	(void)state;
	t_vault(&d, "dir", false);
	t_vault(&d, "dir-b", false);
	p = t_person(&d, "dir", "app", ROLE_READER);
	other = t_person(&d, "dir-b", "app", ROLE_READER);
	inst = t_person(&d, NULL, "auditor", ROLE_AUDITOR);
	group = t_group(&d, "dir", "team", ROLE_READER);
	assert_int_equal(opened(&p.caller, "dir", NULL, NULL), KMS_OK);
	assert_int_equal(opened(&p.caller, NULL, NULL, NULL), KMS_OK); /* its own vault is meant */
	assert_int_equal(opened(&inst.caller, "dir", NULL, NULL), KMS_OK);
	assert_int_equal(opened(&inst.caller, NULL, NULL, NULL), KMS_OK);
	is_noise(&p.caller, "dir-b", KMS_E_UNAUTHENTICATED, UNKNOWN);
	op = rig_open(&d, &p.caller, "dir-b", EVENT_KEY_GET, &status, &err);
	assert_false(op->write.event.has_tenant); /* that vault's log does not speak of a stranger */
	assert_false(op->has_principal);
	t_op_free(op);
	c = p.caller;
	memcpy(c.directory, other.caller.directory, STORE_ID_LEN);
	is_noise(&c, "dir", KMS_E_UNAUTHENTICATED, UNKNOWN);
	is_noise(&c, "dir-b", KMS_E_UNAUTHENTICATED, UNKNOWN);
	is_noise(&c, NULL, KMS_E_UNAUTHENTICATED, UNKNOWN);
	memcpy(c.directory, d.kms.inst.directory, STORE_ID_LEN);
	is_noise(&c, "dir", KMS_E_UNAUTHENTICATED, UNKNOWN);
	c = inst.caller;
	memcpy(c.directory, p.caller.directory, STORE_ID_LEN);
	is_noise(&c, "dir", KMS_E_UNAUTHENTICATED, UNKNOWN);
	c = p.caller;
	c.principal_id[0] ^= 1;
	is_noise(&c, "dir", KMS_E_UNAUTHENTICATED, UNKNOWN);
	is_noise(&group.caller, "dir", KMS_E_UNAUTHENTICATED, UNKNOWN); /* a group is nobody */
	assert_int_equal(opened(&p.caller, "dir-none", NULL, NULL), KMS_E_NOTFOUND);
}

static void an_external_caller_is_who_the_vaults_directory_says(void **state)
{
	struct t_person p, inst, group;
	struct caller alice = rig_external("entra", "alice", NULL), carol = rig_external("entra", "carol", NULL);
	struct kms_err err;

	(void)state;
	t_vault(&d, "ext", false);
	t_vault(&d, "ext-b", false);
	is_noise(&alice, "ext", KMS_E_UNAUTHENTICATED, UNKNOWN);
	p = t_person(&d, "ext", "alice", ROLE_READER);
	inst = t_person(&d, NULL, "carol", ROLE_AUDITOR);
	group = t_group(&d, "ext", "team", ROLE_CRYPTO_USER);
	assert_int_equal(rig_identity(&d, &p, "entra", "alice", &err), KMS_OK);
	assert_int_equal(rig_identity(&d, &inst, "entra", "carol", &err), KMS_OK);
	assert_int_equal(rig_may(&d, &alice, "ext", PERM_KEY_READ, NULL, NULL), KMS_OK);
	is_noise(&alice, "ext-b", KMS_E_UNAUTHENTICATED, UNKNOWN);
	is_noise(&alice, NULL, KMS_E_UNAUTHENTICATED, UNKNOWN); /* without a vault, the installation's directory is meant */
	assert_int_equal(rig_may(&d, &carol, "ext", PERM_VAULT_READ, NULL, NULL), KMS_OK);
	assert_int_equal(rig_may(&d, &carol, "ext-b", PERM_VAULT_READ, NULL, NULL), KMS_OK);
	assert_int_equal(rig_may(&d, &carol, NULL, PERM_AUDIT_READ_ALL, NULL, NULL), KMS_OK);

	/* Nobody makes the installation's people somebody else in a vault. */
	assert_int_equal(rig_identity(&d, &p, "entra", "carol", &err), KMS_OK);
	assert_int_equal(rig_may(&d, &carol, "ext", PERM_VAULT_READ, NULL, NULL), KMS_OK);
	assert_int_equal(rig_may(&d, &carol, "ext", PERM_AUDIT_READ, NULL, NULL), KMS_OK);

	alice = rig_external("adfs", "alice", NULL); /* the same name at another issuer */
	is_noise(&alice, "ext", KMS_E_UNAUTHENTICATED, UNKNOWN);
	alice = rig_external("entra", "Alice", NULL);
	is_noise(&alice, "ext", KMS_E_UNAUTHENTICATED, UNKNOWN);
	/* A group's claim is no name that one could call with, nor does a token's own idea of an id count. */
	assert_int_equal(rig_identity(&d, &group, "entra", "group:team", &err), KMS_OK);
	alice = rig_external("entra", "group:team", NULL);
	is_noise(&alice, "ext", KMS_E_UNAUTHENTICATED, UNKNOWN);
	alice = rig_external("entra", "mallory", NULL);
	memcpy(alice.principal_id, p.id, STORE_ID_LEN);
	memcpy(alice.directory, p.caller.directory, STORE_ID_LEN);
	is_noise(&alice, "ext", KMS_E_UNAUTHENTICATED, UNKNOWN);

	alice = rig_external("entra", "alice", NULL);
	t_enable(&d, &p, false);
	is_noise(&alice, "ext", KMS_E_UNAUTHENTICATED, "AKV10046: The principal is disabled.");
}

static void what_a_vault_makes_of_a_claim_is_nothing_to_the_installations_people(void **state)
{
	static const char *const TEAM[] = { "team", NULL };
	struct t_person own, auditor, group;
	struct caller erin = rig_external("entra", "erin", TEAM), frank = rig_external("entra", "frank", TEAM);
	struct kms_err err;

	(void)state;
	t_vault(&d, "burden", false);
	own = t_newcomer(&d, "burden", "erin");
	auditor = t_person(&d, NULL, "frank", ROLE_AUDITOR);
	group = t_group(&d, "burden", "team", ROLE_CRYPTO_USER);
	assert_int_equal(rig_identity(&d, &own, "entra", "erin", &err), KMS_OK);
	assert_int_equal(rig_identity(&d, &auditor, "entra", "frank", &err), KMS_OK);
	assert_int_equal(rig_identity(&d, &group, "entra", "group:team", &err), KMS_OK);
	assert_int_equal(rig_may(&d, &erin, "burden", PERM_KEY_READ, NULL, NULL), KMS_OK);
	/* Both duties together would be refused. */
	assert_int_equal(rig_may(&d, &frank, "burden", PERM_AUDIT_READ, NULL, NULL), KMS_OK);
	assert_int_equal(rig_may(&d, &frank, "burden", PERM_VAULT_READ, NULL, NULL), KMS_OK);
	assert_int_equal(rig_may(&d, &frank, "burden", PERM_KEY_SIGN, NULL, NULL), KMS_E_FORBIDDEN);
	assert_int_equal(rig_may(&d, &frank, NULL, PERM_AUDIT_READ_ALL, NULL, NULL), KMS_OK);
}

static void an_identity_that_is_taken_away_withholds_what_is_under_way(void **state)
{
	struct t_person p;
	struct caller alice = rig_external("entra", "dora", NULL);
	struct store_credential list[STORE_CREDENTIALS_MAX];
	struct op *op = NULL, *removal = NULL;
	struct kms_err err;
	kms_status status;
	size_t count = 0;

	(void)state;
	t_vault(&d, "identity", false);
	p = t_newcomer(&d, "identity", "dora");
	t_role(&d, &p, ROLE_READER, true);
	assert_int_equal(rig_identity(&d, &p, "entra", "dora", &err), KMS_OK);
	op = rig_open(&d, &alice, "identity", EVENT_KEY_GET, &status, &err);
	assert_int_equal(status, KMS_OK);
	assert_int_equal(store_credentials(d.store->r, p.id, list, STORE_CREDENTIALS_MAX, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	removal = t_op(&d, "identity", EVENT_PRINCIPAL);
	assert_int_equal(t_op_finish(removal, credential_remove(removal, p.id, list[0].id, &err)), KMS_OK);
	assert_true(t_leaf_says(&d, removal->write.seq, "\"act\":\"credential_remove\""));
	assert_true(t_leaf_says(&d, removal->write.seq, "\"label\":\"entra dora\""));
	t_op_free(removal);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_FENCED);
	t_op_free(op);
	is_noise(&alice, "identity", KMS_E_UNAUTHENTICATED, UNKNOWN);
}

static void revoked_tokens_are_challenged_and_fresh_ones_work(void **state)
{
	struct t_person p;
	struct store_principal changed;
	struct caller c, external = rig_external("entra", "eve", NULL);
	struct op *op = NULL;
	struct kms_err err = { 0 };

	(void)state;
	t_vault(&d, "tokens", false);
	p = t_person(&d, "tokens", "app", ROLE_READER);
	assert_int_equal(rig_identity(&d, &p, "entra", "eve", &err), KMS_OK);
	c = p.caller;
	c.issued_s = external.issued_s = now();
	assert_int_equal(opened(&c, "tokens", NULL, NULL), KMS_OK);
	op = t_op(&d, "tokens", EVENT_PRINCIPAL);
	assert_int_equal(t_op_finish(op, principal_revoke_tokens(op, p.id, &changed, &err)), KMS_OK);
	assert_true(t_leaf_says(&d, op->write.seq, "\"act\":\"principal_revoke_tokens\""));
	t_op_free(op);
	assert_int_equal(changed.tokens_from_s, now() + 1); /* one of this very second may be older */
	is_noise(&c, "tokens", KMS_E_CLAIMS, kms_status_text(KMS_E_CLAIMS));
	is_noise(&external, "tokens", KMS_E_CLAIMS, kms_status_text(KMS_E_CLAIMS));
	c.issued_s = now() + 1;
	assert_int_equal(opened(&c, "tokens", NULL, NULL), KMS_OK);
	c.issued_s = 0; /* no token at all: a client certificate */
	c.auth = EVENT_AUTH_MTLS;
	assert_int_equal(opened(&c, "tokens", NULL, NULL), KMS_OK);
	/* Whoever is disabled would ask for fresh tokens for ever. */
	t_enable(&d, &p, false);
	c = p.caller;
	c.issued_s = now();
	is_noise(&c, "tokens", KMS_E_UNAUTHENTICATED, "AKV10046: The principal is disabled.");
}

static void pools_are_told_nothing_of_names_and_services_what_all_are_told(void **state)
{
	struct rig_pool pool;
	struct caller service;
	struct kms_err err;
	const char *message = NULL;

	(void)state;
	t_vault(&d, "mtls", false);
	pool = rig_pool(&d, "mtls", "hsm", "mtls.example");
	service = pool.caller;
	service.is_pool = false;
	assert_int_equal(rig_may(&d, &pool.caller, NULL, PERM_KEY_SIGN, NULL, &err), KMS_E_FORBIDDEN);
	assert_string_equal(err.message, "The pool is not authorized to perform the operation.");
	assert_int_equal(rig_may(&d, &service, NULL, PERM_KEY_SIGN, NULL, &err), KMS_E_FORBIDDEN);
	assert_non_null(strstr(err.message, "Action: 'Microsoft.KeyVault/vaults/keys/sign/action'"));
	pool.caller.principal_id[0] ^= 1;
	service.principal_id[0] ^= 1;
	is_noise(&pool.caller, NULL, KMS_E_UNAUTHENTICATED, "The client certificate is not one of a pool that is known here.");
	is_noise(&service, NULL, KMS_E_UNAUTHENTICATED, UNKNOWN);
	service.principal_id[0] ^= 1;
	pool.caller.principal_id[0] ^= 1;
	set_networks("mtls", "192.0.2.0/24");
	assert_int_equal(opened(&pool.caller, NULL, &message, NULL), KMS_E_FIREWALL);
	assert_null(strstr(message, "hsm"));
}

/* ---- from where ---- */

static void a_vault_lets_in_the_addresses_that_it_names(void **state)
{
	struct t_person p, nobody, auditor;
	struct caller c, stranger;
	struct op *op = NULL;
	struct kms_err err;
	kms_status status;
	const char *message = NULL;
	bool is_known = false;

	(void)state;
	t_vault(&d, "wall", false);
	p = t_person(&d, "wall", "app", ROLE_READER);
	nobody = t_newcomer(&d, "wall", "nobody");
	auditor = t_person(&d, NULL, "auditor", ROLE_AUDITOR);
	set_networks("wall", "10.1.0.0/16 2001:db8::/32");
	c = p.caller;
	(void)snprintf(c.peer, sizeof(c.peer), "10.1.2.3");
	assert_int_equal(opened(&c, "wall", NULL, NULL), KMS_OK);
	assert_int_equal(opened(&c, NULL, NULL, NULL), KMS_OK);
	(void)snprintf(c.peer, sizeof(c.peer), "2001:db8::1");
	assert_int_equal(opened(&c, "wall", NULL, NULL), KMS_OK);
	(void)snprintf(c.peer, sizeof(c.peer), "10.2.0.1");
	assert_int_equal(opened(&c, "wall", &message, &is_known), KMS_E_FIREWALL);
	assert_true(is_known);
	assert_non_null(strstr(message, "Client address: 10.2.0.1\r\n"));
	assert_int_equal(opened(&c, NULL, NULL, NULL), KMS_E_FIREWALL); /* its own vault, although it is not named */
	c.peer[0] = '\0'; /* no address, and not the local socket either: fail closed */
	assert_int_equal(opened(&c, "wall", NULL, NULL), KMS_E_FIREWALL);
	assert_int_equal(opened(&auditor.caller, "wall", NULL, NULL), KMS_E_FIREWALL);
	assert_int_equal(opened(&auditor.caller, NULL, NULL, NULL), KMS_OK);
	assert_int_equal(opened(NULL, "wall", NULL, NULL), KMS_OK); /* the local socket has none */
	/* Before it is asked what he may; after it was asked who he is. */
	assert_int_equal(opened(&nobody.caller, "wall", NULL, NULL), KMS_E_FIREWALL);
	stranger = p.caller;
	stranger.principal_id[0] ^= 1;
	is_noise(&stranger, "wall", KMS_E_UNAUTHENTICATED, UNKNOWN);

	/* A rule that comes while an answer is under way withholds it. */
	(void)snprintf(c.peer, sizeof(c.peer), "10.1.2.3");
	op = rig_open(&d, &c, "wall", EVENT_KEY_GET, &status, &err);
	assert_int_equal(status, KMS_OK);
	set_networks("wall", "192.0.2.1/32");
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_FENCED);
	t_op_free(op);
	set_networks("wall", "");
	assert_int_equal(opened(&p.caller, "wall", NULL, NULL), KMS_OK);
}

/* ---- duties ---- */

static void whoever_holds_two_duties_may_do_neither(void **state)
{
	struct t_person both, by_group, for_a_key, operator, group;
	struct store_change c = { .kind = STORE_ROLE_ADD };
	struct store_vault v;
	const char *message = NULL;
	bool is_known = false;

	(void)state;
	t_vault(&d, "duties", false);
	both = t_person(&d, "duties", "both", ROLE_AUDITOR);
	t_role(&d, &both, ROLE_CRYPTO_USER, true);
	assert_int_equal(opened(&both.caller, "duties", &message, &is_known), KMS_E_FORBIDDEN);
	assert_true(is_known);
	assert_non_null(strstr(message, "both holds duties that nobody may hold together: reading the event log"));
	by_group = t_person(&d, "duties", "by-group", ROLE_CRYPTO_USER);
	group = t_group(&d, "duties", "auditors", ROLE_AUDITOR);
	assert_int_equal(opened(&by_group.caller, "duties", NULL, NULL), KMS_OK);
	t_member(&d, &group, &by_group, true);
	assert_int_equal(opened(&by_group.caller, "duties", NULL, NULL), KMS_E_FORBIDDEN);
	for_a_key = t_person(&d, "duties", "for-a-key", ROLE_AUDITOR);
	memcpy(c.assignment.principal_id, for_a_key.id, STORE_ID_LEN);
	assert_int_equal(store_vault_by_name(d.store->r, "duties", &v, NULL), KMS_OK);
	memcpy(c.assignment.vault_id, v.id, STORE_ID_LEN);
	c.assignment.role = ROLE_CRYPTO_SERVICE;
	c.assignment.expires_s = now() + 30;
	(void)snprintf(c.assignment.key_name, sizeof(c.assignment.key_name), "one");
	t_change(&d, &c, 1);
	assert_int_equal(opened(&for_a_key.caller, "duties", NULL, NULL), KMS_E_FORBIDDEN);
	t_domain_pass(30);
	assert_int_equal(opened(&for_a_key.caller, "duties", NULL, NULL), KMS_OK); /* what has ended is no duty */
	operator = t_person(&d, NULL, "operator", ROLE_OPERATOR);
	assert_int_equal(opened(&operator.caller, NULL, NULL, NULL), KMS_OK);
	t_role(&d, &operator, ROLE_APPROVER, true);
	assert_int_equal(opened(&operator.caller, NULL, &message, NULL), KMS_E_FORBIDDEN);
	assert_non_null(strstr(message, "operating the installation"));
	assert_int_equal(opened(NULL, "duties", NULL, NULL), KMS_OK); /* the local socket may all, and is not asked */
}

static void the_refusal_names_caller_action_and_resource(void **state)
{
	struct t_person p;
	struct kms_err err;
	char id[GUID_TEXT_LEN + 1], expected[256];

	(void)state;
	t_vault(&d, "message", false);
	p = t_newcomer(&d, "message", "app");
	guid_format(p.id, id);
	assert_int_equal(rig_may(&d, &p.caller, "message", PERM_KEY_WRAP, "Master", &err), KMS_E_FORBIDDEN);
	(void)snprintf(expected, sizeof(expected), "Caller: appid=%s;oid=%s;name=app\r\n", id, id);
	assert_non_null(strstr(err.message, expected));
	assert_non_null(strstr(err.message, "Action: 'Microsoft.KeyVault/vaults/keys/wrap/action'\r\nResource: 'message/keys/Master'\r\n"));
	assert_int_equal(rig_may(&d, &p.caller, "message", PERM_VAULT_WRITE, NULL, &err), KMS_E_FORBIDDEN);
	assert_non_null(strstr(err.message, "Action: 'Holdfast/vaults/write'\r\nResource: 'message'\r\n"));
}

/* ---- the intent ---- */

static size_t open_intents(void)
{
	struct store_intent page[8];
	size_t count = 0;

	assert_int_equal(store_intents(d.store->r, UINT64_MAX, page, 8, &count, NULL), KMS_OK);
	return count;
}

static void what_takes_effect_with_the_intent_is_written_with_it_or_neither_is(void **state)
{
	struct store_intent intent = { 0 };
	struct store_change also = { .kind = STORE_META_PUT, .meta = { .name = "also", .value = "x", .value_len = 1 } };
	struct store_change *with = NULL;
	struct store_meta meta;
	struct op *op = t_op(&d, NULL, EVENT_PRINCIPAL);
	struct kms_err err = { 0 };

	(void)state;
	with = op_with_intent(op);
	with->kind = STORE_META_PUT;
	with->meta = (struct store_meta){ .name = "with", .value = "y", .value_len = 1 };
	assert_int_equal(op_intend(op, &also, &intent, &err), KMS_OK);
	assert_int_equal(store_meta(d.store->r, "also", &meta, NULL), KMS_OK);
	assert_int_equal(store_meta(d.store->r, "with", &meta, NULL), KMS_OK);
	assert_int_equal(open_intents(), 1);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	t_op_free(op);

	op = t_op(&d, NULL, EVENT_PRINCIPAL);
	with = op_with_intent(op);
	with->kind = STORE_MEMBER_REMOVE; /* there is none */
	(void)snprintf(also.meta.name, sizeof(also.meta.name), "never");
	assert_int_equal(op_intend(op, &also, &intent, &err), KMS_E_NOTFOUND);
	assert_false(op->has_intent);
	assert_int_equal(store_meta(d.store->r, "never", &meta, NULL), KMS_E_NOTFOUND);
	assert_int_equal(open_intents(), 0);
	t_op_free(op);
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
		cmocka_unit_test(a_caller_of_ours_is_of_the_directory_that_its_token_names),
		cmocka_unit_test(an_external_caller_is_who_the_vaults_directory_says),
		cmocka_unit_test(what_a_vault_makes_of_a_claim_is_nothing_to_the_installations_people),
		cmocka_unit_test(an_identity_that_is_taken_away_withholds_what_is_under_way),
		cmocka_unit_test(revoked_tokens_are_challenged_and_fresh_ones_work),
		cmocka_unit_test(pools_are_told_nothing_of_names_and_services_what_all_are_told),
		cmocka_unit_test(a_vault_lets_in_the_addresses_that_it_names),
		cmocka_unit_test(whoever_holds_two_duties_may_do_neither),
		cmocka_unit_test(the_refusal_names_caller_action_and_resource),
		cmocka_unit_test(what_takes_effect_with_the_intent_is_written_with_it_or_neither_is),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
