INSERT INTO bandwidth_layer (vhost, layer, day, "in", "out", requests) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (vhost, layer, day) DO UPDATE
SET "in" = "in" + excluded."in", "out" = "out" + excluded."out", requests = requests + excluded.requests
