/* server/base/secret.c - secrets on OpenSSL's secure heap (locked, guarded, excluded from core dumps). */
#include "server/base/secret.h"

#include <openssl/crypto.h>
#include <stdatomic.h>
#include <string.h>

#define SECRET_MAX ((size_t)1 << 20)
#define SECRET_MIN_BLOCK 32

struct secret {
	size_t len;
	size_t cap;
	uint8_t bytes[];
};

static atomic_size_t live;

kms_status secret_heap_init(size_t bytes, struct kms_err *err)
{
	/* 1 = made and locked; 2 = made, but locking or guarding failed, which is a broken promise (OPENSSL_secure_malloc(3)). */
	int made = CRYPTO_secure_malloc_init(bytes, SECRET_MIN_BLOCK);
	if (made != 1 || !CRYPTO_secure_malloc_initialized())
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, (unsigned long)made,
		                "secure heap of %zu bytes could not be made and locked (raise LimitMEMLOCK / ulimit -l)", bytes);
	return KMS_OK;
}

struct secret *secret_new(size_t len)
{
	struct secret *s = NULL;
	if (len == 0 || len > SECRET_MAX)
		return NULL;
	s = OPENSSL_secure_zalloc(sizeof(*s) + len);
	if (s == NULL)
		return NULL;
	s->len = s->cap = len;
	atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
	return s;
}

struct secret *secret_from(const void *bytes, size_t len)
{
	struct secret *s = secret_new(len);
	if (s != NULL)
		memcpy(s->bytes, bytes, len);
	return s;
}

void secret_free(struct secret *s)
{
	if (s == NULL)
		return;
	atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
	OPENSSL_secure_clear_free(s, sizeof(*s) + s->cap);
}

uint8_t *secret_bytes(struct secret *s) { return s->bytes; }
const uint8_t *secret_data(const struct secret *s) { return s->bytes; }
size_t secret_len(const struct secret *s) { return s->len; }

void secret_shrink(struct secret *s, size_t len)
{
	if (len >= s->len)
		return;
	OPENSSL_cleanse(s->bytes + len, s->len - len);
	s->len = len;
}

/* More than what runs on any thread of ours was ever seen to use: OpenSSL, SQLite and the key device's module included. */
#define STACK_ERASE ((size_t)256 * 1024)

__attribute__((noinline)) void secret_stack_erase(void)
{
	uint8_t below[STACK_ERASE];
	OPENSSL_cleanse(below, sizeof(below));
}

size_t secret_live(void) { return atomic_load(&live); }

void erase_span_run(struct erase_span *span) { OPENSSL_cleanse(span->p, span->len); }
