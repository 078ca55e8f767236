/* api/h_key.c - the Key Vault dialect: request struct in, one core call, bundle out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"

#define OFFSET(member) offsetof(union request_body, member)
#define HSM_PLATFORM "0" /* keyvault-keys.md 4.4: no certified platform is claimed */

/* ---- schemas ---- */

static int parse_type(const char *text) { return (int)key_type_parse(text); }
static int parse_alg(const char *text) { return (int)key_alg_parse(text); }
static int parse_op(const char *text) { return (int)key_op_parse(text); }

static const struct json_field CREATE_ATTRIBUTES[] = {
	{ .name = "enabled", .kind = J_BOOL, .offset = OFFSET(create.is_enabled), .flag = J_NO_FLAG },
	{ .name = "nbf", .kind = J_INT, .offset = OFFSET(create.nbf_s), .flag = OFFSET(create.has_nbf), .min = 0, .max = INT64_MAX },
	{ .name = "exp", .kind = J_INT, .offset = OFFSET(create.exp_s), .flag = OFFSET(create.has_exp), .min = 0, .max = INT64_MAX },
	{ .name = "exportable", .kind = J_BOOL, .offset = OFFSET(create.is_exportable), .flag = J_NO_FLAG },
	{ .name = NULL },
};
static const struct json_field CREATE_FIELDS[] = {
	{ .name = "kty", .kind = J_ENUM, .offset = OFFSET(create.kty), .flag = J_NO_FLAG, .required = true, .parse = parse_type },
	{ .name = "key_size", .kind = J_INT, .offset = OFFSET(create.bits), .flag = J_NO_FLAG, .min = 1, .max = UINT16_MAX },
	{ .name = "public_exponent", .kind = J_INT, .offset = OFFSET(create.public_exponent), .flag = OFFSET(create.has_exponent), .min = 1,
	  .max = INT32_MAX },
	{ .name = "key_ops", .kind = J_SET, .offset = OFFSET(create.ops), .flag = OFFSET(create.has_ops), .min = 0, .parse = parse_op },
	{ .name = "attributes", .kind = J_OBJECT, .flag = J_NO_FLAG, .fields = CREATE_ATTRIBUTES },
	{ .name = "tags", .kind = J_TAGS, .offset = OFFSET(create.tags), .flag = J_NO_FLAG },
	{ .name = "release_policy", .kind = J_OBJECT, .flag = OFFSET(create.has_release_policy), .fields = (const struct json_field[]){ { 0 } } },
	{ .name = NULL },
};
static void create_init(void *target) { ((union request_body *)target)->create.is_enabled = true; }
static void create_clear(void *target) { free(((union request_body *)target)->create.tags); }
const struct json_schema KEY_CREATE_SCHEMA = { .fields = CREATE_FIELDS, .size = sizeof(union request_body), .init = create_init,
	                                       .clear = create_clear };

static const struct json_field UPDATE_ATTRIBUTES[] = {
	{ .name = "enabled", .kind = J_BOOL, .offset = OFFSET(update.is_enabled), .flag = OFFSET(update.has_enabled) },
	{ .name = "nbf", .kind = J_INT, .offset = OFFSET(update.nbf_s), .flag = OFFSET(update.has_nbf), .min = 0, .max = INT64_MAX },
	{ .name = "exp", .kind = J_INT, .offset = OFFSET(update.exp_s), .flag = OFFSET(update.has_exp), .min = 0, .max = INT64_MAX },
	{ .name = NULL },
};
static const struct json_field UPDATE_FIELDS[] = {
	{ .name = "key_ops", .kind = J_SET, .offset = OFFSET(update.ops), .flag = OFFSET(update.has_ops), .min = 0, .parse = parse_op },
	{ .name = "attributes", .kind = J_OBJECT, .flag = J_NO_FLAG, .fields = UPDATE_ATTRIBUTES },
	{ .name = "tags", .kind = J_TAGS, .offset = OFFSET(update.tags), .flag = OFFSET(update.has_tags) },
	{ .name = NULL },
};
static void update_clear(void *target) { free(((union request_body *)target)->update.tags); }
const struct json_schema KEY_UPDATE_SCHEMA = { .fields = UPDATE_FIELDS, .size = sizeof(union request_body), .clear = update_clear };

static const struct json_field WRAP_FIELDS[] = {
	{ .name = "alg", .kind = J_ENUM, .offset = OFFSET(wrap.alg), .flag = J_NO_FLAG, .required = true, .parse = parse_alg },
	{ .name = "value", .kind = J_SECRET, .offset = OFFSET(wrap.value), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = CRYPTO_WRAPPED_MAX },
	{ .name = NULL },
};
static void wrap_clear(void *target) { secret_free(((union request_body *)target)->wrap.value); }
const struct json_schema KEY_WRAP_SCHEMA = { .fields = WRAP_FIELDS, .size = sizeof(union request_body), .clear = wrap_clear };

