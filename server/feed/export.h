/*
 * server/feed/export.h - exports of the event log (spec/audit-log.md section 10): each is a feed of its own that formats leaves and hands them to a sink. One thread more looks
 * after them all: it writes down that one has failed for a while, and stops service for one that is required and falls behind.
 */
#ifndef HOLDFAST_FEED_EXPORT_H
#define HOLDFAST_FEED_EXPORT_H

#include "server/feed/feed.h"
#include "server/feed/format.h"
#include "server/feed/sinks.h"

#define EXPORTS_MAX 8
#define EXPORT_NAME_MAX 32

enum export_sink { EXPORT_FILE = 1, EXPORT_SYSLOG, EXPORT_SYSLOG_PLAIN, EXPORT_OTLP };

/* Strings are kept. */
struct export_config {
	const char *name; /* [a-z0-9-]{1,EXPORT_NAME_MAX} */
	enum feed_format format;
	const char *to; /* as it was configured, for people; holds no secret */
	enum export_sink sink;
	const char *target; /* of `to`: path, host:port, URL */
	struct sink_tls tls;
	const char *headers_file; /* NULL = none */
	uint32_t enterprise;
	bool is_required;
	unsigned max_lag_s;
};

struct exports_config {
	struct kms *kms;
	kms_status (*open_store)(void *arg, struct store **ret_store, struct kms_err *err);
	void *open_arg;
	const struct export_config *list; /* borrowed */
	size_t count;                     /* 1..EXPORTS_MAX */
	unsigned tell_ms;  /* of failing, before it is an event; 0 = a minute */
	unsigned pause_ms; /* feed_config's; tests */
};

/* Where one stands. Strings live as long as the exports. */
struct export_state {
	const char *name, *to;
	enum feed_format format;
	bool is_required;
	bool stops_service; /* it is required and behind: until it has caught up */
	uint64_t rejected;  /* records that the receiver would not have, since the start */
	struct feed_state feed;
};

struct exports;
/** A required one that is too far behind stops service before this returns. @return KMS_OK | KMS_E_STORE | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status exports_start(const struct exports_config *cfg, struct exports **ret, struct kms_err *err);
/** Thread-safe. Accepts NULL. @return how many there are, at most EXPORTS_MAX */
size_t exports_state(struct exports *e, struct export_state ret[EXPORTS_MAX]);
/** Without waiting for them: see feed_tell_to_stop(). Accepts NULL. */
void exports_tell_to_stop(struct exports *e);
/** Accepts NULL. */
void exports_stop(struct exports *e);

/* What the facts of a leaf's vault are, for whoever formats leaves; a few of the last ones are remembered. Zeroed = empty; one thread's. */
#define FACTS_VAULTS 16
struct facts_cache {
	struct {
		bool is_there;
		uint8_t id[STORE_ID_LEN];
		char name[STORE_VAULT_NAME_MAX + 1];
	} vaults[FACTS_VAULTS];
	size_t next;
	char directory[GUID_TEXT_LEN + 1];
	char url[KMS_URL_MAX];
};
/** For one leaf; valid until the next call with this cache. @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status facts_of(struct facts_cache *c, const struct kms *kms, struct store *store, const struct leaf *l, struct format_facts *ret,
                                   struct kms_err *err);

#endif
