/* tests/unit/core_ekm_pool.c - pools of Managed HSM: what makes one, what they may do, and how that ends; on a real token and database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "server/core/access.h"
#include "server/core/principal.h"
#include "tests/support/approvals.h"
#include "tests/support/ekm_rig.h"

static struct t_domain d;

/* ---- helpers ---- */

static kms_status find(const char *vault, const char *name_or_id, struct store_pool *ret, struct store_principal *ret_principal)
{
	struct op *op = t_op(&d, vault, EVENT_AUDIT_READ);
	struct kms_err err = { 0 };
	kms_status status = ekm_pool_find(op, false, name_or_id, ret, ret_principal, &err);

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

static const struct role_scope WHOLE_VAULT = { .expires_s = STORE_NO_TIME };

/* What the pool is told when it calls: opening and the permission to wrap. */
static kms_status call(const struct rig_pool *p, const char *vault)
{
	struct op *op = rig_pool_op(&d, p, EVENT_KEY_WRAP);
	struct kms_err err = { 0 };
	kms_status status = op_open(op, vault, &err);

	if (status == KMS_OK)
		status = op_authorise(op, PERM_KEY_WRAP, NULL, &err);
	t_op_free(op);
	return status;
}

static void enable(const char *vault, const struct rig_pool *p, bool is_enabled)
{
	struct op *op = t_op(&d, vault, EVENT_PRINCIPAL);
	struct store_principal principal;
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, principal_enable(op, p->caller.principal_id, is_enabled, &principal, &err)), KMS_OK);
	t_op_free(op);
}

/* ---- tests ---- */

