INSERT INTO tollkeeper_scope (scope, epoch) VALUES {(?, 0)}
ON DUPLICATE KEY UPDATE epoch = tollkeeper_scope.epoch
