SELECT table_name, index_name, non_unique, column_name, sub_part
FROM information_schema.statistics
WHERE table_schema = database() AND table_name LIKE 'bandwidth%'
ORDER BY table_name, index_name, seq_in_index
