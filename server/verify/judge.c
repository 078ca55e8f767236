/* server/verify/judge.c - the verdict. */
#include "server/verify/judge.h"

static struct span origin_of(const struct signed_note *n) { return n->checkpoint.origin; }
static struct span name_of(const struct key *k) { return (struct span){ k->name, k->name_len }; }
#define SPAN_ARG(s) (int)((s).n < 200 ? (s).n : 200), ((s).p != NULL ? (s).p : "")
#define NONE SIZE_MAX

/* ---- signatures ---- */

/* The line of a log key whose name is the origin. */
static size_t find_log_key(const struct signed_note *n, const struct keys *keys, const struct line_verdict *verdicts)
{
	for (size_t i = 0; i < n->note.count; i++) {
		const struct key *k = &keys->list[verdicts[i].key];
		if (verdicts[i].state == LINE_GOOD && k->role == ROLE_LOG && span_same(name_of(k), origin_of(n)))
			return verdicts[i].key;
	}
	return NONE;
}

static void judge_quorum(const struct verify *v, struct signed_note *n)
{
	bool has_cosigned[KEYS_MAX] = { false };

	n->newest_s = 0;
	for (size_t i = 0; i < n->note.count; i++) {
		const struct line_verdict *line = &n->verdicts[i];
		if (line->state != LINE_GOOD || v->keys.list[line->key].role != ROLE_WITNESS)
			continue;
		has_cosigned[line->key] = true;
		if (line->time_s > n->newest_s)
			n->newest_s = line->time_s;
	}
	n->has_quorum = !v->has_policy || policy_is_met(&v->policy, has_cosigned);
}

void judge_signatures(struct verify *v, struct signed_note *n)
{
	bool was_broken = n->is_broken;

	note_verify(&n->note, &v->keys, n->verdicts);
	for (size_t i = 0; i < n->note.count && !was_broken; i++) {
		if (n->verdicts[i].state != LINE_BAD)
			continue;
		n->is_broken = true;
		report_add(&v->report, F_SIGNATURE, n->file, 0, "the signature of %s does not fit", v->keys.list[n->verdicts[i].key].name);
	}
	n->log_key = find_log_key(n, &v->keys, n->verdicts);
	n->is_signed = !n->is_broken && n->log_key != NONE;
	judge_quorum(v, n);
}

/* ---- changes of the log's key (audit-log.md 5.6) ---- */

void judge_rotation(struct verify *v, const struct leaf *l, const char *file)
{
	struct rotation r = { .seq = l->seq };
	struct span old_text, new_text;
	const char *why = NULL;

	if (l->result != RESULT_OK || l->phase == PHASE_INTENT)
		return;
	if (!reader_member_string(l->det, "old_key", &old_text) || !reader_member_string(l->det, "new_key", &new_text))
		why = "old_key or new_key is missing";
	if (why == NULL)
		why = keys_add(&v->candidates, &v->hasher, old_text, &r.old_key);
	if (why == NULL)
		why = keys_add(&v->candidates, &v->hasher, new_text, &r.new_key);
	if (why == NULL && v->rotation_count == ROTATIONS_MAX)
		why = "the log changed its key more often than this program follows";
	if (why == NULL)
		v->rotations[v->rotation_count++] = r;
	else
		report_add(&v->report, F_OLD_KEY, file, v->line, "seq %llu: log.key_rotated cannot be followed: %s", (unsigned long long)l->seq, why);
}

static bool is_trusted(const struct verify *v, const struct key *wanted)
{
	for (size_t i = 0; i < v->keys.count; i++) {
		const struct key *k = &v->keys.list[i];
		if (span_same(name_of(k), name_of(wanted)) && memcmp(k->digest, wanted->digest, HASH_LEN) == 0)
			return true;
	}
	return false;
}

/* Trust a key that was named by the log. */
static bool adopt(struct verify *v, struct key *k)
{
	if (is_trusted(v, k))
		return true;
	if (v->keys.count == KEYS_MAX)
		return false;
	v->keys.list[v->keys.count] = *k;
	if (k->pkey != NULL && EVP_PKEY_up_ref(k->pkey) != 1)
		return false;
	v->keys.count++;
	return true;
}

static bool signed_by(const struct signed_note *n, const struct keys *candidates, const struct line_verdict *verdicts, size_t key)
{
	for (size_t i = 0; i < n->note.count; i++) {
		if (verdicts[i].state == LINE_GOOD && memcmp(candidates->list[verdicts[i].key].digest, candidates->list[key].digest, HASH_LEN) == 0)
			return true;
	}
	return false;
}

