-- The part of it that went to one class of clients.
CREATE TABLE IF NOT EXISTS bandwidth_class (
    vhost    varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    class    varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    day      date   NOT NULL,
    `in`     bigint NOT NULL,
    `out`    bigint NOT NULL,
    requests bigint NOT NULL,
    PRIMARY KEY (vhost, class, day),
    KEY bandwidth_class_day (day)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
