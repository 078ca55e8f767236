/* api/h_rotation.c - rotation and its policy in the Key Vault dialect (keyvault-keys.md section 11). */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/keyvault.h"

enum action { ACTION_ROTATE = 1, ACTION_NOTIFY = 2 };
static const char *const ACTIONS[] = { "Rotate", "Notify" };

static const char *action_name_at(unsigned i) { return i < KMS_ARRAY_LEN(ACTIONS) ? ACTIONS[i] : NULL; }

/* Vault and Managed HSM differ in the case of these names. */
static int parse_action(const char *text)
{
	for (unsigned i = 0; i < KMS_ARRAY_LEN(ACTIONS); i++)
		if (strcasecmp(text, ACTIONS[i]) == 0)
			return (int)i + 1;
	return 0;
}

#define AT(member) offsetof(struct body_action, member)
#define DURATION_FIELD(text, at) \
	{ .name = text, .kind = J_STRING, .offset = at, .flag = J_NO_FLAG, .min = 1, .max = STORE_DURATION_MAX }

static const struct json_field TRIGGER_FIELDS[] = {
	DURATION_FIELD("timeAfterCreate", AT(after_create)),
	DURATION_FIELD("timeBeforeExpiry", AT(before_expiry)),
	{ .name = NULL },
};
static const struct json_field ACTION_TYPE_FIELDS[] = {
	{ .name = "type", .kind = J_ENUM, .offset = AT(type), .flag = J_NO_FLAG, .required = true, .parse = parse_action, .name_at = action_name_at },
	{ .name = NULL },
};
static const struct json_field ACTION_FIELDS[] = {
	{ .name = "trigger", .kind = J_OBJECT, .flag = J_NO_FLAG, .required = true, .fields = TRIGGER_FIELDS },
	{ .name = "action", .kind = J_OBJECT, .flag = J_NO_FLAG, .required = true, .fields = ACTION_TYPE_FIELDS },
	{ .name = NULL },
};
static const struct json_field ATTRIBUTE_FIELDS[] = {
	DURATION_FIELD("expiryTime", OFFSET(rotation.expiry_time)),
	{ .name = NULL },
};
static const struct json_field ROTATION_FIELDS[] = {
	{ .name = "lifetimeActions", .kind = J_LIST, .offset = OFFSET(rotation.actions), .flag = J_NO_FLAG, .max = LIFETIME_ACTIONS_MAX,
	  .fields = ACTION_FIELDS, .stride = sizeof(struct body_action), .count = OFFSET(rotation.action_count) },
	{ .name = "attributes", .kind = J_OBJECT, .flag = J_NO_FLAG, .fields = ATTRIBUTE_FIELDS },
	{ .name = NULL },
};
const struct json_schema ROTATION_POLICY_SCHEMA = { .name = "KeyRotationPolicyRequest", .fields = ROTATION_FIELDS,
	                                            .size = sizeof(union request_body) };

kms_status api_key_rotate(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_rotate(&r->op, r->key, err));
	return kv_reply_bundle(r, err);
}

/* ---- answer ---- */

static void add_action(json_t **list, enum action type, const char *trigger, const char *duration)
{
	if (duration[0] != '\0')
		json_add(list, json_pack("{s:{s:s},s:{s:s}}", "trigger", trigger, duration, "action", "type", ACTIONS[type - 1]));
}

static void put_time(json_t **object, const char *name, int64_t unix_s)
{
	if (unix_s > 0)
		json_put(object, name, json_integer(unix_s));
}

static kms_status reply_policy(struct request *r, const struct store_policy *p, struct kms_err *err)
{
	json_t *actions = json_array(), *attributes = json_object(), *body = json_object();
	char key_id[ID_TEXT_MAX], id[sizeof(key_id) + sizeof("/rotationpolicy")];

	kv_id(r, "keys", r->op.key.name, NULL, key_id);
	(void)snprintf(id, sizeof(id), "%s/rotationpolicy", key_id);
	add_action(&actions, ACTION_ROTATE, "timeAfterCreate", p->rotate_after_create);
	add_action(&actions, ACTION_ROTATE, "timeBeforeExpiry", p->rotate_before_expiry);
	add_action(&actions, ACTION_NOTIFY, "timeBeforeExpiry", p->notify_before_expiry);
	if (p->expiry_time[0] != '\0')
		json_put(&attributes, "expiryTime", json_string(p->expiry_time));
	put_time(&attributes, "created", p->created_s);
	put_time(&attributes, "updated", p->updated_s);
	json_put(&body, "id", json_string(id));
	json_put(&body, "lifetimeActions", actions);
	json_put(&body, "attributes", attributes);
	return reply_json(r, 200, body, err);
}

kms_status api_rotation_get(struct request *r, struct kms_err *err)
{
	struct store_policy policy = { 0 };

	op_det_text(&r->op, "what", "rotation policy");
	KMS_TRY(keyring_get_rotation(&r->op, r->key, &policy, err));
	return reply_policy(r, &policy, err);
}

/* ---- change ---- */

static kms_status take_action(const struct body_action *a, unsigned *seen, struct store_policy *policy, struct kms_err *err)
{
	bool after = a->after_create[0] != '\0', before = a->before_expiry[0] != '\0';

	if ((*seen & 1U << a->type) != 0)
		return kms_refuse(err, KMS_E_INVALID, "lifetimeActions: at most one action of type %s.", ACTIONS[a->type - 1]);
	*seen |= 1U << a->type;
	if (after == before)
		return kms_refuse(err, KMS_E_INVALID, "lifetimeActions: a trigger has exactly one of timeAfterCreate and timeBeforeExpiry.");
	if (a->type == ACTION_NOTIFY && after)
		return kms_refuse(err, KMS_E_INVALID, "lifetimeActions: Notify has the trigger timeBeforeExpiry only.");
	memcpy(a->type == ACTION_NOTIFY ? policy->notify_before_expiry : after ? policy->rotate_after_create : policy->rotate_before_expiry,
	       after ? a->after_create : a->before_expiry, sizeof(policy->notify_before_expiry));
	return KMS_OK;
}

kms_status api_rotation_set(struct request *r, struct kms_err *err)
{
	struct store_policy policy = { 0 };
	unsigned seen = 0;

	for (size_t i = 0; i < r->body.rotation.action_count; i++)
		KMS_TRY(take_action(&r->body.rotation.actions[i], &seen, &policy, err));
	memcpy(policy.expiry_time, r->body.rotation.expiry_time, sizeof(policy.expiry_time));
	KMS_TRY(keyring_set_rotation(&r->op, r->key, &policy, err));
	return reply_policy(r, &policy, err);
}
