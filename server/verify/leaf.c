/* server/verify/leaf.c - one pass over the line: its members are sorted, and so is the table of those that are known. */
#include "server/verify/leaf.h"

#include <stdlib.h>

#define UUID_LEN 36
#define BOOT_LEN 8
#define SALT_LEN 16
#define TIMESTAMP_LEN 27
#define HTTP_MIN 100
#define HTTP_MAX 599
#define US_PER_S 1000000

static const struct {
	const char *name;
	unsigned flags;
} TYPES[T_OTHER] = {
#define X(type, name, flags) [type] = { name, flags },
	TYPE_MAP(X)
#undef X
};
/* 3.2, in the order of their names. Text from outside that is not UTF-8 stands under NAME_b64. */
enum member {
	M_ACTOR, M_ALG, M_APPR, M_BIG, M_BOOT, M_CORR, M_CORR_B64, M_COUNT, M_DET, M_DET_SHA256, M_ERR, M_HTTP, M_ID, M_KEY, M_MONO, M_NET, M_NODE,
	M_PHASE, M_PII, M_REF, M_REQ, M_RESULT, M_SALT, M_SEQ, M_TENANT, M_TRACE, M_TRUNC, M_TS, M_TYPE, M_V, MEMBER_COUNT
};
static const struct {
	const char *name;
	bool is_required;
} MEMBERS[MEMBER_COUNT] = {
	[M_ACTOR] = { "actor", false },   [M_ALG] = { "alg", false },       [M_APPR] = { "appr", false },     [M_BIG] = { "big", false },
	[M_BOOT] = { "boot", true },      [M_CORR] = { "corr", false },     [M_CORR_B64] = { "corr_b64", false }, [M_COUNT] = { "count", false },
	[M_DET] = { "det", false },       [M_DET_SHA256] = { "det_sha256", false }, [M_ERR] = { "err", false }, [M_HTTP] = { "http", false },
	[M_ID] = { "id", true },          [M_KEY] = { "key", false },       [M_MONO] = { "mono", true },      [M_NET] = { "net", false },
	[M_NODE] = { "node", true },      [M_PHASE] = { "phase", true },    [M_PII] = { "pii", false },       [M_REF] = { "ref", false },
	[M_REQ] = { "req", false },       [M_RESULT] = { "result", true },  [M_SALT] = { "salt", true },      [M_SEQ] = { "seq", true },
	[M_TENANT] = { "tenant", false }, [M_TRACE] = { "trace", false },   [M_TRUNC] = { "trunc", false },   [M_TS] = { "ts", true },
	[M_TYPE] = { "type", true },      [M_V] = { "v", true },
};
static const char *const PHASES[] = { "single", "intent", "outcome" };
static const char *const RESULTS[] = { "ok", "denied", "failed", "pending", "unknown" };
static const char *const ACTORS[] = { "", "user", "app", "node", "system" };

/* A line under way. */
struct reading {
	struct reader j;
	struct leaf *leaf;
	const char *why; /* a member that is canonical but not what it must be */
};

const char *leaf_type_name(enum leaf_type type) { return type < T_OTHER ? TYPES[type].name : "other"; }
const char *leaf_result_name(enum leaf_result result) { return RESULTS[result]; }
unsigned leaf_type_flags(enum leaf_type type) { return type < T_OTHER ? TYPES[type].flags : 0; }

static bool wrong(struct reading *r, const char *why)
{
	r->why = why;
	return false;
}

static enum leaf_type find_type(struct span name)
{
	size_t low = 0, high = T_OTHER;

