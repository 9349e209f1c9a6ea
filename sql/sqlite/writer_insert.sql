INSERT INTO writer (instance, node, daemon, seq, started) VALUES (?1, ?2, ?3, 0, ?4)
