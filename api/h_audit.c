/*
 * api/h_audit.c - the audit API (spec/audit-log.md section 8): checkpoints, verifier keys, leaves, proofs and tiles.
 * Guards: who may not see a leaf gets its hash; no proof is served that does not lead to a root that was signed; nothing scans the log, and no read
 * lasts longer than one row, however much is asked for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/entries.h"
#include "api/tile.h"
#include "api/view.h"
#include "server/core/certificate.h"
#include "server/core/prune_cover.h"
#include "server/core/witness.h"

#define ENTRIES_DEFAULT 100
#define LOG_KEYS_MAX 64   /* generations that are told */
#define CLOSED_LOGS_MAX 64
#define NOTE_TYPE "text/plain; charset=utf-8"
#define CACHE_SHORT "private, max-age=2"
/* What can never change. Private, since each answer has a receipt of its own. */
#define CACHE_FOREVER "private, max-age=31536000, immutable"
#define TILE_LENGTH_PREFIX 2
_Static_assert(EVENT_LEAF_MAX <= UINT16_MAX, "leaves fit into entry tiles");

/* ---- answers that are no JSON of ours ---- */

struct text {
	FILE *out;
	char *bytes; /* owned; valid once out is flushed */
	size_t len;
};

static void text_clear(struct text *t)
{
	if (t->out != NULL)
		(void)fclose(t->out);
	free(t->bytes);
}
#define TEXT_AUTO __attribute__((cleanup(text_clear))) struct text

static kms_status text_open(struct text *t, struct kms_err *err)
{
	t->out = open_memstream(&t->bytes, &t->len);
	return t->out != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "answer of the audit API");
}

/* Without memory the stream drops what is written, and says so here. */
static kms_status reply_text(struct request *r, struct text *t, const char *type, const char *cache_control, struct kms_err *err)
{
	bool is_whole = ferror(t->out) == 0;

	if (fclose(t->out) != 0)
		is_whole = false;
	t->out = NULL;
	if (!is_whole)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "answer of the audit API");
	reply_empty(r, 200);
	r->response.body = KMS_TAKE(t->bytes);
	r->response.body_len = t->len;
	r->content_type = type;
	r->cache_control = cache_control;
	return KMS_OK;
}

/* ---- parameters ---- */

/* Up to `max`; digits only. */
static bool parse_number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end = NULL;
	unsigned long long n = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || n > max)
		return false;
	*ret = n;
	return true;
}

static kms_status read_number(const struct request *r, const char *name, uint64_t max, uint64_t *ret, struct kms_err *err)
{
	const char *text = query_get(r, name);

	if (text == NULL)
		return kms_refuse(err, KMS_E_INVALID, "The query parameter %s is required.", name);
	if (!parse_number(text, max, ret))
		return kms_refuse(err, KMS_E_INVALID, "%s: must be a number up to %llu.", name, (unsigned long long)max);
	return KMS_OK;
}

/* *ret stays as it is when it was not asked for. */
static kms_status read_optional(const struct request *r, const char *name, uint64_t max, uint64_t *ret, struct kms_err *err)
{
	return query_get(r, name) != NULL ? read_number(r, name, max, ret, err) : KMS_OK;
}

/* ---- checkpoints ---- */

static kms_status newest_checkpoint(struct request *r, struct store_signed *ret, struct kms_err *err)
{
	struct kms_err failure = { 0 };
	kms_status status = log_newest(r->op.kms->log, r->op.store, ret, &failure);

	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_NOTFOUND, "No checkpoint has been signed yet. The first follows as soon as the HSM signs.");
	if (status != KMS_OK && err != NULL)
		*err = failure;
	return status;
}

/* The checkpoint that a proof leads to: proofs for sizes that nobody signed prove nothing. @param is_required  else: the newest */
static kms_status signed_size(struct request *r, const char *name, bool is_required, struct store_signed *ret, struct kms_err *err)
{
	uint64_t size = 0;
	kms_status status = KMS_OK;

	if (!is_required && query_get(r, name) == NULL)
		return newest_checkpoint(r, ret, err);
	KMS_TRY(read_number(r, name, INT64_MAX, &size, err));
	status = store_checkpoint_of(r->op.store, size, ret, NULL);
	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_INVALID,
		                  "%s: no checkpoint of %llu leaves was signed. Take a size that was: GET /audit/v1/checkpoint shows the newest.", name,
		                  (unsigned long long)size);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "checkpoint");
}

