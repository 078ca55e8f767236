/* api/h_admin.c - the management and audit API: vaults, principals, roles, revocation, the log (docs/admin-api.md). */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/api.h"

#define OFFSET(member) offsetof(union request_body, member)
#define SECRET_DAYS_DEFAULT 180
#define PRINCIPAL_ROLES_MAX 32
#define ENTRIES_DEFAULT 100

enum scope { SCOPE_VAULT = 1, SCOPE_INSTALLATION };

/* ---- schemas: our own dialect refuses unknown members ---- */

static int parse_role(const char *text) { return (int)role_parse(text); }
static int parse_reason(const char *text) { return (int)revoke_reason_parse(text); }
/* Roles are known by display name and id too; these are the short ones. */
static const char *role_name_at(unsigned i) { return role_info((enum role)(i + 1)) != NULL ? role_info((enum role)(i + 1))->slug : NULL; }
static const char *reason_name_at(unsigned i)
{
	return i + 1 < REVOKE_COUNT ? revoke_reason_name((enum revoke_reason)(i + 1)) : NULL;
}
static const char *scope_name_at(unsigned i) { return i == 0 ? "vault" : i == 1 ? "installation" : NULL; }
static int parse_scope(const char *text)
{
	return strcmp(text, "vault") == 0 ? SCOPE_VAULT : strcmp(text, "installation") == 0 ? SCOPE_INSTALLATION : 0;
}

static const struct json_field VAULT_FIELDS[] = {
	{ .name = "name", .kind = J_STRING, .offset = OFFSET(vault.name), .flag = J_NO_FLAG, .required = true, .min = 1, .max = STORE_VAULT_NAME_MAX },
	{ .name = "retention_days", .kind = J_INT, .offset = OFFSET(vault.retention_days), .flag = J_NO_FLAG, .min = RETENTION_DAYS_MIN,
	  .max = RETENTION_DAYS_MAX },
	{ .name = "purge_protection", .kind = J_BOOL, .offset = OFFSET(vault.has_purge_protection), .flag = J_NO_FLAG },
	{ .name = "allow_rsa1_5", .kind = J_BOOL, .offset = OFFSET(vault.allows_rsa1_5), .flag = J_NO_FLAG },
	{ .name = NULL },
};
static void vault_init(void *target) { ((union request_body *)target)->vault.retention_days = RETENTION_DAYS_MAX; }
const struct json_schema VAULT_CREATE_SCHEMA = { .name = "VaultCreateRequest", .fields = VAULT_FIELDS,
	                                         .size = sizeof(union request_body), .is_strict = true, .init = vault_init };

static const struct json_field SHRED_FIELDS[] = {
	{ .name = "confirm", .kind = J_STRING, .offset = OFFSET(shred.confirm), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = STORE_VAULT_NAME_MAX },
	{ .name = "reason", .kind = J_STRING, .offset = OFFSET(shred.reason), .flag = J_NO_FLAG, .min = 0, .max = 128 },
	{ .name = NULL },
};
const struct json_schema VAULT_SHRED_SCHEMA = { .name = "VaultShredRequest", .fields = SHRED_FIELDS,
	                                         .size = sizeof(union request_body), .is_strict = true };

static const struct json_field PRINCIPAL_FIELDS[] = {
	{ .name = "name", .kind = J_STRING, .offset = OFFSET(principal.name), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = STORE_PRINCIPAL_NAME_MAX },
	{ .name = "secret_days", .kind = J_INT, .offset = OFFSET(principal.secret_days), .flag = J_NO_FLAG, .min = 1, .max = SECRET_DAYS_MAX },
	{ .name = NULL },
};
static void principal_init(void *target) { ((union request_body *)target)->principal.secret_days = SECRET_DAYS_DEFAULT; }
const struct json_schema PRINCIPAL_CREATE_SCHEMA = { .name = "PrincipalCreateRequest", .fields = PRINCIPAL_FIELDS,
	                                         .size = sizeof(union request_body), .is_strict = true, .init = principal_init };