static void follow_rotation(struct verify *v, const struct rotation *r)
{
	struct key *new_key = &v->candidates.list[r->new_key];
	bool was_trusted = is_trusted(v, new_key), is_bridged = false;
	uint64_t from = UINT64_MAX;

	if (!is_trusted(v, &v->candidates.list[r->old_key]) || new_key->role != ROLE_LOG)
		return;
	for (size_t i = 0; i < v->note_count; i++) {
		struct signed_note *n = &v->notes[i];
		struct line_verdict verdicts[NOTE_LINES_MAX];
		if (!n->is_signed || n->root != ROOT_FITS || n->checkpoint.size <= r->seq || !span_same(origin_of(n), name_of(new_key)))
			continue;
		note_verify(&n->note, &v->candidates, verdicts);
		if (!signed_by(n, &v->candidates, verdicts, r->old_key))
			continue;
		if (!signed_by(n, &v->candidates, verdicts, r->new_key)) {
			report_add(&v->report, F_OLD_KEY, n->file, 0, "size %llu is signed by the old key alone, which was changed at seq %llu",
			           (unsigned long long)n->checkpoint.size, (unsigned long long)r->seq);
			continue;
		}
		is_bridged = true;
		if (n->checkpoint.size < from)
			from = n->checkpoint.size;
	}
	if (was_trusted || !is_bridged || !adopt(v, new_key))
		return;
	for (size_t i = 0; i < v->note_count; i++)
		if (!v->notes[i].is_signed && v->notes[i].checkpoint.size >= from)
			judge_signatures(v, &v->notes[i]);
}

/* ---- roots, forks, consistency ---- */

static bool is_same_place(const struct signed_note *a, const struct signed_note *b)
{
	return a->checkpoint.size == b->checkpoint.size && span_same(origin_of(a), origin_of(b));
}

static void judge_forks(struct verify *v)
{
	for (size_t i = 0; i < v->note_count; i++) {
		for (size_t k = 0; k < i; k++) {
			struct signed_note *a = &v->notes[k], *b = &v->notes[i];
			if (!a->is_signed || !b->is_signed || !is_same_place(a, b) || memcmp(a->checkpoint.root, b->checkpoint.root, HASH_LEN) == 0)
				continue;
			a->is_in_fork = b->is_in_fork = true;
			report_add(&v->report, F_FORK, b->file, 0, "it and %s are both signed for size %llu, with different roots: the log was forked", a->file,
			           (unsigned long long)b->checkpoint.size);
		}
	}
}

/* One side of a fork is what the leaves say. */
static bool has_fitting_side(const struct verify *v, const struct signed_note *n)
{
	for (size_t i = 0; i < v->note_count; i++) {
		if (v->notes[i].is_signed && v->notes[i].root == ROOT_FITS && is_same_place(&v->notes[i], n))
			return true;
	}
	return false;
}

static void judge_against_leaves(struct verify *v, const struct signed_note *n)
{
	if (v->origin[0] != '\0' && !span_is(origin_of(n), v->origin))
		report_add(&v->report, F_ORIGIN, n->file, 0, "it is of the log %.*s, the leaves are of %s", SPAN_ARG(origin_of(n)), v->origin);
	if (v->options.is_partial)
		return;
	if (n->checkpoint.size > v->next_seq)
		report_add(&v->report, F_SHORT, n->file, 0, "it is signed for size %llu, and the log that was given ends at %llu", (unsigned long long)n->checkpoint.size,
		           (unsigned long long)v->next_seq);
	else if (n->root == ROOT_DIFFERS && !(n->is_in_fork && has_fitting_side(v, n)))
		report_add(&v->report, n->kind == SIGNED_TRUSTED ? F_INCONSISTENT : F_ROOT, n->file, 0, "the leaves give another root for size %llu",
		           (unsigned long long)n->checkpoint.size);
}

static const struct signed_note *find_size(const struct verify *v, uint64_t size)
{
	for (size_t i = 0; i < v->note_count; i++) {
		if (v->notes[i].is_signed && v->notes[i].checkpoint.size == size)
			return &v->notes[i];
	}
	return NULL;
}

static void judge_proof(struct verify *v, const struct given_consistency *p)
{
	const struct signed_note *from = find_size(v, p->c.from), *to = find_size(v, p->c.to);

	if (from == NULL || to == NULL)
		report_add(&v->report, F_INCONSISTENT, p->file, 0, "no signed checkpoint of size %llu was given, of which it is a proof",
		           (unsigned long long)(from == NULL ? p->c.from : p->c.to));
	else if (!span_same(origin_of(from), origin_of(to)))
		report_add(&v->report, F_ORIGIN, p->file, 0, "its two checkpoints are of different logs");
	else if (!tree_extends(&v->hasher, p->c.from, p->c.to, from->checkpoint.root, to->checkpoint.root, (const uint8_t(*)[HASH_LEN])p->c.proof, p->c.count))
		report_add(&v->report, F_INCONSISTENT, p->file, 0, "it does not show that size %llu extends size %llu", (unsigned long long)p->c.to,
		           (unsigned long long)p->c.from);
}

