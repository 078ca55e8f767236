/* storage/sqlite/statements.c - all SQL that runs after start-up: constant text, prepared once for each connection. Parameters are bound
 * and columns taken in the order written here. */
#include "storage/sqlite/db.h"

#define VAULT_SELECT                                                                                                          \
	"SELECT v.id, v.name, v.directory, v.state, v.root_id, v.pseudonym_id, v.retention_days, v.has_purge_protection, "    \
	"v.allows_rsa1_5, m.wrapped, v.canary_hash, v.quorum, v.purge_approvals, v.is_founded, v.counts_installation, "       \
	"EXISTS (SELECT 1 FROM network n WHERE n.vault_id = v.id), v.issuer, v.created_s, v.epoch, v.is_locked, "             \
	"v.next_root_id, v.created_seq, v.person_days, v.person_basis "                                                       \
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
	"v.created_s, v.updated_s, v.epoch, v.encryptions, v.e, m.n, m.wrapped, v.root_id, v.created_seq"
#define VERSION_FROM " FROM version v LEFT JOIN material m ON m.id = v.material "
#define VERSION_TAGS "LEFT JOIN version_tags t ON t.version_id = v.id "
#define VERSION_ONE "WHERE v.key_id = ?1 AND v.id = ?2"
#define VERSION_LAST "WHERE v.key_id = ?1 ORDER BY v.ordinal DESC LIMIT 1"
#define VERSION_PAGE "WHERE v.key_id = ?1 AND v.ordinal > ?2 ORDER BY v.ordinal LIMIT ?3"
/* CROSS: from the resident versions of all vaults, which the token bounds, to their keys; not from the keys of the vault. */
#define RESIDENT "version v INDEXED BY version_resident CROSS JOIN key k ON k.id = v.key_id WHERE v.is_resident AND k.vault_id = ?1"
/* Versions that hold a blob, by their root: what was erased is not met. A root is one vault's, see SQ_VERSION_ADD. */
#define WRAPPED "version v INDEXED BY version_wrapped WHERE NOT v.is_resident AND v.material IS NOT NULL AND v.root_id "
#define ROOTS_OF_VAULT                                                                                                     \
	"IN (SELECT root_id FROM vault WHERE id = ?1 UNION ALL SELECT next_root_id FROM vault WHERE id = ?1 "              \
	"UNION ALL SELECT obj FROM former_root WHERE vault_id = ?1)"
/* A column of all versions of a vault that are not erased. */
#define UNERASED(column) "SELECT v." column " FROM " WRAPPED ROOTS_OF_VAULT " UNION ALL SELECT v." column " FROM " RESIDENT
#define IS_ROOT_OF(key, root)                                                                                              \
	"EXISTS (SELECT 1 FROM key k CROSS JOIN vault w ON w.id = k.vault_id WHERE k.id = " key " AND " root " IN (w.root_id, w.next_root_id))"
/* A version that died of a destruction; that, as another object: dead, and alive. */
#define DEAD_BY "t.vault_id = ?1 AND t.intent = ?2 AND t.kind = ?3 "
#define DEAD "tombstone t INDEXED BY tombstone_intent WHERE " DEAD_BY
#define DEAD_AGAIN "tombstone o INDEXED BY tombstone_version WHERE o.version_id = t.version_id AND o.kind = 1 AND o.obj <> t.obj "
#define ALIVE_AGAIN \
	"version v CROSS JOIN key k ON k.id = v.key_id CROSS JOIN vault w ON w.id = k.vault_id WHERE v.id = t.version_id AND v.obj <> t.obj AND w.state <> ?4"
#define TOMBSTONE_SELECT                                                                                                   \
	"SELECT obj, kind, is_resident, vault_id, key_name, version_id, kty, crv, bits, spki_sha256, revoked, created_seq, intent, seq, mac FROM tombstone "
#define CERTIFICATE_SELECT                                                                                                 \
	"SELECT id, vault_id, key_name, scope, state, basis, method, origin, intent, outcome, intent_leaf, outcome_leaf, size, root, wrapped, "      \
	"approved_us, destroyed_us, verified_us, created_s, issued_s, until_s, checks, copies, residual, hsm, signatures FROM certificate "
