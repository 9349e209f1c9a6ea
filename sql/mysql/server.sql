SHOW VARIABLES WHERE variable_name IN ('version', 'log_bin', 'binlog_format', 'wsrep_on', 'max_statement_time',
    'max_execution_time', 'idle_write_transaction_timeout', 'lower_case_table_names')
