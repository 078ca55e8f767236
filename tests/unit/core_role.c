/* tests/unit/core_role.c - who may give what to whom: no way around those who have to agree, and no two duties for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "tests/support/access_rig.h"

static struct t_domain d;

static int64_t now(void) { return clock_wall_s(d.kms.clock); }

/* A caller with a token of this moment. */
static struct caller fresh(const struct t_person *p)
{
	struct caller c = p->caller;
	c.issued_s = now();
	return c;
}

static kms_status grant_by(const struct t_person *who, const struct t_person *to, enum role role, struct kms_err *ret_err)
{
	struct caller c = who != NULL ? fresh(who) : (struct caller){ 0 };
	bool is_central = to->vault[0] == '\0';
	const struct rig_grant g = { .vault = is_central ? NULL : to->vault, .role = role, .at_installation = is_central };

	return rig_role(&d, who != NULL ? &c : NULL, to->id, &g, true, ret_err);
}

static kms_status remove_by(const struct t_person *who, const struct t_person *from, enum role role)
{
	struct caller c = who != NULL ? fresh(who) : (struct caller){ 0 };
	struct kms_err err;
	return rig_role(&d, who != NULL ? &c : NULL, from->id, &(struct rig_grant){ .vault = from->vault, .role = role }, false, &err);
}

static kms_status join_by(const struct t_person *who, const struct t_person *group, const struct t_person *member)
{
	struct caller c = who != NULL ? fresh(who) : (struct caller){ 0 };
	struct kms_err err;
	return rig_member(&d, who != NULL ? &c : NULL, group, member, true, &err);
}

static bool holds(const struct t_person *p, enum permission perm)
{
	struct caller c = fresh(p);
	return rig_may(&d, &c, p->vault[0] != '\0' ? p->vault : NULL, perm, NULL, NULL) == KMS_OK;
}

static bool is_founded(const char *vault)
{
	struct store_vault v;
	bool founded = false;

	if (vault != NULL)
		assert_int_equal(store_vault_by_name(d.store->r, vault, &v, NULL), KMS_OK);
	assert_int_equal(approval_is_founded(d.store->r, vault != NULL ? &v : NULL, &founded, NULL), KMS_OK);
	return founded;
}

static void approve(const struct t_person *approver, const char *vault)
{
	uint8_t id[STORE_ID_LEN] = { 0 };
	struct kms_err err;

	assert_true(t_open_request(&d, vault, id));
	assert_int_equal(t_vote(&d, approver, vault, id, true, &err), KMS_OK);
}

/* ---- founding ---- */

static void the_first_administrators_are_made_on_the_servers_own_host(void **state)
{
	struct t_person chief, other, helper;
	struct store_change c = { .kind = STORE_ROLE_ADD, .assignment = { .role = ROLE_ADMINISTRATOR, .expires_s = STORE_NO_TIME } };
	struct store_vault v;
	struct kms_err err;

	(void)state;
	t_vault(&d, "found", false);
	chief = t_person(&d, "found", "chief", (enum role)0);
	other = t_person(&d, "found", "other", (enum role)0);
	helper = t_person(&d, "found", "helper", (enum role)0);
	/* The database says that it is an administrator although nobody founded the vault. */
	assert_int_equal(store_vault_by_name(d.store->r, "found", &v, NULL), KMS_OK);
	memcpy(c.assignment.vault_id, v.id, STORE_ID_LEN);
	memcpy(c.assignment.principal_id, chief.id, STORE_ID_LEN);
	t_change(&d, &c, 1);
	assert_false(is_founded("found"));
	assert_int_equal(grant_by(&chief, &other, ROLE_ADMINISTRATOR, &err), KMS_E_FORBIDDEN);
	assert_non_null(strstr(err.message, "own host"));
	assert_int_equal(grant_by(&chief, &other, ROLE_APPROVER, &err), KMS_E_FORBIDDEN);
	assert_int_equal(grant_by(&chief, &chief, ROLE_APPROVER, &err), KMS_E_FORBIDDEN);
	assert_int_equal(grant_by(&chief, &helper, ROLE_CRYPTO_OFFICER, &err), KMS_OK);
	assert_false(is_founded("found"));
	assert_int_equal(grant_by(NULL, &other, ROLE_APPROVER, &err), KMS_OK);
	assert_true(is_founded("found"));
	assert_true(holds(&other, PERM_APPROVAL_WRITE));
	/* From now on the host alone is not enough either. */
	assert_int_equal(grant_by(NULL, &helper, ROLE_APPROVER, &err), KMS_E_APPROVAL);
	assert_int_equal(remove_by(NULL, &other, ROLE_APPROVER), KMS_OK); /* nobody has to agree to less */
	assert_true(is_founded("found"));
	assert_int_equal(grant_by(NULL, &helper, ROLE_APPROVER, &err), KMS_E_APPROVAL);
}

