/* Leaves: the golden file, hostile text, limits. jansson is the second opinion on canonical form. */
#include "server/core/event.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/evp.h>

#include <cmocka.h>

#define GOLDEN "../shared/vectors/audit-log/golden-v1.json"
#define TENANT_GUID "11111111-2222-4333-8444-555555555555"

static const struct event_stamp STAMP = {
	.seq = 7,
	.ts_us = 1795284000001500,
	.boot = { 0x5f, 0x3a, 0x9c, 0x0e, 0x77, 0xd1, 0xb2, 0x64 },
	.mono_us = 1500,
	.node = "node-a",
	.id = { 1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16 },
	.salt = { 0xff },
};

/* The leaf as a string; owned by the caller. */
static char *leaf_of(const struct event *e, const struct event_stamp *stamp)
{
	char *leaf = malloc(EVENT_LEAF_MAX + 1);
	size_t len;
	assert_non_null(leaf);
	len = event_encode(e, stamp, leaf);
	assert_in_range(len, 1, EVENT_LEAF_MAX);
	leaf[len] = '\0';
	assert_int_equal(strlen(leaf), len);
	return leaf;
}

/* Parse strictly, write again with jansson, compare. jansson differs in one point: its control characters have upper-case hex. */
static json_t *canonical(const char *leaf)
{
	json_t *o = json_loads(leaf, JSON_REJECT_DUPLICATES, NULL);
	char *again;
	assert_non_null(o);
	again = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	assert_non_null(again);
	for (char *p = again; (p = strchr(p, '\\')) != NULL; p += 2) {
		for (size_t i = 2; p[1] == 'u' && i < 6; i++)
			p[i] = (char)tolower((unsigned char)p[i]);
	}
	assert_string_equal(leaf, again);
	free(again);
	return o;
}

static json_t *golden(void)
{
	json_t *j;
	if (access(GOLDEN, R_OK) != 0) {
		printf("skipped: %s is not in this checkout\n", GOLDEN);
		skip();
	}
	j = json_load_file(GOLDEN, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	assert_non_null(j);
	return j;
}

static const char *text_at(const json_t *o, const char *name)
{
	const char *t = json_string_value(json_object_get(o, name));
	return t != NULL ? t : "";
}

static void bytes_at(const json_t *o, const char *name, uint8_t *ret, size_t len)
{
	const char *t = text_at(o, name);
	size_t got = 0;
	assert_true(b64url_decode(t, strlen(t), ret, len, &got));
	assert_int_equal(got, len);
}

static int64_t ts_us_of(const char *ts)
{
	struct tm tm = { 0 };
	const char *rest = strptime(ts, "%Y-%m-%dT%H:%M:%S", &tm);
	assert_non_null(rest);
	return (int64_t)timegm(&tm) * 1000000 + strtol(rest + 1, NULL, 10);
}

static unsigned index_of(const char *name, const char *const *names)
{
	unsigned i = 0;
	while (strcmp(names[i], name) != 0)
		i++;
	return i;
}

/* Is the object only text and integers, so that `det` can express it? */
static bool det_from(json_t *object, struct event_det *det, size_t *ret_count)
{
	const char *name;
	json_t *value;
	size_t n = 0;
	json_object_foreach(object, name, value) {
		for (const char *c = name; *c != '\0'; c++) {
			if (isalnum((unsigned char)*c) == 0 && *c != '_')
				return false; /* names come from code, never from outside */
		}
		if ((!json_is_string(value) && !json_is_integer(value)) || n == EVENT_DET_MAX || *name == '\0' || strlen(name) > EVENT_DET_NAME_MAX)
			return false;
		if (json_is_string(value) && strlen(json_string_value(value)) != json_string_length(value))
			return false;
		det[n] = (struct event_det){ .name = name, .is_number = json_is_integer(value), .number = json_integer_value(value) };
		if (json_is_string(value))
			(void)snprintf(det[n].text, sizeof(det[n].text), "%s", json_string_value(value));
		n++;
	}
	*ret_count = n;
	return true;
}

static void approvers_from(json_t *list, struct event *e)
{
	static struct event_approver approvers[EVENT_APPROVERS_MAX];
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		approvers[i] = (struct event_approver){ .at_us = ts_us_of(text_at(item, "at")), .cred = text_at(item, "cred") };
		(void)snprintf(approvers[i].kid, sizeof(approvers[i].kid), "%s", text_at(item, "kid"));
		bytes_at(item, "pid", approvers[i].pid, sizeof(approvers[i].pid));
	}
	e->approver_count = json_array_size(list);
	e->approvers = approvers;
}

