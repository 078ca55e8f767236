/* api/h_crypto.c - the use of keys in the Key Vault dialect (keyvault-keys.md 6.8, 6.9, 6.12), and what is refused there on purpose. */
#include <string.h>

#include "api/keyvault.h"

#define BYTES_FIELD(text, member, least, most) \
	{ .name = text, .kind = J_BYTES, .offset = OFFSET(member), .flag = J_NO_FLAG, .min = least, .max = most }
/* Key wrap takes none of these: core refuses them, because ignoring one would let its sender believe that it was used. */
#define CIPHER_PARAMETERS                                          \
	BYTES_FIELD("iv", crypto.iv, 1, HSM_IV_LEN),               \
	BYTES_FIELD("aad", crypto.aad, 0, CRYPTO_AAD_MAX),         \
	BYTES_FIELD("tag", crypto.tag, 1, HSM_GCM_TAG_LEN)
#define ALG_FIELD(member, names) \
	{ .name = "alg", .kind = J_ENUM, .offset = OFFSET(member), .flag = J_NO_FLAG, .required = true, .parse = kv_alg_parse, .name_at = names }
#define VALUE_FIELD(most) \
	{ .name = "value", .kind = J_SECRET, .offset = OFFSET(crypto.value), .flag = J_NO_FLAG, .required = true, .min = 1, .max = most }

#define WRAPPED_MAX (HSM_WRAP_MAX + 16) /* RFC 5649 adds at most 7 bytes of padding, and 8 */

/* Every algorithm is known everywhere: one that does not serve the operation is refused with that reason, which says more than "unknown". */
static const char *cipher_name_at(unsigned i) { return kv_alg_name_at(KEY_OP_ENCRYPT | KEY_OP_DECRYPT, i); }
static const char *wrap_name_at(unsigned i) { return kv_alg_name_at(KEY_OP_WRAP | KEY_OP_UNWRAP, i); }
static const char *sign_name_at(unsigned i) { return kv_alg_name_at(KEY_OP_SIGN | KEY_OP_VERIFY, i); }

static const struct json_field CIPHER_FIELDS[] = {
	ALG_FIELD(crypto.alg, cipher_name_at),
	VALUE_FIELD(CRYPTO_VALUE_MAX),
	CIPHER_PARAMETERS,
	{ .name = NULL },
};
const struct json_schema KEY_CIPHER_SCHEMA = { .name = "KeyCipherRequest", .fields = CIPHER_FIELDS, .size = sizeof(union request_body) };

static const struct json_field WRAP_FIELDS[] = {
	ALG_FIELD(crypto.alg, wrap_name_at),
	VALUE_FIELD(WRAPPED_MAX),
	CIPHER_PARAMETERS,
	{ .name = NULL },
};
const struct json_schema KEY_WRAP_SCHEMA = { .name = "KeyWrapRequest", .fields = WRAP_FIELDS, .size = sizeof(union request_body) };

static const struct json_field SIGN_FIELDS[] = {
	ALG_FIELD(crypto.alg, sign_name_at),
	VALUE_FIELD(CRYPTO_VALUE_MAX),
	{ .name = NULL },
};
const struct json_schema KEY_SIGN_SCHEMA = { .name = "KeySignRequest", .fields = SIGN_FIELDS, .size = sizeof(union request_body) };

/* A signature of a wrong length, even of none, is not valid; it is no error. */
static const struct json_field VERIFY_FIELDS[] = {
	ALG_FIELD(verify.alg, sign_name_at),
	{ .name = "digest", .kind = J_SECRET, .offset = OFFSET(verify.digest), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = CRYPTO_VALUE_MAX },
	{ .name = "value", .kind = J_BYTES, .offset = OFFSET(verify.signature), .flag = J_NO_FLAG, .required = true, .min = 0,
	  .max = CRYPTO_VALUE_MAX },
	{ .name = NULL },
};
const struct json_schema KEY_VERIFY_SCHEMA = { .name = "KeyVerifyRequest", .fields = VERIFY_FIELDS, .size = sizeof(union request_body) };

