/* server/core/event.h - one event of the key event log and its canonical leaf (spec/audit-log.md section 3). */
#ifndef HOLDFAST_CORE_EVENT_H
#define HOLDFAST_CORE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/encode.h"
#include "server/base/err.h"

#define EVENT_LEAF_MAX 8192
#define EVENT_TEXT_MAX 512 /* bytes of any string from outside */
#define EVENT_CORR_MAX 128
#define EVENT_DET_NAME_MAX 28 /* so that the suffix _b64 still makes a name of 32 */
#define EVENT_DET_MAX 12
#define EVENT_APPROVERS_MAX 16

/* Open intents keep the number in the database: new types are added at the end. */
#define EVENT_TYPE_MAP(X)                                                                                                            \
	X(EVENT_LOG_INIT, "log.init") X(EVENT_LOG_GAP, "log.gap") X(EVENT_LOG_CLOCK, "log.clock")                                    \
	X(EVENT_NODE_START, "node.start") X(EVENT_NODE_STOP, "node.stop") X(EVENT_NODE_CONFIG, "node.config")                        \
	X(EVENT_NODE_HSM_LOST, "node.hsm_lost") X(EVENT_NODE_HSM_BACK, "node.hsm_back") X(EVENT_NODE_RECOVERED, "node.recovered")    \
	X(EVENT_TENANT_CREATE, "tenant.create") X(EVENT_TENANT_UPDATE, "tenant.update") X(EVENT_TENANT_SHRED, "tenant.shred")        \
	X(EVENT_TENANT_SHRED_INCOMPLETE, "tenant.shred_incomplete")                                                                  \
	X(EVENT_KEY_CREATE, "key.create") X(EVENT_KEY_GET, "key.get") X(EVENT_KEY_LIST, "key.list") X(EVENT_KEY_UPDATE, "key.update") \
	X(EVENT_KEY_ROTATE, "key.rotate") X(EVENT_KEY_REVOKE, "key.revoke") X(EVENT_KEY_DELETE, "key.delete")                        \
	X(EVENT_KEY_RECOVER, "key.recover") X(EVENT_KEY_PURGE, "key.purge") X(EVENT_KEY_DESTROY, "key.destroy")                      \
	X(EVENT_KEY_WRAP, "key.wrap") X(EVENT_KEY_UNWRAP, "key.unwrap") X(EVENT_KEY_ORPHAN_REMOVED, "key.orphan_removed")            \
	X(EVENT_ROLE_GRANT, "authz.role_grant") X(EVENT_ROLE_REVOKE, "authz.role_revoke") X(EVENT_LOGIN, "authz.login")              \
	X(EVENT_PRINCIPAL, "authz.policy") X(EVENT_DENIED, "authz.denied") X(EVENT_AUDIT_READ, "audit.read")                         \
	X(EVENT_KEY_IMPORT, "key.import") X(EVENT_KEY_BACKUP, "key.backup") X(EVENT_KEY_RESTORE, "key.restore")                      \
	X(EVENT_KEY_EXPORT, "key.export") X(EVENT_KEY_ENCRYPT, "key.encrypt") X(EVENT_KEY_DECRYPT, "key.decrypt")                    \
	X(EVENT_KEY_SIGN, "key.sign") X(EVENT_KEY_VERIFY, "key.verify") X(EVENT_KEY_RANDOM, "key.random")                            \
	X(EVENT_EKM_POOL, "ekm.pool") X(EVENT_EKM_PUBLISH, "ekm.publish") X(EVENT_EKM_RETIRE, "ekm.retire")                          \
	X(EVENT_EKM_INFO, "ekm.info") X(EVENT_EKM_METADATA, "ekm.metadata") X(EVENT_APPROVAL, "authz.approval") \
	X(EVENT_LOG_HEARTBEAT, "log.heartbeat") X(EVENT_LOG_KEY_ROTATED, "log.key_rotated") X(EVENT_LOG_RESTORED, "log.restored")    \
	X(EVENT_LOG_INTEGRITY_FAILED, "log.integrity_failed") X(EVENT_TENANT_RESURRECTED, "tenant.resurrected")                      \
	X(EVENT_TENANT_LOCK, "tenant.lock") X(EVENT_TENANT_UNLOCK, "tenant.unlock") X(EVENT_TENANT_ROTATE_ROOT, "tenant.rotate_root") \
	X(EVENT_NODE_BACKUP, "node.backup") X(EVENT_NODE_RESTORED, "node.restored") X(EVENT_BACKUP_EPOCH, "backup.epoch")            \
	X(EVENT_BACKUP_EPOCH_END, "backup.epoch_end")                                                                                \
	X(EVENT_LOG_PRUNED, "log.pruned") X(EVENT_KEY_EXPIRE, "key.expire") X(EVENT_KEY_NEAR_EXPIRY, "key.near_expiry")              \
	X(EVENT_AUDIT_ERASE, "audit.erase") X(EVENT_LOG_EXPORT_FAILED, "log.export_failed") X(EVENT_WEBHOOK, "tenant.webhook")       \
	X(EVENT_ALERT, "node.alert")

