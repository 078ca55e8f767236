/*
 * hsm/pkcs11/pool.h - bounded pool of PKCS#11 sessions: take with a deadline, use on one thread, release. A session that may hold an
 * active operation is closed and never handed out again (hazards.md row 1e). Thread-safe.
 */
#ifndef HOLDFAST_HSM_PKCS11_POOL_H
#define HOLDFAST_HSM_PKCS11_POOL_H

#include "hsm/pkcs11/token.h"

struct p11_pool;

/* A session on loan. Zeroed = none. Use with P11_SESSION_AUTO. */
struct p11_session {
	struct p11_pool *pool;
	CK_SESSION_HANDLE handle;
	bool is_broken; /* set by the borrower after an error that follows a *Init, or when an object could not be destroyed */
};

/** @param token  borrowed, kept until the pool is freed. @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status p11_pool_new(struct p11_token *token, unsigned size, unsigned wait_ms, struct p11_pool **ret_pool,
                                       struct kms_err *err);
/** Close what is idle and free. No session is on loan. Accepts NULL. */
void p11_pool_free(struct p11_pool *pool);
/** The device was re-initialised: all handles are void. No session is on loan. */
void p11_pool_forget(struct p11_pool *pool);
/** @return KMS_OK | KMS_E_BUSY (none free within wait_ms) | KMS_E_DEVICE */
KMS_MUST_CHECK kms_status p11_pool_take(struct p11_pool *pool, struct p11_session *ret_session, struct kms_err *err);
void p11_session_release(struct p11_session *session);
/** Sessions open now, those of them that are on loan, and the most that there can be. */
void p11_pool_usage(struct p11_pool *pool, size_t *ret_open, size_t *ret_busy, size_t *ret_max);

#define P11_SESSION_AUTO __attribute__((cleanup(p11_session_release))) struct p11_session

#endif
