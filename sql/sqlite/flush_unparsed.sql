INSERT INTO unparsed (position, start, "end", lines, node, source, day) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
