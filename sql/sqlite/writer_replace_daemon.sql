DELETE FROM writer WHERE node = ?1 AND daemon = 1
