/* tests/unit/core_principal.c - principals and how they are known: secrets that overlap, certificates, identities, tokens that are taken back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "server/base/encode.h"
#include "tests/support/access_rig.h"
#include "tests/support/ekm_rig.h"
#include "tests/support/jose.h"

#define A_DAY 86400
#define DER_MAX 4096

static struct t_domain d;

static int64_t now(void) { return clock_wall_s(d.kms.clock); }

static const char *vault_of(const struct t_person *p) { return p->vault[0] != '\0' ? p->vault : NULL; }

static kms_status finish(struct op *op, kms_status status)
{
	kms_status written = t_op_finish(op, status);
	t_op_free(op);
	return status != KMS_OK ? status : written;
}

/* Who asks: NULL = the local user. The vault is that of the holder. */
static kms_status add_secret(const struct t_person *who, const struct t_person *to, enum store_credential_kind kind, unsigned days,
                             struct store_credential *ret, struct secret **ret_secret, struct kms_err *ret_err)
{
	struct op *op = who != NULL ? t_op_as(&d, who, vault_of(to), EVENT_PRINCIPAL, 1) : t_op(&d, vault_of(to), EVENT_PRINCIPAL);

	*ret_err = (struct kms_err){ 0 };
	return finish(op, credential_add_secret(op, to->id, kind, "of a test", days, ret, ret_secret, ret_err));
}

static kms_status try_secret(const struct t_person *who, const struct t_person *to, enum store_credential_kind kind)
{
	struct store_credential c;
	SECRET_AUTO *secret = NULL;
	struct kms_err err;
	return add_secret(who, to, kind, 1, &c, &secret, &err);
}

static kms_status remove_credential(const struct t_person *p, const uint8_t id[STORE_ID_LEN])
{
	struct op *op = t_op(&d, vault_of(p), EVENT_PRINCIPAL);
	struct kms_err err = { 0 };
	return finish(op, credential_remove(op, p->id, id, &err));
}

static bool matches_text(const struct t_person *p, enum store_credential_kind kind, const void *text, size_t len)
{
	struct store_principal row;
	struct kms_err err = { 0 };
	bool does = true;

	if (p != NULL)
		assert_int_equal(store_principal(d.store->r, p->id, &row, NULL), KMS_OK);
	assert_int_equal(credential_matches(d.store->r, p != NULL ? &row : NULL, kind, text, len, now(), &does, &err), KMS_OK);
	return does;
}

static bool matches(const struct t_person *p, enum store_credential_kind kind, const struct secret *secret)
{
	return matches_text(p, kind, secret_data(secret), CLIENT_SECRET_TEXT);
}

static size_t count_credentials(const struct t_person *p)
{
	struct store_credential list[STORE_CREDENTIALS_MAX];
	size_t count = 0;

	assert_int_equal(store_credentials(d.store->r, p->id, list, STORE_CREDENTIALS_MAX, &count, NULL), KMS_OK);
	for (size_t i = 0; i < count; i++)
		store_credential_clear(&list[i]);
	return count;
}

/* ---- making ---- */

static void a_principal_is_made_with_a_secret_or_without(void **state)
{
	static const char *const BAD[] = { "14b46e9e-c2b7-41b4-b07b-48a6ebf60603", "", "two words", "a/b", "12345678901234567890123456789012345678901234567890123456789012345" };
	struct store_principal p, other;
	struct t_person as = { .vault = "make" };
	SECRET_AUTO *secret = NULL;
	SECRET_AUTO *none = NULL;
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "make", false);
	op = t_op(&d, "make", EVENT_PRINCIPAL);
	assert_int_equal(principal_create(op, "app-1", 30, &p, &secret, &err), KMS_OK);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	assert_true(t_leaf_says(&d, op->write.seq, "\"act\":\"principal_create\""));
	t_op_free(op);
	memcpy(as.id, p.id, STORE_ID_LEN);
	assert_true(matches(&as, STORE_CREDENTIAL_SECRET, secret));
	assert_false(matches(&as, STORE_CREDENTIAL_HEADER, secret));
	t_domain_pass(30 * A_DAY - 1);
	assert_true(matches(&as, STORE_CREDENTIAL_SECRET, secret));
	t_domain_pass(1);
	assert_false(matches(&as, STORE_CREDENTIAL_SECRET, secret));

	op = t_op(&d, "make", EVENT_PRINCIPAL);
	assert_int_equal(finish(op, principal_create(op, "app-2", 0, &other, &none, &err)), KMS_OK);
	assert_null(none);
	memcpy(as.id, other.id, STORE_ID_LEN);
	assert_int_equal(count_credentials(&as), 0);
	assert_int_equal(other.kind, STORE_PRINCIPAL_CALLER);
	assert_memory_not_equal(p.pid, other.pid, sizeof(p.pid));

	op = t_op(&d, "make", EVENT_PRINCIPAL);
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		assert_int_equal(principal_create(op, BAD[i], 30, &p, &none, &err), KMS_E_INVALID);
	assert_int_equal(principal_create(op, "app", SECRET_DAYS_MAX + 1, &p, &none, &err), KMS_E_INVALID);
	assert_false(op->has_intent);
	t_op_free(op);
}

