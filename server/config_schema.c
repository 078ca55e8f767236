/* server/config_schema.c - what libcyaml is told of the file: every key is optional here, so that the rules of config.c say what is missing. */
#include "server/config_schema.h"

#include <limits.h>

#include "server/config_alert.h"
#include "server/config_export.h"
#include "server/config_issuers.h"
#include "server/config_log.h"
#include "server/config_webhooks.h"

#define TEXT(key, member) CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config, member, 0, PATH_MAX)
#define UINT(key, member) CYAML_FIELD_UINT(key, CYAML_FLAG_OPTIONAL, struct config, member)
/* A section's members are placed by their offset in the whole struct, so that the rules and the schema speak of the same offsets. */
#define SECTION(name, members)                                                                                              \
	{                                                                                                                   \
		.key = (name), .data_offset = 0, .value = { .type = CYAML_MAPPING, .flags = CYAML_FLAG_OPTIONAL,            \
		                                            .data_size = sizeof(struct config), .mapping = { .fields = (members) } } \
	}

static const cyaml_schema_value_t UID_SCHEMA = { CYAML_VALUE_UINT(CYAML_FLAG_DEFAULT, uint32_t) };
static const cyaml_schema_field_t LISTEN_FIELDS[] = {
	TEXT("address", listen.address),
	UINT("port", listen.port),
	UINT("threads", listen.threads),
	UINT("connections", listen.connections),
	UINT("per_ip", listen.per_ip),
	CYAML_FIELD_BOOL("client_certificates", CYAML_FLAG_OPTIONAL, struct config, listen.client_certificates),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t TLS_FIELDS[] = { TEXT("certificate", tls.certificate), TEXT("key", tls.key), CYAML_FIELD_END };
static const cyaml_schema_field_t ADMIN_FIELDS[] = {
	TEXT("socket", admin.socket),
	CYAML_FIELD_SEQUENCE_COUNT("uids", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config, admin.uids, admin.uids_count, &UID_SCHEMA, 0,
	                           CONFIG_UIDS_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t EKM_FIELDS[] = {
	TEXT("address", ekm.address),
	UINT("port", ekm.port),
	TEXT("certificate", ekm.certificate),
	TEXT("key", ekm.key),
	UINT("connections", ekm.connections),
	TEXT("api_version", ekm.api_version),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t IDENTITY_FIELDS[] = { TEXT("address", identity.address), UINT("port", identity.port), CYAML_FIELD_END };
static const cyaml_schema_field_t STORAGE_FIELDS[] = {
	TEXT("database", storage.database),
	UINT("reserve_mib", storage.reserve_mib),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t HSM_FIELDS[] = {
	TEXT("module", hsm.module),   TEXT("token", hsm.token),         TEXT("pin", hsm.pin), TEXT("token_dir", hsm.token_dir),
	UINT("workers", hsm.workers), UINT("cache_keys", hsm.cache_keys), CYAML_FIELD_END,
};
static const cyaml_schema_field_t BACKUP_FIELDS[] = {
	TEXT("directory", backup.directory), UINT("every_hours", backup.every_hours), UINT("keep", backup.keep), UINT("epoch_days", backup.epoch_days),
	UINT("keep_days", backup.keep_days), CYAML_FIELD_END,
};
static const cyaml_schema_field_t METRICS_FIELDS[] = {
	TEXT("address", metrics.address), UINT("port", metrics.port), TEXT("certificate", metrics.certificate), TEXT("key", metrics.key),
	TEXT("token_file", metrics.token_file), UINT("vaults", metrics.vaults), CYAML_FIELD_END,
};
#define WITNESS_TEXT(name) CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_witness, name, 0, PATH_MAX)
static const cyaml_schema_field_t WITNESS_FIELDS[] = { WITNESS_TEXT(key), WITNESS_TEXT(url), WITNESS_TEXT(ca), CYAML_FIELD_END };
static const cyaml_schema_value_t WITNESS_SCHEMA = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_witness, WITNESS_FIELDS) };
static const cyaml_schema_field_t LOG_FIELDS[] = {
	TEXT("level", log.level),
	TEXT("format", log.format),
	TEXT("origin", log.origin),
	UINT("interval_ms", log.interval_ms),
	UINT("pin_s", log.pin_s),
	UINT("heartbeat_s", log.heartbeat_s),
	UINT("late_ms", log.late_ms),
	UINT("keep_days", log.keep_days),
	UINT("quorum", log.quorum),
	CYAML_FIELD_BOOL("strict", CYAML_FLAG_OPTIONAL, struct config, log.is_strict),
	CYAML_FIELD_BOOL("witnesses_required", CYAML_FLAG_OPTIONAL, struct config, log.witnesses_required),
	CYAML_FIELD_SEQUENCE_COUNT("witnesses", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config, log.witnesses, log.witnesses_count, &WITNESS_SCHEMA, 0,
	                           CONFIG_WITNESSES_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t LIMITS_FIELDS[] = {
	UINT("queue", limits.queue),
	UINT("token_life_s", limits.token_life_s),
	UINT("vault_requests", limits.vault_requests),
	UINT("vault_creates", limits.vault_creates),
	UINT("principal_requests", limits.principal_requests),
	UINT("principal_creates", limits.principal_creates),
	CYAML_FIELD_END,
};
#define ISSUER_TEXT(key, member) \
	CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_issuer, member, 0, PATH_MAX)
#define ISSUER_LIST(key, member)                                                                                                                       \
	CYAML_FIELD_SEQUENCE_COUNT(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_issuer, member, member##_count, &ISSUER_VALUE_SCHEMA, 0, \
	                           ISSUER_LIST_MAX)
static const cyaml_schema_value_t ISSUER_VALUE_SCHEMA = { CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, ISSUER_VALUE_MAX) };
static const cyaml_schema_field_t ISSUER_FIELDS[] = {
	ISSUER_TEXT("name", name),
	ISSUER_LIST("issuer", issuer),
	ISSUER_LIST("audience", audience),
	ISSUER_TEXT("tenant", tenant),
	ISSUER_TEXT("authority", authority),
	ISSUER_TEXT("jwks_url", jwks_url),
	ISSUER_TEXT("jwks_file", jwks_file),
	ISSUER_TEXT("ca", ca),
	ISSUER_LIST("algorithms", algorithms),
	ISSUER_TEXT("principal_claim", principal_claim),
	ISSUER_TEXT("group_claim", group_claim),
	ISSUER_TEXT("role_claim", role_claim),
	CYAML_FIELD_UINT("refresh_s", CYAML_FLAG_OPTIONAL, struct config_issuer, refresh_s),
	CYAML_FIELD_UINT("stale_s", CYAML_FLAG_OPTIONAL, struct config_issuer, stale_s),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t ISSUER_SCHEMA = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_issuer, ISSUER_FIELDS) };
static const cyaml_schema_field_t WEBHOOKS_FIELDS[] = {
	CYAML_FIELD_SEQUENCE_COUNT("hosts", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config, webhooks.hosts, webhooks.hosts_count, &ISSUER_VALUE_SCHEMA, 0,
	                           CONFIG_WEBHOOK_HOSTS_MAX),
	TEXT("ca", webhooks.ca), TEXT("certificate", webhooks.certificate), TEXT("key", webhooks.key), CYAML_FIELD_END,
};
#define EXPORT_TEXT(name) CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_export, name, 0, PATH_MAX)
static const cyaml_schema_field_t EXPORT_FIELDS[] = {
	EXPORT_TEXT(name),
	EXPORT_TEXT(format),
	EXPORT_TEXT(to),
	EXPORT_TEXT(ca),
	EXPORT_TEXT(certificate),
	EXPORT_TEXT(key),
	EXPORT_TEXT(headers_file),
	CYAML_FIELD_BOOL("required", CYAML_FLAG_OPTIONAL, struct config_export, required),
	CYAML_FIELD_UINT("max_lag_s", CYAML_FLAG_OPTIONAL, struct config_export, max_lag_s),
	CYAML_FIELD_UINT("enterprise", CYAML_FLAG_OPTIONAL, struct config_export, enterprise),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t EXPORT_SCHEMA = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_export, EXPORT_FIELDS) };
#define RULE_TEXT(name) CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_alert_rule, name, 0, PATH_MAX)
#define RULE_UINT(name) CYAML_FIELD_UINT(#name, CYAML_FLAG_OPTIONAL, struct config_alert_rule, name)
static const cyaml_schema_field_t RULE_FIELDS[] = {
	RULE_TEXT(name), RULE_TEXT(kind), RULE_TEXT(vault), RULE_TEXT(per), RULE_UINT(limit), RULE_UINT(factor), RULE_UINT(at_least), RULE_UINT(window_s),
	RULE_UINT(late_s),
	CYAML_FIELD_SEQUENCE_COUNT("to", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_alert_rule, to, to_count, &ISSUER_VALUE_SCHEMA, 0,
	                           CONFIG_ALERT_TO_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t RULE_SCHEMA = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_alert_rule, RULE_FIELDS) };
#define CHANNEL_TEXT(name) CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_alert_channel, name, 0, PATH_MAX)
static const cyaml_schema_field_t CHANNEL_FIELDS[] = {
	CHANNEL_TEXT(name), CHANNEL_TEXT(kind), CHANNEL_TEXT(address), CHANNEL_TEXT(ca), CHANNEL_TEXT(certificate), CHANNEL_TEXT(key), CHANNEL_TEXT(secret_file), CHANNEL_TEXT(from),
	CYAML_FIELD_SEQUENCE_COUNT("to", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_alert_channel, to, to_count, &ISSUER_VALUE_SCHEMA, 0,
	                           CONFIG_ALERT_TO_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t CHANNEL_SCHEMA = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_alert_channel, CHANNEL_FIELDS) };
static const cyaml_schema_field_t ALERTS_FIELDS[] = {
	CYAML_FIELD_SEQUENCE_COUNT("rules", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config, alerts.rules, alerts.rules_count, &RULE_SCHEMA, 0,
	                           CONFIG_ALERT_RULES_MAX),
	CYAML_FIELD_SEQUENCE_COUNT("channels", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config, alerts.channels, alerts.channels_count, &CHANNEL_SCHEMA,
	                           0, CONFIG_ALERT_CHANNELS_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t CONFIG_FIELDS[] = {
	TEXT("node", node),
	TEXT("site", site),
	TEXT("domain", domain),
	UINT("public_port", public_port),
	SECTION("listen", LISTEN_FIELDS),
	SECTION("tls", TLS_FIELDS),
	SECTION("admin", ADMIN_FIELDS),
	SECTION("ekm", EKM_FIELDS),
	SECTION("identity", IDENTITY_FIELDS),
	SECTION("storage", STORAGE_FIELDS),
	SECTION("hsm", HSM_FIELDS),
	SECTION("backup", BACKUP_FIELDS),
	SECTION("log", LOG_FIELDS),
	SECTION("metrics", METRICS_FIELDS),
	SECTION("alerts", ALERTS_FIELDS),
	SECTION("webhooks", WEBHOOKS_FIELDS),
	SECTION("limits", LIMITS_FIELDS),
	CYAML_FIELD_SEQUENCE_COUNT("exports", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config, exports, exports_count, &EXPORT_SCHEMA, 0,
	                           CONFIG_EXPORTS_MAX),
	CYAML_FIELD_SEQUENCE_COUNT("issuers", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config, issuers, issuers_count, &ISSUER_SCHEMA, 0,
	                           ISSUERS_MAX),
	CYAML_FIELD_END,
};
const cyaml_schema_value_t CONFIG_SCHEMA = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config, CONFIG_FIELDS) };
