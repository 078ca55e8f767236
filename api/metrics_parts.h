/* api/metrics_parts.h - the counters behind metrics.h, for those who count and those who write them out. */
#ifndef HOLDFAST_API_METRICS_PARTS_H
#define HOLDFAST_API_METRICS_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/metrics.h"

#define METRICS_CODES 24
#define METRICS_DIALECTS (DIALECT_IDENTITY + 1)

enum metrics_result { METRICS_OK, METRICS_DENIED, METRICS_REFUSED, METRICS_THROTTLED, METRICS_FAILED, METRICS_RESULTS };

struct metrics_route {
	atomic_uint_fast64_t codes[2][METRICS_CODES]; /* of the network; of the local socket */
	struct histogram times;
};

struct metrics_vault {
	uint8_t id[STORE_ID_LEN];
	char name[STORE_VAULT_NAME_MAX + 1];
	atomic_uint_fast64_t results[METRICS_RESULTS];
};

struct metrics {
	/* As API_ROUTES; owned. Routes of one operation, with and without a version in their path, count in the first of them. */
	struct metrics_route *routes;
	size_t *counts_in; /* owned */
	atomic_uint_fast64_t unrouted[METRICS_DIALECTS][METRICS_CODES];
	size_t vault_max;
	pthread_mutex_t lock; /* guards the next, and who the first vault_count of vaults are; their counters are atomic */
	size_t vault_count;
	struct metrics_vault *vaults; /* vault_max, and one for all others; owned */
};

/** "200"; "other" for the last; NULL for a place that is not used. */
const char *metrics_code_name(size_t i, char ret_text[8]);
const char *metrics_result_name(enum metrics_result result);

#endif
