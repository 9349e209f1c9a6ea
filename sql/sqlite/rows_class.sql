SELECT day, vhost, NULL, class, NULL, "in", "out", requests FROM bandwidth_class
WHERE day >= ?1 AND day <= ?2 AND (?3 IS NULL OR vhost = ?3)
