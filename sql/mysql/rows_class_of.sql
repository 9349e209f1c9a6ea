SELECT day, vhost, NULL, class, NULL, `in`, `out`, requests FROM bandwidth_class
WHERE vhost = ? AND day >= ? AND day <= ?
