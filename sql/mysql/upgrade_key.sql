ALTER TABLE bandwidth ADD PRIMARY KEY (vhost, day)
