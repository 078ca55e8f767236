-- Managed HSM pools, known by their client certificates, and the external key ids that were published to them.

CREATE TABLE pool (
	id BLOB NOT NULL PRIMARY KEY REFERENCES principal (id),
	prefix TEXT NOT NULL CHECK (length(prefix) <= 64),
	created_s INTEGER NOT NULL,
	updated_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A certificate's common name leads to one pool of one vault, or to none.
CREATE TABLE pool_subject (
	name TEXT NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64 AND name = lower(name)),
	pool_id BLOB NOT NULL REFERENCES pool (id),
	position INTEGER NOT NULL CHECK (position >= 0),
	UNIQUE (pool_id, position)
) STRICT, WITHOUT ROWID;

-- With rowid: a certificate is a thousand times longer than its key.
CREATE TABLE pool_root (
	id INTEGER PRIMARY KEY,
	pool_id BLOB NOT NULL REFERENCES pool (id),
	position INTEGER NOT NULL CHECK (position >= 0),
	der BLOB NOT NULL CHECK (length(der) BETWEEN 1 AND 8192),
	UNIQUE (pool_id, position)
) STRICT;

-- Rows are never deleted, and refer to no key or version: they outlive both, so that an id is never bound anew.
CREATE TABLE external (
	pool_id BLOB NOT NULL REFERENCES pool (id),
	id TEXT NOT NULL COLLATE BINARY CHECK (length(id) BETWEEN 1 AND 64 AND id NOT GLOB '*[^0-9A-Za-z-]*'),
	key_id BLOB NOT NULL CHECK (length(key_id) = 16),
	version_id BLOB NOT NULL CHECK (length(version_id) = 16),
	key_name TEXT NOT NULL CHECK (length(key_name) BETWEEN 1 AND 127),
	created_s INTEGER NOT NULL,
	retired_s INTEGER,
	last_used_s INTEGER,
	uses INTEGER NOT NULL CHECK (uses >= 0),
	PRIMARY KEY (pool_id, id)
) STRICT, WITHOUT ROWID;
-- Counting a use changes none of its columns, and so leaves it alone.
CREATE INDEX external_key ON external (key_id) WHERE retired_s IS NULL;
