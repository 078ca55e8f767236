/*
 * storage/sqlite/db.h - inside of the SQLite backend: one connection with its prepared statements, and the way a statement is run.
 * A query binds its values in order, is stepped, and gives its columns in order. What goes wrong on the way is kept and reported once.
 */
#ifndef HOLDFAST_STORAGE_SQLITE_DB_H
#define HOLDFAST_STORAGE_SQLITE_DB_H

#include <sqlite3.h>

#include "storage/store.h"

enum sq_id {
	SQ_VAULT_BY_NAME, SQ_VAULT_BY_ID, SQ_VAULTS, SQ_NETWORKS,
	SQ_PRINCIPAL, SQ_PRINCIPALS, SQ_CREDENTIALS, SQ_CREDENTIAL, SQ_ROLES, SQ_CUSTOM_ROLE, SQ_CUSTOM_ROLES, SQ_GROUPS_OF, SQ_MEMBERS,
	SQ_APPROVAL, SQ_APPROVAL_OPEN, SQ_APPROVALS, SQ_APPROVALS_OPEN, SQ_VOTES, SQ_KEY, SQ_KEYS, SQ_KEYS_DELETED, SQ_KEYS_DUE,
	SQ_VERSION, SQ_VERSION_TAGS, SQ_VERSION_LATEST, SQ_VERSION_LATEST_TAGS, SQ_VERSIONS, SQ_VERSIONS_TAGS, SQ_POLICY,
	SQ_POOLS, SQ_POOL, SQ_POOL_SUBJECTS, SQ_POOL_ROOTS, SQ_EXTERNAL, SQ_EXTERNALS, SQ_EXTERNAL_OF_KEY,
	SQ_OBJECTS, SQ_OBJECT_COUNT, SQ_OBJECT_KNOWN, SQ_INTENTS, SQ_META, SQ_EVENT_COUNT, SQ_EVENT, SQ_NODE, SQ_NODE_LEAF,
	SQ_CHECKPOINT_OF, SQ_CHECKPOINT_LAST, SQ_LOG_KEYS, SQ_CLOSED_LOGS,
	SQ_VERSION_OF_OBJECT, SQ_WRAPPED_UNDER, SQ_WRAPPED, SQ_TOMBSTONE, SQ_TOMBSTONES, SQ_REVIVAL,
	SQ_CERTIFICATE, SQ_CERTIFICATE_OF_INTENT, SQ_CERTIFICATES, SQ_CERTIFICATES_OPEN, SQ_CERTIFICATES_OF, SQ_CERTIFICATES_OF_OPEN,
	SQ_EPOCHS, SQ_EPOCH_OF_OBJECT, SQ_BACKUPS, SQ_BACKUPS_OF, SQ_BACKUPS_OF_KEY,
	SQ_DUE, SQ_DUE_OF, SQ_KEY_BY_ID, SQ_CURSOR, SQ_WEBHOOKS, SQ_WEBHOOKS_OF, SQ_WEBHOOK, SQ_DELIVERIES, SQ_DELIVERY_COUNT,
	SQ_PERSON, SQ_PERSONS, SQ_PERSONS_OF,
	/* From here on: prepared on the writer's connection only. */
	SQ_BEGIN, SQ_COMMIT, SQ_SAVEPOINT, SQ_RELEASE, SQ_UNDO, SQ_FENCE, SQ_MATERIAL_ADD,
	SQ_VAULT_ADD, SQ_VAULT_SET_STATE, SQ_VAULT_SET, SQ_VAULT_TOUCH, SQ_NETWORKS_SET, SQ_NETWORKS_DROP,
	SQ_VAULT_ERASE_MATERIAL, SQ_VAULT_ERASE_TAGS, SQ_VAULT_ERASE_VERSIONS,
	SQ_VAULT_ERASE_POLICIES, SQ_CANARY_ERASE, SQ_VAULT_ERASE_CANARY,
	SQ_VAULT_ERASE_DUE, SQ_VAULT_ERASE_DELIVERIES, SQ_VAULT_ERASE_WEBHOOKS, SQ_VAULT_ERASE_PERSON_MATERIAL, SQ_VAULT_ERASE_PERSONS,
	SQ_VAULT_LOCK, SQ_VAULT_NEXT_ROOT, SQ_FORMER_ROOT_ADD, SQ_VAULT_SET_ROOT,
	SQ_PRINCIPAL_ADD, SQ_PRINCIPAL_SET, SQ_CALLER_TOUCH, SQ_GROUP_TOUCH, SQ_CREDENTIAL_ADD, SQ_CREDENTIAL_REMOVE,
	SQ_ROLE_ADD, SQ_ROLE_REMOVE, SQ_ROLE_DEFINE, SQ_ROLE_TOUCH, SQ_ROLE_DROP, SQ_MEMBER_ADD, SQ_MEMBER_REMOVE,
	SQ_APPROVAL_ADD, SQ_APPROVAL_VOTE, SQ_APPROVAL_COUNTS, SQ_APPROVAL_USE, SQ_APPROVAL_CLOSE,
	SQ_KEY_ADD, SQ_KEY_TOUCH, SQ_KEY_DELETE, SQ_KEY_RECOVER, SQ_KEY_SET_PURGING,
	SQ_KEY_REVOKE, SQ_KEY_TOUCH_ANY, SQ_KEY_TOUCH_VERSIONS,
	SQ_KEY_PURGE_MATERIAL, SQ_KEY_PURGE_TAGS, SQ_KEY_PURGE_VERSIONS, SQ_KEY_PURGE_POLICY, SQ_KEY_PURGE,
	SQ_VERSION_ADD, SQ_VERSION_SET, SQ_VERSION_SET_TAGS, SQ_VERSION_ENCRYPTS, SQ_POLICY_SET,
	SQ_VERSION_REWRAP, SQ_BLOB_REPLACE, SQ_BLOB_APPEND, SQ_VERSION_ERASE_MATERIAL, SQ_VERSION_MATERIAL, SQ_VERSION_ERASE_TAGS, SQ_VERSION_ERASE,
	SQ_TOMBSTONE_ADD, SQ_CERTIFICATE_ADD, SQ_CERTIFICATE_FILL, SQ_CERTIFICATE_SET, SQ_CERTIFICATE_SIGN,
	SQ_EPOCH_CLOSE, SQ_EPOCH_ADD, SQ_EPOCH_END, SQ_BACKUP_ADD, SQ_BACKUP_DROP,
	SQ_DUE_NOW, SQ_DUE_NOW_OF_VERSION, SQ_DUE_SET, SQ_DUE_DROP, SQ_CURSOR_SET, SQ_EVENT_PRUNE,
	SQ_WEBHOOK_ADD, SQ_WEBHOOK_SET, SQ_WEBHOOK_EMPTY, SQ_WEBHOOK_REMOVE, SQ_DELIVERY_ADD, SQ_DELIVERY_SET, SQ_DELIVERY_REMOVE,
	SQ_PERSON_ADD, SQ_PERSON_ERASE_MATERIAL, SQ_PERSON_ERASE,
	SQ_POOL_ADD, SQ_POOL_SET, SQ_POOL_SUBJECTS_DROP, SQ_POOL_SUBJECT_FREE, SQ_POOL_SUBJECT_ADD, SQ_POOL_ROOTS_DROP, SQ_POOL_ROOT_ADD,
	SQ_EXTERNAL_ADD, SQ_EXTERNAL_RETIRE, SQ_EXTERNAL_USED,
	SQ_INTENT_OPEN, SQ_INTENT_CLOSE, SQ_META_PUT, SQ_APPEND, SQ_PUT_NODE,
	SQ_CHECKPOINT_ADD, SQ_CHECKPOINT_COSIGN, SQ_LOG_KEY_ADD, SQ_LOG_ORIGIN_SET, SQ_CLOSED_LOG_ADD, SQ_INTENTS_KEEP,
	SQ_TOMBSTONES_KEEP, SQ_CERTIFICATES_DROP, SQ_CERTIFICATES_KEEP, SQ_DELIVERIES_KEEP, SQ_WEBHOOKS_UNDATE, SQ_CURSORS_RESET,
	SQ_VAULTS_UNDATE, SQ_VERSIONS_UNDATE,
	SQ_COUNT
};
#define SQ_FIRST_WRITE SQ_BEGIN

