/* server/config_issuers.h - the `issuers` section of the configuration: what each value must be. No YAML here; config.c says on which line it stands. */
#ifndef HOLDFAST_SERVER_CONFIG_ISSUERS_H
#define HOLDFAST_SERVER_CONFIG_ISSUERS_H

#include "server/config.h"

#define ISSUERS_MAX 64
#define ISSUER_LIST_MAX 16 /* values of one list */
#define ISSUER_VALUE_MAX 512
#define ISSUER_URL_MAX 1024

/* What is wrong with one of them. */
struct issuer_fault {
	unsigned index;
	const char *key;      /* "jwks_url" */
	const char *expected; /* static */
};

/** Fill in the defaults; paths have been resolved. @return KMS_OK | KMS_E_INVALID (*ret_fault) | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status config_check_issuers(struct config *c, struct issuer_fault *ret_fault);
/** What this member of an issuer must be; NULL when there is no such member. */
const char *config_issuer_expects(const char *key);

#endif
