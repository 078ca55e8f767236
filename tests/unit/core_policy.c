/* tests/unit/core_policy.c - the whole matrix of role and permission, each cell written out: a change of a role must change this table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/err.h"
#include "server/core/policy.h"

/* One letter a role, in the order A(dministrator) O(fficer) U(ser) S(ervice) R(eader) L (auditor) P (operator) V (approver) E (release) D(ata access administrator)
 * Y (privacy officer). */
static const char ORDER[] = "AOUSRLPVEDY";
static const struct {
	enum permission perm;
	const char *allowed;      /* at vault scope */
	const char *installation; /* when granted for the whole installation */
} MATRIX[] = {
	{ PERM_KEY_READ, "AOUSR", "" },
	{ PERM_KEY_CREATE, "AO", "" },
	{ PERM_KEY_UPDATE, "AOU", "" },
	{ PERM_KEY_DELETE, "AO", "" },
	{ PERM_KEY_RECOVER, "AO", "" },
	{ PERM_KEY_PURGE, "AO", "" },
	{ PERM_KEY_ROTATE, "AO", "" },
	{ PERM_KEY_WRAP, "AOUS", "" },
	{ PERM_KEY_UNWRAP, "AOUS", "" },
	{ PERM_KEY_IMPORT, "AO", "" },
	{ PERM_KEY_BACKUP, "AOU", "" },
	{ PERM_KEY_RESTORE, "AO", "" },
	{ PERM_KEY_ENCRYPT, "AOU", "" },
	{ PERM_KEY_DECRYPT, "AOU", "" },
	{ PERM_KEY_SIGN, "AOU", "" },
	{ PERM_KEY_VERIFY, "AOU", "" },
	{ PERM_KEY_RELEASE, "AOE", "" },
	{ PERM_KEY_RANDOM, "AO", "" },
	{ PERM_ROTATION_READ, "AOR", "" },
	{ PERM_ROTATION_WRITE, "AO", "" },
	{ PERM_KEY_REVOKE, "A", "" },
	{ PERM_VAULT_LIST, "", "LPV" },
	{ PERM_VAULT_READ, "ARLVDY", "LPV" },
	{ PERM_VAULT_CREATE, "", "" },
	{ PERM_VAULT_SHRED, "", "" },
	{ PERM_PRINCIPAL_READ, "AD", "" },
	{ PERM_PRINCIPAL_WRITE, "A", "" },
	{ PERM_ROLE_WRITE, "AD", "" },
	{ PERM_INSTALLATION_ROLE_WRITE, "", "" },
	{ PERM_INSTALLATION_READ, "", "P" },
	{ PERM_VAULT_WRITE, "A", "" },
	{ PERM_ADMIN_WRITE, "A", "" },
	{ PERM_APPROVAL_READ, "AV", "PV" },
	{ PERM_APPROVAL_WRITE, "AV", "V" },
	{ PERM_INSTALLATION_WRITE, "", "P" },
	{ PERM_EKM_READ, "A", "" },
	{ PERM_EKM_WRITE, "A", "" },
	{ PERM_AUDIT_READ, "LY", "L" },
	{ PERM_AUDIT_READ_ALL, "", "L" },
	{ PERM_VAULT_LOCK, "A", "" },
	{ PERM_VAULT_ROTATE_ROOT, "A", "" },
	{ PERM_PERSON_READ, "Y", "" },
	{ PERM_PERSON_ERASE, "Y", "" },
};

static void check(const char *allowed, uint64_t held, enum permission perm, const char *role, const char *scope)
{
	bool expected = strchr(allowed, *role) != NULL;
	if (((held & PERM_BIT(perm)) != 0) != expected)
		fail_msg("role %c, %s, %s scope: %s", *role, permission_action(perm), scope, expected ? "should be allowed" : "should be denied");
}

static void every_cell_of_the_matrix_is_as_written(void **state)
{
	(void)state;
	assert_int_equal(KMS_ARRAY_LEN(MATRIX), PERM_COUNT - 1);
	assert_int_equal(sizeof(ORDER) - 1, ROLE_COUNT - 1);
	for (size_t p = 0; p < KMS_ARRAY_LEN(MATRIX); p++) {
		assert_int_equal(MATRIX[p].perm, p + 1);
		for (int role = 1; role < ROLE_COUNT; role++) {
			const struct role_info *info = role_info((enum role)role);
			check(MATRIX[p].allowed, info->permissions, MATRIX[p].perm, &ORDER[role - 1], "vault");
			check(MATRIX[p].installation, info->installation_permissions, MATRIX[p].perm, &ORDER[role - 1], "installation");
		}
	}
}

