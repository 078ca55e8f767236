/* api/h_token.c - the built-in token endpoint (keyvault-keys.md 3.6, RFC 6749 section 4.4), discovery, and health. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/assertion.h"

#define FORM_MAX 16384 /* an assertion may bring the client's certificate chain */
#define FORM_MEMBERS_MAX 64
#define SCOPE_SUFFIX "/.default"

/* ---- the form ---- */

struct form_member {
	const char *name, *value;
};

/* application/x-www-form-urlencoded, decoded in place in a secret: it holds the client's password. */
struct form {
	struct secret *text;
	struct form_member members[FORM_MEMBERS_MAX];
	size_t count;
};

/* In place: what ends the part becomes the NUL, or lies behind it. */
static bool decode_in_place(char *from, const char *to)
{
	size_t len = (size_t)(to - from);
	return percent_decode(from, len, true, from, len + 1);
}

static bool form_parse(struct form *f, const uint8_t *body, size_t len)
{
	char *p = NULL;
	char *end = NULL;

	if (len == 0 || len > FORM_MAX || (f->text = secret_new(len + 1)) == NULL)
		return false;
	memcpy(secret_bytes(f->text), body, len);
	p = (char *)secret_bytes(f->text);
	for (end = p + len; p < end;) {
		char *stop = memchr(p, '&', (size_t)(end - p));
		char *eq = NULL;
		stop = stop != NULL ? stop : end;
		eq = memchr(p, '=', (size_t)(stop - p));
		if (eq != NULL) {
			if (f->count == FORM_MEMBERS_MAX || !decode_in_place(p, eq) || !decode_in_place(eq + 1, stop))
				return false;
			f->members[f->count++] = (struct form_member){ p, eq + 1 };
		}
		p = stop + 1;
	}
	return true;
}

/* A member given twice is no member (RFC 6749 section 3.2). */
static const char *form_get(const struct form *f, const char *name)
{
	const char *value = NULL;

	for (size_t i = 0; i < f->count; i++) {
		if (strcmp(f->members[i].name, name) != 0)
			continue;
		if (value != NULL)
			return NULL;
		value = f->members[i].value;
	}
	return value;
}

static void form_clear(struct form *f) { secret_free(f->text); }

/* ---- what every way to a token has in common ---- */

kms_status login_directory(struct op *op, uint8_t ret_directory[STORE_ID_LEN], struct kms_err *err)
{
	static const uint8_t NO_VAULT[STORE_ID_LEN];

	memcpy(ret_directory, op->kms->inst.directory, STORE_ID_LEN);
	if (memcmp(op->principal.vault_id, NO_VAULT, STORE_ID_LEN) == 0) /* allowed: ids are public */
		return KMS_OK;
	KMS_TRY(store_vault_by_id(op->store, op->principal.vault_id, &op->vault, err));
	if (op->vault.state != STORE_VAULT_ACTIVE)
		return KMS_E_VAULT_SHREDDED;
	memcpy(ret_directory, op->vault.directory, STORE_ID_LEN);
	return KMS_OK;
}

void login_depend(struct op *op)
{
	struct write *w = &op->write;

	memcpy(w->fence.principal_id, op->principal.id, STORE_ID_LEN);
	w->fence.principal_epoch = op->principal.epoch;
	w->has_fence = true;
	w->event.actor = EVENT_ACTOR_APP;
	memcpy(w->event.pid, op->principal.pid, sizeof(w->event.pid));
	if (op->vault.epoch != 0) {
		memcpy(w->fence.vault_id, op->vault.id, STORE_ID_LEN);
		w->fence.vault_epoch = op->vault.epoch;
		w->event.has_tenant = true;
		memcpy(w->event.tenant, op->vault.id, STORE_ID_LEN);
	}
}

/* ---- client credentials ---- */

/* "https://{domain}[:port]/.default", with or without a slash at the end of the resource. */
static bool scope_is_ours(const struct request *r, const char *scope)
{
	char url[KMS_URL_MAX];
	size_t len = 0;

	kms_url(r->op.kms, NULL, url);
	len = strlen(url);
	if (strncmp(scope, url, len) != 0)
		return false;
	scope += len;
	if (*scope == '/' && strcmp(scope, SCOPE_SUFFIX) != 0)
		scope++;
	return strcmp(scope, SCOPE_SUFFIX) == 0;
}

static kms_status deny_client(struct request *r, const char *message, struct kms_err *err)
{
	/* Without an actor the refusal is counted, not logged one by one: guessing must not fill the log. */
	r->op.write.event.actor = EVENT_ACTOR_NONE;
	return kms_refuse(err, KMS_E_OAUTH_CLIENT, "%s", message);
}

/* The paths under /adfs, for clients that speak to AD FS (`az login`), name no directory: the principal's own is meant. Client ids are unique
 * over all directories, so nothing is guessed. */
static bool names_directory(const struct request *r) { return r->item[0] != '\0'; }