static void a_vault_of_a_higher_quorum_is_founded_by_as_many(void **state)
{
	struct vault_create req = { .name = "quorum", .retention_days = RETENTION_DAYS_MIN, .quorum = 2 };
	struct t_person one, two, group;
	struct op *op = t_op(&d, NULL, EVENT_TENANT_CREATE);
	struct kms_err err = { 0 };

	(void)state;
	assert_int_equal(t_op_finish(op, vault_create(op, &req, &err)), KMS_OK);
	t_op_free(op);
	one = t_person(&d, "quorum", "one", (enum role)0);
	two = t_person(&d, "quorum", "two", (enum role)0);
	group = t_group(&d, "quorum", "approvers", (enum role)0);
	assert_int_equal(grant_by(NULL, &group, ROLE_APPROVER, &err), KMS_OK);
	assert_false(is_founded("quorum"));
	assert_int_equal(join_by(NULL, &group, &one), KMS_OK);
	assert_false(is_founded("quorum"));
	assert_int_equal(join_by(NULL, &group, &two), KMS_OK);
	assert_true(is_founded("quorum"));
}

/* A vault that waits for somebody who can never be there is no one's. */
static void only_who_can_really_approve_founds_a_vault(void **state)
{
	struct t_person nobody, temporary;
	struct kms_err err;

	(void)state;
	t_vault(&d, "ready", false);
	nobody = t_newcomer(&d, "ready", "nobody-yet");
	temporary = t_person(&d, "ready", "temporary", (enum role)0);
	assert_int_equal(rig_role(&d, NULL, temporary.id, &(struct rig_grant){ .vault = "ready", .role = ROLE_APPROVER, .until_s = now() + 3600 }, true, &err),
	                 KMS_OK);
	assert_false(is_founded("ready"));
	assert_int_equal(grant_by(NULL, &nobody, ROLE_ADMINISTRATOR, &err), KMS_OK);
	assert_false(is_founded("ready"));
	t_credential(&d, &nobody, STORE_CREDENTIAL_SECRET, now() - 1);      /* has expired */
	t_credential(&d, &nobody, STORE_CREDENTIAL_HEADER, STORE_NO_TIME); /* a machine's */
	t_role(&d, &nobody, ROLE_ADMINISTRATOR, false);
	t_role(&d, &nobody, ROLE_ADMINISTRATOR, true);
	assert_false(is_founded("ready"));
	/* The way in that was missing: the host gives it alone, and from then on nobody does anything alone. */
	assert_int_equal(rig_identity(&d, &nobody, "entra", "somebody", &err), KMS_OK);
	assert_true(is_founded("ready"));
	assert_int_equal(rig_identity(&d, &nobody, "entra", "somebody-else", &err), KMS_E_APPROVAL);
}

/* ---- agreeing ---- */

/* A founded vault with an administrator, an approver, and somebody. */
struct office {
	struct t_person chief, approver, somebody;
};

static struct office office(const char *vault)
{
	struct office o;

	t_vault(&d, vault, false);
	o.approver = t_person(&d, vault, "approver", ROLE_APPROVER);
	o.chief = t_person(&d, vault, "chief", ROLE_ADMINISTRATOR);
	o.somebody = t_person(&d, vault, "somebody", (enum role)0);
	assert_true(is_founded(vault));
	return o;
}

static void an_administrator_is_made_by_two(void **state)
{
	struct office o = office("two");
	struct t_person else_ = t_person(&d, "two", "else", (enum role)0);
	struct rig_grant g = { .vault = "two", .role = ROLE_ADMINISTRATOR };
	struct caller chief = fresh(&o.chief);
	struct kms_err err;

	(void)state;
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL);
	assert_false(holds(&o.somebody, PERM_ADMIN_WRITE));
	approve(&o.approver, "two");
	/* Agreed to exactly this: to nobody else, no other role, no other end, and for nobody else who asks. */
	assert_int_equal(grant_by(&o.chief, &else_, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL);
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_APPROVER, &err), KMS_E_APPROVAL);
	g.until_s = now() + 3600;
	assert_int_equal(rig_role(&d, &chief, o.somebody.id, &g, true, &err), KMS_E_APPROVAL);
	assert_int_equal(grant_by(NULL, &o.somebody, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL);
	assert_false(holds(&o.somebody, PERM_ADMIN_WRITE));
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_ADMINISTRATOR, &err), KMS_OK);
	assert_true(holds(&o.somebody, PERM_ADMIN_WRITE));
	/* Once. */
	assert_int_equal(remove_by(&o.chief, &o.somebody, ROLE_ADMINISTRATOR), KMS_OK);
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL);
	assert_false(holds(&o.somebody, PERM_ADMIN_WRITE));
}