/* The one table of SQL. */
extern const char *const SQ_TEXT[SQ_COUNT];

struct sqlite_store {
	struct store base;
	sqlite3 *db;
	int lock_fd; /* -1 on a reader */
	bool is_in_tx;
	sqlite3_stmt *statements[SQ_COUNT];
};

/* The dispatcher hands back what the constructor made; the base is the first member. */
static inline struct sqlite_store *sq_of(struct store *s) { return (struct sqlite_store *)(void *)s; }

struct sq_query {
	sqlite3_stmt *st;
	int parameter, column; /* the last one used */
	int rc;                /* first failure of a bind, or SQLITE_OK */
	bool is_damaged;       /* a column holds what its type cannot */
	bool is_out_of_memory;
};
/* Ends with the scope: an open statement would hold its read transaction, and the next read would see an old state. */
#define SQ_QUERY_AUTO __attribute__((cleanup(sq_end))) struct sq_query

struct sq_query sq_start(struct sqlite_store *s, enum sq_id id);
void sq_end(struct sq_query *q);

/* Bind the next parameter. Pointers are borrowed until the query ends. */
void sq_put_blob(struct sq_query *q, const void *bytes, size_t len);
void sq_put_text(struct sq_query *q, const char *text); /* NULL = SQL NULL */
void sq_put_int(struct sq_query *q, int64_t value);
void sq_put_u64(struct sq_query *q, uint64_t value); /* as a signed value: all of ours stay below 2^63 */
void sq_put_null(struct sq_query *q);
void sq_put_id(struct sq_query *q, const uint8_t id[STORE_ID_LEN]);
void sq_put_id_or_none(struct sq_query *q, const uint8_t id[STORE_ID_LEN]); /* all zero = SQL NULL */
void sq_put_time(struct sq_query *q, int64_t time_s); /* STORE_NO_TIME = SQL NULL */
void sq_put_seq(struct sq_query *q, uint64_t seq);    /* STORE_NO_SEQ = SQL NULL */

