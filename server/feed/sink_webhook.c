/*
 * server/feed/sink_webhook.c - records as requests to one receiver, signed as Standard Webhooks has it. Settled by its answer: a receiver that is not there, or
 * would not have one, gets the same record again until it takes it, and none of the next before.
 */
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/feed/alert_parts.h"
#include "server/feed/post.h"
#include "server/feed/webhook_parts.h"

#define TIMEOUT_MS 10000
#define SECRET_PREFIX "whsec_"
#define SECRET_MIN 24 /* bytes; Standard Webhooks has 24 to 64 */
#define SECRET_MAX 64
#define SECRET_TEXT_MAX 256
#define HTTP_OK 200
#define HTTP_REDIRECT 300
#define ID_BYTES 16

struct webhook_sink {
	struct sink base;
	const struct alert_channel *channel;
	struct alert_sink_facts facts;
	struct secret *key; /* NULL = nothing is signed */
	struct poster *poster;
};

static struct webhook_sink *of(struct sink *s) { return (struct webhook_sink *)(void *)s; }

/* base64 with '+' and '/' and padding, which b64url_decode() takes as base64url after its other two characters. */
static bool decode_secret(char *text, size_t len, struct secret **ret)
{
	ERASE_AUTO(uint8_t, bytes, SECRET_TEXT_MAX);
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		text[i] = (char)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
	if (!b64url_decode(text, len, bytes, SECRET_TEXT_MAX, &count) || count < SECRET_MIN || count > SECRET_MAX)
		return false;
	*ret = secret_from(bytes, count);
	return *ret != NULL;
}

static kms_status read_secret(struct webhook_sink *s, struct kms_err *err)
{
	ERASE_AUTO(char, text, SECRET_TEXT_MAX);
	FILE *f = fopen(s->channel->secret_file, "re");
	size_t len = 0, skip = 0;
	bool is_good = false;

	if (f != NULL) {
		(void)setvbuf(f, NULL, _IONBF, 0); /* no copy of it in a buffer */
		len = fread(text, 1, SECRET_TEXT_MAX, f);
		(void)fclose(f);
		while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
			len--;
		skip = len >= strlen(SECRET_PREFIX) && memcmp(text, SECRET_PREFIX, strlen(SECRET_PREFIX)) == 0 ? strlen(SECRET_PREFIX) : 0; /* allowed: not secret */
		is_good = decode_secret(text + skip, len - skip, &s->key);
	}
	if (!is_good)
		return kms_refuse(err, KMS_E_INVALID, "alerts: %s: expected whsec_ and 24 to 64 bytes in base64 (openssl rand -base64 32)", s->channel->secret_file);
	return KMS_OK;
}

/* The same for the same alert, however often it is sent, and for no other: its body holds the event's id. */
static void message_id(const struct record *r, char ret[2 * ID_BYTES + 1])
{
	unsigned char hash[SHA256_DIGEST_LENGTH];

	(void)SHA256((const unsigned char *)r->bytes, r->len, hash);
	hex_encode(hash, ID_BYTES, ret);
}

static kms_status post_one(struct webhook_sink *s, const struct record *r, const atomic_bool *is_stopping, struct kms_err *err)
{
	char id[2 * ID_BYTES + 1], id_header[64], time_header[64], signature[WEBHOOK_SIGNATURE_LEN + 1] = "", signature_header[96];
	int64_t now_s = clock_wall_s(s->facts.clock);
	const char *headers[6] = { "Content-Type: application/json", "User-Agent: holdfast", id_header, time_header };
	const struct post_request q = { .method = "POST", .url = s->channel->address, .ca = s->channel->ca, .headers = headers, .body = r->bytes,
		                        .body_len = r->len, .timeout_ms = TIMEOUT_MS, .is_stopping = is_stopping };
	__attribute__((cleanup(post_answer_clear))) struct post_answer a = { 0 };

	message_id(r, id);
	(void)snprintf(id_header, sizeof(id_header), "webhook-id: %s", id);
	(void)snprintf(time_header, sizeof(time_header), "webhook-timestamp: %lld", (long long)now_s);
	if (s->key != NULL) {
		if (!webhook_signature(secret_data(s->key), secret_len(s->key), id, now_s, r->bytes, r->len, signature))
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "signature of an alert");
		(void)snprintf(signature_header, sizeof(signature_header), "webhook-signature: %s", signature);
		headers[4] = signature_header;
	}
	KMS_TRY(poster_send(s->poster, &q, &a, err));
	if (a.http < HTTP_OK || a.http >= HTTP_REDIRECT)
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_HTTP, (unsigned long)a.http, "channel %s: the receiver answered %ld", s->channel->name, a.http);
	return KMS_OK;
}

static kms_status send_records(struct sink *base, const struct record *records, size_t count, const atomic_bool *is_stopping, struct kms_err *err)
{
	for (size_t i = 0; i < count; i++)
		KMS_TRY(post_one(of(base), &records[i], is_stopping, err));
	return KMS_OK;
}

static uint64_t settled(struct sink *base)
{
	(void)base;
	return SINK_ALL_SETTLED;
}

static kms_status tick(struct sink *base, struct kms_err *err)
{
	(void)base;
	(void)err;
	return KMS_OK;
}

static void rewind_nothing(struct sink *base) { (void)base; }

static void close_webhook(struct sink *base)
{
	struct webhook_sink *s = of(base);

	poster_free(s->poster);
	secret_free(s->key);
	free(s);
}

static const struct sink_ops WEBHOOK_OPS = {
	.name = "webhook", .send = send_records, .settled = settled, .tick = tick, .rewind = rewind_nothing, .close = close_webhook
};

kms_status sink_webhook_new(const struct alert_channel *c, const struct alert_sink_facts *facts, struct sink **ret, struct kms_err *err)
{
	struct webhook_sink *s = calloc(1, sizeof(*s));
	kms_status status;

	if (s == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "webhook of alerts");
	*s = (struct webhook_sink){ .base = { .ops = &WEBHOOK_OPS }, .channel = c, .facts = *facts };
	status = poster_new(&s->poster, err);
	if (status == KMS_OK && c->secret_file != NULL)
		status = read_secret(s, err);
	if (status != KMS_OK) {
		close_webhook(&s->base);
		return status;
	}
	*ret = &s->base;
	return KMS_OK;
}
