SELECT id, account_kind, name, class, quota, until FROM quota_exempt ORDER BY id LIMIT ?
