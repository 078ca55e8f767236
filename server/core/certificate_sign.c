/* server/core/certificate_sign.c - certificates among people: an approver adds a line, somebody brings one back. */
#include "server/core/certificate_parts.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/principal.h"

#define PID_LEN 16
#define ED25519_LEN 32
#define APPROVERS_MEMBER "\"appr\":["

static void free_text(char **text) { free(*text); }
#define TEXT_AUTO __attribute__((cleanup(free_text))) char
static void free_x509(X509 **x) { X509_free(*x); }
static void free_pkey(EVP_PKEY **key) { EVP_PKEY_free(*key); }

/* ---- who approved ---- */

/* The intent's leaf is canonical: the member's name with its quotes can stand in no string, and the list has no other brackets. */
static bool leaf_names(const char *leaf, size_t len, const uint8_t pid[PID_LEN])
{
	char wanted[B64URL_LEN(PID_LEN) + sizeof("\"pid\":\"\"")], text[B64URL_LEN(PID_LEN) + 1];
	const char *list = memmem(leaf, len, APPROVERS_MEMBER, strlen(APPROVERS_MEMBER)), *end = NULL;

	if (list == NULL)
		return false;
	end = memchr(list, ']', len - (size_t)(list - leaf));
	b64url_encode(pid, PID_LEN, text);
	(void)snprintf(wanted, sizeof(wanted), "\"pid\":\"%s\"", text);
	return end != NULL && memmem(list, (size_t)(end - list), wanted, strlen(wanted)) != NULL;
}

static kms_status check_approver(struct op *op, const struct store_certificate *c, struct kms_err *err)
{
	struct store_event intent = { 0 };
	bool has_approved = false;

	if (strcmp(c->origin, op->kms->origin) != 0)
		return kms_refuse(err, KMS_E_CONFLICT, "The log of this destruction, %s, was closed: its approvers cannot be looked up any more.", c->origin);
	KMS_TRY(store_event(op->store, c->intent & STORE_SEQ_MAX, &intent, err));
	has_approved = intent.leaf_len > 0 && op->caller.auth == EVENT_AUTH_JWT && op->has_principal && leaf_names(intent.leaf, intent.leaf_len, op->principal.pid);
	store_event_clear(&intent);
	if (!has_approved)
		return kms_refuse(err, KMS_E_FORBIDDEN, "Only those whose approval counted for this destruction sign its certificate; %s is none of them.",
		                  op->actor_name[0] != '\0' ? op->actor_name : "the caller");
	return KMS_OK;
}

/* ---- with which key ---- */

static bool is_in_date(const X509 *x, int64_t now_s)
{
	time_t now = (time_t)now_s;

	return X509_cmp_time(X509_get0_notBefore(x), &now) < 0 && X509_cmp_time(X509_get0_notAfter(x), &now) > 0;
}

/* @return false for a key that has no place in a signed note */
static bool put_public(EVP_PKEY *key, struct note_key *ret)
{
	uint8_t *at = ret->pub;
	int len = 0;

	ret->pub_len = sizeof(ret->pub);
	if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519) {
		ret->type = NOTE_ED25519;
		return EVP_PKEY_get_raw_public_key(key, ret->pub, &ret->pub_len) == 1 && ret->pub_len == ED25519_LEN;
	}
	ret->type = NOTE_ECDSA_P256;
	len = EVP_PKEY_get_base_id(key) == EVP_PKEY_EC ? i2d_PUBKEY(key, NULL) : 0;
	if (len <= 0 || (size_t)len > sizeof(ret->pub) || i2d_PUBKEY(key, &at) != len)
		return false;
	ret->pub_len = (size_t)len;
	return true;
}

static bool key_of(const struct store_credential *c, int64_t now_s, struct note_key *key)
{
	const uint8_t *der = c->data;
	__attribute__((cleanup(free_x509))) X509 *x = der != NULL ? d2i_X509(NULL, &der, (long)c->data_len) : NULL;
	__attribute__((cleanup(free_pkey))) EVP_PKEY *pkey = x != NULL ? X509_get_pubkey(x) : NULL;
	bool fits = pkey != NULL && is_in_date(x, now_s) && put_public(pkey, key);
	char vkey[NOTE_VKEY_MAX + 1];

	ERR_clear_error();
	if (!fits)
		return false;
	note_key_seal(key);
	note_vkey_format(key, vkey);
	return note_vkey_parse(vkey, key); /* another curve ends here */
}

static kms_status approver_key(struct op *op, const struct store_certificate *cert, const uint8_t fingerprint[STORE_HASH_LEN], struct note_key *ret,
                               struct kms_err *err)
{
	int64_t now_s = clock_wall_s(op->kms->clock);
	STORE_CREDENTIAL_AUTO c = { 0 };
	char pid[B64URL_LEN(PID_LEN) + 1];
	struct note_key key = { 0 };
	kms_status status = credential_find(op->store, op->principal.id, STORE_CREDENTIAL_CERTIFICATE, fingerprint, &c, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "certificate of an approver");
	if (status == KMS_E_NOTFOUND || (c.expires_s != STORE_NO_TIME && now_s >= c.expires_s))
		return kms_refuse(err, KMS_E_INVALID,
		                  "certificate: none of the approver's certificates that are in date has this SHA-256; add it with holdfast credential add-certificate.");
	b64url_encode(op->principal.pid, PID_LEN, pid);
	if (snprintf(key.name, sizeof(key.name), "%.*s/approver/%s", certificate_host_len(cert->origin), cert->origin, pid) >= (int)sizeof(key.name) ||
	    !key_of(&c, now_s, &key))
		return kms_refuse(err, KMS_E_INVALID, "certificate: must be in date, with an Ed25519 or P-256 key; RSA has no place in a signed note.");
	*ret = key;
	return KMS_OK;
}

