/* Records of exports, read back: by strict parsers of what RFC 5424, CEF and JSON say, written apart from the formats. Whatever text a leaf holds, it is one record, with the
 * fields that it should have and no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/feed/format.h"

#define TS_US ((int64_t)1800000000123456)
#define FIELDS_MAX 32
#define VALUE_MAX 4096
#define KEYS_URL "https://orders.kms.example.com/keys/"

static const char *const HOSTILE[] = {
	"plain",
	"a|b=c]d\"e\\f",
	"] [evil@1 seq=\"7\"] CEF:0|x|y|z|a|b|10|act=none",
	"<13>1 2026-01-01T00:00:00Z h a - - - forged",
	"one\ntwo\r\nthree\n",
	"x act=key.purge cn1=1 cs1Label=tenant",
	"\\", "\\\\n", "ends in \\", "= leads", "|", "\"}],\"seq\":1}",
	"\x01\x02\x03\x04\x05\x06\x07\x08\t\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f",
	"\x1b]0;owned\x07\x1b[2J",
	"\xc2\x85" "next\xc2\x9b" "line\xe2\x80\xa8" "and\xe2\x80\xa9" "again",
	"gr\xc3\xbc\xc3\x9f dich \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x94\x91",
	"\xff\xfe\xc0\xaf\xed\xa0\x80 broken", "\xe2\x80", "\xef\xbb\xbf" "bom",
	"https://h/keys/a?b=c&d=%0a#e", "${jndi:ldap://x}", "<script>alert(1)</script>", " leading and trailing ",
};

/* ---- leaves, as they are stored ---- */

static char long_text[EVENT_TEXT_MAX + 2];

static void make_leaf(const struct event *e, uint64_t seq, struct leaf *ret)
{
	char bytes[EVENT_LEAF_MAX];
	const struct event_stamp stamp = { .seq = seq, .ts_us = TS_US, .node = "node1", .id = { 1, 2, 3 }, .mono_us = 5 };
	struct store_event stored = { .seq = seq, .ts_us = TS_US, .id = { 1, 2, 3 }, .leaf_len = event_encode(e, &stamp, bytes) };
	struct kms_err err = { 0 };

	stored.leaf = malloc(stored.leaf_len);
	assert_non_null(stored.leaf);
	memcpy(stored.leaf, bytes, stored.leaf_len);
	if (e->has_tenant)
		memcpy(stored.vault_id, e->tenant, sizeof(stored.vault_id));
	merkle_leaf_hash(bytes, stored.leaf_len, stored.hash);
	if (leaf_read(&stored, ret, &err) != KMS_OK)
		fail_msg("leaf %llu: %s", (unsigned long long)seq, err.detail);
}

/* Every member that may hold text, filled with it. */
static void make_hostile(enum event_type type, enum event_result result, const char *text, uint64_t seq, struct leaf *ret)
{
	static struct event_det det[2];
	struct event e = { .type = type, .result = result, .has_tenant = true, .tenant = { 0xaa }, .actor = EVENT_ACTOR_APP, .auth = EVENT_AUTH_JWT,
		           .pid = { 9 }, .alg = "RSA-OAEP-256", .http = result == EVENT_OK ? 200 : 403, .err = result == EVENT_OK ? NULL : "ForbiddenByRbac",
		           .count = seq % 3, .det_count = 2, .det = det };

	det[0] = (struct event_det){ .name = "what" };
	det[1] = (struct event_det){ .name = "size", .is_number = true, .number = -7 };
	(void)snprintf(det[0].text, sizeof(det[0].text), "%s", text);
	(void)snprintf(e.key_name, sizeof(e.key_name), "%s", text);
	(void)snprintf(e.key_version, sizeof(e.key_version), "%s", text);
	(void)snprintf(e.corr, sizeof(e.corr), "%s", text);
	(void)snprintf(e.role, sizeof(e.role), "%s", text);
	(void)snprintf(e.net_peer, sizeof(e.net_peer), "%s", text);
	(void)snprintf(e.req, sizeof(e.req), "00000000-0000-4000-8000-000000000001");
	(void)snprintf(e.trace, sizeof(e.trace), "0af7651916cd43dd8448eb211c80319c");
	make_leaf(&e, seq, ret);
}