static void a_group_is_no_way_around_those_who_have_to_agree(void **state)
{
	struct office o = office("ways");
	struct t_person bosses = t_group(&d, "ways", "bosses", ROLE_ADMINISTRATOR), inner = t_group(&d, "ways", "inner", (enum role)0);
	struct t_person plain = t_group(&d, "ways", "plain", (enum role)0), off = t_group(&d, "ways", "off", ROLE_APPROVER);
	struct kms_err err;

	(void)state;
	assert_int_equal(join_by(&o.chief, &bosses, &o.somebody), KMS_E_APPROVAL);
	assert_int_equal(join_by(&o.chief, &bosses, &inner), KMS_E_APPROVAL); /* nor by a group that is empty still */
	assert_int_equal(join_by(NULL, &bosses, &o.somebody), KMS_E_APPROVAL);
	t_member(&d, &bosses, &inner, true);
	assert_int_equal(join_by(&o.chief, &inner, &o.somebody), KMS_E_APPROVAL); /* nor by one below */
	assert_int_equal(join_by(&o.chief, &plain, &o.somebody), KMS_OK);
	assert_int_equal(grant_by(&o.chief, &plain, ROLE_APPROVER, &err), KMS_E_APPROVAL); /* nor afterwards */
	t_enable(&d, &off, false);
	assert_int_equal(join_by(&o.chief, &off, &o.somebody), KMS_E_APPROVAL); /* nor while it is switched off */
	t_enable(&d, &inner, false);
	assert_int_equal(join_by(&o.chief, &inner, &o.somebody), KMS_E_APPROVAL);
	t_enable(&d, &inner, true);
	t_enable(&d, &bosses, false);
	assert_int_equal(join_by(&o.chief, &inner, &o.somebody), KMS_E_APPROVAL); /* nor while the one above is */
	t_enable(&d, &bosses, true);
	assert_false(holds(&o.somebody, PERM_ADMIN_WRITE));
	assert_false(holds(&o.somebody, PERM_APPROVAL_WRITE));
}

static void what_was_agreed_to_about_a_group_is_done(void **state)
{
	struct office o = office("agreed");
	struct t_person bosses = t_group(&d, "agreed", "bosses", ROLE_ADMINISTRATOR);

	(void)state;
	assert_int_equal(join_by(&o.chief, &bosses, &o.somebody), KMS_E_APPROVAL);
	approve(&o.approver, "agreed");
	assert_int_equal(join_by(&o.chief, &bosses, &o.somebody), KMS_OK);
	assert_true(holds(&o.somebody, PERM_ADMIN_WRITE));
}

static kms_status add_secret(const struct t_person *who, const struct t_person *p, struct kms_err *ret_err)
{
	struct caller c = fresh(who);
	struct store_credential made = { 0 };
	SECRET_AUTO *secret = NULL;
	kms_status status, written;
	struct op *op = rig_open(&d, &c, p->vault, EVENT_PRINCIPAL, &status, ret_err);

	if (status == KMS_OK)
		status = credential_add_secret(op, p->id, STORE_CREDENTIAL_SECRET, "", 1, &made, &secret, ret_err);
	written = t_op_finish(op, status);
	t_op_free(op);
	return status != KMS_OK ? status : written;
}

/* Others agree to somebody as he was: whoever asked must not make him somebody else afterwards. */
static void what_was_agreed_to_is_not_done_for_somebody_else(void **state)
{
	struct office o = office("same");
	struct t_person group = t_group(&d, "same", "on-call", (enum role)0), evil = t_person(&d, "same", "evil", (enum role)0);
	struct kms_err err;

	(void)state;
	assert_int_equal(join_by(&o.chief, &group, &o.somebody), KMS_OK);
	assert_int_equal(grant_by(&o.chief, &group, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL);
	approve(&o.approver, "same");
	assert_int_equal(join_by(&o.chief, &group, &evil), KMS_OK);
	assert_int_equal(grant_by(&o.chief, &group, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL);
	assert_false(holds(&evil, PERM_ADMIN_WRITE));

	o = office("same-too");
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL);
	approve(&o.approver, "same-too");
	assert_int_equal(add_secret(&o.chief, &o.somebody, &err), KMS_OK);
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL);
	assert_false(holds(&o.somebody, PERM_ADMIN_WRITE));
}

