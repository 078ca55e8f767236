/* server/core/keyring_make.c - how versions come to be: created, rotated, imported in clear, transferred from another HSM. All two-phase. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/keyring_parts.h"
#include "server/core/root.h"

#define SIZES_TEXT_MAX 48

/* Where the material of a version comes from. */
struct source {
	enum { MADE, IMPORTED, TRANSFERRED } origin;
	const struct material *material; /* imported */
	const struct key_import *import; /* transferred */
	const struct store_version *exchange;
};

static kms_status undo_make(struct op *op)
{
	return hsm_key_destroy(op->kms->hsm, op->object, NULL);
}

/* "2048, 3072 or 4096" */
static void list_sizes(const struct key_type_info *type, char ret_text[SIZES_TEXT_MAX])
{
	size_t len = 0;

	for (size_t i = 0; i < KMS_ARRAY_LEN(type->sizes) && type->sizes[i] != 0; i++) {
		bool is_last = i + 1 == KMS_ARRAY_LEN(type->sizes) || type->sizes[i + 1] == 0;
		const char *before = i == 0 ? "" : is_last ? " or " : ", ";
		len += (size_t)snprintf(ret_text + len, SIZES_TEXT_MAX - len, "%s%u", before, (unsigned)type->sizes[i]);
	}
}

static kms_status check_size(enum key_type kty, uint16_t bits, struct kms_err *err)
{
	const struct key_type_info *type = key_type_info(kty);
	char sizes[SIZES_TEXT_MAX] = "";

	for (size_t i = 0; i < KMS_ARRAY_LEN(type->sizes); i++)
		if (bits != 0 && type->sizes[i] == bits)
			return KMS_OK;
	list_sizes(type, sizes);
	return kms_refuse(err, KMS_E_INVALID, "key_size: %u is not offered for %s%s; use %s.", (unsigned)bits, type->name,
	                  kty == KEY_OCT_HSM_MAC ? " that signs" : kty == KEY_OCT_HSM ? " that encrypts or wraps" : "", sizes);
}

/* Size or curve of op->version, which has its type. */
static kms_status choose_size(struct store_version *v, uint16_t bits, enum key_curve crv, struct kms_err *err)
{
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);
	const struct key_curve_info *curve = NULL;

	if (type->family != FAMILY_EC) {
		if (crv != CURVE_NONE)
			return kms_refuse(err, KMS_E_INVALID, "crv: a key of type %s has no curve.", type->name);
		v->bits = bits != 0 ? bits : type->default_size;
		return check_size((enum key_type)v->kty, v->bits, err);
	}
	v->crv = (uint8_t)(crv != CURVE_NONE ? crv : CURVE_P256);
	curve = key_curve_info((enum key_curve)v->crv);
	if (curve == NULL)
		return kms_refuse(err, KMS_E_INVALID, "crv: unknown curve.");
	if (bits != 0 && bits != curve->bits)
		return kms_refuse(err, KMS_E_INVALID, "key_size: the curve %s%s has %u bits; crv says which curve.", curve->name,
		                  crv == CURVE_NONE ? " (the default)" : "", (unsigned)curve->bits);
	v->bits = curve->bits;
	return KMS_OK;
}

/* What the caller asks for, but for type, size and curve. */
static kms_status take_attributes(struct op *op, const struct key_create *req, struct kms_err *err)
{
	struct store_version *v = &op->version;

	KMS_TRY(key_ops_fit((enum key_type)v->kty, v->bits, v->ops, err));
	KMS_TRY(keyring_check_window(req->nbf_s, req->exp_s, err));
	v->is_enabled = req->is_enabled;
	v->nbf_s = req->nbf_s;
	v->exp_s = req->exp_s;
	return keyring_set_tags(op, req->tags, err);
}

static kms_status keep_public(struct store_version *v, const struct hsm_public *pub, struct kms_err *err)
{
	const uint8_t *half = pub->point_len > 0 ? pub->point : pub->n;
	size_t len = pub->point_len > 0 ? pub->point_len : pub->n_len;

	v->pub = malloc(len);
	if (v->pub == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "public half");
	memcpy(v->pub, half, len);
	v->pub_len = len;
	memcpy(v->e, pub->e, pub->e_len);
	v->e_len = pub->e_len;
	return KMS_OK;
}

