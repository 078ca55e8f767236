/* server/verify/verify.c - what is given, the stream of lines, and the roots on the way. What follows from them all is in judge.c. */
#include "server/verify/verify.h"

#include <stdlib.h>

#include "server/verify/judge.h"

static const char NO_MEMORY[] = "out of memory";

struct verify *verify_open(const struct verify_options *options)
{
	struct verify *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return NULL;
	v->options = *options;
	if (!hasher_open(&v->hasher) || !meaning_open(&v->meaning, &v->report, options->approvers)) {
		verify_close(v);
		return NULL;
	}
	v->meaning.pruned.is_complete = options->is_complete;
	return v;
}

void verify_close(struct verify *v)
{
	if (v == NULL)
		return;
	for (size_t i = 0; i < v->certificate_count; i++)
		certificate_clear(&v->certificates[i]);
	for (size_t i = 0; i < v->note_count; i++)
		free(v->notes[i].event);
	free(v->certificates);
	free(v->notes);
	free(v->proofs);
	free(v->targets);
	meaning_close(&v->meaning);
	keys_clear(&v->keys);
	keys_clear(&v->candidates);
	hasher_close(&v->hasher);
	free(v);
}

/* ---- what is given ---- */

const char *verify_add_key(struct verify *v, struct span vkey)
{
	size_t ignored = 0;
	return keys_add(&v->keys, &v->hasher, vkey, &ignored);
}

const char *verify_add_policy(struct verify *v, struct span text, unsigned *ret_line)
{
	v->has_policy = true;
	return policy_parse(text, &v->keys, &v->hasher, &v->policy, ret_line);
}

/* One more element at the end of an array. */
static void *append(void *array, size_t *count, size_t *cap, size_t size, void **ret_array)
{
	if (*count == *cap) {
		size_t larger = *cap == 0 ? 8 : 2 * *cap;
		void *grown = larger <= SIGNED_MAX ? reallocarray(array, larger, size) : NULL;
		if (grown == NULL)
			return NULL;
		array = grown;
		*cap = larger;
	}
	*ret_array = array;
	return (char *)array + size * (*count)++;
}

static struct signed_note *add_note(struct verify *v)
{
	void *array = v->notes;
	struct signed_note *n = append(array, &v->note_count, &v->note_cap, sizeof(*n), &array);

	v->notes = array;
	if (n != NULL)
		memset(n, 0, sizeof(*n));
	return n;
}

/* What has no form has been reported, and is not kept. */
static const char *add_signed(struct verify *v, enum signed_kind kind, const char *file, struct span text)
{
	struct signed_note *n = add_note(v);
	const char *why = NULL;

	if (n == NULL)
		return "too many signed files, or out of memory";
	n->kind = kind;
	n->file = file;
	why = note_parse(text, &n->note);
	if (why == NULL)
		why = checkpoint_parse(n->note.text, &n->checkpoint);
	if (why != NULL) {
		report_add(&v->report, F_NOTE_FORM, file, 0, "the signed checkpoint is malformed: %s", why);
		v->note_count--;
	}
	return NULL;
}

const char *verify_add_checkpoint(struct verify *v, enum signed_kind kind, const char *file, struct span text) { return add_signed(v, kind, file, text); }

/* The leaf of a bundle is read like one of the log. text: what it is read from, which *ret points into. */
static bool check_bundle_leaf(struct verify *v, const struct bundle *b, const char *file, const char *text, struct leaf *ret)
{
	enum finding finding = F_CANONICAL;
	const char *why = NULL;

	if (!leaf_parse((struct span){ text, b->leaf_len }, &v->hasher, ret, &finding, &why) || ret->is_hidden)
		report_add(&v->report, finding, file, 0, "the bundle's leaf: %s", why != NULL ? why : "it is only a hash");
	else if (ret->seq != b->index)
		report_add(&v->report, F_GAP, file, 0, "the bundle's leaf has seq %llu, and stands at index %llu", (unsigned long long)ret->seq,
		           (unsigned long long)b->index);
	else
		return true;
	return false;
}

