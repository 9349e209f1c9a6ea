-- The same bytes once more, by minute, of accounts whose quotas are shorter than a day or rolling.
CREATE TABLE IF NOT EXISTS bandwidth_minute (
    vhost    varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    `of`     tinyint NOT NULL COMMENT '0 a vhost, 1 a user whose name a server vouches for, 2 a class',
    part     varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
             COMMENT 'the user or the class; empty for a whole vhost',
    day      date   NOT NULL COMMENT 'the day that the bytes are billed on',
    minute   bigint NOT NULL COMMENT 'since 1970',
    `in`     bigint NOT NULL,
    `out`    bigint NOT NULL,
    requests bigint NOT NULL,
    PRIMARY KEY (vhost, `of`, part, day, minute),
    KEY bandwidth_minute_minute (minute)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
