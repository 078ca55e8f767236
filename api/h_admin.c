/* api/h_admin.c - the management API: vaults, revocation, status (docs/admin-api.md). */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/view.h"
#include "server/core/network.h"
#include "server/core/person.h"
#include "server/core/root.h"

#define OFFSET(member) offsetof(union request_body, member)

/* ---- schemas: our own dialect refuses unknown members ---- */

static int parse_reason(const char *text) { return (int)revoke_reason_parse(text); }
static const char *reason_name_at(unsigned i)
{
	return i + 1 < REVOKE_COUNT ? revoke_reason_name((enum revoke_reason)(i + 1)) : NULL;
}

/* One more than core's enum: 0 is what the schema takes for unknown. */
static int parse_basis(const char *text)
{
	enum certificate_basis basis = certificate_basis_parse(text);
	return basis < BASIS_COUNT ? (int)basis + 1 : 0;
}
static const char *basis_name_at(unsigned i) { return i < BASIS_COUNT ? certificate_basis_name((enum certificate_basis)i) : NULL; }

static const struct json_field VAULT_FIELDS[] = {
	{ .name = "name", .kind = J_STRING, .offset = OFFSET(vault.name), .flag = J_NO_FLAG, .required = true, .min = 1, .max = STORE_VAULT_NAME_MAX },
	{ .name = "retention_days", .kind = J_INT, .offset = OFFSET(vault.retention_days), .flag = J_NO_FLAG, .min = RETENTION_DAYS_MIN,
	  .max = RETENTION_DAYS_MAX },
	{ .name = "purge_protection", .kind = J_BOOL, .offset = OFFSET(vault.has_purge_protection), .flag = J_NO_FLAG },
	{ .name = "allow_rsa1_5", .kind = J_BOOL, .offset = OFFSET(vault.allows_rsa1_5), .flag = J_NO_FLAG },
	{ .name = "quorum", .kind = J_INT, .offset = OFFSET(vault.quorum), .flag = J_NO_FLAG, .min = 1, .max = STORE_APPROVERS_MAX },
	{ .name = "purge_approvals", .kind = J_INT, .offset = OFFSET(vault.purge_approvals), .flag = J_NO_FLAG, .min = 0,
	  .max = STORE_APPROVERS_MAX },
	{ .name = NULL },
};
static void vault_init(void *target)
{
	union request_body *body = target;

	body->vault.retention_days = RETENTION_DAYS_MAX;
	body->vault.quorum = 1;
}
const struct json_schema VAULT_CREATE_SCHEMA = { .name = "VaultCreateRequest", .fields = VAULT_FIELDS,
	                                         .size = sizeof(union request_body), .is_strict = true, .init = vault_init };

static const struct json_field UPDATE_FIELDS[] = {
	{ .name = "retention_days", .kind = J_INT, .offset = OFFSET(vault_set.retention_days), .flag = OFFSET(vault_set.has_retention),
	  .min = RETENTION_DAYS_MIN, .max = RETENTION_DAYS_MAX },
	{ .name = "purge_protection", .kind = J_BOOL, .offset = OFFSET(vault_set.purge_protection), .flag = OFFSET(vault_set.has_purge_protection) },
	{ .name = "allow_rsa1_5", .kind = J_BOOL, .offset = OFFSET(vault_set.allows_rsa1_5), .flag = OFFSET(vault_set.has_rsa1_5) },
	{ .name = "quorum", .kind = J_INT, .offset = OFFSET(vault_set.quorum), .flag = OFFSET(vault_set.has_quorum), .min = 1,
	  .max = STORE_APPROVERS_MAX },
	{ .name = "purge_approvals", .kind = J_INT, .offset = OFFSET(vault_set.purge_approvals), .flag = OFFSET(vault_set.has_purge_approvals),
	  .min = 0, .max = STORE_APPROVERS_MAX },
	{ .name = "networks", .kind = J_STRING, .offset = OFFSET(vault_set.networks), .flag = OFFSET(vault_set.has_networks), .min = 0,
	  .max = STORE_NETWORK_MAX },
	{ .name = "issuer", .kind = J_STRING, .offset = OFFSET(vault_set.issuer), .flag = OFFSET(vault_set.has_issuer), .min = 0,
	  .max = STORE_ISSUER_MAX },
	{ .name = "person_days", .kind = J_INT, .offset = OFFSET(vault_set.person_days), .flag = OFFSET(vault_set.has_person_days), .min = 0,
	  .max = PERSON_DAYS_MAX },
	{ .name = "person_basis", .kind = J_STRING, .offset = OFFSET(vault_set.person_basis), .flag = OFFSET(vault_set.has_person_basis), .min = 0,
	  .max = STORE_REASON_MAX },
	{ .name = "reason", .kind = J_STRING, .offset = OFFSET(vault_set.reason), .flag = J_NO_FLAG, .min = 0, .max = STORE_REASON_MAX },
	{ .name = NULL },
};
const struct json_schema VAULT_UPDATE_SCHEMA = { .name = "VaultUpdateRequest", .fields = UPDATE_FIELDS, .size = sizeof(union request_body),
	                                         .is_strict = true };

