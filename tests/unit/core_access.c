/* tests/unit/core_access.c - what a principal may do, whichever way it comes by it; and that the explanation is the decision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "tests/support/access_rig.h"

static struct t_domain d;

#define KEY_ACTION "Microsoft.KeyVault/vaults/keys/"

static int64_t now(void) { return clock_wall_s(d.kms.clock); }

static kms_status may(const struct t_person *p, enum permission perm, const char *key)
{
	return rig_may(&d, &p->caller, p->vault[0] != '\0' ? p->vault : NULL, perm, key, NULL);
}

static void grant(const struct t_person *p, const struct rig_grant *g)
{
	struct rig_grant here = *g;
	struct kms_err err;

	here.vault = p->vault;
	if (rig_role(&d, NULL, p->id, &here, true, &err) != KMS_OK)
		fail_msg("%s: %s %s", kms_status_name(err.status), err.message, err.detail);
}

static void join(const struct t_person *group, const struct t_person *member)
{
	struct kms_err err;

	if (rig_member(&d, NULL, group, member, true, &err) != KMS_OK)
		fail_msg("%s: %s %s", kms_status_name(err.status), err.message, err.detail);
}

static void leave(const struct t_person *group, const struct t_person *member)
{
	struct kms_err err;
	assert_int_equal(rig_member(&d, NULL, group, member, false, &err), KMS_OK);
}

/* An operation under way with permission to sign; its result is not written yet. */
static struct op *under_way(const struct caller *who, const char *vault)
{
	struct kms_err err;
	kms_status status;
	struct op *op = rig_open(&d, who, vault, EVENT_KEY_SIGN, &status, &err);

	assert_int_equal(status, KMS_OK);
	assert_int_equal(op_authorise(op, PERM_KEY_SIGN, "k", &err), KMS_OK);
	return op;
}

static void is_withheld(struct op *op)
{
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_FENCED);
	t_op_free(op);
}

/* ---- roles ---- */

static void nothing_is_allowed_that_was_not_granted(void **state)
{
	struct t_person p, officer;

	(void)state;
	t_vault(&d, "deny", false);
	p = t_person(&d, "deny", "nobody", (enum role)0);
	officer = t_person(&d, "deny", "officer", ROLE_CRYPTO_OFFICER);
	for (int perm = PERM_PUBLIC + 1; perm < PERM_COUNT; perm++) {
		bool holds = (role_info(ROLE_CRYPTO_OFFICER)->permissions & PERM_BIT(perm)) != 0;
		assert_int_equal(may(&p, (enum permission)perm, NULL), KMS_E_FORBIDDEN);
		assert_int_equal(may(&p, (enum permission)perm, "k"), KMS_E_FORBIDDEN);
		assert_int_equal(may(&officer, (enum permission)perm, NULL), holds ? KMS_OK : KMS_E_FORBIDDEN);
	}
}

static void a_role_for_one_key_counts_for_that_key_alone(void **state)
{
	struct t_person p;
	struct kms_err err;

	(void)state;
	t_vault(&d, "scope", false);
	p = t_person(&d, "scope", "app", (enum role)0);
	grant(&p, &(struct rig_grant){ .role = ROLE_CRYPTO_USER, .key = "Master" });
	assert_int_equal(may(&p, PERM_KEY_SIGN, "Master"), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_SIGN, "mASTER"), KMS_OK); /* key names have no case */
	assert_int_equal(may(&p, PERM_KEY_SIGN, "Master2"), KMS_E_FORBIDDEN);
	assert_int_equal(may(&p, PERM_KEY_SIGN, "Maste"), KMS_E_FORBIDDEN);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_E_FORBIDDEN); /* the whole vault: listing, say */
	assert_int_equal(may(&p, PERM_KEY_SIGN, ""), KMS_E_FORBIDDEN);
	assert_int_equal(may(&p, PERM_KEY_DELETE, "Master"), KMS_E_FORBIDDEN);

	/* Nor does it give what is asked without a key's name, if somebody asked with one. */
	grant(&p, &(struct rig_grant){ .role = ROLE_CRYPTO_OFFICER, .key = "other" });
	assert_int_equal(may(&p, PERM_KEY_DELETE, "other"), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_RANDOM, "other"), KMS_E_FORBIDDEN);
	assert_int_equal(may(&p, PERM_KEY_RESTORE, "other"), KMS_E_FORBIDDEN);

	/* Two roles for one key are one set, whatever case they were granted in. */
	grant(&p, &(struct rig_grant){ .role = ROLE_RELEASE, .key = "MASTER" });
	assert_int_equal(may(&p, PERM_KEY_RELEASE, "master"), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_SIGN, "master"), KMS_OK);
	assert_int_equal(rig_role(&d, NULL, p.id, &(struct rig_grant){ .vault = "scope", .role = ROLE_CRYPTO_USER, .key = "MASTER" }, false, &err), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_SIGN, "master"), KMS_E_FORBIDDEN);
	assert_int_equal(may(&p, PERM_KEY_RELEASE, "master"), KMS_OK);
}