/* keyvault-keys.md 15.1: what clients and role tools know the permissions by. */
static void data_actions_have_azures_names(void **state)
{
	static const struct {
		enum permission perm;
		const char *action;
	} ACTIONS[] = {
		{ PERM_KEY_READ, "Microsoft.KeyVault/vaults/keys/read" },
		{ PERM_KEY_IMPORT, "Microsoft.KeyVault/vaults/keys/import/action" },
		{ PERM_KEY_BACKUP, "Microsoft.KeyVault/vaults/keys/backup/action" },
		{ PERM_KEY_RESTORE, "Microsoft.KeyVault/vaults/keys/restore/action" },
		{ PERM_KEY_ENCRYPT, "Microsoft.KeyVault/vaults/keys/encrypt/action" },
		{ PERM_KEY_DECRYPT, "Microsoft.KeyVault/vaults/keys/decrypt/action" },
		{ PERM_KEY_SIGN, "Microsoft.KeyVault/vaults/keys/sign/action" },
		{ PERM_KEY_VERIFY, "Microsoft.KeyVault/vaults/keys/verify/action" },
		{ PERM_KEY_RELEASE, "Microsoft.KeyVault/vaults/keys/release/action" },
		{ PERM_KEY_RANDOM, "Microsoft.KeyVault/vaults/keys/rng/action" },
		{ PERM_ROTATION_READ, "Microsoft.KeyVault/vaults/keyrotationpolicies/read" },
		{ PERM_ROTATION_WRITE, "Microsoft.KeyVault/vaults/keyrotationpolicies/write" },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(ACTIONS); i++)
		assert_string_equal(permission_action(ACTIONS[i].perm), ACTIONS[i].action);
	for (int perm = 1; perm < PERM_COUNT; perm++)
		for (int other = 1; other < perm; other++)
			assert_string_not_equal(permission_action((enum permission)perm), permission_action((enum permission)other));
	assert_string_equal(permission_action(PERM_PUBLIC), "");
	assert_string_equal(permission_action(PERM_COUNT), "");
}

static void no_role_includes_the_public_bit(void **state)
{
	(void)state;
	for (int role = 1; role < ROLE_COUNT; role++)
		assert_int_equal((role_info((enum role)role)->permissions | role_info((enum role)role)->installation_permissions) & PERM_BIT(PERM_PUBLIC), 0);
}

static void roles_are_found_by_slug_name_and_id(void **state)
{
	(void)state;
	assert_int_equal(role_parse("crypto-officer"), ROLE_CRYPTO_OFFICER);
	assert_int_equal(role_parse("key vault crypto officer"), ROLE_CRYPTO_OFFICER);
	assert_int_equal(role_parse("14B46E9E-c2b7-41b4-b07b-48a6ebf60603"), ROLE_CRYPTO_OFFICER);
	assert_int_equal(role_parse("08BBD89E-9f13-488c-ac41-acfcb10c90ab"), ROLE_RELEASE);
	assert_int_equal(role_parse("8b54135c-b56d-4d72-a534-26097cfdc8d8"), ROLE_ACCESS_ADMIN);
	assert_int_equal(role_parse("data-access-administrator"), ROLE_ACCESS_ADMIN);
	assert_int_equal(role_parse("operator"), ROLE_OPERATOR);
	assert_int_equal(role_parse("holdfast approver"), ROLE_APPROVER);
	assert_int_equal(role_parse("a68e7c17-0ab2-4c09-9a58-125dae29748c"), 0); /* Azure's Purge Operator: vaults are not purged here */
	assert_int_equal(role_parse("crypto-officer "), 0);
	assert_int_equal(role_parse(""), 0);
	assert_null(role_info((enum role)0));
	assert_null(role_info(ROLE_COUNT));
}

static void roles_differ_in_name_slug_and_id(void **state)
{
	(void)state;
	for (int role = 1; role < ROLE_COUNT; role++)
		for (int other = 1; other < role; other++) {
			const struct role_info *a = role_info((enum role)role), *b = role_info((enum role)other);
			assert_string_not_equal(a->slug, b->slug);
			assert_string_not_equal(a->name, b->name);
			assert_string_not_equal(a->guid, b->guid);
		}
}

