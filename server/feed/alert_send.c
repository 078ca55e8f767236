/*
 * server/feed/alert_send.c - a channel: the feed that picks the alerts of its rules out of the log, and hands them to its sink until they are there.
 * Guards: whatever a leaf's text holds, it stays on its line. In mail and syslog it is shown in ASCII alone: names of keys and addresses have nothing else.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/feed/alert_parts.h"
#include "server/feed/format.h"

#define IDLE_MS 500
#define TEXT_MAX 128
#define FEED_PREFIX "alert:"

struct alert_sender {
	const struct alerts_config *cfg;
	const struct alert_channel *channel;
	char name[STORE_CURSOR_NAME_MAX + 1];
	struct sink *sink;
	struct feed *feed;
	uint64_t next; /* handed to the sink; what is not for this channel needs no sink */
	uint64_t stuck; /* the alert that was said to be stuck; 0 = none, as the first leaf is no alert */
};

/* ---- one alert as text ---- */

static void clean(const struct leaf *l, const char *name, char ret[TEXT_MAX + 1])
{
	const char *text = leaf_det_text(l, name);
	size_t len = 0;

	for (; text != NULL && text[len] != '\0' && len < TEXT_MAX; len++)
		ret[len] = text[len] >= ' ' && text[len] <= '~' ? text[len] : '?';
	ret[len] = '\0';
}

static const char *text_of(const struct leaf *l, const char *name)
{
	const char *text = leaf_det_text(l, name);
	return text != NULL ? text : "";
}

/* The body of a webhook; what is JSON is escaped by the library, to ASCII. */
static char *json_text(const struct leaf *l, const struct kms *kms)
{
	char id[GUID_TEXT_LEN + 1], time[TIMESTAMP_LEN + 1], *text = NULL;
	size_t len = 0;
	FILE *out = NULL; /* not json_dumps(): the library has an allocator of its own here */
	bool is_whole = false;
	json_t *body;

	guid_format(l->id, id);
	timestamp_format(l->ts_us, time);
	body = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:{s:s, s:s, s:s, s:I, s:I, s:s*}}", "type", "node.alert", "id", id, "timestamp", time, "node",
	                 kms->node, "origin", kms->origin, "seq", (json_int_t)l->seq, "data", "rule", text_of(l, "rule"), "kind", text_of(l, "kind"),
	                 "subject", text_of(l, "subject"), "count", (json_int_t)leaf_det_number(l, "count"), "seq", (json_int_t)leaf_det_number(l, "seq"),
	                 "vault", leaf_det_text(l, "vault"));
	if (body != NULL)
		out = open_memstream(&text, &len);
	if (out != NULL) {
		is_whole = json_dumpf(body, out, JSON_COMPACT | JSON_ENSURE_ASCII) == 0;
		is_whole = fclose(out) == 0 && is_whole;
	}
	json_decref(body);
	if (!is_whole) {
		free(text);
		return NULL;
	}
	return text;
}

/* Its first line is the title of a mail. */
static char *mail_text(const struct leaf *l, const struct kms *kms)
{
	char rule[TEXT_MAX + 1], kind[TEXT_MAX + 1], subject[TEXT_MAX + 1], vault[TEXT_MAX + 1], time[TIMESTAMP_LEN + 1], *text = NULL;

	clean(l, "rule", rule);
	clean(l, "kind", kind);
	clean(l, "subject", subject);
	clean(l, "vault", vault);
	timestamp_format(l->ts_us, time);
	if (asprintf(&text, "%s: %s\nrule:    %s\nkind:    %s\nsubject: %s\ncount:   %" PRId64 "\nvault:   %s\ntime:    %s\nserver:  %s\nalert:   event %" PRIu64
	             " of %s\ncause:   event %" PRId64 "\n",
	             rule, subject, rule, kind, subject, leaf_det_number(l, "count"), vault[0] != '\0' ? vault : "-", time, kms->node, l->seq, kms->origin,
	             leaf_det_number(l, "seq")) < 0)
		return NULL;
	return text;
}

