UPDATE tollkeeper_writer SET seq = seq + 1 WHERE instance = ? AND seq = ?
