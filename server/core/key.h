/* server/core/key.h - key types, operations, algorithms, and the rules of a version's state (keyvault-keys.md 4.5, 5, 9). */
#ifndef HOLDFAST_CORE_KEY_H
#define HOLDFAST_CORE_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hsm/hsm.h"
#include "server/base/err.h"
#include "storage/store.h"

/* The number is what the database stores: never change one. */
enum key_type { KEY_RSA = 1, KEY_RSA_HSM = 2, KEY_OCT_HSM = 3, KEY_TYPE_COUNT };

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

enum key_alg { ALG_RSA_OAEP = 1, ALG_RSA_OAEP_256, ALG_RSA1_5, ALG_A128KW, ALG_A192KW, ALG_A256KW, ALG_CKM_KW, ALG_CKM_KWP, KEY_ALG_COUNT };

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
	enum hsm_kind kind;
	bool is_resident;
	uint16_t sizes[3];
	uint16_t default_size;
	uint32_t default_ops;
	uint32_t allowed_ops;
};

struct key_alg_info {
	const char *name;
	enum hsm_kind kind;
	uint16_t bits; /* the only key size it fits; 0 = any */
	enum hsm_rsa_alg rsa;
	enum hsm_aes_alg aes;
};

const struct key_type_info *key_type_info(enum key_type type);
/** By wire name, exact; 0 when unknown. */
enum key_type key_type_parse(const char *name);
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
/** Do algorithm and key fit? @return KMS_OK | KMS_E_INVALID */
KMS_MUST_CHECK kms_status key_alg_fits(const struct store_version *v, enum key_alg alg, struct kms_err *err);
/** Names the version to the device. Borrows v->wrapped. */
void key_to_hsm(const struct store_version *v, const struct store_vault *vault, struct hsm_key *ret_key);

#endif
