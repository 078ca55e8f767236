/* api/h_material.c - key material that comes and goes: import, backup, restore, attestation (keyvault-keys.md 6.2, 6.7, 6.13, 12, 13). */
#include <stdlib.h>
#include <string.h>

#include "api/keyvault.h"
#include "api/transfer.h"
#include "server/core/attestation.h"
#include "server/core/backup.h"

#define RESTORE_BODY_MAX (((size_t)2 << 20) + 4096) /* 2 MiB of base64url, and the JSON around it */
#define TRANSFER_TEXT_MAX ((size_t)16 * 1024) /* JSON text of a transfer blob: HSM_TRANSFER_MAX in base64url, and its header */
#define OCT_BYTES_MAX 64
#define ATTESTATION_VERSION "1.0"

/* ---- import ---- */

#define PUBLIC_FIELD(text, member, most) \
	{ .name = text, .kind = J_BYTES, .offset = OFFSET(import.member), .flag = J_NO_FLAG, .min = 1, .max = most }
#define PRIVATE_FIELD(text, member, most) \
	{ .name = text, .kind = J_SECRET, .offset = OFFSET(import.member), .flag = J_NO_FLAG, .min = 1, .max = most }

/* Lengths are those of the largest keys; which of them fits this one is core's to say. */
static const struct json_field JWK_FIELDS[] = {
	KV_TYPE_FIELD(import.kty),
	KV_CURVE_FIELD(import.crv),
	KV_KEY_OPS_FIELD,
	PUBLIC_FIELD("n", n, HSM_RSA_MAX),
	PUBLIC_FIELD("e", e, HSM_RSA_MAX),
	PUBLIC_FIELD("x", x, HSM_RSA_MAX),
	PUBLIC_FIELD("y", y, HSM_RSA_MAX),
	PRIVATE_FIELD("d", d, HSM_RSA_MAX),
	PRIVATE_FIELD("p", p, HSM_RSA_MAX),
	PRIVATE_FIELD("q", q, HSM_RSA_MAX),
	PRIVATE_FIELD("dp", dp, HSM_RSA_MAX),
	PRIVATE_FIELD("dq", dq, HSM_RSA_MAX),
	PRIVATE_FIELD("qi", qi, HSM_RSA_MAX),
	PRIVATE_FIELD("k", k, OCT_BYTES_MAX),
	{ .name = "key_hsm", .kind = J_BASE64, .offset = OFFSET(import.key_hsm), .flag = J_NO_FLAG, .min = 1, .max = TRANSFER_TEXT_MAX },
	{ .name = NULL },
};
static const struct json_field IMPORT_FIELDS[] = {
	{ .name = "Hsm", .kind = J_BOOL, .offset = OFFSET(import.to_hsm), .flag = J_NO_FLAG },
	{ .name = "hsm", .kind = J_BOOL, .offset = OFFSET(import.to_hsm_too), .flag = J_NO_FLAG },
	{ .name = "key", .kind = J_OBJECT, .flag = J_NO_FLAG, .required = true, .fields = JWK_FIELDS },
	KV_COMMON_FIELDS,
	{ .name = NULL },
};
const struct json_schema KEY_IMPORT_SCHEMA = { .name = "KeyImportRequest", .fields = IMPORT_FIELDS, .size = sizeof(union request_body),
	                                       .init = kv_common_init };

static struct jwk clear_material(const union request_body *b)
{
	return (struct jwk){ .type = (enum key_type)b->import.kty, .crv = (enum key_curve)b->import.crv, .n = b->import.n.data,
		             .n_len = b->import.n.len, .e = b->import.e.data, .e_len = b->import.e.len, .x = b->import.x.data,
		             .x_len = b->import.x.len, .y = b->import.y.data, .y_len = b->import.y.len, .d = b->import.d, .p = b->import.p,
		             .q = b->import.q, .dp = b->import.dp, .dq = b->import.dq, .qi = b->import.qi, .k = b->import.k };
}