static const struct format_facts FACTS = { .origin = "kms.example.com/audit/log1", .node = "node1", .directory = "11111111-2222-4333-8444-555555555555",
	                                   .vault = "orders", .vault_url = "https://orders.kms.example.com", .enterprise = FORMAT_ENTERPRISE,
	                                   .observed_us = TS_US + 1 };

static char *record(enum feed_format f, const struct leaf *l, const struct format_facts *facts)
{
	struct kms_err err = { 0 };
	char *text = NULL;
	size_t len = 0;

	assert_int_equal(format_leaf(f, l, facts, &text, &len, &err), KMS_OK);
	assert_int_equal(strlen(text), len);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || (text[i] == 0x7f && f == FORMAT_CEF))
			fail_msg("byte %02x in: %s", (unsigned)text[i], text);
	for (size_t i = 0, n; i < len; i += n)
		assert_true((n = utf8_char_len(text + i, len - i)) > 0);
	return text;
}

/* ---- readers ---- */

struct field {
	char name[64], value[VALUE_MAX];
};
struct fields {
	struct field list[FIELDS_MAX];
	size_t count;
};
struct message {
	int pri;
	char time[40], host[64], app[32], proc[32], id[64], sd_id[64];
	struct fields params;
	const char *text;
};

static const char *get(const struct fields *f, const char *name)
{
	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->list[i].name, name) == 0)
			return f->list[i].value;
	return NULL;
}

static struct field *add(struct fields *f, const char *name, size_t len)
{
	struct field *made = &f->list[f->count++];

	assert_true(f->count <= FIELDS_MAX && len > 0 && len < sizeof(made->name));
	memset(made, 0, sizeof(*made));
	memcpy(made->name, name, len);
	for (size_t i = 0; i + 1 < f->count; i++)
		assert_string_not_equal(f->list[i].name, made->name);
	return made;
}

static const char *take_word(const char *p, char *ret, size_t cap)
{
	size_t len = strcspn(p, " ");

	assert_true(len > 0 && len < cap && p[len] == ' ');
	for (size_t i = 0; i < len; i++)
		assert_in_range(p[i], '!', '~');
	memcpy(ret, p, len);
	ret[len] = '\0';
	return p + len + 1;
}

/* RFC 5424 section 6, with one element of structured data. */
static void read_syslog(const char *p, struct message *ret)
{
	char *end = NULL;

	memset(ret, 0, sizeof(*ret));
	assert_int_equal(*p++, '<');
	ret->pri = (int)strtol(p, &end, 10);
	assert_in_range(ret->pri, 0, 191);
	assert_memory_equal(end, ">1 ", 3);
	p = take_word(end + 3, ret->time, sizeof(ret->time));
	p = take_word(p, ret->host, sizeof(ret->host));
	p = take_word(p, ret->app, sizeof(ret->app));
	p = take_word(p, ret->proc, sizeof(ret->proc));
	p = take_word(p, ret->id, sizeof(ret->id));
	assert_true(strlen(ret->id) <= 32);
	assert_int_equal(*p++, '[');
	p = take_word(p, ret->sd_id, sizeof(ret->sd_id));
	for (;; p++) {
		size_t name = strcspn(p, "=");
		struct field *f = add(&ret->params, p, name);
		size_t at = 0;
		assert_memory_equal(p + name, "=\"", 2);
		for (p += name + 2; *p != '"'; p++) {
			assert_true(*p != '\0' && *p != ']');
			if (*p == '\\') {
				p++;
				assert_non_null(strchr("\"\\]", *p));
				assert_int_not_equal(*p, '\0');
			}
			f->value[at++] = *p;
			assert_true(at < VALUE_MAX);
		}
		p++;
		if (*p != ' ')
			break;
	}
	assert_memory_equal(p, "] ", 2);
	ret->text = p + 2;
}

