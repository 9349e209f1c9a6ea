SELECT seq FROM writer WHERE instance = ?