static void the_installation_has_principals_of_its_own_and_no_groups(void **state)
{
	struct store_principal p, found;
	SECRET_AUTO *secret = NULL;
	struct kms_err err = { 0 };
	struct op *op = t_op(&d, NULL, EVENT_PRINCIPAL);

	(void)state;
	assert_int_equal(group_create(op, "team", &p, &err), KMS_E_INVALID);
	t_op_free(op);
	op = t_op(&d, NULL, EVENT_PRINCIPAL);
	assert_int_equal(finish(op, principal_create(op, "operator", 1, &p, &secret, &err)), KMS_OK);
	t_vault(&d, "none-of-it", false);
	op = t_op(&d, "none-of-it", EVENT_PRINCIPAL);
	assert_int_equal(principal_find(op, p.id, &found, &err), KMS_E_NOTFOUND);
	t_op_free(op);
	op = t_op(&d, NULL, EVENT_PRINCIPAL);
	assert_int_equal(principal_find(op, p.id, &found, &err), KMS_OK);
	t_op_free(op);
}

static void nothing_is_done_to_somebody_of_another_directory(void **state)
{
	struct t_person p, group;
	struct store_principal changed;
	struct store_credential c;
	SECRET_AUTO *secret = NULL;
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "mine", false);
	t_vault(&d, "yours", false);
	p = t_newcomer(&d, "yours", "app");
	group = t_group(&d, "yours", "team", (enum role)0);
	assert_int_equal(try_secret(NULL, &p, STORE_CREDENTIAL_SECRET), KMS_OK);
	op = t_op(&d, "mine", EVENT_PRINCIPAL);
	assert_int_equal(principal_enable(op, p.id, false, &changed, &err), KMS_E_NOTFOUND);
	assert_int_equal(principal_revoke_tokens(op, p.id, &changed, &err), KMS_E_NOTFOUND);
	assert_int_equal(credential_add_secret(op, p.id, STORE_CREDENTIAL_SECRET, "", 1, &c, &secret, &err), KMS_E_NOTFOUND);
	assert_int_equal(credential_add_identity(op, p.id, "entra", "x", &c, &err), KMS_E_NOTFOUND);
	assert_int_equal(credential_remove(op, p.id, p.id, &err), KMS_E_NOTFOUND);
	assert_int_equal(group_change(op, group.id, p.id, true, &err), KMS_E_NOTFOUND);
	assert_false(op->has_intent);
	t_op_free(op);
	assert_int_equal(count_credentials(&p), 1);
}

/* ---- secrets ---- */

static void two_secrets_are_in_date_together_and_a_third_has_to_wait(void **state)
{
	static const enum store_credential_kind KINDS[] = { STORE_CREDENTIAL_SECRET, STORE_CREDENTIAL_HEADER };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(KINDS); i++) {
		const char *vault = i == 0 ? "overlap-s" : "overlap-h";
		struct store_credential first, second, third;
		SECRET_AUTO *one = NULL;
		SECRET_AUTO *two = NULL;
		SECRET_AUTO *three = NULL;
		struct t_person p, other;
		struct kms_err err;

		t_vault(&d, vault, false);
		p = t_newcomer(&d, vault, "app");
		other = t_newcomer(&d, vault, "other");
		assert_int_equal(add_secret(NULL, &p, KINDS[i], 10, &first, &one, &err), KMS_OK);
		assert_int_equal(add_secret(NULL, &p, KINDS[i], 20, &second, &two, &err), KMS_OK);
		assert_true(matches(&p, KINDS[i], one));
		assert_true(matches(&p, KINDS[i], two));
		assert_false(matches(&p, KINDS[1 - i], one)); /* each kind opens its own door */
		assert_false(matches(&other, KINDS[i], one));
		assert_false(matches(NULL, KINDS[i], one));
		assert_false(matches_text(&p, KINDS[i], "", 0));
		assert_false(matches_text(&p, KINDS[i], first.hash, STORE_HASH_LEN));
		assert_false(matches_text(&p, KINDS[i], secret_data(one), CLIENT_SECRET_TEXT - 1));
		assert_int_equal(add_secret(NULL, &p, KINDS[i], 10, &third, &three, &err), KMS_E_CONFLICT);
		assert_non_null(strstr(err.message, "remove one first"));
		assert_null(three);
		assert_int_equal(try_secret(NULL, &p, KINDS[1 - i]), KMS_OK);

		assert_int_equal(remove_credential(&p, first.id), KMS_OK);
		assert_int_equal(remove_credential(&p, first.id), KMS_E_NOTFOUND);
		assert_int_equal(remove_credential(&other, second.id), KMS_E_NOTFOUND);
		assert_false(matches(&p, KINDS[i], one));
		assert_true(matches(&p, KINDS[i], two));
		assert_int_equal(add_secret(NULL, &p, KINDS[i], 10, &third, &three, &err), KMS_OK);
		t_domain_pass(10 * A_DAY);
		assert_false(matches(&p, KINDS[i], three)); /* its time is over: there is room again */
		assert_int_equal(try_secret(NULL, &p, KINDS[i]), KMS_OK);
		t_enable(&d, &p, false);
		assert_false(matches(&p, KINDS[i], two));
		t_enable(&d, &p, true);
		assert_true(matches(&p, KINDS[i], two));
	}
}

