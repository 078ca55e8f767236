/*
 * server/feed/query.c - one page at a time: the index, segment by segment, says which leaves may match; each of them is read and checked in full. What the index
 * does not cover, or cannot tell, is looked at leaf by leaf.
 */
#include "server/feed/query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "server/feed/index.h"

#define PAGE_MS 250
#define LOOKS_PER_CLOCK 32
#define PEER_WAIT_MS 2000
#define PEER_LOOKS_MAX 64 /* leaves that the index names and that are others after all */
#define WORD_BITS 64
#define GROUPS_MAX 8

struct query {
	struct kms *kms;
	struct prune_cover cover;
	struct indexer *indexer; /* NULL = none */
	struct event_index *file; /* NULL = not open */
	uint64_t generation;      /* of file */
	uint16_t places[EVENT_INDEX_SEGMENT_MAX];
};

/* The leaves of a segment: one bit each. */
struct bits {
	uint64_t words[EVENT_INDEX_SEGMENT_MAX / WORD_BITS];
};

/* A leaf has one of these terms. */
struct group {
	struct event_term terms[QUERY_TYPES_MAX];
	size_t count;
};

/* One page under way. */
struct page {
	struct query *q;
	struct store *store;
	const struct query_filter *f;
	bool (*each)(void *arg, const struct leaf *l);
	void *arg;
	struct leaf *steal; /* instead of each: the first match is moved here */
	struct group groups[GROUPS_MAX];
	size_t group_count;
	unsigned segment_leaves;
	uint64_t size;
	int64_t wait_ms, until_ms;
	size_t matches;
	uint64_t scanned;
	bool is_over;
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

kms_status query_open(struct kms *kms, struct indexer *indexer, struct query **ret, struct kms_err *err)
{
	struct query *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "query");
	q->kms = kms;
	q->indexer = indexer;
	*ret = q;
	return KMS_OK;
}

void query_close(struct query *q)
{
	if (q == NULL)
		return;
	event_index_close(q->file);
	free(q);
}

/* ---- sets of leaves ---- */

static void bit_set(void *bits, uint16_t place) { ((struct bits *)bits)->words[place / WORD_BITS] |= UINT64_C(1) << (place % WORD_BITS); }

static bool bit_is_set(const struct bits *b, unsigned place) { return (b->words[place / WORD_BITS] >> (place % WORD_BITS) & 1) != 0; }

static void bits_fill(struct bits *b, unsigned from, unsigned to, bool value)
{
	for (unsigned i = from; i < to; i++) {
		if (i % WORD_BITS == 0 && i + WORD_BITS <= to) {
			b->words[i / WORD_BITS] = value ? UINT64_MAX : 0;
			i += WORD_BITS - 1;
		} else if (value) {
			b->words[i / WORD_BITS] |= UINT64_C(1) << (i % WORD_BITS);
		} else {
			b->words[i / WORD_BITS] &= ~(UINT64_C(1) << (i % WORD_BITS));
		}
	}
}

/* @return false: nothing is left */
static bool bits_and(struct bits *b, const struct bits *other)
{
	uint64_t any = 0;

	for (size_t i = 0; i < KMS_ARRAY_LEN(b->words); i++)
		any |= b->words[i] &= other->words[i];
	return any != 0;
}

static void bits_subtract(struct bits *b, const struct bits *other)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(b->words); i++)
		b->words[i] &= ~other->words[i];
}

/* The next place from here in this direction, itself included; -1 = none. */
static int next_place(const struct bits *b, int place, unsigned leaves, bool is_down)
{
	while (place >= 0 && place < (int)leaves) {
		uint64_t word = b->words[place / WORD_BITS];
		if (word == 0)
			place = is_down ? place / WORD_BITS * WORD_BITS - 1 : (place / WORD_BITS + 1) * WORD_BITS;
		else if (bit_is_set(b, (unsigned)place))
			return place;
		else
			place += is_down ? -1 : 1;
	}
	return -1;
}

/* ---- what the filter asks of the index ---- */

static void add_group(struct page *p, struct event_term term)
{
	p->groups[p->group_count].terms[0] = term;
	p->groups[p->group_count++].count = 1;
}

