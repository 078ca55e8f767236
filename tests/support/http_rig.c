/* tests/support/http_rig.c - see http_rig.h. */
#include "tests/support/http_rig.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/base/secret.h"
#include "tests/support/raw_client.h"
#include "tests/support/temp.h"

#define HEAP_BYTES (64U << 10)

static const char *const REPLY_TYPE = "text/plain";

static void answer(struct http_request *req, const char *text)
{
	const struct http_header headers[] = { { "Content-Type", REPLY_TYPE }, { "X-Rig", "yes" } };
	struct http_response r = { .status = 200, .headers = headers, .header_count = 2, .body = strdup(text), .body_len = strlen(text) };
	http_reply(req, &r);
}

static void answer_seen(struct http_request *req)
{
	char text[4096];
	unsigned sum = 0;
	for (size_t i = 0; i < req->body_len; i++)
		sum += req->body[i];
	(void)snprintf(text, sizeof(text), "%s %s?%s %zu %u", req->method_text, req->path, req->query, req->body_len, sum);
	answer(req, text);
}

static void answer_chain(struct http_request *req)
{
	char text[1024], name[64];
	int len = snprintf(text, sizeof(text), "%zu", req->client_chain_count);
	for (size_t i = 0; i < req->client_chain_count; i++) {
		const uint8_t *der = req->client_chain[i].der;
		X509 *crt = d2i_X509(NULL, &der, (long)req->client_chain[i].len);
		assert(crt != NULL && der == req->client_chain[i].der + req->client_chain[i].len);
		assert(X509_NAME_get_text_by_NID(X509_get_subject_name(crt), NID_commonName, name, sizeof(name)) > 0);
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%s %s", i == 0 ? "" : ",", name);
		assert((size_t)len < sizeof(text));
		X509_free(crt);
	}
	answer(req, text);
}

static void rig_admit(void *arg, struct http_request *req, struct http_admission *ret_admission)
{
	struct rig *rig = arg;
	atomic_fetch_add(&rig->admits, 1);
	req->app = malloc(1); /* a leak checker sees it when end() is forgotten */
	ret_admission->body_max = atomic_load(&rig->body_max);
	ret_admission->drops_body = atomic_load(&rig->drops_body);
}

static void rig_serve(void *arg, struct http_request *req)
{
	struct rig *rig = arg;
	bool is_now = false;
	atomic_store(&rig->peer_uid, (unsigned)req->peer_uid);
	(void)pthread_mutex_lock(&rig->lock);
	memcpy(rig->tls, req->tls, sizeof(rig->tls));
	memcpy(rig->peer, req->peer, sizeof(rig->peer));
	if (strcmp(req->path, "/hold") == 0) {
		assert(rig->held_count < RIG_HELD_MAX);
		rig->held[rig->held_count++] = req;
	} else if (strcmp(req->path, "/later") == 0) {
		assert(rig->queue_count < RIG_HELD_MAX);
		rig->queue[rig->queue_count++] = req;
	} else {
		is_now = true;
	}
	(void)pthread_cond_broadcast(&rig->changed);
	(void)pthread_mutex_unlock(&rig->lock);
	if (is_now && strcmp(req->path, "/chain") == 0)
		answer_chain(req);
	else if (is_now)
		answer_seen(req);
}

static void rig_refuse(void *arg, struct http_request *req, kms_status status, const char *message, struct http_response *ret)
{
	struct rig *rig = arg;
	(void)req;
	atomic_fetch_add(&rig->refusals, 1);
	atomic_store(&rig->last_refusal, (int)status);
	int n = asprintf(&ret->body, "refused: %s", message);
	ret->body_len = n < 0 ? 0 : (size_t)n;
	ret->status = kms_status_http(status);
}

static void rig_end(void *arg, struct http_request *req)
{
	struct rig *rig = arg;
	free(req->app);
	(void)pthread_mutex_lock(&rig->lock);
	atomic_fetch_add(&rig->ends, 1);
	(void)pthread_cond_broadcast(&rig->changed);
	(void)pthread_mutex_unlock(&rig->lock);
}

static struct http_request *take_first_locked(struct http_request **list, size_t *count)
{
	struct http_request *first = list[0];
	(*count)--;
	memmove(list, list + 1, *count * sizeof(*list));
	return first;
}