static bool has_clear_material(const struct jwk *j)
{
	return j->n != NULL || j->e != NULL || j->x != NULL || j->y != NULL || j->d != NULL || j->p != NULL || j->q != NULL || j->dp != NULL ||
	       j->dq != NULL || j->qi != NULL || j->k != NULL;
}

static kms_status import_transfer(struct request *r, struct key_import *req, struct kms_err *err)
{
	TRANSFER_AUTO t = { 0 };
	char url[KMS_URL_MAX];

	if (has_clear_material(&req->jwk))
		return kms_refuse(err, KMS_E_INVALID, "key: either key_hsm or the key's own members, not both.");
	request_vault_url(r, url);
	KMS_TRY(transfer_parse(r->body.import.key_hsm.data, r->body.import.key_hsm.len, url, &t, err));
	req->transfer = t.ciphertext.data;
	req->transfer_len = t.ciphertext.len;
	memcpy(req->exchange_name, t.exchange_name, sizeof(req->exchange_name));
	memcpy(req->exchange_version, t.exchange_version, STORE_ID_LEN);
	return keyring_import(&r->op, r->key, req, err);
}

kms_status api_key_import(struct request *r, struct kms_err *err)
{
	struct key_import req = { .jwk = clear_material(&r->body), .as = kv_create_from(&r->body.common) };

	req.to_hsm = r->body.import.to_hsm || r->body.import.to_hsm_too || key_type_info(req.jwk.type)->is_resident;
	KMS_TRY(kv_refuse_exportable(&r->body.common, err));
	if (r->body.import.key_hsm.data != NULL)
		KMS_TRY(import_transfer(r, &req, err));
	else
		KMS_TRY(keyring_import(&r->op, r->key, &req, err));
	return kv_reply_bundle(r, err);
}

/* ---- backup and restore ---- */

static const struct json_field RESTORE_FIELDS[] = {
	{ .name = "value", .kind = J_BYTES, .offset = OFFSET(restore.blob), .flag = J_NO_FLAG, .required = true, .min = 0, .max = BACKUP_BLOB_MAX },
	{ .name = NULL },
};
const struct json_schema KEY_RESTORE_SCHEMA = { .name = "KeyRestoreRequest", .fields = RESTORE_FIELDS, .size = sizeof(union request_body),
	                                        .body_max = RESTORE_BODY_MAX };

kms_status api_key_backup(struct request *r, struct kms_err *err)
{
	uint8_t *blob = NULL;
	size_t len = 0;
	json_t *body = json_object();
	kms_status status = backup_make(&r->op, r->key, &blob, &len, err);

	if (status != KMS_OK) {
		json_decref(body);
		return status;
	}
	json_put(&body, "value", json_base64url(blob, len));
	free(blob);
	return reply_json(r, 200, body, err);
}

kms_status api_key_restore(struct request *r, struct kms_err *err)
{
	KMS_TRY(backup_restore(&r->op, r->body.restore.blob.data, r->body.restore.blob.len, err));
	return kv_reply_bundle(r, err);
}

/* ---- attestation ---- */

static json_t *text_base64url(const char *text) { return json_base64url(text, strlen(text)); }

kms_status api_key_attestation(struct request *r, struct kms_err *err)
{
	struct attestation a = { 0 };
	json_t *bundle = NULL, *statement = NULL, *attributes = NULL;

	op_det_text(&r->op, "what", "attestation");
	KMS_TRY(attestation_make(&r->op, r->key, kv_version(r), &a, err));
	statement = json_object();
	json_put(&statement, "certificatePemFile", text_base64url(a.certificate));
	json_put(&statement, "privateKeyAttestation", text_base64url(a.private_text));
	json_put(&statement, "publicKeyAttestation", text_base64url(a.public_text));
	json_put(&statement, "version", json_string(ATTESTATION_VERSION));
	bundle = kv_bundle(r, &r->op.key, &r->op.version);
	attributes = json_object_get(bundle, "attributes"); /* borrowed; NULL when the bundle could not be made */
	if (attributes == NULL || statement == NULL || json_object_set(attributes, "attestation", statement) != 0) {
		json_decref(bundle);
		bundle = NULL;
	}
	json_decref(statement);
	return reply_json(r, 200, bundle, err);
}
