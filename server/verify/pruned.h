/*
 * server/verify/pruned.h - bodies that the log says were dropped (log.pruned), against the leaves that are known by their hash only.
 * An announcement stands behind its range, and leaves are not kept: a log that was pruned is read a second time, as far as its ranges go.
 * What is remembered grows with prunings and with keys that were purged, not with leaves.
 */
#ifndef HOLDFAST_VERIFY_PRUNED_H
#define HOLDFAST_VERIFY_PRUNED_H

#include "server/verify/leaf.h"

/* One range, by its intent. */
struct pruning {
	uint64_t seq, from, to;
	uint64_t count; /* bodies that went, when is_done */
	bool is_done;
	uint8_t root[HASH_LEN]; /* of the tree of size `to`, as the intent has it */
	const char *file;
	uint64_t line;
};
/* The use of a purged key in a version that was never seen: of a new key of that name, if what made it was pruned. */
struct doubt {
	uint64_t hidden; /* the first leaf behind the purge that is known by its hash only */
	uint64_t seq, line;
	const char *file;
	enum leaf_type type;
};
/* Zeroed = nothing yet. */
struct pruned {
	uint64_t to;        /* where the ranges that are done end; they begin at 0, and follow one another */
	bool begins_late;   /* the first leaf that was given is not the log's first: what was announced before is not known */
	bool is_complete;   /* whoever exported could see all */
	struct pruning *list; /* owned */
	size_t count, cap;
	size_t last; /* + 1: the intent that came last; 0 = none */
	uint64_t *ends; /* owned: the first hidden leaf behind each of the purges between two hidden leaves */
	size_t end_count, end_cap;
	bool is_end_open; /* no hidden leaf came behind the last of them */
	struct doubt *doubts; /* owned */
	size_t doubt_count, doubt_cap;
	/* The second reading. */
	uint64_t limit; /* below it leaves may be hidden: the ranges that are done, and one that is under way */
	uint64_t longest;
	struct tree tree;
	uint64_t hidden, hidden_before, hidden_below; /* so far; below the last range that is done; below limit */
	size_t next;
};

void pruned_clear(struct pruned *p);
/** A leaf that can be seen: does it announce something? @return false without memory */
bool pruned_leaf(struct pruned *p, const struct leaf *l, struct report *r, const char *file, uint64_t line);
/** Is a leaf of this type kept for ever (docs/retention.md)? Of an unknown type nobody can tell. */
bool pruned_never(enum leaf_type type);
/** The leaves from this one on are hidden. */
void pruned_hide(struct pruned *p, uint64_t first);
/** A key is purged here. @param ret_end  for pruned_hidden_since() @return false without memory */
bool pruned_end(struct pruned *p, size_t *ret_end);
/** @return the first hidden leaf since; UINT64_MAX = none */
uint64_t pruned_hidden_since(const struct pruned *p, size_t end);
/** Decided in the end. @return false without memory */
bool pruned_doubt(struct pruned *p, const struct leaf *l, uint64_t hidden, const char *file, uint64_t line);
void pruned_judge_doubts(const struct pruned *p, struct report *r);
/** The log was read once. @param is_open  the last intent has no outcome yet */
void pruned_end_of_log(struct pruned *p, bool is_open);
/** Something was announced that only a second reading can compare. */
bool pruned_wants_again(const struct pruned *p);
void pruned_again(struct pruned *p, struct hasher *h, const struct leaf *l, struct report *r);

#endif
