-- Thresholds that somebody was told of, each once, whichever node told it.
CREATE TABLE IF NOT EXISTS tollkeeper_told (
    quota        varchar(190) NOT NULL,
    account_kind varchar(8)   NOT NULL,
    name         varchar(255) NOT NULL,
    class        varchar(255) NOT NULL COMMENT 'empty: none',
    begins       bigint NOT NULL COMMENT 'of the period, in seconds since 1970; 0: it has no begin',
    percent      int unsigned NOT NULL,
    told         bigint NOT NULL COMMENT 'seconds since 1970',
    mark         varbinary(32) NOT NULL COMMENT 'of the process that tells',
    PRIMARY KEY (quota, account_kind, name, class, begins, percent)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
