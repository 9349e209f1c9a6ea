SELECT seq FROM tollkeeper_writer WHERE instance = ? FOR UPDATE
