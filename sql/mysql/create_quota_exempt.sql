-- Accounts that nothing is closed to. They still count.
CREATE TABLE IF NOT EXISTS quota_exempt (
    id           bigint NOT NULL AUTO_INCREMENT,
    account_kind varchar(16)  NOT NULL COMMENT 'vhost, user or owner',
    name         varchar(255) NOT NULL,
    class        varchar(255) NULL,
    quota        varchar(255) NULL COMMENT 'of this quota alone',
    until        bigint NULL COMMENT 'seconds since 1970; NULL: no end',
    PRIMARY KEY (id),
    KEY quota_exempt_name (name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
