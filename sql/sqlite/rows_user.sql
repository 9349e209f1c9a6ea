SELECT day, vhost, "user", NULL, NULL, "in", "out", requests FROM bandwidth_user
WHERE day >= ?1 AND day <= ?2 AND (?3 IS NULL OR vhost = ?3)