static const struct json_field RANDOM_FIELDS[] = {
	{ .name = "count", .kind = J_INT, .offset = OFFSET(random.count), .flag = J_NO_FLAG, .required = true, .min = 1, .max = CRYPTO_RANDOM_MAX },
	{ .name = NULL },
};
const struct json_schema RANDOM_SCHEMA = { .name = "RandomRequest", .fields = RANDOM_FIELDS, .size = sizeof(union request_body) };

/* What decryption takes beside the ciphertext, encryption gives back. */
static void put_parameters(json_t **body, const struct crypto_input *in, const struct crypto_output *out)
{
	if (out->iv_len > 0)
		json_put(body, "iv", json_base64url(out->iv, out->iv_len));
	if (out->tag_len > 0)
		json_put(body, "tag", json_base64url(out->tag, out->tag_len));
	if (out->tag_len > 0 && in->aad_len > 0)
		json_put(body, "aad", json_base64url(in->aad, in->aad_len));
}

static kms_status use_key(struct request *r, enum key_op use, struct kms_err *err)
{
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct crypto_input in = { .alg = (enum key_alg)r->body.crypto.alg, .value = r->body.crypto.value, .iv = r->body.crypto.iv.data,
		                   .iv_len = r->body.crypto.iv.len, .aad = r->body.crypto.aad.data, .aad_len = r->body.crypto.aad.len,
		                   .tag = r->body.crypto.tag.data, .tag_len = r->body.crypto.tag.len };
	json_t *body = NULL;

	KMS_TRY(crypto_use(&r->op, r->key, kv_version(r), use, &in, &out, err));
	body = json_object();
	json_put(&body, "kid", kv_kid(r, &r->op.key, &r->op.version));
	json_put(&body, "value", out.value != NULL ? json_base64url(secret_data(out.value), secret_len(out.value)) : json_string(""));
	put_parameters(&body, &in, &out);
	return reply_json(r, 200, body, err);
}

kms_status api_key_encrypt(struct request *r, struct kms_err *err) { return use_key(r, KEY_OP_ENCRYPT, err); }
kms_status api_key_decrypt(struct request *r, struct kms_err *err) { return use_key(r, KEY_OP_DECRYPT, err); }
kms_status api_key_wrap(struct request *r, struct kms_err *err) { return use_key(r, KEY_OP_WRAP, err); }
kms_status api_key_unwrap(struct request *r, struct kms_err *err) { return use_key(r, KEY_OP_UNWRAP, err); }
kms_status api_key_sign(struct request *r, struct kms_err *err) { return use_key(r, KEY_OP_SIGN, err); }

kms_status api_key_verify(struct request *r, struct kms_err *err)
{
	const struct secret *digest = r->body.verify.digest;
	const struct json_bytes *signature = &r->body.verify.signature;
	bool is_valid = false;

	KMS_TRY(crypto_verify(&r->op, r->key, kv_version(r), (enum key_alg)r->body.verify.alg, secret_data(digest), secret_len(digest),
	                      signature->data, signature->len, &is_valid, err));
	return reply_json(r, 200, json_pack("{s:b}", "value", (int)is_valid), err);
}

kms_status api_random(struct request *r, struct kms_err *err)
{
	SECRET_AUTO *bytes = NULL;
	json_t *body = NULL;

	KMS_TRY(crypto_random(&r->op, (size_t)r->body.random.count, &bytes, err));
	body = json_object();
	json_put(&body, "value", json_base64url(secret_data(bytes), secret_len(bytes)));
	return reply_json(r, 200, body, err);
}

/* ---- refused on purpose (keyvault-keys.md section 14) ---- */

kms_status api_key_release(struct request *r, struct kms_err *err)
{
	(void)r;
	return kms_refuse(err, KMS_E_UNSUPPORTED, "Release is not supported: keys never leave the HSM, so none is exportable.");
}

kms_status api_key_secure_wrap(struct request *r, struct kms_err *err)
{
	(void)r;
	return kms_refuse(err, KMS_E_UNSUPPORTED, "Secure wrap and unwrap are not supported: they need a confidential environment; use wrapkey and "
	                  "unwrapkey.");
}
