SELECT day, vhost, NULL, NULL, `in`, `out`, requests FROM bandwidth
WHERE day >= ? AND day <= ?