/* Nor while it is being given to him: of a way in and a grant that were both decided before either was written, one is not. */
static void a_way_in_that_comes_beside_an_approved_grant_is_fenced(void **state)
{
	struct office o = office("beside");
	struct caller chief = fresh(&o.chief);
	struct store_credential made = { 0 };
	SECRET_AUTO *secret = NULL;
	struct op *op = NULL;
	struct kms_err err;
	kms_status status;

	(void)state;
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL);
	approve(&o.approver, "beside");
	op = rig_open(&d, &chief, "beside", EVENT_PRINCIPAL, &status, &err);
	assert_int_equal(status, KMS_OK);
	assert_int_equal(credential_add_secret(op, o.somebody.id, STORE_CREDENTIAL_SECRET, "", 1, &made, &secret, &err), KMS_OK); /* holds nothing yet */
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_ADMINISTRATOR, &err), KMS_OK);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_FENCED);
	assert_int_equal(t_op_finish(op, KMS_E_FENCED), KMS_OK); /* its intent gets an outcome */
	t_op_free(op);
	assert_int_equal(add_secret(&o.chief, &o.somebody, &err), KMS_E_APPROVAL); /* decided anew */

	/* And the other way round: the grant is decided, the secret comes, the grant is not written. */
	o = office("beside-too");
	chief = fresh(&o.chief);
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL);
	approve(&o.approver, "beside-too");
	op = rig_open(&d, &chief, "beside-too", EVENT_ROLE_GRANT, &status, &err);
	assert_int_equal(status, KMS_OK);
	assert_int_equal(role_change(op, o.somebody.id, ROLE_ADMINISTRATOR, &(struct role_scope){ .expires_s = STORE_NO_TIME }, true, &err), KMS_OK);
	assert_int_equal(add_secret(&o.chief, &o.somebody, &err), KMS_OK);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_FENCED);
	assert_int_equal(t_op_finish(op, KMS_E_FENCED), KMS_OK);
	t_op_free(op);
	assert_false(holds(&o.somebody, PERM_ADMIN_WRITE));
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_ADMINISTRATOR, &err), KMS_E_APPROVAL); /* he is somebody else than was agreed to */
}

static void an_approver_who_is_no_more_does_not_count(void **state)
{
	struct office o = office("gone");
	struct t_person group = t_group(&d, "gone", "approvers", ROLE_APPROVER), voter = t_person(&d, "gone", "voter", (enum role)0);
	struct kms_err err;

	(void)state;
	t_member(&d, &group, &voter, true);
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_APPROVER, &err), KMS_E_APPROVAL);
	approve(&voter, "gone");
	t_member(&d, &group, &voter, false);
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_APPROVER, &err), KMS_E_APPROVAL);
	assert_false(holds(&o.somebody, PERM_APPROVAL_WRITE));
}

/* ---- beyond one's own ---- */

