SELECT day, vhost, NULL, NULL, NULL, `in`, `out`, requests FROM bandwidth
WHERE vhost = ? AND day >= ? AND day <= ?
