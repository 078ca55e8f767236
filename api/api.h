/*
 * api/api.h - what the files of the API share: the service itself, one request under way, and the route table.
 * A request is admitted and authenticated on an HTTP thread, worked on in a lane, written by the writer, and answered from there.
 */
#ifndef HOLDFAST_API_API_H
#define HOLDFAST_API_API_H

#include <stdatomic.h>

#include "api/client_trust.h"
#include "api/http.h"
#include "api/json.h"
#include "api/limits.h"
#include "server/base/worker.h"
#include "server/core/access.h"
#include "server/core/approval.h"
#include "server/core/checkpoint.h"
#include "server/core/crypto.h"
#include "server/core/ekm.h"
#include "server/core/keyring.h"
#include "server/core/principal.h"
#include "server/core/tenancy.h"
#include "server/feed/feed.h"

/* Lanes of work: no lane waits for another, so a slow key generation never delays an unwrap, nor a dead device a revocation. */
enum lane {
	LANE_META,    /* a vault's own business in the database */
	LANE_CONTROL, /* management in the database: revoke, roles, principals; never behind tenants' requests */
	LANE_CRYPTO,  /* short device calls */
	LANE_LOGIN,   /* tokens: whoever floods a vault keeps nobody from logging in */
	LANE_AUDIT,   /* reads of the event log: a page of it takes as long as a hundred requests for a key */
	LANE_EKM,     /* those of Managed HSM pools, who wait 250 ms and no longer */
	LANE_KEYGEN,  /* makes the keys of tenants: seconds for a large one */
	LANE_DESTROY, /* shred, purge, and making vaults and principals */
	LANE_BACKUP,  /* backups of the whole server: minutes for a large one, and destruction waits for none of it */
	LANE_ROOT,    /* root rotations once they are begun: likewise minutes. No route runs in it */
	LANE_COUNT
};

enum dialect {
	DIALECT_VAULT,  /* {vault}.{domain}: Key Vault */
	DIALECT_DOMAIN, /* {domain}: management, audit, token endpoint, health */
	DIALECT_LOCAL,  /* the UNIX socket: management and audit */
	DIALECT_EKM,    /* the EKM listener: what Managed HSM pools call (ekm-proxy.md) */
	DIALECT_IDENTITY, /* the managed-identity listener: tokens for this machine's own services, in the shape of Azure's App Service */
};

/* From the start of a request: what has not begun by then is not begun, and what is not finished is not answered; 250 ms are the caller's own
 * limit (ekm-proxy.md section 8). */
#define EKM_DEADLINE_MS 200
#define EKM_API_VERSION "0.1-preview"

struct api;
struct request;
struct assertions;
struct issuer_config;
struct issuers;
struct metrics;
struct tokens;
struct vault_names;

/* One for each listener. */
enum api_listener { API_MAIN, API_LOCAL /* the UNIX socket, whose callers are known by their user id */, API_EKM, API_IDENTITY /* loopback, plain */ };

struct api_config {
	struct kms *kms; /* everything but its writer may be set later; kept */
	kms_status (*open_store)(void *arg, struct store **ret_store, struct kms_err *err); /* a reader's connection, one for each thread */
	void *arg;
	unsigned crypto_threads;
	size_t queue; /* waiting in each lane, at most */
	bool serves_ekm;             /* start the lane of Managed HSM pools */
	const char *ekm_api_version; /* what `info` says; NULL = EKM_API_VERSION; kept */
	bool knows_services; /* the main listener asks for client certificates */
	struct feeds *feeds; /* what follows the log; NULL in tests that need none; kept */
	size_t metric_vaults; /* counted one by one */
	struct limits_config limits;
	const struct issuer_config *issuers; /* api/issuers.h; kept */
	size_t issuer_count;
};

/** Start the lanes. @return KMS_OK | KMS_E_NOMEM | KMS_E_INVALID (an issuer says that it is this server) | what open_store answers */
KMS_MUST_CHECK kms_status api_start(const struct api_config *cfg, struct api **ret_api, struct kms_err *err);
/** The application that a listener serves. API_EKM only when the configuration said serves_ekm. */
struct http_app api_app(struct api *api, enum api_listener listener);
/** Every few seconds, from the daemon: settle what a failing device or disk interrupted, and purge what is past its retention; each in the lane
 *  that does such things, so that none of it is under way. Never blocks; does nothing while the device is away. */
void api_housekeeping(struct api *api);
/** Read the keys of the external issuers again soon. Never blocks. */
void api_reload(struct api *api);
/** From now on readiness says no, so that a balancer looks elsewhere. */
void api_set_stopping(struct api *api);
/** Finish what is queued and stop the lanes. After the listeners have been stopped, before the writer is: what is under way still goes to it.
 *  Accepts NULL. */
void api_stop(struct api *api);
/** After the writer has been stopped: its last answers need the API. Accepts NULL. */
void api_free(struct api *api);

