/* api/reply.c - from structs and statuses to answers: the only place that knows HTTP numbers and headers. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/api.h"
#include "api/certificate_page.h"
#include "api/metrics.h"

#define RESPONSE_HEADERS_MAX 20
#define SERVICE_VERSION "1.0.0.0"
#define AUTHORITY_MAX 640 /* more than the configuration takes, and than this server's URL with a directory */
#define RETRY_AFTER_S "1"
#define NO_STORE "no-store"
#define JSON_TYPE "application/json; charset=utf-8"

static void drop_body(struct http_response *res)
{
	if (res->body != NULL)
		OPENSSL_cleanse(res->body, res->body_len);
	free(res->body);
	res->body = NULL;
	res->body_len = 0;
}

kms_status reply_page(struct request *r, json_t *value, const char *next, struct kms_err *err)
{
	json_t *body = json_object();

	json_put(&body, "value", value);
	if (next != NULL)
		json_put(&body, "next", json_string(next));
	return reply_json(r, 200, body, err);
}

kms_status reply_json(struct request *r, int status, json_t *body, struct kms_err *err)
{
	JSON_AUTO *owned = body;

	drop_body(&r->response);
	if (owned == NULL || (r->response.body = json_text(owned, &r->response.body_len)) == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "reply");
	r->response.status = status;
	r->content_type = JSON_TYPE;
	r->cache_control = NULL;
	return KMS_OK;
}

void reply_empty(struct request *r, int status)
{
	drop_body(&r->response);
	r->response.status = status;
	r->content_type = NULL;
	r->cache_control = NULL;
}

/* Messages quote callers, cut to a length that may end within a character, or are no text at all; JSON takes UTF-8 only. */
static void make_utf8(const char *message, char *ret_text, size_t cap)
{
	size_t left = strlen(message), n = 0;

	while (left > 0) {
		size_t len = utf8_char_len(message, left), taken = len > 0 ? len : 1;
		if (n + taken >= cap)
			break;
		memcpy(ret_text + n, len > 0 ? message : "?", taken);
		n += taken;
		message += taken;
		left -= taken;
	}
	ret_text[n] = '\0';
}

static json_t *error_object(kms_status status, const char *any_message)
{
	const char *inner = kms_status_inner(status);
	char message[sizeof(((struct kms_err *)0)->message)];

	make_utf8(any_message, message, sizeof(message));
	if (inner == NULL)
		return json_pack("{s:{s:s,s:s}}", "error", "code", kms_status_code(status), "message", message);
	return json_pack("{s:{s:s,s:s,s:{s:s}}}", "error", "code", kms_status_code(status), "message", message, "innererror", "code", inner);
}

/* RFC 6749 section 5.2. */
static json_t *oauth_error(const struct request *r, kms_status status, const char *any_message)
{
	char message[sizeof(((struct kms_err *)0)->message)];
	bool is_ours = status >= KMS_E_OAUTH_REQUEST && status <= KMS_E_OAUTH_SCOPE;
	const char *code = is_ours ? kms_status_code(status) : kms_status_http(status) < 500 ? "invalid_request" : "temporarily_unavailable";

	make_utf8(any_message, message, sizeof(message));
	return json_pack("{s:s,s:s,s:s}", "error", code, "error_description", message, "trace_id", r->id);
}

/* The one mapping between the catalogue and ekm-proxy.md 7.2. Azure shows messages to its own people, so where ours name names, a fixed text
 * stands; and what does not exist, is another pool's, or is spelt otherwise answers in the same words. */
struct ekm_error reply_ekm_error(kms_status status)
{
	static const char NO_KEY[] = "No key with this identifier is available.";
	static const char FORBIDDEN[] = "The operation is not allowed.";

