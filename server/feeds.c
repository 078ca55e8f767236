/* server/feeds.c - see feeds.h. */
#include "server/feeds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/config_alert.h"
#include "server/config_export.h"
#include "server/feed/alert.h"
#include "server/feed/export.h"
#include "server/feed/index.h"
#include "server/feed/webhook.h"
#include "storage/sqlite/event_index.h"

static kms_status start_webhooks(const struct feeds_setup *setup, struct feeds *feeds, struct kms_err *err)
{
	const struct config *c = setup->config;
	const struct webhooks_config cfg = { .kms = setup->kms, .open_store = setup->open_store, .open_arg = setup->open_arg,
		                             .hosts = (const char *const *)c->webhooks.hosts, .host_count = c->webhooks.hosts_count,
		                             .ca = c->webhooks.ca, .certificate = c->webhooks.certificate, .key = c->webhooks.key };

	return c->webhooks.is_on ? webhooks_start(&cfg, &feeds->webhooks, err) : KMS_OK;
}

/* As config_check_exports() let it through. */
static void set_target(const struct config_export *from, struct export_config *to)
{
	static const struct {
		const char *prefix;
		enum export_sink sink;
	} SINKS[] = { { EXPORT_TO_FILE, EXPORT_FILE }, { EXPORT_TO_SYSLOG, EXPORT_SYSLOG }, { EXPORT_TO_SYSLOG_PLAIN, EXPORT_SYSLOG_PLAIN } };

	to->sink = EXPORT_OTLP;
	to->target = from->to;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SINKS); i++) {
		const char *rest = config_behind(from->to, SINKS[i].prefix);
		if (rest == NULL)
			continue;
		to->sink = SINKS[i].sink;
		to->target = rest;
	}
}

static kms_status start_exports(const struct feeds_setup *setup, struct feeds *feeds, struct kms_err *err)
{
	const struct config *c = setup->config;
	struct export_config list[EXPORTS_MAX] = { 0 };
	const struct exports_config cfg = { .kms = setup->kms, .open_store = setup->open_store, .open_arg = setup->open_arg, .list = list, .count = c->exports_count };

	_Static_assert(EXPORTS_MAX == CONFIG_EXPORTS_MAX, "as many as may be configured");
	for (size_t i = 0; i < cfg.count; i++) {
		const struct config_export *x = &c->exports[i];
		list[i] = (struct export_config){ .name = x->name, .format = format_parse(x->format), .to = x->to, .tls = { x->ca, x->certificate, x->key },
			                          .headers_file = x->headers_file, .enterprise = x->enterprise, .is_required = x->required,
			                          .max_lag_s = x->max_lag_s };
		set_target(x, &list[i]);
	}
	return cfg.count > 0 ? exports_start(&cfg, &feeds->exports, err) : KMS_OK;
}

/* Beside the database, as SQLite's own files are. */
static kms_status start_indexer(const struct feeds_setup *setup, struct feeds *feeds, struct kms_err *err)
{
	struct indexer_config cfg = { .kms = setup->kms, .open_store = setup->open_store, .open_arg = setup->open_arg,
		                      .open_index = event_index_open_sqlite, .remove_index = event_index_remove_sqlite };
	char *path = NULL;
	kms_status status;

	if (asprintf(&path, "%s-index", setup->config->storage.database) < 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "event index");
	cfg.path = path;
	status = indexer_start(&cfg, &feeds->indexer, err);
	free(path);
	return status;
}

/* As config_check_alerts() let it through. */
static struct alert_channel channel_of(const struct config_alert_channel *c)
{
	struct alert_channel ret = { .name = c->name, .kind = ALERT_BY_WEBHOOK, .address = c->address, .ca = c->ca, .certificate = c->certificate, .key = c->key,
		                     .secret_file = c->secret_file, .from = c->from,
		                     .to = (const char *const *)c->to, .to_count = c->to_count };
	static const struct {
		const char *prefix;
		enum alert_channel_kind kind;
	} KINDS[] = { { CONFIG_ALERT_SMTP, ALERT_BY_MAIL }, { CONFIG_ALERT_SYSLOG, ALERT_BY_SYSLOG }, { CONFIG_ALERT_SYSLOG_PLAIN, ALERT_BY_SYSLOG_PLAIN } };

	for (size_t i = 0; i < KMS_ARRAY_LEN(KINDS); i++) {
		const char *rest = config_behind(c->address, KINDS[i].prefix);
		if (rest == NULL)
			continue;
		ret.kind = KINDS[i].kind;
		ret.address = rest;
	}
	return ret;
}

static struct alert_rule rule_of(const struct config_alert_rule *r)
{
	return (struct alert_rule){ .name = r->name, .kind = alert_kind_parse(r->kind), .vault = r->vault, .limit = r->limit, .factor = r->factor,
		                    .at_least = r->at_least, .window_s = r->window_s, .late_s = r->late_s,
		                    .is_total = r->per != NULL && strcmp(r->per, "total") == 0, .to = (const char *const *)r->to, .to_count = r->to_count };
}

static kms_status start_alerts(const struct feeds_setup *setup, struct feeds *feeds, struct kms_err *err)
{
	const struct config *c = setup->config;
	struct alert_rule rules[ALERT_RULES_MAX];
	struct alert_channel channels[ALERT_CHANNELS_MAX];
	const struct alerts_config cfg = { .kms = setup->kms, .open_store = setup->open_store, .open_arg = setup->open_arg, .indexer = feeds->indexer,
		                           .rules = rules, .rule_count = c->alerts.rules_count, .channels = channels, .channel_count = c->alerts.channels_count };

	_Static_assert(ALERT_RULES_MAX == CONFIG_ALERT_RULES_MAX && ALERT_CHANNELS_MAX == CONFIG_ALERT_CHANNELS_MAX, "as many as may be configured");
	for (size_t i = 0; i < cfg.rule_count; i++)
		rules[i] = rule_of(&c->alerts.rules[i]);
	for (size_t i = 0; i < cfg.channel_count; i++)
		channels[i] = channel_of(&c->alerts.channels[i]);
	return cfg.rule_count > 0 ? alerts_start(&cfg, &feeds->alerts, err) : KMS_OK;
}

kms_status feeds_start(const struct feeds_setup *setup, struct feeds *feeds, struct kms_err *err)
{
	KMS_TRY(start_indexer(setup, feeds, err));
	KMS_TRY(start_exports(setup, feeds, err));
	KMS_TRY(start_webhooks(setup, feeds, err));
	KMS_TRY(start_alerts(setup, feeds, err));
	return KMS_OK;
}

/* All are told first: what each waits for when it ends (a name server, a receiver) is waited for once, and not one after the other. */
void feeds_stop(struct feeds *feeds)
{
	alerts_tell_to_stop(feeds->alerts);
	webhooks_tell_to_stop(feeds->webhooks);
	exports_tell_to_stop(feeds->exports);
	alerts_stop(feeds->alerts);
	feeds->alerts = NULL;
	webhooks_stop(feeds->webhooks);
	feeds->webhooks = NULL;
	exports_stop(feeds->exports);
	feeds->exports = NULL;
	indexer_stop(feeds->indexer); /* last: alerts ask it */
	feeds->indexer = NULL;
}
