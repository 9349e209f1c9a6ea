SELECT day, vhost, NULL, NULL, layer, "in", "out", requests FROM bandwidth_layer
WHERE day >= ?1 AND day <= ?2 AND (?3 IS NULL OR vhost = ?3)
