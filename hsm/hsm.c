/* hsm/hsm.c - checked dispatch to the key device's provider: what a verb asks of its arguments is checked here, once for all providers. */
#include "hsm/hsm.h"

#include <assert.h>
#include <string.h>

#define LOG_INPUT_MAX (64 * 1024) /* longest Ed25519 message: a checkpoint is a few hundred bytes */
#define HMAC_INPUT_MAX (64 * 1024)
#define GONE_IDS_MAX 100000
#define KWP_BLOCK 8 /* RFC 3394 and RFC 5649 work in 64-bit blocks */
#define KW_LEAST 16 /* RFC 3394 section 2: at least two blocks */

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
};

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

static kms_status check_key(const struct hsm_key *key, struct kms_err *err)
{
	assert(key != NULL);
	KMS_TRY(check_id(key->id, err));
	for (size_t i = 0; i < KMS_ARRAY_LEN(COMBINATIONS); i++) {
		const struct combination *c = &COMBINATIONS[i];

		if (c->purpose != key->purpose || c->kind != key->kind || !size_is_listed(c, key->bits))
			continue;
		if (key->wrapped == NULL)
			return KMS_OK;
		/* Only callers' RSA versions live outside the device, each under a root. */
		if (key->purpose != HSM_FOR_CALLER || key->kind != HSM_KIND_RSA)
			break;
		if (key->wrapped_len == 0 || key->wrapped_len > HSM_BLOB_MAX)
			return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "wrapped version of %zu bytes", key->wrapped_len);
		return check_id(key->root_id, err);
	}
	return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "no such key: purpose %d, kind %d, %u bits%s", (int)key->purpose,
	                (int)key->kind, (unsigned)key->bits, key->wrapped != NULL ? ", wrapped" : "");
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

static kms_status check_aes(const struct hsm_key *key, enum hsm_aes_alg alg, struct kms_err *err)
{
	KMS_TRY(check_key(key, err));
	if (key->kind != HSM_KIND_AES || (alg != HSM_AES_KW && alg != HSM_AES_KWP))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "kind %d, algorithm %d", (int)key->kind, (int)alg);
	/* A root wraps one thing besides versions: its canary, with the other algorithm, so that neither passes for the other. */
	if (key->purpose == HSM_FOR_ROOT && alg == HSM_AES_KW)
		return KMS_OK;
	return check_usage(key, HSM_USE_WRAP, err);
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
	return h->ops->key_generate(h, key, ret_public, err);
}

kms_status hsm_key_generate_wrapped(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public,
                                    uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len, struct kms_err *err)
{
	assert(ret_public != NULL && ret_blob != NULL && ret_blob_len != NULL);
	KMS_TRY(check_resident(key, err)); /* the blob is what is being made */
	KMS_TRY(check_id(key->root_id, err));
	if (key->purpose != HSM_FOR_CALLER || key->kind != HSM_KIND_RSA)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "only a caller's RSA version is generated wrapped");
	return h->ops->key_generate_wrapped(h, key, ret_public, ret_blob, ret_blob_len, err);
}

kms_status hsm_key_public(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err)
{
	assert(ret_public != NULL);
	KMS_TRY(check_resident(key, err));
	if (key->kind == HSM_KIND_AES || key->kind == HSM_KIND_HMAC)
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

kms_status hsm_sign(struct hsm *h, const struct hsm_key *key, const uint8_t *input, size_t input_len,
                    uint8_t ret_signature[HSM_SIGNATURE_MAX], struct kms_err *err)
{
	const size_t digest_len = 32;

	assert(input != NULL && ret_signature != NULL);
	KMS_TRY(check_resident(key, err));
	if (key->kind != HSM_KIND_P256 && key->kind != HSM_KIND_ED25519)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "kind %d does not sign", (int)key->kind);
	if (key->kind == HSM_KIND_P256 ? input_len != digest_len : input_len > LOG_INPUT_MAX)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "input of %zu bytes", input_len);
	return h->ops->sign(h, key, input, input_len, ret_signature, err);
}

kms_status hsm_hmac(struct hsm *h, const struct hsm_key *key, const uint8_t *input, size_t input_len, uint8_t ret_mac[32],
                    struct kms_err *err)
{
	assert(input != NULL && ret_mac != NULL);
	KMS_TRY(check_resident(key, err));
	if (key->kind != HSM_KIND_HMAC)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "kind %d makes no HMAC", (int)key->kind);
	if (input_len > HMAC_INPUT_MAX)
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "input of %zu bytes", input_len);
	return h->ops->hmac(h, key, input, input_len, ret_mac, err);
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
	return h->ops->rsa_decrypt(h, key, alg, n, n_len, cipher, cipher_len, ret_plain, err);
}

kms_status hsm_aes_wrap(struct hsm *h, const struct hsm_key *key, enum hsm_aes_alg alg, const struct secret *plain, uint8_t *ret_wrapped,
                        size_t cap, size_t *ret_len, struct kms_err *err)
{
	size_t len, padded;

	assert(plain != NULL && ret_wrapped != NULL && ret_len != NULL);
	KMS_TRY(check_aes(key, alg, err));
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
	KMS_TRY(check_aes(key, alg, err));
	return h->ops->aes_unwrap(h, key, alg, wrapped, wrapped_len, ret_plain, err);
}