static const struct json_field SHRED_FIELDS[] = {
	{ .name = "confirm", .kind = J_STRING, .offset = OFFSET(shred.confirm), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = STORE_VAULT_NAME_MAX },
	{ .name = "reason", .kind = J_STRING, .offset = OFFSET(shred.reason), .flag = J_NO_FLAG, .min = 0, .max = 128 },
	{ .name = "basis", .kind = J_ENUM, .offset = OFFSET(shred.basis), .flag = J_NO_FLAG, .parse = parse_basis, .name_at = basis_name_at },
	{ .name = NULL },
};
const struct json_schema VAULT_SHRED_SCHEMA = { .name = "VaultShredRequest", .fields = SHRED_FIELDS,
	                                         .size = sizeof(union request_body), .is_strict = true };

static const struct json_field LOCK_FIELDS[] = {
	{ .name = "reason", .kind = J_STRING, .offset = OFFSET(lock.reason), .flag = J_NO_FLAG, .required = true, .min = 1, .max = STORE_REASON_MAX },
	{ .name = NULL },
};
const struct json_schema VAULT_LOCK_SCHEMA = { .name = "VaultLockRequest", .fields = LOCK_FIELDS, .size = sizeof(union request_body), .is_strict = true };

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

/* @param networks  those that it will have, or NULL: those that it has */
/* In one that is not founded: would they, if it were founded now? */
static kms_status find_installation_approves(struct request *r, const struct store_vault *v, bool *ret, struct kms_err *err)
{
	*ret = v->counts_installation;
	return v->is_founded ? KMS_OK : approval_is_founded(r->op.store, NULL, ret, err);
}

/* A root rotation under way; none leaves *ret_rotation zeroed. */
static kms_status find_rotation(struct request *r, const struct store_vault *v, struct store_intent *ret_rotation, uint64_t *ret_left, struct kms_err *err)
{
	struct kms_err own = { 0 };
	kms_status status = v->state == STORE_VAULT_ACTIVE ? root_rotation_of(r->op.store, v->id, ret_rotation, &own) : KMS_E_NOTFOUND;

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "root rotation: %.80s", own.detail);
	return root_rotation_left(r->op.store, ret_rotation, ret_left, err);
}

static void put_hex(json_t **o, const char *name, const uint8_t id[STORE_ID_LEN])
{
	char hex[2 * STORE_ID_LEN + 1];

	hex_encode(id, STORE_ID_LEN, hex);
	view_put_text(o, name, hex);
}