static bool is_proven(const struct verify *v, uint64_t a, uint64_t b)
{
	for (size_t i = 0; i < v->proof_count; i++) {
		const struct consistency *c = &v->proofs[i].c;
		if ((c->from == a && c->to == b) || (c->from == b && c->to == a))
			return true;
	}
	return a == b;
}

/* Without leaves a trusted checkpoint is bound to the others by proofs. */
static void judge_trusted(struct verify *v, const struct signed_note *trusted)
{
	for (size_t i = 0; i < v->note_count; i++) {
		const struct signed_note *n = &v->notes[i];
		if (n->kind != SIGNED_CHECKPOINT || !n->is_signed)
			continue;
		if (!span_same(origin_of(n), origin_of(trusted)))
			report_add(&v->report, F_ORIGIN, n->file, 0, "it is of the log %.*s, the trusted checkpoint of %.*s", SPAN_ARG(origin_of(n)),
			           SPAN_ARG(origin_of(trusted)));
		else if (!is_proven(v, n->checkpoint.size, trusted->checkpoint.size))
			report_add(&v->report, F_INCONSISTENT, n->file, 0, "nothing shows that size %llu and the trusted size %llu are of one log: give the leaves, or --proof",
			           (unsigned long long)n->checkpoint.size, (unsigned long long)trusted->checkpoint.size);
	}
}

static void judge_log(struct verify *v)
{
	bool is_covered = false, was_refused = false; /* was_refused: a checkpoint was given, and what is wrong with it was reported */

	for (size_t i = 0; i < v->note_count; i++) {
		if (!v->notes[i].is_signed) {
			was_refused |= v->notes[i].kind != SIGNED_BUNDLE;
			continue;
		}
		is_covered |= v->notes[i].checkpoint.size > 0; /* that of the empty tree says nothing of any leaf */
		judge_against_leaves(v, &v->notes[i]);
	}
	if (!is_covered && !was_refused && !v->options.is_partial)
		report_add(&v->report, F_UNCOVERED, "log", 0, "no signed checkpoint was given: nothing vouches for these leaves (--checkpoint, or --partial to look at "
		           "their form alone)");
	/* Else a checkpoint of yesterday, or of the first leaf, would vouch for whatever is put behind it. */
	if (is_covered && !v->options.is_partial && v->next_seq > v->covered)
		report_add(&v->report, F_UNCOVERED, "log", 0, "from seq %llu on, the leaves (%llu) are under no signed checkpoint that was given: nothing vouches for them",
		           (unsigned long long)v->covered, (unsigned long long)(v->next_seq - v->covered));
	for (size_t i = 0; i < v->certificate_count; i++) {
		const struct certificate *c = &v->certificates[i];
		if (!c->is_readable)
			continue;
		if (v->origin[0] != '\0' && !span_is(c->origin, v->origin))
			report_add(&v->report, F_ORIGIN, c->file, 0, "it is of the log %.*s, the leaves are of %s", SPAN_ARG(c->origin), v->origin);
		if (!v->options.is_partial && c->size > v->next_seq)
			report_add(&v->report, F_SHORT, c->file, 0, "it names size %llu, and the log that was given ends at %llu", (unsigned long long)c->size,
			           (unsigned long long)v->next_seq);
	}
}

/* ---- leaves that are known by their hash only ---- */

/* What a certificate names is never dropped. */
static void judge_certified(struct verify *v)
{
	for (size_t i = 0; i < v->certificate_count; i++) {
		const struct certificate *c = &v->certificates[i];
		if (c->is_intent_hidden || c->is_outcome_hidden)
			report_add(&v->report, F_HIDDEN, c->file, 0, "the leaf at seq %llu that it names is known by its hash only, and such leaves are never dropped",
			           (unsigned long long)(c->is_intent_hidden ? c->intent : c->outcome));
	}
}

