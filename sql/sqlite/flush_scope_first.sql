INSERT OR IGNORE INTO scope (scope, epoch) VALUES (?1, 0)
