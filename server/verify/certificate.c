/* server/verify/certificate.c - certificates, by themselves and against their log. */
#include "server/verify/certificate.h"

#include <stdlib.h>

#define LINE_SUFFIX "/destruction-certificate/v1"

static bool bad(const struct certificate *c, struct report *r, enum finding f, const char *why)
{
	report_add(r, f, c->file, 0, "the certificate is not valid: %s", why);
	return false;
}

static bool read_hash(struct span object, const char *name, uint8_t ret[HASH_LEN])
{
	struct span base64;
	size_t len = 0;

	return reader_member_string(object, name, &base64) && span_base64(base64, ret, HASH_LEN, &len) && len == HASH_LEN;
}

static bool read_seq(struct span object, const char *name, uint64_t *ret)
{
	int64_t number = 0;

	if (!reader_member_int(object, name, &number) || number < 0)
		return false;
	*ret = (uint64_t)number;
	return true;
}

/* {"leaf":"...","seq":N} */
static bool read_place(struct span object, const char *name, uint64_t *ret_seq, uint8_t ret_leaf[HASH_LEN])
{
	struct reader j;

	if (!reader_member(object, name, &j))
		return false;
	struct span place = { j.p, (size_t)(j.end - j.p) }; /* what follows it is not looked at */
	return read_seq(place, "seq", ret_seq) && read_hash(place, "leaf", ret_leaf);
}

/* 11.2 */
static bool has_known_members(struct span object)
{
	static const char *const KNOWN[] = { "basis", "checks", "copies", "hsm", "id", "intent", "keys", "method", "origin", "outcome", "residual", "root",
		                             "scope", "size", "state", "tenant", "times", "type", "until", "v", "wrapped" };
	struct reader j = reader_begin(object);
	struct reader_object o = { 0 };
	struct span name;

	if (!reader_enter(&j))
		return false;
	while (reader_next(&j, &o, &name) > 0) {
		bool is_known = false;
		for (size_t i = 0; i < sizeof(KNOWN) / sizeof(KNOWN[0]); i++)
			is_known |= span_is(name, KNOWN[i]);
		if (!is_known || !reader_skip(&j))
			return false;
	}
	return true;
}

static bool read_key(struct reader *j, struct certificate_key *ret)
{
	const char *start = j->p;
	struct reader ignored;
	struct span object, id;

	if (!reader_skip(j))
		return false;
	object = (struct span){ start, (size_t)(j->p - start) };
	ret->has_created = reader_member(object, "created", &ignored);
	return reader_member_string(object, "obj", &id) && span_base64url(id, ret->object, OBJECT_LEN) &&
	       (!ret->has_created || read_seq(object, "created", &ret->created));
}

static int by_object(const void *a, const void *b)
{
	return memcmp(((const struct certificate_key *)a)->object, ((const struct certificate_key *)b)->object, OBJECT_LEN);
}

/* @return false also without memory: *ret_memory tells */
static bool read_keys(struct certificate *c, struct span object, bool *ret_memory)
{
	struct reader j;
	bool has_element = false;
	size_t cap = 0;
	int more = 0;

	if (!reader_member(object, "keys", &j) || !reader_enter_array(&j))
		return false;
	while ((more = reader_next_element(&j, &has_element)) > 0) {
		if (c->key_count == cap) {
			cap = cap == 0 ? 16 : 2 * cap;
			void *grown = reallocarray(c->keys, cap, sizeof(*c->keys));
			if (grown == NULL) {
				*ret_memory = false;
				return false;
			}
			c->keys = grown;
		}
		if (!read_key(&j, &c->keys[c->key_count]))
			return false;
		c->key_count++;
	}
	if (c->key_count > 0)
		qsort(c->keys, c->key_count, sizeof(*c->keys), by_object);
	return more == 0;
}

static bool read_body(struct certificate *c, struct span first, struct span body, struct report *r, bool *ret_memory)
{
	struct span type, scope, host, rest;
	const char *why = NULL;
	int64_t version = 0;

	if (!reader_is_canonical(body, &why))
		return bad(c, r, F_CANONICAL, why);
	if (!has_known_members(body))
		return bad(c, r, F_MEMBER, "it has an unknown member");
	if (!reader_member_int(body, "v", &version) || version != 1 || !reader_member_string(body, "type", &type) || !span_is(type, "destruction"))
		return bad(c, r, F_MEMBER, "it is no destruction certificate of version 1");
	if (!reader_member_string(body, "id", &c->id) || !reader_member_string(body, "origin", &c->origin) || !reader_member_string(body, "tenant", &c->tenant) ||
	    !reader_member_string(body, "state", &c->state) || !reader_member_string(body, "scope", &scope))
		return bad(c, r, F_MEMBER, "id, origin, tenant, state or scope is missing");
	if (!span_is(c->state, "complete") && !span_is(c->state, "pending-backup-expiry"))
		return bad(c, r, F_MEMBER, "its state is none of complete, pending-backup-expiry");
	if (!read_place(body, "intent", &c->intent, c->intent_leaf) || !read_place(body, "outcome", &c->outcome, c->outcome_leaf))
		return bad(c, r, F_MEMBER, "intent or outcome does not name a leaf");
	if (!read_seq(body, "size", &c->size) || !read_hash(body, "root", c->root))
		return bad(c, r, F_MEMBER, "size or root is missing");
	if (!read_keys(c, body, ret_memory))
		return bad(c, r, F_MEMBER, "keys is not a list of keys, each with its obj");
	c->is_of_tenant = span_is(scope, "tenant");
	if (!c->is_of_tenant && !span_is(scope, "key") && !span_is(scope, "version"))
		return bad(c, r, F_MEMBER, "its scope is none of key, version, tenant");
	if (c->intent >= c->outcome || c->outcome >= c->size)
		return bad(c, r, F_CERTIFICATE, "intent, outcome and size are not in this order");
	(void)span_cut(c->origin, '/', &host, &rest);
	if (host.n == 0 || first.n != host.n + sizeof(LINE_SUFFIX) - 1 || memcmp(first.p, host.p, host.n) != 0)
		return bad(c, r, F_ORIGIN, "its first line names another host than its origin");
	return true;
}

