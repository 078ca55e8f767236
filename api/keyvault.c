/* api/keyvault.c - names, shared members and bundles of the Key Vault dialect (keyvault-keys.md section 4). */
#include "api/keyvault.h"

#include <stdio.h>
#include <string.h>

#define HSM_PLATFORM "0" /* keyvault-keys.md 4.4: no certified platform is claimed */

/* ---- names ---- */

int kv_type_parse(const char *text) { return (int)key_type_parse(text); }
int kv_curve_parse(const char *text) { return (int)key_curve_parse(text); }
int kv_op_parse(const char *text) { return (int)key_op_parse(text); }
int kv_alg_parse(const char *text) { return (int)key_alg_parse(text); }

/* Variants share the wire name of their first. */
const char *kv_type_name_at(unsigned i)
{
	for (int t = 1; t < KEY_TYPE_COUNT; t++) {
		const char *name = key_type_info((enum key_type)t)->name;
		if ((int)key_type_parse(name) == t && i-- == 0)
			return name;
	}
	return NULL;
}

const char *kv_curve_name_at(unsigned i)
{
	const struct key_curve_info *info = i < CURVE_COUNT ? key_curve_info((enum key_curve)(i + 1)) : NULL;
	return info != NULL ? info->name : NULL;
}

const char *kv_op_name_at(unsigned i) { return i < KEY_OP_COUNT ? key_op_name_at(i) : NULL; }

const char *kv_alg_name_at(uint32_t ops, unsigned i)
{
	for (int a = 1; a < KEY_ALG_COUNT; a++) {
		const struct key_alg_info *info = key_alg_info((enum key_alg)a);
		if ((info->ops & ops) != 0 && i-- == 0)
			return info->name;
	}
	return NULL;
}

/* ---- shared members ---- */

const struct json_field KV_NOTHING[] = { { .name = NULL } };

const struct json_field KV_ATTRIBUTES[] = {
	{ .name = "enabled", .kind = J_BOOL, .offset = OFFSET(common.is_enabled), .flag = OFFSET(common.has_enabled) },
	{ .name = "nbf", .kind = J_INT, .offset = OFFSET(common.nbf_s), .flag = OFFSET(common.has_nbf), .min = 0, .max = INT64_MAX },
	{ .name = "exp", .kind = J_INT, .offset = OFFSET(common.exp_s), .flag = OFFSET(common.has_exp), .min = 0, .max = INT64_MAX },
	{ .name = "exportable", .kind = J_BOOL, .offset = OFFSET(common.is_exportable), .flag = J_NO_FLAG },
	{ .name = "external_key", .kind = J_OBJECT, .flag = OFFSET(common.has_external_key), .fields = KV_NOTHING },
	{ .name = NULL },
};

void kv_common_init(void *target) { ((union request_body *)target)->common.is_enabled = true; }

kms_status kv_refuse_exportable(const struct body_common *common, struct kms_err *err)
{
	if (common->is_exportable || common->has_release_policy)
		return kms_refuse(err, KMS_E_UNSUPPORTED, "Exportable keys and release policies are not supported: keys never leave the HSM.");
	if (common->has_external_key)
		return kms_refuse(err, KMS_E_UNSUPPORTED, "attributes.external_key is not supported: keys live in this server's own HSM.");
	return KMS_OK;
}

struct key_create kv_create_from(const struct body_common *common)
{
	return (struct key_create){ .has_ops = common->has_ops, .ops = common->ops, .is_enabled = common->is_enabled,
		                    .nbf_s = common->has_nbf ? common->nbf_s : STORE_NO_TIME,
		                    .exp_s = common->has_exp ? common->exp_s : STORE_NO_TIME, .tags = common->tags };
}

/* ---- bundles ---- */

void kv_id(const struct request *r, const char *collection, const char *name, const uint8_t *version, char ret_text[ID_TEXT_MAX])
{
	char url[KMS_URL_MAX], hex[2 * STORE_ID_LEN + 1] = "";

	request_vault_url(r, url);
	if (version != NULL)
		hex_encode(version, STORE_ID_LEN, hex);
	(void)snprintf(ret_text, ID_TEXT_MAX, "%s/%s/%s%s%s", url, collection, name, version != NULL ? "/" : "", hex);
}

static json_t *id_of(const struct request *r, const char *collection, const char *name, const uint8_t *version)
{
	char text[ID_TEXT_MAX];
	kv_id(r, collection, name, version, text);
	return json_string(text);
}

json_t *kv_kid(const struct request *r, const struct store_key *k, const struct store_version *v) { return id_of(r, "keys", k->name, v->id); }

