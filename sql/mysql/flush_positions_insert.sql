INSERT INTO tollkeeper_position (id, node, source, scope, path, device, inode, birth, head_len, head_hash, `offset`,
                                 tail_hash, chain, content, last_day, state, unparsed_dropped, updated)
VALUES {(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
