SELECT class, network FROM class ORDER BY class, network LIMIT ?
