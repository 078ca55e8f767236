/*
 * api/issuers.h - the external issuers of the configuration: who they are, and their public keys, kept up to date by one thread. A token never says where its keys are.
 */
#ifndef HOLDFAST_API_ISSUERS_H
#define HOLDFAST_API_ISSUERS_H

#include "api/keyset.h"
#include "server/base/clock.h"

#define ISSUER_ASK_EVERY_S 10  /* how often tokens with an unknown kid can have the keys read again */
#define ISSUER_FILE_EVERY_S 5  /* how often a file is looked at */
#define ISSUER_FETCH_MS 2000
#define ISSUER_UNKNOWN_S 60 /* a kid that was not there when the keys had just been read is not asked for again for this long */

/* One issuer, as configured. Everything is borrowed, and lives as long as the issuers. */
struct issuer_config {
	const char *name;
	const char *const *ids; /* exact values of iss */
	size_t id_count;
	const char *const *audiences; /* exact values of aud; none: this server's resource URL, with or without a slash at its end */
	size_t audience_count;
	const char *tenant;    /* value of tid; NULL = not asked */
	const char *authority; /* what a challenge names; NULL = none */
	const char *jwks_url, *jwks_file; /* exactly one of them */
	const char *ca;        /* PEM file of the roots that the URL's server is checked with; NULL = the system's */
	unsigned algs;         /* enum jwt_alg, bits */
	const char *principal_claim, *group_claim, *role_claim;
	unsigned refresh_s, stale_s;
};

struct issuers;
struct issuer;

/** Start the thread that reads the keys; none when there are no issuers. @return KMS_OK | KMS_E_NOMEM | KMS_E_INTERNAL (the HTTP client) */
KMS_MUST_CHECK kms_status issuers_new(const struct clock *clock, const struct issuer_config *configs, size_t count, struct issuers **ret_issuers,
                                      struct kms_err *err);
/** Stops the thread. Accepts NULL. */
void issuers_free(struct issuers *s);
/** Read all keys again soon. Never blocks. */
void issuers_reload(struct issuers *s);
/** The issuer with exactly this value of iss; NULL when there is none. */
struct issuer *issuers_find(struct issuers *s, const char *iss);
/** By its name in the configuration; NULL when there is none. */
const struct issuer_config *issuers_named(const struct issuers *s, const char *name);
const struct issuer_config *issuer_config(const struct issuer *i);

/* An issuer's key, held together with its set. Zeroed = empty; release with issuer_key_clear(). */
struct issuer_key {
	struct keyset *set; /* owned: one holder */
	EVP_PKEY *key;      /* of the set */
	unsigned algs;      /* that both the key and the issuer allow */
	uint64_t generation; /* of the set */
};
void issuer_key_clear(struct issuer_key *k);
#define ISSUER_KEY_AUTO __attribute__((cleanup(issuer_key_clear))) struct issuer_key

/**
 * The key with this kid. Thread-safe; never waits for the issuer.
 * @return KMS_OK | KMS_E_BUSY (not known, and the keys are being read again: ask once more in a second) | KMS_E_UNAUTHENTICATED (not known, or the keys are too old to be
 *         believed, and it is too early to read them again)
 */
KMS_MUST_CHECK kms_status issuer_find_key(struct issuer *i, const char *kid, struct issuer_key *ret_key, struct kms_err *err);
/** Changes whenever the keys do; 0 = they cannot be believed now. What was verified is good for as long as this is what it was. */
uint64_t issuer_generation(struct issuer *i);

#endif