static kms_status reply_note(struct request *r, const struct store_signed *c, struct kms_err *err)
{
	TEXT_AUTO t = { 0 };

	KMS_TRY(text_open(&t, err));
	(void)fputs(c->note, t.out);
	return reply_text(r, &t, NOTE_TYPE, CACHE_SHORT, err);
}

kms_status api_audit_checkpoint(struct request *r, struct kms_err *err)
{
	STORE_SIGNED_AUTO c = { 0 };

	op_det_text(&r->op, "what", "checkpoint");
	KMS_TRY(newest_checkpoint(r, &c, err));
	op_det_number(&r->op, "size", (int64_t)c.size);
	return reply_note(r, &c, err);
}

kms_status api_audit_checkpoint_of(struct request *r, struct kms_err *err)
{
	STORE_SIGNED_AUTO c = { 0 };
	uint64_t size = 0;
	kms_status status = KMS_OK;

	op_det_text(&r->op, "what", "checkpoint");
	if (!parse_number(r->item, INT64_MAX, &size) || (r->item[0] == '0' && r->item[1] != '\0'))
		return kms_refuse(err, KMS_E_INVALID, "The size of a checkpoint is a number without leading zeros.");
	op_det_number(&r->op, "size", (int64_t)size);
	status = store_checkpoint_of(r->op.store, size, &c, NULL);
	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_NOTFOUND, "No checkpoint of %llu leaves was signed.", (unsigned long long)size);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "checkpoint");
	return reply_note(r, &c, err);
}

/* ---- verifier keys ---- */

/* The name of a verifier key ends at its first '+', which no origin has. */
static size_t name_len(const char *vkey) { return strcspn(vkey, "+"); }

static bool is_of_origin(const struct store_log_key *k, const char *origin)
{
	size_t len = name_len(k->vkey);
	return strlen(origin) == len && strncmp(k->vkey, origin, len) == 0;
}

/* The newest come first: the first of the present origin is the one that signs. */
static kms_status put_log_keys(struct request *r, json_t **body, struct kms_err *err)
{
	struct store_log_key *keys = calloc(LOG_KEYS_MAX, sizeof(*keys));
	json_t *list = NULL;
	size_t count = 0;
	bool has_current = false;
	kms_status status = KMS_OK;

	if (keys == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "log keys");
	status = store_log_keys(r->op.store, keys, LOG_KEYS_MAX, &count, err);
	list = status == KMS_OK ? json_array() : NULL;
	for (size_t i = 0; i < count && status == KMS_OK; i++) {
		bool is_current = !has_current && is_of_origin(&keys[i], r->op.kms->origin);
		has_current |= is_current;
		json_add(&list, json_pack("{s:s,s:i,s:s#,s:I,s:I,s:b}", "vkey", keys[i].vkey, "generation", (int)keys[i].generation, "origin",
		                          keys[i].vkey, (int)name_len(keys[i].vkey), "from_size", (json_int_t)keys[i].from_size, "created",
		                          (json_int_t)keys[i].created_s, "current", (int)is_current));
	}
	free(keys);
	if (status == KMS_OK)
		json_put(body, "log", list);
	return status;
}

static kms_status put_attestation_key(struct request *r, json_t **body, struct kms_err *err)
{
	char vkey[NOTE_VKEY_MAX + 1];

	KMS_TRY(certificate_vkey(r->op.kms, vkey, err));
	json_put(body, "attestation", json_pack("[{s:s}]", "vkey", vkey));
	return KMS_OK;
}

