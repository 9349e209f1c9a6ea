-- Where ?17, the node, is empty, node and source stay what they were.
UPDATE position
SET path = ?3, device = ?4, inode = ?5, birth = ?6, head_len = ?7, head_hash = ?8, "offset" = ?9, tail_hash = ?10,
    chain = ?11, content = ?12, last_day = ?13, state = ?14,
    updated = ?15, scope = ?16, node = iif(?17 = '', node, ?17), source = iif(?17 = '', source, ?18)
WHERE id = ?1 AND "offset" = ?2