/* ---- one request ---- */

#define QUERY_MAX 16
#define PATH_PARAM_MAX 160
#define REQUEST_BODY_MAX ((size_t)64 * 1024)
#define EKM_BODY_MAX ((size_t)16 * 1024) /* ekm-proxy.md section 12 */
#define EKM_CONTEXT_MAX 128              /* bytes of a caller's identifier that are kept */

struct query_param {
	const char *name, *value; /* decoded, in request.query_text */
};

/* What create, import and update have in common. */
struct body_common {
	bool has_ops, has_enabled, has_nbf, has_exp, has_tags, is_exportable, has_release_policy, has_external_key;
	bool is_enabled;
	uint32_t ops;
	int64_t nbf_s, exp_s;
	char *tags;
};

#define LOG_ENTRIES_MAX 1000 /* of one answer */
#define LIFETIME_ACTIONS_MAX 2
#define REPORT_KIDS_MAX 200     /* keys that one request asks about */
#define CUSTOM_ACTIONS_MAX 64 /* names of actions in the definition of a role */

/* One of a rotation policy's lifetimeActions. */
struct body_action {
	int type;
	char after_create[STORE_DURATION_MAX + 1], before_expiry[STORE_DURATION_MAX + 1];
};

/* All request structs; which one is valid is the route's to know. */
union request_body {
	struct body_common common; /* begins those of create and import, and is all of update */
	struct {
		struct body_common common;
		int kty, crv;
		int64_t bits, public_exponent;
		bool has_exponent;
	} create;
	struct {
		struct body_common common;
		int kty, crv;
		bool to_hsm, to_hsm_too;
		struct json_bytes n, e, x, y, key_hsm;
		struct secret *d, *p, *q, *dp, *dq, *qi, *k;
	} import;
	struct {
		int alg;
		struct secret *value;
		struct json_bytes iv, aad, tag;
	} crypto;
	struct {
		int alg;
		struct secret *digest;
		struct json_bytes signature;
	} verify;
	struct {
		struct json_bytes blob;
	} restore;
	struct {
		int64_t count;
	} random;
	struct {
		struct body_action actions[LIFETIME_ACTIONS_MAX];
		size_t action_count;
		char expiry_time[STORE_DURATION_MAX + 1];
	} rotation;
	struct {
		char name[STORE_VAULT_NAME_MAX + 1];
		int64_t retention_days, quorum, purge_approvals;
		bool has_purge_protection, allows_rsa1_5;
	} vault;
	struct {
		char confirm[STORE_VAULT_NAME_MAX + 1], reason[129];
		int basis; /* enum certificate_basis, and one more; 0 = none was given */
	} shred;
	struct {
		char name[STORE_PRINCIPAL_NAME_MAX + 1];
		int64_t secret_days;
	} principal;
	struct {
		bool has_retention, has_purge_protection, has_rsa1_5, has_quorum, has_purge_approvals, has_networks, has_issuer, has_person_days, has_person_basis;
		int64_t retention_days, quorum, purge_approvals, person_days;
		bool purge_protection, allows_rsa1_5;
		char networks[STORE_NETWORK_MAX + 1], issuer[STORE_ISSUER_MAX + 1], reason[STORE_REASON_MAX + 1], person_basis[STORE_REASON_MAX + 1];
	} vault_set;
	struct {
		char principal[GUID_TEXT_LEN + 1], role[STORE_ROLE_NAME_MAX + 1], key[STORE_KEY_NAME_MAX + 1];
		char reason[STORE_REASON_MAX + 1];
		int scope;
		bool has_until;
		int64_t until_s;
	} role;
	struct {
		char name[STORE_ROLE_NAME_MAX + 1];
		char *actions[CUSTOM_ACTIONS_MAX];
		size_t action_count;
	} custom_role;
	struct {
		char name[STORE_PRINCIPAL_NAME_MAX + 1], member[GUID_TEXT_LEN + 1];
	} group;
	struct {
		int kind;
		int64_t days;
		char label[STORE_LABEL_MAX + 1];
		char *certificate[1];
		size_t certificate_count;
		char issuer[STORE_ISSUER_MAX + 1], subject[CALLER_SUBJECT_MAX + sizeof("group:")];
	} credential;
	struct {
		char reason[STORE_REASON_MAX + 1], certificate[2 * STORE_HASH_LEN + 1];
		struct json_bytes signature;
	} vote;
	struct {
		char *certificate[1]; /* the whole signed note */
		size_t count;
	} enforce;
	struct {
		char reason[STORE_REASON_MAX + 1];
	} log_accept, lock, epoch_end;
	struct {
		char reason[STORE_REASON_MAX + 1];
		bool has_leaf;
		int64_t leaf;
	} person_show;
	struct {
		char principal[GUID_TEXT_LEN + 1];
		int64_t ref;
		int basis; /* enum certificate_basis, and one more */
	} person_erase;
	struct {
		int64_t size;
		struct json_bytes root;
		char reason[STORE_REASON_MAX + 1];
	} log_prune;
	struct {
		int reason;
		char version[33];
	} revoke;
	struct {
		char request_id[EKM_CONTEXT_MAX + 1], pool_name[EKM_CONTEXT_MAX + 1];
		char correlation_id[EVENT_CORR_MAX + 2]; /* one more than the log takes, so that a cut is noted */
		int alg;
		struct secret *value; /* NULL = empty */
	} ekm;
	struct {
		char name[STORE_PRINCIPAL_NAME_MAX + 1], prefix[STORE_PREFIX_MAX + 3]; /* a slash at either end */
		/* Each by our name, by that of Azure's command line, and by that of its REST interface. */
		char *subjects[STORE_SUBJECTS_MAX], *azure_subject[1], *rest_subject[1];
		size_t subject_count, azure_subject_count, rest_subject_count;
		char *roots[STORE_ROOTS_MAX], *azure_roots[STORE_ROOTS_MAX], *rest_roots[STORE_ROOTS_MAX];
		size_t root_count, azure_root_count, rest_root_count;
	} pool;
	struct {
		char key[STORE_KEY_NAME_MAX + 1], version[33], external_id[STORE_EXTERNAL_ID_MAX + 1];
	} publish;
	struct {
		char name[STORE_PRINCIPAL_NAME_MAX + 1], url[STORE_URL_MAX + 1];
		int shape;
		uint32_t events;
	} webhook;
	struct {
		char event[GUID_TEXT_LEN + 1]; /* "" = all of them */
	} letters;
	struct {
		char *kids[REPORT_KIDS_MAX];
		size_t count;
	} report;
};

