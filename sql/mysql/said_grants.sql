SELECT id, quota, account_kind, name, class, kind, amount, `at`, until FROM quota_grant ORDER BY id LIMIT ?