static void put_witnesses(struct request *r, json_t **body)
{
	struct witness_status witnesses[WITNESSES_MAX];
	size_t count = r->op.kms->witnesses != NULL ? witnesses_status(r->op.kms->witnesses, witnesses, WITNESSES_MAX) : 0;
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		json_t *o = json_pack("{s:s,s:I}", "vkey", witnesses[i].vkey, "size", (json_int_t)witnesses[i].size);
		if (witnesses[i].size > 0)
			json_put(&o, "cosigned", json_integer(witnesses[i].cosigned_s));
		json_add(&list, o);
	}
	json_put(body, "witnesses", list);
}

static kms_status put_closed_logs(struct request *r, json_t **body, struct kms_err *err)
{
	struct store_closed_log *logs = calloc(CLOSED_LOGS_MAX, sizeof(*logs));
	json_t *list = NULL;
	size_t count = 0;
	kms_status status = KMS_OK;

	if (logs == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "closed logs");
	status = store_closed_logs(r->op.store, logs, CLOSED_LOGS_MAX, &count, err);
	list = status == KMS_OK ? json_array() : NULL;
	for (size_t i = 0; i < count && status == KMS_OK; i++) {
		char root[B64_LEN(STORE_HASH_LEN) + 1];
		b64_encode(logs[i].known_root, STORE_HASH_LEN, root);
		json_add(&list, json_pack("{s:s,s:I,s:I,s:s,s:I}", "origin", logs[i].origin, "restored_size", (json_int_t)logs[i].restored_size,
		                          "known_size", (json_int_t)logs[i].known_size, "known_root", root, "closed", (json_int_t)logs[i].closed_s));
	}
	free(logs);
	if (status == KMS_OK)
		json_put(body, "closed", list);
	return status;
}

static kms_status put_keys(struct request *r, json_t **body, struct kms_err *err)
{
	json_put(body, "origin", json_string(r->op.kms->origin));
	KMS_TRY(put_log_keys(r, body, err));
	KMS_TRY(put_attestation_key(r, body, err));
	put_witnesses(r, body);
	return put_closed_logs(r, body, err);
}

kms_status api_audit_keys(struct request *r, struct kms_err *err)
{
	JSON_AUTO *body = json_object();

	op_det_text(&r->op, "what", "keys");
	KMS_TRY(put_keys(r, &body, err));
	return reply_json(r, 200, KMS_TAKE(body), err);
}

/* ---- leaves ---- */