static void actions_are_parsed_whole_and_without_case(void **state)
{
	(void)state;
	for (int perm = 1; perm < PERM_COUNT; perm++)
		assert_int_equal(permission_parse(permission_action((enum permission)perm)), perm);
	assert_int_equal(permission_parse("microsoft.keyvault/VAULTS/keys/SIGN/action"), PERM_KEY_SIGN);
	assert_int_equal(permission_parse("Microsoft.KeyVault/vaults/keys/sign"), PERM_PUBLIC);
	assert_int_equal(permission_parse("Microsoft.KeyVault/vaults/keys/sign/action "), PERM_PUBLIC);
	assert_int_equal(permission_parse("Microsoft.KeyVault/vaults/keys/*"), PERM_PUBLIC);
	assert_int_equal(permission_parse("*"), PERM_PUBLIC);
	assert_int_equal(permission_parse(""), PERM_PUBLIC);
}

/* Each permission against both duties, written out: R(ead: with anything), A(n act: never with reading the log), K (an act that an operator must not have
 * either), O(perator's own), L (reading the log). */
static void duties_that_exclude_one_another_are_known(void **state)
{
	static const char KIND[PERM_COUNT + 1] = " RKKKKKKKKKKKKKKKKKRK" /* keys and rotation */ "KRRAKRKKKR" /* revoke .. installation read */
	                                         "KKRKO" /* vault write, administrators, approvals, installation */ "RKLL" /* ekm, log */ "KK" /* lock, root */ "LL" /* persons: as the log */;

	(void)state;
	assert_int_equal(strlen(KIND), PERM_COUNT);
	assert_int_equal(KIND[PERM_ROTATION_WRITE], 'K');
	for (int perm = 1; perm < PERM_COUNT; perm++) {
		uint64_t bit = PERM_BIT(perm);
		bool with_log = permissions_conflict(bit | PERM_BIT(PERM_AUDIT_READ)) == NULL;
		bool with_all_logs = permissions_conflict(bit | PERM_BIT(PERM_AUDIT_READ_ALL)) == NULL;
		bool with_operating = permissions_conflict(bit | PERM_BIT(PERM_INSTALLATION_WRITE)) == NULL;

		assert_null(permissions_conflict(bit)); /* one permission alone is always one duty */
		if (with_log != (KIND[perm] == 'R' || KIND[perm] == 'L') || with_all_logs != with_log ||
		    with_operating != (KIND[perm] == 'R' || KIND[perm] == 'A' || KIND[perm] == 'O'))
			fail_msg("%s is not '%c'", permission_action((enum permission)perm), KIND[perm]);
	}
	assert_non_null(permissions_conflict(PERM_ALL));
	assert_null(permissions_conflict(0));
}

/* Whoever has one role only never has two duties, and these pairs are those that may not come together. */
static void roles_that_exclude_one_another_are_these(void **state)
{
	static const char *const EXCLUDED[ROLE_COUNT] = { [ROLE_ADMINISTRATOR] = "LPY", [ROLE_CRYPTO_OFFICER] = "LPY", [ROLE_CRYPTO_USER] = "LPY",
		                                          [ROLE_CRYPTO_SERVICE] = "LPY", [ROLE_READER] = "", [ROLE_AUDITOR] = "AOUSPVED",
		                                          [ROLE_OPERATOR] = "AOUSLVEDY", [ROLE_APPROVER] = "LPY", [ROLE_RELEASE] = "LPY",
		                                          [ROLE_ACCESS_ADMIN] = "LPY", [ROLE_PRIVACY] = "AOUSPVED" };

	(void)state;
	for (int role = 1; role < ROLE_COUNT; role++)
		for (int other = 1; other < ROLE_COUNT; other++) {
			const struct role_info *a = role_info((enum role)role), *b = role_info((enum role)other);
			bool is_excluded = permissions_conflict(a->permissions | a->installation_permissions | b->permissions | b->installation_permissions) != NULL;
			if (is_excluded != (strchr(EXCLUDED[role], ORDER[other - 1]) != NULL))
				fail_msg("%s with %s", a->slug, b->slug);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cell_of_the_matrix_is_as_written),
		cmocka_unit_test(data_actions_have_azures_names),
		cmocka_unit_test(no_role_includes_the_public_bit),
		cmocka_unit_test(roles_are_found_by_slug_name_and_id),
		cmocka_unit_test(roles_differ_in_name_slug_and_id),
		cmocka_unit_test(actions_are_parsed_whole_and_without_case),
		cmocka_unit_test(duties_that_exclude_one_another_are_known),
		cmocka_unit_test(roles_that_exclude_one_another_are_these),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
