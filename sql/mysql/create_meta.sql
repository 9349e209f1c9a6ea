CREATE TABLE IF NOT EXISTS tollkeeper_meta (
    name  varbinary(64)  NOT NULL,
    value varbinary(255) NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