/* Who may read the log at all is the route's to say; this is about whose leaves. */
static bool may_see(const struct request *r, const struct store_event *e)
{
	if (((r->op.installation_permissions | r->op.permissions) & PERM_BIT(PERM_AUDIT_READ_ALL)) != 0)
		return true;
	return r->op.has_vault && memcmp(e->vault_id, r->op.vault.id, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

/* A leaf that the caller may not see, or whose body was pruned, keeps its place as a hash, so that the tree can still be computed. */
static void write_entry(const struct request *r, const struct store_event *e, FILE *out)
{
	char hash[B64_LEN(STORE_HASH_LEN) + 1];

	if (e->leaf_len > 0 && may_see(r, e)) {
		(void)fwrite(e->leaf, 1, e->leaf_len, out);
	} else {
		b64_encode(e->hash, STORE_HASH_LEN, hash);
		(void)fprintf(out, "{\"hash\":\"%s\",\"seq\":%llu}", hash, (unsigned long long)e->seq);
	}
}

#define EVENT_AUTO __attribute__((cleanup(store_event_clear))) struct store_event

/* What is stored is what was hashed, or was pruned: nothing else is shown, and least of all as pruned. Whoever may not see it gets its hash, and is not told. */
static kms_status check_body(struct request *r, const struct store_event *e, struct prune_cover *cover, struct kms_err *err)
{
	kms_status status = prune_check_leaf(r->op.kms, r->op.store, e, cover, err);

	if (status != KMS_E_INTEGRITY)
		return status;
	if (!may_see(r, e))
		return KMS_OK;
	return kms_refuse(err, KMS_E_INTEGRITY, "What is stored of event %llu is not what was written there: its body was altered or removed. Its hash and all proofs remain, and the events "
	                  "before and behind it can be read. See `holdfast check`.", (unsigned long long)e->seq);
}

/* Who may see it is told that it is gone; whoever may not, not even that. */
static kms_status need_body(struct request *r, const struct store_event *e, struct kms_err *err)
{
	struct prune_cover cover = { 0 };

	KMS_TRY(check_body(r, e, &cover, err));
	if (e->leaf_len > 0 || !may_see(r, e))
		return KMS_OK;
	return kms_refuse(err, KMS_E_GONE, "The body of leaf %llu was pruned after its retention; it is in the archive of that time. Its hash and all proofs remain.",
	                  (unsigned long long)e->seq);
}

typedef void (*write_event_fn)(const struct request *r, const struct store_event *e, FILE *out);

/* One row at a time: the database may be truncated and written in between. */
static kms_status write_events(struct request *r, uint64_t start, uint64_t end, write_event_fn write, bool needs_bodies, FILE *out, struct kms_err *err)
{
	struct prune_cover cover = { 0 };

	for (uint64_t seq = start; seq < end; seq++) {
		EVENT_AUTO e = { 0 };
		KMS_TRY(store_event(r->op.store, seq, &e, err));
		KMS_TRY(needs_bodies ? need_body(r, &e, err) : check_body(r, &e, &cover, err));
		write(r, &e, out);
	}
	return KMS_OK;
}

static void write_line(const struct request *r, const struct store_event *e, FILE *out)
{
	write_entry(r, e, out);
	(void)fputc('\n', out);
}

/* Without `start`: the newest. */
kms_status api_audit_entries(struct request *r, struct kms_err *err)
{
	uint64_t size = 0, start = 0, count = ENTRIES_DEFAULT, end;
	enum feed_format format = FORMAT_NATIVE;
	TEXT_AUTO t = { 0 };

	op_det_text(&r->op, "what", "entries");
	KMS_TRY(entries_format(r, &format, err));
	KMS_TRY(read_optional(r, "count", LOG_ENTRIES_MAX, &count, err));
	KMS_TRY(store_event_count(r->op.store, &size, err));
	start = size > count ? size - count : 0;
	KMS_TRY(read_optional(r, "start", INT64_MAX, &start, err));
	op_det_number(&r->op, "start", (int64_t)start);
	op_det_number(&r->op, "count", (int64_t)count);
	KMS_TRY(text_open(&t, err));
	end = start < size && size - start > count ? start + count : size;
	if (format == FORMAT_NATIVE)
		KMS_TRY(write_events(r, start, end, write_line, false, t.out, err));
	else
		KMS_TRY(entries_write(r, format, start, end, may_see, t.out, err));
	return reply_text(r, &t, "application/x-ndjson", NULL, err);
}

static kms_status no_such_entry(struct kms_err *err)
{
	return kms_refuse(err, KMS_E_NOTFOUND, "No event of this log has this id; events that were written by an older holdfastd are found by seq only.");
}

/* The id holds the seq; whatever else it holds must be the leaf's. */
static kms_status event_of_id(struct request *r, const char *text, struct store_event *ret, struct kms_err *err)
{
	struct store_event e = { 0 };
	uint8_t id[GUID_LEN];
	uint64_t seq = 0;
	kms_status status = KMS_OK;

	if (!guid_parse(text, strlen(text), id) || !writer_event_seq(id, &seq))
		return no_such_entry(err);
	status = store_event(r->op.store, seq, &e, NULL);
	if (status == KMS_E_NOTFOUND)
		return no_such_entry(err);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "event");
	if (memcmp(e.id, id, GUID_LEN) != 0) { /* allowed: ids are public */
		store_event_clear(&e);
		return no_such_entry(err);
	}
	*ret = e;
	return KMS_OK;
}

/* The very bytes that were hashed. */
kms_status api_audit_entry(struct request *r, struct kms_err *err)
{
	EVENT_AUTO e = { 0 };
	TEXT_AUTO t = { 0 };

	op_det_text(&r->op, "what", "entry");
	KMS_TRY(event_of_id(r, r->item, &e, err));
	op_det_number(&r->op, "seq", (int64_t)e.seq);
	KMS_TRY(need_body(r, &e, err));
	KMS_TRY(text_open(&t, err));
	write_entry(r, &e, t.out);
	return reply_text(r, &t, "application/json", NULL, err);
}

/* ---- proofs ---- */

static kms_status get_node(void *store, unsigned level, uint64_t position, uint8_t ret_hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	return store_node(store, level, position, ret_hash, err);
}

/* What the tree should have and does not: the stored log is not the one that was signed. */
static kms_status tree_failure(kms_status status, const struct kms_err *failure, struct kms_err *err)
{
	if (status == KMS_E_NOTFOUND)
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "a node of the tree is missing");
	if (status != KMS_OK && err != NULL)
		*err = *failure;
	return status;
}

