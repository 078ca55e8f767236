-- Locked vaults, root rotation, tombstones, destruction certificates, backup epochs and what was backed up in them.

ALTER TABLE vault ADD COLUMN is_locked INTEGER NOT NULL DEFAULT 0 CHECK (is_locked IN (0, 1));
ALTER TABLE vault ADD COLUMN next_root_id BLOB CHECK (length(next_root_id) = 16);
-- Leaf of the present log, NULL = not known: a log that is closed takes the numbers of its leaves with it.
ALTER TABLE vault ADD COLUMN created_seq INTEGER CHECK (created_seq >= 0);
CREATE UNIQUE INDEX vault_next_root ON vault (next_root_id) WHERE next_root_id IS NOT NULL;

-- Roots that were replaced: ours until they have a tombstone.
CREATE TABLE former_root (
	vault_id BLOB NOT NULL REFERENCES vault (id),
	obj BLOB NOT NULL UNIQUE CHECK (length(obj) = 16),
	PRIMARY KEY (vault_id, obj)
) STRICT, WITHOUT ROWID;

ALTER TABLE version ADD COLUMN root_id BLOB CHECK (length(root_id) = 16);
ALTER TABLE version ADD COLUMN created_seq INTEGER CHECK (created_seq >= 0);
UPDATE version SET root_id = (SELECT v.root_id FROM key k JOIN vault v ON v.id = k.vault_id WHERE k.id = version.key_id) WHERE NOT is_resident;
-- A root belongs to one vault: so what is wrapped in a vault is found by its root, and by the next one during a rotation. What was erased is not in it.
CREATE INDEX version_wrapped ON version (root_id, obj) WHERE NOT is_resident AND material IS NOT NULL;

-- Rows are never deleted: what was destroyed is destroyed again if it comes back.
CREATE TABLE tombstone (
	obj BLOB NOT NULL PRIMARY KEY CHECK (length(obj) = 16),
	kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
	is_resident INTEGER NOT NULL CHECK (is_resident IN (0, 1)),
	vault_id BLOB NOT NULL CHECK (length(vault_id) = 16),
	key_name TEXT NOT NULL CHECK (length(key_name) <= 127),
	version_id BLOB NOT NULL CHECK (length(version_id) = 16),
	kty INTEGER NOT NULL CHECK (kty BETWEEN 0 AND 255),
	crv INTEGER NOT NULL CHECK (crv BETWEEN 0 AND 255),
	bits INTEGER NOT NULL CHECK (bits BETWEEN 0 AND 65535),
	spki_sha256 BLOB CHECK (length(spki_sha256) = 32),
	revoked INTEGER NOT NULL CHECK (revoked BETWEEN 0 AND 255),
	created_seq INTEGER CHECK (created_seq >= 0), -- in the log of its intent
	intent INTEGER NOT NULL CHECK (intent >= 0),  -- of a closed log: as intent.seq
	seq INTEGER CHECK (seq >= 0),                 -- NULL: in a closed log
	mac BLOB NOT NULL CHECK (length(mac) = 32)
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstone_intent ON tombstone (vault_id, intent, obj);
-- A restored key has the versions that it had, as other objects.
CREATE INDEX tombstone_version ON tombstone (version_id) WHERE kind = 1;

-- With rowid: the texts are thousands of times longer than the key.
CREATE TABLE certificate (
	rowid INTEGER PRIMARY KEY,
	id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
	vault_id BLOB NOT NULL CHECK (length(vault_id) = 16),
	key_name TEXT NOT NULL CHECK (length(key_name) <= 127),
	scope INTEGER NOT NULL CHECK (scope BETWEEN 1 AND 3),
	state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
	basis INTEGER NOT NULL CHECK (basis BETWEEN 0 AND 255),
	method INTEGER NOT NULL CHECK (method BETWEEN 0 AND 255),
	origin TEXT NOT NULL CHECK (length(origin) BETWEEN 1 AND 200),
	intent INTEGER NOT NULL CHECK (intent >= 0), -- of a closed log: as tombstone.intent
	outcome INTEGER CHECK (outcome >= 0),
	intent_leaf BLOB CHECK (length(intent_leaf) = 32),
	outcome_leaf BLOB CHECK (length(outcome_leaf) = 32),
	size INTEGER NOT NULL CHECK (size >= 0),
	root BLOB CHECK (length(root) = 32),
	wrapped INTEGER NOT NULL CHECK (wrapped >= 0),
	approved_us INTEGER NOT NULL,
	destroyed_us INTEGER NOT NULL,
	verified_us INTEGER NOT NULL,
	created_s INTEGER NOT NULL,
	issued_s INTEGER,
	until_s INTEGER,
	checks TEXT NOT NULL,
	copies TEXT NOT NULL,
	residual TEXT NOT NULL,
	hsm TEXT NOT NULL,
	signatures TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX certificate_intent ON certificate (vault_id, intent);
CREATE INDEX certificate_vault ON certificate (vault_id, id);
-- A few that are due or pending among many that are complete.
CREATE INDEX certificate_open ON certificate (id) WHERE state IN (2, 3);
CREATE INDEX certificate_vault_open ON certificate (vault_id, id) WHERE state IN (2, 3);

CREATE TABLE epoch (
	number INTEGER PRIMARY KEY CHECK (number BETWEEN 1 AND 4294967295),
	obj BLOB NOT NULL UNIQUE CHECK (length(obj) = 16),
	created_s INTEGER NOT NULL,
	closed_s INTEGER,
	ended_s INTEGER
) STRICT;
CREATE INDEX epoch_living ON epoch (created_s) WHERE ended_s IS NULL;
-- The backup key of older versions is that of the first epoch, which began with the installation: meta.created holds its seconds, 8 bytes, the highest first.
INSERT INTO epoch (number, obj, created_s)
	WITH RECURSIVE digit (i, n) AS (
		SELECT 0, 0 UNION ALL SELECT i + 1, n * 16 + instr('0123456789ABCDEF', substr(hex(c.value), i + 1, 1)) - 1
		FROM digit, meta c WHERE c.name = 'created' AND length(c.value) = 8 AND i < 16)
	SELECT 1, value, coalesce((SELECT n FROM digit WHERE i = 16), 0) FROM meta WHERE name = 'backup_key';
DELETE FROM meta WHERE name = 'backup_key';

CREATE TABLE backup (
	rowid INTEGER PRIMARY KEY,
	id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
	kind INTEGER NOT NULL CHECK (kind IN (1, 2)),
	epoch INTEGER NOT NULL REFERENCES epoch (number),
	vault_id BLOB NOT NULL CHECK (length(vault_id) = 16),
	key_name TEXT NOT NULL COLLATE NOCASE CHECK (length(key_name) <= 127),
	place TEXT NOT NULL CHECK (length(place) <= 255),
	size INTEGER NOT NULL CHECK (size >= 0),
	bytes INTEGER NOT NULL CHECK (bytes >= 0),
	made_s INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX backup_key ON backup (vault_id, key_name, epoch) WHERE kind = 1;
CREATE UNIQUE INDEX backup_place ON backup (place) WHERE kind = 2 AND place <> '';
CREATE INDEX backup_kind ON backup (kind, id);
CREATE INDEX backup_vault ON backup (kind, vault_id, id);
