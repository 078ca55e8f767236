/* server/core/attestation.c - signed statements about one version: its public half, and the object in the device that it belongs to. */
#include "server/core/attestation.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "server/core/canon.h"
#include "server/core/public.h"

#define PAYLOAD_MAX 2816
#define HEADER_MAX 160
#define COORDINATE 32 /* of the attestation key */
#define SIGNATURE_LEN (2 * COORDINATE)
#define TYP "holdfast-attestation+jwt"
#define TOKEN_TEXT_MAX 32 /* CK_TOKEN_INFO */
_Static_assert(B64URL_LEN(HEADER_MAX) + B64URL_LEN(PAYLOAD_MAX) + B64URL_LEN(SIGNATURE_LEN) + 3 <= ATTESTATION_TEXT_MAX,
               "header.payload.signature");

/* ---- what a statement says ---- */

static void put_position(struct op *op, struct canon *c)
{
	struct writer_state log = { 0 };
	char root[B64_LEN(MERKLE_HASH_LEN) + 1];

	writer_state(op->kms->writer, &log);
	b64_encode(log.root, sizeof(log.root), root); /* hashes in proofs are base64 (audit-log.md 3.1 rule 6) */
	canon_open(c, "log");
	canon_text(c, "origin", op->kms->origin, EVENT_TEXT_MAX);
	canon_token(c, "root", root);
	canon_int(c, "size", (int64_t)log.size);
	canon_close(c);
}

static void put_kid(struct op *op, struct canon *c)
{
	char url[KMS_URL_MAX], version[2 * STORE_ID_LEN + 1], kid[KMS_URL_MAX + STORE_KEY_NAME_MAX + sizeof(version) + 8];

	kms_url(op->kms, op->vault.name, url);
	hex_encode(op->version.id, STORE_ID_LEN, version);
	(void)snprintf(kid, sizeof(kid), "%s/keys/%s/%s", url, op->key.name, version);
	canon_text(c, "kid", kid, EVENT_TEXT_MAX);
}

static void put_key(const struct store_version *v, struct canon *c)
{
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);
	const struct key_curve_info *curve = key_curve_info((enum key_curve)v->crv);

	canon_open(c, "key");
	switch (type->family) {
	case FAMILY_RSA:
		canon_bytes(c, "e", v->e, v->e_len);
		canon_token(c, "kty", type->name);
		canon_bytes(c, "n", v->pub, v->pub_len);
		break;
	case FAMILY_EC:
		canon_token(c, "crv", curve->name);
		canon_token(c, "kty", type->name);
		canon_bytes(c, "x", v->pub + 1, curve->coordinate_len);
		canon_bytes(c, "y", v->pub + 1 + curve->coordinate_len, curve->coordinate_len);
		break;
	case FAMILY_OCT:
		canon_int(c, "key_size", v->bits);
		canon_token(c, "kty", type->name);
		break;
	}
	canon_close(c);
}

static void put_attributes(struct canon *c, const struct hsm_attributes *a)
{
	canon_open(c, "attributes");
	canon_bool(c, "always_sensitive", a->is_always_sensitive);
	canon_bool(c, "copyable", a->is_copyable);
	canon_bool(c, "decrypt", a->may_decrypt);
	canon_bool(c, "derive", a->may_derive);
	canon_bool(c, "encrypt", a->may_encrypt);
	canon_bool(c, "extractable", a->is_extractable);
	canon_bool(c, "local", a->is_local);
	canon_bool(c, "modifiable", a->is_modifiable);
	canon_bool(c, "never_extractable", a->is_never_extractable);
	canon_bool(c, "private", a->is_private);
	canon_bool(c, "sensitive", a->is_sensitive);
	canon_bool(c, "sign", a->may_sign);
	canon_bool(c, "token", a->is_token);
	canon_bool(c, "unwrap", a->may_unwrap);
	canon_bool(c, "wrap", a->may_wrap);
	canon_close(c);
}

static void put_object(struct canon *c, const char *name, const uint8_t id[HSM_ID_LEN], const struct hsm_attributes *a)
{
	canon_open(c, name);
	put_attributes(c, a);
	canon_bytes(c, "id", id, HSM_ID_LEN);
	canon_close(c);
}

static void put_token(struct op *op, struct canon *c)
{
	struct hsm_info info = { 0 };

	hsm_info(op->kms->hsm, &info);
	canon_open(c, "token");
	canon_text(c, "label", info.label, TOKEN_TEXT_MAX);
	canon_text(c, "manufacturer", info.manufacturer, TOKEN_TEXT_MAX);
	canon_text(c, "model", info.model, TOKEN_TEXT_MAX);
	canon_text(c, "serial", info.serial, TOKEN_TEXT_MAX);
	canon_close(c);
}

