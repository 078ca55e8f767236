/* server/verify/pruned.c - see pruned.h. */
#include "server/verify/pruned.h"

#include <stdlib.h>

#define FIRST 16

void pruned_clear(struct pruned *p)
{
	free(p->list);
	free(p->ends);
	free(p->doubts);
	*p = (struct pruned){ 0 };
}

/* Room for one more. */
static bool make_room(void **array, size_t count, size_t *cap, size_t size)
{
	if (count < *cap)
		return true;
	size_t larger = *cap == 0 ? FIRST : 2 * *cap;
	void *grown = reallocarray(*array, larger, size);
	if (grown == NULL)
		return false;
	*array = grown;
	*cap = larger;
	return true;
}

/* ---- what is announced ---- */

/* What the leaf says, and why that cannot be. */
static const char *read_range(const struct leaf *l, bool is_done, struct pruning *ret)
{
	uint64_t announced = l->phase == PHASE_INTENT ? l->seq : l->ref;
	int64_t from = 0, to = 0, count = 0;
	struct span root = { 0 };
	size_t len = 0;

	if (!reader_member_int(l->det, "from", &from) || !reader_member_int(l->det, "to", &to) || (is_done && !reader_member_int(l->det, "count", &count)))
		return "it names no range";
	if (!reader_member_string(l->det, "root", &root) || !span_base64(root, ret->root, HASH_LEN, &len) || len != HASH_LEN)
		return "it names no root";
	if (from < 0 || to <= from || (uint64_t)to > announced || count < 0 || count > to - from)
		return "its range cannot be";
	ret->seq = announced;
	ret->from = (uint64_t)from;
	ret->to = (uint64_t)to;
	ret->count = (uint64_t)count;
	return NULL;
}

static bool is_same_range(const struct pruning *a, const struct pruning *b)
{
	return a->from == b->from && a->to == b->to && memcmp(a->root, b->root, HASH_LEN) == 0;
}

static bool add_pruning(struct pruned *p, const struct pruning *range)
{
	void *list = p->list;
	bool has_room = make_room(&list, p->count, &p->cap, sizeof(*range));

	p->list = list;
	if (!has_room)
		return false;
	p->list[p->count++] = *range;
	p->last = p->count;
	return true;
}

bool pruned_leaf(struct pruned *p, const struct leaf *l, struct report *r, const char *file, uint64_t line)
{
	bool is_done = l->phase == PHASE_OUTCOME && l->result == RESULT_OK;
	struct pruning range = { .file = file, .line = line };
	struct pruning *last = p->last > 0 ? &p->list[p->last - 1] : NULL;

	if (l->type != T_LOG_PRUNED || (l->phase != PHASE_INTENT && !is_done))
		return true;
	const char *why = read_range(l, is_done, &range);
	if (why == NULL && range.from != p->to && !(p->begins_late && p->to == 0))
		why = p->to == 0 ? "its range does not begin at 0, and none was pruned before" : "its range does not begin where the last one ended";
	if (why == NULL && is_done && last != NULL && last->seq == range.seq && !is_same_range(last, &range))
		why = "its range or root is not the one that was approved";
	if (why != NULL) {
		report_add(r, F_PRUNED, file, line, "seq %llu: log.pruned: %s", (unsigned long long)l->seq, why);
		return true;
	}
	if (!is_done)
		return add_pruning(p, &range);
	p->to = range.to;
	if (last == NULL || last->seq != range.seq) /* an outcome without its intent has been reported */
		return true;
	last->is_done = true;
	last->count = range.count;
	return true;
}

bool pruned_never(enum leaf_type type)
{
	if (type != T_OTHER && strncmp(leaf_type_name(type), "log.", strlen("log.")) == 0)
		return true;
	return type == T_KEY_DESTROY || type == T_KEY_PURGE || type == T_TENANT_SHRED || type == T_SHRED_INCOMPLETE || type == T_TENANT_RESURRECTED ||
	       type == T_TENANT_ROTATE_ROOT || type == T_BACKUP_EPOCH_END;
}

/* ---- what came behind a purge ---- */

void pruned_hide(struct pruned *p, uint64_t first)
{
	if (!p->is_end_open)
		return;
	p->ends[p->end_count - 1] = first;
	p->is_end_open = false;
}

