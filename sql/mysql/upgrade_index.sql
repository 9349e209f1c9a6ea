ALTER TABLE bandwidth ADD KEY bandwidth_day (day)
