/* api/keyvault.h - what the handlers of the Key Vault dialect share: names, the members that several requests have, and bundles. */
#ifndef HOLDFAST_API_KEYVAULT_H
#define HOLDFAST_API_KEYVAULT_H

#include "api/api.h"

#define OFFSET(member) offsetof(union request_body, member)
#define ID_TEXT_MAX (KMS_URL_MAX + STORE_KEY_NAME_MAX + 64) /* "https://{vault}/deletedkeys/{key}/{version}" and a NUL */

/* ---- names, for J_ENUM and J_SET ---- */

int kv_type_parse(const char *text);
const char *kv_type_name_at(unsigned i);
int kv_curve_parse(const char *text);
const char *kv_curve_name_at(unsigned i);
int kv_op_parse(const char *text);
const char *kv_op_name_at(unsigned i);
int kv_alg_parse(const char *text);
/** The i-th algorithm that serves one of the operations (KEY_OP_* bits); NULL after the last. */
const char *kv_alg_name_at(uint32_t ops, unsigned i);

/* ---- members of create, import and update; the struct in union request_body begins with body_common ---- */

extern const struct json_field KV_ATTRIBUTES[];
extern const struct json_field KV_NOTHING[]; /* an object whose members are not looked at */

#define KV_COMMON_FIELDS                                                                                                                       \
	{ .name = "attributes", .kind = J_OBJECT, .flag = J_NO_FLAG, .fields = KV_ATTRIBUTES },                                                \
	{ .name = "tags", .kind = J_TAGS, .offset = OFFSET(common.tags), .flag = OFFSET(common.has_tags) },                                    \
	{ .name = "release_policy", .kind = J_OBJECT, .flag = OFFSET(common.has_release_policy), .fields = KV_NOTHING }
#define KV_KEY_OPS_FIELD                                                                                                                \
	{ .name = "key_ops", .kind = J_SET, .offset = OFFSET(common.ops), .flag = OFFSET(common.has_ops), .min = 0, .parse = kv_op_parse, \
	  .name_at = kv_op_name_at }
#define KV_TYPE_FIELD(at)                                                                                                                  \
	{ .name = "kty", .kind = J_ENUM, .offset = OFFSET(at), .flag = J_NO_FLAG, .required = true, .parse = kv_type_parse,                 \
	  .name_at = kv_type_name_at }
#define KV_CURVE_FIELD(at) \
	{ .name = "crv", .kind = J_ENUM, .offset = OFFSET(at), .flag = J_NO_FLAG, .parse = kv_curve_parse, .name_at = kv_curve_name_at }

void kv_common_init(void *target);
/** Members that ask for what keys here never do: to leave the HSM, or to live in another one. @return KMS_OK | KMS_E_UNSUPPORTED */
KMS_MUST_CHECK kms_status kv_refuse_exportable(const struct body_common *common, struct kms_err *err);
/** Operations, attributes and tags as core takes them. */
struct key_create kv_create_from(const struct body_common *common);

/* ---- bundles (keyvault-keys.md 4.6) ---- */

/** "{vault}/{collection}/{name}[/{version}]"; version NULL = none. */
void kv_id(const struct request *r, const char *collection, const char *name, const uint8_t *version, char ret_text[ID_TEXT_MAX]);
/** The identifier of the version that was used, for answers. */
json_t *kv_kid(const struct request *r, const struct store_key *k, const struct store_version *v);
json_t *kv_bundle(const struct request *r, const struct store_key *k, const struct store_version *v);
/** A list's element. */
json_t *kv_item(const struct request *r, const struct store_key *k, const struct store_version *v, bool with_version);
/** Adds the three members of a deleted key. */
void kv_put_deletion(const struct request *r, json_t **object, const struct store_key *k);

/** Answer 200 with the bundle of op.key and op.version. */
KMS_MUST_CHECK kms_status kv_reply_bundle(struct request *r, struct kms_err *err);
KMS_MUST_CHECK kms_status kv_reply_deleted(struct request *r, struct kms_err *err);
/** The version in the path, or NULL for the latest. */
const uint8_t *kv_version(const struct request *r);

#endif
