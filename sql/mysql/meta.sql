SELECT name, value FROM tollkeeper_meta
