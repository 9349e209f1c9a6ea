INSERT INTO balance (node, source, day, counted, unparsed, ignored, unattributed,
                     counted_bytes, unparsed_bytes, ignored_bytes, unattributed_bytes)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
ON CONFLICT (node, source, day) DO UPDATE
SET counted = counted + excluded.counted, unparsed = unparsed + excluded.unparsed,
    ignored = ignored + excluded.ignored, unattributed = unattributed + excluded.unattributed,
    counted_bytes = counted_bytes + excluded.counted_bytes,
    unparsed_bytes = unparsed_bytes + excluded.unparsed_bytes,
    ignored_bytes = ignored_bytes + excluded.ignored_bytes,
    unattributed_bytes = unattributed_bytes + excluded.unattributed_bytes
