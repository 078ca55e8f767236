/* tests/ekm-tester/checks_body.c - ekm-proxy.md sections 5.1, 5.2 and 6: what may be in a body and what may not; info. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ekm-tester/tester.h"

#define BODY_ACCEPTED 16384 /* section 12 */
#define BODY_REFUSED (17 * 1024)
#define LONG_ID 1000

static const uint8_t VALUE[AES_KEY_LEN] = { 1, 2, 3 };

/* wrapkey of any key, with this body (transferred). */
static struct call wrap_call(struct tester *t, json_t *body)
{
	enum alg alg;
	return (struct call){ .key = any_key(t, &alg), .op = "wrapkey", .json = body };
}

static json_t *good_body(struct tester *t)
{
	enum alg alg;
	(void)any_key(t, &alg);
	return body_crypto(t, ALGORITHMS[alg].name, VALUE, sizeof(VALUE));
}

/* ---- info ---- */
void check_info(struct tester *t, const struct check *self, struct outcome *o)
{
	static const char *const MEMBERS[] = { "api_version", "proxy_vendor", "proxy_name", "ekm_vendor", "ekm_product" };
	ANSWER_AUTO a = { 0 };
	char text[DETAIL_MAX];
	(void)self;

	ask(t, (struct call){ .path = "/info", .json = body_new(t) }, &a);
	if (a.result != WIRE_ANSWERED || a.http.status != 200) {
		failed(o, "expected 200, got %s", answer_text(&a, text));
		return;
	}
	for (size_t i = 0; i < sizeof(MEMBERS) / sizeof(*MEMBERS); i++)
		if (json_string_length(json_object_get(a.json, MEMBERS[i])) == 0)
			failed(o, "\"%s\" is not a string with text", MEMBERS[i]);
	remark(o, "%s by %s", json_string_value(json_object_get(a.json, "proxy_name")),
	       json_string_value(json_object_get(a.json, "proxy_vendor")));
}

void check_info_version(struct tester *t, const struct check *self, struct outcome *o)
{
	ANSWER_AUTO a = { 0 };
	(void)self;

	ask(t, (struct call){ .path = "/info", .json = body_new(t) }, &a);
	const char *version = json_string_value(json_object_get(a.json, "api_version"));
	if (version == NULL || strcmp(version, API_VERSION) != 0)
		failed(o, "api_version is \"%s\"", version != NULL ? version : "");
}

/* ---- what must be let pass ---- */
void check_charset(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	(void)expect(t, o, (struct call){ .path = "/info", .type = "application/json; charset=utf-8", .json = body_new(t) }, 200, 0,
	             "application/json; charset=utf-8");
}

void check_unknown_members(struct tester *t, const struct check *self, struct outcome *o)
{
	json_t *body = good_body(t);
	(void)self;

	(void)json_object_set_new(body, "x_new_member", json_pack("{s:[i,b]}", "a", 1, 1));
	(void)json_object_set_new(json_object_get(body, "request_context"), "x_new_member", json_string("new"));
	(void)expect(t, o, wrap_call(t, body), 200, 0, "wrapkey with unknown members");
	body = body_new(t);
	(void)json_object_set_new(body, "x_new_member", json_null());
	(void)expect(t, o, (struct call){ .path = "/info", .json = body }, 200, 0, "info with an unknown member");
}

void check_request_id_optional(struct tester *t, const struct check *self, struct outcome *o)
{
	json_t *body = good_body(t);
	(void)self;
	(void)json_object_del(json_object_get(body, "request_context"), "request_id");
	(void)expect(t, o, wrap_call(t, body), 200, 0, "wrapkey without request_id");
}

void check_context_opaque(struct tester *t, const struct check *self, struct outcome *o)
{
	char text[LONG_ID + 1];
	json_t *body = good_body(t);
	(void)self;

	memset(text, 'x', LONG_ID);
	text[LONG_ID] = '\0';
	(void)json_object_set_new(json_object_get(body, "request_context"), "request_id", json_string(text));
	(void)json_object_set_new(json_object_get(body, "request_context"), "pool_name", json_string("two\r\nlines \x1b[31m \xc3\xa9"));
	(void)expect(t, o, wrap_call(t, body), 200, 0, "a request_id of 1000 characters, control characters in pool_name");
}

