/* api/routes.c - THE route table: every route of every dialect, who may use it, what it reads, where it runs, and what it is logged as. */
#include "api/api.h"

/* Literals stand before patterns that would match them too. */
const struct route API_ROUTES[] = {
	/* method      dialect         path                                   permission         body                handler             event             lane        operation */
	{ HTTP_GET,    DIALECT_VAULT,  "/keys",                               PERM_KEY_READ,     NULL,               api_key_list,        EVENT_KEY_LIST,    LANE_META,   "KeyList" },
	{ HTTP_POST,   DIALECT_VAULT,  "/keys/{key}/create",                  PERM_KEY_CREATE,   &KEY_CREATE_SCHEMA, api_key_create,      EVENT_KEY_CREATE,  LANE_KEYGEN, "KeyCreate" },
	{ HTTP_POST,   DIALECT_VAULT,  "/keys/{key}/rotate",                  PERM_KEY_ROTATE,   NULL,               api_key_rotate,      EVENT_KEY_ROTATE,  LANE_KEYGEN, "KeyRotate" },
	{ HTTP_GET,    DIALECT_VAULT,  "/keys/{key}/versions",                PERM_KEY_READ,     NULL,               api_key_versions,    EVENT_KEY_LIST,    LANE_META,   "KeyListVersions" },
	{ HTTP_POST,   DIALECT_VAULT,  "/keys/{key}/wrapkey",                 PERM_KEY_WRAP,     &KEY_WRAP_SCHEMA,   api_key_wrap,        EVENT_KEY_WRAP,    LANE_CRYPTO, "KeyWrap" },
	{ HTTP_POST,   DIALECT_VAULT,  "/keys/{key}/unwrapkey",               PERM_KEY_UNWRAP,   &KEY_WRAP_SCHEMA,   api_key_unwrap,      EVENT_KEY_UNWRAP,  LANE_CRYPTO, "KeyUnwrap" },
	{ HTTP_GET,    DIALECT_VAULT,  "/keys/{key}",                         PERM_KEY_READ,     NULL,               api_key_get,         EVENT_KEY_GET,     LANE_META,   "KeyGet" },
	{ HTTP_PATCH,  DIALECT_VAULT,  "/keys/{key}",                         PERM_KEY_UPDATE,   &KEY_UPDATE_SCHEMA, api_key_update,      EVENT_KEY_UPDATE,  LANE_META,   "KeyUpdate" },
	{ HTTP_DELETE, DIALECT_VAULT,  "/keys/{key}",                         PERM_KEY_DELETE,   NULL,               api_key_delete,      EVENT_KEY_DELETE,  LANE_META,   "KeyDelete" },
	{ HTTP_GET,    DIALECT_VAULT,  "/keys/{key}/{version}",               PERM_KEY_READ,     NULL,               api_key_get,         EVENT_KEY_GET,     LANE_META,   "KeyGet" },
	{ HTTP_PATCH,  DIALECT_VAULT,  "/keys/{key}/{version}",               PERM_KEY_UPDATE,   &KEY_UPDATE_SCHEMA, api_key_update,      EVENT_KEY_UPDATE,  LANE_META,   "KeyUpdate" },
	{ HTTP_POST,   DIALECT_VAULT,  "/keys/{key}/{version}/wrapkey",       PERM_KEY_WRAP,     &KEY_WRAP_SCHEMA,   api_key_wrap,        EVENT_KEY_WRAP,    LANE_CRYPTO, "KeyWrap" },
	{ HTTP_POST,   DIALECT_VAULT,  "/keys/{key}/{version}/unwrapkey",     PERM_KEY_UNWRAP,   &KEY_WRAP_SCHEMA,   api_key_unwrap,      EVENT_KEY_UNWRAP,  LANE_CRYPTO, "KeyUnwrap" },
	{ HTTP_GET,    DIALECT_VAULT,  "/deletedkeys",                        PERM_KEY_READ,     NULL,               api_deleted_list,    EVENT_KEY_LIST,    LANE_META,   "KeyListDeleted" },
	{ HTTP_GET,    DIALECT_VAULT,  "/deletedkeys/{key}",                  PERM_KEY_READ,     NULL,               api_deleted_get,     EVENT_KEY_GET,     LANE_META,   "KeyGetDeleted" },
	{ HTTP_DELETE, DIALECT_VAULT,  "/deletedkeys/{key}",                  PERM_KEY_PURGE,    NULL,               api_deleted_purge,   EVENT_KEY_PURGE,   LANE_DESTROY, "KeyPurge" },
	{ HTTP_POST,   DIALECT_VAULT,  "/deletedkeys/{key}/recover",          PERM_KEY_RECOVER,  NULL,               api_deleted_recover, EVENT_KEY_RECOVER, LANE_META,   "KeyRecover" },

	{ HTTP_GET,    DIALECT_DOMAIN, "/health/live",                        PERM_PUBLIC,       NULL,               api_live,            EVENT_NONE,        LANE_META,   "HealthLive" },
	{ HTTP_GET,    DIALECT_DOMAIN, "/health/ready",                       PERM_PUBLIC,       NULL,               api_ready,           EVENT_NONE,        LANE_META,   "HealthReady" },
	{ HTTP_GET,    DIALECT_DOMAIN, "/{tenant}/v2.0/.well-known/openid-configuration", PERM_PUBLIC, NULL,         api_discovery,       EVENT_NONE,        LANE_META,   "Discovery" },
	{ HTTP_GET,    DIALECT_DOMAIN, "/{tenant}/discovery/v2.0/keys",       PERM_PUBLIC,       NULL,               api_jwks,            EVENT_NONE,        LANE_META,   "Jwks" },
	{ HTTP_POST,   DIALECT_DOMAIN, "/{tenant}/oauth2/v2.0/token",         PERM_PUBLIC,       NULL,               api_token,           EVENT_LOGIN,       LANE_CRYPTO, "Token" },

	{ HTTP_GET,    DIALECT_DOMAIN, "/admin/v1/status",                    PERM_INSTALLATION_READ, NULL,          api_status,          EVENT_AUDIT_READ,  LANE_CONTROL,   "Status" },
	{ HTTP_GET,    DIALECT_DOMAIN, "/admin/v1/hsm",                       PERM_INSTALLATION_READ, NULL,          api_hsm,             EVENT_AUDIT_READ,  LANE_CONTROL,   "HsmInfo" },
	{ HTTP_GET,    DIALECT_DOMAIN, "/admin/v1/vaults",                    PERM_VAULT_LIST,   NULL,               api_vault_list,      EVENT_AUDIT_READ,  LANE_CONTROL,   "VaultList" },
	{ HTTP_POST,   DIALECT_DOMAIN, "/admin/v1/vaults",                    PERM_VAULT_CREATE, &VAULT_CREATE_SCHEMA, api_vault_create,  EVENT_TENANT_CREATE, LANE_DESTROY, "VaultPut" },
	{ HTTP_GET,    DIALECT_DOMAIN, "/admin/v1/vaults/{vault}",            PERM_VAULT_READ,   NULL,               api_vault_get,       EVENT_AUDIT_READ,  LANE_CONTROL,   "VaultGet" },
	{ HTTP_POST,   DIALECT_DOMAIN, "/admin/v1/vaults/{vault}/shred",      PERM_VAULT_SHRED,  &VAULT_SHRED_SCHEMA, api_vault_shred,    EVENT_TENANT_SHRED, LANE_DESTROY, "VaultShred" },
	{ HTTP_GET,    DIALECT_DOMAIN, "/admin/v1/vaults/{vault}/principals", PERM_PRINCIPAL_READ, NULL,             api_principal_list,  EVENT_AUDIT_READ,  LANE_CONTROL,   "PrincipalList" },
	{ HTTP_POST,   DIALECT_DOMAIN, "/admin/v1/vaults/{vault}/principals", PERM_PRINCIPAL_WRITE, &PRINCIPAL_CREATE_SCHEMA, api_principal_create, EVENT_PRINCIPAL, LANE_DESTROY, "PrincipalCreate" },
	{ HTTP_POST,   DIALECT_DOMAIN, "/admin/v1/vaults/{vault}/principals/{id}/disable", PERM_PRINCIPAL_WRITE, NULL, api_principal_disable, EVENT_PRINCIPAL, LANE_CONTROL, "PrincipalDisable" },
	{ HTTP_POST,   DIALECT_DOMAIN, "/admin/v1/vaults/{vault}/principals/{id}/enable", PERM_PRINCIPAL_WRITE, NULL, api_principal_enable, EVENT_PRINCIPAL, LANE_CONTROL, "PrincipalEnable" },
	{ HTTP_POST,   DIALECT_DOMAIN, "/admin/v1/vaults/{vault}/roles/grant",  PERM_ROLE_WRITE, &ROLE_SCHEMA,       api_role_grant,      EVENT_ROLE_GRANT,  LANE_CONTROL,   "RoleGrant" },
	{ HTTP_POST,   DIALECT_DOMAIN, "/admin/v1/vaults/{vault}/roles/remove", PERM_ROLE_WRITE, &ROLE_SCHEMA,       api_role_remove,     EVENT_ROLE_REVOKE, LANE_CONTROL,   "RoleRemove" },
	{ HTTP_POST,   DIALECT_DOMAIN, "/admin/v1/vaults/{vault}/keys/{key}/revoke",    PERM_KEY_REVOKE, &REVOKE_SCHEMA,    api_key_revoke,    EVENT_KEY_REVOKE, LANE_CONTROL, "KeyRevoke" },
	{ HTTP_POST,   DIALECT_DOMAIN, "/admin/v1/vaults/{vault}/keys/{key}/reinstate", PERM_KEY_REVOKE, &REINSTATE_SCHEMA, api_key_reinstate, EVENT_KEY_REVOKE, LANE_CONTROL, "KeyReinstate" },
	{ HTTP_GET,    DIALECT_DOMAIN, "/audit/v1/entries",                   PERM_AUDIT_READ,   NULL,               api_audit_entries,   EVENT_AUDIT_READ,  LANE_CONTROL,   "AuditEntries" },
};
const size_t API_ROUTE_COUNT = KMS_ARRAY_LEN(API_ROUTES);
