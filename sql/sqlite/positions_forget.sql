DELETE FROM position WHERE updated < ?1 AND state <> 0
