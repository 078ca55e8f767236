/* api/http_exchange.c - one request through the library's callbacks: guard, admission, body, suspension, answer. */
#include <assert.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http_internal.h"

#define BODY_FIRST_CAP 4096U
/* The catalogue's text speaks of a request that was slow to arrive. */
static const char LATE_TEXT[] = "The operation did not finish in time.";
/* A body this much over the limit is still read, so that the client is listening when the 413 arrives. */
#define DISCARD_MAX (1U << 20)

static void erase_free(void *p, size_t len)
{
	if (p != NULL)
		OPENSSL_cleanse(p, len);
	free(p);
}

/* ---- life ---- */

static void exchange_ref(struct exchange *ex) { atomic_fetch_add_explicit(&ex->refs, 1, memory_order_relaxed); }

static void exchange_unref(struct exchange *ex)
{
	if (atomic_fetch_sub_explicit(&ex->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (ex->is_admitted)
		ex->app.end(ex->app.arg, &ex->req);
	erase_free(ex->body, ex->body_cap);
	erase_free(ex->strings, ex->strings_len);
	free(ex->client_der);
	free(ex);
}

void *exchange_begin(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	struct http_server *s = cls;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *c = info == NULL ? NULL : info->socket_context;
	size_t len = uri == NULL ? 0 : strlen(uri);
	const char *problem = http_guard_target(uri, len);
	size_t kept = problem == NULL ? len : 0;
	if (c == NULL)
		return NULL;
	struct exchange *ex = calloc(1, sizeof(*ex) + kept + 1);
	if (ex == NULL)
		return NULL; /* exchange_handle() then cuts the connection */
	int64_t now_us = http_now_us();
	/* The first request's clock runs since the connection was accepted. */
	if (c->had_request)
		connection_set_deadline(c, now_us + (int64_t)s->cfg.headers_ms * US_PER_MS);
	c->had_request = true;

	atomic_init(&ex->refs, 1);
	ex->server = s;
	ex->mhd = mhd;
	ex->conn = c;
	ex->app = s->app;
	ex->target_at = uri;
	ex->target_len = len;
	ex->target_problem = problem;
	memcpy(ex->target, uri, kept);
	char *mark = memchr(ex->target, '?', kept);
	if (mark != NULL)
		*mark = '\0';
	struct http_request *req = &ex->req;
	req->method = HTTP_OTHER;
	req->method_text = "";
	req->path = problem == NULL ? ex->target : "/";
	req->query = mark != NULL ? mark + 1 : "";
	req->host = "";
	req->started_us = now_us;
	req->peer_uid = c->uid;
	memcpy(req->peer, c->peer, sizeof(req->peer));
	return ex;
}

/* ---- answer ---- */

static void reply_body_free(void *cls)
{
	struct exchange *ex = cls;
	erase_free(ex->reply_body, ex->reply_len);
	ex->reply_body = NULL;
	exchange_unref(ex);
}

static struct MHD_Response *response_create(struct exchange *ex, struct http_response *r)
{
	struct MHD_Response *response;
	static char none[1];
	if (r->body == NULL || r->body_len == 0) {
		erase_free(r->body, r->body_len);
		response = MHD_create_response_from_buffer(0, none, MHD_RESPMEM_PERSISTENT);
	} else {
		ex->reply_body = r->body;
		ex->reply_len = r->body_len;
		exchange_ref(ex);
		response = MHD_create_response_from_buffer_with_free_callback_cls(r->body_len, r->body, reply_body_free, ex);
		if (response == NULL)
			reply_body_free(ex);
	}
	r->body = NULL;
	return response;
}

/* Takes r->body. Leaves ex->response NULL when memory is short: then the connection is cut rather than answered in part. */
static void response_build(struct exchange *ex, struct http_response *r)
{
	struct MHD_Response *response = response_create(ex, r);
	if (response == NULL)
		return;
	bool is_whole = true;
	for (size_t i = 0; i < r->header_count; i++)
		is_whole = is_whole && MHD_add_response_header(response, r->headers[i].name, r->headers[i].value) == MHD_YES;
	if (r->close || atomic_load_explicit(&ex->server->is_quiescing, memory_order_relaxed))
		is_whole = is_whole && MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES;
	if (!is_whole) {
		MHD_destroy_response(response);
		return;
	}
	ex->status = (unsigned)r->status;
	ex->response = response;
}

/* On the HTTP thread. MHD_NO makes the library cut the connection. */
static enum MHD_Result response_queue(struct exchange *ex)
{
	struct MHD_Response *response = KMS_TAKE(ex->response);
	ex->phase = EXCHANGE_ANSWERED;
	if (response == NULL)
		return MHD_NO;
	connection_set_deadline(ex->conn, http_now_us() + (int64_t)ex->server->cfg.request_ms * US_PER_MS);
	if (ex->status != MHD_HTTP_UNAUTHORIZED)
		atomic_store_explicit(&ex->conn->is_welcome, true, memory_order_relaxed);
	enum MHD_Result queued = MHD_queue_response(ex->mhd, ex->status, response);
	MHD_destroy_response(response);
	return queued;
}

/* The application words the refusal. */
static void refusal_build(struct exchange *ex, kms_status status, const char *message, bool closes)
{
	struct http_response r = { .status = kms_status_http(status) };
	ex->app.refuse(ex->app.arg, &ex->req, status, message, &r);
	r.close = closes;
	response_build(ex, &r);
}

static enum MHD_Result refuse_now(struct exchange *ex, kms_status status, const char *message)
{
	atomic_fetch_add(&ex->server->answering, 1);
	refusal_build(ex, status, message, true);
	return response_queue(ex);
}

/* ---- work ---- */

static void work_unlink_locked(struct http_server *s, struct exchange *ex)
{
	*(ex->prev != NULL ? &ex->prev->next : &s->work_head) = ex->next;
	*(ex->next != NULL ? &ex->next->prev : &s->work_tail) = ex->prev;
	ex->prev = ex->next = NULL;
	s->working--;
	if (s->is_stopping)
		(void)pthread_cond_broadcast(&s->work_changed);
}

/* The claim's winner has built the response. The request stays listed until it was resumed, so that http_stop() cannot overtake that. */
static void work_deliver(struct exchange *ex)
{
	struct http_server *s = ex->server;
	(void)pthread_mutex_lock(&s->work_lock);
	ex->is_ready = true;
	bool is_suspended = ex->is_suspended;
	if (!is_suspended)
		work_unlink_locked(s, ex);
	(void)pthread_mutex_unlock(&s->work_lock);
	if (!is_suspended)
		return; /* serve() has not returned yet; the HTTP thread will find the answer there */
	MHD_resume_connection(ex->mhd);
	(void)pthread_mutex_lock(&s->work_lock);
	work_unlink_locked(s, ex);
	(void)pthread_mutex_unlock(&s->work_lock);
}

/* The list is ordered by deadline. A body that came slowly makes its request's deadline earlier than some that began to be worked on before. */
static void work_link_locked(struct http_server *s, struct exchange *ex)
{
	struct exchange *before = s->work_tail;
	while (before != NULL && before->work_deadline_us > ex->work_deadline_us)
		before = before->prev;
	struct exchange *after = before != NULL ? before->next : s->work_head;
	ex->prev = before;
	ex->next = after;
	*(before != NULL ? &before->next : &s->work_head) = ex;
	*(after != NULL ? &after->prev : &s->work_tail) = ex;
	s->working++;
}

/* Where a late answer is 408, the caller's clock runs from the first byte of its request (ekm-proxy.md 8), and so does ours. */
static bool work_begin(struct exchange *ex)
{
	struct http_server *s = ex->server;
	int64_t from_us = s->cfg.late == KMS_E_TIMEOUT ? ex->req.started_us : http_now_us();
	ex->work_deadline_us = from_us + (int64_t)s->cfg.work_ms * US_PER_MS;
	(void)pthread_mutex_lock(&s->work_lock);
	bool is_refusing = s->is_refusing;
	if (!is_refusing)
		work_link_locked(s, ex);
	(void)pthread_mutex_unlock(&s->work_lock);
	return !is_refusing;
}

static bool work_is_ready(struct exchange *ex, bool is_suspended)
{
	(void)pthread_mutex_lock(&ex->server->work_lock);
	bool is_ready = ex->is_ready;
	if (!is_ready)
		ex->is_suspended = is_suspended;
	(void)pthread_mutex_unlock(&ex->server->work_lock);
	return is_ready;
}

static enum MHD_Result serve(struct exchange *ex)
{
	if (ex->is_too_large)
		return refuse_now(ex, KMS_E_TOO_LARGE, kms_status_text(KMS_E_TOO_LARGE));
	if (!work_begin(ex))
		return refuse_now(ex, KMS_E_SHUTDOWN, kms_status_text(KMS_E_SHUTDOWN));
	ex->phase = EXCHANGE_WORK;
	ex->req.body = ex->body;
	connection_set_deadline(ex->conn, NO_DEADLINE); /* the work deadline takes over */
	atomic_fetch_add(&ex->server->answering, 1);
	exchange_ref(ex); /* the application's, until http_reply() */
	ex->app.serve(ex->app.arg, &ex->req);
	if (work_is_ready(ex, false))
		return response_queue(ex);
	MHD_suspend_connection(ex->mhd);
	/* The answer may have come between the two looks; nobody else will resume then. */
	if (work_is_ready(ex, true))
		MHD_resume_connection(ex->mhd);
	return MHD_YES;
}

static bool exchange_claim(struct exchange *ex) { return !atomic_exchange_explicit(&ex->is_claimed, true, memory_order_acq_rel); }

void http_reply(struct http_request *req, struct http_response *response)
{
	struct exchange *ex = (struct exchange *)req;
	_Static_assert(offsetof(struct exchange, req) == 0, "http_reply() converts the address");
	if (exchange_claim(ex)) {
		response_build(ex, response);
		work_deliver(ex);
	} else {
		erase_free(response->body, response->body_len);
		response->body = NULL;
	}
	exchange_unref(ex);
}

int64_t exchange_next_expiry_us(struct http_server *s)
{
	(void)pthread_mutex_lock(&s->work_lock);
	const struct exchange *ex = s->work_head;
	while (ex != NULL && atomic_load_explicit(&ex->is_claimed, memory_order_relaxed))
		ex = ex->next; /* its answer is just being delivered */
	int64_t expiry_us = ex == NULL ? NO_DEADLINE : ex->work_deadline_us;
	(void)pthread_mutex_unlock(&s->work_lock);
	return expiry_us;
}

bool exchange_expire_one(struct http_server *s, int64_t now_us, kms_status status)
{
	(void)pthread_mutex_lock(&s->work_lock);
	struct exchange *ex = s->work_head;
	while (ex != NULL && ex->work_deadline_us <= now_us && !exchange_claim(ex))
		ex = ex->next; /* its answer is just being delivered */
	bool is_due = ex != NULL && ex->work_deadline_us <= now_us;
	if (is_due)
		exchange_ref(ex);
	(void)pthread_mutex_unlock(&s->work_lock);
	if (!is_due)
		return false;
	/* A late answer says nothing against the connection: its request was regular and has been read to the end. Under overload it is let go. */
	bool is_late = status == KMS_E_TIMEOUT;
	refusal_build(ex, status, is_late ? LATE_TEXT : kms_status_text(status), !is_late);
	work_deliver(ex);
	exchange_unref(ex);
	return true;
}

/* ---- headers ---- */

struct header_walk {
	struct http_guard *guard;
	const char *problem;
};

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len, const char *value,
                                   size_t value_len)
{
	struct header_walk *walk = cls;
	(void)kind;
	walk->problem = value == NULL ? "A header line is malformed." : http_guard_header(walk->guard, name, name_len, value, value_len);
	return walk->problem == NULL ? MHD_YES : MHD_NO;
}

static const char *judge(struct exchange *ex, struct http_guard *g, const char *method, const char *version)
{
	if (ex->target_problem != NULL)
		return ex->target_problem;
	const char *problem = http_guard_begin(g, method, ex->target_at, ex->target_len, version);
	if (problem != NULL)
		return problem;
	struct header_walk walk = { .guard = g };
	(void)MHD_get_connection_values_n(ex->mhd, MHD_HEADER_KIND, take_header, &walk);
	if (walk.problem != NULL)
		return walk.problem;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(ex->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	return http_guard_finish(g, method + (info == NULL ? 0 : info->header_size));
}

/* Copy what the application may look at; the library's buffer dies with the connection, and a late worker may still be reading. */
static bool keep_strings(struct exchange *ex, const struct http_guard *g, const char *method)
{
	struct http_request *req = &ex->req;
	struct http_span method_span = { .text = method, .len = strlen(method) };
	struct {
		const char **to;
		struct http_span from;
	} kept[] = {
		{ &req->method_text, method_span },
		{ &req->host, g->known[HTTP_H_HOST] },
		{ &req->authorization, g->known[HTTP_H_AUTHORIZATION] },
		{ &req->content_type, g->known[HTTP_H_CONTENT_TYPE] },
		{ &req->client_request_id, g->known[HTTP_H_CLIENT_REQUEST_ID] },
		{ &req->user_agent, g->known[HTTP_H_USER_AGENT] },
		{ &req->identity_header, g->known[HTTP_H_IDENTITY_HEADER] },
	};
	for (size_t i = 0; i < KMS_ARRAY_LEN(kept); i++)
		if (kept[i].from.text != NULL)
			ex->strings_len += kept[i].from.len + 1;
	ex->strings = malloc(ex->strings_len);
	if (ex->strings == NULL)
		return false;
	char *p = ex->strings;
	for (size_t i = 0; i < KMS_ARRAY_LEN(kept); i++) {
		if (kept[i].from.text == NULL)
			continue;
		memcpy(p, kept[i].from.text, kept[i].from.len + 1);
		*kept[i].to = p;
		p += kept[i].from.len + 1;
	}
	const struct http_span *id = &g->known[HTTP_H_CLIENT_REQUEST_ID];
	if (id->text != NULL && !http_guard_is_request_id(id->text, id->len))
		req->client_request_id = NULL;
	for (enum http_known_header h = HTTP_H_FORWARDED; h <= HTTP_H_VIA; h++)
		req->is_forwarded |= g->known[h].text != NULL;
	req->method = g->method;
	return true;
}

/* False: no memory. */
static bool note_tls(struct exchange *ex)
{
	const struct tls_store *tls = ex->server->tls;
	struct http_request *req = &ex->req;
	const union MHD_ConnectionInfo *info = tls == NULL ? NULL : MHD_get_connection_info(ex->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	if (info == NULL)
		return true;
	(void)snprintf(req->tls, sizeof(req->tls), "%s", tls_version_text(info->tls_session));
	return tls_store_client_chain(tls, info->tls_session, req->client_chain, &req->client_chain_count, &ex->client_der);
}

/* First callback: the headers are there. An answer queued here ends the connection, so only what must end it is answered here. */
static enum MHD_Result take_headers(struct exchange *ex, const char *method, const char *version)
{
	struct http_guard g = { 0 };
	struct http_admission admission = { 0 };

	if (!note_tls(ex))
		return MHD_NO;
	const char *problem = judge(ex, &g, method, version);
	if (problem != NULL)
		return refuse_now(ex, problem == ex->target_problem ? KMS_E_NOROUTE : KMS_E_INVALID, problem);
	if (!keep_strings(ex, &g, method))
		return MHD_NO;
	ex->req.content_length = g.content_length;
	ex->is_admitted = true;
	ex->app.admit(ex->app.arg, &ex->req, &admission);
	ex->body_max = admission.body_max < HTTP_BODY_MAX ? admission.body_max : HTTP_BODY_MAX;
	ex->drops_body = admission.drops_body;
	ex->is_too_large = g.content_length > ex->body_max;
	if (ex->is_too_large && g.content_length - ex->body_max > DISCARD_MAX)
		return refuse_now(ex, KMS_E_TOO_LARGE, kms_status_text(KMS_E_TOO_LARGE));
	ex->phase = EXCHANGE_BODY;
	connection_set_deadline(ex->conn, ex->req.started_us + (int64_t)ex->server->cfg.request_ms * US_PER_MS);
	return MHD_YES;
}

/* ---- body ---- */

/* Grow without realloc(), which would leave a copy behind. A length that was only announced reserves nothing large. */
static bool body_reserve(struct exchange *ex, size_t need)
{
	if (need <= ex->body_cap)
		return true;
	size_t cap = ex->body_cap == 0 ? BODY_FIRST_CAP : ex->body_cap * 2;
	if (ex->req.content_length > 0 && ex->req.content_length < cap)
		cap = (size_t)ex->req.content_length;
	if (cap < need)
		cap = need;
	uint8_t *body = malloc(cap);
	if (body == NULL)
		return false;
	if (ex->req.body_len > 0)
		memcpy(body, ex->body, ex->req.body_len);
	erase_free(ex->body, ex->body_cap);
	ex->body = body;
	ex->body_cap = cap;
	return true;
}

static enum MHD_Result take_body(struct exchange *ex, const char *data, size_t *len)
{
	size_t n = *len;
	*len = 0;
	if (n > ex->body_max - ex->req.body_len)
		ex->is_too_large = true;
	if (ex->is_too_large || ex->drops_body) {
		ex->discarded += n;
		if (ex->discarded > ex->body_max + DISCARD_MAX)
			return MHD_NO;
	} else {
		if (!body_reserve(ex, ex->req.body_len + n))
			return MHD_NO;
		memcpy(ex->body + ex->req.body_len, data, n);
		ex->req.body_len += n;
	}
	/* The library's own buffer, const for us by its interface only: what lay there may have been a secret. */
	OPENSSL_cleanse((void *)(uintptr_t)data, n);
	return MHD_YES;
}

enum MHD_Result exchange_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
                                const char *upload_data, size_t *upload_data_size, void **con_cls)
{
	struct exchange *ex = *con_cls;
	(void)cls;
	(void)mhd;
	(void)url;
	if (ex == NULL)
		return MHD_NO;
	switch (ex->phase) {
	case EXCHANGE_NEW:
		return take_headers(ex, method, version);
	case EXCHANGE_BODY:
		return *upload_data_size > 0 ? take_body(ex, upload_data, upload_data_size) : serve(ex);
	case EXCHANGE_WORK:
		return response_queue(ex); /* resumed: only an answer resumes */
	case EXCHANGE_ANSWERED:
		return MHD_YES;
	}
	return MHD_NO;
}

void exchange_completed(void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode code)
{
	struct http_server *s = cls;
	struct exchange *ex = *con_cls;
	(void)mhd;
	(void)code; /* also says COMPLETED_OK for answers that never arrived */
	if (ex == NULL)
		return;
	*con_cls = NULL;
	bool was_answering = ex->phase == EXCHANGE_WORK || ex->phase == EXCHANGE_ANSWERED;
	/* Stopped between the answer and its sending: the response holds a reference to this exchange. */
	if (ex->response != NULL)
		MHD_destroy_response(KMS_TAKE(ex->response));
	connection_set_deadline(ex->conn, http_now_us() + (int64_t)s->cfg.idle_s * US_PER_S);
	exchange_unref(ex);
	if (was_answering && atomic_fetch_sub(&s->answering, 1) == 1) {
		(void)pthread_mutex_lock(&s->work_lock);
		if (s->is_stopping)
			(void)pthread_cond_broadcast(&s->work_changed);
		(void)pthread_mutex_unlock(&s->work_lock);
	}
}
