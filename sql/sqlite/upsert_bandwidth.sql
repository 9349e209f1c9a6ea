INSERT INTO bandwidth (vhost, day, "in", "out", requests) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (vhost, day) DO UPDATE
SET "in" = "in" + excluded."in", "out" = "out" + excluded."out", requests = requests + excluded.requests