/** Next row. @return KMS_OK | KMS_E_STORE (native = extended result code) */
KMS_MUST_CHECK kms_status sq_step(struct sq_query *q, bool *ret_has_row, struct kms_err *err);
/** The only row. @return KMS_OK | KMS_E_NOTFOUND | KMS_E_STORE */
KMS_MUST_CHECK kms_status sq_step_one(struct sq_query *q, struct kms_err *err);
/** Run to the end; no rows expected. @return KMS_OK | KMS_E_STORE (a broken constraint too: write.c tells them apart by q->rc) */
KMS_MUST_CHECK kms_status sq_run(struct sq_query *q, struct kms_err *err);
/** Report the query's failed step as `status`, with the database's words. Returns `status`. */
KMS_MUST_CHECK kms_status sq_failed(struct sq_query *q, kms_status status, struct kms_err *err);

/* Take the next column. What does not fit marks the row as damaged; sq_taken() reports it. */
void sq_take_bytes(struct sq_query *q, void *ret_bytes, size_t len);
void sq_take_some(struct sq_query *q, void *ret_bytes, size_t cap, size_t *ret_len);
void sq_take_text(struct sq_query *q, char *ret_text, size_t cap);
/* NULL when NULL or empty; owned by the caller. Longer than `max` = damaged: callers have room for no more. */
void sq_take_copy(struct sq_query *q, size_t max, uint8_t **ret_bytes, size_t *ret_len);
void sq_take_text_copy(struct sq_query *q, size_t max, char **ret_text);
uint64_t sq_take_uint(struct sq_query *q, uint64_t max);
int64_t sq_take_int(struct sq_query *q);
int64_t sq_take_time(struct sq_query *q);
uint64_t sq_take_seq(struct sq_query *q); /* SQL NULL = STORE_NO_SEQ */
/** SQL NULL = all zero. */
void sq_take_or_none(struct sq_query *q, void *ret_bytes, size_t len);
/** @return KMS_OK | KMS_E_STORE (a damaged row, or no memory for a copy) */
KMS_MUST_CHECK kms_status sq_taken(struct sq_query *q, struct kms_err *err);

/** Run constant text outside the table (pragmas, migrations). @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status sq_exec(sqlite3 *db, const char *sql, struct kms_err *err);
/** First column of the first row as text, cut to cap. @return KMS_OK | KMS_E_STORE (no row too) */
KMS_MUST_CHECK kms_status sq_ask(sqlite3 *db, const char *sql, char *ret_text, size_t cap, struct kms_err *err);
KMS_MUST_CHECK kms_status sq_ask_int(sqlite3 *db, const char *sql, int64_t *ret_value, struct kms_err *err);