/* From the JSON of a golden leaf to our struct. False when it holds what the struct cannot express. */
static bool event_from(json_t *o, struct event *e, struct event_stamp *stamp, struct event_det *det)
{
	static const char *const PHASES[] = { "single", "intent", "outcome" };
	static const char *const RESULTS[] = { "ok", "denied", "failed", "pending", "unknown" };
	static const char *const KINDS[] = { "", "user", "app", "node", "system" };
	static const char *const AUTHS[] = { "", "jwt", "mtls", "local" };
	json_t *actor = json_object_get(o, "actor"), *key = json_object_get(o, "key"), *net = json_object_get(o, "net");

	*e = (struct event){ .type = event_type_parse(text_at(o, "type")), .det = det };
	if (e->type == EVENT_NONE || !det_from(json_object_get(o, "det"), det, &e->det_count))
		return false;
	approvers_from(json_object_get(o, "appr"), e);
	e->phase = (enum event_phase)index_of(text_at(o, "phase"), PHASES);
	e->result = (enum event_result)index_of(text_at(o, "result"), RESULTS);
	e->has_ref = json_object_get(o, "ref") != NULL;
	e->ref = (uint64_t)json_integer_value(json_object_get(o, "ref"));
	e->has_tenant = json_object_get(o, "tenant") != NULL;
	assert_true(guid_parse(TENANT_GUID, GUID_TEXT_LEN, e->tenant));
	if (actor != NULL) {
		e->actor = (enum event_actor)index_of(text_at(actor, "kind"), KINDS);
		e->auth = (enum event_auth)index_of(text_at(actor, "auth"), AUTHS);
		bytes_at(actor, "pid", e->pid, sizeof(e->pid));
	}
	(void)snprintf(e->key_name, sizeof(e->key_name), "%s", text_at(key, "name"));
	(void)snprintf(e->key_version, sizeof(e->key_version), "%s", text_at(key, "ver"));
	e->has_obj = json_object_get(key, "obj") != NULL;
	if (e->has_obj)
		bytes_at(key, "obj", e->obj, sizeof(e->obj));
	e->alg = json_string_value(json_object_get(o, "alg"));
	e->err = json_string_value(json_object_get(o, "err"));
	(void)snprintf(e->req, sizeof(e->req), "%s", text_at(o, "req"));
	(void)snprintf(e->corr, sizeof(e->corr), "%s", text_at(o, "corr"));
	e->http = (int)json_integer_value(json_object_get(o, "http"));
	(void)snprintf(e->net_peer, sizeof(e->net_peer), "%s", text_at(net, "peer"));
	(void)snprintf(e->net_tls, sizeof(e->net_tls), "%s", text_at(net, "tls"));

	*stamp = (struct event_stamp){ .seq = (uint64_t)json_integer_value(json_object_get(o, "seq")), .node = text_at(o, "node") };
	stamp->ts_us = ts_us_of(text_at(o, "ts"));
	stamp->mono_us = json_integer_value(json_object_get(o, "mono"));
	assert_true(hex_decode(text_at(o, "boot"), 16, stamp->boot, sizeof(stamp->boot)));
	assert_true(guid_parse(text_at(o, "id"), GUID_TEXT_LEN, stamp->id));
	bytes_at(o, "salt", stamp->salt, sizeof(stamp->salt));
	return true;
}

/* The golden tenant "t-4c1f" is not a GUID as ours are. */
static void with_guid_tenant(const char *golden_leaf, char *ret, size_t cap)
{
	static const char THEIRS[] = "\"tenant\":\"t-4c1f\"";
	const char *at = strstr(golden_leaf, THEIRS);
	if (at == NULL)
		(void)snprintf(ret, cap, "%s", golden_leaf);
	else
		(void)snprintf(ret, cap, "%.*s\"tenant\":\"%s\"%s", (int)(at - golden_leaf), golden_leaf, TENANT_GUID, at + sizeof(THEIRS) - 1);
}

