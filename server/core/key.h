/* server/core/key.h - key types, operations, algorithms, and the rules of a version's state (keyvault-keys.md 4.5, 5, 9). */
#ifndef HOLDFAST_CORE_KEY_H
#define HOLDFAST_CORE_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hsm/hsm.h"
#include "server/base/err.h"
#include "storage/store.h"

/* The numbers are what the database stores: never change one. Two wire types have variants, because an object in the HSM has one fixed
 * template: which one is meant follows from key_ops at birth, and never changes (key_type_choose). */
enum key_type {
	KEY_RSA = 1,
	KEY_RSA_HSM = 2,
	KEY_OCT_HSM = 3, /* AES */
	KEY_EC = 4,
	KEY_EC_HSM = 5,
	KEY_OCT = 6,             /* loaded as AES or as HMAC key, as the operation needs */
	KEY_OCT_HSM_MAC = 7,     /* wire name oct-HSM: key_ops sign, verify */
	KEY_RSA_HSM_EXCHANGE = 8, /* wire name RSA-HSM: key_ops import alone (keyvault-keys.md section 13) */
	KEY_TYPE_COUNT
};

enum key_curve { CURVE_NONE = 0, CURVE_P256 = 1, CURVE_P384 = 2, CURVE_P521 = 3, CURVE_P256K = 4, CURVE_COUNT };

enum key_family { FAMILY_RSA = 1, FAMILY_EC, FAMILY_OCT };

enum key_op {
	KEY_OP_ENCRYPT = 1 << 0,
	KEY_OP_DECRYPT = 1 << 1,
	KEY_OP_SIGN = 1 << 2,
	KEY_OP_VERIFY = 1 << 3,
	KEY_OP_WRAP = 1 << 4,
	KEY_OP_UNWRAP = 1 << 5,
	KEY_OP_IMPORT = 1 << 6,
	KEY_OP_EXPORT = 1 << 7,
};
#define KEY_OP_COUNT 8

enum key_alg {
	ALG_RSA_OAEP = 1, ALG_RSA_OAEP_256, ALG_RSA1_5,
	ALG_A128KW, ALG_A192KW, ALG_A256KW, ALG_CKM_KW, ALG_CKM_KWP,
	ALG_A128GCM, ALG_A192GCM, ALG_A256GCM, ALG_A128CBC, ALG_A192CBC, ALG_A256CBC, ALG_A128CBCPAD, ALG_A192CBCPAD, ALG_A256CBCPAD,
	ALG_RS256, ALG_RS384, ALG_RS512, ALG_RSNULL, ALG_PS256, ALG_PS384, ALG_PS512,
	ALG_ES256, ALG_ES256K, ALG_ES384, ALG_ES512, ALG_HS256, ALG_HS384, ALG_HS512,
	KEY_ALG_COUNT
};

enum revoke_reason {
	REVOKE_NONE = 0,
	REVOKE_UNSPECIFIED = 1,
	REVOKE_COMPROMISE = 2,
	REVOKE_AFFILIATION = 3,
	REVOKE_SUPERSEDED = 4,
	REVOKE_CESSATION = 5,
	REVOKE_COUNT
};

struct key_type_info {
	const char *name; /* "RSA-HSM" */
	enum key_family family;
	bool is_resident;
	uint16_t sizes[5];     /* bits; 0 ends the list; curves: none */
	uint16_t default_size;
	uint32_t default_ops;
	uint32_t allowed_ops;
};

struct key_curve_info {
	const char *name; /* "P-256K" */
	enum hsm_kind kind;
	uint16_t bits;
	size_t coordinate_len; /* bytes of x, y and d */
};

struct key_alg_info {
	const char *name;
	enum key_family family;
	uint32_t ops;         /* KEY_OP_* that it serves */
	uint16_t bits;        /* the only key size it fits; 0 = any */
	uint16_t bits_min;    /* the smallest (HMAC: as long as the hash); 0 = any */
	enum key_curve crv;   /* the only curve it fits */
	size_t digest_len;    /* exact length of what is signed; 0 = any */
	enum hsm_rsa_alg rsa;       /* encrypt, decrypt, wrap, unwrap */
	enum hsm_aes_alg aes;       /* wrap, unwrap */
	enum hsm_cipher cipher;     /* encrypt, decrypt */
	enum hsm_sign_alg sign;     /* sign, verify */
};

const struct key_type_info *key_type_info(enum key_type type);
/** By wire name, exact; 0 when unknown. The first of the variants that share a name. */
enum key_type key_type_parse(const char *name);
/** The variant of a type for these key_ops: oct-HSM with sign or verify is KEY_OCT_HSM_MAC, RSA-HSM with import is KEY_RSA_HSM_EXCHANGE. */
enum key_type key_type_choose(enum key_type type, uint32_t ops);
/** Do the operations fit? @param bits  0 = not known yet. @return KMS_OK | KMS_E_INVALID (names the one that does not) */
KMS_MUST_CHECK kms_status key_ops_fit(enum key_type type, uint16_t bits, uint32_t ops, struct kms_err *err);
/** key_ops when none are given: of the type, but sign and verify for an oct that is no AES key. */
uint32_t key_default_ops(enum key_type type, uint16_t bits);
const struct key_curve_info *key_curve_info(enum key_curve crv);
enum key_curve key_curve_parse(const char *name);
const struct key_alg_info *key_alg_info(enum key_alg alg);
enum key_alg key_alg_parse(const char *name);
/** Wire name of one operation, by bit number 0..KEY_OP_COUNT-1. */
const char *key_op_name_at(unsigned bit);
const char *key_op_name(enum key_op op);
/** The bit of a wire name; 0 when unknown. */
uint32_t key_op_parse(const char *name);
const char *revoke_reason_name(enum revoke_reason reason);
enum revoke_reason revoke_reason_parse(const char *name);

/** 1..127 characters of [0-9a-zA-Z-] (keyvault-keys.md 4.1). */
bool key_name_is_valid(const char *name);
/** May this version be used for `op` now? Order: revoked/enabled, key_ops, validity window (keyvault-keys.md 9.1).
 *  @return KMS_OK | KMS_E_KEY_DISABLED | KMS_E_KEY_OP | KMS_E_KEY_NOT_YET | KMS_E_KEY_EXPIRED */
KMS_MUST_CHECK kms_status key_usable(const struct store_version *v, enum key_op op, int64_t now_s, struct kms_err *err);
/** Do algorithm, operation and key fit? @return KMS_OK | KMS_E_INVALID */
KMS_MUST_CHECK kms_status key_alg_fits(const struct store_version *v, enum key_alg alg, enum key_op op, struct kms_err *err);
/** Names the version to the device for one use; for types that have one kind only, alg may be 0. Borrows v->wrapped. One that is about to be made has its
 *  root already (vault_wrapping_root()). */
void key_to_hsm(const struct store_version *v, enum key_alg alg, struct hsm_key *ret_key);

#endif