/* The rarest first, since the search in a segment ends when nothing is left. */
static void make_groups(struct page *p)
{
	const struct query_filter *f = p->f;
	const uint32_t result = (uint32_t)f->result;

	if (f->id[0] != '\0')
		add_group(p, index_term(INDEX_ID, f->id, strlen(f->id)));
	if (f->version[0] != '\0')
		add_group(p, index_term(INDEX_VERSION, f->version, strlen(f->version)));
	if (f->key[0] != '\0')
		add_group(p, index_key_term(f->vault, f->key));
	if (f->has_pid)
		add_group(p, index_term(INDEX_PID, f->pid, sizeof(f->pid)));
	if (f->has_vault && f->key[0] == '\0')
		add_group(p, index_term(INDEX_VAULT, f->vault, sizeof(f->vault)));
	if (f->err[0] != '\0')
		add_group(p, index_term(INDEX_ERR, f->err, strlen(f->err)));
	if (f->has_result && f->result != EVENT_OK)
		add_group(p, index_term(INDEX_RESULT, &result, sizeof(result)));
	if (f->type_count > 0) {
		struct group *g = &p->groups[p->group_count++];
		for (g->count = 0; g->count < f->type_count; g->count++) {
			const uint32_t type = (uint32_t)f->types[g->count];
			g->terms[g->count] = index_term(INDEX_TYPE, &type, sizeof(type));
		}
	}
}

/* ---- the index ---- */

/* @return false: the index cannot be asked now */
static bool have_file(struct query *q)
{
	uint64_t generation = indexer_generation(q->indexer);
	struct kms_err err = { 0 };

	if (q->file != NULL && q->generation == generation)
		return true;
	event_index_close(q->file);
	q->file = NULL;
	q->generation = generation;
	return indexer_open(q->indexer, &q->file, &err) == KMS_OK;
}

/* A segment that should be there and is not, or cannot be read as one. */
static void judge(struct query *q, kms_status status, const struct kms_err *err)
{
	if ((status == KMS_E_INTEGRITY || status == KMS_E_NOTFOUND) && q->generation == indexer_generation(q->indexer))
		indexer_report_damage(q->indexer, err);
}

/* Leaves outside the wanted times, by blocks. */
static void clear_times(const struct query_filter *f, const struct event_times *times, unsigned leaves, struct bits *bits)
{
	for (unsigned from = 0; from < leaves; from += EVENT_INDEX_BLOCK) {
		const struct event_times *t = &times[from / EVENT_INDEX_BLOCK];
		unsigned to = from + EVENT_INDEX_BLOCK < leaves ? from + EVENT_INDEX_BLOCK : leaves;
		if ((f->has_from && t->max_us < f->from_us) || (f->has_to && t->min_us >= f->to_us))
			bits_fill(bits, from, to, false);
	}
}

static kms_status find_in_file(struct query *q, uint64_t segment, const struct group *g, struct bits *ret, struct kms_err *err)
{
	for (size_t i = 0; i < g->count; i++) {
		size_t count = 0;
		KMS_TRY(event_index_places(q->file, segment, &g->terms[i], q->places, &count, err));
		for (size_t k = 0; k < count; k++)
			bit_set(ret, q->places[k]);
	}
	return KMS_OK;
}

/* What has another result. Most leaves have none of these, so that "ok" is what is left: without it whoever is refused could make others look at each refusal. */
static struct group not_ok(void)
{
	static const uint32_t RESULTS[] = { EVENT_REFUSED, EVENT_FAILED, EVENT_PENDING, EVENT_UNKNOWN };
	struct group g = { .count = KMS_ARRAY_LEN(RESULTS) };

	for (size_t i = 0; i < g.count; i++)
		g.terms[i] = index_term(INDEX_RESULT, &RESULTS[i], sizeof(RESULTS[i]));
	return g;
}

static bool wants_ok(const struct query_filter *f) { return f->has_result && f->result == EVENT_OK; }

/* ret begins with all leaves set. */
static kms_status narrow_by_file(struct page *p, uint64_t segment, struct bits *ret, struct kms_err *err)
{
	const struct group of_damage = { .terms = { index_term(INDEX_DAMAGED, "", 0) }, .count = 1 };
	struct event_times times[EVENT_INDEX_BLOCKS_MAX];
	struct bits damaged = { 0 };
	bool any = true;

	if (p->f->has_from || p->f->has_to) {
		KMS_TRY(event_index_times(p->q->file, segment, times, p->segment_leaves / EVENT_INDEX_BLOCK, err));
		clear_times(p->f, times, p->segment_leaves, ret);
	}
	if (p->f->damaged_too)
		KMS_TRY(find_in_file(p->q, segment, &of_damage, &damaged, err));
	for (size_t i = 0; i < p->group_count && any; i++) {
		struct bits found = damaged;
		KMS_TRY(find_in_file(p->q, segment, &p->groups[i], &found, err));
		any = bits_and(ret, &found);
	}
	if (any && wants_ok(p->f)) {
		const struct group other = not_ok();
		struct bits found = { 0 };
		KMS_TRY(find_in_file(p->q, segment, &other, &found, err));
		bits_subtract(ret, &found);
	}
	return KMS_OK;
}