const char *verify_add_bundle(struct verify *v, const char *file, struct span text)
{
	struct bundle b;
	const char *why = bundle_parse(text, &b);
	size_t before = v->note_count;

	if (why != NULL) {
		report_add(&v->report, F_NOTE_FORM, file, 0, "the bundle is malformed: %s", why);
		return NULL;
	}
	why = add_signed(v, SIGNED_BUNDLE, file, b.note);
	if (why != NULL || v->note_count == before)
		return why;
	struct signed_note *n = &v->notes[before];
	char *leaf = malloc(b.leaf_len);
	if (leaf == NULL)
		return NO_MEMORY;
	memcpy(leaf, b.leaf, b.leaf_len);
	bool is_good = check_bundle_leaf(v, &b, file, leaf, &n->leaf);
	if (!bundle_proves(&b, &v->hasher, &n->checkpoint)) {
		is_good = false;
		report_add(&v->report, F_INCLUSION, file, 0, "the proof does not lead from the leaf to the checkpoint's root");
	}
	if (is_good)
		n->event = leaf;
	else
		free(leaf);
	return NULL;
}

const struct leaf *verify_event(const struct signed_note *n)
{
	return n->event != NULL && n->is_signed && n->has_quorum && n->root != ROOT_DIFFERS && !n->is_in_fork ? &n->leaf : NULL;
}

const char *verify_add_certificate(struct verify *v, const char *file, struct span text)
{
	void *array = v->certificates;
	struct certificate *c = append(array, &v->certificate_count, &v->certificate_cap, sizeof(*c), &array);

	v->certificates = array;
	if (c == NULL)
		return "too many certificates, or out of memory";
	return certificate_read(c, file, text, &v->keys, &v->report) ? NULL : NO_MEMORY;
}

const char *verify_add_proof(struct verify *v, const char *file, struct span text)
{
	void *array = v->proofs;
	struct given_consistency *p = append(array, &v->proof_count, &v->proof_cap, sizeof(*p), &array);
	const char *why = NULL;

	v->proofs = array;
	if (p == NULL)
		return "too many proofs, or out of memory";
	p->file = file;
	why = consistency_parse(text, &p->c);
	if (why != NULL) {
		report_add(&v->report, F_INCONSISTENT, file, 0, "the consistency proof is malformed: %s", why);
		v->proof_count--;
	}
	return NULL;
}

/* ---- roots ---- */

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* Every size that something signed speaks of. */
static bool collect_targets(struct verify *v)
{
	v->targets = calloc(v->note_count + v->certificate_count + 1, sizeof(v->targets[0]));
	if (v->targets == NULL)
		return false;
	for (size_t i = 0; i < v->note_count; i++)
		v->targets[v->target_count++] = v->notes[i].checkpoint.size;
	for (size_t i = 0; i < v->certificate_count; i++)
		if (v->certificates[i].is_readable)
			v->targets[v->target_count++] = v->certificates[i].size;
	qsort(v->targets, v->target_count, sizeof(v->targets[0]), by_size);
	return true;
}

static void compare_roots(struct verify *v, const char *file, uint64_t line)
{
	uint8_t root[HASH_LEN];

	while (v->target_next < v->target_count && v->targets[v->target_next] == v->tree.size)
		v->target_next++;
	tree_root(&v->tree, &v->hasher, root);
	for (size_t i = 0; i < v->note_count; i++) {
		if (v->notes[i].checkpoint.size == v->tree.size)
			v->notes[i].root = memcmp(v->notes[i].checkpoint.root, root, HASH_LEN) == 0 ? ROOT_FITS : ROOT_DIFFERS;
	}
	for (size_t i = 0; i < v->certificate_count; i++) {
		struct certificate *c = &v->certificates[i];
		if (!c->is_readable || c->size != v->tree.size)
			continue;
		c->has_root = memcmp(c->root, root, HASH_LEN) == 0;
		if (!c->has_root)
			report_add(&v->report, F_ROOT, file, line, "the certificate %s names another root for size %llu than the leaves give", c->file,
			           (unsigned long long)c->size);
	}
}

