/*
 * server/feed/sink_otlp.c - see sinks.h. One request a run; its answer decides: 200 settles it, also what the receiver says it rejects (it would reject it again: counted and
 * said). 400 and 413 are about what was sent, and would be given again: the run is halved until the one record is found that the receiver will not have, which counts as
 * rejected too - but only if it takes a request without records, since otherwise it refuses everything. All else is tried again, not before the receiver wants it.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/log.h"
#include "server/base/secret.h"
#include "server/feed/post.h"
#include "server/feed/sinks.h"

#define SEND_MS 15000
#define HEADERS_MAX 16
#define HEADERS_FILE_MAX 16384
#define SLICE_MS 100
#define RETRY_MAX_S 300   /* whatever a receiver asks for */
#define HOPELESS_S 60     /* after an answer that will not change by itself: somebody has to act */

struct otlp_sink {
	struct sink base;
	const char *url, *headers_file, *head, *tail;
	struct sink_tls tls;
	struct poster *poster;
	int64_t not_before_ms;
	uint64_t arrived; /* of a run that was not taken as a whole: the first seq that was not; 0 = there is none */
	_Atomic uint64_t rejected;
};

static struct otlp_sink *of(struct sink *s) { return (struct otlp_sink *)(void *)s; }

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- headers ---- */

/* They may be what authenticates this server: kept like a secret, and read for each request, so that a new one counts at once. *ret NULL: there are none. */
static kms_status read_headers(const struct otlp_sink *s, struct secret **ret, struct kms_err *err)
{
	SECRET_AUTO *text = secret_new(HEADERS_FILE_MAX);
	size_t len = 0;
	FILE *f = NULL;
	bool is_read;

	if (text == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: headers_file");
	f = fopen(s->headers_file, "re");
	if (f == NULL)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "headers_file %.100s: cannot be opened", s->headers_file);
	(void)setvbuf(f, NULL, _IONBF, 0); /* no copy of it in the stream's buffer */
	len = fread(secret_bytes(text), 1, HEADERS_FILE_MAX, f);
	is_read = ferror(f) == 0 && len < HEADERS_FILE_MAX; /* so that a NUL stands behind it */
	(void)fclose(f);
	if (!is_read)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "headers_file %.100s: cannot be read, or has 16 KiB or more", s->headers_file);
	*ret = KMS_TAKE(text);
	return KMS_OK;
}

/* Lines of "Name: value"; the text is cut into them in place. @return false: one of them is none */
static bool split_headers(char *text, const char *ret[HEADERS_MAX + 2])
{
	size_t count = 0;
	char *rest = NULL;

	ret[count++] = "Content-Type: application/json";
	for (char *line = strtok_r(text, "\r\n", &rest); line != NULL; line = strtok_r(NULL, "\r\n", &rest)) {
		if (count > HEADERS_MAX || strchr(line, ':') == NULL || strchr(": \t", line[0]) != NULL)
			return false;
		ret[count++] = line;
	}
	ret[count] = NULL;
	return true;
}

/* ---- the answer ---- */

/* int64 in JSON: a string, or a number of those who do not care. */
static uint64_t count_of(const json_t *value)
{
	if (json_is_integer(value))
		return json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
	return json_is_string(value) ? strtoull(json_string_value(value), NULL, 10) : 0;
}

static void reject(struct otlp_sink *s, uint64_t count, const struct record *records, size_t of_count, const char *why)
{
	s->rejected += count;
	log_event(LOG_ERROR, "export_records_rejected", LOG_S("url", s->url), LOG_I("records", count), LOG_I("from_seq", records[0].seq),
	          LOG_I("to_seq", records[of_count - 1].seq), LOG_S("said", why));
}

