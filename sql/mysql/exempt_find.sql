SELECT until FROM quota_exempt
WHERE name = ? AND account_kind = ? AND coalesce(class, '') = ? AND coalesce(quota, '') = ? FOR UPDATE
