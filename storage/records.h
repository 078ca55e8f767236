/*
 * storage/records.h - what the database holds, as structs, and the changes that a transaction can make. Part of storage/store.h, which everybody includes.
 * Ids are 16 random bytes. Times are seconds since 1970-01-01 UTC unless named otherwise; STORE_NO_TIME = not set.
 */
#ifndef HOLDFAST_STORAGE_RECORDS_H
#define HOLDFAST_STORAGE_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_ID_LEN 16
#define STORE_HASH_LEN 32
#define STORE_VAULT_NAME_MAX 24
#define STORE_KEY_NAME_MAX 127
#define STORE_PUBLIC_MAX 512 /* modulus of RSA-4096; a point has at most 133 */
#define STORE_DURATION_MAX 31 /* characters of an ISO 8601 duration */
#define STORE_BLOB_MAX 4096
#define STORE_TAGS_MAX (128 * 1024) /* 15 tags of 256 + 256 characters, escaped at the worst */
#define STORE_LEAF_MAX 8192
#define STORE_PRINCIPAL_NAME_MAX 64
#define STORE_EXTERNAL_ID_MAX 64 /* characters of an external key id: [0-9A-Za-z-] (ekm-proxy.md section 4) */
#define STORE_PREFIX_MAX 64
#define STORE_SUBJECT_MAX 64 /* characters of a common name (RFC 5280 appendix A.1) */
#define STORE_SUBJECTS_MAX 8
#define STORE_ROOTS_MAX 8
#define STORE_ROOT_MAX 8192 /* bytes of a certificate, DER */
#define STORE_PAGE_MAX 256
#define STORE_DUE_EACH 8 /* keys of one vault that store_due() tells at a time */
#define STORE_NETWORK_MAX 4096 /* characters of a vault's address ranges */
#define STORE_ISSUER_MAX 32    /* characters of the name of an issuer in the configuration */
#define STORE_LABEL_MAX 128
#define STORE_CREDENTIALS_MAX 16     /* of one principal */
#define STORE_CREDENTIAL_DATA_MAX 8192 /* bytes of a certificate, DER */
#define STORE_ROLE_NAME_MAX 64
#define STORE_ACTIONS_MAX 4096 /* characters of a custom role's actions */
#define STORE_CUSTOM_ROLE 1000 /* numbers of custom roles begin here */
#define STORE_ACT_MAX 32       /* characters of the name of an act that needs approval */
#define STORE_REQUEST_TEXT_MAX 2048 /* characters of a request that needs approval, canonical JSON */
#define STORE_REASON_MAX 128
#define STORE_APPROVERS_MAX 16
#define STORE_SIGNATURE_MAX 512
#define STORE_ORIGIN_MAX 200 /* characters of the origin of a log (audit-log.md section 2) */
#define STORE_NOTE_MAX 16384 /* bytes of a signed checkpoint with its cosignatures */
#define STORE_VKEY_MAX 512   /* characters of a verifier key */
#define STORE_FROM_LEAF UINT64_MAX
#define STORE_NO_SEQ UINT64_MAX /* of a leaf that is not known, or of a log that was closed */
#define STORE_MAC_LEN 32
#define STORE_PLACE_MAX 255     /* characters of a file name */
#define STORE_FACTS_MAX (256 * 1024) /* characters of one member of a certificate, canonical JSON */
#define STORE_SIGNATURES_MAX 16384   /* characters of a certificate's signature lines */
#define STORE_CURSOR_NAME_MAX 64
#define STORE_URL_MAX 512
#define STORE_WEBHOOKS_MAX 16 /* of one vault */
#define STORE_FAILURE_MAX 128
#define STORE_SEALED_MAX 4096 /* bytes of a sealed record of a person */
#define STORE_PRUNE_MAX 256   /* leaves in one change */
#define STORE_SEQ_MAX ((UINT64_C(1) << 48) - 1) /* of a leaf; more than can ever be written */
#define STORE_NO_TIME INT64_MIN
/* kms_err.native of a KMS_E_STORE after a failed sync (SQLite: SQLITE_IOERR_FSYNC): what the page cache holds is unknown, the process must
 * exit (audit-log.md 6.1). */
#define STORE_NATIVE_SYNC 1034UL

enum store_mode { STORE_READ, STORE_WRITE };

enum store_vault_state { STORE_VAULT_ACTIVE = 1, STORE_VAULT_SHREDDING, STORE_VAULT_SHREDDED };

