-- Bytes known to be out of reach.
CREATE TABLE IF NOT EXISTS tollkeeper_gap (
    id          bigint NOT NULL AUTO_INCREMENT,
    node        varbinary(255) NOT NULL,
    source      text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    path        text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    from_offset bigint NOT NULL,
    to_offset   bigint NULL COMMENT 'NULL: not known',
    reason      text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    noticed     bigint NOT NULL COMMENT 'seconds since 1970',
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