/* One migration, compiled in from migrations/NNNN_what.sql. */
struct sq_migration {
	unsigned number; /* 1.., without a gap: the schema's version afterwards */
	const char *name;
	const char *sql;
};
extern const struct sq_migration SQ_MIGRATIONS[];
extern const size_t SQ_MIGRATION_COUNT;
#define SQ_APPLICATION_ID 0x486F6C64 /* "Hold"; set by the first migration */

/**
 * Bring a database to the newest schema of the list. A database that holds something is copied beside itself first (PATH.before-migration);
 * the copy is erased after success and kept after a failure. Foreign keys are on when it returns KMS_OK.
 * @return KMS_OK | KMS_E_STORE (newer schema, not ours, SQL error: the database is as it was after the last whole migration)
 */
KMS_MUST_CHECK kms_status sq_migrate(sqlite3 *db, const char *path, const struct sq_migration *list, size_t count, struct kms_err *err);
/** The schema is exactly version `count` and ours; nothing is changed. @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status sq_schema_check(sqlite3 *db, size_t count, struct kms_err *err);
/** Overwrite a file with zeros, sync, unlink; one that is not there is fine. @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status sq_erase_file(const char *path, struct kms_err *err);
/** fsync the directory of a path, so that a created or removed name is durable. */
KMS_MUST_CHECK kms_status sq_sync_dir(const char *path, struct kms_err *err);

/** Run a change. @return KMS_OK | KMS_E_FENCED (a row it refers to is gone) | on_taken (a unique value is taken) | KMS_E_CONFLICT (another
 *          constraint) | KMS_E_STORE */
KMS_MUST_CHECK kms_status sq_change(struct sq_query *q, kms_status on_taken, struct kms_err *err);
/** Run a change that must meet a row; on_absent when it does not. */
KMS_MUST_CHECK kms_status sq_change_row(struct sqlite_store *db, struct sq_query *q, kms_status on_absent, struct kms_err *err);
/** Run a change on the rows of one id; how many there are does not matter. */
KMS_MUST_CHECK kms_status sq_change_of(struct sqlite_store *db, enum sq_id statement, const uint8_t id[STORE_ID_LEN], struct kms_err *err);
/** The same on one row; KMS_E_FENCED when it is gone. */
KMS_MUST_CHECK kms_status sq_change_one(struct sqlite_store *db, enum sq_id statement, const uint8_t id[STORE_ID_LEN], struct kms_err *err);

/* One key, as KEY_SELECT has it (read.c). */
KMS_MUST_CHECK kms_status sq_take_key(struct sq_query *q, struct store_key *ret, struct kms_err *err);