/* Whoever may give roles for keys must not be able to lock out those who manage the vault. */
static void roles_for_many_keys_take_nothing_away(void **state)
{
	struct t_person p;
	struct t_person group;
	struct kms_err err;

	(void)state;
	t_vault(&d, "limit", false);
	p = t_person(&d, "limit", "app", (enum role)0);
	group = t_group(&d, "limit", "team", (enum role)0);
	join(&group, &p);
	for (int i = 0; i < ACCESS_ROLES_MAX; i++) {
		char key[16];
		(void)snprintf(key, sizeof(key), "k%d", i);
		grant(&p, &(struct rig_grant){ .role = ROLE_CRYPTO_USER, .key = key });
	}
	assert_int_equal(may(&p, PERM_KEY_SIGN, "k0"), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_SIGN, "k63"), KMS_OK);
	assert_int_equal(rig_role(&d, NULL, p.id, &(struct rig_grant){ .vault = "limit", .role = ROLE_READER }, true, &err), KMS_E_CONFLICT);
	grant(&group, &(struct rig_grant){ .role = ROLE_CRYPTO_USER, .key = "one-more" });
	assert_int_equal(may(&p, PERM_KEY_SIGN, "k0"), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_SIGN, "one-more"), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_SIGN, "none"), KMS_E_FORBIDDEN);
}

static void a_role_ends_when_its_time_has_come(void **state)
{
	struct t_person p;
	struct rig_grant g = { .vault = "time", .role = ROLE_CRYPTO_USER };
	struct kms_err err;

	(void)state;
	t_vault(&d, "time", false);
	p = t_person(&d, "time", "app", (enum role)0);
	g.until_s = now();
	assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_E_INVALID);
	g.until_s = now() + 60;
	assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_OK);
	assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_E_CONFLICT); /* it has it */
	t_domain_pass(59);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_OK);
	t_domain_pass(1);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_E_FORBIDDEN);
	/* What has ended does not stand in the way of a new grant. */
	g.until_s = 0;
	assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_OK);
}

/* ---- groups ---- */

static void a_group_gives_what_it_has_to_its_members_and_theirs(void **state)
{
	struct t_person p, inner, middle, outer;

	(void)state;
	t_vault(&d, "nest", false);
	p = t_person(&d, "nest", "app", (enum role)0);
	inner = t_group(&d, "nest", "inner", (enum role)0);
	middle = t_group(&d, "nest", "middle", ROLE_READER);
	outer = t_group(&d, "nest", "outer", ROLE_CRYPTO_USER);
	join(&inner, &p);
	join(&middle, &inner);
	join(&outer, &middle);
	join(&outer, &inner); /* the same group by two ways */
	assert_int_equal(may(&p, PERM_VAULT_READ, NULL), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_OK);
	leave(&outer, &middle);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_OK);
	leave(&outer, &inner);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_E_FORBIDDEN);
	assert_int_equal(may(&p, PERM_VAULT_READ, NULL), KMS_OK);
	leave(&inner, &p);
	assert_int_equal(may(&p, PERM_VAULT_READ, NULL), KMS_E_FORBIDDEN);
}

static void a_disabled_group_gives_nothing_and_leads_nowhere(void **state)
{
	struct t_person p, inner, outer;

	(void)state;
	t_vault(&d, "off", false);
	p = t_person(&d, "off", "app", (enum role)0);
	inner = t_group(&d, "off", "inner", ROLE_READER);
	outer = t_group(&d, "off", "outer", ROLE_CRYPTO_USER);
	join(&inner, &p);
	join(&outer, &inner);
	t_enable(&d, &inner, false);
	assert_int_equal(may(&p, PERM_VAULT_READ, NULL), KMS_E_FORBIDDEN);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_E_FORBIDDEN);
	t_enable(&d, &inner, true);
	t_enable(&d, &outer, false);
	assert_int_equal(may(&p, PERM_VAULT_READ, NULL), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_E_FORBIDDEN);
}

static void groups_in_a_circle_are_each_visited_once(void **state)
{
	struct t_person p, a, b;
	struct kms_err err;

	(void)state;
	t_vault(&d, "circle", false);
	p = t_person(&d, "circle", "app", (enum role)0);
	a = t_group(&d, "circle", "a", ROLE_CRYPTO_USER);
	b = t_group(&d, "circle", "b", (enum role)0);
	join(&a, &b);
	assert_int_equal(rig_member(&d, NULL, &b, &a, true, &err), KMS_E_CONFLICT);
	assert_non_null(strstr(err.message, "itself"));
	assert_int_equal(rig_member(&d, NULL, &a, &a, true, &err), KMS_E_CONFLICT);
	t_member(&d, &b, &a, true); /* past every check: two that were made at the same time */
	t_member(&d, &b, &p, true);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_OK);
	assert_int_equal(may(&p, PERM_KEY_DELETE, NULL), KMS_E_FORBIDDEN);
}

