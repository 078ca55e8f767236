/* server/core/policy.h - principal x permission x scope -> allowed. The one place that decides, for every dialect. Deny is the default. */
#ifndef HOLDFAST_CORE_POLICY_H
#define HOLDFAST_CORE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* permission, data action (keyvault-keys.md 15.1; those under Holdfast/ are ours) */
#define PERMISSION_MAP(X)                                                            \
	X(PERM_KEY_READ, "Microsoft.KeyVault/vaults/keys/read")                      \
	X(PERM_KEY_CREATE, "Microsoft.KeyVault/vaults/keys/create/action")           \
	X(PERM_KEY_UPDATE, "Microsoft.KeyVault/vaults/keys/update/action")           \
	X(PERM_KEY_DELETE, "Microsoft.KeyVault/vaults/keys/delete")                  \
	X(PERM_KEY_RECOVER, "Microsoft.KeyVault/vaults/keys/recover/action")         \
	X(PERM_KEY_PURGE, "Microsoft.KeyVault/vaults/keys/purge/action")             \
	X(PERM_KEY_ROTATE, "Microsoft.KeyVault/vaults/keys/rotate/action")           \
	X(PERM_KEY_WRAP, "Microsoft.KeyVault/vaults/keys/wrap/action")               \
	X(PERM_KEY_UNWRAP, "Microsoft.KeyVault/vaults/keys/unwrap/action")           \
	X(PERM_KEY_IMPORT, "Microsoft.KeyVault/vaults/keys/import/action")           \
	X(PERM_KEY_BACKUP, "Microsoft.KeyVault/vaults/keys/backup/action")           \
	X(PERM_KEY_RESTORE, "Microsoft.KeyVault/vaults/keys/restore/action")         \
	X(PERM_KEY_ENCRYPT, "Microsoft.KeyVault/vaults/keys/encrypt/action")         \
	X(PERM_KEY_DECRYPT, "Microsoft.KeyVault/vaults/keys/decrypt/action")         \
	X(PERM_KEY_SIGN, "Microsoft.KeyVault/vaults/keys/sign/action")               \
	X(PERM_KEY_VERIFY, "Microsoft.KeyVault/vaults/keys/verify/action")           \
	X(PERM_KEY_RELEASE, "Microsoft.KeyVault/vaults/keys/release/action")         \
	X(PERM_KEY_RANDOM, "Microsoft.KeyVault/vaults/keys/rng/action")              \
	X(PERM_ROTATION_READ, "Microsoft.KeyVault/vaults/keyrotationpolicies/read")  \
	X(PERM_ROTATION_WRITE, "Microsoft.KeyVault/vaults/keyrotationpolicies/write") \
	X(PERM_KEY_REVOKE, "Holdfast/vaults/keys/revoke/action")                     \
	X(PERM_VAULT_LIST, "Holdfast/vaults/list")                                   \
	X(PERM_VAULT_READ, "Holdfast/vaults/read")                                   \
	X(PERM_VAULT_CREATE, "Holdfast/vaults/create/action")                        \
	X(PERM_VAULT_SHRED, "Holdfast/vaults/shred/action")                          \
	X(PERM_PRINCIPAL_READ, "Holdfast/vaults/principals/read")                    \
	X(PERM_PRINCIPAL_WRITE, "Holdfast/vaults/principals/write")                  \
	X(PERM_ROLE_WRITE, "Holdfast/vaults/roleAssignments/write")                  \
	X(PERM_INSTALLATION_ROLE_WRITE, "Holdfast/roleAssignments/write")            \
	X(PERM_INSTALLATION_READ, "Holdfast/read")                                   \
	X(PERM_VAULT_WRITE, "Holdfast/vaults/write")                                 \
	X(PERM_ADMIN_WRITE, "Holdfast/vaults/administrators/write")                  \
	X(PERM_APPROVAL_READ, "Holdfast/vaults/approvals/read")                      \
	X(PERM_APPROVAL_WRITE, "Holdfast/vaults/approvals/write")                    \
	X(PERM_INSTALLATION_WRITE, "Holdfast/write")                                 \
	X(PERM_EKM_READ, "Holdfast/vaults/ekm/read")                                 \
	X(PERM_EKM_WRITE, "Holdfast/vaults/ekm/write")                               \
	X(PERM_AUDIT_READ, "Holdfast/vaults/audit/read")                             \
	X(PERM_AUDIT_READ_ALL, "Holdfast/audit/read")                                \
	X(PERM_VAULT_LOCK, "Holdfast/vaults/lock/action")                            \
	X(PERM_VAULT_ROTATE_ROOT, "Holdfast/vaults/rotateRoot/action")               \
	X(PERM_PERSON_READ, "Holdfast/vaults/persons/read")                          \
	X(PERM_PERSON_ERASE, "Holdfast/vaults/persons/erase/action")

enum permission {
	PERM_PUBLIC = 0, /* needs no identity */
#define X(perm, action) perm,
	PERMISSION_MAP(X)
#undef X
	PERM_COUNT,
	PERM_CALLER = PERM_COUNT /* needs an identity, and nothing else: no role gives it, so no role can take it away */
};

/* Roles (keyvault-keys.md 15.2; ours have ids of our own). The number is what the database stores: never change one. */
enum role {
	ROLE_ADMINISTRATOR = 1,   /* Key Vault Administrator: everything in one vault, its management included */
	ROLE_CRYPTO_OFFICER = 2,
	ROLE_CRYPTO_USER = 3,
	ROLE_CRYPTO_SERVICE = 4,  /* Crypto Service Encryption User */
	ROLE_READER = 5,
	ROLE_AUDITOR = 6,
	ROLE_OPERATOR = 7,        /* installs, backs up, restores: nothing of any key; at the installation's scope only */
	ROLE_APPROVER = 8,        /* approves what cannot be undone, and asks for nothing itself */
	ROLE_RELEASE = 9,         /* Crypto Service Release User */
	ROLE_ACCESS_ADMIN = 10,   /* Data Access Administrator: grants roles, but none that manages the vault */
	ROLE_PRIVACY = 11,        /* Privacy Officer: reads and erases what identifies people in one vault, and reads its log */
	ROLE_COUNT
};

struct role_info {
	const char *name;  /* "Key Vault Crypto Officer" */
	const char *slug;  /* "crypto-officer" */
	const char *guid;  /* Azure's id, or ours */
	uint64_t permissions;              /* at vault scope, one bit each */
	uint64_t installation_permissions; /* when granted at the installation's scope; 0 = cannot be granted there */
};

/** NULL when there is no such role. */
const struct role_info *role_info(enum role role);
/** By slug, display name or id, without case; 0 when unknown. */
enum role role_parse(const char *text);
const char *permission_action(enum permission perm);
/** The permission with this data action, without case; PERM_PUBLIC when there is none. */
enum permission permission_parse(const char *action);
/** Duties that nobody may hold together (auditor and whoever is audited, operator and user of keys): which two, for people, or NULL when all is well.
 *  What the local socket holds is not asked. */
const char *permissions_conflict(uint64_t permissions);

#define PERM_BIT(perm) ((uint64_t)1 << (perm))
/** Everything; what the local socket's callers hold. */
#define PERM_ALL (~(uint64_t)0)

#endif
