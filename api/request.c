/* api/request.c - a request's life: admitted and authenticated on an HTTP thread, worked on in a lane, written, and only then answered. */
#include <arpa/inet.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/http_guard.h"
#include "api/metrics.h"
#include "api/service.h"
#include "server/base/log.h"
#include "server/core/person.h"
#include "server/core/root.h"

#define ATTEMPTS_MAX 8 /* how often a request is decided anew because the state it read changed */
/* What has waited this long in a lane is not begun: its caller has been told 503 or will be (http_config.work_ms), and must be able to rely on it. */
#define WAIT_MAX_US ((int64_t)50 * 1000000)
#define EKM_DEADLINE_US ((int64_t)EKM_DEADLINE_MS * 1000)
/* Bodies beyond the usual size, in memory until their requests are answered: of all, and of one directory. */
#define LARGE_BODIES_MAX ((size_t)32 << 20)
#define LARGE_BODIES_GROUP_MAX ((size_t)8 << 20)

/* ---- admission, on an HTTP thread ---- */

/* The host decides the dialect and the vault; an unknown host never falls back to one. */
static kms_status admit_host(struct request *r, const char *host)
{
	const struct kms *kms = r->api->cfg.kms;
	size_t host_len = strcspn(host, ":"), domain_len = strlen(kms->domain), label_len = 0;
	const char *dot = NULL;
	struct vault_named named = { 0 };

	if (r->listener == API_LOCAL) {
		r->dialect = DIALECT_LOCAL;
		return KMS_OK;
	}
	if (host_len == domain_len && strncasecmp(host, kms->domain, domain_len) == 0) {
		r->dialect = DIALECT_DOMAIN;
		return KMS_OK;
	}
	dot = memchr(host, '.', host_len);
	label_len = dot != NULL ? (size_t)(dot - host) : 0;
	if (label_len == 0 || label_len > STORE_VAULT_NAME_MAX || host_len != label_len + 1 + domain_len ||
	    strncasecmp(dot + 1, kms->domain, domain_len) != 0)
		return kms_refuse(&r->verdict_err, KMS_E_NOTFOUND, "No vault or service lives at this host name.");
	for (size_t i = 0; i < label_len; i++)
		r->vault[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] - 'A' + 'a' : host[i]);
	r->dialect = DIALECT_VAULT;
	switch (vault_names_find(r->api->names, r->vault, &named)) { /* allowed: three outcomes */
	case KMS_OK: break;
	case KMS_E_NOTFOUND: return kms_refuse(&r->verdict_err, KMS_E_NOTFOUND, "No vault or service lives at this host name.");
	default: return kms_fail(&r->verdict_err, KMS_E_STORE, KMS_SRC_SELF, 0, "vault name");
	}
	memcpy(r->vault_id, named.id, STORE_ID_LEN);
	memcpy(r->vault_directory, named.directory, STORE_ID_LEN);
	memcpy(r->vault_issuer, named.issuer, sizeof(r->vault_issuer));
	return KMS_OK;
}

static bool is_public(const struct request *r) { return r->route != NULL && r->route->permission == PERM_PUBLIC; }
static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

/* What the client's certificate says of who calls; each listener knows its own kind. */
static void judge_certificate(struct request *r)
{
	r->by_certificate = true;
	r->client_verdict = client_trust_check(r->api->trust, r->http->client_chain, r->http->client_chain_count, r->listener != API_EKM,
	                                       &r->client);
	if (r->client_verdict != CLIENT_ACCEPTED)
		return;
	r->caller.auth = EVENT_AUTH_MTLS;
	memcpy(r->caller.principal_id, r->client.pool_id, STORE_ID_LEN);
	memcpy(r->caller.directory, r->client.directory, STORE_ID_LEN);
}

static kms_status admit_service(struct request *r)
{
	judge_certificate(r);
	if (r->client_verdict == CLIENT_ACCEPTED)
		return KMS_OK;
	return kms_refuse(&r->verdict_err, KMS_E_UNAUTHENTICATED,
	                  "AKV10000: Request is missing a Bearer or PoP token, and its client certificate is not accepted (certificate: %s).",
	                  client_verdict_name(r->client_verdict));
}

static kms_status admit_caller(struct request *r)
{
	if (r->listener == API_LOCAL) {
		r->caller.auth = EVENT_AUTH_LOCAL;
		r->caller.uid = r->http->peer_uid;
		return KMS_OK;
	}
	if (is_public(r) || r->is_public_path)
		return KMS_OK;
	/* Who sends a token wants to be known by it, whatever certificate his connection has. */
	if (r->http->authorization == NULL && r->http->client_chain_count > 0 && r->api->trust != NULL)
		KMS_TRY(admit_service(r));
	else
		KMS_TRY(tokens_verify(r->api->tokens, r->http->authorization, &r->caller, &r->verdict_err));
	/* Another vault's credential is as good as none: nothing of this vault is shown, not even what it would refuse. Whom an external issuer
	 * vouches for is looked up in the operation. */
	if (r->dialect == DIALECT_VAULT && r->caller.issuer == NULL && !same_id(r->caller.directory, r->vault_directory))
		return kms_refuse(&r->verdict_err, KMS_E_UNAUTHENTICATED, "AKV10032: Invalid issuer. The %s is not of this vault's directory.",
		                  r->by_certificate ? "client certificate" : "token");
	return KMS_OK;
}

