ALTER TABLE bandwidth ADD COLUMN requests bigint NOT NULL DEFAULT 0