	switch (status) {
	case KMS_E_INVALID:
	case KMS_E_UNSUPPORTED:
	case KMS_E_CRYPTO:
	case KMS_E_BACKUP:
		return (struct ekm_error){ 400, "BadRequest", NULL };
	case KMS_E_UNAUTHENTICATED:
	case KMS_E_CLAIMS:
		return (struct ekm_error){ 401, "Unauthorized", "No accepted client certificate was presented." };
	case KMS_E_FORBIDDEN:
	case KMS_E_POLICY:
	case KMS_E_APPROVAL:
	case KMS_E_FIREWALL:
	case KMS_E_PURGE_PROTECTED:
		return (struct ekm_error){ 403, "Forbidden", FORBIDDEN };
	case KMS_E_VAULT_LOCKED:
		return (struct ekm_error){ 403, "Forbidden", "The operation is not allowed at present." };
	case KMS_E_VAULT_SHREDDED:
		return (struct ekm_error){ 403, "Forbidden", "The key has been destroyed." };
	case KMS_E_KEY_OP:
		return (struct ekm_error){ 403, "Forbidden", "The operation is not permitted on this key." };
	case KMS_E_KEY_DISABLED:
	case KMS_E_KEY_REVOKED:
		return (struct ekm_error){ 403, "KeyDisabled", "The operation is not allowed on a disabled key." };
	case KMS_E_KEY_EXPIRED:
		return (struct ekm_error){ 403, "KeyExpired", "The operation is not allowed on an expired key." };
	case KMS_E_KEY_NOT_YET:
		return (struct ekm_error){ 403, "KeyNotYetValid", "The operation is not allowed before the key's validity begins." };
	case KMS_E_NOROUTE:
	case KMS_E_NOTFOUND:
	case KMS_E_KEY_NOTFOUND:
	case KMS_E_DELETED:
	case KMS_E_BEING_DELETED:
		return (struct ekm_error){ 404, "KeyNotFound", NO_KEY };
	case KMS_E_METHOD:
		return (struct ekm_error){ 405, "MethodNotAllowed", NULL };
	case KMS_E_TIMEOUT:
		return (struct ekm_error){ 408, "RequestTimeout", "The operation was not finished in time." };
	case KMS_E_GONE:
		return (struct ekm_error){ 410, "Gone", NULL };
	case KMS_E_TOO_LARGE:
		return (struct ekm_error){ 413, "RequestBodyTooLarge", NULL };
	case KMS_E_MEDIA:
		return (struct ekm_error){ 415, "UnsupportedMediaType", NULL };
	case KMS_E_THROTTLED:
		return (struct ekm_error){ 429, "Throttled", NULL };
	case KMS_E_DEVICE:
		return (struct ekm_error){ 502, "BadGateway", "The HSM is not reachable, or returned an error." };
	case KMS_E_NOMEM:
	case KMS_E_BUSY:
	case KMS_E_STORE:
	case KMS_E_AUDIT:
	case KMS_E_INTEGRITY:
	case KMS_E_SHUTDOWN:
	case KMS_E_CONFLICT:
	case KMS_E_FENCED:
		return (struct ekm_error){ 503, "ServiceUnavailable", NULL };
	case KMS_OK:
	case KMS_E_INTERNAL:
	case KMS_E_OAUTH_REQUEST:
	case KMS_E_OAUTH_CLIENT:
	case KMS_E_OAUTH_GRANT:
	case KMS_E_OAUTH_SCOPE:
	case KMS_STATUS_COUNT:
		break;
	}
	return (struct ekm_error){ 500, "InternalServerError", "The server failed to handle the request." };
}

/* ekm-proxy.md 7.1: flat. */
static json_t *ekm_error_object(kms_status status, const char *any_message)
{
	struct ekm_error e = reply_ekm_error(status);
	char message[sizeof(((struct kms_err *)0)->message)];

	make_utf8(e.text != NULL ? e.text : any_message, message, sizeof(message));
	return json_pack("{s:s,s:s}", "code", e.code, "message", message);
}

/* As Azure's App Service puts it. */
static json_t *identity_error(kms_status status, const char *any_message)
{
	char message[sizeof(((struct kms_err *)0)->message)];

	make_utf8(any_message, message, sizeof(message));
	return json_pack("{s:i,s:s}", "statusCode", kms_status_http(status), "message", message);
}

/* Which request waits, and where: of a vault, or of the installation (an empty name). In our own dialect alone; others read it in the message. */
static void put_approval(const struct request *r, json_t **body)
{
	static const uint8_t NONE[STORE_ID_LEN];
	json_t *inner = json_object_get(json_object_get(*body, "error"), "innererror"); /* borrowed */
	char id[GUID_TEXT_LEN + 1];

	if (memcmp(r->op.approval_id, NONE, STORE_ID_LEN) == 0) /* allowed: ids are public */
		return;
	guid_format(r->op.approval_id, id);
	if (json_object_set_new(inner, "approval", json_string(id)) != 0 ||
	    json_object_set_new(inner, "vault", json_string(r->op.approval_is_installations ? "" : r->op.vault.name)) != 0) {
		json_decref(*body);
		*body = NULL;
	}
}

static bool is_token_route(const struct request *r) { return r->route != NULL && r->route->handler == api_token; }

void reply_error(struct request *r, const struct kms_err *err)
{
	const char *message = kms_err_text(err);
	bool is_ekm = r->dialect == DIALECT_EKM;
	JSON_AUTO *body = is_ekm                             ? ekm_error_object(err->status, message)
	                  : r->dialect == DIALECT_IDENTITY ? identity_error(err->status, message)
	                  : is_token_route(r)              ? oauth_error(r, err->status, message)
	                                                   : error_object(err->status, message);

	if (err->status == KMS_E_APPROVAL && (r->dialect == DIALECT_DOMAIN || r->dialect == DIALECT_LOCAL))
		put_approval(r, &body);
	drop_body(&r->response);
	r->response.body = body != NULL ? json_text(body, &r->response.body_len) : NULL;
	r->response.status = is_ekm ? reply_ekm_error(err->status).http : kms_status_http(err->status);
	r->claims_from_s = err->status == KMS_E_CLAIMS ? r->op.principal.tokens_from_s : 0;
	r->content_type = JSON_TYPE;
	r->cache_control = NULL;
}

