INSERT INTO gap (node, source, path, from_offset, to_offset, reason, noticed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
