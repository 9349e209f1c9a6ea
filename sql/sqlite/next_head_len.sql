SELECT min(head_len) FROM position WHERE scope = ?1 AND head_len > ?2
