UPDATE tollkeeper_scope SET epoch = epoch + 1 WHERE scope IN ({?})
