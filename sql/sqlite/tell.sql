INSERT INTO told (quota, account_kind, name, class, begins, percent, told)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
