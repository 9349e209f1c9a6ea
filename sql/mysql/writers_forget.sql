DELETE FROM tollkeeper_writer WHERE daemon_of IS NULL AND started < ?
