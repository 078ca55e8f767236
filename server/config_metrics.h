/* server/config_metrics.h - the rules for the section of metrics. */
#ifndef HOLDFAST_SERVER_CONFIG_METRICS_H
#define HOLDFAST_SERVER_CONFIG_METRICS_H

#include "server/config.h"

/** Names of vaults and how busy they are: what leaves this machine is encrypted, and read by who has the token.
 *  @param ret_key  where it is wrong @return NULL, or what *ret_key must be; both static */
const char *config_check_metrics(const struct config *c, bool is_loopback, const char **ret_key);

#endif
