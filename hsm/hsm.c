/* hsm/hsm.c - checked dispatch to the key device's provider: what a verb asks of its arguments is checked here, once for all providers. */
#include "hsm/hsm.h"

#include <assert.h>
#include <string.h>

#define LOG_INPUT_MAX (64 * 1024) /* longest Ed25519 message: a checkpoint is a few hundred bytes */
#define GONE_IDS_MAX 100000
#define KWP_BLOCK 8 /* RFC 3394 and RFC 5649 work in 64-bit blocks */
#define KW_LEAST 16 /* RFC 3394 section 2: at least two blocks */
#define AES_BLOCK 16
#define PKCS1_OVERHEAD 11 /* RFC 8017 section 9.2 */
#define PSEUDONYM_KEY_LEN 32
#define SHA256_LEN 32
#define SHA384_LEN 48
#define SHA512_LEN 64

/* Which kinds serve which purpose, and with which sizes (0 ends the list; a lone 0 = the kind has one size). */
static const struct combination {
	enum hsm_purpose purpose;
	enum hsm_kind kind;
	uint16_t bits[4];
} COMBINATIONS[] = {
	{ HSM_FOR_LOG, HSM_KIND_ED25519, { 0 } },
	{ HSM_FOR_LOG, HSM_KIND_P256, { 0 } },
	{ HSM_FOR_TOKENS, HSM_KIND_P256, { 0 } },
	{ HSM_FOR_ATTESTATION, HSM_KIND_P256, { 0 } },
	{ HSM_FOR_ROOT, HSM_KIND_AES, { 256, 0 } },
	{ HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, { 0 } },
	{ HSM_FOR_CALLER, HSM_KIND_RSA, { 2048, 3072, 4096, 0 } },
	{ HSM_FOR_CALLER, HSM_KIND_AES, { 128, 192, 256, 0 } },
	{ HSM_FOR_CALLER, HSM_KIND_HMAC, { 256, 384, 512, 0 } },
	{ HSM_FOR_CALLER, HSM_KIND_P256, { 0 } },
	{ HSM_FOR_CALLER, HSM_KIND_P384, { 0 } },
	{ HSM_FOR_CALLER, HSM_KIND_P521, { 0 } },
	{ HSM_FOR_CALLER, HSM_KIND_P256K, { 0 } },
	{ HSM_FOR_EXCHANGE, HSM_KIND_RSA, { 2048, 3072, 4096, 0 } },
	{ HSM_FOR_BACKUP, HSM_KIND_AES, { 256, 0 } },
};

static const char *const FEATURE_NAMES[] = {
	"Ed25519", "P-256", "RSA", "AES-KW", "AES-KWP", "HMAC", "RSA PKCS#1 signatures", "RSA-PSS signatures", "AES-GCM", "AES-CBC", "P-384",
	"P-521", "P-256K", "wrapped EC keys", "wrapped oct keys", "key transfer",
};
_Static_assert(KMS_ARRAY_LEN(FEATURE_NAMES) == HSM_FEATURE_COUNT, "each feature has a name");

const char *hsm_feature_name(unsigned bit)
{
	assert(bit < HSM_FEATURE_COUNT);
	return FEATURE_NAMES[bit];
}

static bool is_secret(enum hsm_kind kind)
{
	return kind == HSM_KIND_AES || kind == HSM_KIND_HMAC;
}

static uint32_t kind_feature(enum hsm_kind kind)
{
	switch (kind) {
	case HSM_KIND_RSA:
		return HSM_CAN_RSA;
	case HSM_KIND_AES:
		return 0; /* every use has a feature of its own */
	case HSM_KIND_HMAC:
		return HSM_CAN_HMAC;
	case HSM_KIND_P256:
		return HSM_CAN_P256;
	case HSM_KIND_ED25519:
		return HSM_CAN_ED25519;
	case HSM_KIND_P384:
		return HSM_CAN_P384;
	case HSM_KIND_P521:
		return HSM_CAN_P521;
	case HSM_KIND_P256K:
		return HSM_CAN_P256K;
	}
	return 0;
}

/* What the device must be able to do for such a key to be made or taken in. */
static uint32_t key_features(const struct hsm_key *key, bool is_wrapped)
{
	uint32_t needed = kind_feature(key->kind);

	if (key->purpose == HSM_FOR_EXCHANGE)
		needed |= HSM_CAN_TRANSFER;
	if (key->purpose == HSM_FOR_BACKUP)
		needed |= HSM_CAN_AES_GCM;
	if (is_wrapped && key->kind != HSM_KIND_RSA) /* HSM_CAN_RSA says it for RSA */
		needed |= is_secret(key->kind) ? HSM_CAN_WRAPPED_SECRET : HSM_CAN_WRAPPED_EC;
	return needed;
}