static void what_has_expired_takes_its_place_until_it_is_removed(void **state)
{
	struct t_person p;
	struct store_credential c;
	SECRET_AUTO *last = NULL;
	struct kms_err err;

	(void)state;
	t_vault(&d, "full", false);
	p = t_newcomer(&d, "full", "app");
	for (int i = 0; i < STORE_CREDENTIALS_MAX; i++) {
		assert_int_equal(try_secret(NULL, &p, STORE_CREDENTIAL_SECRET), KMS_OK);
		t_domain_pass(A_DAY);
	}
	assert_int_equal(add_secret(NULL, &p, STORE_CREDENTIAL_SECRET, 1, &c, &last, &err), KMS_E_CONFLICT);
	assert_non_null(strstr(err.message, "have expired"));
}

static void labels_and_days_of_secrets_are_checked(void **state)
{
	static const char *const BAD[] = { "line\n", "\x7f", "\xff\xfe" };
	char longest[STORE_LABEL_MAX + 2];
	struct t_person p;
	struct store_credential c;
	SECRET_AUTO *secret = NULL;
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "labels", false);
	p = t_newcomer(&d, "labels", "app");
	op = t_op(&d, "labels", EVENT_PRINCIPAL);
	memset(longest, 'x', sizeof(longest));
	longest[STORE_LABEL_MAX + 1] = '\0';
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		assert_int_equal(credential_add_secret(op, p.id, STORE_CREDENTIAL_SECRET, BAD[i], 1, &c, &secret, &err), KMS_E_INVALID);
	assert_int_equal(credential_add_secret(op, p.id, STORE_CREDENTIAL_SECRET, longest, 1, &c, &secret, &err), KMS_E_INVALID);
	assert_int_equal(credential_add_secret(op, p.id, STORE_CREDENTIAL_SECRET, "", 0, &c, &secret, &err), KMS_E_INVALID);
	assert_int_equal(credential_add_secret(op, p.id, STORE_CREDENTIAL_SECRET, "", SECRET_DAYS_MAX + 1, &c, &secret, &err), KMS_E_INVALID);
	assert_false(op->has_intent);
	assert_null(secret);
	longest[STORE_LABEL_MAX] = '\0';
	assert_int_equal(finish(op, credential_add_secret(op, p.id, STORE_CREDENTIAL_SECRET, longest, SECRET_DAYS_MAX, &c, &secret, &err)), KMS_OK);
	assert_string_equal(c.label, longest);
	assert_int_equal(c.expires_s, now() + (int64_t)SECRET_DAYS_MAX * A_DAY);
}

/* ---- who decides ---- */

/* Otherwise an administrator gives an approver a secret, goes in as the approver, and agrees to what he asked for himself. */
static void a_way_in_to_somebody_who_manages_is_given_by_two(void **state)
{
	struct t_person chief, approver, user, bosses;
	struct store_credential c;
	struct kms_err err = { 0 };
	struct op *op = NULL;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	t_vault(&d, "ways-in", false);
	approver = t_person(&d, "ways-in", "approver", ROLE_APPROVER);
	chief = t_person(&d, "ways-in", "chief", ROLE_ADMINISTRATOR);
	user = t_person(&d, "ways-in", "user", ROLE_CRYPTO_OFFICER);
	bosses = t_group(&d, "ways-in", "bosses", ROLE_ADMINISTRATOR);
	assert_int_equal(try_secret(&chief, &user, STORE_CREDENTIAL_SECRET), KMS_OK);
	assert_int_equal(try_secret(&chief, &chief, STORE_CREDENTIAL_SECRET), KMS_OK); /* his own door */
	assert_int_equal(try_secret(&chief, &approver, STORE_CREDENTIAL_SECRET), KMS_E_APPROVAL);
	assert_int_equal(try_secret(NULL, &approver, STORE_CREDENTIAL_SECRET), KMS_E_APPROVAL);
	assert_int_equal(count_credentials(&approver), 1); /* its own */
	op = t_op_as(&d, &chief, "ways-in", EVENT_PRINCIPAL, 1);
	assert_int_equal(finish(op, credential_add_identity(op, approver.id, "entra", "mine", &c, &err)), KMS_E_APPROVAL);
	op = t_op_as(&d, &chief, "ways-in", EVENT_PRINCIPAL, 1);
	assert_int_equal(finish(op, credential_add_identity(op, bosses.id, "entra", "group:everybody", &c, &err)), KMS_E_APPROVAL);
	assert_int_equal(count_credentials(&bosses), 0);
	/* Nor while the approver is switched off. */
	t_enable(&d, &approver, false);
	assert_int_equal(try_secret(&chief, &approver, STORE_CREDENTIAL_HEADER), KMS_E_APPROVAL);
	t_enable(&d, &approver, true);

	t_vault(&d, "agreed-in", false);
	approver = t_person(&d, "agreed-in", "approver", ROLE_APPROVER);
	chief = t_person(&d, "agreed-in", "chief", ROLE_ADMINISTRATOR);
	user = t_person(&d, "agreed-in", "deputy", ROLE_ADMINISTRATOR);
	assert_int_equal(try_secret(&chief, &user, STORE_CREDENTIAL_SECRET), KMS_E_APPROVAL);
	assert_true(t_open_request(&d, "agreed-in", id));
	assert_int_equal(t_vote(&d, &approver, "agreed-in", id, true, &err), KMS_OK);
	assert_int_equal(try_secret(&chief, &user, STORE_CREDENTIAL_HEADER), KMS_E_APPROVAL); /* agreed to was another kind */
	assert_int_equal(try_secret(&chief, &user, STORE_CREDENTIAL_SECRET), KMS_OK);
}

