-- What was granted and forgiven, beside the quotas.
CREATE TABLE IF NOT EXISTS quota_grant (
    id           bigint NOT NULL AUTO_INCREMENT,
    quota        varchar(255) NOT NULL COMMENT 'by name, as tollkeeper quota list shows it',
    account_kind varchar(16)  NOT NULL COMMENT 'vhost, user or owner',
    name         varchar(255) NOT NULL,
    class        varchar(255) NULL,
    kind         varchar(16)  NOT NULL COMMENT 'more: may be spent; reset: so much is forgiven',
    amount       bigint NOT NULL COMMENT 'bytes, or requests',
    `at`         bigint NOT NULL COMMENT 'from then on, in seconds since 1970',
    until        bigint NULL COMMENT 'seconds since 1970; NULL: no end',
    mark         varbinary(32) NULL COMMENT 'of the command that wrote the row, so that it writes it once; else NULL',
    PRIMARY KEY (id),
    UNIQUE KEY quota_grant_mark (mark),
    KEY quota_grant_until (until)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
