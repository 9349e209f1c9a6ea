-- The rows are there, and locked: nothing is inserted. Where node is empty, node and source stay what they were.
INSERT INTO tollkeeper_position (id, node, source, scope, path, device, inode, birth, head_len, head_hash, `offset`,
                                 tail_hash, chain, content, last_day, state, unparsed_dropped, updated)
VALUES {(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE
    source = IF(VALUES(node) = '', tollkeeper_position.source, VALUES(source)),
    node = IF(VALUES(node) = '', tollkeeper_position.node, VALUES(node)),
    scope = VALUES(scope), path = VALUES(path), device = VALUES(device), inode = VALUES(inode), birth = VALUES(birth),
    head_len = VALUES(head_len), head_hash = VALUES(head_hash), `offset` = VALUES(`offset`),
    tail_hash = VALUES(tail_hash), chain = VALUES(chain), content = VALUES(content),
    last_day = VALUES(last_day), state = VALUES(state),
    unparsed_dropped = tollkeeper_position.unparsed_dropped + VALUES(unparsed_dropped), updated = VALUES(updated)
