/* hsm/pkcs11/provider.h - the provider's inside, shared by its files and read by its tests. */
#ifndef HOLDFAST_HSM_PKCS11_PROVIDER_H
#define HOLDFAST_HSM_PKCS11_PROVIDER_H

#include <pthread.h>

#include "hsm/pkcs11/cache.h"
#include "hsm/pkcs11/pool.h"
#include "hsm/pkcs11/sigcheck.h"
#include "hsm/pkcs11/template.h"
#include "hsm/pkcs11/token.h"

/*
 * Lock order: check_lock, world, then a pool session, then pins, then one of {objects, home_lock}, then state_lock. The cache and the pool lock inside
 * themselves and call nothing under their locks.
 */
#define P11_PIN_SLOTS 2

/* Where the last pin is, so that the next one of the same log needs no search of the token. */
struct p11_pin_handles {
	uint64_t epoch; /* of the handles; 0 = not known */
	uint8_t owner[HSM_ID_LEN];
	char origin[HSM_ORIGIN_MAX + 1];
	CK_OBJECT_HANDLE slots[P11_PIN_SLOTS]; /* all on stable storage */
	size_t count;
};

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
	pthread_mutex_t pins; /* one hsm_pin() at a time; guards the next two */
	struct p11_pin_handles pin_handles;
	bool pins_are_fixed;        /* the device refused to change one */
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
/** Makes the objects of a key in this session; called under the objects lock. */
typedef kms_status (*p11_make_fn)(struct p11_hsm *p, struct p11_session *session, const struct hsm_key *key, void *arg, struct kms_err *err);
/** Make token objects under a new id: a failure leaves nothing behind, success is on stable storage. @return as `make` | KMS_E_CONFLICT */
KMS_MUST_CHECK kms_status p11_resident_make(struct p11_hsm *p, const struct hsm_key *key, p11_make_fn make, void *arg, struct kms_err *err);
kms_status p11_key_generate(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err);
kms_status p11_key_public(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err);
kms_status p11_key_destroy(struct hsm *h, const uint8_t id[HSM_ID_LEN], struct kms_err *err);
kms_status p11_keys_list(struct hsm *h, hsm_object_fn each, void *arg, struct kms_err *err);

/* pin.c */
kms_status p11_pins(struct hsm *h, const uint8_t owner[HSM_ID_LEN], struct hsm_pin *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status p11_pin(struct hsm *h, const struct hsm_pin *pin, struct kms_err *err);

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

/* sign.c, cipher.c, crypto.c - use of keys; the inner forms work on a handle and serve the trials of new keys and of the device too. */
/** The one refusal of a caller's bytes: same status, same text, same place for all, so that nothing can be learned from it. */
kms_status p11_refuse_bytes(struct kms_err *err);
/** A call on a caller's bytes failed: is it the bytes, or the device? */
kms_status p11_fail_on_bytes(struct kms_err *err, CK_RV rv, const char *call);
KMS_MUST_CHECK kms_status p11_use_sign(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                                       enum hsm_sign_alg alg, const uint8_t *input, size_t input_len,
                                       uint8_t ret_signature[HSM_SIGNATURE_MAX], size_t *ret_len, CK_RV *ret_rv, struct kms_err *err);
/** See hsm_encrypt(); ret_cipher has room for what hsm.c demands. */
KMS_MUST_CHECK kms_status p11_use_encrypt(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, enum hsm_cipher cipher,
                                          uint8_t iv[HSM_IV_LEN], const uint8_t *aad, size_t aad_len, const uint8_t *plain, size_t plain_len,
                                          uint8_t *ret_cipher, size_t *ret_len, uint8_t ret_tag[HSM_GCM_TAG_LEN], CK_RV *ret_rv,
                                          struct kms_err *err);
KMS_MUST_CHECK kms_status p11_use_decrypt(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, enum hsm_cipher cipher,
                                          const uint8_t *iv, const uint8_t *aad, size_t aad_len, const uint8_t *input, size_t input_len,
                                          const uint8_t *tag, uint8_t *ret_plain, size_t *ret_len, CK_RV *ret_rv, struct kms_err *err);
/** One private RSA operation on one block; ret_block has n_len bytes. KMS_E_CRYPTO when the device refuses the block. */
KMS_MUST_CHECK kms_status p11_use_rsa_raw(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, const uint8_t *cipher,
                                          size_t n_len, struct secret *ret_block, CK_RV *ret_rv, struct kms_err *err);
KMS_MUST_CHECK kms_status p11_use_wrap(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, enum hsm_aes_alg alg,
                                       const struct secret *plain, uint8_t *ret_wrapped, size_t cap, size_t *ret_len, CK_RV *ret_rv,
                                       struct kms_err *err);
KMS_MUST_CHECK kms_status p11_use_unwrap(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE key, enum hsm_aes_alg alg,
                                         const uint8_t *wrapped, size_t wrapped_len, struct secret **ret_plain, CK_RV *ret_rv,
                                         struct kms_err *err);
kms_status p11_sign(struct hsm *h, const struct hsm_key *key, enum hsm_sign_alg alg, const uint8_t *input, size_t input_len,
                    uint8_t ret_signature[HSM_SIGNATURE_MAX], size_t *ret_len, struct kms_err *err);
kms_status p11_encrypt(struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, uint8_t iv[HSM_IV_LEN], const uint8_t *aad,
                       size_t aad_len, const uint8_t *plain, size_t plain_len, uint8_t *ret_cipher, size_t cap, size_t *ret_len,
                       uint8_t ret_tag[HSM_GCM_TAG_LEN], struct kms_err *err);
kms_status p11_decrypt(struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, const uint8_t *iv, const uint8_t *aad, size_t aad_len,
                       const uint8_t *input, size_t input_len, const uint8_t *tag, uint8_t *ret_plain, size_t cap, size_t *ret_len,
                       struct kms_err *err);
kms_status p11_rsa_decrypt(struct hsm *h, const struct hsm_key *key, enum hsm_rsa_alg alg, const uint8_t *n, size_t n_len,
                           const uint8_t *cipher, size_t cipher_len, struct secret **ret_plain, struct kms_err *err);
kms_status p11_aes_wrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const struct secret *plain, uint8_t *ret_wrapped,
                        size_t cap, size_t *ret_len, struct kms_err *err);
