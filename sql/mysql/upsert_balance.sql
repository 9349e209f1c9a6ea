INSERT INTO tollkeeper_balance (node, source, day, counted, unparsed, ignored, unattributed,
                                counted_bytes, unparsed_bytes, ignored_bytes, unattributed_bytes)
VALUES {(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
ON DUPLICATE KEY UPDATE
    counted = tollkeeper_balance.counted + VALUES(counted),
    unparsed = tollkeeper_balance.unparsed + VALUES(unparsed),
    ignored = tollkeeper_balance.ignored + VALUES(ignored),
    unattributed = tollkeeper_balance.unattributed + VALUES(unattributed),
    counted_bytes = tollkeeper_balance.counted_bytes + VALUES(counted_bytes),
    unparsed_bytes = tollkeeper_balance.unparsed_bytes + VALUES(unparsed_bytes),
    ignored_bytes = tollkeeper_balance.ignored_bytes + VALUES(ignored_bytes),
    unattributed_bytes = tollkeeper_balance.unattributed_bytes + VALUES(unattributed_bytes)