enum event_type {
	EVENT_NONE = 0, /* a route that writes no leaf (health) */
#define X(type, name) type,
	EVENT_TYPE_MAP(X)
#undef X
	EVENT_TYPE_COUNT
};
enum event_phase { EVENT_SINGLE, EVENT_INTENT, EVENT_OUTCOME };
enum event_result { EVENT_OK, EVENT_REFUSED /* "denied" */, EVENT_FAILED, EVENT_PENDING, EVENT_UNKNOWN };
enum event_actor { EVENT_ACTOR_NONE, EVENT_ACTOR_USER, EVENT_ACTOR_APP, EVENT_ACTOR_NODE, EVENT_ACTOR_SYSTEM };
enum event_auth { EVENT_AUTH_NONE, EVENT_AUTH_JWT, EVENT_AUTH_MTLS, EVENT_AUTH_LOCAL };

/* One member of `det`: a name of [A-Za-z0-9_]{1,28} from a closed list in code (static), and text or a number.
 * Text from outside is copied with snprintf: a byte more than the limit fits, which tells the encoder to cut it and to say so in `trunc`. */
struct event_det {
	const char *name;
	char text[EVENT_TEXT_MAX + 2];
	bool is_number;
	int64_t number;
};

/* Somebody whose approval counted; one object of `appr` (3.2). */
struct event_approver {
	uint8_t pid[16];
	int64_t at_us;
	const char *cred; /* static: "jwt" | "certificate" (a vote with a signature of its own) */
	char kid[9];      /* of a certificate: the first 8 hex digits of its SHA-256; empty = none */
};

/* What happened, but for what the writer assigns (seq, ts, boot, mono, node, salt). Zeroed members are left out. Strings are copies. */
struct event {
	enum event_type type;
	enum event_phase phase;
	enum event_result result;
	bool has_ref;
	uint64_t ref; /* seq of the intent */
	bool has_tenant;
	uint8_t tenant[GUID_LEN]; /* vault id; written as a GUID */
	enum event_actor actor;
	enum event_auth auth;
	uint8_t pid[16];
	char role[48];
	char key_name[128]; /* empty = no `key` member */
	char key_version[33];
	bool has_obj;
	uint8_t obj[16];
	const char *alg; /* static */
	char req[GUID_TEXT_LEN + 1];
	char corr[EVENT_CORR_MAX + 2]; /* may be filled to the brim, as event_det.text */
	int http;
	const char *err;   /* static: a code of the catalogue */
	char net_peer[64]; /* shortened to /24 or /48 */
	char net_tls[12];
	uint64_t count;
	char trace[33];
	bool has_person; /* `pii` (audit-log.md section 12): the record of the side table that says who it was */
	uint64_t person_ref;
	uint8_t person_commitment[32];
	size_t approver_count; /* 0..EVENT_APPROVERS_MAX */
	const struct event_approver *approvers; /* array of approver_count; borrowed; NULL = none */
	size_t det_count;
	struct event_det *det; /* array of det_count; borrowed; NULL = none */
};

/* What the writer adds. */
struct event_stamp {
	uint64_t seq;
	int64_t ts_us;
	uint8_t boot[8];
	int64_t mono_us;
	const char *node;
	uint8_t id[GUID_LEN];
	uint8_t salt[16];
};

const char *event_type_name(enum event_type type);
/** The type with this name, EVENT_NONE when unknown. */
enum event_type event_type_parse(const char *name);

/**
 * Encode the leaf in canonical form (3.1): sorted members, own escapes, outside strings cut to 512 bytes at a character boundary (then named
 * in `trunc`), text that is not UTF-8 as base64url under NAME_b64. A leaf over 8,192 bytes loses `det` and gains `big` and `det_sha256`.
 * Numbers outside +-(2^53-1) are written as the nearest bound and named in `trunc`.
 * @param ret_leaf  EVENT_LEAF_MAX bytes, not NUL-terminated
 * @return length in bytes, 1..EVENT_LEAF_MAX
 */
size_t event_encode(const struct event *e, const struct event_stamp *stamp, char ret_leaf[EVENT_LEAF_MAX]);

#endif