struct store_vault {
	uint8_t id[STORE_ID_LEN];
	char name[STORE_VAULT_NAME_MAX + 1]; /* lower case */
	uint8_t directory[STORE_ID_LEN];     /* tenant GUID of its tokens */
	enum store_vault_state state;
	bool is_locked; /* it refuses every use, until it is unlocked with approval */
	uint8_t root_id[STORE_ID_LEN];      /* HSM object ids */
	uint8_t next_root_id[STORE_ID_LEN]; /* of a root rotation under way: what is wrapped from now on is wrapped under it; all zero = none */
	uint8_t pseudonym_id[STORE_ID_LEN];
	uint16_t retention_days; /* 7..90 */
	bool has_purge_protection;
	bool allows_rsa1_5;
	uint8_t canary_wrapped[40]; /* AES-KW under the root of 32 random bytes, and their SHA-256 (audit-log.md 11.3 step 8) */
	size_t canary_wrapped_len;
	uint8_t canary_hash[STORE_HASH_LEN];
	uint8_t quorum;          /* 1..STORE_APPROVERS_MAX: approvers besides the requester of what cannot be undone */
	uint8_t purge_approvals; /* 0..STORE_APPROVERS_MAX: the same for a purge */
	bool is_founded;         /* it has had as many approvers as its quorum asks for; never taken back */
	bool counts_installation; /* of a founded vault: the installation's approvers count, since it was founded before; settled with is_founded */
	bool has_networks;       /* only some addresses may call: store_networks() */
	char issuer[STORE_ISSUER_MAX + 1]; /* whose tokens the challenge asks for; empty = the built-in issuer's */
	uint16_t person_days;    /* how long records of persons are kept; 0 = none are made (audit-log.md section 12) */
	char person_basis[STORE_REASON_MAX + 1]; /* why they may be: a legal basis, for people; "" = none given */
	int64_t created_s;
	uint64_t created_seq; /* of the leaf that made it; STORE_NO_SEQ = not known. Set by STORE_VAULT_ADD to that of its unit */
	uint64_t epoch; /* raised by each change of state, lock, root or policy, of a group and of a custom role; never 0 */
};

enum store_principal_kind { STORE_PRINCIPAL_CALLER = 1, STORE_PRINCIPAL_GROUP };

struct store_principal {
	uint8_t id[STORE_ID_LEN];       /* object id and client id */
	uint8_t vault_id[STORE_ID_LEN]; /* whose directory it is in; all zero: the installation's, which has no groups */
	char name[STORE_PRINCIPAL_NAME_MAX + 1];
	uint8_t pid[16]; /* pseudonym, audit-log.md 12 */
	enum store_principal_kind kind;
	bool is_enabled;
	int64_t tokens_from_s; /* tokens issued before are refused; 0 = none is */
	int64_t created_s;
	uint64_t epoch; /* raised by each change of the principal, of its credentials or of its roles */
};

enum store_credential_kind {
	STORE_CREDENTIAL_SECRET = 1,  /* client secret: hash = SHA-256 of its text */
	STORE_CREDENTIAL_HEADER,      /* header secret of the managed-identity endpoint: the same */
	STORE_CREDENTIAL_CERTIFICATE, /* signs client assertions and approvals: data = DER, hash = its SHA-256, unique among the principal's only */
	STORE_CREDENTIAL_IDENTITY,    /* who it is at an external issuer: hash as core makes it, unique in its vault */
};

/* How a principal is known. Zeroed = empty; release with store_credential_clear(). */
struct store_credential {
	uint8_t id[STORE_ID_LEN];
	uint8_t principal_id[STORE_ID_LEN];
	enum store_credential_kind kind;
	uint8_t hash[STORE_HASH_LEN];
	char label[STORE_LABEL_MAX + 1]; /* for people: nothing is decided by it */
	int64_t created_s, expires_s;    /* STORE_NO_TIME = never */
	uint8_t *data; /* owned; NULL = none */
	size_t data_len;
};
void store_credential_clear(struct store_credential *c);
#define STORE_CREDENTIAL_AUTO __attribute__((cleanup(store_credential_clear))) struct store_credential

/* One role at one scope. vault_id all zero = the installation. */
struct store_assignment {
	uint8_t principal_id[STORE_ID_LEN]; /* a caller or a group */
	uint8_t vault_id[STORE_ID_LEN];
	char key_name[STORE_KEY_NAME_MAX + 1]; /* one key of the vault, compared without case; empty = all of it */
	uint32_t role;     /* core's enum role, or the number of a custom role */
	int64_t expires_s; /* STORE_NO_TIME = never */
	int64_t created_s;
};

/* A role that a vault made for itself. Zeroed = empty; release with store_role_clear(). */
struct store_role {
	uint8_t id[STORE_ID_LEN];
	uint8_t vault_id[STORE_ID_LEN];
	uint32_t number; /* STORE_CUSTOM_ROLE.., unique in the database, never used again */
	char name[STORE_ROLE_NAME_MAX + 1]; /* compared without case */
	char *actions; /* core's names of data actions, one space between two; owned when read, borrowed in a change */
	int64_t created_s;
};
void store_role_clear(struct store_role *r);
#define STORE_ROLE_AUTO __attribute__((cleanup(store_role_clear))) struct store_role

/* A caller or a group that belongs to a group of the same vault. */
struct store_member {
	uint8_t group_id[STORE_ID_LEN], member_id[STORE_ID_LEN];
};

/* The addresses that may call a vault. */
struct store_networks {
	uint8_t vault_id[STORE_ID_LEN];
	const char *text; /* borrowed; CIDR, one space between two; "" = everybody */
};

enum store_approval_state { STORE_APPROVAL_OPEN = 1, STORE_APPROVAL_USED, STORE_APPROVAL_DENIED, STORE_APPROVAL_WITHDRAWN };

