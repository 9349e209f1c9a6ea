SELECT id, `offset` FROM tollkeeper_position WHERE id IN ({?}) FOR UPDATE