struct request {
	struct job job; /* first: the lane's */
	struct api *api;
	struct http_request *http;
	enum api_listener listener;
	enum dialect dialect;
	const struct route *route; /* NULL: none matched */
	kms_status verdict;        /* decided on admission; KMS_OK = go on */
	struct kms_err verdict_err;
	struct caller caller;
	bool by_certificate; /* the client's certificate decides who calls: then, whose it is, as far as it was looked at */
	struct client_holder client;
	enum client_verdict client_verdict;
	uint8_t tenant[STORE_ID_LEN]; /* the directory whose turn and share it is */
	bool has_claim; /* an allowance was taken for it */
	struct limits_claim claim;
	unsigned retry_after_s; /* what 429 and 503 tell; 0 = the usual */
	char id[GUID_TEXT_LEN + 1];
	char vault[STORE_VAULT_NAME_MAX + 2]; /* the vault it is about; empty = none */
	uint8_t vault_directory[STORE_ID_LEN], vault_id[STORE_ID_LEN];
	char vault_issuer[STORE_ISSUER_MAX + 1]; /* DIALECT_VAULT: whose tokens its challenge asks for; empty = ours */
	char key[STORE_KEY_NAME_MAX + 2]; /* path parameters; one too long is kept one too long, so that it is refused */
	bool has_version;
	uint8_t version[STORE_ID_LEN];
	char item[PATH_PARAM_MAX]; /* {id}, {tenant}, {pool}, {service}, {external}, {size} or {tile} */
	char part[PATH_PARAM_MAX]; /* {credential} or {member} of it; the {level} of a tile */
	unsigned allowed;          /* methods of the matching paths, bits, for 405 */
	bool is_public_path;       /* no route, but one of another method at this path is public */
	char query_text[HTTP_URI_MAX + 2 * QUERY_MAX]; /* decoded: each name and value with a NUL of its own */
	struct query_param query[QUERY_MAX];
	size_t query_count;
	size_t api_version; /* its place in the router's table */
	union request_body body;
	bool has_body; /* body holds what the route's schema must clear */
	unsigned attempts;
	void (*committed)(struct request *r); /* in the lane, after the commit and before the answer, of an op that is_sync; NULL = nothing */
	atomic_uint *share; /* of the tenant in its lane; NULL = not counted */
	size_t large_body;  /* bytes reserved for a body beyond the usual size */
	struct op op;
	struct http_response response; /* rendered; sent when its leaf is durable */
	int64_t claims_from_s; /* of a KMS_E_CLAIMS: the challenge asks for a token that was not issued before; 0 = another answer */
	const char *content_type;
	struct seal seal; /* while its answer waits for a checkpoint */
	const char *cache_control; /* of this answer, static; NULL = no-cache */
};

