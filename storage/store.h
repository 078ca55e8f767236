/*
 * storage/store.h - port to the database: records, reads, and one transaction shape (fence, changes, leaves, commit). No SQL above it.
 * A `struct store` is one connection and belongs to one thread at a time. STORE_WRITE connections exist once in a process: the writer's.
 * Ids are 16 random bytes. Times are seconds since 1970-01-01 UTC unless named otherwise; STORE_NO_TIME = not set.
 */
#ifndef HOLDFAST_STORAGE_STORE_H
#define HOLDFAST_STORAGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "storage/records.h"

struct store;

struct store_ops {
	const char *name; /* "sqlite" */
	void (*close)(struct store *s);

	/* Reads. A row that is not there is KMS_E_NOTFOUND; anything else that goes wrong is KMS_E_STORE. */
	kms_status (*vault_by_name)(struct store *s, const char *name, struct store_vault *ret, struct kms_err *err);
	kms_status (*vault_by_id)(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_vault *ret, struct kms_err *err);
	kms_status (*vaults)(struct store *s, const char *after_name, struct store_vault *ret, size_t cap, size_t *ret_count,
	                     struct kms_err *err);
	kms_status (*principal)(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_principal *ret, struct kms_err *err);
	kms_status (*principals)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN],
	                         struct store_principal *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*roles)(struct store *s, const uint8_t principal_id[STORE_ID_LEN], struct store_assignment *ret, size_t cap,
	                    size_t *ret_count, struct kms_err *err);
	kms_status (*networks)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], char ret[STORE_NETWORK_MAX + 1], struct kms_err *err);
	kms_status (*credentials)(struct store *s, const uint8_t principal_id[STORE_ID_LEN], struct store_credential *ret, size_t cap,
	                          size_t *ret_count, struct kms_err *err);
	kms_status (*credential)(struct store *s, enum store_credential_kind kind, const uint8_t hash[STORE_HASH_LEN],
	                         struct store_credential *ret, struct kms_err *err);
	kms_status (*custom_role)(struct store *s, uint32_t number, struct store_role *ret, struct kms_err *err);
	kms_status (*custom_roles)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint32_t after_number, struct store_role *ret, size_t cap,
	                           size_t *ret_count, struct kms_err *err);
	kms_status (*groups_of)(struct store *s, const uint8_t member_id[STORE_ID_LEN], struct store_principal *ret, size_t cap,
	                        size_t *ret_count, struct kms_err *err);
	kms_status (*members)(struct store *s, const uint8_t group_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN],
	                      struct store_principal *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*approval)(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_approval *ret, struct kms_err *err);
	kms_status (*approval_open)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t requester[STORE_ID_LEN],
	                            const uint8_t digest[STORE_HASH_LEN], struct store_approval *ret, struct kms_err *err);
	kms_status (*approvals)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN], bool only_open,
	                        struct store_approval *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*votes)(struct store *s, const uint8_t approval_id[STORE_ID_LEN], struct store_vote *ret, size_t cap, size_t *ret_count,
	                    struct kms_err *err);
	kms_status (*key)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *name, struct store_key *ret,
	                  struct kms_err *err);
	kms_status (*keys)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], bool deleted, const char *after_name,
	                   struct store_key *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*keys_due)(struct store *s, int64_t now_s, struct store_key *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*version)(struct store *s, const uint8_t key_id[STORE_ID_LEN], const uint8_t *version_id, bool with_tags,
	                      struct store_version *ret, struct kms_err *err);
	kms_status (*versions)(struct store *s, const uint8_t key_id[STORE_ID_LEN], uint64_t after_ordinal, bool with_tags,
	                       struct store_version *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*pools)(struct store *s, const uint8_t after_id[STORE_ID_LEN], struct store_pool *ret, size_t cap, size_t *ret_count,
	                    struct kms_err *err);
	kms_status (*pool)(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_pool *ret, struct kms_err *err);
	kms_status (*external)(struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *id, struct store_external *ret,
	                       struct kms_err *err);
	kms_status (*externals)(struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *after_id, struct store_external *ret, size_t cap,
	                        size_t *ret_count, struct kms_err *err);
	kms_status (*external_of_key)(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_external *ret, struct kms_err *err);
	kms_status (*policy)(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_policy *ret, struct kms_err *err);
	kms_status (*objects)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_obj[STORE_ID_LEN],
	                      uint8_t (*ret)[STORE_ID_LEN], size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*object_count)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], size_t *ret_count, struct kms_err *err);
	kms_status (*object_known)(struct store *s, const uint8_t obj[STORE_ID_LEN], bool *ret_known, struct kms_err *err);
	kms_status (*intents)(struct store *s, uint64_t after_seq, struct store_intent *ret, size_t cap, size_t *ret_count,
	                      struct kms_err *err);
	kms_status (*meta)(struct store *s, const char *name, struct store_meta *ret, struct kms_err *err);
	kms_status (*event_count)(struct store *s, uint64_t *ret_count, struct kms_err *err);
	kms_status (*event)(struct store *s, uint64_t seq, struct store_event *ret, struct kms_err *err);
	kms_status (*node)(struct store *s, unsigned level, uint64_t position, uint8_t ret_hash[STORE_HASH_LEN], struct kms_err *err);
	kms_status (*checkpoint_of)(struct store *s, uint64_t size, struct store_signed *ret, struct kms_err *err);
	kms_status (*checkpoint_last)(struct store *s, struct store_signed *ret, struct kms_err *err);
	kms_status (*log_keys)(struct store *s, struct store_log_key *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*closed_logs)(struct store *s, struct store_closed_log *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*version_of_object)(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_version *ret, struct kms_err *err);
	kms_status (*wrapped_under)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t root_id[STORE_ID_LEN], const uint8_t after_obj[STORE_ID_LEN],
	                            uint8_t (*ret)[STORE_ID_LEN], size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*tombstone)(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_tombstone *ret, struct kms_err *err);
	kms_status (*tombstones)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, const uint8_t after_obj[STORE_ID_LEN],
	                         struct store_tombstone *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*revival)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_revival *ret, struct kms_err *err);
	kms_status (*certificate)(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_certificate *ret, struct kms_err *err);
	kms_status (*certificates)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN], bool only_open,
	                           struct store_certificate *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*certificate_of_intent)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_certificate *ret, struct kms_err *err);
	kms_status (*epochs)(struct store *s, uint32_t below, struct store_epoch *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*epoch_of_object)(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_epoch *ret, struct kms_err *err);
	kms_status (*backups)(struct store *s, enum store_backup_kind kind, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN],
	                      struct store_backup *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*backups_of_key)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *key_name, struct store_backup *ret, size_t cap,
	                             size_t *ret_count, struct kms_err *err);
	kms_status (*due)(struct store *s, int64_t now_s, const uint8_t after[STORE_ID_LEN], struct store_due *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*due_of)(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_due *ret, struct kms_err *err);
	kms_status (*key_by_id)(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_key *ret, struct kms_err *err);
	kms_status (*cursor)(struct store *s, const char *name, uint64_t *ret_seq, struct kms_err *err);
	kms_status (*webhooks)(struct store *s, const uint8_t *vault_id, const uint8_t *after_id, struct store_webhook *ret, size_t cap, size_t *ret_count,
	                       struct kms_err *err);
	kms_status (*webhook)(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_webhook *ret, struct kms_err *err);
	kms_status (*deliveries)(struct store *s, const uint8_t webhook_id[STORE_ID_LEN], enum store_delivery_state state, uint64_t after_seq,
	                         struct store_delivery *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*delivery_count)(struct store *s, const uint8_t webhook_id[STORE_ID_LEN], enum store_delivery_state state, uint64_t *ret_count,
	                             struct kms_err *err);
	kms_status (*person)(struct store *s, uint64_t ref, struct store_person *ret, struct kms_err *err);
	kms_status (*persons)(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *pid, int64_t before_s, uint64_t after_ref,
	                      struct store_person *ret, size_t cap, size_t *ret_count, struct kms_err *err);
	kms_status (*copy)(struct store *s, const char *path, bool (*go_on)(void *arg, uint64_t done, uint64_t total), void *arg, struct kms_err *err);
	void (*forget)(struct store *s);

	/* The writer's transaction. */
	kms_status (*begin)(struct store *s, struct kms_err *err);
	kms_status (*fence)(struct store *s, const struct store_fence *fence, bool *ret_holds, struct kms_err *err);
	kms_status (*apply)(struct store *s, const struct store_change *changes, size_t count, uint64_t seq, struct kms_err *err);
	kms_status (*append)(struct store *s, const struct store_event *event, struct kms_err *err);
	kms_status (*put_node)(struct store *s, unsigned level, uint64_t position, const uint8_t hash[STORE_HASH_LEN], struct kms_err *err);
	kms_status (*commit)(struct store *s, struct kms_err *err);
	void (*rollback)(struct store *s);
	kms_status (*checkpoint)(struct store *s, bool truncate, struct kms_err *err);
};

