SELECT min(head_len) FROM tollkeeper_position WHERE scope = ? AND head_len > ?
