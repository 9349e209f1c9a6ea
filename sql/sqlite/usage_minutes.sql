SELECT vhost, of, part, day, minute, "in", "out", requests FROM bandwidth_minute
WHERE minute >= ? AND of IN ({?})