/* What came out of a transfer: its size is known only now. What does not fit is destroyed by `undo`. */
static kms_status check_transferred(struct store_version *v, const struct hsm_public *pub, struct kms_err *err)
{
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);

	if (type->family != FAMILY_EC) {
		v->bits = (uint16_t)(pub->n_len * 8);
		KMS_TRY(check_size((enum key_type)v->kty, v->bits, err));
	}
	return type->family == FAMILY_OCT ? KMS_OK : material_check_public(type->family, (enum key_curve)v->crv, pub, err);
}

static kms_status transfer(struct op *op, const struct hsm_key *key, const struct source *from, struct hsm_public *ret_pub, struct kms_err *err)
{
	struct hsm_key exchange = { 0 };
	struct kms_err own = { 0 };
	kms_status status = KMS_OK;

	key_to_hsm(from->exchange, (enum key_alg)0, &exchange);
	status = hsm_key_transfer(op->kms->hsm, &exchange, key, from->import->transfer, from->import->transfer_len, ret_pub, &own);
	if (status == KMS_E_CRYPTO)
		return kms_refuse(err, status, "key_hsm: the ciphertext does not unwrap under this exchange key; it must be an AES-256 key under RSA-OAEP with "
		                  "SHA-1, followed by the key under that AES key (key wrap with padding, RFC 5649).");
	if (status == KMS_E_INVALID)
		return kms_refuse(err, status, "key_hsm: what was transferred is no %s key of a size or curve that is offered here.",
		                  key_type_info((enum key_type)op->version.kty)->name);
	if (status != KMS_OK) {
		*err = own;
		return status;
	}
	return check_transferred(&op->version, ret_pub, err);
}

/* Material of op->version, made or taken in by the device; fills its public half or its blob. */
static kms_status make_material(struct op *op, const struct source *from, struct kms_err *err)
{
	struct store_version *v = &op->version;
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);
	struct hsm *hsm = op->kms->hsm;
	struct hsm_public pub = { 0 };
	struct hsm_key key = { 0 };
	kms_status status = KMS_OK;

	if (type->is_resident)
		memset(v->root_id, 0, sizeof(v->root_id));
	else
		memcpy(v->root_id, vault_wrapping_root(&op->vault), sizeof(v->root_id));
	key_to_hsm(v, (enum key_alg)0, &key);
	if (type->is_resident) {
		/* Set first: a generation that failed may have left an object all the same (hazards.md row 1d). */
		memcpy(op->object, v->obj, HSM_ID_LEN);
		op->undo = undo_make;
	} else {
		v->wrapped = malloc(HSM_BLOB_MAX);
		if (v->wrapped == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "blob");
	}
	switch (from->origin) {
	case MADE:
		status = type->is_resident ? hsm_key_generate(hsm, &key, &pub, err)
		                           : hsm_key_generate_wrapped(hsm, &key, &pub, v->wrapped, &v->wrapped_len, err);
		break;
	case IMPORTED:
		status = hsm_key_import(hsm, &key, &from->material->hsm, v->wrapped, &v->wrapped_len, err);
		pub = from->material->hsm.pub;
		break;
	case TRANSFERRED:
		status = transfer(op, &key, from, &pub, err);
		break;
	}
	if (status != KMS_OK)
		return status;
	return type->family == FAMILY_OCT ? KMS_OK : keep_public(v, &pub, err);
}

/* Token objects are searched one by one, so one vault must not be able to slow the token down for all. */
static kms_status check_room(struct op *op, struct kms_err *err)
{
	size_t count = 0;

	if (!key_type_info((enum key_type)op->version.kty)->is_resident)
		return KMS_OK;
	KMS_TRY(store_object_count(op->store, op->vault.id, &count, err));
	if (count < KEYRING_RESIDENT_MAX)
		return KMS_OK;
	return kms_refuse(err, KMS_E_POLICY,
	                  "The vault holds %d key versions in the HSM, its limit; purge some, or use keys of type RSA, EC or oct.",
	                  KEYRING_RESIDENT_MAX);
}

