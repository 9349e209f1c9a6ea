INSERT INTO new_names (day, vhost, names) VALUES (?1, ?2, ?3)
ON CONFLICT (day, vhost) DO UPDATE SET names = names + excluded.names
