/* tests/unit/core_policy.c - the whole matrix of role and permission, each cell written out: a change of a role must change this table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/err.h"
#include "server/core/policy.h"

/* One letter a role, in the order A(dministrator) O(fficer) U(ser) S(ervice) R(eader) L (auditor). */
static const char ORDER[] = "AOUSRL";
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
	{ PERM_KEY_RELEASE, "AO", "" },
	{ PERM_KEY_RANDOM, "AO", "" },
	{ PERM_ROTATION_READ, "AOR", "" },
	{ PERM_ROTATION_WRITE, "AO", "" },
	{ PERM_KEY_REVOKE, "A", "" },
	{ PERM_VAULT_LIST, "", "L" },
	{ PERM_VAULT_READ, "ARL", "L" },
	{ PERM_VAULT_CREATE, "", "" },
	{ PERM_VAULT_SHRED, "", "" },
	{ PERM_PRINCIPAL_READ, "A", "" },
	{ PERM_PRINCIPAL_WRITE, "A", "" },
	{ PERM_ROLE_WRITE, "A", "" },
	{ PERM_INSTALLATION_ROLE_WRITE, "", "" },
	{ PERM_INSTALLATION_READ, "", "" },
	{ PERM_EKM_READ, "A", "" },
	{ PERM_EKM_WRITE, "A", "" },
	{ PERM_AUDIT_READ, "L", "L" },
	{ PERM_AUDIT_READ_ALL, "", "L" },
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
		assert_int_equal(role_info((enum role)role)->permissions & PERM_BIT(PERM_PUBLIC), 0);
}

static void roles_are_found_by_slug_name_and_id(void **state)
{
	(void)state;
	assert_int_equal(role_parse("crypto-officer"), ROLE_CRYPTO_OFFICER);
	assert_int_equal(role_parse("key vault crypto officer"), ROLE_CRYPTO_OFFICER);
	assert_int_equal(role_parse("14B46E9E-c2b7-41b4-b07b-48a6ebf60603"), ROLE_CRYPTO_OFFICER);
	assert_int_equal(role_parse("crypto-officer "), 0);
	assert_int_equal(role_parse(""), 0);
	assert_null(role_info((enum role)0));
	assert_null(role_info(ROLE_COUNT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cell_of_the_matrix_is_as_written),
		cmocka_unit_test(data_actions_have_azures_names),
		cmocka_unit_test(no_role_includes_the_public_bit),
		cmocka_unit_test(roles_are_found_by_slug_name_and_id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
