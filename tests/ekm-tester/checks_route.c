/* tests/ekm-tester/checks_route.c - ekm-proxy.md section 4: paths, prefix, api-version, methods, identifiers; and the states of keys. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "tests/ekm-tester/tester.h"

#define PATH_MAX_LEN 256
#define UNKNOWN_KEY "holdfast-ekm-test-unknown"

static const uint8_t VALUE[AES_KEY_LEN] = { 0x48, 0x6f, 0x6c, 0x64, 0x66, 0x61, 0x73, 0x74 };

static json_t *wrap_body(struct tester *t, enum alg alg) { return body_crypto(t, ALGORITHMS[alg].name, VALUE, sizeof(VALUE)); }

void check_prefix(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->opt->target.prefix[0] == '\0') {
		skipped(o, "the URL has no path prefix");
		return;
	}
	(void)expect(t, o, (struct call){ .path = "/info", .json = body_new(t) }, 200, 0, "info under the prefix");
	(void)expect(t, o, (struct call){ .path = "/info", .json = body_new(t), .without_prefix = true }, 404, 0,
	             "info without the prefix");
	(void)expect(t, o, (struct call){ .path = "/another-prefix/info", .json = body_new(t), .without_prefix = true }, 404, 0,
	             "info under another prefix");
}

void check_operations(struct tester *t, const struct check *self, struct outcome *o)
{
	enum alg alg;
	const char *key = any_key(t, &alg);
	/* Section 4: operation names are lower case, matched exactly. */
	static const char *const OPS[] = { "encrypt", "wrapKey", "UNWRAPKEY", "Metadata", "sign", "wrapkey2" };
	char path[PATH_MAX_LEN];
	(void)self;

	for (size_t i = 0; i < sizeof(OPS) / sizeof(*OPS); i++)
		(void)expect(t, o, (struct call){ .key = key, .op = OPS[i], .json = wrap_body(t, alg) }, 404, 0, OPS[i]);
	(void)snprintf(path, sizeof(path), "/%s", key);
	(void)expect(t, o, (struct call){ .path = path, .json = body_new(t) }, 404, 0, "a key without an operation");
	(void)expect(t, o, (struct call){ .path = "/", .json = body_new(t) }, 404, 0, "no operation at all");
	(void)snprintf(path, sizeof(path), "/%s/metadata/more", key);
	(void)expect(t, o, (struct call){ .path = path, .json = body_new(t) }, 404, 0, "a third segment");
}

/* 404 is the documented answer; a proxy whose HTTP layer refuses such a path altogether says 400. */
void check_path_variants(struct tester *t, const struct check *self, struct outcome *o)
{
	enum alg alg;
	const char *key = any_key(t, &alg);
	char path[PATH_MAX_LEN];
	(void)self;

	(void)snprintf(path, sizeof(path), "/%s//metadata", key);
	(void)expect(t, o, (struct call){ .path = path, .json = body_new(t) }, 404, 400, "a doubled slash");
	(void)snprintf(path, sizeof(path), "/%s/metadata/", key);
	(void)expect(t, o, (struct call){ .path = path, .json = body_new(t) }, 404, 400, "a trailing slash");
	(void)snprintf(path, sizeof(path), "/x/../%s/metadata", key);
	(void)expect(t, o, (struct call){ .path = path, .json = body_new(t) }, 404, 400, "a path with dots");
	(void)snprintf(path, sizeof(path), "/%s%%2Fmetadata", key);
	(void)expect(t, o, (struct call){ .path = path, .json = body_new(t) }, 404, 400, "an encoded slash");
}

void check_methods(struct tester *t, const struct check *self, struct outcome *o)
{
	static const char *const METHODS[] = { "GET", "PUT", "DELETE", "PATCH" };
	enum alg alg;
	const char *key = any_key(t, &alg);
	(void)self;

	for (size_t i = 0; i < sizeof(METHODS) / sizeof(*METHODS); i++) {
		(void)expect(t, o, (struct call){ .method = METHODS[i], .path = "/info", .json = body_new(t) }, 405, 0, METHODS[i]);
		(void)expect(t, o, (struct call){ .method = METHODS[i], .key = key, .op = "wrapkey", .json = wrap_body(t, alg) }, 405, 0,
		             METHODS[i]);
	}
}