static const struct json_field ROLE_FIELDS[] = {
	{ .name = "principal", .kind = J_STRING, .offset = OFFSET(role.principal), .flag = J_NO_FLAG, .required = true, .min = GUID_TEXT_LEN,
	  .max = GUID_TEXT_LEN },
	{ .name = "role", .kind = J_ENUM, .offset = OFFSET(role.role), .flag = J_NO_FLAG, .required = true, .parse = parse_role,
	  .name_at = role_name_at },
	{ .name = "scope", .kind = J_ENUM, .offset = OFFSET(role.scope), .flag = J_NO_FLAG, .parse = parse_scope, .name_at = scope_name_at },
	{ .name = NULL },
};
static void role_init(void *target) { ((union request_body *)target)->role.scope = SCOPE_VAULT; }
const struct json_schema ROLE_SCHEMA = { .name = "RoleRequest", .fields = ROLE_FIELDS,
	                                         .size = sizeof(union request_body), .is_strict = true, .init = role_init };

static const struct json_field REVOKE_FIELDS[] = {
	{ .name = "reason", .kind = J_ENUM, .offset = OFFSET(revoke.reason), .flag = J_NO_FLAG, .required = true, .parse = parse_reason,
	  .name_at = reason_name_at },
	{ .name = "version", .kind = J_STRING, .offset = OFFSET(revoke.version), .flag = J_NO_FLAG, .min = 32, .max = 32 },
	{ .name = NULL },
};
const struct json_schema REVOKE_SCHEMA = { .name = "RevokeRequest", .fields = REVOKE_FIELDS,
	                                         .size = sizeof(union request_body), .is_strict = true };
const struct json_schema REINSTATE_SCHEMA = { .name = "ReinstateRequest", .fields = REVOKE_FIELDS + 1,
	                                         .size = sizeof(union request_body), .is_strict = true, .may_be_empty = true };

/* ---- vaults ---- */

static json_t *vault_object(const struct request *r, const struct store_vault *v)
{
	static const char *const STATES[] = { [STORE_VAULT_ACTIVE] = "active", [STORE_VAULT_SHREDDING] = "shredding",
		                              [STORE_VAULT_SHREDDED] = "shredded" };
	char id[GUID_TEXT_LEN + 1], tenant[GUID_TEXT_LEN + 1], url[KMS_URL_MAX];

	guid_format(v->id, id);
	guid_format(v->directory, tenant);
	kms_url(r->op.kms, v->name, url);
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:b,s:b,s:I}", "name", v->name, "id", id, "tenant_id", tenant, "url", url, "state",
	                 STATES[v->state], "retention_days", (int)v->retention_days, "purge_protection", (int)v->has_purge_protection,
	                 "allow_rsa1_5", (int)v->allows_rsa1_5, "created", (json_int_t)v->created_s);
}

kms_status api_vault_list(struct request *r, struct kms_err *err)
{
	struct store_vault vaults[TENANCY_PAGE_MAX];
	size_t count = 0;
	json_t *value = NULL;

	op_det_text(&r->op, "what", "vaults");
	KMS_TRY(store_vaults(r->op.store, query_get(r, "after"), vaults, TENANCY_PAGE_MAX, &count, err));
	value = json_array();
	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(value, vault_object(r, &vaults[i])) != 0) {
			json_decref(value);
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "vault list");
		}
	return reply_page(r, value, count == TENANCY_PAGE_MAX ? vaults[count - 1].name : NULL, err);
}

kms_status api_vault_create(struct request *r, struct kms_err *err)
{
	struct vault_create req = { .name = r->body.vault.name, .retention_days = (uint16_t)r->body.vault.retention_days,
		                    .has_purge_protection = r->body.vault.has_purge_protection, .allows_rsa1_5 = r->body.vault.allows_rsa1_5 };

	KMS_TRY(vault_create(&r->op, &req, err));
	return reply_json(r, 200, vault_object(r, &r->op.vault), err);
}

kms_status api_vault_get(struct request *r, struct kms_err *err)
{
	op_det_text(&r->op, "what", "vault");
	return reply_json(r, 200, vault_object(r, &r->op.vault), err);
}