static void describe(struct op *op, const struct source *from)
{
	const struct store_version *v = &op->version;
	const struct key_curve_info *curve = key_curve_info((enum key_curve)v->crv);
	char hex[2 * STORE_ID_LEN + 1];

	op_det_text(op, "kty", key_type_info((enum key_type)v->kty)->name);
	if (curve != NULL)
		op_det_text(op, "crv", curve->name);
	else if (v->bits != 0)
		op_det_number(op, "bits", v->bits);
	if (from->origin == MADE)
		return;
	op_det_text(op, "origin", from->origin == IMPORTED ? "import" : "transfer");
	if (from->origin == TRANSFERRED) {
		hex_encode(from->exchange->id, STORE_ID_LEN, hex);
		op_det_text(op, "exchange", hex);
	}
}

/* op->version holds type, size, operations, attributes and tags; op->key holds the key, new or old. */
static kms_status add_version(struct op *op, bool is_new_key, const struct source *from, struct kms_err *err)
{
	struct store_version *v = &op->version;
	struct store_intent intent = { 0 };

	if (!guid_random(v->id) || !random_bytes(v->obj, sizeof(v->obj)))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	memcpy(v->key_id, op->key.id, STORE_ID_LEN);
	v->created_s = v->updated_s = clock_wall_s(op->kms->clock);
	keyring_note_key(op);
	keyring_note_version(op);
	describe(op, from);
	memcpy(intent.vault_id, op->vault.id, STORE_ID_LEN);
	memcpy(intent.key_id, op->key.id, STORE_ID_LEN);
	memcpy(intent.obj, v->obj, STORE_ID_LEN);
	memcpy(intent.key_name, op->key.name, sizeof(intent.key_name));
	KMS_TRY(check_room(op, err));
	KMS_TRY(op_intend(op, NULL, &intent, err));
	KMS_TRY(make_material(op, from, err));
	if (from->origin == TRANSFERRED && v->crv == CURVE_NONE)
		op_det_number(op, "bits", v->bits); /* the intent could not know it */
	if (is_new_key)
		op_change(op, STORE_KEY_ADD)->key = op->key;
	op_change(op, STORE_VERSION_ADD)->version = *v;
	return KMS_OK;
}

kms_status keyring_create(struct op *op, const char *name, const struct key_create *req, struct kms_err *err)
{
	const struct source made = { .origin = MADE };
	struct store_version *v = &op->version;
	bool is_new_key = false;

	if (key_type_info(req->type) == NULL)
		return kms_refuse(err, KMS_E_INVALID, "kty: unknown key type.");
	v->ops = req->has_ops ? req->ops : key_default_ops(req->type, req->bits);
	v->kty = (uint8_t)key_type_choose(req->type, v->ops);
	KMS_TRY(choose_size(v, req->bits, req->crv, err));
	KMS_TRY(take_attributes(op, req, err));
	KMS_TRY(keyring_open_name(op, name, &is_new_key, err));
	return add_version(op, is_new_key, &made, err);
}

kms_status keyring_rotate(struct op *op, const char *name, struct kms_err *err)
{
	const struct source made = { .origin = MADE };
	struct store_version *v = &op->version;

	KMS_TRY(keyring_find(op, name, NULL, true, err));
	/* The fence stays on the key alone: the latest version may change its attributes without harm to a new one. */
	keyring_free_version(op);
	free(v->pub);
	free(v->wrapped);
	v->pub = v->wrapped = NULL;
	v->pub_len = v->wrapped_len = v->e_len = 0;
	v->is_enabled = true;
	v->revoked = REVOKE_NONE;
	v->encryptions = 0;
	v->nbf_s = STORE_NO_TIME;
	KMS_TRY(keyring_new_expiry(op, clock_wall_s(op->kms->clock), &v->exp_s, err));
	return add_version(op, false, &made, err);
}

/* ---- import ---- */

/* A type as the wire names it, in its form inside the HSM. */
static enum key_type resident_form(enum key_type type)
{
	switch (key_type_info(type)->family) {
	case FAMILY_RSA: return KEY_RSA_HSM;
	case FAMILY_EC: return KEY_EC_HSM;
	case FAMILY_OCT: break;
	}
	return KEY_OCT_HSM;
}

