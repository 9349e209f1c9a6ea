INSERT INTO bandwidth_minute (vhost, of, part, day, minute, "in", "out", requests) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (vhost, of, part, day, minute) DO UPDATE
SET "in" = "in" + excluded."in", "out" = "out" + excluded."out", requests = requests + excluded.requests