static void a_group_of_the_same_name_in_another_vault_never_counts(void **state)
{
	struct t_person p, ours, theirs;
	struct store_change change = { .kind = STORE_MEMBER_ADD };
	struct kms_err err;

	(void)state;
	t_vault(&d, "ours", false);
	t_vault(&d, "theirs", false);
	p = t_person(&d, "ours", "app", (enum role)0);
	ours = t_group(&d, "ours", "admins", (enum role)0);
	theirs = t_group(&d, "theirs", "admins", ROLE_CRYPTO_OFFICER);
	join(&ours, &p);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_E_FORBIDDEN);
	assert_int_equal(rig_may(&d, &p.caller, "theirs", PERM_KEY_SIGN, NULL, NULL), KMS_E_UNAUTHENTICATED);
	assert_int_equal(rig_member(&d, NULL, &theirs, &p, true, &err), KMS_E_NOTFOUND);
	memcpy(change.member.group_id, theirs.id, STORE_ID_LEN);
	memcpy(change.member.member_id, p.id, STORE_ID_LEN);
	assert_int_equal(writer_write(d.kms.writer, &(struct write){ .event = { .type = EVENT_PRINCIPAL }, .changes = &change, .change_count = 1 }),
	                 KMS_E_FENCED); /* nor does the store take it */
}

static void too_many_groups_give_nothing_instead_of_something(void **state)
{
	struct t_person p, groups[ACCESS_GROUPS_MAX + 1];
	struct kms_err err;

	(void)state;
	t_vault(&d, "many", false);
	p = t_person(&d, "many", "app", ROLE_READER);
	for (int i = 0; i <= ACCESS_GROUPS_MAX; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "g%d", i);
		groups[i] = t_group(&d, "many", name, (enum role)0);
		if (i < ACCESS_GROUPS_MAX)
			t_member(&d, &groups[i], &p, true);
	}
	assert_int_equal(may(&p, PERM_KEY_READ, NULL), KMS_OK);
	assert_int_equal(rig_member(&d, NULL, &groups[ACCESS_GROUPS_MAX], &p, true, &err), KMS_E_CONFLICT);
	/* Nor by a group that one of its own groups would come to be in. */
	assert_int_equal(rig_member(&d, NULL, &groups[ACCESS_GROUPS_MAX], &groups[0], true, &err), KMS_E_CONFLICT);
	t_member(&d, &groups[ACCESS_GROUPS_MAX], &groups[0], true);
	assert_int_equal(rig_may(&d, &p.caller, "many", PERM_KEY_READ, NULL, &err), KMS_E_FORBIDDEN);
	assert_non_null(strstr(err.message, "groups"));
	assert_int_equal(may(&p, PERM_KEY_READ, NULL), KMS_E_FORBIDDEN);
}

/* ---- custom roles ---- */

static void a_vaults_own_role_gives_what_it_names_and_nothing_else(void **state)
{
	struct t_person p;
	struct store_role role = { 0 };
	struct kms_err err;
	uint32_t number = 0;

	(void)state;
	t_vault(&d, "custom", false);
	p = t_person(&d, "custom", "app", (enum role)0);
	assert_int_equal(rig_define(&d, NULL, "custom", "Signer", KEY_ACTION "SIGN/action " KEY_ACTION "read", NULL, &err), KMS_OK);
	number = rig_role_number(&d, "custom", "sIGNER");
	assert_true(number >= STORE_CUSTOM_ROLE);
	assert_int_equal(store_custom_role(d.store->r, number, &role, NULL), KMS_OK);
	assert_string_equal(role.actions, KEY_ACTION "read " KEY_ACTION "sign/action");
	store_role_clear(&role);
	grant(&p, &(struct rig_grant){ .role = number });
	for (int perm = PERM_PUBLIC + 1; perm < PERM_COUNT; perm++)
		assert_int_equal(may(&p, (enum permission)perm, NULL), perm == PERM_KEY_SIGN || perm == PERM_KEY_READ ? KMS_OK : KMS_E_FORBIDDEN);
}