/* What a route answers when all is well; api/openapi.c describes them. */
enum answer {
	ANSWER_NOTHING, /* 204 */
	ANSWER_REFUSED, /* known, and refused on purpose */
	ANSWER_KEY, ANSWER_KEY_LIST, ANSWER_DELETED_KEY, ANSWER_DELETED_KEY_LIST, ANSWER_ATTESTED_KEY, ANSWER_CRYPTO, ANSWER_VERIFY, ANSWER_VALUE,
	ANSWER_ROTATION_POLICY, ANSWER_VAULT, ANSWER_VAULT_LIST, ANSWER_ROOT_ROTATION, ANSWER_SHRED, ANSWER_SHRED_PLAN, ANSWER_PRINCIPAL, ANSWER_NEW_PRINCIPAL, ANSWER_PRINCIPAL_LIST,
	ANSWER_ROLE, ANSWER_REVOCATION, ANSWER_STATUS, ANSWER_HSM, ANSWER_ENTRIES, ANSWER_TOKEN, ANSWER_DISCOVERY, ANSWER_JWKS,
	ANSWER_SUBSCRIPTIONS, ANSWER_LIVE, ANSWER_READY, ANSWER_OPENAPI, ANSWER_EKM_POOL, ANSWER_EKM_POOL_LIST, ANSWER_EKM_KEY, ANSWER_EKM_KEY_LIST,
	ANSWER_EKM_INFO, ANSWER_EKM_METADATA, ANSWER_EKM_VALUE, ANSWER_PRINCIPAL_DETAIL, ANSWER_CREDENTIAL, ANSWER_NEW_SECRET, ANSWER_CREDENTIAL_LIST,
	ANSWER_GROUP_LIST, ANSWER_MEMBER, ANSWER_MEMBER_LIST, ANSWER_ROLE_DEFINITION, ANSWER_ROLE_DEFINITION_LIST, ANSWER_EXPLANATION, ANSWER_SERVICE,
	ANSWER_SERVICE_LIST, ANSWER_APPROVAL, ANSWER_APPROVAL_LIST, ANSWER_CHECKPOINT, ANSWER_LOG_KEYS, ANSWER_EVENTS, ANSWER_ENTRY, ANSWER_INCLUSION,
	ANSWER_CONSISTENCY, ANSWER_BUNDLE, ANSWER_TILE,
	ANSWER_CHECK, ANSWER_EXPORT_LIST, ANSWER_LOG_ROTATION, ANSWER_LOG_ACCEPTANCE, ANSWER_CERTIFICATE_LIST, ANSWER_CERTIFICATE, ANSWER_CERTIFICATE_SIGNED,
	ANSWER_CERTIFICATE_ENFORCED,
	ANSWER_PERSON, ANSWER_PERSON_LIST, ANSWER_PERSON_ERASED, ANSWER_LOG_RETENTION, ANSWER_LOG_PRUNING,
	ANSWER_BACKUP_TASK, ANSWER_BACKUP_LIST, ANSWER_EPOCH, ANSWER_EPOCH_LIST,
	ANSWER_WEBHOOK, ANSWER_NEW_WEBHOOK, ANSWER_WEBHOOK_LIST, ANSWER_DEAD_LETTER_LIST, ANSWER_DEAD_LETTERS_RETRIED, ANSWER_DEAD_LETTERS_DROPPED,
	ANSWER_REPORT_ROTATIONS, ANSWER_REPORT_OVERDUE, ANSWER_REPORT_DENIALS, ANSWER_REPORT_REVOCATIONS, ANSWER_REPORT_UNUSED, ANSWER_REPORT_PROTECTION, ANSWER_REPORT_KEYS,
	ANSWER_COUNT
};

typedef kms_status (*handler_fn)(struct request *r, struct kms_err *err);

/* In which states of the event log a route runs (checkpoint.h); the writer runs in all of them. */
enum runs {
	RUNS_GOOD,     /* while leaves get their checkpoints in time */
	RUNS_LATE,     /* also while they do not: what takes something away and needs no device */
	RUNS_TO_FOUND, /* in a good log; and in one that was rolled back while the installation has no approvers, who alone can accept it */
	RUNS_ALWAYS,   /* also in a log that was rolled back or is damaged: what shows it, and leads to its acceptance */
};

/* Beside one of enum runs: the route runs on a locked vault too. Only for what takes access away or ends the vault, for what leads to its unlocking, and for what reads who
 * may do what and what has happened; never for what uses, makes or shows keys. */
#define ON_LOCKED 0x10U
/* As ON_LOCKED, for the server's own host alone: an administrator who locks the vault and disables those who could unlock it must not have locked it for ever. */
#define ON_LOCKED_HOST 0x20U

struct route {
	enum http_method method;
	enum dialect dialect; /* DIALECT_DOMAIN routes with a permission serve the local socket too */
	const char *path;     /* literal segments and {vault} {key} {version} {id} {credential} {member} {tenant} {pool} {service} {external}
	                       * {size} {level}, and {tile} for the rest of the path */
	enum permission permission;
	const struct json_schema *body; /* NULL: no body is read */
	handler_fn handler;
	enum event_type event; /* EVENT_NONE: no leaf */
	enum lane lane;
	const char *operation; /* for the log and metrics */
	enum answer answer;
	unsigned runs; /* enum runs, with one of ON_LOCKED and ON_LOCKED_HOST or without; see route_runs() and route_runs_locked() */
};

