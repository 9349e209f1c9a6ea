DELETE FROM tollkeeper_told WHERE told < ? AND begins <> 0
