/* server/core/crypto.c - use of managed keys. Private and secret keys stay in the device; what takes only the public half runs here. */
#include "server/core/crypto.h"

#include <openssl/crypto.h>
#include <string.h>

#include "server/core/keyring.h"
#include "server/core/public.h"

#define AES_BLOCK 16
#define KW_BLOCK 8 /* RFC 3394: what a key is wrapped in, and what wrapping adds */
#define KW_LEAST 16

void crypto_output_clear(struct crypto_output *out)
{
	secret_free(out->value);
	*out = (struct crypto_output){ 0 };
}

static kms_status no_memory(struct kms_err *err)
{
	return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap");
}

/* ---- what fits ---- */

static kms_status find(struct op *op, const char *name, const uint8_t *version, enum key_alg alg, struct kms_err *err)
{
	const struct key_alg_info *info = key_alg_info(alg);

	if (info != NULL)
		op->write.event.alg = info->name;
	return keyring_find(op, name, version, false, err);
}

/* State and algorithm of the version that was found, in the order of keyvault-keys.md 9.1. */
static kms_status check_use(struct op *op, enum key_op use, enum key_alg alg, struct kms_err *err)
{
	KMS_TRY(key_usable(&op->version, use, clock_wall_s(op->kms->clock), err));
	KMS_TRY(key_alg_fits(&op->version, alg, use, err));
	if (alg == ALG_RSA1_5 && !op->vault.allows_rsa1_5)
		return kms_refuse(err, KMS_E_INVALID, "alg: RSA1_5 is not allowed in this vault; that is chosen when a vault is created.");
	return KMS_OK;
}

/* A member that has one right length: 0 = it does not belong there. Ignoring it would let a caller believe that it was used. */
static kms_status check_member(const char *member, size_t len, size_t expected, const char *alg, struct kms_err *err)
{
	if (len == expected)
		return KMS_OK;
	if (expected == 0)
		return kms_refuse(err, KMS_E_INVALID, "%s: %s takes none.", member, alg);
	if (len == 0)
		return kms_refuse(err, KMS_E_INVALID, "%s: is required; %s takes %zu bytes.", member, alg, expected);
	return kms_refuse(err, KMS_E_INVALID, "%s: %s takes exactly %zu bytes.", member, alg, expected);
}

static kms_status check_cipher(const struct key_alg_info *alg, enum key_op use, const struct crypto_input *in, struct kms_err *err)
{
	size_t len = secret_len(in->value);
	bool is_padded = alg->cipher == HSM_CIPHER_CBC_PAD && use == KEY_OP_ENCRYPT;

	if (alg->cipher == HSM_CIPHER_GCM) {
		/* The nonce is made here: one chosen by a caller could come twice, and then the key's authentication is lost for ever. */
		if (use == KEY_OP_ENCRYPT && in->iv_len != 0)
			return kms_refuse(err, KMS_E_INVALID, "iv: %s encryption takes none; the service makes it.", alg->name);
		KMS_TRY(check_member("iv", in->iv_len, use == KEY_OP_ENCRYPT ? 0 : HSM_GCM_NONCE_LEN, alg->name, err));
		KMS_TRY(check_member("tag", in->tag_len, use == KEY_OP_ENCRYPT ? 0 : HSM_GCM_TAG_LEN, alg->name, err));
		if (in->aad_len > CRYPTO_AAD_MAX)
			return kms_refuse(err, KMS_E_INVALID, "aad: at most %zu bytes.", CRYPTO_AAD_MAX);
		return KMS_OK;
	}
	KMS_TRY(check_member("iv", in->iv_len, HSM_IV_LEN, alg->name, err));
	KMS_TRY(check_member("tag", in->tag_len, 0, alg->name, err));
	KMS_TRY(check_member("aad", in->aad_len, 0, alg->name, err));
	if (is_padded && len == CRYPTO_VALUE_MAX) /* its ciphertext would be too long to be given back */
		return kms_refuse(err, KMS_E_INVALID, "value: %s encrypts at most %zu bytes.", alg->name, CRYPTO_VALUE_MAX - 1);
	if (!is_padded && len % AES_BLOCK != 0)
		return kms_refuse(err, KMS_E_INVALID, "value: %s takes a multiple of %d bytes.", alg->name, AES_BLOCK);
	return KMS_OK;
}