/* A good request that is exactly `size` bytes long thanks to a member that is to be ignored. */
static json_t *body_of(struct tester *t, size_t size)
{
	json_t *body = good_body(t);
	(void)json_object_set_new(body, "filler", json_string(""));
	char *text = json_dumps(body, JSON_COMPACT);
	size_t room = text != NULL && strlen(text) < size ? size - strlen(text) : 0;
	free(text);
	char *filler = malloc(room + 1);
	if (filler != NULL) {
		memset(filler, 'f', room);
		filler[room] = '\0';
		(void)json_object_set_new(body, "filler", json_string(filler));
	}
	free(filler);
	return body;
}

void check_body_large(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	(void)expect(t, o, wrap_call(t, body_of(t, BODY_ACCEPTED)), 200, 0, "a body of 16 KiB");
}

void check_body_too_large(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	(void)expect(t, o, wrap_call(t, body_of(t, BODY_REFUSED)), 413, 0, "a body of 17 KiB");
}

void check_content_type(struct tester *t, const struct check *self, struct outcome *o)
{
	struct call c = wrap_call(t, good_body(t));
	(void)self;
	c.type = "text/plain";
	(void)expect(t, o, c, 415, 400, "Content-Type: text/plain");
	c = wrap_call(t, good_body(t));
	c.type = "application/x-www-form-urlencoded";
	(void)expect(t, o, c, 415, 400, "Content-Type: application/x-www-form-urlencoded");
}

/* ---- what must be refused with 400 ---- */
void check_bad_json(struct tester *t, const struct check *self, struct outcome *o)
{
	static const char *const BODIES[] = {
		"", "{", "[]", "null", "\"text\"", "{\"request_context\":{}} trailing", "{'alg':'A256KW'}", "\xff\xfe"
	};
	(void)self;

	for (size_t i = 0; i < sizeof(BODIES) / sizeof(*BODIES); i++) {
		char what[DETAIL_MAX];
		struct call c = wrap_call(t, NULL);
		c.text = BODIES[i];
		(void)snprintf(what, sizeof(what), "the body <%s>", BODIES[i]);
		(void)expect(t, o, c, 400, 0, what);
	}
	(void)expect(t, o, (struct call){ .path = "/info", .text = "{" }, 400, 0, "info with broken JSON");
}

void check_no_context(struct tester *t, const struct check *self, struct outcome *o)
{
	enum alg alg;
	const char *key = any_key(t, &alg);
	json_t *body = good_body(t);
	(void)self;

	(void)json_object_del(body, "request_context");
	(void)expect(t, o, wrap_call(t, body), 400, 0, "wrapkey without request_context");
	(void)expect(t, o, (struct call){ .key = key, .op = "metadata", .text = "{}" }, 400, 0, "metadata without request_context");
	(void)expect(t, o, (struct call){ .path = "/info", .text = "{}" }, 400, 0, "info without request_context");
}

void check_context_members(struct tester *t, const struct check *self, struct outcome *o)
{
	static const char *const REQUIRED[] = { "correlation_id", "pool_name" };
	(void)self;

	for (size_t i = 0; i < sizeof(REQUIRED) / sizeof(*REQUIRED); i++) {
		char what[DETAIL_MAX];
		json_t *body = good_body(t);
		(void)json_object_del(json_object_get(body, "request_context"), REQUIRED[i]);
		(void)snprintf(what, sizeof(what), "without %s", REQUIRED[i]);
		(void)expect(t, o, wrap_call(t, body), 400, 0, what);
	}
}

static void without(struct tester *t, struct outcome *o, const char *member)
{
	static const char *const OPS[] = { "wrapkey", "unwrapkey" };
	for (size_t i = 0; i < sizeof(OPS) / sizeof(*OPS); i++) {
		char what[DETAIL_MAX];
		json_t *body = good_body(t);
		(void)json_object_del(body, member);
		struct call c = wrap_call(t, body);
		c.op = OPS[i];
		(void)snprintf(what, sizeof(what), "%s without %s", OPS[i], member);
		(void)expect(t, o, c, 400, 0, what);
	}
}

void check_no_alg(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	without(t, o, "alg");
}

void check_no_value(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	without(t, o, "value");
}

