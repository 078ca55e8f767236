/* tests/support/ekm_rig.h - pools and published keys of the real domain, used the way the API uses them: one call, its event, its outcome written. */
#ifndef HOLDFAST_TESTS_SUPPORT_EKM_RIG_H
#define HOLDFAST_TESTS_SUPPORT_EKM_RIG_H

#include "server/core/ekm.h"
#include "tests/support/domain.h"

/* Bytes that stand for a root: the domain does not look into them. */
extern const struct store_root RIG_ROOT;

/* A pool as it calls: its principal, and the directory that its certificate leads to. */
struct rig_pool {
	char vault[STORE_VAULT_NAME_MAX + 1];
	struct caller caller;
};

/** ekm_pool_add() of "name" with one subject; what it said, or else the writer. *ret_err is set anew. */
kms_status rig_pool_try(struct t_domain *d, const char *vault, const char *name, const char *subject, struct kms_err *ret_err);
/** The same; aborts when it fails. */
struct rig_pool rig_pool(struct t_domain *d, const char *vault, const char *name, const char *subject);
/** An operation of the pool, not opened yet; free with t_op_free(). */
struct op *rig_pool_op(struct t_domain *d, const struct rig_pool *p, enum event_type type);

/** @param version  NULL = the latest  @param ret  may be NULL */
kms_status rig_publish(struct t_domain *d, const struct rig_pool *p, const char *key, const uint8_t *version, const char *id,
                       struct store_external *ret, struct kms_err *ret_err);
kms_status rig_retire(struct t_domain *d, const struct rig_pool *p, const char *id, struct kms_err *ret_err);
/** Opened, authorised, performed and written; *ret_err is set anew, *ret_out is empty unless KMS_OK. @param len  0 = no value */
kms_status rig_ekm_use(struct t_domain *d, const struct rig_pool *p, const char *id, enum key_op use, enum key_alg alg, const uint8_t *value,
                       size_t len, struct crypto_output *ret_out, struct kms_err *ret_err);
kms_status rig_ekm_metadata(struct t_domain *d, const struct rig_pool *p, const char *id, struct ekm_metadata *ret, struct kms_err *ret_err);

#endif
