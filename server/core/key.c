/* server/core/key.c - key types, algorithms and states as tables. */
#include "server/core/key.h"

#include <assert.h>
#include <string.h>

#define RSA_OPS (KEY_OP_ENCRYPT | KEY_OP_DECRYPT | KEY_OP_SIGN | KEY_OP_VERIFY | KEY_OP_WRAP | KEY_OP_UNWRAP)
#define OCT_OPS (KEY_OP_ENCRYPT | KEY_OP_DECRYPT | KEY_OP_WRAP | KEY_OP_UNWRAP)

static const struct key_type_info TYPES[KEY_TYPE_COUNT] = {
	[KEY_RSA] = { "RSA", HSM_KIND_RSA, false, { 2048, 3072, 4096 }, 2048, RSA_OPS, RSA_OPS },
	[KEY_RSA_HSM] = { "RSA-HSM", HSM_KIND_RSA, true, { 2048, 3072, 4096 }, 2048, RSA_OPS, RSA_OPS },
	[KEY_OCT_HSM] = { "oct-HSM", HSM_KIND_AES, true, { 128, 192, 256 }, 256, OCT_OPS, OCT_OPS },
};

static const struct key_alg_info ALGS[KEY_ALG_COUNT] = {
	[ALG_RSA_OAEP] = { .name = "RSA-OAEP", .kind = HSM_KIND_RSA, .rsa = HSM_RSA_OAEP_SHA1 },
	[ALG_RSA_OAEP_256] = { .name = "RSA-OAEP-256", .kind = HSM_KIND_RSA, .rsa = HSM_RSA_OAEP_SHA256 },
	[ALG_RSA1_5] = { .name = "RSA1_5", .kind = HSM_KIND_RSA, .rsa = HSM_RSA_PKCS1_V15 },
	[ALG_A128KW] = { .name = "A128KW", .kind = HSM_KIND_AES, .bits = 128, .aes = HSM_AES_KW },
	[ALG_A192KW] = { .name = "A192KW", .kind = HSM_KIND_AES, .bits = 192, .aes = HSM_AES_KW },
	[ALG_A256KW] = { .name = "A256KW", .kind = HSM_KIND_AES, .bits = 256, .aes = HSM_AES_KW },
	[ALG_CKM_KW] = { .name = "CKM_AES_KEY_WRAP", .kind = HSM_KIND_AES, .aes = HSM_AES_KW },
	[ALG_CKM_KWP] = { .name = "CKM_AES_KEY_WRAP_PAD", .kind = HSM_KIND_AES, .aes = HSM_AES_KWP },
};

static const char *const OPS[KEY_OP_COUNT] = { "encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey", "import", "export" };

/* RFC 5280 section 5.3.1 names. */
static const char *const REASONS[REVOKE_COUNT] = {
	[REVOKE_NONE] = "",
	[REVOKE_UNSPECIFIED] = "unspecified",
	[REVOKE_COMPROMISE] = "keyCompromise",
	[REVOKE_AFFILIATION] = "affiliationChanged",
	[REVOKE_SUPERSEDED] = "superseded",
	[REVOKE_CESSATION] = "cessationOfOperation",
};

const struct key_type_info *key_type_info(enum key_type type)
{
	return type > 0 && type < KEY_TYPE_COUNT ? &TYPES[type] : NULL;
}

enum key_type key_type_parse(const char *name)
{
	for (int i = 1; i < KEY_TYPE_COUNT; i++)
		if (strcmp(name, TYPES[i].name) == 0)
			return (enum key_type)i;
	return (enum key_type)0;
}

const struct key_alg_info *key_alg_info(enum key_alg alg) { return alg > 0 && alg < KEY_ALG_COUNT ? &ALGS[alg] : NULL; }

enum key_alg key_alg_parse(const char *name)
{
	for (int i = 1; i < KEY_ALG_COUNT; i++)
		if (strcmp(name, ALGS[i].name) == 0)
			return (enum key_alg)i;
	return (enum key_alg)0;
}