static void golden_leaves_are_reproduced_byte_for_byte(void **state)
{
	json_t *g = golden(), *item;
	size_t i, same = 0;
	(void)state;
	json_array_foreach(json_object_get(g, "leaves"), i, item) {
		static struct event_det det[EVENT_DET_MAX];
		char expected[EVENT_LEAF_MAX];
		const char *text = text_at(item, "canonical");
		json_t *o = canonical(text);
		struct event e;
		struct event_stamp stamp;
		if (event_from(o, &e, &stamp, det)) {
			char *leaf = leaf_of(&e, &stamp);
			with_guid_tenant(text, expected, sizeof(expected));
			assert_string_equal(leaf, expected);
			free(leaf);
			same++;
		}
		json_decref(o);
	}
	assert_int_equal(i, 13);
	assert_int_equal(same, 12); /* not: a list in det */
	json_decref(g);
}

/* {"det":<object>} of a leaf whose det has these members, as text; false when det cannot express them. */
static bool encoded_as_det(json_t *object, char *ret, size_t cap)
{
	static struct event_det det[EVENT_DET_MAX];
	struct event e = { .type = EVENT_KEY_UPDATE, .det = det };
	char *leaf, *from, *to;
	if (!json_is_object(object) || !det_from(object, det, &e.det_count) || e.det_count == 0)
		return false;
	leaf = leaf_of(&e, &STAMP);
	from = strstr(leaf, "\"det\":");
	to = strstr(leaf, ",\"id\":");
	assert_non_null(from);
	assert_non_null(to);
	(void)snprintf(ret, cap, "%.*s", (int)(to - from - 6), from + 6);
	free(leaf);
	return true;
}

static void canonical_texts_are_written_so_and_the_refused_spellings_never_are(void **state)
{
	json_t *g = golden(), *item;
	size_t i, accepted = 0, refused = 0;
	char text[EVENT_LEAF_MAX];
	(void)state;
	json_array_foreach(json_object_get(g, "canonical_accept"), i, item) {
		json_t *o = json_loads(json_string_value(item), JSON_REJECT_DUPLICATES, NULL);
		if (encoded_as_det(o, text, sizeof(text))) {
			assert_string_equal(text, json_string_value(item));
			accepted++;
		}
		json_decref(o);
	}
	json_array_foreach(json_object_get(g, "canonical_reject"), i, item) {
		json_t *o = json_loads(text_at(item, "text"), 0, NULL);
		if (encoded_as_det(o, text, sizeof(text))) {
			assert_string_not_equal(text, text_at(item, "text"));
			refused++;
		}
		json_decref(o);
	}
	assert_int_equal(accepted, 2);
	assert_in_range(refused, 7, 21);
	json_decref(g);
}

static void every_escape_is_the_one_of_rule_3_1(void **state)
{
	struct event_det det = { .name = "note", .text = "\x01\x07\b\t\n\v\f\r\x1f \"\\/\x7f\xc2\x80\xe2\x80\xa8\xf0\x9f\x94\x91" };
	struct event e = { .type = EVENT_KEY_UPDATE, .det = &det, .det_count = 1 };
	char *leaf = leaf_of(&e, &STAMP);
	(void)state;
	assert_non_null(strstr(leaf, "\"note\":\"\\u0001\\u0007\\b\\t\\n\\u000b\\f\\r\\u001f \\\"\\\\/\x7f\xc2\x80\xe2\x80\xa8\xf0\x9f\x94\x91\""));
	json_decref(canonical(leaf));
	free(leaf);
}

/* All members that a struct can hold, with text from outside in each. */
static void fill(struct event *e, struct event_det *det, size_t det_count, const char *text)
{
	static const char *const NAMES[EVENT_DET_MAX] = { "z", "a", "a_a", "b", "A", "_", "n2", "n10", "c", "B", "z1", "Z" };
	*e = (struct event){
		.type = EVENT_KEY_UNWRAP, .phase = EVENT_OUTCOME, .result = EVENT_FAILED, .has_ref = true, .ref = 3, .has_tenant = true,
		.actor = EVENT_ACTOR_APP, .auth = EVENT_AUTH_JWT, .pid = { 9 }, .has_obj = true, .alg = "RSA-OAEP-256", .http = 500,
		.err = "KeyNotFound", .count = 12, .det = det, .det_count = det_count,
	};
	(void)snprintf(e->role, sizeof(e->role), "%s", text);
	(void)snprintf(e->key_name, sizeof(e->key_name), "%s", text);
	(void)snprintf(e->key_version, sizeof(e->key_version), "%s", text);
	(void)snprintf(e->req, sizeof(e->req), "%s", text);
	(void)snprintf(e->corr, sizeof(e->corr), "%s", text);
	(void)snprintf(e->net_peer, sizeof(e->net_peer), "%s", text);
	(void)snprintf(e->net_tls, sizeof(e->net_tls), "%s", text);
	(void)snprintf(e->trace, sizeof(e->trace), "%s", text);
	for (size_t i = 0; i < det_count; i++) {
		det[i] = (struct event_det){ .name = NAMES[i], .is_number = i == 2, .number = -5 };
		(void)snprintf(det[i].text, sizeof(det[i].text), "%s", text);
	}
}

