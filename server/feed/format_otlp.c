/* server/feed/format_otlp.c - OpenTelemetry log records in the JSON encoding of OTLP (spec/audit-log.md 10.3). Attributes name no person, and hold nothing that a client
 * chose freely but a key's name. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/version.h"
#include "server/feed/format.h"

#define NUMBER_MAX 24
#define NS_PER_US "000"
#define TRACE_LEN 32

static const struct {
	int number;
	const char *text;
} SEVERITIES[] = {
	[CLASS_USE] = { 9, "INFO" },      [CLASS_ADMIN] = { 10, "INFO2" },  [CLASS_DENIED] = { 13, "WARN" },
	[CLASS_FAILED] = { 17, "ERROR" }, [CLASS_GRAVE] = { 10, "INFO2" }, [CLASS_CRITICAL] = { 21, "FATAL" },
};

/* Without sentences of the log's own the body is what can be said of any event. No text of a user. */
static const char *body_of(const struct leaf *l)
{
	switch (l->result) {
	case EVENT_OK:
		return "A key management event took place.";
	case EVENT_REFUSED:
		return "A key management request was denied.";
	case EVENT_FAILED:
		return "A key management operation failed.";
	case EVENT_UNKNOWN:
		return "The outcome of a key management operation is unknown.";
	case EVENT_PENDING:
		return "A key management operation begins.";
	}
	return "";
}

/* ---- attributes ---- */

static bool put_text(json_t *list, const char *key, const char *text)
{
	return text == NULL || text[0] == '\0' || json_array_append_new(list, json_pack("{s:s,s:{s:s}}", "key", key, "value", "stringValue", text)) == 0;
}

/* What was done, where the event's name leaves it open; what an alert is about. Their words are the server's and the configuration's. */
static bool put_act(json_t *list, const struct leaf *l)
{
	if (!put_text(list, "kms.act", leaf_det_text(l, "act")))
		return false;
	return l->type != EVENT_ALERT || (put_text(list, "kms.alert.rule", leaf_det_text(l, "rule")) && put_text(list, "kms.alert.kind", leaf_det_text(l, "kind")));
}

/* 64-bit integers are strings in JSON. */
static bool put_number(json_t *list, const char *key, uint64_t number)
{
	char text[NUMBER_MAX];

	(void)snprintf(text, sizeof(text), "%" PRIu64, number);
	return json_array_append_new(list, json_pack("{s:s,s:{s:s}}", "key", key, "value", "intValue", text)) == 0;
}

static bool put_attributes(json_t *list, const struct leaf *l, const struct format_facts *facts)
{
	char hash[FORMAT_HASH_MAX], pid[FORMAT_PID_MAX], tenant[GUID_TEXT_LEN + 1] = "", id[GUID_TEXT_LEN + 1];

	format_hash(l, hash);
	format_pid(l, pid);
	guid_format(l->id, id);
	if (l->has_tenant)
		guid_format(l->tenant, tenant);
	return put_text(list, "kms.tenant", tenant) && put_text(list, "kms.key.name", l->key_name) && put_text(list, "kms.key.version", l->key_version) &&
	       put_text(list, "kms.algorithm", l->alg) && put_text(list, "kms.result", format_result(l)) && put_text(list, "error.type", l->err) &&
	       (l->http == 0 || put_number(list, "http.response.status_code", (uint64_t)l->http)) && put_text(list, "enduser.pseudo.id", pid) &&
	       put_text(list, "kms.request.id", l->req) && put_act(list, l) && (l->count == 1 || put_number(list, "kms.count", l->count)) && put_text(list, "kms.audit.id", id) &&
	       put_number(list, "kms.audit.seq", l->seq) && put_text(list, "kms.audit.leaf", hash) && put_text(list, "kms.audit.origin", facts->origin);
}

/* ---- the record ---- */

static bool put_time(json_t *o, const char *name, int64_t us)
{
	char text[NUMBER_MAX + sizeof(NS_PER_US)];

	(void)snprintf(text, sizeof(text), "%" PRId64 NS_PER_US, us > 0 ? us : 0);
	return format_put(o, name, text);
}

static bool put_record(json_t *o, const struct leaf *l, const struct format_facts *facts)
{
	enum format_class class = format_class_of(l);
	json_t *attributes = json_array();
	char *name = NULL;
	bool good = attributes != NULL && put_attributes(attributes, l, facts) && asprintf(&name, "kms.%s", l->type_name) > 0;

	if (!good) {
		json_decref(attributes);
		return false;
	}
	good = format_put_value(o, "attributes", attributes) && format_put(o, "eventName", name);
	free(name);
	return good && put_time(o, "timeUnixNano", l->ts_us) && put_time(o, "observedTimeUnixNano", facts->observed_us) &&
	       format_put_value(o, "severityNumber", json_integer(SEVERITIES[class].number)) && format_put(o, "severityText", SEVERITIES[class].text) &&
	       format_put_value(o, "body", json_pack("{s:s}", "stringValue", body_of(l))) &&
	       (strlen(l->trace) != TRACE_LEN || format_put(o, "traceId", l->trace));
}

bool format_otlp(const struct leaf *l, const struct format_facts *facts, FILE *out)
{
	json_t *o = json_object();
	bool good = o != NULL && put_record(o, l, facts) && json_dumpf(o, out, JSON_COMPACT | JSON_ENSURE_ASCII) == 0;

	json_decref(o);
	return good;
}

/* ---- around a run of them ---- */

kms_status format_otlp_head(const struct format_facts *facts, char **ret_text, struct kms_err *err)
{
	/* The node's name and the version are letters, digits, dots and dashes. */
	if (asprintf(ret_text,
	             "{\"resourceLogs\":[{\"resource\":{\"attributes\":["
	             "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"holdfast\"}},"
	             "{\"key\":\"service.version\",\"value\":{\"stringValue\":\"" HOLDFAST_VERSION_STRING "\"}},"
	             "{\"key\":\"host.name\",\"value\":{\"stringValue\":\"%s\"}},"
	             "{\"key\":\"service.instance.id\",\"value\":{\"stringValue\":\"%s\"}}]},"
	             "\"scopeLogs\":[{\"scope\":{\"name\":\"holdfast.audit\"},\"logRecords\":[",
	             facts->node, facts->node) < 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "OTLP request");
	return KMS_OK;
}

const char *format_otlp_tail(void) { return "]}]}]}"; }