kms_status api_vault_shred(struct request *r, struct kms_err *err)
{
	size_t objects = 0;

	if (strcmp(r->body.shred.confirm, r->op.vault.name) != 0)
		return kms_refuse(err, KMS_E_INVALID, "confirm: must be the vault's name, '%s'.", r->op.vault.name);
	KMS_TRY(vault_shred(&r->op, r->body.shred.reason, &objects, err));
	return reply_json(r, 200, json_pack("{s:s,s:s,s:I,s:b}", "vault", r->op.vault.name, "state", "shredded", "objects", (json_int_t)objects,
	                                    "verified", 1), err);
}

/* ---- principals and roles ---- */

static json_t *roles_array(struct request *r, const struct store_principal *p)
{
	struct store_assignment roles[PRINCIPAL_ROLES_MAX];
	static const uint8_t NO_VAULT[STORE_ID_LEN];
	size_t count = 0;
	json_t *list = NULL;

	if (store_roles(r->op.store, p->id, roles, PRINCIPAL_ROLES_MAX, &count, NULL) != KMS_OK)
		return NULL;
	list = json_array();
	for (size_t i = 0; i < count && list != NULL; i++) {
		const struct role_info *info = role_info((enum role)roles[i].role);
		bool everywhere = memcmp(roles[i].vault_id, NO_VAULT, STORE_ID_LEN) == 0; /* allowed: ids are public */
		if (info == NULL)
			continue;
		if (json_array_append_new(list, json_pack("{s:s,s:s}", "role", info->slug, "scope", everywhere ? "installation" : "vault")) != 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

static json_t *principal_object(struct request *r, const struct store_principal *p)
{
	char id[GUID_TEXT_LEN + 1], tenant[GUID_TEXT_LEN + 1];
	/* One that had expired when it was made is nobody's: a pool never had a secret (principal_prepare). */
	bool has_secret = p->secret_expires_s > p->created_s;

	guid_format(p->id, id);
	guid_format(r->op.has_vault ? r->op.vault.directory : r->op.kms->inst.directory, tenant);
	return json_pack("{s:s,s:s,s:s,s:s,s:b,s:o*,s:I,s:o}", "name", p->name, "client_id", id, "tenant_id", tenant, "vault", r->op.vault.name,
	                 "enabled", (int)p->is_enabled, "secret_expires", has_secret ? json_integer(p->secret_expires_s) : NULL, "created",
	                 (json_int_t)p->created_s, "roles", roles_array(r, p));
}

kms_status api_principal_list(struct request *r, struct kms_err *err)
{
	struct store_principal page[TENANCY_PAGE_MAX];
	const char *after = query_get(r, "after");
	uint8_t after_id[STORE_ID_LEN];
	char next[GUID_TEXT_LEN + 1];
	size_t count = 0;
	json_t *value = NULL;

	op_det_text(&r->op, "what", "principals");
	if (after != NULL && !guid_parse(after, strlen(after), after_id))
		return kms_refuse(err, KMS_E_INVALID, "after: must be a principal's id.");
	KMS_TRY(store_principals(r->op.store, r->op.vault.id, after != NULL ? after_id : NULL, page, TENANCY_PAGE_MAX, &count, err));
	value = json_array();
	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(value, principal_object(r, &page[i])) != 0) {
			json_decref(value);
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "principal list");
		}
	if (count == TENANCY_PAGE_MAX)
		guid_format(page[count - 1].id, next);
	return reply_page(r, value, count == TENANCY_PAGE_MAX ? next : NULL, err);
}

kms_status api_principal_create(struct request *r, struct kms_err *err)
{
	struct store_principal p = { 0 };
	SECRET_AUTO *secret = NULL;
	json_t *body = NULL;

	KMS_TRY(principal_create(&r->op, r->body.principal.name, (unsigned)r->body.principal.secret_days, &p, &secret, err));
	body = principal_object(r, &p);
	/* The one and only showing; jansson's copy and the rendered answer are erased when they are freed. */
	if (body != NULL && json_object_set_new(body, "secret", json_string((const char *)secret_data(secret))) != 0) {
		json_decref(body);
		body = NULL;
	}
	return reply_json(r, 200, body, err);
}

static kms_status parse_item(const struct request *r, uint8_t ret_id[STORE_ID_LEN], struct kms_err *err)
{
	if (guid_parse(r->item, strlen(r->item), ret_id))
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "The principal's id must be a GUID.");
}

