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
#include "server/base/histogram.h"
#include "server/base/secret.h"

#define HSM_ID_LEN 16        /* CKA_ID: random, never reused */
#define HSM_RSA_MAX 512      /* bytes of a 4096-bit modulus */
#define HSM_BLOB_MAX 4096    /* a wrapped version: AES-KWP(root, PKCS#8) */
#define HSM_POINT_MAX 133    /* 0x04 || x || y of P-521 */
#define HSM_SIGNATURE_MAX 512 /* RSA-4096; a curve's r || s is at most 132, Ed25519 64, a MAC 64 */
#define HSM_WRAP_MAX 4096    /* largest caller value that the AES wrap verbs take, bytes */
#define HSM_DATA_MAX (2 * 1024 * 1024) /* largest input of encrypt, decrypt and HMAC, bytes */
#define HSM_TRANSFER_MAX 8192 /* largest transfer blob: RSA ciphertext || wrapped PKCS#8 */
#define HSM_GCM_NONCE_LEN 12
#define HSM_GCM_TAG_LEN 16
#define HSM_IV_LEN 16 /* CBC; room for a GCM nonce */

enum hsm_kind {
	HSM_KIND_RSA = 1,
	HSM_KIND_AES,
	HSM_KIND_HMAC, /* generic secret */
	HSM_KIND_P256,
	HSM_KIND_ED25519,
	HSM_KIND_P384,
	HSM_KIND_P521,
	HSM_KIND_P256K, /* secp256k1 */
};

/* What an object is for. Fixes its template (one table, spec/hazards.md row 1k) and its label; each has one purpose. */
enum hsm_purpose {
	HSM_FOR_LOG = 1,     /* Ed25519, else P-256: signs checkpoints */
	HSM_FOR_TOKENS,      /* P-256: signs access tokens */
	HSM_FOR_ATTESTATION, /* P-256: signs certificates */
	HSM_FOR_ROOT,        /* AES-256: wraps and unwraps versions of one vault, nothing else */
	HSM_FOR_PSEUDONYMS,  /* HMAC, 32 bytes: pseudonyms of one vault or of the installation */
	HSM_FOR_CALLER,      /* a version that callers use: RSA, a curve, AES or HMAC */
	HSM_FOR_EXCHANGE,    /* RSA, resident: unwraps keys that are transferred in (BYOK), nothing else */
	HSM_FOR_BACKUP,      /* AES-256: seals the backups of one epoch, nothing else */
};

/* Operations that a caller's version may be used for inside the device; derived from key_ops. WRAP: AES key wrap, both directions. */
enum hsm_usage { HSM_USE_DECRYPT = 1 << 0, HSM_USE_SIGN = 1 << 1, HSM_USE_WRAP = 1 << 2, HSM_USE_ENCRYPT = 1 << 3 };

/* Names one key to the provider. Borrowed for the call. */
struct hsm_key {
	uint8_t id[HSM_ID_LEN];
	enum hsm_purpose purpose;
	enum hsm_kind kind;
	uint16_t bits;          /* RSA 2048/3072/4096; AES 128/192/256; a caller's HMAC 256/384/512; otherwise 0 */
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
	uint8_t point[HSM_POINT_MAX]; /* curves: 0x04 || x || y (65, 97, 133, 65); Ed25519: 32 bytes */
	size_t point_len;
};

/* A key that a caller hands over in clear, checked by core (server/core/material.h). All borrowed. */
struct hsm_material {
	const struct secret *secret; /* AES, HMAC: the key; curves: the scalar, as long as a coordinate; RSA: d */
	const struct secret *p, *q, *dp, *dq, *qi; /* RSA */
	struct hsm_public pub;                     /* RSA: n, e; curves: the point */
};

/* What the device says of a key (PKCS#11 2.40 sections 4.4 to 4.10), for attestation. */
struct hsm_attributes {
	bool is_token, is_private, is_sensitive, is_always_sensitive, is_extractable, is_never_extractable, is_local, is_modifiable, is_copyable;
	bool may_encrypt, may_decrypt, may_sign, may_wrap, may_unwrap, may_derive;
};

