/*
 * server/core/ekm.h - Azure's external key management (ekm-proxy.md): pools of Managed HSM that may wrap and unwrap under versions that were published
 * to them, each under an external key id that is bound once and for ever. A pool is a principal of one vault, so roles, revocation and the fence
 * hold for it as for any other.
 */
#ifndef HOLDFAST_CORE_EKM_H
#define HOLDFAST_CORE_EKM_H

#include "server/core/crypto.h"
#include "server/core/keyring.h"

#define EKM_POOLS_PAGE 25
#define EKM_VALUE_MAX HSM_WRAP_MAX

/* What is asked for when a pool is made, or its certificates are replaced. All borrowed. */
struct ekm_pool_spec {
	bool is_service;                    /* no pool but a service with client certificates on the main listener: it has no prefix, and no role of itself */
	const char *name;                   /* of the pool: as any principal's; unique, without case, among the vault's principals */
	const char *prefix;                 /* "" = none; slashes at the ends are dropped; [A-Za-z0-9/-]{0,64} */
	/* Common names, 1..STORE_SUBJECTS_MAX: 1..64 printable ASCII characters, no wildcard; compared without case; each belongs to one pool only. */
	const char *const *subjects;
	size_t subject_count;
	const struct store_root *roots;     /* self-signed CA certificates, DER, 1..STORE_ROOTS_MAX; checked by the API layer */
	size_t root_count;
};

/* The four algorithms (ekm-proxy.md 5.3) by the names that EKM gives them: A256KW, A256KWP, RSA-OAEP-256, RSA-OAEP. */
enum key_alg ekm_alg_parse(const char *name); /* 0 = none of them */
const char *ekm_alg_name_at(unsigned i);      /* NULL after the last */

/* A key as EKM shows it (ekm-proxy.md 6.2). */
struct ekm_metadata {
	bool is_rsa;
	uint16_t bits;
	/* the public half is op->version.pub, op->version.e */
};

/* ---- administration: an opened and authorised op with a vault. What changes something is two-phase and may answer what op_intend() answers ---- */

/**
 * Make a pool: principal (it has no secret that could be used to log in), the role Crypto Service Encryption User at the vault, subjects and
 * roots; one unit. A service gets no role: what it may do is granted to it.
 * @param ret_pool  its id is that of its principal; owned by the caller: store_pool_clear()
 * @return KMS_OK | KMS_E_INVALID (the message names the member) | KMS_E_CONFLICT (name, subject) | KMS_E_VAULT_SHREDDED | KMS_E_DEVICE
 */
KMS_MUST_CHECK kms_status ekm_pool_add(struct op *op, const struct ekm_pool_spec *spec, struct store_pool *ret_pool, struct kms_err *err);
/** Replace subjects and roots (old and new together while Microsoft renews). name and prefix of the spec are not read.
 *  @param pool_id  of a pool of this vault */
KMS_MUST_CHECK kms_status ekm_pool_set(struct op *op, const uint8_t pool_id[STORE_ID_LEN], const struct ekm_pool_spec *spec,
                                       struct store_pool *ret_pool, struct kms_err *err);
/** A pool (or service) of this vault by its id; the other kind is not there. @param ret_pool  owned by the caller @return KMS_OK | KMS_E_NOTFOUND */
KMS_MUST_CHECK kms_status ekm_pool_get(struct op *op, bool is_service, const uint8_t pool_id[STORE_ID_LEN], struct store_pool *ret_pool,
                                       struct store_principal *ret_principal, struct kms_err *err);
/** The same by its name or id text. */
KMS_MUST_CHECK kms_status ekm_pool_find(struct op *op, bool is_service, const char *name_or_id, struct store_pool *ret_pool,
                                        struct store_principal *ret_principal, struct kms_err *err);
/**
 * Bind an external id to a version that EKM can serve: oct or oct-HSM 256, RSA or RSA-HSM, key_ops with wrapKey and unwrapKey.
 * A retired id is in use again when it is published for its own version; for that, key and version must never have been purged.
 * @param version  NULL = the latest  @param external_id  NULL or empty = one is made (32 hex digits)
 * @return KMS_OK | KMS_E_INVALID | KMS_E_NOTFOUND (the pool) | KMS_E_KEY_NOTFOUND | KMS_E_CONFLICT (the id was bound to another version before)
 */
KMS_MUST_CHECK kms_status ekm_publish(struct op *op, const uint8_t pool_id[STORE_ID_LEN], const char *key, const uint8_t *version,
                                      const char *external_id, struct store_external *ret_external, struct kms_err *err);
/** The id answers KeyNotFound from now on; it stays bound. @return KMS_OK | KMS_E_NOTFOUND */
KMS_MUST_CHECK kms_status ekm_retire(struct op *op, const uint8_t pool_id[STORE_ID_LEN], const char *external_id,
                                     struct store_external *ret_external, struct kms_err *err);

/* ---- what a pool calls: op->caller is the pool's principal (EVENT_AUTH_MTLS) ---- */

/**
 * Find a published version; key and version enter fence and event, and `det` gets external_id and pool (our name of it). Unknown and retired ids, those
 * of other pools, and those of keys that are deleted or gone are one KMS_E_KEY_NOTFOUND. @return also KMS_E_VAULT_SHREDDED
 */
KMS_MUST_CHECK kms_status ekm_find(struct op *op, const char *external_id, struct store_external *ret_external, struct kms_err *err);
/** @return KMS_OK | as ekm_find() | KMS_E_KEY_DISABLED | KMS_E_KEY_EXPIRED, KMS_E_KEY_NOT_YET | KMS_E_KEY_OP */
KMS_MUST_CHECK kms_status ekm_metadata(struct op *op, const char *external_id, struct ekm_metadata *ret, struct kms_err *err);
/**
 * Wrap or unwrap; the use of the id is counted with the leaf (one that was retired meanwhile is KMS_E_FENCED there), `det` gets bytes,
 * the leaf the algorithm by EKM's name. An empty RSA-OAEP plaintext is served (ekm-proxy.md 5.3). All that does not unwrap, whatever its
 * length, is one KMS_E_CRYPTO.
 * @param use  KEY_OP_WRAP or KEY_OP_UNWRAP  @param alg  ALG_A256KW, ALG_CKM_KWP (A256KWP), ALG_RSA_OAEP, ALG_RSA_OAEP_256: no other
 * @param value  NULL = empty
 * @return as crypto_use() | as ekm_find()
 */
KMS_MUST_CHECK kms_status ekm_use(struct op *op, const char *external_id, enum key_op use, enum key_alg alg, const struct secret *value,
                                  struct crypto_output *ret_out, struct kms_err *err);

#endif