static bool is_target(const struct verify *v) { return v->target_next < v->target_count && v->targets[v->target_next] == v->tree.size; }

const char *verify_begin(struct verify *v)
{
	for (size_t i = 0; i < v->note_count; i++) {
		judge_signatures(v, &v->notes[i]);
		if (v->notes[i].is_signed && v->notes[i].checkpoint.size > v->covered)
			v->covered = v->notes[i].checkpoint.size;
	}
	if (!collect_targets(v))
		return NO_MEMORY;
	if (is_target(v))
		compare_roots(v, "log", 0); /* of the empty tree */
	return NULL;
}

/* ---- lines ---- */

static void note_other_type(struct verify *v, const struct leaf *l, const char *file)
{
	for (size_t i = 0; i < v->other_count; i++) {
		if (span_is(l->type_name, v->other_types[i]))
			return;
	}
	if (v->other_count == OTHER_TYPES_MAX)
		return;
	memcpy(v->other_types[v->other_count], l->type_name.p, l->type_name.n);
	v->other_types[v->other_count++][l->type_name.n] = '\0';
	report_add(&v->report, W_TYPE, file, v->line, "seq %llu: the event type %.*s is unknown to this program; nothing is concluded from it",
	           (unsigned long long)l->seq, (int)l->type_name.n, l->type_name.p);
}

/* The place of the line; where it is not the next one, the leaves between are not there to be seen, or were seen before. */
static void follow_order(struct verify *v, uint64_t seq, const char *file)
{
	uint64_t expected = v->has_leaves ? v->next_seq : 0;

	if (!v->has_leaves && v->options.is_partial) {
		v->meaning.pruned.begins_late = seq > 0;
		if (seq > 0)
			meaning_hide(&v->meaning, 0, seq - 1);
	} else if (seq > expected) {
		report_add(&v->report, F_GAP, file, v->line, "seq %llu stands where seq %llu belongs: %llu %s missing", (unsigned long long)seq,
		           (unsigned long long)expected, (unsigned long long)(seq - expected), seq - expected == 1 ? "leaf is" : "leaves are");
		meaning_hide(&v->meaning, expected, seq - 1);
		v->is_disordered = true;
	} else if (seq < expected) {
		report_add(&v->report, F_DUPLICATE, file, v->line, "seq %llu again: seq %llu belongs here", (unsigned long long)seq, (unsigned long long)expected);
		v->is_disordered = true;
	}
	if (!v->has_leaves)
		v->first_seq = seq;
	v->has_leaves = true;
	if (seq >= expected || v->leaves == 0)
		v->next_seq = seq + 1;
}

static void note_origin(struct verify *v, const struct leaf *l)
{
	struct span origin = { 0 };

	if (l->seq == 0 && l->type == T_LOG_INIT && reader_member_string(l->det, "origin", &origin) && origin.n <= KEY_NAME_MAX) {
		memcpy(v->origin, origin.p, origin.n);
		v->origin[origin.n] = '\0';
	}
}

static void count_leaf(struct verify *v, const struct leaf *l)
{
	v->counts[l->type]++;
	if (v->first_ts[0] == '\0') {
		memcpy(v->first_ts, l->ts.p, l->ts.n);
		v->first_ts_us = l->ts_us;
	}
	memcpy(v->last_ts, l->ts.p, l->ts.n);
	v->last_ts_us = l->ts_us;
	if (l->seq < v->covered) {
		v->covered_ts_us = l->ts_us;
		v->has_covered_ts = true;
	}
}

