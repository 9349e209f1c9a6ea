ALTER TABLE bandwidth MODIFY requests bigint NOT NULL DEFAULT 0
