/* server/core/event.c - the canonical encoder. Members are sorted because they are written in that order; only `det` is sorted at run time. */
#include "server/core/event.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define INTEGER_MAX 9007199254740991 /* 2^53-1: audit-log.md 3.1 rule 3 */
#define B64_SUFFIX "_b64"
#define NAME_MAX_LEN 32
#define NAME_ALPHABET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
#define ESCAPE_MAX 6 /* \u00xx */
/* Room for the largest `det`: each member's name, marks and text, every byte escaped. */
#define DET_TEXT_MAX (EVENT_DET_MAX * (NAME_MAX_LEN + 6 + EVENT_TEXT_MAX * ESCAPE_MAX) + 2)
#define CUT_MAX (EVENT_DET_MAX + 8)
#define DET_HASH_LEN 32

static const char *const TYPE_NAMES[EVENT_TYPE_COUNT] = {
	[EVENT_NONE] = "",
#define X(type, name) [type] = name,
	EVENT_TYPE_MAP(X)
#undef X
};
static const char *const PHASE_NAMES[] = { [EVENT_SINGLE] = "single", [EVENT_INTENT] = "intent", [EVENT_OUTCOME] = "outcome" };
static const char *const RESULT_NAMES[] = {
	[EVENT_OK] = "ok",           [EVENT_REFUSED] = "denied",  [EVENT_FAILED] = "failed",
	[EVENT_PENDING] = "pending", [EVENT_UNKNOWN] = "unknown",
};
static const char *const ACTOR_NAMES[] = {
	[EVENT_ACTOR_NONE] = "",       [EVENT_ACTOR_USER] = "user",     [EVENT_ACTOR_APP] = "app",
	[EVENT_ACTOR_NODE] = "node",   [EVENT_ACTOR_SYSTEM] = "system",
};
static const char *const AUTH_NAMES[] = {
	[EVENT_AUTH_NONE] = "", [EVENT_AUTH_JWT] = "jwt", [EVENT_AUTH_MTLS] = "mtls", [EVENT_AUTH_LOCAL] = "local",
};

const char *event_type_name(enum event_type type) { return (unsigned)type < EVENT_TYPE_COUNT ? TYPE_NAMES[type] : ""; }

enum event_type event_type_parse(const char *name)
{
	for (unsigned t = EVENT_NONE + 1; t < EVENT_TYPE_COUNT; t++) {
		if (strcmp(TYPE_NAMES[t], name) == 0)
			return (enum event_type)t;
	}
	return EVENT_NONE;
}

/* A member name as it will be written: with the suffix when its text is not UTF-8. */
struct member_name {
	const char *name;
	bool is_b64;
};

/* The text under construction. What does not fit raises is_over and is dropped. */
struct out {
	char *buf;
	size_t cap, len;
	bool is_over;
	bool needs_comma;
	size_t cut_count;
	struct member_name cut[CUT_MAX]; /* members to be named in `trunc` */
};

static void put(struct out *o, const char *bytes, size_t len)
{
	if (o->is_over || len > o->cap - o->len) {
		o->is_over = true;
		return;
	}
	memcpy(o->buf + o->len, bytes, len);
	o->len += len;
}

static void put_text(struct out *o, const char *text) { put(o, text, strlen(text)); }

static void put_name(struct out *o, struct member_name m)
{
	put(o, "\"", 1);
	put_text(o, m.name);
	if (m.is_b64)
		put_text(o, B64_SUFFIX);
	put(o, "\"", 1);
}

static void begin_value(struct out *o)
{
	if (o->needs_comma)
		put(o, ",", 1);
	o->needs_comma = true;
}

static void member(struct out *o, struct member_name m)
{
	begin_value(o);
	put_name(o, m);
	put(o, ":", 1);
}

static struct member_name plain(const char *name) { return (struct member_name){ .name = name }; }