static kms_status check_can(const struct hsm *h, uint32_t needed, struct kms_err *err)
{
	for (unsigned bit = 0; bit < HSM_FEATURE_COUNT; bit++)
		if ((needed & ~h->features & 1U << bit) != 0)
			return kms_refuse(err, KMS_E_UNSUPPORTED, "The key device lacks what this needs: %s.", FEATURE_NAMES[bit]);
	return KMS_OK;
}

static bool is_zero_id(const uint8_t id[HSM_ID_LEN])
{
	uint8_t any = 0;

	for (size_t i = 0; i < HSM_ID_LEN; i++)
		any |= id[i];
	return any == 0;
}

static bool size_is_listed(const struct combination *c, uint16_t bits)
{
	if (c->bits[0] == 0)
		return bits == 0;
	for (size_t i = 0; c->bits[i] != 0; i++)
		if (c->bits[i] == bits)
			return true;
	return false;
}

static kms_status check_id(const uint8_t id[HSM_ID_LEN], struct kms_err *err)
{
	assert(id != NULL);
	if (is_zero_id(id))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "key id of zeros");
	return KMS_OK;
}

static const struct combination *find_combination(const struct hsm_key *key)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(COMBINATIONS); i++)
		if (COMBINATIONS[i].purpose == key->purpose && COMBINATIONS[i].kind == key->kind)
			return &COMBINATIONS[i];
	return NULL;
}

static kms_status refuse_key(const struct hsm_key *key, struct kms_err *err)
{
	return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "no such key: purpose %d, kind %d, %u bits%s", (int)key->purpose,
	                (int)key->kind, (unsigned)key->bits, key->wrapped != NULL ? ", wrapped" : "");
}

/* Only callers' versions live outside the device, each under a root. A secret's blob has exactly one length. */
static kms_status check_wrapped(const struct hsm_key *key, struct kms_err *err)
{
	const size_t secret_blob = (size_t)key->bits / 8 + KWP_BLOCK;

	if (key->purpose != HSM_FOR_CALLER)
		return refuse_key(key, err);
	if (key->wrapped_len == 0 || key->wrapped_len > HSM_BLOB_MAX || (is_secret(key->kind) && key->wrapped_len != secret_blob))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "wrapped version of %zu bytes", key->wrapped_len);
	return check_id(key->root_id, err);
}

static kms_status check_key(const struct hsm_key *key, struct kms_err *err)
{
	const struct combination *c;

	assert(key != NULL);
	KMS_TRY(check_id(key->id, err));
	c = find_combination(key);
	if (c == NULL || !size_is_listed(c, key->bits))
		return refuse_key(key, err);
	return key->wrapped != NULL ? check_wrapped(key, err) : KMS_OK;
}

static kms_status check_resident(const struct hsm_key *key, struct kms_err *err)
{
	KMS_TRY(check_key(key, err));
	if (key->wrapped != NULL)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "a wrapped version where a resident key is needed");
	return KMS_OK;
}

/* A caller's version may do only what its key_ops say; the keys of the installation have one purpose each. */
static kms_status check_usage(const struct hsm_key *key, enum hsm_usage usage, struct kms_err *err)
{
	if (key->purpose != HSM_FOR_CALLER || (key->usage & (uint32_t)usage) == 0)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "key of purpose %d lacks usage %d", (int)key->purpose, (int)usage);
	return KMS_OK;
}

static kms_status check_aes(const struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, struct kms_err *err)
{
	KMS_TRY(check_key(key, err));
	if (key->kind != HSM_KIND_AES || (alg != HSM_AES_KW && alg != HSM_AES_KWP))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "kind %d, algorithm %d", (int)key->kind, (int)alg);
	/* A root wraps one thing besides versions: its canary, with the other algorithm, so that neither passes for the other. */
	if (key->purpose != HSM_FOR_ROOT || alg != HSM_AES_KW)
		KMS_TRY(check_usage(key, HSM_USE_WRAP, err));
	return check_can(h, alg == HSM_AES_KW ? HSM_CAN_AES_KW : HSM_CAN_AES_KWP, err);
}

void hsm_close(struct hsm *h)
{
	if (h != NULL)
		h->ops->close(h);
}

