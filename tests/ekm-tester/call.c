/* tests/ekm-tester/call.c - one call to the proxy, and what every answer is held against. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/ekm-tester/tester.h"

#define HEAD_ROOM 2048
#define CODE_SHOWN 60
#define SHOWN_END 8

const struct algorithm ALGORITHMS[ALG_COUNT] = {
	[A256KW] = { "A256KW", false, NULL, 0 },
	[A256KWP] = { "A256KWP", false, NULL, 0 },
	[RSA_OAEP] = { "RSA-OAEP", true, "SHA1", 42 },
	[RSA_OAEP_256] = { "RSA-OAEP-256", true, "SHA256", 66 },
};

/* ---- outcomes ---- */
void copy_clean(char *ret, size_t cap, const char *text)
{
	size_t n = 0;
	for (; text[n] != '\0' && n + 1 < cap; n++)
		ret[n] = (char)(text[n] >= ' ' && text[n] <= '~' ? text[n] : '?');
	ret[n] = '\0';
}

__attribute__((format(printf, 2, 0))) static void explain(struct outcome *o, const char *fmt, va_list args)
{
	char text[DETAIL_MAX];
	(void)vsnprintf(text, sizeof(text), fmt, args);
	copy_clean(o->detail, sizeof(o->detail), text);
}

void failed(struct outcome *o, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	if (o->failures++ == 0)
		explain(o, fmt, args);
	o->verdict = FAIL;
	va_end(args);
}

void skipped(struct outcome *o, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	if (o->verdict == PASS) {
		explain(o, fmt, args);
		o->verdict = SKIP;
	}
	va_end(args);
}

void remark(struct outcome *o, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	if (o->verdict == PASS)
		explain(o, fmt, args);
	va_end(args);
}

/* ---- base64url ---- */
static const char B64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void b64_put(const void *bytes, size_t len, char *ret_text)
{
	const uint8_t *in = bytes;
	unsigned bits = 0, held = 0;
	for (size_t i = 0; i < len; i++) {
		held = held << 8 | in[i];
		for (bits += 8; bits >= 6; bits -= 6)
			*ret_text++ = B64[held >> (bits - 6) & 63];
	}
	if (bits > 0)
		*ret_text++ = B64[held << (6 - bits) & 63];
	*ret_text = '\0';
}

bool b64_get(const char *text, uint8_t *ret, size_t cap, size_t *ret_len)
{
	unsigned bits = 0, held = 0;
	size_t n = 0;
	for (; *text != '\0'; text++) {
		const char *at = strchr(B64, *text);
		if (at == NULL)
			return false;
		held = held << 6 | (unsigned)(at - B64);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			if (n == cap)
				return false;
			ret[n++] = (uint8_t)(held >> bits);
		}
	}
	if (bits >= 6 || (held & ((1U << bits) - 1)) != 0)
		return false;
	*ret_len = n;
	return true;
}

/* The standard alphabet and padding too: so that a proxy with a wrong encoding fails where the encoding is judged, and not everywhere. */
static bool b64_get_any(const char *text, uint8_t *ret, size_t cap, size_t *ret_len)
{
	char *copy = strdup(text);
	if (copy == NULL)
		return false;
	copy[strcspn(copy, "=")] = '\0';
	for (char *c = copy; *c != '\0'; c++)
		*c = (char)(*c == '+' ? '-' : *c == '/' ? '_' : *c);
	bool ok = b64_get(copy, ret, cap, ret_len);
	free(copy);
	return ok;
}

/* ---- requests ---- */
json_t *body_new(struct tester *t)
{
	char correlation_id[RUN_ID_MAX + 16];
	(void)snprintf(correlation_id, sizeof(correlation_id), "%s%012x", t->run_id, ++t->calls);
	return json_pack("{s:{s:s,s:s,s:s}}", "request_context", "request_id", "holdfast-ekm-test", "correlation_id", correlation_id,
	                 "pool_name", "holdfast-ekm-test");
}

json_t *body_crypto(struct tester *t, const char *alg, const void *bytes, size_t len)
{
	char *text = malloc(B64_ROOM(len));
	json_t *body = body_new(t);
	if (text != NULL) {
		b64_put(bytes, len, text);
		(void)json_object_set_new(body, "alg", json_string(alg));
		(void)json_object_set_new(body, "value", json_string(text));
	}
	free(text);
	return body;
}

