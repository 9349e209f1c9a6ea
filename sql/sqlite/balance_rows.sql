SELECT node, source, day, counted, unparsed, ignored, unattributed,
       counted_bytes, unparsed_bytes, ignored_bytes, unattributed_bytes
FROM balance WHERE day >= ?1 AND day <= ?2 ORDER BY node, source, day