/* Where the next unescaped name begins: a space, letters and digits, '='. */
static bool is_next_name(const char *p)
{
	size_t len;

	if (*p != ' ')
		return false;
	len = strspn(p + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
	return len > 0 && p[1 + len] == '=';
}

static void read_cef(const char *p, char header[7][256], struct fields *ret)
{
	memset(header, 0, 7 * sizeof(header[0]));
	ret->count = 0;
	assert_memory_equal(p, "CEF:", 4);
	p += 4;
	for (size_t i = 0; i < 7; i++) {
		size_t at = 0;
		for (; *p != '|'; p++) {
			if (*p == '\\') {
				p++;
				assert_non_null(strchr("|\\", *p));
			}
			assert_int_not_equal(*p, '\0');
			header[i][at++] = *p;
			assert_true(at < sizeof(header[0]));
		}
		p++;
	}
	while (*p != '\0') {
		size_t name = strcspn(p, "="), at = 0;
		struct field *f = add(ret, p, name);
		assert_int_equal(strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"), name);
		for (p += name + 1; *p != '\0' && !is_next_name(p); p++) {
			assert_int_not_equal(*p, '=');
			if (*p == '\\') {
				p++;
				assert_true(*p != '\0' && strchr("\\=nr", *p) != NULL);
				f->value[at++] = *p == 'n' ? '\n' : *p == 'r' ? '\r' : *p;
			} else {
				f->value[at++] = *p;
			}
			assert_true(at < VALUE_MAX);
		}
		p += *p == ' ';
	}
}

/* What text becomes where only visible characters may stand. */
static const char *visible(const char *text)
{
	static char out[VALUE_MAX];
	size_t at = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		if ((*p < ' ' && *p != '\n' && *p != '\r') || *p == 0x7f)
			at += (size_t)snprintf(out + at, sizeof(out) - at, "\\x%02x", *p);
		else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			at += (size_t)snprintf(out + at, sizeof(out) - at, "\\u%04x", *++p);
		else if (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) {
			at += (size_t)snprintf(out + at, sizeof(out) - at, "\\u20%02x", p[2] - 0x80);
			p += 2;
		} else {
			out[at++] = (char)*p;
		}
	}
	out[at] = '\0';
	return out;
}

/* ---- what each must hold ---- */

static void check_syslog(const struct leaf *l, const struct message *m)
{
	char hash[FORMAT_HASH_MAX], seq[32];

	format_hash(l, hash);
	(void)snprintf(seq, sizeof(seq), "%llu", (unsigned long long)l->seq);
	assert_int_equal(m->pri / 8, 13);
	assert_string_equal(m->time, "2027-01-15T08:00:00.123456Z");
	assert_string_equal(m->host, "node1");
	assert_string_equal(m->app, "holdfast");
	assert_string_equal(m->proc, "-");
	assert_string_equal(m->id, l->type_name);
	assert_string_equal(m->sd_id, "kel@32473");
	assert_int_equal(m->params.count, 3);
	assert_string_equal(get(&m->params, "origin"), FACTS.origin);
	assert_string_equal(get(&m->params, "seq"), seq);
	assert_string_equal(get(&m->params, "leaf"), hash);
}

static void check_value(const struct fields *f, const char *name, const char *text)
{
	const char *value = get(f, name);

	if (text[0] == '\0') {
		assert_null(value);
		return;
	}
	assert_non_null(value);
	assert_string_equal(value, visible(text));
}

static void check_cef(const struct leaf *l)
{
	static struct message m;
	static struct fields f;
	char header[7][256], seq[32], *text = record(FORMAT_CEF, l, &FACTS);

	read_syslog(text, &m);
	check_syslog(l, &m);
	read_cef(m.text, header, &f);
	(void)snprintf(seq, sizeof(seq), "%llu", (unsigned long long)l->seq);
	assert_string_equal(header[0], "0");
	assert_string_equal(header[1], "Holdfast");
	assert_string_equal(header[4], l->type_name);
	assert_string_equal(get(&f, "act"), l->type_name);
	assert_string_equal(get(&f, "cn1"), seq);
	assert_string_equal(get(&f, "rt"), "1800000000123");
	assert_string_equal(get(&f, "cs5"), get(&m.params, "leaf"));
	assert_string_equal(get(&f, "outcome"), format_result(l));
	assert_non_null(get(&f, "msg"));
	assert_memory_equal(get(&f, "msg"), "size=-7 what", strlen("size=-7 what"));
	check_value(&f, "cs2", l->key_name);
	check_value(&f, "cs3", l->key_version);
	check_value(&f, "cs4", l->peer);
	check_value(&f, "cs6", l->corr[0] != '\0' ? l->corr : l->req);
	check_value(&f, "spriv", l->role);
	check_value(&f, "reason", l->err);
	free(text);
}

static const char *text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));
	return text != NULL ? text : "";
}

