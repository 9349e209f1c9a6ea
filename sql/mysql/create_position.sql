-- How far each file has been read and committed. The writer draws the id, so that it knows the id
-- before it knows whether its COMMIT arrived.
CREATE TABLE IF NOT EXISTS tollkeeper_position (
    id        bigint NOT NULL,
    node      varbinary(255) NOT NULL,
    source    text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    scope     varbinary(1024) NOT NULL COMMENT 'the vhost that the file was read for, or empty',
    path      text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    device    bigint NULL COMMENT 'where the file lived; NULL for archives and streams',
    inode     bigint NULL,
    birth     bigint NULL COMMENT 'nanoseconds since 1970',
    head_len  bigint NOT NULL COMMENT 'the first head_len bytes hash to head_hash',
    head_hash binary(16) NOT NULL,
    `offset`  bigint NOT NULL COMMENT 'bytes of content committed, decompressed',
    tail_hash binary(16) NOT NULL COMMENT 'of the (up to) 64 bytes before offset',
    chain     binary(16) NOT NULL COMMENT 'of the whole blocks before offset',
    content   binary(16) NOT NULL COMMENT 'of everything before offset',
    last_day  date NULL COMMENT 'the day of the last line that had one',
    state     tinyint NOT NULL COMMENT '0 living, 1 finished, 2 replaced',
    unparsed_dropped bigint NOT NULL COMMENT 'unparsed lines beyond the ranges that are kept',
    updated   bigint NOT NULL COMMENT 'seconds since 1970',
    PRIMARY KEY (id),
    KEY position_head (scope, head_len, head_hash),
    KEY position_place (inode),
    KEY position_living (node, state),
    KEY position_updated (updated)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
