SELECT source, path, from_offset, to_offset, reason, noticed FROM tollkeeper_gap
WHERE node = ? ORDER BY id DESC LIMIT ?