static void a_role_of_another_vault_is_none(void **state)
{
	struct t_person p;
	struct store_change change = { .kind = STORE_ROLE_ADD };
	struct store_vault v;
	struct kms_err err;
	uint32_t number = 0;

	(void)state;
	t_vault(&d, "home", false);
	t_vault(&d, "abroad", false);
	p = t_person(&d, "home", "app", (enum role)0);
	assert_int_equal(rig_define(&d, NULL, "abroad", "Signer", KEY_ACTION "*", NULL, &err), KMS_OK);
	number = rig_role_number(&d, "abroad", "Signer");
	assert_int_equal(rig_role(&d, NULL, p.id, &(struct rig_grant){ .vault = "home", .role = number }, true, &err), KMS_E_INVALID);
	assert_int_equal(store_vault_by_name(d.store->r, "home", &v, NULL), KMS_OK);
	memcpy(change.assignment.principal_id, p.id, STORE_ID_LEN);
	memcpy(change.assignment.vault_id, v.id, STORE_ID_LEN);
	change.assignment.role = number;
	change.assignment.expires_s = STORE_NO_TIME;
	assert_int_equal(writer_write(d.kms.writer, &(struct write){ .event = { .type = EVENT_PRINCIPAL }, .changes = &change, .change_count = 1 }),
	                 KMS_E_FENCED);
	assert_int_equal(may(&p, PERM_KEY_SIGN, NULL), KMS_E_FORBIDDEN);
}

static void actions_of_a_role_are_checked(void **state)
{
	static const struct {
		const char *actions;
		const char *says; /* NULL = good */
	} CASES[] = {
		{ KEY_ACTION "*", NULL },
		{ KEY_ACTION "Wrap/*", NULL },
		{ "Microsoft.KeyVault/vaults/*", NULL },
		{ "Microsoft.KeyVault/vaults/keyrotationpolicies/*", NULL },
		{ "Holdfast/vaults/keys/*", NULL },
		{ "Holdfast/vaults/ekm/* Holdfast/vaults/read Holdfast/vaults/principals/read Holdfast/vaults/approvals/read Holdfast/vaults/audit/read", NULL },
		{ "*", "Holdfast/vaults/list" },
		{ "Holdfast/*", "Holdfast/vaults/list" },
		{ "Holdfast/vaults/principals/*", "Holdfast/vaults/principals/write" },
		{ "Holdfast/vaults/administrators/write", "no custom role may hold" },
		{ "Holdfast/vaults/roleAssignments/write", "no custom role may hold" },
		{ "Holdfast/vaults/approvals/write", "no custom role may hold" },
		{ "Holdfast/vaults/write", "no custom role may hold" },
		{ "Holdfast/vaults/shred/action", "no custom role may hold" },
		{ "Holdfast/write", "no custom role may hold" },
		{ "Holdfast/audit/read", "no custom role may hold" },
		{ KEY_ACTION "read Holdfast/roleAssignments/write", "no custom role may hold" },
		{ KEY_ACTION "fly/action", "is no data action" },
		{ KEY_ACTION "*/action", "is no data action" },
		{ "**", "is no data action" },
		{ KEY_ACTION "sign", "is no data action" },
		{ "", "is no data action" },
	};
	uint64_t permissions = 0;

	(void)state;
	t_vault(&d, "actions", false);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct kms_err err;
		char name[16];
		kms_status status;

		(void)snprintf(name, sizeof(name), "role %zu", i);
		status = rig_define(&d, NULL, "actions", name, CASES[i].actions, NULL, &err);
		if (status != (CASES[i].says == NULL ? KMS_OK : KMS_E_INVALID) || (CASES[i].says != NULL && strstr(err.message, CASES[i].says) == NULL))
			fail_msg("'%s': %s \"%s\"", CASES[i].actions, kms_status_name(status), err.message);
	}
	assert_int_equal(access_parse_actions((const char *const[]){ KEY_ACTION "*" }, 1, &permissions, NULL), KMS_OK);
	assert_int_equal(permissions, role_info(ROLE_CRYPTO_OFFICER)->permissions & ~(PERM_BIT(PERM_ROTATION_READ) | PERM_BIT(PERM_ROTATION_WRITE)));
	assert_int_equal(access_parse_actions((const char *const[]){ "" }, 0, &permissions, NULL), KMS_E_INVALID);
}

