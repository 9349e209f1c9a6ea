SET NAMES utf8mb4, autocommit = 1, completion_type = 0, innodb_lock_wait_timeout = 10, lock_wait_timeout = 20,
    wait_timeout = 300, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'
