/* server/rehearsal.h - the scratch directory of a rehearsed restore: a copy of a file-backed token and all that is written, overwritten and removed when it is over. */
#ifndef HOLDFAST_SERVER_REHEARSAL_H
#define HOLDFAST_SERVER_REHEARSAL_H

#include <limits.h>
#include <stdbool.h>

#include "server/config.h"

struct rehearsal {
	char dir[PATH_MAX]; /* absolute; empty = there is none */
	bool was_made;      /* the directory itself: then it is removed too */
};

/* A token that stands in for the configured one. */
struct rehearsal_token {
	const char *uri; /* NULL = a copy of hsm.token_dir */
	const char *pin; /* file; NULL = as configured */
};

/**
 * Make the directory, or take an empty one (or one that an interrupted rehearsal has left); copy the token's files, as they are at one moment, unless there is another token;
 * then have the configuration and this process (SOFTHSM2_CONF) mean what is in there. Before the device is opened; nothing outside of the directory is written.
 * @param ret  to be ended by rehearsal_end(), also after a failure
 * @return KMS_OK | KMS_E_INVALID (the directory is in use, or there is no token to rehearse on: message says what to do) | KMS_E_STORE
 */
KMS_MUST_CHECK kms_status rehearsal_begin(const char *dir, const struct rehearsal_token *token, struct config *c, struct rehearsal *ret, struct kms_err *err);
/** Overwrite and remove everything. After the device was closed. */
void rehearsal_end(struct rehearsal *r);

#endif
