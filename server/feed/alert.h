/*
 * server/feed/alert.h - alerts: rules that are counted over the event log, and channels that tell people of what was found (docs/alerts.md).
 * The evaluator is a feed: an alert is a leaf of its own (node.alert), written with the evaluator's cursor in one unit, so that none is raised twice or lost.
 * Each channel is a feed that hands these leaves to its sink. An alert never causes an alert.
 */
#ifndef HOLDFAST_FEED_ALERT_H
#define HOLDFAST_FEED_ALERT_H

#include "server/feed/feed.h"

#define ALERT_RULES_MAX 64
#define ALERT_CHANNELS_MAX 8
#define ALERT_NAME_MAX 32

/* What a rule looks for; the names are the configuration's. */
#define ALERT_KIND_MAP(X)                                                                                                       \
	X(ALERT_VOLUME, "volume") X(ALERT_NEW_ADDRESS, "new_address") X(ALERT_DENIALS, "denials") X(ALERT_EXPIRY, "expiry")     \
	X(ALERT_ROTATION_FAILED, "rotation_failed") X(ALERT_HSM_LOST, "hsm_lost") X(ALERT_LOG_LATE, "log_late")                 \
	X(ALERT_INTEGRITY, "integrity") X(ALERT_EXPORT_FAILED, "export_failed")
enum alert_kind {
	ALERT_NO_KIND,
#define X(kind, name) kind,
	ALERT_KIND_MAP(X)
#undef X
};
/** ALERT_NO_KIND = none of them. */
enum alert_kind alert_kind_parse(const char *name);
const char *alert_kind_name(enum alert_kind kind);

struct alert_rule {
	const char *name; /* [a-z0-9-]{1,ALERT_NAME_MAX}, unique */
	enum alert_kind kind;
	const char *vault;  /* only its events; NULL = all */
	unsigned limit;     /* so many in the window; 0 = not this way (volume with a factor) */
	unsigned factor;    /* volume: so many times the subject's own average; 0 = not this way */
	unsigned at_least;  /* with factor: and so many in the window */
	unsigned window_s;
	unsigned late_s;    /* log_late */
	bool is_total;      /* denials: of all callers together */
	const char *const *to; /* names of channels */
	size_t to_count;
};

enum alert_channel_kind { ALERT_BY_WEBHOOK = 1, ALERT_BY_SYSLOG, ALERT_BY_SYSLOG_PLAIN, ALERT_BY_MAIL };
struct alert_channel {
	const char *name; /* as a rule's */
	enum alert_channel_kind kind;
	const char *address; /* URL, or host:port */
	const char *ca;          /* PEM file instead of the system's; NULL = the system's */
	const char *certificate, *key; /* syslog: PEM files of this client; NULL = none */
	const char *secret_file; /* webhook: signs; NULL = nothing is signed */
	const char *from;        /* mail */
	const char *const *to;   /* mail */
	size_t to_count;
};

struct alerts_config {
	struct kms *kms;
	kms_status (*open_store)(void *arg, struct store **ret_store, struct kms_err *err);
	void *open_arg;
	struct indexer *indexer; /* for new_address; kept */
	const struct alert_rule *rules; /* borrowed; what they point to is kept */
	size_t rule_count;
	const struct alert_channel *channels; /* borrowed; what they point to is kept */
	size_t channel_count;
};

struct alerts;
/** @return KMS_OK | KMS_E_STORE | KMS_E_NOMEM | KMS_E_INVALID (a file of a channel cannot be used) */
KMS_MUST_CHECK kms_status alerts_start(const struct alerts_config *cfg, struct alerts **ret, struct kms_err *err);
/** Of the evaluator, then of each channel. Thread-safe. @return how many, 1 + the channels */
size_t alerts_state(struct alerts *a, struct feed_state ret[1 + ALERT_CHANNELS_MAX]);
/** Without waiting for them: see feed_tell_to_stop(). Accepts NULL. */
void alerts_tell_to_stop(struct alerts *a);
/** Accepts NULL. Before the indexer stops. */
void alerts_stop(struct alerts *a);

#endif