static kms_status vault_object(struct request *r, const struct store_vault *v, const char *networks, json_t **ret, struct kms_err *err)
{
	static const char *const STATES[] = { [STORE_VAULT_ACTIVE] = "active", [STORE_VAULT_SHREDDING] = "shredding",
		                              [STORE_VAULT_SHREDDED] = "shredded" };
	char url[KMS_URL_MAX], ranges[STORE_NETWORK_MAX + 1] = "";
	bool installation_approves = false;
	struct store_intent rotation = { 0 };
	uint64_t versions_left = 0;
	json_t *o = NULL;

	KMS_TRY(find_installation_approves(r, v, &installation_approves, err));
	KMS_TRY(find_rotation(r, v, &rotation, &versions_left, err));
	if (networks == NULL && v->has_networks)
		KMS_TRY(store_networks(r->op.store, v->id, ranges, err));
	kms_url(r->op.kms, v->name, url);
	o = json_object();
	view_put_text(&o, "name", v->name);
	view_put_guid(&o, "id", v->id);
	view_put_guid(&o, "tenant_id", v->directory);
	view_put_text(&o, "url", url);
	view_put_text(&o, "state", STATES[v->state]);
	json_put(&o, "locked", json_boolean(v->is_locked));
	json_put(&o, "retention_days", json_integer(v->retention_days));
	json_put(&o, "purge_protection", json_boolean(v->has_purge_protection));
	json_put(&o, "allow_rsa1_5", json_boolean(v->allows_rsa1_5));
	json_put(&o, "quorum", json_integer(v->quorum));
	json_put(&o, "purge_approvals", json_integer(v->purge_approvals));
	json_put(&o, "founded", json_boolean(v->is_founded));
	json_put(&o, "installation_approves", json_boolean(installation_approves));
	view_put_text(&o, "networks", networks != NULL ? networks : ranges);
	view_put_text(&o, "issuer", v->issuer);
	json_put(&o, "person_days", json_integer(v->person_days));
	view_put_text(&o, "person_basis", v->person_basis);
	json_put(&o, "created", json_integer(v->created_s));
	put_hex(&o, "root", v->root_id);
	if (rotation.type != 0) {
		put_hex(&o, "next_root", rotation.obj);
		json_put(&o, "versions_left", json_integer((json_int_t)versions_left));
	}
	*ret = o;
	return KMS_OK;
}

static kms_status reply_vault(struct request *r, const char *networks, struct kms_err *err)
{
	json_t *o = NULL;

	KMS_TRY(vault_object(r, &r->op.vault, networks, &o, err));
	return reply_json(r, 200, o, err);
}

kms_status api_vault_list(struct request *r, struct kms_err *err)
{
	struct store_vault vaults[TENANCY_PAGE_MAX];
	JSON_AUTO *value = json_array();
	size_t count = 0;

	op_det_text(&r->op, "what", "vaults");
	KMS_TRY(store_vaults(r->op.store, query_get(r, "after"), vaults, TENANCY_PAGE_MAX, &count, err));
	for (size_t i = 0; i < count; i++) {
		json_t *o = NULL;
		KMS_TRY(vault_object(r, &vaults[i], NULL, &o, err));
		json_add(&value, o);
	}
	return reply_page(r, KMS_TAKE(value), count == TENANCY_PAGE_MAX ? vaults[count - 1].name : NULL, err);
}

kms_status api_vault_create(struct request *r, struct kms_err *err)
{
	struct vault_create req = { .name = r->body.vault.name, .retention_days = (uint16_t)r->body.vault.retention_days,
		                    .has_purge_protection = r->body.vault.has_purge_protection, .allows_rsa1_5 = r->body.vault.allows_rsa1_5,
		                    .quorum = (uint8_t)r->body.vault.quorum, .purge_approvals = (uint8_t)r->body.vault.purge_approvals };

	KMS_TRY(vault_create(&r->op, &req, err));
	return reply_vault(r, NULL, err);
}

kms_status api_vault_get(struct request *r, struct kms_err *err)
{
	op_det_text(&r->op, "what", "vault");
	return reply_vault(r, NULL, err);
}

/* What its policy says of records of persons takes effect soon. */
static void renew_vault(struct request *r)
{
	request_renew_vault(r);
	persons_wake(r->op.kms->persons);
	request_settle_soon(r, LANE_DESTROY);
}