static void a_data_access_administrator_grants_nothing_that_manages(void **state)
{
	static const enum role LITTLE[] = { ROLE_CRYPTO_OFFICER, ROLE_CRYPTO_USER, ROLE_CRYPTO_SERVICE, ROLE_READER, ROLE_RELEASE };
	static const enum role MUCH[] = { ROLE_ADMINISTRATOR, ROLE_APPROVER, ROLE_ACCESS_ADMIN };
	struct office o = office("daa");
	struct t_person keeper = t_person(&d, "daa", "keeper", ROLE_ACCESS_ADMIN), bosses = t_group(&d, "daa", "bosses", ROLE_ADMINISTRATOR);
	struct t_person helpers = t_group(&d, "daa", "helpers", ROLE_ACCESS_ADMIN), users = t_group(&d, "daa", "users", ROLE_CRYPTO_USER);
	struct caller c = fresh(&keeper);
	struct kms_err err;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(LITTLE); i++) {
		assert_int_equal(grant_by(&keeper, &o.somebody, LITTLE[i], &err), KMS_OK);
		assert_int_equal(remove_by(&keeper, &o.somebody, LITTLE[i]), KMS_OK);
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(MUCH); i++) {
		assert_int_equal(grant_by(&keeper, &o.somebody, MUCH[i], &err), KMS_E_FORBIDDEN);
		assert_non_null(strstr(err.message, "Action: 'Holdfast/vaults/administrators/write'"));
		assert_int_equal(grant_by(&keeper, &keeper, MUCH[i], &err), KMS_E_FORBIDDEN);
		assert_int_equal(grant_by(&keeper, &users, MUCH[i], &err), KMS_E_FORBIDDEN);
	}
	/* Nor take it from those who have it. */
	assert_int_equal(remove_by(&keeper, &o.chief, ROLE_ADMINISTRATOR), KMS_E_FORBIDDEN);
	assert_int_equal(remove_by(&keeper, &o.approver, ROLE_APPROVER), KMS_E_FORBIDDEN);
	assert_true(holds(&o.chief, PERM_ADMIN_WRITE));
	/* Nor by way of a group, or of a role of its own making. */
	assert_int_equal(join_by(&keeper, &bosses, &keeper), KMS_E_FORBIDDEN);
	assert_int_equal(join_by(&keeper, &helpers, &o.somebody), KMS_E_FORBIDDEN);
	t_member(&d, &bosses, &o.chief, true);
	assert_int_equal(rig_member(&d, &c, &bosses, &o.chief, false, &err), KMS_E_FORBIDDEN);
	assert_int_equal(join_by(&keeper, &users, &o.somebody), KMS_OK);
	assert_int_equal(rig_define(&d, &c, "daa", "Boss", "Holdfast/vaults/administrators/write", NULL, &err), KMS_E_INVALID);
	assert_int_equal(rig_define(&d, &c, "daa", "Revoker", "Holdfast/vaults/keys/revoke/action", NULL, &err), KMS_OK);
	assert_int_equal(grant_by(&keeper, &o.somebody, (enum role)rig_role_number(&d, "daa", "Revoker"), &err), KMS_E_FORBIDDEN);
	assert_int_equal(grant_by(&o.chief, &o.somebody, (enum role)rig_role_number(&d, "daa", "Revoker"), &err), KMS_OK);
	/* One more keeper of access needs no others to agree, but an administrator. */
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_ACCESS_ADMIN, &err), KMS_OK);
}

/* ---- duties ---- */

static void duties_that_exclude_one_another_are_not_granted(void **state)
{
	struct office o = office("excl");
	struct t_person auditor = t_person(&d, "excl", "auditor", ROLE_AUDITOR), user = t_person(&d, "excl", "user", ROLE_CRYPTO_USER);
	struct t_person auditors = t_group(&d, "excl", "auditors", ROLE_AUDITOR), inner = t_group(&d, "excl", "inner", (enum role)0);
	struct t_person later = t_group(&d, "excl", "later", (enum role)0);
	struct rig_grant one_key = { .vault = "excl", .role = ROLE_CRYPTO_SERVICE, .key = "k" };
	struct kms_err err;

	(void)state;
	assert_int_equal(grant_by(NULL, &auditor, ROLE_CRYPTO_USER, &err), KMS_E_CONFLICT);
	assert_non_null(strstr(err.message, "auditor would hold duties that nobody may hold together"));
	assert_int_equal(rig_role(&d, NULL, auditor.id, &one_key, true, &err), KMS_E_CONFLICT); /* nor for one key */
	assert_int_equal(grant_by(NULL, &user, ROLE_AUDITOR, &err), KMS_E_CONFLICT);
	assert_int_equal(grant_by(NULL, &o.chief, ROLE_AUDITOR, &err), KMS_E_CONFLICT);
	assert_int_equal(grant_by(NULL, &o.approver, ROLE_AUDITOR, &err), KMS_E_CONFLICT);
	assert_int_equal(grant_by(NULL, &auditor, ROLE_READER, &err), KMS_OK); /* reading goes with everything */
	/* Nor by group, at whatever depth, whether he comes to it or the role does. */
	assert_int_equal(join_by(NULL, &auditors, &user), KMS_E_CONFLICT);
	assert_int_equal(join_by(NULL, &inner, &user), KMS_OK);
	assert_int_equal(join_by(NULL, &auditors, &inner), KMS_E_CONFLICT);
	assert_int_equal(join_by(NULL, &later, &inner), KMS_OK);
	assert_int_equal(grant_by(NULL, &later, ROLE_AUDITOR, &err), KMS_E_CONFLICT);
	assert_non_null(strstr(err.message, "user would hold"));
	assert_int_equal(join_by(NULL, &later, &auditor), KMS_OK);
	assert_int_equal(grant_by(NULL, &later, ROLE_CRYPTO_USER, &err), KMS_E_CONFLICT);
	assert_int_equal(grant_by(NULL, &later, ROLE_READER, &err), KMS_OK);
	/* Who is switched off may be switched on again. */
	t_enable(&d, &user, false);
	assert_int_equal(grant_by(NULL, &user, ROLE_AUDITOR, &err), KMS_E_CONFLICT);
	t_member(&d, &auditors, &o.somebody, true);
	t_enable(&d, &auditors, false);
	assert_int_equal(grant_by(NULL, &o.somebody, ROLE_CRYPTO_USER, &err), KMS_E_CONFLICT);
	assert_true(holds(&auditor, PERM_AUDIT_READ));
	/* What has ended excludes nothing. */
	one_key.until_s = now() + 5;
	assert_int_equal(remove_by(NULL, &auditor, ROLE_AUDITOR), KMS_OK);
	assert_int_equal(rig_role(&d, NULL, auditor.id, &one_key, true, &err), KMS_OK);
	assert_int_equal(grant_by(NULL, &auditor, ROLE_AUDITOR, &err), KMS_E_CONFLICT);
	t_domain_pass(5);
	assert_int_equal(grant_by(NULL, &auditor, ROLE_AUDITOR, &err), KMS_OK);
}

