/* api/metrics_listener.c - see metrics_listener.h. */
#include "api/metrics_listener.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/metrics.h"
#include "server/base/secret.h"

#define TOKEN_MIN 16
#define TOKEN_MAX 512
#define SCHEME "Bearer "
#define TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics_listener {
	struct api *api;
	bool has_token;
	uint8_t token_hash[SHA256_DIGEST_LENGTH]; /* so that the comparison takes as long for every length */
};

static kms_status bad_token(const char *path, struct kms_err *err)
{
	return kms_refuse(err, KMS_E_INVALID, "metrics.token_file: %s: must hold a token of %d to %d characters in its first line.", path, TOKEN_MIN, TOKEN_MAX);
}

static kms_status read_token(struct metrics_listener *l, const char *path, struct kms_err *err)
{
	char line[TOKEN_MAX + 2] = "";
	FILE *in = fopen(path, "re");
	size_t len = 0;

	if (in == NULL || setvbuf(in, NULL, _IONBF, 0) != 0 || fgets(line, sizeof(line), in) == NULL)
		line[0] = '\0';
	if (in != NULL)
		(void)fclose(in);
	len = strcspn(line, "\r\n");
	if (len >= TOKEN_MIN && len <= TOKEN_MAX) {
		(void)SHA256((const uint8_t *)line, len, l->token_hash);
		l->has_token = true;
	}
	OPENSSL_cleanse(line, sizeof(line));
	return l->has_token ? KMS_OK : bad_token(path, err);
}

kms_status metrics_listener_new(struct api *api, const char *token_file, struct metrics_listener **ret, struct kms_err *err)
{
	struct metrics_listener *l = calloc(1, sizeof(*l));
	kms_status status = KMS_OK;

	if (l == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "metrics");
	l->api = api;
	if (token_file != NULL)
		status = read_token(l, token_file, err);
	if (status != KMS_OK) {
		metrics_listener_free(l);
		return status;
	}
	*ret = l;
	return KMS_OK;
}

void metrics_listener_free(struct metrics_listener *l) { free(l); }

static bool may_read(const struct metrics_listener *l, const struct http_request *req)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];
	const char *given = req->authorization;

	if (!l->has_token)
		return true;
	if (given == NULL || strncasecmp(given, SCHEME, strlen(SCHEME)) != 0)
		return false;
	(void)SHA256((const uint8_t *)given + strlen(SCHEME), strlen(given) - strlen(SCHEME), hash);
	return CRYPTO_memcmp(hash, l->token_hash, sizeof(hash)) == 0;
}

static void answer_plain(struct http_request *req, int status, const char *text, const struct http_header *more)
{
	struct http_header headers[2] = { { "Content-Type", "text/plain; charset=utf-8" } };
	struct http_response response = { .status = status, .headers = headers, .header_count = 1, .body = strdup(text) };

	if (more != NULL)
		headers[response.header_count++] = *more;
	response.body_len = response.body != NULL ? strlen(text) : 0;
	http_reply(req, &response);
}

static void answer_metrics(struct metrics_listener *l, struct http_request *req)
{
	static const struct http_header HEADERS[] = { { "Content-Type", TYPE }, { "Cache-Control", "no-store" } };
	struct http_response response = { .status = 200, .headers = HEADERS, .header_count = KMS_ARRAY_LEN(HEADERS) };
	FILE *out = open_memstream(&response.body, &response.body_len);
	bool is_whole = out != NULL;

	if (out != NULL) {
		metrics_write(l->api, out);
		is_whole = ferror(out) == 0;
		is_whole &= fclose(out) == 0;
	}
	if (is_whole) {
		http_reply(req, &response);
		return;
	}
	free(response.body);
	answer_plain(req, 503, "No memory for the metrics.\n", NULL);
}

static void admit(void *arg, struct http_request *req, struct http_admission *ret)
{
	(void)arg;
	(void)req;
	ret->body_max = 0;
}

static void serve(void *arg, struct http_request *req)
{
	static const struct http_header CHALLENGE = { "WWW-Authenticate", "Bearer" }, ALLOW = { "Allow", "GET" };
	struct metrics_listener *l = arg;

	if (!may_read(l, req))
		answer_plain(req, 401, "The metrics need the bearer token of metrics.token_file.\n", &CHALLENGE);
	else if (strcmp(req->path, METRICS_PATH) != 0)
		answer_plain(req, 404, "There is only " METRICS_PATH " here.\n", NULL);
	else if (req->method != HTTP_GET)
		answer_plain(req, 405, "Only GET is spoken here.\n", &ALLOW);
	else
		answer_metrics(l, req);
}

static void refuse(void *arg, struct http_request *req, kms_status status, const char *message, struct http_response *ret)
{
	(void)arg;
	(void)req;
	ret->body = strdup(message != NULL ? message : kms_status_text(status));
	ret->body_len = ret->body != NULL ? strlen(ret->body) : 0;
}

static void end(void *arg, struct http_request *req)
{
	(void)arg;
	(void)req;
}

struct http_app metrics_listener_app(struct metrics_listener *l)
{
	return (struct http_app){ .arg = l, .admit = admit, .serve = serve, .refuse = refuse, .end = end };
}
