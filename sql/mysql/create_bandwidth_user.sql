-- The part of it that a user is credited with.
CREATE TABLE IF NOT EXISTS bandwidth_user (
    vhost    varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    `user`   varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    day      date   NOT NULL,
    `in`     bigint NOT NULL,
    `out`    bigint NOT NULL,
    requests bigint NOT NULL,
    PRIMARY KEY (vhost, `user`, day),
    KEY bandwidth_user_day (day),
    KEY bandwidth_user_user (`user`, day)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