static void check_azure(const struct leaf *l)
{
	char hash[FORMAT_HASH_MAX], *text = record(FORMAT_AZURE, l, &FACTS);
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	const json_t *p = json_object_get(o, "properties");

	format_hash(l, hash);
	assert_non_null(o);
	assert_string_equal(text_of(o, "time"), "2027-01-15T08:00:00.1234560Z");
	assert_string_equal(text_of(o, "resourceId"), "/tenants/11111111-2222-4333-8444-555555555555/vaults/orders");
	assert_string_equal(text_of(o, "category"), "AuditEvent");
	assert_string_equal(text_of(o, "resultType"), l->result == EVENT_OK ? "Success" : "Failure");
	assert_string_equal(text_of(o, "resultSignature"), l->http == 200 ? "OK" : "Forbidden");
	assert_string_equal(text_of(o, "resultDescription"), l->err);
	assert_string_equal(text_of(o, "correlationId"), l->corr[0] != '\0' ? l->corr : l->req);
	assert_string_equal(text_of(o, "callerIpAddress"), l->peer);
	assert_true(strlen(text_of(json_object_get(json_object_get(o, "identity"), "claim"), "appid")) == 22);
	assert_int_equal(json_integer_value(json_object_get(p, "auditSeq")), l->seq);
	assert_string_equal(text_of(p, "auditLeaf"), hash);
	assert_string_equal(text_of(p, "auditOrigin"), FACTS.origin);
	assert_string_equal(text_of(p, "eventType"), l->type_name);
	assert_true(json_equal(json_object_get(p, "details"), l->det));
	if (l->key_name[0] != '\0') {
		const char *id = json_string_value(json_object_get(p, "id"));
		assert_non_null(id);
		assert_memory_equal(id, KEYS_URL, sizeof(KEYS_URL) - 1);
		id += sizeof(KEYS_URL) - 1;
		assert_int_equal(strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%/"), strlen(id));
	}
	json_decref(o);
	free(text);
}

static const char *attribute(const json_t *o, const char *key)
{
	const json_t *one = NULL;
	size_t i = 0;

	json_array_foreach(json_object_get(o, "attributes"), i, one)
	{
		const json_t *value = json_object_get(one, "value");
		if (strcmp(text_of(one, "key"), key) == 0)
			return json_object_get(value, "intValue") != NULL ? text_of(value, "intValue") : text_of(value, "stringValue");
	}
	return "";
}

static void check_otlp(const struct leaf *l)
{
	char hash[FORMAT_HASH_MAX], seq[32], name[80], *text = record(FORMAT_OTLP, l, &FACTS);
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	format_hash(l, hash);
	(void)snprintf(seq, sizeof(seq), "%llu", (unsigned long long)l->seq);
	(void)snprintf(name, sizeof(name), "kms.%s", l->type_name);
	assert_non_null(o);
	assert_string_equal(text_of(o, "timeUnixNano"), "1800000000123456000");
	assert_string_equal(text_of(o, "observedTimeUnixNano"), "1800000000123457000");
	assert_string_equal(text_of(o, "eventName"), name);
	assert_string_equal(text_of(o, "traceId"), l->trace);
	assert_in_range(json_integer_value(json_object_get(o, "severityNumber")), 9, 21);
	assert_string_equal(attribute(o, "kms.audit.seq"), seq);
	assert_string_equal(attribute(o, "kms.audit.leaf"), hash);
	assert_string_equal(attribute(o, "kms.audit.origin"), FACTS.origin);
	assert_string_equal(attribute(o, "kms.key.name"), l->key_name);
	assert_string_equal(attribute(o, "kms.result"), format_result(l));
	assert_null(strstr(text, "\"corr"));
	json_decref(o);
	free(text);
}

static void check_native(const struct leaf *l)
{
	static struct message m;
	struct format_facts facts = FACTS;
	char *text = record(FORMAT_NATIVE, l, &facts);

	assert_int_equal(strlen(text), l->text_len);
	assert_memory_equal(text, l->text, l->text_len);
	free(text);
	facts.has_syslog = true;
	text = record(FORMAT_NATIVE, l, &facts);
	read_syslog(text, &m);
	check_syslog(l, &m);
	assert_memory_equal(m.text, l->text, l->text_len);
	free(text);
}

static void check_all(const struct leaf *l)
{
	check_cef(l);
	check_azure(l);
	check_otlp(l);
	check_native(l);
}

/* ---- the tests ---- */

static void every_type_with_every_hostile_text_is_one_record_in_every_format(void **state)
{
	static const enum event_result RESULTS[] = { EVENT_OK, EVENT_REFUSED, EVENT_FAILED, EVENT_UNKNOWN };
	uint64_t seq = 0;

	(void)state;
	for (int type = EVENT_NONE + 1; type < EVENT_TYPE_COUNT; type++) {
		for (size_t i = 0; i < KMS_ARRAY_LEN(HOSTILE); i++) {
			LEAF_AUTO l = { 0 };
			make_hostile((enum event_type)type, RESULTS[i % KMS_ARRAY_LEN(RESULTS)], HOSTILE[i], seq++, &l);
			check_all(&l);
		}
	}
}

static void the_longest_text_and_every_single_byte_are_one_record(void **state)
{
	(void)state;
	for (int byte = 1; byte < 256; byte++) {
		LEAF_AUTO l = { 0 };
		memset(long_text, byte, EVENT_TEXT_MAX + 1);
		make_hostile(EVENT_KEY_UNWRAP, EVENT_REFUSED, long_text, (uint64_t)byte, &l);
		check_all(&l);
	}
}

static void intents_are_shown_in_the_native_format_alone(void **state)
{
	LEAF_AUTO l = { 0 };
	const struct event e = { .type = EVENT_KEY_CREATE, .phase = EVENT_INTENT, .result = EVENT_PENDING };

	(void)state;
	make_leaf(&e, 4, &l);
	assert_true(format_takes(FORMAT_NATIVE, &l));
	assert_false(format_takes(FORMAT_AZURE, &l));
	assert_false(format_takes(FORMAT_CEF, &l));
	assert_false(format_takes(FORMAT_OTLP, &l));
	l.phase = EVENT_OUTCOME;
	for (int f = FORMAT_NATIVE; f <= FORMAT_OTLP; f++)
		assert_true(format_takes((enum feed_format)f, &l));
}

static void a_pruned_leaf_is_a_hash_in_the_native_format_and_left_out_elsewhere(void **state)
{
	struct leaf l = { .seq = 7, .is_pruned = true, .type_name = "" };
	char *text = record(FORMAT_NATIVE, &l, &FACTS);

	(void)state;
	assert_string_equal(text, "{\"hash\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",\"seq\":7}");
	assert_false(format_takes(FORMAT_AZURE, &l));
	free(text);
}

static void operation_of(const struct event *e, const char *expected)
{
	LEAF_AUTO l = { 0 };
	char *text = NULL;
	json_t *o = NULL;

	make_leaf(e, 0, &l);
	text = record(FORMAT_AZURE, &l, &FACTS);
	o = json_loads(text, 0, NULL);
	assert_string_equal(text_of(o, "operationName"), expected);
	json_decref(o);
	free(text);
}

static void operation(enum event_type type, const char *key, int due, const char *expected)
{
	struct event_det det = { .name = "due", .is_number = true, .number = due };
	struct event e = { .type = type, .det = &det, .det_count = due != 0 };

	(void)snprintf(e.key_name, sizeof(e.key_name), "%s", key);
	operation_of(&e, expected);
}

static void operation_act(const char *act, const char *expected)
{
	struct event_det det = { .name = "act" };
	const struct event e = { .type = EVENT_KEY_REVOKE, .det = &det, .det_count = 1 };

	(void)snprintf(det.text, sizeof(det.text), "%s", act);
	operation_of(&e, expected);
}

static void operations_have_the_names_of_key_vault_where_it_has_any(void **state)
{
	(void)state;
	operation(EVENT_KEY_CREATE, "k", 0, "KeyCreate");
	operation(EVENT_KEY_WRAP, "k", 0, "KeyWrap");
	operation(EVENT_KEY_PURGE, "k", 0, "KeyPurge");
	operation(EVENT_KEY_LIST, "", 0, "KeyList");
	operation(EVENT_KEY_LIST, "k", 0, "KeyListVersions");
	operation(EVENT_KEY_ROTATE, "k", 0, "KeyRotate");
	operation(EVENT_KEY_ROTATE, "k", 1, "KeyRotateIfDue");
	operation(EVENT_KEY_REVOKE, "k", 0, "KmsKeyRevoke");
	operation(EVENT_TENANT_SHRED, "", 0, "KmsTenantShred");
	operation_act("revoke", "KmsKeyRevoke");
	operation_act("reinstate", "KmsKeyReinstate");
	operation(EVENT_TENANT_SHRED_INCOMPLETE, "", 0, "KmsTenantShredIncomplete");
	operation(EVENT_DENIED, "", 0, "Authentication");
}

/* `det` as the record shows it. @return name of the header; msg in *f */
static const char *details(enum event_type type, struct event_det *det, size_t count, struct fields *f)
{
	static struct message m;
	static char header[7][256];
	LEAF_AUTO l = { 0 };
	const struct event e = { .type = type, .det = det, .det_count = count };
	char *text = NULL;

	make_leaf(&e, 0, &l);
	text = record(FORMAT_CEF, &l, &FACTS);
	read_syslog(text, &m);
	read_cef(m.text, header, f);
	free(text);
	return header[5];
}

static void cef_says_what_the_event_is_about(void **state)
{
	static struct fields f;
	struct event_det alert[] = { { .name = "rule", .text = "many-refusals" }, { .name = "subject", .text = "a \"b\" act=key.purge" },
		                     { .name = "count", .is_number = true, .number = 20 } };
	struct event_det act[] = { { .name = "act", .text = "reinstate" } }, role[] = { { .name = "role", .text = "Key Vault Reader" } };
	struct event_det many[EVENT_DET_MAX] = { 0 };

	(void)state;
	assert_string_equal(details(EVENT_ALERT, alert, 3, &f), "node alert");
	assert_string_equal(get(&f, "msg"), "count=20 rule=many-refusals subject=\"a \\\"b\\\" act=key.purge\"");
	assert_string_equal(details(EVENT_KEY_REVOKE, act, 1, &f), "key reinstate");
	assert_string_equal(get(&f, "act"), "key.revoke");
	assert_string_equal(get(&f, "msg"), "act=reinstate");
	assert_string_equal(details(EVENT_KEY_REVOKE, NULL, 0, &f), "key revoke");
	assert_null(get(&f, "msg"));
	(void)details(EVENT_ROLE_GRANT, role, 1, &f);
	assert_string_equal(get(&f, "msg"), "role=\"Key Vault Reader\"");
	/* Bounded, and cut behind a whole character, which record() looks at. */
	for (size_t i = 0; i < 3; i++) {
		static const char *const NAMES[] = { "a", "bb", "ccc" };
		many[i].name = NAMES[i];
		for (size_t n = 0; n + 2 < EVENT_TEXT_MAX; n += 2)
			memcpy(many[i].text + n, "\xc3\xbc", 3);
	}
	for (size_t count = 2; count <= 3; count++) {
		(void)details(EVENT_ALERT, many, count, &f);
		assert_in_range(strlen(get(&f, "msg")), 1000, 1023);
	}
	assert_string_equal(get(&f, "msg") + strlen(get(&f, "msg")) - 3, "...");
}

static void severity(enum event_type type, enum event_result result, int syslog, const char *cef, int otlp)
{
	static struct message m;
	static struct fields f;
	LEAF_AUTO l = { 0 };
	const struct event e = { .type = type, .result = result, .err = result == EVENT_OK ? NULL : "busy" };
	char header[7][256], *text = NULL;
	json_t *o = NULL;

	make_leaf(&e, 0, &l);
	text = record(FORMAT_CEF, &l, &FACTS);
	read_syslog(text, &m);
	read_cef(m.text, header, &f);
	assert_int_equal(m.pri, 13 * 8 + syslog);
	assert_string_equal(header[6], cef);
	free(text);
	text = record(FORMAT_OTLP, &l, &FACTS);
	o = json_loads(text, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(o, "severityNumber")), otlp);
	json_decref(o);
	free(text);
}