/* The order of the values is the order of the names in `holdfast hsm info`. */
enum hsm_rsa_alg { HSM_RSA_OAEP_SHA1, HSM_RSA_OAEP_SHA256, HSM_RSA_PKCS1_V15 };
enum hsm_aes_alg { HSM_AES_KW /* RFC 3394 */, HSM_AES_KWP /* RFC 5649 */ };
enum hsm_cipher { HSM_CIPHER_GCM /* 96-bit nonce, 128-bit tag */, HSM_CIPHER_CBC /* no padding */, HSM_CIPHER_CBC_PAD /* PKCS #7 */ };
enum hsm_sign_alg {
	HSM_SIGN_ECDSA,     /* input: a digest of 32, 48 or 64 bytes; r || s, each as long as a coordinate */
	HSM_SIGN_EDDSA,     /* input: the message */
	HSM_SIGN_RSA_PKCS1, /* input: what the padding takes: a DigestInfo, or any bytes (RSNULL), at most modulus - 11 */
	HSM_SIGN_PSS_SHA256, HSM_SIGN_PSS_SHA384, HSM_SIGN_PSS_SHA512, /* input: the digest; MGF1 with the same hash, salt as long as the digest */
	HSM_SIGN_HMAC_SHA256, HSM_SIGN_HMAC_SHA384, HSM_SIGN_HMAC_SHA512, /* input: the message */
};

enum hsm_feature {
	HSM_CAN_ED25519 = 1 << 0,
	HSM_CAN_P256 = 1 << 1,
	HSM_CAN_RSA = 1 << 2, /* generate, wrap under a root, load, raw decrypt */
	HSM_CAN_AES_KW = 1 << 3,
	HSM_CAN_AES_KWP = 1 << 4, /* unwrap in the device, wrap from AES-ECB blocks */
	HSM_CAN_HMAC = 1 << 5,    /* HMAC-SHA-256 with a resident key */
	HSM_CAN_RSA_PKCS1 = 1 << 6,
	HSM_CAN_RSA_PSS = 1 << 7,
	HSM_CAN_AES_GCM = 1 << 8,
	HSM_CAN_AES_CBC = 1 << 9, /* with and without padding */
	HSM_CAN_P384 = 1 << 10,
	HSM_CAN_P521 = 1 << 11,
	HSM_CAN_P256K = 1 << 12,
	HSM_CAN_WRAPPED_EC = 1 << 13,     /* a curve's private half round-trips under a root */
	HSM_CAN_WRAPPED_SECRET = 1 << 14, /* so does a secret, as AES key and as HMAC key; SHA-384 and SHA-512 included */
	HSM_CAN_TRANSFER = 1 << 15,       /* OAEP unwrap of an AES key, KWP unwrap under it */
};
#define HSM_FEATURE_COUNT 16
/** "RSA-PSS signatures", by bit number 0..HSM_FEATURE_COUNT-1; for people and `holdfast hsm info`. */
const char *hsm_feature_name(unsigned bit);

struct hsm_info {
	char manufacturer[33], model[17], serial[17], label[33], library[33], firmware[16];
	uint32_t features;    /* enum hsm_feature, found by use at start, not by the device's list */
	uint64_t epoch;       /* raised by each re-initialisation */
	size_t cached_keys;   /* wrapped versions loaded now */
	size_t sessions_open; /* of the pool */
	size_t sessions_busy, sessions_max; /* on loan now; at most */
	int64_t silent_ms;    /* since hsm_check() last came back, whatever it found: large = a call hangs in the device */
	bool is_available;
};

#define HSM_ORIGIN_MAX 200
#define HSM_PINS_MAX 16

/* What the device remembers of a log: the newest checkpoint that was signed (audit-log.md 5.5). */
struct hsm_pin {
	uint8_t owner[HSM_ID_LEN]; /* the installation: several may share a token */
	char origin[HSM_ORIGIN_MAX + 1];
	uint64_t size;
	uint8_t root[32];
};

struct hsm;