/* ---- bundles (keyvault-keys.md 4.6) ---- */

/* Members that the caller fills step by step; a failed step makes the whole object NULL, which reply_json() turns into an error. */
static void put(json_t **object, const char *name, json_t *value)
{
	if (*object != NULL && (value == NULL || json_object_set_new(*object, name, value) != 0)) {
		json_decref(*object);
		*object = NULL;
	} else if (*object == NULL) {
		json_decref(value);
	}
}

static json_t *base64url(const uint8_t *bytes, size_t len)
{
	ERASE_AUTO(char, text, B64URL_LEN(CRYPTO_WRAPPED_MAX) + 1); /* an unwrapped key passes through here */
	b64url_encode(bytes, len, text);
	return json_string(text);
}

static void make_kid(const struct request *r, const char *collection, const char *name, const uint8_t *version, char *ret, size_t cap)
{
	char url[KMS_URL_MAX], hex[2 * STORE_ID_LEN + 1] = "";

	request_vault_url(r, url);
	if (version != NULL)
		hex_encode(version, STORE_ID_LEN, hex);
	(void)snprintf(ret, cap, "%s/%s/%s%s%s", url, collection, name, version != NULL ? "/" : "", hex);
}

static json_t *kid(const struct request *r, const char *collection, const char *name, const uint8_t *version)
{
	char text[KMS_URL_MAX + 256];
	make_kid(r, collection, name, version, text, sizeof(text));
	return json_string(text);
}

/* keyvault-keys.md 10.2 */
static const char *recovery_level(const struct store_vault *v)
{
	bool is_default = v->retention_days == RETENTION_DAYS_MAX;
	if (v->has_purge_protection)
		return is_default ? "Recoverable" : "CustomizedRecoverable";
	return is_default ? "Recoverable+Purgeable" : "CustomizedRecoverable+Purgeable";
}

static json_t *attributes(const struct request *r, const struct store_version *v)
{
	json_t *a = json_object();

	put(&a, "enabled", json_boolean(v->is_enabled && v->revoked == REVOKE_NONE));
	if (v->nbf_s != STORE_NO_TIME)
		put(&a, "nbf", json_integer(v->nbf_s));
	if (v->exp_s != STORE_NO_TIME)
		put(&a, "exp", json_integer(v->exp_s));
	put(&a, "created", json_integer(v->created_s));
	put(&a, "updated", json_integer(v->updated_s));
	put(&a, "recoveryLevel", json_string(recovery_level(&r->op.vault)));
	put(&a, "recoverableDays", json_integer(r->op.vault.retention_days));
	put(&a, "exportable", json_false());
	put(&a, "hsmPlatform", json_string(HSM_PLATFORM));
	return a;
}

static json_t *operations(uint32_t ops)
{
	json_t *list = json_array();

	for (unsigned bit = 0; bit < KEY_OP_COUNT; bit++)
		if (list != NULL && (ops & 1U << bit) != 0 && json_array_append_new(list, json_string(key_op_name_at(bit))) != 0) {
			json_decref(list);
			list = NULL;
		}
	return list;
}

static void put_tags(json_t **object, const struct store_version *v)
{
	if (v->tags != NULL)
		put(object, "tags", json_parse_object((const uint8_t *)v->tags, strlen(v->tags)));
}

static json_t *bundle(const struct request *r, const struct store_key *k, const struct store_version *v)
{
	json_t *key = json_object();
	json_t *b = json_object();

	put(&key, "kid", kid(r, "keys", k->name, v->id));
	put(&key, "kty", json_string(key_type_info((enum key_type)v->kty)->name));
	put(&key, "key_ops", operations(v->ops));
	if (v->n != NULL) {
		put(&key, "n", base64url(v->n, v->n_len));
		put(&key, "e", base64url(v->e, v->e_len));
	}
	put(&b, "key", key);
	put(&b, "attributes", attributes(r, v));
	put_tags(&b, v);
	return b;
}

static json_t *item(const struct request *r, const struct store_key *k, const struct store_version *v, bool with_version)
{
	json_t *i = json_object();

	put(&i, "kid", kid(r, "keys", k->name, with_version ? v->id : NULL));
	put(&i, "attributes", attributes(r, v));
	put_tags(&i, v);
	return i;
}

static void put_deletion(const struct request *r, json_t **object, const struct store_key *k)
{
	put(object, "recoveryId", kid(r, "deletedkeys", k->name, NULL));
	put(object, "deletedDate", json_integer(k->deleted_s));
	put(object, "scheduledPurgeDate", json_integer(k->purge_s));
}