static void *replier_run(void *arg)
{
	struct rig *rig = arg;
	(void)pthread_mutex_lock(&rig->lock);
	while (!rig->is_stopping || rig->queue_count > 0) {
		if (rig->queue_count == 0) {
			(void)pthread_cond_wait(&rig->changed, &rig->lock);
			continue;
		}
		struct http_request *req = take_first_locked(rig->queue, &rig->queue_count);
		(void)pthread_mutex_unlock(&rig->lock);
		answer_seen(req);
		(void)pthread_mutex_lock(&rig->lock);
	}
	(void)pthread_mutex_unlock(&rig->lock);
	return NULL;
}

struct rig *rig_new(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	assert(rig != NULL);
	if (!CRYPTO_secure_malloc_initialized())
		assert(secret_heap_init(HEAP_BYTES, NULL) == KMS_OK);
	t_temp_dir("http", rig->dir);
	(void)snprintf(rig->cert, sizeof(rig->cert), "%s/cert.pem", rig->dir);
	(void)snprintf(rig->key, sizeof(rig->key), "%s/key.pem", rig->dir);
	(void)snprintf(rig->client_cert, sizeof(rig->client_cert), "%s/client.pem", rig->dir);
	(void)snprintf(rig->client_key, sizeof(rig->client_key), "%s/client.key", rig->dir);
	(void)snprintf(rig->socket, sizeof(rig->socket), "%s/socket", rig->dir);
	assert(raw_write_certificate(rig->cert, rig->key, "first", false));
	(void)pthread_mutex_init(&rig->lock, NULL);
	(void)pthread_cond_init(&rig->changed, NULL);
	atomic_store(&rig->body_max, RIG_BODY_MAX);
	rig->cfg = (struct http_config){
		.name = "test", .address = "127.0.0.1", .threads = 2, .connections = 64, .headers_ms = 5000, .request_ms = 10000,
		.idle_s = 60, .work_ms = 30000, .cert_file = rig->cert, .key_file = rig->key,
	};
	assert(pthread_create(&rig->replier, NULL, replier_run, rig) == 0);
	return rig;
}

bool rig_start(struct rig *rig, struct kms_err *err)
{
	const struct http_app app = { .arg = rig, .admit = rig_admit, .serve = rig_serve, .refuse = rig_refuse, .end = rig_end };
	if (http_start(&rig->cfg, &app, &rig->server, err) != KMS_OK)
		return false;
	rig->port = http_port(rig->server);
	return true;
}

static bool wait_changed_locked(struct rig *rig)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += RAW_PATIENCE_MS / 1000;
	return pthread_cond_timedwait(&rig->changed, &rig->lock, &until) == 0;
}

bool rig_wait_held(struct rig *rig, size_t count)
{
	(void)pthread_mutex_lock(&rig->lock);
	while (rig->held_count < count && wait_changed_locked(rig))
		;
	bool is_there = rig->held_count >= count;
	(void)pthread_mutex_unlock(&rig->lock);
	return is_there;
}

void rig_release(struct rig *rig, const char *text)
{
	(void)pthread_mutex_lock(&rig->lock);
	assert(rig->held_count > 0);
	struct http_request *req = take_first_locked(rig->held, &rig->held_count);
	(void)pthread_mutex_unlock(&rig->lock);
	answer(req, text);
}

bool rig_wait_ended(struct rig *rig, unsigned count)
{
	(void)pthread_mutex_lock(&rig->lock);
	while (atomic_load(&rig->ends) < count && wait_changed_locked(rig))
		;
	bool is_there = atomic_load(&rig->ends) == count;
	(void)pthread_mutex_unlock(&rig->lock);
	return is_there;
}

void rig_stop_server(struct rig *rig, unsigned drain_ms)
{
	http_stop(rig->server, drain_ms);
	rig->server = NULL;
}

void rig_free(struct rig *rig)
{
	rig_stop_server(rig, 0);
	while (rig->held_count > 0)
		rig_release(rig, "too late");
	(void)pthread_mutex_lock(&rig->lock);
	rig->is_stopping = true;
	(void)pthread_cond_broadcast(&rig->changed);
	(void)pthread_mutex_unlock(&rig->lock);
	(void)pthread_join(rig->replier, NULL);
	(void)unlink(rig->cert);
	(void)unlink(rig->key);
	(void)unlink(rig->client_cert);
	(void)unlink(rig->client_key);
	(void)unlink(rig->socket);
	(void)rmdir(rig->dir);
	(void)pthread_mutex_destroy(&rig->lock);
	(void)pthread_cond_destroy(&rig->changed);
	free(rig);
}
