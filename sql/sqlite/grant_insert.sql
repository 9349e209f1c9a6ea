INSERT INTO quota_grant (quota, account_kind, name, class, kind, amount, "at", until)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
