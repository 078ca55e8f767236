-- Vaults, principals, roles, keys, versions, open intents, and the event log with its tree.
-- Ids are 16 bytes, hashes 32; an installation-wide row has an all-zero vault_id. Times are seconds, NULL = not set.

PRAGMA application_id = 0x486F6C64; -- "Hold"

CREATE TABLE meta (
	name TEXT NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 32),
	value BLOB NOT NULL CHECK (length(value) <= 256)
) STRICT, WITHOUT ROWID;
-- Some values are ids of HSM objects; the sweep at start looks them up.
CREATE INDEX meta_object ON meta (value) WHERE length(value) = 16;

-- What must vanish when a key or vault is destroyed: wrapped key material, public halves, canaries.
-- Rows are appended, overwritten in place with zeros of the same length, and never deleted or resized: so SQLite never moves one, and no
-- copy of it can stay behind in the slack of a page (secure_delete misses about 1 in 500 when rows of a busy table move).
CREATE TABLE material (
	id INTEGER PRIMARY KEY,
	n BLOB NOT NULL,
	wrapped BLOB NOT NULL
) STRICT;

CREATE TABLE vault (
	id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	name TEXT NOT NULL COLLATE NOCASE UNIQUE CHECK (length(name) BETWEEN 1 AND 24),
	directory BLOB NOT NULL CHECK (length(directory) = 16),
	state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3),
	root_id BLOB NOT NULL UNIQUE CHECK (length(root_id) = 16),
	pseudonym_id BLOB NOT NULL UNIQUE CHECK (length(pseudonym_id) = 16),
	retention_days INTEGER NOT NULL CHECK (retention_days BETWEEN 7 AND 90),
	has_purge_protection INTEGER NOT NULL CHECK (has_purge_protection IN (0, 1)),
	allows_rsa1_5 INTEGER NOT NULL CHECK (allows_rsa1_5 IN (0, 1)),
	canary INTEGER REFERENCES material (id),
	canary_hash BLOB NOT NULL CHECK (length(canary_hash) = 32),
	created_s INTEGER NOT NULL,
	epoch INTEGER NOT NULL CHECK (epoch > 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE principal (
	id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	vault_id BLOB NOT NULL CHECK (length(vault_id) = 16),
	name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
	pid BLOB NOT NULL CHECK (length(pid) = 16),
	secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
	secret_expires_s INTEGER,
	is_enabled INTEGER NOT NULL CHECK (is_enabled IN (0, 1)),
	created_s INTEGER NOT NULL,
	epoch INTEGER NOT NULL CHECK (epoch > 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX principal_vault ON principal (vault_id, id);

CREATE TABLE assignment (
	principal_id BLOB NOT NULL REFERENCES principal (id),
	vault_id BLOB NOT NULL CHECK (length(vault_id) = 16),
	role INTEGER NOT NULL CHECK (role BETWEEN 0 AND 4294967295),
	created_s INTEGER NOT NULL,
	PRIMARY KEY (principal_id, vault_id, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE key (
	id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	vault_id BLOB NOT NULL REFERENCES vault (id),
	name TEXT NOT NULL COLLATE NOCASE CHECK (length(name) BETWEEN 1 AND 127),
	created_s INTEGER NOT NULL,
	deleted_s INTEGER,
	purge_s INTEGER,
	is_purging INTEGER NOT NULL CHECK (is_purging IN (0, 1)),
	epoch INTEGER NOT NULL CHECK (epoch > 0),
	UNIQUE (vault_id, name) -- a deleted key keeps its name until it is purged
) STRICT, WITHOUT ROWID;
CREATE INDEX key_deleted ON key (vault_id, name) WHERE deleted_s IS NOT NULL;
CREATE INDEX key_purge ON key (purge_s) WHERE purge_s IS NOT NULL;

CREATE TABLE version (
	id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	key_id BLOB NOT NULL REFERENCES key (id),
	obj BLOB NOT NULL UNIQUE CHECK (length(obj) = 16),
	ordinal INTEGER NOT NULL CHECK (ordinal > 0),
	kty INTEGER NOT NULL CHECK (kty BETWEEN 0 AND 255),
	bits INTEGER NOT NULL CHECK (bits BETWEEN 0 AND 65535),
	ops INTEGER NOT NULL CHECK (ops BETWEEN 0 AND 4294967295),
	is_enabled INTEGER NOT NULL CHECK (is_enabled IN (0, 1)),
	revoked INTEGER NOT NULL CHECK (revoked BETWEEN 0 AND 255),
	nbf_s INTEGER,
	exp_s INTEGER,
	created_s INTEGER NOT NULL,
	updated_s INTEGER NOT NULL,
	epoch INTEGER NOT NULL CHECK (epoch > 0),
	e BLOB NOT NULL CHECK (length(e) <= 8),
	is_resident INTEGER NOT NULL CHECK (is_resident IN (0, 1)), -- outlives the erasure of a wrapped version's material
	material INTEGER REFERENCES material (id),
	tags TEXT,
	UNIQUE (key_id, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE intent (
	seq INTEGER PRIMARY KEY CHECK (seq >= 0),
	type INTEGER NOT NULL CHECK (type BETWEEN 0 AND 4294967295),
	vault_id BLOB NOT NULL CHECK (length(vault_id) = 16),
	key_id BLOB NOT NULL CHECK (length(key_id) = 16),
	obj BLOB NOT NULL CHECK (length(obj) = 16),
	key_name TEXT NOT NULL CHECK (length(key_name) <= 127)
) STRICT;

CREATE TABLE event (
	seq INTEGER PRIMARY KEY CHECK (seq >= 0),
	id BLOB NOT NULL CHECK (length(id) = 16),
	vault_id BLOB NOT NULL CHECK (length(vault_id) = 16),
	ts_us INTEGER NOT NULL,
	hash BLOB NOT NULL CHECK (length(hash) = 32),
	leaf BLOB NOT NULL
) STRICT;

-- Hashes of complete subtrees; level 0 is event.hash.
CREATE TABLE node (
	level INTEGER NOT NULL CHECK (level BETWEEN 1 AND 63),
	position INTEGER NOT NULL CHECK (position >= 0),
	hash BLOB NOT NULL CHECK (length(hash) = 32),
	PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;