static void note_rejected(struct otlp_sink *s, const struct post_answer *a, const struct record *records, size_t count)
{
	json_t *body = a->body != NULL ? json_loadb(a->body, a->body_len, 0, NULL) : NULL;
	const json_t *partial = json_object_get(body, "partialSuccess");
	uint64_t rejected = count_of(json_object_get(partial, "rejectedLogRecords"));
	const char *why = json_string_value(json_object_get(partial, "errorMessage"));

	if (rejected > 0)
		reject(s, rejected, records, count, why);
	json_decref(body);
}

/* For its size or for what is in it: a part of it may be taken. */
static bool is_about_the_request(long http) { return http == 400 || http == 413; }

/* OTLP: 429, 502, 503 and 504 pass by themselves. */
static kms_status judge(struct otlp_sink *s, const struct post_answer *a, struct kms_err *err)
{
	bool will_pass = a->http == 429 || a->http == 502 || a->http == 503 || a->http == 504;
	long wait_s = a->retry_after_s;

	if (a->http >= 200 && a->http < 300)
		return KMS_OK;
	if (!will_pass)
		wait_s = HOPELESS_S;
	s->not_before_ms = now_ms() + (wait_s < RETRY_MAX_S ? wait_s : RETRY_MAX_S) * 1000;
	return kms_fail(err, KMS_E_BUSY, KMS_SRC_HTTP, (unsigned long)a->http, "%.80s answers %ld%s", s->url, a->http,
	                will_pass ? "" : ", which does not pass by itself: check the address, its headers and the receiver's log");
}

/* ---- one run ---- */

static void add(char *body, size_t *at, const char *bytes, size_t len)
{
	memcpy(body + *at, bytes, len);
	*at += len;
}

static char *join(const struct otlp_sink *s, const struct record *records, size_t count, size_t *ret_len)
{
	size_t room = strlen(s->head) + strlen(s->tail), at = 0;
	char *body = NULL;

	for (size_t i = 0; i < count; i++)
		room += records[i].len + 1;
	body = malloc(room);
	if (body == NULL)
		return NULL;
	add(body, &at, s->head, strlen(s->head));
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			add(body, &at, ",", 1);
		add(body, &at, records[i].bytes, records[i].len);
	}
	add(body, &at, s->tail, strlen(s->tail));
	*ret_len = at;
	return body;
}

static kms_status wait_until_wanted(const struct otlp_sink *s, const atomic_bool *is_stopping, struct kms_err *err)
{
	const struct timespec slice = { .tv_nsec = SLICE_MS * 1000000L };

	while (now_ms() < s->not_before_ms) {
		if (atomic_load(is_stopping))
			return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "the server is stopping");
		(void)nanosleep(&slice, NULL); /* a signal only makes the next look earlier */
	}
	return KMS_OK;
}

static kms_status post(const struct otlp_sink *s, const char *body, size_t len, const atomic_bool *is_stopping, struct post_answer *ret, struct kms_err *err)
{
	SECRET_AUTO *text = NULL;
	const char *headers[HEADERS_MAX + 2];
	char none[] = "";
	struct post_request q = { .method = "POST", .url = s->url, .ca = s->tls.ca, .certificate = s->tls.certificate, .key = s->tls.key, .headers = headers,
		                  .body = body, .body_len = len, .timeout_ms = SEND_MS, .is_stopping = is_stopping };

	if (s->headers_file != NULL)
		KMS_TRY(read_headers(s, &text, err));
	if (!split_headers(text != NULL ? (char *)secret_bytes(text) : none, headers))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "headers_file %.100s: expected at most 16 lines of \"Name: value\"", s->headers_file);
	return poster_send(s->poster, &q, ret, err);
}

/* @param ret_answer  whatever it says */
static kms_status ask(struct otlp_sink *s, const struct record *records, size_t count, const atomic_bool *is_stopping, struct post_answer *ret_answer,
                      struct kms_err *err)
{
	size_t len = 0;
	char *body = NULL;
	kms_status status = KMS_OK;

