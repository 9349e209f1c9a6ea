-- What every site moved: the table of mod_bw_counter, with one column more. Amounts are bytes; days
-- are those of the store's zone; names are in their text form, compared bytewise. They never end in
-- a space (which that form escapes), so that padding cannot make two of them one.
CREATE TABLE IF NOT EXISTS bandwidth (
    vhost    varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    day      date   NOT NULL,
    `in`     bigint NOT NULL,
    `out`    bigint NOT NULL,
    requests bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (vhost, day),
    KEY bandwidth_day (day)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
