INSERT INTO tollkeeper_searched (node, since) VALUES (?, ?) ON DUPLICATE KEY UPDATE since = VALUES(since)
