-- Quotas beside those of the config. Written by people and panels, read within seconds. A row names
-- one of vhost, user and owner, and one of period and rolling; the words are those of [[quota]] in
-- the config. A row that makes no sense is named, and it alone does not count. An empty text is as good as NULL.
CREATE TABLE IF NOT EXISTS quota (
    id          bigint NOT NULL AUTO_INCREMENT,
    vhost       varchar(255) NULL COMMENT 'a site, *.suffix, or *',
    `user`      varchar(255) NULL COMMENT 'a user, or *',
    vhosts      text         NULL COMMENT 'of the quota of a user: these sites, with commas or blanks between; NULL or *: all',
    owner       varchar(255) NULL COMMENT 'an owner, or *',
    class       varchar(255) NULL COMMENT 'only what this class of clients had',
    amount      varchar(255) NULL COMMENT '100G; a bare number for requests',
    measure     varchar(255) NULL COMMENT 'out, in, both or requests; NULL: out',
    period      varchar(255) NULL COMMENT 'day, week, month, year, or 4W',
    rolling     varchar(255) NULL COMMENT '30D, in place of a period',
    billing_day varchar(255) NULL COMMENT 'of a month: its day, 1 to 31; of a year: MM-DD',
    anchor      varchar(255) NULL COMMENT 'from when on periods such as 4W are counted: YYYY-MM-DD HH:MM',
    slice       varchar(255) NULL COMMENT '1W: the amount opens share by share',
    warn        varchar(255) NULL COMMENT '80, 95: percentages at which somebody is warned',
    exceeded    text         NULL COMMENT '100 speed 1Mbps, 150 deny 429; or 100 redirect https://...; NULL: 100 deny 429',
    reopen      varchar(255) NULL COMMENT 'of a rolling window: percent below which it opens again',
    report_only tinyint      NULL DEFAULT 0 COMMENT '1: verdicts are shown, and close nothing',
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