static void names_of_roles_are_checked_and_taken_once(void **state)
{
	static const char *const BAD[] = { "", " x", "x ", "a/b", "administrator", "KEY vault READER", "00482a5a-887f-4fb3-b363-3b7fe8e74483",
		                           "11111111-2222-3333-4444-555555555555",
		                           "12345678901234567890123456789012345678901234567890123456789012345" };
	struct t_person p;
	struct op *op = NULL;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];
	char text[GUID_TEXT_LEN + 1];
	uint32_t number = 0, again = 0;

	(void)state;
	t_vault(&d, "names", false);
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		assert_int_equal(rig_define(&d, NULL, "names", BAD[i], KEY_ACTION "read", NULL, &err), KMS_E_INVALID);
	assert_int_equal(rig_define(&d, NULL, "names", "Key Looker_1.0", KEY_ACTION "read", id, &err), KMS_OK);
	assert_int_equal(rig_define(&d, NULL, "names", "KEY LOOKER_1.0", KEY_ACTION "read", NULL, &err), KMS_E_CONFLICT);
	guid_format(id, text);
	number = rig_role_number(&d, "names", text);
	assert_int_equal(number, rig_role_number(&d, "names", "key looker_1.0"));
	assert_int_equal(rig_role_number(&d, "names", "reader"), ROLE_READER);

	/* Not while somebody holds it; the number is never used again. */
	p = t_person(&d, "names", "app", (enum role)0);
	grant(&p, &(struct rig_grant){ .role = number });
	op = t_op(&d, "names", EVENT_PRINCIPAL);
	assert_int_equal(role_drop(op, id, &err), KMS_OK);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_CONFLICT);
	assert_int_equal(t_op_finish(op, KMS_E_CONFLICT), KMS_OK);
	t_op_free(op);
	assert_int_equal(rig_role(&d, NULL, p.id, &(struct rig_grant){ .vault = "names", .role = number }, false, &err), KMS_OK);
	op = t_op(&d, "names", EVENT_PRINCIPAL);
	assert_int_equal(t_op_finish(op, role_drop(op, id, &err)), KMS_OK);
	t_op_free(op);
	op = t_op(&d, "names", EVENT_PRINCIPAL);
	assert_int_equal(role_drop(op, id, &err), KMS_E_NOTFOUND);
	assert_int_equal(role_find(op, "Key Looker_1.0", &again, NULL), KMS_E_NOTFOUND);
	t_op_free(op);
	assert_int_equal(rig_define(&d, NULL, "names", "Key Looker_1.0", KEY_ACTION "read", NULL, &err), KMS_OK);
	assert_true(rig_role_number(&d, "names", "Key Looker_1.0") > number);
}

/* ---- claims ---- */

static void groups_of_a_token_count_where_they_are_entered_and_nowhere_else(void **state)
{
	static const char *const CLAIMED[] = { "crypto-team", "nobody-knows", NULL };
	struct t_person p, group, outer, other;
	struct caller token = rig_external("entra", "alice", CLAIMED), role_token;
	struct op *op = NULL;
	struct store_credential list[STORE_CREDENTIALS_MAX];
	struct kms_err err;
	size_t count = 0;

	(void)state;
	t_vault(&d, "claims", false);
	t_vault(&d, "claims-b", false);
	p = t_person(&d, "claims", "alice", (enum role)0);
	group = t_group(&d, "claims", "team", ROLE_CRYPTO_USER);
	outer = t_group(&d, "claims", "readers", ROLE_READER);
	other = t_group(&d, "claims-b", "team", ROLE_CRYPTO_OFFICER);
	join(&outer, &group);
	assert_int_equal(rig_identity(&d, &p, "entra", "alice", &err), KMS_OK);
	assert_int_equal(rig_may(&d, &token, "claims", PERM_KEY_SIGN, NULL, NULL), KMS_E_FORBIDDEN);
	assert_int_equal(rig_identity(&d, &other, "entra", "group:crypto-team", &err), KMS_OK);
	assert_int_equal(rig_may(&d, &token, "claims", PERM_KEY_SIGN, NULL, NULL), KMS_E_FORBIDDEN); /* another vault's */
	assert_int_equal(rig_identity(&d, &group, "adfs", "group:crypto-team", &err), KMS_OK);
	assert_int_equal(rig_may(&d, &token, "claims", PERM_KEY_SIGN, NULL, NULL), KMS_E_FORBIDDEN); /* another issuer's */
	assert_int_equal(rig_identity(&d, &group, "entra", "role:crypto-team", &err), KMS_OK);
	assert_int_equal(rig_may(&d, &token, "claims", PERM_KEY_SIGN, NULL, NULL), KMS_E_FORBIDDEN); /* a role of that name */
	assert_int_equal(rig_identity(&d, &group, "entra", "group:crypto-team", &err), KMS_OK);
	assert_int_equal(rig_may(&d, &token, "claims", PERM_KEY_SIGN, NULL, NULL), KMS_OK);
	assert_int_equal(rig_may(&d, &token, "claims", PERM_VAULT_READ, NULL, NULL), KMS_OK); /* and of the groups above it */
	assert_int_equal(rig_may(&d, &token, "claims-b", PERM_KEY_SIGN, NULL, NULL), KMS_E_UNAUTHENTICATED); /* alice is nobody there */
	assert_int_equal(rig_may(&d, &p.caller, "claims", PERM_KEY_SIGN, NULL, NULL), KMS_E_FORBIDDEN); /* a token of ours names no groups */

	role_token = rig_external("entra", "alice", NULL);
	access_claim("entra", "role", "crypto-team", role_token.groups[role_token.group_count++]);
	assert_int_equal(rig_may(&d, &role_token, "claims", PERM_KEY_SIGN, NULL, NULL), KMS_OK);

	/* A claim that stops counting withholds what is under way. */
	op = under_way(&token, "claims");
	assert_int_equal(store_credentials(d.store->r, group.id, list, STORE_CREDENTIALS_MAX, &count, NULL), KMS_OK);
	assert_int_equal(count, 3);
	for (size_t i = 0; i < count; i++) {
		struct op *removal = t_op(&d, "claims", EVENT_PRINCIPAL);
		assert_int_equal(t_op_finish(removal, credential_remove(removal, group.id, list[i].id, &err)), KMS_OK);
		t_op_free(removal);
		store_credential_clear(&list[i]);
	}
	is_withheld(op);
	assert_int_equal(rig_may(&d, &token, "claims", PERM_KEY_SIGN, NULL, NULL), KMS_E_FORBIDDEN);
}

