/* server/core/policy.c - the roles as data. */
#include "server/core/policy.h"

#include <strings.h>

static const char *const ACTIONS[PERM_COUNT] = {
	[PERM_PUBLIC] = "",
#define X(perm, action) [perm] = action,
	PERMISSION_MAP(X)
#undef X
};
_Static_assert(PERM_COUNT <= 64, "permissions are one bit each");

#define KEY_SERVICE (PERM_BIT(PERM_KEY_READ) | PERM_BIT(PERM_KEY_WRAP) | PERM_BIT(PERM_KEY_UNWRAP))
#define KEY_USE                                                                                                                             \
	(KEY_SERVICE | PERM_BIT(PERM_KEY_UPDATE) | PERM_BIT(PERM_KEY_BACKUP) | PERM_BIT(PERM_KEY_ENCRYPT) | PERM_BIT(PERM_KEY_DECRYPT) |    \
	 PERM_BIT(PERM_KEY_SIGN) | PERM_BIT(PERM_KEY_VERIFY))
/* All of keys/ and keyrotationpolicies/. */
#define KEY_ALL                                                                                                                             \
	(KEY_USE | PERM_BIT(PERM_KEY_CREATE) | PERM_BIT(PERM_KEY_IMPORT) | PERM_BIT(PERM_KEY_DELETE) | PERM_BIT(PERM_KEY_RECOVER) |         \
	 PERM_BIT(PERM_KEY_PURGE) | PERM_BIT(PERM_KEY_ROTATE) | PERM_BIT(PERM_KEY_RESTORE) | PERM_BIT(PERM_KEY_RELEASE) |                   \
	 PERM_BIT(PERM_KEY_RANDOM) | PERM_BIT(PERM_ROTATION_READ) | PERM_BIT(PERM_ROTATION_WRITE))
#define VAULT_ADMIN                                                                                                           \
	(PERM_BIT(PERM_KEY_REVOKE) | PERM_BIT(PERM_VAULT_READ) | PERM_BIT(PERM_VAULT_WRITE) | PERM_BIT(PERM_PRINCIPAL_READ) | \
	 PERM_BIT(PERM_PRINCIPAL_WRITE) | PERM_BIT(PERM_ROLE_WRITE) | PERM_BIT(PERM_ADMIN_WRITE) | PERM_BIT(PERM_APPROVAL_READ) | \
	 PERM_BIT(PERM_APPROVAL_WRITE) | PERM_BIT(PERM_EKM_READ) | PERM_BIT(PERM_EKM_WRITE) | PERM_BIT(PERM_VAULT_LOCK) | \
	 PERM_BIT(PERM_VAULT_ROTATE_ROOT))
#define APPROVE (PERM_BIT(PERM_APPROVAL_READ) | PERM_BIT(PERM_APPROVAL_WRITE) | PERM_BIT(PERM_VAULT_READ))

/* What identifies people: neither an act nor for whoever manages or uses keys; only who reads the log anyway may have it beside that. */
#define PRIVACY (PERM_BIT(PERM_PERSON_READ) | PERM_BIT(PERM_PERSON_ERASE))

#define AUDIT (PERM_BIT(PERM_AUDIT_READ) | PERM_BIT(PERM_AUDIT_READ_ALL))
/* Reading that changes nothing and uses no key: every duty may have it. */
#define READ                                                                                                                              \
	(PERM_BIT(PERM_KEY_READ) | PERM_BIT(PERM_ROTATION_READ) | PERM_BIT(PERM_VAULT_LIST) | PERM_BIT(PERM_VAULT_READ) |                 \
	 PERM_BIT(PERM_PRINCIPAL_READ) | PERM_BIT(PERM_INSTALLATION_READ) | PERM_BIT(PERM_APPROVAL_READ) | PERM_BIT(PERM_EKM_READ))
/* Everything else: the list is of what an auditor may have, so that a new permission is an act until somebody decides otherwise. */
#define ACTS (~(READ | AUDIT | PRIVACY | PERM_BIT(PERM_PUBLIC)))
/* What an operator does; making vaults belongs to setting up. */
#define OPERATE (PERM_BIT(PERM_INSTALLATION_WRITE) | PERM_BIT(PERM_VAULT_CREATE))