/* A log that was rolled back still proves what it holds; one whose stored parts contradict each other proves nothing. */
static kms_status need_sound_log(const struct request *r, struct kms_err *err)
{
	if (log_state(r->op.kms->log) != LOG_DAMAGED)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INTEGRITY,
	                  "What is stored of the event log does not have the root that was computed when it was written: it proves nothing.");
}

/* The path of a leaf to the root of a checkpoint. */
struct inclusion {
	uint64_t seq;
	uint8_t leaf[MERKLE_HASH_LEN];
	struct merkle_proof proof;
};

static kms_status prove_inclusion(struct request *r, uint64_t seq, const struct store_signed *c, struct inclusion *ret, struct kms_err *err)
{
	struct kms_err failure = { 0 };

	if (seq >= c->size)
		return kms_refuse(err, KMS_E_INVALID,
		                  "seq: leaf %llu is not covered by the checkpoint of %llu leaves. Ask again when a later one was signed, in about a second.",
		                  (unsigned long long)seq, (unsigned long long)c->size);
	KMS_TRY(need_sound_log(r, err));
	ret->seq = seq;
	KMS_TRY(tree_failure(get_node(r->op.store, 0, seq, ret->leaf, &failure), &failure, err));
	KMS_TRY(tree_failure(merkle_inclusion(seq, c->size, get_node, r->op.store, &ret->proof, &failure), &failure, err));
	if (!merkle_check_inclusion(seq, c->size, ret->leaf, &ret->proof, c->root))
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "leaf %llu does not lead to the root that was signed for %llu leaves",
		                (unsigned long long)seq, (unsigned long long)c->size);
	return KMS_OK;
}

static json_t *hash_text(const uint8_t hash[MERKLE_HASH_LEN])
{
	char text[B64_LEN(MERKLE_HASH_LEN) + 1];

	b64_encode(hash, MERKLE_HASH_LEN, text);
	return json_string(text);
}

static json_t *hash_list(const struct merkle_proof *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->count; i++)
		json_add(&list, hash_text(p->hash[i]));
	return list;
}

kms_status api_audit_inclusion(struct request *r, struct kms_err *err)
{
	STORE_SIGNED_AUTO c = { 0 };
	struct inclusion i = { 0 };
	uint64_t seq = 0;

	op_det_text(&r->op, "what", "inclusion");
	KMS_TRY(read_number(r, "seq", INT64_MAX, &seq, err));
	op_det_number(&r->op, "seq", (int64_t)seq);
	KMS_TRY(signed_size(r, "size", false, &c, err));
	op_det_number(&r->op, "size", (int64_t)c.size);
	KMS_TRY(prove_inclusion(r, seq, &c, &i, err));
	return reply_json(r, 200, json_pack("{s:I,s:I,s:o,s:o}", "seq", (json_int_t)seq, "size", (json_int_t)c.size, "leaf", hash_text(i.leaf), "hashes",
	                                    hash_list(&i.proof)), err);
}

static kms_status prove_consistency(struct request *r, const struct store_signed *from, const struct store_signed *to, struct merkle_proof *ret,
                                    struct kms_err *err)
{
	struct kms_err failure = { 0 };

