INSERT INTO tollkeeper_gap (node, source, path, from_offset, to_offset, reason, noticed) VALUES {(?, ?, ?, ?, ?, ?, ?)}
