SELECT id, node, source, scope, path, device, inode, birth, head_len, head_hash, `offset`,
       tail_hash, chain, content, last_day, state, updated
FROM tollkeeper_position WHERE scope = ? AND head_len = ? AND head_hash = ?
