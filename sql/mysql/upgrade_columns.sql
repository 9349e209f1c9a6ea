ALTER TABLE bandwidth
    MODIFY vhost varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    MODIFY day date NOT NULL,
    MODIFY `in` bigint NOT NULL DEFAULT 0,
    MODIFY `out` bigint NOT NULL DEFAULT 0,
    ROW_FORMAT = DYNAMIC
