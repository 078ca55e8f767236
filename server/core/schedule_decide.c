/* server/core/schedule_decide.c - what is due of a key, and when to look at it again: no clock, no database, no device. */
#include <string.h>

#include "server/core/duration.h"
#include "server/core/key.h"
#include "server/core/schedule.h"

/* A policy that rotates before the end needs an end that is further away than this. Months are not all of one length, so what was checked when the policy was set (rotation.c)
 * may, on some days, leave nothing between creation and rotation: without this it would rotate for ever. */
#define AGE_MIN_S ((int64_t)7 * 86400)
#define DOUBLINGS_MAX 6

static bool is_of(const uint8_t id[STORE_ID_LEN], const struct store_version *v) { return memcmp(id, v->id, STORE_ID_LEN) == 0; /* allowed: ids are public */ }

/* A duration of the policy; false when it has none. */
static kms_status read_duration(const char *text, struct duration *ret, bool *ret_is_set, struct kms_err *err)
{
	*ret_is_set = text[0] != '\0';
	if (*ret_is_set && !duration_parse(text, ret))
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "rotation policy: %.31s is no duration", text);
	return KMS_OK;
}

static void weigh(int64_t moment_s, int64_t now_s, bool *ret_is_due, struct schedule_plan *plan)
{
	*ret_is_due = moment_s <= now_s;
	if (!*ret_is_due && moment_s < plan->next_s)
		plan->next_s = moment_s;
}

/* From when its age counts. */
static int64_t birth(const struct store_version *v, const struct store_due *due, int64_t now_s, struct schedule_plan *plan)
{
	int64_t born_s = is_of(due->base_version, v) ? due->base_s : v->created_s;

	plan->counts_anew = born_s > now_s + SCHEDULE_CLOCK_SLACK_S;
	return plan->counts_anew ? now_s : born_s;
}

static kms_status weigh_end(const struct store_policy *policy, const struct store_version *v, const struct store_due *due, int64_t now_s, struct schedule_plan *plan,
                            struct kms_err *err)
{
	struct duration notify = { 0 };
	bool notifies = false;
	bool is_near_told = is_of(due->near_version, v) && due->near_exp_s == v->exp_s, is_end_told = is_of(due->expired_version, v) && due->expired_exp_s == v->exp_s;

	KMS_TRY(read_duration(policy->notify_before_expiry, &notify, &notifies, err));
	if (v->exp_s == STORE_NO_TIME)
		return KMS_OK;
	/* An end that had passed when it was set was never near. */
	if (notifies && !is_near_told && v->exp_s > v->updated_s)
		weigh(duration_add(v->exp_s, &notify, true), now_s, &plan->tells_near, plan);
	if (!is_end_told)
		weigh(v->exp_s, now_s, &plan->tells_expired, plan);
	return KMS_OK;
}

static kms_status weigh_rotation(const struct store_policy *policy, const struct store_version *v, int64_t born_s, int64_t now_s, struct schedule_plan *plan, struct kms_err *err)
{
	struct duration after = { 0 }, before = { 0 };
	bool has_after = false, has_before = false;
	int64_t moment_s = 0;

	KMS_TRY(read_duration(policy->rotate_after_create, &after, &has_after, err));
	KMS_TRY(read_duration(policy->rotate_before_expiry, &before, &has_before, err));
	if (has_after)
		moment_s = duration_add(born_s, &after, false);
	else if (has_before && v->exp_s != STORE_NO_TIME) {
		moment_s = duration_add(v->exp_s, &before, true);
		if (moment_s < born_s + AGE_MIN_S && born_s + AGE_MIN_S < v->exp_s)
			moment_s = born_s + AGE_MIN_S;
	} else
		return KMS_OK;
	weigh(moment_s, now_s, &plan->rotates, plan);
	return KMS_OK;
}

kms_status schedule_decide(const struct store_policy *policy, const struct store_version *newest, const struct store_due *due, int64_t now_s, struct schedule_plan *ret,
                           struct kms_err *err)
{
	struct schedule_plan plan = { .next_s = SCHEDULE_NEVER };
	int64_t born_s = birth(newest, due, now_s, &plan);

	KMS_TRY(weigh_end(policy, newest, due, now_s, &plan, err));
	KMS_TRY(weigh_rotation(policy, newest, born_s, now_s, &plan, err));
	/* Somebody has taken the key out of use: what is due of it is due when it comes back. */
	if ((!newest->is_enabled || newest->revoked != REVOKE_NONE) && (plan.tells_near || plan.tells_expired || plan.rotates)) {
		plan.tells_near = plan.tells_expired = plan.rotates = false;
		plan.next_s = now_s + SCHEDULE_AGAIN_S;
	}
	*ret = plan;
	return KMS_OK;
}

int64_t schedule_retry_s(uint32_t attempts)
{
	uint32_t doublings = attempts > 1 ? attempts - 1 : 0;
	int64_t wait_s = (int64_t)SCHEDULE_RETRY_S << (doublings < DOUBLINGS_MAX ? doublings : DOUBLINGS_MAX);

	return wait_s < SCHEDULE_AGAIN_S ? wait_s : SCHEDULE_AGAIN_S;
}