/* A request for an act that needs several people; bound to exactly what was asked. Zeroed = empty; release with store_approval_clear(). */
struct store_approval {
	uint8_t id[STORE_ID_LEN];
	uint8_t vault_id[STORE_ID_LEN];  /* all zero: the installation's */
	uint8_t requester[STORE_ID_LEN]; /* a principal, or a local user: core's form */
	char act[STORE_ACT_MAX + 1];     /* "vault.shred" */
	uint8_t digest[STORE_HASH_LEN];  /* SHA-256 of request */
	char *request; /* canonical JSON: act, vault, target, parameters, requester; owned when read, borrowed in a change */
	char reason[STORE_REASON_MAX + 1];
	uint8_t quorum; /* when it was opened; the vault's present one counts too, if it is higher */
	enum store_approval_state state;
	int64_t created_s, expires_s;
	int64_t settled_s; /* STORE_NO_TIME = open */
};
void store_approval_clear(struct store_approval *a);
#define STORE_APPROVAL_AUTO __attribute__((cleanup(store_approval_clear))) struct store_approval

/* What one approver said. */
struct store_vote {
	uint8_t approval_id[STORE_ID_LEN];
	uint8_t approver_id[STORE_ID_LEN]; /* a principal */
	bool approves;
	char reason[STORE_REASON_MAX + 1];
	int64_t created_s;
	uint8_t certificate[STORE_HASH_LEN]; /* of the approver's signature key; all zero = not signed */
	uint8_t signature[STORE_SIGNATURE_MAX];
	size_t signature_len;
};

/* An approval is used up by those who were counted for it. */
struct store_approval_use {
	uint8_t id[STORE_ID_LEN];
	int64_t settled_s;
	size_t count;
	struct {
		uint8_t id[STORE_ID_LEN];
		uint64_t epoch;
	} approvers[STORE_APPROVERS_MAX];
};

/* A Managed HSM pool (ekm-proxy.md), or another service: a principal of one vault that is known by its client certificate. Name, vault, state
 * and epoch are its principal's. Zeroed = empty; release with store_pool_clear(). */
struct store_pool {
	uint8_t id[STORE_ID_LEN]; /* its principal's */
	bool is_service; /* no pool but a service: known on the main listener, and not on that of pools */
	char prefix[STORE_PREFIX_MAX + 1]; /* path prefix, without slashes at its ends; empty = none */
	char subjects[STORE_SUBJECTS_MAX][STORE_SUBJECT_MAX + 1]; /* common names, lower case */
	size_t subject_count;
	struct store_root {
		uint8_t *der; /* owned */
		size_t der_len;
	} roots[STORE_ROOTS_MAX];
	size_t root_count;
	int64_t created_s, updated_s;
	uint64_t epoch; /* its principal's, of the same moment as the rest; not written */
};
void store_pool_clear(struct store_pool *p);
#define STORE_POOL_AUTO __attribute__((cleanup(store_pool_clear))) struct store_pool

/* An external key id of a pool: bound once to one key version, for ever; the row outlives key and version, so that it can never be bound anew. */
struct store_external {
	uint8_t pool_id[STORE_ID_LEN];
	char id[STORE_EXTERNAL_ID_MAX + 1]; /* case-sensitive */
	uint8_t key_id[STORE_ID_LEN], version_id[STORE_ID_LEN];
	char key_name[STORE_KEY_NAME_MAX + 1];
	int64_t created_s;
	int64_t retired_s;   /* STORE_NO_TIME = in use */
	int64_t last_used_s; /* by a wrap or unwrap that was answered; STORE_NO_TIME = never */
	uint64_t uses;
};

struct store_key {
	uint8_t id[STORE_ID_LEN];
	uint8_t vault_id[STORE_ID_LEN];
	char name[STORE_KEY_NAME_MAX + 1]; /* case as given at creation; compared without case (ASCII) */
	int64_t created_s;
	int64_t deleted_s; /* STORE_NO_TIME = not deleted */
	int64_t purge_s;   /* scheduled purge when deleted */
	bool is_purging;   /* destruction has begun: refused from here on */
	uint64_t epoch;    /* raised by create of a version, delete, recover, purge */
};

struct store_version {
	uint8_t id[STORE_ID_LEN]; /* its 32 hex digits in a URL */
	uint8_t key_id[STORE_ID_LEN];
	uint8_t obj[STORE_ID_LEN]; /* HSM object id */
	uint64_t ordinal;          /* 1.. within the key; the highest is the latest */
	uint8_t kty;               /* core's enum key_type */
	uint8_t crv;               /* core's enum key_curve; 0 = none */
	uint16_t bits;
	uint32_t ops; /* core's key_ops bits */
	bool is_enabled;
	uint8_t revoked; /* 0 = no; else core's enum revoke_reason */
	int64_t nbf_s, exp_s;
	int64_t created_s, updated_s;
	uint64_t epoch;
	uint64_t encryptions; /* made under it with a random nonce (GCM), or being made: never fewer than that */
	uint8_t *pub; /* owned; RSA modulus, or 0x04 || x || y; NULL for symmetric keys */
	size_t pub_len;
	uint8_t e[8];
	size_t e_len;
	uint8_t *wrapped; /* owned; NULL when resident */
	size_t wrapped_len;
	uint8_t root_id[STORE_ID_LEN]; /* the root that it is, or before its erasure was, wrapped under; all zero when resident */
	uint64_t created_seq; /* as store_vault.created_seq, by STORE_VERSION_ADD */
	char *tags; /* owned; JSON object text, or NULL; read only when asked for */
};
void store_version_clear(struct store_version *v);
#define STORE_VERSION_AUTO __attribute__((cleanup(store_version_clear))) struct store_version