static void whoever_holds_a_role_everywhere_is_not_a_vaults_to_manage(void **state)
{
	struct t_person chief, auditor;
	const struct rig_grant everywhere = { .vault = "theirs-not", .role = ROLE_AUDITOR, .at_installation = true };
	struct store_principal changed;
	struct store_credential c;
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "theirs-not", false);
	chief = t_person(&d, "theirs-not", "chief", ROLE_ADMINISTRATOR);
	auditor = t_newcomer(&d, "theirs-not", "auditor");
	assert_int_equal(rig_role(&d, NULL, auditor.id, &everywhere, true, &err), KMS_OK);
	op = t_op_as(&d, &chief, "theirs-not", EVENT_PRINCIPAL, 1);
	assert_int_equal(principal_enable(op, auditor.id, false, &changed, &err), KMS_E_FORBIDDEN);
	assert_int_equal(principal_revoke_tokens(op, auditor.id, &changed, &err), KMS_E_FORBIDDEN);
	assert_int_equal(credential_add_identity(op, auditor.id, "entra", "x", &c, &err), KMS_E_FORBIDDEN);
	assert_int_equal(credential_remove(op, auditor.id, auditor.id, &err), KMS_E_FORBIDDEN);
	assert_false(op->has_intent);
	t_op_free(op);
	assert_int_equal(try_secret(NULL, &auditor, STORE_CREDENTIAL_SECRET), KMS_OK); /* the installation's own host may */
}

/* Whoever decides for the installation must not decide by it who manages a vault: one is asked in the vault, or nobody is. */
static void a_role_everywhere_is_no_way_around_those_of_the_vault(void **state)
{
	static const enum role MANAGES[] = { ROLE_ADMINISTRATOR, ROLE_APPROVER };
	struct rig_grant everywhere = { .vault = "both", .role = ROLE_APPROVER, .at_installation = true };
	struct t_person central, both[KMS_ARRAY_LEN(MANAGES)];
	struct store_credential c;
	SECRET_AUTO *secret = NULL;
	struct kms_err err;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	t_vault(&d, "both", false);
	central = t_person(&d, NULL, "both-central", ROLE_APPROVER);
	both[0] = t_person(&d, "both", "chief", MANAGES[0]);
	both[1] = t_person(&d, "both", "approver", MANAGES[1]);
	for (size_t i = 0; i < KMS_ARRAY_LEN(MANAGES); i++) {
		assert_int_equal(rig_role(&d, NULL, both[i].id, &everywhere, true, &err), KMS_E_APPROVAL);
		assert_true(t_open_request(&d, NULL, id));
		assert_int_equal(t_vote(&d, &central, NULL, id, true, &err), KMS_OK);
		assert_int_equal(rig_role(&d, NULL, both[i].id, &everywhere, true, &err), KMS_OK);
		assert_int_equal(add_secret(NULL, &both[i], STORE_CREDENTIAL_SECRET, 1, &c, &secret, &err), KMS_E_FORBIDDEN);
		assert_non_null(strstr(err.message, "manages this vault and holds a role in the whole installation"));
		assert_int_equal(rig_identity(&d, &both[i], "entra", "puppet", &err), KMS_E_FORBIDDEN);
		assert_false(t_open_request(&d, NULL, id)); /* nobody of the installation is asked */
		assert_int_equal(count_credentials(&both[i]), 1);
	}
	/* One of the two taken away: those of the vault are asked, and an approval of the installation's does not come to it. */
	assert_int_equal(rig_role(&d, NULL, both[0].id, &everywhere, false, &err), KMS_OK);
	assert_int_equal(add_secret(NULL, &both[0], STORE_CREDENTIAL_SECRET, 1, &c, &secret, &err), KMS_E_APPROVAL);
	assert_false(t_open_request(&d, NULL, id));
	assert_true(t_open_request(&d, "both", id));
}

