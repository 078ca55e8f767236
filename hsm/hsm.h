/*
 * hsm/hsm.h - port to the key device: domain verbs over an ops table. Everything PKCS#11 stays behind it (hsm/pkcs11/).
 * A provider is thread-safe; each verb is synchronous and may block on the device, never longer than the session pool's wait plus the
 * device's own time. Keys are named by `struct hsm_key` (ids and wrapped blobs, nothing secret); no handle ever leaves the provider.
 */
#ifndef HOLDFAST_HSM_HSM_H
#define HOLDFAST_HSM_HSM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/base/secret.h"

#define HSM_ID_LEN 16        /* CKA_ID: random, never reused */
#define HSM_RSA_MAX 512      /* bytes of a 4096-bit modulus */
#define HSM_BLOB_MAX 4096    /* a wrapped version: AES-KWP(root, PKCS#8) */
#define HSM_SIGNATURE_MAX 64 /* P-256 r || s, or Ed25519 */
#define HSM_WRAP_MAX 4096    /* largest caller value that the AES wrap verbs take, bytes */

enum hsm_kind { HSM_KIND_RSA = 1, HSM_KIND_AES, HSM_KIND_HMAC, HSM_KIND_P256, HSM_KIND_ED25519 };

/* What an object is for. Fixes its template (one table, spec/hazards.md row 1k) and its label; each has one purpose. */
enum hsm_purpose {
	HSM_FOR_LOG = 1,     /* Ed25519, else P-256: signs checkpoints */
	HSM_FOR_TOKENS,      /* P-256: signs access tokens */
	HSM_FOR_ATTESTATION, /* P-256: signs certificates */
	HSM_FOR_ROOT,        /* AES-256: wraps and unwraps versions of one vault, nothing else */
	HSM_FOR_PSEUDONYMS,  /* HMAC, 32 bytes: pseudonyms of one vault or of the installation */
	HSM_FOR_CALLER,      /* a version that callers use: RSA or AES */
};

/* Operations that a caller's version may be used for inside the device; derived from key_ops. */
enum hsm_usage { HSM_USE_DECRYPT = 1 << 0, HSM_USE_SIGN = 1 << 1, HSM_USE_WRAP = 1 << 2 };

/* Names one key to the provider. Borrowed for the call. */
struct hsm_key {
	uint8_t id[HSM_ID_LEN];
	enum hsm_purpose purpose;
	enum hsm_kind kind;
	uint16_t bits;          /* RSA 2048/3072/4096; AES 128/192/256; otherwise 0 */
	uint32_t usage;         /* enum hsm_usage bits, for HSM_FOR_CALLER */
	const uint8_t *wrapped; /* NULL: resident, a token object; else the blob, unwrapped under root_id on use and cached */
	size_t wrapped_len;
	uint8_t root_id[HSM_ID_LEN]; /* when wrapped */
};

/* The public half, as the device reports it. */
struct hsm_public {
	uint8_t n[HSM_RSA_MAX]; /* RSA modulus, big-endian, no leading zero */
	size_t n_len;
	uint8_t e[8];
	size_t e_len;
	uint8_t point[65]; /* P-256: 0x04 || x || y (65); Ed25519: 32 bytes */
	size_t point_len;
};

/* The order of the values is the order of the names in `holdfast hsm info`. */
enum hsm_rsa_alg { HSM_RSA_OAEP_SHA1, HSM_RSA_OAEP_SHA256, HSM_RSA_PKCS1_V15 };
enum hsm_aes_alg { HSM_AES_KW /* RFC 3394 */, HSM_AES_KWP /* RFC 5649 */ };

enum hsm_feature {
	HSM_CAN_ED25519 = 1 << 0,
	HSM_CAN_P256 = 1 << 1,
	HSM_CAN_RSA = 1 << 2, /* generate, wrap under a root, load, raw decrypt */
	HSM_CAN_AES_KW = 1 << 3,
	HSM_CAN_AES_KWP = 1 << 4, /* unwrap in the device, wrap from AES-ECB blocks */
	HSM_CAN_HMAC = 1 << 5,
};