/* A key's rotation policy; texts are ISO 8601 durations as given, empty = none. A key without a row has core's default. */
struct store_policy {
	uint8_t key_id[STORE_ID_LEN];
	char rotate_after_create[STORE_DURATION_MAX + 1], rotate_before_expiry[STORE_DURATION_MAX + 1];
	char notify_before_expiry[STORE_DURATION_MAX + 1];
	char expiry_time[STORE_DURATION_MAX + 1];
	int64_t created_s, updated_s;
};

/* What a result depends on: released only if all of it is unchanged. An all-zero id = does not depend on it. */
struct store_fence {
	uint8_t vault_id[STORE_ID_LEN], principal_id[STORE_ID_LEN], key_id[STORE_ID_LEN], version_id[STORE_ID_LEN];
	uint64_t vault_epoch, principal_epoch, key_epoch, version_epoch;
};

/*
 * When the scheduler must look at a key again, and what it has done about its newest version. A row comes into being, with at_s 0 (look now), with each STORE_VERSION_ADD,
 * STORE_VERSION_SET, STORE_POLICY_SET, STORE_KEY_RECOVER and STORE_KEY_REVOKE of the key, which change nothing else of an existing row; it goes with STORE_KEY_DELETE,
 * STORE_KEY_PURGE and STORE_VAULT_ERASE.
 */
struct store_due {
	uint8_t key_id[STORE_ID_LEN];
	uint8_t vault_id[STORE_ID_LEN]; /* of reads */
	int64_t at_s;
	uint64_t key_epoch; /* of a change: STORE_DUE_SET is KMS_E_FENCED when the key has another. Of reads: its present one */
	uint8_t near_version[STORE_ID_LEN], expired_version[STORE_ID_LEN]; /* whose event was written; all zero = none was */
	int64_t near_exp_s, expired_exp_s; /* for this end */
	uint8_t base_version[STORE_ID_LEN]; /* whose age is counted from base_s, since the clock has been set back after it was made; all zero = none */
	int64_t base_s;
	uint32_t attempts; /* that have failed, one after the other */
};

/* Where a consumer of the log stands: it is through with all leaves below seq. STORE_LOG_CLOSE sets all to 0, and from_seq of all webhooks. */
struct store_cursor {
	char name[STORE_CURSOR_NAME_MAX + 1];
	uint64_t seq;
};

enum store_webhook_state { STORE_WEBHOOK_PENDING = 1 /* the receiver has not agreed yet */, STORE_WEBHOOK_ACTIVE, STORE_WEBHOOK_REFUSED /* it did not agree */ };
enum store_webhook_shape { STORE_WEBHOOK_EVENT_GRID = 1, STORE_WEBHOOK_CLOUD_EVENTS };
/* A subscription of one vault. */
struct store_webhook {
	uint8_t id[STORE_ID_LEN];
	uint8_t vault_id[STORE_ID_LEN];
	char name[STORE_PRINCIPAL_NAME_MAX + 1]; /* unique in its vault, without case */
	char url[STORE_URL_MAX + 1];
	enum store_webhook_shape shape;
	uint32_t events;   /* core's or feed's bits */
	enum store_webhook_state state;
	uint32_t generation; /* of its signing secret, 1.. */
	uint32_t attempts; /* of the handshake */
	int64_t next_s;    /* of the handshake */
	int64_t created_s;
	uint64_t from_seq; /* leaves before are not its business; set by STORE_WEBHOOK_ADD to the seq of its unit's leaf */
	char failure[STORE_FAILURE_MAX + 1]; /* of the last attempt to agree or to deliver; "" = none */
};

enum store_delivery_state { STORE_DELIVERY_WAITING = 1, STORE_DELIVERY_DEAD };
/* One event for one subscription, until it was received. Ordered by seq. */
struct store_delivery {
	uint8_t webhook_id[STORE_ID_LEN];
	uint64_t seq; /* of the leaf; of a closed log, with its number in the bits from 48 up, as store_intent.seq */
	uint32_t event; /* one of store_webhook.events */
	enum store_delivery_state state;
	uint8_t version_id[STORE_ID_LEN]; /* all zero = of no version */
	char key_name[STORE_KEY_NAME_MAX + 1];
	int64_t event_us; /* of the leaf */
	uint8_t event_id[STORE_ID_LEN]; /* of the leaf */
	uint32_t attempts;
	int64_t next_s;
	int64_t created_s;
	int32_t http; /* of the last answer; 0 = there was none */
	char failure[STORE_FAILURE_MAX + 1];
};

/* Who somebody was: outside the tree, sealed under a key of the vault (audit-log.md section 12). Erased in place like key material. */
struct store_person {
	uint64_t ref; /* random, 1..2^53-1; leaves name it */
	uint8_t vault_id[STORE_ID_LEN]; /* all zero: the installation's */
	uint8_t pid[16];
	int64_t created_s;
	uint8_t sealed[STORE_SEALED_MAX];
	size_t sealed_len; /* 0 = erased */
};

