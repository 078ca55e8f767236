/* tests/support/approvals.h - people who call with tokens of their own, and what takes several of them. */
#ifndef HOLDFAST_TESTS_SUPPORT_APPROVALS_H
#define HOLDFAST_TESTS_SUPPORT_APPROVALS_H

#include "server/core/approval.h"
#include "tests/support/domain.h"

/* Somebody in a vault's directory, or in the installation's, with a fresh token. */
struct t_person {
	char vault[STORE_VAULT_NAME_MAX + 1]; /* empty = the installation */
	uint8_t id[STORE_ID_LEN];
	struct caller caller;
};

/** A caller without any role, and with no credential to get a token with. @param vault  NULL = the installation */
struct t_person t_newcomer(struct t_domain *d, const char *vault, const char *name);
/** A credential that nobody knows, straight into the database. */
void t_credential(struct t_domain *d, const struct t_person *p, enum store_credential_kind kind, int64_t expires_s);
/** One with a secret. @param vault  NULL = the installation @param role  at that scope; 0 = none. One that approves founds the vault as granting it does. */
struct t_person t_person(struct t_domain *d, const char *vault, const char *name, enum role role);
struct t_person t_group(struct t_domain *d, const char *vault, const char *name, enum role role);
/** An operation of this person in a vault (NULL = none), with a token that is `age_s` old; NULL when it is not let in. Free with t_op_free(). */
struct op *t_op_as(struct t_domain *d, const struct t_person *p, const char *vault, enum event_type type, int64_t age_s);
/** Write the changes of one unit of no interest. */
void t_change(struct t_domain *d, const struct store_change *changes, size_t count);
void t_role(struct t_domain *d, const struct t_person *p, enum role role, bool grant);
void t_member(struct t_domain *d, const struct t_person *group, const struct t_person *member, bool add);
void t_enable(struct t_domain *d, const struct t_person *p, bool enable);

/** The only open request of a vault (NULL: of the installation); false when there is none, or more than one. */
bool t_open_request(struct t_domain *d, const char *vault, uint8_t ret_id[STORE_ID_LEN]);
/** Vote with a fresh token. @return what it said, or else the writer */
kms_status t_vote(struct t_domain *d, const struct t_person *p, const char *vault, const uint8_t id[STORE_ID_LEN], bool approves, struct kms_err *ret_err);

/** A vault is shredded by the local user with the approval of one person made for it; aborts when it is not.
 *  @return device objects destroyed */
size_t t_shred(struct t_domain *d, const char *vault, const char *reason);
/** Only the approval: the next shred of the vault by the local user goes through. */
void t_approve_shred(struct t_domain *d, const char *vault);

#endif
