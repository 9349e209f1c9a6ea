SELECT day, vhost, NULL, NULL, NULL, `in`, `out`, requests FROM bandwidth
WHERE day >= ? AND day <= ?
