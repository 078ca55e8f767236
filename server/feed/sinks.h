/* server/feed/sinks.h - the sinks of exports. Each is made without touching its receiver: what is wrong there is a failure of send(), which is tried again. */
#ifndef HOLDFAST_FEED_SINKS_H
#define HOLDFAST_FEED_SINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/feed/sink.h"

#define SINK_ALL_SETTLED UINT64_MAX /* what settled() says when nothing is under way */

/* Strings are kept. */
struct sink_tls {
	const char *ca;                /* PEM file instead of the system's; NULL = the system's */
	const char *certificate, *key; /* of this client, PEM files; NULL = none */
};

/**
 * Records as lines at the end of a file, each run of them on the disk before it counts. Found again by its name for each run, so that it may be moved away.
 * @param path  kept
 */
KMS_MUST_CHECK kms_status sink_file_new(const char *path, struct sink **ret, struct kms_err *err);

/**
 * RFC 5425: octet-counted messages over one TLS connection.
 * @param host_port  "host:port"; kept
 * @param is_plain  without TLS; only for a numeric loopback address
 */
KMS_MUST_CHECK kms_status sink_syslog_new(const char *host_port, bool is_plain, const struct sink_tls *tls, struct sink **ret, struct kms_err *err);

/**
 * OTLP/HTTP with JSON: each run is one request, settled by its answer. One that is refused with 400 or 413 is halved, down to the record that the receiver will not have.
 * @param head, tail  what goes around the records: see format_otlp_head(); kept
 * @param headers_file  "Name: value" lines, read for each request; NULL = none; kept
 */
KMS_MUST_CHECK kms_status sink_otlp_new(const char *url, const struct sink_tls *tls, const char *headers_file, const char *head, const char *tail, struct sink **ret,
                                        struct kms_err *err);
/** Records that the receiver would not have: it said so in a good answer, or refused them one by one. Of a sink of sink_otlp_new(); on any thread. */
uint64_t sink_otlp_rejected(const struct sink *s);

#endif