/* On the EKM listener the certificate decides who calls, and so in which vault; the host says nothing. */
static kms_status admit_pool(struct request *r)
{
	r->dialect = DIALECT_EKM;
	judge_certificate(r);
	if (r->client_verdict != CLIENT_ACCEPTED)
		return kms_refuse(&r->verdict_err, KMS_E_UNAUTHENTICATED, "%s", client_verdict_name(r->client_verdict));
	r->caller.is_pool = true;
	memcpy(r->vault_id, r->client.vault_id, STORE_ID_LEN);
	memcpy(r->vault_directory, r->client.directory, STORE_ID_LEN);
	memcpy(r->vault, r->client.vault, sizeof(r->client.vault));
	router_match(r, r->http->method, r->http->path);
	return KMS_OK;
}

/* Once more, now that the operation depends on the pool or service as it is: its certificates may have been replaced since the request was admitted.
 * If they are replaced after this, the fence finds it changed. The table may be older than what the operation read: who replaced them, here or on
 * another node, commits first and reads the table anew afterwards. Then it is read here, and what still differs is decided anew. */
static kms_status check_certificate(struct request *r, struct kms_err *err)
{
	struct client_holder client = { 0 };
	enum client_verdict verdict = client_trust_check(r->api->trust, r->http->client_chain, r->http->client_chain_count,
	                                                 r->listener != API_EKM, &client);

	if (verdict == CLIENT_ACCEPTED && client.epoch != r->op.principal.epoch) {
		KMS_TRY(client_trust_load(r->api->trust, r->op.store, err));
		verdict = client_trust_check(r->api->trust, r->http->client_chain, r->http->client_chain_count, r->listener != API_EKM, &client);
		if (verdict == CLIENT_ACCEPTED && client.epoch != r->op.principal.epoch)
			return KMS_E_FENCED;
	}
	if (verdict == CLIENT_ACCEPTED && same_id(client.pool_id, r->client.pool_id))
		return KMS_OK;
	return kms_refuse(err, KMS_E_UNAUTHENTICATED, "The client certificate is not accepted any more (certificate: %s).",
	                  client_verdict_name(verdict != CLIENT_ACCEPTED ? verdict : CLIENT_UNKNOWN_SUBJECT));
}

/* ---- turns, shares and limits ---- */

/* Addresses are personal data: /24 and /48 (audit-log.md section 12). */
static void shorten_peer(const char *peer, char *ret, size_t cap)
{
	struct in_addr v4;
	struct in6_addr v6;
	char text[INET6_ADDRSTRLEN];

	if (inet_pton(AF_INET, peer, &v4) == 1) {
		v4.s_addr &= htonl(0xffffff00U);
		(void)snprintf(ret, cap, "%s/24", inet_ntop(AF_INET, &v4, text, sizeof(text)));
	} else if (inet_pton(AF_INET6, peer, &v6) == 1) {
		memset(v6.s6_addr + 6, 0, 10);
		(void)snprintf(ret, cap, "%s/48", inet_ntop(AF_INET6, &v6, text, sizeof(text)));
	} else {
		(void)snprintf(ret, cap, "%s", peer);
	}
}

/* Whose turn it is, and whether that is a vault's. By directory: the caller's own; of a caller that an external issuer vouches for, who has none
 * before he was looked up, that of the vault that he asks for, or his issuer. The installation's principals are a tenant of their own, whatever vault
 * they act in: nobody else's noise keeps them out. */
static bool find_tenant(struct request *r)
{
	struct vault_named named = { 0 };

	if (r->caller.issuer == NULL) {
		memcpy(r->tenant, r->caller.directory, STORE_ID_LEN);
		return !same_id(r->tenant, r->api->cfg.kms->inst.directory);
	}
	if (r->dialect == DIALECT_VAULT) {
		memcpy(r->tenant, r->vault_directory, STORE_ID_LEN);
		return true;
	}
	if (r->vault[0] != '\0' && vault_names_find(r->api->names, r->vault, &named) == KMS_OK) {
		memcpy(r->tenant, named.directory, STORE_ID_LEN);
		return true;
	}
	access_claim(r->caller.issuer, "tenant", "", r->tenant);
	return false;
}