/* Of a group that tokens name nobody knows who is in it: administrators whom its new duty would shut out could not undo it. */
static void duties_of_a_group_that_tokens_name_are_an_administrators_to_give(void **state)
{
	static const char *const ALL[] = { "everyone", NULL };
	struct office o = office("claimed");
	struct t_person keeper = t_person(&d, "claimed", "keeper", ROLE_ACCESS_ADMIN), named = t_person(&d, "claimed", "named", (enum role)0);
	struct t_person group = t_group(&d, "claimed", "everyone", ROLE_READER), plain = t_group(&d, "claimed", "plain", (enum role)0);
	struct t_person known = t_group(&d, "claimed", "known", (enum role)0);
	struct t_person auditors = t_group(&d, "claimed", "auditors", ROLE_AUDITOR), users = t_group(&d, "claimed", "users", ROLE_CRYPTO_USER);
	struct rig_grant g = { .vault = "claimed", .role = ROLE_CRYPTO_USER, .key = "k" };
	struct caller who, by = fresh(&keeper), chief = fresh(&o.chief);
	struct kms_err err;

	(void)state;
	assert_int_equal(rig_identity(&d, &named, "entra", "adm", &err), KMS_OK);
	t_role(&d, &named, ROLE_ADMINISTRATOR, true);
	assert_int_equal(rig_identity(&d, &group, "entra", "group:everyone", &err), KMS_OK);
	who = rig_external("entra", "adm", ALL);
	assert_int_equal(grant_by(&keeper, &group, ROLE_AUDITOR, &err), KMS_E_FORBIDDEN);
	assert_non_null(strstr(err.message, "everyone"));
	assert_non_null(strstr(err.message, "'Holdfast/vaults/administrators/write'"));
	assert_int_equal(join_by(&keeper, &auditors, &group), KMS_E_FORBIDDEN); /* nor by membership */
	assert_int_equal(join_by(&keeper, &plain, &group), KMS_OK);
	assert_int_equal(grant_by(&keeper, &plain, ROLE_AUDITOR, &err), KMS_E_FORBIDDEN); /* nor from above */
	assert_int_equal(rig_may(&d, &who, "claimed", PERM_ADMIN_WRITE, NULL, NULL), KMS_OK);
	/* Nor the other way round, which would shut out auditors. */
	assert_int_equal(grant_by(&keeper, &group, ROLE_CRYPTO_USER, &err), KMS_E_FORBIDDEN);
	assert_int_equal(rig_role(&d, &by, group.id, &g, true, &err), KMS_E_FORBIDDEN);
	assert_int_equal(join_by(&keeper, &users, &group), KMS_E_FORBIDDEN);
	assert_int_equal(grant_by(&keeper, &plain, ROLE_READER, &err), KMS_OK); /* what is nobody's duty is his to give */
	/* An administrator may; until it ends by itself, it is not the keeper's to give for longer. */
	g = (struct rig_grant){ .vault = "claimed", .role = ROLE_CRYPTO_USER, .until_s = now() + 3600 };
	assert_int_equal(rig_role(&d, &chief, group.id, &g, true, &err), KMS_OK);
	assert_int_equal(grant_by(&keeper, &group, ROLE_CRYPTO_OFFICER, &err), KMS_E_FORBIDDEN);
	assert_int_equal(grant_by(&o.chief, &group, ROLE_CRYPTO_SERVICE, &err), KMS_OK);
	assert_int_equal(grant_by(&keeper, &group, ROLE_CRYPTO_OFFICER, &err), KMS_OK); /* it has the duty */
	/* A group of known people is checked one by one instead. */
	assert_int_equal(join_by(&keeper, &known, &o.somebody), KMS_OK);
	assert_int_equal(grant_by(&keeper, &known, ROLE_AUDITOR, &err), KMS_OK);
	assert_int_equal(grant_by(&keeper, &known, ROLE_CRYPTO_USER, &err), KMS_E_CONFLICT);
}