/* Where their place is not known, that has been reported, or --partial was asked for. */
static void judge_hidden(struct verify *v)
{
	const struct pruned *p = &v->meaning.pruned;
	bool is_compared = !verify_wants_again(v);
	enum finding f = v->options.is_complete ? F_HIDDEN : W_HIDDEN;

	pruned_judge_doubts(p, &v->report);
	if (v->options.is_complete)
		judge_certified(v);
	if (v->options.is_partial || v->is_disordered)
		return;
	if (!is_compared)
		report_add(&v->report, f, "log", 0, "what log.pruned says was not compared with the leaves (%llu of them known by their hash only): that needs files that "
		           "can be read twice", (unsigned long long)v->hidden);
	else if (v->hidden > p->hidden_below)
		report_add(&v->report, f, "log", 0, "%llu leaves are known by their hash only, and no log.pruned says that their bodies were dropped: %s",
		           (unsigned long long)(v->hidden - p->hidden_below), v->options.is_complete ?
		           "somebody removed them, or whoever exported the log may not see all of it" :
		           "they are those of others, or somebody removed them (--complete tells, of an export by who may see all)");
}

/* ---- age ---- */

static void judge_age(struct verify *v)
{
	uint64_t newest_s = 0;
	int64_t oldest_s = v->options.now_s - v->options.max_age_s;

	for (size_t i = 0; i < v->note_count; i++) {
		if (v->notes[i].is_signed && v->notes[i].newest_s > newest_s)
			newest_s = v->notes[i].newest_s;
	}
	if (newest_s == 0 && !v->has_covered_ts)
		report_add(&v->report, F_AGE, "checkpoint", 0, "its age cannot be told: it has no cosignature of a known witness, and no leaves were given");
	if (newest_s != 0 && (int64_t)newest_s < oldest_s)
		report_add(&v->report, F_AGE, "checkpoint", 0, "the newest cosignature is %lld s old", (long long)(v->options.now_s - (int64_t)newest_s));
	if (v->has_covered_ts && v->covered_ts_us / 1000000 < oldest_s)
		report_add(&v->report, F_AGE, "checkpoint", 0, "the newest leaf under a signed checkpoint is %lld s old",
		           (long long)(v->options.now_s - v->covered_ts_us / 1000000));
}

/* The change of key that stands between a trusted key and the one that signed this; NULL = the log tells of none. */
static const struct rotation *find_unfollowed(const struct verify *v, const struct signed_note *n)
{
	struct line_verdict verdicts[NOTE_LINES_MAX];

	note_verify(&n->note, &v->candidates, verdicts);
	if (find_log_key(n, &v->candidates, verdicts) == NONE)
		return NULL;
	for (size_t i = 0; i < v->rotation_count; i++) {
		const struct rotation *r = &v->rotations[i];
		if (is_trusted(v, &v->candidates.list[r->old_key]) && !is_trusted(v, &v->candidates.list[r->new_key]))
			return r;
	}
	return NULL;
}

static void judge_unsigned(struct verify *v, const struct signed_note *n)
{
	const struct rotation *r = n->is_signed || n->is_broken ? NULL : find_unfollowed(v, n);

	if (n->is_signed && !n->has_quorum)
		report_add(&v->report, F_QUORUM, n->file, 0, "size %llu is not cosigned by the witnesses that the policy asks for", (unsigned long long)n->checkpoint.size);
	if (r != NULL)
		report_add(&v->report, F_UNSIGNED, n->file, 0, "no good signature by a trusted key: the log says that its key changed at seq %llu: add --checkpoint "
		           "FILE.checkpoint-SIZE, which both keys signed", (unsigned long long)r->seq);
	else if (!n->is_signed && !n->is_broken)
		report_add(&v->report, F_UNSIGNED, n->file, 0, "no good signature by a trusted key of the log %.*s", SPAN_ARG(origin_of(n)));
}

enum verify_exit verify_finish(struct verify *v)
{
	for (size_t i = 0; i < v->rotation_count; i++)
		follow_rotation(v, &v->rotations[i]);
	for (size_t i = 0; i < v->note_count; i++) {
		judge_unsigned(v, &v->notes[i]);
		if (v->notes[i].is_signed && v->notes[i].checkpoint.size > v->covered)
			v->covered = v->notes[i].checkpoint.size;
	}
	judge_forks(v);
	if (v->has_log) {
		judge_log(v);
		judge_hidden(v);
	}
	for (size_t i = 0; i < v->certificate_count; i++)
		certificate_end(&v->certificates[i], &v->report);
	for (size_t i = 0; i < v->proof_count; i++)
		judge_proof(v, &v->proofs[i]);
	for (size_t i = 0; i < v->note_count; i++)
		if (!v->has_log && v->notes[i].kind == SIGNED_TRUSTED && v->notes[i].is_signed)
			judge_trusted(v, &v->notes[i]);
	if (v->options.has_max_age)
		judge_age(v);
	return report_exit(&v->report);
}
