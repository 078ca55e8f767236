/* server/core/event.c - leaves. Members are sorted because they are written in that order; only `det` is sorted at run time. */
#include "server/core/event.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/canon.h"

#define NAME_MAX_LEN 32
#define NAME_ALPHABET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
/* Room for the largest `det`: each member's name, marks and text, every byte escaped. */
#define DET_TEXT_MAX (EVENT_DET_MAX * (NAME_MAX_LEN + 6 + EVENT_TEXT_MAX * CANON_ESCAPE_MAX) + 2)
#define DET_HASH_LEN 32
_Static_assert(CANON_CUT_MAX >= EVENT_DET_MAX + 8, "every member of a leaf that can be cut");

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

static void member_uint(struct canon *o, const char *name, uint64_t number)
{
	canon_int(o, name, number > INT64_MAX ? INT64_MAX : (int64_t)number);
}

static void member_text_if(struct canon *o, const char *name, const char *text, size_t limit)
{
	if (text[0] != '\0')
		canon_text(o, name, text, limit);
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;
	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

static void encode_actor(struct canon *o, const struct event *e)
{
	if (e->actor == EVENT_ACTOR_NONE)
		return;
	canon_open(o, "actor");
	if (e->auth != EVENT_AUTH_NONE)
		canon_token(o, "auth", AUTH_NAMES[e->auth]);
	canon_token(o, "kind", ACTOR_NAMES[e->actor]);
	if (!is_zero(e->pid, sizeof(e->pid)))
		canon_bytes(o, "pid", e->pid, sizeof(e->pid));
	member_text_if(o, "role", e->role, EVENT_TEXT_MAX);
	canon_close(o);
}

/* An array of objects, in the order given. */
static void encode_approvers(struct canon *o, const struct event *e)
{
	char at[TIMESTAMP_LEN + 1];

	if (e->approver_count == 0)
		return;
	canon_member(o, "appr");
	canon_put(o, "[");
	o->needs_comma = false;
	for (size_t i = 0; i < e->approver_count; i++) {
		const struct event_approver *a = &e->approvers[i];

		timestamp_format(a->at_us, at);
		canon_begin_value(o);
		canon_open(o, NULL);
		canon_token(o, "at", at);
		canon_token(o, "cred", a->cred);
		if (a->kid[0] != '\0')
			canon_token(o, "kid", a->kid);
		canon_bytes(o, "pid", a->pid, sizeof(a->pid));
		canon_close(o);
	}
	canon_put(o, "]");
	o->needs_comma = true;
}

static void encode_key(struct canon *o, const struct event *e)
{
	if (e->key_name[0] == '\0' && e->key_version[0] == '\0' && !e->has_obj)
		return;
	canon_open(o, "key");
	member_text_if(o, "name", e->key_name, EVENT_TEXT_MAX);
	if (e->has_obj)
		canon_bytes(o, "obj", e->obj, sizeof(e->obj));
	member_text_if(o, "ver", e->key_version, EVENT_TEXT_MAX);
	canon_close(o);
}

static void encode_net(struct canon *o, const struct event *e)
{
	if (e->net_peer[0] == '\0' && e->net_tls[0] == '\0')
		return;
	canon_open(o, "net");
	member_text_if(o, "peer", e->net_peer, EVENT_TEXT_MAX);
	member_text_if(o, "tls", e->net_tls, EVENT_TEXT_MAX);
	canon_close(o);
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
static void encode_det_object(struct canon *o, const struct event *e)
{
	struct det_entry entries[EVENT_DET_MAX];

	for (size_t i = 0; i < e->det_count; i++) {
		const struct event_det *d = &e->det[i];
		size_t name_len = strlen(d->name);
		assert(name_len > 0 && name_len <= EVENT_DET_NAME_MAX && strspn(d->name, NAME_ALPHABET) == name_len);
		entries[i].det = d;
		memcpy(entries[i].name, d->name, name_len + 1);
		if (!d->is_number && !canon_is_utf8(d->text, EVENT_TEXT_MAX))
			memcpy(entries[i].name + name_len, CANON_B64_SUFFIX, sizeof(CANON_B64_SUFFIX));
	}
	qsort(entries, e->det_count, sizeof(entries[0]), by_name);
	canon_open(o, NULL);
	for (size_t i = 0; i < e->det_count; i++) {
		const struct event_det *d = entries[i].det;
		assert(i == 0 || strcmp(entries[i - 1].name, entries[i].name) != 0);
		if (d->is_number)
			canon_int(o, d->name, d->number);
		else
			canon_text(o, d->name, d->text, EVENT_TEXT_MAX);
	}
	canon_close(o);
}

static void encode_person(struct canon *o, const struct event *e)
{
	if (!e->has_person)
		return;
	canon_open(o, "pii");
	canon_bytes(o, "com", e->person_commitment, sizeof(e->person_commitment));
	member_uint(o, "ref", e->person_ref);
	canon_close(o);
}

static void encode_trunc(struct canon *o)
{
	if (o->cut_count == 0)
		return;
	canon_member(o, "trunc");
	canon_put(o, "[");
	o->needs_comma = false;
	for (size_t i = 0; i < o->cut_count; i++) {
		canon_begin_value(o);
		canon_string_name(o, o->cut[i]);
	}
	canon_put(o, "]");
	o->needs_comma = true;
}

/* The whole leaf; with det_hash, `det` is replaced by it. Each call stands where its name sorts. */
static void encode(struct canon *o, const struct event *e, const struct event_stamp *stamp, const uint8_t *det_hash)
{
	char boot[2 * sizeof(stamp->boot) + 1], ts[TIMESTAMP_LEN + 1];

	hex_encode(stamp->boot, sizeof(stamp->boot), boot);
	timestamp_format(stamp->ts_us, ts);
	canon_open(o, NULL);
	encode_actor(o, e);
	if (e->alg != NULL)
		canon_token(o, "alg", e->alg);
	encode_approvers(o, e);
	if (det_hash != NULL) {
		canon_bool(o, "big", true);
	}
	canon_token(o, "boot", boot);
	member_text_if(o, "corr", e->corr, EVENT_CORR_MAX);
	if (e->count != 0)
		member_uint(o, "count", e->count);
	if (det_hash != NULL) {
		canon_bytes(o, "det_sha256", det_hash, DET_HASH_LEN);
	} else if (e->det_count != 0) {
		canon_member(o, "det");
		encode_det_object(o, e);
	}
	if (e->err != NULL)
		canon_token(o, "err", e->err);
	if (e->http != 0)
		canon_int(o, "http", e->http);
	canon_guid(o, "id", stamp->id);
	encode_key(o, e);
	canon_int(o, "mono", stamp->mono_us);
	encode_net(o, e);
	canon_text(o, "node", stamp->node, EVENT_TEXT_MAX);
	canon_token(o, "phase", PHASE_NAMES[e->phase]);
	encode_person(o, e);
	if (e->has_ref)
		member_uint(o, "ref", e->ref);
	member_text_if(o, "req", e->req, EVENT_TEXT_MAX);
	canon_token(o, "result", RESULT_NAMES[e->result]);
	canon_bytes(o, "salt", stamp->salt, sizeof(stamp->salt));
	member_uint(o, "seq", stamp->seq);
	if (e->has_tenant)
		canon_guid(o, "tenant", e->tenant);
	member_text_if(o, "trace", e->trace, EVENT_TEXT_MAX);
	encode_trunc(o);
	canon_token(o, "ts", ts);
	canon_token(o, "type", TYPE_NAMES[e->type]);
	canon_int(o, "v", 1);
	canon_close(o);
}

static void hash_det(const struct event *e, uint8_t ret_hash[DET_HASH_LEN])
{
	char text[DET_TEXT_MAX];
	struct canon o = { .buf = text, .cap = sizeof(text) };

	encode_det_object(&o, e);
	assert(!o.is_over);
	/* Only memory can fail here, and a leaf with a wrong hash must not exist. */
	if (EVP_Digest(text, o.len, ret_hash, NULL, EVP_sha256(), NULL) != 1)
		abort();
}

size_t event_encode(const struct event *e, const struct event_stamp *stamp, char ret_leaf[EVENT_LEAF_MAX])
{
	struct canon o = { .buf = ret_leaf, .cap = EVENT_LEAF_MAX };

	assert(e->type > EVENT_NONE && e->type < EVENT_TYPE_COUNT && e->det_count <= EVENT_DET_MAX && e->approver_count <= EVENT_APPROVERS_MAX);
	encode(&o, e, stamp, NULL);
	if (o.is_over && e->det_count != 0) {
		uint8_t det_hash[DET_HASH_LEN];
		hash_det(e, det_hash);
		o = (struct canon){ .buf = ret_leaf, .cap = EVENT_LEAF_MAX };
		encode(&o, e, stamp, det_hash);
	}
	assert(!o.is_over); /* without `det` the struct's own limits keep a leaf below 8,192 bytes */
	return o.len;
}