/* The principal with this client id, enabled, in the directory that the path names. */
static kms_status find_client(struct request *r, const char *client_id, uint8_t ret_directory[STORE_ID_LEN], bool *ret_found, struct kms_err *err)
{
	struct op *op = &r->op;
	uint8_t id[STORE_ID_LEN] = { 0 }, tenant[STORE_ID_LEN] = { 0 };
	bool is_known = guid_parse(client_id, strlen(client_id), id) && (!names_directory(r) || guid_parse(r->item, strlen(r->item), tenant));
	kms_status status = store_principal(op->store, id, &op->principal, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "client lookup");
	is_known &= status == KMS_OK && op->principal.kind == STORE_PRINCIPAL_CALLER && op->principal.is_enabled;
	status = is_known ? login_directory(op, ret_directory, err) : KMS_OK;
	is_known &= status != KMS_E_VAULT_SHREDDED;
	if (status != KMS_OK && status != KMS_E_VAULT_SHREDDED)
		return status;
	is_known = is_known && (!names_directory(r) || memcmp(ret_directory, tenant, STORE_ID_LEN) == 0); /* allowed: ids are public */
	*ret_found = is_known;
	return KMS_OK;
}

/* Takes as long for whom nobody knows; all wrong combinations look alike. */
static kms_status check_secret(struct request *r, const struct store_principal *p, const char *secret, struct kms_err *err)
{
	bool is_right = false;

	KMS_TRY(credential_matches(r->op.store, p, STORE_CREDENTIAL_SECRET, secret, strlen(secret), clock_wall_s(r->op.kms->clock), &is_right, err));
	if (is_right)
		return KMS_OK;
	return deny_client(r, "AADSTS7000215: Invalid client id, client secret or directory, or the secret has expired.", err);
}

/* The assertion is for any of the paths of this endpoint that the principal can use. */
static kms_status check_assertion(struct request *r, const struct store_principal *p, const struct form *f, const uint8_t directory[STORE_ID_LEN],
                                  struct kms_err *err)
{
	char url[KMS_URL_MAX], tid[GUID_TEXT_LEN + 1], own[sizeof(url) + 96], adfs[sizeof(url) + 96], adfs_v2[sizeof(url) + 96];
	const char *const audiences[] = { own, adfs, adfs_v2, NULL };
	const struct assertion_use use = { .client_id = form_get(f, "client_id"), .audiences = audiences, .request_id = r->id, .peer = r->http->peer,
		                           .now_s = clock_wall_s(r->op.kms->clock) };
	kms_status status = KMS_OK;

	kms_url(r->op.kms, NULL, url);
	guid_format(directory, tid);
	(void)snprintf(own, sizeof(own), "%s/%s/oauth2/v2.0/token", url, tid);
	(void)snprintf(adfs, sizeof(adfs), "%s/adfs/oauth2/token", url);
	(void)snprintf(adfs_v2, sizeof(adfs_v2), "%s/adfs/oauth2/v2.0/token", url);
	status = assertion_check(request_assertions(r), r->op.store, p, form_get(f, "client_assertion"), &use, err);
	if (status != KMS_OK)
		r->op.write.event.actor = EVENT_ACTOR_NONE;
	return status;
}

static kms_status log_in(struct request *r, const struct form *f, uint8_t ret_directory[STORE_ID_LEN], struct kms_err *err)
{
	const char *secret = form_get(f, "client_secret");
	const struct store_principal *p = NULL;
	bool is_known = false;

	KMS_TRY(find_client(r, form_get(f, "client_id"), ret_directory, &is_known, err));
	p = is_known ? &r->op.principal : NULL;
	return secret != NULL ? check_secret(r, p, secret, err) : check_assertion(r, p, f, ret_directory, err);
}

/* One way to prove who it is, not two (RFC 6749 section 2.3). */
static bool has_one_proof(const struct form *f)
{
	const char *type = form_get(f, "client_assertion_type");

	if (form_get(f, "client_assertion") == NULL)
		return form_get(f, "client_secret") != NULL;
	return form_get(f, "client_secret") == NULL && type != NULL && strcmp(type, ASSERTION_TYPE) == 0;
}

