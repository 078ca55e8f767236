/* api/h_key.c - the life of keys in the Key Vault dialect: request struct in, one core call, bundle out. */
#include "api/keyvault.h"

#define PUBLIC_EXPONENT 65537 /* the only one offered */

static const struct json_field CREATE_FIELDS[] = {
	KV_TYPE_FIELD(create.kty),
	{ .name = "key_size", .kind = J_INT, .offset = OFFSET(create.bits), .flag = J_NO_FLAG, .min = 1, .max = UINT16_MAX },
	{ .name = "public_exponent", .kind = J_INT, .offset = OFFSET(create.public_exponent), .flag = OFFSET(create.has_exponent), .min = 1,
	  .max = INT32_MAX },
	KV_CURVE_FIELD(create.crv),
	KV_KEY_OPS_FIELD,
	KV_COMMON_FIELDS,
	{ .name = NULL },
};
const struct json_schema KEY_CREATE_SCHEMA = { .name = "KeyCreateRequest", .fields = CREATE_FIELDS, .size = sizeof(union request_body),
	                                       .init = kv_common_init };

static const struct json_field UPDATE_FIELDS[] = {
	KV_KEY_OPS_FIELD,
	KV_COMMON_FIELDS,
	{ .name = NULL },
};
const struct json_schema KEY_UPDATE_SCHEMA = { .name = "KeyUpdateRequest", .fields = UPDATE_FIELDS, .size = sizeof(union request_body) };

kms_status api_key_create(struct request *r, struct kms_err *err)
{
	struct key_create req = kv_create_from(&r->body.common);

	req.type = (enum key_type)r->body.create.kty;
	req.bits = (uint16_t)r->body.create.bits;
	req.crv = (enum key_curve)r->body.create.crv;
	if (r->body.create.has_exponent && r->body.create.public_exponent != PUBLIC_EXPONENT)
		return kms_refuse(err, KMS_E_INVALID, "public_exponent: only %d is offered.", PUBLIC_EXPONENT);
	KMS_TRY(kv_refuse_exportable(&r->body.common, err));
	KMS_TRY(keyring_create(&r->op, r->key, &req, err));
	return kv_reply_bundle(r, err);
}

kms_status api_key_get(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_get(&r->op, r->key, kv_version(r), err));
	return kv_reply_bundle(r, err);
}

kms_status api_key_update(struct request *r, struct kms_err *err)
{
	const struct body_common *c = &r->body.common;
	struct key_update req = { .has_ops = c->has_ops, .has_enabled = c->has_enabled, .has_nbf = c->has_nbf, .has_exp = c->has_exp,
		                  .has_tags = c->has_tags, .ops = c->ops, .is_enabled = c->is_enabled, .nbf_s = c->nbf_s, .exp_s = c->exp_s,
		                  .tags = c->tags };

	KMS_TRY(kv_refuse_exportable(c, err));
	KMS_TRY(gate_update(r, err));
	KMS_TRY(keyring_update(&r->op, r->key, kv_version(r), &req, err));
	return kv_reply_bundle(r, err);
}

kms_status api_key_delete(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_delete(&r->op, r->key, err));
	return kv_reply_deleted(r, err);
}

kms_status api_deleted_get(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_get_deleted(&r->op, r->key, err));
	return kv_reply_deleted(r, err);
}

kms_status api_deleted_recover(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_recover(&r->op, r->key, err));
	return kv_reply_bundle(r, err);
}

kms_status api_deleted_purge(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_purge(&r->op, r->key, err));
	reply_empty(r, 204);
	return KMS_OK;
}
