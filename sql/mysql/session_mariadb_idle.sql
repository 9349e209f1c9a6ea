SET SESSION idle_write_transaction_timeout = 60