static kms_status check_digest(const struct key_alg_info *alg, size_t modulus_len, const char *member, size_t len, struct kms_err *err)
{
	const size_t room = public_room(HSM_RSA_PKCS1_V15, modulus_len); /* the padding of signatures has the same size */

	if (alg->digest_len != 0 && len != alg->digest_len)
		return kms_refuse(err, KMS_E_INVALID, "%s: %s signs a digest of exactly %zu bytes.", member, alg->name, alg->digest_len);
	if (len == 0 || len > CRYPTO_VALUE_MAX)
		return kms_refuse(err, KMS_E_INVALID, "%s: must have 1 to %zu bytes.", member, CRYPTO_VALUE_MAX);
	if (alg->family == FAMILY_RSA && alg->digest_len == 0 && len > room)
		return kms_refuse(err, KMS_E_INVALID, "%s: at most %zu bytes fit %s with this key.", member, room, alg->name);
	return KMS_OK;
}

static kms_status check_wrap(const struct key_alg_info *alg, enum key_op use, size_t len, struct kms_err *err)
{
	if (use == KEY_OP_UNWRAP)
		return KMS_OK; /* what is no wrapped key for its length is refused by the device, like any other that does not unwrap */
	if (len > HSM_WRAP_MAX)
		return kms_refuse(err, KMS_E_INVALID, "value: at most %d bytes can be wrapped.", HSM_WRAP_MAX);
	if (alg->aes == HSM_AES_KW && (len < KW_LEAST || len % KW_BLOCK != 0))
		return kms_refuse(err, KMS_E_INVALID, "value: %s takes %d bytes or more, in multiples of %d.", alg->name, KW_LEAST,
		                  KW_BLOCK);
	return KMS_OK;
}

static bool is_cipher(const struct key_alg_info *alg)
{
	return alg->family == FAMILY_OCT && (alg->ops & KEY_OP_ENCRYPT) != 0;
}

/* RFC 8017 section 7.1.1 knows no shortest message. */
static bool takes_nothing(const struct key_alg_info *alg, enum key_op use)
{
	return alg->family == FAMILY_RSA && alg->rsa != HSM_RSA_PKCS1_V15 && (use == KEY_OP_ENCRYPT || use == KEY_OP_WRAP);
}

/* Everything about the input that can be said without the key's secret half. */
static kms_status check_input(const struct store_version *v, enum key_op use, const struct crypto_input *in, struct kms_err *err)
{
	const struct key_alg_info *alg = key_alg_info(in->alg);
	size_t len = in->value != NULL ? secret_len(in->value) : 0;

	if ((len == 0 && !takes_nothing(alg, use)) || len > CRYPTO_VALUE_MAX)
		return kms_refuse(err, KMS_E_INVALID, "value: must have 1 to %zu bytes.", CRYPTO_VALUE_MAX);
	if (is_cipher(alg))
		return check_cipher(alg, use, in, err);
	KMS_TRY(check_member("iv", in->iv_len, 0, alg->name, err));
	KMS_TRY(check_member("tag", in->tag_len, 0, alg->name, err));
	KMS_TRY(check_member("aad", in->aad_len, 0, alg->name, err));
	if (use == KEY_OP_SIGN)
		return check_digest(alg, v->pub_len, "value", len, err);
	if (alg->family == FAMILY_OCT)
		return check_wrap(alg, use, len, err);
	if ((use == KEY_OP_ENCRYPT || use == KEY_OP_WRAP) && len > public_room(alg->rsa, v->pub_len))
		return kms_refuse(err, KMS_E_INVALID, "value: at most %zu bytes fit %s with this key.", public_room(alg->rsa, v->pub_len),
		                  alg->name);
	return KMS_OK;
}

/* ---- what is done ---- */

static kms_status rsa_encrypt(struct op *op, const struct crypto_input *in, struct crypto_output *out, struct kms_err *err)
{
	struct hsm_info device = { 0 };
	size_t len = 0;

	/* The public half would do, but what is encrypted while the device is away could turn out to be lost for ever. */
	hsm_info(op->kms->hsm, &device);
	if (!device.is_available)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "device is away");
	out->value = secret_new(op->version.pub_len);
	if (out->value == NULL)
		return no_memory(err);
	return public_encrypt(&op->version, key_alg_info(in->alg)->rsa, in->value, secret_bytes(out->value), &len, err);
}

/* SP 800-38D section 8.3: count first; the writer counts again in the transaction that releases the result, and is exact. */
static kms_status count_encryption(struct op *op, struct kms_err *err)
{
	struct store_change *c = NULL;

	if (op->version.encryptions >= CRYPTO_GCM_USES_MAX)
		return kms_refuse(err, KMS_E_POLICY,
		                  "This key version has encrypted as often as AES-GCM allows; rotate the key. It still decrypts.");
	c = op_change(op, STORE_VERSION_ENCRYPTS);
	memcpy(c->encryption.version_id, op->version.id, STORE_ID_LEN);
	c->encryption.limit = CRYPTO_GCM_USES_MAX;
	return KMS_OK;
}