static void a_claimed_group_that_is_disabled_gives_nothing(void **state)
{
	static const char *const CLAIMED[] = { "team", NULL };
	struct t_person p, group;
	struct caller token = rig_external("entra", "bob", CLAIMED);
	struct kms_err err;

	(void)state;
	t_vault(&d, "claims-off", false);
	p = t_person(&d, "claims-off", "bob", (enum role)0);
	group = t_group(&d, "claims-off", "team", ROLE_CRYPTO_USER);
	assert_int_equal(rig_identity(&d, &p, "entra", "bob", &err), KMS_OK);
	assert_int_equal(rig_identity(&d, &group, "entra", "group:team", &err), KMS_OK);
	assert_int_equal(rig_may(&d, &token, "claims-off", PERM_KEY_SIGN, NULL, NULL), KMS_OK);
	t_enable(&d, &group, false);
	assert_int_equal(rig_may(&d, &token, "claims-off", PERM_KEY_SIGN, NULL, NULL), KMS_E_FORBIDDEN);
}

/* ---- the fence ---- */

enum removal { ROLE_OF_CALLER, ROLE_OF_GROUP, MEMBERSHIP, OUTER_MEMBERSHIP, GROUP_OFF, CALLER_OFF, TOKENS, REMOVALS };

static void take_away(enum removal how, const struct t_person *p, const struct t_person *group, const struct t_person *outer)
{
	const struct rig_grant user = { .vault = p->vault, .role = ROLE_CRYPTO_USER };
	struct op *op = how >= GROUP_OFF ? t_op(&d, p->vault, EVENT_PRINCIPAL) : NULL;
	struct store_principal changed;
	struct kms_err err = { 0 };

	switch (how) {
	case ROLE_OF_CALLER: assert_int_equal(rig_role(&d, NULL, p->id, &user, false, &err), KMS_OK); break;
	case ROLE_OF_GROUP: assert_int_equal(rig_role(&d, NULL, outer->id, &user, false, &err), KMS_OK); break;
	case MEMBERSHIP: leave(group, p); break;
	case OUTER_MEMBERSHIP: leave(outer, group); break;
	case GROUP_OFF: assert_int_equal(t_op_finish(op, principal_enable(op, group->id, false, &changed, &err)), KMS_OK); break;
	case CALLER_OFF: assert_int_equal(t_op_finish(op, principal_enable(op, p->id, false, &changed, &err)), KMS_OK); break;
	case TOKENS: assert_int_equal(t_op_finish(op, principal_revoke_tokens(op, p->id, &changed, &err)), KMS_OK); break;
	case REMOVALS: fail();
	}
	if (op != NULL)
		t_op_free(op);
}

static void no_result_follows_a_removal_whichever_way_it_came(void **state)
{
	(void)state;
	for (enum removal how = ROLE_OF_CALLER; how < REMOVALS; how++) {
		struct t_person p, group, outer;
		struct op *op = NULL;
		char vault[24];

		(void)snprintf(vault, sizeof(vault), "fence-%u", (unsigned)how);
		t_vault(&d, vault, false);
		p = t_person(&d, vault, "app", how == ROLE_OF_CALLER || how >= CALLER_OFF ? ROLE_CRYPTO_USER : (enum role)0);
		p.caller.issued_s = now();
		group = t_group(&d, vault, "group", (enum role)0);
		outer = t_group(&d, vault, "outer", how != ROLE_OF_CALLER && how < CALLER_OFF ? ROLE_CRYPTO_USER : (enum role)0);
		join(&group, &p);
		join(&outer, &group);
		op = under_way(&p.caller, vault);
		take_away(how, &p, &group, &outer);
		is_withheld(op);
		assert_int_not_equal(may(&p, PERM_KEY_SIGN, "k"), KMS_OK);
	}
}

/* ---- as one set ---- */

