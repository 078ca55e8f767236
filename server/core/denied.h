/*
 * server/core/denied.h - refusals before authentication, coalesced (spec/audit-log.md 6.2): one row for each (reason, vault, peer, certificate), bounded, and no count lost.
 * Not thread-safe: the writer's lock guards it.
 */
#ifndef HOLDFAST_CORE_DENIED_H
#define HOLDFAST_CORE_DENIED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/core/event.h"

#define DENIED_MAX 256
#define DENIED_SPARE 32 /* one for each reason, under an empty peer */
#define DENIED_SUBJECT_MAX 128 /* characters of a stranger's subject */

struct denied {
	const char *reason;
	bool has_vault;
	uint8_t vault_id[GUID_LEN];
	char peer[sizeof(((struct event *)NULL)->net_peer)];
	const char *why; /* of a client certificate; NULL = there was none to judge */
	char subject[DENIED_SUBJECT_MAX + 1];
	uint64_t count;
};

/* Zeroed = empty. */
struct denied_table {
	struct denied rows[DENIED_MAX + DENIED_SPARE];
	size_t count;
	unsigned subjects_left; /* that may still be shown before subjects_until_us */
	int64_t subjects_until_us;
};

/** Count one more. @param wanted  loses its subject when no more may be shown now @return false: more reasons than there are in code; it was not counted */
bool denied_add(struct denied_table *t, struct denied *wanted, int64_t now_us);
/** Take off what has been written: copies of the first `count` rows. Others may have added to the table meanwhile, but only at its end or to its counts. */
void denied_subtract(struct denied_table *t, const struct denied *written, size_t count);

#endif
