/* server/core/rotation.c - rotation policies: the vault's rules and defaults (keyvault-keys.md 11.2). What acts on them: schedule.h. */
#include <stdio.h>
#include <string.h>

#include "server/core/duration.h"
#include "server/core/keyring_parts.h"

#define DAY_S ((int64_t)86400)
#define EXPIRY_MIN_D 28
#define ROTATE_MIN_D 7
/* Every key of a vault has a notification; who sends a policy without one, an empty policy included, gets this. */
#define DEFAULT_NOTIFY "P30D"

static const char ROTATE_AFTER[] = "lifetimeActions: Rotate, timeAfterCreate";
static const char ROTATE_BEFORE[] = "lifetimeActions: Rotate, timeBeforeExpiry";
static const char NOTIFY_BEFORE[] = "lifetimeActions: Notify, timeBeforeExpiry";
static const char EXPIRY[] = "attributes.expiryTime";

/* One duration; none when the text is empty. *ret_s is its nominal length, 0 = none. */
static kms_status read_duration(const char *member, const char *text, int64_t min_days, int64_t *ret_s, struct kms_err *err)
{
	struct duration d = { 0 };

	*ret_s = 0;
	if (text[0] == '\0')
		return KMS_OK;
	if (!duration_parse(text, &d))
		return kms_refuse(err, KMS_E_INVALID, "%s: must be an ISO 8601 duration such as P90D, P3M or P2Y, of at most 100 years.",
		                  member);
	*ret_s = duration_nominal_s(&d);
	if (*ret_s == 0)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be longer than nothing.", member);
	if (*ret_s < min_days * DAY_S)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be at least %d days.", member, (int)min_days);
	return KMS_OK;
}

static kms_status check_policy(const struct store_policy *p, struct kms_err *err)
{
	int64_t after_s = 0, before_s = 0, notify_s = 0, expiry_s = 0;

	KMS_TRY(read_duration(EXPIRY, p->expiry_time, EXPIRY_MIN_D, &expiry_s, err));
	KMS_TRY(read_duration(ROTATE_AFTER, p->rotate_after_create, ROTATE_MIN_D, &after_s, err));
	KMS_TRY(read_duration(ROTATE_BEFORE, p->rotate_before_expiry, ROTATE_MIN_D, &before_s, err));
	KMS_TRY(read_duration(NOTIFY_BEFORE, p->notify_before_expiry, 0, &notify_s, err));
	if (after_s != 0 && before_s != 0)
		return kms_refuse(err, KMS_E_INVALID, "lifetimeActions: Rotate takes one trigger, timeAfterCreate or timeBeforeExpiry.");
	if (before_s != 0 && expiry_s == 0)
		return kms_refuse(err, KMS_E_INVALID, "%s: needs attributes.expiryTime in the policy.", ROTATE_BEFORE);
	if (before_s != 0 && expiry_s - before_s < ROTATE_MIN_D * DAY_S)
		return kms_refuse(err, KMS_E_INVALID,
		                  "%s: must come at least %d days after creation, that is, be shorter than attributes.expiryTime by that.",
		                  ROTATE_BEFORE, ROTATE_MIN_D);
	return KMS_OK;
}

kms_status keyring_policy(struct store *store, const struct store_key *key, struct store_policy *ret, struct kms_err *err)
{
	kms_status status = store_policy(store, key->id, ret, NULL);

	if (status == KMS_E_NOTFOUND) {
		memset(ret, 0, sizeof(*ret));
		memcpy(ret->key_id, key->id, STORE_ID_LEN);
		memcpy(ret->notify_before_expiry, DEFAULT_NOTIFY, sizeof(DEFAULT_NOTIFY));
		ret->created_s = ret->updated_s = key->created_s;
		return KMS_OK;
	}
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "rotation policy");
}

kms_status keyring_get_rotation(struct op *op, const char *name, struct store_policy *ret_policy, struct kms_err *err)
{
	KMS_TRY(keyring_find_living(op, name, err));
	return keyring_policy(op->store, &op->key, ret_policy, err);
}

static void note(struct op *op, const char *det, const char *duration)
{
	if (duration[0] != '\0')
		op_det_text(op, det, duration);
}

kms_status keyring_set_rotation(struct op *op, const char *name, struct store_policy *policy, struct kms_err *err)
{
	struct store_policy old = { 0 };

	KMS_TRY(check_policy(policy, err));
	KMS_TRY(keyring_find_living(op, name, err));
	KMS_TRY(keyring_policy(op->store, &op->key, &old, err));
	if (policy->notify_before_expiry[0] == '\0')
		memcpy(policy->notify_before_expiry, DEFAULT_NOTIFY, sizeof(DEFAULT_NOTIFY));
	memcpy(policy->key_id, op->key.id, STORE_ID_LEN);
	policy->created_s = old.created_s;
	policy->updated_s = clock_wall_s(op->kms->clock);
	op_det_text(op, "act", "rotation policy");
	note(op, "rotate_after_create", policy->rotate_after_create);
	note(op, "rotate_before_expiry", policy->rotate_before_expiry);
	note(op, "notify_before_expiry", policy->notify_before_expiry);
	note(op, "expiry_time", policy->expiry_time);
	op_change(op, STORE_POLICY_SET)->policy = *policy;
	return KMS_OK;
}

kms_status keyring_new_expiry(struct op *op, int64_t now_s, int64_t *ret_exp_s, struct kms_err *err)
{
	struct store_policy policy = { 0 };
	struct duration life = { 0 };

	*ret_exp_s = STORE_NO_TIME;
	KMS_TRY(keyring_policy(op->store, &op->key, &policy, err));
	if (policy.expiry_time[0] == '\0')
		return KMS_OK;
	if (!duration_parse(policy.expiry_time, &life))
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "rotation policy: expiry time");
	*ret_exp_s = duration_add(now_s, &life, false);
	return KMS_OK;
}