static void a_pool_is_a_principal_with_one_role_and_without_a_secret(void **state)
{
	static const char *const GUESSES[] = { "", "hsm-1", "contoso.managedhsmclient.azure.net" };
	static const char *const SUBJECTS[] = { "Contoso.ManagedHSMclient.azure.net", "contoso-2.managedhsmclient.azure.net" };
	uint8_t root[64] = { 0 };
	const struct store_root roots[] = { RIG_ROOT, { memcpy(root, RIG_ROOT.der, RIG_ROOT.der_len), RIG_ROOT.der_len } };
	const struct ekm_pool_spec spec = { .name = "hsm-1", .prefix = "//contoso/prod/", .subjects = SUBJECTS, .subject_count = 2, .roots = roots,
		                            .root_count = 2 };
	STORE_POOL_AUTO made = { 0 };
	STORE_POOL_AUTO found = { 0 };
	STORE_POOL_AUTO same = { 0 };
	struct store_assignment roles[4];
	struct store_credential credentials[1];
	struct store_principal p;
	struct kms_err err = { 0 };
	char id[GUID_TEXT_LEN + 1];
	size_t count = 0;
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "pools", false);
	op = t_op(&d, "pools", EVENT_EKM_POOL);
	assert_int_equal(ekm_pool_add(op, &spec, &made, &err), KMS_OK);
	memset(root, 0, sizeof(root)); /* borrowed for the call only */
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	assert_true(t_leaf_says(&d, op->write.seq, "\"act\":\"pool_add\",\"pool\":\"hsm-1\",\"prefix\":\"contoso/prod\""));
	assert_true(t_leaf_says(&d, op->write.seq, "\"subjects\":\"contoso.managedhsmclient.azure.net,contoso-2.managedhsmclient.azure.net\""));
	assert_true(t_leaf_says(&d, op->write.seq, "\"phase\":\"outcome\""));
	assert_int_equal(open_intents(), 0);

	assert_int_equal(find("pools", "HSM-1", &found, &p), KMS_OK);
	assert_memory_equal(found.id, made.id, STORE_ID_LEN);
	guid_format(made.id, id);
	assert_int_equal(find("pools", id, &same, &p), KMS_OK);
	assert_string_equal(found.prefix, "contoso/prod");
	assert_int_equal(found.subject_count, 2);
	assert_string_equal(found.subjects[0], "contoso.managedhsmclient.azure.net");
	assert_int_equal(found.root_count, 2);
	assert_int_equal(made.root_count, 2);
	assert_int_equal(found.roots[1].der_len, RIG_ROOT.der_len);
	assert_memory_equal(found.roots[1].der, RIG_ROOT.der, RIG_ROOT.der_len);
	assert_memory_equal(made.roots[1].der, RIG_ROOT.der, RIG_ROOT.der_len);

	assert_string_equal(p.name, "hsm-1");
	assert_true(p.is_enabled);
	assert_memory_equal(p.vault_id, op->vault.id, STORE_ID_LEN);
	assert_int_equal(store_roles(d.store->r, p.id, roles, KMS_ARRAY_LEN(roles), &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(roles[0].role, ROLE_CRYPTO_SERVICE);
	assert_memory_equal(roles[0].vault_id, op->vault.id, STORE_ID_LEN);

	for (size_t i = 0; i < KMS_ARRAY_LEN(GUESSES); i++) {
		bool matches = true;
		assert_int_equal(credential_matches(d.store->r, &p, STORE_CREDENTIAL_SECRET, GUESSES[i], strlen(GUESSES[i]), T_DOMAIN_START_S, &matches, &err), KMS_OK);
		assert_false(matches);
	}
	assert_int_equal(store_credentials(d.store->r, p.id, credentials, KMS_ARRAY_LEN(credentials), &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	t_op_free(op);
}

static void what_is_wrong_with_a_pool_is_said_and_nothing_is_made(void **state)
{
	static const char *const GOOD[] = { "good.example" }, *const STAR[] = { "*.example" }, *const EMPTY[] = { "" }, *const LINE[] = { "a\nb" };
	static const char *const FOREIGN[] = { "b\xc3\xbc" "cher.example" }, *const TWICE[] = { "a.example", "A.example" };
	static const char *const NINE[] = { "1", "2", "3", "4", "5", "6", "7", "8", "9" };
	static const char *const LONG[] = { "0123456789012345678901234567890123456789012345678901234567890.xyz" };
	static uint8_t huge[STORE_ROOT_MAX + 1];
	const struct store_root big = { huge, sizeof(huge) }, none = { huge, 0 };
	const struct store_root nine[STORE_ROOTS_MAX + 1] = { RIG_ROOT };
	const struct ekm_pool_spec all = { .name = "p", .prefix = "", .subjects = GOOD, .subject_count = 1, .roots = &RIG_ROOT, .root_count = 1 };
	struct {
		struct ekm_pool_spec spec;
		const char *member;
	} cases[17];
	size_t n = 0;
	STORE_POOL_AUTO pool = { 0 };
	struct store_principal p;

	(void)state;
#define CASE(change, text)              \
	do {                            \
		struct ekm_pool_spec s = all; \
		change;                 \
		cases[n].spec = s;      \
		cases[n++].member = text; \
	} while (0)
	CASE(s.name = "", "name:");
	CASE(s.name = "two words", "name:");
	CASE(s.name = LONG[0], "name:");
	CASE(s.prefix = "a_b", "prefix:");
	CASE(s.prefix = LONG[0], "prefix:");
	CASE(s.prefix = "a?b", "prefix:");
	CASE(s.prefix = "a//b", "prefix: no empty segment");
	CASE(s.subjects = STAR, "subjects:");
	CASE(s.subjects = EMPTY, "subjects:");
	CASE(s.subjects = LINE, "subjects:");
	CASE(s.subjects = FOREIGN, "subjects:");
	CASE(s.subjects = LONG, "subjects:");
	CASE(s.subjects = TWICE; s.subject_count = 2, "subjects:");
	CASE(s.subjects = NINE; s.subject_count = 9, "subjects:");
	CASE(s.subject_count = 0, "subjects:");
	CASE(s.root_count = 0, "roots:");
	CASE(s.roots = nine; s.root_count = STORE_ROOTS_MAX + 1, "roots:");
#undef CASE
	assert_int_equal(n, KMS_ARRAY_LEN(cases));
	t_vault(&d, "wrong", false);
	for (size_t i = 0; i < n; i++) {
		struct op *op = t_op(&d, "wrong", EVENT_EKM_POOL);
		struct kms_err err = { 0 };

		if (ekm_pool_add(op, &cases[i].spec, &pool, &err) != KMS_E_INVALID || strncmp(err.message, cases[i].member, strlen(cases[i].member)) != 0)
			fail_msg("case %zu: %s \"%s\"", i, kms_status_name(err.status), err.message);
		assert_false(op->has_intent);
		t_op_free(op);
	}
	for (int i = 0; i < 2; i++) {
		struct op *op = t_op(&d, "wrong", EVENT_EKM_POOL);
		struct ekm_pool_spec s = all;
		struct kms_err err = { 0 };

		s.roots = i == 0 ? &big : &none;
		assert_int_equal(ekm_pool_add(op, &s, &pool, &err), KMS_E_INVALID);
		t_op_free(op);
	}
	assert_int_equal(find("wrong", "p", &pool, &p), KMS_E_NOTFOUND);
	assert_int_equal(open_intents(), 0);
}

static void a_name_and_a_subject_belong_to_one_pool(void **state)
{
	struct kms_err err = { 0 };

	(void)state;
	t_vault(&d, "first", false);
	t_vault(&d, "second", false);
	assert_int_equal(rig_pool_try(&d, "first", "a", "one.example", &err), KMS_OK);
	assert_int_equal(rig_pool_try(&d, "first", "A", "two.example", &err), KMS_E_CONFLICT);
	assert_string_equal(err.message, "name: the vault has a principal named a already.");
	assert_int_equal(rig_pool_try(&d, "second", "a", "ONE.example", &err), KMS_E_CONFLICT);
	assert_string_equal(err.message, "subjects: one.example belongs to another pool or service.");
	assert_int_equal(rig_pool_try(&d, "second", "a", "two.example", &err), KMS_OK);
	/* More pools than one page, and the one that has the subject anywhere among them. */
	for (char name[] = "b"; name[0] < 'm'; name[0]++)
		assert_int_equal(rig_pool_try(&d, "second", name, name, &err), KMS_OK);
	for (char name[] = "b"; name[0] < 'm'; name[0]++)
		assert_int_equal(rig_pool_try(&d, "first", "z", name, &err), KMS_E_CONFLICT);
	assert_int_equal(open_intents(), 0);
}

static void a_race_for_a_subject_has_one_winner(void **state)
{
	static const char *const SUBJECT[] = { "raced.example" };
	struct ekm_pool_spec spec = { .name = "fast", .prefix = "", .subjects = SUBJECT, .subject_count = 1, .roots = &RIG_ROOT, .root_count = 1 };
	STORE_POOL_AUTO one = { 0 };
	STORE_POOL_AUTO two = { 0 };
	struct store_principal p;
	struct kms_err err = { 0 };
	struct op *fast = NULL, *slow = NULL;

	(void)state;
	t_vault(&d, "race", false);
	fast = t_op(&d, "race", EVENT_EKM_POOL);
	slow = t_op(&d, "race", EVENT_EKM_POOL);
	assert_int_equal(ekm_pool_add(fast, &spec, &one, &err), KMS_OK);
	spec.name = "slow";
	assert_int_equal(ekm_pool_add(slow, &spec, &two, &err), KMS_OK);
	assert_int_equal(t_op_finish(fast, KMS_OK), KMS_OK);
	assert_int_equal(t_op_finish(slow, KMS_OK), KMS_E_CONFLICT);
	assert_int_equal(t_op_finish(slow, KMS_E_CONFLICT), KMS_OK); /* its intent gets the refusal as outcome */
	t_op_free(fast);
	t_op_free(slow);
	store_pool_clear(&one);
	assert_int_equal(find("race", "slow", &one, &p), KMS_E_NOTFOUND);
	assert_int_equal(open_intents(), 0);
}

static void new_certificates_replace_the_old_ones_and_fence_what_is_under_way(void **state)
{
	static const char *const BOTH[] = { "old.example", "new.example" };
	static uint8_t other[] = "another root";
	const struct store_root roots[] = { RIG_ROOT, { other, sizeof(other) } };
	const struct ekm_pool_spec spec = { .subjects = BOTH, .subject_count = 2, .roots = roots, .root_count = 2 };
	STORE_POOL_AUTO set = { 0 };
	STORE_POOL_AUTO found = { 0 };
	struct store_principal p;
	struct kms_err err = { 0 };
	struct rig_pool pool;
	struct op *op = NULL, *use = NULL;

	(void)state;
	t_vault(&d, "renew", false);
	t_vault(&d, "stranger", false);
	pool = rig_pool(&d, "renew", "hsm", "old.example");
	assert_int_equal(rig_pool_try(&d, "renew", "other", "taken.example", &err), KMS_OK);
	use = rig_pool_op(&d, &pool, EVENT_EKM_INFO);
	assert_int_equal(op_open(use, "renew", &err), KMS_OK);
	t_domain_pass(60);
	op = t_op(&d, "renew", EVENT_EKM_POOL);
	assert_int_equal(t_op_finish(op, ekm_pool_set(op, pool.caller.principal_id, &spec, &set, &err)), KMS_OK);
	assert_true(t_leaf_says(&d, op->write.seq, "\"act\":\"pool_set\",\"pool\":\"hsm\""));
	t_op_free(op);
	assert_int_equal(find("renew", "hsm", &found, &p), KMS_OK);
	assert_int_equal(found.subject_count, 2);
	assert_int_equal(found.root_count, 2);
	assert_memory_equal(found.roots[1].der, other, sizeof(other));
	assert_int_equal(found.updated_s, found.created_s + 60);
	assert_int_equal(t_op_finish(use, KMS_OK), KMS_E_FENCED);
	t_op_free(use);

	op = t_op(&d, "stranger", EVENT_EKM_POOL); /* not that vault's */
	assert_int_equal(ekm_pool_set(op, pool.caller.principal_id, &spec, &set, &err), KMS_E_NOTFOUND);
	t_op_free(op);
	err = (struct kms_err){ 0 };
	assert_int_equal(rig_pool_try(&d, "stranger", "x", "new.example", &err), KMS_E_CONFLICT);
}

/* One who manages the vault and not the installation. */
static struct op *vault_admin_op(const char *vault)
{
	struct op *op = t_op(&d, vault, EVENT_EKM_POOL);

	op->installation_permissions = 0;
	return op;
}

static void only_the_installation_gives_a_pool_a_new_common_name(void **state)
{
	static const char *const NEW = "somebody-elses.example", *const OLD = "named.example";
	struct ekm_pool_spec spec = { .name = "claim", .prefix = "", .subjects = &NEW, .subject_count = 1, .roots = &RIG_ROOT, .root_count = 1 };
	STORE_POOL_AUTO made = { 0 };
	struct kms_err err = { 0 };
	struct rig_pool pool;
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "names", false);
	pool = rig_pool(&d, "names", "hsm", OLD);
	op = vault_admin_op("names");
	assert_int_equal(ekm_pool_add(op, &spec, &made, &err), KMS_E_FORBIDDEN);
	assert_non_null(strstr(err.message, NEW));
	t_op_free(op);
	op = vault_admin_op("names");
	assert_int_equal(ekm_pool_set(op, pool.caller.principal_id, &spec, &made, NULL), KMS_E_FORBIDDEN);
	t_op_free(op);
	spec.subjects = &OLD; /* other roots for the names that there are */
	op = vault_admin_op("names");
	assert_int_equal(t_op_finish(op, ekm_pool_set(op, pool.caller.principal_id, &spec, &made, &err)), KMS_OK);
	t_op_free(op);
}

static void only_the_installation_gives_a_service_a_new_common_name(void **state)
{
	static const char *const NEW = "somebody-elses-service.example", *const OLD = "named-service.example";
	struct ekm_pool_spec spec = { .name = "robot", .is_service = true, .subjects = &OLD, .subject_count = 1, .roots = &RIG_ROOT, .root_count = 1 };
	STORE_POOL_AUTO made = { 0 };
	STORE_POOL_AUTO set = { 0 };
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "service-names", false);
	op = vault_admin_op("service-names");
	assert_int_equal(ekm_pool_add(op, &spec, &made, &err), KMS_E_FORBIDDEN);
	assert_non_null(strstr(err.message, OLD));
	t_op_free(op);
	op = t_op(&d, "service-names", EVENT_EKM_POOL);
	assert_int_equal(t_op_finish(op, ekm_pool_add(op, &spec, &made, NULL)), KMS_OK);
	t_op_free(op);
	spec.subjects = &NEW;
	op = vault_admin_op("service-names");
	assert_int_equal(ekm_pool_set(op, made.id, &spec, &set, NULL), KMS_E_FORBIDDEN);
	t_op_free(op);
	spec.subjects = &OLD; /* other roots for the name that there is */
	op = vault_admin_op("service-names");
	assert_int_equal(t_op_finish(op, ekm_pool_set(op, made.id, &spec, &set, NULL)), KMS_OK);
	t_op_free(op);
}

static void a_service_is_no_approver(void **state)
{
	static const char *const NAME = "approving.example";
	const struct ekm_pool_spec spec = { .name = "robot", .is_service = true, .subjects = &NAME, .subject_count = 1, .roots = &RIG_ROOT, .root_count = 1 };
	const struct role_scope scope = { .expires_s = STORE_NO_TIME };
	STORE_POOL_AUTO made = { 0 };
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "approving", false);
	op = t_op(&d, "approving", EVENT_EKM_POOL);
	assert_int_equal(t_op_finish(op, ekm_pool_add(op, &spec, &made, NULL)), KMS_OK);
	t_op_free(op);
	op = t_op(&d, "approving", EVENT_ROLE_GRANT);
	assert_int_equal(role_change(op, made.id, ROLE_APPROVER, &scope, true, &err), KMS_E_INVALID);
	assert_non_null(strstr(err.message, "can approve nothing"));
	t_op_free(op);
	op = t_op(&d, "approving", EVENT_ROLE_GRANT);
	assert_int_equal(t_op_finish(op, role_change(op, made.id, ROLE_CRYPTO_USER, &scope, true, NULL)), KMS_OK);
	t_op_free(op);
}

