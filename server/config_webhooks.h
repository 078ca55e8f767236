/* server/config_webhooks.h - the rules for the section of webhooks. */
#ifndef HOLDFAST_SERVER_CONFIG_WEBHOOKS_H
#define HOLDFAST_SERVER_CONFIG_WEBHOOKS_H

#include "server/config.h"

#define CONFIG_WEBHOOK_HOSTS_MAX 256

/** Whom the daemon calls by itself: each host is named, with its port when it is not 443.
 *  @param ret_key  where it is wrong @return NULL, or what *ret_key must be; both static */
const char *config_check_webhooks(const struct config *c, const char **ret_key);

#endif