static void open_object(struct out *o, const char *name)
{
	member(o, plain(name));
	put(o, "{", 1);
	o->needs_comma = false;
}

static void close_object(struct out *o)
{
	put(o, "}", 1);
	o->needs_comma = true;
}

/* Text of our own that needs no escape: names from tables, hex, base64url, GUIDs. */
static void member_token(struct out *o, const char *name, const char *text)
{
	member(o, plain(name));
	put(o, "\"", 1);
	put_text(o, text);
	put(o, "\"", 1);
}

static void member_bytes(struct out *o, const char *name, const uint8_t *bytes, size_t len)
{
	char text[B64URL_LEN(DET_HASH_LEN) + 1];

	assert(len <= DET_HASH_LEN);
	b64url_encode(bytes, len, text);
	member_token(o, name, text);
}

static void member_guid(struct out *o, const char *name, const uint8_t id[GUID_LEN])
{
	char text[GUID_TEXT_LEN + 1];

	guid_format(id, text);
	member_token(o, name, text);
}

static void mark_cut(struct out *o, struct member_name m)
{
	assert(o->cut_count < CUT_MAX);
	o->cut[o->cut_count++] = m;
}

static void member_int(struct out *o, const char *name, int64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);
	int64_t bounded = number > INTEGER_MAX ? INTEGER_MAX : number < -INTEGER_MAX ? -INTEGER_MAX : number;
	uint64_t rest = (uint64_t)(bounded < 0 ? -bounded : bounded);

	if (bounded != number)
		mark_cut(o, plain(name));
	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest != 0);
	if (bounded < 0)
		digits[--at] = '-';
	member(o, plain(name));
	put(o, digits + at, sizeof(digits) - at);
}

static void member_uint(struct out *o, const char *name, uint64_t number)
{
	member_int(o, name, number > INT64_MAX ? INT64_MAX : (int64_t)number);
}

/* Rule 3.1.4. The text is known to be UTF-8, and only single-byte characters are ever escaped. */
static void put_escaped(struct out *o, const char *text, size_t len)
{
	static const char SHORT[] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r' };
	size_t done = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		char escape[ESCAPE_MAX + 1] = { '\\', (char)c };
		size_t escape_len = 2;

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		if (c < sizeof(SHORT) && SHORT[c] != '\0') {
			escape[1] = SHORT[c];
		} else if (c < 0x20) {
			memcpy(escape + 1, "u00", 3);
			hex_encode(&c, 1, escape + 4);
			escape_len = ESCAPE_MAX;
		}
		put(o, text + done, i - done);
		put(o, escape, escape_len);
		done = i + 1;
	}
	put(o, text + done, len - done);
}

/* How much of a text is written, and in which form. */
struct view {
	size_t len;
	bool is_utf8, is_cut;
};

static struct view view_text(const char *text, size_t limit)
{
	size_t text_len = strnlen(text, limit + 1);
	size_t shown = text_len <= limit ? text_len : limit;
	size_t i = 0, char_len = 1;

	while (i < shown && char_len != 0) {
		char_len = (unsigned char)text[i] < 0x80 ? 1 : utf8_char_len(text + i, shown - i);
		i += char_len;
	}
	if (char_len != 0)
		return (struct view){ .len = shown, .is_utf8 = true, .is_cut = text_len > limit };
	/* A character that the limit divides is left out; anything else that does not parse is not UTF-8. */
	if (text_len > limit && shown - i < 4 && (unsigned char)text[i] >= 0xc2) {
		size_t tail = i + 1;
		while (tail < shown && ((unsigned char)text[tail] & 0xc0) == 0x80)
			tail++;
		if (tail == shown)
			return (struct view){ .len = i, .is_utf8 = true, .is_cut = true };
	}
	return (struct view){ .len = shown, .is_cut = text_len > limit };
}