/* ---- scopes ---- */

static void roles_are_granted_only_where_they_mean_something(void **state)
{
	static const char *const KEYS[] = { "a b", "a/b", "k\xc3\xa9y", "-_-" };
	static const enum role NOT_OF_A_KEY[] = { ROLE_ADMINISTRATOR, ROLE_APPROVER, ROLE_ACCESS_ADMIN, ROLE_AUDITOR };
	static const enum role NOT_EVERYWHERE[] = { ROLE_ADMINISTRATOR, ROLE_CRYPTO_OFFICER, ROLE_CRYPTO_USER, ROLE_CRYPTO_SERVICE, ROLE_READER,
		                                    ROLE_RELEASE, ROLE_ACCESS_ADMIN };
	struct t_person p, group, stranger;
	struct rig_grant g = { .vault = "where", .role = ROLE_CRYPTO_USER };
	struct kms_err err;

	(void)state;
	t_vault(&d, "where", false);
	t_vault(&d, "elsewhere", false);
	p = t_person(&d, "where", "app", (enum role)0);
	group = t_group(&d, "where", "team", (enum role)0);
	stranger = t_person(&d, "elsewhere", "app", (enum role)0);
	for (size_t i = 0; i < KMS_ARRAY_LEN(KEYS); i++) {
		g.key = KEYS[i];
		assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_E_INVALID);
	}
	g.key = "k";
	for (size_t i = 0; i < KMS_ARRAY_LEN(NOT_OF_A_KEY); i++) {
		g.role = NOT_OF_A_KEY[i];
		assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_E_INVALID);
	}
	g.at_installation = true;
	g.role = ROLE_AUDITOR;
	assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_E_INVALID);
	g.key = NULL;
	for (size_t i = 0; i < KMS_ARRAY_LEN(NOT_EVERYWHERE); i++) {
		g.role = NOT_EVERYWHERE[i];
		assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_E_INVALID);
	}
	g.role = ROLE_AUDITOR;
	assert_int_equal(rig_role(&d, NULL, group.id, &g, true, &err), KMS_E_INVALID); /* who is in a group is decided by one vault */
	g.at_installation = false;
	assert_int_equal(rig_role(&d, NULL, stranger.id, &g, true, &err), KMS_E_NOTFOUND);
	g.role = ROLE_OPERATOR;
	assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_E_INVALID);
	g.role = ROLE_COUNT;
	assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_E_INVALID);
	g.role = STORE_CUSTOM_ROLE + 4711;
	assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_E_INVALID);
	g.role = ROLE_READER;
	assert_int_equal(rig_role(&d, NULL, p.id, &g, false, &err), KMS_E_NOTFOUND);
	g.vault = NULL;
	assert_int_equal(rig_role(&d, NULL, p.id, &g, true, &err), KMS_E_INVALID);
	assert_false(holds(&p, PERM_VAULT_READ));
}

static void a_grant_says_in_the_log_what_it_is(void **state)
{
	struct t_person p;
	struct op *op = NULL;
	struct role_scope scope = { .key_name = "Master", .expires_s = now() + 100 };
	struct kms_err err = { 0 };
	char until[48];

	(void)state;
	t_vault(&d, "said", false);
	p = t_person(&d, "said", "app", (enum role)0);
	op = t_op(&d, "said", EVENT_ROLE_GRANT);
	assert_int_equal(t_op_finish(op, role_change(op, p.id, ROLE_CRYPTO_USER, &scope, true, &err)), KMS_OK);
	(void)snprintf(until, sizeof(until), "\"until\":%lld", (long long)scope.expires_s);
	assert_true(t_leaf_says(&d, op->write.seq, "\"key\":\"Master\""));
	assert_true(t_leaf_says(&d, op->write.seq, "\"role\":\"crypto-user\",\"scope\":\"key\""));
	assert_true(t_leaf_says(&d, op->write.seq, until));
	assert_true(t_leaf_says(&d, op->write.seq, "\"type\":\"authz.role_grant\""));
	t_op_free(op);
}

