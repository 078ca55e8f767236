/* server/base/err.h - the one catalogue of outcomes, the one return type, and the optional explanation of a failure. */
#ifndef HOLDFAST_BASE_ERR_H
#define HOLDFAST_BASE_ERR_H

#include <stddef.h>

/*
 * status                 wire code          inner code                     http  what a client may read when nothing more specific was said
 * The wire code is the Key Vault dialect's `error.code`; token endpoint rows carry RFC 6749 section 5.2 codes.
 */
#define KMS_STATUS_MAP(X)                                                                                                                   \
	X(KMS_OK, "ok", NULL, 200, "success")                                                                                               \
	X(KMS_E_INVALID, "BadParameter", NULL, 400, "The request is malformed.")                                                            \
	X(KMS_E_NOROUTE, "BadParameter", NULL, 400, "Operation not specified or unknown.")                                                  \
	X(KMS_E_UNSUPPORTED, "BadParameter", NULL, 400, "This server or its key device does not support the requested operation.")          \
	X(KMS_E_CRYPTO, "BadParameter", NULL, 400, "The operation failed: the value does not belong to this key and algorithm, or is damaged.") \
	X(KMS_E_BACKUP, "Malformed backup blob", NULL, 400, "Backup blob contains invalid or corrupt version.")                             \
	X(KMS_E_UNAUTHENTICATED, "Unauthorized", NULL, 401, "AKV10000: Request is missing a Bearer or PoP token.")                          \
	X(KMS_E_CLAIMS, "Unauthorized", NULL, 401, "AKV10046: The token was revoked; a fresh one is needed.")                               \
	X(KMS_E_FORBIDDEN, "Forbidden", "ForbiddenByRbac", 403, "Caller is not authorized to perform action on resource.")                  \
	X(KMS_E_POLICY, "Forbidden", "ForbiddenByPolicy", 403, "A policy of the vault refuses this operation.")                             \
	X(KMS_E_APPROVAL, "Forbidden", "ForbiddenByPolicy", 403, "The act needs the approval of other people.")                           \
	X(KMS_E_FIREWALL, "Forbidden", "ForbiddenByFirewall", 403, "Client address is not authorized and caller is not a trusted service.") \
	X(KMS_E_KEY_DISABLED, "Forbidden", "KeyDisabled", 403, "The operation is not allowed on a disabled key.")                           \
	X(KMS_E_KEY_REVOKED, "Forbidden", "KeyRevoked", 403, "The key version is revoked; a security administrator decides over it.")       \
	X(KMS_E_KEY_OP, "Forbidden", "KeyOperationForbidden", 403, "The operation is not permitted on this key.")                           \
	X(KMS_E_KEY_EXPIRED, "Forbidden", "KeyExpired", 403, "The operation is not allowed on an expired key.")                             \
	X(KMS_E_KEY_NOT_YET, "Forbidden", "KeyNotYetValid", 403, "The operation is not allowed before the key's validity begins.")          \
	X(KMS_E_VAULT_SHREDDED, "Forbidden", "VaultShredded", 403, "The vault has been shredded; its keys no longer exist.")                \
	X(KMS_E_VAULT_LOCKED, "Forbidden", "VaultLocked", 403, "The vault is locked: it refuses every use until it is unlocked with the approval of its approvers.") \
	X(KMS_E_PURGE_PROTECTED, "Forbidden", "PurgeProtected", 403, "Purge protection is on: the key is purged when its retention ends.") \
	X(KMS_E_KEY_NOTFOUND, "KeyNotFound", NULL, 404, "The key was not found in this key vault.")                                         \
	X(KMS_E_NOTFOUND, "NotFound", NULL, 404, "The object was not found.")                                                               \
	X(KMS_E_METHOD, "MethodNotAllowed", NULL, 405, "The method is not allowed here.")                                                   \
	X(KMS_E_TIMEOUT, "RequestTimeout", NULL, 408, "The request took too long to arrive.")                                               \
	X(KMS_E_CONFLICT, "Conflict", NULL, 409, "The object's state does not allow this.")                                                 \
	X(KMS_E_DELETED, "Conflict", "ObjectIsDeletedButRecoverable", 409, "The key is deleted but recoverable; its name cannot be reused until it is recovered or purged.") \
	X(KMS_E_BEING_DELETED, "Conflict", "ObjectIsBeingDeleted", 409, "The key is being deleted and cannot be re-created now; retry later.") \
	X(KMS_E_GONE, "Gone", NULL, 410, "The body of this event was removed from the log after its retention; its hash and all proofs remain.")   \
	X(KMS_E_TOO_LARGE, "RequestBodyTooLarge", NULL, 413, "The request body is larger than this route allows.")                          \
	X(KMS_E_MEDIA, "UnsupportedMediaType", NULL, 415, "The request body must be application/json.")                                     \
	X(KMS_E_THROTTLED, "Throttled", NULL, 429, "Too many requests are waiting; retry later.")                                           \
	X(KMS_E_INTERNAL, "InternalError", NULL, 500, "The server failed to handle the request.")                                           \
	X(KMS_E_NOMEM, "ServiceUnavailable", "out_of_memory", 503, "The server is out of memory; retry later.")                             \
	X(KMS_E_BUSY, "ServiceUnavailable", "busy", 503, "The server is temporarily overloaded; retry later.")                              \
	X(KMS_E_DEVICE, "ServiceUnavailable", "hsm_unavailable", 503, "The key device is unavailable; retry later.")                        \
	X(KMS_E_STORE, "ServiceUnavailable", "store_unavailable", 503, "The database is unavailable; retry later.")                         \
	X(KMS_E_AUDIT, "ServiceUnavailable", "audit_unavailable", 503, "The event log cannot be written, so nothing is answered; retry later.") \
	X(KMS_E_INTEGRITY, "ServiceUnavailable", "log_integrity", 503, "The event log does not hold what was signed; until its administrators have decided, nothing is served but the log itself.") \
	X(KMS_E_SHUTDOWN, "ServiceUnavailable", "shutting_down", 503, "The server is shutting down; retry later.")                          \
	X(KMS_E_FENCED, "Conflict", "StateChanged", 409, "The state changed while the request was under way; retry.")                      \
	X(KMS_E_OAUTH_REQUEST, "invalid_request", NULL, 400, "The token request is malformed.")                                             \
	X(KMS_E_OAUTH_CLIENT, "invalid_client", NULL, 401, "Client authentication failed.")                                                 \
	X(KMS_E_OAUTH_GRANT, "unsupported_grant_type", NULL, 400, "Only the client_credentials grant is supported.")                        \
	X(KMS_E_OAUTH_SCOPE, "invalid_scope", NULL, 400, "The scope is not one that this server issues tokens for.")

