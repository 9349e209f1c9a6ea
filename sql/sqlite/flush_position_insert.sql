INSERT INTO position (node, source, scope, path, device, inode, birth, head_len, head_hash, "offset",
                      tail_hash, chain, content, last_day, state, unparsed_dropped, updated)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
