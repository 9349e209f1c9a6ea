SELECT source, path, from_offset, to_offset, reason, noticed FROM gap
WHERE node = ?1 ORDER BY id DESC LIMIT ?2