/* All four endpoints with this query. */
static void every_endpoint(struct tester *t, struct outcome *o, const char *query, const char *what)
{
	enum alg alg;
	const char *key = any_key(t, &alg);

	(void)expect(t, o, (struct call){ .path = "/info", .query = query, .json = body_new(t) }, 400, 0, what);
	(void)expect(t, o, (struct call){ .key = key, .op = "metadata", .query = query, .json = body_new(t) }, 400, 0, what);
	(void)expect(t, o, (struct call){ .key = key, .op = "wrapkey", .query = query, .json = wrap_body(t, alg) }, 400, 0, what);
	(void)expect(t, o, (struct call){ .key = key, .op = "unwrapkey", .query = query, .json = wrap_body(t, alg) }, 400, 0, what);
}

void check_version_missing(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	every_endpoint(t, o, "", "no api-version");
	every_endpoint(t, o, "?api-version=", "an empty api-version");
}

void check_version_unknown(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	every_endpoint(t, o, "?api-version=9.9", "api-version 9.9");
	every_endpoint(t, o, "?api-version=0.1", "api-version 0.1");
}

void check_id_case(struct tester *t, const struct check *self, struct outcome *o)
{
	const char *const keys[] = { t->opt->aes_key, t->opt->rsa_key };
	bool has_letter = false;
	(void)self;

	for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++) {
		char other[ID_MAX + 1];
		if (keys[k] == NULL)
			continue;
		(void)snprintf(other, sizeof(other), "%s", keys[k]);
		for (char *c = other; *c != '\0'; c++)
			*c = (char)(islower((unsigned char)*c) ? toupper((unsigned char)*c) : tolower((unsigned char)*c));
		if (strcmp(other, keys[k]) == 0)
			continue;
		has_letter = true;
		(void)expect(t, o, (struct call){ .key = other, .op = "metadata", .json = body_new(t) }, 404, 0, other);
	}
	if (!has_letter)
		skipped(o, "the identifiers have no letter");
}

void check_id_unknown(struct tester *t, const struct check *self, struct outcome *o)
{
	enum alg alg;
	(void)self;
	(void)any_key(t, &alg);
	(void)expect(t, o, (struct call){ .key = UNKNOWN_KEY, .op = "metadata", .json = body_new(t) }, 404, 0, "metadata");
	(void)expect(t, o, (struct call){ .key = UNKNOWN_KEY, .op = "wrapkey", .json = wrap_body(t, alg) }, 404, 0, "wrapkey");
	(void)expect(t, o, (struct call){ .key = UNKNOWN_KEY, .op = "unwrapkey", .json = wrap_body(t, alg) }, 404, 0, "unwrapkey");
}

void check_id_malformed(struct tester *t, const struct check *self, struct outcome *o)
{
	static const char *const IDS[] = { "under_score", "dot.ted", "caf%C3%A9", "a%20b",
		                           "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLM" /* 65 */ };
	(void)self;
	for (size_t i = 0; i < sizeof(IDS) / sizeof(*IDS); i++)
		(void)expect(t, o, (struct call){ .key = IDS[i], .op = "metadata", .json = body_new(t) }, 404, 400, IDS[i]);
}

/* The kind of the disabled key is not known, and its metadata may be hidden, so both kinds of algorithm are tried: one of them fits. A proxy
 * may see the state or the wrong algorithm first, but with the one that fits it must say 403. */
static void disabled_op(struct tester *t, struct outcome *o, const char *op)
{
	static const enum alg TRIED[] = { A256KW, RSA_OAEP_256 };
	unsigned forbidden = 0;
	char text[DETAIL_MAX] = "";

	for (size_t i = 0; i < sizeof(TRIED) / sizeof(*TRIED); i++) {
		ANSWER_AUTO a = { 0 };
		ask(t, (struct call){ .key = t->opt->disabled_key, .op = op, .json = wrap_body(t, TRIED[i]) }, &a);
		forbidden += a.result == WIRE_ANSWERED && a.http.status == 403;
		if (a.result != WIRE_ANSWERED || (a.http.status != 403 && a.http.status != 400)) {
			failed(o, "%s: expected 403, got %s", op, answer_text(&a, text));
			return;
		}
	}
	if (forbidden == 0)
		failed(o, "%s: expected 403, got 400 for every algorithm", op);
}

void check_disabled_use(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->opt->disabled_key == NULL) {
		skipped(o, "needs --disabled-key");
		return;
	}
	disabled_op(t, o, "wrapkey");
	disabled_op(t, o, "unwrapkey");
}

void check_disabled_metadata(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->opt->disabled_key == NULL)
		skipped(o, "needs --disabled-key");
	else
		(void)expect(t, o, (struct call){ .key = t->opt->disabled_key, .op = "metadata", .json = body_new(t) }, 403, 0, "metadata");
}
