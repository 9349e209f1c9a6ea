INSERT INTO bandwidth_claimed (vhost, "user", day, "in", "out", requests) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (vhost, "user", day) DO UPDATE
SET "in" = "in" + excluded."in", "out" = "out" + excluded."out", requests = requests + excluded.requests
