/* server/core/ekm.c - external key ids: publishing and retiring them, and the use of keys by the pools that hold them. */
#include "server/core/ekm.h"

#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"

#define EXTERNAL_ALPHABET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"
#define MADE_ID_LEN 16 /* random bytes of an id that is made here */
#define OCT_BITS 256   /* the one size that EKM knows */
#define EKM_OPS (KEY_OP_WRAP | KEY_OP_UNWRAP)

struct ekm_alg {
	const char *name;
	enum key_alg alg;
	enum key_family family;
};
static const struct ekm_alg ALGS[] = {
	{ "A256KW", ALG_A256KW, FAMILY_OCT },
	{ "A256KWP", ALG_CKM_KWP, FAMILY_OCT },
	{ "RSA-OAEP-256", ALG_RSA_OAEP_256, FAMILY_RSA },
	{ "RSA-OAEP", ALG_RSA_OAEP, FAMILY_RSA },
};

enum key_alg ekm_alg_parse(const char *name)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(ALGS); i++)
		if (strcmp(ALGS[i].name, name) == 0)
			return ALGS[i].alg;
	return (enum key_alg)0;
}

const char *ekm_alg_name_at(unsigned i) { return i < KMS_ARRAY_LEN(ALGS) ? ALGS[i].name : NULL; }

static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

/* ---- administration ---- */

/* What never changes about a version, and key_ops, which a pool's metadata promises. */
static kms_status check_served(const struct store_version *v, struct kms_err *err)
{
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);

	if (type->family != FAMILY_RSA && type->family != FAMILY_OCT)
		return kms_refuse(err, KMS_E_INVALID, "key: external key management serves RSA keys and oct keys, not keys of type %s.", type->name);
	if ((v->ops & EKM_OPS) != EKM_OPS)
		return kms_refuse(err, KMS_E_INVALID, "key: its key_ops must contain wrapKey and unwrapKey.");
	if (type->family != FAMILY_RSA && v->bits != OCT_BITS)
		return kms_refuse(err, KMS_E_INVALID, "key: external key management serves RSA keys, and oct keys of %d bits only.", OCT_BITS);
	return KMS_OK;
}

static kms_status take_id(const char *given, char ret_id[STORE_EXTERNAL_ID_MAX + 1], struct kms_err *err)
{
	size_t len = given != NULL ? strlen(given) : 0;
	uint8_t made[MADE_ID_LEN];

	if (len > STORE_EXTERNAL_ID_MAX || (len > 0 && strspn(given, EXTERNAL_ALPHABET) < len))
		return kms_refuse(err, KMS_E_INVALID, "external_id: 1 to %d characters of [0-9A-Za-z-].", STORE_EXTERNAL_ID_MAX);
	if (len > 0) {
		memcpy(ret_id, given, len + 1);
		return KMS_OK;
	}
	if (!random_bytes(made, sizeof(made)))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	hex_encode(made, sizeof(made), ret_id);
	return KMS_OK;
}

/* The pool, which must be one of this vault, and the id; both are named in the event. */
static kms_status open_binding(struct op *op, const uint8_t pool_id[STORE_ID_LEN], const char *external_id, struct kms_err *err)
{
	STORE_POOL_AUTO pool = { 0 };
	struct store_principal principal = { 0 };

	KMS_TRY(ekm_pool_get(op, false, pool_id, &pool, &principal, err));
	op_det_text(op, "pool", principal.name);
	op_det_text(op, "external_id", external_id);
	return KMS_OK;
}

/* Bound for ever: once it has named a version, an id never names another (ekm-proxy.md section 9). @param e  completed from what is stored */
static kms_status check_bound(struct op *op, struct store_external *e, struct kms_err *err)
{
	struct store_external old = { 0 };
	char version[2 * STORE_ID_LEN + 1];
	kms_status status = store_external(op->store, e->pool_id, e->id, &old, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "external key id");
	if (!same_id(old.key_id, e->key_id) || !same_id(old.version_id, e->version_id)) {
		hex_encode(old.version_id, STORE_ID_LEN, version);
		return kms_refuse(err, KMS_E_CONFLICT, "external_id: %s is bound to version %s of key %s for ever; choose another id.", e->id, version,
		                  old.key_name);
	}
	*e = old;
	e->retired_s = STORE_NO_TIME;
	return KMS_OK;
}

static kms_status intend(struct op *op, const struct store_external *e, struct kms_err *err)
{
	struct store_intent intent = { 0 };

	memcpy(intent.key_id, e->key_id, STORE_ID_LEN);
	memcpy(intent.key_name, e->key_name, sizeof(intent.key_name));
	return op_intend(op, NULL, &intent, err);
}

kms_status ekm_publish(struct op *op, const uint8_t pool_id[STORE_ID_LEN], const char *key, const uint8_t *version, const char *external_id,
                       struct store_external *ret_external, struct kms_err *err)
{
	struct store_external e = { .created_s = clock_wall_s(op->kms->clock), .retired_s = STORE_NO_TIME, .last_used_s = STORE_NO_TIME };
	struct store_external old = { 0 };

	KMS_TRY(take_id(external_id, e.id, err));
	KMS_TRY(open_binding(op, pool_id, e.id, err));
	KMS_TRY(keyring_find(op, key, version, false, err));
	/* Without a version a retired id of this key means the one that it is bound to: so it comes back after a rotation too. */
	if (version == NULL && store_external(op->store, pool_id, e.id, &old, NULL) == KMS_OK && old.retired_s != STORE_NO_TIME &&
	    same_id(old.key_id, op->key.id) && !same_id(old.version_id, op->version.id)) {
		store_version_clear(&op->version);
		KMS_TRY(keyring_find(op, key, old.version_id, false, err));
	}
	KMS_TRY(check_served(&op->version, err));
	memcpy(e.pool_id, pool_id, STORE_ID_LEN);
	memcpy(e.key_id, op->key.id, STORE_ID_LEN);
	memcpy(e.version_id, op->version.id, STORE_ID_LEN);
	memcpy(e.key_name, op->key.name, sizeof(e.key_name));
	KMS_TRY(check_bound(op, &e, err));
	KMS_TRY(intend(op, &e, err));
	op_change(op, STORE_EXTERNAL_ADD)->external = e;
	*ret_external = e;
	return KMS_OK;
}

