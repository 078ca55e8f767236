/* storage/sqlite/statements.c - all SQL that runs after start-up: constant text, prepared once for each connection. Parameters are bound
 * and columns taken in the order written here. */
#include "storage/sqlite/db.h"

#define VAULT_SELECT                                                                                                          \
	"SELECT v.id, v.name, v.directory, v.state, v.root_id, v.pseudonym_id, v.retention_days, v.has_purge_protection, "    \
	"v.allows_rsa1_5, m.wrapped, v.canary_hash, v.quorum, v.purge_approvals, v.is_founded, v.counts_installation, "       \
	"EXISTS (SELECT 1 FROM network n WHERE n.vault_id = v.id), v.issuer, v.created_s, v.epoch "                           \
	"FROM vault v LEFT JOIN material m ON m.id = v.canary "
#define PRINCIPAL_COLUMNS "SELECT p.id, p.vault_id, p.name, p.pid, p.kind, p.is_enabled, p.tokens_from_s, p.created_s, p.epoch "
#define PRINCIPAL_SELECT PRINCIPAL_COLUMNS "FROM principal p "
#define MEMBER_SELECT PRINCIPAL_COLUMNS "FROM member m CROSS JOIN principal p "
#define CREDENTIAL_SELECT "SELECT id, principal_id, kind, hash, label, created_s, expires_s, data FROM credential "
#define CUSTOM_ROLE_SELECT "SELECT id, vault_id, number, name, actions, created_s FROM custom_role "
#define APPROVAL_SELECT                                                                                                       \
	"SELECT id, vault_id, requester, act, digest, request, reason, quorum, state, created_s, expires_s, settled_s FROM approval "
#define KEY_SELECT "SELECT id, vault_id, name, created_s, deleted_s, purge_s, is_purging, epoch FROM key "
#define POOL_SELECT                                                                                                           \
	"SELECT id, is_service, prefix, created_s, updated_s, (SELECT epoch FROM principal p WHERE p.id = pool.id) FROM pool "
#define EXTERNAL_SELECT "SELECT pool_id, id, key_id, version_id, key_name, created_s, retired_s, last_used_s, uses FROM external "
#define CHECKPOINT_SELECT "SELECT size, root, signed_us, note FROM checkpoint "
#define VERSION_COLUMNS                                                                                                            \
	"SELECT v.id, v.key_id, v.obj, v.ordinal, v.kty, v.crv, v.bits, v.ops, v.is_enabled, v.revoked, v.nbf_s, v.exp_s, "        \
	"v.created_s, v.updated_s, v.epoch, v.encryptions, v.e, m.n, m.wrapped"
#define VERSION_FROM " FROM version v LEFT JOIN material m ON m.id = v.material "
#define VERSION_TAGS "LEFT JOIN version_tags t ON t.version_id = v.id "
#define VERSION_ONE "WHERE v.key_id = ?1 AND v.id = ?2"
#define VERSION_LAST "WHERE v.key_id = ?1 ORDER BY v.ordinal DESC LIMIT 1"
#define VERSION_PAGE "WHERE v.key_id = ?1 AND v.ordinal > ?2 ORDER BY v.ordinal LIMIT ?3"
/* CROSS: from the resident versions of all vaults, which the token bounds, to their keys; not from the keys of the vault. */
#define RESIDENT "version v INDEXED BY version_resident CROSS JOIN key k ON k.id = v.key_id WHERE v.is_resident AND k.vault_id = ?1"
#define ZEROED "UPDATE material SET n = zeroblob(length(n)), wrapped = zeroblob(length(wrapped)) WHERE id IN "
/* An absent id does not count; a row that is gone has no epoch and equals none. */
#define UNCHANGED(table, id, epoch) "(" id " IS NULL OR (SELECT epoch FROM " table " WHERE id = " id ") IS " epoch ")"

