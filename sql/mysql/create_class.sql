-- Classes of clients.
CREATE TABLE IF NOT EXISTS class (
    class   varchar(255) NOT NULL,
    network varchar(255) NOT NULL COMMENT '153.19.0.0/16, 2001:db8::/32 and the like',
    PRIMARY KEY (class, network)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
