-- Credentials of several kinds, groups, custom roles, roles for one key and for a time, address ranges, and approvals by several people.

ALTER TABLE vault ADD COLUMN quorum INTEGER NOT NULL DEFAULT 1 CHECK (quorum BETWEEN 1 AND 16);
ALTER TABLE vault ADD COLUMN purge_approvals INTEGER NOT NULL DEFAULT 0 CHECK (purge_approvals BETWEEN 0 AND 16);
ALTER TABLE vault ADD COLUMN is_founded INTEGER NOT NULL DEFAULT 0 CHECK (is_founded IN (0, 1));
ALTER TABLE vault ADD COLUMN counts_installation INTEGER NOT NULL DEFAULT 0 CHECK (counts_installation IN (0, 1));
ALTER TABLE vault ADD COLUMN issuer TEXT NOT NULL DEFAULT '' CHECK (length(issuer) <= 32);

-- With rowid: the text is a thousand times longer than its key.
CREATE TABLE network (
	id INTEGER PRIMARY KEY,
	vault_id BLOB NOT NULL UNIQUE REFERENCES vault (id),
	ranges TEXT NOT NULL CHECK (length(ranges) BETWEEN 1 AND 4096)
) STRICT;

-- With rowid: a certificate is a thousand times longer than its key.
CREATE TABLE credential (
	rowid INTEGER PRIMARY KEY,
	id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
	principal_id BLOB NOT NULL REFERENCES principal (id),
	kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
	hash BLOB NOT NULL CHECK (length(hash) = 32),
	label TEXT NOT NULL CHECK (length(label) <= 128),
	created_s INTEGER NOT NULL,
	expires_s INTEGER,
	data BLOB CHECK (length(data) BETWEEN 1 AND 8192)
) STRICT;
-- A certificate proves nothing by itself, and may be the same service's in several vaults; all else leads to one principal.
CREATE UNIQUE INDEX credential_hash ON credential (kind, hash, CASE WHEN kind = 3 THEN principal_id ELSE x'' END);
CREATE INDEX credential_principal ON credential (principal_id);
INSERT INTO credential (id, principal_id, kind, hash, label, created_s, expires_s)
	SELECT randomblob(16), id, 1, secret_hash, '', created_s, secret_expires_s FROM principal WHERE id NOT IN (SELECT id FROM pool) ORDER BY id;
ALTER TABLE principal DROP COLUMN secret_hash;
ALTER TABLE principal DROP COLUMN secret_expires_s;
ALTER TABLE principal ADD COLUMN kind INTEGER NOT NULL DEFAULT 1 CHECK (kind IN (1, 2));
ALTER TABLE principal ADD COLUMN tokens_from_s INTEGER NOT NULL DEFAULT 0;

ALTER TABLE pool ADD COLUMN is_service INTEGER NOT NULL DEFAULT 0 CHECK (is_service IN (0, 1));

CREATE TABLE assignment_of_key (
	principal_id BLOB NOT NULL REFERENCES principal (id),
	vault_id BLOB NOT NULL CHECK (length(vault_id) = 16),
	key_name TEXT NOT NULL COLLATE NOCASE CHECK (length(key_name) <= 127), -- empty = the whole vault
	role INTEGER NOT NULL CHECK (role BETWEEN 0 AND 4294967295),
	created_s INTEGER NOT NULL,
	expires_s INTEGER,
	PRIMARY KEY (principal_id, vault_id, role, key_name)
) STRICT, WITHOUT ROWID;
INSERT INTO assignment_of_key (principal_id, vault_id, key_name, role, created_s) SELECT principal_id, vault_id, '', role, created_s FROM assignment;
DROP TABLE assignment;
ALTER TABLE assignment_of_key RENAME TO assignment;
CREATE INDEX assignment_custom ON assignment (role) WHERE role >= 1000;

-- Numbers are never used again (AUTOINCREMENT), and begin at 1000.
CREATE TABLE custom_role (
	number INTEGER PRIMARY KEY AUTOINCREMENT CHECK (number >= 1000),
	id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
	vault_id BLOB NOT NULL REFERENCES vault (id),
	name TEXT NOT NULL COLLATE NOCASE CHECK (length(name) BETWEEN 1 AND 64),
	actions TEXT NOT NULL CHECK (length(actions) BETWEEN 1 AND 4096),
	created_s INTEGER NOT NULL,
	UNIQUE (vault_id, name)
) STRICT;
CREATE INDEX custom_role_vault ON custom_role (vault_id, number);
INSERT INTO sqlite_sequence (name, seq) VALUES ('custom_role', 999);

CREATE TABLE member (
	group_id BLOB NOT NULL REFERENCES principal (id),
	member_id BLOB NOT NULL REFERENCES principal (id),
	PRIMARY KEY (member_id, group_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_group ON member (group_id, member_id);

CREATE TABLE approval (
	rowid INTEGER PRIMARY KEY,
	id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
	vault_id BLOB NOT NULL CHECK (length(vault_id) = 16),
	requester BLOB NOT NULL CHECK (length(requester) = 16),
	act TEXT NOT NULL CHECK (length(act) BETWEEN 1 AND 32),
	digest BLOB NOT NULL CHECK (length(digest) = 32),
	request TEXT NOT NULL CHECK (length(request) BETWEEN 2 AND 2048),
	reason TEXT NOT NULL CHECK (length(reason) <= 128),
	quorum INTEGER NOT NULL CHECK (quorum BETWEEN 1 AND 16),
	state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
	created_s INTEGER NOT NULL,
	expires_s INTEGER NOT NULL,
	settled_s INTEGER
) STRICT;
CREATE UNIQUE INDEX approval_open ON approval (vault_id, requester, digest) WHERE state = 1;
CREATE INDEX approval_vault ON approval (vault_id, id);
-- A vault may hold a few open approvals among many settled ones.
CREATE INDEX approval_pending ON approval (vault_id, id) WHERE state = 1;

CREATE TABLE vote (
	approval_id BLOB NOT NULL REFERENCES approval (id),
	approver_id BLOB NOT NULL REFERENCES principal (id),
	approves INTEGER NOT NULL CHECK (approves IN (0, 1)),
	reason TEXT NOT NULL CHECK (length(reason) <= 128),
	created_s INTEGER NOT NULL,
	certificate BLOB CHECK (length(certificate) = 32),
	signature BLOB CHECK (length(signature) BETWEEN 1 AND 512),
	PRIMARY KEY (approval_id, approver_id)
) STRICT, WITHOUT ROWID;