static void a_vault_has_only_so_many_pools(void **state)
{
	char name[16], subject[32];
	struct kms_err err = { 0 };

	(void)state;
	t_vault(&d, "crowd", false);
	for (int i = 0; i < 16; i++) {
		(void)snprintf(name, sizeof(name), "pool%d", i);
		(void)snprintf(subject, sizeof(subject), "crowd%d.example", i);
		assert_int_equal(rig_pool_try(&d, "crowd", name, subject, &err), KMS_OK);
	}
	assert_int_equal(rig_pool_try(&d, "crowd", "one-more", "crowd16.example", &err), KMS_E_POLICY);
	assert_non_null(strstr(err.message, "at most 16 pools"));
}

static void only_pools_are_found_as_pools(void **state)
{
	STORE_POOL_AUTO pool = { 0 };
	struct store_principal p;
	SECRET_AUTO *secret = NULL;
	struct kms_err err = { 0 };
	char id[GUID_TEXT_LEN + 1];
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "people", false);
	op = t_op(&d, "people", EVENT_PRINCIPAL);
	assert_int_equal(t_op_finish(op, principal_create(op, "app", 30, &p, &secret, &err)), KMS_OK);
	t_op_free(op);
	guid_format(p.id, id);
	assert_int_equal(find("people", "app", &pool, &p), KMS_E_NOTFOUND);
	assert_int_equal(find("people", id, &pool, &p), KMS_E_NOTFOUND);
	assert_int_equal(rig_pool_try(&d, "people", "App", "people.example", &err), KMS_E_CONFLICT);
}