/* @return false: it is not in memory, or has just gone to the file */
static bool narrow_by_memory(struct page *p, uint64_t segment, struct bits *ret)
{
	const struct event_term damaged = index_term(INDEX_DAMAGED, "", 0);
	struct event_times times[EVENT_INDEX_BLOCKS_MAX];
	unsigned leaves = 0;

	if (indexer_look(p->q->indexer, segment, NULL, 0, bit_set, NULL, &leaves, times) != INDEX_IN_MEMORY)
		return false;
	clear_times(p->f, times, leaves, ret);
	for (size_t i = 0; i < p->group_count; i++) {
		struct bits found = { 0 };
		if (indexer_look(p->q->indexer, segment, p->groups[i].terms, p->groups[i].count, bit_set, &found, &leaves, NULL) != INDEX_IN_MEMORY ||
		    indexer_look(p->q->indexer, segment, &damaged, 1, bit_set, &found, &leaves, NULL) != INDEX_IN_MEMORY)
			return false;
		bits_fill(&found, leaves, p->segment_leaves, true); /* those that came since, or are not indexed yet */
		(void)bits_and(ret, &found);
	}
	if (wants_ok(p->f)) {
		const struct group other = not_ok();
		struct bits found = { 0 };
		if (indexer_look(p->q->indexer, segment, other.terms, other.count, bit_set, &found, &leaves, NULL) != INDEX_IN_MEMORY)
			return false;
		bits_subtract(ret, &found);
	}
	return true;
}

/* The leaves of a segment that are to be looked at: all of them when the index cannot tell. */
static void candidates(struct page *p, uint64_t segment, struct bits *ret)
{
	struct kms_err err = { 0 };
	enum index_place where;
	unsigned leaves = 0;
	kms_status status;

	bits_fill(ret, 0, p->segment_leaves, true);
	if (p->q->indexer == NULL)
		return;
	if (narrow_by_memory(p, segment, ret))
		return;
	bits_fill(ret, 0, p->segment_leaves, true);
	where = indexer_look(p->q->indexer, segment, NULL, 0, bit_set, NULL, &leaves, NULL);
	if (where != INDEX_IN_FILE || !have_file(p->q))
		return;
	status = narrow_by_file(p, segment, ret, &err);
	if (status != KMS_OK) {
		judge(p->q, status, &err);
		bits_fill(ret, 0, p->segment_leaves, true);
	}
}

/* ---- leaves ---- */

static bool has_type(const struct query_filter *f, enum event_type type)
{
	for (size_t i = 0; i < f->type_count; i++) {
		if (f->types[i] == type)
			return true;
	}
	return false;
}

/* What the row alone tells. */
static bool row_matches(const struct query_filter *f, const struct store_event *e)
{
	if (f->has_vault && memcmp(e->vault_id, f->vault, sizeof(f->vault)) != 0) /* allowed: ids are public */
		return false;
	return (!f->has_from || e->ts_us >= f->from_us) && (!f->has_to || e->ts_us < f->to_us);
}

static bool asks_body(const struct query_filter *f)
{
	return f->key[0] != '\0' || f->version[0] != '\0' || f->has_pid || f->type_count > 0 || f->has_result || f->id[0] != '\0' || f->err[0] != '\0' || f->no_intents;
}

static bool leaf_matches(const struct query_filter *f, const struct leaf *l)
{
	if (f->has_vault && memcmp(l->tenant, f->vault, sizeof(f->vault)) != 0) /* allowed: ids are public */
		return false;
	if (l->is_pruned)
		return (l->is_damaged && f->damaged_too) || !asks_body(f);
	if (f->no_intents && l->phase == EVENT_INTENT)
		return false;
	if (f->has_result && l->result != f->result)
		return false;
	if (f->type_count > 0 && !has_type(f, l->type))
		return false;
	if (f->has_pid && (!l->has_pid || memcmp(l->pid, f->pid, sizeof(f->pid)) != 0)) /* allowed: public */
		return false;
	if (f->id[0] != '\0' && strcmp(l->req, f->id) != 0 && strcmp(l->corr, f->id) != 0)
		return false;
	return (f->key[0] == '\0' || strcasecmp(l->key_name, f->key) == 0) && (f->version[0] == '\0' || strcmp(l->key_version, f->version) == 0) &&
	       (f->err[0] == '\0' || strcmp(l->err, f->err) == 0);
}

