/*
 * api/h_identity.c - managed identity, in the shape of Azure's App Service (IDENTITY_ENDPOINT, IDENTITY_HEADER): a service of this machine gets
 * tokens for the header secret that its service manager hands over, and keeps no credential of its own. Only on a listener of its own, on loopback.
 */
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "api/api.h"

#define IDENTITY_API_VERSION "2019-08-01"

/* Without an actor the refusal is counted, not logged one by one; all that is wrong with a secret looks alike. */
static kms_status deny(struct request *r, struct kms_err *err)
{
	r->op.write.event.actor = EVENT_ACTOR_NONE;
	return kms_refuse(err, KMS_E_UNAUTHENTICATED,
	                  "X-IDENTITY-HEADER is missing, or is not the header secret, in date, of a principal that is enabled.");
}

static bool is_in_date(const struct store_credential *c, int64_t now_s) { return c->expires_s == STORE_NO_TIME || now_s < c->expires_s; }

/* Found by its hash, so how long it takes tells nothing of any secret. */
static kms_status find_service(struct request *r, uint8_t ret_directory[STORE_ID_LEN], struct kms_err *err)
{
	STORE_CREDENTIAL_AUTO credential = { 0 };
	STORE_CREDENTIAL_AUTO again = { 0 };
	struct op *op = &r->op;
	const char *secret = r->http->identity_header;
	uint8_t hash[STORE_HASH_LEN];
	kms_status status = KMS_OK;

	if (secret == NULL)
		return deny(r, err);
	SHA256((const uint8_t *)secret, strlen(secret), hash);
	status = store_credential(op->store, STORE_CREDENTIAL_HEADER, hash, &credential, NULL);
	if (status == KMS_OK)
		status = store_principal(op->store, credential.principal_id, &op->principal, NULL);
	/* Once more: had it been taken away before the principal was read, the epoch that was read would be the newer one, and the fence would not notice. */
	if (status == KMS_OK)
		status = store_credential(op->store, STORE_CREDENTIAL_HEADER, hash, &again, NULL);
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && (!is_in_date(&again, clock_wall_s(op->kms->clock)) ||
	                                                      memcmp(again.id, credential.id, STORE_ID_LEN) != 0))) /* allowed: ids are public */
		return deny(r, err);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "lookup of a header secret");
	if (op->principal.kind != STORE_PRINCIPAL_CALLER || !op->principal.is_enabled)
		return deny(r, err);
	status = login_directory(op, ret_directory, err);
	return status == KMS_E_VAULT_SHREDDED ? deny(r, err) : status;
}

/* This server's, with or without a slash at its end. */
static bool resource_is_ours(const struct request *r, const char *resource)
{
	char url[KMS_URL_MAX];
	size_t len = 0;

	kms_url(r->op.kms, NULL, url);
	len = strlen(url);
	return strncmp(resource, url, len) == 0 && (resource[len] == '\0' || strcmp(resource + len, "/") == 0);
}

static kms_status check_question(const struct request *r, struct kms_err *err)
{
	const char *version = query_get(r, "api-version"), *resource = query_get(r, "resource");
	char url[KMS_URL_MAX];

	if (version == NULL || strcmp(version, IDENTITY_API_VERSION) != 0)
		return kms_refuse(err, KMS_E_INVALID, "The query parameter api-version must be " IDENTITY_API_VERSION ".");
	if (resource != NULL && resource_is_ours(r, resource))
		return KMS_OK;
	kms_url(r->op.kms, NULL, url);
	return kms_refuse(err, KMS_E_INVALID, "The query parameter resource must be %s: tokens are issued for no other.", url);
}

/* A secret is one principal's, so naming it only guards against a mistake. */
static kms_status check_name(const struct request *r, struct kms_err *err)
{
	static const char *const NAMES[] = { "client_id", "principal_id", "object_id" };
	uint8_t id[STORE_ID_LEN];

	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++) {
		const char *text = query_get(r, NAMES[i]);
		if (text == NULL)
			continue;
		if (!guid_parse(text, strlen(text), id) || memcmp(id, r->op.principal.id, STORE_ID_LEN) != 0) /* allowed: ids are public */
			return kms_refuse(err, KMS_E_INVALID, "%s: the header secret is another principal's.", NAMES[i]);
	}
	if (query_get(r, "mi_res_id") != NULL)
		return kms_refuse(err, KMS_E_INVALID, "mi_res_id: there are no resource ids here; leave it out, or give the client_id.");
	return KMS_OK;
}

kms_status api_identity_token(struct request *r, struct kms_err *err)
{
	uint8_t directory[STORE_ID_LEN];
	char client[GUID_TEXT_LEN + 1], expires[24];
	SECRET_AUTO *token = NULL;

	r->op.write.event.auth = EVENT_AUTH_NONE;
	KMS_TRY(check_question(r, err));
	KMS_TRY(find_service(r, directory, err));
	login_depend(&r->op);
	KMS_TRY(check_name(r, err));
	/* Read before the token is made: it never ends earlier than said. */
	(void)snprintf(expires, sizeof(expires), "%" PRId64, clock_wall_s(r->op.kms->clock) + r->op.kms->token_life_s);
	KMS_TRY(tokens_issue(request_tokens(r), &r->op.principal, directory, &token, err));
	guid_format(r->op.principal.id, client);
	return reply_json(r, 200, json_pack("{s:s%,s:s,s:s,s:s,s:s}", "access_token", (const char *)secret_data(token), secret_len(token),
	                                    "client_id", client, "expires_on", expires, "resource", query_get(r, "resource"), "token_type",
	                                    "Bearer"), err);
}