	while (low < high) {
		size_t middle = (low + high) / 2;
		size_t len = strlen(TYPES[middle].name);
		int d = memcmp(name.p, TYPES[middle].name, name.n < len ? name.n : len);
		if (d == 0)
			d = name.n < len ? -1 : name.n > len;
		if (d == 0)
			return (enum leaf_type)middle;
		if (d < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return T_OTHER;
}

/* The index of a word in a list. */
static bool choose(struct span word, const char *const *list, size_t count, unsigned *ret)
{
	for (size_t i = 0; i < count; i++) {
		if (!span_is(word, list[i]))
			continue;
		*ret = (unsigned)i;
		return true;
	}
	return false;
}

/* ---- time ---- */

static bool digits(const char *p, unsigned n, unsigned *ret)
{
	unsigned v = 0;

	for (unsigned i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(p[i] - '0');
	}
	*ret = v;
	return true;
}

static unsigned month_days(unsigned year, unsigned month)
{
	bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return month == 2 ? (is_leap ? 29 : 28) : month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar: years begin in March, so that the odd day is the last. */
static int64_t days_since_1970(unsigned year, unsigned month, unsigned day)
{
	int64_t y = (int64_t)year - (month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
	int64_t of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

bool timestamp_parse(struct span s, int64_t *ret_us)
{
	static const char FORM[] = "dddd-dd-ddTdd:dd:dd.ddddddZ";
	unsigned year, month, day, hour, minute, second, us;

	if (s.n != TIMESTAMP_LEN)
		return false;
	for (size_t i = 0; i < TIMESTAMP_LEN; i++) {
		if (FORM[i] != 'd' && s.p[i] != FORM[i])
			return false;
	}
	if (!digits(s.p, 4, &year) || !digits(s.p + 5, 2, &month) || !digits(s.p + 8, 2, &day) || !digits(s.p + 11, 2, &hour) ||
	    !digits(s.p + 14, 2, &minute) || !digits(s.p + 17, 2, &second) || !digits(s.p + 20, 6, &us))
		return false;
	if (month < 1 || month > 12 || day < 1 || day > month_days(year, month) || hour > 23 || minute > 59 || second > 59)
		return false;
	*ret_us = (((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * US_PER_S + us;
	return true;
}

/* ---- members ---- */

static bool read_string(struct reading *r, struct span *ret) { return reader_string(&r->j, ret); }

static bool is_uuid(struct span s)
{
	if (s.n != UUID_LEN)
		return false;
	for (size_t i = 0; i < UUID_LEN; i++) {
		bool is_hyphen = i == 8 || i == 13 || i == 18 || i == 23;
		char c = s.p[i];
		if (is_hyphen ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
	}
	return true;
}

static bool is_type_name(struct span s)
{
	if (s.n == 0 || s.n > 64)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.'))
			return false;
	}
	return true;
}

static bool read_actor(struct reading *r)
{
	struct reader_object o = { 0 };
	struct span name, text;
	unsigned kind = 0;
	int more = 0;

	if (!reader_enter(&r->j))
		return false;
	while ((more = reader_next(&r->j, &o, &name)) > 0) {
		if (!read_string(r, &text))
			return false;
		if (span_is(name, "kind") && (!choose(text, ACTORS, sizeof(ACTORS) / sizeof(ACTORS[0]), &kind) || kind == ACTOR_NONE))
			return wrong(r, "actor.kind is none of user, app, node, system");
		else if (span_is(name, "pid"))
			r->leaf->pid = text;
		else if (!span_is(name, "kind") && !span_is(name, "auth") && !span_is(name, "role") && !span_is(name, "role_b64"))
			return wrong(r, "actor has an unknown member");
	}
	r->leaf->actor = (enum leaf_actor)kind;
	if (more == 0 && kind == ACTOR_NONE)
		return wrong(r, "actor has no kind");
	return more == 0;
}

static bool read_key(struct reading *r)
{
	struct reader_object o = { 0 };
	struct span name, text;
	int more = 0;

	r->leaf->has_key = true;
	if (!reader_enter(&r->j))
		return false;
	while ((more = reader_next(&r->j, &o, &name)) > 0) {
		if (!read_string(r, &text))
			return false;
		if (span_is(name, "name") || span_is(name, "name_b64")) {
			r->leaf->key_name = text;
		} else if (span_is(name, "ver")) {
			r->leaf->key_version = text;
		} else if (span_is(name, "obj")) {
			if (!span_base64url(text, r->leaf->object, OBJECT_LEN))
				return wrong(r, "key.obj is not the base64url of 16 bytes");
			r->leaf->has_object = true;
		} else {
			return wrong(r, "key has an unknown member");
		}
	}
	return more == 0;
}

static bool read_approver(struct reading *r)
{
	struct reader_object o = { 0 };
	struct span name, text, pid = { 0 };
	int more = 0;

	if (!reader_enter(&r->j))
		return false;
	while ((more = reader_next(&r->j, &o, &name)) > 0) {
		if (!read_string(r, &text))
			return false;
		if (span_is(name, "pid"))
			pid = text;
		else if (!span_is(name, "at") && !span_is(name, "cred") && !span_is(name, "kid"))
			return wrong(r, "appr has an unknown member");
	}
	if (more != 0)
		return false;
	if (pid.n == 0)
		return wrong(r, "an approver has no pid");
	if (r->leaf->approver_count == LEAF_APPROVERS_MAX)
		return wrong(r, "appr names more than 16 approvers");
	r->leaf->approvers[r->leaf->approver_count++] = pid;
	return true;
}

static bool read_approvers(struct reading *r)
{
	bool has_element = false;
	int more = 0;

	if (!reader_enter_array(&r->j))
		return false;
	while ((more = reader_next_element(&r->j, &has_element)) > 0)
		if (!read_approver(r))
			return false;
	return more == 0;
}

/* An object of which only the names of its members matter. */
static bool read_known(struct reading *r, const char *const *known, size_t count, const char *why)
{
	struct reader_object o = { 0 };
	struct span name;
	unsigned ignored = 0;
	int more = 0;

	if (!reader_enter(&r->j))
		return false;
	while ((more = reader_next(&r->j, &o, &name)) > 0) {
		if (!choose(name, known, count, &ignored))
			return wrong(r, why);
		if (!reader_skip(&r->j))
			return false;
	}
	return more == 0;
}

static bool read_strings(struct reading *r)
{
	bool has_element = false;
	struct span text;
	int more = 0;

	if (!reader_enter_array(&r->j))
		return false;
	while ((more = reader_next_element(&r->j, &has_element)) > 0)
		if (!read_string(r, &text))
			return false;
	return more == 0;
}

static bool read_object(struct reading *r, struct span *ret)
{
	const char *start = r->j.p;

	if (r->j.p >= r->j.end || *r->j.p != '{')
		return wrong(r, "det is no object");
	if (!reader_skip(&r->j))
		return false;
	*ret = (struct span){ start, (size_t)(r->j.p - start) };
	return true;
}

static bool read_int(struct reading *r, int64_t low, int64_t high, int64_t *ret, const char *why)
{
	if (!reader_int(&r->j, ret))
		return false;
	return (*ret >= low && *ret <= high) || wrong(r, why);
}

static bool read_word(struct reading *r, const char *const *list, size_t count, unsigned *ret, const char *why)
{
	struct span text;
	if (!read_string(r, &text))
		return false;
	return choose(text, list, count, ret) || wrong(r, why);
}

static bool read_bytes(struct reading *r, uint8_t *ret, size_t len, const char *why)
{
	struct span text;
	if (!read_string(r, &text))
		return false;
	return span_base64url(text, ret, len) || wrong(r, why);
}

/* The commitment to a record of who it was, and its number. */
static bool read_person(struct reading *r)
{
	struct reader_object o = { 0 };
	struct span name;
	int64_t number = 0;
	int more = 0, members = 0;

	if (!reader_enter(&r->j))
		return false;
	while ((more = reader_next(&r->j, &o, &name)) > 0) {
		if (span_is(name, "com") ? !read_bytes(r, NULL, HASH_LEN, "pii.com is not the base64url of 32 bytes")
		    : span_is(name, "ref") ? !read_int(r, 1, READER_INT_MAX, &number, "pii.ref is not positive")
		                           : !wrong(r, "pii has an unknown member"))
			return false;
		members++;
	}
	return more == 0 && (members == 2 || wrong(r, "pii has com and ref"));
}

static bool read_boot(struct reading *r)
{
	uint8_t bytes[BOOT_LEN];
	struct span text;

	if (!read_string(r, &text))
		return false;
	if (!span_hex(text, bytes, BOOT_LEN))
		return wrong(r, "boot is not 16 lower-case hex digits");
	memcpy(&r->leaf->boot, bytes, BOOT_LEN);
	return true;
}

static bool read_member(struct reading *r, enum member m)
{
	static const char *const NET[] = { "peer", "peer_b64", "tls", "tls_b64" };
	struct leaf *leaf = r->leaf;
	struct span text;
	int64_t number = 0;
	unsigned index = 0;
	bool truth = false;

	switch (m) {
	case M_ACTOR: return read_actor(r);
	case M_APPR: return read_approvers(r);
	case M_BIG: return reader_true_or_false(&r->j, &truth) && (truth || wrong(r, "big is not true"));
	case M_BOOT: return read_boot(r);
	case M_COUNT: return read_int(r, 1, READER_INT_MAX, &number, "count is not positive");
	case M_DET: return read_object(r, &leaf->det);
	case M_DET_SHA256: return read_bytes(r, NULL, HASH_LEN, "det_sha256 is not the base64url of 32 bytes");
	case M_HTTP: return read_int(r, HTTP_MIN, HTTP_MAX, &number, "http is no status");
	case M_ID: return read_string(r, &text) && (is_uuid(text) || wrong(r, "id is no lower-case UUID"));
	case M_KEY: return read_key(r);
	case M_MONO: return read_int(r, 0, READER_INT_MAX, &leaf->mono_us, "mono is negative");
	case M_NET: return read_known(r, NET, sizeof(NET) / sizeof(NET[0]), "net has an unknown member");
	case M_PHASE:
		if (!read_word(r, PHASES, sizeof(PHASES) / sizeof(PHASES[0]), &index, "phase is none of single, intent, outcome"))
			return false;
		leaf->phase = (enum leaf_phase)index;
		return true;
	case M_PII: return read_person(r);
	case M_REF:
		leaf->has_ref = read_int(r, 0, READER_INT_MAX, &number, "ref is negative");
		leaf->ref = (uint64_t)number;
		return leaf->has_ref;
	case M_RESULT:
		if (!read_word(r, RESULTS, sizeof(RESULTS) / sizeof(RESULTS[0]), &index, "result is none of ok, denied, failed, pending, unknown"))
			return false;
		leaf->result = (enum leaf_result)index;
		return true;
	case M_SALT: return read_bytes(r, NULL, SALT_LEN, "salt is not the base64url of 16 bytes");
	case M_SEQ:
		if (!read_int(r, 0, READER_INT_MAX, &number, "seq is negative"))
			return false;
		leaf->seq = (uint64_t)number;
		return true;
	case M_TENANT: return read_string(r, &leaf->tenant);
	case M_TRUNC: return read_strings(r);
	case M_TS:
		if (!read_string(r, &leaf->ts))
			return false;
		return timestamp_parse(leaf->ts, &leaf->ts_us) || wrong(r, "ts is no time of the form YYYY-MM-DDThh:mm:ss.ffffffZ");
	case M_TYPE:
		if (!read_string(r, &leaf->type_name))
			return false;
		leaf->type = find_type(leaf->type_name);
		return is_type_name(leaf->type_name) || wrong(r, "type is not 1 to 64 of [a-z0-9_.]");
	case M_V: return read_int(r, 1, 1, &number, "v is not 1");
	case M_ALG:
	case M_CORR:
	case M_CORR_B64:
	case M_ERR:
	case M_NODE:
	case M_REQ:
	case M_TRACE:
	case MEMBER_COUNT: break;
	}
	return read_string(r, &text);
}

/* The table's index of a name, from *at on; what is passed over must not be required. */
static bool find_member(struct reading *r, struct span name, unsigned *at)
{
	for (; *at < MEMBER_COUNT; ++*at) {
		if (span_is(name, MEMBERS[*at].name))
			return true;
		if (MEMBERS[*at].is_required && strncmp(MEMBERS[*at].name, name.p, name.n) < 0)
			return wrong(r, "a member that every leaf has is missing");
	}
	return wrong(r, "it has an unknown member");
}

static bool read_leaf(struct reading *r)
{
	struct reader_object o = { 0 };
	struct span name;
	unsigned at = 0;
	int more = 0;

	if (!reader_enter(&r->j))
		return false;
	while ((more = reader_next(&r->j, &o, &name)) > 0) {
		if (!find_member(r, name, &at) || !read_member(r, (enum member)at))
			return false;
		at++;
	}
	if (more < 0 || !reader_end(&r->j))
		return false;
	return at == MEMBER_COUNT || wrong(r, "a member that every leaf has is missing");
}

/* {"hash":"...","seq":N} */
static bool read_hidden(struct reading *r)
{
	struct reader_object o = { 0 };
	struct span name, text;
	int64_t number = 0;
	size_t len = 0;

	if (!reader_enter(&r->j) || reader_next(&r->j, &o, &name) <= 0 || !reader_string(&r->j, &text))
		return false;
	if (!span_base64(text, r->leaf->hash, HASH_LEN, &len) || len != HASH_LEN)
		return wrong(r, "hash is not the base64 of 32 bytes");
	if (reader_next(&r->j, &o, &name) <= 0 || !span_is(name, "seq"))
		return r->j.why == NULL ? wrong(r, "the hash of a leaf stands with its seq, and nothing else") : false;
	if (!read_int(r, 0, READER_INT_MAX, &number, "seq is negative"))
		return false;
	r->leaf->seq = (uint64_t)number;
	r->leaf->is_hidden = true;
	if (reader_next(&r->j, &o, &name) != 0)
		return r->j.why == NULL ? wrong(r, "the hash of a leaf stands with its seq, and nothing else") : false;
	return reader_end(&r->j);
}

bool leaf_parse(struct span line, struct hasher *h, struct leaf *ret, enum finding *ret_finding, const char **ret_why)
{
	struct reading r = { .j = reader_begin(line), .leaf = ret };
	bool is_good = false;

	memset(ret, 0, offsetof(struct leaf, approvers));
	ret->approver_count = 0;
	if (line.n == 0 || line.n > LEAF_MAX) {
		*ret_finding = F_LINE;
		*ret_why = line.n == 0 ? "an empty line" : "longer than 8,192 bytes";
		return false;
	}
	is_good = span_begins(line, "{\"hash\":") ? read_hidden(&r) : read_leaf(&r);
	if (is_good && !ret->is_hidden)
		hash_leaf(h, line, ret->hash);
	*ret_finding = r.j.why != NULL ? F_CANONICAL : F_MEMBER;
	*ret_why = r.j.why != NULL ? r.j.why : r.why;
	return is_good;
}
