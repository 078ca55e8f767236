/* server/core/log_key.c - the log key: its verifier key, which generations sign a checkpoint, and the signing itself. */
#include "server/core/checkpoint_parts.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#define ED25519_LEN 32
#define P256_POINT_LEN 65
#define GENERATIONS_MAX 32

/* SubjectPublicKeyInfo of a P-256 key up to its point (RFC 5480). */
static const uint8_t P256_HEAD[] = {
	0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
	0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
};

bool log_note_key(const char *origin, enum hsm_kind kind, const struct hsm_public *pub, struct note_key *ret)
{
	struct note_key k = { 0 };
	char vkey[NOTE_VKEY_MAX + 1];

	(void)snprintf(k.name, sizeof(k.name), "%s", origin);
	if (kind == HSM_KIND_ED25519 && pub->point_len == ED25519_LEN) {
		k.type = NOTE_ED25519;
	} else if (kind == HSM_KIND_P256 && pub->point_len == P256_POINT_LEN) {
		k.type = NOTE_ECDSA_P256;
		memcpy(k.pub, P256_HEAD, sizeof(P256_HEAD));
		k.pub_len = sizeof(P256_HEAD);
	} else {
		return false;
	}
	memcpy(k.pub + k.pub_len, pub->point, pub->point_len);
	k.pub_len += pub->point_len;
	note_key_seal(&k);
	note_vkey_format(&k, vkey);
	return note_vkey_parse(vkey, ret); /* a point that is not on its curve ends here */
}

bool log_vkey_make(const char *origin, enum hsm_kind kind, const struct hsm_public *pub, char ret_vkey[NOTE_VKEY_MAX + 1])
{
	struct note_key k;

	if (!log_note_key(origin, kind, pub, &k))
		return false;
	note_vkey_format(&k, ret_vkey);
	return true;
}

static kms_status make_signer(const struct store_log_key *row, const char *origin, struct log_signer *ret, struct kms_err *err)
{
	memset(ret, 0, sizeof(*ret));
	if (!note_vkey_parse(row->vkey, &ret->note) || ret->note.type == NOTE_COSIGNATURE || strcmp(ret->note.name, origin) != 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "generation %u of the log key is damaged", row->generation);
	ret->key.purpose = HSM_FOR_LOG;
	ret->key.kind = ret->note.type == NOTE_ECDSA_P256 ? HSM_KIND_P256 : HSM_KIND_ED25519;
	memcpy(ret->key.id, row->obj, HSM_ID_LEN);
	return KMS_OK;
}

static bool is_of(const char *vkey, const char *origin)
{
	size_t len = strlen(origin);

	return strncmp(vkey, origin, len) == 0 && vkey[len] == '+';
}

kms_status log_signers(struct store *store, const char *origin, uint64_t signed_size, uint64_t size, struct log_signer ret[LOG_SIGNERS_MAX],
                       size_t *ret_count, struct kms_err *err)
{
	struct store_log_key rows[GENERATIONS_MAX];
	size_t row_count = 0, count = 0;
	bool is_in_force = false;

	KMS_TRY(store_log_keys(store, rows, GENERATIONS_MAX, &row_count, err));
	for (size_t i = 0; i < row_count && !is_in_force && is_of(rows[i].vkey, origin); i++) {
		is_in_force = rows[i].from_size <= signed_size;
		if (rows[i].from_size > size)
			continue; /* its log.key_rotated came after these leaves */
		if (count == LOG_SIGNERS_MAX)
			return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "more than %d log keys since the last checkpoint", LOG_SIGNERS_MAX);
		KMS_TRY(make_signer(&rows[i], origin, &ret[count++], err));
	}
	if (!is_in_force)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the log %s has no key that was in force at size %llu", origin,
		                (unsigned long long)signed_size);
	*ret_count = count;
	return KMS_OK;
}

kms_status log_next_size(struct store *store, const char *origin, uint64_t signed_size, uint64_t size, uint64_t *ret, struct kms_err *err)
{
	struct store_log_key rows[GENERATIONS_MAX];
	size_t count = 0;
	uint64_t next = size;

	KMS_TRY(store_log_keys(store, rows, GENERATIONS_MAX, &count, err));
	for (size_t i = 0; i < count && is_of(rows[i].vkey, origin); i++) {
		if (rows[i].from_size > signed_size && rows[i].from_size < next)
			next = rows[i].from_size;
	}
	*ret = next;
	return KMS_OK;
}

static kms_status sign_one(struct hsm *hsm, const struct log_signer *s, const char *text, size_t text_len, uint8_t ret[NOTE_SIGNATURE_MAX],
                           size_t *ret_len, struct kms_err *err)
{
	uint8_t digest[SHA256_DIGEST_LENGTH], signature[HSM_SIGNATURE_MAX];
	size_t len = 0;

	if (s->key.kind == HSM_KIND_ED25519) {
		KMS_TRY(hsm_sign(hsm, &s->key, HSM_SIGN_EDDSA, (const uint8_t *)text, text_len, signature, &len, err));
	} else {
		SHA256((const uint8_t *)text, text_len, digest);
		KMS_TRY(hsm_sign(hsm, &s->key, HSM_SIGN_ECDSA, digest, sizeof(digest), signature, &len, err));
	}
	if (len != 64)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a signature of %zu bytes", len);
	if (s->key.kind == HSM_KIND_P256) {
		*ret_len = note_der_signature(signature, ret);
	} else {
		memcpy(ret, signature, len);
		*ret_len = len;
	}
	return KMS_OK;
}

kms_status log_sign(struct hsm *hsm, const struct log_signer *signers, size_t count, const struct checkpoint_text *text, char *ret_note,
                    struct kms_err *err)
{
	size_t text_len = checkpoint_format(text, ret_note), len = text_len;
	uint8_t signature[NOTE_SIGNATURE_MAX];

	ret_note[len++] = '\n';
	ret_note[len] = '\0';
	/* The key that was in force comes first. */
	for (size_t i = count; i-- > 0;) {
		size_t signature_len = 0;
		KMS_TRY(sign_one(hsm, &signers[i], ret_note, text_len, signature, &signature_len, err));
		len += note_line_format(&signers[i].note, signature, signature_len, ret_note + len);
	}
	/* Fault attacks, a broken device (5.3); and that the public half is the one that was published. */
	for (size_t i = 0; i < count; i++) {
		if (note_verify(ret_note, len, &signers[i].note, NULL, err) != KMS_OK)
			return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the device's signature is not one of the published log key");
	}
	return KMS_OK;
}
