UPDATE position SET unparsed_dropped = unparsed_dropped + ?2 WHERE id = ?1