kms_status hsm_check(struct hsm *h, struct kms_err *err)
{
	return h->ops->check(h, err);
}

void hsm_set_log_key(struct hsm *h, const uint8_t id[HSM_ID_LEN]) { h->ops->set_log_key(h, id); }

const struct histogram *hsm_call_times(struct hsm *h, size_t i, const char **ret_call)
{
	return h->ops->call_times != NULL ? h->ops->call_times(h, i, ret_call) : NULL;
}

void hsm_info(struct hsm *h, struct hsm_info *ret_info)
{
	h->ops->info(h, ret_info);
}

kms_status hsm_random(struct hsm *h, struct secret *fill, struct kms_err *err)
{
	assert(fill != NULL);
	return h->ops->random(h, fill, err);
}

kms_status hsm_key_generate(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err)
{
	KMS_TRY(check_resident(key, err));
	KMS_TRY(check_can(h, key_features(key, false), err));
	return h->ops->key_generate(h, key, ret_public, err);
}

kms_status hsm_key_generate_wrapped(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public,
                                    uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len, struct kms_err *err)
{
	assert(ret_public != NULL && ret_blob != NULL && ret_blob_len != NULL);
	KMS_TRY(check_resident(key, err)); /* the blob is what is being made */
	KMS_TRY(check_id(key->root_id, err));
	if (key->purpose != HSM_FOR_CALLER)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "only callers' versions are generated wrapped");
	KMS_TRY(check_can(h, key_features(key, true), err));
	return h->ops->key_generate_wrapped(h, key, ret_public, ret_blob, ret_blob_len, err);
}

/* A secret's length is its size; a pair's parts are all there, and the public half has the size that the key says. */
static kms_status check_material(const struct hsm_key *key, const struct hsm_material *m, struct kms_err *err)
{
	bool is_whole = m->secret != NULL;

	if (is_secret(key->kind))
		is_whole = is_whole && secret_len(m->secret) == (size_t)key->bits / 8;
	else if (key->kind == HSM_KIND_RSA)
		is_whole = is_whole && m->p != NULL && m->q != NULL && m->dp != NULL && m->dq != NULL && m->qi != NULL &&
		           m->pub.n_len == (size_t)key->bits / 8 && m->pub.e_len > 0 && m->pub.e_len <= sizeof(m->pub.e);
	else
		is_whole = is_whole && m->pub.point_len == 2 * secret_len(m->secret) + 1;
	if (!is_whole)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "material that is not that of a key of kind %d, %u bits", (int)key->kind,
		                (unsigned)key->bits);
	return KMS_OK;
}

kms_status hsm_key_import(struct hsm *h, const struct hsm_key *key, const struct hsm_material *material, uint8_t *ret_blob,
                          size_t *ret_blob_len, struct kms_err *err)
{
	assert(material != NULL && (ret_blob == NULL || ret_blob_len != NULL));
	KMS_TRY(check_resident(key, err));
	if (ret_blob != NULL)
		KMS_TRY(check_id(key->root_id, err));
	if (key->purpose != HSM_FOR_CALLER)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "only callers' versions are imported");
	KMS_TRY(check_material(key, material, err));
	KMS_TRY(check_can(h, key_features(key, ret_blob != NULL), err));
	return h->ops->key_import(h, key, material, ret_blob, ret_blob_len, err);
}

kms_status hsm_key_transfer(struct hsm *h, const struct hsm_key *exchange, const struct hsm_key *key, const uint8_t *transfer,
                            size_t transfer_len, struct hsm_public *ret_public, struct kms_err *err)
{
	const struct combination *c;

	assert(key != NULL && ret_public != NULL && (transfer != NULL || transfer_len == 0));
	KMS_TRY(check_resident(exchange, err));
	KMS_TRY(check_id(key->id, err));
	c = find_combination(key);
	if (exchange->purpose != HSM_FOR_EXCHANGE || key->purpose != HSM_FOR_CALLER || c == NULL || key->wrapped != NULL ||
	    (key->bits != 0 && !size_is_listed(c, key->bits)))
		return refuse_key(key, err);
	KMS_TRY(check_can(h, HSM_CAN_TRANSFER | kind_feature(key->kind), err));
	return h->ops->key_transfer(h, exchange, key, transfer, transfer_len, ret_public, err);
}