static void hostile_text_in_every_member_stays_canonical(void **state)
{
	static struct event_det det[EVENT_DET_MAX];
	uint32_t seed = 20261121;
	(void)state;
	for (int round = 0; round < 3000; round++) {
		char text[701];
		size_t len = 0, want = (size_t)round * 7 % sizeof(text);
		struct event e;
		char *leaf;
		while (len + 4 < want) {
			static const char *const PIECES[] = { "a",          "\"",           "\\",               "\n",   "\x1b",         "\x7f",
				                              "\xc3\xa9", "\xe2\x80\xa8", "\xf0\x9f\x94\x91", "\xff", "\xed\xa0\x80", "|=]" };
			seed = seed * 1664525 + 1013904223;
			/* Two rounds of three have only well-formed pieces. */
			size_t piece = (seed >> 16) % (round % 3 == 0 ? 12 : 9);
			size_t piece_len = strlen(PIECES[piece]);
			memcpy(text + len, PIECES[piece], piece_len);
			len += piece_len;
		}
		text[len] = '\0';
		fill(&e, det, (size_t)round % (EVENT_DET_MAX + 1), text);
		leaf = leaf_of(&e, &STAMP);
		json_decref(canonical(leaf));
		free(leaf);
	}
}

static void long_text_is_cut_at_a_character_and_named_in_trunc(void **state)
{
	struct event_det det[2] = { { .name = "note" }, { .name = "exact" } };
	struct event e = { .type = EVENT_KEY_UPDATE, .det = det, .det_count = 2 };
	(void)state;
	for (size_t shift = 0; shift < 4; shift++) {
		char text[600];
		json_t *o, *d;
		char *leaf;
		memset(text, 'x', shift);
		for (size_t at = shift; at + 4 < sizeof(text); at += 4)
			memcpy(text + at, "\xf0\x9f\x94\x91", 5);
		memcpy(det[0].text, text, EVENT_TEXT_MAX + 1);
		memset(det[1].text, 'y', EVENT_TEXT_MAX);
		memset(e.corr, 'c', EVENT_CORR_MAX + 1);
		leaf = leaf_of(&e, &STAMP);
		o = canonical(leaf);
		d = json_object_get(o, "det");
		/* 512 is a multiple of four: with a shift, the last key is divided and left out. */
		assert_int_equal(json_string_length(json_object_get(d, "note")), shift == 0 ? 512 : 508 + shift);
		assert_memory_equal(json_string_value(json_object_get(d, "note")), text, json_string_length(json_object_get(d, "note")));
		assert_int_equal(json_string_length(json_object_get(d, "exact")), 512);
		assert_int_equal(json_string_length(json_object_get(o, "corr")), EVENT_CORR_MAX);
		assert_non_null(strstr(leaf, ",\"trunc\":[\"corr\",\"note\"],\"ts\":"));
		json_decref(o);
		free(leaf);
	}
}