static kms_status aes_encrypt(struct op *op, const struct hsm_key *key, const struct crypto_input *in, struct crypto_output *out,
                              struct kms_err *err)
{
	enum hsm_cipher cipher = key_alg_info(in->alg)->cipher;
	size_t plain_len = secret_len(in->value), len = 0;
	size_t cap = cipher == HSM_CIPHER_CBC_PAD ? plain_len / AES_BLOCK * AES_BLOCK + AES_BLOCK : plain_len;

	if (cipher == HSM_CIPHER_GCM)
		KMS_TRY(count_encryption(op, err));
	else
		memcpy(out->iv, in->iv, HSM_IV_LEN);
	out->value = secret_new(cap);
	if (out->value == NULL)
		return no_memory(err);
	KMS_TRY(hsm_encrypt(op->kms->hsm, key, cipher, out->iv, in->aad, in->aad_len, secret_data(in->value), plain_len,
	                    secret_bytes(out->value), cap, &len, out->tag, err));
	secret_shrink(out->value, len);
	out->iv_len = cipher == HSM_CIPHER_GCM ? HSM_GCM_NONCE_LEN : HSM_IV_LEN;
	out->tag_len = cipher == HSM_CIPHER_GCM ? HSM_GCM_TAG_LEN : 0;
	return KMS_OK;
}

static kms_status aes_decrypt(struct op *op, const struct hsm_key *key, const struct crypto_input *in, struct crypto_output *out,
                              struct kms_err *err)
{
	size_t cap = secret_len(in->value), len = 0;

	out->value = secret_new(cap);
	if (out->value == NULL)
		return no_memory(err);
	KMS_TRY(hsm_decrypt(op->kms->hsm, key, key_alg_info(in->alg)->cipher, in->iv, in->aad, in->aad_len, secret_data(in->value), cap,
	                    in->tag, secret_bytes(out->value), cap, &len, err));
	secret_shrink(out->value, len);
	if (len == 0)
		secret_free(KMS_TAKE(out->value));
	return KMS_OK;
}

static kms_status aes_wrap(struct op *op, const struct hsm_key *key, const struct crypto_input *in, struct crypto_output *out,
                           struct kms_err *err)
{
	size_t cap = (secret_len(in->value) + KW_BLOCK - 1) / KW_BLOCK * KW_BLOCK + KW_BLOCK, len = 0;

	out->value = secret_new(cap);
	if (out->value == NULL)
		return no_memory(err);
	KMS_TRY(hsm_aes_wrap(op->kms->hsm, key, key_alg_info(in->alg)->aes, in->value, secret_bytes(out->value), cap, &len, err));
	secret_shrink(out->value, len);
	return KMS_OK;
}

static kms_status make_signature(struct op *op, const struct hsm_key *key, enum key_alg alg, const uint8_t *value, size_t value_len,
                                 uint8_t ret_signature[HSM_SIGNATURE_MAX], size_t *ret_len, struct kms_err *err)
{
	enum hsm_sign_alg how = key_alg_info(alg)->sign;
	uint8_t input[HSM_RSA_MAX];
	size_t input_len = 0;

	if (how != HSM_SIGN_RSA_PKCS1)
		return hsm_sign(op->kms->hsm, key, how, value, value_len, ret_signature, ret_len, err);
	public_pkcs1_input(alg, value, value_len, input, &input_len);
	return hsm_sign(op->kms->hsm, key, how, input, input_len, ret_signature, ret_len, err);
}

static kms_status sign(struct op *op, const struct hsm_key *key, const struct crypto_input *in, struct crypto_output *out,
                       struct kms_err *err)
{
	const struct key_alg_info *alg = key_alg_info(in->alg);
	const uint8_t *value = secret_data(in->value);
	ERASE_AUTO(uint8_t, signature, HSM_SIGNATURE_MAX);
	size_t len = 0;
	bool is_valid = false;

