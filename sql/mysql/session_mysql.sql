SET SESSION max_execution_time = 50000
