/* api/ekm_roots.h - root certificates as administrators hand them in: PEM or base64 of DER, checked before a pool may rely on them. */
#ifndef HOLDFAST_API_EKM_ROOTS_H
#define HOLDFAST_API_EKM_ROOTS_H

#include "storage/store.h"

struct ekm_roots {
	struct store_root roots[STORE_ROOTS_MAX]; /* der: owned */
	size_t count;
};
void ekm_roots_clear(struct ekm_roots *r);
#define EKM_ROOTS_AUTO __attribute__((cleanup(ekm_roots_clear))) struct ekm_roots

/**
 * Add what a text holds: one certificate in base64 of DER, or one or more in PEM. One that is there already is not added again.
 * Each must be a self-signed CA certificate that has not expired, with RSA of at least 2048 bits or a curve of at least 256.
 * @param roots  zeroed at first; owned by the caller: ekm_roots_clear()
 * @return KMS_OK | KMS_E_INVALID (message names the certificate and the rule) | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status ekm_roots_add(struct ekm_roots *roots, const char *text, int64_t now_s, struct kms_err *err);

/* One root for people. */
#define EKM_ROOT_NAME_MAX 128
struct ekm_root_info {
	char subject[EKM_ROOT_NAME_MAX + 1];
	char sha256[65];
	int64_t expires_s;
};
/** False when it cannot be read. */
bool ekm_root_describe(const struct store_root *root, struct ekm_root_info *ret);

#endif
