DELETE FROM tollkeeper_position WHERE id IN ({?}) AND state <> 0