static void a_pool_and_a_service_are_known_by_their_certificates_alone(void **state)
{
	static const char *const SUBJECT[] = { "service.example" };
	const struct ekm_pool_spec spec = { .is_service = true, .name = "service", .prefix = "", .subjects = SUBJECT, .subject_count = 1, .roots = &RIG_ROOT,
		                            .root_count = 1 };
	struct rig_pool pool;
	STORE_POOL_AUTO service = { 0 };
	struct t_person as = { .vault = "certs" };
	struct store_credential c;
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "certs", false);
	pool = rig_pool(&d, "certs", "hsm", "certs.example");
	op = t_op(&d, "certs", EVENT_EKM_POOL);
	assert_int_equal(finish(op, ekm_pool_add(op, &spec, &service, &err)), KMS_OK);
	for (int i = 0; i < 2; i++) {
		memcpy(as.id, i == 0 ? pool.caller.principal_id : service.id, STORE_ID_LEN);
		assert_int_equal(try_secret(NULL, &as, STORE_CREDENTIAL_SECRET), KMS_E_INVALID);
		assert_int_equal(try_secret(NULL, &as, STORE_CREDENTIAL_HEADER), KMS_E_INVALID);
		op = t_op(&d, "certs", EVENT_PRINCIPAL);
		assert_int_equal(credential_add_identity(op, as.id, "entra", "x", &c, &err), KMS_E_INVALID);
		t_op_free(op);
		assert_int_equal(count_credentials(&as), 0);
	}
}

/* Who decides which certificates a service has may be it. */
static void certificates_of_a_service_that_manages_are_replaced_by_two(void **state)
{
	static const char *const SUBJECT[] = { "robot.example" };
	const struct ekm_pool_spec spec = { .is_service = true, .name = "robot", .prefix = "", .subjects = SUBJECT, .subject_count = 1, .roots = &RIG_ROOT,
		                            .root_count = 1 };
	struct t_person chief, as = { .vault = "robots" };
	STORE_POOL_AUTO service = { 0 };
	STORE_POOL_AUTO changed = { 0 };
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "robots", false);
	(void)t_person(&d, "robots", "approver", ROLE_APPROVER);
	chief = t_person(&d, "robots", "chief", ROLE_ADMINISTRATOR);
	op = t_op(&d, "robots", EVENT_EKM_POOL);
	assert_int_equal(finish(op, ekm_pool_add(op, &spec, &service, &err)), KMS_OK);
	op = t_op_as(&d, &chief, "robots", EVENT_EKM_POOL, 1);
	assert_int_equal(finish(op, ekm_pool_set(op, service.id, &spec, &changed, &err)), KMS_OK);
	store_pool_clear(&changed);
	memcpy(as.id, service.id, STORE_ID_LEN);
	t_role(&d, &as, ROLE_ADMINISTRATOR, true);
	op = t_op_as(&d, &chief, "robots", EVENT_EKM_POOL, 1);
	assert_int_equal(finish(op, ekm_pool_set(op, service.id, &spec, &changed, &err)), KMS_E_APPROVAL);
}

static void groups_are_known_by_claims_alone(void **state)
{
	static const char *const BAD[] = { "team", "group:", "role:", "Group:team", "user:team", "" };
	struct t_person group, p;
	struct store_credential c;
	struct store_principal changed;
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "known", false);
	group = t_group(&d, "known", "team", (enum role)0);
	p = t_newcomer(&d, "known", "app");
	assert_int_equal(try_secret(NULL, &group, STORE_CREDENTIAL_SECRET), KMS_E_INVALID);
	assert_int_equal(try_secret(NULL, &group, STORE_CREDENTIAL_HEADER), KMS_E_INVALID);
	op = t_op(&d, "known", EVENT_PRINCIPAL);
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		assert_int_equal(credential_add_identity(op, group.id, "entra", BAD[i], &c, &err), KMS_E_INVALID);
	assert_int_equal(principal_revoke_tokens(op, group.id, &changed, &err), KMS_E_INVALID);
	assert_int_equal(group_change(op, p.id, group.id, true, &err), KMS_E_INVALID); /* no group */
	assert_false(op->has_intent);
	t_op_free(op);
	assert_int_equal(rig_identity(&d, &group, "entra", "group:team", &err), KMS_OK);
	assert_int_equal(rig_identity(&d, &group, "entra", "role:team", &err), KMS_OK);
}

