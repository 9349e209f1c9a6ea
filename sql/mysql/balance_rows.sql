SELECT node, source, day, counted, unparsed, ignored, unattributed,
       counted_bytes, unparsed_bytes, ignored_bytes, unattributed_bytes
FROM tollkeeper_balance WHERE day >= ? AND day <= ? ORDER BY node, source, day
