INSERT IGNORE INTO tollkeeper_meta (name, value) VALUES ('schema', ?), ('seed', ?), ('timezone', ?)
