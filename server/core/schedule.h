/*
 * server/core/schedule.h - what the server does by itself as keys grow old: it rotates as a key's policy says, and tells that a key is near its end or has reached it
 * (keyvault-keys.md sections 11.2 and 17; docs/rotation.md). The newest version of a key counts. Each is done once, however late, and never instead of what somebody else does
 * at the same moment: the fence of the key decides.
 */
#ifndef HOLDFAST_CORE_SCHEDULE_H
#define HOLDFAST_CORE_SCHEDULE_H

#include "server/core/kms.h"

#define SCHEDULE_NEVER INT64_MAX
#define SCHEDULE_AGAIN_S 3600     /* what must not be done now is looked at again, also after failures at the latest */
#define SCHEDULE_RETRY_S 60       /* after the first failure; doubles with each */
#define SCHEDULE_CLOCK_SLACK_S 3600 /* a clock that is set back by less changes nothing */

/* What is to be done about the newest version of a key, in this order. */
struct schedule_plan {
	bool tells_near, tells_expired, rotates;
	bool counts_anew; /* it seems to have been made later than now: its age counts from now on */
	int64_t next_s;   /* when all that is done: when to look again, SCHEDULE_NEVER = when something changes */
};
/** Decides, and nothing else. @return KMS_OK | KMS_E_STORE (a duration of the policy that is none) */
KMS_MUST_CHECK kms_status schedule_decide(const struct store_policy *policy, const struct store_version *newest, const struct store_due *due, int64_t now_s,
                                          struct schedule_plan *ret, struct kms_err *err);
/** How long after so many failures, one after the other, it is tried again. @param attempts  1.. */
int64_t schedule_retry_s(uint32_t attempts);

/* What turns tell the next one. Zeroed = the server has just started. One thread's. */
struct schedule {
	bool is_loaded;
	int64_t seen_s; /* the clock at the last turn */
	int64_t kept_s; /* the same, in the database */
	uint8_t told_vault[STORE_ID_LEN], rotated_vault[STORE_ID_LEN]; /* the last that had its turn: the next begins behind it */
	/* The clock was set back: all keys are looked at once, a page at a time, since they may wait for a moment that is much too late. */
	bool reviews;
	char vault[STORE_VAULT_NAME_MAX + 1]; /* the last one; "" = none yet */
	bool has_vault; /* there is more of it */
	struct store_vault current;
	char key[STORE_KEY_NAME_MAX + 1]; /* the last one of it */
};

struct schedule_count {
	size_t rotated, near_expiry, expired;
	size_t failed;               /* keys; each is tried again */
	struct kms_err last_failure; /* of the last of them */
	bool has_more;               /* keys are due that this turn had no time for */
};

/**
 * One turn: look at the keys that are due, vault by vault, and of each at those that have waited longest. First whatever is only to be told, so that no other tenant's
 * rotations delay it; then one rotation, of the vault whose turn it is, so that whoever waits for a key in the same lane waits for one more at most. It also ends after a
 * quarter of a second, or 256 keys. A key that fails is put off and holds up no other. Blocks on the device; in the one thread that makes keys.
 * @return KMS_OK | KMS_E_STORE, KMS_E_AUDIT, KMS_E_THROTTLED, KMS_E_NOMEM: nothing more can be done now. *ret_count is set in any case
 */
KMS_MUST_CHECK kms_status schedule_run(struct schedule *s, struct kms *kms, struct store *store, struct schedule_count *ret_count, struct kms_err *err);

#endif
