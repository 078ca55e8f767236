/*
 * server/feed/feed.h - consumers of the key event log: each reads the committed leaves in order, from a cursor of its own, on a thread of its own.
 * Nothing waits for a consumer: it is told after the commit, and reads what is stored. At least once: after a crash or a failure it begins again behind
 * what it is surely through with.
 */
#ifndef HOLDFAST_FEED_FEED_H
#define HOLDFAST_FEED_FEED_H

#include <stdatomic.h>
#include <stdbool.h>

#include "server/core/kms.h"
#include "server/feed/leaf.h"

#define FEED_BATCH_MAX 256

struct feed;

/* What a consumer does; called on the feed's thread alone. */
struct feed_ops {
	/**
	 * Deal with a run of leaves: 1..FEED_BATCH_MAX, in order, without gaps. May block, but ends soon once feed_is_stopping().
	 * KMS_OK: handed on; they come again only if settled() has not passed them when something fails. Anything else: nothing is lost, all from settled() on
	 * come again after a pause (1 s, doubled up to 60 s); the failure is shown in feed_state() and logged once until it works again.
	 */
	kms_status (*take)(void *arg, struct feed *f, const struct leaf *leaves, size_t count, struct kms_err *err);
	/** It is through with all leaves below this; never falls between two failures. NULL = with what take() has accepted. */
	uint64_t (*settled)(void *arg);
	/** Called when there was nothing to take for idle_ms, and after each take(): for time-outs and what is to be flushed. NULL = nothing. Failures as take()'s. */
	kms_status (*idle)(void *arg, struct feed *f, struct kms_err *err);
	/** Before leaves come again, or at the end: drop connections and what was not settled. NULL = nothing. */
	void (*rewind)(void *arg);
};

struct feed_config {
	const char *name; /* of its thread and cursor: [a-z0-9:-]{1,64}; kept */
	struct kms *kms;
	kms_status (*open_store)(void *arg, struct store **ret_store, struct kms_err *err); /* a STORE_READ connection of its own */
	void *open_arg;
	const struct feed_ops *ops;
	void *arg;
	unsigned idle_ms; /* 10.. */
	bool keeps_cursor; /* it stores its own (settled() is asked at the start); else it is a store_cursor of this name, written once a second at most */
	bool starts_at_end; /* without a cursor, and where its log was closed: begins with what comes, instead of the first leaf */
	unsigned pause_ms; /* after a first failure; 0 = 1 s */
	bool runs_always; /* also in a log that is rolled back or damaged: for what leaves nothing outside (the index); all others wait */
};

struct feed_state {
	const char *name; /* as it was configured; lives as long as the feed */
	uint64_t settled; /* leaves it is through with */
	uint64_t size;    /* leaves there are */
	int64_t behind_ms; /* age of the first leaf that it is not through with; 0 = none */
	uint64_t failures; /* since the start */
	bool is_failing;
	char failure[160]; /* the last one; "" = none */
};

/** @return KMS_OK | KMS_E_STORE | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status feed_start(const struct feed_config *cfg, struct feed **ret_feed, struct kms_err *err);
bool feed_is_stopping(const struct feed *f);
/** For libcurl and others that ask by address. */
const atomic_bool *feed_stopping(const struct feed *f);
/** From within take(): leaves of the run below this are handed on, whatever becomes of the others. The cursor is written when a second has passed. */
void feed_advance(struct feed *f, uint64_t next);
/** The feed's own connection, for take() and idle(). */
struct store *feed_store(struct feed *f);
struct kms *feed_kms(struct feed *f);
void feed_state(struct feed *f, struct feed_state *ret);
/** Without waiting for it; feed_stop() comes later. So those that are told first end at the same time, and not one after the other. Accepts NULL. */
void feed_tell_to_stop(struct feed *f);
/** Join and free; the cursor is written. Accepts NULL. Before writer_stop(). */
void feed_stop(struct feed *f);

/* All that follows the log; what is not configured is NULL. Handed to the API. */
struct feeds {
	struct indexer *indexer;   /* index.h */
	struct exports *exports;   /* export.h */
	struct alerts *alerts;     /* alert.h */
	struct webhooks *webhooks; /* webhook.h */
};
#define FEEDS_MAX 19
/** Of the index, the webhooks, each export, the rules of alerts and each of their channels, as far as they are configured. Thread-safe. @return how many */
size_t feeds_state(const struct feeds *f, struct feed_state ret[FEEDS_MAX]);

#endif