const char *const SQ_TEXT[SQ_COUNT] = {
	[SQ_VAULT_BY_NAME] = VAULT_SELECT "WHERE v.name = ?1",
	[SQ_VAULT_BY_ID] = VAULT_SELECT "WHERE v.id = ?1",
	[SQ_VAULTS] = VAULT_SELECT "WHERE v.name > ?1 ORDER BY v.name LIMIT ?2",
	[SQ_NETWORKS] = "SELECT ranges FROM network WHERE vault_id = ?1",
	[SQ_PRINCIPAL] = PRINCIPAL_SELECT "WHERE p.id = ?1",
	[SQ_PRINCIPALS] = PRINCIPAL_SELECT "WHERE p.vault_id = ?1 AND p.id > ?2 ORDER BY p.id LIMIT ?3",
	[SQ_CREDENTIALS] = CREDENTIAL_SELECT "WHERE principal_id = ?1 ORDER BY rowid LIMIT ?2",
	[SQ_CREDENTIAL] = CREDENTIAL_SELECT "WHERE kind = ?1 AND hash = ?2",
	[SQ_ROLES] = "SELECT principal_id, vault_id, key_name, role, expires_s, created_s FROM assignment WHERE principal_id = ?1 "
	             "ORDER BY vault_id, role, key_name LIMIT ?2",
	[SQ_CUSTOM_ROLE] = CUSTOM_ROLE_SELECT "WHERE number = ?1",
	[SQ_CUSTOM_ROLES] = CUSTOM_ROLE_SELECT "WHERE vault_id = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
	/* CROSS: from the memberships of the one, not from all groups. */
	[SQ_GROUPS_OF] = MEMBER_SELECT "ON p.id = m.group_id WHERE m.member_id = ?1 ORDER BY m.group_id LIMIT ?2",
	[SQ_MEMBERS] = MEMBER_SELECT "ON p.id = m.member_id WHERE m.group_id = ?1 AND m.member_id > ?2 ORDER BY m.member_id LIMIT ?3",
	[SQ_APPROVAL] = APPROVAL_SELECT "WHERE id = ?1",
	[SQ_APPROVAL_OPEN] = APPROVAL_SELECT "INDEXED BY approval_open WHERE vault_id = ?1 AND requester = ?2 AND digest = ?3 AND state = 1",
	[SQ_APPROVALS] = APPROVAL_SELECT "INDEXED BY approval_vault WHERE vault_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
	[SQ_APPROVALS_OPEN] = APPROVAL_SELECT "INDEXED BY approval_pending WHERE vault_id = ?1 AND id > ?2 AND state = 1 ORDER BY id LIMIT ?3",
	[SQ_VOTES] = "SELECT approval_id, approver_id, approves, reason, created_s, certificate, signature FROM vote WHERE approval_id = ?1 "
	             "ORDER BY approver_id LIMIT ?2",
	[SQ_KEY] = KEY_SELECT "WHERE vault_id = ?1 AND name = ?2",
	[SQ_KEYS] = KEY_SELECT "INDEXED BY key_living WHERE vault_id = ?1 AND name > ?2 AND deleted_s IS NULL ORDER BY name LIMIT ?3",
	[SQ_KEYS_DELETED] = KEY_SELECT "INDEXED BY key_deleted WHERE vault_id = ?1 AND name > ?2 AND deleted_s IS NOT NULL ORDER BY name LIMIT ?3",
	[SQ_KEYS_DUE] = KEY_SELECT "INDEXED BY key_purge WHERE purge_s <= ?1 AND is_purging = 0 "
	                "AND (SELECT state FROM vault WHERE vault.id = key.vault_id) = 1 "
	                "AND NOT EXISTS (SELECT 1 FROM external e INDEXED BY external_key WHERE e.key_id = key.id AND e.retired_s IS NULL) "
	                "ORDER BY purge_s LIMIT ?2",
	[SQ_VERSION] = VERSION_COLUMNS VERSION_FROM VERSION_ONE,
	[SQ_VERSION_TAGS] = VERSION_COLUMNS ", t.tags" VERSION_FROM VERSION_TAGS VERSION_ONE,
	[SQ_VERSION_LATEST] = VERSION_COLUMNS VERSION_FROM VERSION_LAST,
	[SQ_VERSION_LATEST_TAGS] = VERSION_COLUMNS ", t.tags" VERSION_FROM VERSION_TAGS VERSION_LAST,
	[SQ_VERSIONS] = VERSION_COLUMNS VERSION_FROM VERSION_PAGE,
	[SQ_VERSIONS_TAGS] = VERSION_COLUMNS ", t.tags" VERSION_FROM VERSION_TAGS VERSION_PAGE,
	[SQ_POLICY] = "SELECT key_id, rotate_after_create, rotate_before_expiry, notify_before_expiry, expiry_time, created_s, updated_s "
	              "FROM policy WHERE key_id = ?1",
	[SQ_POOLS] = POOL_SELECT "WHERE id > ?1 ORDER BY id LIMIT ?2",
	[SQ_POOL] = POOL_SELECT "WHERE id = ?1",
	[SQ_POOL_SUBJECTS] = "SELECT name FROM pool_subject WHERE pool_id = ?1 ORDER BY position",
	[SQ_POOL_ROOTS] = "SELECT der FROM pool_root WHERE pool_id = ?1 ORDER BY position",
	[SQ_EXTERNAL] = EXTERNAL_SELECT "WHERE pool_id = ?1 AND id = ?2",
	[SQ_EXTERNALS] = EXTERNAL_SELECT "WHERE pool_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
	[SQ_EXTERNAL_OF_KEY] = EXTERNAL_SELECT "INDEXED BY external_key WHERE key_id = ?1 AND retired_s IS NULL LIMIT 1",
	[SQ_OBJECTS] = "SELECT v.obj FROM " RESIDENT " AND v.obj > ?2 ORDER BY v.obj LIMIT ?3",
	[SQ_OBJECT_COUNT] = "SELECT count(*) FROM " RESIDENT,
	[SQ_OBJECT_KNOWN] = "SELECT EXISTS (SELECT 1 FROM version o JOIN key k ON k.id = o.key_id JOIN vault v ON v.id = k.vault_id "
	                    "WHERE o.obj = ?1 AND v.state <> ?2) "
	                    "OR EXISTS (SELECT 1 FROM vault WHERE root_id = ?1 AND state <> ?2) "
	                    "OR EXISTS (SELECT 1 FROM vault WHERE pseudonym_id = ?1 AND state <> ?2) "
	                    "OR EXISTS (SELECT 1 FROM meta WHERE value = ?1 AND length(value) = 16) "
	                    "OR EXISTS (SELECT 1 FROM log_key WHERE obj = ?1)",
	[SQ_INTENTS] = "SELECT seq, type, vault_id, key_id, obj, key_name FROM intent WHERE seq > ?1 ORDER BY seq LIMIT ?2",
	[SQ_META] = "SELECT name, value FROM meta WHERE name = ?1",
	[SQ_EVENT_COUNT] = "SELECT coalesce(max(seq) + 1, 0) FROM event",
	[SQ_EVENT] = "SELECT seq, id, vault_id, ts_us, hash, leaf FROM event WHERE seq = ?1",
	[SQ_NODE] = "SELECT hash FROM node WHERE level = ?1 AND position = ?2",
	[SQ_NODE_LEAF] = "SELECT hash FROM event WHERE seq = ?1",
	[SQ_CHECKPOINT_OF] = CHECKPOINT_SELECT "WHERE size = ?1",
	[SQ_CHECKPOINT_LAST] = CHECKPOINT_SELECT "WHERE size >= 0 ORDER BY size DESC LIMIT 1",
	[SQ_LOG_KEYS] = "SELECT generation, obj, vkey, from_size, created_s FROM log_key WHERE generation > 0 ORDER BY generation DESC LIMIT ?1",
	[SQ_CLOSED_LOGS] = "SELECT number, origin, restored_size, known_size, known_root, closed_s FROM closed_log WHERE number > 0 "
	                   "ORDER BY number DESC LIMIT ?1",

	[SQ_BEGIN] = "BEGIN IMMEDIATE",
	[SQ_COMMIT] = "COMMIT",
	[SQ_SAVEPOINT] = "SAVEPOINT unit",
	[SQ_RELEASE] = "RELEASE unit",
	[SQ_UNDO] = "ROLLBACK TO unit",
	[SQ_FENCE] = "SELECT " UNCHANGED("vault", "?1", "?2") " AND " UNCHANGED("principal", "?3", "?4") " AND "
	             UNCHANGED("key", "?5", "?6") " AND " UNCHANGED("version", "?7", "?8"),
	[SQ_MATERIAL_ADD] = "INSERT INTO material (n, wrapped) VALUES (?1, ?2)",
	[SQ_VAULT_ADD] = "INSERT INTO vault (id, name, directory, state, root_id, pseudonym_id, retention_days, has_purge_protection, "
	                 "allows_rsa1_5, canary, canary_hash, quorum, purge_approvals, is_founded, counts_installation, issuer, created_s, epoch) "
	                 "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, 1)",
	[SQ_VAULT_SET_STATE] = "UPDATE vault SET state = ?2, epoch = epoch + 1 WHERE id = ?1",
	[SQ_VAULT_SET] = "UPDATE vault SET retention_days = ?2, has_purge_protection = ?3, allows_rsa1_5 = ?4, quorum = ?5, "
	                 "purge_approvals = ?6, counts_installation = CASE WHEN is_founded THEN counts_installation ELSE ?7 AND ?9 END, "
	                 "is_founded = max(is_founded, ?7), issuer = ?8, epoch = epoch + 1 WHERE id = ?1",
	[SQ_VAULT_TOUCH] = "UPDATE vault SET epoch = epoch + 1 WHERE id = ?1",
	[SQ_NETWORKS_SET] = "INSERT INTO network (vault_id, ranges) VALUES (?1, ?2) ON CONFLICT (vault_id) DO UPDATE SET ranges = excluded.ranges",
	[SQ_NETWORKS_DROP] = "DELETE FROM network WHERE vault_id = ?1",
	[SQ_VAULT_ERASE_MATERIAL] = ZEROED "(SELECT v.material FROM key k JOIN version v ON v.key_id = k.id WHERE k.vault_id = ?1 "
	                            "UNION ALL SELECT canary FROM vault WHERE id = ?1)",
	[SQ_VAULT_ERASE_TAGS] = "DELETE FROM version_tags WHERE version_id IN "
	                        "(SELECT v.id FROM key k JOIN version v ON v.key_id = k.id WHERE k.vault_id = ?1)",
	[SQ_VAULT_ERASE_VERSIONS] = "UPDATE version SET material = NULL, e = x'' "
	                            "WHERE key_id IN (SELECT id FROM key WHERE vault_id = ?1)",
	[SQ_VAULT_ERASE_POLICIES] = "DELETE FROM policy WHERE key_id IN (SELECT id FROM key WHERE vault_id = ?1)",
	[SQ_VAULT_ERASE_CANARY] = "UPDATE vault SET canary = NULL, canary_hash = zeroblob(32) WHERE id = ?1",
	[SQ_PRINCIPAL_ADD] = "INSERT INTO principal (id, vault_id, name, pid, kind, is_enabled, tokens_from_s, created_s, epoch) "
	                     "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1)",
	[SQ_PRINCIPAL_SET] = "UPDATE principal SET is_enabled = ?2, tokens_from_s = ?3, epoch = epoch + 1 WHERE id = ?1 AND epoch = ?4",
	[SQ_CALLER_TOUCH] = "UPDATE principal SET epoch = epoch + 1 WHERE id = ?1 AND kind = 1",
	[SQ_GROUP_TOUCH] = "UPDATE vault SET epoch = epoch + 1 WHERE id = (SELECT vault_id FROM principal WHERE id = ?1 AND kind = 2)",
	[SQ_CREDENTIAL_ADD] = "INSERT INTO credential (id, principal_id, kind, hash, label, created_s, expires_s, data) "
	                      "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE (SELECT count(*) FROM credential WHERE principal_id = ?2) < ?9",
	[SQ_CREDENTIAL_REMOVE] = "DELETE FROM credential WHERE id = ?1 AND principal_id = ?2",
	/* A group holds nothing outside its vault, whose epoch tells of it; a custom role nothing outside the vault that made it. */
	[SQ_ROLE_ADD] = "INSERT INTO assignment (principal_id, vault_id, key_name, role, expires_s, created_s) SELECT p.id, ?2, ?3, ?4, ?5, ?6 "
	                "FROM principal p WHERE p.id = ?1 AND (p.kind = 1 OR p.vault_id = ?2) "
	                "AND (?4 < 1000 OR EXISTS (SELECT 1 FROM custom_role c WHERE c.number = ?4 AND c.vault_id = ?2))",
	[SQ_ROLE_REMOVE] = "DELETE FROM assignment WHERE principal_id = ?1 AND vault_id = ?2 AND key_name = ?3 AND role = ?4",
	[SQ_ROLE_DEFINE] = "INSERT INTO custom_role (id, vault_id, name, actions, created_s) VALUES (?1, ?2, ?3, ?4, ?5)",
	[SQ_ROLE_TOUCH] = "UPDATE vault SET epoch = epoch + 1 WHERE id = (SELECT vault_id FROM custom_role WHERE id = ?1 AND vault_id = ?2)",
	[SQ_ROLE_DROP] = "DELETE FROM custom_role WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM assignment a INDEXED BY assignment_custom "
	                 "WHERE a.role = custom_role.number AND a.role >= 1000)",
	[SQ_MEMBER_ADD] = "INSERT INTO member (group_id, member_id) SELECT g.id, m.id FROM principal g JOIN principal m ON m.id = ?2 "
	                  "WHERE g.id = ?1 AND g.kind = 2 AND m.vault_id = g.vault_id AND m.id <> g.id",
	[SQ_MEMBER_REMOVE] = "DELETE FROM member WHERE group_id = ?1 AND member_id = ?2",
	[SQ_APPROVAL_ADD] = "INSERT INTO approval (id, vault_id, requester, act, digest, request, reason, quorum, state, created_s, expires_s) "
	                    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?10)",
	[SQ_APPROVAL_VOTE] = "INSERT INTO vote (approval_id, approver_id, approves, reason, created_s, certificate, signature) "
	                     "SELECT id, ?2, ?3, ?4, ?5, ?6, ?7 FROM approval WHERE id = ?1 AND state = 1",
	/* Whoever is counted has said yes, is not who asked, and has not changed since. */
	[SQ_APPROVAL_COUNTS] = "SELECT EXISTS (SELECT 1 FROM approval a JOIN vote v ON v.approval_id = a.id JOIN principal p ON p.id = v.approver_id "
	                       "WHERE a.id = ?1 AND v.approver_id = ?2 AND v.approves AND a.requester <> p.id AND p.epoch = ?3)",
	[SQ_APPROVAL_USE] = "UPDATE approval SET state = 2, settled_s = ?2 WHERE id = ?1 AND state = 1 AND expires_s >= ?2 AND quorum <= ?3",
	[SQ_APPROVAL_CLOSE] = "UPDATE approval SET state = ?2, settled_s = ?3 WHERE id = ?1 AND state = 1",
	[SQ_KEY_ADD] = "INSERT INTO key (id, vault_id, name, created_s, deleted_s, purge_s, is_purging, epoch) "
	               "VALUES (?1, ?2, ?3, ?4, NULL, NULL, 0, 1)",
	[SQ_KEY_TOUCH] = "UPDATE key SET epoch = epoch + 1 WHERE id = ?1 AND deleted_s IS NULL",
	[SQ_KEY_DELETE] = "UPDATE key SET deleted_s = ?2, purge_s = ?3, epoch = epoch + 1 WHERE id = ?1 AND deleted_s IS NULL",
	[SQ_KEY_RECOVER] = "UPDATE key SET deleted_s = NULL, purge_s = NULL, epoch = epoch + 1 "
	                   "WHERE id = ?1 AND deleted_s IS NOT NULL AND NOT is_purging",
	[SQ_KEY_SET_PURGING] = "UPDATE key SET is_purging = 1, epoch = epoch + 1 WHERE id = ?1",
	[SQ_KEY_REVOKE] = "UPDATE version SET revoked = ?3, updated_s = ?4, epoch = epoch + 1 WHERE key_id = ?1 AND (?2 IS NULL OR id = ?2)",
	[SQ_KEY_TOUCH_ANY] = "UPDATE key SET epoch = epoch + 1 WHERE id = ?1",
	[SQ_KEY_TOUCH_VERSIONS] = "UPDATE version SET epoch = epoch + 1 WHERE key_id = ?1",
	[SQ_KEY_PURGE_MATERIAL] = ZEROED "(SELECT material FROM version WHERE key_id = ?1)",
	[SQ_KEY_PURGE_TAGS] = "DELETE FROM version_tags WHERE version_id IN (SELECT id FROM version WHERE key_id = ?1)",
	[SQ_KEY_PURGE_VERSIONS] = "DELETE FROM version WHERE key_id = ?1",
	[SQ_KEY_PURGE_POLICY] = "DELETE FROM policy WHERE key_id = ?1",
	[SQ_KEY_PURGE] = "DELETE FROM key WHERE id = ?1",
	[SQ_VERSION_ADD] = "INSERT INTO version (id, key_id, obj, ordinal, kty, crv, bits, ops, is_enabled, revoked, nbf_s, exp_s, "
	                   "created_s, updated_s, epoch, encryptions, e, is_resident, material) VALUES (?1, ?2, ?3, "
	                   "(SELECT coalesce(max(ordinal), 0) + 1 FROM version WHERE key_id = ?2), "
	                   "?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1, ?14, ?15, ?16, ?17)",
	[SQ_VERSION_SET] = "UPDATE version SET ops = ?2, is_enabled = ?3, revoked = ?4, nbf_s = ?5, exp_s = ?6, updated_s = ?7, "
	                   "epoch = epoch + 1 WHERE id = ?1",
	[SQ_VERSION_SET_TAGS] = "INSERT INTO version_tags (version_id, tags) VALUES (?1, ?2) "
	                        "ON CONFLICT (version_id) DO UPDATE SET tags = excluded.tags",
	[SQ_VERSION_ENCRYPTS] = "UPDATE version SET encryptions = encryptions + 1 WHERE id = ?1 AND encryptions < ?2",
	[SQ_POLICY_SET] = "INSERT INTO policy (key_id, rotate_after_create, rotate_before_expiry, notify_before_expiry, expiry_time, "
	                  "created_s, updated_s) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (key_id) DO UPDATE SET "
	                  "rotate_after_create = excluded.rotate_after_create, rotate_before_expiry = excluded.rotate_before_expiry, "
	                  "notify_before_expiry = excluded.notify_before_expiry, expiry_time = excluded.expiry_time, "
	                  "updated_s = excluded.updated_s",
	[SQ_POOL_ADD] = "INSERT INTO pool (id, is_service, prefix, created_s, updated_s) VALUES (?1, ?2, ?3, ?4, ?5)",
	[SQ_POOL_SET] = "UPDATE pool SET updated_s = ?2 WHERE id = ?1",
	[SQ_POOL_SUBJECTS_DROP] = "DELETE FROM pool_subject WHERE pool_id = ?1",
	[SQ_POOL_SUBJECT_FREE] = "DELETE FROM pool_subject WHERE name = ?1 "
	                         "AND (SELECT v.state FROM principal p JOIN vault v ON v.id = p.vault_id WHERE p.id = pool_subject.pool_id) = ?2",
	[SQ_POOL_SUBJECT_ADD] = "INSERT INTO pool_subject (name, pool_id, position) VALUES (?1, ?2, ?3)",
	[SQ_POOL_ROOTS_DROP] = "DELETE FROM pool_root WHERE pool_id = ?1",
	[SQ_POOL_ROOT_ADD] = "INSERT INTO pool_root (pool_id, position, der) VALUES (?1, ?2, ?3)",
	/* An id comes back for the version that it was bound to, with its history; for no other. */
	[SQ_EXTERNAL_ADD] = "INSERT INTO external (pool_id, id, key_id, version_id, key_name, created_s, retired_s, last_used_s, uses) "
	                    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, NULL, 0) ON CONFLICT (pool_id, id) DO UPDATE SET retired_s = NULL "
	                    "WHERE key_id = excluded.key_id AND version_id = excluded.version_id",
	[SQ_EXTERNAL_RETIRE] = "UPDATE external SET retired_s = ?3 WHERE pool_id = ?1 AND id = ?2 AND retired_s IS NULL",
	[SQ_EXTERNAL_USED] = "UPDATE external SET last_used_s = ?3, uses = uses + 1 WHERE pool_id = ?1 AND id = ?2 AND retired_s IS NULL",
	[SQ_INTENT_OPEN] = "INSERT INTO intent (seq, type, vault_id, key_id, obj, key_name) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[SQ_INTENT_CLOSE] = "DELETE FROM intent WHERE seq = ?1",
	[SQ_META_PUT] = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
	/* The log has no gaps: only the next seq is taken. */
	[SQ_APPEND] = "INSERT INTO event (seq, id, vault_id, ts_us, hash, leaf) SELECT ?1, ?2, ?3, ?4, ?5, ?6 "
	              "WHERE ?1 = (SELECT coalesce(max(seq) + 1, 0) FROM event)",
	[SQ_PUT_NODE] = "INSERT INTO node (level, position, hash) VALUES (?1, ?2, ?3)",
	/* What was signed is never followed by less. */
	[SQ_CHECKPOINT_ADD] = "INSERT INTO checkpoint (size, root, signed_us, note) SELECT ?1, ?2, ?3, ?4 "
	                      "WHERE ?1 > (SELECT coalesce(max(size), -1) FROM checkpoint)",
	[SQ_CHECKPOINT_COSIGN] = "UPDATE checkpoint SET note = ?2 WHERE size = ?1",
	[SQ_LOG_KEY_ADD] = "INSERT INTO log_key (generation, obj, vkey, from_size, created_s) "
	                   "SELECT coalesce(max(generation), 0) + 1, ?1, ?2, ?3, ?4 FROM log_key",
	[SQ_LOG_ORIGIN_SET] = "UPDATE meta SET value = ?2 WHERE name = 'log_origin' AND value = ?1 "
	                      "AND NOT EXISTS (SELECT 1 FROM closed_log WHERE origin = ?3)",
	[SQ_CLOSED_LOG_ADD] = "INSERT INTO closed_log (number, origin, restored_size, known_size, known_root, closed_s) "
	                      "SELECT coalesce(max(number), 0) + 1, ?1, ?2, ?3, ?4, ?5 FROM closed_log",
	[SQ_INTENTS_KEEP] = "UPDATE intent SET seq = seq + ?1 WHERE seq <= ?2",
};
