/* api/transfer.c - a transfer blob is JSON inside a request's base64: the same tables read it. */
#include "api/transfer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "server/base/encode.h"

/* Members that have one value only. */
static const char *version_at(unsigned i) { return i == 0 ? "1.0.0" : NULL; }
static const char *alg_at(unsigned i) { return i == 0 ? "dir" : NULL; }
static const char *enc_at(unsigned i) { return i == 0 ? "CKM_RSA_AES_KEY_WRAP" : NULL; }
static int parse_version(const char *text) { return strcmp(text, version_at(0)) == 0; }
static int parse_alg(const char *text) { return strcmp(text, alg_at(0)) == 0; }
static int parse_enc(const char *text) { return strcmp(text, enc_at(0)) == 0; }

#define AT(member) offsetof(struct transfer, member)

static const struct json_field HEADER_FIELDS[] = {
	{ .name = "kid", .kind = J_STRING, .offset = AT(kid), .flag = J_NO_FLAG, .required = true, .min = 1, .max = TRANSFER_ID_MAX },
	{ .name = "alg", .kind = J_ENUM, .offset = AT(alg), .flag = J_NO_FLAG, .required = true, .parse = parse_alg, .name_at = alg_at },
	{ .name = "enc", .kind = J_ENUM, .offset = AT(enc), .flag = J_NO_FLAG, .required = true, .parse = parse_enc, .name_at = enc_at },
	{ .name = NULL },
};
static const struct json_field TRANSFER_FIELDS[] = {
	{ .name = "schema_version", .kind = J_ENUM, .offset = AT(schema_version), .flag = J_NO_FLAG, .required = true, .parse = parse_version,
	  .name_at = version_at },
	{ .name = "header", .kind = J_OBJECT, .flag = J_NO_FLAG, .required = true, .fields = HEADER_FIELDS },
	{ .name = "ciphertext", .kind = J_BYTES, .offset = AT(ciphertext), .flag = J_NO_FLAG, .required = true, .min = 1, .max = HSM_TRANSFER_MAX },
	{ .name = NULL },
};
static const struct json_schema TRANSFER_SCHEMA = { .name = "KeyTransferBlob", .fields = TRANSFER_FIELDS, .size = sizeof(struct transfer) };

/* "{vault_url}/keys/{name}/{32 hex digits}"; hosts, names and versions are compared without case. */
static bool take_kid(struct transfer *t, const char *vault_url)
{
	static const char KEYS[] = "/keys/";
	size_t url_len = strlen(vault_url), name_len = 0;
	const char *p = t->kid, *version = NULL;

	if (strncasecmp(p, vault_url, url_len) != 0 || strncasecmp(p + url_len, KEYS, sizeof(KEYS) - 1) != 0)
		return false;
	p += url_len + sizeof(KEYS) - 1;
	name_len = strcspn(p, "/");
	if (p[name_len] != '/' || name_len > STORE_KEY_NAME_MAX)
		return false;
	memcpy(t->exchange_name, p, name_len);
	version = p + name_len + 1;
	return key_name_is_valid(t->exchange_name) && hex_decode(version, strlen(version), t->exchange_version, STORE_ID_LEN);
}

kms_status transfer_parse(const uint8_t *text, size_t len, const char *vault_url, struct transfer *ret, struct kms_err *err)
{
	TRANSFER_AUTO t = { 0 };
	struct kms_err why = { 0 };
	kms_status status = json_read(&TRANSFER_SCHEMA, text, len, &t, &why);

	if (status == KMS_E_INVALID)
		return kms_refuse(err, status, "key_hsm: %s", kms_err_text(&why));
	if (status != KMS_OK)
		return kms_fail(err, status, why.source, why.native, "transfer blob: %s", why.detail);
	if (!take_kid(&t, vault_url))
		return kms_refuse(err, KMS_E_INVALID, "key_hsm: header.kid must be the identifier, with its version, of a key of this vault: %s/keys/….",
		                  vault_url);
	*ret = t;
	t.ciphertext = (struct json_bytes){ 0 };
	return KMS_OK;
}

void transfer_clear(struct transfer *t) { json_clear(&TRANSFER_SCHEMA, t); }
