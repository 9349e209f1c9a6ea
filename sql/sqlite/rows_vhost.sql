SELECT day, vhost, NULL, NULL, NULL, "in", "out", requests FROM bandwidth
WHERE day >= ?1 AND day <= ?2 AND (?3 IS NULL OR vhost = ?3)