typedef enum kms_status {
#define X(status, code, inner, http, text) status,
	KMS_STATUS_MAP(X)
#undef X
	KMS_STATUS_COUNT
} kms_status;

enum kms_src { KMS_SRC_SELF, KMS_SRC_ERRNO, KMS_SRC_SQLITE, KMS_SRC_PKCS11, KMS_SRC_OPENSSL, KMS_SRC_HTTP };

/* One failure, on the caller's stack, nothing to free. Zeroed = none. */
struct kms_err {
	kms_status status;    /* the first failure wins; cleanup never overwrites it */
	enum kms_src source;
	unsigned long native; /* errno, SQLITE_*, CKR_*, ERR_get_error() */
	const char *where;    /* "hsm/pool.c:41" */
	char detail[160];     /* for the log only */
	char message[512];    /* for the client; empty = the catalogue's text */
};

#define KMS_MUST_CHECK __attribute__((warn_unused_result))
#define KMS_STRINGIFY2(x) #x
#define KMS_STRINGIFY(x) KMS_STRINGIFY2(x)
#define KMS_WHERE __FILE__ ":" KMS_STRINGIFY(__LINE__)

/** Record a failure whose explanation is for the log. Returns `status`. err may be NULL. */
#define kms_fail(err, status, source, native, ...) kms_fail_at(KMS_WHERE, err, status, source, native, __VA_ARGS__)
/** Record a refusal whose explanation the client may read (and the log too). Returns `status`. err may be NULL. */
#define kms_refuse(err, status, ...) kms_refuse_at(KMS_WHERE, err, status, __VA_ARGS__)

kms_status kms_fail_at(const char *where, struct kms_err *err, kms_status status, enum kms_src source, unsigned long native,
                       const char *fmt, ...) __attribute__((format(printf, 6, 7)));
kms_status kms_refuse_at(const char *where, struct kms_err *err, kms_status status, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

const char *kms_status_name(kms_status status);  /* "KMS_E_BUSY" */
const char *kms_status_code(kms_status status);  /* wire code */
const char *kms_status_inner(kms_status status); /* inner code or NULL */
int kms_status_http(kms_status status);
const char *kms_status_text(kms_status status);
const char *kms_src_name(enum kms_src source);
/** What a client may read about a failure: the specific message, else the catalogue's text. Never NULL. */
const char *kms_err_text(const struct kms_err *err);

/* Leave the function with the failure of `call`; safe because every owning local carries a cleanup attribute. */
#define KMS_TRY(call)                                   \
	do {                                            \
		kms_status kms_try_status_ = (call);    \
		if (kms_try_status_ != KMS_OK)          \
			return kms_try_status_;         \
	} while (0)

/* Say aloud that a must-check result does not matter here; the comment beside it says why. */
static inline void kms_ignore(kms_status status) { (void)status; }

/* Hand over what a cleanup attribute would release. */
#define KMS_TAKE(p)                            \
	({                                     \
		__typeof__(p) kms_take_ = (p); \
		(p) = NULL;                    \
		kms_take_;                     \
	})

#define KMS_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