/* Which record is erased. */
struct store_person_erasure {
	uint64_t ref;
	uint8_t vault_id[STORE_ID_LEN];
};

/* Bodies of leaves that are dropped; their hashes stay. */
struct store_prune {
	const uint64_t *seqs; /* borrowed */
	size_t count;         /* 1..STORE_PRUNE_MAX */
};

enum store_change_kind {
	STORE_VAULT_ADD = 1,     /* vault (epoch is set to 1) */
	STORE_VAULT_SET_STATE,   /* vault_id, state; raises its epoch */
	STORE_VAULT_SET,         /* vault: id, retention_days, has_purge_protection, allows_rsa1_5, quorum, purge_approvals, issuer, person_days,
	                          * person_basis, and with the first is_founded, which is never taken back, counts_installation; raises its epoch */
	STORE_NETWORKS_SET,      /* networks; raises the vault's epoch */
	STORE_VAULT_ERASE,       /* vault_id: its canary, blobs, public halves, tags, policies and persons erased, its due rows and webhooks removed;
	                          * keys and versions kept as rows */
	STORE_VAULT_LOCK,        /* vault: id, is_locked; raises its epoch; KMS_E_CONFLICT when it is so already */
	STORE_VAULT_NEXT_ROOT,   /* vault: id, next_root_id; raises its epoch; KMS_E_CONFLICT when it has one */
	STORE_VAULT_SET_ROOT,    /* vault: id, root_id, canary: the next root becomes the root; raises its epoch; KMS_E_FENCED when root_id is not its next
	                          * root, or a version is still wrapped under another */
	STORE_PRINCIPAL_ADD,     /* principal */
	STORE_PRINCIPAL_SET,     /* principal: id, is_enabled, tokens_from_s; raises its epoch, and its vault's when it is a group; KMS_E_FENCED
	                          * when its epoch is not principal.epoch any more, so that of two changes none undoes the other */
	STORE_CREDENTIAL_ADD,    /* credential; raises the principal's epoch, or its vault's when it is a group, which has identities only (any
	                          * other: KMS_E_FENCED); KMS_E_CONFLICT when one of its kind has the hash, or the principal has
	                          * STORE_CREDENTIALS_MAX */
	STORE_CREDENTIAL_REMOVE, /* credential: id, principal_id; the same; KMS_E_NOTFOUND when there is none */
	STORE_ROLE_ADD,          /* assignment; raises the principal's epoch, or its vault's when it is a group; KMS_E_CONFLICT when it has the role
	                          * at this scope, whatever its end; KMS_E_FENCED when the scope is not the group's vault, or not that of the
	                          * custom role */
	STORE_ROLE_REMOVE,       /* assignment: principal_id, vault_id, key_name, role; the same; KMS_E_NOTFOUND when there is none */
	STORE_ROLE_DEFINE,       /* role: its number is the next; KMS_E_CONFLICT when the vault has the name */
	STORE_ROLE_DROP,         /* role: id, vault_id; raises the vault's epoch; KMS_E_NOTFOUND, KMS_E_CONFLICT when somebody has it */
	STORE_MEMBER_ADD,        /* member; raises the epoch of the group's vault; KMS_E_CONFLICT when it is one; KMS_E_FENCED when there is no
	                          * such group, or the member is the group itself or of another vault */
	STORE_MEMBER_REMOVE,     /* member; the same; KMS_E_NOTFOUND */
	STORE_APPROVAL_ADD,      /* approval, open; KMS_E_CONFLICT when one of the same requester, vault and digest is open */
	STORE_APPROVAL_VOTE,     /* vote; KMS_E_CONFLICT when this approver has voted, KMS_E_FENCED when the approval is not open */
	STORE_APPROVAL_USE,      /* approval_use: state becomes USED; KMS_E_FENCED when it is not open, its end has passed, there are fewer than its
	                          * quorum, or one of them is the requester, has not voted for it, or has another epoch */
	STORE_APPROVAL_CLOSE,    /* approval: id, state (DENIED or WITHDRAWN), settled_s; KMS_E_FENCED when it is not open */
	STORE_KEY_ADD,           /* key; KMS_E_FENCED when the name is taken, by a deleted key too */
	STORE_VERSION_ADD,       /* version; its ordinal is set to the next; raises the key's epoch; KMS_E_FENCED when its id exists, or it is wrapped under
	                          * what is neither its vault's root nor its next root */
	STORE_VERSION_REWRAP,    /* version: id, root_id, wrapped: the same key under another root; raises no epoch; KMS_E_FENCED when it is gone or
	                          * erased, or that is neither its vault's root nor its next root */
	STORE_VERSION_ERASE,     /* version: id: its blob, public half and tags erased; the row is kept, with its root_id; a resident one is still listed by
	                          * store_objects(). Nothing when it is gone */
	STORE_VERSION_ENCRYPTS,  /* encryption: counts one more; KMS_E_FENCED when `limit` is reached. No epoch is raised */
	STORE_POLICY_SET,        /* policy: replaces that of a living key, but for its created_s; raises the key's epoch */
	STORE_VERSION_SET,       /* version: id, ops, is_enabled, revoked, nbf_s, exp_s, updated_s, and tags when set_tags; raises its epoch */
	STORE_KEY_DELETE,        /* key: id, deleted_s, purge_s; raises its epoch and those of its versions */
	STORE_KEY_RECOVER,       /* key: id; raises its epoch */
	STORE_KEY_SET_PURGING,   /* key: id; raises its epoch */
	STORE_KEY_REVOKE,        /* revocation; raises the epoch of the key and of each version it touches; KMS_E_NOTFOUND when there is none */
	STORE_KEY_PURGE,         /* key: id: its versions, its policy and itself removed */
	STORE_TOMBSTONE_ADD,     /* tombstone: its seq is set to that of this unit's leaf; KMS_E_CONFLICT when the object has one */
	STORE_CERTIFICATE_ADD,   /* certificate, begun: its intent is set to the seq of this unit's leaf, its origin to that of the present log */
	STORE_CERTIFICATE_FILL,  /* certificate: id, method, wrapped, approved_us, destroyed_us, verified_us, checks; its outcome is set to the seq of this unit's leaf;
	                          * KMS_E_FENCED unless it is begun */
	STORE_CERTIFICATE_SET,   /* certificate: id, state (pending or complete), size, root, intent_leaf, outcome_leaf, until_s, copies, residual, hsm, issued_s, signatures;
	                          * KMS_E_FENCED unless it is due or pending */
	STORE_CERTIFICATE_SIGN,  /* certificate: id, signatures: replaced by those, if issued_s is still the same and they begin with the stored ones, so
	                          * that nobody's line is lost; else KMS_E_FENCED */
	STORE_EPOCH_ADD,         /* epoch: its number is set to the next; the one before is closed at its created_s */
	STORE_EPOCH_END,         /* epoch: number, ended_s; KMS_E_CONFLICT when it has ended, or is the newest */
	STORE_BACKUP_ADD,        /* backup. Of a key: replaces the one of the same vault, name and epoch. KMS_E_CONFLICT when a server backup has the
	                          * place; KMS_E_FENCED when the epoch has ended */
	STORE_BACKUP_DROP,       /* backup.id: its file was removed; KMS_E_NOTFOUND */
	STORE_INTENT_OPEN,       /* intent (its seq is set to that of this unit's leaf) */
	STORE_INTENT_CLOSE,      /* intent.seq */
	STORE_META_PUT,          /* meta */
	STORE_CHECKPOINT_ADD,    /* checkpoint; KMS_E_CONFLICT when one of its size, or of a larger, exists */
	STORE_CHECKPOINT_COSIGN, /* checkpoint: size, note: the note with more lines replaces the stored one; KMS_E_NOTFOUND */
	STORE_LOG_KEY_ADD,       /* log_key: its generation is set to the next; from_size STORE_FROM_LEAF is set to the size with this unit's leaf */
	STORE_LOG_CLOSE,         /* log_close: events, nodes and checkpoints are put aside, open intents become those of a closed log (so do the intents that
	                          * tombstones and certificates refer to), what is begun or due of certificates is dropped, no created_seq of a vault or
	                          * version is known any more, the meta record log_origin is replaced; KMS_E_FENCED when that is not closed.origin, or next_origin was closed before. The
	                          * transaction's next leaf is the first of the new log */
	STORE_POOL_ADD,          /* pool, of one subject and one root at least; its principal was added before, in the same unit at the latest;
	                          * KMS_E_CONFLICT when it exists, or another pool of any vault that is not shredded has one of the subjects */
	STORE_POOL_SET,          /* pool: id; subjects, roots, updated_s are replaced; raises its principal's epoch; KMS_E_NOTFOUND when there is
	                          * none, KMS_E_CONFLICT as above */
	STORE_EXTERNAL_ADD,      /* external: KMS_E_CONFLICT when the pool has ever had this id, unless it is the same version: then it is in use
	                          * again, with its history */
	STORE_EXTERNAL_RETIRE,   /* external: pool_id, id, retired_s; raises the epoch of the pool's principal; KMS_E_NOTFOUND when there is none in use */
	STORE_DUE_SET,           /* due; KMS_E_FENCED when the key has another epoch or its row is gone */
	STORE_CURSOR_SET,        /* cursor */
	STORE_WEBHOOK_ADD,       /* webhook; KMS_E_CONFLICT when the vault has the name, or STORE_WEBHOOKS_MAX of them */
	STORE_WEBHOOK_SET,       /* webhook: id, state, generation (never falls), attempts, next_s, failure; KMS_E_NOTFOUND */
	STORE_WEBHOOK_REMOVE,    /* webhook: id, vault_id, with its deliveries; KMS_E_NOTFOUND */
	STORE_DELIVERY_ADD,      /* delivery; nothing when it exists, or the subscription is gone */
	STORE_DELIVERY_SET,      /* delivery: webhook_id, seq, event, state, attempts, next_s, http, failure; nothing when it is gone */
	STORE_DELIVERY_REMOVE,   /* delivery: webhook_id, seq, event; nothing when it is gone */
	STORE_PERSON_ADD,        /* person; KMS_E_CONFLICT when its ref is taken */
	STORE_PERSON_ERASE,      /* person_erasure: overwritten in place and unlinked; nothing when it is gone */
	STORE_EVENTS_PRUNE,      /* prune: their bodies become empty; nothing for one that is empty already */
	STORE_EXTERNAL_USED,     /* external: pool_id, id, last_used_s; counts one more use; KMS_E_FENCED when it is not in use (any more) */
};

