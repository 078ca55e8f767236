-- Signed checkpoints, the generations of the log key, and logs that were closed.

-- When a log is closed, event, node and checkpoint are renamed (event_closed_1) and made anew from their own text; so they must have no index
-- besides their keys. An intent that was open then is kept, with the log's number in the bits of its seq from 48 up.

-- With rowid: a note is a thousand times longer than its key. One row a second: no index.
CREATE TABLE checkpoint (
	size INTEGER PRIMARY KEY CHECK (size >= 0),
	root BLOB NOT NULL CHECK (length(root) = 32),
	signed_us INTEGER NOT NULL,
	note TEXT NOT NULL CHECK (length(note) BETWEEN 1 AND 16384)
) STRICT;

-- Rows are never deleted: who has an old checkpoint needs the public half.
CREATE TABLE log_key (
	generation INTEGER PRIMARY KEY CHECK (generation > 0),
	obj BLOB NOT NULL CHECK (length(obj) = 16),
	vkey TEXT NOT NULL CHECK (length(vkey) BETWEEN 1 AND 512),
	from_size INTEGER NOT NULL CHECK (from_size >= 0),
	created_s INTEGER NOT NULL
) STRICT;
-- The sweep at start looks objects up. Not unique: the key of a closed log may sign the next one too, under its own name.
CREATE INDEX log_key_object ON log_key (obj);

CREATE TABLE closed_log (
	number INTEGER PRIMARY KEY CHECK (number BETWEEN 1 AND 32767),
	origin TEXT NOT NULL UNIQUE CHECK (length(origin) BETWEEN 1 AND 200),
	restored_size INTEGER NOT NULL CHECK (restored_size >= 0),
	known_size INTEGER NOT NULL CHECK (known_size >= 0),
	known_root BLOB NOT NULL CHECK (length(known_root) = 32),
	closed_s INTEGER NOT NULL
) STRICT;
