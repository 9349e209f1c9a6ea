DELETE FROM position WHERE id = ?1 AND state <> 0