/* A two-phase act that has begun: what start-up must settle if it finds it open. */
struct store_intent {
	uint64_t seq;
	bool is_of_closed_log; /* set by reads. No leaf of the present log can refer to it: its seq is above STORE_SEQ_MAX, the closed log's number
	                        * above that of the leaf's in 48 bits. Listed and closed by that seq like any other */
	uint32_t type; /* core's enum event_type */
	uint8_t vault_id[STORE_ID_LEN], key_id[STORE_ID_LEN], obj[STORE_ID_LEN];
	char key_name[STORE_KEY_NAME_MAX + 1];
};

/* Revoke (reason != 0) or reinstate (reason 0) one version of a key, or all of them. */
struct store_revocation {
	uint8_t key_id[STORE_ID_LEN];
	uint8_t version_id[STORE_ID_LEN]; /* all zero = every version of the key */
	uint8_t reason;                   /* as store_version.revoked */
	int64_t updated_s;
};

struct store_encryption {
	uint8_t version_id[STORE_ID_LEN];
	uint64_t limit;
};

/* A signed tree head (audit-log.md section 5). Zeroed = empty; release with store_signed_clear(). */
struct store_signed {
	uint64_t size; /* unique in its log */
	uint8_t root[STORE_HASH_LEN];
	int64_t signed_us; /* the newest time that any up to this one was signed at: it never goes back, also where the clock does */
	char *note; /* the signed note, NUL-terminated; owned when read, borrowed in a change */
};
void store_signed_clear(struct store_signed *c);
#define STORE_SIGNED_AUTO __attribute__((cleanup(store_signed_clear))) struct store_signed

