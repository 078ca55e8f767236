/* server/feed/format.c - what the formats share, and the native one; see format.h. */
#include "server/feed/format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const NAMES[] = { [FORMAT_NATIVE] = "native", [FORMAT_AZURE] = "azure", [FORMAT_CEF] = "cef", [FORMAT_OTLP] = "otlp" };

enum feed_format format_parse(const char *name)
{
	for (size_t i = FORMAT_NATIVE; i < KMS_ARRAY_LEN(NAMES); i++)
		if (strcmp(NAMES[i], name) == 0)
			return (enum feed_format)i;
	return 0;
}

const char *format_name(enum feed_format f) { return NAMES[f]; }

bool format_takes(enum feed_format f, const struct leaf *l) { return f == FORMAT_NATIVE || (!l->is_pruned && l->phase != EVENT_INTENT); }

/* ---- how much it matters ---- */

static bool is_one_of(enum event_type type, const enum event_type *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == type)
			return true;
	return false;
}

static bool is_critical(enum event_type type) { return type == EVENT_LOG_INTEGRITY_FAILED || type == EVENT_TENANT_RESURRECTED; }

/* What cannot be undone, and who may do it. */
static bool is_grave(enum event_type type)
{
	static const enum event_type GRAVE[] = { EVENT_KEY_DESTROY, EVENT_KEY_PURGE, EVENT_KEY_RESTORE, EVENT_TENANT_SHRED, EVENT_TENANT_SHRED_INCOMPLETE,
		                                 EVENT_ROLE_GRANT, EVENT_ROLE_REVOKE, EVENT_NODE_RESTORED, EVENT_LOG_RESTORED, EVENT_LOG_PRUNED,
		                                 EVENT_AUDIT_ERASE, EVENT_BACKUP_EPOCH_END };
	return is_one_of(type, GRAVE, KMS_ARRAY_LEN(GRAVE));
}

/* What happens all day. */
static bool is_use(enum event_type type)
{
	static const enum event_type USE[] = { EVENT_KEY_GET, EVENT_KEY_LIST, EVENT_KEY_WRAP, EVENT_KEY_UNWRAP, EVENT_KEY_ENCRYPT, EVENT_KEY_DECRYPT,
		                               EVENT_KEY_SIGN, EVENT_KEY_VERIFY, EVENT_KEY_RANDOM, EVENT_EKM_INFO, EVENT_EKM_METADATA, EVENT_LOGIN,
		                               EVENT_AUDIT_READ, EVENT_LOG_HEARTBEAT };
	return is_one_of(type, USE, KMS_ARRAY_LEN(USE));
}

enum format_class format_class_of(const struct leaf *l)
{
	if (is_critical(l->type))
		return CLASS_CRITICAL;
	switch (l->result) {
	case EVENT_REFUSED:
		return CLASS_DENIED;
	case EVENT_FAILED:
	case EVENT_UNKNOWN:
		return CLASS_FAILED;
	case EVENT_OK:
	case EVENT_PENDING:
		break;
	}
	if (l->type == EVENT_ALERT) /* somebody should look, as at a refusal */
		return CLASS_DENIED;
	return is_grave(l->type) ? CLASS_GRAVE : is_use(l->type) ? CLASS_USE : CLASS_ADMIN;
}

bool format_is_reinstatement(const struct leaf *l)
{
	const char *act = leaf_det_text(l, "act");
	return l->type == EVENT_KEY_REVOKE && act != NULL && strcmp(act, "reinstate") == 0;
}

const char *format_result(const struct leaf *l)
{
	static const char *const RESULTS[] = { [EVENT_OK] = "ok", [EVENT_REFUSED] = "denied", [EVENT_FAILED] = "failed", [EVENT_PENDING] = "pending",
		                               [EVENT_UNKNOWN] = "unknown" };
	return RESULTS[l->result];
}

void format_hash(const struct leaf *l, char ret[FORMAT_HASH_MAX])
{
	_Static_assert(B64_LEN(MERKLE_HASH_LEN) < FORMAT_HASH_MAX, "hashes fit");
	b64_encode(l->hash, sizeof(l->hash), ret);
}

void format_pid(const struct leaf *l, char ret[FORMAT_PID_MAX])
{
	_Static_assert(B64URL_LEN(sizeof(l->pid)) < FORMAT_PID_MAX, "pseudonyms fit");
	ret[0] = '\0';
	if (l->has_pid)
		b64url_encode(l->pid, sizeof(l->pid), ret);
}

bool format_put(json_t *o, const char *name, const char *text)
{
	return text == NULL || text[0] == '\0' || format_put_value(o, name, json_string(text));
}

bool format_put_value(json_t *o, const char *name, json_t *value) { return json_object_set_new(o, name, value) == 0; }

/* ---- the leaf itself ---- */

/* The canonical bytes, over which the hash is; for a body that is gone what GET /audit/v1/entries says of it, and for one that is damaged that it is. */
bool format_native(const struct leaf *l, FILE *out)
{
	char hash[FORMAT_HASH_MAX];

	if (!l->is_pruned)
		return fwrite(l->text, 1, l->text_len, out) == l->text_len;
	format_hash(l, hash);
	return fprintf(out, "{%s\"hash\":\"%s\",\"seq\":%llu}", l->is_damaged ? "\"damaged\":true," : "", hash, (unsigned long long)l->seq) > 0;
}

/* ---- one record ---- */

static bool write_record(enum feed_format f, const struct leaf *l, const struct format_facts *facts, FILE *out)
{
	if ((facts->has_syslog || f == FORMAT_CEF) && !format_syslog(l, facts, out))
		return false;
	switch (f) {
	case FORMAT_NATIVE:
		return format_native(l, out);
	case FORMAT_AZURE:
		return format_azure(l, facts, out);
	case FORMAT_CEF:
		return format_cef(l, out);
	case FORMAT_OTLP:
		return format_otlp(l, facts, out);
	}
	return false;
}

kms_status format_leaf(enum feed_format f, const struct leaf *l, const struct format_facts *facts, char **ret_text, size_t *ret_len, struct kms_err *err)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool is_whole = out != NULL && write_record(f, l, facts, out) && ferror(out) == 0;

	if (out != NULL && fclose(out) != 0)
		is_whole = false;
	if (!is_whole) {
		free(text);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "record of leaf %llu", (unsigned long long)l->seq);
	}
	*ret_text = text;
	*ret_len = len;
	return KMS_OK;
}