kms_status api_vault_update(struct request *r, struct kms_err *err)
{
	char networks[STORE_NETWORK_MAX + 1] = "";
	struct vault_update u = { .has_retention = r->body.vault_set.has_retention, .retention_days = (uint16_t)r->body.vault_set.retention_days,
		                  .has_purge_protection = r->body.vault_set.has_purge_protection,
		                  .purge_protection = r->body.vault_set.purge_protection, .has_rsa1_5 = r->body.vault_set.has_rsa1_5,
		                  .allows_rsa1_5 = r->body.vault_set.allows_rsa1_5, .has_quorum = r->body.vault_set.has_quorum,
		                  .quorum = (uint8_t)r->body.vault_set.quorum, .has_purge_approvals = r->body.vault_set.has_purge_approvals,
		                  .purge_approvals = (uint8_t)r->body.vault_set.purge_approvals, .has_networks = r->body.vault_set.has_networks,
		                  .networks = networks, .has_issuer = r->body.vault_set.has_issuer, .issuer = r->body.vault_set.issuer,
		                  .has_person_days = r->body.vault_set.has_person_days, .person_days = (uint16_t)r->body.vault_set.person_days,
		                  .has_person_basis = r->body.vault_set.has_person_basis, .person_basis = r->body.vault_set.person_basis,
		                  .reason = r->body.vault_set.reason };

	if (u.has_networks)
		KMS_TRY(network_check(r->body.vault_set.networks, networks, err));
	if (u.has_issuer && u.issuer[0] != '\0' && !request_knows_issuer(r, u.issuer))
		return kms_refuse(err, KMS_E_INVALID, "issuer: the configuration has no issuer named '%s'.", u.issuer);
	KMS_TRY(vault_update(&r->op, &u, err));
	r->op.is_sync = true;
	r->committed = renew_vault;
	return reply_vault(r, u.has_networks ? networks : NULL, err);
}

kms_status api_vault_shred(struct request *r, struct kms_err *err)
{
	static const uint8_t NONE[STORE_ID_LEN];
	enum certificate_basis basis = r->body.shred.basis > 0 ? (enum certificate_basis)(r->body.shred.basis - 1) : BASIS_OTHER;
	struct destruction done = { 0 };
	json_t *o = NULL;

	if (strcmp(r->body.shred.confirm, r->op.vault.name) != 0)
		return kms_refuse(err, KMS_E_INVALID, "confirm: must be the vault's name, '%s'.", r->op.vault.name);
	KMS_TRY(vault_shred(&r->op, r->body.shred.reason, basis, &done, err));
	o = json_pack("{s:s,s:s,s:I,s:I,s:b}", "vault", r->op.vault.name, "state", "shredded", "objects", (json_int_t)done.objects, "versions",
	              (json_int_t)done.versions, "verified", 1);
	if (memcmp(r->op.certificate.id, NONE, STORE_ID_LEN) != 0) /* allowed: ids are public */
		view_put_guid(&o, "certificate", r->op.certificate.id);
	return reply_json(r, 200, o, err);
}

kms_status api_vault_lock(struct request *r, struct kms_err *err)
{
	KMS_TRY(vault_lock(&r->op, r->body.lock.reason, err));
	return reply_vault(r, NULL, err);
}

kms_status api_vault_unlock(struct request *r, struct kms_err *err)
{
	KMS_TRY(vault_unlock(&r->op, r->body.lock.reason, err));
	return reply_vault(r, NULL, err);
}

/* Minutes for a large vault, so only its beginning is waited for. */
kms_status api_vault_rotate_root(struct request *r, struct kms_err *err)
{
	json_t *o = NULL;

	KMS_TRY(root_rotate(&r->op, r->body.lock.reason, err));
	request_settle_soon(r, LANE_ROOT);
	KMS_TRY(vault_object(r, &r->op.vault, NULL, &o, err));
	return reply_json(r, 202, o, err);
}

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

/* ---- the key device ---- */

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
