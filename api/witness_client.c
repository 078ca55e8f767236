/* api/witness_client.c - see witness_client.h. */
#include "api/witness_client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define POST_MS 5000
#define ANSWER_MAX ((size_t)64 << 10)

/* Handles that nobody uses, with their connections. */
struct witness_client {
	pthread_mutex_t lock; /* guards the others but stops */
	CURL *idle[WITNESSES_MAX];
	size_t idle_count;
	atomic_bool stops;
};

struct transfer {
	struct witness_client *client;
	struct witness_answer *answer;
	bool is_too_large;
};

static CURL *acquire(struct witness_client *c)
{
	CURL *curl = NULL;

	(void)pthread_mutex_lock(&c->lock);
	if (c->idle_count > 0)
		curl = c->idle[--c->idle_count];
	(void)pthread_mutex_unlock(&c->lock);
	return curl != NULL ? curl : curl_easy_init();
}

static void release(struct witness_client *c, CURL *curl)
{
	curl_easy_reset(curl); /* keeps the connections */
	(void)pthread_mutex_lock(&c->lock);
	if (c->idle_count < WITNESSES_MAX)
		c->idle[c->idle_count++] = KMS_TAKE(curl);
	(void)pthread_mutex_unlock(&c->lock);
	curl_easy_cleanup(curl);
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	struct witness_answer *a = t->answer;
	size_t len = size * count;
	char *grown = NULL;

	t->is_too_large = len > ANSWER_MAX - a->body_len;
	grown = t->is_too_large ? NULL : realloc(a->body, a->body_len + len + 1);
	if (grown == NULL)
		return 0; /* ends the transfer */
	memcpy(grown + a->body_len, bytes, len);
	a->body = grown;
	a->body_len += len;
	a->body[a->body_len] = '\0';
	return len;
}

static int is_stopping(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	const struct transfer *t = arg;

	(void)down_total;
	(void)down;
	(void)up_total;
	(void)up;
	return atomic_load(&t->client->stops) ? 1 : 0;
}

/* ---- addresses ---- */

static bool is_loopback(const char *host)
{
	return strcmp(host, "[::1]") == 0 || (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

static char *part(CURLU *u, CURLUPart what)
{
	char *text = NULL;
	return curl_url_get(u, what, &text, 0) == CURLUE_OK ? text : NULL;
}

static bool parts_are_good(CURLU *u)
{
	static const CURLUPart UNWANTED[] = { CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT };
	char *scheme = part(u, CURLUPART_SCHEME), *host = part(u, CURLUPART_HOST);
	bool is_good = scheme != NULL && host != NULL && (strcmp(scheme, "https") == 0 || (strcmp(scheme, "http") == 0 && is_loopback(host)));

	curl_free(scheme);
	curl_free(host);
	for (size_t i = 0; i < KMS_ARRAY_LEN(UNWANTED); i++) {
		char *unwanted = part(u, UNWANTED[i]);
		is_good = is_good && unwanted == NULL;
		curl_free(unwanted);
	}
	return is_good;
}

/* https, or http to a numeric loopback address; no user, query or fragment. */
static bool url_is_good(const char *url)
{
	CURLU *u = curl_url();
	bool is_good = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && parts_are_good(u);

	curl_url_cleanup(u);
	return is_good;
}

/* ---- one POST ---- */

#define SET(option, value) good = good && curl_easy_setopt(curl, option, value) == CURLE_OK

/* To the configured host and nowhere else: no redirect, no proxy of the environment, no password file. */
static bool prepare(CURL *curl, const char *url, const char *ca, const char *body, size_t len, struct curl_slist *headers, struct transfer *t, char *why)
{
	bool good = true;

	SET(CURLOPT_ERRORBUFFER, why);
	SET(CURLOPT_URL, url);
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(CURLOPT_PROTOCOLS_STR, "https,http");
#else
	SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTPS | CURLPROTO_HTTP));
#endif
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (ca != NULL) {
		SET(CURLOPT_CAINFO, ca);
		SET(CURLOPT_CAPATH, NULL);
	}
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)POST_MS);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, is_stopping);
	SET(CURLOPT_XFERINFODATA, t);
	SET(CURLOPT_WRITEFUNCTION, take_bytes);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_USERAGENT, "holdfast");
	SET(CURLOPT_HTTPHEADER, headers);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
	SET(CURLOPT_POSTFIELDS, body);
	return good;
}

static void free_headers(struct curl_slist **h) { curl_slist_free_all(*h); }

static kms_status post(void *arg, const char *url, const char *ca, const char *body, size_t body_len, struct witness_answer *ret, struct kms_err *err)
{
	struct witness_client *c = arg;
	struct witness_answer answer = { 0 };
	struct transfer t = { .client = c, .answer = &answer };
	__attribute__((cleanup(free_headers))) struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: text/plain");
	char why[CURL_ERROR_SIZE] = "";
	CURLcode code = CURLE_FAILED_INIT;
	long http = 0;
	CURL *curl = NULL;

	if (!url_is_good(url))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "%.100s: only https, or http to a loopback address", url);
	curl = acquire(c);
	if (curl != NULL && headers != NULL && prepare(curl, url, ca, body, body_len, headers, &t, why))
		code = curl_easy_perform(curl);
	if (code == CURLE_OK)
		code = curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http);
	if (curl != NULL)
		release(c, curl);
	if (code != CURLE_OK) {
		free(answer.body);
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_HTTP, (unsigned long)code, "%s",
		                t.is_too_large ? "the answer is larger than 64 KiB" : why[0] != '\0' ? why : curl_easy_strerror(code));
	}
	answer.http = (int)http;
	*ret = answer;
	return KMS_OK;
}

kms_status witness_client_new(struct witness_client **ret, struct kms_err *err)
{
	struct witness_client *c = calloc(1, sizeof(*c));

	if (c == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(c);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "HTTP client");
	}
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
		curl_easy_cleanup(c->idle[--c->idle_count]);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
	curl_global_cleanup();
}
