-- Moves on whenever a file is seen for the first time in a scope, so that two processes which meet
-- the same file at once cannot both take it for new.
CREATE TABLE IF NOT EXISTS tollkeeper_scope (
    scope varbinary(1024) NOT NULL,
    epoch bigint NOT NULL,
    PRIMARY KEY (scope)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