char *call_text(const struct tester *t, struct call c, size_t *ret_len)
{
	char *dumped = c.json != NULL ? json_dumps(c.json, JSON_COMPACT) : NULL;
	const char *body = dumped != NULL ? dumped : c.text != NULL ? c.text : "";
	const char *type = c.type != NULL ? c.type : "application/json";
	const struct target *target = &t->opt->target;
	bool has_port = strcmp(target->port, "443") != 0;
	size_t body_len = strlen(body), cap = HEAD_ROOM + body_len;
	char *text = malloc(cap);

	json_decref(c.json);
	if (text != NULL) {
		char path[HEAD_ROOM / 2];
		if (c.key != NULL)
			(void)snprintf(path, sizeof(path), "/%s/%s", c.key, c.op);
		else
			(void)snprintf(path, sizeof(path), "%s", c.path);
		int n = snprintf(text, cap,
		                 "%s %s%s%s HTTP/1.1\r\nHost: %s%s%s\r\nUser-Agent: holdfast-ekm-test\r\nAccept: application/json\r\n"
		                 "%s%s%sContent-Length: %zu\r\n\r\n%s",
		                 c.method != NULL ? c.method : "POST", c.without_prefix ? "" : target->prefix, path,
		                 c.query != NULL ? c.query : "?api-version=" API_VERSION, target->host, has_port ? ":" : "",
		                 has_port ? target->port : "", type[0] != '\0' ? "Content-Type: " : "", type, type[0] != '\0' ? "\r\n" : "",
		                 body_len, body);
		*ret_len = n < 0 || (size_t)n >= cap ? 0 : (size_t)n;
	}
	free(dumped);
	return text;
}

/* ---- answers ---- */
void answer_clear(struct answer *a)
{
	json_decref(a->json);
	response_clear(&a->http);
	*a = (struct answer){ 0 };
}

const char *answer_text(const struct answer *a, char text[DETAIL_MAX])
{
	const char *code = json_string_value(json_object_get(a->json, "code"));
	if (a->result != WIRE_ANSWERED)
		(void)snprintf(text, DETAIL_MAX, "%s", a->why);
	else
		(void)snprintf(text, DETAIL_MAX, "%d%s%.*s", a->http.status, code != NULL ? " " : "", CODE_SHOWN, code != NULL ? code : "");
	return text;
}

static bool is_text(const json_t *value) { return json_is_string(value) && json_string_length(value) > 0; }

static bool is_seconds(const char *text) { return text != NULL && text[0] != '\0' && strspn(text, "0123456789") == strlen(text); }

/* Content type, HTTP version, shape of errors, time: each answer of the run counts; rows at the table's end judge. */
static void observe(struct tester *t, const char *what, const struct answer *a)
{
	const struct response *r = &a->http;
	struct seen *s = &t->seen;
	const char *type = response_header(r, "Content-Type");
	char text[DETAIL_MAX];
	static const char JSON_TYPE[] = "application/json";
	const size_t n = sizeof(JSON_TYPE) - 1;

	s->answers++;
	if (r->minor_version != 1)
		s->bad_versions++;
	if ((type == NULL || strncasecmp(type, JSON_TYPE, n) != 0 || (type[n] != '\0' && type[n] != ';' && type[n] != ' ')) &&
	    s->bad_types++ == 0)
		(void)snprintf(s->first_bad_type, DETAIL_MAX, "%.80s -> %d with Content-Type %.80s", what, r->status,
		               type != NULL ? type : "(none)");
	if (r->status >= 400) {
		s->refusals++;
		if ((!is_text(json_object_get(a->json, "code")) || !is_text(json_object_get(a->json, "message")) ||
		     json_object_get(a->json, "error") != NULL) &&
		    s->bad_errors++ == 0)
			(void)snprintf(s->first_bad_error, DETAIL_MAX, "%.80s -> %d %.120s", what, r->status,
			               r->body_len > 0 ? r->body : "(no body)");
	}
	if (r->status == 429) {
		s->throttled++;
		s->bad_throttles += !is_seconds(response_header(r, "Retry-After"));
	}
	if (r->status == 503) {
		s->unavailable++;
		s->bad_unavailables += !is_seconds(response_header(r, "Retry-After"));
	}
	if (r->status == 500 && s->faults++ == 0)
		(void)snprintf(s->first_fault, DETAIL_MAX, "%.80s -> %.100s", what, answer_text(a, text));
	if (r->status == 200 && r->ms > s->slowest_ms) {
		s->slowest_ms = r->ms;
		(void)snprintf(s->slowest, DETAIL_MAX, "%.80s", what);
	}
}

static void exchange(struct tester *t, struct wire *w, const char *what, const char *request, size_t len, struct answer *ret)
{
	ret->result = wire_exchange(w, request, len, &ret->http, ret->why);
	if (ret->result != WIRE_ANSWERED)
		return;
	ret->json = json_loadb(ret->http.body, ret->http.body_len, JSON_REJECT_DUPLICATES, NULL);
	observe(t, what, ret);
}

enum dial_result dial_as(struct tester *t, enum who who, struct wire **ret, char why[WHY_MAX])
{
	const struct dial how = { .identity = who == NOBODY ? NULL : &t->who[who] };
	return wire_dial(&t->opt->target, &how, ret, why);
}