const char *key_op_name_at(unsigned bit) { return bit < KEY_OP_COUNT ? OPS[bit] : ""; }
const char *key_op_name(enum key_op op) { return key_op_name_at((unsigned)__builtin_ctz((unsigned)op)); }

uint32_t key_op_parse(const char *name)
{
	for (unsigned i = 0; i < KEY_OP_COUNT; i++)
		if (strcmp(name, OPS[i]) == 0)
			return 1U << i;
	return 0;
}

const char *revoke_reason_name(enum revoke_reason reason) { return reason < REVOKE_COUNT ? REASONS[reason] : ""; }

enum revoke_reason revoke_reason_parse(const char *name)
{
	for (int i = 1; i < REVOKE_COUNT; i++)
		if (strcmp(name, REASONS[i]) == 0)
			return (enum revoke_reason)i;
	return REVOKE_NONE;
}

bool key_name_is_valid(const char *name)
{
	size_t len = strlen(name);
	return len >= 1 && len <= STORE_KEY_NAME_MAX &&
	       strspn(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") == len;
}

kms_status key_usable(const struct store_version *v, enum key_op op, int64_t now_s, struct kms_err *err)
{
	/* Operations that read old data stay allowed outside the validity window; those that protect new data do not. */
	bool makes_new = op == KEY_OP_ENCRYPT || op == KEY_OP_WRAP || op == KEY_OP_SIGN;

	if (v->revoked != REVOKE_NONE || !v->is_enabled)
		return kms_refuse(err, KMS_E_KEY_DISABLED, "Operation %s is not allowed on a disabled key.", key_op_name(op));
	if ((v->ops & (uint32_t)op) == 0)
		return kms_refuse(err, KMS_E_KEY_OP, "Operation %s is not permitted on this key.", key_op_name(op));
	if (makes_new && v->nbf_s != STORE_NO_TIME && now_s < v->nbf_s)
		return kms_refuse(err, KMS_E_KEY_NOT_YET, "Operation %s is not allowed on a key that is not yet valid.", key_op_name(op));
	if (makes_new && v->exp_s != STORE_NO_TIME && now_s >= v->exp_s)
		return kms_refuse(err, KMS_E_KEY_EXPIRED, "Operation %s is not allowed on an expired key.", key_op_name(op));
	return KMS_OK;
}

kms_status key_alg_fits(const struct store_version *v, enum key_alg alg, struct kms_err *err)
{
	const struct key_alg_info *a = key_alg_info(alg);
	const struct key_type_info *t = key_type_info((enum key_type)v->kty);

	if (a == NULL || t == NULL)
		return kms_refuse(err, KMS_E_INVALID, "Unknown algorithm.");
	if (a->kind != t->kind || (a->bits != 0 && a->bits != v->bits))
		return kms_refuse(err, KMS_E_INVALID, "Algorithm %s does not fit a key of type %s and size %u.", a->name, t->name,
		                  (unsigned)v->bits);
	return KMS_OK;
}

void key_to_hsm(const struct store_version *v, const struct store_vault *vault, struct hsm_key *ret_key)
{
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);
	struct hsm_key k = { .purpose = HSM_FOR_CALLER, .bits = v->bits };

	assert(type != NULL); /* the database holds no other types: a newer schema is refused */
	k.kind = type->kind;
	memcpy(k.id, v->obj, sizeof(k.id));
	if ((v->ops & (KEY_OP_UNWRAP | KEY_OP_DECRYPT)) != 0)
		k.usage |= k.kind == HSM_KIND_AES ? HSM_USE_WRAP : HSM_USE_DECRYPT;
	if ((v->ops & KEY_OP_WRAP) != 0 && k.kind == HSM_KIND_AES)
		k.usage |= HSM_USE_WRAP;
	if ((v->ops & KEY_OP_SIGN) != 0 && k.kind == HSM_KIND_RSA)
		k.usage |= HSM_USE_SIGN;
	if (v->wrapped != NULL) {
		k.wrapped = v->wrapped;
		k.wrapped_len = v->wrapped_len;
		memcpy(k.root_id, vault->root_id, sizeof(k.root_id));
	}
	*ret_key = k;
}
