/*
 * api/assertion.h - a client that proves who it is with its certificate's key (RFC 7523 section 2.2) instead of a secret.
 */
#ifndef HOLDFAST_API_ASSERTION_H
#define HOLDFAST_API_ASSERTION_H

#include "api/api.h"

#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
/* Said for whatever would tell strangers who is known here. */
#define ASSERTION_UNKNOWN "AADSTS700027: Invalid client id or directory, or the client assertion is not signed with a certificate of this client."
#define ASSERTION_LIFE_S 600 /* from now on, at most */
#define ASSERTION_USES_MAX 16 /* of one assertion: its client sends it again after a failure, and for a claims challenge */

/* Those that were used and have not ended: in this process, a fixed table. */
struct assertions;

KMS_MUST_CHECK kms_status assertions_new(struct assertions **ret_assertions, struct kms_err *err);
void assertions_free(struct assertions *a);

/* Who sends an assertion, and to whom. Borrowed. */
struct assertion_use {
	const char *client_id;        /* of the form, as it was sent */
	const char *const *audiences; /* URLs of the token endpoint; ended by NULL */
	const char *request_id;       /* decided anew, a request is not another use */
	const char *peer;             /* address */
	int64_t now_s;
};

/**
 * Is the assertion the principal's: signed by the key of one of its certificates in date, for this token endpoint, not ended, and not somebody else's copy? Thread-safe.
 * The official clients send an assertion again until it ends, so an assertion is good for several uses, but only from the address that used it first.
 * @param p  NULL = nobody of this id is known
 * @return KMS_OK | KMS_E_OAUTH_CLIENT (message says why only when the signature was good) | KMS_E_THROTTLED (too many in date) | KMS_E_STORE
 */
KMS_MUST_CHECK kms_status assertion_check(struct assertions *a, struct store *store, const struct store_principal *p, const char *assertion,
                                          const struct assertion_use *use, struct kms_err *err);

#endif