static void a_pool_calls_in_its_own_vault_until_it_is_disabled_or_loses_its_role(void **state)
{
	struct rig_pool pool, strange;
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "own", false);
	t_vault(&d, "foreign", false);
	pool = rig_pool(&d, "own", "hsm", "own.example");
	assert_int_equal(call(&pool, NULL), KMS_OK);
	assert_int_equal(call(&pool, "own"), KMS_OK);
	assert_int_equal(call(&pool, "foreign"), KMS_E_UNAUTHENTICATED);
	strange = pool;
	strange.caller.directory[0] ^= 1;
	assert_int_equal(call(&strange, NULL), KMS_E_UNAUTHENTICATED);
	strange = pool;
	strange.caller.principal_id[0] ^= 1;
	assert_int_equal(call(&strange, NULL), KMS_E_UNAUTHENTICATED);

	op = rig_pool_op(&d, &pool, EVENT_EKM_INFO);
	assert_int_equal(op_open(op, NULL, &err), KMS_OK);
	for (int perm = PERM_PUBLIC + 1; perm < PERM_COUNT; perm++) {
		bool may = perm == PERM_KEY_READ || perm == PERM_KEY_WRAP || perm == PERM_KEY_UNWRAP;
		assert_int_equal(op_authorise(op, (enum permission)perm, NULL, NULL), may ? KMS_OK : KMS_E_FORBIDDEN);
	}
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	assert_true(t_leaf_says(&d, op->write.seq, "\"auth\":\"mtls\",\"kind\":\"app\""));
	assert_true(t_leaf_says(&d, op->write.seq, "\"type\":\"ekm.info\""));
	t_op_free(op);

	enable("own", &pool, false);
	assert_int_equal(call(&pool, NULL), KMS_E_UNAUTHENTICATED);
	enable("own", &pool, true);
	assert_int_equal(call(&pool, NULL), KMS_OK);
	op = t_op(&d, "own", EVENT_ROLE_REVOKE);
	assert_int_equal(t_op_finish(op, role_change(op, pool.caller.principal_id, ROLE_CRYPTO_SERVICE, &WHOLE_VAULT, false, &err)), KMS_OK);
	t_op_free(op);
	assert_int_equal(call(&pool, NULL), KMS_E_FORBIDDEN);
}