static void an_identity_is_somebodys_once_in_each_directory(void **state)
{
	static const char *const ISSUERS[] = { "", "Entra", "en tra", "a/b", "123456789012345678901234567890123" };
	char longest[CALLER_SUBJECT_MAX + 2];
	struct t_person a, b, there, group, another;
	struct kms_err err;

	(void)state;
	t_vault(&d, "once", false);
	t_vault(&d, "twice", false);
	a = t_newcomer(&d, "once", "a");
	b = t_newcomer(&d, "once", "b");
	there = t_newcomer(&d, "twice", "a");
	group = t_group(&d, "once", "team", (enum role)0);
	another = t_group(&d, "once", "team-2", (enum role)0);
	assert_int_equal(rig_identity(&d, &a, "entra", "oid-1", &err), KMS_OK);
	assert_int_equal(rig_identity(&d, &b, "entra", "oid-1", &err), KMS_E_CONFLICT);
	assert_non_null(strstr(err.message, "another principal"));
	assert_int_equal(rig_identity(&d, &a, "entra", "oid-1", &err), KMS_E_CONFLICT);
	assert_int_equal(rig_identity(&d, &there, "entra", "oid-1", &err), KMS_OK);
	assert_int_equal(rig_identity(&d, &b, "adfs", "oid-1", &err), KMS_OK);
	assert_int_equal(rig_identity(&d, &group, "entra", "group:g", &err), KMS_OK);
	assert_int_equal(rig_identity(&d, &another, "entra", "group:g", &err), KMS_E_CONFLICT);
	for (size_t i = 0; i < KMS_ARRAY_LEN(ISSUERS); i++)
		assert_int_equal(rig_identity(&d, &a, ISSUERS[i], "oid-2", &err), KMS_E_INVALID);
	memset(longest, 's', sizeof(longest));
	longest[CALLER_SUBJECT_MAX + 1] = '\0';
	assert_int_equal(rig_identity(&d, &a, "entra", longest, &err), KMS_E_INVALID);
	assert_int_equal(rig_identity(&d, &a, "entra", "", &err), KMS_E_INVALID);
	assert_int_equal(rig_identity(&d, &a, "entra", "a\nb", &err), KMS_E_INVALID);
	longest[CALLER_SUBJECT_MAX] = '\0';
	assert_int_equal(rig_identity(&d, &a, "entra", longest, &err), KMS_OK);
	longest[0] = 'a';
	assert_int_equal(rig_identity(&d, &a, "entra", longest, &err), KMS_OK); /* two that differ where no label shows it */
	longest[CALLER_SUBJECT_MAX - 1] = 'a';
	assert_int_equal(rig_identity(&d, &a, "entra", longest, &err), KMS_OK);
	assert_int_equal(rig_identity(&d, &a, "entra", "one-more", &err), KMS_E_CONFLICT);
	assert_int_equal(count_credentials(&a), IDENTITIES_MAX);
}

/* ---- certificates ---- */

/* Of any key, signed by another one. @return its length */
static size_t make_certificate_by(EVP_PKEY *key, EVP_PKEY *signer, const EVP_MD *md, uint8_t ret_der[DER_MAX])
{
	X509 *x = X509_new();
	uint8_t *at = ret_der;
	int len = 0;

	assert_non_null(key);
	assert_non_null(x);
	assert_int_equal(X509_set_version(x, X509_VERSION_3), 1);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), 1), 1);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), 0));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), A_DAY));
	assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)"app", -1, -1, 0), 1);
	assert_int_equal(X509_set_issuer_name(x, X509_get_subject_name(x)), 1);
	assert_int_equal(X509_set_pubkey(x, key), 1);
	assert_true(X509_sign(x, signer, md) > 0);
	assert_true(i2d_X509(x, NULL) <= DER_MAX);
	len = i2d_X509(x, &at);
	X509_free(x);
	EVP_PKEY_free(key);
	return (size_t)len;
}

/* Self-signed. */
static size_t make_certificate(EVP_PKEY *key, const EVP_MD *md, uint8_t ret_der[DER_MAX]) { return make_certificate_by(key, key, md, ret_der); }

static kms_status add_certificate(const struct t_person *p, const uint8_t *der, size_t len, int64_t not_after_s, struct store_credential *ret,
                                  struct kms_err *ret_err)
{
	struct op *op = t_op(&d, vault_of(p), EVENT_PRINCIPAL);

	*ret_err = (struct kms_err){ 0 };
	return finish(op, credential_add_certificate(op, p->id, der, len, not_after_s, "of a test", ret, ret_err));
}

