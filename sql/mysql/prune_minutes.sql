DELETE FROM bandwidth_minute WHERE minute < ? ORDER BY minute LIMIT ?
