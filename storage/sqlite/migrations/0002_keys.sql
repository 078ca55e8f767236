-- Curves, the count of encryptions under one version, rotation policies; what is listed and counted is found without reading the rest.

ALTER TABLE version ADD COLUMN crv INTEGER NOT NULL DEFAULT 0 CHECK (crv BETWEEN 0 AND 255);
ALTER TABLE version ADD COLUMN encryptions INTEGER NOT NULL DEFAULT 0 CHECK (encryptions >= 0);

-- Tags can be a thousand times longer than the rest of a version. A search in a table without rowid reads the whole of each long row that it
-- meets, the fence of every other vault included; so they live in a table with rowid.
CREATE TABLE version_tags (
	id INTEGER PRIMARY KEY,
	version_id BLOB NOT NULL UNIQUE REFERENCES version (id),
	tags TEXT -- JSON object
) STRICT;
INSERT INTO version_tags (version_id, tags) SELECT id, tags FROM version WHERE tags IS NOT NULL ORDER BY id;
ALTER TABLE version DROP COLUMN tags;

-- A token holds thousands of objects where a vault may hold a hundred thousand keys.
CREATE INDEX version_resident ON version (obj, key_id) WHERE is_resident;
-- A vault may hold a few living keys among many deleted ones.
CREATE INDEX key_living ON key (vault_id, name) WHERE deleted_s IS NULL;

-- ISO 8601 durations as given; empty = none. A key without a row has the default policy.
CREATE TABLE policy (
	key_id BLOB NOT NULL PRIMARY KEY REFERENCES key (id),
	rotate_after_create TEXT NOT NULL CHECK (length(rotate_after_create) <= 31),
	rotate_before_expiry TEXT NOT NULL CHECK (length(rotate_before_expiry) <= 31),
	notify_before_expiry TEXT NOT NULL CHECK (length(notify_before_expiry) <= 31),
	expiry_time TEXT NOT NULL CHECK (length(expiry_time) <= 31),
	created_s INTEGER NOT NULL,
	updated_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