extern const struct route API_ROUTES[];
extern const size_t API_ROUTE_COUNT;

/* ---- router.c ---- */

/** Match a path: fills route and path parameters, or `allowed` when only the method differs. Literals are compared without case, but for those
 *  of DIALECT_EKM: there the prefix of r->client is taken off first, and every character counts (ekm-proxy.md section 4). */
void router_match(struct request *r, enum http_method method, const char *path);
/** Decode the query; false when it is malformed or has too many members. */
bool router_query(struct request *r, const char *raw);
/** Does it make key versions? Those have an allowance of their own (limits.h). A backup makes none. */
bool route_is_create(const struct route *route);
/** Does it answer with proofs or tiles of the event log? Those have an allowance of their own too. */
bool route_is_proof(const struct route *route);
/** Does it run while the log is in this state? One that makes approvers for a log that was rolled back is asked again whether there are any (RUNS_TO_FOUND). */
bool route_runs(const struct route *route, enum log_state state);
/** Its part of route.runs that speaks of the log. */
enum runs route_runs_in_log(const struct route *route);
/** Does it run on a vault that is locked? */
bool route_runs_locked(const struct route *route, bool is_host);
/** First value of a parameter, name compared without case; NULL when absent. */
const char *query_get(const struct request *r, const char *name);
/** KMS_OK when api-version is there and one that the dialect speaks. */
KMS_MUST_CHECK kms_status router_api_version(struct request *r, struct kms_err *err);
/** Is the request's version this one of the table, or a later one? */
bool api_version_since(const struct request *r, const char *version);
/** The versions that we speak, oldest first; NULL after the last. */
const char *api_version_at(unsigned i);
const char *http_method_name(enum http_method method);

/* ---- auth.c: tokens ---- */

/** @param issuers  the external ones; kept, borrowed */
KMS_MUST_CHECK kms_status tokens_new(const struct kms *kms, struct issuers *issuers, struct tokens **ret_tokens, struct kms_err *err);
void tokens_free(struct tokens *t);
/** Check a bearer token: signature, issuer, audience, dates (RFC 8725). The principal is looked up later, in the operation.
 *  @return KMS_OK (ret_caller filled) | KMS_E_UNAUTHENTICATED (message begins with AKV…) | KMS_E_BUSY (its issuer's keys are being read) */
KMS_MUST_CHECK kms_status tokens_verify(struct tokens *t, const char *authorization, struct caller *ret_caller, struct kms_err *err);
/** Issue a token for a principal; the device signs. The text is a secret of the caller. */
KMS_MUST_CHECK kms_status tokens_issue(struct tokens *t, const struct store_principal *p, const uint8_t directory[STORE_ID_LEN],
                                       struct secret **ret_token, struct kms_err *err);
/** The public key as a JWK Set. Owned by the caller. */
json_t *tokens_jwks(const struct tokens *t);

/* ---- gate.c ---- */

/** Of a key's update that runs while the log is late: does it disable the key? What else it says may give access as well as take it. @return KMS_OK | KMS_E_AUDIT */
KMS_MUST_CHECK kms_status gate_update(struct request *r, struct kms_err *err);

/* ---- h_token.c: what every way to a token has in common ---- */

/** The directory of op->principal; its vault, if it has one, is left in op->vault. @return KMS_OK | KMS_E_VAULT_SHREDDED (says nothing) | KMS_E_STORE */
KMS_MUST_CHECK kms_status login_directory(struct op *op, uint8_t ret_directory[STORE_ID_LEN], struct kms_err *err);
/** The token depends on op->principal (and op->vault) as it was found: the fence withholds it if it was disabled meanwhile. It is the event's actor. */
void login_depend(struct op *op);

/* ---- names.c: vault name -> id and directory, which never change, and issuer ---- */

struct vault_named {
	uint8_t id[STORE_ID_LEN], directory[STORE_ID_LEN];
	char issuer[STORE_ISSUER_MAX + 1]; /* store_vault.issuer */
};

KMS_MUST_CHECK kms_status vault_names_new(struct store *store, struct vault_names **ret_names, struct kms_err *err); /* takes the store */
void vault_names_free(struct vault_names *n);
/** @return KMS_OK | KMS_E_NOTFOUND | KMS_E_STORE */
KMS_MUST_CHECK kms_status vault_names_find(struct vault_names *n, const char *name, struct vault_named *ret);
/** Drop what the connection has cached of the database; the names stay. */
void vault_names_forget(struct vault_names *n);
/** The vault was changed: the next look reads it again. Changes of other nodes are seen within seconds. */
void vault_names_renew(struct vault_names *n, const char *name);

/* ---- reply.c ---- */

