/* server/config_log.h - the rules for what the event log's section says of witnesses. */
#ifndef HOLDFAST_SERVER_CONFIG_LOG_H
#define HOLDFAST_SERVER_CONFIG_LOG_H

#include <stddef.h>

#include "server/config.h"

#define CONFIG_WITNESSES_MAX 16

struct log_fault {
	const char *key;      /* "log.witnesses", "log.quorum", … */
	size_t index;         /* of the witness, for "log.witnesses" */
	const char *expected; /* static */
};
/** @return false: *ret_fault says what is wrong */
bool config_check_log(const struct config *c, struct log_fault *ret_fault);

#endif