/* Called once for each object found; return false to stop. */
typedef bool (*hsm_object_fn)(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours);

struct hsm_ops {
	const char *name; /* "pkcs11", "fake" */
	void (*close)(struct hsm *h);
	kms_status (*check)(struct hsm *h, struct kms_err *err);
	void (*set_log_key)(struct hsm *h, const uint8_t id[HSM_ID_LEN]);
	void (*info)(struct hsm *h, struct hsm_info *ret_info);
	const struct histogram *(*call_times)(struct hsm *h, size_t i, const char **ret_call); /* NULL: it counts none */
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
	kms_status (*pins)(struct hsm *h, const uint8_t owner[HSM_ID_LEN], struct hsm_pin *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*pin)(struct hsm *h, const struct hsm_pin *pin, struct kms_err *err);
	kms_status (*key_import)(struct hsm *h, const struct hsm_key *key, const struct hsm_material *material, uint8_t *ret_blob,
	                         size_t *ret_blob_len, struct kms_err *err);
	kms_status (*key_transfer)(struct hsm *h, const struct hsm_key *exchange, const struct hsm_key *key, const uint8_t *transfer,
	                           size_t transfer_len, struct hsm_public *ret_public, struct kms_err *err);
	kms_status (*key_rewrap)(struct hsm *h, const struct hsm_key *key, const uint8_t root_id[HSM_ID_LEN], uint8_t ret_blob[HSM_BLOB_MAX],
	                         size_t *ret_blob_len, struct kms_err *err);
	kms_status (*key_attributes)(struct hsm *h, const struct hsm_key *key, struct hsm_attributes *ret_attributes, struct kms_err *err);
	kms_status (*sign)(struct hsm *h, const struct hsm_key *key, enum hsm_sign_alg alg, const uint8_t *input, size_t input_len,
	                   uint8_t ret_signature[HSM_SIGNATURE_MAX], size_t *ret_len, struct kms_err *err);
	kms_status (*encrypt)(struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, uint8_t iv[HSM_IV_LEN], const uint8_t *aad,
	                      size_t aad_len, const uint8_t *plain, size_t plain_len, uint8_t *ret_cipher, size_t cap, size_t *ret_len,
	                      uint8_t ret_tag[HSM_GCM_TAG_LEN], struct kms_err *err);
	kms_status (*decrypt)(struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, const uint8_t *iv, const uint8_t *aad,
	                      size_t aad_len, const uint8_t *input, size_t input_len, const uint8_t *tag, uint8_t *ret_plain, size_t cap,
	                      size_t *ret_len, struct kms_err *err);
	kms_status (*rsa_decrypt)(struct hsm *h, const struct hsm_key *key, enum hsm_rsa_alg alg, const uint8_t *n, size_t n_len,
	                          const uint8_t *cipher, size_t cipher_len, struct secret **ret_plain, struct kms_err *err);
	kms_status (*aes_wrap)(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const struct secret *plain,
	                       uint8_t *ret_wrapped, size_t cap, size_t *ret_len, struct kms_err *err);
	kms_status (*aes_unwrap)(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const uint8_t *wrapped,
	                         size_t wrapped_len, struct secret **ret_plain, struct kms_err *err);
};