struct header_list {
	struct http_header items[RESPONSE_HEADERS_MAX];
	size_t count;
	char network[160];
};

static void add(struct header_list *l, const char *name, const char *value)
{
	l->items[l->count++] = (struct http_header){ name, value };
}

static void add_allow(const struct request *r, struct header_list *l, char *text, size_t cap)
{
	size_t len = 0;

	for (unsigned m = 0; m < HTTP_OTHER; m++)
		if ((r->allowed & 1U << m) != 0)
			len += (size_t)snprintf(text + len, cap - len, "%s%s", len > 0 ? ", " : "", http_method_name((enum http_method)m));
	add(l, "Allow", text);
}

/* To pools and to services of this machine nothing is said that only Key Vault's clients ask for. */
static bool is_terse(enum dialect dialect) { return dialect == DIALECT_EKM || dialect == DIALECT_IDENTITY; }

static void add_few(struct header_list *l, const char *request_id)
{
	add(l, "Cache-Control", NO_STORE);
	add(l, "X-Content-Type-Options", "nosniff");
	add(l, "x-ms-request-id", request_id);
}

/* What every answer of the other dialects carries (keyvault-keys.md 2.3); `l->network` must outlive the sending.
 * @param cache_control  NULL: the answer may not be kept, which is said to older caches too */
static void add_common(struct header_list *l, const struct kms *kms, const struct http_request *http, const char *request_id,
                       const char *cache_control)
{
	bool is_v6 = strchr(http->peer, ':') != NULL;

	add(l, "Cache-Control", cache_control != NULL ? cache_control : "no-cache");
	if (cache_control == NULL || strcmp(cache_control, NO_STORE) == 0) {
		add(l, "Pragma", "no-cache");
		add(l, "Expires", "-1");
	}
	add(l, "X-Content-Type-Options", "nosniff");
	add(l, "x-ms-request-id", request_id);
	if (http->client_request_id != NULL)
		add(l, "x-ms-client-request-id", http->client_request_id);
	(void)snprintf(l->network, sizeof(l->network), "conn_type=%s;addr=%s;act_addr_fam=%s;", is_v6 ? "Ipv6" : "Ipv4", http->peer,
	               is_v6 ? "InterNetworkV6" : "InterNetwork");
	add(l, "Strict-Transport-Security", "max-age=31536000;includeSubDomains");
	add(l, "x-ms-keyvault-region", kms->site);
	add(l, "x-ms-keyvault-service-version", SERVICE_VERSION);
	add(l, "x-ms-keyvault-network-info", l->network);
}

void reply_refusal(const struct kms *kms, const struct http_request *http, enum dialect dialect, kms_status status, const char *message,
                   struct http_response *ret)
{
	static _Thread_local struct header_list l;
	static _Thread_local char id_text[GUID_TEXT_LEN + 1];
	const char *text = message != NULL ? message : kms_status_text(status);
	bool is_ekm = dialect == DIALECT_EKM;
	JSON_AUTO *body = is_ekm                          ? ekm_error_object(status, text)
	                  : dialect == DIALECT_IDENTITY ? identity_error(status, text)
	                                                : error_object(status, text);
	uint8_t id[GUID_LEN] = { 0 };

	if (guid_random(id)) /* a refusal without an id is still a refusal */
		guid_format(id, id_text);
	ret->status = is_ekm ? reply_ekm_error(status).http : kms_status_http(status);
	l.count = 0;
	add(&l, "Content-Type", JSON_TYPE);
	if (is_terse(dialect))
		add_few(&l, id_text);
	else
		add_common(&l, kms, http, id_text, NULL);
	if (is_ekm && ret->status == 405)
		add(&l, "Allow", http_method_name(HTTP_POST));
	if (ret->status == 429 || ret->status == 503)
		add(&l, "Retry-After", RETRY_AFTER_S);
	ret->headers = l.items;
	ret->header_count = l.count;
	ret->body = body != NULL ? json_text(body, &ret->body_len) : NULL;
}

