/*
 * server/verify/meaning.h - what must hold between leaves (audit-log.md section 9, the last check): pairs of intents and outcomes, the life of
 * key versions, approvals, clocks and silence. In one pass; what is remembered grows with open intents, key versions (48 bytes each), keys,
 * vaults and starts of the server, not with leaves. What cannot be seen (leaves known by their hash only) is not judged.
 */
#ifndef HOLDFAST_VERIFY_MEANING_H
#define HOLDFAST_VERIFY_MEANING_H

#include "server/verify/leaf.h"
#include "server/verify/pruned.h"
#include "server/verify/table.h"

struct open_intent {
	uint64_t seq;
	int64_t opened_us; /* running time */
};

struct meaning {
	struct report *report;
	unsigned approvers; /* that a shred needs at least */
	bool sees_all;      /* every leaf from the first on was seen */
	bool has_heartbeats; /* servers before version 0.6 wrote none: their log.init names no key */
	bool follows_another; /* the log began after a disaster, in place of another */
	struct seed seed;
	struct table intents, versions, names, tenants, boots;
	struct open_intent *queue; /* of open intents, oldest first; some may be settled */
	size_t queue_first, queue_count, queue_cap;
	int64_t running_us; /* time that the server ran, by the log */
	/* The last leaf that was seen. */
	bool has_last, is_hidden_since, boot_has_started;
	uint64_t last_boot;
	int64_t last_ts_us, last_mono_us;
	/* Where leaves are not seen. */
	bool has_hidden;
	uint64_t hidden_first, hidden_last;
	struct pruned pruned;
	bool is_out_of_memory;
};

/** @return false without a random seed */
bool meaning_open(struct meaning *m, struct report *report, unsigned approvers);
void meaning_close(struct meaning *m);
/** The leaves from `first` to `last` are not there to be seen. */
void meaning_hide(struct meaning *m, uint64_t first, uint64_t last);
/** The next leaf that can be seen. file and line are for the report. */
void meaning_leaf(struct meaning *m, const struct leaf *leaf, const char *file, uint64_t line);
/** The last leaf was seen. */
void meaning_end(struct meaning *m);
/** Intents that were still open at the end. */
uint64_t meaning_open_intents(const struct meaning *m);

#endif