/* Type and operations of what is imported. @param bits  0 = not known yet */
static kms_status choose_type(struct store_version *v, const struct key_import *req, uint16_t bits, struct kms_err *err)
{
	enum key_type type = req->to_hsm ? resident_form(req->jwk.type) : req->jwk.type;

	v->ops = req->as.has_ops ? req->as.ops : key_default_ops(type, bits);
	if ((v->ops & KEY_OP_IMPORT) != 0)
		return kms_refuse(err, KMS_E_INVALID, "key_ops: a key exchange key (import) is made in the HSM, never imported.");
	v->kty = (uint8_t)key_type_choose(type, v->ops);
	return KMS_OK;
}

static kms_status import_clear(struct op *op, const char *name, const struct key_import *req, struct kms_err *err)
{
	MATERIAL_AUTO material = { 0 };
	const struct source imported = { .origin = IMPORTED, .material = &material };
	struct store_version *v = &op->version;
	bool is_new_key = false;

	KMS_TRY(material_check(&req->jwk, &material, err));
	KMS_TRY(choose_type(v, req, material.bits, err));
	KMS_TRY(choose_size(v, material.bits, material.crv, err));
	KMS_TRY(take_attributes(op, &req->as, err));
	KMS_TRY(keyring_open_name(op, name, &is_new_key, err));
	return add_version(op, is_new_key, &imported, err);
}

/* The exchange key, living and fit for use. A revocation or a change of its version fences the import; op->key stays free for the target. */
static kms_status find_exchange(struct op *op, const struct key_import *req, struct store_version *ret, struct kms_err *err)
{
	struct store_key key = { 0 };
	kms_status status = KMS_OK;

	KMS_TRY(op_need_living_vault(op, err));
	status = store_key(op->store, op->vault.id, req->exchange_name, &key, NULL);
	if (status == KMS_OK && key.deleted_s != STORE_NO_TIME)
		status = KMS_E_NOTFOUND;
	if (status == KMS_OK)
		status = store_version(op->store, key.id, req->exchange_version, false, ret, NULL);
	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_KEY_NOTFOUND, "key_hsm: header.kid: the key %s, or that version of it, was not found in this key vault.",
		                  req->exchange_name);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "exchange key lookup");
	memcpy(op->write.fence.version_id, ret->id, STORE_ID_LEN);
	op->write.fence.version_epoch = ret->epoch;
	op->write.has_fence = true;
	if (ret->kty != KEY_RSA_HSM_EXCHANGE)
		return kms_refuse(err, KMS_E_KEY_OP, "key_hsm: header.kid: %s is no key exchange key; make one with kty RSA-HSM and key_ops [\"import\"].",
		                  key.name);
	return key_usable(ret, KEY_OP_IMPORT, clock_wall_s(op->kms->clock), err);
}

static kms_status import_transferred(struct op *op, const char *name, const struct key_import *req, struct kms_err *err)
{
	STORE_VERSION_AUTO exchange = { 0 };
	const struct source transferred = { .origin = TRANSFERRED, .import = req, .exchange = &exchange };
	struct store_version *v = &op->version;
	const struct key_type_info *type = NULL;
	bool is_new_key = false;

	KMS_TRY(choose_type(v, req, 0, err));
	type = key_type_info((enum key_type)v->kty);
	if (!type->is_resident)
		return kms_refuse(err, KMS_E_INVALID, "kty: a transferred key stays in the HSM: RSA-HSM, EC-HSM or oct-HSM.");
	if (type->family == FAMILY_EC && req->jwk.crv == CURVE_NONE)
		return kms_refuse(err, KMS_E_INVALID, "crv: the curve of a transferred EC-HSM key must be named.");
	if (type->family == FAMILY_EC)
		KMS_TRY(choose_size(v, 0, req->jwk.crv, err));
	KMS_TRY(take_attributes(op, &req->as, err));
	KMS_TRY(find_exchange(op, req, &exchange, err));
	KMS_TRY(keyring_open_name(op, name, &is_new_key, err));
	return add_version(op, is_new_key, &transferred, err);
}

kms_status keyring_import(struct op *op, const char *name, const struct key_import *req, struct kms_err *err)
{
	if (key_type_info(req->jwk.type) == NULL)
		return kms_refuse(err, KMS_E_INVALID, "kty: unknown key type.");
	return req->transfer != NULL ? import_transferred(op, name, req, err) : import_clear(op, name, req, err);
}