/* ---- signing ---- */

/* RFC 7638: the kid of the header is the thumbprint of the attestation key. */
static void thumbprint(const struct hsm_public *pub, char ret_kid[B64URL_LEN(SHA256_DIGEST_LENGTH) + 1])
{
	char text[160];
	uint8_t hash[SHA256_DIGEST_LENGTH];
	struct canon c = { .buf = text, .cap = sizeof(text) };

	canon_open(&c, NULL);
	canon_token(&c, "crv", "P-256");
	canon_token(&c, "kty", "EC");
	canon_bytes(&c, "x", pub->point + 1, COORDINATE);
	canon_bytes(&c, "y", pub->point + 1 + COORDINATE, COORDINATE);
	canon_close(&c);
	SHA256((const uint8_t *)text, c.len, hash);
	b64url_encode(hash, sizeof(hash), ret_kid);
}

/* Compact JWS (RFC 7515 section 3.1) over what the payload has become. */
static kms_status sign(struct op *op, const struct canon *payload, char ret_text[ATTESTATION_TEXT_MAX], struct kms_err *err)
{
	struct hsm_key key = { .purpose = HSM_FOR_ATTESTATION, .kind = HSM_KIND_P256 };
	char header[HEADER_MAX], kid[B64URL_LEN(SHA256_DIGEST_LENGTH) + 1];
	struct canon c = { .buf = header, .cap = sizeof(header) };
	uint8_t hash[SHA256_DIGEST_LENGTH], signature[HSM_SIGNATURE_MAX];
	size_t len = 0, signature_len = 0;

	thumbprint(&op->kms->inst.attestation_public, kid);
	canon_open(&c, NULL);
	canon_token(&c, "alg", "ES256");
	canon_token(&c, "kid", kid);
	canon_token(&c, "typ", TYP);
	canon_close(&c);
	if (c.is_over || payload->is_over)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "a statement of more than %d bytes", PAYLOAD_MAX);
	b64url_encode(header, c.len, ret_text);
	len = B64URL_LEN(c.len);
	ret_text[len++] = '.';
	b64url_encode(payload->buf, payload->len, ret_text + len);
	len += B64URL_LEN(payload->len);
	SHA256((const uint8_t *)ret_text, len, hash);
	memcpy(key.id, op->kms->inst.attestation_key, HSM_ID_LEN);
	KMS_TRY(hsm_sign(op->kms->hsm, &key, HSM_SIGN_ECDSA, hash, sizeof(hash), signature, &signature_len, err));
	if (signature_len != SIGNATURE_LEN)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a signature of %zu bytes", signature_len);
	ret_text[len++] = '.';
	b64url_encode(signature, signature_len, ret_text + len);
	return KMS_OK;
}

/* ---- is it true? ---- */

static kms_status not_its_half(struct kms_err *err)
{
	return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "the stored public half is not that of the key in the device");
}

/* An exchange key unwraps and nothing else; the device's own word is its modulus. */
static kms_status compare_exchange(struct op *op, const struct hsm_key *key, struct kms_err *err)
{
	const struct store_version *v = &op->version;
	struct hsm_public pub = { 0 };

	KMS_TRY(hsm_key_public(op->kms->hsm, key, &pub, err));
	if (pub.n_len == v->pub_len && memcmp(pub.n, v->pub, pub.n_len) == 0 && pub.e_len == v->e_len && memcmp(pub.e, v->e, v->e_len) == 0)
		return KMS_OK;
	return not_its_half(err);
}

static enum key_alg proof_alg(const struct store_version *v)
{
	switch ((enum key_curve)v->crv) {
	case CURVE_P256: return ALG_ES256;
	case CURVE_P384: return ALG_ES384;
	case CURVE_P521: return ALG_ES512;
	case CURVE_P256K: return ALG_ES256K;
	case CURVE_NONE:
	case CURVE_COUNT: break;
	}
	return ALG_RS256;
}

/* The object proves the public half by a signature over random bytes that nobody sees. Its key_ops may not allow it to sign, so a wrapped
 * version is loaded for that under an id of its own. */