static void certificates_of_good_keys_are_taken_and_kept_whole(void **state)
{
	static const char *const CURVES[] = { "P-256", "P-384", "P-521" };
	struct store_credential c, list[STORE_CREDENTIALS_MAX];
	struct t_person p, other;
	struct kms_err err;
	uint8_t der[DER_MAX];
	size_t len = 0, count = 0;

	(void)state;
	t_vault(&d, "x509", false);
	p = t_newcomer(&d, "x509", "app");
	other = t_newcomer(&d, "x509", "other");
	len = make_certificate(EVP_RSA_gen(2048), EVP_sha256(), der);
	assert_int_equal(add_certificate(&p, der, len, now() + A_DAY, &c, &err), KMS_OK);
	assert_null(c.data);
	assert_int_equal(c.expires_s, now() + A_DAY);
	assert_int_equal(store_credentials(d.store->r, p.id, list, STORE_CREDENTIALS_MAX, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(list[0].data_len, len);
	assert_memory_equal(list[0].data, der, len);
	assert_memory_equal(list[0].hash, c.hash, STORE_HASH_LEN);
	store_credential_clear(&list[0]);
	assert_int_equal(add_certificate(&p, der, len, now() + A_DAY, &c, &err), KMS_E_CONFLICT);
	assert_int_equal(add_certificate(&other, der, len, now() + A_DAY, &c, &err), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CURVES); i++) {
		len = make_certificate(EVP_EC_gen(CURVES[i]), EVP_sha256(), der);
		assert_int_equal(add_certificate(&p, der, len, now() + A_DAY, &c, &err), KMS_OK);
	}
	len = make_certificate(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL, der);
	assert_int_equal(add_certificate(&p, der, len, now() + A_DAY, &c, &err), KMS_E_CONFLICT); /* four are enough */
	assert_int_equal(add_certificate(&other, der, len, now() + A_DAY, &c, &err), KMS_OK);
	assert_int_equal(remove_credential(&other, c.id), KMS_OK);
	assert_int_equal(count_credentials(&other), 1);
}

static void other_certificates_are_refused(void **state)
{
	struct store_credential c;
	struct t_person p;
	struct kms_err err;
	uint8_t der[DER_MAX];
	static uint8_t huge[STORE_CREDENTIAL_DATA_MAX + 1];
	size_t len = 0;

	(void)state;
	t_vault(&d, "x509-bad", false);
	p = t_newcomer(&d, "x509-bad", "app");
	len = make_certificate(EVP_RSA_gen(1024), EVP_sha256(), der);
	assert_int_equal(add_certificate(&p, der, len, now() + A_DAY, &c, &err), KMS_E_INVALID);
	assert_non_null(strstr(err.message, "its key must be"));
	len = make_certificate(EVP_EC_gen("secp256k1"), EVP_sha256(), der);
	assert_int_equal(add_certificate(&p, der, len, now() + A_DAY, &c, &err), KMS_E_INVALID);
	len = make_certificate(EVP_EC_gen("P-224"), EVP_sha256(), der);
	assert_int_equal(add_certificate(&p, der, len, now() + A_DAY, &c, &err), KMS_E_INVALID);
	len = make_certificate(EVP_PKEY_Q_keygen(NULL, NULL, "ED448"), NULL, der);
	assert_int_equal(add_certificate(&p, der, len, now() + A_DAY, &c, &err), KMS_E_INVALID);
	len = make_certificate(EVP_EC_gen("P-256"), EVP_sha256(), der);
	assert_int_equal(add_certificate(&p, der, len, now(), &c, &err), KMS_E_INVALID);
	assert_non_null(strstr(err.message, "expired"));
	assert_int_equal(add_certificate(&p, der, len - 1, now() + A_DAY, &c, &err), KMS_E_INVALID);
	assert_int_equal(add_certificate(&p, der, len + 1, now() + A_DAY, &c, &err), KMS_E_INVALID);
	assert_int_equal(add_certificate(&p, der, 0, now() + A_DAY, &c, &err), KMS_E_INVALID);
	assert_int_equal(add_certificate(&p, huge, sizeof(huge), now() + A_DAY, &c, &err), KMS_E_INVALID);
	assert_int_equal(count_credentials(&p), 0);
}

/* Whoever registers it chooses what each of its signatures costs to check; and with 1 anything is signed. */
static void certificates_with_other_rsa_exponents_are_refused(void **state)
{
	static const char *const BAD[] = { "1", "2", "10000", "10000000000000001" };
	struct store_credential c;
	struct t_person p;
	struct kms_err err;
	EVP_PKEY *rsa = jose_key("RSA");
	uint8_t der[DER_MAX];
	size_t len = 0, before = 0;

	(void)state;
	t_vault(&d, "x509-exponents", false);
	p = t_newcomer(&d, "x509-exponents", "app");
	before = count_credentials(&p);
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		len = make_certificate_by(jose_rsa_public(rsa, BAD[i]), rsa, EVP_sha256(), der);
		if (add_certificate(&p, der, len, now() + A_DAY, &c, &err) != KMS_E_INVALID || strstr(err.message, "exponent") == NULL)
			fail_msg("exponent 0x%s: %s", BAD[i], err.message);
	}
	assert_int_equal(count_credentials(&p), before);
	len = make_certificate_by(jose_rsa_public(rsa, "FFFFFFFFFFFFFFFF"), rsa, EVP_sha256(), der);
	assert_int_equal(add_certificate(&p, der, len, now() + A_DAY, &c, &err), KMS_OK);
	EVP_PKEY_free(rsa);
}

/* ---- two at once, and a dead vault ---- */

