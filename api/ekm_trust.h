/*
 * api/ekm_trust.h - which client certificates are accepted, and whose they are (ekm-proxy.md 3.1): a table of subjects and roots, read from the
 * database, replaced as a whole when pools change. Nothing is pinned: any certificate with the subject and a chain to one of the roots will do.
 */
#ifndef HOLDFAST_API_EKM_TRUST_H
#define HOLDFAST_API_EKM_TRUST_H

#include "api/http.h"
#include "server/base/clock.h"
#include "storage/store.h"

#define EKM_SUBJECT_TEXT_MAX 128 /* characters of a certificate's subject in a log */
#define EKM_THUMBPRINT_LEN 64    /* SHA-256, hexadecimal */

/* In the order of the checks. */
enum ekm_verdict {
	EKM_ACCEPTED,
	EKM_NO_CERTIFICATE,
	EKM_UNREADABLE,      /* not X.509 in DER */
	EKM_COMMON_NAME,     /* none, several, or one that is no name of a pool */
	EKM_UNKNOWN_SUBJECT, /* no pool is known by it */
	EKM_DATES,           /* one of the chain is not yet or no longer valid */
	EKM_PURPOSE,         /* not for client authentication */
	EKM_CHAIN,           /* it does not lead to a root of that pool, or has a bad link */
	EKM_VERDICT_COUNT
};
/** One word for the log. */
const char *ekm_verdict_name(enum ekm_verdict verdict);

/* Whose certificate it is. Zeroed = nobody's. */
struct ekm_client {
	/* of the leaf, whatever the verdict, as far as it can be read; printable ASCII: */
	char subject[EKM_SUBJECT_TEXT_MAX + 1];
	char thumbprint[EKM_THUMBPRINT_LEN + 1];
	/* of the pool, when it was accepted: */
	uint8_t pool_id[STORE_ID_LEN], vault_id[STORE_ID_LEN], directory[STORE_ID_LEN];
	char vault[STORE_VAULT_NAME_MAX + 1];
	char prefix[STORE_PREFIX_MAX + 1];
	uint64_t epoch; /* of the pool's principal when subjects and roots were read */
};

struct ekm_trust;

/** An empty table, that accepts nobody until it is loaded. @param clock  kept @return KMS_OK | KMS_E_NOMEM | KMS_E_INTERNAL */
KMS_MUST_CHECK kms_status ekm_trust_new(const struct clock *clock, struct ekm_trust **ret_trust, struct kms_err *err);
/** Accepts NULL. */
void ekm_trust_free(struct ekm_trust *t);
/**
 * Read the pools again; when they changed, the new table is used by every check that begins from then on. After a failure the old one stays.
 * Thread-safe; checks never wait for it. @param store  borrowed
 * @return KMS_OK | KMS_E_STORE | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status ekm_trust_load(struct ekm_trust *t, struct store *store, struct kms_err *err);
/**
 * Judge a chain as it is now: dates against the wall clock, subject and roots of the present table. Thread-safe, no I/O.
 * @param chain  leaf first; the handshake proved that the client has the leaf's key @param ret_client  written whatever the verdict
 */
enum ekm_verdict ekm_trust_check(struct ekm_trust *t, const struct http_cert *chain, size_t count, struct ekm_client *ret_client);

#endif
