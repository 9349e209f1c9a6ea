SELECT day, vhost, NULL, class, NULL, `in`, `out`, requests FROM bandwidth_class
WHERE day >= ? AND day <= ?