static void text_that_is_not_utf8_becomes_base64url_under_its_own_name(void **state)
{
	struct event_det det[] = { { .name = "b", .text = "ok" }, { .name = "a", .text = "\xff\xfe" }, { .name = "a_b", .text = "" }, { .name = "long" } };
	struct event e = { .type = EVENT_KEY_UPDATE, .det = det, .det_count = 4, .key_name = "caf\xc3" };
	uint8_t back[EVENT_TEXT_MAX];
	size_t len = 0;
	json_t *o;
	char *leaf;
	(void)state;
	memset(det[3].text, 0xbf, EVENT_TEXT_MAX + 1);
	leaf = leaf_of(&e, &STAMP);
	o = canonical(leaf);
	assert_non_null(strstr(leaf, "\"key\":{\"name_b64\":\"Y2Fmww\"}"));
	assert_non_null(strstr(leaf, "\"det\":{\"a_b\":\"\",\"a_b64\":\"__4\",\"b\":\"ok\",\"long_b64\":"));
	assert_non_null(strstr(leaf, "\"trunc\":[\"long_b64\"]"));
	assert_true(b64url_decode(text_at(json_object_get(o, "det"), "long_b64"), B64URL_LEN(512), back, sizeof(back), &len));
	assert_int_equal(len, EVENT_TEXT_MAX);
	json_decref(o);
	free(leaf);
}

static void numbers_stay_within_2_to_53(void **state)
{
	struct event_det det[] = { { .name = "hi", .is_number = true, .number = INT64_MAX }, { .name = "lo", .is_number = true, .number = INT64_MIN } };
	struct event e = { .type = EVENT_KEY_UPDATE, .det = det, .det_count = 2, .count = UINT64_MAX };
	char *leaf = leaf_of(&e, &STAMP);
	(void)state;
	assert_non_null(strstr(leaf, "\"count\":9007199254740991,\"det\":{\"hi\":9007199254740991,\"lo\":-9007199254740991}"));
	assert_non_null(strstr(leaf, "\"trunc\":[\"count\",\"hi\",\"lo\"]"));
	json_decref(canonical(leaf));
	free(leaf);
}