kms_status p11_aes_unwrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const uint8_t *wrapped, size_t wrapped_len,
                          struct secret **ret_plain, struct kms_err *err);
/** Destroy a session object that this session made; when the device refuses, the session's end will do it. */
void p11_discard(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object);

/* trial.c - every new key is tried before anybody gets to know of it. */
#define P11_PRINT_LEN 32
/* What a key has to live up to: the public half of a pair, or the print of a secret. */
struct p11_proof {
	struct hsm_public pub;
	uint8_t print[P11_PRINT_LEN];
};
/** What a loaded version of this kind has to be allowed for its trial. */
enum hsm_usage p11_trial_usage(enum hsm_kind kind);
/** One block under an AES key, one MAC under an HMAC key: equal for equal secrets. Compared, erased, never shown to anybody. */
KMS_MUST_CHECK kms_status p11_print_make(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                                         uint8_t ret_print[P11_PRINT_LEN], struct kms_err *err);
/** The same in software, of a secret that a caller handed over. False when OpenSSL fails. */
bool p11_print_of(const struct secret *secret, enum hsm_kind kind, uint8_t ret_print[P11_PRINT_LEN]);
/** Does the object do what the proof demands? The answer is *ret_good; a status other than KMS_OK is the device's. */
KMS_MUST_CHECK kms_status p11_trial(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                                    const struct p11_proof *proof, bool *ret_good, struct kms_err *err);
/** Sign a text of our own, hashed as the curve wants it. `nth` makes different texts. */
KMS_MUST_CHECK kms_status p11_trial_sign(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE object, const struct hsm_key *key,
                                         unsigned nth, struct sigcheck_signed *ret, uint8_t ret_digest[64], struct kms_err *err);

/* wrapped.c - making wrapped versions. */
/** Generate, wrap under a root's handle, load back, compare: all in one session, which owns every object made. ret_public: pairs. */
KMS_MUST_CHECK kms_status p11_wrapped_make(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, CK_OBJECT_HANDLE root,
                                           struct hsm_public *ret_public, uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len,
                                           struct kms_err *err);
/** Wrap a newborn, destroy it, load the blob back and try it. *ret_good as p11_trial(); the blob is written only if it is. */
KMS_MUST_CHECK kms_status p11_wrapped_finish(struct p11_hsm *p, struct p11_session *s, const struct hsm_key *key, CK_OBJECT_HANDLE root,
                                             CK_OBJECT_HANDLE newborn, const struct p11_proof *proof, uint8_t ret_blob[HSM_BLOB_MAX],
                                             size_t *ret_blob_len, bool *ret_good, struct kms_err *err);
kms_status p11_key_generate_wrapped(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, uint8_t ret_blob[HSM_BLOB_MAX],
                                    size_t *ret_blob_len, struct kms_err *err);

/* rewrap.c - wrapped versions under another root. */
kms_status p11_key_rewrap(struct hsm *h, const struct hsm_key *key, const uint8_t root_id[HSM_ID_LEN], uint8_t ret_blob[HSM_BLOB_MAX],
                          size_t *ret_blob_len, struct kms_err *err);

/* import.c, transfer.c, attributes.c */
kms_status p11_key_import(struct hsm *h, const struct hsm_key *key, const struct hsm_material *material, uint8_t *ret_blob,
                          size_t *ret_blob_len, struct kms_err *err);
kms_status p11_key_transfer(struct hsm *h, const struct hsm_key *exchange, const struct hsm_key *key, const uint8_t *transfer,
                            size_t transfer_len, struct hsm_public *ret_public, struct kms_err *err);
/** The first half of a transfer: the AES key of an RSA-OAEP ciphertext as a session object that unwraps and nothing else. */
KMS_MUST_CHECK kms_status p11_transport_open(struct p11_hsm *p, struct p11_session *s, CK_OBJECT_HANDLE exchange, const uint8_t *cipher,
                                             size_t cipher_len, CK_OBJECT_HANDLE *ret_transport, CK_RV *ret_rv, struct kms_err *err);
kms_status p11_key_attributes(struct hsm *h, const struct hsm_key *key, struct hsm_attributes *ret_attributes, struct kms_err *err);

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
