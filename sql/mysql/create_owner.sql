-- Whose site is whose.
CREATE TABLE IF NOT EXISTS owner (
    owner varchar(255) NOT NULL,
    vhost varchar(255) NOT NULL COMMENT 'a site',
    PRIMARY KEY (owner, vhost)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
