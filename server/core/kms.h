/*
 * server/core/kms.h - what every service of the domain is handed; no globals.
 * Lock order: none of the domain's own; the HSM provider, the writer and the lanes each guard themselves and call nothing under their locks.
 */
#ifndef HOLDFAST_CORE_KMS_H
#define HOLDFAST_CORE_KMS_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "hsm/hsm.h"
#include "server/base/clock.h"
#include "server/core/writer.h"
#include "storage/store.h"

#define KMS_DOMAIN_MAX 200
#define KMS_URL_MAX (KMS_DOMAIN_MAX + STORE_VAULT_NAME_MAX + 32)

/* The installation's own keys and directory; made once, at the first start. */
struct installation {
	uint8_t log_key[HSM_ID_LEN], token_key[HSM_ID_LEN], attestation_key[HSM_ID_LEN], pseudonym_key[HSM_ID_LEN];
	uint8_t directory[STORE_ID_LEN];
	enum hsm_kind log_kind; /* Ed25519, or P-256 where the device has no Ed25519 */
	struct hsm_public log_public, token_public, attestation_public;
	int64_t created_s; /* of the installation: its first start */
	/* Authenticates $skiptokens; derived in the device from pseudonym_key, so that every node and every start has the same. Owned. */
	struct secret *page_key;
	/* What the secrets of webhooks are made of; derived likewise. Owned. */
	struct secret *webhook_key;
};
/** Release what it owns. */
void installation_clear(struct installation *inst);

/* A user id that may use the local socket, with its pseudonym (made at start, so that revocation needs no device). */
struct local_actor {
	uid_t uid;
	uint8_t pid[16];
};

/* Immutable once the daemon serves. */
struct epoch_policy;
struct backup_settings;
struct sweep_count;
struct kms {
	struct hsm *hsm;
	struct writer *writer;
	struct checkpointer *log; /* checkpoint.h; NULL in tests that need none: then nothing is sealed and the log counts as good */
	struct witnesses *witnesses; /* witness.h; NULL = none */
	struct persons *persons; /* person.h; NULL = no records of persons are made */
	const struct clock *clock;
	/* After a destruction: every thread that serves drops what it has cached of the database and overwrites its stack, before this returns. NULL = there is none
	 * that could (tests, start). Set by api_start(), before anything is served; not to be called on a lane's own thread while that lane stops. */
	void (*forget)(void *arg);
	void *forget_arg;
	const atomic_bool *is_stopping; /* what takes minutes ends at its next step, and goes on after the next start. NULL = never */
	const struct epoch_policy *epochs; /* epoch.h; NULL = its defaults */
	const struct sweep_count *swept; /* destruction.h: what the sweep at start found; NULL = there was none (tests) */
	const struct backup_settings *backups; /* server_backup.h; NULL = none */
	struct installation inst;
	char domain[KMS_DOMAIN_MAX + 1];
	uint16_t public_port;
	const char *site, *node; /* borrowed from the configuration */
	char origin[STORE_ORIGIN_MAX + 1]; /* of the present log: the configuration's, or the one that followed it (log_check()) */
	const char *attestation_certificate; /* PEM; borrowed */
	const struct local_actor *locals;
	size_t local_count;
	uint32_t token_life_s;
	unsigned keep_days; /* how long bodies of leaves are kept (prune.h); 0 = for ever */
};

/** "https://{host}" with the port only when it is not 443; vault NULL = the domain itself. Built from configuration, never from a Host. */
void kms_url(const struct kms *kms, const char *vault, char ret_url[KMS_URL_MAX]);

/**
 * Load the installation's keys, or make them: all of them on the first start, those that were added since on the first start of a newer holdfastd. Ids are
 * written first, keys afterwards, so that a crash in between is finished by the next start. Call before writer_start(), with the writer's connection.
 * @param origin  of the installation's first log; the one that is written now may be a later one (log_check())
 * @param ret_inst  owned by the caller: installation_clear()
 * @return KMS_OK | KMS_E_STORE (also: records of a newer holdfastd) | KMS_E_DEVICE | KMS_E_AUDIT (a key that had been made is missing from the device, or the
 *         log has another origin: detail says which)
 */
KMS_MUST_CHECK kms_status installation_open(struct store *store, struct hsm *hsm, const char *origin, struct installation *ret_inst, struct kms_err *err);

/** Is the token a directory of files, which can be copied? */
bool kms_token_is_files(const struct hsm_info *device);
/** Pseudonym of a subject under an HMAC key: first 16 bytes of HMAC(issuer || 0 || subject) (audit-log.md section 12). */
KMS_MUST_CHECK kms_status pseudonym(struct hsm *hsm, const uint8_t key_id[HSM_ID_LEN], const char *issuer, const char *subject,
                                    uint8_t ret_pid[16], struct kms_err *err);

#define RECOVER_TYPE(event_type) ((uint64_t)1 << (event_type))
#define RECOVER_ALL UINT64_MAX
/* Root rotations and pruning may take minutes: they go on while the server serves. */
#define RECOVER_AT_START (RECOVER_ALL & ~(RECOVER_TYPE(EVENT_TENANT_ROTATE_ROOT) | RECOVER_TYPE(EVENT_LOG_PRUNED)))
/* Types beyond the first 64 are single events: nothing of them is ever left open. */
_Static_assert(EVENT_LOG_PRUNED < 64, "two-phase event types are one bit each");

/* What recovery found. */
struct recovery_count {
	size_t settled, left_open;
	size_t rotated; /* root rotations that have come to their end: not counted as settled */
	size_t pruned;  /* prunings of the log, likewise */
	struct kms_err last_failure; /* why the last of those left open could not be settled */
};

/**
 * Settle what was left open: every intent without outcome is finished (destruction) or undone (creation) and written down (audit-log.md 6.2).
 * One that cannot be settled now stays open; its key or vault stays refused.
 * @param types  which acts: RECOVER_AT_START at start, after writer_start() and before serving, when nothing is under way; later only types of which
 *               none can be under way, that is, in the one thread that performs them
 * @return KMS_OK | KMS_E_STORE | KMS_E_AUDIT
 */
KMS_MUST_CHECK kms_status recovery_run(struct kms *kms, struct store *store, uint64_t types, struct recovery_count *ret_count,
                                       struct kms_err *err);

#endif
