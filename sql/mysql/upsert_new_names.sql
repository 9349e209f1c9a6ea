INSERT INTO tollkeeper_new_names (day, vhost, names) VALUES {(?, ?, ?)}
ON DUPLICATE KEY UPDATE names = tollkeeper_new_names.names + VALUES(names)
