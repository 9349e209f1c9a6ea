INSERT INTO searched (node, since) VALUES (?1, ?2) ON CONFLICT (node) DO UPDATE SET since = excluded.since