static kms_status prove(struct op *op, const struct hsm_key *key, struct kms_err *err)
{
	const enum key_alg alg = proof_alg(&op->version);
	const struct key_alg_info *info = key_alg_info(alg);
	struct hsm_key trial = *key;
	uint8_t digest[SHA512_DIGEST_LENGTH], input[HSM_RSA_MAX], signature[HSM_SIGNATURE_MAX];
	size_t input_len = info->digest_len, signature_len = 0;
	bool is_valid = false;
	kms_status status = KMS_OK;

	if (!random_bytes(digest, sizeof(digest)) || (key->wrapped != NULL && !random_bytes(trial.id, sizeof(trial.id))))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	trial.usage |= HSM_USE_SIGN;
	memcpy(input, digest, sizeof(digest));
	if (alg == ALG_RS256)
		public_pkcs1_input(alg, digest, info->digest_len, input, &input_len);
	status = hsm_sign(op->kms->hsm, &trial, info->sign, input, input_len, signature, &signature_len, err);
	if (key->wrapped != NULL)
		kms_ignore(hsm_key_evict(op->kms->hsm, trial.id, 0, NULL)); /* nobody will ask for this id again */
	if (status != KMS_OK)
		return status;
	KMS_TRY(public_verify(&op->version, alg, digest, info->digest_len, signature, signature_len, &is_valid, err));
	return is_valid ? KMS_OK : not_its_half(err);
}

static kms_status check_public(struct op *op, const struct hsm_key *key, struct kms_err *err)
{
	if (key_type_info((enum key_type)op->version.kty)->family == FAMILY_OCT)
		return KMS_OK;
	return op->version.kty == KEY_RSA_HSM_EXCHANGE ? compare_exchange(op, key, err) : prove(op, key, err);
}

/* ---- the two statements ---- */

static kms_status state_public(struct op *op, char ret_text[ATTESTATION_TEXT_MAX], struct kms_err *err)
{
	char text[PAYLOAD_MAX];
	struct canon c = { .buf = text, .cap = sizeof(text) };

	canon_open(&c, NULL);
	canon_int(&c, "created", op->version.created_s);
	canon_int(&c, "iat", clock_wall_s(op->kms->clock));
	canon_guid(&c, "installation", op->kms->inst.directory);
	put_key(&op->version, &c);
	put_kid(op, &c);
	put_position(op, &c);
	canon_token(&c, "statement", "public-key");
	canon_int(&c, "v", 1);
	canon_close(&c);
	return sign(op, &c, ret_text, err);
}

static kms_status state_private(struct op *op, const struct hsm_key *key, char ret_text[ATTESTATION_TEXT_MAX], struct kms_err *err)
{
	struct hsm_key root = { .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };
	struct hsm_attributes object = { 0 }, root_object = { 0 };
	char text[PAYLOAD_MAX];
	struct canon c = { .buf = text, .cap = sizeof(text) };

	KMS_TRY(hsm_key_attributes(op->kms->hsm, key, &object, err));
	if (key->wrapped != NULL) {
		memcpy(root.id, key->root_id, HSM_ID_LEN);
		KMS_TRY(hsm_key_attributes(op->kms->hsm, &root, &root_object, err));
	}
	canon_open(&c, NULL);
	canon_int(&c, "iat", clock_wall_s(op->kms->clock));
	canon_guid(&c, "installation", op->kms->inst.directory);
	put_kid(op, &c);
	put_position(op, &c);
	put_object(&c, "object", key->id, &object);
	if (key->wrapped != NULL)
		put_object(&c, "root", root.id, &root_object);
	canon_token(&c, "statement", "private-key");
	canon_token(&c, "storage", key->wrapped != NULL ? "wrapped-under-root" : "hsm-object");
	put_token(op, &c);
	canon_int(&c, "v", 1);
	canon_close(&c);
	return sign(op, &c, ret_text, err);
}

kms_status attestation_make(struct op *op, const char *name, const uint8_t *version, struct attestation *ret, struct kms_err *err)
{
	struct hsm_key key = { 0 };

	KMS_TRY(keyring_find(op, name, version, true, err));
	if (op->kms->attestation_certificate == NULL)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "no attestation certificate");
	key_to_hsm(&op->version, (enum key_alg)0, &key);
	KMS_TRY(check_public(op, &key, err));
	KMS_TRY(state_public(op, ret->public_text, err));
	KMS_TRY(state_private(op, &key, ret->private_text, err));
	(void)snprintf(ret->certificate, sizeof(ret->certificate), "%s", op->kms->attestation_certificate);
	/* What may not be used does not stay loaded because somebody looked at it. */
	if (key.wrapped != NULL && (!op->version.is_enabled || op->version.revoked != REVOKE_NONE))
		kms_ignore(hsm_key_evict(op->kms->hsm, key.id, 0, NULL)); /* best effort: no use is possible */
	return KMS_OK;
}
