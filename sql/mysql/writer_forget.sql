DELETE FROM tollkeeper_writer WHERE instance = ?
