SELECT day, vhost, NULL, class, `in`, `out`, requests FROM bandwidth_class
WHERE vhost = ? AND day >= ? AND day <= ?