/* The one who issues tokens for the vault: of the configuration, or this server. */
static void authority_of(const struct request *r, const struct kms *kms, const char *url, char *ret_text, size_t cap)
{
	const char *authority = r->dialect == DIALECT_VAULT ? request_authority(r) : NULL;
	char tenant[GUID_TEXT_LEN + 1];

	guid_format(r->vault[0] != '\0' && r->dialect == DIALECT_VAULT ? r->vault_directory : kms->inst.directory, tenant);
	if (authority != NULL)
		(void)snprintf(ret_text, cap, "%s", authority);
	else
		(void)snprintf(ret_text, cap, "%s/%s", url, tenant);
}

/* A token that is newer than the revocation of the others (keyvault-keys.md 3.5). Spaces at the end of the JSON text keep '=' out of the base64 text, on which
 * older clients stumble; a resource would make clients take it for the usual challenge. */
static void write_claims_challenge(const char *authority, int64_t from_s, char *ret_text, size_t cap)
{
	char json[96], base64[B64_LEN(sizeof(json)) + 1];
	int len = snprintf(json, sizeof(json), "{\"access_token\":{\"nbf\":{\"essential\":true,\"value\":\"%lld\"}}}", (long long)from_s);

	while (len % 3 != 0)
		json[len++] = ' ';
	b64_encode(json, (size_t)len, base64);
	(void)snprintf(ret_text, cap, "Bearer realm=\"\", authorization_uri=\"%s\", error=\"insufficient_claims\", claims=\"%s\"", authority, base64);
}

/* Bearer tokens are what the other listeners ask for. */
static void add_challenge(const struct request *r, const struct kms *kms, struct header_list *l, char *text, size_t cap)
{
	char url[KMS_URL_MAX], authority[AUTHORITY_MAX];

	kms_url(kms, NULL, url);
	authority_of(r, kms, url, authority, sizeof(authority));
	if (r->claims_from_s != 0)
		write_claims_challenge(authority, r->claims_from_s, text, cap);
	else
		(void)snprintf(text, cap, "Bearer authorization=\"%s\", resource=\"%s\"", authority, url);
	add(l, "WWW-Authenticate", text);
}

/* Of what was destroyed: a purge answers without a body. */
static void add_certificate(const struct request *r, struct header_list *l, char text[GUID_TEXT_LEN + 1])
{
	static const uint8_t NONE[STORE_ID_LEN];

	if (memcmp(r->op.certificate.id, NONE, STORE_ID_LEN) == 0) /* allowed: ids are public */
		return;
	guid_format(r->op.certificate.id, text);
	add(l, "x-holdfast-certificate", text);
}

void reply_send(struct request *r, bool has_receipt)
{
	const struct kms *kms = request_kms(r);
	struct header_list l = { .count = 0 };
	char challenge[AUTHORITY_MAX + KMS_URL_MAX + 256], allow[64] = "", retry[16] = RETRY_AFTER_S, seq[24], leaf[B64_LEN(MERKLE_HASH_LEN) + 1];
	char certificate[GUID_TEXT_LEN + 1];

	if (r->content_type != NULL)
		add(&l, "Content-Type", r->content_type);
	if (r->content_type != NULL && strncmp(r->content_type, "text/html", strlen("text/html")) == 0)
		add(&l, "Content-Security-Policy", CERTIFICATE_PAGE_POLICY);
	if (is_terse(r->dialect))
		add_few(&l, r->id);
	else
		add_common(&l, kms, r->http, r->id, is_token_route(r) ? NO_STORE : r->cache_control);
	if (has_receipt) {
		(void)snprintf(seq, sizeof(seq), "%llu", (unsigned long long)r->op.write.seq);
		b64_encode(r->op.write.leaf_hash, MERKLE_HASH_LEN, leaf);
		add(&l, "x-audit-seq", seq);
		add(&l, "x-audit-leaf", leaf);
		add(&l, "x-audit-origin", kms->origin);
	}
	if (has_receipt && r->response.status < 300)
		add_certificate(r, &l, certificate);
	if (r->response.status == 401 && !is_token_route(r) && !is_terse(r->dialect))
		add_challenge(r, kms, &l, challenge, sizeof(challenge));
	if (r->retry_after_s > 0)
		(void)snprintf(retry, sizeof(retry), "%u", r->retry_after_s);
	if (r->response.status == 429 || r->response.status == 503)
		add(&l, "Retry-After", retry);
	if (r->response.status == 405)
		add_allow(r, &l, allow, sizeof(allow));
	/* A connection is accepted or refused as a whole: its certificate does not change. Strangers do not keep what pools need. */
	if (r->dialect == DIALECT_EKM && r->response.status == 401)
		r->response.close = true;
	r->response.headers = l.items;
	r->response.header_count = l.count;
	/* Whoever has the answer may ask again at once: what his share holds until the connection is done with it would be in his way. */
	if (r->share != NULL)
		atomic_fetch_sub(r->share, 1);
	r->share = NULL;
	metrics_count(request_metrics(r), r);
	http_reply(r->http, &r->response);
}