static uint64_t held(const char *vault, const struct t_person *p)
{
	struct store_vault v;
	struct kms_err err = { 0 };
	uint64_t all = 0, of_vault = 0;

	if (vault != NULL)
		assert_int_equal(store_vault_by_name(d.store->r, vault, &v, NULL), KMS_OK);
	assert_int_equal(access_permissions(d.store->r, vault != NULL ? &v : NULL, p->id, now(), &all, &of_vault, &err), KMS_OK);
	assert_int_equal(of_vault & ~all, 0);
	return all;
}

static void what_one_holds_is_of_this_vault_and_of_the_whole_of_it(void **state)
{
	struct t_person p, auditor, stranger;
	const struct rig_grant everywhere = { .vault = "set", .role = ROLE_APPROVER, .at_installation = true };
	struct kms_err err;

	(void)state;
	t_vault(&d, "set", false);
	t_vault(&d, "set-b", false);
	p = t_person(&d, "set", "app", ROLE_READER);
	grant(&p, &(struct rig_grant){ .role = ROLE_CRYPTO_USER, .key = "k" });
	assert_int_equal(held("set", &p), role_info(ROLE_READER)->permissions);
	assert_int_equal(held("set-b", &p), 0);
	assert_int_equal(held(NULL, &p), 0);
	auditor = t_person(&d, NULL, "auditor", ROLE_AUDITOR);
	assert_int_equal(held(NULL, &auditor), role_info(ROLE_AUDITOR)->installation_permissions);
	assert_int_equal(held("set", &auditor), role_info(ROLE_AUDITOR)->installation_permissions);
	t_enable(&d, &auditor, false);
	assert_int_equal(held("set", &auditor), 0);
	/* Somebody of one vault is nobody in another, whatever he holds everywhere. */
	stranger = t_person(&d, "set", "stranger", (enum role)0);
	assert_int_equal(rig_role(&d, NULL, stranger.id, &everywhere, true, &err), KMS_OK);
	assert_int_equal(held("set", &stranger), role_info(ROLE_APPROVER)->installation_permissions);
	assert_int_equal(held("set-b", &stranger), 0);
	assert_true(guid_random(stranger.id));
	assert_int_equal(held("set", &stranger), 0);
}

/* ---- why ---- */

struct told {
	size_t grants, allowing, ended;
	char allowing_names[256], roles[1024];
};

static void tell_grant(void *arg, const struct access_grant *g, bool allows)
{
	struct told *t = arg;
	size_t len = strlen(t->allowing_names);

	t->grants++;
	t->ended += g->has_ended;
	t->allowing += allows;
	if (allows)
		(void)snprintf(t->allowing_names + len, sizeof(t->allowing_names) - len, "%s/%s/%s;", g->role_name, g->group != NULL ? g->group->name : "",
		               g->assignment.key_name);
}

static void tell_role(void *arg, const char *slug_or_name, bool at_installation)
{
	struct told *t = arg;
	size_t len = strlen(t->roles);

	(void)snprintf(t->roles + len, sizeof(t->roles) - len, "%s%s;", slug_or_name, at_installation ? "!" : "");
}

static struct told explain(const struct t_person *p, enum permission perm, const char *key, struct access_explanation *ret)
{
	struct told t = { 0 };
	const struct access_explainer to = { .arg = &t, .grant = tell_grant, .role = tell_role };
	struct op *op = t_op(&d, p->vault[0] != '\0' ? p->vault : NULL, EVENT_AUDIT_READ);
	struct kms_err err = { 0 };

	assert_int_equal(access_explain(op, p->id, perm, key, &to, ret, &err), KMS_OK);
	t_op_free(op);
	return t;
}

static void the_explanation_names_what_allows_it_or_what_would(void **state)
{
	struct t_person p, group;
	struct access_explanation e;
	struct told t;
	struct kms_err err;

	(void)state;
	t_vault(&d, "why", false);
	p = t_person(&d, "why", "app", ROLE_READER);
	group = t_group(&d, "why", "team", (enum role)0);
	join(&group, &p);
	assert_int_equal(rig_define(&d, NULL, "why", "Signer", KEY_ACTION "sign/action", NULL, &err), KMS_OK);
	grant(&p, &(struct rig_grant){ .role = ROLE_CRYPTO_USER, .key = "k", .until_s = now() + 10 });
	grant(&group, &(struct rig_grant){ .role = rig_role_number(&d, "why", "Signer"), .key = "K" });

	t = explain(&p, PERM_KEY_SIGN, "k", &e);
	assert_true(e.is_allowed);
	assert_string_equal(e.principal.name, "app");
	assert_string_equal(t.allowing_names, "Key Vault Crypto User//k;Signer/team/K;");
	assert_int_equal(t.grants, 3);
	assert_string_equal(t.roles, "");
	t_domain_pass(10);
	t = explain(&p, PERM_KEY_SIGN, "k", &e);
	assert_true(e.is_allowed);
	assert_string_equal(t.allowing_names, "Signer/team/K;");
	assert_int_equal(t.ended, 1);

	t = explain(&p, PERM_KEY_SIGN, NULL, &e);
	assert_false(e.is_allowed);
	assert_int_equal(t.allowing, 0);
	assert_int_equal(e.held, role_info(ROLE_READER)->permissions);
	assert_string_equal(t.roles, "administrator;crypto-officer;crypto-user;Signer;");
	t = explain(&p, PERM_VAULT_LIST, NULL, &e);
	assert_string_equal(t.roles, "auditor!;operator!;approver!;");
	t = explain(&p, PERM_VAULT_READ, NULL, &e);
	assert_true(e.is_allowed);
	t = explain(&p, PERM_ADMIN_WRITE, "k", &e); /* no role for one key has it */
	assert_string_equal(t.roles, "");

	t_enable(&d, &p, false);
	t = explain(&p, PERM_KEY_READ, NULL, &e);
	assert_false(e.is_allowed);
	assert_int_equal(t.allowing, 1);
	t_enable(&d, &p, true);
	t_role(&d, &p, ROLE_AUDITOR, true); /* past the check */
	t = explain(&p, PERM_KEY_READ, NULL, &e);
	assert_false(e.is_allowed);
	assert_non_null(e.conflict);
}

