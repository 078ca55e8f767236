/*
 * api/metrics.h - what the server counts, as Prometheus text on a listener of its own (docs/metrics.md).
 * Guards: nothing in it is secret, no label grows without bound (routes and codes are closed lists, vaults are counted up to a limit), and reading it
 * waits for neither the device nor the disk.
 */
#ifndef HOLDFAST_API_METRICS_H
#define HOLDFAST_API_METRICS_H

#include <stdio.h>

#include "api/api.h"
#include "server/base/histogram.h"

#define METRICS_PATH "/metrics"
#define METRICS_VAULTS_MAX 1000

struct metrics;

/** @param vaults  counted one by one, 0..METRICS_VAULTS_MAX; those that come later are counted together. @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status metrics_new(size_t vaults, struct metrics **ret, struct kms_err *err);
void metrics_free(struct metrics *m);
/** One answer, as it is sent. Any thread; never blocks for long. */
void metrics_count(struct metrics *m, const struct request *r);
/** One refusal by the transport, before there was a request. */
void metrics_count_refusal(struct metrics *m, enum dialect dialect, int http);
/** What was counted, and where everything stands now. */
void metrics_write(struct api *api, FILE *out);

#endif