static kms_status set_enabled(struct request *r, bool enable, struct kms_err *err)
{
	struct store_principal p = { 0 };
	uint8_t id[STORE_ID_LEN];

	KMS_TRY(parse_item(r, id, err));
	KMS_TRY(principal_enable(&r->op, id, enable, &p, err));
	return reply_json(r, 200, principal_object(r, &p), err);
}

kms_status api_principal_enable(struct request *r, struct kms_err *err) { return set_enabled(r, true, err); }
kms_status api_principal_disable(struct request *r, struct kms_err *err) { return set_enabled(r, false, err); }

static kms_status change_role(struct request *r, bool grant, struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN];
	const struct role_info *info = role_info((enum role)r->body.role.role);
	bool at_installation = r->body.role.scope == SCOPE_INSTALLATION;

	if (!guid_parse(r->body.role.principal, GUID_TEXT_LEN, id))
		return kms_refuse(err, KMS_E_INVALID, "principal: must be a GUID.");
	KMS_TRY(role_change(&r->op, id, (enum role)r->body.role.role, at_installation, grant, err));
	return reply_json(r, 200, json_pack("{s:s,s:s,s:s,s:s,s:b}", "vault", r->op.vault.name, "principal", r->body.role.principal, "role",
	                                    info->slug, "scope", at_installation ? "installation" : "vault", "granted", (int)grant), err);
}

kms_status api_role_grant(struct request *r, struct kms_err *err) { return change_role(r, true, err); }
kms_status api_role_remove(struct request *r, struct kms_err *err) { return change_role(r, false, err); }

/* ---- revocation ---- */

static kms_status revoke(struct request *r, enum revoke_reason reason, struct kms_err *err)
{
	uint8_t version[STORE_ID_LEN];
	bool has_version = r->body.revoke.version[0] != '\0';

	if (has_version && !hex_decode(r->body.revoke.version, strlen(r->body.revoke.version), version, sizeof(version)))
		return kms_refuse(err, KMS_E_INVALID, "version: must be 32 hexadecimal digits.");
	KMS_TRY(keyring_revoke(&r->op, r->key, has_version ? version : NULL, reason, err));
	return reply_json(r, 200, json_pack("{s:s,s:s,s:s,s:s}", "name", r->op.key.name, "version", has_version ? r->body.revoke.version : "all",
	                                    "state", reason == REVOKE_NONE ? "reinstated" : "revoked", "reason", revoke_reason_name(reason)), err);
}

kms_status api_key_revoke(struct request *r, struct kms_err *err) { return revoke(r, (enum revoke_reason)r->body.revoke.reason, err); }
kms_status api_key_reinstate(struct request *r, struct kms_err *err) { return revoke(r, REVOKE_NONE, err); }

/* ---- status ---- */

kms_status api_status(struct request *r, struct kms_err *err)
{
	const char *hsm = NULL, *storage = NULL, *log = NULL;
	bool is_ready = api_is_ready(r, &hsm, &storage, &log);
	struct writer_state w = { 0 };
	char root[B64_LEN(MERKLE_HASH_LEN) + 1];

	op_det_text(&r->op, "what", "status");
	writer_state(r->op.kms->writer, &w);
	b64_encode(w.root, sizeof(w.root), root);
	return reply_json(r, 200, json_pack("{s:b,s:s,s:s,s:s,s:s,s:I,s:s,s:I}", "ready", (int)is_ready, "hsm", hsm, "storage", storage, "log", log,
	                                    "log_origin", r->op.kms->origin, "log_size", (json_int_t)w.size, "log_root", root, "refused",
	                                    (json_int_t)w.refused), err);
}

