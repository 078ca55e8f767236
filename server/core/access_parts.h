/* server/core/access_parts.h - shared by the files that change who may do what (access*.c, principal*.c); nothing here is for others. */
#ifndef HOLDFAST_CORE_ACCESS_PARTS_H
#define HOLDFAST_CORE_ACCESS_PARTS_H

#include <string.h>

#include "server/core/access.h"
#include "server/core/principal.h"

/* What makes its holder one who manages the vault: to come to hold it needs other people. */
#define ACCESS_MANAGES (PERM_BIT(PERM_ADMIN_WRITE) | PERM_BIT(PERM_APPROVAL_WRITE))
/* What only one who manages the vault may give or take. */
#define ACCESS_GUARDED                                                                                                       \
	(ACCESS_MANAGES | PERM_BIT(PERM_ROLE_WRITE) | PERM_BIT(PERM_PRINCIPAL_WRITE) | PERM_BIT(PERM_VAULT_WRITE) |          \
	 PERM_BIT(PERM_EKM_WRITE) | PERM_BIT(PERM_KEY_REVOKE))
/* What a role for one key can mean: all that is asked with the key's name. */
#define ACCESS_OF_A_KEY                                                                                                                   \
	(PERM_BIT(PERM_KEY_READ) | PERM_BIT(PERM_KEY_CREATE) | PERM_BIT(PERM_KEY_UPDATE) | PERM_BIT(PERM_KEY_DELETE) |                    \
	 PERM_BIT(PERM_KEY_RECOVER) | PERM_BIT(PERM_KEY_PURGE) | PERM_BIT(PERM_KEY_ROTATE) | PERM_BIT(PERM_KEY_WRAP) |                    \
	 PERM_BIT(PERM_KEY_UNWRAP) | PERM_BIT(PERM_KEY_IMPORT) | PERM_BIT(PERM_KEY_BACKUP) | PERM_BIT(PERM_KEY_ENCRYPT) |                 \
	 PERM_BIT(PERM_KEY_DECRYPT) | PERM_BIT(PERM_KEY_SIGN) | PERM_BIT(PERM_KEY_VERIFY) | PERM_BIT(PERM_KEY_RELEASE) |                  \
	 PERM_BIT(PERM_ROTATION_READ) | PERM_BIT(PERM_ROTATION_WRITE) | PERM_BIT(PERM_KEY_REVOKE))

/** The permissions of a custom role as it is stored. Names that are not known, or not for custom roles, give nothing. */
uint64_t access_stored_actions(const char *actions);

/* What a caller or group reaches in op->vault, by whatever scope: disabled principals and groups as if they were not, since they may be enabled again without
 * asking anybody; what has ended does not count. */
struct access_reach {
	uint64_t permissions;   /* all of it */
	uint64_t installation;  /* of these, what it holds in the whole installation */
	uint64_t of_vault;      /* and what by roles of the vault */
	size_t group_count;
	uint8_t groups[ACCESS_GROUPS_MAX][STORE_ID_LEN]; /* above it */
};
KMS_MUST_CHECK kms_status access_reach(struct op *op, const uint8_t id[STORE_ID_LEN], struct access_reach *ret, struct kms_err *err);

/**
 * May a caller, or everybody in a group, come to hold this as well?
 * @param gain  permissions, and groups that it would be in
 * @return KMS_OK | KMS_E_CONFLICT (duties that exclude one another; more groups than the limit) | KMS_E_FORBIDDEN (a new duty for a group that tokens name, by
 *         one who does not manage the vault) | KMS_E_STORE | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status access_check_gain(struct op *op, const struct store_principal *p, const struct access_reach *gain, struct kms_err *err);

/* Somebody comes to manage the vault or installation, or may from now on act as somebody who does. */
struct access_elevation {
	uint64_t permissions;                   /* that are given */
	bool at_installation;
	const uint8_t *principal_id;            /* whose */
	const char *parameters;                 /* what exactly is asked, canonical JSON (approval.h) */
	const char *reason;                     /* of whoever asks; NULL = none */
	const uint8_t *more;                    /* who may count as approver from now on, for good; NULL = nobody new */
};
/** Whoever gives this must hold as much himself, and when it manages, others must agree: right before op_intend(). Adds one change at most to op.
 *  @return KMS_OK | KMS_E_FORBIDDEN | KMS_E_APPROVAL | KMS_E_STORE | what approval_require() answers */
KMS_MUST_CHECK kms_status access_elevate(struct op *op, const struct access_elevation *e, struct kms_err *err);
/** The same for a new way to be somebody: whoever adds it could use it. Nothing is asked when it is one's own.
 *  @param parameters  canonical JSON */
KMS_MUST_CHECK kms_status access_elevate_way_in(struct op *op, const struct store_principal *p, const char *parameters, struct kms_err *err);
#define ACCESS_WHO_TEXT 43 /* base64url characters */
/** Who may act as this caller, or by being in this group, as it is now: SHA-256 over all of them and every way in that each has. What others agree to is said of
 *  these: whoever asked them must not change it afterwards. */
KMS_MUST_CHECK kms_status access_who(struct op *op, const struct store_principal *p, char ret_text[ACCESS_WHO_TEXT + 1], struct kms_err *err);
/* Changes that access_hold_still() adds at most. */
#define ACCESS_STILL_CHANGES 2
/** Who a caller is and what it holds must not change beside each other: adds to op, before its other changes, what makes it KMS_E_FENCED when the caller is not
 *  what was found. @param is_way_in  a way in is given, which concerns whatever is about to be given to the groups that it is in */
KMS_MUST_CHECK kms_status access_hold_still(struct op *op, const struct store_principal *p, bool is_way_in, struct kms_err *err);
/** Does this take the agreement of others? */
static inline bool access_is_asked(uint64_t permissions, bool at_installation) { return at_installation || (permissions & ACCESS_MANAGES) != 0; }
/** Only the first half: must the caller hold more to give or take this? @return KMS_OK | KMS_E_FORBIDDEN */
KMS_MUST_CHECK kms_status access_check_guarded(struct op *op, uint64_t permissions, struct kms_err *err);

/** One who holds a role in the whole installation is not a vault administrator's to manage. @return KMS_OK | KMS_E_FORBIDDEN | KMS_E_STORE */
KMS_MUST_CHECK kms_status principal_check_may_manage(struct op *op, const struct store_principal *p, struct kms_err *err);

static inline bool access_same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}
static inline bool access_is_none(const uint8_t id[STORE_ID_LEN])
{
	static const uint8_t NONE[STORE_ID_LEN];
	return access_same_id(id, NONE);
}

#endif
