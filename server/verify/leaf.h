/* server/verify/leaf.h - one line of an export: a leaf, or the hash of a leaf whose body is not here (audit-log.md sections 3 and 8). */
#ifndef HOLDFAST_VERIFY_LEAF_H
#define HOLDFAST_VERIFY_LEAF_H

#include "server/verify/reader.h"
#include "server/verify/report.h"
#include "server/verify/tree.h"

#define LEAF_MAX 8192
#define LEAF_APPROVERS_MAX 16
#define OBJECT_LEN 16

/* Types by name, in the order of their names; what the checks must know of each. */
#define TYPE_MAP(X)                                                                                                                \
	X(T_AUDIT_ERASE, "audit.erase", 0) X(T_AUDIT_EXPORT, "audit.export", 0) X(T_AUDIT_READ, "audit.read", 0)                    \
	X(T_AUTHZ_APPROVAL, "authz.approval", 0) X(T_AUTHZ_DENIED, "authz.denied", 0) X(T_AUTHZ_LOGIN, "authz.login", 0)            \
	X(T_AUTHZ_POLICY, "authz.policy", 0) X(T_ROLE_GRANT, "authz.role_grant", PAIRED) X(T_ROLE_REVOKE, "authz.role_revoke", PAIRED) \
	X(T_BACKUP_EPOCH, "backup.epoch", PAIRED) X(T_BACKUP_EPOCH_END, "backup.epoch_end", PAIRED)                                 \
	X(T_EKM_INFO, "ekm.info", 0) X(T_EKM_METADATA, "ekm.metadata", 0) X(T_EKM_POOL, "ekm.pool", 0)                              \
	X(T_EKM_PUBLISH, "ekm.publish", 0) X(T_EKM_RETIRE, "ekm.retire", 0)                                                         \
	X(T_KEY_BACKUP, "key.backup", PAIRED) X(T_KEY_CREATE, "key.create", PAIRED) X(T_KEY_DECRYPT, "key.decrypt", USE)            \
	X(T_KEY_DELETE, "key.delete", 0) X(T_KEY_DESTROY, "key.destroy", PAIRED) X(T_KEY_ENCRYPT, "key.encrypt", USE)               \
	X(T_KEY_EXPIRE, "key.expire", 0) X(T_KEY_EXPORT, "key.export", USE) X(T_KEY_GET, "key.get", 0)                              \
	X(T_KEY_IMPORT, "key.import", PAIRED) X(T_KEY_LIST, "key.list", 0) X(T_KEY_NEAR_EXPIRY, "key.near_expiry", 0) X(T_KEY_ORPHAN_REMOVED, "key.orphan_removed", 0)         \
	X(T_KEY_PURGE, "key.purge", PAIRED) X(T_KEY_RANDOM, "key.random", 0) X(T_KEY_RECOVER, "key.recover", 0)                     \
	X(T_KEY_RESTORE, "key.restore", PAIRED) X(T_KEY_REVOKE, "key.revoke", 0) X(T_KEY_ROTATE, "key.rotate", PAIRED)              \
	X(T_KEY_SIGN, "key.sign", USE) X(T_KEY_UNWRAP, "key.unwrap", USE) X(T_KEY_UPDATE, "key.update", 0)                          \
	X(T_KEY_VERIFY, "key.verify", USE) X(T_KEY_WRAP, "key.wrap", USE)                                                           \
	X(T_LOG_CLOCK, "log.clock", 0) X(T_LOG_EXPORT_FAILED, "log.export_failed", 0) X(T_LOG_GAP, "log.gap", 0)                    \
	X(T_LOG_HEARTBEAT, "log.heartbeat", 0) X(T_LOG_INIT, "log.init", 0) X(T_LOG_INTEGRITY_FAILED, "log.integrity_failed", 0)    \
	X(T_LOG_KEY_ROTATED, "log.key_rotated", 0) X(T_LOG_PRUNED, "log.pruned", PAIRED) X(T_LOG_RESTORED, "log.restored", 0)            \
	X(T_NODE_ALERT, "node.alert", 0) X(T_NODE_BACKUP, "node.backup", 0)                                                                                          \
	X(T_NODE_CONFIG, "node.config", 0) X(T_NODE_HSM_BACK, "node.hsm_back", 0) X(T_NODE_HSM_LOST, "node.hsm_lost", 0)            \
	X(T_NODE_RECOVERED, "node.recovered", 0) X(T_NODE_RESTORED, "node.restored", 0)                                             \
	X(T_NODE_START, "node.start", 0) X(T_NODE_STOP, "node.stop", 0)                    \
	X(T_TENANT_CREATE, "tenant.create", PAIRED) X(T_TENANT_LOCK, "tenant.lock", 0)                                              \
	X(T_TENANT_RESURRECTED, "tenant.resurrected", 0) X(T_TENANT_ROTATE_ROOT, "tenant.rotate_root", PAIRED)                      \
	X(T_TENANT_SHRED, "tenant.shred", PAIRED) X(T_SHRED_INCOMPLETE, "tenant.shred_incomplete", 0)                               \
	X(T_TENANT_SUSPEND, "tenant.suspend", 0) X(T_TENANT_UNLOCK, "tenant.unlock", PAIRED) X(T_TENANT_UPDATE, "tenant.update", 0) \
	X(T_TENANT_WEBHOOK, "tenant.webhook", 0)

enum { PAIRED = 1, USE = 2 }; /* succeeds only as the outcome of an intent; uses a key version */
enum leaf_type {
#define X(type, name, flags) type,
	TYPE_MAP(X)
#undef X
	T_OTHER, /* one that this program does not know */
	T_COUNT
};
enum leaf_phase { PHASE_SINGLE, PHASE_INTENT, PHASE_OUTCOME };
enum leaf_result { RESULT_OK, RESULT_DENIED, RESULT_FAILED, RESULT_PENDING, RESULT_UNKNOWN };
enum leaf_actor { ACTOR_NONE, ACTOR_USER, ACTOR_APP, ACTOR_NODE, ACTOR_SYSTEM };

/* Spans point into the line; an absent member is empty. */
struct leaf {
	bool is_hidden; /* only seq and hash are known */
	uint8_t hash[HASH_LEN];
	uint64_t seq;
	int64_t ts_us, mono_us;
	uint64_t boot;
	struct span type_name;
	enum leaf_type type;
	enum leaf_phase phase;
	enum leaf_result result;
	bool has_ref, has_object, has_key;
	uint64_t ref;
	struct span tenant, pid, key_name, key_version, ts;
	enum leaf_actor actor;
	uint8_t object[OBJECT_LEN];
	struct span det; /* the object as it stands */
	struct span approvers[LEAF_APPROVERS_MAX]; /* their pseudonyms */
	size_t approver_count;
};

const char *leaf_type_name(enum leaf_type type);
const char *leaf_result_name(enum leaf_result result);
unsigned leaf_type_flags(enum leaf_type type);
/**
 * Read a line, without its LF; a leaf is hashed.
 * @param ret_why  what is wrong
 * @return true, or false with *ret_finding F_CANONICAL, F_MEMBER or F_LINE
 */
bool leaf_parse(struct span line, struct hasher *h, struct leaf *ret, enum finding *ret_finding, const char **ret_why);
/** "YYYY-MM-DDThh:mm:ss.ffffffZ" in microseconds since 1970. */
bool timestamp_parse(struct span s, int64_t *ret_us);

#endif