/* ---- the whole installation ---- */

static void what_holds_everywhere_is_decided_by_the_installation(void **state)
{
	struct office o;
	struct t_person central, second, auditor;
	struct rig_grant g = { .vault = "inst", .role = ROLE_APPROVER, .at_installation = true };
	struct caller chief;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	o = office("inst");
	chief = fresh(&o.chief);
	assert_false(is_founded(NULL));
	assert_int_equal(rig_role(&d, &chief, o.somebody.id, &g, true, &err), KMS_E_FORBIDDEN);
	auditor = t_person(&d, NULL, "auditor", (enum role)0);
	assert_int_equal(grant_by(NULL, &auditor, ROLE_AUDITOR, &err), KMS_OK); /* until it is founded */
	central = t_person(&d, NULL, "central", (enum role)0);
	second = t_person(&d, NULL, "second", (enum role)0);
	assert_int_equal(grant_by(NULL, &central, ROLE_APPROVER, &err), KMS_OK);
	assert_true(is_founded(NULL));
	assert_int_equal(grant_by(NULL, &second, ROLE_APPROVER, &err), KMS_E_APPROVAL);
	approve(&central, NULL);
	assert_int_equal(grant_by(NULL, &second, ROLE_APPROVER, &err), KMS_OK);
	/* A vault's own approvers have no say in it. */
	assert_int_equal(rig_role(&d, NULL, o.somebody.id, &g, true, &err), KMS_E_APPROVAL);
	assert_false(t_open_request(&d, "inst", id));
	assert_true(t_open_request(&d, NULL, id));
	assert_int_equal(t_vote(&d, &o.approver, "inst", id, true, &err), KMS_E_NOTFOUND);
	assert_int_equal(t_vote(&d, &o.approver, NULL, id, true, &err), KMS_E_NOTFOUND);
	assert_int_equal(rig_role(&d, NULL, o.somebody.id, &g, true, &err), KMS_E_APPROVAL);
	approve(&central, NULL);
	assert_int_equal(rig_role(&d, NULL, o.somebody.id, &g, true, &err), KMS_OK);
	/* Whoever holds it is not the vault's to take it from. */
	assert_int_equal(rig_role(&d, &chief, o.somebody.id, &g, false, &err), KMS_E_FORBIDDEN);
	assert_int_equal(rig_role(&d, NULL, o.somebody.id, &g, false, &err), KMS_OK);
}

static void one_of_the_installation_approves_in_every_vault(void **state)
{
	struct office o = office("central");
	struct t_person central = t_person(&d, NULL, "central", ROLE_APPROVER);
	struct kms_err err;

	(void)state;
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_APPROVER, &err), KMS_E_APPROVAL);
	approve(&central, "central");
	assert_int_equal(grant_by(&o.chief, &o.somebody, ROLE_APPROVER, &err), KMS_OK);
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
		cmocka_unit_test(the_first_administrators_are_made_on_the_servers_own_host),
		cmocka_unit_test(a_vault_of_a_higher_quorum_is_founded_by_as_many),
		cmocka_unit_test(an_administrator_is_made_by_two),
		cmocka_unit_test(a_group_is_no_way_around_those_who_have_to_agree),
		cmocka_unit_test(what_was_agreed_to_about_a_group_is_done),
		cmocka_unit_test(an_approver_who_is_no_more_does_not_count),
		cmocka_unit_test(only_who_can_really_approve_founds_a_vault),
		cmocka_unit_test(what_was_agreed_to_is_not_done_for_somebody_else),
		cmocka_unit_test(a_way_in_that_comes_beside_an_approved_grant_is_fenced),
		cmocka_unit_test(a_data_access_administrator_grants_nothing_that_manages),
		cmocka_unit_test(duties_that_exclude_one_another_are_not_granted),
		cmocka_unit_test(duties_of_a_group_that_tokens_name_are_an_administrators_to_give),
		cmocka_unit_test(roles_are_granted_only_where_they_mean_something),
		cmocka_unit_test(a_grant_says_in_the_log_what_it_is),
		cmocka_unit_test(what_holds_everywhere_is_decided_by_the_installation),
		cmocka_unit_test(one_of_the_installation_approves_in_every_vault),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
