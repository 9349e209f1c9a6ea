SELECT seq FROM tollkeeper_writer WHERE instance = ?