kms_status ekm_retire(struct op *op, const uint8_t pool_id[STORE_ID_LEN], const char *external_id, struct store_external *ret_external,
                      struct kms_err *err)
{
	struct store_external e = { 0 };
	kms_status status = KMS_OK;

	KMS_TRY(open_binding(op, pool_id, external_id, err));
	status = store_external(op->store, pool_id, external_id, &e, NULL);
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && e.retired_s != STORE_NO_TIME))
		return kms_refuse(err, KMS_E_NOTFOUND, "The pool has no external key id of this name in use.");
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "external key id");
	memcpy(op->write.event.key_name, e.key_name, sizeof(e.key_name));
	hex_encode(e.version_id, STORE_ID_LEN, op->write.event.key_version);
	e.retired_s = clock_wall_s(op->kms->clock);
	KMS_TRY(intend(op, &e, err));
	op_change(op, STORE_EXTERNAL_RETIRE)->external = e;
	*ret_external = e;
	return KMS_OK;
}

/* ---- what a pool calls ---- */

/* One text for all: it says nothing about names and states of keys, which neither the pool nor Azure's logs need to know. */
static kms_status not_found(struct kms_err *err)
{
	return kms_refuse(err, KMS_E_KEY_NOTFOUND, "No key with this identifier is available.");
}

kms_status ekm_find(struct op *op, const char *external_id, struct store_external *ret_external, struct kms_err *err)
{
	struct store_external e = { 0 };
	struct kms_err own = { 0 };
	kms_status status = KMS_OK;

	KMS_TRY(op_need_living_vault(op, err));
	status = store_external(op->store, op->principal.id, external_id, &e, &own);
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && e.retired_s != STORE_NO_TIME))
		return not_found(err);
	if (status == KMS_OK)
		status = keyring_find(op, e.key_name, e.version_id, false, &own);
	/* A key that was restored has its versions' ids, but is not the key that was published. */
	if (status == KMS_E_KEY_NOTFOUND || (status == KMS_OK && !same_id(op->key.id, e.key_id)))
		return not_found(err);
	if (status != KMS_OK) {
		if (err != NULL && err->status == KMS_OK)
			*err = own;
		return status;
	}
	*ret_external = e;
	return KMS_OK;
}

kms_status ekm_metadata(struct op *op, const char *external_id, struct ekm_metadata *ret, struct kms_err *err)
{
	const int64_t now_s = clock_wall_s(op->kms->clock);
	struct store_external e = { 0 };

	KMS_TRY(ekm_find(op, external_id, &e, err));
	/* A reference must not be made to a key that will not work (ekm-proxy.md 6.2). */
	KMS_TRY(key_usable(&op->version, KEY_OP_WRAP, now_s, err));
	KMS_TRY(key_usable(&op->version, KEY_OP_UNWRAP, now_s, err));
	ret->is_rsa = key_type_info((enum key_type)op->version.kty)->family == FAMILY_RSA;
	ret->bits = op->version.bits;
	return KMS_OK;
}

/* Said in EKM's names; after the state, as everywhere (keyvault-keys.md 9.1). */
static kms_status check_alg(const struct ekm_alg *alg, const struct store_version *v, struct kms_err *err)
{
	enum key_family family = key_type_info((enum key_type)v->kty)->family;

	if (alg == NULL)
		return kms_refuse(err, KMS_E_INVALID, "alg: must be A256KW, A256KWP, RSA-OAEP-256 or RSA-OAEP.");
	if (alg->family != family)
		return kms_refuse(err, KMS_E_INVALID, "alg: %s does not fit a key of type %s.", alg->name, family == FAMILY_RSA ? "RSA" : "oct");
	return KMS_OK;
}

static const struct ekm_alg *find_alg(enum key_alg alg)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(ALGS); i++)
		if (ALGS[i].alg == alg)
			return &ALGS[i];
	return NULL;
}

static void count_use(struct op *op, const struct store_external *e)
{
	struct store_external *used = &op_change(op, STORE_EXTERNAL_USED)->external;

	*used = *e;
	used->last_used_s = clock_wall_s(op->kms->clock);
}

kms_status ekm_use(struct op *op, const char *external_id, enum key_op use, enum key_alg alg, const struct secret *value,
                   struct crypto_output *ret_out, struct kms_err *err)
{
	const struct ekm_alg *known = find_alg(alg);
	struct crypto_input in = { .alg = alg, .value = value };
	struct store_external e = { 0 };

	op->write.event.alg = known != NULL ? known->name : NULL;
	op_det_number(op, "bytes", value != NULL ? (int64_t)secret_len(value) : 0);
	KMS_TRY(ekm_find(op, external_id, &e, err));
	KMS_TRY(key_usable(&op->version, use, clock_wall_s(op->kms->clock), err));
	KMS_TRY(check_alg(known, &op->version, err));
	if (use == KEY_OP_UNWRAP && value == NULL) /* no wrapped key for its length, like others that the device refuses */
		return kms_fail(err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "an empty value does not unwrap");
	KMS_TRY(crypto_use_found(op, use, &in, ret_out, err));
	count_use(op, &e);
	return KMS_OK;
}
