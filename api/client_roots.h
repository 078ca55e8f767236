/* api/client_roots.h - root certificates as administrators hand them in: PEM or base64 of DER, checked before a pool or service may rely on them. */
#ifndef HOLDFAST_API_CLIENT_ROOTS_H
#define HOLDFAST_API_CLIENT_ROOTS_H

#include "storage/store.h"

struct client_roots {
	struct store_root roots[STORE_ROOTS_MAX]; /* der: owned */
	size_t count;
};
void client_roots_clear(struct client_roots *r);
#define CLIENT_ROOTS_AUTO __attribute__((cleanup(client_roots_clear))) struct client_roots

/**
 * Add what a text holds: one certificate in base64 of DER, or one or more in PEM. One that is there already is not added again.
 * Each must be a self-signed CA certificate that has not expired, with RSA of at least 2048 bits or a curve of at least 256.
 * @param roots  zeroed at first; owned by the caller: client_roots_clear()
 * @return KMS_OK | KMS_E_INVALID (message names the certificate and the rule) | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status client_roots_add(struct client_roots *roots, const char *text, int64_t now_s, struct kms_err *err);

/* One root for people. */
#define CLIENT_ROOT_NAME_MAX 128
struct client_root_info {
	char subject[CLIENT_ROOT_NAME_MAX + 1];
	char sha256[65];
	int64_t expires_s;
};
/** False when it cannot be read. */
bool client_root_describe(const struct store_root *root, struct client_root_info *ret);

#endif
