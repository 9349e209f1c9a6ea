DELETE FROM told WHERE told < ? AND begins <> 0
