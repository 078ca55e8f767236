/* server/base/log.h - the diagnostic log (not the audit log): one event per line, text on a terminal, JSON otherwise, to stderr.
 * No formatter for bytes exists, so that no secret can be printed by mistake. Thread-safe. */
#ifndef HOLDFAST_BASE_LOG_H
#define HOLDFAST_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* One key=value. Make with LOG_S / LOG_I; text is escaped and cut to 512 bytes. */
struct log_field {
	const char *name;
	const char *text; /* NULL: the number counts */
	int64_t number;
};
#define LOG_S(n, t) ((struct log_field){ .name = (n), .text = (t) != NULL ? (t) : "" })
#define LOG_I(n, v) ((struct log_field){ .name = (n), .number = (int64_t)(v) })

/** Choose level and form once at start; the default is LOG_INFO and text if stderr is a terminal. */
void log_setup(enum log_level least, bool as_json);
bool log_level_parse(const char *text, enum log_level *ret_level); /* "debug", "info", "warn", "error" */

/** log_event(LOG_INFO, "daemon_started", LOG_S("address", "…"), LOG_I("port", 8443)); request id goes in as field "req". */
#define log_event(level, event, ...) \
	log_write(level, event, (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(,) { .name = NULL } })
void log_write(enum log_level level, const char *event, const struct log_field *fields);
/** One failure: status, source, native code, where, detail. */
void log_failure(enum log_level level, const char *event, const char *req, const struct kms_err *err);

#endif