	KMS_TRY(wait_until_wanted(s, is_stopping, err));
	body = join(s, records, count, &len);
	if (body == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "records for %.80s", s->url);
	status = post(s, body, len, is_stopping, ret_answer, err);
	free(body);
	return status;
}

/* One record was refused: is it the record, or would everything be? OTLP has it that a request without records is answered with success. */
static kms_status give_up_one(struct otlp_sink *s, const struct record *r, const struct post_answer *refusal, const atomic_bool *is_stopping, struct kms_err *err)
{
	__attribute__((cleanup(post_answer_clear))) struct post_answer answer = { 0 };

	KMS_TRY(ask(s, NULL, 0, is_stopping, &answer, err));
	if (answer.http < 200 || answer.http >= 300)
		return judge(s, is_about_the_request(answer.http) ? refusal : &answer, err);
	reject(s, 1, r, 1, refusal->http == 413 ? "413: too large, although it was sent alone" : "400: not taken, although it was sent alone");
	return KMS_OK;
}

/* @param ret_done  how many of them are dealt with; 0 = they are too many, or one of them is refused */
static kms_status send_part(struct otlp_sink *s, const struct record *records, size_t count, const atomic_bool *is_stopping, size_t *ret_done, struct kms_err *err)
{
	__attribute__((cleanup(post_answer_clear))) struct post_answer answer = { 0 };

	*ret_done = 0;
	KMS_TRY(ask(s, records, count, is_stopping, &answer, err));
	if (is_about_the_request(answer.http) && count > 1)
		return KMS_OK;
	if (is_about_the_request(answer.http)) {
		KMS_TRY(give_up_one(s, records, &answer, is_stopping, err));
	} else {
		KMS_TRY(judge(s, &answer, err));
		note_rejected(s, &answer, records, count);
	}
	*ret_done = count;
	return KMS_OK;
}

static kms_status send(struct sink *base, const struct record *records, size_t count, const atomic_bool *is_stopping, struct kms_err *err)
{
	struct otlp_sink *s = of(base);
	size_t at = 0, part = count, done = 0;

	while (at < count) {
		s->arrived = records[at].seq;
		KMS_TRY(send_part(s, &records[at], part, is_stopping, &done, err));
		at += done;
		part = done == 0 ? part / 2 : part * 2;
		part = part < count - at ? part : count - at;
	}
	s->arrived = 0;
	return KMS_OK;
}

static uint64_t settled(struct sink *base)
{
	const struct otlp_sink *s = of(base);
	return s->arrived != 0 ? s->arrived : SINK_ALL_SETTLED;
}

static kms_status tick(struct sink *s, struct kms_err *err)
{
	(void)s;
	(void)err;
	return KMS_OK;
}

static void rewind_otlp(struct sink *base) { of(base)->arrived = 0; }

static void close_otlp(struct sink *base)
{
	struct otlp_sink *s = of(base);

	poster_free(s->poster);
	free(s);
}

static const struct sink_ops OTLP_OPS = { .name = "otlp", .send = send, .settled = settled, .tick = tick, .rewind = rewind_otlp, .close = close_otlp };

uint64_t sink_otlp_rejected(const struct sink *s)
{
	return s->ops == &OTLP_OPS ? atomic_load(&((const struct otlp_sink *)(const void *)s)->rejected) : 0;
}

kms_status sink_otlp_new(const char *url, const struct sink_tls *tls, const char *headers_file, const char *head, const char *tail, struct sink **ret,
                         struct kms_err *err)
{
	struct otlp_sink *s = calloc(1, sizeof(*s));
	kms_status status = KMS_OK;

	if (s == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "OTLP sink");
	status = poster_new(&s->poster, err);
	if (status != KMS_OK) {
		free(s);
		return status;
	}
	s->base.ops = &OTLP_OPS;
	s->url = url;
	s->tls = *tls;
	s->headers_file = headers_file;
	s->head = head;
	s->tail = tail;
	*ret = &s->base;
	return KMS_OK;
}
