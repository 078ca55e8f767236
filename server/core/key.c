/* server/core/key.c - key types, algorithms and states as tables. */
#include "server/core/key.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define SIGN_OPS (KEY_OP_SIGN | KEY_OP_VERIFY)
#define CIPHER_OPS (KEY_OP_ENCRYPT | KEY_OP_DECRYPT)
#define WRAP_OPS (KEY_OP_WRAP | KEY_OP_UNWRAP)
#define RSA_OPS (CIPHER_OPS | SIGN_OPS | WRAP_OPS)
#define AES_OPS (CIPHER_OPS | WRAP_OPS)

static const struct key_type_info TYPES[KEY_TYPE_COUNT] = {
	[KEY_RSA] = { "RSA", FAMILY_RSA, false, { 2048, 3072, 4096 }, 2048, RSA_OPS, RSA_OPS },
	[KEY_RSA_HSM] = { "RSA-HSM", FAMILY_RSA, true, { 2048, 3072, 4096 }, 2048, RSA_OPS, RSA_OPS },
	[KEY_OCT_HSM] = { "oct-HSM", FAMILY_OCT, true, { 128, 192, 256 }, 256, AES_OPS, AES_OPS },
	[KEY_EC] = { "EC", FAMILY_EC, false, { 0 }, 0, SIGN_OPS, SIGN_OPS },
	[KEY_EC_HSM] = { "EC-HSM", FAMILY_EC, true, { 0 }, 0, SIGN_OPS, SIGN_OPS },
	[KEY_OCT] = { "oct", FAMILY_OCT, false, { 128, 192, 256, 384, 512 }, 256, AES_OPS, AES_OPS | SIGN_OPS },
	[KEY_OCT_HSM_MAC] = { "oct-HSM", FAMILY_OCT, true, { 256, 384, 512 }, 256, SIGN_OPS, SIGN_OPS },
	[KEY_RSA_HSM_EXCHANGE] = { "RSA-HSM", FAMILY_RSA, true, { 2048, 3072, 4096 }, 2048, KEY_OP_IMPORT, KEY_OP_IMPORT },
};

static const struct key_curve_info CURVES[CURVE_COUNT] = {
	[CURVE_P256] = { "P-256", HSM_KIND_P256, 256, 32 },
	[CURVE_P384] = { "P-384", HSM_KIND_P384, 384, 48 },
	[CURVE_P521] = { "P-521", HSM_KIND_P521, 521, 66 },
	[CURVE_P256K] = { "P-256K", HSM_KIND_P256K, 256, 32 },
};

/* keyvault-keys.md 5.1 and 5.2: the RSA encryptions serve wrap and unwrap too, key wrap serves nothing else, the ciphers only encrypt. */
#define RSA_ENC(text, padding) { .name = text, .family = FAMILY_RSA, .ops = CIPHER_OPS | WRAP_OPS, .rsa = padding }
#define AES_WRAP(text, size, how) { .name = text, .family = FAMILY_OCT, .ops = WRAP_OPS, .bits = size, .aes = how }
#define AES_ENC(text, size, mode) { .name = text, .family = FAMILY_OCT, .ops = CIPHER_OPS, .bits = size, .cipher = mode }
#define RSA_SIGN(text, len, how) { .name = text, .family = FAMILY_RSA, .ops = SIGN_OPS, .digest_len = len, .sign = how }
#define EC_SIGN(text, curve, len) \
	{ .name = text, .family = FAMILY_EC, .ops = SIGN_OPS, .crv = curve, .digest_len = len, .sign = HSM_SIGN_ECDSA }
#define MAC(text, size, how) { .name = text, .family = FAMILY_OCT, .ops = SIGN_OPS, .bits_min = size, .sign = how }