/* The attestation key of the certificate's own host. */
static bool is_attested(const struct certificate *c, const struct keys *keys, struct span host)
{
	for (size_t i = 0; i < c->note.count; i++) {
		const struct key *k = &keys->list[c->verdicts[i].key];
		if (c->verdicts[i].state == LINE_GOOD && k->role == ROLE_ATTESTATION && k->name_len > host.n && k->name[host.n] == '/' &&
		    memcmp(k->name, host.p, host.n) == 0)
			return true;
	}
	return false;
}

static void check_signatures(struct certificate *c, const struct keys *keys, struct span host, struct report *r)
{
	bool is_bad = false;

	note_verify(&c->note, keys, c->verdicts);
	for (size_t i = 0; i < c->note.count; i++) {
		if (c->verdicts[i].state != LINE_BAD)
			continue;
		report_add(r, F_SIGNATURE, c->file, 0, "the signature of %s does not fit", keys->list[c->verdicts[i].key].name);
		is_bad = true;
	}
	c->is_signed = !is_bad && is_attested(c, keys, host);
	if (!is_bad && !c->is_signed)
		report_add(r, F_UNSIGNED, c->file, 0, "no good signature by a given attestation key (HOST/attest/...) of its host");
}

static bool ends_in(struct span s, const char *suffix)
{
	size_t n = strlen(suffix);
	return s.n > n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

bool certificate_read(struct certificate *c, const char *file, struct span text, const struct keys *keys, struct report *r)
{
	struct span first, body, rest, host, ignored;
	const char *why = NULL;
	bool has_memory = true;

	*c = (struct certificate){ .file = file, .type = T_OTHER };
	why = note_parse_long(text, &c->note);
	if (why == NULL && (!span_line(c->note.text, &first, &rest) || !span_line(rest, &body, &rest) || rest.n != 0))
		why = "its text is not two lines";
	if (why == NULL && !ends_in(first, LINE_SUFFIX))
		why = "its first line does not end in " LINE_SUFFIX;
	if (why != NULL) {
		report_add(r, F_NOTE_FORM, c->file, 0, "the certificate is not valid: %s; what is wanted is the signed text as it was fetched, no page, with its line ends", why);
		return true;
	}
	c->body = body;
	(void)span_cut(first, '/', &host, &ignored);
	check_signatures(c, keys, host, r);
	c->is_readable = read_body(c, first, body, r, &has_memory);
	return has_memory;
}

void certificate_clear(struct certificate *c)
{
	free(c->keys);
	*c = (struct certificate){ 0 };
}

/* ---- against the log ---- */

static void differs(const struct certificate *c, struct report *r, enum finding f, const char *file, uint64_t line, uint64_t seq, const char *why)
{
	report_add(r, f, file, line, "seq %llu: certificate %.*s: %s", (unsigned long long)seq, (int)(c->id.n < 64 ? c->id.n : 64), c->id.p, why);
}

static bool is_act(const struct certificate *c, enum leaf_type type)
{
	return c->is_of_tenant ? type == T_TENANT_SHRED : type == T_KEY_PURGE || type == T_KEY_DESTROY;
}

static void check_place(struct certificate *c, const struct leaf *l, struct report *r, const char *file, uint64_t line)
{
	bool is_intent = l->seq == c->intent;
	const char *why = NULL;

	if (memcmp(l->hash, is_intent ? c->intent_leaf : c->outcome_leaf, HASH_LEN) != 0)
		differs(c, r, F_ROOT, file, line, l->seq, "the leaf is not the one that it names");
	if (is_intent)
		c->has_intent = true;
	else
		c->has_outcome = true;
	if (is_intent)
		c->is_intent_hidden = l->is_hidden;
	else
		c->is_outcome_hidden = l->is_hidden;
	if (l->is_hidden)
		return;
	if (is_intent) {
		c->type = l->type;
		c->approver_count = l->approver_count;
	}
	if (!is_act(c, l->type) || l->phase != (is_intent ? PHASE_INTENT : PHASE_OUTCOME))
		why = is_intent ? "the leaf is no intent of such a destruction" : "the leaf is no outcome of such a destruction";
	else if (!is_intent && (l->result != RESULT_OK || !l->has_ref || l->ref != c->intent))
		why = "the outcome is not the success of its intent";
	else if (!span_same(l->tenant, c->tenant))
		why = "the leaf is of another tenant";
	if (why != NULL)
		differs(c, r, F_CERTIFICATE, file, line, l->seq, why);
}

static const struct certificate_key *find_key(const struct certificate *c, const uint8_t object[OBJECT_LEN])
{
	struct certificate_key wanted = { 0 };

	memcpy(wanted.object, object, OBJECT_LEN);
	return c->key_count > 0 ? bsearch(&wanted, c->keys, c->key_count, sizeof(*c->keys), by_object) : NULL;
}

static bool makes_one(enum leaf_type type) { return type == T_KEY_CREATE || type == T_KEY_IMPORT || type == T_KEY_ROTATE; }

/* A leaf that makes one version makes the one that it is named for. A restore makes several, a vault begins with its root and another key. */
static void check_created(const struct certificate *c, const struct leaf *l, struct report *r, const char *file, uint64_t line)
{
	const struct certificate_key *named = find_key(c, l->object);

	if (named != NULL && named->has_created && named->created != l->seq)
		differs(c, r, F_CERTIFICATE, file, line, l->seq, "the leaf creates an object of which it says another place");
	for (size_t i = 0; i < c->key_count && named == NULL; i++) {
		if (c->keys[i].has_created && c->keys[i].created == l->seq)
			differs(c, r, F_CERTIFICATE, file, line, l->seq, "the leaf creates another object than it says");
	}
}

static bool is_revived_object(const struct certificate *c, const uint8_t object[OBJECT_LEN])
{
	return c->revival.was && c->revival.has_object && memcmp(object, c->revival.object, OBJECT_LEN) == 0;
}

/* What a backup brought back is the key that died; also what a backup of that brought back. */
static bool is_revival(const struct certificate *c, const struct leaf *l)
{
	uint8_t object[OBJECT_LEN];
	struct span id;

	return l->type == T_KEY_RESTORE && l->seq > c->outcome && l->phase == PHASE_OUTCOME && l->result == RESULT_OK && l->det.n > 0 &&
	       reader_member_string(l->det, "revives", &id) && span_base64url(id, object, OBJECT_LEN) &&
	       (find_key(c, object) != NULL || is_revived_object(c, object));
}

static bool is_end_of_revived(const struct certificate *c, const struct leaf *l)
{
	if (l->seq <= c->revival.seq || l->result != RESULT_OK || l->phase == PHASE_INTENT)
		return false;
	return (l->type == T_KEY_DESTROY && l->has_object && is_revived_object(c, l->object)) || (l->type == T_TENANT_SHRED && span_same(l->tenant, c->tenant));
}

static void follow_revival(struct certificate *c, const struct leaf *l, const char *file, uint64_t line)
{
	if (is_revival(c, l)) {
		c->revival = (struct certificate_revival){ .was = true, .lives = true, .has_object = l->has_object, .seq = l->seq, .file = file, .line = line };
		memcpy(c->revival.object, l->object, OBJECT_LEN);
	} else if (c->revival.lives && is_end_of_revived(c, l)) {
		c->revival.lives = false;
	}
}

void certificate_end(const struct certificate *c, struct report *r)
{
	const struct certificate_revival *back = &c->revival;

	/* While what came back lives, a certificate is pending. */
	if (back->lives && span_is(c->state, "complete"))
		differs(c, r, F_CERTIFICATE, back->file, back->line, back->seq, "a restore brought a key back that it says is destroyed");
	else if (back->lives)
		differs(c, r, W_REVIVED, back->file, back->line, back->seq, "a restore brought a key back that it says is destroyed; the key lives");
	else if (back->was)
		differs(c, r, W_REVIVED, back->file, back->line, back->seq, "a restore brought a key back that it says is destroyed; it was destroyed again later");
}

void certificate_leaf(struct certificate *c, const struct leaf *l, struct report *r, const char *file, uint64_t line)
{
	if (!c->is_readable)
		return;
	if (l->seq == c->intent || l->seq == c->outcome)
		check_place(c, l, r, file, line);
	if (l->is_hidden)
		return;
	if (l->seq < c->intent && l->phase == PHASE_OUTCOME && l->result == RESULT_OK && l->has_object && makes_one(l->type))
		check_created(c, l, r, file, line);
	follow_revival(c, l, file, line);
	if (l->seq <= c->outcome || l->result != RESULT_OK || (leaf_type_flags(l->type) & USE) == 0)
		return;
	if ((c->is_of_tenant && span_same(l->tenant, c->tenant)) || (l->has_object && find_key(c, l->object) != NULL))
		differs(c, r, F_CERTIFICATE, file, line, l->seq, "a key that it says is destroyed was used");
}
