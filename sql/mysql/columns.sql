SELECT table_name, column_name, column_type, is_nullable, column_default IS NOT NULL, collation_name, extra
FROM information_schema.columns
WHERE table_schema = database() AND table_name LIKE 'bandwidth%'
ORDER BY table_name, ordinal_position