void ask_over(struct tester *t, struct wire *w, struct call c, struct answer *ret)
{
	char what[HEAD_ROOM / 4];
	size_t len = 0;

	(void)snprintf(what, sizeof(what), "%s %s%s%s", c.method != NULL ? c.method : "POST", c.key != NULL ? c.key : "",
	               c.key != NULL ? "/" : "", c.key != NULL ? c.op : c.path);
	char *request = call_text(t, c, &len);
	*ret = (struct answer){ .result = WIRE_MALFORMED, .why = "no memory" };
	if (request != NULL)
		exchange(t, w, what, request, len, ret);
	free(request);
}

/* A connection that idled may have been closed meanwhile: then, and only then, a call is made twice. */
void ask(struct tester *t, struct call c, struct answer *ret)
{
	struct wire *kept = c.who == OWN ? t->wire : NULL, *w = kept;

	for (;;) {
		if (w == NULL) {
			*ret = (struct answer){ .result = WIRE_CLOSED };
			enum dial_result dialled = dial_as(t, c.who, &w, ret->why);
			if (dialled != DIAL_OK) {
				ret->is_unreachable = dialled == DIAL_NO_NETWORK;
				json_decref(c.json);
				t->wire = c.who == OWN ? NULL : t->wire;
				return;
			}
		}
		struct call copy = c;
		json_incref(copy.json);
		ask_over(t, w, copy, ret);
		bool is_stale = ret->result == WIRE_CLOSED && w == kept;
		if (ret->result != WIRE_ANSWERED || ret->http.is_last || c.who != OWN) {
			wire_close(w);
			w = NULL;
		}
		if (!is_stale)
			break;
		kept = NULL;
	}
	json_decref(c.json);
	if (c.who == OWN)
		t->wire = w;
}

/* ---- expectations ---- */
bool expect(struct tester *t, struct outcome *o, struct call c, int status, int or_status, const char *what)
{
	ANSWER_AUTO a = { 0 };
	char text[DETAIL_MAX];

	ask(t, c, &a);
	if (a.result == WIRE_ANSWERED && (a.http.status == status || (or_status != 0 && a.http.status == or_status)))
		return true;
	failed(o, "%s: expected %d, got %s", what, status, answer_text(&a, text));
	return false;
}

bool expect_bytes(struct tester *t, struct outcome *o, const char *key, const char *op, enum alg alg, const void *in, size_t in_len,
                  uint8_t ret[VALUE_ROOM], size_t *ret_len)
{
	ANSWER_AUTO a = { 0 };
	char text[DETAIL_MAX];
	const char *name = ALGORITHMS[alg].name;

	ask(t, (struct call){ .key = key, .op = op, .json = body_crypto(t, name, in, in_len) }, &a);
	if (a.result != WIRE_ANSWERED || a.http.status != 200) {
		failed(o, "%s %s of %zu bytes: expected 200, got %s", name, op, in_len, answer_text(&a, text));
		return false;
	}
	const char *value = json_string_value(json_object_get(a.json, "value"));
	if (value == NULL || json_object_size(a.json) != 1) {
		failed(o, "%s %s: the answer is not an object with the one member \"value\"", name, op);
		return false;
	}
	t->seen.values++;
	if (b64_get(value, ret, VALUE_ROOM, ret_len))
		return true;
	if (t->seen.bad_values++ == 0)
		(void)snprintf(t->seen.first_bad_value, DETAIL_MAX, "%s %s -> %.24s...%.8s", name, op, value,
		               strlen(value) > SHOWN_END ? value + strlen(value) - SHOWN_END : "");
	if (b64_get_any(value, ret, VALUE_ROOM, ret_len))
		return true;
	failed(o, "%s %s: \"value\" is no base64 of any kind", name, op);
	return false;
}

/* ---- keys ---- */
const char *key_for(const struct tester *t, enum alg alg, struct outcome *o)
{
	const char *key = ALGORITHMS[alg].is_rsa ? t->opt->rsa_key : t->opt->aes_key;
	if (key == NULL)
		skipped(o, "needs %s", ALGORITHMS[alg].is_rsa ? "--rsa-key" : "--aes-key");
	return key;
}

const char *any_key(const struct tester *t, enum alg *ret_alg)
{
	*ret_alg = t->opt->aes_key != NULL ? A256KW : RSA_OAEP_256;
	return t->opt->aes_key != NULL ? t->opt->aes_key : t->opt->rsa_key;
}

size_t longest_input(const struct tester *t, enum alg alg)
{
	if (!ALGORITHMS[alg].is_rsa)
		return LONGEST_VALUE;
	return t->modulus_len == 0 ? 0 : t->modulus_len - ALGORITHMS[alg].oaep_overhead;
}
