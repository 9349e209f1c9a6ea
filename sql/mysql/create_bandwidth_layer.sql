-- What the servers behind the edge logged of the same requests: counted apart, no part of the others.
CREATE TABLE IF NOT EXISTS bandwidth_layer (
    vhost    varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    layer    varchar(32)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    day      date   NOT NULL,
    `in`     bigint NOT NULL,
    `out`    bigint NOT NULL,
    requests bigint NOT NULL,
    PRIMARY KEY (vhost, layer, day),
    KEY bandwidth_layer_day (day)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
