/*
 * hsm/pkcs11/cache.h - what the device has ready for use: handles of resident keys, and wrapped versions that were loaded as session
 * objects. Reference-counted; loaded versions are bounded, least recently used first out. Knows nothing of PKCS#11 but the handle.
 *
 * An entry that is evicted while in use is "doomed": no new user finds it, the last one that has it destroys it, and cache_evict() waits for
 * that (hazards.md row 1a: an operation that has begun survives the destruction of its key). Thread-safe.
 */
#ifndef HOLDFAST_HSM_PKCS11_CACHE_H
#define HOLDFAST_HSM_PKCS11_CACHE_H

#include <openssl/evp.h>

#include "hsm/hsm.h"

struct p11_cache;

/* A key ready for use. Fields are constant while one holds a reference. */
struct p11_entry {
	uint8_t id[HSM_ID_LEN];
	uint8_t root_id[HSM_ID_LEN]; /* zero for resident keys */
	enum hsm_purpose purpose;
	enum hsm_kind kind;
	uint16_t bits;
	bool is_loaded;     /* a session object of ours, to be destroyed; else a resident key's handle */
	uint32_t usage;     /* that a loaded version was given */
	uint64_t epoch;     /* of the token when the handle was made */
	unsigned long handle;
	EVP_PKEY *verifier; /* public half of a signing key, or NULL; owned by the entry */

	/* The cache's own; guarded by its lock. */
	struct p11_entry *next;          /* in the bucket */
	struct p11_entry *newer, *older; /* loaded: order of use; doomed: the list of the doomed */
	unsigned refs;
	enum { P11_ENTRY_LOADING, P11_ENTRY_READY, P11_ENTRY_FAILED } state;
	bool is_doomed, is_being_destroyed;
	kms_status failure;              /* of a load, for those who waited for it */
	enum kms_src failure_source;
	unsigned long failure_native;
};

/* Destroy a session object; false = the device refused, try again later. Called without the cache's lock. */
typedef bool (*p11_destroy_fn)(void *arg, unsigned long handle);

KMS_MUST_CHECK kms_status p11_cache_new(size_t capacity, p11_destroy_fn destroy, void *arg, struct p11_cache **ret_cache,
                                        struct kms_err *err);
/** Free all; objects are not destroyed one by one (the session that owns them ends). Nothing is in use. Accepts NULL. */
void p11_cache_free(struct p11_cache *cache);
/** The device was re-initialised: all handles are void. Nothing is in use. */
void p11_cache_forget_all(struct p11_cache *cache);

/**
 * Take a reference to a key. One caller at a time gets *ret_must_load = true and has to end with p11_cache_loaded() or
 * p11_cache_load_failed(); the others wait for it, and get its failure if it fails. An entry with another usage, root or epoch is evicted.
 * @return KMS_OK | KMS_E_BUSY (another thread's load did not end within wait_ms) | KMS_E_NOMEM | the failure of another thread's load
 */
KMS_MUST_CHECK kms_status p11_cache_take(struct p11_cache *cache, const struct hsm_key *key, uint64_t epoch, unsigned wait_ms,
                                         struct p11_entry **ret_entry, bool *ret_must_load, struct kms_err *err);
/** The load succeeded. `verifier` is taken over. May evict the least recently used. */
void p11_cache_loaded(struct p11_cache *cache, struct p11_entry *entry, unsigned long handle, EVP_PKEY *verifier);
/** The load failed: the reference is given back. */
void p11_cache_load_failed(struct p11_cache *cache, struct p11_entry *entry, kms_status status, const struct kms_err *why);
/** Give a reference back. */
void p11_cache_release(struct p11_cache *cache, struct p11_entry *entry);
/** No new user shall find this entry (its handle turned out to be void). */
void p11_cache_doom(struct p11_cache *cache, struct p11_entry *entry);

/**
 * Doom the key with this id and every wrapped one under this root, then wait until none of them is in use.
 * @param drain_ms  0 = only see to it that nobody finds them any more: no waiting, no call to the device; p11_cache_bury() does the rest
 * @return KMS_OK | KMS_E_BUSY (in use still) | KMS_E_DEVICE (the device would not destroy a loaded version; the next call tries again)
 */
KMS_MUST_CHECK kms_status p11_cache_evict(struct p11_cache *cache, const uint8_t id[HSM_ID_LEN], unsigned drain_ms, struct kms_err *err);
/** Destroy what is doomed and not in use; calls the device. */
void p11_cache_bury(struct p11_cache *cache);
/** Loaded versions that can be used now. */
size_t p11_cache_loaded_count(struct p11_cache *cache);

#endif