static const struct key_alg_info ALGS[KEY_ALG_COUNT] = {
	[ALG_RSA_OAEP] = RSA_ENC("RSA-OAEP", HSM_RSA_OAEP_SHA1),
	[ALG_RSA_OAEP_256] = RSA_ENC("RSA-OAEP-256", HSM_RSA_OAEP_SHA256),
	[ALG_RSA1_5] = RSA_ENC("RSA1_5", HSM_RSA_PKCS1_V15),
	[ALG_A128KW] = AES_WRAP("A128KW", 128, HSM_AES_KW),
	[ALG_A192KW] = AES_WRAP("A192KW", 192, HSM_AES_KW),
	[ALG_A256KW] = AES_WRAP("A256KW", 256, HSM_AES_KW),
	[ALG_CKM_KW] = AES_WRAP("CKM_AES_KEY_WRAP", 0, HSM_AES_KW),
	[ALG_CKM_KWP] = AES_WRAP("CKM_AES_KEY_WRAP_PAD", 0, HSM_AES_KWP),
	[ALG_A128GCM] = AES_ENC("A128GCM", 128, HSM_CIPHER_GCM),
	[ALG_A192GCM] = AES_ENC("A192GCM", 192, HSM_CIPHER_GCM),
	[ALG_A256GCM] = AES_ENC("A256GCM", 256, HSM_CIPHER_GCM),
	[ALG_A128CBC] = AES_ENC("A128CBC", 128, HSM_CIPHER_CBC),
	[ALG_A192CBC] = AES_ENC("A192CBC", 192, HSM_CIPHER_CBC),
	[ALG_A256CBC] = AES_ENC("A256CBC", 256, HSM_CIPHER_CBC),
	[ALG_A128CBCPAD] = AES_ENC("A128CBCPAD", 128, HSM_CIPHER_CBC_PAD),
	[ALG_A192CBCPAD] = AES_ENC("A192CBCPAD", 192, HSM_CIPHER_CBC_PAD),
	[ALG_A256CBCPAD] = AES_ENC("A256CBCPAD", 256, HSM_CIPHER_CBC_PAD),
	[ALG_RS256] = RSA_SIGN("RS256", 32, HSM_SIGN_RSA_PKCS1),
	[ALG_RS384] = RSA_SIGN("RS384", 48, HSM_SIGN_RSA_PKCS1),
	[ALG_RS512] = RSA_SIGN("RS512", 64, HSM_SIGN_RSA_PKCS1),
	[ALG_RSNULL] = RSA_SIGN("RSNULL", 0, HSM_SIGN_RSA_PKCS1),
	[ALG_PS256] = RSA_SIGN("PS256", 32, HSM_SIGN_PSS_SHA256),
	[ALG_PS384] = RSA_SIGN("PS384", 48, HSM_SIGN_PSS_SHA384),
	[ALG_PS512] = RSA_SIGN("PS512", 64, HSM_SIGN_PSS_SHA512),
	[ALG_ES256] = EC_SIGN("ES256", CURVE_P256, 32),
	[ALG_ES256K] = EC_SIGN("ES256K", CURVE_P256K, 32),
	[ALG_ES384] = EC_SIGN("ES384", CURVE_P384, 48),
	[ALG_ES512] = EC_SIGN("ES512", CURVE_P521, 64),
	[ALG_HS256] = MAC("HS256", 256, HSM_SIGN_HMAC_SHA256),
	[ALG_HS384] = MAC("HS384", 384, HSM_SIGN_HMAC_SHA384),
	[ALG_HS512] = MAC("HS512", 512, HSM_SIGN_HMAC_SHA512),
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

enum key_type key_type_choose(enum key_type type, uint32_t ops)
{
	if (type == KEY_OCT_HSM && (ops & SIGN_OPS) != 0)
		return KEY_OCT_HSM_MAC;
	if (type == KEY_RSA_HSM && (ops & KEY_OP_IMPORT) != 0)
		return KEY_RSA_HSM_EXCHANGE;
	return type;
}

kms_status key_ops_fit(enum key_type type, uint16_t bits, uint32_t ops, struct kms_err *err)
{
	const struct key_type_info *t = &TYPES[type];
	const uint16_t aes_max = 256, mac_min = 256;

	/* A wrapped secret may be an AES key, a MAC key or both, as far as its length goes. */
	if (type == KEY_OCT && bits != 0 && bits < mac_min && (ops & SIGN_OPS) != 0)
		return kms_refuse(err, KMS_E_INVALID, "key_ops: sign and verify need an oct key of %u bits or more.", (unsigned)mac_min);
	if (type == KEY_OCT && bits > aes_max && (ops & AES_OPS) != 0)
		return kms_refuse(err, KMS_E_INVALID, "key_ops: an oct key of %u bits only signs and verifies; AES keys have at most %u.", (unsigned)bits,
		                  (unsigned)aes_max);
	for (unsigned bit = 0; bit < KEY_OP_COUNT; bit++)
		if ((ops & ~t->allowed_ops & (1U << bit)) != 0)
			return kms_refuse(err, KMS_E_INVALID, "key_ops: %s does not fit a key of type %s%s.", OPS[bit], t->name,
			                  type == KEY_OCT_HSM_MAC ? " that signs"
			                  : type == KEY_OCT_HSM   ? " that encrypts or wraps"
			                  : type == KEY_RSA_HSM_EXCHANGE ? " for import, which has no other operation" : "");
	return KMS_OK;
}

uint32_t key_default_ops(enum key_type type, uint16_t bits)
{
	const uint16_t aes_max = 256;
	return TYPES[type].family == FAMILY_OCT && bits > aes_max ? SIGN_OPS : TYPES[type].default_ops;
}

const struct key_curve_info *key_curve_info(enum key_curve crv) { return crv > 0 && crv < CURVE_COUNT ? &CURVES[crv] : NULL; }

enum key_curve key_curve_parse(const char *name)
{
	for (int i = 1; i < CURVE_COUNT; i++)
		if (strcmp(name, CURVES[i].name) == 0)
			return (enum key_curve)i;
	return CURVE_NONE;
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
	bool makes_new = op == KEY_OP_ENCRYPT || op == KEY_OP_WRAP || op == KEY_OP_SIGN || op == KEY_OP_IMPORT;

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

/* A key's size or curve, for messages. */
static void describe(const struct store_version *v, char *ret_text, size_t cap)
{
	const struct key_curve_info *crv = key_curve_info((enum key_curve)v->crv);

	if (crv != NULL)
		(void)snprintf(ret_text, cap, "curve %s", crv->name);
	else
		(void)snprintf(ret_text, cap, "size %u", (unsigned)v->bits);
}

kms_status key_alg_fits(const struct store_version *v, enum key_alg alg, enum key_op op, struct kms_err *err)
{
	const struct key_alg_info *a = key_alg_info(alg);
	const struct key_type_info *t = key_type_info((enum key_type)v->kty);
	const uint16_t aes_max = 256;
	char text[24];
	bool fits = false;

	if (a == NULL || t == NULL)
		return kms_refuse(err, KMS_E_INVALID, "alg: unknown algorithm.");
	if ((a->ops & (uint32_t)op) == 0)
		return kms_refuse(err, KMS_E_INVALID, "alg: %s does not serve the operation %s.", a->name, key_op_name(op));
	fits = a->family == t->family && (a->bits == 0 || a->bits == v->bits) && v->bits >= a->bits_min &&
	       (a->crv == CURVE_NONE || a->crv == (enum key_curve)v->crv);
	/* Any AES key will do for those that name no size, but not a longer secret. */
	if (t->family == FAMILY_OCT && (a->ops & SIGN_OPS) == 0 && v->bits > aes_max)
		fits = false;
	if (fits)
		return KMS_OK;
	describe(v, text, sizeof(text));
	return kms_refuse(err, KMS_E_INVALID, "alg: %s does not fit a key of type %s and %s.", a->name, t->name, text);
}

static enum hsm_kind kind_of(const struct store_version *v, enum key_alg alg)
{
	const struct key_alg_info *a = key_alg_info(alg);
	const struct key_curve_info *crv = key_curve_info((enum key_curve)v->crv);
	const uint16_t aes_max = 256;

	switch (TYPES[v->kty].family) {
	case FAMILY_RSA:
		return HSM_KIND_RSA;
	case FAMILY_EC:
		assert(crv != NULL);
		return crv->kind;
	case FAMILY_OCT:
		break;
	}
	if (v->kty == KEY_OCT_HSM_MAC || v->bits > aes_max || (a != NULL && (a->ops & SIGN_OPS) != 0))
		return HSM_KIND_HMAC;
	return HSM_KIND_AES;
}

/* What key_ops allow inside the device. */
static uint32_t usage_of(uint32_t ops, enum hsm_kind kind)
{
	uint32_t usage = 0;

	if (kind == HSM_KIND_AES) {
		if ((ops & KEY_OP_ENCRYPT) != 0)
			usage |= HSM_USE_ENCRYPT;
		if ((ops & KEY_OP_DECRYPT) != 0)
			usage |= HSM_USE_DECRYPT;
		if ((ops & WRAP_OPS) != 0)
			usage |= HSM_USE_WRAP;
		return usage;
	}
	if (kind == HSM_KIND_RSA && (ops & (KEY_OP_UNWRAP | KEY_OP_DECRYPT)) != 0)
		usage |= HSM_USE_DECRYPT;
	/* A MAC is verified by making it again. */
	if ((ops & (kind == HSM_KIND_HMAC ? SIGN_OPS : KEY_OP_SIGN)) != 0)
		usage |= HSM_USE_SIGN;
	return usage;
}

void key_to_hsm(const struct store_version *v, enum key_alg alg, struct hsm_key *ret_key)
{
	struct hsm_key k = { .purpose = v->kty == KEY_RSA_HSM_EXCHANGE ? HSM_FOR_EXCHANGE : HSM_FOR_CALLER };

	assert(key_type_info((enum key_type)v->kty) != NULL); /* the database holds no other types: a newer schema is refused */
	k.kind = kind_of(v, alg);
	if (v->crv == CURVE_NONE) /* the kind of a curve has one size */
		k.bits = v->bits;
	memcpy(k.id, v->obj, sizeof(k.id));
	k.usage = usage_of(v->ops, k.kind);
	if (v->wrapped != NULL) {
		k.wrapped = v->wrapped;
		k.wrapped_len = v->wrapped_len;
	}
	if (!TYPES[v->kty].is_resident) /* its own: while a root rotation is under way the vault's versions have two */
		memcpy(k.root_id, v->root_id, sizeof(k.root_id));
	*ret_key = k;
}