static const char *take_leaf(struct verify *v, const struct leaf *l, const char *file)
{
	bool is_again = v->has_leaves && l->seq < v->next_seq;

	follow_order(v, l->seq, file);
	v->leaves++;
	for (size_t i = 0; i < v->certificate_count; i++)
		certificate_leaf(&v->certificates[i], l, &v->report, file, v->line);
	if (l->is_hidden) {
		v->hidden++;
		meaning_hide(&v->meaning, l->seq, l->seq);
	} else {
		note_origin(v, l);
		count_leaf(v, l);
		if (l->type == T_OTHER)
			note_other_type(v, l, file);
		if (l->type == T_LOG_KEY_ROTATED)
			judge_rotation(v, l, file);
		if (!is_again)
			meaning_leaf(&v->meaning, l, file, v->line);
	}
	if (v->options.is_partial || v->is_disordered)
		return v->meaning.is_out_of_memory ? NO_MEMORY : NULL;
	tree_append(&v->tree, &v->hasher, l->hash);
	if (is_target(v))
		compare_roots(v, file, v->line);
	return v->meaning.is_out_of_memory ? NO_MEMORY : NULL;
}

static const char *take_line(struct verify *v, const char *file, struct span line)
{
	struct leaf leaf;
	enum finding finding = F_LINE;
	const char *why = NULL;

	v->line++;
	if (leaf_parse(line, &v->hasher, &leaf, &finding, &why)) {
		if (!v->is_again)
			return take_leaf(v, &leaf, file);
		pruned_again(&v->meaning.pruned, &v->hasher, &leaf, &v->report);
		return NULL;
	}
	if (v->is_again)
		return "has changed while it was read";
	report_add(&v->report, finding, file, v->line, "%s", why);
	/* What stood there is not known; the next line is taken to be in its place. */
	if (!v->has_leaves)
		v->first_seq = 0;
	meaning_hide(&v->meaning, v->next_seq, v->next_seq);
	v->has_leaves = v->is_disordered = true;
	v->leaves++;
	v->next_seq++;
	return NULL;
}

static const char *take_end_of_line(struct verify *v, const char *file, struct span rest)
{
	const char *why = NULL;

	if (v->is_skipping || v->carry_len + rest.n > LEAF_MAX) {
		v->is_skipping = false;
		v->carry_len = 0;
		return take_line(v, file, (struct span){ v->carry, LEAF_MAX + 1 });
	}
	if (v->carry_len == 0)
		return take_line(v, file, rest);
	memcpy(v->carry + v->carry_len, rest.p, rest.n);
	why = take_line(v, file, (struct span){ v->carry, v->carry_len + rest.n });
	v->carry_len = 0;
	return why;
}

/* The beginning of a line whose end is not there yet. Of one that is too long nothing need be kept. */
static void keep(struct verify *v, struct span part)
{
	if (v->is_skipping || part.n == 0)
		return;
	if (v->carry_len + part.n > LEAF_MAX) {
		v->is_skipping = true;
		return;
	}
	memcpy(v->carry + v->carry_len, part.p, part.n);
	v->carry_len += part.n;
}

const char *verify_feed(struct verify *v, const char *file, const char *bytes, size_t len)
{
	struct span all = { bytes, len }, line, rest;

	while (all.n > 0) {
		if (!span_line(all, &line, &rest)) {
			keep(v, line);
			return NULL;
		}
		const char *why = take_end_of_line(v, file, line);
		if (why != NULL)
			return why;
		all = rest;
	}
	return NULL;
}

const char *verify_end_file(struct verify *v, const char *file)
{
	const char *why = NULL;

	if (v->is_again && !verify_wants_again(v)) { /* the rest was not looked at */
		v->carry_len = 0;
		v->is_skipping = false;
	}
	if (v->carry_len > 0 || v->is_skipping) {
		why = take_end_of_line(v, file, (struct span){ v->carry, 0 });
		if (!v->is_again)
			report_add(&v->report, F_LINE, file, v->line, "the last line has no line feed: the file was cut");
	}
	v->line = 0;
	v->has_log = true;
	return why;
}

bool verify_wants_again(struct verify *v)
{
	if (!v->is_again)
		meaning_end(&v->meaning);
	v->is_again = true;
	return !v->options.is_partial && !v->is_disordered && pruned_wants_again(&v->meaning.pruned);
}