#define EPOCH_SELECT "SELECT number, obj, created_s, closed_s, ended_s FROM epoch "
#define BACKUP_COLUMNS "SELECT b.id, b.kind, b.epoch, b.vault_id, b.key_name, b.place, b.size, b.bytes, b.made_s, "
#define BACKUP_SELECT BACKUP_COLUMNS "(SELECT ended_s FROM epoch e WHERE e.number = b.epoch) FROM backup b "
#define DUE_COLUMNS                                                                                                        \
	"SELECT d.key_id, d.vault_id, d.at_s, k.epoch, d.near_version, d.near_exp_s, d.expired_version, d.expired_exp_s, d.base_version, d.base_s, d.attempts "
#define DUE_NOW(key)                                                                                                       \
	"INSERT INTO due (key_id, vault_id, at_s) SELECT id, vault_id, 0 FROM key WHERE id = " key " AND deleted_s IS NULL " \
	"ON CONFLICT (key_id) DO UPDATE SET at_s = 0 WHERE at_s <> 0"
#define WEBHOOK_SELECT                                                                                                     \
	"SELECT id, vault_id, name, url, shape, events, state, generation, attempts, next_s, created_s, from_seq, failure FROM webhook "
#define PERSON_SELECT "SELECT p.ref, p.vault_id, p.pid, p.created_s, (SELECT wrapped FROM material WHERE id = p.material) FROM person p "
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
	                "AND (SELECT state FROM vault WHERE vault.id = key.vault_id AND NOT is_locked) = 1 "
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
	                    "OR EXISTS (SELECT 1 FROM vault WHERE next_root_id = ?1 AND state <> ?2) "
	                    "OR EXISTS (SELECT 1 FROM former_root f CROSS JOIN vault v ON v.id = f.vault_id WHERE f.obj = ?1 AND v.state <> ?2 "
	                    "AND NOT EXISTS (SELECT 1 FROM tombstone WHERE obj = ?1)) "
	                    "OR EXISTS (SELECT 1 FROM epoch WHERE obj = ?1 AND ended_s IS NULL) "
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
	[SQ_VERSION_OF_OBJECT] = VERSION_COLUMNS ", t.tags" VERSION_FROM VERSION_TAGS "WHERE v.obj = ?1",
	[SQ_WRAPPED_UNDER] = "SELECT v.obj FROM " WRAPPED "= (SELECT ?4 FROM vault WHERE id = ?1 AND ?4 IN (root_id, next_root_id)) "
	                     "AND v.obj > ?2 ORDER BY v.obj LIMIT ?3",
	/* Two searches, merged in their common order. */
	[SQ_WRAPPED] = "SELECT v.obj AS obj FROM " WRAPPED "= (SELECT root_id FROM vault WHERE id = ?1) AND v.obj > ?2 UNION ALL "
	               "SELECT v.obj FROM " WRAPPED "= (SELECT next_root_id FROM vault WHERE id = ?1) AND v.obj > ?2 ORDER BY obj LIMIT ?3",
	[SQ_TOMBSTONE] = TOMBSTONE_SELECT "WHERE obj = ?1",
	[SQ_TOMBSTONES] = TOMBSTONE_SELECT "INDEXED BY tombstone_intent WHERE vault_id = ?1 AND intent = ?2 AND obj > ?3 ORDER BY obj LIMIT ?4",
	/* A restore keeps a version's id, and draws its object anew. The present log comes after those that were closed, whose seqs are the larger
	 * ones. What died later may be in a backup until its certificate is complete; where it has none, until each epoch has ended that began before
	 * that. */
	[SQ_REVIVAL] = "SELECT EXISTS (SELECT 1 FROM " DEAD "AND (EXISTS (SELECT 1 FROM version v WHERE v.id = t.version_id AND v.obj <> t.obj) "
	               "OR EXISTS (SELECT 1 FROM " DEAD_AGAIN "))), "
	               "EXISTS (SELECT 1 FROM " DEAD "AND EXISTS (SELECT 1 FROM " ALIVE_AGAIN ")), "
	               "EXISTS (SELECT 1 FROM " DEAD "AND EXISTS (SELECT 1 FROM " DEAD_AGAIN
	               "AND (o.intent <= ?5, o.intent) > (t.intent <= ?5, t.intent) AND coalesce("
	               "(SELECT c.state <> ?6 FROM certificate c INDEXED BY certificate_intent WHERE c.vault_id = o.vault_id AND c.intent = o.intent), "
	               "EXISTS (SELECT 1 FROM epoch e WHERE e.ended_s IS NULL AND e.created_s <= "
	               "coalesce((SELECT ts_us / 1000000 FROM event WHERE seq = o.seq), (SELECT max(closed_s) FROM closed_log), 9223372036854775807))))), "
	               "(SELECT max(v.created_seq) FROM tombstone t INDEXED BY tombstone_intent CROSS JOIN " ALIVE_AGAIN " AND " DEAD_BY ")",
	[SQ_CERTIFICATE] = CERTIFICATE_SELECT "WHERE id = ?1",
	[SQ_CERTIFICATE_OF_INTENT] = CERTIFICATE_SELECT "INDEXED BY certificate_intent WHERE vault_id = ?1 AND intent = ?2",
	[SQ_CERTIFICATES] = CERTIFICATE_SELECT "WHERE id > ?1 ORDER BY id LIMIT ?2",
	[SQ_CERTIFICATES_OPEN] = CERTIFICATE_SELECT "INDEXED BY certificate_open WHERE state IN (2, 3) AND id > ?1 ORDER BY id LIMIT ?2",
	[SQ_CERTIFICATES_OF] = CERTIFICATE_SELECT "INDEXED BY certificate_vault WHERE id > ?1 AND vault_id = ?3 ORDER BY id LIMIT ?2",
	[SQ_CERTIFICATES_OF_OPEN] = CERTIFICATE_SELECT "INDEXED BY certificate_vault_open WHERE state IN (2, 3) AND id > ?1 AND vault_id = ?3 "
	                            "ORDER BY id LIMIT ?2",
	[SQ_EPOCHS] = EPOCH_SELECT "WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
	[SQ_EPOCH_OF_OBJECT] = EPOCH_SELECT "WHERE obj = ?1",
	[SQ_BACKUPS] = BACKUP_SELECT "INDEXED BY backup_kind WHERE b.kind = ?1 AND b.id > ?2 ORDER BY b.id LIMIT ?3",
	[SQ_BACKUPS_OF] = BACKUP_SELECT "INDEXED BY backup_vault WHERE b.kind = ?1 AND b.id > ?2 AND b.vault_id = ?4 ORDER BY b.id LIMIT ?3",
	/* CROSS: from the backups of the key, not from all epochs. */
	[SQ_BACKUPS_OF_KEY] = BACKUP_COLUMNS "e.ended_s FROM backup b INDEXED BY backup_key CROSS JOIN epoch e ON e.number = b.epoch "
	                      "WHERE b.kind = 1 AND b.vault_id = ?1 AND b.key_name = ?2 AND e.ended_s IS NULL ORDER BY b.epoch DESC LIMIT ?3",

	/* CROSS: in the order of their time, from the index. */
	[SQ_DUE] = DUE_COLUMNS "FROM vault v CROSS JOIN due d ON d.key_id IN (SELECT x.key_id FROM due x INDEXED BY due_vault "
	           "WHERE x.vault_id = v.id AND x.at_s <= ?1 ORDER BY x.at_s LIMIT ?5) CROSS JOIN key k ON k.id = d.key_id "
	           "WHERE v.id > ?3 AND v.id <= ?4 AND v.state = 1 AND NOT v.is_locked ORDER BY v.id LIMIT ?2",
	[SQ_DUE_OF] = DUE_COLUMNS "FROM due d CROSS JOIN key k ON k.id = d.key_id WHERE d.key_id = ?1",
	[SQ_KEY_BY_ID] = KEY_SELECT "WHERE id = ?1 AND deleted_s IS NULL",
	[SQ_CURSOR] = "SELECT seq FROM cursor WHERE name = ?1",
	[SQ_WEBHOOKS] = WEBHOOK_SELECT "WHERE id > ?1 ORDER BY id LIMIT ?2",
	[SQ_WEBHOOKS_OF] = WEBHOOK_SELECT "INDEXED BY webhook_vault WHERE id > ?1 AND vault_id = ?3 ORDER BY id LIMIT ?2",
	[SQ_WEBHOOK] = WEBHOOK_SELECT "WHERE id = ?1",
	[SQ_DELIVERIES] = "SELECT webhook_id, seq, event, state, version_id, key_name, event_us, event_id, attempts, next_s, created_s, http, failure "
	                  "FROM delivery INDEXED BY delivery_state WHERE webhook_id = ?1 AND state = ?2 AND seq > ?3 ORDER BY seq, event LIMIT ?4",
	[SQ_DELIVERY_COUNT] = "SELECT count(*) FROM delivery INDEXED BY delivery_state WHERE webhook_id = ?1 AND state = ?2",
	[SQ_PERSON] = PERSON_SELECT "WHERE p.ref = ?1",
	[SQ_PERSONS] = PERSON_SELECT "INDEXED BY person_vault WHERE p.material IS NOT NULL AND p.vault_id = ?1 AND p.ref > ?2 AND p.created_s < ?3 "
	               "ORDER BY p.ref LIMIT ?4",
	[SQ_PERSONS_OF] = PERSON_SELECT "INDEXED BY person_pid WHERE p.material IS NOT NULL AND p.vault_id = ?1 AND p.ref > ?2 AND p.created_s < ?3 AND p.pid = ?5 "
	                  "ORDER BY p.ref LIMIT ?4",

	[SQ_BEGIN] = "BEGIN IMMEDIATE",
	[SQ_COMMIT] = "COMMIT",
	[SQ_SAVEPOINT] = "SAVEPOINT unit",
	[SQ_RELEASE] = "RELEASE unit",
	[SQ_UNDO] = "ROLLBACK TO unit",
	[SQ_FENCE] = "SELECT " UNCHANGED("vault", "?1", "?2") " AND " UNCHANGED("principal", "?3", "?4") " AND "
	             UNCHANGED("key", "?5", "?6") " AND " UNCHANGED("version", "?7", "?8"),
	[SQ_MATERIAL_ADD] = "INSERT INTO material (n, wrapped) VALUES (?1, ?2)",
	[SQ_VAULT_ADD] = "INSERT INTO vault (id, name, directory, state, root_id, pseudonym_id, retention_days, has_purge_protection, "
	                 "allows_rsa1_5, canary, canary_hash, quorum, purge_approvals, is_founded, counts_installation, issuer, created_s, "
	                 "created_seq, person_days, person_basis, epoch) "
	                 "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, 1)",
	[SQ_VAULT_SET_STATE] = "UPDATE vault SET state = ?2, epoch = epoch + 1 WHERE id = ?1",
	[SQ_VAULT_SET] = "UPDATE vault SET retention_days = ?2, has_purge_protection = ?3, allows_rsa1_5 = ?4, quorum = ?5, "
	                 "purge_approvals = ?6, counts_installation = CASE WHEN is_founded THEN counts_installation ELSE ?7 AND ?9 END, "
	                 "is_founded = max(is_founded, ?7), issuer = ?8, person_days = ?10, person_basis = ?11, epoch = epoch + 1 WHERE id = ?1",
	[SQ_VAULT_TOUCH] = "UPDATE vault SET epoch = epoch + 1 WHERE id = ?1",
	[SQ_NETWORKS_SET] = "INSERT INTO network (vault_id, ranges) VALUES (?1, ?2) ON CONFLICT (vault_id) DO UPDATE SET ranges = excluded.ranges",
	[SQ_NETWORKS_DROP] = "DELETE FROM network WHERE vault_id = ?1",
	[SQ_VAULT_ERASE_MATERIAL] = ZEROED "(" UNERASED("material") ")",
	[SQ_VAULT_ERASE_TAGS] = "DELETE FROM version_tags WHERE version_id IN (" UNERASED("id") ")",
	[SQ_VAULT_ERASE_VERSIONS] = "UPDATE version SET material = NULL, e = x'' WHERE id IN (" UNERASED("id") ")",
	[SQ_VAULT_ERASE_POLICIES] = "DELETE FROM policy WHERE key_id IN (SELECT id FROM key WHERE vault_id = ?1)",
	[SQ_VAULT_ERASE_DUE] = "DELETE FROM due WHERE vault_id = ?1",
	[SQ_VAULT_ERASE_DELIVERIES] = "DELETE FROM delivery WHERE webhook_id IN (SELECT id FROM webhook WHERE vault_id = ?1)",
	[SQ_VAULT_ERASE_WEBHOOKS] = "DELETE FROM webhook WHERE vault_id = ?1",
	[SQ_VAULT_ERASE_PERSON_MATERIAL] = ZEROED "(SELECT material FROM person INDEXED BY person_vault WHERE vault_id = ?1 AND material IS NOT NULL)",
	[SQ_VAULT_ERASE_PERSONS] = "UPDATE person INDEXED BY person_vault SET material = NULL WHERE vault_id = ?1 AND material IS NOT NULL",
	[SQ_CANARY_ERASE] = ZEROED "(SELECT canary FROM vault WHERE id = ?1)",
	[SQ_VAULT_ERASE_CANARY] = "UPDATE vault SET canary = NULL, canary_hash = zeroblob(32) WHERE id = ?1",
	[SQ_VAULT_LOCK] = "UPDATE vault SET is_locked = ?2, epoch = epoch + 1 WHERE id = ?1 AND is_locked <> ?2",
	[SQ_VAULT_NEXT_ROOT] = "UPDATE vault SET next_root_id = ?2, epoch = epoch + 1 WHERE id = ?1 AND next_root_id IS NULL AND root_id <> ?2",
	[SQ_FORMER_ROOT_ADD] = "INSERT INTO former_root (vault_id, obj) SELECT id, root_id FROM vault WHERE id = ?1 AND next_root_id = ?2 "
	                       "AND NOT EXISTS (SELECT 1 FROM " WRAPPED "= vault.root_id)",
	[SQ_VAULT_SET_ROOT] = "UPDATE vault SET root_id = ?2, next_root_id = NULL, canary = ?3, canary_hash = ?4, epoch = epoch + 1 WHERE id = ?1 "
	                      "AND next_root_id = ?2",
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
	/* What is wrapped under a root that its vault does not have (any more) could never be used, and would be missed when the vault dies. */
	[SQ_VERSION_ADD] = "INSERT INTO version (id, key_id, obj, ordinal, kty, crv, bits, ops, is_enabled, revoked, nbf_s, exp_s, "
	                   "created_s, updated_s, epoch, encryptions, e, is_resident, material, root_id, created_seq) SELECT ?1, ?2, ?3, "
	                   "(SELECT coalesce(max(ordinal), 0) + 1 FROM version WHERE key_id = ?2), "
	                   "?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1, ?14, ?15, ?16, ?17, ?18, ?19 WHERE ?16 OR " IS_ROOT_OF("?2", "?18"),
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
	[SQ_VERSION_REWRAP] = "UPDATE version SET root_id = ?2 WHERE id = ?1 AND NOT is_resident AND material IS NOT NULL AND "
	                      IS_ROOT_OF("version.key_id", "?2"),
	/* In place: a row of another length would be moved, and leave a copy behind. */
	[SQ_BLOB_REPLACE] = "UPDATE material SET wrapped = ?2 WHERE id = (SELECT material FROM version WHERE id = ?1) AND length(wrapped) = length(?2)",
	/* VALUES: for what INSERT takes from a SELECT, SQLite searches all rows that could refer to it. */
	[SQ_BLOB_APPEND] = "INSERT INTO material (n, wrapped) VALUES ((SELECT n FROM material WHERE id = (SELECT material FROM version WHERE id = ?1)), ?2)",
	[SQ_VERSION_ERASE_MATERIAL] = ZEROED "(SELECT material FROM version WHERE id = ?1)",
	[SQ_VERSION_MATERIAL] = "UPDATE version SET material = ?2 WHERE id = ?1",
	[SQ_VERSION_ERASE_TAGS] = "DELETE FROM version_tags WHERE version_id = ?1",
	[SQ_VERSION_ERASE] = "UPDATE version SET material = NULL, e = x'' WHERE id = ?1",
	[SQ_TOMBSTONE_ADD] = "INSERT INTO tombstone (obj, kind, is_resident, vault_id, key_name, version_id, kty, crv, bits, spki_sha256, revoked, "
	                     "created_seq, intent, seq, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
	[SQ_CERTIFICATE_ADD] = "INSERT INTO certificate (id, vault_id, key_name, scope, state, basis, method, origin, intent, size, wrapped, approved_us, "
	                       "destroyed_us, verified_us, created_s, checks, copies, residual, hsm, signatures) "
	                       "SELECT ?1, ?2, ?3, ?4, 1, ?5, ?6, CAST(value AS TEXT), ?7, 0, ?8, ?9, 0, 0, ?10, '', '', '', '', '' "
	                       "FROM meta WHERE name = 'log_origin'",
	[SQ_CERTIFICATE_FILL] = "UPDATE certificate SET state = 2, method = ?2, wrapped = ?3, approved_us = ?4, destroyed_us = ?5, verified_us = ?6, "
	                        "checks = ?7, outcome = ?8 WHERE id = ?1 AND state = 1",
	[SQ_CERTIFICATE_SET] = "UPDATE certificate SET state = ?2, size = ?3, root = ?4, intent_leaf = ?5, outcome_leaf = ?6, until_s = ?7, copies = ?8, "
	                       "residual = ?9, hsm = ?10, issued_s = ?11, signatures = ?12 WHERE id = ?1 AND state IN (2, 3)",
	/* Whoever adds a line has seen all others: of two at once, the second is told. */
	[SQ_CERTIFICATE_SIGN] = "UPDATE certificate SET signatures = ?3 WHERE id = ?1 AND issued_s = ?2 "
	                        "AND substr(?3, 1, length(signatures)) = signatures",
	[SQ_EPOCH_CLOSE] = "UPDATE epoch SET closed_s = ?1 WHERE number = (SELECT max(number) FROM epoch)",
	[SQ_EPOCH_ADD] = "INSERT INTO epoch (number, obj, created_s) VALUES ((SELECT coalesce(max(number), 0) + 1 FROM epoch), ?1, ?2)",
	[SQ_EPOCH_END] = "UPDATE epoch SET ended_s = ?2 WHERE number = ?1 AND ended_s IS NULL AND closed_s IS NOT NULL",
	[SQ_BACKUP_ADD] = "INSERT INTO backup (id, kind, epoch, vault_id, key_name, place, size, bytes, made_s) "
	                  "SELECT ?1, ?2, number, ?4, ?5, ?6, ?7, ?8, ?9 FROM epoch WHERE number = ?3 AND ended_s IS NULL "
	                  "ON CONFLICT (vault_id, key_name, epoch) WHERE kind = 1 DO UPDATE SET "
	                  "id = excluded.id, size = excluded.size, bytes = excluded.bytes, made_s = excluded.made_s",
	[SQ_BACKUP_DROP] = "UPDATE backup SET place = '' WHERE id = ?1 AND kind = 2 AND place <> ''",
	/* Only of keys that live; what else the row holds stays. */
	[SQ_DUE_NOW] = DUE_NOW("?1"),
	[SQ_DUE_NOW_OF_VERSION] = DUE_NOW("(SELECT key_id FROM version WHERE id = ?1)"),
	[SQ_DUE_SET] = "UPDATE due SET at_s = ?3, near_version = ?4, near_exp_s = ?5, expired_version = ?6, expired_exp_s = ?7, base_version = ?8, "
	               "base_s = ?9, attempts = ?10 WHERE key_id = ?1 AND (SELECT epoch FROM key WHERE id = ?1) = ?2",
	[SQ_DUE_DROP] = "DELETE FROM due WHERE key_id = ?1",
	[SQ_CURSOR_SET] = "INSERT INTO cursor (name, seq) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq",
	[SQ_EVENT_PRUNE] = "UPDATE event SET leaf = x'' WHERE seq = ?1 AND length(leaf) > 0",
	[SQ_WEBHOOK_ADD] = "INSERT INTO webhook (id, vault_id, name, url, shape, events, state, generation, attempts, next_s, created_s, from_seq, failure) "
	                   "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13 "
	                   "WHERE (SELECT count(*) FROM webhook INDEXED BY webhook_vault WHERE vault_id = ?2) < ?14",
	[SQ_WEBHOOK_SET] = "UPDATE webhook SET state = ?2, generation = max(generation, ?3), attempts = ?4, next_s = ?5, failure = ?6 WHERE id = ?1",
	[SQ_WEBHOOK_EMPTY] = "DELETE FROM delivery WHERE webhook_id = (SELECT id FROM webhook WHERE id = ?1 AND vault_id = ?2)",
	[SQ_WEBHOOK_REMOVE] = "DELETE FROM webhook WHERE id = ?1 AND vault_id = ?2",
	[SQ_DELIVERY_ADD] = "INSERT INTO delivery (webhook_id, seq, event, state, version_id, key_name, event_us, event_id, attempts, next_s, created_s, "
	                    "http, failure) SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13 FROM webhook WHERE id = ?1 "
	                    "ON CONFLICT (webhook_id, seq, event) DO NOTHING",
	[SQ_DELIVERY_SET] = "UPDATE delivery SET state = ?4, attempts = ?5, next_s = ?6, http = ?7, failure = ?8 "
	                    "WHERE webhook_id = ?1 AND seq = ?2 AND event = ?3",
	[SQ_DELIVERY_REMOVE] = "DELETE FROM delivery WHERE webhook_id = ?1 AND seq = ?2 AND event = ?3",
	[SQ_PERSON_ADD] = "INSERT INTO person (ref, vault_id, pid, created_s, material) VALUES (?1, ?2, ?3, ?4, ?5)",
	[SQ_PERSON_ERASE_MATERIAL] = ZEROED "(SELECT material FROM person WHERE ref = ?1 AND vault_id = ?2)",
	[SQ_PERSON_ERASE] = "UPDATE person SET material = NULL WHERE ref = ?1 AND vault_id = ?2",
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
	/* Whole tables: a log is closed once in years. A tombstone's created_seq stays, since it is one of the log that its certificate names. */
	[SQ_TOMBSTONES_KEEP] = "UPDATE tombstone SET seq = NULL, intent = CASE WHEN intent <= ?2 THEN intent + ?1 ELSE intent END "
	                       "WHERE seq IS NOT NULL OR intent <= ?2",
	[SQ_CERTIFICATES_DROP] = "DELETE FROM certificate WHERE state IN (1, 2)",
	[SQ_CERTIFICATES_KEEP] = "UPDATE certificate SET intent = intent + ?1 WHERE intent <= ?2",
	[SQ_DELIVERIES_KEEP] = "UPDATE delivery SET seq = seq + ?1 WHERE seq <= ?2",
	[SQ_WEBHOOKS_UNDATE] = "UPDATE webhook SET from_seq = 0",
	[SQ_CURSORS_RESET] = "UPDATE cursor SET seq = 0",
	[SQ_VAULTS_UNDATE] = "UPDATE vault SET created_seq = NULL WHERE created_seq IS NOT NULL",
	[SQ_VERSIONS_UNDATE] = "UPDATE version SET created_seq = NULL WHERE created_seq IS NOT NULL",
};