static void events_are_as_severe_as_the_specification_says(void **state)
{
	(void)state;
	severity(EVENT_KEY_UNWRAP, EVENT_OK, 6, "1", 9);
	severity(EVENT_KEY_CREATE, EVENT_OK, 5, "3", 10);
	severity(EVENT_KEY_UNWRAP, EVENT_REFUSED, 4, "6", 13);
	severity(EVENT_KEY_DESTROY, EVENT_REFUSED, 4, "6", 13);
	severity(EVENT_KEY_CREATE, EVENT_FAILED, 3, "7", 17);
	severity(EVENT_KEY_DESTROY, EVENT_OK, 5, "8", 10);
	severity(EVENT_ROLE_GRANT, EVENT_OK, 5, "8", 10);
	severity(EVENT_LOG_INTEGRITY_FAILED, EVENT_FAILED, 2, "10", 21);
	severity(EVENT_TENANT_RESURRECTED, EVENT_OK, 2, "10", 21);
	severity(EVENT_ALERT, EVENT_OK, 4, "6", 13);
}

static void a_run_of_otlp_records_is_one_request(void **state)
{
	struct kms_err err = { 0 };
	LEAF_AUTO l = { 0 };
	char *head = NULL, *one = NULL, *whole = NULL;
	json_t *o = NULL, *records;

	(void)state;
	make_hostile(EVENT_KEY_SIGN, EVENT_OK, HOSTILE[1], 3, &l);
	one = record(FORMAT_OTLP, &l, &FACTS);
	assert_int_equal(format_otlp_head(&FACTS, &head, &err), KMS_OK);
	assert_true(asprintf(&whole, "%s%s,%s%s", head, one, one, format_otlp_tail()) > 0);
	o = json_loads(whole, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(o);
	records = json_object_get(json_array_get(json_object_get(json_array_get(json_object_get(o, "resourceLogs"), 0), "scopeLogs"), 0), "logRecords");
	assert_int_equal(json_array_size(records), 2);
	json_decref(o);
	free(head);
	free(one);
	free(whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_with_every_hostile_text_is_one_record_in_every_format),
		cmocka_unit_test(the_longest_text_and_every_single_byte_are_one_record),
		cmocka_unit_test(intents_are_shown_in_the_native_format_alone),
		cmocka_unit_test(a_pruned_leaf_is_a_hash_in_the_native_format_and_left_out_elsewhere),
		cmocka_unit_test(operations_have_the_names_of_key_vault_where_it_has_any),
		cmocka_unit_test(cef_says_what_the_event_is_about),
		cmocka_unit_test(events_are_as_severe_as_the_specification_says),
		cmocka_unit_test(a_run_of_otlp_records_is_one_request),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
