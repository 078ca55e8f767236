/* server/feed/alert_parts.h - what the files of alerts share. */
#ifndef HOLDFAST_FEED_ALERT_PARTS_H
#define HOLDFAST_FEED_ALERT_PARTS_H

#include "server/base/secret.h"
#include "server/feed/alert.h"
#include "server/feed/query.h"
#include "server/feed/sinks.h"

#define ALERT_US_PER_S INT64_C(1000000)

/* ---- alert_window.c: how often something happened lately ---- */

#define WINDOW_KEY_LEN 32
#define WINDOW_SLICES 8
#define WINDOW_AVERAGES 8 /* windows that an average is made of */
#define WINDOW_AVERAGES_MIN 4 /* before there is one */
#define WINDOW_SUBJECTS_MAX 10000

/* One subject of one rule. */
struct window {
	uint8_t key[WINDOW_KEY_LEN];
	uint32_t next, newer, older; /* in its bucket; in the order of use */
	int64_t slice; /* the newest one's number: time divided by its length */
	uint64_t counts[WINDOW_SLICES];
	int64_t whole; /* number of the window that is counted for the average */
	uint64_t whole_count;
	unsigned averaged; /* windows in the average, at most WINDOW_AVERAGES */
	double average;
	int64_t raised_us; /* time of the leaf that the last alert was raised for; STORE_NO_TIME = none was */
};

struct window_table;
/** @return NULL without memory */
struct window_table *window_table_new(size_t cap);
void window_table_free(struct window_table *t);
/** The subject's window, made when there is none; the one that was not used for longest makes room. Valid until the next call. */
struct window *window_get(struct window_table *t, const uint8_t key[WINDOW_KEY_LEN]);
/** Count at a time that does not fall. @param has_average  count whole windows too */
void window_count(struct window *w, int64_t ts_us, unsigned window_s, uint64_t count, bool has_average);
/** What was counted in the window before, and at, the last count. */
uint64_t window_sum(const struct window *w);

/* ---- alert_rules.c: what a leaf means for a rule ---- */

#define ALERT_SUBJECT_MAX 200
struct alert_subject {
	char text[ALERT_SUBJECT_MAX];
	bool has_vault;
	uint8_t vault[STORE_ID_LEN];
};

/** Is this leaf what the rule counts? Without regard to its vault. @param node  this server's name */
bool alert_matches(const struct alert_rule *r, const struct leaf *l, const char *node, struct alert_subject *ret);
void alert_key(const struct alert_rule *r, const struct alert_subject *s, uint8_t ret_key[WINDOW_KEY_LEN]);
/** Are there enough of them, and was nobody told within the window? @param ret_count  how many */
bool alert_is_due(const struct alert_rule *r, const struct window *w, int64_t ts_us, uint64_t *ret_count);
/** So far back must leaves be read again for this rule, seconds. */
int64_t alert_memory_s(const struct alert_rule *r);

/* ---- alert_send.c: channels ---- */

struct alert_sender;
KMS_MUST_CHECK kms_status alert_sender_start(const struct alerts_config *cfg, const struct alert_channel *c, struct alert_sender **ret, struct kms_err *err);
void alert_sender_state(struct alert_sender *s, struct feed_state *ret);
void alert_sender_tell_to_stop(struct alert_sender *s);
void alert_sender_stop(struct alert_sender *s); /* accepts NULL */

/* What a sink needs besides its records. Strings are kept. */
struct alert_sink_facts {
	const struct clock *clock;
	const char *node;
};
/** Records are the bodies of requests. @return KMS_OK | KMS_E_INVALID (secret_file) | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status sink_webhook_new(const struct alert_channel *c, const struct alert_sink_facts *facts, struct sink **ret, struct kms_err *err);
/** Records are texts whose first line is a title; a run of them is one message. @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status sink_mail_new(const struct alert_channel *c, const struct alert_sink_facts *facts, struct sink **ret, struct kms_err *err);

/** The message as it goes to the mail server. @return its text, owned by the caller; NULL without memory */
char *mail_message(const struct alert_channel *c, const struct alert_sink_facts *facts, int64_t now_s, const struct record *records, size_t count,
                   size_t *ret_len);

#endif