kms_status hsm_key_rewrap(struct hsm *h, const struct hsm_key *key, const uint8_t root_id[HSM_ID_LEN], uint8_t ret_blob[HSM_BLOB_MAX],
                          size_t *ret_blob_len, struct kms_err *err)
{
	assert(ret_blob != NULL && ret_blob_len != NULL);
	KMS_TRY(check_key(key, err));
	KMS_TRY(check_id(root_id, err));
	if (key->wrapped == NULL)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "only wrapped versions are rewrapped");
	if (memcmp(key->root_id, root_id, HSM_ID_LEN) == 0) /* allowed: ids are public */
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "the version is wrapped under that root already");
	KMS_TRY(check_can(h, key_features(key, true), err));
	return h->ops->key_rewrap(h, key, root_id, ret_blob, ret_blob_len, err);
}

kms_status hsm_key_attributes(struct hsm *h, const struct hsm_key *key, struct hsm_attributes *ret_attributes, struct kms_err *err)
{
	assert(ret_attributes != NULL);
	KMS_TRY(check_key(key, err));
	return h->ops->key_attributes(h, key, ret_attributes, err);
}

kms_status hsm_key_public(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err)
{
	assert(ret_public != NULL);
	KMS_TRY(check_resident(key, err));
	if (is_secret(key->kind))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "a secret key has no public half");
	return h->ops->key_public(h, key, ret_public, err);
}

kms_status hsm_key_destroy(struct hsm *h, const uint8_t id[HSM_ID_LEN], struct kms_err *err)
{
	KMS_TRY(check_id(id, err));
	return h->ops->key_destroy(h, id, err);
}

kms_status hsm_key_evict(struct hsm *h, const uint8_t id[HSM_ID_LEN], unsigned drain_ms, struct kms_err *err)
{
	KMS_TRY(check_id(id, err));
	return h->ops->key_evict(h, id, drain_ms, err);
}

kms_status hsm_keys_gone(struct hsm *h, const uint8_t (*ids)[HSM_ID_LEN], size_t count, const uint8_t witness_id[HSM_ID_LEN],
                         bool *ret_gone, struct kms_err *err)
{
	assert(ids != NULL && ret_gone != NULL);
	if (count == 0 || count > GONE_IDS_MAX)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "%zu ids to look for", count);
	for (size_t i = 0; i < count; i++)
		KMS_TRY(check_id(ids[i], err));
	KMS_TRY(check_id(witness_id, err));
	return h->ops->keys_gone(h, ids, count, witness_id, ret_gone, err);
}

kms_status hsm_keys_list(struct hsm *h, hsm_object_fn each, void *arg, struct kms_err *err)
{
	assert(each != NULL);
	return h->ops->keys_list(h, each, arg, err);
}

kms_status hsm_pins(struct hsm *h, const uint8_t owner[HSM_ID_LEN], struct hsm_pin *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	assert(ret != NULL && cap > 0 && ret_count != NULL);
	KMS_TRY(check_id(owner, err));
	return h->ops->pins(h, owner, ret, cap, ret_count, err);
}

kms_status hsm_pin(struct hsm *h, const struct hsm_pin *pin, struct kms_err *err)
{
	size_t len;

	assert(pin != NULL);
	KMS_TRY(check_id(pin->owner, err));
	len = strnlen(pin->origin, sizeof(pin->origin));
	if (len == 0 || len > HSM_ORIGIN_MAX)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "a pin of a log without a name, or with one too long");
	return h->ops->pin(h, pin, err);
}

/* The digest that goes with a curve (RFC 7518 section 3.4, RFC 8812 section 3.2); 0: not an ECDSA curve. */
static size_t curve_digest(enum hsm_kind kind)
{
	switch (kind) {
	case HSM_KIND_P256:
	case HSM_KIND_P256K:
		return SHA256_LEN;
	case HSM_KIND_P384:
		return SHA384_LEN;
	case HSM_KIND_P521:
		return SHA512_LEN;
	case HSM_KIND_RSA:
	case HSM_KIND_AES:
	case HSM_KIND_HMAC:
	case HSM_KIND_ED25519:
		break;
	}
	return 0;
}

/* RFC 7518 section 3.2: the key has at least the length of the hash; the device insists too (row 1p). */
static bool mac_fits(const struct hsm_key *key, size_t hash_len, size_t input_len)
{
	const size_t key_len = key->purpose == HSM_FOR_PSEUDONYMS ? PSEUDONYM_KEY_LEN : (size_t)key->bits / 8;

	return key->kind == HSM_KIND_HMAC && key_len >= hash_len && input_len <= HSM_DATA_MAX;
}

