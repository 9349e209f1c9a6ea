SELECT owner, vhost FROM owner ORDER BY owner, vhost LIMIT ?