struct hsm {
	const struct hsm_ops *ops;
	uint32_t features; /* enum hsm_feature; set by the provider before it hands the handle out. The verbs refuse what is missing. */
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
/** From now on this key proves the token alive (hsm_check(), and each search that must not be fooled by an absent token). Never blocks on the device. */
void hsm_set_log_key(struct hsm *h, const uint8_t id[HSM_ID_LEN]);
/** What is known without touching the device. Never blocks on it. */
void hsm_info(struct hsm *h, struct hsm_info *ret_info);
/** Times of the i-th kind of call to the device, failed ones too (HISTOGRAM_TIMES); lives as long as h. *ret_call is static. NULL = there is no i-th. */
const struct histogram *hsm_call_times(struct hsm *h, size_t i, const char **ret_call);
/** Fill `fill` from the device's generator. */
KMS_MUST_CHECK kms_status hsm_random(struct hsm *h, struct secret *fill, struct kms_err *err);
/** Make a resident (token) object or pair under key->id; key->wrapped must be NULL. ret_public may be NULL. On return the object is on
 *  stable storage (a file-backed token's directory is synced). Slow for RSA. KMS_E_CONFLICT when the id exists. */
KMS_MUST_CHECK kms_status hsm_key_generate(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err);
/** Make a pair (RSA, a curve) or a secret (AES, HMAC: `oct`) as a session object, wrap it under key->root_id (AES-KWP over PKCS#8, or over the
 *  secret's bytes), destroy it. The blob is handed out only after it was loaded back and did what the public half, or the original, demands. */
KMS_MUST_CHECK kms_status hsm_key_generate_wrapped(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public,
                                                   uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len, struct kms_err *err);
/**
 * Take a caller's key in: as a token object when ret_blob is NULL, else as a session object that is wrapped under key->root_id and destroyed.
 * The token object gets the template of a generated one. Tried by use against the public half (AES, HMAC: against software) before it
 * returns; what fails leaves nothing behind.
 * @param material  consistent: core has checked it  @param ret_blob  HSM_BLOB_MAX bytes of room, or NULL
 * @return KMS_OK | KMS_E_CONFLICT (the id exists) | KMS_E_INVALID (the device refuses the material, or it does not do what it should)
 */
KMS_MUST_CHECK kms_status hsm_key_import(struct hsm *h, const struct hsm_key *key, const struct hsm_material *material, uint8_t *ret_blob,
                                         size_t *ret_blob_len, struct kms_err *err);
/**
 * Take in a key that another HSM wrapped for `exchange` (CKM_RSA_AES_KEY_WRAP with SHA-1, keyvault-keys.md section 13): RSA-OAEP ciphertext of an
 * AES-256 key || AES-KWP of the PKCS#8 text or of the secret. Composed of two unwraps inside the device; becomes a token object with the template of a generated
 * one. Its size or curve is checked, its public half is read or, for a curve, computed from signatures (SEC 1 section 4.1.6), and it is tried by use;
 * what is wrong is destroyed. A device need not tell how long a secret is that it unwrapped, so an AES-128 or AES-192 transport key is taken too: it
 * protects this one key on its way, and its strength is the sender's affair.
 * The private parts are never seen outside the device. What is longer or shorter than the PKCS#8 text of an honest key of that size (with at most 64
 * bytes of attributes) is refused before it is used, so that no use takes seconds; within that length the parts of an RSA key may still disagree,
 * and a use then takes up to some thirty times as long as with an honest key. A secret of one byte repeated is refused.
 * @param exchange  HSM_FOR_EXCHANGE  @param key  resident, HSM_FOR_CALLER; for RSA, AES and HMAC `bits` 0 = as it comes; see ret_public
 * @param ret_public  RSA, curves: the public half; AES, HMAC: n_len = length of the secret in bytes, nothing else
 * @return KMS_OK | KMS_E_CRYPTO (one and the same for everything that does not unwrap) | KMS_E_INVALID (unwrapped, but not such a key, or
 *  one that the device cannot use) | KMS_E_CONFLICT (the id exists)
 */
KMS_MUST_CHECK kms_status hsm_key_transfer(struct hsm *h, const struct hsm_key *exchange, const struct hsm_key *key, const uint8_t *transfer,
                                           size_t transfer_len, struct hsm_public *ret_public, struct kms_err *err);
/**
 * Wrap a wrapped version under another root, inside the device: unwrapped as an extractable session object, wrapped, destroyed, all in one session (hazards.md row 1k).
 * The blob is handed out only after it was loaded back under the new root and is the same key: by signature or decryption against the public half of the old one (pairs), by a
 * block or a MAC (secrets). Slow for RSA.
 * @param key  wrapped, with its present root_id @param root_id  of the new root, another one
 * @return KMS_OK | KMS_E_NOTFOUND (a root) | KMS_E_INTERNAL (the blob does not unwrap)
 */
KMS_MUST_CHECK kms_status hsm_key_rewrap(struct hsm *h, const struct hsm_key *key, const uint8_t root_id[HSM_ID_LEN], uint8_t ret_blob[HSM_BLOB_MAX],
                                         size_t *ret_blob_len, struct kms_err *err);
/** What the device says of the private or secret object (a wrapped version is loaded for it). */
KMS_MUST_CHECK kms_status hsm_key_attributes(struct hsm *h, const struct hsm_key *key, struct hsm_attributes *ret_attributes,
                                             struct kms_err *err);
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
/** Every pin of this installation: one for each origin, the largest of its slots. More than cap, or one that cannot be read and is not just the
 *  slot beside a good one: KMS_E_DEVICE. */
KMS_MUST_CHECK kms_status hsm_pins(struct hsm *h, const uint8_t owner[HSM_ID_LEN], struct hsm_pin *ret, size_t cap, size_t *ret_count,
                                   struct kms_err *err);
/** Pin a log: overwrites the older of the two private data objects of this owner and origin, never the newest, and is on stable storage when it
 *  returns. Again with the same size and root: KMS_OK. Never by a smaller size or, at the same size, another root, nor for more than HSM_PINS_MAX
 *  logs: KMS_E_CONFLICT. */
KMS_MUST_CHECK kms_status hsm_pin(struct hsm *h, const struct hsm_pin *pin, struct kms_err *err);
/**
 * Sign, or make a MAC. A caller's version needs HSM_USE_SIGN. Signatures of the installation's keys are verified in software before they
 * are returned (fault attacks); those of callers' versions by core, which has the public half.
 * @param ret_len  the modulus, twice a coordinate, 64 (Ed25519), or the hash
 * @return KMS_OK | KMS_E_INVALID (algorithm, key and length of the input do not fit)
 */
KMS_MUST_CHECK kms_status hsm_sign(struct hsm *h, const struct hsm_key *key, enum hsm_sign_alg alg, const uint8_t *input, size_t input_len,
                                   uint8_t ret_signature[HSM_SIGNATURE_MAX], size_t *ret_len, struct kms_err *err);
/**
 * Encrypt under an AES key (HSM_USE_ENCRYPT, or HSM_FOR_BACKUP with GCM). A GCM nonce is made here, of the device's generator: no caller can choose one.
 * @param iv      CBC: 16 bytes given; GCM: 12 bytes written
 * @param plain   1..HSM_DATA_MAX bytes; HSM_CIPHER_CBC: a multiple of 16
 * @param cap     at least plain_len (GCM, CBC), rounded up to the next 16, always one more (CBC_PAD)
 * @param ret_tag GCM only; may be NULL otherwise
 */
KMS_MUST_CHECK kms_status hsm_encrypt(struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, uint8_t iv[HSM_IV_LEN],
                                      const uint8_t *aad, size_t aad_len, const uint8_t *plain, size_t plain_len, uint8_t *ret_cipher,
                                      size_t cap, size_t *ret_len, uint8_t ret_tag[HSM_GCM_TAG_LEN], struct kms_err *err);
/** The reverse. ret_plain (erased again on failure) has room for cap >= input_len bytes. KMS_E_CRYPTO, one and the same, for every bad input; an empty
 *  plaintext is KMS_OK with *ret_len 0. @param tag  GCM: 16 bytes */
KMS_MUST_CHECK kms_status hsm_decrypt(struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, const uint8_t *iv, const uint8_t *aad,
                                      size_t aad_len, const uint8_t *input, size_t input_len, const uint8_t *tag, uint8_t *ret_plain,
                                      size_t cap, size_t *ret_len, struct kms_err *err);
/** RSA decryption: c < n and length checked on the host, the private operation in the device, unpadding in constant time.
 *  @param n  the public modulus  @param cipher  exactly n_len bytes, else KMS_E_CRYPTO
 *  @param ret_plain  owned by the caller; NULL for an empty plaintext (OAEP; under PKCS #1 v1.5 that is a bad ciphertext)
 *  @return KMS_OK | KMS_E_CRYPTO: one and the same for every bad ciphertext */
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
