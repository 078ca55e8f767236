/* tests/support/hsm_fault.h - makes the 1st, 2nd, 3rd ... C_* call of a verb fail, until none is left. */
#ifndef HOLDFAST_TESTS_SUPPORT_HSM_FAULT_H
#define HOLDFAST_TESTS_SUPPORT_HSM_FAULT_H

#include "tests/support/hsm_rig.h"

/* A verb that checks its own result, and leaves the token as it was when it succeeds (with `after`) and when it fails. */
struct t_verb {
	const char *name;
	kms_status (*run)(void);
	void (*prepare)(void); /* before each try, or NULL */
	void (*after)(void);   /* after each success, or NULL */
	unsigned least_calls;  /* when cold */
	bool is_done_once;     /* what failed late may have been done: tried again as it is, not prepared anew */
};

struct t_keys {
	const struct hsm_key *const *keys;
	size_t count;
};

/** Everything that a verb finds ready when warm, it has to find again when cold. */
void t_cool(struct t_rig *rig, const struct t_keys *resident);
/** The verb says so or copes, nothing is left behind on either side, and the next try works. */
void t_fail_each_call(struct t_rig *rig, const struct t_keys *resident, const struct t_verb *v, CK_RV rv, bool is_cold);

#endif
