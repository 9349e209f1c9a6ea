DELETE FROM writer WHERE instance = ?1 OR (daemon = 0 AND started < ?2)
