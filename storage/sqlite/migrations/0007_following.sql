-- What happens by itself and what follows the log: when keys are due, consumers of the log, webhooks with their deliveries, and records of persons.

-- How long records of persons are kept, 0 = none are made, and why they may be.
ALTER TABLE vault ADD COLUMN person_days INTEGER NOT NULL DEFAULT 0 CHECK (person_days BETWEEN 0 AND 65535);
ALTER TABLE vault ADD COLUMN person_basis TEXT NOT NULL DEFAULT '' CHECK (length(person_basis) <= 128);

-- One row for each key that is not deleted; 0 = look now.
CREATE TABLE due (
	key_id BLOB NOT NULL PRIMARY KEY REFERENCES key (id),
	vault_id BLOB NOT NULL REFERENCES vault (id),
	at_s INTEGER NOT NULL DEFAULT 0,
	near_version BLOB CHECK (length(near_version) = 16),
	near_exp_s INTEGER NOT NULL DEFAULT 0,
	expired_version BLOB CHECK (length(expired_version) = 16),
	expired_exp_s INTEGER NOT NULL DEFAULT 0,
	base_version BLOB CHECK (length(base_version) = 16),
	base_s INTEGER NOT NULL DEFAULT 0,
	attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts BETWEEN 0 AND 4294967295)
) STRICT, WITHOUT ROWID;
-- Each vault has its turn, however many keys of another one are due; one that is locked is passed over with all its keys.
CREATE INDEX due_vault ON due (vault_id, at_s);
INSERT INTO due (key_id, vault_id) SELECT k.id, k.vault_id FROM key k JOIN vault v ON v.id = k.vault_id WHERE k.deleted_s IS NULL AND v.state <> 3;

CREATE TABLE cursor (
	name TEXT NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
	seq INTEGER NOT NULL CHECK (seq >= 0)
) STRICT, WITHOUT ROWID;

-- With rowid: an address is much longer than the key.
CREATE TABLE webhook (
	rowid INTEGER PRIMARY KEY,
	id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
	vault_id BLOB NOT NULL REFERENCES vault (id),
	name TEXT NOT NULL COLLATE NOCASE CHECK (length(name) BETWEEN 1 AND 64),
	url TEXT NOT NULL CHECK (length(url) BETWEEN 1 AND 512),
	shape INTEGER NOT NULL CHECK (shape IN (1, 2)),
	events INTEGER NOT NULL CHECK (events BETWEEN 1 AND 4294967295),
	state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3),
	generation INTEGER NOT NULL CHECK (generation BETWEEN 1 AND 4294967295),
	attempts INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 4294967295),
	next_s INTEGER NOT NULL,
	created_s INTEGER NOT NULL,
	from_seq INTEGER NOT NULL CHECK (from_seq >= 0),
	failure TEXT NOT NULL CHECK (length(failure) <= 128),
	UNIQUE (vault_id, name)
) STRICT;
CREATE INDEX webhook_vault ON webhook (vault_id, id);

-- Of a closed log: seq as intent.seq.
CREATE TABLE delivery (
	webhook_id BLOB NOT NULL REFERENCES webhook (id),
	seq INTEGER NOT NULL CHECK (seq >= 0),
	event INTEGER NOT NULL CHECK (event BETWEEN 1 AND 4294967295),
	state INTEGER NOT NULL CHECK (state IN (1, 2)),
	version_id BLOB CHECK (length(version_id) = 16),
	key_name TEXT NOT NULL CHECK (length(key_name) <= 127),
	event_us INTEGER NOT NULL,
	event_id BLOB NOT NULL CHECK (length(event_id) = 16),
	attempts INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 4294967295),
	next_s INTEGER NOT NULL,
	created_s INTEGER NOT NULL,
	http INTEGER NOT NULL CHECK (http BETWEEN 0 AND 999),
	failure TEXT NOT NULL CHECK (length(failure) <= 128),
	PRIMARY KEY (webhook_id, seq, event)
) STRICT, WITHOUT ROWID;
-- The first that waits, among many that nobody wanted.
CREATE INDEX delivery_state ON delivery (webhook_id, state, seq, event);

-- The sealed record lies in material, and is erased there like a key. Rows are never deleted: leaves name them.
CREATE TABLE person (
	ref INTEGER PRIMARY KEY CHECK (ref BETWEEN 1 AND 9007199254740991),
	vault_id BLOB NOT NULL CHECK (length(vault_id) = 16),
	pid BLOB NOT NULL CHECK (length(pid) = 16),
	created_s INTEGER NOT NULL,
	material INTEGER REFERENCES material (id)
) STRICT;
CREATE INDEX person_vault ON person (vault_id, ref, created_s) WHERE material IS NOT NULL;
CREATE INDEX person_pid ON person (vault_id, pid, ref, created_s) WHERE material IS NOT NULL;