static kms_status reply_bundle(struct request *r, struct kms_err *err)
{
	return reply_json(r, 200, bundle(r, &r->op.key, &r->op.version), err);
}

static kms_status reply_deleted(struct request *r, struct kms_err *err)
{
	json_t *b = bundle(r, &r->op.key, &r->op.version);
	put_deletion(r, &b, &r->op.key);
	return reply_json(r, 200, b, err);
}

static const uint8_t *version_of(const struct request *r) { return r->has_version ? r->version : NULL; }

/* ---- handlers ---- */

kms_status api_key_create(struct request *r, struct kms_err *err)
{
	struct key_create req = { .type = (enum key_type)r->body.create.kty, .bits = (uint16_t)r->body.create.bits,
		                  .has_ops = r->body.create.has_ops, .ops = r->body.create.ops, .is_enabled = r->body.create.is_enabled,
		                  .nbf_s = r->body.create.has_nbf ? r->body.create.nbf_s : STORE_NO_TIME,
		                  .exp_s = r->body.create.has_exp ? r->body.create.exp_s : STORE_NO_TIME, .tags = r->body.create.tags };

	if (r->body.create.has_exponent && r->body.create.public_exponent != 65537)
		return kms_refuse(err, KMS_E_INVALID, "public_exponent: only 65537 is offered.");
	if (r->body.create.is_exportable || r->body.create.has_release_policy)
		return kms_refuse(err, KMS_E_UNSUPPORTED, "Exportable keys and release policies are not supported: keys never leave the HSM.");
	KMS_TRY(keyring_create(&r->op, r->key, &req, err));
	return reply_bundle(r, err);
}

kms_status api_key_get(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_get(&r->op, r->key, version_of(r), err));
	return reply_bundle(r, err);
}

kms_status api_key_update(struct request *r, struct kms_err *err)
{
	struct key_update req = { .has_ops = r->body.update.has_ops, .has_enabled = r->body.update.has_enabled,
		                  .has_nbf = r->body.update.has_nbf, .has_exp = r->body.update.has_exp, .has_tags = r->body.update.has_tags,
		                  .ops = r->body.update.ops, .is_enabled = r->body.update.is_enabled, .nbf_s = r->body.update.nbf_s,
		                  .exp_s = r->body.update.exp_s, .tags = r->body.update.tags };

	KMS_TRY(keyring_update(&r->op, r->key, version_of(r), &req, err));
	return reply_bundle(r, err);
}

kms_status api_key_rotate(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_rotate(&r->op, r->key, err));
	return reply_bundle(r, err);
}

kms_status api_key_delete(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_delete(&r->op, r->key, err));
	return reply_deleted(r, err);
}

kms_status api_deleted_get(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_get_deleted(&r->op, r->key, err));
	return reply_deleted(r, err);
}

kms_status api_deleted_recover(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_recover(&r->op, r->key, err));
	return reply_bundle(r, err);
}

kms_status api_deleted_purge(struct request *r, struct kms_err *err)
{
	KMS_TRY(keyring_purge(&r->op, r->key, err));
	reply_empty(r, 204);
	return KMS_OK;
}

static kms_status reply_crypto(struct request *r, const uint8_t *value, size_t len, struct kms_err *err)
{
	json_t *body = json_object();
	put(&body, "kid", kid(r, "keys", r->op.key.name, r->op.version.id));
	put(&body, "value", base64url(value, len));
	return reply_json(r, 200, body, err);
}

kms_status api_key_wrap(struct request *r, struct kms_err *err)
{
	uint8_t wrapped[CRYPTO_WRAPPED_MAX];
	size_t len = 0;

	KMS_TRY(crypto_wrap(&r->op, r->key, version_of(r), (enum key_alg)r->body.wrap.alg, r->body.wrap.value, wrapped, &len, err));
	return reply_crypto(r, wrapped, len, err);
}

kms_status api_key_unwrap(struct request *r, struct kms_err *err)
{
	SECRET_AUTO *plain = NULL;
	const struct secret *value = r->body.wrap.value;

	KMS_TRY(crypto_unwrap(&r->op, r->key, version_of(r), (enum key_alg)r->body.wrap.alg, secret_data(value), secret_len(value), &plain, err));
	return reply_crypto(r, secret_data(plain), secret_len(plain), err);
}

/* ---- lists (keyvault-keys.md section 7) ---- */

static kms_status page_size(const struct request *r, size_t *ret_size, struct kms_err *err)
{
	const char *text = query_get(r, "maxresults");
	char *end = NULL;
	long n = KEYRING_PAGE_MAX;

	if (text != NULL) {
		n = strtol(text, &end, 10);
		if (*text == '\0' || *end != '\0' || n < 1 || n > KEYRING_PAGE_MAX)
			return kms_refuse(err, KMS_E_INVALID, "maxresults: must be 1 to %d.", KEYRING_PAGE_MAX);
	}
	*ret_size = (size_t)n;
	return KMS_OK;
}

