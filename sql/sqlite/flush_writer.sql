UPDATE writer SET seq = seq + 1 WHERE instance = ?1 AND seq = ?2
