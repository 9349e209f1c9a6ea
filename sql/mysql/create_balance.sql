-- Every line read: counted, or named. lines = counted + unparsed + ignored + unattributed. A source
-- with a name that is longer than its column is cut, and marked with a hash of the whole.
CREATE TABLE IF NOT EXISTS tollkeeper_balance (
    node               varbinary(255)  NOT NULL,
    source             varbinary(1000) NOT NULL,
    day                date   NOT NULL,
    counted            bigint NOT NULL,
    unparsed           bigint NOT NULL,
    ignored            bigint NOT NULL,
    unattributed       bigint NOT NULL,
    counted_bytes      bigint NOT NULL,
    unparsed_bytes     bigint NOT NULL,
    ignored_bytes      bigint NOT NULL,
    unattributed_bytes bigint NOT NULL,
    PRIMARY KEY (node, source, day),
    KEY balance_day (day)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