static void give(struct page *p, struct leaf *l)
{
	p->matches++;
	if (p->steal != NULL) {
		*p->steal = *l;
		*l = (struct leaf){ 0 };
		p->is_over = true;
	} else if (!p->each(p->arg, l) || p->matches >= p->f->limit) {
		p->is_over = true;
	}
}

static kms_status look_at(struct page *p, uint64_t seq, struct kms_err *err)
{
	LEAF_AUTO l = { 0 };
	struct store_event e = { 0 };
	kms_status status = store_event(p->store, seq, &e, err);

	KMS_TRY(status);
	p->scanned++;
	if (row_matches(p->f, &e)) {
		status = leaf_load(p->q->kms, p->store, &e, &p->q->cover, &l, err);
		if (status == KMS_OK && leaf_matches(p->f, &l))
			give(p, &l);
	}
	store_event_clear(&e);
	if (p->scanned >= QUERY_SCAN_MAX || (p->scanned % LOOKS_PER_CLOCK == 0 && now_ms() >= p->until_ms))
		p->is_over = true;
	return status;
}

/* From *seq on, or down from it, to the end of its segment, or until the page is over: then *seq is the next to look at. @return false: the log has no more */
static kms_status walk_segment(struct page *p, uint64_t *seq, bool *ret_more, struct kms_err *err)
{
	const uint64_t segment = *seq / p->segment_leaves, first = segment * p->segment_leaves;
	const bool is_down = p->f->newest_first;
	struct bits bits = { 0 };
	int place = (int)(*seq - first);

	*ret_more = true;
	candidates(p, segment, &bits);
	while (!p->is_over && (place = next_place(&bits, place, p->segment_leaves, is_down)) >= 0 && first + (unsigned)place < p->size) {
		KMS_TRY(look_at(p, first + (unsigned)place, err));
		place += is_down ? -1 : 1;
	}
	if (p->is_over && place >= 0 && place < (int)p->segment_leaves)
		*seq = first + (unsigned)place;
	else if (is_down && first == 0)
		*ret_more = false;
	else
		*seq = is_down ? first - 1 : first + p->segment_leaves;
	if (!is_down && *seq >= p->size)
		*ret_more = false;
	return KMS_OK;
}

static kms_status check_filter(const struct query_filter *f, struct kms_err *err)
{
	if (f->limit == 0 || f->limit > QUERY_PAGE_MAX)
		return kms_refuse(err, KMS_E_INVALID, "limit: must be a number from 1 to %d.", QUERY_PAGE_MAX);
	if (f->key[0] != '\0' && !f->has_vault)
		return kms_refuse(err, KMS_E_INVALID, "key: a key's name is unique in its vault only; name the vault too.");
	return KMS_OK;
}

static kms_status run_page(struct page *p, struct query_end *ret, struct kms_err *err)
{
	const struct query_filter *f = p->f;
	struct query_end end = { 0 };
	uint64_t seq;

	KMS_TRY(check_filter(f, err));
	KMS_TRY(store_event_count(p->store, &p->size, err));
	make_groups(p);
	p->segment_leaves = p->q->indexer != NULL ? indexer_segment_leaves(p->q->indexer) : EVENT_INDEX_SEGMENT_MAX;
	p->until_ms = now_ms() + (p->wait_ms < PAGE_MS ? p->wait_ms : PAGE_MS);
	end.indexed = p->q->indexer != NULL ? indexer_size(p->q->indexer) : 0;
	end.indexed = end.indexed < p->size ? end.indexed : p->size;
	seq = f->has_cursor ? f->cursor : f->newest_first && p->size > 0 ? p->size - 1 : 0;
	if (f->newest_first && p->size > 0 && seq >= p->size)
		seq = p->size - 1;
	end.has_more = seq < p->size;
	while (end.has_more && !p->is_over) {
		KMS_TRY(walk_segment(p, &seq, &end.has_more, err));
		p->is_over |= now_ms() >= p->until_ms;
	}
	end.cursor = seq;
	end.scanned = p->scanned;
	*ret = end;
	return KMS_OK;
}

