-- Names seen for the first time, by day: vhosts under '', users under their vhost, vhosts of a layer under 'layer NAME'.
CREATE TABLE IF NOT EXISTS tollkeeper_new_names (
    day   date NOT NULL,
    vhost varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    names bigint NOT NULL,
    PRIMARY KEY (day, vhost)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