struct hsm_info {
	char manufacturer[33], model[17], serial[17], label[33], library[33], firmware[16];
	uint32_t features;    /* enum hsm_feature, found by use at start, not by the device's list */
	uint64_t epoch;       /* raised by each re-initialisation */
	size_t cached_keys;   /* wrapped versions loaded now */
	size_t sessions_open; /* of the pool */
	int64_t silent_ms;    /* since hsm_check() last came back, whatever it found: large = a call hangs in the device */
	bool is_available;
};

struct hsm;

/* Called once for each object found; return false to stop. */
typedef bool (*hsm_object_fn)(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours);

struct hsm_ops {
	const char *name; /* "pkcs11", "fake" */
	void (*close)(struct hsm *h);
	kms_status (*check)(struct hsm *h, struct kms_err *err);
	void (*info)(struct hsm *h, struct hsm_info *ret_info);
	kms_status (*random)(struct hsm *h, struct secret *fill, struct kms_err *err);
	kms_status (*key_generate)(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err);
	kms_status (*key_generate_wrapped)(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public,
	                                   uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len, struct kms_err *err);
	kms_status (*key_public)(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err);
	kms_status (*key_destroy)(struct hsm *h, const uint8_t id[HSM_ID_LEN], struct kms_err *err);
	kms_status (*key_evict)(struct hsm *h, const uint8_t id[HSM_ID_LEN], unsigned drain_ms, struct kms_err *err);
	kms_status (*keys_gone)(struct hsm *h, const uint8_t (*ids)[HSM_ID_LEN], size_t count, const uint8_t witness_id[HSM_ID_LEN],
	                        bool *ret_gone, struct kms_err *err);
	kms_status (*keys_list)(struct hsm *h, hsm_object_fn each, void *arg, struct kms_err *err);
	kms_status (*sign)(struct hsm *h, const struct hsm_key *key, const uint8_t *input, size_t input_len,
	                   uint8_t ret_signature[HSM_SIGNATURE_MAX], struct kms_err *err);
	kms_status (*hmac)(struct hsm *h, const struct hsm_key *key, const uint8_t *input, size_t input_len, uint8_t ret_mac[32],
	                   struct kms_err *err);
	kms_status (*rsa_decrypt)(struct hsm *h, const struct hsm_key *key, enum hsm_rsa_alg alg, const uint8_t *n, size_t n_len,
	                          const uint8_t *cipher, size_t cipher_len, struct secret **ret_plain, struct kms_err *err);
	kms_status (*aes_wrap)(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const struct secret *plain,
	                       uint8_t *ret_wrapped, size_t cap, size_t *ret_len, struct kms_err *err);
	kms_status (*aes_unwrap)(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const uint8_t *wrapped,
	                         size_t wrapped_len, struct secret **ret_plain, struct kms_err *err);
};

struct hsm {
	const struct hsm_ops *ops;
};

/*
 * Statuses common to all verbs: KMS_E_DEVICE (device lost or failing, native = CKR_*), KMS_E_BUSY (no session in time), KMS_E_NOMEM,
 * KMS_E_UNSUPPORTED (the device cannot do this). KMS_E_NOTFOUND is answered only while the device is known to be there; an object that
 * seems to be missing on a lost device is KMS_E_DEVICE.
 */

/** Finalise and free. No other call may be under way. Accepts NULL. */
void hsm_close(struct hsm *h);
/** Probe by use (token present, log key found and usable); when lost, try to bring the device back (stop-the-world re-initialise).
 *  Meant for one monitor thread. @return KMS_OK (available now) | KMS_E_DEVICE */
KMS_MUST_CHECK kms_status hsm_check(struct hsm *h, struct kms_err *err);
/** What is known without touching the device. Never blocks on it. */
void hsm_info(struct hsm *h, struct hsm_info *ret_info);
/** Fill `fill` from the device's generator. */
KMS_MUST_CHECK kms_status hsm_random(struct hsm *h, struct secret *fill, struct kms_err *err);
/** Make a resident (token) object or pair under key->id; key->wrapped must be NULL. ret_public may be NULL. On return the object is on
 *  stable storage (a file-backed token's directory is synced). Slow for RSA. KMS_E_CONFLICT when the id exists. */