struct store {
	const struct store_ops *ops;
	enum store_mode mode;
};

void store_close(struct store *s);

/* Vaults. Names are compared without case. Pages are ordered by the cursor's column; pass NULL (or 0) to begin. */
KMS_MUST_CHECK kms_status store_vault_by_name(struct store *s, const char *name, struct store_vault *ret, struct kms_err *err);
KMS_MUST_CHECK kms_status store_vault_by_id(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_vault *ret, struct kms_err *err);
KMS_MUST_CHECK kms_status store_vaults(struct store *s, const char *after_name, struct store_vault *ret, size_t cap, size_t *ret_count,
                                       struct kms_err *err);
KMS_MUST_CHECK kms_status store_principal(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_principal *ret, struct kms_err *err);
KMS_MUST_CHECK kms_status store_principals(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *after_id,
                                           struct store_principal *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** All assignments of one principal, at every scope, those that have ended too. */
KMS_MUST_CHECK kms_status store_roles(struct store *s, const uint8_t principal_id[STORE_ID_LEN], struct store_assignment *ret, size_t cap,
                                      size_t *ret_count, struct kms_err *err);
/** A vault's address ranges, as store_networks.text; "" when it has none. */
KMS_MUST_CHECK kms_status store_networks(struct store *s, const uint8_t vault_id[STORE_ID_LEN], char ret[STORE_NETWORK_MAX + 1],
                                         struct kms_err *err);
/** A principal's credentials, the oldest first; cap STORE_CREDENTIALS_MAX holds all. The caller clears each. */
KMS_MUST_CHECK kms_status store_credentials(struct store *s, const uint8_t principal_id[STORE_ID_LEN], struct store_credential *ret, size_t cap,
                                            size_t *ret_count, struct kms_err *err);
/** The one credential of a kind with this hash, whoever's it is; of certificates, of which several principals may have the same, some one. *ret is owned by the caller. */
KMS_MUST_CHECK kms_status store_credential(struct store *s, enum store_credential_kind kind, const uint8_t hash[STORE_HASH_LEN],
                                           struct store_credential *ret, struct kms_err *err);
KMS_MUST_CHECK kms_status store_custom_role(struct store *s, uint32_t number, struct store_role *ret, struct kms_err *err);
/** Custom roles of a vault ordered by number. */
KMS_MUST_CHECK kms_status store_custom_roles(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint32_t after_number,
                                             struct store_role *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** The groups that a caller or group is a direct member of, ordered by id. */
KMS_MUST_CHECK kms_status store_groups_of(struct store *s, const uint8_t member_id[STORE_ID_LEN], struct store_principal *ret, size_t cap,
                                          size_t *ret_count, struct kms_err *err);
/** A group's direct members, ordered by id. */
KMS_MUST_CHECK kms_status store_members(struct store *s, const uint8_t group_id[STORE_ID_LEN], const uint8_t *after_id,
                                        struct store_principal *ret, size_t cap, size_t *ret_count, struct kms_err *err);
KMS_MUST_CHECK kms_status store_approval(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_approval *ret, struct kms_err *err);
/** The open approval of exactly this request, if there is one; its end may have passed. */
KMS_MUST_CHECK kms_status store_approval_open(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t requester[STORE_ID_LEN],
                                              const uint8_t digest[STORE_HASH_LEN], struct store_approval *ret, struct kms_err *err);
/** Approvals of a vault (all zero: of the installation), ordered by id. */
KMS_MUST_CHECK kms_status store_approvals(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *after_id, bool only_open,
                                          struct store_approval *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** All votes on one approval, by approver id. */
KMS_MUST_CHECK kms_status store_votes(struct store *s, const uint8_t approval_id[STORE_ID_LEN], struct store_vote *ret, size_t cap,
                                      size_t *ret_count, struct kms_err *err);
/** A key by name, deleted or not. */
KMS_MUST_CHECK kms_status store_key(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *name, struct store_key *ret,
                                    struct kms_err *err);
/** Keys of a vault ordered by lower-case name; either the living or the deleted ones. after_name is exclusive. */
KMS_MUST_CHECK kms_status store_keys(struct store *s, const uint8_t vault_id[STORE_ID_LEN], bool deleted, const char *after_name,
                                     struct store_key *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** Deleted keys of living vaults that are not locked, whose scheduled purge is not after now_s and has not begun, the longest due first. */
KMS_MUST_CHECK kms_status store_keys_due(struct store *s, int64_t now_s, struct store_key *ret, size_t cap, size_t *ret_count,
                                         struct kms_err *err);
/** One version; version_id NULL = the latest. *ret is owned by the caller (store_version_clear). */
KMS_MUST_CHECK kms_status store_version(struct store *s, const uint8_t key_id[STORE_ID_LEN], const uint8_t *version_id, bool with_tags,
                                        struct store_version *ret, struct kms_err *err);
/** Versions ordered by ordinal, from after_ordinal + 1. The caller clears each. */
KMS_MUST_CHECK kms_status store_versions(struct store *s, const uint8_t key_id[STORE_ID_LEN], uint64_t after_ordinal, bool with_tags,
                                         struct store_version *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** All pools of all vaults, ordered by id; for the table of accepted certificates. The caller clears each. */
KMS_MUST_CHECK kms_status store_pools(struct store *s, const uint8_t *after_id, struct store_pool *ret, size_t cap, size_t *ret_count,
                                      struct kms_err *err);
KMS_MUST_CHECK kms_status store_pool(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_pool *ret, struct kms_err *err);
/** An external key id of a pool, retired or not; compared byte by byte. */
KMS_MUST_CHECK kms_status store_external(struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *id, struct store_external *ret,
                                         struct kms_err *err);
KMS_MUST_CHECK kms_status store_externals(struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *after_id,
                                          struct store_external *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** One external id in use that is bound to a version of this key; KMS_E_NOTFOUND when there is none. */
KMS_MUST_CHECK kms_status store_external_of_key(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_external *ret,
                                                struct kms_err *err);
/** A key's rotation policy; KMS_E_NOTFOUND when none was ever set. */
KMS_MUST_CHECK kms_status store_policy(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_policy *ret, struct kms_err *err);
/** HSM object ids of all RESIDENT versions of a vault (keys deleted or not), ordered by id. */
KMS_MUST_CHECK kms_status store_objects(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *after_obj,
                                        uint8_t (*ret)[STORE_ID_LEN], size_t cap, size_t *ret_count, struct kms_err *err);
/** How many resident versions a vault has (keys deleted or not). */
KMS_MUST_CHECK kms_status store_object_count(struct store *s, const uint8_t vault_id[STORE_ID_LEN], size_t *ret_count, struct kms_err *err);
/** Does any row of a vault that is not shredded, an epoch that has not ended, or any meta value name this HSM object? A root that was replaced is known until it has
 *  its tombstone. For the sweep at start. */
KMS_MUST_CHECK kms_status store_object_known(struct store *s, const uint8_t obj[STORE_ID_LEN], bool *ret_known, struct kms_err *err);
KMS_MUST_CHECK kms_status store_intents(struct store *s, uint64_t after_seq, struct store_intent *ret, size_t cap, size_t *ret_count,
                                        struct kms_err *err); /* seq > after_seq; pass UINT64_MAX to begin with seq 0 */
KMS_MUST_CHECK kms_status store_meta(struct store *s, const char *name, struct store_meta *ret, struct kms_err *err);
/** Leaves in the log = the next seq. Does not scan. */
KMS_MUST_CHECK kms_status store_event_count(struct store *s, uint64_t *ret_count, struct kms_err *err);
KMS_MUST_CHECK kms_status store_event(struct store *s, uint64_t seq, struct store_event *ret, struct kms_err *err);
/** Hash of a complete subtree; level 0 = leaf hashes. */
KMS_MUST_CHECK kms_status store_node(struct store *s, unsigned level, uint64_t position, uint8_t ret_hash[STORE_HASH_LEN],
                                     struct kms_err *err);

/** The checkpoint that was signed for exactly this size; the one of the largest size. Owned by the caller. KMS_E_NOTFOUND when there is none. */
KMS_MUST_CHECK kms_status store_checkpoint_of(struct store *s, uint64_t size, struct store_signed *ret, struct kms_err *err);
KMS_MUST_CHECK kms_status store_checkpoint_last(struct store *s, struct store_signed *ret, struct kms_err *err);
/** All generations, the newest first. */
KMS_MUST_CHECK kms_status store_log_keys(struct store *s, struct store_log_key *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** The newest first. */
KMS_MUST_CHECK kms_status store_closed_logs(struct store *s, struct store_closed_log *ret, size_t cap, size_t *ret_count, struct kms_err *err);

/** The version, living or erased, that is or was this object; with tags. KMS_E_NOTFOUND. *ret is owned by the caller. */
KMS_MUST_CHECK kms_status store_version_of_object(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_version *ret, struct kms_err *err);
/** Objects of the vault's versions that are wrapped under this root, ordered by id; root_id NULL = under any. Not of those that were erased. */
KMS_MUST_CHECK kms_status store_wrapped_under(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *root_id, const uint8_t *after_obj,
                                              uint8_t (*ret)[STORE_ID_LEN], size_t cap, size_t *ret_count, struct kms_err *err);
KMS_MUST_CHECK kms_status store_tombstone(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_tombstone *ret, struct kms_err *err);
/** Those of one destruction, ordered by object. vault_id all zero: the installation's. */
KMS_MUST_CHECK kms_status store_tombstones(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, const uint8_t *after_obj,
                                           struct store_tombstone *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** What else the versions that died of this destruction are, or were. */
KMS_MUST_CHECK kms_status store_revival(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_revival *ret, struct kms_err *err);
KMS_MUST_CHECK kms_status store_certificate(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_certificate *ret, struct kms_err *err);
/** The one of a destruction that began with this intent of the present log. KMS_E_NOTFOUND. */
KMS_MUST_CHECK kms_status store_certificate_of_intent(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_certificate *ret,
                                                      struct kms_err *err);
/** Ordered by id. @param vault_id  NULL = of all @param only_open  those that are due or pending. The caller clears each. */
KMS_MUST_CHECK kms_status store_certificates(struct store *s, const uint8_t *vault_id, const uint8_t *after_id, bool only_open,
                                             struct store_certificate *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** The newest first. @param below  0 = from the newest */
KMS_MUST_CHECK kms_status store_epochs(struct store *s, uint32_t below, struct store_epoch *ret, size_t cap, size_t *ret_count, struct kms_err *err);
KMS_MUST_CHECK kms_status store_epoch_of_object(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_epoch *ret, struct kms_err *err);
/** Those of one kind, also where the epoch has ended, ordered by id. @param vault_id  of a key's; NULL = of all vaults */
KMS_MUST_CHECK kms_status store_backups(struct store *s, enum store_backup_kind kind, const uint8_t *vault_id, const uint8_t *after_id,
                                        struct store_backup *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** Those of the key with this name whose epoch lives, the newest epoch first. */
KMS_MUST_CHECK kms_status store_backups_of_key(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *key_name, struct store_backup *ret, size_t cap,
                                               size_t *ret_count, struct kms_err *err);
/**
 * Copy the whole database, as it is at this moment, into a new file (mode 0600; on stable storage when it returns), while others go on reading and writing: SQLite's
 * online backup inside one read transaction. Nothing is left behind on failure, what was written of the copy is overwritten first. While it runs, this connection can do
 * nothing else, and no checkpoint truncates the WAL.
 * The copy is whole in one file, and opens in both modes as it is. Who opens it for reading makes PATH-wal and PATH-shm beside it, which outlive store_close().
 * @param path  absolute; must not exist @param go_on  called after each MiB with pages, at the end too; false = stop (KMS_E_SHUTDOWN); NULL = never asked
 * @return KMS_OK | KMS_E_STORE (never with STORE_NATIVE_SYNC: the database itself is sound) | KMS_E_CONFLICT (the file exists) | KMS_E_SHUTDOWN
 */
KMS_MUST_CHECK kms_status store_copy(struct store *s, const char *path, bool (*go_on)(void *arg, uint64_t done, uint64_t total), void *arg,
                                     struct kms_err *err);
/** Drop what the connection has cached of the database; a truncating store_checkpoint() does so for the writer's. */
void store_forget(struct store *s);

/** Keys whose time is not after now_s, of living vaults that are not locked: vault by vault in a circle that begins behind `after`, and of each the STORE_DUE_EACH that
 *  have waited longest, so that no vault is in the way of another. @param after  all zero = from the first vault on */
KMS_MUST_CHECK kms_status store_due(struct store *s, int64_t now_s, const uint8_t after[STORE_ID_LEN], struct store_due *ret, size_t cap, size_t *ret_count,
                                    struct kms_err *err);
/** The row of one key; KMS_E_NOTFOUND. */
KMS_MUST_CHECK kms_status store_due_of(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_due *ret, struct kms_err *err);
/** Living keys of all vaults by their id, for what needs to know whose a due row is; KMS_E_NOTFOUND. */
KMS_MUST_CHECK kms_status store_key_by_id(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_key *ret, struct kms_err *err);
/** Where a consumer stands; 0 for one that never wrote. */
KMS_MUST_CHECK kms_status store_cursor(struct store *s, const char *name, uint64_t *ret_seq, struct kms_err *err);
/** Subscriptions ordered by id. @param vault_id  NULL = of all */
KMS_MUST_CHECK kms_status store_webhooks(struct store *s, const uint8_t *vault_id, const uint8_t *after_id, struct store_webhook *ret, size_t cap,
                                         size_t *ret_count, struct kms_err *err);
KMS_MUST_CHECK kms_status store_webhook(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_webhook *ret, struct kms_err *err);
/** The deliveries of a subscription in one state, ordered by seq and event. after_seq UINT64_MAX = from the first; else those with seq > after_seq. */
KMS_MUST_CHECK kms_status store_deliveries(struct store *s, const uint8_t webhook_id[STORE_ID_LEN], enum store_delivery_state state, uint64_t after_seq,
                                           struct store_delivery *ret, size_t cap, size_t *ret_count, struct kms_err *err);
/** How many it has in this state. */
KMS_MUST_CHECK kms_status store_delivery_count(struct store *s, const uint8_t webhook_id[STORE_ID_LEN], enum store_delivery_state state, uint64_t *ret_count,
                                               struct kms_err *err);
KMS_MUST_CHECK kms_status store_person(struct store *s, uint64_t ref, struct store_person *ret, struct kms_err *err);
/** Records of a vault that were not erased, ordered by ref. @param pid  NULL = of everybody @param before_s  only those made before; STORE_NO_TIME = all */
KMS_MUST_CHECK kms_status store_persons(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *pid, int64_t before_s, uint64_t after_ref,
                                        struct store_person *ret, size_t cap, size_t *ret_count, struct kms_err *err);

/* The writer's transaction: begin; for each unit fence, apply, append, put_node; commit. Only on a STORE_WRITE connection. */
KMS_MUST_CHECK kms_status store_begin(struct store *s, struct kms_err *err);
KMS_MUST_CHECK kms_status store_fence_holds(struct store *s, const struct store_fence *fence, bool *ret_holds, struct kms_err *err);
/** Apply the changes of one unit, all or none (a savepoint inside the transaction). seq = the unit's leaf.
 *  @return KMS_OK | KMS_E_FENCED (a row is gone or a name is taken), KMS_E_CONFLICT, KMS_E_NOTFOUND (as the kinds say): nothing of the unit
 *          was applied and the transaction lives on | KMS_E_STORE: roll back */
KMS_MUST_CHECK kms_status store_apply(struct store *s, const struct store_change *changes, size_t count, uint64_t seq, struct kms_err *err);
KMS_MUST_CHECK kms_status store_append(struct store *s, const struct store_event *event, struct kms_err *err);
/** Levels >= 1 only: level 0 is the event's own hash. */
KMS_MUST_CHECK kms_status store_put_node(struct store *s, unsigned level, uint64_t position, const uint8_t hash[STORE_HASH_LEN],
                                         struct kms_err *err);
/** On stable storage when it returns KMS_OK; on failure the transaction is rolled back. */
KMS_MUST_CHECK kms_status store_commit(struct store *s, struct kms_err *err);
void store_rollback(struct store *s);
/** Move the WAL into the database; truncate: also empty the WAL file and release free pages (audit-log.md 11.3 step 6). */
KMS_MUST_CHECK kms_status store_checkpoint(struct store *s, bool truncate, struct kms_err *err);

#endif