static bool signing_fits(const struct hsm_key *key, enum hsm_sign_alg alg, size_t input_len, uint32_t *ret_needed)
{
	const bool is_rsa = key->kind == HSM_KIND_RSA;

	*ret_needed = kind_feature(key->kind);
	switch (alg) {
	case HSM_SIGN_ECDSA:
		return input_len != 0 && input_len == curve_digest(key->kind);
	case HSM_SIGN_EDDSA:
		return key->kind == HSM_KIND_ED25519 && input_len <= LOG_INPUT_MAX;
	case HSM_SIGN_RSA_PKCS1:
		*ret_needed |= HSM_CAN_RSA_PKCS1;
		return is_rsa && input_len != 0 && input_len + PKCS1_OVERHEAD <= (size_t)key->bits / 8;
	case HSM_SIGN_PSS_SHA256:
		*ret_needed |= HSM_CAN_RSA_PSS;
		return is_rsa && input_len == SHA256_LEN;
	case HSM_SIGN_PSS_SHA384:
		*ret_needed |= HSM_CAN_RSA_PSS;
		return is_rsa && input_len == SHA384_LEN;
	case HSM_SIGN_PSS_SHA512:
		*ret_needed |= HSM_CAN_RSA_PSS;
		return is_rsa && input_len == SHA512_LEN;
	case HSM_SIGN_HMAC_SHA256:
		return mac_fits(key, SHA256_LEN, input_len);
	case HSM_SIGN_HMAC_SHA384:
		*ret_needed |= HSM_CAN_WRAPPED_SECRET; /* the trial that includes the longer hashes */
		return mac_fits(key, SHA384_LEN, input_len);
	case HSM_SIGN_HMAC_SHA512:
		*ret_needed |= HSM_CAN_WRAPPED_SECRET;
		return mac_fits(key, SHA512_LEN, input_len);
	}
	return false;
}

kms_status hsm_sign(struct hsm *h, const struct hsm_key *key, enum hsm_sign_alg alg, const uint8_t *input, size_t input_len,
                    uint8_t ret_signature[HSM_SIGNATURE_MAX], size_t *ret_len, struct kms_err *err)
{
	uint32_t needed;

	assert(input != NULL && ret_signature != NULL && ret_len != NULL);
	KMS_TRY(check_key(key, err));
	if (key->purpose == HSM_FOR_EXCHANGE)
		return refuse_key(key, err);
	if (key->purpose == HSM_FOR_CALLER)
		KMS_TRY(check_usage(key, HSM_USE_SIGN, err));
	if (!signing_fits(key, alg, input_len, &needed))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "kind %d, %u bits, algorithm %d, input of %zu bytes", (int)key->kind,
		                (unsigned)key->bits, (int)alg, input_len);
	KMS_TRY(check_can(h, needed, err));
	return h->ops->sign(h, key, alg, input, input_len, ret_signature, ret_len, err);
}

static kms_status check_cipher(const struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, enum hsm_usage usage,
                               struct kms_err *err)
{
	KMS_TRY(check_key(key, err));
	if (key->kind != HSM_KIND_AES || (cipher != HSM_CIPHER_GCM && cipher != HSM_CIPHER_CBC && cipher != HSM_CIPHER_CBC_PAD))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "kind %d, cipher %d", (int)key->kind, (int)cipher);
	if (key->purpose != HSM_FOR_BACKUP || cipher != HSM_CIPHER_GCM)
		KMS_TRY(check_usage(key, usage, err));
	return check_can(h, cipher == HSM_CIPHER_GCM ? HSM_CAN_AES_GCM : HSM_CAN_AES_CBC, err);
}

kms_status hsm_encrypt(struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, uint8_t iv[HSM_IV_LEN], const uint8_t *aad,
                       size_t aad_len, const uint8_t *plain, size_t plain_len, uint8_t *ret_cipher, size_t cap, size_t *ret_len,
                       uint8_t ret_tag[HSM_GCM_TAG_LEN], struct kms_err *err)
{
	size_t needed = plain_len;

	assert(iv != NULL && plain != NULL && ret_cipher != NULL && ret_len != NULL && (aad != NULL || aad_len == 0));
	assert(cipher != HSM_CIPHER_GCM || ret_tag != NULL);
	KMS_TRY(check_cipher(h, key, cipher, HSM_USE_ENCRYPT, err));
	if (plain_len == 0 || plain_len > HSM_DATA_MAX || aad_len > HSM_DATA_MAX)
		return kms_refuse(err, KMS_E_INVALID, "The value to encrypt must have 1 to %d bytes.", HSM_DATA_MAX);
	if (cipher == HSM_CIPHER_CBC && plain_len % AES_BLOCK != 0)
		return kms_refuse(err, KMS_E_INVALID, "The value to encrypt must be a multiple of %d bytes.", AES_BLOCK);
	if (cipher == HSM_CIPHER_CBC_PAD)
		needed = (plain_len / AES_BLOCK + 1) * AES_BLOCK;
	if (cap < needed)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "room for %zu bytes, %zu needed", cap, needed);
	return h->ops->encrypt(h, key, cipher, iv, aad, aad_len, plain, plain_len, ret_cipher, cap, ret_len, ret_tag, err);
}

