UPDATE scope SET epoch = epoch + 1 WHERE scope = ?1 AND epoch = ?2