/* Every permission, for one key, another and the vault: who is told "allowed" is let in, and nobody else. */
static void the_explanation_is_the_decision(void **state)
{
	static const char *const KEYS[] = { NULL, "k", "other" };
	struct t_person people[4], group;

	(void)state;
	t_vault(&d, "same", false);
	group = t_group(&d, "same", "team", ROLE_CRYPTO_SERVICE);
	people[0] = t_person(&d, "same", "a", (enum role)0);
	people[1] = t_person(&d, "same", "b", ROLE_READER);
	people[2] = t_person(&d, "same", "c", ROLE_CRYPTO_OFFICER);
	people[3] = t_person(&d, "same", "d", ROLE_AUDITOR);
	join(&group, &people[1]);
	grant(&people[0], &(struct rig_grant){ .role = ROLE_CRYPTO_USER, .key = "k" });
	grant(&people[1], &(struct rig_grant){ .role = ROLE_RELEASE, .key = "k", .until_s = now() + 5 });
	t_domain_pass(5);
	t_member(&d, &group, &people[3], true); /* duties that exclude one another, past the check */
	for (size_t i = 0; i < KMS_ARRAY_LEN(people); i++)
		for (int perm = 1; perm < PERM_COUNT; perm++)
			for (size_t k = 0; k < KMS_ARRAY_LEN(KEYS); k++) {
				struct access_explanation e;
				struct told t = explain(&people[i], (enum permission)perm, KEYS[k], &e);
				kms_status status = may(&people[i], (enum permission)perm, KEYS[k]);

				if (e.is_allowed != (status == KMS_OK) || (e.conflict == NULL && e.is_allowed != (t.allowing > 0)))
					fail_msg("%s %s %s", people[i].caller.subject, permission_action((enum permission)perm), KEYS[k] != NULL ? KEYS[k] : "-");
			}
	assert_int_equal(may(&people[3], PERM_VAULT_READ, NULL), KMS_E_FORBIDDEN);
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
		cmocka_unit_test(nothing_is_allowed_that_was_not_granted),
		cmocka_unit_test(a_role_for_one_key_counts_for_that_key_alone),
		cmocka_unit_test(roles_for_many_keys_take_nothing_away),
		cmocka_unit_test(a_role_ends_when_its_time_has_come),
		cmocka_unit_test(a_group_gives_what_it_has_to_its_members_and_theirs),
		cmocka_unit_test(a_disabled_group_gives_nothing_and_leads_nowhere),
		cmocka_unit_test(groups_in_a_circle_are_each_visited_once),
		cmocka_unit_test(a_group_of_the_same_name_in_another_vault_never_counts),
		cmocka_unit_test(too_many_groups_give_nothing_instead_of_something),
		cmocka_unit_test(a_vaults_own_role_gives_what_it_names_and_nothing_else),
		cmocka_unit_test(a_role_of_another_vault_is_none),
		cmocka_unit_test(actions_of_a_role_are_checked),
		cmocka_unit_test(names_of_roles_are_checked_and_taken_once),
		cmocka_unit_test(groups_of_a_token_count_where_they_are_entered_and_nowhere_else),
		cmocka_unit_test(a_claimed_group_that_is_disabled_gives_nothing),
		cmocka_unit_test(no_result_follows_a_removal_whichever_way_it_came),
		cmocka_unit_test(what_one_holds_is_of_this_vault_and_of_the_whole_of_it),
		cmocka_unit_test(the_explanation_names_what_allows_it_or_what_would),
		cmocka_unit_test(the_explanation_is_the_decision),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
