SELECT since FROM tollkeeper_searched WHERE node = ?
