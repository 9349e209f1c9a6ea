INSERT INTO tollkeeper_unparsed (`position`, `start`, `end`, `lines`, node, source, day) VALUES {(?, ?, ?, ?, ?, ?, ?)}
