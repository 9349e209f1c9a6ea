INSERT INTO tollkeeper_writer (instance, node, daemon_of, seq, started) VALUES (?, ?, ?, 0, ?)
