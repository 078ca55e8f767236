/* hsm/pkcs11/provider.h - the provider's inside, shared by its files and read by its tests. */
#ifndef HOLDFAST_HSM_PKCS11_PROVIDER_H
#define HOLDFAST_HSM_PKCS11_PROVIDER_H

#include <pthread.h>

#include "hsm/pkcs11/cache.h"
#include "hsm/pkcs11/pool.h"
#include "hsm/pkcs11/template.h"
#include "hsm/pkcs11/token.h"

/*
 * Lock order: check_lock, world, then a pool session, then one of {objects, home_lock}, then state_lock. The cache and the pool lock inside
 * themselves and call nothing under their locks.
 */
struct p11_hsm {
	struct hsm base;
	struct p11_config cfg; /* strings owned */
	struct p11_token token;
	struct p11_pool *pool;
	struct p11_cache *cache;
	/* Read: held by each verb while it uses the device. Write: the stop-the-world re-initialisation. Guards token, epoch. */
	pthread_rwlock_t world;
	uint64_t epoch;
	/* Token objects: create, find and destroy, one at a time (row 1d). Held across calls to the device: that is its purpose. */
	pthread_mutex_t objects;
	/* The home session (token.home), used by one thread at a time: loads and destroys loaded versions. Held across calls likewise. */
	pthread_mutex_t home_lock;
	pthread_mutex_t check_lock; /* one hsm_check() at a time; guards probed_ms */
	int64_t probed_ms;          /* the last good probe, monotonic */
	_Atomic int64_t answered_ms; /* when hsm_check() last came back, monotonic */
	atomic_bool is_available;
	pthread_mutex_t state_lock; /* guards what hsm_info() reads: info, log_key_id */
	struct hsm_info info;
	uint8_t log_key_id[HSM_ID_LEN];
};

static inline struct p11_hsm *p11_of(struct hsm *h) { return (struct p11_hsm *)h; }

/* Enter a verb: refuses at once when the device is lost, else holds off re-initialisation until the scope ends.
 *	P11_ENTER(p, err);                                                                                                    */
KMS_MUST_CHECK kms_status p11_enter(struct p11_hsm *p, struct kms_err *err);
void p11_leave(struct p11_hsm **p);
#define P11_ENTER(p, err)             \
	KMS_TRY(p11_enter((p), err)); \
	__attribute__((cleanup(p11_leave), unused)) struct p11_hsm *p11_entered_ = (p)

/* Locks with a scope. */
static inline void p11_unlock(pthread_mutex_t **lock) { (void)pthread_mutex_unlock(*lock); }
#define P11_LOCK_AUTO(lock)               \
	(void)pthread_mutex_lock(lock);   \
	__attribute__((cleanup(p11_unlock), unused)) pthread_mutex_t *p11_locked_ = (lock)

/* objects.c - token objects. All of them take the objects lock themselves unless the name ends in _locked. */
struct p11_found {
	CK_OBJECT_HANDLE handle;
	EVP_PKEY *verifier; /* owned by the caller; NULL for keys that do not sign */
};
/** Find a resident key by id + label + class, check its attributes. Absence is believed only if the log key is found: else KMS_E_DEVICE. */
KMS_MUST_CHECK kms_status p11_resident_find(struct p11_hsm *p, const struct hsm_key *key, struct p11_found *ret, struct kms_err *err);
/** Is the token there? By finding the log key, or by C_GetTokenInfo while there is no log key. @return KMS_OK | KMS_E_DEVICE */
KMS_MUST_CHECK kms_status p11_witness_locked(struct p11_hsm *p, struct p11_session *session, CK_OBJECT_HANDLE *ret_log_key,
                                             struct kms_err *err);
/** Read the public half from an object that holds it: a public key, or an RSA private key. */
KMS_MUST_CHECK kms_status p11_public_read(struct p11_hsm *p, struct p11_session *session, CK_OBJECT_HANDLE object, enum hsm_kind kind,
                                          struct hsm_public *ret_public, struct kms_err *err);
kms_status p11_key_generate(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err);
kms_status p11_key_public(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err);
kms_status p11_key_destroy(struct hsm *h, const uint8_t id[HSM_ID_LEN], struct kms_err *err);
kms_status p11_keys_list(struct hsm *h, hsm_object_fn each, void *arg, struct kms_err *err);

