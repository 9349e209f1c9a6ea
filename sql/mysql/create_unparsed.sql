-- Bytes of a file that did not parse, so that they can be read again with a better format. node,
-- source and day say where the balance has them.
CREATE TABLE IF NOT EXISTS tollkeeper_unparsed (
    `position` bigint NOT NULL,
    `start`    bigint NOT NULL,
    `end`      bigint NOT NULL,
    `lines`    bigint NOT NULL,
    node       varbinary(255) NOT NULL,
    source     text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    day        date NOT NULL,
    PRIMARY KEY (`position`, `start`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
