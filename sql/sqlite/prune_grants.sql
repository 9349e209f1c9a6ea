DELETE FROM quota_grant WHERE until < ?