void check_member_types(struct tester *t, const struct check *self, struct outcome *o)
{
	static const char *const MEMBERS[] = { "alg", "value", "request_context" };
	(void)self;

	for (size_t i = 0; i < sizeof(MEMBERS) / sizeof(*MEMBERS); i++) {
		json_t *const wrong[] = { json_integer(1), json_null(), json_array(), json_true() };
		for (size_t k = 0; k < sizeof(wrong) / sizeof(*wrong); k++) {
			char what[DETAIL_MAX];
			json_t *body = good_body(t);
			(void)json_object_set_new(body, MEMBERS[i], wrong[k]);
			(void)snprintf(what, sizeof(what), "%s of the wrong type", MEMBERS[i]);
			(void)expect(t, o, wrap_call(t, body), 400, 0, what);
		}
	}
}

void check_alg_unknown(struct tester *t, const struct check *self, struct outcome *o)
{
	static const char *const NAMES[] = { "A128KW", "A192KW",       "A256KWPAD",    "CKM_AES_KEY_WRAP_PAD", "a256kw",  "A256GCM",
		                             "RSA1_5", "RSA-OAEP-512", "rsa-oaep-256", "RSA_OAEP_256",         "A256KW ", "" };
	static const char *const OPS[] = { "wrapkey", "unwrapkey" };
	const char *const keys[] = { t->opt->aes_key, t->opt->rsa_key };
	(void)self;

	for (size_t i = 0; i < sizeof(NAMES) / sizeof(*NAMES); i++)
		for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++)
			for (size_t op = 0; op < sizeof(OPS) / sizeof(*OPS) && keys[k] != NULL; op++) {
				char what[DETAIL_MAX];
				(void)snprintf(what, sizeof(what), "%s with alg \"%s\"", OPS[op], NAMES[i]);
				(void)expect(t, o,
				             (struct call){ .key = keys[k],
				                            .op = OPS[op],
				                            .json = body_crypto(t, NAMES[i], VALUE, sizeof(VALUE)) },
				             400, 0, what);
			}
}

void check_alg_mismatch(struct tester *t, const struct check *self, struct outcome *o)
{
	static const char *const OPS[] = { "wrapkey", "unwrapkey" };
	(void)self;

	for (size_t alg = 0; alg < ALG_COUNT; alg++) {
		const char *key = ALGORITHMS[alg].is_rsa ? t->opt->aes_key : t->opt->rsa_key;
		for (size_t op = 0; op < sizeof(OPS) / sizeof(*OPS) && key != NULL; op++) {
			char what[DETAIL_MAX];
			(void)snprintf(what, sizeof(what), "%s with %s and the other kind of key", OPS[op], ALGORITHMS[alg].name);
			(void)expect(t, o,
			             (struct call){ .key = key,
			                            .op = OPS[op],
			                            .json = body_crypto(t, ALGORITHMS[alg].name, VALUE, sizeof(VALUE)) },
			             400, 0, what);
		}
	}
}

/* wrapkey and unwrapkey with `value` exactly as written. */
static void with_value(struct tester *t, struct outcome *o, const char *value, const char *what)
{
	static const char *const OPS[] = { "wrapkey", "unwrapkey" };
	for (size_t i = 0; i < sizeof(OPS) / sizeof(*OPS); i++) {
		json_t *body = good_body(t);
		(void)json_object_set_new(body, "value", json_string(value));
		struct call c = wrap_call(t, body);
		c.op = OPS[i];
		(void)expect(t, o, c, 400, 0, what);
	}
}

void check_b64_padded(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	/* 16 and 32 bytes: the right lengths, so that only the padding can be what is refused. */
	with_value(t, o, "AAECAwQFBgcICQoLDA0ODw==", "base64url with two '='");
	with_value(t, o, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "base64url with one '='");
}

void check_b64_standard(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	with_value(t, o, "+/ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "the standard alphabet (+ and /)");
	with_value(t, o, "//////////////////////////////////////////w", "the standard alphabet (/)");
}

void check_b64_bad(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	with_value(t, o, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdH", "an impossible length");
	with_value(t, o, "AAECAwQFBgcI CQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "a space inside");
	with_value(t, o, "AAECAwQFBgcICQoLDA0O\nDxAREhMUFRYXGBkaGxwdHh8", "a line break inside");
	with_value(t, o, "-----BEGIN KEY-----", "PEM");
	with_value(t, o, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh\xc3\xa9", "a letter outside ASCII");
}