	KMS_TRY(make_signature(op, key, in->alg, value, secret_len(in->value), signature, &len, err));
	if (alg->family != FAMILY_OCT) {
		/* One wrong RSA-CRT signature gives the key away (Boneh, DeMillo, Lipton 1997), so a faulty one is never shown. */
		KMS_TRY(public_verify(&op->version, in->alg, value, secret_len(in->value), signature, len, &is_valid, err));
		if (!is_valid)
			return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the device made a wrong %s signature; it is withheld", alg->name);
	}
	out->value = secret_from(signature, len);
	return out->value != NULL ? KMS_OK : no_memory(err);
}

static kms_status use_key(struct op *op, enum key_op use, const struct crypto_input *in, struct crypto_output *out, struct kms_err *err)
{
	const struct key_alg_info *alg = key_alg_info(in->alg);
	struct hsm_key key = { 0 };

	key_to_hsm(&op->version, in->alg, &key);
	if (use == KEY_OP_SIGN)
		return sign(op, &key, in, out, err);
	if (alg->family == FAMILY_RSA && (use == KEY_OP_ENCRYPT || use == KEY_OP_WRAP))
		return rsa_encrypt(op, in, out, err);
	if (alg->family == FAMILY_RSA)
		return hsm_rsa_decrypt(op->kms->hsm, &key, alg->rsa, op->version.pub, op->version.pub_len, secret_data(in->value),
		                       secret_len(in->value), &out->value, err);
	if (is_cipher(alg))
		return use == KEY_OP_ENCRYPT ? aes_encrypt(op, &key, in, out, err) : aes_decrypt(op, &key, in, out, err);
	if (use == KEY_OP_WRAP)
		return aes_wrap(op, &key, in, out, err);
	return hsm_aes_unwrap(op->kms->hsm, &key, alg->aes, secret_data(in->value), secret_len(in->value), &out->value, err);
}

kms_status crypto_use(struct op *op, const char *name, const uint8_t *version, enum key_op use, const struct crypto_input *in,
                      struct crypto_output *ret_out, struct kms_err *err)
{
	KMS_TRY(find(op, name, version, in->alg, err));
	return crypto_use_found(op, use, in, ret_out, err);
}

kms_status crypto_use_found(struct op *op, enum key_op use, const struct crypto_input *in, struct crypto_output *ret_out, struct kms_err *err)
{
	CRYPTO_OUTPUT_AUTO out = { 0 };

	KMS_TRY(check_use(op, use, in->alg, err));
	KMS_TRY(check_input(&op->version, use, in, err));
	KMS_TRY(use_key(op, use, in, &out, err));
	*ret_out = out;
	out.value = NULL;
	return KMS_OK;
}

static kms_status verify_mac(struct op *op, enum key_alg alg, const uint8_t *value, size_t value_len, const uint8_t *mac, size_t mac_len,
                             bool *ret_is_valid, struct kms_err *err)
{
	ERASE_AUTO(uint8_t, expected, HSM_SIGNATURE_MAX);
	struct hsm_key key = { 0 };
	size_t len = 0;

	key_to_hsm(&op->version, alg, &key);
	KMS_TRY(make_signature(op, &key, alg, value, value_len, expected, &len, err));
	*ret_is_valid = mac_len == len && CRYPTO_memcmp(mac, expected, len) == 0;
	return KMS_OK;
}

kms_status crypto_verify(struct op *op, const char *name, const uint8_t *version, enum key_alg alg, const uint8_t *digest,
                         size_t digest_len, const uint8_t *signature, size_t signature_len, bool *ret_is_valid, struct kms_err *err)
{
	KMS_TRY(find(op, name, version, alg, err));
	KMS_TRY(check_use(op, KEY_OP_VERIFY, alg, err));
	KMS_TRY(check_digest(key_alg_info(alg), op->version.pub_len, "digest", digest_len, err));
	if (key_alg_info(alg)->family == FAMILY_OCT)
		return verify_mac(op, alg, digest, digest_len, signature, signature_len, ret_is_valid, err);
	return public_verify(&op->version, alg, digest, digest_len, signature, signature_len, ret_is_valid, err);
}

kms_status crypto_random(struct op *op, size_t count, struct secret **ret_bytes, struct kms_err *err)
{
	SECRET_AUTO *bytes = NULL;

	KMS_TRY(op_need_living_vault(op, err));
	if (count == 0 || count > CRYPTO_RANDOM_MAX)
		return kms_refuse(err, KMS_E_INVALID, "count: must be 1 to %d.", CRYPTO_RANDOM_MAX);
	bytes = secret_new(count);
	if (bytes == NULL)
		return no_memory(err);
	KMS_TRY(hsm_random(op->kms->hsm, bytes, err));
	*ret_bytes = KMS_TAKE(bytes);
	return KMS_OK;
}