static const struct role_info ROLES[ROLE_COUNT] = {
	[ROLE_ADMINISTRATOR] = { "Key Vault Administrator", "administrator", "00482a5a-887f-4fb3-b363-3b7fe8e74483", KEY_ALL | VAULT_ADMIN, 0 },
	[ROLE_CRYPTO_OFFICER] = { "Key Vault Crypto Officer", "crypto-officer", "14b46e9e-c2b7-41b4-b07b-48a6ebf60603", KEY_ALL, 0 },
	[ROLE_CRYPTO_USER] = { "Key Vault Crypto User", "crypto-user", "12338af0-0e69-4776-bea7-57ae8d297424",
	                       KEY_USE, 0 },
	[ROLE_CRYPTO_SERVICE] = { "Key Vault Crypto Service Encryption User", "crypto-service-encryption-user",
	                          "e147488a-f6f5-4113-8e2d-b22465e65bf6", KEY_SERVICE, 0 },
	[ROLE_READER] = { "Key Vault Reader", "reader", "21090545-7ca7-4776-b22c-e363652d74d2",
	                  PERM_BIT(PERM_KEY_READ) | PERM_BIT(PERM_ROTATION_READ) | PERM_BIT(PERM_VAULT_READ), 0 },
	[ROLE_AUDITOR] = { "Holdfast Auditor", "auditor", "6f0f2a0e-54a1-4a1c-9d55-6b0f0f2f7c01",
	                   PERM_BIT(PERM_AUDIT_READ) | PERM_BIT(PERM_VAULT_READ),
	                   PERM_BIT(PERM_AUDIT_READ) | PERM_BIT(PERM_AUDIT_READ_ALL) | PERM_BIT(PERM_VAULT_READ) | PERM_BIT(PERM_VAULT_LIST) },
	[ROLE_OPERATOR] = { "Holdfast Operator", "operator", "6f0f2a0e-54a1-4a1c-9d55-6b0f0f2f7c02", 0,
	                    PERM_BIT(PERM_INSTALLATION_READ) | PERM_BIT(PERM_INSTALLATION_WRITE) | PERM_BIT(PERM_VAULT_LIST) |
	                    PERM_BIT(PERM_VAULT_READ) | PERM_BIT(PERM_APPROVAL_READ) },
	[ROLE_APPROVER] = { "Holdfast Approver", "approver", "6f0f2a0e-54a1-4a1c-9d55-6b0f0f2f7c03", APPROVE, APPROVE | PERM_BIT(PERM_VAULT_LIST) },
	[ROLE_RELEASE] = { "Key Vault Crypto Service Release User", "crypto-service-release-user", "08bbd89e-9f13-488c-ac41-acfcb10c90ab",
	                   PERM_BIT(PERM_KEY_RELEASE), 0 },
	[ROLE_ACCESS_ADMIN] = { "Key Vault Data Access Administrator", "data-access-administrator", "8b54135c-b56d-4d72-a534-26097cfdc8d8",
	                        PERM_BIT(PERM_ROLE_WRITE) | PERM_BIT(PERM_PRINCIPAL_READ) | PERM_BIT(PERM_VAULT_READ), 0 },
	[ROLE_PRIVACY] = { "Holdfast Privacy Officer", "privacy-officer", "6f0f2a0e-54a1-4a1c-9d55-6b0f0f2f7c04",
	                   PRIVACY | PERM_BIT(PERM_AUDIT_READ) | PERM_BIT(PERM_VAULT_READ), 0 },
};

const struct role_info *role_info(enum role role)
{
	return role > 0 && role < ROLE_COUNT ? &ROLES[role] : NULL;
}

enum role role_parse(const char *text)
{
	for (int i = 1; i < ROLE_COUNT; i++)
		if (strcasecmp(text, ROLES[i].slug) == 0 || strcasecmp(text, ROLES[i].name) == 0 || strcasecmp(text, ROLES[i].guid) == 0)
			return (enum role)i;
	return (enum role)0;
}

const char *permission_action(enum permission perm)
{
	return perm > 0 && perm < PERM_COUNT ? ACTIONS[perm] : "";
}

enum permission permission_parse(const char *action)
{
	for (int i = 1; i < PERM_COUNT; i++)
		if (strcasecmp(action, ACTIONS[i]) == 0)
			return (enum permission)i;
	return PERM_PUBLIC;
}

const char *permissions_conflict(uint64_t permissions)
{
	if ((permissions & AUDIT) != 0 && (permissions & ACTS) != 0)
		return "reading the event log, and acting on what it records";
	if ((permissions & PRIVACY) != 0 && (permissions & ACTS) != 0)
		return "reading who people are, and acting on what the event log records of them";
	if ((permissions & PERM_BIT(PERM_INSTALLATION_WRITE)) != 0 && (permissions & ACTS & ~OPERATE) != 0)
		return "operating the installation, and using keys or managing who may";
	return NULL;
}
