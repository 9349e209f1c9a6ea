DELETE FROM tollkeeper_writer WHERE daemon_of = ?
