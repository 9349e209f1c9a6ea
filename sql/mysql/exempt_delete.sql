DELETE FROM quota_exempt
WHERE name = ? AND account_kind = ? AND coalesce(class, '') = ? AND coalesce(quota, '') = ?
