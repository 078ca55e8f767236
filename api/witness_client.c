/* api/witness_client.c - see witness_client.h. */
#include "api/witness_client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "server/feed/post.h"

#define POST_MS 5000

/* Posters that nobody uses, with their connections. */
struct witness_client {
	pthread_mutex_t lock; /* guards the others but stops */
	struct poster *idle[WITNESSES_MAX];
	size_t idle_count;
	atomic_bool stops;
};

static kms_status acquire(struct witness_client *c, struct poster **ret, struct kms_err *err)
{
	struct poster *p = NULL;

	(void)pthread_mutex_lock(&c->lock);
	if (c->idle_count > 0)
		p = c->idle[--c->idle_count];
	(void)pthread_mutex_unlock(&c->lock);
	*ret = p;
	return p != NULL ? KMS_OK : poster_new(ret, err);
}

static void release(struct witness_client *c, struct poster *p)
{
	(void)pthread_mutex_lock(&c->lock);
	if (c->idle_count < WITNESSES_MAX)
		c->idle[c->idle_count++] = KMS_TAKE(p);
	(void)pthread_mutex_unlock(&c->lock);
	poster_free(p);
}

static kms_status post(void *arg, const char *url, const char *ca, const char *body, size_t body_len, struct witness_answer *ret, struct kms_err *err)
{
	static const char *const HEADERS[] = { "Content-Type: text/plain", NULL };
	struct witness_client *c = arg;
	const struct post_request q = { .method = "POST", .url = url, .ca = ca, .headers = HEADERS, .body = body, .body_len = body_len, .timeout_ms = POST_MS,
		                        .is_stopping = &c->stops };
	struct post_answer answer = { 0 };
	struct poster *p = NULL;
	kms_status status;

	if (strchr(url, '?') != NULL || !post_url_is_good(url, NULL, 0))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "%.100s: only https, or http to a loopback address", url);
	KMS_TRY(acquire(c, &p, err));
	status = poster_send(p, &q, &answer, err);
	release(c, p);
	KMS_TRY(status);
	*ret = (struct witness_answer){ .http = (int)answer.http, .body = answer.body, .body_len = answer.body_len };
	return KMS_OK;
}

kms_status witness_client_new(struct witness_client **ret, struct kms_err *err)
{
	struct witness_client *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "HTTP client");
	(void)pthread_mutex_init(&c->lock, NULL);
	*ret = c;
	return KMS_OK;
}

struct witness_transport witness_client_transport(struct witness_client *c) { return (struct witness_transport){ .post = post, .arg = c }; }

void witness_client_cancel(struct witness_client *c)
{
	if (c != NULL)
		atomic_store(&c->stops, true);
}

void witness_client_free(struct witness_client *c)
{
	if (c == NULL)
		return;
	while (c->idle_count > 0)
		poster_free(c->idle[--c->idle_count]);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
}