/* A caller of an external issuer is somebody else in each vault. */
static void external_id(const struct request *r, uint8_t ret_id[LIMITS_ID_LEN])
{
	uint8_t hash[STORE_HASH_LEN];

	access_identity_hash(r->tenant, r->caller.issuer, r->caller.subject, hash);
	memcpy(ret_id, hash, LIMITS_ID_LEN);
}

/* Of everybody who was authenticated on the main listener. */
static kms_status take_allowance(struct request *r, bool is_vaults)
{
	struct limits_claim *claim = &r->claim;

	if (r->listener != API_MAIN || r->caller.auth == EVENT_AUTH_NONE)
		return KMS_OK;
	claim->class = route_is_create(r->route) ? LIMIT_CREATES : LIMIT_REQUESTS;
	claim->has_vault = is_vaults;
	memcpy(claim->vault, r->tenant, LIMITS_ID_LEN);
	if (r->caller.issuer != NULL)
		external_id(r, claim->principal);
	else
		memcpy(claim->principal, r->caller.principal_id, LIMITS_ID_LEN);
	if (route_is_proof(r->route)) {
		struct limits_claim proof = { .class = LIMIT_PROOFS };
		memcpy(proof.principal, claim->principal, LIMITS_ID_LEN);
		KMS_TRY(limits_take(r->api->limits, &proof, &r->retry_after_s, &r->verdict_err));
	}
	KMS_TRY(limits_take(r->api->limits, claim, &r->retry_after_s, &r->verdict_err));
	r->has_claim = true;
	return KMS_OK;
}

static void give_back_to_vault(struct request *r)
{
	if (r->has_claim)
		limits_give_back(r->api->limits, &r->claim);
	r->has_claim = false;
}

static kms_status admit_bearer(struct request *r)
{
	KMS_TRY(admit_host(r, r->http->host));
	router_match(r, r->http->method, r->http->path);
	return admit_caller(r);
}

/* Nobody is known yet who logs in: his network takes turns, so that a flood from one keeps nobody else from logging in. */
static uint16_t number_of_peer(const struct request *r)
{
	char peer[64];
	uint8_t hash[STORE_HASH_LEN];
	uint16_t number = 0;

	shorten_peer(r->http->peer, peer, sizeof(peer));
	SHA256((const uint8_t *)peer, strlen(peer), hash);
	memcpy(&number, hash, sizeof(number));
	return number;
}

/* What takes turns in the lanes, and is counted, is a tenant, or a pool; of logins, a network. Those that have the same number by chance share what one has. Requests
 * without one are those of the local socket. */
static unsigned group_of(const struct request *r)
{
	uint16_t number = 0;

	if (r->caller.auth == EVENT_AUTH_LOCAL)
		return WORKER_NO_GROUP;
	if (r->caller.auth == EVENT_AUTH_NONE)
		return 1 + number_of_peer(r) % (WORKER_GROUPS - 1);
	/* A pool of a busy service must not be in the way of the vault's other pools. */
	memcpy(&number, r->dialect == DIALECT_EKM ? r->caller.principal_id : r->tenant, sizeof(number));
	return 1 + number % (WORKER_GROUPS - 1);
}

static bool take_bytes(atomic_size_t *of, size_t count, size_t max)
{
	if (atomic_fetch_add(of, count) + count <= max)
		return true;
	atomic_fetch_sub(of, count);
	return false;
}

/* Only who was authenticated may send more than the usual, and only so much at a time. Whether the caller may do at all what needs such a body is in
 * the database, for which an HTTP thread does not wait. */
static bool reserve_body(struct request *r, size_t body_max)
{
	struct api *api = r->api;
	atomic_size_t *mine = &api->large_bodies_of[group_of(r)];
	size_t len = r->http->content_length > 0 ? (size_t)r->http->content_length : body_max;

	if (len <= REQUEST_BODY_MAX || len > body_max)
		return true; /* as small as any, or too large to be kept */
	if (!take_bytes(mine, len, LARGE_BODIES_GROUP_MAX))
		return false;
	if (!take_bytes(&api->large_bodies, len, LARGE_BODIES_MAX)) {
		atomic_fetch_sub(mine, len);
		return false;
	}
	r->large_body = len;
	return true;
}

static void release_body(struct request *r)
{
	atomic_fetch_sub(&r->api->large_bodies_of[group_of(r)], r->large_body);
	atomic_fetch_sub(&r->api->large_bodies, r->large_body);
}