static void a_leaf_too_big_keeps_only_the_hash_of_its_det(void **state)
{
	static struct event_det det[EVENT_DET_MAX];
	struct event e;
	char text[600], expected[EVENT_DET_MAX * 4096], *leaf;
	uint8_t digest[32];
	char b64[B64URL_LEN(32) + 1];
	size_t at = 1;
	json_t *o;
	(void)state;
	memset(text, 1, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	fill(&e, det, 4, text); /* z, a, a_a = -5, b */
	leaf = leaf_of(&e, &STAMP);
	o = canonical(leaf);
	assert_true(json_is_true(json_object_get(o, "big")));
	assert_null(json_object_get(o, "det"));
	expected[0] = '{';
	for (int i = 0; i < 4; i++) {
		static const char *const SORTED[] = { "\"a\":\"", "\"a_a\":-5", ",\"b\":\"", ",\"z\":\"" };
		at += (size_t)snprintf(expected + at, sizeof(expected) - at, "%s", SORTED[i]);
		for (int c = 0; i != 1 && c < EVENT_TEXT_MAX; c++)
			at += (size_t)snprintf(expected + at, sizeof(expected) - at, "\\u0001");
		at += (size_t)snprintf(expected + at, sizeof(expected) - at, "%s", i == 0 ? "\"," : i == 1 ? "" : "\"");
	}
	expected[at++] = '}';
	assert_int_equal(EVP_Digest(expected, at, digest, NULL, EVP_sha256(), NULL), 1);
	b64url_encode(digest, sizeof(digest), b64);
	assert_string_equal(text_at(o, "det_sha256"), b64);
	json_decref(o);
	free(leaf);
}

static void sixteen_approvers(struct event *e)
{
	static struct event_approver approvers[EVENT_APPROVERS_MAX];

	for (size_t i = 0; i < EVENT_APPROVERS_MAX; i++)
		approvers[i] = (struct event_approver){ .pid = { (uint8_t)i, 1 }, .at_us = STAMP.ts_us + (int64_t)i, .cred = "certificate", .kid = "0a1b2c3d" };
	e->approver_count = EVENT_APPROVERS_MAX;
	e->approvers = approvers;
}

static void the_largest_event_fits(void **state)
{
	static struct event_det det[EVENT_DET_MAX];
	struct event e;
	char text[600], *leaf;
	json_t *o;
	(void)state;
	memset(text, 1, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	fill(&e, det, EVENT_DET_MAX, text);
	sixteen_approvers(&e);
	leaf = leaf_of(&e, &STAMP);
	o = canonical(leaf);
	assert_int_equal(json_array_size(json_object_get(o, "appr")), EVENT_APPROVERS_MAX);
	json_decref(o);
	free(leaf);
}

static void approvers_are_sorted_members_before_boot_and_have_a_kid_only_with_a_certificate(void **state)
{
	static const struct event_approver APPROVERS[] = { { .pid = { 1 }, .at_us = 1795285801000000, .cred = "jwt" },
		                                           { .pid = { 2 }, .at_us = 1795285844120000, .cred = "certificate", .kid = "9b2f11d0" } };
	struct event e = { .type = EVENT_TENANT_SHRED, .approvers = APPROVERS, .approver_count = 2 };
	char *leaf = leaf_of(&e, &STAMP);
	(void)state;
	json_decref(canonical(leaf));
	assert_non_null(strstr(leaf, "{\"appr\":[{\"at\":\"2026-11-21T18:30:01.000000Z\",\"cred\":\"jwt\",\"pid\":\"AQAAAAAAAAAAAAAAAAAAAA\"},"
	                             "{\"at\":\"2026-11-21T18:30:44.120000Z\",\"cred\":\"certificate\",\"kid\":\"9b2f11d0\","
	                             "\"pid\":\"AgAAAAAAAAAAAAAAAAAAAA\"}],\"boot\":"));
	free(leaf);
}

static void what_approvers_take_is_taken_from_det(void **state)
{
	static struct event_det det[3] = { { .name = "a" }, { .name = "b" }, { .name = "c" } };
	struct event e = { .type = EVENT_TENANT_SHRED, .det = det, .det_count = 3 };
	char *leaf;
	(void)state;
	for (size_t i = 0; i < 3; i++)
		memset(det[i].text, i < 2 ? 1 : 'x', EVENT_TEXT_MAX);
	leaf = leaf_of(&e, &STAMP);
	assert_null(strstr(leaf, "det_sha256"));
	free(leaf);
	sixteen_approvers(&e);
	leaf = leaf_of(&e, &STAMP);
	assert_non_null(strstr(leaf, "\"big\":true"));
	assert_non_null(strstr(leaf, "\"appr\":["));
	json_decref(canonical(leaf));
	free(leaf);
}

static void a_bare_event_has_only_the_members_that_always_are(void **state)
{
	struct event e = { .type = EVENT_NODE_START };
	char *leaf = leaf_of(&e, &STAMP);
	(void)state;
	assert_string_equal(leaf, "{\"boot\":\"5f3a9c0e77d1b264\",\"id\":\"01020304-0506-4708-890a-0b0c0d0e0f10\",\"mono\":1500,\"node\":\"node-a\","
	                          "\"phase\":\"single\",\"result\":\"ok\",\"salt\":\"_wAAAAAAAAAAAAAAAAAAAA\",\"seq\":7,"
	                          "\"ts\":\"2026-11-21T18:00:00.001500Z\",\"type\":\"node.start\",\"v\":1}");
	free(leaf);
}

static void type_names_and_types_are_one_to_one(void **state)
{
	(void)state;
	for (unsigned t = EVENT_NONE + 1; t < EVENT_TYPE_COUNT; t++)
		assert_int_equal(event_type_parse(event_type_name((enum event_type)t)), t);
	assert_int_equal(event_type_parse(""), EVENT_NONE);
	assert_int_equal(event_type_parse("key.nothing"), EVENT_NONE);
	assert_string_equal(event_type_name(EVENT_KEY_UNWRAP), "key.unwrap");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_leaves_are_reproduced_byte_for_byte),
		cmocka_unit_test(canonical_texts_are_written_so_and_the_refused_spellings_never_are),
		cmocka_unit_test(every_escape_is_the_one_of_rule_3_1),
		cmocka_unit_test(hostile_text_in_every_member_stays_canonical),
		cmocka_unit_test(long_text_is_cut_at_a_character_and_named_in_trunc),
		cmocka_unit_test(text_that_is_not_utf8_becomes_base64url_under_its_own_name),
		cmocka_unit_test(numbers_stay_within_2_to_53),
		cmocka_unit_test(a_leaf_too_big_keeps_only_the_hash_of_its_det),
		cmocka_unit_test(the_largest_event_fits),
		cmocka_unit_test(approvers_are_sorted_members_before_boot_and_have_a_kid_only_with_a_certificate),
		cmocka_unit_test(what_approvers_take_is_taken_from_det),
		cmocka_unit_test(a_bare_event_has_only_the_members_that_always_are),
		cmocka_unit_test(type_names_and_types_are_one_to_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