	if (from->size == 0 || from->size > to->size)
		return kms_refuse(err, KMS_E_INVALID, "from: must be a signed size from 1 to %llu, that of `to`.", (unsigned long long)to->size);
	KMS_TRY(need_sound_log(r, err));
	KMS_TRY(tree_failure(merkle_consistency(from->size, to->size, get_node, r->op.store, ret, &failure), &failure, err));
	if (!merkle_check_consistency(from->size, to->size, from->root, to->root, ret))
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "the log of %llu leaves does not extend that of %llu", (unsigned long long)to->size,
		                (unsigned long long)from->size);
	return KMS_OK;
}

kms_status api_audit_consistency(struct request *r, struct kms_err *err)
{
	STORE_SIGNED_AUTO from = { 0 };
	STORE_SIGNED_AUTO to = { 0 };
	struct merkle_proof p = { 0 };

	op_det_text(&r->op, "what", "consistency");
	KMS_TRY(signed_size(r, "from", true, &from, err));
	op_det_number(&r->op, "from", (int64_t)from.size);
	KMS_TRY(signed_size(r, "to", false, &to, err));
	op_det_number(&r->op, "to", (int64_t)to.size);
	KMS_TRY(prove_consistency(r, &from, &to, &p, err));
	return reply_json(r, 200, json_pack("{s:I,s:I,s:o}", "from", (json_int_t)from.size, "to", (json_int_t)to.size, "hashes", hash_list(&p)), err);
}

/* By id, or by seq. A hash in the leaf's place would be no bundle: who may not see it is refused. */
static kms_status event_of_bundle(struct request *r, struct store_event *ret, struct kms_err *err)
{
	const char *id = query_get(r, "id");
	uint64_t seq = 0;
	kms_status status = KMS_OK;

	if ((id != NULL) == (query_get(r, "seq") != NULL))
		return kms_refuse(err, KMS_E_INVALID, "Which leaf? Give either id or seq.");
	if (id != NULL)
		return event_of_id(r, id, ret, err);
	KMS_TRY(read_number(r, "seq", INT64_MAX, &seq, err));
	status = store_event(r->op.store, seq, ret, NULL);
	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_INVALID, "seq: the log has no leaf %llu.", (unsigned long long)seq);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "event");
}

static kms_status write_bundle(const struct store_event *e, const struct inclusion *i, const struct store_signed *c, FILE *out, struct kms_err *err)
{
	char leaf[B64_LEN(EVENT_LEAF_MAX) + 1], hash[B64_LEN(MERKLE_HASH_LEN) + 1];
	uint8_t computed[MERKLE_HASH_LEN];

	/* The body is what the reader will hash. */
	merkle_leaf_hash(e->leaf, e->leaf_len, computed);
	if (e->leaf_len > EVENT_LEAF_MAX || memcmp(computed, i->leaf, MERKLE_HASH_LEN) != 0) /* allowed: hashes are public */
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "leaf %llu is not what was hashed", (unsigned long long)e->seq);
	b64_encode(e->leaf, e->leaf_len, leaf);
	(void)fprintf(out, "c2sp.org/tlog-proof@v1\nextra %s\nindex %llu\n", leaf, (unsigned long long)e->seq);
	for (size_t n = 0; n < i->proof.count; n++) {
		b64_encode(i->proof.hash[n], MERKLE_HASH_LEN, hash);
		(void)fprintf(out, "%s\n", hash);
	}
	(void)fprintf(out, "\n%s", c->note);
	return KMS_OK;
}

kms_status api_audit_bundle(struct request *r, struct kms_err *err)
{
	STORE_SIGNED_AUTO c = { 0 };
	EVENT_AUTO e = { 0 };
	TEXT_AUTO t = { 0 };
	struct inclusion i = { 0 };

	op_det_text(&r->op, "what", "bundle");
	KMS_TRY(event_of_bundle(r, &e, err));
	op_det_number(&r->op, "seq", (int64_t)e.seq);
	if (!may_see(r, &e))
		KMS_TRY(op_authorise(&r->op, PERM_AUDIT_READ_ALL, NULL, err));
	KMS_TRY(need_body(r, &e, err));
	KMS_TRY(newest_checkpoint(r, &c, err));
	op_det_number(&r->op, "size", (int64_t)c.size);
	KMS_TRY(prove_inclusion(r, e.seq, &c, &i, err));
	KMS_TRY(text_open(&t, err));
	KMS_TRY(write_bundle(&e, &i, &c, t.out, err));
	return reply_text(r, &t, NOTE_TYPE, NULL, err);
}