static void decide(struct request *r, struct http_admission *ret_admission)
{
	uint8_t id[GUID_LEN] = { 0 };

	if (!guid_random(id)) {
		r->verdict = kms_fail(&r->verdict_err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
		return;
	}
	guid_format(id, r->id);
	if (r->listener != API_LOCAL)
		(void)snprintf(r->caller.peer, sizeof(r->caller.peer), "%.*s", CALLER_PEER_MAX - 1, r->http->peer);
	if (r->http->user_agent != NULL)
		(void)snprintf(r->caller.agent, sizeof(r->caller.agent), "%.*s", CALLER_AGENT_MAX, r->http->user_agent);
	r->verdict = r->listener == API_EKM        ? admit_pool(r)
	             : r->listener == API_IDENTITY ? local_service_admit(r)
	                                           : admit_bearer(r);
	if (r->verdict == KMS_OK)
		r->verdict = gate_admit(r);
	if (r->verdict == KMS_OK)
		r->verdict = take_allowance(r, find_tenant(r));
	if (r->verdict != KMS_OK || r->route == NULL || r->route->body == NULL || r->route->body->body_max == 0)
		return;
	ret_admission->body_max = r->route->body->body_max;
	if (reserve_body(r, ret_admission->body_max))
		return;
	r->verdict = KMS_E_THROTTLED;
	give_back_to_vault(r); /* what is not even read is nothing that the vault did */
}

static void admit(void *arg, struct http_request *http, struct http_admission *ret_admission, enum api_listener listener)
{
	struct request *r = calloc(1, sizeof(*r));

	http->app = r;
	ret_admission->body_max = listener == API_EKM ? EKM_BODY_MAX : REQUEST_BODY_MAX;
	if (r == NULL)
		return;
	r->api = arg;
	r->http = http;
	r->listener = listener;
	decide(r, ret_admission);
	ret_admission->drops_body = r->verdict != KMS_OK;
}

static void admit_main(void *arg, struct http_request *http, struct http_admission *ret) { admit(arg, http, ret, API_MAIN); }
static void admit_local(void *arg, struct http_request *http, struct http_admission *ret) { admit(arg, http, ret, API_LOCAL); }
static void admit_ekm(void *arg, struct http_request *http, struct http_admission *ret) { admit(arg, http, ret, API_EKM); }
static void admit_identity(void *arg, struct http_request *http, struct http_admission *ret) { admit(arg, http, ret, API_IDENTITY); }

/* ---- events ---- */

static void fill_event(struct request *r, const struct kms_err *err)
{
	struct event *e = &r->op.write.event;
	int http = r->response.status;

	e->type = r->route != NULL ? r->route->event : EVENT_DENIED;
	e->http = http;
	if (err->status != KMS_OK) {
		e->result = http == 401 || http == 403 ? EVENT_REFUSED : EVENT_FAILED;
		e->err = kms_status_inner(err->status) != NULL ? kms_status_inner(err->status) : kms_status_code(err->status);
	} else {
		e->result = EVENT_OK;
	}
}

/* What is known of the request before the operation begins; the intent of a two-phase act carries it too. */
static void begin_event(struct request *r)
{
	struct event *e = &r->op.write.event;

	e->type = r->route != NULL ? r->route->event : EVENT_DENIED;
	memcpy(e->req, r->id, sizeof(e->req));
	/* The key as it was named, so that a refusal says what it refused; the operation puts the one it found. */
	if (r->route != NULL && key_name_is_valid(r->key))
		memcpy(e->key_name, r->key, STORE_KEY_NAME_MAX + 1);
	if (r->http->client_request_id != NULL)
		(void)snprintf(e->corr, sizeof(e->corr), "%s", r->http->client_request_id);
	shorten_peer(r->http->peer, e->net_peer, sizeof(e->net_peer));
	(void)snprintf(e->net_tls, sizeof(e->net_tls), "%s", r->http->tls);
}

/* Somebody with a certificate: of nobody; or of a pool or service that was disabled meanwhile, or that asks another vault, whose log does not name
 * it. */
static void count_stranger(struct request *r, kms_status status, const char *peer)
{
	bool is_known = r->client_verdict == CLIENT_ACCEPTED;
	bool is_elsewhere = is_known && r->dialect == DIALECT_VAULT && !same_id(r->vault_directory, r->client.directory);
	const char *kind = r->client.is_service ? "service" : "pool";
	const char *why = !is_known ? client_verdict_name(r->client_verdict) : is_elsewhere ? "other_vault" : kind;
	const uint8_t *asked = r->dialect == DIALECT_VAULT ? r->vault_id : NULL;

	writer_count_stranger(r->api->cfg.kms->writer, kms_status_code(status), is_known && !is_elsewhere ? r->client.vault_id : asked, peer,
	                      why, is_elsewhere ? "" : r->client.subject);
}

static void count_denied(struct request *r, kms_status status)
{
	char peer[64];
	bool has_vault = r->dialect == DIALECT_VAULT && r->verdict != KMS_E_NOTFOUND && r->verdict != KMS_E_STORE;

	shorten_peer(r->http->peer, peer, sizeof(peer));
	if (r->by_certificate) {
		count_stranger(r, status, peer);
		return;
	}
	writer_count_denied(r->api->cfg.kms->writer, kms_status_code(status), has_vault ? r->vault_id : NULL, peer);
}

/* An order that takes something away says how long it took, from its first byte until its unit goes to the log's writer: its commit, from which on it is in force, follows
 * within one group commit. Whoever measures revocations measures by this (server/feed/report.c). */
static void note_order(struct request *r)
{
	const struct route *route = r->route;

	if (route == NULL || route->method == HTTP_GET || route_runs_in_log(route) != RUNS_LATE)
		return;
	if (route->body == &KEY_UPDATE_SCHEMA && (!r->body.common.has_enabled || r->body.common.is_enabled))
		return;
	op_det_number(&r->op, "took_us", clock_mono_us(&CLOCK_SYSTEM) - r->http->started_us);
}

/* ---- the end of a request ---- */

void request_log_failure(const struct request *r, const struct kms_err *err)
{
	/* While an issuer's keys are being read, or the event log is not good, anybody can be refused for it, as often as he likes; the log says elsewhere
	 * why that is (issuers.c, checkpoint.c). */
	bool is_known = r->verdict == KMS_E_BUSY || r->verdict == KMS_E_AUDIT || r->verdict == KMS_E_INTEGRITY;

	if (kms_status_http(err->status) >= 500 && !is_known)
		log_failure(LOG_ERROR, r->route != NULL ? r->route->operation : "request", r->id, err);
}

/* Answer without a leaf: overload, a log that cannot be written, and noise before authentication. */
static void answer_unlogged(struct request *r, const struct kms_err *err)
{
	int http = 0;

	reply_error(r, err);
	http = r->response.status;
	request_log_failure(r, err);
	/* What the writer itself answered, it has counted. */
	if ((http == 408 || http == 429 || http == 503) && (err->status != KMS_E_AUDIT || r->verdict == KMS_E_AUDIT))
		writer_count_refused(r->api->cfg.kms->writer);
	reply_send(r, false);
}

static void answer_unlogged_status(struct request *r, kms_status status)
{
	struct kms_err err = { .status = status };
	answer_unlogged(r, &err);
}

static void withhold(struct request *r, kms_status status)
{
	/* The result is in the rendered response; reply_error() erases it. */
	answer_unlogged_status(r, status == KMS_E_THROTTLED || status == KMS_E_SHUTDOWN ? status : KMS_E_AUDIT);
}

/* What the leaf brings with it besides its changes: the record of who it was, and the end of its intent. */
static void close_unit(struct request *r)
{
	if (r->op.write.event.type != EVENT_NONE)
		person_attach(&r->op);
	if (r->op.has_intent)
		op_change(&r->op, STORE_INTENT_CLOSE)->intent.seq = r->op.write.event.ref;
}

/* Whatever the operation prepared is off; only its refusal is written. */
static void prepare_failure(struct request *r, const struct kms_err *err)
{
	reply_error(r, err);
	request_log_failure(r, err);
	r->op.write.change_count = 0;
	/* A refusal of the caller's bytes was made with the key, so it depends on the key as much as a result does. */
	r->op.write.has_fence &= err->status == KMS_E_CRYPTO;
	r->op.after = NULL;
	fill_event(r, err);
	close_unit(r);
}

static enum lane lane_of(const struct request *r)
{
	return r->route != NULL ? r->route->lane : r->dialect == DIALECT_EKM ? LANE_EKM : LANE_META;
}

static void decide_anew(struct request *r)
{
	/* While stopping, a lane may be gone already. */
	if (atomic_load(&r->api->is_stopping) || ++r->attempts >= ATTEMPTS_MAX) {
		answer_unlogged_status(r, KMS_E_BUSY);
		return;
	}
	worker_resubmit(r->api->lanes[lane_of(r)], &r->job);
}

static void written(struct write *w)
{
	struct request *r = (struct request *)((char *)w - offsetof(struct request, op.write));

	switch (w->status) { /* allowed: all others withhold */
	case KMS_OK:
		person_entered(&r->op);
		gate_answer(r);
		return;
	case KMS_E_FENCED:
		decide_anew(r);
		return;
	default:
		withhold(r, w->status);
	}
}

static void write_async(struct request *r)
{
	kms_status status = KMS_OK;

	r->op.write.done = written;
	status = writer_submit(r->api->cfg.kms->writer, &r->op.write);
	if (status != KMS_OK)
		withhold(r, status);
}

/* A two-phase act failed after its intent: can the failure be its outcome? Not while something is left in the device that should not be
 * there; then the intent stays open, which is what recovery goes by. */
static bool take_back(struct op *op)
{
	if (op->is_irreversible || (op->undo != NULL && op->undo(op) != KMS_OK))
		return false;
	op->undo = NULL;
	return true;
}

/* What was begun is off: that is its outcome. Because its vault or key changed meanwhile: then the request starts again from the beginning. */
static void write_refusal(struct request *r, struct kms_err *err)
{
	kms_status refusal = err->status, status = KMS_OK;

	prepare_failure(r, err);
	status = writer_write(r->api->cfg.kms->writer, &r->op.write);
	if (status == KMS_OK)
		person_entered(&r->op);
	if (status != KMS_OK)
		withhold(r, status);
	else if (refusal == KMS_E_FENCED)
		decide_anew(r);
	else
		gate_answer(r);
}

/* Two-phase acts and those with something to do after the commit: the lane's thread waits. */
static void write_sync(struct request *r)
{
	struct op *op = &r->op;
	struct kms_err err = { 0 };
	bool had_intent = op->has_intent;
	kms_status status = writer_write(r->api->cfg.kms->writer, &op->write);

	if (status == KMS_OK) {
		person_entered(op);
		if (op->after != NULL)
			op->after(op);
		if (r->committed != NULL)
			r->committed(r);
		gate_answer(r);
		return;
	}
	if (!take_back(op) || (status != KMS_E_FENCED && status != KMS_E_CONFLICT && status != KMS_E_NOTFOUND)) {
		withhold(r, status);
		return;
	}
	if (!had_intent && status == KMS_E_FENCED) {
		decide_anew(r);
		return;
	}
	kms_ignore(kms_fail(&err, status, KMS_SRC_SELF, 0, "the planned change was not possible"));
	write_refusal(r, &err);
}

/* Its caller has been told so, or will be: then the log must not say that it was answered. */
static bool is_too_late(const struct request *r)
{
	return r->dialect == DIALECT_EKM && clock_mono_us(&CLOCK_SYSTEM) - r->http->started_us > EKM_DEADLINE_US;
}

static void finish(struct request *r, kms_status status, struct kms_err *err)
{
	/* No request pays for a root rotation. */
	if (root_was_replaced(&r->op, status))
		err->status = status = KMS_E_FENCED;
	if (status == KMS_OK && is_too_late(r))
		status = kms_fail(err, KMS_E_TIMEOUT, KMS_SRC_SELF, 0, "finished after %d ms", EKM_DEADLINE_MS);
	if (status == KMS_E_FENCED && !r->op.has_intent) {
		decide_anew(r);
		return;
	}
	if (!r->op.has_intent && (status == KMS_E_THROTTLED || status == KMS_E_AUDIT || status == KMS_E_SHUTDOWN)) {
		err->status = status;
		answer_unlogged(r, err);
		return;
	}
	if (status != KMS_OK && r->op.write.event.actor == EVENT_ACTOR_NONE) {
		/* Nobody was authenticated: noise is counted, so that it cannot fill the disk (audit-log.md 6.2). */
		err->status = status;
		if (kms_status_http(status) < 500)
			count_denied(r, status);
		give_back_to_vault(r);
		answer_unlogged(r, err);
		return;
	}
	if (status != KMS_OK && r->op.has_intent && !take_back(&r->op)) {
		err->status = status;
		answer_unlogged(r, err);
		return;
	}
	if (status == KMS_E_FENCED) {
		err->status = status;
		write_refusal(r, err);
		return;
	}
	if (status == KMS_OK && r->op.goes_on) {
		reply_send(r, false);
		return;
	}
	if (status != KMS_OK) {
		err->status = status;
		prepare_failure(r, err);
	} else {
		note_order(r);
		fill_event(r, err);
		close_unit(r);
	}
	if (r->op.write.event.type == EVENT_NONE)
		reply_send(r, false);
	else if (r->op.is_sync)
		write_sync(r);
	else
		write_async(r);
}

/* ---- work, in a lane ---- */

static bool has_content_type(const struct request *r, const char *type)
{
	const char *given = r->http->content_type;
	size_t len = strlen(type);

	return given != NULL && strncasecmp(given, type, len) == 0 && (given[len] == '\0' || given[len] == ';' || given[len] == ' ');
}

static kms_status read_body(struct request *r, struct kms_err *err)
{
	const struct json_schema *schema = r->route->body;

	if (schema == NULL)
		return KMS_OK;
	if (r->has_body) { /* decided anew: the secrets of the first time are gone */
		json_clear(schema, &r->body);
		r->has_body = false;
	}
	if (r->http->body_len > 0 && !has_content_type(r, "application/json"))
		return kms_refuse(err, KMS_E_MEDIA, "%s", kms_status_text(KMS_E_MEDIA));
	KMS_TRY(json_read(schema, r->http->body, r->http->body_len, &r->body, err));
	r->has_body = true;
	return KMS_OK;
}

static kms_status no_route(struct request *r, struct kms_err *err)
{
	if (r->allowed != 0)
		return kms_refuse(err, KMS_E_METHOD, "The method %s is not allowed here.", r->http->method_text);
	return kms_refuse(err, r->dialect == DIALECT_VAULT ? KMS_E_NOROUTE : KMS_E_NOTFOUND, "Operation not specified or unknown.");
}

/* Several certificates may be one pool's or service's: each leaf tells which it was, and of a pool's call which id was meant, however little of it can be
 * read (ekm-proxy.md 11.1). */
static void note_certificate(struct request *r)
{
	if (r->dialect == DIALECT_EKM && r->item[0] != '\0')
		op_det_text(&r->op, "external_id", r->item);
	if (r->dialect == DIALECT_EKM)
		op_det_text(&r->op, "pool", r->op.actor_name);
	op_det_text(&r->op, "cert_subject", r->client.subject);
	op_det_text(&r->op, "cert_sha256", r->client.thumbprint);
}

/* Those that may wait for the device. In the others is what must go on while a call of it hangs. */
static bool is_device_lane(enum lane lane)
{
	return lane == LANE_CRYPTO || lane == LANE_EKM || lane == LANE_KEYGEN || lane == LANE_DESTROY;
}

/* Also of whoever is refused it is told who he is, once that is known. */
static kms_status open_op(struct request *r, struct kms_err *err)
{
	kms_status status = op_open(&r->op, r->vault[0] != '\0' ? r->vault : NULL, err);

	if (r->route == NULL || r->route->event != EVENT_NONE)
		person_note(&r->op, is_device_lane(lane_of(r)));
	return status;
}

static kms_status perform(struct request *r, struct kms_err *err)
{
	if (r->is_public_path)
		return no_route(r, err);
	if (!is_public(r))
		KMS_TRY(open_op(r, err));
	if (r->by_certificate) {
		note_certificate(r);
		KMS_TRY(check_certificate(r, err));
	}
	if (!router_query(r, r->http->query))
		return kms_refuse(err, KMS_E_INVALID, "The query is malformed or has more than %d parameters.", QUERY_MAX);
	if (r->route == NULL)
		return no_route(r, err);
	if (r->dialect == DIALECT_VAULT || r->dialect == DIALECT_EKM)
		KMS_TRY(router_api_version(r, err));
	if (!is_public(r))
		KMS_TRY(op_authorise(&r->op, r->route->permission, r->key, err));
	if (!route_runs_locked(r->route, r->op.caller.auth == EVENT_AUTH_LOCAL))
		KMS_TRY(op_need_unlocked_vault(&r->op, err));
	KMS_TRY(gate_founding(r, err));
	KMS_TRY(read_body(r, err));
	return r->route->handler(r, err);
}

/* The state changed between reading it and being written: if that was a revoke or a destruction, its own eviction may have come before this
 * request loaded the version again. The result was withheld; the loaded copy must go too. */
static void forget_loaded(struct request *r)
{
	if (r->attempts > 0 && r->op.version.wrapped != NULL)
		kms_ignore(hsm_key_evict(r->api->cfg.kms->hsm, r->op.version.obj, 0, NULL)); /* best effort: no use is possible */
}

static void run(struct job *job, void *thread_state)
{
	struct request *r = (struct request *)job;
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;

	forget_loaded(r);
	r->op.kms = r->api->cfg.kms;
	r->op.store = thread_state;
	r->op.caller = r->caller;
	op_clear(&r->op);
	begin_event(r);
	if (is_too_late(r)) {
		answer_unlogged_status(r, KMS_E_TIMEOUT);
		return;
	}
	if (clock_mono_us(&CLOCK_SYSTEM) - r->http->started_us > WAIT_MAX_US) {
		answer_unlogged_status(r, KMS_E_BUSY);
		return;
	}
	status = perform(r, &err);
	/* What waits for the disk, or for a slow reader, holds no secret: the secure heap is small, and everybody's. */
	if (r->has_body)
		json_drop_secrets(r->route->body, &r->body);
	finish(r, status, &err);
}

/* ---- serving, on an HTTP thread ---- */

/* No tenant may fill a lane: half of each is the most that one can hold, so that the others, and what revokes, still get in. The local socket is
 * not counted. */
static bool take_share(struct request *r)
{
	atomic_uint *share = &r->api->shares[lane_of(r)][group_of(r)];

	if (r->listener == API_LOCAL)
		return true;
	if (atomic_fetch_add(share, 1) >= (r->api->cfg.queue + 1) / 2) {
		atomic_fetch_sub(share, 1);
		return false;
	}
	r->share = share;
	return true;
}

/* Nothing waits here: either it is refused at once, needs neither device nor disk, or goes into its lane. */
static void serve_any(struct api *api, struct http_request *http, enum dialect dialect)
{
	struct request *r = http->app;
	kms_status status = KMS_OK;

	if (r == NULL) {
		struct http_response res = { 0 };
		reply_refusal(api->cfg.kms, http, dialect, KMS_E_NOMEM, NULL, &res);
		http_reply(http, &res);
		return;
	}
	if (r->verdict != KMS_OK) {
		if (kms_status_http(r->verdict) < 500 && r->verdict != KMS_E_THROTTLED)
			count_denied(r, r->verdict);
		r->verdict_err.status = r->verdict;
		answer_unlogged(r, &r->verdict_err);
		return;
	}
	r->job.run = run;
	r->job.group = group_of(r);
	if (is_public(r) && r->route->event == EVENT_NONE) {
		run(&r->job, NULL);
		return;
	}
	status = take_share(r) ? worker_submit(api->lanes[lane_of(r)], &r->job) : KMS_E_THROTTLED;
	if (status != KMS_OK)
		answer_unlogged_status(r, status);
}

static void serve(void *arg, struct http_request *http) { serve_any(arg, http, DIALECT_DOMAIN); }
static void serve_ekm(void *arg, struct http_request *http) { serve_any(arg, http, DIALECT_EKM); }
static void serve_identity(void *arg, struct http_request *http) { serve_any(arg, http, DIALECT_IDENTITY); }

static void refuse_any(struct api *api, struct http_request *http, enum dialect dialect, kms_status status, const char *message,
                       struct http_response *ret)
{
	char peer[64];

	shorten_peer(http->peer, peer, sizeof(peer));
	if (kms_status_http(status) < 500)
		writer_count_denied(api->cfg.kms->writer, kms_status_code(status), NULL, peer);
	if (http->app == NULL)
		metrics_count_refusal(api->metrics, dialect, kms_status_http(status));
	reply_refusal(api->cfg.kms, http, dialect, status, message, ret);
}

static void refuse(void *arg, struct http_request *http, kms_status status, const char *message, struct http_response *ret)
{
	refuse_any(arg, http, DIALECT_DOMAIN, status, message, ret);
}

static void refuse_identity(void *arg, struct http_request *http, kms_status status, const char *message, struct http_response *ret)
{
	refuse_any(arg, http, DIALECT_IDENTITY, status, message, ret);
}

/* The transport's own refusals of a pool's request. Who may not call at all learns nothing else, and so is asked for his certificate even when his
 * request was too bad to be admitted. Late work is not counted: it writes its leaf when it ends. */
static void refuse_ekm(void *arg, struct http_request *http, kms_status status, const char *message, struct http_response *ret)
{
	struct api *api = arg;
	const struct request *r = http->app;
	struct client_holder client = { 0 };
	enum client_verdict verdict = CLIENT_ACCEPTED;
	char peer[64];

	shorten_peer(http->peer, peer, sizeof(peer));
	if (r == NULL)
		verdict = client_trust_check(api->trust, http->client_chain, http->client_chain_count, false, &client);
	else if (r->verdict == KMS_E_UNAUTHENTICATED)
		verdict = r->client_verdict;
	if (verdict != CLIENT_ACCEPTED) {
		status = KMS_E_UNAUTHENTICATED;
		writer_count_stranger(api->cfg.kms->writer, kms_status_code(status), NULL, peer, client_verdict_name(verdict),
		                      r != NULL ? r->client.subject : client.subject);
	} else if (status != KMS_E_TIMEOUT && kms_status_http(status) < 500) {
		if (message == HTTP_GUARD_NO_BODY) /* whatever the path, only POST is spoken here */
			status = KMS_E_METHOD;
		writer_count_denied(api->cfg.kms->writer, kms_status_code(status), NULL, peer);
	}
	reply_refusal(api->cfg.kms, http, DIALECT_EKM, status, message, ret);
}

static void end(void *arg, struct http_request *http)
{
	struct request *r = http->app;

	(void)arg;
	if (r == NULL)
		return;
	if (r->large_body > 0)
		release_body(r);
	if (r->has_body)
		json_clear(r->route->body, &r->body);
	if (r->op.kms != NULL)
		op_clear(&r->op);
	free(r);
	http->app = NULL;
}

struct http_app api_app(struct api *api, enum api_listener listener)
{
	switch (listener) {
	case API_MAIN:
		return (struct http_app){ .arg = api, .admit = admit_main, .serve = serve, .refuse = refuse, .end = end };
	case API_LOCAL:
		return (struct http_app){ .arg = api, .admit = admit_local, .serve = serve, .refuse = refuse, .end = end };
	case API_IDENTITY:
		return (struct http_app){ .arg = api, .admit = admit_identity, .serve = serve_identity, .refuse = refuse_identity, .end = end };
	case API_EKM:
		break;
	}
	return (struct http_app){ .arg = api, .admit = admit_ekm, .serve = serve_ekm, .refuse = refuse_ekm, .end = end };
}