static kms_status grant(struct request *r, const struct form *f, struct kms_err *err)
{
	const char *type = form_get(f, "grant_type"), *scope = form_get(f, "scope");
	uint8_t directory[STORE_ID_LEN] = { 0 };
	SECRET_AUTO *token = NULL;
	json_t *body = NULL;

	if (type == NULL || form_get(f, "client_id") == NULL || !has_one_proof(f))
		return kms_refuse(err, KMS_E_OAUTH_REQUEST, "grant_type, client_id and client_secret are required, each once; instead of client_secret, "
		                  "client_assertion with the client_assertion_type " ASSERTION_TYPE ".");
	if (strcmp(type, "client_credentials") != 0)
		return kms_refuse(err, KMS_E_OAUTH_GRANT, "%s", kms_status_text(KMS_E_OAUTH_GRANT));
	if (scope == NULL || !scope_is_ours(r, scope))
		return kms_refuse(err, KMS_E_OAUTH_SCOPE, "scope: must be this server's resource followed by " SCOPE_SUFFIX ".");
	KMS_TRY(log_in(r, f, directory, err));
	login_depend(&r->op);
	KMS_TRY(tokens_issue(request_tokens(r), &r->op.principal, directory, &token, err));
	body = json_pack("{s:s,s:I,s:I,s:s%}", "token_type", "Bearer", "expires_in", (json_int_t)r->op.kms->token_life_s, "ext_expires_in",
	                 (json_int_t)r->op.kms->token_life_s, "access_token", (const char *)secret_data(token), secret_len(token));
	return reply_json(r, 200, body, err);
}

kms_status api_token(struct request *r, struct kms_err *err)
{
	static const char FORM_TYPE[] = "application/x-www-form-urlencoded";
	struct form f = { 0 };
	kms_status status = KMS_OK;

	r->op.write.event.auth = EVENT_AUTH_NONE;
	if (r->http->content_type == NULL || strncasecmp(r->http->content_type, FORM_TYPE, sizeof(FORM_TYPE) - 1) != 0)
		status = kms_refuse(err, KMS_E_OAUTH_REQUEST, "The body must be %s.", FORM_TYPE);
	else if (!form_parse(&f, r->http->body, r->http->body_len))
		status = kms_refuse(err, KMS_E_OAUTH_REQUEST, "The form is malformed, or larger than %d bytes.", FORM_MAX);
	else
		status = grant(r, &f, err);
	form_clear(&f);
	return status;
}

/* ---- discovery ---- */

/* `version`: what stands before the names of the endpoints, "/v2.0" or nothing. */
static kms_status reply_discovery(struct request *r, const char *directory, const char *version, struct kms_err *err)
{
	char base[KMS_URL_MAX], url[KMS_URL_MAX + PATH_PARAM_MAX];
	char issuer[sizeof(url) + 64], authorize[sizeof(url) + 64], token[sizeof(url) + 64], jwks[sizeof(url) + 64];

	kms_url(r->op.kms, NULL, base);
	(void)snprintf(url, sizeof(url), "%s/%s", base, directory);
	(void)snprintf(issuer, sizeof(issuer), "%s%s", url, version);
	(void)snprintf(authorize, sizeof(authorize), "%s/oauth2%s/authorize", url, version);
	(void)snprintf(token, sizeof(token), "%s/oauth2%s/token", url, version);
	(void)snprintf(jwks, sizeof(jwks), "%s/discovery/v2.0/keys", url);
	return reply_json(r, 200, json_pack("{s:s,s:s,s:s,s:s,s:[s,s],s:[s,s,s],s:[s],s:[s],s:[s]}", "issuer", issuer, "authorization_endpoint", authorize,
	                                    "token_endpoint", token, "jwks_uri", jwks, "token_endpoint_auth_methods_supported",
	                                    "client_secret_post", "private_key_jwt", "token_endpoint_auth_signing_alg_values_supported", "PS256",
	                                    "RS256", "ES256", "response_types_supported", "token", "subject_types_supported", "pairwise",
	                                    "id_token_signing_alg_values_supported", "ES256"), err);
}

kms_status api_discovery(struct request *r, struct kms_err *err)
{
	uint8_t tenant[GUID_LEN];
	char tid[GUID_TEXT_LEN + 1];

	if (!names_directory(r))
		return reply_discovery(r, "adfs", "", err);
	if (!guid_parse(r->item, strlen(r->item), tenant))
		return kms_refuse(err, KMS_E_NOTFOUND, "There is no such directory.");
	guid_format(tenant, tid);
	return reply_discovery(r, tid, "/v2.0", err);
}

kms_status api_jwks(struct request *r, struct kms_err *err) { return reply_json(r, 200, tokens_jwks(request_tokens(r)), err); }

/* ---- subscriptions ---- */

/* `az login` lists the subscriptions of whoever logs in and stops when nobody answers; there are none here, for anyone. */
kms_status api_subscriptions(struct request *r, struct kms_err *err) { return reply_json(r, 200, json_pack("{s:[]}", "value"), err); }

/* ---- health ---- */

kms_status api_live(struct request *r, struct kms_err *err) { return reply_json(r, 200, json_pack("{s:s}", "status", "alive"), err); }

kms_status api_ready(struct request *r, struct kms_err *err)
{
	struct readiness ready = { 0 };
	bool is_ready = api_is_ready(r, &ready);

	return reply_json(r, is_ready ? 200 : 503, json_pack("{s:s,s:s,s:s,s:s,s:s}", "status", is_ready ? "ready" : "not ready", "hsm", ready.hsm,
	                                                     "storage", ready.storage, "log", ready.log, "audit", ready.audit), err);
}