bool pruned_end(struct pruned *p, size_t *ret_end)
{
	void *ends = p->ends;
	bool has_room = p->is_end_open || make_room(&ends, p->end_count, &p->end_cap, sizeof(p->ends[0]));

	p->ends = ends;
	if (!has_room)
		return false;
	if (!p->is_end_open)
		p->ends[p->end_count++] = UINT64_MAX;
	p->is_end_open = true;
	*ret_end = p->end_count - 1;
	return true;
}

uint64_t pruned_hidden_since(const struct pruned *p, size_t end) { return p->ends[end]; }

bool pruned_doubt(struct pruned *p, const struct leaf *l, uint64_t hidden, const char *file, uint64_t line)
{
	void *doubts = p->doubts;
	bool has_room = make_room(&doubts, p->doubt_count, &p->doubt_cap, sizeof(p->doubts[0]));

	p->doubts = doubts;
	if (has_room)
		p->doubts[p->doubt_count++] = (struct doubt){ .hidden = hidden, .seq = l->seq, .type = l->type, .file = file, .line = line };
	return has_room;
}

/* Who may not see all does not see log.pruned either, and cannot tell a pruned leaf from one of others. */
void pruned_judge_doubts(const struct pruned *p, struct report *r)
{
	for (size_t i = 0; i < p->doubt_count; i++) {
		const struct doubt *d = &p->doubts[i];
		if (d->hidden < p->limit)
			continue;
		report_add(r, p->is_complete ? F_AFTER_END : W_AFTER_END, d->file, d->line,
		           "seq %llu: %s succeeded after its key was purged; no new key of that name was seen, and log.pruned does not say that what made one was dropped",
		           (unsigned long long)d->seq, leaf_type_name(d->type));
	}
}

/* ---- the second reading ---- */

static int by_end(const void *a, const void *b)
{
	const struct pruning *x = a, *y = b;
	return x->to < y->to ? -1 : x->to > y->to;
}

void pruned_end_of_log(struct pruned *p, bool is_open)
{
	p->limit = p->to;
	if (is_open && p->last > 0 && p->list[p->last - 1].from == p->to)
		p->limit = p->list[p->last - 1].to;
	if (p->count > 0)
		qsort(p->list, p->count, sizeof(p->list[0]), by_end);
	p->last = 0;
	p->longest = p->count > 0 && p->list[p->count - 1].to > p->limit ? p->list[p->count - 1].to : p->limit;
}

bool pruned_wants_again(const struct pruned *p) { return p->tree.size < p->longest; }

/* Fewer may be hidden than went: an export that was begun before has them still. */
static void compare_count(struct pruned *p, const struct pruning *range, struct report *r)
{
	uint64_t hidden = p->hidden - p->hidden_before;

	p->hidden_before = p->hidden;
	if (hidden > range->count)
		report_add(r, p->is_complete ? F_HIDDEN : W_HIDDEN, range->file, range->line,
		           "seq %llu: log.pruned: of the leaves %llu to %llu it says that %llu bodies were dropped, and %llu are missing", (unsigned long long)range->seq,
		           (unsigned long long)range->from, (unsigned long long)(range->to - 1), (unsigned long long)range->count, (unsigned long long)hidden);
}

static void compare_range(struct pruned *p, struct hasher *h, const struct pruning *range, struct report *r)
{
	uint8_t root[HASH_LEN];

	tree_root(&p->tree, h, root);
	if (memcmp(root, range->root, HASH_LEN) != 0)
		report_add(r, F_PRUNED, range->file, range->line, "seq %llu: log.pruned: its root is not the one that the first %llu leaves give",
		           (unsigned long long)range->seq, (unsigned long long)range->to);
	if (range->is_done)
		compare_count(p, range, r);
}

void pruned_again(struct pruned *p, struct hasher *h, const struct leaf *l, struct report *r)
{
	if (!pruned_wants_again(p))
		return;
	tree_append(&p->tree, h, l->hash);
	p->hidden += l->is_hidden;
	while (p->next < p->count && p->list[p->next].to == p->tree.size)
		compare_range(p, h, &p->list[p->next++], r);
	if (p->tree.size == p->limit)
		p->hidden_below = p->hidden;
}