/* The verbs, by file. */
extern const struct store_ops SQ_OPS; /* sqlite.c */
kms_status sq_vault_by_name(struct store *s, const char *name, struct store_vault *ret, struct kms_err *err);
kms_status sq_vault_by_id(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_vault *ret, struct kms_err *err);
kms_status sq_vaults(struct store *s, const char *after_name, struct store_vault *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_principal(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_principal *ret, struct kms_err *err);
kms_status sq_principals(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN],
                         struct store_principal *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_roles(struct store *s, const uint8_t principal_id[STORE_ID_LEN], struct store_assignment *ret, size_t cap, size_t *ret_count,
                    struct kms_err *err);
kms_status sq_networks(struct store *s, const uint8_t vault_id[STORE_ID_LEN], char ret[STORE_NETWORK_MAX + 1], struct kms_err *err);
kms_status sq_credentials(struct store *s, const uint8_t principal_id[STORE_ID_LEN], struct store_credential *ret, size_t cap,
                          size_t *ret_count, struct kms_err *err);
kms_status sq_credential(struct store *s, enum store_credential_kind kind, const uint8_t hash[STORE_HASH_LEN], struct store_credential *ret,
                         struct kms_err *err);
kms_status sq_custom_role(struct store *s, uint32_t number, struct store_role *ret, struct kms_err *err);
kms_status sq_custom_roles(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint32_t after_number, struct store_role *ret, size_t cap,
                           size_t *ret_count, struct kms_err *err);
kms_status sq_groups_of(struct store *s, const uint8_t member_id[STORE_ID_LEN], struct store_principal *ret, size_t cap, size_t *ret_count,
                        struct kms_err *err);
kms_status sq_members(struct store *s, const uint8_t group_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN],
                      struct store_principal *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_approval(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_approval *ret, struct kms_err *err);
kms_status sq_approval_open(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t requester[STORE_ID_LEN],
                            const uint8_t digest[STORE_HASH_LEN], struct store_approval *ret, struct kms_err *err);
kms_status sq_approvals(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN], bool only_open,
                        struct store_approval *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_votes(struct store *s, const uint8_t approval_id[STORE_ID_LEN], struct store_vote *ret, size_t cap, size_t *ret_count,
                    struct kms_err *err);
kms_status sq_key(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *name, struct store_key *ret, struct kms_err *err);
kms_status sq_keys(struct store *s, const uint8_t vault_id[STORE_ID_LEN], bool deleted, const char *after_name, struct store_key *ret,
                   size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_keys_due(struct store *s, int64_t now_s, struct store_key *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_version(struct store *s, const uint8_t key_id[STORE_ID_LEN], const uint8_t *version_id, bool with_tags,
                      struct store_version *ret, struct kms_err *err);
kms_status sq_versions(struct store *s, const uint8_t key_id[STORE_ID_LEN], uint64_t after_ordinal, bool with_tags,
                       struct store_version *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_policy(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_policy *ret, struct kms_err *err);
kms_status sq_pools(struct store *s, const uint8_t after_id[STORE_ID_LEN], struct store_pool *ret, size_t cap, size_t *ret_count,
                    struct kms_err *err);
kms_status sq_pool(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_pool *ret, struct kms_err *err);
kms_status sq_external(struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *id, struct store_external *ret,
                       struct kms_err *err);
kms_status sq_externals(struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *after_id, struct store_external *ret, size_t cap,
                        size_t *ret_count, struct kms_err *err);
kms_status sq_external_of_key(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_external *ret, struct kms_err *err);
kms_status sq_objects(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_obj[STORE_ID_LEN],
                      uint8_t (*ret)[STORE_ID_LEN], size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_object_count(struct store *s, const uint8_t vault_id[STORE_ID_LEN], size_t *ret_count, struct kms_err *err);
kms_status sq_object_known(struct store *s, const uint8_t obj[STORE_ID_LEN], bool *ret_known, struct kms_err *err);
kms_status sq_intents(struct store *s, uint64_t after_seq, struct store_intent *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_meta(struct store *s, const char *name, struct store_meta *ret, struct kms_err *err);
kms_status sq_event_count(struct store *s, uint64_t *ret_count, struct kms_err *err);
kms_status sq_event(struct store *s, uint64_t seq, struct store_event *ret, struct kms_err *err);
kms_status sq_node(struct store *s, unsigned level, uint64_t position, uint8_t ret_hash[STORE_HASH_LEN], struct kms_err *err);
kms_status sq_checkpoint_of(struct store *s, uint64_t size, struct store_signed *ret, struct kms_err *err);
kms_status sq_checkpoint_last(struct store *s, struct store_signed *ret, struct kms_err *err);
kms_status sq_log_keys(struct store *s, struct store_log_key *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_closed_logs(struct store *s, struct store_closed_log *ret, size_t cap, size_t *ret_count, struct kms_err *err);

kms_status sq_version_of_object(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_version *ret, struct kms_err *err);
kms_status sq_wrapped_under(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t root_id[STORE_ID_LEN],
                            const uint8_t after_obj[STORE_ID_LEN], uint8_t (*ret)[STORE_ID_LEN], size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_tombstone(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_tombstone *ret, struct kms_err *err);
kms_status sq_revival(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_revival *ret, struct kms_err *err);
kms_status sq_tombstones(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, const uint8_t after_obj[STORE_ID_LEN],
                         struct store_tombstone *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_certificate(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_certificate *ret, struct kms_err *err);
kms_status sq_certificates(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN], bool only_open,
                           struct store_certificate *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_certificate_of_intent(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_certificate *ret,
                                    struct kms_err *err);
kms_status sq_epochs(struct store *s, uint32_t below, struct store_epoch *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_epoch_of_object(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_epoch *ret, struct kms_err *err);
kms_status sq_backups(struct store *s, enum store_backup_kind kind, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN],
                      struct store_backup *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_backups_of_key(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *key_name, struct store_backup *ret, size_t cap,
                             size_t *ret_count, struct kms_err *err);
kms_status sq_copy(struct store *s, const char *path, bool (*go_on)(void *arg, uint64_t done, uint64_t total), void *arg, struct kms_err *err);
void sq_forget(struct store *s);

kms_status sq_begin(struct store *s, struct kms_err *err);
kms_status sq_fence(struct store *s, const struct store_fence *fence, bool *ret_holds, struct kms_err *err);
kms_status sq_apply(struct store *s, const struct store_change *changes, size_t count, uint64_t seq, struct kms_err *err);
kms_status sq_append(struct store *s, const struct store_event *event, struct kms_err *err);
kms_status sq_put_node(struct store *s, unsigned level, uint64_t position, const uint8_t hash[STORE_HASH_LEN], struct kms_err *err);
kms_status sq_commit(struct store *s, struct kms_err *err);
void sq_rollback(struct store *s);
kms_status sq_checkpoint(struct store *s, bool truncate, struct kms_err *err);

/* What is made once and pointed at by its row (write.c). *ret_id = 0: there was nothing to keep. */
KMS_MUST_CHECK kms_status sq_material_add(struct sqlite_store *db, const uint8_t *n, size_t n_len, const uint8_t *wrapped, size_t wrapped_len,
                                          int64_t *ret_id, struct kms_err *err);
void sq_put_material(struct sq_query *q, int64_t id);

/* Changes of a vault's lock and root, and of blobs (root.c). */
kms_status sq_vault_lock(struct sqlite_store *db, const struct store_vault *v, struct kms_err *err);
kms_status sq_vault_next_root(struct sqlite_store *db, const struct store_vault *v, struct kms_err *err);
kms_status sq_vault_set_root(struct sqlite_store *db, const struct store_vault *v, struct kms_err *err);
kms_status sq_version_rewrap(struct sqlite_store *db, const struct store_version *v, struct kms_err *err);
kms_status sq_version_erase(struct sqlite_store *db, const struct store_version *v, struct kms_err *err);

/* Changes of what tells of destructions (destruction.c). */
kms_status sq_tombstone_add(struct sqlite_store *db, const struct store_tombstone *t, uint64_t seq, struct kms_err *err);
kms_status sq_certificate_add(struct sqlite_store *db, const struct store_certificate *c, uint64_t seq, struct kms_err *err);
kms_status sq_certificate_fill(struct sqlite_store *db, const struct store_certificate *c, uint64_t seq, struct kms_err *err);
kms_status sq_certificate_set(struct sqlite_store *db, const struct store_certificate *c, struct kms_err *err);
kms_status sq_certificate_sign(struct sqlite_store *db, const struct store_certificate *c, struct kms_err *err);

/* Changes of backup epochs and of what was backed up in them (backup.c). */
kms_status sq_epoch_add(struct sqlite_store *db, const struct store_epoch *e, struct kms_err *err);
kms_status sq_epoch_end(struct sqlite_store *db, const struct store_epoch *e, struct kms_err *err);
kms_status sq_backup_add(struct sqlite_store *db, const struct store_backup *b, struct kms_err *err);
kms_status sq_backup_drop(struct sqlite_store *db, const struct store_backup *b, struct kms_err *err);

/* Changes of who may call, and of what they may do (access.c). */
kms_status sq_networks_set(struct sqlite_store *db, const struct store_networks *n, struct kms_err *err);
kms_status sq_principal_add(struct sqlite_store *db, const struct store_principal *p, struct kms_err *err);
kms_status sq_principal_set(struct sqlite_store *db, const struct store_principal *p, struct kms_err *err);
kms_status sq_credential_add(struct sqlite_store *db, const struct store_credential *c, struct kms_err *err);
kms_status sq_credential_remove(struct sqlite_store *db, const struct store_credential *c, struct kms_err *err);
kms_status sq_role_add(struct sqlite_store *db, const struct store_assignment *a, struct kms_err *err);
kms_status sq_role_remove(struct sqlite_store *db, const struct store_assignment *a, struct kms_err *err);
kms_status sq_role_define(struct sqlite_store *db, const struct store_role *r, struct kms_err *err);
kms_status sq_role_drop(struct sqlite_store *db, const struct store_role *r, struct kms_err *err);
kms_status sq_member_add(struct sqlite_store *db, const struct store_member *m, struct kms_err *err);
kms_status sq_member_remove(struct sqlite_store *db, const struct store_member *m, struct kms_err *err);

/* Changes of approvals (approval.c). */
kms_status sq_approval_add(struct sqlite_store *db, const struct store_approval *a, struct kms_err *err);
kms_status sq_approval_vote(struct sqlite_store *db, const struct store_vote *v, struct kms_err *err);
kms_status sq_approval_use(struct sqlite_store *db, const struct store_approval_use *u, struct kms_err *err);
kms_status sq_approval_close(struct sqlite_store *db, const struct store_approval *a, struct kms_err *err);

/* Changes of the log (log.c). */
kms_status sq_checkpoint_add(struct sqlite_store *db, const struct store_signed *c, struct kms_err *err);
kms_status sq_checkpoint_cosign(struct sqlite_store *db, const struct store_signed *c, struct kms_err *err);
kms_status sq_log_key_add(struct sqlite_store *db, const struct store_log_key *k, uint64_t seq, struct kms_err *err);
kms_status sq_log_close(struct sqlite_store *db, const struct store_log_close *c, struct kms_err *err);

/* When keys are due, and what follows the log (following.c). */
kms_status sq_due(struct store *s, int64_t now_s, const uint8_t after[STORE_ID_LEN], struct store_due *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_due_of(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_due *ret, struct kms_err *err);
kms_status sq_key_by_id(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_key *ret, struct kms_err *err);
kms_status sq_cursor(struct store *s, const char *name, uint64_t *ret_seq, struct kms_err *err);
/* The key is to be looked at now: statement SQ_DUE_NOW with its id, or SQ_DUE_NOW_OF_VERSION with a version's. */
kms_status sq_due_now(struct sqlite_store *db, enum sq_id statement, const uint8_t id[STORE_ID_LEN], struct kms_err *err);
kms_status sq_due_set(struct sqlite_store *db, const struct store_due *d, struct kms_err *err);
kms_status sq_cursor_set(struct sqlite_store *db, const struct store_cursor *c, struct kms_err *err);
kms_status sq_events_prune(struct sqlite_store *db, const struct store_prune *p, struct kms_err *err);

/* Webhooks and their deliveries (webhook.c). */
kms_status sq_webhooks(struct store *s, const uint8_t *vault_id, const uint8_t *after_id, struct store_webhook *ret, size_t cap, size_t *ret_count,
                       struct kms_err *err);
kms_status sq_webhook(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_webhook *ret, struct kms_err *err);
kms_status sq_deliveries(struct store *s, const uint8_t webhook_id[STORE_ID_LEN], enum store_delivery_state state, uint64_t after_seq,
                         struct store_delivery *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_delivery_count(struct store *s, const uint8_t webhook_id[STORE_ID_LEN], enum store_delivery_state state, uint64_t *ret_count,
                             struct kms_err *err);
kms_status sq_webhook_add(struct sqlite_store *db, const struct store_webhook *w, uint64_t seq, struct kms_err *err);
kms_status sq_webhook_set(struct sqlite_store *db, const struct store_webhook *w, struct kms_err *err);
kms_status sq_webhook_remove(struct sqlite_store *db, const struct store_webhook *w, struct kms_err *err);
kms_status sq_delivery_add(struct sqlite_store *db, const struct store_delivery *d, struct kms_err *err);
kms_status sq_delivery_set(struct sqlite_store *db, const struct store_delivery *d, struct kms_err *err);
kms_status sq_delivery_remove(struct sqlite_store *db, const struct store_delivery *d, struct kms_err *err);

/* Records of persons (person.c). */
kms_status sq_person(struct store *s, uint64_t ref, struct store_person *ret, struct kms_err *err);
kms_status sq_persons(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *pid, int64_t before_s, uint64_t after_ref,
                      struct store_person *ret, size_t cap, size_t *ret_count, struct kms_err *err);
kms_status sq_person_add(struct sqlite_store *db, const struct store_person *p, struct kms_err *err);
kms_status sq_person_erase(struct sqlite_store *db, const struct store_person_erasure *p, struct kms_err *err);

/* Changes of pools and external ids (pool.c). */
kms_status sq_pool_add(struct sqlite_store *db, const struct store_pool *p, struct kms_err *err);
kms_status sq_pool_set(struct sqlite_store *db, const struct store_pool *p, struct kms_err *err);
kms_status sq_external_add(struct sqlite_store *db, const struct store_external *e, struct kms_err *err);
kms_status sq_external_retire(struct sqlite_store *db, const struct store_external *e, struct kms_err *err);
kms_status sq_external_used(struct sqlite_store *db, const struct store_external *e, struct kms_err *err);

#endif