kms_status api_hsm(struct request *r, struct kms_err *err)
{
	struct hsm_info i = { 0 };
	json_t *can = NULL, *cannot = NULL;

	op_det_text(&r->op, "what", "hsm");
	hsm_info(r->op.kms->hsm, &i);
	can = json_array();
	cannot = json_array();
	for (unsigned bit = 0; bit < HSM_FEATURE_COUNT; bit++)
		if (json_array_append_new((i.features & 1U << bit) != 0 ? can : cannot, json_string(hsm_feature_name(bit))) != 0) {
			json_decref(can);
			json_decref(cannot);
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "hsm info");
		}
	return reply_json(r, 200, json_pack("{s:b,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:o,s:o}", "available", (int)i.is_available, "manufacturer",
	                                    i.manufacturer, "model", i.model, "serial", i.serial, "token", i.label, "library", i.library, "firmware",
	                                    i.firmware, "reinitialised", (json_int_t)i.epoch, "sessions", (json_int_t)i.sessions_open,
	                                    "cached_keys", (json_int_t)i.cached_keys, "can", can, "cannot", cannot), err);
}

/* ---- the log ---- */

static kms_status read_number(const struct request *r, const char *name, uint64_t fallback, uint64_t max, uint64_t *ret, struct kms_err *err)
{
	const char *text = query_get(r, name);
	char *end = NULL;
	unsigned long long n = fallback;

	if (text != NULL) {
		n = strtoull(text, &end, 10);
		if (*text < '0' || *text > '9' || *end != '\0' || n > max)
			return kms_refuse(err, KMS_E_INVALID, "%s: must be a number up to %llu.", name, (unsigned long long)max);
	}
	*ret = n;
	return KMS_OK;
}

static bool may_see(const struct request *r, const struct store_event *e)
{
	if (((r->op.installation_permissions | r->op.permissions) & PERM_BIT(PERM_AUDIT_READ_ALL)) != 0)
		return true;
	return r->op.has_vault && memcmp(e->vault_id, r->op.vault.id, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

static void write_entry(const struct request *r, const struct store_event *e, FILE *out)
{
	char hash[B64_LEN(STORE_HASH_LEN) + 1];

	if (may_see(r, e)) {
		(void)fwrite(e->leaf, 1, e->leaf_len, out);
	} else {
		b64_encode(e->hash, STORE_HASH_LEN, hash);
		(void)fprintf(out, "{\"hash\":\"%s\",\"seq\":%llu}", hash, (unsigned long long)e->seq);
	}
	(void)fputc('\n', out);
}

static kms_status write_entries(struct request *r, uint64_t start, uint64_t end, FILE *out, struct kms_err *err)
{
	for (uint64_t seq = start; seq < end; seq++) {
		struct store_event e = { 0 };
		KMS_TRY(store_event(r->op.store, seq, &e, err));
		write_entry(r, &e, out);
		store_event_clear(&e);
	}
	return KMS_OK;
}

/* Without `start`: the newest. Leaves that the caller may not see keep their place as hashes (audit-log.md section 8). */
kms_status api_audit_entries(struct request *r, struct kms_err *err)
{
	uint64_t size = 0, start = 0, count = 0;
	char *text = NULL;
	size_t len = 0;
	FILE *out = NULL;
	kms_status status = KMS_OK;

	op_det_text(&r->op, "what", "entries");
	KMS_TRY(read_number(r, "count", ENTRIES_DEFAULT, LOG_ENTRIES_MAX, &count, err));
	KMS_TRY(store_event_count(r->op.store, &size, err));
	KMS_TRY(read_number(r, "start", size > count ? size - count : 0, INT64_MAX, &start, err));
	op_det_number(&r->op, "start", (int64_t)start);
	out = open_memstream(&text, &len);
	if (out == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "entries");
	status = write_entries(r, start, start < size && size - start > count ? start + count : size, out, err);
	if (fclose(out) != 0 && status == KMS_OK)
		status = kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "entries");
	if (status != KMS_OK) {
		free(text);
		return status;
	}
	reply_empty(r, 200);
	r->response.body = text;
	r->response.body_len = len;
	r->content_type = "application/x-ndjson";
	return KMS_OK;
}
