-- One row a process that flushes. A flush begins by moving seq on; whoever finds another seq than it
-- left has been replaced. daemon_of is the node of a daemon, one a node; NULL for imports.
CREATE TABLE IF NOT EXISTS tollkeeper_writer (
    instance  varbinary(64)  NOT NULL,
    node      varbinary(255) NOT NULL,
    daemon_of varbinary(255) NULL,
    seq       bigint NOT NULL,
    started   bigint NOT NULL COMMENT 'seconds since 1970',
    PRIMARY KEY (instance),
    UNIQUE KEY writer_daemon (daemon_of)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
