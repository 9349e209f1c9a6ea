SELECT t.table_type, t.engine, coalesce(e.transactions, 'NO')
FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine
WHERE t.table_schema = database() AND t.table_name = ?