static void a_pool_that_was_cut_short_is_not_there_after_the_restart(void **state)
{
	static const char *const SUBJECT[] = { "cut.example" };
	const struct ekm_pool_spec spec = { .name = "cut", .prefix = "", .subjects = SUBJECT, .subject_count = 1, .roots = &RIG_ROOT, .root_count = 1 };
	STORE_POOL_AUTO made = { 0 };
	struct recovery_count count = { 0 };
	struct store_principal p;
	struct kms_err err = { 0 };
	struct op *op = NULL;
	uint64_t size = 0;

	(void)state;
	t_vault(&d, "cutting", false);
	op = t_op(&d, "cutting", EVENT_EKM_POOL);
	assert_int_equal(ekm_pool_add(op, &spec, &made, &err), KMS_OK);
	t_op_free(op); /* the power fails before the outcome is written */
	store_pool_clear(&made);
	assert_int_equal(open_intents(), 1);
	t_domain_restart(&d);
	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_ALL, &count, &err), KMS_OK);
	assert_int_equal(count.settled, 1);
	assert_true(t_leaf_says(&d, size, "\"err\":\"Interrupted\""));
	assert_true(t_leaf_says(&d, size, "\"type\":\"ekm.pool\""));
	assert_int_equal(open_intents(), 0);
	assert_int_equal(find("cutting", "cut", &made, &p), KMS_E_NOTFOUND);
	assert_int_equal(rig_pool_try(&d, "cutting", "cut", "cut.example", &err), KMS_OK);
}