/* ---- the line ---- */

/* Has this name a line already? Ours all have the same beginning. */
static bool has_line(const char *signatures, const char *name)
{
	char wanted[NOTE_NAME_MAX + 8];

	(void)snprintf(wanted, sizeof(wanted), "\xe2\x80\x94 %s ", name);
	return strstr(signatures, wanted) != NULL;
}

/* Its lines with the new one behind them. Lives with the op: until the unit was written. */
static kms_status add_line(struct op *op, const struct store_certificate *c, const char *line, char **ret_signatures, struct kms_err *err)
{
	size_t size = strlen(c->signatures) + strlen(line) + 1;

	if (size > STORE_SIGNATURES_MAX)
		return kms_refuse(err, KMS_E_CONFLICT, "The certificate has no room for another signature.");
	op->kept = malloc(size);
	if (op->kept == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificate");
	*ret_signatures = (char *)op->kept;
	(void)snprintf(*ret_signatures, size, "%s%s", c->signatures, line);
	return KMS_OK;
}

kms_status certificate_countersign(struct op *op, const uint8_t id[STORE_ID_LEN], const uint8_t fingerprint[STORE_HASH_LEN], const uint8_t *signature,
                                   size_t signature_len, char ret_vkey[NOTE_VKEY_MAX + 1], struct kms_err *err)
{
	STORE_CERTIFICATE_AUTO c = { 0 };
	TEXT_AUTO *note = NULL;
	char line[NOTE_LINE_MAX + 1], *signatures = NULL;
	struct store_certificate signed_one;
	struct note_key key;

	KMS_TRY(store_certificate(op->store, id, &c, err));
	KMS_TRY(check_approver(op, &c, err));
	KMS_TRY(approver_key(op, &c, fingerprint, &key, err));
	if (c.signatures != NULL && has_line(c.signatures, key.name))
		return kms_refuse(err, KMS_E_CONFLICT, "%s has signed this certificate already.", op->actor_name);
	if (signature_len == 0 || signature_len > NOTE_SIGNATURE_MAX)
		return kms_refuse(err, KMS_E_INVALID, "signature: must be 64 bytes (Ed25519), or the DER form of an ECDSA signature.");
	(void)note_line_format(&key, signature, signature_len, line);
	KMS_TRY(certificate_note(op->store, &c, &note, err)); /* refuses one that is not signed yet */
	free_text(&note);
	note = NULL;
	KMS_TRY(add_line(op, &c, line, &signatures, err));
	signed_one = c;
	signed_one.signatures = signatures;
	KMS_TRY(certificate_note(op->store, &signed_one, &note, err));
	if (note_verify_long(note, strlen(note), &key, NULL) != KMS_OK)
		return kms_refuse(err, KMS_E_INVALID, "signature: is not one over the certificate's text (its two lines, each with its newline) with the key of that certificate. "
		                  "A pending certificate that has become complete is another text: fetch it again.");
	note_vkey_format(&key, ret_vkey);
	struct store_change *change = op_change(op, STORE_CERTIFICATE_SIGN);
	memcpy(change->certificate.id, c.id, STORE_ID_LEN);
	change->certificate.issued_s = c.issued_s;
	change->certificate.signatures = signatures;
	return KMS_OK;
}

/* ---- brought back ---- */

kms_status certificate_open(const struct kms *kms, const char *note, size_t len, const char **ret_body, size_t *ret_body_len, struct kms_err *err)
{
	size_t text_len = note_text_len(note, len), host_len = (size_t)certificate_host_len(kms->origin);
	size_t first_len = host_len + strlen(CERTIFICATE_SUFFIX) + 1;
	struct note_key key;

	if (text_len == 0)
		return kms_refuse(err, KMS_E_INVALID, "This is no signed note: it takes the whole file of a certificate, signature lines included.");
	if (text_len <= first_len || memcmp(note, kms->origin, host_len) != 0 || /* allowed: public */
	    memcmp(note + host_len, CERTIFICATE_SUFFIX "\n", first_len - host_len) != 0 || /* allowed: public */
	    memchr(note + first_len, '\n', text_len - first_len) != note + text_len - 1)
		return kms_refuse(err, KMS_E_INVALID, "This is no destruction certificate of %.*s: its text is two lines, the first of them %.*s" CERTIFICATE_SUFFIX ".",
		                  (int)host_len, kms->origin, (int)host_len, kms->origin);
	KMS_TRY(certificate_key(kms, kms->origin, &key, err));
	if (note_verify_long(note, len, &key, NULL) != KMS_OK)
		return kms_refuse(err, KMS_E_INVALID, "The certificate is not signed by this installation's attestation key, or was changed since.");
	*ret_body = note + first_len;
	*ret_body_len = text_len - first_len - 1;
	return KMS_OK;
}
