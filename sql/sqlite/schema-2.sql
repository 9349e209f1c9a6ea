-- What the servers behind the edge logged of the same requests: counted apart, no part of the others.
CREATE TABLE bandwidth_layer (
    vhost    TEXT    NOT NULL,
    layer    TEXT    NOT NULL,
    day      TEXT    NOT NULL,
    "in"     INTEGER NOT NULL,
    "out"    INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (vhost, layer, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX bandwidth_layer_day ON bandwidth_layer (day);