static void of_two_changes_at_once_neither_undoes_the_other(void **state)
{
	struct t_person p;
	struct store_principal changed;
	struct op *off = NULL, *revoke = NULL;
	struct kms_err err = { 0 };

	(void)state;
	t_vault(&d, "at-once", false);
	p = t_person(&d, "at-once", "app", ROLE_READER);
	off = t_op(&d, "at-once", EVENT_PRINCIPAL);
	revoke = t_op(&d, "at-once", EVENT_PRINCIPAL);
	assert_int_equal(principal_revoke_tokens(revoke, p.id, &changed, &err), KMS_OK); /* as it is now: enabled */
	assert_int_equal(finish(off, principal_enable(off, p.id, false, &changed, &err)), KMS_OK);
	assert_int_equal(t_op_finish(revoke, KMS_OK), KMS_E_FENCED);
	assert_int_equal(t_op_finish(revoke, KMS_E_FENCED), KMS_OK); /* its intent gets an outcome */
	t_op_free(revoke);
	assert_int_equal(store_principal(d.store->r, p.id, &changed, NULL), KMS_OK);
	assert_false(changed.is_enabled);
	revoke = t_op(&d, "at-once", EVENT_PRINCIPAL);
	assert_int_equal(finish(revoke, principal_revoke_tokens(revoke, p.id, &changed, &err)), KMS_OK); /* decided anew */
	assert_int_equal(store_principal(d.store->r, p.id, &changed, NULL), KMS_OK);
	assert_false(changed.is_enabled);
	assert_int_equal(changed.tokens_from_s, now() + 1);
}

static void a_dead_vault_gets_nobody_and_nothing_new(void **state)
{
	struct t_person p, group;
	struct store_principal made;
	SECRET_AUTO *secret = NULL;
	struct store_credential c;
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "dead", false);
	p = t_person(&d, "dead", "app", ROLE_READER);
	group = t_group(&d, "dead", "team", (enum role)0);
	assert_int_equal(rig_member(&d, NULL, &group, &p, true, &err), KMS_OK);
	assert_int_equal(try_secret(NULL, &p, STORE_CREDENTIAL_SECRET), KMS_OK);
	(void)t_shred(&d, "dead", "test");
	op = t_op(&d, "dead", EVENT_PRINCIPAL);
	assert_int_equal(principal_create(op, "late", 1, &made, &secret, &err), KMS_E_VAULT_SHREDDED);
	assert_int_equal(group_create(op, "late", &made, &err), KMS_E_VAULT_SHREDDED);
	assert_int_equal(credential_add_secret(op, p.id, STORE_CREDENTIAL_SECRET, "", 1, &c, &secret, &err), KMS_E_VAULT_SHREDDED);
	assert_int_equal(credential_add_identity(op, p.id, "entra", "x", &c, &err), KMS_E_VAULT_SHREDDED);
	t_op_free(op);
	assert_int_equal(rig_role(&d, NULL, p.id, &(struct rig_grant){ .vault = "dead", .role = ROLE_CRYPTO_USER }, true, &err), KMS_E_VAULT_SHREDDED);
	/* What there is can be taken away. */
	assert_int_equal(rig_role(&d, NULL, p.id, &(struct rig_grant){ .vault = "dead", .role = ROLE_READER }, false, &err), KMS_OK);
	assert_int_equal(rig_member(&d, NULL, &group, &p, false, &err), KMS_OK);
	assert_int_equal(rig_member(&d, NULL, &group, &p, true, &err), KMS_E_VAULT_SHREDDED);
}

static void groups_are_made_and_say_so(void **state)
{
	struct store_principal group;
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "groups", false);
	op = t_op(&d, "groups", EVENT_PRINCIPAL);
	assert_int_equal(group_create(op, "team", &group, &err), KMS_OK);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	assert_true(t_leaf_says(&d, op->write.seq, "\"act\":\"group_create\",\"name\":\"team\""));
	t_op_free(op);
	assert_int_equal(store_principal(d.store->r, group.id, &group, NULL), KMS_OK);
	assert_int_equal(group.kind, STORE_PRINCIPAL_GROUP);
	assert_true(group.is_enabled);
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
		cmocka_unit_test(a_principal_is_made_with_a_secret_or_without),
		cmocka_unit_test(the_installation_has_principals_of_its_own_and_no_groups),
		cmocka_unit_test(nothing_is_done_to_somebody_of_another_directory),
		cmocka_unit_test(two_secrets_are_in_date_together_and_a_third_has_to_wait),
		cmocka_unit_test(what_has_expired_takes_its_place_until_it_is_removed),
		cmocka_unit_test(labels_and_days_of_secrets_are_checked),
		cmocka_unit_test(a_way_in_to_somebody_who_manages_is_given_by_two),
		cmocka_unit_test(whoever_holds_a_role_everywhere_is_not_a_vaults_to_manage),
		cmocka_unit_test(a_role_everywhere_is_no_way_around_those_of_the_vault),
		cmocka_unit_test(a_pool_and_a_service_are_known_by_their_certificates_alone),
		cmocka_unit_test(certificates_of_a_service_that_manages_are_replaced_by_two),
		cmocka_unit_test(groups_are_known_by_claims_alone),
		cmocka_unit_test(an_identity_is_somebodys_once_in_each_directory),
		cmocka_unit_test(certificates_of_good_keys_are_taken_and_kept_whole),
		cmocka_unit_test(other_certificates_are_refused),
		cmocka_unit_test(certificates_with_other_rsa_exponents_are_refused),
		cmocka_unit_test(of_two_changes_at_once_neither_undoes_the_other),
		cmocka_unit_test(a_dead_vault_gets_nobody_and_nothing_new),
		cmocka_unit_test(groups_are_made_and_say_so),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
