/* tests/support/approval_rig.h - an act that needs approval and changes nothing, asked for again and again; what is not as it should be aborts. */
#ifndef HOLDFAST_TESTS_SUPPORT_APPROVAL_RIG_H
#define HOLDFAST_TESTS_SUPPORT_APPROVAL_RIG_H

#include "tests/support/approvals.h"

extern const struct approval_need RIG_NEED;

/** @param who  NULL = the local user; here and below @param vault  NULL = the installation */
struct op *rig_op_of(struct t_domain *d, const struct t_person *who, const char *vault);
/** The act itself is its intent. */
kms_status rig_intend(struct op *op);
/** Asked for, and done when it is approved. *ret_err is set anew. */
kms_status rig_act(struct t_domain *d, const struct t_person *who, const char *vault, const struct approval_need *need, struct kms_err *ret_err);
/** The same, when it must want approval; when it must be done. */
void rig_refused(struct t_domain *d, const struct t_person *who, const char *vault, const struct approval_need *need);
void rig_done(struct t_domain *d, const struct t_person *who, const char *vault, const struct approval_need *need);
/** A request of the local user, the only open one of the vault. */
void rig_ask(struct t_domain *d, const char *vault, const struct approval_need *need, uint8_t ret_id[STORE_ID_LEN]);
/** Approve, which must work. */
void rig_vote(struct t_domain *d, const struct t_person *p, const char *vault, const uint8_t id[STORE_ID_LEN]);
/** A vote as nobody could cast it: straight into the database. */
void rig_force_vote(struct t_domain *d, const struct t_person *p, const uint8_t id[STORE_ID_LEN]);
/** A vault with a founder, who has no part in the test. */
void rig_founded(struct t_domain *d, const char *vault);

/** The caller clears it. */
void rig_view(struct t_domain *d, const char *vault, const uint8_t id[STORE_ID_LEN], struct approval_view *ret);
unsigned rig_counted(struct t_domain *d, const char *vault, const uint8_t id[STORE_ID_LEN]);
enum store_approval_state rig_state_of(struct t_domain *d, const uint8_t id[STORE_ID_LEN]);

#endif
