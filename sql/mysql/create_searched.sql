-- When each node's daemon last began a search of the log folders whose finds are all committed, in
-- seconds since 1970: what was last written before is known, or history.
CREATE TABLE IF NOT EXISTS tollkeeper_searched (
    node  varbinary(255) NOT NULL,
    since bigint NOT NULL,
    PRIMARY KEY (node)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
