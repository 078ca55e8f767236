/*
 * server/feed/sink.h - where records go: a file, a syslog receiver over TLS, an OTLP receiver, a webhook, the local mail server.
 * A sink is handed records in order and says how far it is surely through. What was sent over a stream without answers (syslog) counts only after the
 * connection has outlived it for some seconds, since a receiver that dies takes what it had not read with it.
 */
#ifndef HOLDFAST_FEED_SINK_H
#define HOLDFAST_FEED_SINK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

/* One record, formatted. */
struct record {
	uint64_t seq;
	char *bytes; /* owned by who made it */
	size_t len;
};

struct sink;
struct sink_ops {
	const char *name; /* "file", "syslog", "otlp", "webhook", "mail" */
	/** In order; may block up to its time-out. On failure the caller begins again behind settled(). */
	kms_status (*send)(struct sink *s, const struct record *records, size_t count, const atomic_bool *is_stopping, struct kms_err *err);
	/** All records with a smaller seq are surely there. */
	uint64_t (*settled)(struct sink *s);
	/** Look after the connection; called at least every 500 ms. */
	kms_status (*tick)(struct sink *s, struct kms_err *err);
	void (*rewind)(struct sink *s); /* drop the connection, and what is not settled */
	void (*close)(struct sink *s);
};
struct sink {
	const struct sink_ops *ops;
};

#endif