/** Take an object as the answer's body. @return KMS_OK | KMS_E_NOMEM (also for body NULL) */
KMS_MUST_CHECK kms_status reply_json(struct request *r, int status, json_t *body, struct kms_err *err);
/** An answer without body. */
void reply_empty(struct request *r, int status);
/** Render a failure in the dialect's shape, replacing whatever was rendered before. */
void reply_error(struct request *r, const struct kms_err *err);
/** Send: adds the common headers and, when the unit was written, the receipt. */
void reply_send(struct request *r, bool has_receipt);
/** The answer to a request that the transport refuses; its headers live in the thread until its next refusal. */
void reply_refusal(const struct kms *kms, const struct http_request *http, enum dialect dialect, kms_status status, const char *message,
                   struct http_response *ret);
/** Status and code of a failure in the EKM dialect (ekm-proxy.md 7.2); `text` is what is always said, NULL: what the failure itself says. */
struct ekm_error {
	int http;
	const char *code, *text;
};
struct ekm_error reply_ekm_error(kms_status status);
/** A page of a list: its rows, and where the next one begins (NULL: it was the last). Takes `value`. */
KMS_MUST_CHECK kms_status reply_page(struct request *r, json_t *value, const char *next, struct kms_err *err);

/* ---- request.c ---- */

struct kms *request_kms(struct request *r);
/** The index of the event log; NULL = this server keeps none. */
struct indexer *request_indexer(const struct request *r);
/** NULL = nothing follows the log (tests). */
const struct feeds *request_feeds(const struct request *r);
/** What exports the event log; NULL = nothing does. */
struct exports *request_exports(const struct request *r);
/** What sends the events of vaults; NULL = the configuration lists no hosts. */
struct webhooks *request_webhooks(const struct request *r);
struct tokens *request_tokens(struct request *r);
struct metrics *request_metrics(struct request *r);
/** Let this node accept what was just committed about pools; the others follow within seconds. In a lane. */
void request_reload_pools(struct request *r);
/** Does the configuration have an issuer of this name? */
bool request_knows_issuer(const struct request *r, const char *name);
/** What the challenge of the request's vault names instead of this server's own authority; NULL = nothing. */
const char *request_authority(const struct request *r);
/** Let this node see what was just committed about op->vault; the others follow within seconds. */
void request_renew_vault(struct request *r);
/** What this lane settles by itself is looked for now, not at the next housekeeping. Never blocks. */
void request_settle_soon(struct request *r, enum lane lane);
struct assertions *request_assertions(struct request *r);
/** What `info` says of the version. */
const char *request_ekm_api_version(const struct request *r);
/** Text of the vault's URL, from configuration. */
void request_vault_url(const struct request *r, char ret_url[KMS_URL_MAX]);

/** The API's description, compact JSON; made at the start, the same for as long as the service lives. */
const char *request_openapi(const struct request *r, size_t *ret_len);

/* ---- openapi.c ---- */

/** Describe API_ROUTES as an OpenAPI 3.1 document. @return the text, malloc()ed; NULL without memory */
char *openapi_make(const struct kms *kms, size_t *ret_len);

/* ---- handlers (h_*.c) ---- */

extern const struct json_schema KEY_CREATE_SCHEMA, KEY_IMPORT_SCHEMA, KEY_UPDATE_SCHEMA, KEY_CIPHER_SCHEMA, KEY_WRAP_SCHEMA, KEY_SIGN_SCHEMA,
	KEY_VERIFY_SCHEMA, KEY_RESTORE_SCHEMA, ROTATION_POLICY_SCHEMA, RANDOM_SCHEMA, VAULT_CREATE_SCHEMA, VAULT_SHRED_SCHEMA, VAULT_LOCK_SCHEMA,
	PRINCIPAL_CREATE_SCHEMA, ROLE_SCHEMA, REVOKE_SCHEMA, REINSTATE_SCHEMA, EKM_POOL_SCHEMA, EKM_CERTIFICATES_SCHEMA, EKM_PUBLISH_SCHEMA,
	EKM_RETIRE_SCHEMA, EKM_CONTEXT_SCHEMA, EKM_CRYPTO_SCHEMA, VAULT_UPDATE_SCHEMA, INSTALLATION_ROLE_SCHEMA, ROLE_DEFINITION_SCHEMA,
	GROUP_SCHEMA, MEMBER_SCHEMA, SECRET_SCHEMA, CERTIFICATE_SCHEMA, IDENTITY_SCHEMA, SERVICE_SCHEMA, SERVICE_CERTIFICATES_SCHEMA, VOTE_SCHEMA,
	EPOCH_END_SCHEMA, LOG_ROTATE_SCHEMA, LOG_ACCEPT_SCHEMA, LOG_PRUNE_SCHEMA, PERSON_SHOW_SCHEMA, PERSON_ERASE_SCHEMA, CERTIFICATE_SIGN_SCHEMA, CERTIFICATE_ENFORCE_SCHEMA, REPORT_KEYS_SCHEMA;