KMS_MUST_CHECK kms_status hsm_key_generate(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err);
/** Make an RSA pair as a session object, wrap its private half under key->root_id (AES-KWP over PKCS#8), destroy it. */
KMS_MUST_CHECK kms_status hsm_key_generate_wrapped(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public,
                                                   uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len, struct kms_err *err);
/** Public half of a resident pair. KMS_E_NOTFOUND when there is none. */
KMS_MUST_CHECK kms_status hsm_key_public(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err);
/** Destroy every token object with this id. Absence is success, but believed only if the log key is found by the same kind of search. */
KMS_MUST_CHECK kms_status hsm_key_destroy(struct hsm *h, const uint8_t id[HSM_ID_LEN], struct kms_err *err);
/** Forget cached handles and loaded material of the key with this id, and of every wrapped key whose root it is; then wait until no
 *  operation that began before uses them. drain_ms 0 = do not wait, neither for them nor for the device:
 *  nobody finds the key loaded any more, and the next hsm_check() destroys what was. Then it never blocks.
 *  @return KMS_OK | KMS_E_BUSY (still in use when drain_ms ended) */
KMS_MUST_CHECK kms_status hsm_key_evict(struct hsm *h, const uint8_t id[HSM_ID_LEN], unsigned drain_ms, struct kms_err *err);
/** A fresh look from a helper process with its own login: are all of `ids` absent? Counts only when `witness_id` is found by the same
 *  search, otherwise KMS_E_DEVICE. */
KMS_MUST_CHECK kms_status hsm_keys_gone(struct hsm *h, const uint8_t (*ids)[HSM_ID_LEN], size_t count,
                                        const uint8_t witness_id[HSM_ID_LEN], bool *ret_gone, struct kms_err *err);
/** Enumerate the private and secret token objects once (linear; for start-up). Objects whose label is not ours come with is_ours=false. */
KMS_MUST_CHECK kms_status hsm_keys_list(struct hsm *h, hsm_object_fn each, void *arg, struct kms_err *err);
/** P-256: `input` is a 32-byte digest, signature r || s (64). Ed25519: `input` is the message, signature 64. Each signature is verified in
 *  software before it is returned (fault attacks). */
KMS_MUST_CHECK kms_status hsm_sign(struct hsm *h, const struct hsm_key *key, const uint8_t *input, size_t input_len,
                                   uint8_t ret_signature[HSM_SIGNATURE_MAX], struct kms_err *err);
/** HMAC-SHA-256 under an HMAC key. */
KMS_MUST_CHECK kms_status hsm_hmac(struct hsm *h, const struct hsm_key *key, const uint8_t *input, size_t input_len, uint8_t ret_mac[32],
                                   struct kms_err *err);
/** RSA decryption: c < n and length checked on the host, the private operation in the device, unpadding in constant time.
 *  @param n  the public modulus  @param cipher  exactly n_len bytes, else KMS_E_CRYPTO
 *  @return KMS_OK (ret_plain owned by the caller; never NULL: an empty plaintext is KMS_E_CRYPTO too) | KMS_E_CRYPTO: one and the same for every bad ciphertext */
KMS_MUST_CHECK kms_status hsm_rsa_decrypt(struct hsm *h, const struct hsm_key *key, enum hsm_rsa_alg alg, const uint8_t *n, size_t n_len,
                                          const uint8_t *cipher, size_t cipher_len, struct secret **ret_plain, struct kms_err *err);
/** Wrap a caller's bytes under an AES key. KW: 16..HSM_WRAP_MAX bytes, a multiple of 8; KWP: 1..HSM_WRAP_MAX. KMS_E_INVALID otherwise.
 *  @param cap  at least plain rounded up to 8, plus 8 */
KMS_MUST_CHECK kms_status hsm_aes_wrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const struct secret *plain,
                                       uint8_t *ret_wrapped, size_t cap, size_t *ret_len, struct kms_err *err);
/** The reverse; KMS_E_CRYPTO, one and the same, for every bad input. */
KMS_MUST_CHECK kms_status hsm_aes_unwrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const uint8_t *wrapped,
                                         size_t wrapped_len, struct secret **ret_plain, struct kms_err *err);

#endif
