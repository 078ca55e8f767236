/* tests/support/access_rig.h - who may do what, asked and changed in one line each. */
#ifndef HOLDFAST_TESTS_SUPPORT_ACCESS_RIG_H
#define HOLDFAST_TESTS_SUPPORT_ACCESS_RIG_H

#include "server/core/access.h"
#include "server/core/principal.h"
#include "tests/support/approvals.h"

/** An operation of a caller, or with NULL of the local user, opened or not: *ret_status says. Free with t_op_free(). */
struct op *rig_open(struct t_domain *d, const struct caller *who, const char *vault, enum event_type type, kms_status *ret_status, struct kms_err *ret_err);
/** Is this caller let in, and may it? @param key  NULL = the whole vault @param ret_err  NULL = of no interest */
kms_status rig_may(struct t_domain *d, const struct caller *who, const char *vault, enum permission perm, const char *key, struct kms_err *ret_err);

/* What is granted: at the whole vault for ever unless named otherwise. */
struct rig_grant {
	const char *vault; /* NULL = the operation has none */
	uint32_t role;
	const char *key;
	int64_t until_s; /* 0 = for ever */
	bool at_installation;
};
/** role_change() by somebody (NULL = the local user) and what the writer said to it. */
kms_status rig_role(struct t_domain *d, const struct caller *who, const uint8_t principal_id[STORE_ID_LEN], const struct rig_grant *g, bool grant,
                    struct kms_err *ret_err);
/** group_change(), likewise. */
kms_status rig_member(struct t_domain *d, const struct caller *who, const struct t_person *group, const struct t_person *member, bool add,
                      struct kms_err *ret_err);
/** role_define(), likewise. @param actions  with spaces between @param ret_id  NULL = of no interest */
kms_status rig_define(struct t_domain *d, const struct caller *who, const char *vault, const char *name, const char *actions,
                      uint8_t ret_id[STORE_ID_LEN], struct kms_err *ret_err);
/** The number of a role of a vault by name; aborts when there is none. */
uint32_t rig_role_number(struct t_domain *d, const char *vault, const char *name);
/** credential_add_identity() by the local user, likewise. */
kms_status rig_identity(struct t_domain *d, const struct t_person *p, const char *issuer, const char *subject, struct kms_err *ret_err);
/** A caller that an external issuer vouches for. @param groups  values of its group claims, ended by NULL; NULL = none */
struct caller rig_external(const char *issuer, const char *subject, const char *const *groups);

#endif