extern const struct json_schema WEBHOOK_SCHEMA, DEAD_LETTERS_SCHEMA;
kms_status api_webhook_create(struct request *r, struct kms_err *err);
kms_status api_webhook_list(struct request *r, struct kms_err *err);
kms_status api_webhook_get(struct request *r, struct kms_err *err);
kms_status api_webhook_delete(struct request *r, struct kms_err *err);
kms_status api_webhook_new_secret(struct request *r, struct kms_err *err);
kms_status api_webhook_validate(struct request *r, struct kms_err *err);
kms_status api_dead_letter_list(struct request *r, struct kms_err *err);
kms_status api_dead_letter_retry(struct request *r, struct kms_err *err);
kms_status api_dead_letter_drop(struct request *r, struct kms_err *err);
kms_status api_certificate_list(struct request *r, struct kms_err *err);
kms_status api_certificate_get(struct request *r, struct kms_err *err);
kms_status api_certificate_sign(struct request *r, struct kms_err *err);
kms_status api_certificate_enforce(struct request *r, struct kms_err *err);
kms_status api_key_create(struct request *r, struct kms_err *err);
kms_status api_key_get(struct request *r, struct kms_err *err);
kms_status api_key_list(struct request *r, struct kms_err *err);
kms_status api_key_versions(struct request *r, struct kms_err *err);
kms_status api_key_update(struct request *r, struct kms_err *err);
kms_status api_key_rotate(struct request *r, struct kms_err *err);
kms_status api_key_delete(struct request *r, struct kms_err *err);
kms_status api_key_import(struct request *r, struct kms_err *err);
kms_status api_key_backup(struct request *r, struct kms_err *err);
kms_status api_key_restore(struct request *r, struct kms_err *err);
kms_status api_key_attestation(struct request *r, struct kms_err *err);
kms_status api_rotation_get(struct request *r, struct kms_err *err);
kms_status api_rotation_set(struct request *r, struct kms_err *err);
kms_status api_key_encrypt(struct request *r, struct kms_err *err);
kms_status api_key_decrypt(struct request *r, struct kms_err *err);
kms_status api_key_wrap(struct request *r, struct kms_err *err);
kms_status api_key_unwrap(struct request *r, struct kms_err *err);
kms_status api_key_sign(struct request *r, struct kms_err *err);
kms_status api_key_verify(struct request *r, struct kms_err *err);
kms_status api_random(struct request *r, struct kms_err *err);
/** Refused on purpose. */
kms_status api_key_release(struct request *r, struct kms_err *err);
/** The same, for wrap and unwrap. */
kms_status api_key_secure_wrap(struct request *r, struct kms_err *err);
kms_status api_deleted_list(struct request *r, struct kms_err *err);
kms_status api_deleted_get(struct request *r, struct kms_err *err);
kms_status api_deleted_recover(struct request *r, struct kms_err *err);
kms_status api_deleted_purge(struct request *r, struct kms_err *err);