/* One generation of the log key. The public half is kept for ever. */
struct store_log_key {
	uint32_t generation; /* 1.. */
	uint8_t obj[STORE_ID_LEN];
	char vkey[STORE_VKEY_MAX + 1]; /* C2SP verifier key; its name is the origin that it signs */
	uint64_t from_size; /* it signs checkpoints from this size on */
	int64_t created_s;
};

/* A log that was closed when a rolled-back database was accepted. Its leaves, nodes and checkpoints are kept, and no longer read. */
struct store_closed_log {
	uint32_t number; /* 1.. */
	char origin[STORE_ORIGIN_MAX + 1];
	uint64_t restored_size;       /* leaves that the accepted database had */
	uint64_t known_size;          /* the largest that it is known to have had: pin, checkpoint or witness */
	uint8_t known_root[STORE_HASH_LEN];
	int64_t closed_s;
};

/* Closes the present log and makes room for the next one, whose first leaf has seq 0. */
struct store_log_close {
	struct store_closed_log closed;    /* number is set to the next */
	char next_origin[STORE_ORIGIN_MAX + 1];
};

/* What was destroyed in the device, or with its root, or erased: kept for ever, so that it is destroyed again if it ever comes back. */
enum store_tombstone_kind { STORE_TOMBSTONE_VERSION = 1, STORE_TOMBSTONE_ROOT, STORE_TOMBSTONE_PSEUDONYMS, STORE_TOMBSTONE_EPOCH };
struct store_tombstone {
	uint8_t obj[STORE_ID_LEN]; /* never used again */
	enum store_tombstone_kind kind;
	bool is_resident;              /* it was an object of the device, not a blob */
	uint8_t vault_id[STORE_ID_LEN]; /* all zero: the installation's */
	char key_name[STORE_KEY_NAME_MAX + 1]; /* of a version, as the next ones; "" otherwise */
	uint8_t version_id[STORE_ID_LEN];
	uint8_t kty, crv;
	uint16_t bits;
	bool has_spki;
	uint8_t spki_sha256[STORE_HASH_LEN]; /* of a pair: its SubjectPublicKeyInfo */
	uint8_t revoked;      /* as store_version.revoked, when it was destroyed */
	uint64_t created_seq; /* in the log of its intent, also when that was closed: its certificate names it. STORE_NO_SEQ = not known */
	uint64_t intent;      /* seq of the destruction that it belongs to, as store_intent.seq */
	uint64_t seq;         /* of its own leaf; STORE_NO_SEQ = in a closed log */
	uint8_t mac[STORE_MAC_LEN]; /* made in the device: who can write to the database cannot have objects destroyed */
};

/* A version that was destroyed, and that a restore of its key made again: it keeps its id, and is another object. Of the versions of one destruction. */
struct store_revival {
	bool has_others; /* one of them is, or was at any time, another object too */
	bool lives;      /* as such an object, in a vault that is not shredded */
	bool may_linger; /* it died again, later, and a backup from before that may hold it still */
	uint64_t made_seq; /* of the newest leaf that made one that lives; STORE_NO_SEQ = none, or not known */
};

enum store_certificate_scope { STORE_CERTIFICATE_KEY = 1, STORE_CERTIFICATE_TENANT, STORE_CERTIFICATE_ROOT };
enum store_certificate_state {
	STORE_CERTIFICATE_BEGUN = 1, /* the destruction is under way */
	STORE_CERTIFICATE_DUE,       /* it is done; to be signed */
	STORE_CERTIFICATE_PENDING,   /* signed; a backup outlives it until until_s */
	STORE_CERTIFICATE_COMPLETE,
};
/* A destruction certificate (audit-log.md 11.2) but for its list of keys, which its tombstones hold. Texts are canonical JSON values, "" = none; owned when
 * read, borrowed in a change. Zeroed = empty; release with store_certificate_clear(). */