static char *syslog_text(const struct leaf *l, const struct kms *kms)
{
	const struct format_facts facts = { .origin = kms->origin, .node = kms->node, .directory = "", .enterprise = FORMAT_ENTERPRISE, .has_syslog = true };
	char rule[TEXT_MAX + 1], kind[TEXT_MAX + 1], subject[TEXT_MAX + 1], vault[TEXT_MAX + 1], *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool is_whole;

	if (out == NULL)
		return NULL;
	clean(l, "rule", rule);
	clean(l, "kind", kind);
	clean(l, "subject", subject);
	clean(l, "vault", vault);
	is_whole = format_syslog(l, &facts, out) &&
	           fprintf(out, "alert of rule %s (%s): %s, count %" PRId64 ", vault %s, cause %" PRId64, rule, kind, subject, leaf_det_number(l, "count"),
	                   vault[0] != '\0' ? vault : "-", leaf_det_number(l, "seq")) > 0;
	if (fclose(out) != 0 || !is_whole) {
		free(text);
		return NULL;
	}
	return text;
}

static char *text_for(const struct alert_sender *s, const struct leaf *l)
{
	switch (s->channel->kind) {
	case ALERT_BY_WEBHOOK: return json_text(l, s->cfg->kms);
	case ALERT_BY_MAIL: return mail_text(l, s->cfg->kms);
	case ALERT_BY_SYSLOG:
	case ALERT_BY_SYSLOG_PLAIN: return syslog_text(l, s->cfg->kms);
	}
	return NULL;
}

/* ---- the feed ---- */

/* A rule that is no longer configured has no channels. */
static bool is_for(const struct alert_sender *s, const struct leaf *l)
{
	const char *rule = leaf_det_text(l, "rule");

	if (l->type != EVENT_ALERT || l->is_pruned || rule == NULL)
		return false;
	for (size_t i = 0; i < s->cfg->rule_count; i++)
		for (size_t n = 0; strcmp(s->cfg->rules[i].name, rule) == 0 && n < s->cfg->rules[i].to_count; n++)
			if (strcmp(s->cfg->rules[i].to[n], s->channel->name) == 0)
				return true;
	return false;
}

static uint64_t settled(void *arg)
{
	const struct alert_sender *s = arg;
	uint64_t there = s->sink->ops->settled(s->sink);

	return there < s->next ? there : s->next;
}

/* It holds up all that follow: so it is said which it is, once. */
static void tell_stuck(struct alert_sender *s, uint64_t seq, const struct kms_err *err)
{
	if (s->stuck == seq)
		return;
	s->stuck = seq;
	log_event(LOG_WARN, "alert_waits_for_its_receiver", LOG_S("channel", s->channel->name), LOG_I("seq", seq), LOG_S("failure", err->detail));
}

/* A webhook takes each by itself: what one receiver has said yes to does not come again because it says no to the next. The others take a run. */
static kms_status hand_on(struct alert_sender *s, struct feed *f, const struct record *records, size_t count, struct kms_err *err)
{
	const size_t part = s->channel->kind == ALERT_BY_WEBHOOK ? 1 : count;

	for (size_t i = 0; i < count; i += part) {
		kms_status status;
		s->next = records[i].seq;
		feed_advance(f, s->next);
		status = s->sink->ops->send(s->sink, &records[i], part, feed_stopping(f), err);
		if (status != KMS_OK && status != KMS_E_SHUTDOWN)
			tell_stuck(s, records[i].seq, err);
		KMS_TRY(status);
	}
	return KMS_OK;
}

