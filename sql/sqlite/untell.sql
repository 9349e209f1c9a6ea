DELETE FROM told
WHERE quota = ? AND account_kind = ? AND name = ? AND class = ? AND begins = ? AND percent = ?
