/*
 * server/core/access.h - what a principal may do, and why: its roles, those of its groups, at every scope. op_open() and `access explain` walk the same
 * assignments, so that the explanation is the decision.
 */
#ifndef HOLDFAST_CORE_ACCESS_H
#define HOLDFAST_CORE_ACCESS_H

#include "server/core/op.h"

#define ACCESS_GROUPS_MAX 64 /* groups that one principal is in, directly or not */
#define ACCESS_ROLES_MAX 64  /* assignments of one principal or group */

/* One assignment that counts now, or that has ended. */
struct access_grant {
	struct store_assignment assignment; /* of the principal itself, or of a group */
	const char *role_name, *role_slug;  /* slug: NULL for a custom role; borrowed until the visitor returns */
	uint64_t permissions;               /* of the role at that scope */
	const struct store_principal *group; /* NULL = the principal's own */
	bool has_ended;
};
typedef void (*access_visitor)(void *arg, const struct access_grant *grant);

/**
 * Visit every assignment of a principal in a vault and in the installation. Disabled groups give nothing; a group counts once, however it is reached.
 * @param vault   NULL = only at the installation's scope
 * @param claims  groups that a token names (access_claim()); NULL = none. Only groups of this vault count, wherever they are named.
 * @return KMS_OK | KMS_E_STORE | KMS_E_FORBIDDEN (in more groups, or with more roles, than the limits)
 */
KMS_MUST_CHECK kms_status access_walk(struct store *store, const struct store_vault *vault, const uint8_t principal_id[STORE_ID_LEN],
                                      const struct caller *claims, int64_t now_s, access_visitor visit, void *arg, struct kms_err *err);

/** What a caller or group holds in a vault as a whole (key roles not counted) and in the installation, both as one set: for who approves. Nothing when it is
 *  disabled, unknown, or of another vault's directory. @param ret_of_vault  what of it does not come from a role for the whole installation */
KMS_MUST_CHECK kms_status access_permissions(struct store *store, const struct store_vault *vault, const uint8_t principal_id[STORE_ID_LEN],
                                             int64_t now_s, uint64_t *ret_permissions, uint64_t *ret_of_vault, struct kms_err *err);

/* Why a principal may do something, or may not; groups that a token names are not known here. */
struct access_explanation {
	struct store_principal principal; /* disabled: may nothing, whatever it holds */
	bool is_allowed;
	const char *conflict; /* the two duties for which everything is refused; static; NULL = none */
	uint64_t held;        /* what it holds there, for that key too */
};
struct access_explainer {
	void *arg;
	/** Each assignment; `allows`: it is a reason why the action is allowed (it counts now, there, and holds the permission). Borrowed until it returns. */
	void (*grant)(void *arg, const struct access_grant *grant, bool allows);
	/** Each role that would allow it when it were granted, at the scope that is named, the vault's own roles too. Called when it is not allowed. */
	void (*role)(void *arg, const char *slug_or_name, bool at_installation);
};
/**
 * @param principal_id  of op->vault's directory (without a vault: of the installation's), a caller or a group
 * @param key_name  NULL or "" = the whole vault
 * @return KMS_OK | KMS_E_NOTFOUND | KMS_E_FORBIDDEN (as access_walk()) | KMS_E_STORE
 */
KMS_MUST_CHECK kms_status access_explain(struct op *op, const uint8_t principal_id[STORE_ID_LEN], enum permission perm, const char *key_name,
                                         const struct access_explainer *to, struct access_explanation *ret, struct kms_err *err);

/** First 16 bytes of SHA-256(issuer, 0, "group" or "role", 0, value): what a token's group or role claim is known by. */
void access_claim(const char *issuer, const char *kind, const char *value, uint8_t ret_claim[STORE_ID_LEN]);
/** Hash of a credential of kind STORE_CREDENTIAL_IDENTITY: SHA-256(vault id, "principal", 0, issuer, 0, subject); of a group: SHA-256(vault id, "claim", 0,
 *  access_claim()). vault_id all zero = the installation's directory. */
void access_identity_hash(const uint8_t vault_id[STORE_ID_LEN], const char *issuer, const char *subject, uint8_t ret_hash[STORE_HASH_LEN]);
void access_claim_hash(const uint8_t vault_id[STORE_ID_LEN], const uint8_t claim[STORE_ID_LEN], uint8_t ret_hash[STORE_HASH_LEN]);

/* Custom roles. */
#define ACCESS_CUSTOM_ROLES_MAX 100 /* of one vault */
/** Names of data actions, "*" alone at the end of one as a wildcard, into permissions; only those that a vault's custom role may hold (all of keys/, keyrotationpolicies/,
 *  reading, and using EKM; nothing that manages vault, principals or roles). @return KMS_OK | KMS_E_INVALID (names the action) */
KMS_MUST_CHECK kms_status access_parse_actions(const char *const *actions, size_t count, uint64_t *ret_permissions, struct kms_err *err);
/** @param ret_role  owned by the caller: store_role_clear(); its number is not known yet: 0 @return KMS_OK | KMS_E_INVALID | KMS_E_CONFLICT */
KMS_MUST_CHECK kms_status role_define(struct op *op, const char *name, const char *const *actions, size_t count, struct store_role *ret_role,
                                      struct kms_err *err);
/** @return KMS_OK | KMS_E_NOTFOUND | KMS_E_CONFLICT (somebody holds it) */
KMS_MUST_CHECK kms_status role_drop(struct op *op, const uint8_t id[STORE_ID_LEN], struct kms_err *err);
/** A role of op->vault by slug, display name or id: built in or its own; 0 when there is none. */
KMS_MUST_CHECK kms_status role_find(struct op *op, const char *text, uint32_t *ret_number, struct kms_err *err);

/* One scope. */
struct role_scope {
	bool at_installation;
	const char *key_name; /* NULL or "" = the whole vault */
	int64_t expires_s;    /* STORE_NO_TIME = never; only granting reads it */
	const char *reason;   /* for those who are asked to approve; NULL or "" = none */
};
/** Grant or take away a role of a caller or group in op->vault, for one key of it, or at the installation's scope. To grant a role that manages the vault
 *  (PERM_ADMIN_WRITE or PERM_APPROVAL_WRITE in it, or any at the installation's scope) needs approval once the vault (or the installation) is founded; before, only the
 *  local socket's users may (approval.h). Duties that exclude one another are refused. Taking away needs no approval.
 *  @return KMS_OK | KMS_E_CONFLICT (has it; or a duty that excludes it) | KMS_E_NOTFOUND (has it not; no such principal) | KMS_E_INVALID (cannot be granted
 *          there; has ended already) | KMS_E_FORBIDDEN (beyond the caller's) | KMS_E_APPROVAL */
KMS_MUST_CHECK kms_status role_change(struct op *op, const uint8_t principal_id[STORE_ID_LEN], uint32_t role, const struct role_scope *scope, bool grant,
                                      struct kms_err *err);

#endif
