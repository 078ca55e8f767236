/* server/base/secret.h - the only home of key material, PINs, client secrets and tokens: secure heap, erased on release. */
#ifndef HOLDFAST_BASE_SECRET_H
#define HOLDFAST_BASE_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

struct secret;

/**
 * Set up the locked, non-dumpable heap. Call once, before threads. `bytes` is a power of two.
 * @return KMS_OK | KMS_E_NOMEM (the heap could not be made, or could not be locked in memory)
 */
KMS_MUST_CHECK kms_status secret_heap_init(size_t bytes, struct kms_err *err);

/** A zeroed secret of `len` bytes (1..1 MiB), or NULL when the heap is exhausted. Owned by the caller. Thread-safe. */
struct secret *secret_new(size_t len);
/** A secret holding a copy of `bytes`; NULL when the heap is exhausted. */
struct secret *secret_from(const void *bytes, size_t len);
/** Erase and release. Accepts NULL. */
void secret_free(struct secret *s);

uint8_t *secret_bytes(struct secret *s);
const uint8_t *secret_data(const struct secret *s);
size_t secret_len(const struct secret *s);
/** Erase what lies beyond `len` and report `len` from now on (len <= the present length). */
void secret_shrink(struct secret *s, size_t len);

/** Overwrite what calls that have returned may have left on this thread's stack, below the caller's frame. */
void secret_stack_erase(void);

/** Secrets alive in this process; tests check that it returns to zero. */
size_t secret_live(void);

static inline void secret_free_at(struct secret **s) { secret_free(*s); }
#define SECRET_AUTO __attribute__((cleanup(secret_free_at))) struct secret

/* Erase a stack array when its scope ends: ERASE_AUTO(uint8_t, digest, 32); */
struct erase_span {
	void *p;
	size_t len;
};
void erase_span_run(struct erase_span *span);
#define ERASE_AUTO(type, name, count) \
	type name[count] = { 0 };     \
	__attribute__((cleanup(erase_span_run), unused)) struct erase_span name##_erase_ = { name, sizeof(name) }

#endif