/* lease.c - keys made ready for use. */
struct p11_lease {
	struct p11_hsm *p;
	struct p11_entry *entry;
};
KMS_MUST_CHECK kms_status p11_lease_take(struct p11_hsm *p, const struct hsm_key *key, struct p11_lease *ret_lease, struct kms_err *err);
void p11_lease_release(struct p11_lease *lease);
#define P11_LEASE_AUTO __attribute__((cleanup(p11_lease_release))) struct p11_lease
/** A call with the leased key failed: a void handle is never handed out again. */
void p11_lease_failed(struct p11_lease *lease, CK_RV rv);
/** For the cache: destroy a loaded version. `arg` is the struct p11_hsm. */
bool p11_loaded_destroy(void *arg, unsigned long handle);

/* crypto.c - use of keys; the inner forms work on a handle and serve the probe of features too. */
KMS_MUST_CHECK kms_status p11_use_sign(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE mechanism,
                                       const uint8_t *input, size_t input_len, uint8_t *ret_out, size_t out_len, CK_RV *ret_rv,
                                       struct kms_err *err);
/** One private RSA operation on one block; ret_block has n_len bytes. KMS_E_CRYPTO when the device refuses the block. */
KMS_MUST_CHECK kms_status p11_use_rsa_raw(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, const uint8_t *cipher,
                                          size_t n_len, struct secret *ret_block, CK_RV *ret_rv, struct kms_err *err);
KMS_MUST_CHECK kms_status p11_use_wrap(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, enum hsm_aes_alg alg,
                                       const struct secret *plain, uint8_t *ret_wrapped, size_t cap, size_t *ret_len, CK_RV *ret_rv,
                                       struct kms_err *err);
KMS_MUST_CHECK kms_status p11_use_unwrap(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, enum hsm_aes_alg alg,
                                         const uint8_t *wrapped, size_t wrapped_len, struct secret **ret_plain, CK_RV *ret_rv,
                                         struct kms_err *err);
kms_status p11_sign(struct hsm *h, const struct hsm_key *key, const uint8_t *input, size_t input_len,
                    uint8_t ret_signature[HSM_SIGNATURE_MAX], struct kms_err *err);
kms_status p11_hmac(struct hsm *h, const struct hsm_key *key, const uint8_t *input, size_t input_len, uint8_t ret_mac[32],
                    struct kms_err *err);
kms_status p11_rsa_decrypt(struct hsm *h, const struct hsm_key *key, enum hsm_rsa_alg alg, const uint8_t *n, size_t n_len,
                           const uint8_t *cipher, size_t cipher_len, struct secret **ret_plain, struct kms_err *err);
kms_status p11_aes_wrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const struct secret *plain, uint8_t *ret_wrapped,
                        size_t cap, size_t *ret_len, struct kms_err *err);
kms_status p11_aes_unwrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const uint8_t *wrapped, size_t wrapped_len,
                          struct secret **ret_plain, struct kms_err *err);

/* wrapped.c - making wrapped versions. */
/** Pair, wrap under a root's handle, load back, compare: all in one session, which owns every object made. */
KMS_MUST_CHECK kms_status p11_wrapped_make(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, CK_OBJECT_HANDLE root,
                                           struct hsm_public *ret_public, uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len,
                                           struct kms_err *err);
kms_status p11_key_generate_wrapped(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, uint8_t ret_blob[HSM_BLOB_MAX],
                                    size_t *ret_blob_len, struct kms_err *err);
/** Destroy a session object that this session made; when the device refuses, the session's end will do it. */
void p11_discard(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object);

/* look.c */
kms_status p11_keys_gone(struct hsm *h, const uint8_t (*ids)[HSM_ID_LEN], size_t count, const uint8_t witness_id[HSM_ID_LEN],
                         bool *ret_gone, struct kms_err *err);

/* probe.c */
/** What the device can do, found by doing it with session objects. @return KMS_OK | KMS_E_DEVICE, KMS_E_NOMEM, KMS_E_BUSY (not known) */
KMS_MUST_CHECK kms_status p11_probe_features(struct p11_hsm *p, uint32_t *ret_features, struct kms_err *err);
/** Find the log key anew and use it. @return KMS_OK | KMS_E_DEVICE, KMS_E_NOMEM */
KMS_MUST_CHECK kms_status p11_probe_alive(struct p11_hsm *p, struct kms_err *err);

/* sync.c */
/** Put what changed in a file-backed token since `since_s` (wall clock) on stable storage; dir NULL = nothing to do. */
KMS_MUST_CHECK kms_status p11_sync_dir(const char *dir, int64_t since_s, struct kms_err *err);

#endif