/* keyvault-keys.md 10.2 */
static const char *recovery_level(const struct store_vault *v)
{
	bool is_default = v->retention_days == RETENTION_DAYS_MAX;
	if (v->has_purge_protection)
		return is_default ? "Recoverable" : "CustomizedRecoverable";
	return is_default ? "Recoverable+Purgeable" : "CustomizedRecoverable+Purgeable";
}

/* Members that a version of the API does not know yet are left out, as Azure does. */
static json_t *attributes(const struct request *r, const struct store_version *v)
{
	json_t *a = json_object();

	json_put(&a, "enabled", json_boolean(v->is_enabled && v->revoked == REVOKE_NONE));
	if (v->nbf_s != STORE_NO_TIME)
		json_put(&a, "nbf", json_integer(v->nbf_s));
	if (v->exp_s != STORE_NO_TIME)
		json_put(&a, "exp", json_integer(v->exp_s));
	json_put(&a, "created", json_integer(v->created_s));
	json_put(&a, "updated", json_integer(v->updated_s));
	json_put(&a, "recoveryLevel", json_string(recovery_level(&r->op.vault)));
	if (api_version_since(r, "7.1"))
		json_put(&a, "recoverableDays", json_integer(r->op.vault.retention_days));
	if (api_version_since(r, "7.3"))
		json_put(&a, "exportable", json_false());
	if (api_version_since(r, "7.5"))
		json_put(&a, "hsmPlatform", json_string(HSM_PLATFORM));
	if (api_version_since(r, "2026-01-01-preview") && key_type_info((enum key_type)v->kty)->family == FAMILY_OCT)
		json_put(&a, "key_size", json_integer(v->bits));
	return a;
}

static json_t *operations(uint32_t ops)
{
	json_t *list = json_array();

	for (unsigned bit = 0; bit < KEY_OP_COUNT; bit++)
		if ((ops & 1U << bit) != 0)
			json_add(&list, json_string(key_op_name_at(bit)));
	return list;
}

static void put_tags(json_t **object, const struct store_version *v)
{
	if (v->tags != NULL)
		json_put(object, "tags", json_parse_object((const uint8_t *)v->tags, strlen(v->tags)));
}

/* The public half: nothing for symmetric keys, nor for a shredded vault's. */
static void put_public(json_t **key, const struct store_version *v)
{
	const struct key_curve_info *crv = key_curve_info((enum key_curve)v->crv);

	if (crv != NULL)
		json_put(key, "crv", json_string(crv->name));
	if (v->pub == NULL)
		return;
	if (crv == NULL) {
		json_put(key, "n", json_base64url(v->pub, v->pub_len));
		json_put(key, "e", json_base64url(v->e, v->e_len));
	} else if (v->pub_len == 1 + 2 * crv->coordinate_len) {
		json_put(key, "x", json_base64url(v->pub + 1, crv->coordinate_len));
		json_put(key, "y", json_base64url(v->pub + 1 + crv->coordinate_len, crv->coordinate_len));
	}
}

json_t *kv_bundle(const struct request *r, const struct store_key *k, const struct store_version *v)
{
	json_t *key = json_object();
	json_t *b = json_object();

	json_put(&key, "kid", kv_kid(r, k, v));
	json_put(&key, "kty", json_string(key_type_info((enum key_type)v->kty)->name));
	json_put(&key, "key_ops", operations(v->ops));
	put_public(&key, v);
	json_put(&b, "key", key);
	json_put(&b, "attributes", attributes(r, v));
	put_tags(&b, v);
	return b;
}

json_t *kv_item(const struct request *r, const struct store_key *k, const struct store_version *v, bool with_version)
{
	json_t *i = json_object();

	json_put(&i, "kid", id_of(r, "keys", k->name, with_version ? v->id : NULL));
	json_put(&i, "attributes", attributes(r, v));
	put_tags(&i, v);
	return i;
}

void kv_put_deletion(const struct request *r, json_t **object, const struct store_key *k)
{
	json_put(object, "recoveryId", id_of(r, "deletedkeys", k->name, NULL));
	json_put(object, "deletedDate", json_integer(k->deleted_s));
	json_put(object, "scheduledPurgeDate", json_integer(k->purge_s));
}

kms_status kv_reply_bundle(struct request *r, struct kms_err *err)
{
	return reply_json(r, 200, kv_bundle(r, &r->op.key, &r->op.version), err);
}

kms_status kv_reply_deleted(struct request *r, struct kms_err *err)
{
	json_t *b = kv_bundle(r, &r->op.key, &r->op.version);
	kv_put_deletion(r, &b, &r->op.key);
	return reply_json(r, 200, b, err);
}

const uint8_t *kv_version(const struct request *r) { return r->has_version ? r->version : NULL; }
