SELECT table_name, column_name, column_type, is_nullable, column_default IS NOT NULL, collation_name, extra
FROM information_schema.columns
WHERE table_schema = database() AND (table_name LIKE 'bandwidth%'
    OR table_name IN ('quota', 'owner', 'class', 'quota_grant', 'quota_exempt'))
ORDER BY table_name, ordinal_position