kms_status api_vault_list(struct request *r, struct kms_err *err);
kms_status api_vault_create(struct request *r, struct kms_err *err);
kms_status api_vault_get(struct request *r, struct kms_err *err);
kms_status api_vault_update(struct request *r, struct kms_err *err);
kms_status api_vault_shred(struct request *r, struct kms_err *err);
kms_status api_vault_lock(struct request *r, struct kms_err *err);
kms_status api_vault_unlock(struct request *r, struct kms_err *err);
kms_status api_vault_rotate_root(struct request *r, struct kms_err *err);
kms_status api_vault_plan(struct request *r, struct kms_err *err);
kms_status api_principal_get(struct request *r, struct kms_err *err);
kms_status api_principal_revoke_tokens(struct request *r, struct kms_err *err);
kms_status api_credential_list(struct request *r, struct kms_err *err);
kms_status api_credential_add_secret(struct request *r, struct kms_err *err);
kms_status api_credential_add_certificate(struct request *r, struct kms_err *err);
kms_status api_credential_add_identity(struct request *r, struct kms_err *err);
kms_status api_credential_remove(struct request *r, struct kms_err *err);
kms_status api_group_list(struct request *r, struct kms_err *err);
kms_status api_group_create(struct request *r, struct kms_err *err);
kms_status api_member_list(struct request *r, struct kms_err *err);
kms_status api_member_add(struct request *r, struct kms_err *err);
kms_status api_member_remove(struct request *r, struct kms_err *err);
kms_status api_role_list(struct request *r, struct kms_err *err);
kms_status api_role_define(struct request *r, struct kms_err *err);
kms_status api_role_drop(struct request *r, struct kms_err *err);
kms_status api_access_explain(struct request *r, struct kms_err *err);
kms_status api_service_list(struct request *r, struct kms_err *err);
kms_status api_service_add(struct request *r, struct kms_err *err);
kms_status api_service_set(struct request *r, struct kms_err *err);
kms_status api_approval_list(struct request *r, struct kms_err *err);
kms_status api_approval_get(struct request *r, struct kms_err *err);
kms_status api_approval_approve(struct request *r, struct kms_err *err);
kms_status api_approval_deny(struct request *r, struct kms_err *err);
kms_status api_approval_withdraw(struct request *r, struct kms_err *err);
kms_status api_principal_list(struct request *r, struct kms_err *err);
kms_status api_principal_create(struct request *r, struct kms_err *err);
kms_status api_principal_enable(struct request *r, struct kms_err *err);
kms_status api_principal_disable(struct request *r, struct kms_err *err);
kms_status api_role_grant(struct request *r, struct kms_err *err);
kms_status api_role_remove(struct request *r, struct kms_err *err);
kms_status api_key_revoke(struct request *r, struct kms_err *err);
kms_status api_key_reinstate(struct request *r, struct kms_err *err);
kms_status api_status(struct request *r, struct kms_err *err);
kms_status api_hsm(struct request *r, struct kms_err *err);
kms_status api_check(struct request *r, struct kms_err *err);
kms_status api_exports(struct request *r, struct kms_err *err);
kms_status api_backup_list(struct request *r, struct kms_err *err);
kms_status api_backup_create(struct request *r, struct kms_err *err);
kms_status api_backup_verify(struct request *r, struct kms_err *err);
kms_status api_epoch_list(struct request *r, struct kms_err *err);
kms_status api_epoch_begin(struct request *r, struct kms_err *err);
kms_status api_epoch_end(struct request *r, struct kms_err *err);
kms_status api_log_rotate_key(struct request *r, struct kms_err *err);
kms_status api_log_accept(struct request *r, struct kms_err *err);
kms_status api_log_retention(struct request *r, struct kms_err *err);
kms_status api_log_prune(struct request *r, struct kms_err *err);
kms_status api_person_list(struct request *r, struct kms_err *err);
kms_status api_person_show(struct request *r, struct kms_err *err);
kms_status api_person_erase(struct request *r, struct kms_err *err);
kms_status api_audit_checkpoint(struct request *r, struct kms_err *err);
kms_status api_audit_checkpoint_of(struct request *r, struct kms_err *err);
kms_status api_audit_keys(struct request *r, struct kms_err *err);
kms_status api_audit_entries(struct request *r, struct kms_err *err);
kms_status api_audit_entry(struct request *r, struct kms_err *err);
kms_status api_audit_inclusion(struct request *r, struct kms_err *err);
kms_status api_audit_consistency(struct request *r, struct kms_err *err);
kms_status api_audit_bundle(struct request *r, struct kms_err *err);
kms_status api_audit_tile(struct request *r, struct kms_err *err);
kms_status api_audit_events(struct request *r, struct kms_err *err);
kms_status api_report_rotations(struct request *r, struct kms_err *err);
kms_status api_report_denials(struct request *r, struct kms_err *err);
kms_status api_report_revocations(struct request *r, struct kms_err *err);
kms_status api_report_overdue(struct request *r, struct kms_err *err);
kms_status api_report_unused(struct request *r, struct kms_err *err);
kms_status api_report_protection(struct request *r, struct kms_err *err);
kms_status api_report_keys(struct request *r, struct kms_err *err);
kms_status api_audit_entry_tile(struct request *r, struct kms_err *err);
kms_status api_ekm_pool_list(struct request *r, struct kms_err *err);
kms_status api_ekm_pool_add(struct request *r, struct kms_err *err);
kms_status api_ekm_pool_set(struct request *r, struct kms_err *err);
kms_status api_ekm_key_list(struct request *r, struct kms_err *err);
kms_status api_ekm_key_publish(struct request *r, struct kms_err *err);
kms_status api_ekm_key_retire(struct request *r, struct kms_err *err);

kms_status api_ekm_info(struct request *r, struct kms_err *err);
kms_status api_ekm_metadata(struct request *r, struct kms_err *err);
kms_status api_ekm_wrap(struct request *r, struct kms_err *err);
kms_status api_ekm_unwrap(struct request *r, struct kms_err *err);

kms_status api_token(struct request *r, struct kms_err *err);
kms_status api_identity_token(struct request *r, struct kms_err *err);
kms_status api_discovery(struct request *r, struct kms_err *err);
kms_status api_jwks(struct request *r, struct kms_err *err);
kms_status api_subscriptions(struct request *r, struct kms_err *err);
kms_status api_openapi(struct request *r, struct kms_err *err);
kms_status api_live(struct request *r, struct kms_err *err);
kms_status api_ready(struct request *r, struct kms_err *err);

/* One word for each part that serving needs: for probes and people. */
struct readiness {
	const char *hsm, *storage, *log, *audit; /* log: can it be written; audit: does it hold what it promised (checkpoint.h) */
};
/** Is every part there? */
bool api_is_ready(const struct request *r, struct readiness *ret);
/** "good", "late", "rolled_back", "damaged". */
const char *api_log_state_name(enum log_state state);

#endif
