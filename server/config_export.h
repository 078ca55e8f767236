/* server/config_export.h - the `exports` section of the configuration: what each value must be. No YAML here; config.c says on which line it stands. */
#ifndef HOLDFAST_SERVER_CONFIG_EXPORT_H
#define HOLDFAST_SERVER_CONFIG_EXPORT_H

#include "server/config.h"

#define CONFIG_EXPORTS_MAX 8
#define EXPORT_TO_FILE "file:"
#define EXPORT_TO_SYSLOG "syslog+tls://"
#define EXPORT_TO_SYSLOG_PLAIN "syslog+tcp://"
#define EXPORT_TO_HTTPS "https://"
#define EXPORT_TO_HTTP "http://"

/* What is wrong with one of them. */
struct config_export_fault {
	unsigned index;
	const char *key;      /* "to" */
	const char *expected; /* static */
};

/** Fill in the defaults; paths have been resolved. @return false: *ret_fault says what is wrong */
bool config_check_exports(struct config *c, struct config_export_fault *ret_fault);
/** What this member of an export must be; NULL when there is no such member. */
const char *config_export_expects(const char *key);
/** What stands behind a prefix; NULL when the text does not begin with it. */
const char *config_behind(const char *text, const char *prefix);

#endif
