/*
 * api/metrics_listener.h - the listener of metrics: GET /metrics and nothing else. It has no routes, no identity and no leaf of the log, so it is not part of
 * the route table: what it serves depends on no request, and a scrape every few seconds is no event.
 */
#ifndef HOLDFAST_API_METRICS_LISTENER_H
#define HOLDFAST_API_METRICS_LISTENER_H

#include "api/http.h"

struct api;
struct metrics_listener;

/** @param token_file  who reads must send its first line as a bearer token; NULL = everybody may who reaches the listener
 *  @return KMS_OK | KMS_E_INVALID (the file is not readable, or holds less than 16 characters) | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status metrics_listener_new(struct api *api, const char *token_file, struct metrics_listener **ret, struct kms_err *err);
/** For http_start(); lives as long as the listener's. */
struct http_app metrics_listener_app(struct metrics_listener *l);
/** After http_stop(). Accepts NULL. */
void metrics_listener_free(struct metrics_listener *l);

#endif
