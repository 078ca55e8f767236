/*
 * api/client_trust.h - which client certificates are accepted, and whose they are (ekm-proxy.md 3.1): Managed HSM pools on the listener of their own,
 * other services on the main one. A table of subjects and roots, read from the database, replaced as a whole when one of them changes. Nothing is
 * pinned: any certificate with the subject and a chain to one of the roots will do.
 */
#ifndef HOLDFAST_API_CLIENT_TRUST_H
#define HOLDFAST_API_CLIENT_TRUST_H

#include "api/http.h"
#include "server/base/clock.h"
#include "storage/store.h"

#define CLIENT_SUBJECT_TEXT_MAX 128 /* characters of a certificate's subject in a log */
#define CLIENT_THUMBPRINT_LEN 64    /* SHA-256, hexadecimal */

/* In the order of the checks. */
enum client_verdict {
	CLIENT_ACCEPTED,
	CLIENT_NO_CERTIFICATE,
	CLIENT_UNREADABLE,      /* not X.509 in DER */
	CLIENT_COMMON_NAME,     /* none, several, or one that can be no name of a pool or service */
	CLIENT_UNKNOWN_SUBJECT, /* no pool (no service, where those are asked for) is known by it */
	CLIENT_DATES,           /* one of the chain is not yet or no longer valid */
	CLIENT_PURPOSE,         /* not for client authentication */
	CLIENT_CHAIN,           /* it does not lead to a root of that pool or service, or has a bad link */
	CLIENT_VERDICT_COUNT
};
/** One word for the log. */
const char *client_verdict_name(enum client_verdict verdict);

/* Whose certificate it is. Zeroed = nobody's. */
struct client_holder {
	/* of the leaf, whatever the verdict, as far as it can be read; printable ASCII: */
	char subject[CLIENT_SUBJECT_TEXT_MAX + 1];
	char thumbprint[CLIENT_THUMBPRINT_LEN + 1];
	/* of the pool or service, when it was accepted: */
	bool is_service;
	uint8_t pool_id[STORE_ID_LEN], vault_id[STORE_ID_LEN], directory[STORE_ID_LEN];
	char vault[STORE_VAULT_NAME_MAX + 1];
	char prefix[STORE_PREFIX_MAX + 1];
	uint64_t epoch; /* of the pool's or service's principal when subjects and roots were read */
};

struct client_trust;

/** An empty table, that accepts nobody until it is loaded. @param clock  kept @return KMS_OK | KMS_E_NOMEM | KMS_E_INTERNAL */
KMS_MUST_CHECK kms_status client_trust_new(const struct clock *clock, struct client_trust **ret_trust, struct kms_err *err);
/** Accepts NULL. */
void client_trust_free(struct client_trust *t);
/**
 * Read the pools again; when they changed, the new table is used by every check that begins from then on. After a failure the old one stays.
 * Thread-safe; checks never wait for it. @param store  borrowed
 * @return KMS_OK | KMS_E_STORE | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status client_trust_load(struct client_trust *t, struct store *store, struct kms_err *err);
/**
 * Judge a chain as it is now: dates against the wall clock, subject and roots of the present table. Thread-safe, no I/O.
 * @param chain  leaf first; the handshake proved that the client has the leaf's key
 * @param is_service  services are asked for, and no pool is known; or the other way round
 * @param ret_client  written whatever the verdict
 */
enum client_verdict client_trust_check(struct client_trust *t, const struct http_cert *chain, size_t count, bool is_service,
                                       struct client_holder *ret_client);

#endif