static kms_status take(void *arg, struct feed *f, const struct leaf *leaves, size_t count, struct kms_err *err)
{
	struct alert_sender *s = arg;
	struct record records[FEED_BATCH_MAX];
	size_t ready = 0;
	kms_status status = KMS_OK;

	for (size_t i = 0; status == KMS_OK && i < count; i++) {
		if (!is_for(s, &leaves[i]))
			continue;
		records[ready] = (struct record){ .seq = leaves[i].seq, .bytes = text_for(s, &leaves[i]) };
		if (records[ready].bytes == NULL) {
			status = kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "text of an alert");
			break;
		}
		records[ready].len = strlen(records[ready].bytes);
		ready++;
	}
	if (status == KMS_OK)
		status = hand_on(s, f, records, ready, err);
	if (status == KMS_OK)
		s->next = leaves[count - 1].seq + 1;
	while (ready > 0)
		free(records[--ready].bytes);
	return status;
}

static kms_status idle(void *arg, struct feed *f, struct kms_err *err)
{
	struct alert_sender *s = arg;

	(void)f;
	return s->sink->ops->tick(s->sink, err);
}

/* All that the sink was not through with comes again. */
static void start_over(void *arg)
{
	struct alert_sender *s = arg;
	s->next = settled(s);
	s->sink->ops->rewind(s->sink);
}

static const struct feed_ops SENDER = { .take = take, .settled = settled, .idle = idle, .rewind = start_over };

/* ---- start and stop ---- */

static kms_status open_sink(struct alert_sender *s, struct kms_err *err)
{
	const struct alert_channel *c = s->channel;
	const struct alert_sink_facts facts = { .clock = s->cfg->kms->clock, .node = s->cfg->kms->node };
	const struct sink_tls tls = { .ca = c->ca, .certificate = c->certificate, .key = c->key };

	switch (c->kind) {
	case ALERT_BY_WEBHOOK: return sink_webhook_new(c, &facts, &s->sink, err);
	case ALERT_BY_MAIL: return sink_mail_new(c, &facts, &s->sink, err);
	case ALERT_BY_SYSLOG:
	case ALERT_BY_SYSLOG_PLAIN: return sink_syslog_new(c->address, c->kind == ALERT_BY_SYSLOG_PLAIN, &tls, &s->sink, err);
	}
	return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "a channel of no kind");
}

/* What feed_start() will begin with. */
static kms_status find_next(struct alert_sender *s, struct kms_err *err)
{
	struct writer_state now;
	struct store *store = NULL;
	kms_status status;

	writer_state(s->cfg->kms->writer, &now);
	KMS_TRY(s->cfg->open_store(s->cfg->open_arg, &store, err));
	status = store_cursor(store, s->name, &s->next, err);
	store_close(store);
	if (s->next == 0 || s->next > now.size)
		s->next = s->next == 0 ? now.size : 0;
	return status;
}

kms_status alert_sender_start(const struct alerts_config *cfg, const struct alert_channel *c, struct alert_sender **ret, struct kms_err *err)
{
	struct alert_sender *s = calloc(1, sizeof(*s));
	struct feed_config feed = { .kms = cfg->kms, .open_store = cfg->open_store, .open_arg = cfg->open_arg, .ops = &SENDER, .idle_ms = IDLE_MS,
		                    .keeps_cursor = false, .starts_at_end = true };
	kms_status status;

	if (s == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "alert channel %s", c->name);
	s->cfg = cfg;
	s->channel = c;
	(void)snprintf(s->name, sizeof(s->name), FEED_PREFIX "%s", c->name);
	feed.name = s->name;
	feed.arg = s;
	status = open_sink(s, err);
	if (status == KMS_OK)
		status = find_next(s, err);
	if (status == KMS_OK)
		status = feed_start(&feed, &s->feed, err);
	if (status != KMS_OK) {
		alert_sender_stop(s);
		return status;
	}
	*ret = s;
	return KMS_OK;
}

void alert_sender_state(struct alert_sender *s, struct feed_state *ret) { feed_state(s->feed, ret); }

void alert_sender_tell_to_stop(struct alert_sender *s) { feed_tell_to_stop(s->feed); }

void alert_sender_stop(struct alert_sender *s)
{
	if (s == NULL)
		return;
	feed_stop(s->feed);
	if (s->sink != NULL)
		s->sink->ops->close(s->sink);
	free(s);
}
