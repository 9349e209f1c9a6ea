INSERT INTO tollkeeper_told (quota, account_kind, name, class, begins, percent, told, mark)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
