/*
 * api/limits.h - how much one vault and one principal may ask for: token buckets in memory, of each an allowance of requests and one of new key
 * versions, and of a principal one of proofs. Full at first, refilled evenly within LIMITS_WINDOW_S, that of proofs within a second. Nothing is allocated once they are made: a table of fixed size holds the buckets
 * that are not full, and when it has no place left the one that is nearest to full makes room, so that it is full when it is asked for again, and
 * never fuller.
 */
#ifndef HOLDFAST_API_LIMITS_H
#define HOLDFAST_API_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/clock.h"
#include "server/base/err.h"

#define LIMITS_WINDOW_S 10
#define LIMITS_ID_LEN 16
#define LIMITS_MAX 1000000 /* the largest allowance */

enum limit_class {
	LIMIT_REQUESTS, /* everything else */
	LIMIT_CREATES,  /* of key versions: create, import, rotate, restore */
	LIMIT_CONFIGURED,
	LIMIT_PROOFS = LIMIT_CONFIGURED, /* of the event log, and its tiles: a principal's only, LIMITS_PROOFS in a second (audit-log.md section 8) */
	LIMIT_CLASSES
};
#define LIMITS_PROOFS 50

/* Allowances in LIMITS_WINDOW_S, 1..LIMITS_MAX each. */
struct limits_config {
	unsigned vault[LIMIT_CONFIGURED], principal[LIMIT_CONFIGURED];
};

/* Whose buckets a request is taken from. Ids are random or hashes: nobody may choose one. */
struct limits_claim {
	enum limit_class class;
	bool has_vault; /* never with LIMIT_PROOFS */
	uint8_t vault[LIMITS_ID_LEN], principal[LIMITS_ID_LEN];
};

struct limits;

/** @param clock  kept: its monotonic time counts @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status limits_new(const struct limits_config *cfg, const struct clock *clock, struct limits **ret_limits, struct kms_err *err);
/** Accepts NULL. */
void limits_free(struct limits *l);
/**
 * Take one from the principal's bucket and, if it has a vault, one from the vault's; from both or from none. Thread-safe, waits for nobody.
 * @param ret_retry_s  when it is refused: whole seconds, at least 1, until there is one to be taken
 * @return KMS_OK | KMS_E_THROTTLED (the message says which limit)
 */
KMS_MUST_CHECK kms_status limits_take(struct limits *l, const struct limits_claim *claim, unsigned *ret_retry_s, struct kms_err *err);
/** Give the vault back what was taken with this claim: who asked was nobody that the vault knows, and may not use up what is its own. */
void limits_give_back(struct limits *l, const struct limits_claim *claim);

#endif
