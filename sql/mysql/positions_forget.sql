DELETE FROM tollkeeper_position WHERE updated < ? AND state <> 0
