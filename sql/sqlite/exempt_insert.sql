INSERT INTO quota_exempt (account_kind, name, class, quota, until) VALUES (?, ?, ?, ?, ?)
