/* hsm/pkcs11/pool.c - see pool.h. */
#include "hsm/pkcs11/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "hsm/pkcs11/wait.h"

struct p11_pool {
	struct p11_token *token;
	unsigned wait_ms;
	pthread_mutex_t lock; /* guards all below; no C_* call is made under it */
	pthread_cond_t freed; /* a session became idle, or a place for one */
	size_t size;          /* idle + zombies + on loan, at most */
	size_t taken;         /* places in use: on loan, or being opened or closed */
	size_t idle_count, zombie_count;
	CK_SESSION_HANDLE *idle;    /* stack of `size` places: the most recently used first */
	CK_SESSION_HANDLE *zombies; /* the module refused to close them; tried again before a new one is opened */
};

kms_status p11_pool_new(struct p11_token *token, unsigned size, unsigned wait_ms, struct p11_pool **ret_pool, struct kms_err *err)
{
	struct p11_pool *pool = calloc(1, sizeof(*pool));

	if (pool != NULL) {
		pool->idle = calloc(size, sizeof(*pool->idle));
		pool->zombies = calloc(size, sizeof(*pool->zombies));
	}
	if (pool == NULL || pool->idle == NULL || pool->zombies == NULL) {
		if (pool != NULL) {
			free(pool->idle);
			free(pool->zombies);
		}
		free(pool);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "pool of %u sessions", size);
	}
	pool->token = token;
	pool->size = size;
	pool->wait_ms = wait_ms;
	(void)pthread_mutex_init(&pool->lock, NULL);
	wait_cond_init(&pool->freed);
	*ret_pool = pool;
	return KMS_OK;
}

static bool close_session(struct p11_pool *pool, CK_SESSION_HANDLE handle)
{
	CK_RV rv = P11_CALL(&pool->token->gate, C_CloseSession, handle);

	return rv == CKR_OK || rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_SESSION_CLOSED || rv == CKR_CRYPTOKI_NOT_INITIALIZED;
}

void p11_pool_free(struct p11_pool *pool)
{
	if (pool == NULL)
		return;
	/* Best effort: C_Finalize follows and ends whatever is left. */
	for (size_t i = 0; i < pool->idle_count; i++)
		(void)close_session(pool, pool->idle[i]);
	for (size_t i = 0; i < pool->zombie_count; i++)
		(void)close_session(pool, pool->zombies[i]);
	(void)pthread_cond_destroy(&pool->freed);
	(void)pthread_mutex_destroy(&pool->lock);
	free(pool->idle);
	free(pool->zombies);
	free(pool);
}

void p11_pool_forget(struct p11_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	pool->idle_count = 0;
	pool->zombie_count = 0;
	(void)pthread_cond_broadcast(&pool->freed);
	(void)pthread_mutex_unlock(&pool->lock);
}

/* Give back a place, with an idle session in it or not. */
static void give_back(struct p11_pool *pool, CK_SESSION_HANDLE idle, CK_SESSION_HANDLE zombie)
{
	(void)pthread_mutex_lock(&pool->lock);
	pool->taken--;
	if (idle != CK_INVALID_HANDLE)
		pool->idle[pool->idle_count++] = idle;
	if (zombie != CK_INVALID_HANDLE)
		pool->zombies[pool->zombie_count++] = zombie;
	(void)pthread_cond_signal(&pool->freed);
	(void)pthread_mutex_unlock(&pool->lock);
}

kms_status p11_pool_take(struct p11_pool *pool, struct p11_session *ret_session, struct kms_err *err)
{
	const struct timespec deadline = wait_deadline(pool->wait_ms);
	CK_SESSION_HANDLE handle = CK_INVALID_HANDLE, zombie = CK_INVALID_HANDLE;
	CK_RV rv;

	(void)pthread_mutex_lock(&pool->lock);
	while (pool->idle_count == 0 && pool->taken == pool->size) {
		if (pthread_cond_timedwait(&pool->freed, &pool->lock, &deadline) != ETIMEDOUT)
			continue;
		if (pool->idle_count != 0 || pool->taken != pool->size)
			break;
		(void)pthread_mutex_unlock(&pool->lock);
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_SELF, 0, "no session free within %u ms", pool->wait_ms);
	}
	pool->taken++;
	if (pool->idle_count > 0)
		handle = pool->idle[--pool->idle_count];
	else if (pool->zombie_count > 0)
		zombie = pool->zombies[--pool->zombie_count];
	(void)pthread_mutex_unlock(&pool->lock);

	if (zombie != CK_INVALID_HANDLE && !close_session(pool, zombie)) {
		give_back(pool, CK_INVALID_HANDLE, zombie);
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a broken session cannot be closed");
	}
	if (handle == CK_INVALID_HANDLE) {
		rv = P11_CALL(&pool->token->gate, C_OpenSession, pool->token->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &handle);
		if (rv != CKR_OK) {
			give_back(pool, CK_INVALID_HANDLE, CK_INVALID_HANDLE);
			return p11_fail(err, rv, "C_OpenSession");
		}
	}
	*ret_session = (struct p11_session){ .pool = pool, .handle = handle };
	return KMS_OK;
}

void p11_session_release(struct p11_session *session)
{
	struct p11_pool *pool = session->pool;

	if (pool == NULL)
		return;
	session->pool = NULL;
	if (!session->is_broken)
		give_back(pool, session->handle, CK_INVALID_HANDLE);
	else if (close_session(pool, session->handle))
		give_back(pool, CK_INVALID_HANDLE, CK_INVALID_HANDLE);
	else
		give_back(pool, CK_INVALID_HANDLE, session->handle);
}

void p11_pool_usage(struct p11_pool *pool, size_t *ret_open, size_t *ret_busy, size_t *ret_max)
{
	(void)pthread_mutex_lock(&pool->lock);
	*ret_open = pool->taken + pool->idle_count + pool->zombie_count;
	*ret_busy = pool->taken;
	*ret_max = pool->size;
	(void)pthread_mutex_unlock(&pool->lock);
}