kms_status query_run(struct query *q, struct store *store, const struct query_filter *f, bool (*each)(void *arg, const struct leaf *l), void *arg,
                     struct query_end *ret, struct kms_err *err)
{
	struct page p = { .q = q, .store = store, .f = f, .each = each, .arg = arg, .wait_ms = PAGE_MS };

	return run_page(&p, ret, err);
}

kms_status query_last(struct query *q, struct store *store, const struct query_filter *f, unsigned wait_ms, struct query_end *ret_end, bool *ret_found, struct leaf *ret,
                      struct kms_err *err)
{
	struct query_filter wanted = *f;
	struct page p = { .q = q, .store = store, .f = &wanted, .steal = ret, .wait_ms = wait_ms };

	wanted.newest_first = true;
	wanted.limit = 1;
	KMS_TRY(run_page(&p, ret_end, err));
	*ret_found = p.matches > 0;
	ret_end->has_more &= !*ret_found;
	return KMS_OK;
}

/* ---- addresses ---- */

struct peer {
	const uint8_t *pid;
	const char *text;
	struct group term;
	unsigned looks; /* that are left */
};

/* The leaves of a segment that may be from there. */
static kms_status peer_places(struct query *q, uint64_t segment, const struct peer *peer, struct bits *ret, struct kms_err *err)
{
	unsigned leaves = 0;
	kms_status status;

	if (indexer_look(q->indexer, segment, peer->term.terms, 1, bit_set, ret, &leaves, NULL) == INDEX_IN_MEMORY)
		return KMS_OK;
	if (!have_file(q))
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the event index cannot be opened");
	status = find_in_file(q, segment, &peer->term, ret, err);
	if (status == KMS_E_INTEGRITY)
		judge(q, status, err);
	return status == KMS_E_INTEGRITY ? KMS_E_STORE : status;
}

/* What the index says is not enough to keep quiet about an address. A leaf that is damaged knows none. */
static kms_status is_from(struct query *q, struct store *store, uint64_t seq, const struct peer *peer, bool *ret, struct kms_err *err)
{
	LEAF_AUTO l = { 0 };
	struct store_event e = { 0 };
	kms_status status = store_event(store, seq, &e, err);

	if (status == KMS_OK)
		status = leaf_load(q->kms, store, &e, &q->cover, &l, err);
	if (status == KMS_OK)
		*ret = l.has_pid && memcmp(l.pid, peer->pid, sizeof(l.pid)) == 0 && strcmp(l.peer, peer->text) == 0; /* allowed: public */
	store_event_clear(&e);
	return status;
}

/* Below the end, which of a whole segment is its length. */
static kms_status segment_knows(struct query *q, struct store *store, uint64_t segment, unsigned end, struct peer *peer, bool *ret, struct kms_err *err)
{
	const uint64_t first = segment * indexer_segment_leaves(q->indexer);
	struct bits found = { 0 };
	int place = (int)end - 1;

	KMS_TRY(peer_places(q, segment, peer, &found, err));
	for (; !*ret && peer->looks > 0 && (place = next_place(&found, place, end, true)) >= 0; place--, peer->looks--)
		KMS_TRY(is_from(q, store, first + (unsigned)place, peer, ret, err));
	return KMS_OK;
}

kms_status query_knows_peer(struct query *q, struct store *store, const uint8_t pid[16], const char *peer, uint64_t before_seq, bool *ret_known, struct kms_err *err)
{
	struct peer p = { .pid = pid, .text = peer, .term = { .terms = { index_peer_term(pid, peer) }, .count = 1 }, .looks = PEER_LOOKS_MAX };
	unsigned leaves;
	uint64_t end = before_seq;

	*ret_known = false;
	if (q->indexer == NULL || !indexer_wait(q->indexer, before_seq, PEER_WAIT_MS))
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_SELF, 0, "the event index has not come so far yet");
	leaves = indexer_segment_leaves(q->indexer);
	/* The newest first: who comes at all came lately. */
	while (end > 0 && p.looks > 0 && !*ret_known) {
		uint64_t segment = (end - 1) / leaves;
		KMS_TRY(segment_knows(q, store, segment, (unsigned)(end - segment * leaves), &p, ret_known, err));
		end = segment * leaves;
	}
	return KMS_OK;
}