/* The cursor is the last name or ordinal shown; it is harmless when forged: it only says where in one's own vault to go on. */
static kms_status cursor(const struct request *r, char *ret, size_t cap, struct kms_err *err)
{
	const char *token = query_get(r, "$skiptoken");
	size_t len = 0;

	ret[0] = '\0';
	if (token == NULL)
		return KMS_OK;
	if (!b64url_decode(token, strlen(token), (uint8_t *)ret, cap - 1, &len) || len == 0)
		return kms_refuse(err, KMS_E_INVALID, "$skiptoken: is not one of this server's.");
	ret[len] = '\0';
	return key_name_is_valid(ret) ? KMS_OK : kms_refuse(err, KMS_E_INVALID, "$skiptoken: is not one of this server's.");
}

static json_t *next_link(const struct request *r, const char *path, const char *last)
{
	char token[B64URL_LEN(STORE_KEY_NAME_MAX) + 1], link[HTTP_URI_MAX], max[32] = "";
	const char *size = query_get(r, "maxresults");
	char url[KMS_URL_MAX];

	request_vault_url(r, url);
	b64url_encode(last, strlen(last), token);
	if (size != NULL)
		(void)snprintf(max, sizeof(max), "&maxresults=%.8s", size);
	(void)snprintf(link, sizeof(link), "%s%s%s?api-version=%s&$skiptoken=%s%s", url, r->op.kms->public_port == 443 ? ":443" : "", path,
	               query_get(r, "api-version"), token, max);
	return json_string(link);
}

static kms_status reply_list(struct request *r, const char *path, const struct key_row *rows, size_t count, size_t size, bool with_version,
                             bool deleted, struct kms_err *err)
{
	json_t *value = json_array();
	json_t *body = json_object();
	bool has_more = count > size;
	char last[STORE_KEY_NAME_MAX + 1] = "";

	for (size_t i = 0; i < count && i < size; i++) {
		json_t *one = item(r, &rows[i].key, &rows[i].version, with_version);
		if (deleted)
			put_deletion(r, &one, &rows[i].key);
		if (value != NULL && (one == NULL || json_array_append_new(value, one) != 0)) {
			json_decref(value);
			value = NULL;
		}
		if (with_version)
			(void)snprintf(last, sizeof(last), "%llu", (unsigned long long)rows[i].version.ordinal);
		else
			memcpy(last, rows[i].key.name, sizeof(last));
	}
	put(&body, "value", value);
	put(&body, "nextLink", has_more ? next_link(r, path, last) : json_null());
	return reply_json(r, 200, body, err);
}

static kms_status list_keys(struct request *r, bool deleted, struct kms_err *err)
{
	struct key_row rows[KEYRING_PAGE_MAX + 1] = { 0 };
	char after[STORE_KEY_NAME_MAX + 2];
	size_t size = 0, count = 0;
	kms_status status = KMS_OK;

	KMS_TRY(page_size(r, &size, err));
	KMS_TRY(cursor(r, after, sizeof(after), err));
	/* One row more than the page says whether there is a next one. */
	KMS_TRY(keyring_list(&r->op, deleted, after[0] != '\0' ? after : NULL, rows, size + 1, &count, err));
	status = reply_list(r, deleted ? "/deletedkeys" : "/keys", rows, count, size, false, deleted, err);
	key_rows_clear(rows, count);
	return status;
}

kms_status api_key_list(struct request *r, struct kms_err *err) { return list_keys(r, false, err); }
kms_status api_deleted_list(struct request *r, struct kms_err *err) { return list_keys(r, true, err); }

kms_status api_key_versions(struct request *r, struct kms_err *err)
{
	struct key_row rows[KEYRING_PAGE_MAX + 1] = { 0 };
	char after[STORE_KEY_NAME_MAX + 2], path[STORE_KEY_NAME_MAX + 32];
	size_t size = 0, count = 0;
	char *end = NULL;
	unsigned long long ordinal = 0;
	kms_status status = KMS_OK;

	KMS_TRY(page_size(r, &size, err));
	KMS_TRY(cursor(r, after, sizeof(after), err));
	ordinal = strtoull(after, &end, 10);
	if (*end != '\0' || after[0] == '-' || ordinal > INT64_MAX)
		return kms_refuse(err, KMS_E_INVALID, "$skiptoken: is not one of this list's.");
	KMS_TRY(keyring_list_versions(&r->op, r->key, ordinal, rows, size + 1, &count, err));
	(void)snprintf(path, sizeof(path), "/keys/%s/versions", r->op.key.name);
	status = reply_list(r, path, rows, count, size, true, false, err);
	key_rows_clear(rows, count);
	return status;
}