struct store_certificate {
	uint8_t id[STORE_ID_LEN];
	uint8_t vault_id[STORE_ID_LEN]; /* all zero: the installation's */
	char key_name[STORE_KEY_NAME_MAX + 1]; /* of STORE_CERTIFICATE_KEY */
	enum store_certificate_scope scope;
	enum store_certificate_state state;
	uint8_t basis, method;         /* core's enums (certificate.h) */
	char origin[STORE_ORIGIN_MAX + 1]; /* of the log that holds intent and outcome */
	uint64_t intent, outcome;      /* seq in that log; intent as in its tombstones (of a closed log: seq & STORE_SEQ_MAX). outcome: STORE_NO_SEQ until filled */
	uint64_t size;                 /* of the checkpoint that it names; 0 until it is signed */
	uint8_t root[STORE_HASH_LEN];
	uint8_t intent_leaf[STORE_HASH_LEN], outcome_leaf[STORE_HASH_LEN]; /* hashes of the two leaves, kept since a closed log's are not read; zero until it is signed */
	uint64_t wrapped;              /* data keys that its keys are known to have wrapped; 0 = not known */
	int64_t approved_us, destroyed_us, verified_us;
	int64_t created_s, issued_s;   /* issued: STORE_NO_TIME until it is signed */
	int64_t until_s;               /* of a pending one; else STORE_NO_TIME */
	char *checks, *copies, *residual, *hsm;
	char *signatures; /* its lines, each with its newline */
};
void store_certificate_clear(struct store_certificate *c);
#define STORE_CERTIFICATE_AUTO __attribute__((cleanup(store_certificate_clear))) struct store_certificate

/* A backup epoch: one key in the device seals all backups that are made in it. */
struct store_epoch {
	uint32_t number; /* 1.. */
	uint8_t obj[STORE_ID_LEN];
	int64_t created_s;
	int64_t closed_s; /* no backups are made in it any more; STORE_NO_TIME = it is the newest */
	int64_t ended_s;  /* its key is destroyed, and with it every backup; STORE_NO_TIME = it lives */
};

enum store_backup_kind { STORE_BACKUP_KEY = 1, STORE_BACKUP_SERVER };
/* A backup that was handed out. The newest of each key in each epoch, and every one of the server. */
struct store_backup {
	uint8_t id[STORE_ID_LEN];
	enum store_backup_kind kind;
	uint32_t epoch;
	uint8_t vault_id[STORE_ID_LEN]; /* of a key; else all zero */
	char key_name[STORE_KEY_NAME_MAX + 1];
	char place[STORE_PLACE_MAX + 1]; /* of the server: the file's name in the directory of backups; "" = the file was removed */
	uint64_t size;  /* leaves that it holds, or that there were */
	uint64_t bytes;
	int64_t made_s;
	int64_t ends_s; /* when its epoch ended, STORE_NO_TIME = it lives; of reads only */
};

#define STORE_META_NAME_MAX 32
#define STORE_META_VALUE_MAX 256
struct store_meta {
	char name[STORE_META_NAME_MAX + 1];
	uint8_t value[STORE_META_VALUE_MAX];
	size_t value_len;
};

/* One state change. Pointers inside are borrowed until the unit has been written. */
struct store_change {
	enum store_change_kind kind;
	bool set_tags;
	union {
		struct store_vault vault;
		struct store_principal principal;
		struct store_credential credential; /* borrowed: data */
		struct store_assignment assignment;
		struct store_role role;
		struct store_member member;
		struct store_networks networks;
		struct store_approval approval;
		struct store_vote vote;
		struct store_approval_use approval_use;
		struct store_key key;
		struct store_version version;
		struct store_revocation revocation;
		struct store_encryption encryption;
		struct store_policy policy;
		struct store_pool pool; /* borrowed: roots */
		struct store_external external;
		struct store_intent intent;
		struct store_meta meta;
		struct store_signed checkpoint;
		struct store_log_key log_key;
		struct store_log_close log_close;
		struct store_tombstone tombstone;
		struct store_certificate certificate;
		struct store_epoch epoch;
		struct store_backup backup;
		struct store_due due;
		struct store_cursor cursor;
		struct store_webhook webhook;
		struct store_delivery delivery;
		const struct store_person *person; /* borrowed: a record is larger than all the others together */
		struct store_person_erasure person_erasure;
		struct store_prune prune;
	};
};

/* One leaf as stored. `leaf` is owned when read (free with store_event_clear), borrowed when appended. */
struct store_event {
	uint64_t seq;
	uint8_t id[STORE_ID_LEN];
	uint8_t vault_id[STORE_ID_LEN]; /* all zero: the installation's */
	int64_t ts_us;
	uint8_t hash[STORE_HASH_LEN];
	char *leaf;
	size_t leaf_len; /* 0 = its body was pruned (audit-log.md section 13) */
};
void store_event_clear(struct store_event *e);

#endif