static void a_shredded_vault_gets_no_pools(void **state)
{
	struct kms_err err = { 0 };

	(void)state;
	t_vault(&d, "dead", false);
	(void)t_shred(&d, "dead", "test");
	assert_int_equal(rig_pool_try(&d, "dead", "hsm", "dead.example", &err), KMS_E_VAULT_SHREDDED);
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
		cmocka_unit_test(a_pool_is_a_principal_with_one_role_and_without_a_secret),
		cmocka_unit_test(what_is_wrong_with_a_pool_is_said_and_nothing_is_made),
		cmocka_unit_test(a_name_and_a_subject_belong_to_one_pool),
		cmocka_unit_test(a_race_for_a_subject_has_one_winner),
		cmocka_unit_test(new_certificates_replace_the_old_ones_and_fence_what_is_under_way),
		cmocka_unit_test(only_the_installation_gives_a_pool_a_new_common_name),
		cmocka_unit_test(only_the_installation_gives_a_service_a_new_common_name),
		cmocka_unit_test(a_service_is_no_approver),
		cmocka_unit_test(a_vault_has_only_so_many_pools),
		cmocka_unit_test(only_pools_are_found_as_pools),
		cmocka_unit_test(a_pool_calls_in_its_own_vault_until_it_is_disabled_or_loses_its_role),
		cmocka_unit_test(a_pool_that_was_cut_short_is_not_there_after_the_restart),
		cmocka_unit_test(a_shredded_vault_gets_no_pools),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
