SELECT t.table_name, t.table_type, t.engine, coalesce(e.transactions, 'NO'), t.row_format
FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine
WHERE t.table_schema = database() AND (t.table_name LIKE 'bandwidth%' OR t.table_name LIKE 'tollkeeper\_%'
    OR t.table_name IN ('quota', 'owner', 'class', 'quota_grant', 'quota_exempt'))
