/* server/config_alert.h - the `alerts` section of the configuration: what each value must be. No YAML here; config.c says on which line it stands. */
#ifndef HOLDFAST_SERVER_CONFIG_ALERT_H
#define HOLDFAST_SERVER_CONFIG_ALERT_H

#include "server/config.h"

#define CONFIG_ALERT_RULES_MAX 64
#define CONFIG_ALERT_CHANNELS_MAX 8
#define CONFIG_ALERT_TO_MAX 16
#define CONFIG_ALERT_RULES "alerts.rules"
#define CONFIG_ALERT_CHANNELS "alerts.channels"
#define CONFIG_ALERT_SYSLOG "syslog+tls://"
#define CONFIG_ALERT_SYSLOG_PLAIN "syslog+tcp://"
#define CONFIG_ALERT_SMTP "smtp://"

/* What is wrong with one of them. */
struct config_alert_fault {
	const char *list; /* CONFIG_ALERT_RULES or CONFIG_ALERT_CHANNELS */
	unsigned index;
	const char *key;
	const char *expected; /* static */
};

/** Fill in the defaults; paths have been resolved. @return false: *ret_fault says what is wrong */
bool config_check_alerts(struct config *c, struct config_alert_fault *ret_fault);
/** What this member of an entry of the list must be; NULL when there is no such member. */
const char *config_alert_expects(const char *list, const char *key);

#endif
