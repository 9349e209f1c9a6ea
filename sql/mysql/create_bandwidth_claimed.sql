-- The part of bandwidth_user whose names no server vouches for: it never counts against a quota.
CREATE TABLE IF NOT EXISTS bandwidth_claimed (
    vhost    varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    `user`   varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    day      date   NOT NULL,
    `in`     bigint NOT NULL,
    `out`    bigint NOT NULL,
    requests bigint NOT NULL,
    PRIMARY KEY (vhost, `user`, day),
    KEY bandwidth_claimed_day (day)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
