SELECT since FROM searched WHERE node = ?1
