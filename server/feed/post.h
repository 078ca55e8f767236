/*
 * server/feed/post.h - one HTTP request to a receiver outside: webhooks, OTLP, alerts.
 * To the given address and nowhere else: https with the certificate checked (http to a numeric loopback address only), no redirects, no proxy of the
 * environment, no user or password in the URL, a bounded answer, one deadline (that names must be resolved in, too, with libcurl 7.87 or newer, or one that
 * resolves through c-ares).
 */
#ifndef HOLDFAST_FEED_POST_H
#define HOLDFAST_FEED_POST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "server/base/err.h"

#define POST_ANSWER_MAX ((size_t)64 << 10)

struct post_request {
	const char *method; /* "POST" or "OPTIONS" */
	const char *url;
	const char *ca;          /* PEM file instead of the system's; NULL = the system's */
	const char *certificate, *key; /* of this client, PEM files; NULL = none */
	const char *const *headers; /* "Name: value"; NULL-terminated; NULL = none */
	const char *body;        /* NULL = none */
	size_t body_len;
	unsigned timeout_ms;
	const atomic_bool *is_stopping; /* ends the transfer; NULL = nothing does */
};

struct post_answer {
	long http; /* 0 = there was none */
	char *body; /* owned, NUL-terminated; NULL = empty */
	size_t body_len;
	char allowed_origin[256], allowed_rate[32]; /* WebHook-Allowed-Origin, WebHook-Allowed-Rate; "" = none */
	long retry_after_s; /* 0 = none */
};
void post_answer_clear(struct post_answer *a);

struct poster; /* keeps connections; one thread at a time */
KMS_MUST_CHECK kms_status poster_new(struct poster **ret, struct kms_err *err);
void poster_free(struct poster *p);
/** @return KMS_OK (whatever status was answered) | KMS_E_INVALID (URL) | KMS_E_UNAVAILABLE-like failure of the catalogue, detail says what (no secret in it) | KMS_E_SHUTDOWN | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status poster_send(struct poster *p, const struct post_request *q, struct post_answer *ret, struct kms_err *err);
/** What others may be told of a failure of poster_send(), or of what it would have sent: a fixed text for each class of them, never libcurl's own. */
const char *post_failure(const struct kms_err *err);
/**
 * host[:port] as it is connected to: decoded, in small letters, an IPv4 address in its usual form, without the scheme's own port.
 * @return false: it is no address, or too long
 */
bool post_url_host(const char *url, char *ret_host, size_t cap);
/** Is this an address that poster_send() would take, and is its host (host[:port], exact) in the list? list NULL = every host. */
bool post_url_is_good(const char *url, const char *const *hosts, size_t host_count);

#endif
