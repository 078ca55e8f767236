/*
 * server/feed/format.h - a leaf as one record of another system's language (spec/audit-log.md section 10). Pure: what they need is handed in.
 * Guards: whatever text a leaf holds, it makes one record and no second one, nor a field that it does not have. A record is one line without its end.
 */
#ifndef HOLDFAST_FEED_FORMAT_H
#define HOLDFAST_FEED_FORMAT_H

#include <stdio.h>

#include "server/feed/leaf.h"

#define FORMAT_ENTERPRISE 32473 /* IANA's number for documentation: an installation without one of its own */

enum feed_format { FORMAT_NATIVE = 1, FORMAT_AZURE, FORMAT_CEF, FORMAT_OTLP };

/* What a record says that its leaf does not. */
struct format_facts {
	const char *origin; /* of the log */
	const char *node;   /* this server: [A-Za-z0-9.-] */
	const char *directory; /* tenant GUID of the directory */
	const char *vault;     /* name of the leaf's vault; NULL = it is of no vault, or of one that is not known */
	const char *vault_url; /* NULL = the same */
	uint32_t enterprise;   /* IANA enterprise number */
	int64_t observed_us;   /* now; of OTLP */
	bool has_syslog;       /* RFC 5424's header before it; CEF always has one */
};

/** "native", "azure", "cef", "otlp"; 0 = none of them. */
enum feed_format format_parse(const char *name);
const char *format_name(enum feed_format f);
/** Does this format show the leaf? All but the native one leave out intents, whose outcomes they show, and leaves whose body was pruned. */
bool format_takes(enum feed_format f, const struct leaf *l);
/**
 * One record. OTLP: a LogRecord object; format_otlp_head() and format_otlp_tail() go around a run of them.
 * @param ret_text  owned by the caller, NUL-terminated
 * @return KMS_OK | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status format_leaf(enum feed_format f, const struct leaf *l, const struct format_facts *facts, char **ret_text, size_t *ret_len,
                                      struct kms_err *err);
/** @param ret_text  owned by the caller @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status format_otlp_head(const struct format_facts *facts, char **ret_text, struct kms_err *err);
const char *format_otlp_tail(void);

/* ---- what the formats share ---- */

/* How much an event matters, as receivers sort it. */
enum format_class { CLASS_USE, CLASS_ADMIN, CLASS_DENIED, CLASS_FAILED, CLASS_GRAVE, CLASS_CRITICAL };
enum format_class format_class_of(const struct leaf *l);
/** A key.revoke that takes a revocation back: receivers must not count it as one. */
bool format_is_reinstatement(const struct leaf *l);
/** "ok", "denied", "failed", "pending", "unknown". */
const char *format_result(const struct leaf *l);
#define FORMAT_HASH_MAX 48
/** Standard base64 with padding. */
void format_hash(const struct leaf *l, char ret[FORMAT_HASH_MAX]);
#define FORMAT_PID_MAX 24
/** base64url; "" = it has none. */
void format_pid(const struct leaf *l, char ret[FORMAT_PID_MAX]);
/** Set a member unless the text is NULL or empty. @return false without memory, or when *o is NULL */
bool format_put(json_t *o, const char *name, const char *text);
/** Takes `value`. @return false when it is NULL, or without memory */
bool format_put_value(json_t *o, const char *name, json_t *value);

/* Each writes its part to `out`, which keeps failures. @return false without memory */
bool format_native(const struct leaf *l, FILE *out);
bool format_azure(const struct leaf *l, const struct format_facts *facts, FILE *out);
bool format_cef(const struct leaf *l, FILE *out);
bool format_otlp(const struct leaf *l, const struct format_facts *facts, FILE *out);
/** RFC 5424 up to the message. */
bool format_syslog(const struct leaf *l, const struct format_facts *facts, FILE *out);

#endif