/* ---- tiles (C2SP tlog-tiles) ---- */

/* Which nodes of one level a tile has, all of them below the newest checkpoint: what nobody signed is not shown as if it were. */
struct tile_range {
	uint64_t first, end;
	bool is_full;
};

static kms_status find_tile(struct request *r, unsigned level, struct tile_range *ret, struct kms_err *err)
{
	STORE_SIGNED_AUTO c = { 0 };
	struct tile tile = { 0 };
	uint64_t have = 0;

	if (!tile_parse(r->item, &tile))
		return kms_refuse(err, KMS_E_INVALID, "The number of a tile is written in groups of three digits, all but the last with an x before them, "
		                  "and .p/1 to .p/255 behind those of a partial one: 067, x001/x234/067, 067.p/5.");
	op_det_number(&r->op, "level", (int64_t)level);
	op_det_number(&r->op, "index", (int64_t)tile.index);
	op_det_number(&r->op, "width", (int64_t)tile.width);
	KMS_TRY(newest_checkpoint(r, &c, err));
	KMS_TRY(need_sound_log(r, err));
	have = level * TILE_BITS < MERKLE_LEVELS ? c.size >> level * TILE_BITS : 0;
	ret->first = tile.index * TILE_HASHES;
	ret->end = ret->first + tile.width;
	ret->is_full = tile.width == TILE_HASHES;
	if (ret->end > have)
		return kms_refuse(err, KMS_E_NOTFOUND, "The newest checkpoint, of %llu leaves, has no such tile.", (unsigned long long)c.size);
	return KMS_OK;
}

static const char *cache_of(const struct tile_range *range) { return range->is_full ? CACHE_FOREVER : NULL; }

kms_status api_audit_tile(struct request *r, struct kms_err *err)
{
	TEXT_AUTO t = { 0 };
	struct tile_range range = { 0 };
	struct kms_err failure = { 0 };
	unsigned level = 0;

	op_det_text(&r->op, "what", "tile");
	if (!tile_parse_level(r->part, &level))
		return kms_refuse(err, KMS_E_INVALID, "The level of a tile is a number from 0 to %d.", TILE_LEVEL_MAX);
	KMS_TRY(find_tile(r, level, &range, err));
	KMS_TRY(text_open(&t, err));
	for (uint64_t position = range.first; position < range.end; position++) {
		uint8_t hash[MERKLE_HASH_LEN];
		KMS_TRY(tree_failure(get_node(r->op.store, level * TILE_BITS, position, hash, &failure), &failure, err));
		(void)fwrite(hash, 1, sizeof(hash), t.out);
	}
	return reply_text(r, &t, "application/octet-stream", cache_of(&range), err);
}

static void write_with_length(const struct request *r, const struct store_event *e, FILE *out)
{
	const uint8_t length[TILE_LENGTH_PREFIX] = { (uint8_t)(e->leaf_len >> 8), (uint8_t)e->leaf_len };

	(void)r;
	(void)fwrite(length, 1, sizeof(length), out);
	(void)fwrite(e->leaf, 1, e->leaf_len, out);
}

/* Whole leaves of everybody: the route asks for the permission to see them all. */
kms_status api_audit_entry_tile(struct request *r, struct kms_err *err)
{
	TEXT_AUTO t = { 0 };
	struct tile_range range = { 0 };
	struct kms_err failure = { 0 };

	op_det_text(&r->op, "what", "entry-tile");
	KMS_TRY(find_tile(r, 0, &range, err));
	KMS_TRY(text_open(&t, err));
	KMS_TRY(tree_failure(write_events(r, range.first, range.end, write_with_length, true, t.out, &failure), &failure, err));
	return reply_text(r, &t, "application/octet-stream", cache_of(&range), err);
}