/* Text from outside. */
static void member_text(struct out *o, const char *name, const char *text, size_t limit)
{
	struct view v = view_text(text, limit);
	struct member_name m = { .name = name, .is_b64 = !v.is_utf8 };

	if (v.is_cut)
		mark_cut(o, m);
	member(o, m);
	put(o, "\"", 1);
	if (v.is_utf8) {
		put_escaped(o, text, v.len);
	} else {
		char b64[B64URL_LEN(EVENT_TEXT_MAX) + 1];
		b64url_encode(text, v.len, b64);
		put_text(o, b64);
	}
	put(o, "\"", 1);
}

static void member_text_if(struct out *o, const char *name, const char *text, size_t limit)
{
	if (text[0] != '\0')
		member_text(o, name, text, limit);
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;
	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

static void encode_actor(struct out *o, const struct event *e)
{
	if (e->actor == EVENT_ACTOR_NONE)
		return;
	open_object(o, "actor");
	if (e->auth != EVENT_AUTH_NONE)
		member_token(o, "auth", AUTH_NAMES[e->auth]);
	member_token(o, "kind", ACTOR_NAMES[e->actor]);
	if (!is_zero(e->pid, sizeof(e->pid)))
		member_bytes(o, "pid", e->pid, sizeof(e->pid));
	member_text_if(o, "role", e->role, EVENT_TEXT_MAX);
	close_object(o);
}

static void encode_key(struct out *o, const struct event *e)
{
	if (e->key_name[0] == '\0' && e->key_version[0] == '\0' && !e->has_obj)
		return;
	open_object(o, "key");
	member_text_if(o, "name", e->key_name, EVENT_TEXT_MAX);
	if (e->has_obj)
		member_bytes(o, "obj", e->obj, sizeof(e->obj));
	member_text_if(o, "ver", e->key_version, EVENT_TEXT_MAX);
	close_object(o);
}

static void encode_net(struct out *o, const struct event *e)
{
	if (e->net_peer[0] == '\0' && e->net_tls[0] == '\0')
		return;
	open_object(o, "net");
	member_text_if(o, "peer", e->net_peer, EVENT_TEXT_MAX);
	member_text_if(o, "tls", e->net_tls, EVENT_TEXT_MAX);
	close_object(o);
}

/* One member of `det` with the name it will be sorted by. */
struct det_entry {
	const struct event_det *det;
	char name[NAME_MAX_LEN + 1];
};

static int by_name(const void *a, const void *b)
{
	const struct det_entry *x = a, *y = b;
	return strcmp(x->name, y->name);
}

/* The object after `det` is named; also what det_sha256 is taken of. */
static void encode_det_object(struct out *o, const struct event *e)
{
	struct det_entry entries[EVENT_DET_MAX];

	for (size_t i = 0; i < e->det_count; i++) {
		const struct event_det *d = &e->det[i];
		size_t name_len = strlen(d->name);
		assert(name_len > 0 && name_len <= EVENT_DET_NAME_MAX && strspn(d->name, NAME_ALPHABET) == name_len);
		entries[i].det = d;
		memcpy(entries[i].name, d->name, name_len + 1);
		if (!d->is_number && !view_text(d->text, EVENT_TEXT_MAX).is_utf8)
			memcpy(entries[i].name + name_len, B64_SUFFIX, sizeof(B64_SUFFIX));
	}
	qsort(entries, e->det_count, sizeof(entries[0]), by_name);
	put(o, "{", 1);
	o->needs_comma = false;
	for (size_t i = 0; i < e->det_count; i++) {
		const struct event_det *d = entries[i].det;
		assert(i == 0 || strcmp(entries[i - 1].name, entries[i].name) != 0);
		if (d->is_number)
			member_int(o, d->name, d->number);
		else
			member_text(o, d->name, d->text, EVENT_TEXT_MAX);
	}
	close_object(o);
}

static void encode_trunc(struct out *o)
{
	if (o->cut_count == 0)
		return;
	member(o, plain("trunc"));
	put(o, "[", 1);
	o->needs_comma = false;
	for (size_t i = 0; i < o->cut_count; i++) {
		begin_value(o);
		put_name(o, o->cut[i]);
	}
	put(o, "]", 1);
	o->needs_comma = true;
}

/* The whole leaf; with det_hash, `det` is replaced by it. Each call stands where its name sorts. */
static void encode(struct out *o, const struct event *e, const struct event_stamp *stamp, const uint8_t *det_hash)
{
	char boot[2 * sizeof(stamp->boot) + 1], ts[TIMESTAMP_LEN + 1];

	hex_encode(stamp->boot, sizeof(stamp->boot), boot);
	timestamp_format(stamp->ts_us, ts);
	put(o, "{", 1);
	encode_actor(o, e);
	if (e->alg != NULL)
		member_token(o, "alg", e->alg);
	if (det_hash != NULL) {
		member(o, plain("big"));
		put_text(o, "true");
	}
	member_token(o, "boot", boot);
	member_text_if(o, "corr", e->corr, EVENT_CORR_MAX);
	if (e->count != 0)
		member_uint(o, "count", e->count);
	if (det_hash != NULL) {
		member_bytes(o, "det_sha256", det_hash, DET_HASH_LEN);
	} else if (e->det_count != 0) {
		member(o, plain("det"));
		encode_det_object(o, e);
	}
	if (e->err != NULL)
		member_token(o, "err", e->err);
	if (e->http != 0)
		member_int(o, "http", e->http);
	member_guid(o, "id", stamp->id);
	encode_key(o, e);
	member_int(o, "mono", stamp->mono_us);
	encode_net(o, e);
	member_text(o, "node", stamp->node, EVENT_TEXT_MAX);
	member_token(o, "phase", PHASE_NAMES[e->phase]);
	if (e->has_ref)
		member_uint(o, "ref", e->ref);
	member_text_if(o, "req", e->req, EVENT_TEXT_MAX);
	member_token(o, "result", RESULT_NAMES[e->result]);
	member_bytes(o, "salt", stamp->salt, sizeof(stamp->salt));
	member_uint(o, "seq", stamp->seq);
	if (e->has_tenant)
		member_guid(o, "tenant", e->tenant);
	member_text_if(o, "trace", e->trace, EVENT_TEXT_MAX);
	encode_trunc(o);
	member_token(o, "ts", ts);
	member_token(o, "type", TYPE_NAMES[e->type]);
	member_int(o, "v", 1);
	put(o, "}", 1);
}

static void hash_det(const struct event *e, uint8_t ret_hash[DET_HASH_LEN])
{
	char text[DET_TEXT_MAX];
	struct out o = { .buf = text, .cap = sizeof(text) };

	encode_det_object(&o, e);
	assert(!o.is_over);
	/* Only memory can fail here, and a leaf with a wrong hash must not exist. */
	if (EVP_Digest(text, o.len, ret_hash, NULL, EVP_sha256(), NULL) != 1)
		abort();
}

size_t event_encode(const struct event *e, const struct event_stamp *stamp, char ret_leaf[EVENT_LEAF_MAX])
{
	struct out o = { .buf = ret_leaf, .cap = EVENT_LEAF_MAX };

	assert(e->type > EVENT_NONE && e->type < EVENT_TYPE_COUNT && e->det_count <= EVENT_DET_MAX);
	encode(&o, e, stamp, NULL);
	if (o.is_over && e->det_count != 0) {
		uint8_t det_hash[DET_HASH_LEN];
		hash_det(e, det_hash);
		o = (struct out){ .buf = ret_leaf, .cap = EVENT_LEAF_MAX };
		encode(&o, e, stamp, det_hash);
	}
	assert(!o.is_over); /* without `det` the struct's own limits keep a leaf below 8,192 bytes */
	return o.len;
}
