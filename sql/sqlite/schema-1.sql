-- The embedded store, version 1. Amounts are bytes; days are ISO dates in the store's zone; names
-- are in their text form, compared bytewise. STRICT keeps a sum that leaves 64 bits an error
-- instead of a float.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What every site moved.
CREATE TABLE bandwidth (
    vhost    TEXT    NOT NULL,
    day      TEXT    NOT NULL,
    "in"     INTEGER NOT NULL,
    "out"    INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (vhost, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX bandwidth_day ON bandwidth (day);

-- The part of it that a user is credited with.
CREATE TABLE bandwidth_user (
    vhost    TEXT    NOT NULL,
    "user"   TEXT    NOT NULL,
    day      TEXT    NOT NULL,
    "in"     INTEGER NOT NULL,
    "out"    INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (vhost, "user", day)
) STRICT, WITHOUT ROWID;
CREATE INDEX bandwidth_user_day ON bandwidth_user (day);
CREATE INDEX bandwidth_user_user ON bandwidth_user ("user", day);

-- The part of it that went to one class of clients.
CREATE TABLE bandwidth_class (
    vhost    TEXT    NOT NULL,
    class    TEXT    NOT NULL,
    day      TEXT    NOT NULL,
    "in"     INTEGER NOT NULL,
    "out"    INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (vhost, class, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX bandwidth_class_day ON bandwidth_class (day);

-- One row a process that flushes. A flush begins by moving seq on; whoever finds another seq than
-- it left has been replaced.
CREATE TABLE writer (
    instance TEXT    PRIMARY KEY,
    node     TEXT    NOT NULL,
    daemon   INTEGER NOT NULL,  -- 1: a daemon, one a node; 0: an import
    seq      INTEGER NOT NULL,
    started  INTEGER NOT NULL   -- seconds since 1970
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX writer_daemon ON writer (node) WHERE daemon = 1;

-- When each node's daemon last began a search of the log folders whose finds are all committed, in
-- seconds since 1970: what was last written before is known, or history.
CREATE TABLE searched (
    node  TEXT    PRIMARY KEY,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Moves on whenever a file is seen for the first time in a scope, so that two processes which meet
-- the same file at once cannot both take it for new.
CREATE TABLE scope (
    scope TEXT    PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far each file has been read and committed.
CREATE TABLE position (
    id        INTEGER PRIMARY KEY,
    node      TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    scope     TEXT    NOT NULL,  -- the vhost that the file was read for, else ''
    path      TEXT    NOT NULL,
    device    INTEGER,           -- where the file lived; NULL for archives and streams
    inode     INTEGER,
    birth     INTEGER,           -- nanoseconds since 1970, where the file system has it
    head_len  INTEGER NOT NULL,  -- the first head_len bytes hash to head_hash
    head_hash BLOB    NOT NULL,
    "offset"  INTEGER NOT NULL,  -- bytes of content committed, decompressed
    tail_hash BLOB    NOT NULL,  -- of the (up to) 64 bytes before offset
    chain     BLOB    NOT NULL,  -- of the whole blocks before offset
    content   BLOB    NOT NULL,  -- of everything before offset
    last_day  TEXT,              -- the day of the last line that had one
    state     INTEGER NOT NULL,  -- 0 living, 1 finished, 2 replaced
    unparsed_dropped INTEGER NOT NULL, -- unparsed lines beyond the ranges that are kept
    updated   INTEGER NOT NULL   -- seconds since 1970
) STRICT;
CREATE INDEX position_head ON position (scope, head_len, head_hash);
CREATE INDEX position_place ON position (inode);
CREATE INDEX position_living ON position (node, state);
CREATE INDEX position_updated ON position (updated);

-- Bytes of a file that did not parse, so that they can be read again with a better format.
CREATE TABLE unparsed (
    position INTEGER NOT NULL REFERENCES position (id) ON DELETE CASCADE,
    start    INTEGER NOT NULL,
    "end"    INTEGER NOT NULL,
    lines    INTEGER NOT NULL,
    node     TEXT    NOT NULL,  -- where the balance has them
    source   TEXT    NOT NULL,
    day      TEXT    NOT NULL,
    PRIMARY KEY (position, start)
) STRICT, WITHOUT ROWID;

-- Every line read: counted, or named. lines = counted + unparsed + ignored + unattributed.
CREATE TABLE balance (
    node               TEXT    NOT NULL,
    source             TEXT    NOT NULL,
    day                TEXT    NOT NULL,
    counted            INTEGER NOT NULL,
    unparsed           INTEGER NOT NULL,
    ignored            INTEGER NOT NULL,
    unattributed       INTEGER NOT NULL,
    counted_bytes      INTEGER NOT NULL,
    unparsed_bytes     INTEGER NOT NULL,
    ignored_bytes      INTEGER NOT NULL,
    unattributed_bytes INTEGER NOT NULL,
    PRIMARY KEY (node, source, day)
) STRICT, WITHOUT ROWID;

-- Names seen for the first time, by day: vhosts under '', users under their vhost.
CREATE TABLE new_names (
    day   TEXT    NOT NULL,
    vhost TEXT    NOT NULL,
    names INTEGER NOT NULL,
    PRIMARY KEY (day, vhost)
) STRICT, WITHOUT ROWID;

-- Bytes known to be out of reach.
CREATE TABLE gap (
    id          INTEGER PRIMARY KEY,
    node        TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    path        TEXT    NOT NULL,
    from_offset INTEGER NOT NULL,
    to_offset   INTEGER,          -- NULL: not known
    reason      TEXT    NOT NULL,
    noticed     INTEGER NOT NULL  -- seconds since 1970
) STRICT;