kms_status hsm_decrypt(struct hsm *h, const struct hsm_key *key, enum hsm_cipher cipher, const uint8_t *iv, const uint8_t *aad, size_t aad_len,
                       const uint8_t *input, size_t input_len, const uint8_t *tag, uint8_t *ret_plain, size_t cap, size_t *ret_len,
                       struct kms_err *err)
{
	assert(iv != NULL && (input != NULL || input_len == 0) && (aad != NULL || aad_len == 0) && (ret_plain != NULL || cap == 0));
	assert(ret_len != NULL && (cipher != HSM_CIPHER_GCM || tag != NULL));
	KMS_TRY(check_cipher(h, key, cipher, HSM_USE_DECRYPT, err));
	if (cap < input_len)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "room for %zu bytes, %zu needed", cap, input_len);
	return h->ops->decrypt(h, key, cipher, iv, aad, aad_len, input, input_len, tag, ret_plain, cap, ret_len, err);
}

kms_status hsm_rsa_decrypt(struct hsm *h, const struct hsm_key *key, enum hsm_rsa_alg alg, const uint8_t *n, size_t n_len,
                           const uint8_t *cipher, size_t cipher_len, struct secret **ret_plain, struct kms_err *err)
{
	const uint8_t top_bit = 0x80;

	assert(n != NULL && ret_plain != NULL && (cipher != NULL || cipher_len == 0));
	KMS_TRY(check_key(key, err));
	KMS_TRY(check_usage(key, HSM_USE_DECRYPT, err));
	if (key->kind != HSM_KIND_RSA || alg < HSM_RSA_OAEP_SHA1 || alg > HSM_RSA_PKCS1_V15)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "kind %d, algorithm %d", (int)key->kind, (int)alg);
	if (n_len * 8 != key->bits || (n[0] & top_bit) == 0)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "modulus of %zu bytes for a key of %u bits", n_len, (unsigned)key->bits);
	KMS_TRY(check_can(h, HSM_CAN_RSA, err));
	return h->ops->rsa_decrypt(h, key, alg, n, n_len, cipher, cipher_len, ret_plain, err);
}

kms_status hsm_aes_wrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const struct secret *plain, uint8_t *ret_wrapped,
                        size_t cap, size_t *ret_len, struct kms_err *err)
{
	size_t len, padded;

	assert(plain != NULL && ret_wrapped != NULL && ret_len != NULL);
	KMS_TRY(check_aes(h, key, alg, err));
	len = secret_len(plain);
	if (len == 0 || len > HSM_WRAP_MAX)
		return kms_refuse(err, KMS_E_INVALID, "The value to wrap must have 1 to %d bytes.", HSM_WRAP_MAX);
	if (alg == HSM_AES_KW && (len < KW_LEAST || len % KWP_BLOCK != 0))
		return kms_refuse(err, KMS_E_INVALID, "The value to wrap must have at least %d bytes and be a multiple of %d.", KW_LEAST,
		                  KWP_BLOCK);
	padded = (len + KWP_BLOCK - 1) / KWP_BLOCK * KWP_BLOCK + KWP_BLOCK;
	if (cap < padded)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "room for %zu bytes, %zu needed", cap, padded);
	return h->ops->aes_wrap(h, key, alg, plain, ret_wrapped, cap, ret_len, err);
}

kms_status hsm_aes_unwrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const uint8_t *wrapped, size_t wrapped_len,
                          struct secret **ret_plain, struct kms_err *err)
{
	assert(ret_plain != NULL && (wrapped != NULL || wrapped_len == 0));
	KMS_TRY(check_aes(h, key, alg, err));
	return h->ops->aes_unwrap(h, key, alg, wrapped, wrapped_len, ret_plain, err);
}
